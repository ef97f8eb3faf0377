"""What every entity of ours has in common: who it is, when it exists, when it is available, when it is written."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, override

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity import Entity, EntityDescription
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .const import DOMAIN
from .coordinator import LfpBankCoordinator, LfpPackCoordinator, LfpUnit
from .findings import on_can, speaks_for_packs
from .link import LfpConfigEntry

# Key of what shows how the heating is set, whether it can be changed here or not.
HEATING: Final = "heating"


def while_online(unit: LfpUnit) -> bool:
    """Available as long as the unit answers; a silent pack never takes its neighbours with it."""
    return unit.online


def always(_: LfpUnit) -> bool:
    """Available whatever happens: says itself whether the unit answers."""
    return True


@dataclass(frozen=True, kw_only=True)
class LfpEntityDescription(EntityDescription):
    """One entity of a pack or a bank."""

    needs: tuple[str, ...] = ()  # exists once one of these model fields was reported; empty: without any
    exists_fn: Callable[[LfpUnit], bool] | None = None  # instead of `needs`
    available_fn: Callable[[LfpUnit], bool] = while_online
    attributes_fn: Callable[[LfpUnit], Mapping[str, Any]] | None = None
    attributes_follow: bool = False  # attributes are renewed with the value only, not on their own account
    # Above which change of theirs attributes are renewed on their own account; None: as the value.
    attributes_change: float | None = None
    every_cycle: bool = False  # written whenever the unit answered, for integrals; else on a significant change
    change: float = 0.0  # the smallest significant one, in the entity's unit; 0: any
    share: float = 0.0  # the smallest significant one as a share of the value, where that is more
    adds_up: bool = False  # of a bank, a significant change is as many times that of a pack as it has packs
    default_fn: Callable[[LfpUnit], bool] | None = None  # whether it is on from the start; None: as the table says
    placeholders: Mapping[str, str] | None = None

    def significant(self, unit: LfpUnit, old: Any) -> float:
        """The smallest change of this value of a unit that is significant."""
        packs = len(unit.packs) or unit.modules or 1 if self.adds_up and isinstance(unit, LfpBankCoordinator) else 1
        share = self.share * abs(old) if self.share and isinstance(old, int | float) else 0.0
        return max(packs * self.change, share)

    def exists(self, unit: LfpUnit) -> bool:
        """Whether this unit has ever reported what the entity shows."""
        if self.exists_fn is not None:
            return self.exists_fn(unit)
        if not self.needs:
            return isinstance(unit, LfpPackCoordinator) or unit.speaks
        return not unit.fields.isdisjoint(self.needs)


def differs(old: Any, new: Any, change: float) -> bool:
    """Whether two values are apart by at least `change`, element by element; floats are given a little slack."""
    match old, new:
        case (bool(), _) | (_, bool()):
            return bool(old is not new)
        case (int() | float(), int() | float()) if change:
            return abs(new - old) >= change * (1 - 1e-6)
        case (list() | tuple(), list() | tuple()) if len(old) == len(new):
            return any(differs(*pair, change) for pair in zip(old, new, strict=True))
        case Mapping(), Mapping() if old.keys() == new.keys():
            return any(differs(old[key], new[key], change) for key in old)
        case _:
            return bool(old != new)


class LfpEntity(CoordinatorEntity[LfpUnit]):
    """An entity of one unit, described by a table."""

    _attr_has_entity_name = True
    entity_description: LfpEntityDescription

    def __init__(self, unit: LfpUnit, description: LfpEntityDescription) -> None:
        """Belong to `unit`; values are taken when Home Assistant has added the entity."""
        super().__init__(unit)
        self.entity_description = description
        self._attr_unique_id = f"{unit.identity}_{description.key}"
        self._attr_device_info = unit.device_info
        if description.default_fn is not None:
            self._attr_entity_registry_enabled_default = description.default_fn(unit)
        if description.placeholders is not None:
            self._attr_translation_placeholders = description.placeholders
        self._revision = -1
        self._was_available = False

    @property
    @override
    def available(self) -> bool:
        return self.entity_description.available_fn(self.coordinator)

    @override
    async def async_added_to_hass(self) -> None:
        await super().async_added_to_hass()
        self._take()
        self._revision = self.coordinator.revision
        self._was_available = self.available

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        available, revision = self.available, self.coordinator.revision
        due = self.entity_description.every_cycle and revision != self._revision
        changed = self._take() if available else False
        self._revision = revision
        if changed or (due and available) or available != self._was_available:
            self._was_available = available
            self.async_write_ha_state()

    def _take(self) -> bool:
        """Take over what the unit says now if it differs enough; whether it does."""
        description = self.entity_description
        changed = self._take_value()
        if description.attributes_fn is None:
            return changed
        attributes = dict(description.attributes_fn(self.coordinator))
        follows = description.attributes_follow and hasattr(self, "_attr_extra_state_attributes")
        change = description.change if description.attributes_change is None else description.attributes_change
        if changed or (not follows and differs(self.extra_state_attributes, attributes, change)):
            self._attr_extra_state_attributes = attributes
            return True
        return False

    def _take_value(self) -> bool:
        raise NotImplementedError


@callback
def async_take_away_other(hass: HomeAssistant, unit: LfpUnit) -> None:
    """The setting of the heating is a switch or a binary sensor, never both: forget the one that it was before."""
    if "heating_enabled" not in unit.record.fields:
        return
    other = Platform.BINARY_SENSOR if unit.controls_heating else Platform.SWITCH
    registry = er.async_get(hass)
    if (entity_id := registry.async_get_entity_id(other, DOMAIN, f"{unit.identity}_{HEATING}")) is not None:
        registry.async_remove(entity_id)


@callback
def async_add_as_reported(
    entry: LfpConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    platform: str,
    build: Callable[[LfpUnit], Iterable[Entity]],
) -> None:
    """Add what `build` makes for every unit, now and when a unit appears or reports something for the first time."""

    @callback
    def add_new(unit: LfpUnit) -> None:
        entities = {(platform, entity.unique_id or ""): entity for entity in build(unit)}
        new = [entity for key, entity in entities.items() if key not in unit.created]
        unit.created |= entities.keys()
        if isinstance(unit, LfpBankCoordinator) and len(unit.packs) < 2:
            _take_away_worked_out(entry, unit, platform, entities.keys())
        if new:
            async_add_entities(new)

    entry.async_on_unload(entry.runtime_data.async_on_unit(add_new))


@callback
def _take_away_worked_out(
    entry: LfpConfigEntry, bank: LfpBankCoordinator, platform: str, present: Collection[tuple[str, str]]
) -> None:
    """Forget what was worked out of packs that were deleted since: nobody will ever fill it again.

    Of a bank that speaks for itself, or may, only what was there in this run: it may yet say again what it once said,
    also when all that was known of it was forgotten because it sends another set of frames by now.
    """
    may_speak = bank.speaks or on_can(entry.data) or speaks_for_packs(entry.data)
    registry = er.async_get(bank.hass)
    for known in er.async_entries_for_device(registry, bank.device_id, include_disabled_entities=True):
        key = (platform, known.unique_id)
        if known.config_entry_id != entry.entry_id or known.domain != platform or key in present:
            continue
        if key in bank.created or not may_speak:
            bank.created.discard(key)
            registry.async_remove(known.entity_id)
