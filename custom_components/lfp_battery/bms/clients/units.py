"""What a polling client remembers of one pack, or of the bank: fragments, ages, misses, identity."""

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

from ..catalog import find_model
from ..model import BatteryState, Identity, LinkCounters, PollReport, power_of
from ..plausibility import Gate, Limits
from ..protocols.base import Cadence, Decoded, Integrity, Poll
from .twins import Doubts

# Three missed readings, then a pack is silent (design decision 6), and what a poll last said is too old to show.
MISSES_UNTIL_SILENT = 3
# A poll that a pack has never answered, although it answers others, is asked again only now and then, in seconds.
_RETRY_IGNORED = 300.0
# A refusal names no question: it may answer somebody else's. Only one that comes again in another reading is believed.
_REFUSALS_BELIEVED = 2
# Seconds until a silent pack is asked again: soon at first, then about once a minute (a little less, so that a cycle
# that begins on time is not just missed).
_BACK_OFF = (0.0, 8.0, 18.0, 28.0, 58.0)
# Readings that a pack which comes back is kept from the home while its serial number is not known.
_READINGS_TO_IDENTIFY = 2


def fallback_of(poll: Poll) -> tuple[Poll, ...]:
    """What is asked instead of a poll that a battery declines; the first is essential where the poll is."""
    return tuple(
        replace(instead, essential=poll.essential and not place, private=instead.private or poll.private)
        for place, instead in enumerate(poll.fallback)
    )


class _Answer[StateT: BatteryState]:
    """The last fragment that one poll brought."""

    __slots__ = (
        "ever",
        "fragment",
        "misses",
        "not_before",
        "reading",
        "refusals",
        "refused_in",
        "said",
        "said_at",
        "silences",
        "unsupported",
        "unsure",
    )

    def __init__(self) -> None:
        self.fragment: StateT | None = None
        self.reading = 0  # the unit's reading in which the fragment came
        self.ever = False
        self.misses = 0  # in a row, as the next one
        self.silences = 0
        self.refusals = 0
        self.refused_in = 0
        self.not_before = 0.0  # monotonic
        self.unsupported = False
        self.said: Identity | None = None  # by the last answer, when nothing on the wire protects it
        self.said_at = float("-inf")  # monotonic
        self.unsure = False  # something of that was not said by the answer before it

    def repeated(self, identity: Identity, now: float) -> Identity:
        """What this answer and the one before it say alike; the same answer may be handed out more than once."""
        if now <= self.said_at:
            return Identity()
        before, self.said, self.said_at = self.said or Identity(), identity, now
        said = {f.name: value for f in fields(identity) if (value := getattr(identity, f.name)) is not None}
        alike = {name: value for name, value in said.items() if getattr(before, name) == value}
        self.unsure = alike != said
        return Identity(**alike)


class Unit[StateT: BatteryState]:
    """One address that is polled. A reading is one pass over the polls that are due."""

    def __init__(
        self, address: int, empty: StateT, polls: tuple[Poll, ...], *, integrity: Integrity, limits: Limits | None
    ) -> None:
        """`empty` is a state of the right kind in which nothing is known."""
        self.address = address
        self.online = False
        self.received: float | None = None
        self.state: StateT | None = None
        self.identity: Identity | None = None
        self.held_back: Mapping[str, str] = {}
        self.frames: dict[str, bytes] = {}
        self.said: dict[str, Decoded] = {}  # what these say, by the name of the poll
        self.losses = 0  # times that it was there and then was not, whoever of us went away
        self.counters = LinkCounters()
        self.gate: Gate[StateT] = Gate(limits=limits, weak_check=integrity is not Integrity.CRC)
        self._integrity = integrity
        self._empty: StateT = empty
        self._limits = limits
        self.doubts = Doubts()
        self._declared = polls
        self._polls = polls  # as declared, or what is asked in their place
        self._reduced: float | None = None  # monotonic; when the essential one was replaced for mere silence
        self._retrying = False  # ... and in this reading it is tried again
        self._answers: dict[str, _Answer[StateT]] = {poll.name: _Answer() for poll in polls}
        self._reading = 0
        self._misses = 0
        self._silences = 0
        self._not_before = 0.0
        self._whole = True  # everything is to be read: new, back after a silence, or asked for
        self._unidentified = 0  # readings that may still be kept back for want of a serial number

    def begin(self, now: float, *, turn: bool) -> list[Poll]:
        """Begin a reading: the polls that are due, the essential one first; none while a silent unit is given time.

        `turn`: the polls that are asked in rotation have theirs.
        """
        if not self.online and now < self._not_before:
            return []
        self._reading += 1
        self._retrying = self._reduced is not None and now - self._reduced >= _RETRY_IGNORED
        if self._retrying:  # it may have been away just then
            self._declare()
        self.doubts.begin()
        if self.doubts.conflict:
            # each reading has to show anew that there is one pack
            self.identity = None
            self._answers = {poll.name: _Answer() for poll in self._polls}
        return [poll for poll in self._polls if self._is_due(poll, now, turn=turn)]

    def noticed(self) -> None:
        """Something else says that it is there: a silent unit need not be given more time."""
        if not self.doubts.conflict:
            self._not_before = 0.0

    def hurry(self) -> None:
        """Somebody asked for this unit: do not wait, and leave nothing out that can change."""
        self._not_before = 0.0
        self._whole = True

    def again(self) -> list[Poll]:
        """The polls that a second reading repeats: what was answered in this one, but for what never changes."""
        return [
            poll
            for poll in self._polls
            if poll.cadence is not Cadence.ONCE and self._answers[poll.name].reading == self._reading
        ]

    def _is_due(self, poll: Poll, now: float, *, turn: bool) -> bool:
        answer = self._answers[poll.name]
        if answer.unsupported or now < answer.not_before:
            return False
        if poll.essential or poll.cadence is Cadence.CYCLE:
            return True
        if poll.cadence is Cadence.ONCE:
            return answer.fragment is None or answer.unsure
        return self._whole or turn or answer.fragment is None

    def answered(self, poll: Poll, now: float, fragment: StateT | None, identity: Identity | None) -> None:
        """Take in what one poll brought."""
        answer = self._answers[poll.name]
        answer.fragment = fragment if fragment is not None else self._empty
        answer.reading = self._reading
        answer.ever = True
        answer.misses = answer.silences = answer.refusals = 0
        self.received = now
        if identity is not None and self._integrity is Integrity.NONE:
            # one damaged character would be another battery: only what is said twice counts
            identity = answer.repeated(identity, now)
        if identity is not None and identity != Identity():
            if identity.serial is not None and self._integrity is not Integrity.NONE:
                self.doubts.said(identity.serial, now)  # without any check, two numbers may be one that was damaged
            self.identity = self.identity.joined(identity) if self.identity else identity
            if self._limits is None and (model := find_model(self.identity.manufacturer, self.identity.model)):
                self.gate.know(model.limits)

    def missed(self, poll: Poll, now: float, *, silent: bool) -> None:
        """A poll stayed without an answer that can be used; `silent`: nothing came at all."""
        answer = self._answers[poll.name]
        answer.misses += 1
        answer.silences = answer.silences + 1 if silent else 0
        if answer.misses >= MISSES_UNTIL_SILENT:
            answer.fragment = None
        if answer.silences >= MISSES_UNTIL_SILENT and not answer.ever and not poll.essential:
            answer.not_before = now + _RETRY_IGNORED

    def refused(self, poll: Poll, now: float, *, certain: bool) -> None:
        """The battery says that it does not know this question; `certain`: nobody else was asking meanwhile."""
        answer = self._answers[poll.name]
        self.missed(poll, now, silent=False)
        if not certain or (poll.essential and not poll.fallback) or answer.refused_in == self._reading:
            return
        answer.refused_in = self._reading
        answer.refusals += 1
        if answer.refusals >= _REFUSALS_BELIEVED and not poll.fallback:
            # what can raise an alarm is never given up for good
            answer.unsupported = poll.cadence is not Cadence.CYCLE
            answer.fragment = None
            answer.not_before = now + _RETRY_IGNORED
            answer.refusals = 0

    def instead_of(self, poll: Poll, now: float, *, declined: bool, turn: bool) -> list[Poll]:
        """What is asked at once in place of a poll that was just missed, and from now on; nothing if it is kept.

        `declined`: what came back says that the battery has heard. A poll that was answered before is given up only
        for refusals; an essential one, without which nothing is read, at once when declined, and when a unit that is
        not there yet does not answer it a second time.
        """
        answer = self._answers[poll.name]
        if not poll.fallback:
            return []
        if answer.refusals < _REFUSALS_BELIEVED:
            if answer.ever:
                return []
            if poll.essential:
                silent = self._retrying or (not self.online and self._silences > 0 and answer.silences > 0)
                if not declined and not silent:
                    return []
                self._reduced = None if declined else now
            elif answer.misses < MISSES_UNTIL_SILENT:
                return []
        instead = fallback_of(poll)
        place = self._polls.index(poll)
        self._polls = (*self._polls[:place], *instead, *self._polls[place + 1 :])
        for one in instead:
            self._answers.setdefault(one.name, _Answer())
        return [one for one in instead if self._is_due(one, now, turn=turn)]

    @property
    def essence(self) -> Decoded | None:
        """What was answered in the last reading to the question without which nothing is read; None: nothing."""
        return next(
            (
                self.said.get(poll.name)
                for poll in self._polls
                if poll.essential and self._answers[poll.name].reading == self._reading
            ),
            None,
        )

    def compose(self, only: Collection[Poll] | None = None) -> StateT:
        """One state out of what is known; the earlier poll wins. `only` leaves the others out."""
        fragments = (self._answers[poll.name].fragment for poll in (self._polls if only is None else only))
        return combine(self._empty, [fragment for fragment in fragments if fragment is not None])

    def stale(self, state: StateT) -> frozenset[str]:
        """Fields of a composed state that were read in an earlier reading than the last."""
        fresh = self.compose([poll for poll in self._polls if self._answers[poll.name].reading == self._reading])
        return frozenset(
            name
            for name in _names(type(self._empty))
            if getattr(fresh, name) is None and getattr(state, name) is not None
        )

    @property
    def must_identify(self) -> bool:
        """Whether this reading is to be kept back: another battery may have come, and has not said who it is."""
        private = [self._answers[poll.name] for poll in self._polls if poll.private and poll.cadence is Cadence.ONCE]
        if self._unidentified and any(
            (answer.fragment is None or answer.unsure) and not answer.unsupported for answer in private
        ):
            self._unidentified -= 1
            return True
        return False

    def publish(self, state: StateT, held_back: Mapping[str, str]) -> None:
        """A reading has passed the gate."""
        self.state = state
        self.held_back = held_back
        self.online = True
        self._whole = False
        self._misses = self._silences = self._unidentified = 0
        for poll in self._polls:
            # what was not believed is asked again: the same old answer must not confirm itself
            fragment = self._answers[poll.name].fragment
            if poll.cadence is Cadence.ROTATION and any(
                getattr(fragment, name, None) is not None for name in held_back
            ):
                self._answers[poll.name].fragment = None

    def silent(self, now: float) -> None:
        """The essential poll stayed unanswered in a reading."""
        self._misses += 1
        if not self.online:
            self._not_before = now + _BACK_OFF[min(self._silences, len(_BACK_OFF) - 1)]
            self._silences += 1
            self._declare()
        elif self._misses >= MISSES_UNTIL_SILENT:
            self.lost()

    def lost(self) -> None:
        """Nothing that was read counts as present any more; identity and limits are read anew on return."""
        self.losses += 1
        self.online = False
        self.held_back = {}
        self.gate.forget()
        self.gate.know(self._limits or Limits())
        self._declare()
        self._answers = {poll.name: _Answer() for poll in self._polls}
        self._whole = True
        self._silences = 0
        self._not_before = 0.0
        if self.identity is not None:
            self._unidentified = _READINGS_TO_IDENTIFY if self.identity.serial is not None else 0
            self.identity = None

    def _declare(self) -> None:
        """Ask what the protocol declares again, whatever took its place."""
        self._polls, self._reduced = self._declared, None

    def share_address(self, now: float) -> None:
        """Two packs answer here: nothing of either is shown, and they are asked only now and then."""
        self.lost()
        self._unidentified = 0
        self._not_before = self.doubts.ask_again(now)

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


def combine[StateT: BatteryState](empty: StateT, parts: list[StateT]) -> StateT:
    """Merge fragments of one reading; for each field the first fragment that has it wins, alarms add up."""
    if len(parts) == 1:
        return parts[0]
    values: dict[str, Any] = {}
    derived: set[str] = set()
    for part in parts:
        for name in _names(type(empty)):
            if (value := getattr(part, name)) is None:
                continue
            if name not in values:
                values[name] = value
                if name in part.derived:
                    derived.add(name)
            elif name == "alarms":  # where several questions are about alarms, each brings its own
                values[name] |= value
    # a battery that tells one register at a time tells voltage and current in two answers
    if "power" not in values and (power := power_of(values.get("voltage"), values.get("current"))) is not None:
        values["power"] = power
        derived.add("power")
    return replace(empty, **values, derived=frozenset(derived))


_NAMES: dict[type, tuple[str, ...]] = {}


def _names(kind: type[BatteryState]) -> tuple[str, ...]:
    if kind not in _NAMES:
        _NAMES[kind] = tuple(f.name for f in fields(kind) if f.name not in ("derived", "address"))
    return _NAMES[kind]
