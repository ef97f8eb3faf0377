"""Switching the heating while the link goes away, while others switch it too, and when it is given up."""

import pytest

from custom_components.lfp_battery.bms.clients.base import HeatingOutcome
from custom_components.lfp_battery.bms.errors import HeatingError, HeatingProblem, LinkProblem
from tests.simulator.faults import Fault, Kind

from .client_rig import ACCEPTED, CONFIRMED, FRAMES, STATUS, UNCHANGED, MakeRig, frames, outcome, sent, skip

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


@pytest.mark.parametrize(
    ("acknowledged", "read", "expected"),
    [
        (True, True, ACCEPTED),
        (True, False, HeatingProblem.UNSEEN),
        (False, True, HeatingProblem.UNANSWERED),
        (False, False, HeatingProblem.UNSEEN),
    ],
)
async def test_a_pack_that_is_not_back_in_time_is_judged_by_what_was_read(
    make_rig: MakeRig, *, acknowledged: bool, read: bool, expected: object
) -> None:
    """Ten seconds after the frame it is over, however long the pack is away; what was not read nobody knows."""
    rig = await make_rig(30.0)
    rig.speaker.apply_on_restart = True
    rig.speaker.silent_sets = not acknowledged
    began, task = rig.clock.monotonic(), rig.wish(True)
    while not frames(rig) or (read and rig.asked()[-1] != STATUS):
        await rig.clock.advance(0.05)
    await rig.clock.advance(0.15)
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
    assert [outcome(task) for task in tasks] == [CONFIRMED, HeatingProblem.TOO_SOON, UNCHANGED]
    assert frames(rig) == [FRAMES.on]


async def test_a_second_act_waits_while_the_first_is_read_back(make_rig: MakeRig) -> None:
    """Nothing is sent in between."""
    rig = await make_rig(30.0)
    rig.speaker.ignore_heating = True
    first = rig.wish(True)
    await rig.clock.advance(3.0)
    second = rig.wish(False)
    await rig.clock.advance(6.0)
    assert frames(rig) == [FRAMES.on]
    await rig.clock.advance(20.0)
    assert (outcome(first), outcome(second)) == (ACCEPTED, ACCEPTED)
    assert frames(rig) == [FRAMES.on, FRAMES.off]
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
    # what was acknowledged is set, whoever waited for it
    assert (await rig.switch(True))[0] in ({ACCEPTED} if rig.heating.acts(1) and had else {CONFIRMED})


@pytest.mark.parametrize("after", [0.0, 0.05, 0.3, 0.62, 0.75, 1.5, 5.0, 9.5])
async def test_unloading_ends_an_act_at_once(make_rig: MakeRig, after: float) -> None:
    """With what is known by then; nothing is sent by whoever is set up next."""
    rig = await make_rig(30.0)
    rig.speaker.apply_on_restart = True
    task = rig.wish(True)
    await rig.clock.advance(after)
    had = len(sent(rig))
    seen = had and rig.asked()[-1] == STATUS
    await rig.stop()
    await rig.clock.advance(0.6)
    expected = ACCEPTED if seen else HeatingProblem.UNSEEN if had else LinkProblem.LOST
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
        assert isinstance(result, HeatingOutcome | HeatingProblem)
        assert isinstance(result, HeatingOutcome) or not HeatingError(result).withdraws
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
