"""The energy that went one way: by the battery's own counter where it has one, else by what was worked out."""

from dataclasses import dataclass
from typing import Any

from .kept import number

JOULES_PER_KWH = 3_600_000.0
# kWh that a counter may be ahead of what could have flowed: some count in whole kWh, and step when they are full.
_COARSEST = 1.0
# A counter that fell by less is an answer out of order; by more, and by more than a step of the coarsest, the board was
# exchanged or its memory cleared.
_NEW_BOARD_BELOW = 0.9
# kWh by power for which a counter may stand still: twice the coarsest step. Then power counts until it moves.
_STANDING = 2.0


@dataclass(frozen=True, slots=True)
class Pace:
    """What bounds a reading."""

    when: float  # s, monotonic
    seconds: float  # since the last reading
    longest_gap: float  # s
    most_power: float  # W


class _Counter:
    """A counter of the battery's own, as far as a total has followed it."""

    __slots__ = ("doubted", "lent", "since", "value", "when")

    def __init__(self, value: float, when: float | None) -> None:
        """`value` in kWh, read at `when`; None: nobody knows how long ago."""
        self.value = value
        self.when = when
        self.doubted: float | None = None  # kWh before a jump that nothing has confirmed yet
        self.since = 0.0  # kWh by power that the counter has not shown yet
        self.lent = 0.0  # kWh of that which are in the total

    def follow(self, value: float, pace: Pace) -> float:
        """What comes to the total, kWh: how far it is ahead, but no more than could have flowed since it was last read."""
        most = None if self.when is None else pace.most_power * (pace.when - self.when) / JOULES_PER_KWH
        self.when = pace.when
        if value == self.value:
            return 0.0
        if self.doubted is not None and abs(value - self.doubted) < abs(value - self.value):
            self.value, self.doubted = self.doubted, None  # the jump was a wrong answer
        ahead = value - self.value
        if ahead <= 0:
            if value < _NEW_BOARD_BELOW * self.value and -ahead > _COARSEST:
                self._jump(value)
            return 0.0
        if most is None or ahead > max(most, self.since) + _COARSEST:
            self._jump(value)
            return 0.0
        if self.doubted is not None:  # the jump was none: what was lent is of the counter before it
            self.doubted = None
            self.since = self.lent = 0.0
        shown = min(ahead, max(self.lent, most))  # the rest of a coarse step comes with the next readings
        self.value = value if shown == ahead else self.value + shown
        added = max(0.0, shown - self.lent)
        self.lent = max(0.0, self.lent - shown)
        self.since = self.lent if shown == ahead else max(self.lent, self.since - shown)
        return added

    def _jump(self, value: float) -> None:
        if self.doubted is None:
            self.doubted = self.value
        self.value = value

    def hides(self, pace: Pace) -> bool:
        """Whether it is silent or stands still while something flows."""
        return self.when is None or pace.when - self.when > pace.longest_gap or self.since > _STANDING

    def lend(self, pace: Pace) -> float:
        """What comes to the total by power, kWh, while it does."""
        if not self.hides(pace):
            return 0.0
        lent = min(self.since - self.lent, pace.most_power * pace.seconds / JOULES_PER_KWH)
        self.lent += lent
        return lent


class Direction:
    """What went one way."""

    __slots__ = ("_counter", "estimated", "total")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.total: float | None = None  # kWh
        self.estimated = 0.0  # kWh of it
        self._counter: _Counter | None = None  # from the first time on that the battery counts itself

    @property
    def is_counted(self) -> bool:
        """Whether the battery counts itself."""
        return self._counter is not None

    def is_told(self, pace: Pace) -> bool:
        """Whether it has done so not too long ago, so that no gap is lost."""
        counter = self._counter
        return counter is not None and counter.when is not None and pace.when - counter.when <= pace.longest_gap

    def begin(self) -> None:
        """From now on something is known."""
        if self.total is None:
            self.total = 0.0

    def go_on(self, counted: float | None, by_power: float, bridged: float, pace: Pace) -> tuple[float, float]:
        """Add what was counted by the battery, or else what was worked out, kWh; what came, and how much is estimated."""
        counter = self._counter
        if counter is None:
            if counted is not None:
                self._counter = _Counter(counted, pace.when)
                if self.total is None:
                    self.total = counted  # a total that is there already goes on from where it is
            return self._add(by_power + bridged, bridged)
        # before what the counter shows of the same stretch; of one that was bridged it may have told long ago
        counter.since += by_power
        followed = 0.0 if counted is None else counter.follow(counted, pace)
        if counter.hides(pace):
            counter.since += bridged
        lent = 0.0 if followed else counter.lend(pace)
        return self._add(followed + lent, min(bridged, lent))

    def add(self, energy: float, estimated: float) -> None:
        """Add what came to a part of this, unless the battery counts itself."""
        if self._counter is None:
            self._add(energy, estimated)

    def _add(self, energy: float, estimated: float) -> tuple[float, float]:
        if energy:
            self.total = (self.total or 0.0) + energy
            self.estimated += estimated
        return energy, estimated

    def as_mapping(self, monotonic: float) -> dict[str, Any]:
        """See `EnergyAccount`."""
        kept: dict[str, Any] = {"total": self.total, "estimated": self.estimated, "counter": None}
        if (counter := self._counter) is not None:
            age = None if counter.when is None else monotonic - counter.when
            kept |= {"counter": counter.value, "counter_age": age, "doubted": counter.doubted}
            kept |= {"since": counter.since, "lent": counter.lent}
        return kept

    def restore(self, kept: object, then: float | None) -> None:
        """See `EnergyAccount`; `then` is when it was kept, on this clock."""
        self.total = number(kept, "total", least=0.0)
        self.estimated = number(kept, "estimated", least=0.0) or 0.0
        if (value := number(kept, "counter", least=0.0)) is None:
            return
        age = number(kept, "counter_age", least=0.0)
        self._counter = counter = _Counter(value, None if then is None or age is None else then - age)
        counter.doubted = number(kept, "doubted", least=0.0)
        counter.lent = min(number(kept, "lent", least=0.0) or 0.0, self.total or 0.0)
        counter.since = counter.lent + min(max((number(kept, "since") or 0.0) - counter.lent, 0.0), _STANDING)
