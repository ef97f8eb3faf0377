"""Reading what has answered: every pack behind the line, or the bank that speaks for them, and who they are."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from typing import Any, Final, Protocol

from ..clients.dialogue import Exchange
from ..clients.probes import Probes
from ..clients.units import combine, fallback_of
from ..clock import Clock
from ..model import BankState, Identity, PackState
from ..protocols.base import Cadence, Decoded, Integrity, Poll, PolledProtocol, Scope
from .report import FoundPack

# After so many neighbours without an answer the rest of a group is taken for empty (pylon-rs485.md section 9).
_EMPTY_NEIGHBOURS: Final = 3
# Neighbours of a known pack are given so many seconds more than it took; one that is slower comes later by itself,
# since a client asks after newcomers.
_SLOWER: Final = 0.15
_BITS_PER_BYTE: Final = 10


class Ask(Protocol):
    """Puts one question; `wait` is the patience for the first byte, in seconds."""

    async def __call__(self, request: bytes, *, wait: float | None = None, private: bool = False) -> Exchange:
        """What came of it."""


@dataclass(slots=True)
class _Pack:
    """What one address has said."""

    address: int
    answers: list[Decoded] = field(default_factory=list)
    again: list[Decoded] | None = None  # the same once more, where no check protects an answer

    @property
    def state(self) -> PackState | None:
        states = [state for decoded in self.answers if (state := decoded.packs.get(self.address)) is not None]
        return combine(PackState(address=self.address), states) if states else None

    @property
    def identity(self) -> Identity:
        said = _identity(self.answers, self.address)
        if self.again is None:
            return said
        # a damaged name would be kept for good: what is not said twice alike was not said
        repeated = _identity(self.again, self.address)
        return Identity(
            **{f.name: value for f in fields(Identity) if (value := getattr(said, f.name)) == getattr(repeated, f.name)}
        )


def _identity(answers: list[Decoded], address: int) -> Identity:
    identity = Identity()
    for decoded in answers:
        if (more := decoded.identities.get(address)) is not None:
            identity = identity.joined(more)
    return identity


class Reader:
    """Reads what answers in one protocol."""

    def __init__(
        self,
        protocol: PolledProtocol,
        ask: Ask,
        clock: Clock,
        *,
        baudrate: int,
        patience: float,
        in_time: Callable[[], bool],
        tell: Callable[[float, int], None],
    ) -> None:
        """`patience`: seconds of silence at an address that mean "nobody here".

        `in_time`: whether there is time for questions that can wait; `tell`: how far it is (0 to 1), at which address.
        """
        self._protocol = protocol
        self._ask = ask
        self._clock = clock
        self._baudrate = baudrate
        self._latency = 0.0  # s from the end of the last answered question to its answer, pauses included
        self._patience = patience
        self._in_time = in_time
        self._tell = tell
        self._essential = next(poll for poll in protocol.polls if poll.essential)

    async def read(self, address: int, *, nearby: bool = False, known: Collection[int] = ()) -> dict[str, Any] | None:
        """Fields of the report; None when nothing can be read.

        `nearby`, for a bank that is known: only the packs near `address` and those that are `known`, and only who they
        are.
        """
        if known and self._essential.scope is Scope.BANK:
            address = min(known)
        if self._essential.scope is Scope.BANK:
            return await self._read_bank(address)
        if self._essential.shared:
            packs = await self._read_shared(address)
        elif nearby:
            packs = await self._row(address, known)
        else:
            packs = await self._walk(address)
        if not packs:
            return None
        if not nearby:
            await self._identify(packs)
        if self._protocol.integrity is Integrity.NONE:
            await self._confirm(packs, address, identities=not nearby)
        # what is found is remembered of a pack, sensors that are not there would be as well
        probes = Probes({}, mute=self._protocol.mute_probes)
        return {
            "packs": tuple(
                FoundPack(address=pack.address, identity=pack.identity, state=state)
                for pack in packs
                if (state := probes.shown(pack.state)) is not None
            )
        }

    # --- the values --------------------------------------------------------------------------------------------------

    async def _values(self, poll: Poll, address: int, *, wait: float | None = None) -> list[Decoded]:
        """What a question is answered with, or what is asked instead of it; `wait`: where nobody may be."""
        exchange = await self._put(poll, address, wait=wait)
        if exchange.decoded is not None:
            return [exchange.decoded]
        if not poll.fallback or not (exchange.declined or (wait is None and exchange.refused is None)):
            return []
        found: list[Decoded] = []
        for place, instead in enumerate(fallback_of(poll)):
            more = await self._values(instead, address, wait=wait)
            if not more and place == 0:
                return []
            found += more
        return found

    async def _put(self, poll: Poll, address: int, *, wait: float | None = None) -> Exchange:
        request = poll.request(address)
        began = self._clock.monotonic()
        exchange = await self._ask(request, wait=wait, private=poll.private)
        if exchange.frame is not None:
            under_way = (len(request) + len(exchange.frame)) * _BITS_PER_BYTE / self._baudrate
            self._latency = max(self._clock.monotonic() - began - under_way, 0.0)
        if (
            exchange.decoded is None
            and exchange.refused is None
            and (exchange.damaged or exchange.noise or exchange.strays)
        ):
            exchange = await self._ask(request, wait=wait, private=poll.private)
        return exchange

    async def _read_bank(self, address: int) -> dict[str, Any] | None:
        answers = await self._values(self._essential, address)
        if not any(decoded.bank is not None for decoded in answers):
            return None
        self._tell(0.0, address)
        for poll in self._once(Scope.BANK, address):
            answers += await self._who(poll, address)
        return {
            "bank": combine(BankState(), [decoded.bank for decoded in answers if decoded.bank is not None]),
            "bank_address": address,
            "bank_identity": _identity(answers, address),
        }

    async def _read_shared(self, address: int) -> list[_Pack]:
        """One answer names every pack."""
        answers = await self._values(self._essential, address)
        if answers:
            self._tell(0.0, address)
        return [
            _Pack(found, [decoded])
            for decoded in answers
            for group in self._protocol.address_groups
            for found in group
            if found in decoded.packs
        ]

    async def _walk(self, address: int) -> list[_Pack]:
        """Ask at one address after the other."""
        packs: list[_Pack] = []
        for group in self._protocol.address_groups:
            silent = 0
            for place, candidate in enumerate(group):
                self._tell(place / len(group), candidate)
                wait = None if candidate == address else self._patience
                pack = _Pack(candidate, await self._values(self._essential, candidate, wait=wait))
                if pack.state is not None:
                    packs.append(pack)
                    silent = 0
                    continue
                silent += 1
                # a group without its master is not there
                if place == 0 and address not in group:
                    break
                if silent >= _EMPTY_NEIGHBOURS and not (address in group and place < group.index(address)):
                    break
        return packs

    async def _row(self, address: int, known: Collection[int]) -> list[_Pack]:
        """Those that are known, and those in a row from this address on, with little more patience than one needs."""
        group = next(group for group in self._protocol.address_groups if address in group)
        row = (*known, *(candidate for candidate in group if candidate >= min((address, *known))))
        packs: list[_Pack] = []
        wait: float | None = None
        silent = 0
        for candidate in dict.fromkeys(row):
            # whoever is known is asked for, whoever else is silent; nobody waits for a bank that is gone
            if silent >= _EMPTY_NEIGHBOURS and (candidate not in known or not packs):
                break
            pack = _Pack(candidate, await self._values(self._essential, candidate, wait=wait))
            if pack.state is None:
                silent += 1
                wait = self._patience if wait is None else wait
                if not known and not packs:
                    break
                continue
            silent = 0
            self._tell(0.0, candidate)
            wait = min(self._patience, self._latency + _SLOWER)
            packs.append(pack)
            for poll in self._once(Scope.PACK, candidate):
                if poll.private and pack.identity.serial is None:
                    pack.answers += await self._who(poll, candidate)
        return sorted(packs, key=lambda pack: pack.address)

    # --- who they are ------------------------------------------------------------------------------------------------

    def _once(self, scope: Scope, address: int) -> list[Poll]:
        return [poll for poll in self._protocol.polls_of(scope, address) if poll.cadence is Cadence.ONCE]

    async def _identify(self, packs: list[_Pack]) -> None:
        """Serial numbers of all of them first; the rest, which a client asks for as well, while there is time."""
        for wanted in (True, False):
            for pack in packs:
                for poll in self._once(Scope.PACK, pack.address):
                    if poll.private is wanted and self._in_time():
                        pack.answers += await self._who(poll, pack.address)

    async def _confirm(self, packs: list[_Pack], address: int, *, identities: bool) -> None:
        """Have them all say once more who they are."""
        said = await self._values(self._essential, address) if self._essential.shared else []
        for pack in packs:
            pack.again = list(said)
            for poll in self._once(Scope.PACK, pack.address) if identities else ():
                if self._in_time():
                    pack.again += await self._who(poll, pack.address)

    async def _who(self, poll: Poll, address: int) -> list[Decoded]:
        exchange = await self._put(poll, address, wait=self._patience)
        if poll.private and exchange.frame is None:
            # who a pack is is decided by this answer, and kept
            exchange = await self._put(poll, address)
        return [exchange.decoded] if exchange.decoded is not None else []
