"""Currents in words of 0.01 A, which large banks run over: a signed word at 327.68 A, an unsigned one at 655.36 A.

Source of the words: modbus-rtu.md sections 3.2 and 7. What a battery does beyond them is written nowhere; capacities of the same
unit wrap (section 3.7), other firmware stops at the end of the word. Either way the number is not to be shown.
"""

from typing import Final

_TURN: Final = 655.36  # A
_ENDS: Final = frozenset({0x7FFF, -0x8000})  # of a signed word: what is beyond may have been cut off to it
_END: Final = 0xFFFF
# A per Ah that a bank takes at most: the manuals name 1 at most for lasting currents (pack of 100 Ah: 100 A)
_FASTEST: Final = 1.0

_CHARGING, _DISCHARGING = 2, 3  # bits 0-1 of the status word (section 3.3)
CHARGE_ENABLED, DISCHARGE_ENABLED = 0x40, 0x20  # bits 6 and 5


def plain_current(raw: int, status: int | None, size: float | None) -> float | None:
    """Current in A out of a signed word; None where it has run over.

    `size`: Ah of the bank, None where unknown. What is beyond 327.67 A comes back with the other sign, which the status
    contradicts. What stays possible: beyond 655.36 A (33 kW of a 51.2 V bank) the sign is the right one again.
    """
    if raw in _ENDS:
        return None
    if size is None or size * _FASTEST > _TURN / 2:
        direction = None if status is None else status & 3
        if direction is None or (direction == _CHARGING and raw < 0) or (direction == _DISCHARGING and raw > 0):
            return None
    return raw / 100


def is_cut_off(raw: int) -> bool:
    """Whether an unsigned word is at its end, so that it may stand for anything beyond."""
    return raw == _END


def plain_limit(raw: int, status: int | None, size: float | None, *, allowed: int = CHARGE_ENABLED) -> float | None:
    """Current limit in A out of an unsigned word; None where it may have run over.

    It is certain where a turn of the word more would be beyond what a bank of this `size` (Ah) takes, and where it is 0
    because the bit `allowed` of the status is not set.
    """
    if raw == 0 and status is not None and not status & allowed:
        return 0.0
    if is_cut_off(raw) or size is None or raw / 100 + _TURN <= size * _FASTEST:
        return None
    return raw / 100
