"""When a battery was last full, when its manual wants it charged again, and whether its state of charge has drifted."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .model import BatteryState
from .product import Recharge


class Upkeep:
    """What is remembered of one pack or bank for years; reads no clock. Times are UTC."""

    last_full: datetime | None
    calibration_advised: bool | None  # None: nothing was seen that tells

    def __init__(self, recharge: Recharge | None = None) -> None:
        """`recharge` is the rule of its manual; None: there is none, and nothing is ever due."""
        raise NotImplementedError

    def observe(self, now: datetime, state: BatteryState, current: float | None) -> None:
        """Take in a reading; `current` in A is smoothed."""
        raise NotImplementedError

    def due(self, now: datetime) -> bool | None:
        """Whether the manual's interval is over; None where no manual says one."""
        raise NotImplementedError

    def due_at(self, now: datetime) -> datetime | None:
        """When it will be, if the temperature stays as it is."""
        raise NotImplementedError

    def as_mapping(self) -> dict[str, Any]:
        """What has to be kept over a restart, as JSON knows it."""
        raise NotImplementedError

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on from there; what cannot be read is not known."""
        raise NotImplementedError
