"""Time as clients, discovery, staleness, energy and the simulator see it: handed in, never looked up.

`SystemClock` is the real one. `DrivenClock` stands still until a test moves it, and then runs everything that falls
due, in order.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
import heapq
from itertools import count
import math
import time
from typing import Protocol

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Handle(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Forget the call; harmless when it has run."""


class Clock(Protocol):
    """What code below Home Assistant may know of time. All spans are in seconds."""

    def monotonic(self) -> float:
        """Seconds on a clock that is never set back."""

    def utc(self) -> datetime:
        """The time of day, aware, UTC."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        """Call back from the event loop after `delay`."""

    async def sleep(self, delay: float) -> None:
        """Wait for `delay`."""

    async def wait(self, future: asyncio.Future[None], timeout: float) -> bool:
        """Wait for a future, at most `timeout`; whether it is done. The future is left alone when it is not."""


class SystemClock:
    """The machine's clock and the running event loop."""

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def utc(self) -> datetime:
        """See `Clock`."""
        return datetime.now(UTC)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        """See `Clock`."""
        return asyncio.get_running_loop().call_later(delay, callback)

    async def sleep(self, delay: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(delay)

    async def wait(self, future: asyncio.Future[None], timeout: float) -> bool:
        """See `Clock`."""
        done, _ = await asyncio.wait((future,), timeout=timeout)
        return bool(done)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Due:
    """A call in a driven clock's queue."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when  # monotonic seconds
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """See `Handle`."""
        self.callback = None


class DrivenClock:
    """A clock that moves only when `advance` is awaited.

    Between two calls that fall due, everything the event loop has ready is run to its end, so that what a test sees
    does not depend on how fast the machine is. Work in threads and on sockets is not waited for.
    """

    def __init__(self, start: datetime = _EPOCH) -> None:
        """Begin at `start`, with monotonic time 0."""
        self._start = start
        self._now = 0.0
        self._queue: list[tuple[float, int, _Due]] = []
        self._serial = count()

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._now

    def utc(self) -> datetime:
        """See `Clock`."""
        return self._start + timedelta(seconds=self._now)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        """See `Clock`."""
        when = self._now + max(delay, 0.0)
        if delay > 0 and when == self._now:
            # less than a float can add: a loop that waits for "what is left" would wait for ever at this very instant
            when = math.nextafter(self._now, math.inf)
        due = _Due(when, callback)
        heapq.heappush(self._queue, (due.when, next(self._serial), due))
        return due

    async def sleep(self, delay: float) -> None:
        """See `Clock`."""
        if delay <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        handle = self.call_later(delay, partial(_resolve, woken))
        try:
            await woken
        finally:
            handle.cancel()

    async def wait(self, future: asyncio.Future[None], timeout: float) -> bool:
        """See `Clock`."""
        if future.done():
            return True
        expired: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        handle = self.call_later(timeout, partial(_resolve, expired))
        try:
            await asyncio.wait((future, expired), return_when=asyncio.FIRST_COMPLETED)
        finally:
            handle.cancel()
        return future.done()

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, running everything that falls due on the way."""
        end = self._now + seconds
        await self.settle()
        while self._queue and self._queue[0][0] <= end:
            when, _, due = heapq.heappop(self._queue)
            if due.callback is None:
                continue
            self._now = max(self._now, when)
            due.callback()
            await self.settle()
        self._now = end

    async def settle(self) -> None:
        """Let the event loop run until nothing is ready."""
        # the loop's own queue is the only exact sign of rest; a fixed number of rounds is either slow or too few
        ready = getattr(asyncio.get_running_loop(), "_ready", ())
        await asyncio.sleep(0)
        while ready:
            await asyncio.sleep(0)
