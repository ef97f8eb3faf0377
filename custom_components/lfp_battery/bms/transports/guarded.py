"""A CAN adapter that may acknowledge is taken off a bus on which it hears nothing but errors.

At a wrong bit rate it takes every frame for a broken one and says so on the bus, which destroys the frames that battery
and inverter send each other (can.md section 2).
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, override

from ..can_frame import CanFrame
from ..clock import Clock
from ..errors import LinkError, LinkProblem
from . import CanTransport
from .around import AroundBus

# So many errors, and not one frame, within so many seconds; a moment longer than it takes a search to say what it is.
_ERRORS, _ONLY_ERRORS = 5, 6.0
_LOOK: Final = 1.0  # s between two looks at the number of errors
# s until it is tried again, and the longest after doubling: nobody changes a bit rate by the minute
_PAUSE: Final = 60.0
_LONGEST: Final = 900.0
_DOUBLINGS: Final = 4  # until it is reached
_DETAIL: Final = "the bit rate seems wrong: nothing but errors is heard"


class GuardedBus(AroundBus):
    """Listens as the bus behind it does, and leaves it alone when it only disturbs."""

    def __init__(self, bus: CanTransport, clock: Clock) -> None:
        """`bus` is closed as yet."""
        super().__init__(bus)
        self._clock = clock
        self._patience = 0.0  # nothing is judged before: some seconds from the last frame, or from opening; monotonic
        self._looks: deque[tuple[float, int]] = deque()  # when, monotonic, and how many errors until then
        self._waiting: Sequence[CanFrame] = ()  # heard while it was opened
        self._given_up = 0  # times, since a frame was heard
        self._until = float("-inf")  # nobody opens it before, monotonic

    @override
    async def open(self) -> None:
        """See `CanTransport`; also FAILED as long as the bus is left alone.

        One that was given up is open only when a frame is heard, or when the time for judging it has passed without
        cause: it must not be told as back each time that it is tried.
        """
        if self._clock.monotonic() < self._until:
            raise LinkError(LinkProblem.FAILED, _DETAIL)
        self._waiting = ()
        await self._bus.open()
        self._begin()
        if self._given_up and not self._bus.silent:
            try:
                self._waiting = await self._hear(self._patience)
            except BaseException:
                await self.close()
                raise

    @override
    async def close(self) -> None:
        """See `CanTransport`."""
        self._waiting = ()
        await self._bus.close()

    @override
    async def receive(self, timeout: float) -> Sequence[CanFrame]:
        """See `CanTransport`; FAILED when the bus was given up."""
        if self._waiting:
            frames, self._waiting = self._waiting, ()
            return frames
        return await self._hear(self._clock.monotonic() + timeout)

    async def _hear(self, until: float) -> Sequence[CanFrame]:
        """Frames as soon as there are any, or none at `until`, monotonic; FAILED when there are only errors."""
        left = until - self._clock.monotonic()
        while True:
            # what waits is read before anything is judged: it may be the end of the errors
            if frames := await self._bus.receive(min(max(left, 0.0), _LOOK)):
                self._begin()
                self._given_up = 0
                return frames
            now = self._clock.monotonic()
            if self._only_errors(now) and not self._bus.silent:
                await self._give_up(now)
            left = until - now
            if left <= 0:
                return frames

    def _begin(self) -> None:
        """From here on it is waited for a frame."""
        now = self._clock.monotonic()
        self._patience = now + _ONLY_ERRORS
        self._looks.clear()
        self._looks.append((now, self._bus.errors))

    def _only_errors(self, now: float) -> bool:
        """Whether there was no frame of late, and errors; a few that came in hours of silence say nothing."""
        looks, errors = self._looks, self._bus.errors
        while looks and looks[0][0] < now - _ONLY_ERRORS:
            looks.popleft()
        if not looks or now - looks[-1][0] >= _LOOK:
            looks.append((now, errors))
        return now >= self._patience and errors - looks[0][1] >= _ERRORS

    async def _give_up(self, now: float) -> None:
        await self._bus.close()
        self._until = now + min(_PAUSE * 2.0**self._given_up, _LONGEST)
        self._given_up = min(self._given_up + 1, _DOUBLINGS)
        raise LinkError(LinkProblem.FAILED, _DETAIL)
