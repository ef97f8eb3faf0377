"""One coordinator a pack and one for the bank, fed by the client as it hears.

Nothing here reads on a timer: the client decides when to read, and a refresh asks it to read that pack next.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypedDict, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_DEVICE
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from . import radio
from .bms import bank
from .bms.bank import BankFigures, Member
from .bms.clients.base import BatteryClient
from .bms.clients.polled import SHORTEST_INTERVAL
from .bms.clock import Clock
from .bms.energy import EnergyMeter
from .bms.errors import LinkError
from .bms.model import BankState, BatteryState, Identity, PackState, PollReport
from .const import DOMAIN, LOGGER
from .estimate import Smoothed
from .findings import on_can
from .identity import Record
from .link_texts import link_problem
from .pause import Pause
from .settings import Settings

# Energy is not guessed over a longer hole in the readings than this many seconds: six cycles of the automatic interval.
_LONGEST_GAP = 60.0
# ... nor over more than three rounds where these take longer (an inverter's that is listened to), up to this many.
_LONGEST_GAP_EVER = 300.0
# What an answer may come later than half a cycle after its turn, in seconds, before the turn counts as missed.
_LATE = 2.0

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
        self.meter = EnergyMeter(longest_gap=max(_LONGEST_GAP, 3 * (settings.interval or 0)))
        self.smoothed_current = Smoothed()
        self.revision = 0  # counts answers, so that each is written once
        self.cycle_seconds = 0.0  # what the last round over all units took
        self.silent = False  # said so in the log
        self.answering = False  # as the client said last, also when a lost link or a disabled device hides it
        self.created: set[tuple[str, str]] = set()  # entities that exist, by platform and key

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
    def age(self) -> float | None:
        """Seconds since the last answer."""
        return None if self.data.received is None else self.clock.monotonic() - self.data.received

    @property
    def fresh(self) -> bool:
        """Whether no turn was missed since the last answer."""
        cycle = max(self.settings.interval or SHORTEST_INTERVAL, self.cycle_seconds)
        return self.age is not None and self.age <= 1.5 * cycle + _LATE

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
        slow = min(3 * seconds, _LONGEST_GAP_EVER)
        self.meter.longest_gap = max(_LONGEST_GAP, 3 * (self.settings.interval or 0), slow)

    @callback
    def async_publish(self, report: PollReport[StateT]) -> bool:
        """Take in a report and tell the entities; whether something was reported that never was before."""
        self.answering = report.online
        report = replace(report, online=self.is_back(report))
        if self.settings.invert_current and report.state is not None:
            report = replace(report, state=inverted(report.state))
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
        """Add to the sums over time; a value that only stands in for one that was held back counts for nothing."""
        if (state := report.state) is None:
            return
        if "power" not in report.held_back:
            self.meter.observe(received, state.power)  # also None: a stretch that nobody knows is not bridged
        if "current" not in report.held_back and state.current is not None:
            self.smoothed_current.observe(received, state.current)

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
            **_described(self.record, self.settings, model=self.bank.model),
        )

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
    packs: Mapping[int, LfpPackCoordinator]
    unasked: frozenset[int] = frozenset()  # addresses of packs whose devices are disabled
    figures = BankFigures(state=BankState())  # as they were last worked out
    _answers = 0  # of all packs, as far as the figures hold them

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
    def derivable(self) -> frozenset[str]:
        """Names of the fields that can be worked out; none with fewer than two packs, as one is its own bank."""
        try:
            return bank.derivable([pack.record.fields for pack in self.packs.values()]) - self.record.fields
        except NotImplementedError:
            return frozenset()

    @property
    def members(self) -> tuple[Member, ...]:
        """The packs that are known, in the order of their addresses."""
        return tuple(
            Member(
                number=pack.number,
                state=pack.data.state,
                online=pack.online,
                asked=address not in self.unasked,
                capacity=self.settings.capacity,
            )
            for address, pack in sorted(self.packs.items())
        )

    @property
    @override
    def online(self) -> bool:
        """See `LfpCoordinator`; what is worked out is present as long as any pack is."""
        return self.replies or (self.link_up and bool(self.derivable) and self.packs_online > 0)

    @override
    @callback
    def async_renew(self) -> None:
        """Work out the figures anew and tell the entities."""
        members = self.members if self.derivable else ()
        # what it said before it fell silent is not shown beside what its packs say now
        own = self.data.state if self.replies or not self.packs_online else None
        try:
            self.figures = bank.figures(members, own, self.record.fields)
        except NotImplementedError:
            self.figures = BankFigures(state=self.data.state or BankState())
        if not self.speaks and (answers := sum(pack.revision for pack in self.packs.values())) != self._answers:
            self._answers = answers
            self.revision += 1
        self.async_update_listeners()

    @property
    def heard(self) -> bool:
        """Whether the link is up and, where nobody is asked on a line, whether anything is still said there."""
        if not self.settings.observe:
            return self.link_up
        return self.link_up and (self.online or self.packs_online > 0)

    @property
    def model(self) -> str | None:
        """As it says itself, else as all its packs say that do."""
        own = _described(self.record, self.settings)["model"]
        return own or _shared(_described(pack.record, self.settings)["model"] for pack in self.packs.values())

    @property
    def packs_online(self) -> int:
        """How many packs answer."""
        return sum(pack.online for pack in self.packs.values())

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
        packs = [_described(pack.record, self.settings) for pack in self.packs.values()]
        own = _described(self.record, self.settings)
        return dr.DeviceInfo(
            identifiers={(DOMAIN, self.identity)},
            name=self.config_entry.title,
            manufacturer=own["manufacturer"] or _shared(pack["manufacturer"] for pack in packs),
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
            await asyncio.gather(*(pack.async_read() for pack in asked))
            self.async_renew()


class _Described(TypedDict):
    manufacturer: str | None
    model: str | None
    model_id: str | None
    sw_version: str | None
    hw_version: str | None


def _described(record: Record, settings: Settings, *, model: str | None = None) -> _Described:
    """What a pack says of itself goes before what was chosen from the catalog, except for the name people know.

    `model`: where it does not say its own.
    """
    return {
        "manufacturer": settings.manufacturer or record.manufacturer,
        "model": settings.model or record.model or model,
        "model_id": record.model if settings.model else None,
        "sw_version": record.firmware,
        "hw_version": record.hardware,
    }


def _shared(values: Iterable[str | None]) -> str | None:
    """The one value that all have, as far as they give any: some are answered by a master only."""
    different = set(values) - {None}
    return different.pop() if len(different) == 1 else None


def inverted[StateT: BatteryState](state: StateT) -> StateT:
    """The state as it would be with the current sensor the other way round."""
    return replace(
        state,
        current=None if state.current is None else 0.0 - state.current,  # a minus alone makes nought negative
        power=None if state.power is None else 0.0 - state.power,
        energy_charged=state.energy_discharged,
        energy_discharged=state.energy_charged,
    )


def new_report[StateT: BatteryState](address: int, state: StateT | None = None) -> PollReport[StateT]:
    """What is known of a unit that was never heard."""
    return PollReport(address=address, state=state, identity=Identity())
