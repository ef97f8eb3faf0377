"""A CAN adapter that speaks slcan (Lawicel) on our own serial transport: local ports, TCP bridges, ESPHome proxies.

Set-up is all that is ever written: C (close), S (bit rate), V (which firmware), M (its silent mode), L (listen only)
and O (open). The line is read as text, a frame a line:

    t iii l dd...   data frame, 11-bit identifier, l bytes        T iiiiiiii l dd...   the same with 29 bits
    r iii l         remote frame                                  R iiiiiiii l         the same with 29 bits

A frame may be followed by a time stamp of four or eight digits. An empty line says yes, a BEL no.
"""

from binascii import unhexlify
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from types import MappingProxyType
from typing import Final

from ..can_frame import EXTENDED, CanFrame
from ..clock import Clock
from ..errors import LinkError, LinkProblem
from . import ByteTransport

RATES: Final = MappingProxyType(
    {
        10_000: b"S0",
        20_000: b"S1",
        50_000: b"S2",
        100_000: b"S3",
        125_000: b"S4",
        250_000: b"S5",
        500_000: b"S6",
        800_000: b"S7",
        1_000_000: b"S8",
    }
)

# s to wait for an answer to a command; some firmware never answers at all (can.md section 10.3)
_PATIENCE: Final = 0.3
_PATIENCE_REMOTE: Final = 1.5
_CLOSING: Final = 0.05  # s for an adapter to take the last command before its port goes
# s without a byte on a network line after which it is set up anew: a gateway that lost power says nothing
_SILENCE: Final = 60.0
_LONGEST: Final = 256  # bytes of a line; a frame of CAN FD with a time stamp has 148
_BEL: Final = b"\a"
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
# What else adapters write: the result of sending, CAN FD frames, which no battery uses, and what they say of themselves.
_OF_NO_USE: Final = frozenset(b"zZdDbBVvNF")


class _Answer(Enum):
    YES = "yes"
    NO = "no"


class LineReader:
    """Bytes into frames; whatever is not a frame is counted or ignored, never raised."""

    def __init__(self) -> None:
        """Begin between two lines."""
        self.errors = 0  # lines that are not what an adapter writes
        self.answer: _Answer | None = None  # the newest
        self._rest = b""
        self._overlong = False

    def feed(self, data: bytes) -> list[CanFrame]:
        """Data frames that are complete by now."""
        *lines, rest = (self._rest + data.replace(_BEL, b"\a\r")).split(b"\r")
        if len(rest) > _LONGEST:
            self.errors += not self._overlong
            self._overlong = True
            rest = b""
        frames: list[CanFrame] = []
        for line in lines:
            if self._overlong:
                self._overlong = False
            elif (frame := self._take(line.strip(b"\n"))) is not None:
                frames.append(frame)
        self._rest = rest
        return frames

    def _take(self, line: bytes) -> CanFrame | None:
        if not line:
            self.answer = _Answer.YES
            return None
        if line.endswith(_BEL):
            self.answer = _Answer.NO
            self.errors += len(line) > 1
            return None
        kind = line[0]
        try:
            if kind == 0x74:  # t
                return _frame(line, 3, 0x7FF, 0)
            if kind == 0x54:  # T
                return _frame(line, 8, 0x1FFFFFFF, EXTENDED)
        except ValueError:
            self.errors += 1
            return None
        if kind not in _OF_NO_USE and not _is_remote(line):
            self.errors += 1
        return None


def _frame(line: bytes, digits: int, largest: int, flag: int) -> CanFrame:
    """A data frame; raises ValueError for anything else."""
    # int() takes blanks, signs and underscores for a part of a number
    if not _HEX.issuperset(line[1:]):
        raise ValueError
    frame_id = int(line[1 : digits + 1], 16)
    start = digits + 2
    size = line[digits + 1 : start]
    if frame_id > largest or not b"0" <= size <= b"8":
        raise ValueError
    end = start + 2 * int(size)
    if len(line) - end not in {0, 4, 8}:
        raise ValueError
    return CanFrame(id=frame_id | flag, data=unhexlify(line[start:end]))


def _is_remote(line: bytes) -> bool:
    digits = {0x72: 3, 0x52: 8}.get(line[0])  # r, R
    return digits is not None and len(line) - digits - 2 in {0, 4, 8} and _HEX.issuperset(line[1:])


class SlcanBus:
    """A bus behind such an adapter; implements `CanTransport`."""

    def __init__(self, line: ByteTransport, *, bitrate: int, listen_only: bool, clock: Clock) -> None:
        """Remember the line; nothing is opened yet. `bitrate` is one of `RATES`, or opening fails."""
        self._line = line
        self._bitrate = bitrate
        self._listen_only = listen_only
        self._clock = clock
        self._remote = "://" in line.name
        self._reader = LineReader()
        self._frames: list[CanFrame] = []
        self._errors = 0  # of readers that are gone
        self._heard = 0.0
        self._is_open = False
        self._is_told = False  # to open the bus, whatever came of it: it has to be told to close it
        self._confirmed = False  # that the bus is open, by an answer or a frame
        self._is_guess = False  # that it does as it was told

    @property
    def name(self) -> str:
        """See `CanTransport`."""
        return f"slcan:{self._line.name}"

    @property
    def bitrate(self) -> int | None:
        """See `CanTransport`."""
        return self._bitrate

    @property
    def silent(self) -> bool | None:
        """See `CanTransport`."""
        return None if self._is_guess else self._listen_only

    @property
    def errors(self) -> int:
        """See `CanTransport`."""
        return self._errors + (self._reader.errors if self._is_open else 0)

    async def open(self) -> None:
        """See `CanTransport`."""
        rate = RATES.get(self._bitrate)
        if rate is None:
            raise LinkError(LinkProblem.FAILED, f"slcan has no {self._bitrate} bit/s")
        await self.close()
        await self._line.open()
        try:
            await self._set_up(rate)
        except BaseException:
            await self.close()
            raise

    async def _set_up(self, rate: bytes) -> None:
        """Close, set the bit rate, open.

        No empty line is ever sent: CANable's firmware takes one for "the last command again", and that may have been
        a frame of another program's (normaldotcom/canable2-fw, src/slcan.c).
        """
        reader = self._reader = LineReader()
        self._frames = []
        # somebody may have left it open, and in the middle of a line, which the first C only ends: only a closed adapter
        # takes a bit rate. It refuses when it was closed
        answers = [await self._ask(b"C"), await self._ask(b"C")] != [None, None]
        answer = await self._ask(rate)
        if answer is _Answer.NO:
            raise LinkError(LinkProblem.FAILED, f"the adapter refuses {self._bitrate} bit/s")
        answers = answers or answer is not None
        opening = b"L" if self._listen_only else b"O"
        self._is_guess = False
        if not answers:
            version = await self._version()
            if b"canable" in version.lower():
                await self._line.send(b"M1\r" if self._listen_only else b"M0\r")
                opening = b"O"
            # it may be a CANable that somebody set to be silent before
            self._is_guess = not version and not self._listen_only
        # what came so far is from before, or noise of a port that was just opened
        reader.errors = 0
        self._frames = []
        self._is_told = True
        answer = await self._ask(opening)
        self._heard = self._clock.monotonic()
        if answer is _Answer.NO:
            raise self._refused()
        self._confirmed = answer is _Answer.YES or bool(self._frames)
        self._is_open = True

    async def _version(self) -> bytes:
        """What a mute adapter says that it is, to tell a CANable with its first maker's firmware.

        That one does not know L and ignores it. Its silent mode is set with M1 before O (normaldotcom/canable-fw and
        canable2-fw, src/slcan.c), and stays set. Elsewhere M is a filter and O acknowledges, so it must be sure.
        """
        await self._line.send(b"V\r")
        until = self._clock.monotonic() + self._patience
        text = b""
        while (left := until - self._clock.monotonic()) > 0 and b"\r" not in text and len(text) < _LONGEST:
            text += await self._line.receive(left)
        return text

    @property
    def _patience(self) -> float:
        return _PATIENCE_REMOTE if self._remote else _PATIENCE

    async def _ask(self, command: bytes) -> _Answer | None:
        """Send a command; None when there was no answer. Frames that come meanwhile are kept, and mean yes to none."""
        reader = self._reader
        reader.answer = None
        await self._line.send(command + b"\r")
        until = self._clock.monotonic() + self._patience
        while reader.answer is None and (left := until - self._clock.monotonic()) > 0:
            self._frames += reader.feed(await self._line.receive(left))
            if self._frames and command in {b"L", b"O"}:
                break
        return reader.answer

    def _refused(self) -> LinkError:
        """Opening it so that it acknowledges, because it refused to be silent, is not for us to decide."""
        detail = "the adapter refuses to listen only" if self._listen_only else "the adapter refuses to open the bus"
        return LinkError(LinkProblem.FAILED, detail)

    async def close(self) -> None:
        """See `CanTransport`."""
        if self._is_open:
            self._is_open = False
            self._errors += self._reader.errors
            self._frames = []
        try:
            if self._is_told:
                self._is_told = False
                with suppress(LinkError):
                    await self._line.send(b"C\r")
                    await self._line.receive(_CLOSING)
        finally:
            await self._line.close()

    async def receive(self, timeout: float) -> Sequence[CanFrame]:
        """See `CanTransport`."""
        if not self._is_open:
            raise LinkError(LinkProblem.LOST, "not open")
        try:
            return await self._receive(timeout)
        except LinkError:
            await self.close()
            raise

    async def _receive(self, timeout: float) -> list[CanFrame]:
        frames, self._frames = self._frames, []
        if frames:
            return frames
        until = self._clock.monotonic() + timeout
        reader = self._reader
        reader.answer = None
        left = timeout
        while not frames:
            data = await self._line.receive(max(left, 0.0))
            now = self._clock.monotonic()
            if data:
                self._heard = now
                frames = reader.feed(data)
                if not self._confirmed:
                    self._confirmed = reader.answer is _Answer.YES or bool(frames)
                    if not self._confirmed and reader.answer is _Answer.NO:
                        raise self._refused()
            elif self._remote and now - self._heard > _SILENCE:
                await self._start_anew()
                reader = self._reader
            left = until - now
            if left <= 0:
                break
        return frames

    async def _start_anew(self) -> None:
        self._is_open = False
        self._errors += self._reader.errors
        await self._line.close()
        await self._line.open()
        await self._set_up(RATES[self._bitrate])
