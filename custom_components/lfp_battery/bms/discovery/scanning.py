"""The scan itself: silence first, then one question after the other, each answer shown to every protocol."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
import logging
from typing import Any, Final

from ..clients.dialogue import Dialogue, Exchange
from ..clock import Clock
from ..protocols import SERIAL
from ..protocols.base import Integrity, PolledProtocol
from ..transports import ByteTransport
from .answers import Look, look
from .line import ScanLine
from .listening import LONGEST_LISTEN, QUIET, Listener, Verdict
from .plan import Step, further, in_order, known_step, patience, plan
from .reading import Reader
from .report import Outcome, Progress, ScanReport, Stage

_LOGGER = logging.getLogger(__name__)

# Questions after who packs are are left to the client from so many seconds on, counted from the first question: a scan
# that finds ends within 30. A bank that is found late is given so many seconds for them.
_TIME_FOR_IDENTITIES: Final = 22.0
_LATE_IDENTITIES: Final = 15.0
# What is under way is awaited so long after its last byte where no protocol says how long it is, in seconds.
_GAP: Final = 0.2
_BITS_PER_BYTE: Final = 10
# A battery that was called at another speed answers to one of so many tries (pytes-console.md section 2).
_TRIES_AWAKE: Final = 3
# An answer that comes so long after its question is still its answer, in seconds.
_LATE: Final = 10.0
# On a line that is slower than is usual: what is added to the slowest answer, for the next one and for all of those that
# may still be under way, and the longest that counts, in seconds.
_SLOWER: Final = 0.15
_UNDER_WAY: Final = 0.3
_SLOWEST: Final = 3.0
# How long the first answer of a battery that is remembered is awaited, in seconds.
_REMEMBERED: Final = 2.0
# So much that nobody can explain is more than a glitch, in bytes.
_BURST: Final = 4
# Share of the progress bar for listening and probing; reading what was found fills the rest.
_LISTENED, _PROBED = 0.1, 0.6


async def scan(
    open_line: Callable[[int], ByteTransport],
    *,
    clock: Clock,
    protocols: Sequence[str] | None = None,
    speeds: Sequence[int] | None = None,
    known: tuple[str, int] | None = None,
    addresses: Collection[int] = (),
    family: str | None = None,
    quiet: float | None = None,
    listen_only: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> ScanReport:
    """Scan a line; `open_line` makes a closed transport for a speed. Leaves it closed.

    Nothing is sent before `quiet` seconds of silence (2; much more where somebody was heard), nothing after a question
    that was not ours, and never a command that changes anything. `protocols` (names of the registry) and `speeds` (baud)
    narrow the search. `known` (protocol and baud of the last success on this port) is tried first, with the `addresses`
    of the packs that were there; then what a port of this `family` can be set to, a key of the catalog. With
    `listen_only` nothing is sent at all, for a minute or longer.

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
        addresses=addresses,
        on_progress=on_progress or (lambda _: None),
    ).run(quiet, listen_only=listen_only)


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
        addresses: Collection[int],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._clock = clock
        self._protocols = protocols
        self._steps = steps
        self._known = known if known is not None and known[0] in SERIAL else None
        self._addresses = tuple(addresses)
        self._on_progress = on_progress
        self._fraction = 0.0
        order = list(speeds or dict.fromkeys(step.baudrate for step in steps if step.protocol is not None))
        if self._known is not None:
            order = list(dict.fromkeys((self._known[1], *order)))
        self._ears = Listener(open_line, clock, protocols, order, tell=self._listening)
        self._listened = _LISTENED
        self._not_before = 0.0  # of the next question, monotonic
        self._found = 0.0  # when something was found that can be read, monotonic
        self._answers = self._damaged = 0
        self._echoed = self._overdue = False
        self._unreadable: list[tuple[str | None, int]] = []  # protocol and speed of what answers and cannot be read
        self._asked: deque[tuple[float, Step]] = deque(maxlen=16)  # (monotonic, what)
        self._late: list[tuple[Step, Look]] = []  # what came after the next question had gone out
        self._slowest = 0.0  # s that an answer took which came later than is usual

    def _tell(self, stage: Stage, fraction: float, **what: Any) -> None:
        # groups differ in size and are not known beforehand: the bar may wait, it must not go back
        self._fraction = max(self._fraction, min(fraction, 1.0))
        self._on_progress(Progress(stage=stage, fraction=self._fraction, **what))

    def _listening(self, fraction: float, baudrate: int) -> None:
        self._tell(Stage.LISTENING, fraction * self._listened, baudrate=baudrate)

    async def run(self, quiet: float | None, *, listen_only: bool) -> ScanReport:
        """Listen, then probe."""
        self._listened = 1.0 if listen_only else _LISTENED
        try:
            if listen_only:
                await self._ears.watch(quiet)
            else:
                await self._ears.silence(QUIET if quiet is None else quiet)
                await self._probe()
        except Verdict as verdict:
            return self._report(verdict.outcome, **verdict.found)
        finally:
            await self._ears.close()
        return self._nothing_readable()

    def _nothing_readable(self) -> ScanReport:
        if self._unreadable and not (self._overdue or self._damaged):
            protocol, speed = self._unreadable[0]
            return self._report(Outcome.UNREADABLE, protocol=protocol, baudrate=speed)
        if self._damaged or self._overdue or self._ears.noise:
            return self._report(Outcome.NOISE)
        return self._report(Outcome.ECHO if self._echoed else Outcome.NOTHING)

    def _report(self, outcome: Outcome, **found: Any) -> ScanReport:
        return ScanReport(
            outcome=outcome,
            answers=self._answers,
            damaged=self._damaged,
            capture=self._ears.capture.text() or None,
            **found,
        )

    async def _before_asking(self, baudrate: int) -> ScanLine:
        """Let pass what nobody asked for, and what came late; the line at this speed."""
        line = await self._ears.open(baudrate)
        if (pause := self._not_before - self._clock.monotonic()) > 0:
            await self._clock.sleep(pause)
        while data := line.drain():
            await self._ears.attend(line)
            if not self._came_late(line.baudrate, data):
                await self._ears.puzzle(line, len(data))
            line = await self._ears.open(baudrate)
        return line

    # --- probing -----------------------------------------------------------------------------------------------------

    async def _probe(self) -> None:
        if self._known is not None:
            name, baudrate = self._known
            await self._read(known_step(SERIAL[name], baudrate), nearby=True)
        waiting = list(self._steps)
        total = len(waiting)
        while waiting:
            step = waiting.pop(0)
            if not self._ears.in_time:
                return
            self._tell(
                Stage.PROBING,
                _LISTENED + (_PROBED - _LISTENED) * (total - len(waiting) - 1) / total,
                protocol=step.name,
                baudrate=step.baudrate,
                address=step.address,
            )
            tried = await self._try(step)
            if self._late:
                await self._let_pass(step.baudrate)
            # what came late was asked before, and says at once who is there
            heard, self._late = [*self._late, (step, tried)], []
            for asked, seen in heard:
                waiting = await self._consider(asked, seen, waiting)

    async def _consider(self, step: Step, seen: Look, waiting: list[Step]) -> list[Step]:
        """What an answer means for what is asked next."""
        if seen.stranger is not None:
            raise Verdict(Outcome.OTHER_PROTOCOL, dialect=seen.stranger, baudrate=step.baudrate)
        for protocol in seen.recognised:
            await self._read(replace(step, protocol=protocol))
        if seen.recognised or seen.answered:
            self._note_unreadable(step, seen)
            waiting = [*further(step, self._protocols), *_alike(waiting, step, seen)]
        if seen.dialect is not None and seen.dialect in SERIAL:
            # it has said what it speaks: that comes next
            return _named(waiting, seen.dialect)
        if seen.dialect is not None:
            raise Verdict(Outcome.OTHER_PROTOCOL, dialect=seen.dialect, baudrate=step.baudrate)
        return waiting

    def _note_unreadable(self, step: Step, seen: Look) -> None:
        """Of maps that share Modbus nobody can say which one it is that refuses, or holds other things."""
        first = (seen.recognised or seen.answered)[0]
        certain = bool(seen.recognised) or first.integrity is not Integrity.CRC
        self._unreadable.append((first.name if certain else None, step.baudrate))

    async def _try(self, step: Step) -> Look:
        """Ask, and let every protocol look at what comes."""
        if step.wake:
            await self._wake(step)
        heard = await self._put(step)
        seen = self._look(step, heard)
        for call in step.protocol.rouse[1:] if step.protocol is not None else ():
            # it says something, but not what is expected: another call may bring it to its senses
            if seen.empty or seen.recognised or seen.dialect:
                break
            heard = await self._put(replace(step, question=call))
            seen = self._look(replace(step, question=call), heard)
        for _ in range(_TRIES_AWAKE - 1 if step.wake else 0):
            if not seen.empty:
                break
            heard = await self._put(step)
            seen = self._look(step, heard)
        _LOGGER.debug("scan %d baud %s: %s", step.baudrate, step.name, seen)
        if seen.answered and not (seen.recognised or seen.dialect) and self._is_others(step, heard):
            seen = Look(empty=True, echoed=seen.echoed)  # makes no sense here, and does as the answer to an earlier one
        self._answers += bool(seen.recognised or seen.answered)
        self._echoed |= seen.echoed
        if not seen.explained and not self._came_late(step.baudrate, heard, but=step.question):
            self._damaged += seen.damaged
            line = await self._ears.open(step.baudrate)
            await self._ears.puzzle(line, len(heard.replace(step.question, b"", 1)), damaged=bool(seen.damaged))
        return seen

    def _look(self, step: Step, heard: bytes) -> Look:
        return look(step.question, heard, self._protocols, asked=step.protocol, stranger=step.stranger)

    def _is_others(self, step: Step, heard: bytes) -> bool:
        """Whether what came can only be the answer to an earlier question; in most answers nothing tells."""
        return self._came_late(step.baudrate, heard, but=step.question, certain=True)

    def _came_late(self, baudrate: int, heard: bytes, *, but: bytes | None = None, certain: bool = False) -> bool:
        """Whether these bytes are the answer to an earlier question; `certain`: a refusal may be of either."""
        now = self._clock.monotonic()
        if any(protocol.is_request(heard) for protocol in self._protocols):
            return False  # an answer of one Modbus dialect looks like a question of the others
        for when, step in reversed(self._asked):
            if step.baudrate != baudrate or step.question == but or now - when > _LATE:
                continue
            seen = self._look(step, heard.replace(but, b"", 1) if but else heard)
            if seen.recognised or (seen.answered and not certain):
                _LOGGER.debug("scan %d baud %s, late: %s", baudrate, step.name, seen)
                self._overdue = True
                self._took(now - when, step.protocol)
                self._answers += 1
                self._late.append((step, seen))
                return True
        return False

    def _took(self, seconds: float, protocol: PolledProtocol | None) -> None:
        """An answer took so long: from now on nobody is called silent sooner."""
        if protocol is None or seconds > patience(protocol):
            self._slowest = max(self._slowest, min(seconds, _SLOWEST))

    async def _let_pass(self, baudrate: int) -> None:
        """Wait for the answers that may still be under way: what is read next must not take them for its own."""
        line = await self._ears.open(baudrate)
        heard = bytearray()
        until = max(when for when, _ in self._asked) + self._slowest + _UNDER_WAY
        while (left := until - self._clock.monotonic()) > 0:
            heard += await line.receive(left)
            await self._ears.attend(line)
        if heard:
            self._came_late(baudrate, bytes(heard))

    async def _put(self, step: Step) -> bytes:
        """Send a question; everything that comes until its answer is complete, or nothing more comes."""
        line = await self._before_asking(step.baudrate)
        line.private = False
        self._ears.asked()
        await line.send(step.question)
        clock, protocol = self._clock, step.protocol
        self._asked.append((clock.monotonic(), step))
        sent = clock.monotonic() + len(step.question) * _BITS_PER_BYTE / step.baudrate
        deadline = sent + max(step.wait, self._slowest + _SLOWER if self._slowest and not step.last else 0.0)
        last = sent + (protocol.timing.answer if protocol is not None else step.wait + LONGEST_LISTEN)
        gap = max(_GAP, min(protocol.timing.gap, 1.0)) if protocol is not None else _GAP
        splitter = protocol.splitter(step.question) if protocol is not None else None
        while (left := min(deadline, last) - clock.monotonic()) > 0:
            if not (data := await line.receive(left)):
                continue
            await self._ears.attend(line)
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
        line = await self._before_asking(wake.baudrate)
        self._ears.asked()
        await line.send(wake.request)
        await self._clock.sleep(wake.wait)
        line.drain()
        await self._ears.attend(line)

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _read(self, step: Step, *, nearby: bool = False) -> None:
        """Read everything behind a line that answered; ends the scan when something of it can be read."""
        assert step.protocol is not None
        assert step.address is not None
        protocol = step.protocol
        address = _address_for(protocol, step.address)
        line = await self._ears.open(step.baudrate)
        dialogue = Dialogue(line, self._clock)

        # whoever answered here before is given more time, once
        least = _REMEMBERED if nearby and protocol.integrity is not Integrity.NONE else 0.0

        async def ask(request: bytes, *, wait: float | None = None, private: bool = False) -> Exchange:
            nonlocal least
            longer, least = least, 0.0
            line.private = private
            return await self._ask(dialogue, line, protocol, request, wait=wait, least=longer, private=private)

        def tell(fraction: float, candidate: int, stage: Stage = Stage.READING) -> None:
            share = _PROBED + (1 - _PROBED) * fraction if stage is Stage.READING else 0.0
            self._tell(stage, share, protocol=protocol.name, baudrate=line.baudrate, address=candidate)

        if (pause := self._not_before - self._clock.monotonic()) > 0:
            await self._clock.sleep(pause)
        self._found = self._clock.monotonic()
        reader = Reader(
            protocol,
            ask,
            self._clock,
            baudrate=line.baudrate,
            patience=patience(protocol),
            in_time=self._in_time,
            tell=tell,
        )
        # of a port that is known nobody has answered yet
        tell(0.0, address, Stage.PROBING if nearby else Stage.READING)
        found = await reader.read(address, nearby=nearby, known=self._addresses if nearby else ())
        self._not_before = self._clock.monotonic() + protocol.timing.pause
        if found is not None:
            raise Verdict(Outcome.FOUND, protocol=protocol.name, baudrate=line.baudrate, **found)

    def _in_time(self) -> bool:
        began = self._ears.began if self._ears.began is not None else self._found
        until = max(began + _TIME_FOR_IDENTITIES, self._found + _LATE_IDENTITIES)
        return self._ears.in_time and self._clock.monotonic() < until

    async def _ask(
        self,
        dialogue: Dialogue,
        line: ScanLine,
        protocol: PolledProtocol,
        request: bytes,
        *,
        wait: float | None,
        least: float,
        private: bool,
    ) -> Exchange:
        while self._ears.in_time:
            least = max(least, self._slowest + _SLOWER if self._slowest else 0.0)
            began = self._clock.monotonic()
            exchange = await dialogue.ask(
                protocol, request, wary=True, wait=max(protocol.timing.first_byte if wait is None else wait, least)
            )
            if exchange.frame is not None:
                under_way = dialogue.wire_seconds(len(request) + len(exchange.frame))
                self._took(self._clock.monotonic() - began - under_way, protocol)
            _LOGGER.debug("scan %d baud %s: %s", line.baudrate, protocol.name, exchange.summary(private=private))
            self._answers += exchange.frame is not None
            self._damaged += exchange.damaged
            self._echoed |= exchange.echoed
            if exchange.sent:
                self._ears.asked()
            await self._ears.attend(line)
            if exchange.foreign:
                raise Verdict(Outcome.OTHER_MASTER, protocol=protocol.name, baudrate=line.baudrate)
            if exchange.frame is not None or (exchange.sent and (exchange.silent or exchange.declined)):
                return exchange
            # it may be a damaged answer, a late one, or somebody else: nothing is sent before the line is quiet again
            if exchange.sent and wait is not None and exchange.noise >= _BURST and not exchange.damaged:
                # where nobody answered: what follows an answer may be of the same pack
                self._ears.unexplained()
            await self._ears.settle(line)
            if exchange.sent:
                return exchange
        return Exchange(sent=False)


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
