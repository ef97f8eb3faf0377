"""Modbus frames: ours and others', whole, damaged, in pieces and among noise."""

from collections.abc import Iterable
from contextlib import suppress
import logging
from random import Random
import struct
import sys
import time
from typing import override

import pytest

from custom_components.lfp_battery.bms.errors import FrameError, Refusal, RefusedError
from custom_components.lfp_battery.bms.model import BankState
from custom_components.lfp_battery.bms.protocols import SERIAL
from custom_components.lfp_battery.bms.protocols.base import Decoded
from custom_components.lfp_battery.bms.protocols.modbus import splitter as modbus_splitter
from custom_components.lfp_battery.bms.protocols.modbus.fields import Field, values
from custom_components.lfp_battery.bms.protocols.modbus.frame import ModbusProtocol, Registers, read_request, reading
from custom_components.lfp_battery.bms.protocols.modbus.splitter import LONGEST, ModbusSplitter, crc_is_right
from tests.simulator.modbus import question, sealed

# Own construction, as everything in this file that no test names otherwise
REQUEST = bytes.fromhex("010300130006340d")
ANSWER = bytes.fromhex("01030c00610000004214c9000000191547")
WORDS = (97, 0, 66, 5321, 0, 25)
REFUSAL = bytes.fromhex("018302c0f1")
SHORT = bytes.fromhex("01030a00610000004214c900002ce5")
LATE = bytes.fromhex("01030200423875")
OTHER_UNIT = bytes.fromhex("02030c00610000004214c9000000195646")
BAD_CRC = bytes.fromhex("01030c00610000004214c90000001915b8")
WORDS16 = bytes.fromhex("0103000600610000004214c900000019b390")


class Plain(ModbusProtocol):
    """A map that says nothing but what it was given."""

    name = "plain"
    polls = ()
    probes = ()
    address_groups = ((1,),)
    conditions = frozenset()
    area = range(0x10, 0x40)
    signatures = ({0x15: range(101), 0x16: range(1000, 6501)}, {0x30: range(-5, 5)})

    @override
    def read(self, unit: int, registers: Registers) -> Decoded:
        """All words."""
        if registers.u16(0x15) == 666:
            raise FrameError("nonsense")
        return Decoded(bank=BankState(), info={"unit": unit, "words": registers})


PLAIN = Plain()


def reply(unit: int, *words: int, function: int = 3) -> bytes:
    """An answer with these words."""
    return sealed(bytes((unit, function, 2 * len(words))) + struct.pack(f">{len(words)}H", *words))


def fed(splitter: ModbusSplitter, chunks: Iterable[bytes]) -> list[bytes]:
    """All frames of a stream in pieces."""
    return [frame for chunk in chunks for frame in splitter.feed(chunk)]


def single(stream: bytes) -> list[bytes]:
    """A stream byte by byte."""
    return [bytes((byte,)) for byte in stream]


STREAMS = {
    "good": (ANSWER, [ANSWER], ANSWER),
    "echo of an adapter": (REQUEST + ANSWER, [REQUEST, ANSWER], ANSWER),
    "a zero before it": (b"\x00" + ANSWER, [ANSWER], ANSWER),
    "noise before and after it": (b"\x91\x03\xfe" + ANSWER + b"\x00\xff", [ANSWER], ANSWER),
    "wrong CRC": (BAD_CRC, [BAD_CRC], None),
    "wrong unit": (OTHER_UNIT, [OTHER_UNIT], None),
    "five registers instead of six": (SHORT, [SHORT], None),
    "cut off": (ANSWER[:-4], [], None),
    "silence": (b"", [], None),
    "only the echo": (REQUEST, [REQUEST], None),
    "exception": (REFUSAL, [REFUSAL], REFUSAL),
    "length in 16 bits": (WORDS16, [], None),
    "a late answer before it": (LATE + ANSWER, [LATE, ANSWER], ANSWER),
    "another master's question before it": (question(1, 0x13, 16) + ANSWER, [question(1, 0x13, 16), ANSWER], ANSWER),
    "a longer answer": (reply(1, *range(7)), [reply(1, *range(7))], None),
    "a damaged answer and a whole one": (BAD_CRC + ANSWER, [ANSWER], ANSWER),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("pieces", ["whole", "bytes", "threes"])
def test_the_answer_is_found_among_everything_else(name: str, pieces: str) -> None:
    """What is no answer is still a frame, and nothing but the answer is taken for it."""
    stream, frames, answer = STREAMS[name]
    size = {"whole": len(stream) or 1, "bytes": 1, "threes": 3}[pieces]
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    found = fed(ModbusSplitter(REQUEST), chunks)
    assert found in (frames, [BAD_CRC, *frames]) if name.startswith("a damaged") else found == frames
    assert [frame for frame in found if PLAIN.is_answer(REQUEST, frame)] == ([answer] if answer else [])
    assert not any(PLAIN.is_answer(REQUEST, frame[:-1]) for frame in found)


def test_an_answer_becomes_registers() -> None:
    """By number, from the register that was asked for on."""
    decoded = PLAIN.decode(REQUEST, ANSWER)
    registers = decoded.info["words"]
    assert isinstance(registers, Registers)
    assert registers.block(0x13, 6) == WORDS
    assert decoded.info["unit"] == 1
    assert registers.block(0x12, 2) is None
    assert registers.u16(0x19) is None


@pytest.mark.parametrize(
    ("request_frame", "frame", "reason"),
    [
        (REQUEST, BAD_CRC, "CRC"),
        (REQUEST, ANSWER[:-1], "CRC"),
        (REQUEST, b"", "CRC"),
        (REQUEST, OTHER_UNIT, "by whom"),
        (REQUEST, SHORT, "15 bytes"),
        (REQUEST, reply(1, *range(7)), "19 bytes"),
        (REQUEST, reply(1, *WORDS, function=4), "by whom"),
        (REQUEST, WORDS16, "18 bytes"),
        (REQUEST, REQUEST, "8 bytes"),
        (REQUEST, sealed(b"\x01\x03\x0b" + bytes(12)), "17 bytes"),
        (b"\x01", ANSWER, "by whom"),
        (b"", ANSWER, "by whom"),
        (None, REQUEST, "not an answer"),
        (None, reply(1, 5, function=4), "function 4"),
        (None, sealed(b"\x01\x10\x00\x13\x00\x01"), "function 16"),
        (REQUEST, reply(1, 0, 0, 666, 0, 0, 0), "nonsense"),
    ],
)
def test_what_is_no_answer_is_a_frame_error(request_frame: bytes | None, frame: bytes, reason: str) -> None:
    """With a right CRC as well; pymodbus would return fewer registers, or none, without a word."""
    with pytest.raises(FrameError, match=reason):
        PLAIN.decode(request_frame, frame)


def test_an_answer_without_its_question_is_intact_and_says_nothing() -> None:
    """It does not hold the number of its first register."""
    assert PLAIN.decode(None, ANSWER) == Decoded()


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        (1, Refusal.UNSUPPORTED),
        (2, Refusal.UNSUPPORTED),
        (3, Refusal.UNSUPPORTED),
        (4, Refusal.OTHER),
        (6, Refusal.OTHER),
    ],
)
def test_an_exception_says_why(code: int, refusal: Refusal) -> None:
    """With its code, whether the question is known or not; one to another function is no answer."""
    frame = sealed(bytes((1, 0x83, code)))
    for asked in (REQUEST, None):
        with pytest.raises(RefusedError) as caught:
            PLAIN.decode(asked, frame)
        assert (caught.value.code, caught.value.refusal) == (code, refusal)
    assert not PLAIN.is_answer(REQUEST, sealed(bytes((1, 0x84, code))))
    assert not PLAIN.is_answer(REQUEST, sealed(bytes((2, 0x83, code))))


def test_a_question_is_framed_as_the_document_shows_it() -> None:
    """The captured question of an inverter (wombatt, see captures/growatt.json), and only reads."""
    assert read_request(1, 0x13, 16) == bytes.fromhex("010300130010b5c3")
    assert reading(0x13, 16)(1) == question(1, 0x13, 16)
    assert all(poll.request(1)[1] == 3 for p in SERIAL.values() if isinstance(p, ModbusProtocol) for poll in p.polls)


QUESTIONS = [
    question(1, 0x13, 16),
    question(0, 0x13, 16),
    sealed(struct.pack(">BBHH", 247, 4, 0x1000, 125)),
    sealed(struct.pack(">BBHH", 1, 1, 0x1200, 0x90)),
    sealed(struct.pack(">BBHH", 1, 5, 3, 0xFF00)),
    sealed(struct.pack(">BBHH", 1, 6, 3, 1)),
    sealed(struct.pack(">BBHHBH", 1, 0x10, 0x13, 1, 2, 7)),
    sealed(struct.pack(">BBHHBB", 1, 0x0F, 0x13, 3, 1, 7)),
]


@pytest.mark.parametrize("frame", QUESTIONS, ids=bytes.hex)
def test_a_question_of_another_master_is_known_as_one(frame: bytes) -> None:
    """Reads and writes; whole, and not when damaged."""
    assert fed(ModbusSplitter(), single(frame)) == [frame]
    assert PLAIN.is_request(frame)
    assert not PLAIN.is_request(frame[:-1] + bytes((frame[-1] ^ 1,)))
    assert not PLAIN.is_answer(REQUEST, frame)


@pytest.mark.parametrize(
    "frame",
    [
        ANSWER,
        REFUSAL,
        LATE,
        SHORT,
        reply(1, 1),
        sealed(struct.pack(">BBHH", 1, 0x10, 0x13, 1)),
        sealed(struct.pack(">BBHH", 1, 3, 0x13, 126)),
        sealed(struct.pack(">BBHH", 1, 3, 0x13, 0)),
        sealed(struct.pack(">BBHH", 248, 3, 0x13, 1)),
        sealed(struct.pack(">BBHHBH", 1, 0x10, 0x13, 1, 4, 7)),
        sealed(struct.pack(">BBHH", 1, 5, 3, 0x1234)),
        b"",
    ],
    ids=bytes.hex,
)
def test_an_answer_is_not_a_question(frame: bytes) -> None:
    """Nor is a question that no battery could answer."""
    assert not PLAIN.is_request(frame)


# --- pending and noise -----------------------------------------------------------------------------------------------


def test_pending_counts_down_to_the_end_of_the_answer() -> None:
    """So that a client waits for no longer than needed."""
    splitter = ModbusSplitter(REQUEST)
    pending = []
    for byte in ANSWER[:-1]:
        splitter.feed(bytes((byte,)))
        pending.append(splitter.pending)
    assert pending[3:] == list(range(len(ANSWER) - 4, 0, -1))
    assert all(count is not None and count > 0 for count in pending)
    assert splitter.feed(ANSWER[-1:]) == [ANSWER]
    assert splitter.pending is None


def test_fillers_are_neither_noise_nor_the_beginning_of_a_frame() -> None:
    """00 and FF are what drivers leave behind when they switch."""
    splitter = ModbusSplitter(REQUEST)
    assert splitter.feed(b"\x00") == []
    assert splitter.pending is None
    splitter.feed(b"\xff\x00\x00")
    assert (splitter.pending, splitter.noise) == (None, 0)
    splitter.feed(b"\xfe\x77\xaa")
    assert splitter.noise > 0


# --- overheard -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", ["whole", "bytes"])
def test_a_conversation_is_cut_into_its_frames(pieces: str) -> None:
    """Questions and answers in one buffer, exceptions and somebody's writes between them, garbage around."""
    frames = [
        REQUEST, ANSWER, question(2, 0x70, 17), sealed(b"\x02\x83\x02"), *QUESTIONS[4:7],
        sealed(struct.pack(">BBHH", 1, 0x10, 0x13, 1)), question(3, 0, 39), reply(3, *range(39)),
        sealed(struct.pack(">BBHH", 1, 4, 0x1000, 2)), reply(1, 0x0103, 0x0013, function=4), REQUEST, ANSWER, QUESTIONS[3], sealed(bytes((1, 1, 18)) + bytes(18)),
    ]  # fmt: skip
    garbage = [b"", b"\x01", b"\x01\x03", b"\x03\x03\xfa", b"\xff\x00", b"\x55\xaa\x07"]
    stream = b"".join(garbage[i % len(garbage)] + frame for i, frame in enumerate(frames))
    assert fed(ModbusSplitter(), [stream] if pieces == "whole" else single(stream)) == frames


def test_a_fake_header_holds_nothing_up() -> None:
    """Whatever it announces, the next intact frame comes out with its last byte."""
    for header in (b"\x01\x03\xfa", b"\x05\x10\x00\x00\x00\x7b\xf6", b"\x01\x01\xff", b"\x11\x84"):
        splitter = ModbusSplitter()
        splitter.feed(header)
        assert splitter.feed(REQUEST) == [REQUEST]
        assert splitter.feed(ANSWER) == [ANSWER]


def test_an_answer_that_was_cut_off_costs_no_other_frame() -> None:
    """Its place is waited for; then what stands in it is found."""
    splitter = ModbusSplitter()
    longer = question(1, 0x70, 17)
    stream = longer + reply(1, *range(3300, 3317))[:12] + REQUEST + ANSWER + REQUEST + ANSWER
    assert fed(splitter, single(stream)) == [longer, REQUEST, ANSWER, REQUEST, ANSWER]


def test_a_frame_inside_of_an_answer_is_data() -> None:
    """Registers can hold what looks like a question; the answer that is awaited is taken as a whole."""
    inside = REQUEST + bytes(2)
    answer = sealed(b"\x01\x03" + bytes((len(inside),)) + inside)
    asked = question(1, 0x13, len(inside) // 2)
    assert fed(ModbusSplitter(), single(asked + answer)) == [asked, answer]
    assert fed(ModbusSplitter(asked), single(answer)) == [answer]


@pytest.mark.timeout(120)
def test_overheard_streams_lose_no_frame(capsys: pytest.CaptureFixture[str]) -> None:
    """100000 exchanges with garbage before, between and after, in random pieces; the rates are printed.

    Measured with this seed: nothing lost, nothing late, nothing that was not sent. A false frame needs a CRC that is
    right by chance, so one in some hundred thousand exchanges would be no fault.
    """
    rng, count = Random(20261121), 100_000
    splitter = ModbusSplitter()
    waiting: list[bytes] = []
    sent = late = false = 0
    began = time.perf_counter()
    for _ in range(count):
        unit, words, function = rng.randrange(1, 17), rng.choice((6, 15, 16, 17, 23, 39)), rng.choice((3, 3, 3, 4))
        asked = sealed(struct.pack(">BBHH", unit, function, rng.choice((0, 0x13, 0x30, 0x70)), words))
        kind = rng.random()
        if kind < 0.05:
            frames = [asked, sealed(bytes((unit, function | 0x80, 2)))]
        elif kind < 0.1:
            frames = [asked]
        else:
            frames = [asked, reply(unit, *struct.unpack(f">{words}H", rng.randbytes(2 * words)), function=function)]
        stream = b"".join(rng.randbytes(rng.randrange(13)) + frame for frame in frames)
        cut = rng.randrange(len(stream) + 1)
        waiting += frames
        sent += len(frames)
        for found in fed(splitter, (stream[:cut], stream[cut:])):
            if found in waiting:
                waiting.remove(found)
                late += found not in frames
            else:
                false += 1
    seconds = time.perf_counter() - began
    with capsys.disabled():
        sys.stdout.write(
            f"\nmodbus overheard: {sent} frames in {count} exchanges, {len(waiting)} lost, {late} late, "
            f"{false} false, {seconds / count * 1e6:.0f} us an exchange\n"
        )
    assert len(waiting) <= 3
    assert late <= 3
    assert false <= 3


@pytest.mark.parametrize("words", [1, 6, 125])
def test_a_burst_of_damaged_answers_costs_no_more_than_its_length(monkeypatch: pytest.MonkeyPatch, words: int) -> None:
    """16 kB of headers that are awaited, with wrong CRCs, at once: each byte is looked at by a bounded number of CRCs."""
    checked = 0

    def counting(frame: bytes | bytearray) -> bool:
        nonlocal checked
        checked += len(frame)
        return crc_is_right(frame)

    monkeypatch.setattr(modbus_splitter, "crc_is_right", counting)
    header = bytes((1, 3, 2 * words))
    for damaged in (header + bytes.fromhex("aabbccdd"), header + bytes(range(1, 2 * words + 3)), header):
        checked = 0
        burst = damaged * (0x4000 // len(damaged))
        splitter = ModbusSplitter(question(1, 0x10, words))
        frames = splitter.feed(burst)
        assert frames
        assert not any(PLAIN.is_answer(question(1, 0x10, words), frame) for frame in frames)
        assert checked <= LONGEST * len(burst)
        answer = reply(1, *range(words))
        assert splitter.feed(bytes(LONGEST) + answer)[-1] == answer


def test_random_bytes_make_no_frames_and_never_pile_up() -> None:
    """A megabyte of noise: a handful of false frames, and never more than one frame's bytes kept."""
    rng = Random(7)
    splitter = ModbusSplitter()
    frames = 0
    for _ in range(4096):
        frames += len(splitter.feed(rng.randbytes(256)))
        assert splitter.pending is None or splitter.pending < LONGEST
        assert len(splitter._buffer) <= LONGEST
    assert frames <= 8
    assert splitter.noise > 1_000_000 * 0.98


# --- hostile bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "protocol", [p for p in SERIAL.values() if isinstance(p, ModbusProtocol)], ids=lambda p: p.name
)
def test_nothing_but_frame_and_refused_errors_leave_the_codec(protocol: ModbusProtocol) -> None:
    """Random bytes, and random registers in frames that are right, for every Modbus map there is."""
    rng = Random(11)
    asked = [poll.request(1) for poll in protocol.polls]
    decoded = refused = 0
    for number in range(6000):
        request = rng.choice(asked)
        size = 2 * int.from_bytes(request[4:6])
        if number % 2:
            frame = rng.randbytes(rng.randrange(60))
        else:
            body = rng.choice(
                (rng.randbytes(size), bytes(size), b"\xff" * size, bytes(rng.choices((0, 1, 13), k=size)))
            )
            frame = sealed(bytes((1, 3, size)) + body)
        protocol.is_answer(request, frame)
        protocol.is_request(frame)
        protocol.recognises(request, frame)
        for question_asked in (request, None):
            try:
                protocol.decode(question_asked, frame)
            except FrameError, RefusedError:
                refused += 1
            else:
                decoded += 1
    assert decoded
    assert refused


def test_pymodbus_logs_nothing_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """Its logger is everybody's: what it has no cause to say, nobody needs to mute."""
    caplog.set_level(logging.DEBUG)
    for stream, _, _ in STREAMS.values():
        for frame in fed(ModbusSplitter(REQUEST), [stream]):
            PLAIN.is_answer(REQUEST, frame)
            with suppress(FrameError, RefusedError):
                PLAIN.decode(REQUEST, frame)
    assert [record.name for record in caplog.records] == []


# --- what a map declares ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "words", "known"),
    [
        (0x13, WORDS, True),
        (0x15, (66, 5321), True),
        (0x13, (97, 0, 101, 5321, 0, 25), False),
        (0x13, (97, 0, 66, 999, 0, 25), False),
        (0x13, (97, 0, 66), False),
        (0x0F, (0, 0, 0, 0, 97, 0, 66, 5321), False),
        (0x30, (0xFFFF,), True),
        (0x30, (5,), False),
        (0x3F, (0, 0), False),
        (0x13, (0, 0, 666, 5321), False),
    ],
)
def test_a_map_recognises_its_blocks_by_what_they_hold(start: int, words: tuple[int, ...], known: bool) -> None:
    """An overheard pair: registers of this map, the telling ones among them, with values that they can have."""
    assert PLAIN.recognises(question(1, start, len(words)), reply(1, *words)) is known


def test_a_refusal_is_recognised_by_nobody() -> None:
    """It says nothing of who refuses."""
    assert not PLAIN.recognises(REQUEST, REFUSAL)
    assert not PLAIN.recognises(REQUEST, BAD_CRC)


def test_fields_are_scaled_signed_and_absent_as_declared() -> None:
    """One row of a table a field."""
    registers = Registers({1: 5321, 2: 0xFF10, 3: 30000, 4: 7})
    fields = (
        Field(1, "voltage", 100),
        Field(2, "current", 100, signed=True),
        Field(3, "limit", 100, absent=frozenset({30000})),
        Field(4, "cycles"),
        Field(5, "missing"),
    )
    found = values(registers, fields)
    assert found == {"voltage": 53.21, "current": -2.4, "cycles": 7}
    assert isinstance(found["cycles"], int)


def test_registers_read_wide_numbers_and_text() -> None:
    """High word and high byte first; text that is none is not reported."""
    registers = Registers({1: 1, 2: 2, 3: 0x4356, 4: 0x5400, 5: 0x4301, 6: 0})
    assert registers.u32(1) == 0x10002
    assert registers.u32(6) is None
    assert registers.text(3, 2) == "CVT"
    assert registers.text(3, 3) is None
    assert registers.text(6, 1) is None
    assert registers.text(6, 2) is None
    assert registers.s16(7) is None


def test_the_crc_of_the_simulator_and_of_the_codec_agree() -> None:
    """Two implementations that share no code."""
    rng = Random(3)
    assert all(crc_is_right(sealed(rng.randbytes(size))) for size in range(1, 200))
    assert not crc_is_right(b"")
