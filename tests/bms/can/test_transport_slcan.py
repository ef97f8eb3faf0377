"""Adapters that speak slcan, on pseudo terminals and over TCP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
import random
import time
from typing import Any, override

import pytest

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame
from custom_components.lfp_battery.bms.clients.line import Line
from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.transports import CanTransport, slcan
from custom_components.lfp_battery.bms.transports.can import open_bus
from custom_components.lfp_battery.bms.transports.can_address import parse_can_address
from custom_components.lfp_battery.bms.transports.slcan import RATES, LineReader, SlcanBus

from .adapters import Gateway, Heartbeat, Port, Slcan, descriptors, gather, until

FRAME = CanFrame(id=0x351, data=bytes.fromhex("14027602760290 01"))
LINE = b"t35181402760276029001\r"


class Told:
    """What a client's listener is told of a line."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.changes: list[LinkProblem | None] = []

    def link_changed(self, error: LinkError | None) -> None:
        """See `ClientListener`."""
        self.changes.append(error.problem if error else None)


class _Nameless(Slcan):
    """Answers nothing at all, not even what it is."""

    @override
    def take(self, data: bytes) -> bytes:
        super().take(data)
        return b""


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[list[Port]]:
    """Ports that are gone after the test: append to it."""
    made: list[Port] = []
    yield made
    for port in made:
        port.unplug()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Firmware that never answers is waited for at every command."""
    monkeypatch.setattr(slcan, "_PATIENCE", 0.1)
    monkeypatch.setattr(slcan, "_PATIENCE_REMOTE", 0.2)


def plugged(ports: list[Port], tmp_path: Path, device: Slcan) -> Port:
    """A port with this device, ready."""
    port = Port(device, tmp_path / f"ttyACM{len(ports)}")
    ports.append(port)
    port.plug()
    return port


def bus_at(where: object, *, listen_only: bool = True, bitrate: int = 500_000) -> CanTransport:
    """As the flow and the client make it."""
    address = parse_can_address(str(where))
    return open_bus(address, bitrate=bitrate, listen_only=listen_only, clock=SystemClock())


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        (LINE, FRAME),
        (b"t3518140276027602900112ab\r", FRAME),
        (b"t3518140276027602900112AB34cd\r", FRAME),
        (b"t3050\r", CanFrame(id=0x305, data=b"")),
        (b"\nt3051ff\r", CanFrame(id=0x305, data=b"\xff")),
        (b"T0000035110f\r", CanFrame(id=0x351 | EXTENDED, data=b"\x0f")),
        (b"T1FFFFFFF0\r", CanFrame(id=0x1FFFFFFF | EXTENDED, data=b"")),
    ],
)
def test_a_frame_is_read_with_or_without_a_time_stamp(line: bytes, frame: CanFrame) -> None:
    """The width of the identifier is a part of it."""
    reader = LineReader()
    assert reader.feed(line) == [frame]
    assert reader.errors == 0


@pytest.mark.parametrize(
    "line",
    [b"r3510\r", b"R000003518\r", b"r35181234\r", b"z\r", b"Z\r", b"\r", b"\a", b"d3519001122\r", b"V1013\r", b"F00\r"],
)
def test_what_is_no_data_frame_is_left_out_without_being_an_error(line: bytes) -> None:
    """Remote frames, results of sending, answers, and frames of CAN FD."""
    reader = LineReader()
    assert reader.feed(line) == []
    assert reader.errors == 0


@pytest.mark.parametrize(
    "line",
    [
        b"t\r",
        b"t351\r",
        b"t3519\r",
        b"t35181402\r",
        b"t3512140\r",
        b"t351214027\r",
        b"t35121402999\r",
        b"t8000\r",
        b"T200000000\r",
        b"t 351 0\r",
        b"t+351\r",
        b"t3_510\r",
        b"t35\xb110\r",
        b"t3511\xff\xff\r",
        b"r3_10\r",
        b"r35\r",
        b"hello\r",
        b"\xff\xfe\r",
        b"t351\a",
    ],
)
def test_a_line_that_is_not_whole_is_counted_and_nothing_else(line: bytes) -> None:
    """What follows it is read as ever; python-can's own reader fails for good on one odd byte (can.md 10.2)."""
    reader = LineReader()
    assert reader.feed(line) == []
    assert reader.errors == 1
    assert reader.feed(LINE) == [FRAME]


def test_lines_come_in_any_pieces() -> None:
    """As serial ports and networks hand them over."""
    text = b"\r" + LINE * 3 + b"z\r" + b"T1234567820a0b1234\r" + b"\a"
    expected = [FRAME] * 3 + [CanFrame(id=0x12345678 | EXTENDED, data=b"\x0a\x0b")]
    for size in (1, 2, 3, 7, 20, 1000):
        reader = LineReader()
        found = [frame for at in range(0, len(text), size) for frame in reader.feed(text[at : at + size])]
        assert found == expected
        assert reader.errors == 0


def test_a_line_without_end_is_not_kept() -> None:
    """A port that babbles costs neither memory nor the frames after it."""
    reader = LineReader()
    for _ in range(100):
        assert reader.feed(b"t351" * 1000) == []
        assert len(reader._rest) < 300
    assert reader.errors == 1
    assert reader.feed(b"t3510\r" + LINE) == [FRAME]


def test_any_bytes_at_all_give_frames_or_counts() -> None:
    """Hostile bytes never raise, and no frame that is made of them is impossible."""
    chance = random.Random(4)
    reader = LineReader()
    frames = 0
    for _ in range(3000):
        text = bytearray(LINE * 3)
        for _ in range(chance.randrange(6)):
            text[chance.randrange(len(text))] = chance.choice((chance.randrange(256), 0x0D, 0x74, 0x54))
        for frame in reader.feed(bytes(text)):
            frames += 1
            assert len(frame.data) <= 8
            assert frame.id < 0x800 or EXTENDED <= frame.id < EXTENDED + 0x20000000
    assert frames > 3000
    assert reader.errors > 500


@pytest.mark.parametrize(
    ("device", "listen_only", "commands", "mode", "silent"),
    [
        (Slcan(), True, ["C", "C", "S6", "L"], "listening", True),
        (Slcan(), False, ["C", "C", "S6", "O"], "open", False),
        (Slcan(mute=True), True, ["C", "C", "S6", "V", "L"], "listening", True),
        (Slcan(mute=True), False, ["C", "C", "S6", "V", "O"], "open", None),
        (Slcan(canable=True), True, ["C", "C", "S6", "V", "M1", "O"], "listening", True),
        (Slcan(canable=True), False, ["C", "C", "S6", "V", "M0", "O"], "open", False),
    ],
)
async def test_each_kind_of_firmware_is_set_up_as_it_understands(
    ports: list[Port],
    tmp_path: Path,
    device: Slcan,
    listen_only: bool,
    commands: list[str],
    mode: str,
    silent: bool | None,
) -> None:
    """Set-up is all that is ever written; a CANable has its own way to keep quiet; closing leaves it closed."""
    port = plugged(ports, tmp_path, device)
    bus = bus_at(port.path, listen_only=listen_only)
    await bus.open()
    await until(lambda: device.commands == commands)
    assert (device.mode, bus.silent) == (mode, silent)
    port.write(LINE)
    assert await bus.receive(1) == [FRAME]
    await bus.close()
    await until(lambda: device.commands == [*commands, "C"])
    assert device.mode == "closed"
    assert bus.errors == 0


@pytest.mark.parametrize(("bitrate", "code"), [(250_000, "5"), (125_000, "4"), (1_000_000, "8")])
async def test_the_bit_rate_is_the_one_that_was_asked_for(
    ports: list[Port], tmp_path: Path, bitrate: int, code: str
) -> None:
    """A node at the wrong rate destroys the frames of the others."""
    device = Slcan()
    bus = bus_at(plugged(ports, tmp_path, device).path, bitrate=bitrate)
    await bus.open()
    assert device.bitrate == code
    assert bus.bitrate == bitrate
    await bus.close()


@pytest.mark.parametrize(
    ("device", "words"),
    [(Slcan(listens=False), "refuses to listen only"), (Slcan(rates="5"), "refuses 500000 bit/s")],
)
async def test_an_adapter_that_refuses_is_not_opened_in_another_way(
    ports: list[Port], tmp_path: Path, device: Slcan, words: str
) -> None:
    """One that cannot be silent must not begin to acknowledge by itself."""
    bus = bus_at(plugged(ports, tmp_path, device).path)
    with pytest.raises(LinkError, match=words) as caught:
        await bus.open()
    assert caught.value.problem is LinkProblem.FAILED
    assert device.mode == "closed"
    assert "O" not in device.commands
    with pytest.raises(LinkError):
        await bus.receive(0.01)


async def test_a_refusal_that_comes_late_is_one(ports: list[Port], tmp_path: Path) -> None:
    """Before anything else has shown that the bus is open; later a BEL means nothing."""
    device = Slcan(mute=True)
    port = plugged(ports, tmp_path, device)
    bus = bus_at(port.path)
    await bus.open()
    port.write(b"\a")
    with pytest.raises(LinkError, match="refuses to listen only"):
        await bus.receive(1)
    await bus.open()
    port.write(LINE + b"\a")
    assert await bus.receive(1) == [FRAME]
    port.write(b"\a" + LINE)
    assert await bus.receive(1) == [FRAME]
    await bus.close()


async def test_a_rate_that_slcan_does_not_have_is_said_without_touching_the_port(tmp_path: Path) -> None:
    """Nothing is opened for it."""
    assert 33_333 not in RATES
    with pytest.raises(LinkError, match="33333"):
        await bus_at(tmp_path / "no-such-port", bitrate=33_333).open()


async def test_an_adapter_that_was_left_open_is_closed_first(ports: list[Port], tmp_path: Path) -> None:
    """It takes a bit rate only then, and its old frames are nobody's."""
    device = Slcan()
    port = plugged(ports, tmp_path, device)
    device.take(b"S5\rO\r")
    assert device.mode == "open"
    port.write(b"76027602\r" + LINE * 20)
    bus = bus_at(port.path)
    await bus.open()
    assert (device.mode, device.bitrate) == ("listening", "6")
    assert bus.errors == 0
    port.write(b"t3560\r")
    assert await bus.receive(1) == [CanFrame(id=0x356, data=b"")]
    await bus.close()


@pytest.mark.parametrize("listen_only", [True, False])
@pytest.mark.parametrize("kind", [{}, {"mute": True}, {"canable": True}], ids=["usual", "mute", "canable"])
async def test_an_adapter_that_was_left_open_in_the_middle_of_a_line_is_closed_first(
    ports: list[Port], tmp_path: Path, kind: dict[str, Any], listen_only: bool
) -> None:
    """What is written first only ends that line; the bit rate of the program before must not stand."""
    device = Slcan(**kind)
    port = plugged(ports, tmp_path, device)
    device.take(b"S5\rO\rt1")
    assert device.mode == "open"
    bus = bus_at(port.path, listen_only=listen_only)
    await bus.open()
    mode = "listening" if listen_only else "open"
    await until(lambda: (device.mode, device.bitrate) == (mode, "6"))
    await bus.close()
    await until(lambda: device.mode == "closed")


async def test_an_opening_that_is_cancelled_leaves_the_adapter_closed(ports: list[Port], tmp_path: Path) -> None:
    """It would go on to acknowledge for nobody."""
    device = Slcan(mute=True)
    port = plugged(ports, tmp_path, device)
    bus = bus_at(port.path, listen_only=False)
    opening = asyncio.create_task(bus.open())
    await until(lambda: device.commands[-1:] == ["O"])
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await until(lambda: device.commands[-1] == "C")
    assert device.mode == "closed"
    await bus.close()


async def test_an_adapter_that_refuses_to_open_is_told_to_close_all_the_same(ports: list[Port], tmp_path: Path) -> None:
    """What it says no to may have been done in part."""
    device = Slcan(listens=False)
    bus = bus_at(plugged(ports, tmp_path, device).path)
    with pytest.raises(LinkError):
        await bus.open()
    await until(lambda: device.commands[-2:] == ["L", "C"])


async def test_an_adapter_that_may_have_been_made_silent_before_is_not_said_to_acknowledge(
    ports: list[Port], tmp_path: Path
) -> None:
    """A CANable keeps M1 until it is told otherwise, and one that does not say what it is is not told."""
    device = _Nameless(canable=True)
    bus = bus_at(plugged(ports, tmp_path, device).path, listen_only=False)
    device.take(b"M1\r")
    await bus.open()
    await until(lambda: device.commands[-1] == "O")
    assert device.mode == "listening"
    assert bus.silent is None
    await bus.close()


async def test_noise_is_counted_and_frames_pass(ports: list[Port], tmp_path: Path) -> None:
    """A wrong bit rate of the port itself, or a bad cable, shows in the count."""
    port = plugged(ports, tmp_path, Slcan())
    bus = bus_at(port.path)
    await bus.open()
    port.write(b"\xff\x80\r" + LINE + b"t35\r" + LINE)
    assert await gather(bus.receive, 2) == [FRAME, FRAME]
    assert bus.errors == 2
    port.write(b"\xff" * 1000 + b"\r")
    assert await bus.receive(0.1) == []
    assert bus.errors == 3
    await bus.close()
    assert bus.errors == 3


async def test_silence_is_not_an_error(ports: list[Port], tmp_path: Path) -> None:
    """A battery may be asleep; receiving ends when its time is over."""
    bus = bus_at(plugged(ports, tmp_path, Slcan()).path)
    await bus.open()
    started = time.monotonic()
    assert await bus.receive(0.1) == []
    assert 0.09 < time.monotonic() - started < 0.5
    await bus.close()


@pytest.mark.parametrize(
    ("where", "problem"),
    [("/dev/does-not-exist", LinkProblem.MISSING), ("/dev/null", LinkProblem.BAD_ADDRESS)],
)
async def test_a_port_that_is_none_says_why(where: str, problem: LinkProblem) -> None:
    """As a serial line does."""
    with pytest.raises(LinkError) as caught:
        await bus_at(where).open()
    assert caught.value.problem is problem


async def test_frames_come_over_a_tcp_bridge_that_may_lose_power(
    monkeypatch: pytest.MonkeyPatch, socket_enabled: None
) -> None:
    """A connection that says nothing for a minute is made anew, because nothing else tells that the far end is gone."""
    device = Slcan()
    gateway = Gateway(device)
    bus = bus_at(f"socket://127.0.0.1:{await gateway.start()}")
    await bus.open()
    assert device.mode == "listening"
    gateway.write(LINE[:9])
    gateway.write(LINE[9:])
    assert await bus.receive(1) == [FRAME]
    monkeypatch.setattr(slcan, "_SILENCE", 0.1)
    assert await bus.receive(0.3) == []
    await bus.receive(0.3)
    assert gateway.connected >= 2
    gateway.write(LINE)
    assert await bus.receive(1) == [FRAME]
    await gateway.stop()
    with pytest.raises(LinkError):
        await gather(bus.receive, 1)
    with pytest.raises(LinkError) as caught:
        await bus.open()
    assert caught.value.problem is LinkProblem.UNREACHABLE


async def test_an_adapter_is_unplugged_and_replugged_ten_times(
    ports: list[Port], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Recovered each time, told once each time, nothing left behind, and next to no time used while it is away."""
    told: Any = Told()  # of the link, which is all that a line tells of
    device = Slcan()
    port = plugged(ports, tmp_path, device)
    bus = bus_at(port.path)
    line = Line(bus, SystemClock(), told, forget=lambda _: None, longest=0.05)
    await line.open()
    before: int | None = None
    async with Heartbeat() as heart:
        for number in range(10):
            port.write(LINE)
            assert await bus.receive(1) == [FRAME]
            port.unplug()
            with pytest.raises(LinkError) as caught:
                await bus.receive(10)
            await line.lose(caught.value)
            opening = asyncio.create_task(line.open())
            await asyncio.sleep(0.1)
            if before is None:
                before = descriptors()  # without the port, and with the executor's threads warm
            port.plug()
            await opening
            assert device.mode == "listening", number
    assert told.changes == [None] + [LinkProblem.LOST, None] * 10
    port.unplug()
    with pytest.raises(LinkError) as caught:
        await bus.receive(10)
    await line.lose(caught.value)

    line = Line(bus, SystemClock(), told, forget=lambda _: None)
    opening = asyncio.create_task(line.open())
    used, began = time.process_time(), time.monotonic()
    await asyncio.sleep(4)
    share = (time.process_time() - used) / (time.monotonic() - began)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await until(lambda: len(asyncio.all_tasks()) == 1)
    with capsys.disabled():
        print(  # noqa: T201
            f"\nslcan unplugged: {share:.2%} of a core, "
            f"loop held up {heart.longest(but=3) * 1000:.1f} ms at most but thrice"
        )
    assert share < 0.02
    assert heart.longest(but=3) < 0.05
    assert descriptors() == before


async def test_a_cancelled_opening_leaves_nothing_behind(ports: list[Port], tmp_path: Path) -> None:
    """A flow that is closed while it opens a bus."""
    port = plugged(ports, tmp_path, Slcan(mute=True))
    bus = bus_at(port.path)
    await bus.open()
    await bus.close()
    before = descriptors()
    for wait in (0.0, 0.01, 0.05, 0.15):
        opening = asyncio.create_task(bus.open())
        await asyncio.sleep(wait)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await until(lambda: descriptors() == before)
    await bus.open()
    port.write(LINE)
    assert await bus.receive(1) == [FRAME]
    await bus.close()


def test_a_bus_is_named_after_its_line() -> None:
    """So that it reads as it was typed."""
    bus = bus_at("/dev/ttyACM0")
    assert isinstance(bus, SlcanBus)
    assert bus.name == "slcan:/dev/ttyACM0"
