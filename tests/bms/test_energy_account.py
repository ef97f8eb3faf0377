"""Energy over gaps, over restarts, and of several packs together."""

from dataclasses import replace
from datetime import timedelta
import json
import math
import random

from hypothesis import given, strategies as st
import pytest

from custom_components.lfp_battery.bms.energy import Added, Reading
from custom_components.lfp_battery.bms.model import BankState, PackState
from custom_components.lfp_battery.counting import reading
from tests.energy_accounts import MOST, NOON, VOLTS, account, counted, resumed, told, used_to

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
        assert one.charged == pytest.approx(10 * VOLTS * 130 / 3.6e6)
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
    assert one.charged == pytest.approx(start + 20 * VOLTS * 10 / 3.6e6)
    one.observe(told(2620.0, 20.0, 50.0 + 20 * 620 / 3600))
    assert one.charged == pytest.approx(start + 20 * VOLTS * 620 / 3.6e6, rel=1e-3)
    assert one.estimated_charged == pytest.approx(20 * VOLTS * 600 / 3.6e6, rel=1e-3)
    assert one.unobserved == 0.0


def test_a_stretch_without_power_is_filled_by_the_charge_as_it_goes() -> None:
    """The battery answers for an hour, but not with its current."""
    one = used_to(0.01)
    start = one.charged
    assert start is not None
    for second in range(2010, 5601, 10):
        one.observe(told(second, None, round(50.0 + 20 * (second - 2000) / 3600, 2)))
        assert one.charged == pytest.approx(start + 20 * VOLTS * (second - 2000) / 3.6e6, abs=0.003)
    assert one.estimated_charged == pytest.approx(1.0, abs=0.003)
    assert one.unobserved == 0.0


def test_two_gaps_with_readings_between_are_told_apart_from_these() -> None:
    """Silence, a minute of power without charge, silence again: the charge at the end is for both."""
    one = used_to(0.01)
    start = one.charged
    assert start is not None
    for second in (2400, 2410, 2420, 2430, 2800):
        one.observe(told(second, -20.0, None))
    assert one.discharged == pytest.approx(20 * VOLTS * 30 / 3.6e6)
    one.observe(told(2810.0, -20.0, 50.0 - 20 * 810 / 3600))
    assert one.discharged == pytest.approx(20 * VOLTS * 810 / 3.6e6, rel=1e-3)
    assert one.charged == start
    assert one.estimated_discharged == pytest.approx(20 * VOLTS * 770 / 3.6e6, rel=1e-3)


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
    assert one.charged - start <= 20 * VOLTS / 2 * 120 / 3.6e6 + 1e-9
    assert one.discharged == 0.0


def test_a_coarse_count_leaves_it_to_the_powers_what_flowed_in_a_short_gap() -> None:
    """Twenty amperes for two minutes are two thirds of an Ah, whether the count moved or not."""
    for moved in (0.0, 1.0):
        one = used_to(1.0)
        one.observe(told(2120.0, 20.0, 50.0 + moved))
        assert one.estimated_charged == pytest.approx(20 * VOLTS * 120 / 3.6e6, rel=0.05)


def test_a_count_that_was_set_right_once_is_trusted_again_after_a_while() -> None:
    """At the end of a charge it jumped by 3 Ah; a gap soon after is left to the powers, one some hours later is not."""
    for hours, told_by in ((0.01, "powers"), (2.0, "count")):
        one = used_to(0.01)
        one.observe(told(2010.0, -20.0, 53.0))
        end = 2010 + round(hours * 3600)
        for second in range(2020, end + 1, 10):
            one.observe(told(second, -20.0, round(53.0 - 20 * (second - 2010) / 3600, 2)))
        left = 53.0 - 20 * (end - 2010) / 3600
        one.observe(told(end + 600.0, -20.0, left - 4.0))
        # as if 20 A had gone on for ten minutes; the count says 4 Ah
        amount = {"powers": 20 * 600 / 3600, "count": 4.0}[told_by]
        assert one.estimated_discharged == pytest.approx(amount * VOLTS / 1000, rel=0.01)


@pytest.mark.parametrize("jump", [-45.0, 40.0])
def test_a_count_that_was_set_right_by_much_teaches_nothing(jump: float) -> None:
    """At the end of a charge it jumped, or one answer was wrong: the hours away soon after are told by the count."""
    for drawn in (1.0, 30.0):
        one = used_to(1.0)
        for second in range(2010, 2500, 10):
            one.observe(told(second, 0.0, 50.0 + jump))
        one.observe(told(2500.0, -80.0, 50.0 + jump))  # a kettle at both ends
        after = resumed(one, 2500.0, 3 * 3600.0)
        added = after.observe(told(5.0, -80.0, 50.0 + jump - drawn))
        # by the powers it would have been 240 Ah; of a single step the count leaves room for one more
        assert added.discharged == pytest.approx((2.0 if drawn == 1.0 else drawn) * VOLTS / 1000)
        assert after.unobserved == 0.0
    one.observe(told(2510.0, 0.0, 0.0))
    one.observe(told(2520.0, 0.0, 50.0 + jump))
    assert one.observe(told(9000.0, 0.0, 20.0 + jump)).discharged == pytest.approx(30 * VOLTS / 1000)


def test_where_the_powers_are_believed_against_the_count_the_stretch_is_not_observed() -> None:
    """A count in steps of 3.14 Ah says two of them, the powers nothing: then nobody knows."""
    one = used_to(3.14, start=47.1)
    one.observe(told(2010.0, 0.0, 15 * 3.14))
    added = one.observe(told(2310.0, 0.0, 17 * 3.14))
    assert added.charged == pytest.approx(3.14 * VOLTS / 1000, rel=0.05)
    assert added.unobserved == 300.0


def test_a_count_that_is_set_right_while_the_power_is_not_known_is_not_believed() -> None:
    """Eight Ah within ten seconds did not flow, however long the power has been missing."""
    one = account()
    for second in range(0, 1001, 10):
        one.observe(told(second, None if 100 < second < 900 else 0.0, 90.0 if second < 500 else 98.0, None))
        heard = told(second, 0.0, 90.0 if second < 500 else 98.0)
        one.observe(replace(heard, when=second + 1.0, power=None if 100 < second < 900 else 0.0))
    assert (one.charged, one.discharged) == (0.0, 0.0)
    assert one.unobserved > 700


@pytest.mark.parametrize(("full", "modules"), [((150.0, 200.0), (None, None)), ((None, None), (3, 4))])
def test_a_pack_that_was_added_while_away_is_no_energy(
    full: tuple[float | None, float | None], modules: tuple[int | None, int | None]
) -> None:
    """A bank that says its own power and charge: the charge of the new pack did not flow into it."""
    before = account()
    for second in range(0, 101, 10):
        before.observe(replace(told(second, 0.0, 150.0), full_capacity=full[0], modules=modules[0]))
    after = resumed(before, 100.0, 1800.0)
    after.observe(told(4.0, 0.0, None))
    added = after.observe(replace(told(5.0, 0.0, 160.0), full_capacity=full[1], modules=modules[1]))
    assert added.charged == 0.0
    assert after.unobserved == pytest.approx(1799.0)
    # the same bank, a little aged, is bridged
    same = resumed(before, 100.0, 1800.0)
    grown = None if full[0] is None else full[0] * 1.01
    added = same.observe(replace(told(5.0, 0.0, 160.0), full_capacity=grown, modules=modules[0]))
    assert added.charged == pytest.approx(10 * VOLTS / 1000)


def test_whose_count_it_is_comes_with_the_reading() -> None:
    """The full capacity of any battery, and the number of packs of a bank."""
    bank = reading(1.0, BankState(remaining_capacity=150.0, full_capacity=200.0, modules=2))
    assert (bank.remaining_capacity, bank.full_capacity, bank.modules) == (150.0, 200.0, 2)
    pack = reading(1.0, PackState(address=1, full_capacity=100.0))
    assert (pack.full_capacity, pack.modules) == (100.0, None)


# --- restarts ------------------------------------------------------------------------------------------------------------


def test_a_restart_is_a_gap_however_short() -> None:
    """Half a minute at 20 A by the charge, by a wall clock that went on meanwhile."""
    before = used_to(0.01)
    after = resumed(before, 2003.0, 20.0)
    after.observe(told(12.0, 20.0, 50.0 + 20 * 30 / 3600))
    assert after.charged == pytest.approx((before.charged or 0.0) + 20 * VOLTS * 30 / 3.6e6, rel=1e-3)
    assert after.estimated_charged == pytest.approx(20 * VOLTS * 30 / 3.6e6, rel=0.01)
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
    assert after.charged == pytest.approx((before.charged or 0.0) + 20 * VOLTS * 10 / 3.6e6)


def test_what_was_pending_at_a_restart_is_bridged_after_it() -> None:
    """A gap whose end had no charge yet, and the restart after it, are one to the count."""
    before = used_to(0.01)
    before.observe(told(2600.0, 20.0, None))
    after = resumed(before, 2600.0, 93.0)
    after.observe(told(12.0, 20.0, 50.0 + 20 * 700 / 3600))
    assert after.estimated_charged == pytest.approx(20 * VOLTS * 700 / 3.6e6, rel=1e-3)
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
    for when, counter in ((10.0, 7.0), (20.0, 7.1), (30.0, 3.0)):
        before.observe(counted(when, counter))
    before.observe(told(100.0, 20.0, None))
    kept = json.loads(json.dumps(before.as_mapping(103.0, NOON)))
    for place in (kept["charged"]["doubted"], kept, kept["charge"], kept["charged"]):
        for key in data.draw(st.sets(st.sampled_from(sorted(place)))):
            place[key] = data.draw(_JUNK)
    one = account()
    one.restore(kept, 5.0, NOON + timedelta(seconds=20))
    totals = [one.charged or 0.0, one.discharged or 0.0]
    for number in range(4):
        one.observe(replace(told(30.0 + 40 * number, 10.0, 50.0 + number), charged=7.2 + number / 10))
        now = [one.charged or 0.0, one.discharged or 0.0]
        assert all(math.isfinite(total) and total >= last for total, last in zip(now, totals, strict=True))
        totals = now
    assert one.unobserved >= 0


def test_nothing_kept_is_a_new_account() -> None:
    """As before the first run."""
    one = account()
    one.restore({}, 5.0, NOON)
    assert (one.charged, one.discharged, one.unobserved) == (None, None, 0.0)
    one.observe(told(10.0, 36.0, None))
    one.observe(told(20.0, 36.0, None))
    assert one.charged == pytest.approx(0.005)


# --- the other way round, and the bank -----------------------------------------------------------------------------------


def test_swapping_turns_everything_round() -> None:
    """Totals, what is estimated, counters, and what is pending; swapped twice it is as it was."""
    one = used_to(0.01)
    one.observe(told(2600.0, 20.0, 50.0 + 20 * 600 / 3600))
    kept = one.as_mapping(2600.0, NOON)
    charged, estimated = one.charged, one.estimated_charged
    one.swap()
    assert (one.charged, one.discharged) == (0.0, charged)
    assert (one.estimated_charged, one.estimated_discharged) == (0.0, estimated)
    one.swap()
    assert one.as_mapping(2600.0, NOON) == kept
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
    assert one.charged == pytest.approx(20 * VOLTS * 1200 / 3.6e6, rel=1e-3)


def test_a_bank_that_counts_itself_takes_nothing_of_its_packs() -> None:
    """Neither what came to them nor what of it was estimated."""
    bank = account()
    bank.observe(counted(0.0, 99.0, 50.0))
    bank.observe(counted(3600.0, 100.0, 50.0))
    bank.add(Added(charged=1.0, estimated_charged=1.0))
    assert (bank.charged, bank.estimated_charged) == (100.0, 0.0)


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
        assert now[0] - first[0] <= MOST * max(when - began, 0.0) / 3.6e6 + 1e-9
