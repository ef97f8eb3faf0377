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
    Sign,
    inverter_of,
    is_between_packs,
    is_high_voltage,
    is_out_of_scope,
    marked,
    signs_of,
)
from .set35x import FAMILIES, LOW_VOLTAGE

# Times of can.md section 4.2, in seconds.
_CLEAR_AFTER: Final = 3.0  # with ids that nobody else has
_STABLE_FOR: Final = 10.0  # the ids, where they are shared
_STABLE_FOR_SLOW: Final = 25.0  # where none of them repeats often
_OFTEN: Final = 1.8  # "faster than 2 s", less the jitter of a pack that sends its fastest frame every 2 s
# Better evidence in the middle of a set: the rest of the set may tell still more, so it is awaited (own choice).
_UPGRADE_AFTER: Final = 0.8
_SILENT_AFTER: Final = 30.0
_PERIODS: Final = 5  # of an id, after which it is stale, if that is longer
_LOOK_EVERY: Final = 1.0  # whether what is settled still holds; a flood of others costs nothing

# How often in a row an id or what gives a payload away must have been heard: to be a full repetition, and to tell
# against what was settled, which one frame of somebody else must not (own choice).
_REPEATED: Final = 2
_PROVED: Final = 3
# A family with ids of its own that are heard keeps, whatever else there is: seconds, and periods of these.
_FRESH: Final = 3.0
_FRESH_PERIODS: Final = 3

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
    """One id; a long silence begins it anew."""

    first: float
    last: float
    data: bytes
    count: int = 1
    signs: frozenset[Sign] = frozenset()
    signs_in_a_row: int = 0

    @property
    def period(self) -> float | None:
        """Between two of them, on the whole; None while there was only one."""
        return (self.last - self.first) / (self.count - 1) if self.count > 1 else None

    def again(self, at: float) -> None:
        """It was heard again."""
        if at - self.last >= _SILENT_AFTER and not self.is_fresh(at):
            self.first, self.count, self.signs_in_a_row = at, 0, 0
        self.count += 1
        self.last = at

    def is_fresh(self, at: float, least: float = _SILENT_AFTER, periods: int = _PERIODS) -> bool:
        """Whether it was heard not too long ago."""
        silent = at - self.last
        return silent < least or silent < periods * (self.period or 0.0)


class Detector:
    """Takes in a bus's frames and says what they are; upgrades as more ids are heard, and never downgrades.

    Before it is settled, everything counts at once. Afterwards only what is heard again and again does, and it begins
    anew when another family's marker appears after every id that its family reads was silent for 30 s, or when those
    that are that family's own were, while shared ones keep coming.
    """

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self._heard: dict[int, _Heard] = {}
        self._strangers = 0  # of these, ids that no family has
        self._evidence = Evidence()  # all of it
        self._proved = Evidence()  # what tells against what is settled
        self._candidate: Marker | None = None
        self._since = 0.0  # when it became the candidate
        self._settled: Marker | None = None
        self._begun: float | None = None  # when a battery was heard for the first time
        self._grown = 0.0  # when an id of the candidate was heard for the first time
        self._own: frozenset[int] = frozenset()  # what the candidate reads
        self._own_heard: float | None = None
        self._own_first: float | None = None  # since it was taken
        self._look_at = 0.0
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
            if at - heard.last < _SILENT_AFTER:
                heard.count += 1
                heard.last = at
            else:
                heard.again(at)
            if heard.count == _PROVED and self._settled is not None:
                self._proved.ids.add(frame_id)
                self._judge_settled(at)
            if frame_id in TELLING:
                self._learn(heard, frame_id, data, at)
            heard.data = data
        if frame_id in self._own:
            if self._own_first is None:
                self._own_first = at
            self._own_heard = at
        elif self._own_heard is None:
            self._own_heard = at
        if at >= self._look_at:
            self._look_at = at + _LOOK_EVERY
            self._look(at)

    def verdict(self, now: float) -> Verdict:
        """What the bus is by now."""
        self._settle(now)
        flooded = self._flooded and now - self._last <= _REPEAT_OVER
        candidate = self._candidate
        if self._is_high_voltage():
            return Verdict(inverter=self._inverter(None), hint=Hint.NO_ACKNOWLEDGE if flooded else Hint.HIGH_VOLTAGE)
        if flooded and self._settled is None and len(self._heard) == 1:
            candidate = None  # one frame of what may be any family
        family = None if candidate is None else candidate.family
        return Verdict(
            family=family,
            settled=candidate is not None and candidate is self._settled,
            inverter=self._inverter(family),
            hint=Hint.NO_ACKNOWLEDGE if flooded else None if family else self._hint(),
        )

    def _inverter(self, family: str | None) -> str | None:
        senders = {frame_id: (one.count, one.data) for frame_id, one in self._heard.items() if frame_id in INVERTER}
        return inverter_of(senders, family)

    def _is_high_voltage(self) -> bool:
        """Whether the ids of low voltage have a limit that no such battery has: then 356 is in other units, too."""
        heard = self._heard.get(0x351)
        if heard is None or self._candidate is None or self._candidate.family not in _SET_35X:
            return False
        limit = int.from_bytes(heard.data[:2], "little")
        return len(heard.data) >= 2 and 10 * LOW_VOLTAGE < limit < 0xFFFF

    def assume(self, family: str) -> None:
        """Begin with what the bus was the last time; only better evidence overrides it."""
        marker = BY_FAMILY[family]
        self._evidence.join(marker.typical)
        self._proved.join(self._evidence)
        self._take(marked(self._evidence) or marker, self._last)
        self._settled = self._candidate

    @property
    def repeated(self) -> bool:
        """Whether anything of a battery was heard again, so that its set was heard once through."""
        return any(one.count > 1 for one in self._batteries())

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
        heard = self._heard[frame_id] = _Heard(first=at, last=at, data=data)
        if frame_id in _DECODABLE:
            self._settle(at)
            self._begun = at if self._begun is None else self._begun
        self._evidence.ids.add(frame_id)
        if frame_id in TELLING:
            heard.signs, heard.signs_in_a_row = signs_of(frame_id, data), 1
            self._evidence.learn(heard.signs)
        if self._settled is None:
            self._judge(at)
        if self._grows(frame_id):
            self._grown = at

    def _learn(self, heard: _Heard, frame_id: int, data: bytes, at: float) -> None:
        """What a payload gives away, and how often in a row it did."""
        if data != heard.data and (signs := signs_of(frame_id, data)) != heard.signs:
            heard.signs, heard.signs_in_a_row = signs, 0
            if self._evidence.learn(signs) and self._settled is None:
                self._judge(at)
        heard.signs_in_a_row += 1
        if heard.signs_in_a_row == _PROVED and self._settled is not None and self._proved.learn(heard.signs):
            self._judge_settled(at)

    def _judge(self, at: float) -> None:
        """Ask the markers again, while nothing is settled."""
        marker = marked(self._evidence)
        if marker is not None and marker is not self._candidate:
            self._take(marker, at)

    def _judge_settled(self, at: float) -> None:
        """Ask them with what was proved since; a family stays while what is its own is heard, and was not disproved.

        A worse one is known by what is heard, not by what was assumed.
        """
        marker, settled = marked(self._proved), self._settled
        if marker is None or marker is self._candidate or settled is None:
            return
        fresh = self._fresh(at)
        if (marker.clear or marker.order > settled.order) and not marker.fits(
            Evidence(ids=fresh, signs=self._proved.signs)
        ):
            return  # it was there once
        if marker.clear:
            explained = marker.typical.ids | CAN[marker.family].ids
            kept = {one for one in fresh - explained if self._heard[one].is_fresh(at, _FRESH, _FRESH_PERIODS)}
            if settled.fits(Evidence(ids=kept, signs=self._proved.signs)):
                return
        elif settled.clear and settled.fits(Evidence(ids=fresh, signs=self._proved.signs)):
            return
        if marker.order > settled.order and settled.clear:
            self._begin_anew(at)
        else:
            self._take(marker, at)

    def _fresh(self, at: float) -> set[int]:
        return {frame_id for frame_id, one in self._heard.items() if one.is_fresh(at)}

    def _take(self, marker: Marker, at: float) -> None:
        self._candidate, self._since = marker, at
        family = CAN.get(marker.family)
        self._own = frozenset() if family is None else family.ids
        self._own_first = None
        self._grown = max((one.first for frame_id, one in self._heard.items() if self._grows(frame_id)), default=at)

    def _grows(self, frame_id: int) -> bool:
        """Whether an id that is new may be the sign of more to come; a name may come once a minute (can.md 4.2)."""
        return frame_id in self._own and frame_id != _NAME

    def _settle(self, now: float) -> None:
        """Whether the candidate may be believed by now; once it was, it stays so."""
        candidate = self._candidate
        if candidate is None or candidate is self._settled or self._begun is None:
            return
        if self._settled is not None:
            if now - self._since >= _UPGRADE_AFTER:
                self._settled = candidate
            return
        if now - self._begun < _CLEAR_AFTER:
            return
        repeated = self._repeated()
        if candidate.clear and candidate.fits(repeated):
            ready = True
        else:
            often = any(one.period is not None and one.period < _OFTEN for one in self._batteries())
            ready = now - max(self._grown, self._since) >= (_STABLE_FOR if often else _STABLE_FOR_SLOW)
        if ready and (marker := marked(repeated)) is not None:
            if marker is not candidate:  # of which there was one frame, and no more
                self._take(marker, now)
            self._settled, self._proved = marker, repeated

    def _repeated(self) -> Evidence:
        """What was heard more than once."""
        return Evidence(
            ids={frame_id for frame_id, one in self._heard.items() if one.count >= _REPEATED},
            signs=self._evidence.signs
            & {sign for one in self._heard.values() for sign in one.signs if one.signs_in_a_row >= _REPEATED},
        )

    def _batteries(self) -> Iterable[_Heard]:
        return (one for frame_id, one in self._heard.items() if frame_id in _DECODABLE)

    def _look(self, at: float) -> None:
        """Whether what was settled still holds."""
        settled = self._settled
        if not self._own or self._own_heard is None:
            return
        if at - self._own_heard >= _SILENT_AFTER:
            self._begin_anew(at)
            return
        if settled is None or settled is not self._candidate:
            return
        self._judge_settled(at)
        if not settled.clear or self._own_first is None or at - self._own_first < _SILENT_AFTER:
            return
        fresh = Evidence(ids=self._fresh(at), signs=self._proved.signs)
        if not settled.fits(fresh) and any(
            self._heard[one].count >= _REPEATED for one in fresh.ids & self._own if self._grows(one)
        ):
            self._begin_anew(at)

    def _begin_anew(self, at: float) -> None:
        """What is still heard counts alone, if it is another family."""
        fresh = {
            frame_id: one for frame_id, one in self._heard.items() if one.is_fresh(at, _STABLE_FOR, _FRESH_PERIODS)
        }
        evidence = Evidence(ids=set(fresh))
        for one in fresh.values():
            evidence.learn(one.signs)
        marker = marked(evidence)
        if marker is None or marker is self._candidate:
            return
        self._heard, self._evidence, self._settled = fresh, evidence, None
        self._proved = Evidence()
        self._strangers = sum(frame_id not in _DECODABLE and frame_id not in INVERTER for frame_id in fresh)
        self._begun = min((one.first for one in self._batteries()), default=at)
        self._own_heard = at
        self._take(marker, at)
        self._since = self._begun

    def _hint(self) -> Hint | None:
        """What a bus without a battery that can be read is instead."""
        return next((hint for hint, fits in _HINTS if any(map(fits, self._heard))), None)


_SET_35X: Final = frozenset(family.name for family in FAMILIES)
_NAME: Final = 0x35E
_DECODABLE: Final = frozenset().union(*(family.ids for family in CAN.values())) - INVERTER
_PRIVATE: Final = NAMELESS_SERIALS.union(*(family.private_ids for family in CAN.values()))
_HINTS: Final = (
    (Hint.HIGH_VOLTAGE, is_high_voltage),
    (Hint.OUT_OF_SCOPE, is_out_of_scope),
    (Hint.BETWEEN_PACKS, is_between_packs),
)
