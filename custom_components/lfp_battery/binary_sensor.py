"""Binary sensors: how they behave. What there is of them stands in `binary_sensor_descriptions.py`."""

from collections.abc import Iterator
from typing import override

from homeassistant.components.binary_sensor import DOMAIN as BINARY_SENSOR_DOMAIN, BinarySensorEntity
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .binary_sensor_descriptions import BINARY_SENSORS, CONDITIONS, LINK, LfpBinarySensorDescription
from .bms.clock import Handle
from .coordinator import LfpBankCoordinator, LfpUnit
from .entity import LfpEntity, async_add_as_reported
from .link import LfpConfigEntry

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant, entry: LfpConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the binary sensors of every unit, now and when they are first reported."""
    async_add_as_reported(entry, async_add_entities, BINARY_SENSOR_DOMAIN, _build)


def _build(unit: LfpUnit) -> Iterator[LfpBinarySensor]:
    table = (*BINARY_SENSORS, *CONDITIONS, *((LINK,) if isinstance(unit, LfpBankCoordinator) else ()))
    return (LfpBinarySensor(unit, description) for description in table if description.exists(unit))


class LfpBinarySensor(LfpEntity, BinarySensorEntity):
    """A yes or no of one unit; None where the battery did not say."""

    entity_description: LfpBinarySensorDescription

    def __init__(self, unit: LfpUnit, description: LfpBinarySensorDescription) -> None:
        """Nothing was answered yet."""
        super().__init__(unit, description)
        self._answer: bool | None = None  # the last one, shown or not
        self._since = 0.0  # when it was first given, in monotonic seconds
        self._look_again: Handle | None = None

    @override
    async def async_will_remove_from_hass(self) -> None:
        self._stop_looking()
        await super().async_will_remove_from_hass()

    @override
    def _take_value(self) -> bool:
        before, self._attr_is_on = self._attr_is_on, self._settled()
        return before is not self._attr_is_on

    def _settled(self) -> bool | None:
        """What to show: another yes or no than is shown has to stand for a while, unless the unit was away."""
        hold, clock = self.entity_description.hold, self.coordinator.clock
        answer = self.entity_description.value_fn(self.coordinator, self._answer)
        now = clock.monotonic()
        if answer is not self._answer:
            self._answer, self._since = answer, now
        shown = self._attr_is_on if self._was_available else None
        if not hold or shown is None or answer is None or answer is shown:
            self._stop_looking()
            return answer
        left = self._since + hold - now
        if left <= 0:
            self._stop_looking()
            return answer
        if self._look_again is None:
            self._look_again = clock.call_later(left, self._looked_again)
        return shown

    def _looked_again(self) -> None:
        self._look_again = None
        self._handle_coordinator_update()

    def _stop_looking(self) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
