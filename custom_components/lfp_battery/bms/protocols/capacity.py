"""Capacities in words of 0.01 Ah, which in banks run over at 655.36 Ah.

Source: modbus-rtu.md section 3.7, verified there on two banks of 3 x 280 Ah.
"""

from collections.abc import Iterator
from typing import Final

_TOLERANCE: Final = 3.0  # % between SOC and the share that two capacities make
_CLEARLY: Final = 0.5  # % by which one reading must fit better than another
_TURN: Final = 0x10000  # 0.01 Ah
_END: Final = _TURN - 1  # firmware that does not wrap stops here: the capacity is this or more
_MOST_TURNS: Final = 8  # 16 packs of 314 Ah have run over seven times
_CUT_OFF: Final = 1.0  # % by which the share is above a SOC that is not rounded
_NEARLY_FULL: Final = 99  # %

type Capacities = tuple[float | None, float | None]  # remaining and full, Ah
type Words = tuple[int, int]  # the same in 0.01 Ah


def _misfit(soc: int, remaining: int, full: int) -> float:
    """How far SOC is from what two capacities make, in %."""
    return abs(100 * remaining / full - soc) if full >= remaining and full else 100.0


def as_they_stand(soc: int | None, remaining: int, full: int, most: float | None = None) -> Capacities:
    """Both words, if SOC says that they have not run over; else nothing. The bank has `most` Ah, or less.

    At about half of all SOCs, 0, 50 and 100 % among them, some larger bank makes the same share: then nothing is known,
    and only the number of packs settles it. What stays possible: a bank that has run over and cuts its SOC off to 99 %
    cannot be told from one of 400 Ah that is captured with 396 Ah.
    """
    if soc is None or full == _END:
        return None, None
    plain = _misfit(soc, remaining, full)
    if plain > _TOLERANCE or any(
        _fits(soc, plain, *over) for over in _run_over(remaining, full) if most is None or over[1] <= 100 * most
    ):
        return None, None
    return remaining / 100, full / 100


def _run_over(remaining: int, full: int) -> Iterator[Words]:
    """What the two words may stand for if at least the full capacity has run over."""
    for turns in range(1, _MOST_TURNS + 1):
        for turn in range(turns + 1):
            yield remaining + turn * _TURN, full + turns * _TURN


def _fits(soc: int, plain: float, remaining: int, full: int) -> bool:
    """Whether this reading is about as likely as the plain one, for a SOC that is rounded or cut off."""
    if remaining > full:
        return False
    above = 100 * remaining / full - soc
    return abs(above) <= plain + _CLEARLY or (soc != _NEARLY_FULL and -_CLEARLY <= above <= _CUT_OFF)


def unwrapped(expected: float, soc: int | None, remaining: int, full: int) -> Capacities:
    """The full capacity nearest to what is expected (Ah), and the remaining one that SOC asks for; else nothing.

    A bank that has lost more than 327 Ah of what is expected cannot be told from a larger one.
    """
    if full == _END:
        return None, None
    turns = max(round((expected * 100 - full) / _TURN), 0)
    full += turns * _TURN
    if soc is None or not full:
        return None, full / 100 or None
    remaining = min((remaining + turn * _TURN for turn in range(turns + 1)), key=lambda n: _misfit(soc, n, full))
    return (None, None) if _misfit(soc, remaining, full) > _TOLERANCE else (remaining / 100, full / 100)
