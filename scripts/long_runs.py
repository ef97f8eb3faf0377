"""A day of a whole Home Assistant with a bank: what it writes, what it costs, and what restarts leave of it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
import sys
import time
from typing import Any, Final

from homeassistant.core import HomeAssistant, callback

from custom_components.lfp_battery import entity as our_entity
from custom_components.lfp_battery.const import DOMAIN
from tests.simulator.bank import Profile
from tests.simulator.faults import Fault, Faults, Kind

from .inner_home import ENTRY, InnerHome, devices, entities, kinds
from .recorder_figures import Rows, Size, falls, state_rows
from .simulated_time import SimulatedTime
from .stopwatch import Stopwatch, Writes

HOUR: Final = 3600.0
_SAMPLED: Final = (3, 10, 13, 19)  # hours in whose first minutes every write is noted: night, sun, full, evening
_SAMPLE: Final = 600.0  # s
_START: Final = 120.0  # s before what is measured, in which Home Assistant starts
_DAY: Final = 86400.0
_LAG: Final = 15.0  # s by which a total may be behind: a round, and the time until it is written


@dataclass(slots=True, kw_only=True)
class Day:
    """What some hours of Home Assistant came to."""

    watch: Stopwatch
    writes: Writes = field(default_factory=lambda: Writes(kept=False))
    hours: list[int] = field(default_factory=list)
    first: Size | None = None  # before the first of them
    added: Size = field(default_factory=Size)
    rows: dict[str, Rows] = field(default_factory=dict)
    entities: int = 0  # enabled
    disabled: int = 0
    devices: int = 0
    loop: float = 0.0  # s of the event loop's thread, the simulator included
    cpu: float = 0.0  # s of all threads
    samples: list[tuple[Stopwatch, Writes]] = field(default_factory=list)
    bare: list[int] = field(default_factory=list)  # ns of bare calls for what was written in each sample
    complaints: list[str] = field(default_factory=list)

    def add(self, hours: Sequence[int], added: Size, rows: Mapping[str, Rows]) -> None:
        """Take in what was written in hours that follow each other."""
        self.hours.extend(hours)
        self.added = self.added.plus(added)
        for kind, more in rows.items():
            known = self.rows.setdefault(kind, Rows(entities=more.entities))
            known.by_hour.update(more.by_hour)

    def rows_in(self, hours: Sequence[int]) -> int:
        """State rows of all kinds in these hours."""
        return sum(rows.by_hour[hour] for rows in self.rows.values() for hour in hours)


@dataclass(slots=True, kw_only=True)
class Restarts:
    """What some hours came to with a restart after each."""

    count: int
    damaged: int  # answers
    answers: int
    registered: list[int] = field(default_factory=list)  # entities in the registry, after each start
    shown: list[int] = field(default_factory=list)  # of these, with a state
    strangers: int = 0  # entities that were not there after the first start
    fallen: int = 0  # times that an energy total was recorded lower than before
    totals: int = 0  # energy totals that were looked at
    errors: dict[str, float] = field(default_factory=dict)  # of each total against the truth, kWh
    slack: dict[str, float] = field(default_factory=dict)  # kWh by which a total may be behind
    truth: dict[str, float] = field(default_factory=dict)  # kWh
    cpu: float = 0.0
    complaints: list[str] = field(default_factory=list)


@contextmanager
def every_value() -> Iterator[None]:
    """Let entities write whatever they have at every answer, as a plain coordinator's entities do."""

    def always(old: Any, new: Any, change: float) -> bool:
        return True

    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith(f"custom_components.{DOMAIN}") and getattr(module, "differs", None) is our_entity.differs
    ]
    kept = our_entity.differs
    for module in modules:
        vars(module)["differs"] = always
    try:
        yield
    finally:
        for module in modules:
            vars(module)["differs"] = kept


def run_day(
    shared: SimulatedTime,
    directory: Path,
    *,
    packs: int,
    hours: Sequence[int],
    profile: Profile,
    everything: bool = False,
) -> Day:
    """Let a bank be read in these hours of a day; between hours that are not in a row nothing runs but the house."""
    begins = [hour for hour in hours if hour - 1 not in hours]
    shared.now = _begin(begins[0]) - _START
    home = InnerHome(shared, directory, packs=packs, profile=profile, start_hour=(shared.now - _begin(0)) % _DAY / HOUR)
    day = Day(watch=Stopwatch())
    for begin in begins:
        shared.now = _begin(begin) - _START
        in_a_row = list(takewhile(hours.__contains__, count(begin)))

        async def work(hass: HomeAssistant, *, begin: int = begin, in_a_row: list[int] = in_a_row) -> None:
            await _measure(home, hass, in_a_row, day, sampled=not everything)
            if begin == begins[-1]:  # last, because it is recorded as well
                day.bare = [await _again(home, hass, writes) for _, writes in day.samples]

        with every_value() if everything else nullcontext():
            home.run(work)
    day.complaints = home.home.complaints()
    return day


def _begin(hour: int) -> float:
    """When an hour of the day begins, in simulated time: that begins an hour before, so that none is below zero."""
    return (hour + 1) * HOUR


async def _measure(home: InnerHome, hass: HomeAssistant, hours: list[int], day: Day, *, sampled: bool) -> None:
    await home.pass_time(hass, _begin(hours[0]) - home.shared.now)  # what the start wrote does not count
    known = kinds(hass)
    day.entities, day.disabled = len(known), len(entities(hass)) - len(known)
    day.devices = len(devices(hass))
    first = await hass.async_add_executor_job(Size.of, home.database)
    day.first = day.first or first
    cpu, loop = time.process_time(), time.thread_time()
    samples = []
    wanted = [hour for hour in _SAMPLED if hour in hours] or hours[:1]
    with day.watch.running(home.bus.speaker), day.writes.noted(hass, known.keys()):
        for hour in hours:
            left = HOUR
            if sampled and hour in wanted:
                samples.append(await _sample(home, hass, known.keys()))
                left -= _SAMPLE
            await home.pass_time(hass, left)
    day.cpu += time.process_time() - cpu
    day.loop += time.thread_time() - loop
    after = await hass.async_add_executor_job(Size.of, home.database)
    day.add(
        hours,
        after.since(first),
        await hass.async_add_executor_job(state_rows, home.database, known, home.shared.epoch + _begin(0), hours),
    )
    day.samples.extend(samples)


async def _sample(home: InnerHome, hass: HomeAssistant, ours: Collection[str]) -> tuple[Stopwatch, Writes]:
    part, writes = Stopwatch(), Writes()
    with part.running(home.bus.speaker), writes.noted(hass, ours):
        await home.pass_time(hass, _SAMPLE)
    return part, writes


async def _again(home: InnerHome, hass: HomeAssistant, writes: Writes) -> int:
    with home.shared.held():
        taken = writes.again(hass)
    await home.recorded(hass)
    return taken


def run_restarts(
    shared: SimulatedTime,
    directory: Path,
    *,
    packs: int,
    lives: int,
    seconds: float,
    profile: Profile,
    pause: float,
) -> Restarts:
    """Start Home Assistant again and again for `seconds`, `pause` seconds apart, with one answer in 100 damaged."""
    faults = Faults(Fault(kind=Kind.FLIP_FRAME, probability=0.01))
    shared.now = _begin(0)
    home = InnerHome(shared, directory, packs=packs, profile=profile, faults=faults)
    found = Restarts(count=lives, damaged=0, answers=0)
    cpu = time.process_time()
    known: frozenset[str] = frozenset()
    before: dict[str, float] = {}
    begun: dict[str, float] = {}
    shown: dict[str, float] = {}
    for life in range(lives):

        async def work(hass: HomeAssistant, *, first: bool = life == 0, end: float = shared.now + seconds) -> None:
            nonlocal known, before, begun, shown
            await home.pass_time(hass, 60.0)
            ids = frozenset(entry.entity_id for entry in entities(hass))
            if first:
                known, before, begun = ids, _totals(hass), _truth(hass, home)[0]
            found.strangers += len(ids ^ known)
            found.registered.append(len(ids))
            found.shown.append(sum(hass.states.get(entity_id) is not None for entity_id in ids))
            await home.pass_time(hass, end - shared.now)
            shown = _totals(hass)
            truth, found.slack = _truth(hass, home)
            found.truth = {name: truth[name] - begun[name] for name in truth}

        home.run(work)
        shared.now += pause
    found.answers = home.bus.request_count
    found.damaged = sum(faults.struck.values())
    found.totals = len(shown)
    found.fallen = sum(falls(home.database, entity_id) for entity_id in shown)
    found.errors = {name: shown[name] - before.get(name, 0.0) - found.truth[name] for name in shown}
    found.cpu = time.process_time() - cpu
    found.complaints = home.home.complaints()
    return found


def _energy(hass: HomeAssistant) -> dict[str, str]:
    """The energy totals by entity, with their kind."""
    return {
        entity_id: kind
        for entity_id, kind in kinds(hass).items()
        if kind.partition(".")[2] in {"energy_charged", "energy_discharged"}
    }


@callback
def _totals(hass: HomeAssistant) -> dict[str, float]:
    """What the energy totals show, kWh."""
    found = {}
    for entity_id in _energy(hass):
        state = hass.states.get(entity_id)
        assert state is not None
        found[entity_id] = float(state.state)
    return found


@callback
def _truth(hass: HomeAssistant, home: InnerHome) -> tuple[dict[str, float], dict[str, float]]:
    """What really went through the packs, and what goes in the time of `_LAG`, kWh, by the entity that should show it."""
    home.bank.advance()
    link = hass.config_entries.async_get_known_entry(ENTRY).runtime_data
    members = {link.packs[address].identity: [pack] for address, pack in home.bank.packs.items()}
    members[ENTRY] = list(home.bank.packs.values())
    truth, lag = {}, {}
    for entry in entities(hass):
        identity, _, direction = entry.unique_id.rpartition("_energy_")
        if identity in members and direction in {"charged", "discharged"}:
            packs = members[identity]
            truth[entry.entity_id] = sum(getattr(pack.meter, direction) for pack in packs) / 1000
            lag[entry.entity_id] = sum(abs(pack.voltage * pack.current) for pack in packs) * _LAG / 3.6e6
    return truth, lag
