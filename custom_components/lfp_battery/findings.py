"""What a scan found, as the person reads it and as the entry keeps it.

Pure: knows the report and the records, neither the flow nor the registries.
"""

from collections.abc import Collection, Iterable, Mapping
import re
from typing import Any

from homeassistant.const import CONF_MODEL, CONF_PROTOCOL

from .bms.catalog import FAMILIES, Family, Medium, Model, find_model
from .bms.discovery import ScanReport
from .bms.model import BatteryState, Identity
from .bms.plausibility import Limits
from .const import CONF_ADDRESSES, CONF_BANK, CONF_BAUDRATE, CONF_PACKS
from .identity import Record, could_be_serial, records_of

# Shown where the battery said nothing; the same in every language.
ABSENT = "–"

# With fewer intact answers, or a larger share of damaged frames, what was heard is called doubtful.
_FEW_ANSWERS = 3
_MUCH_DAMAGE = 0.1

_SERIAL_MEDIA = frozenset({Medium.RS485, Medium.RS232})


def heard(report: ScanReport) -> list[tuple[int, BatteryState, Identity]]:
    """Every pack that answered; instead of them the bank, where it speaks for all of its packs."""
    if not report.packs and report.bank is not None and report.bank_address is not None:
        return [(report.bank_address, report.bank, report.bank_identity or Identity())]
    return [(pack.address, pack.state, pack.identity) for pack in report.packs]


def is_doubtful(report: ScanReport) -> bool:
    """Whether the evidence is thin."""
    return report.answers < _FEW_ANSWERS or report.damaged > _MUCH_DAMAGE * report.answers


def plain(text: str | None) -> str:
    """A text that a device sent, harmless in Markdown; what cannot be printed is dropped."""
    printable = "".join(character for character in text or "" if character.isprintable()).strip()
    return re.sub(r"([^\w\s.,:/-]|_)", r"\\\1", printable) or ABSENT


def _figure(value: float | None, unit: str) -> str:
    return ABSENT if value is None else f"{value:.1f} {unit}"


def rows(report: ScanReport) -> str:
    """Rows of a Markdown table: address, model, serial number, cells, voltage, charge."""
    lines = []
    for address, state, identity in heard(report):
        cells = identity.cells or len(state.cell_voltages or ())
        figures = (
            str(address),
            plain(" ".join(filter(None, (identity.manufacturer, identity.model)))),
            plain(identity.serial),
            str(cells) if cells else ABSENT,
            _figure(state.voltage, "V"),
            _figure(state.soc, "%"),
        )
        lines.append(f"| {' | '.join(figures)} |")
    return "\n".join(lines)


def records_in(data: Mapping[str, Any]) -> list[Record]:
    """All that an entry's data remembers of batteries."""
    bank = data.get(CONF_BANK)
    kept = [*data.get(CONF_PACKS, {}).values(), *([bank] if bank else [])]
    return [Record.from_mapping(record) for record in kept]


def serials(records: Iterable[Record]) -> set[str]:
    """Serial numbers that can tell batteries apart."""
    return {record.serial for record in records if record.serial is not None and could_be_serial(record.serial)}


def entry_data(report: ScanReport, taken: Collection[str]) -> dict[str, Any]:
    """What the entry keeps, but for the port; `taken` are identifiers of packs in other entries."""
    found = heard(report)
    records = records_of(found, taken)
    return {
        CONF_PROTOCOL: report.protocol,
        CONF_BAUDRATE: report.baudrate,
        CONF_ADDRESSES: [address for address, _, _ in found],
        CONF_PACKS: records if report.packs else {},
        **({} if report.packs else {CONF_BANK: records[str(report.bank_address)]}),
    }


def unique_id(data: Mapping[str, Any]) -> str | None:
    """What identifies the battery behind a link: its first pack's serial number, when it can be trusted."""
    return next((record.identifier for record in records_in(data)), None)


def is_another_battery(known: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether what was found cannot be what is known, both as entry data.

    Serial numbers decide where both sides have any; else there must be an address that both have.
    """
    ours, theirs = serials(records_in(known)), serials(records_in(found))
    if ours and theirs:
        return not ours & theirs
    return not set(known[CONF_ADDRESSES]) & set(found[CONF_ADDRESSES])


def merged(known: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """What was known of the same battery, on the link where it was found now.

    Who is who was decided when each pack was first seen, so records that exist stay as they are.
    """
    return {
        **found,
        CONF_ADDRESSES: sorted({*known[CONF_ADDRESSES], *found[CONF_ADDRESSES]}),
        CONF_PACKS: found[CONF_PACKS] | known.get(CONF_PACKS, {}),
        **({CONF_BANK: known[CONF_BANK]} if CONF_BANK in known else {}),
    }


def models_for(data: Mapping[str, Any]) -> dict[str, str]:
    """Products of the catalog that what was found could be, name -> label."""
    cells = {record.cells for record in records_in(data)} - {None}
    return {
        model.name: " ".join(filter(None, (family.manufacturer, model.name)))
        for family in FAMILIES
        if any(port.medium in _SERIAL_MEDIA and not port.link for port in family.ports)
        for model in family.models
        if not cells or model.cells in cells
    }


def chosen_model(data: Mapping[str, Any]) -> tuple[Family, Model] | None:
    """The product that the person chose for an entry, with its family."""
    name = data.get(CONF_MODEL)
    return next(((family, model) for family in FAMILIES for model in family.models if model.name == name), None)


def reported_model(data: Mapping[str, Any]) -> Model | None:
    """The product that all packs say they are."""
    models = [find_model(record.manufacturer, record.model) for record in records_in(data)]
    return models[0] if models and models.count(models[0]) == len(models) else None


def limits(data: Mapping[str, Any]) -> Limits | None:
    """What readings are held against: the manual of the model that was chosen, else of the one that was reported."""
    if (chosen := chosen_model(data)) is not None:
        return chosen[1].limits
    return reported.limits if (reported := reported_model(data)) else None
