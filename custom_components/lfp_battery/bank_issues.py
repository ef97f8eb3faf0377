"""What speaks against a bank as a whole, as repairs: packs that should not be in parallel.

A repair is raised only for what is known, once it has lasted, and withdrawn only once the contrary is known: whoever
ignored it is not told again because a pack was silent for a while, or because the entry or Home Assistant was started
anew. So it is kept over a restart as a whole, for only the repair itself knows whom it named. That packs differ in their
state of charge is normal (VLRV 7-1, row 9), and no reason for any.
"""

from collections.abc import Mapping
from dataclasses import replace
import re
from typing import Any, Final

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr, issue_registry as ir

from . import second_link
from .bms.catalog import FAMILIES, Model, find_model
from .bms.consistency import Finding, Mismatch, Standing, at_rest, findings
from .bms.model import Identity
from .const import DOMAIN
from .coordinator import LfpBankCoordinator, LfpPackCoordinator
from .findings import ABSENT, plain, table_rows
from .identity import Record

# Something must have been so, or no longer so, for as many seconds: packs are read one after the other.
_LASTS: Final = 60.0
# Voltages settle for minutes after each load, and one pack's protection acts before another's.
_VOLTAGES_LAST: Final = 600.0
# At both ends the voltage of an LFP cell is steep: packs that were filled or emptied together, and are kept from more by
# their protection, rest for hours at more than 1 V apart (simulated: up to 6 h) with next to no charge between them.
_FULL, _EMPTY = 3.33, 3.20  # V a cell, at rest
# Voltages that were too far apart are near enough again at this share of what is allowed.
_NEAR: Final = 0.8
# Volts by which a pack at rest must have changed before the repair says so: every new text is written, and sent around.
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


class BankIssues:
    """What is to be repaired of the bank of one entry."""

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
        """Nothing is raised or withdrawn yet."""
        self._hass = hass
        self._entry = entry
        self._since: dict[Mismatch, float] = {}  # from when on (monotonic) something is not as the repairs have it

    @callback
    def async_start(self) -> None:
        """Have it said whether the battery is here twice; all else needs readings."""
        second_link.async_watch(self._hass)

    @callback
    def renew(self, bank: LfpBankCoordinator) -> None:
        """Judge the packs anew, after a round over them."""
        most, apart = bank.settings.most_packs, bank.settings.apart
        packs = {pack.number: pack for address, pack in sorted(bank.packs.items()) if address not in bank.unasked}
        standings = _standings({number: pack for number, pack in packs.items() if pack.data.received is not None})
        found = self._found(list(standings.values()), most, apart)
        counted = _counted(bank)
        if most is not None and (counted or 0) > most:
            found.setdefault(Mismatch.TOO_MANY, Finding(mismatch=Mismatch.TOO_MANY, values={}, limit=most))
        if Mismatch.VOLTAGE in found:
            found[Mismatch.VOLTAGE] = self._told_whole(found[Mismatch.VOLTAGE], packs, standings)
        gravest = next((kind for kind in _KINDS if kind in found), None)
        for mismatch in Mismatch:
            finding = found.get(mismatch)
            if mismatch in _KINDS and gravest not in {None, mismatch}:
                finding = None
                if self._issue(gravest) is None:
                    continue  # once that is told
            named = self._named(mismatch).keys()
            gone = not named <= packs.keys()
            known = all(_says(standings.get(number), mismatch) for number in named)
            counts = "modules" in bank.record.fields and not bank.replies
            if mismatch is Mismatch.TOO_MANY and counted is None and counts:
                known = False  # it may say so once it answers; one that answers without counts no more
            if finding is None and (gone or found.get(mismatch) is not None):
                self._withdraw(mismatch)
            elif finding is not None or known:
                self._settle(mismatch, finding, bank, max(len(standings), counted or 0))
            else:
                self._since.pop(mismatch, None)

    def _found(self, packs: list[Standing], most: int | None, apart: float | None) -> dict[Mismatch, Finding]:
        """What speaks against these packs now; voltages that were too far apart stay so until they are clearly nearer."""
        found = {finding.mismatch: finding for finding in findings(packs, most=most, apart=apart)}
        if apart is not None and Mismatch.VOLTAGE not in found and self._issue(Mismatch.VOLTAGE) is not None:
            # under load they are no proof, but that they have come together would be seen
            unloaded = [replace(pack, current=0.0) for pack in packs if pack.voltage is not None]
            still = {finding.mismatch: finding for finding in findings(unloaded, apart=_NEAR * apart)}
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
        self._raise(finding, bank, count)

    def _told_whole(
        self, finding: Finding, packs: Mapping[str, LfpPackCoordinator], standings: Mapping[str, Standing]
    ) -> Finding:
        """The finding with the voltages of all packs, those under load included, as they were told where that still holds.

        A pack keeps its row while it is silent. What only a load makes of a voltage is no reason for a new text.
        """
        said = self._named(Mismatch.VOLTAGE)
        told = {number: value for number, value in said.items() if isinstance(value, int | float)}
        now = {number: pack.voltage for number, pack in standings.items() if pack.voltage is not None}
        values = {number: value for number in packs if (value := now.get(number, told.get(number))) is not None}
        changed = values.keys() != told.keys() or any(
            abs(voltage - told[number]) >= _MOVED for number, voltage in now.items() if at_rest(standings[number])
        )
        return replace(finding, values=values if changed else {number: told[number] for number in values})

    def _raise(self, finding: Finding, bank: LfpBankCoordinator, count: int) -> None:
        entry, values = self._entry, finding.values
        names = {pack.number: self._name(pack) for pack in bank.packs.values()}
        told = {
            "title": entry.title,
            "packs": table_rows(
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
            data=dict(values),
            is_fixable=False,
            is_persistent=True,
            severity=ir.IssueSeverity.ERROR if finding.mismatch is Mismatch.CELLS else ir.IssueSeverity.WARNING,
            translation_key=_KEYS[finding.mismatch],
            translation_placeholders=told,
        )

    def _withdraw(self, mismatch: Mismatch) -> None:
        self._since.pop(mismatch, None)
        ir.async_delete_issue(self._hass, DOMAIN, self._issue_id(mismatch))

    def _issue_id(self, mismatch: Mismatch) -> str:
        return f"{_KEYS[mismatch]}_{self._entry.entry_id}"

    def _issue(self, mismatch: Mismatch) -> ir.IssueEntry | None:
        return ir.async_get(self._hass).async_get_issue(DOMAIN, self._issue_id(mismatch))

    def _named(self, mismatch: Mismatch) -> Mapping[str, str | float | None]:
        """What the repair says of which packs, by their numbers."""
        issue = self._issue(mismatch)
        return issue.data or {} if issue is not None else {}

    def _name(self, pack: LfpPackCoordinator) -> str:
        """Its number, and what the person calls it."""
        registry = dr.async_get(self._hass)
        device = registry.async_get_device_by_identifier((DOMAIN, pack.identity), self._entry.entry_id)
        own = device.name_by_user if device is not None else None
        return f"{pack.number} ({plain(own)})" if own else pack.number


def _shown(value: str | float, mismatch: Mismatch) -> str:
    if isinstance(value, str):
        return plain(value)
    return f"{value:.2f} V" if mismatch is Mismatch.VOLTAGE else f"{value:.0f}"


def _counted(bank: LfpBankCoordinator) -> int | None:
    """How many packs the bank says that it has; what it said last counts on while it is silent."""
    return bank.data.state.modules if bank.data.state is not None else None


def _standings(packs: Mapping[str, LfpPackCoordinator]) -> dict[str, Standing]:
    """What is known of packs that were heard since the entry was loaded."""
    capacities = _capacities(packs)
    return {number: _standing(pack, capacities.get(number)) for number, pack in packs.items()}


def _capacities(packs: Mapping[str, LfpPackCoordinator]) -> dict[str, float]:
    """Capacities of one kind, in Ah: by design where all packs say it that say any, else when full, else none.

    What one pack was made for and another one holds by now are two things: the difference may be nothing but age.
    """
    design, full = {}, {}
    for number, pack in packs.items():
        said = pack.data.identity or Identity()
        if made := pack.state.design_capacity or said.design_capacity:
            design[number] = made
        if pack.state.full_capacity:
            full[number] = pack.state.full_capacity
    return next((kind for kind in (design, full) if kind.keys() == design.keys() | full.keys()), {})


def _standing(pack: LfpPackCoordinator, capacity: float | None) -> Standing:
    state, said = pack.state, pack.data.identity or Identity()
    live = pack.online and pack.fresh
    return Standing(
        number=pack.number,
        # what is remembered may be of a pack that was there before, where none says who it is
        cells=len(state.cell_voltages or ()) or said.cells or pack.record.cells,
        capacity=capacity,
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
