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
_UNSUBSCRIBE_TIMEOUT, _DISCONNECT_TIMEOUT = 2.0, 6.0
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


class _Stream:
    """What one connection has brought, and whether it still stands."""

    __slots__ = ("_waiter", "buffer", "standing")

    def __init__(self, *, standing: bool) -> None:
        self.buffer = bytearray()
        self.standing = standing
        self._waiter: asyncio.Future[None] | None = None

    def notified(self, _characteristic: object, data: bytearray) -> None:
        self.buffer += data
        if len(self.buffer) > _BUFFER_LIMIT:
            del self.buffer[:-_BUFFER_LIMIT]
        self._wake()

    def disconnected(self, _client: object = None) -> None:
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
        self._client: BleakClient | None = None  # also while it only tries to connect
        self._notify: BleakGATTCharacteristic | None = None  # subscribed to
        self._write: BleakGATTCharacteristic | None = None
        self._stream = _Stream(standing=False)
        self._settled = 0.0  # monotonic
        self._turn = asyncio.Lock()  # of opening and closing
        self._writing = asyncio.Lock()
        self._opening: asyncio.Timeout | None = None
        self._given_up = False  # closed while it was being opened
        self._parting: asyncio.Task[None] | None = None

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
        """See `ByteTransport`; takes up to 30 s.

        Raises:
            LinkError: MISSING where nothing sees the device, NO_SLOT where nothing that does has a connection to spare,
                UNREACHABLE where it does not take the connection, FOREIGN where it has none of the services, DRIVER
                without the library.
        """
        async with self._turn:
            await self._part()
            stream = _Stream(standing=True)
            if (failure := await self._try_to_connect(stream)) is not None:
                raise failure
            self._stream = stream
            self._settled = self._clock.monotonic() + _SETTLING

    async def _try_to_connect(self, stream: _Stream) -> LinkError | None:
        """What it fails with is raised elsewhere: whoever keeps that error must not keep the client with its traceback."""
        self._given_up = False
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT) as self._opening:
                await self._connect(stream)
        except Exception as err:
            _LOGGER.debug("%s could not be opened", self._name, exc_info=True)
            await self._part()
            failure = self._translate(err)
            return LinkError(failure.problem, failure.detail)
        except BaseException:
            await self._part()
            raise
        finally:
            self._opening = None
        return None

    async def _connect(self, stream: _Stream) -> None:
        if _LIBRARY not in sys.modules:
            await asyncio.get_running_loop().run_in_executor(None, _load)
        from bleak_retry_connector import establish_connection  # noqa: PLC0415 - see `_load`

        if (device := self._provider()) is None:
            raise LinkError(LinkProblem.MISSING)
        base, more = self._client_base()
        client = await establish_connection(
            self._counted(base),
            device,
            self._name,
            disconnected_callback=stream.disconnected,
            max_attempts=_ATTEMPTS,
            ble_device_callback=lambda: self._provider() or device,
            **more,
        )
        found = _find(client, self._profiles)
        if found is None:
            await self._forget_services(client)
            raise LinkError(LinkProblem.FOREIGN)
        self._profile, self._write, notify = found
        self._notify = notify
        try:
            await client.start_notify(notify, stream.notified)
        except Exception:
            await self._forget_services(client)
            raise
        if not stream.standing:
            raise LinkError(LinkProblem.UNREACHABLE, "disconnected at once")

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

    def _counted(self, base: type[BleakClient]) -> type[BleakClient]:
        """The same client, which is known while it still tries, and does not try for ever."""
        link, left = self, _ATTEMPTS

        class Counted(base):  # type: ignore[valid-type,misc]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                link._client = self

            @override
            async def connect(self, **kwargs: Any) -> None:
                nonlocal left
                left -= 1
                try:
                    await super().connect(**kwargs)
                except Exception as err:
                    # a free slot is not waited for here, where somebody may be waiting for us
                    if left <= 0 or _lacks_slot(err):
                        raise link._translate(err) from err
                    raise

        return Counted

    @staticmethod
    async def _forget_services(client: BleakClient) -> None:
        """What a device has may come from a cache that is out of date; the next attempt asks it anew."""
        import bleak  # noqa: PLC0415 - see `_load`

        # only Home Assistant's client can; the one that bleak-retry-connector has elsewhere says so with a warning
        if hasattr(bleak.BleakClient, "clear_cache") and (clear := getattr(client, "clear_cache", None)) is not None:
            await _quietly(clear, _UNSUBSCRIBE_TIMEOUT)

    def _translate(self, err: Exception) -> LinkError:
        """The one place where a failure to connect gets its name."""
        if isinstance(err, LinkError):
            return err
        detail = f"{type(err).__name__}: {err}"[:_DETAIL].rstrip(": ")
        if self._given_up:
            return LinkError(LinkProblem.LOST, "closed while it was being opened")
        if isinstance(err, ImportError):
            return LinkError(LinkProblem.DRIVER, detail)
        if _lacks_slot(err):
            # the same is said of a device that nothing sees any more
            seen = True
            with suppress(Exception):
                seen = self._provider() is not None
            return LinkError(LinkProblem.NO_SLOT if seen else LinkProblem.MISSING, detail)
        if type(err).__name__ in _MISSING and not isinstance(err.__cause__, TimeoutError):
            return LinkError(LinkProblem.MISSING, detail)
        return LinkError(LinkProblem.UNREACHABLE, detail)

    # --- parting -----------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """See `ByteTransport`; an `open` that is under way ends with a `LinkError`."""
        if self._opening is not None:
            self._given_up = True
            with suppress(RuntimeError):  # it has ended by itself just now
                self._opening.reschedule(asyncio.get_running_loop().time())
        async with self._turn:
            await self._part()

    async def _part(self) -> None:
        """Let go of the device, even when this is cancelled; returns when it is done."""
        self._stream.disconnected()
        client, self._client = self._client, None
        notify, self._notify = self._notify, None
        self._write = None
        if client is not None:
            self._parting = asyncio.create_task(_disconnect(client, notify), name=f"disconnect {self._name}")
        if self._parting is not None:
            await asyncio.shield(self._parting)
            self._parting = None

    async def _fail(self, stream: _Stream, error: LinkError) -> LinkError:
        if self._stream is stream:  # else it was opened anew meanwhile
            await self.close()
        return error

    # --- bytes -------------------------------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """See `ByteTransport`."""
        async with self._writing:
            stream = self._stream
            if (left := self._settled - self._clock.monotonic()) > 0 and stream.standing:
                await self._clock.sleep(left)
            if (failure := await self._try_to_write(stream, data)) is not None:
                raise await self._fail(stream, failure)

    async def _try_to_write(self, stream: _Stream, data: bytes) -> LinkError | None:
        """See `_try_to_connect`."""
        client, write = self._client, self._write
        if not stream.standing or client is None or write is None:
            return LinkError(LinkProblem.LOST)
        try:
            respond = "write-without-response" not in write.properties
            size = max(write.max_write_without_response_size, _SMALLEST_WRITE)
            for at in range(0, len(data), size):
                async with asyncio.timeout(_WRITE_TIMEOUT):
                    await client.write_gatt_char(write, data[at : at + size], response=respond)
        # not only BleakError: a proxy's client raises types of its own, and all of them end here
        except Exception as err:
            _LOGGER.debug("%s could not be written to", self._name, exc_info=True)
            return LinkError(LinkProblem.LOST, type(err).__name__)
        return None

    async def receive(self, timeout: float) -> bytes:
        """See `ByteTransport`."""
        stream = self._stream
        if not stream.buffer:
            if stream.standing:
                await self._clock.wait(stream.waiter(), timeout)
            if not stream.buffer and not stream.standing:
                raise await self._fail(stream, LinkError(LinkProblem.LOST))
        return stream.take()

    def drain(self) -> bytes:
        """See `ByteTransport`."""
        return self._stream.take()


# Of bleak and of bleak-retry-connector, by name: they may not be loaded when something else fails.
_MISSING: Final = frozenset({"BleakNotFoundError", "BleakDeviceNotFoundError"})


def _lacks_slot(err: Exception) -> bool:
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


async def _disconnect(client: BleakClient, notify: BleakGATTCharacteristic | None) -> None:
    """Unsubscribe and disconnect; never raises, and does not wait for what never answers."""
    if notify is not None:
        await _quietly(lambda: client.stop_notify(notify), _UNSUBSCRIBE_TIMEOUT)
    await _quietly(client.disconnect, _DISCONNECT_TIMEOUT)


async def _quietly(work: Callable[[], Coroutine[Any, Any, object]], seconds: float) -> None:
    with suppress(Exception):
        async with asyncio.timeout(seconds):
            await work()
