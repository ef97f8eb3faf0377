"""Several packs as one battery: what they add up to, and what can only be said of some of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from .model import BankState, PackState


class LeftOut(StrEnum):
    """Why a pack is not counted in the state of charge of its bank."""

    SILENT = "silent"  # it was asked, or waited for, and does not answer
    UNASKED = "unasked"  # its device is disabled
    UNKNOWN = "unknown"  # it does not say how full it is


class Weighting(StrEnum):
    """What a pack's state of charge counts by."""

    CAPACITY = "capacity"
    EQUAL = "equal"  # no pack tells its capacity, and no manual does: only equal packs may be in parallel


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One known pack of a bank."""

    number: str  # what an owner calls it
    state: PackState | None  # the last one received; None: never
    online: bool
    asked: bool = True
    capacity: float | None = None  # Ah by its manual, where it does not say itself


@dataclass(frozen=True, slots=True, kw_only=True)
class BankFigures:
    """What is known of all packs together; packs are named by their numbers."""

    state: BankState  # what the bank says of itself, and worked out what it never does; `derived` names the latter
    counted: tuple[str, ...] = ()  # the packs whose state of charge is counted
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    weighting: Weighting | None = None
    soc_spread: float | None = None  # % between the fullest and the emptiest pack
    voltage_spread: float | None = None  # V between packs
    lowest_cell_pack: str | None = None
    highest_cell_pack: str | None = None
    coldest_pack: str | None = None
    warmest_pack: str | None = None


def derivable(packs: Sequence[frozenset[str]]) -> frozenset[str]:
    """Fields of BankState that can ever be worked out of packs that report these fields; none of fewer than two packs."""
    raise NotImplementedError


def figures(
    members: Sequence[Member], own: BankState | None = None, own_fields: frozenset[str] = frozenset()
) -> BankFigures:
    """The bank over its packs (design, decision 11).

    `own` is what the bank says of itself, `own_fields` what it ever said: those are never worked out.
    """
    raise NotImplementedError
