"""Who else asks on a line: told from bytes that nobody here asked for, whatever protocol they are in."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..protocols.base import Integrity, PolledProtocol, Splitter

# An adapter or gateway that gives our own question back has done so within this time, in seconds.
_ECHO = 3.0
# One that gives back every question has done so within this time, in seconds.
_SOON = 1.0
# So many questions in a row tell whether the line gives them back: each of the last few, or none of many.
_EACH, _NONE = 4, 16
# An answer that comes so long after its question is still its answer, in seconds.
LATE = 10.0
# Bytes further apart than this are not of one frame, in seconds.
_PAUSE = 1.0
# A question whose check is weak, in a protocol that is not spoken here, is believed when another one follows within
# this time, in seconds.
_REPEATED = 600.0


@dataclass(slots=True)
class _Sent:
    """One question of ours."""

    when: float  # monotonic
    protocol: PolledProtocol
    question: bytes
    answered: bool = False
    back: dict[object, float] = field(default_factory=dict)  # by whom it was heard to come back, and when


class OwnQuestions:
    """What we have sent lately, so that nothing of it is taken for somebody else's.

    A line gives a question back once, and does so with all of them or with none. Whoever else asks the very same shows
    by asking once more than that, or where nothing ever came back; until then he is only suspected.
    """

    __slots__ = ("_sent", "_since", "_suspicious", "disturbed")

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self._sent: deque[_Sent] = deque(maxlen=64)
        self._since = 0  # questions since one last came back
        self._suspicious = False  # one came back although the line does not do that to all
        self.disturbed = False  # one got nothing but damage: somebody may have asked at the same instant

    def opened(self) -> None:
        """Another adapter may be in place: what is known of the line counts no longer."""
        self._since = 0
        self._suspicious = self.disturbed = False

    def sent(self, protocol: PolledProtocol, question: bytes, now: float) -> None:
        """Remember a question."""
        self._sent.append(_Sent(now, protocol, question))
        self._since += 1

    def answered(self) -> None:
        """The last question was answered."""
        if self._sent:
            self._sent[-1].answered = True

    def explain(self, frame: bytes, now: float, heard_by: object = None) -> bool:
        """Whether what looks like a question is one of ours that came back, or the late answer to one.

        One-register answers of one firmware have the form of a question (modbus-rtu.md section 4.2), and clones that
        repeat the command as their return code answer 4F with its mirror image (pylon-rs485.md section 7). `heard_by`:
        every frame is to be shown once by each that hears it.
        """
        same = [sent for sent in self._sent if sent.question == frame and now - sent.when <= _ECHO]
        for sent in same:
            if heard_by in sent.back:
                continue
            sent.back[heard_by] = now
            silent = self._since >= _NONE
            self._since = 0
            if silent and sent.answered and now - sent.when > _SOON:
                return False
            self._suspicious |= sent.protocol.integrity is not Integrity.NONE and not self._gives_all_back(now)
            return True
        return not same and any(
            sent.protocol.is_answer(sent.question, frame) for sent in self._sent if now - sent.when <= LATE
        )

    def _gives_all_back(self, now: float) -> bool:
        """Whether this is a line on which every question comes back, and soon."""
        last = [sent for sent in self._sent if sent.back or now - sent.when > _SOON][-_EACH:]
        return len(last) == _EACH and all(
            any(when - sent.when <= _SOON for when in sent.back.values()) for sent in last
        )

    def doubtful(self, now: float) -> bool:
        """Whether somebody may ask what we ask, at the time when we do; said once."""
        doubtful = self.disturbed or (self._suspicious and not self._gives_all_back(now))
        self._suspicious = self.disturbed = False
        return doubtful


@dataclass(slots=True, eq=False)
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
            if protocol.alone:  # nobody else can ask where it is spoken, and its questions mean nothing anywhere else
                continue
            # protocols that share a frame share an ear: what was asked for does not matter here
            alike = (type(protocol).splitter, type(protocol).is_request)
            if protocol.integrity is Integrity.NONE or alike in ears:
                continue
            certain = protocol is spoken or protocol.integrity is Integrity.CRC
            ears[alike] = _Ear(protocol, 1 if certain else 2, protocol.splitter())
        self._ears = tuple(ears.values())

    def doubtful(self, now: float) -> bool:
        """Whether somebody may ask what we ask, at the time when we do; said once. Other times of asking will show."""
        return self.own.doubtful(now)

    def hear(self, data: bytes, now: float) -> bool:
        """Take in bytes that were not asked for; whether they prove that somebody else asks."""
        noticed = False
        questions: set[bytes] = set()
        for ear in self._ears:
            if now - self._last > _PAUSE:
                ear.splitter = ear.protocol.splitter()
            for frame in ear.splitter.feed(data):
                if not ear.protocol.is_request(frame) or self.own.explain(frame, now, ear):
                    continue
                questions.add(frame)
                ear.heard = [*(when for when in ear.heard if now - when <= _REPEATED), now][-ear.needed :]
                if len(ear.heard) >= ear.needed:
                    noticed = True
                    self.noticed = self.noticed or ear.protocol.name  # the one that is polled comes first
        self._last = now
        self.questions += len(questions)
        return noticed
