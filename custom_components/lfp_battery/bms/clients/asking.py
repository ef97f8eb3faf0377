"""Reading one unit: which questions are repeated, shared with others or replaced, and what may be published of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
import logging
from typing import Any, NamedTuple

from ..clock import Clock
from ..errors import Refusal
from ..model import BatteryState, Identity
from ..protocols.base import Decoded, Integrity, Poll, PolledProtocol
from .dialogue import Dialogue, Exchange
from .units import Unit

_LOGGER = logging.getLogger(__name__)

# Before a question is repeated, in seconds: what comes late must not be taken for the second answer.
_RETRY_PAUSE = 0.2
# One shared answer for a first reading, one more for a second: then the round has to do with them.
_SHARED_ANSWERS = 2


class OtherMasterError(Exception):
    """Somebody else asks on this line."""


class _Told(NamedTuple):
    """An answer that speaks for every pack, and when it came (monotonic)."""

    decoded: Decoded
    frame: bytes | None
    when: float


@dataclass(slots=True)
class _Shared:
    """What one question brought in this round; the newest answer last."""

    number: int = 0  # of the last request
    asked: int = 0  # times
    told: list[_Told] = field(default_factory=list)
    declined: Exchange | None = None


class Asker:
    """Asks what is due of a unit and publishes what may be; told of everything that comes instead."""

    def __init__(
        self,
        protocol: PolledProtocol,
        dialogue: Dialogue,
        clock: Clock,
        *,
        line: str,
        is_known: Callable[[int], bool],
        named: Callable[[int], None],
    ) -> None:
        """`named` is told of the address of every pack that a shared answer names."""
        self._protocol = protocol
        self._dialogue = dialogue
        self._clock = clock
        self._line = line
        self._is_known = is_known
        self._named = named
        self._shared: dict[str, _Shared] = {}
        self._places = frozenset(address for group in protocol.address_groups for address in group)
        self._recent: dict[bytes, Unit[Any]] = {}  # whom the last questions went to

    def renew(self, *, since: int | None = None) -> None:
        """Let shared answers count no longer; `since`: only those to no later request than this number."""
        self._shared = {name: kept for name, kept in self._shared.items() if since is not None and kept.number > since}

    async def read[StateT: BatteryState](
        self,
        unit: Unit[StateT],
        polls: list[Poll],
        fragment: Callable[[Decoded], StateT | None],
        *,
        turn: bool,
        shown: Callable[[StateT], StateT] = lambda state: state,
        glance: bool = False,
    ) -> bool:
        """Ask the questions that are due and publish what they bring; whether the unit answered.

        `shown`: what of a whole reading is for the home to see. `glance`: each is asked once, and that nothing came is
        not held against the unit.

        Raises:
            LinkError: the line went away.
            OtherMasterError: nothing may be sent any more.
        """
        answered = False
        waiting = list(polls)
        while waiting:
            poll = waiting.pop(0)
            done, declined = await self._ask(unit, poll, fragment, glance=glance)
            if done:
                answered = True
            elif glance:
                return False
            elif instead := unit.instead_of(poll, self._clock.monotonic(), declined=declined, turn=turn):
                waiting[:0] = instead
            elif poll.essential:
                return self._failed(unit)
        if not answered or unit.doubts.tainted:
            return False if glance else self._failed(unit)
        if unit.doubts.conflict and not unit.doubts.settle(whole=True):
            unit.share_address(self._clock.monotonic())
            return False
        if unit.must_identify:
            return False
        await self._publish(unit, fragment, shown)
        return True

    def _failed(self, unit: Unit[Any]) -> bool:
        now = self._clock.monotonic()
        if unit.doubts.conflict:
            unit.doubts.settle(whole=False)
            unit.share_address(now)
        else:
            unit.silent(now)
        return False

    async def _publish[StateT: BatteryState](
        self, unit: Unit[StateT], fragment: Callable[[Decoded], StateT | None], shown: Callable[[StateT], StateT]
    ) -> None:
        first = shown(unit.compose())
        second: StateT | None = None
        stale = unit.stale(first)
        # an answer may have come late and be another question's: a new alarm has to come twice then
        before = unit.state.alarms if unit.state is not None else None
        unsure = self._dialogue.owed and bool((first.alarms or frozenset()) - (before or frozenset()))
        if unit.gate.needs_second_reading(first, stale) or unsure:
            polls = unit.again()
            if self._hand_older(unit, polls, fragment):
                first = shown(unit.compose())
            again = [poll for poll in polls if (await self._ask(unit, poll, fragment, again=True))[0]]
            second = shown(unit.compose(again)) if again else None
        unit.publish(*unit.gate.admit(first, second, stale))

    async def _ask[StateT: BatteryState](
        self,
        unit: Unit[StateT],
        poll: Poll,
        fragment: Callable[[Decoded], StateT | None],
        *,
        again: bool = False,
        glance: bool = False,
    ) -> tuple[bool, bool]:
        """Ask one question, once more if what came was damaged or a unit that answers did not; at a `glance` not.

        Returns whether it was answered, and whether it was declined.
        """
        if poll.shared:
            return await self._ask_shared(unit, poll, fragment, again=again)
        heard = declined = False
        for attempt in range(1 if glance else 2):
            if attempt:
                await self._clock.sleep(_RETRY_PAUSE)
            exchange = await self._exchange(unit, poll)
            now = self._clock.monotonic()
            heard |= not exchange.silent
            declined |= exchange.declined
            if exchange.decoded is not None:
                found = fragment(exchange.decoded)
                if poll.essential and found is None:
                    continue
                unit.answered(poll, now, found, exchange.decoded.identities.get(unit.address))
                return True, False
            if exchange.refused is not None and exchange.refused.refusal is Refusal.UNSUPPORTED:
                unit.refused(poll, now, certain=not (exchange.foreign or exchange.strays))
                return False, True
            if exchange.refused is not None and exchange.refused.refusal is not Refusal.DAMAGED:
                break
            if exchange.silent and not unit.online:
                break
        if not glance:
            unit.missed(poll, self._clock.monotonic(), silent=not heard)
        return False, declined

    # --- answers that speak for every pack ---------------------------------------------------------------------------

    async def _ask_shared[StateT: BatteryState](
        self, unit: Unit[StateT], poll: Poll, fragment: Callable[[Decoded], StateT | None], *, again: bool
    ) -> tuple[bool, bool]:
        """Hand this unit its part of an answer that speaks for all; whether there was one, and whether it is declined."""
        kept = self._shared.get(poll.name)
        if kept is None:
            kept = self._shared[poll.name] = _Shared()
            await self._fetch(unit, poll, kept)
            if self._protocol.integrity is not Integrity.CRC and self._unknown(kept):
                await self._fetch(unit, poll, kept)  # noise must not make up a pack
            self._tell_named(kept)
        elif again and kept.asked < _SHARED_ANSWERS:
            before = len(kept.told)
            await self._fetch(unit, poll, kept)
            if len(kept.told) == before:
                return False, False
        elif again and len(kept.told) < _SHARED_ANSWERS:
            return False, False  # what came once does not confirm itself
        else:
            there = bool(kept.told) and self._part(unit, kept.told[-1], fragment) is not None
            unit.count(asked=1, answered=int(there), silent=int(not there))
        if kept.told:
            return self._hand(unit, poll, kept.told[-1], fragment), False
        now = self._clock.monotonic()
        if kept.declined is not None and kept.declined.refused is not None:
            unit.refused(poll, now, certain=not kept.declined.strays)
        else:
            unit.missed(poll, now, silent=kept.declined is None)
        return False, kept.declined is not None

    async def _fetch(self, unit: Unit[Any], poll: Poll, kept: _Shared) -> None:
        kept.asked += 1
        for attempt in range(2):
            if attempt:
                await self._clock.sleep(_RETRY_PAUSE)
            exchange = await self._exchange(unit, poll)
            kept.number = self._dialogue.traffic.requests
            if exchange.decoded is not None:
                kept.told.append(_Told(exchange.decoded, exchange.frame, self._clock.monotonic()))
                return
            if exchange.declined:
                kept.declined = exchange
            if exchange.refused is not None or (exchange.silent and not unit.online):
                return

    def _unknown(self, kept: _Shared) -> bool:
        return bool(kept.told) and any(
            address in self._places and not self._is_known(address) for address in kept.told[-1].decoded.packs
        )

    def _tell_named(self, kept: _Shared) -> None:
        if not kept.told:
            return
        twice = self._protocol.integrity is Integrity.CRC or len(kept.told) >= _SHARED_ANSWERS
        for address in sorted(kept.told[-1].decoded.packs):
            if self._is_known(address) or (twice and address in self._places and address in kept.told[0].decoded.packs):
                self._named(address)

    def _hand_older[StateT: BatteryState](
        self, unit: Unit[StateT], polls: list[Poll], fragment: Callable[[Decoded], StateT | None]
    ) -> bool:
        """Where the round has both a first and a second answer, go back to the first; the second is handed out next."""
        handed = False
        for poll in polls:
            kept = self._shared.get(poll.name) if poll.shared else None
            if kept is not None and len(kept.told) >= _SHARED_ANSWERS:
                handed |= self._hand(unit, poll, kept.told[0], fragment)
        return handed

    @staticmethod
    def _part[StateT: BatteryState](
        unit: Unit[StateT], told: _Told, fragment: Callable[[Decoded], StateT | None]
    ) -> tuple[StateT | None, Identity | None] | None:
        """What a shared answer says of this unit; None: nothing."""
        found, identity = fragment(told.decoded), told.decoded.identities.get(unit.address)
        return None if found is None and identity is None else (found, identity)

    def _hand[StateT: BatteryState](
        self, unit: Unit[StateT], poll: Poll, told: _Told, fragment: Callable[[Decoded], StateT | None]
    ) -> bool:
        """Take this unit's part out of a shared answer; whether it has one."""
        part = self._part(unit, told, fragment)
        if part is None or (poll.essential and part[0] is None):
            unit.missed(poll, self._clock.monotonic(), silent=True)
            return False
        if told.frame is not None and not poll.private:
            unit.frames[poll.name], unit.said[poll.name] = told.frame, told.decoded
        unit.answered(poll, told.when, *part)
        return True

    # --- one exchange ------------------------------------------------------------------------------------------------

    async def _exchange(self, unit: Unit[Any], poll: Poll) -> Exchange:
        request = poll.request(unit.address)
        self._recent.pop(request, None)
        self._recent[request] = unit
        while len(self._recent) > 32:
            del self._recent[next(iter(self._recent))]
        exchange = await self._dialogue.ask(self._protocol, request)
        if exchange.frame is not None and not poll.private:
            unit.frames[poll.name] = exchange.frame
            if exchange.decoded is not None:
                unit.said[poll.name] = exchange.decoded
        _LOGGER.debug("%s %d %s: %s", self._line, unit.address, poll.name, exchange.summary(private=poll.private))
        decoded = exchange.decoded
        speaks = decoded is not None and (not poll.shared or unit.address in decoded.packs or decoded.bank is not None)
        unit.count(
            asked=int(exchange.sent),
            answered=int(speaks),
            silent=int(exchange.silent and exchange.sent),
            damaged=exchange.damaged,
            refused=int(exchange.refused is not None),
        )
        if exchange.frame is not None:
            unit.doubts.asked(damaged=False, crowded=exchange.crowded)
        elif exchange.damaged or exchange.noise:
            unit.doubts.asked(damaged=True)
        self.take(exchange)
        return exchange

    async def once(self, frame: bytes, sending: Callable[[], None]) -> Exchange:
        """Send what must not be sent twice, and wait for what comes of it; `sending` is called when it goes out.

        Raises:
            LinkError: the line went away.
            OtherMasterError: nothing may be sent any more.
        """
        exchange = await self._dialogue.once(self._protocol, frame, sending)
        _LOGGER.debug("%s, sent once: %s", self._line, exchange.summary(private=False))
        self.take(exchange)
        return exchange

    def take(self, exchange: Exchange) -> None:
        """Draw the conclusions that concern other questions than the one just asked.

        Raises:
            OtherMasterError: somebody else asks.
        """
        if exchange.foreign:
            raise OtherMasterError
        now = self._clock.monotonic()
        for question in exchange.twice:
            if (unit := self._recent.get(question)) is not None:
                unit.doubts.answered_twice(now)
