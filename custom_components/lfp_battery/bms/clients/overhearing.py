"""Who else asks on a line: told from bytes that nobody here asked for, whatever protocol they are in."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..protocols.base import Integrity, PolledProtocol, Splitter

# An adapter or gateway that gives our own question back has done so within this time, in seconds.
_ECHO = 3.0
# Bytes further apart than this are not of one frame, in seconds.
_PAUSE = 1.0
# A question whose check is weak, in a protocol that is not spoken here, is believed when another one follows within
# this time, in seconds.
_REPEATED = 600.0


class OwnQuestions:
    """What we have sent lately, so that nothing of it is taken for somebody else's."""

    __slots__ = ("_sent",)

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self._sent: deque[tuple[float, bytes]] = deque(maxlen=32)

    def sent(self, question: bytes, now: float) -> None:
        """Remember a question."""
        self._sent.append((now, question))

    def explain(self, protocol: PolledProtocol, frame: bytes, now: float) -> bool:
        """Whether what looks like a question is one of ours that came back, or the late answer of a clone to one.

        Clones that repeat the command as their return code answer 4F with its mirror image (pylon-rs485.md section 7).
        """
        return any(
            frame == question or protocol.is_answer(question, frame)
            for when, question in self._sent
            if now - when <= _ECHO
        )


@dataclass(slots=True)
class _Ear:
    """One way to cut the stream, and how much must be heard in it."""

    protocol: PolledProtocol
    needed: int  # questions
    splitter: Splitter
    heard: list[float] = field(default_factory=list)  # when, monotonic


class OtherMasters:
    """Notices another master on a line where `spoken` is polled.

    Only what a checksum proves counts: text without one says nothing of who sent it.
    """

    def __init__(self, spoken: PolledProtocol, others: Iterable[PolledProtocol]) -> None:
        """`others`: every protocol that a master may ask in."""
        self.own = OwnQuestions()
        self.questions = 0  # of somebody else
        self.noticed: str | None = None  # the protocol in which somebody was first proved to ask
        self._last = 0.0
        ears: dict[tuple[object, object], _Ear] = {}
        for protocol in (spoken, *others):
            # protocols that share a frame share an ear: what was asked for does not matter here
            alike = (type(protocol).splitter, type(protocol).is_request)
            if protocol.integrity is Integrity.NONE or alike in ears:
                continue
            certain = protocol is spoken or protocol.integrity is Integrity.CRC
            ears[alike] = _Ear(protocol, 1 if certain else 2, protocol.splitter())
        self._ears = tuple(ears.values())

    def hear(self, data: bytes, now: float) -> bool:
        """Take in bytes that were not asked for; whether they prove that somebody else asks."""
        noticed = False
        questions: set[bytes] = set()
        for ear in self._ears:
            if now - self._last > _PAUSE:
                ear.splitter = ear.protocol.splitter()
            for frame in ear.splitter.feed(data):
                if not ear.protocol.is_request(frame) or self.own.explain(ear.protocol, frame, now):
                    continue
                questions.add(frame)
                ear.heard = [*(when for when in ear.heard if now - when <= _REPEATED), now][-ear.needed :]
                if len(ear.heard) >= ear.needed:
                    noticed = True
                    self.noticed = self.noticed or ear.protocol.name  # the one that is polled comes first
        self._last = now
        self.questions += len(questions)
        return noticed
