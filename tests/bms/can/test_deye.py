"""Deye PCS: the bank and its packs, discharge positive on the wire, serial numbers in two frames."""

import math

import pytest

from custom_components.lfp_battery.bms.model import Alarm, Condition, Mode
from custom_components.lfp_battery.bms.protocols.can import CAN

from .own import bank, bits_of, captures, check, heard, pack, said

SERIAL = (("600", "4445594531323334"), ("650", "3536373839000000"))


@pytest.mark.parametrize("capture", captures("can-deye.json"))
def test_what_a_pack_sent_comes_out_as_its_source_says(capture: dict[str, object]) -> None:
    """35E is no text here."""
    check(capture)


@pytest.mark.parametrize(("frame_id", "data", "alarm"), bits_of("deye_pcs"))
def test_a_bit_is_exactly_one_alarm_of_the_bank_or_of_a_pack(frame_id: str, data: str, alarm: Alarm) -> None:
    """110 and its neighbours repeat 359 for one pack."""
    assert bank("deye_pcs", (frame_id, data)).alarms == frozenset({alarm})
    decoded = heard("deye_pcs", ("11F", data))
    assert decoded.packs[16].alarms == frozenset({alarm})
    assert decoded.bank is None


@pytest.mark.parametrize(
    ("raw", "amperes"), [("D700", -21.5), ("29FF", 21.5), ("0000", 0.0), ("FFFF", 0.1), ("0100", -0.1)]
)
def test_discharge_is_positive_on_the_wire_and_negative_here(raw: str, amperes: float) -> None:
    """For the bank and for its packs; power follows, and nothing is never minus nothing."""
    found = bank("deye_pcs", ("356", f"A814{raw}0701"))
    one = pack("deye_pcs", 2, ("151", f"1002{raw}7702DE03"))
    assert found.current == one.current == amperes
    assert found.power == pytest.approx(52.88 * amperes)
    assert found.current is not None
    assert math.copysign(1, found.current) == (1 if amperes >= 0 else -1)


def test_what_35c_permits_is_not_believed() -> None:
    """Bits 7 and 6 stay 0 on packs that charge and discharge."""
    found = bank("deye_pcs", ("35C", "0000"))
    assert (found.charge_enabled, found.discharge_enabled) == (None, None)
    assert bank("deye_pcs", ("35C", "C000")).charge_enabled is None


@pytest.mark.parametrize(
    ("bits", "force", "full", "heat"),
    [("20", True, False, False), ("10", True, False, False), ("08", False, True, False), ("01", False, False, True)],
)
def test_requests(bits: str, force: bool, full: bool, heat: bool) -> None:
    """Both force bits, the full charge, and heat."""
    found = bank("deye_pcs", ("35C", bits))
    assert (found.force_charge_requested, found.full_charge_requested) == (force, full)
    assert heard("deye_pcs", ("35C", bits)).info == {"heating_requested": heat}


@pytest.mark.parametrize(
    ("data", "modules", "capacity"),
    [("4459303032022008", 2, 208.0), ("4459303136022008", 16, 208.0), ("4459303030020000", None, None),
     ("44593030320220", 2, None), ("4459", None, None)],
)  # fmt: skip
def test_35e_counts_the_packs_in_digits(data: str, modules: int | None, capacity: float | None) -> None:
    """Behind the two letters of the maker; the capacity is that of the bank."""
    found = bank("deye_pcs", ("35E", data))
    assert (found.manufacturer, found.modules, found.design_capacity) == ("DY", modules, capacity)


def test_a_name_in_35e_is_a_name() -> None:
    """Others that send these frames may write their own; its letters are no capacity."""
    decoded = heard("deye_pcs", ("35E", "484F4D4542415420"))
    assert decoded.bank is not None
    assert (decoded.bank.manufacturer, decoded.bank.design_capacity) == ("HOMEBAT", None)
    assert decoded.info == {}
    assert said("deye_pcs", "35E", "FFFE414200000000") is None


@pytest.mark.parametrize(
    ("data", "online", "modules"),
    [
        ("0200000002000000", 2, 2),
        ("0101000102000000", 1, 2),
        ("0101000002000000", 2, 2),  # a full pack takes no charge and may not count as normal
        ("0200000000000000", 2, None),
        ("0000000000000000", None, None),
        ("0200000902000000", 2, 2),
    ],
)
def test_packs_on_line_are_those_that_are_not_off_line(data: str, online: int | None, modules: int | None) -> None:
    """Blocked packs are there; 0 is not known."""
    found = bank("deye_pcs", ("364", data))
    assert (found.modules_online, found.modules) == (online, modules)


def test_limits_without_and_with_a_grid() -> None:
    """351 is what holds; 371 is for bug reports, and no name."""
    decoded = heard("deye_pcs", ("351", "4802F4015802CC01"), ("371", "C201260200000000"))
    assert decoded.bank is not None
    assert (decoded.bank.charge_current_limit, decoded.bank.discharge_current_limit) == (50.0, 60.0)
    assert (decoded.bank.charge_voltage_limit, decoded.bank.discharge_voltage_limit) == (58.4, 46.0)
    assert decoded.info == {"charge_current_limit_grid": 45.0, "discharge_current_limit_grid": 55.0}
    assert bank("deye_pcs", ("351", "48020CFEA8FDCC01")).charge_current_limit == 50.0  # with the sign of a direction


@pytest.mark.parametrize("number", [1, 2, 16])
def test_every_pack_has_frames_of_its_own(number: int) -> None:
    """Values, switches, limits, balancing and energy."""
    found = pack(
        "deye_pcs",
        number,
        *(
            (f"{base + number - 1:X}", data)
            for base, data in {
                0x110: "00000000000000B1",
                0x150: "10026E007702DE03",
                0x200: "F40CE30C0F01F4FF",
                0x250: "2D01900132003C00",
                0x400: "0100570001080000",
                0x550: "87D61200814F1200",
            }.items()
        ),
    )
    assert found.address == number
    assert (found.voltage, found.current, found.soc, found.soh) == (52.8, -11.0, 63.1, 99.0)
    assert (found.cell_voltage_max, found.cell_voltage_min) == (3.316, 3.299)
    assert (found.cell_temperature_max, found.cell_temperature_min) == (27.1, -1.2)
    assert (found.mosfet_temperature, found.heater_temperature) == (30.1, 40.0)
    assert (found.charge_current_limit, found.discharge_current_limit) == (50, 60)
    assert (found.charge_enabled, found.discharge_enabled, found.heater_active) == (True, True, True)
    assert (found.mode, found.cycles, found.balancing_cells) == (Mode.CHARGING, 87, frozenset({1, 12}))
    assert (found.energy_charged, found.energy_discharged) == (1234.567, 1200.001)
    assert found.alarms == frozenset()


def test_packs_do_not_speak_for_each_other() -> None:
    """Nor for the bank; what diagnostics show of them is told apart."""
    decoded = heard("deye_pcs", ("110", "0100000000000011"), ("111", "0000000000000020"))
    assert decoded.packs[1].alarms != decoded.packs[2].alarms == frozenset()
    assert (decoded.packs[1].discharge_enabled, decoded.packs[2].discharge_enabled) == (False, True)
    assert decoded.bank is None
    assert decoded.info == {
        "pack_1_parallel_finished": True, "pack_1_precharge_mosfet": False,
        "pack_2_parallel_finished": False, "pack_2_precharge_mosfet": False,
    }  # fmt: skip


def test_a_pack_that_is_not_there_is_not_made_up() -> None:
    """Zeros all over are no measurement; markers are left out."""
    for frame_id in ("150", "200", "250"):
        assert said("deye_pcs", frame_id, "0000000000000000") is None
    found = pack("deye_pcs", 1, ("250", "2D010080FFFFFFFF"), ("400", "0700FFFFFFFF0000"), ("550", "FFFFFFFF00000000"))
    assert (found.heater_temperature, found.charge_current_limit, found.discharge_current_limit) == (None,) * 3
    assert (found.mode, found.cycles, found.balancing_cells, found.energy_charged) == (None,) * 4
    assert found.energy_discharged == 0.0
    absent = bank("deye_pcs", ("355", "3F00FFFF"), ("356", "A81400800080"))
    assert (absent.soc, absent.soh, absent.current, absent.temperature) == (63, None, None, None)


def test_a_heater_that_fails_is_a_warning_of_the_pack() -> None:
    """Bits 6 and 7 of byte 5."""
    found = pack("deye_pcs", 3, ("112", "0000000000C00000"))
    assert found.alarms is not None
    assert {alarm.condition for alarm in found.alarms} == {Condition.HEATER_FAILURE}
    assert found.heater_active is False


def test_a_serial_number_is_joined_and_nowhere_else() -> None:
    """Both halves, in either order; one of them is nothing."""
    for frames in (SERIAL, SERIAL[::-1]):
        decoded = heard("deye_pcs", *frames)
        assert decoded.identities[1].serial == "DEYE123456789"
        assert (decoded.info, decoded.bank, dict(decoded.packs)) == ({}, None, {})
    for frame in SERIAL:
        assert not heard("deye_pcs", frame).identities
    assert {0x600, 0x60F, 0x650, 0x65F} <= CAN["deye_pcs"].private_ids
    assert len(CAN["deye_pcs"].private_ids) == 32
    assert CAN["deye_pcs"].tells_serials


def test_versions_are_hexadecimal() -> None:
    """Of the bank and of each pack."""
    decoded = heard("deye_pcs", ("363", "0820210200000000"), ("501", "0720AA312E303100"))
    assert (decoded.identities[0].firmware, decoded.identities[0].hardware) == ("2008", "0221")
    assert decoded.identities[2].firmware == "2007"
    assert decoded.info == {"pack_2_boot_version": "1.01"}


def test_counts_and_the_usb_board_are_for_bug_reports() -> None:
    """No field of the model says them."""
    decoded = heard("deye_pcs", ("700", "0100020003000400"), ("358", "F401102700000100"))
    assert decoded.info == {
        "pack_1_charge_overvoltage_count": 1, "pack_1_discharge_undervoltage_count": 2,
        "pack_1_short_circuit_count": 3, "pack_1_mosfet_overtemperature_count": 4,
        "usb_power": 50.0, "usb_energy": 1.0, "usb_switch": True,
    }  # fmt: skip
    assert (decoded.bank, dict(decoded.packs)) == (None, {})


def test_bits_that_nobody_has_named_are_kept() -> None:
    """As they came; they raise nothing."""
    decoded = heard("deye_pcs", ("359", "0000010000000100"))
    assert decoded.bank is not None
    assert decoded.bank.alarms == frozenset()
    assert decoded.info == {"unnamed_359": "00000100000001"}
