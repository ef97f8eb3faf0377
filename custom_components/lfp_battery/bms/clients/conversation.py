"""What a master and packs say to each other, as a third party hears it: which answer belongs to which question.

Bytes in, exchanges out. Direction is told by content and by time: what fits the question that was asked last is its
answer, what has the form of a question is one. An answer that comes after the next question is lost, to the master as
well.

Frames get lost on the way to a listener that reach whom they are meant for. Few answers name their question, so one is
believed only when no other question can have been meant: it comes as promptly as usual, and well before the master
would have asked the next.
"""

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum

from ..errors import FrameError, RefusedError
from ..protocols.base import Decoded, Integrity, PolledProtocol, Splitter

# Bytes further apart than this are not of one frame, in seconds; gateways and adapters hold bytes back for less.
_PAUSE = 1.0
# Questions of which anything is remembered.
_REMEMBERED = 512
# A question that was asked so often without an answer is not expected to get one, late.
_IGNORED = 4
# From a question to its answer's first byte, in seconds, while the line's own turn-round is not known: replies within
# 0.2 s are what Modbus packs promise (modbus-rtu.md section 2), and adapters add to it.
_PROMPT = 0.3
# ... and beyond twice the usual turn-round, in seconds, once it is.
_SLACK = 0.15
# Share of the usual time to the master's next question after which what comes may answer that one; its answer takes as
# long as answers do, so that of a master who asks back to back it is this share, counted from the quickest of them.
_PACE, _BACK_TO_BACK = 0.9, 0.5
# A second pack at the same address answers the same question within this time, in seconds.
_SECOND = 2.0
# Observations without which nothing is called usual: of one question, and of the line.
_OWN, _LINE = 2, 4
_BITS_PER_BYTE = 10


class Outcome(Enum):
    """What came of an overheard question."""

    ANSWERED = "answered"
    REFUSED = "refused"
    SILENT = "silent"
    DAMAGED = "damaged"
    UNSURE = "unsure"  # an answer that may belong to another question
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
    unsure: bool = False  # whether the answer may be another question's


@dataclass(slots=True)
class _Habit:
    """What is usual for one question; in seconds."""

    asked: int = 0  # times
    answered: bool = False  # ever
    turns: deque[float] = field(default_factory=lambda: deque(maxlen=8))  # to the first byte of what may answer it
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=8))  # to the next question that was heard

    @property
    def ignored(self) -> bool:
        """Whether nobody answers it."""
        return self.asked >= _IGNORED and not self.answered


class Conversation:
    """Follows one line in one protocol."""

    def __init__(self, protocol: PolledProtocol, *, baudrate: int = 9600) -> None:
        """Nothing was heard yet."""
        self._protocol = protocol
        self._byte_time = _BITS_PER_BYTE / baudrate
        self._patience = protocol.timing.first_byte + protocol.timing.answer
        self._splitter: Splitter = protocol.splitter()
        self._heard = 0.0
        self._asked: _Asked | None = None
        self._passed: list[_Asked] = []  # that the master did not wait for; their answers may still come
        self._habits: dict[bytes, _Habit] = {}
        self._turns: deque[float] = deque(maxlen=64)  # of all questions
        self._gaps: deque[float] = deque(maxlen=64)
        self._before: tuple[float, bytes] | None = None  # when the last question was heard, monotonic
        self.speaking_to: int | None = None  # address of the last question
        self.last_question: float | None = None  # monotonic
        self.questions = 0
        self.strays = 0  # intact answers that fit no question, or may fit more than one
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
        self._asked = self._before = None
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
        if asked is not None and asked.answer is None and (found := self._answer(asked, frame, now)) is not None:
            yield found
        elif self._protocol.is_request(frame):
            yield from self._given_up()
            self._ask(frame, now)
        elif asked is not None and asked.answer is not None and (again := self._again(asked, frame)) is not None:
            if asked.answer == frame:
                return
            self.strays += 1
            for passed in self._passed:
                if self._fits(passed.question, frame):
                    self._habit(passed.question).answered = True  # too late for its master
            if asked.late:
                asked.late -= 1
            elif not asked.unsure and self._is_second(asked, frame, now):
                yield Overheard(
                    outcome=Outcome.TWICE, address=asked.address, question=asked.question, frame=frame, decoded=again
                )
        else:
            yield from self._stray(frame)

    def _ask(self, question: bytes, now: float) -> None:
        self.questions += 1
        self.last_question = now
        self.speaking_to = address = self._protocol.address_of(question)
        if self._before is not None:
            gap = now - self._before[0]
            self._gaps.append(gap)
            self._habit(self._before[1]).gaps.append(gap)
        self._before = now, question
        self._habit(question).asked += 1
        late = 0
        if (before := self._asked) is not None:
            if before.question == question:  # asked again: one answer serves both
                late = before.late + (before.answer is None)
            elif before.answer is None:
                self._passed.append(before)
        self._asked = _Asked(now, address, question, late=late)

    def _answer(self, asked: _Asked, frame: bytes, now: float) -> Overheard | None:
        """The exchange that this frame completes; None if it does not answer the last question."""
        turn = self._turn(asked, frame, now)
        habit = self._habit(asked.question)
        late = turn > self._patience_for(habit)
        if late and self._protocol.is_request(frame):
            return None  # an answer of one register may look like a question for one
        try:
            decoded = self._read(asked.question, frame)
        except RefusedError:
            asked.answer = frame
            asked.unsure = True  # it names no question: what comes after it may be the first answer to this one
            return Overheard(outcome=Outcome.REFUSED, address=asked.address, question=asked.question)
        if decoded is None:
            return None
        habit.turns.append(turn)
        self._turns.append(turn)
        asked.answer = frame
        asked.unsure = self._is_unsure(asked, frame, late=late)
        if asked.unsure:
            self.strays += 1
            return Overheard(outcome=Outcome.UNSURE, address=asked.address, question=asked.question)
        habit.answered = True
        return Overheard(
            outcome=Outcome.ANSWERED, address=asked.address, question=asked.question, frame=frame, decoded=decoded
        )

    # --- which question an answer belongs to -------------------------------------------------------------------------

    def _habit(self, question: bytes) -> _Habit:
        if (habit := self._habits.get(question)) is None:
            if len(self._habits) >= _REMEMBERED:
                self._habits.clear()
            habit = self._habits[question] = _Habit()
        return habit

    def _turn(self, asked: _Asked, frame: bytes, now: float) -> float:
        """Seconds from a question to the first byte of a frame that is complete now."""
        return max(now - asked.when - len(frame) * self._byte_time, 0.0)

    def _patience_for(self, habit: _Habit) -> float:
        """How soon after its question an answer is certainly its own, in seconds."""
        turns = habit.turns if len(habit.turns) >= _OWN else self._turns if len(self._turns) >= _LINE else ()
        usual = 2 * _median(turns) + _SLACK if turns else _PROMPT
        if (gap := self._gap(habit)) is None:
            return usual
        quickest = sorted(self._turns)[1] if len(self._turns) >= _LINE else 0.0  # ... one may have been held back
        return min(usual, max(_PACE * gap, _BACK_TO_BACK * gap + quickest))

    def _gap(self, habit: _Habit) -> float | None:
        """Seconds after a question in which its master has never yet asked the next; None: not known."""
        if len(self._gaps) < _LINE:
            return None
        gaps = sorted(habit.gaps)
        if len(gaps) >= _LINE:
            return gaps[1]  # what a gateway has held back makes one too short
        return min([*gaps, _median(self._gaps)])  # a question that was not heard makes one too long

    def _is_unsure(self, asked: _Asked, frame: bytes, *, late: bool) -> bool:
        """Whether this answer to the last question may belong to an earlier one, or to one that was not heard."""
        # A master that did not wait: nothing in most answers tells whose they are, but for a question nobody answers.
        if any(not self._habit(one.question).ignored and self._fits(one.question, frame) for one in self._passed):
            return True
        if not late:
            return False
        return self._protocol.integrity is Integrity.CRC or any(
            other != asked.question and self._fits(other, frame) for other in self._habits
        )

    def _is_second(self, asked: _Asked, frame: bytes, now: float) -> bool:
        """Whether another answer is to the same question, and not to one that was not heard."""
        gap = self._gap(self._habit(asked.question))
        return gap is not None and self._turn(asked, frame, now) < min(_PACE * gap, _SECOND)

    def _read(self, question: bytes, frame: bytes) -> Decoded | None:
        """What this frame says as the answer to a question; None if it is not. Raises RefusedError."""
        if not self._protocol.is_answer(question, frame):
            return None
        try:
            return self._protocol.decode(question, frame)
        except FrameError:
            return None

    def _again(self, asked: _Asked, frame: bytes) -> Decoded | None:
        """What this frame says as another answer; None if it is not, or refuses what was answered before."""
        try:
            return self._read(asked.question, frame)
        except RefusedError:
            return None

    def _fits(self, question: bytes, frame: bytes) -> bool:
        try:
            return self._read(question, frame) is not None
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


def _median(values: Collection[float]) -> float:
    return sorted(values)[len(values) // 2]
