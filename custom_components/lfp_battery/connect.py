"""The one place that turns a config entry into a client, and that knows Home Assistant's serial ports.

Which line or bus is opened and which clock drives it is decided here and nowhere else: `clock`, `open_line`,
`open_bus` and `open_gatt` are what a test replaces to put a simulated bank at the other end. What is in range of Bluetooth
is known to radio.py.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
import logging
from pathlib import Path
from urllib.parse import urlsplit

from homeassistant.components import usb
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_DEVICE, CONF_PORT, CONF_PROTOCOL
from homeassistant.core import HomeAssistant, callback

from . import heating, radio
from .bms import discovery
from .bms.clients.base import BatteryClient, ClientListener
from .bms.clients.broadcast import BroadcastClient
from .bms.clients.listening import ListeningClient
from .bms.clients.polled import PolledClient
from .bms.clock import Clock, SystemClock
from .bms.discovery import Progress, ScanReport
from .bms.gatt_profile import GattProfile
from .bms.protocols import BLUETOOTH, POLLED
from .bms.protocols.base import PolledProtocol
from .bms.protocols.can import CAN
from .bms.transports import ByteTransport, CanTransport, GattTransport, can
from .bms.transports.can_address import CanAddress, Interface, parse_can_address
from .bms.transports.gatt import GattLink
from .bms.transports.serial import SerialTransport, check_url
from .const import CONF_ADDRESSES, CONF_BAUDRATE, CONF_PACKS, DEFAULT_BUS_INTERVAL
from .identity import Record
from .settings import Settings

_LOGGER = logging.getLogger(__name__)

# Names that udev makes up from what the adapter says of itself.
_ADAPTER_NAMES = "/dev/serial/"
# Of the kinds of buses, those that sit on a serial port.
_ON_SERIAL_PORTS = frozenset({Interface.SLCAN, Interface.SEEEDSTUDIO})
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


def open_bus(hass: HomeAssistant, address: CanAddress, *, acknowledge: bool) -> Callable[[int | None], CanTransport]:
    """What makes a closed transport to a bus, for a bit rate or None where that is not ours to set.

    It listens only, unless it is to `acknowledge` what it hears.
    """
    return lambda bitrate: can.open_bus(address, bitrate=bitrate, listen_only=not acknowledge, clock=clock(hass))


def open_gatt(hass: HomeAssistant, address: str, profiles: Sequence[GattProfile]) -> Callable[[], GattTransport]:
    """What makes a closed connection to a Bluetooth device that has one of these profiles, likeliest first."""
    return lambda: GattLink(radio.provider(hass, address), name=address, profiles=profiles, clock=clock(hass))


@callback
def create_client(hass: HomeAssistant, entry: ConfigEntry, listener: ClientListener) -> BatteryClient:
    """Make the client of an entry, at the port where its adapter is now; nothing is opened yet.

    On CAN one that takes what is broadcast; else one that only listens where the entry does, else one that asks.

    Raises:
        LinkError: on CAN, the address is none.
    """
    settings = Settings.of(entry.data, entry.options)
    if (family := CAN.get(entry.data[CONF_PROTOCOL])) is not None:
        device = _follow_adapter(hass, entry)
        _show_port(hass, entry, device)
        address = parse_can_address(device)
        return BroadcastClient(
            open_bus(hass, address, acknowledge=settings.acknowledge)(entry.data[CONF_BAUDRATE]),
            family,
            clock=clock(hass),
            listener=listener,
            interval=settings.interval or DEFAULT_BUS_INTERVAL,
            limits=settings.limits,
        )
    protocol = POLLED[entry.data[CONF_PROTOCOL]].configured(packs=settings.packs, capacity=settings.capacity)
    lines, line = _line_of(hass, entry, protocol)
    addresses = entry.data[CONF_ADDRESSES]
    if settings.observe:
        return ListeningClient(
            line,
            protocol,
            clock=clock(hass),
            listener=listener,
            addresses=addresses,
            limits=settings.limits,
            probes=_probes(entry),
            serials=_serials(entry),
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
        release=not settings.hold,
        probes=_probes(entry),
        serials=_serials(entry),
        heating=settings.allow_heating,
        heating_acts=heating.acts(entry.data),
        heating_unsettled=heating.unsettled(entry.data),
    )


def _serials(entry: ConfigEntry) -> dict[int, str]:
    """Serial numbers of the packs whose sensors are remembered, so that another pack does not inherit them."""
    records = {int(address): Record.from_mapping(record) for address, record in entry.data[CONF_PACKS].items()}
    return {address: record.serial for address, record in records.items() if record.serial is not None}


def _probes(entry: ConfigEntry) -> dict[int, Sequence[int]]:
    """Temperature sensors that each known pack was seen to have, so that one at 0 degC is not taken for a missing one."""
    return {int(address): Record.from_mapping(record).probes for address, record in entry.data[CONF_PACKS].items()}


def _line_of(
    hass: HomeAssistant, entry: ConfigEntry, protocol: PolledProtocol
) -> tuple[Callable[[int], ByteTransport] | None, ByteTransport]:
    """What makes the entry's line at other speeds, where there are any, and the line at its own."""
    if protocol.profile is not None:
        return None, open_gatt(hass, radio.address_of(entry.data[CONF_DEVICE]) or "", (protocol.profile,))()
    lines = open_line(hass, _follow_adapter(hass, entry))
    return lines, lines(entry.data[CONF_BAUDRATE])


@callback
def _follow_adapter(hass: HomeAssistant, entry: ConfigEntry) -> str:
    """The entry's port; when its adapter was plugged in elsewhere, the entry is changed to follow it."""
    device: str = entry.data[CONF_DEVICE]
    port = serial_port_of(device)
    if port is None or (found := usb.async_find_moved_serial_port(hass, port)) is None:
        return device
    moved = device.removesuffix(port) + found
    _LOGGER.info("%s: the adapter was plugged in elsewhere and is followed", entry.title)
    _LOGGER.debug("%s: from %s to %s", entry.title, device, moved)
    hass.config_entries.async_update_entry(entry, data={**entry.data, CONF_DEVICE: moved})
    return moved


@callback
def _show_port(hass: HomeAssistant, entry: ConfigEntry, device: str) -> None:
    """Keep the port of a bus by itself as well: where Home Assistant looks for who uses which, our addresses are none."""
    port = serial_port_of(device)
    if entry.data.get(CONF_PORT) == port:
        return
    data = {key: value for key, value in entry.data.items() if key != CONF_PORT}
    hass.config_entries.async_update_entry(entry, data=data if port is None else {**data, CONF_PORT: port})


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


async def async_probe(hass: HomeAssistant, address: str, on_progress: Callable[[Progress], None]) -> ScanReport:
    """Connect to a Bluetooth device, and find out whether it is a pack that can be read.

    Raises:
        LinkError: it cannot be connected to, or has none of the services that are known.
    """
    profiles = [protocol.profile for protocol in BLUETOOTH.values() if protocol.profile is not None]
    return await discovery.probe(open_gatt(hass, address, profiles), clock=clock(hass), on_progress=on_progress)


async def async_listen_bus(
    hass: HomeAssistant,
    address: CanAddress,
    on_progress: Callable[[Progress], None],
    *,
    rates: Sequence[int | None],
    acknowledge: bool,
    known: str | None = None,
) -> ScanReport:
    """Find out what is broadcast on a bus, by listening; `rates` in bit/s are tried in turn.

    `known` is the family that was there the last time.

    Raises:
        LinkError: the bus cannot be opened, or went away.
    """
    return await discovery.listen(
        open_bus(hass, address, acknowledge=acknowledge),
        clock=clock(hass),
        rates=rates,
        known=known,
        on_progress=on_progress,
    )


def bus_of(device: str) -> CanAddress | None:
    """The bus that an entry's device means; None for a serial line."""
    interface, colon, channel = device.partition(":")
    if not colon or interface not in Interface:
        return None
    return CanAddress(interface=Interface(interface), channel=channel)


def serial_port_of(device: str) -> str | None:
    """The serial port that is opened for an entry's device; None for a bus that needs none, and over Bluetooth."""
    if radio.address_of(device) is not None:
        return None
    if (bus := bus_of(device)) is None:
        return device
    return bus.channel if bus.interface in _ON_SERIAL_PORTS else None


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
    """One spelling of a port or bus, for comparing only; resolves links on disk.

    One key for whatever opens the same serial port, as a line or for a bus.
    """
    if (port := serial_port_of(device)) is None:
        return device.lower() if "/" in device else device  # names of interfaces have small and capital letters
    device = port
    if "://" not in device:
        return str(Path(device).resolve())
    parts = urlsplit(device)
    return parts._replace(
        scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), path=parts.path.rstrip("/")
    ).geturl()


async def async_port_key(hass: HomeAssistant, device: str) -> str:
    """What is the same for every spelling of a port, whether it is opened as a line or for a bus."""
    return await hass.async_add_executor_job(_port_key, device)


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
    if serial_port_of(device) is None:
        return None  # any number may listen on a bus
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
    if (address := radio.address_of(device)) is not None:
        return radio.short_address(address)
    if (port := serial_port_of(device)) is None:
        kind, _, channel = device.partition(":")
        return f"{kind} {channel}" if channel.isdecimal() else channel  # a number alone says nothing
    device = port
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


async def _async_ports(hass: HomeAssistant) -> Sequence[usb.SerialDevice | usb.USBDevice]:
    try:
        return await usb.async_scan_serial_ports(hass)
    except OSError:
        _LOGGER.debug("The serial ports cannot be listed", exc_info=True)
        return []
