"""Energy by the battery's own counters, and what counts until these move."""

from dataclasses import dataclass, field
import math

import pytest

from custom_components.lfp_battery.bms.energy import Added, EnergyAccount, Reading
from tests.energy_accounts import NOON, account, counted, resumed


def test_where_the_battery_counts_its_counter_is_the_total() -> None:
    """From the beginning, and once it has moved neither a gap nor its power adds to it."""
    one = account()
    assert one.observe(counted(0.0, 3000.0, 1000.0, power=None)) == Added()
    one.observe(counted(10.0, 3000.1, 1000.1, power=5000.0))
    added = one.observe(counted(5000.0, 3004.5, 1000.1, power=5000.0))
    assert (one.charged, one.discharged) == (3004.5, 1000.1)
    assert added.charged == pytest.approx(4.4)
    assert added.discharged == 0.0
    one.observe(counted(5010.0, None, None, power=5000.0))
    one.observe(counted(5020.0, 3004.5, 1000.1, power=-5000.0))
    assert (one.charged, one.discharged, one.unobserved) == (3004.5, 1000.1, 10.0)


def test_one_direction_may_be_counted_and_the_other_not() -> None:
    """The one by the counter, the other by its power."""
    one = account()
    one.observe(counted(-10.0, 6.5, power=0.0))
    for number in range(37):
        one.observe(counted(10.0 * number, 7.0, power=-1000.0))
    assert one.charged == 7.0
    assert one.discharged == pytest.approx(0.1, abs=0.002)


def test_until_a_counter_moves_power_counts_and_its_first_step_adds_what_goes_beyond() -> None:
    """Some fill the field with zeros; and whole kWh are not known before the first of them is full."""
    one = account()
    for second in range(0, 36001, 10):
        one.observe(counted(second, 0.0, 0.0, power=2000.0))
    assert one.charged == pytest.approx(20.0)
    # it was zeros while nothing was ready; what it says then is no step
    for second in range(36010, 36101, 10):
        one.observe(counted(second, 500.0, 0.0, power=2000.0))
        one = resumed(one, second, 0.0, now=second)
        one.observe(counted(second + 5, 500.0, 0.0, power=2000.0))
    before = one.charged or 0.0
    one.observe(counted(36115.0, 501.0, 0.0, power=2000.0))
    assert one.charged == pytest.approx(before + 1.0, abs=0.06)
    late = account()
    for second in range(0, 3601, 10):
        late.observe(counted(second, 10.0 if second < 3600 else 11.0, power=900.0))
    assert late.charged == pytest.approx(11.0)
    late = account()
    for second in range(0, 3601, 10):
        late.observe(counted(second, 10.0 if second < 3600 else 11.0, power=1200.0))
    assert late.charged == pytest.approx(11.2)


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


def test_a_coarse_counter_may_step_when_a_whole_one_is_full() -> None:
    """More than flowed since the last answer, but not more than 1 kWh more."""
    one = account()
    for number, value in enumerate((100.0, 100.0, 101.0, 101.0, 102.02, 102.02)):
        one.observe(counted(10.0 * number, value, power=0.0))
        assert one.charged == pytest.approx(min(value, 102.02))
    for number, value in enumerate((103.1, 102.02, 103.1, 103.1, 103.2)):
        one.observe(counted(60.0 + 10.0 * number, value, power=0.0))
    assert one.charged == pytest.approx(102.12)


def test_a_counter_goes_on_over_a_restart() -> None:
    """What it counted meanwhile is in it; but over a clock that was set back nobody knows whether it could be."""
    one = account()
    one.observe(counted(0.0, 100.0))
    after = resumed(one, 5.0, 7200.0)
    assert after.observe(counted(10.0, 103.0)).charged == pytest.approx(3.0)
    lost = resumed(one, 5.0, -100.0)
    assert lost.observe(counted(10.0, 103.0)).charged == 0.0
    assert lost.observe(counted(3610.0, 104.0)).charged == pytest.approx(1.0)


def test_a_file_that_knows_less_of_its_counter_is_gone_on_from() -> None:
    """As they were kept before; the counter has to be seen to move again, which adds what is beyond the total."""
    direction = {"total": 105.0, "estimated": 1.0, "counter": 100.0, "counter_age": 3.0, "doubted": 5.0, "lent": 0.5}
    one = account()
    one.restore({"utc": NOON.isoformat(), "age": 3.0, "power": 0.0, "charged": direction}, 5.0, NOON)
    one.observe(counted(10.0, 100.5, power=0.0))
    assert (one.charged, one.estimated_charged) == (105.5, 1.0)


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
        one.observe(counted(when, value, power=0.0))
    assert one.charged == pytest.approx(70.0)


@pytest.mark.parametrize("away", [False, True])
def test_a_counter_that_stays_a_little_lower_is_followed_from_there(away: bool) -> None:
    """After three answers, or after longer than a gap."""
    one = account()
    one.observe(counted(0.0, 99.9, power=0.0))
    one.observe(counted(10.0, 100.0, power=0.0))
    times = (20.0, 90.0) if away else (20.0, 30.0, 40.0)
    for when in times:
        one.observe(counted(when, 99.5, power=0.0))
    one.observe(counted(100.0, 99.6, power=0.0))
    assert one.charged == pytest.approx(100.1)


@pytest.mark.parametrize("step", [0.001, 0.01, 0.1, 1.0])
def test_a_bank_that_loses_a_pack_goes_on_with_what_the_others_counted(step: float) -> None:
    """Its counter is 7 % lower for good, and takes months to come back to where it was."""
    one, true = account(), 14000.0
    for number in range(30_000):
        true += 3000 * 10 / 3.6e6
        shown = math.floor((true - 1000 * (number >= 1000)) / step + 1e-9) * step
        one.observe(counted(10.0 * number, shown, 1.0, power=3000.0))
    assert one.charged == pytest.approx(true, abs=step + 0.01)


def test_a_new_board_that_falls_silent_counts_once() -> None:
    """By power until its counter has moved, which then shows the same."""
    one = account()
    for number in range(101):
        one.observe(counted(10.0 * number, 500 + round(number / 120, 2), 1.0, power=3000.0))
    start = one.charged or 0.0
    for second in (1010, 1020, 1030):
        one.observe(counted(second, 0.0, 1.0, power=0.0))
    for number in range(1, 611):
        value = round(number / 120, 2) if number > 600 else None
        one.observe(counted(1030.0 + 10 * number, value, 1.0, power=3000.0))
    assert (one.charged or 0.0) - start == pytest.approx(610 / 120, abs=0.02)


def test_a_new_board_that_is_away_for_long_loses_nothing() -> None:
    """It begins at nothing, is idle, and has moved far when it is heard again."""
    one = account()
    for number in range(20):
        one.observe(counted(10.0 * number, 5.0, 12.46, power=0.0))
    for number in range(20, 25):
        one.observe(counted(10.0 * number, 5.0, 0.0, power=0.0))
    one.observe(counted(9240.0, 5.0, 7.5, power=-3000.0))
    one.observe(counted(9250.0, 5.0, 7.51, power=-3000.0))
    assert one.discharged == pytest.approx(12.46 + 7.51)


@dataclass(slots=True)
class Drawn:
    """A battery of which 3 kW are drawn, as far as it is told."""

    one: EnergyAccount = field(default_factory=account)
    now: float = 0.0
    true: float = 100.0  # kWh
    charge: float = 180.0  # Ah

    def tell(self, seconds: float, *, counters: bool = True, count: bool = True, power: bool = True) -> None:
        """Go on for so long, and say this then."""
        self.now += seconds
        self.true += 3000 * seconds / 3.6e6
        self.charge -= 3000 * seconds / 3600 / 52
        self.one.observe(
            Reading(
                when=self.now,
                power=-3000.0 if power else None,
                voltage=52.0,
                remaining_capacity=self.charge if count else None,
                charged=5.0 if counters else None,
                discharged=self.true if counters else None,
            )
        )


def test_what_a_counter_told_of_a_restart_does_not_come_again_by_the_charge() -> None:
    """Which is heard only after the counters have fallen silent."""
    home = Drawn()
    for _ in range(60):
        home.tell(10.0)
    home.one = resumed(home.one, home.now, 0.0, now=home.now)
    home.tell(7200.0, count=False)
    assert home.one.discharged == pytest.approx(home.true)
    for _ in range(5):
        home.tell(10.0, count=False, counters=False)
    for _ in range(300):
        home.tell(10.0, counters=False)
        assert home.true - 3 < (home.one.discharged or 0.0) < home.true
    home.tell(10.0)
    assert home.one.discharged == pytest.approx(home.true)
    assert home.one.estimated_discharged == 0.0


def test_what_a_counter_told_while_all_else_was_missing_does_not_come_again() -> None:
    """Then the counters stop, and power and charge come back."""
    home = Drawn()
    for _ in range(60):
        home.tell(10.0)
    for _ in range(720):
        home.tell(10.0, count=False, power=False)
        assert home.one.discharged == pytest.approx(home.true)
    for _ in range(7):
        home.tell(10.0, count=False, power=False, counters=False)
    for _ in range(300):
        home.tell(10.0, counters=False)
        assert home.true - 3 < (home.one.discharged or 0.0) < home.true
    for _ in range(300):
        home.tell(10.0)
        assert home.one.discharged == pytest.approx(home.true)


@pytest.mark.parametrize(("most", "step"), [(0.5, 0.1), (5.0, 1.0)])
def test_a_small_counter_that_answers_out_of_order_does_not_count_twice(most: float, step: float) -> None:
    """One step less is more than a tenth of it, and no new board."""
    one = account()
    for number in range(360):
        one.observe(counted(10.0 * number, most - step if number % 6 == 3 else most, 0.0, power=0.0))
    assert one.charged == pytest.approx(most)


def test_while_a_counter_is_not_told_nothing_else_counts_and_its_next_step_makes_up_for_it() -> None:
    """Five hours without it, and a restart meanwhile; none of that is unobserved, whatever power says."""
    one = account()
    for second in range(0, 36001, 10):
        told = not 3600 < second < 21600
        value = 5.0 + (second / 3600 * 1.01 if told else 1.01)
        one.observe(counted(second, value if told else None, value if told else None, power=1000.0 if told else None))
        assert one.charged == pytest.approx(value)
        if second == 18000:
            one = resumed(one, second, 0.0, now=second)
    assert one.unobserved == 0.0
    assert one.charged == one.discharged == pytest.approx(15.1)


def test_a_counter_in_whole_kwh_is_followed_once_it_has_moved() -> None:
    """Between two of its steps power adds nothing, though it says a little more."""
    one = account()
    for second in range(0, 37801, 10):
        one.observe(counted(second, 100.0 + second // 3600, 0.0, power=1050.0))
        if second >= 3600:
            assert one.charged == pytest.approx(100.05 + second // 3600)
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
    one.observe(counted(3610.0, 100.1, 80.1))
    one.observe(counted(7200.0, 101.0, 80.1))
    assert one.unobserved == 3600.0


def test_of_a_gap_in_which_only_one_direction_was_counted_the_other_is_not_known() -> None:
    """More came in than the charge rose by; what went out nobody counted, and the seconds say so."""
    one = account()
    one.observe(Reading(when=-10.0, power=0.0, voltage=50.0, remaining_capacity=50.0, charged=9.9))
    one.observe(Reading(when=0.0, power=0.0, voltage=50.0, remaining_capacity=50.0, charged=10.0))
    one.observe(Reading(when=7200.0, power=0.0, voltage=50.0, remaining_capacity=60.0, charged=11.5))
    assert (one.charged, one.discharged, one.unobserved) == (11.5, 0.0, 7200.0)
    one.observe(Reading(when=14400.0, power=0.0, voltage=50.0, remaining_capacity=50.0, charged=11.5))
    assert one.discharged == pytest.approx(0.5)
    assert (one.charged, one.unobserved) == (11.5, 7200.0)
