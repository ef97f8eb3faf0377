"""Where a CAN bus is, in one line of text: "socketcan:can0", "slcan:/dev/ttyACM0", "socketcand:host:29536/can0".

A bare interface name means SocketCAN, a bare path or URL an adapter that speaks slcan over a serial port.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
import re
from types import MappingProxyType
from typing import NamedTuple, override
from urllib.parse import urlsplit

from ..errors import LinkError, LinkProblem
from .serial import check_text


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


# IFNAMSIZ of Linux is 16 with the closing zero.
_INTERFACE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9.])?")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,2}")
_SERIAL_SCHEMES = frozenset({"socket", "tcp", "rfc2217", "esphome", "esphome-hass"})
_SOCKETCAND_PORT = 29536  # its default
_MULTICAST_PORT = 43113  # python-can's
_CANALYSTII_CHANNELS = 2


class Remote(NamedTuple):
    """Where a bus is that comes over a network."""

    host: str  # or multicast group
    port: int
    channel: str  # empty where there is none


def _bad(detail: str) -> LinkError:
    return LinkError(LinkProblem.BAD_ADDRESS, detail)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:9]) < 65536:
        raise _bad("not a port number")
    return int(text)


def _interface_name(text: str) -> str:
    if not _INTERFACE_NAME.fullmatch(text):
        raise _bad("not a name of a network interface")
    return text


def _path(text: str) -> str:
    check_text(text)
    if not text.startswith("/") or text.startswith("//") or text.endswith("/"):
        raise _bad("not the path of a serial port")
    return text


def _serial(text: str) -> str:
    if "://" not in text:
        return _path(text)
    check_text(text)
    if urlsplit(text).scheme.lower() not in _SERIAL_SCHEMES:
        raise _bad("not a serial port")
    return text


def _socketcand(text: str) -> str:
    remote = read_socketcand(text)
    return f"{remote.host}:{remote.port}/{remote.channel}"


def _group(text: str) -> str:
    remote = read_group(text)
    return remote.host if remote.port == _MULTICAST_PORT else f"{remote.host}:{remote.port}"


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise _bad("not a name")
    return text


def _index(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise _bad("not the number of an adapter")
    return str(int(text))


def _canalystii(text: str) -> str:
    channel = _index(text)
    if int(channel) >= _CANALYSTII_CHANNELS:
        raise _bad("the adapter has the channels 0 and 1")
    return channel


def read_socketcand(text: str) -> Remote:
    """Take "host:port/channel" apart; the port may be left out.

    Raises:
        LinkError: BAD_ADDRESS or CREDENTIALS.
    """
    where, _, channel = text.removeprefix("//").partition("/")
    if "@" in where:
        raise LinkError(LinkProblem.CREDENTIALS)
    host, colon, port = where.partition(":")
    if not _HOST.fullmatch(host):  # also an IPv6 address: python-can's socket is of IPv4 (can.md section 10.1)
        raise _bad("not a host")
    return Remote(host, _port(port) if colon else _SOCKETCAND_PORT, _interface_name(channel))


def read_group(text: str) -> Remote:
    """Take a multicast group apart, with a port or without.

    Raises:
        LinkError: BAD_ADDRESS.
    """
    host, colon, port = text.rpartition(":")
    if not colon or host.count(":") > 0:
        host, colon, port = text, "", ""
    try:
        address: IPv4Address | IPv6Address = ip_address(host)
    except ValueError as err:
        raise _bad("not an IP address") from err
    if not address.is_multicast:
        raise _bad("not a multicast group")
    return Remote(str(address), _port(port) if colon else _MULTICAST_PORT, "")


# How the rest of the text is read, for each interface; returns its one spelling.
_CHANNELS: Mapping[Interface, Callable[[str], str]] = MappingProxyType(
    {
        Interface.SOCKETCAN: _interface_name,
        Interface.SLCAN: _serial,
        Interface.SOCKETCAND: _socketcand,
        Interface.SEEEDSTUDIO: _path,
        Interface.GS_USB: _index,
        Interface.CANALYSTII: _canalystii,
        Interface.UDP_MULTICAST: _group,
        Interface.VIRTUAL: _name,
    }
)


def parse_can_address(text: str) -> CanAddress:
    """Read an address, without touching the bus.

    Raises:
        LinkError: BAD_ADDRESS or CREDENTIALS.
    """
    text = text.strip()
    check_text(text)
    prefix, colon, rest = text.partition(":")
    if prefix.lower() in Interface and colon:
        interface = Interface(prefix.lower())
    elif "://" in text or text.startswith("/"):
        interface, rest = Interface.SLCAN, text
    else:
        interface, rest = Interface.SOCKETCAN, text
    return CanAddress(interface=interface, channel=_CHANNELS[interface](rest))
