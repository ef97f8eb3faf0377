"""How often a line is opened that goes away again, whoever its client is."""

import asyncio
from itertools import pairwise
from typing import override

import pytest

from custom_components.lfp_battery.bms.clients.broadcast import BroadcastClient
from custom_components.lfp_battery.bms.clients.line import Line
from custom_components.lfp_battery.bms.clock import Clock, DrivenClock
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.protocols.can import CAN
from tests.simulator.bank import SimBank
from tests.simulator.can.bus import SimBus
from tests.simulator.can.families import make_speaker

from .rig import Rig, Told

_TIME = 300.0  # s


class _HangsUp(SimBus):
    """A gateway that takes every connection and ends it after `stays` seconds."""

    def __init__(self, clock: Clock, stays: float) -> None:
        super().__init__(make_speaker("pylon", SimBank(1, clock)), clock=clock, grain=0.02)
        self.stays = stays
        self.tried: list[float] = []

    @override
    async def open(self) -> None:
        self.tried.append(self.clock.monotonic())
        self.replug()
        await super().open()
        self.clock.call_later(self.stays, self.unplug)


async def served(stays: float) -> tuple[_HangsUp, Told]:
    """Some time with such a gateway."""
    clock = DrivenClock()
    bus, told = _HangsUp(clock, stays), Told(clock)
    client = BroadcastClient(bus, CAN["pylon"], clock=clock, listener=told)
    task = asyncio.create_task(client.run())
    await clock.advance(_TIME)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return bus, told


@pytest.mark.parametrize("stays", [0.0, 0.5, 1.5])
async def test_a_line_that_opens_and_is_lost_at_once_is_opened_ever_less_often(stays: float) -> None:
    """As one that does not open at all: measured before, 437 times a second and half of a core."""
    bus, told = await served(stays)
    waits = [later - sooner - stays for sooner, later in pairwise(bus.tried)]
    assert waits[:5] == pytest.approx([0.5, 1.0, 2.0, 5.0, 10.0])
    assert waits[5:] == pytest.approx([10.0] * len(waits[5:]))
    problems = [error.problem if error else None for _, error in told.links]
    assert problems[:4] == [None, LinkProblem.LOST] * 2
    assert len(problems) <= 2 * _TIME / 10 + 10


async def test_a_line_that_stayed_up_for_a_while_is_opened_at_once_when_it_is_lost() -> None:
    """However often that happens."""
    bus, _ = await served(12.0)
    assert [later - sooner for sooner, later in pairwise(bus.tried)] == pytest.approx([12.0] * 25, abs=0.01)


async def test_a_serial_gateway_that_hangs_up_after_every_question_is_not_called_all_the_time() -> None:
    """The client that asks waits in the same way, and the battery is read again when the gateway has recovered."""
    rig = Rig(packs=1)
    hangs_up = True

    def pull() -> None:
        if hangs_up:
            rig.bus.unplug()
            rig.bus.replug()
        rig.clock.call_later(0.2, pull)

    pull()
    await rig.start(120.0)
    opened = rig.client.diagnostics()["opened"]
    assert isinstance(opened, int)
    assert 5 <= opened <= 20
    hangs_up = False
    await rig.clock.advance(25.0)
    assert rig.told.links[-1][1] is None
    assert rig.told.last(2).online
    await rig.stop()


async def test_a_line_that_was_shut_is_opened_at_once_by_whoever_starts_again() -> None:
    """An owner who reloads need not wait for what happened before."""
    clock = DrivenClock()
    line = Line(SimBus(clock=clock), clock, Told(clock), forget=lambda _: None)
    for _ in range(3):
        await line.open()
        await line.lose(LinkError(LinkProblem.LOST))
        await line.shut()
    assert clock.monotonic() == 0.0


async def test_that_somebody_has_to_bring_the_interface_up_is_told_of_a_line_that_is_away_already() -> None:
    """An adapter that was pulled out and put back: its interface is down, and that is said once, and once when it is no longer so."""
    clock = DrivenClock()
    bus = SimBus(make_speaker("pylon", SimBank(1, clock)), clock=clock, grain=0.02)
    told = Told(clock)
    task = asyncio.create_task(BroadcastClient(bus, CAN["pylon"], clock=clock, listener=told).run())
    await clock.advance(20)
    bus.main.refusal = LinkProblem.DOWN
    bus.unplug()
    await clock.advance(1)
    bus.replug()
    await clock.advance(60)
    bus.main.refusal = LinkProblem.MISSING
    await clock.advance(60)
    bus.main.refusal = None
    await clock.advance(20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    problems = [error.problem if error else None for _, error in told.links]
    assert problems == [None, LinkProblem.LOST, LinkProblem.DOWN, LinkProblem.MISSING, None]
