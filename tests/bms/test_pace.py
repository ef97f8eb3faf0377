"""What captured PACE answers say, and which answers belong to which questions."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from custom_components.lfp_battery.bms.errors import FrameError, Refusal, RefusedError
from custom_components.lfp_battery.bms.model import Identity
from custom_components.lfp_battery.bms.protocols import DECODERS, POLLED
from custom_components.lfp_battery.bms.protocols.base import Cadence, Scope
from custom_components.lfp_battery.bms.protocols.pace.protocol import NEVER_SENT, Command
from custom_components.lfp_battery.bms.protocols.pylon.frame import ReadCommand, encode_question
from tests.simulator.pace import FORBIDDEN
from tests.simulator.pylon_wire import encode

from .captured import Captured, text_frames
from .mutation import bit_flips
from .pace_answers import RS232, RS485, TAIL, analog, answer, ask, record

CAPTURED = text_frames("pace.json")
BY_ID = {captured.id: captured for captured in CAPTURED}
WITH_RECORDS = [c for c in CAPTURED if c.packs and b"A6" not in (c.request or b"")]


def _said(state: object, expected: dict[str, Any]) -> dict[str, Any]:
    """The fields of a state that a capture speaks of, as JSON has them."""
    said: dict[str, Any] = {}
    for name in expected:
        value = getattr(state, name)
        said[name] = (
            sorted(value) if isinstance(value, frozenset) else list(value) if isinstance(value, tuple) else value
        )
    return said


# --- captures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("captured", [c for c in CAPTURED if c.decodes], ids=lambda c: c.id)
def test_a_captured_answer_says_what_its_source_says(captured: Captured) -> None:
    """Every figure that the source of a capture gives is decoded, and for no other pack."""
    decoded = DECODERS[captured.protocol].decode(captured.request, captured.response)
    assert {str(address) for address in decoded.packs} == captured.packs.keys()
    for address, expected in captured.packs.items():
        state = decoded.packs[int(address)]
        assert state.address == int(address)
        near = {n: pytest.approx(v, abs=0.006) if n == "soc" else v for n, v in expected.items()}
        assert _said(state, dict(expected)) == near
    assert decoded.bank is None
    assert decoded.identities == {
        int(a): Identity(**dict[str, Any](identity)) for a, identity in captured.identities.items()
    }
    for name, value in captured.info.items():
        got = decoded.info.get(name, value if name in decoded.info else None)
        assert got == value


@pytest.mark.parametrize(
    ("name", "refusal"), [("pace-9B-pbmstools-13", Refusal.OTHER), ("pace-rtn04", Refusal.UNSUPPORTED)]
)
def test_a_captured_refusal_keeps_its_code_with_or_without_data(name: str, refusal: Refusal) -> None:
    """09 came with a byte of data, 04 with none (section 8)."""
    captured = BY_ID[name]
    with pytest.raises(RefusedError) as refused:
        RS232.decode(captured.request or ask(0x42, value=1), captured.response)
    assert (refused.value.code, refused.value.refusal) == (captured.return_code, refusal)


@pytest.mark.parametrize("captured", WITH_RECORDS, ids=lambda c: c.id)
def test_an_overheard_answer_of_a_pack_says_the_same(captured: Captured) -> None:
    """42 and 44 are told by their content when the question was not heard."""
    codec = DECODERS[captured.protocol]
    known = codec.decode(captured.request, captured.response)
    assert codec.decode(None, captured.response).packs == known.packs


@pytest.mark.parametrize("captured", [c for c in CAPTURED if c.request is not None], ids=lambda c: c.id)
def test_a_captured_answer_belongs_to_its_question_only(captured: Captured) -> None:
    """Not its own question, not a damaged frame, and a question is not an answer."""
    codec = DECODERS[captured.protocol]
    assert captured.request is not None
    assert codec.is_answer(captured.request, captured.response)
    assert not codec.is_answer(captured.request, captured.request)
    assert not codec.is_answer(captured.request, captured.response[:-2] + b"!\r")
    assert codec.is_request(captured.request)
    assert not codec.is_request(captured.response)


# --- others who use the frame ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("captured", text_frames("pylon.json"), ids=lambda c: c.id)
def test_a_pylontech_battery_is_not_taken_for_pace(captured: Captured) -> None:
    """The same frame and the same commands, but no record fits the other layout: twins that must be told apart."""
    for codec in (RS232, RS485):
        asked = captured.request or ask(0x42, address=captured.response[3] - 0x30, value=captured.response[3] - 0x30)
        assert not codec.recognises(asked, captured.response)
        if captured.packs and captured.response[13:15] != b"":
            with pytest.raises(FrameError):
                codec.decode(None, captured.response)


@pytest.mark.parametrize("captured", [c for c in CAPTURED if c.packs or c.identities], ids=lambda c: c.id)
def test_pace_is_recognised_and_not_taken_for_pylontech(captured: Captured) -> None:
    """By one of the two codecs at least; Pylontech's names the dialect."""
    asked = captured.request
    assert asked is not None
    assert any(codec.recognises(asked, captured.response) for codec in (RS232, RS485))
    assert not POLLED["pylon-rs485"].recognises(asked, captured.response)
    with pytest.raises(FrameError) as refused:
        POLLED["pylon-rs485"].decode(asked, captured.response)
    assert refused.value.dialect == "pace-v25"


@pytest.mark.parametrize("name", ["dialect-tdt6022-42-0", "dialect-eg4-42"])
def test_other_makers_dialects_are_refused_by_name(name: str) -> None:
    """TDT has the same version and another device type."""
    captured = next(c for c in text_frames("pylon.json") if c.id == name)
    with pytest.raises(FrameError) as refused:
        RS232.decode(captured.request, captured.response)
    assert refused.value.dialect == captured.dialect


def test_a_seplos_record_is_as_long_as_one_of_pace_and_is_refused_by_name() -> None:
    """Ten items and a pack voltage in 10 mV tell it (pylon-rs485.md section 10)."""
    seplos = record(items=10, volts=5280, tail=TAIL[:14])
    with pytest.raises(FrameError) as refused:
        analog(seplos)
    assert refused.value.dialect == "seplos-v20"
    assert analog(record(items=10, tail=TAIL[:14])).packs[1].voltage == 52.8


# --- who answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "command", "address", "frame"),
    [
        ("pace-v25", Command.ANALOG, 1, b"~25014642E00201FD30\r"),
        ("pace-v25", Command.STATES, 1, b"~25014644E00201FD2E\r"),
        ("pace-v25", Command.ANALOG, 5, encode(1, 0x42, b"\5", version=0x25)),
        ("pace-v25", Command.SOFTWARE, 1, b"~250146C10000FD9A\r"),
        ("pace-v25", Command.PRODUCT, 1, b"~250146C20000FD99\r"),
        ("pace-v25-rs485", Command.ANALOG, 2, b"~25024642E00202FD2E\r"),
        ("pace-v25-rs485", Command.STATES, 2, b"~25024644E00202FD2C\r"),
        ("pace-v25-rs485", Command.CELL_OVER_VOLTAGE, 0, b"~250046D10000FD9A\r"),
    ],
)
def test_questions_are_those_that_are_known_to_work(
    protocol: str, command: Command, address: int, frame: bytes
) -> None:
    """The ready requests of section 2, and those of captures."""
    asked = {poll.request(address) for poll in POLLED[protocol].polls}
    assert frame in asked
    assert sum(int(question[7:9], 16) == command for question in asked) == 1


def test_the_first_probe_is_the_captured_question_to_everybody() -> None:
    """Word for word what a stack of five has answered (pace-90-jakiper-01)."""
    assert RS232.probes[0].request == BY_ID["pace-90-jakiper-01"].request
    assert all(probe.wait == 0.5 for protocol in (RS232, RS485) for probe in protocol.probes)


def test_nothing_that_changes_anything_or_tells_a_password_is_ever_asked() -> None:
    """64, 7F and every write are in no list, no poll and no probe, and cannot be framed."""
    assert {0x64, 0x7F, 0x9A, 0x9C, 0xD0} <= NEVER_SENT
    assert FORBIDDEN <= NEVER_SENT
    assert NEVER_SENT.isdisjoint(Command)
    sent = [
        frame
        for protocol in (RS232, RS485)
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
    assert len(sent) > 250
    assert {int(frame[7:9], 16) for frame in sent} == set(Command)
    assert all(protocol.is_request(frame) for protocol in (RS232, RS485) for frame in sent)
    for command in NEVER_SENT:
        with pytest.raises(TypeError):
            encode_question(command, 1)
    assert not any(issubclass(kind, Command) for kind in ReadCommand.__subclasses__() if kind is not Command)


def test_every_cycle_asks_for_values_and_states_and_once_for_the_rest() -> None:
    """Analog first and essential; what holds serial numbers is private."""
    for protocol in (RS232, RS485):
        assert [p.name for p in protocol.polls if p.cadence is Cadence.CYCLE] == ["analog", "states"]
        assert [p.name for p in protocol.polls if p.essential] == ["analog"]
        assert {p.scope for p in protocol.polls} == {Scope.PACK}
        assert [p.name for p in protocol.polls if p.private] == ["product", "software"]
    assert [p.name for p in RS232.polls_of(Scope.PACK, 2)] == ["analog", "states"]
    assert [p.name for p in RS485.polls_of(Scope.PACK, 2)] == ["analog", "states", "product", "software"]


def test_a_pack_is_known_by_its_dip_switches() -> None:
    """One that stands alone has none set, and is the first all the same."""
    assert [RS485.pack_number(address) for address in (1, 2, 15, 0)] == ["1", "2", "15", "1"]
    assert RS232.pack_number(15) == "15"


@pytest.mark.parametrize("shown", [0, 1, 3])
def test_on_rs232_the_pack_is_in_the_data_and_not_in_the_address(shown: int) -> None:
    """The plugged pack answers under its own address, whatever was asked for."""
    asked = ask(0x42, value=2)
    frame = answer(b"\0\2" + record(), address=shown)
    assert RS232.is_answer(asked, frame)
    assert list(RS232.decode(asked, frame).packs) == [2]


def test_on_rs232_an_answer_about_another_pack_is_dropped() -> None:
    """Pack 2's answer came after asking for 1 (section 3)."""
    frame = answer(b"\0\2" + record())
    assert not RS232.is_answer(ask(0x42, value=1), frame)
    with pytest.raises(FrameError, match="of pack 2, asked was 1"):
        RS232.decode(ask(0x42, value=1), frame)


def test_on_rs485_a_pack_answers_at_its_own_address_under_its_own_number() -> None:
    """Both are compared."""
    asked = ask(0x42, address=2, value=2)
    assert list(RS485.decode(asked, answer(b"\0\2" + record(), address=2)).packs) == [2]
    for frame in (answer(b"\0\3" + record(), address=3), answer(b"\0\3" + record(), address=2)):
        assert not RS485.is_answer(asked, frame)
        with pytest.raises(FrameError):
            RS485.decode(asked, frame)
    assert not RS485.is_answer(ask(0xC2, address=2), answer(bytes(40), address=1))


def test_a_pack_that_answers_for_another_gives_the_rs232_port_away() -> None:
    """What RS485 would lose is said by name, so that the other protocol can be used (captures of a stack of five)."""
    captured = BY_ID["pace-42-jakiper-10"]
    assert captured.request is not None
    assert RS485.is_answer(captured.request, captured.response)
    with pytest.raises(FrameError, match="RS232 port") as refused:
        RS485.decode(captured.request, captured.response)
    assert refused.value.dialect == "pace-v25"
    assert RS232.recognises(captured.request, captured.response)
    assert not RS485.recognises(captured.request, captured.response)


def test_an_overheard_conversation_tells_the_two_lines_apart() -> None:
    """Pack 2 at its own address is on RS485; of pack 1 at 01 either may be true."""
    captured = BY_ID["pace-42-rs485-snoop"]
    assert captured.request is not None
    assert RS485.recognises(captured.request, captured.response)
    assert not RS232.recognises(captured.request, captured.response)
    first, frame = ask(0x42, value=1), answer(b"\0\1" + record())
    assert RS232.recognises(first, frame)
    assert RS485.recognises(first, frame)
    alone, frame = ask(0x42, address=0, value=0), answer(b"\0\0" + record(), address=0)
    assert RS485.recognises(alone, frame)
    assert not RS232.recognises(alone, frame)


@pytest.mark.parametrize(("asked", "shown", "place"), [(1, 1, 1), (1, 0, 1), (1, 3, 1), (2, 1, 1), (2, 2, 2)])
def test_on_rs232_a_serial_number_is_that_of_the_plugged_pack(asked: int, shown: int, place: int) -> None:
    """Never of the pack that was asked for: all of them would get pack 1's (pace-C2-jakiper-05)."""
    info = b"1B470102170999D".ljust(20) + b"Mar 30 2022,18:18:16"
    decoded = RS232.decode(ask(0xC2, address=asked), answer(info, address=shown))
    assert decoded.identities == {place: Identity(serial="1B470102170999D")}


def test_a_late_software_version_is_no_serial_number() -> None:
    """C1 and C2 are of one length."""
    info = b"P16S100A-1B470-1.04".ljust(40, b"\0")
    assert RS232.decode(ask(0xC1), answer(info)).identities == {1: Identity(firmware="P16S100A-1B470-1.04")}
    with pytest.raises(FrameError, match="software version"):
        RS232.decode(ask(0xC2), answer(info))


def test_a_bluetooth_name_may_follow_the_software_version() -> None:
    """LENGTH 50 instead of 28 (section 4)."""
    info = b"P16S100A-1812-1.00".ljust(20, b"\0") + b"PB-0042".ljust(20, b"\0")
    assert RS232.decode(ask(0xC1), answer(info)).info["bluetooth_name"] == "PB-0042"


# --- versions and return codes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0x00, 0x12, 0x20, 0x25])
def test_the_version_of_an_answer_is_not_compared(version: int) -> None:
    """One maker says 12 (section 2)."""
    frame = answer(b"\0\1" + record(), version=version)
    assert RS232.decode(ask(0x42, value=1), frame).packs[1].voltage == 52.8
    assert RS232.recognises(ask(0x42, value=1), frame)


def test_a_return_code_that_repeats_the_command_is_success() -> None:
    """As V3.1 says, even where the answer looks like a question then."""
    assert RS232.decode(ask(0x42, value=1), answer(b"\0\1" + record(), code=0x42)).packs
    assert RS232.decode(None, answer(b"\0\1" + record(), code=0x42)).packs
    everybody = encode(0xFF, 0x90, b"\xff", version=0x25)
    assert not RS232.is_answer(everybody, everybody)
    assert RS232.decode(ask(0x90), answer(b"\5", code=0x90)).info == {"pack_count": 5}
    for command, info in ((0xED, "0064"), (0xE5, "0C"), (0xEB, "060100")):
        frame = answer(bytes.fromhex(info), code=command)
        assert RS232.is_answer(ask(command), frame)
        assert not RS232.is_request(frame)
    with pytest.raises(FrameError):
        RS232.decode(ask(0x44, value=1), answer(b"\0\1" + record(), code=0x42))


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        (0x01, Refusal.OTHER), (0x02, Refusal.DAMAGED), (0x03, Refusal.DAMAGED), (0x04, Refusal.UNSUPPORTED),
        (0x05, Refusal.OTHER), (0x06, Refusal.OTHER), (0x09, Refusal.OTHER), (0x77, Refusal.OTHER),
    ],
)  # fmt: skip
def test_a_return_code_says_whether_to_ask_again(code: int, refusal: Refusal) -> None:
    """Section 8."""
    with pytest.raises(RefusedError, match=f"return code {code:02X}") as refused:
        RS232.decode(ask(0x42, value=1), answer(b"", code=code))
    assert refused.value.refusal is refusal


@pytest.mark.parametrize(("info", "packs"), [("00", None), ("01", 1), ("20", 32), ("21", None), ("F0FF", None)])
def test_a_number_of_packs_is_at_most_32(info: str, packs: int | None) -> None:
    """Section 4."""
    frame = answer(bytes.fromhex(info))
    if packs is None:
        with pytest.raises(FrameError):
            RS232.decode(ask(0x90), frame)
    else:
        assert RS232.decode(ask(0x90), frame).info == {"pack_count": packs}


@pytest.mark.parametrize(
    ("frame", "link"),
    [
        (b"~250246900000FDA4\r", True),
        (encode(15, 0x90, version=0x25), True),
        (b"~250146900000FDA5\r", False),
        (b"~25FF4690E002FFFCD7\r", False),
        (encode(2, 0x90, version=0x20), False),
        (b"~25024642E00202FD2E\r", False),
        (b"~25024600E0020FFD20\r", False),
        (b"~250246900000FDA5\r", False),
    ],
)
def test_a_host_that_asks_whether_the_others_are_there_is_on_the_port_between_packs(frame: bytes, link: bool) -> None:
    """Section 3; a program asks the first pack or everybody."""
    assert RS232.is_link_bus(frame) is link
    assert RS485.is_link_bus(frame) is link


def test_acknowledgements_of_others_are_notes_and_never_readings() -> None:
    """Whatever they say of switches, 44 tells what became of it."""
    for captured in CAPTURED:
        if captured.request and captured.decodes and int(captured.request[7:9], 16) in NEVER_SENT:
            decoded = RS232.decode(captured.request, captured.response)
            assert (decoded.packs, decoded.bank, decoded.identities) == ({}, None, {})
            assert decoded.info["accepted"] is True
    with pytest.raises(FrameError, match="control command 0A"):
        RS232.decode(ask(0x99, value=0x09), answer(b"\x0a\x38"))


# --- hostile bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("captured", WITH_RECORDS, ids=lambda c: c.id)
def test_one_flipped_bit_is_never_read_as_something_else(captured: Captured) -> None:
    """Every bit of every captured record: refused, or the same message in other letters."""
    codec = DECODERS[captured.protocol]
    known = codec.decode(captured.request, captured.response)
    for damaged in bit_flips(captured.response):
        try:
            assert codec.decode(captured.request, damaged) == known
        except FrameError, RefusedError:
            continue


def test_frames_with_good_checks_and_any_content_raise_nothing_else() -> None:
    """Random INFO, and captured INFO with bytes changed, cut or doubled, to every command."""
    rng = Random(25)
    contents = [bytes.fromhex(c.response[13:-5].decode()) for c in CAPTURED]
    commands = sorted({*Command, *NEVER_SENT, 0x47, 0xA0, 0xA1, 0xA6, 0xB1, 0xB6, 0xC6, 0xE3, 0xE5, 0xEB})
    decoded = 0
    for _ in range(20_000):
        info = bytearray(rng.choice(contents) if rng.random() < 0.7 else rng.randbytes(rng.randrange(60)))
        for _ in range(rng.randrange(4)):
            if info:
                info[rng.randrange(len(info))] = rng.randrange(256)
        info = info[: rng.randrange(len(info) + 1)] if rng.random() < 0.3 else info * rng.randrange(1, 3)
        frame = answer(bytes(info), code=rng.choice((0, 0, 0, 9, 0x42, 0xC1)), version=rng.choice((0x25, 0x20)))
        command = rng.choice(commands)
        for codec in (RS232, RS485):
            for request in (None, ask(command), ask(command, value=rng.choice((1, 2, 0xFF))), b"~", b"~zz\r"):
                codec.is_request(frame)
                codec.is_link_bus(frame)
                if request is not None:
                    codec.is_answer(request, frame)
                    codec.recognises(request, frame)
                try:
                    codec.decode(request, frame)
                except FrameError, RefusedError:
                    continue
                decoded += 1
    assert decoded > 1000


def test_a_cut_answer_is_refused_at_every_length() -> None:
    """LENGTH is held against what came; a CR alone ends nothing (pace-44-ff-truncated)."""
    captured = BY_ID["pace-42-easun-p9"]
    for length in range(1, len(captured.response) - 1):
        with pytest.raises(FrameError):
            RS232.decode(captured.request, captured.response[:length] + b"\r")


def test_states_are_compared_by_value() -> None:
    """Two readings of one answer are equal, so that nothing is said twice."""
    first, second = (analog(record()).packs[1] for _ in range(2))
    assert first == second
    assert first != replace(second, current=1.0)
