"""Energy from power, against a brute-force integral."""

from itertools import pairwise
import math

from hypothesis import given, strategies as st
import pytest

from custom_components.lfp_battery.bms.energy import EnergyMeter

_GAP = 60.0
_POWER = st.one_of(st.none(), st.floats(-20_000, 20_000), st.just(0.0))
_POINTS = st.lists(st.tuples(st.floats(0.001, 90.0), _POWER), max_size=30)


def fed(points: list[tuple[float, float | None]]) -> EnergyMeter:
    """A meter that saw these powers at these times."""
    meter = EnergyMeter(longest_gap=_GAP)
    for when, power in points:
        meter.observe(when, power)
    return meter


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
    meter = fed([(10.0 * step, 1000.0) for step in range(361)])
    assert meter.charged == pytest.approx(1.0, rel=1e-12)
    assert meter.discharged == 0.0
    assert meter.unobserved == 0.0


def test_a_change_of_sign_is_split_where_it_crosses_zero() -> None:
    """From +300 W to -900 W in 60 s: 15 s above zero, 45 s below."""
    meter = fed([(0.0, 300.0), (60.0, -900.0)])
    assert meter.charged * 3_600_000 == pytest.approx(300 / 2 * 15)
    assert meter.discharged * 3_600_000 == pytest.approx(900 / 2 * 45)


def test_what_is_not_known_is_not_counted() -> None:
    """Neither towards an unknown power nor away from it, nor over a gap; the seconds are."""
    meter = fed([(0.0, 500.0), (10.0, None), (20.0, 500.0), (81.0, 500.0), (141.0, 500.0)])
    assert meter.unobserved == 10 + 10 + 61
    assert meter.charged == pytest.approx(500 * 60 / 3_600_000)
    assert fed([(0.0, 1.0), (1.0, math.nan), (2.0, math.inf), (3.0, 1.0)]).unobserved == 3.0


def test_a_repeated_or_earlier_observation_changes_nothing() -> None:
    """Time that does not pass holds no energy."""
    meter = fed([(0.0, 500.0), (10.0, 500.0)])
    before = (meter.charged, meter.discharged, meter.unobserved)
    meter.observe(10.0, 9000.0)
    meter.observe(3.0, -9000.0)
    assert (meter.charged, meter.discharged, meter.unobserved) == before
    meter.observe(20.0, 500.0)
    assert meter.charged == pytest.approx(500 * 20 / 3_600_000)


def test_totals_go_on_from_where_they_stood() -> None:
    """The first observation after a start adds nothing by itself."""
    meter = EnergyMeter(charged=12.5, discharged=7.25, longest_gap=_GAP)
    meter.observe(1e9, -3600.0)
    assert (meter.charged, meter.discharged) == (12.5, 7.25)
    meter.observe(1e9 + 10, -3600.0)
    assert meter.discharged == pytest.approx(7.26)
    assert meter.charged == 12.5


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
    meter = fed(points)
    # a slice that holds the crossing is wrong by at most a quarter of its triangle
    tolerance = 1e-3 + 1e-6 * (charged + discharged)
    tolerance += sum(40_000 * (b - a) / 1000**2 for (a, _), (b, _) in pairwise(points))
    assert meter.charged * 3_600_000 == pytest.approx(charged, abs=tolerance)
    assert meter.discharged * 3_600_000 == pytest.approx(discharged, abs=tolerance)
    assert meter.unobserved == pytest.approx(unobserved)


@given(_POINTS)
def test_no_total_ever_falls_and_the_net_is_the_signed_area(steps: list[tuple[float, float | None]]) -> None:
    """Splitting at zero loses nothing."""
    meter = EnergyMeter(longest_gap=_GAP)
    net = last_charged = last_discharged = last_unobserved = 0.0
    last: tuple[float, float | None] | None = None
    for when, power in timed(steps):
        meter.observe(when, power)
        if last is not None and last[1] is not None and power is not None and when - last[0] <= _GAP:
            net += (last[1] + power) / 2 * (when - last[0])
        last = (when, power)
        assert meter.charged >= last_charged
        assert meter.discharged >= last_discharged
        assert meter.unobserved >= last_unobserved
        last_charged, last_discharged, last_unobserved = meter.charged, meter.discharged, meter.unobserved
    assert (meter.charged - meter.discharged) * 3_600_000 == pytest.approx(net, rel=1e-9, abs=1e-3)


@given(_POINTS)
def test_turning_the_sign_round_swaps_the_totals(steps: list[tuple[float, float | None]]) -> None:
    """Neither direction is treated differently."""
    points = timed(steps)
    meter = fed(points)
    mirror = fed([(when, None if power is None else -power) for when, power in points])
    assert (mirror.charged, mirror.discharged) == (meter.discharged, meter.charged)
