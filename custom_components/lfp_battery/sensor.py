"""Sensors: how they behave. What there is of them stands in `sensor_descriptions.py`."""

from collections.abc import Iterator
from typing import override

from homeassistant.components.sensor import DOMAIN as SENSOR_DOMAIN, SensorEntity
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .bank_sensor_descriptions import BANK_SENSORS
from .coordinator import LfpBankCoordinator, LfpUnit
from .entity import LfpEntity, async_add_as_reported, differs
from .link import LfpConfigEntry
from .sensor_descriptions import ENERGY_SENSORS, SENSORS, LfpSensorDescription, cell_sensors, temperature_sensors

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant, entry: LfpConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the sensors of every unit, now and when they are first reported."""
    async_add_as_reported(entry, async_add_entities, SENSOR_DOMAIN, _build)


def _build(unit: LfpUnit) -> Iterator[LfpSensor]:
    tables = (
        SENSORS,
        ENERGY_SENSORS,
        cell_sensors(unit.record.cells or 0),
        temperature_sensors(unit.record.probes),
        BANK_SENSORS if isinstance(unit, LfpBankCoordinator) else (),
    )
    for table in tables:
        yield from (LfpSensor(unit, description) for description in table if description.exists(unit))


class LfpSensor(LfpEntity, SensorEntity):
    """A value of one unit."""

    _unrecorded_attributes = frozenset({"cell_voltages", "values", "reasons"})  # of these the state is the digest
    entity_description: LfpSensorDescription

    @override
    def _take_value(self) -> bool:
        description = self.entity_description
        before, value = self._attr_native_value, description.value_fn(self.coordinator)
        if not differs(before, value, description.significant(self.coordinator, before)):
            return False
        self._attr_native_value = value
        return True
