"""What the pack commands of the Pylontech RS485 protocol answer: 42, 44, 47, 92, 93, 51, 96.

Source: pylon-rs485.md section 6. Every function takes the bytes of INFO and raises FrameError when they are not what
the section says, to the last byte.
"""

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final

from ...errors import FrameError
from ...model import Alarm, Condition, Identity, Mode, PackState, Severity, charge_share, power_of
from ..base import Decoded
from .dialects import PACE, SEPLOS

WHOLE_GROUP: Final = 0xFF  # in place of an address in INFO
BLANK_BYTE: Final = 0xFF
BLANK_WORD: Final = 0xFFFF
_BLANK_24: Final = 0xFFFFFF
_ZERO_CELSIUS: Final = 2731  # raw count of 0 degC, 0.1 K each (section 6.1)
_MOST_CELLS: Final = 24
_MOST_SENSORS: Final = 16
_MOST_PACKS: Final = 16

_WORDS: Final = tuple(Struct(f">{count}H") for count in range(_MOST_CELLS + 1))


def celsius(raw: int) -> float | None:
    """A temperature word in degC."""
    return None if raw == BLANK_WORD else (raw - _ZERO_CELSIUS) / 10


def word(raw: int, scale: int) -> float | None:
    """An unsigned word in units of 1/scale."""
    return None if raw == BLANK_WORD else raw / scale


def current_limit(raw: int, scale: int = 10) -> float | None:
    """A limit that was read as a signed word, in A, without the sign that tells the direction; FFFF is a blank."""
    return None if raw == -1 else abs(raw) / scale


def text(raw: bytes) -> str | None:
    """A padded text; None when there is nothing in it."""
    shown = raw.split(b"\0", 1)[0].decode("latin-1").strip(" -\xff")
    return shown if shown and shown.isprintable() else None


def version(raw: bytes) -> str:
    """Version bytes as they are usually printed: 2.3."""
    return ".".join(map(str, raw))


def _gather(packs: Mapping[int, PackState], notes: Mapping[int, Mapping[str, object]]) -> Decoded:
    """Notes of one pack stand by themselves, those of several under their address."""
    if len(packs) == 1:
        return Decoded(packs=packs, info=next(iter(notes.values()), {}))
    return Decoded(packs=packs, info={str(address): note for address, note in notes.items()})


def _records(
    info: bytes,
    address: int,
    value: int | None,
    read: Callable[[bytes, int, int, dict[str, object]], tuple[PackState, int]],
) -> Decoded:
    """Read one record, or as many as a group has, up to the last byte.

    `value` is what was asked for: the pack, FF for the whole group, or None when the question is not known.
    """
    if len(info) < 4:
        raise FrameError(f"{len(info)} bytes are too short for this answer")
    single = value != WHOLE_GROUP
    if value is None and info[1] == address:
        # overheard: a pack that names itself, or a group of just as many packs; only the length can tell
        try:
            return _records(info, address, address, read)
        except FrameError:
            single = False
    elif value is None:
        single = False
    count = 1 if single else info[1]
    if not 1 <= count <= _MOST_PACKS:
        raise FrameError(f"{count} packs in one answer")
    first = info[1] if single else address
    packs: dict[int, PackState] = {}
    notes: dict[int, dict[str, object]] = {}
    at = 2
    for place in range(first, first + count):
        note: dict[str, object] = {}
        packs[place], at = read(info, at, place, note)
        if note:
            notes[place] = note
    if at != len(info):
        raise FrameError(f"{len(info) - at} bytes are left after the last record")
    return _gather(packs, notes)


def _counted(info: bytes, at: int, most: int, what: str) -> int:
    """A count that the rest of the record depends on."""
    if at >= len(info):
        raise FrameError("the record ends early")
    count = info[at]
    if not 1 <= count <= most:
        raise FrameError(f"{count} {what} in one pack")
    return count


# --- 42, section 6.1 -------------------------------------------------------------------------------------------------

_ANALOG_TAIL: Final = Struct(">hHHBHH")  # 0.1 A, mV, mAh, user-defined items, mAh, cycles
_SECOND_CAPACITY: Final = 6  # bytes, present when there are four items
_SHORT_ITEMS: Final = 2
_LONG_ITEMS: Final = 4
# Other makers use the same record up to here and go on differently (section 9, section 10).
_FOREIGN_ITEMS: Final = {3: PACE, 9: PACE, 10: SEPLOS}

_ANALOG_DERIVED: Final = frozenset({"power", "soc"})
_ONLY_POWER: Final = frozenset({"power"})
_ONLY_SOC: Final = frozenset({"soc"})
_CELL_SENSORS: Final = 4
_MOSFET_PLACE: Final = 5


def _analog_record(info: bytes, at: int, address: int, note: dict[str, object]) -> tuple[PackState, int]:
    cells = _counted(info, at, _MOST_CELLS, "cells")
    at += 1 + 2 * cells
    sensors = _counted(info, at, _MOST_SENSORS, "temperatures")
    tail = at + 1 + 2 * sensors
    end = tail + _ANALOG_TAIL.size
    if end > len(info):
        raise FrameError("the record ends early")
    amps, volts, remaining, items, full, cycles = _ANALOG_TAIL.unpack_from(info, tail)
    if items == _LONG_ITEMS:
        if end + _SECOND_CAPACITY > len(info):
            raise FrameError("the record ends early")
        # capacity 1 cannot hold more than 65 Ah; capacity 2 always stands
        remaining, full = int.from_bytes(info[end : end + 3]), int.from_bytes(info[end + 3 : end + 6])
        blank = _BLANK_24
        end += _SECOND_CAPACITY
    elif items == _SHORT_ITEMS:
        blank = BLANK_WORD
    elif (dialect := _FOREIGN_ITEMS.get(items)) is not None:
        raise dialect.error()
    else:
        raise FrameError(f"{items} user-defined items, 2 or 4 are known")

    raw_cells = _WORDS[cells].unpack_from(info, at - 2 * cells)
    cell_voltages: tuple[float | None, ...] | None
    if BLANK_WORD in raw_cells:
        cell_voltages = tuple([word(raw, 1000) for raw in raw_cells])
        if not any(cell_voltages):
            cell_voltages = None
    else:
        cell_voltages = tuple([raw / 1000 for raw in raw_cells])
    temperatures = [celsius(raw) for raw in _WORDS[sensors].unpack_from(info, at + 1)]
    if sensors > _MOSFET_PLACE + 1:
        note["further_temperatures_C"] = temperatures[_MOSFET_PLACE + 1 :]
    on_cells = temperatures[1 : 1 + _CELL_SENSORS]

    voltage = None if volts == BLANK_WORD else volts / 1000
    current = amps / 10
    remaining_capacity = None if remaining == blank else remaining / 1000
    full_capacity = None if full == blank else full / 1000
    soc = None
    if remaining_capacity is not None and full_capacity is not None:
        soc = charge_share(remaining_capacity, full_capacity)
    if soc is None:
        derived = _ONLY_POWER if voltage is not None else frozenset()
    else:
        derived = _ANALOG_DERIVED if voltage is not None else _ONLY_SOC
    state = PackState(
        address=address,
        voltage=voltage,
        current=current,
        power=power_of(voltage, current),
        soc=soc,
        remaining_capacity=remaining_capacity,
        full_capacity=full_capacity,
        cycles=None if cycles == BLANK_WORD else cycles,
        cell_voltages=cell_voltages,
        cell_temperatures=tuple(on_cells) if any(value is not None for value in on_cells) else None,
        mosfet_temperature=temperatures[_MOSFET_PLACE] if sensors > _MOSFET_PLACE else None,
        pcb_temperature=temperatures[0],
        derived=derived,
    )
    return state, end


def analog(info: bytes, address: int, value: int | None) -> Decoded:
    """42: voltages, temperatures, current, capacities."""
    return _records(info, address, value, _analog_record)


# --- 44, section 6.2 -------------------------------------------------------------------------------------------------


def _alarm(condition: Condition, severity: Severity = Severity.PROTECTION) -> Alarm:
    return Alarm(condition=condition, severity=severity)


_OTHER: Final = 0xF0  # "other error"; a code that no document names is taken for it as well
_LOW, _HIGH = 0x01, 0x02

_CELL_CODES: Final = {
    _LOW: (Condition.CELL_UNDERVOLTAGE, Severity.PROTECTION),
    _HIGH: (Condition.CELL_OVERVOLTAGE, Severity.PROTECTION),
    _OTHER: (Condition.CELL_FAILURE, Severity.FAULT),
}
_SENSOR_CODES: Final = {
    _LOW: _alarm(Condition.UNDERTEMPERATURE),
    _HIGH: _alarm(Condition.OVERTEMPERATURE),
    _OTHER: _alarm(Condition.TEMPERATURE_SENSING_FAILURE, Severity.FAULT),
}
_MOSFET_CODES: Final = _SENSOR_CODES | {_HIGH: _alarm(Condition.MOSFET_OVERTEMPERATURE)}
_UNCLEAR: Final = _alarm(Condition.OTHER, Severity.FAULT)
# charge current, module voltage, discharge current; too low a current cannot be, so both codes mean too high
_MODULE_CODES: Final = (
    dict.fromkeys((_LOW, _HIGH), _alarm(Condition.CHARGE_OVERCURRENT)) | {_OTHER: _UNCLEAR},
    {
        _LOW: _alarm(Condition.PACK_UNDERVOLTAGE),
        _HIGH: _alarm(Condition.PACK_OVERVOLTAGE),
        _OTHER: _UNCLEAR,
    },
    dict.fromkeys((_LOW, _HIGH), _alarm(Condition.DISCHARGE_OVERCURRENT)) | {_OTHER: _UNCLEAR},
)
_STATUS1: Final = {
    7: _alarm(Condition.PACK_UNDERVOLTAGE),
    6: _alarm(Condition.CHARGE_OVERTEMPERATURE),
    5: _alarm(Condition.DISCHARGE_OVERTEMPERATURE),
    4: _alarm(Condition.DISCHARGE_OVERCURRENT),
    2: _alarm(Condition.CHARGE_OVERCURRENT),
    1: _alarm(Condition.CELL_UNDERVOLTAGE),
    0: _alarm(Condition.PACK_OVERVOLTAGE),
}
_FULLY_CHARGED: Final = _alarm(Condition.FULLY_CHARGED, Severity.WARNING)
# Switches and states that the model has no field for; the permission to charge is in 92.
_STATUS2: Final = {
    3: "using_battery_module_power",
    2: "discharge_mosfet_on",
    1: "charge_mosfet_on",
    0: "pre_mosfet_on",
}
_CHARGING, _DISCHARGING, _HEATER, _FULL, _BUZZER = 0x80, 0x40, 0x20, 0x08, 0x01
_STATUS1_KNOWN: Final = sum(1 << bit for bit in _STATUS1)
_STATUS2_KNOWN: Final = sum(1 << bit for bit in _STATUS2)
_STATUS3_KNOWN: Final = _CHARGING | _DISCHARGING | _HEATER | _FULL | _BUZZER
_STATUS_BYTES: Final = 8  # three status bytes of the module and status 1 to 5


def _named(status: int, names: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(name for bit, name in names.items() if status >> bit & 1)


_SWITCHES: Final = tuple(_named(status, _STATUS2) for status in range(16))


def _unnamed(status1: int, status2: int, status3: int, faults: int, cells: int) -> dict[str, int]:
    """Bits that are set and that no document explains, for diagnostics."""
    left = {
        "status1": status1 & ~_STATUS1_KNOWN,
        "status2": status2 & ~_STATUS2_KNOWN,
        "status3": status3 & ~_STATUS3_KNOWN,
        "cell_fault": faults >> cells << cells,
    }
    return {name: bits for name, bits in left.items() if bits}


def _mode(status3: int) -> Mode:
    """What the pack says of its current (more than 0.1 A either way) and of being full."""
    if status3 & _CHARGING:
        return Mode.CHARGING
    if status3 & _DISCHARGING:
        return Mode.DISCHARGING
    return Mode.FULL if status3 & _FULL else Mode.STANDBY


def _cell_alarms(codes: bytes, faults: int) -> set[Alarm]:
    found = set()
    for cell, code in enumerate(codes, 1):
        if code:
            condition, severity = _CELL_CODES.get(code, _CELL_CODES[_OTHER])
            found.add(Alarm(condition=condition, severity=severity, cell=cell))
        if faults >> (cell - 1) & 1:
            found.add(Alarm(condition=Condition.CELL_FAILURE, severity=Severity.FAULT, cell=cell))
    return found


def _alarm_record(info: bytes, at: int, address: int, note: dict[str, object], extra: int = 0) -> tuple[PackState, int]:
    cells = _counted(info, at, _MOST_CELLS, "cells")
    at += 1 + cells
    sensors = _counted(info, at, _MOST_SENSORS, "temperatures")
    after = at + 1 + sensors
    end = after + _STATUS_BYTES + extra
    if end > len(info):
        raise FrameError("the record ends early")
    cell_codes, sensor_codes, module_codes = info[at - cells : at], info[at + 1 : after], info[after : after + 3]
    status1, status2, status3, low_faults, high_faults = info[after + 3 : after + _STATUS_BYTES]
    faults = low_faults | high_faults << 8

    alarms = _cell_alarms(cell_codes, faults) if any(cell_codes) or faults else set()
    for place, code in enumerate(sensor_codes):
        if code:
            codes = _MOSFET_CODES if place == _MOSFET_PLACE else _SENSOR_CODES
            alarms.add(codes.get(code, codes[_OTHER]))
    for codes, code in zip(_MODULE_CODES, module_codes, strict=True):
        if code:
            alarms.add(codes.get(code, codes[_OTHER]))
    alarms.update(alarm for bit, alarm in _STATUS1.items() if status1 >> bit & 1)
    if status3 & _FULL:
        alarms.add(_FULLY_CHARGED)

    note["switches"] = _SWITCHES[status2 & 0x0F]
    if status3 & _BUZZER:
        note["buzzer_on"] = True
    if unnamed := _unnamed(status1, status2, status3, faults, cells):
        note["unnamed_bits"] = unnamed
    if extra:
        note["trailing_hex"] = info[end - extra : end].hex()
    state = PackState(
        address=address,
        mode=_mode(status3),
        alarms=frozenset(alarms),
        heater_active=bool(status3 & _HEATER),
    )
    return state, end


def _longer_alarm_record(info: bytes, at: int, address: int, note: dict[str, object]) -> tuple[PackState, int]:
    return _alarm_record(info, at, address, note, extra=1)


def alarms(info: bytes, address: int, value: int | None) -> Decoded:
    """44: alarms and switches.

    US2000C and US5000 send one byte more a pack than is documented (pylon-44-us5000-charging): kept as it came.
    """
    try:
        return _records(info, address, value, _alarm_record)
    except FrameError as err:
        try:
            return _records(info, address, value, _longer_alarm_record)
        except FrameError:
            raise err from None


PACK_CONDITIONS: Final = frozenset(
    {condition for condition, _ in _CELL_CODES.values()}
    | {alarm.condition for codes in (_MOSFET_CODES, _SENSOR_CODES, *_MODULE_CODES) for alarm in codes.values()}
    | {alarm.condition for alarm in (*_STATUS1.values(), _FULLY_CHARGED)}
)


# --- 47, section 6.3 -------------------------------------------------------------------------------------------------

_PARAMETERS: Final = Struct(">B5Hh5Hh")
# name, scale; None is a temperature. Currents come signed and are shown without the sign.
_PARAMETER_FIELDS: Final = (
    ("cell_high_limit_V", 1000),
    ("cell_low_limit_V", 1000),
    ("cell_under_limit_V", 1000),
    ("charge_high_temp_limit_C", None),
    ("charge_low_temp_limit_C", None),
    ("charge_current_limit_A", 10),
    ("module_high_limit_V", 1000),
    ("module_low_limit_V", 1000),
    ("module_under_limit_V", 1000),
    ("discharge_high_temp_limit_C", None),
    ("discharge_low_temp_limit_C", None),
    ("discharge_current_limit_A", 10),
)


def parameters(info: bytes, address: int, value: int | None) -> Decoded:
    """47: the thresholds that the pack was built with. Settings, not what it allows now."""
    if len(info) != _PARAMETERS.size:
        raise FrameError(f"system parameters of {len(info)} bytes, {_PARAMETERS.size} are known")
    found: dict[str, object] = {}
    for (name, scale), raw in zip(_PARAMETER_FIELDS, _PARAMETERS.unpack(info)[1:], strict=True):
        shown = celsius(raw) if scale is None else current_limit(raw, scale) if scale == 10 else word(raw, scale)
        if shown is not None:
            found[name] = shown
    return Decoded(info=found)


# --- 92, section 6.4 -------------------------------------------------------------------------------------------------

_MANAGEMENT: Final = Struct(">BHHhhB")
# python-pylontech swaps the names of bits 5 and 4; both ask for a charge
_CHARGE_ENABLE, _DISCHARGE_ENABLE, _CHARGE_NOW, _FULL_CHARGE = 0x80, 0x40, 0x30, 0x08


def management(info: bytes, address: int, value: int | None) -> Decoded:
    """92: what the pack allows now."""
    if len(info) != _MANAGEMENT.size:
        raise FrameError(f"management values of {len(info)} bytes, {_MANAGEMENT.size} are known")
    place, charge_volts, discharge_volts, charge_amps, discharge_amps, status = _MANAGEMENT.unpack(info)
    blank = status == BLANK_BYTE
    state = PackState(
        address=place,
        charge_voltage_limit=word(charge_volts, 1000),
        discharge_voltage_limit=word(discharge_volts, 1000),
        charge_current_limit=current_limit(charge_amps),
        discharge_current_limit=current_limit(discharge_amps),
        charge_enabled=None if blank else bool(status & _CHARGE_ENABLE),
        discharge_enabled=None if blank else bool(status & _DISCHARGE_ENABLE),
        force_charge_requested=None if blank else bool(status & _CHARGE_NOW),
        full_charge_requested=None if blank else bool(status & _FULL_CHARGE),
    )
    unnamed = 0 if blank else status & 0x07
    return Decoded(packs={place: state}, info={"unnamed_bits": {"status": unnamed}} if unnamed else {})


# --- 51, 93, 96, section 6.5 -----------------------------------------------------------------------------------------


def manufacturer(info: bytes, address: int, value: int | None) -> Decoded:
    """51: name, software version and maker.

    A master gives its own. A slave gives its master's (pylon-51-us2000c-7) or its own, and nothing tells which, so that
    only the maker is taken for its identity.
    """
    if len(info) != 32:
        raise FrameError(f"manufacturer information of {len(info)} bytes, 32 are known")
    maker, model = text(info[12:]), text(info[:10])
    if maker is not None and maker.startswith(SEPLOS.maker):
        raise SEPLOS.error()
    if maker is None and model is None:
        # alarms of 15 cells and 5 sensors are as long, and a late answer does not say what it answers
        raise FrameError("manufacturer information without a name")
    software = version(info[10:12])
    identity = Identity(manufacturer=maker)
    if is_master(address):
        identity = Identity(manufacturer=maker, model=model, firmware=software)
    return Decoded(
        identities={address: identity},
        info={"device_name": model, "software_version": software, "manufacturer": maker},
    )


def is_master(address: int) -> bool:
    """Whether packs at this address answer for a group; 01 is the only address of old RS232 packs (section 11)."""
    return address & 0x0F in (0x01, 0x02)


def serial(info: bytes, address: int, value: int | None) -> Decoded:
    """93: the serial number, 16 characters."""
    if len(info) != 17:
        raise FrameError(f"a serial number of {len(info)} bytes, 17 are known")
    return Decoded(identities={info[0]: Identity(serial=text(info[1:]))})


def firmware(info: bytes, address: int, value: int | None) -> Decoded:
    """96: versions, of the pack that was asked; the first is the one that 51 gives for a master."""
    if len(info) != 6:
        raise FrameError(f"version information of {len(info)} bytes, 6 are known")
    own, main_line = version(info[1:3]), version(info[3:6])
    return Decoded(
        identities={info[0]: Identity(firmware=own)},
        info={"manufacture_version": own, "mainline_version": main_line},
    )
