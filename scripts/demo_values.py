"""What the entities of a simulated battery must show, worked out from the bytes that it sent and nothing else."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

type Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One entity of a pack or bank, and how it follows from one answer; KeyError: that answer says nothing of it."""

    value: Callable[[Values], Any]
    tolerance: float = 0.0  # half of the last digit that the entity shows
    attribute: str | None = None  # instead of the state


def _soc(sent: Values) -> float:
    """As reported, else out of the two capacities."""
    return float(sent["soc"]) if "soc" in sent else 100 * sent["remaining_capacity"] / sent["full_capacity"]


def _temperature(sent: Values) -> float:
    return float(sent["temperature"]) if "temperature" in sent else fmean(sent["cell_temperatures"])


def _extreme(which: Callable[[tuple[float, ...]], float], name: str) -> Callable[[Values], float]:
    return lambda sent: which(sent["cell_voltages"]) if "cell_voltages" in sent else float(sent[name])


_lowest, _highest = _extreme(min, "cell_voltage_min"), _extreme(max, "cell_voltage_max")

# By the last part of the entity's unique id
EXPECTED: Mapping[str, Expectation] = {
    "voltage": Expectation(value=lambda sent: sent["voltage"], tolerance=0.0006),
    "current": Expectation(value=lambda sent: sent["current"], tolerance=0.006),
    "power": Expectation(value=lambda sent: sent["voltage"] * sent["current"], tolerance=0.06),
    "soc": Expectation(value=_soc, tolerance=0.06),
    "temperature": Expectation(value=_temperature, tolerance=0.06),
    "cell_voltage_min": Expectation(value=_lowest, tolerance=0.0006),
    "cell_voltage_max": Expectation(value=_highest, tolerance=0.0006),
    "cell_voltage_spread": Expectation(value=lambda sent: _highest(sent) - _lowest(sent), tolerance=0.0006),
    "cell_voltages": Expectation(value=lambda sent: sent["cell_voltages"], tolerance=0.0006, attribute="cell_voltages"),
    "charge_allowed": Expectation(value=lambda sent: sent["charge_enabled"]),
    "discharge_allowed": Expectation(value=lambda sent: sent["discharge_enabled"]),
}

# What every battery must be seen to show, whatever it speaks
ALWAYS = frozenset({"voltage", "current", "power", "soc"})
# Counted by the home, and held against nothing that was sent
TOTALS = frozenset({"energy_charged", "energy_discharged"})
# Entities whose attribute is compared as well, by what it is compared with
ATTRIBUTE_OF = {"cell_voltages": "cell_voltage_spread"}


def expected_of(key: str, history: Iterable[Values]) -> list[Any]:
    """All that this entity may show after these answers; empty where the battery never said it."""
    value = EXPECTED[key].value
    found = []
    for sent in history:
        try:
            found.append(value(sent))
        except KeyError, TypeError:  # TypeError: said to be unknown
            continue
    return found


def agrees(key: str, shown: Any, wanted: Iterable[Any]) -> bool:
    """Whether what Home Assistant shows is one of these values."""
    return any(_same(shown, value, EXPECTED[key].tolerance) for value in wanted)


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
