"""Buses of python-can over a network: multicast, and a socketcand server that stays, goes, or never was one."""

import asyncio
from collections.abc import AsyncIterator
import socket
import time

import can
import pytest

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.transports import socketcand

from .adapters import Heartbeat, Socketcand, gather, until
from .real_bus import FRAME, bus_at, message

pytestmark = pytest.mark.usefixtures("no_thread_left")


GROUP = "239.74.163.2"


@pytest.fixture
async def server(socket_enabled: None) -> AsyncIterator[Socketcand]:
    """A socketcand server."""
    server = Socketcand()
    await server.start()
    yield server
    await server.stop()


async def test_frames_come_from_another_process_by_multicast(
    socket_enabled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as this machine lets a group be joined."""
    bus = bus_at(f"udp_multicast:{GROUP}:43999")
    try:
        await bus.open()
    except LinkError as err:
        pytest.skip(f"no multicast here: {err}")
    other = can.Bus(interface="udp_multicast", channel=GROUP, port=43999, ignore_config=True)
    try:
        other.send(message())
        try:
            assert await gather(bus.receive, 1, 2) == [FRAME]
        except TimeoutError:
            pytest.skip("multicast is not looped back here")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"\xc1\xff\x00 not a frame", (GROUP, 43999))
        other.send(message(0x355))
        assert [frame.id for frame in await gather(bus.receive, 1, 2)] == [0x355]
        assert bus.errors == 1
    finally:
        other.shutdown()
        await bus.close()


async def test_frames_come_from_a_socketcand_server(server: Socketcand) -> None:
    """Opened in raw mode; errors of the bus are counted."""
    bus = bus_at(f"socketcand:127.0.0.1:{server.port}/can0")
    async with Heartbeat() as heart:
        await bus.open()
        await until(lambda: len(server.raw) == 2)
        server.write("< frame 351 1.0 1402760276029001 >< error 020 1.0 >< frame 18F20001 1.0 01 >")
        assert await gather(bus.receive, 2) == [FRAME, CanFrame(id=0x18F20001 | EXTENDED, data=b"\x01")]
        await bus.close()
    assert bus.errors == 1
    assert heart.longest(but=1) < 0.05
    assert server.said == ["< open can0 >", "< rawmode >"] * 2


@pytest.mark.parametrize(
    ("channel", "silent", "problem"),
    [("can1", False, LinkProblem.MISSING), ("can0", True, LinkProblem.UNREACHABLE)],
)
async def test_a_server_without_the_bus_or_without_a_word_is_refused(
    monkeypatch: pytest.MonkeyPatch, server: Socketcand, channel: str, silent: bool, problem: LinkProblem
) -> None:
    """python-can would wait for ever for the second."""
    monkeypatch.setattr(socketcand, "_TIMEOUT", 0.2)
    server.silent = silent
    with pytest.raises(LinkError) as caught:
        await bus_at(f"socketcand:127.0.0.1:{server.port}/{channel}").open()
    assert caught.value.problem is problem


async def test_where_nobody_listens_costs_nothing(server: Socketcand, capsys: pytest.CaptureFixture[str]) -> None:
    """python-can's own constructor spins for ten seconds there (can.md section 10.2)."""
    await server.stop()
    bus = bus_at(f"socketcand:127.0.0.1:{server.port}/can0")
    used, began = time.process_time(), time.monotonic()
    for _ in range(5):
        with pytest.raises(LinkError) as caught:
            await bus.open()
        assert caught.value.problem is LinkProblem.UNREACHABLE
    assert time.monotonic() - began < 2
    assert time.process_time() - used < 0.5


async def test_a_server_that_goes_is_noticed_and_found_again(
    server: Socketcand, capsys: pytest.CaptureFixture[str]
) -> None:
    """python-can returns nothing then, at once and for ever (can.md section 10.2); the connection itself tells."""
    bus = bus_at(f"socketcand:127.0.0.1:{server.port}/can0")
    await bus.open()
    await until(lambda: len(server.raw) == 2)
    server.write("< frame 351 1.0 1402760276029001 >")
    assert await gather(bus.receive, 1) == [FRAME]
    await server.stop()
    used, began = time.process_time(), time.monotonic()
    with pytest.raises(LinkError) as caught:
        await bus.receive(10)
    took, spent = time.monotonic() - began, time.process_time() - used
    with capsys.disabled():
        print(f"\nsocketcand gone: noticed in {took:.2f} s, with {spent:.2f} s of a core")  # noqa: T201
    assert caught.value.problem is LinkProblem.LOST
    assert took < 5
    assert spent < 0.3
    await server.start()
    await bus.open()
    await until(lambda: len(server.raw) == 2)
    server.write("< frame 351 1.0 1402760276029001 >")
    assert await gather(bus.receive, 1) == [FRAME]
    await bus.close()


async def test_a_server_that_hangs_up_at_once_is_lost_and_not_asked_all_the_time(server: Socketcand) -> None:
    """It answers politely and closes, because its own bus is gone."""
    server.goodbye = True
    bus = bus_at(f"socketcand:127.0.0.1:{server.port}/can0")
    used, began = time.process_time(), time.monotonic()
    for _ in range(2):
        await bus.open()
        with pytest.raises(LinkError) as caught:
            await bus.receive(10)
        assert caught.value.problem is LinkProblem.LOST
    assert time.process_time() - used < 0.5
    assert time.monotonic() - began > 1.9


async def test_a_minute_of_silence_is_looked_into_and_not_told(
    monkeypatch: pytest.MonkeyPatch, server: Socketcand
) -> None:
    """The bus is opened anew: a battery asleep is no loss, a server that is gone is one."""
    monkeypatch.setattr(socketcand, "_TIMEOUT", 0.5)
    clock = DrivenClock()
    bus = bus_at(f"socketcand:127.0.0.1:{server.port}/can0", clock=clock)
    await bus.open()
    await until(lambda: len(server.raw) == 2)
    await clock.advance(59)
    await asyncio.sleep(0.3)
    assert len(server.raw) == 2
    await clock.advance(2)
    await until(lambda: len(server.raw) == 4)
    server.write("< frame 351 1.0 1402760276029001 >")
    assert await bus.receive(1) == [FRAME]
    server.silent = True
    server.raw.clear()
    await clock.advance(61)
    waiting = asyncio.create_task(bus.receive(1000))
    with pytest.raises(LinkError) as caught:
        await asyncio.wait_for(waiting, 8)
    assert caught.value.problem is LinkProblem.UNREACHABLE
