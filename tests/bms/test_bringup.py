"""The command line on a real port, with the simulator as a program of its own at the other end."""

from collections.abc import Iterator
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import tty

import pytest

from custom_components.lfp_battery.bms.__main__ import main
from custom_components.lfp_battery.bms.errors import FrameError
from custom_components.lfp_battery.bms.transports.recording import read_record

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The path of a port with two packs behind it."""
    path = tmp_path_factory.mktemp("line") / "port"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.simulator", "--packs", "2", "--baud", "115200", "--link", str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("port:")
    yield str(path)
    process.send_signal(signal.SIGINT)
    process.wait(10)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, object]], str]:
    """Exit status, JSON lines of standard output, and what a person read."""
    status = main(arguments)
    captured = capsys.readouterr()
    return status, [json.loads(line) for line in captured.out.splitlines()], captured.err


def test_scan_reports_what_it_found(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With progress for the person and one JSON object for a program."""
    status, (report,), words = run(capsys, "scan", port, "--baud", "115200", "--protocol", "pylon-rs485")
    assert status == 0
    assert report["outcome"] == "found"
    packs = report["packs"]
    assert isinstance(packs, list)
    assert [pack["address"] for pack in packs] == [2, 3]
    assert packs[0]["state"]["voltage"] > 40
    assert "listening" in words
    assert "reading" in words


def test_a_scan_leaves_a_capture_that_replays_without_serial_numbers(
    port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is there is not overwritten."""
    file = tmp_path / "capture.jsonl"
    arguments = (
        "scan",
        port,
        "--baud",
        "115200",
        "--protocol",
        "pylon-rs485",
        "--quiet",
        "0.5",
        "--capture",
        str(file),
    )
    status, (report,), _ = run(capsys, *arguments)
    assert (status, report["experimental"]) == (0, False)
    serial = report["packs"][0]["identity"]["serial"]  # type: ignore[index]
    text = file.read_text()
    assert serial.encode().hex() not in text
    assert serial.encode().hex().upper().encode().hex() not in text
    status, lines, _ = run(capsys, "replay", str(file))
    assert status == 0
    assert any(line.get("packs") for line in lines)
    status, _, words = run(capsys, *arguments)
    assert status == 1
    assert "exists" in words


def test_a_scan_that_only_listens_and_an_observer_of_nobody_send_nothing(
    port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They say that there was nothing to hear."""
    listening = ("--baud", "115200", "--protocol", "pylon-rs485", "--listen-only", "--quiet", "0.4")
    status, (report,), _ = run(capsys, "scan", port, *listening)
    assert status == 1
    assert (report["outcome"], report["answers"]) == ("nothing", 0)
    status, lines, _ = run(capsys, "observe", port, "--protocol", "pylon-rs485", "--baud", "115200", "--seconds", "0.3")
    assert status == 0
    assert [line for line in lines if line["kind"] == "link"] == [{"kind": "link", "problem": None}]


def test_poll_prints_every_report_and_stops_after_the_cycles_asked_for(
    port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C is the other way to end it."""
    known = ("--baud", "115200", "--protocol", "pylon-rs485", "--address", "2", "--address", "3")
    status, lines, _ = run(capsys, "poll", port, *known, "--cycles", "1")
    assert status == 0
    assert [line["address"] for line in lines if line["kind"] == "pack"] == [2, 3]
    assert lines[0] == {"kind": "link", "problem": None}
    assert lines[-1]["silent"] == []


def test_a_record_of_a_poll_replays_to_the_same_values(
    port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a record is never overwritten."""
    file = tmp_path / "record.jsonl"
    arguments = ("record", port, str(file), "--poll", "--protocol", "pylon-rs485", "--baud", "115200")
    status, lines, _ = run(capsys, *arguments, "--address", "2", "--cycles", "1")
    assert status == 0
    state = next(line["state"] for line in lines if line["kind"] == "pack")
    assert isinstance(state, dict)
    status, replayed, _ = run(capsys, "replay", str(file))
    assert status == 0
    packs = [line["packs"]["2"] for line in replayed if line.get("packs")]  # type: ignore[index]
    assert packs[0]["cell_voltages"] == state["cell_voltages"]
    assert any(line.get("request") and line["ours"] for line in replayed)
    status, _, words = run(capsys, *arguments)
    assert status == 1
    assert "exists" in words


def test_listening_prints_what_others_say_and_sends_nothing(
    port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a quiet line that is nothing, for as long as it was asked to listen."""
    status, lines, _ = run(capsys, "listen", port, "--baud", "115200", "--seconds", "0.3")
    assert (status, lines) == (0, [])
    file = tmp_path / "quiet.jsonl"
    status, _, _ = run(capsys, "record", port, str(file), "--seconds", "0.3")
    assert status == 0
    assert len(file.read_text().splitlines()) == 1


def test_listening_reads_questions_answers_and_noise(capsys: pytest.CaptureFixture[str]) -> None:
    """Of somebody else's conversation, in whatever pieces it comes."""
    master, slave = os.openpty()
    tty.setraw(slave)
    path = os.ttyname(slave)

    def talk() -> None:
        for piece in (
            b"~20024692E00202FD2E\r",
            b"~20024600B014026EF05AA0022BFDD5",
            b"C0F915\r",
            b"~2002FF\r",
            b"\x80\x81",
        ):
            os.write(master, piece)
            threading.Event().wait(0.05)

    thread = threading.Timer(0.4, talk)
    thread.start()
    status, lines, _ = run(capsys, "listen", path, "--seconds", "1.2")
    thread.join()
    os.close(master)
    os.close(slave)
    assert status == 0
    assert lines[0]["request"]
    packs = next(line["packs"] for line in lines if line.get("packs"))
    assert packs["2"]["charge_voltage_limit"] == 28.4  # type: ignore[index]
    assert any(line.get("reason") for line in lines)
    assert any(line.get("bytes") == "8081" for line in lines)


@pytest.mark.parametrize("command", ["listen", "scan", "poll"])
def test_a_port_that_is_not_there_is_said_in_one_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback."""
    status, lines, words = run(capsys, command, "/dev/does-not-exist")
    assert status == 1
    assert not lines
    assert "missing" in words
    assert "Traceback" not in words


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense\n",
        "[]\n",
        '{"record": 2}\n',
        '{"record": 1}\n{"t": 1}\n',
        '{"record": 1}\n{"t": 1, "rx": "xyz"}\n',
        '{"record": 1}\n{"t": "x", "rx": "00"}\n',
        '{"record": 1}\n[]\n',
    ],
)
def test_a_foreign_file_is_refused_in_words(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also an empty one, and one with damaged lines."""
    file = tmp_path / "record.jsonl"
    file.write_text(text)
    status, _, words = run(capsys, "replay", str(file))
    assert status == 1
    assert "record" in words


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Someone will give a picture."""
    file = tmp_path / "picture"
    file.write_bytes(bytes(range(256)) * 10)
    for path in (file, tmp_path / "nothing", tmp_path):
        status, _, words = run(capsys, "replay", str(path))
        assert status == 1
        assert words


def test_a_record_that_was_cut_short_gives_what_is_whole() -> None:
    """The power failed while it was written."""
    lines = ['{"record": 1}\n', '{"t": 1, "rx": "7e"}\n', '{"t": 2, "rx": "7']
    assert [passed.data for passed in read_record(iter(lines))] == [b"~"]
    with pytest.raises(FrameError):
        list(read_record(iter(['{"record": 1}\n', "x" * 2_000_000 + "\n"])))
