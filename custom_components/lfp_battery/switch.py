"""Switches: the heating of a pack, where Home Assistant may control it, and the pause of a Bluetooth connection."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, override

from homeassistant.components.switch import DOMAIN as SWITCH_DOMAIN, SwitchEntity, SwitchEntityDescription
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import ATTR_DEVICE_ID, ATTR_ENTITY_ID, EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from . import heating
from .bms.clients.base import HeatingOutcome
from .bms.errors import HeatingError, HeatingProblem, LinkError
from .const import DOMAIN, LOGGER
from .coordinator import LfpBankCoordinator, LfpPackCoordinator, LfpUnit, link_problem
from .entity import HEATING, LfpEntity, LfpEntityDescription, always, async_add_as_reported
from .link import LfpConfigEntry
from .pause import Pause

# One after the other: the heating is not switched while the last time is still being read back, nor paused meanwhile.
PARALLEL_UPDATES = 1

# Refused before anything was sent; the person may do it at another time.
_NOT_NOW = frozenset(
    {
        HeatingProblem.UNKNOWN,
        HeatingProblem.STALE,
        HeatingProblem.PROTECTION,
        HeatingProblem.TOO_SOON,
        HeatingProblem.TOO_OFTEN,
    }
)


@dataclass(frozen=True, kw_only=True)
class LfpSwitchDescription(LfpEntityDescription, SwitchEntityDescription):
    """A switch."""


SETTING = LfpSwitchDescription(key=HEATING, translation_key=HEATING, exists_fn=lambda unit: unit.controls_heating)
PAUSE = LfpSwitchDescription(
    key="pause",
    translation_key="pause",
    entity_category=EntityCategory.CONFIG,
    exists_fn=lambda unit: isinstance(unit, LfpBankCoordinator) and unit.pause is not None,
    available_fn=always,
)
SWITCHES = (SETTING, PAUSE)


async def async_setup_entry(
    hass: HomeAssistant, entry: LfpConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the switches of every unit, now and when what they set is first reported."""
    async_add_as_reported(entry, async_add_entities, SWITCH_DOMAIN, _build)


def _build(unit: LfpUnit) -> Iterator[LfpEntity]:
    if isinstance(unit, LfpPackCoordinator):
        if SETTING.exists(unit):
            yield LfpHeatingSwitch(unit, SETTING)
    elif unit.pause is not None:
        yield LfpPauseSwitch(unit, PAUSE, unit.pause)


class LfpHeatingSwitch(LfpEntity, SwitchEntity):
    """The heating as its owner left it: shows what is read, never what was wished."""

    coordinator: LfpPackCoordinator
    entity_description: LfpSwitchDescription

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Have the pack warm itself when it is cold."""
        await self._switch(enabled=True)

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Leave it cold."""
        await self._switch(enabled=False)

    @override
    def _take_value(self) -> bool:
        before = self._attr_is_on
        self._attr_is_on = self.coordinator.state.heating_enabled
        return before is not self._attr_is_on

    async def _switch(self, *, enabled: bool) -> None:
        """Do it once, tell of it whatever comes, and raise unless the pack says that it is so."""
        context, before = self._context, self.coordinator.state.heating_enabled
        outcome, failure = await self._attempt(enabled=enabled)
        entry = self.registry_entry
        self.hass.bus.async_fire(
            heating.EVENT,
            {
                ATTR_DEVICE_ID: entry.device_id if entry is not None else None,
                ATTR_ENTITY_ID: self.entity_id,
                "old": before,
                "new": enabled,
                "outcome": outcome,
            },
            context=context,
        )
        if failure is not None:
            raise failure

    async def _attempt(self, *, enabled: bool) -> tuple[str, HomeAssistantError | None]:
        """What came of it, and what is to be raised."""
        pack, entry = self.coordinator, self.coordinator.config_entry
        control = pack.client.heating
        if control is None or pack.address in dict(heating.withdrawn(entry.data)):
            return heating.WITHDRAWN, ServiceValidationError(**self._problem(heating.WITHDRAWN))
        try:
            outcome = await control.switch(pack.address, enabled=enabled)
        except HeatingError as err:
            kind = ServiceValidationError if err.problem in _NOT_NOW else HomeAssistantError
            if err.withdraws:
                LOGGER.warning("%s: the heating is not switched any more (%s)", entry.title, err.problem)
                heating.async_withdraw(self.hass, entry, pack.address, err.problem)
                if entry.state is ConfigEntryState.LOADED:
                    self.hass.config_entries.async_schedule_reload(entry.entry_id)
            return str(err.problem), _because(kind(**self._problem(err.problem)), err)
        except LinkError as err:
            return heating.NO_LINK, _because(HomeAssistantError(**link_problem(self.hass, entry, err)), err)
        finally:
            heating.async_note_acts(self.hass, entry, pack.address, control.acts(pack.address))
        if outcome is HeatingOutcome.CONFIRMED:
            return str(outcome), None
        return str(outcome), HomeAssistantError(**self._problem(outcome))

    def _problem(self, outcome: str) -> Mapping[str, Any]:
        device = self.device_entry
        return {
            "translation_domain": DOMAIN,
            "translation_key": f"heating_{outcome}",
            "translation_placeholders": {"name": (device and (device.name_by_user or device.name)) or ""},
        }


def _because(failure: HomeAssistantError, cause: Exception) -> HomeAssistantError:
    """As `raise ... from` would have it."""
    failure.__cause__ = cause
    return failure


class LfpPauseSwitch(LfpEntity, SwitchEntity):
    """Whether the pack is left to the phone app."""

    entity_description: LfpSwitchDescription

    def __init__(self, unit: LfpUnit, description: LfpSwitchDescription, pause: Pause) -> None:
        """Belong to the bank, whose link it is."""
        super().__init__(unit, description)
        self._pause = pause

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Leave the pack to somebody else."""
        self._pause.begin()

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Connect again."""
        self._pause.end()

    @override
    def _take_value(self) -> bool:
        before = self._attr_is_on
        self._attr_is_on = self._pause.active
        return before is not self._attr_is_on
