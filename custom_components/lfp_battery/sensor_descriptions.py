"""What sensors there are, in tables: one row an entity of a pack or of a bank. What only banks have stands elsewhere."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
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
from .unit_figures import full, stored, tells_full, tells_stored, to_floor, to_full

CELL_CHANGE = 0.002  # V
# V; a list is unrecorded, but a row of its own whenever it alone is renewed
LIST_CHANGE = 0.01
TEMPERATURE_CHANGE = 0.1  # K
# Of a span of time: no current is steady enough for the minutes of ten hours. Told to the minute, these spans were half
# of all that fourteen packs had the recorder write in a night.
TIME_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class LfpSensorDescription(LfpEntityDescription, SensorEntityDescription):
    """A sensor and where its value comes from."""

    value_fn: Callable[[LfpUnit], StateType | datetime]


def link_up(unit: LfpUnit) -> bool:
    """Available as long as the link is, also of a silent pack."""
    return unit.last_update_success


def field(name: str, digits: int | None = None) -> Callable[[LfpUnit], StateType]:
    """A field of the state as it is, rounded to what batteries resolve."""

    def value(unit: LfpUnit) -> StateType:
        found: StateType = getattr(unit.state, name)
        return round(found, digits) if digits is not None and isinstance(found, float) else found

    return value


def stands_for_itself(unit: LfpUnit) -> bool:
    """Whether what a manual says of a battery is said of this unit: not of a bank beside its packs."""
    return isinstance(unit, LfpPackCoordinator) or (unit.speaks and not unit.packs)


def has_recharge_rule(unit: LfpUnit) -> bool:
    """Whether a manual says how often it wants to be charged."""
    return unit.settings.recharge is not None and stands_for_itself(unit)


def _known(values: Iterable[float | None] | None) -> list[float]:
    return [value for value in values or () if value is not None]


def _lowest_cell(unit: LfpUnit) -> float | None:
    return min(_known(unit.state.cell_voltages), default=unit.state.cell_voltage_min)


def _highest_cell(unit: LfpUnit) -> float | None:
    return max(_known(unit.state.cell_voltages), default=unit.state.cell_voltage_max)


def _spread(unit: LfpUnit) -> float | None:
    low, high = _lowest_cell(unit), _highest_cell(unit)
    return None if low is None or high is None else round(high - low, 3)


def _where(extreme: Callable[[LfpUnit], float | None], name: str, place: str) -> Callable[[LfpUnit], dict[str, Any]]:
    """Which cell it is, from 1, and of a bank in which pack."""

    def attributes(unit: LfpUnit) -> dict[str, Any]:
        voltages, value = unit.state.cell_voltages, extreme(unit)
        number = voltages.index(value) + 1 if voltages and value in voltages else getattr(unit.state, f"{name}_cell")
        return {**({} if number is None else {"cell": number}), **_in_pack(unit, place, f"{name}_pack")}

    return attributes


def _in_pack(unit: LfpUnit, place: str, said: str | None = None) -> dict[str, str]:
    """Of a bank: the number of the pack that it is in, else as the bank has `said` itself."""
    if not isinstance(unit, LfpBankCoordinator):
        return {}
    number = getattr(unit.figures, place) or (said and getattr(unit.state, said))
    return {} if number is None else {"pack": str(number)}


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


def _counted_in(unit: LfpUnit) -> dict[str, Any]:
    """Of a bank whose state of charge is worked out: which packs it counts, and why not the others."""
    if not isinstance(unit, LfpBankCoordinator) or "soc" not in unit.derivable:
        return {}
    figures = unit.figures
    return {
        "counted": list(figures.counted),
        "left_out": list(figures.left_out),
        "left_out_reasons": [reason.value for reason in figures.left_out.values()],
        "weighting": figures.weighting and figures.weighting.value,
    }


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


def measurement(
    key: str, device_class: SensorDeviceClass | None, unit: str, digits: int, **more: Any
) -> LfpSensorDescription:
    """A plain measurement; named by its device class unless a translation key is given."""
    return LfpSensorDescription(
        key=key,
        device_class=device_class,
        native_unit_of_measurement=unit,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=digits,
        **{"needs": (key,), "value_fn": field(key, digits + 1), **more},
    )


def detail(
    key: str, device_class: SensorDeviceClass | None, unit: str, digits: int, **more: Any
) -> LfpSensorDescription:
    """A measurement for the curious: diagnostic, and off until somebody wants it."""
    return measurement(
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
    return detail(
        key,
        SensorDeviceClass.TEMPERATURE,
        UnitOfTemperature.CELSIUS,
        1,
        **{"change": TEMPERATURE_CHANGE, "value_fn": field(key, 1), **more},
    )


def _energy(direction: str) -> LfpSensorDescription:
    """An energy total, as the unit's account has it."""

    def total(unit: LfpUnit) -> float | None:
        found: float | None = getattr(unit.account, direction)
        return None if found is None else round(found, 3)  # to the Wh

    def attributes(unit: LfpUnit) -> dict[str, Any]:
        return {"estimated": round(getattr(unit.account, f"estimated_{direction}"), 3)}

    return LfpSensorDescription(
        key=f"energy_{direction}",
        translation_key=f"energy_{direction}",
        device_class=SensorDeviceClass.ENERGY,
        native_unit_of_measurement=UnitOfEnergy.KILO_WATT_HOUR,
        state_class=SensorStateClass.TOTAL_INCREASING,
        suggested_display_precision=2,
        needs=(f"energy_{direction}", "power"),
        value_fn=total,
        change=0.01,
        adds_up=True,
        attributes_fn=attributes,
        attributes_follow=True,
    )


_CELLS = ("cell_voltages", "cell_voltage_min", "cell_voltage_max")
_CELL_TEMPERATURES = ("cell_temperatures", "cell_temperature_min", "cell_temperature_max")
_V, _A = UnitOfElectricPotential.VOLT, UnitOfElectricCurrent.AMPERE
PERCENT = UnitOfRatio.PERCENTAGE

SENSORS: tuple[LfpSensorDescription, ...] = (
    # Written whenever the pack has answered, changed or not: helpers that integrate need the reports. Of those that tell
    # the flow any change counts, so that a nought and a change of direction are shown with the answer that brings them.
    measurement(
        "soc",
        SensorDeviceClass.BATTERY,
        PERCENT,
        0,
        translation_key="soc",  # of the attributes; the device class names it
        every_cycle=True,
        change=0.1,
        attributes_fn=_counted_in,
    ),
    measurement("voltage", SensorDeviceClass.VOLTAGE, _V, 2, every_cycle=True, change=0.01),
    measurement("current", SensorDeviceClass.CURRENT, _A, 1, every_cycle=True, value_fn=field("current", 2)),
    measurement("power", SensorDeviceClass.POWER, UnitOfPower.WATT, 0, every_cycle=True),
    measurement(
        "stored_energy",
        SensorDeviceClass.ENERGY_STORAGE,
        UnitOfEnergy.KILO_WATT_HOUR,
        2,
        translation_key="stored_energy",
        exists_fn=tells_stored,
        value_fn=stored,
        change=0.01,
        adds_up=True,
    ),
    measurement(
        "temperature",
        SensorDeviceClass.TEMPERATURE,
        UnitOfTemperature.CELSIUS,
        1,
        needs=("temperature", *_CELL_TEMPERATURES),
        value_fn=_temperature,
        change=TEMPERATURE_CHANGE,
    ),
    measurement(
        "cell_voltage_min",
        SensorDeviceClass.VOLTAGE,
        _V,
        3,
        translation_key="cell_voltage_min",
        needs=_CELLS,
        value_fn=_lowest_cell,
        attributes_fn=_where(_lowest_cell, "cell_voltage_min", "lowest_cell_pack"),
        attributes_follow=True,
        change=CELL_CHANGE,
    ),
    measurement(
        "cell_voltage_max",
        SensorDeviceClass.VOLTAGE,
        _V,
        3,
        translation_key="cell_voltage_max",
        needs=_CELLS,
        value_fn=_highest_cell,
        attributes_fn=_where(_highest_cell, "cell_voltage_max", "highest_cell_pack"),
        attributes_follow=True,
        change=CELL_CHANGE,
    ),
    measurement(
        "cell_voltage_spread",
        SensorDeviceClass.VOLTAGE,
        _V,
        3,
        translation_key="cell_voltage_spread",
        needs=_CELLS,
        value_fn=_spread,
        attributes_fn=_cell_voltages,
        change=CELL_CHANGE,
        attributes_change=LIST_CHANGE,
    ),
    LfpSensorDescription(
        key="mode",
        translation_key="mode",
        device_class=SensorDeviceClass.ENUM,
        options=[str(mode) for mode in Mode],
        needs=("mode",),
        value_fn=field("mode"),
    ),
    measurement(
        "time_left",
        SensorDeviceClass.DURATION,
        UnitOfTime.MINUTES,
        2,  # shown in hours
        translation_key="time_left",
        needs=("remaining_capacity",),
        value_fn=to_floor,
        suggested_unit_of_measurement=UnitOfTime.HOURS,
        change=1,
        share=TIME_SHARE,
    ),
    measurement(
        "time_to_full",
        SensorDeviceClass.DURATION,
        UnitOfTime.MINUTES,
        2,  # shown in hours
        translation_key="time_to_full",
        needs=("remaining_capacity",),
        value_fn=to_full,
        suggested_unit_of_measurement=UnitOfTime.HOURS,
        change=1,
        share=TIME_SHARE,
    ),
    LfpSensorDescription(
        key="last_full_charge",
        translation_key="last_full_charge",
        device_class=SensorDeviceClass.TIMESTAMP,
        entity_category=EntityCategory.DIAGNOSTIC,
        needs=("soc", *_CELLS),
        available_fn=always,  # remembered; a battery that is stored is asleep
        value_fn=lambda unit: unit.upkeep.last_full,
    ),
    LfpSensorDescription(
        key="recharge_by",
        translation_key="recharge_by",
        device_class=SensorDeviceClass.TIMESTAMP,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        exists_fn=has_recharge_rule,
        available_fn=always,
        value_fn=lambda unit: unit.upkeep.due_at(unit.clock.utc()),
    ),
    detail("soh", None, PERCENT, 0, entity_registry_enabled_default=True, change=0.1),
    LfpSensorDescription(
        key="cycles",
        translation_key="cycles",
        state_class=SensorStateClass.TOTAL_INCREASING,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        needs=("cycles",),
        value_fn=field("cycles"),
    ),
    # There is no device class for charge
    detail("remaining_capacity", None, "Ah", 1, change=0.1),
    detail("full_capacity", None, "Ah", 1, change=0.1),
    detail(
        "full_energy",
        SensorDeviceClass.ENERGY_STORAGE,
        UnitOfEnergy.KILO_WATT_HOUR,
        2,
        exists_fn=lambda unit: isinstance(unit, LfpPackCoordinator) and tells_full(unit),
        value_fn=full,
        change=0.01,
    ),
    detail("design_capacity", None, "Ah", 0, change=0.1),
    detail("charge_voltage_limit", SensorDeviceClass.VOLTAGE, _V, 1, change=0.05),
    detail("discharge_voltage_limit", SensorDeviceClass.VOLTAGE, _V, 1, change=0.05),
    detail("charge_current_limit", SensorDeviceClass.CURRENT, _A, 1, change=0.1),
    detail("discharge_current_limit", SensorDeviceClass.CURRENT, _A, 1, change=0.1),
    _temperature_detail(
        "cell_temperature_min",
        needs=_CELL_TEMPERATURES,
        value_fn=_coldest,
        attributes_fn=lambda unit: _in_pack(unit, "coldest_pack"),
        attributes_follow=True,
    ),
    _temperature_detail(
        "cell_temperature_max",
        needs=_CELL_TEMPERATURES,
        value_fn=_hottest,
        attributes_fn=lambda unit: _in_pack(unit, "warmest_pack"),
        attributes_follow=True,
    ),
    _temperature_detail("mosfet_temperature"),
    _temperature_detail("ambient_temperature"),
    _temperature_detail("pcb_temperature"),
    _temperature_detail("heater_temperature"),
    detail(
        "data_age",
        SensorDeviceClass.DURATION,
        UnitOfTime.SECONDS,
        0,
        needs=(),
        value_fn=_age,
        available_fn=link_up,  # also of a silent pack
        change=1,
    ),
    detail("link_quality", None, PERCENT, 1, needs=(), value_fn=_link_quality, change=0.1),
    detail(
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

ENERGY_SENSORS: tuple[LfpSensorDescription, ...] = (
    *(_energy(direction) for direction in ("charged", "discharged")),
    LfpSensorDescription(
        key="unobserved",
        translation_key="unobserved",
        device_class=SensorDeviceClass.DURATION,
        native_unit_of_measurement=UnitOfTime.SECONDS,
        state_class=SensorStateClass.TOTAL_INCREASING,
        suggested_display_precision=0,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        needs=("energy_charged", "energy_discharged", "power"),
        value_fn=lambda unit: round(unit.account.unobserved),
        change=1,
    ),
)


def cell_sensors(count: int) -> tuple[LfpSensorDescription, ...]:
    """One sensor a cell, numbered from 1."""
    return tuple(
        detail(
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
