"""What a scan sends where somebody was heard, which packs it finds, and how long it takes at the worst."""

from functools import partial
import random

import pytest

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.discovery import Outcome, Progress, Stage
from tests.simulator.bank import SimBank, Steady, make_packs
from tests.simulator.bus import SecondMaster
from tests.simulator.faults import Fault, Kind
from tests.simulator.modbus import ModbusSpeaker
from tests.simulator.modbus_growatt import Dialect as GrowattDialect, GrowattMap
from tests.simulator.modbus_pace import PaceMap
from tests.simulator.modbus_voltronic import Dialect as VoltronicDialect, VoltronicMap
from tests.simulator.modbus_zt import Dialect, ZtMap
from tests.simulator.pack import PackSpec
from tests.simulator.pylon import PylonSpeaker

from .scanned import Scanned

# s from the first question on; what is being asked then still ends
LONGEST = 62.0


class Bank(Scanned):
    """Pylontech packs on a line."""

    def __init__(self, packs: int = 3, *silent: int, turnaround: float = 0.075) -> None:
        """Connect them; those at the addresses `silent` are asleep."""
        clock = DrivenClock()
        self.bank = SimBank(packs, clock, profile=Steady())
        super().__init__(PylonSpeaker(self.bank), clock)
        self.bus.turnaround = turnaround
        for address in silent:
            self.bank.packs[address].silent = True


def _unknown(seed: int = 3) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(20) for _ in range(5)]


@pytest.mark.parametrize("period", [3.0, 6.0, 12.0, 20.0, 28.0])
async def test_nothing_is_sent_where_somebody_of_an_unknown_protocol_was_heard(period: float) -> None:
    """More than a glitch is somebody, whatever it says."""
    line = Bank(1, 2)
    master = line.bus.add_master(SecondMaster(requests=_unknown(), period=period, first=0.5))
    report = await line.scan()
    master.stop()
    assert report.outcome is Outcome.NOISE
    assert line.bus.bytes_received == 0
    assert line.seconds <= 120


@pytest.mark.parametrize("period", [3.0, 12.0, 20.0])
async def test_somebody_of_an_unknown_protocol_who_speaks_up_ends_the_questions(period: float) -> None:
    """After the first burst nothing is sent any more."""
    line = Bank(1, 2)
    master = line.bus.add_master(SecondMaster(requests=_unknown(), period=period, first=5.0))
    report = await line.scan()
    master.stop()
    assert report.outcome is Outcome.NOISE
    assert max(when for when, _ in line.bus.requests) < 5.1


async def test_a_line_is_used_when_a_burst_does_not_come_again() -> None:
    """Half a minute later."""
    line = Bank()
    line.clock.call_later(0.4, lambda: line.bus.babble(_unknown()[0]))
    report = await line.scan()
    assert report.outcome is Outcome.FOUND
    assert line.bus.requests[0][0] >= 30.4


@pytest.mark.parametrize("seed", range(25))
async def test_a_scan_ends_within_a_minute_of_its_first_question(seed: int) -> None:
    """Whatever bursts and damage there are."""
    rng = random.Random(seed)
    line = Bank(2, *(address for address in (2, 3) if rng.random() < 0.6))
    line.bus.faults.random.seed(seed)
    kinds = (Kind.FLIP_FRAME, Kind.BAD_CHECKSUM, Kind.NOISE_BEFORE, Kind.CUT, Kind.LATE)
    line.bus.faults.add(Fault(kind=rng.choice(kinds), probability=0.6, delay=1.5))
    noise = [rng.randbytes(rng.choice((1, 3))) for _ in range(9)]
    master = line.bus.add_master(SecondMaster(requests=noise, period=rng.uniform(2.1, 9), first=rng.uniform(2, 12)))
    report = await line.scan()
    master.stop()
    first = min((when for when, _ in line.bus.requests), default=line.seconds)
    assert line.seconds - first <= LONGEST, report.capture


async def test_bursts_while_a_line_is_looked_into_do_not_end_in_a_lost_port() -> None:
    """The line is opened anew for each speed."""
    for seed in range(10):
        rng = random.Random(seed)
        line = Bank(2)
        line.bus.faults.add(Fault(kind=Kind.CUT, probability=1.0))
        for _ in range(4):
            line.clock.call_later(rng.uniform(2, 25), partial(line.bus.babble, b"\x91\xa2\xb3"))
        assert (await line.scan()).outcome is Outcome.NOISE


@pytest.mark.parametrize("address", [5, 9, 15])
@pytest.mark.parametrize("protocol", ["pylon-rs485", "pace-modbus-1.3", "eg4ll-zt-native"])
async def test_a_single_pack_is_found_at_any_address(protocol: str, address: int) -> None:
    """In the minute that a scan may take."""
    clock = DrivenClock()
    bank = SimBank(make_packs(1, PackSpec(capacity=100.0), first=address), clock, profile=Steady())
    modbus = {"pace-modbus-1.3": PaceMap(), "eg4ll-zt-native": ZtMap(Dialect.EG4LL)}.get(protocol)
    speaker = PylonSpeaker(bank) if modbus is None else ModbusSpeaker(bank, modbus)
    line = Scanned(speaker, clock)
    report = await line.scan()
    assert (report.outcome, report.protocol) == (Outcome.FOUND, protocol)
    assert [pack.address for pack in report.packs] == [address]
    if protocol != "eg4ll-zt-native":  # which names the day it was made
        assert report.packs[0].identity.serial == bank.packs[address].spec.serial
    assert line.seconds <= 60


async def test_a_bank_whose_master_sleeps_is_found() -> None:
    """By its second pack."""
    line = Bank(14, 2)
    report = await line.scan()
    assert [pack.address for pack in report.packs] == list(range(3, 16))
    assert line.seconds <= 60


@pytest.mark.parametrize("silent", [(4,), (4, 7, 9), (4, 5)])
async def test_packs_behind_a_sleeping_one_are_found_on_a_known_port_too(silent: tuple[int, ...]) -> None:
    """Three neighbours must be silent before the rest is taken for empty."""
    for how in ({}, {"known": ("pylon-rs485", 9600)}):
        line = Bank(14, *silent)
        report = await line.scan(**how)
        assert [pack.address for pack in report.packs] == [one for one in range(2, 16) if one not in silent]


@pytest.mark.parametrize("silent", [(4, 5, 6, 7), (2,), (2, 3)])
async def test_packs_that_are_remembered_are_asked_wherever_they_are(silent: tuple[int, ...]) -> None:
    """However many before them sleep."""
    line = Bank(8, *silent)
    report = await line.scan(known=("pylon-rs485", 9600), addresses=range(2, 10))
    assert [pack.address for pack in report.packs] == [one for one in range(2, 10) if one not in silent]
    assert line.seconds <= 10


@pytest.mark.parametrize("packs", [1, 14])
async def test_a_slow_battery_on_a_known_port_is_named_within_three_seconds(packs: int) -> None:
    """250 ms to the first byte (pylon-rs485.md section 8); reading all packs goes on."""
    line = Bank(packs, turnaround=0.25)
    named: list[float] = []

    def note(progress: Progress) -> None:
        if progress.stage is Stage.READING:
            named.append(line.clock.monotonic())

    report = await line.scan(known=("pylon-rs485", 9600), on_progress=note)
    assert report.outcome is Outcome.FOUND
    assert len(report.packs) == packs
    assert named[0] <= 3


def _line(protocol: str) -> Scanned:
    """Three packs of it."""
    clock = DrivenClock()
    first = 2 if protocol == "pylon-rs485" else 1
    bank = SimBank(make_packs(3, PackSpec(capacity=100.0), first=first), clock, profile=Steady())
    maps = {
        "growatt-rs485": GrowattMap(GrowattDialect.DOCUMENTED),
        "voltronic-bms-485-20200325": VoltronicMap(VoltronicDialect.STANDARD),
        "pace-modbus-1.3": PaceMap(),
    }
    return Scanned(ModbusSpeaker(bank, maps[protocol]) if protocol in maps else PylonSpeaker(bank), clock)


_SLOW = ["pylon-rs485", "growatt-rs485", "voltronic-bms-485-20200325", "pace-modbus-1.3"]


@pytest.mark.parametrize("delay", [0.4, 0.65, 0.9, 1.2, 1.5])
@pytest.mark.parametrize("protocol", _SLOW)
async def test_a_battery_behind_a_slow_gateway_is_found(protocol: str, delay: float) -> None:
    """Its answers come after the next question has gone out, and are shown to the question that they answer."""
    line = _line(protocol)
    line.bus.faults.add(Fault(kind=Kind.LATE, delay=delay, probability=1.0))
    report = await line.scan()
    assert (report.outcome, report.protocol) == (Outcome.FOUND, protocol)
    assert len(report.packs) == (0 if report.bank is not None else 3)
    assert line.seconds <= 60


@pytest.mark.parametrize("delay", [0.4, 0.65, 0.9, 1.2, 1.5])
@pytest.mark.parametrize("protocol", _SLOW)
async def test_a_slow_gateway_on_a_known_port_is_no_other_battery(protocol: str, delay: float) -> None:
    """Whoever was there before is given more time, and its neighbours as much as it took."""
    line = _line(protocol)
    line.bus.faults.add(Fault(kind=Kind.LATE, delay=delay, probability=1.0))
    report = await line.scan(known=(protocol, 9600))
    assert (report.outcome, report.protocol) == (Outcome.FOUND, protocol)
    assert len(report.packs) == (0 if report.bank is not None else 3)
    assert line.seconds <= 30


async def test_answers_of_which_some_come_late_are_still_answers() -> None:
    """Nobody is told that its battery cannot be read."""
    for seed in range(6):
        line = Bank(3)
        line.bus.faults.random.seed(seed)
        line.bus.faults.add(Fault(kind=Kind.LATE, delay=1.5, probability=0.5))
        report = await line.scan()
        assert (report.outcome, report.protocol) == (Outcome.FOUND, "pylon-rs485")
