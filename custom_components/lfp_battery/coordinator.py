"""One coordinator a pack and one for the bank, fed by the client as it hears."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, override

from homeassistant.const import CONF_DEVICE
from homeassistant.core import callback
from homeassistant.helpers import device_registry as dr

from . import counting, radio
from .bms.bank import BankFigures
from .bms.energy import Added, Reading
from .bms.model import BankState, PackState
from .const import DOMAIN
from .device_texts import described, shared
from .findings import on_can
from .over_packs import OverPacks
from .pause import Pause
from .unit import LfpCoordinator

# What energy is counted by.
_POWER_AND_COUNTERS = frozenset({"power", "energy_charged", "energy_discharged"})
# A known pack is given so many rounds to say what its totals are, before those of the bank begin without it.
_ROUNDS_FOR_TOTALS = 3

type LfpUnit = LfpPackCoordinator | LfpBankCoordinator


class LfpPackCoordinator(LfpCoordinator[PackState]):
    """One pack."""

    bank: LfpBankCoordinator  # has its device before any pack has
    number: str  # what an owner calls it

    @property
    def address(self) -> int:
        """As on the bus."""
        return self.data.address

    @property
    @override
    def state(self) -> PackState:
        """See `LfpCoordinator`."""
        return self.data.state or PackState(address=self.address)

    @property
    @override
    def identity(self) -> str:
        """See `LfpCoordinator`."""
        return self.record.identity(self.config_entry.entry_id, self.address)

    @property
    @override
    def controls_heating(self) -> bool:
        """See `LfpCoordinator`; decided when the entry loads, and when the pack says so for the first time."""
        return self.client.heating is not None and "heating_enabled" in self.record.fields

    @property
    def radio_address(self) -> str | None:
        """The Bluetooth address at which it is read; None for a pack on a line or bus."""
        return radio.address_of(self.config_entry.data[CONF_DEVICE])

    @property
    @override
    def device_info(self) -> dr.DeviceInfo:
        """See `LfpCoordinator`."""
        address = self.radio_address
        return dr.DeviceInfo(
            identifiers={(DOMAIN, self.identity)},
            connections=set() if address is None else {(dr.CONNECTION_BLUETOOTH, address)},
            translation_key="pack",
            translation_placeholders={"bank": self.config_entry.title, "number": self.number},
            via_device_id=self.bank.device_id,
            serial_number=self.record.identifier if address is None else None,
            # where only the master tells a model, the others' would else be listed by their firmware
            **described(self.record, self.settings, model=self.bank.model),
        )

    @callback
    def async_move(self, address: int) -> None:
        """Go on at another address, which it has yet to answer from."""
        state = None if self.data.state is None else replace(self.data.state, address=address)
        self.data = replace(self.data, address=address, state=state, online=False)

    @override
    def _count_energy(self, reading: Reading) -> None:
        self.bank.async_energy_added(self.account.observe(reading))

    @override
    async def async_read(self) -> None:
        """See `LfpCoordinator`."""
        if self.data.received is None and on_can(self.config_entry.data):
            return  # never heard on this bus: nobody can be asked, and there is nothing to tell
        await self.client.read(self.address)
        if not self.online and not self.settings.observe and not on_can(self.config_entry.data):
            self.bank.over.asked_in_vain(self.address)
            self.bank.async_renew()


class LfpBankCoordinator(LfpCoordinator[BankState]):
    """The bank: what it says of itself where it does, else what its packs come to; and the link."""

    link_up = False
    device_id: str
    pause: Pause | None = None  # of a link that somebody else may want for a while
    _reading = 0  # times that all its packs are being read for it: until then its figures stay as they are
    _rounds_without_total = 0  # that were finished before its energy began

    def __init__(self, *args: Any, over: OverPacks[LfpPackCoordinator], **unit: Any) -> None:
        """See `LfpCoordinator`."""
        self.over = over
        super().__init__(*args, **unit)

    @property
    def packs(self) -> Mapping[int, LfpPackCoordinator]:
        """By their addresses."""
        return self.over.packs

    @property
    def unasked(self) -> frozenset[int]:
        """Addresses of packs whose devices are disabled."""
        return self.over.unasked

    @property
    def derivable(self) -> frozenset[str]:
        """Names of the fields that can be worked out; none with fewer than two packs, as one is its own bank."""
        return self.over.derivable

    @property
    def figures(self) -> BankFigures:
        """As they were last worked out."""
        return self.over.figures

    @property
    def speaks(self) -> bool:
        """Whether the bank ever said anything of itself."""
        return bool(self.record.fields)

    @property
    @override
    def fields(self) -> frozenset[str]:
        """See `LfpCoordinator`; what the bank never says itself may be worked out of its packs."""
        return self.record.fields | self.derivable

    @property
    @override
    def online(self) -> bool:
        """See `LfpCoordinator`; what is worked out is there once it is known which packs answer, while any does."""
        return self.replies or (self.link_up and self.over.known)

    @override
    @callback
    def async_renew(self) -> None:
        """Work out the figures anew and tell the entities."""
        self.over.look(self.record.fields)
        if not self._reading:
            # what it said before it fell silent is not shown beside what its packs say now
            own = self.data.state if self.replies or not self.packs_online else None
            if (new := self.over.work_out(own, self.record.fields)) is not None and not self.speaks:
                self.revision += 1
                self._count_figures(new)
        self.async_update_listeners()

    def _count_figures(self, new: BankFigures) -> None:
        """Count what its packs come to as an answer of a bank that gives none."""
        mean = self._mean_current(self.clock.monotonic(), new.state.current)
        if new.complete and not new.left_out:  # a bank is full when all its packs are
            self.upkeep.observe(self.clock.utc(), new.state, mean)

    @override
    @callback
    def async_link_changed(self, error: Exception | None) -> None:
        """See `LfpCoordinator`."""
        self.over.upset()
        super().async_link_changed(error)

    @callback
    def async_begin_energy(self, *, round_finished: bool) -> None:
        """Begin its energy with what its packs have, as soon as all that are asked have something.

        After some rounds it begins without those that are silent; what they have by then is never added.
        """
        if self._says_energy or "power" not in self.derivable or self.has_total:
            return
        self._rounds_without_total += round_finished
        have = [pack.has_total for address, pack in self.packs.items() if address not in self.unasked]
        if any(have) and (all(have) or self._rounds_without_total >= _ROUNDS_FOR_TOTALS):
            self.account.add(counting.all_in(pack.account for pack in self.packs.values()))

    @property
    def _says_energy(self) -> bool:
        """Whether its energy is counted by what the bank says itself; else it is that of its packs."""
        return not _POWER_AND_COUNTERS.isdisjoint(self.record.fields)

    @callback
    def async_energy_added(self, added: Added) -> None:
        """Something came to the account of a pack; from when the bank has begun with what they all had."""
        if not self._says_energy and self.has_total:
            self.account.add(added)

    @override
    def _count_energy(self, reading: Reading) -> None:
        if self._says_energy:
            super()._count_energy(reading)

    @property
    @override
    def _packs(self) -> int:
        return self.modules or counting.most_packs(self.settings)

    @property
    def heard(self) -> bool:
        """Whether the link is up and, where nobody is asked on a line, whether anything is still said there."""
        if not self.settings.observe:
            return self.link_up
        return self.link_up and (self.online or self.packs_online > 0)

    @property
    def model(self) -> str | None:
        """As it says itself, else as all its packs say that do."""
        own = described(self.record, self.settings)["model"]
        return own or shared(described(pack.record, self.settings)["model"] for pack in self.packs.values())

    @property
    def packs_online(self) -> int:
        """How many packs answer."""
        return self.over.online

    @property
    def modules(self) -> int | None:
        """How many packs the bank speaks for: as it says itself, as the person counted them, or as far as they answer."""
        return self.state.modules or self.settings.packs or self.state.modules_online

    @property
    @override
    def state(self) -> BankState:
        """See `LfpCoordinator`."""
        return self.figures.state

    @property
    @override
    def identity(self) -> str:
        """See `LfpCoordinator`."""
        return self.config_entry.entry_id

    @property
    @override
    def device_info(self) -> dr.DeviceInfo:
        """What the bank says of itself, else what all its packs share."""
        packs = [described(pack.record, self.settings) for pack in self.packs.values()]
        own = described(self.record, self.settings)
        return dr.DeviceInfo(
            identifiers={(DOMAIN, self.identity)},
            name=self.config_entry.title,
            manufacturer=own["manufacturer"] or shared(pack["manufacturer"] for pack in packs),
            model=self.model,
            sw_version=self.record.firmware,
            hw_version=self.record.hardware,
            serial_number=self.record.identifier,
        )

    @override
    async def async_read(self) -> None:
        """See `LfpCoordinator`; what is worked out is as new as its packs."""
        await self.client.read_bank()
        if not self.speaks:
            asked = [pack for address, pack in self.packs.items() if address not in self.unasked]
            self._reading += 1
            try:
                await asyncio.gather(*(pack.async_read() for pack in asked))
                if not self.settings.observe and not on_can(self.config_entry.data):
                    self.over.all_asked()
            finally:
                self._reading -= 1
                self.async_renew()
