"""Energy in both directions out of what a battery says; reads no clock."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf, isfinite
from typing import Any

from .energy_charge import Bridge, ChargeCount, Count
from .energy_counter import JOULES_PER_KWH, Direction, Pace
from .kept import number, when_kept


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
    full_capacity: float | None = None  # Ah
    modules: int | None = None  # of a bank: how many packs its count of charge is of
    charged: float | None = None  # kWh, as the battery counts it
    discharged: float | None = None  # kWh, as the battery counts it


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What came to the totals of an account, kWh; the estimated part is in the sum."""

    charged: float = 0.0
    discharged: float = 0.0
    estimated_charged: float = 0.0
    estimated_discharged: float = 0.0
    unobserved: float = 0.0  # s


class EnergyAccount:
    """Energy in both directions over years: by the battery's own counters where it has them, else by its power.

    Power is summed by trapezoids between readings that are not too far apart; what flowed in a gap (silence, a
    restart, power not reported) is estimated by the battery's count of its charge, or else not at all. From when a
    counter was seen to move, nothing else adds to its total: its next step makes up for any silence. Totals never fall.
    """

    __slots__ = ("_charge", "_in", "_interrupted", "_last", "_out", "longest_gap", "most_power", "unobserved")

    def __init__(self, *, longest_gap: float, most_power: float) -> None:
        """Begin with nothing."""
        self.longest_gap = longest_gap  # s; more between two readings is a gap. May follow the pace of whoever asks
        self.most_power = (
            most_power  # W in either direction; no step is greater than this times its time, and 1 kWh by a counter
        )
        self.unobserved = 0.0  # s of which nothing is known, so that nothing was added
        self._in, self._out = Direction(), Direction()
        self._charge = ChargeCount()
        self._last: tuple[float, float | None] | None = None  # time and power of the last reading
        self._interrupted = False  # by a restart since then

    @property
    def charged(self) -> float | None:
        """KWh that went in; None: nothing was ever known."""
        return self._in.total

    @property
    def discharged(self) -> float | None:
        """KWh that came out; None: nothing was ever known."""
        return self._out.total

    @property
    def estimated_charged(self) -> float:
        """KWh of the total that were bridged over gaps."""
        return self._in.estimated

    @property
    def estimated_discharged(self) -> float:
        """KWh of the total that were bridged over gaps."""
        return self._out.estimated

    def observe(self, reading: Reading) -> Added:
        """Take in a reading; what came to the totals by it.

        One that is not later than the last is left out. A battery's counter that is heard for the first time is where
        a total begins, and adds nothing.
        """
        if self._last is not None and reading.when <= self._last[0]:
            return Added()
        pace = Pace(reading.when, self.longest_gap, self.most_power)
        power, count = _finite(reading.power), _count(reading)
        if power is not None:
            power = min(max(power, -self.most_power), self.most_power)
        was_counted = self._in.is_counted and self._out.is_counted
        (above, below), unobserved = self._pass(reading.when, power)
        bridge = self._bridge(count)
        charged, estimated_charged = self._in.go_on(_finite(reading.charged, 0.0), above, max(0.0, bridge.net), pace)
        discharged, estimated_discharged = self._out.go_on(
            _finite(reading.discharged, 0.0), below, max(0.0, -bridge.net), pace
        )
        if power is not None or count is not None:
            self._in.begin()
            self._out.begin()
        unobserved += bridge.lost
        if was_counted and self._in.is_counted and self._out.is_counted:
            unobserved = 0.0  # the battery does not stop counting
        self.unobserved += unobserved
        return Added(
            charged=charged,
            discharged=discharged,
            estimated_charged=estimated_charged,
            estimated_discharged=estimated_discharged,
            unobserved=unobserved,
        )

    def _bridge(self, count: Count | None) -> Bridge:
        """What the count of charge tells of what nobody saw."""
        if count is None:
            # after a while what is known since then is not so exact that a difference tells much
            return Bridge(lost=self._charge.forget() if self._charge.seen > self.longest_gap else 0.0)
        bridge = self._charge.hear(count, self.most_power)
        one_sided = self._in.is_counted != self._out.is_counted
        if one_sided and ((bridge.net > 0 and self._in.is_counted) or (bridge.net < 0 and self._out.is_counted)):
            return replace(bridge, lost=bridge.seconds)  # the counter has it; of the other direction nothing is told
        return bridge

    def _pass(self, when: float, power: float | None) -> tuple[tuple[float, float], float]:
        """Go on to the time and power of a reading; kWh in either direction by power, and seconds that are lost."""
        last, interrupted = self._last, self._interrupted
        self._last, self._interrupted = (when, power), False
        if last is None:
            return (0.0, 0.0), 0.0
        seconds = when - last[0]
        if power is None or last[1] is None or interrupted or seconds > self.longest_gap:
            if not self._charge.is_heard:
                return (0.0, 0.0), seconds
            self._charge.miss(seconds, last[1], power)
            return (0.0, 0.0), 0.0
        above, below = (joules / JOULES_PER_KWH for joules in _areas(last[1], power, seconds))
        self._charge.see(above - below, seconds)
        return (above, below), 0.0

    def add(self, added: Added) -> None:
        """Take over what came to an account that is a part of this one: a pack's, for that of its bank."""
        for direction, energy, estimated in (
            (self._in, added.charged, added.estimated_charged),
            (self._out, added.discharged, added.estimated_discharged),
        ):
            direction.begin()
            direction.add(energy, estimated)
        self.unobserved += added.unobserved

    def swap(self) -> None:
        """The current sensor is the other way round: what was charged was discharged."""
        self._in, self._out = self._out, self._in
        self._charge.swap()
        if self._last is not None and self._last[1] is not None:
            self._last = (self._last[0], -self._last[1])

    def as_mapping(self, monotonic: float, utc: datetime) -> dict[str, Any]:
        """What has to be kept over a restart, as JSON knows it; the two times are of the same moment."""
        age, power = (None, None) if self._last is None else (monotonic - self._last[0], self._last[1])
        return {
            "utc": utc.isoformat(),
            "age": age,
            "power": power,
            "charged": self._in.as_mapping(monotonic),
            "discharged": self._out.as_mapping(monotonic),
            "charge": self._charge.as_mapping(),
            "unobserved": self.unobserved,
        }

    def restore(self, kept: Mapping[str, Any], monotonic: float, utc: datetime) -> None:
        """Go on from there, and take the time between for a gap; what cannot be read is not known.

        Where the clock was set back meanwhile nobody knows how long that was, and nothing is added for it.
        """
        then = when_kept(kept, monotonic, utc)
        self.unobserved = number(kept, "unobserved", least=0.0) or 0.0
        self._in.restore(kept.get("charged"), then)
        self._out.restore(kept.get("discharged"), then)
        self._charge.restore(kept.get("charge"))
        if then is None or (age := number(kept, "age", least=0.0)) is None:
            self.unobserved += self._charge.forget()
            return
        self._last = (then - age, number(kept, "power"))
        self._interrupted = True


def _count(reading: Reading) -> Count | None:
    """What it says of the charge."""
    capacity, voltage = _finite(reading.remaining_capacity), _finite(reading.voltage)
    if capacity is None or voltage is None or voltage <= 0:
        return None
    return Count(capacity=capacity, voltage=voltage, full=_finite(reading.full_capacity), modules=reading.modules)


def _finite(value: float | None, least: float = -inf) -> float | None:
    """A total that is not a number once stays so; what is below `least` is not one either."""
    return value if value is not None and isfinite(value) and value >= least else None
