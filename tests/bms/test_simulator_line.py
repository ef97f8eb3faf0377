"""A simulated line: its pace, who shares it, and every fault that it can be given."""

import asyncio
from collections.abc import Callable

import pytest

from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from tests.simulator.bus import SecondMaster
from tests.simulator.faults import Fault, Kind
from tests.simulator.line import MemoryPort
from tests.simulator.pylon_wire import request

from .pylon_bench import BYTE_9600, Bench, info

# --- pace and line ---------------------------------------------------------------------------------------------------


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


# --- faults ----------------------------------------------------------------------------------------------------------


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
