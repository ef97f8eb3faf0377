"""The `decode` command: what goes in, what comes out, and that nothing stops it."""

from io import BytesIO, StringIO, TextIOWrapper
import json
from pathlib import Path
import subprocess
import sys
from typing import Any, override

import pymodbus
import pytest

from custom_components.lfp_battery.bms.__main__ import main
from custom_components.lfp_battery.bms.decoding import answer, plain
from custom_components.lfp_battery.bms.model import Alarm, Condition, Mode, Severity
from tests.simulator.pylon_wire import encode

from .captured import Captured, text_frames

BMS = Path(__file__).parents[2] / "custom_components" / "lfp_battery"
CAPTURED = {captured.id: captured for captured in text_frames("pylon.json")}


def _ask(**line: object) -> dict[str, Any]:
    found = answer(json.dumps({"protocol": "pylon-rs485"} | line))
    json.dumps(found)  # nothing in it may be beyond JSON
    return found


def _line(captured: Captured, **more: object) -> dict[str, Any]:
    request = captured.request.decode() if captured.request else None
    return _ask(protocol=captured.protocol, request=request, response=captured.response.decode(), **more)


def test_a_pack_is_shown_by_its_address_with_what_it_reported_and_no_more() -> None:
    """Fields of the model, sets sorted, what was not reported left out."""
    found = _line(CAPTURED["pylon-42-us2kbpl-2"])
    assert found.keys() == {"protocol", "packs", "bank", "info", "held_back"}
    assert found["protocol"] == "pylon-rs485"
    assert found["packs"].keys() == {"2"}
    pack = found["packs"]["2"]
    assert pack.keys() == {
        "voltage", "current", "power", "soc", "remaining_capacity", "full_capacity", "cycles", "cell_voltages",
        "cell_temperatures", "pcb_temperature", "derived",
    }  # fmt: skip
    assert pack["derived"] == ["power", "soc"]
    assert pack["cell_voltages"][:2] == [3.359, 3.36]
    assert (found["bank"], found["info"], found["held_back"]) == (None, {}, {})


def test_alarms_are_objects_in_a_steady_order() -> None:
    """Condition, severity, and the cell where it is known."""
    info = bytes.fromhex("0002" + "08" + "0000000200000001" + "04" + "00000200" + "000000" + "020E000800")
    found = _ask(request=encode(2, 0x44, b"\x02").decode(), response=encode(2, 0, info).decode())
    assert found["packs"]["2"]["alarms"] == [
        {"condition": "cell_failure", "severity": "fault", "cell": 4},
        {"condition": "cell_overvoltage", "severity": "protection", "cell": 4},
        {"condition": "cell_undervoltage", "severity": "protection"},
        {"condition": "cell_undervoltage", "severity": "protection", "cell": 8},
        {"condition": "overtemperature", "severity": "protection"},
    ]
    assert found["info"] == {"switches": ["using_battery_module_power", "discharge_mosfet_on", "charge_mosfet_on"]}


def test_a_bank_stands_beside_the_packs() -> None:
    """A system answer has no pack."""
    found = _line(CAPTURED["pylon-61-adr02"])
    assert found["packs"] == {}
    assert found["bank"]["soc"] == 85
    assert found["info"]["cycles_max"] == 8


def test_identity_stands_in_info() -> None:
    """By itself when it is of one pack."""
    found = _line(CAPTURED["pylon-51-us2kbpl-1"])
    assert found["info"]["manufacturer"] == "Pylon"
    assert found["info"]["model"] == "US2KBPL"
    assert _line(CAPTURED["pylon-93-us2000c-3"])["info"] == {"serial": "HPTBH02240A01235"}


def test_hex_and_text_mean_the_same() -> None:
    """Frames may come as they are read or as they are logged."""
    captured = CAPTURED["pylon-42-us2kbpl-2"]
    assert captured.request is not None
    assert _line(captured) == _ask(request=captured.request.hex(), response=captured.response.hex().upper())


def test_what_a_battery_cannot_be_is_held_back_with_a_reason() -> None:
    """From one reading alone, nothing to fall back on."""
    impossible = bytes.fromhex("0002" + "080CDA0CDB0CDC0CDD0CDE0CDF0CE02EE0" + "010B69" + "01CC6704C35002C3500003")
    found = _ask(request=encode(2, 0x42, b"\x02").decode(), response=encode(2, 0, impossible).decode())
    assert found["held_back"] == {"cell_voltages": "out_of_range"}
    assert found["packs"]["2"]["cell_voltages"][7] is None


def test_with_several_packs_held_back_fields_say_whose_they_are() -> None:
    """And what is said of a pack beside its state stands under its address."""
    bad = bytes.fromhex("040CDA0CDA0CDA2EE0" + "010B69" + "00003368C35002C3500003")
    good = bytes.fromhex("040CDA0CDA0CDA0CDA" + "010B69" + "00003368C35002C3500003")
    found = _ask(request=encode(2, 0x42, b"\xff").decode(), response=encode(2, 0, b"\x00\x02" + good + bad).decode())
    assert found["held_back"] == {"3.cell_voltages": "out_of_range"}
    quiet = bytes.fromhex("02000001000000000000080000")
    found = _ask(request=encode(2, 0x44, b"\xff").decode(), response=encode(2, 0, b"\x00\x02" + quiet * 2).decode())
    assert found["info"] == {"2": {"switches": []}, "3": {"switches": []}}


def test_errors_are_answers() -> None:
    """FrameError for bytes that say nothing, RefusedError for a battery that does not want to."""
    refused = _line(CAPTURED["pylon-rtn02-bad-checksum"])
    assert refused["error"] == "RefusedError"
    assert "return code 02" in refused["reason"]
    damaged = _ask(request=None, response="~20024600B014026EF05AA0022BFDD5C0F916\r")
    assert damaged == {"error": "FrameError", "reason": "the checksum is wrong"}
    dialect = _line(CAPTURED["dialect-eg4-42"])
    assert (dialect["error"], dialect["dialect"]) == ("FrameError", "eg4-v20")


@pytest.mark.parametrize("name", ["seplos-v20", "tdt-v25", "eg4-v20"])
def test_dialects_are_names_that_are_refused(name: str) -> None:
    """A capture may say what it is; that does not make it readable."""
    captured = next(c for c in CAPTURED.values() if c.dialect == name)
    assert captured.request is not None
    stream = (captured.request + captured.response).hex()
    for line in (
        {"response": captured.response.decode()},
        {"stream": captured.response.hex()},
        {"stream": stream},
        {"request": captured.request.decode(), "stream": stream},
    ):
        found = _ask(protocol=name, **line)
        assert (found["error"], found["dialect"]) == ("FrameError", name)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "not a line of JSON"),
        ("{", "not a line of JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not a line of JSON"),
        (b"\xff\xfe{}", "not a line of JSON"),
        ("{}", "not a protocol"),
        ('{"protocol": ["pylon-rs485"]}', "not a protocol"),
        ('{"protocol": "pylon"}', "not a protocol known here: pylon-rs485"),
        ('{"protocol": "pylon-rs485"}', "no response"),
        ('{"protocol": "pylon-rs485", "response": null}', "no response"),
        ('{"protocol": "pylon-rs485", "response": 5}', "neither hex nor text"),
        ('{"protocol": "pylon-rs485", "response": "\\u20ac"}', "no serial line carries"),
        ('{"protocol": "pylon-rs485", "request": "pwr", "response": "~200246000000FDB2\\r"}', "the question"),
        ('{"protocol": "pylon-rs485", "chunks": "7e"}', "not a list"),
        ('{"protocol": "pylon-rs485", "chunks": [5]}', "neither hex nor text"),
        ('{"protocol": "pylon-rs485", "stream": "7e"}', "no whole frame"),
        ('{"protocol": "pylon-rs485", "registers": {"0x0013": 102}}', "has no registers"),
        ('{"protocol": "growatt-rs485", "registers": [102]}', "not an object"),
        ('{"protocol": "growatt-rs485", "registers": {"x": 102}}', "not the number of a register"),
        ('{"protocol": "growatt-rs485", "registers": {"0x0013": 65536}}', "does not hold a 16-bit word"),
        ('{"protocol": "growatt-rs485", "registers": {"0x0015": 66}, "unit": "1"}', "the unit is not a number"),
    ],
)
def test_a_broken_line_is_an_error_and_not_a_traceback(line: str | bytes, reason: str) -> None:
    """Whatever somebody pipes in."""
    found = answer(line)
    assert found["error"] == "FrameError"
    assert reason in found["reason"]


# --- streams ---------------------------------------------------------------------------------------------------------

QUESTION = b"~20024692E00202FD2E\r"
ANSWER = b"~20024600B014026EF05AA0022BFDD5C0F915\r"
STREAM = b"\x00\xff" + QUESTION + b"\n~2002" + ANSWER + b"~2002"


def test_without_a_request_a_stream_shows_all_frames_and_questions_explain_answers() -> None:
    """As overheard between another master and its packs."""
    found = _ask(stream=STREAM.hex())
    assert found["frames"] == [QUESTION.hex(), ANSWER.hex()]
    assert found["packs"]["2"]["charge_voltage_limit"] == 28.4


def test_with_a_request_its_echo_is_dropped_once() -> None:
    """A second copy would be somebody else's question."""
    found = _ask(request=QUESTION.decode(), stream=STREAM.hex())
    assert found["frames"] == [ANSWER.hex()]
    assert found["packs"]["2"]["charge_voltage_limit"] == 28.4
    assert _ask(request=QUESTION.decode(), stream=(QUESTION * 2).hex())["frames"] == [QUESTION.hex()]


def test_chunks_are_a_stream_in_pieces() -> None:
    """Wherever they were cut."""
    pieces = [STREAM[at : at + 7].hex() for at in range(0, len(STREAM), 7)]
    assert _ask(chunks=pieces) == _ask(stream=STREAM.hex())


def test_several_answers_of_a_stream_are_put_together() -> None:
    """Values and alarms of two packs, overheard; a damaged frame among them is only counted as a frame."""
    ids = ("pylon-42-us5000-stack-2", "pylon-44-us5000-charging", "pylon-42-us5000-stack-4", "pylon-51-us2000c-7")
    frames = [CAPTURED[name].response for name in ids]
    serials = [encode(address, 0, bytes((address,)) + b"HPTBH02240A0000%d" % address) for address in (2, 4)]
    found = _ask(stream=b"".join([*frames, b"~2002\r", *serials]).hex())
    assert found["packs"].keys() == {"2", "4"}
    assert found["packs"]["2"]["mode"] == "charging"
    assert found["packs"]["2"]["current"] == 20.1
    assert len(found["frames"]) == 7
    assert found["info"]["2"]["serial"] == "HPTBH02240A00002"
    assert found["info"]["4"]["serial"] == "HPTBH02240A00004"


def test_a_stream_of_questions_is_no_error() -> None:
    """A master that nobody answers."""
    found = _ask(stream=(QUESTION * 3).hex())
    assert (found["packs"], found["bank"], len(found["frames"])) == ({}, None, 3)


def test_a_stream_in_which_nothing_can_be_read_is_an_error_with_its_frames() -> None:
    """The last reason is given."""
    found = _ask(stream=(ANSWER[:-3] + b"00\r").hex())
    assert (found["error"], found["reason"], len(found["frames"])) == ("FrameError", "the checksum is wrong", 1)


# --- the command -----------------------------------------------------------------------------------------------------


def test_every_line_has_its_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Good ones and bad ones, in order."""
    good = json.dumps({"protocol": "pylon-rs485", "response": ANSWER.decode()})
    lines = f"{good}\nnonsense\n\n{good}\n".encode()
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(lines)))
    assert main(["decode"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["error" in found for found in answers] == [False, True, True, False]
    assert answers[0] == answers[3]


@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt, 130), (BrokenPipeError, 1)])
def test_being_stopped_is_no_traceback(monkeypatch: pytest.MonkeyPatch, stop: type[BaseException], status: int) -> None:
    """Ctrl-C, and a reader that went away."""

    class Output(StringIO):
        """Takes nothing."""

        @override
        def write(self, text: str) -> int:
            """Refuse."""
            raise stop

    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"{}\n")))
    monkeypatch.setattr(sys, "stdout", Output())
    assert main(["decode"]) == status


def test_a_command_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    """The commands are listed then."""
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "decode" in capsys.readouterr().out


def test_the_command_runs_where_home_assistant_is_not_installed() -> None:
    """As a module of its own, with no package beside the standard library but the one that frames Modbus."""
    line = json.dumps({"protocol": "pylon-rs485", "response": ANSWER.decode()}) + "\n"
    script = (
        "import runpy, sys\n"
        "sys.argv = ['bms', 'decode']\n"
        "try:\n"
        "    runpy.run_module('bms', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as stop:\n"
        "    foreign = [name for name, module in list(sys.modules.items())\n"
        "               if 'site-packages' in (getattr(module, '__file__', None) or '')\n"
        "               and name.partition('.')[0] != 'pymodbus']\n"
        "    sys.exit(f'loaded {foreign}' if foreign else stop.code)\n"
    )
    packages = Path(pymodbus.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = [{str(BMS)!r}, {str(packages)!r}]\n{script}"],
        input=line, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["packs"]["2"]["charge_voltage_limit"] == 28.4


def test_values_of_the_model_become_plain() -> None:
    """Enums, sets, tuples, alarms and mappings, nested as they like."""
    alarms = frozenset(
        Alarm(condition=Condition.CELL_FAILURE, severity=Severity.FAULT, cell=cell) for cell in (None, 2, 10)
    )
    thing = {1: (Mode.FULL, None), "cells": frozenset({10, 2}), "alarms": alarms}
    shown = plain(thing)
    assert shown["1"] == ["full", None]
    assert shown["cells"] == [2, 10]
    assert [alarm.get("cell") for alarm in shown["alarms"]] == [None, 2, 10]
