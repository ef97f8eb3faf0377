"""The record of a scan that an owner may show to others: no serial number is in it, and it can be replayed."""

import json
from pathlib import Path

import pytest

from custom_components.lfp_battery.bms.__main__ import main
from custom_components.lfp_battery.bms.capture import Capture, redacted
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.transports.recording import read_record
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.inverter import HABITS, Inverter
from tests.simulator.modbus import sealed
from tests.simulator.pylon_wire import encode

from . import matrix
from .hearing import SCENES, Scene
from .matrix import Row
from .scanned import Scanned
from .test_discovery_masters import Owned

LIMIT = 70_000
ROWS = {f"{row.protocol}-{row.baudrate}-{row.family}": row for row in matrix.ROWS}
SERIAL = "K221100123456789"


def passed(text: str) -> bytes:
    """Everything that was heard."""
    return b"".join(one.data for one in read_record(iter(text.splitlines(keepends=True))) if not one.ours)


def unhexed(data: bytes) -> bytes:
    """What stands in hex in it, in both ways to begin."""
    digits = bytes(byte for byte in data if byte in b"0123456789abcdefABCDEF")
    return b" ".join(bytes.fromhex(digits[at : at + (len(digits) - at) // 2 * 2].decode()) for at in (0, 1))


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
async def test_no_serial_number_survives_a_scan(row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither as text nor in hex, whole or in half; the command line can still read what is left."""
    clock = DrivenClock()
    bank = SimBank(make_packs(min(3, row.counts[-1]), row.spec, first=row.first), clock)
    report = await Scanned(row.speaker(bank), clock, baudrate=row.baudrate).scan()
    assert report.capture is not None
    heard = passed(report.capture)
    assert heard
    for pack in bank.packs.values():
        serial = pack.spec.serial.encode()
        for part in (serial, serial[:10], serial[-10:]):
            assert part not in heard
            assert part not in unhexed(heard)
    assert len(report.capture) < LIMIT
    file = tmp_path / "capture.jsonl"
    file.write_text(report.capture, encoding="utf-8")
    assert main(["replay", str(file)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any(line.get("request") for line in lines)
    assert any(line.get("packs") or line.get("bank") or line.get("info") for line in lines)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_no_serial_number_survives_listening_to_an_inverter(scene: Scene) -> None:
    """It asks for them when it starts."""
    line = Owned(scene, period=0.4)
    line.inverter.stop()
    asked = [scene.first] if scene.for_bank else list(line.bank.packs)
    inverter = Inverter(line.bus, HABITS[scene.protocol][scene.habit](asked), period=0.4)
    report = await line.scan(listen_only=True, quiet=60.0)
    inverter.stop()
    assert report.capture is not None
    heard = passed(report.capture)
    for pack in line.bank.packs.values():
        serial = pack.spec.serial.encode()
        assert serial[:10] not in heard
        assert serial[:10] not in unhexed(heard)


@pytest.mark.parametrize("private", [False, True])
def test_what_is_hidden_keeps_its_place_and_its_check_is_marked(private: bool) -> None:
    """In a frame of characters, in one of registers, and when either was cut off."""
    frame = encode(2, 0x00, b"\x02" + SERIAL.encode())
    hidden = redacted(frame, private=private)
    assert len(hidden) == len(frame)
    assert hidden[:13] == frame[:13]
    assert hidden.endswith(b"****\r")
    assert SERIAL.encode().hex().upper().encode() not in redacted(frame[:-7], private=private)
    block = sealed(b"\x01\x03\x14" + SERIAL.encode() + bytes(4))
    hidden = redacted(block, private=private)
    assert (len(hidden), hidden[:3], hidden[-2:]) == (len(block), block[:3], b"**")
    assert SERIAL.encode() not in hidden
    assert SERIAL.encode() not in redacted(block[:-4], private=private)


def test_values_and_words_stay_readable() -> None:
    """A record that hides everything helps nobody."""
    for text in (
        b"Coulomb          : 100000000 mAS\r\n",
        b"Device name      : US2000C\r\nBoard version    : PHANTOMSAV10R03\r\n"[:31],
        b"Power Volt   Curr   Tempr  Base.St  Time                 B.V.St\r\n1     49812  -12345 23000  Discharge 2026-01-02 03:04:05  Normal\r\n",
        encode(2, 0x00, b"\x00\x02\x10" + b"".join((3300 + cell).to_bytes(2, "big") for cell in range(16))),
        sealed(b"\x01\x03\x20" + b"".join((3300 + cell).to_bytes(2, "big") for cell in range(16))),
        encode(1, 0x00, b"P16S100A-1812-1.00  ", version=0x25),
    ):
        assert redacted(text) == text


@pytest.mark.parametrize(
    "text",
    [
        f"Barcode          : {SERIAL}\r\n",
        "Barcode          : AB12\r\n",
        "Power Volt   Barcode          DevType\r\n1     49812  AB12X            E-BOX-48100V-D\r\n",
        f"@\r\nPower Volt   Barcode          DevType\r\n1     49812  {SERIAL} E-BOX-48100V-D\r\n$$\r\n",
    ],
)
def test_a_console_says_serial_numbers_with_a_label_or_in_a_column(text: str) -> None:
    """However short they are."""
    hidden = redacted(text.encode()).decode()
    assert len(hidden) == len(text)
    assert SERIAL not in hidden
    assert "AB12" not in hidden
    assert "49812" in hidden or "49812" not in text


def test_a_long_record_keeps_its_beginning_and_its_end() -> None:
    """And says how much is missing."""
    capture = Capture(DrivenClock())
    for number in range(5000):
        capture.sent(b"%08d" % number, 9600)
    text = capture.text()
    assert len(text) < LIMIT
    lines = text.splitlines()
    assert bytes.fromhex(json.loads(lines[1])["tx"]) == b"00000000"
    assert bytes.fromhex(json.loads(lines[-1])["tx"]) == b"00004999"
    assert any("left_out" in line for line in lines)
    assert list(read_record(iter(text.splitlines(keepends=True))))
    assert not Capture(DrivenClock()).text()


def _heard(*chunks: bytes, sent: bytes = b"x") -> bytes:
    """What a record says of bytes that came in these pieces."""
    capture = Capture(DrivenClock())
    capture.sent(sent, 9600)
    for chunk in chunks:
        capture.heard(chunk, 9600)
    return passed(capture.text())


@pytest.mark.parametrize("lost", [slice(4, 5), slice(11, 12), slice(3, 6), slice(0, 1), slice(20, 21), slice(-2, -1)])
def test_a_frame_that_lost_something_gives_nothing_away(lost: slice) -> None:
    """Which of its bytes are missing is not known."""
    frame = encode(2, 0x00, b"\x02" + SERIAL.encode())
    start, stop, _ = lost.indices(len(frame))
    heard = _heard(frame[:start] + frame[stop:])
    for at in range(len(SERIAL) - 3):
        part = SERIAL[at : at + 4].encode().hex().upper().encode()
        assert part not in heard
        assert part[1:-1] not in heard


@pytest.mark.parametrize(
    "serial", ["ML314-0012-2345", "2021.03.12.0012", "VT 0001 2345 67", "A1B2C3D", "S/N:12345678", SERIAL]
)
def test_a_serial_number_in_parts_is_one(serial: str) -> None:
    """With what its maker puts between them, in registers or in a frame."""
    said = serial.encode()
    spread = b"".join(bytes((0, byte)) for byte in said)
    for heard in (
        _heard(sealed(b"\x01\x03\x20" + said.ljust(32, b"\0"))),
        _heard(sealed(bytes((1, 3, len(spread))) + spread)).replace(b"\0", b""),
        unhexed(_heard(encode(2, 0x00, said))),
    ):
        assert not any(said[at : at + 4] in heard for at in range(len(said) - 3))


def test_the_answer_to_somebody_elses_question_after_a_serial_number_is_hidden() -> None:
    """Whatever it looks like."""
    question, answer = encode(2, 0x93, b"\x02"), encode(2, 0x00, b"\x02AB-12")
    heard = _heard(question + answer)
    assert question in heard
    assert b"AB".hex().encode() not in heard
    block = sealed(bytes.fromhex("01030096001E"))
    assert b"AB-12" not in _heard(block, sealed(b"\x01\x03\x0aAB-12\0\0\0\0\0"))


@pytest.mark.parametrize("pieces", range(120, 140))
def test_what_is_left_out_of_a_long_record_cuts_no_serial_number(pieces: int) -> None:
    """It is hidden first."""
    block = sealed(b"\x01\x03\x20" + SERIAL.encode().ljust(32, b"\0"))
    heard = _heard(*[bytes(range(128, 228))] * pieces, block[:9], block[9:])
    assert not any(SERIAL[at : at + 4].encode() in heard for at in range(len(SERIAL) - 3))
