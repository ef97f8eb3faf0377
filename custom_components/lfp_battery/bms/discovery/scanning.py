"""The scan itself: silence first, then one question after the other, each answer shown to every protocol."""

from collections.abc import Callable, Sequence
from dataclasses import replace
import logging
from typing import Any, Final

from ..capture import Capture
from ..clients.dialogue import Dialogue, Exchange
from ..clock import Clock
from ..protocols import POLLED
from ..protocols.base import Integrity, PolledProtocol
from ..transports import ByteTransport
from .answers import Look, look
from .following import Follower
from .line import Ears, ScanLine
from .plan import Step, in_order, known_step, patience, plan
from .reading import Reader
from .report import Outcome, Progress, ScanReport, Stage

_LOGGER = logging.getLogger(__name__)

# Silence that is needed before the first byte is sent, and the longest that noise may extend it, in seconds
# (design decision 5).
_QUIET: Final = 2.0
_LONGEST_LISTEN: Final = 10.0
# How long somebody else's conversation is followed: until it can be told what it is, and until all of it was heard.
_FOLLOW, _FOLLOW_ALL, _FOLLOW_WATCHING = 6.0, 12.0, 30.0
# Bursts of bytes that nobody can explain, before the scan listens at every speed again.
_BURSTS: Final = 2
# Questions after who packs are are left to the client from so many seconds on: a scan that finds ends within 30.
_TIME_FOR_IDENTITIES: Final = 24.0
# What is under way is awaited so long after its last byte where no protocol says how long it is, in seconds.
_GAP: Final = 0.2
_BITS_PER_BYTE: Final = 10
# A battery that was called at another speed answers to one of so many tries (pytes-console.md section 2).
_TRIES_AWAKE: Final = 3
# Share of the progress bar for listening and probing; reading what was found fills the rest.
_LISTENED, _PROBED = 0.1, 0.6


class _Verdict(Exception):
    """The scan is over."""

    def __init__(self, outcome: Outcome, **found: Any) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.found = found


async def scan(
    open_line: Callable[[int], ByteTransport],
    *,
    clock: Clock,
    protocols: Sequence[str] | None = None,
    speeds: Sequence[int] | None = None,
    known: tuple[str, int] | None = None,
    family: str | None = None,
    quiet: float = _QUIET,
    listen_only: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> ScanReport:
    """Scan a line; `open_line` makes a closed transport for a speed. Leaves it closed.

    Nothing is sent before `quiet` seconds of silence, nothing after a question that was not ours, and never a command
    that changes anything. `protocols` (names of the registry) and `speeds` (baud) narrow the search. `known` (protocol
    and baud of the last success on this port) is tried first, then what a port of this `family` can be set to, a key
    of the catalog. With `listen_only` nothing is sent at all: each speed has its share of `quiet`.

    Raises:
        LinkError: the line cannot be opened, or went away.
    """
    order = in_order(protocols, family)
    return await _Scan(
        open_line,
        clock,
        order,
        # only what was asked for by name is called at another speed
        steps=plan(order, speeds, family=family, strangers=not protocols, may_wake=bool(protocols)),
        speeds=speeds,
        known=known,
        quiet=quiet,
        on_progress=on_progress or (lambda _: None),
    ).run(listen_only=listen_only)


class _Scan:
    """One scan under way: the line at the speed being tried, and what was heard so far."""

    def __init__(
        self,
        open_line: Callable[[int], ByteTransport],
        clock: Clock,
        protocols: list[PolledProtocol],
        *,
        steps: list[Step],
        speeds: Sequence[int] | None,
        known: tuple[str, int] | None,
        quiet: float,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._open_line = open_line
        self._clock = clock
        self._protocols = protocols
        self._steps = steps
        self._known = known if known is not None and known[0] in POLLED else None
        self._quiet = quiet
        self._on_progress = on_progress
        self._fraction = 0.0
        order = list(speeds or dict.fromkeys(step.baudrate for step in steps if step.protocol is not None))
        if self._known is not None:
            order = list(dict.fromkeys((self._known[1], *order)))
        self._speeds = tuple(order)
        self._capture = Capture(clock)
        self._started = clock.monotonic()
        self._line: ScanLine | None = None
        self._not_before = 0.0  # of the next question, monotonic
        self._answers = self._damaged = self._bursts = 0
        self._noise = self._echoed = False
        self._dialect: str | None = None
        self._unreadable: list[tuple[str | None, int]] = []  # protocol and speed of what answers and cannot be read

    def _tell(self, stage: Stage, fraction: float, **what: Any) -> None:
        # groups differ in size and are not known beforehand: the bar may wait, it must not go back
        self._fraction = max(self._fraction, min(fraction, 1.0))
        self._on_progress(Progress(stage=stage, fraction=self._fraction, **what))

    async def run(self, *, listen_only: bool) -> ScanReport:
        """Listen, then probe."""
        try:
            if listen_only:
                await self._watch()
            else:
                await self._listen()
                await self._probe()
        except _Verdict as verdict:
            return self._report(verdict.outcome, **verdict.found)
        finally:
            await self._close()
        return self._nothing_readable()

    def _nothing_readable(self) -> ScanReport:
        if self._unreadable:
            protocol, speed = self._unreadable[0]
            return self._report(Outcome.UNREADABLE, protocol=protocol, baudrate=speed)
        if self._dialect is not None:
            return self._report(Outcome.OTHER_PROTOCOL, dialect=self._dialect)
        if self._damaged or self._noise:
            return self._report(Outcome.NOISE)
        return self._report(Outcome.ECHO if self._echoed else Outcome.NOTHING)

    def _report(self, outcome: Outcome, **found: Any) -> ScanReport:
        return ScanReport(
            outcome=outcome,
            answers=self._answers,
            damaged=self._damaged,
            capture=self._capture.text() or None,
            **found,
        )

    # --- the line ----------------------------------------------------------------------------------------------------

    async def _open(self, baudrate: int) -> ScanLine:
        """The line at this speed."""
        if self._line is not None and self._line.baudrate == baudrate:
            return self._line
        await self._close()
        line = ScanLine(self._open_line(baudrate), self._clock, self._capture, Ears(self._protocols))
        await line.open()
        self._line = line
        return line

    async def _close(self) -> None:
        if self._line is not None:
            line, self._line = self._line, None
            await line.close()

    # --- listening ---------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Wait for silence; the verdict is NOISE when something talks that no speed makes sense of."""
        self._tell(Stage.LISTENING, 0.0)
        if await self._hear(self._speeds[0], self._quiet):
            # noise: a slow inverter, or one at another speed, looks just like it
            await self._listen_around()

    async def _listen_around(self) -> None:
        first = self._line.baudrate if self._line is not None else self._speeds[0]
        order = (*(speed for speed in self._speeds if speed != first), first)
        share = max(max(_LONGEST_LISTEN, self._quiet) / len(order), _QUIET)
        heard_again = False
        for number, speed in enumerate(order):
            self._tell(Stage.LISTENING, _LISTENED * number / len(order), baudrate=speed)
            heard_again |= await self._hear(speed, share)
        if heard_again:
            raise _Verdict(Outcome.NOISE)

    async def _watch(self) -> None:
        """Only listen, each speed for its share."""
        for number, speed in enumerate(self._speeds):
            self._tell(Stage.LISTENING, number / len(self._speeds), baudrate=speed)
            self._noise |= await self._hear(speed, self._quiet / len(self._speeds), longest=_FOLLOW_WATCHING)

    async def _hear(self, speed: int, seconds: float, *, longest: float = _FOLLOW_ALL) -> bool:
        """Listen at one speed; whether there was anything. Ends the scan when it makes sense."""
        line = await self._open(speed)
        heard = False
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            heard |= bool(await line.receive(left))
            if line.ears.foreign or line.ears.answers:
                await self._follow(line, longest)
        return heard

    async def _follow(self, line: ScanLine, longest: float = _FOLLOW_ALL) -> None:
        """Somebody else asks: listen until it is known in what and whom, and say so."""
        follower = Follower(self._protocols)
        for when, data in line.ears.recent:
            follower.hear(data, when)
        began = self._clock.monotonic()
        self._tell(Stage.LISTENING, self._fraction, baudrate=line.baudrate)
        while not follower.repeated:
            end = began + (longest if follower.told else _FOLLOW)
            if (left := end - self._clock.monotonic()) <= 0:
                break
            if data := await line.receive(min(left, 1.0)):
                follower.hear(data, self._clock.monotonic())
        outcome = Outcome.LINK_PORT if line.ears.link_bus else Outcome.OTHER_MASTER
        raise _Verdict(outcome, baudrate=line.baudrate, **follower.verdict(line.ears.questions))

    async def _settle(self, line: ScanLine) -> None:
        """Wait until the line has been quiet for long enough."""
        now = self._clock.monotonic()
        quiet, end = now + _QUIET, now + _LONGEST_LISTEN
        while (left := quiet - now) > 0:
            if now >= end:
                raise _Verdict(Outcome.NOISE)
            data = await line.receive(left)
            now = self._clock.monotonic()
            if line.ears.foreign:
                await self._follow(line)
            if data:
                quiet = now + _QUIET

    async def _before_asking(self, line: ScanLine) -> None:
        """Let pass what nobody asked for; what cannot be explained again and again is looked into at every speed."""
        if (pause := self._not_before - self._clock.monotonic()) > 0:
            await self._clock.sleep(pause)
        while line.drain():
            if line.ears.foreign:
                await self._follow(line)
            await self._puzzle(line)
            line = await self._open(line.baudrate)

    async def _puzzle(self, line: ScanLine) -> None:
        """Bytes that nobody can explain: nothing is asked before the line is quiet, or before it is known who speaks."""
        self._noise = True
        self._bursts += 1
        await self._settle(line)
        if self._bursts >= _BURSTS:
            self._bursts = 0
            await self._listen_around()

    # --- probing -----------------------------------------------------------------------------------------------------

    async def _probe(self) -> None:
        if self._known is not None:
            name, baudrate = self._known
            await self._read(await self._open(baudrate), known_step(POLLED[name], baudrate), nearby=True)
        waiting = list(self._steps)
        total = len(waiting)
        while waiting:
            step = waiting.pop(0)
            self._tell(
                Stage.PROBING,
                _LISTENED + (_PROBED - _LISTENED) * (total - len(waiting) - 1) / total,
                protocol=step.name,
                baudrate=step.baudrate,
                address=step.address,
            )
            seen = await self._try(step)
            if seen.stranger is not None:
                raise _Verdict(Outcome.OTHER_PROTOCOL, dialect=seen.stranger, baudrate=step.baudrate)
            for protocol in seen.recognised:
                line = await self._open(step.baudrate)
                await self._read(line, replace(step, protocol=protocol))
            if seen.recognised or seen.answered:
                self._note_unreadable(step, seen)
                waiting = _alike(waiting, step, seen)
            if seen.dialect is not None and seen.dialect in POLLED:
                # it has said what it speaks: that comes next
                waiting = _named(waiting, seen.dialect)
            elif seen.dialect is not None:
                raise _Verdict(Outcome.OTHER_PROTOCOL, dialect=seen.dialect, baudrate=step.baudrate)

    def _note_unreadable(self, step: Step, seen: Look) -> None:
        """Of maps that share Modbus nobody can say which one it is that refuses, or holds other things."""
        first = (seen.recognised or seen.answered)[0]
        certain = bool(seen.recognised) or first.integrity is not Integrity.CRC
        self._unreadable.append((first.name if certain else None, step.baudrate))

    async def _try(self, step: Step) -> Look:
        """Ask, and let every protocol look at what comes."""
        if step.wake:
            await self._wake(step)
        line = await self._open(step.baudrate)
        heard = await self._put(line, step)
        seen = self._look(step, heard)
        for call in step.protocol.rouse[1:] if step.protocol is not None else ():
            # it says something, but not what is expected: another call may bring it to its senses
            if seen.empty or seen.recognised or seen.dialect:
                break
            heard = await self._put(line, replace(step, question=call))
            seen = self._look(replace(step, question=call), heard)
        for _ in range(_TRIES_AWAKE - 1 if step.wake else 0):
            if not seen.empty:
                break
            seen = self._look(step, await self._put(line, step))
        _LOGGER.debug("scan %d baud %s: %s", step.baudrate, step.name, seen)
        self._answers += bool(seen.recognised or seen.answered)
        self._damaged += seen.damaged
        self._echoed |= seen.echoed
        if not seen.explained:
            await self._puzzle(line)
        return seen

    def _look(self, step: Step, heard: bytes) -> Look:
        return look(step.question, heard, self._protocols, asked=step.protocol, stranger=step.stranger)

    async def _put(self, line: ScanLine, step: Step) -> bytes:
        """Send a question; everything that comes until its answer is complete, or nothing more comes."""
        await self._before_asking(line)
        line = await self._open(step.baudrate)
        line.private = False
        await line.send(step.question)
        clock, protocol = self._clock, step.protocol
        sent = clock.monotonic() + len(step.question) * _BITS_PER_BYTE / step.baudrate
        deadline = sent + step.wait
        last = sent + (protocol.timing.answer if protocol is not None else step.wait + _LONGEST_LISTEN)
        gap = max(_GAP, min(protocol.timing.gap, 1.0)) if protocol is not None else _GAP
        splitter = protocol.splitter(step.question) if protocol is not None else None
        while (left := min(deadline, last) - clock.monotonic()) > 0:
            if not (data := await line.receive(left)):
                continue
            if line.ears.foreign:
                await self._follow(line)
            pending = None
            if protocol is not None and splitter is not None:
                frames = splitter.feed(data)
                if any(frame != step.question and protocol.is_answer(step.question, frame) for frame in frames):
                    break
                pending = splitter.pending
            under_way = (pending or 0) * _BITS_PER_BYTE / step.baudrate
            deadline = max(deadline, clock.monotonic() + under_way + gap)
        self._not_before = clock.monotonic() + (protocol.timing.pause if protocol is not None else _GAP)
        return bytes(line.heard)

    async def _wake(self, step: Step) -> None:
        assert step.protocol is not None
        wake = step.protocol.wake
        assert wake is not None
        line = await self._open(wake.baudrate)
        await self._before_asking(line)
        line = await self._open(wake.baudrate)
        await line.send(wake.request)
        await self._clock.sleep(wake.wait)
        line.drain()

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _read(self, line: ScanLine, step: Step, *, nearby: bool = False) -> None:
        """Read everything behind a line that answered; ends the scan when something of it can be read."""
        assert step.protocol is not None
        assert step.address is not None
        protocol = step.protocol
        address = _address_for(protocol, step.address)
        dialogue = Dialogue(line, self._clock)

        async def ask(request: bytes, *, wait: float | None = None, private: bool = False) -> Exchange:
            line.private = private
            return await self._ask(dialogue, line, protocol, request, wait=wait, private=private)

        def tell(fraction: float, candidate: int) -> None:
            self._tell(
                Stage.READING,
                _PROBED + (1 - _PROBED) * fraction,
                protocol=protocol.name,
                baudrate=line.baudrate,
                address=candidate,
            )

        if (pause := self._not_before - self._clock.monotonic()) > 0:
            await self._clock.sleep(pause)
        reader = Reader(
            protocol,
            ask,
            self._clock,
            baudrate=line.baudrate,
            patience=patience(protocol),
            in_time=self._in_time,
            tell=tell,
        )
        tell(0.0, address)
        found = await reader.read(address, nearby=nearby)
        self._not_before = self._clock.monotonic() + protocol.timing.pause
        if found is not None:
            raise _Verdict(Outcome.FOUND, protocol=protocol.name, baudrate=line.baudrate, **found)

    def _in_time(self) -> bool:
        return self._clock.monotonic() - self._started - max(self._quiet - _QUIET, 0.0) < _TIME_FOR_IDENTITIES

    async def _ask(
        self,
        dialogue: Dialogue,
        line: ScanLine,
        protocol: PolledProtocol,
        request: bytes,
        *,
        wait: float | None,
        private: bool,
    ) -> Exchange:
        while True:
            exchange = await dialogue.ask(protocol, request, wary=True, wait=wait)
            _LOGGER.debug("scan %d baud %s: %s", line.baudrate, protocol.name, exchange.summary(private=private))
            self._answers += exchange.frame is not None
            self._damaged += exchange.damaged
            self._echoed |= exchange.echoed
            if line.ears.foreign:
                await self._follow(line)
            if exchange.foreign:
                raise _Verdict(Outcome.OTHER_MASTER, protocol=protocol.name, baudrate=line.baudrate)
            if exchange.frame is not None or (exchange.sent and (exchange.silent or exchange.declined)):
                return exchange
            # it may be a damaged answer, a late one, or somebody else: nothing is sent before the line is quiet again
            await self._settle(line)
            if exchange.sent:
                return exchange


def _alike(steps: list[Step], step: Step, seen: Look) -> list[Step]:
    """Something answers in this form, at this speed: what asks in the same form comes before the others."""
    forms = set(seen.recognised + seen.answered)
    return sorted(steps, key=lambda one: not (one.baudrate == step.baudrate and one.protocol in forms))


def _named(steps: list[Step], name: str) -> list[Step]:
    """Steps of this protocol, and of those that are variants of it, before the others."""
    return sorted(steps, key=lambda one: not one.name.startswith(name))


def _address_for(protocol: PolledProtocol, address: int) -> int:
    """Where to begin to read what answered to a probe at this address."""
    known = [candidate for group in protocol.address_groups for candidate in group]
    return address if address in known else known[0]
