"""Who there is behind a link: the bank, its packs, those whose place another battery has by now, and their devices."""

from collections.abc import Callable, Iterator, Set as AbstractSet
from typing import Any, TypedDict

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr

from . import radio
from .bms.clients.base import BatteryClient
from .bms.clock import Clock
from .bms.protocols import PROTOCOLS
from .const import CONF_BANK, CONF_PACKS, DOMAIN
from .coordinator import LfpBankCoordinator, LfpPackCoordinator, LfpUnit
from .findings import identifiers
from .identity import Record, new_place, trusted_serial
from .memory import Memory, Remembered
from .over_packs import OverPacks
from .settings import Settings
from .unit import new_report


class _Common(TypedDict):
    """What every coordinator of an entry is made with."""

    hass: HomeAssistant
    entry: ConfigEntry[Any]
    client: BatteryClient
    settings: Settings
    conditions: frozenset[str]
    clock: Clock


class Units:
    """The coordinators of one entry, and where they stand in the device registry."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        client: BatteryClient,
        *,
        settings: Settings,
        clock: Clock,
        memory: Memory,
    ) -> None:
        """Make the bank and the packs that the entry knows; nothing is registered yet."""
        self._hass = hass
        self._entry = entry
        self._memory = memory
        self._protocol = PROTOCOLS[entry.data[CONF_PROTOCOL]]
        self._common = _Common(
            hass=hass,
            entry=entry,
            client=client,
            settings=settings,
            conditions=frozenset(str(condition) for condition in self._protocol.conditions),
            clock=clock,
        )
        self.packs: dict[int, LfpPackCoordinator] = {}
        self.away: dict[str, LfpPackCoordinator] = {}  # by identity: others have their places, but they may come back
        self.bank = LfpBankCoordinator(
            **self._common,
            over=OverPacks(clock, self.packs, settings.capacity),
            name=entry.title,
            report=new_report(0),
            record=Record.from_mapping(entry.data.get(CONF_BANK, {})),
        )
        self.bank.restore(memory.of(self.bank.identity))
        for address, record in sorted((int(a), r) for a, r in entry.data.get(CONF_PACKS, {}).items()):
            self._make_pack(address, Record.from_mapping(record))

    def __iter__(self) -> Iterator[LfpUnit]:
        """The bank and its packs, in the order of their addresses."""
        yield self.bank
        for address in sorted(self.packs):
            yield self.packs[address]

    def _make_pack(self, address: int, record: Record) -> LfpPackCoordinator:
        number = self._protocol.pack_number(address)
        if (pack := self.away.pop(record.identity(self._entry.entry_id, address), None)) is not None:
            pack.async_move(address)  # its entities are there already
        else:
            pack = LfpPackCoordinator(
                **self._common, name=f"{self._entry.title} pack {number}", report=new_report(address), record=record
            )
            pack.restore(self._memory.of(pack.identity))
        pack.bank, pack.number = self.bank, number
        self.packs[address] = pack
        return pack

    def add(self, address: int, serial: str | None) -> LfpPackCoordinator:
        """A pack that was never seen here; decides what identifies it."""
        others = {
            identifier
            for entry in self._hass.config_entries.async_entries(DOMAIN)
            if entry is not self._entry
            for identifier in identifiers(entry.data)
        }
        taken = {known for known in self.serials_but(address) | others if known is not None}
        identifier = radio.address_of(self._entry.data[CONF_DEVICE]) or trusted_serial(serial, taken)
        place = None if identifier is not None else new_place(self._entry.data, address)
        pack = self._make_pack(address, Record(identifier=identifier, place=place))
        self.register(pack)
        return pack

    def serials_but(self, address: int) -> set[str | None]:
        """Serial numbers that the other packs of the bank give."""
        return {pack.record.serial for other, pack in self.packs.items() if other != address}

    def put_away(self, pack: LfpPackCoordinator) -> None:
        """Another battery has the place of this one, which may come back, there or at another address."""
        pack.async_link_changed(None)
        self._memory.put(pack.identity, pack.remembered())
        self.away[pack.identity] = pack

    def find(self, which: Callable[[LfpPackCoordinator], bool]) -> LfpPackCoordinator | None:
        """The first pack of which this is so."""
        return next((pack for pack in self.packs.values() if which(pack)), None)

    def forget(self, known_as: AbstractSet[str]) -> None:
        """Drop whoever has one of these identities, and all that was remembered of it."""
        for identity in known_as:
            self.away.pop(identity, None)
        if (pack := self.find(lambda pack: pack.identity in known_as)) is not None:
            del self.packs[pack.address]
        self._memory.forget(known_as)

    def records(self) -> dict[int, Record]:
        """What is known of each pack, by address."""
        return {address: pack.record for address, pack in self.packs.items()}

    def remembered(self) -> dict[str, Remembered]:
        """What has to outlive a restart, by identity."""
        return {unit.identity: unit.remembered() for unit in self}

    # --- devices -----------------------------------------------------------------------------------------------------

    def register(self, unit: LfpUnit) -> None:
        """Have the device registry show the unit as it is now; the bank first, as its packs are connected to it."""
        device = dr.async_get(self._hass).async_get_or_create_from_info(
            config_entry_id=self._entry.entry_id, device_info=unit.device_info
        )
        if isinstance(unit, LfpBankCoordinator):
            unit.device_id = device.id

    def device(self, unit: LfpUnit) -> dr.DeviceEntry | None:
        """The unit's device; None: it was deleted."""
        return self.device_of(unit.identity)

    def device_of(self, identity: str) -> dr.DeviceEntry | None:
        """The device that is known by this identity."""
        return dr.async_get(self._hass).async_get_device_by_identifier((DOMAIN, identity), self._entry.entry_id)

    def is_disabled(self, unit: LfpUnit) -> bool:
        """Whether somebody disabled the unit's device."""
        device = self.device(unit)
        return device is not None and device.disabled
