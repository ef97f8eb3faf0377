"""Simulated batteries on Modbus: two readings of the note, written apart, and what a client makes of them."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from itertools import product
import struct
from typing import override

import pytest

from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.errors import FrameError, RefusedError
from custom_components.lfp_battery.bms.model import Alarm, BankState, Condition, Severity
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.base import Poll, PolledProtocol
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.bus import Bus
from tests.simulator.faults import Fault, Faults, Kind
from tests.simulator.modbus import ModbusSpeaker, Page, RegisterMap, crc, question, sealed
from tests.simulator.modbus_cvte import CvteMap
from tests.simulator.modbus_growatt import Dialect, GrowattMap
from tests.simulator.pack import PackSpec
from tests.simulator.speaker import Disguise, Reply

from .rig import Told

GROWATT, CVTE = POLLED["growatt-rs485"], POLLED["cvte-rs485"]


def bank_of(packs: int, *, cells: int = 16, capacity: float = 100.0, soc: float = 50.0) -> SimBank:
    """Packs from address 1 on."""
    spec = PackSpec(cells=cells, capacity=capacity, soc=soc, temperature=-3.0, cycles=900, soh=97.0)
    return SimBank(make_packs(packs, spec, first=1), DrivenClock())


def ask(speaker: ModbusSpeaker, frame: bytes) -> Reply:
    """One question, one answer, that really goes out."""
    (reply,) = speaker.feed(frame, 0.0)
    if reply.on_wire is not None:
        reply.on_wire(0.0)
    return reply


def all_polls(protocol: PolledProtocol) -> list[Poll]:
    """With what is asked instead of them."""
    polls = [*protocol.polls]
    for poll in polls:
        polls += poll.fallback
    return polls


def assert_shown(state: BankState, sent: Mapping[str, object], doubtful: Collection[str] = ()) -> int:
    """Everything that was sent is shown, but for what may mean something else as well; how many values that were."""
    for name, value in sent.items():
        shown = getattr(state, name)
        assert shown == value or (shown is None and name in doubtful), name
    return len(sent)


def doubtful_in(registers: RegisterMap, cells: int) -> Collection[str]:
    """15 cells behind a register that says nothing."""
    return {"cell_voltages"} if cells == 15 and getattr(registers, "dialect", Dialect.JK) is not Dialect.JK else ()


MAPS = [
    *((GROWATT, GrowattMap(dialect)) for dialect in Dialect),
    (CVTE, CvteMap()),
    (CVTE, CvteMap(prose=True)),
]


@pytest.mark.parametrize("cells", [8, 15, 16])
@pytest.mark.parametrize(("protocol", "registers"), MAPS, ids=lambda v: getattr(v, "dialect", type(v).__name__))
def test_the_codec_reads_what_the_simulator_says(protocol: PolledProtocol, registers: RegisterMap, cells: int) -> None:
    """Every field of every block, with every condition forced at every severity, in a cold bank of three."""
    compared = 0
    seen: set[Alarm] = set()
    # 840 Ah do not fit into the word: this product lets capacities wrap, and is read by who knows the size
    capacity = 280.0 if getattr(registers, "dialect", None) is Dialect.ZT else 100.0
    codec = protocol.configured(packs=3, capacity=capacity)
    conditions = tuple(Condition) if cells == 16 else (Condition.CELL_OVERVOLTAGE, Condition.SHORT_CIRCUIT)
    for condition, severity in product(conditions, Severity):
        bank = bank_of(3, cells=cells, capacity=capacity, soc=13.0 if severity is Severity.FAULT else 79.0)
        speaker = ModbusSpeaker(bank, registers)
        bank.packs[2].force(Alarm(condition=condition, severity=severity))
        bank.step(1)
        for poll in all_polls(codec):
            speaker.sent_bank.clear()
            reply = ask(speaker, poll.request(1))
            try:
                decoded = codec.decode(poll.request(1), reply.data)
            except RefusedError:
                assert not speaker.sent_bank
                continue
            assert decoded.bank is not None
            compared += assert_shown(decoded.bank, speaker.latest(None), doubtful_in(registers, cells))
            seen |= decoded.bank.alarms or frozenset()
    assert compared > (1000 if cells == 16 else 50)
    assert len(seen) >= (10 if cells == 16 else 2)


def test_a_wrapped_bank_is_read_only_by_who_knows_its_size() -> None:
    """840 Ah in a word that holds 655.35."""
    speaker = ModbusSpeaker(bank_of(3, capacity=280.0), GrowattMap(Dialect.ZT))
    request = question(1, 0x13, 23)
    frame = ask(speaker, request).data
    sent = speaker.latest(None)
    full = sent["full_capacity"]
    assert isinstance(full, float)
    assert full > 655.36
    unknown, known = (
        codec.decode(request, frame).bank for codec in (GROWATT, GROWATT.configured(packs=3, capacity=280.0))
    )
    assert unknown is not None
    assert known is not None
    assert (unknown.full_capacity, unknown.remaining_capacity) == (None, None)
    assert (known.full_capacity, known.remaining_capacity) == (full, sent["remaining_capacity"])


async def read_for(
    registers: RegisterMap, protocol: PolledProtocol, seconds: float, faults: Faults | None = None, packs: int = 2
) -> tuple[Told, ModbusSpeaker, Bus, DrivenClock]:
    """A client on a simulated line for so long."""
    clock = DrivenClock()
    bank = SimBank(make_packs(packs, PackSpec(), first=1), clock)
    speaker = ModbusSpeaker(bank, registers)
    bus = Bus(speaker, clock, faults=faults)
    told = Told(clock)
    protocol = protocol.configured(packs=packs, capacity=PackSpec().capacity)
    client = PolledClient(bus.open_line(9600), protocol, clock=clock, listener=told, addresses=[1], interval=10.0)
    task = asyncio.create_task(client.run())
    await clock.advance(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return told, speaker, bus, clock


@pytest.mark.parametrize(("protocol", "registers"), MAPS, ids=lambda v: getattr(v, "dialect", type(v).__name__))
async def test_a_client_shows_what_was_sent(protocol: PolledProtocol, registers: RegisterMap) -> None:
    """Over five minutes; nothing was sent that changes anything, and nothing that no battery understands."""
    told, speaker, _, _ = await read_for(registers, protocol, 300.0)
    when, report = told.banks[-1]
    assert report.online
    assert report.state is not None
    shown = 0
    for name in ("soc", "voltage", "current", "cell_voltages", "alarms", "mode", "full_capacity", "cycles"):
        value = getattr(report.state, name)
        assert value is not None, name
        assert speaker.was_sent(None, name, value, since=when - 30.0), name
        shown += 1
    assert shown == 8
    assert speaker.forbidden == []
    assert speaker.malformed == 0


async def test_firmware_with_fewer_registers_is_asked_for_fewer() -> None:
    """The long question is refused once, and not asked for ever."""
    told, speaker, bus, _ = await read_for(GrowattMap(Dialect.SHORT), GROWATT, 120.0)
    state = told.banks[-1][1].state
    assert state is not None
    assert state.soc == speaker.latest(None)["soc"]
    assert state.discharge_current_limit is None
    asked = [struct.unpack(">BBHHH", request)[2:4] for _, request in bus.requests]
    assert asked.count((0x13, 16)) > 5
    assert asked.count((0x13, 23)) < 5


class _Answers(GrowattMap):
    """Firmware that gives only so many registers whatever it is asked for, or refuses more."""

    def __init__(self, most: int, *, refuse: bool) -> None:
        super().__init__()
        self.most, self.refuse = most, refuse

    @override
    def refusal(self, start: int, count: int) -> int | None:
        return 3 if self.refuse and count > self.most else None

    @override
    def encode(self, unit: int, words: Sequence[int]) -> bytes:
        return super().encode(unit, words if self.refuse else words[: self.most])


@pytest.mark.parametrize("refuse", [True, False], ids=["refused", "short"])
async def test_the_smallest_block_is_read_where_nothing_larger_is_answered(refuse: bool) -> None:
    """JK was seen to answer six registers; both ways of not answering more lead there."""
    told, _, bus, _ = await read_for(_Answers(6, refuse=refuse), GROWATT, 120.0)
    state = told.banks[-1][1].state
    assert state is not None
    assert state.soc is not None
    assert state.full_capacity is None
    asked = [struct.unpack(">BBHHH", request)[2:4] for _, request in bus.requests]
    assert asked.count((0x13, 6)) > 5


@pytest.mark.parametrize("kind", [Kind.BAD_CHECKSUM, Kind.WRONG_ADDRESS])
async def test_answers_that_are_wrong_are_not_shown(kind: Kind) -> None:
    """A damaged answer and one from another unit: never a value that was not sent."""
    faults = Faults(Fault(kind=kind, probability=0.3))
    told, speaker, _, _ = await read_for(GrowattMap(), GROWATT, 300.0, faults)
    assert len(told.banks) > 10
    for _, report in told.banks:
        if report.state is not None and report.state.voltage is not None:
            assert speaker.was_sent(None, "voltage", report.state.voltage)
    counters = told.banks[-1][1].counters
    assert counters.asked > counters.answered


# --- the speaker itself ----------------------------------------------------------------------------------------------


def test_the_speaker_answers_as_the_captures_do() -> None:
    """Lengths, an exception for what does not exist, silence for other units, none for a wrong CRC."""
    speaker = ModbusSpeaker(bank_of(2), GrowattMap())
    assert len(ask(speaker, question(1, 0x13, 23)).data) == 5 + 46
    assert ask(speaker, question(1, 0x100, 12)).data == bytes.fromhex("018302c0f1")
    assert ask(speaker, sealed(struct.pack(">BBHH", 1, 4, 0x13, 6))).data == sealed(b"\x01\x84\x01")
    assert speaker.feed(question(2, 0x13, 23), 0.0) == []
    assert speaker.feed(question(1, 0x13, 23)[:-1] + b"\x00", 0.0) == []
    speaker.reset()
    assert crc(bytes.fromhex("010300130010")) == b"\xb5\xc3"


def test_options_make_other_firmware_of_it() -> None:
    """Zeros instead of exceptions, a largest block, a slower answer."""
    speaker = ModbusSpeaker(bank_of(1), GrowattMap(), most=20, zeros=True, turnround=0.4)
    assert ask(speaker, question(1, 0x200, 2)).data == sealed(b"\x01\x03\x04" + bytes(4))
    assert ask(speaker, question(1, 0x13, 23)).data == sealed(b"\x01\x83\x03")
    assert ask(speaker, question(1, 0x13, 20)).delay == 0.4


def test_questions_are_found_in_pieces_and_behind_garbage() -> None:
    """As a line delivers them."""
    speaker = ModbusSpeaker(bank_of(1), GrowattMap())
    request = question(1, 0x13, 6)
    assert speaker.feed(b"\x55\x01" + request[:3], 0.0) == []
    assert [reply.request for reply in speaker.feed(request[3:] + request, 0.0)] == [request, request]
    assert speaker.malformed == 2
    speaker.feed(bytes(1000), 0.0)
    assert speaker.malformed > 700


def test_writes_are_remembered_and_refused() -> None:
    """The document's handshake, which an inverter sends and a client of ours never may."""
    speaker = ModbusSpeaker(bank_of(1), GrowattMap())
    write = sealed(struct.pack(">BBHHBH", 1, 0x10, 0x13, 1, 2, 7))
    assert ask(speaker, write).data == sealed(b"\x01\x90\x01")
    assert speaker.forbidden == [write]


def test_disguises_are_wrong_in_one_way_only() -> None:
    """As the faults on a line want them."""
    speaker = ModbusSpeaker(bank_of(2), GrowattMap())
    request = question(1, 0x13, 23)
    reply = ask(speaker, request)
    with pytest.raises(FrameError, match="CRC"):
        GROWATT.decode(request, speaker.disguise(reply, Disguise.BAD_CHECK))
    with pytest.raises(FrameError, match="by whom"):
        GROWATT.decode(request, speaker.disguise(reply, Disguise.WRONG_ADDRESS))
    twin = speaker.disguise(reply, Disguise.TWIN)
    assert twin != reply.data
    assert GROWATT.decode(request, twin).bank is not None
    alone = ModbusSpeaker(bank_of(1), GrowattMap())
    only = ask(alone, request)
    assert alone.disguise(only, Disguise.TWIN) == only.data


def test_a_register_holds_sixteen_bits() -> None:
    """What does not fit is a mistake of the map."""
    with pytest.raises(ValueError, match="cannot hold"):
        Page().put(0x13, 0x10000)
