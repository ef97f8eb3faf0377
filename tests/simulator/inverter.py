"""An inverter on the same line: a second master with questions, pace, speed and manners of its own.

What it asks is what inverters were seen to ask: pylon-rs485.md sections 5 and 6, pace-ascii.md sections 3 and 4,
modbus-rtu.md 3.1, 4.2, 5 and 9. It listens to nobody, and waits for no answer.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, override

from . import modbus
from .bus import Bus, Foreign, SecondMaster
from .pylon_wire import encode, request

_PACE: Final = 0x25


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """What an inverter asks: at its start, and then again and again."""

    requests: Sequence[bytes]
    start: Sequence[bytes] = ()


def _pylon(addresses: Iterable[int]) -> Habit:
    """Every pack by itself, with the limits; serial numbers at the start."""
    packs = tuple(addresses)
    return Habit(
        start=[request(pack, command) for pack in packs for command in (0x93, 0x51)],
        requests=[request(pack, command) for pack in packs for command in (0x42, 0x44, 0x92)],
    )


def _pylon_system(addresses: Iterable[int]) -> Habit:
    """Growatt, Deye and others ask the group as a whole."""
    master = min(addresses)
    return Habit(
        start=[request(master, 0x60)],
        requests=[request(master, command) for command in (0x61, 0x62, 0x63)],
    )


def _pace(addresses: Iterable[int]) -> Habit:
    """States and values of every pack, by the address of its switch."""
    return Habit(
        requests=[encode(pack, command, bytes([pack]), version=_PACE) for pack in addresses for command in (0x42, 0x44)]
    )


def _pace_host(addresses: Iterable[int]) -> Habit:
    """The plug of the first pack, which answers for the others as well."""
    first = min(addresses)
    return Habit(
        requests=[
            encode(first, command, bytes([pack]), version=_PACE) for pack in addresses for command in (0x42, 0x44)
        ]
    )


def _blocks(*blocks: tuple[int, int], start: Sequence[tuple[int, int]] = ()) -> Callable[[Iterable[int]], Habit]:
    """Reads of these blocks (first register, how many) from every unit."""

    def habit(units: Iterable[int]) -> Habit:
        known = tuple(units)
        return Habit(
            start=[modbus.question(unit, *block) for unit in known for block in start],
            requests=[modbus.question(unit, *block) for unit in known for block in blocks],
        )

    return habit


# By protocol, and who asks so where it is known. -> what it asks of these addresses
HABITS: Final[dict[str, dict[str, Callable[[Iterable[int]], Habit]]]] = {
    "pylon-rs485": {"packs": _pylon},
    "pylon-rs485-v35": {"group": _pylon_system},
    "pace-v25-rs485": {"packs": _pace},
    "pace-v25": {"host": _pace_host},
    "growatt-rs485": {
        "EG4 6500EX": _blocks((0x13, 16)),
        "SPF 3KU": _blocks((0x14, 15)),
        "SPF 6KU": _blocks((0x01, 35)),
        "with cells": _blocks((0x13, 23), (0x70, 17), start=[(0x01, 15)]),
    },
    "voltronic-bms-485-20200325": {
        "narrow": _blocks((0x30, 6), (0x60, 10), (0x70, 5), (0x26, 10)),
        "wide": _blocks((0x10, 21), (0x25, 11), (0x30, 16), (0x60, 10), (0x70, 8)),
    },
    "pace-modbus-1.3": {
        "whole": _blocks((0, 37), start=[(150, 30)]),
        "halves": _blocks((0, 13), (15, 22)),
        "newer layout": _blocks((0, 37), (37, 21), start=[(150, 30), (170, 35)]),
    },
    "eg4ll-zt-native": {"whole": _blocks((0, 39), start=[(105, 23)])},
}


class Inverter(Foreign):
    """Asks in turn what its habit is, for as long as it is on."""

    def __init__(
        self, bus: Bus, habit: Habit, *, period: float = 1.0, first: float = 0.1, speed: int | None = None
    ) -> None:
        """`period`: s from one question to the next; `first`: s until it begins; `speed`: baud, None as the packs."""
        self._habit = habit
        self._speed = speed
        self._left = [*habit.start]  # of its start
        self.rounds = 0
        super().__init__(bus, SecondMaster(requests=habit.requests, period=period, first=first))

    def restart(self, off: float = 0.0) -> None:
        """Lose power for so many seconds, and begin anew."""
        self.stop()
        self._turn = 0
        self._left = [*self._habit.start]
        self._next = self._bus.clock.call_later(off, self._ask)

    def hurry(self) -> None:
        """Ask the next question now, whoever else is talking; the pace is kept from here."""
        self.stop()
        self._ask()

    @override
    def _ask(self) -> None:
        bus, requests = self._bus, self._plan.requests
        if self._left:
            question = self._left.pop(0)
        else:
            question = requests[self._turn % len(requests)]
            self._turn += 1
            self.rounds = self._turn // len(requests)
        bus.foreign_requests.append((bus.clock.monotonic(), question))
        bus.transmit(self, question, self._speed or bus.baudrate)
        self._next = bus.clock.call_later(self._plan.period, self._ask)
