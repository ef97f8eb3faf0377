"""What is worked out from readings: stored energy, time left and to full, a current without its jitter. Pure."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
import math

from .bms.model import BatteryState
from .bms.upkeep import IDLE_RATE

# LiFePO4: the plateau that manuals of all five families rate by (16 cells = 51.2 V).
NOMINAL_CELL_VOLTAGE = 3.2
# A kettle switching on must not halve the time left at once, an evening's change must show within minutes.
SMOOTHING_SECONDS = 120.0
# Between them a current has no direction: five counts of the 0.1 A that serial protocols resolve (pylon-rs485.md 6.1).
_DEAD_BAND = 0.5  # A
# A direction that changed twice within ten minutes does not last long enough to reckon hours with: a hob that switches
# on and off, clouds. Once is an evening.
_RESTLESS_SECONDS = 600.0
_RESTLESS_CHANGES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What the manual says of one pack; None where it says nothing."""

    voltage: float | None = None  # V, nominal
    usable_energy: float | None = None  # kWh
    capacity: float | None = None  # Ah, nominal


def stored_energy(state: BatteryState, cells: int | None, rating: Rating, packs: int | None = None) -> float | None:
    """Energy that can still be taken out, kWh.

    Where the manual names a usable energy: its share by charge. Else remaining charge x nominal voltage, which counts
    what the manual's depth of discharge would leave in the pack. See `full_energy` for wear and `packs`.
    """
    if (remaining := state.remaining_capacity) is None:
        return None
    if (usable := _usable_energy(state.full_capacity, rating, packs)) is not None and state.full_capacity:
        return min(remaining / state.full_capacity, 1.0) * usable
    return _at_nominal_voltage(remaining, cells, rating)


def full_energy(state: BatteryState, cells: int | None, rating: Rating, packs: int | None = None) -> float | None:
    """Energy that could be taken out if it were full, kWh.

    What the manual calls usable of one pack, as often as its nominal capacity is in what is left of that, which counts
    wear; not of more `packs` than there are, where that is known. Else full charge x nominal voltage.
    """
    if (usable := _usable_energy(state.full_capacity, rating, packs)) is not None:
        return usable
    return None if state.full_capacity is None else _at_nominal_voltage(state.full_capacity, cells, rating)


def _usable_energy(full: float | None, rating: Rating, packs: int | None) -> float | None:
    if rating.usable_energy is None or not full:
        return None
    if not rating.capacity:
        return rating.usable_energy * (packs or 1)
    return rating.usable_energy * min(full / rating.capacity, packs or math.inf)


def _at_nominal_voltage(charge: float, cells: int | None, rating: Rating) -> float | None:
    voltage = rating.voltage or (cells * NOMINAL_CELL_VOLTAGE if cells else None)
    return None if voltage is None else charge * voltage / 1000


def tells_energy(fields: Collection[str], cells: int | None, rating: Rating) -> bool:
    """Whether `stored_energy` can ever be worked out of a battery that reports these fields of the model."""
    if "remaining_capacity" not in fields:
        return False
    return tells_full_energy(fields, cells, rating) or bool(rating.voltage or cells)


def tells_full_energy(fields: Collection[str], cells: int | None, rating: Rating) -> bool:
    """Whether `full_energy` can ever be worked out of a battery that reports these fields of the model."""
    return "full_capacity" in fields and bool(rating.usable_energy is not None or rating.voltage or cells)


def time_left(state: BatteryState, current: float | None, floor: float) -> float | None:
    """Seconds until the charge has sunk to `floor` (%) at this current (A); None unless it is sinking."""
    if current is None or state.remaining_capacity is None or not (full := _full_capacity(state)):
        return None
    if current > -IDLE_RATE * full:
        return None
    above = state.remaining_capacity - full * floor / 100
    return max(above, 0.0) / -current * 3600


def time_to_full(state: BatteryState, current: float | None) -> float | None:
    """Seconds until it is full at this current (A); None unless it is being charged.

    Chargers take the current back towards the end, so that the last minutes take longer than this says.
    """
    if current is None or state.remaining_capacity is None or not (full := _full_capacity(state)):
        return None
    if current < IDLE_RATE * full:
        return None
    return max(full - state.remaining_capacity, 0.0) / current * 3600


def _full_capacity(state: BatteryState) -> float | None:
    if state.full_capacity or not state.soc or state.remaining_capacity is None:
        return state.full_capacity
    return state.remaining_capacity / state.soc * 100


class Smoothed:
    """A current as an exponential mean over time, whatever the spacing of the samples, and whether it has a direction."""

    def __init__(self, seconds: float = SMOOTHING_SECONDS) -> None:
        """`seconds` is the time constant."""
        self._seconds = seconds
        self._when: float | None = None
        self._mean: float | None = None
        self._positive: bool | None = None  # None: never beyond the dead band
        self._changes: deque[float] = deque(maxlen=_RESTLESS_CHANGES)

    @property
    def value(self) -> float | None:
        """The mean, A; None as long as nothing was observed, and while its direction keeps changing."""
        return None if self.restless else self._mean

    @property
    def restless(self) -> bool:
        """Whether the mean went from charging to discharging and back within ten minutes, or the other way round.

        The mean, not each sample: a kettle for a minute takes nothing from an afternoon of charging.
        """
        if self._when is None or len(self._changes) < _RESTLESS_CHANGES:
            return False
        return self._when - self._changes[0] <= _RESTLESS_SECONDS

    def observe(self, when: float, value: float) -> None:
        """Take in a sample; after a gap of several time constants little is left of the past."""
        if self._mean is None or self._when is None:
            self._mean = value
        else:
            weight = 1 - math.exp(-max(when - self._when, 0.0) / self._seconds)
            self._mean += weight * (value - self._mean)
        self._when = when
        if abs(self._mean) <= _DEAD_BAND:
            return
        if (positive := self._mean > 0) is not self._positive and self._positive is not None:
            self._changes.append(when)
        self._positive = positive
