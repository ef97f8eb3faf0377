"""Switching the heating: one frame an act, and what came of it is what the pack says."""

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise

import pytest

from custom_components.lfp_battery.bms.clients.base import HeatingControl, HeatingOutcome
from custom_components.lfp_battery.bms.errors import HeatingError, HeatingProblem, LinkProblem
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from tests.simulator.faults import Fault, Kind

from .client_rig import FRAMES, START, STATUS, MakeRig, ZetaRig, outcome, rigs

CONFIRMED, ACCEPTED = HeatingOutcome.CONFIRMED, HeatingOutcome.ACCEPTED
SET = b"\x10\x0a\x01"


@pytest.fixture
async def make_rig() -> AsyncIterator[MakeRig]:
    """Rigs that leave nothing behind."""
    async with rigs() as make:
        yield make


def frames(rig: ZetaRig) -> list[bytes]:
    """What was sent that changes anything, as the pack heard it."""
    return [frame for _, frame in rig.speaker.writes]


def sent(rig: ZetaRig) -> list[bytes]:
    """... and as it went out, whoever heard it."""
    return [request for request in rig.asked() if request.startswith(SET)]


async def skip(rig: ZetaRig, seconds: float) -> None:
    """Let time go by in which nothing is polled."""
    rig.client.set_polling(False)
    await rig.clock.advance(seconds)
    rig.client.set_polling(True)
    await rig.clock.advance(1.0)


# --- what is done ----------------------------------------------------------------------------------------------------


async def test_the_setting_follows_and_is_shown_before_the_act_is_over(make_rig: MakeRig) -> None:
    """On and off, each with one frame, as ble.md section 6 has them."""
    rig = await make_rig()
    for enabled in (True, False):
        result, seconds = await rig.switch(enabled)
        assert result is CONFIRMED
        assert seconds < 3.0
        assert rig.speaker.heating is enabled
        assert rig.setting is enabled
        await rig.clock.advance(10.0)
    assert frames(rig) == [bytes.fromhex("100a0101e4b6"), bytes.fromhex("100a01002576")]


async def test_what_is_so_already_is_confirmed_without_a_frame(make_rig: MakeRig) -> None:
    """Also when it was changed in the app since it was last read."""
    rig = await make_rig()
    rig.speaker.heating = True
    assert (await rig.switch(True))[0] is CONFIRMED
    assert rig.setting is True
    assert frames(rig) == []
    assert rig.heating.acts(1) == ()


async def test_the_frame_goes_between_two_questions(make_rig: MakeRig) -> None:
    """Asked for in the middle of a round: one request at a time, and the answer of each is its own."""
    rig = await make_rig(0.0)
    await rig.clock.advance(13.93)  # the status of the second round is on its way
    assert rig.asked()[-1] == STATUS
    result, _ = await rig.switch(True)
    assert result is CONFIRMED
    times = [when for when, _ in rig.bus.requests]
    assert all(later - sooner > 0.1 for sooner, later in pairwise(times))
    assert rig.told.last(1).counters.damaged == 0


async def test_an_act_is_remembered_with_its_time(make_rig: MakeRig) -> None:
    """In UTC, for as long as it counts."""
    rig = await make_rig()
    await rig.switch(True)
    (act,) = rig.heating.acts(1)
    assert START + timedelta(seconds=5) <= act <= START + timedelta(seconds=8)
    await skip(rig, 86400.0)
    assert rig.heating.acts(1) == ()


async def test_a_pack_that_acknowledges_and_does_nothing_has_accepted(make_rig: MakeRig) -> None:
    """The manual: settings take effect after the pack is switched off and on. Read about every 1.5 s, for 10 s."""
    rig = await make_rig()
    rig.speaker.ignore_heating = True
    before = rig.clock.monotonic()
    result, seconds = await rig.switch(True)
    assert result is ACCEPTED
    assert 10.0 <= seconds <= 11.5
    assert frames(rig) == [FRAMES.on]
    assert 6 <= rig.asked(before + 1.0).count(STATUS) <= 9
    assert rig.setting is False
    assert rig.told.last(1).online


async def test_without_an_acknowledgement_the_setting_decides(make_rig: MakeRig) -> None:
    """Nothing is sent again either way."""
    rig = await make_rig()
    rig.speaker.silent_sets = True
    assert (await rig.switch(True))[0] is CONFIRMED
    await rig.clock.advance(10.0)
    rig.speaker.ignore_heating = True
    result, seconds = await rig.switch(False)
    assert result is HeatingProblem.UNANSWERED
    assert 10.0 <= seconds <= 11.5
    assert frames(rig) == [FRAMES.on, FRAMES.off]
    assert rig.setting is True


@pytest.mark.parametrize("kind", [Kind.BAD_CHECKSUM, Kind.CUT, Kind.LATE, Kind.WRONG_ADDRESS])
async def test_a_damaged_acknowledgement_is_none(make_rig: MakeRig, kind: Kind) -> None:
    """Nor is one that comes when it is waited for no longer; the frame is not sent again."""
    rig = await make_rig()
    rig.bus.faults.add(Fault(kind=kind, containing=SET, delay=5.0))
    assert (await rig.switch(True))[0] is CONFIRMED
    await rig.clock.advance(20.0)
    rig.speaker.ignore_heating = True
    assert (await rig.switch(False))[0] is HeatingProblem.UNANSWERED
    assert sent(rig) == [FRAMES.on, FRAMES.off]
    assert rig.told.last(1).online
    assert rig.told.other_masters == 0


async def test_a_frame_that_never_arrives_is_not_sent_again(make_rig: MakeRig) -> None:
    """Whoever wished it may do so once more."""
    rig = await make_rig()
    rig.bus.baudrate = 1  # nothing that is sent can be read
    task = rig.wish(True)
    rig.bus.baudrate = 1_000_000
    await rig.clock.advance(0.35)
    rig.bus.faults.add(Fault(kind=Kind.SILENCE, containing=SET))
    rig.speaker.ignore_heating = True
    await rig.clock.advance(12.0)
    assert outcome(task) is HeatingProblem.UNANSWERED
    assert sent(rig) == [FRAMES.on]


# --- what is refused -------------------------------------------------------------------------------------------------


async def test_a_refusal_withdraws_and_is_never_repeated(make_rig: MakeRig) -> None:
    """The shown state is what is read; another wish sends nothing any more."""
    rig = await make_rig()
    rig.speaker.refuse_heating = True
    result, seconds = await rig.switch(True)
    assert result is HeatingProblem.REFUSED
    assert HeatingError(HeatingProblem.REFUSED).withdraws
    assert seconds < 4.0
    assert rig.setting is False
    rig.speaker.refuse_heating = False
    await rig.clock.advance(3600.0)
    assert (await rig.switch(True))[0] is HeatingProblem.REFUSED
    assert frames(rig) == [FRAMES.on]


@pytest.mark.parametrize("ignored", [False, True])
async def test_anything_else_that_changes_contradicts(make_rig: MakeRig, *, ignored: bool) -> None:
    """Whether or not the setting follows: the frame is not what it was taken for."""
    rig = await make_rig()
    rig.speaker.disturb_r40 = 0x0400
    rig.speaker.ignore_heating = ignored
    assert (await rig.switch(True))[0] is HeatingProblem.CONTRADICTED
    assert HeatingError(HeatingProblem.CONTRADICTED).withdraws
    rig.speaker.disturb_r40 = 0
    await rig.clock.advance(60.0)
    assert (await rig.switch(not rig.speaker.heating))[0] is HeatingProblem.CONTRADICTED
    assert frames(rig) == [FRAMES.on]


async def test_what_was_not_a_refusal_may_be_wished_again(make_rig: MakeRig) -> None:
    """Unanswered, accepted or refused by us: none of it says that the frame is wrong."""
    rig = await make_rig()
    rig.speaker.silent_sets = rig.speaker.ignore_heating = True
    assert (await rig.switch(True))[0] is HeatingProblem.UNANSWERED
    rig.speaker.silent_sets = False
    assert (await rig.switch(True))[0] is ACCEPTED
    rig.speaker.ignore_heating = False
    assert (await rig.switch(True))[0] is CONFIRMED
    assert not HeatingError(HeatingProblem.UNANSWERED).withdraws


@pytest.mark.parametrize("severity", [Severity.PROTECTION, Severity.FAULT])
async def test_a_protection_or_fault_other_than_cold_refuses(make_rig: MakeRig, severity: Severity) -> None:
    """Seen in the reading just before, though it was not there in the last round."""
    rig = await make_rig()
    condition = Condition.CELL_IMBALANCE if severity is Severity.FAULT else Condition.CELL_OVERVOLTAGE
    rig.bank.packs[1].force(Alarm(condition=condition, severity=severity))
    assert (await rig.switch(True))[0] is HeatingProblem.PROTECTION
    assert frames(rig) == []


@pytest.mark.parametrize(
    ("condition", "severity"),
    [
        (Condition.CHARGE_UNDERTEMPERATURE, Severity.PROTECTION),
        (Condition.DISCHARGE_UNDERTEMPERATURE, Severity.PROTECTION),
        (Condition.CELL_OVERVOLTAGE, Severity.WARNING),
    ],
)
async def test_a_protection_against_cold_or_a_warning_does_not_refuse(
    make_rig: MakeRig, condition: Condition, severity: Severity
) -> None:
    """That is what heating is for."""
    rig = await make_rig()
    rig.bank.packs[1].force(Alarm(condition=condition, severity=severity))
    assert (await rig.switch(True))[0] is CONFIRMED


async def test_a_setting_that_is_not_known_is_not_switched(make_rig: MakeRig) -> None:
    """The shorter status does not have it."""
    rig = await make_rig(60.0, registers=39)
    assert (await rig.switch(True))[0] is HeatingProblem.UNKNOWN
    assert frames(rig) == []


async def test_a_pack_that_does_not_answer_is_not_switched(make_rig: MakeRig) -> None:
    """At once when it is silent for long; after asking when it has only just fallen silent."""
    rig = await make_rig()
    rig.bus.faults.add(Fault(kind=Kind.SILENCE))
    assert rig.told.last(1).online
    assert (await rig.switch(True))[0] is HeatingProblem.STALE
    await rig.clock.advance(60.0)
    assert not rig.told.last(1).online
    assert (await rig.switch(True))[0] is HeatingProblem.STALE
    rig.bus.faults.clear()
    assert frames(rig) == []
    assert rig.heating.acts(1) == ()


async def test_old_data_is_read_anew_before_anything_is_sent(make_rig: MakeRig) -> None:
    """Of a pack that is not polled nobody knows how it is now."""
    rig = await make_rig()
    rig.client.set_polling(False)
    await rig.clock.advance(7200.0)
    rig.bank.packs[1].force(Alarm(condition=Condition.SHORT_CIRCUIT, severity=Severity.PROTECTION))
    assert (await rig.switch(True))[0] is HeatingProblem.PROTECTION
    assert frames(rig) == []


async def test_an_empty_block_is_no_reading(make_rig: MakeRig) -> None:
    """Intact frames full of noughts come while electronics start."""
    rig = await make_rig()
    rig.speaker.zero_block = True
    assert (await rig.switch(True))[0] is HeatingProblem.STALE
    assert frames(rig) == []


async def test_ten_seconds_lie_between_two_frames(make_rig: MakeRig) -> None:
    """Counted from one frame to the next, whatever came of the first."""
    rig = await make_rig()
    assert (await rig.switch(True))[0] is CONFIRMED
    assert (await rig.switch(False))[0] is HeatingProblem.TOO_SOON
    await rig.clock.advance(7.0)
    assert (await rig.switch(False))[0] is HeatingProblem.TOO_SOON
    await rig.clock.advance(2.0)
    assert (await rig.switch(False))[0] is CONFIRMED
    assert frames(rig) == [FRAMES.on, FRAMES.off]


async def test_no_more_than_twenty_frames_go_out_in_a_day(make_rig: MakeRig) -> None:
    """What is so already does not count, and the oldest is forgotten after 24 hours."""
    rig = await make_rig()
    enabled = False
    for _ in range(20):
        enabled = not enabled
        assert (await rig.switch(enabled))[0] is CONFIRMED
        await skip(rig, 600.0)
    assert (await rig.switch(enabled))[0] is CONFIRMED
    assert (await rig.switch(not enabled))[0] is HeatingProblem.TOO_OFTEN
    assert len(frames(rig)) == len(rig.heating.acts(1)) == 20
    await skip(rig, 86400.0 - 20 * 600.0 + 60.0)
    assert (await rig.switch(not enabled))[0] is CONFIRMED
    assert len(frames(rig)) == 21


async def test_acts_of_before_a_restart_count(make_rig: MakeRig) -> None:
    """Those of the last ten seconds, and the twenty of a day; what is older or of tomorrow is no reason to wait."""
    rig = await make_rig(heating_acts={1: [START - timedelta(seconds=2)]})
    assert (await rig.switch(True))[0] is HeatingProblem.TOO_SOON
    rig = await make_rig(heating_acts={1: [START - timedelta(hours=count) for count in range(1, 21)]})
    assert (await rig.switch(True))[0] is HeatingProblem.TOO_OFTEN
    rig = await make_rig(heating_acts={1: [START - timedelta(hours=20 + count) for count in range(1, 21)]})
    assert (await rig.switch(True))[0] is CONFIRMED
    rig = await make_rig(heating_acts={1: [START + timedelta(hours=1)]})
    assert (await rig.switch(True))[0] is CONFIRMED


async def test_nothing_is_sent_over_a_link_that_is_away_or_left_alone(make_rig: MakeRig) -> None:
    """The reason is the link's."""
    rig = await make_rig()
    rig.client.set_paused(True)
    await rig.clock.advance(5.0)
    assert (await rig.switch(True))[0] is LinkProblem.PAUSED
    rig.client.set_paused(False)
    rig.bus.unplug()
    await rig.clock.advance(30.0)
    assert (await rig.switch(True))[0] is LinkProblem.MISSING
    assert sent(rig) == []


async def test_only_those_who_allowed_it_have_something_to_switch(make_rig: MakeRig) -> None:
    """And only where there is a frame for it."""
    for how in ({"heating": False}, {"protocol": "zeta-1000"}):
        rig = await make_rig(0.0, **how)
        assert rig.client.heating is None
    rig = await make_rig()
    control: HeatingControl = rig.heating
    with pytest.raises(ValueError, match="no pack"):
        await control.switch(2, enabled=True)


# --- a link that goes away -------------------------------------------------------------------------------------------


async def test_a_pack_that_restarts_after_the_frame_is_read_back_when_it_is_back(make_rig: MakeRig) -> None:
    """The link drops before the setting has changed, and is taken up again within the ten seconds."""
    rig = await make_rig(30.0)
    rig.speaker.apply_on_restart = True
    task = rig.wish(True)
    await rig.clock.advance(3.0)
    assert frames(rig) == [FRAMES.on]
    rig.bus.unplug()
    await rig.clock.advance(2.0)
    assert rig.told.links[-1][1] is not None
    rig.speaker.restart()
    rig.bus.replug()
    await rig.clock.advance(4.0)
    assert outcome(task) is CONFIRMED
    assert frames(rig) == [FRAMES.on]
    assert rig.setting is True
    assert [error.problem if error else None for _, error in rig.told.links] == [None, LinkProblem.LOST, None]
    await rig.clock.advance(30.0)
    assert rig.told.last(1).online


@pytest.mark.parametrize(("acknowledged", "expected"), [(True, ACCEPTED), (False, HeatingProblem.UNANSWERED)])
async def test_a_pack_that_is_not_back_in_time_has_accepted_if_it_has_acknowledged(
    make_rig: MakeRig, *, acknowledged: bool, expected: object
) -> None:
    """Ten seconds after the frame it is over, however long the pack is away."""
    rig = await make_rig(30.0)
    rig.speaker.apply_on_restart = True
    rig.speaker.silent_sets = not acknowledged
    began, task = rig.clock.monotonic(), rig.wish(True)
    await rig.clock.advance(2.0)
    rig.bus.unplug()
    while not task.done():
        await rig.clock.advance(0.1)
        assert rig.clock.monotonic() < began + 12.0
    assert outcome(task) is expected
    rig.bus.replug()
    await rig.clock.advance(30.0)
    assert sent(rig) == [FRAMES.on]
    assert rig.told.last(1).online


async def test_a_link_that_breaks_while_the_frame_goes_out_does_not_send_it_again(make_rig: MakeRig) -> None:
    """Nobody knows whether it arrived; the setting says so, once the pack is back."""
    rig = await make_rig(30.0)
    task = rig.wish(True)
    while not sent(rig):
        await rig.clock.advance(0.01)
    rig.bus.unplug()
    await rig.clock.advance(1.0)
    rig.bus.replug()
    await rig.clock.advance(10.0)
    assert outcome(task) is CONFIRMED
    assert len(rig.heating.acts(1)) == 1
    assert sent(rig) == [FRAMES.on]


async def test_a_link_that_breaks_before_the_frame_sends_nothing_when_it_is_back(make_rig: MakeRig) -> None:
    """The wish is over with the error."""
    rig = await make_rig(30.0)
    rig.bus.faults.add(Fault(kind=Kind.SILENCE))
    task = rig.wish(True)
    await rig.clock.advance(1.0)
    rig.bus.unplug()
    await rig.clock.advance(1.0)
    assert outcome(task) is LinkProblem.LOST
    rig.bus.faults.clear()
    rig.bus.replug()
    await rig.clock.advance(60.0)
    assert sent(rig) == []


async def test_a_wish_without_effect_even_after_a_restart_contradicts(make_rig: MakeRig) -> None:
    """Accepted twice, and the pack was away in between."""
    rig = await make_rig(30.0)
    rig.speaker.ignore_heating = True
    assert (await rig.switch(True))[0] is ACCEPTED
    assert (await rig.switch(True))[0] is ACCEPTED
    rig.bus.unplug()
    await rig.clock.advance(20.0)
    rig.bus.replug()
    await rig.clock.advance(30.0)
    assert (await rig.switch(True))[0] is HeatingProblem.CONTRADICTED
    assert frames(rig) == [FRAMES.on] * 3


async def test_a_pause_is_no_restart(make_rig: MakeRig) -> None:
    """It was we who went away."""
    rig = await make_rig(30.0)
    rig.speaker.ignore_heating = True
    assert (await rig.switch(True))[0] is ACCEPTED
    rig.client.set_paused(True)
    await rig.clock.advance(20.0)
    rig.client.set_paused(False)
    await rig.clock.advance(30.0)
    assert (await rig.switch(True))[0] is ACCEPTED


async def test_a_wish_that_took_effect_after_the_restart_does_not_contradict_the_next_one(make_rig: MakeRig) -> None:
    """Switched off in the app since, and wished again."""
    rig = await make_rig(30.0)
    rig.speaker.apply_on_restart = True
    for _ in range(3):
        assert (await rig.switch(True))[0] is ACCEPTED
        rig.bus.unplug()
        rig.speaker.restart()
        await rig.clock.advance(10.0)
        rig.bus.replug()
        await rig.clock.advance(20.0)
        assert rig.setting is True
        rig.speaker.heating = False
        await rig.clock.advance(20.0)


async def test_a_released_link_is_held_while_the_heating_is_switched(make_rig: MakeRig) -> None:
    """Opened for it, kept through the reading back, and closed when it is over."""
    rig = await make_rig(10.0, release=True, interval=300.0)
    rig.speaker.ignore_heating = True
    opened = rig.bus.port.opened
    assert (await rig.switch(True))[0] is ACCEPTED
    assert rig.bus.port.opened == opened + 1
    await rig.clock.advance(1.0)
    assert not rig.is_open
    assert [error for _, error in rig.told.links] == [None]


# --- several, and the end --------------------------------------------------------------------------------------------


async def test_acts_at_the_same_time_are_done_one_after_the_other(make_rig: MakeRig) -> None:
    """The second finds the first's ten seconds, or that it is so already."""
    rig = await make_rig(30.0)
    tasks = [rig.wish(True), rig.wish(False), rig.wish(True)]
    await rig.clock.advance(8.0)
    assert [outcome(task) for task in tasks] == [CONFIRMED, HeatingProblem.TOO_SOON, CONFIRMED]
    assert frames(rig) == [FRAMES.on]


async def test_a_second_act_waits_while_the_first_is_read_back(make_rig: MakeRig) -> None:
    """Nothing is sent in between."""
    rig = await make_rig(30.0)
    rig.speaker.ignore_heating = True
    first = rig.wish(True)
    await rig.clock.advance(3.0)
    second = rig.wish(True)
    await rig.clock.advance(6.0)
    assert frames(rig) == [FRAMES.on]
    await rig.clock.advance(20.0)
    assert (outcome(first), outcome(second)) == (ACCEPTED, ACCEPTED)
    assert frames(rig) == [FRAMES.on] * 2
    assert rig.speaker.writes[1][0] - rig.speaker.writes[0][0] >= 10.0


@pytest.mark.parametrize("after", [0.0, 0.05, 0.2, 0.4, 0.6, 0.65, 0.75, 1.0, 2.0, 5.0, 9.9])
async def test_an_act_that_is_given_up_sends_one_frame_or_none(make_rig: MakeRig, after: float) -> None:
    """And never a second one; what is read goes on as before."""
    rig = await make_rig(30.0)
    rig.speaker.ignore_heating = True
    task = rig.wish(True)
    await rig.clock.advance(after)
    had = len(sent(rig))
    task.cancel()
    await rig.clock.advance(60.0)
    assert outcome(task) == "cancelled"
    assert len(sent(rig)) == had <= 1
    assert len(rig.heating.acts(1)) == len(sent(rig))
    assert rig.told.last(1).online
    rig.speaker.ignore_heating = False
    assert (await rig.switch(True))[0] is CONFIRMED


@pytest.mark.parametrize("after", [0.0, 0.05, 0.3, 0.62, 0.75, 1.5, 5.0, 9.5])
async def test_unloading_ends_an_act_at_once(make_rig: MakeRig, after: float) -> None:
    """With what is known by then; nothing is sent by whoever is set up next."""
    rig = await make_rig(30.0)
    rig.speaker.apply_on_restart = True
    task = rig.wish(True)
    await rig.clock.advance(after)
    had = len(sent(rig))
    await rig.stop()
    await rig.clock.advance(0.6)
    acknowledged = had and after > 0.65
    expected = ACCEPTED if acknowledged else HeatingProblem.UNANSWERED if had else LinkProblem.LOST
    assert outcome(task) is expected
    await rig.start(30.0)
    assert len(sent(rig)) == had <= 1
    assert len(rig.heating.acts(1)) == had


async def test_a_pause_in_the_middle_ends_the_reading_back(make_rig: MakeRig) -> None:
    """Somebody wants the link for the phone app."""
    rig = await make_rig(30.0)
    rig.speaker.ignore_heating = True
    task = rig.wish(True)
    await rig.clock.advance(3.0)
    rig.client.set_paused(True)
    await rig.clock.advance(2.0)
    assert outcome(task) is ACCEPTED
    assert not rig.is_open
    assert frames(rig) == [FRAMES.on]


async def test_faults_on_every_answer_in_five_never_send_a_second_frame(make_rig: MakeRig) -> None:
    """A hundred acts through bad air: as many frames as acts, and the outcome is never better than the truth."""
    rig = await make_rig(30.0)
    for kind in (Kind.SILENCE, Kind.BAD_CHECKSUM, Kind.LATE, Kind.CUT, Kind.TWIN_AFTER):
        rig.bus.faults.add(Fault(kind=kind, probability=0.05, delay=2.2))
    results: list[object] = []
    for _ in range(100):
        wish = not rig.speaker.heating
        before = len(sent(rig))
        result, _ = await rig.switch(wish, patience=40.0)
        results.append(result)
        assert len(sent(rig)) - before == (result is not HeatingProblem.STALE)
        if result is CONFIRMED:
            assert rig.speaker.heating is wish
            assert rig.setting is wish
        assert isinstance(result, HeatingOutcome) or not HeatingError(result).withdraws  # type: ignore[arg-type]
        if len(rig.heating.acts(1)) > 18:
            await skip(rig, 86400.0)
        await rig.clock.advance(15.0)
    assert results.count(CONFIRMED) > 85


async def test_a_night_on_which_somebody_else_sets_it_sends_nothing(make_rig: MakeRig) -> None:
    """The setting follows the app, the film the cold."""
    rig = await make_rig(0.0, ambient=-15.0)
    seen: set[tuple[bool | None, bool | None]] = set()
    for hour in range(12):
        rig.speaker.heating = hour % 4 > 1
        await rig.clock.advance(3600.0)
        state = rig.told.last(1).state
        assert state is not None
        assert state.heating_enabled is rig.speaker.heating
        assert state.heater_active is rig.speaker.film
        seen.add((state.heating_enabled, state.heater_active))
    assert (True, True) in seen
    assert sent(rig) == []


def test_an_act_is_described_by_its_problem() -> None:
    """For logs, and without a name."""
    assert str(HeatingError(HeatingProblem.PROTECTION, "short_circuit")) == "protection: short_circuit"
    assert str(HeatingError(HeatingProblem.TOO_SOON)) == "too_soon"
