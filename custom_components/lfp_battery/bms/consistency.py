"""Whether the packs of a bank may be in parallel by their manuals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


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
    values: Mapping[str, str | float | int]  # by number of the pack
    limit: float | None = None  # what the manual allows: V, or a number of packs


def findings(packs: Sequence[Standing], *, most: int | None = None, apart: float | None = None) -> tuple[Finding, ...]:
    """What speaks against these packs in parallel; `most` packs, and `apart` volts between idle ones, are allowed."""
    raise NotImplementedError
