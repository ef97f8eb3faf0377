"""The air between packs and one central, and what bleak needs to reach them through it (ble.md section 11)."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final, Protocol, override

from bleak import BleakClient
from bleak.args import SizedBuffer
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError
from bumble.controller import Controller
from bumble.core import UUID, BaseBumbleError
from bumble.device import Connection, Device, Peer
from bumble.gatt_client import CharacteristicProxy
from bumble.hci import Address
from bumble.link import LocalLink

from custom_components.lfp_battery.bms.clock import Clock, SystemClock

_CENTRAL: Final = "F0:0D:00:00:00:01"
_PREFERRED_MTU: Final = 247  # that the central asks for
_PATIENCE: Final = 200  # turns of the event loop, for what takes about ten in one process
_PROPERTIES: Final = {0x02: "read", 0x04: "write-without-response", 0x08: "write", 0x10: "notify", 0x20: "indicate"}

# As habluetooth says it, and as bleak-retry-connector knows it
NO_SLOT: Final = "No backend with an available connection slot that can reach address {} was found"


class Peripheral(Protocol):
    """What the air knows of a device in it."""

    address: str
    name: str

    @property
    def advertising(self) -> bool:
        """Whether it can be connected to now."""

    def call_out(self) -> None:
        """Send an advert at once."""


class Air:
    """A place where Bluetooth devices hear each other; `start` before use, `stop` afterwards.

    `slots`: connections that the central can have at a time. `client_class`: for `establish_connection` (and it makes
    the backend where it is taken for one). `backend_class`: what `HaBluetoothConnector` and bleak's `backend` want.
    """

    def __init__(self, *, clock: Clock | None = None, slots: int = 3, mtu: int = _PREFERRED_MTU) -> None:
        """Nobody is there yet. `mtu`: what the central asks for. `clock`: what devices measure their delays with."""
        self.clock: Clock = clock or SystemClock()
        self.slots = slots
        self.mtu = mtu
        self.link: LocalLink = LocalLink()  # type: ignore[no-untyped-call]  # Bumble's own annotations end here
        self.peripherals: dict[str, Peripheral] = {}
        self.connections: dict[str, Connection] = {}  # by address, of the central
        self.connected = 0  # times
        self.refused = 0  # connects that failed
        self.connecting = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._controller: Controller | None = None
        self._central: Device | None = None

        air = self

        class _Backend(AirBackend):
            bound = air

        class _Client(AirClient):
            bound = air

        self.backend_class: type[BaseBleakClient] = _Backend
        self.client_class: type[BleakClient] = _Client

    async def start(self) -> None:
        """Switch the central on."""
        self._controller = Controller("central", link=self.link)
        self._central = Device.with_hci("central", Address(_CENTRAL), self._controller, self._controller)
        await self._central.power_on()

    async def stop(self) -> None:
        """Cut all connections and switch the central off."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self.connections.values()):
            await connection.disconnect()
        if self._central is not None and self._controller is not None:
            await self._central.power_off()
            self.link.remove_controller(self._controller)
            self._central = self._controller = None

    def can_connect(self) -> bool:
        """Whether a slot is free, as `HaBluetoothConnector` asks it."""
        return len(self.connections) < self.slots

    def ble_device(self, address: str, *, source: str = "air") -> BLEDevice | None:
        """What bleak knows of a device after its advert; None: it was never heard."""
        if (peripheral := self.peripherals.get(address)) is None:
            return None
        return BLEDevice(address, peripheral.name, {"source": source})

    async def connect(self, address: str) -> Connection:
        """A connection to an advertising device.

        Raises:
            BleakError: no slot is free.
            TimeoutError: it does not advertise.
        """
        attempt = self.spawn(self._connect(address))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            self.spawn(self._abandon(attempt))
            raise

    def spawn[ResultT](self, work: Coroutine[Any, Any, ResultT]) -> asyncio.Task[ResultT]:
        """Do something to its end, whoever gives up on it: Bumble's host is confused by a command that is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _connect(self, address: str) -> Connection:
        async with self.connecting:
            if not self.can_connect():
                self.refused += 1
                raise BleakError(NO_SLOT.format(address))
            peripheral = self.peripherals.get(address)
            if peripheral is None or not peripheral.advertising or self._central is None:
                self.refused += 1
                raise TimeoutError(f"{address} does not advertise")
            connection = await self._meet(self._central, peripheral)
            self.connections[address] = connection
            connection.on(connection.EVENT_DISCONNECTION, lambda _reason: self.connections.pop(address, None))
            self.connected += 1
            return connection

    @staticmethod
    async def _abandon(attempt: asyncio.Task[Connection]) -> None:
        with suppress(BleakError, TimeoutError, BaseBumbleError):
            await (await attempt).disconnect()

    async def _meet(self, central: Device, peripheral: Peripheral) -> Connection:
        """Connect, or give up and leave nothing half done."""
        wish = asyncio.ensure_future(central.connect(Address(peripheral.address), timeout=None))
        for _ in range(_PATIENCE):
            if central.is_le_connecting and peripheral.advertising:
                peripheral.call_out()
            await asyncio.sleep(0)
            if wish.done():
                return await wish
        wish.cancel()
        await asyncio.gather(wish, return_exceptions=True)
        if self._controller is not None:
            self._controller.pending_le_connection = None  # Bumble's controller does not forget it
        raise TimeoutError(f"{peripheral.address} did not take the connection")


@contextmanager
def _translated(connection: Callable[[], Connection | None]) -> Iterator[None]:
    """Bumble's exceptions as bleak's; a request that ends with the connection is cancelled by Bumble, and nobody else."""
    try:
        yield
    except BaseBumbleError as err:
        raise BleakError(str(err) or type(err).__name__) from err
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if connection() is None and task is not None and not task.cancelling():
            raise BleakError("disconnected") from None
        raise


class AirBackend(BaseBleakClient):
    """A backend for bleak; `Air` makes a subclass that is bound to it."""

    bound: ClassVar[Air]

    def __init__(self, address_or_ble_device: BLEDevice | str, **kwargs: Any) -> None:
        """As habluetooth and bleak make it, with whatever else they hand in."""
        super().__init__(address_or_ble_device, **{"timeout": 30.0, **kwargs})
        self._connection: Connection | None = None
        self._peer: Peer | None = None
        self._listeners: dict[int, Callable[[bytes], None]] = {}

    @property
    @override
    def name(self) -> str:
        """See `BaseBleakClient`."""
        return self.address

    @property
    @override
    def mtu_size(self) -> int:
        """See `BaseBleakClient`."""
        return 23 if self._connection is None else self._connection.att_mtu

    @property
    @override
    def is_connected(self) -> bool:
        """See `BaseBleakClient`."""
        return self._connection is not None

    def _current(self) -> Connection | None:
        return self._connection

    @override
    async def connect(self, pair: bool, **kwargs: Any) -> None:
        """See `BaseBleakClient`."""
        connection = self._connection = await self.bound.connect(self.address)
        connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)
        try:
            with _translated(self._current):
                peer = self._peer = Peer(connection)
                if self.bound.mtu > connection.att_mtu:
                    await peer.request_mtu(self.bound.mtu)
                await peer.discover_services()
                for service in peer.services:
                    await service.discover_characteristics()
                    for characteristic in service.characteristics:
                        await characteristic.discover_descriptors()
            self.services = self._collect(peer)
        except BaseException:
            await self.disconnect()
            raise

    def _collect(self, peer: Peer) -> BleakGATTServiceCollection:
        found = BleakGATTServiceCollection()
        for service in peer.services:
            kept = BleakGATTService(service, service.handle, _uuid(service.uuid))
            found.add_service(kept)
            for proxy in service.characteristics:
                properties: Any = [name for bit, name in _PROPERTIES.items() if proxy.properties & bit]
                # the declaration is what bleak calls the handle; Bumble has that of the value
                characteristic = BleakGATTCharacteristic(
                    proxy, proxy.handle, _uuid(proxy.uuid), properties, lambda: self.mtu_size - 3, kept
                )
                found.add_characteristic(characteristic)
                for descriptor in proxy.descriptors:
                    found.add_descriptor(
                        BleakGATTDescriptor(descriptor, descriptor.handle, _uuid(descriptor.type), characteristic)
                    )
        return found

    def _on_disconnection(self, _reason: int) -> None:
        if self._connection is None:
            return
        self._connection = self._peer = None
        self._listeners.clear()
        if self._disconnected_callback is not None:
            asyncio.get_running_loop().call_soon(self._disconnected_callback)

    @override
    async def disconnect(self) -> None:
        """See `BaseBleakClient`."""
        if self._connection is not None:
            with _translated(self._current):
                await asyncio.shield(self.bound.spawn(self._connection.disconnect()))

    @override
    async def pair(self, *args: Any, **kwargs: Any) -> None:
        """See `BaseBleakClient`."""
        raise NotImplementedError

    @override
    async def unpair(self) -> None:
        """See `BaseBleakClient`."""
        raise NotImplementedError

    async def _do[ResultT](self, work: Callable[[], Awaitable[ResultT]]) -> ResultT:
        if self._connection is None:
            raise BleakError("Not connected")
        with _translated(self._current):
            return await work()

    @override
    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **kwargs: Any
    ) -> bytearray:
        """See `BaseBleakClient`."""
        return bytearray(await self._do(characteristic.obj.read_value))

    @override
    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **kwargs: Any
    ) -> bytearray:
        """See `BaseBleakClient`."""
        return bytearray(await self._do(descriptor.obj.read_value))

    @override
    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool) -> None:
        """See `BaseBleakClient`."""
        if not response and len(bytes(data)) > self.mtu_size - 3:
            raise BleakError(f"{len(bytes(data))} bytes do not fit into one write")
        proxy: CharacteristicProxy[bytes] = characteristic.obj
        await self._do(lambda: proxy.write_value(bytes(data), with_response=response))

    @override
    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """See `BaseBleakClient`."""
        await self._do(lambda: descriptor.obj.write_value(bytes(data), with_response=True))

    @override
    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **kwargs: Any
    ) -> None:
        """See `BaseBleakClient`."""

        def listener(value: bytes) -> None:
            callback(bytearray(value))

        self._listeners[characteristic.handle] = listener
        await self._do(lambda: characteristic.obj.subscribe(listener))

    @override
    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """See `BaseBleakClient`."""
        if (listener := self._listeners.pop(characteristic.handle, None)) is not None:
            await self._do(lambda: characteristic.obj.unsubscribe(listener))


class AirClient(BleakClient):
    """What `establish_connection` makes; `Air` makes a subclass that is bound to it."""

    bound: ClassVar[Air]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Be the backend where bleak or habluetooth ask for one: only they hand on what is for another platform."""
        return cls.bound.backend_class(*args, **kwargs) if "bluez" in kwargs else super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Reach the device through the air."""
        kwargs.pop("_is_retry_client", None)
        super().__init__(*args, backend=self.bound.backend_class, **kwargs)

    async def clear_cache(self) -> bool:
        """Nothing is kept."""
        return True


def _uuid(uuid: UUID) -> str:
    """128 bits in small letters."""
    return uuid.to_hex_str("-").lower() if len(uuid.uuid_bytes) == 16 else f"{_short(uuid)}-0000-1000-8000-00805f9b34fb"


def _short(uuid: UUID) -> str:
    return uuid.uuid_bytes[::-1].hex().rjust(8, "0")
