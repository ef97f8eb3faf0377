"""The polling client on a simulated bank: what it asks, when, and what it makes of trouble."""

import asyncio
from dataclasses import replace

import pytest

from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.bms.protocols import POLLED
from tests.simulator.faults import Fault, Kind
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pylon import Profile
from tests.simulator.speaker import Reply

from .rig import MakeRig, Rig

ANALOG, ALARMS, LIMITS, SERIAL = b"4642", b"4644", b"4692", b"4693"


def count(requests: list[bytes], command: bytes) -> int:
    """How many of these requests are this command."""
    return sum(request[5:9] == command for request in requests)


async def test_values_are_those_that_the_packs_sent(make_rig: MakeRig) -> None:
    """Every field of every pack, digit for digit."""
    rig = await make_rig(30.0, packs=3)
    for address in rig.bank.packs:
        report = rig.told.last(address)
        assert report.online
        assert report.state is not None
        sent = rig.speaker.latest(address)
        compared = 0
        for name, value in sent.items():
            if hasattr(report.state, name):
                got = getattr(report.state, name)
                assert got == pytest.approx(value) if isinstance(value, float) else got == value, name
                compared += 1
        assert compared > 10
        assert report.identity is not None
        assert report.identity.serial == rig.bank.packs[address].spec.serial


async def test_analog_and_alarms_come_every_cycle_limits_in_turn_identity_once(make_rig: MakeRig) -> None:
    """The cadence that keeps the bus free for what changes."""
    rig = await make_rig(25.0, packs=6)
    start = rig.clock.monotonic()
    cycles = len(rig.told.cycles)
    await rig.clock.advance(60.0)
    asked = rig.asked(start)
    ran = len(rig.told.cycles) - cycles
    assert ran == 6
    assert count(asked, ANALOG) in (36, 37)  # one look for a new pack a minute
    assert count(asked, ALARMS) == 36
    assert count(asked, LIMITS) == 6
    assert count(asked, SERIAL) == 0


async def test_a_cycle_takes_the_wire_the_turn_round_and_the_pauses(make_rig: MakeRig) -> None:
    """Fourteen packs at 9600 baud: at most 5 % over what the line itself takes."""
    rig = await make_rig(40.0, packs=14)
    traffic = rig.client.diagnostics()["traffic"]
    report = rig.told.cycles[-1]
    assert len(report.answered) == 14
    requests = len(rig.asked(0.0))
    assert isinstance(traffic, dict)
    assert traffic["requests"] == requests
    await rig.clock.advance(10.0)
    last = rig.told.cycles[-1]
    after = rig.client.diagnostics()["traffic"]
    assert isinstance(after, dict)
    wire = (after["sent"] + after["received"] - traffic["sent"] - traffic["received"]) * 10 / 9600
    asked = after["requests"] - traffic["requests"]
    floor = wire + asked * 0.075 + after["paused"] - traffic["paused"]
    assert last.seconds <= 1.05 * floor


async def test_one_silent_pack_is_silent_alone_and_within_three_cycles(make_rig: MakeRig) -> None:
    """Its neighbours answer on; it is asked again ever more rarely, and is there again when it answers."""
    rig = await make_rig(25.0, packs=3)
    fault = rig.bus.faults.add(Fault(kind=Kind.SILENCE, addresses=frozenset({3})))
    went = rig.clock.monotonic()
    await rig.clock.advance(35.0)
    gone = next(when for when, report in rig.told.packs if report.address == 3 and not report.online)
    assert gone - went <= 3 * 10 + 3
    assert rig.told.last(3).state is not None
    assert rig.told.last(2).online
    assert rig.told.last(4).online
    assert len(rig.told.links) == 1
    start = rig.clock.monotonic()
    await rig.clock.advance(300.0)
    attempts = sum(request[1:5] == b"2003" for request in rig.asked(start))
    assert 4 <= attempts <= 10
    rig.bus.faults.clear(fault)
    await rig.clock.advance(75.0)
    assert rig.told.last(3).online


@pytest.mark.parametrize(
    "kind", [Kind.NOISE_BEFORE, Kind.NOISE_AFTER, Kind.NUL_SUFFIX, Kind.SPLIT, Kind.ECHO], ids=lambda kind: kind.value
)
async def test_a_line_that_only_looks_bad_costs_nothing(make_rig: MakeRig, kind: Kind) -> None:
    """Noise around the frames, echoes and split answers are survived without a retry."""
    rig = await make_rig(0.0, packs=2)
    rig.bus.faults.add(Fault(kind=kind))
    await rig.clock.advance(120.0)
    for address in (2, 3):
        report = rig.told.last(address)
        assert report.online
        assert report.counters.asked == report.counters.answered


@pytest.mark.parametrize(
    "kind", [Kind.BAD_CHECKSUM, Kind.CUT, Kind.LATE, Kind.WRONG_ADDRESS, Kind.FLIP_FRAME], ids=lambda kind: kind.value
)
async def test_one_answer_in_five_damaged_loses_nothing(make_rig: MakeRig, kind: Kind) -> None:
    """One repetition is enough nearly always, and no value that was not sent is ever published."""
    rig = await make_rig(15.0, packs=3)
    rig.bus.faults.add(Fault(kind=kind, probability=0.2))
    for _ in range(40):
        rig.told.packs.clear()
        await rig.clock.advance(15.0)
        assert rig.told.packs
        for _, report in rig.told.packs:
            assert report.online
            assert report.state is not None
            assert rig.speaker.was_sent(report.address, "voltage", report.state.voltage)
            assert rig.speaker.was_sent(report.address, "cell_voltages", report.state.cell_voltages)


async def test_a_new_alarm_is_read_twice_and_published_at_once(make_rig: MakeRig) -> None:
    """On a line with an additive checksum; it is not asked about again while it stands."""
    rig = await make_rig(25.0, packs=1)
    alarm = Alarm(condition=Condition.CELL_OVERVOLTAGE, severity=Severity.PROTECTION, cell=3)
    rig.bank.packs[2].force(alarm)
    start = rig.clock.monotonic()
    await rig.clock.advance(12.0)
    state = rig.told.last(2).state
    assert state is not None
    assert state.alarms is not None
    assert Condition.CELL_OVERVOLTAGE in {found.condition for found in state.alarms}
    assert count(rig.asked(start), ALARMS) in (2, 3)
    start = rig.clock.monotonic()
    await rig.clock.advance(30.0)
    assert count(rig.asked(start), ALARMS) == 3


async def test_asking_for_one_pack_reads_it_next(make_rig: MakeRig) -> None:
    """Between cycles at once, within a cycle after the pack that is being read; twice the same is read once."""
    rig = await make_rig(35.0, packs=4)
    start = rig.clock.monotonic()
    waiting = [asyncio.create_task(rig.client.read(5)) for _ in range(3)]
    await rig.clock.advance(1.0)
    assert [task.result().address for task in waiting] == [5, 5, 5]
    asked = rig.asked(start)
    assert asked[0][1:5] == b"2005"
    assert count(asked, ANALOG) == 1
    with pytest.raises(ValueError, match="99"):
        await rig.client.read(99)


async def test_with_polling_off_nothing_is_sent_but_what_is_asked_for(make_rig: MakeRig) -> None:
    """And the line is still watched, so that a pulled plug is known at once."""
    rig = await make_rig(25.0, packs=2)
    rig.client.set_polling(enabled=False)
    await rig.clock.advance(10.0)
    start, before = rig.clock.monotonic(), rig.bus.bytes_received
    await rig.clock.advance(3600.0)
    assert rig.bus.bytes_received == before
    task = asyncio.create_task(rig.client.read(2))
    await rig.clock.advance(2.0)
    received = task.result().received
    assert received is not None
    assert received > start
    rig.client.set_polling(enabled=True)
    await rig.clock.advance(3.0)
    assert rig.told.cycles[-1].answered == {2, 3}
    rig.client.set_polling(enabled=False)
    await rig.clock.advance(20.0)
    rig.bus.unplug()
    await rig.clock.advance(0.1)
    assert rig.told.links[-1][1] is not None


async def test_a_skipped_pack_costs_no_bus_time(make_rig: MakeRig) -> None:
    """Not one byte, until it is wanted again."""
    rig = await make_rig(25.0, packs=3)
    rig.client.set_skipped({3})
    start = rig.clock.monotonic()
    await rig.clock.advance(120.0)
    assert not [request for request in rig.asked(start) if request[1:5] == b"2003"]
    rig.client.set_skipped(())
    await rig.clock.advance(15.0)
    assert rig.told.packs[-1][1].online
    assert [request for request in rig.asked(start) if request[1:5] == b"2003"]


async def test_a_pulled_plug_is_told_once_and_everything_is_read_again_on_return(make_rig: MakeRig) -> None:
    """Within a cycle and the time to open; identity too, because somebody may have changed the batteries."""
    rig = await make_rig(15.5, packs=3)
    for _ in range(3):
        rig.bus.unplug()
        pulled = rig.clock.monotonic()
        await rig.clock.advance(45.0)
        when, error = rig.told.links[-1]
        assert error is not None
        assert error.problem is LinkProblem.LOST
        assert when - pulled < 0.5
        with pytest.raises(LinkError):
            await rig.client.read(2)
        rig.bus.replug()
        back = rig.clock.monotonic()
        await rig.clock.advance(20.0)
        when, error = rig.told.links[-1]
        assert error is None
        assert when - back <= 10.0
        first = next(t for t, report in rig.told.packs if t > back and report.online)
        assert first - when <= 10.0
        assert count(rig.asked(back), SERIAL) == 3
    assert len(rig.told.links) == 1 + 2 * 3


async def test_a_request_under_way_fails_when_the_plug_is_pulled(make_rig: MakeRig) -> None:
    """Nobody waits for ever."""
    rig = await make_rig(15.0, packs=3)
    task = asyncio.create_task(rig.client.read(2))
    await rig.clock.advance(0.05)
    rig.bus.unplug()
    await rig.clock.advance(0.2)
    with pytest.raises(LinkError):
        task.result()


async def test_a_missing_port_is_told_once_and_tried_until_it_is_there(make_rig: MakeRig) -> None:
    """A start without the adapter is a loss like any other."""
    rig = await make_rig(0.0, packs=1)
    await rig.stop()
    rig = Rig(packs=1)
    rig.bus.unplug()
    await rig.start(120.0)
    assert [error.problem if error else None for _, error in rig.told.links] == [LinkProblem.MISSING]
    rig.bus.replug()
    await rig.clock.advance(15.0)
    assert rig.told.links[-1][1] is None
    assert rig.told.last(2).online
    await rig.stop()


async def test_a_pack_that_appears_later_is_found_and_a_forgotten_one_is_new_again(make_rig: MakeRig) -> None:
    """Only addresses next to known packs are asked, once a minute."""
    rig = await make_rig(15.0, packs=4, addresses=[2, 3])
    await rig.clock.advance(240.0)
    assert {report.address for _, report in rig.told.packs} == {2, 3, 4, 5}
    assert rig.told.last(5).identity is not None
    start = rig.clock.monotonic()
    await rig.clock.advance(600.0)
    assert 5 <= sum(request[1:5] == b"2006" for request in rig.asked(start)) <= 12
    rig.client.forget(4)
    rig.bank.remove(4)
    heard = len([1 for _, report in rig.told.packs if report.address == 4])
    await rig.clock.advance(60.0)
    assert len([1 for _, report in rig.told.packs if report.address == 4]) == heard


async def test_a_pack_asleep_at_the_start_gets_no_report_until_it_answers(make_rig: MakeRig) -> None:
    """What was never received is not reported."""
    rig = await make_rig(0.0, packs=2, addresses=[2, 3, 4])
    await rig.clock.advance(60.0)
    assert not [report for _, report in rig.told.packs if report.address == 4]
    assert any(cycle.silent == {4} for cycle in rig.told.cycles)


async def test_a_line_on_which_all_fall_silent_is_opened_anew(make_rig: MakeRig) -> None:
    """A gateway that lost its power leaves a socket that looks alive."""
    rig = await make_rig(15.0, packs=2)
    opened = rig.bus.port.opened
    rig.bus.faults.add(Fault(kind=Kind.SILENCE))
    await rig.clock.advance(300.0)
    assert rig.bus.port.opened > opened
    assert len(rig.told.links) == 1


async def test_a_bank_that_speaks_only_for_itself_is_read(make_rig: MakeRig) -> None:
    """The V3.5 system commands: no packs, one bank."""
    rig = await make_rig(30.0, packs=3, profile=Profile.V35, protocol="pylon-rs485-v35", addresses=[2])
    assert not rig.told.packs
    report = rig.told.banks[-1][1]
    assert report.online
    assert report.state is not None
    sent = rig.speaker.latest(None)
    for name in ("voltage", "current", "soc", "charge_voltage_limit", "discharge_current_limit"):
        assert getattr(report.state, name) == pytest.approx(sent[name]), name
    asked = rig.clock.monotonic()
    task = asyncio.create_task(rig.client.read_bank())
    await rig.clock.advance(2.0)
    fresh = task.result()
    assert fresh is not None
    assert fresh.received is not None
    assert fresh.received > asked


async def test_diagnostics_hold_the_last_frames_but_no_serial_number(make_rig: MakeRig) -> None:
    """An owner can post them."""
    rig = await make_rig(30.0, packs=2)
    frames = rig.client.diagnostics()["frames"]
    assert isinstance(frames, dict)
    text = "".join(bytes.fromhex(frame).decode() for pack in frames.values() for frame in pack.values())
    assert text.count("~") > 4
    serial = rig.bank.packs[2].spec.serial.encode().hex().upper()
    assert serial not in text


async def test_one_refusal_is_not_believed_and_alarms_are_never_given_up(make_rig: MakeRig) -> None:
    """A refusal names no question: it may have been meant for an inverter that asked something else."""
    rig = await make_rig(25.0, packs=1)
    refusal = b"~200246040000FDAE\r"
    answer = rig.speaker.feed

    def refuse_alarms(data: bytes, now: float) -> list[Reply]:
        replies = answer(data, now)
        return [replace(reply, data=refusal) if reply.request[5:9] == ALARMS else reply for reply in replies]

    rig.speaker.feed = refuse_alarms  # type: ignore[method-assign]  # a stand-in
    await rig.clock.advance(10.0)
    rig.speaker.feed = answer  # type: ignore[method-assign]  # a stand-in
    await rig.clock.advance(10.0)
    state = rig.told.last(2).state
    assert state is not None
    assert state.alarms is not None
    rig.speaker.feed = refuse_alarms  # type: ignore[method-assign]  # a stand-in
    await rig.clock.advance(60.0)
    state = rig.told.last(2).state
    assert state is not None
    assert state.alarms is None
    assert rig.told.last(2).online
    rig.speaker.feed = answer  # type: ignore[method-assign]  # a stand-in
    await rig.clock.advance(330.0)
    state = rig.told.last(2).state
    assert state is not None
    assert state.alarms is not None


async def test_damaged_alarms_are_asked_for_again_in_every_cycle(make_rig: MakeRig) -> None:
    """Noise for half a minute must not hide an alarm for five."""
    rig = await make_rig(25.0, packs=1)
    fault = rig.bus.faults.add(Fault(kind=Kind.BAD_CHECKSUM, containing=ALARMS))
    await rig.clock.advance(50.0)
    state = rig.told.last(2).state
    assert state is not None
    assert state.alarms is None
    rig.bus.faults.clear(fault)
    await rig.clock.advance(12.0)
    state = rig.told.last(2).state
    assert state is not None
    assert state.alarms is not None


async def test_with_polling_off_a_reading_on_request_is_whole_and_nothing_old_stays(make_rig: MakeRig) -> None:
    """Limits are asked for too, and alarms that stay unanswered become unknown."""
    rig = await make_rig(25.0, packs=1)
    rig.client.set_polling(enabled=False)
    await rig.clock.advance(3.0)
    rig.bus.faults.add(Fault(kind=Kind.SILENCE, containing=ALARMS))
    start = rig.clock.monotonic()
    for _ in range(4):
        task = asyncio.create_task(rig.client.read(2))
        await rig.clock.advance(3600.0)
        assert task.done()
    assert count(rig.asked(start), LIMITS) >= 4
    state = rig.told.last(2).state
    assert state is not None
    assert state.alarms is None
    assert state.voltage is not None


async def test_a_pack_that_comes_back_says_first_who_it_is(make_rig: MakeRig) -> None:
    """Another battery at the same address must not be shown under the old one's serial number."""
    rig = await make_rig(25.0, packs=2)
    old = rig.bank.packs[3].spec.serial
    rig.bank.remove(3)
    await rig.clock.advance(60.0)
    rig.told.packs.clear()
    rig.bank.add(3, SimPack(PackSpec(serial="OTHERBATTERY0001", seed=77)))
    rig.bus.faults.add(Fault(kind=Kind.SILENCE, addresses=frozenset({3}), containing=SERIAL, count=1))
    await rig.clock.advance(120.0)
    serials = [report.identity and report.identity.serial for _, report in rig.told.packs if report.address == 3]
    assert serials
    assert old not in serials
    assert serials[0] == "OTHERBATTERY0001"


async def test_the_first_byte_waits_for_two_seconds_of_silence(make_rig: MakeRig) -> None:
    """Each time the line is opened."""
    rig = await make_rig(15.0, packs=1)
    assert rig.asked()[0]
    assert rig.bus.requests[0][0] >= 2.0
    rig.bus.unplug()
    await rig.clock.advance(1.0)
    rig.bus.replug()
    await rig.clock.advance(15.0)
    opened = rig.told.links[-1][0]
    assert next(when for when, _ in rig.bus.requests if when > opened) >= opened + 2.0


async def test_with_a_long_interval_limits_are_read_in_every_cycle_and_a_return_is_seen_in_the_next(
    make_rig: MakeRig,
) -> None:
    """Times are counted in seconds, not in cycles."""
    rig = await make_rig(10.0, packs=2, interval=300)
    start = rig.clock.monotonic()
    await rig.clock.advance(1500.0)
    assert count(rig.asked(start), LIMITS) == 2 * 5
    fault = rig.bus.faults.add(Fault(kind=Kind.SILENCE, addresses=frozenset({3})))
    await rig.clock.advance(1800.0)
    assert not rig.told.last(3).online
    rig.bus.faults.clear(fault)
    await rig.clock.advance(310.0)
    assert rig.told.last(3).online


async def test_a_client_that_is_run_again_tells_anew_that_the_link_is_up(make_rig: MakeRig) -> None:
    """Whoever restarts it after a fault has forgotten what was told before."""
    rig = await make_rig(15.0, packs=1)
    await rig.stop()
    await rig.start(15.0)
    assert [error for _, error in rig.told.links] == [None, None]
    assert rig.told.last(2).online


async def test_when_every_pack_was_forgotten_the_masters_are_asked_again(make_rig: MakeRig) -> None:
    """A pack that answers becomes known without anybody's help."""
    rig = await make_rig(15.0, packs=2)
    rig.client.forget(2)
    rig.client.forget(3)
    rig.told.packs.clear()
    await rig.clock.advance(900.0)
    assert {report.address for _, report in rig.told.packs} == {2, 3}


async def test_switching_polling_on_twice_starts_no_cycle(make_rig: MakeRig) -> None:
    """The interval is kept whatever is clicked."""
    rig = await make_rig(15.0, packs=1)
    before = len(rig.told.cycles)
    for _ in range(5):
        rig.client.set_polling(enabled=True)
        await rig.clock.advance(0.5)
    assert len(rig.told.cycles) == before


async def test_forgetting_a_pack_does_not_fail_who_waits_for_it(make_rig: MakeRig) -> None:
    """The last that was known is the answer."""
    rig = await make_rig(15.0, packs=3)
    task = asyncio.create_task(rig.client.read(4))
    await asyncio.sleep(0)
    rig.client.forget(4)
    await rig.clock.advance(2.0)
    assert task.result().address == 4


async def test_the_debug_log_holds_no_serial_number(make_rig: MakeRig, caplog: pytest.LogCaptureFixture) -> None:
    """People attach it to reports."""
    caplog.set_level("DEBUG")
    rig = await make_rig(25.0, packs=2)
    assert "analog" in caplog.text
    for pack in rig.bank.packs.values():
        serial = pack.spec.serial
        assert serial not in caplog.text
        assert serial.encode().hex().upper() not in caplog.text.upper()


def test_packs_are_numbered_as_an_owner_counts_them() -> None:
    """From 1, and by group where there are several."""
    protocol = POLLED["pylon-rs485"]
    assert [protocol.pack_number(address) for address in (2, 3, 0x12, 0x73, 0x99)] == ["1", "2", "2-1", "8-2", "153"]


def test_every_polled_protocol_declares_one_essential_poll() -> None:
    """The client relies on it."""
    for protocol in POLLED.values():
        assert sum(poll.essential for poll in protocol.polls) == 1
        assert protocol.polls[0].essential


@pytest.mark.parametrize("there", [{2, 5}, {2, 9, 13}, {2, 3, 4, 12}])
async def test_packs_behind_sleeping_ones_are_found_in_time(make_rig: MakeRig, there: set[int]) -> None:
    """Every address of a group is asked in turn, one a minute."""
    rig = await make_rig(packs=12, addresses=[2])
    asleep = frozenset(rig.bank.packs) - there
    rig.bus.faults.add(Fault(kind=Kind.SILENCE, addresses=asleep))
    await rig.clock.advance(1800.0)
    assert {report.address for _, report in rig.told.packs if report.online} == there
