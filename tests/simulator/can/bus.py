"""A CAN bus in memory, on the injected clock: batteries and inverters on it, and transports that listen."""

import asyncio
from collections import Counter
from collections.abc import Sequence
import math
from typing import Final

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.clock import Clock, Handle
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem

from .faults import Faults, Kind
from .speaker import Node

BITRATE: Final = 500_000
_REPEAT: Final = 0.0005  # s until a frame that nobody acknowledged is sent again (can.md section 2)
_STUCK_GRAIN: Final = 0.02  # s of that in one wake-up


class SimBus:
    """The medium; it is itself the `CanTransport` of the first adapter on it, and makes more with `port`.

    Frames that are sent within `grain` seconds are received together, so that a set costs one wake-up. Nothing is
    computed while nobody listens.
    """

    def __init__(
        self,
        *nodes: Node,
        clock: Clock,
        name: str = "simulated",
        bitrate: int = BITRATE,
        silent: bool | None = True,
        alone: bool = False,
        grain: float = 0.5,
    ) -> None:
        """Put `nodes` on a bus at `bitrate`.

        `silent`: whether the first adapter acknowledges nothing; None: it does not say, and does acknowledge.
        `alone`: no other node than the batteries and our adapters is there to acknowledge.
        """
        self.clock = clock
        self.label = name
        self.true_bitrate = bitrate
        self.alone = alone
        self.grain = grain
        self.faults = Faults()
        self.frames = 0  # carried
        self.by_id: Counter[int] = Counter()
        self.spoilt = 0  # of these, by faults
        self.destroyed = 0  # frames, by an adapter of ours that took part at a wrong bit rate
        self.quiet = False  # nobody sends
        self.nodes: list[Node] = []
        self.ports: list[SimPort] = []
        self._hearers: dict[int, list[Node]] = {}
        self._next: Handle | None = None
        self._stuck: CanFrame | None = None
        self._stuck_since = 0.0
        self.main = SimPort(self, bitrate, silent)
        for node in nodes:
            self.add(node)

    def port(self, bitrate: int | None = BITRATE, *, silent: bool | None = True) -> SimPort:
        """One more closed transport; at another bit rate than the bus's it receives nothing and counts errors."""
        return SimPort(self, bitrate, silent)

    @property
    def name(self) -> str:
        """See `CanTransport`."""
        return self.main.name

    @property
    def bitrate(self) -> int | None:
        """See `CanTransport`."""
        return self.main.bitrate

    @property
    def silent(self) -> bool | None:
        """See `CanTransport`."""
        return self.main.silent

    @property
    def errors(self) -> int:
        """See `CanTransport`."""
        return self.main.errors

    async def open(self) -> None:
        """See `CanTransport`."""
        await self.main.open()

    async def close(self) -> None:
        """See `CanTransport`."""
        await self.main.close()

    async def receive(self, timeout: float) -> Sequence[CanFrame]:
        """See `CanTransport`."""
        return await self.main.receive(timeout)

    def unplug(self) -> None:
        """Pull the first adapter out; see `SimPort`."""
        self.main.unplug()

    def replug(self) -> None:
        """Put it back."""
        self.main.replug()

    def add(self, *nodes: Node) -> None:
        """Switch these on."""
        for node in nodes:
            self.nodes.append(node)
            node.start(self.clock.monotonic())
        self._wire()

    def remove(self, *nodes: Node) -> None:
        """Switch these off."""
        for node in nodes:
            self.nodes.remove(node)
        self._wire()

    def replace(self, *nodes: Node) -> None:
        """Other nodes in place of all: a battery that was set to another protocol."""
        self.remove(*self.nodes)
        self.add(*nodes)

    def inject(self, *frames: CanFrame) -> None:
        """Frames out of nowhere; every open port at the right bit rate receives them now."""
        self._carry(list(frames))

    @property
    def acknowledged(self) -> bool:
        """Whether anybody acknowledges what a battery sends."""
        return (
            not self.alone
            or len(self.nodes) > 1
            or any(port.is_open and port.bitrate == self.true_bitrate and not port.silent for port in self.ports)
        )

    def _wire(self) -> None:
        self._hearers = {}
        self._stuck = None
        for node in self.nodes:
            for frame_id in node.hears:
                self._hearers.setdefault(frame_id, []).append(node)
        self.schedule()

    def schedule(self) -> None:
        """Wake up when the next frames are through."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if not any(port.is_open for port in self.ports):
            return
        now = self.clock.monotonic()
        when = min((node.next() for node in self.nodes), default=math.inf)
        if self._stuck is not None:
            when = now
        if when < math.inf:
            grain = self.grain if self._stuck is None else _STUCK_GRAIN
            self._next = self.clock.call_later(max(when - now, 0.0) + grain, self._run)

    def skip(self) -> None:
        """Forget what would have been sent while nobody listened."""
        now = self.clock.monotonic()
        self._stuck = None
        for node in self.nodes:
            if node.next() < now:
                node.start(now)

    @property
    def disturbed(self) -> bool:
        """Whether an adapter takes part at a wrong bit rate, and so destroys what others send (can.md section 2)."""
        rates = {None, self.true_bitrate}
        return any(port.is_open and not port.silent and port.bitrate not in rates for port in self.ports)

    def _run(self) -> None:
        """Carry everything that is due by now."""
        self._next = None
        now = self.clock.monotonic()
        if self._stuck is None:
            self._stuck_since = now
        received: list[CanFrame] = []
        if self.quiet:
            self.skip()
        else:
            received = self._due(now)
        if received and self.disturbed:
            self.destroyed += len(received)
            self.disturb(len(received))
            received = []
        self._carry(received)
        self.schedule()

    def _due(self, now: float) -> list[CanFrame]:
        received: list[CanFrame] = []
        if self._stuck is not None and not self.acknowledged:
            return self._repeat(now)
        if self._stuck is not None:
            self.skip()
        while self.nodes:
            node = min(self.nodes, key=_next)
            if node.next() > now:
                break
            said = node.take()
            if said is None:
                continue
            frame = said.frame
            if not self.acknowledged:
                self._stuck, self._stuck_since = frame, said.at
                return self._repeat(now)
            self.frames += 1
            self.by_id[frame.id] += 1
            fault = self.faults.pick(frame)
            if fault is None:
                received.append(frame)
                if said.carried is not None:
                    said.carried(said.at)
            else:
                self.spoilt += 1
                received += self.faults.spoil(fault, frame)
                if fault is Kind.ERROR:
                    self.disturb(1)
            for hearer in self._hearers.get(frame.id, ()):
                if hearer is not node:
                    hearer.hear(frame, said.at)
        return received

    def _repeat(self, now: float) -> list[CanFrame]:
        """The one frame over and over, as often as it fits in since the last time."""
        assert self._stuck is not None
        times = int((now - self._stuck_since) / _REPEAT)
        self._stuck_since += times * _REPEAT
        self.frames += times
        self.by_id[self._stuck.id] += times
        return [self._stuck] * times

    def disturb(self, errors: int) -> None:
        """Error frames, to every open port."""
        for port in self.ports:
            if port.is_open:
                port.errors += errors

    def _carry(self, frames: list[CanFrame]) -> None:
        if not frames:
            return
        for port in self.ports:
            if port.is_open:
                port.take(frames)


def _next(node: Node) -> float:
    return node.next()


class SimPort:
    """One adapter on a simulated bus; implements `CanTransport`."""

    def __init__(self, bus: SimBus, bitrate: int | None, silent: bool | None) -> None:
        """Remember the bus; nothing is opened yet."""
        self._bus = bus
        self.bitrate = bitrate
        self.silent = silent
        self.errors = 0
        self.is_open = False
        self.plugged = True
        self.refusal: LinkProblem | None = None  # what opening fails with, such as DOWN or DRIVER
        self.opened = 0  # times
        self.received = 0  # frames
        self._inbox: list[CanFrame] = []
        self._waiter: asyncio.Future[None] | None = None
        bus.ports.append(self)

    @property
    def name(self) -> str:
        """See `CanTransport`."""
        return self._bus.label

    async def open(self) -> None:
        """See `CanTransport`."""
        if not self.plugged:
            raise LinkError(LinkProblem.MISSING)
        if self.refusal is not None:
            raise LinkError(self.refusal)
        self.enter()

    async def close(self) -> None:
        """See `CanTransport`."""
        self.leave()

    def enter(self) -> None:
        """Receive from now on."""
        if not any(port.is_open for port in self._bus.ports):
            self._bus.skip()
        self._inbox.clear()
        self.is_open = True
        self.opened += 1
        self._bus.schedule()

    def leave(self) -> None:
        """Receive no more."""
        self.is_open = False
        self._inbox.clear()
        self._notify()
        self._bus.schedule()

    async def receive(self, timeout: float) -> Sequence[CanFrame]:
        """See `CanTransport`."""
        if not self._inbox:
            await self._check()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._bus.clock.wait(self._waiter, timeout)
            finally:
                self._waiter = None
        if not self._inbox:
            await self._check()
        return self.drain()

    def drain(self) -> Sequence[CanFrame]:
        """Take what has arrived, without waiting."""
        frames, self._inbox = self._inbox, []
        self.received += len(frames)
        return frames

    async def _check(self) -> None:
        """Every failure leaves the bus closed."""
        if not self.plugged or not self.is_open:
            await self.close()
            raise LinkError(LinkProblem.LOST)

    def take(self, frames: Sequence[CanFrame]) -> None:
        """What the bus carried."""
        if self.bitrate not in {None, self._bus.true_bitrate}:
            self.errors += len(frames)
            return
        self._inbox += frames
        self._notify()

    def unplug(self) -> None:
        """Pull the adapter out; whoever has it open learns at once."""
        self.plugged = False
        self._inbox.clear()
        self._notify()

    def replug(self) -> None:
        """Put it back."""
        self.plugged = True

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
