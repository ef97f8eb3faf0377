"""A line that is to stay open: opened for as long as it takes, its loss and its return told once."""

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
        "_forget",
        "_listener",
        "_longest",
        "_told_down",
        "_told_up",
        "_transport",
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
    ) -> None:
        """`forget` is called at a loss, before the listener is told; `longest`: s between two attempts at most."""
        self._transport = transport
        self._clock = clock
        self._listener = listener
        self._forget = forget
        self._longest = longest
        self._told_up: bool | None = None  # what the listener knows of the link
        self._told_down = False  # ... and whether the reason was one for a person to see to
        self._attempts = 0  # to open it since it was last up for a while
        self._up_since: float | None = None  # monotonic
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
        self._up_since = self._clock.monotonic()
        self.opened += 1
        self.down = None
        if not self._told_up:
            self._told_up = True
            self._listener.link_changed(None)

    async def reopen(self) -> None:
        """Open the line anew although nobody said that it is gone; raises LinkError when it is."""
        await self._transport.close()
        await self._transport.open()
        self.opened += 1

    async def rest(self) -> None:
        """Leave the line to others until it is needed; it counts as up."""
        if not self.resting:
            self.resting = True
            await self._transport.close()

    async def resume(self) -> None:
        """Open a line that rests; raises LinkError when it cannot be."""
        self.resting = False
        await self._transport.open()
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
        self._attempts = 0
        self.resting = False
        self.down = LinkError(LinkProblem.LOST, "closed")
        await self._transport.close()

    async def _wait(self) -> None:
        """Between two attempts; before the first there is nothing to wait for."""
        if self._attempts:
            await self._clock.sleep(min(_REOPEN[min(self._attempts, len(_REOPEN)) - 1], self._longest))

    def _lost(self, err: LinkError) -> None:
        if self._up_since is not None and self._clock.monotonic() - self._up_since >= _STEADY:
            self._attempts = 0
        self._up_since = None
        # an interface that has to be brought up is noticed only when it is opened again, and a person must do it
        was_down = self._told_down
        self._told_down = err.problem is LinkProblem.DOWN
        self.down = err
        self._forget(err)
        if self._told_up is not False or was_down != self._told_down:
            self._told_up = False
            self._listener.link_changed(err)
