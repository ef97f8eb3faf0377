"""Finding out what is at the other end of a simulated line."""

import asyncio

import pytest

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.discovery import Outcome, Progress, ScanReport, Stage, scan
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.bus import Bus, SecondMaster
from tests.simulator.console import ConsoleSpeaker
from tests.simulator.console_text import Profile as ConsoleProfile
from tests.simulator.faults import Fault, Kind
from tests.simulator.pace import Line, PaceSpeaker
from tests.simulator.pylon import Profile, PylonSpeaker
from tests.simulator.pylon_wire import encode, request

from .scanned import Scanned


class Place:
    """A bank on a bus, to be scanned."""

    def __init__(self, packs: int = 3, *, profile: Profile = Profile.C, baudrate: int = 9600) -> None:
        """Connect it."""
        self.clock = DrivenClock()
        self.bank = SimBank(packs, self.clock)
        self.speaker = PylonSpeaker(self.bank, profile)
        self.bus = Bus(self.speaker, self.clock, baudrate=baudrate)
        self.progress: list[Progress] = []
        self.seconds = 0.0

    async def scan(self) -> ScanReport:
        """Scan it to the end."""
        task = asyncio.create_task(scan(self.bus.open_line, clock=self.clock, on_progress=self.progress.append))
        began = self.clock.monotonic()
        while not task.done():
            await self.clock.advance(0.5)
            assert self.clock.monotonic() - began < 300
        self.seconds = self.clock.monotonic() - began
        assert self.bus.port.line is None
        assert not self.speaker.forbidden
        return task.result()


@pytest.mark.parametrize("baudrate", [9600, 115200])
@pytest.mark.parametrize("packs", [1, 3, 14])
async def test_a_bank_is_found_with_speed_addresses_and_serial_numbers(packs: int, baudrate: int) -> None:
    """In half a minute at most, and the values are those that were sent."""
    place = Place(packs, baudrate=baudrate)
    report = await place.scan()
    assert report.outcome is Outcome.FOUND
    assert report.protocol == "pylon-rs485"
    assert report.baudrate == baudrate
    assert [pack.address for pack in report.packs] == list(place.bank.packs)
    for pack in report.packs:
        assert pack.identity.serial == place.bank.packs[pack.address].spec.serial
        assert place.speaker.was_sent(pack.address, "voltage", pack.state.voltage)
    assert report.answers >= packs
    if packs < 14:
        assert place.seconds <= 30


async def test_a_second_group_is_found_as_well() -> None:
    """Its packs answer at 0x12 and up."""
    place = Place(2)
    for address, pack in make_packs(2, group=1).items():
        place.bank.add(address, pack)
    report = await place.scan()
    assert [pack.address for pack in report.packs] == [2, 3, 0x12, 0x13]


async def test_a_bank_that_knows_only_system_commands_is_found() -> None:
    """As ES packs on V3.5 may be."""
    place = Place(2, profile=Profile.V35)
    report = await place.scan()
    assert report.outcome is Outcome.FOUND
    assert report.protocol == "pylon-rs485-v35"
    assert report.bank is not None
    assert report.bank.voltage == place.speaker.latest(None)["voltage"]
    assert report.bank.modules == 2
    assert not report.packs


async def test_nothing_is_sent_before_two_seconds_of_silence() -> None:
    """And progress says that the line is being listened to."""
    place = Place()
    await place.scan()
    assert place.bus.requests[0][0] >= 2.0
    assert place.progress[0].stage is Stage.LISTENING
    fractions = [progress.fraction for progress in place.progress]
    assert fractions == sorted(fractions)
    assert all(0 <= fraction <= 1 for fraction in fractions)


async def test_silence_ends_within_a_minute() -> None:
    """And says so."""
    place = Place()
    place.bus.faults.add(Fault(kind=Kind.SILENCE))
    report = await place.scan()
    assert report.outcome is Outcome.NOTHING
    assert place.seconds <= 60
    assert report.answers == 0


async def test_an_adapter_that_only_echoes_is_told_from_silence() -> None:
    """A common wiring mistake: A and B joined to nothing."""
    place = Place()
    place.bus.faults.add(Fault(kind=Kind.SILENCE))
    place.bus.faults.add(Fault(kind=Kind.ECHO))
    assert (await place.scan()).outcome is Outcome.ECHO


async def test_an_echo_does_not_hide_a_bank() -> None:
    """Two-wire adapters give back what they send."""
    place = Place()
    place.bus.faults.add(Fault(kind=Kind.ECHO))
    assert (await place.scan()).outcome is Outcome.FOUND


@pytest.mark.parametrize("baudrate", [9600, 115200])
async def test_an_inverter_on_the_line_stops_the_scan_before_the_first_byte(baudrate: int) -> None:
    """At whatever speed it talks."""
    place = Place(baudrate=baudrate)
    master = place.bus.add_master(SecondMaster(requests=[request(2, 0x61), request(2, 0x42)], period=1.5))
    report = await place.scan()
    master.stop()
    assert report.outcome is Outcome.OTHER_MASTER
    assert report.baudrate == baudrate
    assert place.bus.bytes_received == 0


async def test_an_inverter_that_speaks_up_during_the_scan_stops_it() -> None:
    """It was silent while we listened."""
    place = Place()
    place.bus.faults.add(Fault(kind=Kind.SILENCE))
    master = place.bus.add_master(SecondMaster(requests=[request(2, 0x61)], period=6.0, first=4.2))
    report = await place.scan()
    master.stop()
    assert report.outcome is Outcome.OTHER_MASTER
    heard = [when for when, _ in place.bus.foreign_requests]
    assert max(when for when, _ in place.bus.requests) < heard[1] + 0.1


@pytest.mark.parametrize("first", [4.09, 4.13, 5.16, 5.19])
async def test_a_question_that_is_not_ours_is_the_last_thing_that_is_waited_for(first: float) -> None:
    """Also one that collides with ours: nothing is sent into a line that has not been quiet since."""
    place = Place()
    place.bus.faults.add(Fault(kind=Kind.SILENCE))
    master = place.bus.add_master(SecondMaster(requests=[request(2, 0x61)], period=1.5, first=first))
    report = await place.scan()
    master.stop()
    assert report.outcome is Outcome.OTHER_MASTER
    assert max(when for when, _ in place.bus.requests) < first + 0.1


async def test_a_master_of_another_protocol_that_speaks_up_stops_the_scan() -> None:
    """Whatever was being asked: every protocol listens."""
    place = Place()
    place.bus.faults.add(Fault(kind=Kind.SILENCE))
    modbus = bytes.fromhex("0103000000644421")
    master = place.bus.add_master(SecondMaster(requests=[modbus], period=1.0, first=2.5))
    report = await place.scan()
    master.stop()
    assert report.outcome is Outcome.OTHER_MASTER
    assert report.protocol is None  # a question alone may be of any map
    assert len(place.bus.requests) <= 1


async def test_a_master_of_pace_packs_is_not_taken_for_one_of_pylon_packs() -> None:
    """They share the frame."""
    place = Place()
    place.bus.faults.add(Fault(kind=Kind.SILENCE))
    pace = encode(2, 0x42, b"\x02", version=0x25)
    master = place.bus.add_master(SecondMaster(requests=[pace], period=1.0))
    report = await place.scan()
    master.stop()
    assert report.outcome is Outcome.OTHER_MASTER
    assert report.protocol is None or report.protocol.startswith("pace-v25")
    assert place.bus.bytes_received == 0


async def test_noise_that_never_ends_is_noise() -> None:
    """Nothing is sent into it."""
    place = Place()

    def babble() -> None:
        place.bus.babble(bytes(range(128, 160)))
        place.clock.call_later(0.7, babble)

    babble()
    report = await place.scan()
    assert report.outcome is Outcome.NOISE
    assert place.bus.bytes_received == 0
    assert place.seconds <= 13


async def test_a_single_glitch_does_not_stop_a_scan() -> None:
    """Plugging an adapter in makes one."""
    place = Place()
    place.clock.call_later(0.3, lambda: place.bus.babble(b"\x80"))
    assert (await place.scan()).outcome is Outcome.FOUND


async def test_damaged_answers_are_asked_for_again() -> None:
    """One bad frame does not make a pack disappear."""
    place = Place(3)
    place.bus.faults.add(Fault(kind=Kind.FLIP_FRAME, probability=0.2))
    report = await place.scan()
    assert report.outcome is Outcome.FOUND
    assert len(report.packs) == 3


@pytest.mark.parametrize("problem", [LinkProblem.PERMISSION, LinkProblem.BUSY])
async def test_a_port_that_cannot_be_opened_is_an_error(problem: LinkProblem) -> None:
    """Told by its own exception."""
    place = Place()
    place.bus.port.refusal = problem
    with pytest.raises(LinkError) as caught:
        await place.scan()
    assert caught.value.problem is problem


async def test_an_adapter_that_goes_away_during_the_scan_is_an_error() -> None:
    """Whatever it was doing."""
    for when in (1.0, 2.5, 4.0):
        place = Place()
        place.clock.call_later(when, place.bus.unplug)
        with pytest.raises(LinkError) as caught:
            await place.scan()
        assert caught.value.problem is LinkProblem.LOST


async def test_a_cancelled_scan_gives_the_port_back() -> None:
    """The person closed the dialog."""
    place = Place()
    task = asyncio.create_task(scan(place.bus.open_line, clock=place.clock))
    await place.clock.advance(3.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert place.bus.port.line is None


@pytest.mark.parametrize("packs", [1, 3, 15])
async def test_pace_packs_on_their_rs485_plug_are_told_from_those_on_rs232(packs: int) -> None:
    """Each answers for itself there, and says who it is."""
    clock = DrivenClock()
    bank = SimBank(make_packs(packs, first=1), clock)
    line = Scanned(PaceSpeaker(bank, line=Line.RS485), clock)
    report = await line.scan()
    assert (report.outcome, report.protocol) == (Outcome.FOUND, "pace-v25-rs485"), report.capture
    assert [pack.address for pack in report.packs] == list(bank.packs)
    assert line.seconds <= 30, f"{line.seconds:.1f} s"


async def test_a_console_that_has_fallen_asleep_is_woken_only_when_it_was_named() -> None:
    """The call is a command: it goes out where the person says that such a battery is."""
    for named in (False, True):
        clock = DrivenClock()
        bank = SimBank(make_packs(2, first=1), clock)
        speaker = ConsoleSpeaker(bank, ConsoleProfile.US2KBPL, asleep=True)
        line = Scanned(speaker, clock, baudrate=115200)
        line.bus.at_other_speed = speaker.at_other_speed
        report = await line.scan(protocols=["console-pylontech"] if named else None)
        assert (report.outcome is Outcome.FOUND) is named, report.capture
        assert speaker.asleep is not named
