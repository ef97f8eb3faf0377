"""Whether a state of charge can be true."""

from collections.abc import Callable
from datetime import timedelta
import json
from typing import Any

import pytest

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.model import Alarm, BatteryState, Condition, Mode, Severity
from custom_components.lfp_battery.bms.upkeep import Upkeep
from tests.simulator.bank import DayProfile, SimBank
from tests.simulator.pack import PackSpec

from .upkeep_story import START, UNDERVOLTAGE, Story, pack, rule


@pytest.mark.parametrize(
    ("state", "current"),
    [
        (pack(40.0, cell=2.6, alarms=UNDERVOLTAGE), 0.0),
        (pack(20.0, cell=3.0, alarms=UNDERVOLTAGE), 0.0),  # came back a little when the load went
        (pack(40.0, alarms=UNDERVOLTAGE), 0.0),
        (pack(40.0, mode=Mode.EMPTY), 0.0),
        (pack(40.0, cell=2.75), -15.0),
        (pack(40.0, cell=2.75, warmth=0.0), 0.0),
        (pack(60.0, cell=3.45), 3.0),
        (pack(85.0, cell=3.40), 0.0),
    ],
)
def test_a_charge_that_the_ends_contradict_wants_calibrating(state: BatteryState, current: float) -> None:
    """Empty cells with plenty left by the counter, or full ones with room left."""
    assert Story().see(state, current).calibration_advised is True


@pytest.mark.parametrize(
    ("state", "current"),
    [
        (pack(50.0, cell=3.3), 0.0),  # the plateau is the same from 10 to 90 %
        (pack(90.0, cell=3.28), -10.0),
        (pack(10.0, cell=3.32), 10.0),
        (pack(40.0, cell=2.6, alarms=UNDERVOLTAGE), -60.0),  # the load pulls them down
        (pack(40.0, cell=3.2, alarms=UNDERVOLTAGE), 0.0),  # ... and did: they came back
        (pack(40.0, cell=2.75, warmth=0.0), -10.0),  # in the cold a little load does
        (pack(60.0, cell=3.5), 50.0),  # the charger pushes them up
        (pack(60.0, cell=3.45), None),
        (pack(None, cell=2.5), 0.0),
        (pack(None, cell=3.5), 0.0),
        (pack(60.0, cell=3.41), -5.0),  # it was just charged, and is drawn from already
    ],
)
def test_between_the_ends_nothing_tells(state: BatteryState, current: float | None) -> None:
    """Nor under a load, where cells show more or less than they have."""
    assert Story().see(state, current).calibration_advised is None


@pytest.mark.parametrize("state", [pack(15.0, cell=2.6, alarms=UNDERVOLTAGE), pack(95.0, cell=3.45)])
def test_a_charge_that_the_ends_confirm_is_right(state: BatteryState) -> None:
    """Within what such a counter is out by anyway."""
    assert Story().see(state).calibration_advised is False


@pytest.mark.parametrize(
    ("state", "mean"),
    [
        (pack(40.0, cell=2.79, warmth=6.0, current=-60.0), -10.0),
        (pack(60.0, cell=3.41, current=12.0), 3.0),
        (pack(60.0, cell=3.41, current=3.0), 12.0),
    ],
)
def test_a_load_or_a_charge_that_has_just_begun_tells_nothing(state: BatteryState, mean: float) -> None:
    """The cells follow it at once, the mean of the current does not: both have to be small."""
    upkeep = Story().see(state, mean)
    assert (upkeep.calibration_advised, upkeep.last_full) == (None, None)


def test_one_high_cell_does_not_make_a_full_pack() -> None:
    """It ends the charge early; the others have room, as the counter says."""
    state = BatteryState(soc=70.0, full_capacity=100.0, cell_voltages=(3.6, 3.34, 3.34, None))
    assert Story().see(state, 2.0).calibration_advised is None


def test_an_end_that_does_not_last_was_none() -> None:
    """Two odd readings in a row are not half a minute."""
    story = Story()
    story.see(pack(60.0, cell=3.45), seconds=10.0)
    story.see(pack(60.0, cell=3.33))
    assert story.see(pack(60.0, cell=3.45), seconds=10.0).calibration_advised is None


def _emptied(story: Story) -> None:
    story.see(pack(5.0, cell=2.6, alarms=UNDERVOLTAGE), -50.0, seconds=0.0)


def _half(story: Story) -> None:
    story.see(pack(50.0, cell=3.33), 30.0)


def _filled(story: Story) -> None:
    story.see(pack(100.0, cell=3.45), 3.0)


@pytest.mark.parametrize(
    ("steps", "advised"),
    [
        ((_filled,), True),
        ((_emptied,), True),
        ((_half, _filled, _emptied, _half), True),
        ((_emptied, _half, _filled), False),
        ((_emptied, _half, _half, _filled, _half), False),
    ],
)
def test_advice_is_withdrawn_by_a_pass_from_protection_to_full(
    steps: tuple[Callable[[Story], None], ...], advised: bool
) -> None:
    """ES 9 row 6: discharge to protection, then charge to 100 %; neither alone nor the other way round."""
    story = Story()
    assert story.see(pack(60.0, cell=3.45), 3.0).calibration_advised is True
    for step in steps:
        step(story)
    assert story.upkeep.calibration_advised is advised


@pytest.mark.parametrize(
    ("empty", "full"),
    [
        # a warning is not protection
        (frozenset({Alarm(condition=Condition.CELL_UNDERVOLTAGE, severity=Severity.WARNING)}), pack(100.0, cell=3.45)),
        # nor does a counter charge anything by itself
        (UNDERVOLTAGE, None),
    ],
)
def test_what_is_not_a_pass_withdraws_nothing(empty: frozenset[Alarm], full: BatteryState | None) -> None:
    """Both ends have to be reached."""
    story = Story()
    story.see(pack(60.0, cell=3.45), 3.0)
    story.wait(timedelta(hours=2))
    story.see(pack(5.0, cell=2.6, alarms=empty), -50.0)
    story.see(full or pack(100.0, cell=3.33), 0.0 if full is None else 3.0)
    assert story.upkeep.calibration_advised is True


_TOP, _BOTTOM = pack(100.0, cell=3.45), pack(15.0, cell=2.75)


@pytest.mark.parametrize(
    ("ends", "advised"),
    [
        ((_TOP, _BOTTOM), False),
        ((_BOTTOM, _TOP), False),
        ((_TOP, _TOP), True),
        ((_BOTTOM,), True),
        ((pack(99.0, cell=3.45), _BOTTOM), True),  # nearly
        ((_TOP, pack(25.0, cell=2.75), _BOTTOM), True),  # out again, after which only one end agreed
        ((_TOP, pack(25.0, cell=2.75), _BOTTOM, _TOP), False),
    ],
)
def test_advice_is_withdrawn_when_both_ends_agree(ends: tuple[BatteryState, ...], advised: bool) -> None:
    """Not all batteries are ever seen in protection; this works over restarts, too."""
    story = Story()
    story.see(pack(60.0, cell=3.45), 3.0)
    for end in ends:
        story.see(pack(50.0, cell=3.3))
        again = Upkeep()
        again.restore(json.loads(json.dumps(story.upkeep.as_mapping())))
        story.upkeep = again
        assert again.calibration_advised is True
        story.see(end)
    assert story.upkeep.calibration_advised is advised


def test_a_clock_that_is_set_back_at_an_end_starts_its_half_minute_again() -> None:
    """Else nothing would be judged until the old time comes round."""
    story = Story()
    story.see(pack(60.0, cell=3.45), seconds=10.0)
    story.now = START - timedelta(days=1)
    assert story.see(pack(60.0, cell=3.45)).calibration_advised is True


@pytest.mark.parametrize("end", [pack(80.0, cell=3.45), pack(40.0, cell=2.75)])
def test_protection_before_the_advice_is_no_part_of_the_cure(end: BatteryState) -> None:
    """It was in protection half a year ago, and its charge has drifted since: to fill it is not enough."""
    story = Story()
    for step in (_emptied, _half):
        step(story)
    story.wait(timedelta(days=200))
    assert story.see(end, 3.0).calibration_advised is True
    _filled(story)
    assert story.upkeep.calibration_advised is True
    for step in (_emptied, _half):
        step(story)
    story.see(end, 3.0)  # what it says is wrong until it is full
    _filled(story)
    assert story.upkeep.calibration_advised is False


def test_advice_comes_again_when_the_charge_drifts_again() -> None:
    """A pass sets it right once."""
    story = Story()
    for step in (_emptied, _half, _filled):
        step(story)
    assert story.upkeep.calibration_advised is False
    assert story.see(pack(55.0, cell=2.7)).calibration_advised is True


def test_a_bank_that_names_only_its_extremes_is_judged_by_them() -> None:
    """As a bank over packs, or a set of CAN frames, does."""
    state = BatteryState(soc=60.0, full_capacity=400.0, cell_voltage_min=3.42, cell_voltage_max=3.48)
    assert Story().see(state, 15.0).calibration_advised is True
    assert Story().see(state, 25.0).calibration_advised is None


@pytest.mark.parametrize(
    ("capacity", "advised"),
    [
        ({"design_capacity": 200.0}, True),
        ({"remaining_capacity": 120.0}, True),
        ({}, None),
    ],
)
def test_what_counts_as_almost_no_current_follows_the_capacity(capacity: dict[str, Any], advised: bool | None) -> None:
    """8 A are little for 200 Ah, and much where nothing says how large a pack is."""
    state = BatteryState(soc=60.0, cell_voltages=(3.45, 3.45), **capacity)
    assert Story().see(state, 8.0).calibration_advised is advised


def _days(
    profile: DayProfile, *, days: int, wrong: float = 0.0, obedient: bool = True, spec: PackSpec | None = None
) -> Upkeep:
    """A simulated pack in a house, read every half minute, with a counter that is wrong by so many per cent."""
    bank = SimBank(1, DrivenClock(), spec=spec, profile=profile, obedient=obedient)
    battery = next(iter(bank.packs.values()))
    story = Story(Upkeep(rule("es_wall")))
    for _ in range(days * 2880):
        bank.step(30.0)
        state = BatteryState(
            soc=min(max(battery.soc + wrong, 0.0), 100.0),
            full_capacity=battery.full_capacity,
            cell_voltages=tuple(battery.cell_voltages),
            cell_temperatures=battery.cell_temperatures,
            mode=battery.mode,
            alarms=battery.alarms,
        )
        story.upkeep.observe(story.now, state, battery.current)
        story.wait(timedelta(seconds=30))
    return story.upkeep


_SUMMER, _WINTER = DayProfile(), DayProfile(solar=0.05)
_TO_THE_ENDS = DayProfile(solar=0.25, evening=0.2)


@pytest.mark.parametrize(
    ("upkeep", "advised", "full"),
    [
        (lambda: _days(_SUMMER, days=2), False, True),
        (lambda: _days(_WINTER, days=3), None, False),
        (lambda: _days(_TO_THE_ENDS, days=3, obedient=False), False, True),
        (lambda: _days(_TO_THE_ENDS, days=2, obedient=False, spec=PackSpec(temperature=2.0)), False, True),
        (lambda: _days(_SUMMER, days=1, wrong=-25.0), True, True),
        (lambda: _days(DayProfile(solar=0.05, evening=0.2), days=1, wrong=30.0, obedient=False), True, True),
    ],
    ids=["summer", "winter", "to both ends", "cold", "says too little", "says too much"],
)
def test_days_of_a_simulated_house_bring_no_advice_unless_the_counter_is_wrong(
    upkeep: Callable[[], Upkeep], advised: bool | None, full: bool
) -> None:
    """Every reading of the day is judged, loads, protections and relaxing cells included."""
    seen = upkeep()
    assert seen.calibration_advised is advised
    assert (seen.last_full is not None) is full
