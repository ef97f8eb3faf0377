"""A client that asks: one master, many packs, one question in flight.

Owns the link and the round over the packs; knows neither what the bytes mean nor what a home does with the values.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping
import logging
from typing import Any

from ..clock import Clock
from ..errors import LinkError, LinkProblem
from ..model import BankState, BatteryState, CycleReport, PackState, PollReport
from ..plausibility import Limits
from ..protocols import POLLED
from ..protocols.base import Decoded, PolledProtocol, Scope
from ..transports import ByteTransport
from .asking import Asker, OtherMasterError
from .base import ClientListener, HeatingControl
from .dialogue import Dialogue
from .line import Line
from .overhearing import OtherMasters
from .presence import Newcomers
from .units import Unit

_LOGGER = logging.getLogger(__name__)

# The least time between the starts of two cycles when the interval is automatic, in seconds.
SHORTEST_INTERVAL = 10.0
# A line on which nobody answers for so many rounds and seconds is opened anew: a gateway that lost power leaves a
# socket that looks alive.
_SILENT_ROUNDS, _SILENT_SECONDS = 3, 55.0
# Limits are read in turn, a sixth of the packs a cycle; with longer cycles a larger part, so that none gets old.
_ROTATION, _ROTATION_SECONDS = 6, 60.0
# Where somebody may ask just what we ask whenever we do, a cycle begins so much later, at most so often, in seconds:
# later than a question of ours may come back.
_SHIFT, _SHIFT_AGAIN = 4.0, 60.0
# Silence before the first byte, and the longest that mere noise may extend it, in seconds (design decision 5).
_QUIET, _NOISE = 2.0, 10.0


class PolledClient:
    """Reads every pack of one line again and again; implements `BatteryClient`."""

    def __init__(
        self,
        transport: ByteTransport,
        protocol: PolledProtocol,
        *,
        clock: Clock,
        listener: ClientListener,
        addresses: Collection[int],
        interval: float | None = None,
        limits: Limits | None = None,
        open_line: Callable[[int], ByteTransport] | None = None,
    ) -> None:
        """`addresses` are the packs known so far (or where the bank answers); `interval` None means automatic.

        `open_line` makes a closed transport of the same line for another speed, at which some batteries have to be
        woken; without it none is.
        """
        self._transport = transport
        self._protocol = protocol
        self._clock = clock
        self._listener = listener
        self._interval = interval
        self._limits = limits
        self._masters = OtherMasters(protocol, POLLED.values())
        self._dialogue = Dialogue(transport, clock, open_line=open_line, masters=self._masters)
        self._asker = Asker(
            protocol,
            self._dialogue,
            clock,
            line=transport.name,
            is_known=lambda address: address in self._packs,
            named=self._is_named,
        )
        self._newcomers = Newcomers(protocol, clock.monotonic())
        self._shifted = float("-inf")  # monotonic
        self._silenced = False  # somebody else asks on this line: nothing is sent any more
        scopes = {poll.scope for poll in protocol.polls}
        self._packs: dict[int, Unit[PackState]] = {}
        self._bank: Unit[BankState] | None = None
        if Scope.PACK in scopes:
            for address in sorted(addresses):
                self._packs[address] = self._new_pack(address)
        if Scope.BANK in scopes and addresses:
            speaker = min(addresses)
            polls = protocol.polls_of(Scope.BANK, speaker)
            self._bank = Unit(speaker, BankState(), polls, integrity=protocol.integrity, limits=limits)
        self._skipped: frozenset[int] = frozenset()
        self._polling = True
        self._due = False
        self._urgent: deque[tuple[int | None, int, asyncio.Future[None]]] = deque()
        self._wake = asyncio.Event()
        self._cycle = 0
        self._silent_rounds = 0
        self._silent_since = 0.0
        self._line = Line(
            transport, clock, listener, forget=self._link_lost, longest=self._interval or SHORTEST_INTERVAL
        )
        self._unasked = 0  # bytes that came while nothing was asked

    # --- what the owner of the client may do -------------------------------------------------------------------------

    @property
    def heating(self) -> HeatingControl | None:
        """See `BatteryClient`."""
        return None

    async def run(self) -> None:
        """See `BatteryClient`."""
        told = False
        try:
            while True:
                await self._open()
                try:
                    try:
                        if not self._silenced:
                            await self._rounds()
                    except OtherMasterError:
                        self._fall_silent()
                    if not told:
                        told = True
                        self._listener.other_master(self._masters.noticed or self._protocol.name)
                    while True:
                        await self._only_listen()
                except LinkError as err:
                    await self._line.lose(err)
        finally:
            self._fail_urgent(LinkError(LinkProblem.LOST, "closed"))
            await self._line.shut()

    async def read(self, address: int) -> PollReport[PackState]:
        """See `BatteryClient`."""
        pack = self._packs.get(address)
        await self._read_next(address)
        return (self._packs.get(address) or pack or self._new_pack(address)).report()

    async def read_bank(self) -> PollReport[BankState] | None:
        """See `BatteryClient`."""
        if self._bank is None:
            return None
        await self._read_next(None)
        return self._bank.report()

    def set_polling(self, enabled: bool) -> None:
        """See `BatteryClient`."""
        if enabled == self._polling:
            return
        self._polling = enabled
        self._due = enabled  # do not wait for a cycle that was never begun
        self._wake.set()

    def set_skipped(self, addresses: Collection[int]) -> None:
        """See `BatteryClient`."""
        self._skipped = frozenset(addresses)

    def forget(self, address: int) -> None:
        """See `BatteryClient`."""
        self._packs.pop(address, None)

    def diagnostics(self) -> Mapping[str, object]:
        """See `BatteryClient`."""
        return {
            "protocol": self._protocol.name,
            "baudrate": self._transport.baudrate,
            "link": str(self._line.down.problem) if self._line.down else "up",
            "opened": self._line.opened,
            "cycles": self._cycle,
            "traffic": self._dialogue.traffic._asdict(),
            "unasked_bytes": self._unasked,
            "foreign_questions": self._masters.questions,
            "other_master": self._silenced,
            "shared_addresses": [unit.address for unit in self._units() if unit.doubts.conflict],
            "held_back": {str(unit.address): dict(unit.gate.held_back) for unit in self._units()},
            "frames": {
                str(unit.address): {name: frame.hex() for name, frame in unit.frames.items()} for unit in self._units()
            },
        }

    def _units(self) -> list[Unit[Any]]:
        return [*self._packs.values(), *([self._bank] if self._bank else [])]

    # --- the link ----------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Open the line, trying for as long as it takes."""
        await self._line.open()
        self._silent_rounds = 0
        self._dialogue.opened()
        self._asker.renew()

    def _link_lost(self, err: LinkError) -> None:
        for unit in self._units():
            if unit.online:
                unit.lost()
        self._fail_urgent(err)

    async def _reopen_quietly(self) -> None:
        """Open the line anew although nobody said that it is gone."""
        _LOGGER.debug("nobody answers on %s, opening it anew", self._transport.name)
        await self._line.reopen()
        self._dialogue.opened()
        self._silent_rounds = 0
        await self._listen_first()

    async def _listen_first(self) -> None:
        """Send nothing before the line has been quiet, or has been heard for so long that it is only noise."""
        now = self._clock.monotonic()
        quiet, patience = now + _QUIET, now + _NOISE
        while (left := min(quiet, patience) - now) > 0:
            data = await self._transport.receive(left)
            now = self._clock.monotonic()
            if data:
                quiet = now + _QUIET
                self._overhear(data)

    def _overhear(self, data: bytes) -> None:
        """Take in bytes that nobody here asked for."""
        self._unasked += len(data)
        self._asker.take(self._dialogue.overhear(self._protocol, data))

    def _fall_silent(self) -> None:
        """Somebody else asks: nothing is sent any more, every unit is lost, and nobody waits any longer."""
        _LOGGER.debug("somebody else asks on %s, nothing is sent any more", self._transport.name)
        self._silenced = True
        self._fail_urgent(self._busy())
        for pack in list(self._packs.values()):
            if pack.online:
                pack.lost()
                self._listener.pack_polled(pack.report())
        if self._bank is not None and self._bank.online:
            self._bank.lost()
            self._listener.bank_polled(self._bank.report())

    async def _only_listen(self) -> None:
        data = await self._transport.receive(60.0)
        self._unasked += len(data)
        self._masters.hear(data, self._clock.monotonic())

    @staticmethod
    def _busy() -> LinkError:
        return LinkError(LinkProblem.BUSY, "another master asks on this line")

    # --- rounds ------------------------------------------------------------------------------------------------------

    async def _rounds(self) -> None:
        await self._listen_first()
        while True:
            started = self._clock.monotonic()
            if self._polling:
                await self._round(started)
                if (
                    self._silent_rounds >= _SILENT_ROUNDS
                    and self._clock.monotonic() - self._silent_since >= _SILENT_SECONDS
                ):
                    await self._reopen_quietly()
                await self._look_for_new(started + (self._interval or SHORTEST_INTERVAL))
            await self._idle(started + (self._interval or SHORTEST_INTERVAL) + self._shift())

    def _shift(self) -> float:
        """How much later the next cycle begins, so that another master in step with us shows itself, in seconds."""
        now = self._clock.monotonic()
        if not self._masters.doubtful(now) or now - self._shifted < _SHIFT_AGAIN:
            return 0.0
        self._shifted = now
        return _SHIFT

    async def _round(self, started: float) -> None:
        self._cycle += 1
        self._asker.renew()
        answered: set[int] = set()
        silent: set[int] = set()
        if self._bank is not None:
            await self._poll_bank()
            (answered if self._bank.online else silent).add(self._bank.address)
        done: set[int] = set()
        while True:
            await self._serve_urgent()
            # packs come and go while we wait for the line
            if (address := next((a for a in self._packs if a not in done), None)) is None:
                break
            done.add(address)
            if address in self._skipped:
                continue
            pack = self._packs[address]
            ok = await self._poll_pack(pack)
            (answered if ok else silent).add(address)
        if answered or not silent:
            self._silent_rounds = 0
        else:
            self._silent_since = self._silent_since if self._silent_rounds else started
            self._silent_rounds += 1
        self._listener.cycle_finished(
            CycleReport(
                seconds=self._clock.monotonic() - started, answered=frozenset(answered), silent=frozenset(silent)
            )
        )

    async def _idle(self, until: float) -> None:
        """Wait for the next cycle, a request to read at once, or the end of the line."""
        while True:
            await self._serve_urgent()
            left = until - self._clock.monotonic()
            if self._polling and (left <= 0 or self._due):
                self._due = False
                return
            # receiving is the only way to learn at once that the line is gone
            self._wake.clear()
            await self._first_of(self._listen(left if self._polling else 60.0), self._wake.wait())

    async def _listen(self, seconds: float) -> None:
        if data := await self._transport.receive(seconds):
            self._overhear(data)

    @staticmethod
    async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, (LinkError, OtherMasterError)):
                raise result

    # --- reading one unit --------------------------------------------------------------------------------------------

    async def _poll_pack(self, pack: Unit[PackState]) -> bool:
        """Poll one pack and tell the listener; whether it answered."""
        known = _heard(pack)
        if (answered := await self._poll(pack, lambda decoded: decoded.packs.get(pack.address))) is None:
            return False
        if self._packs.get(pack.address) is pack and (answered or _is_news(pack, known)):
            self._listener.pack_polled(pack.report())
        return answered

    def _has_turn(self, address: int) -> bool:
        rotation = min(_ROTATION, max(1, round(_ROTATION_SECONDS / (self._interval or SHORTEST_INTERVAL))))
        return (self._cycle + address) % rotation == 0

    async def _poll_bank(self) -> None:
        bank = self._bank
        assert bank is not None
        known = _heard(bank)
        if (answered := await self._poll(bank, lambda decoded: decoded.bank)) is None:
            return
        if answered or _is_news(bank, known):
            self._listener.bank_polled(bank.report())

    async def _poll[StateT: BatteryState](
        self, unit: Unit[StateT], fragment: Callable[[Decoded], StateT | None]
    ) -> bool | None:
        """Read what is due; whether the unit answered, None when it was not asked."""
        turn = self._has_turn(unit.address)
        if not (polls := unit.begin(self._clock.monotonic(), turn=turn)):
            return None
        answered = await self._asker.read(unit, polls, fragment, turn=turn)
        now = self._clock.monotonic()
        others = [other.doubts for other in self._units() if other is not unit and other.doubts.known]
        if unit.doubts.arise(now, others_clean=bool(others) and all(doubts.clean() for doubts in others)):
            unit.share_address(now)
            return False
        return answered

    # --- reading out of turn -----------------------------------------------------------------------------------------

    async def _read_next(self, address: int | None) -> None:
        if address is not None and address not in self._packs:
            raise ValueError(f"no pack at address {address}")
        self._line.check()
        if self._silenced:
            raise self._busy()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._urgent.append((address, self._dialogue.traffic.requests, done))
        self._wake.set()
        await done

    async def _serve_urgent(self) -> None:
        while self._urgent:
            address, asked, _ = self._urgent[0]
            self._asker.renew(since=asked)
            pack = self._packs.get(address) if address is not None else None
            if pack is not None:
                pack.hurry()
                await self._poll_pack(pack)
            elif address is None and self._bank is not None:
                self._bank.hurry()
                await self._poll_bank()
            # whoever asked for the same in the meantime has it now
            served = [entry for entry in self._urgent if entry[0] == address]
            self._urgent = deque(entry for entry in self._urgent if entry[0] != address)
            for *_, future in served:
                if not future.done():
                    future.set_result(None)

    def _fail_urgent(self, err: LinkError) -> None:
        while self._urgent:
            *_, done = self._urgent.popleft()
            if not done.done():
                done.set_exception(LinkError(err.problem, err.detail))
                done.exception()  # marks it as seen: whoever asked may have given up

    # --- packs that appear later -------------------------------------------------------------------------------------

    def _new_pack(self, address: int) -> Unit[PackState]:
        polls = self._protocol.polls_of(Scope.PACK, address)
        return Unit(address, PackState(address=address), polls, integrity=self._protocol.integrity, limits=self._limits)

    def _is_named(self, address: int) -> None:
        """An answer that speaks for every pack names this one."""
        if (pack := self._packs.get(address)) is not None:
            pack.noticed()
        else:
            self._add(self._new_pack(address))

    def _add(self, pack: Unit[PackState]) -> None:
        self._packs[pack.address] = pack
        self._packs = dict(sorted(self._packs.items()))

    async def _look_for_new(self, until: float) -> None:
        """Ask one address where nobody was so far, when the line has nothing else to do."""
        address = self._newcomers.next(self._packs, self._clock.monotonic(), until)
        if address is None:
            return
        pack = self._new_pack(address)
        if await self._poll(pack, lambda decoded: decoded.packs.get(address)) and address not in self._packs:
            self._add(pack)
            self._listener.pack_polled(pack.report())


def _heard(unit: Unit[Any]) -> tuple[bool, int]:
    """Whether a unit is there, and how often what came of its questions could not be read."""
    counters = unit.counters
    return unit.online, counters.asked - counters.answered - counters.silent


def _is_news(unit: Unit[Any], before: tuple[bool, int]) -> bool:
    """Whether a reading that brought no answer is told: not when a unit that is not there stays silent."""
    return unit.online or unit.doubts.conflict or before != _heard(unit)
