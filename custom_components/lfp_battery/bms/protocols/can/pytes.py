"""Pytes' own frames 400 to 41E, little endian.

Source: can.md section 6.10: two captures and one open decoder. 407 and 40C are unknown.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, override

from ...model import Condition, Mode, Severity, charge_share
from .fields import limit, long, nothing_if_blank, number, signed, some, unnamed, word
from .layout import Flag, Layout, LayoutFamily, Number, Text, Values, bits

_PROTECTIONS: Final = {
    0: Condition.OVERVOLTAGE,
    4: Condition.UNDERVOLTAGE,
    8: Condition.OVERTEMPERATURE,
    12: Condition.UNDERTEMPERATURE,
    17: Condition.DISCHARGE_OVERCURRENT,
    18: Condition.DISCHARGE_OVERCURRENT,
    19: Condition.CHARGE_OVERCURRENT,
    20: Condition.CHARGE_OVERCURRENT,
}
_WARNINGS: Final = {
    1: Condition.OVERVOLTAGE,
    3: Condition.UNDERVOLTAGE,
    9: Condition.OVERTEMPERATURE,
    11: Condition.UNDERTEMPERATURE,
    21: Condition.DISCHARGE_OVERCURRENT,
    22: Condition.CHARGE_OVERCURRENT,
}
# Two words of the same meaning; what is set in either counts. Their other bits say that something is normal.
_STATUS: Final = tuple(
    bit
    for word_at in (0, 4)
    for bit in (
        *bits(word_at, Severity.PROTECTION, _PROTECTIONS),
        *bits(word_at, Severity.WARNING, _WARNINGS),
    )
)
_FAILURES: Final = bits(0, Severity.PROTECTION, {15: Condition.INTERNAL_FAILURE})
_WORKING: Final = {  # bits 26 and 27; both at once say nothing
    0: Mode.STANDBY,
    1 << 26: Mode.CHARGING,
    1 << 27: Mode.DISCHARGING,
}
_WORK: Final = 1 << 26 | 1 << 27

_AGREE: Final = 1.5  # % between SOC and the share of two capacities (section 5)


def _mode(data: bytes, values: Values, info: Values) -> None:
    if len(data) < 8:
        return
    work = (int.from_bytes(data[:4], "little") | int.from_bytes(data[4:8], "little")) & _WORK
    if work in _WORKING and any(data):
        values["mode"] = _WORKING[work]


def _blocked(data: bytes, values: Values, info: Values) -> None:
    """One bit a pack."""
    for what in ("charge", "discharge"):
        if (packs := info.get(f"{what}_blocked_bitmap")) is not None:
            values[f"modules_{what}_blocked"] = packs.bit_count()


def _clock(data: bytes, values: Values, info: Values) -> None:
    """Our own reading of two captures; the clock of the battery, without a zone."""
    if len(data) < 6:
        return
    year, month, day, hour, minute, second = data[:6]
    try:
        info["clock"] = datetime(2000 + year, month, day, hour, minute, second).isoformat()
    except ValueError:
        return


class Pytes(LayoutFamily):
    """See the module."""

    name = "pytes"
    layouts = {
        0x400: Layout(
            word("charge_voltage_limit", 0, 10),
            limit("charge_current_limit", 2),
            limit("discharge_current_limit", 4),
            some("discharge_voltage_limit", 6, 10),
        ),
        # a single pack says 0 for its own number; what several say nobody has captured, so that it names no pack
        0x401: Layout(
            word("cell_voltage_max", 0, 1000),
            word("cell_voltage_min", 2, 1000),
            number("cell_voltage_max_cell", 4),
            Number(name="cell_voltage_max_pack_raw", at=5, code="B", place="info"),
            number("cell_voltage_min_cell", 6),
            Number(name="cell_voltage_min_pack_raw", at=7, code="B", place="info"),
            finish=nothing_if_blank,
        ),
        0x402: Layout(
            signed("cell_temperature_max", 0, 10), signed("cell_temperature_min", 2, 10), finish=nothing_if_blank
        ),
        0x403: Layout(*_STATUS, finish=_mode),
        0x404: Layout(word("soc", 0), some("soh", 2), word("cycles", 6)),
        0x405: Layout(word("voltage", 0, 100), signed("current", 2, 10), signed("temperature", 4, 10)),
        0x406: Layout(*_FAILURES, finish=unnamed("unnamed_406", _FAILURES, 0, 4)),
        0x408: Layout(
            Flag(name="charge_enabled", at=0, mask=0xFF),
            Flag(name="discharge_enabled", at=1, mask=0xFF),
            Flag(name="force_charge_requested", at=2, mask=0xFF),
            Number(name="charge_blocked_bitmap", at=5, code="B", place="info"),
            Number(name="discharge_blocked_bitmap", at=6, code="B", place="info"),
            finish=_blocked,
        ),
        0x409: Layout(long("full_capacity", 0, 1000), long("remaining_capacity", 4, 1000), finish=nothing_if_blank),
        0x40A: Layout(Text(name="manufacturer", place="values")),
        0x40B: Layout(
            number("modules_online", 6),
            Number(name="modules_offline", at=7, code="B", place="info"),
            finish=_clock,
        ),
        # of unknown unit; no cell is named
        0x40D: Layout(word("balancing_word", 4, place="info")),
        0x41E: Layout(long("energy_charged", 0, 10), long("energy_discharged", 4, 10)),
    }

    @override
    def settle(self, bank: dict[str, Any], packs: Mapping[int, dict[str, Any]], info: dict[str, Any]) -> None:
        """SOC comes in whole percent, and with decimals from the capacities if these agree."""
        remaining, full = bank.get("remaining_capacity"), bank.get("full_capacity")
        if remaining is None or full is None or (share := charge_share(remaining, full)) is None:
            return
        if abs(share - bank.get("soc", share)) <= _AGREE:
            bank["soc"] = share
            bank["derived"] = bank.get("derived", frozenset()) | {"soc"}
