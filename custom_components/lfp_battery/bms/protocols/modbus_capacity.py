"""Capacities in words of 0.01 Ah, which in banks run over at 655.36 Ah.

Source: modbus-rtu.md section 3.7, verified there on two banks of 3 x 280 Ah.
"""

from typing import Final

_TOLERANCE: Final = 3.0  # % between SOC and the share that two capacities make
_CLEARLY: Final = 0.5  # % by which one reading must fit better than another
_TURN: Final = 0x10000  # 0.01 Ah

type Capacities = tuple[float | None, float | None]  # remaining and full, Ah


def _misfit(soc: int, remaining: int, full: int) -> float:
    """How far SOC is from what two capacities make, in %."""
    return abs(100 * remaining / full - soc) if full >= remaining and full else 100.0


def as_they_stand(soc: int | None, remaining: int, full: int) -> Capacities:
    """Both words, if SOC says that they have not run over; else nothing.

    Near 100 % and near 0 % a bank whose words have run over once makes the same share; then nothing is known. (Beyond
    1310 Ah such a bank can also pass halfway: only the number of packs settles that.)
    """
    if soc is None:
        return None, None
    plain = _misfit(soc, remaining, full)
    over = min(_misfit(soc, remaining + turn, full + _TURN) for turn in (0, _TURN))
    if plain > _TOLERANCE or over < plain + _CLEARLY:
        return None, None
    return remaining / 100, full / 100


def unwrapped(expected: float, soc: int | None, remaining: int, full: int) -> Capacities:
    """The full capacity nearest to what is expected (Ah), and the remaining one that SOC asks for; else nothing.

    A bank that has lost more than 327 Ah of what is expected cannot be told from a larger one.
    """
    turns = max(round((expected * 100 - full) / _TURN), 0)
    full += turns * _TURN
    if soc is None or not full:
        return None, full / 100 or None
    remaining = min((remaining + turn * _TURN for turn in range(turns + 1)), key=lambda n: _misfit(soc, n, full))
    return (None, None) if _misfit(soc, remaining, full) > _TOLERANCE else (remaining / 100, full / 100)
