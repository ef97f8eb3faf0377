"""What is worked out from readings."""

import pytest

from custom_components.lfp_battery.bms.model import BatteryState
from custom_components.lfp_battery.estimate import (
    Rating,
    RunningTotal,
    Smoothed,
    stored_energy,
    tells_energy,
    time_left,
)


def test_stored_energy_is_the_usable_one_where_the_manual_names_it() -> None:
    """Half of the charge is half of what can be used."""
    state = BatteryState(remaining_capacity=50.0, full_capacity=100.0)
    assert stored_energy(state, 16, Rating(voltage=51.2, usable_energy=4.6)) == pytest.approx(2.3)


def test_stored_energy_of_a_bank_is_that_of_all_its_packs() -> None:
    """A bank that speaks for itself has several times what the manual says of one; a worn pack is still one."""
    rating = Rating(voltage=51.2, usable_energy=4.6, capacity=100.0)
    assert stored_energy(BatteryState(remaining_capacity=150.0, full_capacity=290.0), 16, rating) == pytest.approx(
        150 / 290 * 3 * 4.6
    )
    worn = BatteryState(remaining_capacity=30.0, full_capacity=40.0)
    assert stored_energy(worn, 16, rating) == pytest.approx(0.75 * 4.6)


def test_stored_energy_counts_packs_where_it_is_known_how_many_there_are() -> None:
    """Four packs that lost an eighth of their capacity would else be taken for three."""
    rating = Rating(voltage=51.2, usable_energy=4.6, capacity=100.0)
    aged = BatteryState(remaining_capacity=174.0, full_capacity=348.0)
    assert stored_energy(aged, 16, rating) == pytest.approx(0.5 * 3 * 4.6)
    assert stored_energy(aged, 16, rating, 4) == pytest.approx(0.5 * 4 * 4.6)
    assert stored_energy(BatteryState(remaining_capacity=80.0, full_capacity=160.0), 16, rating, 1) == pytest.approx(
        2.3
    )


def test_stored_energy_is_else_the_charge_at_nominal_voltage() -> None:
    """From the manual, or 3.2 V a cell."""
    state = BatteryState(remaining_capacity=50.0, full_capacity=100.0)
    assert stored_energy(state, 16, Rating(voltage=51.0)) == pytest.approx(2.55)
    assert stored_energy(state, 8, Rating()) == pytest.approx(1.28)


def test_stored_energy_is_unknown_without_a_charge_or_a_voltage() -> None:
    """Nothing is made up."""
    assert stored_energy(BatteryState(soc=50.0), 16, Rating()) is None
    assert stored_energy(BatteryState(remaining_capacity=50.0), None, Rating()) is None


@pytest.mark.parametrize("cells", [None, 16])
@pytest.mark.parametrize("rating", [Rating(), Rating(voltage=51.2), Rating(usable_energy=4.6)])
@pytest.mark.parametrize("reported", [{}, {"remaining_capacity": 50.0}, {"full_capacity": 100.0}])
def test_what_can_be_worked_out_is_known_beforehand(
    reported: dict[str, float], rating: Rating, cells: int | None
) -> None:
    """By what the battery reports and what is known of it: an entity that is unknown for ever helps nobody."""
    for fields in (reported, {"full_capacity": 100.0, **reported}):
        worked_out = stored_energy(BatteryState(**fields), cells, rating)
        assert tells_energy(fields.keys(), cells, rating) is (worked_out is not None)


@pytest.mark.parametrize(
    ("current", "seconds"), [(-10.0, 14400.0), (-0.5, None), (0.0, None), (10.0, None), (None, None)]
)
def test_time_left_is_known_only_while_the_charge_sinks(current: float | None, seconds: float | None) -> None:
    """40 Ah above the floor at 10 A last four hours; at rest or charging there is no answer."""
    state = BatteryState(remaining_capacity=50.0, full_capacity=100.0)
    assert time_left(state, current, 10.0) == seconds


def test_time_left_below_the_floor_is_none_at_all() -> None:
    """Nought, not negative."""
    assert time_left(BatteryState(remaining_capacity=5.0, full_capacity=100.0), -10.0, 10.0) == 0.0


def test_time_left_reckons_the_full_capacity_from_soc_when_it_is_not_reported() -> None:
    """50 Ah at 50 % are 100 Ah."""
    assert time_left(BatteryState(remaining_capacity=50.0, soc=50.0), -10.0, 10.0) == pytest.approx(14400)
    assert time_left(BatteryState(remaining_capacity=50.0), -10.0, 10.0) is None


def test_a_smoothed_current_follows_within_minutes_and_not_at_once() -> None:
    """63 % of a step after one time constant, however many samples there were."""
    few, many = Smoothed(120.0), Smoothed(120.0)
    for smoothed in (few, many):
        smoothed.observe(0.0, 0.0)
    few.observe(120.0, 10.0)
    for second in range(1, 121):
        many.observe(float(second), 10.0)
    assert few.value == pytest.approx(6.32, abs=0.01)
    assert many.value == pytest.approx(few.value)


def test_a_total_follows_the_batterys_counter_from_where_it_was() -> None:
    """Also over the time in which nobody listened."""
    total = RunningTotal()
    total.counted(3000.0)
    total.counted(3001.5)
    assert total.value == 3001.5
    later = RunningTotal()
    later.restore(total.value, total.counter)
    later.counted(3002.0)
    assert later.value == 3002.0


def test_a_total_never_steps_back() -> None:
    """Not for a counter that is out of order, and not for one that begins anew."""
    total = RunningTotal()
    for counter in (1000.0, 999.5, 1000.5):
        total.counted(counter)
    assert total.value == 1000.5
    total.counted(0.0)
    total.counted(2.0)
    assert total.value == 1002.5


def test_a_counter_that_appears_later_does_not_make_the_total_jump() -> None:
    """First we counted, then the battery did: the total goes on from where it was."""
    total = RunningTotal()
    total.metered(5.0)
    total.counted(3000.0)
    total.counted(3001.0)
    assert total.value == 6.0


def test_what_we_counted_while_the_battery_did_not_is_not_counted_again() -> None:
    """The battery's counter went on meanwhile: only what it counts from now on is added."""
    total = RunningTotal()
    total.restore(100.0, 100.0)
    total.metered(50.0)
    later = RunningTotal()
    later.restore(total.value, total.counter)
    later.counted(150.0)
    assert later.value == 150.0
    later.counted(151.0)
    assert later.value == 151.0
