"""A Seeed analyser on a pseudo terminal: told to be silent, in use by others, unplugged and plugged in again."""

import asyncio
from collections.abc import AsyncIterator
import fcntl
import os
from pathlib import Path
import time
from typing import Any

import pytest

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame
from custom_components.lfp_battery.bms.clients.line import Line
from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem

from .adapters import Heartbeat, Port, Seeed, descriptors, gather, until
from .real_bus import DATA, FRAME, bus_at, readers

pytestmark = pytest.mark.usefixtures("no_thread_left")


@pytest.fixture
async def seeed(tmp_path: Path) -> AsyncIterator[Port]:
    """A Seeed analyser that is plugged in."""
    port = Port(Seeed(), tmp_path / "ttyUSB0")
    port.plug()
    yield port
    port.unplug()


async def test_a_seeed_analyser_is_told_to_be_silent_and_read(seeed: Port) -> None:
    """Frames that are cut off are counted; twenty bytes of set-up are all that is written to it."""
    bus = bus_at(f"seeedstudio:{seeed.path}")
    await bus.open()
    await until(lambda: len(seeed.received) == 20)
    assert seeed.received[:5] == b"\xaa\x55\x12\x03\x01"
    assert seeed.received[13] == 2
    frame = Seeed.frame(0x351, DATA)
    seeed.write(frame + Seeed.frame(0x351, b"\x01", extended=True) + b"\x00\x13" + frame)
    assert await gather(bus.receive, 3) == [FRAME, CanFrame(id=0x351 | EXTENDED, data=b"\x01"), FRAME]
    seeed.write(frame[:3])
    await until(lambda: bus.errors > 0)
    seeed.write(frame)
    assert await gather(bus.receive, 1) == [FRAME]
    await bus.close()
    assert len(seeed.received) == 20
    bus = bus_at(f"seeedstudio:{seeed.path}", listen_only=False)
    await bus.open()
    await until(lambda: len(seeed.received) == 40)
    assert seeed.received[33] == 0
    await bus.close()


async def test_a_seeed_analyser_in_use_is_busy(seeed: Port) -> None:
    """Two readers would each get half of the frames."""
    first, second = bus_at(f"seeedstudio:{seeed.path}"), bus_at(f"seeedstudio:{seeed.path}")
    await first.open()
    with pytest.raises(LinkError) as caught:
        await second.open()
    assert caught.value.problem is LinkProblem.BUSY
    await first.close()
    await second.open()
    await second.close()


async def test_nothing_is_written_into_a_port_that_another_program_has_locked(seeed: Port) -> None:
    """That program may be in the middle of something; the port is ours as soon as it has gone."""
    other = os.open(seeed.path, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    bus = bus_at(f"seeedstudio:{seeed.path}")
    with pytest.raises(LinkError) as caught:
        await bus.open()
    assert caught.value.problem is LinkProblem.BUSY
    await asyncio.sleep(0.05)
    assert seeed.received == b""
    os.close(other)
    await bus.open()
    await until(lambda: len(seeed.received) == 20)
    other = os.open(seeed.path, os.O_RDWR | os.O_NOCTTY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    await bus.close()
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


async def test_a_seeed_analyser_is_unplugged_and_replugged_ten_times(
    seeed: Port, capsys: pytest.CaptureFixture[str]
) -> None:
    """python-can hides it; recovered each time, nothing left behind, next to no time used while it is away."""
    changes: list[LinkProblem | None] = []

    class Told:
        def link_changed(self, error: LinkError | None) -> None:
            changes.append(error.problem if error else None)

    told: Any = Told()  # of the link, which is all that a line tells of
    bus = bus_at(f"seeedstudio:{seeed.path}")
    line = Line(bus, SystemClock(), told, forget=lambda _: None, longest=0.05)
    await line.open()
    before: int | None = None
    spent = 0.0
    async with Heartbeat() as heart:
        for _ in range(10):
            await asyncio.sleep(0.02)
            seeed.write(Seeed.frame(0x351, DATA))
            assert await gather(bus.receive, 1) == [FRAME]
            seeed.unplug()
            used = time.process_time()
            with pytest.raises(LinkError) as caught:
                await bus.receive(10)
            spent = max(spent, time.process_time() - used)
            await line.lose(caught.value)
            assert readers() == []
            opening = asyncio.create_task(line.open())
            await asyncio.sleep(0.1)
            before = before or descriptors()
            seeed.plug()
            await opening
    assert changes == [None] + [LinkProblem.LOST, None] * 10
    seeed.unplug()
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
    await bus.close()
    with capsys.disabled():
        print(  # noqa: T201
            f"\nseeedstudio unplugged: {spent:.2f} s of a core until noticed, {share:.2%} of one after that, "
            f"loop held up {heart.longest(but=3) * 1000:.1f} ms at most but thrice"
        )
    assert spent < 0.3
    assert share < 0.02
    assert heart.longest(but=3) < 0.05
    assert descriptors() == before
