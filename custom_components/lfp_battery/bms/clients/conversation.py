"""What a master and packs say to each other, as a third party hears it: which answer belongs to which question.

Bytes in, exchanges out. Direction is told by content and by time: what fits a question that was just asked is its
answer, what has the form of a question is one.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from ..errors import FrameError, RefusedError
from ..protocols.base import Decoded, PolledProtocol, Splitter

# Bytes further apart than this are not of one frame, in seconds; gateways and adapters hold bytes back for less.
_PAUSE = 1.0
# Questions whose answers may still be under way, and questions that are remembered as having been answered at all.
_PENDING, _ANSWERED = 16, 512


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
        self._asked: deque[_Asked] = deque(maxlen=_PENDING)
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
        self._asked.clear()

    def hear(self, data: bytes, now: float) -> Iterator[Overheard]:
        """Take in bytes as they came (none, to let time pass); tell what is complete with them."""
        yield from self._given_up(now)
        if not data:
            return
        if now - self._heard > _PAUSE and self._splitter.pending is not None:
            self._renew_splitter()
        self._heard = now
        self.bytes += len(data)
        for frame in self._splitter.feed(data):
            if (overheard := self._sort(frame, now)) is not None:
                yield overheard

    def _renew_splitter(self) -> None:
        self._noise += self._splitter.noise
        self._splitter = self._protocol.splitter()

    def _given_up(self, now: float) -> Iterator[Overheard]:
        while self._asked and now - self._asked[0].when > self._patience:
            asked = self._asked.popleft()
            if asked.answer is None:
                yield Overheard(outcome=Outcome.SILENT, address=asked.address, question=asked.question)

    def _sort(self, frame: bytes, now: float) -> Overheard | None:
        waiting = [asked for asked in reversed(self._asked) if asked.answer is None]
        if found := self._answer(frame, waiting):
            return found
        if self._protocol.is_request(frame):
            self._ask(frame, now)
            return None
        answered = [asked for asked in reversed(self._asked) if asked.answer is not None]
        for asked in answered:
            if (again := self._read(asked, frame)) is None:
                continue
            if asked.answer == frame:
                return None
            self.strays += 1
            if asked.late:
                asked.late -= 1
                return None
            return Overheard(
                outcome=Outcome.TWICE, address=asked.address, question=asked.question, frame=frame, decoded=again
            )
        try:
            decoded = self._protocol.decode(None, frame)
        except FrameError:
            self.damaged += 1
            address = waiting[0].address if waiting else None
            question = waiting[0].question if waiting else None
            return Overheard(outcome=Outcome.DAMAGED, address=address, question=question)
        except RefusedError:
            self.strays += 1
            return None
        if waiting:  # an answer all right, but not of whom was asked: late, or under a wrong address
            self.strays += 1
            return None
        return Overheard(outcome=Outcome.ANSWERED, address=None, question=None, frame=frame, decoded=decoded)

    def _ask(self, question: bytes, now: float) -> None:
        self.questions += 1
        self.last_question = now
        self.speaking_to = address = self._protocol.address_of(question)
        late = 0
        for asked in tuple(self._asked):
            if asked.question == question:  # asked again: one answer serves both
                self._asked.remove(asked)
                late = asked.late + (asked.answer is None)
        self._asked.append(_Asked(now, address, question, late=late))

    def _answer(self, frame: bytes, waiting: list[_Asked]) -> Overheard | None:
        """The exchange that this frame completes; None if it fits nothing that waits for an answer."""
        fitting: list[tuple[_Asked, Decoded | None]] = []
        for asked in waiting:
            try:
                decoded = self._read(asked, frame)
            except RefusedError:
                fitting.append((asked, None))
                break  # names no question: the last one that it fits
            if decoded is not None:
                fitting.append((asked, decoded))
        if len(fitting) > 1:
            # A master that did not wait: the answer may be a late one to the question before. Nothing in it tells
            # (Modbus) unless one of the two is never answered.
            fitting = [fit for fit in fitting if fit[0].question in self._known] or fitting[:1]
        if not fitting:
            return None
        asked, decoded = fitting[0]
        if len(fitting) > 1:
            self.strays += 1
            for one, _ in fitting:
                self._asked.remove(one)
            return Overheard(outcome=Outcome.DAMAGED, address=asked.address, question=asked.question)
        asked.answer = frame
        if decoded is None:
            return Overheard(outcome=Outcome.REFUSED, address=asked.address, question=asked.question)
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
