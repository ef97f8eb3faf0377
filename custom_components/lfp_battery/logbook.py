"""What the logbook says of each time that somebody switched the heating; who it was, it knows from the context."""

from collections.abc import Callable, Mapping
from typing import Any

from homeassistant.components.logbook import LOGBOOK_ENTRY_ENTITY_ID, LOGBOOK_ENTRY_MESSAGE, LOGBOOK_ENTRY_NAME
from homeassistant.const import ATTR_DEVICE_ID, ATTR_ENTITY_ID
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.translation import async_get_cached_translations

from . import heating
from .const import DOMAIN
from .entity import HEATING
from .flow_texts import Words


@callback
def async_describe_events(
    hass: HomeAssistant, async_describe_event: Callable[[str, str, Callable[[Event], dict[str, str]]], None]
) -> None:
    """Tell the logbook how to describe ours."""

    def describe(event: Event) -> dict[str, str]:
        """Runs in a thread as well: looks things up and changes nothing."""
        data = event.data
        words = Words(async_get_cached_translations(hass, hass.config.language, "selector", DOMAIN))
        device = dr.async_get(hass).async_get(data.get(ATTR_DEVICE_ID) or "")
        described = {
            LOGBOOK_ENTRY_NAME: (device and (device.name_by_user or device.name)) or words.text("heating", "battery"),
            LOGBOOK_ENTRY_MESSAGE: words.text(
                "heating_act",
                str(data.get("outcome")),
                old=_setting(words, data.get("old")),
                new=_setting(words, data.get("new")),
            ),
        }
        if (entity_id := _entity_id(er.async_get(hass), data)) is not None:
            described[LOGBOOK_ENTRY_ENTITY_ID] = entity_id
        return described

    async_describe_event(DOMAIN, heating.EVENT, describe)


def _entity_id(registry: er.EntityRegistry, data: Mapping[str, Any]) -> str | None:
    """What was switched; where that switch was taken away, what shows the setting of the same pack in its place."""
    if (entity_id := data.get(ATTR_ENTITY_ID)) is None or registry.async_get(entity_id) is not None:
        return entity_id
    entries = er.async_entries_for_device(registry, data.get(ATTR_DEVICE_ID) or "", include_disabled_entities=True)
    ours = (entry for entry in entries if entry.platform == DOMAIN and entry.translation_key == HEATING)
    return next((entry.entity_id for entry in ours), None)


def _setting(words: Words, enabled: Any) -> str:
    return words.text("heating", "unknown" if enabled is None else "on" if enabled else "off")
