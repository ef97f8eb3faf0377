"""What a test tells of a pack over time, and what its upkeep sees of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from custom_components.lfp_battery.bms.catalog import Recharge, find_family
from custom_components.lfp_battery.bms.model import Alarm, BatteryState, Condition, Severity
from custom_components.lfp_battery.bms.upkeep import Upkeep

START = datetime(2027, 3, 1, 6, tzinfo=UTC)
MONTH = timedelta(days=365.25 / 12)
UNDERVOLTAGE = frozenset({Alarm(condition=Condition.CELL_UNDERVOLTAGE, severity=Severity.PROTECTION)})


def rule(key: str) -> Recharge:
    """What the manual of this family says."""
    family = find_family(key)
    assert family is not None
    assert family.recharge is not None
    return family.recharge


def pack(soc: float | None = None, cell: float | None = None, warmth: float | None = None, **more: Any) -> BatteryState:
    """A pack of 100 Ah with four cells alike."""
    return BatteryState(
        soc=soc,
        full_capacity=100.0,
        cell_voltages=None if cell is None else (cell,) * 4,
        cell_temperatures=None if warmth is None else (warmth,) * 2,
        **more,
    )


class Story:
    """Readings every ten seconds."""

    def __init__(self, upkeep: Upkeep | None = None) -> None:
        """Begin at `START`."""
        self.upkeep = upkeep or Upkeep()
        self.now = START

    def see(self, state: BatteryState, current: float | None = 0.0, *, seconds: float = 40.0) -> Upkeep:
        """The pack looks like this for a while."""
        end = self.now + timedelta(seconds=seconds)
        while self.now <= end:
            self.upkeep.observe(self.now, state, current)
            self.now += timedelta(seconds=10)
        return self.upkeep

    def wait(self, span: timedelta) -> None:
        """Nothing is read meanwhile."""
        self.now += span
