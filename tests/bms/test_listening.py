"""Reading along while somebody else asks: what is believed, for how long, and that nothing is ever sent."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
import json
from typing import Any

import pytest

from custom_components.lfp_battery.bms.clients.listening import ListeningClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.bms.protocols import POLLED
from tests.simulator.faults import Fault, Kind
from tests.simulator.inverter import HABITS, Habit, Inverter
from tests.simulator.modbus import question
from tests.simulator.pylon_wire import request

from .hearing import SCENES, Hearing, Scene
from .rig import Told

_BY_NAME = {scene.name: scene for scene in SCENES}
PYLON = _BY_NAME["pylon-rs485, packs"]
GROUP = _BY_NAME["pylon-rs485-v35, group"]
GROWATT = _BY_NAME["growatt-rs485, with cells"]
ZT = _BY_NAME["eg4ll-zt-native, whole"]
PACE = _BY_NAME["pace-v25-rs485, packs"]

type Hear = Callable[..., Awaitable[Hearing]]


@pytest.fixture
async def hear() -> AsyncIterator[Hear]:
    """Conversations that end with the test; whatever happened, nothing of ours was on the line."""
    made: list[Hearing] = []

    async def make(scene: Scene = PYLON, seconds: float = 0.0, *, inverter: bool = True, **kwargs: Any) -> Hearing:
        hearing = Hearing(scene, **kwargs)
        made.append(hearing)
        await hearing.start(seconds, inverter=inverter)
        return hearing

    yield make
    for hearing in made:
        await hearing.stop()


def _only(*commands: int, packs: tuple[int, ...] = (2, 3, 4)) -> Habit:
    return Habit(requests=[request(pack, command) for pack in packs for command in commands])


class _Deaf:
    """A transport that cannot send at all."""

    name, baudrate = "silent", 9600

    def __init__(self, clock: DrivenClock) -> None:
        self._clock = clock

    async def open(self) -> None:
        """See `ByteTransport`."""

    async def close(self) -> None:
        """See `ByteTransport`."""

    async def receive(self, timeout: float) -> bytes:
        """See `ByteTransport`."""
        await self._clock.sleep(timeout)
        return b""


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_a_transport_without_a_way_to_send_will_do() -> None:
    """The client could not transmit if it wanted to."""
    clock = DrivenClock()
    told = Told(clock)
    client = ListeningClient(_Deaf(clock), POLLED["pylon-rs485"], clock=clock, listener=told, addresses=[2])
    with pytest.raises(LinkError):
        await client.read(2)
    assert client.diagnostics()["bytes_sent"] == 0


async def test_what_the_master_never_asks_stays_unknown(hear: Hear) -> None:
    """An inverter that wants values only leaves alarms and limits unreported, not zero."""
    hearing = await hear(seconds=120, habit=_only(0x42))
    report = hearing.last(2)
    assert report.online
    state = hearing.state(2)
    assert state.voltage is not None
    assert state.alarms is None
    assert state.charge_current_limit is None
    assert report.identity is None


async def test_sensors_that_are_not_there_are_not_told_of(hear: Hear) -> None:
    """Four of six places of a native block have a sensor; the others read 0 and never read anything else."""
    hearing = await hear(ZT, seconds=60)
    address = next(iter(hearing.bank.packs))
    assert hearing.state(address).cell_temperatures == hearing.speaker.latest(address)["cell_temperatures"]


async def test_a_pack_nobody_has_told_us_of_needs_two_answers(hear: Hear) -> None:
    """One answer does not make a pack; the second does, at once."""
    hearing = await hear(seconds=0.9, habit=_only(0x42, packs=(2,)), packs=1)
    assert not hearing.told.packs
    await hearing.clock.advance(1.0)
    assert hearing.last(2).online


async def test_a_known_pack_is_told_of_with_its_first_answer(hear: Hear) -> None:
    """What the entry remembers need not prove itself again."""
    hearing = await hear(seconds=1.5, habit=_only(0x42), addresses=(2, 3, 4))
    assert [report.address for _, report in hearing.told.packs] == [2]


async def test_a_burst_is_told_once(hear: Hear) -> None:
    """Three answers within a second make one report."""
    hearing = await hear(seconds=60, period=0.3, addresses=(2, 3, 4), strict=False)
    times = [when for when, report in hearing.told.packs if report.address == 2]
    assert all(later - earlier >= 0.99 for earlier, later in pairwise(times))
    assert len(times) == pytest.approx(60 / (9 * 0.3), abs=4)


async def test_a_slow_master_with_many_packs_loses_nobody(hear: Hear) -> None:
    """Twenty seconds from question to question, three minutes a round: nothing goes away in between."""
    hearing = await hear(seconds=1800, period=20.0, addresses=(2, 3, 4), strict=False)
    assert {report.address for _, report in hearing.told.packs} == {2, 3, 4}
    assert all(report.online for _, report in hearing.told.packs)
    assert hearing.told.cycles[-1].seconds == pytest.approx(180, abs=1)
    assert hearing.told.cycles[-1].answered == {2, 3, 4}


async def test_identity_is_read_along_and_never_shown(hear: Hear) -> None:
    """Serial numbers that the inverter asks for at its start arrive, and stay out of diagnostics."""
    hearing = await hear(seconds=120)
    serial = hearing.bank.packs[3].spec.serial
    assert hearing.identity(3).serial == serial
    shown = json.dumps(hearing.client.diagnostics())
    assert serial not in shown
    assert serial.encode().hex().upper().encode().hex() not in shown
    hearing = await hear(GROUP, 120)
    assert hearing.identity(None).model == hearing.bank.packs[2].spec.model
    assert serial[:11].encode().hex().upper().encode().hex() not in json.dumps(hearing.client.diagnostics())


async def test_system_answers_on_a_line_of_packs_are_the_banks(hear: Hear) -> None:
    """A protocol in which packs answer for themselves may be asked about the group as well."""
    scene = Scene(protocol="pylon-rs485", habit="packs", first=2, speaker=GROUP.speaker)
    hearing = await hear(scene, 60, habit=HABITS["pylon-rs485-v35"]["group"]([2]))
    assert hearing.last(None).online
    assert not hearing.told.packs
    bank = await hearing.client.read_bank()
    assert bank is not None
    assert bank.state is not None
    assert bank.state.soc is not None


# --- conversations that go wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [0.02, 0.1, 0.17, 0.2, 0.3, 0.45])
@pytest.mark.parametrize("scene", [PYLON, GROUP, PACE, GROWATT, ZT], ids=lambda scene: scene.name)
async def test_listening_may_begin_anywhere_in_a_conversation(hear: Hear, scene: Scene, late: float) -> None:
    """In the middle of a question or of an answer: what is told then was all sent."""
    hearing = Hearing(scene)
    hearing.add_inverter()
    await hearing.clock.advance(40 + late)
    try:
        await hearing.start(60, inverter=False)
        assert hearing.told.compared > 0
    finally:
        await hearing.stop()


_TROUBLE = (
    Fault(kind=Kind.FLIP_FRAME, probability=0.3),
    Fault(kind=Kind.CUT, probability=0.3),
    Fault(kind=Kind.NOISE_BEFORE, probability=0.5),
    Fault(kind=Kind.NOISE_AFTER, probability=0.5),
    Fault(kind=Kind.SPLIT, probability=0.5),
    Fault(kind=Kind.BAD_CHECKSUM, probability=0.5),
    Fault(kind=Kind.WRONG_ADDRESS, probability=0.3),
    Fault(kind=Kind.LATE, probability=0.3),
    Fault(kind=Kind.SILENCE, probability=0.3),
)


@pytest.mark.parametrize(
    ("scene", "fault"),
    [
        pytest.param(scene, fault, id=f"{scene.name}: {fault.kind}")
        for scene in (PYLON, GROUP, PACE, GROWATT, ZT)
        for fault in _TROUBLE
        # answers for the group may carry any address (pylon-rs485.md section 5)
        if not (scene is GROUP and fault.kind is Kind.WRONG_ADDRESS)
    ],
)
async def test_what_goes_wrong_on_the_line_is_never_told(hear: Hear, scene: Scene, fault: Fault) -> None:
    """Noise, lost bytes, late and wrong answers: every value that is told was sent by that pack in that field."""
    hearing = Hearing(scene, strict=False)
    hearing.lossy = True
    hearing.bus.faults.add(fault)
    try:
        await hearing.start(300)
        assert hearing.bus.faults.struck[fault.kind] > 50
        assert hearing.told.compared > 500
        told = hearing.told.banks if scene.for_bank else hearing.told.packs
        assert not any(report.conflict for _, report in told)
        first = min(hearing.bank.packs)
        assert hearing.last(None if scene.for_bank else first).online
    finally:
        await hearing.stop()


async def test_two_masters_that_collide_tell_nothing_wrong(hear: Hear) -> None:
    """Two inverters that know nothing of each other garble some answers; the others are right."""
    hearing = await hear(strict=False)
    hearing.lossy = True
    other = Inverter(hearing.bus, HABITS["pylon-rs485"]["packs"]([2, 3, 4]), period=0.87, first=0.3)
    await hearing.clock.advance(600)
    other.stop()
    diagnostics = hearing.client.diagnostics()
    assert diagnostics["damaged"] or diagnostics["noise"]
    assert {report.address for _, report in hearing.told.packs} == {2, 3, 4}
    assert all(hearing.last(address).online for address in (2, 3, 4))


async def test_a_master_at_another_speed_is_only_noise(hear: Hear) -> None:
    """Nothing is told, and nothing goes wrong."""
    hearing = await hear(inverter=False, addresses=(2, 3, 4))
    inverter = Inverter(hearing.bus, _only(0x42), speed=19200)
    await hearing.clock.advance(120)
    inverter.stop()
    assert not hearing.told.packs
    assert hearing.told.cycles[-1].silent == {2, 3, 4}


async def test_a_meter_that_the_same_master_asks_is_no_pack(hear: Hear) -> None:
    """On a shared Modbus line, a unit whose registers make no sense as a battery never appears."""
    habit = Habit(requests=[question(1, 0, 39), question(3, 0x20, 4)])
    hearing = await hear(ZT, 60, habit=habit)
    assert {report.address for _, report in hearing.told.packs} == {1}


# --- silence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", [PYLON, ZT], ids=lambda scene: scene.name)
async def test_a_pack_that_falls_silent_is_gone_and_comes_back(hear: Hear, scene: Scene) -> None:
    """After a minute at most it is offline with its last state; its neighbours are not; it returns with its answer."""
    hearing = await hear(scene, 120)
    silent = sorted(hearing.bank.packs)[1]
    hearing.bank.packs[silent].silent = True
    await hearing.clock.advance(50)
    assert hearing.last(silent).online
    await hearing.clock.advance(30)
    report = hearing.last(silent)
    assert not report.online
    assert hearing.state(silent).voltage is not None
    assert report.identity is None
    assert report.counters.silent > 0
    assert hearing.told.cycles[-1].silent == {silent}
    assert all(hearing.last(address).online for address in hearing.bank.packs if address != silent)
    offline = [report for _, report in hearing.told.packs if not report.online]
    assert len(offline) == 1
    hearing.bank.packs[silent].silent = False
    await hearing.clock.advance(12)
    assert hearing.last(silent).online


async def test_each_answer_grows_stale_by_itself(hear: Hear) -> None:
    """When the inverter stops asking for limits they go, and the rest stays."""
    hearing = await hear(seconds=60)
    assert hearing.state(2).charge_current_limit is not None
    assert hearing.inverter is not None
    hearing.inverter.stop()
    hearing.lossy = True  # the limits were sent, once
    other = Inverter(hearing.bus, _only(0x42, 0x44))
    await hearing.clock.advance(90)
    other.stop()
    assert hearing.last(2).online
    assert hearing.state(2).voltage is not None
    assert hearing.state(2).charge_current_limit is None


async def test_a_master_that_asks_while_no_pack_answers(hear: Hear) -> None:
    """Nothing is told but rounds in which everybody is silent; diagnostics say that somebody asks."""
    hearing = Hearing(PYLON, addresses=(2, 3, 4))
    for pack in hearing.bank.packs.values():
        pack.silent = True
    try:
        await hearing.start(100)
        assert not hearing.told.packs
        assert len(hearing.told.cycles) == 10
        assert hearing.told.cycles[-1].silent == {2, 3, 4}
        diagnostics = hearing.client.diagnostics()
        assert diagnostics["foreign_questions"] == pytest.approx(100, abs=2)
        for pack in hearing.bank.packs.values():
            pack.silent = False
        await hearing.clock.advance(15)
        assert all(hearing.last(address).online for address in (2, 3, 4))
    finally:
        await hearing.stop()


async def test_a_master_that_restarts_is_waited_for(hear: Hear) -> None:
    """A short break loses nothing, a long one everything; both end by themselves, and diagnostics tell of the break."""
    hearing = await hear(seconds=120)
    assert hearing.inverter is not None
    hearing.inverter.restart(40)
    await hearing.clock.advance(60)
    assert all(report.online for _, report in hearing.told.packs)
    hearing.inverter.restart(600)
    await hearing.clock.advance(300)
    assert not any(hearing.last(address).online for address in (2, 3, 4))
    assert hearing.client.diagnostics()["seconds_since_question"] == pytest.approx(300, abs=2)
    await hearing.clock.advance(330)
    assert all(hearing.last(address).online for address in (2, 3, 4))
    assert [error for _, error in hearing.told.links] == [None]


# --- the line --------------------------------------------------------------------------------------------------------


async def test_a_lost_line_is_told_once_and_opened_again(hear: Hear) -> None:
    """Everything is gone with it, and back with the first answers."""
    hearing = await hear(seconds=60)
    hearing.bus.unplug()
    await hearing.clock.advance(300)
    assert [error and error.problem for _, error in hearing.told.links] == [None, LinkProblem.LOST]
    with pytest.raises(LinkError):
        await hearing.client.read(2)
    before = len(hearing.told.packs)
    hearing.bus.replug()
    await hearing.clock.advance(25)
    assert hearing.told.links[-1][1] is None
    since = hearing.told.links[-1][0]
    assert all(report.online for _, report in hearing.told.packs[before:])
    assert {report.address for _, report in hearing.told.packs[before:]} == {2, 3, 4}
    assert all((report.received or 0) > since for _, report in hearing.told.packs[before:])


async def test_a_line_that_cannot_be_opened_is_tried_again(hear: Hear) -> None:
    """Until it can, with the reason told once."""
    hearing = Hearing(PYLON)
    hearing.bus.port.refusal = LinkProblem.PERMISSION
    try:
        await hearing.start(60)
        assert [error and error.problem for _, error in hearing.told.links] == [LinkProblem.PERMISSION]
        hearing.bus.port.refusal = None
        await hearing.clock.advance(25)
        assert hearing.told.links[-1][1] is None
        assert hearing.last(2).online
    finally:
        await hearing.stop()


async def test_a_line_on_which_nothing_is_heard_is_opened_anew(hear: Hear) -> None:
    """A gateway may have restarted; nobody is told, since nobody can say that the link is gone."""
    hearing = await hear(seconds=60)
    assert hearing.inverter is not None
    hearing.inverter.stop()
    opened = hearing.bus.port.opened
    await hearing.clock.advance(250)
    assert hearing.bus.port.opened == opened + 2
    assert [error for _, error in hearing.told.links] == [None]


# --- what the owner of the client may do -----------------------------------------------------------------------------


async def test_reading_returns_what_is_known_without_asking(hear: Hear) -> None:
    """A refresh tells the newest that was overheard; who was never heard cannot be read."""
    hearing = await hear(seconds=30)
    told = len(hearing.told.packs)
    report = await hearing.client.read(3)
    assert report.online
    assert len(hearing.told.packs) == told + 1
    with pytest.raises(ValueError, match="no pack"):
        await hearing.client.read(9)
    assert await hearing.client.read_bank() is None


async def test_without_polling_nothing_is_told_unless_it_is_read(hear: Hear) -> None:
    """The client goes on listening, so that what is read then is new."""
    hearing = await hear(seconds=30)
    hearing.client.set_polling(False)
    await hearing.clock.advance(5)
    told, cycles = len(hearing.told.packs), len(hearing.told.cycles)
    await hearing.clock.advance(120)
    assert (len(hearing.told.packs), len(hearing.told.cycles)) == (told, cycles)
    report = await hearing.client.read(2)
    assert report.received == pytest.approx(hearing.clock.monotonic(), abs=10)
    hearing.client.set_polling(True)
    await hearing.clock.advance(10)
    assert len(hearing.told.packs) > told + 1


async def test_a_skipped_pack_is_not_told_of(hear: Hear) -> None:
    """And it is again when it is wanted, without waiting for more than an answer."""
    hearing = await hear(seconds=30)
    hearing.client.set_skipped([3])
    told = len(hearing.told.packs)
    await hearing.clock.advance(60)
    assert {report.address for _, report in hearing.told.packs[told:]} == {2, 4}
    hearing.client.set_skipped([])
    told = len(hearing.told.packs)
    await hearing.clock.advance(10)
    assert {report.address for _, report in hearing.told.packs[told:]} == {2, 3, 4}


async def test_a_forgotten_pack_counts_as_new(hear: Hear) -> None:
    """It is back with its second answer."""
    hearing = await hear(seconds=30)
    hearing.client.forget(4)
    hearing.since = hearing.clock.monotonic()
    with pytest.raises(ValueError, match="no pack"):
        await hearing.client.read(4)
    await hearing.clock.advance(15)
    assert (await hearing.client.read(4)).online


# --- what cannot be, and what surprises ------------------------------------------------------------------------------


async def test_a_jump_waits_for_its_repetition_and_an_alarm_does_not(hear: Hear) -> None:
    """On a weak check the charge that jumps is held back once, and believed when the next answer says the same."""
    hearing = await hear(seconds=60, strict=False)
    pack = hearing.bank.packs[3]
    before = hearing.state(3)
    pack.remaining_capacity -= 20
    alarm = Alarm(condition=Condition.PACK_OVERVOLTAGE, severity=Severity.PROTECTION)
    pack.force(alarm)
    told = len(hearing.told.packs)
    await hearing.clock.advance(9.5)
    reports = [report for _, report in hearing.told.packs[told:] if report.address == 3]
    held = [report for report in reports if "remaining_capacity" in report.held_back]
    assert held
    assert all(report.state is not None for report in held)
    assert held[-1].state is not None
    assert held[-1].state.remaining_capacity == before.remaining_capacity
    assert alarm in hearing.state(3).alarms
    await hearing.clock.advance(9)
    assert not hearing.last(3).held_back
    assert hearing.state(3).remaining_capacity == pytest.approx(pack.remaining_capacity, abs=0.2)


async def test_limits_that_jump_are_not_confirmed_by_their_own_repetition(hear: Hear) -> None:
    """Other answers come in between: only the next answer to the same question is a second reading."""
    hearing = await hear(seconds=60, strict=False)
    pack = hearing.bank.packs[3]
    limit = hearing.state(3).charge_current_limit
    pack.charge_base = 10.0
    told = len(hearing.told.packs)
    await hearing.clock.advance(40)
    limits = [
        (when, report.state.charge_current_limit, "charge_current_limit" in report.held_back)
        for when, report in hearing.told.packs[told:]
        if report.address == 3 and report.state is not None
    ]
    held = [when for when, value, doubted in limits if doubted]
    assert held
    assert all(value == limit for _, value, doubted in limits if doubted)
    assert held[-1] - held[0] > 5  # until the question came round again
    assert limits[-1][1] != limit


async def test_two_packs_at_one_address_are_named_and_not_mixed(hear: Hear) -> None:
    """Nothing of either is told while they answer; one of them alone is believed again."""
    hearing = await hear(seconds=60, strict=False)
    hearing.lossy = True
    fault = hearing.bus.faults.add(Fault(kind=Kind.TWIN, addresses=frozenset({3})))
    await hearing.clock.advance(600)
    report = hearing.last(3)
    assert report.conflict
    assert not report.online
    assert not hearing.last(2).conflict
    hearing.bus.faults.clear(fault)
    await hearing.clock.advance(300)
    report = hearing.last(3)
    assert not report.conflict
    assert report.online
