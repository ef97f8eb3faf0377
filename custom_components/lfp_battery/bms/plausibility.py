"""What a battery cannot be; holds back what cannot be true, and counts it."""

from dataclasses import dataclass

from .model import BatteryState


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is known of the pack beforehand; None where nothing is."""

    cells: int | None = None
    capacity: float | None = None  # Ah
    current: float | None = None  # A, the largest in either direction


class Gate[StateT: BatteryState]:
    """Decides for one pack which values of a reading may be published."""

    def __init__(self, *, limits: Limits | None = None, weak_check: bool) -> None:
        """`weak_check`: an additive checksum or none guards the wire, so that a surprise may be line noise."""

    def needs_second_reading(self, state: StateT) -> bool:
        """Whether anything in this reading must be confirmed by reading again at once."""
        raise NotImplementedError

    def admit(self, state: StateT, again: StateT | None = None) -> tuple[StateT, dict[str, str]]:
        """Publish a cycle's reading (with the second one, if it was asked for and came): the state, and field -> reason of what was held back."""
        raise NotImplementedError
