"""When a pack was full, when it wants to be charged, and whether its state of charge can be true."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
import json
from typing import Any

import pytest

from custom_components.lfp_battery.bms.catalog import Recharge, find_family
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.model import Alarm, BatteryState, Condition, Mode, Severity
from custom_components.lfp_battery.bms.upkeep import Upkeep
from tests.simulator.bank import DayProfile, SimBank
from tests.simulator.pack import PackSpec

START = datetime(2026, 3, 1, 6, tzinfo=UTC)
MONTH = timedelta(days=365.25 / 12)
UNDERVOLTAGE = frozenset({Alarm(condition=Condition.CELL_UNDERVOLTAGE, severity=Severity.PROTECTION)})


def rule(key: str) -> Recharge:
    """What the manual of this family says."""
    family = find_family(key)
    assert family is not None
    assert family.recharge is not None
    return family.recharge


def pack(soc: float | None = None, cell: float | None = None, warmth: float | None = None, **more: Any) -> BatteryState:
    """A pack of 100 Ah with four cells alike."""
    return BatteryState(
        soc=soc,
        full_capacity=100.0,
        cell_voltages=None if cell is None else (cell,) * 4,
        cell_temperatures=None if warmth is None else (warmth,) * 2,
        **more,
    )


class Story:
    """Readings every ten seconds."""

    def __init__(self, upkeep: Upkeep | None = None) -> None:
        """Begin at `START`."""
        self.upkeep = upkeep or Upkeep()
        self.now = START

    def see(self, state: BatteryState, current: float | None = 0.0, *, seconds: float = 40.0) -> Upkeep:
        """The pack looks like this for a while."""
        end = self.now + timedelta(seconds=seconds)
        while self.now <= end:
            self.upkeep.observe(self.now, state, current)
            self.now += timedelta(seconds=10)
        return self.upkeep

    def wait(self, span: timedelta) -> None:
        """Nothing is read meanwhile."""
        self.now += span


def test_the_last_full_charge_is_when_charging_ended_at_the_top() -> None:
    """Not the moment at which a full pack is looked at again."""
    story = Story()
    story.see(pack(80.0), 30.0)
    assert story.upkeep.last_full is None
    ended = story.now
    story.see(pack(100.0), 4.0)
    assert story.upkeep.last_full == ended
    story.wait(timedelta(days=3))
    story.see(pack(100.0), 0.0)
    assert story.upkeep.last_full == ended


@pytest.mark.parametrize(
    "full",
    [
        pack(99.6),
        pack(97.0, mode=Mode.FULL),
        pack(alarms=frozenset({Alarm(condition=Condition.FULLY_CHARGED, severity=Severity.WARNING)})),
        pack(cell=3.45),
    ],
)
def test_a_pack_is_full_as_it_says_or_as_its_cells_show(full: BatteryState) -> None:
    """State of charge, mode, flag, or all cells at the top with a current that is almost gone."""
    assert Story().see(full, 4.0).last_full is not None


@pytest.mark.parametrize(
    ("state", "current"), [(pack(99.0), 4.0), (pack(cell=3.45), 30.0), (pack(cell=3.39), 1.0), (pack(cell=3.45), None)]
)
def test_a_pack_that_is_nearly_full_is_not(state: BatteryState, current: float | None) -> None:
    """Nor one whose cells are at the top only because of the current."""
    assert Story().see(state, current).last_full is None


def test_a_pack_that_was_never_seen_charging_was_full_when_it_first_was_seen_so() -> None:
    """Better than to know nothing for months; it does not move while it only stands there."""
    story = Story()
    story.see(pack(100.0))
    assert story.upkeep.last_full == START
    story.see(pack(100.0), seconds=7200.0)
    assert story.upkeep.last_full == START


def test_a_pack_that_is_kept_full_moves_its_last_full_charge_once_an_hour() -> None:
    """Each move is a row in somebody's database."""
    story, seen = Story(), set()
    for _ in range(300):
        seen.add(story.see(pack(100.0), 2.0, seconds=50.0).last_full)
    assert len(seen) == 5


@pytest.mark.parametrize(("key", "months"), [("pytes_v", 6), ("es_wall", 3), ("growatt_65", 6), ("ml314", 3)])
def test_a_pack_is_due_when_the_interval_of_its_manual_is_over(key: str, months: int) -> None:
    """Counted from when it was first seen, also while nobody reads it."""
    story = Story(Upkeep(rule(key)))
    assert story.upkeep.due(START) is None
    upkeep = story.see(pack(60.0, warmth=25.0))
    assert upkeep.due(START + months * MONTH - timedelta(hours=2)) is False
    assert upkeep.due(START + months * MONTH) is True
    at = upkeep.due_at(START)
    assert at is not None
    assert abs(at - (START + months * MONTH)) <= timedelta(hours=1)


@pytest.mark.parametrize(("warmth", "months"), [(-5.0, 9), (20.0, 9), (25.0, 6), (35.0, 3), (45.0, 3), (None, 3)])
def test_a_vlrv_is_due_sooner_where_it_is_warm(warmth: float | None, months: int) -> None:
    """Table 6-2; the shortest interval where the table ends and where nothing is known."""
    upkeep = Story(Upkeep(rule("vlrv"))).see(pack(60.0, warmth=warmth))
    assert upkeep.due(START + (months - 0.1) * MONTH) is False
    assert upkeep.due(START + months * MONTH) is True


def test_what_was_used_up_of_one_interval_stays_used_up_in_another() -> None:
    """Three of six months at 25 degC are half; half of three at 35 degC is the rest."""
    story = Story(Upkeep(rule("vlrv")))
    story.see(pack(60.0, warmth=25.0))
    story.wait(3 * MONTH)
    upkeep = story.see(pack(60.0, warmth=35.0))
    assert upkeep.due(START + 4.45 * MONTH) is False
    assert upkeep.due(START + 4.55 * MONTH) is True
    story.wait(1.6 * MONTH)
    assert story.see(pack(60.0, warmth=10.0)).due(story.now)  # what is due stays due where it gets cold
    at = upkeep.due_at(story.now)
    assert at is not None
    assert abs(at - (START + 4.5 * MONTH)) <= timedelta(hours=3)


def test_a_temperature_at_a_border_does_not_move_the_date_with_each_reading() -> None:
    """Where it turns warmer the shorter interval counts at once, the longer one again a degree below."""
    story, dates = Story(Upkeep(rule("vlrv"))), set()
    story.see(pack(60.0, warmth=20.0))
    for warmth in (20.1, 19.9, 20.2, 19.5, 20.0):
        dates.add(story.see(pack(60.0, warmth=warmth), seconds=600.0).due_at(story.now))
    assert len(dates) == 1
    assert story.see(pack(60.0, warmth=18.9)).due_at(story.now) not in dates


def test_one_sensor_that_fails_does_not_shorten_the_interval() -> None:
    """The middle one of the cells counts."""
    state = BatteryState(soc=60.0, full_capacity=100.0, cell_temperatures=(15.0, 15.0, 90.0, None))
    assert Story(Upkeep(rule("vlrv"))).see(state).due(START + 8.9 * MONTH) is False


@pytest.mark.parametrize(
    ("key", "soc", "current", "counts"),
    [
        ("pytes_v", 91.0, 20.0, True),
        ("pytes_v", 90.0, 20.0, False),  # "more than 90 %"
        ("pytes_v", 95.0, 0.0, False),  # it stands there: its counter does not see what it loses by itself
        ("growatt_65", 26.0, 20.0, True),
        ("growatt_65", 25.0, 20.0, False),
        ("es_wall", 100.0, 2.0, True),
        ("es_wall", 98.0, 20.0, False),
        ("growatt_65", 80.0, -20.0, False),
    ],
)
def test_only_a_charge_as_far_as_the_manual_wants_it_counts(key: str, soc: float, current: float, counts: bool) -> None:
    """Pytes: more than 90 %; Growatt: until LED2 flashes; ES names no level, so a full one."""
    story = Story(Upkeep(rule(key)))
    story.see(pack(20.0))
    story.wait(2.9 * MONTH)
    story.see(pack(soc), current)
    story.wait(0.2 * MONTH if key == "es_wall" else 3.2 * MONTH)
    assert story.upkeep.due(story.now) is not counts


def test_a_pack_that_is_due_is_so_no_longer_once_it_is_charged() -> None:
    """As soon as it is full."""
    story = Story(Upkeep(rule("es_wall")))
    story.see(pack(50.0))
    story.wait(4 * MONTH)
    assert story.see(pack(50.0)).due(story.now) is True
    story.see(pack(100.0), 3.0)
    assert story.upkeep.due(story.now) is False


def test_without_a_rule_nothing_is_ever_due() -> None:
    """A stranger gets no advice."""
    upkeep = Story().see(pack(50.0, warmth=25.0))
    assert (upkeep.due(START + 99 * MONTH), upkeep.due_at(START)) == (None, None)


def test_a_clock_that_was_set_back_does_not_stop_anything() -> None:
    """What is full then is full then."""
    story = Story(Upkeep(rule("es_wall")))
    story.wait(timedelta(days=1000))
    story.see(pack(100.0), 3.0)
    story.now = START
    assert story.see(pack(100.0), 3.0).last_full == START
    assert story.upkeep.due(START + 3.1 * MONTH) is True


def test_a_restart_changes_nothing() -> None:
    """Through JSON: dates, the share that is used up, half a calibration, and the advice."""
    story = Story(Upkeep(rule("vlrv")))
    story.see(pack(100.0, warmth=25.0), 3.0)
    story.wait(2 * MONTH)
    story.see(pack(40.0, cell=2.7, warmth=35.0, alarms=UNDERVOLTAGE))
    again = Upkeep(rule("vlrv"))
    again.restore(json.loads(json.dumps(story.upkeep.as_mapping())))
    assert again.as_mapping() == story.upkeep.as_mapping()
    assert again.calibration_advised is True
    assert again.due_at(story.now) == story.upkeep.due_at(story.now)
    later = Story(again)
    later.now = story.now
    later.see(pack(60.0), 30.0)
    assert later.see(pack(100.0), 3.0).calibration_advised is False


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"last_full": "yesterday", "due_at": 5, "months": "six", "emptied": "yes", "calibration_advised": "no"},
        {"last_full": "2026-03-01T06:00:00", "months": -1, "charged": None},
        {"months": float("nan"), "due_at": "9999-12-31T23:59:59-14:00"},
    ],
)
def test_what_cannot_be_read_is_not_known(kept: dict[str, Any]) -> None:
    """A file that somebody edited stops nothing."""
    upkeep = Upkeep(rule("vlrv"))
    upkeep.restore(kept)
    assert upkeep.as_mapping() == Upkeep().as_mapping()
    Story(upkeep).see(pack(50.0, warmth=25.0))
    assert upkeep.due(START) is False


def test_times_of_another_zone_are_the_same_moment() -> None:
    """Kept in UTC."""
    upkeep = Upkeep()
    upkeep.restore({"last_full": START.astimezone(timezone(timedelta(hours=2))).isoformat()})
    assert upkeep.as_mapping()["last_full"] == START.isoformat()


def test_a_rule_that_becomes_known_counts_from_the_last_full_charge() -> None:
    """The model was chosen a month after it."""
    first = Story().see(pack(100.0), 3.0)
    again = Story(Upkeep(rule("es_wall")))
    again.upkeep.restore(first.as_mapping())
    again.wait(MONTH)
    again.see(pack(50.0))
    assert again.upkeep.due(START + 2.9 * MONTH) is False
    assert again.upkeep.due(START + 3.1 * MONTH) is True


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


def test_a_clock_that_is_set_back_at_an_end_starts_its_half_minute_again() -> None:
    """Else nothing would be judged until the old time comes round."""
    story = Story()
    story.see(pack(60.0, cell=3.45), seconds=10.0)
    story.now = START - timedelta(days=1)
    assert story.see(pack(60.0, cell=3.45)).calibration_advised is True


def test_a_date_of_another_rule_is_not_kept_beyond_the_interval_of_this_one() -> None:
    """The model was changed: nine months are left by the old manual, of which the new one has three."""
    cool = Story(Upkeep(rule("vlrv"))).see(pack(60.0, warmth=10.0))
    again = Story(Upkeep(rule("es_wall")))
    again.upkeep.restore({**cool.as_mapping(), "months": 6.0})
    again.see(pack(60.0))
    assert again.upkeep.due(START + 2.9 * MONTH) is False
    assert again.upkeep.due(START + 3.1 * MONTH) is True


def test_a_last_full_charge_in_the_future_puts_nothing_off() -> None:
    """The clock was wrong when it was noted."""
    story = Story(Upkeep(rule("es_wall")))
    story.upkeep.restore({"last_full": (START + 12 * MONTH).isoformat()})
    assert story.see(pack(50.0)).due(START + 3.1 * MONTH) is True


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
