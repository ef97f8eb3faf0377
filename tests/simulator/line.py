"""The in-memory adapter: a `ByteTransport` at the true pace of the line, on the injected clock."""

import asyncio

from custom_components.lfp_battery.bms.clock import Clock, Handle
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem

from .bus import Bus, Inbox, Transmission


class MemoryPort:
    """A socket for one adapter on a bus; one line at a time is open on it."""

    def __init__(self, bus: Bus, name: str = "simulated", *, chunk: float = 0.033) -> None:
        """`chunk`: s of line time after which received bytes are passed on; the end of an answer always is at once."""
        self.bus = bus
        self.name = name
        self.chunk = chunk
        self.busy_until = 0.0
        self.plugged = True
        self.refusal: LinkProblem | None = None  # what opening fails with, such as PERMISSION
        self.opened = 0  # times
        self.line: MemoryLine | None = None
        bus.attach(self)

    @property
    def baudrate(self) -> int | None:
        """See `Listener`."""
        return None if self.line is None else self.line.baudrate

    def hear(self, transmission: Transmission) -> None:
        """See `Listener`."""
        if self.line is not None:
            self.line.hear(transmission)

    def open_line(self, baudrate: int) -> MemoryLine:
        """A closed transport on this port."""
        return MemoryLine(self, baudrate)

    def unplug(self) -> None:
        """Pull the adapter out; whoever has it open learns at once."""
        self.plugged = False
        if self.line is not None:
            self.line.lose()

    def replug(self) -> None:
        """Put it back."""
        self.plugged = True


class MemoryLine:
    """A serial line that is not there; implements `ByteTransport`."""

    def __init__(self, port: MemoryPort, baudrate: int) -> None:
        """Remember the port; nothing is opened yet."""
        self._port = port
        self._baudrate = baudrate
        self._clock: Clock = port.bus.clock
        self._inbox = Inbox(port.chunk)
        self._lost = False
        self._waiter: asyncio.Future[None] | None = None
        self._wake: Handle | None = None

    @property
    def name(self) -> str:
        """See `ByteTransport`."""
        return self._port.name

    @property
    def baudrate(self) -> int:
        """See `ByteTransport`."""
        return self._baudrate

    async def open(self) -> None:
        """See `ByteTransport`."""
        port = self._port
        if not port.plugged:
            raise LinkError(LinkProblem.MISSING)
        if port.refusal is not None:
            raise LinkError(port.refusal)
        if port.line is not None and port.line is not self:
            raise LinkError(LinkProblem.BUSY)
        self._inbox.clear()
        self._lost = False
        port.line = self
        port.opened += 1

    async def close(self) -> None:
        """See `ByteTransport`."""
        self._inbox.clear()
        if self._port.line is self:
            self._port.line = None
        self._notify()

    async def send(self, data: bytes) -> None:
        """See `ByteTransport`."""
        await self._check()
        self._port.bus.transmit(self._port, data, self._baudrate)

    async def receive(self, timeout: float) -> bytes:
        """See `ByteTransport`."""
        clock = self._clock
        now = clock.monotonic()
        if data := self._inbox.take(now):
            return data
        await self._check()
        self._waiter = asyncio.get_running_loop().create_future()
        self._arm()
        try:
            await clock.wait(self._waiter, timeout)
        finally:
            self._waiter = None
            self._disarm()
        if data := self._inbox.take(clock.monotonic()):
            return data
        await self._check()
        return b""

    def drain(self) -> bytes:
        """See `ByteTransport`."""
        return self._inbox.take(self._clock.monotonic())

    def hear(self, transmission: Transmission) -> None:
        """Take in what the bus carries."""
        self._inbox.add(transmission)
        if self._waiter is not None:
            self._arm()

    def lose(self) -> None:
        """The adapter is gone."""
        self._lost = True
        self._notify()

    async def _check(self) -> None:
        """Every failure leaves the line closed."""
        if self._lost or self._port.line is not self:
            await self.close()
            raise LinkError(LinkProblem.LOST)

    def _arm(self) -> None:
        """Wake the reader when the inbox next has something."""
        self._disarm()
        now = self._clock.monotonic()
        if (when := self._inbox.next(now)) is not None:
            self._wake = self._clock.call_later(when - now, self._notify)

    def _disarm(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
