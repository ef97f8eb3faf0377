"""One question, one answer, over any line: pauses, echoes, strays and noise, for pollers and for discovery."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from ..clock import Clock
from ..errors import FrameError, RefusedError
from ..protocols.base import Decoded, PolledProtocol
from ..transports import ByteTransport

_BITS_PER_BYTE = 10  # 8 data bits, one start and one stop bit, on every protocol here


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What came of one question."""

    frame: bytes | None = None  # the answer as it came
    decoded: Decoded | None = None
    refused: RefusedError | None = None
    echoed: bool = False  # the adapter gave our own question back first
    damaged: int = 0  # frames that failed their check
    strays: int = 0  # intact answers to something else: late ones, or somebody else's
    foreign: bool = False  # an intact question that was not ours
    dialect: str | None = None  # a protocol recognised, but not the one that was asked in
    noise: int = 0  # bytes that belong to no frame
    sent: bool = True  # the question went out

    def summary(self, *, private: bool) -> str:
        """For the debug log; the bytes of a private answer, which hold a serial number, stay out of it."""
        frame = "no answer" if self.frame is None else f"{len(self.frame)} bytes" if private else str(self.frame)
        return (
            f"{frame} refused={self.refused} echoed={self.echoed} damaged={self.damaged} strays={self.strays} "
            f"foreign={self.foreign} dialect={self.dialect} noise={self.noise}"
        )

    @property
    def silent(self) -> bool:
        """Nothing came back but, at most, our own question."""
        return self.frame is None and not (self.damaged or self.strays or self.foreign or self.noise)


class Traffic(NamedTuple):
    """What one dialogue has put on and taken off the line so far."""

    requests: int
    sent: int  # bytes
    received: int  # bytes
    paused: float  # seconds waited before requests because the protocol asks for it


class Dialogue:
    """Asks on one open line, one request in flight, never sooner after an answer than the protocol wants."""

    def __init__(self, transport: ByteTransport, clock: Clock) -> None:
        """Speak on `transport`; opening and closing it is the caller's business."""
        self._transport = transport
        self._clock = clock
        self._not_before = 0.0
        self._requests = self._sent = self._received = 0
        self._paused = 0.0

    @property
    def traffic(self) -> Traffic:
        """Counters since this dialogue was made."""
        return Traffic(self._requests, self._sent, self._received, self._paused)

    def wire_seconds(self, count: int) -> float:
        """How long so many bytes take on this line."""
        return count * _BITS_PER_BYTE / self._transport.baudrate

    async def ask(self, protocol: PolledProtocol, request: bytes, *, wary: bool = False) -> Exchange:
        """Send a request and wait for its answer; when `wary`, send nothing if anything came that nobody awaited.

        Raises:
            LinkError: the line went away.
        """
        clock, timing, transport = self._clock, protocol.timing, self._transport
        if (wait := self._not_before - clock.monotonic()) > 0:
            self._paused += wait
            await clock.sleep(wait)
        tally = _Tally(protocol)
        if late := transport.drain():
            self._received += len(late)
            tally.overhear(late)
            if wary:
                return replace(tally.result(0), sent=False)
        splitter = protocol.splitter(request)
        await transport.send(request)
        self._requests += 1
        self._sent += len(request)
        sent_at = clock.monotonic() + self.wire_seconds(len(request))
        deadline = sent_at + timing.first_byte
        last = sent_at + timing.answer
        try:
            while (left := min(deadline, last) - clock.monotonic()) > 0:
                if not (data := await transport.receive(left)):
                    continue
                self._received += len(data)
                for frame in splitter.feed(data):
                    if tally.is_answer(request, frame):
                        return tally.result(splitter.noise, frame)
                if (pending := splitter.pending) is not None:
                    # content decides: wait as long as the frame under way needs, and a gap more
                    deadline = max(deadline, clock.monotonic() + self.wire_seconds(pending) + timing.gap)
            cut_off = splitter.pending is not None
            return tally.result(splitter.noise, cut_off=cut_off)
        finally:
            self._not_before = clock.monotonic() + timing.pause


class _Tally:
    """Sorts the frames of one exchange."""

    __slots__ = (
        "_damaged",
        "_decoded",
        "_dialect",
        "_echoed",
        "_foreign",
        "_noise",
        "_protocol",
        "_refused",
        "_strays",
    )

    def __init__(self, protocol: PolledProtocol) -> None:
        self._protocol = protocol
        self._decoded: Decoded | None = None
        self._refused: RefusedError | None = None
        self._dialect: str | None = None
        self._echoed = self._foreign = False
        self._damaged = self._strays = self._noise = 0

    def overhear(self, data: bytes) -> None:
        """Sort bytes that were there before we asked."""
        splitter = self._protocol.splitter()
        for frame in splitter.feed(data):
            self._stray(frame)
        self._noise += splitter.noise

    def is_answer(self, request: bytes, frame: bytes) -> bool:
        """Whether this frame answers the request; anything else is counted under its name."""
        if frame == request and not self._echoed:
            self._echoed = True
            return False
        if not self._protocol.is_answer(request, frame):
            self._stray(frame)
            return False
        try:
            self._decoded = self._protocol.decode(request, frame)
        except RefusedError as err:
            self._refused = err
        except FrameError as err:
            # answers do not always say what they answer: this may be a late one, and ours may still come
            self._damage(err)
            return False
        return True

    def result(self, noise: int, frame: bytes | None = None, *, cut_off: bool = False) -> Exchange:
        """Close the exchange."""
        return Exchange(
            frame=frame,
            decoded=self._decoded,
            refused=self._refused,
            echoed=self._echoed,
            damaged=self._damaged + cut_off,
            strays=self._strays,
            foreign=self._foreign,
            dialect=self._dialect,
            noise=self._noise + noise,
        )

    def _stray(self, frame: bytes) -> None:
        foreign = self._protocol.is_request(frame)
        self._foreign |= foreign
        try:
            self._protocol.decode(None, frame)
        except FrameError as err:
            if err.dialect is not None or not foreign:
                self._damage(err)
        except RefusedError:
            self._strays += not foreign
        else:
            self._strays += not foreign

    def _damage(self, err: FrameError) -> None:
        if err.dialect is not None:
            self._dialect = err.dialect
        else:
            self._damaged += 1
