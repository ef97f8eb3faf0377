"""Whether the packs of a bank may be in parallel by their manuals.

Packs of one kind only: Growatt 5 (batch, model and maker), ES safety instructions 7 (voltage and brand), ML314 13.1 (5)
(maker and type), VLRV 5.3 (exactly the same model and capacity). A different state of charge is none of this: it is
normal (VLRV table 7-1, row 9).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

# Packs of one model wear apart, and what they hold when full is counted, not known; the next larger model of any
# family has at least twice as much (catalog). A share of the largest.
_WORN: Final = 0.2
# A pack of 100 Ah loses less than 0.1 V over so little, so that its voltage is as good as that of one at rest.
_IDLE: Final = 2.0  # A


class Mismatch(StrEnum):
    """What packs of one bank must not differ in."""

    CELLS = "cells"
    CAPACITY = "capacity"
    MODEL = "model"
    VOLTAGE = "voltage"  # further apart than the manual allows before the breaker is closed
    TOO_MANY = "too_many"  # more packs than the manual allows


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one pack is judged by; None: not known, and then it contradicts nobody."""

    number: str  # what an owner calls it
    cells: int | None = None
    capacity: float | None = None  # Ah, by design; else when full
    model: str | None = None
    voltage: float | None = None  # V, of a pack that answers
    current: float | None = None  # A


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as the manual wants it."""

    mismatch: Mismatch
    # By number of the pack, as far as it is known of them; for TOO_MANY which pack it is, counted from 1
    values: Mapping[str, str | float | int]
    limit: float | None = None  # what the manual allows: V, or a number of packs


class _Kind(NamedTuple):
    """One thing that packs of one kind have in common."""

    mismatch: Mismatch
    value: Callable[[Standing], str | float | int | None]
    differ: Callable[[Collection[Any]], bool]


def _any_other(values: Collection[str | int]) -> bool:
    return len(set(values)) > 1


def _other_models(models: Collection[str]) -> bool:
    """However a firmware writes it."""
    return _any_other(["".join(filter(str.isalnum, model.casefold())) for model in models])


def _other_sizes(capacities: Collection[float]) -> bool:
    return min(capacities) < (1 - _WORN) * max(capacities)


_KINDS: Final = (
    _Kind(Mismatch.CELLS, lambda pack: pack.cells, _any_other),
    _Kind(Mismatch.CAPACITY, lambda pack: pack.capacity, _other_sizes),
    _Kind(Mismatch.MODEL, lambda pack: pack.model, _other_models),
)


def at_rest(pack: Standing) -> bool:
    """Whether its voltage is as good as without any current."""
    return pack.current is not None and abs(pack.current) <= _IDLE


def findings(packs: Sequence[Standing], *, most: int | None = None, apart: float | None = None) -> tuple[Finding, ...]:
    """What speaks against these packs in parallel; `most` packs, and `apart` volts between idle ones, are allowed.

    The voltages are those of one moment: packs that stopped charging a minute ago may still be settling, so that
    whoever tells a person waits until it has stood for a while.
    """
    found: list[Finding] = []
    for kind in _KINDS:
        # what is empty or nought is not known either
        values = {pack.number: value for pack in packs if (value := kind.value(pack))}
        if values and kind.differ(values.values()):
            found.append(Finding(mismatch=kind.mismatch, values=values))
    resting = {pack.number: pack.voltage for pack in packs if pack.voltage is not None and at_rest(pack)}
    if apart is not None and resting and max(resting.values()) - min(resting.values()) > apart:
        found.append(Finding(mismatch=Mismatch.VOLTAGE, values=resting, limit=apart))
    if most is not None and len(packs) > most:
        places = {pack.number: place for place, pack in enumerate(packs, 1)}
        found.append(Finding(mismatch=Mismatch.TOO_MANY, values=places, limit=most))
    return tuple(found)
