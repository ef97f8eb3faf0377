"""What a Voltronic bank complains about: words of bits for all packs, codes for the one that answers.

Source: modbus-rtu.md sections 4.2 and 4.3.
"""

from collections.abc import Mapping
from typing import Final

from ...model import Alarm, Condition, Severity
from .fields import alarm_bits, bits_of
from .frame import Registers

MOST_CELLS, MOST_PROBES = 20, 10
CELL_STATES, PROBE_STATES = 0x41, 0x51  # how many there are stands one before
_WARNING, _PROTECTION = Severity.WARNING, Severity.PROTECTION


def _protection_bits(
    protections: Mapping[int, Condition], faults: Mapping[int, Condition] | None = None
) -> Mapping[int, Alarm]:
    """Bits that mean "stopped", and those that mean "broken"."""
    return {**alarm_bits(_PROTECTION, protections), **alarm_bits(Severity.FAULT, faults or {})}


# Section 4.3. Bits 0 and 1 of 0x0039 and 0x003B are signals of a healthy pack: named nowhere here.
_ALARM_WORDS: Final[Mapping[int, Mapping[int, Alarm]]] = {
    0x37: alarm_bits(
        _WARNING,
        {
            0: Condition.CHARGE_OVERTEMPERATURE,
            1: Condition.CELL_OVERVOLTAGE,
            2: Condition.CHARGE_UNDERTEMPERATURE,
            3: Condition.CHARGE_OVERCURRENT,
        },
    ),
    0x38: alarm_bits(
        _WARNING,
        {
            0: Condition.DISCHARGE_OVERTEMPERATURE,
            1: Condition.DISCHARGE_UNDERTEMPERATURE,
            2: Condition.MOSFET_OVERTEMPERATURE,
            3: Condition.CELL_UNDERVOLTAGE,
        },
    ),
    0x39: _protection_bits(
        {
            3: Condition.CHARGE_OVERCURRENT,
            4: Condition.DISCHARGE_OVERCURRENT,
            5: Condition.SHORT_CIRCUIT,
            6: Condition.MOSFET_OVERTEMPERATURE,
            7: Condition.UNDERVOLTAGE,
            8: Condition.CHARGE_OVERTEMPERATURE,
            9: Condition.CHARGE_UNDERTEMPERATURE,
            10: Condition.CELL_OVERVOLTAGE,
            11: Condition.CHARGE_OVERCURRENT,
            12: Condition.CELL_OVERVOLTAGE,
            15: Condition.CHARGE_OVERCURRENT,
        },
        {2: Condition.INTERNAL_FAILURE, 13: Condition.CONFIGURATION_CONFLICT},
    ),
    0x3A: _protection_bits(
        {1: Condition.PACK_UNDERVOLTAGE, 2: Condition.SHORT_CIRCUIT}, {3: Condition.CONFIGURATION_CONFLICT}
    ),
    0x3B: _protection_bits(
        {
            2: Condition.CHARGE_OVERCURRENT,
            3: Condition.DISCHARGE_OVERCURRENT,
            4: Condition.SHORT_CIRCUIT,
            10: Condition.MOSFET_OVERTEMPERATURE,
            11: Condition.CELL_UNDERVOLTAGE,
            12: Condition.DISCHARGE_OVERCURRENT,
            13: Condition.DISCHARGE_UNDERTEMPERATURE,
            14: Condition.DISCHARGE_OVERTEMPERATURE,
            15: Condition.PACK_UNDERVOLTAGE,
        },
        {6: Condition.CONFIGURATION_CONFLICT},
    ),
    0x3C: _protection_bits(
        {
            1: Condition.SHORT_CIRCUIT,
            2: Condition.DISCHARGE_OVERCURRENT,
            4: Condition.CELL_OVERVOLTAGE,
            5: Condition.DISCHARGE_OVERTEMPERATURE,
        },
        {0: Condition.INTERNAL_FAILURE, 13: Condition.CONFIGURATION_CONFLICT},
    ),
}
# Words of which the bits without an alarm are worth a look in diagnostics.
WORD_NAMES: Final = {
    0x37: "charge_alarms",
    0x38: "discharge_alarms",
    0x39: "charge_protections",
    0x3A: "charge_protections2",
    0x3B: "discharge_protections",
    0x3C: "discharge_protections2",
}

_NORMAL, _LOW, _HIGH = 0x00, 0x01, 0x02  # anything else is "other" (F0)
type _Sides = tuple[Condition, Condition]  # what too low and too high mean
_CELL_SIDES: Final[_Sides] = (Condition.CELL_UNDERVOLTAGE, Condition.CELL_OVERVOLTAGE)
_PACK_SIDES: Final[_Sides] = (Condition.PACK_UNDERVOLTAGE, Condition.PACK_OVERVOLTAGE)
_CHARGE_HEAT: Final[_Sides] = (Condition.CHARGE_UNDERTEMPERATURE, Condition.CHARGE_OVERTEMPERATURE)
_DISCHARGE_HEAT: Final[_Sides] = (Condition.DISCHARGE_UNDERTEMPERATURE, Condition.DISCHARGE_OVERTEMPERATURE)
_PROBE_SIDES: Final[_Sides] = (Condition.UNDERTEMPERATURE, Condition.OVERTEMPERATURE)
# One code a word. Too low a current cannot be, so both codes mean too high.
_STATES: Final[Mapping[int, _Sides]] = {
    0x60: _PACK_SIDES,
    0x61: _PACK_SIDES,
    0x62: _CELL_SIDES,
    0x63: _CELL_SIDES,
    0x64: (Condition.CHARGE_OVERCURRENT, Condition.CHARGE_OVERCURRENT),
    0x65: (Condition.DISCHARGE_OVERCURRENT, Condition.DISCHARGE_OVERCURRENT),
    0x66: _CHARGE_HEAT,
    0x67: _DISCHARGE_HEAT,
    0x68: _CHARGE_HEAT,
    0x69: _DISCHARGE_HEAT,
}


def _state_alarm(code: int, sides: _Sides, cell: int | None = None) -> Alarm:
    low, high = sides
    condition = {_LOW: low, _HIGH: high}.get(code, Condition.OTHER)
    return Alarm(condition=condition, severity=_WARNING, cell=cell)


def _codes(registers: Registers, first: int, count_at: int, most: int) -> list[int] | None:
    """Two codes a word, the high byte first, as many as the count before them says; None: not received."""
    if (words := registers.block(first, (most + 1) // 2)) is None:
        return None
    codes = [code for word in words for code in divmod(word, 0x100)]
    count = registers.u16(count_at)
    return codes[:count] if count and count <= most else codes


def alarms(registers: Registers) -> frozenset[Alarm] | None:
    """What the words say that were received; None: none of them was."""
    found: set[Alarm] = set()
    heard = False
    for register, table in _ALARM_WORDS.items():
        if (word := registers.u16(register)) is not None:
            heard = True
            found |= {table[bit] for bit in bits_of(word) if bit in table}
    for register, sides in _STATES.items():
        if (code := registers.u16(register)) is not None:
            heard = True
            if code != _NORMAL:
                found.add(_state_alarm(code, sides))
    if (codes := _codes(registers, CELL_STATES, CELL_STATES - 1, MOST_CELLS)) is not None:
        heard = True
        found |= {_state_alarm(code, _CELL_SIDES, cell) for cell, code in enumerate(codes, 1) if code != _NORMAL}
    if (codes := _codes(registers, PROBE_STATES, PROBE_STATES - 1, MOST_PROBES)) is not None:
        heard = True
        found |= {_state_alarm(code, _PROBE_SIDES) for code in codes if code != _NORMAL}
    return frozenset(found) if heard else None


def unnamed(registers: Registers) -> dict[str, int]:
    """Bits that are set and no alarms: signals, and what no document explains."""
    return {
        name: left
        for register, name in WORD_NAMES.items()
        if (left := (registers.u16(register) or 0) & ~sum(1 << bit for bit in _ALARM_WORDS[register]))
    }


CONDITIONS: Final = frozenset(
    {alarm.condition for table in _ALARM_WORDS.values() for alarm in table.values()}
    | {side for sides in (*_STATES.values(), _CELL_SIDES, _PROBE_SIDES) for side in sides}
    | {Condition.OTHER}
)
