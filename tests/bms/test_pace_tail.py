"""How the tail of a PACE record is solved for, and which of its figures are values."""

from itertools import product

import pytest

from custom_components.lfp_battery.bms.errors import FrameError

from .pace_answers import RS232, TAIL, analog, answer, ask, record, states

ANALOG_TAILS = (0, 1, 2, 10, 14, 22)


@pytest.mark.parametrize("sensors", [0, 4, 6, 8, 16])
@pytest.mark.parametrize("length", ANALOG_TAILS)
def test_any_layout_is_solved_for_whatever_the_number_of_items_says(length: int, sensors: int) -> None:
    """The length of the tail follows from the length of the answer alone (section 5)."""
    for cells, items in product((7, 8, 14, 15, 16, 24, 32), (2, 3, 9)):
        _check_layout(length, cells, sensors, items)


def _check_layout(length: int, cells: int, sensors: int, items: int) -> None:
    state = analog(record((3312,) * cells, (2912,) * sensors, items=items, tail=TAIL[:length])).packs[1]
    assert state.cell_voltages == (3.312,) * cells
    assert (state.current, state.cycles) == (-2.25, 140)
    assert (state.remaining_capacity, state.full_capacity, state.design_capacity) == (48.19, 103.46, 100.0)
    assert state.soc == pytest.approx(77.0 if length else 46.578, abs=0.001)
    assert state.soh == (100.0 if length >= 10 else None)
    assert state.derived == (frozenset({"power"}) if length else frozenset({"power", "soc"}))
    assert (state.energy_charged, state.energy_discharged) == (None, None)  # the counters are not trusted
    if sensors == 6:
        assert state.cell_temperatures == (18.2,) * 4
        assert (state.mosfet_temperature, state.ambient_temperature) == (18.2, 18.2)
    else:
        assert state.cell_temperatures == ((18.2,) * sensors or None)
        assert (state.mosfet_temperature, state.ambient_temperature) == (None, None)


def test_a_health_of_0_percent_was_not_given() -> None:
    """A pack that answers is not worth nothing; 1 % is what it says."""
    for said, shown in ((0, None), (1, 1.0)):
        assert analog(record(tail=TAIL[:9] + bytes((said,)))).packs[1].soh == shown


@pytest.mark.parametrize("length", sorted(set(range(24)) - set(ANALOG_TAILS)))
def test_a_tail_that_no_board_has_is_refused(length: int) -> None:
    """Bytes may be missing or too many; nothing of such an answer is believed."""
    with pytest.raises(FrameError, match="do not add up"):
        analog(record(tail=(TAIL * 2)[:length]))


@pytest.mark.parametrize("length", ANALOG_TAILS)
def test_packs_of_different_sizes_come_in_one_answer(length: int) -> None:
    """Each with its own number of cells, sensors and items, all with the same tail."""
    tail = TAIL[:length]
    found = analog(
        record((3301,) * 16, (2930,) * 6, items=3, tail=tail),
        record((3302,) * 15, (2935,) * 4, items=9, tail=tail),
        record((3303,) * 8, (2940,) * 6, items=2, tail=tail),
    ).packs
    assert {address: state.cell_voltages for address, state in found.items()} == {
        1: (3.301,) * 16, 2: (3.302,) * 15, 3: (3.303,) * 8,
    }  # fmt: skip
    assert [state.address for state in found.values()] == [1, 2, 3]


def test_a_charge_of_16_percent_is_no_number_of_cells() -> None:
    """The byte after the first pack would begin a second one with 16 cells, and the lengths agree both ways.

    The pack voltages decide then: one reading of the answer has cells that do not add up.
    """
    first = record(tail=b"\x10")
    second = record((0x0D10,) * 15, (0x0B40,) * 11, tail=b"\x10")
    assert 2 + len(record()) == 2 + len(first) - 1
    found = analog(first, second).packs
    assert (found[1].soc, found[2].soc) == (16.0, 16.0)
    assert found[2].cell_voltages == (3.344,) * 15


def test_a_board_of_sixteen_cells_may_be_read_of_many_packs() -> None:
    """1910 characters, the longest answer that sixteen packs give (section 5)."""
    found = analog(*(record() for _ in range(16)))
    assert set(found.packs) == set(range(1, 17))


@pytest.mark.parametrize("millivolts", [499, 5001, 0xFFFF])
def test_a_cell_that_cannot_be_makes_the_answer_damage(millivolts: int) -> None:
    """Outside 500 to 5000 mV the record was cut in the wrong place."""
    with pytest.raises(FrameError):
        analog(record((millivolts,) + (3300,) * 15))


def test_a_cell_of_0_mv_is_a_cell_that_is_not_there() -> None:
    """As boards for sixteen cells report the last of fifteen."""
    assert analog(record((3300,) * 15 + (0,))).packs[1].cell_voltages == (3.3,) * 15 + (None,)
    assert analog(record((0,) * 16, volts=0)).packs[1].cell_voltages is None


def test_8000_is_a_sensor_that_is_not_there() -> None:
    """It leaves a gap, and no list of gaps; 2730 is 0 degC."""
    state = analog(record(raw=(0x8000, 2730, 2695, 0x8000, 0x8000, 3030))).packs[1]
    assert state.cell_temperatures == (None, 0.0, -3.5, None)
    assert (state.mosfet_temperature, state.ambient_temperature) == (None, 30.0)
    assert analog(record(raw=(0x8000,) * 6)).packs[1].cell_temperatures is None


@pytest.mark.parametrize(("raw", "amps"), [(0, 0.0), (2412, 24.12), (-225, -2.25), (-32768, -327.68), (32767, 327.67)])
def test_current_is_signed_and_positive_while_charging(raw: int, amps: float) -> None:
    """10 mA a count, as all captures of known direction have it; power follows."""
    state = analog(record(current=raw)).packs[1]
    assert state.current == amps
    assert state.power == pytest.approx(52.8 * amps)


def test_a_pack_that_has_no_full_capacity_yet_has_no_charge_either() -> None:
    """Nothing is divided by zero, and nothing is made up."""
    state = analog(record(capacities=(0, 0, 10000))).packs[1]
    assert state.soc is None
    assert state.derived == frozenset({"power"})


@pytest.mark.parametrize("length", range(6))
def test_states_have_tails_of_their_own(length: int) -> None:
    """None to five bytes, shown as they came; only five have names (section 6)."""
    tail = bytes.fromhex("4003018001")[:length]
    info = b"\0\1\x10" + bytes(16) + b"\6" + bytes(6) + bytes(12) + tail
    decoded = RS232.decode(ask(0x44, value=1), answer(info))
    assert decoded.packs[1].alarms == frozenset()
    assert decoded.info.get("trailing_hex") == (tail.hex() if tail else None)
    assert decoded.info.get("tail") == (
        {
            "fault8": ("pack_lock",),
            "indication9": ("bluetooth", "wifi"),
            "active_balancing_cells": (1, 16),
            "fault10": ("supply_12v",),
        }
        if length == 5
        else None
    )


def test_states_of_many_packs_are_solved_for_as_well() -> None:
    """Two packs with one byte more each, as in the answer that `pace-44-ff-truncated` begins."""
    one = b"\x10" + bytes(16) + b"\6" + bytes(6) + bytes.fromhex("000000 000006 000000 000000")
    found = RS232.decode(ask(0x44, value=0xFF), answer(b"\0\2" + one + b"\x31" + one + b"\0"))
    assert [state.charge_enabled for state in found.packs.values()] == [True, True]
    assert (found.info["1"], found.info["2"]) == (  # in the words of each pack
        {"indicators": (), "control": (), "trailing_hex": "31"},
        {"indicators": (), "control": (), "trailing_hex": "00"},
    )


def test_switches_and_balancing_come_from_the_indication_and_the_masks() -> None:
    """Not from the control byte, whose sense sources dispute."""
    rest = bytes.fromhex("000000 0000 86 06 00 2184 0000")
    state = states(rest=rest)
    assert (state.charge_enabled, state.discharge_enabled, state.heater_active) == (True, True, True)
    assert state.balancing_cells == frozenset({1, 6, 11, 16})
    off = states(rest=bytes.fromhex("000000 0000 00 06 00 0000 0000"))
    assert (off.charge_enabled, off.discharge_enabled, off.heater_active) == (False, False, False)
    assert off.balancing_cells == frozenset()
    assert states(cells=bytes(8), rest=rest).balancing_cells == frozenset({1, 6})
