"""Packs of a family that sends frames of each: they come, fall silent, are forgotten and skipped one by one."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity

from .bus_rig import BusRig, MakeBus

_FAULT = Alarm(condition=Condition.DISCHARGE_OVERCURRENT, severity=Severity.PROTECTION)


@pytest.fixture
async def make_bus() -> AsyncIterator[MakeBus]:
    """Buses whose clients end with the test."""
    rigs: list[BusRig] = []

    async def make(name: str | None = "deye_pcs", seconds: float = 0.0, **kwargs: Any) -> BusRig:
        rig = BusRig(name, **kwargs)
        rigs.append(rig)
        await rig.start(seconds)
        return rig

    yield make
    for rig in rigs:
        await rig.stop()


async def test_packs_are_told_of_with_the_bank_and_by_their_serial_number(make_bus: MakeBus) -> None:
    """Each with its own values, at the bank's times."""
    rig = await make_bus(seconds=21, packs=3)
    assert [report.address for _, report in rig.told.packs[:3]] == [1, 2, 3]
    assert rig.told.packs[2][0] == rig.told.banks[0][0] < 3
    assert {report.address for _, report in rig.told.packs} == {1, 2, 3}
    serials = {(report.identity.serial if report.identity else None) for _, report in rig.told.packs[-3:]}
    assert len(serials) == 3
    assert None not in serials
    assert {when for when, _ in rig.told.packs} <= {when for when, _ in rig.told.banks}
    assert rig.told.cycles[-1].answered == {0, 1, 2, 3}


async def test_one_stray_frame_makes_no_pack(make_bus: MakeBus) -> None:
    """A pack is there when it has measured something twice."""
    rig = await make_bus(seconds=10)
    await rig.say(x156="08020000F401E803")
    await rig.clock.advance(20)
    assert {report.address for _, report in rig.told.packs} == {1, 2}
    await rig.repeat(6, x156="08020000F401E803")
    assert rig.told.last(7).online


async def test_a_pack_that_falls_silent_is_gone_by_itself(make_bus: MakeBus) -> None:
    """Half a minute later, said once; the bank and the other one stay, and it comes back with its frames."""
    rig = await make_bus(seconds=30)
    second = list(rig.bank.packs.values())[1]
    second.silent = True
    await rig.clock.advance(60)
    report = rig.told.last(2)
    assert not report.online
    assert report.state is not None
    assert report.state.voltage is not None
    assert report.identity is None
    assert sum(not report.online for _, report in rig.told.packs) == 1
    assert rig.told.last(1).online
    assert rig.bank_report.online
    assert rig.told.cycles[-1].silent == {2}
    assert not (await rig.client.read(2)).online
    second.silent = False
    await rig.clock.advance(7)
    assert rig.told.last(2).online


async def test_an_alarm_of_one_pack_is_told_at_once_and_of_that_one(make_bus: MakeBus) -> None:
    """Its neighbour has nothing new to tell."""
    rig = await make_bus(seconds=30.5)
    list(rig.bank.packs.values())[1].force(_FAULT)
    before = rig.now
    await rig.clock.advance(1.5)
    note = next(note for note in rig.speaker.ledger.notes[0x111] if note.body.values["alarms"])
    when, report = next((when, r) for when, r in rig.told.packs if when > before and r.state and r.state.alarms)
    assert report.address == 2
    assert when - note.time < 0.1
    extra = [r.address for at, r in rig.told.packs if at == when]
    assert extra == [2]


async def test_a_pack_that_nobody_wants_is_not_told_of(make_bus: MakeBus) -> None:
    """While it is skipped; asked for, it is."""
    rig = await make_bus()
    rig.client.set_skipped([2])
    await rig.clock.advance(20)
    assert {report.address for _, report in rig.told.packs} == {1}
    assert rig.told.cycles[-1].answered == {0, 1}
    rig.client.set_skipped([])
    await rig.clock.advance(5)
    assert rig.told.last(2).online


async def test_a_forgotten_pack_is_new_when_it_is_heard_again(make_bus: MakeBus) -> None:
    """It counts from nothing."""
    rig = await make_bus(seconds=30)
    assert rig.told.last(2).counters.answered > 200
    rig.client.forget(2)
    with pytest.raises(ValueError, match="no pack"):
        await rig.client.read(2)
    await rig.clock.advance(10)
    assert rig.told.last(2).online
    assert rig.told.last(2).counters.answered < 150


async def test_a_pack_is_read_when_asked(make_bus: MakeBus) -> None:
    """What is known, told as well."""
    rig = await make_bus(seconds=12.2)
    before = len(rig.told.packs)
    report = await rig.client.read(1)
    assert rig.told.packs[before:] == [(rig.now, report)]
