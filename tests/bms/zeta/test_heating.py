"""Switching the heating: one frame an act, and what came of it is what the pack says."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import override

import pytest

from custom_components.lfp_battery.bms.clients.base import HeatingControl
from custom_components.lfp_battery.bms.errors import HeatingError, HeatingProblem, LinkProblem
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.bms.protocols.base import Decoded
from custom_components.lfp_battery.bms.protocols.modbus.frame import Registers
from custom_components.lfp_battery.bms.protocols.zeta.bluetooth import Zeta1006
from tests.simulator.faults import Fault, Kind

from .client_rig import (
    ACCEPTED,
    CONFIRMED,
    FRAMES,
    SET,
    START,
    STATUS,
    UNCHANGED,
    MakeRig,
    ZetaRig,
    frames,
    outcome,
    sent,
    skip,
)

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


async def test_what_is_so_already_needs_no_frame(make_rig: MakeRig) -> None:
    """Also when it was changed in the app since it was last read."""
    rig = await make_rig()
    rig.speaker.heating = True
    assert (await rig.switch(True))[0] is UNCHANGED
    assert rig.setting is True
    assert frames(rig) == []
    assert rig.heating.acts(1) == ()
    assert rig.heating.before(1) is None


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
    assert rig.heating.before(1) is False
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


@pytest.mark.parametrize("hexed", ["108a01", "018a01", "018301", "100a0102"])
async def test_an_exception_is_a_refusal(make_rig: MakeRig, hexed: str) -> None:
    """In whatever form the pack says no; what it is set to is read once all the same."""
    rig = await make_rig()
    rig.speaker.ignore_heating = True
    rig.speaker.reply_to_set = bytes.fromhex(hexed)
    result, seconds = await rig.switch(True)
    assert result is HeatingProblem.REFUSED
    assert seconds < 4.0
    assert rig.asked()[-1] == STATUS


@pytest.mark.parametrize("hexed", ["108a01", "100a0101"])
async def test_a_pack_that_says_no_and_does_it_has_done_it(make_rig: MakeRig, hexed: str) -> None:
    """A board that echoes what it is told; its acknowledgement is not understood, and the switch stays."""
    rig = await make_rig()
    rig.speaker.reply_to_set = bytes.fromhex(hexed)
    assert (await rig.switch(True))[0] is CONFIRMED
    await rig.clock.advance(15.0)
    assert (await rig.switch(False))[0] is CONFIRMED
    assert frames(rig) == [FRAMES.on, FRAMES.off]


@pytest.mark.parametrize("refused", [False, True])
async def test_anything_else_that_changes_contradicts_a_refusal_too(make_rig: MakeRig, *, refused: bool) -> None:
    """What is read counts, not what was answered."""
    rig = await make_rig()
    rig.speaker.disturb_r40 = 0x0001
    rig.speaker.ignore_heating = True
    rig.speaker.reply_to_set = bytes.fromhex("100a0101" if refused else "100a0100")
    assert (await rig.switch(True))[0] is HeatingProblem.CONTRADICTED


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
    rig.speaker.silent_sets = rig.speaker.ignore_heating = False
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
    "put",
    [
        {27: 0x4000},
        {27: 0x8400, 25: 4},  # beside one against cold
        {28: 0x0008},
        {25: 4},  # it protects itself, and no word says against what
        {25: 4, 26: 0x0400},  # ... nor does a warning
    ],
    ids=str,
)
async def test_a_protection_that_nobody_can_name_refuses(make_rig: MakeRig, put: dict[int, int]) -> None:
    """It may be any."""
    rig = await make_rig()
    rig.speaker.put = put
    assert (await rig.switch(True))[0] is HeatingProblem.PROTECTION
    assert frames(rig) == []


@pytest.mark.parametrize("put", [{26: 0x4000}, {25: 4, 27: 0x0400}, {25: 4, 27: 0x0800}, {25: 0x0300}], ids=str)
async def test_an_unnamed_warning_or_a_mode_that_cold_explains_does_not_refuse(
    make_rig: MakeRig, put: dict[int, int]
) -> None:
    """A pack that protects itself from cold is who needs it."""
    rig = await make_rig()
    rig.speaker.put = put
    assert (await rig.switch(True))[0] is CONFIRMED


class WithoutAlarms(Zeta1006):
    """A pack that does not say what it protects itself from."""

    @override
    def read(self, unit: int, registers: Registers) -> Decoded:
        """See `ModbusProtocol`."""
        said = super().read(unit, registers)
        return replace(said, packs={address: replace(state, alarms=None) for address, state in said.packs.items()})


async def test_alarms_that_are_not_known_refuse(make_rig: MakeRig) -> None:
    """Unknown is not none."""
    rig = await make_rig(protocol=WithoutAlarms())
    assert rig.told.last(1).online
    assert (await rig.switch(True))[0] is HeatingProblem.STALE
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


async def test_a_pack_that_is_not_polled_can_be_switched() -> None:
    """What it says then decides; whether it was there before does not."""
    rig = ZetaRig()
    rig.client.set_polling(False)
    await rig.start(30.0)
    assert rig.asked() == []
    rig.bank.packs[1].force(Alarm(condition=Condition.SHORT_CIRCUIT, severity=Severity.PROTECTION))
    assert (await rig.switch(True))[0] is HeatingProblem.PROTECTION
    rig.bank.packs[1].release()
    assert (await rig.switch(True))[0] is CONFIRMED
    assert frames(rig) == [FRAMES.on]
    await rig.stop()


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
    assert (await rig.switch(enabled))[0] is UNCHANGED
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
    with pytest.raises(HeatingError) as refused:
        await control.switch(2, enabled=True)
    assert refused.value.problem is HeatingProblem.STALE


async def test_a_pack_that_was_forgotten_is_not_switched(make_rig: MakeRig) -> None:
    """As one that does not answer: nothing else is raised than what is said to be."""
    rig = await make_rig()
    rig.client.forget(1)
    assert (await rig.switch(True))[0] is HeatingProblem.STALE
    assert frames(rig) == []
