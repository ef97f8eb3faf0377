"""What a polling client remembers of one pack, or of the bank: fragments, ages, misses, identity."""

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

from ..catalog import find_model
from ..model import BatteryState, Identity, LinkCounters, PollReport
from ..plausibility import Gate, Limits
from ..protocols.base import Cadence, Integrity, Poll

# Three missed cycles, then a pack is silent (design decision 6), and what a missed poll said is too old to show.
MISSES_UNTIL_SILENT = 3
# A limit is read every sixth cycle (see `Cadence.ROTATION`); three missed rounds make it too old.
ROTATION = 6
# A poll that a pack leaves unanswered although it answers others is asked again only now and then.
_IGNORED_AFTER = 3
_RETRY_IGNORED = 30
# Cycles between attempts on a silent pack: soon at first, then about once a minute.
_BACK_OFF = (1, 1, 2, 3, 6)

_LIFETIME = {Cadence.CYCLE: MISSES_UNTIL_SILENT, Cadence.ROTATION: MISSES_UNTIL_SILENT * ROTATION}


class _Answer[StateT: BatteryState]:
    """The last fragment that one poll brought."""

    __slots__ = ("cycle", "fragment", "misses", "next_cycle", "unsupported")

    def __init__(self) -> None:
        self.fragment: StateT | None = None
        self.cycle = 0  # when the fragment came
        self.misses = 0  # in a row
        self.next_cycle = 0  # not before this one
        self.unsupported = False

    def answered_in(self, cycle: int) -> bool:
        """Whether the fragment is of this cycle."""
        return self.fragment is not None and self.cycle == cycle and not self.misses


class Unit[StateT: BatteryState]:
    """One address that is polled."""

    def __init__(
        self, address: int, empty: StateT, polls: tuple[Poll, ...], *, integrity: Integrity, limits: Limits | None
    ) -> None:
        """`empty` is a state of the right kind in which nothing is known."""
        self.address = address
        self.online = False
        self.seen = False  # has ever answered
        self.received: float | None = None
        self.state: StateT | None = None
        self.identity: Identity | None = None
        self.held_back: Mapping[str, str] = {}
        self.frames: dict[str, bytes] = {}
        self.counters = LinkCounters()
        self._empty: StateT = empty
        self._limits = limits
        self._polls = polls
        self._gate: Gate[StateT] = Gate(limits=limits, weak_check=integrity is not Integrity.CRC)
        self._answers: dict[str, _Answer[StateT]] = {poll.name: _Answer() for poll in polls}
        self._misses = 0
        self._silent_cycles = 0
        self._wait = 0
        self._fresh = True  # everything is to be read: new, or back after a silence

    @property
    def gate(self) -> Gate[StateT]:
        """What this unit's readings must pass."""
        return self._gate

    def due(self, cycle: int) -> list[Poll]:
        """The polls of this cycle, the essential ones first; none while a silent unit is given time."""
        if not self.online and self._wait > 0:
            self._wait -= 1
            return []
        return [poll for poll in self._polls if self._is_due(poll, cycle)]

    def hurry(self) -> None:
        """Somebody asked for this unit: do not wait for its turn."""
        self._wait = 0

    def readings(self, cycle: int) -> list[Poll]:
        """The polls that a second reading repeats: what was answered in this cycle, but for what never changes."""
        return [
            poll
            for poll in self._polls
            if poll.cadence is not Cadence.ONCE and self._answers[poll.name].answered_in(cycle)
        ]

    def _is_due(self, poll: Poll, cycle: int) -> bool:
        answer = self._answers[poll.name]
        if answer.unsupported or cycle < answer.next_cycle:
            return False
        if poll.essential or poll.cadence is Cadence.CYCLE:
            return True
        if poll.cadence is Cadence.ONCE:
            return answer.fragment is None
        return self._fresh or answer.fragment is None or (cycle + self.address) % ROTATION == 0

    def answered(self, poll: Poll, cycle: int, now: float, fragment: StateT | None, identity: Identity | None) -> None:
        """Take in what one poll brought."""
        answer = self._answers[poll.name]
        answer.fragment = fragment if fragment is not None else self._empty
        answer.cycle = cycle
        answer.misses = 0
        self.received = now
        if identity is not None:
            self.identity = self.identity.joined(identity) if self.identity else identity
            if self._limits is None and (model := find_model(self.identity.manufacturer, self.identity.model)):
                self._gate.know(model.limits)

    def missed(self, poll: Poll, cycle: int) -> None:
        """A poll stayed without an answer that can be used."""
        answer = self._answers[poll.name]
        answer.misses += 1
        if not poll.essential and answer.misses >= _IGNORED_AFTER:
            answer.next_cycle = cycle + _RETRY_IGNORED

    def unsupported(self, poll: Poll) -> None:
        """The battery says that it does not know this question."""
        answer = self._answers[poll.name]
        answer.unsupported = not poll.essential
        answer.fragment = None

    def compose(self, cycle: int, only: Collection[Poll] | None = None) -> StateT:
        """One state out of the fragments that are not too old; the earlier poll wins. `only` leaves the others out."""
        parts: list[StateT] = []
        for poll in self._polls if only is None else only:
            answer = self._answers[poll.name]
            lifetime = _LIFETIME.get(poll.cadence)
            if answer.fragment is not None and (lifetime is None or cycle - answer.cycle < lifetime):
                parts.append(answer.fragment)
        return combine(self._empty, parts)

    def publish(self, state: StateT, held_back: Mapping[str, str]) -> None:
        """A cycle's reading has passed the gate."""
        self.state = state
        self.held_back = held_back
        self.online = self.seen = True
        self._fresh = False
        self._misses = self._silent_cycles = self._wait = 0

    def silent(self) -> bool:
        """The essential poll stayed unanswered in a cycle; whether that makes the unit silent just now."""
        self._misses += 1
        if not self.online:
            self._wait = _BACK_OFF[min(self._silent_cycles, len(_BACK_OFF) - 1)]
            self._silent_cycles += 1
            return False
        if self._misses < MISSES_UNTIL_SILENT:
            return False
        self.lost()
        return True

    def lost(self) -> None:
        """Nothing that was read counts as present any more; identity and limits are read anew on return."""
        self.online = False
        self._fresh = True
        self._gate.forget()
        self.held_back = {}
        self._answers = {name: _Answer() for name in self._answers}
        self._silent_cycles = self._wait = 0

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
        )


def combine[StateT: BatteryState](empty: StateT, parts: list[StateT]) -> StateT:
    """Merge fragments of one reading; for each field the first fragment that has it wins."""
    if len(parts) == 1:
        return parts[0]
    values: dict[str, Any] = {}
    derived: set[str] = set()
    for part in parts:
        for name in _names(type(empty)):
            if name not in values and (value := getattr(part, name)) is not None:
                values[name] = value
                if name in part.derived:
                    derived.add(name)
    return replace(empty, **values, derived=frozenset(derived))


_NAMES: dict[type, tuple[str, ...]] = {}


def _names(kind: type[BatteryState]) -> tuple[str, ...]:
    if kind not in _NAMES:
        _NAMES[kind] = tuple(f.name for f in fields(kind) if f.name not in ("derived", "address"))
    return _NAMES[kind]
