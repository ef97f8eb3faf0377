"""Time that passes as fast as the work in it is done, for a whole Home Assistant in this process.

Its event loop, its timers and its time of day go by the same simulated time, and with them the recorder's time stamps and
statistics. What the work costs is real.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
import selectors
import sys
import time
from typing import Any, override

_NOTICE = 0.002  # s of the machine's time without anything to do, after which simulated time moves on
_CAREFUL = 0.05  # s that it then moves on at most, while threads and sockets that cannot be counted may be at work
_PATIENCE = 1.0  # s of the machine's time that it waits for threads at a time


@dataclass(slots=True)
class SimulatedTime:
    """One time for everything in this process; it outlives event loops. Nobody reads the machine's clock behind it."""

    epoch: float  # s, Unix, at which `now` was 0
    now: float = 0.0  # s
    fast: bool = False  # nothing is waited for but work that is counted
    holds: int = 0  # reasons for which it stands still

    def time(self) -> float:
        """See `time.time`."""
        return self.epoch + self.now

    def utc(self) -> datetime:
        """The time of day, aware, UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stand still while something is awaited that another thread does."""
        self.holds += 1
        try:
            yield
        finally:
            self.holds -= 1

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Move on as soon as the event loop and its executors have nothing to do."""
        self.fast = True
        try:
            yield
        finally:
            self.fast = False

    def take_over(self) -> None:
        """Become the time of day of this process, before Home Assistant's modules keep the functions they find."""
        if "homeassistant.core" in sys.modules:
            raise RuntimeError("Home Assistant has looked at the clock already")
        time.time = self.time
        from homeassistant.util import dt as dt_util  # noqa: PLC0415 - not before the line above

        def now(time_zone: tzinfo | None = None) -> datetime:
            return self.utc().astimezone(time_zone or dt_util.get_default_time_zone())

        vars(dt_util).update(utcnow=self.utc, now=now)


class _Selector(selectors.DefaultSelector):
    """Where an event loop rests; here time passes instead."""

    def __init__(self, rest: Callable[[float | None], float | None]) -> None:
        super().__init__()
        self._rest = rest

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        wait = self._rest(timeout)
        return [] if wait == 0 else super().select(wait)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop that lives by a simulated time."""

    def __init__(self, shared: SimulatedTime) -> None:
        """Nothing runs yet."""
        self._shared = shared
        self._in_threads: set[asyncio.Future[Any]] = set()  # jobs that were given away and are not back
        self._noticed = False
        super().__init__(_Selector(self._rest))

    @override
    def time(self) -> float:
        return self._shared.now

    def _rest(self, timeout: float | None) -> float | None:
        """Let simulated time pass, or say how many seconds of the machine to wait for threads; None: for ever."""
        shared = self._shared
        if timeout is None or self._in_threads or shared.holds:
            self._noticed = False
            return None if timeout is None else _PATIENCE
        if shared.fast:
            shared.now += timeout
            return 0
        self._noticed = not self._noticed
        if self._noticed:
            return _NOTICE
        shared.now += min(timeout, _CAREFUL)
        return 0

    @override
    def run_in_executor[*Ts, T](
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._in_threads.add(future)
        future.add_done_callback(self._in_threads.discard)
        return future


def loop_factory(shared: SimulatedTime) -> Callable[[], SimulatedLoop]:
    """See `asyncio.Runner`."""
    return partial(SimulatedLoop, shared)
