"""A line that is to stay open: opened for as long as it takes, its loss and its return told once."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from ..clock import Clock
from ..errors import LinkError, LinkProblem
from .base import ClientListener

# Waits between attempts to open a lost line, in seconds; never longer than a cycle, so that a line that is back is
# used within one.
_REOPEN = (0.5, 1.0, 2.0, 5.0, 10.0)
# A line that stays up for so many seconds is well again; one that opens and is lost at once is waited for ever longer,
# like one that does not open.
_STEADY = 10.0
# A device that is heard and takes no connection keeps a radio busy for half a minute an attempt, and with it what others
# need of it: 76 % of an hour were measured. So it is called ever less often, in seconds; whether it is heard at all, and
# a slot is free, can be asked for nothing.
_SPARING, _SPARING_MOST = 10.0, 300.0
_COSTLY = frozenset({LinkProblem.UNREACHABLE, LinkProblem.FOREIGN})
# Not in the first seconds after a loss: a pack that restarts, as some do after a setting was changed, is back by then.
_BACK_SOON = 12.0


class Openable(Protocol):
    """What of a transport is needed here."""

    async def open(self) -> None:
        """See `ByteTransport`."""

    async def close(self) -> None:
        """See `ByteTransport`."""


class Line:
    """Keeps one transport open for a client."""

    __slots__ = (
        "_attempts",
        "_clock",
        "_costly",
        "_forget",
        "_hurried",
        "_listener",
        "_longest",
        "_sparing",
        "_told_down",
        "_told_up",
        "_transport",
        "_up_last",
        "_up_since",
        "down",
        "opened",
        "resting",
    )

    def __init__(
        self,
        transport: Openable,
        clock: Clock,
        listener: ClientListener,
        *,
        forget: Callable[[LinkError], None],
        longest: float = _REOPEN[-1],
        sparing: bool = False,
    ) -> None:
        """`forget` is called at a loss, before the listener is told; `longest`: s between two attempts at most.

        `sparing`: attempts that the other end does not take keep a radio from others, and are made ever less often.
        """
        self._transport = transport
        self._clock = clock
        self._listener = listener
        self._forget = forget
        self._longest = longest
        self._sparing = sparing
        self._told_up: bool | None = None  # what the listener knows of the link
        self._told_down = False  # ... and whether the reason was one for a person to see to
        self._attempts = 0  # to open it since it was last up for a while
        self._costly = 0  # attempts that kept the radio busy since it was last up
        self._hurried: asyncio.Future[None] | None = None  # done when somebody asks for the line while it is waited for
        self._up_since: float | None = None  # monotonic
        self._up_last = float("-inf")  # monotonic, when it was lost
        self.down: LinkError | None = LinkError(LinkProblem.LOST, "not opened yet")
        self.opened = 0  # times
        self.resting = False  # closed until it is needed, and nobody was told

    def check(self) -> None:
        """Raise LinkError, with its reason, when the line is down."""
        if self.down is not None:
            raise LinkError(self.down.problem, self.down.detail)

    async def open(self) -> None:
        """Open the line, trying for as long as it takes."""
        while True:
            await self._wait()
            self._attempts += 1
            try:
                await self._transport.open()
            except LinkError as err:
                self._lost(err)
            else:
                break
        self._costly = 0
        self._up_since = self._clock.monotonic()
        self.opened += 1
        self.down = None
        if not self._told_up:
            self._told_up = True
            self._listener.link_changed(None)

    def hurry(self) -> None:
        """A person asks for what is behind the line: it is not waited for longer than at first."""
        self._costly = min(self._costly, 1)
        if self._hurried is not None and not self._hurried.done():
            self._hurried.set_result(None)

    async def reopen(self) -> None:
        """Open the line anew although nobody said that it is gone; raises LinkError when it is."""
        await self._transport.close()
        await self._transport.open()
        self._costly = 0
        self.opened += 1

    async def rest(self) -> None:
        """Leave the line to others until it is needed; it counts as up."""
        if not self.resting:
            self.resting = True
            await self._transport.close()

    async def resume(self) -> None:
        """Open a line that rests; raises LinkError when it cannot be."""
        self.resting = False
        was_up, self._up_since = self._up_since, None  # what cannot be had again was not lost just now
        await self._transport.open()
        self._up_since = was_up
        self._costly = 0
        self.opened += 1

    async def leave(self, err: LinkError) -> None:
        """Let go of the line because somebody wants it; told even if it was away, and so is what comes of it next."""
        await self.shut()
        self._lost(err)
        self._told_up = None

    async def lose(self, err: LinkError) -> None:
        """The line went away."""
        self.resting = False
        await self._transport.close()
        self._lost(err)

    async def shut(self) -> None:
        """Give the line back; whoever opens it again is told anew."""
        self._told_up = self._up_since = None
        self._attempts = self._costly = 0
        self.resting = False
        self.down = LinkError(LinkProblem.LOST, "closed")
        await self._transport.close()

    async def _wait(self) -> None:
        """Between two attempts; before the first there is nothing to wait for."""
        if not self._attempts and not self._costly:
            return
        since = self._clock.monotonic()
        while (left := since + self._pause() - self._clock.monotonic()) > 0:
            self._hurried = asyncio.get_running_loop().create_future()
            await self._clock.wait(self._hurried, left)

    def _pause(self) -> float:
        """Seconds from one attempt to the next."""
        if self._costly and self.down is not None and self.down.problem in _COSTLY:
            return min(_SPARING * (1 << min(self._costly, 10)) / 2, _SPARING_MOST)
        return min(_REOPEN[min(self._attempts, len(_REOPEN)) - 1], self._longest)

    def _lost(self, err: LinkError) -> None:
        now = self._clock.monotonic()
        if self._up_since is not None:
            self._up_last = now
            if now - self._up_since >= _STEADY:
                self._attempts = 0
        self._up_since = None
        if self._sparing and err.problem in _COSTLY and now - self._up_last >= _BACK_SOON:
            self._costly += 1
        # an interface that has to be brought up is noticed only when it is opened again, and a person must do it
        was_down = self._told_down
        self._told_down = err.problem is LinkProblem.DOWN
        self.down = err
        self._forget(err)
        if self._told_up is not False or was_down != self._told_down:
            self._told_up = False
            self._listener.link_changed(err)
