"""What speaks against a bank as a whole, as repairs: packs that should not be in parallel, a battery that is here twice.

A repair is raised only for what is known, once it has lasted, and withdrawn only once the contrary is known: whoever
ignored it is not told again because a pack was silent for a while, or because the entry was loaded anew. That packs differ
in their state of charge is normal (VLRV 7-1, row 9), and no reason for any.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
import re
from typing import Any, Final

from homeassistant import config_entries
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_PROTOCOL
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr, issue_registry as ir
from homeassistant.helpers.dispatcher import async_dispatcher_connect

from .bms.catalog import FAMILIES, Model, find_model
from .bms.consistency import Finding, Mismatch, Standing, findings
from .bms.model import Identity
from .bms.protocols import PROTOCOLS
from .const import CONF_PACKS, DOMAIN
from .coordinator import LfpBankCoordinator, LfpPackCoordinator
from .findings import ABSENT, plain
from .identity import Record
from .moving import serials_in_common

# Something must have been so, or no longer so, for as many seconds: packs are read one after the other.
_LASTS: Final = 60.0
# Voltages settle for minutes after each load, and one pack's protection acts before another's.
_VOLTAGES_LAST: Final = 600.0
# At both ends the voltage of an LFP cell is steep: packs that were filled or emptied together, and are kept from more by
# their protection, rest for hours at more than 1 V apart (simulated: up to 6 h) with next to no charge between them.
_FULL, _EMPTY = 3.33, 3.20  # V a cell, at rest
# Voltages that were too far apart are near enough again at this share of what is allowed.
_NEAR: Final = 0.8
# Volts by which one must have changed before the repair says so.
_MOVED: Final = 0.3

_KEYS: Final[Mapping[Mismatch, str]] = {
    Mismatch.CELLS: "mixed_cells",
    Mismatch.CAPACITY: "mixed_capacity",
    Mismatch.MODEL: "mixed_models",
    Mismatch.VOLTAGE: "voltage_apart",
    Mismatch.TOO_MANY: "too_many_packs",
}
# One exchange of a pack puts all three right; the gravest is told.
_KINDS: Final = (Mismatch.CELLS, Mismatch.CAPACITY, Mismatch.MODEL)

# What Pylontech calls its packs of 15 cells. Stacks of several models are common (irekzielinski/Pylontech-Battery-
# Monitoring, issue 32), and no manual that is at hand speaks against them.
_MIXABLE: Final = re.compile(r"U[SP]\d", re.IGNORECASE)

_SAME: Final = "same_battery"


class BankIssues:
    """What is to be repaired of the bank of one entry, and between it and other entries."""

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
        """Nothing is raised or withdrawn yet."""
        self._hass = hass
        self._entry = entry
        self._since: dict[Mismatch, float] = {}  # from when on (monotonic) something is not as the repairs have it
        self._voltages: Mapping[str, str | float | int] = {}  # as they are shown
        self._entries: list[tuple[object, ...]] = []  # what the entries were when they were last compared

    @callback
    def async_start(self) -> None:
        """Say whether the battery is here twice, now and whenever an entry changes; all else needs readings."""
        signal = config_entries.SIGNAL_CONFIG_ENTRY_CHANGED
        self._entry.async_on_unload(async_dispatcher_connect(self._hass, signal, self._entry_changed))
        self._renew_pairs()

    @callback
    def _entry_changed(self, change: config_entries.ConfigEntryChange, entry: ConfigEntry[Any]) -> None:
        if entry.domain == DOMAIN:
            self._renew_pairs()

    @callback
    def renew(self, bank: LfpBankCoordinator) -> None:
        """Judge the packs anew, after a round over them."""
        most, apart = bank.settings.most_packs, bank.settings.apart
        packs = {pack.number: pack for address, pack in sorted(bank.packs.items()) if address not in bank.unasked}
        standings = {number: _standing(pack) for number, pack in packs.items() if pack.data.received is not None}
        found = self._found(list(standings.values()), most, apart)
        if most is not None and (bank.state.modules or 0) > most:
            found.setdefault(Mismatch.TOO_MANY, Finding(mismatch=Mismatch.TOO_MANY, values={}, limit=most))
        gravest = next((kind for kind in _KINDS if kind in found), None)
        for mismatch in Mismatch:
            finding = found.get(mismatch)
            if mismatch in _KINDS and gravest not in {None, mismatch}:
                finding = None
                if self._issue(gravest) is None:
                    continue  # once that is told
            named = set(self._named(mismatch))
            gone = not named <= packs.keys()
            known = all(_says(standings.get(number), mismatch) for number in named)
            if finding is None and (gone or found.get(mismatch) is not None):
                self._withdraw(mismatch)
            elif finding is not None or known:
                self._settle(mismatch, finding, bank, max(len(standings), bank.state.modules or 0))
            else:
                self._since.pop(mismatch, None)

    def _found(self, packs: list[Standing], most: int | None, apart: float | None) -> dict[Mismatch, Finding]:
        """What speaks against these packs now; voltages that were too far apart stay so until they are clearly nearer."""
        found = {finding.mismatch: finding for finding in findings(packs, most=most, apart=apart)}
        if apart is not None and Mismatch.VOLTAGE not in found and self._issue(Mismatch.VOLTAGE) is not None:
            # under load they are no proof, but that they have come together would be seen
            at_rest = [replace(pack, current=0.0) for pack in packs if pack.voltage is not None]
            still = {finding.mismatch: finding for finding in findings(at_rest, apart=_NEAR * apart)}
            if Mismatch.VOLTAGE in still:
                found[Mismatch.VOLTAGE] = replace(still[Mismatch.VOLTAGE], limit=apart)
        if Mismatch.VOLTAGE in found and at_one_end(found[Mismatch.VOLTAGE], packs):
            del found[Mismatch.VOLTAGE]
        if _may_be_mixed(packs):
            found.pop(Mismatch.CAPACITY, None)
            found.pop(Mismatch.MODEL, None)
        return found

    def _settle(self, mismatch: Mismatch, finding: Finding | None, bank: LfpBankCoordinator, count: int) -> None:
        """Raise or withdraw what has lasted."""
        raised = self._issue(mismatch) is not None
        if raised is not (finding is not None):
            now = bank.clock.monotonic()
            lasts = _VOLTAGES_LAST if mismatch is Mismatch.VOLTAGE and not raised else _LASTS
            if now - self._since.setdefault(mismatch, now) < lasts:
                return
        if finding is None:
            self._withdraw(mismatch)
            return
        self._since.pop(mismatch, None)
        if mismatch is Mismatch.VOLTAGE:
            finding = self._calmed(finding)
        self._raise(finding, bank, count)

    def _calmed(self, finding: Finding) -> Finding:
        """The finding, with the voltages that are shown already where they have hardly changed."""
        shown = self._voltages
        if finding.values.keys() != shown.keys() or any(
            abs(float(value) - float(shown[number])) >= _MOVED for number, value in finding.values.items()
        ):
            self._voltages = shown = dict(finding.values)
        return replace(finding, values=shown)

    def _raise(self, finding: Finding, bank: LfpBankCoordinator, count: int) -> None:
        entry, values = self._entry, finding.values
        names = {pack.number: self._name(pack) for pack in bank.packs.values()}
        told = {
            "title": entry.title,
            "packs": _rows(
                (names.get(number, number), _shown(value, finding.mismatch)) for number, value in values.items()
            ),
            "limit": ABSENT if finding.limit is None else f"{finding.limit:g}",
            "count": str(count),
        }
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            self._issue_id(finding.mismatch),
            config_entry_id=entry.entry_id,
            data={"packs": "\n".join(values)},
            is_fixable=False,
            severity=ir.IssueSeverity.ERROR if finding.mismatch is Mismatch.CELLS else ir.IssueSeverity.WARNING,
            translation_key=_KEYS[finding.mismatch],
            translation_placeholders=told,
        )

    def _withdraw(self, mismatch: Mismatch) -> None:
        self._since.pop(mismatch, None)
        if mismatch is Mismatch.VOLTAGE:
            self._voltages = {}
        ir.async_delete_issue(self._hass, DOMAIN, self._issue_id(mismatch))

    def _issue_id(self, mismatch: Mismatch) -> str:
        return f"{_KEYS[mismatch]}_{self._entry.entry_id}"

    def _issue(self, mismatch: Mismatch) -> ir.IssueEntry | None:
        """The repair, if it is shown; one from before a restart is kept inactive, for those who ignored it."""
        issue = ir.async_get(self._hass).async_get_issue(DOMAIN, self._issue_id(mismatch))
        return issue if issue is not None and issue.active else None

    def _named(self, mismatch: Mismatch) -> list[str]:
        """Numbers of the packs that the repair names."""
        issue = self._issue(mismatch)
        return str((issue.data or {}).get("packs", "")).split() if issue is not None else []

    def _name(self, pack: LfpPackCoordinator) -> str:
        """Its number, and what the person calls it."""
        registry = dr.async_get(self._hass)
        device = registry.async_get_device_by_identifier((DOMAIN, pack.identity), self._entry.entry_id)
        own = device.name_by_user if device is not None else None
        return f"{pack.number} ({plain(own)})" if own else pack.number

    # --- the same battery over two links -----------------------------------------------------------------------------

    def _renew_pairs(self) -> None:
        """Say of every other entry whether it reads this battery too."""
        others = self._hass.config_entries.async_entries(DOMAIN, include_ignore=False)
        entries: list[tuple[object, ...]] = [(other, other.data, other.disabled_by, other.title) for other in others]
        if entries == self._entries:
            return
        self._entries = entries
        own = self._entry.entry_id
        gone = set(_pair_issues(self._hass, own))
        for other in others:
            if other.entry_id == own or other.disabled_by is not None or self._entry.disabled_by is not None:
                continue
            if serials := serials_in_common(self._entry.data, other.data):
                first, second = sorted((self._entry, other), key=lambda entry: entry.entry_id)
                self._tell_of_pair(first, second, serials)
                gone.discard(_pair(own, other.entry_id))
        for issue_id in gone:
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)

    def _tell_of_pair(self, first: ConfigEntry[Any], second: ConfigEntry[Any], serials: set[str]) -> None:
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            _pair(first.entry_id, second.entry_id),
            config_entry_id=first.entry_id,
            is_fixable=False,
            severity=ir.IssueSeverity.WARNING,
            translation_key=_SAME,
            translation_placeholders={
                "first": first.title,
                "second": second.title,
                "packs": _rows(_places(first.data, second.data, serials)),
            },
        )


@callback
def async_forget(hass: HomeAssistant, entry_id: str) -> None:
    """The entry is removed, so nothing is here twice because of it."""
    for issue_id in _pair_issues(hass, entry_id):
        ir.async_delete_issue(hass, DOMAIN, issue_id)


def _pair(one: str, other: str) -> str:
    return "_".join((_SAME, *sorted((one, other))))


def _pair_issues(hass: HomeAssistant, entry_id: str) -> list[str]:
    """Repairs that name this entry and another one."""
    return [
        issue_id
        for domain, issue_id in ir.async_get(hass).issues
        if domain == DOMAIN and issue_id.startswith(f"{_SAME}_") and entry_id in issue_id.split("_")
    ]


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


def _rows(cells: Iterable[tuple[str, str]]) -> str:
    """Rows of a Markdown table."""
    return "\n".join(f"| {one} | {other} |" for one, other in cells)


def _shown(value: str | float, mismatch: Mismatch) -> str:
    if isinstance(value, str):
        return plain(value)
    return f"{value:.2f} V" if mismatch is Mismatch.VOLTAGE else f"{value:.0f}"


def _standing(pack: LfpPackCoordinator) -> Standing:
    """What is known of a pack that was heard since the entry was loaded."""
    state, said = pack.state, pack.data.identity or Identity()
    live = pack.online and pack.fresh
    return Standing(
        number=pack.number,
        cells=pack.record.cells,
        capacity=state.design_capacity or said.design_capacity or state.full_capacity or None,
        model=_model(pack.record),
        voltage=state.voltage if live else None,
        current=state.current if live else None,
    )


def _says(pack: Standing | None, mismatch: Mismatch) -> bool:
    """Whether it is known of a pack what could speak for or against it."""
    if pack is None or mismatch is Mismatch.TOO_MANY:
        return pack is not None
    return {
        Mismatch.CELLS: pack.cells,
        Mismatch.CAPACITY: pack.capacity,
        Mismatch.MODEL: pack.model,
        Mismatch.VOLTAGE: pack.voltage,
    }[mismatch] is not None


def at_one_end(finding: Finding, packs: list[Standing]) -> bool:
    """Whether all packs whose voltages were compared are nearly full, or all are nearly empty."""
    cells = [
        pack.voltage / pack.cells for pack in packs if pack.number in finding.values if pack.voltage and pack.cells
    ]
    return len(cells) == len(finding.values) and (min(cells) >= _FULL or max(cells) <= _EMPTY)


def _model(record: Record) -> str | None:
    """What a pack is, where that can be told; products that differ in no figure are one, whatever they are called."""
    said, serial = (record.model or "").strip(), (record.serial or "").strip()
    if not said or (serial and (serial in said or said in serial)):
        return None  # a name that each pack has of its own
    product = find_model(record.manufacturer, said)
    return said if product is None else _likes_of(product)


def _likes_of(product: Model) -> str:
    family = next(family for family in FAMILIES if product in family.models)
    figures = (product.cells, product.nominal_capacity)
    return next(model.name for model in family.models if (model.cells, model.nominal_capacity) == figures)


def _may_be_mixed(packs: list[Standing]) -> bool:
    """Whether all that say what they are belong to a series whose models are used together."""
    models = [pack.model for pack in packs if pack.model is not None]
    return bool(models) and all(_MIXABLE.match(model) for model in models)
