"""A battery that is read over two links: told of as long as two entries know a serial number that proves it.

It follows from what the entries remember alone, so it is no matter which of them is loaded, or whether any is.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any, Final

from homeassistant import config_entries
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_PROTOCOL
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.util.hass_dict import HassKey

from .bms.protocols import PROTOCOLS
from .const import CONF_PACKS, DOMAIN
from .findings import ABSENT, table_rows
from .moving import serials_in_common

_SAME: Final = "same_battery"
_WATCH: Final[HassKey[_Watch]] = HassKey(f"{DOMAIN}_{_SAME}")


@callback
def async_watch(hass: HomeAssistant) -> None:
    """Say from now on which entries read the same battery, whatever becomes of the entry that asks for it."""
    if _WATCH not in hass.data:
        hass.data[_WATCH] = _Watch(hass)
    hass.data[_WATCH].renew()


@callback
def async_forget(hass: HomeAssistant, entry_id: str) -> None:
    """The entry is removed, so nothing is here twice because of it."""
    for issue_id in _told(hass):
        if entry_id in issue_id.split("_"):
            ir.async_delete_issue(hass, DOMAIN, issue_id)


class _Watch:
    """Compares the entries whenever one changes."""

    def __init__(self, hass: HomeAssistant) -> None:
        self._hass = hass
        self._entries: list[tuple[object, ...]] = []  # what the entries were when they were last compared
        async_dispatcher_connect(hass, config_entries.SIGNAL_CONFIG_ENTRY_CHANGED, self._entry_changed)

    @callback
    def _entry_changed(self, change: config_entries.ConfigEntryChange, entry: ConfigEntry[Any]) -> None:
        if entry.domain == DOMAIN:
            self.renew()

    @callback
    def renew(self) -> None:
        """Say of every two entries whether they read the same battery; a disabled one is as good as gone."""
        loadable = self._hass.config_entries.async_entries(DOMAIN, include_ignore=False, include_disabled=False)
        entries: list[tuple[object, ...]] = [(entry, entry.data, entry.title) for entry in loadable]
        if entries == self._entries:
            return
        self._entries = entries
        gone = set(_told(self._hass))
        for first, second in combinations(sorted(loadable, key=lambda entry: entry.entry_id), 2):
            if serials := serials_in_common(first.data, second.data):
                gone.discard(_tell(self._hass, first, second, serials))
        for issue_id in gone:
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)


def _tell(hass: HomeAssistant, first: ConfigEntry[Any], second: ConfigEntry[Any], serials: set[str]) -> str:
    """Raise the repair of these two; its id."""
    issue_id = f"{_SAME}_{first.entry_id}_{second.entry_id}"
    ir.async_create_issue(
        hass,
        DOMAIN,
        issue_id,
        config_entry_id=first.entry_id,
        is_fixable=False,
        severity=ir.IssueSeverity.WARNING,
        translation_key=_SAME,
        translation_placeholders={
            "first": first.title,
            "second": second.title,
            "packs": table_rows(_places(first.data, second.data, serials)),
        },
    )
    return issue_id


def _told(hass: HomeAssistant) -> list[str]:
    """Repairs of this kind, ignored ones included."""
    issues = ir.async_get(hass).issues
    return [issue_id for domain, issue_id in issues if domain == DOMAIN and issue_id.startswith(f"{_SAME}_")]


def _places(one: Mapping[str, Any], other: Mapping[str, Any], serials: set[str]) -> list[tuple[str, str]]:
    """What the owner calls the packs with these serial numbers, on either side; a dash where the bank gives it."""
    here, there = (_numbers(data) for data in (one, other))
    ordered = [serial for serial in [*here, *(serial for serial in there if serial not in here)] if serial in serials]
    return [(here.get(serial, ABSENT), there.get(serial, ABSENT)) for serial in ordered] or [(ABSENT, ABSENT)]


def _numbers(data: Mapping[str, Any]) -> dict[str, str]:
    """The numbers of an entry's packs by their serial numbers."""
    protocol = PROTOCOLS[data[CONF_PROTOCOL]]
    packs = sorted(data.get(CONF_PACKS, {}).items(), key=lambda item: int(item[0]))
    return {
        serial: protocol.pack_number(int(at)) for at, record in packs if (serial := record.get("serial")) is not None
    }
