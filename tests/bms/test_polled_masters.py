"""Another master on a line that is polled: from its first question on, nothing of ours goes out."""

import asyncio
from typing import override

import pytest

from custom_components.lfp_battery.bms.clients.overhearing import OtherMasters, OwnQuestions
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.modbus.frame import read_request
from custom_components.lfp_battery.bms.protocols.pylon.protocol import PylonPacks
from tests.simulator.bus import SecondMaster
from tests.simulator.faults import Fault, Kind
from tests.simulator.inverter import HABITS, Inverter
from tests.simulator.pylon_wire import request

from .rig import MakeRig

CYCLE = 10.0


@pytest.mark.parametrize("period", [0.7, 1.13, 20.0])
@pytest.mark.parametrize("packs", [1, 2, 6])
async def test_from_its_first_question_on_nothing_is_sent(make_rig: MakeRig, period: float, packs: int) -> None:
    """It may ask between our cycles or into them; packs are lost and the owner is told within one cycle."""
    rig = await make_rig(25.0, packs=packs)
    rig.bus.add_master(SecondMaster(requests=[request(2, 0x61)], period=period, first=3.0))
    await rig.clock.advance(3.0)
    while not rig.told.other_masters:
        await rig.clock.advance(0.1)
        assert rig.clock.monotonic() < 28.0 + max(CYCLE, 2 * period)
    before = rig.bus.bytes_received
    assert not any(rig.told.last(address).online for address in rig.bank.packs)
    await rig.clock.advance(600.0)
    assert rig.bus.bytes_received == before
    assert rig.told.other_masters == 1
    assert [error for _, error in rig.told.links] == [None]
    assert rig.client.diagnostics()["other_master"] is True


async def test_a_reading_on_request_is_refused_and_one_that_waits_fails(make_rig: MakeRig) -> None:
    """Nobody waits for ever, and nothing is sent for anybody."""
    rig = await make_rig(25.0, packs=2)
    rig.client.set_polling(enabled=False)
    await rig.clock.advance(5.0)
    before = rig.bus.bytes_received
    rig.bus.babble(request(3, 0x42))
    await rig.clock.advance(1.0)
    with pytest.raises(LinkError) as caught:
        await rig.client.read(2)
    assert caught.value.problem is LinkProblem.BUSY
    assert rig.bus.bytes_received == before


async def test_who_waits_for_a_reading_is_told_when_somebody_else_asks(make_rig: MakeRig) -> None:
    """The question is heard while a reading is under way."""
    rig = await make_rig(15.0, packs=4)
    waiting = [asyncio.create_task(rig.client.read(address)) for address in (2, 3, 4, 5)]
    await asyncio.sleep(0)
    rig.bus.add_master(SecondMaster(requests=[request(2, 0x61)], period=0.31, first=0.3))
    await rig.clock.advance(5.0)
    problems = [task.exception() for task in waiting if task.exception() is not None]
    assert problems
    assert all(isinstance(error, LinkError) and error.problem is LinkProblem.BUSY for error in problems)
    assert rig.told.other_masters == 1


async def test_one_who_asks_while_the_line_is_opened_is_never_disturbed(make_rig: MakeRig) -> None:
    """Two seconds of listening come before our first byte."""
    rig = await make_rig()
    rig.bus.add_master(SecondMaster(requests=[request(2, 0x61)], period=1.5, first=0.5))
    await rig.clock.advance(60.0)
    assert rig.bus.bytes_received == 0
    assert rig.told.other_masters == 1


async def test_it_stays_silent_when_the_line_comes_back(make_rig: MakeRig) -> None:
    """Pulling the plug does not make the other one go away."""
    rig = await make_rig(15.0, packs=1)
    rig.bus.babble(request(2, 0x61))
    await rig.clock.advance(1.0)
    before = rig.bus.bytes_received
    rig.bus.unplug()
    await rig.clock.advance(5.0)
    rig.bus.replug()
    await rig.clock.advance(60.0)
    assert rig.bus.bytes_received == before
    assert [error is None for _, error in rig.told.links] == [True, False, True]
    assert rig.told.other_masters == 1


async def test_a_question_in_another_protocol_is_noticed(make_rig: MakeRig) -> None:
    """An inverter may speak Modbus where Pylon packs are polled: one question with a CRC is enough."""
    if not any(protocol.integrity.value == "crc" for protocol in POLLED.values()):
        pytest.skip("no protocol with a CRC is registered yet")
    rig = await make_rig(19.0, packs=1)
    before = rig.bus.bytes_received
    rig.bus.babble(read_request(1, 0x13, 16))
    await rig.clock.advance(60.0)
    assert rig.told.other_masters == 1
    assert rig.told.asks_in != "pylon-rs485"
    assert POLLED[rig.told.asks_in or ""].is_request(read_request(1, 0x13, 16))
    assert rig.bus.bytes_received == before


@pytest.mark.parametrize("first", [0.05, 3.0])
async def test_the_protocol_in_which_somebody_asks_is_told(make_rig: MakeRig, first: float) -> None:
    """Our own, heard while the line is opened or while it is polled."""
    rig = await make_rig(packs=2)
    rig.bus.add_master(SecondMaster(requests=[request(2, 0x61)], period=1.5, first=first))
    await rig.clock.advance(60.0)
    assert rig.told.asks_in == "pylon-rs485"


def test_a_weak_check_of_another_protocol_has_to_come_twice() -> None:
    """One frame that adds up may be chance, and the verdict is for good."""

    class Other(PylonPacks):
        """Spoken here, in frames of its own."""

        name = "other"

        @override
        def is_request(self, frame: bytes) -> bool:
            return False

    masters = OtherMasters(Other(), POLLED.values())
    assert not masters.hear(request(2, 0x61), 0.0)
    assert not masters.hear(request(2, 0x61), 1000.0)
    assert masters.hear(request(2, 0x62), 1010.0)


def test_our_own_question_that_comes_back_late_is_nobodys() -> None:
    """Gateways give it back when they like."""
    masters = OtherMasters(POLLED["pylon-rs485"], POLLED.values())
    masters.own.sent(POLLED["pylon-rs485"], request(2, 0x42), 10.0)
    assert not masters.hear(request(2, 0x42), 12.0)
    assert masters.hear(request(3, 0x42), 12.1)
    assert masters.hear(request(2, 0x42), 30.0)


@pytest.mark.parametrize("kind", [Kind.ECHO, Kind.LATE, Kind.BAD_CHECKSUM, Kind.NOISE_BEFORE, Kind.FLIP_FRAME])
async def test_trouble_of_our_own_is_no_other_master(make_rig: MakeRig, kind: Kind) -> None:
    """Echoes, late answers and damage, for a quarter of an hour."""
    rig = await make_rig(15.0, packs=2)
    rig.bus.faults.add(Fault(kind=kind, probability=0.5))
    await rig.clock.advance(900.0)
    assert rig.told.other_masters == 0
    assert len(rig.told.cycles) > 50


@pytest.mark.parametrize(
    ("period", "first"), [(10.0, 0.5), (10.0, 2.1), (10.0, 2.5), (20.0, 2.1), (20.0, 2.3), (1.0, 3.0)]
)
async def test_one_who_asks_what_we_ask_when_we_ask_it_is_noticed(
    make_rig: MakeRig, period: float, first: float
) -> None:
    """In step with our cycle, so that its questions look like ours that came back, or collide with them."""
    rig = await make_rig(60.0, packs=1)
    inverter = Inverter(rig.bus, HABITS["pylon-rs485"]["packs"](list(rig.bank.packs)), period=period, first=first)
    await rig.clock.advance(first + 2 * period + 2 * CYCLE)
    inverter.stop()
    assert rig.told.other_masters == 1


@pytest.mark.parametrize("late", [0.0, 0.9, 1.9])
async def test_one_who_asks_the_very_same_is_noticed_though_it_never_asks_anything_else(
    make_rig: MakeRig, late: float
) -> None:
    """One question, each cycle, just after we have asked it."""
    rig = await make_rig(62.0 + late, packs=1)
    rig.bus.add_master(SecondMaster(requests=[request(2, 0x42)], period=CYCLE, first=0.5))
    await rig.clock.advance(4 * CYCLE)
    assert rig.told.other_masters == 1


def _ask(own: OwnQuestions, now: float, *back: float) -> list[bool]:
    """Ask, be answered, and hear the question come back so much later; whether that is explained."""
    question = request(2, 0x42)
    own.sent(POLLED["pylon-rs485"], question, now)
    own.answered()
    return [own.explain(question, now + late) for late in back]


def test_a_line_that_gives_every_question_back_is_not_suspicious() -> None:
    """Also when it does so after the answer; from the fourth question on nobody is suspected."""
    own = OwnQuestions()
    assert all(_ask(own, 10.0 * number, 0.8) == [True] for number in range(1, 5))
    assert not own.doubtful(41.0)
    assert _ask(own, 50.0, 0.8) == [True]
    assert not own.doubtful(51.0)


def test_a_question_comes_back_only_once() -> None:
    """The second one is somebody else's, on whatever line."""
    own = OwnQuestions()
    for number in range(1, 5):
        _ask(own, 10.0 * number, 0.1)
    assert _ask(own, 50.0, 0.1, 0.5) == [True, False]


def test_where_no_question_ever_came_back_one_that_does_is_somebody_elses() -> None:
    """After the answer, and too late for an echo; sooner, it only raises a doubt, which is told once."""
    own = OwnQuestions()
    for number in range(1, 31):
        _ask(own, 10.0 * number)
    assert _ask(own, 400.0, 1.5) == [False]
    own.opened()
    assert _ask(own, 500.0, 0.5) == [True]
    assert own.doubtful(501.0)
    assert not own.doubtful(501.0)
