"""What of an entry goes with its battery to another port or protocol: whether it is the same one, and who is who there.

Pure: both sides are entry data. An address tells packs apart within one protocol only; where the protocol changes, serial
numbers do, and after them the place that an owner counts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import Enum
from typing import Any

from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL

from .bms.protocols import PROTOCOLS
from .bms.protocols.can.base import BANK
from .const import CONF_ADDRESSES, CONF_BANK, CONF_MOVED, CONF_OTHER_PROTOCOL, CONF_PACKS
from .findings import on_can, over_bluetooth, records_in, serials, speaks_for_packs
from .identity import Record, could_be_serial, new_place

# Of the line, or of the bank as it spoke there: decided anew.
_OF_THE_LINE = frozenset({CONF_BANK, CONF_OTHER_PROTOCOL})
_DESCRIPTION = ("serial", "manufacturer", "model", "firmware", "hardware", "cells")


class Same(Enum):
    """Whether two sets of entry data are about one battery."""

    YES = "yes"
    NO = "no"
    UNPROVEN = "unproven"  # nothing speaks for it or against it


def changes_protocol(known: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether addresses mean something else than they did."""
    return bool(known[CONF_PROTOCOL] != found[CONF_PROTOCOL])


def _room(one: Mapping[str, Any], other: Mapping[str, Any]) -> int | None:
    """Characters of a serial number that both protocols have room for; None: all."""
    rooms = (PROTOCOLS[data[CONF_PROTOCOL]].serial_room for data in (one, other))
    return min((room for room in rooms if room is not None), default=None)


def share_a_serial(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both may give the same serial number: as far as the protocol with less room for it can tell."""
    room = _room(one, other)
    ours, theirs = ({serial[:room] for serial in serials(records_in(data))} for data in (one, other))
    return any(could_be_serial(serial) for serial in ours & theirs)


def serials_in_common(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """Serial numbers which prove that both read the same battery.

    One that several packs of a line give tells nothing, nor does one that fills its room in the protocol: it may go on,
    and those of one make begin alike.
    """
    room = _room(one, other)
    ours, theirs = (_singular(data) for data in (one, other))
    return {serial for serial in ours & theirs if room is None or len(serial) < room}


def _singular(data: Mapping[str, Any]) -> set[str]:
    """Serial numbers that can tell batteries apart, and that not more than one pack gives."""
    packs = [record.get("serial") for record in data.get(CONF_PACKS, {}).values()]
    return {serial for serial in serials(records_in(data)) if packs.count(serial) <= 1}


def may_be_one(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether one battery may be behind two links of which just one is Bluetooth, where no serial number tells.

    Only a number of cells speaks against it, where both say it.
    """
    if over_bluetooth(one) is over_bluetooth(other):
        return False
    ours, theirs = ({record.cells for record in records_in(data)} - {None} for data in (one, other))
    return not ours or not theirs or not ours.isdisjoint(theirs)


def same_battery(known: Mapping[str, Any], found: Mapping[str, Any]) -> Same:
    """Whether what was found can be what is known.

    Serial numbers decide where both sides have any; else, within one protocol, an address that both have, unless it is
    on CAN, where nothing is addressed. Where nothing is known, anything will do.
    """
    if over_bluetooth(known) or over_bluetooth(found):
        return Same.YES if known[CONF_DEVICE] == found[CONF_DEVICE] else Same.NO  # the address is all there is
    remembered = records_in(known)
    ours, theirs, room = serials(remembered), serials(records_in(found)), _room(known, found)
    # one that fills its room may go on, and those of one make begin alike
    if not remembered or any(room is None or len(serial) < room for serial in ours & theirs):
        return Same.YES
    if share_a_serial(known, found):
        return Same.UNPROVEN
    if ours and theirs:
        return Same.NO
    if on_can(found) or changes_protocol(known, found) or not set(known[CONF_ADDRESSES]) & set(found[CONF_ADDRESSES]):
        return Same.UNPROVEN
    return Same.YES


def merged(known: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The entry's data with what was known of the same battery, on the link where it was found now."""
    data = {key: value for key, value in {**known, **found}.items() if key not in _OF_THE_LINE}
    bank = found.get(CONF_BANK)
    if changes_protocol(known, found):
        data[CONF_MOVED] = True
        packs = {} if speaks_for_packs(found) else _carried(known, found)
    else:
        # who is who was decided when each was first seen: what exists stays as it is, but for its place
        packs = _placed(known.get(CONF_PACKS, {}), found[CONF_PACKS])
        bank = known.get(CONF_BANK, bank)
    data[CONF_PACKS] = packs
    if bank is not None:
        data[CONF_BANK] = bank
    if not speaks_for_packs(found):
        data[CONF_ADDRESSES] = sorted({*found[CONF_ADDRESSES], *map(int, packs)})
    elif CONF_BANK not in found and not changes_protocol(known, found):
        data[CONF_ADDRESSES] = known[CONF_ADDRESSES]  # not heard this time
    return data


def followed(known: Mapping[str, Any], protocol: str) -> dict[str, Any]:
    """The entry's data for a battery that broadcasts another set of frames by now, on the bus where it always was.

    Who it is and what it is called stays; what it reports, and which alarms it knows, is learned anew.
    """
    data = {**known, CONF_PROTOCOL: protocol}
    if CONF_BANK in known:
        data[CONF_BANK] = Record.from_mapping(known[CONF_BANK]).unlearned().as_mapping()
    if speaks_for_packs(data):
        data[CONF_PACKS], data[CONF_ADDRESSES] = {}, [BANK]
    else:
        packs = known.get(CONF_PACKS, {})
        data[CONF_PACKS] = {
            place: Record.from_mapping(record).unlearned().as_mapping() for place, record in packs.items()
        }
    return data


def left_behind(known: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Numbers of known packs that have no successor in the new data, in words."""
    kept = {record.identity("", address) for address, record in _packs_of(data)}
    protocol = PROTOCOLS[known[CONF_PROTOCOL]]
    gone = [address for address, record in _packs_of(known) if record.identity("", address) not in kept]
    return ", ".join(protocol.pack_number(address) for address in gone)


def _packs_of(data: Mapping[str, Any]) -> Iterator[tuple[int, Record]]:
    records = {int(address): Record.from_mapping(record) for address, record in data.get(CONF_PACKS, {}).items()}
    yield from sorted(records.items(), key=lambda item: item[0])


def _placed(known: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Records of packs by address: each where its serial number answers now, the others where they were."""
    packs = dict(known)
    homes = {address: record["identifier"] for address, record in found.items() if record.get("identifier")}
    for address, identifier in homes.items():
        old = next((place for place, record in packs.items() if record.get("identifier") == identifier), None)
        if old is not None and old != address:
            record = packs.pop(old)
            if address in packs:
                packs[old] = packs[address]  # the two may have changed places
            packs[address] = record
    for address, record in found.items():
        its_own = packs.get(address, {}).get("identifier")
        # a pack that gives another serial number than the one that is known here has taken its place
        if address not in packs or (its_own and homes.get(address, its_own) != its_own):
            packs[address] = record
    return packs


def _carried(known: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Records by their address in another protocol; those whose place there is not known begin anew.

    Each goes where its serial number is. As long as those kept the numbers that an owner counts, so do the others, but
    not to a pack that gives another serial number.
    """
    new_protocol = PROTOCOLS[found[CONF_PROTOCOL]]
    new, old = dict(_packs_of(found)), dict(_packs_of(known))
    names = _trusted(new)
    numbers = {address: PROTOCOLS[known[CONF_PROTOCOL]].pack_number(address) for address in old}
    homes = {
        old_place: new_place
        for old_place, record in old.items()
        for new_place, name in names.items()
        if record.identifier == name
    }
    if all(numbers[was] == new_protocol.pack_number(place) for was, place in homes.items()):
        places = {new_protocol.pack_number(place): place for group in new_protocol.address_groups for place in group}
        for address, record in old.items():
            place = places.get(numbers[address])
            if address in homes or place is None or place in homes.values():
                continue
            if record.identifier is None or names.get(place, record.identifier) == record.identifier:
                homes[address] = place
    packs = {place: _anew(record, found, place) for place, record in new.items()}
    packs |= {place: _continued(old[address], address, new.get(place)) for address, place in homes.items()}
    return {str(place): record.as_mapping() for place, record in sorted(packs.items())}


def _trusted(packs: Mapping[int, Record]) -> dict[int, str]:
    """Serial numbers that packs say now and no two of them share."""
    said = {address: record.serial for address, record in packs.items() if record.serial is not None}
    names = list(said.values())
    return {address: serial for address, serial in said.items() if names.count(serial) == 1 and could_be_serial(serial)}


def _anew(record: Record, data: Mapping[str, Any], address: int) -> Record:
    """A pack that was not known before; by its address alone it must not be taken for another of the old protocol."""
    if record.identifier is not None:
        return record
    return replace(record, place=new_place({**data, CONF_MOVED: True}, address))


def _continued(old: Record, address: int, found: Record | None) -> Record:
    """A known pack in another protocol: still who it was, but what it reports is learned anew."""
    now = found or Record()
    said = {name: getattr(old, name) for name in _DESCRIPTION if getattr(now, name) is None}
    place = None if old.identifier is not None else old.place or str(address)
    return replace(now, identifier=old.identifier, place=place, **said)
