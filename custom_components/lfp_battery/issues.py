"""What only a person can put right, as Home Assistant's repairs show it: who else asks, and two packs at one address.

Raising and withdrawing only; what is offered to be done about it stands in repairs.py. Home Assistant hides what belongs
to an entry that is disabled, and drops what belongs to one that was removed.
"""

from collections.abc import Mapping
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from .bms.catalog import Addressing, Dip, Family
from .const import CONF_OBSERVE, DOMAIN
from .findings import family_of

# More rows than so many nobody needs to find a switch.
_MOST_ROWS = 16

# How the packs of a family get their addresses decides what there is to do.
_TWINS: Mapping[Addressing, str] = {
    Addressing.DIP: "duplicate_address_dip",
    Addressing.APP: "duplicate_address_app",
    Addressing.CASCADE: "duplicate_address_cascade",
    Addressing.NONE: "duplicate_address_cascade",
}


def _other_master(entry_id: str) -> str:
    return f"other_master_{entry_id}"


def _duplicate(entry_id: str, address: int) -> str:
    return f"duplicate_address_{entry_id}_{address}"


@callback
def async_renew_other_master(hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
    """Show that somebody else asks on the line, until the person has decided what is to be done."""
    if not entry.data.get(CONF_OBSERVE) or entry.options.get(CONF_OBSERVE):
        ir.async_delete_issue(hass, DOMAIN, _other_master(entry.entry_id))
        return
    ir.async_create_issue(
        hass,
        DOMAIN,
        _other_master(entry.entry_id),
        config_entry_id=entry.entry_id,
        data={"entry_id": entry.entry_id},
        is_fixable=True,
        severity=ir.IssueSeverity.WARNING,
        translation_key="other_master",
        translation_placeholders={"title": entry.title},
    )


@callback
def async_renew_duplicate(
    hass: HomeAssistant, entry: ConfigEntry[Any], address: int, number: str, *, conflict: bool
) -> None:
    """Show or withdraw that two packs answer at this address; `number` is what an owner calls the pack."""
    if not conflict:
        ir.async_delete_issue(hass, DOMAIN, _duplicate(entry.entry_id, address))
        return
    family = family_of(entry.data, entry.options)
    ir.async_create_issue(
        hass,
        DOMAIN,
        _duplicate(entry.entry_id, address),
        config_entry_id=entry.entry_id,
        is_fixable=False,
        severity=ir.IssueSeverity.WARNING,
        translation_key=_how_to_set(family),
        translation_placeholders={
            "title": entry.title,
            "address": str(address),
            "number": number,
            "switches": _switches(family.dip) if family is not None and family.dip is not None else "",
        },
    )


def _how_to_set(family: Family | None) -> str:
    if family is None:
        return "duplicate_address"
    if family.dip is not None and family.dip.low_bit_right:
        return "duplicate_address_dip_right"
    return _TWINS[family.addressing]


def _switches(dip: Dip) -> str:
    """Rows of a Markdown table: the address, and the switches for it from left to right."""
    rows = []
    for address in range(dip.first, min(dip.last, dip.first + _MOST_ROWS - 1) + 1):
        switches = dip.switches(address)
        ordered = reversed(switches) if dip.low_bit_right else switches
        rows.append(f"| {address} | {' '.join('ON' if on else 'off' for on in ordered)} |")
    return "\n".join(rows)
