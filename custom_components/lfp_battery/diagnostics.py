"""Diagnostics: what is known, what was decoded and the last frames, without anything that names a pack or a host."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

from homeassistant.components.diagnostics import REDACTED, async_redact_data
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_PORT
from homeassistant.core import HomeAssistant

from . import connect, radio
from .bms.clients.base import BatteryClient
from .bms.transports.can_address import CanAddress, Interface
from .const import CONF_OBSERVE
from .coordinator import LfpBankCoordinator, LfpUnit
from .findings import over_bluetooth
from .link import LfpConfigEntry
from .settings import observes

# Buses that come over a network.
_WITH_HOST = frozenset({Interface.SOCKETCAND, Interface.UDP_MULTICAST})
_SECRET = {"serial", "identifier", "serial_number", "serial_or_date", "unique_id", "title", "name"}
# Over Bluetooth the client keeps this frame as well: what stands where a serial number would was a date on the only pack
# that was ever read (ble.md section 5), and may be a number on another.
_SECRET_FRAMES = {"identity"}


async def async_get_config_entry_diagnostics(hass: HomeAssistant, entry: LfpConfigEntry) -> dict[str, Any]:
    """Describe an entry; one that is not loaded has its records only."""
    found: dict[str, Any] = {
        "entry": {
            "data": {
                **entry.data,
                **{key: _port(entry.data[key]) for key in (CONF_DEVICE, CONF_PORT) if key in entry.data},
            },
            "options": dict(entry.options),
            "disable_polling": entry.pref_disable_polling,
            "observes": observes(entry.data, entry.options),
            "somebody_else_asks": bool(entry.data.get(CONF_OBSERVE)),
        }
    }
    if entry.state is ConfigEntryState.LOADED:
        link = entry.runtime_data
        found |= {
            "client": {"kind": type(link.client).__name__, **_client(entry, link.client)},
            "bank": _unit(link.bank),
            "packs": {str(address): _unit(pack) for address, pack in sorted(link.packs.items())},
        }
    return async_redact_data(_plain(found), _SECRET)


def _client(entry: LfpConfigEntry, client: BatteryClient) -> dict[str, Any]:
    """What the client says of itself; it keeps no frame that is known to hold a serial number."""
    found: dict[str, Any] = dict(client.diagnostics())
    if over_bluetooth(entry.data):
        found["frames"] = async_redact_data(found["frames"], _SECRET_FRAMES)
    return found


def _port(device: str) -> str:
    """What kind of port or bus it is: its host or its adapter's serial number is nobody's business."""
    if radio.address_of(device) is not None:
        return radio.device_of(REDACTED)
    if (bus := connect.bus_of(device)) is not None:
        return f"{bus.interface}:{_channel(bus)}"
    if "://" in device:
        return f"{urlsplit(device).scheme}://{REDACTED}"
    return f"/dev/serial/by-id/{REDACTED}" if "/by-id/" in device else device


def _channel(bus: CanAddress) -> str:
    if connect.serial_port_of(str(bus)) is not None:
        return _port(bus.channel)
    return REDACTED if bus.interface in _WITH_HOST else bus.channel


def _unit(unit: LfpUnit) -> dict[str, Any]:
    report = unit.data
    return {
        "online": unit.online,
        "age": unit.age,
        "state": report.state,
        "identity": report.identity,
        "held_back": dict(report.held_back),
        "counters": report.counters,
        "record": unit.record.as_mapping(),
        "remembered": unit.remembered(),
        **({"figures": unit.figures} if isinstance(unit, LfpBankCoordinator) else {}),
    }


def _plain(value: Any) -> Any:
    """Nothing but what JSON knows, sets in a steady order, so that two downloads can be compared."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(item) for f in fields(value) if (item := getattr(value, f.name)) is not None}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
