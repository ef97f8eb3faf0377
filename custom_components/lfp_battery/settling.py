"""When a bank can be spoken of: not while it shows only which of its packs were asked first. Pure."""

from collections.abc import Collection

# What an answer may come later than half a cycle after its turn, in seconds, before the turn counts as missed.
_LATE = 2.0
# Younger than so many seconds a reading may be added up with those of other packs although one turn was missed since:
# a damaged frame is no reason to know no total.
_OLDEST_PART = 30.0
# Rounds, and seconds at least, for which the state of charge of a bank stands while its packs go.
_ROUNDS_KEPT, _KEPT = 3, 30.0
# Where nobody is asked a pack that was not heard for so many seconds is not there: masters ask for each more often.
_LISTENED = 60.0


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
        self._losing: float | None = None  # since when (monotonic) packs go, as when all fall asleep at the same time
        self._came = self._went = False  # in this round
        self._last_came = self._last_went = float("-inf")  # monotonic
        self._tried: set[int] = set()  # addresses that were asked in vain since the first pack came

    def came(self, now: float) -> None:
        """A pack answers that did not."""
        self._came, self._last_came = True, now

    def went(self, now: float) -> None:
        """A pack does not answer any more."""
        self._went, self._last_went = True, now
        if self.settled and self._losing is None:
            self._losing = now

    def upset(self) -> None:
        """Nobody answers, or whoever does may do so on another line."""
        self.settled = self._came = self._went = False
        self._losing = None
        self._tried.clear()

    def losing(self, now: float, seconds: float) -> bool:
        """Whether more packs may be about to go; a round takes so many seconds. Not for ever, whatever comes and goes."""
        return self._losing is not None and now - self._losing < max(_ROUNDS_KEPT * seconds, _KEPT)

    def all_heard(self) -> None:
        """Everybody who is asked was heard since it was upset."""
        self.settled = True
        self._losing = None

    def asked_in_vain(self, address: int, missing: Collection[int]) -> None:
        """A pack was asked by itself and did not answer."""
        self._tried.add(address)
        if self._tried.issuperset(missing):
            self.settled = True

    def round_over(
        self, now: float, seconds: float, *, missing: Collection[int], silent: Collection[int] | None
    ) -> None:
        """A round of so many seconds (0: not known) is over; `silent` of those that are `missing` were asked in it.

        None: nobody is asked.
        """
        quiet = now - self._last_came
        if silent is not None:
            self._tried.update(silent)
        elif quiet >= _LISTENED:
            self._tried.update(missing)
        if not self._came and 0 < seconds <= quiet and self._tried.issuperset(missing):
            self.settled = True
        if not self._went and now - self._last_went >= seconds:
            self._losing = None
        self._came = self._went = False
