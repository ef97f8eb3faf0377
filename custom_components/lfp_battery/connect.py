"""The one place that turns a config entry into a client, and that knows Home Assistant's serial ports.

Which line is opened and which clock drives it is decided here and nowhere else: `clock` and `open_line` are what a
test replaces to put a simulated bank at the other end.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
import logging
from pathlib import Path
from urllib.parse import urlsplit

from homeassistant.components import usb
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant, callback

from .bms import discovery
from .bms.clients.base import BatteryClient, ClientListener
from .bms.clients.listening import ListeningClient
from .bms.clients.polled import PolledClient
from .bms.clock import Clock, SystemClock
from .bms.discovery import Progress, ScanReport
from .bms.protocols import POLLED
from .bms.transports import ByteTransport
from .bms.transports.serial import SerialTransport, check_url
from .const import CONF_ADDRESSES, CONF_BAUDRATE
from .settings import Settings

_LOGGER = logging.getLogger(__name__)

# Names that udev makes up from what the adapter says of itself.
_ADAPTER_NAMES = "/dev/serial/"
_NAMELESS = "serial port"  # such a name that leads nowhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who uses a port: a config entry of any integration, or an app."""

    title: str
    active: bool  # may have it open at this moment
    entry_id: str | None = None


def clock(hass: HomeAssistant) -> Clock:
    """The time that links and everything behind them live by."""
    return SystemClock()


def open_line(hass: HomeAssistant, url: str) -> Callable[[int], ByteTransport]:
    """What makes a closed line to `url` for a speed in baud."""
    return lambda baudrate: SerialTransport(url, baudrate, clock=clock(hass))


@callback
def create_client(hass: HomeAssistant, entry: ConfigEntry, listener: ClientListener) -> BatteryClient:
    """Make the client of an entry, at the port where its adapter is now; nothing is opened yet.

    One that only listens where the entry does, else one that asks.
    """
    settings = Settings.of(entry.data, entry.options)
    lines = open_line(hass, _follow_adapter(hass, entry))
    line = lines(entry.data[CONF_BAUDRATE])
    protocol = POLLED[entry.data[CONF_PROTOCOL]].configured(packs=settings.packs, capacity=settings.capacity)
    addresses = entry.data[CONF_ADDRESSES]
    if settings.observe:
        return ListeningClient(
            line, protocol, clock=clock(hass), listener=listener, addresses=addresses, limits=settings.limits
        )
    return PolledClient(
        line,
        protocol,
        clock=clock(hass),
        listener=listener,
        addresses=addresses,
        interval=settings.interval,
        limits=settings.limits,
        open_line=lines,
    )


@callback
def _follow_adapter(hass: HomeAssistant, entry: ConfigEntry) -> str:
    """The entry's port; when its adapter was plugged in elsewhere, the entry is changed to follow it."""
    device: str = entry.data[CONF_DEVICE]
    if (moved := usb.async_find_moved_serial_port(hass, device)) is None:
        return device
    _LOGGER.info("%s: the adapter was plugged in elsewhere and is followed", entry.title)
    _LOGGER.debug("%s: from %s to %s", entry.title, device, moved)
    hass.config_entries.async_update_entry(entry, data={**entry.data, CONF_DEVICE: moved})
    return moved


async def async_scan(
    hass: HomeAssistant,
    url: str,
    on_progress: Callable[[Progress], None],
    *,
    speeds: Sequence[int] | None = None,
    known: tuple[str, int] | None = None,
    addresses: Collection[int] = (),
    family: str | None = None,
    listen_only: bool = False,
) -> ScanReport:
    """Listen on a line, then find out what answers, unless it is to listen only.

    `speeds` in baud narrows the search; what was `known` to answer here (protocol and baud, with the `addresses` of its
    packs) and the `family` of the catalog only say what is tried first.

    Raises:
        LinkError: the line cannot be opened, or went away.
    """
    return await discovery.scan(
        open_line(hass, url),
        clock=clock(hass),
        speeds=speeds,
        known=known,
        addresses=addresses,
        family=family,
        listen_only=listen_only,
        on_progress=on_progress,
    )


async def async_check_address(hass: HomeAssistant, url: str) -> None:
    """Refuse a path or URL that must not or cannot be opened, without touching it.

    Raises:
        LinkError: CREDENTIALS or BAD_ADDRESS.
    """
    await hass.async_add_executor_job(check_url, url)


async def async_stable_path(hass: HomeAssistant, device: str) -> str:
    """The /dev/serial/by-id name of a local port, which survives a restart; anything else as it is."""
    if not device.startswith("/dev/"):
        return device
    try:
        return await hass.async_add_executor_job(usb.get_serial_by_id, device)
    except OSError:
        _LOGGER.debug("No stable name for %s", device, exc_info=True)
        return device


def _port_key(device: str) -> str:
    """One spelling of a port, for comparing only; resolves links on disk."""
    if "://" not in device:
        return str(Path(device).resolve())
    parts = urlsplit(device)
    return parts._replace(
        scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), path=parts.path.rstrip("/")
    ).geturl()


def _same_ports(device: str, others: Sequence[str]) -> list[bool]:
    key = _port_key(device)
    return [_port_key(other) == key for other in others]


async def async_entry_at(hass: HomeAssistant, device: str, entries: Sequence[ConfigEntry]) -> ConfigEntry | None:
    """The first of `entries` that is set up on this port, however its name is spelled."""
    named = [entry for entry in entries if CONF_DEVICE in entry.data]
    same = await hass.async_add_executor_job(_same_ports, device, [entry.data[CONF_DEVICE] for entry in named])
    return next((entry for entry, is_same in zip(named, same, strict=True) if is_same), None)


async def async_holder(hass: HomeAssistant, device: str, *, but: str | None = None) -> Holder | None:
    """Who is set up to use a port, those that may have it open first; `but` is an entry that does not count."""
    consumers = await usb.async_get_serial_port_consumers(hass, await _async_ports(hass))
    names = list(consumers)
    same = await hass.async_add_executor_job(_same_ports, device, names)
    holders = [
        Holder(title=consumer.title, active=consumer.active, entry_id=consumer.config_entry_id)
        for name, is_same in zip(names, same, strict=True)
        if is_same
        for consumer in consumers[name]
        if but is None or consumer.config_entry_id != but
    ]
    return min(holders, key=lambda holder: not holder.active, default=None)


def _short_name(device: str) -> str:
    """A port in a word; never a name below /dev/serial, which holds the adapter's serial number. Resolves links."""
    if "://" in device:
        parts = urlsplit(device)
        return parts.netloc.rpartition("@")[2] or parts.scheme
    if not device.startswith(_ADAPTER_NAMES):
        return Path(device).name
    real = str(Path(device).resolve())
    return _NAMELESS if real.startswith(_ADAPTER_NAMES) else Path(real).name


async def async_short_name(hass: HomeAssistant, device: str) -> str:
    """A port in a word, fit for titles and the log: ttyUSB0, or host and port of a gateway."""
    return await hass.async_add_executor_job(_short_name, device)


async def async_title(hass: HomeAssistant, device: str) -> str:
    """What a person would call a port: its adapter's description, else its short name."""
    ports = await _async_ports(hass)
    same = await hass.async_add_executor_job(_same_ports, device, [port.device for port in ports])
    found = (port.description for port, is_same in zip(ports, same, strict=True) if is_same)
    return next((text for text in found if text), None) or await async_short_name(hass, device)


async def _async_ports(hass: HomeAssistant) -> Sequence[usb.SerialDevice | usb.USBDevice]:
    try:
        return await usb.async_scan_serial_ports(hass)
    except OSError:
        _LOGGER.debug("The serial ports cannot be listed", exc_info=True)
        return []
