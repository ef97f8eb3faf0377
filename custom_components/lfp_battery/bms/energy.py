"""Power over time to energy, in both directions, exactly; reads no clock."""

from math import isfinite

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
