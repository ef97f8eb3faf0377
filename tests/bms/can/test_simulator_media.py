"""Simulated CAN batteries on real media: an slcan adapter on a pty and on TCP, a bus of python-can, the command line."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
import json
import os
from pathlib import Path
import tty
from typing import Any

import can
import pytest

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame
from custom_components.lfp_battery.bms.clock import SystemClock
from tests.simulator.bank import SimBank
from tests.simulator.can.bus import SimBus
from tests.simulator.can.families import make_speaker
from tests.simulator.can.faults import Kind
from tests.simulator.can.inverter import CanInverter
from tests.simulator.can.program import parse_fault
from tests.simulator.can.python_can import PythonCanBridge
from tests.simulator.can.slcan_adapter import SlcanPty, SlcanTcp, frame_line
from tests.simulator.program import can_report, make_parser, run

pytestmark = pytest.mark.enable_socket


def battery(name: str = "pylon") -> SimBus:
    """A battery on a bus at the true pace."""
    clock = SystemClock()
    return SimBus(make_speaker(name, SimBank(2, clock)), clock=clock, grain=0.005)


@pytest.fixture
async def adapter(tmp_path: Path) -> AsyncIterator[SlcanPty]:
    """An slcan adapter on a pty."""
    adapter = SlcanPty(battery(), tmp_path / "ttyCAN")
    adapter.replug()
    yield adapter
    adapter.stop()


class Terminal:
    """A program that has a pty open."""

    def __init__(self, path: Path) -> None:
        """Open it as it is."""
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)

    async def talk(self, data: bytes, seconds: float = 0.05) -> bytes:
        """Write, and return what comes within so many seconds."""
        if data:
            os.write(self.fd, data)
        return await collect(self.read, seconds)

    def read(self) -> bytes:
        """What is there."""
        try:
            return os.read(self.fd, 65536)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Give it back."""
        os.close(self.fd)


async def collect(read: Callable[[], bytes], seconds: float) -> bytes:
    """Everything within so many seconds."""
    found = b""
    for _ in range(max(round(seconds / 0.01), 1)):
        await asyncio.sleep(0.01)
        found += read()
    return found


def test_a_frame_is_written_as_lawicel_has_it() -> None:
    """Three digits and t for 11 bits, eight and T for 29, length and hexadecimal bytes."""
    assert frame_line(CanFrame(id=0x351, data=bytes.fromhex("1402"))) == b"t35121402\r"
    assert frame_line(CanFrame(id=0x1F000300 | EXTENDED, data=b"\xff")) == b"T1F0003001FF\r"
    assert frame_line(CanFrame(id=0x351, data=b""), remote=True) == b"r3510\r"


async def test_an_adapter_reports_frames_while_it_is_open(adapter: SlcanPty) -> None:
    """Nothing comes before O or L and after C; versions are told, nonsense is refused."""
    terminal = Terminal(adapter.path)
    try:
        assert await terminal.talk(b"V\rN\r") == b"V1013\rNA123\r"
        assert await terminal.talk(b"O\r") == b"\a", "no bit rate was set"
        assert (await terminal.talk(b"S6\rL\r", 0.02)).startswith(b"\r\r")
        assert adapter.silent is True
        lines = (await terminal.talk(b"", 1.2)).split(b"\r")
        assert {line[:4] for line in lines if line} >= {b"t359", b"t351", b"t355", b"t356", b"t35C", b"t35E"}
        assert b"\a" in await terminal.talk(b"S5\r"), "not while it is open"
        await terminal.talk(b"C\r")
        assert await terminal.talk(b"", 1.2) == b""
        assert await terminal.talk(b"?\r") == b"\a"
    finally:
        terminal.close()


async def test_an_adapter_never_sends(adapter: SlcanPty) -> None:
    """Every command that would put a frame on the bus is refused and counted."""
    terminal = Terminal(adapter.path)
    try:
        await terminal.talk(b"S6\rO\r")
        before = adapter._bus.frames
        answers = await terminal.talk(b"t30580000000000000000\rT000003051FF\rr3510\r", 0.02)
        assert answers.count(b"\a") == 3
        assert adapter.transmissions == [b"t30580000000000000000", b"T000003051FF", b"r3510"]
        assert adapter._bus.frames - before <= 6
        assert 0x305 not in adapter._bus.by_id
    finally:
        terminal.close()


async def test_an_adapter_that_is_pulled_comes_back_closed(adapter: SlcanPty) -> None:
    """The path vanishes and readers are hung up on; the new port has to be set up anew."""
    terminal = Terminal(adapter.path)
    await terminal.talk(b"S6\rL\r")
    adapter.unplug()
    assert not adapter.path.is_symlink()
    with pytest.raises(OSError):  # noqa: PT012  a pty reports it as EIO, at the first or second try
        for _ in range(3):
            if not os.read(terminal.fd, 100):
                raise OSError
    terminal.close()
    adapter.replug()
    again = Terminal(adapter.path)
    try:
        assert await again.talk(b"", 1.1) == b""
        await again.talk(b"S6\rO\r")
        assert b"t3" in await again.talk(b"", 1.1)
    finally:
        again.close()


async def test_mute_firmware_says_nothing_to_commands(tmp_path: Path) -> None:
    """Some adapters acknowledge nothing; frames come all the same, of any width."""
    bus = battery("megarevo")
    bus.add(CanInverter("megarevo"))
    adapter = SlcanPty(bus, tmp_path / "tty", answers=False)
    adapter.replug()
    terminal = Terminal(adapter.path)
    try:
        assert await terminal.talk(b"V\r?\r") == b""
        await terminal.talk(b"C\rS6\rO\r", 0.02)
        lines = (await terminal.talk(b"", 2.3)).split(b"\r")
        assert {line[:9] for line in lines} >= {b"T1F000100", b"T1F000300", b"T1F000304"}
    finally:
        terminal.close()
        adapter.stop()


async def test_python_can_reads_the_adapter(adapter: SlcanPty) -> None:
    """The library's own slcan interface receives exactly what the battery sent, and asks for no transmission."""

    def listen() -> list[can.Message]:
        with can.Bus(
            interface="slcan",
            channel=str(adapter.path),
            bitrate=500_000,
            listen_only=True,
            sleep_after_open=0.1,
            ignore_config=True,
        ) as bus:
            return [message for _ in range(12) if (message := bus.recv(1.0)) is not None]

    messages = await asyncio.to_thread(listen)
    assert {message.arbitration_id for message in messages} == {0x359, 0x351, 0x355, 0x356, 0x35C, 0x35E}
    name = next(bytes(message.data) for message in messages if message.arbitration_id == 0x35E)
    assert name == b"PYLON   "
    assert adapter.transmissions == []


async def test_an_adapter_on_tcp_reports_the_same(socket_enabled: None) -> None:
    """A serial bridge: commands and frames over a connection, hung up on when it is stopped."""
    adapter = SlcanTcp(battery())
    await adapter.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", adapter.port)
    try:
        writer.write(b"C\rS6\rL\r")
        line = b""
        while not line.startswith(b"t351"):
            line = (await asyncio.wait_for(reader.readuntil(b"\r"), 3)).lstrip(b"\a")
        assert len(line) == 4 + 1 + 16 + 1
        assert adapter.url == f"socket://127.0.0.1:{adapter.port}"
        await adapter.stop()
        await asyncio.wait_for(reader.read(), 3)
        assert reader.at_eof()
    finally:
        writer.close()
        await adapter.stop()


async def test_a_bridge_sends_onto_the_bus_of_python_can() -> None:
    """What the battery sends arrives there at the true pace, and what others send is counted."""
    bus = battery("growatt")
    bus.add(CanInverter("growatt"))
    with can.Bus(interface="virtual", channel="simulated-bridge", ignore_config=True) as other:
        with PythonCanBridge(bus, "simulated-bridge") as bridge:
            await asyncio.sleep(1.3)
            received = []
            while (message := other.recv(0)) is not None:
                received.append(message)
            assert bridge.strangers == []
            other.send(can.Message(arbitration_id=0x305, is_extended_id=False, data=bytes(8)))
            await asyncio.sleep(1.0)
        assert {message.arbitration_id for message in received} >= {0x301, 0x311, 0x313}
        assert 17 <= len(received) <= 36
        assert bridge.strangers == [CanFrame(id=0x305, data=bytes(8))]


async def test_the_program_serves_a_can_battery(tmp_path: Path) -> None:
    """With --can the simulator has an slcan adapter at the path, and writes down what it sent."""
    path, report = tmp_path / "ttyCAN0", tmp_path / "report.json"
    args = make_parser().parse_args(
        ["--can", "victron", "--link", str(path), "--report", str(report), "--packs", "3", "--status", "0"]
    )
    said: list[str] = []
    serving = asyncio.create_task(run(args, said.append))
    while not path.is_symlink():
        await asyncio.sleep(0.01)
    terminal = Terminal(path)
    try:
        await terminal.talk(b"S6\rO\r")
        lines = (await terminal.talk(b"", 2.3)).split(b"\r")
    finally:
        terminal.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        for number in (2, 10, 15):
            asyncio.get_running_loop().remove_signal_handler(number)
    assert {line[:4] for line in lines} >= {b"t351", b"t372", b"t307"}
    assert said[0] == f"port: {path}"
    sent = json.loads(report.read_text())["sent"]["bank"]
    assert {"modules_online": 3} in [
        {name: v for name, v in one["values"].items() if name == "modules_online"} for one in sent
    ]
    assert not path.is_symlink()


def test_faults_are_read_from_the_command_line() -> None:
    """A kind with its options; what is not one is refused."""
    fault = parse_fault("truncated:id=313,id=1F000300,probability=0.25,count=4")
    assert (fault.kind, fault.ids) == (Kind.TRUNCATED, frozenset({0x313, 0x1F000300 | EXTENDED}))
    assert (fault.probability, fault.count) == (0.25, 4)
    args = make_parser().parse_args(["--can", "sma", "--can-fault", "lost"])
    assert args.can_fault == [parse_fault("lost")]
    for bad in ("melted", "lost:colour=red", "lost:count=few"):
        with pytest.raises(argparse.ArgumentTypeError):
            parse_fault(bad)


def test_a_report_names_packs_and_frames() -> None:
    """The written record has the bank and every pack, with the frame's id."""
    speaker = make_speaker("deye_pcs", SimBank(2, SystemClock()))
    speaker.start(0.0)
    while speaker.next() < 0.9:
        said = speaker.take()
        assert said is not None
        assert said.carried is not None
        said.carried(said.at)
    record = can_report(speaker)
    assert set(record) == {"bank", "1", "2"}
    told: Any = record["2"]
    assert {one["command"] for one in told} >= {"151", "201"}
