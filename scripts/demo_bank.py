"""What a bank over its packs must show, worked out from what the packs sent and nothing else, and totals over time."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from .demo_shown import Entities, Source
from .demo_values import EXPECTED, TOTALS, expected_of

_UNKNOWN = ("unknown", "unavailable")


def bank_differences(battery: Source, shown: Mapping[str, Entities]) -> list[str]:
    """Which figures of a bank are not (yet) those of its packs; none of a bank that speaks for its packs.

    The packs answer one after the other and the home rests between small changes: a figure has to lie between those of
    the least and of the most that each pack said lately.
    """
    histories = [list(battery.sent(address)) for address in battery.units.values() if address is not None]
    if len(histories) < 2:
        return []
    wrong = []
    powers, charges = ([expected_of(key, history) for history in histories] for key in ("power", "soc"))
    if not all(powers) or not all(charges):
        return [f"not every pack of {battery.name} has said its power and state of charge"]
    weights = _weights(histories)
    bank = shown.get("bank", {})
    for key, low, high in (
        ("power", sum(map(min, powers)), sum(map(max, powers))),
        ("soc", fmean(map(min, charges), weights), fmean(map(max, charges), weights)),
    ):
        tolerance = EXPECTED[key].tolerance * (len(histories) if key == "power" else 1)
        value = _number(bank, key)
        if value is None or not low - tolerance <= value <= high + tolerance:
            wrong.append(f"the bank of {battery.name} shows {key} {value}; its packs sent {low:.3f} to {high:.3f}")
    return wrong


def uncounted(battery: Source, shown: Mapping[str, Entities]) -> list[str]:
    """Whether a bank over its packs shows no energy at all, as before its first minute and without a memory."""
    if len(battery.units) < 2 or any(_number(shown.get("bank", {}), key) for key in TOTALS):
        return []
    return [f"the bank of {battery.name} knows nothing of the energy before the restart"]


def _weights(histories: Iterable[Iterable[Mapping[str, Any]]]) -> list[float] | None:
    """What each pack holds when full, as it said last; None unless all of them say it."""
    said = [[sent["full_capacity"] for sent in history if sent.get("full_capacity")] for history in histories]
    return [float(capacities[-1]) for capacities in said] if all(said) else None


def _number(entities: Entities, key: str) -> float | None:
    state = entities.get(key, {}).get("state", "unknown")
    return None if state in _UNKNOWN else float(state)


class Totals:
    """The energy totals of a home, which may rise and stay, whatever happens."""

    def __init__(self) -> None:
        """None was seen yet."""
        self._seen: dict[str, float] = {}

    def fallen(self, units: Iterable[Entities]) -> Sequence[str]:
        """Look at all of them; what fell since the last look."""
        wrong = []
        for entities in units:
            for key in TOTALS & entities.keys():
                if (value := _number(entities, key)) is None:
                    continue
                name = entities[key]["entity_id"]
                if value < (before := self._seen.get(name, value)):
                    wrong.append(f"{name} fell from {before} to {value}")
                self._seen[name] = value
        return wrong
