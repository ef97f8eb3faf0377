"""A client that asks: one master, many packs, one question in flight.

Owns the link and the round over the packs; knows neither what the bytes mean nor what a home does with the values.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping
from itertools import count
import logging
from typing import Any

from ..clock import Clock
from ..errors import LinkError, LinkProblem, Refusal
from ..model import BankState, BatteryState, CycleReport, PackState, PollReport
from ..plausibility import Limits
from ..protocols.base import Decoded, Poll, PolledProtocol, Scope
from ..transports import ByteTransport
from .base import ClientListener
from .dialogue import Dialogue, Exchange
from .units import Unit

_LOGGER = logging.getLogger(__name__)

# The least time between the starts of two cycles when the interval is automatic, in seconds.
SHORTEST_INTERVAL = 10.0
# Waits between attempts to open a lost line, in seconds; never longer than a cycle, so that a line that is back is
# used within one.
_REOPEN = (0.5, 1.0, 2.0, 5.0, 10.0)
# A line on which nobody answers for so many rounds and seconds is opened anew: a gateway that lost power leaves a
# socket that looks alive.
_SILENT_ROUNDS, _SILENT_SECONDS = 3, 55.0
# Limits are read in turn, a sixth of the packs a cycle; with longer cycles a larger part, so that none gets old.
_ROTATION, _ROTATION_SECONDS = 6, 60.0
# Silence before the first byte, and the longest that mere noise may extend it, in seconds (design decision 5).
_QUIET, _NOISE = 2.0, 10.0
# After so many seconds of keeping silent for another master, what was read counts as gone.
_SILENCED = 30.0
# One address where a new pack may have appeared is asked this often, in seconds.
_LOOK_FOR_NEW = 60.0
# Before a question is repeated, in seconds: what comes late must not be taken for the second answer.
_RETRY_PAUSE = 0.2


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
    ) -> None:
        """`addresses` are the packs known so far (or where the bank answers); `interval` None means automatic."""
        self._transport = transport
        self._protocol = protocol
        self._clock = clock
        self._listener = listener
        self._interval = interval
        self._limits = limits
        self._dialogue = Dialogue(transport, clock)
        self._scopes = {poll.scope for poll in protocol.polls}
        self._packs: dict[int, Unit[PackState]] = {}
        self._bank: Unit[BankState] | None = None
        if Scope.PACK in self._scopes:
            for address in sorted(addresses):
                self._packs[address] = self._new_pack(address)
        if Scope.BANK in self._scopes and addresses:
            speaker = min(addresses)
            polls = protocol.polls_of(Scope.BANK, speaker)
            self._bank = Unit(speaker, BankState(), polls, integrity=protocol.integrity, limits=limits)
        self._skipped: frozenset[int] = frozenset()
        self._polling = True
        self._due = False
        self._urgent: deque[tuple[int | None, asyncio.Future[None]]] = deque()
        self._wake = asyncio.Event()
        self._cycle = 0
        self._silent_rounds = 0
        self._silent_since = 0.0
        self._foreign = 0  # questions of somebody else
        self._keep_silent = False
        self._overheard = protocol.splitter()
        self._look_at = 0
        self._looked = clock.monotonic()
        self._down: LinkError | None = LinkError(LinkProblem.LOST, "not opened yet")
        self._told_up: bool | None = None  # what the listener knows of the link
        self._opened = 0
        self._unasked = 0  # bytes that came while nothing was asked

    # --- what the owner of the client may do -------------------------------------------------------------------------

    async def run(self) -> None:
        """See `BatteryClient`."""
        try:
            while True:
                await self._open()
                try:
                    await self._rounds()
                except LinkError as err:
                    await self._transport.close()
                    self._link_lost(err)
        finally:
            self._told_up = None  # whoever runs this client again is told anew
            self._down = LinkError(LinkProblem.LOST, "closed")
            self._fail_urgent(self._down)
            await self._transport.close()

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
        private = {poll.name for poll in self._protocol.polls if poll.private}
        return {
            "protocol": self._protocol.name,
            "baudrate": self._transport.baudrate,
            "link": str(self._down.problem) if self._down else "up",
            "opened": self._opened,
            "cycles": self._cycle,
            "traffic": self._dialogue.traffic._asdict(),
            "unasked_bytes": self._unasked,
            "foreign_questions": self._foreign,
            "held_back": {str(unit.address): dict(unit.gate.held_back) for unit in self._units()},
            "frames": {
                str(unit.address): {name: frame.hex() for name, frame in unit.frames.items() if name not in private}
                for unit in self._units()
            },
        }

    def _units(self) -> list[Unit[Any]]:
        return [*self._packs.values(), *([self._bank] if self._bank else [])]

    # --- the link ----------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Open the line, trying for as long as it takes."""
        for attempt in count():
            try:
                await self._transport.open()
            except LinkError as err:
                self._link_lost(err)
                pause = _REOPEN[min(attempt, len(_REOPEN) - 1)]
                await self._clock.sleep(min(pause, self._interval or SHORTEST_INTERVAL))
            else:
                break
        self._opened += 1
        self._silent_rounds = 0
        self._down = None
        if not self._told_up:
            self._told_up = True
            self._listener.link_changed(None)

    def _link_lost(self, err: LinkError) -> None:
        self._down = err
        for unit in self._units():
            if unit.online:
                unit.lost()
        self._fail_urgent(err)
        if self._told_up is not False:
            self._told_up = False
            self._listener.link_changed(err)

    async def _reopen_quietly(self) -> None:
        """Open the line anew although nobody said that it is gone."""
        _LOGGER.debug("nobody answers on %s, opening it anew", self._transport.name)
        await self._transport.close()
        await self._transport.open()
        self._silent_rounds = 0
        await self._listen_first()

    async def _listen_first(self) -> None:
        """Send nothing before the line has been quiet, nor while somebody else asks on it."""
        now = started = self._clock.monotonic()
        quiet, patience = now + _QUIET, now + _NOISE
        while (left := min(quiet, patience) - now) > 0:
            data = await self._transport.receive(left)
            now = self._clock.monotonic()
            if not data:
                continue
            quiet = now + _QUIET
            if self._overhear(data):
                patience = now + _NOISE
            if now - started > _SILENCED:
                self._give_up()
        self._keep_silent = False

    def _overhear(self, data: bytes) -> bool:
        """Take in bytes that nobody here asked for; whether somebody else asks a question with them."""
        self._unasked += len(data)
        questions = sum(self._protocol.is_request(frame) for frame in self._overheard.feed(data))
        self._foreign += questions
        return questions > 0

    def _give_up(self) -> None:
        """Nothing may be read for too long: every unit is silent, and nobody waits any longer."""
        self._fail_urgent(LinkError(LinkProblem.BUSY, "another master asks on this line"))
        for pack in list(self._packs.values()):
            if pack.online:
                pack.lost()
                self._listener.pack_polled(pack.report())
        if self._bank is not None and self._bank.online:
            self._bank.lost()
            self._listener.bank_polled(self._bank.report())

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
            await self._idle(started + (self._interval or SHORTEST_INTERVAL))

    async def _round(self, started: float) -> None:
        self._cycle += 1
        answered: set[int] = set()
        silent: set[int] = set()
        if self._bank is not None:
            await self._poll_bank()
            (answered if self._bank.online else silent).add(self._bank.address)
        for address in list(self._packs):
            await self._serve_urgent()
            # the list may have changed while we waited for the line
            if (pack := self._packs.get(address)) is None or address in self._skipped:
                continue
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
        if self._overhear(await self._transport.receive(seconds)):
            self._keep_silent = True

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
            if isinstance(result, LinkError):
                raise result

    # --- reading one unit --------------------------------------------------------------------------------------------

    async def _poll_pack(self, pack: Unit[PackState]) -> bool:
        """Poll one pack and tell the listener; whether it answered."""
        was_online = pack.online
        if not (polls := pack.begin(self._clock.monotonic(), turn=self._has_turn(pack.address))):
            return False
        answered = await self._poll(pack, polls, lambda decoded: decoded.packs.get(pack.address))
        if self._packs.get(pack.address) is pack and (answered or was_online):
            self._listener.pack_polled(pack.report())
        return answered

    def _has_turn(self, address: int) -> bool:
        rotation = min(_ROTATION, max(1, round(_ROTATION_SECONDS / (self._interval or SHORTEST_INTERVAL))))
        return (self._cycle + address) % rotation == 0

    async def _poll_bank(self) -> None:
        bank = self._bank
        assert bank is not None
        was_online = bank.online
        if not (polls := bank.begin(self._clock.monotonic(), turn=self._has_turn(bank.address))):
            return
        answered = await self._poll(bank, polls, lambda decoded: decoded.bank)
        if answered or was_online:
            self._listener.bank_polled(bank.report())

    async def _poll[StateT: BatteryState](
        self, unit: Unit[StateT], polls: list[Poll], fragment: Callable[[Decoded], StateT | None]
    ) -> bool:
        """Ask the questions that are due and publish what they bring; whether the unit answered the essential one."""
        if self._keep_silent:
            await self._listen_first()
        for poll in polls:
            if not await self._ask(unit, poll, fragment) and poll.essential:
                unit.silent(self._clock.monotonic())
                return False
        if unit.must_identify:
            return False
        first = unit.compose()
        second: StateT | None = None
        if unit.gate.needs_second_reading(first):
            again = [poll for poll in unit.again() if await self._ask(unit, poll, fragment)]
            second = unit.compose(again) if again else None
        unit.publish(*unit.gate.admit(first, second))
        return True

    async def _ask[StateT: BatteryState](
        self, unit: Unit[StateT], poll: Poll, fragment: Callable[[Decoded], StateT | None]
    ) -> bool:
        """Ask one question, once more if what came was damaged or a unit that answers did not; whether it was answered."""
        request = poll.request(unit.address)
        heard = False
        for attempt in range(2):
            if attempt:
                await self._clock.sleep(_RETRY_PAUSE)
            exchange = await self._dialogue.ask(self._protocol, request)
            self._count(unit, exchange)
            if exchange.frame is not None:
                unit.frames[poll.name] = exchange.frame
            summary = exchange.summary(private=poll.private)
            _LOGGER.debug("%s %d %s: %s", self._transport.name, unit.address, poll.name, summary)
            now = self._clock.monotonic()
            heard |= not exchange.silent
            if exchange.decoded is not None:
                found = fragment(exchange.decoded)
                if poll.essential and found is None:
                    continue
                unit.answered(poll, now, found, exchange.decoded.identities.get(unit.address))
                return True
            if exchange.refused is not None and exchange.refused.refusal is Refusal.UNSUPPORTED:
                unit.refused(poll, now, certain=not (exchange.foreign or exchange.strays))
                return False
            if exchange.refused is not None and exchange.refused.refusal is not Refusal.DAMAGED:
                break
            if exchange.silent and not unit.online:
                break
        unit.missed(poll, self._clock.monotonic(), silent=not heard)
        return False

    def _count(self, unit: Unit[Any], exchange: Exchange) -> None:
        if exchange.foreign:
            self._foreign += 1
            self._keep_silent = True
        unit.count(
            asked=1,
            answered=int(exchange.decoded is not None),
            silent=int(exchange.silent),
            damaged=exchange.damaged,
            refused=int(exchange.refused is not None),
        )

    # --- reading out of turn -----------------------------------------------------------------------------------------

    async def _read_next(self, address: int | None) -> None:
        if address is not None and address not in self._packs:
            raise ValueError(f"no pack at address {address}")
        if self._down is not None:
            raise LinkError(self._down.problem, self._down.detail)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._urgent.append((address, done))
        self._wake.set()
        await done

    async def _serve_urgent(self) -> None:
        while self._urgent:
            address = self._urgent[0][0]
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
            for _, future in served:
                if not future.done():
                    future.set_result(None)

    def _fail_urgent(self, err: LinkError) -> None:
        while self._urgent:
            _, done = self._urgent.popleft()
            if not done.done():
                done.set_exception(LinkError(err.problem, err.detail))
                done.exception()  # marks it as seen: whoever asked may have given up

    # --- packs that appear later -------------------------------------------------------------------------------------

    def _new_pack(self, address: int) -> Unit[PackState]:
        polls = self._protocol.polls_of(Scope.PACK, address)
        return Unit(address, PackState(address=address), polls, integrity=self._protocol.integrity, limits=self._limits)

    def _candidates(self) -> list[int]:
        """Addresses where a pack may be that is not known: gaps, and the one after the last of each group."""
        found: list[int] = []
        for group in self._protocol.address_groups:
            known = [index for index, address in enumerate(group) if address in self._packs]
            if known:
                found += [address for address in group[: known[-1] + 2] if address not in self._packs]
        # everything was forgotten: a bank begins with a master
        return found or [group[0] for group in self._protocol.address_groups if group[0] not in self._packs]

    async def _look_for_new(self, until: float) -> None:
        """Ask one address where nobody was so far, when the line has nothing else to do."""
        now = self._clock.monotonic()
        if (
            Scope.PACK not in self._scopes
            or now - self._looked < _LOOK_FOR_NEW
            or not (candidates := self._candidates())
        ):
            return
        # a bank that fills its interval is asked all the same, only later
        if until - now < self._protocol.timing.first_byte and now - self._looked < 5 * _LOOK_FOR_NEW:
            return
        if self._keep_silent:
            await self._listen_first()
        self._looked = now
        self._look_at = (self._look_at + 1) % len(candidates)
        pack = self._new_pack(candidates[self._look_at])
        essential = next(poll for poll in self._protocol.polls if poll.essential)
        exchange = await self._dialogue.ask(self._protocol, essential.request(pack.address))
        if exchange.decoded is not None and pack.address in exchange.decoded.packs:
            self._packs[pack.address] = pack
            self._packs = dict(sorted(self._packs.items()))
            await self._poll_pack(pack)
