"""What a master and packs say to each other, as a third party hears it: which answer belongs to which question.

Bytes in, exchanges out. Direction is told by content and by time: what fits the question that was asked last is its
answer, what has the form of a question is one. An answer that comes after the next question is lost, to the master as
well.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from ..errors import FrameError, RefusedError
from ..protocols.base import Decoded, PolledProtocol, Splitter

# Bytes further apart than this are not of one frame, in seconds; gateways and adapters hold bytes back for less.
_PAUSE = 1.0
# Questions that are remembered as having been answered at all.
_ANSWERED = 512


class Outcome(Enum):
    """What came of an overheard question."""

    ANSWERED = "answered"
    REFUSED = "refused"
    SILENT = "silent"
    DAMAGED = "damaged"
    TWICE = "twice"  # another, different answer to the same question


@dataclass(frozen=True, slots=True, kw_only=True)
class Overheard:
    """One exchange, or what was heard of it."""

    outcome: Outcome
    address: int | None  # of whom was asked; None: it was not heard, or cannot be told
    question: bytes | None  # None: it was not heard
    frame: bytes = b""
    decoded: Decoded = field(default_factory=Decoded)


@dataclass(slots=True)
class _Asked:
    """A question, and its answer if there was one."""

    when: float  # monotonic
    address: int | None
    question: bytes
    answer: bytes | None = None
    late: int = 0  # answers that may still come because the master did not wait for them


class Conversation:
    """Follows one line in one protocol."""

    def __init__(self, protocol: PolledProtocol) -> None:
        """Nothing was heard yet."""
        self._protocol = protocol
        self._patience = protocol.timing.first_byte + protocol.timing.answer
        self._splitter: Splitter = protocol.splitter()
        self._heard = 0.0
        self._asked: _Asked | None = None
        self._passed: list[_Asked] = []  # that the master did not wait for; their answers may still come
        self._known: dict[bytes, None] = {}
        self.speaking_to: int | None = None  # address of the last question
        self.last_question: float | None = None  # monotonic
        self.questions = 0
        self.strays = 0  # intact answers that fit no question, or more than one
        self.damaged = 0  # frames
        self.bytes = 0
        self._noise = 0

    @property
    def noise(self) -> int:
        """Bytes that belong to no frame."""
        return self._noise + self._splitter.noise

    def interrupted(self) -> None:
        """The line was closed: what was said meanwhile is not known."""
        self._renew_splitter()
        self._asked = None
        self._passed.clear()

    def hear(self, data: bytes, now: float) -> Iterator[Overheard]:
        """Take in bytes as they came (none, to let time pass); tell what is complete with them."""
        self._passed = [asked for asked in self._passed if now - asked.when <= self._patience]
        if self._asked is not None and now - self._asked.when > self._patience:
            yield from self._given_up()
            self._asked = None
        if not data:
            return
        if now - self._heard > _PAUSE and self._splitter.pending is not None:
            self._renew_splitter()
        self._heard = now
        self.bytes += len(data)
        for frame in self._splitter.feed(data):
            yield from self._sort(frame, now)

    def _renew_splitter(self) -> None:
        self._noise += self._splitter.noise
        self._splitter = self._protocol.splitter()

    def _given_up(self) -> Iterator[Overheard]:
        """Nothing more is expected of the last question."""
        if (asked := self._asked) is not None and asked.answer is None:
            yield Overheard(outcome=Outcome.SILENT, address=asked.address, question=asked.question)

    def _sort(self, frame: bytes, now: float) -> Iterator[Overheard]:
        asked = self._asked
        if asked is not None and asked.answer is None and (found := self._answer(asked, frame)) is not None:
            yield found
        elif self._protocol.is_request(frame):
            yield from self._given_up()
            self._ask(frame, now)
        elif asked is not None and asked.answer is not None and (again := self._read(asked, frame)) is not None:
            if asked.answer == frame:
                return
            self.strays += 1
            if asked.late:
                asked.late -= 1
            else:
                yield Overheard(
                    outcome=Outcome.TWICE, address=asked.address, question=asked.question, frame=frame, decoded=again
                )
        else:
            yield from self._stray(frame)

    def _ask(self, question: bytes, now: float) -> None:
        self.questions += 1
        self.last_question = now
        self.speaking_to = address = self._protocol.address_of(question)
        late = 0
        if (before := self._asked) is not None:
            if before.question == question:  # asked again: one answer serves both
                late = before.late + (before.answer is None)
            elif before.answer is None:
                self._passed.append(before)
        self._asked = _Asked(now, address, question, late=late)

    def _answer(self, asked: _Asked, frame: bytes) -> Overheard | None:
        """The exchange that this frame completes; None if it does not answer the last question."""
        try:
            decoded = self._read(asked, frame)
        except RefusedError:
            asked.answer = frame
            return Overheard(outcome=Outcome.REFUSED, address=asked.address, question=asked.question)
        if decoded is None:
            return None
        # A master that did not wait: this may be the late answer to the question before. Nothing in it tells, in
        # Modbus, unless that one is never answered.
        if any(passed.question in self._known and self._fits(passed, frame) for passed in self._passed):
            self.strays += 1
            self._asked = None
            return Overheard(outcome=Outcome.DAMAGED, address=asked.address, question=asked.question)
        asked.answer = frame
        if len(self._known) >= _ANSWERED:
            self._known.clear()
        self._known[asked.question] = None
        return Overheard(
            outcome=Outcome.ANSWERED, address=asked.address, question=asked.question, frame=frame, decoded=decoded
        )

    def _read(self, asked: _Asked, frame: bytes) -> Decoded | None:
        """What this frame says as the answer to a question; None if it is not. Raises RefusedError."""
        if not self._protocol.is_answer(asked.question, frame):
            return None
        try:
            return self._protocol.decode(asked.question, frame)
        except FrameError:
            return None

    def _fits(self, asked: _Asked, frame: bytes) -> bool:
        try:
            return self._read(asked, frame) is not None
        except RefusedError:
            return True

    def _stray(self, frame: bytes) -> Iterator[Overheard]:
        """Neither a question nor the answer to the last one."""
        asked = self._asked
        waiting = asked if asked is not None and asked.answer is None else None
        try:
            decoded = self._protocol.decode(None, frame)
        except FrameError:
            self.damaged += 1
            yield Overheard(
                outcome=Outcome.DAMAGED,
                address=None if waiting is None else waiting.address,
                question=None if waiting is None else waiting.question,
            )
        except RefusedError:
            self.strays += 1
        else:
            if waiting is not None:  # an answer all right, but not of whom was asked: late, or under a wrong address
                self.strays += 1
            else:
                yield Overheard(outcome=Outcome.ANSWERED, address=None, question=None, frame=frame, decoded=decoded)
