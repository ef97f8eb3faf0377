"""What packs with a PACE board measure and report: the records of 42 and 44.

Source: pace-ascii.md sections 5 and 6. Boards put a tail after each record whose length nothing in the frame tells: it
is solved from the length of INFO. Every function takes the bytes of INFO and raises FrameError when they fit no tail.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from struct import Struct
from typing import Final

from ...errors import FrameError
from ...model import Alarm, Condition, PackState, Severity, charge_share, power_of
from ..base import Decoded
from ..pylon.dialects import SEPLOS

ALL_PACKS: Final = 0xFF  # in place of a pack's number in INFO
MOST_PACKS: Final = 32

_ZERO_CELSIUS: Final = 2730  # raw count of 0 degC, 0.1 K each; one client uses 2731.5 (section 5)
_NO_SENSOR: Final = 0x8000
_MOST_CELLS: Final = 32
_MOST_SENSORS: Final = 16
# Four sensors on cells, then MOSFET and environment; only with six of them are the places known (sections 5 and 14).
_PLACED: Final = 6
_CELL_SENSORS, _MOSFET_PLACE, _AMBIENT_PLACE = 4, 4, 5

_WORDS: Final = tuple(Struct(f">{count}H") for count in range(_MOST_CELLS + 1))

# The size of the record at an offset, without its tail; None: there can be none.
type _Measure = Callable[[bytes, int], int | None]
# How little sense the record at an offset makes, 0: none of that; decides where several tails solve.
type _Judge = Callable[[bytes, int], float]
# State and notes of the record between two offsets.
type _Read = Callable[[bytes, int, int, int], tuple[PackState, dict[str, object]]]


def celsius(raw: int) -> float | None:
    """A temperature word in degC."""
    return None if raw == _NO_SENSOR else (raw - _ZERO_CELSIUS) / 10


# --- the length of the tail --------------------------------------------------------------------------------------------


def _starts(info: bytes, count: int, tail: int, measure: _Measure) -> list[int] | None:
    """Where `count` records with tails of this length begin, when they end with INFO; and the end."""
    starts = [2]
    for _ in range(count):
        size = measure(info, starts[-1])
        if size is None:
            return None
        starts.append(starts[-1] + size + tail)
    return starts if starts[-1] == len(info) else None


def _solve(info: bytes, count: int, tails: tuple[int, ...], measure: _Measure, judge: _Judge) -> list[int]:
    """Cut INFO into records.

    All records of an answer have tails of one length. One pack has one solution. Should several packs have more, the
    one whose records make most sense is taken, the shortest tail where that does not decide: no answer leaves a memory
    of the tail that the next could use.
    """
    if count == 1:
        size = measure(info, 2)
        if size is not None and len(info) - 2 - size in tails:
            return [2, len(info)]
        found = []
    else:
        found = [starts for tail in tails if (starts := _starts(info, count, tail, measure)) is not None]
    if not found:
        raise FrameError("the records do not add up to the length of the answer")
    if len(found) == 1:
        return found[0]
    return min(found, key=lambda starts: sum(judge(info, start) for start in starts[:-1]))


def _records(
    info: bytes, asked: int | None, tails: tuple[int, ...], measure: _Measure, judge: _Judge, read: _Read
) -> Decoded:
    """Read the record of one pack, or of as many as INFO says.

    `asked` is the pack that the question named, FF for all, or None when the question is not known.
    """
    if len(info) < 4:
        raise FrameError(f"{len(info)} bytes are too short for this answer")
    named = info[1]
    if named > MOST_PACKS:
        raise FrameError(f"{named} is neither a pack nor a number of packs")
    if asked is None:
        # overheard: a pack that names itself, or all packs, counted; only the length can tell
        try:
            starts, first = _solve(info, 1, tails, measure, judge), named
        except FrameError:
            starts, first = _solve(info, named, tails, measure, judge), 1
    elif asked == ALL_PACKS:
        starts, first = _solve(info, named, tails, measure, judge), 1
    else:
        starts, first = _solve(info, 1, tails, measure, judge), named
    packs: dict[int, PackState] = {}
    notes: dict[int, Mapping[str, object]] = {}
    for place, start in enumerate(starts[:-1]):
        packs[first + place], notes[first + place] = read(info, start, starts[place + 1], first + place)
    if len(packs) == 1:
        return Decoded(packs=packs, info=notes[first])
    return Decoded(packs=packs, info={str(address): note for address, note in notes.items() if note})


def _counts(info: bytes, at: int, width: int) -> tuple[int, int] | None:
    """Cells and sensors of the record here, when there can be so many; `width` is bytes a value."""
    if at >= len(info) or not 1 <= (cells := info[at]) <= _MOST_CELLS:
        return None
    place = at + 1 + width * cells
    if place >= len(info) or (sensors := info[place]) > _MOST_SENSORS:
        return None
    return cells, sensors


# --- 42, section 5 -----------------------------------------------------------------------------------------------------

_ANALOG: Final = Struct(">hHHBHHH")  # 10 mA, mV, 10 mAh, user-defined items, 10 mAh, cycles, 10 mAh
_ANALOG_TAILS: Final = (0, 1, 2, 10, 14, 22)
# In the tail: SOC, then two counters that hold the design capacity on real boards and are left alone, then SOH, then
# a second measurement and the figures of the stack.
_SOC_PLACE, _SOH_PLACE = 0, 9
_CELL_MV: Final = range(500, 5001)  # or 0, a cell that is not there
_SEPLOS_ITEMS: Final = 10

_ALL_DERIVED: Final = frozenset({"power", "soc"})
_ONLY_POWER: Final = frozenset({"power"})


def _analog_size(info: bytes, at: int) -> int | None:
    if (counts := _counts(info, at, 2)) is None:
        return None
    cells, sensors = counts
    size = 2 + 2 * cells + 2 * sensors + _ANALOG.size
    if at + size > len(info):
        return None
    if any(mv and mv not in _CELL_MV for mv in _WORDS[cells].unpack_from(info, at + 1)):
        return None
    return size


def _disagreement(info: bytes, at: int) -> float:
    """How far the voltage of the pack is from that of its cells, as a share of it."""
    cells, sensors = info[at], info[at + 1 + 2 * info[at]]
    total: int = sum(_WORDS[cells].unpack_from(info, at + 1))
    volts: int
    (volts,) = _WORDS[1].unpack_from(info, at + 4 + 2 * cells + 2 * sensors)
    return abs(total - volts) / max(total, volts, 1)


def _analog_record(info: bytes, at: int, end: int, address: int) -> tuple[PackState, dict[str, object]]:
    cells = info[at]
    place = at + 1 + 2 * cells
    sensors = info[place]
    fixed = place + 1 + 2 * sensors
    amps, volts, remaining, items, full, cycles, design = _ANALOG.unpack_from(info, fixed)
    raw_cells = _WORDS[cells].unpack_from(info, at + 1)
    if items == _SEPLOS_ITEMS and 5 * volts < sum(raw_cells):
        raise SEPLOS.error()  # 10 mV a count, and a record as long as one with a tail of 14 (pylon-rs485.md section 10)
    tail = info[fixed + _ANALOG.size : end]

    cell_voltages = tuple([mv / 1000 if mv else None for mv in raw_cells])
    temperatures = tuple([celsius(raw) for raw in _WORDS[sensors].unpack_from(info, place + 1)])
    on_cells = temperatures[:_CELL_SENSORS] if sensors == _PLACED else temperatures
    voltage, current = volts / 1000, amps / 100
    soc = float(tail[_SOC_PLACE]) if tail else charge_share(remaining, full)
    state = PackState(
        address=address,
        voltage=voltage,
        current=current,
        power=power_of(voltage, current),
        soc=soc,
        soh=(float(tail[_SOH_PLACE]) or None) if len(tail) > _SOH_PLACE else None,  # 0: not given
        remaining_capacity=remaining / 100,
        full_capacity=full / 100,
        design_capacity=design / 100,
        cycles=cycles,
        cell_voltages=cell_voltages if any(raw_cells) else None,
        cell_temperatures=on_cells if any(value is not None for value in on_cells) else None,
        mosfet_temperature=temperatures[_MOSFET_PLACE] if sensors == _PLACED else None,
        ambient_temperature=temperatures[_AMBIENT_PLACE] if sensors == _PLACED else None,
        derived=_ONLY_POWER if tail or soc is None else _ALL_DERIVED,
    )
    return state, {}


def analog(info: bytes, asked: int | None) -> Decoded:
    """42: voltages, temperatures, current, capacities."""
    return _records(info, asked, _ANALOG_TAILS, _analog_size, _disagreement, _analog_record)


# --- 44, section 6 -----------------------------------------------------------------------------------------------------


def _bits(severity: Severity, *conditions: Condition) -> dict[int, Alarm]:
    """Alarms of the bits of one byte, bit 0 first."""
    return {bit: Alarm(condition=condition, severity=severity) for bit, condition in enumerate(conditions)}


_W, _P, _F = Severity.WARNING, Severity.PROTECTION, Severity.FAULT

_PROTECT1: Final = _bits(
    _P, Condition.CELL_OVERVOLTAGE, Condition.CELL_UNDERVOLTAGE, Condition.PACK_OVERVOLTAGE,
    Condition.PACK_UNDERVOLTAGE, Condition.CHARGE_OVERCURRENT, Condition.DISCHARGE_OVERCURRENT,
    Condition.SHORT_CIRCUIT, Condition.CHARGER_OVERVOLTAGE,
)  # fmt: skip
_PROTECT2: Final = _bits(
    _P, Condition.CHARGE_OVERTEMPERATURE, Condition.DISCHARGE_OVERTEMPERATURE, Condition.CHARGE_UNDERTEMPERATURE,
    Condition.DISCHARGE_UNDERTEMPERATURE, Condition.MOSFET_OVERTEMPERATURE, Condition.AMBIENT_OVERTEMPERATURE,
    Condition.AMBIENT_UNDERTEMPERATURE,
) | {7: Alarm(condition=Condition.FULLY_CHARGED, severity=_W)}  # fmt: skip
_INDICATION: Final = {4: Alarm(condition=Condition.REVERSE_POLARITY, severity=_F)}
_FAULT: Final = _bits(
    _F, Condition.MOSFET_FAILURE, Condition.MOSFET_FAILURE, Condition.TEMPERATURE_SENSING_FAILURE,
    Condition.COMMUNICATION_FAILURE, Condition.CELL_FAILURE, Condition.VOLTAGE_SENSING_FAILURE,
    Condition.CURRENT_LIMITER_FAILURE, Condition.HEATER_FAILURE,
)  # fmt: skip
_WARN1: Final = _bits(
    _W, Condition.CELL_OVERVOLTAGE, Condition.CELL_UNDERVOLTAGE, Condition.PACK_OVERVOLTAGE,
    Condition.PACK_UNDERVOLTAGE, Condition.CHARGE_OVERCURRENT, Condition.DISCHARGE_OVERCURRENT,
)  # fmt: skip
_WARN2: Final = _bits(
    _W, Condition.CHARGE_OVERTEMPERATURE, Condition.DISCHARGE_OVERTEMPERATURE, Condition.CHARGE_UNDERTEMPERATURE,
    Condition.DISCHARGE_UNDERTEMPERATURE, Condition.AMBIENT_OVERTEMPERATURE, Condition.AMBIENT_UNDERTEMPERATURE,
    Condition.MOSFET_OVERTEMPERATURE, Condition.LOW_SOC,
)  # fmt: skip
_WARN1_KNOWN: Final = sum(1 << bit for bit in _WARN1)

_LOW, _HIGH = 0x01, 0x02
_OTHER: Final = 0xF0  # "other fault"; what makers define for themselves (80 to EF) nobody else can name


def _codes(low: Condition, high: Condition, other: Condition) -> dict[int, Alarm]:
    return {
        _LOW: Alarm(condition=low, severity=_W),
        _HIGH: Alarm(condition=high, severity=_W),
        _OTHER: Alarm(condition=other, severity=_F),
    }


_CELL_CODES: Final = _codes(Condition.CELL_UNDERVOLTAGE, Condition.CELL_OVERVOLTAGE, Condition.CELL_FAILURE)
_SENSING: Final = Condition.TEMPERATURE_SENSING_FAILURE
_SENSOR_CODES: Final = _codes(Condition.UNDERTEMPERATURE, Condition.OVERTEMPERATURE, _SENSING)
_PLACED_CODES: Final = {
    _MOSFET_PLACE: _codes(Condition.UNDERTEMPERATURE, Condition.MOSFET_OVERTEMPERATURE, _SENSING),
    _AMBIENT_PLACE: _codes(Condition.AMBIENT_UNDERTEMPERATURE, Condition.AMBIENT_OVERTEMPERATURE, _SENSING),
}
_PACK_NAMES: Final = ("charge_current", "total_voltage", "discharge_current")
# In the same order; too low a current cannot be, so both codes mean too high
_PACK_CODES: Final = (
    _codes(Condition.CHARGE_OVERCURRENT, Condition.CHARGE_OVERCURRENT, Condition.OTHER),
    _codes(Condition.PACK_UNDERVOLTAGE, Condition.PACK_OVERVOLTAGE, Condition.OTHER),
    _codes(Condition.DISCHARGE_OVERCURRENT, Condition.DISCHARGE_OVERCURRENT, Condition.OTHER),
)

_STATES: Final = Struct(">3s9B")
_STATE_TAILS: Final = (0, 1, 2, 3, 4, 5)
_HEATER_ON, _DISCHARGE_ON, _CHARGE_ON = 0x80, 0x04, 0x02
# What no field of the model says; kept for diagnostics.
_INDICATORS: Final = {0: "current_limit_on", 3: "pack_supplying", 5: "ac_in", 6: "shut_down"}
# Bits 1 and 2 concern the MOSFETs, in a sense that sources dispute: not shown.
_CONTROLS: Final = {
    0: "buzzer_enabled",
    3: "current_limit_low_gear",
    4: "current_limit_disabled",
    5: "led_alarm_disabled",
    6: "system_lock",
    7: "test_mode",
}
# The tail of V3.1, bit 0 first. A tail of another length cannot be told apart (section 6).
_V31_TAIL: Final = 5
_V31_FAULT8: Final = dict(
    enumerate(
        (
            "total_voltage",
            "temperature_difference",
            "shunt",
            "trip_state",
            "trip_fault",
            "master_slave_offline",
            "pack_lock",
            "mcu_over_voltage",
        )
    )
)
_V31_INDICATION9: Final = {0: "bluetooth", 1: "wifi", 2: "hardware_over_voltage_limit"}
_V31_FAULT10: Final = {0: "supply_12v"}


def _states_size(info: bytes, at: int) -> int | None:
    if (counts := _counts(info, at, 1)) is None:
        return None
    size = 2 + sum(counts) + _STATES.size
    return size if at + size <= len(info) else None


def _undocumented(info: bytes, at: int) -> float:
    """How many status bytes are none that the documents know."""
    cells, sensors = info[at], info[at + 1 + info[at]]
    place = at + 1 + cells
    codes = info[at + 1 : place] + info[place + 1 : place + 4 + sensors]
    return sum(_HIGH < code < 0x80 or code > _OTHER for code in codes)


def named(byte: int, names: Mapping[int, str]) -> tuple[str, ...]:
    """The names of the bits that are set."""
    return tuple(name for bit, name in names.items() if byte >> bit & 1)


def switched(indication: int) -> tuple[bool, bool, bool]:
    """Whether the charge MOSFET, the discharge MOSFET and the heater are on."""
    return bool(indication & _CHARGE_ON), bool(indication & _DISCHARGE_ON), bool(indication & _HEATER_ON)


def control(byte: int) -> dict[str, bool]:
    """What the control byte says, by name."""
    return {name: bool(byte >> bit & 1) for bit, name in _CONTROLS.items()}


def _code_alarms(cells: bytes, sensors: bytes, pack: bytes) -> tuple[set[Alarm], dict[str, int]]:
    """What the status bytes say, and by place the codes that nobody can name."""
    found: set[Alarm] = set()
    unnamed: dict[str, int] = {}
    for cell, code in enumerate(cells, 1):
        if (alarm := _CELL_CODES.get(code)) is not None:
            found.add(replace(alarm, cell=cell))
        elif code:
            unnamed[f"cell_{cell}"] = code
    for place, code in enumerate(sensors):
        codes = _PLACED_CODES.get(place, _SENSOR_CODES) if len(sensors) == _PLACED else _SENSOR_CODES
        if (alarm := codes.get(code)) is not None:
            found.add(alarm)
        elif code:
            unnamed[f"temperature_{place + 1}"] = code
    for name, codes, code in zip(_PACK_NAMES, _PACK_CODES, pack, strict=True):
        if (alarm := codes.get(code)) is not None:
            found.add(alarm)
        elif code:
            unnamed[name] = code
    return found, unnamed


def _states_record(info: bytes, at: int, end: int, address: int) -> tuple[PackState, dict[str, object]]:
    cells = info[at]
    place = at + 1 + cells
    fixed = place + 1 + info[place]
    (
        codes, protect1, protect2, indication, controls, fault, balance1, balance2, warn1, warn2
    ) = _STATES.unpack_from(info, fixed)  # fmt: skip
    tail = info[fixed + _STATES.size : end]
    alarms: set[Alarm] = set()
    unnamed_codes: dict[str, int] = {}
    if any(info[at + 1 : place]) or any(info[place + 1 : fixed + 3]):
        alarms, unnamed_codes = _code_alarms(info[at + 1 : place], info[place + 1 : fixed], codes)
    for byte, table in zip(
        (protect1, protect2, indication, fault, warn1, warn2),
        (_PROTECT1, _PROTECT2, _INDICATION, _FAULT, _WARN1, _WARN2),
        strict=True,
    ):
        if byte:
            alarms.update(alarm for bit, alarm in table.items() if byte >> bit & 1)
    balancing = balance1 | balance2 << 8

    notes: dict[str, object] = {"indicators": named(indication, _INDICATORS), "control": named(controls, _CONTROLS)}
    unnamed = {"warn1": warn1 & ~_WARN1_KNOWN, "balance": balancing >> cells << cells}
    if any(unnamed.values()):
        notes["unnamed_bits"] = {name: bits for name, bits in unnamed.items() if bits}
    if unnamed_codes:
        notes["unnamed_codes"] = unnamed_codes
    if tail:
        notes["trailing_hex"] = tail.hex()
    if len(tail) == _V31_TAIL:
        notes["tail"] = {
            "fault8": named(tail[0], _V31_FAULT8),
            "indication9": named(tail[1], _V31_INDICATION9),
            "active_balancing_cells": _numbers(tail[2] | tail[3] << 8, cells),
            "fault10": named(tail[4], _V31_FAULT10),
        }
    charge_on, discharge_on, heater_on = switched(indication)
    state = PackState(
        address=address,
        alarms=frozenset(alarms),
        balancing_cells=frozenset(_numbers(balancing, cells)),
        charge_enabled=charge_on,
        discharge_enabled=discharge_on,
        heater_active=heater_on,
    )
    return state, notes


def _numbers(mask: int, cells: int) -> tuple[int, ...]:
    """Numbers from 1 of the cells whose bits are set."""
    return tuple(number for number in range(1, cells + 1) if mask >> (number - 1) & 1) if mask else ()


def states(info: bytes, asked: int | None) -> Decoded:
    """44: states, protections and warnings."""
    return _records(info, asked, _STATE_TAILS, _states_size, _undocumented, _states_record)


_CODE_TABLES: Final = (_CELL_CODES, _SENSOR_CODES, *_PLACED_CODES.values(), *_PACK_CODES)
_BIT_TABLES: Final = (_PROTECT1, _PROTECT2, _INDICATION, _FAULT, _WARN1, _WARN2)
PACK_CONDITIONS: Final = frozenset(
    alarm.condition for table in (*_CODE_TABLES, *_BIT_TABLES) for alarm in table.values()
)
