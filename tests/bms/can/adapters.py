"""Adapters of the kinds that people have, at the far end of real media: pseudo terminals and TCP."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
import os
from pathlib import Path
import time
import tty
from typing import Protocol, Self


class Device(Protocol):
    """What sits behind a port."""

    def take(self, data: bytes) -> bytes:
        """Bytes that were written to it; returns what it answers."""


class Slcan:
    """Firmware that speaks slcan; notes every command.

    `mute` answers nothing; `canable` is mute, too, and knows M1 in place of L; without `listens` L is refused.
    """

    def __init__(
        self, *, mute: bool = False, canable: bool = False, listens: bool = True, rates: str = "012345678"
    ) -> None:
        """Switch it on, closed."""
        self.mute = mute or canable
        self.canable = canable
        self.listens = listens
        self.rates = rates
        self.commands: list[str] = []
        self.bitrate: str | None = None
        self.mode = "closed"  # or "open" or "listening"
        self.quiet = False  # M1 of a CANable
        self._rest = b""

    def take(self, data: bytes) -> bytes:
        """See `Device`."""
        *lines, self._rest = (self._rest + data).split(b"\r")
        return b"".join(self._obey(line.decode()) for line in lines)

    def _obey(self, command: str) -> bytes:
        self.commands.append(command)
        done = self._do(command)
        if command == "V":
            return b"v1.2 github.com/someone/CANable-fw\r" if self.canable else b"" if self.mute else b"V1013\r"
        if self.mute:
            return b""
        return b"\r" if done else b"\a"

    def _do(self, command: str) -> bool:
        closed = self.mode == "closed"
        if command == "C":
            self.mode = "closed"
            return not closed
        if not closed:
            return False
        if command[:1] == "S":
            self.bitrate = command[1:] if command[1:] in self.rates else None
            return self.bitrate is not None
        if command == "O" and self.bitrate is not None:
            self.mode = "listening" if self.quiet else "open"
            return True
        if command == "L" and self.listens and not self.canable:
            self.mode = "listening"
            return True
        if command in {"M0", "M1"} and self.canable:
            self.quiet = command == "M1"
            return True
        return False


class Seeed:
    """The USB-CAN analyser: takes one message of 20 bytes that sets it up, and answers nothing."""

    def __init__(self) -> None:
        """Switch it on."""
        self.taken = b""

    def take(self, data: bytes) -> bytes:
        """See `Device`."""
        self.taken += data
        return b""

    @staticmethod
    def frame(frame_id: int, data: bytes, *, extended: bool = False) -> bytes:
        """A frame as it writes it."""
        kind = 0xC0 | (0x20 if extended else 0) | len(data)
        return b"\xaa" + bytes([kind]) + frame_id.to_bytes(4 if extended else 2, "little") + data + b"\x55"


class Port:
    """A pseudo terminal with a device behind it, under a path that stays; needs a running event loop."""

    def __init__(self, device: Device, path: Path) -> None:
        """Remember both; `plug` it in to begin."""
        self.device = device
        self.path = path
        self.received = bytearray()
        self._master = -1
        self._slave = -1

    def plug(self) -> None:
        """Let the path appear."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(self._slave))
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    def unplug(self) -> None:
        """Let it vanish, and hang up; harmless twice."""
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        self.path.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1

    def write(self, data: bytes) -> None:
        """What the device says of its own accord; lost when nobody reads for long."""
        with suppress(BlockingIOError):
            os.write(self._master, data)

    def _readable(self) -> None:
        with suppress(BlockingIOError, OSError):
            data = os.read(self._master, 4096)
            self.received += data
            if answer := self.device.take(data):
                self.write(answer)


class Gateway:
    """A TCP server with a device behind it, one at a time."""

    def __init__(self, device: Device) -> None:
        """Remember the device; `start` it."""
        self.device = device
        self.connected = 0
        self.deaf = False  # goes on, but takes no notice, as after a loss of power
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        self._writers.append(writer)
        with suppress(ConnectionError):
            while data := await reader.read(1024):
                if not self.deaf and (answer := self.device.take(data)):
                    writer.write(answer)
        writer.close()

    def write(self, data: bytes) -> None:
        """To whoever connected last."""
        self._writers[-1].write(data)

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.close()
            await self._server.wait_closed()


class Socketcand:
    """A socketcand server that has one bus, can0."""

    def __init__(self) -> None:
        """`start` it."""
        self.said: list[str] = []
        self.port = 0
        self.silent = False  # accepts and says nothing
        self.goodbye = False  # closes when it is in raw mode
        self.raw: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            if self.silent:
                await reader.read(1)
                return
            writer.write(b"< hi >")
            while True:
                said = (await reader.readuntil(b">")).decode().strip()
                self.said.append(said)
                known = said in {"< open can0 >", "< rawmode >"}
                writer.write(b"< ok >" if known else b"< error could not open bus >")
                if said == "< rawmode >":
                    if self.goodbye:
                        break
                    self.raw.append(writer)
        writer.close()

    def write(self, text: str) -> None:
        """To everybody in raw mode."""
        for writer in self.raw:
            writer.write(text.encode())

    async def stop(self) -> None:
        """Close everything; the port can be taken again."""
        if self._server is None:
            return
        self._server.close()
        for writer in self.raw:
            writer.close()
        self.raw.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None


class Heartbeat:
    """How long the event loop was held up, in s, while this was entered."""

    def __init__(self) -> None:
        """Enter it."""
        self._held: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def _beat(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            self._held.append(time.monotonic() - before - 0.005)

    def longest(self, *, but: int = 0) -> float:
        """The longest time; `but` that many longer ones, as on a busy machine the whole process is held up."""
        return sorted(self._held)[-1 - but]

    async def __aenter__(self) -> Self:
        """Begin."""
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def until(true: Callable[[], bool], seconds: float = 3.0) -> None:
    """Wait for something that takes real time."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


async def gather[T](receive: Callable[[float], Awaitable[Sequence[T]]], count: int, seconds: float = 3.0) -> list[T]:
    """Receive until there are `count` of them."""
    found: list[T] = []
    async with asyncio.timeout(seconds):
        while len(found) < count:
            found += await receive(1.0)
    return found


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
