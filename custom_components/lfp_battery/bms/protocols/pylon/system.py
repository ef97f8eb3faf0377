"""What the system commands of Pylontech RS485 V3.5 answer: 60, 61, 62, 63. They speak for a whole group.

Source: pylon-rs485.md section 6.6. What a product lacks it fills with FF; that must become None, never a value.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Final

from ...errors import FrameError
from ...model import Alarm, BankState, Condition, Identity, Severity, power_of
from ..base import Decoded
from .pack import BLANK_BYTE, BLANK_WORD, celsius, current_limit, text, version, word


def _byte(raw: int) -> int | None:
    return None if raw == BLANK_BYTE else raw


def _count(raw: int) -> int | None:
    return None if raw == BLANK_WORD else raw


def _known(found: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in found.items() if value is not None}


# --- 60 --------------------------------------------------------------------------------------------------------------

_SERIALS_AT: Final = 33
_SERIAL_SIZE: Final = 16


def information(info: bytes, address: int, value: int | None) -> Decoded:
    """60: name, maker, version, and the serial numbers of all packs."""
    count = info[_SERIALS_AT - 1] if len(info) >= _SERIALS_AT else 0
    if len(info) != _SERIALS_AT + _SERIAL_SIZE * count:
        raise FrameError(f"system information of {len(info)} bytes for {count} packs")
    model, maker, software = text(info[:10]), text(info[10:30]), version(info[30:32])
    serials = [text(info[at : at + _SERIAL_SIZE]) for at in range(_SERIALS_AT, len(info), _SERIAL_SIZE)]
    return Decoded(
        bank=BankState(modules=count, manufacturer=maker),
        identities={address: Identity(manufacturer=maker, model=model, firmware=software)},
        info={"device_name": model, "software_version": software, "barcodes": serials},
    )


# --- 61 --------------------------------------------------------------------------------------------------------------

_ANALOG: Final = Struct(">HhBHHBB4H15H")
_CURRENT_SCALE: Final = 100  # 0.01 A by the table and four clients; only the example of the document reads as 1 mA
_PLACES: Final = ("cell", "mosfet", "bms")


def _module(raw: int) -> str | None:
    """Where an extreme is, as it came: group and address are read in two ways, 0304 and 0034."""
    return None if raw == BLANK_WORD else f"{raw:04X}"


def analog(info: bytes, address: int, value: int | None) -> Decoded:
    """61: averages and extremes of the group."""
    if len(info) != _ANALOG.size:
        raise FrameError(f"system analog values of {len(info)} bytes, {_ANALOG.size} are known")
    volts, amps, soc, cycles, most_cycles, soh, least_soh, high, high_at, low, low_at, *warmth = _ANALOG.unpack(info)
    voltage = word(volts, 1000)
    # a count of -1 and a blank look the same; who measures no current measures no voltage either
    current = None if amps == -1 and voltage is None else amps / _CURRENT_SCALE
    temperatures = {
        place: (celsius(average), celsius(highest), highest_at, celsius(lowest), lowest_at)
        for place, (average, highest, highest_at, lowest, lowest_at) in zip(
            _PLACES, (warmth[0:5], warmth[5:10], warmth[10:15]), strict=True
        )
    }
    power = power_of(voltage, current)
    bank = BankState(
        voltage=voltage,
        current=current,
        power=power,
        soc=_byte(soc),
        soh=_byte(soh),
        cycles=_count(cycles),
        temperature=temperatures["cell"][0],
        mosfet_temperature=temperatures["mosfet"][0],
        pcb_temperature=temperatures["bms"][0],
        cell_voltage_max=word(high, 1000),
        cell_voltage_min=word(low, 1000),
        cell_temperature_max=temperatures["cell"][1],
        cell_temperature_min=temperatures["cell"][3],
        derived=frozenset() if power is None else frozenset({"power"}),
    )
    notes: dict[str, object] = {
        "cycles_max": _count(most_cycles),
        "soh_min": _byte(least_soh),
        "cell_high_at": _module(high_at),
        "cell_low_at": _module(low_at),
    }
    for place, (_, highest, highest_at, lowest, lowest_at) in temperatures.items():
        notes |= {
            f"{place}_temp_high_at": _module(highest_at),
            f"{place}_temp_low_at": _module(lowest_at),
        }
        if place != "cell":
            notes |= {f"{place}_temp_high_C": highest, f"{place}_temp_low_C": lowest}
    return Decoded(bank=bank, info=_known(notes))


# --- 62 --------------------------------------------------------------------------------------------------------------


def _alarms(severity: Severity, conditions: Mapping[int, Condition]) -> dict[int, Alarm]:
    return {bit: Alarm(condition=condition, severity=severity) for bit, condition in conditions.items()}


_WORDS: Final = {
    "alarm1": _alarms(
        Severity.WARNING,
        {
            7: Condition.PACK_OVERVOLTAGE,
            6: Condition.PACK_UNDERVOLTAGE,
            5: Condition.CELL_OVERVOLTAGE,
            4: Condition.CELL_UNDERVOLTAGE,
            3: Condition.OVERTEMPERATURE,
            2: Condition.UNDERTEMPERATURE,
            1: Condition.MOSFET_OVERTEMPERATURE,
            0: Condition.CELL_IMBALANCE,
        },
    ),
    "alarm2": _alarms(
        Severity.WARNING,
        {
            7: Condition.TEMPERATURE_IMBALANCE,
            6: Condition.CHARGE_OVERCURRENT,
            5: Condition.DISCHARGE_OVERCURRENT,
            4: Condition.COMMUNICATION_FAILURE,
        },
    ),
    "protection1": _alarms(
        Severity.PROTECTION,
        {
            7: Condition.PACK_OVERVOLTAGE,
            6: Condition.PACK_UNDERVOLTAGE,
            5: Condition.CELL_OVERVOLTAGE,
            4: Condition.CELL_UNDERVOLTAGE,
            3: Condition.OVERTEMPERATURE,
            2: Condition.UNDERTEMPERATURE,
            1: Condition.MOSFET_OVERTEMPERATURE,
        },
    ),
    "protection2": _alarms(Severity.PROTECTION, {6: Condition.CHARGE_OVERCURRENT, 5: Condition.DISCHARGE_OVERCURRENT})
    | _alarms(Severity.FAULT, {3: Condition.INTERNAL_FAILURE}),
}

SYSTEM_CONDITIONS: Final = frozenset(alarm.condition for bits in _WORDS.values() for alarm in bits.values())


def alarms(info: bytes, address: int, value: int | None) -> Decoded:
    """62: alarms of the group."""
    if len(info) != len(_WORDS):
        raise FrameError(f"system alarms of {len(info)} bytes, {len(_WORDS)} are known")
    found: set[Alarm] = set()
    unnamed: dict[str, int] = {}
    blanks = 0
    for (name, bits), status in zip(_WORDS.items(), info, strict=True):
        if status == BLANK_BYTE:  # every alarm at once, too high and too low alike, is a product without this byte
            blanks += 1
            continue
        found.update(alarm for bit, alarm in bits.items() if status >> bit & 1)
        if left := status & ~sum(1 << bit for bit in bits):
            unnamed[name] = left
    return Decoded(
        bank=BankState(alarms=None if blanks == len(_WORDS) else frozenset(found)),
        info={"unnamed_bits": unnamed} if unnamed else {},
    )


# --- 63 --------------------------------------------------------------------------------------------------------------

_LIMITS: Final = Struct(">HHhhB")
# Not the bits of 92.
_CHARGE_ENABLE, _DISCHARGE_ENABLE, _CHARGE_NOW, _FULL_CHARGE = 0x80, 0x40, 0x20, 0x10
_UNNAMED: Final = 0x0F
_LARGEST: Final = 10_000  # counts of 0.1 A; above it the scale must be 0.01 A, of both limits (section 6.6)


def limits(info: bytes, address: int, value: int | None) -> Decoded:
    """63: what the group allows now. The discharge limit comes with either sign."""
    if len(info) != _LIMITS.size:
        raise FrameError(f"system limits of {len(info)} bytes, {_LIMITS.size} are known")
    charge_volts, discharge_volts, charge_amps, discharge_amps, status = _LIMITS.unpack(info)
    scale = 100 if max(abs(charge_amps), abs(discharge_amps)) > _LARGEST else 10
    blank = status == BLANK_BYTE
    bank = BankState(
        charge_voltage_limit=word(charge_volts, 1000),
        discharge_voltage_limit=word(discharge_volts, 1000),
        charge_current_limit=current_limit(charge_amps, scale),
        discharge_current_limit=current_limit(discharge_amps, scale),
        charge_enabled=None if blank else bool(status & _CHARGE_ENABLE),
        discharge_enabled=None if blank else bool(status & _DISCHARGE_ENABLE),
        force_charge_requested=None if blank else bool(status & _CHARGE_NOW),
        full_charge_requested=None if blank else bool(status & _FULL_CHARGE),
    )
    unnamed = 0 if blank else status & _UNNAMED
    return Decoded(bank=bank, info={"unnamed_bits": {"status": unnamed}} if unnamed else {})
