"""What a person may choose when another device asks on the line of an entry, or when the heating is offered no more."""

from collections.abc import Mapping
from typing import Any

from homeassistant.components.repairs import RepairsFlow, RepairsFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir

from . import heating
from .const import CONF_ALLOW_HEATING, CONF_OBSERVE, CONF_OTHER_PROTOCOL, DOMAIN
from .issues import HEATING_WITHDRAWN


class OtherMasterFlow(RepairsFlow):
    """Go on listening, or ask again because the other device is gone."""

    def __init__(self, entry_id: str, words: Mapping[str, str] | None = None) -> None:
        """`entry_id` is the entry whose line it is; `words` are more of what its text fills in."""
        self._entry_id = entry_id
        self._filled_in = dict(words or {})

    async def async_step_init(self, user_input: dict[str, Any] | None = None) -> RepairsFlowResult:
        """Offer both."""
        if (entry := self.hass.config_entries.async_get_entry(self._entry_id)) is None:
            return self.async_abort(reason="entry_removed")
        return self.async_show_menu(
            step_id="init",
            menu_options=["listen", "ask"],
            description_placeholders={**self._filled_in, "title": entry.title},
        )

    async def async_step_listen(self, user_input: dict[str, Any] | None = None) -> RepairsFlowResult:
        """It stays so, by the person's own wish."""
        return self._decide(observe=True)

    async def async_step_ask(self, user_input: dict[str, Any] | None = None) -> RepairsFlowResult:
        """The verdict is dropped; should the other device be there still, it is heard again before anything is sent."""
        return self._decide(observe=False)

    def _decide(self, *, observe: bool) -> RepairsFlowResult:
        if (entry := self.hass.config_entries.async_get_entry(self._entry_id)) is None:
            return self.async_abort(reason="entry_removed")
        if observe:
            self.hass.config_entries.async_update_entry(entry, options={**entry.options, CONF_OBSERVE: True})
        else:
            kept = {key: value for key, value in entry.data.items() if key not in {CONF_OBSERVE, CONF_OTHER_PROTOCOL}}
            self.hass.config_entries.async_update_entry(entry, data=kept)
            self.hass.config_entries.async_schedule_reload(self._entry_id)
            ir.async_delete_issue(self.hass, DOMAIN, self.issue_id)
            # nothing is solved yet, and only this way of ending lets it be said
            return self.async_abort(reason="asks_again", description_placeholders={"title": entry.title})
        return self.async_create_entry(data={})


class HeatingFlow(RepairsFlow):
    """Say how to find out what a pack takes for the command; then offer it again, or leave it, as the person wants."""

    def __init__(self, entry_id: str, words: Mapping[str, str]) -> None:
        """`entry_id` is the entry whose pack it is; `words` are what its text fills in."""
        self._entry_id = entry_id
        self._words = dict(words)

    async def async_step_init(self, user_input: dict[str, Any] | None = None) -> RepairsFlowResult:
        """A menu: each button does something, and to close it changes nothing."""
        if (entry := self.hass.config_entries.async_get_entry(self._entry_id)) is None:
            return self.async_abort(reason="entry_removed")
        return self.async_show_menu(
            step_id="init",
            menu_options=["offer", "leave"],
            description_placeholders={**self._words, "title": entry.title},
        )

    async def async_step_offer(self, user_input: dict[str, Any] | None = None) -> RepairsFlowResult:
        """From now on the switch is there again; nothing is sent before somebody turns it."""
        if (entry := self.hass.config_entries.async_get_entry(self._entry_id)) is None:
            return self.async_abort(reason="entry_removed")
        heating.async_offer_again(self.hass, entry)
        self.hass.config_entries.async_schedule_reload(self._entry_id)
        return self.async_create_entry(data={})

    async def async_step_leave(self, user_input: dict[str, Any] | None = None) -> RepairsFlowResult:
        """The permission is taken back, and with it the repair; why the switch is gone stays known."""
        if (entry := self.hass.config_entries.async_get_entry(self._entry_id)) is None:
            return self.async_abort(reason="entry_removed")
        options = {**entry.options, CONF_ALLOW_HEATING: False}
        self.hass.config_entries.async_update_entry(entry, options=options)
        return self.async_create_entry(data={})


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, str | int | float | None] | None
) -> RepairsFlow:
    """The flow of an issue that can be decided here."""
    known = {key: str(value) for key, value in (data or {}).items()}
    flow = HeatingFlow if known.pop("kind", None) == HEATING_WITHDRAWN else OtherMasterFlow
    return flow(known.pop("entry_id", ""), known)
