"""Listening: whose conversation it is, and when a line has been silent for long enough to ask."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from ..capture import Capture
from ..clock import Clock
from ..protocols.base import PolledProtocol
from ..transports import ByteTransport
from .following import Follower
from .line import Ears, ScanLine
from .report import Outcome

# Silence that is needed before the first byte is sent, and the longest that noise may extend it, in seconds
# (design decision 5).
QUIET: Final = 2.0
LONGEST_LISTEN: Final = 10.0
# So many bytes are more than what plugging in or switching does. Who sends them may be an inverter of a protocol, or
# at a speed, that is not known: nothing is sent before a silence longer than most of them make, in seconds.
_GLITCH: Final = 4
_LONG_SILENCE: Final = 30.0
# The longest that such a silence is waited for, in seconds.
_LONGEST_WAIT: Final = 90.0
# Bytes further apart than this are not of one burst, in seconds.
_PAUSE: Final = 1.0
# An answer has begun so long after its question, in seconds.
_BETWEEN: Final = 0.5
# A question and its answer are over in this time, in seconds.
_EXCHANGE: Final = 2.0
# How long somebody else's conversation is followed: until it can be told what it is, and until all of it was heard.
_FOLLOW: Final = (6.0, 12.0)
_FOLLOW_WATCHING: Final = (24.0, 45.0)
# Where one only listens: in all, at the likeliest speed, at one that may make sense of what another did not, and no
# less at each than this, in seconds. Inverters were seen to pause for 20 s.
_WATCH: Final = 60.0
_WATCH_FIRST: Final = 24.0
_WATCH_LEAST: Final = 6.0
# Small bursts that nobody can explain, before the scan listens at every speed again.
_GLITCHES: Final = 2
# From the first byte on a scan takes no longer, waiting for a long silence aside; what is being asked then still ends,
# in seconds.
_LONGEST_SCAN: Final = 55.0


class Verdict(Exception):
    """The scan is over."""

    def __init__(self, outcome: Outcome, **found: Any) -> None:
        """`found`: further fields of the report."""
        super().__init__(outcome)
        self.outcome = outcome
        self.found = found


class Listener:
    """The line of a scan, at one speed after the other; every method raises `Verdict` when somebody else asks there."""

    def __init__(
        self,
        open_line: Callable[[int], ByteTransport],
        clock: Clock,
        protocols: Sequence[PolledProtocol],
        speeds: Sequence[int],
        *,
        tell: Callable[[float, int], None],
    ) -> None:
        """`tell`: how far listening is (0 to 1), and at which speed."""
        self._open_line = open_line
        self._clock = clock
        self._protocols = protocols
        self._speeds = tuple(speeds)
        self._tell = tell
        self.capture = Capture(clock)
        self.line: ScanLine | None = None
        self.noise = False  # something came that nobody can explain
        self.began: float | None = None  # when the first question went out, monotonic; waits do not count
        self._watching = False
        self._last = clock.monotonic()  # that something was heard, or listening began
        self._burst = 0  # bytes
        self._glitches = 0
        self._bursts = 0  # that were more than a glitch

    async def open(self, baudrate: int) -> ScanLine:
        """The line at this speed."""
        if self.line is not None and self.line.baudrate == baudrate:
            return self.line
        await self.close()
        line = ScanLine(self._open_line(baudrate), self._clock, self.capture, Ears(self._protocols))
        await line.open()
        self.line = line
        return line

    async def close(self) -> None:
        """Give the line back."""
        if self.line is not None:
            line, self.line = self.line, None
            await line.close()

    # --- before anything is asked ------------------------------------------------------------------------------------

    async def silence(self, quiet: float) -> None:
        """Wait for so many seconds of silence, and longer after noise: NOISE when no speed makes sense of it."""
        self._begin()
        await self._eliminate((*self._speeds, self._speeds[0]), quiet)

    async def watch(self, seconds: float | None) -> None:
        """Only listen, for `seconds` if that is longer than what it takes."""
        self._watching = True
        self._begin()
        first, *others = self._speeds
        total = max(seconds or 0.0, _WATCH)
        spare = total - (_WATCH_FIRST if others else 0.0)
        shares = {speed: spare / len(others) for speed in others} | {first: _WATCH_FIRST if others else spare}
        began, order = self._clock.monotonic(), [*self._speeds]
        while order:
            speed = order.pop(0)
            self._tell(min((self._clock.monotonic() - began) / (3 * _WATCH_FIRST), 1.0), speed)
            end = self._clock.monotonic() + max(shares.get(speed, 0.0), _WATCH_FIRST if self.noise else 0.0)
            if self.noise and not order:
                end = max(end, began + total)
            if await self._garbled(speed, partial(float, end), least=_WATCH_LEAST) and shares.pop(first, 0.0):
                # it may have begun to listen in the middle of a question
                order.append(first)
            self.noise |= self._burst > 0

    async def _eliminate(self, order: Sequence[int], needed: float) -> None:
        """Listen at one speed after the other until the line is silent; each of them stays until it hears noise."""
        least = LONGEST_LISTEN / len(order)
        longest = self._clock.monotonic() + max(_LONGEST_WAIT, 2 * needed)
        if self.began is not None and needed < _LONG_SILENCE:
            longest = min(longest, self.began + _LONGEST_SCAN)

        def end() -> float:
            return min(self._last + max(needed, self._silence_after_burst()), longest)

        for number, speed in enumerate(order):
            self._tell(number / len(order), speed)
            if not await self._garbled(speed, end, least=least):
                if self._clock.monotonic() >= longest:
                    break
                return
        raise Verdict(Outcome.NOISE)

    def _begin(self) -> None:
        self._last = self._clock.monotonic()
        self._burst = 0

    def _silence_after_burst(self) -> float:
        """How long it must be silent after what was heard."""
        if self._bursts or self._burst >= _GLITCH:
            return _LONG_SILENCE
        return LONGEST_LISTEN if self._burst else 0.0

    async def _garbled(self, speed: int, end: Callable[[], float], *, least: float) -> bool:
        """Listen at one speed until `end` (monotonic), or until it was noise there for `least` seconds."""
        line = await self.open(speed)
        clock = self._clock
        arrived = clock.monotonic()
        first: float | None = None  # when it was noise
        while (left := end() - clock.monotonic()) > 0:
            if first is not None:
                # to the end of a burst: the next speed would hear but the rest of it
                longest = max(arrived + least + _BETWEEN, first + _EXCHANGE)
                over = min(max(arrived + least, self._last + _BETWEEN), longest)
                left = min(left, over - clock.monotonic())
                if left <= 0:
                    return True
            data = await line.receive(left)
            self._note(data)
            if data and first is None:
                first = self._last
            if line.ears.foreign or line.ears.answers:
                await self.follow(line)
        return False

    def _note(self, data: bytes) -> None:
        if not data:
            return
        now = self._clock.monotonic()
        before = 0 if now - self._last > _PAUSE else self._burst
        self._burst, self._last = before + len(data), now
        self._bursts += before < _GLITCH <= self._burst

    # --- while asking ------------------------------------------------------------------------------------------------

    def asked(self) -> None:
        """A question goes out."""
        if self.began is None:
            self.began = self._clock.monotonic()

    @property
    def in_time(self) -> bool:
        """Whether there is time for another question."""
        return self.began is None or self._clock.monotonic() < self.began + _LONGEST_SCAN

    async def attend(self, line: ScanLine) -> None:
        """Follow whoever was heard."""
        if line.ears.somebody:
            await self.follow(line)

    async def settle(self, line: ScanLine) -> None:
        """Wait until the line has been quiet for long enough."""
        now = self._clock.monotonic()
        quiet, end = now + QUIET, now + LONGEST_LISTEN
        while (left := quiet - now) > 0:
            if now >= end:
                raise Verdict(Outcome.NOISE)
            if not self.in_time:
                return
            data = await line.receive(left)
            now = self._clock.monotonic()
            await self.attend(line)
            if data:
                quiet = now + QUIET

    def unexplained(self) -> None:
        """More came than a glitch: the second time somebody is there, whatever it speaks."""
        self.noise = True
        self._bursts += 1
        if self._bursts > 1:
            raise Verdict(Outcome.NOISE)

    async def puzzle(self, line: ScanLine, size: int, *, damaged: bool = False) -> None:
        """So many bytes came that nobody can explain: nothing is asked before the line is quiet.

        `damaged`: they have the form of an answer to what was asked. The line may be closed afterwards.
        """
        self.noise = True
        others = tuple(speed for speed in self._speeds if speed != line.baudrate)
        order = (*others, line.baudrate)
        if damaged or size < _GLITCH:
            await self.settle(line)
            self._glitches += 1
            if self._glitches >= _GLITCHES:
                self._glitches = 0
                self._begin()
                await self._eliminate(order, LONGEST_LISTEN)
            return
        self.unexplained()
        self._begin()
        began = self._last
        await self._eliminate(order, _LONG_SILENCE)
        if self._bursts > 1:
            raise Verdict(Outcome.NOISE)
        if self.began is not None:
            self.began += self._clock.monotonic() - began

    # --- somebody else -----------------------------------------------------------------------------------------------

    async def follow(self, line: ScanLine) -> None:
        """Somebody else asks: listen until it is known in what and whom, and say so."""
        untold, longest = _FOLLOW_WATCHING if self._watching else _FOLLOW
        follower = Follower(self._protocols)
        for when, data in line.ears.recent:
            follower.hear(data, when)
        began = self._clock.monotonic()
        self._tell(1.0, line.baudrate)
        while not follower.repeated:
            end = began + (longest if follower.told else untold)
            if (left := end - self._clock.monotonic()) <= 0:
                break
            if data := await line.receive(min(left, 1.0)):
                follower.hear(data, self._clock.monotonic())
        outcome = Outcome.LINK_PORT if line.ears.link_bus else Outcome.OTHER_MASTER
        raise Verdict(outcome, baudrate=line.baudrate, **follower.verdict(line.ears.questions))
