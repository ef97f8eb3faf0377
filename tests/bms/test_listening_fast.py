"""A master that asks the next question as soon as it has its answer: its pace is hardly longer than a turn-round."""

from collections import Counter

import pytest

from custom_components.lfp_battery.bms.clients.conversation import Overheard
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.discovery import Outcome
from tests.simulator.bank import SimBank, Steady, make_packs
from tests.simulator.bus import SecondMaster
from tests.simulator.faults import Fault, Kind
from tests.simulator.inverter import Habit
from tests.simulator.modbus import question

from .hearing import SCENES, Hearing
from .scanned import Scanned

_BY_NAME = {scene.name: scene for scene in SCENES}
_VOLTRONIC = _BY_NAME["voltronic-bms-485-20200325, narrow"]
_GROWATT = _BY_NAME["growatt-rs485, with cells"]
_BYTE = 10 / 9600  # s
_QUESTION = 8  # bytes
_AT_ONCE = 0.004  # s from an answer to the next question

# What is asked for in turn, and the longest answer in bytes.
_LOOPS = {
    "single registers": (_VOLTRONIC, [question(1, register, 1) for register in (0x30, 0x31, 0x32, 0x33)], 8),
    "pairs": (_VOLTRONIC, [question(1, register, 2) for register in (0x30, 0x32, 0x70, 0x72)], 10),
    "blocks": (_VOLTRONIC, [question(1, 0x30, 6), question(1, 0x60, 10), question(1, 0x70, 5)], 26),
    "status": (_GROWATT, [question(1, 0x13, 16)], 37),
    "status and cells": (_GROWATT, [question(1, 0x13, 23), question(1, 0x70, 17)], 51),
}


def _period(turn: float, answer: int) -> float:
    return (_QUESTION + answer) * _BYTE + turn + _AT_ONCE


def _hearing(loop: str, turn: float) -> tuple[Hearing, Counter[str]]:
    scene, requests, answer = _LOOPS[loop]
    hearing = Hearing(scene, habit=Habit(requests=requests), period=_period(turn, answer), strict=False)
    hearing.lossy = True
    hearing.bus.turnaround = turn
    outcomes: Counter[str] = Counter()
    take = hearing.client._take

    def count(overheard: Overheard, now: float) -> None:
        outcomes[overheard.outcome.value] += 1
        take(overheard, now)

    hearing.client._take = count  # type: ignore[method-assign]  # a stand-in
    return hearing, outcomes


@pytest.mark.parametrize("turn", [0.1, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("loop", _LOOPS)
async def test_a_master_that_asks_back_to_back_is_understood(loop: str, turn: float) -> None:
    """All but the first few answers are believed, and what is told is new."""
    hearing, outcomes = _hearing(loop, turn)
    try:
        await hearing.start(120.0)
        assert outcomes["answered"] > 0.97 * outcomes.total() > 100
        report = hearing.last(None)
        assert report.online
        assert report.received is not None
        assert hearing.clock.monotonic() - report.received < 2.0
    finally:
        await hearing.stop()


@pytest.mark.parametrize("turn", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("loop", ["single registers", "pairs"])
async def test_answers_of_one_form_are_told_apart_at_that_pace_too(loop: str, turn: float) -> None:
    """One frame in a hundred is not heard: for as long as its answer may still come, nothing is believed."""
    hearing, outcomes = _hearing(loop, turn)
    hearing.ear.lose_some(0.01, seed=11)
    try:
        await hearing.start(900.0)
        assert hearing.ear.lost > 15
        assert hearing.told.compared > 1000  # each with what was sent
        assert not any(report.conflict for _, report in hearing.told.banks)
        assert outcomes["answered"] > 0.6 * outcomes.total()
    finally:
        await hearing.stop()


@pytest.mark.parametrize("turn", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("loop", ["blocks", "status", "status and cells"])
async def test_a_scan_names_what_such_a_master_speaks(loop: str, turn: float) -> None:
    """Without sending anything."""
    scene, requests, answer = _LOOPS[loop]
    clock = DrivenClock()
    line = Scanned(scene.speaker(SimBank(make_packs(3, scene.spec), clock, profile=Steady())), clock)
    line.bus.turnaround = turn
    master = line.bus.add_master(SecondMaster(requests=requests, period=_period(turn, answer), first=0.3))
    report = await line.scan(listen_only=True)
    master.stop()
    assert (report.outcome, report.protocol) == (Outcome.OTHER_MASTER, scene.protocol)
    assert report.bank is not None
    assert line.bus.bytes_received == 0


async def test_what_came_once_is_not_told_for_minutes_where_the_master_asks_each_second() -> None:
    """A slow master takes minutes for a round; this one has asked again, and got nothing."""
    hearing = Hearing(_BY_NAME["growatt-rs485, EG4 6500EX"], addresses=[1], strict=False)
    try:
        await hearing.start(1.0)
        assert hearing.last(None).online
        hearing.bus.faults.add(Fault(kind=Kind.SILENCE))
        await hearing.clock.advance(75.0)
        assert not hearing.last(None).online
    finally:
        await hearing.stop()


async def test_what_came_once_stands_while_nothing_else_was_asked() -> None:
    """The master that asks one of two questions every two minutes has not come round yet."""
    hearing = Hearing(_BY_NAME["growatt-rs485, EG4 6500EX"], addresses=[1], strict=False, period=120.0)
    try:
        await hearing.start(235.0)
        assert hearing.last(None).online
    finally:
        await hearing.stop()
