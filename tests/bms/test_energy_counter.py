"""Energy by the battery's own counters, and what counts while these say nothing."""

import pytest

from custom_components.lfp_battery.bms.energy import Added, Reading
from tests.energy_accounts import MOST, account, counted, resumed


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
    assert one.charged == pytest.approx(0.1 + 550 * 10 / 3.6e6 + 0.5)


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
        assert added.charged <= MOST * 10 / 3.6e6 + 1e-12
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


def test_a_counter_that_was_wrong_once_loses_nothing() -> None:
    """One answer is too high or far too low: counting goes on from where it was, over a restart between the two as well."""
    for wrong in (107.0, 0.0):
        for restarts in (False, True):
            one = account()
            for number in range(721):
                one.observe(counted(10.0 * number, wrong if number == 360 else 100.0 + number / 360))
                if restarts and number == 360:
                    one = resumed(one, 3600.0, 0.0, now=3600.0)
            assert one.charged == pytest.approx(102.0)


def test_a_counter_of_a_new_board_is_not_mistaken_for_a_wrong_answer_undone() -> None:
    """It begins at nothing, and in time passes where the old one was."""
    one = account()
    for when, value in ((0.0, 30.0), (10.0, 0.0), (20.0, 0.0), *((3600.0 * hour, 5.0 * hour) for hour in range(1, 9))):
        one.observe(counted(when, value))
    assert one.charged == pytest.approx(70.0)


@pytest.mark.parametrize(("most", "step"), [(0.5, 0.1), (5.0, 1.0)])
def test_a_small_counter_that_answers_out_of_order_does_not_count_twice(most: float, step: float) -> None:
    """One step less is more than a tenth of it, and no new board."""
    one = account()
    for number in range(360):
        one.observe(counted(10.0 * number, most - step if number % 6 == 3 else most, 0.0, power=0.0))
    assert one.charged == pytest.approx(most)


def test_while_a_counter_is_not_told_power_counts_and_never_twice() -> None:
    """Five hours without it; then it shows what it counted meanwhile, a little more than power said."""
    one = account()
    for second in range(0, 36001, 10):
        told = not 3600 < second < 21600
        counter = second / 3600 * 1.01
        one.observe(counted(second, 10.0 + counter if told else None, 5.0, power=1000.0))
        assert one.charged == pytest.approx(10.0 + counter, abs=0.07)
        if second == 18000:
            one = resumed(one, second, 0.0, now=second)
    assert one.charged == pytest.approx(20.1)
    for second in range(36010, 72001, 10):
        one.observe(counted(second, None, None, power=1000.0))
    assert one.charged == pytest.approx(30.1, abs=0.01)
    before = one.unobserved
    one.observe(counted(72010.0, None, None, power=None))
    one.observe(counted(75610.0, None, None, power=None))
    assert one.unobserved - before == 3610.0


def test_while_a_counter_stands_still_power_counts_and_never_twice() -> None:
    """From two kWh on; what it catches up with is taken off, in steps no greater than the battery's power."""
    one, last = account(), 0.0
    for second in range(0, 36001, 10):
        added = one.observe(counted(second, 0.0, 0.0, power=2000.0)).charged
        assert added <= MOST * 10 / 3.6e6 + 1e-9
        assert one.charged == pytest.approx(last + added)
        last += added
    assert last == pytest.approx(20.0, abs=0.01)
    for second in range(36010, 72001, 10):
        one.observe(counted(second, 20.2 + (second - 36000) / 1800, 0.0, power=2000.0))
    assert one.charged == pytest.approx(40.2, abs=0.3)


def test_a_counter_in_whole_kwh_is_no_counter_that_stands_still() -> None:
    """Between two of its steps power adds nothing."""
    one = account()
    for second in range(0, 37801, 10):
        one.observe(counted(second, 100.0 + second // 3600, 0.0, power=1050.0))
        assert one.charged == pytest.approx(100.0 + second // 3600, abs=1.0)
    assert one.charged == pytest.approx(110.0)
    assert one.estimated_charged == 0.0


def test_a_counter_that_is_first_heard_after_a_gap_does_not_hide_the_gap() -> None:
    """What the charge tells of it is added, and what nobody knows is counted as that."""
    one = account()
    one.observe(Reading(when=0.0, power=0.0, voltage=50.0, remaining_capacity=50.0))
    one.observe(Reading(when=3600.0, power=0.0, voltage=50.0, remaining_capacity=70.0, charged=100.0, discharged=80.0))
    assert one.charged == one.estimated_charged == pytest.approx(1.0)
    one = account()
    one.observe(counted(0.0, None))
    one.observe(counted(3600.0, 100.0, 80.0))
    assert one.unobserved == 3600.0
    one.observe(counted(7200.0, 101.0, 80.0))
    assert one.unobserved == 3600.0


def test_of_a_gap_in_which_only_one_direction_was_counted_the_other_is_not_known() -> None:
    """More came in than the charge rose by; what went out nobody counted, and the seconds say so."""
    one = account()
    one.observe(Reading(when=0.0, power=0.0, voltage=50.0, remaining_capacity=50.0, charged=10.0))
    one.observe(Reading(when=7200.0, power=0.0, voltage=50.0, remaining_capacity=60.0, charged=11.5))
    assert (one.charged, one.discharged, one.unobserved) == (11.5, 0.0, 7200.0)
    one.observe(Reading(when=14400.0, power=0.0, voltage=50.0, remaining_capacity=50.0, charged=11.5))
    assert one.discharged == pytest.approx(0.5)
    assert (one.charged, one.unobserved) == (11.5, 7200.0)
