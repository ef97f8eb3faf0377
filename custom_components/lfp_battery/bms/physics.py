"""What a battery can be: the range of every value, how values of one reading hang together, how fast they move.

A value is *impossible* (no battery of this kind can have it, or it contradicts another value of the same reading) or
*surprising* (a battery can have it, but line noise is as good an explanation: a physical extreme, or on a wire without a
real checksum a jump). What becomes of such a value is not decided here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
import math
from operator import attrgetter
from statistics import median
from types import MappingProxyType
from typing import Any, NamedTuple

from .model import BankState, BatteryState, charge_share, power_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is known of the pack beforehand; None where nothing is."""

    cells: int | None = None
    capacity: float | None = None  # Ah
    current: float | None = None  # A, the largest in either direction


class Reason(StrEnum):
    """Why a value was held back."""

    OUT_OF_RANGE = "out_of_range"
    BLANK = "blank"  # zero where a pack that answers cannot be zero
    CELL_COUNT = "cell_count"  # more or fewer values than the pack has
    CELL_SUM = "cell_sum"
    ABOVE_FULL = "above_full"
    POWER_MISMATCH = "power_mismatch"
    ORDER = "order"  # a minimum above its maximum
    EXTREME = "extreme"
    JUMP = "jump"
    BACKWARDS = "backwards"
    TWO_SOURCES = "two_sources"  # two batteries say different things in turn under one name


class Key(NamedTuple):
    """A field, or one element of a field that is a tuple."""

    name: str
    place: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one field can be."""

    name: str
    low: float
    high: float
    usual: tuple[float, float] = (-math.inf, math.inf)
    agree: float  # two readings this close say the same
    agree_share: float = 0.0  # ... or this close as a share of the larger
    step: float | None = None  # the most that it changes from one reading to the next
    scale: str | None = None  # the field of which `step` is a share
    with_load: bool = False  # the step grows with the change of current
    counter: bool = False  # only ever grows


def _cell(name: str, step: float, scale: str | None = None) -> Rule:
    return Rule(name=name, low=0.0, high=5.0, usual=_CELL_USUAL, agree=0.05, step=step, scale=scale, with_load=True)


def _temperature(name: str, hottest: float = 70.0, step: float = 5.0) -> Rule:
    return Rule(name=name, low=-40.0, high=120.0, usual=(-25.0, hottest), agree=2.0, step=step)


def _capacity(name: str, low: float, high: float, scale: str) -> Rule:
    return Rule(name=name, low=low, high=high, agree=0.5, agree_share=0.01, step=0.02, scale=scale)


def _amount(name: str, high: float, *, agree: float = 0.0, step: float | None = None, counter: bool = False) -> Rule:
    return Rule(name=name, low=0.0, high=high, agree=agree, step=step, counter=counter)


# Cells: an LFP cell works from 2.5 to 3.65 V; beyond that it is in trouble, not impossible. Below 0 and above 5 V no
# front-end can measure. Packs: 8..70 V, and a bank carries 2000 A at most (can.md section 5). Steps: an LFP cell moves by
# 0.1 V (3 %) at most between two readings under steady load, and by as much again for each 60 A of load change.
_CELL_USUAL = (2.0, 3.75)
_CELL_STEP = 0.03
_CELL_NOMINAL = 3.2  # V
_AMPERES_PER_STEP = 60.0


def rules(bank: bool, limits: Limits, cells: int | None) -> tuple[Rule, ...]:
    """All rules for a pack or bank of which `limits` and the number of cells are known."""
    if bank:
        limits = Limits(cells=limits.cells)  # a pack's current and capacity say nothing about many
    low, high, usual = 8.0, 70.0, (10.0, 60.0)
    if cells:
        low, high = max(low, cells * 1.0), min(high, cells * 4.5)
        usual = (cells * _CELL_USUAL[0], cells * _CELL_USUAL[1])
    # peaks last seconds and a short circuit exceeds them, so three times the rated figure is still believed
    # (a bank: the largest of the catalog, sixteen packs of 314 Ah, at a full charge an hour)
    current = max(300.0, 3 * limits.current) if limits.current else (5000.0 if bank else 1000.0)
    usual_current = 1.25 * limits.current if limits.current else (1000.0 if bank else 300.0)
    current_step = max(30.0, 0.75 * limits.current) if limits.current else 75.0
    capacity = 1.5 * limits.capacity if limits.capacity else (100_000.0 if bank else 2000.0)
    return (
        Rule(
            name="voltage", low=low, high=high, usual=usual, agree=0.5, step=_CELL_STEP, scale="voltage", with_load=True
        ),
        Rule(
            name="current",
            low=-current,
            high=current,
            usual=(-usual_current, usual_current),
            agree=10.0,
            agree_share=0.5,  # a load that comes on is still changing while it is read again
            step=current_step,
        ),
        Rule(name="power", low=-current * high, high=current * high, agree=500.0, agree_share=0.5),
        _amount("soc", 100.0, agree=1.0, step=2.0),  # decision 7 of the design
        Rule(name="soh", low=0.0, high=100.0, usual=(20.0, 100.0), agree=1.0, step=2.0),
        _capacity("remaining_capacity", 0.0, capacity, "full_capacity"),
        _capacity("full_capacity", 1.0, capacity, "full_capacity"),
        _capacity("design_capacity", 1.0, capacity, "design_capacity"),
        _amount("cycles", 20_000, agree=1.0, step=2.0, counter=True),
        _cell("cell_voltages", _CELL_STEP, "cell_voltages"),
        _cell("cell_voltage_min", _CELL_STEP, "cell_voltage_min"),
        _cell("cell_voltage_max", _CELL_STEP, "cell_voltage_max"),
        _temperature("temperature"),
        _temperature("cell_temperatures"),
        _temperature("cell_temperature_min"),
        _temperature("cell_temperature_max"),
        _temperature("ambient_temperature"),
        # power stages and films heat up fast
        _temperature("pcb_temperature", 105.0, 20.0),
        _temperature("mosfet_temperature", 105.0, 20.0),
        _temperature("heater_temperature", 105.0, 20.0),
        _amount("charge_voltage_limit", 70.0, agree=0.1, step=5.0),
        _amount("discharge_voltage_limit", 70.0, agree=0.1, step=5.0),
        # chargers obey these: a change of more than a taper's step is asked twice
        *(
            Rule(name=name, low=0.0, high=current, usual=(0.0, usual_current), agree=1.0, step=5.0)
            for name in ("charge_current_limit", "discharge_current_limit")
        ),
        _amount("energy_charged", 10_000_000.0, agree=0.5, step=10.0, counter=True),
        _amount("energy_discharged", 10_000_000.0, agree=0.5, step=10.0, counter=True),
        _amount("cell_voltage_min_cell", 255),
        _amount("cell_voltage_max_cell", 255),
        _amount("cell_voltage_min_pack", 255),
        _amount("cell_voltage_max_pack", 255),
        # PACE counts to 32 (pace-ascii.md 90H); seven Pylon groups of fourteen make 98
        *((_amount(name, 128) for name in MODULES) if bank else ()),
    )


# What a battery says on a CAN bus is believed within these (can.md section 5), as far as they are narrower: a cell at
# nought there is one of which nothing is known yet.
ON_CAN: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "current": (-2000.0, 2000.0),
        "cell_voltages": (0.5, 5.0),
        "cell_voltage_min": (0.5, 5.0),
        "cell_voltage_max": (0.5, 5.0),
    }
)


def narrowed(table: tuple[Rule, ...], within: Mapping[str, tuple[float, float]]) -> tuple[Rule, ...]:
    """The same rules with ranges no wider than these."""
    return tuple(
        replace(rule, low=max(rule.low, within[rule.name][0]), high=min(rule.high, within[rule.name][1]))
        if rule.name in within
        else rule
        for rule in table
    )


MODULES = ("modules", "modules_online", "modules_charge_blocked", "modules_discharge_blocked")
PACK_FIELDS = tuple(rule.name for rule in rules(False, Limits(), None))
read_pack: Callable[[BatteryState], tuple[Any, ...]] = attrgetter(*PACK_FIELDS)
read_bank: Callable[[BatteryState], tuple[Any, ...]] = attrgetter(*PACK_FIELDS, *MODULES)


# --- what is computed from what -------------------------------------------------------------------------------------


def _lowest(values: tuple[float | None, ...]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _highest(values: tuple[float | None, ...]) -> float | None:
    return max((value for value in values if value is not None), default=None)


DERIVED: Mapping[str, tuple[tuple[str, ...], Callable[..., float | None]]] = {
    "soc": (("remaining_capacity", "full_capacity"), charge_share),
    "power": (("voltage", "current"), power_of),
    "cell_voltage_min": (("cell_voltages",), _lowest),
    "cell_voltage_max": (("cell_voltages",), _highest),
    "cell_temperature_min": (("cell_temperatures",), _lowest),
    "cell_temperature_max": (("cell_temperatures",), _highest),
}


def computed(state: BatteryState) -> frozenset[str]:
    """Fields of this reading that are recomputed from their sources instead of being judged themselves."""
    return frozenset(
        name
        for name in state.derived
        if name in DERIVED and all(getattr(state, source) is not None for source in DERIVED[name][0])
    )


# --- one reading against the rules, and against the last good values -----------------------------------------------


class Verdict:
    """What is wrong with one reading."""

    __slots__ = ("impossible", "new_alarm", "recompute", "surprising")  # recompute: a derived value went too far

    def __init__(self) -> None:
        """Nothing so far."""
        self.impossible: dict[Key, Reason] = {}
        self.surprising: dict[Key, Reason] = {}
        self.new_alarm = False
        self.recompute = False

    @property
    def clean(self) -> bool:
        """Whether the reading can be published as it is."""
        return not (self.impossible or self.surprising or self.recompute)


@dataclass(slots=True)
class Memory:
    """What earlier readings have taught."""

    good: dict[str, Any] = field(default_factory=dict)  # the last value of each field that was believed
    suspects: dict[Key, float] = field(default_factory=dict)  # surprising and not confirmed so far
    misses: dict[Key, int] = field(default_factory=dict)  # readings in a row that were held back
    gone: set[Key] = field(default_factory=set)  # last published as unknown: a yardstick still, but no stand-in


def agree(rule: Rule, one: float, other: float) -> bool:
    """Whether two readings of a field say the same."""
    return abs(one - other) <= rule.agree + rule.agree_share * max(abs(one), abs(other))


def _complaint(rule: Rule, value: float, before: float | None, step: float | None) -> Reason | None:
    if not rule.low <= value <= rule.high:  # true for NaN as well
        return Reason.OUT_OF_RANGE
    if not rule.usual[0] <= value <= rule.usual[1] and (before is None or not agree(rule, value, before)):
        return Reason.EXTREME
    if before is None or step is None:
        return None
    if rule.counter and value < before:
        return Reason.BACKWARDS
    return Reason.JUMP if abs(value - before) > step else None


def _allowed_step(rule: Rule, good: Mapping[str, Any], load_change: float) -> float | None:
    """How far this field may move from one reading to the next, in its own unit."""
    if rule.step is None:
        return None
    step = rule.step
    if rule.scale is not None:
        if (scale := good.get(rule.scale)) is None:
            return None
        step *= _CELL_NOMINAL if isinstance(scale, tuple) else scale
    return step * (1 + load_change / _AMPERES_PER_STEP) if rule.with_load else step


def judge(
    state: BatteryState,
    table: tuple[Rule, ...],
    memory: Memory,
    *,
    weak_check: bool,
    cells: int | None,
    stale: frozenset[str] = frozenset(),
) -> Verdict:
    """Compare a reading with the rules and with what is remembered; `cells` is how many there must be, if known.

    Fields in `stale` were read earlier than the others: what changes with the load is not compared across the two.
    """
    verdict = Verdict()
    good = memory.good
    follows = computed(state) if state.derived else frozenset()
    before = good.get("current")
    load_change = abs(state.current - before) if state.current is not None and before is not None else 0.0
    read = read_bank if isinstance(state, BankState) else read_pack
    for rule, value in zip(table, read(state), strict=True):
        if value is None:
            continue
        name = rule.name
        before = good.get(name)
        step = _allowed_step(rule, good, load_change) if weak_check and before is not None else None
        if name in follows:
            verdict.recompute |= not rule.low <= value <= rule.high
        elif isinstance(value, tuple):
            others = before if before is not None else (None,) * len(value)
            if len(others) != len(value):
                others = (None,) * len(value)
                for index, element in enumerate(value):
                    _note(verdict, memory, rule, Key(name, index), element, Reason.CELL_COUNT)
            for index, (element, other) in enumerate(zip(value, others, strict=True)):
                if element is not None and (reason := _complaint(rule, element, other, step)) is not None:
                    _note(verdict, memory, rule, Key(name, index), element, reason)
        elif (reason := _complaint(rule, value, before, step)) is not None:
            _note(verdict, memory, rule, Key(name), value, reason)
    if state.cell_voltages is not None and cells is not None and len(state.cell_voltages) != cells:
        verdict.impossible |= {
            Key("cell_voltages", place): Reason.CELL_COUNT for place in range(len(state.cell_voltages))
        }
    for relation, moving in _RELATIONS:
        if not moving & stale or moving <= stale:
            relation(state, good, verdict)
    if weak_check and state.alarms:
        verdict.new_alarm = not state.alarms <= good.get("alarms", frozenset())
    return verdict


def _note(verdict: Verdict, memory: Memory, rule: Rule, key: Key, value: float | None, reason: Reason) -> None:
    if value is None:
        return
    if reason is Reason.OUT_OF_RANGE:
        verdict.impossible[key] = reason
    elif (suspect := memory.suspects.get(key)) is None or not agree(rule, value, suspect):
        # a value that came in an earlier reading and comes again has repeated: where nothing can be asked twice
        # (an overheard bus) this is the second reading
        verdict.surprising[key] = reason


# --- values of one reading against each other -----------------------------------------------------------------------

_SUM_TOLERANCE = 0.03  # of the pack's voltage: beyond it one of the two is wrong
# 86 captured packs: within 0.3 V (pylon-rs485.md 6.1), measured at not quite the same moment; beyond this ask again
_SUM_USUAL = 0.5  # V


def _cell_sum(state: BatteryState, good: Mapping[str, Any], verdict: Verdict) -> None:
    """Cells in series add up to the pack."""
    voltage, cells = state.voltage, state.cell_voltages
    if voltage is None or not cells or None in cells or Key("voltage") in verdict.impossible:
        return
    known = tuple(cell for cell in cells if cell is not None)
    excess = sum(known) - voltage
    if abs(excess) <= _SUM_USUAL or any(key.name == "cell_voltages" for key in verdict.impossible):
        return
    earlier = good.get("cell_voltages")
    shortened = earlier is not None and len(earlier) != len(known)
    if earlier is not None and (shortened or None in earlier):
        earlier = None
    if abs(excess) <= _SUM_TOLERANCE * voltage:
        usual = sum(earlier) - good["voltage"] if earlier is not None and "voltage" in good else 0.0
        if abs(excess - usual) > _SUM_USUAL:
            for key in (Key("voltage"), *(Key("cell_voltages", index) for index in range(len(known)))):
                verdict.surprising.setdefault(key, Reason.CELL_SUM)
        return
    if shortened:  # a list that lost its end says nothing against the voltage
        verdict.impossible |= {Key("cell_voltages", index): Reason.CELL_COUNT for index in range(len(known))}
        return
    # whichever departs from the last good reading (from its neighbours, if there is none) by as much as is missing
    references = earlier if earlier is not None else (median(known),) * len(known)
    departures = [cell - reference for cell, reference in zip(known, references, strict=True)]
    worst = max(range(len(known)), key=lambda index: abs(departures[index]))
    if abs(excess - departures[worst]) <= _SUM_USUAL:
        verdict.impossible[Key("cell_voltages", worst)] = Reason.CELL_SUM
    elif abs(departures[worst]) <= 0.2:  # noise does not move all cells together
        verdict.impossible[Key("voltage")] = Reason.CELL_SUM
    else:
        verdict.impossible[Key("voltage")] = Reason.CELL_SUM
        verdict.impossible |= {Key("cell_voltages", index): Reason.CELL_SUM for index in range(len(known))}


_OVERSHOOT = 1.05  # counters run past full before they are set back


def _above_full(state: BatteryState, good: Mapping[str, Any], verdict: Verdict) -> None:
    """A battery does not hold more than it can."""
    remaining, full = state.remaining_capacity, state.full_capacity
    if remaining is None or full is None or remaining <= full * _OVERSHOOT:
        return
    if any(Key(name) in verdict.impossible for name in ("remaining_capacity", "full_capacity")):
        return
    last_full = good.get("full_capacity")
    last_remaining = good.get("remaining_capacity")
    if last_full is not None and abs(full - last_full) <= 0.02 * last_full:
        blamed: tuple[str, ...] = ("remaining_capacity",)
    elif last_remaining is not None and last_full is not None and abs(remaining - last_remaining) <= 0.02 * last_full:
        blamed = ("full_capacity",)
    else:
        blamed = ("remaining_capacity", "full_capacity")
    verdict.impossible |= {Key(name): Reason.ABOVE_FULL for name in blamed}


def _power_mismatch(state: BatteryState, good: Mapping[str, Any], verdict: Verdict) -> None:
    """Power is voltage times current, give or take a load that changed between two measurements."""
    power, voltage, current = state.power, state.voltage, state.current
    if power is None or voltage is None or current is None or "power" in state.derived:
        return
    product = voltage * current
    if any(Key(name) in verdict.impossible for name in ("power", "voltage", "current")):
        return
    if abs(power - product) > 200.0 + 0.25 * max(abs(power), abs(product)):
        verdict.impossible[Key("power")] = Reason.POWER_MISMATCH


_ORDERED = (
    ("cell_voltage_min", "cell_voltage_max"),
    ("cell_temperature_min", "cell_temperature_max"),
    ("discharge_voltage_limit", "charge_voltage_limit"),
)
_order_of = attrgetter(*(name for pair in _ORDERED for name in pair))


def _order(state: BatteryState, good: Mapping[str, Any], verdict: Verdict) -> None:
    """The smaller of two does not exceed the larger; a charge limit of 0 V says "do not charge"."""
    values = _order_of(state)
    for place, names in enumerate(_ORDERED):
        smaller, larger = values[2 * place : 2 * place + 2]
        if smaller is None or larger is None or smaller <= larger:
            continue
        if (names[1] == "charge_voltage_limit" and larger == 0) or any(Key(n) in verdict.impossible for n in names):
            continue
        verdict.impossible |= {Key(name): Reason.ORDER for name in names}


def _blank(state: BatteryState, good: Mapping[str, Any], verdict: Verdict) -> None:
    """A pack that answers has a voltage: intact messages full of zeros are sent while some electronics start.

    Seen on EG4 packs (ble.md, vector syn-all-zero) and on CAN (can-malformed, 356-all-zero-at-start).
    """
    if state.voltage != 0:
        return
    verdict.impossible[Key("voltage")] = Reason.BLANK
    if state.soc == 0:
        verdict.impossible[Key("soc")] = Reason.BLANK
    if state.cell_voltages and not any(state.cell_voltages):
        verdict.impossible |= {Key("cell_voltages", place): Reason.BLANK for place in range(len(state.cell_voltages))}


# Each with the fields that must be of one reading, since they move with the load.
_RELATIONS: tuple[tuple[Callable[[BatteryState, Mapping[str, Any], Verdict], None], frozenset[str]], ...] = (
    (_blank, frozenset()),
    (_cell_sum, frozenset({"voltage", "cell_voltages"})),
    (_above_full, frozenset()),
    (_power_mismatch, frozenset({"power", "voltage", "current"})),
    (_order, frozenset()),
)
