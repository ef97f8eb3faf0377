"""Packs in a simulated air, a simulated Bluetooth proxy of the real Home Assistant, and a hand on the flow."""

import asyncio
from collections.abc import Callable
from typing import Any, override

from bleak.backends.client import BaseBleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
import bleak_retry_connector
from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import (
    MONOTONIC_TIME,
    BaseHaRemoteScanner,
    BluetoothServiceInfoBleak,
    HaBluetoothConnector,
)
from homeassistant.config_entries import SOURCE_BLUETOOTH, SOURCE_USER, ConfigEntry
from homeassistant.const import CONF_DEVICE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.setup import async_setup_component
import pytest

from custom_components.lfp_battery import radio
from custom_components.lfp_battery.const import DOMAIN
from tests.flow_line import FlowLine, readable
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.gatt.air import Air
from tests.simulator.gatt.server import GattPack
from tests.simulator.zeta import VLRV, ZetaSpeaker

ADDRESS = "A4:C1:37:00:00:01"
NAME = "ZT-25.6V100Ah-0001"
_PROXY = "F0:0D:00:00:00:02"


class RadioLine(FlowLine):
    """What `FlowLine` is for cables, over the air; `start` before use, `stop` afterwards."""

    def __init__(self, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is in the air yet."""
        super().__init__(hass, monkeypatch)
        self.air = Air(clock=self.clock)
        self.devices: list[GattPack] = []
        self.looked_around = 0
        self._cancel: list[Callable[[], object]] = []
        self._scanner: BaseHaRemoteScanner
        monkeypatch.setattr(bleak_retry_connector, "calculate_backoff_time", lambda _: 0.0)  # of true time

        properly = radio.async_look_around

        async def look_around(hass: HomeAssistant) -> None:
            """See `radio`; this proxy hears everything at once."""
            self.looked_around += 1
            self.call_out()
            await properly(hass)

        monkeypatch.setattr(radio, "async_look_around", look_around)

    async def start(self, *, proxy: bool = True) -> None:
        """Set Home Assistant's Bluetooth up, with one proxy or with none."""
        await self.air.start()
        assert await async_setup_component(self.hass, bluetooth.DOMAIN, {})
        await self.hass.async_block_till_done()
        if not proxy:
            return
        client: type[BaseBleakClient] = self.air.backend_class
        connector = HaBluetoothConnector(client=client, source=_PROXY, can_connect=self.air.can_connect)
        self._scanner = BaseHaRemoteScanner(_PROXY, "proxy", connector, True)
        self._cancel = [
            self._scanner.async_setup(),
            bluetooth.async_register_scanner(self.hass, self._scanner, connection_slots=self.air.slots),
        ]

    async def stop(self) -> None:
        """Unload every entry and switch everything off."""
        await self.unload()
        for device in self.devices:
            await device.stop()
        await self.air.stop()
        for cancel in self._cancel:
            cancel()

    # --- devices -----------------------------------------------------------------------------------------------------

    async def pack(self, address: str = ADDRESS, name: str = NAME, **how: Any) -> GattPack:
        """Switch a VLRV on, whose advert is heard; `spec`, `registers` and `generation` make it another."""
        bank = SimBank(make_packs(1, how.pop("spec", VLRV), first=1), self.clock)
        return await self.switch_on(GattPack(self.air, address, name, ZetaSpeaker(bank, **how)))

    async def replace(self, device: GattPack, other: GattPack) -> None:
        """Take a device away and put another one in its place."""
        await device.stop()
        self.devices.remove(device)
        await self.switch_on(other)

    async def switch_on(self, device: GattPack) -> GattPack:
        """Switch a device on, whose advert is heard."""
        self.devices.append(device)
        await device.start()
        self.call_out()
        return device

    def call_out(self) -> None:
        """Let every device that advertises be heard by the proxy, where there is one."""
        for device in self.devices:
            if device.advertising and self._cancel:
                self.advert(device.address, **device.adverts)

    def advert(self, address: str, rssi: int = -60, **adverts: Any) -> None:
        """Let the proxy hear an advert."""
        details = {"source": _PROXY}
        self._scanner._async_on_advertisement(
            address,
            rssi,
            adverts.get("local_name"),
            adverts.get("service_uuids", []),
            adverts.get("service_data", {}),
            adverts.get("manufacturer_data", {}),
            adverts.get("tx_power"),
            details,
            MONOTONIC_TIME(),
        )

    def info(self, address: str, name: str = NAME, rssi: int = -60) -> BluetoothServiceInfoBleak:
        """An advert as Home Assistant hands it to a dialog."""
        device = BLEDevice(address, name, {})
        advert = AdvertisementData(name, {}, {}, [], None, rssi, ())
        return BluetoothServiceInfoBleak(
            name=name,
            address=address,
            rssi=rssi,
            manufacturer_data={},
            service_data={},
            service_uuids=[],
            source=_PROXY,
            device=device,
            advertisement=advert,
            connectable=True,
            time=MONOTONIC_TIME(),
            tx_power=None,
        )

    def unplug_proxy(self) -> None:
        """There is none any more."""
        for cancel in self._cancel:
            cancel()
        self._cancel = []

    # --- flows -------------------------------------------------------------------------------------------------------

    async def discovered(self) -> Any:
        """The form of the dialog that came up by itself."""
        await self.hass.async_block_till_done(wait_background_tasks=True)
        manager = self.hass.config_entries.flow
        flows = [
            flow for flow in manager.async_progress_by_handler(DOMAIN) if flow["context"]["source"] == SOURCE_BLUETOOTH
        ]
        assert len(flows) == 1, flows
        return readable(await manager.async_configure(flows[0]["flow_id"]))

    async def discover(self, info: BluetoothServiceInfoBleak) -> Any:
        """What comes of a device that was heard."""
        return readable(
            await self.hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_BLUETOOTH}, data=info)
        )

    async def open_radio_form(self) -> Any:
        """What follows the choice of Bluetooth in the menu."""
        menu = await self.hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USER})
        return await self.submit(menu, {"next_step_id": "bluetooth"})

    async def pick(self, typed: str = ADDRESS) -> Any:
        """What a person sees after choosing or typing an address, once it was looked at."""
        shown = await self.submit(await self.open_radio_form(), {CONF_DEVICE: typed})
        return await self.scanned(shown) if shown["type"] is FlowResultType.SHOW_PROGRESS else shown

    async def add_pack(self, typed: str = ADDRESS, /, **sent: Any) -> ConfigEntry:
        """Go through the whole flow; the entry that it makes."""
        result = await self.submit(await self.pick(typed), sent)
        assert result["type"] is FlowResultType.CREATE_ENTRY, result
        entry: ConfigEntry = result["result"]
        return entry

    @override
    async def drive(self, work: Any, step: float = 0.1) -> Any:
        """See `FlowLine`; the air needs many turns of the event loop, and little time."""
        task = asyncio.ensure_future(work)
        for _ in range(20000):
            for _ in range(5):
                await asyncio.sleep(0)
            await asyncio.sleep(0.0005)
            if task.done():
                return task.result()
            await self.clock.advance(step)
        task.cancel()
        raise AssertionError("still not done")
