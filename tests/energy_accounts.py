"""Energy accounts and readings for tests of them."""

from datetime import UTC, datetime, timedelta
import json
from typing import Any, Final

from custom_components.lfp_battery.bms.energy import EnergyAccount, Reading

NOON: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
MOST: Final = 10_000.0  # W
VOLTS: Final = 50.0


def account() -> EnergyAccount:
    """A new one."""
    return EnergyAccount(longest_gap=60.0, most_power=MOST)


def told(when: float, amps: float | None, remaining: float | None, volts: float | None = VOLTS) -> Reading:
    """A reading of a battery that says its charge."""
    power = None if amps is None or volts is None else amps * volts
    return Reading(when=when, power=power, voltage=volts, remaining_capacity=remaining)


def counted(
    when: float, charged: float | None, discharged: float | None = None, power: float | None = 100.0
) -> Reading:
    """A reading of a battery that counts its energy."""
    return Reading(when=when, power=power, charged=charged, discharged=discharged)


def resumed(before: EnergyAccount, monotonic: float, away: float, *, now: float = 5.0) -> EnergyAccount:
    """The account of a run that begins `away` seconds after the last one ended, by the wall's clock."""
    kept: dict[str, Any] = json.loads(json.dumps(before.as_mapping(monotonic, NOON)))
    fresh = account()
    fresh.restore(kept, now, NOON + timedelta(seconds=away))
    return fresh


def used_to(step: float, *, start: float = 50.0) -> EnergyAccount:
    """One that has seen a battery at 20 A count its charge in such steps, until 2000 s and `start` Ah."""
    one = account()
    for second in range(0, 2001, 10):
        charge = start - 20 * (2000 - second) / 3600
        one.observe(told(second, 20.0, round(charge / step) * step))
    return one
