"""Sensors: how they behave. What there is of them stands in `sensor_descriptions.py`."""

from collections.abc import Iterator
from typing import Any, override

from homeassistant.components.sensor import DOMAIN as SENSOR_DOMAIN, RestoreSensor, SensorEntity
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.restore_state import ExtraStoredData

from .coordinator import LfpBankCoordinator, LfpUnit
from .entity import LfpEntity, async_add_as_reported, differs
from .estimate import RunningTotal
from .link import LfpConfigEntry
from .sensor_descriptions import (
    BANK_SENSORS,
    ENERGY_SENSORS,
    SENSORS,
    LfpEnergyDescription,
    LfpSensorDescription,
    cell_sensors,
    temperature_sensors,
)

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant, entry: LfpConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the sensors of every unit, now and when they are first reported."""
    async_add_as_reported(entry, async_add_entities, SENSOR_DOMAIN, _build)


def _build(unit: LfpUnit) -> Iterator[LfpSensor]:
    tables = (
        SENSORS,
        cell_sensors(unit.record.cells or 0),
        temperature_sensors(unit.record.probes),
        BANK_SENSORS if isinstance(unit, LfpBankCoordinator) else (),
    )
    for table in tables:
        yield from (LfpSensor(unit, description) for description in table if description.exists(unit))
    yield from (LfpEnergySensor(unit, description) for description in ENERGY_SENSORS if description.exists(unit))


class LfpSensor(LfpEntity, SensorEntity):
    """A value of one unit."""

    _unrecorded_attributes = frozenset({"cell_voltages", "values", "reasons"})  # of these the state is the digest
    entity_description: LfpSensorDescription

    @override
    def _take_value(self) -> bool:
        description = self.entity_description
        value = description.value_fn(self.coordinator)
        if not description.every_cycle and not differs(self._attr_native_value, value, description.change):
            return False
        changed = bool(value != self._attr_native_value)
        self._attr_native_value = value
        return changed


class _Total(ExtraStoredData):
    """What an energy sensor keeps over a restart: the total and, where the battery counts, its counter (kWh).

    `inverted` tells which of the battery's two counters it was.
    """

    def __init__(self, value: float | None, counter: float | None, *, inverted: bool) -> None:
        self.value = value
        self.counter = counter
        self.inverted = inverted

    @override
    def as_dict(self) -> dict[str, Any]:
        return {"value": self.value, "counter": self.counter, "inverted": self.inverted}


class LfpEnergySensor(LfpSensor, RestoreSensor):
    """Energy in one direction, by the battery's own count or else by ours."""

    entity_description: LfpEnergyDescription

    def __init__(self, unit: LfpUnit, description: LfpEnergyDescription) -> None:
        """Begin with no total; the last run's is restored when Home Assistant adds the entity."""
        super().__init__(unit, description)
        self._total = RunningTotal()

    @override
    async def async_added_to_hass(self) -> None:
        if (stored := await self.async_get_last_extra_data()) is not None:
            kept = stored.as_dict()
            same_counter = kept.get("inverted", False) == self.coordinator.settings.invert_current
            counter = _number(kept.get("counter")) if same_counter else None
            self._total.restore(_number(kept.get("value")), counter)
        await super().async_added_to_hass()

    @property
    @override
    def extra_restore_state_data(self) -> ExtraStoredData:  # type: ignore[override]
        """The exact total, not the one that was last written."""
        inverted = self.coordinator.settings.invert_current
        return _Total(self._total.value, self._total.counter, inverted=inverted)

    @override
    def _take_value(self) -> bool:
        unit, description = self.coordinator, self.entity_description
        if description.field in unit.record.fields:
            if (counter := getattr(unit.state, description.field)) is not None:
                self._total.counted(counter)
        else:
            self._total.metered(getattr(unit.meter, description.meter))
        value = None if self._total.value is None else round(self._total.value, 3)  # to the Wh
        if not differs(self._attr_native_value, value, description.change):
            return False
        self._attr_native_value = value
        return True


def _number(kept: object) -> float | None:
    return float(kept) if isinstance(kept, int | float) else None
