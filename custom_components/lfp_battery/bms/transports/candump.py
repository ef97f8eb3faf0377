"""Frames of a CAN bus as text, in the form of `candump -L`, which other tools read and play back.

    (1742243701.903879) can0 359#0000000005504E00

A time in seconds, a channel, an identifier of three or eight hexadecimal digits, and the data. What holds a serial number is replaced before it is written (`bus_capture`).
"""

from collections.abc import Callable, Iterator, Sequence
import re
from typing import Final, NamedTuple, override

from ..can_frame import EXTENDED, CanFrame, id_text
from ..clock import Clock
from ..errors import FrameError
from . import CanTransport
from .around import AroundBus

_CHANNEL: Final = "can0"  # whatever the bus is called here: a path says nothing to a reader
_LONGEST: Final = 200  # characters of a line; a frame of CAN FD has room in it
# A direction may follow. "##" begins a frame of CAN FD, "#R" a remote one.
_LINE: Final = re.compile(
    r"\((?P<when>\d{1,12}(?:\.\d{1,9})?)\)\s+\S+\s+(?P<id>[0-9A-Fa-f]{3}|[0-9A-Fa-f]{8})#(?P<data>\S*)(?:\s+[RTrt])?"
)
_DATA: Final = re.compile(r"(?:[0-9A-Fa-f]{2}){0,8}")
_ERROR: Final = 0x20000000  # of an identifier: SocketCAN's own, for error frames
_WIDE: Final = 0x1FFFFFFF


class Passed(NamedTuple):
    """A frame that was on the bus."""

    when: float  # seconds; since when, the log does not say
    frame: CanFrame


def candump_line(when: float, frame: CanFrame) -> str:
    """One line of a log, without its end; `when` in seconds."""
    return f"({when:.6f}) {_CHANNEL} {id_text(frame.id)}#{frame.data.hex().upper()}"


def looks_like_candump(line: str) -> bool:
    """Whether this line begins a log of this form."""
    return line.lstrip().startswith("(")


def read_candump(lines: Iterator[str]) -> Iterator[Passed]:
    """The data frames of a log; remote and error frames and those of CAN FD are left out.

    Raises:
        FrameError: this is not a log of `candump -L`, or a line of it is not one.
    """
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        if len(text) > _LONGEST or (found := _LINE.fullmatch(text)) is None:
            if not line.endswith("\n") and number > 1:
                return  # cut short
            raise FrameError(f"line {number} is not one of candump -L: (time) channel id#data")
        data = found["data"]
        if data.startswith(("#", "R", "r")):
            continue
        if not _DATA.fullmatch(data):
            if not line.endswith("\n") and number > 1:
                return
            raise FrameError(f"line {number} does not hold up to eight bytes in hexadecimal digits")
        frame_id = int(found["id"], 16)
        if len(found["id"]) > 3:
            if frame_id & _ERROR:
                continue
            frame_id = frame_id & _WIDE | EXTENDED
        yield Passed(float(found["when"]), CanFrame(id=frame_id, data=bytes.fromhex(data)))


class RecordingBus(AroundBus):
    """Passes everything on and writes it down."""

    def __init__(self, bus: CanTransport, clock: Clock, write: Callable[[float, CanFrame], None]) -> None:
        """`write` takes a frame and its time: seconds since 1970, as the clock said at first, and counted on from there."""
        super().__init__(bus)
        self._clock = clock
        self._write = write
        self._offset = clock.utc().timestamp() - clock.monotonic()

    @override
    async def receive(self, timeout: float) -> Sequence[CanFrame]:
        """See `CanTransport`."""
        frames = await super().receive(timeout)
        when = self._offset + self._clock.monotonic()
        for frame in frames:
            self._write(when, frame)
        return frames
