"""What a CAN bus carried, fit to be shown to others: bounded, in the form of `candump -L`, without serial numbers.

A payload that holds one is replaced byte by byte; frames that nobody can read are what such a log is for, and are kept
unless they could be text with figures in it.
"""

from collections import deque
import re
from typing import Final

from .can_frame import CanFrame
from .clock import Clock
from .protocols.can import CAN
from .protocols.can.markers import NAMELESS_SERIALS
from .transports.candump import candump_line

_KEPT: Final = 640  # frames, of the beginning and of the end each: about 64 KiB of text in all
_FILLER: Final = b"X"
_TEXT: Final = re.compile(rb"[0-9A-Za-z]{4,}")
_DIGIT: Final = re.compile(rb"[0-9]")


def redacted(frame: CanFrame, family: str | None) -> CanFrame:
    """The same frame without what may be a serial number, read as one of `family` (None: nobody knows of which)."""
    if not is_private(frame, family):
        return frame
    return CanFrame(id=frame.id, data=_FILLER * len(frame.data))


def is_private(frame: CanFrame, family: str | None) -> bool:
    """Whether a frame may hold a serial number, read as one of `family`."""
    if frame.id in NAMELESS_SERIALS:
        return True
    known = CAN.get(family or "")
    if known is not None and frame.id in known.ids:
        return frame.id in known.private_ids
    if any(frame.id in other.private_ids for other in CAN.values()):
        return True
    # half of a serial number, in a frame of no known set
    return any(_DIGIT.search(run.group()) for run in _TEXT.finditer(frame.data))


class BusCapture:
    """Takes down what is heard; of a long story the beginning and the end."""

    def __init__(self, clock: Clock) -> None:
        """The time counts from now."""
        self._clock = clock
        self._started = clock.monotonic()
        self._first: list[tuple[float, CanFrame]] = []
        self._last: deque[tuple[float, CanFrame]] = deque(maxlen=_KEPT)

    def heard(self, frame: CanFrame) -> None:
        """What came."""
        when = self._clock.monotonic() - self._started
        if len(self._first) < _KEPT:
            self._first.append((when, frame))
        else:
            self._last.append((when, frame))

    def text(self, family: str | None) -> str:
        """The log, redacted as frames of this family; empty when nothing came."""
        return "".join(
            f"{candump_line(when, redacted(frame, family))}\n" for when, frame in (*self._first, *self._last)
        )
