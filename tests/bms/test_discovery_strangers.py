"""Batteries that a scan only recognises, and questions of a scan that reach a battery of another protocol."""

import pytest

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.discovery import Outcome
from custom_components.lfp_battery.bms.discovery.plan import in_order, plan
from custom_components.lfp_battery.bms.protocols import SERIAL
from custom_components.lfp_battery.bms.protocols.strangers import STRANGERS as KNOWN
from tests.simulator.bank import SimBank, Steady, make_packs
from tests.simulator.strangers import STRANGERS, StrangerSpeaker

from . import matrix
from .matrix import Row
from .scanned import Scanned

NOTHING_WITHIN = 60.0


def test_every_stranger_has_a_speaker() -> None:
    """One that is added is tried."""
    assert {stranger.key for stranger in KNOWN} == set(STRANGERS)


@pytest.mark.parametrize("key", STRANGERS)
async def test_a_battery_that_cannot_be_read_is_named(key: str) -> None:
    """In no more time than it takes to find nothing."""
    baudrate, answers = STRANGERS[key]
    line = Scanned(StrangerSpeaker(answers), DrivenClock(), baudrate=baudrate)
    report = await line.scan()
    assert (report.outcome, report.dialect) == (Outcome.OTHER_PROTOCOL, key), report.capture
    assert line.seconds <= NOTHING_WITHIN


async def test_nothing_at_all_is_said_within_a_minute() -> None:
    """With every protocol, speed and stranger tried."""
    asked: list[bytes] = []
    line = Scanned(StrangerSpeaker({}, notice=asked.append), DrivenClock())
    report = await line.scan()
    assert report.outcome is Outcome.NOTHING
    assert line.seconds <= NOTHING_WITHIN, f"{line.seconds:.1f} s"
    assert asked
    assert line.progress[-1].fraction <= 1.0


def test_every_question_of_a_scan_is_asked_once() -> None:
    """At each speed; protocols that share one look at the same answer."""
    steps = [(step.baudrate, step.question) for step in plan(in_order(), None) if step.stranger is None]
    assert len(steps) == len(set(steps))
    assert {step.protocol.name for step in plan(in_order(), None) if step.protocol} == set(SERIAL) - {
        "console-pylontech"  # Enter is Enter
    }


def test_the_console_is_asked_before_any_frame_at_its_speed() -> None:
    """It would take a frame for a command."""
    at_speed = [step for step in plan(in_order(), None) if step.baudrate == 115200]
    assert at_speed[0].question == b"\r"


@pytest.mark.parametrize("family", ["pytes_v", "es_wall", "growatt_65", "ml314", "vlrv"])
def test_a_family_only_changes_the_order(family: str) -> None:
    """What its ports can be set to comes first, and nothing is left out."""
    usual, own = plan(in_order(), None), plan(in_order(None, family), None, family=family)
    assert {(step.baudrate, step.question) for step in usual} == {(step.baudrate, step.question) for step in own}


def test_only_a_console_that_was_named_is_called_at_another_speed() -> None:
    """The call switches an old pack over: it is sent where the person says that one is."""
    assert not [step for step in plan(in_order(), None) if step.wake]
    named = plan(in_order(["console-pylontech"]), None, strangers=False, may_wake=True)
    assert [step.wake for step in named] == [False, True]
    assert not [step for step in plan(in_order(["console-pytes"]), None, may_wake=True) if step.wake]


_ROWS = {f"{row.protocol}-{row.baudrate}-{row.family}": row for row in matrix.ROWS}


@pytest.mark.parametrize("row", _ROWS.values(), ids=_ROWS.keys())
def test_no_question_of_a_scan_is_obeyed_or_taken_for_another(row: Row) -> None:
    """Every question of every protocol, at every battery: none is one that would have changed something."""
    clock = DrivenClock()
    bank = SimBank(make_packs(3, row.spec, first=row.first), clock, profile=Steady(rate=0.1))
    speaker = row.speaker(bank)
    for step in plan(in_order(), None):
        if step.baudrate == row.baudrate:
            speaker.feed(step.question, clock.monotonic())
            speaker.reset()
    assert not speaker.forbidden


@pytest.mark.parametrize("row", _ROWS.values(), ids=_ROWS.keys())
async def test_a_battery_is_never_taken_for_one_of_another_protocol(row: Row) -> None:
    """Also when the scan looks for everything but what it speaks."""
    clock = DrivenClock()
    bank = SimBank(make_packs(2, row.spec, first=row.first), clock, profile=Steady(rate=0.1))
    line = Scanned(row.speaker(bank), clock, baudrate=row.baudrate)
    others = [name for name in SERIAL if name != row.protocol and not _same_battery(name, row.protocol)]
    report = await line.scan(protocols=others)
    assert report.outcome is not Outcome.FOUND, (report.protocol, report.capture)
    assert line.seconds <= NOTHING_WITHIN


def _same_battery(one: str, other: str) -> bool:
    """Pylon's two sets of commands are answered by the same packs, PACE's two lines by the same boards."""
    return (
        one.split("-", maxsplit=1)[0] == other.split("-", maxsplit=1)[0]
        and one.split("-", maxsplit=1)[0] in ("pylon", "pace")
        and "modbus" not in (one + other)
    )
