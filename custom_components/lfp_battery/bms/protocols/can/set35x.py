"""The 35x families: one decoder, and a table of frames for each dialect (can.md sections 5 and 6).

What they share is 351, 355, 356 and 35E; a wrong choice among them costs a few fields, not the main ones.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, override

from ...can_frame import CanFrame
from ...model import Identity
from ..base import Decoded
from .base import CanFamily, Said
from .fields import (
    CELL_MV,
    MIN_FIRST,
    cell_volts,
    dotted,
    first_half,
    limit,
    long,
    nothing_if_blank,
    number,
    second_half,
    signed,
    some,
    sort_pairs,
    tagged,
    tagged_capacity,
    volts,
    word,
)
from .layout import Flag, Layout, LayoutFamily, Number, Text, Values
from .set35x_alarms import DISCOVER_35A, LI_RESIDENTIAL_359, LI_RESIDENTIAL_399, PYLON_359, SMA_35A

_NOTHING: Final = frozenset({0, 0xFFFF})  # of what cannot be 0

# A state of charge in hundredths is one only if it says the same as the one in whole percent (can.md 4.3).
_SOC_AGREES: Final = 1.5  # %
_KELVIN: Final = 273
# A pack that counts what it has left runs low of it; one that always sends its full capacity does not (can.md 4.3).
_FULL_SOC: Final = 97  # %
_EMPTY_SOC: Final = 3  # %
# What Sofar has left says the same as the state of charge: share of what it holds (own choice).
_LEFT_AGREES: Final = 0.05
# A limit above this is that of a battery that has 356 in 0.1 V and is none of these (can.md section 5), V.
LOW_VOLTAGE: Final = 70.0
# Whole degrees instead of tenths: both at most this, while 356 has about ten times as much (can.md 6.6).
_TENTHS_AT_MOST: Final = 6.0
_TENTHS_RATIO: Final = (8.0, 12.0)
_TENTHS_FROM: Final = 10.0

_FINE: Final = "fine_soc"
_INSTALLED: Final = "capacity_of_35f"
_ENERGIES: Final = frozenset({"energy_charged", "energy_discharged"})  # of 378
_THREE: Final = ("first", "second", "third")
_CELLS: Final = "cells_"
_QUERIED: Final = range(6)  # frames of three cells


def _is_mg(maker: str | None) -> bool:
    return maker is not None and maker.startswith("MG-BMS")


def _sofar_left(left: float, bank: Mapping[str, Any]) -> float | None:
    """355 [6:7]: what is left in Ah, or in 0.1 Ah from a gateway; or the lowest cell in mV (can.md 4.3)."""
    design, soc = bank.get("design_capacity"), bank.get("soc")
    if design is None:
        return None if left in CELL_MV else left
    if soc is None:
        return left if left <= design else None
    most = design * soc / 100
    least = most * min(bank.get("soh", 100), 100) / 100
    agrees = design * _LEFT_AGREES
    return next((found for found in (left, left / 10) if least - agrees <= found <= most + agrees), None)


def _sofar_cells(place: int) -> Layout:
    """68x: three cells of the pack that an inverter asked for; `Sofar.settle` puts them in a row."""

    def collect(data: bytes, values: Values, info: Values) -> None:
        if cells := [volts for name in _THREE if (volts := values.pop(name, None)) is not None]:
            info[f"{_CELLS}{place}"] = (data[0], cells)

    cells = (some(name, at, 1000) for name, at in zip(_THREE, (1, 3, 5), strict=True))
    return Layout(*cells, finish=collect)


_351 = Layout(
    word("charge_voltage_limit", 0, 10),
    limit("charge_current_limit", 2),
    # one emulator sends it negative
    limit("discharge_current_limit", 4),
    some("discharge_voltage_limit", 6, 10),
)
_SOC = word("soc", 0)
_SOH = some("soh", 2)
# in hundredths, or anything else: see `Set35x.settle`
_FINE_SOC = some(_FINE, 4, 100)
_355 = Layout(_SOC, _SOH, _FINE_SOC)
# no pack has -0.01 V
_VOLTAGE = Number(name="voltage", at=0, code="h", form=volts, missing=frozenset({-1, -0x8000}))
_CURRENT = signed("current", 2, 10)
_TEMPERATURE = signed("temperature", 4, 10)
_356 = Layout(_VOLTAGE, _CURRENT, _TEMPERATURE)
_35E = Layout(Text(name="manufacturer", place="values"))

_MODULES = Number(name="modules", at=4, code="B", missing=frozenset({0xFF}))
_359 = Layout(*PYLON_359, _MODULES)
_35A = Layout(*SMA_35A, paired=True)
_ENABLES = (Flag(name="charge_enabled", at=0, mask=0x80), Flag(name="discharge_enabled", at=0, mask=0x40))
_FORCE = Flag(name="force_charge_requested", at=0, mask=0x30)  # two bits for two urgencies
_FULL = Flag(name="full_charge_requested", at=0, mask=0x08)
_35C = Layout(*_ENABLES, _FORCE, _FULL)

# what 379 says stands above it: see `Set35x.settle`
_CAPACITY = number(_INSTALLED, 4, "H")
_35F = Layout(
    word("battery_type", 0, place="info"),
    # which byte comes first is not agreed
    Number(name="version", at=2, form=lambda raw: f"{raw & 0xFF:02x}{raw >> 8:02x}", place="info"),
    _CAPACITY,
    word("maker_id", 6, place="info"),
)
_SMA_EVENTS: Final = (
    "soc_recalibration_start",
    "soc_recalibration_stop",
    "power_limit_start",
    "power_limit_stop",
    "preventive_shutdown",
)
_35B = Layout(*(Flag(name=name, at=0, mask=1 << bit, place="info") for bit, name in enumerate(_SMA_EVENTS)))
_379 = Layout(number("design_capacity", 0, "H"))
_NAMES: Final = {
    0x370: Layout(Text(name="model_1", form=first_half, place="identity")),
    0x371: Layout(Text(name="model_2", form=second_half, place="identity")),
}


def _kelvin(name: str, at: int) -> Number:
    return Number(name=name, at=at, zero=_KELVIN, missing=_NOTHING)


# Victron's frames that others have, too (can.md 6.2, 6.8, 6.9); before a pack has data, 373 is zero.
_EXTREMES: Final = {
    0x372: Layout(
        word("modules_online", 0),
        word("modules_charge_blocked", 2),
        word("modules_discharge_blocked", 4),
        word("modules_offline", 6, place="info"),
        finish=nothing_if_blank,
    ),
    0x373: Layout(
        some("cell_voltage_min", 0, 1000),
        some("cell_voltage_max", 2, 1000),
        _kelvin("cell_temperature_min", 4),
        _kelvin("cell_temperature_max", 6),
    ),
    0x374: Layout(Text(name="cell_voltage_min_id")),
    0x375: Layout(Text(name="cell_voltage_max_id")),
    0x376: Layout(Text(name="cell_temperature_min_id")),
    0x377: Layout(Text(name="cell_temperature_max_id")),
    0x378: Layout(
        long("energy_charged", 0, 10),
        long("energy_discharged", 4, 10),
    ),
    0x379: _379,
}
_SERIALS: Final = {
    0x380: Layout(Text(name="serial_1", half=True, place="identity"), private=True),
    0x381: Layout(Text(name="serial_2", half=True, place="identity"), private=True),
}

_CORE: Final[dict[int, Layout]] = {0x351: _351, 0x355: _355, 0x356: _356, 0x35E: _35E}
_PYLON: Final = {**_CORE, 0x359: _359, 0x35C: _35C}
_LATER: Final = {**_PYLON, **_EXTREMES, 0x35A: _35A, 0x35F: _35F}
_SMA: Final = {**_CORE, **_EXTREMES, **_SERIALS, 0x35A: _35A, 0x35B: _35B, 0x35F: _35F}


class Set35x(LayoutFamily):
    """What the dialects share beside their tables."""

    @override
    def settle(self, bank: dict[str, Any], packs: Mapping[int, dict[str, Any]], info: dict[str, Any]) -> None:
        """See `CanFamily`; MG counts in 0.01 kWh in a frame that has 0.1 kWh (can.md 6.8), whatever it is read as."""
        if _is_mg(bank.get("manufacturer")):
            for name in _ENERGIES & bank.keys():
                bank[name] /= 10
        if _FINE in bank:
            fine, soc = bank.pop(_FINE), bank.get("soc")
            if soc is not None and fine <= 100 and abs(fine - soc) <= _SOC_AGREES:
                bank["soc"] = fine
        if _INSTALLED in bank:
            bank.setdefault("design_capacity", bank.pop(_INSTALLED))
        # emulators count 0 modules: that is not known (can.md section 5), and what they said stays for diagnostics
        if bank.get("modules") == 0:
            info["modules"] = bank.pop("modules")
        # 410.0 V would be read as 41.00 V
        if bank.get("charge_voltage_limit", 0.0) > LOW_VOLTAGE:
            bank.pop("voltage", None)


class Pylon(Set35x):
    """Pylon low voltage V1.2, and V2 with the frames it borrows from Victron's set (can.md 6.1, 6.2).

    `conditions` has what every one of them says: the alarms of 35A count, too, where a pack sends it.
    """

    name = "pylon"
    known_by_maker = _ENERGIES
    layouts = {**_LATER, **_NAMES}
    conditions = frozenset(bit.alarm.condition for bit in PYLON_359)


class PylonGoodwe(Set35x):
    """Pylon's set with figures in 370 and 371: Seplos, GoodWe low voltage, JK, Shoto (can.md 6.6)."""

    name = "pylon_goodwe"
    known_by_maker = _ENERGIES
    _370 = Layout(
        signed("cell_temperature_max", 0, 10),
        signed("cell_temperature_min", 2, 10),
        some("cell_voltage_max", 4, 1000),
        some("cell_voltage_min", 6, 1000),
        finish=sort_pairs,
    )
    layouts = {
        **_LATER,
        0x370: _370,
        0x070: _370,  # as the document prints it; one emulator follows
        0x371: Layout(
            number("cell_temperature_max_no", 0, "H", place="info"),
            number("cell_temperature_min_no", 2, "H", place="info"),
            number("cell_voltage_max_cell", 4, "H"),
            number("cell_voltage_min_cell", 6, "H"),
        ),
    }
    conditions = Pylon.conditions

    @override
    def settle(self, bank: dict[str, Any], packs: Mapping[int, dict[str, Any]], info: dict[str, Any]) -> None:
        """See `CanFamily`."""
        super().settle(bank, packs, info)
        if bank.pop(MIN_FIRST, False):
            bank.pop("cell_voltage_max_cell", None)
            bank.pop("cell_voltage_min_cell", None)
            info.pop("cell_temperature_max_no", None)
            info.pop("cell_temperature_min_no", None)
        least, most = bank.get("cell_temperature_min"), bank.get("cell_temperature_max")
        mean = bank.get("temperature")
        if least is None or most is None or mean is None or not 0 < most <= _TENTHS_AT_MOST or mean < _TENTHS_FROM:
            return
        if _TENTHS_RATIO[0] <= mean / most <= _TENTHS_RATIO[1]:
            bank["cell_temperature_min"], bank["cell_temperature_max"] = least * 10, most * 10


class SolArk(Set35x):
    """Sol-Ark V1.3 (can.md 6.3)."""

    name = "solark"
    experimental = True
    layouts = {**_PYLON, 0x379: _379}


class Luxpower(Set35x):
    """Luxpower V4.2 (can.md 6.4)."""

    name = "luxpower"
    experimental = True
    layouts = {
        **_PYLON,
        0x355: Layout(
            _SOC,
            _SOH,
            Number(name="cell_voltage_max", at=4, form=cell_volts),
            Number(name="cell_voltage_min", at=6, form=cell_volts),
        ),
        0x356: Layout(
            _VOLTAGE,
            _CURRENT,
            signed("cell_temperature_max", 4, 10),
            signed("cell_temperature_min", 6, 10),
        ),
        0x359: Layout(*PYLON_359, _MODULES, finish=tagged_capacity),
        0x35C: Layout(*_ENABLES, _FORCE, _FULL, word("cycles", 2)),
        0x379: _379,
    }


class Sma(Set35x):
    """SMA's set for external batteries, and Pylon V1.3, which differs from it by its name only (can.md 6.2, 6.8)."""

    name = "sma"
    known_by_maker = _ENERGIES
    layouts = _SMA


class Victron(Sma):
    """Victron's CAN-bus BMS (can.md 6.9), and MG's with SMA's 35F (6.8)."""

    name = "victron"
    layouts = {
        **_SMA,
        **_NAMES,
        0x35F: Layout(
            word("product_id", 0, place="info"),
            Number(
                name="firmware",
                at=2,
                form=lambda raw: f"{raw & 0xFF}.{raw >> 8:02x}" if raw else None,
                place="identity",
            ),
            word("remaining_capacity", 4),
            Number(
                name="hardware",
                at=6,
                form=lambda raw: str(raw) if raw else None,
                missing=frozenset({0xFFFF}),
                place="identity",
            ),
        ),
        0x360: Layout(Number(name="force_charge_requested", at=0, code="B", form=lambda raw: raw == 0xFF)),
        0x382: Layout(Text(name="model", place="identity")),
        0x383: Layout(Text(name="connection_1")),
        0x384: Layout(Text(name="connection_2")),
    }

    @override
    def settle(self, bank: dict[str, Any], packs: Mapping[int, dict[str, Any]], info: dict[str, Any]) -> None:
        """One maker sends the full capacity where the rest have what is left of it (can.md 4.3)."""
        super().settle(bank, packs, info)
        if (left := bank.get("remaining_capacity")) is None:
            return
        if _is_mg(bank.get("manufacturer")):
            del bank["remaining_capacity"]
            if left:
                bank.setdefault("design_capacity", left)
            info.pop("product_id", None)
            return
        installed, soc = bank.get("design_capacity"), bank.get("soc")
        full = installed is not None and (
            left > installed or (left == installed and soc is not None and soc < _FULL_SOC)
        )
        empty = left == 0 and soc is not None and soc > _EMPTY_SOC
        if full or empty:
            del bank["remaining_capacity"]

    @override
    def compose(self, said: Iterable[Said]) -> Decoded:
        """See `CanFamily`; what MG has in the place of versions is none."""
        decoded = super().compose(said)
        if decoded.bank is None or not _is_mg(decoded.bank.manufacturer):
            return decoded
        identities = {
            pack: known
            for pack, who in decoded.identities.items()
            if (known := replace(who, firmware=None, hardware=None)) != Identity()
        }
        return replace(decoded, identities=identities)


class LiResidential(Set35x):
    """The set of an unnamed vendor, "BMS Protocol (CAN) for Li Residential Series V1.0" (can.md 6.15)."""

    name = "li_residential"
    experimental = True
    layouts = {
        **_CORE,
        0x359: Layout(*LI_RESIDENTIAL_359),
        0x35C: Layout(*_ENABLES, Flag(name="force_charge_requested", at=0, mask=0x20)),
        0x399: Layout(some("energy_installed", 0, 10, place="info"), *LI_RESIDENTIAL_399),
        0x3DA: Layout(
            some("cell_voltage_max", 0, 1000),
            some("cell_voltage_min", 2, 1000),
            number("cell_voltage_max_cell", 4, "H"),
            number("cell_voltage_min_cell", 6, "H"),
        ),
        0x3DB: Layout(
            Number(name="cell_temperature_max", at=0, code="B", zero=50, missing=frozenset({0xFF})),
            Number(name="cell_temperature_min", at=1, code="B", zero=50, missing=frozenset({0xFF})),
        ),
    }


class Sofar(Set35x):
    """Sofar's general CAN V2.1, low voltage (can.md 6.12)."""

    name = "sofar"
    experimental = True
    on_change = frozenset({0x35A})
    layouts = {
        **_CORE,
        0x355: Layout(_SOC, _SOH, _FINE_SOC, number("remaining_capacity", 6, "H")),
        0x356: Layout(_VOLTAGE, _CURRENT, _TEMPERATURE, word("cycles", 6)),
        0x359: Layout(
            *(
                number(name, at, place="info")
                for at, name in enumerate(("parallel_packs", "series_modules", "protocol_version", "series_cells"))
            )
        ),
        0x35A: _35A,
        0x35C: _35C,
        0x35F: Layout(Number(name="battery_type", at=0, code="B", place="info"), _CAPACITY),
        0x30F: Layout(
            Flag(name="discharge_enabled", at=1, mask=0x01),
            Flag(name="charge_enabled", at=1, mask=0x02),
        ),
        # answers to an inverter's queries; the first byte says of which pack
        **{0x680 + place: _sofar_cells(place) for place in _QUERIED},
    }

    @override
    def settle(self, bank: dict[str, Any], packs: Mapping[int, dict[str, Any]], info: dict[str, Any]) -> None:
        """The cells of one pack, as far as they follow each other: an inverter may be half through the next one.

        The first byte is the pack in some sources and counts the frames in another.
        """
        super().settle(bank, packs, info)
        if (left := bank.pop("remaining_capacity", None)) is not None and (
            found := _sofar_left(left, bank)
        ) is not None:
            bank["remaining_capacity"] = found
        row: list[float] = []
        answers = [info.pop(f"{_CELLS}{place}", None) for place in _QUERIED]
        for place, answer in enumerate(answers):
            if answer is None or answers[0] is None or answer[0] - answers[0][0] not in {0, place}:
                break
            row += answer[1]
        if row:
            info["cell_readings"] = row

    @override
    def read(self, frame: CanFrame) -> Said | None:
        """See `CanFamily`; a battery of Pylon's beside an inverter that asks as Sofar's do has its alarms in 359."""
        if frame.id == 0x359 and tagged(frame.data):
            return _359.read(frame.data)
        return super().read(frame)


class Dyness(Set35x):
    """Dyness: Pylon's and SMA's alarms together, and a name (can.md 6.16).

    30F and 70D stay unread: nobody knows what they mean, and 30F is no enable here.
    """

    name = "dyness"
    layouts = {**_PYLON, **_NAMES, 0x35A: _35A, 0x35F: _35F}


class Discover(Set35x):
    """Discover with Lynk II (can.md 6.17)."""

    name = "discover"
    layouts = {
        **_CORE,
        **_NAMES,
        0x354: Layout(
            number("design_capacity", 0, "H"),
            word("remaining_capacity", 2),
        ),
        0x35A: Layout(*DISCOVER_35A, paired=True),
        0x372: Layout(Number(name="firmware", at=0, code="I", form=dotted, place="identity")),
        0x373: Layout(Number(name="protocol_version", at=0, code="I", form=dotted, place="info")),
    }


class Generic35x(Set35x):
    """What all of them have, of a battery that sends nothing that tells more."""

    name = "generic_35x"
    layouts = _CORE


FAMILIES: Final[tuple[CanFamily, ...]] = (
    Pylon(),
    PylonGoodwe(),
    SolArk(),
    Luxpower(),
    Sma(),
    Victron(),
    LiResidential(),
    Sofar(),
    Dyness(),
    Discover(),
    Generic35x(),
)
