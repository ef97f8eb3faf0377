"""The PACE simulator against the codec, and a polling client on both of its lines."""

import asyncio
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.discovery import scan
from custom_components.lfp_battery.bms.errors import Refusal, RefusedError
from custom_components.lfp_battery.bms.model import Alarm, Condition, PackState, Severity
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.base import Decoded
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.bus import Bus
from tests.simulator.faults import Fault, Kind
from tests.simulator.pace import FORBIDDEN, Line, PaceSpeaker, Profile
from tests.simulator.pack import PackSpec
from tests.simulator.pylon_wire import encode

from .rig import Told

PROTOCOLS = {Line.RS232: "pace-v25", Line.RS485: "pace-v25-rs485"}
WITH_CELL = {Condition.CELL_OVERVOLTAGE, Condition.CELL_UNDERVOLTAGE, Condition.CELL_FAILURE}
READ = (0x42, 0x44, 0x90, 0xA0, 0xA6, 0xAF, 0xB1, 0xB6, 0xC1, 0xC2, 0xD1, 0xD3, 0xD5, 0xD7, 0xD9, 0xDB, 0xEB, 0xED)


def ask(command: int, *, address: int = 1, value: int | None = None) -> bytes:
    """A question."""
    return encode(address, command, b"" if value is None else bytes((value,)), version=0x25)


def bank(count: int, **spec: Any) -> SimBank:
    """Packs numbered from 1."""
    return SimBank(make_packs(count, PackSpec(**spec), first=1), DrivenClock())


def heard(speaker: PaceSpeaker, question: bytes) -> Decoded:
    """What the codec of this line makes of the one answer to a question."""
    (reply,) = speaker.feed(question, 0.0)
    if reply.on_wire is not None:
        reply.on_wire(0.0)
    return POLLED[PROTOCOLS[speaker.line]].decode(question, reply.data)


@pytest.mark.parametrize("line", Line)
@pytest.mark.parametrize("cells", [8, 15, 16])
@pytest.mark.parametrize("profile", Profile)
def test_the_codec_reads_what_the_simulator_says(profile: Profile, cells: int, line: Line) -> None:
    """Every field of every command, with every condition forced at every severity, in a cold pack that is heated."""
    compared = 0
    alarms_seen: set[Alarm] = set()
    for condition, severity in product(Condition, Severity):
        packs = bank(2, cells=cells, temperature=-3.0, cycles=900, heater_power=100.0)
        speaker = PaceSpeaker(packs, profile, line=line)
        cell = 3 if condition in WITH_CELL else None
        packs.packs[1].force(Alarm(condition=condition, severity=severity, cell=cell))
        packs.step(1)
        for command in (0x42, 0x44, 0xC1, 0xC2):
            decoded = heard(speaker, ask(command, value=1 if command < 0x90 else None))
            for name, value in speaker.sent[1][-1].values.items():
                places = (decoded.packs.get(1), decoded.identities.get(1))
                got = next((v for p in places if p is not None and (v := getattr(p, name, None)) is not None), None)
                assert got == (pytest.approx(value, abs=1e-9) if isinstance(value, float) else value), (command, name)
                compared += 1
            if isinstance(said := speaker.sent[1][-1].values.get("alarms"), frozenset):
                alarms_seen |= said
    assert compared > 2000
    assert len(alarms_seen) >= 38


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("count", [1, 5, 15])
def test_a_host_speaks_for_every_pack_on_its_link(count: int, profile: Profile) -> None:
    """90 counts them, FF lists them, and any address is answered under its own."""
    packs = bank(count)
    speaker = PaceSpeaker(packs, profile)
    assert heard(speaker, ask(0x90, address=0xFF, value=0xFF)).info == {"pack_count": count}
    for command in (0x42, 0x44):
        listed = heard(speaker, ask(command, value=0xFF)).packs
        assert set(listed) == set(packs.packs)
        for number in packs.packs:
            assert heard(speaker, ask(command, address=number, value=number)).packs == {number: listed[number]}
        assert speaker.feed(ask(command, value=count + 1), 0.0) == []
    assert speaker.feed(ask(0xC2, address=5), 0.0)[0].data == speaker.feed(ask(0xC2), 0.0)[0].data


def test_a_pack_that_is_no_host_shows_its_own_data_alone() -> None:
    """Section 3: DIP 0 or 2 to 15, and 90 says 1."""
    packs = bank(3)
    packs.remove(1)
    speaker = PaceSpeaker(packs)
    assert heard(speaker, ask(0x90)).info == {"pack_count": 1}
    own = heard(speaker, ask(0x42, value=1)).packs
    assert own == heard(speaker, ask(0x42, value=0xFF)).packs
    assert own[1].cell_voltages == tuple(round(v, 3) for v in packs.packs[2].cell_voltages)
    assert speaker.feed(ask(0x42, value=2), 0.0) == []


def test_on_rs485_every_pack_answers_for_itself_alone() -> None:
    """Nobody answers another's address, another's number, or everybody's."""
    speaker = PaceSpeaker(bank(3), line=Line.RS485)
    for number in (1, 2, 3):
        assert set(heard(speaker, ask(0x42, address=number, value=number)).packs) == {number}
        identity = heard(speaker, ask(0xC2, address=number)).identities
        assert identity[number].serial == speaker.bank.packs[number].spec.serial
    for address, value in ((1, 2), (4, 4), (0xFF, 0xFF), (0, 0), (1, 0xFF)):
        assert speaker.feed(ask(0x42, address=address, value=value), 0.0) == []


@pytest.mark.parametrize("line", Line)
def test_everything_that_may_be_read_is_read(line: Line) -> None:
    """Every command that the simulator knows, whether it is polled or not."""
    speaker = PaceSpeaker(bank(1), line=line)
    for command in READ:
        decoded = heard(speaker, ask(command, value=1 if command < 0x90 else None))
        assert decoded.packs or decoded.identities or decoded.info


def test_what_would_change_something_is_refused_and_remembered() -> None:
    """A test that holds the ledger of a client against this list sees what it should not have sent."""
    speaker = PaceSpeaker(bank(1))
    for number, command in enumerate(sorted(FORBIDDEN), 1):
        question = ask(command, value=1)
        (reply,) = speaker.feed(question, 0.0)
        with pytest.raises(RefusedError) as refused:
            POLLED["pace-v25"].decode(question, reply.data)
        assert refused.value.code == 0x09
        assert len(speaker.forbidden) == number
    willing = PaceSpeaker(bank(1), obeys=True)
    assert heard(willing, ask(0x99, value=0x0C)).info["echoed_command"] == 0x0C
    assert heard(willing, ask(0x9A, value=0)).info["charge_enabled"] is True
    assert len(willing.forbidden) == 2


@pytest.mark.parametrize(
    ("question", "code", "refusal"),
    [
        (b"~25014642E00201FD31\r", 0x02, Refusal.DAMAGED),
        (b"~25014642D00201FD31\r", 0x03, Refusal.DAMAGED),
        (ask(0x55), 0x04, Refusal.UNSUPPORTED),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_with_its_code(
    question: bytes, code: int, refusal: Refusal
) -> None:
    """Section 8."""
    speaker = PaceSpeaker(bank(1))
    (reply,) = speaker.feed(question, 0.0)
    with pytest.raises(RefusedError) as refused:
        POLLED["pace-v25"].decode(ask(0x42, value=1), reply.data)
    assert (refused.value.code, refused.value.refusal) == (code, refusal)


# --- a client ----------------------------------------------------------------------------------------------------------


class Site:
    """Packs, a line and a client on one driven clock."""

    def __init__(
        self,
        count: int,
        line: Line = Line.RS232,
        profile: Profile = Profile.P16_SOC,
        quirks: Mapping[str, Any] | None = None,
    ) -> None:
        """Connect them. `quirks`: options of the simulator."""
        self.clock = DrivenClock()
        self.bank = SimBank(make_packs(count, first=1), self.clock)
        self.speaker = PaceSpeaker(self.bank, profile, line=line, **quirks or {})
        self.bus = Bus(self.speaker, self.clock, baudrate=9600)
        self.told = Told(self.clock)
        self.client = PolledClient(
            self.bus.open_line(9600),
            POLLED[PROTOCOLS[line]],
            clock=self.clock,
            listener=self.told,
            addresses=list(self.bank.packs),
        )

    async def run(self, seconds: float) -> None:
        """Let the client poll for so long, at the end with nothing changing, and stop it."""
        task = asyncio.create_task(self.client.run())
        await self.clock.advance(seconds)
        self.bank.frozen = True
        await self.clock.advance(40.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not self.speaker.forbidden

    def state(self, number: int) -> PackState:
        """What is shown of a pack that is online."""
        report = self.told.last(number)
        assert report.online
        assert report.state is not None
        return report.state

    def agree(self) -> int:
        """Hold what is shown of every pack against what was sent; how many fields were compared."""
        compared = 0
        for number in self.bank.packs:
            state = self.state(number)
            for name, value in self.speaker.latest(number).items():
                if hasattr(state, name):
                    got = getattr(state, name)
                    assert got == (pytest.approx(value) if isinstance(value, float) else value), (number, name)
                    compared += 1
            assert not self.told.last(number).held_back
        return compared


@pytest.mark.parametrize("line", Line)
@pytest.mark.parametrize("count", [1, 3, 15])
async def test_a_client_shows_what_the_packs_sent(count: int, line: Line) -> None:
    """Every field of every pack, digit for digit, on both lines."""
    site = Site(count, line)
    await site.run(70.0)
    assert site.agree() >= 15 * count
    assert site.told.other_masters == 0
    assert all(report.counters.damaged == 0 for _, report in site.told.packs)


@pytest.mark.parametrize("profile", Profile)
async def test_a_client_reads_every_firmware(profile: Profile) -> None:
    """Whatever follows the design capacity."""
    site = Site(3, profile=profile)
    await site.run(40.0)
    assert site.agree() >= 39
    assert site.state(2).soc is not None


async def test_on_rs232_only_the_plugged_pack_says_who_it_is() -> None:
    """And the others are shown without a serial number, not with its."""
    site = Site(3)
    await site.run(40.0)
    serials = [
        identity.serial if (identity := site.told.last(number).identity) is not None else None for number in (1, 2, 3)
    ]
    assert serials == [site.bank.packs[1].spec.serial, None, None]
    assert sum(request[7:9] == b"C2" for _, request in site.bus.requests) == 1


async def test_on_rs485_every_pack_says_who_it_is() -> None:
    """Each at its own address."""
    site = Site(3, Line.RS485)
    await site.run(40.0)
    for number, pack in site.bank.packs.items():
        identity = site.told.last(number).identity
        assert identity is not None
        assert identity.serial == pack.spec.serial


@pytest.mark.parametrize(
    "quirks",
    [{"version": 0x12}, {"answer_as": 0}, {"repeats_command": True}, {"answers_all": False}],
    ids=lambda quirks: next(iter(quirks)),
)
async def test_a_client_lives_with_what_single_makers_do(quirks: dict[str, int | bool]) -> None:
    """Another version, another address, a return code that repeats the command, deafness to FF."""
    site = Site(2, quirks=quirks)
    await site.run(30.0)
    assert site.agree() >= 26


@pytest.mark.parametrize(
    "kind", [Kind.BAD_CHECKSUM, Kind.CUT, Kind.LATE, Kind.WRONG_ADDRESS, Kind.FLIP_FRAME, Kind.ECHO, Kind.NOISE_BEFORE]
)
@pytest.mark.parametrize("line", Line)
async def test_a_bad_line_publishes_nothing_that_was_not_sent(line: Line, kind: Kind) -> None:
    """One answer in five is damaged, and every value that was shown was sent."""
    site = Site(3, line)
    site.bus.faults.add(Fault(kind=kind, probability=1.0 if kind is Kind.ECHO else 0.2))
    await site.run(150.0)
    shown = 0
    for when, report in site.told.packs:
        if report.state is None or not report.online:
            continue
        for name in ("voltage", "current", "cell_voltages", "soc"):
            value = getattr(report.state, name)
            assert site.speaker.was_sent(report.address, name, value, since=when - 60), (report.address, name)
            shown += 1
    assert shown > 100


async def test_an_adapter_that_only_echoes_is_no_battery() -> None:
    """`pace-echo-only`: our own questions come back, and nothing else."""
    site = Site(1)
    site.bus.faults.add(Fault(kind=Kind.ECHO))
    site.bus.faults.add(Fault(kind=Kind.SILENCE))
    await site.run(60.0)
    assert not any(report.online for _, report in site.told.packs)
    assert site.told.other_masters == 0


@pytest.mark.parametrize(
    ("count", "line", "quirks"),
    [
        (1, Line.RS232, {}),
        (3, Line.RS232, {}),
        (3, Line.RS232, {"answers_all": False}),
        (1, Line.RS232, {"answers_all": False, "answer_as": 0}),
        (1, Line.RS485, {}),
        (3, Line.RS485, {}),
    ],
)
async def test_a_scan_tells_the_two_lines_apart(count: int, line: Line, quirks: dict[str, int | bool]) -> None:
    """One pack or several, and where the plugged pack is deaf to FF or answers as 00."""
    site = Site(count, line, quirks=quirks)
    task = asyncio.create_task(scan(site.bus.open_line, clock=site.clock, protocols=tuple(PROTOCOLS.values())))
    while not task.done():
        await site.clock.advance(0.5)
        assert site.clock.monotonic() < 60
    report = task.result()
    assert (report.protocol, report.baudrate) == (PROTOCOLS[line], 9600)
    assert [pack.address for pack in report.packs] == list(site.bank.packs)
    assert not site.speaker.forbidden
