"""All that knows Home Assistant's Bluetooth: who is in range, how well, and why somebody is not.

Names that devices give themselves may hold anything; they are handed on as they came.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
import re
from typing import Final

from bleak.backends.device import BLEDevice
from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import BluetoothReachabilityIntent, BluetoothServiceInfoBleak
from homeassistant.core import HomeAssistant, callback

# What stands before the address where a config entry names its link.
PREFIX: Final = "bluetooth:"

# Who may be a pack by its advert (ble.md section 2); whether it is one, only an answer says. A pack that was renamed has
# none of the names, and boards of another maker have the first service as well.
_NAMES: Final = ("ZT-*", "BB-*", "VLRV*", "Voltgo*")
_SHARED_SERVICE: Final = "0000ff00-0000-1000-8000-00805f9b34fb"
_SERVICES: Final = frozenset({_SHARED_SERVICE, "00001000-0000-1000-8000-00805f9b34fb"})

_ADDRESS = re.compile(r"[0-9A-F]{12}")
_SEPARATORS = re.compile(r"[\s:._-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advert:
    """A device that was heard, and could be connected to."""

    address: str
    name: str | None  # as it calls itself; never trusted
    rssi: int  # dBm
    likely: bool  # has a name of ours, or a service that others do not have


def device_of(address: str) -> str:
    """How a config entry names the link to this address."""
    return PREFIX + address


def address_of(device: str) -> str | None:
    """The Bluetooth address in the name of a link; None for every other link."""
    return device.removeprefix(PREFIX) if device.startswith(PREFIX) else None


def tidy_address(typed: str) -> str | None:
    """An address in the one spelling that is kept, AA:BB:CC:DD:EE:FF; None when it is none."""
    digits = _SEPARATORS.sub("", typed.removeprefix(PREFIX)).upper()
    if not _ADDRESS.fullmatch(digits) or digits in {"0" * 12, "F" * 12}:
        return None
    return ":".join(digits[place : place + 2] for place in range(0, 12, 2))


def short_address(address: str) -> str:
    """Enough of an address to tell two packs apart, and too little to know one by."""
    return address[-5:]


def heard(info: BluetoothServiceInfoBleak) -> Advert:
    """What an advert says; where a device gives no name, Home Assistant puts its address there."""
    name = None if info.name.upper() == info.address.upper() else info.name
    likely = may_be_a_pack(info.name, [service for service in info.service_uuids if service != _SHARED_SERVICE])
    return Advert(address=info.address.upper(), name=name or None, rssi=info.rssi, likely=likely)


@callback
def has_adapter(hass: HomeAssistant) -> bool:
    """Whether there is any adapter or proxy that can connect at all."""
    return bluetooth.async_scanner_count(hass, connectable=True) > 0


@callback
def provider(hass: HomeAssistant, address: str) -> Callable[[], BLEDevice | None]:
    """What says, whenever it is asked, how the device is best reached now; None while it is not in range.

    Home Assistant remembers a device for as long as its last advert counts, although the one proxy that heard it may be
    gone, or cannot connect.
    """

    def ask() -> BLEDevice | None:
        if not bluetooth.async_scanner_devices_by_address(hass, address, connectable=True):
            return None
        return bluetooth.async_ble_device_from_address(hass, address, connectable=True)

    return ask


@callback
def advert(hass: HomeAssistant, address: str) -> Advert | None:
    """What was heard last of a device, None if it is not in range."""
    info = bluetooth.async_last_service_info(hass, address, connectable=True)
    return None if info is None else heard(info)


@callback
def rssi(hass: HomeAssistant, address: str) -> int | None:
    """How well a device was heard last, in dBm; None if it is not in range. While it is connected it says nothing new."""
    found = advert(hass, address)
    return None if found is None else found.rssi


@callback
def offer_again(hass: HomeAssistant, address: str) -> None:
    """Have a device discovered anew that was heard before; nobody is told of the same advert twice by itself."""
    if bluetooth.DOMAIN in hass.config.components:
        bluetooth.async_rediscover_address(hass, address)


@callback
def unreachable(hass: HomeAssistant, address: str) -> str:
    """Why a device may not be reached, as Home Assistant sees it; English, for a person, not to be taken apart."""
    return bluetooth.async_address_reachability_diagnostics(hass, address, BluetoothReachabilityIntent.CONNECTION)


async def async_look_around(hass: HomeAssistant) -> None:
    """Have every adapter and proxy listen for devices more closely, for about ten seconds."""
    await bluetooth.async_request_active_scan(hass)


@callback
def candidates(hass: HomeAssistant) -> list[Advert]:
    """Devices in range that may be packs: the likely ones first, and of each those with the strongest signal."""
    found = [
        heard(info)
        for info in bluetooth.async_discovered_service_info(hass, connectable=True)
        if may_be_a_pack(info.name, info.service_uuids)
    ]
    return sorted(found, key=lambda one: (not one.likely, -one.rssi, one.address))


def may_be_a_pack(name: str | None, services: list[str]) -> bool:
    """Whether an advert looks like one of a pack."""
    named = any(fnmatchcase(name or "", pattern) for pattern in _NAMES)
    return named or not _SERVICES.isdisjoint(services)
