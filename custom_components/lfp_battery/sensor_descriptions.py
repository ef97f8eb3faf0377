"""What sensors there are, in tables: one row an entity of a pack, or of a bank that speaks for itself."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from statistics import fmean
from typing import Any

from homeassistant.components.sensor import SensorDeviceClass, SensorEntityDescription, SensorStateClass
from homeassistant.const import (
    SIGNAL_STRENGTH_DECIBELS_MILLIWATT,
    EntityCategory,
    UnitOfElectricCurrent,
    UnitOfElectricPotential,
    UnitOfEnergy,
    UnitOfPower,
    UnitOfRatio,
    UnitOfTemperature,
    UnitOfTime,
)
from homeassistant.helpers.typing import StateType

from . import radio
from .bms.model import Mode
from .coordinator import LfpBankCoordinator, LfpPackCoordinator, LfpUnit
from .entity import LfpEntityDescription, always
from .estimate import stored_energy, tells_energy, time_left

CELL_CHANGE = 0.002  # V
TEMPERATURE_CHANGE = 0.1  # K


@dataclass(frozen=True, kw_only=True)
class LfpSensorDescription(LfpEntityDescription, SensorEntityDescription):
    """A sensor and where its value comes from."""

    value_fn: Callable[[LfpUnit], StateType]


@dataclass(frozen=True, kw_only=True)
class LfpEnergyDescription(LfpSensorDescription):
    """An energy total: the battery's own counter where it has one, else our meter's."""

    field: str  # of the model
    meter: str  # attribute of EnergyMeter


def _link_up(unit: LfpUnit) -> bool:
    return unit.last_update_success


def _field(name: str, digits: int | None = None) -> Callable[[LfpUnit], StateType]:
    """A field of the state as it is, rounded to what batteries resolve."""

    def value(unit: LfpUnit) -> StateType:
        found: StateType = getattr(unit.state, name)
        return round(found, digits) if digits is not None and isinstance(found, float) else found

    return value


def _known(values: Iterable[float | None] | None) -> list[float]:
    return [value for value in values or () if value is not None]


def _lowest_cell(unit: LfpUnit) -> float | None:
    return min(_known(unit.state.cell_voltages), default=unit.state.cell_voltage_min)


def _highest_cell(unit: LfpUnit) -> float | None:
    return max(_known(unit.state.cell_voltages), default=unit.state.cell_voltage_max)


def _spread(unit: LfpUnit) -> float | None:
    low, high = _lowest_cell(unit), _highest_cell(unit)
    return None if low is None or high is None else round(high - low, 3)


def _where(extreme: Callable[[LfpUnit], float | None], cell: str, pack: str) -> Callable[[LfpUnit], dict[str, Any]]:
    """Which cell it is, from 1, and in which pack when a bank says so."""

    def attributes(unit: LfpUnit) -> dict[str, Any]:
        voltages, value = unit.state.cell_voltages, extreme(unit)
        number = voltages.index(value) + 1 if voltages and value in voltages else getattr(unit.state, cell)
        found = {"cell": number, "pack": getattr(unit.state, pack)}
        return {name: place for name, place in found.items() if place is not None}

    return attributes


def _cell_voltages(unit: LfpUnit) -> dict[str, Any]:
    voltages = unit.state.cell_voltages
    return {} if voltages is None else {"cell_voltages": list(voltages)}


def _temperature(unit: LfpUnit) -> float | None:
    """One figure for the pack: its own, else the mean of its cells."""
    state = unit.state
    if state.temperature is not None:
        return state.temperature
    cells = _known(state.cell_temperatures) or _known((state.cell_temperature_min, state.cell_temperature_max))
    return round(fmean(cells), 1) if cells else None


def _coldest(unit: LfpUnit) -> float | None:
    return min(_known(unit.state.cell_temperatures), default=unit.state.cell_temperature_min)


def _hottest(unit: LfpUnit) -> float | None:
    return max(_known(unit.state.cell_temperatures), default=unit.state.cell_temperature_max)


def _stored(unit: LfpUnit) -> float | None:
    packs = unit.modules if isinstance(unit, LfpBankCoordinator) else 1
    energy = stored_energy(unit.state, unit.record.cells, unit.settings.rating, packs)
    return None if energy is None else round(energy, 3)


def _time_left(unit: LfpUnit) -> float | None:
    current = unit.smoothed_current.value if unit.state.current is not None else None
    seconds = time_left(unit.state, current, unit.settings.soc_floor)
    return None if seconds is None else round(seconds / 60)


def _age(unit: LfpUnit) -> float | None:
    return None if unit.age is None else round(unit.age)


def _link_quality(unit: LfpUnit) -> float | None:
    counters = unit.data.counters
    return round(100 * counters.answered / counters.asked, 1) if counters.asked else None


def _radio_address(unit: LfpUnit) -> str | None:
    return unit.radio_address if isinstance(unit, LfpPackCoordinator) else None


def _rssi(unit: LfpUnit) -> int | None:
    address = _radio_address(unit)
    return None if address is None else radio.rssi(unit.hass, address)


def _held_back(unit: LfpUnit) -> dict[str, Any]:
    """Two lists side by side, so that both have a name that can be translated."""
    held = sorted(unit.data.held_back.items())
    return {"values": [name for name, _ in held], "reasons": [reason for _, reason in held]}


def _packs_online(unit: LfpUnit) -> int | None:
    return unit.packs_online if isinstance(unit, LfpBankCoordinator) else None


def _measurement(
    key: str, device_class: SensorDeviceClass | None, unit: str, digits: int, **more: Any
) -> LfpSensorDescription:
    """A plain measurement; named by its device class unless a translation key is given."""
    return LfpSensorDescription(
        key=key,
        device_class=device_class,
        native_unit_of_measurement=unit,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=digits,
        **{"needs": (key,), "value_fn": _field(key, digits + 1), **more},
    )


def _detail(
    key: str, device_class: SensorDeviceClass | None, unit: str, digits: int, **more: Any
) -> LfpSensorDescription:
    """A measurement for the curious: diagnostic, and off until somebody wants it."""
    return _measurement(
        key,
        device_class,
        unit,
        digits,
        **{
            "translation_key": key,
            "entity_category": EntityCategory.DIAGNOSTIC,
            "entity_registry_enabled_default": False,
            **more,
        },
    )


def _temperature_detail(key: str, **more: Any) -> LfpSensorDescription:
    return _detail(
        key,
        SensorDeviceClass.TEMPERATURE,
        UnitOfTemperature.CELSIUS,
        1,
        **{"change": TEMPERATURE_CHANGE, "value_fn": _field(key, 1), **more},
    )


_CELLS = ("cell_voltages", "cell_voltage_min", "cell_voltage_max")
_CELL_TEMPERATURES = ("cell_temperatures", "cell_temperature_min", "cell_temperature_max")
_V, _A = UnitOfElectricPotential.VOLT, UnitOfElectricCurrent.AMPERE
_PERCENT = UnitOfRatio.PERCENTAGE

SENSORS: tuple[LfpSensorDescription, ...] = (
    # Written whenever the pack has answered, changed or not: helpers that integrate need the reports
    _measurement("soc", SensorDeviceClass.BATTERY, _PERCENT, 0, every_cycle=True),
    _measurement("voltage", SensorDeviceClass.VOLTAGE, _V, 2, every_cycle=True),
    _measurement("current", SensorDeviceClass.CURRENT, _A, 1, every_cycle=True, value_fn=_field("current", 2)),
    _measurement("power", SensorDeviceClass.POWER, UnitOfPower.WATT, 0, every_cycle=True),
    _measurement(
        "stored_energy",
        SensorDeviceClass.ENERGY_STORAGE,
        UnitOfEnergy.KILO_WATT_HOUR,
        2,
        translation_key="stored_energy",
        exists_fn=lambda unit: tells_energy(unit.record.fields, unit.record.cells, unit.settings.rating),
        value_fn=_stored,
        change=0.01,
    ),
    _measurement(
        "temperature",
        SensorDeviceClass.TEMPERATURE,
        UnitOfTemperature.CELSIUS,
        1,
        needs=("temperature", *_CELL_TEMPERATURES),
        value_fn=_temperature,
        change=TEMPERATURE_CHANGE,
    ),
    _measurement(
        "cell_voltage_min",
        SensorDeviceClass.VOLTAGE,
        _V,
        3,
        translation_key="cell_voltage_min",
        needs=_CELLS,
        value_fn=_lowest_cell,
        attributes_fn=_where(_lowest_cell, "cell_voltage_min_cell", "cell_voltage_min_pack"),
        attributes_follow=True,
        change=CELL_CHANGE,
    ),
    _measurement(
        "cell_voltage_max",
        SensorDeviceClass.VOLTAGE,
        _V,
        3,
        translation_key="cell_voltage_max",
        needs=_CELLS,
        value_fn=_highest_cell,
        attributes_fn=_where(_highest_cell, "cell_voltage_max_cell", "cell_voltage_max_pack"),
        attributes_follow=True,
        change=CELL_CHANGE,
    ),
    _measurement(
        "cell_voltage_spread",
        SensorDeviceClass.VOLTAGE,
        _V,
        3,
        translation_key="cell_voltage_spread",
        needs=_CELLS,
        value_fn=_spread,
        attributes_fn=_cell_voltages,
        change=CELL_CHANGE,
    ),
    LfpSensorDescription(
        key="mode",
        translation_key="mode",
        device_class=SensorDeviceClass.ENUM,
        options=[str(mode) for mode in Mode],
        needs=("mode",),
        value_fn=_field("mode"),
    ),
    _measurement(
        "time_left",
        SensorDeviceClass.DURATION,
        UnitOfTime.MINUTES,
        0,
        translation_key="time_left",
        needs=("remaining_capacity",),
        value_fn=_time_left,
        suggested_unit_of_measurement=UnitOfTime.HOURS,
        change=1,
    ),
    _detail("soh", None, _PERCENT, 0, entity_registry_enabled_default=True, change=0.1),
    LfpSensorDescription(
        key="cycles",
        translation_key="cycles",
        state_class=SensorStateClass.TOTAL_INCREASING,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        needs=("cycles",),
        value_fn=_field("cycles"),
    ),
    # There is no device class for charge
    _detail("remaining_capacity", None, "Ah", 1, change=0.1),
    _detail("full_capacity", None, "Ah", 1, change=0.1),
    _detail("design_capacity", None, "Ah", 0, change=0.1),
    _detail("charge_voltage_limit", SensorDeviceClass.VOLTAGE, _V, 1, change=0.05),
    _detail("discharge_voltage_limit", SensorDeviceClass.VOLTAGE, _V, 1, change=0.05),
    _detail("charge_current_limit", SensorDeviceClass.CURRENT, _A, 1, change=0.1),
    _detail("discharge_current_limit", SensorDeviceClass.CURRENT, _A, 1, change=0.1),
    _temperature_detail("cell_temperature_min", needs=_CELL_TEMPERATURES, value_fn=_coldest),
    _temperature_detail("cell_temperature_max", needs=_CELL_TEMPERATURES, value_fn=_hottest),
    _temperature_detail("mosfet_temperature"),
    _temperature_detail("ambient_temperature"),
    _temperature_detail("pcb_temperature"),
    _temperature_detail("heater_temperature"),
    _detail(
        "data_age",
        SensorDeviceClass.DURATION,
        UnitOfTime.SECONDS,
        0,
        needs=(),
        value_fn=_age,
        available_fn=_link_up,  # also of a silent pack
        change=1,
    ),
    _detail("link_quality", None, _PERCENT, 1, needs=(), value_fn=_link_quality, change=0.1),
    _detail(
        "rssi",
        SensorDeviceClass.SIGNAL_STRENGTH,
        SIGNAL_STRENGTH_DECIBELS_MILLIWATT,
        0,
        translation_key=None,  # the device class says it
        exists_fn=lambda unit: _radio_address(unit) is not None,
        available_fn=always,  # tells most while there is no connection
        value_fn=_rssi,
        change=1,
    ),
    LfpSensorDescription(
        key="held_back",
        translation_key="held_back",
        state_class=SensorStateClass.MEASUREMENT,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value_fn=lambda unit: len(unit.data.held_back),
        attributes_fn=_held_back,
    ),
)

ENERGY_SENSORS: tuple[LfpEnergyDescription, ...] = tuple(
    LfpEnergyDescription(
        key=f"energy_{direction}",
        translation_key=f"energy_{direction}",
        device_class=SensorDeviceClass.ENERGY,
        native_unit_of_measurement=UnitOfEnergy.KILO_WATT_HOUR,
        state_class=SensorStateClass.TOTAL_INCREASING,
        suggested_display_precision=2,
        needs=(f"energy_{direction}", "power"),
        field=f"energy_{direction}",
        meter=direction,
        value_fn=attrgetter(f"meter.{direction}"),
        change=0.01,
    )
    for direction in ("charged", "discharged")
)

BANK_SENSORS: tuple[LfpSensorDescription, ...] = (
    LfpSensorDescription(
        key="packs_online",
        translation_key="packs_online",
        state_class=SensorStateClass.MEASUREMENT,
        entity_category=EntityCategory.DIAGNOSTIC,
        exists_fn=lambda unit: not unit.record.fields,  # where the bank speaks for itself nobody counts packs
        value_fn=_packs_online,
        available_fn=_link_up,
    ),
    *(
        LfpSensorDescription(
            key=name,
            translation_key=name,
            state_class=SensorStateClass.MEASUREMENT,
            entity_category=EntityCategory.DIAGNOSTIC,
            entity_registry_enabled_default=name == "modules_online",
            needs=(name,),
            value_fn=_field(name),
        )
        for name in ("modules", "modules_online", "modules_charge_blocked", "modules_discharge_blocked")
    ),
)


def cell_sensors(count: int) -> tuple[LfpSensorDescription, ...]:
    """One sensor a cell, numbered from 1."""
    return tuple(
        _detail(
            f"cell_{index + 1}_voltage",
            SensorDeviceClass.VOLTAGE,
            _V,
            3,
            translation_key="cell_voltage",
            placeholders={"number": str(index + 1)},
            needs=("cell_voltages",),
            value_fn=_element("cell_voltages", index, 4),
            change=CELL_CHANGE,
        )
        for index in range(count)
    )


def temperature_sensors(places: Iterable[int]) -> tuple[LfpSensorDescription, ...]:
    """One sensor a place where cells' temperature is taken; places count from 0, sensors from 1."""
    return tuple(
        _temperature_detail(
            f"cell_temperature_{index + 1}",
            translation_key="cell_temperature",
            placeholders={"number": str(index + 1)},
            needs=("cell_temperatures",),
            value_fn=_element("cell_temperatures", index, 1),
        )
        for index in places
    )


def _element(name: str, index: int, digits: int) -> Callable[[LfpUnit], StateType]:
    def value(unit: LfpUnit) -> StateType:
        values: tuple[float | None, ...] = getattr(unit.state, name) or ()
        found = values[index] if index < len(values) else None
        return None if found is None else round(found, digits)

    return value
