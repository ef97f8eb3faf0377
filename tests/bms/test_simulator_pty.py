"""The simulator on a real port, and as a program of its own."""

import argparse
import asyncio
from collections.abc import AsyncIterator
import json
import os
from pathlib import Path
import select
import signal
import sys
import termios
import time
import tty

import pytest

from custom_components.lfp_battery.bms.clock import SystemClock
from tests.simulator.bank import SimBank
from tests.simulator.bus import Bus
from tests.simulator.faults import Fault, Kind
from tests.simulator.program import make_parser, parse_fault, report
from tests.simulator.pty_line import PtyLine
from tests.simulator.pylon import PylonSpeaker
from tests.simulator.pylon_wire import request

_ROOT = Path(__file__).parents[2]


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[PtyLine]:
    """Two packs on a port of their own, at 9600."""
    clock = SystemClock()
    port = PtyLine(Bus(PylonSpeaker(SimBank(2, clock)), clock), tmp_path / "port")
    port.start()
    yield port
    port.stop()


def speaker_of(port: PtyLine) -> PylonSpeaker:
    """Who speaks on a port."""
    assert isinstance(port.bus.speaker, PylonSpeaker)
    return port.bus.speaker


def open_port(path: Path, speed: int = termios.B9600) -> int:
    """Open a port as a serial program does; returns the descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(descriptor)
    attributes = termios.tcgetattr(descriptor)
    attributes[4] = attributes[5] = speed
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
    return descriptor


def exchange(descriptor: int, question: bytes, patience: float = 1.0) -> tuple[bytes, list[float]]:
    """Ask and read to the end of the answer; when its pieces came, in seconds."""
    start = time.monotonic()
    os.write(descriptor, question)
    heard, times = b"", []
    while not heard.endswith(b"\r") and select.select([descriptor], [], [], patience)[0]:
        heard += os.read(descriptor, 4096)
        times.append(time.monotonic() - start)
    return heard, times


async def test_the_port_answers_at_the_pace_of_the_line(port: PtyLine) -> None:
    """148 bytes at 9600 baud: 250 ms with request and turn-round, spread evenly over many small writes."""
    descriptor = open_port(port.path)
    try:
        answer, times = await asyncio.to_thread(exchange, descriptor, request(2, 0x42))
    finally:
        os.close(descriptor)
    assert len(answer) == 148
    # never early; how late depends on what else this machine is doing
    assert 0.249 <= times[-1] < 0.35
    assert times[0] >= 20 / 960 + 0.075
    assert len(times) > 15
    assert speaker_of(port).sent[2][0].values["current"] is not None


async def test_the_speed_that_is_set_on_the_port_counts(port: PtyLine) -> None:
    """At 115200 packs at 9600 do not understand, and back at 9600 they do."""
    descriptor = open_port(port.path, termios.B115200)
    try:
        assert port.baudrate == 115200
        assert await asyncio.to_thread(exchange, descriptor, request(2, 0x42), 0.4) == (b"", [])
    finally:
        os.close(descriptor)
    descriptor = open_port(port.path)
    try:
        answer, _ = await asyncio.to_thread(exchange, descriptor, request(2, 0x4F))
    finally:
        os.close(descriptor)
    assert answer == b"~200246000000FDB2\r"


async def test_unplugging_hangs_up_and_takes_the_path_away(port: PtyLine) -> None:
    """Whoever has the port open cannot read it any more; after replugging the same path works again."""
    descriptor = open_port(port.path)
    try:
        port.unplug()
        assert not os.path.lexists(port.path)
        assert await asyncio.to_thread(select.select, [descriptor], [], [], 1.0) != ([], [], [])
        with pytest.raises(OSError, match="Input/output error"):
            os.write(descriptor, b"x")
    finally:
        os.close(descriptor)
    port.replug()
    descriptor = open_port(port.path)
    try:
        answer, _ = await asyncio.to_thread(exchange, descriptor, request(2, 0x4F))
    finally:
        os.close(descriptor)
    assert answer


async def test_nothing_is_left_after_stopping(tmp_path: Path) -> None:
    """No descriptor and no file."""
    clock = SystemClock()
    before = len(list(Path("/proc/self/fd").iterdir()))
    port = PtyLine(Bus(PylonSpeaker(SimBank(1, clock)), clock))
    port.start()
    assert port.path.is_symlink()
    port.stop()
    assert not port.path.parent.exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_an_idle_port_costs_nothing(port: PtyLine) -> None:
    """Half a second of rest takes next to no processor time."""
    begin = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - begin < 0.1


def test_faults_can_be_named_on_the_command_line() -> None:
    """Kind and options as the help says."""
    assert parse_fault("silence:address=3,address=0x12,count=20") == Fault(
        kind=Kind.SILENCE, addresses=frozenset({3, 0x12}), count=20
    )
    assert parse_fault("bad_checksum:probability=0.05") == Fault(kind=Kind.BAD_CHECKSUM, probability=0.05)


@pytest.mark.parametrize("text", ["gremlins", "silence:colour=red", "late:delay=soon"])
def test_a_fault_that_makes_no_sense_is_refused(text: str) -> None:
    """In words, naming what was given."""
    with pytest.raises(argparse.ArgumentTypeError, match=text.partition(":")[0]):
        parse_fault(text)


def test_help_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """So that nobody has to read the source."""
    with pytest.raises(SystemExit):
        make_parser().parse_args(["--help"])
    text = capsys.readouterr().out
    assert all(kind in text for kind in Kind)


async def test_the_report_is_what_was_sent(port: PtyLine) -> None:
    """As JSON, by address."""
    descriptor = open_port(port.path)
    try:
        await asyncio.to_thread(exchange, descriptor, request(2, 0x42))
    finally:
        os.close(descriptor)
    written = json.loads(json.dumps(report(speaker_of(port))))
    assert written["2"][0]["command"] == "42"
    assert tuple(written["2"][0]["values"]["cell_voltages"]) == speaker_of(port).latest(2)["cell_voltages"]


async def test_the_program_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    """It prints its port, answers on it, writes its report and takes the port away when it ends."""
    link, kept = tmp_path / "battery", tmp_path / "report.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.simulator", "--packs", "1", "--link", str(link), "--report", str(kept),
        cwd=_ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == f"port: {link}\n".encode()
        descriptor = open_port(link)
        try:
            answer, _ = await asyncio.to_thread(exchange, descriptor, request(2, 0x42))
        finally:
            os.close(descriptor)
        assert len(answer) == 148
        async with asyncio.timeout(10):
            while not kept.exists() or not json.loads(kept.read_text())["sent"]:
                await asyncio.sleep(0.1)
    finally:
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 0
    assert not os.path.lexists(link)
