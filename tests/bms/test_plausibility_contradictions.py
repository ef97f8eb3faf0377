"""Figures of one reading that contradict each other: which of them is blamed, and what follows from it."""

from dataclasses import replace

import pytest

from custom_components.lfp_battery.bms.model import PackState
from custom_components.lfp_battery.bms.plausibility import Gate, Limits, hold_back

from .good_reading import CELLS, GOOD, used_to, with_cell


def test_cells_that_lost_their_end_on_the_way_are_replaced_by_the_second_reading() -> None:
    """A table without a check may lose its last rows: neither the rest of it nor the voltage is to suffer."""
    gate = used_to()
    short = replace(GOOD, cell_voltages=CELLS[:14])
    assert gate.needs_second_reading(short)
    shown, held = gate.admit(short, GOOD)
    assert shown.cell_voltages == CELLS
    assert not held


def test_cells_that_stay_short_do_not_cost_the_voltage() -> None:
    """Lost twice, what is left stands for nothing, and the voltage is still right."""
    gate = used_to()
    short = replace(GOOD, voltage=52.9, cell_voltages=tuple(cell + 0.004 for cell in CELLS[:14]))
    for _ in range(5):
        shown, held = gate.admit(short, short)
        assert shown.voltage == 52.9
        assert held == {"cell_voltages": "cell_count"}
    assert shown.cell_voltages is None


def test_one_wrong_cell_is_found_by_the_sum() -> None:
    """Only that cell is replaced, the voltage and its neighbours stay."""
    gate = used_to(weak_check=False)
    state, held = gate.admit(with_cell(5, 1.0))
    assert held == {"cell_voltages": "cell_sum"}
    assert state.cell_voltages == CELLS
    assert state.voltage == GOOD.voltage
    alone, reasons = hold_back(with_cell(5, 1.0))
    assert reasons == {"cell_voltages": "cell_sum"}
    assert alone.cell_voltages == (*CELLS[:4], None, *CELLS[5:])


def test_a_wrong_voltage_is_found_by_the_sum() -> None:
    """Noise does not move all cells together, so the voltage is to blame."""
    state, held = hold_back(replace(GOOD, voltage=47.0))
    assert held == {"voltage": "cell_sum"}
    assert state.voltage is None
    assert state.cell_voltages == CELLS


def test_both_sides_are_held_back_when_neither_can_be_blamed() -> None:
    """Two cells astray: what is right cannot be said."""
    state, held = hold_back(with_cell(7, 1.0, with_cell(3, 1.4)))
    assert held == {"voltage": "cell_sum", "cell_voltages": "cell_sum"}
    assert (state.voltage, state.cell_voltages) == (None, None)


def test_a_pack_that_always_measures_its_voltage_a_little_off_is_believed() -> None:
    """0.9 V apart is asked about once and then is how this pack measures."""
    off = replace(GOOD, voltage=53.75)
    gate: Gate[PackState] = Gate(weak_check=True)
    assert gate.needs_second_reading(off)
    assert gate.admit(off, off) == (off, {})
    assert not gate.needs_second_reading(replace(off, voltage=53.7))


def test_the_wrong_number_of_cells_is_held_back() -> None:
    """A pack does not gain a cell."""
    short = replace(GOOD, cell_voltages=CELLS[:15], voltage=sum(CELLS[:15]))
    assert hold_back(short, Limits(cells=16))[1]["cell_voltages"] == "cell_count"
    assert hold_back(short)[1] == {}
    gate = used_to()
    assert gate.needs_second_reading(short)
    assert gate.admit(short, short)[0].cell_voltages == CELLS[:15]


def test_more_charge_than_fits_is_blamed_on_the_figure_that_moved() -> None:
    """On both when there is nothing to compare with; a little overshoot is normal."""
    assert hold_back(replace(GOOD, remaining_capacity=103.0, soc=100.0))[1] == {}
    _, both = hold_back(replace(GOOD, remaining_capacity=130.0))
    assert both == {"remaining_capacity": "above_full", "full_capacity": "above_full", "soc": "above_full"}
    gate = used_to(weak_check=False)
    state, held = gate.admit(replace(GOOD, full_capacity=20.0, soc=100.0))
    assert held == {"full_capacity": "above_full", "soc": "above_full"}
    assert (state.full_capacity, state.soc) == (100.0, 66.0)


def test_a_computed_share_never_exceeds_a_hundred() -> None:
    """Counters run past full before they are set back."""
    state, held = hold_back(replace(GOOD, remaining_capacity=102.0, soc=102.0))
    assert (state.soc, state.remaining_capacity, held) == (100.0, 102.0, {})


def test_what_is_computed_follows_what_is_held_back() -> None:
    """With the same reason; None when a source is."""
    power = replace(GOOD, power=-650.0, derived=frozenset({"soc", "power"}))
    gate = used_to(power)
    state, held = gate.admit(replace(power, current=3000.0, power=158_520.0))
    assert held == {"current": "out_of_range", "power": "out_of_range"}
    assert state.power == pytest.approx(52.84 * -12.3)
    alone, _ = hold_back(replace(power, current=3000.0, power=158_520.0))
    assert (alone.current, alone.power) == (None, None)


def test_what_is_computed_follows_the_second_reading() -> None:
    """A share is not left behind when its sources are replaced."""
    gate = used_to()
    state, held = gate.admit(
        replace(GOOD, remaining_capacity=30.0, soc=30.0), replace(GOOD, remaining_capacity=65.9, soc=65.9)
    )
    assert (state.remaining_capacity, held) == (65.9, {})
    assert state.soc == pytest.approx(65.9)


SAGGED = tuple(cell - 0.16 for cell in CELLS)  # under a heavy load


@pytest.mark.parametrize("weak_check", [False, True])
def test_a_load_step_does_not_contradict_cells_that_were_read_before_it(weak_check: bool) -> None:
    """Cells in turn, voltage in every reading: what is older proves nothing, and the true voltage is shown at once."""
    gate = used_to(weak_check=weak_check)
    reading = replace(GOOD, voltage=sum(SAGGED), current=-190.0)
    stale = frozenset({"cell_voltages"})
    again = replace(PackState(address=2), voltage=reading.voltage, current=reading.current)
    second = again if gate.needs_second_reading(reading, stale) else None
    assert weak_check or second is None
    state, held = gate.admit(reading, second, stale)
    assert state.voltage == reading.voltage
    assert not held


def test_a_load_step_between_two_answers_of_one_reading_is_read_again() -> None:
    """A real checksum proves each of them, not that they are of one moment."""
    gate = used_to(weak_check=False)
    reading = replace(GOOD, voltage=sum(SAGGED), current=-190.0)
    assert gate.needs_second_reading(reading)
    state, held = gate.admit(reading, replace(reading, cell_voltages=SAGGED))
    assert state.voltage == reading.voltage
    assert not held
