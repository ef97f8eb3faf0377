"""Pytes' own frames: SOC with decimals, alarms in two words, places of the extremes."""

import pytest

from custom_components.lfp_battery.bms.model import Alarm, Mode
from custom_components.lfp_battery.bms.protocols.can import CAN

from .own import bank, bits_of, captures, check, heard, said


@pytest.mark.parametrize("capture", captures("can-pytes.json"))
def test_what_a_pack_sent_comes_out_as_its_source_says(capture: dict[str, object]) -> None:
    """Limits, extremes, capacities, energies, the clock."""
    check(capture)


@pytest.mark.parametrize(("frame_id", "data", "alarm"), bits_of("pytes"))
def test_a_bit_is_exactly_one_alarm(frame_id: str, data: str, alarm: Alarm) -> None:
    """In either of the two words, and the internal failure of 406."""
    assert bank("pytes", (frame_id, data)).alarms == frozenset({alarm})


def test_bits_that_say_that_all_is_well_are_no_alarm() -> None:
    """As captured from a healthy pack."""
    assert bank("pytes", ("403", "0484800204048000")).alarms == frozenset()
    assert bank("pytes", ("406", "0000000001000000")).alarms == frozenset()


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        ("0000000400000000", Mode.CHARGING), ("0000000000000004", Mode.CHARGING), ("0000000800000000", Mode.DISCHARGING),
        ("0000000400000008", None), ("0484800204048000", Mode.STANDBY), ("0000000000000000", None), ("02000004", None),
    ],
)  # fmt: skip
def test_the_status_says_what_the_pack_does(data: str, mode: Mode | None) -> None:
    """Bits 26 and 27; both, or a frame that says nothing at all, is not known."""
    assert bank("pytes", ("403", data)).mode is mode


@pytest.mark.parametrize(
    ("soc", "capacities", "shown", "derived"),
    [
        ("1200", "1EC300003E220000", 17.5495, True),  # 49.95 and 8.766 Ah
        ("6400", "1EC300001EC30000", 100.0, True),
        ("6400", "1EC3000020C30000", 100.0, True),  # a little past full
        ("3200", "1EC300003E220000", 50, False),  # the two do not agree
        ("1200", "000000003E220000", 18, False),
        ("1200", "FFFFFFFF3E220000", 18, False),
        ("FFFF", "1EC300003E220000", 17.5495, True),
    ],
)
def test_soc_has_decimals_where_the_capacities_agree(soc: str, capacities: str, shown: float, derived: bool) -> None:
    """Within 1.5 % of the whole percent that 404 says."""
    found = bank("pytes", ("404", f"{soc}640001001C00"), ("409", capacities))
    assert found.soc == pytest.approx(shown, abs=0.0001)
    assert ("soc" in found.derived) is derived
    assert bank("pytes", ("404", "1200640001001C00")).soc == 18


@pytest.mark.parametrize(("raw", "amperes"), [("1900", 2.5), ("E7FF", -2.5), ("FFFF", -0.1), ("0080", None)])
def test_current_is_positive_while_charging(raw: str, amperes: float | None) -> None:
    """Signed; -1 is a tenth of an ampere and no marker."""
    assert bank("pytes", ("405", f"4716{raw}D7010000")).current == amperes


def test_cold_cells_are_below_zero() -> None:
    """Tenths of a degree, signed; nothing where all is blank."""
    found = bank("pytes", ("402", "F6FFCEFF00000A00"), ("405", "1F130000F6FF0F00"))
    assert (found.cell_temperature_max, found.cell_temperature_min, found.temperature) == (-1.0, -5.0, -1.0)
    assert said("pytes", "402", "0000000000000000") is None


def test_extremes_have_their_place() -> None:
    """The cell; a single pack says 0 for itself, and whether the second one says 1 or 2 nobody has captured."""
    decoded = heard("pytes", ("401", "C50CBB0C07020403"))
    found = decoded.bank
    assert found is not None
    assert (found.cell_voltage_max_cell, found.cell_voltage_min_cell) == (7, 4)
    assert (found.cell_voltage_max_pack, found.cell_voltage_min_pack) == (None, None)
    assert decoded.info == {"cell_voltage_max_pack_raw": 2, "cell_voltage_min_pack_raw": 3}


def test_permissions_and_who_blocks() -> None:
    """One byte each; the bitmaps have one bit a pack and are counted."""
    decoded = heard("pytes", ("408", "00010100000702"))
    assert decoded.bank is not None
    assert (decoded.bank.charge_enabled, decoded.bank.discharge_enabled) == (False, True)
    assert decoded.bank.force_charge_requested is True
    assert (decoded.bank.modules_charge_blocked, decoded.bank.modules_discharge_blocked) == (3, 1)
    assert decoded.info == {"charge_blocked_bitmap": 7, "discharge_blocked_bitmap": 2}
    short = bank("pytes", ("408", "0101"))
    assert (short.charge_enabled, short.force_charge_requested, short.modules_charge_blocked) == (True, None, None)


def test_limits_are_magnitudes_and_markers_are_left_out() -> None:
    """Whatever sign a maker gives to the current of a direction."""
    found = bank("pytes", ("400", "140206FF83FFBD01"))
    assert (found.charge_current_limit, found.discharge_current_limit) == (25.0, 12.5)
    found = bank("pytes", ("400", "1402FFFF0080FFFF"))
    assert (found.charge_current_limit, found.discharge_current_limit, found.discharge_voltage_limit) == (None,) * 3


@pytest.mark.parametrize("data", ["180D1709392C0100", "181F1709392C0100", "18081719392C0100"])
def test_a_clock_that_is_no_time_is_left_out(data: str) -> None:
    """Month 13, month 31, hour 25; the packs in the same frame are still counted."""
    decoded = heard("pytes", ("40B", data))
    assert "clock" not in decoded.info
    assert decoded.bank is not None
    assert decoded.bank.modules_online == 1


def test_energies_have_32_bits() -> None:
    """Tenths of a kWh."""
    found = bank("pytes", ("41E", "A6020100FFFFFFFF"))
    assert (found.energy_charged, found.energy_discharged) == (6621.4, None)


def test_it_tells_no_serial_number() -> None:
    """None of its known frames holds one."""
    assert not CAN["pytes"].tells_serials
