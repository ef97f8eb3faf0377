"""What a Pylontech bank is asked, and which answers belong to which questions."""

import pytest

from custom_components.lfp_battery.bms.errors import FrameError, Refusal, RefusedError
from custom_components.lfp_battery.bms.protocols.base import Cadence, Scope
from custom_components.lfp_battery.bms.protocols.pylon.protocol import Command, PylonPacks, PylonSystem, request
from tests.simulator.pylon_wire import encode

from .pylon_records import PACKS, RECORD, SYSTEM

# --- questions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "address", "frame"),
    [
        (Command.VERSION, 0x02, b"~2002464F0000FD98\r"),
        (Command.ANALOG, 0x02, b"~20024642E00202FD33\r"),
        (Command.ALARMS, 0x02, b"~20024644E00202FD31\r"),
        (Command.PARAMETERS, 0x02, b"~200246470000FDA7\r"),
        (Command.MANAGEMENT, 0x02, b"~20024692E00202FD2E\r"),
        (Command.SERIAL, 0x03, b"~20034693E00203FD2B\r"),
        (Command.SYSTEM_ANALOG, 0x02, b"~200246610000FDAB\r"),
        (Command.SYSTEM_ANALOG, 0x12, b"~201246610000FDAA\r"),
    ],
)
def test_questions_are_those_that_are_known_to_work(command: Command, address: int, frame: bytes) -> None:
    """The ready requests of section 4, and one of a capture."""
    assert request(command, address) == frame


def test_nothing_that_changes_anything_is_ever_asked() -> None:
    """94, 95, 64 and the old 82, 90, 91, 99 are neither in the list of commands nor in any poll or probe."""
    forbidden = {0x94, 0x95, 0x64, 0x82, 0x90, 0x91, 0x99}
    assert forbidden.isdisjoint(Command)
    sent = [
        frame
        for protocol in (PACKS, SYSTEM)
        for frame in (
            *(
                poll.request(address)
                for poll in protocol.polls
                for group in protocol.address_groups
                for address in group
            ),
            *(probe.request for probe in protocol.probes),
        )
    ]
    assert len(sent) > 1000
    assert {int(frame[7:9], 16) for frame in sent} <= set(Command)


def test_every_cycle_asks_for_values_and_alarms_and_seldom_for_the_rest() -> None:
    """Analog first and essential, limits in rotation, identity once, serial numbers private."""
    for protocol, scope in ((PACKS, Scope.PACK), (SYSTEM, Scope.BANK)):
        assert [p.name for p in protocol.polls if p.cadence is Cadence.CYCLE] == ["analog", "alarms"]
        assert [p.name for p in protocol.polls if p.essential] == ["analog"]
        assert {p.scope for p in protocol.polls} == {scope}
    assert [p.name for p in PACKS.polls if p.cadence is Cadence.ROTATION] == ["management"]
    assert [p.name for p in PACKS.polls if p.private] == ["serial"]
    assert [p.name for p in SYSTEM.polls if p.cadence is Cadence.ROTATION] == ["limits"]
    assert [p.name for p in SYSTEM.polls if p.private] == ["information"]


def test_probes_begin_at_the_usual_master() -> None:
    """02 before 12, and the question that costs least before the one that says most (section 9)."""
    assert [(p.address, int(p.request[7:9], 16)) for p in PylonPacks.probes] == [
        (0x02, 0x4F), (0x02, 0x42), (0x12, 0x4F), (0x12, 0x42),
    ]  # fmt: skip
    assert [(p.address, int(p.request[7:9], 16)) for p in PylonSystem.probes] == [(0x02, 0x61), (0x12, 0x61)]


def test_groups_begin_with_their_master() -> None:
    """Eight groups of fourteen addresses (section 5)."""
    groups = PACKS.address_groups
    assert [group[0] for group in groups] == [0x02, 0x12, 0x22, 0x32, 0x42, 0x52, 0x62, 0x72]
    assert {len(group) for group in groups} == {14}
    assert groups[3][-1] == 0x3F


# --- which answer belongs to which question --------------------------------------------------------------------------


def test_an_answer_of_another_pack_is_not_ours() -> None:
    """A late answer, told by ADR and by the command value; each alone is enough."""
    asked = request(Command.ANALOG, 2)
    assert PACKS.is_answer(asked, encode(2, 0, b"\x00\x02" + RECORD))
    for stray in (
        encode(3, 0, b"\x00\x03" + RECORD),
        encode(2, 0, b"\x00\x03" + RECORD),
        encode(3, 0, b"\x00\x02" + RECORD),
    ):
        assert not PACKS.is_answer(asked, stray)
        with pytest.raises(FrameError, match="asked was 02"):
            PACKS.decode(asked, stray)


def test_a_refusal_names_no_pack_and_is_ours_by_its_address() -> None:
    """RTN with empty INFO, and with the data that other makers add."""
    asked = request(Command.MANAGEMENT, 2)
    for info in (b"", b"\x07"):
        assert PACKS.is_answer(asked, encode(2, 0x04, info))
    assert not PACKS.is_answer(asked, encode(3, 0x04))


def test_system_answers_may_come_from_any_address() -> None:
    """JK, asked at 12, answers as 02 (pylon-62-jk); identity is filed under the address that was asked."""
    info = b"Force_L\0\0\0Pylon" + bytes(15) + b"\x00\x09\x01" + b"0123456789abcdef"
    asked = request(Command.SYSTEM_INFORMATION, 0x12)
    assert SYSTEM.is_answer(asked, encode(2, 0, info))
    assert SYSTEM.decode(asked, encode(2, 0, info)).identities.keys() == {0x12}


def test_the_version_of_an_answer_does_not_matter() -> None:
    """20 and 28 mean the same layout; 25 is PACE, 26 nobody knows (section 10)."""
    asked = request(Command.ANALOG, 2)
    answers = [encode(2, 0, b"\x00\x02" + RECORD, version=version) for version in (0x20, 0x28)]
    assert PACKS.decode(asked, answers[0]) == PACKS.decode(asked, answers[1])
    with pytest.raises(FrameError, match="PACE") as refused:
        PACKS.decode(asked, encode(2, 0, b"\x00\x02" + RECORD, version=0x25))
    assert refused.value.dialect == "pace-v25"
    with pytest.raises(FrameError, match="26") as refused:
        PACKS.decode(asked, encode(2, 0, b"\x00\x02" + RECORD, version=0x26))
    assert refused.value.dialect is None


@pytest.mark.parametrize("info", [b"", b"\x02", b"\x02\x01"], ids=["none", "address", "address and index"])
def test_all_forms_of_a_question_are_understood(info: bytes) -> None:
    """Clients send no INFO, the address, or the address and an index."""
    asked = encode(2, 0x42, info)
    assert PACKS.is_request(asked)
    assert PACKS.decode(asked, encode(2, 0, b"\x00\x02" + RECORD)).packs.keys() == {2}


def test_a_clone_may_repeat_the_command_instead_of_success() -> None:
    """Old Battery-Emulator answers 61 to 61 (section 7); heard by itself it still is an answer."""
    blank = bytes.fromhex("C2BFFB2E550008000864640CFC00020CFB00020BAB0BAC00020BA90002") + b"\xff" * 20
    asked = request(Command.SYSTEM_ANALOG, 2)
    proper, clone = encode(2, 0, blank), encode(2, 0x61, blank)
    assert SYSTEM.decode(asked, clone) == SYSTEM.decode(asked, proper)
    assert SYSTEM.decode(None, clone) == SYSTEM.decode(None, proper)
    assert not SYSTEM.is_request(clone)


def test_a_question_of_another_master_is_not_an_answer() -> None:
    """Also those that change something, which are known only to be recognised."""
    for code, info in ((0x42, b"\x02"), (0x94, bytes(9)), (0x95, b"\x02"), (0x64, b""), (0x82, b"\x85\x20")):
        frame = encode(2, code, info)
        assert PACKS.is_request(frame)
        assert not PACKS.is_answer(request(Command.ANALOG, 2), frame)
        with pytest.raises(FrameError, match="a question"):
            PACKS.decode(None, frame)


def test_somebodys_write_is_shown_as_accepted() -> None:
    """The acknowledgement has no content; what was asked says what it means."""
    assert SYSTEM.decode(encode(0x12, 0x64), encode(0x12, 0)).info == {"accepted": True}


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        (0x01, Refusal.OTHER), (0x02, Refusal.DAMAGED), (0x03, Refusal.DAMAGED), (0x04, Refusal.UNSUPPORTED),
        (0x05, Refusal.UNSUPPORTED), (0x06, Refusal.UNSUPPORTED), (0x90, Refusal.AWAY), (0x91, Refusal.AWAY),
        (0x07, Refusal.OTHER), (0xE0, Refusal.OTHER),
    ],
)  # fmt: skip
def test_return_codes_say_what_to_do_about_them(code: int, refusal: Refusal) -> None:
    """Section 7; a code that nobody documents is a refusal all the same."""
    for asked in (request(Command.ALARMS, 2), None):
        with pytest.raises(RefusedError, match=f"return code {code:02X}") as refused:
            PACKS.decode(asked, encode(2, code))
        assert (refused.value.code, refused.value.refusal) == (code, refusal)


@pytest.mark.parametrize("asked", [b"", b"~", b"pwr\r", b"~2002\r", b"~200246zz0000FD98\r"])
def test_a_question_that_is_none_is_an_error_of_the_same_kind(asked: bytes) -> None:
    """Captures may hold anything as their request."""
    with pytest.raises(FrameError, match="question"):
        PACKS.decode(asked, encode(2, 0, b"\x00\x02" + RECORD))
    assert not PACKS.is_answer(asked, encode(2, 0, b"\x00\x02" + RECORD))
