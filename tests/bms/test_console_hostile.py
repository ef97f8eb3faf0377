"""Console answers that are made to break their reader: endless digits, digits that are none, endless lines."""

from dataclasses import fields
import json
import math
import re
from time import process_time
from typing import Any

import pytest

from custom_components.lfp_battery.bms.errors import FrameError, RefusedError
from custom_components.lfp_battery.bms.protocols import DECODERS
from custom_components.lfp_battery.bms.protocols.base import Codec, Decoded

from .captured import CAPTURES

OWN: dict[str, dict[str, Any]] = {
    row["id"]: row for row in json.loads((CAPTURES / "console.json").read_text(encoding="utf-8"))["captures"]
}
# More digits than int() reads, digits of which isdigit() alone says so, what float() would take, what int() would.
HOSTILE = (
    "9" * 5000, "-" + "9" * 5000, "0x" + "F" * 5000, "0X", "9" * 13, "0" * 400 + "1", "01", "\xb2", "1\xb2", "\xbd",
    "NaN", "inf", "-inf", "1e999", "+5", "--5", "-", "-1", "1_0", "1\x00", "\x85", "\xa0", ":", "%", "A" * 5000,
)  # fmt: skip
END = "\n\rCommand completed successfully\r\n\r$$\r\n\r"


def check(codec: Codec, request: bytes, frame: bytes) -> int:
    """Show a frame to everything that reads frames; how often something was made of it.

    Whatever leaves the codec beside FrameError and RefusedError ends the test that called.
    """
    codec.is_answer(request, frame)
    codec.is_request(frame)
    codec.recognises(request, frame)
    codec.splitter(request).feed(frame)
    read = 0
    for asked in (request, None):
        try:
            decoded = codec.decode(asked, frame)
        except FrameError, RefusedError:
            continue
        _sane(decoded)
        read += 1
    return read


def _sane(decoded: Decoded) -> None:
    for state in decoded.packs.values():
        for name in (f.name for f in fields(state)):
            value = getattr(state, name)
            for figure in value if isinstance(value, tuple) else (value,):
                assert not isinstance(figure, float) or (math.isfinite(figure) and abs(figure) < 1e12)
    for identity in decoded.identities.values():
        for name in ("manufacturer", "model", "serial", "firmware", "hardware"):
            assert len(getattr(identity, name) or "") <= 64


@pytest.mark.parametrize("name", OWN)
def test_no_word_of_an_answer_can_break_its_reader(name: str) -> None:
    """Each word and label in turn, the number in the echo too, becomes something that is none."""
    row = OWN[name]
    codec, request, response = DECODERS[row["protocol"]], row["request"].encode(), row["response"]
    read = 0
    for word in sorted(set(response.split()) | set(re.findall(r"-?\d+", response))):
        for hostile in HOSTILE:
            frame = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", hostile, response)
            read += check(codec, request, frame.encode("latin-1"))
    assert (read > 0) is not ("refusal" in row)


@pytest.mark.parametrize(
    "digits", ["9" * 5000, "1" + "0" * 60_000, "\xb2", "\xb9\xb2", "17", "0", "01"], ids=lambda text: text[:5]
)
@pytest.mark.parametrize("words", ["soh 1", "pwr 1", "soh"])
def test_a_pack_that_cannot_be_is_another_one(words: str, digits: str) -> None:
    """The line that names it is read by no int()."""
    codec = DECODERS["console-pytes"]
    frame = f"{words}\n\r@\r\nPower  {digits}\r\nBattery Voltage x y\r\n0 1 2 Normal{END}PYTES>".encode("latin-1")
    with pytest.raises(FrameError):
        codec.decode(f"{words}\r".encode(), frame)
    with pytest.raises(FrameError):
        codec.decode(None, frame)
    assert not codec.recognises(f"{words}\r".encode(), frame)


@pytest.mark.parametrize(
    "line",
    [
        "Power Volt " + "x" * 60_000,
        "Power Volt " + "x " * 30_000,
        "Power Volt " + "Base State " * 5000,
        "Unknown command '" * 3500,
        "Voltage : " + "9" * 60_000,
        "Voltage : 5" + " " * 60_000 + "mV x",
        ":" * 60_000,
        "1 " * 30_000,
        "PYTES>" * 10_000,
        "@" * 60_000,
        "\r\n@" * 20_000,
        "a:5 mV\r\n" * 6000,
        "0 1 2 Normal\r\n" * 4500,
    ],
    ids=lambda line: str(line)[:20].encode("unicode_escape").decode(),
)
@pytest.mark.parametrize("words", ["pwr", "pwr 1", "bat 1", "soh 1", "info 1", "stat 1", "time"])
def test_an_endless_line_takes_no_time(words: str, line: str) -> None:
    """64 kB are the most that ever come; what takes time with the square of that would take tens of seconds."""
    start = process_time()
    head = f"{words}\n\r@\r\nPower  1\r\n"
    check(DECODERS["console-pytes"], f"{words}\r".encode(), f"{head}{line}{END}PYTES>".encode("latin-1"))
    assert process_time() - start < 2.0


@pytest.mark.parametrize("before", [b"", b"somebody speaks\r", b"pwr\n\r@\r"])
@pytest.mark.parametrize("byte", [b" ", b"\0", b"\r", b"x"])
@pytest.mark.parametrize("request_", [b"pwr\r", b"\r", None])
def test_a_flood_of_single_bytes_takes_no_time(request_: bytes | None, byte: bytes, before: bytes) -> None:
    """65 kB of what a line picks up while nobody speaks; with the square of that it took 20 s."""
    splitter = DECODERS["console-pytes"].splitter(request_)
    splitter.feed(before)
    start = process_time()
    for _ in range(65_000):
        assert splitter.feed(byte) == []
        assert splitter.noise >= 0
        assert splitter.pending in (None, 1)
    assert process_time() - start < 2.0
    row = OWN["own-v5-pwr"]
    frames = splitter.feed(b"\r" + row["response"].encode("latin-1"))
    assert frames[-1].endswith(b"PYTES>")


def test_blanks_before_an_answer_are_not_kept() -> None:
    """Nor is the line in which nobody speaks: a frame is the same whatever came before it, and however."""
    row = OWN["own-v5-pwr"]
    response = row["response"].encode("latin-1")
    (frame,) = DECODERS["console-pytes"].splitter(row["request"].encode()).feed(response)
    for before in (b" ", b"\0\0\xff", b"\r\n \t", b" \r\n\xff\xff"):
        for size in (1, 2, 1000):
            splitter = DECODERS["console-pytes"].splitter(row["request"].encode())
            frames: list[bytes] = []
            for at in range(0, len(before + response), size):
                frames += splitter.feed((before + response)[at : at + size])
            assert frames == [frame]
            assert splitter.noise == 0
