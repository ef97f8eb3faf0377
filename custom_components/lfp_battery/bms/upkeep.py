"""When a battery was last full, when its manual wants it charged again, and whether its state of charge has drifted.

An LFP cell has nearly the same voltage from a tenth to nine tenths of its charge: only its two ends tell how full it is.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import inf
from statistics import median
from typing import Any

from .model import BatteryState, Condition, Mode, Severity
from .product import Recharge

# Below a hundredth of its capacity an hour a battery is as good as idle: four days from full to empty say nothing.
IDLE_RATE = 0.01

_MONTH = timedelta(days=365.25 / 12)
# What counts as 100 % where tenths are reported: rounded, as the battery's own display shows it.
_FULL_SOC = 99.5  # %
# A battery that is kept full is full all the time: what is told of it moves once an hour.
_HOURLY = timedelta(hours=1)
# A battery that is used is not stored, and no manual sets it an interval: so many points of charge more than it had tell
# that it is. Our judgement: by itself it loses one or two a month (Pytes 4.2), and no counter is out by as much.
_USED = 20.0  # percentage points
# Before this date there was nothing here to note one: a clock that says so was not set yet.
_CLOCK_SET = datetime(2026, 11, 1, tzinfo=UTC)
# A date so far ahead was noted by a clock that was wrong; less is a clock that is set right now and then.
_AHEAD = timedelta(days=1)
# A clock that is further back than this from the latest time it told is behind, or was ahead then: the one that it has
# gone on from for an hour is taken for right.
_SET_BACK = timedelta(minutes=10)
_GONE_ON = timedelta(hours=1)
# A state of charge that comes this long after the last current into the battery was reached by charging.
_AFTER_CHARGE = timedelta(hours=1)
# A trickle that is seen once above a low target has charged nothing: so many points more than the lowest have, or a
# current that has flowed as long, looked at that often.
_WENT_IN = 2.0  # percentage points
_FLOWED = timedelta(minutes=10)
# A store that is 20 degC give or take a little would else have another interval with every reading (VLRV, table 6-2).
_SPAN_HYSTERESIS = 1.0  # K

# What the ends look like. Where the capacity is unknown: that of the smallest pack that is common (50 Ah).
_UNSTATED_CAPACITY = 50.0  # Ah
# Top: every cell at 3.40 V while no more than a twentieth of the capacity an hour flows in. At rest a cell is at 3.35 V
# with nineteen twentieths of its charge; makers charge to 3.44 V (Growatt 1.4), 3.50 V (VLRV, table 6-2) or 3.65 V (ES 8)
# a cell, VLRV until 5 A are left, which is a twentieth of 100 Ah.
_TOP_CELL = 3.40  # V
_TAIL_RATE = 0.05  # of the capacity an hour
# Bottom: a cell at 2.80 V, between the 3.0 V below which less than a tenth is left and the 2.625 V where ES 8 cuts off; or
# protection, which ES 9 row 6 takes for empty, unless its cells have come back further than empty ones do when the load
# goes. Neither while more than a fifth of the capacity an hour is drawn, which pulls good cells down as well; in the cold
# less does.
_BOTTOM_CELL = 2.80  # V
_RECOVERED_CELL = 3.10  # V
_LOADED_RATE = 0.2  # of the capacity an hour
_COLD = 5.0  # degC
# What a state of charge must not say there; one that is out by a tenth (the discharge limit of ES 4) may stay as it is.
_NOT_EMPTY = 20.0  # %
_NOT_FULL = 85.0  # %
# An end that is not there in the next readings as well was none: a load, or a reading that was wrong.
_STANDS = timedelta(seconds=30)

_EMPTY_ALARMS = frozenset(
    {Condition.CELL_UNDERVOLTAGE, Condition.PACK_UNDERVOLTAGE, Condition.UNDERVOLTAGE, Condition.FULLY_DISCHARGED}
)


class Upkeep:
    """What is remembered of one pack or bank for years; reads no clock. Times are UTC."""

    def __init__(self, recharge: Recharge | None = None) -> None:
        """`recharge` is the rule of its manual; None: there is none, and nothing is ever due."""
        self._recharge = recharge
        self.last_full: datetime | None = None
        self.calibration_advised: bool | None = None  # None: nothing was seen that tells
        self._charged: datetime | None = None  # last, as far as the manual wants it
        self._charging: datetime | None = None  # when current last flowed into it
        self._due_at: datetime | None = None  # by the interval below; moves when it is charged or the interval changes
        self._months: float | None = None
        self._lowest: float | None = None  # state of charge, %, since that interval began
        self._low: tuple[datetime, float] | None = None  # below it since when, and the most it was since then
        self._flowing: datetime | None = None  # since when current flows into it
        self._latest: datetime | None = None  # the latest time that the clock told
        self._behind: datetime | None = None  # since when by a clock that is behind that
        self._agreed: set[str] = set()  # ends at which the state of charge was right since calibration was advised
        self._emptied = False  # it was in protection since it was last full
        self._end: tuple[bool, datetime] | None = None  # at the top (else bottom), since when

    def observe(self, now: datetime, state: BatteryState, current: float | None) -> None:
        """Take in a reading; `current` in A is smoothed, None where the reading tells none."""
        idle = IDLE_RATE * _capacity(state)
        right = self._is_right(now)
        if flows_in := current is not None and current >= idle:
            if self._flowing is None or self._charging is None or not timedelta() <= now - self._charging <= _FLOWED:
                self._flowing = now
            self._charging = now
        else:
            self._flowing = None
        charged = self._charging is not None and timedelta() <= now - self._charging <= _AFTER_CHARGE
        top = _at_top(state, current)
        full = top or _says_full(state)
        if right:
            self._correct(now)
        # found full it was charged some time ago, unless it is being drawn from: then it may have been long ago
        found_full = self.last_full is None and current is not None and current > -idle
        if right and full and (charged or found_full) and _may_move(self.last_full, now):
            self.last_full = now
        if right:
            self._count(now, state)
        reached = full or (self._above_target(state) and self._went_in(now, state))
        if (charged and reached) or (flows_in and self._gained(state, _USED)):
            self._start_again(now, right=right)
            self._lowest, self._low = state.soc, None
        elif state.soc is not None:
            self._note_low(now, state.soc)
        self._judge(now, state, top=top, bottom=_at_bottom(state, current))
        if _in_protection(state):
            self._emptied = True
        elif self._emptied and charged and state.soc is not None and state.soc >= _FULL_SOC:
            # from protection to 100 %, as ES 9 row 6 calibrates
            self._emptied = self.calibration_advised = False

    def _is_right(self, now: datetime) -> bool:
        """Whether the clock may be believed."""
        if now < _CLOCK_SET:
            return False
        if self._latest is not None and now < self._latest - _SET_BACK:
            if self._behind is None or now < self._behind:
                self._behind = now
            if now - self._behind < _GONE_ON:
                return False
            self._latest = now
        self._latest = now if self._latest is None else max(self._latest, now)
        self._behind = None
        return True

    def _correct(self, now: datetime) -> None:
        """Forget what a clock noted that was wrong, once it is right."""
        if self.last_full is not None and not _CLOCK_SET <= self.last_full <= now + _AHEAD:
            self.last_full = None
        if self._due_at is not None and self._months is not None:
            self._due_at = min(self._due_at, now + self._months * _MONTH)

    def _note_low(self, now: datetime, soc: float) -> None:
        """A low that is there in one reading only was none, as with the ends."""
        if self._lowest is not None and soc >= self._lowest:
            self._low = None
            return
        since, most = (now, soc) if self._low is None or now < self._low[0] else self._low
        self._low = (since, max(most, soc))
        if now - since >= _STANDS:
            self._lowest, self._low = max(most, soc), (now, soc)

    def _gained(self, state: BatteryState, points: float) -> bool:
        return state.soc is not None and self._lowest is not None and state.soc >= self._lowest + points

    def _went_in(self, now: datetime, state: BatteryState) -> bool:
        flowed = self._flowing is not None and now - self._flowing >= _FLOWED
        return flowed or self._gained(state, _WENT_IN)

    def _above_target(self, state: BatteryState) -> bool:
        return self._recharge is not None and state.soc is not None and state.soc > self._recharge.target

    def _count(self, now: datetime, state: BatteryState) -> None:
        """Begin to count, or go over to the interval of another temperature: the share that is used up stays used up."""
        if self._recharge is None:
            return
        months = _interval(self._recharge, _temperature(state), self._months)
        if self._due_at is None or self._months is None:
            # without a date, but with an interval: it was charged while the clock was wrong
            begin = now if self.last_full is None or self._months is not None else min(self.last_full, now)
            self._due_at = begin + months * _MONTH
        elif months != self._months and self._due_at > now:
            share = min((self._due_at - now) / (self._months * _MONTH), 1.0)
            self._due_at = now + share * months * _MONTH
        self._months = months

    def _start_again(self, now: datetime, *, right: bool) -> None:
        if not right:
            self._due_at = None  # it was charged, nobody knows when: not before the clock is right
        elif self._months is not None and _may_move(self._charged, now):
            self._charged = now
            self._due_at = now + self._months * _MONTH

    def _judge(self, now: datetime, state: BatteryState, *, top: bool, bottom: bool) -> None:
        """Hold the state of charge against the cells, where they tell what it must be."""
        if top == bottom:  # neither; both cannot be
            self._end = None
            return
        if self._end is None or self._end[0] is not top or now < self._end[1]:
            self._end = (top, now)
        if state.soc is None or now - self._end[1] < _STANDS:
            return
        if state.soc <= _NOT_FULL if top else state.soc >= _NOT_EMPTY:
            if not self.calibration_advised:
                self._emptied = False  # the cure comes after the advice; if it is in protection now it has begun
            self.calibration_advised = True
            self._agreed.clear()
            return
        if not top or state.soc >= _FULL_SOC:
            self._agreed.add("top" if top else "bottom")
        if self.calibration_advised is None or len(self._agreed) == 2:
            self.calibration_advised = False

    def due(self, now: datetime) -> bool | None:
        """Whether the manual's interval is over; None where no manual says one."""
        at = self.due_at(now)
        return None if at is None else at <= now

    def due_at(self, now: datetime) -> datetime | None:
        """When it will be, or was, to the hour, if the temperature stays as it is."""
        if self._recharge is None or self._due_at is None:
            return None
        return self._due_at.replace(minute=0, second=0, microsecond=0)

    def as_mapping(self) -> dict[str, Any]:
        """What has to be kept over a restart, as JSON knows it."""
        return {
            **{name: None if (when := getattr(self, f"_{name}")) is None else when.isoformat() for name in _TIMES},
            "last_full": None if self.last_full is None else self.last_full.isoformat(),
            "months": self._months,
            "lowest": self._lowest,
            "agreed": sorted(self._agreed),
            "emptied": self._emptied,
            "calibration_advised": self.calibration_advised,
        }

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on from there; what cannot be read is not known."""
        self.last_full = _time(kept.get("last_full"))
        self._charged, self._charging, self._due_at, self._latest = (_time(kept.get(name)) for name in _TIMES)
        months, advised, lowest = kept.get("months"), kept.get("calibration_advised"), kept.get("lowest")
        said = {span.months for span in self._recharge.spans} if self._recharge is not None else set()
        self._months = float(months) if isinstance(months, int | float) and months in said else None
        self._lowest = float(lowest) if isinstance(lowest, int | float) and 0 <= lowest <= 100 else None
        agreed = kept.get("agreed")
        self._agreed = {end for end in ("top", "bottom") if isinstance(agreed, list) and end in agreed}
        self._emptied = kept.get("emptied") is True
        self.calibration_advised = advised if isinstance(advised, bool) else None


_TIMES = ("charged", "charging", "due_at", "latest")


def _time(text: object) -> datetime | None:
    try:
        when = datetime.fromisoformat(text) if isinstance(text, str) else None
        return None if when is None or when.tzinfo is None else when.astimezone(UTC)
    except ValueError, OverflowError:
        return None


def _may_move(last: datetime | None, now: datetime) -> bool:
    """Also when the clock was set back."""
    return last is None or not timedelta() <= now - last < _HOURLY


def _capacity(state: BatteryState) -> float:
    if full := state.full_capacity or state.design_capacity:
        return full
    if state.remaining_capacity and state.soc:
        return state.remaining_capacity / state.soc * 100
    return _UNSTATED_CAPACITY


def _lowest_cell(state: BatteryState) -> float | None:
    return min((cell for cell in state.cell_voltages or () if cell is not None), default=state.cell_voltage_min)


def _temperature(state: BatteryState) -> float | None:
    """What it stands at: of its cells the middle one, so that a sensor that fails does not count."""
    cells = [value for value in state.cell_temperatures or () if value is not None]
    if cells:
        return median(cells)
    if state.cell_temperature_min is not None and state.cell_temperature_max is not None:
        return (state.cell_temperature_min + state.cell_temperature_max) / 2
    return state.ambient_temperature if state.temperature is None else state.temperature


def _says_full(state: BatteryState) -> bool:
    flagged = any(alarm.condition is Condition.FULLY_CHARGED for alarm in state.alarms or ())
    return flagged or state.mode is Mode.FULL or (state.soc is not None and state.soc >= _FULL_SOC)


def _in_protection(state: BatteryState) -> bool:
    return state.mode is Mode.EMPTY or any(
        alarm.condition in _EMPTY_ALARMS and alarm.severity >= Severity.PROTECTION for alarm in state.alarms or ()
    )


def _flows(state: BatteryState, current: float | None, least: float, most: float) -> bool:
    """Whether the current is between these shares of the capacity an hour: its mean, and what it is at this moment.

    Cells follow a load or a charger at once, the mean within minutes.
    """
    capacity = _capacity(state)
    momentary = current if state.current is None else state.current
    return all(value is not None and least * capacity <= value <= most * capacity for value in (current, momentary))


def _at_top(state: BatteryState, current: float | None) -> bool:
    lowest = _lowest_cell(state)
    return lowest is not None and lowest >= _TOP_CELL and _flows(state, current, -IDLE_RATE, _TAIL_RATE)


def _at_bottom(state: BatteryState, current: float | None) -> bool:
    lowest, temperature = _lowest_cell(state), _temperature(state)
    cold = temperature is not None and temperature < _COLD
    if not _flows(state, current, -(IDLE_RATE if cold else _LOADED_RATE), inf):
        return False
    if lowest is None:
        return _in_protection(state)
    return lowest <= (_RECOVERED_CELL if _in_protection(state) else _BOTTOM_CELL)


def _interval(recharge: Recharge, temperature: float | None, before: float | None) -> float:
    """Months that a battery may stand at this temperature, in degC; `before` is what counted until now."""
    shortest = min(span.months for span in recharge.spans)
    if temperature is None:
        return before if before in {span.months for span in recharge.spans} and before is not None else shortest
    found = next((span.months for span in recharge.spans if span.low <= temperature <= span.high), shortest)
    if before is None or found <= before:
        return found
    near = any(
        span.low - _SPAN_HYSTERESIS <= temperature <= span.high + _SPAN_HYSTERESIS
        for span in recharge.spans
        if span.months == before
    )
    return before if near else found
