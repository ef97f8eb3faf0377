"""An ear that misses what everybody else hears: single questions and answers, of whatever protocol."""

from itertools import chain

import pytest

from tests.simulator.faults import Fault, Kind
from tests.simulator.inverter import Habit
from tests.simulator.modbus import ModbusSpeaker, question
from tests.simulator.modbus_growatt import Dialect as GrowattDialect, GrowattMap
from tests.simulator.modbus_voltronic import Dialect as VoltronicDialect, VoltronicMap

from .hearing import SCENES, Hearing, Scene

_HOUR = 3600.0
_BY_NAME = {scene.name: scene for scene in SCENES}
PYLON = _BY_NAME["pylon-rs485, packs"]
_VOLTRONIC = Scene(
    protocol="voltronic-bms-485-20200325",
    habit="narrow",
    speaker=lambda bank: ModbusSpeaker(bank, VoltronicMap(VoltronicDialect.WORDS16)),
    for_bank=True,
)
_GROWATT = Scene(
    protocol="growatt-rs485",
    habit="with cells",
    speaker=lambda bank: ModbusSpeaker(bank, GrowattMap(GrowattDialect.JK)),
    for_bank=True,
)


def _blocks(*registers: int, size: int) -> Habit:
    """Blocks of one size: no answer differs from another in its form."""
    return Habit(requests=[question(1, register, size) for register in registers])


_ALIKE = {
    "voltronic": (_VOLTRONIC, _blocks(0x30, 0x32, 0x37, 0x60, 0x66, 0x68, 0x70, 0x72, size=2)),
    "growatt": (_GROWATT, _blocks(0x13, 0x70, size=17)),
}


def _nothing_wrong(hearing: Hearing) -> None:
    """Nothing was told that was not sent, nobody was lost, and what is measured was told."""
    reports = list(chain((one for _, one in hearing.told.packs), (one for _, one in hearing.told.banks)))
    assert hearing.told.compared > len(reports) > 0
    assert not any(report.conflict for report in reports)
    assert not any(report.held_back for report in reports)
    assert not any(report.state.alarms for report in reports if report.state is not None)
    assert all(report.online for report in reports)
    assert {"voltage", "current"} <= hearing.told.fields


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_an_hour_with_a_bad_ear_tells_nothing_wrong(scene: Scene) -> None:
    """Of fifty frames one is not heard: no value in the wrong field, no alarm, no twins, and nobody lost."""
    hearing = Hearing(scene, strict=False)
    hearing.lossy = True
    hearing.ear.lose_some(0.02, seed=5)
    try:
        await hearing.start(_HOUR)
        assert hearing.ear.lost > 100
        _nothing_wrong(hearing)
    finally:
        await hearing.stop()


@pytest.mark.parametrize("period", [1.0, 0.4])
@pytest.mark.parametrize("deaf", [0.02, 0.1])
@pytest.mark.parametrize("case", list(_ALIKE))
async def test_answers_of_one_form_are_told_apart_by_a_bad_ear(case: str, deaf: float, period: float) -> None:
    """Question and answer of two neighbours lost: what remains looks like an exchange, but for its time."""
    scene, habit = _ALIKE[case]
    hearing = Hearing(scene, strict=False, habit=habit, period=period)
    hearing.lossy = True
    hearing.ear.lose_some(deaf, seed=7)
    try:
        await hearing.start(_HOUR * period)
        assert hearing.ear.lost > 100
        _nothing_wrong(hearing)
    finally:
        await hearing.stop()


async def test_a_question_that_was_not_heard_does_not_make_twins() -> None:
    """A bank that is asked the same each second says something new each time, and more than once after one question."""
    hearing = Hearing(_BY_NAME["growatt-rs485, EG4 6500EX"], strict=False)
    hearing.lossy = True
    hearing.ear.lose_some(0.1, seed=3)
    try:
        await hearing.start(1800)
        _nothing_wrong(hearing)
        strays = hearing.client.diagnostics()["strays"]
        assert isinstance(strays, int)
        assert strays > 10
    finally:
        await hearing.stop()


async def test_two_packs_that_answer_one_after_the_other_are_named() -> None:
    """Both are heard after one question, again and again; then only one is, and is believed."""
    hearing = Hearing(PYLON, strict=False)
    hearing.lossy = True
    try:
        await hearing.start(60)
        fault = hearing.bus.faults.add(Fault(kind=Kind.TWIN_AFTER, addresses=frozenset({3})))
        await hearing.clock.advance(60)
        assert hearing.last(3).conflict
        assert not hearing.last(3).online
        await hearing.clock.advance(300)
        assert hearing.last(3).conflict
        assert not hearing.last(2).conflict
        hearing.bus.faults.clear(fault)
        await hearing.clock.advance(300)
        assert not hearing.last(3).conflict
        assert hearing.last(3).online
    finally:
        await hearing.stop()
