"""The simulated CAN bus: what is heard on it, what is not, and what can go wrong."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.bms.protocols.can.detection import Detector, Hint
from custom_components.lfp_battery.bms.transports import CanTransport
from tests.simulator.bank import SimBank
from tests.simulator.can.bus import SimBus, SimPort
from tests.simulator.can.families import make_speaker
from tests.simulator.can.faults import Fault, Kind
from tests.simulator.can.growatt import SWITCHES_OFF_AFTER, GrowattSpeaker
from tests.simulator.can.inverter import CanInverter
from tests.simulator.can.speaker import CanSpeaker


def build(name: str = "pylon", **options: Any) -> tuple[DrivenClock, SimBus]:
    """A battery on a bus."""
    clock = DrivenClock()
    return clock, SimBus(make_speaker(name, SimBank(2, clock)), clock=clock, **options)


async def hear(clock: DrivenClock, port: SimBus | SimPort, seconds: float) -> Sequence[CanFrame]:
    """What an adapter receives in so many seconds."""
    main = port.main if isinstance(port, SimBus) else port
    if not main.is_open:
        await main.open()
    main.drain()
    await clock.advance(seconds)
    return main.drain()


async def test_a_set_is_received_in_one_go() -> None:
    """Frames of a set wake the reader once, and none is lost or doubled."""
    clock, bus = build()
    wakes: list[Sequence[CanFrame]] = []

    async def read(transport: CanTransport) -> None:
        await transport.open()
        while True:
            wakes.append(await transport.receive(60))

    reader = asyncio.create_task(read(bus))
    await clock.advance(100)
    reader.cancel()
    assert len(wakes) == 100
    assert {len(frames) for frames in wakes} == {6}
    assert bus.frames == 600


async def test_silence_ends_a_wait() -> None:
    """Without any frame, `receive` returns empty when its time is up."""
    clock, bus = build()
    bus.quiet = True
    await bus.open()
    waiting = asyncio.create_task(bus.main.receive(7))
    await clock.advance(6.9)
    assert not waiting.done()
    await clock.advance(0.2)
    assert await waiting == []
    bus.quiet = False
    assert await hear(clock, bus, 5)


async def test_every_adapter_hears_everything() -> None:
    """Two adapters on one bus receive the same frames; a closed one receives nothing."""
    clock, bus = build()
    other, closed = bus.port(), bus.port()
    await other.open()
    first = await hear(clock, bus, 10.0)
    assert list(first) == list(other.drain())
    assert len(first) > 50
    assert list(closed.drain()) == []


async def test_pulling_the_adapter_is_a_lost_link() -> None:
    """Whoever waits learns at once; opening fails until it is back, and then frames come again."""
    clock, bus = build()
    await bus.open()
    await clock.advance(2)
    bus.main.drain()
    waiting = asyncio.create_task(bus.receive(60))
    await clock.advance(0.1)
    bus.unplug()
    await clock.settle()
    with pytest.raises(LinkError) as lost:
        await waiting
    assert lost.value.problem is LinkProblem.LOST
    with pytest.raises(LinkError) as missing:
        await bus.open()
    assert missing.value.problem is LinkProblem.MISSING
    bus.replug()
    assert len(await hear(clock, bus, 3)) >= 12
    assert bus.main.opened == 2


async def test_opening_can_be_refused() -> None:
    """A link that is down, or a missing library, shows when the bus is opened."""
    clock, bus = build()
    bus.main.refusal = LinkProblem.DOWN
    with pytest.raises(LinkError) as refused:
        await bus.open()
    assert refused.value.problem is LinkProblem.DOWN
    bus.main.refusal = None
    assert await hear(clock, bus, 2)


async def test_a_wrong_bit_rate_shows_as_errors_only() -> None:
    """A silent adapter at another rate receives nothing and counts errors; the battery does not suffer."""
    clock, bus = build(bitrate=250_000)
    wrong, right = bus.port(500_000), bus.port(250_000)
    await right.open()
    assert list(await hear(clock, wrong, 10)) == []
    assert wrong.errors > 50
    assert len(right.drain()) > 50
    assert bus.destroyed == 0


async def test_taking_part_at_a_wrong_bit_rate_destroys_frames() -> None:
    """An adapter that acknowledges at the wrong rate ruins the bus for everybody."""
    clock, bus = build()
    careless = bus.port(250_000, silent=False)
    await careless.open()
    assert list(await hear(clock, bus, 5)) == []
    assert bus.errors == bus.destroyed > 20
    await careless.close()
    assert await hear(clock, bus, 2)


async def test_a_frame_that_nobody_acknowledges_is_repeated() -> None:
    """Alone with a silent adapter the battery repeats its first frame every half millisecond (section 2)."""
    clock, bus = build(alone=True)
    frames = await hear(clock, bus, 2.0)
    assert {frame.id for frame in frames} == {0x359}
    assert 2000 < len(frames) <= 4000
    detector = Detector()
    for number, frame in enumerate(frames):
        detector.hear(frame, number * 0.0005)
    assert detector.verdict(2.0).hint is Hint.NO_ACKNOWLEDGE


async def test_an_adapter_that_acknowledges_ends_the_repetition() -> None:
    """With a second node that takes part, the sets come as they should."""
    clock, bus = build(alone=True)
    assert len(await hear(clock, bus, 1.0)) > 500
    taking_part = bus.port(silent=False)
    await taking_part.open()
    await clock.advance(1.0)
    counted = Counter(frame.id for frame in await hear(clock, bus, 10.0))
    assert set(counted) == {0x359, 0x351, 0x355, 0x356, 0x35C, 0x35E}
    assert max(counted.values()) <= 11


@pytest.mark.parametrize("kind", Kind)
async def test_every_fault_strikes(kind: Kind) -> None:
    """What is received under a fault differs from what was sent, and the ledger does not claim it."""
    clock, bus = build()
    speaker = bus.nodes[0]
    assert isinstance(speaker, CanSpeaker)
    bus.faults.add(Fault(kind=kind, ids=frozenset({0x351, 0x359})))
    frames = await hear(clock, bus, 20.0)
    struck = [frame for frame in frames if frame.id in {0x351, 0x359}]
    assert bus.faults.struck[kind] == bus.spoilt >= 38
    assert len(frames) - len(struck) >= 76
    assert set(speaker.ledger.sent) == {0x355, 0x356, 0x35C, 0x35E}
    lengths = Counter(len(frame.data) for frame in struck)
    match kind:
        case Kind.LOST | Kind.ERROR:
            assert struck == []
            assert bus.errors == (bus.spoilt if kind is Kind.ERROR else 0)
        case Kind.TRUNCATED:
            assert max(lengths) < 8
            assert len(lengths) > 3
        case Kind.PADDED:
            assert set(lengths) == {8}
        case Kind.WRONG_DLC:
            assert len(lengths) > 5
        case Kind.TWICE:
            assert len(struck) == 2 * bus.spoilt
        case Kind.RANDOM | Kind.FLIPPED:
            assert set(lengths) == {7, 8}
            assert len({frame.data for frame in struck}) > 10


async def test_a_fault_can_be_over() -> None:
    """A fault that strikes three times leaves every later frame alone; one that is cleared strikes no more."""
    clock, bus = build()
    bus.faults.add(Fault(kind=Kind.LOST, count=3))
    lasting = bus.faults.add(Fault(kind=Kind.LOST, ids=frozenset({0x35E})))
    await hear(clock, bus, 5.0)
    assert bus.faults.struck[Kind.LOST] > 3
    bus.faults.clear(lasting)
    before = bus.spoilt
    await hear(clock, bus, 5.0)
    assert bus.spoilt == before


async def test_a_hung_bms_sends_its_name_only() -> None:
    """Names go on while every measurement has stopped."""
    clock, bus = build()
    speaker = bus.nodes[0]
    assert isinstance(speaker, CanSpeaker)
    speaker.only_text = True
    assert {frame.id for frame in await hear(clock, bus, 5.0)} == {0x35E}


async def test_the_protocol_can_be_changed_at_run_time() -> None:
    """From one moment on the battery sends another family's set and nothing of the old one."""
    clock, bus = build()
    await hear(clock, bus, 3.0)
    await clock.advance(1.0)
    bus.replace(make_speaker("growatt", SimBank(2, clock)), CanInverter("growatt"))
    frames = await hear(clock, bus, 10.0)
    assert {frame.id for frame in frames} >= {0x311, 0x313, 0x301}
    assert not {frame.id for frame in frames} & {0x359, 0x351}


async def test_growatt_enables_and_disables_with_its_inverter() -> None:
    """Outputs come a few seconds after the first 301, go a second after the last, and the pack then switches off."""
    clock = DrivenClock()
    battery = make_speaker("growatt", SimBank(2, clock))
    assert isinstance(battery, GrowattSpeaker)
    battery.switches_off_after = SWITCHES_OFF_AFTER
    inverter = CanInverter("growatt")
    bus = SimBus(battery, clock=clock)

    def enabled() -> object:
        return battery.ledger.latest(None)["charge_enabled"]

    await hear(clock, bus, 5.0)
    assert enabled() is False
    assert battery.ledger.latest(None)["discharge_current_limit"] == 0
    bus.add(inverter)
    await hear(clock, bus, 2.0)
    assert enabled() is False
    await hear(clock, bus, 3.0)
    assert enabled() is True
    assert battery.ledger.latest(None)["discharge_current_limit"] != 0
    bus.remove(inverter)
    await hear(clock, bus, 3.0)
    assert enabled() is False
    assert await hear(clock, bus, SWITCHES_OFF_AFTER - 60)
    await hear(clock, bus, 120)
    assert list(await hear(clock, bus, 60)) == []


async def test_the_ledger_keeps_the_latest_and_is_bounded() -> None:
    """Two hours of frames are counted, but only the latest of each id are kept."""
    clock, bus = build()
    speaker = bus.nodes[0]
    assert isinstance(speaker, CanSpeaker)
    ledger = speaker.ledger
    await hear(clock, bus, 7200.0)
    assert abs(ledger.sent[0x356] - 7200) <= 1
    assert max(len(notes) for notes in ledger.notes.values()) == 64
    assert ledger.latest(None)["manufacturer"] == "PYLON"
    voltage = ledger.latest(None)["voltage"]
    assert ledger.was_sent(None, "voltage", voltage)
    assert not ledger.was_sent(None, "voltage", voltage, since=clock.monotonic())
    assert not ledger.was_sent(None, "voltage", 12.34)


async def test_alarms_of_several_frames_are_united() -> None:
    """A set with 359 and 35A says what either says, and the ledger knows the alarms that stood before."""
    clock = DrivenClock()
    bank = SimBank(1, clock)
    battery = make_speaker("pylon_v2", bank)
    bus = SimBus(battery, clock=clock)
    (pack,) = bank.packs.values()
    await hear(clock, bus, 5.0)
    assert battery.ledger.latest(None)["alarms"] == frozenset()
    pack.force(Alarm(condition=Condition.CHARGE_OVERTEMPERATURE, severity=Severity.PROTECTION))
    await hear(clock, bus, 5.0)
    wide, narrow = (
        Alarm(condition=condition, severity=Severity.PROTECTION)
        for condition in (Condition.OVERTEMPERATURE, Condition.CHARGE_OVERTEMPERATURE)
    )
    assert battery.ledger.latest(None)["alarms"] == {wide, narrow}
    assert battery.ledger.was_sent(None, "alarms", frozenset())
    assert battery.ledger.was_sent(None, "alarms", frozenset({wide, narrow}), since=6.0)


async def test_packs_come_and_go() -> None:
    """A silent pack is not counted, its frames stop, and they come back with it."""
    clock = DrivenClock()
    bank = SimBank(2, clock)
    battery = make_speaker("deye_pcs", bank)
    bus = SimBus(battery, clock=clock)
    second = list(bank.packs.values())[1]
    assert 0x151 in {frame.id for frame in await hear(clock, bus, 3.0)}
    second.silent = True
    await clock.advance(1.5)
    assert 0x151 not in {frame.id for frame in await hear(clock, bus, 3.0)}
    assert battery.ledger.latest(None)["modules_online"] == 1
    second.silent = False
    await clock.advance(1.5)
    assert 0x151 in {frame.id for frame in await hear(clock, bus, 3.0)}
    assert battery.ledger.identity(2)["serial"] == second.spec.serial
