"""What holds for every family with a layout of its own, whatever comes over the bus."""

import json
from typing import Any

from hypothesis import given, settings, strategies as st
import pytest

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame
from custom_components.lfp_battery.bms.model import BankState
from custom_components.lfp_battery.bms.plausibility import hold_back
from custom_components.lfp_battery.bms.protocols.can import CAN
from custom_components.lfp_battery.bms.protocols.can.base import Said

from .own import ROWS, captures, conditions_of, said

FAMILIES = ("growatt", "deye_pcs", "pytes", "afore", "goodwe_classic", "megarevo")
FILES = ("can-growatt.json", "can-deye.json", "can-pytes.json")

hostile = st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=12)), max_size=12)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_alarms_can_say_is_declared(family: str) -> None:
    """No condition more and none less than the table of bits has."""
    assert CAN[family].conditions == conditions_of(family)


def test_every_family_of_the_table_is_here() -> None:
    """And none is tried that the table does not know."""
    assert {row["protocol"] for row in ROWS} == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
@given(chosen=hostile)
@settings(max_examples=150, deadline=None)
def test_no_bytes_stop_a_family(family: str, chosen: list[tuple[int, bytes]]) -> None:
    """Any of its identifiers with any bytes of any length reads, composes, is judged and shown."""
    known = sorted(CAN[family].ids)
    frames = [CanFrame(id=known[number % len(known)], data=data) for number, data in chosen]
    read = [one for frame in frames if (one := CAN[family].read(frame)) is not None]
    decoded = CAN[family].compose(read)
    json.dumps(dict(decoded.info))
    for state in (decoded.bank, *decoded.packs.values()):
        if state is not None:
            published, _ = hold_back(state)
            assert published.soc is None or 0 <= published.soc <= 100
            assert published.voltage is None or 8 <= published.voltage <= 70


@pytest.mark.parametrize("family", FAMILIES)
@given(frame_id=st.integers(0, EXTENDED | 0x1FFFFFFF), data=st.binary(max_size=8))
@settings(max_examples=150, deadline=None)
def test_frames_of_others_say_nothing(family: str, frame_id: int, data: bytes) -> None:
    """An identifier that is not its own is not read, and never raises."""
    found = CAN[family].read(CanFrame(id=frame_id, data=data))
    assert found is None or frame_id in CAN[family].ids


@pytest.mark.parametrize("family", FAMILIES)
def test_the_width_of_an_identifier_is_part_of_it(family: str) -> None:
    """The same number with the other width is somebody else's."""
    for frame_id in CAN[family].ids:
        assert CAN[family].read(CanFrame(id=frame_id ^ EXTENDED, data=bytes(range(1, 9)))) is None


@pytest.mark.parametrize("capture", [capture for name in FILES for capture in captures(name)])
def test_a_shorter_frame_says_less_and_nothing_else(capture: dict[str, Any]) -> None:
    """What a length does not reach is absent; what it reaches is as in the whole frame. Names are cut, and so is text."""
    compared = 0
    for frame_id, data in capture["frames"]:
        whole = said(str(capture["family"]), frame_id, data) or Said()
        for size in range(len(data) // 2):
            short = said(str(capture["family"]), frame_id, data[: 2 * size]) or Said()
            for name, value in short.values.items():
                if name != "manufacturer":
                    assert value == whole.values[name], (frame_id, size, name)
                    compared += 1
            assert short.info.keys() <= whole.info.keys()
    assert compared


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_frame_says_nothing(family: str) -> None:
    """Length 0 occurs on real buses."""
    for frame_id in CAN[family].ids:
        assert CAN[family].read(CanFrame(id=frame_id, data=b"")) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bank_names_its_family_and_only_deye_has_packs(family: str) -> None:
    """The others speak for the bank."""
    assert CAN[family].name == family
    assert CAN[family].speaks_for_bank is (family != "deye_pcs")
    assert isinstance(CAN[family].compose([Said(values={"soc": 5})]).bank, BankState)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_owner_is_told_what_nobody_has_tried_on_hardware(family: str) -> None:
    """Of three families there is no capture."""
    assert CAN[family].experimental is (family in ("afore", "goodwe_classic", "megarevo"))
