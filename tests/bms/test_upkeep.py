"""When a pack was full, and when it wants to be charged."""

from datetime import UTC, datetime, timedelta, timezone
import json
from typing import Any

import pytest

from custom_components.lfp_battery.bms.model import Alarm, BatteryState, Condition, Mode, Severity
from custom_components.lfp_battery.bms.upkeep import Upkeep

from .upkeep_story import MONTH, START, UNDERVOLTAGE, Story, pack, rule


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


@pytest.mark.parametrize(("current", "since"), [(-40.0, None), (None, None), (-0.5, START), (40.0, START)])
def test_a_full_pack_that_is_first_seen_while_it_is_drawn_from_was_full_nobody_knows_when(
    current: float | None, since: datetime | None
) -> None:
    """Unless it is charged or stands there: then that is at least nearly so."""
    assert Story().see(pack(99.6), current).last_full == since


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
        ("es_wall", 39.0, 20.0, False),
        ("growatt_65", 80.0, -20.0, False),
        ("ml314", 51.0, 20.0, True),
        ("ml314", 38.0, 20.0, False),
    ],
)
def test_only_a_charge_as_far_as_the_manual_wants_it_counts(key: str, soc: float, current: float, counts: bool) -> None:
    """Pytes: more than 90 %; Growatt: until LED2 flashes; ML314: as it is stored; ES names no level, so a full one."""
    story = Story(Upkeep(rule(key)))
    story.see(pack(soc - 19.0))
    story.wait(2.9 * MONTH)
    story.see(pack(soc), current)
    story.wait(0.2 * MONTH if key in ("es_wall", "ml314") else 3.2 * MONTH)
    assert story.upkeep.due(story.now) is not counts


@pytest.mark.parametrize("key", ["pytes_v", "es_wall", "growatt_65", "ml314", "vlrv"])
def test_a_battery_that_is_used_every_day_is_never_due(key: str) -> None:
    """All these manuals speak of one that is stored; an inverter may well stop charging at 85 %, or a winter at 45 %."""
    story = Story(Upkeep(rule(key)))
    for day in range(300):
        top = 45.0 if day % 100 > 80 else 85.0
        for soc, current in ((25.0, 0.0), (top - 15.0, 20.0), (top, 20.0), (40.0, -20.0)):
            assert story.see(pack(soc, warmth=35.0), current, seconds=10.0).due(story.now) is False
            story.now = START + timedelta(days=day, hours=6)
        story.now = START + timedelta(days=day + 1)


@pytest.mark.parametrize(
    ("seen", "counts"),
    [
        (((50.0, 0.0), (71.0, 20.0)), True),
        (((50.0, 0.0), (69.0, 20.0)), False),
        (((50.0, -20.0), (30.0, -20.0), (51.0, 20.0)), True),  # above the lowest, wherever it began
        (((50.0, 0.0), (75.0, 0.0), (75.0, -20.0)), False),  # a counter that was set right charges nothing
        (((90.0, 0.0), (60.0, 0.0), (75.0, 20.0)), False),
    ],
)
def test_a_battery_counts_as_used_when_it_was_charged_by_a_fifth(
    seen: tuple[tuple[float, float], ...], counts: bool
) -> None:
    """Counted from its lowest, also over a restart in between."""
    story = Story(Upkeep(rule("es_wall")))
    for soc, current in seen:
        story.see(pack(soc), current)
        again = Upkeep(rule("es_wall"))
        again.restore(json.loads(json.dumps(story.upkeep.as_mapping())))
        story.upkeep = again
        story.wait(MONTH)
    story.now = START + 3.1 * MONTH
    assert story.upkeep.due(story.now) is not counts


@pytest.mark.parametrize(("seconds", "used"), [(0.0, False), (10.0, False), (40.0, True)])
@pytest.mark.parametrize("before", [True, False])
def test_a_low_that_does_not_stand_is_none(seconds: float, used: bool, before: bool) -> None:
    """One wrong reading makes no charge of a trickle months later, not even the first one."""
    story = Story(Upkeep(rule("es_wall")))
    if before:
        story.see(pack(50.0))
    story.see(pack(0.0), seconds=seconds)
    story.see(pack(50.0))
    story.wait(2.9 * MONTH)
    story.see(pack(50.0), 2.0)
    assert story.upkeep.due(START + 3.1 * MONTH) is not used


@pytest.mark.parametrize(
    ("soc", "seconds", "counts"),
    [(55.0, 0.0, False), (56.9, 60.0, False), (57.0, 0.0, True), (55.0, 590.0, False), (55.0, 600.0, True)],
)
def test_a_trickle_above_a_low_target_counts_once_some_charge_has_gone_in(
    soc: float, seconds: float, counts: bool
) -> None:
    """Two points more, or ten minutes of current without a break."""
    story = Story(Upkeep(rule("ml314")))
    story.see(pack(55.0))
    story.wait(2.9 * MONTH)
    story.see(pack(55.0), 1.5, seconds=580.0)
    story.see(pack(55.0))
    story.wait(timedelta(hours=2))
    story.see(pack(55.0), 1.5, seconds=0.0)
    story.wait(timedelta(hours=2))
    story.see(pack(soc), 1.5, seconds=seconds)
    assert story.upkeep.due(START + 3.1 * MONTH) is not counts


def test_a_fifth_that_was_charged_within_the_hour_is_not_counted_again_later() -> None:
    """The date moves once an hour, but what it counts from does each time: a trickle months later is no use."""
    story = Story(Upkeep(rule("es_wall")))
    story.see(pack(30.0))
    story.see(pack(51.0), 50.0)
    story.see(pack(72.0), 50.0)
    story.wait(2.9 * MONTH)
    story.see(pack(72.0), 1.5)
    assert story.upkeep.due(START + 3.1 * MONTH) is True


def test_an_ml314_that_is_stored_as_its_manual_says_is_not_due() -> None:
    """13.1 (10): charged and discharged every three months, kept at 50 to 60 %."""
    story = Story(Upkeep(rule("ml314")))
    for day in range(1, 300):
        soc, current = (60.0, 20.0) if day % 80 == 0 else (50.0, 0.0)
        assert story.see(pack(soc), current).due(story.now) is False
        story.now = START + timedelta(days=day)


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
    """What is full then is full then, once the earlier time has gone on for an hour."""
    story = Story(Upkeep(rule("es_wall")))
    story.wait(timedelta(days=1000))
    story.see(pack(100.0), 3.0)
    story.now = START
    assert story.see(pack(100.0), 3.0, seconds=3600.0).last_full == START + timedelta(hours=1)
    assert story.upkeep.due(START + 3.0 * MONTH) is False
    assert story.upkeep.due(START + 3.1 * MONTH) is True


@pytest.mark.parametrize("behind", [timedelta(days=20), timedelta(hours=2), timedelta(days=3000)])
@pytest.mark.parametrize("seconds", [0.0, 3500.0])
def test_a_clock_that_is_behind_for_a_while_after_a_restart_forgets_nothing(behind: timedelta, seconds: float) -> None:
    """Neither the last full charge, nor what is left of the interval, warm as it may be then."""
    story = Story(Upkeep(rule("vlrv")))
    story.see(pack(90.0, warmth=15.0), 20.0)
    story.see(pack(100.0, warmth=15.0), 3.0)
    full, due_at = story.upkeep.last_full, story.upkeep.due_at(START)
    assert full is not None
    again = Story(Upkeep(rule("vlrv")))
    again.upkeep.restore(json.loads(json.dumps(story.upkeep.as_mapping())))
    again.now = story.now - behind
    again.see(pack(80.0, warmth=35.0), -5.0, seconds=seconds)
    assert (again.upkeep.last_full, again.upkeep.due_at(START)) == (full, due_at)
    again.now = story.now + timedelta(days=1)
    again.see(pack(80.0, warmth=15.0), -5.0)
    assert (again.upkeep.last_full, again.upkeep.due_at(START)) == (full, due_at)


def test_a_clock_that_steps_back_a_little_goes_on() -> None:
    """It is set by the network now and then."""
    story = Story()
    story.see(pack(90.0), 20.0, seconds=600.0)
    story.wait(timedelta(minutes=-9))
    stepped = story.now
    assert story.see(pack(100.0), 3.0).last_full == stepped


def test_a_charge_under_a_clock_that_is_behind_counts_from_when_it_is_right() -> None:
    """Nobody knows when it was, but that it was."""
    story = Story(Upkeep(rule("growatt_65")))
    story.see(pack(100.0), 3.0)
    story.see(pack(10.0))
    story.wait(5 * MONTH)
    story.see(pack(10.0))
    right = story.now
    story.now -= timedelta(days=20)
    story.see(pack(40.0), 20.0)
    story.now = right
    story.see(pack(40.0))
    assert story.upkeep.due(right + 5.9 * MONTH) is False
    assert story.upkeep.due(right + 6.1 * MONTH) is True


def test_a_charge_under_a_clock_that_was_years_ahead_puts_nothing_off() -> None:
    """It counts from when the clock is right again, and is no date in four years."""
    story = Story(Upkeep(rule("es_wall")))
    story.see(pack(50.0))
    story.now = START.replace(year=2030)
    story.see(pack(100.0), 5.0)
    story.now = START + timedelta(days=1)
    assert story.see(pack(60.0), seconds=3600.0).last_full is None
    assert story.upkeep.due(START + 2.9 * MONTH) is False
    assert story.upkeep.due(START + 3.1 * MONTH) is True


@pytest.mark.parametrize("unset", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)])
def test_no_interval_begins_before_the_clock_is_set(unset: datetime) -> None:
    """A small computer without a battery of its own begins in the past, and would find the pack due at once."""
    story = Story(Upkeep(rule("es_wall")))
    story.now = unset
    assert story.see(pack(100.0), 3.0).due(START) is None
    story.now = START
    assert story.see(pack(60.0)).last_full is None
    assert story.upkeep.due(START + 2.9 * MONTH) is False
    assert story.upkeep.due(START + 3.1 * MONTH) is True


def test_what_was_noted_outlives_a_start_before_the_clock_is_set() -> None:
    """Neither the dates nor what is left of the interval change, until it is charged again."""
    story = Story(Upkeep(rule("vlrv")))
    story.see(pack(100.0, warmth=15.0), 3.0)
    kept = story.upkeep.as_mapping()
    story.now = datetime(2025, 1, 1, tzinfo=UTC)
    story.see(pack(100.0, warmth=35.0))
    assert story.upkeep.as_mapping() == kept
    story.see(pack(100.0, warmth=15.0), 3.0)
    story.now = START + 10 * MONTH
    assert story.see(pack(99.0, warmth=15.0)).due(START + 18.9 * MONTH) is False


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
        {"last_full": "2027-03-01T06:00:00", "months": -1, "charged": None},
        {"lowest": "low", "agreed": "top"},
        {"lowest": float("nan"), "agreed": [["top"], 1]},
        {"months": float("nan"), "due_at": "9999-12-31T23:59:59-14:00"},
        {"months": 1e300},
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
