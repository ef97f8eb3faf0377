"""Questions whose one answer speaks for every pack: asked once a round, handed to whoever is due."""

import asyncio

import pytest

from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.bms.protocols.base import Cadence, Integrity, Poll
from custom_components.lfp_battery.bms.protocols.pylon.frame import encode_question
from custom_components.lfp_battery.bms.protocols.pylon.protocol import Command, PylonPacks
from tests.simulator.faults import Fault, Kind
from tests.simulator.pylon import Profile
from tests.simulator.speaker import Reply

from .rig import MakeRig, Rig

SERIAL = b"4693"


def _whole_group(command: Command) -> Poll:
    return Poll(
        name=command.name.lower(),
        cadence=Cadence.CYCLE,
        request=lambda _: encode_question(command, 0x02, b"\xff"),
        essential=command is Command.ANALOG,
        shared=True,
    )


class GroupPylon(PylonPacks):
    """Old packs, whose master answers for its group (pylon-rs485.md section 5)."""

    name = "pylon-group"
    polls = (_whole_group(Command.ANALOG), _whole_group(Command.ALARMS), *PylonPacks.polls[3:4])


class CheckedGroup(GroupPylon):
    """The same, as if a CRC protected it."""

    integrity = Integrity.CRC


def asked(rig: Rig, since: float, command: bytes) -> int:
    """How often a command went out for the whole group."""
    return sum(request[5:9] == command and request[13:15] == b"FF" for request in rig.asked(since))


async def make(make_rig: MakeRig, seconds: float, **kwargs: object) -> Rig:
    """A rig of old packs."""
    return await make_rig(seconds, **{"profile": Profile.OLD, "protocol": GroupPylon(), **kwargs})


async def test_one_answer_is_handed_to_every_pack(make_rig: MakeRig) -> None:
    """Asked once a round, and each pack shows its own values."""
    rig = await make(make_rig, 25.0, packs=5)
    start, cycles = rig.clock.monotonic(), len(rig.told.cycles)
    await rig.clock.advance(60.0)
    assert len(rig.told.cycles) - cycles == 6
    assert asked(rig, start, b"4642") == 6
    assert asked(rig, start, b"4644") == 6
    serials = set()
    for address in rig.bank.packs:
        report = rig.told.last(address)
        assert report.online
        assert report.state is not None
        assert rig.speaker.was_sent(address, "cell_voltages", report.state.cell_voltages)
        assert report.counters.asked == report.counters.answered
        assert report.identity is not None
        serials.add(report.identity.serial)
    assert len(serials) == 5


@pytest.mark.parametrize("protocol", [GroupPylon(), CheckedGroup()], ids=["additive", "crc"])
async def test_a_pack_that_an_answer_names_is_known_at_once(make_rig: MakeRig, protocol: PylonPacks) -> None:
    """In the very first round; nobody has to look for it, and none is asked for by its address."""
    rig = await make(make_rig, 0.0, packs=4, addresses=[2], protocol=protocol)
    await rig.clock.advance(10.0)
    assert rig.told.cycles[0].answered == {2, 3, 4, 5}
    rig.client.forget(4)
    await rig.clock.advance(10.0)
    assert rig.told.cycles[-1].answered == {2, 3, 4, 5}


async def test_a_pack_that_the_answer_leaves_out_is_missed_without_another_question(make_rig: MakeRig) -> None:
    """It is silent after three rounds, alone, and back in the first that names it."""
    rig = await make(make_rig, 25.0, packs=3)
    away = rig.bank.remove(4)
    start = rig.clock.monotonic()
    await rig.clock.advance(200.0)
    assert not rig.told.last(4).online
    assert rig.told.last(3).online
    assert asked(rig, start, b"4642") == 20
    rig.bank.add(4, away)
    await rig.clock.advance(22.0)
    assert rig.told.last(4).online


async def test_an_answer_that_does_not_come_is_missed_by_all_and_asked_for_no_more_than_twice(
    make_rig: MakeRig,
) -> None:
    """Not once for each pack."""
    rig = await make(make_rig, 25.0, packs=8)
    rig.bus.faults.add(Fault(kind=Kind.SILENCE, containing=b"4642"))
    start = rig.clock.monotonic()
    await rig.clock.advance(29.0)
    assert asked(rig, start, b"4642") == 6
    await rig.clock.advance(10.0)
    assert not any(rig.told.last(address).online for address in rig.bank.packs)


async def test_doubts_of_many_packs_cost_one_more_question(make_rig: MakeRig) -> None:
    """A new alarm in each: the second answer confirms them all, and what is shown is of answers that were sent."""
    rig = await make(make_rig, 25.0, packs=6)
    for pack in rig.bank.packs.values():
        pack.force(Alarm(condition=Condition.CELL_OVERVOLTAGE, severity=Severity.PROTECTION, cell=3))
    start = rig.clock.monotonic()
    await rig.clock.advance(11.0)
    assert asked(rig, start, b"4644") in (2, 3)
    for address in rig.bank.packs:
        state = rig.told.last(address).state
        assert state is not None
        assert state.alarms is not None
        assert Condition.CELL_OVERVOLTAGE in {alarm.condition for alarm in state.alarms}
        assert rig.speaker.was_sent(address, "voltage", state.voltage, since=start)
    start = rig.clock.monotonic()
    await rig.clock.advance(30.0)
    assert asked(rig, start, b"4644") == 3


async def test_what_came_once_does_not_confirm_itself(make_rig: MakeRig) -> None:
    """Where the second answer fails, a doubtful value is held back."""
    rig = await make(make_rig, 25.0, packs=2)
    before = rig.told.last(2).state
    assert before is not None
    answer = rig.speaker.feed
    analogs = 0

    def jump(data: bytes, now: float) -> list[Reply]:
        nonlocal analogs
        if data[5:9] == b"4642":
            analogs += 1
            if analogs > 1:
                return []
            for pack in rig.bank.packs.values():
                pack.set_soc(2.0)
        return answer(data, now)

    rig.speaker.feed = jump  # type: ignore[method-assign]  # a stand-in
    await rig.clock.advance(13.0)
    assert analogs >= 2
    for address in (2, 3):
        assert "voltage" in rig.told.last(address).held_back


async def test_asking_for_one_pack_asks_anew_and_many_who_ask_share_the_answer(make_rig: MakeRig) -> None:
    """What was there before the request is not what was asked for; one answer serves all requests before it."""
    rig = await make(make_rig, 35.0, packs=6)
    rig.client.set_skipped({7})
    start = rig.clock.monotonic()
    waiting = [asyncio.create_task(rig.client.read(address)) for address in (3, 5, 7)]
    await rig.clock.advance(3.0)
    for task in waiting:
        received = task.result().received
        assert received is not None
        assert received > start
    assert asked(rig, start, b"4642") == 1
    first = asyncio.create_task(rig.client.read(3))
    await rig.clock.advance(1.0)
    again = rig.clock.monotonic()
    second = asyncio.create_task(rig.client.read(3))
    await rig.clock.advance(1.5)
    assert first.done()
    received = second.result().received
    assert received is not None
    assert received > again


async def test_a_skipped_pack_is_left_out_although_answers_name_it(make_rig: MakeRig) -> None:
    """It is neither shown nor new."""
    rig = await make(make_rig, 0.0, packs=3, addresses=[2, 3])
    rig.client.set_skipped({3, 4})
    await rig.clock.advance(60.0)
    assert {report.address for _, report in rig.told.packs} == {2}


async def test_when_all_packs_were_forgotten_the_answer_names_them_again(make_rig: MakeRig) -> None:
    """Somebody has to ask for it then."""
    rig = await make(make_rig, 15.0, packs=3)
    for address in (2, 3, 4):
        rig.client.forget(address)
    rig.told.packs.clear()
    await rig.clock.advance(130.0)
    assert {report.address for _, report in rig.told.packs} == {2, 3, 4}


async def test_private_shared_answers_stay_out_of_diagnostics(make_rig: MakeRig) -> None:
    """Whoever they were handed to."""

    class Private(GroupPylon):
        """Analog values are a secret here."""

        polls = tuple(
            Poll(name=poll.name, cadence=poll.cadence, request=poll.request, essential=poll.essential, shared=True,
                 private=poll.name == "analog")
            for poll in GroupPylon.polls[:2]
        )  # fmt: skip

    rig = await make(make_rig, 25.0, packs=3, protocol=Private())
    frames = rig.client.diagnostics()["frames"]
    assert isinstance(frames, dict)
    assert {name for pack in frames.values() for name in pack} == {"alarms"}


@pytest.mark.parametrize("kind", [Kind.BAD_CHECKSUM, Kind.CUT, Kind.FLIP_FRAME], ids=lambda kind: kind.value)
async def test_damage_makes_up_no_pack_and_no_value(make_rig: MakeRig, kind: Kind) -> None:
    """One answer in three damaged, for ten minutes."""
    rig = await make(make_rig, 15.0, packs=3)
    rig.bus.faults.add(Fault(kind=kind, probability=0.3))
    for _ in range(40):
        rig.told.packs.clear()
        await rig.clock.advance(15.0)
        for _, report in rig.told.packs:
            assert report.address in {2, 3, 4}
            assert report.state is not None
            assert rig.speaker.was_sent(report.address, "cell_voltages", report.state.cell_voltages)
