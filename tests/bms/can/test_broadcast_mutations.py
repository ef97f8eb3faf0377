"""A million damaged, foreign and made-up frames: what is told stays what a battery can be, and nothing else happens."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from random import Random
from typing import Any, Final, override

import pytest

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame
from custom_components.lfp_battery.bms.clients.broadcast import BroadcastClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.errors import LinkError
from custom_components.lfp_battery.bms.model import BankState, BatteryState, CycleReport, PackState, PollReport
from custom_components.lfp_battery.bms.protocols.can import CAN
from tests.simulator.bank import SimBank
from tests.simulator.can.families import SETS, make_speaker

_FRAMES = 1_000_000
# Each family is listened to anew after so many, since a bus soon shows the marks of all of them.
_BATCHES, _BATCH = 100, 12
_INTERVAL = 0.5

# can.md section 5, as it stands there; cells in V.
_POSSIBLE: Final[Mapping[str, tuple[float, float]]] = {
    "soc": (0, 100),
    "soh": (0, 100),
    "voltage": (8, 70),
    "current": (-2000, 2000),
    "power": (-140_000, 140_000),
    "charge_voltage_limit": (0, 70),
    **dict.fromkeys(
        (
            "temperature",
            "cell_temperature_min",
            "cell_temperature_max",
            "mosfet_temperature",
            "ambient_temperature",
            "pcb_temperature",
            "heater_temperature",
        ),
        (-60, 120),
    ),
    "cell_voltage_min": (0.5, 5),
    "cell_voltage_max": (0.5, 5),
}
_EACH_POSSIBLE: Final[Mapping[str, tuple[float, float]]] = {"cell_voltages": (0.5, 5), "cell_temperatures": (-60, 120)}

_ALL_IDS: Final = sorted(frozenset[int]().union(*(family.ids for family in CAN.values())))
_WORDS: Final = (b"\x00\x00", b"\xff\xff", b"\xff\x7f", b"\x00\x80", b"\x7f\xff", b"\x80\x00", b"\x01\x00", b"\x00\x01")


def _flip(frame: CanFrame, rng: Random) -> CanFrame:
    if not frame.data:
        return frame
    data = bytearray(frame.data)
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return CanFrame(id=frame.id, data=bytes(data))


def _word(frame: CanFrame, rng: Random) -> CanFrame:
    place = rng.randrange(0, 8, 2)
    return CanFrame(
        id=frame.id, data=(frame.data[:place].ljust(place, b"\0") + rng.choice(_WORDS) + frame.data[place + 2 :])[:8]
    )


_MUTATIONS: Final[Mapping[str, Callable[[CanFrame, Random], CanFrame]]] = {
    "bits": _flip,
    "words": _word,
    "random": lambda frame, rng: CanFrame(id=frame.id, data=rng.randbytes(len(frame.data))),
    "length": lambda frame, rng: CanFrame(id=frame.id, data=(frame.data + rng.randbytes(8))[: rng.randint(0, 8)]),
    "padding": lambda frame, rng: CanFrame(id=frame.id, data=rng.choice((b"\0", b"\xff", b"\xaa", b"A")) * 8),
    "another id": lambda frame, rng: CanFrame(id=rng.choice(_ALL_IDS), data=frame.data),
    "another frame": lambda _, rng: CanFrame(id=rng.choice(_ALL_IDS), data=rng.randbytes(rng.randint(0, 8))),
    "id bits": lambda frame, rng: CanFrame(id=frame.id ^ 1 << rng.randrange(29), data=frame.data),
    "width": lambda frame, _: CanFrame(id=frame.id ^ EXTENDED, data=frame.data),
}


class _Clock(DrivenClock):
    """Moved on by the bus."""

    now = 0.0

    @override
    def monotonic(self) -> float:
        """See `Clock`."""
        return self.now


class _Feed:
    """Hands out batches of frames, each a moment after the last; implements `CanTransport`."""

    name, bitrate, silent, errors = "hostile", 500_000, True, 0

    def __init__(self, clock: _Clock, batches: Sequence[Sequence[CanFrame]]) -> None:
        self._clock = clock
        self._batches = iter(batches)
        self.over = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """See `CanTransport`."""

    async def close(self) -> None:
        """See `CanTransport`."""

    async def receive(self, timeout: float) -> Sequence[CanFrame]:
        """See `CanTransport`."""
        self._clock.now += 0.11
        if (batch := next(self._batches, None)) is not None:
            return batch
        if not self.over.done():
            self.over.set_result(None)
        await asyncio.sleep(3600)
        return ()


class _Judge:
    """A listener that accepts nothing that a battery cannot be."""

    def __init__(self) -> None:
        self.reports = 0
        self.values: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.families = 0

    def _judge(self, state: BatteryState | None, held: Mapping[str, str]) -> None:
        assert state is not None
        self.reports += 1
        self.held.update(held.values())
        for name, (low, high) in _POSSIBLE.items():
            value = getattr(state, name)
            assert value is None or low <= value <= high, f"{name} {value}"
            self.values[name] += value is not None
        for name, (low, high) in _EACH_POSSIBLE.items():
            for value in getattr(state, name) or ():
                assert value is None or low <= value <= high, f"{name} {value}"

    def bank_polled(self, report: PollReport[BankState]) -> None:
        """See `ClientListener`."""
        self._judge(report.state, report.held_back)

    def pack_polled(self, report: PollReport[PackState]) -> None:
        """See `ClientListener`."""
        assert 1 <= report.address <= 16
        self._judge(report.state, report.held_back)

    def cycle_finished(self, report: CycleReport) -> None:
        """See `ClientListener`."""

    def link_changed(self, error: LinkError | None) -> None:
        """See `ClientListener`."""
        assert error is None

    def other_master(self, protocol: str | None = None) -> None:
        """See `ClientListener`."""
        raise AssertionError(protocol)

    def family_changed(self, name: str) -> None:
        """See `ClientListener`."""
        assert name in CAN
        self.families += 1

    def unacknowledged(self, active: bool) -> None:
        """See `ClientListener`."""


def _true_frames(name: str) -> list[CanFrame]:
    """What a battery that is well says within two seconds."""
    speaker = make_speaker(name, SimBank(2, DrivenClock()))
    speaker.start(0.0)
    speaker.hear(CanFrame(id=0x305, data=bytes(8)), 0.0)
    found: dict[int, CanFrame] = {}
    while speaker.next() < 12.0:
        if (said := speaker.take()) is not None:
            found[said.frame.id] = said.frame
    return list(found.values())


async def _hear(name: str, batches: Sequence[Sequence[CanFrame]], judge: _Judge) -> Mapping[str, Any]:
    clock = _Clock()
    feed = _Feed(clock, batches)
    client = BroadcastClient(feed, CAN[SETS[name].family], clock=clock, listener=judge, interval=_INTERVAL)
    task = asyncio.create_task(client.run())
    await asyncio.wait((task, feed.over), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()  # whatever went wrong
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return client.diagnostics()


async def test_a_million_hostile_frames_do_nothing_but_be_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Damaged payloads, lengths and ids, among true frames of every set: no exception, no value that cannot be."""
    asyncio.get_running_loop().set_debug(False)
    rng, judge = Random(20260), _Judge()
    true = {name: _true_frames(name) for name in SETS}
    names, kinds = list(SETS), list(_MUTATIONS.items())
    counts: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    hostile = number = 0
    while hostile < _FRAMES:
        name = names[number % len(names)]
        number += 1
        batches = []
        for place in range(_BATCHES):
            batch = []
            for _ in range(_BATCH):
                kind, mutate = kinds[rng.randrange(len(kinds))]
                batch.append(mutate(rng.choice(true[name]), rng))
                counts[kind] += 1
            hostile += _BATCH
            # true ones among them, so that there is a bank whose values can be wrong
            batches.append([*true[name], *batch] if not place % 3 else batch)
        shown = await _hear(name, batches, judge)
        assert shown["frames_received"] == sum(map(len, batches))
        assert len(shown["ids"]) <= len(_ALL_IDS)
        assert len(shown["unknown_ids"]) <= 64
        totals.update(
            received=shown["frames_received"], others=shown["frames_of_others"], unreadable=shown["frames_unreadable"]
        )
    with capsys.disabled():
        print(f" {hostile} hostile frames of {totals['received']}: {dict(counts)}")  # noqa: T201
        print(f" {totals['others']} of no or another family, {totals['unreadable']} unreadable,", end="")  # noqa: T201
        print(f" {judge.reports} reports, {judge.families} changes of family, held back {dict(judge.held)}")  # noqa: T201
        print(f" values told: {dict(judge.values)}")  # noqa: T201
    assert judge.reports > 10_000
    assert totals["unreadable"] > 1000
    assert judge.held["out_of_range"] > 1000
    assert all(judge.values[name] > 1000 for name in ("soc", "voltage", "current", "cell_voltage_min"))


@pytest.mark.parametrize("name", SETS)
async def test_true_frames_alone_are_all_believed(name: str) -> None:
    """What the millions are made of is not held back by itself."""
    judge = _Judge()
    frames = _true_frames(name)
    shown = await _hear(name, [frames] * 60, judge)
    assert judge.reports
    assert not judge.held
    assert not judge.families
    assert shown["frames_unreadable"] == 0
    assert shown["held_back"] == {"bank": {}, "gone": {}} | {unit: {} for unit in shown["held_back"]}
    assert not any(len(one.data) > 8 for one, _ in pairwise(frames))
