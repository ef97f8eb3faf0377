"""An adapter that speaks slcan (Lawicel's ASCII commands), on a pseudo terminal or a TCP port, at the true pace."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
import os
from pathlib import Path
import tempfile
import tty
from typing import Final, override

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame

from .bus import SimBus, SimPort

_RATES: Final = {
    b"S0": 10_000,
    b"S1": 20_000,
    b"S2": 50_000,
    b"S3": 100_000,
    b"S4": 125_000,
    b"S5": 250_000,
    b"S6": 500_000,
    b"S7": 800_000,
    b"S8": 1_000_000,
}
_DONE: Final = b"\r"
_REFUSED: Final = b"\a"
_TRANSMITS: Final = frozenset(b"tTrRdDbB")
_LONGEST: Final = 64


def frame_line(frame: CanFrame, *, remote: bool = False) -> bytes:
    """A frame as an adapter reports it."""
    kind, digits = ("rR", "tT")[not remote], 3
    letter = kind[0]
    if frame.id & EXTENDED:
        letter, digits = kind[1], 8
    data = "" if remote else frame.data.hex().upper()
    return f"{letter}{frame.id & ~EXTENDED:0{digits}X}{len(frame.data)}{data}\r".encode()


class Slcan(SimPort):
    """The adapter itself: takes commands, reports frames while it is open on its bus, and sends none."""

    def __init__(self, bus: SimBus, *, answers: bool = True) -> None:
        """`answers`: whether commands are acknowledged; some firmware says nothing."""
        super().__init__(bus, None, None)
        self.answers = answers
        self.transmissions: list[bytes] = []  # refused: what a client of ours must never ask for
        self.commands: list[bytes] = []
        self._buffer = bytearray()

    def write(self, data: bytes) -> None:
        """To whoever has the adapter open."""
        raise NotImplementedError

    def feed(self, data: bytes) -> None:
        """Take bytes of commands."""
        self._buffer += data
        while (end := self._buffer.find(_DONE)) >= 0:
            command = bytes(self._buffer[:end]).strip(b"\n")
            del self._buffer[: end + 1]
            answer = self._obey(command)
            if self.answers:
                self.write(answer)
        del self._buffer[:-_LONGEST]

    def _obey(self, command: bytes) -> bytes:
        if not command:
            return _DONE
        self.commands.append(command)
        if command[0] in _TRANSMITS:
            self.transmissions.append(command)
            return _REFUSED
        match command:
            case b"C" if self.is_open:
                self.leave()
                return _DONE
            case b"O" | b"L" if not self.is_open and self.bitrate is not None:
                self.silent = command == b"L"
                self.enter()
                return _DONE
            case b"V":
                return b"V1013\r"
            case b"N":
                return b"NA123\r"
            case b"F" if self.is_open:
                return b"F00\r"
            case b"Z0":
                return _DONE
        if not self.is_open and (rate := _RATES.get(command)) is not None:
            self.bitrate = rate
            return _DONE
        return _REFUSED

    def hang_up(self) -> None:
        """Whoever used the adapter is gone; it forgets what it was told, as with its power."""
        self._buffer.clear()
        self.bitrate = self.silent = None
        if self.is_open:
            self.leave()

    @override
    def take(self, frames: Sequence[CanFrame]) -> None:
        """See `SimPort`."""
        if self.bitrate != self._bus.true_bitrate:
            self.errors += len(frames)
            return
        self.received += len(frames)
        self.write(b"".join(map(frame_line, frames)))


class SlcanPty(Slcan):
    """On a pseudo terminal with a path of its own; needs a bus on the real clock and a running event loop."""

    def __init__(self, bus: SimBus, link: Path | None = None, *, answers: bool = True) -> None:
        """`link`: where the port is to be found; None: in a new temporary directory."""
        super().__init__(bus, answers=answers)
        self._own_directory = None if link is not None else Path(tempfile.mkdtemp(prefix="simulated-adapter-"))
        self.path = link or Path(self._own_directory or ".") / "ttyCAN0"
        self._master: int | None = None
        self._slave: int | None = None
        self.plugged = False

    @override
    def replug(self) -> None:
        """Put the adapter in: a new port appears under the path."""
        if self._master is not None:
            return
        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        # the slave stays open here too: without any opener, reading the master fails instead of waiting
        self._master, self._slave = master, slave
        self.plugged = True
        fresh = self.path.with_name(f".{self.path.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.ttyname(slave))
        fresh.replace(self.path)
        asyncio.get_running_loop().add_reader(master, self._readable)

    @override
    def unplug(self) -> None:
        """Pull the adapter out: the path vanishes, and readers get a hang-up."""
        if self._master is None or self._slave is None:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        self.plugged = False
        self.hang_up()
        self.path.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = None

    def stop(self) -> None:
        """Take the port away for good."""
        self.unplug()
        self._bus.ports.remove(self)
        if self._own_directory is not None:
            with suppress(OSError):
                self._own_directory.rmdir()

    @override
    def write(self, data: bytes) -> None:
        """See `Slcan`."""
        if self._master is not None:
            # nobody reads and the buffer is full: a real adapter loses frames then, too
            with suppress(BlockingIOError):
                os.write(self._master, data)

    def _readable(self) -> None:
        if self._master is None:
            return
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError, InterruptedError:
            return
        self.feed(data)


class SlcanTcp(Slcan):
    """On a TCP port of this machine, as a serial bridge offers it; one connection at a time."""

    def __init__(self, bus: SimBus, *, answers: bool = True) -> None:
        """Nothing listens yet."""
        super().__init__(bus, answers=answers)
        self.plugged = False
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def url(self) -> str:
        """Where it is to be found."""
        return f"socket://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; again on the same port after `stop`."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.plugged = True

    async def stop(self) -> None:
        """Hang up, and listen no more."""
        self.plugged = False
        self.hang_up()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            writer.close()
            return
        self._writer = writer
        with suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(4096):
                self.feed(data)
        if self._writer is writer:
            self._writer = None
            self.hang_up()
        writer.close()

    @override
    def write(self, data: bytes) -> None:
        """See `Slcan`."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(data)
