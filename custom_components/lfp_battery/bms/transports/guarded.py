"""A CAN adapter that may acknowledge is taken off a bus on which it hears nothing but errors.

At a wrong bit rate it takes every frame for a broken one and says so on the bus, which destroys the frames that battery
and inverter send each other (can.md section 2).
"""

from collections.abc import Sequence
from typing import Final

from ..can_frame import CanFrame
from ..clock import Clock
from ..errors import LinkError, LinkProblem
from . import CanTransport

# So many errors, and not one frame for so many seconds; a moment longer than it takes a search to say what it is.
_ERRORS, _ONLY_ERRORS = 5, 6.0
# s until it is tried again, and the longest after doubling: nobody changes a bit rate by the minute
_PAUSE: Final = 60.0
_LONGEST: Final = 900.0
_DETAIL: Final = "the bit rate seems wrong: nothing but errors is heard"


class GuardedBus:
    """Listens as the bus behind it does, and leaves it alone when it only disturbs; implements `CanTransport`."""

    def __init__(self, bus: CanTransport, clock: Clock) -> None:
        """`bus` is closed as yet."""
        self._bus = bus
        self._clock = clock
        self._since = 0.0  # when a frame was heard last, or the bus was opened, monotonic
        self._errors = 0  # until then
        self._pause = _PAUSE
        self._until = float("-inf")  # nobody opens it before, monotonic

    @property
    def name(self) -> str:
        """See `CanTransport`."""
        return self._bus.name

    @property
    def bitrate(self) -> int | None:
        """See `CanTransport`."""
        return self._bus.bitrate

    @property
    def silent(self) -> bool | None:
        """See `CanTransport`."""
        return self._bus.silent

    @property
    def errors(self) -> int:
        """See `CanTransport`."""
        return self._bus.errors

    async def open(self) -> None:
        """See `CanTransport`; also FAILED as long as the bus is left alone."""
        if self._clock.monotonic() < self._until:
            raise LinkError(LinkProblem.FAILED, _DETAIL)
        await self._bus.open()
        self._well()

    async def close(self) -> None:
        """See `CanTransport`."""
        await self._bus.close()

    async def receive(self, timeout: float) -> Sequence[CanFrame]:
        """See `CanTransport`; FAILED when the bus was given up."""
        now = self._clock.monotonic()
        only_errors = self._bus.errors - self._errors >= _ERRORS and now - self._since >= _ONLY_ERRORS
        if only_errors and not self._bus.silent:
            await self._bus.close()
            self._until, self._pause = now + self._pause, min(2 * self._pause, _LONGEST)
            raise LinkError(LinkProblem.FAILED, _DETAIL)
        frames = await self._bus.receive(timeout)
        if frames:
            self._well()
            self._pause = _PAUSE
        return frames

    def _well(self) -> None:
        self._since, self._errors = self._clock.monotonic(), self._bus.errors
