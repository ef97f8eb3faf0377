"""Switches: the heating of a pack, where Home Assistant may control it, and the pause of a Bluetooth connection."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, override

from homeassistant.components.switch import DOMAIN as SWITCH_DOMAIN, SwitchEntity, SwitchEntityDescription
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import ATTR_DEVICE_ID, ATTR_ENTITY_ID, EntityCategory
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from . import heating
from .bms.clients.base import HeatingOutcome
from .bms.errors import HeatingError, HeatingProblem, LinkError
from .const import DOMAIN, LOGGER
from .coordinator import LfpBankCoordinator, LfpPackCoordinator, LfpUnit
from .entity import HEATING, LfpEntity, LfpEntityDescription, always, async_add_as_reported
from .link import LfpConfigEntry
from .link_texts import link_problem
from .pause import Pause

# One after the other: nothing is paused while somebody waits for what comes of switching the heating.
PARALLEL_UPDATES = 1

# The reason to load anew came while the entry is loaded, or while it loads: with what was known before.
_TAKES_EFFECT_BY_RELOAD = frozenset({ConfigEntryState.LOADED, ConfigEntryState.SETUP_IN_PROGRESS})

# The pack says that the setting is as wished.
_AS_WISHED = frozenset({HeatingOutcome.CONFIRMED, HeatingOutcome.UNCHANGED})
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


def _says_how_it_is_set(unit: LfpUnit) -> bool:
    """A pack with other firmware by now may not; what cannot be read back is not switched."""
    return unit.online and isinstance(unit, LfpPackCoordinator) and unit.state.heating_enabled is not None


def _until(unit: LfpUnit) -> Mapping[str, Any]:
    """When a pause ends by itself."""
    until = unit.pause.until if isinstance(unit, LfpBankCoordinator) and unit.pause is not None else None
    return {"until": until and until.replace(microsecond=0).isoformat()}


SETTING = LfpSwitchDescription(
    key=HEATING,
    translation_key=HEATING,
    exists_fn=lambda unit: unit.controls_heating,
    available_fn=_says_how_it_is_set,
)
PAUSE = LfpSwitchDescription(
    key="pause",
    translation_key="pause",
    entity_category=EntityCategory.CONFIG,
    exists_fn=lambda unit: isinstance(unit, LfpBankCoordinator) and unit.pause is not None,
    available_fn=always,
    attributes_fn=_until,
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

    def __init__(self, unit: LfpUnit, description: LfpSwitchDescription) -> None:
        """Nobody has switched anything yet."""
        super().__init__(unit, description)
        self._turn = asyncio.Lock()  # of the act that is under way, also when nobody waits for it any more

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
        """Do it once, and raise unless the pack says that it is so.

        A script that is stopped takes back what was not sent yet. What was sent cannot be taken back: it is followed to
        its end and told of, whoever waits.
        """
        context, entry = self._context, self.coordinator.config_entry
        await self._turn.acquire()
        known = self._acts()
        act = entry.async_create_task(self.hass, self._act(context, enabled=enabled, known=known), "heating of")
        act.add_done_callback(lambda _: self._turn.release())
        try:
            failure = await asyncio.shield(act)
        except asyncio.CancelledError:
            if not self._acts() - known:
                act.cancel()
            raise
        if failure is not None:
            raise failure

    def _acts(self) -> frozenset[datetime]:
        """When frames were sent."""
        control = self.coordinator.client.heating
        return frozenset() if control is None else frozenset(control.acts(self.coordinator.address))

    async def _act(
        self, context: Context | None, *, enabled: bool, known: frozenset[datetime]
    ) -> HomeAssistantError | None:
        """Do it, tell of it if anything was done or refused, and remember it; what is to be raised.

        `known`: when frames were sent before.
        """
        pack, control = self.coordinator, self.coordinator.client.heating
        shown = pack.state.heating_enabled
        outcome, failure = str(HeatingProblem.UNSEEN), None  # of what was sent, whatever ends it
        try:
            outcome, failure = await self._attempt(enabled=enabled)
        finally:
            sent = bool(self._acts() - known)
            if sent or failure is not None:
                old = control.before(pack.address) if sent and control is not None else shown
                self._tell(context, old=old, new=enabled, outcome=outcome)
            self._remember(failure)
        return failure

    def _tell(self, context: Context | None, *, old: bool | None, new: bool, outcome: str) -> None:
        entry = self.registry_entry
        told = {
            ATTR_DEVICE_ID: entry.device_id if entry is not None else None,
            ATTR_ENTITY_ID: self.entity_id,
            "old": old,
            "new": new,
            "outcome": outcome,
        }
        self.hass.bus.async_fire(heating.EVENT, told, context=context)

    async def _attempt(self, *, enabled: bool) -> tuple[str, HomeAssistantError | None]:
        """What came of it, and what is to be raised."""
        pack, entry = self.coordinator, self.coordinator.config_entry
        control = pack.client.heating
        if control is None or pack.address in dict(heating.withdrawn(entry.data)):
            return heating.WITHDRAWN, ServiceValidationError(**_problem(self, f"heating_{heating.WITHDRAWN}"))
        try:
            outcome = await control.switch(pack.address, enabled=enabled)
        except HeatingError as err:
            kind = ServiceValidationError if err.problem in _NOT_NOW else HomeAssistantError
            return str(err.problem), _because(kind(**_problem(self, f"heating_{err.problem}")), err)
        except LinkError as err:
            return heating.NO_LINK, _because(HomeAssistantError(**link_problem(self.hass, entry, err)), err)
        if outcome in _AS_WISHED:
            return str(outcome), None
        return str(outcome), HomeAssistantError(**_problem(self, f"heating_{outcome}"))

    def _remember(self, failure: HomeAssistantError | None) -> None:
        """That frames were sent, and that no more are to be; an entry that was removed meanwhile remembers nothing."""
        pack, entry = self.coordinator, self.coordinator.config_entry
        if (control := pack.client.heating) is not None:
            heating.async_note_acts(self.hass, entry, pack.address, control)
        cause = failure.__cause__ if failure is not None else None
        if isinstance(cause, HeatingError) and cause.withdraws:
            LOGGER.warning("%s: the heating is not switched any more (%s)", entry.title, cause.problem)
            heating.async_withdraw(self.hass, entry, pack.address, cause.problem)
            if entry.state in _TAKES_EFFECT_BY_RELOAD:
                self.hass.config_entries.async_schedule_reload(entry.entry_id)


def _problem(entity: LfpEntity, key: str) -> Mapping[str, Any]:
    device = entity.device_entry
    return {
        "translation_domain": DOMAIN,
        "translation_key": key,
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
        if self._pause.stopped:  # whoever waited for something else to be done, until the entry was unloaded
            raise HomeAssistantError(**_problem(self, "pause_too_late"))
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
