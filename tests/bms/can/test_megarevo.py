"""Megarevo: identifiers of 29 bits, and states of which one is a prohibition."""

import pytest

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.protocols.can import CAN

from .own import bank, heard, said


def test_the_set_of_five_frames() -> None:
    """Limits voltage first, the rest as they come."""
    found = bank(
        "megarevo",
        ("1F000300", "3802D001F4015802"),
        ("1F000301", "3A0063001102B7FF"),
        ("1F000302", "ED0CE50CFC00F6FF"),
        ("1F000304", "D007880400000000"),
    )
    assert (found.charge_voltage_limit, found.discharge_voltage_limit) == (56.8, 46.4)
    assert (found.charge_current_limit, found.discharge_current_limit) == (50.0, 60.0)
    assert (found.soc, found.soh, found.voltage, found.current) == (58, 99, 52.9, -7.3)
    assert (found.cell_voltage_max, found.cell_voltage_min) == (3.309, 3.301)
    assert (found.cell_temperature_max, found.cell_temperature_min) == (25.2, -1.0)
    assert (found.design_capacity, found.remaining_capacity) == (200.0, 116.0)
    assert found.alarms is None


@pytest.mark.parametrize(
    ("data", "charge", "discharge"),
    [("000002", True, False), ("000200", False, True), ("000101", True, True), ("0003FF", None, None)],
)
def test_a_state_that_forbids(data: str, charge: bool | None, discharge: bool | None) -> None:
    """2 is "forbidden"; what nobody has written down is not known."""
    found = said("megarevo", "1F000303", data)
    assert found is not None
    assert (found.values.get("charge_enabled"), found.values.get("discharge_enabled")) == (charge, discharge)


def test_a_level_without_a_cause_is_no_alarm() -> None:
    """It is kept for bug reports."""
    decoded = heard("megarevo", ("1F000303", "0200000000000000"))
    assert decoded.bank is not None
    assert decoded.bank.alarms is None
    assert decoded.info == {"warning_level": 2}
    assert CAN["megarevo"].conditions == frozenset()


@pytest.mark.parametrize(("raw", "amperes"), [("B7FF", -7.3), ("4900", 7.3), ("FFFF", -0.1), ("0080", None)])
def test_current_is_positive_while_charging(raw: str, amperes: float | None) -> None:
    """Signed, tenths."""
    assert bank("megarevo", ("1F000301", f"3A0063001102{raw}")).current == amperes


def test_blank_frames_and_markers_say_nothing() -> None:
    """No cell has 0 mV, and no battery 0 V."""
    for number in (1, 2, 4):
        assert said("megarevo", f"1F00030{number}", "0000000000000000") is None
    assert said("megarevo", "1F000300", "FFFFFFFFFFFF0080") is None


def test_the_same_number_with_11_bits_is_another_frame() -> None:
    """The width is part of the identifier."""
    assert CAN["megarevo"].read(CanFrame(id=0x300, data=bytes.fromhex("3802D001F4015802"))) is None
    assert CAN["megarevo"].read(CanFrame(id=0x1F000300, data=bytes.fromhex("3802D001F4015802"))) is None
