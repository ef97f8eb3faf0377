"""CAN adapters through python-can, each with one reader thread of our own; and the factory for every kind of bus.

python-can is loaded and a bus is opened, read and closed in that thread alone, so that nothing it does can block the
event loop. Its own notifiers are not used: measured, they raise without end when an adapter is unplugged, or die with
a traceback (can.md section 10.2). Nothing here sends.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
import fcntl
import logging
import os
import select
import socket
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ..can_frame import EXTENDED, CanFrame
from ..clock import Clock
from ..errors import LinkError, LinkProblem
from . import CanTransport
from .can_address import CanAddress, Interface, Silence, read_group, read_socketcand
from .guarded import GuardedBus
from .serial import SerialTransport, translate
from .slcan import SlcanBus
from .socketcand import probe

if TYPE_CHECKING:
    from can import BusABC

# What every protocol of can.md section 6 uses.
_BITRATE: Final = 500_000
_SERIAL_SPEED: Final = 115_200  # of an slcan adapter; those with a USB interface of their own ignore it

_OPEN_TIMEOUT: Final = 20.0  # s; the first import takes about one (can.md section 10), a network's answer five
_CLOSE_TIMEOUT: Final = 3.0
_JOIN: Final = 0.05  # s for a thread to end that has said its last word
_SILENCE: Final = 60.0  # s
# Frames that wait for a client; older ones are of no use to anyone. Ten seconds of a bus that repeats one frame.
_QUEUE: Final = 20_000
_WAIT: Final = 0.1  # s for the thread to wait for a frame; closing takes as long
_USB_PAUSE: Final = 0.02  # s between two looks at an adapter that can only be asked
_JUNK_PAUSE: Final = 0.001  # s after bytes that were no frame: a line that babbles must not cost a core
_GONE: Final = select.POLLHUP | select.POLLRDHUP | select.POLLERR | select.POLLNVAL
_USELESS_PAUSE: Final = 1.0  # s before a bus is given up of which nothing was ever received
_ERROR_PAUSE: Final = 0.05
_MOST_ERRORS: Final = 20  # reads that failed in a row


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How python-can is to be used with one interface."""

    arguments: Callable[[CanAddress, int | None, bool], Mapping[str, Any]]  # of the constructor
    # s that a read may wait by itself: most libraries would spin in it when their adapter has gone (can.md 10.2)
    wait: float = 0.0
    hides_unplug: bool = False  # recv keeps returning None as if the bus were silent (can.md section 10.2)
    failure: LinkProblem = LinkProblem.FAILED  # what a failed constructor means that gave no error number


def _socketcand(address: CanAddress, _bitrate: int | None, _listen_only: bool) -> Mapping[str, Any]:
    remote = read_socketcand(address.channel)
    return {"channel": remote.channel, "host": remote.host, "port": remote.port}


def _seeedstudio(address: CanAddress, bitrate: int | None, listen_only: bool) -> Mapping[str, Any]:
    return {
        "channel": address.channel,
        "bitrate": bitrate,
        "operation_mode": "silent" if listen_only else "normal",
    }


def _udp_multicast(address: CanAddress, _bitrate: int | None, _listen_only: bool) -> Mapping[str, Any]:
    remote = read_group(address.channel)
    return {"channel": remote.host, "port": remote.port, "fd": False}


def _indexed(address: CanAddress, bitrate: int | None, _listen_only: bool) -> Mapping[str, Any]:
    return {"channel": int(address.channel), "bitrate": bitrate}


def _named(address: CanAddress, _bitrate: int | None, _listen_only: bool) -> Mapping[str, Any]:
    return {"channel": address.channel}


_WAYS: Final[Mapping[Interface, _Way]] = MappingProxyType(
    {
        Interface.SOCKETCAN: _Way(arguments=_named),
        Interface.SOCKETCAND: _Way(arguments=_socketcand, hides_unplug=True, failure=LinkProblem.UNREACHABLE),
        Interface.SEEEDSTUDIO: _Way(arguments=_seeedstudio, hides_unplug=True),
        Interface.GS_USB: _Way(arguments=_indexed, hides_unplug=True, failure=LinkProblem.MISSING),
        Interface.CANALYSTII: _Way(arguments=_indexed, hides_unplug=True, failure=LinkProblem.MISSING),
        Interface.UDP_MULTICAST: _Way(arguments=_udp_multicast, failure=LinkProblem.UNREACHABLE),
        Interface.VIRTUAL: _Way(arguments=_named, wait=_WAIT),
    }
)


def open_bus(address: CanAddress, *, bitrate: int | None, listen_only: bool, clock: Clock) -> CanTransport:
    """The transport of a bus, closed as yet.

    `bitrate` matters where `address.adapter.sets_bitrate`; None: 500 kbit/s with an adapter that is able to keep
    quiet for certain, asked to or not; any other does not open without one.
    `listen_only` is heeded where the adapter can (see `Silence`), and one that never is silent is not opened with it;
    what came of it is the transport's `silent`.
    """
    bus: CanTransport
    if address.interface is Interface.SLCAN:
        line = SerialTransport(address.channel, _SERIAL_SPEED, clock=clock)
        bus = SlcanBus(line, bitrate=bitrate or _BITRATE, listen_only=listen_only, clock=clock)
    else:
        bus = PythonCanBus(address, bitrate=bitrate, listen_only=listen_only, clock=clock)
    return bus if bus.silent or not address.adapter.sets_bitrate else GuardedBus(bus, clock)


def _quieten() -> None:
    """Keep python-can from logging what is raised here anyway, at every attempt to reopen; anybody may turn it on."""
    for name in ("can", "seeedbus"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)


def _error_number(err: BaseException) -> int | None:
    """The operating system's number behind a failure, wherever the library has left it."""
    cause: BaseException | None = err
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return cause.errno
        cause = cause.__cause__
    code = getattr(err, "error_code", None)
    return code if isinstance(code, int) else None


def _named_failure(err: BaseException, fallback: LinkProblem) -> LinkError:
    """The one place where a failure of python-can gets its name. Holds no reference to what failed."""
    # CanInterfaceNotImplementedError and, of pyusb without libusb, NoBackendError: by name, as neither may be loaded
    names = {kind.__name__ for kind in type(err).__mro__}
    detail = type(err).__name__
    if isinstance(err, LinkError):
        return LinkError(err.problem, err.detail)
    if isinstance(err, ImportError) or names & {"CanInterfaceNotImplementedError", "NoBackendError"}:
        return LinkError(LinkProblem.DRIVER, detail)
    if (number := _error_number(err)) is not None:
        found = translate(OSError(number, ""), fallback)
        return LinkError(found.problem, f"{detail}: {os.strerror(number)}")
    if isinstance(err, OSError):  # also TimeoutError
        return LinkError(translate(err, fallback).problem, detail)
    return LinkError(fallback, detail)


def _construct(address: CanAddress, arguments: Mapping[str, Any]) -> BusABC:
    """Open a bus; raises whatever the library raises."""
    from can import Bus  # noqa: PLC0415 - see `LinkProblem.DRIVER`, and it takes a second

    _quieten()
    # without `ignore_config` files and environment of the user would be merged in
    bus = Bus(interface=address.interface.value, ignore_config=True, **arguments)
    try:
        if address.interface is Interface.SOCKETCAN:
            # a link that is down can be bound to; it says so at the first read, and then never again
            bus.recv(0)
    except BaseException:
        _shut(bus)
        raise
    return bus


@contextmanager
def _held(address: CanAddress) -> Iterator[None]:
    """Hold the lock of a serial port, as serialx does.

    python-can's constructor would write its set-up first, and spoil what another program is doing there.

    Raises:
        OSError: somebody else has it, or it cannot be opened.
    """
    if address.interface is not Interface.SEEEDSTUDIO:
        yield
        return
    try:
        port = os.open(address.channel, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except FileNotFoundError:
        yield  # the constructor says so, or that it needs a library
        return
    try:
        fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(port)


def _shut(bus: BusABC) -> None:
    with suppress(Exception):
        bus.shutdown()
    # a shutdown that failed has not closed the port (can.md section 10.2)
    port = getattr(bus, "ser", None)
    if port is not None:
        with suppress(Exception):
            port.close()


class _Watch:
    """Waits for what an adapter's descriptor has to say, if it has one."""

    def __init__(self, bus: BusABC, stop: threading.Event, pause: float) -> None:
        """`pause`: s to wait where there is no descriptor."""
        self._stop = stop
        self._pause = pause
        self._poll: select.poll | None = None
        self.gone = False  # nothing will ever come again; what has come may still be read
        try:
            descriptor = bus.fileno()
        except NotImplementedError, OSError:
            # socketcand's bus keeps its connection to itself, and is silent for ever when it ends
            found = (one.fileno() for one in vars(bus).values() if isinstance(one, socket.socket))
            descriptor = next(found, -1)
        if descriptor >= 0:
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN | select.POLLRDHUP)

    def wait(self) -> None:
        """After a read that gave nothing."""
        if self._poll is None:
            self._stop.wait(self._pause)
        elif events := self._poll.poll(_WAIT * 1000):
            self.gone = any(event & _GONE for _, event in events)
            self._stop.wait(_JUNK_PAUSE)


class _Counter:
    """Outlives the threads that count."""

    __slots__ = ("errors",)

    def __init__(self) -> None:
        self.errors = 0


class _Reader:
    """One thread, from opening to closing; everything up to `run` belongs to the event loop."""

    def __init__(self, address: CanAddress, arguments: Mapping[str, Any], clock: Clock, counter: _Counter) -> None:
        """Start nothing yet."""
        self._address = address
        self._arguments = arguments
        self._way = _WAYS[address.interface]
        self._clock = clock
        self._counter = counter
        self._loop = asyncio.get_running_loop()
        self._useful = False  # something was received
        self._told = False  # the loop will look, it need not be told again
        self._stop = threading.Event()
        self.frames: deque[CanFrame] = deque(maxlen=_QUEUE)
        self.failure: LinkError | None = None
        self.opened = asyncio.Event()  # or failed to
        self.succeeded = False  # in opening it
        self.ended = asyncio.Event()
        self.waiter: asyncio.Future[None] | None = None
        self.thread = threading.Thread(target=self.run, name=f"CAN {address}", daemon=True)

    def stop(self) -> None:
        """Let the thread end; what it still opens it closes."""
        self._stop.set()

    def take(self) -> list[CanFrame]:
        """What has arrived."""
        frames = self.frames
        return [frames.popleft() for _ in range(len(frames))]

    def _notify(self) -> None:
        self._told = False
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def _finish(self) -> None:
        self.opened.set()
        self.ended.set()
        self._notify()

    def _call(self, callback: Callable[[], object]) -> None:
        # the loop is closed when Home Assistant has stopped without closing us
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)

    def run(self) -> None:
        """In the thread."""
        problem: LinkError | None = None
        try:
            problem = self._work()
        except Exception as err:  # noqa: BLE001 - whatever a driver raises, the loop must hear that it is over
            problem = _named_failure(err, LinkProblem.FAILED)
        self.failure = problem or LinkError(LinkProblem.LOST, "closed")
        self._call(self._finish)

    def _work(self) -> LinkError | None:
        while not self._stop.is_set():
            with _held(self._address):
                problem = self._use()
            if problem is not None:
                return problem
        return None

    def _use(self) -> LinkError | None:
        """Open, read, and close; with None, the bus is to be opened anew, or it was stopped."""
        # not raised, and named only when the failure is no longer handled: its traceback would keep a half-opened bus
        # and its descriptor
        bus = self._open()
        if isinstance(bus, LinkError):
            return bus
        try:
            self.succeeded = True
            self._call(self.opened.set)
            problem = self._listen(bus)
        finally:
            _shut(bus)
        if problem is not None and not self._useful:
            # a server that answers politely and hangs up must not be called without a pause
            self._stop.wait(_USELESS_PAUSE)
        return problem

    def _open(self) -> BusABC | LinkError:
        try:
            if self._address.interface is Interface.SOCKETCAND:
                probe(self._address)
            return _construct(self._address, self._arguments)
        except Exception as err:  # noqa: BLE001 - each interface raises types of its own (can.md section 10.2)
            return _named_failure(err, self._way.failure)

    def _listen(self, bus: BusABC) -> LinkError | None:
        """Read until told to stop; also returns, with None, when the bus is to be opened anew."""
        way, clock, frames = self._way, self._clock, self.frames
        watch = _Watch(bus, self._stop, 0.0 if way.wait else _USB_PAUSE)
        heard = clock.monotonic()
        failed = 0
        while not self._stop.is_set():
            try:
                message = bus.recv(way.wait)
            except Exception as err:  # noqa: BLE001 - see `_open`; a malformed frame is one of these, too
                self._counter.errors += 1
                failed += 1
                if _error_number(err) is not None or failed > _MOST_ERRORS:
                    return _named_failure(err, LinkProblem.LOST)
                self._stop.wait(_ERROR_PAUSE)
                continue
            if message is None:
                if watch.gone:
                    return LinkError(LinkProblem.LOST, "hung up")
                if way.hides_unplug and clock.monotonic() - heard > _SILENCE:
                    # a battery asleep, or an adapter gone: opening it anew tells
                    return None
                watch.wait()
                continue
            heard = clock.monotonic()
            failed = 0
            self._useful = True
            if message.is_error_frame:
                self._counter.errors += 1
            elif not message.is_remote_frame and not message.is_fd:
                frame_id = message.arbitration_id | (EXTENDED if message.is_extended_id else 0)
                frames.append(CanFrame(id=frame_id, data=bytes(message.data[: message.dlc])))
                if not self._told:
                    self._told = True
                    self._call(self._notify)
        return None


class PythonCanBus:
    """A bus behind an adapter that python-can knows; implements `CanTransport`.

    A bus that says nothing for a minute is opened anew where an unplugged adapter would not be noticed, without a word
    as long as that works: a battery may be asleep.
    """

    def __init__(self, address: CanAddress, *, bitrate: int | None, listen_only: bool, clock: Clock) -> None:
        """Remember the bus; nothing is opened and no library loaded yet."""
        self._address = address
        adapter = address.adapter
        usual = _BITRATE if adapter.silence is Silence.ENSURED else None
        self._bitrate = (bitrate or usual) if adapter.sets_bitrate else None
        self._listen_only = listen_only
        self._clock = clock
        self._counter = _Counter()
        self._reader: _Reader | None = None
        self._hung: threading.Thread | None = None  # did not end when it was told to

    @property
    def name(self) -> str:
        """See `CanTransport`."""
        return str(self._address)

    @property
    def bitrate(self) -> int | None:
        """See `CanTransport`."""
        return self._bitrate

    @property
    def silent(self) -> bool | None:
        """See `CanTransport`."""
        silence = self._address.adapter.silence
        if silence is Silence.OUTSIDE:
            return None
        if silence is Silence.ENSURED:
            return True  # those without a wire
        if silence is Silence.ASKED:
            return None if self._listen_only else False
        return False

    @property
    def errors(self) -> int:
        """See `CanTransport`."""
        return self._counter.errors

    def _check(self) -> None:
        """Whether the adapter may be let near a bus that others are on."""
        adapter = self._address.adapter
        if self._listen_only and adapter.silence is Silence.NEVER:
            raise LinkError(LinkProblem.FAILED, "the adapter cannot listen without acknowledging")
        if adapter.sets_bitrate and self._bitrate is None:
            raise LinkError(LinkProblem.FAILED, "the adapter may acknowledge, and needs to be told a bit rate")

    async def open(self) -> None:
        """See `CanTransport`."""
        self._check()
        await self.close()
        if self._hung is not None and self._hung.is_alive():
            # one thread a bus, whatever a driver does
            raise LinkError(LinkProblem.BUSY, "the driver has not come back from the last attempt")
        self._hung = None
        way = _WAYS[self._address.interface]
        arguments = way.arguments(self._address, self._bitrate, self._listen_only)
        reader = _Reader(self._address, arguments, self._clock, self._counter)
        self._reader = reader
        reader.thread.start()
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT):
                await reader.opened.wait()
        except TimeoutError as err:
            await self.close()
            raise LinkError(LinkProblem.UNREACHABLE, "the driver does not come back") from err
        except asyncio.CancelledError:
            # it closes by itself what it is about to open
            reader.stop()
            raise
        if not reader.succeeded:
            failure = reader.failure or LinkError(LinkProblem.FAILED)
            await self.close()
            raise failure

    async def close(self) -> None:
        """See `CanTransport`."""
        reader, self._reader = self._reader, None
        if reader is None:
            return
        reader.stop()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await reader.ended.wait()
        except TimeoutError:
            self._hung = reader.thread
        else:
            reader.thread.join(_JOIN)

    async def receive(self, timeout: float) -> Sequence[CanFrame]:
        """See `CanTransport`."""
        reader = self._reader
        if reader is None:
            raise LinkError(LinkProblem.LOST, "not open")
        until = self._clock.monotonic() + timeout
        left = timeout
        while not reader.frames and reader.failure is None and left > 0:
            # may be woken for nothing, by what was taken already
            waiter = reader.waiter = asyncio.get_running_loop().create_future()
            try:
                await self._clock.wait(waiter, left)
            finally:
                reader.waiter = None
            left = until - self._clock.monotonic()
        frames = reader.take()
        if not frames and reader.failure is not None:
            failure = reader.failure
            await self.close()
            raise failure
        return frames
