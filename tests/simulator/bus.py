"""A half-duplex line as everybody on it hears it: one pace, one medium, collisions, and any number of masters."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from custom_components.lfp_battery.bms.clock import Clock, Handle

from .faults import Faults
from .speaker import Speaker

if TYPE_CHECKING:
    from .line import MemoryLine, MemoryPort

BITS_PER_BYTE: Final = 10  # 8 data bits, one start and one stop bit
_KEPT: Final = 20000  # requests remembered
_TINY: Final = 1e-9
_GARBAGE: Final = bytes((0x00, 0xFF, 0x80, 0xF8, 0xE0, 0xFE, 0xC0, 0x1C))


class Transmission:
    """Bytes on the line, from `start` on at the pace of `baudrate`."""

    __slots__ = ("baudrate", "byte_time", "data", "start")

    def __init__(self, start: float, baudrate: int, data: bytes | bytearray) -> None:
        """Put `data` on the line at `start` (monotonic)."""
        self.start = start
        self.baudrate = baudrate
        self.byte_time = BITS_PER_BYTE / baudrate
        self.data = bytearray(data)

    @property
    def end(self) -> float:
        """When the last byte is over."""
        return self.start + len(self.data) * self.byte_time

    def arrived(self, now: float) -> int:
        """How many bytes are over."""
        if now >= self.end:
            return len(self.data)  # whatever floats make of the pace: who was woken for the last byte gets it
        return min(max(int((now - self.start) / self.byte_time + 1e-6), 0), len(self.data))


class _Heard:
    """A transmission, and how much of it a listener has taken."""

    __slots__ = ("taken", "transmission")

    def __init__(self, transmission: Transmission) -> None:
        self.transmission = transmission
        self.taken = 0


class Inbox:
    """What one listener has heard and not yet taken, at the pace of the line."""

    __slots__ = ("_chunk", "_waiting")

    def __init__(self, chunk: float) -> None:
        """`chunk`: seconds of line time after which an adapter passes on what it has, as USB adapters do."""
        self._chunk = chunk
        self._waiting: list[_Heard] = []

    def add(self, transmission: Transmission) -> None:
        """Hear a transmission from its first byte."""
        self._waiting.append(_Heard(transmission))

    def clear(self) -> None:
        """Lose everything, also what is on its way."""
        self._waiting.clear()

    def take(self, now: float) -> bytes:
        """Everything that has arrived."""
        if not self._waiting:
            return b""
        data = bytearray()
        for heard in self._waiting:
            arrived = heard.transmission.arrived(now)
            data += heard.transmission.data[heard.taken : arrived]
            heard.taken = arrived
        self._waiting = [heard for heard in self._waiting if heard.taken < len(heard.transmission.data)]
        return bytes(data)

    def next(self, now: float) -> float | None:
        """When there is something to pass on: at the end of a transmission, or when a chunk is full."""
        times = []
        for heard in self._waiting:
            transmission = heard.transmission
            after = max(now, transmission.start + heard.taken * transmission.byte_time)
            times.append(min(transmission.end, after + max(self._chunk, transmission.byte_time)))
        return min(times, default=None)


class Listener(Protocol):
    """Anything with ears on the bus."""

    busy_until: float  # monotonic; its own sending

    @property
    def baudrate(self) -> int | None:
        """The speed it listens at; None hears nothing."""

    def hear(self, transmission: Transmission) -> None:
        """Take in a transmission that begins now or later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondMaster:
    """An inverter on the same line: it asks its own questions at its own pace and listens to nobody."""

    requests: Sequence[bytes]  # asked in turn
    period: float = 1.0  # s from one question to the next
    first: float = 0.1  # s until the first one


class Foreign:
    """A second master at work, or something that only makes noise."""

    def __init__(self, bus: Bus, plan: SecondMaster) -> None:
        """Begin to ask; needs a running event loop on the real clock."""
        self.busy_until = 0.0
        self._bus, self._plan = bus, plan
        self._turn = 0
        self._next: Handle | None = bus.clock.call_later(plan.first, self._ask)

    @property
    def baudrate(self) -> int | None:
        """Hears nothing."""
        return None

    def hear(self, transmission: Transmission) -> None:
        """See `Listener`."""

    def stop(self) -> None:
        """Fall silent."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _ask(self) -> None:
        plan = self._plan
        request = plan.requests[self._turn % len(plan.requests)]
        self._turn += 1
        self._bus.foreign_requests.append((self._bus.clock.monotonic(), request))
        self._bus.transmit(self, request, self._bus.baudrate)
        self._next = self._bus.clock.call_later(plan.period, self._ask)


class Bus:
    """The wire between masters and the packs that a speaker speaks for."""

    def __init__(
        self,
        speaker: Speaker,
        clock: Clock,
        *,
        baudrate: int = 9600,
        turnaround: float = 0.075,
        faults: Faults | None = None,
        name: str = "simulated",
    ) -> None:
        """Connect packs at `baudrate`; `turnaround` is s from a question's end to the answer's first byte.

        69-81 ms were measured with US2KBPL (pylon-rs485.md section 8).
        """
        self.speaker = speaker
        self.clock = clock
        self.baudrate = baudrate
        self.turnaround = turnaround
        self.faults = faults or Faults()
        self.name = name
        self.bytes_received = 0  # from our ports, at whatever speed
        self.request_count = 0  # writes to our ports
        self.requests: deque[tuple[float, bytes]] = deque(maxlen=_KEPT)  # (monotonic at the first bit, bytes)
        self.foreign_requests: deque[tuple[float, bytes]] = deque(maxlen=_KEPT)
        self.bytes_answered = 0
        self.at_other_speed: Callable[[bytes, int], None] | None = None  # told what the packs cannot read
        self._listeners: list[Listener] = []
        self._on_line: list[Transmission] = []
        self._port: MemoryPort | None = None

    @property
    def port(self) -> MemoryPort:
        """The in-memory adapter that `open_line` makes transports for."""
        if self._port is None:
            from .line import MemoryPort  # noqa: PLC0415 - a port knows its bus, and a bus makes one for convenience

            self._port = MemoryPort(self, self.name)
        return self._port

    def open_line(self, baudrate: int) -> MemoryLine:
        """A closed transport on the in-memory adapter, as `discovery.scan` wants it."""
        return self.port.open_line(baudrate)

    def unplug(self) -> None:
        """Pull the in-memory adapter out."""
        self.port.unplug()

    def replug(self) -> None:
        """Put it back."""
        self.port.replug()

    def attach(self, listener: Listener) -> None:
        """Connect an adapter to the wire."""
        self._listeners.append(listener)

    def detach(self, listener: Listener) -> None:
        """Disconnect an adapter."""
        self._listeners.remove(listener)

    def add_master(self, plan: SecondMaster) -> Foreign:
        """Let somebody else ask on this line; `stop()` ends it."""
        return Foreign(self, plan)

    def babble(self, data: bytes, *, baudrate: int | None = None) -> None:
        """Put bytes on the line that nobody asked for."""
        self._post(Transmission(self.clock.monotonic(), baudrate or self.baudrate, data), None)

    def count(self, start: float, data: bytes) -> None:
        """Note what one of our ports sends."""
        self.bytes_received += len(data)
        self.request_count += 1
        self.requests.append((start, data))

    def transmit(self, sender: Listener, data: bytes, baudrate: int) -> None:
        """Send from a master, after what it is still sending; the packs hear it when the last byte is over."""
        now = self.clock.monotonic()
        transmission = Transmission(max(now, sender.busy_until), baudrate, data)
        sender.busy_until = transmission.end
        if not isinstance(sender, Foreign):
            self.count(transmission.start, data)
            if self.faults.echoes(data):
                sender.hear(transmission)
        self._post(transmission, sender)
        self._later(transmission.end, partial(self._heard, transmission))

    def _later(self, when: float, callback: Callable[[], None]) -> None:
        self.clock.call_later(when - self.clock.monotonic(), callback)

    def _heard(self, transmission: Transmission) -> None:
        """The packs have heard a whole transmission of a master."""
        if transmission.baudrate != self.baudrate:
            self.speaker.reset()
            if self.at_other_speed is not None:
                self.at_other_speed(bytes(transmission.data), transmission.baudrate)
            return
        now = self.clock.monotonic()
        byte_time = BITS_PER_BYTE / self.baudrate
        for reply in self.speaker.feed(bytes(transmission.data), now):
            delay = self.turnaround if reply.delay is None else reply.delay
            for out in self.faults.apply(reply, self.speaker, now, delay, byte_time):
                self.bytes_answered += len(out.data)
                self._post(Transmission(now + out.delay, self.baudrate, out.data), None)

    def _post(self, transmission: Transmission, sender: Listener | None) -> None:
        """Put bytes on the wire for everybody but the sender."""
        now = self.clock.monotonic()
        if self._on_line:
            self._on_line = [other for other in self._on_line if other.end > now]
            for other in self._on_line:
                if other.end > transmission.start + _TINY and transmission.end > other.start + _TINY:
                    self._collide(other, transmission)
        self._on_line.append(transmission)
        for listener in self._listeners:
            if listener is sender:
                continue
            speed = listener.baudrate
            if speed == transmission.baudrate:
                listener.hear(transmission)
            elif speed is not None:
                listener.hear(self._garbled(transmission, speed))

    def _collide(self, one: Transmission, other: Transmission) -> None:
        """Two drivers at once: every byte that overlaps is lost on both."""
        rng = self.faults.random
        begin, end = max(one.start, other.start), min(one.end, other.end)
        for transmission in (one, other):
            first = max(int((begin - transmission.start) / transmission.byte_time + 1e-6), 0)
            last = min(int((end - transmission.start) / transmission.byte_time + 1), len(transmission.data))
            for index in range(first, last):
                transmission.data[index] &= rng.getrandbits(8)

    def _garbled(self, transmission: Transmission, speed: int) -> Transmission:
        """What a receiver at another speed makes of it: about as many bytes as it has time for, none of them right."""
        count = min(max(int(len(transmission.data) * speed / transmission.baudrate), 1), 3 * len(transmission.data))
        return Transmission(transmission.start, speed, bytes(self.faults.random.choices(_GARBAGE, k=count)))
