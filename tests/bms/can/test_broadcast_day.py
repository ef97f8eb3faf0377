"""A day of every family on the test clock: what is told is on time to the last, right, and memory stays flat."""

import asyncio
from collections.abc import Sequence
import gc
import sys
import tracemalloc
from typing import Any

import pytest

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.clients.broadcast import INTERVAL, BroadcastClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.errors import LinkError
from custom_components.lfp_battery.bms.model import BankState, CycleReport, PackState, PollReport
from custom_components.lfp_battery.bms.protocols.can import CAN
from tests.simulator.bank import SimBank
from tests.simulator.can.families import SETS, make_speaker
from tests.simulator.can.inverter import usual_inverter
from tests.simulator.can.speaker import Node

_HOUR, _DAY = 3600.0, 86400.0
# So many seconds of a simulated battery are what a day is made of, over and over: to simulate all of it takes longer
# than to listen to it.
_STRETCH = 120
# More than this much that a client keeps in the course of 23 hours is a leak, in bytes.
_FLAT = 4096
_BURST = 0.25  # s


class _Tape:
    """A bus that carries a stretch of simulated traffic again and again; implements `CanTransport`."""

    name, bitrate, silent, errors = "tape", 500_000, True, 0

    def __init__(self, clock: DrivenClock, *nodes: Node) -> None:
        """Record from now on."""
        self._clock = clock
        self._bursts: list[tuple[float, list[CanFrame]]] = []
        self._place = 0
        self._round = 0
        self.carried = 0
        begun: float | None = None
        for node in nodes:
            node.start(0.0)
        while (when := min(node.next() for node in nodes)) < _STRETCH:
            said = min(nodes, key=lambda node: node.next()).take()
            for node in nodes:
                if said is not None and said.frame.id in node.hears:
                    node.hear(said.frame, when)
            if said is None:
                continue
            if begun is None or when - begun >= _BURST:
                begun = when
                self._bursts.append((when + _BURST, []))
            self._bursts[-1][1].append(said.frame)

    async def open(self) -> None:
        """See `CanTransport`."""

    async def close(self) -> None:
        """See `CanTransport`."""

    async def receive(self, timeout: float) -> Sequence[CanFrame]:
        """See `CanTransport`."""
        when, frames = self._bursts[self._place]
        left = self._round * _STRETCH + when - self._clock.monotonic()
        if left > timeout:
            await self._clock.sleep(timeout)
            return ()
        await self._clock.sleep(left)
        self._place += 1
        if self._place == len(self._bursts):
            self._place, self._round = 0, self._round + 1
        self.carried += len(frames)
        return frames


class _Watch:
    """A listener that keeps nothing but the last, and how far from its time each report came."""

    def __init__(self, clock: DrivenClock) -> None:
        self.clock = clock
        self.first: float | None = None
        self.reports = self.cycles = self.packs = 0
        self.drift = 0.0
        self.report: PollReport[BankState] | None = None
        self.others: list[object] = []

    def bank_polled(self, report: PollReport[BankState]) -> None:
        """See `ClientListener`."""
        now = self.clock.monotonic()
        if self.first is None:
            self.first = now
        self.drift = max(self.drift, abs(now - self.first - self.reports * INTERVAL))
        self.reports += 1
        self.report = report
        assert report.online
        assert not report.held_back

    def pack_polled(self, report: PollReport[PackState]) -> None:
        """See `ClientListener`."""
        assert report.online
        self.packs += 1

    def cycle_finished(self, report: CycleReport) -> None:
        """See `ClientListener`."""
        self.cycles += 1

    def link_changed(self, error: LinkError | None) -> None:
        """See `ClientListener`."""
        if error is not None:
            self.others.append(error)

    def other_master(self, protocol: str | None = None) -> None:
        """See `ClientListener`."""
        self.others.append(protocol)

    def family_changed(self, name: str) -> None:
        """See `ClientListener`."""
        self.others.append(name)

    def unacknowledged(self, active: bool) -> None:
        """See `ClientListener`."""
        self.others.append(active)


def _size(thing: object, seen: set[int]) -> int:
    """Bytes of everything that hangs on an object, but for classes, functions and modules."""
    todo, total = [thing], 0
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type) or callable(one) or type(one).__name__ == "module":
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        todo += gc.get_referents(one)
    return total


def _kept(client: BroadcastClient) -> int:
    """Bytes that a client keeps itself."""
    names = ("_frames", "_bank", "_packs", "_watch", "_held", "_alarmed", "_relieved")
    seen: set[int] = {id(value) for value in vars(client).values() if value is client._family}
    return sum(_size(getattr(client, name), seen) for name in names)


def _tape(name: str, clock: DrivenClock) -> _Tape:
    bank = SimBank(2, clock, start_hour=2.0)
    nodes: list[Any] = [make_speaker(name, bank)]
    if SETS[name].answers:
        nodes.append(usual_inverter(SETS[name].family))
    return _Tape(clock, *nodes)


async def _listen(name: str, seconds: Sequence[float]) -> tuple[_Tape, _Watch, BroadcastClient, list[int]]:
    """Let a client listen, and say what it keeps after each of these times."""
    clock = DrivenClock()
    tape, watch = _tape(name, clock), _Watch(clock)
    client = BroadcastClient(tape, CAN[SETS[name].family], clock=clock, listener=watch)
    task = asyncio.create_task(client.run())
    kept = []
    for until in seconds:
        await clock.advance(until - clock.monotonic())
        kept.append(_kept(client))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return tape, watch, client, kept


@pytest.fixture(autouse=True)
async def _quick_loop() -> None:
    """The kit's event loop looks over every call's shoulder, which makes a day take ten times as long."""
    asyncio.get_running_loop().set_debug(False)


@pytest.mark.parametrize("name", sorted({one.family for one in SETS.values()}))
async def test_a_day_of_a_family_is_told_on_time_and_costs_no_memory(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """17 thousand reports, each when it is due, nothing else said, and no more kept after a day than after an hour."""
    tape, watch, client, (hour, day) = await _listen(name, (_HOUR, _DAY))
    with capsys.disabled():
        print(f" {name}: {tape.carried} frames, {watch.reports} reports, {hour} bytes, a day later {day - hour:+}")  # noqa: T201
    assert watch.first is not None
    assert watch.reports == watch.cycles == int((_DAY - watch.first) / INTERVAL) + 1
    assert watch.drift < 1e-6
    assert not watch.others
    shown: Any = client.diagnostics()
    assert shown["frames_received"] == tape.carried
    assert shown["errors"] == 0
    assert shown["opened"] == 1
    assert watch.report is not None
    assert watch.report.counters.answered > 0.5 * tape.carried / (1 + len(client._packs))
    assert day - hour < _FLAT


async def test_a_day_of_the_busiest_family_leaves_nothing_behind_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """By the interpreter's own count of what was allocated and not given back, of anything at all."""
    clock = DrivenClock()
    tape, watch = _tape("deye_pcs", clock), _Watch(clock)
    client = BroadcastClient(tape, CAN["deye_pcs"], clock=clock, listener=watch)
    task = asyncio.create_task(client.run())
    await clock.advance(_HOUR)
    gc.collect()
    tracemalloc.start()
    try:
        await clock.advance(300)  # what comes and goes has its size now
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        await clock.advance(_DAY - _HOUR - 300)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    with capsys.disabled():
        print(f" deye_pcs: {before} bytes traced, 23 hours later {after - before:+}")  # noqa: T201
    assert after - before < 16_384
