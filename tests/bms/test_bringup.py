"""The command line on a real port, with the simulator as a program of its own at the other end."""

from collections.abc import Iterator
from io import BytesIO, TextIOWrapper
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import tty
from typing import Any

import pytest

from custom_components.lfp_battery.bms.__main__ import main
from custom_components.lfp_battery.bms.discovery import Outcome
from custom_components.lfp_battery.bms.errors import FrameError, LinkError, LinkProblem
from custom_components.lfp_battery.bms.printing import LINK_PROBLEMS, OUTCOMES, link_words
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


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
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
    serial = report["packs"][0]["identity"]["serial"]
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


def test_poll_works_the_bank_out_where_nobody_says_it(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Once a round, after its packs; a total waits for all that are known, and one pack is no bank."""
    known = ("--baud", "115200", "--protocol", "pylon-rs485", "--address", "2")
    status, lines, _ = run(capsys, "poll", port, *known, "--address", "3", "--cycles", "2", "--interval", "1")
    assert status == 0
    assert [line["kind"] for line in lines[1:]] == ["pack", "pack", "bank", "cycle"] * 2
    first, second, bank = lines[1]["state"], lines[2]["state"], lines[3]
    assert (bank["online"], bank["counted"], bank["left_out"], bank["weighting"]) == (True, ["2", "3"], {}, "capacity")
    assert bank["state"]["current"] == pytest.approx(first["current"] + second["current"])
    assert bank["state"]["cell_voltage_min"] == min(*first["cell_voltages"], *second["cell_voltages"])
    assert bank["state"]["cell_voltage_min_pack"] == int(bank["lowest_cell_pack"])
    assert "power" in bank["state"]["derived"]

    status, lines, _ = run(capsys, "poll", port, *known, "--address", "9", "--cycles", "1")
    (bank,) = (line for line in lines if line["kind"] == "bank")
    assert (bank["counted"], bank["left_out"]) == (["2"], {"9": "silent"})
    assert bank["state"]["voltage"] > 40
    assert not {"current", "power", "remaining_capacity"} & bank["state"].keys()

    status, lines, _ = run(capsys, "poll", port, *known, "--cycles", "1")
    assert [line["kind"] for line in lines] == ["link", "pack", "cycle"]


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
    packs = [line["packs"]["2"] for line in replayed if line.get("packs")]
    assert packs[0]["cell_voltages"] == state["cell_voltages"]
    assert any(line.get("request") and line["ours"] for line in replayed)
    status, _, words = run(capsys, *arguments)
    assert status == 1
    assert "exists" in words


def test_listening_prints_what_others_say_and_sends_nothing(
    port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a quiet line that is nothing, for as long as it was asked to listen."""
    status, lines, words = run(capsys, "listen", port, "--baud", "115200", "--seconds", "0.3")
    assert (status, lines) == (0, [])
    assert words.splitlines() == [
        f"listening on {port} at 115200 baud; nothing is sent",
        "nothing came: packs speak only when somebody asks them",
    ]
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
    status, lines, words = run(capsys, "listen", path, "--seconds", "1.2")
    thread.join()
    os.close(master)
    os.close(slave)
    assert status == 0
    assert "nothing came" not in words
    assert lines[0]["request"]
    packs = next(line["packs"] for line in lines if line.get("packs"))
    assert packs["2"]["charge_voltage_limit"] == 28.4
    assert any(line.get("reason") for line in lines)
    assert any(line.get("bytes") == "8081" for line in lines)


@pytest.mark.parametrize("command", ["listen", "scan", "poll"])
def test_a_port_that_is_not_there_is_said_in_one_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback."""
    status, lines, words = run(capsys, command, "/dev/does-not-exist")
    assert status == 1
    assert not lines
    assert words.splitlines()[-1].startswith("There is no such port or adapter: check that it is plugged in. (")
    assert "Traceback" not in words


def test_every_problem_of_a_link_and_every_end_of_a_scan_has_a_sentence() -> None:
    """No code word is all that a person gets."""
    assert set(LINK_PROBLEMS) == set(LinkProblem)
    assert set(OUTCOMES) == set(Outcome)
    assert all(
        text[0].isupper() and text[-1] in ".`" and " " in text for text in (*LINK_PROBLEMS.values(), *OUTCOMES.values())
    )
    assert link_words(LinkError(LinkProblem.BUSY)) == LINK_PROBLEMS[LinkProblem.BUSY]
    assert link_words(LinkError(LinkProblem.BUSY, "OSError")) == f"{LINK_PROBLEMS[LinkProblem.BUSY]} (OSError)"


KNOWN = ("--protocol", "pylon-rs485", "--baud", "9600", "--address", "2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("poll", "--baud", "0"), "argument --baud: '0' is not a whole number from 300 to 4000000"),
        (("listen", "--baud", "-5"), "argument --baud: '-5' is not a whole number"),
        (("observe", "--baud", "9600.5"), "argument --baud: '9600.5' is not a whole number"),
        (("scan", "--quiet", "-1"), "argument --quiet: '-1' is not a number of seconds from 0.2 to 3600"),
        (("scan", "--quiet", "0"), "argument --quiet: '0' is not"),
        (("scan", "--quiet", "nan"), "argument --quiet: 'nan' is not"),
        (("scan", "--quiet", "inf"), "argument --quiet: 'inf' is not"),
        (("scan", "--quiet", "soon"), "argument --quiet: 'soon' is not"),
        (("poll", "--interval", "-1"), "argument --interval: '-1' is not a number of seconds from 1 to 86400"),
        (("poll", "--cycles", "0"), "argument --cycles: '0' is not a whole number from 1"),
        (("listen", "--seconds", "-1"), "argument --seconds: '-1' is not a number of seconds from 0.1"),
        (("poll", "--address", "999"), "argument --address: '999' is not a whole number from 0 to 127"),
        (("observe", "--address", "-3"), "argument --address: '-3' is not a whole number from 0 to 127"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_with_its_range(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Above all the silence that guards a line which somebody else may use."""
    with pytest.raises(SystemExit) as stopped:
        main([arguments[0], "/dev/does-not-exist", *arguments[1:]])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("poll", "--protocol", "pylon-rs485", "--address", "17"),
            "has no address 17: its packs are at 2 to 15, 18 to 31",
        ),
        (("observe", "--protocol", "growatt-rs485", "--address", "2"), "has no address 2: its packs are at 1\n"),
        (("poll", *KNOWN, "--quiet", "5"), "nothing is scanned: leave --quiet out"),
        (("poll", *KNOWN, "--family", "vlrv"), "nothing is scanned: leave --family out"),
        (("record", "new", "--address", "2"), "only listened to: leave --address out"),
        (("record", "new", "--quiet", "2"), "only listened to: leave --quiet out"),
    ],
)
def test_what_would_be_ignored_is_refused_in_one_sentence(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before the line is touched, and without leaving a file."""
    monkeypatch.chdir(tmp_path)
    status, lines, words = run(capsys, arguments[0], "/dev/does-not-exist", *arguments[1:])
    assert (status, lines, len(words.splitlines())) == (1, [], 1)
    assert said in words
    assert not list(tmp_path.iterdir())


def test_an_address_that_is_told_is_the_one_that_is_polled(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the speed is not told, and has to be found out."""
    told = ("--protocol", "pylon-rs485", "--quiet", "0.3", "--cycles", "1")
    status, lines, words = run(capsys, "poll", port, *told, "--address", "3")
    assert status == 0
    assert [line["address"] for line in lines if line["kind"] == "pack"] == [3]
    assert "nobody answered" not in words
    status, lines, words = run(capsys, "poll", port, *told, "--address", "9")
    assert status == 0
    assert not [line for line in lines if line["kind"] == "pack"]
    assert lines[-1]["silent"] == [9]
    assert "nobody answered the scan at address 9" in words


def test_a_record_of_a_line_that_never_opened_is_not_in_the_way_of_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is gone again."""
    for arguments in (("record", "/dev/does-not-exist", "file"), ("scan", "/dev/does-not-exist", "--capture", "file")):
        status, _, words = run(capsys, *(str(tmp_path / one) if one == "file" else one for one in arguments))
        assert status == 1
        assert "There is no such port" in words
        assert not list(tmp_path.iterdir())


def test_a_poll_that_can_never_work_ends_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """What may come back is waited for; an address that nobody can open does not."""
    status, lines, words = run(capsys, "poll", "nonsense://battery", *KNOWN)
    assert (status, lines) == (1, [{"kind": "link", "problem": "bad_address"}])
    assert words.startswith("This is neither a serial port nor an address")


def test_decoding_nothing_is_a_failure_and_the_help_says_what_a_line_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every line has its answer all the same."""
    for given, answers, said in ((b"x\n{}\n", 2, "no line could be decoded"), (b"", 0, "no line came")):
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(given)))
        status, lines, words = run(capsys, "decode")
        assert (status, len(lines)) == (1, answers)
        assert said in words
    with pytest.raises(SystemExit):
        main(["decode", "--help"])
    told = capsys.readouterr().out
    assert all(f'"{word}"' in told for word in ("request", "response", "stream", "chunks", "registers", "frames"))
    assert "pace-v25-rs485" in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "record.jsonl is empty"),
        ("nonsense\n", "line 1 of"),
        ("[]\n", "line 1 of"),
        ('{"record": 2}\n', "neither a record nor a log of candump -L"),
        ('{"record": 1}\n{"t": 1}\n', "line 2 of"),
        ('{"record": 1}\n{"t": 1, "rx": "7e"}\n{"t": 1, "rx": "xyz"}\n', "line 3 of"),
        ('{"record": 1}\n{"t": "x", "rx": "00"}\n', "line 2 of"),
        ('{"record": 1}\n[]\n', "line 2 of"),
    ],
)
def test_a_foreign_file_is_refused_in_words(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also an empty one, and one with damaged lines."""
    file = tmp_path / "record.jsonl"
    file.write_text(text)
    status, _, words = run(capsys, "replay", str(file))
    assert status == 1
    assert words.startswith("replay: ")
    assert said in words
    assert words.count("\n") == 1


def test_a_record_of_a_quiet_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Printing nothing at all would look like a failure."""
    file = tmp_path / "record.jsonl"
    file.write_text('{"record": 1}\n')
    assert run(capsys, "replay", str(file)) == (
        0,
        [],
        "replay: nothing passed over the line while this was recorded\n",
    )


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Someone will give a picture."""
    file = tmp_path / "picture"
    file.write_bytes(bytes(range(256)) * 10)
    for path, said in ((file, "line 1"), (tmp_path / "nothing", "there is no file"), (tmp_path, "is a folder")):
        status, _, words = run(capsys, "replay", str(path))
        assert status == 1
        assert said in words
        assert "Errno" not in words


def test_a_record_that_was_cut_short_gives_what_is_whole() -> None:
    """The power failed while it was written."""
    lines = ['{"record": 1}\n', '{"t": 1, "rx": "7e"}\n', '{"t": 2, "rx": "7']
    assert [passed.data for passed in read_record(iter(lines))] == [b"~"]
    with pytest.raises(FrameError):
        list(read_record(iter(['{"record": 1}\n', "x" * 2_000_000 + "\n"])))
