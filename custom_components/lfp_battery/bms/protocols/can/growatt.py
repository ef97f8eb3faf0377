"""Growatt low voltage V1.04 and Rev_05: identifiers 311 to 330, big endian.

Source: can.md section 6.11: the vendor's documents, and captures of a real bank. JK packs in this mode put the words of
311 and the bytes of 319 in another order (one source).
"""

from collections.abc import Mapping
from typing import Any, Final, override

from ...can_frame import CanFrame
from ...model import Condition, Mode, Severity
from ..capacity import as_they_stand
from .base import Said
from .fields import byte, limit, no_cells, nothing_if_blank, number, signed, unnamed, version, word
from .layout import Finish, Flag, Layout, LayoutFamily, Number, Text, Values, bits

_ALARMS: Final = (
    *bits(
        0,
        Severity.PROTECTION,
        {
            0: Condition.PRECHARGE_FAILURE,  # the soft start
            1: Condition.PACK_UNDERVOLTAGE,
            2: Condition.PACK_OVERVOLTAGE,
            3: Condition.CELL_UNDERVOLTAGE,
            4: Condition.CELL_OVERVOLTAGE,
            5: Condition.SHORT_CIRCUIT,
            6: Condition.CHARGE_OVERCURRENT,
            7: Condition.DISCHARGE_OVERCURRENT,
            10: Condition.CELL_IMBALANCE,
            11: Condition.INTERNAL_FAILURE,
            12: Condition.CHARGE_UNDERTEMPERATURE,
            13: Condition.DISCHARGE_UNDERTEMPERATURE,
            14: Condition.CHARGE_OVERTEMPERATURE,
            15: Condition.DISCHARGE_OVERTEMPERATURE,
        },
    ),
    *bits(
        2,
        Severity.WARNING,
        {
            1: Condition.PACK_UNDERVOLTAGE,
            2: Condition.PACK_OVERVOLTAGE,
            3: Condition.CELL_UNDERVOLTAGE,
            4: Condition.CELL_OVERVOLTAGE,
            6: Condition.CHARGE_OVERCURRENT,
            7: Condition.DISCHARGE_OVERCURRENT,
            8: Condition.COMMUNICATION_FAILURE,
            9: Condition.SHUTDOWN_IMMINENT,
            10: Condition.CELL_IMBALANCE,
            12: Condition.CHARGE_UNDERTEMPERATURE,
            13: Condition.DISCHARGE_UNDERTEMPERATURE,
            14: Condition.CHARGE_OVERTEMPERATURE,
            15: Condition.DISCHARGE_OVERTEMPERATURE,
        },
    ),
)
_MORE_ALARMS: Final = bits(
    4,
    Severity.PROTECTION,
    {
        0: Condition.CHARGE_OVERCURRENT,
        1: Condition.DISCHARGE_OVERCURRENT,
        2: Condition.COMMUNICATION_FAILURE,  # with an inverter that it does not accept
        3: Condition.PRECHARGE_FAILURE,
        4: Condition.INTERNAL_FAILURE,
        5: Condition.INTERNAL_FAILURE,  # the measuring chip
        6: Condition.CELL_FAILURE,
        7: Condition.CURRENT_SENSING_FAILURE,
        8: Condition.VOLTAGE_SENSING_FAILURE,
        9: Condition.VOLTAGE_SENSING_FAILURE,
        10: Condition.INTERNAL_FAILURE,  # EEPROM
        11: Condition.REVERSE_POLARITY,
        12: Condition.OVERVOLTAGE,
        13: Condition.OVERCURRENT,
        14: Condition.PARALLEL_FAILURE,
        15: Condition.PARALLEL_FAILURE,
        16: Condition.DISCHARGE_OVERCURRENT,
        17: Condition.COMMUNICATION_FAILURE,  # the inverter ignores a limit
        18: Condition.COMMUNICATION_FAILURE,
        19: Condition.WIRING_FAILURE,
    },
)

_MODES: Final = (Mode.STARTING, Mode.STANDBY, Mode.CHARGING, Mode.DISCHARGING)
_SLEEP: Final = 0x10
# What the status says besides, by bit: the outputs as they are now; what is permitted stands in 319.
_STATUS_FLAGS: Final = {
    3: "balancing",
    5: "status_discharge_enabled",
    6: "status_charge_enabled",
    7: "terminal_open",
}
_PARALLEL: Final = ("standalone", "parallel", "parallel ready")
_CHEMISTRY: Final = ("LFP", "NMC", "LTO")

_LIMITS: Final = 0x311
_EXTREMES: Final = 0x319
_READINGS: Final = (0x315, 0x316, 0x317, 0x318)
_SERIAL: Final = 0x324

_VOLTAGE_LIMITS: Final = range(200, 701)  # 0.1 V: what can be a voltage limit of a pack of 8 or 16 cells
_HOLDS: Final = (0.8, 1.45)  # of the voltage: where its limit for charging can be
_STATUS_FIRST: Final = "status_first"
_RAW_LIMITS: Final = "raw_311"
_RAW_EXTREMES: Final = "raw_319"
_CELLS: Final = 16  # of a pack, as 319 counts through all packs
_LARGEST: Final = 320.0  # Ah: no pack of the catalog has more
_END: Final = 655.35  # Ah: what a word of 0.01 Ah can hold


def _status(at: int) -> Finish:
    def finish(data: bytes, values: Values, info: Values) -> None:
        if len(data) < at + 2:
            return
        high, low = data[at : at + 2]
        values["mode"] = Mode.SLEEP if low & _SLEEP else _MODES[low & 3]
        for bit, name in _STATUS_FLAGS.items():
            info[name] = bool(low >> bit & 1)
        if (parallel := high & 3) < len(_PARALLEL):
            info["parallel_mode"] = _PARALLEL[parallel]
        info["inverter_state"] = high >> 2 & 3
        info[_STATUS_FIRST] = at == 0
        info[_RAW_LIMITS] = data.hex()

    return finish


def _limits(at: int) -> Layout:
    """311, with its three limits from byte `at` on."""
    return Layout(
        word("charge_voltage_limit", at, 10),
        limit("charge_current_limit", at + 2),
        limit("discharge_current_limit", at + 4),
        big_endian=True,
        finish=_status((at + 6) % 8),
    )


def _permissions(at: int) -> tuple[Flag, ...]:
    return (
        Flag(name="charge_enabled", at=at, mask=0x80),
        Flag(name="discharge_enabled", at=at, mask=0x40),
        Flag(name="force_charge_requested", at=at, mask=0x30),
    )


def _keep(data: bytes, values: Values, info: Values) -> None:
    """319 reads sensibly in either order, whichever it has; 311 tells (`settle`)."""
    no_cells(values)
    if not any(data):
        return
    info[_RAW_EXTREMES] = data.hex()
    if (chemistry := data[0] & 3) < len(_CHEMISTRY):
        info["chemistry"] = _CHEMISTRY[chemistry]


def _readings(frame_id: int) -> Layout:
    """Four cells each. In a real bank they always fall within a frame: readings, not numbered cells."""

    def finish(data: bytes, values: Values, info: Values) -> None:
        words = (int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data) // 2 * 2, 2))
        if any(cells := [raw / 1000 if raw not in (0, 0xFFFF) else None for raw in words]):
            info[f"readings_{frame_id:X}"] = cells

    return Layout(big_endian=True, finish=finish)


_EXTREMES_OF_JK: Final = Layout(
    word("cell_voltage_max", 0, 1000), word("cell_voltage_min", 2, 1000), *_permissions(4), finish=nothing_if_blank
)
_USUAL_LIMITS: Final = _limits(0)
_LIMITS_OF_JK: Final = _limits(2)


def _is_status_first(data: bytes) -> bool:
    """JK's order of 311 (section 6.11): no voltage limit where it belongs, but one where the current limit would be."""
    return (
        len(data) >= 4
        and int.from_bytes(data[:2], "big") not in _VOLTAGE_LIMITS
        and int.from_bytes(data[2:4], "big") in _VOLTAGE_LIMITS
    )


# What the two frames say that come in another order.
_OF_LIMITS: Final = frozenset(
    {
        "charge_voltage_limit", "charge_current_limit", "discharge_current_limit", "mode", "parallel_mode",
        "inverter_state", *_STATUS_FLAGS.values(),
    }
)  # fmt: skip
_OF_EXTREMES: Final = frozenset(
    {
        "cell_voltage_max", "cell_voltage_min", "charge_enabled", "discharge_enabled", "force_charge_requested",
        "cell_voltage_max_no", "cell_voltage_min_no", "faulty_pack", "chemistry",
    }
)  # fmt: skip


class Growatt(LayoutFamily):
    """See the module."""

    name = "growatt"
    layouts = {
        _LIMITS: _USUAL_LIMITS,
        0x312: Layout(
            *_ALARMS,
            number("modules", 4),
            number("maker_code", 5, "H", place="info"),
            number("cell_count", 7, place="info"),
            big_endian=True,
            finish=unnamed("unnamed_312", _ALARMS, 0, 4),
        ),
        0x313: Layout(
            word("voltage", 0, 100),
            signed("current", 2, 10),
            signed("temperature", 4, 10),
            byte("soc", 6),
            Number(name="soh", at=7, code="B", mask=0x7F, missing=frozenset({0, 0x80, 0xFF})),
            big_endian=True,
            finish=nothing_if_blank,
        ),
        0x314: Layout(
            word("remaining_capacity", 0, 100),
            Number(name="full_capacity", at=2, per=100, missing=frozenset({0, 0xFFFF})),
            word("cycles", 6),
            big_endian=True,
        ),
        **{frame_id: _readings(frame_id) for frame_id in _READINGS},
        _EXTREMES: Layout(
            *_permissions(0),
            number("cell_voltage_max_no", 5, place="info"),
            number("cell_voltage_min_no", 6, place="info"),
            number("faulty_pack", 7, place="info"),
            word("cell_voltage_max", 1, 1000),
            word("cell_voltage_min", 3, 1000),
            big_endian=True,
            finish=_keep,
        ),
        0x320: Layout(
            Text(name="manufacturer", size=2, place="values"),
            version("hardware", 2, "B"),
            version("firmware", 3, "B"),
            big_endian=True,
        ),
        0x322: Layout(
            signed("cell_temperature_max", 0, 10),
            signed("cell_temperature_min", 2, 10),
            byte("soc_max", 6, place="info"),
            byte("soc_min", 7, place="info"),
            big_endian=True,
            finish=nothing_if_blank,
        ),
        0x323: Layout(
            number("cell_count", 0, place="info"),
            *_MORE_ALARMS,
            big_endian=True,
            finish=unnamed("unnamed_323", _MORE_ALARMS, 4, 4),  # byte 7: warnings that nobody has named
        ),
        # a page of a serial number, each in its turn: not to be had from the latest frame, and not to be shown
        _SERIAL: Layout(big_endian=True, private=True),
        0x330: Layout(
            number("cell_voltage_max_pack", 0),
            number("cell_voltage_max_cell", 1),
            number("cell_voltage_min_pack", 2),
            number("cell_voltage_min_cell", 3),
            word("cell_voltage_max", 4, 1000),
            word("cell_voltage_min", 6, 1000),
            big_endian=True,
            finish=nothing_if_blank,
        ),
    }

    @property
    @override
    def tells_serials(self) -> bool:
        """See `BatteryProtocol`."""
        return False

    @override
    def read(self, frame: CanFrame) -> Said | None:
        """See `CanFamily`."""
        if frame.id == _LIMITS and _is_status_first(frame.data):
            return _LIMITS_OF_JK.read(frame.data)
        return super().read(frame)

    @override
    def settle(self, bank: dict[str, Any], packs: Mapping[int, dict[str, Any]], info: dict[str, Any]) -> None:
        """Where the extremes stand, which order 319 has, what capacities can be told, and the readings in one row."""
        limits, extremes = info.pop(_RAW_LIMITS, None), info.pop(_RAW_EXTREMES, None)
        status_first = info.pop(_STATUS_FIRST, False)
        if limits is not None and (voltage := bank.get("voltage")):
            data = bytes.fromhex(limits)
            if (better := _is_status_first_beside(data, voltage, status_first)) is not status_first:
                status_first = better
                _reread(_LIMITS_OF_JK if better else _USUAL_LIMITS, data, bank, info, _OF_LIMITS)
        if status_first and extremes is not None:
            _reread(_EXTREMES_OF_JK, bytes.fromhex(extremes), bank, info, _OF_EXTREMES)
        _places(bank, info)
        _capacities(bank)
        found = [info.pop(key) for frame_id in _READINGS if (key := f"readings_{frame_id:X}") in info]
        if found:
            info["cell_readings"] = [cell for cells in found for cell in cells]


def _is_status_first_beside(data: bytes, voltage: float, otherwise: bool) -> bool:
    """The same, from the voltage at the terminals: a status of packs in parallel (0161) could be a limit of 35.3 V."""
    low, high = (10 * share * voltage for share in _HOLDS)
    if low <= int.from_bytes(data[:2], "big") <= high:
        return False
    return True if low <= int.from_bytes(data[2:4], "big") <= high else otherwise


def _reread(layout: Layout, data: bytes, bank: dict[str, Any], info: dict[str, Any], names: frozenset[str]) -> None:
    """Replace what a frame was taken to say by what it says in the other order."""
    for name in names:
        bank.pop(name, None)
        info.pop(name, None)
    if (said := layout.read(data)) is not None:
        bank.update(said.values)
        info.update({name: value for name, value in said.info.items() if name in names})


def _places(bank: dict[str, Any], info: Mapping[str, Any]) -> None:
    """330 names pack and cell; 319 counts its cells through all packs."""
    for extreme in ("cell_voltage_max", "cell_voltage_min"):
        if f"{extreme}_cell" in bank or f"{extreme}_pack" in bank or (place := info.get(f"{extreme}_no")) is None:
            continue
        pack, cell = divmod(place - 1, _CELLS)
        bank[f"{extreme}_pack"], bank[f"{extreme}_cell"] = pack + 1, cell + 1


def _capacities(bank: dict[str, Any]) -> None:
    """Words of 0.01 Ah run over at 655.36 Ah: what SOC and the number of packs do not vouch for is left out."""
    most = _LARGEST * modules if (modules := bank.get("modules")) else None
    if most is not None and most <= _END:
        return  # so few packs cannot have run over
    remaining, full = bank.pop("remaining_capacity", None), bank.pop("full_capacity", None)
    if remaining is None or full is None:
        return
    remaining, full = as_they_stand(bank.get("soc"), round(remaining * 100), round(full * 100), most)
    if remaining is not None and full is not None:
        bank["remaining_capacity"], bank["full_capacity"] = remaining, full
