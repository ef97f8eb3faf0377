"""What is remembered of one id on a bus: the last payload, what it says, how often it comes and how old it is."""

from collections import deque
from dataclasses import replace
import math

from ..model import Alarm
from ..protocols.can.base import BANK, Said

# A frame is too old to be shown after so many of its periods, but not before so many seconds; what is only text comes
# once a minute (can.md section 4.2).
_PERIODS, LEAST, TEXT = 5, 30.0, 300.0
# Its period is the longest of so many that were observed, but for one: a single gap is a miss.
_OBSERVED = 6
_NAMES = frozenset({"manufacturer"})
# What a battery measures; without any of these it is not there.
_ESSENTIAL = frozenset({"voltage", "current", "soc", "cell_voltages", "cell_voltage_min"})
# A battery does not move further than this from one frame to the next and straight back: %, V. A load that comes and
# goes costs a pack of 16 cells two volts at most.
_FURTHEST = (("soc", 2.0), ("voltage", 4.0))
# So many swings within so many seconds, or within so many periods, are two batteries that send under one id.
_SWINGS, _SWING_SECONDS, _SWING_PERIODS = 3, 60.0, 10
# Two that are alike in all that was measured are known by a frame that says one thing and another in turn, so many times
# without a miss, and comes in pairs: the gaps, too, are longer and shorter in turn, by this share of the two. One battery
# whose limit wavers by a step, or whose load goes on and off, sends at one pace.
_TURNS, _UNEVEN = 6, 0.05
_STEADY = frozenset(
    {
        "charge_voltage_limit",
        "discharge_voltage_limit",
        "charge_current_limit",
        "discharge_current_limit",
        "charge_enabled",
        "discharge_enabled",
        "force_charge_requested",
        "full_charge_requested",
        "manufacturer",
    }
)
_LEAST_CURRENT = 1.0  # A, by which two currents are not alike

_NOTHING: frozenset[str] = frozenset()
_NO_ALARMS: frozenset[Alarm] = frozenset()


class HeardFrame:
    """One id."""

    __slots__ = (
        "_before",
        "_gaps",
        "_last_alarms",
        "_lasting",
        "_pending",
        "_swings",
        "_turns",
        "alarms_of",
        "count",
        "counted",
        "data",
        "essential",
        "received",
        "said",
        "text",
    )

    def __init__(self, data: bytes, said: Said | None, now: float, *, lasting: bool = False) -> None:
        """The first of its kind; `said` None: nothing can be read in it; `lasting`: it comes only when it is another."""
        self.data = data
        self.received = now  # monotonic
        self.count = 1
        self.counted = 0  # of these, as many as somebody has taken note of
        self.alarms_of: int | None = None  # the unit of which this id has told alarms, whatever it says now
        self._lasting = lasting
        self._gaps: deque[float] = deque(maxlen=_OBSERVED)
        self._swings: deque[float] = deque(maxlen=_SWINGS)
        self._turns = 0  # how often it said the same as the one before the last, without a miss
        self._before: Said | None = None  # what the payload before this one says
        self._last_alarms: tuple[float, frozenset[Alarm]] = (now, _NO_ALARMS)  # that were said before, until when
        self.said: Said | None
        self._pending: Said | None
        self._believe(said)

    def again(self, now: float) -> None:
        """It came with the same payload, and was not too old."""
        self._gaps.append(now - self.received)
        self.received = now
        self.count += 1
        self._turns = 0
        if self._pending is not None:
            self._believe(self._pending)

    def change(self, data: bytes, said: Said | None, now: float) -> bool:
        """It came with another payload, or after it was too old; whether other alarms stand in what is believed."""
        before = self.alarms
        if now - self.received >= LEAST and now >= self.expires:
            before = self._resume(now)
        else:
            self._gaps.append(now - self.received)
            self._take_turns(said, now)
        self._before = self._heard
        self.data = data
        self.received = now
        self.count += 1
        self._weigh(said, now)
        if self.alarms == before:
            return False
        self._last_alarms = (now, before)
        return True

    def reread(self, said: Said | None, *, lasting: bool = False) -> None:
        """The same payload as another family reads it."""
        self._lasting = lasting
        self._forget_turns()
        self._last_alarms = (self.received, _NO_ALARMS)
        self.alarms_of = None
        self._believe(said)

    def _resume(self, now: float) -> frozenset[Alarm]:
        """What comes back after it was too old is heard as for the first time, and nothing stands against it.

        Its pace is learnt anew; one that came only once so far may be slower than what it is given.
        """
        gap = now - self.received
        slow = not self._gaps and gap <= TEXT
        self._gaps.clear()
        if slow:
            self._gaps.append(gap)
        self._forget_turns()
        self._believe(None)
        return _NO_ALARMS

    def _forget_turns(self) -> None:
        self._swings.clear()
        self._turns, self._before = 0, None

    @property
    def _heard(self) -> Said | None:
        """What the last payload says, believed or not."""
        return self.said if self._pending is None else self._pending

    def _weigh(self, said: Said | None, now: float) -> None:
        """What has moved too far is believed once it stays there or goes on; all else at once."""
        first, doubted = self.said, self._pending
        if said is None or first is None or not (far := _apart(first, said)):
            if doubted is not None and said is not None:  # it is back where it was
                self._swings.append(now)
            self._believe(said)
            return
        if doubted is not None:
            if not _apart(doubted, said):
                self._believe(said)
                return
            if not _turned(first, doubted, said):  # a battery that counts anew may need more than one step
                self._believe(said)
                return
            self._swings.append(now)
        self._set(replace(said, values={**said.values, **{name: first.values[name] for name in far}}))
        self._pending = said

    def _take_turns(self, said: Said | None, now: float) -> None:
        """Note whether it is what it was before the last one, as where two batteries send in turn."""
        if self._lasting:  # what comes only when it is another is always one and the other in turn
            return
        before, last = self._before, self._heard
        if before is None or said is None or last is None or last.values == said.values:
            self._turns = 0
            return
        if "alarms" in said.values or said.values.keys() <= _STEADY:
            alike = said.values == before.values
        else:
            alike = _in_turn(before, last, said)
        if not alike:
            self._turns = 0
            return
        self._turns += 1
        if self._turns >= _TURNS and self._comes_in_pairs:
            self._swings.append(now)

    @property
    def _comes_in_pairs(self) -> bool:
        """Whether every other gap is longer than all of the rest."""
        gaps = tuple(self._gaps)
        if len(gaps) < _OBSERVED:
            return False
        shorter, longer = sorted((gaps[::2], gaps[1::2]))
        return min(longer) - max(shorter) > _UNEVEN * (min(longer) + max(shorter))

    def _believe(self, said: Said | None) -> None:
        self._pending = None
        self._set(said)

    def _set(self, said: Said | None) -> None:
        self.said = said
        self.text = said is not None and said.values.keys() <= _NAMES
        self.essential = said is not None and not _ESSENTIAL.isdisjoint(said.values)
        if said is not None and "alarms" in said.values:
            self.alarms_of = said.pack or BANK

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
        if self._lasting:
            return math.inf
        return self.received + max(TEXT if self.text else LEAST, _PERIODS * (self.period or 0.0))

    def tells_alarms(self, now: float) -> bool:
        """Whether it says now which alarms there are."""
        return self.said is not None and "alarms" in self.said.values and now < self.expires

    def torn(self, now: float) -> bool:
        """Whether two batteries send it: what it says swings to and fro as that of one cannot."""
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


def _turned(first: Said, middle: Said, last: Said) -> bool:
    """Whether what went too far from the first to the middle one is on its way back."""
    for name in _apart(first, middle):
        one, two, three = first.values[name], middle.values[name], last.values.get(name)
        if three is None or (two - one) * (three - two) <= 0:
            return True
    return False


def _in_turn(first: Said, middle: Said, last: Said) -> bool:
    """Whether the current went away and came back."""
    one, two, three = (said.values.get("current") for said in (first, middle, last))
    if one is None or two is None or three is None:
        return False
    away: float = abs(three - two)
    return away >= _LEAST_CURRENT and 2 * abs(three - one) < away
