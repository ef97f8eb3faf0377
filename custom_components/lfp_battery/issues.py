"""What only a person can put right, as Home Assistant's repairs show it: who else asks, two packs at one address, ...

Raising and withdrawing only; what is offered to be done about it stands in repairs.py. Home Assistant hides what belongs
to an entry that is disabled, and drops what belongs to one that was removed.
"""

from collections.abc import Mapping
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.loader import async_get_integration

from . import bus_texts, heating
from .bms.catalog import Addressing, Dip, Family
from .bms.errors import LinkError, LinkProblem
from .bms.model import BatteryState, LinkCounters, PollReport
from .bms.protocols.base import BatteryProtocol
from .const import (
    CONF_ACKNOWLEDGE,
    CONF_ALLOW_HEATING,
    CONF_BAUDRATE,
    CONF_OBSERVE,
    CONF_OTHER_PROTOCOL,
    DOMAIN,
    LOGGER,
)
from .findings import family_of
from .flow_texts import Words

# What a repair is about, where it is not another master.
HEATING_WITHDRAWN = "heating_withdrawn"

# More rows than so many nobody needs to find a switch.
_MOST_ROWS = 16
# Where two packs were found and then nothing answers any more, so many readings in a row, both are gone from there. The
# client asks such an address every half a minute.
_SILENT_READINGS = 10
# What a lone unit's answers are judged by: so many questions that brought anything at all. Garbled is at least half of
# them, clean no more than an eighth; between the two it stays as it was.
_QUESTIONS, _GARBLED, _CLEAN = 32, 1 / 2, 1 / 8

# A bus from which no frame came for so many seconds, but so many errors, most likely has another bit rate.
_WITHOUT_A_FRAME, _BUS_ERRORS = 30.0, 10

# How the packs of a family get their addresses decides what there is to do.
_TWINS: Mapping[Addressing, str] = {
    Addressing.DIP: "duplicate_address_dip",
    Addressing.APP: "duplicate_address_app",
    Addressing.CASCADE: "duplicate_address_cascade",
    Addressing.NONE: "duplicate_address_cascade",
}


# Whether the adapter could acknowledge decides here.
_UNACKNOWLEDGED: Mapping[str, str] = {
    "acknowledge_option": "unacknowledged_option",
    "acknowledge_outside": "unacknowledged_outside",
    "acknowledge_wiring": "unacknowledged_wiring",
}


def garbled(since: LinkCounters, now: LinkCounters) -> bool | None:
    """Whether what a unit answered between the two can mostly not be read; None: too little came, or neither is clear.

    Silence says nothing, and a refusal is an answer that can be read.
    """
    heard = (now.asked - now.silent) - (since.asked - since.silent)
    if heard < _QUESTIONS:
        return None
    share = 1 - ((now.answered + now.refused) - (since.answered + since.refused)) / heard
    return True if share >= _GARBLED else False if share <= _CLEAN else None


def _heard(counters: LinkCounters) -> int:
    return counters.asked - counters.silent


class LineIssues:
    """What is to be repaired on the line of one entry."""

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry[Any], protocol: BatteryProtocol) -> None:
        """Nothing is raised or withdrawn yet."""
        self._hass = hass
        self._entry = entry
        self._protocol = protocol
        self._words = Words()
        self._twins: dict[int, int] = {}  # addresses at which two packs answer: how much was heard there so far
        self._silent: dict[int, int] = {}  # of these: readings in a row in which nothing was heard
        self._quiet: tuple[int, int, float] | None = None  # frames and errors of a bus, since no frame came (monotonic)
        self._judged: LinkCounters | None = None  # up to where the answers of a lone unit were judged

    async def async_start(self) -> None:
        """Show what is known, and drop what was said of addresses: what is still so is found anew."""
        self._words = await Words.async_load(self._hass)
        entry_id = self._entry.entry_id
        prefixes = (_duplicate(entry_id, ""), _garbled(entry_id), _unacknowledged(entry_id), _bus_errors(entry_id))
        for domain, issue_id in list(ir.async_get(self._hass).issues):
            if domain == DOMAIN and issue_id.startswith(prefixes):
                ir.async_delete_issue(self._hass, DOMAIN, issue_id)
        self._renew_other_master()
        await self._renew_heating()

    # --- the heating is offered no more ------------------------------------------------------------------------------

    async def _renew_heating(self) -> None:
        """Show that a pack did not do what it was asked for, until the person has it offered again, or wants none."""
        entry = self._entry
        issue_id = f"heating_{entry.entry_id}"
        why = next((why for _, why in heating.withdrawn(entry.data)), None)
        if why is None or not entry.options.get(CONF_ALLOW_HEATING):
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)
            return
        integration = await async_get_integration(self._hass, DOMAIN)
        words = {
            "title": entry.title,
            "report": integration.issue_tracker or "",
            "docs": f"{integration.documentation}/blob/main/docs/bluetooth.md#how-to-settle-it",
        }
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            issue_id,
            config_entry_id=entry.entry_id,
            data={"kind": HEATING_WITHDRAWN, "entry_id": entry.entry_id, **words},
            is_fixable=True,
            severity=ir.IssueSeverity.WARNING,
            translation_key=f"heating_{why}",
            translation_placeholders={"title": entry.title},
        )

    # --- somebody else asks ------------------------------------------------------------------------------------------

    def _renew_other_master(self) -> None:
        """Show that somebody else asks on the line, until the person has decided what is to be done."""
        entry = self._entry
        issue_id = f"other_master_{entry.entry_id}"
        if not entry.data.get(CONF_OBSERVE) or entry.options.get(CONF_OBSERVE):
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)
            return
        asked_in = entry.data.get(CONF_OTHER_PROTOCOL) or entry.data[CONF_PROTOCOL]
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            issue_id,
            config_entry_id=entry.entry_id,
            data={
                "entry_id": entry.entry_id,
                "protocol": self._words.protocol(entry.data[CONF_PROTOCOL]),
                "other_protocol": self._words.protocol(asked_in),
            },
            is_fixable=True,
            severity=ir.IssueSeverity.WARNING,
            translation_key="other_master" if asked_in == entry.data[CONF_PROTOCOL] else "other_master_foreign",
            translation_placeholders={"title": entry.title},
        )

    # --- nobody acknowledges -----------------------------------------------------------------------------------------

    @callback
    def unacknowledged(self, active: bool) -> None:
        """Have the person told that a CAN bus carries one frame only, and what helps with this adapter."""
        entry, issue_id = self._entry, _unacknowledged(self._entry.entry_id)
        if not active:
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)
            return
        LOGGER.warning("%s: nobody acknowledges what the battery sends", entry.title)
        address = bus_texts.address_of(entry.data[CONF_DEVICE])
        acknowledge = bool(entry.options.get(CONF_ACKNOWLEDGE))
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            issue_id,
            config_entry_id=entry.entry_id,
            is_fixable=False,
            severity=ir.IssueSeverity.WARNING,
            translation_key=_UNACKNOWLEDGED[bus_texts.acknowledge_advice(address, acknowledge=acknowledge)],
            translation_placeholders={"title": entry.title, **_commands(entry)},
        )

    # --- the interface is down ---------------------------------------------------------------------------------------

    @callback
    def link_changed(self, error: LinkError | None) -> None:
        """Have the person told that a CAN interface waits to be brought up, and how; no longer once it is."""
        entry, issue_id = self._entry, _down(self._entry.entry_id)
        if error is None or error.problem is not LinkProblem.DOWN:
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)
            return
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            issue_id,
            config_entry_id=entry.entry_id,
            is_fixable=False,
            severity=ir.IssueSeverity.ERROR,
            translation_key="interface_down",
            translation_placeholders={"title": entry.title, **_commands(entry)},
        )

    # --- nothing but errors ------------------------------------------------------------------------------------------

    @callback
    def bus_heard(self, frames: int, errors: int, now: float) -> None:
        """Have the person told when an adapter that is not silent meets errors only: it may be it that causes them.

        `frames` and `errors` are counted from the start, `now` is monotonic.
        """
        if self._quiet is None or frames != self._quiet[0]:
            self._quiet = frames, errors, now
            ir.async_delete_issue(self._hass, DOMAIN, _bus_errors(self._entry.entry_id))
            return
        _, before, since = self._quiet
        if now - since < _WITHOUT_A_FRAME or errors - before < _BUS_ERRORS:
            return
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            _bus_errors(self._entry.entry_id),
            config_entry_id=self._entry.entry_id,
            is_fixable=False,
            severity=ir.IssueSeverity.WARNING,
            translation_key="bus_errors",
            translation_placeholders={"title": self._entry.title, **_commands(self._entry)},
        )

    # --- damage ------------------------------------------------------------------------------------------------------

    @callback
    def heard(self, report: PollReport[Any], *, lone: bool, bank: bool = False) -> None:
        """Take in what is known of a unit; `lone`: there is no other on this line. `bank`: it speaks for all packs."""
        self._note_twins(report, bank=bank)
        if lone:
            self._judge(report)

    def _note_twins(self, report: PollReport[BatteryState], *, bank: bool) -> None:
        """Have the person told of two packs at one address, and no longer once it is one, or none."""
        address, heard = report.address, _heard(report.counters)
        if not report.conflict:
            if address in self._twins or report.online:
                self.forget(address)
            return
        if address not in self._twins:
            LOGGER.warning("%s: two packs answer at address %s", self._entry.title, address)
        elif heard == self._twins[address]:
            self._silent[address] = self._silent.get(address, 0) + 1
            if self._silent[address] == _SILENT_READINGS:
                ir.async_delete_issue(self._hass, DOMAIN, _duplicate(self._entry.entry_id, address))
            return
        self._twins[address], self._silent[address] = heard, 0
        self._show_twins(address, bank=bank)

    def _show_twins(self, address: int, *, bank: bool) -> None:
        entry = self._entry
        family = family_of(entry.data, entry.options)
        number = self._protocol.pack_number(address)
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            _duplicate(entry.entry_id, address),
            config_entry_id=entry.entry_id,
            is_fixable=False,
            severity=ir.IssueSeverity.WARNING,
            translation_key=_how_to_set(family),
            translation_placeholders={
                "title": entry.title,
                "place": self._words.text("place", "bank" if bank else "pack", address=address, number=number),
                "switches": self._switches(family.dip) if family is not None and family.dip is not None else "",
            },
        )

    @callback
    def forget(self, address: int) -> None:
        """Nobody shares this address any more."""
        self._twins.pop(address, None)
        self._silent.pop(address, None)
        ir.async_delete_issue(self._hass, DOMAIN, _duplicate(self._entry.entry_id, address))

    def _judge(self, report: PollReport[BatteryState]) -> None:
        """Have the person told when a lone unit's answers come garbled: no neighbour shows whether it is the line."""
        if self._judged is None:
            self._judged = report.counters
        if _heard(report.counters) - _heard(self._judged) < _QUESTIONS:
            return
        verdict = garbled(self._judged, report.counters)
        self._judged = report.counters
        issue_id = _garbled(self._entry.entry_id)
        if verdict is False or report.conflict:  # twins are told of by themselves
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)
        elif verdict:
            ir.async_create_issue(
                self._hass,
                DOMAIN,
                issue_id,
                config_entry_id=self._entry.entry_id,
                is_fixable=False,
                severity=ir.IssueSeverity.WARNING,
                translation_key="garbled",
                translation_placeholders={"title": self._entry.title, "address": str(report.address)},
            )

    def _switches(self, dip: Dip) -> str:
        """Rows of a Markdown table: the address, and the switches for it from left to right."""
        names = {on: self._words.text("switch", "on" if on else "off") for on in (True, False)}
        rows = []
        for address in range(dip.first, min(dip.last, dip.first + _MOST_ROWS - 1) + 1):
            switches = dip.switches(address)
            ordered = reversed(switches) if dip.low_bit_right else switches
            rows.append(f"| {address} | {' '.join(names[on] for on in ordered)} |")
        return "\n".join(rows)


def _commands(entry: ConfigEntry[Any]) -> dict[str, str]:
    return bus_texts.commands(bus_texts.address_of(entry.data[CONF_DEVICE]), bitrate=entry.data[CONF_BAUDRATE])


def _duplicate(entry_id: str, address: int | str) -> str:
    return f"duplicate_address_{entry_id}_{address}"


def _garbled(entry_id: str) -> str:
    return f"garbled_{entry_id}"


def _bus_errors(entry_id: str) -> str:
    return f"bus_errors_{entry_id}"


def _down(entry_id: str) -> str:
    return f"interface_down_{entry_id}"


def _unacknowledged(entry_id: str) -> str:
    return f"unacknowledged_{entry_id}"


def _how_to_set(family: Family | None) -> str:
    if family is None:
        return "duplicate_address"
    if family.dip is not None and family.dip.low_bit_right:
        return "duplicate_address_dip_right"
    return _TWINS[family.addressing]
