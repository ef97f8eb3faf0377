"""Somebody else asks on the line: what a scan says of it, and that it sends nothing."""

import pytest

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.discovery import Outcome
from tests.simulator.bank import SimBank, Steady, make_packs
from tests.simulator.faults import Fault, Kind
from tests.simulator.inverter import HABITS, Habit, Inverter
from tests.simulator.modbus import question
from tests.simulator.pylon_wire import encode, request

from .hearing import SCENES, Scene
from .matrix import differences
from .scanned import Scanned

PACKS = 2


class Owned(Scanned):
    """A line that an inverter owns."""

    def __init__(self, scene: Scene, *, packs: int = PACKS, period: float = 1.0, first: float = 0.1) -> None:
        """Connect packs and inverter."""
        clock = DrivenClock()
        self.bank = SimBank(make_packs(packs, scene.spec, first=scene.first), clock, profile=Steady())
        self.speaker = scene.speaker(self.bank)
        super().__init__(self.speaker, clock, baudrate=scene.baudrate)
        asked = [scene.first] if scene.for_bank else list(self.bank.packs)
        self.inverter = Inverter(self.bus, HABITS[scene.protocol][scene.habit](asked), period=period, first=first)


# One pack that is asked what both of these have says the same in both.
_ALIKE = {"pace-v25-rs485": "pace-v25"}


@pytest.mark.parametrize("packs", [1, 2, 3])
@pytest.mark.parametrize("listen_only", [False, True])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_the_conversation_of_an_inverter_is_recognised(scene: Scene, listen_only: bool, packs: int) -> None:
    """By protocol, speed and addresses; the values are those that were sent, and not a byte is ours."""
    line = Owned(scene, packs=packs)
    report = await line.scan(**({"listen_only": True, "quiet": 60.0} if listen_only else {}))
    line.inverter.stop()
    assert report.outcome is Outcome.OTHER_MASTER
    named = _ALIKE.get(scene.protocol, scene.protocol) if packs == 1 else scene.protocol
    assert (report.protocol, report.baudrate) == (named, scene.baudrate), report.capture
    assert line.bus.bytes_received == 0
    if scene.for_bank:
        assert report.bank is not None
        shown = {name for name in line.speaker.latest(None) if getattr(report.bank, name, None) is not None}
        assert shown
    else:
        assert [pack.address for pack in report.packs] == list(line.bank.packs), report.capture
        for pack in report.packs:
            wrong = [one for one in differences(pack.state, line.speaker, pack.address) if one.shown is not None]
            assert not wrong


@pytest.mark.parametrize("period", [5.0, 20.0, 60.0])
async def test_a_slow_inverter_is_waited_for_where_one_is_expected(period: float) -> None:
    """With the silence that the person asked for, at the first byte of it nothing was sent yet."""
    scene = SCENES[0]
    line = Owned(scene, period=period, first=period * 0.9)
    report = await line.scan(quiet=65.0)
    line.inverter.stop()
    assert report.outcome is Outcome.OTHER_MASTER
    assert line.bus.bytes_received == 0


async def test_listening_only_to_nobody_takes_a_minute() -> None:
    """Each speed has its share, however little was asked for; nothing is sent, also into silence."""
    scene = SCENES[0]
    line = Owned(scene)
    line.inverter.stop()
    report = await line.scan(listen_only=True, quiet=12.0)
    assert report.outcome is Outcome.NOTHING
    assert 59 <= line.seconds <= 61
    shares = {one.baudrate: 0 for one in line.progress}
    assert set(shares) == {9600, 115200, 19200}
    assert line.bus.bytes_received == 0


@pytest.mark.parametrize("first", [2.6, 3.4, 4.4, 5.2, 6.4, 7.1])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_a_master_of_any_protocol_that_speaks_up_ends_the_probing(scene: Scene, first: float) -> None:
    """Whatever is being asked at that moment, and in whatever protocol; only a collision gives it a second turn."""
    line = Owned(scene, period=1.5, first=first)
    line.bus.faults.add(Fault(kind=Kind.SILENCE))
    report = await line.scan()
    line.inverter.stop()
    assert report.outcome is Outcome.OTHER_MASTER, report.capture
    heard = [when for when, _ in line.bus.foreign_requests]
    assert max((when for when, _ in line.bus.requests), default=0.0) < heard[0] + 0.1


async def test_a_question_alone_names_no_modbus_map() -> None:
    """Several maps have these registers."""
    line = Owned(SCENES[0])
    line.inverter.stop()
    line.bus.faults.add(Fault(kind=Kind.SILENCE))
    master = Inverter(line.bus, Habit(requests=[question(1, 0x13, 16)]))
    report = await line.scan()
    master.stop()
    assert (report.outcome, report.protocol, report.packs) == (Outcome.OTHER_MASTER, None, ())


async def test_a_question_that_only_one_protocol_has_names_it() -> None:
    """The packs are asleep, or on another plug."""
    line = Owned(SCENES[0])
    line.inverter.stop()
    line.bus.faults.add(Fault(kind=Kind.SILENCE))
    master = Inverter(line.bus, Habit(requests=[request(2, 0x61), request(2, 0x63)]))
    report = await line.scan()
    master.stop()
    assert report.outcome is Outcome.OTHER_MASTER
    assert report.protocol == "pylon-rs485-v35"


async def test_the_port_between_packs_is_called_by_its_name() -> None:
    """There the first pack asks the others, again and again (pace-ascii.md section 3)."""
    line = Owned(SCENES[0])
    line.inverter.stop()
    line.bus.faults.add(Fault(kind=Kind.SILENCE))
    polls = [encode(pack, 0x90, version=0x25) for pack in (2, 3)]
    master = Inverter(line.bus, Habit(requests=polls), period=0.3)
    report = await line.scan()
    master.stop()
    assert report.outcome is Outcome.LINK_PORT
    assert line.bus.bytes_received == 0


@pytest.mark.parametrize("baudrate", [9600, 19200, 115200])
async def test_an_inverter_at_another_speed_is_found_at_it(baudrate: int) -> None:
    """It sounds like noise until the right speed is listened at."""
    scene = SCENES[0]
    clock = DrivenClock()
    bank = SimBank(make_packs(PACKS, first=scene.first), clock)
    line = Scanned(scene.speaker(bank), clock, baudrate=baudrate)
    master = Inverter(line.bus, HABITS[scene.protocol][scene.habit](list(bank.packs)))
    report = await line.scan()
    master.stop()
    assert (report.outcome, report.baudrate) == (Outcome.OTHER_MASTER, baudrate)
    assert line.bus.bytes_received == 0
