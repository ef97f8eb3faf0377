"""Alarms, flags and requests of the 35x families, bit by bit, and what half a frame says of them."""

from collections.abc import Mapping
import json
from typing import Any

import pytest

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.bms.protocols.can import CAN

from ..captured import CAPTURES
from .own import bank, heard, said

ROWS: list[dict[str, Any]] = json.loads((CAPTURES / "can-35x-conditions.json").read_text(encoding="utf-8"))["rows"]


def _data(where: str) -> tuple[str, bytes]:
    """An identifier and the bytes in which only that bit, pair or mask is set."""
    frame_id, place, *rest = where.split(" ", 2)
    data = bytearray(8)
    byte, _, bits = place.removeprefix("B").partition(".")
    if bits:  # a bit, or the lower one of a pair
        data[int(byte)] = 1 << int(bits.partition("-")[0])
    else:
        data[int(byte)] = int(rest[0], 16)
    return frame_id, bytes(data)


def _rows(*, flags: bool) -> list[Any]:
    return [
        pytest.param(row, id=f"{row['protocol']} {row['where']} {row['name']}")
        for row in ROWS
        if (row["list"] == "flags") is flags
    ]


@pytest.mark.parametrize("row", _rows(flags=False))
def test_a_bit_is_its_alarm_and_nothing_else(row: Mapping[str, Any]) -> None:
    """One bit, one condition of its severity: for every bit of 359, 35A and 399 that a document or a capture names."""
    frame_id, data = _data(row["where"])
    expected = frozenset({Alarm(condition=Condition(row["condition"]), severity=Severity(row["severity"]))})
    assert bank(row["protocol"], (frame_id, data.hex())).alarms == expected


@pytest.mark.parametrize("row", _rows(flags=True))
def test_a_flag_sets_its_field_and_no_alarm(row: Mapping[str, Any]) -> None:
    """What the model has no field for stands in info; a command to a relay is nowhere."""
    frame_id, data = _data(row["where"])
    decoded = heard(row["protocol"], (frame_id, data.hex()))
    assert decoded.bank is None or not decoded.bank.alarms
    if "flag" in row:
        assert getattr(decoded.bank, row["flag"]) is True
    elif frame_id == "35B":
        assert [name for name, value in decoded.info.items() if value] == [row["name"]]


@pytest.mark.parametrize("data", ["AAAAAAAAAAAAAAAA", "0000000000000000", "FFFFFFFFFFFFFFFF"])
def test_a_pair_of_bits_is_active_only_as_01(data: str) -> None:
    """BYD sends 10 for normal, Pytes and Pylontech 00; 11 is not supported (can.md 6.8)."""
    for family in ("sma", "victron", "discover"):
        assert bank(family, ("35A", data)).alarms == frozenset()


def test_alarms_of_two_frames_are_united() -> None:
    """Dyness sends both kinds; a quiet one after the other clears nothing."""
    found = bank("dyness", ("359", "0200000000000000"), ("35A", "1000000000000000"), ("359", "0200000000000000"))
    assert found.alarms is not None
    assert {alarm.condition for alarm in found.alarms} == {Condition.OVERVOLTAGE, Condition.UNDERVOLTAGE}


@pytest.mark.parametrize(("family", "frame_id"), [("sofar", "359"), ("victron", "359"), ("generic_35x", "35A")])
def test_without_an_alarm_frame_alarms_are_not_known(family: str, frame_id: str) -> None:
    """Sofar counts packs in 359; the other two do not have these ids."""
    decoded = heard(family, ("355", "1A006400"), (frame_id, "0200000000000000"))
    assert decoded.bank is not None and decoded.bank.alarms is None


@pytest.mark.parametrize(
    ("family", "frame_id", "healthy", "whole"),
    [
        ("pylon", "359", "00" * 8, 4), ("sma", "35A", "AA" * 8, 8), ("sma", "35A", "00" * 8, 8),
        ("discover", "35A", "ABAAFEAFAAFAFF", 7), ("deye_pcs", "359", "00" * 8, 7), ("growatt", "312", "00" * 8, 4),
    ],
)  # fmt: skip
def test_half_an_alarm_frame_does_not_say_that_all_is_well(
    family: str, frame_id: str, healthy: str, whole: int
) -> None:
    """Only a frame that reaches every alarm bit may say that none is set."""
    for length in range(len(healthy) // 2 + 1):
        frame = CanFrame(id=int(frame_id, 16), data=bytes.fromhex(healthy)[:length])
        told = CAN[family].read(frame)
        alarms = None if told is None else told.values.get("alarms")
        assert alarms == (frozenset() if length >= whole else None)


@pytest.mark.parametrize(
    ("family", "frame_id", "data"), [("pylon", "359", "02"), ("sma", "35A", "04"), ("deye_pcs", "359", "01")]
)
def test_an_alarm_in_half_a_frame_is_one(family: str, frame_id: str, data: str) -> None:
    """What is set is set, whatever the rest would have said."""
    told = CAN[family].read(CanFrame(id=int(frame_id, 16), data=bytes.fromhex(data)))
    assert told is not None
    assert len(told.values["alarms"]) == 1


@pytest.mark.parametrize(
    ("frame_id", "data", "charge", "discharge", "force", "full"),
    [
        ("35C", "C0", True, True, False, False),
        ("35C", "80", True, False, False, False),
        ("35C", "6000", False, True, True, False),
        ("35C", "1000", False, False, True, False),
        ("35C", "08", False, False, False, True),
    ],
)
def test_requests_and_permissions(
    frame_id: str, data: str, charge: bool, discharge: bool, force: bool, full: bool
) -> None:
    """Two bits ask for a forced charge with two urgencies; one of them is enough."""
    found = bank("pylon", (frame_id, data))
    assert (found.charge_enabled, found.discharge_enabled) == (charge, discharge)
    assert (found.force_charge_requested, found.full_charge_requested) == (force, full)


def test_li_residential_has_three_requests_only() -> None:
    """Bits 4 and 3 are not in its document: nothing is said of a full charge."""
    found = bank("li_residential", ("35C", "18"))
    assert (found.force_charge_requested, found.full_charge_requested) == (False, None)


def test_dyness_30f_is_no_permission() -> None:
    """Its zeros would forbid everything; Sofar's same frame is one (can.md 6.12, 6.16)."""
    assert said("dyness", "30F", "0000000000000000") is None
    assert bank("sofar", ("30F", "0001000000000000")).charge_enabled is False


def test_sofar_reads_the_alarms_of_a_pylon() -> None:
    """Letters in 359: a battery of Pylon's beside an inverter that asks as Sofar's does."""
    found = heard("sofar", ("359", "0200000004504E"))
    assert found.bank is not None and found.info == {}
    assert found.bank.alarms == frozenset({Alarm(condition=Condition.OVERVOLTAGE, severity=Severity.PROTECTION)})
    assert found.bank.modules == 4
    assert heard("sofar", ("359", "0201020F00000000")).info["series_cells"] == 15


@pytest.mark.parametrize(("data", "asks"), [("FF", True), ("00", False), ("01", False)])
def test_only_ff_in_360_asks_for_charge(data: str, asks: bool) -> None:
    """can.md 6.9."""
    assert bank("victron", ("360", data)).force_charge_requested is asks


def test_conditions_are_what_every_battery_of_a_family_says() -> None:
    """Nobody with Pylon's V1.2 is promised what only 35A can say; who has nothing but figures promises nothing."""
    assert Condition.CHARGE_OVERTEMPERATURE not in CAN["pylon"].conditions
    assert Condition.OVERTEMPERATURE in CAN["pylon"].conditions
    assert Condition.SHORT_CIRCUIT in CAN["dyness"].conditions
    assert CAN["generic_35x"].conditions == frozenset()
