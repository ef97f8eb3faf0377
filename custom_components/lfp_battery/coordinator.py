"""One coordinator a pack and one for the bank, fed by the client as it hears.

Nothing here reads on a timer: the client decides when to read, and a refresh asks it to read that pack next.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_DEVICE
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from . import counting, radio
from .bms.bank import BankFigures
from .bms.clients.base import BatteryClient
from .bms.clients.polled import SHORTEST_INTERVAL
from .bms.clock import Clock
from .bms.energy import Added, Reading
from .bms.errors import LinkError
from .bms.model import BankState, BatteryState, Identity, PackState, PollReport
from .const import DOMAIN, LOGGER
from .device_texts import described, shared
from .estimate import Smoothed
from .findings import on_can
from .identity import Record
from .link_texts import link_problem
from .memory import mapping
from .over_packs import OverPacks
from .pause import Pause
from .settings import Settings
from .settling import past_adding, turn_missed

# What energy is counted by.
_POWER_AND_COUNTERS = frozenset({"power", "energy_charged", "energy_discharged"})
# A known pack is given so many rounds to say what its totals are, before those of the bank begin without it.
_ROUNDS_FOR_TOTALS = 3

type LfpUnit = LfpPackCoordinator | LfpBankCoordinator


class LfpCoordinator[StateT: BatteryState](DataUpdateCoordinator[PollReport[StateT]]):
    """What the home knows of one unit: a pack, or the bank as it speaks for itself."""

    config_entry: ConfigEntry[Any]

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        client: BatteryClient,
        *,
        name: str,
        report: PollReport[StateT],
        record: Record,
        settings: Settings,
        conditions: frozenset[str],
        clock: Clock,
    ) -> None:
        """`report` and `record` are what is known before anything was read; `conditions` can be reported at all."""
        super().__init__(hass, LOGGER, config_entry=entry, name=name, always_update=False)
        self.data = report
        self.record = record
        self.settings = settings
        self._conditions = conditions
        self.clock = clock
        self.client = client
        self.account, self.upkeep = counting.begin(settings)
        self.smoothed_current = Smoothed()
        self.revision = 0  # counts answers, so that each is written once
        self.cycle_seconds = 0.0  # what the last round over all units took
        self.silent = False  # said so in the log
        self.answering = False  # as the client said last, also when a lost link or a disabled device hides it
        self.created: set[tuple[str, str]] = set()  # entities that exist, by platform and key
        self._bound_energy()

    @property
    def identity(self) -> str:
        """What device and entities are known by in the registries."""
        raise NotImplementedError

    @property
    def device_info(self) -> dr.DeviceInfo:
        """The device as the registry should have it."""
        raise NotImplementedError

    @property
    def state(self) -> StateT:
        """The last state received; one in which nothing is known when there was none."""
        raise NotImplementedError

    @property
    def fields(self) -> frozenset[str]:
        """Names of the model fields that this unit can show: what it ever reported."""
        return self.record.fields

    @property
    def conditions(self) -> frozenset[str]:
        """What can be reported of this unit: what the protocol declares, and whatever was seen all the same."""
        return self._conditions | self.record.conditions

    @property
    def replies(self) -> bool:
        """Whether the unit answers for itself."""
        return self.last_update_success and self.data.online

    @property
    def online(self) -> bool:
        """Whether the values may be shown as present."""
        return self.replies

    @property
    def _packs(self) -> int:
        """How many packs this unit may stand for."""
        return 1

    @property
    def has_total(self) -> bool:
        """Whether its energy was ever counted."""
        return self.account.charged is not None or self.account.discharged is not None

    @property
    def age(self) -> float | None:
        """Seconds since the last answer."""
        return None if self.data.received is None else self.clock.monotonic() - self.data.received

    @property
    def fresh(self) -> bool:
        """Whether no turn was missed since the last answer."""
        return self.age is not None and self.age <= turn_missed(self._cycle)

    @property
    def current(self) -> bool:
        """Whether its last answer may be added up with those of others."""
        return self.age is not None and self.age <= past_adding(self._cycle)

    @property
    def _cycle(self) -> float:
        """Seconds from one turn to the next."""
        return max(self.settings.interval or SHORTEST_INTERVAL, self.cycle_seconds)

    @property
    def controls_heating(self) -> bool:
        """Whether Home Assistant may switch the heating of this unit, and knows how it is set."""
        return False

    def is_back(self, report: PollReport[StateT]) -> bool:
        """Whether a report makes or leaves the unit present: after a loss only what was received since then does."""
        return report.online and (self.replies or report.received != self.data.received)

    @callback
    def async_cycle_finished(self, seconds: float) -> None:
        """A round over all units took so long: energy is counted at that pace."""
        self.cycle_seconds = seconds
        self._bound_energy()

    def _bound_energy(self) -> None:
        """What is believed of energy follows what is known of the unit, and the pace at which it is read."""
        self.account.longest_gap = counting.longest_gap(self.settings, self.cycle_seconds)
        self.account.most_power = counting.most_power(self.settings, self.record.cells, self._packs)

    @callback
    def async_publish(self, report: PollReport[StateT]) -> bool:
        """Take in a report and tell the entities; whether something was reported that never was before."""
        self.answering = report.online
        report = replace(report, online=self.is_back(report))
        if self.settings.invert_current and report.state is not None:
            report = replace(report, state=counting.inverted(report.state))
        before, self.record = self.record, self.record.learned(report.state, report.identity)
        if report.received is not None and report.received != self.data.received:
            self.revision += 1
            if report.online:
                self._count(report, report.received)
        self.data = report
        self.last_update_success = True
        self.last_exception = None
        self.async_renew()
        return self.record != before

    def _count(self, report: PollReport[StateT], received: float) -> None:
        """Add to what grows over time; a value that only stands in for one that was held back counts for nothing."""
        if report.state is None:
            return
        state = counting.without(report.state, report.held_back)
        self.upkeep.observe(self.clock.utc(), state, self._mean_current(received, state.current))
        self._count_energy(counting.reading(received, state))

    def _mean_current(self, when: float, current: float | None) -> float | None:
        """The mean with this current; none while no current is told, however long the last one stood."""
        if current is None:
            return None
        self.smoothed_current.observe(when, current)
        return self.smoothed_current.value

    def _count_energy(self, reading: Reading) -> None:
        self.account.observe(reading)

    def remembered(self) -> dict[str, Any]:
        """What has to outlive a restart, by section."""
        energy = self.account.as_mapping(self.clock.monotonic(), self.clock.utc())
        return {"energy": energy, "upkeep": self.upkeep.as_mapping()}

    def restore(self, remembered: Mapping[str, Any]) -> None:
        """Go on from what was remembered, as far as it can be read."""
        if energy := mapping(remembered.get("energy")):
            energy = counting.still_counted(energy, self.record.fields)
            self.account.restore(energy, self.clock.monotonic(), self.clock.utc())
        if upkeep := mapping(remembered.get("upkeep")):
            self.upkeep.restore(upkeep)

    @callback
    def async_link_changed(self, error: Exception | None) -> None:
        """The link went away, or is back and this unit has yet to answer; logged once for the link, not here."""
        self.data = replace(self.data, online=False)
        self.last_update_success = error is None
        self.last_exception = error
        self.async_renew()

    @callback
    def async_renew(self) -> None:
        """Tell the entities that there may be something new."""
        self.async_update_listeners()

    @override
    async def async_request_refresh(self) -> None:
        """Read this unit next.

        No cooldown and no lock: the client makes one reading of whatever is asked for at the same time.
        """
        await self._async_refresh(log_failures=True)

    @override
    async def _async_update_data(self) -> PollReport[StateT]:
        try:
            await self.async_read()
        except LinkError as err:
            raise UpdateFailed(**link_problem(self.hass, self.config_entry, err)) from err
        # the client has told the listener already; what it returns has not been through `async_publish`
        return self.data

    async def async_read(self) -> None:
        """Have the client read this unit next; what comes of it is told to the listener."""
        raise NotImplementedError


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


def new_report[StateT: BatteryState](address: int, state: StateT | None = None) -> PollReport[StateT]:
    """What is known of a unit that was never heard."""
    return PollReport(address=address, state=state, identity=Identity())
