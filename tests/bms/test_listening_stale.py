"""What is left of an overheard pack when it falls silent: never what it said before what was shown last."""

from itertools import pairwise
from typing import Any

import pytest

from custom_components.lfp_battery.bms.clients.fragments import OverheardUnit
from custom_components.lfp_battery.bms.model import Alarm, Condition, PackState, Severity
from tests.simulator.inverter import Habit
from tests.simulator.pylon_wire import request

from .hearing import SCENES, Hearing

_PYLON = next(scene for scene in SCENES if scene.name == "pylon-rs485, packs")
_ALARM = frozenset({Alarm(condition=Condition.OVERVOLTAGE, severity=Severity.WARNING)})
_VALUES, _CELLS = b"values?", b"cells?"


class _Heard:
    """One overheard pack, and what it was shown as."""

    def __init__(self) -> None:
        self.unit = OverheardUnit(1, PackState(address=1), weak_check=False, limits=None, known=True)
        self.now = 0.0
        self.shown: list[tuple[float | None, float | None]] = []  # received, SOC; while it was online

    def says(self, question: bytes | None, **values: object) -> None:
        """The pack answers."""
        state = PackState(address=1, **values)  # type: ignore[arg-type]
        self.unit.hear(question, state, self.now, recognised=True, frame=None)
        self._look()

    def wait(self, seconds: float) -> None:
        """Let time pass, in which it is looked at now and then."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + 5, until)
            self.unit.expire(self.now)
            self._look()

    def alarms(self) -> frozenset[Alarm] | None:
        """As they are shown."""
        assert self.unit.state is not None
        return self.unit.state.alarms

    def online_after(self, *spans: float) -> list[bool]:
        """Whether it is there after each of these spans of silence."""
        found = []
        for seconds in spans:
            self.wait(seconds)
            found.append(self.unit.online)
        return found

    def _look(self) -> None:
        self.unit.compose()
        if self.unit.online and self.unit.state is not None:
            self.shown.append((self.unit.received, self.unit.state.soc))


@pytest.mark.parametrize("before", [None, b"values, otherwise asked?"], ids=["not heard", "another"])
def test_an_answer_to_a_question_that_came_once_does_not_come_back(before: bytes | None) -> None:
    """A first answer is kept for five minutes; the pack falls silent a minute after its last, with its last values."""
    heard = _Heard()
    heard.says(before, soc=40.0, voltage=52.0)
    for step in range(60):
        heard.says(_VALUES, soc=50.0 + step / 10, voltage=52.0)
        heard.wait(2)
    assert heard.online_after(50, 15, 300) == [True, False, False]
    assert heard.shown[-1][1] == pytest.approx(55.9)
    assert all(late[0] >= early[0] for early, late in pairwise(heard.shown) if early[0] and late[0])


def test_an_alarm_of_an_answer_whose_question_was_not_heard_is_over_with_the_next_one() -> None:
    """It is the same question's: as soon as that is heard with an answer, what it says of alarms counts."""
    heard = _Heard()
    heard.says(None, soc=50.0, alarms=_ALARM)
    assert heard.alarms() == _ALARM
    heard.says(_VALUES, soc=50.0, voltage=52.0, alarms=frozenset())
    assert heard.alarms() == frozenset()


def test_a_pack_is_not_there_for_what_it_is_asked_for_rarely() -> None:
    """Its cells are asked for every ten minutes and told right after its values: a minute later it is gone all the same."""
    heard = _Heard()
    for _ in range(3):
        for _ in range(60):
            heard.says(_VALUES, soc=50.0)
            heard.wait(10)
        heard.says(_CELLS, cell_voltages=(3.3,) * 15)
    heard.wait(80)
    assert not heard.unit.online


def test_what_is_not_asked_for_any_more_goes_without_the_pack() -> None:
    """The master changes its question: what only the old one brought goes, and no older answer takes its place."""
    heard = _Heard()
    heard.says(b"at the start?", soc=40.0, remaining_capacity=40.0, soh=99.0)
    for _ in range(10):
        heard.says(_VALUES, soc=50.0, remaining_capacity=50.0)
        heard.wait(2)
    for _ in range(50):
        heard.says(_CELLS, cell_voltages=(3.3,) * 15)
        heard.wait(2)
    assert heard.unit.online
    state = heard.unit.state
    assert state is not None
    assert (state.soc, state.remaining_capacity, state.soh) == (None, None, 99.0)
    assert {soc for _, soc in heard.shown} == {40.0, 50.0, None}


async def test_a_line_that_falls_silent_after_its_first_question_was_not_heard() -> None:
    """Nothing older than what was shown is told, and all packs are gone, also the one whose answer stood alone."""
    habit = Habit(requests=[request(pack, 0x42) for pack in (2, 3, 4)])
    hearing = Hearing(_PYLON, habit=habit, addresses=(2, 3, 4))
    hearing.lossy = True
    hearing.ear.lose_some(1.0, seed=1)
    try:
        await hearing.start(0.11)
        hearing.ear.lose_some(0.0, seed=1)
        await hearing.clock.advance(2)
        questions: Any = hearing.client.diagnostics()["questions"]
        assert questions["2"][0]["question"] is None
        await hearing.clock.advance(60)
        assert all(hearing.last(address).online for address in (2, 3, 4))
        assert hearing.inverter is not None
        hearing.inverter.stop()
        await hearing.clock.advance(75)
        for address in (2, 3, 4):
            assert not hearing.last(address).online
            told = [report.received for _, report in hearing.told.packs if report.address == address]
            assert all(early <= late for early, late in pairwise(told) if early is not None and late is not None)
    finally:
        await hearing.stop()
