"""What a unit holds and how long that lasts: its readings, with what is known of it and what its owner decided."""

from .coordinator import LfpBankCoordinator, LfpUnit
from .estimate import full_energy, stored_energy, tells_energy, tells_full_energy, time_left, time_to_full


def _cells(unit: LfpUnit) -> int | None:
    """Cells in series; of a bank those of its packs, where they agree."""
    if unit.record.cells is not None or not isinstance(unit, LfpBankCoordinator):
        return unit.record.cells
    counts = {pack.record.cells for pack in unit.packs.values()} - {None}
    return counts.pop() if len(counts) == 1 else None


def _packs(unit: LfpUnit) -> int | None:
    """How many packs the charge of a unit is spread over, where that is known."""
    if not isinstance(unit, LfpBankCoordinator):
        return 1
    return len(unit.packs) if "full_capacity" in unit.derivable else unit.modules


def tells_stored(unit: LfpUnit) -> bool:
    """Whether its stored energy can ever be said."""
    return tells_energy(unit.fields, _cells(unit), unit.settings.rating)


def tells_full(unit: LfpUnit) -> bool:
    """Whether it can ever be said what it holds when it is full."""
    return tells_full_energy(unit.fields, _cells(unit), unit.settings.rating)


def stored(unit: LfpUnit) -> float | None:
    """Energy that can still be taken out, kWh."""
    return _rounded(stored_energy(unit.state, _cells(unit), unit.settings.rating, _packs(unit)))


def full(unit: LfpUnit) -> float | None:
    """Energy that could be taken out if it were full, kWh."""
    return _rounded(full_energy(unit.state, _cells(unit), unit.settings.rating, _packs(unit)))


def to_floor(unit: LfpUnit) -> int | None:
    """Minutes until the charge has sunk to where its owner drew the line."""
    return _minutes(time_left(unit.state, _current(unit), unit.settings.soc_floor))


def to_full(unit: LfpUnit) -> int | None:
    """Minutes until it is full."""
    return _minutes(time_to_full(unit.state, _current(unit)))


def _current(unit: LfpUnit) -> float | None:
    """Smoothed; unknown when it is not told any more, and while its direction keeps changing."""
    return unit.smoothed_current.value if unit.state.current is not None else None


def _rounded(energy: float | None) -> float | None:
    return None if energy is None else round(energy, 3)


def _minutes(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds / 60)
