"""What PACE boards put into 42 and 44, written from the protocol note alone (pace-ascii.md sections 5 and 6)."""

from collections.abc import Iterable
from enum import StrEnum
import struct
from typing import Final

from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity

from .pack import SimPack
from .pylon_wire import word

_NO_SENSOR: Final = 0x8000
_W, _P, _F = Severity.WARNING, Severity.PROTECTION, Severity.FAULT

type Values = dict[str, object]


class Profile(StrEnum):
    """Which firmware is imitated (section 12)."""

    P16_T0 = "p16-t0"  # P=3, nothing after the design capacity
    P16_SOC = "p16-soc"  # P=2, the SOC alone; 44 with one byte of inverter protocols
    P16_V31 = "p16-v31"  # P=9 and all nine; 44 with the five bytes of V3.1
    P16_STACK = "p16-stack"  # as V3.1, with the figures of the stack after them
    P8 = "p8"  # four sensors, P=3 although the tail is long


_ITEMS: Final = {Profile.P16_T0: 3, Profile.P16_SOC: 2, Profile.P16_V31: 9, Profile.P16_STACK: 9, Profile.P8: 3}
_TAIL: Final = {Profile.P16_T0: 0, Profile.P16_SOC: 1, Profile.P16_V31: 14, Profile.P16_STACK: 22, Profile.P8: 14}
_STATE_TAIL: Final = {Profile.P16_SOC: 1, Profile.P16_V31: 5, Profile.P16_STACK: 5}


def _kelvin(degrees: float | None) -> int:
    """A temperature as the wire has it; 2730 is 0 degC (section 5)."""
    return _NO_SENSOR if degrees is None else round(degrees * 10) + 2730


def _celsius(raw: int) -> float | None:
    return None if raw == _NO_SENSOR else (raw - 2730) / 10


def analog(pack: SimPack, profile: Profile, stack: Iterable[SimPack]) -> tuple[bytes, Values]:
    """One record of 42."""
    cells = [word(volts, 1000) for volts in pack.cell_voltages]
    probes: list[float | None] = [*pack.cell_temperatures, None, None][:4]
    if profile is not Profile.P8:
        probes += [pack.mosfet_temperature, pack.board_temperature]
    raw = [_kelvin(probe) for probe in probes]
    current, voltage = word(pack.current, 100, signed=True), word(pack.voltage, 1000)
    left, full, design = (
        word(value, 100) for value in (pack.remaining_capacity, pack.full_capacity, pack.spec.capacity)
    )
    soc, soh, cycles = round(pack.soc), round(pack.soh), int(pack.cycles)
    record = struct.pack(
        f">B{len(cells)}HB{len(raw)}HhHHBHHH",
        len(cells), *cells, len(raw), *raw, current, voltage, left, _ITEMS[profile], full, cycles, design,
    )  # fmt: skip
    whole = [sum(word(getattr(p, name), 100) for p in stack) for name in ("remaining_capacity", "full_capacity")]
    # real boards hold the design capacity where the counters should be
    tail = struct.pack(">B4HBHhII", soc, *(design,) * 4, soh, max(voltage - 150, 0), current, *whole)
    record += tail[: _TAIL[profile]]
    values: Values = {
        "cell_voltages": tuple([mv / 1000 for mv in cells]),
        "cell_temperatures": tuple([_celsius(probe) for probe in raw[:4]]),
        "current": current / 100,
        "voltage": voltage / 1000,
        "remaining_capacity": left / 100,
        "full_capacity": full / 100,
        "design_capacity": design / 100,
        "cycles": cycles,
    }
    if profile is not Profile.P8:
        values |= {"mosfet_temperature": _celsius(raw[4]), "ambient_temperature": _celsius(raw[5])}
    if _TAIL[profile] >= 1:
        values["soc"] = float(soc)
    if _TAIL[profile] >= 10:
        values["soh"] = float(soh)
    return record, values


# condition -> (byte of the nine after the status bytes, bit); section 6
_PROTECT1, _PROTECT2, _INDICATION, _CONTROL, _FAULT, _BALANCE1, _BALANCE2, _WARN1, _WARN2 = range(9)
_BITS: Final = {
    (Condition.CHARGER_OVERVOLTAGE, _P): (_PROTECT1, 7),
    (Condition.SHORT_CIRCUIT, _P): (_PROTECT1, 6),
    (Condition.DISCHARGE_OVERCURRENT, _P): (_PROTECT1, 5),
    (Condition.CHARGE_OVERCURRENT, _P): (_PROTECT1, 4),
    (Condition.PACK_UNDERVOLTAGE, _P): (_PROTECT1, 3),
    (Condition.PACK_OVERVOLTAGE, _P): (_PROTECT1, 2),
    (Condition.CELL_UNDERVOLTAGE, _P): (_PROTECT1, 1),
    (Condition.CELL_OVERVOLTAGE, _P): (_PROTECT1, 0),
    (Condition.FULLY_CHARGED, _W): (_PROTECT2, 7),
    (Condition.AMBIENT_UNDERTEMPERATURE, _P): (_PROTECT2, 6),
    (Condition.AMBIENT_OVERTEMPERATURE, _P): (_PROTECT2, 5),
    (Condition.MOSFET_OVERTEMPERATURE, _P): (_PROTECT2, 4),
    (Condition.DISCHARGE_UNDERTEMPERATURE, _P): (_PROTECT2, 3),
    (Condition.CHARGE_UNDERTEMPERATURE, _P): (_PROTECT2, 2),
    (Condition.DISCHARGE_OVERTEMPERATURE, _P): (_PROTECT2, 1),
    (Condition.CHARGE_OVERTEMPERATURE, _P): (_PROTECT2, 0),
    (Condition.REVERSE_POLARITY, _F): (_INDICATION, 4),
    (Condition.HEATER_FAILURE, _F): (_FAULT, 7),
    (Condition.CURRENT_LIMITER_FAILURE, _F): (_FAULT, 6),
    (Condition.VOLTAGE_SENSING_FAILURE, _F): (_FAULT, 5),
    (Condition.CELL_FAILURE, _F): (_FAULT, 4),
    (Condition.COMMUNICATION_FAILURE, _F): (_FAULT, 3),
    (Condition.TEMPERATURE_SENSING_FAILURE, _F): (_FAULT, 2),
    (Condition.MOSFET_FAILURE, _F): (_FAULT, 1),
    (Condition.DISCHARGE_OVERCURRENT, _W): (_WARN1, 5),
    (Condition.CHARGE_OVERCURRENT, _W): (_WARN1, 4),
    (Condition.PACK_UNDERVOLTAGE, _W): (_WARN1, 3),
    (Condition.PACK_OVERVOLTAGE, _W): (_WARN1, 2),
    (Condition.CELL_UNDERVOLTAGE, _W): (_WARN1, 1),
    (Condition.CELL_OVERVOLTAGE, _W): (_WARN1, 0),
    (Condition.LOW_SOC, _W): (_WARN2, 7),
    (Condition.MOSFET_OVERTEMPERATURE, _W): (_WARN2, 6),
    (Condition.AMBIENT_UNDERTEMPERATURE, _W): (_WARN2, 5),
    (Condition.AMBIENT_OVERTEMPERATURE, _W): (_WARN2, 4),
    (Condition.DISCHARGE_UNDERTEMPERATURE, _W): (_WARN2, 3),
    (Condition.CHARGE_UNDERTEMPERATURE, _W): (_WARN2, 2),
    (Condition.DISCHARGE_OVERTEMPERATURE, _W): (_WARN2, 1),
    (Condition.CHARGE_OVERTEMPERATURE, _W): (_WARN2, 0),
}
_OF_CELLS: Final = {
    (Condition.CELL_UNDERVOLTAGE, _W): 0x01,
    (Condition.CELL_OVERVOLTAGE, _W): 0x02,
    (Condition.CELL_FAILURE, _F): 0xF0,
}
# (place of the status byte among sensors, code)
_OF_SENSORS: Final = {
    (Condition.UNDERTEMPERATURE, _W): (1, 0x01),
    (Condition.OVERTEMPERATURE, _W): (2, 0x02),
    (Condition.MOSFET_OVERTEMPERATURE, _W): (4, 0x02),
    (Condition.AMBIENT_UNDERTEMPERATURE, _W): (5, 0x01),
    (Condition.AMBIENT_OVERTEMPERATURE, _W): (5, 0x02),
}
# (place among charge current, total voltage, discharge current; code)
_OF_PACK: Final = {
    (Condition.CHARGE_OVERCURRENT, _W): (0, 0x02),
    (Condition.PACK_UNDERVOLTAGE, _W): (1, 0x01),
    (Condition.PACK_OVERVOLTAGE, _W): (1, 0x02),
    (Condition.DISCHARGE_OVERCURRENT, _W): (2, 0x02),
}


def states(pack: SimPack, profile: Profile, *, master: bool) -> tuple[bytes, Values]:
    """One record of 44."""
    count, sensors = pack.spec.cells, 4 if profile is Profile.P8 else 6
    of_cells, of_sensors, of_pack, words = bytearray(count), bytearray(sensors), bytearray(3), bytearray(9)
    said: set[Alarm] = set()
    for alarm in pack.alarms:
        key = (alarm.condition, _W if alarm.condition is Condition.FULLY_CHARGED else alarm.severity)
        if alarm.cell is not None and (code := _OF_CELLS.get(key)) is not None:
            of_cells[alarm.cell - 1] = code
            said.add(alarm)
        place, code = _OF_SENSORS.get(key, (sensors, 0))
        if place < sensors:
            of_sensors[place] = code
            said.add(Alarm(condition=key[0], severity=key[1]))
        if (found := _OF_PACK.get(key)) is not None:
            of_pack[found[0]] = found[1]
        if (bit := _BITS.get(key)) is not None:
            words[bit[0]] |= 1 << bit[1]
            said.add(Alarm(condition=key[0], severity=key[1]))
    mask = sum(1 << (cell - 1) for cell in pack.balancing_cells)
    words[_BALANCE1], words[_BALANCE2] = mask & 0xFF, mask >> 8 & 0xFF
    words[_INDICATION] |= 0x80 * pack.heater_active | 0x04 * pack.discharge_enabled | 0x02 * pack.charge_enabled
    words[_INDICATION] |= 0x08 * (pack.current < 0) | 0x20 * (pack.current > 0)
    words[_CONTROL] = 0x01
    record = bytes((count, *of_cells, sensors, *of_sensors, *of_pack, *words))
    match _STATE_TAIL.get(profile, 0):
        case 1:
            record += b"\x31" if master else b"\x00"
        case 5:
            record += bytes((0, 0x01, 0, 0, 0))
    return record, {
        "alarms": frozenset(said),
        "heater_active": pack.heater_active,
        "balancing_cells": pack.balancing_cells,
        "charge_enabled": pack.charge_enabled,
        "discharge_enabled": pack.discharge_enabled,
    }
