"""Which family a bus carries while it is listened to: what it was, until something better is known or it cannot be."""

from collections.abc import Mapping

from ..can_frame import CanFrame
from ..protocols.can import CAN
from ..protocols.can.base import CanFamily
from ..protocols.can.detection import Detector, Verdict
from ..protocols.can.markers import BY_FAMILY

# What was heard before a silence of so many seconds is of the family that was set before it (can.md section 4.2).
CHANGED_AFTER = 30.0
# What the bus was once is not believed for ever: now and then, and whenever it was silent or away, it is found out anew by
# somebody who knows nothing, in so many seconds at least.
_DOUBT, _FIND_OUT = 600.0, 30.0


class FamilyWatch:
    """Hears all frames of a bus beside its client, and says when they are of another family than is assumed.

    The detector keeps what was once heard, and families share ids: what another one sends may look like a part of what
    was there before. So there is at times a second one beside it, which does not know what the bus was.
    """

    __slots__ = ("_detector", "_family", "_own_heard", "_second", "_second_since", "verdict")

    def __init__(self, family: CanFamily) -> None:
        """Assume that it is this one."""
        self.verdict = Verdict()
        self._family = family
        self._detector = Detector()
        self._detector.assume(family.name)
        self._second: Detector | None = None
        self._second_since = 0.0  # monotonic
        self._own_heard = float("-inf")  # when a frame of the family was last heard, monotonic

    @property
    def unknown(self) -> Mapping[int, bytes]:
        """Ids that nothing explains, each with a payload."""
        return self._detector.unknown

    def doubt(self, now: float) -> None:
        """Find out anew what the bus is, beside believing what it was."""
        self._second, self._second_since = Detector(), now

    def hear(self, frame: CanFrame, now: float) -> None:
        """Take in one frame."""
        if frame.id in self._family.ids:
            if now - self._own_heard >= CHANGED_AFTER:
                self.doubt(now)
            self._own_heard = now
        self._detector.hear(frame, now)
        if self._second is not None:
            self._second.hear(frame, now)

    def look(self, now: float) -> CanFamily | None:
        """The family that it turned out to be, which is assumed from now on; None: no other one."""
        verdict = self.verdict = self._detector.verdict(now)
        if verdict.settled and (found := CAN.get(verdict.family or "")) is not None and found is not self._family:
            self._family = found
            return found
        if self._second is None:
            if now - self._second_since >= _DOUBT:
                self.doubt(now)
        elif now - self._second_since >= _FIND_OUT and (verdict := self._second.verdict(now)).settled:
            second, self._second = self._second, None
            found = CAN.get(verdict.family or "")
            if found is not None and _contradicts(self._family.name, found.name):
                self._detector, self.verdict, self._family = second, verdict, found
                return found
        return None


def _contradicts(assumed: str, found: str) -> bool:
    """Whether a bus that was found to be one family cannot be the other that it was.

    Frames may be missing for a while, and a battery that sends fewer of a kind is no other; but one that has ids of its
    own is known by them within seconds, and what stands earlier in the order of markers knows more.
    """
    before, now = BY_FAMILY[assumed], BY_FAMILY[found]
    return now.order < before.order or (before.clear and now is not before)
