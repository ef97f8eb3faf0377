"""Reading back what was kept over a restart, whatever has become of it."""

from collections.abc import Mapping
from datetime import datetime
from math import isfinite
from typing import Any


def when_kept(kept: Mapping[str, Any], monotonic: float, utc: datetime) -> float | None:
    """When something was kept, in s on this run's clock; None: nobody knows."""
    try:
        elapsed = (utc - datetime.fromisoformat(kept["utc"])).total_seconds()
    except KeyError, TypeError, ValueError:
        return None
    return monotonic - elapsed if elapsed >= 0 else None


def number(kept: object, key: str, *, least: float | None = None) -> float | None:
    """A finite number out of what was kept, not below `least`."""
    value = kept.get(key) if isinstance(kept, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if isfinite(found) and (least is None or found >= least) else None
