"""Who a pack is, and what was ever seen of it: decided once, kept with the config entry.

Pure: knows neither the registries nor the client. A record lives in `entry.data` as a plain mapping.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
import re
from typing import Any, Self

from homeassistant.const import CONF_PROTOCOL

from .bms.model import BankState, BatteryState, Identity
from .const import CONF_MOVED

# Filled with one character, or counting up: what a factory writes when nobody wrote anything.
_FILLERS = ("0123456789" * 4, "1234567890" * 4)
_SERIAL = re.compile(r"[0-9A-Za-z][0-9A-Za-z ._/:-]{4,38}[0-9A-Za-z]")
# ZT firmware gives the day of manufacture where others give a serial number (design, "Identity").
_DATE = re.compile(
    r"(?:(?:19|20)?\d\d)([-/. :]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])(?:[ T]?\d\d:?\d\d(?::?\d\d)?)?"
)
_NEVER_REPORTED = frozenset({"address", "derived"})


def could_be_serial(text: str) -> bool:
    """Whether a text can tell one pack from another: not constant, not a filler, not a date, of a sane alphabet."""
    if not _SERIAL.fullmatch(text) or _DATE.fullmatch(text):
        return False
    significant = set(re.sub(r"[^0-9A-Za-z]", "", text))
    return len(significant) > 1 and not any(text in filler for filler in _FILLERS)


def trusted_serial(serial: str | None, taken: Collection[str]) -> str | None:
    """The serial number if it identifies a pack; `taken` are those that others answer to."""
    if serial is None or serial in taken or not could_be_serial(serial):
        return None
    return serial


def new_place(data: Mapping[str, Any], address: int) -> str | None:
    """The `Record.place` of a pack without an identifier that is new to an entry with these data."""
    return f"{data[CONF_PROTOCOL]}_{address}" if data.get(CONF_MOVED) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is remembered of one pack, or of the bank."""

    identifier: str | None = None  # the serial number, when it is trusted; None: entry and address identify the pack
    # What is said instead of the address of a pack without an identifier, where that may have meant another pack before
    place: str | None = None
    serial: str | None = None  # as reported, trusted or not
    manufacturer: str | None = None
    model: str | None = None
    firmware: str | None = None
    hardware: str | None = None
    cells: int | None = None
    probes: tuple[int, ...] = ()  # places where cells' temperature was ever read, from 0
    fields: frozenset[str] = frozenset()  # names of model fields that were ever reported
    conditions: frozenset[str] = frozenset()  # conditions that were ever active

    @classmethod
    def from_mapping(cls, stored: Mapping[str, Any]) -> Self:
        """Read a record back; what an older version did not know is absent."""
        known = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        known |= {name: frozenset(known.get(name, ())) for name in ("fields", "conditions")}
        return cls(**{**known, "probes": tuple(known.get("probes", ()))})

    def as_mapping(self) -> dict[str, Any]:
        """The record as it is kept in the entry, without what is not known."""
        kept = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return kept | {name: sorted(kept[name]) for name in ("probes", "fields", "conditions")}

    def identity(self, entry_id: str, address: int) -> str:
        """What device and entities are known by in the registries."""
        return self.identifier or f"{entry_id}_{self.place or address}"

    def unlearned(self) -> Self:
        """Who it is and what it is called, without anything that it ever reported."""
        return replace(self, probes=(), fields=frozenset(), conditions=frozenset())

    def learned(self, state: BatteryState | None, identity: Identity | None) -> Self:
        """The record, extended by what a report says; the identifier never changes."""
        new: dict[str, Any] = {}
        if identity is not None:
            names = ("serial", "manufacturer", "model", "firmware", "hardware", "cells")
            new = {name: value for name in names if (value := getattr(identity, name)) is not None}
        if state is not None:
            new["fields"] = self.fields | reported(state)
            new["conditions"] = self.conditions | {str(alarm.condition) for alarm in state.alarms or ()}
            if isinstance(state, BankState) and state.manufacturer is not None:
                new.setdefault("manufacturer", state.manufacturer)
            if state.cell_voltages is not None:
                new["cells"] = max(len(state.cell_voltages), self.cells or 0)
            if (temperatures := state.cell_temperatures) is not None:
                read = {place for place, value in enumerate(temperatures) if value is not None}
                new["probes"] = tuple(sorted(read | set(self.probes)))
        return replace(self, **new)


def is_another(known: Record, serial: str | None, others: Collection[str | None]) -> bool:
    """Whether a known pack's place is taken by a battery that says who it is, and is none of the `others` of the bank."""
    if known.identifier is None or serial is None or serial == known.identifier or serial in others:
        return False
    return could_be_serial(serial)


def moved(records: Mapping[int, Record], old: int, new: int) -> dict[int, Record]:
    """Records by address after a pack has moved from one to another.

    The two may have changed places; if not, the next one to answer at the old address says so.
    """
    left = {address: record for address, record in records.items() if address not in {old, new}}
    return {**left, new: records[old]} | ({old: records[new]} if new in records else {})


def reported(state: BatteryState) -> frozenset[str]:
    """Names of the fields that this state has."""
    return frozenset(
        f.name for f in fields(state) if f.name not in _NEVER_REPORTED and getattr(state, f.name) is not None
    )


def records_of(
    packs: Iterable[tuple[int, BatteryState | None, Identity | None]], taken: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Records for packs that were all seen together, ready for `entry.data`.

    `taken` are the serial numbers that identify packs of other entries: entity identities are unique in the home, so
    the same battery over a second link goes by entry and address.
    """
    seen = list(packs)
    serials = [identity.serial for _, _, identity in seen if identity is not None]
    records: dict[str, dict[str, Any]] = {}
    for address, state, identity in seen:
        serial = identity.serial if identity is not None else None
        shared = [*taken, *([serial] if serial is not None and serials.count(serial) > 1 else [])]
        record = Record(identifier=trusted_serial(serial, shared)).learned(state, identity)
        records[str(address)] = record.as_mapping()
    return records
