"""The simulator itself: what it says on the wire, how fast, and what each fault does."""

import asyncio
from collections.abc import Callable
import struct

import pytest

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from tests.simulator.bank import SimBank, Steady, make_packs
from tests.simulator.bus import Bus, SecondMaster
from tests.simulator.faults import Fault, Faults, Kind
from tests.simulator.line import MemoryLine, MemoryPort
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pylon import Profile, PylonSpeaker
from tests.simulator.pylon_wire import checksum, encode, request

BYTE_9600 = 10 / 9600


class Bench:
    """A bank on a driven clock, and a master that only knows bytes."""

    def __init__(
        self,
        packs: int | dict[int, SimPack] = 3,
        profile: Profile = Profile.C,
        *,
        baudrate: int = 9600,
        lenient: bool = False,
        spec: PackSpec | None = None,
    ) -> None:
        """Connect everything."""
        self.clock = DrivenClock()
        self.bank = SimBank(packs, self.clock, spec=spec)
        self.speaker = PylonSpeaker(self.bank, profile, lenient=lenient)
        self.bus = Bus(self.speaker, self.clock, baudrate=baudrate, faults=Faults(seed=7))
        self.line = self.bus.open_line(baudrate)

    async def hear(self, seconds: float, line: MemoryLine | None = None) -> bytes:
        """Everything that arrives within so many seconds."""
        heard = bytearray()
        line = line or self.line

        async def listen() -> None:
            while True:
                heard.extend(await line.receive(3600))

        task = asyncio.create_task(listen())
        await self.clock.advance(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return bytes(heard)

    async def ask(self, question: bytes, seconds: float = 3.0) -> bytes:
        """What comes back within `seconds` of a question."""
        if self.bus.port.line is not self.line:
            await self.line.open()
        await self.line.send(question)
        return await self.hear(seconds)


def info(answer: bytes) -> bytes:
    """The payload of an answer, its return code being 00 and its checks right."""
    assert answer.startswith(b"~")
    assert answer.endswith(b"\r")
    assert answer[7:9] == b"00"
    assert int(answer[-5:-1], 16) == checksum(answer[1:-5])
    assert int(answer[9:13], 16) & 0xFFF == len(answer) - 18
    return bytes.fromhex(answer[13:-5].decode())


# frames


def test_checksum_is_that_of_the_published_example() -> None:
    """V3.5 document: ~1203400456ABCEFE has the checksum FC71."""
    assert checksum(b"1203400456ABCEFE") == 0xFC71


@pytest.mark.parametrize(
    ("address", "command", "frame"),
    [
        (0x02, 0x4F, b"~2002464F0000FD98\r"),
        (0x02, 0x42, b"~20024642E00202FD33\r"),
        (0x02, 0x47, b"~200246470000FDA7\r"),
        (0x02, 0x92, b"~20024692E00202FD2E\r"),
        (0x12, 0x61, b"~201246610000FDAA\r"),
    ],
)
def test_questions_are_those_of_the_protocol_note(address: int, command: int, frame: bytes) -> None:
    """Section 4 of pylon-rs485.md lists ready requests."""
    assert request(address, command) == frame


@pytest.mark.parametrize(
    ("command", "length"),
    [
        (0x42, b"B07E"),  # pylon-42-us5000-full
        (0x44, b"A042"),  # pylon-44-us3000c
        (0x47, b"B032"),  # pylon-47-us2000c
        (0x4F, b"0000"),  # pylon-4F-adr02
        (0x51, b"C040"),  # pylon-51-us3000c
        (0x92, b"B014"),  # pylon-92-us3000c
        (0x93, b"C022"),  # pylon-93-us2000c-3
        (0x96, b"400C"),  # pylon-96-us3000c
    ],
)
async def test_answers_of_fifteen_cells_are_as_long_as_captured_ones(command: int, length: bytes) -> None:
    """The LENGTH field equals that of captures of US2000C, US3000C and US5000."""
    bench = Bench(spec=PackSpec(cells=15))
    answer = await bench.ask(request(2, command))
    assert answer[9:13] == length
    info(answer)


@pytest.mark.parametrize(("command", "length"), [(0x61, b"8062"), (0x62, b"8008"), (0x63, b"D012")])
async def test_system_answers_have_the_documented_length(command: int, length: bytes) -> None:
    """Section 6.6: 49, 4 and 9 bytes."""
    bench = Bench(profile=Profile.V35)
    answer = await bench.ask(request(2, command))
    assert answer[9:13] == length
    info(answer)


async def test_analog_answer_holds_what_the_record_of_sent_values_says() -> None:
    """Read by position, with nothing of the encoder's."""
    bench = Bench(spec=PackSpec(soc=70))
    bench.bank.profile = Steady(rate=-0.2)
    await bench.clock.advance(60)
    data = info(await bench.ask(request(3, 0x42)))
    sent = bench.speaker.latest(3)
    assert data[1:3] == b"\x03\x10"
    assert tuple(v / 1000 for v in struct.unpack(">16H", data[3:35])) == sent["cell_voltages"]
    temperatures = [(v - 2731) / 10 for v in struct.unpack(">6H", data[36:48])]
    assert (temperatures[0], temperatures[5]) == (sent["pcb_temperature"], sent["mosfet_temperature"])
    assert tuple(temperatures[1:5]) == sent["cell_temperatures"]
    current, voltage, left16, items, full16, cycles = struct.unpack(">hHHBHH", data[48:59])
    assert (current / 10, voltage / 1000, cycles) == (sent["current"], sent["voltage"], sent["cycles"])
    assert current < -100
    assert (items, full16) == (4, 0xFFFF)
    assert left16 == 0xFFFF
    assert int.from_bytes(data[59:62]) / 1000 == sent["remaining_capacity"]
    assert int.from_bytes(data[62:65]) / 1000 == sent["full_capacity"] == 100.0
    assert len(data) == 65


# profiles


@pytest.mark.parametrize(
    "question",
    [
        request(0x00, 0x4F),
        request(0x01, 0x42),
        request(0x05, 0x42),
        encode(0x02, 0x42, b"\xff"),
        encode(0xFF, 0x42, b"\xff"),
        b"~20024642E00202FD33",
        b"~20024642E00302FD33\r",
        b"~20024642F00202FD33\r",
        b"~2002464\r",
        b"~2002G642E00202FD33\r",
        b"~20024A42E00202FD28\r",
        b"hello\r",
    ],
    ids=[
        "adr00",
        "adr01",
        "absent",
        "group",
        "adrFF",
        "no-end",
        "length",
        "lchksum",
        "short",
        "no-hex",
        "cid1",
        "text",
    ],
)
async def test_c_profile_is_silent(question: bytes) -> None:
    """Section 12: what a C-series pack does not answer at all."""
    assert await Bench().ask(question) == b""


async def test_bad_checksum_and_unknown_command_are_refused() -> None:
    """Section 12: RTN 02 and RTN 04, with empty INFO."""
    bench = Bench()
    assert await bench.ask(b"~20024642E00202FD34\r") == b"~200246020000FDB0\r"
    assert await bench.ask(request(2, 0x60)) == b"~200246040000FDAE\r"


async def test_commands_that_change_something_are_refused_and_noted() -> None:
    """A test of a client can assert that it never sends one."""
    bench = Bench()
    assert (await bench.ask(encode(2, 0x95, b"\x02")))[7:9] == b"04"
    assert bench.speaker.forbidden == [encode(2, 0x95, b"\x02")]


async def test_an_inverter_that_says_version_00_is_answered() -> None:
    """Capture pylon-req-voltronic-4F: VER of a 4F is to be ignored."""
    assert await Bench().ask(b"~0002464F0000FD9A\r") == b"~200246000000FDB2\r"


async def test_infoflag_tells_a_change_once() -> None:
    """11 on the first answer after a change, else 00."""
    bench = Bench()
    flags = [info(await bench.ask(request(2, 0x42)))[0] for _ in range(2)]
    bench.bank.packs[2].force(Alarm(condition=Condition.CHARGE_OVERCURRENT, severity=Severity.PROTECTION))
    flags += [info(await bench.ask(request(2, command)))[0] for command in (0x44, 0x42)]
    assert flags == [0x11, 0x00, 0x11, 0x00]


async def test_a_slave_answers_51_with_the_data_of_the_master() -> None:
    """Capture pylon-51-us2000c-7."""
    packs = {2: SimPack(PackSpec(model="US2000C")), 3: SimPack(PackSpec(model="US2KBPL"))}
    assert info(await Bench(packs).ask(request(3, 0x51))).startswith(b"US2000C\x00")


async def test_old_profile_answers_for_the_group_and_hides_large_capacities() -> None:
    """FF is answered by the master only; above 65 Ah the 16-bit words say FFFF and there are no others."""
    packs = {2: SimPack(PackSpec(cells=15, capacity=50, soc=50)), 3: SimPack(PackSpec(cells=15, capacity=74, soc=98))}
    bench = Bench(packs, Profile.OLD)
    data = info(await bench.ask(encode(2, 0x42, b"\xff")))
    assert data[1] == 2
    assert len(data) == 2 + 2 * 53
    small, large = data[2:55], data[55:]
    assert small[48] == large[48] == 2
    assert struct.unpack(">H", small[49:51])[0] == 50000
    assert (large[46:48], large[49:51]) == (b"\xff\xff", b"\xff\xff")
    assert bench.speaker.latest(3)["full_capacity"] is None
    assert bench.speaker.latest(2)["remaining_capacity"] == 25.0
    assert await bench.ask(encode(3, 0x42, b"\xff")) == b""


async def test_v35_profile_speaks_for_the_stack_only() -> None:
    """60-63, 4F and 51; the current is the sum, in 0.01 A."""
    bench = Bench(4, Profile.V35)
    bench.bank.profile = Steady(rate=0.1)
    await bench.clock.advance(30)
    data = info(await bench.ask(request(0x12, 0x61)))
    assert struct.unpack(">h", data[2:4])[0] / 100 == bench.speaker.latest(None)["current"]
    assert bench.speaker.latest(None)["current"] == pytest.approx(40.0, abs=0.01)
    assert (await bench.ask(request(2, 0x42)))[7:9] == b"04"
    assert info(await bench.ask(request(2, 0x60)))[32] == 4


async def test_groups_have_masters_of_their_own() -> None:
    """Group 1 begins at 12; its packs answer under their own addresses."""
    bench = Bench({**make_packs(2), **make_packs(3, group=1)})
    assert sorted(bench.bank.packs) == [0x02, 0x03, 0x12, 0x13, 0x14]
    assert info(await bench.ask(request(0x14, 0x42)))[1] == 0x14
    assert await bench.ask(request(0x15, 0x42)) == b""


async def test_lenient_answers_what_one_peer_asks_and_no_pack_does() -> None:
    """python-pylontech sends 4F and 51 to address 0, 93 without an address and 42 to the group."""
    bench = Bench(lenient=True)
    assert info(await bench.ask(request(0, 0x4F))) == b""
    assert len(info(await bench.ask(request(0, 0x51)))) == 32
    assert len(info(await bench.ask(encode(2, 0x93)))) == 17
    assert info(await bench.ask(encode(2, 0x42, b"\xff")))[1] == 3


@pytest.mark.parametrize(("cells", "probes"), [(8, 4), (15, 6), (16, 6)])
async def test_packs_of_every_size_answer(cells: int, probes: int) -> None:
    """8, 15 and 16 cells; small packs have fewer probes."""
    data = info(await Bench(spec=PackSpec(cells=cells)).ask(request(2, 0x42)))
    assert (data[2], data[3 + 2 * cells]) == (cells, probes)


# pace and line


@pytest.mark.parametrize("baudrate", [9600, 115200])
async def test_an_exchange_takes_its_true_time(baudrate: int) -> None:
    """Request, turn-round and answer, 10 bits a byte, within 5 %."""
    bench = Bench(baudrate=baudrate)
    await bench.line.open()
    question = request(2, 0x42)
    await bench.line.send(question)
    answer = bytearray()

    async def listen() -> float:
        while not answer.endswith(b"\r"):
            answer.extend(await bench.line.receive(1.0))
        return bench.clock.monotonic()

    task = asyncio.create_task(listen())
    await bench.clock.advance(1.0)
    expected = (len(question) + len(answer)) * 10 / baudrate + 0.075
    assert len(answer) == 148
    assert task.result() == pytest.approx(expected, rel=0.05)
    assert bench.speaker.sent[2][0].time == pytest.approx(len(question) * 10 / baudrate + 0.075)


async def test_bytes_arrive_one_after_the_other() -> None:
    """Half of an answer is there when half of its time is over."""
    bench = Bench()
    await bench.line.open()
    await bench.line.send(request(2, 0x42))
    await bench.clock.advance(20 * BYTE_9600 + 0.075 + 74.5 * BYTE_9600)
    assert len(bench.line.drain()) == 74


async def test_every_byte_that_is_sent_is_counted() -> None:
    """With the time of its request."""
    bench = Bench()
    await bench.ask(request(2, 0x42), 5.0)
    await bench.ask(request(9, 0x44), 5.0)
    assert bench.bus.bytes_received == 40
    assert list(bench.bus.requests) == [(0.0, request(2, 0x42)), (5.0, request(9, 0x44))]


async def test_the_wrong_speed_gets_no_answer_and_hears_garbage() -> None:
    """Requests at another speed are not understood, and neither is what others say."""
    bench = Bench(baudrate=9600)
    line = bench.bus.open_line(115200)
    await line.open()
    await line.send(request(2, 0x42))
    assert await bench.hear(2.0, line) == b""
    bench.bus.babble(request(2, 0x42))
    heard = await bench.hear(2.0, line)
    assert heard
    assert b"~" not in heard


async def test_one_line_at_a_time() -> None:
    """A second opener finds the port busy, until the first gives it back."""
    bench = Bench()
    await bench.line.open()
    second = bench.bus.open_line(9600)
    with pytest.raises(LinkError) as busy:
        await second.open()
    assert busy.value.problem is LinkProblem.BUSY
    await bench.line.close()
    await second.open()


async def test_unplugging_ends_a_wait_at_once() -> None:
    """LOST for whoever waits, MISSING for whoever opens, and well again after replugging."""
    bench = Bench()
    await bench.line.open()
    waiting = asyncio.create_task(bench.line.receive(60))
    await bench.clock.advance(1.0)
    bench.bus.unplug()
    await bench.clock.advance(0.0)
    error = waiting.exception()
    assert isinstance(error, LinkError)
    assert error.problem is LinkProblem.LOST
    with pytest.raises(LinkError) as missing:
        await bench.line.open()
    assert missing.value.problem is LinkProblem.MISSING
    bench.bus.replug()
    assert info(await bench.ask(request(2, 0x42)))


async def test_two_adapters_share_the_wire() -> None:
    """Each hears the other's question and its answer."""
    bench = Bench()
    observer = MemoryPort(bench.bus, "observer").open_line(9600)
    await observer.open()
    answer = await bench.ask(request(2, 0x42))
    assert observer.drain() == request(2, 0x42) + answer


async def test_questions_at_the_same_time_destroy_each_other() -> None:
    """RS485 has no arbitration."""
    bench = Bench()
    other = MemoryPort(bench.bus, "other").open_line(9600)
    await other.open()
    await bench.line.open()
    await other.send(request(3, 0x42))
    assert await bench.ask(request(2, 0x42)) != b""  # the other's question, mutilated
    assert not bench.speaker.sent


# faults


async def test_silence_lasts_for_as_many_answers_as_asked() -> None:
    """Two questions go unanswered, and nothing counts as sent."""
    bench = Bench()
    bench.bus.faults.add(Fault(kind=Kind.SILENCE, addresses=frozenset({2}), count=2))
    assert [bool(await bench.ask(request(2, 0x42))) for _ in range(3)] == [False, False, True]
    assert bench.bus.faults.struck[Kind.SILENCE] == 2
    assert len(bench.speaker.sent[2]) == 1


async def test_a_fault_of_one_pack_leaves_the_others_alone() -> None:
    """And one that names a command leaves other commands alone."""
    bench = Bench()
    bench.bus.faults.add(Fault(kind=Kind.SILENCE, addresses=frozenset({2}), containing=b"4642"))
    assert not await bench.ask(request(2, 0x42))
    assert await bench.ask(request(3, 0x42))
    assert await bench.ask(request(2, 0x44))
    bench.bus.faults.clear()
    assert await bench.ask(request(2, 0x42))


async def test_a_late_answer_comes_during_the_next_question() -> None:
    """After a second of patience nothing is there; it arrives later, whole."""
    bench = Bench()
    bench.bus.faults.add(Fault(kind=Kind.LATE, count=1))
    assert await bench.ask(request(2, 0x42), 1.05) == b""
    heard = await bench.ask(request(3, 0x42), 1.05)
    frames = heard.split(b"\r")[:-1]
    assert [frame[3:5] for frame in frames] == [b"03", b"02"]


async def test_a_wrong_address_is_valid_otherwise() -> None:
    """ADR and the address in INFO both are another pack's, the checksum is right, and nothing counts as sent."""
    bench = Bench()
    bench.bus.faults.add(Fault(kind=Kind.WRONG_ADDRESS, count=1))
    answer = await bench.ask(request(2, 0x42))
    assert answer[3:5] == b"03"
    assert info(answer)[1] == 3
    assert not bench.speaker.sent


async def test_two_packs_on_one_address_collide() -> None:
    """What arrives is longer than one answer or no longer a valid one."""
    bench = Bench()
    good = await bench.ask(request(2, 0x42))
    bench.bus.faults.add(Fault(kind=Kind.TWIN))
    bad = await bench.ask(request(2, 0x42))
    assert bad
    assert bad[1:-1] != good[1:-1]
    with pytest.raises((AssertionError, ValueError, UnicodeDecodeError)):
        info(bad)


async def test_a_bad_checksum_is_all_that_is_wrong() -> None:
    """Every other byte is as it should be."""
    bench = Bench()
    bench.bank.frozen = True
    await bench.ask(request(2, 0x42))
    good = await bench.ask(request(2, 0x42))
    bench.bus.faults.add(Fault(kind=Kind.BAD_CHECKSUM))
    bad = await bench.ask(request(2, 0x42))
    assert bad[:-2] == good[:-2]
    assert bad[-2:] != good[-2:]
    int(bad[-5:-1], 16)


def _echoed(good: bytes, bad: bytes) -> bool:
    return bad == request(2, 0x42) + good


def _noisy_before(good: bytes, bad: bytes) -> bool:
    return bad.endswith(good) and len(bad) == len(good) + 5


def _noisy_after(good: bytes, bad: bytes) -> bool:
    return bad.startswith(good) and len(bad) == len(good) + 5


def _cut(good: bytes, bad: bytes) -> bool:
    return good.startswith(bad) and len(bad) == len(good) - len(good) // 3


def _with_nul(good: bytes, bad: bytes) -> bool:
    return bad == good + b"\x00"


def _same(good: bytes, bad: bytes) -> bool:
    return bad == good


def _one_bit_off(good: bytes, bad: bytes) -> bool:
    return sum((a ^ b).bit_count() for a, b in zip(good, bad, strict=True)) == 1


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.ECHO, _echoed),
        (Kind.NOISE_BEFORE, _noisy_before),
        (Kind.NOISE_AFTER, _noisy_after),
        (Kind.CUT, _cut),
        (Kind.NUL_SUFFIX, _with_nul),
        (Kind.SPLIT, _same),
        (Kind.FLIP_FRAME, _one_bit_off),
    ],
)
async def test_each_fault_does_to_the_bytes_what_it_says(kind: Kind, expected: Callable[[bytes, bytes], bool]) -> None:
    """Compared with the same answer on a clean line."""
    bench = Bench()
    bench.bank.frozen = True
    await bench.ask(request(2, 0x42))
    good = await bench.ask(request(2, 0x42))
    bench.bus.faults.add(Fault(kind=kind))
    assert expected(good, await bench.ask(request(2, 0x42)))
    assert bench.bus.faults.struck[kind] == 1


async def test_split_writes_leave_gaps() -> None:
    """Three pieces, 20 ms apart: 40 ms more than otherwise."""
    bench = Bench()
    bench.bus.faults.add(Fault(kind=Kind.SPLIT))
    await bench.line.open()
    await bench.line.send(request(2, 0x42))
    await bench.clock.advance((20 + 148) * BYTE_9600 + 0.075 + 0.039)
    early = bench.line.drain()
    await bench.clock.advance(0.0011)
    assert len(early) == 147
    assert bench.line.drain() == b"\r"


async def test_bits_go_wrong_as_often_as_asked() -> None:
    """One bit in a thousand: about 1184 of them in a thousand answers of 148 bytes."""
    bench = Bench()
    bench.bank.frozen = True
    await bench.ask(request(2, 0x42))
    good = await bench.ask(request(2, 0x42))
    bench.bus.faults.add(Fault(kind=Kind.FLIP_BITS, rate=1e-3))
    wrong = 0
    for _ in range(200):
        bad = await bench.ask(request(2, 0x42), 0.3)
        wrong += sum((a ^ b).bit_count() for a, b in zip(good, bad, strict=True))
    assert wrong == pytest.approx(200 * 148 * 8 * 1e-3, rel=0.3)


async def test_the_same_seed_strikes_the_same_answers() -> None:
    """So that a failure found once is found again."""

    async def run() -> list[bool]:
        bench = Bench()
        bench.bus.faults.add(Fault(kind=Kind.SILENCE, probability=0.5))
        return [bool(await bench.ask(request(2, 0x42), 0.5)) for _ in range(20)]

    first = await run()
    assert first == await run()
    assert 3 < sum(first) < 17


async def test_a_second_master_is_heard_with_its_answers() -> None:
    """It keeps its own pace, and is not counted as us."""
    bench = Bench()
    await bench.line.open()
    master = bench.bus.add_master(SecondMaster(requests=(request(2, 0x42), request(2, 0x92)), period=1.0))
    heard = await bench.hear(4.05)
    master.stop()
    frames = heard.split(b"\r")[:-1]
    assert [frame[7:9] for frame in frames] == [b"42", b"00", b"92", b"00", b"42", b"00", b"92", b"00"]
    assert bench.bus.bytes_received == 0
    assert len(bench.bus.foreign_requests) == 4
    assert await bench.hear(3.0) == b""


# physics


def run_bank(bank: SimBank, seconds: float, step: float = 10.0) -> None:
    """Let so much time pass in steps."""
    for _ in range(round(seconds / step)):
        bank.step(step)


def test_energy_is_neither_made_nor_lost() -> None:
    """In minus out = stored + heat + what balancing and self-discharge burn, within 1 % of what went through."""
    bank = SimBank(2, DrivenClock(), spec=PackSpec(soc=40))
    pack = bank.packs[2]
    before = pack.stored_energy
    run_bank(bank, 24 * 3600)
    meter = pack.meter
    through = meter.charged + meter.discharged
    net = meter.charged - meter.discharged
    resistive = meter.heat * (pack.resistance - pack.spec.wiring_resistance) / pack.resistance
    assert through > 3000
    assert net == pytest.approx(pack.stored_energy - before + resistive + meter.bled, abs=through * 0.01)


def test_charge_is_counted() -> None:
    """10 A for an hour are 10 Ah."""
    pack = SimPack(PackSpec(soc=50))
    for _ in range(360):
        pack.step(10, 10.0, 20.0)
    assert pack.remaining_capacity == pytest.approx(60.0)
    assert pack.soc == pytest.approx(60.0)


def test_packs_share_the_current_by_their_resistance() -> None:
    """The sum is what the house takes; the thicker cable carries more."""
    packs = {2: SimPack(PackSpec(wiring_resistance=0.002)), 3: SimPack(PackSpec(wiring_resistance=0.02))}
    bank = SimBank(packs, DrivenClock(), profile=Steady(rate=-0.2))
    bank.step(1)
    assert bank.current == pytest.approx(-40.0)
    assert packs[2].current < packs[3].current < 0


def test_a_full_day_moves_the_bank_up_and_down() -> None:
    """Sun fills it, the evening empties it; cells stay within what cells can be."""
    bank = SimBank(2, DrivenClock())
    seen = []
    for _ in range(24 * 6):
        run_bank(bank, 600)
        seen.append(bank.packs[2].soc)
        assert all(2.5 < v < 3.7 for v in bank.packs[2].cell_voltages)
    assert max(seen) > 95
    assert min(seen) < 40


def test_charging_tapers_off_towards_full() -> None:
    """The limit falls before the protection acts, and a full pack asks for nothing (pylon-92-us5000-full)."""
    bank = SimBank(1, DrivenClock(), spec=PackSpec(soc=90), profile=Steady(rate=0.5))
    pack = bank.packs[2]
    limits = []
    while not pack.fully_charged:
        bank.step(10)
        limits.append(pack.charge_limit)
        assert len(limits) < 2000
    assert any(0 < limit < 25 for limit in limits)
    assert pack.charge_limit == 0
    assert not pack.charge_enabled
    assert pack.discharge_enabled
    assert pack.soc == 100
    assert not any(alarm.severity is Severity.PROTECTION for alarm in pack.alarms)


def test_a_low_cell_protects_with_hysteresis() -> None:
    """Raised below 2.80 V, kept until 3.05 V, with the cell's number; discharging stops meanwhile."""
    pack = SimPack(PackSpec(soc=50, spread=0, imbalance=0))
    alarm = Alarm(condition=Condition.CELL_UNDERVOLTAGE, severity=Severity.PROTECTION, cell=5)
    history = []
    for soc in (3.0, 0.5, 3.0, 5.0):
        pack.set_soc(soc, cell=5)
        history.append((round(pack.cell_voltages[4], 2), alarm in pack.alarms, pack.discharge_enabled))
    assert history == [(3.0, False, True), (2.64, True, False), (3.0, True, False), (3.08, False, True)]


def test_cold_stops_charging_only() -> None:
    """Below freezing a pack may be discharged, not charged; 3 degC gives it back."""
    pack = SimPack(PackSpec(temperature=10))
    history = []
    for temperature in (1.0, -0.5, 1.0, 3.5):
        pack.temperature = temperature
        pack.step(0.001, 0.0, temperature)
        history.append((pack.charge_enabled, pack.discharge_enabled))
    assert history == [(True, True), (False, True), (False, True), (True, True)]


def test_the_heater_warms_and_stops() -> None:
    """On below 3 degC, off at 8 degC."""
    pack = SimPack(PackSpec(temperature=2.0, heater_power=200))
    states = []
    for _ in range(400):
        pack.step(60, 0.0, 0.0)
        states.append(pack.heater_active)
    assert states[0]
    assert not all(states)
    assert pack.temperature > 2.5


def test_balancing_brings_cells_together() -> None:
    """While the pack is held full, the spread shrinks."""
    bank = SimBank(1, DrivenClock(), spec=PackSpec(soc=99, imbalance=0.01), profile=Steady(rate=0.05))
    pack = bank.packs[2]
    run_bank(bank, 7200)
    before = max(pack.cell_voltages) - min(pack.cell_voltages)
    assert pack.balancing_cells
    run_bank(bank, 6 * 3600, 30)
    assert max(pack.cell_voltages) - min(pack.cell_voltages) < before


def test_cells_drift_apart_when_nobody_balances() -> None:
    """Self-discharge differs from cell to cell."""
    bank = SimBank(1, DrivenClock(), spec=PackSpec(soc=8, imbalance=0, drift=0.005), profile=Steady())
    pack = bank.packs[2]
    before = max(pack.cell_voltages) - min(pack.cell_voltages)
    run_bank(bank, 3 * 86400, 60)
    assert max(pack.cell_voltages) - min(pack.cell_voltages) > before + 0.002


async def test_a_forced_alarm_goes_out_and_opens_the_switch() -> None:
    """Until it is released."""
    bench = Bench()
    alarm = Alarm(condition=Condition.DISCHARGE_OVERCURRENT, severity=Severity.PROTECTION)
    bench.bank.packs[2].force(alarm)
    await bench.ask(request(2, 0x44))
    await bench.ask(request(2, 0x92))
    sent = bench.speaker.latest(2)
    assert sent["alarms"] == frozenset({alarm})
    assert (sent["discharge_enabled"], sent["discharge_current_limit"]) == (False, 0.0)
    bench.bank.packs[2].release(alarm)
    await bench.ask(request(2, 0x44))
    assert bench.speaker.latest(2)["alarms"] == frozenset()


async def test_nothing_is_computed_while_nobody_asks() -> None:
    """And the next question finds the pack where a steady watch would have found it."""
    idle, watched = Bench(1), Bench(1)
    for _ in range(360):
        await watched.clock.advance(20)
        watched.bank.advance()
    await idle.clock.advance(7200)
    assert idle.bank.elapsed == 0
    idle.bank.advance()
    assert idle.bank.elapsed == pytest.approx(7200)
    assert idle.bank.packs[2].soc == pytest.approx(watched.bank.packs[2].soc, abs=0.05)


async def test_time_can_be_hurried() -> None:
    """A minute of the clock is an hour in the bank."""
    clock = DrivenClock()
    bank = SimBank(1, clock, speed_up=60.0, start_hour=10.0)
    await clock.advance(60)
    bank.advance()
    assert bank.time_of_day / 3600 == pytest.approx(11.0)


async def test_a_step_ahead_of_the_clock_is_not_waited_for() -> None:
    """After an hour by hand, a minute of the clock is still a minute."""
    clock = DrivenClock()
    bank = SimBank(1, clock)
    bank.step(3600)
    await clock.advance(60)
    bank.advance()
    assert bank.elapsed == pytest.approx(3660)


async def test_a_frozen_bank_keeps_its_values() -> None:
    """And goes on from there when it is thawed."""
    clock = DrivenClock()
    bank = SimBank(1, clock)
    bank.frozen = True
    await clock.advance(3600)
    bank.advance()
    assert bank.elapsed == 0
    bank.frozen = False
    await clock.advance(60)
    bank.advance()
    assert bank.elapsed == pytest.approx(60)


async def test_a_sleeping_pack_is_silent_and_its_neighbours_are_not() -> None:
    """Until it wakes."""
    bench = Bench()
    bench.bank.packs[3].silent = True
    assert [bool(await bench.ask(request(address, 0x42))) for address in (2, 3, 4)] == [True, False, True]
    bench.bank.packs[3].silent = False
    assert await bench.ask(request(3, 0x42))
