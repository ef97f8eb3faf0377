"""Which family of frames is on a bus, by listening only (can.md section 4): markers in their order, and time.

Pure: frames and the time of each are handed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ...can_frame import CanFrame


class Hint(StrEnum):
    """What the frames on a bus say besides a family that can be read; each has its own words for the owner."""

    NO_ACKNOWLEDGE = "no_ack"  # one frame again and again: nobody acknowledges
    HIGH_VOLTAGE = "high_voltage_out_of_scope"
    BETWEEN_PACKS = "between_packs"  # frames that only packs send each other
    OUT_OF_SCOPE = "out_of_scope"  # another set that is recognised and cannot be read (can.md section 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a bus is, as far as was heard."""

    family: str | None = None  # a name in `CAN`
    settled: bool = False  # enough time has passed to believe it (section 4.2)
    inverter: str | None = None  # "generic", "victron", "sma_or_generic", "growatt", ...: frames of one were heard
    hint: Hint | None = None


class Detector:
    """Takes in a bus's frames and says what they are; upgrades as more ids are heard, and never downgrades.

    When every id that its family reads was silent for 30 s and another family's marker appears, it begins anew.
    """

    def hear(self, frame: CanFrame, at: float) -> None:
        """Take in one frame, heard at `at` (s, monotonic)."""
        raise NotImplementedError

    def verdict(self, now: float) -> Verdict:
        """What the bus is by now."""
        raise NotImplementedError

    def assume(self, family: str) -> None:
        """Begin with what the bus was the last time; only better evidence overrides it."""
        raise NotImplementedError

    @property
    def unknown(self) -> Mapping[int, bytes]:
        """Ids that no part of the verdict explains, each with its latest payload; at most 64 of them."""
        raise NotImplementedError
