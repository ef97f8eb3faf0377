"""The heating where the pack has accepted a wish and shows no effect: it may be done when the pack is switched off and on."""

from dataclasses import dataclass

import pytest

from custom_components.lfp_battery.bms.errors import HeatingError, HeatingProblem

from .client_rig import ACCEPTED, CONFIRMED, FRAMES, UNCHANGED, MakeRig, ZetaRig, frames, outcome, sent


async def lose(rig: ZetaRig, *, restart: bool = False) -> None:
    """The connection breaks and is back, and perhaps the pack was off meanwhile."""
    rig.bus.unplug()
    await rig.clock.advance(5.0)
    if restart:
        rig.speaker.restart()
    rig.bus.replug()
    await rig.clock.advance(20.0)
    assert rig.told.last(1).online


@pytest.fixture
async def rig(make_rig: MakeRig) -> ZetaRig:
    """A pack that does what it is told when it is switched off and on; it was told to heat."""
    rig = await make_rig(30.0)
    rig.speaker.apply_on_restart = True
    assert (await rig.switch(True))[0] is ACCEPTED
    await rig.clock.advance(15.0)
    return rig


async def test_the_opposite_of_what_is_pending_is_sent_although_it_is_read_as_so(rig: ZetaRig) -> None:
    """Else the heating came on at the next start of a pack of which the home had said that it is off."""
    assert rig.setting is False
    assert (await rig.switch(False))[0] is ACCEPTED
    assert rig.heating.before(1) is False
    assert frames(rig) == [FRAMES.on, FRAMES.off]
    await lose(rig, restart=True)
    assert rig.speaker.heating is False
    assert (await rig.switch(False))[0] is UNCHANGED
    assert len(frames(rig)) == 2


async def test_a_loss_and_a_reading_within_the_act_settle_it(rig: ZetaRig) -> None:
    """A pack that restarts by itself after a set."""
    task = rig.wish(False)
    while len(frames(rig)) < 2:
        await rig.clock.advance(0.05)
    await rig.clock.advance(1.0)
    rig.bus.unplug()
    await rig.clock.advance(1.0)
    rig.speaker.restart()
    rig.bus.replug()
    await rig.clock.advance(9.5)
    assert outcome(task) is CONFIRMED
    assert (await rig.switch(False))[0] is UNCHANGED


async def test_the_same_again_is_not_sent_while_it_is_pending(rig: ZetaRig) -> None:
    """A pack refuses to be told what it is set to (ble.md section 4), and its switch would be withdrawn."""
    rig.speaker.refuse_heating = True
    for _ in range(3):
        result, seconds = await rig.switch(True)
        assert result is ACCEPTED
        assert seconds < 1.0
        await rig.clock.advance(15.0)
    assert frames(rig) == [FRAMES.on]
    await lose(rig, restart=True)
    assert (await rig.switch(True))[0] is UNCHANGED


async def test_the_same_is_sent_once_more_after_a_loss(rig: ZetaRig) -> None:
    """The pack may have been off, and has forgotten it; it is no worse for it, however often that happens."""
    rig.speaker.apply_on_restart, rig.speaker.ignore_heating = False, True
    for count in range(2, 6):
        await lose(rig)
        assert (await rig.switch(True))[0] is ACCEPTED
        assert (await rig.switch(True))[0] is ACCEPTED
        assert frames(rig) == [FRAMES.on] * count
    rig.speaker.ignore_heating = False
    await lose(rig)
    assert (await rig.switch(True))[0] is CONFIRMED


async def test_a_pack_that_was_only_out_of_range_may_refuse_what_it_is_set_to(rig: ZetaRig) -> None:
    """It has said yes to this very frame; and then it is not sent again."""
    await lose(rig)
    rig.speaker.refuse_heating = True
    assert (await rig.switch(True))[0] is ACCEPTED
    assert (await rig.switch(True))[0] is ACCEPTED
    assert frames(rig) == [FRAMES.on] * 2
    rig.speaker.refuse_heating = False
    await lose(rig, restart=True)
    assert rig.setting is True


async def test_a_pack_that_refuses_what_it_shows_is_not_held_to_have_refused_the_frame(rig: ZetaRig) -> None:
    """It compares with what it shows, not with what is to come; the earlier wish may still be done."""
    rig.speaker.refuse_heating = True
    result = (await rig.switch(False))[0]
    assert result is HeatingProblem.UNANSWERED
    assert not HeatingError(HeatingProblem.UNANSWERED).withdraws
    rig.speaker.refuse_heating = False
    await rig.clock.advance(10.0)
    assert (await rig.switch(False))[0] is ACCEPTED
    await lose(rig, restart=True)
    assert rig.speaker.heating is False


async def test_a_pause_lets_the_same_be_sent_once_more_as_well(rig: ZetaRig) -> None:
    """Nobody here saw what was done to the pack meanwhile."""
    rig.client.set_paused(True)
    await rig.clock.advance(20.0)
    rig.client.set_paused(False)
    await rig.clock.advance(30.0)
    assert (await rig.switch(True))[0] is ACCEPTED
    assert frames(rig) == [FRAMES.on] * 2


async def test_a_wish_that_is_fulfilled_or_undone_elsewhere_is_pending_no_longer(rig: ZetaRig) -> None:
    """Whatever turns the setting, the app included."""
    rig.speaker.heating = True
    await rig.clock.advance(11.0)
    rig.speaker.heating = False
    await rig.clock.advance(11.0)
    assert (await rig.switch(False))[0] is UNCHANGED
    assert frames(rig) == [FRAMES.on]


@dataclass(frozen=True, slots=True)
class Unsure:
    """How the first act ends without an acknowledgement that is seen, or without a reading."""

    problem: HeatingProblem
    silent: bool  # nothing acknowledges
    away: bool  # the link breaks


@pytest.mark.parametrize(
    "how",
    [
        Unsure(HeatingProblem.UNANSWERED, silent=True, away=False),
        Unsure(HeatingProblem.UNSEEN, silent=True, away=True),
        Unsure(HeatingProblem.UNSEEN, silent=False, away=True),
    ],
    ids=str,
)
async def test_what_nobody_saw_accepted_may_be_pending_too(make_rig: MakeRig, how: Unsure) -> None:
    """The opposite is sent; the same is sent as well, for nobody knows."""
    for wish, expected in ((False, FRAMES.off), (True, FRAMES.on)):
        rig = await make_rig(30.0)
        rig.speaker.apply_on_restart = True
        rig.speaker.silent_sets = how.silent
        task = rig.wish(True)
        while not frames(rig):
            await rig.clock.advance(0.05)
        await rig.clock.advance(0.2)
        if how.away:
            rig.bus.unplug()
        await rig.clock.advance(20.0)
        assert outcome(task) is how.problem
        rig.bus.replug()
        rig.speaker.silent_sets = False
        await rig.clock.advance(20.0)
        assert rig.setting is False
        assert (await rig.switch(wish))[0] is ACCEPTED
        assert frames(rig) == [FRAMES.on, expected]
        await lose(rig, restart=True)
        assert rig.setting is wish


async def test_a_wish_that_does_not_arrive_leaves_the_earlier_one_pending(rig: ZetaRig) -> None:
    """Either may be what the pack does."""
    rig.speaker.deaf_to_sets = True
    assert (await rig.switch(False))[0] is HeatingProblem.UNANSWERED
    rig.speaker.deaf_to_sets = False
    await rig.clock.advance(10.0)
    assert (await rig.switch(False))[0] is ACCEPTED
    assert sent(rig) == [FRAMES.on, FRAMES.off, FRAMES.off]


@pytest.mark.parametrize("seconds", [3.0, 5.0, 6.0, 7.0, 8.0])
async def test_a_pack_that_is_busy_with_what_it_was_told_is_waited_for(make_rig: MakeRig, seconds: float) -> None:
    """It obeys, and answers nothing for a while: a look that begins in time is let end."""
    rig = await make_rig(30.0)
    rig.speaker.mute_after_set = seconds
    result, took = await rig.switch(True)
    assert result is CONFIRMED
    assert took < 13.0
    assert frames(rig) == [FRAMES.on]


async def test_looks_that_fail_are_not_held_against_the_pack(make_rig: MakeRig) -> None:
    """It is not shown as lost for having been asked more often than usual."""
    rig = await make_rig(30.0)
    rig.speaker.mute_after_set = 12.0
    began = rig.clock.monotonic()
    assert (await rig.switch(True))[0] is HeatingProblem.UNSEEN
    await rig.clock.advance(20.0)
    assert all(report.online for when, report in rig.told.packs if when > began)
    assert rig.setting is True
