"""What the words and event bits of the text console mean.

Source: pytes-console.md sections 5 to 8; conditions and severities as agreed for all protocols. Any word other than
Normal counts as a problem, a dash says nothing.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from ...model import Alarm, Condition, Mode, Severity

NORMAL: Final = "Normal"
ABSENT: Final = "Absent"

MODES: Final = MappingProxyType(
    {
        "Charge": Mode.CHARGING,
        "Dischg": Mode.DISCHARGING,
        "Idle": Mode.STANDBY,
        "Balance": Mode.STANDBY,
        "SysError": Mode.FAULT,
    }
)

type _Meaning = tuple[Condition, Severity]

_W, _P, _F = Severity.WARNING, Severity.PROTECTION, Severity.FAULT
_ELSE: Final = "*"


def _words(low: Condition, high: Condition, under: str, over: str, most: Severity = _P) -> dict[str, _Meaning]:
    """The words of one state; `under` and `over` are the abbreviations that one stub prints instead."""
    return {
        "Low": (low, _W),
        "Under": (low, _P),
        under: (low, _P),
        "High": (high, _W),
        "Over": (high, most),
        over: (high, most),
        _ELSE: (Condition.OTHER, _W),
    }


VOLTAGE: Final = _words(Condition.PACK_UNDERVOLTAGE, Condition.PACK_OVERVOLTAGE, "UV", "OV")
CELL_VOLTAGE: Final = _words(Condition.CELL_UNDERVOLTAGE, Condition.CELL_OVERVOLTAGE, "UV", "OV")
CURRENT: Final = _words(Condition.OVERCURRENT, Condition.OVERCURRENT, "UT", "OC")
TEMPERATURE: Final = _words(Condition.UNDERTEMPERATURE, Condition.OVERTEMPERATURE, "UT", "OT")
MOSFET_TEMPERATURE: Final = _words(Condition.UNDERTEMPERATURE, Condition.MOSFET_OVERTEMPERATURE, "UT", "OT")
CHARGE_TEMPERATURE: Final = _words(Condition.CHARGE_UNDERTEMPERATURE, Condition.CHARGE_OVERTEMPERATURE, "UT", "OT")
DISCHARGE_TEMPERATURE: Final = _words(
    Condition.DISCHARGE_UNDERTEMPERATURE, Condition.DISCHARGE_OVERTEMPERATURE, "UT", "OT"
)
CHARGE: Final = _words(Condition.LOW_SOC, Condition.FULLY_CHARGED, "UT", "OT", _W)
SYSTEM: Final[dict[str, _Meaning]] = {_ELSE: (Condition.OTHER, _F)}  # no list of words is known
HEALTH: Final[dict[str, _Meaning]] = {_ELSE: (Condition.CELL_FAILURE, _F)}  # nor of these

# Several of these are not confirmed ([CHI] in section 6). Bits that are left out name states, not problems.
POWER_EVENTS: Final[dict[int, _Meaning]] = {
    0: (Condition.PACK_OVERVOLTAGE, _P),
    1: (Condition.PACK_OVERVOLTAGE, _W),
    3: (Condition.PACK_UNDERVOLTAGE, _W),
    4: (Condition.PACK_UNDERVOLTAGE, _P),
    6: (Condition.END_OF_LIFE, _W),
    8: (Condition.OVERTEMPERATURE, _P),
    9: (Condition.OVERTEMPERATURE, _W),
    11: (Condition.UNDERTEMPERATURE, _W),
    12: (Condition.UNDERTEMPERATURE, _P),
    13: (Condition.FULLY_CHARGED, _W),
    15: (Condition.LOW_SOC, _W),
    16: (Condition.SHORT_CIRCUIT, _P),
    17: (Condition.DISCHARGE_OVERCURRENT, _P),
    18: (Condition.CHARGE_OVERCURRENT, _P),
    19: (Condition.DISCHARGE_OVERCURRENT, _P),
    20: (Condition.CHARGE_OVERCURRENT, _P),
    24: (Condition.INTERNAL_FAILURE, _F),
    28: (Condition.INTERNAL_FAILURE, _F),
    31: (Condition.END_OF_LIFE, _P),
}
SYSTEM_FAULTS: Final[dict[int, _Meaning]] = {
    0: (Condition.REVERSE_POLARITY, _F),
    1: (Condition.CHARGER_OVERVOLTAGE, _P),
    2: (Condition.CURRENT_SENSING_FAILURE, _F),
    5: (Condition.TEMPERATURE_SENSING_FAILURE, _F),
    6: (Condition.VOLTAGE_SENSING_FAILURE, _F),
    7: (Condition.INTERNAL_FAILURE, _F),
    8: (Condition.CONFIGURATION_CONFLICT, _F),
    9: (Condition.COMMUNICATION_FAILURE, _F),
    10: (Condition.MOSFET_FAILURE, _F),
    11: (Condition.MOSFET_FAILURE, _F),
}

_STATES: Final = (
    VOLTAGE,
    CELL_VOLTAGE,
    CURRENT,
    TEMPERATURE,
    MOSFET_TEMPERATURE,
    CHARGE_TEMPERATURE,
    DISCHARGE_TEMPERATURE,
    CHARGE,
    SYSTEM,
    HEALTH,
)
CONDITIONS: Final = frozenset(
    condition for table in (*_STATES, POWER_EVENTS, SYSTEM_FAULTS) for condition, _ in table.values()
)


def alarm(
    table: Mapping[str, _Meaning], word: str | None, cell: int | None = None, *, strict: bool = True
) -> frozenset[Alarm]:
    """What a state word says; `cell` counts from 1. `strict`: a word that is almost Normal is damaged and says nothing."""
    if word is None or word == NORMAL or (strict and word not in table and _is_almost_normal(word)):
        return frozenset()
    condition, severity = table.get(word, table[_ELSE])
    return frozenset((Alarm(condition=condition, severity=severity, cell=cell),))


def _is_almost_normal(word: str) -> bool:
    """Whether one character was changed, lost or gained, or two changed places: no state is spelled like that."""
    if len(word) == len(NORMAL):
        wrong = [place for place, (one, other) in enumerate(zip(word, NORMAL, strict=True)) if one != other]
        return len(wrong) == 1 or sorted(word) == sorted(NORMAL)
    short, long = sorted((word, NORMAL), key=len)
    return len(long) - len(short) == 1 and any(long[:at] + long[at + 1 :] == short for at in range(len(long)))


def events(table: Mapping[int, _Meaning], bits: int) -> Iterable[Alarm]:
    """What is wrong by these event bits."""
    for bit, (condition, severity) in table.items():
        if bits >> bit & 1:
            yield Alarm(condition=condition, severity=severity)
