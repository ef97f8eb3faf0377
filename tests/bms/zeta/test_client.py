"""A client on a link of its own: what it does without, what it masks, and how it lets go of the link."""

import asyncio

import pytest

from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from tests.simulator.faults import Fault, Kind
from tests.simulator.zeta import CAN_PROTOCOLS, RS485_PROTOCOLS

from .client_rig import SHORT_STATUS, STATUS, MakeRig, ZetaRig

# --- a link of one's own ---------------------------------------------------------------------------------------------


async def test_values_are_those_that_the_pack_sent(make_rig: MakeRig) -> None:
    """Every field that went out, after the first seconds and an hour later."""
    rig = await make_rig()
    for _ in range(2):
        report = rig.told.last(1)
        assert report.online
        assert report.state is not None
        sent = {name: value for name, value in rig.speaker.latest(1).items() if hasattr(report.state, name)}
        assert len(sent) > 15
        for name, value in sent.items():
            assert getattr(report.state, name) == (pytest.approx(value) if isinstance(value, float) else value), name
        await rig.clock.advance(3600)
    assert report.identity is not None
    assert report.identity.serial is None


async def test_the_first_question_is_not_waited_for(make_rig: MakeRig) -> None:
    """Nobody else can ask there, so that there is nothing to listen for."""
    rig = await make_rig(0.4)
    assert rig.asked() == [STATUS]


async def test_what_never_changes_is_asked_once(make_rig: MakeRig) -> None:
    """Identity, module ID and the two lists; then only the status, every ten seconds."""
    rig = await make_rig(600.0)
    asked = rig.asked()
    assert len(set(asked)) == 5
    assert all(asked.count(request) == 1 for request in set(asked) - {STATUS})
    assert asked.count(STATUS) == 61


async def test_questions_of_somebody_else_are_no_other_master(make_rig: MakeRig) -> None:
    """Bytes that look like one are an acknowledgement, or nothing."""
    rig = await make_rig()
    for data in (STATUS, bytes.fromhex("100a0101e4b6"), bytes.fromhex("1002007165")):
        rig.bus.babble(data)
        await rig.clock.advance(15.0)
    assert rig.told.other_masters == 0
    assert rig.told.last(1).online


async def test_two_answers_to_one_question_are_no_second_pack(make_rig: MakeRig) -> None:
    """Radios repeat; there is one pack at the other end."""
    rig = await make_rig()
    rig.bus.faults.add(Fault(kind=Kind.TWIN_AFTER, probability=0.5))
    await rig.clock.advance(600.0)
    assert not any(report.conflict for _, report in rig.told.packs)
    assert all(report.online for _, report in rig.told.packs)


@pytest.mark.parametrize("kind", [Kind.NOISE_BEFORE, Kind.SPLIT, Kind.BAD_CHECKSUM, Kind.CUT, Kind.SILENCE])
async def test_an_answer_in_five_that_is_damaged_loses_nothing(make_rig: MakeRig, kind: Kind) -> None:
    """It is asked once more."""
    rig = await make_rig()
    rig.bus.faults.add(Fault(kind=kind, probability=0.2))
    await rig.clock.advance(1200.0)
    reports = [report for _, report in rig.told.packs]
    assert len(reports) > 80
    assert all(report.online and not report.conflict for report in reports)
    assert all(
        rig.speaker.was_sent(1, "voltage", report.state.voltage) for report in reports[-20:] if report.state is not None
    )


@pytest.mark.parametrize("delay", [1.95, 2.3, 2.45, 2.9, 3.7, 5.0, 8.0])
async def test_a_late_answer_is_not_taken_for_the_next_ones(make_rig: MakeRig, delay: float) -> None:
    """What is published after a question was answered after it was asked, not before."""
    rig = await make_rig()
    for _ in range(8):
        asked = rig.clock.monotonic()
        rig.bus.faults.add(Fault(kind=Kind.LATE, containing=STATUS, delay=delay, count=1))
        read = asyncio.create_task(rig.client.read(1))
        await rig.clock.advance(0.3)  # the question is out, and what answers it is made
        rig.speaker.heating = not rig.speaker.heating  # ... and is out of date now
        while not read.done():
            await rig.clock.advance(0.05)
        state = read.result().state
        assert state is not None
        received = read.result().received
        assert received is not None
        assert received > asked + 0.3
        assert state.heating_enabled is rig.speaker.heating
        await rig.clock.advance(13.0)
    assert rig.told.last(1).online
    assert rig.client.diagnostics()["opened"] == 1


async def test_answers_that_are_all_late_do_not_shift_by_one(make_rig: MakeRig) -> None:
    """A pack that is too slow for half a minute is read again at once when it is not."""
    rig = await make_rig()
    fault = rig.bus.faults.add(Fault(kind=Kind.LATE, delay=4.0))
    await rig.clock.advance(40.0)
    rig.bus.faults.clear(fault)
    await rig.clock.advance(15.0)
    for enabled in (True, False, True):
        rig.speaker.heating = enabled
        report = asyncio.create_task(rig.client.read(1))
        await rig.clock.advance(4.0)
        state = report.result().state
        assert state is not None
        assert state.heating_enabled is enabled
        await rig.clock.advance(6.0)


async def test_the_late_answer_to_another_question_does_not_make_the_status_shorter(make_rig: MakeRig) -> None:
    """It is no refusal: without the longer status the setting of the heating would not be known."""
    rig = await make_rig(0.0)
    rig.bus.faults.add(Fault(kind=Kind.LATE, delay=3.0, probability=0.5))
    await rig.clock.advance(300.0)
    rig.bus.faults.clear()
    await rig.clock.advance(30.0)
    assert rig.setting is False


async def test_a_pack_without_the_last_registers_is_read_with_the_shorter_question(make_rig: MakeRig) -> None:
    """Its setting is unknown, not off."""
    rig = await make_rig(90.0, registers=39)
    report = rig.told.last(1)
    assert report.online
    assert rig.setting is None
    assert rig.asked(60.0).count(SHORT_STATUS) >= 3


async def test_a_silence_while_it_was_away_does_not_leave_the_setting_unknown_for_ever(make_rig: MakeRig) -> None:
    """A pack that comes back just when the shorter question is tried knows the longer one all the same."""
    rig = await make_rig()
    fault = rig.bus.faults.add(Fault(kind=Kind.SILENCE, containing=STATUS))
    await rig.clock.advance(100.0)
    rig.bus.faults.clear(fault)
    assert rig.setting is None
    await rig.clock.advance(400.0)
    assert rig.told.last(1).online
    assert rig.setting is False


async def test_what_the_settings_say_stands_in_words_beside_the_frames(make_rig: MakeRig) -> None:
    """For whoever reads a report."""
    rig = await make_rig()
    rig.speaker.can_index = 5
    said = rig.client.diagnostics()["said"]
    frames = rig.client.diagnostics()["frames"]
    assert isinstance(said, dict)
    assert isinstance(frames, dict)
    assert set(frames["1"]) == {"status", "identity", "module_id", "rs485_protocols", "can_protocols"}
    assert said["1"]["module_id"] == {"module_id": 1}
    assert said["1"]["rs485_protocols"]["rs485_protocols"]["protocols"] == list(RS485_PROTOCOLS)
    assert said["1"]["can_protocols"]["can_protocols"]["protocols"] == list(CAN_PROTOCOLS)
    assert said["1"]["identity"]["serial_or_date"] == "2024-01-11"
    assert said["1"]["status"]["r40"] == 0


# --- sensors that are not there --------------------------------------------------------------------------------------


async def test_a_sensor_that_always_says_nought_is_not_there(make_rig: MakeRig) -> None:
    """Six places on the wire, as many as ever said anything in the home."""
    rig = await make_rig()
    state = rig.told.last(1).state
    assert state is not None
    assert state.cell_temperatures is not None
    assert len(state.cell_temperatures) == len(rig.bank.packs[1].cell_temperatures) < 6


async def test_a_sensor_that_was_there_is_never_hidden_for_reading_nought(make_rig: MakeRig) -> None:
    """0 degC is when heating matters."""
    rig = await make_rig()
    places = len(rig.bank.packs[1].cell_temperatures)
    rig.speaker.celsius = (4, *[0] * (places - 1))
    await rig.clock.advance(20.0)
    state = rig.told.last(1).state
    assert state is not None
    assert state.cell_temperatures == (4.0, *[0.0] * (places - 1))


async def test_a_sensor_counts_from_its_first_reading_that_is_not_nought(make_rig: MakeRig) -> None:
    """Set up on the coldest of nights: they come one after the other, each at its own place."""
    rig = await make_rig(0.0)
    rig.speaker.celsius = (0, 0, 0, 0)
    await rig.clock.advance(30.0)
    first = rig.told.last(1)
    assert first.online
    assert first.state is not None
    assert first.state.cell_temperatures is None
    rig.speaker.celsius = (0, -1, 0, 0)
    await rig.clock.advance(20.0)
    state = rig.told.last(1).state
    assert state is not None
    assert state.cell_temperatures == (None, -1.0)
    rig.speaker.celsius = (0, 0, 0, 2)
    await rig.clock.advance(20.0)
    state = rig.told.last(1).state
    assert state is not None
    assert state.cell_temperatures == (None, 0.0, None, 2.0)
    assert not rig.told.last(1).held_back


async def test_sensors_that_a_home_remembers_are_there_from_the_first_reading(make_rig: MakeRig) -> None:
    """After a restart at 0 degC nothing is missing."""
    rig = await make_rig(0.0, probes={1: (0, 2)})
    rig.speaker.celsius = (0, 0, 0, 0)
    await rig.clock.advance(15.0)
    state = rig.told.last(1).state
    assert state is not None
    assert state.cell_temperatures == (0.0, None, 0.0)


async def test_a_forgotten_pack_has_forgotten_its_sensors(make_rig: MakeRig) -> None:
    """What comes to its address next is another."""
    rig = await make_rig(15.0)
    rig.client.forget(1)
    rig.speaker.celsius = (0, 3, 0, 0)
    await rig.clock.advance(130.0)
    state = rig.told.last(1).state
    assert state is not None
    assert state.cell_temperatures == (None, 3.0)


# --- released between rounds -----------------------------------------------------------------------------------------


async def test_a_released_link_is_closed_between_rounds_and_nobody_is_told(make_rig: MakeRig) -> None:
    """The pack stays online; the link is open for the second that a round takes."""
    rig = await make_rig(60.0, release=True, interval=60.0)
    opened = open_for = 0.0
    for _ in range(600):
        await rig.clock.advance(1.0)
        opened += 1
        open_for += rig.is_open
        assert rig.told.last(1).online
    assert open_for <= 0.05 * opened
    assert rig.bus.port.opened == 12
    assert [error for _, error in rig.told.links] == [None]
    await rig.clock.advance(10.0)
    assert rig.client.diagnostics()["link"] == "released"
    assert rig.asked().count(STATUS) == 12


async def test_a_read_in_between_opens_a_released_link_and_it_is_closed_again(make_rig: MakeRig) -> None:
    """Whether or not the pack is polled."""
    rig = await make_rig(10.0, release=True, interval=300.0)
    for polling in (True, False):
        rig.client.set_polling(polling)
        assert not rig.is_open
        read = asyncio.create_task(rig.client.read(1))
        await rig.clock.advance(2.0)
        assert read.result().received == pytest.approx(rig.clock.monotonic() - 2.0, abs=1.0)
        assert not rig.is_open
        await rig.clock.advance(30.0)
    assert len(rig.told.links) == 1


async def test_a_released_link_that_cannot_be_opened_is_a_loss_told_once(make_rig: MakeRig) -> None:
    """And its return too, within a cycle."""
    rig = await make_rig(10.0, release=True, interval=60.0)
    rig.bus.unplug()
    await rig.clock.advance(45.0)
    assert rig.told.last(1).online
    await rig.clock.advance(200.0)
    problems = [error.problem if error else None for _, error in rig.told.links]
    assert problems == [None, LinkProblem.MISSING]
    with pytest.raises(LinkError):
        await rig.client.read(1)
    rig.bus.replug()
    await rig.clock.advance(20.0)
    assert [error.problem if error else None for _, error in rig.told.links] == [None, LinkProblem.MISSING, None]
    assert rig.told.last(1).online
    assert not rig.is_open


async def test_a_read_that_cannot_open_a_released_link_says_so(make_rig: MakeRig) -> None:
    """Whoever asked is not left waiting."""
    rig = await make_rig(10.0, release=True, interval=300.0)
    rig.bus.unplug()
    read = asyncio.create_task(rig.client.read(1))
    await rig.clock.advance(1.0)
    assert isinstance(err := read.exception(), LinkError)
    assert err.problem is LinkProblem.MISSING


async def test_a_link_that_is_released_all_the_time_reads_for_a_day(make_rig: MakeRig) -> None:
    """Opened as often as it is read, never twice, and nothing is lost on the way."""
    rig = await make_rig(0.0, release=True, interval=300.0)
    await rig.clock.advance(86400.0)
    assert rig.bus.port.opened == 289
    assert all(report.online for _, report in rig.told.packs)
    assert len(rig.told.links) == 1


# --- left to the phone app -------------------------------------------------------------------------------------------


async def test_a_paused_client_tells_once_is_off_and_costs_the_radio_nothing(make_rig: MakeRig) -> None:
    """And reads are refused with the reason."""
    rig = await make_rig(30.0)
    rig.client.set_paused(True)
    await rig.clock.advance(0.1)
    since, opened = rig.clock.monotonic(), rig.bus.port.opened
    assert not rig.is_open
    await rig.clock.advance(1800.0)
    assert rig.asked(since) == []
    assert rig.bus.port.opened == opened
    assert [error.problem if error else None for _, error in rig.told.links] == [None, LinkProblem.PAUSED]
    with pytest.raises(LinkError) as refused:
        await rig.client.read(1)
    assert refused.value.problem is LinkProblem.PAUSED
    assert rig.client.diagnostics()["link"] == "paused"


async def test_a_paused_client_resumes_at_once_when_asked(make_rig: MakeRig) -> None:
    """However long it was away, and with the right state at once."""
    rig = await make_rig(30.0)
    for away in (0.5, 1800.0):
        rig.client.set_paused(True)
        await rig.clock.advance(away)
        rig.speaker.heating = not rig.speaker.heating  # in the app
        rig.client.set_paused(False)
        await rig.clock.advance(0.2)
        assert rig.asked()[-1] == STATUS
        await rig.clock.advance(4.0)
        assert rig.told.last(1).online
        assert rig.setting is rig.speaker.heating
    problems = [error.problem if error else None for _, error in rig.told.links]
    assert problems == [None, *(LinkProblem.PAUSED, None) * 2]


async def test_a_pause_ends_whatever_waits_on_the_link(make_rig: MakeRig) -> None:
    """A question that is under way, and a read that waits behind it."""
    rig = await make_rig(30.0)
    rig.bus.faults.add(Fault(kind=Kind.SILENCE))
    read = asyncio.create_task(rig.client.read(1))
    await rig.clock.advance(0.7)
    rig.client.set_paused(True)
    await rig.clock.advance(0.0)
    assert isinstance(err := read.exception(), LinkError)
    assert err.problem is LinkProblem.PAUSED
    assert not rig.is_open


async def test_a_pause_while_the_link_is_away_is_told_too_and_so_is_what_comes_after(make_rig: MakeRig) -> None:
    """The reason changes: first it is gone, then it is left alone, then it is gone still."""
    rig = await make_rig(30.0)
    rig.bus.unplug()
    await rig.clock.advance(60.0)
    rig.client.set_paused(True)
    await rig.clock.advance(60.0)
    rig.client.set_paused(False)
    await rig.clock.advance(60.0)
    rig.bus.replug()
    await rig.clock.advance(15.0)
    problems = [error.problem if error else None for _, error in rig.told.links]
    assert problems == [None, LinkProblem.LOST, LinkProblem.PAUSED, LinkProblem.MISSING, None]


async def test_a_client_may_be_paused_before_it_runs_and_stopped_while_it_is_paused(make_rig: MakeRig) -> None:
    """It opens nothing until then, and nothing is left of it."""
    rig = ZetaRig()
    rig.client.set_paused(True)
    await rig.start(60.0)
    assert rig.bus.port.opened == 0
    assert [error.problem if error else None for _, error in rig.told.links] == [LinkProblem.PAUSED]
    await rig.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_asking_for_the_same_pause_twice_changes_nothing(make_rig: MakeRig) -> None:
    """Nor does ending one that is not."""
    rig = await make_rig(30.0)
    rig.client.set_paused(False)
    await rig.clock.advance(5.0)
    rig.client.set_paused(True)
    rig.client.set_paused(True)
    await rig.clock.advance(5.0)
    assert len(rig.told.links) == 2


async def test_a_released_link_can_be_paused(make_rig: MakeRig) -> None:
    """Both at once: nothing is opened for a read either."""
    rig = await make_rig(30.0, release=True, interval=20.0)
    rig.client.set_paused(True)
    await rig.clock.advance(300.0)
    opened = rig.bus.port.opened
    with pytest.raises(LinkError):
        await rig.client.read(1)
    rig.client.set_paused(False)
    await rig.clock.advance(5.0)
    assert rig.bus.port.opened == opened + 1
    assert rig.told.last(1).online
    assert not rig.is_open
