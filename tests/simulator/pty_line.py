"""A real serial port that leads to the simulated bus: a pseudo terminal at the true pace of the line."""

import asyncio
from contextlib import suppress
import os
from pathlib import Path
import tempfile
import termios
import tty
from typing import Final

from custom_components.lfp_battery.bms.clock import Handle

from .bus import Bus, Inbox, Transmission

_SPEEDS: Final = {
    getattr(termios, name): int(name[1:])
    for name in dir(termios)
    if name[0] == "B" and name[1:].isdigit() and name != "B0"
}
_CHUNK: Final = 0.005  # s of line time between two writes


class PtyLine:
    """An adapter with a path of its own; needs a bus on the real clock and a running event loop.

    Whoever opens the path sets the speed, as on a real port. `unplug` makes the path vanish and hangs up on whoever
    has it open; `replug` makes a new port under the same path.
    """

    def __init__(self, bus: Bus, link: Path | None = None) -> None:
        """`link`: where the port is to be found; None: in a new temporary directory."""
        self.bus = bus
        self.busy_until = 0.0
        self._own_directory = None if link is not None else Path(tempfile.mkdtemp(prefix="simulated-port-"))
        self.path = link or Path(self._own_directory or ".") / "ttySIM0"
        self._master: int | None = None
        self._slave: int | None = None
        self._inbox = Inbox(_CHUNK)
        self._next: Handle | None = None

    @property
    def plugged(self) -> bool:
        """Whether the port is there."""
        return self._master is not None

    @property
    def baudrate(self) -> int | None:
        """The speed that the other side has set."""
        if self._master is None:
            return None
        return _SPEEDS.get(termios.tcgetattr(self._master)[5])

    def start(self) -> None:
        """Make the port; see `replug`."""
        self.replug()

    def replug(self) -> None:
        """Put the adapter in: a new port appears under the path."""
        if self._master is not None:
            return
        master, slave = os.openpty()
        tty.setraw(slave)
        attributes = termios.tcgetattr(slave)
        attributes[4] = attributes[5] = termios.B9600
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        os.set_blocking(master, False)
        # the slave stays open here too: without any opener, reading the master fails instead of waiting
        self._master, self._slave = master, slave
        self.busy_until = 0.0
        fresh = self.path.with_name(f".{self.path.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.ttyname(slave))
        fresh.replace(self.path)
        self.bus.attach(self)
        asyncio.get_running_loop().add_reader(master, self._readable)

    def unplug(self) -> None:
        """Pull the adapter out: the path vanishes, and readers get a hang-up."""
        if self._master is None or self._slave is None:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        self.bus.detach(self)
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._inbox.clear()
        self.path.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = None

    def stop(self) -> None:
        """Take the port away for good."""
        self.unplug()
        if self._own_directory is not None:
            with suppress(OSError):
                self._own_directory.rmdir()

    def hear(self, transmission: Transmission) -> None:
        """See `Listener`."""
        self._inbox.add(transmission)
        if self._next is None:
            self._schedule()

    def _schedule(self) -> None:
        now = self.bus.clock.monotonic()
        when = self._inbox.next(now)
        self._next = None if when is None else self.bus.clock.call_later(when - now, self._pass_on)

    def _pass_on(self) -> None:
        """Write what has arrived by now, and come back for the rest."""
        if self._master is None:
            return
        if data := self._inbox.take(self.bus.clock.monotonic()):
            # nobody reads and the buffer is full: a real port loses bytes then, too
            with suppress(BlockingIOError):
                os.write(self._master, data)
        self._schedule()

    def _readable(self) -> None:
        if self._master is None:
            return
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError, InterruptedError:
            return
        if data and (speed := self.baudrate) is not None:
            self.bus.transmit(self, data, speed)
