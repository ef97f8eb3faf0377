"""What one answer of the text console proves of itself. No checksum protects it, so nothing else does.

Source: pytes-console.md sections 5 to 7. What takes two answers (the cells against the pack's voltage, one reading
against the last) is looked at where answers come together, in `physics`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ...model import Mode, PackState, power_of

_CELL: Final = (0.5, 5.0)  # V, what a cell is believed (section 7)
_CELLS: Final = range(4, 25)  # in series
# Pack and cells are not measured at the same moment: 14 captured rows agree to 0.01 V at rest and under steady load.
_SKEW: Final = 0.5  # V
_SWAYING: Final = 0.5  # A; below it the state word and the sign may disagree for a moment
_FULL: Final = (0.3, 1.2)  # of the design capacity: what a worn and a new pack can hold
_IMPLIED: Final = (5.0, 1000.0)  # Ah: capacity of a pack by its charge and its share of charge
_LEAST_SHARE: Final = 5.0  # %; below it the quotient says nothing


def _is_cell(voltage: float | None) -> bool:
    return voltage is not None and _CELL[0] <= voltage <= _CELL[1]


def checked(state: PackState) -> PackState:
    """The state without what contradicts itself; with the power, which no console prints."""
    values: dict[str, Any] = {}
    for check in (_cells, _extremes, _temperatures, _direction, _share, _capacities):
        values |= dict.fromkeys(check(state))
    state = replace(state, **values)
    power = power_of(state.voltage, state.current)
    trusted = state.cell_voltages
    if trusted is not None and not all(map(_is_cell, trusted)):
        trusted = tuple(cell if _is_cell(cell) else None for cell in trusted)
        trusted = trusted if any(cell is not None for cell in trusted) else None
    derived = frozenset({"power"}) if power is not None else frozenset[str]()
    return replace(state, cell_voltages=trusted, power=power, derived=derived)


_LOW: Final = ("cell_voltage_min", "cell_voltage_min_cell")
_HIGH: Final = ("cell_voltage_max", "cell_voltage_max_cell")


def _cells(state: PackState) -> tuple[str, ...]:
    """An extreme that no cell has."""
    low = _LOW if state.cell_voltage_min is not None and not _is_cell(state.cell_voltage_min) else ()
    high = _HIGH if state.cell_voltage_max is not None and not _is_cell(state.cell_voltage_max) else ()
    return (*low, *high)


def _extremes(state: PackState) -> tuple[str, ...]:
    """The lowest is not above the highest, and as many cells in series as a pack has make its voltage."""
    low, high, voltage = state.cell_voltage_min, state.cell_voltage_max, state.voltage
    if low is None or high is None:
        return ()
    if low > high:
        return (*_LOW, *_HIGH)
    if voltage is None or any(count * low - _SKEW <= voltage <= count * high + _SKEW for count in _CELLS):
        return ()
    return ("voltage", *_LOW, *_HIGH)


def _temperatures(state: PackState) -> tuple[str, ...]:
    """The lowest is not above the highest."""
    low, high = state.cell_temperature_min, state.cell_temperature_max
    return (
        ("cell_temperature_min", "cell_temperature_max") if low is not None and high is not None and low > high else ()
    )


_SIGNS: Final[Mapping[Mode, int]] = {Mode.CHARGING: 1, Mode.DISCHARGING: -1}


def _direction(state: PackState) -> tuple[str, ...]:
    """A pack that says it is charging has no current that discharges it: a sign is one character."""
    if state.current is None or state.mode is None or (sign := _SIGNS.get(state.mode)) is None:
        return ()
    return ("current", "mode") if state.current * sign < -_SWAYING else ()


def _share(state: PackState) -> tuple[str, ...]:
    """A share of charge is one."""
    return ("soc",) if state.soc is not None and not 0 <= state.soc <= 100 else ()


def _capacities(state: PackState) -> tuple[str, ...]:
    """What a pack can hold against what it is built for, and its charge against its share of charge."""
    full, design, remaining = state.full_capacity, state.design_capacity, state.remaining_capacity
    if full is not None and design is not None and not _FULL[0] * design <= full <= _FULL[1] * design:
        return ("full_capacity", "design_capacity")
    if remaining is None or state.soc is None:
        return ()
    if state.soc >= _LEAST_SHARE and not _IMPLIED[0] <= 100 * remaining / state.soc <= _IMPLIED[1]:
        return ("soc", "remaining_capacity")
    return ()
