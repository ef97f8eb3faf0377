"""A reading that nobody doubts, and a gate that has seen it."""

from dataclasses import replace

from custom_components.lfp_battery.bms.model import Alarm, Condition, PackState, Severity
from custom_components.lfp_battery.bms.plausibility import Gate, Limits

CELLS = (3.301, 3.303, 3.302, 3.304) * 4
GOOD = PackState(
    address=2,
    voltage=52.84,
    current=-12.3,
    soc=66.0,
    remaining_capacity=66.0,
    full_capacity=100.0,
    cycles=12,
    cell_voltages=CELLS,
    cell_temperatures=(21.0, 22.0, 22.0, 21.5),
    mosfet_temperature=24.0,
    alarms=frozenset(),
    charge_enabled=True,
    discharge_enabled=True,
    charge_voltage_limit=56.8,
    discharge_voltage_limit=46.0,
    charge_current_limit=50.0,
    discharge_current_limit=50.0,
    derived=frozenset({"soc"}),
)
SHORT_CIRCUIT = Alarm(condition=Condition.SHORT_CIRCUIT, severity=Severity.PROTECTION)


def used_to(state: PackState = GOOD, *, weak_check: bool = True, limits: Limits | None = None) -> Gate[PackState]:
    """A gate that has seen this reading and believed it."""
    gate: Gate[PackState] = Gate(limits=limits, weak_check=weak_check)
    gate.admit(state, state)
    return gate


def with_cell(number: int, volts: float | None, state: PackState = GOOD) -> PackState:
    """The reading with one cell changed."""
    assert state.cell_voltages is not None
    cells = list(state.cell_voltages)
    cells[number - 1] = volts
    return replace(state, cell_voltages=tuple(cells))
