"""When a bank can be spoken of: not while it shows only which of its packs were asked first. Pure."""

from collections.abc import Collection

# What an answer may come later than half a cycle after its turn, in seconds, before the turn counts as missed.
_LATE = 2.0
# Younger than so many seconds a reading may be added up with those of other packs although one turn was missed since:
# a damaged frame is no reason to know no total.
_OLDEST_PART = 30.0


def turn_missed(cycle: float) -> float:
    """Seconds after which an answer is older than it would be if no turn had been missed; each comes after `cycle`."""
    return 1.5 * cycle + _LATE


def past_adding(cycle: float) -> float:
    """Seconds after which a reading is no part of a total any more: with newer ones it adds up to what never was."""
    return max(turn_missed(cycle), min(2.5 * cycle + _LATE, _OLDEST_PART))


def too_far_apart(seconds: float) -> float:
    """Seconds between two answers after which they are not of one moment, where a round takes so many."""
    return max(turn_missed(seconds), _OLDEST_PART)


class Settling:
    """Whether it is known which packs of a bank answer.

    From the start, from a lost link, and from when none answered any more, it is not: whoever is asked first would
    stand for all. It is known when all answer, or when none came for a round and all that are missing were asked.
    """

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self.settled = False
        self.losing = False  # a pack went; more may go, as when all fall asleep at the same time
        self._came = self._went = False  # in this round
        self._last_came = self._last_went = float("-inf")  # monotonic
        self._tried: set[int] = set()  # addresses that were asked in vain since the first pack came

    def came(self, now: float) -> None:
        """A pack answers that did not."""
        self._came, self._last_came = True, now

    def went(self, now: float) -> None:
        """A pack does not answer any more."""
        self._went, self._last_went = True, now
        self.losing = self.settled

    def upset(self) -> None:
        """Nobody answers, or whoever does may do so on another line."""
        self.settled = self.losing = self._came = self._went = False
        self._tried.clear()

    def all_heard(self) -> None:
        """Everybody who is asked was heard since it was upset."""
        self.settled = True

    def round_over(self, now: float, seconds: float, *, missing: Collection[int], silent: Collection[int]) -> None:
        """A round of so many seconds (0: not known) is over; `silent` of those that are `missing` were asked in it."""
        self._tried.update(silent)
        if not self._came and 0 < seconds <= now - self._last_came and self._tried.issuperset(missing):
            self.settled = True
        if not self._went and now - self._last_went >= seconds:
            self.losing = False
        self._came = self._went = False
