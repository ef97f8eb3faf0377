"""What a scan found, as the person reads it and as the entry keeps it.

Pure: knows the report and the records, neither the flow nor the registries.
"""

from collections.abc import Collection, Iterable, Mapping
import re
from typing import Any

from homeassistant.const import CONF_DEVICE, CONF_MODEL, CONF_PROTOCOL

from .bms.catalog import FAMILIES, Family, Medium, Model, Supply, find_family, find_model, model_of_advert
from .bms.discovery import Outcome, ScanReport
from .bms.model import BatteryState, Identity
from .bms.protocols import BLUETOOTH, POLLED, PROTOCOLS
from .bms.protocols.can import CAN
from .bms.protocols.can.base import BANK
from .bms.protocols.writes import HEATING
from .const import (
    CONF_ADDRESSES,
    CONF_BANK,
    CONF_BAUDRATE,
    CONF_FAMILY,
    CONF_PACK_COUNT,
    CONF_PACKS,
    CONF_UNVERIFIED,
    MAX_PACKS,
)
from .identity import Record, could_be_serial, records_of
from .radio import address_of

# Shown where the battery said nothing; the same in every language.
ABSENT = "–"

# With fewer intact answers, or a larger share of damaged frames, what was heard is called doubtful.
_FEW_ANSWERS = 3
_MUCH_DAMAGE = 0.1

# Some serial numbers begin with the maker's name.
_LONGEST_NAME_IN_SERIAL = 8

_SERIAL_MEDIA = frozenset({Medium.RS485, Medium.RS232})
_CAN_MEDIA = frozenset({Medium.CAN})
# Families whose radio is not known, that are tried all the same (ble.md section 8).
_TRIED_BY_RADIO = frozenset({"ml314"})


def on_can(data: Mapping[str, Any]) -> bool:
    """Whether an entry with these data listens on a CAN bus."""
    return data[CONF_PROTOCOL] in CAN


def over_bluetooth(data: Mapping[str, Any]) -> bool:
    """Whether an entry with these data connects to one pack over Bluetooth."""
    return data[CONF_PROTOCOL] in BLUETOOTH


def can_switch_heating(data: Mapping[str, Any]) -> bool:
    """Whether there is a command for the heating, and a pack that says how the setting stands."""
    return data[CONF_PROTOCOL] in HEATING and any("heating_enabled" in record.fields for record in records_in(data))


def _bank_address(report: ScanReport) -> int | None:
    return BANK if report.protocol in CAN else report.bank_address


def heard(report: ScanReport) -> list[tuple[int, BatteryState, Identity]]:
    """Every pack that answered; instead of them the bank, where it speaks for all of its packs."""
    address = _bank_address(report)
    if not report.packs and report.bank is not None and address is not None:
        return [(address, report.bank, report.bank_identity or Identity())]
    return [(pack.address, pack.state, pack.identity) for pack in report.packs]


def is_doubtful(report: ScanReport) -> bool:
    """Whether the evidence is thin; where somebody else asks, answers to us are none.

    On CAN nobody is asked, and every frame has a check of its own; over Bluetooth there is one pack, and little to ask.
    """
    if report.protocol in CAN:
        return False
    asked_often = report.outcome is not Outcome.OTHER_MASTER and not over_bluetooth({CONF_PROTOCOL: report.protocol})
    few = report.answers < _FEW_ANSWERS and asked_often
    return few or report.damaged > _MUCH_DAMAGE * report.answers


def name_of(report: ScanReport) -> str | None:
    """What the battery calls itself: its maker, and the first model that anything of it gives; never a serial number."""
    identities = [report.bank_identity or Identity(), *(pack.identity for pack in report.packs)]
    makers = (report.bank.manufacturer if report.bank else None, *(identity.manufacturer for identity in identities))
    models = (identity.model for identity in identities)
    said = {identity.serial.lower() for identity in identities if identity.serial}
    parts = (printable(next(filter(None, one), None)) for one in (makers, models))
    return " ".join(dict.fromkeys(part for part in parts if part and not _tells(part.lower(), said))) or None


def _tells(text: str, serials: Collection[str]) -> bool:
    """Whether a name holds a serial number, or is a part of one."""
    return any(serial in text or (len(text) > _LONGEST_NAME_IN_SERIAL and text in serial) for serial in serials)


def printable(text: str | None) -> str:
    """A text that a device sent, without what turns lines or directions around; not fit for Markdown yet."""
    return "".join(character for character in text or "" if character.isprintable()).strip()


def plain(text: str | None) -> str:
    """A text that a device sent, harmless in Markdown; what cannot be printed is dropped.

    Only punctuation of ASCII can be escaped there: before anything else the backslash would be shown.
    """
    return re.sub(r"([!-+;-@\[-`{-~])", r"\\\1", printable(text)) or ABSENT


def table_rows(cells: Iterable[tuple[str, str]]) -> str:
    """Rows of a Markdown table."""
    return "\n".join(f"| {one} | {other} |" for one, other in cells)


def _figure(value: float | None, unit: str) -> str:
    return ABSENT if value is None else f"{value:.1f} {unit}"


def _pack_number(report: ScanReport, address: int) -> str:
    """What an owner calls the pack at this address."""
    return PROTOCOLS[report.protocol].pack_number(address) if report.protocol and report.packs else ABSENT


def _place(report: ScanReport, address: int) -> str:
    """Number and address of a pack; on CAN nothing is addressed."""
    number = _pack_number(report, address)
    return number if report.protocol in CAN else f"{number} ({address})"


def rows(report: ScanReport) -> str:
    """Rows of a Markdown table: pack and address, model, serial number, cells, voltage, charge."""
    lines = []
    for address, state, identity in heard(report):
        cells = identity.cells or len(state.cell_voltages or ())
        figures = (
            _place(report, address),
            plain(" ".join(filter(None, (identity.manufacturer, identity.model)))),
            plain(identity.serial),
            str(cells) if cells else ABSENT,
            _figure(state.voltage, "V"),
            _figure(state.soc, "%"),
        )
        lines.append(f"| {' | '.join(figures)} |")
    return "\n".join(lines)


def figures(report: ScanReport) -> dict[str, str]:
    """What the one pack of a report says of itself, for a sentence or a table."""
    _, state, identity = heard(report)[0]
    cells = identity.cells or len(state.cell_voltages or ())
    return {
        "said": plain(" ".join(filter(None, (identity.manufacturer, identity.model)))),
        "cells": str(cells) if cells else ABSENT,
        "voltage": _figure(state.voltage, "V"),
        "charge": _figure(state.soc, "%"),
        "capacity": _figure(state.design_capacity or state.full_capacity, "Ah"),
    }


def unidentified(report: ScanReport, data: Mapping[str, Any]) -> tuple[str, str]:
    """Numbers of the packs that go by their address, in words: no serial number was read, or one that tells nothing."""
    by_address = [pack for pack in report.packs if data[CONF_PACKS][str(pack.address)].get("identifier") is None]
    unread = [_pack_number(report, pack.address) for pack in by_address if pack.identity.serial is None]
    unfit = [_pack_number(report, pack.address) for pack in by_address if pack.identity.serial is not None]
    return ", ".join(unread), ", ".join(unfit)


def records_in(data: Mapping[str, Any]) -> list[Record]:
    """All that an entry's data remembers of batteries."""
    bank = data.get(CONF_BANK)
    kept = [*data.get(CONF_PACKS, {}).values(), *([bank] if bank else [])]
    return [Record.from_mapping(record) for record in kept]


def identifiers(data: Mapping[str, Any]) -> set[str]:
    """Serial numbers by which an entry's batteries are known in the home."""
    return {record.identifier for record in records_in(data) if record.identifier is not None}


def serials(records: Iterable[Record]) -> set[str]:
    """Serial numbers that can tell batteries apart."""
    return {record.serial for record in records if record.serial is not None and could_be_serial(record.serial)}


def entry_data(report: ScanReport, taken: Collection[str]) -> dict[str, Any]:
    """What the entry keeps, but for the port; `taken` are identifiers of packs in other entries."""
    found = heard(report)
    records = records_of(found, taken)
    data = {
        CONF_PROTOCOL: report.protocol,
        CONF_BAUDRATE: report.baudrate,
        CONF_ADDRESSES: [address for address, _, _ in found],
        CONF_PACKS: records if report.packs else {},
    }
    if found and not report.packs:
        data[CONF_BANK] = records[str(_bank_address(report))]
    if on_can(data):
        _add_bus(data, report, taken)
    elif not found and report.protocol is not None:
        # overheard only: should it ever be asked, a bank begins with a master
        data[CONF_ADDRESSES] = [PROTOCOLS[report.protocol].address_groups[0][0]]
    return data


def _add_bus(data: dict[str, Any], report: ScanReport, taken: Collection[str]) -> None:
    """On CAN a bank that sends frames of its packs speaks for itself as well."""
    if not report.packs:
        data[CONF_ADDRESSES] = [BANK]
    elif report.bank is not None:
        data[CONF_BANK] = records_of([(BANK, report.bank, report.bank_identity or Identity())], taken)[str(BANK)]


def bluetooth_data(report: ScanReport, address: str) -> dict[str, Any]:
    """What the entry keeps of a pack that answered over Bluetooth: the address of its radio is all that is its own."""
    data = entry_data(report, ())
    packs = {place: {**record, "identifier": address} for place, record in data[CONF_PACKS].items()}
    return {**data, CONF_BAUDRATE: None, CONF_PACKS: packs}


def speaks_for_packs(data: Mapping[str, Any]) -> bool:
    """Whether all that is read is the bank, at the one address that an entry then has."""
    return PROTOCOLS[data[CONF_PROTOCOL]].speaks_for_bank


def unique_id(data: Mapping[str, Any]) -> str | None:
    """What identifies the battery behind a link: its first pack's serial number, when it can be trusted.

    Over Bluetooth it is the address, also when nothing of the pack is remembered.
    """
    if over_bluetooth(data):
        return address_of(data[CONF_DEVICE])
    return next((record.identifier for record in records_in(data)), None)


def models_for(data: Mapping[str, Any]) -> dict[str, str]:
    """Products of the catalog that what was found could be, name -> label."""
    cells = {record.cells for record in records_in(data)} - {None}
    if over_bluetooth(data):
        families = [family for family in FAMILIES if family.bluetooth is not None or family.key in _TRIED_BY_RADIO]
    else:
        media = _CAN_MEDIA if on_can(data) else _SERIAL_MEDIA
        families = [
            family for family in FAMILIES if any(port.medium in media and not port.link for port in family.ports)
        ]
    return {
        model.name: " ".join(filter(None, (family.manufacturer, model.name)))
        for family in families
        for model in family.models
        if not cells or model.cells in cells
    }


def suggested_model(data: Mapping[str, Any], report: ScanReport, name: str | None) -> str | None:
    """The product that a pack over Bluetooth most likely is: by what its advert calls it, unless the pack contradicts.

    A family whose radio is not known gives itself away by its capacity, where no other has the same.
    """
    state = report.packs[0].state
    cells = next((record.cells for record in records_in(data)), None)
    capacity = state.design_capacity or state.full_capacity
    if (model := model_of_advert(name, cells=cells, capacity=capacity)) is not None:
        return model.name
    others = (model for key in _TRIED_BY_RADIO if (family := find_family(key)) for model in family.models)
    return next((model.name for model in others if (model.cells, model.nominal_capacity) == (cells, capacity)), None)


def is_unverified(data: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether nobody has ever said that a pack of this kind can be read over Bluetooth, although this one is."""
    if not over_bluetooth(data):
        return False
    chosen = chosen_model(data, options)
    return bool(data.get(CONF_UNVERIFIED)) or (chosen is not None and chosen[0].bluetooth is None)


def chosen_model(data: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[Family, Model] | None:
    """The product that the person chose for an entry, last in its options, with its family."""
    name = options.get(CONF_MODEL, data.get(CONF_MODEL))
    return next(((family, model) for family in FAMILIES for model in family.models if model.name == name), None)


def family_of(data: Mapping[str, Any], options: Mapping[str, Any]) -> Family | None:
    """The family of an entry's packs: of the chosen model, else as the person named it, else as the packs say."""
    if (chosen := chosen_model(data, options)) is not None:
        return chosen[0]
    if (named := find_family(data.get(CONF_FAMILY, ""))) is not None:
        return named
    model = reported_model(data)
    return next((family for family in FAMILIES if model in family.models), None)


def supply_of(data: Mapping[str, Any], options: Mapping[str, Any]) -> Supply | None:
    """What the manual charges a stored pack with: of its model, else what all models with as many cells share."""
    chosen = chosen_model(data, options)
    if (model := chosen[1] if chosen else reported_model(data)) is not None:
        return model.recharge_supply
    cells = {record.cells for record in records_in(data)} - {None}
    if len(cells) != 1 or (family := family_of(data, options)) is None:
        return None
    supplies = {model.recharge_supply for model in family.models if model.cells in cells}
    return supplies.pop() if len(supplies) == 1 else None


def most_packs(data: Mapping[str, Any], options: Mapping[str, Any]) -> int:
    """How many packs may be in parallel, by the manual as far as it is known whose."""
    family = family_of(data, options)
    return (family.max_parallel if family is not None else None) or MAX_PACKS


def miscounted(sent: Mapping[str, Any], most: int) -> dict[str, str]:
    """What is wrong with the number of packs that was sent, if anything; for the field of a form."""
    count = sent.get(CONF_PACK_COUNT)
    if count is None or (count == int(count) and count <= most):
        return {}
    return {CONF_PACK_COUNT: "not_whole" if count != int(count) else "too_many_packs"}


def counts_packs(protocol: str) -> bool:
    """Whether this protocol cannot be read without knowing how many packs there are: a capacity that wraps."""
    polled = POLLED.get(protocol)
    return polled is not None and polled.configured(packs=2, capacity=100.0) is not polled


def reported_model(data: Mapping[str, Any]) -> Model | None:
    """The product that all packs say they are."""
    models = [find_model(record.manufacturer, record.model) for record in records_in(data)]
    return models[0] if models and models.count(models[0]) == len(models) else None
