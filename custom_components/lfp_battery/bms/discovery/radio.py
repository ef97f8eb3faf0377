"""Finding out whether what was connected to over Bluetooth is a battery that can be read; only reads are sent."""

from collections.abc import Callable
from dataclasses import replace
import logging
from typing import Any, Final

from ..capture import Capture
from ..clients.dialogue import Dialogue, Exchange
from ..clock import Clock
from ..errors import LinkError, LinkProblem
from ..plausibility import hold_back
from ..protocols import BLUETOOTH
from ..protocols.base import Cadence, PolledProtocol
from ..transports import GattTransport
from .line import Ears, ScanLine
from .reading import Reader
from .report import FoundPack, Outcome, Progress, ScanReport, Stage

_LOGGER = logging.getLogger(__name__)

# A link that is lost at the first question, or an answer that makes no sense, is not yet the last word.
_ROUNDS: Final = 2
# Seconds until a device that was lost is called again: it has to notice, and to make itself seen.
_AGAIN: Final = 2.0
# After so many seconds on one connection what can wait is left to the client.
_TIME: Final = 20.0
# Share of the progress bar for connecting, and up to the status.
_CONNECTED, _READ = 0.4, 0.6
# What every status has, and nothing but a battery would hold plausibly.
_TELLING: Final = frozenset({"voltage", "current", "soc", "cell_voltages"})


async def probe(
    open_link: Callable[[], GattTransport], *, clock: Clock, on_progress: Callable[[Progress], None] | None = None
) -> ScanReport:
    """Connect, and read what is there; `open_link` makes a closed link. Leaves it closed.

    A service alone proves nothing (ble.md section 2): a battery is found when one status is intact and makes sense.

    Raises:
        LinkError: it cannot be reached, went away, or (FOREIGN) has none of the services.
    """
    return await _Probe(open_link(), clock, on_progress or (lambda _: None)).run()


class _Probe:
    """One device being looked at."""

    def __init__(self, link: GattTransport, clock: Clock, on_progress: Callable[[Progress], None]) -> None:
        self._link = link
        self._clock = clock
        self._on_progress = on_progress
        self._fraction = 0.0
        self._capture = Capture(clock, any_protocol=False)
        self._line = ScanLine(link, clock, self._capture, Ears(()))  # nobody else can be heard there
        self._until = 0.0  # monotonic
        self._answers = self._damaged = 0
        self._info: dict[str, object] = {}
        self._known = False  # a status was read

    async def run(self) -> ScanReport:
        """Until there is something to say."""
        protocol: PolledProtocol | None = None
        opened = False
        try:
            for left in reversed(range(_ROUNDS)):
                try:
                    if not opened:
                        self._tell(Stage.PROBING, 0.0)
                        await self._line.open()
                        opened = True
                    protocol = self._protocol()
                    if found := await self._read(protocol):
                        return self._report(Outcome.FOUND, protocol=protocol.name, packs=found)
                except LinkError as err:
                    if err.problem is not LinkProblem.LOST or not left:
                        raise
                    _LOGGER.debug("%s was lost while it was looked at, once more", self._link.name)
                    opened = False
                    await self._clock.sleep(_AGAIN)
        finally:
            await self._line.close()
        if self._answers:
            return self._report(Outcome.UNREADABLE, protocol=protocol.name if protocol is not None else None)
        return self._report(Outcome.NOISE if self._damaged else Outcome.NOTHING)

    def _protocol(self) -> PolledProtocol:
        """What is spoken behind the service that the device has."""
        for protocol in BLUETOOTH.values():
            if protocol.profile == self._link.profile:
                return protocol
        raise LinkError(LinkProblem.FOREIGN)

    async def _read(self, protocol: PolledProtocol) -> tuple[FoundPack, ...]:
        """Status, identity and settings; nothing where there is no status that makes sense."""
        dialogue = Dialogue(self._line, self._clock)
        self._until = self._clock.monotonic() + _TIME
        self._tell(Stage.PROBING, _CONNECTED, protocol)
        step = (1 - _READ) / sum(poll.cadence is Cadence.ONCE for poll in protocol.polls)

        async def ask(request: bytes, *, wait: float | None = None, private: bool = False) -> Exchange:
            self._line.private = private
            exchange = await self._ask(dialogue, protocol, request, wait)
            if self._known:
                self._tell(Stage.READING, max(self._fraction + step, _READ), protocol)
            return exchange

        reader = Reader(
            protocol,
            ask,
            self._clock,
            baudrate=self._link.baudrate,
            patience=protocol.timing.first_byte,  # a proxy takes its time, whatever is asked
            in_time=lambda: self._clock.monotonic() < self._until,
            tell=lambda fraction, address: None,
        )
        found = await reader.read(protocol.address_groups[0][0])
        packs: tuple[FoundPack, ...] = found["packs"] if found is not None else ()
        if not packs or not all(_makes_sense(pack) for pack in packs):
            self._known = False
            return ()
        return tuple(replace(pack, info=self._info) for pack in packs)

    async def _ask(self, dialogue: Dialogue, protocol: PolledProtocol, request: bytes, wait: float | None) -> Exchange:
        try:
            exchange = await dialogue.ask(protocol, request, wait=wait)
        except LinkError:
            if not self._known:
                raise
            # what is still to be asked is asked by the client as well
            self._until = float("-inf")
            return Exchange(sent=False)
        self._answers += exchange.frame is not None
        self._damaged += exchange.damaged
        if exchange.decoded is not None:
            self._info |= exchange.decoded.info
            self._known |= bool(exchange.decoded.packs)
        _LOGGER.debug("probe of %s, %s: %s", self._link.name, protocol.name, exchange.summary(private=False))
        return exchange

    def _tell(self, stage: Stage, fraction: float, protocol: PolledProtocol | None = None) -> None:
        self._fraction = max(self._fraction, min(fraction, 1.0))
        self._on_progress(
            Progress(stage=stage, fraction=self._fraction, protocol=protocol.name if protocol is not None else None)
        )

    def _report(self, outcome: Outcome, **found: Any) -> ScanReport:
        return ScanReport(
            outcome=outcome,
            answers=self._answers,
            damaged=self._damaged,
            capture=self._capture.text() or None,
            **found,
        )


def _makes_sense(pack: FoundPack) -> bool:
    """Whether this can be a battery: a stranger's registers may be intact as well."""
    state, held_back = hold_back(pack.state)
    return not _TELLING.intersection(held_back) and None not in (state.voltage, state.soc, state.cell_voltages)
