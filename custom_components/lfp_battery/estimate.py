"""What is worked out from readings: stored energy, time left, a current without its jitter. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
import math

from .bms.model import BatteryState

# LiFePO4: the plateau that manuals of all five families rate by (16 cells = 51.2 V).
NOMINAL_CELL_VOLTAGE = 3.2
# A kettle switching on must not halve the time left at once, an evening's change must show within minutes.
SMOOTHING_SECONDS = 120.0
# Below a hundredth of its capacity an hour a battery is as good as idle: four days from full to empty say nothing.
_IDLE_RATE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What the manual says of one pack; None where it says nothing."""

    voltage: float | None = None  # V, nominal
    usable_energy: float | None = None  # kWh
    capacity: float | None = None  # Ah, nominal


def stored_energy(state: BatteryState, cells: int | None, rating: Rating, packs: int | None = None) -> float | None:
    """Energy that can still be taken out, kWh.

    Where the manual names a usable energy: its share by charge, of so many `packs` or, where a bank does not say how
    many it speaks for, of as many as its full capacity is worth. Else remaining charge x nominal voltage, which counts what the manual's depth of discharge
    would leave in the pack.
    """
    if (remaining := state.remaining_capacity) is None:
        return None
    if rating.usable_energy is not None and state.full_capacity:
        worth = max(1, round(state.full_capacity / rating.capacity)) if rating.capacity else 1
        return min(remaining / state.full_capacity, 1.0) * rating.usable_energy * (packs or worth)
    if (voltage := rating.voltage or (cells * NOMINAL_CELL_VOLTAGE if cells else None)) is None:
        return None
    return remaining * voltage / 1000


def tells_energy(fields: Collection[str], cells: int | None, rating: Rating) -> bool:
    """Whether `stored_energy` can ever be worked out of a battery that reports these fields of the model."""
    if "remaining_capacity" not in fields:
        return False
    by_share = rating.usable_energy is not None and "full_capacity" in fields
    return by_share or bool(rating.voltage or cells)


def time_left(state: BatteryState, current: float | None, floor: float) -> float | None:
    """Seconds until the charge has sunk to `floor` (%) at this current (A); None unless it is sinking."""
    if current is None or state.remaining_capacity is None or not (full := _full_capacity(state)):
        return None
    if current > -_IDLE_RATE * full:
        return None
    above = state.remaining_capacity - full * floor / 100
    return max(above, 0.0) / -current * 3600


def _full_capacity(state: BatteryState) -> float | None:
    if state.full_capacity or not state.soc or state.remaining_capacity is None:
        return state.full_capacity
    return state.remaining_capacity / state.soc * 100


class Smoothed:
    """An exponential mean over time, whatever the spacing of the samples."""

    def __init__(self, seconds: float = SMOOTHING_SECONDS) -> None:
        """`seconds` is the time constant."""
        self._seconds = seconds
        self._when: float | None = None
        self.value: float | None = None

    def observe(self, when: float, value: float) -> None:
        """Take in a sample; after a gap of several time constants little is left of the past."""
        if self.value is None or self._when is None:
            self.value = value
        else:
            weight = 1 - math.exp(-max(when - self._when, 0.0) / self._seconds)
            self.value += weight * (value - self.value)
        self._when = when


class RunningTotal:
    """An energy total in kWh that never steps back, whoever counts: the battery, or our own meter."""

    # A counter that fell by less is an answer out of order; by more, the board was exchanged or its memory cleared.
    _RESET_BELOW = 0.9

    def __init__(self) -> None:
        """Begin with nothing."""
        self.value: float | None = None
        self.counter: float | None = None  # the battery's own, as last seen
        self._metered = 0.0

    def restore(self, value: float | None, counter: float | None) -> None:
        """Go on from where the last run stopped."""
        self.value = value
        self.counter = counter

    def metered(self, total: float) -> None:
        """Take in our own meter, which began with this run."""
        self.value = (self.value or 0.0) + max(total - self._metered, 0.0)
        self._metered = total
        self.counter = None  # should the battery ever count again, what it counted meanwhile is in here already

    def counted(self, counter: float) -> None:
        """Take in the battery's counter; when it begins to count late, the total goes on from where it is."""
        if self.value is None:
            self.value = counter
        elif self.counter is not None and counter > self.counter:
            self.value += counter - self.counter
        elif self.counter is not None and counter >= self._RESET_BELOW * self.counter:
            return
        self.counter = counter
