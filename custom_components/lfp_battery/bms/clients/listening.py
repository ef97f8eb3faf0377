"""A client that only listens: somebody else asks, and what the packs answer is read along.

It sends nothing: what it knows of its transport has no way to send. What the master never asks is not known.
"""

from collections.abc import Collection, Mapping
import logging
from types import MappingProxyType
from typing import Any, Protocol

from ..clock import Clock
from ..errors import LinkError
from ..model import BankState, CycleReport, PackState, PollReport
from ..plausibility import Limits
from ..protocols.base import Integrity, PolledProtocol, Scope
from .base import ClientListener
from .conversation import Conversation, Outcome, Overheard
from .fragments import OverheardUnit
from .line import Line, Openable
from .probes import Probes

_LOGGER = logging.getLogger(__name__)

# What one pack says in several answers is told together: when nothing more came for so long, or so long after the first
# of them, and not more often, in seconds.
_QUIET, _BURST = 0.4, 1.0
# How often it is looked whether something has grown too old, and how often a round is said to be over, in seconds.
_LOOK, _ROUND = 5.0, 10.0
# A line on which nothing at all is heard is opened anew after so many seconds, and again after as many: a gateway that
# lost power leaves a socket that looks alive.
_SILENT = 120.0
_NONE: Mapping[int, Any] = MappingProxyType({})


class Receiver(Openable, Protocol):
    """A `ByteTransport` as far as it concerns somebody who only listens."""

    @property
    def name(self) -> str:
        """See `ByteTransport`."""

    @property
    def baudrate(self) -> int:
        """See `ByteTransport`."""

    async def receive(self, timeout: float) -> bytes:
        """See `ByteTransport`."""


class ListeningClient:
    """Reads along on a line that another master owns; implements `BatteryClient`, and transmits nothing."""

    def __init__(
        self,
        transport: Receiver,
        protocol: PolledProtocol,
        *,
        clock: Clock,
        listener: ClientListener,
        addresses: Collection[int],
        limits: Limits | None = None,
        probes: Mapping[int, Collection[int]] = _NONE,
        serials: Mapping[int, str] = _NONE,
    ) -> None:
        """`addresses` are the packs known so far (or where the bank answers), as for `PolledClient`; may be empty.

        `probes` and `serials` as for `PolledClient`. Addresses that are heard besides become packs when they have answered twice.
        """
        self._transport = transport
        self._protocol = protocol
        self._clock = clock
        self._listener = listener
        self._limits = limits
        self._probes = Probes(probes, mute=protocol.mute_probes, whose=serials)
        self._line = Line(transport, clock, listener, forget=self._forget_all)
        self._conversation = Conversation(protocol, baudrate=transport.baudrate)
        scopes = {poll.scope for poll in protocol.polls}
        self._shares_frame = protocol.integrity is Integrity.CRC
        self._speaks_for_bank = Scope.PACK not in scopes
        self._packs: dict[int, OverheardUnit[PackState]] = {}
        self._bank: OverheardUnit[BankState] | None = None
        if not self._speaks_for_bank:
            self._packs = {address: self._new_pack(address, known=True) for address in sorted(addresses)}
        if Scope.BANK in scopes and addresses:
            self._bank = self._new_bank(min(addresses), known=True)
        self._speaker: int | None = None  # who was last heard to answer for the bank
        self._skipped: frozenset[int] = frozenset()
        self._telling = True
        self._heard = 0.0  # when anything was heard last, or the line was opened, monotonic
        self._rounds = 0
        self._first_round = False
        self._next_round = self._next_look = 0.0

    # --- what the owner of the client may do -------------------------------------------------------------------------

    @property
    def heating(self) -> None:
        """See `BatteryClient`: nothing is ever sent."""
        return

    async def run(self) -> None:
        """See `BatteryClient`."""
        try:
            while True:
                await self._line.open()
                try:
                    await self._listen()
                except LinkError as err:
                    await self._line.lose(err)
        finally:
            await self._line.shut()

    async def read(self, address: int) -> PollReport[PackState]:
        """Tell what is known of this pack; nothing is asked for. Raises LinkError when the link is down."""
        pack = self._packs.get(address)
        if pack is None or not pack.known:
            raise ValueError(f"no pack at address {address}")
        self._line.check()
        self._tell(pack)
        return pack.report()

    async def read_bank(self) -> PollReport[BankState] | None:
        """Tell what the bank said of itself; None where it says nothing. Raises LinkError when the link is down."""
        bank = self._bank
        if bank is None or not bank.known:
            return None
        self._line.check()
        self._tell(bank)
        return bank.report()

    def set_polling(self, enabled: bool) -> None:
        """Whether the listener is told of the client's own accord; it reads along either way, which costs nobody."""
        self._telling = enabled

    def set_skipped(self, addresses: Collection[int]) -> None:
        """Packs of which the listener is told nothing."""
        self._skipped = frozenset(addresses)

    def forget(self, address: int) -> None:
        """See `BatteryClient`."""
        self._packs.pop(address, None)
        self._probes.forget(address)

    def diagnostics(self) -> Mapping[str, object]:
        """See `BatteryClient`."""
        talk, now = self._conversation, self._clock.monotonic()
        return {
            "protocol": self._protocol.name,
            "baudrate": self._transport.baudrate,
            "link": str(self._line.down.problem) if self._line.down else "up",
            "opened": self._line.opened,
            "cycles": self._rounds,
            "bytes_sent": 0,
            "bytes_received": talk.bytes,
            "noise": talk.noise,
            "damaged": talk.damaged,
            "strays": talk.strays,
            "foreign_questions": talk.questions,
            "seconds_since_question": None if talk.last_question is None else round(now - talk.last_question, 1),
            "shared_addresses": [unit.address for unit in self._units() if unit.doubts.conflict],
            "held_back": {self._label(unit): dict(unit.held) for unit in self._units()},
            "questions": {
                self._label(unit): [
                    {
                        "question": question.hex() if isinstance(question, bytes) else None,
                        "period": fragment.period,
                        "age": round(now - fragment.received, 1),
                        "answer": fragment.frame and fragment.frame.hex(),
                    }
                    for question, fragment in unit.fragments.items()
                ]
                for unit in self._units()
            },
        }

    def _label(self, unit: OverheardUnit[Any]) -> str:
        return "bank" if unit is self._bank else str(unit.address)

    def _units(self) -> list[OverheardUnit[Any]]:
        """All that are there, as far as is known."""
        return [unit for unit in self._heard_of() if unit.known]

    def _heard_of(self) -> list[OverheardUnit[Any]]:
        """All that are there, and whatever else has answered."""
        return [*self._packs.values(), *([self._bank] if self._bank else [])]

    # --- the line ----------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Read along until the line is lost."""
        self._conversation.interrupted()
        now = self._heard = self._clock.monotonic()
        self._next_round, self._next_look = now + _ROUND, now + _LOOK
        self._first_round = True
        while True:
            data = await self._transport.receive(max(self._next() - now, 0.0))
            now = self._clock.monotonic()
            if data:
                self._heard = now
            for overheard in self._conversation.hear(data, now):
                self._take(overheard, now)
            if now >= self._next_look:
                self._next_look = now + _LOOK
                for unit in self._heard_of():
                    unit.expire(now)
            self._tell_all(now)
            self._end_round(now)
            if now - self._heard >= _SILENT:
                _LOGGER.debug("nothing is heard on %s, opening it anew", self._transport.name)
                self._heard = now
                await self._line.reopen()
                self._conversation.interrupted()

    def _next(self) -> float:
        """When there is something to do although nothing is heard, monotonic."""
        times = [
            max(self._burst_over(unit), unit.told + _BURST)
            for unit in self._units()
            if unit.dirty is not None and unit.address not in self._skipped
        ]
        return min((self._next_look, self._next_round, *times)) if self._telling else self._next_look

    def _forget_all(self, err: LinkError) -> None:
        now = self._clock.monotonic()
        for unit in self._heard_of():
            unit.lose(now)
            unit.dirty = None  # the loss of the link is told for all of them

    # --- what is heard -----------------------------------------------------------------------------------------------

    def _take(self, overheard: Overheard, now: float) -> None:
        self._count(overheard, now)
        if overheard.outcome is not Outcome.ANSWERED:
            return
        decoded, question, frame = overheard.decoded, overheard.question, overheard.frame
        # frames of others look alike only where they share Modbus's: a meter, say, that the same master asks
        recognised = question is None or not self._shares_frame or self._protocol.recognises(question, frame)
        shown = None if self._is_private(overheard) else frame
        for address, state in decoded.packs.items():
            known = self._probes.shown(state) or state
            self._pack_at(address).hear(question, known, now, recognised=recognised, frame=shown)
        bank: OverheardUnit[BankState] | None = None
        if decoded.bank is not None or (self._speaks_for_bank and decoded.identities):
            if (bank := self._bank_of(overheard)) is None:
                return
            if decoded.bank is not None:
                bank.hear(question, decoded.bank, now, recognised=recognised, frame=shown)
        for address, identity in decoded.identities.items():
            # who says who it is before anything else is remembered, too
            (bank or self._pack_at(address)).identify(identity, now)
            if identity.serial is not None:
                self._probes.belong(address, identity.serial)

    def _is_private(self, overheard: Overheard) -> bool:
        """Whether an answer holds a serial number, and so must not be shown."""
        decoded, address = overheard.decoded, overheard.address
        if any(identity.serial is not None for identity in decoded.identities.values()):
            return True
        if any("serial" in name or "barcode" in name for name in decoded.info):
            return True
        return address is not None and any(
            poll.private and poll.request(address) == overheard.question for poll in self._protocol.polls
        )

    def _pack_at(self, address: int) -> OverheardUnit[PackState]:
        """The pack at an address, from now on remembered."""
        if (pack := self._packs.get(address)) is None:
            pack = self._new_pack(address, known=False)
            self._packs = dict(sorted([*self._packs.items(), (address, pack)]))
        return pack

    def _bank_of(self, overheard: Overheard) -> OverheardUnit[BankState] | None:
        """The bank, if this is who speaks for it; another unit takes over only when that one says nothing any more."""
        address, bank = overheard.address, self._bank
        if bank is None:
            bank = self._bank = self._new_bank(address or 0, known=False)
        elif address is not None and address != bank.address:
            if self._speaker is not None and bank.fragments:
                return None
            bank.address = address
        if address is not None:
            self._speaker = address
        return bank

    def _count(self, overheard: Overheard, now: float) -> None:
        """Keep the counters of whom was asked, and what speaks against there being one of them."""
        if overheard.question is None:
            return
        unit: OverheardUnit[Any] | None = self._packs.get(overheard.address) if overheard.address is not None else None
        if unit is None and self._bank is not None and self._bank.address == overheard.address:
            unit = self._bank
        if unit is None:
            return
        outcome = overheard.outcome
        if outcome is not Outcome.ANSWERED:
            unit.missed(overheard.question, now)
        if outcome is Outcome.TWICE:
            unit.doubts.answered_twice(now)
        elif outcome is Outcome.UNSURE:
            unit.count(asked=1, damaged=1)  # of no use, but nothing against the pack
        else:
            unit.count(asked=1, **{outcome.value: 1})
            if outcome is not Outcome.SILENT:
                unit.doubts.asked(damaged=outcome is Outcome.DAMAGED)
        others = [other.doubts for other in self._units() if other is not unit and other.doubts.known]
        unit.doubt(now, others_clean=bool(others) and all(doubts.clean() for doubts in others))

    def _new_pack(self, address: int, *, known: bool) -> OverheardUnit[PackState]:
        empty = PackState(address=address)
        weak = not self._shares_frame
        return OverheardUnit(address, empty, weak_check=weak, limits=self._limits, known=known)

    def _new_bank(self, address: int, *, known: bool) -> OverheardUnit[BankState]:
        weak = not self._shares_frame
        return OverheardUnit(address, BankState(), weak_check=weak, limits=self._limits, known=known)

    # --- what is told ------------------------------------------------------------------------------------------------

    def _tell_all(self, now: float) -> None:
        """Tell of every unit that has something new, once its burst is over."""
        if not self._telling:
            return
        speaking_to = self._conversation.speaking_to
        for unit in self._units():
            if unit.dirty is None or unit.address in self._skipped or now < unit.told + _BURST:
                continue
            if speaking_to != unit.address or now >= self._burst_over(unit):
                self._tell(unit)

    @staticmethod
    def _burst_over(unit: OverheardUnit[Any]) -> float:
        """When a unit that has something new is told of at the latest, monotonic."""
        assert unit.dirty is not None
        return min(unit.dirty + _BURST, unit.renewed + _QUIET)

    def _tell(self, unit: OverheardUnit[Any]) -> None:
        """Tell what is known now; nothing when there never was anything."""
        unit.compose()
        unit.dirty, unit.told = None, self._clock.monotonic()
        if unit.state is None and not unit.doubts.conflict:
            return
        if unit is self._bank:
            self._listener.bank_polled(unit.report())
        else:
            self._listener.pack_polled(unit.report())

    def _end_round(self, now: float) -> None:
        """Say now and then that a round is over; the first one as soon as everybody was heard."""
        units = self._units()
        early = self._first_round and bool(units) and all(unit.online for unit in units)
        if now < self._next_round and not early:
            return
        self._first_round = False
        self._next_round = now + _ROUND
        if not self._telling:
            return
        self._rounds += 1
        periods = [unit.period for unit in units if unit.online and unit.address not in self._skipped]
        self._listener.cycle_finished(
            CycleReport(
                # values are as old as the master lets them get
                seconds=max((period for period in periods if period is not None), default=0.0),
                answered=frozenset(unit.address for unit in units if unit.online),
                silent=frozenset(unit.address for unit in units if not unit.online),
            )
        )
