"""The energy that went one way: by the battery's own counter once that has moved, until then by what was worked out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from .kept import number

JOULES_PER_KWH = 3_600_000.0
# kWh that a counter may be ahead of what could have flowed: some count in whole kWh, and step when they are full.
_COARSEST = 1.0
# A counter that fell by no more than this share of it, and by no more than a step of the coarsest, ...
_OUT_OF_ORDER = 0.1
# ... gave an answer out of order, unless it says so this often in a row, or for longer than a gap.
_STAYS = 3


@dataclass(frozen=True, slots=True)
class Pace:
    """What bounds a reading."""

    when: float  # s, monotonic
    longest_gap: float  # s
    most_power: float  # W


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a counter of the battery's own said, and how far the total was by then."""

    value: float  # kWh
    when: float | None  # s, monotonic; None: nobody knows how long ago
    total: float  # kWh
    readings: int = 1  # in a row that do not contradict it

    def leads_to(self, value: float, pace: Pace) -> bool:
        """Whether so much can have flowed since."""
        most = pace.most_power * self.age(pace.when) / JOULES_PER_KWH
        return 0 <= value - self.value <= most + _COARSEST

    def age(self, now: float) -> float:
        """Seconds since then, as far as anybody knows."""
        return 0.0 if self.when is None else now - self.when

    def as_mapping(self, monotonic: float) -> dict[str, Any]:
        """See `EnergyAccount`."""
        age = None if self.when is None else self.age(monotonic)
        return {"counter": self.value, "counter_age": age, "counter_total": self.total, "readings": self.readings}

    @classmethod
    def restored(cls, kept: object, then: float | None, total: float) -> Self | None:
        """See `EnergyAccount`; `total` is what the total is by now."""
        if (value := number(kept, "counter", least=0.0)) is None:
            return None
        age = number(kept, "counter_age", least=0.0)
        at = number(kept, "counter_total", least=0.0)
        readings = number(kept, "readings", least=1.0) or 1.0
        return cls(
            value=value,
            when=None if then is None or age is None else then - age,
            total=total if at is None else min(at, total),
            readings=min(int(readings), _STAYS),
        )


class Direction:
    """What went one way."""

    __slots__ = ("_base", "_doubted", "estimated", "is_counted", "total")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.total: float | None = None  # kWh
        self.estimated = 0.0  # kWh of it
        self.is_counted = False  # by the battery: it has been seen to, as some fill the field with zeros
        self._base: _Mark | None = None  # as far as the total has followed the counter
        self._doubted: _Mark | None = None  # what it said later that does not go on from there

    def begin(self) -> None:
        """From now on something is known."""
        if self.total is None:
            self.total = 0.0

    def go_on(self, counted: float | None, by_power: float, bridged: float, pace: Pace) -> tuple[float, float]:
        """Add what was counted by the battery, or else what was worked out, kWh; what came, and how much is estimated."""
        if self.is_counted:
            by_power = bridged = 0.0
        self._add(by_power + bridged, bridged)
        step = 0.0 if counted is None else self._follow(counted, pace)
        self._add(step, 0.0)
        return by_power + bridged + step, bridged

    def _follow(self, value: float, pace: Pace) -> float:
        """What the counter shows beyond what came to the total since it was last believed, kWh."""
        if self.total is None:
            self.total = value  # a total that is there already goes on from where it is
        base, here = self._base, _Mark(value, pace.when, self.total)
        if base is None or base.when is None:
            self._base = here
            return 0.0
        if not base.leads_to(value, pace):
            if (new := self._confirmed(base, here, pace)) is None:
                return 0.0
            base, self.is_counted = new, False  # another board's, perhaps: it has to be seen to move as well
        self._doubted = None
        if value == base.value:
            self._base = replace(base, when=pace.when)
            return 0.0
        step = max(0.0, value - base.value - (self.total - base.total))
        self._base, self.is_counted = replace(here, total=self.total + step), True
        return step

    def _confirmed(self, base: _Mark, here: _Mark, pace: Pace) -> _Mark | None:
        """Where the counter goes on from, if that is no wrong answer."""
        doubted = self._doubted
        if doubted is None or not doubted.leads_to(here.value, pace):
            self._doubted = here
            return None
        self._doubted = replace(doubted, readings=doubted.readings + 1)
        stays = self._doubted.readings >= _STAYS or doubted.age(pace.when) > pace.longest_gap
        little = 0 < base.value - doubted.value <= min(_COARSEST, _OUT_OF_ORDER * base.value)
        return None if little and not stays else doubted

    def add(self, energy: float, estimated: float) -> None:
        """Add what came to a part of this, unless the battery counts itself."""
        if not self.is_counted:
            self._add(energy, estimated)

    def _add(self, energy: float, estimated: float) -> None:
        if energy:
            self.total = (self.total or 0.0) + energy
            self.estimated += estimated

    def as_mapping(self, monotonic: float) -> dict[str, Any]:
        """See `EnergyAccount`."""
        kept: dict[str, Any] = {"total": self.total, "estimated": self.estimated, "counter": None}
        if self._base is not None:
            kept |= {"counts": self.is_counted, **self._base.as_mapping(monotonic)}
            kept["doubted"] = None if self._doubted is None else self._doubted.as_mapping(monotonic)
        return kept

    def restore(self, kept: object, then: float | None) -> None:
        """See `EnergyAccount`; `then` is when it was kept, on this clock."""
        self.total = number(kept, "total", least=0.0)
        self.estimated = number(kept, "estimated", least=0.0) or 0.0
        self._base = _Mark.restored(kept, then, self.total or 0.0)
        if isinstance(kept, Mapping) and self._base is not None:
            self.is_counted = kept.get("counts") is True
            self._doubted = _Mark.restored(kept.get("doubted"), then, self.total or 0.0)
