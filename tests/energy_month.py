"""Energy accounts over days of a simulated bank: lost readings, restarts, and what truly flowed beside them.

`run` makes readings of the simulated packs at a client's pace, fast enough for a month; `over_the_line` has a real client
read them over the simulated line. Figures are of the worst pack and direction.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
import gc
import json
import random
import sys
import tracemalloc
from typing import Final, override

from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.energy import Added, EnergyAccount, Reading
from custom_components.lfp_battery.bms.errors import LinkError
from custom_components.lfp_battery.bms.model import CycleReport, PackState, PollReport, power_of
from custom_components.lfp_battery.bms.protocols import POLLED
from tests.bms.rig import Told
from tests.simulator.bank import DayProfile, Demand, Profile, SimBank
from tests.simulator.bus import Bus
from tests.simulator.faults import Fault, Faults, Kind
from tests.simulator.pack import SimPack
from tests.simulator.pylon import PylonSpeaker

_DAY: Final = 86400.0
_HOUR: Final = 3600.0
_EPOCH: Final = datetime(2026, 3, 1, tzinfo=UTC)
_LONGEST_GAP: Final = 60.0
_MOST_POWER: Final = 10_000.0
_ROUND: Final = 10.0  # s, the shortest interval of a client that asks
_FIRST_ROUND: Final = 18.7  # s that 14 packs take which are read for the first time (scripts/bench)
_RESTART: Final = 20.0
_FLAT: Final = 50_000  # bytes, as parts of the interpreter's own come and go
_TRIFLE: Final = 0.001  # kWh, below which a difference is no error


class Household:
    """A day of sun and guests, and appliances that are switched on and off at once."""

    def __init__(self) -> None:
        """The same days each time."""
        self._day = DayProfile()
        self._slot = (-1, 0.0, 0.0)  # number, share of the capacity an hour, until

    def __call__(self, seconds: float) -> Demand:
        """See `Profile`."""
        rate, ambient = self._day(seconds)
        number = int(seconds // 1200)
        if number != self._slot[0]:
            chance = random.Random(number)
            busy = 6 <= seconds % _DAY / _HOUR < 23 and chance.random() < 0.5
            load = chance.uniform(0.01, 0.05) if busy else 0.0
            self._slot = (number, load, number * 1200 + chance.uniform(120, 900))
        return Demand(rate - (self._slot[1] if seconds < self._slot[2] else 0.0), ambient)


@dataclass(slots=True)
class Flow:
    """Energy in both directions, kWh."""

    charged: float = 0.0
    discharged: float = 0.0

    def error(self, truth: Flow) -> float:
        """Of the direction that is further off, as a share of the truth."""
        pairs = ((self.charged, truth.charged), (self.discharged, truth.discharged))
        # packs that share a current exchange a trifle that no reading can show
        return max(abs(ours - true) / max(true, _TRIFLE) for ours, true in pairs)


@dataclass(slots=True)
class Watched:
    """A pack with its account, and what truly flowed through it."""

    pack: SimPack
    step: float = 0.001  # Ah in which its charge is counted
    flicker: random.Random | None = None  # of a count that is not steady
    account: EnergyAccount = field(default_factory=lambda: _account())
    truth: Flow = field(default_factory=Flow)  # since the first reading
    seen: Flow = field(default_factory=Flow)  # as far as no gap was in between
    fell: bool = False
    readings: int = 0
    _up_since: float = 0.0  # where the monotonic clock of this run begins
    _last: tuple[float, float, float] | None = None  # time and the simulator's meters at the last reading
    _restarted: bool = False

    def read(self, when: float) -> Added:
        """A reading as a Pylon pack gives it: mV, 0.1 A, and its charge as fine as it is counted."""
        pack = self.pack
        voltage, current = round(pack.voltage, 3), round(pack.current, 1)
        charge = pack.remaining_capacity + (self.flicker.gauss(0, 0.1) * self.step if self.flicker else 0.0)
        remaining = round(charge / self.step) * self.step
        return self.take(when, power_of(voltage, current), voltage, remaining)

    def take(self, when: float, power: float | None, voltage: float | None, remaining: float | None) -> Added:
        """Let the account have a reading, and note what has truly flowed."""
        meter, account = self.pack.meter, self.account
        if self._last is not None:
            then, charged, discharged = self._last
            seen = not self._restarted and when - then <= _LONGEST_GAP
            for flow in (self.truth, self.seen) if seen else (self.truth,):
                flow.charged += (meter.charged - charged) / 1000
                flow.discharged += (meter.discharged - discharged) / 1000
        self._last = (when, meter.charged, meter.discharged)
        self._restarted = False
        self.readings += 1
        before = (account.charged or 0.0, account.discharged or 0.0)
        reading = Reading(when=when - self._up_since, power=power, voltage=voltage, remaining_capacity=remaining)
        added = account.observe(reading)
        self.fell |= (account.charged or 0.0) < before[0] or (account.discharged or 0.0) < before[1]
        return added

    def restart(self, ended: float, began: float) -> None:
        """Home Assistant ends and begins again, with a monotonic clock that knows nothing of the last one."""
        self.account, self._up_since = restarted(self.account, ended - self._up_since, ended, began), began - 5.0
        self._restarted = True


def _account() -> EnergyAccount:
    return EnergyAccount(longest_gap=_LONGEST_GAP, most_power=_MOST_POWER)


def restarted(account: EnergyAccount, monotonic: float, ended: float, began: float) -> EnergyAccount:
    """The account of the next run, whose clock stands at 5 s, out of what is kept as JSON."""
    kept = json.loads(json.dumps(account.as_mapping(monotonic, _EPOCH + timedelta(seconds=ended))))
    fresh = EnergyAccount(longest_gap=account.longest_gap, most_power=account.most_power)
    fresh.restore(kept, 5.0, _EPOCH + timedelta(seconds=began))
    return fresh


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to; errors as shares."""

    days: float
    packs: int
    readings: int
    lost: int  # answers that were damaged
    restarts: int
    true: Flow  # kWh of all packs
    observed: float  # error over the time between readings, of the worst pack and direction
    total: float  # error of the totals
    bank: float  # error of the bank's totals, out of what its packs add
    sums: float  # kWh between the bank's totals and those of its packs
    fell: bool  # a total did
    unobserved: float  # s of all packs
    grown: int | None = None  # bytes in use after the run more than after its first part; None: not traced
    blocks: int | None = None  # of memory, likewise; None: not counted

    @property
    def kept(self) -> bool:
        """Whether the bounds of issue 6 are kept."""
        flat = (self.grown or 0) < _FLAT and (self.blocks or 0) < _FLAT / 100
        return self.observed <= 0.001 and max(self.total, self.bank) <= 0.005 and not self.fell and flat


def _outcome(
    watched: Sequence[Watched],
    bank: EnergyAccount,
    *,
    days: float,
    lost: int,
    restarts: int,
    grown: int | None = None,
    blocks: int | None = None,
) -> Outcome:
    true = Flow(sum(one.truth.charged for one in watched), sum(one.truth.discharged for one in watched))
    ours = Flow(bank.charged or 0.0, bank.discharged or 0.0)
    return Outcome(
        days=days,
        packs=len(watched),
        readings=sum(one.readings for one in watched),
        lost=lost,
        restarts=restarts,
        true=true,
        observed=max(_observed(one.account).error(one.seen) for one in watched),
        total=max(_total(one.account).error(one.truth) for one in watched),
        bank=ours.error(true),
        sums=max(
            abs(ours.charged - sum(one.account.charged or 0.0 for one in watched)),
            abs(ours.discharged - sum(one.account.discharged or 0.0 for one in watched)),
        ),
        fell=any(one.fell for one in watched),
        unobserved=sum(one.account.unobserved for one in watched),
        grown=grown,
        blocks=blocks,
    )


def _total(account: EnergyAccount) -> Flow:
    return Flow(account.charged or 0.0, account.discharged or 0.0)


def _observed(account: EnergyAccount) -> Flow:
    total = _total(account)
    return Flow(total.charged - account.estimated_charged, total.discharged - account.estimated_discharged)


def run(
    days: float,
    packs: int = 14,
    *,
    physics: float = 5.0,
    damaged: float = 0.01,
    restart_every: float = _HOUR,
    away: float = _RESTART,
    step: float = 0.001,
    flickers: bool = False,
    profile: Profile | None = None,
    trace: bool = False,
) -> Outcome:
    """Packs read in turn every ten seconds, on readings made of them.

    `physics`: s in which the simulator moves. `away`: s that a restart takes. `step`: Ah in which charge is counted;
    `flickers` lets the count be unsteady by a tenth of that. `trace`: also count the bytes of memory in use, which is slow.
    """
    clock, chance = DrivenClock(), random.Random(1)
    bank = SimBank(packs, clock, profile=profile or Household())
    watched = [
        Watched(pack, step, random.Random(number) if flickers else None)
        for number, pack in enumerate(bank.packs.values())
    ]
    whole, up_since = _account(), 0.0
    turns = max(round(_ROUND / physics), 1)
    first = _FIRST_ROUND * packs / 14
    now, back, restarts, lost = 0.0, 0.0, 0, 0
    used: list[tuple[int, int]] = []
    if trace:
        tracemalloc.start()
    total = round(days * _DAY / physics)
    for number in range(1, total + 1):
        bank.step(physics)
        now = number * physics
        if restart_every and now % restart_every < physics:
            restarts += 1
            back = now + away
            for one in watched:
                one.restart(now, back)
            whole, up_since = restarted(whole, now - up_since, now, back), back - 5.0
        for place, one in enumerate(watched):
            if place % turns != number % turns or now < back + first * (place + 1) / packs:
                continue
            if chance.random() < damaged:
                lost += 1
                continue
            whole.add(one.read(now))
        if number in (total // 10, total):
            gc.collect()
            used.append((tracemalloc.get_traced_memory()[0] if trace else 0, sys.getallocatedblocks()))
    if trace:
        tracemalloc.stop()
    grown, blocks = (late - early for early, late in zip(*used, strict=True))
    return _outcome(
        watched, whole, days=days, lost=lost, restarts=restarts, grown=grown if trace else None, blocks=blocks
    )


class _Counting(Told):
    """Hands what the client tells to the accounts, and forgets it."""

    def __init__(self, clock: DrivenClock, bank: SimBank) -> None:
        super().__init__(clock)
        self.watched = {address: Watched(pack) for address, pack in bank.packs.items()}
        self.whole = _account()
        self.silent = 0
        self._heard: dict[int, float] = {}

    @override
    def pack_polled(self, report: PollReport[PackState]) -> None:
        """See `ClientListener`."""
        if report.state is None or report.received is None or self._heard.get(report.address) == report.received:
            return
        self._heard[report.address] = report.received
        state, held = report.state, report.held_back
        one = self.watched[report.address]
        self.whole.add(
            one.take(
                report.received,
                None if "power" in held else state.power,
                None if "voltage" in held else state.voltage,
                None if "remaining_capacity" in held else state.remaining_capacity,
            )
        )

    @override
    def cycle_finished(self, report: CycleReport) -> None:
        """See `ClientListener`."""
        self.silent += len(report.silent)

    @override
    def link_changed(self, error: LinkError | None) -> None:
        """See `ClientListener`."""


async def over_the_line(hours: float, packs: int = 14, *, damaged: float = 0.01) -> Outcome:
    """A client on the simulated line reads every pack, a restart every hour, one bit wrong in some answers."""
    clock = DrivenClock()
    bank = SimBank(packs, clock, profile=Household())
    faults = Faults(Fault(kind=Kind.FLIP_FRAME, probability=damaged))
    bus = Bus(PylonSpeaker(bank), clock, baudrate=9600, faults=faults)
    told, restarts, left = _Counting(clock, bank), 0, hours * _HOUR
    while left > 0:
        client = PolledClient(
            bus.open_line(9600), POLLED["pylon-rs485"], clock=clock, listener=told, addresses=list(bank.packs)
        )
        task = asyncio.create_task(client.run())
        await clock.advance(min(left, _HOUR - _RESTART))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if (left := left - _HOUR) > 0:
            restarts += 1
            for one in told.watched.values():
                one.restart(clock.monotonic(), clock.monotonic() + _RESTART)
            await clock.advance(_RESTART)
    lost = faults.struck[Kind.FLIP_FRAME]
    return _outcome(list(told.watched.values()), told.whole, days=hours / 24, lost=lost, restarts=restarts)
