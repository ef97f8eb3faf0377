"""Which family a bus carries while it is listened to: what it was, until something better is known or it cannot be."""

from collections.abc import Mapping

from ..can_frame import CanFrame
from ..protocols.can import CAN
from ..protocols.can.base import CanFamily
from ..protocols.can.detection import Detector, Hint, Verdict
from ..protocols.can.markers import BY_FAMILY

# What was heard before a silence of so many seconds is of the family that was set before it (can.md section 4.2).
CHANGED_AFTER = 30.0
# What the bus was once is not believed for ever: now and then, and whenever it was silent or away, it is found out anew by
# somebody who knows nothing, in so many seconds at least; less is enough where nothing that was there must be missed.
_DOUBT, _FIND_OUT, _FIND_OUT_SOON = 600.0, 30.0, 10.0
# A battery that is set to another family starts anew. So many seconds of silence are such a pause, unless it sends in
# bursts: then it did not send for so long before.
_PAUSE, _STEADY = 3.0, 10.0
# A set needs so many seconds at most to be heard once through, its frames being some tenths apart.
_SET, _APART = 2.0, 1.0
_DOUBTED_AT_MOST = 40.0


class FamilyWatch:
    """Hears all frames of a bus beside its client, and says when they are of another family than is assumed.

    The detector keeps what was once heard, and families share ids: what another one sends may look like a part of what
    was there before. So there is at times a second one beside it, which does not know what the bus was.
    """

    __slots__ = (
        "_detector",
        "_family",
        "_own_heard",
        "_paused",
        "_second",
        "_second_since",
        "_steady",
        "since",
        "verdict",
    )

    def __init__(self, family: CanFamily) -> None:
        """Assume that it is this one."""
        self.verdict = Verdict()
        self.since = float("-inf")  # when the battery began to send, or began again after a pause, monotonic
        self._family = family
        self._assume()
        self._second: Detector | None = None
        self._second_since = 0.0  # monotonic
        self._paused = False  # why there is a second one
        self._own_heard = float("-inf")  # when a frame of the family was last heard, monotonic
        self._steady = float("-inf")  # since when without a gap, monotonic

    def _assume(self) -> None:
        self._detector = Detector()
        self._detector.assume(self._family.name)

    @property
    def unknown(self) -> Mapping[int, bytes]:
        """Ids that nothing explains, each with a payload."""
        return self._detector.unknown

    def doubt(self, now: float, *, paused: bool = False) -> None:
        """Find out anew what the bus is, beside believing what it was."""
        self._second, self._second_since, self._paused = Detector(), now, paused

    def is_doubtful(self, now: float) -> bool:
        """Whether what is heard after a pause may be of a family that is read otherwise; then nothing should be told."""
        age = now - self._second_since
        if not self._paused or self._second is None or age >= _DOUBTED_AT_MOST:
            return False
        if age < _SET and not self._second.repeated:
            return True
        found = self._second.verdict(now).family
        return found is not None and _misread(self._family.name, found)

    def hear(self, frame: CanFrame, now: float) -> None:
        """Take in one frame."""
        if frame.id in self._family.ids:
            if (gap := now - self._own_heard) >= _PAUSE:
                if gap >= CHANGED_AFTER or self._own_heard - self._steady >= _STEADY:
                    self.doubt(now, paused=True)
                    self.since = now - _APART
                self._steady = now
            self._own_heard = now
        self._detector.hear(frame, now)
        if self._second is not None:
            self._second.hear(frame, now)

    def look(self, now: float) -> CanFamily | None:
        """The family that it turned out to be, which is assumed from now on; None: no other one."""
        flooded = self.verdict.hint is Hint.NO_ACKNOWLEDGE
        verdict = self.verdict = self._detector.verdict(now)
        if verdict.hint is Hint.NO_ACKNOWLEDGE:
            return None
        if flooded:  # one frame over and over tells of no family, and nobody else was heard meanwhile
            self._assume()
            self.doubt(now, paused=True)
            return None
        if verdict.settled and (found := CAN.get(verdict.family or "")) is not None and found is not self._family:
            self._family = found
            self._second = None
            return found
        if self._second is None:
            if now - self._second_since >= _DOUBT:
                self.doubt(now)
        elif (verdict := self._second.verdict(now)).settled and now - self._second_since >= self._time(verdict.family):
            second, self._second = self._second, None
            found = CAN.get(verdict.family or "")
            if found is not None and _contradicts(self._family.name, found.name):
                self._detector, self.verdict, self._family = second, verdict, found
                return found
        return None

    def _time(self, found: str | None) -> float:
        """In how many seconds it may be found out: a battery that starts may not send at once what it is known by."""
        soon = self._paused and found is not None and (BY_FAMILY[found].clear or not BY_FAMILY[self._family.name].clear)
        return _FIND_OUT_SOON if soon else _FIND_OUT


def _contradicts(assumed: str, found: str) -> bool:
    """Whether a bus that was found to be one family cannot be the other that it was.

    Frames may be missing for a while, and a battery that sends fewer of a kind is no other; but one that has ids of its
    own is known by them within seconds, and what stands earlier in the order of markers knows more.
    """
    before, now = BY_FAMILY[assumed], BY_FAMILY[found]
    return now.order < before.order or (before.clear and now is not before)


def _misread(assumed: str, found: str) -> bool:
    """Whether frames of one family say something else when they are read as the other: Sofar has a 359 of its own."""
    return assumed != found and (BY_FAMILY[assumed].clear or BY_FAMILY[found].clear or "sofar" in {assumed, found})
