"""The line that a scan has open: everything that passes is taken down, and heard for questions that are not ours."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ..capture import Capture
from ..clock import Clock
from ..errors import FrameError, RefusedError
from ..protocols.base import Integrity, PolledProtocol, Splitter
from ..transports import ByteTransport

# An answer that comes so long after our question is still its answer, in seconds.
_LATE: Final = 10.0
# An adapter that gives our own question back does so within this time, in seconds; an inverter may ask the same.
_ECHO: Final = 1.0
# Bytes further apart than this are not of one frame, in seconds.
_PAUSE: Final = 1.0
# An intact answer that comes so long after our last question, and is not its late one, is somebody else's, in seconds.
_UNASKED: Final = 3.0
# What was heard in so many seconds before somebody's question is part of the same conversation.
_RECENT: Final = 1.0


@dataclass(slots=True)
class _Ear:
    protocols: list[PolledProtocol]  # that cut the stream in the same way
    splitter: Splitter


class Ears:
    """Notices, in whatever protocol it is, what somebody else says.

    A line without checksums has no second master: what is said on it proves nothing, and is not listened for.
    """

    def __init__(self, protocols: Iterable[PolledProtocol]) -> None:
        """Nothing was heard yet."""
        self._protocols = [protocol for protocol in protocols if protocol.integrity is not Integrity.NONE]
        self._ears: list[_Ear] = []
        for protocol in self._protocols:
            alike = next(
                (ear for ear in self._ears if type(ear.protocols[0]).splitter is type(protocol).splitter), None
            )
            if alike is not None:
                alike.protocols.append(protocol)
            else:
                self._ears.append(_Ear([protocol], protocol.splitter()))
        self._own: deque[tuple[float, bytes]] = deque(maxlen=32)
        self._heard = 0.0
        self.recent: deque[tuple[float, bytes]] = deque()  # (monotonic, bytes)
        self.questions: list[bytes] = []  # somebody else's
        self.answers = 0  # intact, to no question of ours
        self.unasked = 0  # ... that came when nothing of ours was being answered
        self.link_bus = False

    def sent(self, question: bytes, now: float) -> None:
        """Remember what is ours."""
        self._own.append((now, question))
        self.recent.clear()

    @property
    def foreign(self) -> bool:
        """Whether somebody else asks."""
        return bool(self.questions)

    @property
    def somebody(self) -> bool:
        """Whether somebody else asks, or is answered."""
        return self.foreign or self.unasked > 0

    def hear(self, data: bytes, now: float) -> None:
        """Take in bytes as they came."""
        if now - self._heard > _PAUSE:
            for ear in self._ears:
                ear.splitter = ear.protocols[0].splitter()
        self._heard = now
        self.recent.append((now, data))
        while now - self.recent[0][0] > _RECENT:
            self.recent.popleft()
        answers: set[bytes] = set()
        for ear in self._ears:
            for frame in ear.splitter.feed(data):
                if self._is_ours(frame, now):
                    continue
                if any(protocol.is_request(frame) for protocol in ear.protocols):
                    self.questions.append(frame)
                    self.link_bus |= any(protocol.is_link_bus(frame) for protocol in ear.protocols)
                elif any(_is_intact(protocol, frame) for protocol in ear.protocols):
                    answers.add(frame)
        self.answers += len(answers)
        if not self._own or now - self._own[-1][0] > _UNASKED:
            self.unasked += len(answers)

    def _is_ours(self, frame: bytes, now: float) -> bool:
        """Whether it is an echo of our question, or an answer to it."""
        return any(
            (frame == question and now - when <= _ECHO)
            or (frame != question and any(protocol.is_answer(question, frame) for protocol in self._protocols))
            for when, question in self._own
            if now - when <= _LATE
        )


def _is_intact(protocol: PolledProtocol, frame: bytes) -> bool:
    try:
        protocol.decode(None, frame)
    except RefusedError:
        return True
    except FrameError as err:
        return err.dialect is not None
    return True


class ScanLine:
    """Implements `ByteTransport` around another one."""

    def __init__(self, transport: ByteTransport, clock: Clock, capture: Capture, ears: Ears) -> None:
        """Wrap a closed line."""
        self._transport = transport
        self._clock = clock
        self._capture = capture
        self.ears = ears
        self.private = False  # the next question asks after who somebody is
        self.heard = bytearray()  # since the last question

    @property
    def name(self) -> str:
        """See `ByteTransport`."""
        return self._transport.name

    @property
    def baudrate(self) -> int:
        """See `ByteTransport`."""
        return self._transport.baudrate

    async def open(self) -> None:
        """See `ByteTransport`."""
        await self._transport.open()

    async def close(self) -> None:
        """See `ByteTransport`."""
        await self._transport.close()

    async def send(self, data: bytes) -> None:
        """See `ByteTransport`."""
        self._capture.sent(data, self.baudrate, private=self.private)
        self.ears.sent(data, self._clock.monotonic())
        self.heard.clear()
        await self._transport.send(data)

    async def receive(self, timeout: float) -> bytes:
        """See `ByteTransport`."""
        return self._take(await self._transport.receive(timeout))

    def drain(self) -> bytes:
        """See `ByteTransport`."""
        return self._take(self._transport.drain())

    def _take(self, data: bytes) -> bytes:
        if data:
            self._capture.heard(data, self.baudrate)
            self.ears.hear(data, self._clock.monotonic())
            self.heard += data
        return data
