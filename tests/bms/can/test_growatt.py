"""Growatt low voltage on CAN: big endian, permissions in 319, capacities that may run over, JK's other order."""

import json
import os
from pathlib import Path

import pytest

from custom_components.lfp_battery.bms.model import Alarm, Mode
from custom_components.lfp_battery.bms.protocols.can import CAN

from .own import ROWS, bank, bits_of, captures, check, heard, said

LIMITS = ("311", "0238082408240161")
EXTREMES = ("319", "C00D3C0D33111800")
# JK: status, then 56.8 V, 100.0 A and 120.0 A; highest 3.331 V, lowest 3.318 V, flags
JK_LIMITS = ("311", "0062023803E804B0")
JK_EXTREMES = ("319", "030DF60C40000000")


@pytest.mark.parametrize("capture", captures("can-growatt.json"))
def test_what_a_bank_sent_comes_out_as_its_source_says(capture: dict[str, object]) -> None:
    """Values, places, enabling flags, and the readings beside them."""
    check(capture)


@pytest.mark.parametrize(("frame_id", "data", "alarm"), bits_of("growatt"))
def test_a_bit_is_exactly_one_alarm(frame_id: str, data: str, alarm: Alarm) -> None:
    """As the table says, and no other."""
    assert bank("growatt", (frame_id, data)).alarms == frozenset({alarm})


def test_alarms_of_both_frames_count() -> None:
    """312 and 323 are one list; none set in either is none active, and without either nothing is known."""
    both = bank("growatt", ("312", "0800000001000000"), ("323", "1000000004000000"))
    assert both.alarms is not None
    assert {alarm.condition for alarm in both.alarms} == {"cell_undervoltage", "communication_failure"}
    assert bank("growatt", ("312", "0000000001000000"), ("323", "1000000000000000")).alarms == frozenset()
    assert bank("growatt", LIMITS).alarms is None


def test_permission_is_read_from_319_and_the_state_of_the_outputs_is_not() -> None:
    """311 with both outputs on, 319 that forbids both: forbidden."""
    found = bank("growatt", ("311", "0238082408240161"), ("319", "000D3C0D33111800"))
    assert (found.charge_enabled, found.discharge_enabled) == (False, False)
    assert bank("growatt", LIMITS).charge_enabled is None


@pytest.mark.parametrize(
    ("flags", "charge", "discharge", "force"),
    [("80", True, False, False), ("40", False, True, False), ("20", False, False, True), ("10", False, False, True)],
)
def test_each_flag_of_319_is_its_own(flags: str, charge: bool, discharge: bool, force: bool) -> None:
    """Bits 7 and 6 permit, bits 5 and 4 ask to be charged."""
    found = bank("growatt", ("319", f"{flags}0D3C0D33111800"))
    assert (found.charge_enabled, found.discharge_enabled, found.force_charge_requested) == (charge, discharge, force)


@pytest.mark.parametrize(
    ("status", "mode"),
    [
        ("0060", Mode.STARTING), ("0061", Mode.STANDBY), ("0062", Mode.CHARGING), ("0063", Mode.DISCHARGING),
        ("0011", Mode.SLEEP), ("0165", Mode.STANDBY),
    ],
)  # fmt: skip
def test_the_status_says_what_the_pack_does(status: str, mode: Mode) -> None:
    """Two bits, and sleep above them."""
    assert bank("growatt", ("311", "023808240824" + status)).mode is mode


def test_the_status_is_shown_for_bug_reports() -> None:
    """What the model has no field for."""
    info = heard("growatt", ("311", "02380824082402A8")).info
    assert (info["parallel_mode"], info["terminal_open"], info["balancing"]) == ("parallel ready", True, True)
    assert (info["status_discharge_enabled"], info["status_charge_enabled"]) == (True, False)
    assert heard("growatt", ("311", "0238082408240300")).info.get("parallel_mode") is None
    assert "status_first" not in info
    assert "raw_319" not in heard("growatt", EXTREMES).info


@pytest.mark.parametrize(("raw", "amperes"), [("0000", 0.0), ("FEA1", -35.1), ("0001", 0.1), ("FFFF", -0.1)])
def test_current_is_positive_while_charging(raw: str, amperes: float) -> None:
    """Signed; -1 is a tenth of an ampere and no marker."""
    assert bank("growatt", ("313", f"1496{raw}00DB5163")).current == amperes


def test_not_available_is_left_out() -> None:
    """Markers of every kind, and zeros all over."""
    found = said("growatt", "313", "FFFF80008000FFFF")
    assert found is None
    assert said("growatt", "313", "0000000000000000") is None
    assert said("growatt", "330", "0000000000000000") is None
    limits = bank("growatt", ("311", "FFFFFFFF80000061"))
    assert (limits.charge_voltage_limit, limits.charge_current_limit, limits.discharge_current_limit) == (None,) * 3
    extremes = bank("growatt", ("319", "C000000000000000"))
    assert (extremes.cell_voltage_max, extremes.cell_voltage_min, extremes.cell_voltage_max_cell) == (None,) * 3
    assert bank("growatt", ("312", "0000000000000000")).modules is None


def test_a_cell_that_is_read_as_nothing_beside_a_living_one_is_shown() -> None:
    """A wire that is off reads 0 mV; that is no missing value."""
    assert bank("growatt", ("319", "C00D3C0000111800")).cell_voltage_min == 0.0


def test_soh_has_seven_bits() -> None:
    """The eighth is a flag."""
    assert bank("growatt", ("313", "1496FEA100DB51E3")).soh == 99


def test_330_places_the_extremes_and_319_does_where_it_is_missing() -> None:
    """319 counts through all packs, 16 cells each; in one bank the two may be an update apart."""
    alone = bank("growatt", EXTREMES)
    assert (alone.cell_voltage_max_pack, alone.cell_voltage_max_cell) == (2, 1)
    assert (alone.cell_voltage_min_pack, alone.cell_voltage_min_cell) == (2, 8)
    for frames in ((("330", "020102070D3C0D33"), EXTREMES), (EXTREMES, ("330", "020102070D3C0D33"))):
        both = bank("growatt", *frames)
        assert (both.cell_voltage_min_pack, both.cell_voltage_min_cell) == (2, 7)


def test_readings_of_cells_are_not_shown_as_cells() -> None:
    """Within a frame they are sorted: nobody can say which cell is which."""
    decoded = heard("growatt", ("315", "0D3B0D3A0D390D39"), ("316", "0D370D3700000D36"))
    assert decoded.info["cell_readings"] == [3.387, 3.386, 3.385, 3.385, 3.383, 3.383, None, 3.382]
    assert decoded.bank is None
    assert said("growatt", "317", "0000000000000000") is None
    assert said("growatt", "317", "FFFFFFFFFFFFFFFF") is None


def test_one_or_two_packs_cannot_have_run_over() -> None:
    """Their capacities are shown whatever SOC is."""
    for modules in ("01", "02"):
        found = bank("growatt", ("312", f"00000000{modules}000000"), ("314", "5B2C5B400009053D"))
        assert (found.remaining_capacity, found.full_capacity, found.cycles) == (233.4, 233.6, 1341)


@pytest.mark.parametrize(
    ("modules", "soc", "remaining", "full", "shown"),
    [
        (3, 60, 18000, 30000, True),  # 3 x 100 Ah
        (3, 100, 30000, 30000, False),  # or 3 x 318 Ah, full
        (3, 95, 23954, 28664, False),  # 3 x 314 Ah, both words run over
        (3, 50, 47100, 28664, False),  # the full capacity alone
        (5, 40, 26000, 65000, True),
        (0, 60, 18000, 30000, False),  # nobody says how many packs
        (3, 60, 18000, 65535, False),  # the end of the word
    ],
)
def test_capacities_that_may_have_run_over_are_left_out(
    modules: int, soc: int, remaining: int, full: int, shown: bool
) -> None:
    """Words of 0.01 Ah end at 655.35: a larger bank would be shown as a small one."""
    found = bank(
        "growatt",
        ("312", f"00000000{modules:02X}000000"),
        ("313", f"1496000000DB{soc:02X}63"),
        ("314", f"{remaining:04X}{full:04X}0005053D"),
    )
    expected = (remaining / 100, full / 100) if shown else (None, None)
    assert (found.remaining_capacity, found.full_capacity) == expected
    assert found.cycles == 1341


def test_jk_puts_the_status_first() -> None:
    """Told from 311, in which no voltage limit stands where it belongs; 319 follows it."""
    found = bank("growatt", JK_EXTREMES, JK_LIMITS)
    assert (found.charge_voltage_limit, found.charge_current_limit, found.discharge_current_limit) == (56.8, 100, 120)
    assert found.mode is Mode.CHARGING
    assert (found.cell_voltage_max, found.cell_voltage_min) == (3.331, 3.318)
    assert (found.charge_enabled, found.discharge_enabled, found.force_charge_requested) == (False, True, False)
    assert (found.cell_voltage_max_cell, found.cell_voltage_min_pack) == (None, None)
    assert (
        heard("growatt", JK_EXTREMES, JK_LIMITS)
        .info.keys()
        .isdisjoint({"chemistry", "raw_311", "raw_319", "status_first"})
    )


@pytest.mark.parametrize("voltage", ["1400", "14B4", "11F8", "1676"])
def test_a_status_that_could_be_a_limit_is_told_by_the_voltage(voltage: str) -> None:
    """JK packs in parallel say 0161, which would be 35.3 V beside 46 to 57.5 V at the terminals."""
    found = bank("growatt", ("311", "0161023803E804B0"), JK_EXTREMES, ("313", f"{voltage}000000DB5163"))
    assert (found.charge_voltage_limit, found.charge_current_limit, found.discharge_current_limit) == (56.8, 100, 120)
    assert (found.mode, found.cell_voltage_max, found.charge_enabled) == (Mode.STANDBY, 3.331, False)
    info = heard("growatt", ("311", "0161023803E804B0"), JK_EXTREMES, ("313", f"{voltage}000000DB5163")).info
    assert (info["parallel_mode"], info["terminal_open"]) == ("parallel", False)
    assert info.keys().isdisjoint({"raw_311", "raw_319", "status_first"})


@pytest.mark.parametrize(("limits", "voltage"), [("0238023801F40061", "14B4"), ("011800FA01F40061", "0A28")])
def test_the_usual_order_stands_where_its_limit_goes_with_the_voltage(limits: str, voltage: str) -> None:
    """Packs of 16 and of 8 cells, whose current limit would do as a voltage limit, too."""
    found = bank("growatt", ("311", limits), EXTREMES, ("313", f"{voltage}000000DB5163"))
    assert found.charge_voltage_limit == int(limits[:4], 16) / 10
    assert found.charge_current_limit == int(limits[4:8], 16) / 10
    assert (found.mode, found.charge_enabled, found.cell_voltage_max) == (Mode.STANDBY, True, 3.388)


def test_the_usual_order_is_kept_where_a_limit_stands_first() -> None:
    """Even when the current limit would do as a voltage limit; and where neither does."""
    found = bank("growatt", ("311", "0238023801F40061"))
    assert (found.charge_voltage_limit, found.charge_current_limit) == (56.8, 56.8)
    blank = bank("growatt", ("311", "0000000000000000"))
    assert (blank.charge_current_limit, blank.mode) == (0.0, Mode.STARTING)


def test_the_serial_number_is_known_to_be_there_and_never_read() -> None:
    """It comes a page at a time."""
    assert CAN["growatt"].private_ids == {0x324}
    assert not CAN["growatt"].tells_serials
    assert said("growatt", "324", "0141424344454647") is None


def test_bits_that_nobody_has_named_are_kept() -> None:
    """As they came; they raise nothing."""
    decoded = heard("growatt", ("312", "0003000001000000"), ("323", "10000000000000C1"))
    assert decoded.bank is not None
    assert decoded.bank.alarms == frozenset()
    assert (decoded.info["unnamed_312"], decoded.info["unnamed_323"]) == ("00030000", "000000c1")


def test_the_table_is_that_of_the_collection() -> None:
    """Where the collection of captures is at hand, the rows carried over are still its rows."""
    if not (folder := os.environ.get("LFP_CAPTURES")):
        pytest.skip("LFP_CAPTURES does not say where the collection of captures is")
    bits = json.loads((Path(folder) / "conditions.json").read_text(encoding="utf-8"))["bits"]
    families = {row["protocol"] for row in ROWS}
    known = [{name: row[name] for name in row if name != "reason"} for row in bits if row["protocol"] in families]
    assert known == ROWS
