"""Where a CAN bus is, in one line of text: "socketcan:can0", "slcan:/dev/ttyACM0", "socketcand:host:29536/can0".

A bare interface name means SocketCAN, a bare path or URL an adapter that speaks slcan over a serial port.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import override


class Interface(StrEnum):
    """How an adapter is talked to."""

    SOCKETCAN = "socketcan"
    SLCAN = "slcan"
    SOCKETCAND = "socketcand"
    SEEEDSTUDIO = "seeedstudio"
    GS_USB = "gs_usb"
    CANALYSTII = "canalystii"
    UDP_MULTICAST = "udp_multicast"
    VIRTUAL = "virtual"


class Silence(Enum):
    """Whether we can keep an adapter from touching the bus (can.md section 10.1)."""

    ENSURED = "ensured"  # it is told to listen only, and does
    ASKED = "asked"  # it is told to, and there are reports of hardware that does not obey
    OUTSIDE = "outside"  # whoever brings the interface up decides
    NEVER = "never"  # it acknowledges every frame, whatever we say


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """What is known of one kind of adapter."""

    silence: Silence
    sets_bitrate: bool  # by us; else somebody else has
    package: str | None = None  # that it needs besides ours


ADAPTERS: Mapping[Interface, Adapter] = MappingProxyType(
    {
        Interface.SOCKETCAN: Adapter(silence=Silence.OUTSIDE, sets_bitrate=False),
        Interface.SLCAN: Adapter(silence=Silence.ENSURED, sets_bitrate=True),
        Interface.SOCKETCAND: Adapter(silence=Silence.OUTSIDE, sets_bitrate=False),
        Interface.SEEEDSTUDIO: Adapter(silence=Silence.ASKED, sets_bitrate=True, package="pyserial"),
        Interface.GS_USB: Adapter(silence=Silence.NEVER, sets_bitrate=True, package="gs-usb"),
        Interface.CANALYSTII: Adapter(silence=Silence.NEVER, sets_bitrate=True, package="canalystii"),
        Interface.UDP_MULTICAST: Adapter(silence=Silence.ENSURED, sets_bitrate=False, package="msgpack"),
        Interface.VIRTUAL: Adapter(silence=Silence.ENSURED, sets_bitrate=False),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanAddress:
    """One bus."""

    interface: Interface
    channel: str  # a name, a path, a URL, "host:port/channel" or an index, as the interface has it

    @property
    def adapter(self) -> Adapter:
        """What is known of its kind."""
        return ADAPTERS[self.interface]

    @override
    def __str__(self) -> str:
        """As `parse_can_address` reads it."""
        return f"{self.interface}:{self.channel}"


def parse_can_address(text: str) -> CanAddress:
    """Read an address, without touching the bus.

    Raises:
        LinkError: BAD_ADDRESS or CREDENTIALS.
    """
    raise NotImplementedError
