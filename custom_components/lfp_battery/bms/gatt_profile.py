"""Where on a Bluetooth LE device bytes go in and come out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GattProfile:
    """One service that carries a stream both ways; UUIDs of 128 bits in small letters."""

    service: str
    write: str  # characteristic that requests are written to
    notify: str  # characteristic whose notifications are the answers
