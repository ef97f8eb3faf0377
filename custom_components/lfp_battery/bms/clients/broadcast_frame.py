"""What is remembered of one id on a bus: the last payload, what it says, how often it comes and how old it is."""

from collections import deque
from dataclasses import replace
import math

from ..model import Alarm
from ..protocols.can.base import Said

# A frame is too old to be shown after so many of its periods, but not before so many seconds; what is only text comes
# once a minute (can.md section 4.2).
_PERIODS, _LEAST, _TEXT = 5, 30.0, 300.0
# Its period is the longest of so many that were observed, but for one: a single gap is a miss.
_OBSERVED = 6
# What comes in such different intervals (of these, at least so many; s that count as the shortest) has no pace.
_IRREGULAR, _ENOUGH, _SHORTEST = 10, 3, 0.5
_ALARMS = frozenset({"alarms"})
_NAMES = frozenset({"manufacturer"})
# What a battery measures; without any of these it is not there.
_ESSENTIAL = frozenset({"voltage", "current", "soc", "cell_voltages", "cell_voltage_min"})
# A battery does not move further than this from one frame to the next and straight back: %, V. A load that comes and
# goes costs a pack of 16 cells two volts at most.
_FURTHEST = (("soc", 2.0), ("voltage", 4.0))
# So many swings within so many seconds, or within so many periods, are two batteries that send under one id.
_SWINGS, _SWING_SECONDS, _SWING_PERIODS = 3, 60.0, 10

_NOTHING: frozenset[str] = frozenset()
_NO_ALARMS: frozenset[Alarm] = frozenset()


class HeardFrame:
    """One id."""

    __slots__ = (
        "_gaps",
        "_last_alarms",
        "_only_alarms",
        "_pending",
        "_swings",
        "count",
        "counted",
        "data",
        "essential",
        "received",
        "said",
        "text",
    )

    def __init__(self, data: bytes, said: Said | None, now: float) -> None:
        """The first of its kind; `said` None: nothing can be read in it."""
        self.data = data
        self.received = now  # monotonic
        self.count = 1
        self.counted = 0  # of these, as many as somebody has taken note of
        self._gaps: deque[float] = deque(maxlen=_OBSERVED)
        self._swings: deque[float] = deque(maxlen=_SWINGS)
        self._last_alarms: tuple[float, frozenset[Alarm]] = (now, _NO_ALARMS)  # that were said before, until when
        self.said: Said | None
        self._pending: Said | None
        self._believe(said)

    def again(self, now: float) -> None:
        """It came with the same payload."""
        self._gaps.append(now - self.received)
        self.received = now
        self.count += 1
        if self._pending is not None:
            self._believe(self._pending)

    def change(self, data: bytes, said: Said | None, now: float) -> bool:
        """It came with another payload; whether other alarms stand in what is believed."""
        self.data = data
        self._gaps.append(now - self.received)
        self.received = now
        self.count += 1
        before = self.alarms
        if said is None or self.said is None or not _apart(self.said, said):
            if self._pending is not None and said is not None:  # it is back where it was
                self._swings.append(now)
            self._believe(said)
        elif self._pending is not None and not _apart(self._pending, said):
            self._believe(said)
        else:
            # too far to be believed at once; an alarm never waits
            if self._pending is not None:
                self._swings.append(now)
            self._pending = said
            if said.values.get("alarms") != self.said.values.get("alarms"):
                alarms = said.values.get("alarms", _NO_ALARMS)
                self.said = replace(self.said, values={**self.said.values, "alarms": alarms})
        if self.alarms == before:
            return False
        self._last_alarms = (now, before)
        return True

    def reread(self, said: Said | None) -> None:
        """The same payload as another family reads it."""
        self._swings.clear()
        self._last_alarms = (self.received, _NO_ALARMS)
        self._believe(said)

    def _believe(self, said: Said | None) -> None:
        self._pending = None
        self.said = said
        self._only_alarms = said is not None and said.values.keys() == _ALARMS
        self.text = said is not None and said.values.keys() <= _NAMES
        self.essential = said is not None and not _ESSENTIAL.isdisjoint(said.values)

    @property
    def alarms(self) -> frozenset[Alarm]:
        """Those that it says are active."""
        return _NO_ALARMS if self.said is None else self.said.values.get("alarms", _NO_ALARMS)

    def recent_alarms(self, now: float) -> frozenset[Alarm]:
        """Those that it says or said a short while ago: where two batteries send it, both of them stand."""
        until, before = self._last_alarms
        return self.alarms | before if now - until <= _SWING_SECONDS else self.alarms

    @property
    def doubted(self) -> frozenset[str]:
        """Values that moved too far to be believed yet."""
        if self._pending is None or self.said is None:
            return _NOTHING
        return frozenset(_apart(self.said, self._pending))

    @property
    def period(self) -> float | None:
        """Seconds from one to the next; None: there was only one."""
        if not self._gaps:
            return None
        longest = sorted(self._gaps, reverse=True)[:2]
        return longest[len(self._gaps) > 2]

    @property
    def expires(self) -> float:
        """When it is too old to be shown, monotonic; never, where it comes only when it has something to say."""
        if self._only_alarms and not self._regular:
            return math.inf
        return self.received + max(_TEXT if self.text else _LEAST, _PERIODS * (self.period or 0.0))

    @property
    def _regular(self) -> bool:
        """Whether it comes at a pace of its own; Sofar's alarms do not (can.md section 6.12)."""
        return len(self._gaps) >= _ENOUGH and max(self._gaps) <= _IRREGULAR * max(min(self._gaps), _SHORTEST)

    def torn(self, now: float) -> bool:
        """Whether two batteries send it: its values swing to and fro as those of one cannot."""
        if len(self._swings) < _SWINGS:
            return False
        span = max(_SWING_SECONDS, _SWING_PERIODS * (self.period or 0.0))
        return now - self._swings[0] <= span


def _apart(one: Said, other: Said) -> list[str]:
    """Values that cannot have gone from one to the other between two frames."""
    far = []
    for name, most in _FURTHEST:
        before, after = one.values.get(name), other.values.get(name)
        if before is not None and after is not None and abs(after - before) > most:
            far.append(name)
    return far
