"""Which of the last questions still wait for their answer, and which of them a late or a second answer belongs to."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from ..clock import Clock
from ..errors import FrameError, RefusedError
from ..protocols.base import Integrity, PolledProtocol
from .overhearing import LATE

# A second answer to one question comes within this time after the first, in seconds.
SECOND = 2.0


@dataclass(slots=True)
class _Asked:
    """One of the last questions, and what it was answered with."""

    when: float  # monotonic; of the answer once there is one
    protocol: PolledProtocol
    question: bytes
    answer: bytes | None  # None: it may still come; empty: it came damaged, or never comes

    def answered_late(self, frame: bytes, now: float) -> None:
        """Its answer has come, and is no yardstick for another one."""
        self.answer, self.when = frame, now - SECOND


class LateAnswers:
    """What was asked on one line lately, and what of it is still owed."""

    def __init__(self, clock: Clock) -> None:
        """Nothing was asked yet."""
        self._clock = clock
        self._asked: deque[_Asked] = deque(maxlen=64)
        self._ever: set[bytes] = set()  # questions that were answered on this line, if late
        self._missed: dict[bytes, float] = {}  # ... that were not, and when for the first time, monotonic
        self._either: bytes | None = None  # to which the last answer was that may have been another's
        self._in_time: dict[int | None, float] = {}  # when somebody last answered in time, by address, monotonic

    def opened(self) -> None:
        """The line may be another one: who answers on it must show again."""
        self._ever.clear()
        self._missed.clear()
        self._in_time.clear()

    @property
    def owed_until(self) -> float | None:
        """When the last answer that may still come is too late, monotonic; None: no answer is owed."""
        return max((debt.when + LATE for debt in self._debts()), default=None)

    def asked(self, protocol: PolledProtocol, question: bytes, answer: bytes | None, *, damaged: bool) -> None:
        """Remember a question and what came of it; `damaged`: an answer did come, but failed its check."""
        # what came damaged has come; where more than one answer is awaited, nobody knows which it was
        came = damaged and self.owed_until is None
        ignored = self._note(protocol, question, answer)
        known = b"" if answer is None and (came or ignored) else answer
        self._asked.append(_Asked(self._clock.monotonic(), protocol, question, known))

    def takes(self, request: bytes | None, frame: bytes, *, refusal: bool) -> bool:
        """Whether this answers an earlier question that still waits; if so, that one has its answer.

        With `request`: whether it may do so, and answers that one as well.
        """
        for debt in self._debts():
            # where others may ask the same it is never certain whose an answer is; on a link of our own it can be told
            if debt.question == request and not debt.protocol.alone:
                continue
            if not debt.protocol.is_answer(debt.question, frame):
                continue
            # what a CRC proves and has the right length is believed; elsewhere the form also tells what was asked
            whole = request is None or refusal or debt.protocol.integrity is Integrity.CRC
            if whole or reads(debt.protocol, debt.question, frame):
                if request is not None:
                    self._either = debt.question
                elif reads(debt.protocol, debt.question, frame):  # a refusal may be another question's
                    self._ever.add(debt.question)
                debt.answered_late(frame, self._clock.monotonic())
                return True
        return False

    def give_up(self, question: bytes) -> None:
        """Whatever is owed to this question does not come any more."""
        for asked in self._asked:
            if asked.question == question and asked.answer is None:
                asked.answer = b""

    def both_came(self) -> None:
        """Besides the answer that may have been another's came one more: one of them was its own."""
        if self._either is not None:
            self._ever.add(self._either)

    def second(self, frame: bytes) -> bytes | None:
        """The question that this intact frame answers a second time and otherwise; None: it is a late answer, or none."""
        now = self._clock.monotonic()
        fitting = [
            asked
            for asked in reversed(self._asked)
            if now - asked.when <= LATE and asked.protocol.is_answer(asked.question, frame)
        ]
        for asked in fitting:
            if not asked.answer:
                if reads(asked.protocol, asked.question, frame):
                    self._ever.add(asked.question)
                asked.answered_late(frame, now)
                return None
        for asked in fitting:
            if now - asked.when > SECOND or asked.answer == frame:
                return None
            return asked.question if reads(asked.protocol, asked.question, frame) else None
        return None

    def _note(self, protocol: PolledProtocol, question: bytes, answer: bytes | None) -> bool:
        """Remember whether it was answered; whether nothing is owed: missed before, and others in time since."""
        now, address = self._clock.monotonic(), protocol.address_of(question)
        if answer is not None:
            self._ever.add(question)
            self._in_time[address] = now
            return False
        first = self._missed.setdefault(question, now)
        return question not in self._ever and self._in_time.get(address, first) > first

    def _debts(self) -> Iterator[_Asked]:
        """Questions whose answer may still come."""
        now = self._clock.monotonic()
        return (asked for asked in self._asked if asked.answer is None and now - asked.when <= LATE)


def reads(protocol: PolledProtocol, question: bytes, frame: bytes) -> bool:
    """Whether the frame holds what an answer to the question holds."""
    try:
        protocol.decode(question, frame)
    except FrameError, RefusedError:
        return False
    return True
