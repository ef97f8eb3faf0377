"""What a listening client remembers of one pack, or of the bank: what each overheard answer said, and how old it is.

Every question of the master is a reading of its own: it is judged against its own past, grows stale at its own pace,
and is put together with the others when the pack is shown.
"""

from collections import Counter, deque
from collections.abc import Collection, Hashable, Mapping
from dataclasses import replace
from typing import Any

from ..catalog import find_model
from ..model import BatteryState, Identity, LinkCounters, PollReport
from ..plausibility import Gate, Limits
from .twins import Doubts
from .units import combine

# A fragment is gone after so many of its periods without renewal, but not before so many seconds.
_PERIODS, _LEAST = 3, 60.0
# ... and after so many seconds as long as it came only once and its question was not heard again: a slow master with
# many packs takes minutes for a round.
_ONCE = 300.0
# Its period is the longest of so many that were observed, but for one: a single gap is a miss.
_OBSERVED = 6
# What a pack measures; without any of these it is not there.
_ESSENTIAL = ("voltage", "current", "soc", "cell_voltages", "cell_voltage_min")
# An address nobody has told us of is a pack after so many answers.
_ANSWERS_UNTIL_KNOWN = 2


class Fragment[StateT: BatteryState]:
    """The last that one question brought, as far as it was believed."""

    __slots__ = ("_asked_again", "_intervals", "essential", "frame", "gate", "held_back", "received", "state")

    def __init__(self, gate: Gate[StateT], state: StateT, now: float) -> None:
        """The first answer."""
        self.gate = gate
        self.received = now
        self._intervals: deque[float] = deque(maxlen=_OBSERVED)
        self._asked_again: float | None = None  # seconds from the only answer to the question that brought no other
        self.frame: bytes | None = None  # for diagnostics; None where it holds a serial number
        self.essential = False
        self._admit(state)

    def renew(self, state: StateT, now: float) -> None:
        """The next answer."""
        self._intervals.append(now - self.received)
        self.received = now
        self._admit(state)

    def missed(self, now: float) -> None:
        """Its question was asked once more, and brought nothing that can be used."""
        if self._asked_again is None:
            self._asked_again = now - self.received

    def _admit(self, state: StateT) -> None:
        # nothing can be asked again: what surprises waits for the next answer to the same question
        self.essential = _measures(state)
        self.state, self.held_back = self.gate.admit(state)

    def yield_to(self, names: Collection[str]) -> None:
        """Another question brought these later: what this one said of them is over, also when the other has grown stale.

        But for alarms: each question brings its own.
        """
        mine = _reported(self.state) & set(names) - {"alarms"}
        if mine:
            nothing: dict[str, Any] = dict.fromkeys(mine)
            self.state = replace(self.state, **nothing)
            self.essential = _measures(self.state)

    @property
    def period(self) -> float | None:
        """Seconds from one answer to the next; None: there was only one."""
        longest = sorted(self._intervals, reverse=True)[:2]
        return longest[len(self._intervals) > 2] if longest else None

    @property
    def expires(self) -> float:
        """When it is too old to be shown, monotonic."""
        period = self._asked_again if self.period is None else self.period
        return self.received + (_ONCE if period is None else max(_LEAST, _PERIODS * period))


class OverheardUnit[StateT: BatteryState]:
    """One address that somebody else polls."""

    def __init__(self, address: int, empty: StateT, *, weak_check: bool, limits: Limits | None, known: bool) -> None:
        """`empty` is a state in which nothing is known; `known`: it is not for us to find out whether it is there."""
        self.address = address
        self.known = known
        self.online = False
        self.received: float | None = None
        self.state: StateT | None = None
        self.identity: Identity | None = None
        self.held_back: Mapping[str, str] = {}
        self.counters = LinkCounters()
        self.fragments: dict[Hashable, Fragment[StateT]] = {}
        self.dirty: float | None = None  # since when there is something to tell, monotonic
        self.renewed = 0.0  # when that was last added to, monotonic
        self.told = float("-inf")
        self.doubts = Doubts()
        self._empty = empty
        self._weak_check = weak_check
        self._limits = limits
        self._answers = 0
        self._recognised = known
        self._held: Counter[str] = Counter()  # of fragments that are gone

    def hear(self, question: bytes | None, state: StateT, now: float, *, recognised: bool, frame: bytes | None) -> None:
        """Take in one answer; `question` None: it was not heard. `frame`: for diagnostics, if it may be shown."""
        if not (reported := frozenset(_reported(state))):
            return
        # an answer that tells by itself what it is: the same fields are the same question
        key: Hashable = reported if question is None else question
        fragment = self.fragments.get(key)
        if fragment is None:
            gate: Gate[StateT] = Gate(limits=self._all_limits(), weak_check=self._weak_check)
            fragment = self.fragments[key] = Fragment(gate, state, now)
        else:
            fragment.renew(state, now)
        fragment.frame = frame
        if question is not None:
            self._drop_unasked(reported)
        self._answers += 1
        self._recognised |= recognised
        self.known |= self._recognised and self._answers >= _ANSWERS_UNTIL_KNOWN
        if not self.doubts.conflict:
            self._changed(now)
        elif fragment.essential:
            if self.doubts.settle(whole=True):
                self.fragments = {key: fragment}  # the others may still be of either
                self._changed(now)
            self.doubts.begin()

    def _drop_unasked(self, reported: frozenset[str]) -> None:
        """An answer whose question was not heard was one to some question: to that which brings all that it said."""
        for key in [key for key in self.fragments if isinstance(key, frozenset) and key <= reported]:
            self._held += self.fragments.pop(key).gate.held_back

    def missed(self, question: bytes, now: float) -> None:
        """A question brought nothing that can be used."""
        if (fragment := self.fragments.get(question)) is not None:
            fragment.missed(now)

    def doubt(self, now: float, *, others_clean: bool) -> None:
        """Look whether two packs answer here: then nothing of either is shown."""
        if self.doubts.arise(now, others_clean=others_clean):
            self.lose(now)
            self._changed(now)

    def identify(self, identity: Identity, now: float) -> None:
        """Take in what the unit says of itself."""
        joined = self.identity.joined(identity) if self.identity else identity
        if identity.serial is not None:
            self.doubts.said(identity.serial, now)
        if joined == self.identity:
            return
        self.identity = joined
        if (limits := self._all_limits()) is not None:
            for fragment in self.fragments.values():
                fragment.gate.know(limits)
        if self.online:
            self._changed(now)

    def _all_limits(self) -> Limits | None:
        if self._limits is None and self.identity is not None:
            model = find_model(self.identity.manufacturer, self.identity.model)
            return None if model is None else model.limits
        return self._limits

    def expire(self, now: float) -> None:
        """Drop what has not been renewed for too long, and what was said before it of the same.

        Without anything that is measured the unit is gone. So it is when it has been silent for half the time that the
        most patient of what went was waited for: what it said even earlier, or is asked for rarely, is not the present.
        """
        stale = [key for key, fragment in self.fragments.items() if now >= fragment.expires]
        if not stale:
            return
        patience = 0.0
        for key in stale:
            fragment = self.fragments.pop(key)
            self._held += fragment.gate.held_back
            if fragment.essential:
                patience = max(patience, fragment.expires - fragment.received)
            for older in self.fragments.values():
                if older.received <= fragment.received:
                    older.yield_to(_reported(fragment.state))
        measured = [fragment.received for fragment in self.fragments.values() if fragment.essential]
        if not measured or now - max(measured) > patience / 2 > 0:
            self.lose(now)
        else:
            self._changed(now)

    def lose(self, now: float) -> None:
        """Nothing that was heard counts as present any more; who answers next may be another one."""
        for fragment in self.fragments.values():
            self._held += fragment.gate.held_back
        self.fragments.clear()
        self.identity = None
        self.held_back = {}
        self._answers = 0
        if self.online:
            self.online = False
            self._changed(now)

    def _changed(self, now: float) -> None:
        self.renewed = now
        if self.dirty is None:
            self.dirty = now

    def compose(self) -> None:
        """Put together what is known: the newest answer wins, but an alarm stands whichever reports it."""
        if self.doubts.conflict:
            return
        parts = sorted(self.fragments.values(), key=lambda fragment: fragment.received, reverse=True)
        measured = [fragment.received for fragment in parts if fragment.essential]
        if not measured:
            return
        state = combine(self._empty, [fragment.state for fragment in parts])
        alarms = [fragment.state.alarms for fragment in parts if fragment.state.alarms is not None]
        if len(alarms) > 1:
            state = replace(state, alarms=frozenset().union(*alarms))
        self.state = state
        self.held_back = _reasons(parts)
        self.received = max(measured[0], self.received or measured[0])
        self.online = True

    @property
    def period(self) -> float | None:
        """Seconds between two readings of what is measured; None: not known."""
        return min(
            (period for part in self.fragments.values() if part.essential and (period := part.period) is not None),
            default=None,
        )

    @property
    def held(self) -> Mapping[str, int]:
        """How many values of each field were held back so far."""
        return sum((Counter(fragment.gate.held_back) for fragment in self.fragments.values()), self._held)

    def count(self, **more: int) -> None:
        """Add to the counters."""
        self.counters = replace(self.counters, **{name: getattr(self.counters, name) + n for name, n in more.items()})

    def report(self) -> PollReport[StateT]:
        """What is known now."""
        return PollReport(
            address=self.address,
            state=self.state,
            identity=self.identity,
            online=self.online,
            received=self.received,
            held_back=self.held_back,
            counters=self.counters,
            conflict=self.doubts.conflict,
        )


def _reasons[StateT: BatteryState](parts: list[Fragment[StateT]]) -> Mapping[str, str]:
    """Why values are held back, of those fields for which no newer answer has one that was believed."""
    if not any(part.held_back for part in parts):
        return {}
    reasons: dict[str, str] = {}
    decided: set[str] = set()
    for part in parts:
        reasons |= {name: reason for name, reason in part.held_back.items() if name not in decided}
        decided |= _reported(part.state) | part.held_back.keys()
    return reasons


def _measures(state: BatteryState) -> bool:
    return any(getattr(state, name) is not None for name in _ESSENTIAL)


def _reported(state: BatteryState) -> set[str]:
    return {
        name
        for name in type(state).__dataclass_fields__
        if name not in ("address", "derived") and getattr(state, name) is not None
    }
