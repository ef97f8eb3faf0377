"""How often a pack is called that does not take the connection: each call keeps a radio from whatever else needs it."""

import asyncio
from collections.abc import AsyncIterator
from typing import override

import pytest

from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.protocols import POLLED
from tests.bms.rig import Told
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.line import MemoryLine
from tests.simulator.zeta import VLRV, ZetaSpeaker

from .client_rig import BAUDRATE, Radio

ATTEMPT = 30.0  # s until a connection that is not taken is given up
HOUR = 3600.0


class Called(MemoryLine):
    """Takes its time to fail, as a radio does, and keeps a record."""

    def __init__(self, clock: DrivenClock) -> None:
        """A pack that answers, once it is connected to."""
        bus = Radio(ZetaSpeaker(SimBank(make_packs(1, VLRV, first=1), clock)), clock, baudrate=BAUDRATE, turnaround=0.1)
        super().__init__(bus.port, BAUDRATE)
        self.clock = clock
        self.bus = bus
        self.began: list[float] = []
        self.ended: list[float] = []
        self.problem: LinkProblem | None = None

    @override
    async def open(self) -> None:
        """See `MemoryLine`."""
        self.began.append(self.clock.monotonic())
        try:
            if self.problem is LinkProblem.UNREACHABLE:
                await self.clock.sleep(ATTEMPT)
            if self.problem is not None:
                raise LinkError(self.problem)
            await super().open()
        finally:
            self.ended.append(self.clock.monotonic())

    @property
    def waits(self) -> list[float]:
        """Seconds from the end of each call to the next."""
        return [round(later - sooner, 3) for sooner, later in zip(self.ended, self.began[1:], strict=False)]

    @property
    def busy(self) -> float:
        """Seconds that the radio was kept, of calls that have ended."""
        return sum(ended - began for began, ended in zip(self.began, self.ended, strict=False))


class Caller:
    """A client that wants to read the pack."""

    def __init__(self, protocol: str = "zeta-1006", *, release: bool = False) -> None:
        """It runs from `start` on."""
        self.clock = DrivenClock()
        self.line = Called(self.clock)
        self.told = Told(self.clock)
        self.client = PolledClient(
            self.line, POLLED[protocol], clock=self.clock, listener=self.told, addresses=[1], release=release
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self, problem: LinkProblem | None, seconds: float) -> Caller:
        """Run for so long with a pack that cannot be had for this reason."""
        self.line.problem = problem
        self._task = asyncio.create_task(self.client.run())
        await self.clock.advance(seconds)
        return self

    async def stop(self) -> None:
        """Unload it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def caller(request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    """One that is stopped in the end."""
    caller = Caller(**getattr(request, "param", {}))
    yield caller
    await caller.stop()


@pytest.mark.parametrize("problem", [LinkProblem.UNREACHABLE, LinkProblem.FOREIGN])
async def test_a_pack_that_takes_no_connection_is_called_ever_less_often(caller: Caller, problem: LinkProblem) -> None:
    """76 % of an hour was spent in calls before, which a proxy then has not for anything else."""
    await caller.start(problem, HOUR)
    assert caller.line.waits[:7] == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert caller.line.busy / HOUR <= 0.15
    assert [error.problem if error else None for _, error in caller.told.links] == [problem]


@pytest.mark.parametrize("problem", [LinkProblem.NO_SLOT, LinkProblem.MISSING])
async def test_a_pack_that_is_not_heard_and_a_slot_that_is_not_free_are_asked_for_all_the_time(
    caller: Caller, problem: LinkProblem
) -> None:
    """That costs nothing, and whoever comes home is there within ten seconds."""
    await caller.start(problem, 600.0)
    assert caller.line.waits[:5] == [0.5, 1.0, 2.0, 5.0, 10.0]
    assert set(caller.line.waits[5:]) == {10.0}


@pytest.mark.parametrize("caller", [{"protocol": "pylon-rs485"}], indirect=True)
async def test_over_a_cable_nothing_is_spared(caller: Caller) -> None:
    """A gateway that cannot be reached is called every ten seconds, as ever: nobody else needs it."""
    await caller.start(LinkProblem.UNREACHABLE, HOUR)
    assert set(caller.line.waits[5:]) == {10.0}


async def test_a_pack_that_was_had_again_is_called_as_at_first(caller: Caller) -> None:
    """Whatever happened before; and one that is back within seconds, because it restarted, is had within seconds."""
    await caller.start(LinkProblem.UNREACHABLE, 600.0)
    caller.line.problem = None
    await caller.clock.advance(300.0)
    assert caller.told.last(1).online
    caller.line.problem = LinkProblem.FOREIGN
    known = len(caller.line.began)
    caller.line.bus.unplug()
    caller.line.bus.replug()
    await caller.clock.advance(3.0)
    assert caller.line.waits[known : known + 2] == [0.5, 1.0]
    caller.line.problem = None
    await caller.clock.advance(6.0)
    assert caller.told.links[-1][1] is None
    caller.line.problem = LinkProblem.UNREACHABLE
    known = len(caller.line.began)
    caller.line.bus.unplug()
    caller.line.bus.replug()
    await caller.clock.advance(200.0)
    assert caller.line.waits[known : known + 3] == [10.0, 20.0, 40.0]


async def test_a_person_who_asks_need_not_wait_for_minutes(caller: Caller) -> None:
    """Nor can whoever asks again and again have it called all the time."""
    await caller.start(LinkProblem.UNREACHABLE, HOUR)
    while caller.clock.monotonic() - caller.line.ended[-1] < 60.0 or len(caller.line.began) > len(caller.line.ended):
        await caller.clock.advance(1.0)
    known = len(caller.line.began)
    with pytest.raises(LinkError):
        await caller.client.read(1)
    await caller.clock.advance(0.5)
    assert len(caller.line.began) == known + 1
    await caller.clock.advance(ATTEMPT)
    for _ in range(100):
        with pytest.raises(LinkError):
            await caller.client.read(1)
        await caller.clock.advance(1.0)
    assert set(caller.line.waits[known:]) == {10.0}
    await caller.clock.advance(200.0)
    later = caller.line.waits[known:]
    assert later[later.index(20.0) :][:2] == [20.0, 40.0]


async def test_a_pause_that_ends_calls_the_pack_at_once(caller: Caller) -> None:
    """Whoever closed the phone app wants to see the pack again."""
    await caller.start(LinkProblem.UNREACHABLE, HOUR)
    caller.client.set_paused(True)
    await caller.clock.advance(5.0)
    known = len(caller.line.began)
    caller.line.problem = None
    caller.client.set_paused(False)
    await caller.clock.advance(1.0)
    assert len(caller.line.began) == known + 1
    assert caller.told.links[-1][1] is None


@pytest.mark.parametrize("caller", [{"release": True}], indirect=True)
async def test_a_pack_that_is_called_for_each_reading_is_spared_in_the_same_way(caller: Caller) -> None:
    """Where the connection is not held, it is had anew every ten seconds; while it cannot be, ever less often."""
    await caller.start(None, 60.0)
    assert len(caller.line.began) >= 5
    caller.line.problem = LinkProblem.UNREACHABLE
    known = len(caller.line.began)
    await caller.clock.advance(HOUR)
    assert caller.line.waits[known : known + 4] == [10.0, 20.0, 40.0, 80.0]
    assert caller.line.waits[-1] == 300.0
    caller.line.problem = None
    await caller.clock.advance(400.0)
    assert caller.told.last(1).online
