"""A pack that is a Bluetooth LE peripheral: services, adverts, one central at a time, and what can go wrong."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bumble.att import Attribute
from bumble.controller import Controller
from bumble.core import UUID, AdvertisingData
from bumble.device import Connection, Device
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.hci import Address

from custom_components.lfp_battery.bms.clock import Handle

from ..faults import Faults
from ..ledger import Ledger
from ..speaker import Disguise, Reply
from ..zeta import LONGEST, OLDER, ZetaSpeaker
from .air import Air

_BASE: Final = "-0000-1000-8000-00805f9b34fb"
_INTERVAL: Final = 1000.0  # ms between adverts; who connects does not wait for the next


def full_uuid(short: int) -> str:
    """An assigned number as 128 bits in small letters."""
    return f"{short:08x}{_BASE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where a generation has its stream, and how it is announced (ble.md sections 2 and 3)."""

    service: int
    write: int
    notify: int
    advertised: int
    update: int | None = None  # a service that nobody must touch


CURRENT_PROFILE: Final = Profile(service=0x1006, write=0x1008, notify=0x1007, advertised=0xFF00, update=0xFA00)
OLDER_PROFILE: Final = Profile(service=0x1000, write=0x1001, notify=0x1002, advertised=0x1000, update=0xFA00)
_MANUFACTURER: Final = 0x6F80  # of the older generation; id and data are the address bytes


class GattPack:
    """One pack in the air. Knobs may be turned at any time.

    `silence`, `bad_crc`, `joined`, `drop_mid_frame`: True until set back, or the number of answers that it strikes.
    `drop_at_once`: the same of connections, which end while the services are still being read.
    `late`: s that answers come too late. `joined`: an answer waits for the next one, and both come in one notification.
    `drop_after_set`: s after a set frame until the pack drops the link and restarts, None: it does not; `away`: s until
    it is back. `faults`: the trouble of serial lines, as far as it makes sense here.
    """

    def __init__(
        self,
        air: Air,
        address: str,
        name: str,
        speaker: Ledger,
        *,
        profile: Profile | None = None,
        mtu: int = 160,
    ) -> None:
        """Put a pack into the air; it is off until `start`. `mtu`: the most that it agrees to."""
        self.air = air
        self.address = address
        self.name = name
        self.speaker = speaker
        older = isinstance(speaker, ZetaSpeaker) and speaker.generation == OLDER
        self.profile = profile or (OLDER_PROFILE if older else CURRENT_PROFILE)
        self.mtu = mtu
        self.turnround = 0.1  # s from a request to the answer (section 3)
        self.faults = Faults()
        self.silence: bool | int = False
        self.bad_crc: bool | int = False
        self.joined: bool | int = False
        self.drop_mid_frame: bool | int = False
        self.drop_at_once: bool | int = False
        self.late = 0.0
        self.drop_after_set: float | None = None
        self.away = 1.0
        self.write_with_response = False  # offer that as well
        self.notifications: list[bytes] = []  # as they went out
        self.touched: list[str] = []  # what was done to the service that nobody must touch
        self.sessions = 0  # connections so far
        self.overlapping = 0  # requests that came while an answer that is not late was still to be sent
        self.connection: Connection | None = None
        self._wanted = False
        self._held_back = b""
        self._due: set[Handle] = set()  # answers
        self._answered = 0.0  # monotonic, when the last of those that are not late has been sent
        self._restarts: set[Handle] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()  # of adverts
        self._controller: Controller | None = None
        self._device: Device | None = None
        self._notify: Characteristic[bytes] | None = None

    # --- what others may do ------------------------------------------------------------------------------------------

    @property
    def advertising(self) -> bool:
        """Whether it can be seen; not while a central is connected (section 2)."""
        return self._device is not None and self._wanted and self.connection is None and self._device.is_advertising

    @property
    def adverts(self) -> dict[str, Any]:
        """What an advert says, by the argument names of habluetooth's scanners."""
        older = self.profile.advertised == OLDER_PROFILE.advertised
        data = {_MANUFACTURER: b"\xb0" + bytes.fromhex(self.address.replace(":", ""))} if older else {}
        return {
            "local_name": self.name,
            "service_uuids": [full_uuid(self.profile.advertised)],
            "service_data": {},
            "manufacturer_data": data,
            "tx_power": None,
        }

    async def start(self) -> None:
        """Switch the pack on: it advertises."""
        self._controller = Controller(self.name, link=self.air.link)
        device = self._device = Device.with_hci(self.name, Address(self.address), self._controller, self._controller)
        device.gatt_server.max_mtu = self.mtu
        for service in self._services():
            device.add_service(service)
        device.on(device.EVENT_CONNECTION, self._on_connection)
        await device.power_on()
        self.air.peripherals[self.address] = self
        await self.advertise(True)

    async def stop(self) -> None:
        """Switch it off, without a trace in the air."""
        self._wanted = False
        self._forget(self._due)
        self._forget(self._restarts)
        await self.drop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._device is not None and self._controller is not None:
            await self._device.stop_advertising()
            await self._device.power_off()
            self.air.link.remove_controller(self._controller)
            self._device = self._controller = None
        self.air.peripherals.pop(self.address, None)

    async def advertise(self, wanted: bool) -> None:
        """Be seen or not: it is not seen while the phone app has it, or when it is out of range."""
        self._wanted = wanted
        async with self._changing:
            if (device := self._device) is None or self.connection is not None:
                return
            if not self._wanted:
                await device.stop_advertising()
            elif not device.is_advertising:
                name = AdvertisingData.COMPLETE_LOCAL_NAME, self.name.encode()
                uuid = AdvertisingData.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS, self._advertised
                await device.start_advertising(
                    advertising_data=bytes(AdvertisingData([name, uuid])),
                    advertising_interval_min=_INTERVAL,
                    advertising_interval_max=_INTERVAL,
                )

    @property
    def _advertised(self) -> bytes:
        return bytes(UUID.from_16_bits(self.profile.advertised))

    def call_out(self) -> None:
        """See `Peripheral`."""
        if self._controller is not None:
            for advertiser in self._controller.advertising_sets.values():
                if advertiser.enabled:
                    advertiser.send_extended_advertising_data()

    async def drop(self) -> None:
        """Cut the connection, if there is one."""
        if self.connection is not None:
            await self.connection.disconnect()

    @property
    def zero_block(self) -> bool:
        """Whether the status block is all zero."""
        return isinstance(self.speaker, ZetaSpeaker) and self.speaker.zero_block

    @zero_block.setter
    def zero_block(self, zero: bool) -> None:
        if isinstance(self.speaker, ZetaSpeaker):
            self.speaker.zero_block = zero

    # --- services ----------------------------------------------------------------------------------------------------

    def _services(self) -> list[Service]:
        profile, kinds = self.profile, Characteristic.Properties
        writing = kinds.WRITE_WITHOUT_RESPONSE | (kinds.WRITE if self.write_with_response else kinds(0))
        write: Characteristic[bytes] = Characteristic(
            UUID.from_16_bits(profile.write),
            writing,
            Attribute.WRITEABLE,
            CharacteristicValue(write=self._written),
        )
        self._notify = Characteristic(
            UUID.from_16_bits(profile.notify),
            kinds.NOTIFY | kinds.READ,
            Attribute.READABLE,
            bytes(LONGEST),
        )
        services = [Service(UUID.from_16_bits(profile.service), [write, self._notify])]
        if profile.update is not None:
            update: Characteristic[bytes] = Characteristic(
                UUID.from_16_bits(profile.update + 1),
                kinds.READ | kinds.WRITE | kinds.WRITE_WITHOUT_RESPONSE | kinds.NOTIFY,
                Attribute.READABLE | Attribute.WRITEABLE,
                CharacteristicValue(read=self._update_read, write=self._update_written),
            )
            update.on(update.EVENT_SUBSCRIPTION, lambda *_: self._alarm("subscribed"))
            services.append(Service(UUID.from_16_bits(profile.update), [update]))
        return services

    def _update_read(self, _connection: Connection) -> bytes:
        self._alarm("read")
        return b""

    def _update_written(self, _connection: Connection, data: bytes) -> None:
        self._alarm("written", data)

    def _alarm(self, what: str, data: bytes = b"") -> None:
        self.touched.append(what)
        self.speaker.forbidden.append(b"\xfa\x00" + data)

    def _on_connection(self, connection: Connection) -> None:
        self.connection = connection
        self.sessions += 1
        self.speaker.reset()
        connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)
        if self._strikes("drop_at_once"):
            self._spawn(self.drop())

    def _on_disconnection(self, _reason: int) -> None:
        self.connection = None
        self._held_back = b""
        self._forget(self._due)
        self._answered = 0.0
        if self._wanted:
            self._spawn(self.advertise(True))

    # --- answers -----------------------------------------------------------------------------------------------------

    def _written(self, _connection: Connection, data: bytes) -> None:
        speaker = self.speaker
        sets = len(speaker.writes) if isinstance(speaker, ZetaSpeaker) else 0
        now = self.air.clock.monotonic()
        self.overlapping += now < self._answered
        for reply in speaker.feed(data[:LONGEST], now):
            self._answer(reply, now)
        if self.drop_after_set is not None and isinstance(speaker, ZetaSpeaker) and len(speaker.writes) > sets:
            self._later(self.drop_after_set, self.restart, self._restarts)

    def _answer(self, reply: Reply, now: float) -> None:
        if self._strikes("silence"):
            return
        delay = (self.turnround if reply.delay is None else reply.delay) + self.late
        if self._strikes("bad_crc"):
            reply = Reply(self.speaker.disguise(reply, Disguise.BAD_CHECK), reply.delay, reply.address, reply.request)
        for out in self.faults.apply(reply, self.speaker, now, delay, 0.0):
            if not self.late:
                self._answered = max(self._answered, now + out.delay)
            self._later(out.delay, partial(self._send, out.data))

    def _send(self, data: bytes) -> None:
        if self._strikes("drop_mid_frame"):
            self._notify_now(data[: len(data) // 2])
            self._spawn(self.drop())
            return
        if not self._held_back and self._strikes("joined"):
            self._held_back = data
            return
        data, self._held_back = self._held_back + data, b""
        self._notify_now(data)

    def _notify_now(self, data: bytes) -> None:
        """As many notifications as it takes, in order."""
        if (connection := self.connection) is None or self._device is None or self._notify is None:
            return
        most = connection.att_mtu - 3
        pieces = [data[start : start + most] for start in range(0, len(data), most)]
        self._spawn(self._notify_pieces(self._device, connection, self._notify, pieces))

    async def _notify_pieces(
        self, device: Device, connection: Connection, characteristic: Characteristic[bytes], pieces: list[bytes]
    ) -> None:
        for piece in pieces:
            self.notifications.append(piece)
            await device.notify_subscriber(connection, characteristic, piece)

    def restart(self) -> None:
        """Off and on again: the link drops, and after a while what was set takes effect and it advertises again."""
        self._wanted = False
        self._spawn(self.drop())
        self._later(self.away, self._back, self._restarts)

    def _back(self) -> None:
        if isinstance(self.speaker, ZetaSpeaker):
            self.speaker.restart()
        self._spawn(self.advertise(True))

    def _strikes(self, name: str) -> bool:
        left: bool | int = getattr(self, name)
        if left and left is not True:
            setattr(self, name, left - 1)
        return bool(left)

    # --- later -------------------------------------------------------------------------------------------------------

    def _later(self, delay: float, callback: Callable[[], None], among: set[Handle] | None = None) -> None:
        due = self._due if among is None else among

        def run() -> None:
            due.discard(handle)
            callback()

        handle = self.air.clock.call_later(delay, run)
        due.add(handle)

    @staticmethod
    def _forget(due: set[Handle]) -> None:
        for handle in due:
            handle.cancel()
        due.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
