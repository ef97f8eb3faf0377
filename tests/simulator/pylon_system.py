"""The system commands of the Pylontech V3.5 protocol: one answer for a whole group (pylon-rs485.md section 6.6)."""

from collections.abc import Callable
import struct
from typing import Final

from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity

from .pack import SimPack
from .pylon_wire import Answer, celsius, kelvin, word

HOT: Final = frozenset(
    {Condition.CHARGE_OVERTEMPERATURE, Condition.DISCHARGE_OVERTEMPERATURE, Condition.OVERTEMPERATURE}
)
COLD: Final = frozenset(
    {Condition.CHARGE_UNDERTEMPERATURE, Condition.DISCHARGE_UNDERTEMPERATURE, Condition.UNDERTEMPERATURE}
)
# (condition, severity) -> byte and bit of 0x62 (section 6.6)
_W, _P, _F = Severity.WARNING, Severity.PROTECTION, Severity.FAULT
_SYSTEM_BITS: Final[tuple[tuple[frozenset[Condition], Severity, int, int, Condition], ...]] = (
    (frozenset({Condition.PACK_OVERVOLTAGE}), _W, 0, 7, Condition.PACK_OVERVOLTAGE),
    (frozenset({Condition.PACK_UNDERVOLTAGE}), _W, 0, 6, Condition.PACK_UNDERVOLTAGE),
    (frozenset({Condition.CELL_OVERVOLTAGE}), _W, 0, 5, Condition.CELL_OVERVOLTAGE),
    (frozenset({Condition.CELL_UNDERVOLTAGE}), _W, 0, 4, Condition.CELL_UNDERVOLTAGE),
    (HOT, _W, 0, 3, Condition.OVERTEMPERATURE),
    (COLD, _W, 0, 2, Condition.UNDERTEMPERATURE),
    (frozenset({Condition.MOSFET_OVERTEMPERATURE}), _W, 0, 1, Condition.MOSFET_OVERTEMPERATURE),
    (frozenset({Condition.CELL_IMBALANCE}), _W, 0, 0, Condition.CELL_IMBALANCE),
    (frozenset({Condition.TEMPERATURE_IMBALANCE}), _W, 1, 7, Condition.TEMPERATURE_IMBALANCE),
    (frozenset({Condition.CHARGE_OVERCURRENT}), _W, 1, 6, Condition.CHARGE_OVERCURRENT),
    (frozenset({Condition.DISCHARGE_OVERCURRENT}), _W, 1, 5, Condition.DISCHARGE_OVERCURRENT),
    (frozenset({Condition.COMMUNICATION_FAILURE}), _W, 1, 4, Condition.COMMUNICATION_FAILURE),
    (frozenset({Condition.PACK_OVERVOLTAGE}), _P, 2, 7, Condition.PACK_OVERVOLTAGE),
    (frozenset({Condition.PACK_UNDERVOLTAGE}), _P, 2, 6, Condition.PACK_UNDERVOLTAGE),
    (frozenset({Condition.CELL_OVERVOLTAGE}), _P, 2, 5, Condition.CELL_OVERVOLTAGE),
    (frozenset({Condition.CELL_UNDERVOLTAGE}), _P, 2, 4, Condition.CELL_UNDERVOLTAGE),
    (HOT, _P, 2, 3, Condition.OVERTEMPERATURE),
    (COLD, _P, 2, 2, Condition.UNDERTEMPERATURE),
    (frozenset({Condition.MOSFET_OVERTEMPERATURE}), _P, 2, 1, Condition.MOSFET_OVERTEMPERATURE),
    (frozenset({Condition.CHARGE_OVERCURRENT}), _P, 3, 6, Condition.CHARGE_OVERCURRENT),
    (frozenset({Condition.DISCHARGE_OVERCURRENT}), _P, 3, 5, Condition.DISCHARGE_OVERCURRENT),
    (frozenset(Condition), _F, 3, 3, Condition.INTERNAL_FAILURE),
)


def _information(packs: dict[int, SimPack]) -> Answer:
    first = packs[min(packs)].spec
    info = first.model.encode("ascii")[:10].ljust(10, b"\x00")
    info += first.manufacturer.encode("ascii")[:20].ljust(20, b"\x00")
    info += bytes(first.firmware[:2]) + bytes((len(packs),))
    serials = [pack.spec.serial[:16].ljust(16) for pack in packs.values()]
    info += "".join(serials).encode("ascii")
    return info, {None: {"modules": len(packs), "manufacturer": first.manufacturer, "serials": tuple(serials)}}


def _analog(packs: dict[int, SimPack]) -> Answer:
    members = list(packs.values())
    count = len(members)
    voltage = word(sum(p.voltage for p in members) / count, 1000)
    current = word(sum(p.current for p in members), 100, signed=True)
    capacity = sum(p.full_capacity for p in members)
    soc = round(100 * sum(p.remaining_capacity for p in members) / capacity)
    cycles = [int(p.cycles) for p in members]
    soh = [round(p.soh) for p in members]
    cells = [(word(v, 1000), a) for a, p in packs.items() for v in p.cell_voltages]
    high, low = max(cells), min(cells)
    info = struct.pack(
        ">HhBHHBBHHHH",
        voltage, current, soc, sum(cycles) // count, max(cycles), sum(soh) // count, min(soh), *high, *low,
    )  # fmt: skip
    places: tuple[list[tuple[int, int]], ...] = (
        [(kelvin(t), a) for a, p in packs.items() for t in p.cell_temperatures],
        [(kelvin(p.mosfet_temperature), a) for a, p in packs.items()],
        [(kelvin(p.board_temperature), a) for a, p in packs.items()],
    )
    for place in places:
        average = sum(raw for raw, _ in place) // len(place)
        info += struct.pack(">HHHHH", average, *max(place), *min(place))
    warmest = places[0]
    return info, {
        None: {
            "voltage": voltage / 1000,
            "current": current / 100,
            "soc": soc,
            "cell_voltage_max": high[0] / 1000,
            "cell_voltage_min": low[0] / 1000,
            "cell_temperature_max": celsius(max(warmest)[0]),
            "cell_temperature_min": celsius(min(warmest)[0]),
        }
    }


def _alarms(packs: dict[int, SimPack]) -> Answer:
    words = bytearray(4)
    said = set()
    for alarm in {alarm for pack in packs.values() for alarm in pack.alarms}:
        for conditions, severity, byte, bit, meaning in _SYSTEM_BITS:
            if alarm.severity is severity and alarm.condition in conditions:
                words[byte] |= 1 << bit
                said.add(Alarm(condition=meaning, severity=severity))
    return bytes(words), {None: {"alarms": frozenset(said)}}


def _limits(packs: dict[int, SimPack]) -> Answer:
    members = list(packs.values())
    charge_v = word(min(p.charge_voltage_limit for p in members), 1000)
    discharge_v = word(max(p.discharge_voltage_limit for p in members), 1000)
    charge_i = word(sum(p.charge_limit for p in members), 10, signed=True)
    discharge_i = word(sum(p.discharge_limit for p in members), 10, signed=True)
    charge, discharge = any(p.charge_enabled for p in members), any(p.discharge_enabled for p in members)
    forced = any(p.force_charge_requested for p in members)
    full = any(p.full_charge_requested for p in members)
    status = (0x80 if charge else 0) | (0x40 if discharge else 0) | (0x20 if forced else 0) | (0x10 if full else 0)
    return struct.pack(">HHhhB", charge_v, discharge_v, charge_i, discharge_i, status), {
        None: {
            "charge_voltage_limit": charge_v / 1000,
            "discharge_voltage_limit": discharge_v / 1000,
            "charge_current_limit": charge_i / 10,
            "discharge_current_limit": discharge_i / 10,
            "charge_enabled": charge,
            "discharge_enabled": discharge,
            "force_charge_requested": forced,
            "full_charge_requested": full,
        }
    }


SYSTEM_COMMANDS: Final[dict[int, Callable[[dict[int, SimPack]], Answer]]] = {
    0x60: _information,
    0x61: _analog,
    0x62: _alarms,
    0x63: _limits,
}
