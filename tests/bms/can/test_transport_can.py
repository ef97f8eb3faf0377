"""Buses of python-can, in memory and failing in every way: frames, failures with a name, and that nothing is sent."""

import ast
import asyncio
import errno
from pathlib import Path
import socket
import sys
import threading
import time
from typing import Any, override
import warnings

import can
import pytest

import custom_components.lfp_battery
from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame
from custom_components.lfp_battery.bms.clock import DrivenClock, SystemClock
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.transports import CanTransport, can as subject
from custom_components.lfp_battery.bms.transports.can import open_bus
from custom_components.lfp_battery.bms.transports.can_address import parse_can_address

from .adapters import Heartbeat, gather, until
from .real_bus import FRAME, bus_at, message, readers

pytestmark = pytest.mark.usefixtures("no_thread_left")


@pytest.fixture
def battery() -> Any:
    """Another node on a virtual bus."""
    bus = can.Bus(interface="virtual", channel="test", ignore_config=True)
    yield bus
    bus.shutdown()


async def test_frames_come_in_order_and_only_data_frames(battery: can.BusABC) -> None:
    """Remote frames are dropped, error frames counted, frames of CAN FD are nobody's; the width stays known."""
    bus = bus_at("virtual:test")
    await bus.open()
    battery.send(message())
    battery.send(message(is_remote_frame=True, data=b"", dlc=8))
    battery.send(message(is_error_frame=True))
    battery.send(message(0x351, b"\x01", is_extended_id=True))
    battery.send(message(data=bytes(12), is_fd=True))
    battery.send(message(0x305, b""))
    assert await gather(bus.receive, 3) == [
        FRAME,
        CanFrame(id=0x351 | EXTENDED, data=b"\x01"),
        CanFrame(id=0x305, data=b""),
    ]
    assert bus.errors == 1
    await bus.close()
    assert bus.errors == 1


async def test_data_is_cut_to_the_length_that_was_sent() -> None:
    """A CANalyst-II always hands over eight bytes (can.md section 10.2)."""
    bus = bus_at("virtual:test")
    await bus.open()
    raw = message(data=b"\x01\x02")
    raw.data = bytearray(8)
    with can.Bus(interface="virtual", channel="test", ignore_config=True) as other:
        other.send(raw)
        (frame,) = await gather(bus.receive, 1)
    assert frame.data == b"\x00\x00"
    await bus.close()


async def test_waiting_ends_with_the_time_with_a_frame_or_with_closing(battery: can.BusABC) -> None:
    """And never holds the loop up, whatever python-can does in its thread."""
    async with Heartbeat() as heart:
        bus = bus_at("virtual:test")
        await bus.open()
        started = time.monotonic()
        assert await bus.receive(0.1) == []
        assert 0.09 < time.monotonic() - started < 0.5
        asyncio.get_running_loop().call_later(0.05, battery.send, message())
        started = time.monotonic()
        assert await bus.receive(5) == [FRAME]
        assert time.monotonic() - started < 0.5
        started = time.monotonic()
        await bus.close()
        assert time.monotonic() - started < 0.5
    assert heart.longest(but=1) < 0.05
    with pytest.raises(LinkError):
        await bus.receive(1)
    await bus.close()


async def test_a_bus_may_be_opened_again_and_again(battery: can.BusABC) -> None:
    """Nothing of the time before is heard, and no thread stays."""
    bus = bus_at("virtual:test")
    for _ in range(3):
        await bus.open()
        battery.send(message())
        await asyncio.sleep(0.02)
        await bus.open()  # also without closing
        assert len(readers()) == 1
        assert await bus.receive(0.02) == []
        await bus.close()
        assert readers() == []


async def test_a_flood_is_bounded_while_nobody_reads(monkeypatch: pytest.MonkeyPatch, battery: can.BusABC) -> None:
    """A frame that nobody acknowledges comes two thousand times a second; the newest are kept."""
    monkeypatch.setattr(subject, "_QUEUE", 100)
    bus = bus_at("virtual:test")
    await bus.open()
    for number in range(500):
        battery.send(message(0x100 + number, b""))
    await asyncio.sleep(0.3)
    frames = await bus.receive(1)
    assert [frame.id for frame in frames] == list(range(0x100 + 400, 0x100 + 500))
    await bus.close()


async def test_the_test_clock_need_not_move_for_frames_to_pass(battery: can.BusABC) -> None:
    """Frames come from a thread; only waiting is on the clock."""
    clock = DrivenClock()
    bus = bus_at("virtual:test", clock=clock)
    await bus.open()
    battery.send(message())
    assert await asyncio.wait_for(bus.receive(60), 2) == [FRAME]
    waiting = asyncio.create_task(bus.receive(60))
    await clock.advance(61)
    assert await waiting == []
    await bus.close()


def test_a_loop_that_is_gone_does_not_hurt_the_thread(battery: can.BusABC) -> None:
    """Home Assistant may stop without closing a bus; the thread must not print a traceback then."""
    caught: list[Any] = []
    hook, threading.excepthook = threading.excepthook, caught.append

    async def leave() -> CanTransport:
        bus = bus_at("virtual:test")
        await bus.open()
        return bus

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bus = asyncio.run(leave())
        (thread,) = readers()
        battery.send(message())
        time.sleep(0.2)
        assert thread.is_alive()
        bus._reader.stop()  # type: ignore[attr-defined]  # what reads for every bus of python-can
        thread.join(2)
        assert not thread.is_alive()
    finally:
        threading.excepthook = hook
    assert caught == []


@pytest.mark.skipif(hasattr(socket, "AF_CAN") and Path("/proc/net/can").exists(), reason="this kernel has CAN")
async def test_a_kernel_without_can_has_no_such_interface(socket_enabled: None) -> None:
    """Nothing that could be installed would help, so it is not called a missing driver."""
    with pytest.raises(LinkError) as caught:
        await bus_at("can0").open()
    assert caught.value.problem is LinkProblem.MISSING


class _Failing(can.BusABC):
    """A bus whose reads do what the test says."""

    def __init__(self, failures: list[Exception | can.Message | None]) -> None:
        self.failures = failures
        self.shut = 0
        super().__init__(channel="x")

    @override
    def recv(self, timeout: float | None = None) -> can.Message | None:
        if self.failures:
            found = self.failures.pop(0)
            if isinstance(found, Exception):
                raise found
            return found
        time.sleep(timeout or 0)
        return None

    @override
    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        raise AssertionError("nothing is sent")

    @override
    def shutdown(self) -> None:
        self.shut += 1
        super().shutdown()
        raise can.CanOperationError("as slcan's does when its port is gone")


def made_of(monkeypatch: pytest.MonkeyPatch, result: can.BusABC | Exception) -> None:
    """Let python-can hand out this in place of hardware that no test machine has."""

    def make(**_: object) -> can.BusABC:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(can, "Bus", make)


@pytest.mark.parametrize(
    ("text", "failure", "problem"),
    [
        ("can0", OSError(errno.ENODEV, "No such device"), LinkProblem.MISSING),
        ("can0", OSError(errno.EAFNOSUPPORT, "Address family not supported"), LinkProblem.MISSING),
        ("can0", can.CanOperationError("Error receiving", errno.ENETDOWN), LinkProblem.DOWN),
        ("can0", OSError(errno.EPERM, ""), LinkProblem.PERMISSION),
        ("seeedstudio:/dev/x", can.CanInterfaceNotImplementedError("no serial module"), LinkProblem.DRIVER),
        ("seeedstudio:/dev/x", OSError(errno.EACCES, ""), LinkProblem.PERMISSION),
        ("seeedstudio:/dev/x", OSError(errno.EAGAIN, ""), LinkProblem.BUSY),
        ("gs_usb:0", ImportError("no gs_usb"), LinkProblem.DRIVER),
        ("gs_usb:0", type("NoBackendError", (ValueError,), {})("no libusb"), LinkProblem.DRIVER),
        ("gs_usb:0", can.CanInitializationError("Cannot find device 0"), LinkProblem.MISSING),
        ("gs_usb:0", OSError(errno.EBUSY, "Resource busy"), LinkProblem.BUSY),
        ("canalystii:0", ValueError("no device"), LinkProblem.MISSING),
        ("udp_multicast:239.74.163.2", can.CanInitializationError("no network"), LinkProblem.UNREACHABLE),
        ("virtual:x", can.CanTimeoutError(), LinkProblem.UNREACHABLE),
        ("virtual:x", ValueError("odd"), LinkProblem.FAILED),
        ("virtual:x", RuntimeError("odd"), LinkProblem.FAILED),
    ],
)
async def test_each_failure_to_open_has_a_name(
    monkeypatch: pytest.MonkeyPatch, text: str, failure: Exception, problem: LinkProblem
) -> None:
    """Whatever type an interface raises."""
    made_of(monkeypatch, failure)
    with pytest.raises(LinkError) as caught:
        await bus_at(text, listen_only=not text.startswith(("gs_usb", "canalystii"))).open()
    assert caught.value.problem is problem


async def test_libraries_that_are_not_installed_are_said_to_be_missing() -> None:
    """These two are not in Home Assistant's image; elsewhere they may be."""
    for name, module in (("gs_usb", "gs_usb"), ("canalystii", "canalystii")):
        if module in sys.modules:
            continue
        with pytest.raises(LinkError) as caught:
            await bus_at(f"{name}:0", listen_only=False).open()
        assert caught.value.problem in {LinkProblem.DRIVER, LinkProblem.MISSING}


@pytest.mark.parametrize("text", ["gs_usb:0", "canalystii:1"])
async def test_an_adapter_that_always_acknowledges_is_not_opened_to_listen(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """It would take part in a bus on which it was to be silent; who wants that has to say so."""
    bus = _Failing([message()])
    made_of(monkeypatch, bus)
    with pytest.raises(LinkError, match="cannot listen without acknowledging") as caught:
        await bus_at(text).open()
    assert caught.value.problem is LinkProblem.FAILED
    assert len(bus.failures) == 1
    transport = bus_at(text, listen_only=False)
    await transport.open()
    assert transport.silent is False
    assert await transport.receive(1) == [FRAME]
    await transport.close()


@pytest.mark.parametrize(
    ("text", "listen_only"), [("gs_usb:0", False), ("canalystii:0", False), ("seeedstudio:/dev/x", True)]
)
async def test_an_adapter_that_may_acknowledge_is_not_opened_at_a_bit_rate_that_nobody_named(
    monkeypatch: pytest.MonkeyPatch, text: str, listen_only: bool
) -> None:
    """At a wrong one it destroys the frames of others; those that have no say in it need none."""
    made_of(monkeypatch, _Failing([]))
    transport = open_bus(parse_can_address(text), bitrate=None, listen_only=listen_only, clock=SystemClock())
    assert transport.bitrate is None
    with pytest.raises(LinkError, match="bit rate") as caught:
        await transport.open()
    assert caught.value.problem is LinkProblem.FAILED
    silent = open_bus(parse_can_address("virtual:x"), bitrate=None, listen_only=True, clock=SystemClock())
    await silent.open()
    await silent.close()


async def test_a_link_that_is_down_says_so_when_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be bound to; the first read fails, and every later one would wait for ever."""
    bus = _Failing([can.CanOperationError("Error receiving: Network is down", errno.ENETDOWN)])
    made_of(monkeypatch, bus)
    transport = bus_at("can0")
    with pytest.raises(LinkError) as caught:
        await transport.open()
    assert caught.value.problem is LinkProblem.DOWN
    assert bus.shut == 1


@pytest.mark.parametrize(
    ("number", "problem"),
    [(errno.ENETDOWN, LinkProblem.DOWN), (errno.ENODEV, LinkProblem.MISSING), (errno.EIO, LinkProblem.LOST)],
)
async def test_a_bus_that_fails_is_shut_once_and_says_why(
    monkeypatch: pytest.MonkeyPatch, number: int, problem: LinkProblem
) -> None:
    """What has been received before is still handed over."""
    bus = _Failing([None, message(), can.CanOperationError("Error receiving", number)])
    made_of(monkeypatch, bus)
    transport = bus_at("can0")
    await transport.open()
    assert await transport.receive(1) == [FRAME]
    with pytest.raises(LinkError) as caught:
        await transport.receive(10)
    assert caught.value.problem is problem
    assert bus.shut == 1
    assert readers() == []


async def test_malformed_frames_are_counted_and_endless_ones_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some interfaces raise for a frame that is cut off; one that raises for ever must not be asked for ever."""
    monkeypatch.setattr(subject, "_ERROR_PAUSE", 0.001)
    bus = _Failing([ValueError("odd"), TypeError("odd"), message(), *[ValueError("odd")] * 100])
    made_of(monkeypatch, bus)
    transport = bus_at("virtual:x")
    await transport.open()
    assert await transport.receive(2) == [FRAME]
    with pytest.raises(LinkError) as caught:
        await transport.receive(10)
    assert caught.value.problem is LinkProblem.LOST
    assert transport.errors == 2 + 21


async def test_a_driver_that_hangs_is_left_alone_and_not_piled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread a bus at most, and it closes what it opened when it comes back at last."""
    monkeypatch.setattr(subject, "_OPEN_TIMEOUT", 0.05)
    monkeypatch.setattr(subject, "_CLOSE_TIMEOUT", 0.05)
    let_go = threading.Event()
    bus = _Failing([])

    def make(**_: object) -> can.BusABC:
        let_go.wait(5)
        return bus

    monkeypatch.setattr(can, "Bus", make)
    transport = bus_at("virtual:x")
    problems = []
    for _ in range(3):
        with pytest.raises(LinkError) as caught:
            await transport.open()
        problems.append(caught.value.problem)
    assert problems == [LinkProblem.UNREACHABLE, LinkProblem.BUSY, LinkProblem.BUSY]
    assert len(readers()) == 1
    let_go.set()
    await until(lambda: readers() == [])
    assert bus.shut == 1
    monkeypatch.setattr(subject, "_CLOSE_TIMEOUT", 3.0)
    await transport.open()
    await transport.close()


async def test_a_cancelled_opening_closes_what_it_opens() -> None:
    """A flow that is closed while it opens a bus."""
    bus = bus_at("virtual:cancelled")
    opening = asyncio.create_task(bus.open())
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await bus.close()
    assert readers() == []


async def test_a_bus_that_waits_costs_next_to_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A battery asleep at night."""
    bus = bus_at("virtual:test")
    await bus.open()
    used, began = time.process_time(), time.monotonic()
    waiting = asyncio.create_task(bus.receive(60))
    await asyncio.sleep(2)
    share = (time.process_time() - used) / (time.monotonic() - began)
    waiting.cancel()
    await bus.close()
    with capsys.disabled():
        print(f"\na silent bus: {share:.2%} of a core")  # noqa: T201
    assert share < 0.02


async def test_no_bus_of_ours_ever_sends(monkeypatch: pytest.MonkeyPatch, battery: can.BusABC) -> None:
    """Counted at the class that all of python-can's interfaces have in common, and by a node that hears everything."""
    sent: list[object] = []
    for kind in (type(battery), can.BusABC):
        original = kind.send

        def count(self: can.BusABC, msg: can.Message, timeout: float | None = None, original: Any = original) -> None:
            if self is not battery:
                sent.append(msg)
            original(self, msg, timeout)

        monkeypatch.setattr(kind, "send", count)
    monkeypatch.setattr(can.BusABC, "send_periodic", lambda *_, **__: sent.append("periodic"))
    bus = bus_at("virtual:test")
    for listen_only in (True, False):
        bus = bus_at("virtual:test", listen_only=listen_only)
        await bus.open()
        for number in range(50):
            battery.send(message(0x300 + number))
        await gather(bus.receive, 50)
        await bus.close()
    assert battery.recv(0.05) is None
    assert sent == []


def test_no_code_of_ours_can_send_on_a_bus() -> None:
    """The modules that hold a bus of python-can call no method of it that transmits; no other module loads it."""
    transmitting = {"send", "send_periodic", "flush_tx_buffer", "Notifier", "ThreadSafeBus", "CyclicSendTask"}
    home = Path(custom_components.lfp_battery.__file__).parent
    holders: list[str] = []
    for path in sorted(home.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imports = {
            name
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
        }
        if not any(name == "can" or name.startswith("can.") for name in imports):
            continue
        holders.append(path.name)
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not used & transmitting, path
    assert holders == ["can.py"]
