"""What the entities of a simulated pack must show, worked out from the bytes that it sent and nothing else."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tests.simulator.ledger import Sent

type Values = Mapping[str, Any]

ANALOG, ALARMS, LIMITS = 0x42, 0x44, 0x92


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One entity of a pack: which answer it comes from, and how."""

    command: int
    value: Callable[[Values], Any]
    tolerance: float = 0.0  # half of the last digit that the entity shows
    attribute: str | None = None  # instead of the state


# By the last part of the entity's unique id
EXPECTED: Mapping[str, Expectation] = {
    "voltage": Expectation(command=ANALOG, value=lambda sent: sent["voltage"], tolerance=0.0006),
    "current": Expectation(command=ANALOG, value=lambda sent: sent["current"], tolerance=0.006),
    "power": Expectation(command=ANALOG, value=lambda sent: sent["voltage"] * sent["current"], tolerance=0.06),
    "soc": Expectation(
        command=ANALOG,
        value=lambda sent: 100 * sent["remaining_capacity"] / sent["full_capacity"],
        tolerance=0.06,
    ),
    "temperature": Expectation(command=ANALOG, value=lambda sent: fmean(sent["cell_temperatures"]), tolerance=0.06),
    "cell_voltage_min": Expectation(command=ANALOG, value=lambda sent: min(sent["cell_voltages"]), tolerance=0.0006),
    "cell_voltage_max": Expectation(command=ANALOG, value=lambda sent: max(sent["cell_voltages"]), tolerance=0.0006),
    "cell_voltage_spread": Expectation(
        command=ANALOG,
        value=lambda sent: max(sent["cell_voltages"]) - min(sent["cell_voltages"]),
        tolerance=0.0006,
    ),
    "cell_voltages": Expectation(
        command=ANALOG, value=lambda sent: sent["cell_voltages"], tolerance=0.0006, attribute="cell_voltages"
    ),
    "charge_allowed": Expectation(command=LIMITS, value=lambda sent: sent["charge_enabled"]),
    "discharge_allowed": Expectation(command=LIMITS, value=lambda sent: sent["discharge_enabled"]),
}

# Entities whose attribute is compared as well, by what it is compared with
ATTRIBUTE_OF = {"cell_voltages": "cell_voltage_spread"}


def agrees(key: str, shown: Any, history: Iterable[Sent]) -> bool:
    """Whether what Home Assistant shows is what one of these answers said."""
    expectation = EXPECTED[key]
    return any(
        _same(shown, expectation.value(sent.values), expectation.tolerance)
        for sent in history
        if sent.command == expectation.command
    )


def _same(shown: Any, sent: Any, tolerance: float) -> bool:
    match sent:
        case bool():
            return bool(shown == ("on" if sent else "off"))
        case tuple():
            return (
                isinstance(shown, list)
                and len(shown) == len(sent)
                and all(_same(*pair, tolerance) for pair in zip(shown, sent, strict=True))
            )
        case _:
            try:
                return bool(abs(float(shown) - sent) <= tolerance)
            except TypeError, ValueError:
                return False
