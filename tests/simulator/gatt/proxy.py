"""A Bluetooth proxy for a real Home Assistant without a radio (ble.md section 11): what it hears, and what it connects to."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from bluetooth_data_tools import monotonic_time_coarse
from habluetooth import BaseHaRemoteScanner, HaBluetoothConnector
from homeassistant.components import bluetooth
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback

from .air import Air
from .server import GattPack

SOURCE: Final = "F0:0D:00:00:00:01"
_PERIOD: Final = 2.0  # s between two adverts of a device; connectable ones go stale after 195 s
_RSSI: Final = -61  # dBm

# Somebody else's sensor: an air in which nothing at all is heard makes Home Assistant doubt the proxy.
_NEIGHBOUR: Final = "C0:FF:EE:00:00:07"
_SILENT: Final[dict[str, Any]] = {"service_uuids": [], "service_data": {}, "manufacturer_data": {}, "tx_power": None}


class Proxy:
    """Tells Home Assistant of the packs in an air, and lets it connect to them."""

    def __init__(self, hass: HomeAssistant, air: Air, packs: Iterable[GattPack], name: str = "Simulated proxy") -> None:
        """Nothing is registered yet."""
        self.air = air
        self.packs = list(packs)
        self.rssi: dict[str, int] = {}  # dBm by address, where it is not the usual
        connector = HaBluetoothConnector(client=air.backend_class, source=SOURCE, can_connect=air.can_connect)
        self._hass = hass
        self._scanner = BaseHaRemoteScanner(SOURCE, name, connector, connectable=True)
        self._undo: list[CALLBACK_TYPE] = []
        self._next: Callable[[], None] | None = None

    @callback
    def start(self) -> None:
        """Register, and begin to pass on adverts."""
        self._undo = [
            self._scanner.async_setup(),
            bluetooth.async_register_scanner(
                self._hass,
                self._scanner,
                connection_slots=self.air.slots,
                source_domain="lfp_simulated_radio",
                source_model="Simulated proxy",
            ),
        ]
        self._hear()

    @callback
    def stop(self) -> None:
        """Take it all back."""
        if self._next is not None:
            self._next()
            self._next = None
        for undo in reversed(self._undo):
            with suppress(ValueError):  # a Home Assistant that stops has let go of it already
                undo()
        self._undo = []

    def _hear(self) -> None:
        self._next = self._hass.loop.call_later(_PERIOD, self._hear).cancel
        self.push(_NEIGHBOUR, -88, {"local_name": "Garden", **_SILENT})
        for pack in self.packs:
            if pack.advertising:
                self.push(pack.address, self.rssi.get(pack.address, _RSSI), pack.adverts)

    def push(self, address: str, rssi: int, advert: dict[str, Any]) -> None:
        """Pass on one advert."""
        self._scanner._async_on_advertisement(  # what shipping proxies call
            address,
            rssi,
            advert["local_name"],
            advert["service_uuids"],
            advert["service_data"],
            advert["manufacturer_data"],
            advert["tx_power"],
            {},
            monotonic_time_coarse(),
        )
