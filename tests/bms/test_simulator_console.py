"""The simulated console: what its profiles print, what goes wrong on demand, and a client that reads it all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.errors import RefusedError
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.base import Decoded, PolledProtocol
from custom_components.lfp_battery.bms.protocols.console.frame import parse
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.bus import Bus
from tests.simulator.console import FORBIDDEN, ConsoleSpeaker
from tests.simulator.console_text import Profile
from tests.simulator.faults import Fault, Kind
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.speaker import Disguise

from .rig import Told

_W, _P, _F = Severity.WARNING, Severity.PROTECTION, Severity.FAULT
_ALARMS = (
    Alarm(condition=Condition.PACK_OVERVOLTAGE, severity=_W),
    Alarm(condition=Condition.CELL_UNDERVOLTAGE, severity=_P, cell=3),
    Alarm(condition=Condition.CHARGE_OVERTEMPERATURE, severity=_P),
    Alarm(condition=Condition.DISCHARGE_OVERCURRENT, severity=_W),
    Alarm(condition=Condition.MOSFET_OVERTEMPERATURE, severity=_P),
    Alarm(condition=Condition.LOW_SOC, severity=_W),
    Alarm(condition=Condition.CELL_FAILURE, severity=_F, cell=7),
    Alarm(condition=Condition.MOSFET_FAILURE, severity=_F),
)


def protocol_of(speaker: ConsoleSpeaker) -> PolledProtocol:
    """Who reads this console."""
    return POLLED["console-pytes" if speaker.prompt == "PYTES" else "console-pylontech"]


def make_speaker(
    profile: Profile, packs: int = 3, *, asleep: bool = False, clock: DrivenClock | None = None
) -> ConsoleSpeaker:
    """A console with packs in its first slots."""
    spec = PackSpec(cells=16 if profile is Profile.V5 else 15, soh=97.0, heater_power=40.0)
    bank = SimBank(make_packs(packs, spec, first=1), clock or DrivenClock())
    return ConsoleSpeaker(bank, profile, asleep=asleep)


def ask(speaker: ConsoleSpeaker, request: bytes) -> tuple[bytes, Decoded]:
    """One question, as a client would take the answer."""
    (reply,) = speaker.feed(request, 0.0)
    protocol = protocol_of(speaker)
    (frame,) = protocol.splitter(request).feed(reply.data)
    assert protocol.is_answer(request, frame)
    decoded = protocol.decode(request, frame)
    if reply.on_wire is not None:
        reply.on_wire(0.0)
    return reply.data, decoded


# --- speaker against codec -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", Profile)
def test_the_codec_reads_what_the_simulator_prints(profile: Profile) -> None:
    """Every field of every answer, of packs that charge, discharge and rest, with every alarm a console can show."""
    compared = 0
    seen: set[Alarm] = set()
    for alarm in (None, *_ALARMS):
        speaker = make_speaker(profile)
        if alarm is not None:
            speaker.bank.packs[2].force(alarm)
        speaker.bank.step(600)
        for poll in protocol_of(speaker).polls:
            for address in speaker.bank.packs:
                try:
                    _, decoded = ask(speaker, poll.request(address))
                except RefusedError:
                    assert (profile, poll.name) == (Profile.V5, "statistics")
                    assert address > 1
                    continue
                told = {slot: speaker.sent[slot][-1].values for slot in decoded.packs}
                assert told.keys() == (speaker.bank.packs.keys() if poll.shared else {address})
                for slot, values in told.items():
                    for name, value in values.items():
                        places = (decoded.packs[slot], decoded.identities.get(slot))
                        got = next((v for p in places if (v := getattr(p, name, None)) is not None), None)
                        assert got == (pytest.approx(value) if isinstance(value, float) else value), (poll.name, name)
                        compared += 1
                    if isinstance(alarms := values.get("alarms"), frozenset):
                        seen |= alarms
    assert compared > 500
    assert len(seen) >= 7


@pytest.mark.parametrize("profile", Profile)
def test_line_ends_are_those_of_a_real_console(profile: Profile) -> None:
    """Echo LF CR, start mark, rows CR CR LF, and LF CR around the end."""
    speaker = make_speaker(profile)
    text, _ = ask(speaker, b"pwr\r")
    assert text.startswith(b"pwr\n\r@\r\r\nPower Volt   Curr   ")
    assert text.endswith(b"\r\n\rCommand completed successfully\r\n\r$$\r\n\r" + speaker.prompt.encode() + b">")
    assert text.count(b"\r\r\n") == speaker.make.slots + 1
    info, _ = ask(speaker, b"info 2\r")
    assert b"\r\n\rManufacturer        : P" in info


@pytest.mark.parametrize("profile", Profile)
def test_columns_in_another_order_and_unknown_ones_change_nothing(profile: Profile) -> None:
    """A firmware that prints more than we know."""
    speaker = make_speaker(profile)
    _, usual = ask(speaker, b"pwr\r")
    speaker.reordered = True
    text, turned = ask(speaker, b"pwr\r")
    assert b"New.\xc9" in text
    assert turned.packs == usual.packs


def test_empty_slots_are_no_packs() -> None:
    """A pack that drops off the bus becomes Absent; without its master there is no console."""
    speaker = make_speaker(Profile.US_NEW)
    speaker.bank.packs[2].silent = True
    _, decoded = ask(speaker, b"pwr\r")
    assert decoded.packs.keys() == {1, 3}
    assert decoded.info == {"absent": [2, *range(4, 17)]}
    speaker.bank.packs[1].silent = True
    assert speaker.feed(b"\r", 0.0) == []


def test_a_damaged_row_of_cells_keeps_its_numbers() -> None:
    """As one real E-BOX printed it: the share where a state belongs."""
    speaker = make_speaker(Profile.EBOX)
    speaker.damaged_cells = frozenset({3})
    speaker.bank.packs[1].force(Alarm(condition=Condition.CELL_UNDERVOLTAGE, severity=_P, cell=3))
    _, decoded = ask(speaker, b"bat 1\r")
    assert decoded.packs[1].cell_voltages == speaker.latest(1)["cell_voltages"]
    assert decoded.packs[1].alarms == frozenset()
    assert decoded.info == {"reduced_rows": [3]}


def test_an_unsolicited_line_is_passed_over() -> None:
    """It comes after the start mark."""
    speaker = make_speaker(Profile.V5)
    speaker.unsolicited = "BMM: The device start charging."
    text, decoded = ask(speaker, b"pwr\r")
    assert b"BMM" in text
    assert decoded.packs.keys() == {1, 2, 3}


def test_a_cut_answer_is_none() -> None:
    """It has no end mark, and nothing of it counts as sent."""
    speaker = make_speaker(Profile.V5)
    speaker.truncated = 1
    (reply,) = speaker.feed(b"pwr\r", 0.0)
    assert protocol_of(speaker).splitter(b"pwr\r").feed(reply.data) == []
    assert reply.on_wire is None
    ask(speaker, b"pwr\r")


@pytest.mark.parametrize("words", ["login debug", "shut", "trst", "time 26 1 1 0 0 0", "updata", "reset"])
def test_commands_that_change_something_are_noted_and_refused(words: str) -> None:
    """So that a test can say that none was ever sent."""
    speaker = make_speaker(Profile.US_C)
    (reply,) = speaker.feed(f"{words}\r".encode(), 0.0)
    assert speaker.forbidden == [f"{words}\r".encode()]
    assert b"Command completed" not in reply.data
    assert words.split(maxsplit=1)[0] in FORBIDDEN | {"time"}


def test_the_pager_goes_on_with_enter_and_ends_with_any_other_key() -> None:
    """What it wrote over its own line is in the text."""
    speaker = make_speaker(Profile.V5)
    replies, paging = [], []
    for key in (b"log\r", b"\r", b" "):
        replies += speaker.feed(key, 0.0)
        paging.append(speaker.paging)
    first, second, last = replies
    assert first.data.endswith(b"Press [Enter] to be continued,other key to exit\r")
    assert second.data.startswith(b"\r\r" + b" " * 50)
    assert paging == [True, True, False]
    assert parse(last.data[-9:]).prompt == "PYTES"
    assert last.data.endswith(b"$$\r\n\rPYTES>")


def test_a_disguised_answer_is_refused() -> None:
    """Another pack's by its echo, a damaged one by its end mark."""
    speaker = make_speaker(Profile.US_C)
    protocol = protocol_of(speaker)
    (reply,) = speaker.feed(b"bat 2\r", 0.0)
    (other,) = protocol.splitter(b"bat 2\r").feed(speaker.disguise(reply, Disguise.WRONG_ADDRESS))
    assert not protocol.is_answer(b"bat 2\r", other)
    assert protocol.splitter(b"bat 2\r").feed(speaker.disguise(reply, Disguise.BAD_CHECK)) == []


# --- a client --------------------------------------------------------------------------------------------------------


class Console:
    """A client on a simulated console, on a driven clock."""

    def __init__(self, profile: Profile, packs: int, *, asleep: bool = False) -> None:
        """Connect everything."""
        self.clock = DrivenClock()
        self.speaker = make_speaker(profile, packs, asleep=asleep, clock=self.clock)
        self.bus = Bus(self.speaker, self.clock, baudrate=115200)
        self.bus.at_other_speed = self.speaker.at_other_speed
        self.told = Told(self.clock)
        self.client = PolledClient(
            self.bus.open_line(115200),
            protocol_of(self.speaker),
            clock=self.clock,
            listener=self.told,
            addresses=list(self.speaker.bank.packs),
            open_line=self.bus.open_line,
        )
        self.task: asyncio.Task[None] | None = None

    async def run(self, seconds: float) -> None:
        """Let the client work for so long."""
        if self.task is None:
            self.task = asyncio.create_task(self.client.run())
        await self.clock.advance(seconds)

    def asked(self, since: float = 0.0) -> list[bytes]:
        """Requests that went out at or after a time."""
        return [request for when, request in self.bus.requests if when >= since]


type MakeConsole = Callable[..., Awaitable[Console]]


@pytest.fixture
async def make_console() -> AsyncIterator[MakeConsole]:
    """Consoles whose clients are stopped after the test, and which were never asked to change anything."""
    made: list[Console] = []

    async def make(profile: Profile, packs: int, *, asleep: bool = False) -> Console:
        made.append(Console(profile, packs, asleep=asleep))
        return made[-1]

    yield make
    for console in made:
        assert console.speaker.forbidden == []
        if console.task is not None:
            console.task.cancel()
            await asyncio.gather(console.task, return_exceptions=True)


_COMPARED = (
    "voltage", "current", "soc", "temperature", "cell_voltages", "cell_temperatures", "cell_voltage_min",
    "cell_temperature_max", "mosfet_temperature", "cycles", "soh", "remaining_capacity", "design_capacity",
    "heater_active", "charge_enabled", "mode", "balancing_cells",
)  # fmt: skip


def wrong(console: Console) -> list[tuple[int, str]]:
    """Fields that are shown and were never printed."""
    found = []
    for address in console.speaker.bank.packs:
        state = console.told.last(address).state
        assert state is not None
        values = ((name, getattr(state, name)) for name in _COMPARED)
        found += [(address, n) for n, v in values if v is not None and not console.speaker.was_sent(address, n, v)]
    return found


@pytest.mark.parametrize(
    ("profile", "packs"), [(Profile.V5, 14), (Profile.EBOX, 3), (Profile.US_NEW, 1), (Profile.US_C, 3)]
)
async def test_a_client_shows_what_the_console_printed(make_console: MakeConsole, profile: Profile, packs: int) -> None:
    """One table a round for all packs, the rest in turn, nothing lost and nothing held back."""
    console = await make_console(profile, packs)
    await console.run(90.0)
    assert wrong(console) == []
    for address in console.speaker.bank.packs:
        report = console.told.last(address)
        assert report.online
        assert report.held_back == {}
        assert report.counters.answered >= report.counters.asked - 4  # V5 refuses the statistics of its slaves
        assert report.identity is not None
        assert report.identity.serial == console.speaker.bank.packs[address].spec.serial
        assert report.state is not None
        assert report.state.cell_voltages is not None
        assert len(report.state.cell_voltages) == (16 if profile is Profile.V5 else 15)
    start = console.clock.monotonic()
    await console.run(60.0)
    asked = console.asked(start)
    assert asked.count(b"pwr\r") == 6
    # a sixth of the packs a round
    assert len([request for request in asked if request.startswith(b"bat")]) == packs
    rounds = console.told.cycles[-6:]
    assert sum(one.seconds for one in rounds) / len(rounds) < 0.4 + 0.25 * packs


async def test_alarms_of_all_answers_are_shown_together(make_console: MakeConsole) -> None:
    """The table has the pack's, the details the faults, the cells say which one."""
    console = await make_console(Profile.US_C, 2)
    console.speaker.bank.packs[2].force(*_ALARMS[1:3], *_ALARMS[6:])
    await console.run(70.0)
    state = console.told.last(2).state
    assert state is not None
    assert state.alarms is not None
    assert state.alarms >= {
        Alarm(condition=Condition.CELL_UNDERVOLTAGE, severity=_P),
        Alarm(condition=Condition.CELL_UNDERVOLTAGE, severity=_P, cell=3),
        Alarm(condition=Condition.OVERTEMPERATURE, severity=_P),
        Alarm(condition=Condition.CELL_FAILURE, severity=_F, cell=7),
        Alarm(condition=Condition.MOSFET_FAILURE, severity=_F),
    }
    console.speaker.bank.packs[2].release()
    await console.run(80.0)
    state = console.told.last(2).state
    assert state is not None
    assert state.alarms == frozenset()


async def test_an_open_pager_is_closed_first(make_console: MakeConsole) -> None:
    """Enter turns its page and brings no prompt, the other key does."""
    console = await make_console(Profile.EBOX, 2)
    console.speaker.feed(b"log\r", 0.0)
    await console.run(20.0)
    assert not console.speaker.paging
    assert console.asked()[:3] == [b"\r", b" ", b"pwr\r"]
    assert console.told.last(2).online
    # whoever opens it later costs one answer
    console.speaker.feed(b"log\r", 0.0)
    await console.run(40.0)
    assert console.told.last(2).online
    assert wrong(console) == []


async def test_a_console_that_fell_back_is_called_at_1200_baud_once(make_console: MakeConsole) -> None:
    """And speaks at its own speed then."""
    console = await make_console(Profile.US2KBPL, 2, asleep=True)
    await console.run(30.0)
    assert not console.speaker.asleep
    assert console.told.last(1).online
    assert sum(request.startswith(b"~") for request in console.asked()) == 1
    assert wrong(console) == []


async def test_a_pytes_console_that_says_nothing_is_never_called_at_1200_baud(make_console: MakeConsole) -> None:
    """It is only asked at its own speed, and found when it is there again."""
    console = await make_console(Profile.V5, 1)
    console.speaker.bank.packs[1].silent = True
    await console.run(60.0)
    assert set(console.asked()) <= {b"\r", b" ", b"pwr\r"}
    console.speaker.bank.packs[1].silent = False
    await console.run(70.0)
    assert console.told.last(1).online


async def test_noise_slow_answers_and_cut_ones_are_survived(make_console: MakeConsole) -> None:
    """A cut answer is asked again; noise in front of an echo is none of it."""
    console = await make_console(Profile.V5, 2)
    await console.run(30.0)
    console.speaker.idle_noise = b"\x00\xfe\x81\xff"
    await console.run(10.0)
    console.speaker.delay = 1.5
    await console.run(60.0)
    assert console.told.last(2).counters.silent == 0
    console.speaker.delay = None
    console.speaker.truncated = 1
    await console.run(30.0)
    assert console.told.last(1).online
    assert console.told.last(2).online
    assert wrong(console) == []
    assert sum(console.told.last(address).counters.damaged for address in (1, 2)) >= 1


@pytest.mark.parametrize("kind", [Kind.WRONG_ADDRESS, Kind.BAD_CHECKSUM, Kind.CUT])
async def test_nothing_wrong_is_shown_of_a_line_with_faults(make_console: MakeConsole, kind: Kind) -> None:
    """A third of the answers is another's, lacks its end mark or is cut short."""
    console = await make_console(Profile.US_C, 3)
    console.bus.faults.add(Fault(kind=kind, probability=0.3))
    await console.run(300.0)
    assert wrong(console) == []
    assert any(console.told.last(address).online for address in (1, 2, 3))


async def test_a_pack_that_drops_off_falls_silent_alone(make_console: MakeConsole) -> None:
    """Its slot is Absent; the others stay, and it comes back."""
    console = await make_console(Profile.V5, 3)
    await console.run(30.0)
    console.speaker.bank.packs[2].silent = True
    await console.run(40.0)
    assert [console.told.last(address).online for address in (1, 2, 3)] == [True, False, True]
    console.speaker.bank.packs[2].silent = False
    await console.run(70.0)
    assert console.told.last(2).online


@pytest.mark.parametrize("profile", [Profile.V5, Profile.US_C])
async def test_a_damaged_barcode_is_never_another_battery(make_console: MakeConsole, profile: Profile) -> None:
    """No check protects it: of the table, of the details and of `info`, only what came twice alike counts.

    Every third answer has one wrong character in each barcode, which is more than any line of 1e-5 does.
    """
    console = await make_console(profile, 2)
    serials = {address: pack.spec.serial for address, pack in console.speaker.bank.packs.items()}
    console.speaker.misprints = 3
    await console.run(600.0)
    assert console.speaker.misprinted > (20 if profile is Profile.V5 else 0)
    for _, report in console.told.packs:
        assert report.identity is None or report.identity.serial in (None, serials[report.address])
    for address, serial in serials.items():
        report = console.told.last(address)
        assert report.identity is not None
        assert report.identity.serial == serial


@pytest.mark.parametrize("profile", [Profile.V5, Profile.US_C])
async def test_a_line_that_flips_bits_shows_no_other_serial_number(make_console: MakeConsole, profile: Profile) -> None:
    """Every bit with 1e-4, ten times what a bad line does; the packs come and go meanwhile."""
    console = await make_console(profile, 3)
    console.bus.faults.add(Fault(kind=Kind.FLIP_BITS, rate=1e-4))
    serials = {address: pack.spec.serial for address, pack in console.speaker.bank.packs.items()}
    for _ in range(6):
        await console.run(200.0)
        console.speaker.bank.packs[2].silent = not console.speaker.bank.packs[2].silent
    shown = {
        (report.address, report.identity.serial) for _, report in console.told.packs if report.identity is not None
    }
    assert {one for one in shown if one[1] is not None} == set(serials.items())


async def test_another_battery_in_the_slot_is_still_noticed(make_console: MakeConsole) -> None:
    """Its barcode comes twice, too."""
    console = await make_console(Profile.V5, 2)
    await console.run(60.0)
    console.speaker.bank.remove(2)
    await console.run(60.0)
    assert not console.told.last(2).online
    console.speaker.bank.add(2, SimPack(PackSpec(serial="OTHERBATTERY0001", cells=16, seed=77)))
    back = len(console.told.packs)
    await console.run(120.0)
    assert console.told.last(2).online
    told = [report for _, report in console.told.packs[back:] if report.address == 2 and report.online]
    assert {report.identity.serial if report.identity is not None else None for report in told} == {"OTHERBATTERY0001"}
