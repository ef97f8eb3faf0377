"""Which bit of 359, 35A and 399 is which condition, in the three ways in which the 35x families use them."""

from typing import Final

from ...model import Condition, Severity
from .layout import Bit, bits, pairs

_PROTECTION, _WARNING = Severity.PROTECTION, Severity.WARNING

# can.md 6.1, bits 4 of Seplos and YamBMS included. Emulators use bit 7 of bytes 1 and 3 for the system or for charge
# over-current: it says that something is wrong, and no more.
_LIMITS_OF_359: Final = {
    1: Condition.OVERVOLTAGE,
    2: Condition.UNDERVOLTAGE,
    3: Condition.OVERTEMPERATURE,
    4: Condition.UNDERTEMPERATURE,
    7: Condition.DISCHARGE_OVERCURRENT,
    8: Condition.CHARGE_OVERCURRENT,
    11: Condition.INTERNAL_FAILURE,
    12: Condition.CELL_IMBALANCE,
}
_LIMITS_OF_PYLON: Final = {**_LIMITS_OF_359, 15: Condition.OTHER}
PYLON_359: Final[tuple[Bit, ...]] = bits(0, _PROTECTION, _LIMITS_OF_PYLON) + bits(2, _WARNING, _LIMITS_OF_PYLON)

# can.md 6.15: 13 and 14 of the warnings are errors of one sub pack; bit 0 is a command to the relay.
LI_RESIDENTIAL_359: Final[tuple[Bit, ...]] = bits(0, _PROTECTION, _LIMITS_OF_359) + bits(
    2, _WARNING, {**_LIMITS_OF_359, 13: Condition.OTHER, 14: Condition.OTHER}
)
_CELLS_OF_399: Final = {0: Condition.CELL_OVERVOLTAGE, 1: Condition.CELL_UNDERVOLTAGE}
LI_RESIDENTIAL_399: Final[tuple[Bit, ...]] = bits(2, _WARNING, _CELLS_OF_399) + bits(4, _PROTECTION, _CELLS_OF_399)

# can.md 6.8: pairs of bits. The first is a group bit that stands beside what it sums up.
_PAIRS: Final = {
    0: Condition.OTHER,
    1: Condition.OVERVOLTAGE,
    2: Condition.UNDERVOLTAGE,
    3: Condition.OVERTEMPERATURE,
    4: Condition.UNDERTEMPERATURE,
    5: Condition.CHARGE_OVERTEMPERATURE,
    6: Condition.CHARGE_UNDERTEMPERATURE,
    7: Condition.DISCHARGE_OVERCURRENT,
    8: Condition.CHARGE_OVERCURRENT,
    9: Condition.CONTACTOR_FAILURE,
    10: Condition.SHORT_CIRCUIT,
    11: Condition.INTERNAL_FAILURE,
    12: Condition.CELL_IMBALANCE,
}
SMA_35A: Final[tuple[Bit, ...]] = pairs(0, _PROTECTION, _PAIRS) + pairs(16, _WARNING, _PAIRS)

# can.md 6.17: two items fewer, and the warnings follow the alarms without a gap, so that they begin at pair 13.
_DISCOVER_PAIRS: Final = {
    **{number: _PAIRS[number] for number in range(1, 9)},
    10: Condition.INTERNAL_FAILURE,
    11: Condition.CELL_IMBALANCE,
}
DISCOVER_35A: Final[tuple[Bit, ...]] = pairs(0, _PROTECTION, {0: Condition.OTHER, **_DISCOVER_PAIRS}) + pairs(
    13, _WARNING, _DISCOVER_PAIRS
)
