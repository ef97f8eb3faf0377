"""Afore V2.3 (2023), little endian, as answers to the inverter's 305; 351, 355, 356 and 359 are not what others send.

Source: can.md section 6.14, one open implementation; nobody has captured them.
"""

from collections.abc import Mapping
from typing import Any, Final, override

from ...model import Condition, Mode, Severity
from .fields import byte, limit, nothing_if_blank, number, serial_half, some, unnamed, word
from .layout import Flag, Layout, LayoutFamily, Number, Values, bits

_WARNED: Final = {
    0: Condition.CELL_OVERVOLTAGE,
    1: Condition.CELL_UNDERVOLTAGE,
    2: Condition.PACK_OVERVOLTAGE,
    3: Condition.PACK_UNDERVOLTAGE,
    4: Condition.OVERTEMPERATURE,
    5: Condition.UNDERTEMPERATURE,
    6: Condition.ISOLATION_FAILURE,
    7: Condition.CHARGE_OVERCURRENT,
    8: Condition.DISCHARGE_OVERCURRENT,
    9: Condition.LOW_SOC,
    10: Condition.COMMUNICATION_FAILURE,
}
_ALARMS: Final = bits(
    0,
    Severity.PROTECTION,
    _WARNED
    | {
        11: Condition.INTERNAL_FAILURE,  # its supply is too high
        12: Condition.INTERNAL_FAILURE,  # its supply is too low
        13: Condition.CONTACTOR_FAILURE,
        14: Condition.PRECHARGE_FAILURE,
        15: Condition.INTERLOCK_OPEN,
        24: Condition.INTERLOCK_OPEN,  # short-circuited
        25: Condition.INTERNAL_FAILURE,
        26: Condition.OVERVOLTAGE,  # above what it charges to
        27: Condition.MOSFET_FAILURE,
        28: Condition.MOSFET_FAILURE,
        29: Condition.OVERTEMPERATURE,
        30: Condition.UNDERTEMPERATURE,
        31: Condition.CELL_IMBALANCE,
    },
)
_WARNINGS: Final = bits(0, Severity.WARNING, _WARNED)

_NORMAL: Final = 1
# 3 is "warning": the warnings themselves say it
_MODES: Final = {0: Mode.STARTING, _NORMAL: Mode.STANDBY, 2: Mode.STANDBY, 4: Mode.FAULT}
# Words with an offset: what is all zeros was never filled in (it would be -500 A, or -100 degC).
_OFFSET_MISSING: Final = frozenset({0, 0xFFFF})


def _offset(name: str, at: int, zero: int) -> Number:
    return Number(name=name, at=at, per=10, zero=zero, missing=_OFFSET_MISSING)


def _mode(data: bytes, values: Values, info: Values) -> None:
    if (mode := _MODES.get(info.get("state", -1))) is not None:
        values["mode"] = mode


class Afore(LayoutFamily):
    """See the module."""

    name = "afore"
    experimental = True
    layouts = {
        0x350: Layout(
            word("voltage", 0, 10),
            _offset("current", 2, 5000),
            _offset("temperature", 4, 1000),
            finish=nothing_if_blank,
        ),
        0x351: Layout(
            byte("soc", 0),
            number("soh", 1),
            byte("soc_max", 2, place="info"),
            byte("soc_min", 3, place="info"),
            Flag(name="charge_enabled", at=4, mask=0x01),
            Flag(name="discharge_enabled", at=4, mask=0x02),
            Number(name="state", at=4, code="B", form=lambda raw: raw >> 5, place="info"),
            number("cell_count", 6, "H", place="info"),
            finish=_mode,
        ),
        0x352: Layout(
            limit("charge_current_limit", 0),
            limit("discharge_current_limit", 2),
            word("charge_voltage_limit", 4, 10),
            some("discharge_voltage_limit", 6, 10),
        ),
        0x353: Layout(*_ALARMS, finish=unnamed("unnamed_353", _ALARMS, 0, 4)),
        0x354: Layout(
            word("cell_voltage_max", 0, 1000),
            word("cell_voltage_min", 2, 1000),
            number("cell_voltage_max_cell", 4, "H"),
            number("cell_voltage_min_cell", 6, "H"),
            finish=nothing_if_blank,
        ),
        0x355: Layout(_offset("cell_temperature_max", 0, 1000), _offset("cell_temperature_min", 2, 1000)),
        0x356: Layout(
            word("cell_high_voltage_threshold", 0, 1000, place="info"),
            word("cell_low_voltage_threshold", 2, 1000, place="info"),
        ),
        0x357: Layout(*_WARNINGS, finish=unnamed("unnamed_357", _WARNINGS, 0, 2)),
        0x359: serial_half(1),
        0x35A: serial_half(2),
    }

    @override
    def settle(self, bank: dict[str, Any], packs: Mapping[int, dict[str, Any]], info: dict[str, Any]) -> None:
        """Normal operation is charging or discharging by the sign of the current."""
        if info.get("state") == _NORMAL and (current := bank.get("current")):
            bank["mode"] = Mode.CHARGING if current > 0 else Mode.DISCHARGING
