"""What the home knows of one unit, be it a pack or the bank: its reports, and what grows out of them over time.

Nothing here reads on a timer: the client decides when to read, and a refresh asks it to read that unit next.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from . import counting
from .bms.clients.base import BatteryClient
from .bms.clients.polled import SHORTEST_INTERVAL
from .bms.clock import Clock
from .bms.energy import Reading
from .bms.errors import LinkError
from .bms.model import BatteryState, Identity, PollReport
from .const import LOGGER
from .estimate import Smoothed
from .identity import Record
from .link_texts import link_problem
from .memory import mapping
from .settings import Settings
from .settling import past_adding, turn_missed


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


def new_report[StateT: BatteryState](address: int, state: StateT | None = None) -> PollReport[StateT]:
    """What is known of a unit that was never heard."""
    return PollReport(address=address, state=state, identity=Identity())
