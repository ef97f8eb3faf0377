"""What captured Pylontech answers say, and what is made of each kind of answer."""

from dataclasses import replace
from typing import Any

import pytest

from custom_components.lfp_battery.bms.errors import FrameError, Refusal, RefusedError
from custom_components.lfp_battery.bms.model import BankState, Identity, PackState
from custom_components.lfp_battery.bms.protocols import DECODERS
from custom_components.lfp_battery.bms.protocols.pylon.protocol import Command, request
from tests.simulator.pylon_wire import checksum, encode

from .captured import Captured, text_frames
from .pylon_records import PACKS, RECORD, SHORT_RECORD, SYSTEM

CAPTURED = text_frames("pylon.json")


def _said(state: object, expected: dict[str, Any]) -> dict[str, Any]:
    """The fields of a state that a capture speaks of, as JSON has them."""
    said: dict[str, Any] = {}
    for name in expected:
        value = getattr(state, name)
        said[name] = (
            sorted(value) if isinstance(value, frozenset) else list(value) if isinstance(value, tuple) else value
        )
    return said


def _near(expected: dict[str, Any]) -> dict[str, Any]:
    """SOC is printed with two decimals by the sources."""
    return {name: pytest.approx(value, abs=0.006) if name == "soc" else value for name, value in expected.items()}


@pytest.mark.parametrize("captured", [c for c in CAPTURED if c.decodes], ids=lambda c: c.id)
def test_a_captured_answer_says_what_its_source_says(captured: Captured) -> None:
    """Every figure that the source of a capture gives is decoded, and for no other pack."""
    decoded = DECODERS[captured.protocol].decode(captured.request, captured.response)
    assert {str(address) for address in decoded.packs} == captured.packs.keys()
    for address, expected in captured.packs.items():
        state = decoded.packs[int(address)]
        assert state.address == int(address)
        assert _said(state, dict(expected)) == _near(dict(expected))
    assert (decoded.bank is None) == (captured.bank is None)
    if captured.bank is not None:
        assert _said(decoded.bank, dict(captured.bank)) == captured.bank
    assert decoded.identities == {
        int(a): Identity(**dict[str, Any](identity)) for a, identity in captured.identities.items()
    }
    assert {name: decoded.info.get(name) for name in captured.info} == captured.info


@pytest.mark.parametrize("captured", [c for c in CAPTURED if c.dialect is not None], ids=lambda c: c.id)
def test_a_captured_dialect_is_refused_by_name(captured: Captured) -> None:
    """A vendor that borrowed the frame is recognised with and without the question, and told in a sentence."""
    for asked in (captured.request, None):
        with pytest.raises(FrameError, match=r"^This is an? .*\.$") as refused:
            PACKS.decode(asked, captured.response)
        assert refused.value.dialect == captured.dialect
    with pytest.raises(FrameError) as refused:
        DECODERS[captured.dialect or ""].decode(captured.request, captured.response)
    assert refused.value.dialect == captured.dialect


def test_a_captured_refusal_keeps_its_code() -> None:
    """The battery that got a damaged question said so."""
    (captured,) = (c for c in CAPTURED if c.return_code is not None)
    with pytest.raises(RefusedError) as refused:
        PACKS.decode(captured.request, captured.response)
    assert refused.value.code == captured.return_code
    assert refused.value.refusal is Refusal.DAMAGED


@pytest.mark.parametrize("captured", [c for c in CAPTURED if c.decodes and c.packs], ids=lambda c: c.id)
def test_an_overheard_answer_of_a_pack_says_the_same(captured: Captured) -> None:
    """42, 44 and 92 are told by their content when the question was not heard."""
    known = DECODERS[captured.protocol].decode(captured.request, captured.response)
    assert DECODERS[captured.protocol].decode(None, captured.response).packs == known.packs


@pytest.mark.parametrize("captured", [c for c in CAPTURED if c.decodes], ids=lambda c: c.id)
def test_a_captured_answer_is_overheard_without_complaint(captured: Captured) -> None:
    """An intact answer is never an error, whatever it answers."""
    decoded = DECODERS[captured.protocol].decode(None, captured.response)
    assert decoded.packs or decoded.bank or decoded.identities or decoded.info or len(captured.response) == 18


@pytest.mark.parametrize("captured", [c for c in CAPTURED if c.request is not None], ids=lambda c: c.id)
def test_a_captured_answer_belongs_to_its_question_only(captured: Captured) -> None:
    """Matched on address and command, not on the version; a question is no answer."""
    codec = DECODERS[captured.protocol]
    assert captured.request is not None
    assert codec.is_answer(captured.request, captured.response)
    assert not codec.is_answer(captured.request, captured.request)
    assert not codec.is_answer(captured.request, captured.response[:-2] + b"!\r")
    assert codec.is_request(captured.request) is (captured.return_code is None)  # that question was damaged
    assert not codec.is_request(captured.response)


# --- 42 --------------------------------------------------------------------------------------------------------------


def _analog(record: bytes) -> Any:
    return PACKS.decode(request(Command.ANALOG, 2), encode(2, 0, b"\x00\x02" + record)).packs[2]


def test_what_was_computed_is_named() -> None:
    """There is no SOC and no power in 42."""
    state = _analog(RECORD)
    assert state.derived == {"soc", "power"}
    assert state.soc == pytest.approx(45.12)
    assert state.power == pytest.approx(26.372 * 46.0)
    assert (state.soh, state.mode, state.alarms) == (None, None, None)


def test_a_group_may_have_packs_of_different_kinds() -> None:
    """Records of four and of two items in one answer, as a mixed stack sends them (section 6.1)."""
    asked = encode(0x12, 0x42, b"\xff")
    decoded = PACKS.decode(asked, encode(0x12, 0, b"\x00\x03" + RECORD + SHORT_RECORD + RECORD))
    assert list(decoded.packs) == [0x12, 0x13, 0x14]
    assert [pack.full_capacity for pack in decoded.packs.values()] == [100.0, 50.0, 100.0]
    assert decoded.packs[0x13] == replace(_analog(SHORT_RECORD), address=0x13)


def test_an_overheard_group_of_two_is_not_taken_for_its_master() -> None:
    """The count of packs and the address of the master may both be 02; the length tells."""
    decoded = PACKS.decode(None, encode(2, 0, b"\x00\x02" + RECORD + SHORT_RECORD))
    assert list(decoded.packs) == [2, 3]
    assert list(PACKS.decode(None, encode(2, 0, b"\x00\x02" + RECORD)).packs) == [2]


def test_a_capacity_beyond_65_ah_is_unknown_rather_than_65() -> None:
    """FFFF with two items means too large to say, and no SOC follows."""
    state = _analog(bytes.fromhex("080CDA0CDB0CDC0CDD0CDE0CDF0CE00CE1040B690B640B640B7401CC6704FFFF02FFFF0003"))
    assert (state.remaining_capacity, state.full_capacity, state.soc) == (None, None, None)
    assert state.derived == {"power"}


def test_blank_words_are_not_values() -> None:
    """FFFF in a cell, a temperature, the voltage or the cycles, FFFFFF in a capacity."""
    state = _analog(bytes.fromhex("02FFFF0CDB020B69FFFF01CCFFFFFFFF04FFFFFFFFFFFFFFFFFFFF"))
    assert state.cell_voltages == (None, 3.291)
    assert (state.pcb_temperature, state.cell_temperatures) == (19.0, None)
    assert (state.voltage, state.power, state.cycles) == (None, None, None)
    assert (state.remaining_capacity, state.full_capacity, state.soc, state.derived) == (None, None, None, frozenset())
    assert _analog(bytes.fromhex("02FFFFFFFF010B6901CC6704FFFF02FFFF0003")).cell_voltages is None


def test_soc_stops_at_100_and_needs_a_capacity() -> None:
    """A count may run past full; a full capacity of zero says nothing."""
    start = "020CDA0CDB010B69000019B4"
    assert _analog(bytes.fromhex(start + "C35102C3500003")).soc == 100.0
    assert _analog(bytes.fromhex(start + "C3510200000003")).soc is None


def test_sensors_sit_where_the_document_puts_them() -> None:
    """Board, four groups of cells, MOSFET; what comes after that is kept without a place."""
    sensors = "070B690B730B7D0B870B910B9B0BA5"
    frame = encode(2, 0, bytes.fromhex("0002" + "020CDA0CDB" + sensors + "000019B4C35002C3500003"))
    decoded = PACKS.decode(request(Command.ANALOG, 2), frame)
    state = decoded.packs[2]
    assert state.pcb_temperature == 19.0
    assert state.cell_temperatures == (20.0, 21.0, 22.0, 23.0)
    assert state.mosfet_temperature == 24.0
    assert decoded.info == {"further_temperatures_C": [25.0]}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("", "too short"),
        ("00010B69000019B4C35002C3500003", "0 cells"),
        ("19" + "0CDA" * 25 + "010B69000019B4C35002C3500003", "25 cells"),
        ("020CDA0CDB00000019B4C35002C3500003", "0 temperatures"),
        ("020CDA0CDB11" + "0B69" * 17 + "000019B4C35002C3500003", "17 temperatures"),
        ("020CDA0CDB010B69000019B4C35002C35000", "ends early"),
        ("020CDA0CDB010B69000019B4C35002C350000300", "1 bytes are left"),
        ("020CDA0CDB010B69000019B4C35004C3500003", "ends early"),
        ("020CDA0CDB010B69000019B4C35005C3500003", "5 user-defined items"),
        ("020CDA0CDB", "ends early"),
    ],
)
def test_a_record_that_does_not_add_up_is_refused(record: str, reason: str) -> None:
    """Impossible counts, and a byte too few or too many."""
    with pytest.raises(FrameError, match=reason):
        _analog(bytes.fromhex(record))


@pytest.mark.parametrize(("items", "dialect"), [(3, "pace-v25"), (9, "pace-v25"), (10, "seplos-v20")])
def test_foreign_records_in_the_same_frame_are_named(items: int, dialect: str) -> None:
    """PACE and Seplos use the record up to the number of items (sections 9 and 10)."""
    with pytest.raises(FrameError) as refused:
        _analog(bytes.fromhex(f"020CDA0CDB010B69000019B4C350{items:02X}C3500003"))
    assert refused.value.dialect == dialect
    with pytest.raises(FrameError) as refused:
        PACKS.decode(None, encode(2, 0, bytes.fromhex(f"0002020CDA0CDB010B69000019B4C350{items:02X}C3500003")))
    assert refused.value.dialect == dialect


def test_a_frame_of_another_device_type_is_no_battery() -> None:
    """CID1 is 46, or that of a dialect; the same frame carries rectifiers and air conditioners, too."""
    body = b"20024200E00202"
    frame = b"~%b%04X\r" % (body, checksum(body))
    assert not PACKS.is_request(b"~%b%04X\r" % (b"20024242E00202", checksum(b"20024242E00202")))
    with pytest.raises(FrameError, match="42 is not a battery") as refused:
        PACKS.decode(None, frame)
    assert refused.value.dialect is None


@pytest.mark.parametrize("count", [0, 17, 255])
def test_an_impossible_number_of_packs_is_refused(count: int) -> None:
    """No group has none, or more than its addresses."""
    with pytest.raises(FrameError, match="packs in one answer"):
        PACKS.decode(encode(2, 0x42, b"\xff"), encode(2, 0, bytes((0, count)) + RECORD))


# --- 44 --------------------------------------------------------------------------------------------------------------

QUIET = bytes.fromhex("0800000000000000000400000000" + "000000" + "000E800000")


@pytest.mark.parametrize("trailing", [b"", b"\x5a"], ids=["as documented", "one byte more"])
def test_a_group_of_alarm_records_may_have_a_byte_more_each(trailing: bytes) -> None:
    """As US5000 sends them; the byte is kept as it came."""
    decoded = PACKS.decode(encode(2, 0x44, b"\xff"), encode(2, 0, b"\x00\x03" + (QUIET + trailing) * 3))
    assert list(decoded.packs) == [2, 3, 4]
    assert all(pack.alarms == frozenset() for pack in decoded.packs.values())
    notes = {address: note.get("trailing_hex") for address, note in decoded.info.items() if isinstance(note, dict)}
    assert notes == dict.fromkeys(("2", "3", "4"), trailing.hex() or None)


def test_two_bytes_more_are_one_too_many() -> None:
    """The reason given is that of the documented form."""
    with pytest.raises(FrameError, match="2 bytes are left"):
        PACKS.decode(request(Command.ALARMS, 2), encode(2, 0, b"\x00\x02" + QUIET + bytes(2)))


@pytest.mark.parametrize(
    ("status3", "mode", "heater"),
    [(0x80, "charging", False), (0x40, "discharging", False), (0x08, "full", False), (0x00, "standby", False),
     (0x88, "charging", False), (0x20, "standby", True)],
)  # fmt: skip
def test_the_mode_is_what_the_pack_says_of_its_current(status3: int, mode: str, heater: bool) -> None:
    """Status 3: effective charge or discharge current, fully charged, heater."""
    record = QUIET[:-3] + bytes((status3, 0, 0))
    state = PACKS.decode(request(Command.ALARMS, 2), encode(2, 0, b"\x00\x02" + record)).packs[2]
    assert (state.mode, state.heater_active) == (mode, heater)


def test_the_buzzer_is_kept_for_diagnostics() -> None:
    """The model has no field for it."""
    record = QUIET[:-3] + b"\x01\x00\x00"
    decoded = PACKS.decode(request(Command.ALARMS, 2), encode(2, 0, b"\x00\x02" + record))
    assert decoded.info["buzzer_on"] is True
    assert decoded.packs[2].alarms == frozenset()


def test_bits_that_no_document_names_are_kept_and_raise_no_alarm() -> None:
    """Also faults of cells that the pack does not have."""
    record = QUIET[:-5] + bytes((0x08, 0x1E, 0x10, 0x00, 0x80))
    decoded = PACKS.decode(request(Command.ALARMS, 2), encode(2, 0, b"\x00\x02" + record))
    assert decoded.packs[2].alarms == frozenset()
    unnamed = {"status1": 0x08, "status2": 0x10, "status3": 0x10, "cell_fault": 0x8000}
    assert decoded.info["unnamed_bits"] == unnamed


# --- 61, 62, 63, 92 and the texts ------------------------------------------------------------------------------------


def test_what_a_system_lacks_is_unknown() -> None:
    """All of 61, 62 and 63 filled with FF."""
    for command, size in ((Command.SYSTEM_ANALOG, 49), (Command.SYSTEM_ALARMS, 4), (Command.SYSTEM_LIMITS, 9)):
        decoded = SYSTEM.decode(request(command, 2), encode(2, 0, b"\xff" * size))
        assert decoded.bank == BankState()
        assert decoded.info == {}


def test_a_current_of_minus_one_count_is_a_current() -> None:
    """FFFF in a system that measures its voltage is -0.01 A."""
    info = b"\xc2\xbf\xff\xff" + b"\xff" * 45
    bank = SYSTEM.decode(request(Command.SYSTEM_ANALOG, 2), encode(2, 0, info)).bank
    assert bank is not None
    assert (bank.voltage, bank.current) == (49.855, -0.01)


@pytest.mark.parametrize(
    ("charge", "discharge", "amperes"),
    [(1600, 1700, (160.0, 170.0)), (1600, -1700, (160.0, 170.0)), (10000, 500, (1000.0, 50.0)),
     (12000, 5000, (120.0, 50.0)), (0, -20000, (0.0, 200.0))],
)  # fmt: skip
def test_a_system_limit_above_1000_a_means_the_other_scale(
    charge: int, discharge: int, amperes: tuple[float, float]
) -> None:
    """0.1 A a count, unless that cannot be (section 6.6); the sign of the discharge limit does not matter."""
    info = b"\xdc\xd3\x5d\xc0" + charge.to_bytes(2, signed=True) + discharge.to_bytes(2, signed=True) + b"\xc0"
    bank = SYSTEM.decode(request(Command.SYSTEM_LIMITS, 2), encode(2, 0, info)).bank
    assert bank is not None
    assert (bank.charge_current_limit, bank.discharge_current_limit) == amperes


def test_a_slave_is_not_called_by_its_masters_name() -> None:
    """51 at a slave may give the master's data (pylon-51-us2000c-7): only the maker is taken."""
    info = b"US2000C\0\0\0\x01\x07" + b"Pylon".ljust(20, b"-")
    for address, model in ((2, "US2000C"), (0x12, "US2000C"), (3, None), (0x0F, None)):
        decoded = PACKS.decode(request(Command.MANUFACTURER, address), encode(address, 0, info))
        assert decoded.identities[address].manufacturer == "Pylon"
        assert decoded.identities[address].model == model
        assert decoded.info["device_name"] == "US2000C"


@pytest.mark.parametrize("raw", [b"\0" * 16, b"\xff" * 16, b" " * 16, b"\x01\x02" * 8])
def test_a_blank_serial_number_is_none(raw: bytes) -> None:
    """Padding and control characters identify nobody."""
    decoded = PACKS.decode(request(Command.SERIAL, 2), encode(2, 0, b"\x02" + raw))
    assert decoded.identities == {2: Identity()}


@pytest.mark.parametrize(
    ("command", "size"),
    [(Command.PARAMETERS, 25), (Command.MANUFACTURER, 32), (Command.MANAGEMENT, 10), (Command.SERIAL, 17),
     (Command.FIRMWARE, 6), (Command.SYSTEM_ANALOG, 49), (Command.SYSTEM_ALARMS, 4), (Command.SYSTEM_LIMITS, 9),
     (Command.SYSTEM_INFORMATION, 33)],
)  # fmt: skip
def test_answers_of_fixed_size_have_that_size(command: Command, size: int) -> None:
    """One byte less or more is not this answer."""
    for wrong in (size - 1, size + 1):
        with pytest.raises(FrameError):
            PACKS.decode(request(command, 2), encode(2, 0, (b"\x02" + bytes(wrong))[:wrong]))


def test_system_information_lists_the_packs() -> None:
    """The example of V3.5 with its length and checksum made right."""
    info = b"Force_L\0\0\0Pylon" + bytes(15) + b"\x00\x09\x02" + b"0123456789abcdef1123456789abcdef"
    decoded = SYSTEM.decode(request(Command.SYSTEM_INFORMATION, 0x12), encode(0x12, 0, info))
    assert decoded.bank is not None
    assert (decoded.bank.modules, decoded.bank.manufacturer) == (2, "Pylon")
    assert decoded.identities == {0x12: Identity(manufacturer="Pylon", model="Force_L", firmware="0.9")}
    assert decoded.info["barcodes"] == ["0123456789abcdef", "1123456789abcdef"]


def test_an_answer_to_a_command_that_is_not_decoded_is_kept() -> None:
    """Overheard traffic holds more than we ask for."""
    assert PACKS.decode(encode(2, 0x90), encode(2, 0, b"\x05")).info == {"undecoded": "05"}
    assert PACKS.decode(None, encode(2, 0, b"\x05\x06\x07")).info == {"undecoded": "050607"}


def test_an_overheard_answer_of_the_right_size_must_also_look_right() -> None:
    """Ten bytes that do not name the pack are no limits, 32 bytes without a name no manufacturer."""
    for info in (b"\x03" + bytes(9), b"\x03" * 17, bytes(32)):
        assert PACKS.decode(None, encode(2, 0, info)).info == {"undecoded": info.hex()}


@pytest.mark.parametrize(
    "record", [QUIET[:-1], QUIET[:10], QUIET[:9], b"", b"\x00" + QUIET, b"\x08" + bytes(8) + b"\x11"]
)
def test_alarms_that_do_not_add_up_are_refused(record: bytes) -> None:
    """A record that ends early, and impossible counts."""
    with pytest.raises(FrameError):
        PACKS.decode(request(Command.ALARMS, 2), encode(2, 0, b"\x00\x02" + record))


def test_management_values_that_are_all_blank_are_unknown() -> None:
    """FF means that the product has no such value, not that everything is allowed and asked for."""
    asked = request(Command.MANAGEMENT, 2)
    frame = encode(2, 0x00, bytes((2,)) + b"\xff" * 9)
    state = PACKS.decode(asked, frame).packs[2]
    assert state == PackState(address=2)


def test_alarms_that_come_late_are_not_taken_for_a_manufacturer() -> None:
    """Alarms of 15 cells and 5 sensors are as long, and no answer says what it answers."""
    asked = request(Command.MANUFACTURER, 2)
    alarms = bytes((0, 2, 15)) + bytes(15) + bytes((5,)) + bytes(5) + bytes(3) + bytes(5)
    with pytest.raises(FrameError):
        PACKS.decode(asked, encode(2, 0x00, alarms))


def test_a_clone_that_repeats_the_command_answers_and_does_not_ask() -> None:
    """4F with the command where the return code belongs looks like the question, but for the version."""
    asked = PACKS.probes[0].request
    frame = encode(2, 0x4F, version=0x28)
    assert PACKS.is_answer(asked, frame)
    assert PACKS.decode(asked, frame).info == {"protocol_version": "2.8"}
    assert not PACKS.is_answer(asked, encode(2, 0x4F, version=0x00))
    assert not PACKS.is_answer(asked, encode(3, 0x4F, version=0x28))
