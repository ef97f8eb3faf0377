"""Afore: offsets in place of signs, and identifiers that mean something else elsewhere."""

import pytest

from custom_components.lfp_battery.bms.model import Alarm, Mode
from custom_components.lfp_battery.bms.protocols.can import CAN

from .own import bank, bits_of, heard, said

STATE = "4263640A{:02X}001000"


@pytest.mark.parametrize(("frame_id", "data", "alarm"), bits_of("afore"))
def test_a_bit_is_exactly_one_alarm(frame_id: str, data: str, alarm: Alarm) -> None:
    """353 stops something, 357 warns."""
    assert bank("afore", (frame_id, data)).alarms == frozenset({alarm})


@pytest.mark.parametrize(("raw", "amperes"), [("0D13", -12.3), ("8813", 0.0), ("0314", 12.3)])
def test_current_counts_from_5000_and_is_positive_while_charging(raw: str, amperes: float) -> None:
    """4877 is 12.3 A of discharge."""
    found = bank("afore", ("350", f"1002{raw}D2040000"))
    assert (found.voltage, found.current, found.temperature) == (52.8, amperes, 23.4)


def test_words_with_an_offset_that_were_never_filled_in_are_left_out() -> None:
    """0 would be -500 A or -100 degC."""
    found = bank("afore", ("350", "1002000000000000"))
    assert (found.voltage, found.current, found.temperature, found.power) == (52.8, None, None, None)
    assert said("afore", "350", "0000000000000000") is None
    assert said("afore", "355", "0000000000000000") is None
    found = bank("afore", ("355", "E703FFFF02000700"))
    assert (found.cell_temperature_max, found.cell_temperature_min) == (-0.1, None)


@pytest.mark.parametrize(
    ("byte", "current", "mode"),
    [
        (0x03, "0D13", Mode.STARTING), (0x23, "0D13", Mode.DISCHARGING), (0x23, "0314", Mode.CHARGING),
        (0x23, "8813", Mode.STANDBY), (0x43, "0D13", Mode.STANDBY), (0x63, "0D13", None), (0x83, "0D13", Mode.FAULT),
        (0xE3, "0D13", None),
    ],
)  # fmt: skip
def test_normal_operation_is_told_by_the_sign_of_the_current(byte: int, current: str, mode: Mode | None) -> None:
    """The other states say what they are."""
    frames = ("350", f"1002{current}D2040000"), ("351", STATE.format(byte))
    assert bank("afore", *frames).mode is mode
    assert bank("afore", *reversed(frames)).mode is mode


@pytest.mark.parametrize(("byte", "charge", "discharge"), [(0x21, True, False), (0x22, False, True)])
def test_permissions(byte: int, charge: bool, discharge: bool) -> None:
    """Bits 0 and 1, beside SOC, SOH and the window that SOC is kept in."""
    decoded = heard("afore", ("351", STATE.format(byte)))
    assert decoded.bank is not None
    assert (decoded.bank.charge_enabled, decoded.bank.discharge_enabled) == (charge, discharge)
    assert (decoded.bank.soc, decoded.bank.soh) == (66, 99)
    assert decoded.info == {"soc_max": 100, "soc_min": 10, "state": 1, "cell_count": 16}


def test_limits_come_current_first() -> None:
    """352: charge and discharge current, then the voltages."""
    found = bank("afore", ("352", "F40158023802D001"))
    assert (found.charge_current_limit, found.discharge_current_limit) == (50.0, 60.0)
    assert (found.charge_voltage_limit, found.discharge_voltage_limit) == (56.8, 46.4)


def test_extremes_have_their_place() -> None:
    """Numbers from 1; blank frames say nothing."""
    found = bank("afore", ("354", "F00CE30C04000B00"), ("355", "E304C30402000700"))
    assert (found.cell_voltage_max, found.cell_voltage_min) == (3.312, 3.299)
    assert (found.cell_voltage_max_cell, found.cell_voltage_min_cell) == (4, 11)
    assert (found.cell_temperature_max, found.cell_temperature_min) == (25.1, 21.9)
    assert said("afore", "354", "0000000000000000") is None


def test_thresholds_are_no_measurement() -> None:
    """356 holds where the cells are cut off."""
    decoded = heard("afore", ("356", "420EC40900000000"))
    assert decoded.bank is None
    assert decoded.info == {"cell_high_voltage_threshold": 3.65, "cell_low_voltage_threshold": 2.5}


def test_a_serial_number_is_joined_and_nowhere_else() -> None:
    """359 and 35A; one of them is nothing."""
    decoded = heard("afore", ("359", "4146313233343536"), ("35A", "3738390000000000"))
    assert decoded.identities[0].serial == "AF123456789"
    assert (decoded.info, decoded.bank) == ({}, None)
    assert not heard("afore", ("359", "4146313233343536")).identities
    assert CAN["afore"].private_ids == {0x359, 0x35A}


def test_bits_that_nobody_has_named_are_kept() -> None:
    """As they came; they raise nothing."""
    decoded = heard("afore", ("353", "0000010000000000"), ("357", "0008000000000000"))
    assert decoded.bank is not None
    assert decoded.bank.alarms == frozenset()
    assert decoded.info == {"unnamed_353": "00000100", "unnamed_357": "0008"}
