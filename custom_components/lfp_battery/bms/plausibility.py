"""Holds back what a battery cannot be, for a while, and counts it; what that is stands in `physics`.

Impossible values are replaced by the last good one for three readings and by None after that, or at once where None was
published before; surprising ones are published once they repeat, in a second reading of the same cycle or in the next
cycle. Reasons are short keys, for diagnostics and translations. Alarms are looked at and never held back.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

from .model import BankState, BatteryState
from .physics import (
    DERIVED,
    MODULES,
    PACK_FIELDS,
    Key,
    Limits,
    Memory,
    Reason,
    Rule,
    Verdict,
    agree,
    computed,
    judge,
    narrowed,
    read_bank,
    read_pack,
    rules,
)

__all__ = ["Gate", "Limits", "Reason", "hold_back"]

_LISTS = ("cell_voltages", "cell_temperatures")
_ANYTHING: Mapping[str, tuple[float, float]] = MappingProxyType({})
_HOLD_CYCLES = 3  # how long the last good value may stand in, in consecutive readings (decision 7 of the design)


def _element(state: BatteryState | None, key: Key) -> float | None:
    value: Any = getattr(state, key.name, None)
    if key.place is not None and value is not None:
        value = value[key.place] if key.place < len(value) else None
    return cast(float | None, value)


class _Changes:
    """A reading on its way to being published, and what was done to it."""

    def __init__(self, state: BatteryState) -> None:
        self._state = state
        self._values: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}

    def value(self, name: str) -> Any:
        """The field as it stands now."""
        return self._values[name] if name in self._values else getattr(self._state, name)

    def put(self, key: Key, value: float | None) -> None:
        """Publish this instead."""
        if key.place is None:
            self._values[key.name] = value
            return
        elements = list(self.value(key.name))
        elements[key.place] = value
        self._values[key.name] = tuple(elements)

    def hold(self, key: Key, value: float | None, reason: Reason) -> None:
        """Publish the last good value or nothing instead, and say why."""
        self.put(key, value)
        self.reasons.setdefault(key.name, reason.value)

    def drop(self, name: str) -> None:
        """Publish nothing of this field."""
        self._values[name] = None

    def recompute(self, everything: bool) -> None:
        """Let what is computed follow its sources: those that were changed, or `everything`."""
        for name in computed(self._state):
            sources, compute = DERIVED[name]
            if not everything and not any(source in self._values for source in sources):
                continue
            values = [self.value(source) for source in sources]
            self._values[name] = None if None in values else compute(*values)
            if (
                reason := next((self.reasons[source] for source in sources if source in self.reasons), None)
            ) is not None:
                self.reasons.setdefault(name, reason)

    def drop_blank(self) -> None:
        """A tuple of which nothing is left was not reported."""
        for name, value in self._values.items():
            if isinstance(value, tuple) and all(element is None for element in value):
                self._values[name] = None

    def apply[StateT: BatteryState](self, state: StateT, **more: Any) -> StateT:
        """The reading with all changes."""
        return replace(state, **self._values, **more)


class Gate[StateT: BatteryState]:
    """Decides for one pack which values of a reading may be published."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        weak_check: bool,
        within: Mapping[str, tuple[float, float]] = _ANYTHING,
    ) -> None:
        """`weak_check`: an additive checksum or none guards the wire, so that a surprise may be line noise.

        `within`: narrower ranges than physics has, by field.
        """
        self._limits = limits or Limits()
        self._weak_check = weak_check
        self._within = within
        self._memory = Memory()
        self._tables: dict[tuple[type, int | None], tuple[Rule, ...]] = {}
        self._judged: tuple[StateT, Verdict] | None = None
        self._held: Counter[str] = Counter()

    @property
    def held_back(self) -> Mapping[str, int]:
        """How many readings of each field were held back so far; survives `forget`."""
        return self._held

    def know(self, limits: Limits) -> None:
        """Take what has been learnt of the pack since, once its identity is known."""
        if limits != self._limits:
            self._limits = limits
            self._tables.clear()
            self._judged = None

    def forget(self) -> None:
        """Take the next reading as the first: after a silence the old values are no yardstick."""
        self._memory = Memory()
        self._judged = None

    def needs_second_reading(self, state: StateT, stale: frozenset[str] = frozenset()) -> bool:
        """Whether anything in this reading must be confirmed by reading again at once.

        `stale`: fields that an earlier reading brought; they prove nothing against what was read now.
        """
        verdict = self._verdict(state, stale)
        if verdict.surprising or verdict.new_alarm:
            return True
        # noise does not last: what stays impossible is what the battery says, and is not asked twice for ever
        misses = self._memory.misses
        return any(
            # two answers of one reading are not of one moment: a load step in between is no contradiction
            (self._weak_check or reason is Reason.CELL_SUM) and misses.get(key, 0) < _HOLD_CYCLES
            for key, reason in verdict.impossible.items()
        )

    def admit(
        self, state: StateT, again: StateT | None = None, stale: frozenset[str] = frozenset()
    ) -> tuple[StateT, dict[str, str]]:
        """Publish a cycle's reading (with the second one, if it was asked for and came).

        Returns the state, and field -> reason of what was held back. `again` holds what the second reading said, None
        in all else. Alarms are the second reading's where it has any, and never held back. `stale` as above.
        """
        state = self._of_usual_length(state, again)
        verdict = self._verdict(state, stale)
        self._judged = None
        if again is None and verdict.clean and not self._memory.misses and not self._memory.suspects:
            self._learn(state)
            return state, {}
        second = self._judge(again) if again is not None else None
        changes = _Changes(state)
        for key in verdict.surprising | verdict.impossible:
            self._settle(key, verdict, state, second, again, changes)
        for name in _LISTS:
            usual, value = self._memory.good.get(name), getattr(state, name)
            if usual and value and len(usual) != len(value) and name in changes.reasons:
                changes.drop(name)  # patched with old values it would be learnt as the new length
        for doubted in (self._memory.misses, self._memory.suspects):
            for key in [key for key in doubted if key not in verdict.impossible and key not in verdict.surprising]:
                del doubted[key]
        changes.recompute(verdict.recompute)
        changes.drop_blank()
        alarms = again.alarms if again is not None and again.alarms is not None else state.alarms
        published = changes.apply(state, alarms=alarms)
        self._held.update(changes.reasons.keys())
        self._learn(published)
        return published, changes.reasons

    def _of_usual_length(self, state: StateT, again: StateT | None) -> StateT:
        """A list that lost its end on the way is not patched: the second reading's stands for it, if that is whole."""
        for name in _LISTS:
            usual, first, second = (
                self._memory.good.get(name),
                getattr(state, name),
                getattr(again, name, None),
            )
            if usual and first and second and len(first) != len(usual) == len(second):
                state = replace(state, **{name: second})
        return state

    def _judge(self, state: StateT, stale: frozenset[str] = frozenset()) -> Verdict:
        cells = self._limits.cells or (len(state.cell_voltages) if state.cell_voltages else None)
        kind = (type(state), cells)
        if (table := self._tables.get(kind)) is None:
            table = self._tables[kind] = narrowed(
                rules(isinstance(state, BankState), self._limits, cells), self._within
            )
        return judge(state, table, self._memory, weak_check=self._weak_check, cells=self._limits.cells, stale=stale)

    def _verdict(self, state: StateT, stale: frozenset[str]) -> Verdict:
        if self._judged is None or self._judged[0] is not state:
            self._judged = (state, self._judge(state, stale))
        return self._judged[1]

    def _rule_of(self, name: str) -> Rule:
        return next(rule for table in self._tables.values() for rule in table if rule.name == name)

    def _settle(
        self,
        key: Key,
        verdict: Verdict,
        state: StateT,
        second: Verdict | None,
        again: StateT | None,
        changes: _Changes,
    ) -> None:
        """Decide on one doubtful value: the second reading's, the last good one, or none."""
        memory = self._memory
        first_value, second_value = _element(state, key), _element(again, key)
        if key in verdict.impossible:
            first_value = None
        rule = self._rule_of(key.name)
        # the range is looked at here as well: what is computed is not judged, and may be so in one reading only
        if (
            second is not None
            and second_value is not None
            and key not in second.impossible
            and rule.low <= second_value <= rule.high
        ):
            repeated = first_value is not None and agree(rule, first_value, second_value)
            if repeated or key not in second.surprising:
                changes.put(key, second_value)
                memory.misses.pop(key, None)
                memory.suspects.pop(key, None)
                return
            memory.suspects[key] = second_value
        elif first_value is not None:
            memory.suspects[key] = first_value
        missed = memory.misses[key] = memory.misses.get(key, 0) + 1
        stands_in = missed <= _HOLD_CYCLES and memory.gone.isdisjoint((key, Key(key.name)))
        good = memory.good.get(key.name) if stands_in else None
        if key.place is not None and good is not None:
            good = good[key.place] if key.place < len(good) else None
        changes.hold(key, good, verdict.impossible.get(key) or verdict.surprising[key])

    def _learn(self, state: StateT) -> None:
        """Remember what was published.

        What is None or was held back keeps its last good value to be measured by, but once it was published as None
        that value is never published again: nobody would see how old it is.
        """
        good, gone = self._memory.good, set[Key]()
        read = read_bank if isinstance(state, BankState) else read_pack
        names = (*PACK_FIELDS, *MODULES) if isinstance(state, BankState) else PACK_FIELDS
        for name, value in zip(names, read(state), strict=True):
            if value is None:
                if name in good:
                    gone.add(Key(name))
                continue
            if isinstance(value, tuple) and None in value:
                last = good.get(name, ())
                gone.update(Key(name, index) for index, element in enumerate(value) if element is None)
                value = tuple(
                    (last[index] if index < len(last) else None) if element is None else element
                    for index, element in enumerate(value)
                )
            good[name] = value
        self._memory.gone = gone
        if state.alarms is not None:
            good["alarms"] = state.alarms


def hold_back[StateT: BatteryState](state: StateT, limits: Limits | None = None) -> tuple[StateT, dict[str, str]]:
    """One reading without any history: what is impossible becomes None, with its reason."""
    limits = limits or Limits()
    cells = limits.cells or (len(state.cell_voltages) if state.cell_voltages else None)
    table = rules(isinstance(state, BankState), limits, cells)
    verdict = judge(state, table, Memory(), weak_check=False, cells=limits.cells)
    changes = _Changes(state)
    for key, reason in verdict.impossible.items():
        changes.hold(key, None, reason)
    if not verdict.clean:
        changes.recompute(verdict.recompute)
        changes.drop_blank()
    return changes.apply(state), changes.reasons
