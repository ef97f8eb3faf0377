"""The ASCII frame: its checks, and how a stream is cut into frames."""

import contextlib

from hypothesis import given, settings, strategies as st
import pytest

from custom_components.lfp_battery.bms.errors import FrameError, RefusedError
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.base import Decoded
from custom_components.lfp_battery.bms.protocols.pylon.frame import (
    FrameSplitter,
    ReadCommand,
    checksum,
    encode_question,
    length_checksum,
    parse,
)
from custom_components.lfp_battery.bms.protocols.pylon.protocol import Command
from tests.simulator.pylon_wire import encode

from .captured import Captured, text_frames
from .mutation import bit_flips

CAPTURED = text_frames("pylon.json")
QUESTION = b"~20024692E00202FD2E\r"
ANSWER = b"~20024600B014026EF05AA0022BFDD5C0F915\r"

# --- one frame -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lenid", "length"),
    [
        (0x00, "0000"), (0x02, "E002"), (0x04, "C004"), (0x12, "D012"), (0x14, "B014"), (0x22, "C022"),
        (0x32, "B032"), (0x40, "C040"), (0x42, "A042"), (0x4C, "004C"), (0x62, "8062"), (0x6E, "C06E"),
        (0x7A, "F07A"), (0x7E, "B07E"), (0x6E8, "46E8"),
    ],
)  # fmt: skip
def test_the_length_carries_its_own_check(lenid: int, length: str) -> None:
    """The table of section 4, the nibble sum of 16 included."""
    assert f"{length_checksum(lenid):X}{lenid:03X}" == length


def test_the_checksum_is_that_of_the_documents_where_they_are_right() -> None:
    """V3.5 prints FC71 for its worked example, V3.3 a wrong FC72."""
    assert checksum(b"1203400456ABCEFE") == 0xFC71


@pytest.mark.parametrize("captured", CAPTURED, ids=lambda c: c.id)
def test_captured_frames_are_intact_in_either_case(captured: Captured) -> None:
    """Upper case as captured; in lower case with the checksum over the characters as they are then sent."""
    frame: bytes = captured.response
    lower = frame[1:-5].lower()
    assert parse(b"~%b%04x\r" % (lower, checksum(lower))) == parse(frame)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "whole frame"),
        (b"~\r", "whole frame"),
        (QUESTION[:-1], "whole frame"),
        (QUESTION[1:], "whole frame"),
        (b"~20024692E00202FD2F\r", "checksum"),
        (b"~20024692D00202FD2F\r", "check of the length"),
        (b"~20024692E0020202FCCC\r", "2 characters announced, 4 received"),
        (b"~2002469 E00202FD2E\r", "hexadecimal"),
        (b"~20024692E00202FD  2E\r", "hexadecimal"),
        (b"~2002469\xffE00202FD2E\r", "hexadecimal"),
        (b"~20024692E0020+FD2E\r", "hexadecimal"),
        (b"~20024692E00202FD2\r", "hexadecimal"),
    ],
)
def test_a_damaged_frame_says_what_is_wrong(frame: bytes, reason: str) -> None:
    """Every check of its own, and characters that lenient parsers let pass."""
    with pytest.raises(FrameError, match=reason):
        parse(frame)


def test_the_documents_own_wrong_example_is_refused() -> None:
    """V3.3 prints E1A2 where E27A is right (pylon-doc33-42)."""
    body = (
        b"~20024600F07A11020F0D450D440D450D440D450D440D3E0D450D4A0D4A0D4B0D4A0D4A0D4A0D4A050BC30BC30BC30BCD0BCD0000C725"
        b"FFFF04FFFF000200CA58012110"
    )
    assert parse(body + b"E27A\r").address == 2
    with pytest.raises(FrameError, match="checksum"):
        parse(body + b"E1A2\r")


def test_only_listed_commands_can_be_framed() -> None:
    """A number is no command, and a list of read commands has no member for one that changes something."""
    assert encode_question(Command.MANAGEMENT, 2, b"\x02") == QUESTION
    for code in (0x94, 0x95, 0x64):
        with pytest.raises(TypeError):
            encode_question(code, 2)  # type: ignore[arg-type]  # what must fail
        with pytest.raises(ValueError):
            Command(code)
    assert not list(ReadCommand)


def _message(frame: bytes, asked: bytes | None, protocol: str) -> Decoded | None:
    try:
        return POLLED[protocol].decode(asked, frame)
    except FrameError, RefusedError:
        return None


@pytest.mark.parametrize("captured", [c for c in CAPTURED if c.protocol in POLLED], ids=lambda c: c.id)
def test_no_single_flipped_bit_changes_what_a_frame_says(captured: Captured) -> None:
    """Every bit of every captured answer: refused, or the identical message (a digit of CHKSUM in the other case)."""
    frame, asked, protocol = captured.response, captured.request, captured.protocol
    true = _message(frame, asked, protocol)
    codec = POLLED[protocol]
    flips = identical = 0
    for damaged in bit_flips(frame):
        flips += 1
        for found in (damaged, *codec.splitter(asked).feed(damaged)):
            decoded = _message(found, asked, protocol)
            assert decoded is None or decoded == true
            identical += decoded is not None
    assert flips == 8 * len(frame)
    # letters of the four digits of CHKSUM, seen once directly and once through the splitter
    assert identical == (0 if true is None else 2 * sum(chr(digit).isalpha() for digit in frame[-5:-1]))


# --- a stream --------------------------------------------------------------------------------------------------------


def test_noise_echo_and_broken_starts_are_passed_over() -> None:
    """NUL and FF between frames mean nothing, a new tilde starts anew, what is not finished waits."""
    splitter = FrameSplitter()
    assert splitter.feed(b"\x00\xff" + QUESTION + b"\n~2002" + ANSWER + b"~2002") == [QUESTION, ANSWER]
    assert splitter.noise == len(b"\n~2002")
    assert splitter.pending == 1


def test_a_damaged_frame_is_still_a_frame() -> None:
    """It must be counted as damaged, not as noise."""
    splitter = FrameSplitter()
    assert splitter.feed(b"~2002ZZ\r" + QUESTION) == [b"~2002ZZ\r", QUESTION]
    assert splitter.noise == 0


def test_what_is_missing_follows_from_the_announced_length() -> None:
    """None before a frame, 1 until LENGTH is there and whenever it cannot be believed, then the exact number."""
    splitter = FrameSplitter()

    def pending() -> int | None:
        return splitter.pending

    assert pending() is None
    for count in range(1, len(ANSWER)):
        splitter.feed(ANSWER[count - 1 : count])
        assert pending() == (1 if count < 13 else len(ANSWER) - count)
    assert splitter.feed(b"\r") == [ANSWER]
    assert pending() is None
    splitter.feed(b"~20024600C014")  # C instead of B
    assert pending() == 1
    splitter.feed(b"~20024600B01x")
    assert pending() == 1
    splitter.feed(ANSWER[:-1] + b"00")  # the CR was lost
    assert pending() == 1


def test_a_frame_that_never_ends_is_given_up() -> None:
    """After 4200 characters, and what follows is read again."""
    splitter = FrameSplitter()
    splitter.feed(b"~" + b"0" * 4199)
    before = splitter.pending
    splitter.feed(b"0")
    assert before is not None
    assert (splitter.pending, splitter.noise) == (None, 4201)
    assert splitter.feed(b"0\r" + ANSWER) == [ANSWER]
    assert splitter.feed(b"~" + b"0" * 4200 + b"\r" + ANSWER) == [ANSWER]


def test_the_longest_frame_is_not_given_up() -> None:
    """18 + 4095 characters, of which the largest even number is 4094."""
    longest = encode(2, 0, bytes(2047))
    assert FrameSplitter().feed(longest) == [longest]
    assert len(parse(longest).info) == 2047


_PIECES = st.lists(
    st.one_of(
        st.sampled_from([c.response for c in CAPTURED] + [QUESTION, ANSWER, b"~", b"\r", b"~2002", b"\x00\xff"]),
        st.binary(max_size=30),
    ),
    max_size=8,
)


@given(pieces=_PIECES, data=st.data())
@settings(max_examples=200, deadline=None)
def test_it_does_not_matter_how_a_stream_is_chopped(pieces: list[bytes], data: st.DataObject) -> None:
    """The same frames, the same noise and the same number of missing bytes, one byte at a time or all at once."""
    stream = b"".join(pieces)
    whole = FrameSplitter()
    frames = whole.feed(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    chopped = FrameSplitter()
    found = [
        frame
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for frame in chopped.feed(stream[start:end])
    ]
    assert found == frames
    assert (chopped.noise, chopped.pending) == (whole.noise, whole.pending)


@given(pieces=_PIECES)
@settings(max_examples=200, deadline=None)
def test_intact_frames_survive_whatever_is_around_them(pieces: list[bytes]) -> None:
    """Noise before, after and between takes nothing from a frame that is whole."""
    splitter = FrameSplitter()
    found = [frame for piece in pieces for frame in splitter.feed(piece)]
    assert splitter.feed(ANSWER)[-1] == ANSWER
    whole = [piece for piece in pieces if piece[:1] == b"~" and piece[-1:] == b"\r" and len(piece) > 2]
    assert [frame for frame in found if frame in whole] == whole


@given(frame=st.binary(max_size=60), wrapped=st.booleans())
@settings(max_examples=500, deadline=None)
def test_only_two_kinds_of_error_leave_the_codec(frame: bytes, wrapped: bool) -> None:
    """Whatever the bytes are, also inside a frame whose checks are right."""
    if wrapped:
        frame = encode(2, frame[0] if frame else 0, frame[1:])
    for codec in POLLED.values():
        codec.is_request(frame)
        for command in Command:
            asked = encode(2, command, b"\x02")
            codec.is_answer(asked, frame)
            for question in (asked, None, frame):
                # anything else that is raised ends the test
                with contextlib.suppress(FrameError, RefusedError):
                    assert isinstance(codec.decode(question, frame), Decoded)
