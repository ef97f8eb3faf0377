"""Two packs that are set to one address: told by what no single pack can do, and believed only when it repeats."""

from collections import deque

# Two answers to one question: so many times within so many seconds.
_DOUBLE, _DOUBLE_SECONDS = 2, 300.0
# Damaged answers, of one address only: at least half of so many questions.
_LEAST_QUESTIONS, _QUESTIONS = 8, 16
# Neighbours are clean when no more than this share of their last answers is damaged; else the line is bad for all. With
# two of five damaged, so few of the last 16 to 32 are once in thousands.
_REMEMBERED, _CLEAN_SHARE = 32, 1 / 16
# A serial number that another one had replaced is back within this time, in seconds.
_FLIP_SECONDS = 3600.0
# While two packs answer, the address is asked this often, in seconds, and must be clean so many times in a row.
_ASK_AGAIN, _CLEAN_READINGS = 30.0, 5


class Doubts:
    """What speaks against there being only one pack at an address."""

    __slots__ = ("_clean", "_damaged", "_double", "_serials", "_tainted", "conflict")

    def __init__(self) -> None:
        """Nothing so far."""
        self.conflict = False
        self._double: deque[float] = deque(maxlen=_DOUBLE)
        self._damaged: deque[bool] = deque(maxlen=_REMEMBERED)
        self._serials: deque[tuple[float, str]] = deque(maxlen=3)
        self._tainted = False
        self._clean = 0

    def begin(self) -> None:
        """A new reading, with nothing against it."""
        self._tainted = False

    @property
    def tainted(self) -> bool:
        """Whether this reading may hold what two packs said."""
        return self._tainted

    def answered_twice(self, now: float) -> None:
        """One question got two answers."""
        self._double.append(now)
        self._tainted = True
        self._clean = 0

    def asked(self, *, damaged: bool, crowded: bool = False) -> None:
        """A question was answered, with what can be read or not; silence says nothing of twins.

        `crowded`: the answer was not alone, so that it may not be the one pack's that the others were.
        """
        self._damaged.append(damaged or crowded)
        self._tainted |= crowded or (damaged and self.conflict)

    def said(self, serial: str, now: float) -> None:
        """The pack told its serial number."""
        if self._serials and self._serials[-1][1] == serial:
            self._serials[-1] = (now, serial)
            return
        if self._serials and self.conflict:
            self._tainted = True
        self._serials.append((now, serial))

    def clean(self) -> bool:
        """Whether this address answers without damage."""
        return sum(self._damaged) <= _CLEAN_SHARE * len(self._damaged)

    @property
    def known(self) -> bool:
        """Whether there were enough answers to call it clean or not."""
        return len(self._damaged) >= _QUESTIONS

    def arise(self, now: float, *, others_clean: bool) -> bool:
        """Whether this is where a conflict is first seen; `others_clean`: packs beside it answer without damage."""
        if self.conflict:
            return False
        double = len(self._double) == _DOUBLE and now - self._double[0] <= _DOUBLE_SECONDS
        last = list(self._damaged)[-_QUESTIONS:]
        broken = others_clean and len(last) >= _LEAST_QUESTIONS and 2 * sum(last) >= len(last)
        flips = (
            len(self._serials) == 3
            and self._serials[0][1] == self._serials[2][1]
            and now - self._serials[0][0] <= _FLIP_SECONDS
        )
        self.conflict = double or broken or flips
        self._clean = 0
        return self.conflict

    def settle(self, *, whole: bool) -> bool:
        """A reading during a conflict is over; whether it was the last that was needed to believe in one pack again."""
        self._clean = self._clean + 1 if whole and not self._tainted else 0
        if self._clean < _CLEAN_READINGS:
            return False
        self.conflict = False
        self._double.clear()
        self._damaged.clear()
        self._serials.clear()
        return True

    @staticmethod
    def ask_again(now: float) -> float:
        """When an address that two packs share is asked next."""
        return now + _ASK_AGAIN
