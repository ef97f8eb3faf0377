"""Questions that a battery declines are replaced by what it answers; batteries that sleep are called first."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from custom_components.lfp_battery.bms.protocols.base import Cadence, Poll, Wake
from custom_components.lfp_battery.bms.protocols.pylon.frame import encode_question
from custom_components.lfp_battery.bms.protocols.pylon.protocol import Command, PylonPacks
from tests.simulator.faults import Fault, Kind
from tests.simulator.pylon import PylonSpeaker
from tests.simulator.pylon_wire import encode, request
from tests.simulator.speaker import Reply

from .rig import MakeRig, Rig

ANALOG, ALARMS, MANAGEMENT, SYSTEM = b"4642", b"4644", b"4692", b"4661"
_BY_NAME = {poll.name: poll for poll in PylonPacks.polls}


def _wide(name: str, cadence: Cadence, *fallback: str, essential: bool = False) -> Poll:
    """A question that these packs refuse: it is for banks."""
    return Poll(
        name=f"wide {name}",
        cadence=cadence,
        request=lambda address: encode_question(Command.SYSTEM_ANALOG, address),
        essential=essential,
        fallback=tuple(replace(_BY_NAME[one], essential=False) for one in fallback),
    )


class EssentialFallsBack(PylonPacks):
    """One wide question for what two smaller ones bring."""

    name = "wide"
    polls = (_wide("essential", Cadence.CYCLE, "analog", "alarms", essential=True), *PylonPacks.polls[2:])


class LimitsFallBack(PylonPacks):
    """The same for what is asked in turn."""

    name = "wide limits"
    polls = (*PylonPacks.polls[:2], _wide("limits", Cadence.ROTATION, "management"), *PylonPacks.polls[3:])


def count(requests: list[bytes], command: bytes) -> int:
    """How many of these requests are this command."""
    return sum(request[5:9] == command for request in requests)


def short(rig: Rig) -> None:
    """Answer the wide question with an intact frame of another length."""
    answer = rig.speaker.feed

    def feed(data: bytes, now: float) -> list[Reply]:
        return [
            replace(reply, data=encode(reply.address, 0, bytes(7))) if data[5:9] == SYSTEM else reply
            for reply in answer(data, now)
        ]

    rig.speaker.feed = feed  # type: ignore[method-assign]  # a stand-in


def mute(rig: Rig) -> None:
    """Do not answer the wide question at all."""
    rig.bus.faults.add(Fault(kind=Kind.SILENCE, containing=SYSTEM))


@pytest.mark.parametrize("how", [lambda rig: None, short, mute], ids=["refused", "short", "mute"])
async def test_an_essential_question_falls_back_within_two_readings(
    make_rig: MakeRig, how: Callable[[Rig], None]
) -> None:
    """And is not asked again while the pack is there; after a loss it is tried anew."""
    rig = await make_rig(packs=2, protocol=EssentialFallsBack())
    how(rig)
    await rig.clock.advance(24.0)
    for address in (2, 3):
        report = rig.told.last(address)
        assert report.online
        assert report.state is not None
        assert rig.speaker.was_sent(address, "voltage", report.state.voltage)
        assert report.state.alarms is not None
    start = rig.clock.monotonic()
    await rig.clock.advance(120.0)
    asked = rig.asked(start)
    assert count([one for one in asked if one[1:5] in (b"2002", b"2003")], SYSTEM) == 0
    assert count(asked, ANALOG) >= 23
    away = rig.bank.remove(3)
    await rig.clock.advance(60.0)
    assert not rig.told.last(3).online
    rig.bank.add(3, away)
    start = rig.clock.monotonic()
    await rig.clock.advance(130.0)
    assert rig.told.last(3).online
    assert count(rig.asked(start), SYSTEM) > 0


async def test_damage_is_no_reason_to_fall_back(make_rig: MakeRig) -> None:
    """Half of all answers are damaged while the pack is first read; later the whole question is still the one asked."""

    class Plain(PylonPacks):
        """Falls back from a question that is known."""

        name = "plain"
        polls = (
            replace(_BY_NAME["analog"], fallback=(_BY_NAME["alarms"],)),
            replace(_BY_NAME["alarms"], fallback=(_BY_NAME["management"],)),
        )

    rig = await make_rig(packs=1, protocol=Plain())
    fault = rig.bus.faults.add(Fault(kind=Kind.BAD_CHECKSUM, probability=0.5))
    await rig.clock.advance(60.0)
    rig.bus.faults.clear(fault)
    await rig.clock.advance(90.0)
    start = rig.clock.monotonic()
    await rig.clock.advance(30.0)
    assert count(rig.asked(start), ANALOG) == 3
    assert count(rig.asked(start), MANAGEMENT) == 0


@pytest.mark.parametrize("how", [lambda rig: None, mute], ids=["refused", "mute"])
async def test_another_question_falls_back_after_the_usual_number(
    make_rig: MakeRig, how: Callable[[Rig], None]
) -> None:
    """Two refusals in two readings, or three without any answer."""
    rig = await make_rig(packs=1, protocol=LimitsFallBack())
    how(rig)
    await rig.clock.advance(45.0)
    state = rig.told.last(2).state
    assert state is not None
    assert state.charge_current_limit is not None
    start = rig.clock.monotonic()
    await rig.clock.advance(60.0)
    asked = rig.asked(start)
    assert count([one for one in asked if one[1:5] == b"2002"], SYSTEM) == 0
    assert count(asked, MANAGEMENT) == 1


# --- batteries that sleep --------------------------------------------------------------------------------------------

CALL = request(2, 0x4F)
OTHER_CALL = request(2, 0x51)


class Sleeper(PylonPacks):
    """Has to be called before it answers."""

    name = "sleeper"
    rouse = (OTHER_CALL, CALL)


class DeepSleeper(Sleeper):
    """Has to be called at another speed first."""

    name = "deep sleeper"
    wake = Wake(baudrate=1200, request=b"~20014682C0048520FCC3\r", wait=1.0)


class Asleep:
    """Lets a speaker hear nothing but the call."""

    def __init__(self, rig: Rig) -> None:
        """Put it to sleep."""
        self.awake = False
        self.answer: Callable[[bytes, float], list[Reply]] = rig.speaker.feed
        rig.speaker.feed = self.feed  # type: ignore[method-assign]  # a stand-in

    def feed(self, data: bytes, now: float) -> list[Reply]:
        """See `Speaker`."""
        self.awake |= data == CALL
        return self.answer(data, now) if self.awake else []


async def test_a_sleeping_battery_is_called_before_the_first_question(make_rig: MakeRig) -> None:
    """In turn, until one call is answered; then no more."""
    rig = await make_rig(packs=1, protocol=Sleeper())
    Asleep(rig)
    await rig.clock.advance(45.0)
    assert rig.told.last(2).online
    assert rig.asked()[:3] == [OTHER_CALL, CALL, request(2, 0x42)]
    assert rig.asked().count(CALL) == 1 + count(rig.asked(20.0), b"464F")


async def test_it_is_called_again_after_an_unanswered_question(make_rig: MakeRig) -> None:
    """It may have fallen asleep; the repeated question finds it awake, so that no reading is lost."""
    rig = await make_rig(packs=1, protocol=Sleeper())
    asleep = Asleep(rig)
    await rig.clock.advance(45.0)
    heard = len([1 for _, report in rig.told.packs if report.address == 2])
    asleep.awake = False
    await rig.clock.advance(20.0)
    assert rig.told.last(2).online
    assert len([1 for _, report in rig.told.packs if report.address == 2]) - heard == 2


async def test_a_battery_at_another_speed_is_woken_once_a_connection(make_rig: MakeRig) -> None:
    """The line is opened at that speed for one frame, and then at its own again."""
    rig = await make_rig(packs=1, protocol=DeepSleeper(), wake=True)
    asleep = Asleep(rig)
    asleep.answer = _deaf(rig, asleep)
    woken: list[bytes] = []
    rig.bus.at_other_speed = lambda data, baudrate: woken.append(data) if baudrate == 1200 else None
    await rig.clock.advance(45.0)
    assert woken == [DeepSleeper.wake.request]
    assert not rig.told.packs
    assert rig.bus.port.line is not None
    assert rig.bus.port.line.baudrate == 9600
    rig.bus.unplug()
    await rig.clock.advance(1.0)
    rig.bus.replug()
    asleep.answer = PylonSpeaker(rig.bank).feed
    await rig.clock.advance(30.0)
    assert rig.told.last(2).online
    assert woken == [DeepSleeper.wake.request]


def _deaf(rig: Rig, asleep: Asleep) -> Callable[[bytes, float], list[Reply]]:
    def feed(data: bytes, now: float) -> list[Reply]:
        asleep.awake = False
        return []

    return feed


async def test_without_leave_to_open_the_line_nothing_is_woken(make_rig: MakeRig) -> None:
    """A port that somebody else opened cannot change its speed."""
    rig = await make_rig(packs=1, protocol=DeepSleeper())
    asleep = Asleep(rig)
    asleep.answer = _deaf(rig, asleep)
    opened = rig.bus.port.opened
    woken: list[bytes] = []
    rig.bus.at_other_speed = lambda data, baudrate: woken.append(data)
    await rig.clock.advance(30.0)
    assert not woken
    assert rig.bus.port.opened == opened


async def test_a_line_that_is_gone_while_it_is_woken_is_lost_like_any_other(make_rig: MakeRig) -> None:
    """And found again."""
    rig = await make_rig(packs=1, protocol=DeepSleeper(), wake=True)
    Asleep(rig).awake = False
    rig.bus.at_other_speed = lambda data, baudrate: rig.bus.unplug()
    deaf = rig.speaker.feed
    rig.speaker.feed = lambda data, now: []  # type: ignore[method-assign]  # a stand-in
    await rig.clock.advance(10.0)
    lost = rig.told.links[-1][1]
    assert lost is not None
    rig.bus.at_other_speed = None
    rig.speaker.feed = deaf  # type: ignore[method-assign]  # a stand-in
    rig.bus.replug()
    await rig.clock.advance(30.0)
    assert rig.told.links[-1][1] is None
    assert rig.told.last(2).online
