"""Energy against what truly flowed, whatever is lost, restarted, set right or told wrong; hypothesis chooses the troubles."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
import json
import math
import random
from typing import Any

from hypothesis import given, settings, strategies as st
import pytest

from custom_components.lfp_battery.bms.energy import EnergyAccount, Reading
from tests.energy_accounts import NOON

_VOLTS = 52.0
_MOST = 16_000.0  # W
_PACE = 10.0  # s
_READINGS = 500
# kWh that a change of power between two readings comes to, if all of a run go the same way
_SLACK = 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What goes wrong, and how fine the battery counts."""

    seed: int
    step: float | None = None  # Ah of the count of charge; None: it has none
    charged: float | None = None  # kWh of the counters
    discharged: float | None = None
    lost: float = 0.0  # share of readings that lack the power; half as many each the other values
    away: float = 0.0  # share of readings before which there was nothing for a while, half of these over a restart
    set_right: float = 0.0  # share of readings at which the count of charge jumps by 8 to 40 Ah
    wrong: float = 0.0  # share of readings in which one counter or the count is wrong once
    silent: bool = False  # the counters are not told for a third of the time


@dataclass(slots=True)
class Home:
    """A battery and the account of it."""

    trouble: Trouble
    chance: random.Random
    account: EnergyAccount = field(default_factory=lambda: EnergyAccount(longest_gap=60.0, most_power=_MOST))
    now: float = 0.0
    up_since: float = 0.0
    power: float = 0.0
    charge: float = 60.0  # Ah
    off: float = 0.0  # Ah that the count differs from it
    settled: int = 0  # readings since a gap or a wrong one
    true: list[float] = field(default_factory=lambda: [1000.0, 1000.0])  # kWh

    def flow(self, busy: float) -> None:
        """Ten seconds."""
        if self.chance.random() < busy:
            self.power = self.chance.choice([0, 0, 300, -300, 2000, -2500, 4000, -4000])
        if not 5 <= self.charge <= 95:
            self.power = math.copysign(self.power, 50 - self.charge)
        self.true[self.power < 0] += abs(self.power) * _PACE / 3.6e6
        self.charge += self.power * _PACE / 3600 / _VOLTS
        self.now += _PACE

    def meets(self, share: float) -> bool:
        """Whether a trouble comes now; not right after another, as nobody could tell the two apart."""
        if self.settled < 5 or self.chance.random() >= share:
            return False
        self.settled = 0
        return True

    def live(self) -> None:
        """Until the next reading."""
        self.flow(0.05)
        self.settled += 1
        if not self.meets(self.trouble.away):
            return
        restarts = self.chance.random() < 0.5
        kept = json.dumps(self.account.as_mapping(self.now - self.up_since, NOON + timedelta(seconds=self.now)))
        for _ in range(self.chance.choice([3, 12, 60, 360])):
            self.flow(0.02)
        if restarts:
            self.up_since = self.now - 5.0
            self.account = EnergyAccount(longest_gap=60.0, most_power=_MOST)
            self.account.restore(json.loads(kept), 5.0, NOON + timedelta(seconds=self.now))
            self.account.observe(self.reading(whole=True))
            self.flow(0.0)

    def reading(self, *, whole: bool = False) -> Reading:
        """What the battery says; `whole`: nothing is lost."""
        trouble, chance = self.trouble, self.chance
        lost = 0.0 if whole else trouble.lost
        counters = [
            None if step is None or chance.random() < lost / 2 else math.floor(true / step + 1e-9) * step
            for step, true in zip((trouble.charged, trouble.discharged), self.true, strict=True)
        ]
        remaining = None
        if trouble.step is not None and chance.random() >= lost / 2:
            remaining = round((self.charge + self.off) / trouble.step) * trouble.step
        return Reading(
            when=self.now - self.up_since,
            power=None if chance.random() < lost else self.power,
            voltage=None if chance.random() < lost / 4 else _VOLTS,
            remaining_capacity=remaining,
            charged=counters[0],
            discharged=counters[1],
        )

    def spoiled(self, reading: Reading) -> Reading:
        """The same with one value that is far off."""
        name = self.chance.choice(["charged", "discharged", "remaining_capacity"])
        value: float | None = getattr(reading, name)
        if value is None:
            return reading
        wrong: dict[str, Any] = {name: self.chance.choice([0.0, value + self.chance.uniform(8, 500), 60000.0])}
        return replace(reading, **wrong)


def lived(trouble: Trouble) -> tuple[float, float, float]:
    """How much more than the truth the totals are, kWh, and how much was unobserved."""
    home = Home(trouble, random.Random(trouble.seed))
    home.account.observe(home.reading(whole=True))
    begun = (home.account.charged or 0.0, home.account.discharged or 0.0)
    first = tuple(home.true)
    for number in range(_READINGS):
        home.live()
        if home.meets(trouble.set_right):
            home.off += home.chance.choice([-1, 1]) * home.chance.uniform(8, 40) - home.off / 2
        reading = home.reading(whole=number == _READINGS - 1)
        if trouble.silent and _READINGS / 3 < number < _READINGS * 2 / 3:
            reading = replace(reading, charged=None, discharged=None)
        if number < _READINGS - 1 and home.meets(trouble.wrong):
            reading = home.spoiled(reading)
        before = (home.account.charged or 0.0, home.account.discharged or 0.0)
        added = home.account.observe(reading)
        after = (home.account.charged or 0.0, home.account.discharged or 0.0)
        assert after >= before
        assert after == pytest.approx((before[0] + added.charged, before[1] + added.discharged))
    more = [
        total - start - (true - sooner)
        for total, start, true, sooner in zip(after, begun, home.true, first, strict=True)
    ]
    return more[0], more[1], home.account.unobserved


_SEED = st.integers(0, 10**6)
_STEP = st.sampled_from([0.001, 0.01, 0.1, 1.0])
_COUNTER = st.sampled_from([0.001, 0.1, 1.0])
_SOME = st.floats(0.0, 0.05)


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        Trouble,
        seed=_SEED,
        step=_STEP,
        lost=st.floats(0.0, 0.2),
        away=_SOME,
        set_right=st.floats(0.0, 0.02),
        wrong=st.floats(0.0, 0.02),
    )
)
def test_by_power_and_charge_nothing_is_invented_and_nothing_lost_in_silence(trouble: Trouble) -> None:
    """Neither total is more than the truth, and their difference is right unless seconds are said to be unobserved."""
    charged, discharged, unobserved = lived(trouble)
    assert max(charged, discharged) < _SLACK
    if not unobserved:
        assert abs(charged - discharged) < _SLACK


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        Trouble,
        seed=_SEED,
        step=st.none() | _STEP,
        charged=_COUNTER,
        discharged=_COUNTER,
        lost=st.floats(0.0, 0.2),
        away=_SOME,
        set_right=st.floats(0.0, 0.02),
        wrong=st.floats(0.0, 0.02),
        silent=st.booleans(),
    )
)
def test_where_the_battery_counts_both_directions_come_home(trouble: Trouble) -> None:
    """Within a step of the counters, however often these were wrong, and though they were not told for a long time."""
    charged, discharged, _ = lived(trouble)
    assert abs(charged) < _SLACK + (trouble.charged or 0.0)
    assert abs(discharged) < _SLACK + (trouble.discharged or 0.0)


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        Trouble,
        seed=_SEED,
        step=_STEP,
        discharged=_COUNTER,
        lost=st.floats(0.0, 0.2),
        away=_SOME,
        set_right=st.floats(0.0, 0.02),
        wrong=st.floats(0.0, 0.02),
    )
)
def test_where_one_direction_is_counted_the_other_is_not_invented(trouble: Trouble) -> None:
    """The counted one is within a step of its counter."""
    charged, discharged, unobserved = lived(trouble)
    assert charged < _SLACK
    assert abs(discharged) < _SLACK + (trouble.discharged or 0.0)
    if not unobserved and not trouble.away:
        assert charged > -_SLACK
