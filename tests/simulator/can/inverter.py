"""An inverter beside the batteries: the frames that it sends of its own accord, or in reply (can.md sections 3 and 8)."""

from collections.abc import Callable, Collection
import math
import struct
from typing import Final, NamedTuple

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame

from .speaker import Utterance

_REPLY: Final = 0.02  # s after the frame that triggers it (section 6.1)


class Saying(NamedTuple):
    """One frame of an inverter."""

    id: int
    data: Callable[[float], bytes]  # of the time
    period: float = 1.0  # s
    after: int | None = None  # sent in reply to this id, instead of every so often


def _fixed(content: str) -> Callable[[float], bytes]:
    return lambda _: bytes.fromhex(content)


def _clock(now: float) -> bytes:
    """Deye's 305: second, minute, hour, day, month, year."""
    seconds = int(now)
    return bytes([seconds % 60, seconds // 60 % 60, seconds // 3600 % 24, 1, 1, 26, 0, 0])


def _measured(_: float) -> bytes:
    """SMA's 305: voltage, current (negative = charging), temperature and state of charge, in tenths."""
    return struct.pack("<hhhh", 528, -123, 231, 713)


HABITS: Final[dict[str, tuple[Saying, ...]]] = {
    "generic": (Saying(0x305, _fixed("0000000000000000"), after=0x356),),
    "steady": (Saying(0x305, _fixed("0000000000000000")),),
    "deye": (Saying(0x305, _clock, after=0x356),),
    "victron": (
        Saying(0x305, _fixed("0000000000000000")),
        Saying(0x306, _fixed("0000000000000000")),
        Saying(0x307, _fixed("1234567856494300")),
    ),
    "sma": (
        Saying(0x305, _measured),
        Saying(0x306, _fixed("E803000100003802")),
        Saying(0x307, _fixed("0000000000000000")),
        *(Saying(frame_id, _fixed("0000000000000000")) for frame_id in (0x300, 0x301, 0x302, 0x303, 0x304)),
        *(Saying(frame_id, _fixed("0000000000000000")) for frame_id in (0x308, 0x309)),
    ),
    "growatt": (Saying(0x301, _fixed("0B16212C37424D58"), period=0.5),),
    "afore": (Saying(0x305, _fixed("41464F5245000002")),),
    "megarevo": (Saying(0x1F000100 | EXTENDED, _fixed("0000000000000000")),),
    "sofar": (
        Saying(0x305, _fixed("0000000000000000")),
        Saying(0x605, _fixed("0001000000000000")),
        Saying(0x705, _fixed("0001000000000000")),
    ),
}

# What a family is usually found beside
USUAL: Final[dict[str, str]] = {
    "sma": "sma",
    "victron": "victron",
    "deye_pcs": "deye",
    "growatt": "growatt",
    "afore": "afore",
    "megarevo": "megarevo",
    "sofar": "sofar",
    "pytes": "steady",
    "goodwe_classic": "steady",
}


class CanInverter:
    """Sends one of `HABITS`; implements `Node`."""

    def __init__(self, habit: str = "generic") -> None:
        """`habit`: a key of `HABITS`."""
        self.habit = habit
        self.sayings = HABITS[habit]
        self.hears: Collection[int] = frozenset(saying.after for saying in self.sayings if saying.after is not None)
        self.sent = 0
        self._due: list[float] = []

    def start(self, now: float) -> None:
        """See `Node`."""
        self._due = [math.inf if saying.after is not None else now + 0.005 * n for n, saying in enumerate(self.sayings)]

    def next(self) -> float:
        """See `Node`."""
        return min(self._due)

    def take(self) -> Utterance | None:
        """See `Node`."""
        when = min(self._due)
        place = self._due.index(when)
        saying = self.sayings[place]
        self._due[place] = math.inf if saying.after is not None else when + saying.period
        self.sent += 1
        return Utterance(when, CanFrame(id=saying.id, data=saying.data(when)))

    def hear(self, frame: CanFrame, at: float) -> None:
        """See `Node`."""
        for place, saying in enumerate(self.sayings):
            if saying.after == frame.id:
                self._due[place] = at + _REPLY


def usual_inverter(family: str) -> CanInverter:
    """The inverter that a battery of this family is usually found beside."""
    return CanInverter(USUAL.get(family, "generic"))
