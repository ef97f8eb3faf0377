"""What is held back, for how long, and what is asked for again."""

from collections.abc import Iterator
from dataclasses import replace
import math
import random
from typing import Any

from hypothesis import given, strategies as st
import pytest

from custom_components.lfp_battery.bms.model import Alarm, BankState, PackState
from custom_components.lfp_battery.bms.plausibility import Gate, Limits, hold_back
from tests.simulator.pack import PackSpec, SimPack

from .good_reading import CELLS, GOOD, SHORT_CIRCUIT, used_to, with_cell


def test_an_ordinary_reading_passes_untouched() -> None:
    """The same object, nothing held back, nothing asked again."""
    gate: Gate[PackState] = Gate(weak_check=True)
    assert not gate.needs_second_reading(GOOD)
    state, held = gate.admit(GOOD)
    assert state is GOOD
    assert held == {}
    assert gate.held_back == {}


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"voltage": 0.0}, "voltage", "blank"),
        ({"voltage": 90.0}, "voltage", "out_of_range"),
        ({"voltage": 40.0}, "voltage", "cell_sum"),
        ({"current": 3276.7}, "current", "out_of_range"),
        ({"current": math.nan}, "current", "out_of_range"),
        ({"soc": 101.0, "derived": frozenset()}, "soc", "out_of_range"),
        ({"soc": -1.0, "derived": frozenset()}, "soc", "out_of_range"),
        ({"soh": 120.0}, "soh", "out_of_range"),
        ({"cycles": 60_000}, "cycles", "out_of_range"),
        ({"remaining_capacity": 5000.0}, "remaining_capacity", "out_of_range"),
        ({"remaining_capacity": 120.0}, "remaining_capacity", "above_full"),
        ({"full_capacity": 0.0}, "full_capacity", "out_of_range"),
        ({"cell_voltages": (5.2, *CELLS[1:])}, "cell_voltages", "out_of_range"),
        ({"cell_temperatures": (-56.0, 22.0, 22.0, 21.5)}, "cell_temperatures", "out_of_range"),
        ({"mosfet_temperature": 121.0}, "mosfet_temperature", "out_of_range"),
        ({"temperature": -41.0}, "temperature", "out_of_range"),
        ({"charge_current_limit": -1.0}, "charge_current_limit", "out_of_range"),
        ({"charge_voltage_limit": 77.0}, "charge_voltage_limit", "out_of_range"),
        ({"charge_voltage_limit": 40.0}, "charge_voltage_limit", "order"),
        ({"power": 4000.0}, "power", "power_mismatch"),
        ({"cell_voltage_min": 3.4, "cell_voltage_max": 3.3}, "cell_voltage_min", "order"),
        ({"energy_charged": -0.1}, "energy_charged", "out_of_range"),
    ],
)
def test_a_value_that_cannot_be_is_held_back_with_its_reason(changes: dict[str, Any], field: str, reason: str) -> None:
    """One rule each; what was good before stands in for it."""
    gate = used_to()
    spoilt = replace(GOOD, **changes)
    assert gate.needs_second_reading(spoilt)
    state, held = gate.admit(spoilt)
    assert held[field] == reason
    assert getattr(state, field) == getattr(GOOD, field)


def test_a_stand_in_lasts_three_readings_and_then_nothing_is_said() -> None:
    """The reason is given every time, and so is the count."""
    gate = used_to()
    spoilt = replace(GOOD, current=3000.0)
    seen = [gate.admit(spoilt) for _ in range(5)]
    assert [state.current for state, _ in seen] == [-12.3, -12.3, -12.3, None, None]
    assert all(held == {"current": "out_of_range"} for _, held in seen)
    assert gate.held_back == {"current": 5}
    assert gate.admit(GOOD) == (GOOD, {})


@pytest.mark.parametrize("weak_check", [True, False])
def test_what_was_unknown_in_between_has_no_stand_in(weak_check: bool) -> None:
    """Nobody could see how old the last good value is; once there is a new one, that stands in."""
    gate = used_to(weak_check=weak_check)
    assert gate.admit(replace(GOOD, current=None))[0].current is None
    state, held = gate.admit(replace(GOOD, current=3000.0))
    assert (state.current, held) == (None, {"current": "out_of_range"})
    assert gate.admit(GOOD)[0].current == GOOD.current
    state, held = gate.admit(replace(GOOD, current=3000.0))
    assert (state.current, held) == (GOOD.current, {"current": "out_of_range"})


def test_a_cell_that_was_unknown_in_between_has_no_stand_in_and_its_neighbours_have() -> None:
    """Each element of a list for itself."""
    gate = used_to(weak_check=False)
    gate.admit(with_cell(1, None))
    assert GOOD.cell_voltages is not None
    state, _ = gate.admit(replace(GOOD, cell_voltages=(9.0, 9.0, *GOOD.cell_voltages[2:])))
    assert state.cell_voltages == (None, *GOOD.cell_voltages[1:])


def test_what_stays_impossible_is_not_asked_twice_for_ever() -> None:
    """Noise does not last that long; asking again would cost bus time each cycle."""
    gate = used_to()
    spoilt = replace(GOOD, mosfet_temperature=-56.0)
    asked = []
    for _ in range(6):
        asked.append(gate.needs_second_reading(spoilt))
        gate.admit(spoilt, spoilt)
    assert asked == [True, True, True, False, False, False]


def test_a_second_reading_repairs_an_impossible_value() -> None:
    """The second value is published and nothing counts as held back."""
    gate = used_to()
    state, held = gate.admit(replace(GOOD, current=3000.0), replace(GOOD, current=-12.5))
    assert state.current == -12.5
    assert held == {}


def test_a_real_checksum_makes_jumps_and_impossible_values_no_reason_to_ask_again() -> None:
    """Such a value is what the battery says; only a physical extreme is confirmed."""
    gate = used_to(weak_check=False)
    assert not gate.needs_second_reading(replace(GOOD, soc=30.0, remaining_capacity=30.0))
    assert not gate.needs_second_reading(replace(GOOD, current=3000.0))
    assert not gate.needs_second_reading(replace(GOOD, alarms=frozenset({SHORT_CIRCUIT})))
    assert gate.needs_second_reading(replace(GOOD, mosfet_temperature=110.0))


def test_a_physical_extreme_is_published_once_it_repeats() -> None:
    """In the second reading of the same cycle, and from then on without asking."""
    gate = used_to()
    hot = replace(GOOD, cell_temperatures=(21.0, 88.0, 22.0, 21.5))
    assert gate.needs_second_reading(hot)
    state, held = gate.admit(hot, hot)
    assert (state.cell_temperatures, held) == (hot.cell_temperatures, {})
    assert not gate.needs_second_reading(hot)
    assert gate.admit(hot)[1] == {}


def test_an_extreme_that_does_not_repeat_is_not_published() -> None:
    """The second reading says that it was noise."""
    gate = used_to()
    state, held = gate.admit(replace(GOOD, mosfet_temperature=111.0), GOOD)
    assert (state.mosfet_temperature, held) == (24.0, {})


def test_where_nothing_can_be_asked_twice_the_next_cycle_is_the_second_reading() -> None:
    """An overheard bus has no second reading."""
    gate = used_to(weak_check=False)
    hot = replace(GOOD, mosfet_temperature=110.0)
    first, held = gate.admit(hot)
    assert (first.mosfet_temperature, held) == (24.0, {"mosfet_temperature": "extreme"})
    second, held = gate.admit(replace(hot, mosfet_temperature=110.5))
    assert (second.mosfet_temperature, held) == (110.5, {})


def test_two_extremes_that_differ_are_both_disbelieved() -> None:
    """A damaged line does not repeat itself."""
    gate = used_to()
    state, held = gate.admit(replace(GOOD, mosfet_temperature=110.0), replace(GOOD, mosfet_temperature=-35.0))
    assert (state.mosfet_temperature, held) == (24.0, {"mosfet_temperature": "extreme"})


def test_an_alarming_cell_voltage_is_possible() -> None:
    """1.5 V and 4.1 V are a reason to act, not to hide."""
    for volts in (1.5, 4.1):
        voltage = sum(CELLS) - CELLS[4] + volts
        bad = replace(with_cell(5, volts), voltage=voltage)
        gate: Gate[PackState] = Gate(weak_check=False)
        assert gate.needs_second_reading(bad)
        state, held = gate.admit(bad, bad)
        assert (state.cell_voltages, held) == (bad.cell_voltages, {})
        assert hold_back(bad) == (bad, {})


@pytest.mark.parametrize("derived", [frozenset({"soc"}), frozenset()])
def test_a_jump_of_charge_is_asked_about_and_believed_when_it_repeats(derived: frozenset[str]) -> None:
    """More than 2 % since the last published reading, reported or computed."""
    gate = used_to(replace(GOOD, derived=derived))
    assert not gate.needs_second_reading(replace(GOOD, remaining_capacity=64.5, soc=64.5, derived=derived))
    jump = replace(GOOD, remaining_capacity=60.0, soc=60.0, derived=derived)
    assert gate.needs_second_reading(jump)
    lonely, held = gate.admit(jump)
    assert lonely.soc == 66.0
    assert held["soc"] == "jump"
    state, held = used_to(replace(GOOD, derived=derived)).admit(jump, jump)
    assert (state.soc, held) == (60.0, {})


def test_a_kettle_is_never_held_back() -> None:
    """A current may go anywhere at once; asked again, it is published as it then is."""
    gate = used_to()
    kettle = replace(GOOD, current=-95.0, voltage=51.9, cell_voltages=tuple(v - 0.06 for v in CELLS))
    assert gate.needs_second_reading(kettle)
    state, held = gate.admit(kettle, replace(kettle, current=-112.0))
    assert (state.current, held) == (-112.0, {})
    assert not gate.needs_second_reading(replace(kettle, current=-60.0))


def test_a_small_load_step_is_not_asked_about() -> None:
    """2 kW more on one pack, with the voltage that goes with it."""
    gate = used_to()
    loaded = replace(GOOD, current=-52.0, voltage=51.6, cell_voltages=tuple(v - 0.077 for v in CELLS))
    assert not gate.needs_second_reading(loaded)


def test_counters_do_not_run_backwards_on_one_reading_alone() -> None:
    """Once, it is noise; twice, the electronics were replaced."""
    gate = used_to(replace(GOOD, cycles=300))
    renewed = replace(GOOD, cycles=2)
    assert gate.needs_second_reading(renewed)
    state, held = gate.admit(renewed)
    assert (state.cycles, held) == (300, {"cycles": "backwards"})
    assert gate.admit(renewed)[0].cycles == 2


def test_a_new_alarm_is_asked_about_and_never_held_back() -> None:
    """What the second reading says counts; without one, the first."""
    alarmed = replace(GOOD, alarms=frozenset({SHORT_CIRCUIT}))
    gate = used_to()
    assert gate.needs_second_reading(alarmed)
    assert gate.admit(alarmed, GOOD)[0].alarms == frozenset()
    assert gate.admit(alarmed)[0].alarms == frozenset({SHORT_CIRCUIT})
    assert not gate.needs_second_reading(alarmed)
    assert not gate.needs_second_reading(GOOD)


def test_alarms_pass_although_the_rest_is_held_back() -> None:
    """Also when the second reading brought no alarms."""
    alarmed = replace(GOOD, current=3000.0, alarms=frozenset({SHORT_CIRCUIT}))
    state, held = used_to().admit(alarmed, replace(GOOD, alarms=None))
    assert state.alarms == frozenset({SHORT_CIRCUIT})
    assert held == {}


def test_after_a_silence_old_values_are_no_yardstick() -> None:
    """A pack that comes back may have gained half its charge."""
    gate = used_to()
    gate.admit(replace(GOOD, current=3000.0))
    gate.forget()
    later = replace(GOOD, soc=95.0, remaining_capacity=95.0, current=-80.0)
    assert not gate.needs_second_reading(later)
    assert gate.admit(later) == (later, {})
    assert gate.held_back == {"current": 1}


def test_a_first_reading_without_a_second_says_nothing_rather_than_nonsense() -> None:
    """There is no good value to stand in."""
    gate: Gate[PackState] = Gate(weak_check=True)
    state, held = gate.admit(replace(GOOD, current=3000.0))
    assert (state.current, held) == (None, {"current": "out_of_range"})
    assert state.voltage == GOOD.voltage


def test_a_field_that_is_not_reported_is_not_missed() -> None:
    """Limits come in every sixth cycle; in between their last value is no stand-in for None."""
    gate = used_to()
    bare = replace(GOOD, charge_voltage_limit=None, cell_voltages=None, cell_temperatures=None)
    assert gate.admit(bare) == (bare, {})
    assert gate.admit(GOOD) == (GOOD, {})


def test_a_message_full_of_zeros_is_not_a_battery() -> None:
    """Seen with intact checksums while electronics start."""
    blank = PackState(address=1, voltage=0.0, current=0.0, soc=0.0, cell_voltages=(0.0,) * 8)
    state, held = hold_back(blank)
    assert held == {"voltage": "blank", "soc": "blank", "cell_voltages": "blank"}
    assert (state.voltage, state.soc, state.cell_voltages, state.current) == (None, None, None, 0.0)


def test_what_is_known_of_the_model_narrows_the_ranges() -> None:
    """Three times the rated current is still believed, ten times is not."""
    limits = Limits(cells=16, capacity=100.0, current=180.0)
    assert hold_back(replace(GOOD, current=-700.0))[1] == {}
    assert hold_back(replace(GOOD, current=-700.0), limits)[1] == {"current": "out_of_range"}
    assert hold_back(replace(GOOD, current=-400.0), limits)[1] == {}
    gate = used_to()
    gate.know(limits)
    assert gate.admit(replace(GOOD, full_capacity=200.0, soc=33.0))[1]["full_capacity"] == "out_of_range"


def test_a_bank_may_hold_and_carry_more_than_a_pack() -> None:
    """One pack's limits are not a bank's; module counts have a range of their own."""
    bank = BankState(voltage=52.0, current=-900.0, full_capacity=4396.0, remaining_capacity=2000.0, modules=14)
    assert hold_back(bank, Limits(cells=16, capacity=314.0, current=100.0)) == (bank, {})
    state, held = hold_back(replace(bank, modules=240))
    assert (state.modules, held) == (None, {"modules": "out_of_range"})
    gate: Gate[BankState] = Gate(weak_check=True)
    assert gate.admit(bank) == (bank, {})


def a_day(pack: SimPack, *, cadence: float = 10.0) -> Iterator[PackState]:
    """Readings of a simulated day: sun at noon, a household's load, a fridge, three kettles."""
    rng = random.Random(7)
    kettles = (7.5, 13.0, 19.2)
    for step in range(int(86400 / cadence)):
        hour = step * cadence / 3600
        sun = max(0.0, 45.0 * math.sin(math.pi * (hour - 6) / 12))
        load = 6.0 + 3.0 * (int(hour * 3) % 2) + 8.0 * (17 < hour < 22) + rng.gauss(0, 0.4)
        load += 40.0 * any(start <= hour < start + 0.06 for start in kettles)
        current = sun - load
        current = min(current, pack.charge_limit) if current > 0 else max(current, -pack.discharge_limit)
        pack.step(cadence, current, 18.0 + 6 * math.sin(math.pi * (hour - 9) / 12))
        share = pack.soc
        yield PackState(
            address=2,
            voltage=round(pack.voltage, 3),
            current=round(pack.current, 1),
            soc=share,
            remaining_capacity=round(pack.remaining_capacity, 2),
            full_capacity=round(pack.full_capacity, 2),
            cycles=int(pack.cycles),
            cell_voltages=tuple(round(v, 3) for v in pack.cell_voltages),
            cell_temperatures=tuple(round(t, 1) for t in pack.cell_temperatures),
            mosfet_temperature=round(pack.mosfet_temperature, 1),
            pcb_temperature=round(pack.board_temperature, 1),
            alarms=pack.alarms,
            charge_voltage_limit=pack.charge_voltage_limit,
            discharge_voltage_limit=pack.discharge_voltage_limit,
            charge_current_limit=round(pack.charge_limit, 1),
            discharge_current_limit=round(pack.discharge_limit, 1),
            derived=frozenset({"soc"}),
        )


@pytest.mark.parametrize("cells", [8, 16])
def test_an_ordinary_day_is_read_once(cells: int) -> None:
    """Of 8,640 readings of a simulated pack none is held back, and only real events are asked about."""
    gate: Gate[PackState] = Gate(weak_check=True)
    before: frozenset[Alarm] = frozenset()
    last = 0.0
    limits = (0.0, 0.0)
    surprises = []
    for state in a_day(SimPack(PackSpec(cells=cells, soc=45.0, seed=3))):
        assert state.alarms is not None
        assert state.remaining_capacity is not None
        assert state.charge_current_limit is not None
        assert state.discharge_current_limit is not None
        allowed = (state.charge_current_limit, state.discharge_current_limit)
        event = not state.alarms <= before or abs(state.remaining_capacity - last) > 2
        event |= any(abs(new - old) > 5 for new, old in zip(allowed, limits, strict=True))  # chargers obey it at once
        asked = gate.needs_second_reading(state)
        if asked and not event:
            surprises.append(state)
        published, held = gate.admit(state, state if asked else None)
        assert held == {}
        assert published == state
        before, last, limits = state.alarms, state.remaining_capacity, allowed
    assert surprises == []


_NUMBERS = st.one_of(st.none(), st.floats(), st.floats(-200, 200))
_TUPLES = st.one_of(st.none(), st.lists(_NUMBERS, max_size=20).map(tuple))
_STATES = st.builds(
    PackState,
    address=st.just(2),
    voltage=_NUMBERS,
    current=_NUMBERS,
    power=_NUMBERS,
    soc=_NUMBERS,
    remaining_capacity=_NUMBERS,
    full_capacity=_NUMBERS,
    cycles=st.one_of(st.none(), st.integers()),
    cell_voltages=_TUPLES,
    cell_temperatures=_TUPLES,
    cell_voltage_min=_NUMBERS,
    cell_voltage_max=_NUMBERS,
    derived=st.frozensets(st.sampled_from(["soc", "power", "cell_voltage_min", "mode"])),
)


@given(st.lists(st.tuples(_STATES, st.one_of(st.none(), _STATES)), max_size=5), st.booleans())
def test_whatever_comes_in_only_possible_values_go_out(
    readings: list[tuple[PackState, PackState | None]], weak_check: bool
) -> None:
    """Any numbers at all, in any order: no error, and every published value within its range."""
    gate: Gate[PackState] = Gate(weak_check=weak_check)
    for first, second in readings:
        gate.needs_second_reading(first)
        state, held = gate.admit(first, second)
        for value in state.cell_voltages or ():
            assert value is None or 0 <= value <= 5
        for value in state.cell_temperatures or ():
            assert value is None or -40 <= value <= 120
        assert state.voltage is None or 8 <= state.voltage <= 70
        assert state.current is None or abs(state.current) <= 1000
        assert state.soc is None or 0 <= state.soc <= 100
        assert all(reason for reason in held.values())
