"""What an entry remembers of switching the heating: when a frame was sent, and why it is offered no more.

Lies in `entry.data[CONF_HEATING]` by the pack's address, beside what was learned of the pack and not part of it.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback

from .bms.clients.base import HeatingControl, Unsettled
from .bms.errors import HeatingProblem
from .const import CONF_HEATING

# Told for each time that somebody switches the heating, whatever came of it; with the context of whoever did.
EVENT: Final = "lfp_battery_heating"

# What may come of it besides `HeatingOutcome` and `HeatingProblem`; in both cases nothing was sent.
NO_LINK: Final = "no_link"
WITHDRAWN: Final = "withdrawn"

_ACTS, _UNSETTLED, _WITHDRAWN = "acts", "unsettled", "withdrawn"


def acts(data: Mapping[str, Any]) -> dict[int, list[datetime]]:
    """When frames were sent to each pack, as far as it still counts against the limit of a day."""
    return {
        int(address): [datetime.fromisoformat(act) for act in kept.get(_ACTS, ())]
        for address, kept in data.get(CONF_HEATING, {}).items()
    }


def unsettled(data: Mapping[str, Any]) -> dict[int, Unsettled]:
    """What was sent to a pack and may still have its effect, when that is switched off and on."""
    return {
        int(address): Unsettled(
            wishes=frozenset(left["wishes"]), acknowledged=left["acknowledged"], setting=left["setting"]
        )
        for address, kept in data.get(CONF_HEATING, {}).items()
        if (left := kept.get(_UNSETTLED)) is not None
    }


def withdrawn(data: Mapping[str, Any]) -> Iterator[tuple[int, HeatingProblem]]:
    """The packs whose heating is offered no more, and what they did."""
    for address, kept in data.get(CONF_HEATING, {}).items():
        if (why := kept.get(_WITHDRAWN)) is not None:
            yield int(address), HeatingProblem(why)


@callback
def async_note_acts(hass: HomeAssistant, entry: ConfigEntry[Any], address: int, control: HeatingControl) -> None:
    """Remember when frames were sent and what is left open of them, so that a restart does not begin anew."""
    left = control.unsettled(address)
    _change(
        hass,
        entry,
        address,
        {
            _ACTS: [act.isoformat() for act in control.acts(address)],
            _UNSETTLED: left
            and {"wishes": sorted(left.wishes), "acknowledged": left.acknowledged, "setting": left.setting},
        },
    )


@callback
def async_withdraw(hass: HomeAssistant, entry: ConfigEntry[Any], address: int, why: HeatingProblem) -> None:
    """Offer it no more from the next load on."""
    _change(hass, entry, address, {_WITHDRAWN: str(why)})


@callback
def async_offer_again(hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
    """Forget why it was offered no more, of every pack; when it was switched still counts."""
    for address, _ in list(withdrawn(entry.data)):
        _change(hass, entry, address, {_WITHDRAWN: None})


def _change(hass: HomeAssistant, entry: ConfigEntry[Any], address: int, changes: Mapping[str, Any]) -> None:
    """Keep what is not empty; an entry without any of it has no key for it, and one that was removed keeps nothing."""
    if hass.config_entries.async_get_entry(entry.entry_id) is not entry:
        return
    known: dict[str, dict[str, Any]] = dict(entry.data.get(CONF_HEATING, {}))
    kept = {name: value for name, value in {**known.pop(str(address), {}), **changes}.items() if value}
    if kept:
        known[str(address)] = kept
    data = {name: value for name, value in entry.data.items() if name != CONF_HEATING}
    hass.config_entries.async_update_entry(entry, data={**data, CONF_HEATING: known} if known else data)
