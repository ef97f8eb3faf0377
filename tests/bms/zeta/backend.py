"""A backend of bleak without a radio, for what no simulated air can be made to do: hang, refuse by name, be slow."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, override

from bleak.args import SizedBuffer
from bleak.assigned_numbers import CharacteristicPropertyName
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError
import pytest

from custom_components.lfp_battery.bms.errors import LinkError
from custom_components.lfp_battery.bms.gatt_profile import GattProfile
from custom_components.lfp_battery.bms.transports.gatt import GattLink

ADDRESS: Final = "A4:C1:37:00:00:01"
# Outcomes besides an exception.
HANG: Final = "hang"
STUBBORN: Final = "stubborn"  # hangs, takes its time to be cancelled, and then does all the same what it was asked for
HALF: Final = "half"  # connected, and dropped while the services are read, which is told, as a failed attempt
ABORTED: Final = "aborted"  # the same, after which the backend tries again by itself, as that of BlueZ does
DROPPED: Final = "dropped"  # done, and the connection is gone


def uuid(short: str) -> str:
    """A 16-bit UUID in full."""
    return f"0000{short}-0000-1000-8000-00805f9b34fb"


CURRENT: Final = GattProfile(service=uuid("1006"), write=uuid("1008"), notify=uuid("1007"))
OLDER: Final = GattProfile(service=uuid("1000"), write=uuid("1001"), notify=uuid("1002"))
UPDATE: Final = uuid("fa00")

type Services = Mapping[str, Mapping[str, Sequence[CharacteristicPropertyName]]]
# As a pack of the current generation has them (ble.md section 3).
PACK: Final[Services] = {
    UPDATE: {uuid("fa01"): ("write", "write-without-response", "notify")},
    CURRENT.service: {CURRENT.write: ("write", "write-without-response"), CURRENT.notify: ("read", "notify")},
}


@dataclass(slots=True)
class Radio:
    """One device and everything that was done to it. What is in a list of outcomes happens in turn, then all is well."""

    services: Services = field(default_factory=lambda: PACK)
    mtu: int = 23
    connecting: list[Exception | str] = field(default_factory=list)
    subscribing: list[Exception | str] = field(default_factory=list)
    writing: list[Exception | str] = field(default_factory=list)
    unsubscribing: list[Exception | str] = field(default_factory=list)
    disconnecting: list[Exception | str] = field(default_factory=list)
    slowness: float = 0.0  # s that a write takes
    stubbornness: float = 0.3  # s until what is cancelled ends
    made: int = 0  # clients
    remembered: Services | None = None  # what it has, where `services` is what was kept of a former device
    remembers: bool = True  # whether anything is kept at all
    forgotten: int = 0  # times that what was known of its services was dropped
    attempts: int = 0
    from_cache: list[object] = field(default_factory=list)  # of each attempt, whether what was kept may be used
    connected: list[PaperClient] = field(default_factory=list)
    subscribed: list[str] = field(default_factory=list)
    written: list[tuple[str, bytes, bool]] = field(default_factory=list)  # characteristic, bytes, with response
    at_once: int = 0  # most writes under way at the same time
    under_way: int = 0
    device: BLEDevice = field(default_factory=lambda: BLEDevice(ADDRESS, "ZT-25.6V100Ah-0001", {}))

    @property
    def backend(self) -> type[PaperClient]:
        """The backend that is bound to this device."""
        radio = self

        class Bound(PaperClient):
            def __init__(self, device: BLEDevice | str, **kwargs: Any) -> None:
                super().__init__(device, radio, **kwargs)

        return Bound

    def notify(self, data: bytes) -> None:
        """The device says something."""
        self.connected[-1].listener(bytearray(data))

    def drop(self) -> None:
        """The connection is gone."""
        self.connected.pop().gone()


async def _outcome(radio: Radio, outcomes: list[Exception | str]) -> str | None:
    await asyncio.sleep(0)
    if not outcomes:
        return None
    outcome = outcomes.pop(0)
    if isinstance(outcome, Exception):
        raise outcome
    if outcome not in {HANG, STUBBORN}:
        return outcome
    try:
        await asyncio.get_running_loop().create_future()  # for ever
    except asyncio.CancelledError:
        if outcome == HANG:
            raise
        await asyncio.sleep(radio.stubbornness)
    return None


class PaperClient(BaseBleakClient):
    """See `Radio`."""

    def __init__(self, device: BLEDevice | str, radio: Radio, **kwargs: Any) -> None:
        """A client that is not connected yet."""
        super().__init__(device, **kwargs)
        self.radio = radio
        radio.made += 1
        self.listener: NotifyCallback = lambda _: None

    @property
    @override
    def name(self) -> str:
        return "paper"

    @property
    @override
    def mtu_size(self) -> int:
        return self.radio.mtu

    @property
    @override
    def is_connected(self) -> bool:
        return self in self.radio.connected

    @override
    async def connect(self, pair: bool, **kwargs: Any) -> None:
        self.radio.attempts += 1
        self.radio.from_cache.append(kwargs.get("dangerous_use_bleak_cache"))
        outcome = await _outcome(self.radio, self.radio.connecting)
        if outcome in {HALF, ABORTED}:
            self.gone()
            await asyncio.sleep(0)
        if outcome == HALF:
            raise BleakError("disconnected while the services were read")
        # from here on the device takes itself for connected, whatever becomes of who asked for it
        self.radio.connected.append(self)
        self.services = self._services()

    def _services(self) -> BleakGATTServiceCollection:
        found = BleakGATTServiceCollection()
        handle = 0
        for name, characteristics in self.radio.services.items():
            service = BleakGATTService(None, handle := handle + 1, name)
            found.add_service(service)
            for one, properties in characteristics.items():
                handle += 1
                size = lambda: self.radio.mtu - 3  # noqa: E731
                found.add_characteristic(BleakGATTCharacteristic(None, handle, one, list(properties), size, service))
        return found

    def gone(self) -> None:
        """Tell that the connection is gone."""
        if self._disconnected_callback is not None:
            self._disconnected_callback()

    @override
    async def disconnect(self) -> None:
        await _outcome(self.radio, self.radio.disconnecting)
        if self in self.radio.connected:
            self.radio.connected.remove(self)
            self.gone()

    async def clear_cache(self) -> bool:
        """As those of proxies have it."""
        self.radio.forgotten += 1
        if (known := self.radio.remembered) is not None:
            self.radio.services, self.radio.remembered = known, None
        return self.radio.remembers

    @override
    async def pair(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    @override
    async def unpair(self) -> None:
        raise NotImplementedError

    @override
    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **kwargs: Any
    ) -> bytearray:
        raise NotImplementedError

    @override
    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **kwargs: Any
    ) -> bytearray:
        raise NotImplementedError

    @override
    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        raise NotImplementedError

    @override
    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool) -> None:
        radio = self.radio
        if not self.is_connected:
            raise BleakError("Not connected")
        radio.under_way += 1
        radio.at_once = max(radio.at_once, radio.under_way)
        try:
            await _outcome(radio, radio.writing)
            await asyncio.sleep(radio.slowness)
        finally:
            radio.under_way -= 1
        radio.written.append((characteristic.uuid, bytes(data), response))

    @override
    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **kwargs: Any
    ) -> None:
        outcome = await _outcome(self.radio, self.radio.subscribing)
        self.radio.subscribed.append(characteristic.uuid)
        self.listener = callback
        if outcome == DROPPED:
            self.radio.drop()

    @override
    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        await _outcome(self.radio, self.radio.unsubscribing)
        self.radio.subscribed.remove(characteristic.uuid)


def link_to(radio: Radio, **more: Any) -> GattLink:
    """A closed link to it."""
    return GattLink(lambda: radio.device, name="pack", profiles=(CURRENT, OLDER), client_class=radio.backend, **more)


async def caught(link: GattLink) -> LinkError:
    """What opening fails with."""
    with pytest.raises(LinkError) as error:
        await link.open()
    return error.value


def only_this_task() -> bool:
    """Whether nothing was left behind."""
    return asyncio.all_tasks() == {asyncio.current_task()}
