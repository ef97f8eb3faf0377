"""Power over time to energy, in both directions, exactly; reads no clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

_JOULES_PER_KWH = 3_600_000.0


class EnergyMeter:
    """Integrates one battery's power by trapezoids; what was not observed is not guessed at.

    Totals are in kWh and never fall.
    """

    __slots__ = ("_charged", "_discharged", "_last", "_unobserved", "longest_gap")

    def __init__(self, *, charged: float = 0.0, discharged: float = 0.0, longest_gap: float) -> None:
        """Go on from totals in kWh; an interval of more than `longest_gap` seconds counts as unobserved."""
        self._charged = charged
        self._discharged = discharged
        self.longest_gap = longest_gap  # may follow the pace of whoever asks
        self._unobserved = 0.0
        self._last: tuple[float, float | None] | None = None

    @property
    def charged(self) -> float:
        """KWh that went in."""
        return self._charged

    @property
    def discharged(self) -> float:
        """KWh that came out."""
        return self._discharged

    @property
    def unobserved(self) -> float:
        """Seconds, since this meter was made, of which nothing was added because the power was not known."""
        return self._unobserved

    def observe(self, when: float, power: float | None) -> None:
        """Take the power in W (positive = charging; None: not known) at `when`, in monotonic seconds.

        An observation that is not later than the last one is left out.
        """
        if power is not None and not isfinite(power):
            power = None  # a total that is not a number once stays so
        if self._last is None:
            self._last = (when, power)
            return
        before, last_power = self._last
        if when <= before:
            return
        self._last = (when, power)
        seconds = when - before
        if power is None or last_power is None or seconds > self.longest_gap:
            self._unobserved += seconds
            return
        charged, discharged = _areas(last_power, power, seconds)
        self._charged += charged / _JOULES_PER_KWH
        self._discharged += discharged / _JOULES_PER_KWH


def _areas(first: float, last: float, seconds: float) -> tuple[float, float]:
    """Joules above and below zero of a straight line from one power to the other."""
    if first >= 0 and last >= 0:
        return (first + last) / 2 * seconds, 0.0
    if first <= 0 and last <= 0:
        return 0.0, -(first + last) / 2 * seconds
    # the line crosses zero where the two triangles meet: each one's share of the time is its share of the height
    height = abs(first) + abs(last)
    above, below = max(first, last), -min(first, last)
    return above / 2 * (above / height) * seconds, below / 2 * (below / height) * seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one answer of a battery says of energy; None: not reported, or held back."""

    when: float  # s, monotonic
    power: float | None  # W, positive = charging
    voltage: float | None = None  # V
    remaining_capacity: float | None = None  # Ah
    charged: float | None = None  # kWh, as the battery counts it
    discharged: float | None = None  # kWh, as the battery counts it


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What came to the totals of an account, kWh; the estimated part is in the sum."""

    charged: float = 0.0
    discharged: float = 0.0
    estimated_charged: float = 0.0
    estimated_discharged: float = 0.0


class EnergyAccount:
    """Energy in both directions over years: by the battery's own counters where it has them, else by its power.

    Totals are in kWh and never fall; None: nothing was ever known.
    """

    longest_gap: float  # s; more between two readings is a gap
    most_power: float  # W in either direction; no step is greater than this times its time
    charged: float | None
    discharged: float | None
    estimated_charged: float  # kWh of the total that were bridged over gaps
    estimated_discharged: float
    unobserved: float  # s of which nothing is known, so that nothing was added

    def __init__(self, *, longest_gap: float, most_power: float) -> None:
        """Begin with nothing."""
        raise NotImplementedError

    def observe(self, reading: Reading) -> Added:
        """Take in a reading; what came to the totals by it."""
        raise NotImplementedError

    def add(self, added: Added) -> None:
        """Take over what came to an account that is a part of this one: a pack's, for that of its bank."""
        raise NotImplementedError

    def swap(self) -> None:
        """The current sensor is the other way round: what was charged was discharged."""
        raise NotImplementedError

    def as_mapping(self, monotonic: float, utc: datetime) -> dict[str, Any]:
        """What has to be kept over a restart, as JSON knows it; the two times are of the same moment."""
        raise NotImplementedError

    def restore(self, kept: Mapping[str, Any], monotonic: float, utc: datetime) -> None:
        """Go on from there, and take the time between for a gap; what cannot be read is not known."""
        raise NotImplementedError
