"""Energy over gaps, over restarts, by the battery's own counters, and of several packs together."""

from datetime import UTC, datetime, timedelta
import json
import math
import random
from typing import Any

from hypothesis import given, strategies as st
import pytest

from custom_components.lfp_battery.bms.energy import Added, EnergyAccount, Reading

_NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
_MOST = 10_000.0  # W
_VOLTS = 50.0


def account() -> EnergyAccount:
    """A new one."""
    return EnergyAccount(longest_gap=60.0, most_power=_MOST)


def told(when: float, amps: float | None, remaining: float | None, volts: float | None = _VOLTS) -> Reading:
    """A reading of a battery that says its charge."""
    power = None if amps is None or volts is None else amps * volts
    return Reading(when=when, power=power, voltage=volts, remaining_capacity=remaining)


def counted(
    when: float, charged: float | None, discharged: float | None = None, power: float | None = 100.0
) -> Reading:
    """A reading of a battery that counts its energy."""
    return Reading(when=when, power=power, charged=charged, discharged=discharged)


def resumed(before: EnergyAccount, monotonic: float, away: float, *, now: float = 5.0) -> EnergyAccount:
    """The account of a run that begins `away` seconds after the last one ended, by the wall's clock."""
    kept: dict[str, Any] = json.loads(json.dumps(before.as_mapping(monotonic, _NOON)))
    fresh = account()
    fresh.restore(kept, now, _NOON + timedelta(seconds=away))
    return fresh


def used_to(step: float, *, start: float = 50.0) -> EnergyAccount:
    """One that has seen a battery at 20 A count its charge in such steps, until 2000 s and `start` Ah."""
    one = account()
    for second in range(0, 2001, 10):
        charge = start - 20 * (2000 - second) / 3600
        one.observe(told(second, 20.0, round(charge / step) * step))
    return one


# --- gaps ----------------------------------------------------------------------------------------------------------------


def test_over_a_gap_the_charge_tells_what_flowed() -> None:
    """Ten Ah in an hour of silence, whatever the powers at both ends are."""
    one = account()
    one.observe(told(0.0, 0.0, 50.0))
    added = one.observe(told(3600.0, -3.0, 60.0, 52.0))
    assert added.charged == added.estimated_charged == one.charged == pytest.approx(0.51)
    assert (one.discharged, one.unobserved) == (0.0, 0.0)
    one.observe(told(7200.0, 0.0, 40.0, 52.0))
    assert one.estimated_discharged == one.discharged == pytest.approx(20 * 0.052)


def test_a_gap_of_which_no_charge_is_known_adds_nothing() -> None:
    """The seconds are counted instead, also where only one end is known."""
    for first, last in ((None, None), (50.0, None), (None, 60.0)):
        one = account()
        one.observe(told(0.0, 10.0, first))
        for second in range(3600, 3731, 10):
            one.observe(told(second, 10.0, last))
        assert one.unobserved == 3600.0
        assert one.charged == pytest.approx(10 * _VOLTS * 130 / 3.6e6)
        assert one.estimated_charged == 0.0


def test_more_than_could_have_flowed_is_not_bridged() -> None:
    """The charge was set right, or it is another battery's."""
    one = account()
    one.observe(told(0.0, 0.0, 50.0))
    one.observe(told(100.0, 0.0, 90.0))
    assert (one.charged, one.discharged, one.unobserved) == (0.0, 0.0, 100.0)


def test_a_reading_without_charge_at_the_end_of_a_gap_is_waited_for() -> None:
    """What flowed meanwhile is known by its power, and is not counted twice."""
    one = used_to(0.01)
    start = one.charged
    assert start is not None
    one.observe(told(2600.0, 20.0, None))  # back after 600 s
    one.observe(told(2610.0, 20.0, None))
    assert one.charged == pytest.approx(start + 20 * _VOLTS * 10 / 3.6e6)
    one.observe(told(2620.0, 20.0, 50.0 + 20 * 620 / 3600))
    assert one.charged == pytest.approx(start + 20 * _VOLTS * 620 / 3.6e6, rel=1e-3)
    assert one.estimated_charged == pytest.approx(20 * _VOLTS * 600 / 3.6e6, rel=1e-3)
    assert one.unobserved == 0.0


def test_a_stretch_without_power_is_filled_by_the_charge_as_it_goes() -> None:
    """The battery answers for an hour, but not with its current."""
    one = used_to(0.01)
    start = one.charged
    assert start is not None
    for second in range(2010, 5601, 10):
        one.observe(told(second, None, round(50.0 + 20 * (second - 2000) / 3600, 2)))
        assert one.charged == pytest.approx(start + 20 * _VOLTS * (second - 2000) / 3.6e6, abs=0.003)
    assert one.estimated_charged == pytest.approx(1.0, abs=0.003)
    assert one.unobserved == 0.0


def test_two_gaps_with_readings_between_are_told_apart_from_these() -> None:
    """Silence, a minute of power without charge, silence again: the charge at the end is for both."""
    one = used_to(0.01)
    start = one.charged
    assert start is not None
    for second in (2400, 2410, 2420, 2430, 2800):
        one.observe(told(second, -20.0, None))
    assert one.discharged == pytest.approx(20 * _VOLTS * 30 / 3.6e6)
    one.observe(told(2810.0, -20.0, 50.0 - 20 * 810 / 3600))
    assert one.discharged == pytest.approx(20 * _VOLTS * 810 / 3.6e6, rel=1e-3)
    assert one.charged == start
    assert one.estimated_discharged == pytest.approx(20 * _VOLTS * 770 / 3.6e6, rel=1e-3)


@pytest.mark.parametrize("step", [1.0, 3.14])
def test_a_coarse_count_that_flickers_is_no_energy(step: float) -> None:
    """An idle battery, silent for two minutes after every reading, whose count moves up and down by a step."""
    one = used_to(step)
    start, chance = one.charged, random.Random(3)
    assert start is not None
    for number in range(1, 500):
        one.observe(told(2000.0 + 120 * number, 0.0, round((50.0 + chance.choice((0, step))) / step) * step))
    # the first gap begins with 20 A, and the count leaves room for some of it
    assert one.charged is not None
    assert one.charged - start <= 20 * _VOLTS / 2 * 120 / 3.6e6 + 1e-9
    assert one.discharged == 0.0


def test_a_coarse_count_leaves_it_to_the_powers_what_flowed_in_a_short_gap() -> None:
    """Twenty amperes for two minutes are two thirds of an Ah, whether the count moved or not."""
    for moved in (0.0, 1.0):
        one = used_to(1.0)
        one.observe(told(2120.0, 20.0, 50.0 + moved))
        assert one.estimated_charged == pytest.approx(20 * _VOLTS * 120 / 3.6e6, rel=0.05)


def test_a_count_that_was_set_right_once_is_trusted_again_after_a_while() -> None:
    """At the end of a charge it jumped by 5 Ah; a gap soon after is left to the powers, one some hours later is not."""
    for hours, told_by in ((0.05, "powers"), (2.0, "count")):
        one = used_to(0.01)
        one.observe(told(2010.0, -20.0, 55.0))
        end = 2010 + round(hours * 3600)
        for second in range(2020, end + 1, 10):
            one.observe(told(second, -20.0, round(55.0 - 20 * (second - 2010) / 3600, 2)))
        left = 55.0 - 20 * (end - 2010) / 3600
        one.observe(told(end + 600.0, -20.0, left - 4.0))
        # as if 20 A had gone on for ten minutes; the count says 4 Ah
        amount = {"powers": 20 * 600 / 3600, "count": 4.0}[told_by]
        assert one.estimated_discharged == pytest.approx(amount * _VOLTS / 1000, rel=0.01)


# --- restarts ------------------------------------------------------------------------------------------------------------


def test_a_restart_is_a_gap_however_short() -> None:
    """Half a minute at 20 A by the charge, by a wall clock that went on meanwhile."""
    before = used_to(0.01)
    after = resumed(before, 2003.0, 20.0)
    after.observe(told(12.0, 20.0, 50.0 + 20 * 30 / 3600))
    assert after.charged == pytest.approx((before.charged or 0.0) + 20 * _VOLTS * 30 / 3.6e6, rel=1e-3)
    assert after.estimated_charged == pytest.approx(20 * _VOLTS * 30 / 3.6e6, rel=0.01)
    silent = account()
    silent.observe(told(0.0, 20.0, None))
    silent = resumed(silent, 3.0, 20.0)
    silent.observe(told(12.0, 20.0, None))
    assert (silent.charged, silent.unobserved) == (0.0, 30.0)


def test_over_a_clock_that_was_set_back_nothing_is_bridged() -> None:
    """Nobody knows how long it was; the totals go on."""
    before = used_to(0.01)
    after = resumed(before, 2003.0, -1.0)
    after.observe(told(12.0, 20.0, 55.0))
    assert (after.charged, after.estimated_charged) == (before.charged, 0.0)
    after.observe(told(22.0, 20.0, 55.06))
    assert after.charged == pytest.approx((before.charged or 0.0) + 20 * _VOLTS * 10 / 3.6e6)


def test_what_was_pending_at_a_restart_is_bridged_after_it() -> None:
    """A gap whose end had no charge yet, and the restart after it, are one to the count."""
    before = used_to(0.01)
    before.observe(told(2600.0, 20.0, None))
    after = resumed(before, 2600.0, 93.0)
    after.observe(told(12.0, 20.0, 50.0 + 20 * 700 / 3600))
    assert after.estimated_charged == pytest.approx(20 * _VOLTS * 700 / 3.6e6, rel=1e-3)
    assert after.unobserved == 0.0


def test_a_coarse_count_is_known_to_be_coarse_after_a_restart() -> None:
    """A flicker in the first gap is no energy either."""
    before = used_to(3.14)
    before.observe(told(2010.0, 0.0, 16 * 3.14))
    after = resumed(before, 2011.0, 20.0)
    after.observe(told(25.0, 0.0, 17 * 3.14))
    assert after.estimated_charged == pytest.approx(0.0, abs=1e-9)


_JUNK: st.SearchStrategy[object] = st.sampled_from(
    [None, True, -1, 0, 5.0, 1e308, 10**400, math.nan, -math.inf, "12", "2026-06-01", [], {"total": 1.0}]
)


@given(st.data())
def test_what_cannot_be_read_of_the_last_run_is_not_known(data: st.DataObject) -> None:
    """Any part of what was kept may be anything: the account goes on, and its totals are numbers that do not fall."""
    before = account()
    before.observe(told(0.0, 20.0, 50.0))
    before.observe(counted(10.0, 7.0))
    before.observe(told(100.0, 20.0, None))
    kept = json.loads(json.dumps(before.as_mapping(103.0, _NOON)))
    for place in (kept, kept["charge"], kept["charged"]):
        for key in data.draw(st.sets(st.sampled_from(sorted(place)))):
            place[key] = data.draw(_JUNK)
    one = account()
    one.restore(kept, 5.0, _NOON + timedelta(seconds=20))
    totals = [one.charged or 0.0, one.discharged or 0.0]
    for number in range(4):
        one.observe(told(30.0 + 40 * number, 10.0, 50.0 + number))
        now = [one.charged or 0.0, one.discharged or 0.0]
        assert all(math.isfinite(total) and total >= last for total, last in zip(now, totals, strict=True))
        totals = now
    assert one.unobserved >= 0


def test_nothing_kept_is_a_new_account() -> None:
    """As before the first run."""
    one = account()
    one.restore({}, 5.0, _NOON)
    assert (one.charged, one.discharged, one.unobserved) == (None, None, 0.0)
    one.observe(told(10.0, 36.0, None))
    one.observe(told(20.0, 36.0, None))
    assert one.charged == pytest.approx(0.005)


# --- the battery's own counters ------------------------------------------------------------------------------------------


def test_where_the_battery_counts_its_counter_is_the_total() -> None:
    """From the beginning, and neither a gap nor its power adds to it."""
    one = account()
    assert one.observe(counted(0.0, 3000.0, 1000.0, power=5000.0)) == Added()
    added = one.observe(counted(5000.0, 3004.5, 1000.0, power=5000.0))
    assert (one.charged, one.discharged) == (3004.5, 1000.0)
    assert added == Added(charged=4.5)
    one.observe(counted(5010.0, None, None, power=5000.0))
    one.observe(counted(5020.0, 3004.5, 1000.0, power=-5000.0))
    assert (one.charged, one.discharged, one.unobserved) == (3004.5, 1000.0, 0.0)


def test_one_direction_may_be_counted_and_the_other_not() -> None:
    """The one by the counter, the other by its power."""
    one = account()
    for number in range(37):
        one.observe(counted(10.0 * number, 7.0, power=-1000.0))
    assert one.charged == 7.0
    assert one.discharged == pytest.approx(0.1)


def test_a_counter_that_begins_late_goes_on_from_our_total() -> None:
    """A step of a lifetime would be that in the energy dashboard."""
    one = account()
    for number in range(37):
        one.observe(counted(10.0 * number, None, power=1000.0))
    one.observe(counted(370.0, 500.0))
    one.observe(counted(730.0, 500.5))
    assert one.charged == pytest.approx(0.6)


def test_a_counter_that_falls_a_little_is_out_of_order_and_by_a_tenth_a_new_board() -> None:
    """The total waits for the one, and goes on at once with the other."""
    one = account()
    for when, counter, total in (
        (0.0, 100.0, 100.0),
        (3600.0, 99.9, 100.0),
        (7200.0, 100.2, 100.2),
        (7210.0, 0.0, 100.2),
        (10800.0, 0.7, 100.9),
    ):
        one.observe(counted(when, counter))
        assert one.charged == pytest.approx(total)


def test_a_counter_that_jumps_is_not_believed() -> None:
    """Nine hundred kWh in an hour are a wrong answer: nothing is added, and counting goes on from there."""
    one = account()
    for when, counter in ((0.0, 100.0), (3600.0, 1000.0), (7200.0, 1001.0)):
        one.observe(counted(when, counter))
    assert one.charged == pytest.approx(101.0)


def test_a_coarse_counter_is_followed_no_faster_than_the_battery_can_be_charged() -> None:
    """It counts whole kWh: the step comes a part at a time, and in the end nothing is missing."""
    one = account()
    one.observe(counted(0.0, 100.0))
    last = 100.0
    for number in range(1, 101):
        added = one.observe(counted(10.0 * number, 101.0 if number < 60 else 102.0))
        assert added.charged <= _MOST * 10 / 3.6e6 + 1e-12
        assert one.charged == pytest.approx(last + added.charged)
        last = one.charged or 0.0
    assert one.charged == pytest.approx(102.0)


def test_a_counter_goes_on_over_a_restart() -> None:
    """What it counted meanwhile is in it; but over a clock that was set back nobody knows whether it could be."""
    one = account()
    one.observe(counted(0.0, 100.0))
    after = resumed(one, 5.0, 7200.0)
    assert after.observe(counted(10.0, 103.0)).charged == pytest.approx(3.0)
    lost = resumed(one, 5.0, -100.0)
    assert lost.observe(counted(10.0, 103.0)).charged == 0.0
    assert lost.observe(counted(3610.0, 104.0)).charged == pytest.approx(1.0)


# --- the other way round, and the bank -----------------------------------------------------------------------------------


def test_swapping_turns_everything_round() -> None:
    """Totals, what is estimated, counters, and what is pending; swapped twice it is as it was."""
    one = used_to(0.01)
    one.observe(told(2600.0, 20.0, 50.0 + 20 * 600 / 3600))
    kept = one.as_mapping(2600.0, _NOON)
    charged, estimated = one.charged, one.estimated_charged
    one.swap()
    assert (one.charged, one.discharged) == (0.0, charged)
    assert (one.estimated_charged, one.estimated_discharged) == (0.0, estimated)
    one.swap()
    assert one.as_mapping(2600.0, _NOON) == kept
    counter = account()
    counter.observe(counted(0.0, 3000.0, 1000.0))
    counter.swap()
    counter.observe(counted(3600.0, 1001.0, 3000.5))
    assert (counter.charged, counter.discharged) == (1001.0, 3000.5)


def test_after_a_swap_the_charge_is_not_misunderstood() -> None:
    """A pack whose charge rises is charged, whatever its current sensor has said before."""
    one = account()
    for second in range(0, 601, 10):
        one.observe(told(second, -20.0, None if second % 60 else 50.0 + 20 * second / 3600))
    one.swap()
    one.observe(told(1200.0, 20.0, 50.0 + 20 * 1200 / 3600))
    assert one.discharged == 0.0
    assert one.charged == pytest.approx(20 * _VOLTS * 1200 / 3.6e6, rel=1e-3)


def test_a_bank_takes_what_comes_to_its_packs() -> None:
    """It begins at the sum of what they have, and stays there."""
    packs, bank = [used_to(0.01), used_to(1.0)], account()
    bank.add(Added(charged=sum(pack.charged or 0.0 for pack in packs)))
    for number in range(1, 50):
        for place, pack in enumerate(packs):
            bank.add(pack.observe(told(2000.0 + 90 * number, 5.0 - 10 * place, 50.0 + (5 - 10 * place) * number / 40)))
    assert bank.charged == pytest.approx(sum(pack.charged or 0.0 for pack in packs))
    assert bank.discharged == pytest.approx(sum(pack.discharged or 0.0 for pack in packs))
    assert bank.estimated_charged == pytest.approx(sum(pack.estimated_charged for pack in packs))
    assert bank.estimated_discharged == pytest.approx(sum(pack.estimated_discharged for pack in packs))
    assert bank.unobserved == pytest.approx(sum(pack.unobserved for pack in packs))


# --- whatever a battery says ---------------------------------------------------------------------------------------------

_MAYBE = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(-1e5, 1e5)
_STEPS = st.lists(
    st.tuples(
        st.floats(-10.0, 5000.0),
        _MAYBE,
        st.none() | st.floats(-1.0, 60.0),
        st.none() | st.floats(-1.0, 300.0),
        st.none() | st.floats(0.0, 50.0),
        st.booleans(),
    ),
    max_size=25,
)


@given(_STEPS)
def test_whatever_it_says_no_step_is_greater_than_its_time_allows(
    steps: list[tuple[float, float | None, float | None, float | None, float | None, bool]],
) -> None:
    """Nothing falls, nothing is not a number, and over any stretch no more came than the greatest power times its time."""
    one, when = account(), 0.0
    began: float | None = None
    first = (0.0, 0.0)
    for seconds, power, volts, remaining, counter, restarts in steps:
        if restarts:
            one = resumed(one, when, 0.0, now=when)
        when += seconds
        before = (one.charged or 0.0, one.discharged or 0.0)
        had_counter, unobserved = one.charged is not None, one.unobserved
        added = one.observe(
            Reading(when=when, power=power, voltage=volts, remaining_capacity=remaining, discharged=counter)
        )
        if began is None:
            began, first = when, (0.0, 0.0)
        now = (one.charged or 0.0, one.discharged or 0.0)
        assert all(math.isfinite(value) for value in now)
        assert all(later >= sooner for sooner, later in zip(before, now, strict=True))
        assert added.charged == pytest.approx(now[0] - before[0], abs=1e-9)
        if had_counter:
            assert added.discharged == pytest.approx(now[1] - before[1], abs=1e-9)
        assert one.unobserved >= unobserved
        assert one.estimated_charged <= now[0] + 1e-9
        assert now[0] - first[0] <= _MOST * max(when - began, 0.0) / 3.6e6 + 1e-9
