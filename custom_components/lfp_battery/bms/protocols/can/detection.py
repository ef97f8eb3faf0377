"""Which family of frames is on a bus, by listening only (can.md section 4): markers in their order, and time.

Pure: frames and the time of each are handed in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

from ...can_frame import CanFrame
from . import CAN
from .markers import (
    BY_FAMILY,
    INVERTER,
    NAMELESS_SERIALS,
    TELLING,
    Evidence,
    Marker,
    inverter_of,
    is_between_packs,
    is_high_voltage,
    is_out_of_scope,
    marked,
)

# Times of can.md section 4.2, in seconds.
_CLEAR_AFTER: Final = 3.0  # with ids that nobody else has
_STABLE_FOR: Final = 10.0  # the ids, where they are shared
_STABLE_FOR_SLOW: Final = 25.0  # where none of them repeats often
_OFTEN: Final = 1.8  # "faster than 2 s", less the jitter of a pack that sends its fastest frame every 2 s
# Better evidence in the middle of a set: the rest of the set may tell still more, so it is awaited (own choice).
_UPGRADE_AFTER: Final = 1.5
_SILENT_AFTER: Final = 30.0
_TRY_EVERY: Final = 1.0  # so that a flood of others costs nothing while the family is silent

# Nobody acknowledges: a frame is repeated about every 0.5 ms (can.md section 2); so many of them are no burst.
_REPEATS: Final = 50
_REPEAT_WITHIN: Final = 0.005
_REPEAT_OVER: Final = 1.0  # s after the last of them

_UNKNOWN_AT_MOST: Final = 64


class Hint(StrEnum):
    """What the frames on a bus say besides a family that can be read; each has its own words for the owner."""

    NO_ACKNOWLEDGE = "no_ack"  # one frame again and again: nobody acknowledges
    HIGH_VOLTAGE = "high_voltage_out_of_scope"
    BETWEEN_PACKS = "between_packs"  # frames that only packs send each other
    OUT_OF_SCOPE = "out_of_scope"  # another set that is recognised and cannot be read (can.md section 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a bus is, as far as was heard."""

    family: str | None = None  # a name in `CAN`
    settled: bool = False  # enough time has passed to believe it (section 4.2)
    inverter: str | None = None  # "generic", "victron", "sma_or_generic", "growatt", ...: frames of one were heard
    hint: Hint | None = None


@dataclass(slots=True)
class _Heard:
    """One id."""

    first: float
    last: float
    data: bytes
    count: int = 1

    @property
    def period(self) -> float | None:
        """Between two of them, on the whole; None while there was only one."""
        return (self.last - self.first) / (self.count - 1) if self.count > 1 else None


class Detector:
    """Takes in a bus's frames and says what they are; upgrades as more ids are heard, and never downgrades.

    When every id that its family reads was silent for 30 s and another family's marker appears, it begins anew.
    """

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self._heard: dict[int, _Heard] = {}
        self._strangers = 0  # of these, ids that no family has
        self._evidence = Evidence()
        self._candidate: Marker | None = None
        self._since = 0.0  # when it became the candidate
        self._settled: Marker | None = None
        self._begun: float | None = None  # when a battery was heard for the first time
        self._grown = 0.0  # when an id of one was heard for the first time
        self._own: frozenset[int] = frozenset()  # what the candidate reads
        self._own_heard: float | None = None
        self._tried = -_TRY_EVERY  # when it was last looked for another family
        self._run_id: int | None = None
        self._run_since = 0.0
        self._run = 0
        self._last = 0.0
        self._flooded = False

    def hear(self, frame: CanFrame, at: float) -> None:
        """Take in one frame, heard at `at` (s, monotonic)."""
        frame_id, data = frame.id, frame.data
        self._last = at
        if frame_id != self._run_id:
            self._run_id, self._run_since, self._run, self._flooded = frame_id, at, 1, False
        else:
            self._run += 1
            if self._run == _REPEATS:
                self._flooded = at - self._run_since < _REPEAT_WITHIN * (_REPEATS - 1)
                self._run_since, self._run = at, 1
        if (heard := self._heard.get(frame_id)) is None:
            self._meet(frame_id, data, at)
        else:
            heard.count += 1
            heard.last = at
            if heard.data != data:
                heard.data = data
                if frame_id in TELLING and self._evidence.look(frame_id, data):
                    self._judge(at)
        if frame_id in self._own or self._own_heard is None:
            self._own_heard = at
        elif self._own and at - self._own_heard >= _SILENT_AFTER and at - self._tried >= _TRY_EVERY:
            self._tried = at
            self._begin_anew(at)

    def verdict(self, now: float) -> Verdict:
        """What the bus is by now."""
        self._settle(now)
        flooded = self._flooded and now - self._last <= _REPEAT_OVER
        candidate = self._candidate
        if flooded and self._settled is None and len(self._heard) == 1:
            candidate = None  # one frame of what may be any family
        family = None if candidate is None else candidate.family
        senders = {frame_id: (one.count, one.data) for frame_id, one in self._heard.items() if frame_id in INVERTER}
        return Verdict(
            family=family,
            settled=candidate is not None and candidate is self._settled,
            inverter=inverter_of(senders, family),
            hint=Hint.NO_ACKNOWLEDGE if flooded else None if family else self._hint(),
        )

    def assume(self, family: str) -> None:
        """Begin with what the bus was the last time; only better evidence overrides it."""
        marker = BY_FAMILY[family]
        self._evidence.join(marker.typical)
        self._take(marked(self._evidence) or marker, self._last)
        self._settled = self._candidate

    @property
    def unknown(self) -> Mapping[int, bytes]:
        """Ids that no part of the verdict explains, each with its latest payload; at most 64 of them.

        The payload of an id that holds a serial number in any family is left out.
        """
        found = (frame_id for frame_id in self._heard if frame_id not in self._own and frame_id not in INVERTER)
        return {
            frame_id: b"" if frame_id in _PRIVATE else self._heard[frame_id].data
            for frame_id in islice(found, _UNKNOWN_AT_MOST)
        }

    def _meet(self, frame_id: int, data: bytes, at: float) -> None:
        """An id that was not heard before."""
        if frame_id not in _DECODABLE and frame_id not in INVERTER:
            if self._strangers >= _UNKNOWN_AT_MOST:
                return
            self._strangers += 1
        self._heard[frame_id] = _Heard(first=at, last=at, data=data)
        if frame_id in _DECODABLE:
            self._settle(at)
            self._begun = at if self._begun is None else self._begun
            self._grown = at
        self._evidence.ids.add(frame_id)
        if frame_id in TELLING:
            self._evidence.look(frame_id, data)
        self._judge(at)

    def _judge(self, at: float) -> None:
        """Ask the markers again."""
        marker = marked(self._evidence)
        if marker is not None and marker is not self._candidate:
            self._take(marker, at)

    def _take(self, marker: Marker, at: float) -> None:
        self._candidate, self._since = marker, at
        family = CAN.get(marker.family)
        self._own = frozenset() if family is None else family.ids

    def _settle(self, now: float) -> None:
        """Whether the candidate may be believed by now; once it was, it stays so."""
        candidate = self._candidate
        if candidate is None or candidate is self._settled or self._begun is None:
            return
        if self._settled is not None:
            ready = now - self._since >= _UPGRADE_AFTER
        elif candidate.clear:
            ready = now - self._begun >= _CLEAR_AFTER and any(one.count > 1 for one in self._batteries())
        else:
            often = any(one.period is not None and one.period < _OFTEN for one in self._batteries())
            ready = now - self._grown >= (_STABLE_FOR if often else _STABLE_FOR_SLOW)
        if ready:
            self._settled = candidate

    def _batteries(self) -> Iterable[_Heard]:
        return (one for frame_id, one in self._heard.items() if frame_id in _DECODABLE)

    def _begin_anew(self, at: float) -> None:
        """The family fell silent: what else there is counts alone, if it is another one."""
        fresh = {frame_id: one for frame_id, one in self._heard.items() if at - one.last < _SILENT_AFTER}
        evidence = Evidence(ids=set(fresh))
        for frame_id in TELLING & fresh.keys():
            evidence.look(frame_id, fresh[frame_id].data)
        marker = marked(evidence)
        if marker is None or marker is self._candidate:
            return
        self._heard, self._evidence, self._settled = fresh, evidence, None
        self._strangers = sum(frame_id not in _DECODABLE and frame_id not in INVERTER for frame_id in fresh)
        starts = [one.first for one in self._batteries()]
        self._begun, self._grown = min(starts, default=at), max(starts, default=at)
        self._own_heard = at
        self._take(marker, at)

    def _hint(self) -> Hint | None:
        """What a bus without a battery that can be read is instead."""
        return next((hint for hint, fits in _HINTS if any(map(fits, self._heard))), None)


_DECODABLE: Final = frozenset().union(*(family.ids for family in CAN.values())) - INVERTER
_PRIVATE: Final = NAMELESS_SERIALS.union(*(family.private_ids for family in CAN.values()))
_HINTS: Final = (
    (Hint.HIGH_VOLTAGE, is_high_voltage),
    (Hint.OUT_OF_SCOPE, is_out_of_scope),
    (Hint.BETWEEN_PACKS, is_between_packs),
)
