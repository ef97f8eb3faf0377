"""The command line on a CAN bus, with the simulator as a program of its own behind an slcan adapter."""

from collections.abc import Iterator
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import tty
from typing import Any

import can
import pytest

from custom_components.lfp_battery.bms.__main__ import main

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The path of an slcan adapter on the bus of two Deye packs and their inverter."""
    path = tmp_path_factory.mktemp("bus") / "adapter"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.simulator", "--can", "deye_pcs", "--packs", "2", "--link", str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("port:")
    yield str(path)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=10)
    assert "somebody wanted to send" not in rest


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, JSON lines of standard output, and what a person read."""
    status = main(arguments)
    captured = capsys.readouterr()
    return status, [json.loads(line) for line in captured.out.splitlines()], captured.err


def test_scan_names_the_family_and_leaves_a_capture_that_replays(
    port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the serial numbers for the owner, and without them in the file."""
    file = tmp_path / "heard.log"
    status, (report,), words = run(capsys, "scan", f"slcan:{port}", "--capture", str(file))
    assert (status, report["outcome"], report["protocol"]) == (0, "found", "deye_pcs")
    assert (report["baudrate"], report["inverter"]) == (500_000, "deye")
    assert [pack["address"] for pack in report["packs"]] == [1, 2]
    serials = [pack["identity"]["serial"] for pack in report["packs"]]
    assert all(serials)
    assert "listening protocol deye_pcs baudrate 500000" in words
    text = file.read_text()
    assert all(serial[:8].encode().hex().upper() not in text for serial in serials)
    status, lines, _ = run(capsys, "replay", str(file))
    assert status == 0
    packs = [line for line in lines if line.get("kind") == "pack"]
    assert [pack["address"] for pack in packs] == [1, 2]
    assert packs[0]["state"]["voltage"] > 40
    (bank,) = (line for line in lines if line.get("kind") == "bank")
    assert bank["state"]["modules"] == 2
    status, lines, words = run(capsys, "scan", f"slcan:{port}", "--capture", str(file))
    assert (status, lines) == (1, [])
    assert "exists" in words


def test_listen_shows_every_frame_and_what_it_says(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A path needs to be told to be a bus; what family it is comes as soon as it is guessed."""
    status, lines, words = run(capsys, "listen", port, "--can", "--seconds", "2.5")
    assert status == 0
    assert words == f"listening on slcan:{port} at 500000 bit/s; no frame is sent\n"
    assert [line["family"] for line in lines if line.get("kind") == "bus"][-1] == "deye_pcs"
    assert {line["id"] for line in lines if "id" in line} >= {"351", "355", "356", "150", "151", "305"}
    of_packs = [line for line in lines if line.get("id") == "151"]
    assert of_packs[-1]["pack"] == 2
    assert of_packs[-1]["says"]["voltage"] > 40


def test_poll_prints_bank_and_packs(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For so many reports; what is known need not be found out."""
    known = ("--bitrate", "500000", "--protocol", "deye_pcs", "--interval", "1", "--cycles", "3")
    status, lines, _ = run(capsys, "poll", f"slcan:{port}", *known)
    assert status == 0
    assert lines[0] == {"kind": "link", "problem": None}
    assert lines[-1]["kind"] == "cycle"
    assert {(line["kind"], line["address"]) for line in lines if "address" in line} == {
        ("bank", 0),
        ("pack", 1),
        ("pack", 2),
    }


def test_poll_finds_out_what_it_is_not_told(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By listening first."""
    status, lines, words = run(capsys, "poll", f"slcan:{port}", "--cycles", "1")
    assert status == 0
    assert "listening" in words
    (bank,) = (line for line in lines if line["kind"] == "bank")
    assert bank["state"]["family"] == "deye_pcs"


def test_a_record_is_a_candump_log_without_serial_numbers(
    port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As python-can reads it; never written over."""
    file = tmp_path / "bus.log"
    arguments = ("record", f"slcan:{port}", str(file), "--seconds", "2.2")
    status, _, _ = run(capsys, *arguments)
    assert status == 0
    messages = list(can.CanutilsLogReader(str(file)))
    assert {message.arbitration_id for message in messages} >= {0x351, 0x355, 0x356, 0x600, 0x650}
    assert {bytes(message.data) for message in messages if message.arbitration_id in {0x600, 0x650}} == {b"X" * 8}
    assert messages[0].timestamp > 1_700_000_000
    status, _, words = run(capsys, *arguments)
    assert status == 1
    assert "exists" in words


def test_a_record_of_a_poll_has_all_that_was_heard(
    port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is asked on a bus, so it is the same record."""
    file = tmp_path / "poll.log"
    known = ("--poll", "--bitrate", "500000", "--protocol", "deye_pcs", "--interval", "1", "--cycles", "3")
    status, lines, _ = run(capsys, "record", f"slcan:{port}", str(file), *known)
    assert status == 0
    assert any(line["kind"] == "bank" for line in lines)
    assert {message.arbitration_id for message in can.CanutilsLogReader(str(file))} >= {0x351, 0x355, 0x356}


def test_a_log_of_somebody_else_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With remote, error and CAN FD frames in it, a direction at the end of a line, and its last line cut short."""
    file = tmp_path / "candump.log"
    file.write_text(
        "(1742243701.903879) can0 359#0000000005504E00\n"
        "(1742243701.950000) can0 20000080#0000000000000000\n"
        "(1742243701.960000) can0 305#R8\n"
        "(1742243701.970000) can0 305##1112233\n"
        "(1742243701.981501) vcan1 351#330209240924D501 R\n"
        "\n"
        "(1742243702.070356) can0 355#5000640000000000\n"
        "(1742243702.157997) can0 356#AB14DFFCCC000000\n"
        "(1742243702.245605) can0 18F20101#00\n"
        "(1742243702.245605) can0 35C#C0000"
    )
    status, lines, _ = run(capsys, "replay", str(file))
    assert status == 0
    assert [line["id"] for line in lines if "id" in line] == ["359", "351", "355", "356", "18F20101"]
    (bank,) = (line for line in lines if line.get("kind") == "bank")
    assert (bank["state"]["voltage"], bank["state"]["current"], bank["state"]["soc"]) == (52.91, -80.1, 80)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("(x) can0 351#00", "line 2 is not one of candump"),
        ("(1.0) can0 351#0", "line 2 does not hold"),
        ("(1.0) can0 351#001122334455667788", "line 2 does not hold"),
        ("(1.0) can0 35#00", "line 2 is not one of candump"),
        ("(1.0) can0 351#" + 2000 * "0", "line 2 is not one of candump"),
    ],
)
def test_a_log_with_nonsense_in_it_is_refused_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    """What came before it is shown."""
    file = tmp_path / "candump.log"
    file.write_text(f"(1.0) can0 355#50006400\n{line}\n")
    status, _, words = run(capsys, "replay", str(file))
    assert status == 1
    assert said in words
    assert words.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("scan", "slcan:"), "not the address of a CAN bus"),
        (("scan", "can 0", "--can"), "not the address of a CAN bus"),
        (("scan", "socketcand:me:secret@gateway/can0"), "must not hold a password"),
        (("scan", "socketcan:can0", "--bitrate", "500000"), "leave --bitrate out"),
        (("listen", "slcan:/dev/nowhere", "--bitrate", "-3"), "not the bit rate"),
        (("listen", "socketcan:can0", "--acknowledge"), "leave --acknowledge out"),
        (("scan", "canalystii:0"), "--bitrate 500000"),
        (("scan", "canalystii:0", "--acknowledge"), "--bitrate 500000"),
        (("listen", "gs_usb:0", "--acknowledge"), "--bitrate 500000"),
        (("listen", "gs_usb:0", "--bitrate", "500000"), "acknowledges whatever it hears: if it may, say --acknowledge"),
        (("record", "canalystii:1", "/nowhere/file", "--bitrate", "500000"), "say --acknowledge"),
        (("poll", "gs_usb:0", "--protocol", "pylon"), "say --acknowledge, at the bit rate that you name"),
        (("poll", "seeedstudio:/dev/nowhere", "--protocol", "pylon"), "--bitrate 500000"),
        (("scan", "slcan:/dev/nowhere", "--acknowledge"), "--bitrate 500000"),
        (("scan", "slcan:/dev/nowhere", "--baud", "9600"), "not --baud"),
        (("scan", "slcan:/dev/nowhere", "--family", "vlrv"), "leave --family out"),
        (("poll", "slcan:/dev/nowhere", "--address", "2"), "leave --address out"),
        (("poll", "slcan:/dev/nowhere", "--quiet", "2"), "leave --quiet out"),
        (("poll", "slcan:/dev/nowhere", "--protocol", "pace-v25"), "spoken on serial lines"),
        (("poll", "/dev/nowhere", "--protocol", "victron"), "broadcast on a CAN bus"),
        (("observe", "socketcan:can0"), "`poll` shows"),
        (("scan", "slcan:/dev/nowhere"), "There is no such port or adapter"),
        (("listen", "slcan:/dev/nowhere", "--bitrate", "123456"), "no bit rate 123456, only 10000, 20000"),
        (
            ("record", "slcan:/dev/nowhere", "/nowhere/file", "--interval", "2"),
            "only listened to: leave --interval out",
        ),
        (("record", "slcan:/dev/nowhere", "/nowhere/file"), "there is no folder /nowhere"),
    ],
)
def test_nonsense_is_answered_in_one_sentence(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a bus being opened, and without a password being said again."""
    status, lines, words = run(capsys, *arguments)
    told = [line for line in words.splitlines() if "listening" not in line]
    assert (status, lines, len(told)) == (1, [], 1)
    assert said in told[0]
    assert "secret" not in words


def test_listening_on_a_quiet_bus_says_that_nothing_came(capsys: pytest.CaptureFixture[str]) -> None:
    """An adapter that says nothing, on a bus where nobody is."""
    master, slave = os.openpty()
    tty.setraw(slave)
    path = os.ttyname(slave)
    status, lines, words = run(capsys, "listen", f"slcan:{path}", "--bitrate", "250000", "--seconds", "0.2")
    os.close(master)
    os.close(slave)
    assert (status, lines) == (0, [])
    assert words.splitlines() == [
        f"listening on slcan:{path} at 250000 bit/s; no frame is sent",
        "nothing came: no frame was on the bus",
    ]
