"""Every serial byte: local ports, `socket://`, `rfc2217://` and ESPHome proxies, through serialx.

Whatever serialx, the operating system or a proxy's client raises leaves this module as a `LinkError`. The adapter is
opened exclusively, because two masters corrupt the bus.
"""

import asyncio
from contextlib import suppress
import errno
from typing import TYPE_CHECKING, override
from urllib.parse import parse_qsl, urlsplit

from ..clock import Clock, SystemClock
from ..errors import LinkError, LinkProblem

if TYPE_CHECKING:
    from serialx import BaseSerialTransport

# A gateway in the next room answers in milliseconds; a sleeping ESPHome proxy was seen to take seconds.
_OPEN_TIMEOUT = 10.0
_CLOSE_TIMEOUT = 3.0
# Nobody reads while a babbling line fills the buffer: what is older than this is of no use to anyone.
_BUFFER_LIMIT = 65536
_URL_LIMIT = 1024
_SECRETS = frozenset({"key", "password", "noise_psk"})

_PROBLEMS: dict[int, LinkProblem] = {
    errno.ENOENT: LinkProblem.MISSING,
    errno.ENODEV: LinkProblem.MISSING,
    errno.ENXIO: LinkProblem.MISSING,
    errno.EACCES: LinkProblem.PERMISSION,
    errno.EPERM: LinkProblem.PERMISSION,
    errno.EBUSY: LinkProblem.BUSY,
    errno.EAGAIN: LinkProblem.BUSY,
    errno.ENOTTY: LinkProblem.BAD_ADDRESS,
    errno.EISDIR: LinkProblem.BAD_ADDRESS,
    errno.ENOTDIR: LinkProblem.BAD_ADDRESS,
    errno.EINVAL: LinkProblem.BAD_ADDRESS,
    errno.ENAMETOOLONG: LinkProblem.BAD_ADDRESS,
    errno.ECONNREFUSED: LinkProblem.UNREACHABLE,
    errno.EHOSTUNREACH: LinkProblem.UNREACHABLE,
    errno.ENETUNREACH: LinkProblem.UNREACHABLE,
    errno.ETIMEDOUT: LinkProblem.UNREACHABLE,
    errno.EIO: LinkProblem.LOST,
    errno.ECONNRESET: LinkProblem.LOST,
    errno.EPIPE: LinkProblem.LOST,
    errno.ENETDOWN: LinkProblem.DOWN,
    # a kernel without CAN has no CAN interface either, and no library would help
    errno.EAFNOSUPPORT: LinkProblem.MISSING,
}


def check_text(url: str) -> None:
    """Refuse what cannot be an address, or holds a secret, by its text alone; loads nothing.

    Raises:
        LinkError: CREDENTIALS for an address that carries a secret (it would end up in logs and diagnostics),
            BAD_ADDRESS for what is neither a path nor a URL.
    """
    if not url.strip() or len(url) > _URL_LIMIT or not url.isprintable():
        raise LinkError(LinkProblem.BAD_ADDRESS)
    if "://" not in url:
        return
    try:
        parts = urlsplit(url)
        query = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        secret = parts.username is not None or parts.password is not None or bool(query & _SECRETS)
    except ValueError as err:
        raise LinkError(LinkProblem.BAD_ADDRESS) from err
    if secret:
        raise LinkError(LinkProblem.CREDENTIALS)


def check_url(url: str) -> None:
    """Refuse what must not or cannot be opened, without touching it.

    Raises:
        LinkError: as `check_text`; also BAD_ADDRESS for a URL that serialx does not know.
    """
    check_text(url)
    if "://" not in url:
        return

    from serialx import SerialException  # noqa: PLC0415 - wire libraries load when a line is first used
    from serialx.common import get_uri_handler  # noqa: PLC0415

    try:
        get_uri_handler(url)
    except (SerialException, ValueError) as err:
        raise LinkError(LinkProblem.BAD_ADDRESS) from err


def _load(url: str) -> None:
    """What of opening takes long enough to be felt: loading the library and, for a URL, looking its scheme up."""
    check_url(url)
    import serialx  # noqa: F401, PLC0415


def translate(err: BaseException, fallback: LinkProblem) -> LinkError:
    """The one place where a failure of the layer below gets its name."""
    if isinstance(err, LinkError):
        return err
    problem = fallback
    if isinstance(err, TimeoutError):
        problem = LinkProblem.UNREACHABLE
    elif isinstance(err, OSError):
        # a failed name look-up has its own numbers in errno, which mean something else there
        named = type(err).__name__ == "gaierror"
        problem = LinkProblem.UNREACHABLE if named else _PROBLEMS.get(err.errno or 0, fallback)
    elif isinstance(err, ValueError):
        problem = LinkProblem.BAD_ADDRESS
    return LinkError(problem, type(err).__name__)


class _Receiver(asyncio.Protocol):
    """Collects what arrives and remembers how the line ended."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.lost: LinkError | None = None
        self.waiter: asyncio.Future[None] | None = None

    @override
    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) > _BUFFER_LIMIT:
            del self.buffer[:-_BUFFER_LIMIT]
        self._wake()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = translate(exc, LinkProblem.LOST) if exc else LinkError(LinkProblem.LOST)
        self._wake()

    def take(self) -> bytes:
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class SerialTransport:
    """A serial line by path or URL; implements `ByteTransport`."""

    def __init__(self, url: str, baudrate: int, *, clock: Clock | None = None) -> None:
        """Remember the line; nothing is opened and no library loaded yet."""
        self._url = url
        self._baudrate = baudrate
        self._clock = clock or SystemClock()
        self._transport: BaseSerialTransport | None = None
        self._receiver = _Receiver()

    @property
    def name(self) -> str:
        """See `ByteTransport`."""
        return self._url

    @property
    def baudrate(self) -> int:
        """See `ByteTransport`."""
        return self._baudrate

    async def open(self) -> None:
        """See `ByteTransport`."""
        await self.close()
        loop = asyncio.get_running_loop()
        receiver = _Receiver()
        await loop.run_in_executor(None, _load, self._url)
        from serialx import create_serial_connection  # noqa: PLC0415 - see `check_url`

        try:
            async with asyncio.timeout(_OPEN_TIMEOUT):
                self._transport, _ = await create_serial_connection(
                    loop, lambda: receiver, self._url, baudrate=self._baudrate, exclusive=True
                )
        # not only OSError: a proxied port raises the types of its own client, and all of them end here
        except Exception as err:
            raise translate(err, LinkProblem.FAILED) from err
        self._receiver = receiver

    async def close(self) -> None:
        """See `ByteTransport`."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        transport.abort()
        # a driver that hangs must not hang Home Assistant's shutdown; the descriptor is closed in a thread either way
        with suppress(Exception):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await transport.wait_closed()

    async def send(self, data: bytes) -> None:
        """See `ByteTransport`."""
        transport = self._transport
        if transport is None or self._receiver.lost is not None:
            raise await self._fail(self._receiver.lost or LinkError(LinkProblem.LOST))
        try:
            transport.write(data)
        except Exception as err:  # as in `open`
            raise await self._fail(translate(err, LinkProblem.LOST)) from err

    async def receive(self, timeout: float) -> bytes:
        """See `ByteTransport`."""
        receiver = self._receiver
        if not receiver.buffer:
            if receiver.lost is None and self._transport is not None:
                receiver.waiter = asyncio.get_running_loop().create_future()
                await self._clock.wait(receiver.waiter, timeout)
            if not receiver.buffer and (receiver.lost is not None or self._transport is None):
                raise await self._fail(receiver.lost or LinkError(LinkProblem.LOST))
        return receiver.take()

    def drain(self) -> bytes:
        """See `ByteTransport`."""
        return self._receiver.take()

    async def _fail(self, error: LinkError) -> LinkError:
        await self.close()
        return error
