"""Every frame that may change anything in a battery, as it goes onto the wire; what is not here is never sent.

Nothing builds such a frame: they stand here whole, clients/heating.py is the only place that sends one, and a dialogue
lets nothing else pass in their way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatingFrames:
    """What switches the heating of a pack; one frame an act."""

    on: bytes
    off: bytes
    inferred: bool  # never seen to do so: a person has to be told before it is offered

    def frame(self, enabled: bool) -> bytes:
        """The frame that makes the setting so."""
        return self.on if enabled else self.off


# By the name of the protocol. Of the four one-byte settings of the Voltgo app three are known (module ID, RS485, CAN);
# only the heating is left for function 0A, which was seen in truncated traces (ble.md section 6).
HEATING: Final[Mapping[str, HeatingFrames]] = {
    "zeta-1006": HeatingFrames(on=bytes.fromhex("100a0101e4b6"), off=bytes.fromhex("100a01002576"), inferred=True),
}


def allows(protocol: str, frame: bytes) -> bool:
    """Whether this frame may be sent in this protocol although it changes something."""
    return (frames := HEATING.get(protocol)) is not None and frame in {frames.on, frames.off}
