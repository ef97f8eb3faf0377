"""Megarevo's frames with identifiers of 29 bits, little endian; answers to an inverter, never sent by themselves.

Source: can.md section 6.13, one open implementation; nobody has captured them.
"""

from typing import Final

from ...can_frame import EXTENDED
from .fields import limit, nothing_if_blank, signed, some, word
from .layout import Layout, LayoutFamily, Number

_BASE: Final = EXTENDED | 0x1F000300
_FORBIDDEN: Final = 2
_STATES: Final = range(3)


def _allowed(name: str, at: int) -> Number:
    """A state of which one value is a prohibition; what it may be else, nobody has written down."""
    return Number(name=name, at=at, code="B", form=lambda raw: raw != _FORBIDDEN if raw in _STATES else None)


class Megarevo(LayoutFamily):
    """See the module."""

    name = "megarevo"
    experimental = True
    layouts = {
        _BASE: Layout(
            word("charge_voltage_limit", 0, 10),
            some("discharge_voltage_limit", 2, 10),
            limit("charge_current_limit", 4),
            limit("discharge_current_limit", 6),
        ),
        _BASE + 1: Layout(
            word("soc", 0), some("soh", 2), word("voltage", 4, 10), signed("current", 6, 10), finish=nothing_if_blank
        ),
        _BASE + 2: Layout(
            word("cell_voltage_max", 0, 1000),
            word("cell_voltage_min", 2, 1000),
            signed("cell_temperature_max", 4, 10),
            signed("cell_temperature_min", 6, 10),
            finish=nothing_if_blank,
        ),
        # the level is one of 0..2 without a cause: no alarm can be made of it
        _BASE + 3: Layout(
            Number(name="warning_level", at=0, code="B", place="info"),
            _allowed("charge_enabled", 1),
            _allowed("discharge_enabled", 2),
        ),
        _BASE + 4: Layout(word("design_capacity", 0, 10), word("remaining_capacity", 2, 10), finish=nothing_if_blank),
    }
