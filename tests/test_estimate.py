"""What is worked out from readings."""

from typing import Any

import pytest

from custom_components.lfp_battery.bms.model import BatteryState
from custom_components.lfp_battery.estimate import (
    Rating,
    Smoothed,
    full_energy,
    stored_energy,
    tells_energy,
    tells_full_energy,
    time_left,
    time_to_full,
)


def test_stored_energy_is_the_usable_one_where_the_manual_names_it() -> None:
    """Half of the charge is half of what can be used."""
    state = BatteryState(remaining_capacity=50.0, full_capacity=100.0)
    assert stored_energy(state, 16, Rating(voltage=51.2, usable_energy=4.6)) == pytest.approx(2.3)


def test_stored_energy_of_a_bank_is_that_of_all_its_packs() -> None:
    """A bank that speaks for itself has several times what the manual says of one."""
    rating = Rating(voltage=51.2, usable_energy=4.6, capacity=100.0)
    bank = BatteryState(remaining_capacity=150.0, full_capacity=300.0)
    assert stored_energy(bank, 16, rating) == pytest.approx(0.5 * 3 * 4.6)


@pytest.mark.parametrize(
    ("full", "packs", "energy"),
    [
        (90.0, 1, 90 / 128 * 6.0),
        (180.0, 2, 180 / 128 * 6.0),
        (180.0, None, 180 / 128 * 6.0),  # two worn packs are not one new one
        (130.0, 1, 6.0),  # it came with a little more than its manual says
        (266.0, 2, 12.0),
    ],
)
def test_a_worn_pack_holds_less_than_its_manual_says(full: float, packs: int | None, energy: float) -> None:
    """By as much as its capacity has gone down; and never more than so many packs do."""
    rating = Rating(voltage=51.2, usable_energy=6.0, capacity=128.0)
    state = BatteryState(remaining_capacity=full / 4, full_capacity=full)
    assert full_energy(state, 16, rating, packs) == pytest.approx(energy)
    assert stored_energy(state, 16, rating, packs) == pytest.approx(energy / 4)


def test_usable_energy_without_a_capacity_counts_packs() -> None:
    """Nothing tells what is left of it."""
    state = BatteryState(remaining_capacity=90.0, full_capacity=180.0)
    assert full_energy(state, 16, Rating(usable_energy=4.6), 2) == pytest.approx(9.2)
    assert full_energy(state, 16, Rating(usable_energy=4.6)) == pytest.approx(4.6)


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
    reported: dict[str, Any], rating: Rating, cells: int | None
) -> None:
    """By what the battery reports and what is known of it: an entity that is unknown for ever helps nobody."""
    for fields in (reported, {"full_capacity": 100.0, **reported}):
        worked_out = stored_energy(BatteryState(**fields), cells, rating)
        assert tells_energy(fields.keys(), cells, rating) is (worked_out is not None)
        at_full = full_energy(BatteryState(**fields), cells, rating)
        assert tells_full_energy(fields.keys(), cells, rating) is (at_full is not None)


@pytest.mark.parametrize(
    ("full", "rating", "cells", "packs", "energy"),
    [
        (100.0, Rating(voltage=51.2, usable_energy=4.6, capacity=100.0), 16, None, 4.6),
        (290.0, Rating(voltage=51.2, usable_energy=4.6, capacity=100.0), 16, None, 13.34),
        (348.0, Rating(voltage=51.2, usable_energy=4.6, capacity=100.0), 16, 4, 16.008),
        (942.0, Rating(voltage=51.2, capacity=314.0), 16, 3, 48.2304),
        (100.0, Rating(), 8, None, 2.56),
        (None, Rating(usable_energy=4.6, voltage=51.2), 16, 3, None),
        (100.0, Rating(), None, None, None),
    ],
)
def test_full_energy_is_what_stored_energy_is_when_full(
    full: float | None, rating: Rating, cells: int | None, packs: int | None, energy: float | None
) -> None:
    """The usable one by the manual for each pack, else the full charge at nominal voltage; three ML314 hold 48.2 kWh."""
    state = BatteryState(full_capacity=full, remaining_capacity=full)
    found = full_energy(state, cells, rating, packs)
    assert found == (None if energy is None else pytest.approx(energy))
    assert found == stored_energy(state, cells, rating, packs)


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


@pytest.mark.parametrize(
    ("current", "seconds"), [(10.0, 18000.0), (0.5, None), (0.0, None), (-10.0, None), (None, None)]
)
def test_time_to_full_is_known_only_while_the_charge_rises(current: float | None, seconds: float | None) -> None:
    """50 Ah of room at 10 A last five hours; at rest or discharging there is no answer."""
    state = BatteryState(remaining_capacity=50.0, full_capacity=100.0)
    assert time_to_full(state, current) == seconds
    assert time_to_full(BatteryState(remaining_capacity=50.0, soc=50.0), current) == seconds


def test_time_to_full_of_a_pack_past_full_is_none_at_all() -> None:
    """Counters run a little over at the end of a charge."""
    assert time_to_full(BatteryState(remaining_capacity=100.4, full_capacity=100.0), 2.0) == 0.0
    assert time_to_full(BatteryState(soc=50.0), 20.0) is None


def _current(*pieces: tuple[float, float], every: float = 10.0) -> Smoothed:
    """Seconds and amperes, one after the other."""
    smoothed, now = Smoothed(), 0.0
    for seconds, amperes in pieces:
        for _ in range(round(seconds / every)):
            smoothed.observe(now, amperes)
            now += every
    return smoothed


def test_a_current_that_goes_to_and_fro_has_no_direction() -> None:
    """A hob that switches on and off under a cloudy sky: hours cannot be reckoned with that."""
    smoothed = _current((600, 10.0), *[(180, -10.0), (180, 10.0)] * 3)
    assert smoothed.restless
    assert smoothed.value is None
    state = BatteryState(remaining_capacity=50.0, full_capacity=100.0)
    assert time_left(state, smoothed.value, 10.0) is None
    assert time_to_full(state, smoothed.value) is None


@pytest.mark.parametrize(
    ("pieces", "sign"),
    [
        (((3600, 20.0), (600, -20.0)), -1),  # an evening begins
        (((3600, 20.0), (60, -20.0), (600, 20.0)), 1),  # a kettle
        (((3600, 20.0), *(((20, -15.0), (40, 20.0)) * 20)), 1),  # ups and downs that charge it all the same
        (((600, 10.0), (300, -10.0), (300, 10.0), (1200, 10.0)), 1),  # over for a while
    ],
)
def test_a_current_with_a_direction_keeps_it(pieces: tuple[tuple[float, float], ...], sign: int) -> None:
    """One change of direction says nothing against it, nor does what the mean does not follow."""
    value = _current(*pieces).value
    assert value is not None
    assert value * sign > 5.0


def test_a_flicker_around_nought_is_no_change_of_direction() -> None:
    """Within the dead band a current has none."""
    assert _current(*[(300, 0.4), (300, -0.4)] * 3, (300, -20.0)).value == pytest.approx(-18.4, abs=0.2)


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
