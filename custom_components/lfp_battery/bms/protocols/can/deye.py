"""Deye's "DY low voltage" V3.3 (2024-05), little endian: the bank, and a set of frames for each of up to 16 packs.

Source: can.md section 6.5 (b): the vendor's document and open decoders of two packs. Discharge is positive on the wire,
and bits 7 and 6 of 35C stay 0 in practice: they permit nothing and forbid nothing.
"""

from collections.abc import Mapping
from typing import ClassVar, Final, override

from ...can_frame import CanFrame
from ...model import Condition, Mode, Severity
from .base import Said
from .fields import limit, long, nothing_if_blank, number, serial_half, signed, some, unnamed, version, word
from .layout import Flag, Layout, LayoutFamily, Number, Text, Values, bits, text_of

_PACKS: Final = 16

_HIGH_AND_LOW: Final = {
    0: Condition.CELL_OVERVOLTAGE,
    1: Condition.CELL_UNDERVOLTAGE,
    2: Condition.PACK_OVERVOLTAGE,
    3: Condition.PACK_UNDERVOLTAGE,
    4: Condition.CHARGE_OVERCURRENT,
    5: Condition.DISCHARGE_OVERCURRENT,
    6: Condition.CHARGE_OVERTEMPERATURE,
    7: Condition.CHARGE_UNDERTEMPERATURE,
    8: Condition.DISCHARGE_OVERTEMPERATURE,
    9: Condition.DISCHARGE_UNDERTEMPERATURE,
    10: Condition.CELL_IMBALANCE,
    11: Condition.TEMPERATURE_IMBALANCE,
    12: Condition.MOSFET_OVERTEMPERATURE,
    13: Condition.HEATER_OVERTEMPERATURE,
}
_FAULTS: Final = (
    *bits(
        0,
        Severity.PROTECTION,
        _HIGH_AND_LOW
        | {
            # 14, 15, 20..24: the measuring chip says it
            14: Condition.DISCHARGE_OVERCURRENT,
            15: Condition.DISCHARGE_OVERCURRENT,
            20: Condition.SHORT_CIRCUIT,
            21: Condition.UNDERTEMPERATURE,
            22: Condition.OVERTEMPERATURE,
            23: Condition.SHORT_CIRCUIT,
            24: Condition.INTERNAL_FAILURE,
            25: Condition.VOLTAGE_SENSING_FAILURE,
            26: Condition.TEMPERATURE_SENSING_FAILURE,
            27: Condition.MOSFET_FAILURE,
            28: Condition.INTERNAL_FAILURE,  # EEPROM
            29: Condition.COMMUNICATION_FAILURE,  # between packs
            30: Condition.COMMUNICATION_FAILURE,  # with the inverter
            31: Condition.CONFIGURATION_CONFLICT,  # two masters
        },
    ),
    *bits(4, Severity.WARNING, _HIGH_AND_LOW | {14: Condition.HEATER_FAILURE, 15: Condition.HEATER_FAILURE}),
    *bits(
        6,
        Severity.PROTECTION,
        {
            1: Condition.PRECHARGE_FAILURE,
            2: Condition.REVERSE_POLARITY,
            3: Condition.TERMINAL_OVERTEMPERATURE,
            4: Condition.FUSE_FAILURE,
            5: Condition.WIRING_FAILURE,  # of the cells' voltage
            6: Condition.WIRING_FAILURE,  # of the sensors
            7: Condition.CHARGER_UNDERVOLTAGE,
        },
    ),
)
_FAULT_BYTES: Final = 7

_EXTREMES: Final = Layout(
    word("cell_voltage_max", 0, 1000),
    word("cell_voltage_min", 2, 1000),
    signed("cell_temperature_max", 4, 10),
    signed("cell_temperature_min", 6, 10),
    finish=nothing_if_blank,
)
_MODES: Final = {0: Mode.STANDBY, 1: Mode.CHARGING, 2: Mode.DISCHARGING}
_CELL_MAKERS: Final = {
    1: "Gotion 96 Ah",
    2: "CATL 100 Ah",
    3: "EVE 100 Ah",
    4: "PH 100 Ah",
    5: "EVE 120 Ah",
    6: "PH 100 Ah (214R)",
    7: "Zenergy 104 Ah",
}


def _current(at: int) -> Number:
    """Turned while it is an integer, which has no -0."""
    return Number(name="current", at=at, code="h", missing=frozenset({-0x8000}), form=lambda raw: -raw / 10)


def _maker(data: bytes, values: Values, info: Values) -> None:
    """35E: "DY" and the number of packs in digits, then numbers; what begins otherwise is a name, as others send it."""
    letters, count = data[:2], data[2:5]
    if len(letters) == 2 and letters.isalpha() and (not count or count.isdigit()):
        values["manufacturer"] = letters.decode("ascii")
        if len(count) == 3 and (modules := int(count)):
            values["modules"] = modules
        if (maker := _CELL_MAKERS.get(info.get("cell_maker_code", 0))) is not None:
            info["cell_maker"] = maker
        return
    values.clear()
    info.clear()
    if (name := text_of(data)) is not None:
        values["manufacturer"] = name


def _modules(data: bytes, values: Values, info: Values) -> None:
    """364: a pack that is full and takes no charge may not be counted as normal, but it is there."""
    normal, total, offline = info.pop("normal", None), values.get("modules"), info.get("modules_offline")
    if total is not None and offline is not None and offline <= total:
        values["modules_online"] = total - offline
    elif normal:
        values["modules_online"] = normal


def _balancing(word: int) -> frozenset[int]:
    return frozenset(cell + 1 for cell in range(16) if word >> cell & 1)


_OF_BANK: Final = {
    0x351: Layout(
        word("charge_voltage_limit", 0, 10),
        limit("charge_current_limit", 2),
        limit("discharge_current_limit", 4),
        some("discharge_voltage_limit", 6, 10),
    ),
    0x371: Layout(
        limit("charge_current_limit_grid", 0, place="info"), limit("discharge_current_limit_grid", 2, place="info")
    ),
    0x355: Layout(word("soc", 0), some("soh", 2)),
    0x356: Layout(word("voltage", 0, 100), _current(2), signed("temperature", 4, 10)),
    0x358: Layout(
        word("usb_power", 0, 10, place="info"),  # W
        long("usb_energy", 2, 10_000, place="info"),  # kWh
        Flag(name="usb_switch", at=6, mask=0xFF, place="info"),
    ),
    0x359: Layout(*_FAULTS, finish=unnamed("unnamed_359", _FAULTS, 0, _FAULT_BYTES)),
    0x35C: Layout(
        Flag(name="force_charge_requested", at=0, mask=0x30),
        Flag(name="full_charge_requested", at=0, mask=0x08),
        Flag(name="heating_requested", at=0, mask=0x01, place="info"),
    ),
    0x35E: Layout(
        number("cell_maker_code", 5, place="info"),
        Number(name="design_capacity", at=6, per=10, missing=frozenset({0, 0xFFFF})),
        finish=_maker,
    ),
    0x361: _EXTREMES,
    0x363: Layout(version("firmware", 0), version("hardware", 2)),
    0x364: Layout(
        Number(name="normal", at=0, code="B", place="info"),
        Number(name="modules_charge_blocked", at=1, code="B"),
        Number(name="modules_discharge_blocked", at=2, code="B"),
        Number(name="modules_offline", at=3, code="B", place="info"),
        number("modules", 4),
        finish=_modules,
    ),
}

_OF_PACK: Final = {
    0x110: Layout(
        *_FAULTS,
        Flag(name="parallel_finished", at=7, mask=0x01, place="info"),
        Flag(name="charge_enabled", at=7, mask=0x10),
        Flag(name="discharge_enabled", at=7, mask=0x20),
        Flag(name="precharge_mosfet", at=7, mask=0x40, place="info"),
        Flag(name="heater_active", at=7, mask=0x80),
        finish=unnamed("unnamed_110", _FAULTS, 0, _FAULT_BYTES),
    ),
    # zeros all over: there is no such pack
    0x150: Layout(word("voltage", 0, 10), _current(2), word("soc", 4, 10), some("soh", 6, 10), finish=nothing_if_blank),
    0x200: _EXTREMES,
    0x250: Layout(
        signed("mosfet_temperature", 0, 10),
        signed("heater_temperature", 2, 10),
        word("charge_current_limit", 4),
        word("discharge_current_limit", 6),
        finish=nothing_if_blank,
    ),
    0x400: Layout(
        Number(name="mode", at=0, code="B", form=_MODES.get),
        Number(name="fault_level", at=1, code="B", place="info"),
        word("cycles", 2),
        Number(name="balancing_cells", at=4, missing=frozenset({0xFFFF}), form=_balancing),
    ),
    0x500: Layout(version("firmware", 0), Text(name="boot_version", at=3, size=5)),
    0x550: Layout(long("energy_charged", 0, 1000), long("energy_discharged", 4, 1000)),
    0x600: serial_half(1),
    0x650: serial_half(2),
    # these were seen to fall back to 0 in between: for bug reports only
    0x700: Layout(
        word("charge_overvoltage_count", 0, place="info"),
        word("discharge_undervoltage_count", 2, place="info"),
        word("short_circuit_count", 4, place="info"),
        word("mosfet_overtemperature_count", 6, place="info"),
    ),
    0x750: Layout(
        word("charge_overcurrent_count", 0, place="info"),
        word("discharge_overcurrent_count", 2, place="info"),
        word("charge_overtemperature_count", 4, place="info"),
        word("discharge_overtemperature_count", 6, place="info"),
    ),
}


class DeyePcs(LayoutFamily):
    """See the module."""

    name = "deye_pcs"
    layouts: ClassVar[Mapping[int, Layout]] = _OF_BANK | {
        base + pack - 1: layout.of_pack(pack) for base, layout in _OF_PACK.items() for pack in range(1, _PACKS + 1)
    }

    @override
    def read(self, frame: CanFrame) -> Said | None:
        """What is known of a pack besides its state is told apart from that of others."""
        said = super().read(frame)
        if said is None or said.pack is None or not said.info:
            return said
        info = {f"pack_{said.pack}_{key}": value for key, value in said.info.items()}
        return Said(values=said.values, pack=said.pack, identity=said.identity, info=info)
