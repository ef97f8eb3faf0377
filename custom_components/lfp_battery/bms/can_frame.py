"""One frame of a CAN bus, as the transports hand it over and the protocols read it."""

from dataclasses import dataclass

# Marks an identifier of 29 bits. The width is part of the identity: 29-bit 00000351 is not 351 (can.md section 1).
EXTENDED = 1 << 31


def id_text(frame_id: int) -> str:
    """An identifier as people write it: three hexadecimal digits, or eight for one of 29 bits."""
    return f"{frame_id & ~EXTENDED:08X}" if frame_id & EXTENDED else f"{frame_id:03X}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CanFrame:
    """A data frame; `id` holds `EXTENDED` where it has 29 bits, `data` is cut to the length that was sent."""

    id: int
    data: bytes
