"""What a broadcast client knows of the bank, or of one pack: what may be shown of the frames that are fresh."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..catalog import find_model
from ..model import Alarm, BatteryState, Identity, LinkCounters, PollReport
from ..physics import DERIVED, ON_CAN, computed
from ..plausibility import Gate, Limits, Reason
from ..protocols.can.base import BANK
from .broadcast_frame import HeardFrame

# What stands although two batteries send under one name.
_MOVED = 3.0  # % of charge by which nothing can move while what is left stays the same (can.md section 4.3)
_UNDISPUTED = frozenset({"address", "derived", "alarms", "family"})


@dataclass(slots=True, kw_only=True)
class Summary:
    """The fresh frames of one unit, taken together."""

    frames: int = 0
    answered: int = 0  # since the last time
    newest: float = float("-inf")  # monotonic
    measured: float | None = None  # the newest of those that measure something, monotonic
    expires: float = float("-inf")  # when the last of those is too old, monotonic
    period: float | None = None  # s, the longest of those
    repeated: bool = False  # one of those came more than once
    torn: bool = False  # two batteries send them
    doubted: frozenset[str] = frozenset()  # values that moved too far to be believed yet


def summarise(fresh: Iterable[HeardFrame], now: float) -> Mapping[int, Summary]:
    """What frames there are of each unit, by its address; also takes note of how many came."""
    found: dict[int, Summary] = {}
    for frame in fresh:
        if frame.said is None:
            continue
        key = frame.said.pack or BANK
        if (unit := found.get(key)) is None:
            unit = found[key] = Summary()
        unit.frames += 1
        unit.answered += frame.count - frame.counted
        frame.counted = frame.count
        unit.newest = max(unit.newest, frame.received)
        if frame.essential:
            unit.measured = max(unit.measured or frame.received, frame.received)
            unit.expires = max(unit.expires, frame.expires)
            unit.repeated |= frame.count > 1
            if (period := frame.period) is not None:
                unit.period = max(unit.period or period, period)
        unit.torn |= frame.torn(now)
        unit.doubted |= frame.doubted
    return found


def active_alarms(frames: Iterable[HeardFrame], address: int, now: float, *, torn: bool) -> frozenset[Alarm]:
    """What all fresh frames of a unit together say is active; `torn`: two batteries send them."""
    return frozenset[Alarm]().union(
        *(
            frame.recent_alarms(now) if torn else frame.alarms
            for frame in frames
            if frame.said is not None and (frame.said.pack or BANK) == address and now < frame.expires
        )
    )


def misses_alarms(frames: Iterable[HeardFrame], address: int, now: float) -> bool:
    """Whether a frame that told alarms of a unit does so no more: what it would say now, no other one can."""
    return any(frame.alarms_of == address and not frame.tells_alarms(now) for frame in frames)


def is_over(frames: Iterable[HeardFrame], address: int, since: float, now: float) -> bool:
    """Whether everything that could have the alarm that is gone from one frame was heard since."""
    return all(
        frame.received >= since or now >= frame.expires
        for frame in frames
        if frame.said is not None and (frame.said.pack or BANK) == address and "alarms" in frame.said.values
    )


class BroadcastUnit[StateT: BatteryState]:
    """The bank, or one pack."""

    def __init__(self, address: int, *, limits: Limits | None) -> None:
        """Nothing was heard yet."""
        self.address = address
        self.online = False
        self.received: float | None = None
        self.state: StateT | None = None
        self.identity: Identity | None = None
        self.held_back: Mapping[str, str] = {}
        self.counters = LinkCounters()
        self.told = float("-inf")  # when the listener was, monotonic
        self.alarms: frozenset[Alarm] = frozenset()  # that the listener knows of
        self.expires = float("-inf")  # when nothing that is measured is fresh any more, monotonic
        self.period: float | None = None  # s from one measurement to the next
        self.torn = False
        self.gate: Gate[StateT] = Gate(limits=limits, weak_check=False, within=ON_CAN)
        self._limits = limits
        self._left: float | None = None  # Ah, that was said last
        self._lowest = self._highest = 0.0  # %, while it said so
        self._shown: tuple[float, int, bool] | None = None  # what of the bus the state stands for

    def take(
        self, state: StateT, identity: Identity | None, summary: Summary, alarms: frozenset[Alarm], *, damaged: int = 0
    ) -> None:
        """Take in what its fresh frames say now; `alarms` for when two batteries send them."""
        counters = self.counters
        self.counters = replace(counters, answered=counters.answered + summary.answered, damaged=damaged)
        self.received = summary.measured
        self.expires, self.period, self.torn = summary.expires, summary.period, summary.torn
        self._identify(identity)
        # what is shown again is no second reading: nothing must confirm itself
        heard = (summary.newest, summary.frames, summary.torn)
        if heard == self._shown and self.online:
            return
        self._shown = heard
        self.online = True
        if summary.torn:
            self.state, self.held_back = _disputed(state, alarms)
        else:
            self.state, held_back = self.gate.admit(self._without_installed(state))
            self.held_back = dict.fromkeys(_with_computed(state, summary.doubted), Reason.JUMP.value) | held_back

    def _without_installed(self, state: StateT) -> StateT:
        """What is left must move with the state of charge, or else it is what the battery holds when it is full.

        One pack sends that in the place where Victron's set has what is left (can.md section 4.3).
        """
        left, soc = state.remaining_capacity, state.soc
        if left is None or soc is None:
            return state
        if left != self._left:
            self._left, self._lowest, self._highest = left, soc, soc
        self._lowest, self._highest = min(self._lowest, soc), max(self._highest, soc)
        if self._highest - self._lowest <= _MOVED:
            return state
        return replace(state, remaining_capacity=None)

    def _identify(self, identity: Identity | None) -> None:
        if identity == self.identity:
            return
        before, self.identity = self.identity, identity
        if before is None or identity is None:
            another = False
        else:
            another = None not in (before.serial, identity.serial) and before.serial != identity.serial
        if another:
            self.gate.forget()
        if self._limits is None and identity is not None:
            model = find_model(identity.manufacturer, identity.model)
            self.gate.know(model.limits if model is not None else Limits())

    def lose(self) -> None:
        """Nothing that was heard counts as present any more; who is heard next may be another one."""
        self.online = False
        self.identity = None
        self.held_back = {}
        self.alarms = frozenset()
        self.expires, self.period, self.torn = float("-inf"), None, False
        self._shown = self._left = None
        self.gate.forget()
        self.gate.know(self._limits or Limits())

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


def _with_computed(state: BatteryState, names: frozenset[str]) -> frozenset[str]:
    """What is computed from a value that is old is old as well."""
    if not names:
        return names
    return names | {name for name in computed(state) if not names.isdisjoint(DERIVED[name][0])}


def _disputed[StateT: BatteryState](state: StateT, alarms: frozenset[Alarm]) -> tuple[StateT, Mapping[str, str]]:
    """What can be said when nobody knows which of two batteries a value is of: the alarms of both, and no value."""
    values: dict[str, Any] = {
        f.name: None for f in fields(state) if f.name not in _UNDISPUTED and getattr(state, f.name) is not None
    }
    shown = replace(state, **values, derived=frozenset())
    if state.alarms is not None or alarms:
        shown = replace(shown, alarms=alarms | (state.alarms or frozenset()))
    return shown, dict.fromkeys(values, Reason.TWO_SOURCES.value)
