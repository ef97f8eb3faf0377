"""Energy from power, against a brute-force integral."""

from itertools import pairwise
import math

from hypothesis import given, strategies as st
import pytest

from custom_components.lfp_battery.bms.energy import EnergyAccount, Reading

_GAP = 60.0
_MOST = 20_000.0
_POWER = st.one_of(st.none(), st.floats(-20_000, 20_000), st.just(0.0))
_POINTS = st.lists(st.tuples(st.floats(0.001, 90.0), _POWER), max_size=30)


def fed(points: list[tuple[float, float | None]]) -> EnergyAccount:
    """An account that saw these powers at these times, and nothing else."""
    account = EnergyAccount(longest_gap=_GAP, most_power=_MOST)
    for when, power in points:
        account.observe(Reading(when=when, power=power))
    return account


def totals(account: EnergyAccount) -> tuple[float, float]:
    """Charged and discharged, kWh; nothing where nothing was ever known."""
    return account.charged or 0.0, account.discharged or 0.0


def timed(steps: list[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """Intervals turned into times."""
    when = 0.0
    points = []
    for seconds, power in steps:
        when += seconds
        points.append((when, power))
    return points


def test_a_constant_power_is_counted_exactly() -> None:
    """One kilowatt for an hour, in steps of ten seconds."""
    account = fed([(10.0 * step, 1000.0) for step in range(361)])
    assert account.charged == pytest.approx(1.0, rel=1e-12)
    assert account.discharged == 0.0
    assert account.unobserved == 0.0


def test_a_change_of_sign_is_split_where_it_crosses_zero() -> None:
    """From +300 W to -900 W in 60 s: 15 s above zero, 45 s below."""
    charged, discharged = totals(fed([(0.0, 300.0), (60.0, -900.0)]))
    assert charged * 3_600_000 == pytest.approx(300 / 2 * 15)
    assert discharged * 3_600_000 == pytest.approx(900 / 2 * 45)


def test_what_is_not_known_is_not_counted() -> None:
    """Neither towards an unknown power nor away from it, nor over a gap; the seconds are."""
    account = fed([(0.0, 500.0), (10.0, None), (20.0, 500.0), (81.0, 500.0), (141.0, 500.0)])
    assert account.unobserved == 10 + 10 + 61
    assert account.charged == pytest.approx(500 * 60 / 3_600_000)
    assert fed([(0.0, 1.0), (1.0, math.nan), (2.0, math.inf), (3.0, 1.0)]).unobserved == 3.0


def test_there_is_no_total_before_anything_is_known() -> None:
    """Nothing is not zero."""
    account = fed([(0.0, None), (10.0, None)])
    assert (account.charged, account.discharged) == (None, None)
    account.observe(Reading(when=20.0, power=-5.0))
    assert (account.charged, account.discharged) == (0.0, 0.0)


def test_a_repeated_or_earlier_reading_changes_nothing() -> None:
    """Time that does not pass holds no energy."""
    account = fed([(0.0, 500.0), (10.0, 500.0)])
    before = (account.charged, account.discharged, account.unobserved)
    account.observe(Reading(when=10.0, power=9000.0))
    account.observe(Reading(when=3.0, power=-9000.0))
    assert (account.charged, account.discharged, account.unobserved) == before
    account.observe(Reading(when=20.0, power=500.0))
    assert account.charged == pytest.approx(500 * 20 / 3_600_000)


def test_no_more_is_counted_than_the_battery_can_take_or_give() -> None:
    """A power of a hundred times as much is a fault of the sensor, not energy."""
    charged, discharged = totals(fed([(0.0, 2e6), (36.0, 2e6), (37.0, None), (38.0, -2e6), (74.0, -2e6)]))
    assert charged == discharged == pytest.approx(_MOST / 1000 / 100)


@given(_POINTS)
def test_the_totals_equal_a_brute_force_integral(steps: list[tuple[float, float | None]]) -> None:
    """Each interval summed in a thousand slices of a straight line."""
    points = timed(steps)
    charged = discharged = unobserved = 0.0
    for (t0, p0), (t1, p1) in pairwise(points):
        if p0 is None or p1 is None or t1 - t0 > _GAP:
            unobserved += t1 - t0
            continue
        slices = 1000
        width = (t1 - t0) / slices
        for index in range(slices):
            power = p0 + (p1 - p0) * (index + 0.5) / slices
            charged += max(power, 0.0) * width
            discharged += max(-power, 0.0) * width
    account = fed(points)
    # a slice that holds the crossing is wrong by at most a quarter of its triangle
    tolerance = 1e-3 + 1e-6 * (charged + discharged)
    tolerance += sum(40_000 * (b - a) / 1000**2 for (a, _), (b, _) in pairwise(points))
    assert totals(account)[0] * 3_600_000 == pytest.approx(charged, abs=tolerance)
    assert totals(account)[1] * 3_600_000 == pytest.approx(discharged, abs=tolerance)
    assert account.unobserved == pytest.approx(unobserved)


@given(_POINTS)
def test_no_total_ever_falls_and_the_net_is_the_signed_area(steps: list[tuple[float, float | None]]) -> None:
    """Splitting at zero loses nothing, and what is said to have come is what the totals have grown."""
    account = EnergyAccount(longest_gap=_GAP, most_power=_MOST)
    net = unobserved = 0.0
    before = said = (0.0, 0.0)
    last: tuple[float, float | None] | None = None
    for when, power in timed(steps):
        added = account.observe(Reading(when=when, power=power))
        if last is not None and last[1] is not None and power is not None and when - last[0] <= _GAP:
            net += (last[1] + power) / 2 * (when - last[0])
        last = (when, power)
        now = totals(account)
        assert now[0] >= before[0]
        assert now[1] >= before[1]
        assert account.unobserved >= unobserved
        before, unobserved = now, account.unobserved
        said = (said[0] + added.charged, said[1] + added.discharged)
    assert (before[0] - before[1]) * 3_600_000 == pytest.approx(net, rel=1e-9, abs=1e-3)
    assert said == pytest.approx(before)


@given(_POINTS)
def test_turning_the_sign_round_swaps_the_totals(steps: list[tuple[float, float | None]]) -> None:
    """Neither direction is treated differently."""
    points = timed(steps)
    mirror = fed([(when, None if power is None else -power) for when, power in points])
    assert totals(mirror) == totals(fed(points))[::-1]
