"""A Bluetooth LE device that carries a stream of bytes, through bleak and bleak-retry-connector.

Whatever these, the operating system or a proxy raise leaves this module as a `LinkError`. Of a device only the two
characteristics of one profile are used; whatever else it has is never touched.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
import logging
import sys
from typing import TYPE_CHECKING, Any, Final, override

from ..clock import Clock, SystemClock
from ..errors import LinkError, LinkProblem
from ..gatt_profile import GattProfile

if TYPE_CHECKING:
    from bleak import BleakClient
    from bleak.backends.characteristic import BleakGATTCharacteristic
    from bleak.backends.client import BaseBleakClient
    from bleak.backends.device import BLEDevice

_LOGGER = logging.getLogger(__name__)

# All in seconds, of true time: these are waits for the radio, which has no other. Whoever waits in a dialog is told after
# this long, although a single attempt may take bleak-retry-connector 20 s.
_OPEN_TIMEOUT: Final = 30.0
_UNSUBSCRIBE_TIMEOUT, _FORGET_TIMEOUT, _DISCONNECT_TIMEOUT = 2.0, 2.0, 6.0
# What ends an attempt, or a connection, may itself hang in the operating system: it is left to itself after this long.
_BREAKING_OFF: Final = 2.0
_LEAVING: Final = 10.0
_WRITE_TIMEOUT: Final = 5.0
# As many as bleak-retry-connector makes, but of whatever kind: of errors that it takes for passing it allows nine.
_ATTEMPTS: Final = 4
# After the subscription is confirmed, until the first byte is sent: the vendor's app needed it (ble.md section 3).
_SETTLING: Final = 0.1
# 20 bytes, the least that every connection carries at once, in each of the longest intervals that packs ask for,
# 75 ms (ble.md section 3); with the ten bits of a byte on a serial line.
BAUDRATE: Final = round(20 * 10 / 0.075)
_SMALLEST_WRITE: Final = 20  # bytes: what a connection of the smallest MTU, 23, takes
_BUFFER_LIMIT: Final = 16384  # a device that babbles while nobody reads does not fill the memory
_DETAIL: Final = 200  # characters

# What habluetooth and proxies say when all connections are taken; there is no type for it (bleak-retry-connector knows
# the same two).
_NO_SLOT: Final = ("connection slot", "available connection")
_LIBRARY: Final = "bleak_retry_connector"


def _load() -> None:
    """What takes long enough to be felt."""
    import bleak_retry_connector  # noqa: F401, PLC0415 - wire libraries load when a link is first used


class _Connection:
    """One connection, or the attempt at one: what it is made with, what it has brought, and whether it stands."""

    __slots__ = (
        "_waiter",
        "asked",
        "buffer",
        "client",
        "connecting",
        "heard",
        "notify",
        "settled",
        "standing",
        "write",
    )

    def __init__(self) -> None:
        self.connecting: asyncio.Task[None] | None = None
        self.client: BleakClient | None = None  # also while it only tries to connect
        self.notify: BleakGATTCharacteristic | None = None  # subscribed to
        self.write: BleakGATTCharacteristic | None = None  # from when on it may be written to
        self.settled = 0.0  # monotonic
        self.standing = False
        self.asked = self.heard = False  # whether anything was written, and anything came
        self.buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None

    def notified(self, _characteristic: object, data: bytearray) -> None:
        self.heard = True
        self.buffer += data
        if len(self.buffer) > _BUFFER_LIMIT:
            del self.buffer[:-_BUFFER_LIMIT]
        self._wake()

    def disconnected(self, client: object = None) -> None:
        if client is not None and client is not self.client:
            return  # told late of one that was given up for another
        self.standing = False
        self._wake()

    def take(self) -> bytes:
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def waiter(self) -> asyncio.Future[None]:
        """Done as soon as there is anything to say."""
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def leave(self) -> None:
        """Unsubscribe and disconnect, once the attempt has ended; never raises, and asks for nothing for ever."""
        if self.connecting is not None:
            await asyncio.wait((self.connecting,))
            if not self.connecting.cancelled():
                self.connecting.exception()  # nobody waits for it any more
        if (client := self.client) is None:
            return
        if self.asked and not self.heard:
            await _forget_services(client)
        if (notify := self.notify) is not None:
            await _quietly(lambda: client.stop_notify(notify), _UNSUBSCRIBE_TIMEOUT)
        await _quietly(client.disconnect, _DISCONNECT_TIMEOUT)
        self.client = self.connecting = self.notify = self.write = None


class GattLink:
    """A connection to one device; implements `GattTransport`."""

    def __init__(
        self,
        provider: Callable[[], BLEDevice | None],
        *,
        name: str,
        profiles: Sequence[GattProfile],
        clock: Clock | None = None,
        client_class: type[BleakClient | BaseBleakClient] | None = None,
    ) -> None:
        """Remember how to come by the device; nothing is connected and no library loaded yet.

        `provider` says at each attempt what it knows of the device by then, None where nothing can reach it. Of several
        `profiles` the first that the device has is used. `client_class`: a client of bleak, or a backend for one;
        without it, the one that is in place when the link is opened: Home Assistant puts its own there.
        """
        self._provider = provider
        self._name = name
        self._profiles = tuple(profiles)
        self._clock = clock or SystemClock()
        self._client_class = client_class
        self._profile: GattProfile | None = None
        self._held = _Connection()
        self._turn = asyncio.Lock()  # of opening and closing
        self._writing = asyncio.Lock()
        self._closings = 0  # times that it was to be closed
        self._given_up: asyncio.Future[None] | None = None  # done when it is closed while it is being opened
        self._leaving: set[asyncio.Task[None]] = set()  # connections that are being ended

    @property
    def name(self) -> str:
        """See `ByteTransport`."""
        return self._name

    @property
    def baudrate(self) -> int:
        """See `GattTransport`."""
        return BAUDRATE

    @property
    def profile(self) -> GattProfile | None:
        """See `GattTransport`."""
        return self._profile

    # --- connecting --------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """See `ByteTransport`; takes up to 30 s, and a few more where what failed is slow to end.

        Raises:
            LinkError: MISSING where nothing sees the device, NO_SLOT where nothing that does has a connection to spare,
                UNREACHABLE where it does not take the connection, FOREIGN where it has none of the services, DRIVER
                without the library, LOST where it is closed meanwhile.
        """
        until = asyncio.get_running_loop().time() + _OPEN_TIMEOUT
        closings = self._closings
        async with self._turn:
            await self._part()
            if closings != self._closings:
                raise _closed()
            if (failure := await self._try_to_connect(until)) is not None:
                raise failure

    async def _try_to_connect(self, until: float) -> LinkError | None:
        """What it fails with is raised elsewhere: whoever keeps that error must not keep the client with its traceback.

        The attempt is a task of its own, because some of what it goes through takes its time to be cancelled.
        """
        loop = asyncio.get_running_loop()
        held, given_up = self._held, loop.create_future()
        connecting = held.connecting = loop.create_task(self._connect(held), name=f"connect {self._name}")
        self._given_up = given_up
        try:
            await asyncio.wait(
                (connecting, given_up), timeout=max(until - loop.time(), 0.0), return_when=asyncio.FIRST_COMPLETED
            )
        except BaseException:
            await self._part()
            raise
        finally:
            self._given_up = None
        failure = _closed() if given_up.done() else self._outcome(connecting)
        if failure is None:
            held.connecting = None
        else:
            await self._part()
        return failure

    def _outcome(self, connecting: asyncio.Task[None]) -> LinkError | None:
        """What an attempt came to, and be it to no end."""
        if not connecting.done():
            return LinkError(LinkProblem.UNREACHABLE, "takes too long")
        if connecting.cancelled():  # by what it went through: nobody here did
            return LinkError(LinkProblem.UNREACHABLE, "broken off")
        if (err := connecting.exception()) is None:
            return None
        _LOGGER.debug("%s could not be opened", self._name, exc_info=err)
        failure = self._translate(err)
        return LinkError(failure.problem, failure.detail)

    async def _connect(self, held: _Connection) -> None:
        if _LIBRARY not in sys.modules:
            await asyncio.get_running_loop().run_in_executor(None, _load)
        client = await self._establish(held)
        found = _find(client, self._profiles)
        if found is None and await _forget_services(client):
            # what was kept of another device, or of other software, says nothing of whose this one is
            await _quietly(client.disconnect, _DISCONNECT_TIMEOUT)
            client = await self._establish(held, use_services_cache=False)
            found = _find(client, self._profiles)
        if found is None:
            raise LinkError(LinkProblem.FOREIGN)
        self._profile, write, held.notify = found
        try:
            await client.start_notify(held.notify, held.notified)
        except Exception:  # whatever it was, the characteristic may not be where it was kept
            await _forget_services(client)
            raise
        if not held.standing:
            raise _dropped()
        held.write, held.settled = write, self._clock.monotonic() + _SETTLING

    async def _establish(self, held: _Connection, **how: Any) -> BleakClient:
        """A client that is connected."""
        from bleak_retry_connector import establish_connection  # noqa: PLC0415 - see `_load`

        if (device := self._provider()) is None:
            raise LinkError(LinkProblem.MISSING)
        base, more = self._client_base()
        client = await establish_connection(
            self._counted(base, held),
            device,
            self._name,
            disconnected_callback=held.disconnected,
            max_attempts=_ATTEMPTS,
            ble_device_callback=lambda: self._provider() or device,
            **more,
            **how,
        )
        if self._held is not held:
            raise _closed()  # it was broken off, and something that it went through took that for its own affair
        # of the attempts that failed before, each may have told that it was disconnected
        held.standing = client.is_connected
        if not held.standing:
            raise _dropped()
        return client

    def _client_base(self) -> tuple[type[BleakClient], dict[str, Any]]:
        """The client to connect with, and what it is to be told besides."""
        from bleak.backends.client import BaseBleakClient  # noqa: PLC0415 - see `_load`
        from bleak_retry_connector import BleakClientWithServiceCache  # noqa: PLC0415

        wanted = self._client_class
        if wanted is None:
            return BleakClientWithServiceCache, {}
        if issubclass(wanted, BaseBleakClient):
            return BleakClientWithServiceCache, {"backend": wanted}
        return wanted, {}

    def _counted(self, base: type[BleakClient], held: _Connection) -> type[BleakClient]:
        """The same client, which is known while it still tries, and does not try for ever."""
        link, left = self, _ATTEMPTS

        class Counted(base):  # type: ignore[valid-type,misc]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                held.client = self

            @override
            async def connect(self, **kwargs: Any) -> None:
                nonlocal left
                left -= 1
                try:
                    await super().connect(**kwargs)
                except Exception as err:
                    # types differ from backend to backend; a free slot is not waited for where somebody waits for us
                    if left <= 0 or _lacks_slot(err):
                        raise link._translate(err) from err
                    raise

        return Counted

    def _translate(self, err: BaseException) -> LinkError:
        """The one place where a failure to connect gets its name."""
        if isinstance(err, LinkError):
            return err
        detail = f"{type(err).__name__}: {err}"[:_DETAIL].rstrip(": ")
        if isinstance(err, ImportError):
            return LinkError(LinkProblem.DRIVER, detail)
        if _lacks_slot(err):
            # the same is said of a device that nothing sees any more
            seen = True
            with suppress(Exception):
                seen = self._provider() is not None
            return LinkError(LinkProblem.NO_SLOT if seen else LinkProblem.MISSING, detail)
        if type(err).__name__ in _MISSING:
            return LinkError(LinkProblem.MISSING, detail)
        return LinkError(LinkProblem.UNREACHABLE, detail)

    # --- parting -----------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """See `ByteTransport`; an `open` that is under way ends with a `LinkError`."""
        self._closings += 1
        if self._given_up is not None and not self._given_up.done():
            self._given_up.set_result(None)
        async with self._turn:
            await self._part()

    async def _part(self) -> None:
        """Let go of the device, even when this is cancelled; returns when it is done, or when that takes too long."""
        former, self._held = self._held, _Connection()
        former.disconnected()
        connecting, patience = former.connecting, _BREAKING_OFF
        if connecting is not None:
            connecting.cancel()
        if connecting is not None or former.client is not None:
            patience = _LEAVING
            leaving = asyncio.create_task(former.leave(), name=f"disconnect {self._name}")
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        if connecting is not None and not (await asyncio.wait((connecting,), timeout=_BREAKING_OFF))[0]:
            _LOGGER.debug("%s: an attempt to connect does not end, it is left to itself", self._name)
            return
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=patience)

    async def _fail(self, held: _Connection, error: LinkError) -> LinkError:
        if self._held is held and held.connecting is None:
            async with self._turn:
                # it may have been opened anew meanwhile
                if self._held is held and not held.standing:
                    await self._part()
        return error

    # --- bytes -------------------------------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """See `ByteTransport`."""
        async with self._writing:
            held = self._held
            if (left := held.settled - self._clock.monotonic()) > 0 and held.standing:
                await self._clock.sleep(left)
            if (failure := await self._try_to_write(held, data)) is not None:
                raise await self._fail(held, failure)

    async def _try_to_write(self, held: _Connection, data: bytes) -> LinkError | None:
        """See `_try_to_connect`."""
        client, write = held.client, held.write
        if not held.standing or client is None or write is None:
            return LinkError(LinkProblem.LOST)
        held.asked = True
        try:
            respond = "write-without-response" not in write.properties
            size = max(write.max_write_without_response_size, _SMALLEST_WRITE)
            for at in range(0, len(data), size):
                async with asyncio.timeout(_WRITE_TIMEOUT):
                    await client.write_gatt_char(write, data[at : at + size], response=respond)
        # not only BleakError: a proxy's client raises types of its own, and all of them end here
        except Exception as err:
            _LOGGER.debug("%s could not be written to", self._name, exc_info=True)
            if held.standing:
                held.asked = False  # it is forgotten here, and need not be again
                await _forget_services(client)
            held.disconnected()
            return LinkError(LinkProblem.LOST, type(err).__name__)
        return None

    async def receive(self, timeout: float) -> bytes:
        """See `ByteTransport`."""
        held = self._held
        if not held.buffer:
            if held.standing:
                await self._clock.wait(held.waiter(), timeout)
            if not held.buffer and not held.standing:
                raise await self._fail(held, LinkError(LinkProblem.LOST))
        return held.take()

    def drain(self) -> bytes:
        """See `ByteTransport`."""
        return self._held.take()


def _closed() -> LinkError:
    return LinkError(LinkProblem.LOST, "closed while it was being opened")


def _dropped() -> LinkError:
    return LinkError(LinkProblem.UNREACHABLE, "disconnected at once")


# Of bleak and of bleak-retry-connector, by name: they may not be loaded when something else fails.
_MISSING: Final = frozenset({"BleakNotFoundError", "BleakDeviceNotFoundError"})


def _lacks_slot(err: BaseException) -> bool:
    return any(words in str(err) for words in _NO_SLOT)


def _find(
    client: BleakClient, profiles: Sequence[GattProfile]
) -> tuple[GattProfile, BleakGATTCharacteristic, BleakGATTCharacteristic] | None:
    """The first profile that the device has, with where to write and where answers come from."""
    for profile in profiles:
        for service in client.services:
            if service.uuid.lower() != profile.service:
                continue
            write, notify = service.get_characteristic(profile.write), service.get_characteristic(profile.notify)
            if (
                write is not None
                and notify is not None
                and {"write", "write-without-response"}.intersection(write.properties)
                and {"notify", "indicate"}.intersection(notify.properties)
            ):
                return profile, write, notify
    return None


async def _forget_services(client: BleakClient) -> bool:
    """Have what is kept of a device's services asked for anew by the next attempt; whether anything may have been kept.

    It may be out of date: after an update of the pack's software they are other ones, or elsewhere.
    """
    import bleak  # noqa: PLC0415 - see `_load`

    # only Home Assistant's client can; the one that bleak-retry-connector has elsewhere says so with a warning
    if not hasattr(bleak.BleakClient, "clear_cache") or (clear := getattr(client, "clear_cache", None)) is None:
        return False
    return await _quietly(clear, _FORGET_TIMEOUT) is not False


async def _quietly(work: Callable[[], Coroutine[Any, Any, object]], seconds: float) -> object:
    """What it comes to, None where it fails."""
    with suppress(Exception):
        async with asyncio.timeout(seconds):
            return await work()
    return None
