"""One question, one answer, over any line: pauses, echoes, strays and noise, for pollers and for discovery."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple

from ..clock import Clock
from ..errors import FrameError, Refusal, RefusedError
from ..protocols.base import Decoded, Integrity, PolledProtocol, Splitter, Wake
from ..protocols.writes import allows
from ..transports import ByteTransport
from .late_answers import SECOND, LateAnswers, reads
from .overhearing import OtherMasters, OwnQuestions

_BITS_PER_BYTE = 10  # 8 data bits, one start and one stop bit, on every protocol here
# The least time that is waited for something, in seconds.
_TICK = 0.001
# So much noise beside an answer was somebody's answer too, in bytes.
_MUCH_NOISE = 16
# So much of the end of our own question is its echo, in bytes.
_LEAST_ECHO = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What came of one question."""

    frame: bytes | None = None  # the answer as it came
    decoded: Decoded | None = None
    refused: RefusedError | None = None
    echoed: bool = False  # the adapter gave our own question back first
    damaged: int = 0  # frames that failed their check
    strays: int = 0  # intact answers to something else: late ones, of another length, or somebody else's
    unfit: int = 0  # intact answers to this question that do not hold what its answer holds
    unclear: bool = False  # what came may as well be the late answer to an earlier question
    foreign: bool = False  # an intact question that was not ours
    dialect: str | None = None  # a protocol recognised, but not the one that was asked in
    noise: int = 0  # bytes that belong to no frame
    sent: bool = True  # the question went out
    twice: tuple[bytes, ...] = ()  # questions that got two answers, both intact and not the same
    crowded: bool = False  # beside the answer came a damaged one that is nobody's late one
    alone: bool = False  # nobody else is there: what answers something else says nothing of this question

    def summary(self, *, private: bool) -> str:
        """For the debug log; the bytes of a private answer, which hold a serial number, stay out of it."""
        frame = "no answer" if self.frame is None else f"{len(self.frame)} bytes" if private else str(self.frame)
        return (
            f"{frame} refused={self.refused} echoed={self.echoed} damaged={self.damaged} strays={self.strays} "
            f"unfit={self.unfit} foreign={self.foreign} dialect={self.dialect} noise={self.noise} sent={self.sent} "
            f"twice={len(self.twice)} crowded={self.crowded}"
        )

    @property
    def silent(self) -> bool:
        """Nothing came back but, at most, our own question."""
        strays = self.strays and not self.alone
        return self.frame is None and not (self.damaged or strays or self.foreign or self.noise)

    @property
    def declined(self) -> bool:
        """The battery has heard, and has no such answer: a refusal, or something intact of another length.

        What is asked instead then is `Poll.fallback`. On a link of our own only a refusal says so: whatever else comes
        there was said unasked.
        """
        if self.decoded is not None or self.foreign:
            return False
        if self.refused is not None:
            return self.refused.refusal is Refusal.UNSUPPORTED
        return not self.alone and bool(self.strays or self.unfit)


class Traffic(NamedTuple):
    """What one dialogue has put on and taken off the line so far."""

    requests: int
    sent: int  # bytes
    received: int  # bytes
    paused: float  # seconds waited before requests because the protocol asks for it


class Dialogue:
    """Asks on one open line, one request in flight, never sooner after an answer than the protocol wants."""

    def __init__(
        self,
        transport: ByteTransport,
        clock: Clock,
        *,
        open_line: Callable[[int], ByteTransport] | None = None,
        masters: OtherMasters | None = None,
    ) -> None:
        """Speak on `transport`; opening and closing it is the caller's business, who says `opened` after reopening.

        `open_line` makes a closed transport of the same line for another speed: without it no battery is woken.
        `masters` is told what comes unasked; from the moment that it notices somebody, nothing is sent.
        """
        self._transport = transport
        self._clock = clock
        self._open_line = open_line
        self._masters = masters
        self._own = masters.own if masters is not None else OwnQuestions()
        self._not_before = 0.0
        self._requests = self._sent = self._received = 0
        self._paused = 0.0
        self._late = LateAnswers(clock)
        self._trail: Splitter | None = None  # of the last exchange: what follows an answer goes on in it
        self._trail_until = 0.0
        self._roused: str | None = None  # the protocol in which the battery is awake
        self._woken = False

    @property
    def traffic(self) -> Traffic:
        """Counters since this dialogue was made."""
        return Traffic(self._requests, self._sent, self._received, self._paused)

    def opened(self) -> None:
        """The line is another one, or the same after it was opened anew: nothing before counts."""
        self._roused, self._woken = None, False
        self._trail = None
        self._late.opened()
        self._own.opened()

    def wire_seconds(self, count: int) -> float:
        """How long so many bytes take on this line."""
        return count * _BITS_PER_BYTE / self._transport.baudrate

    async def ask(
        self, protocol: PolledProtocol, request: bytes, *, wary: bool = False, wait: float | None = None
    ) -> Exchange:
        """Send a request and wait for its answer; when `wary`, send nothing if anything came that nobody awaited.

        Rouses the battery first where its protocol says how. `wait`: patience for the first byte, in seconds, instead
        of the protocol's.

        Raises:
            LinkError: the line went away.
        """
        if protocol.rouse and self._roused != protocol.name:
            trouble = await self._rouse(protocol, wary=wary, wait=wait)
            if trouble is not None:
                return trouble
        exchange = await self._ask(protocol, request, wary=wary, wait=wait)
        if exchange.unclear:
            late = await self._settle(protocol)
            if late.foreign:
                return late
            if late.strays:
                self._late.both_came()
            if protocol.alone:
                self._late.give_up(request)
            exchange = await self._ask(protocol, request, wary=wary, wait=wait)
        return exchange

    async def once(self, protocol: PolledProtocol, frame: bytes, sending: Callable[[], None]) -> Exchange:
        """Send a frame that may change something once, whatever comes of it; `sending` is called just before it goes out.

        Raises:
            LinkError: the line went away.
            ValueError: it is none of those that may be sent (protocols/writes.py).
        """
        exchange = await self._ask(protocol, frame, wary=False, wait=protocol.timing.answer, sending=sending)
        self._late.give_up(frame)  # the next time that it is sent is so much later that it is another matter
        return exchange

    @property
    def owed(self) -> bool:
        """Whether an answer to an earlier question may still come."""
        return self._late.owed_until is not None

    def overhear(self, protocol: PolledProtocol, data: bytes) -> Exchange:
        """Sort bytes that came while nothing was asked."""
        tally = self._tally(protocol)
        self._overhear(tally, self._trailing(protocol), data)
        return replace(tally.result(0), sent=False)

    # --- one question ------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        protocol: PolledProtocol,
        request: bytes,
        *,
        wary: bool,
        wait: float | None,
        sending: Callable[[], None] | None = None,
    ) -> Exchange:
        exchange = await self._exchange(protocol, request, wary=wary, wait=wait, sending=sending)
        if exchange.sent:
            if exchange.frame is None:
                self._roused = None
            damaged = exchange.damaged > exchange.unfit and not exchange.unclear
            self._late.asked(protocol, request, exchange.frame, damaged=damaged)
        return exchange

    async def _exchange(
        self,
        protocol: PolledProtocol,
        request: bytes,
        *,
        wary: bool,
        wait: float | None,
        sending: Callable[[], None] | None = None,
    ) -> Exchange:
        clock, timing, transport = self._clock, protocol.timing, self._transport
        if (pause := self._not_before - clock.monotonic()) > 0:
            self._paused += pause
            await clock.sleep(pause)
        tally = self._tally(protocol)
        if (await self._clear(tally, protocol) and wary) or tally.foreign:
            return replace(tally.result(0), sent=False)
        splitter = protocol.splitter(request)
        # nothing reaches this but what may: a last look, where a mistake would change somebody's battery
        if not (allows(protocol.name, request) if sending else not protocol.alone or request in protocol.questions):
            raise ValueError(f"{request.hex()} must not be sent in {protocol.name}")
        if sending is not None:
            sending()
        await transport.send(request)
        self._requests += 1
        self._sent += len(request)
        self._own.sent(protocol, request, clock.monotonic())
        sent_at = clock.monotonic() + self.wire_seconds(len(request))
        deadline = sent_at + (timing.first_byte if wait is None else wait)
        last = sent_at + timing.answer
        heard = bytearray()
        frame: bytes | None = None
        try:
            while frame is None and not tally.unclear and (left := min(deadline, last) - clock.monotonic()) > 0:
                if not (data := await transport.receive(left)):
                    continue
                self._received += len(data)
                heard += data
                for candidate in splitter.feed(data):
                    if frame is not None:
                        tally.second(candidate, request, frame)
                    elif tally.is_answer(request, candidate):
                        frame = candidate
                        self._own.answered()
                if frame is None and (pending := splitter.pending) is not None:
                    # content decides: wait as long as the frame under way needs, and a gap more
                    deadline = max(deadline, clock.monotonic() + self.wire_seconds(pending) + timing.gap)
        finally:
            self._not_before = clock.monotonic() + timing.pause
        if self._masters is not None and heard and (frame is None or splitter.noise):
            tally.foreign |= self._masters.hear(bytes(heard), clock.monotonic())
        self._trail, self._trail_until = splitter, clock.monotonic() + SECOND
        echo = 0 if protocol.alone else _rest_of_echo(request, heard)
        noise = max(splitter.noise - echo, 0)
        exchange = tally.result(noise, frame, cut_off=frame is None and splitter.pending is not None)
        exchange = replace(exchange, echoed=exchange.echoed or echo > 0)
        if frame is None and (exchange.damaged or exchange.noise) and protocol.integrity is not Integrity.NONE:
            self._own.disturbed = True
        crowd = exchange.damaged > exchange.unfit or exchange.noise >= _MUCH_NOISE
        crowded = frame is not None and crowd and not self.owed and not protocol.alone
        return replace(exchange, crowded=crowded)

    async def _clear(self, tally: _Tally, protocol: PolledProtocol) -> bool:
        """Take what came before we ask, to the end of a frame that is under way; whether there was anything."""
        clock, heard = self._clock, False
        trail = self._trailing(protocol)
        end = clock.monotonic() + protocol.timing.answer
        data = self._transport.drain()
        while True:
            if data:
                heard = True
                self._received += len(data)
                self._overhear(tally, trail, data)
            pending = trail.pending
            # a line without a checksum has no twins and many prompts: it is not waited for
            if pending is None or protocol.integrity is Integrity.NONE or clock.monotonic() >= end:
                return heard
            if not (data := await self._transport.receive(self.wire_seconds(pending) + protocol.timing.gap)):
                return heard

    def _trailing(self, protocol: PolledProtocol) -> Splitter:
        """What bytes are fed to that come before the next question."""
        if self._trail is None or self._clock.monotonic() > self._trail_until:
            self._trail, self._trail_until = protocol.splitter(), self._clock.monotonic() + SECOND
        return self._trail

    def _overhear(self, tally: _Tally, trail: Splitter, data: bytes) -> None:
        noise = trail.noise
        tally.overhear(trail.feed(data))
        tally.noise += trail.noise - noise
        if self._masters is not None:
            tally.foreign |= self._masters.hear(data, self._clock.monotonic())

    async def _settle(self, protocol: PolledProtocol) -> Exchange:
        """Listen until every answer that is owed has come, or is too late to be taken for another.

        On a link of our own only for as long as an answer may take: what is older than the question that is asked next
        is of the same battery.
        """
        clock, tally = self._clock, self._tally(protocol)
        end = clock.monotonic() + (protocol.timing.first_byte if protocol.alone else inf)
        while not tally.foreign and (until := self._late.owed_until) is not None and clock.monotonic() < end:
            if data := await self._transport.receive(max(min(until, end) - clock.monotonic(), _TICK)):
                self._received += len(data)
                self._overhear(tally, self._trailing(protocol), data)
        return replace(tally.result(0), sent=False)

    def _tally(self, protocol: PolledProtocol) -> _Tally:
        return _Tally(protocol, self._own, self._late, self._clock)

    # --- calling -----------------------------------------------------------------------------------------------------

    async def _rouse(self, protocol: PolledProtocol, *, wary: bool, wait: float | None) -> Exchange | None:
        """Call until the battery answers; what came instead when nothing may be sent."""
        while True:
            for call in protocol.rouse:
                exchange = await self._exchange(protocol, call, wary=wary, wait=wait)
                if exchange.foreign or not exchange.sent:
                    return replace(exchange, frame=None, decoded=None, refused=None, sent=False)
                if exchange.frame is not None:
                    self._roused = protocol.name
                    return None
            if protocol.wake is None or self._open_line is None or self._woken:
                return None
            await self._wake(protocol.wake, self._open_line)

    async def _wake(self, wake: Wake, open_line: Callable[[int], ByteTransport]) -> None:
        """Call at the speed to which the battery has fallen back, and return to our own."""
        self._woken = True
        line = open_line(wake.baudrate)
        await self._transport.close()
        try:
            await line.open()
            await line.send(wake.request)
            self._requests += 1
            self._sent += len(wake.request)
            await self._clock.sleep(wake.wait)
        finally:
            await line.close()
        await self._transport.open()
        self._trail = None


def _rest_of_echo(request: bytes, heard: bytes | bytearray) -> int:
    """How many of the first bytes are our own question without its beginning: the adapter's receiver came on late."""
    most = len(request) - 1
    return next((size for size in range(most, _LEAST_ECHO - 1, -1) if heard.startswith(request[-size:])), 0)


class _Tally:
    """Sorts the frames of one exchange."""

    __slots__ = (
        "_clock",
        "_damaged",
        "_decoded",
        "_dialect",
        "_echoed",
        "_late",
        "_maybe_twice",
        "_own",
        "_protocol",
        "_refused",
        "_strays",
        "_twice",
        "_unfit",
        "foreign",
        "noise",
        "unclear",
    )

    def __init__(self, protocol: PolledProtocol, own: OwnQuestions, late: LateAnswers, clock: Clock) -> None:
        self._protocol = protocol
        self._own = own
        self._late = late
        self._clock = clock
        self._decoded: Decoded | None = None
        self._refused: RefusedError | None = None
        self._dialect: str | None = None
        self._echoed = self.foreign = self.unclear = False
        self._damaged = self._strays = self._unfit = self.noise = 0
        self._twice: list[bytes] = []
        self._maybe_twice: list[bytes] = []

    def overhear(self, frames: Iterable[bytes]) -> None:
        """Sort frames that came before we asked."""
        for frame in frames:
            self._stray(frame, self._twice)

    def second(self, frame: bytes, request: bytes, answer: bytes) -> None:
        """Sort a frame that came on the heels of the answer."""
        if frame not in (answer, request) and self._protocol.is_answer(request, frame):
            if reads(self._protocol, request, frame):
                self._twice.append(request)
            return
        self._stray(frame, self._twice)

    def is_answer(self, request: bytes, frame: bytes) -> bool:
        """Whether this frame answers the request; anything else is counted under its name."""
        if frame == request and not self._protocol.alone:
            self._echoed = True
            if self._protocol.is_request(frame):
                self._stray(frame, self._maybe_twice)
            return False
        if not self._protocol.is_answer(request, frame):
            # a pack that answers under a wrong address is no twin: our own question must be answered as well
            self._stray(frame, self._maybe_twice)
            return False
        try:
            self._decoded = self._protocol.decode(request, frame)
        except RefusedError as err:
            if self._late.takes(request, frame, refusal=True):
                self._strays += 1  # it names no question, and an earlier one waits
                return False
            self._refused = err
        except FrameError as err:
            # answers do not always say what they answer: this may be a late one, and ours may still come
            self._damage(err)
            self._unfit += err.dialect is None
            self._suspect(frame, self._maybe_twice)
            return False
        else:
            if self._late.takes(request, frame, refusal=False):
                self._decoded, self.unclear = None, True
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
            unfit=self._unfit,
            unclear=self.unclear,
            foreign=self.foreign,
            dialect=self._dialect,
            noise=self.noise + noise,
            alone=self._protocol.alone,
            # what is joined or late on a link of our own is of the one battery there
            twice=() if self._protocol.alone else (*self._twice, *(self._maybe_twice if frame is not None else ())),
        )

    def _stray(self, frame: bytes, twice: list[bytes]) -> None:
        protocol = self._protocol
        if protocol.alone and self._late.takes(None, frame, refusal=False):
            return  # nothing new: neither a refusal of what is asked now, nor somebody else's
        question = not protocol.alone and protocol.is_request(frame)
        if question and self._own.explain(frame, self._clock.monotonic()):
            self._strays += self._late.takes(None, frame, refusal=False)
            return
        self.foreign |= question and protocol.integrity is not Integrity.NONE
        try:
            protocol.decode(None, frame)
        except FrameError as err:
            if err.dialect is not None or not question:
                self._damage(err)
        except RefusedError:
            self._strays += not question
        else:
            self._strays += not question
            if not question:
                self._suspect(frame, twice)

    def _suspect(self, frame: bytes, twice: list[bytes]) -> None:
        if (question := self._late.second(frame)) is not None:
            twice.append(question)

    def _damage(self, err: FrameError) -> None:
        if err.dialect is not None:
            self._dialect = err.dialect
        else:
            self._damaged += 1
