"""Which CAN buses there are to choose from: SocketCAN interfaces of this machine, and serial ports an adapter may sit on.

Nothing is opened. What hangs on a serial port cannot be told from outside, so every port is offered as slcan, the protocol
that most serial CAN adapters speak; a port with the chip of the Waveshare and Seeed analysers also as theirs. Only some
USB ids are sure to be those of a CAN adapter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import logging
from pathlib import Path

from homeassistant.components import usb
from homeassistant.core import HomeAssistant

from .bms.transports.can_address import CanAddress, Interface
from .const import DOMAIN

_LOGGER = logging.getLogger(__name__)

_NETWORK = Path("/sys/class/net")
_CAN = "280"  # ARPHRD_CAN of linux/if_arp.h
_UP = 1  # IFF_UP of linux/if.h
# WCH's vendor id: the CH340 in front of the analysers that speak a binary protocol of their own at 2 Mbaud.
_SEEED_CHIP = "1A86"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBus:
    """One bus that can be chosen."""

    address: CanAddress
    name: str  # what the system calls it
    up: bool | None = None  # None: nothing that is brought up
    sure: bool = False  # that it is for CAN, so that nothing else can be disturbed there


def links(network: Path = _NETWORK) -> list[FoundBus]:
    """SocketCAN interfaces; reads files of the kernel, so never on the event loop."""
    found = []
    try:
        names = sorted(path.name for path in network.iterdir())
    except OSError:
        return []
    for name in names:
        try:
            if (network / name / "type").read_text(encoding="ascii").strip() != _CAN:
                continue
            up = bool(int((network / name / "flags").read_text(encoding="ascii"), 16) & _UP)
        except OSError, ValueError:
            continue  # gone meanwhile, or no interface at all
        address = CanAddress(interface=Interface.SOCKETCAN, channel=name)
        found.append(FoundBus(address=address, name=name, up=up, sure=True))
    return found


def _is_ours(hass: HomeAssistant, device: usb.USBDevice) -> bool:
    """Whether the manifest claims an adapter with these USB ids: what Home Assistant offers by itself."""
    return any(one["domain"] == DOMAIN for one in usb.async_get_usb_matchers_for_device(hass, device))


async def async_find(hass: HomeAssistant) -> list[FoundBus]:
    """All that can be chosen, interfaces first."""
    found = await hass.async_add_executor_job(links)
    try:
        ports: Sequence[usb.SerialDevice | usb.USBDevice] = await usb.async_scan_serial_ports(hass)
    except OSError:
        _LOGGER.debug("The serial ports cannot be listed", exc_info=True)
        return found
    for port in ports:
        kinds = [Interface.SLCAN]
        if isinstance(port, usb.USBDevice) and port.vid == _SEEED_CHIP:
            kinds.append(Interface.SEEEDSTUDIO)
        name = " – ".join(filter(None, (port.resolved_device or port.device, port.description)))
        sure = isinstance(port, usb.USBDevice) and _is_ours(hass, port)
        found += [
            FoundBus(address=CanAddress(interface=kind, channel=port.device), name=name, sure=sure) for kind in kinds
        ]
    return found
