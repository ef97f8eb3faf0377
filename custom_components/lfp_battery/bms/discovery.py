"""Finding out what is at the other end of a line: listen first, then probe, then read what answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
import logging
from typing import Any

from .clients.dialogue import Dialogue, Exchange
from .clients.units import combine
from .clock import Clock
from .errors import FrameError, RefusedError
from .model import BankState, Identity, PackState
from .protocols import POLLED
from .protocols.base import Cadence, Decoded, Poll, PolledProtocol, Scope
from .transports import ByteTransport

_LOGGER = logging.getLogger(__name__)

# Silence that is needed before the first byte is sent, and the longest that noise may extend it, in seconds
# (design decision 5).
_QUIET = 2.0
_LONGEST_LISTEN = 10.0
# After so many neighbours without an answer the rest of a group is taken for empty (pylon-rs485.md section 9).
_EMPTY_NEIGHBOURS = 3
# Share of the progress bar for listening and probing; reading what was found fills the rest.
_LISTENED, _PROBED = 0.1, 0.6


class Stage(StrEnum):
    """What a scan is doing."""

    LISTENING = "listening"
    PROBING = "probing"
    READING = "reading"


class Outcome(StrEnum):
    """How a scan ended."""

    FOUND = "found"
    UNREADABLE = "unreadable"  # answers, but to nothing that can be read
    NOTHING = "nothing"
    ECHO = "echo"  # only our own bytes came back
    NOISE = "noise"
    OTHER_PROTOCOL = "other_protocol"  # a battery that is recognised and cannot be read; `dialect` says which
    OTHER_MASTER = "other_master"  # somebody else asks; `packs` and `bank` are what was overheard
    LINK_PORT = "link_port"  # the port between packs, which has a master of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a scan is; `fraction` is 0 to 1 of the longest that it can take."""

    stage: Stage
    fraction: float
    protocol: str | None = None
    baudrate: int | None = None
    address: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPack:
    """One pack that answered."""

    address: int
    identity: Identity
    state: PackState


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReport:
    """What a scan heard."""

    outcome: Outcome
    protocol: str | None = None
    baudrate: int | None = None
    packs: tuple[FoundPack, ...] = ()
    bank: BankState | None = None  # what the bank says of itself, on protocols that have it
    bank_address: int | None = None
    bank_identity: Identity | None = None
    dialect: str | None = None  # a protocol that is only recognised: a key of `protocols.strangers`
    answers: int = 0  # intact answers to our questions
    damaged: int = 0  # frames that failed their check
    capture: str | None = None  # what was sent and heard, redacted, for `replay`

    @property
    def experimental(self) -> bool:
        """Whether this protocol was never seen on hardware."""
        return self.protocol is not None and POLLED[self.protocol].experimental


class _OtherMaster(Exception):
    """Somebody else asks questions on this line."""

    def __init__(self, protocol: str | None, baudrate: int, dialect: str | None = None) -> None:
        super().__init__(protocol or dialect)
        self.protocol = protocol
        self.baudrate = baudrate
        self.dialect = dialect


class _NeverQuiet(Exception):
    """Something goes on talking that makes no sense."""


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
    and baud of the last success on this port) is tried first, then what the port of this `family` can be set to, a key
    of the catalog. With `listen_only` nothing is sent at all: the report says whom somebody else asks, or NOTHING.

    Raises:
        LinkError: the line cannot be opened, or went away.
    """
    wanted = [POLLED[name] for name in protocols or POLLED]
    return await _Scan(open_line, clock, wanted, speeds, on_progress or (lambda _: None)).run()


class _Scan:
    """One scan under way: the line at the speed being tried, and what was heard so far."""

    def __init__(
        self,
        open_line: Callable[[int], ByteTransport],
        clock: Clock,
        protocols: list[PolledProtocol],
        speeds: Sequence[int] | None,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._open_line = open_line
        self._clock = clock
        self._protocols = protocols
        self._on_progress = on_progress
        self._fraction = 0.0
        order = speeds or dict.fromkeys(speed for protocol in protocols for speed in protocol.speeds)
        self._speeds = tuple(order)
        self._answers = self._damaged = self._noise = 0
        self._echoed = False
        self._dialect: str | None = None
        self._line: ByteTransport  # the one that is open
        self._unreadable: tuple[str, int] | None = None  # protocol and speed of something that answers

    def _tell(self, stage: Stage, fraction: float, **what: Any) -> None:
        # groups differ in size and are not known beforehand: the bar may wait, it must not go back
        self._fraction = max(self._fraction, min(fraction, 1.0))
        self._on_progress(Progress(stage=stage, fraction=self._fraction, **what))

    async def run(self) -> ScanReport:
        """Listen, then probe."""
        try:
            if await self._listen() is Outcome.NOISE:
                return self._report(Outcome.NOISE)
            for index, speed in enumerate(self._speeds):
                if (report := await self._try_speed(index, speed)) is not None:
                    return report
        except _OtherMaster as err:
            return self._report(Outcome.OTHER_MASTER, protocol=err.protocol, baudrate=err.baudrate, dialect=err.dialect)
        except _NeverQuiet:
            return self._report(Outcome.NOISE)
        return self._nothing_readable()

    def _nothing_readable(self) -> ScanReport:
        if self._unreadable is not None:
            protocol, speed = self._unreadable
            return self._report(Outcome.UNREADABLE, protocol=protocol, baudrate=speed)
        if self._dialect is not None:
            return self._report(Outcome.OTHER_PROTOCOL, dialect=self._dialect)
        if self._damaged or self._noise:
            return self._report(Outcome.NOISE)
        return self._report(Outcome.ECHO if self._echoed else Outcome.NOTHING)

    def _report(self, outcome: Outcome, **found: Any) -> ScanReport:
        return ScanReport(outcome=outcome, answers=self._answers, damaged=self._damaged, **found)

    # --- listening ---------------------------------------------------------------------------------------------------

    async def _listen(self) -> Outcome | None:
        """Wait for silence; NOISE when something talks that no speed makes sense of."""
        self._tell(Stage.LISTENING, 0.0)
        started = self._clock.monotonic()
        if not await self._hear(self._speeds[0], _QUIET):
            return None
        # noise: a slow inverter, or one at another speed, looks just like it
        others = (*self._speeds[1:], self._speeds[0])
        heard_again = False
        for number, speed in enumerate(others):
            left = _LONGEST_LISTEN - (self._clock.monotonic() - started)
            self._tell(Stage.LISTENING, _LISTENED * number / len(others), baudrate=speed)
            heard_again |= await self._hear(speed, max(left / (len(others) - number), _QUIET))
        return Outcome.NOISE if heard_again else None

    async def _hear(self, speed: int, seconds: float) -> bool:
        """Listen at one speed; whether there was anything. Raises when it makes sense."""
        transport = self._open_line(speed)
        splitters = [(protocol, protocol.splitter()) for protocol in self._protocols]
        heard = False
        await transport.open()
        try:
            until = self._clock.monotonic() + seconds
            while (left := until - self._clock.monotonic()) > 0:
                if not (data := await transport.receive(left)):
                    continue
                heard = True
                for protocol, splitter in splitters:
                    for frame in splitter.feed(data):
                        self._overheard(protocol, frame, speed)
        finally:
            await transport.close()
        return heard

    def _overheard(self, protocol: PolledProtocol, frame: bytes, speed: int, *, answers_too: bool = True) -> None:
        """Raise when an overheard frame is intact: a question, or the answer to one, means that somebody asks."""
        dialect = None
        try:
            protocol.decode(None, frame)
        except RefusedError:
            intact = answers_too
        except FrameError as err:
            dialect = err.dialect
            intact = dialect is not None and answers_too
        else:
            intact = answers_too
        if intact or protocol.is_request(frame):
            raise _OtherMaster(None if dialect else protocol.name, speed, dialect)

    # --- probing -----------------------------------------------------------------------------------------------------

    async def _try_speed(self, index: int, speed: int) -> ScanReport | None:
        transport = self._line = self._open_line(speed)
        await transport.open()
        try:
            dialogue = Dialogue(transport, self._clock)
            probes = [(protocol, probe) for protocol in self._protocols for probe in protocol.probes]
            answering: dict[str, PolledProtocol] = {}
            for number, (protocol, probe) in enumerate(probes):
                if protocol.name in answering:
                    continue
                done = (index + number / len(probes)) / len(self._speeds)
                self._tell(
                    Stage.PROBING,
                    _LISTENED + (_PROBED - _LISTENED) * done,
                    protocol=protocol.name,
                    baudrate=speed,
                    address=probe.address,
                )
                exchange = await self._ask(dialogue, protocol, probe.request, speed)
                if exchange.frame is None:
                    continue
                answering[protocol.name] = protocol
                if (report := await self._read(dialogue, protocol, probe.address, speed)) is not None:
                    return report
                self._unreadable = self._unreadable or (protocol.name, speed)
        finally:
            await transport.close()
        return None

    async def _ask(
        self, dialogue: Dialogue, protocol: PolledProtocol, request: bytes, speed: int, *, private: bool = False
    ) -> Exchange:
        exchange = await dialogue.ask(protocol, request, wary=True)
        while exchange.frame is None and not (exchange.sent and exchange.silent):
            # it may be a damaged answer, a late one, or somebody else: nothing is sent before the line is quiet again
            self._note(protocol, exchange, speed, private=private)
            sent = exchange.sent
            await self._await_quiet(protocol, speed)
            if sent:
                return exchange
            exchange = await dialogue.ask(protocol, request, wary=True)
        self._note(protocol, exchange, speed, private=private)
        return exchange

    def _note(self, protocol: PolledProtocol, exchange: Exchange, speed: int, *, private: bool) -> None:
        _LOGGER.debug("scan %d baud %s: %s", speed, protocol.name, exchange.summary(private=private))
        self._answers += exchange.frame is not None
        self._damaged += exchange.damaged
        self._noise += exchange.noise
        self._echoed |= exchange.echoed
        self._dialect = exchange.dialect or self._dialect
        if exchange.foreign:
            raise _OtherMaster(None if exchange.dialect else protocol.name, speed, exchange.dialect)

    async def _await_quiet(self, protocol: PolledProtocol, speed: int) -> None:
        """Listen on the open line until it has been quiet for long enough."""
        splitter = protocol.splitter()
        now = self._clock.monotonic()
        quiet, end = now + _QUIET, now + _LONGEST_LISTEN
        while (left := quiet - now) > 0:
            if now >= end:
                raise _NeverQuiet
            data = await self._line.receive(left)
            now = self._clock.monotonic()
            if data:
                quiet = now + _QUIET
                for frame in splitter.feed(data):
                    # an answer may be one of ours that came late
                    self._overheard(protocol, frame, speed, answers_too=False)

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _read(self, dialogue: Dialogue, protocol: PolledProtocol, address: int, speed: int) -> ScanReport | None:
        """Read everything behind a line that answered; None when nothing of it can be read."""
        essential = next(poll for poll in protocol.polls if poll.essential)
        if essential.scope is Scope.BANK:
            return await self._read_bank(dialogue, protocol, essential, address, speed)
        packs: list[FoundPack] = []
        for group in protocol.address_groups:
            silent = 0
            for place, candidate in enumerate(group):
                self._tell(
                    Stage.READING,
                    _PROBED + (1 - _PROBED) * place / len(group),
                    protocol=protocol.name,
                    baudrate=speed,
                    address=candidate,
                )
                if (pack := await self._read_pack(dialogue, protocol, essential, candidate, speed)) is not None:
                    packs.append(pack)
                    silent = 0
                    continue
                silent += 1
                # a group without its master is not there
                if silent >= _EMPTY_NEIGHBOURS or (place == 0 and candidate != address):
                    break
        if not packs:
            return None
        return self._report(Outcome.FOUND, protocol=protocol.name, baudrate=speed, packs=tuple(packs))

    async def _read_pack(
        self, dialogue: Dialogue, protocol: PolledProtocol, essential: Poll, address: int, speed: int
    ) -> FoundPack | None:
        exchange = await self._ask(dialogue, protocol, essential.request(address), speed)
        if exchange.damaged and exchange.decoded is None:
            exchange = await self._ask(dialogue, protocol, essential.request(address), speed)
        if exchange.decoded is None or (state := exchange.decoded.packs.get(address)) is None:
            return None
        answers = [exchange.decoded, *await self._once(dialogue, protocol, address, speed)]
        return FoundPack(address=address, identity=_identity(answers, address), state=state)

    async def _read_bank(
        self, dialogue: Dialogue, protocol: PolledProtocol, essential: Poll, address: int, speed: int
    ) -> ScanReport | None:
        exchange = await self._ask(dialogue, protocol, essential.request(address), speed)
        if exchange.decoded is None or exchange.decoded.bank is None:
            return None
        answers = [exchange.decoded, *await self._once(dialogue, protocol, address, speed)]
        return self._report(
            Outcome.FOUND,
            protocol=protocol.name,
            baudrate=speed,
            bank=combine(BankState(), [decoded.bank for decoded in answers if decoded.bank is not None]),
            bank_address=address,
            bank_identity=_identity(answers, address),
        )

    async def _once(self, dialogue: Dialogue, protocol: PolledProtocol, address: int, speed: int) -> list[Decoded]:
        """The answers to everything that is asked once."""
        scope = next(poll.scope for poll in protocol.polls if poll.essential)
        answers: list[Decoded] = []
        for poll in protocol.polls_of(scope, address):
            if poll.cadence is not Cadence.ONCE:
                continue
            request = poll.request(address)
            exchange = await self._ask(dialogue, protocol, request, speed, private=poll.private)
            if poll.private and exchange.frame is None:
                # who a pack is is decided by this answer, and kept
                exchange = await self._ask(dialogue, protocol, request, speed, private=True)
            if exchange.decoded is not None:
                answers.append(exchange.decoded)
        return answers


def _identity(answers: list[Decoded], address: int) -> Identity:
    identity = Identity()
    for decoded in answers:
        if (more := decoded.identities.get(address)) is not None:
            identity = identity.joined(more)
    return identity
