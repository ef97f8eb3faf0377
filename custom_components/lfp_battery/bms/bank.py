"""Several packs as one battery: what they add up to, and what can only be said of some of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
import math
from statistics import fmean
from typing import Any, Final, NamedTuple

from .model import BankState, PackState


class LeftOut(StrEnum):
    """Why a pack is not counted in the state of charge of its bank."""

    SILENT = "silent"  # it was asked, or waited for, and does not answer
    UNASKED = "unasked"  # its device is disabled
    UNKNOWN = "unknown"  # it does not say how full it is


class Weighting(StrEnum):
    """What a pack's state of charge counts by."""

    CAPACITY = "capacity"
    EQUAL = (
        "equal"  # the capacity of some pack is not told by it, nor by its manual: only equal packs may be in parallel
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One known pack of a bank."""

    number: str  # what an owner calls it
    state: PackState | None  # the last one received; None: never
    online: bool
    asked: bool = True
    current: bool = True  # heard lately enough to be added up with the others
    capacity: float | None = None  # Ah by its manual, where it does not say itself


@dataclass(frozen=True, slots=True, kw_only=True)
class BankFigures:
    """What is known of all packs together; packs are named by their numbers."""

    state: BankState  # what the bank says of itself, and worked out what it never does; `derived` names the latter
    counted: tuple[str, ...] = ()  # the packs whose state of charge is counted; none where the bank says its own
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    complete: bool = False  # all packs answer, and none of them said long ago what counts here
    weighting: Weighting | None = None
    soc_spread: float | None = None  # % between the fullest and the emptiest pack
    voltage_spread: float | None = None  # V between packs
    lowest_cell_pack: str | None = None
    highest_cell_pack: str | None = None
    coldest_pack: str | None = None
    warmest_pack: str | None = None


_TOTALS: Final = ("power", "current", "remaining_capacity", "full_capacity", "design_capacity")
_VOLTAGE_LIMITS: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "charge_voltage_limit": min,
    "discharge_voltage_limit": max,
}
# ... and what says that a pack takes no part in that direction.
_CURRENT_LIMITS: Final = {
    "charge_current_limit": "charge_enabled",
    "discharge_current_limit": "discharge_enabled",
}
_ENABLES: Final = ("charge_enabled", "discharge_enabled")


class _Extreme(NamedTuple):
    """The lowest or the highest of something that every pack has several of."""

    name: str
    of: str
    pick: Callable[..., Any]
    place: str  # of BankFigures
    numbered: bool  # whether the model has a place for the number of cell and pack
    near: float  # so close to what the bank says, the same is meant: the two are not measured at the same moment


_EXTREMES: Final = (
    _Extreme("cell_voltage_min", "cell_voltages", min, "lowest_cell_pack", True, 0.01),
    _Extreme("cell_voltage_max", "cell_voltages", max, "highest_cell_pack", True, 0.01),
    _Extreme("cell_temperature_min", "cell_temperatures", min, "coldest_pack", False, 1.0),
    _Extreme("cell_temperature_max", "cell_temperatures", max, "warmest_pack", False, 1.0),
)


class _Found(NamedTuple):
    """One pack's own extreme."""

    value: float
    pack: str
    cell: int | None  # from 1; None: not known


def derivable(packs: Sequence[frozenset[str]]) -> frozenset[str]:
    """Fields of BankState that can ever be worked out of packs that report these fields; none of fewer than two packs.

    A pack that was never heard reports nothing so far, and rules nothing out.
    """
    heard = [fields for fields in packs if fields]
    if len(packs) < 2 or not heard:
        return frozenset()
    every, some = frozenset.intersection(*heard), frozenset[str]().union(*heard)
    found = {*every.intersection(_TOTALS)}
    found |= some.intersection(("soc", "voltage", *_ENABLES, *_VOLTAGE_LIMITS, *_CURRENT_LIMITS))
    for extreme in _EXTREMES:
        if not some.isdisjoint((extreme.of, extreme.name)):
            found.add(extreme.name)
            if extreme.numbered:
                found.add(f"{extreme.name}_pack")
        if extreme.numbered and not some.isdisjoint((extreme.of, f"{extreme.name}_cell")):
            found.add(f"{extreme.name}_cell")
    return frozenset(found)


def figures(
    members: Sequence[Member], own: BankState | None = None, own_fields: frozenset[str] = frozenset()
) -> BankFigures:
    """The bank over its packs (design, decision 11).

    `own` is what the bank says of itself, `own_fields` what it ever said: those are never worked out.
    """
    own = own or BankState()
    if len(members) < 2:
        return BankFigures(state=own)
    states = {member.number: state for member in members if (state := _answer(member)) is not None}
    silent = len(states) < len(members)
    complete = not silent and all(member.current for member in members)

    def worked_out(name: str) -> bool:
        return name not in own_fields and getattr(own, name) is None

    values: dict[str, Any] = {
        **{name: _total(states, name) if complete else None for name in _TOTALS},
        **{name: _limit(states, name, pick) for name, pick in _VOLTAGE_LIMITS.items()},
        **{name: _current_limit(states, name, enable) for name, enable in _CURRENT_LIMITS.items()},
        **{name: _enabled(states, name, silent) for name in _ENABLES},
        "voltage": fmean(voltages) if (voltages := _said(states, "voltage")) else None,
    }
    places: dict[str, str | None] = {}
    for extreme in _EXTREMES:
        found = _found(states, extreme)
        if worked_out(extreme.name):
            places[extreme.place] = found.pack if found else None
            values |= _placed(extreme, found)
        else:
            places[extreme.place] = _place_of_own(own, extreme, found)
    charge = _charge(members, states) if worked_out("soc") else _Charge()
    values = {
        name: value for name, value in (values | {"soc": charge.soc}).items() if value is not None and worked_out(name)
    }
    return BankFigures(
        state=replace(own, **values, derived=own.derived | values.keys()),
        counted=charge.counted,
        left_out=charge.left_out,
        complete=complete,
        weighting=charge.weighting,
        soc_spread=_spread(_said(states, "soc")),
        voltage_spread=_spread(voltages),
        **places,
    )


def without_totals(found: BankFigures) -> BankFigures:
    """The same when one of the packs was heard too long ago: what it said is no part of a sum any more."""
    taken = found.state.derived.intersection(_TOTALS)
    nothing: dict[str, Any] = dict.fromkeys(taken)
    return replace(found, state=replace(found.state, **nothing, derived=found.state.derived - taken), complete=False)


def keeping_charge(found: BankFigures, before: BankFigures) -> BankFigures:
    """The figures with the state of charge from `before`, of the packs that were counted then."""
    if before.state.soc is None or "soc" not in before.state.derived:
        return found
    return replace(
        found,
        state=replace(found.state, soc=before.state.soc, derived=found.state.derived | {"soc"}),
        counted=before.counted,
        left_out=before.left_out,
        weighting=before.weighting,
        soc_spread=before.soc_spread,
    )


type _States = Mapping[str, PackState]  # of the packs that answer, by number


def _answer(member: Member) -> PackState | None:
    """What it says now; what a silent pack said once is nothing to reckon with."""
    return member.state if member.asked and member.online else None


def _said(states: _States, name: str) -> list[Any]:
    return [value for state in states.values() if (value := getattr(state, name)) is not None]


def _total(states: _States, name: str) -> float | None:
    """Of all that answer, or nothing."""
    said = _said(states, name)
    return math.fsum(said) if len(said) == len(states) else None


def _limit(states: _States, name: str, pick: Callable[[Sequence[float]], float]) -> float | None:
    """The strictest limit; not known while it may be that of a pack which answers without saying it."""
    said = _said(states, name)
    return pick(said) if said and len(said) == len(states) else None


def _current_limit(states: _States, name: str, enable: str) -> float | None:
    """In parallel no pack can be spared its share, so the weakest counts for each that takes part."""
    taking = {number: state for number, state in states.items() if getattr(state, enable) is not False}
    if not taking:
        return 0.0 if _said(states, name) else None
    least = _limit(taking, name, min)
    return None if least is None else len(taking) * least


def _enabled(states: _States, name: str, silent: bool) -> bool | None:
    """A pack that does not answer may still allow it."""
    said = _said(states, name)
    if any(said):
        return True
    return False if said and len(said) == len(states) and not silent else None


def _spread(values: Sequence[float]) -> float | None:
    return max(values) - min(values) if len(values) > 1 else None


# --- the lowest and the highest --------------------------------------------------------------------------------------


def _found(states: _States, extreme: _Extreme) -> _Found | None:
    """The extreme of all packs that tell; of several alike the first pack and cell."""
    found = list(_each(states, extreme))
    return extreme.pick(found, key=lambda one: one.value) if found else None


def _each(states: _States, extreme: _Extreme) -> Iterator[_Found]:
    """Every pack's own extreme: of the values it tells one by one, else as it says itself."""
    for number, state in states.items():
        each = [(value, cell) for cell, value in enumerate(getattr(state, extreme.of) or (), 1) if value is not None]
        if each:
            value, cell = extreme.pick(each, key=lambda one: one[0])
            yield _Found(value, number, cell)
        elif (value := getattr(state, extreme.name)) is not None:
            yield _Found(value, number, getattr(state, f"{extreme.name}_cell") if extreme.numbered else None)


def _placed(extreme: _Extreme, found: _Found | None) -> dict[str, float | int | None]:
    """Fields of the model for it."""
    if found is None:
        return {}
    if not extreme.numbered:
        return {extreme.name: found.value}
    return {
        extreme.name: found.value,
        f"{extreme.name}_cell": found.cell,
        # packs of further groups have no plain number ("2-1")
        f"{extreme.name}_pack": int(found.pack) if found.pack.isdecimal() else None,
    }


def _place_of_own(own: BankState, extreme: _Extreme, found: _Found | None) -> str | None:
    """In which pack the value is that the bank says itself: as it says, else where a pack says the same."""
    value: float | None = getattr(own, extreme.name)
    if value is None:
        return None
    if extreme.numbered and (number := getattr(own, f"{extreme.name}_pack")) is not None:
        return str(number)
    return found.pack if found is not None and abs(found.value - value) <= extreme.near else None


# --- state of charge -------------------------------------------------------------------------------------------------


class _Charge(NamedTuple):
    """How full the bank is, and by which packs."""

    soc: float | None = None
    counted: tuple[str, ...] = ()
    left_out: Mapping[str, LeftOut] = {}
    weighting: Weighting | None = None


def _charge(members: Sequence[Member], states: _States) -> _Charge:
    left_out: dict[str, LeftOut] = {}
    counted: list[tuple[Member, PackState, float]] = []
    for member in members:
        if not member.asked:
            left_out[member.number] = LeftOut.UNASKED
        elif (state := states.get(member.number)) is None:
            left_out[member.number] = LeftOut.SILENT
        elif state.soc is None:
            left_out[member.number] = LeftOut.UNKNOWN
        else:
            counted.append((member, state, state.soc))
    if not counted:
        return _Charge(left_out=left_out)
    charges = [soc for _, _, soc in counted]
    weights = _weights([(member, state) for member, state, _ in counted])
    return _Charge(
        # rounding can carry a mean past what it is the mean of, and full packs past 100 %
        soc=max(min(fmean(charges, weights), max(charges)), min(charges)),
        counted=tuple(member.number for member, _, _ in counted),
        left_out=left_out,
        weighting=Weighting.EQUAL if weights is None else Weighting.CAPACITY,
    )


def _weights(packs: Sequence[tuple[Member, PackState]]) -> list[float] | None:
    """Capacities in Ah of one kind for all, the truest kind that all of them have."""
    kinds = (
        [state.full_capacity for _, state in packs],
        [state.design_capacity for _, state in packs],
        [member.capacity for member, _ in packs],
    )
    for kind in kinds:
        known = [capacity for capacity in kind if capacity]
        if len(known) == len(packs):
            return known
    return None
