"""A client that asks: one master, many packs, one question in flight.

Owns the link and when it is used; knows neither what the bytes mean nor what a home does with the values.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import datetime
import logging
from types import MappingProxyType
from typing import Any

from ..clock import Clock
from ..errors import LinkError, LinkProblem
from ..model import BankState, PackState, PollReport
from ..plausibility import Limits
from ..protocols import SERIAL
from ..protocols.base import PolledProtocol
from ..transports import ByteTransport
from .asking import Asker, OtherMasterError
from .base import ClientListener, HeatingControl, Unsettled
from .dialogue import Dialogue
from .errands import Errands
from .heating import Heating
from .line import Line
from .overhearing import OtherMasters
from .presence import Newcomers
from .probes import Probes
from .roster import Roster
from .rounds import Rounds

_LOGGER = logging.getLogger(__name__)

# The least time between the starts of two cycles when the interval is automatic, in seconds.
SHORTEST_INTERVAL = 10.0
# A line on which nobody answers for so many rounds and seconds is opened anew: a gateway that lost power leaves a
# socket that looks alive.
_SILENT_ROUNDS, _SILENT_SECONDS = 3, 55.0
# Where somebody may ask just what we ask whenever we do, a cycle begins so much later, at most so often, in seconds:
# later than a question of ours may come back.
_SHIFT, _SHIFT_AGAIN = 4.0, 60.0
# Silence before the first byte, and the longest that mere noise may extend it, in seconds (design decision 5).
_QUIET, _NOISE = 2.0, 10.0
# So long is waited at once while nothing is due, in seconds.
_LONG = 60.0
_NONE: Mapping[int, Any] = MappingProxyType({})


class PolledClient:
    """Reads every pack of one line again and again; implements `BatteryClient` and `Pausable`."""

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
        release: bool = False,
        probes: Mapping[int, Collection[int]] = _NONE,
        serials: Mapping[int, str] = _NONE,
        heating: bool = False,
        heating_acts: Mapping[int, Sequence[datetime]] = _NONE,
        heating_unsettled: Mapping[int, Unsettled] = _NONE,
    ) -> None:
        """`addresses` are the packs known so far (or where the bank answers); `interval` None means automatic.

        `open_line` makes a closed transport of the same line for another speed, at which some batteries have to be
        woken; without it none is. `release`: the link is closed between rounds. `probes`: places of temperature sensors
        that a pack is known to have, `serials`: which pack that was, where they say so. `heating`: whether it may be
        switched; `heating_acts`: when it was lately (UTC), `heating_unsettled`: what that may still bring about.
        """
        self._transport = transport
        self._protocol = protocol
        self._clock = clock
        self._listener = listener
        self._interval = interval or SHORTEST_INTERVAL
        self._release = release
        self._masters = OtherMasters(protocol, () if protocol.alone else SERIAL.values())
        self._dialogue = Dialogue(
            transport, clock, open_line=open_line, masters=None if protocol.alone else self._masters
        )
        self._roster = Roster(protocol, addresses, limits)
        self._asker = Asker(
            protocol,
            self._dialogue,
            clock,
            line=transport.name,
            is_known=lambda address: address in self._roster.packs,
            named=self._roster.named,
        )
        self._probes = Probes(probes, mute=protocol.mute_probes, whose=serials)
        self._rounds = Rounds(
            self._roster,
            self._asker,
            clock,
            listener,
            interval=self._interval,
            newcomers=Newcomers(protocol, clock.monotonic()),
            probes=self._probes,
            noticed=self._noticed,
            hurried=self._is_switching,
        )
        self._line = Line(
            transport, clock, listener, forget=self._link_lost, longest=self._interval, sparing=protocol.alone
        )
        self._wake = asyncio.Event()
        self._errands = Errands(self._check, self._wake.set)
        self._heating: Heating | None = None
        if heating and Heating.can_switch(protocol.name):
            self._heating = Heating(
                protocol.name,
                clock,
                asker=self._asker,
                errands=self._errands,
                unit=lambda address: self._roster.packs.get(address),
                read=lambda pack, glance: self._rounds.read_pack(pack, brief=True, glance=glance),
                nudge=self._wake.set,
                acts=heating_acts,
                unsettled=heating_unsettled,
            )
        self._shifted = float("-inf")  # monotonic
        self._silenced = False  # somebody else asks on this line: nothing is sent any more
        self._told_silenced = False
        self._skipped: frozenset[int] = frozenset()
        self._polling = True
        self._due = False
        self._paused = False
        self._changed = asyncio.Event()  # whether it is
        self._unasked = 0  # bytes that came while nothing was asked

    # --- what the owner of the client may do -------------------------------------------------------------------------

    @property
    def heating(self) -> HeatingControl | None:
        """See `BatteryClient`."""
        return self._heating

    async def run(self) -> None:
        """See `BatteryClient`."""
        self._told_silenced = False
        self._errands.closed.clear()
        try:
            while True:
                if self._changed.is_set() or self._paused:
                    await self._stay_away()
                await self._first_of(self._linked(), self._changed.wait())
        finally:
            self._errands.closed.set()
            self._errands.fail(LinkError(LinkProblem.LOST, "closed"))
            await self._line.shut()

    async def read(self, address: int) -> PollReport[PackState]:
        """See `BatteryClient`."""
        pack = self._roster.packs.get(address)
        if pack is None:
            raise ValueError(f"no pack at address {address}")
        await self._read_next(address)
        return (self._roster.packs.get(address) or pack).report()

    async def read_bank(self) -> PollReport[BankState] | None:
        """See `BatteryClient`."""
        if (bank := self._roster.bank) is None:
            return None
        await self._read_next(None)
        return bank.report()

    def set_polling(self, enabled: bool) -> None:
        """See `BatteryClient`."""
        if enabled == self._polling:
            return
        self._polling = enabled
        self._due = enabled  # do not wait for a cycle that was never begun
        self._wake.set()

    def set_paused(self, paused: bool) -> None:
        """See `Pausable`."""
        if paused != self._paused:
            self._paused = paused
            self._changed.set()

    def set_skipped(self, addresses: Collection[int]) -> None:
        """See `BatteryClient`."""
        self._skipped = frozenset(addresses)
        self._wake.set()

    def forget(self, address: int) -> None:
        """See `BatteryClient`."""
        self._roster.packs.pop(address, None)
        self._probes.forget(address)

    def diagnostics(self) -> Mapping[str, object]:
        """See `BatteryClient`."""
        units = self._roster.units
        return {
            "protocol": self._protocol.name,
            "baudrate": self._transport.baudrate,
            "link": str(self._line.down.problem) if self._line.down else "released" if self._line.resting else "up",
            "opened": self._line.opened,
            "cycles": self._rounds.count,
            "traffic": self._dialogue.traffic._asdict(),
            "unasked_bytes": self._unasked,
            "foreign_questions": self._masters.questions,
            "other_master": self._silenced,
            "shared_addresses": [unit.address for unit in units if unit.doubts.conflict],
            "held_back": {str(unit.address): dict(unit.gate.held_back) for unit in units},
            "frames": {str(unit.address): {name: frame.hex() for name, frame in unit.frames.items()} for unit in units},
            "said": {
                str(unit.address): {name: dict(said.info) for name, said in unit.said.items() if said.info}
                for unit in units
            },
        }

    # --- the link ----------------------------------------------------------------------------------------------------

    async def _linked(self) -> None:
        """Open the link and keep reading, for as long as nobody wants it to be left alone."""
        while True:
            await self._line.open()
            self._opened()
            try:
                try:
                    if not self._silenced:
                        await self._keep_reading()
                except OtherMasterError:
                    self._fall_silent()
                if not self._told_silenced:
                    self._told_silenced = True
                    self._listener.other_master(self._masters.noticed or self._protocol.name)
                while True:
                    await self._only_listen()
            except LinkError as err:
                await self._line.lose(err)

    async def _stay_away(self) -> None:
        """Leave the link to somebody else, for as long as that is wanted."""
        while True:
            self._changed.clear()
            if self._line.down is None or self._line.down.problem is not LinkProblem.PAUSED:
                await self._line.leave(LinkError(LinkProblem.PAUSED))
            if not self._paused:
                return
            await self._changed.wait()

    def _opened(self) -> None:
        """What was heard before may have been on another line."""
        self._rounds.renew()
        self._dialogue.opened()
        self._asker.renew()

    def _link_lost(self, err: LinkError) -> None:
        for unit in self._roster.units:
            if unit.online:
                unit.lost()
        self._errands.fail(err)

    def _check(self) -> None:
        """Raise LinkError while nothing can be read."""
        if self._paused:
            raise LinkError(LinkProblem.PAUSED)
        self._line.check()
        if self._silenced:
            raise self._busy()

    async def _reach(self) -> None:
        """Take up a link that rests."""
        if self._line.resting:
            await self._line.resume()
            self._dialogue.opened()

    async def _reopen_quietly(self) -> None:
        """Open the line anew although nobody said that it is gone."""
        _LOGGER.debug("nobody answers on %s, opening it anew", self._transport.name)
        await self._line.reopen()
        self._dialogue.opened()
        self._rounds.renew()
        await self._listen_first()

    async def _listen_first(self) -> None:
        """Send nothing before the line has been quiet, or has been heard for so long that it is only noise.

        On a link of our own nobody else can ask.
        """
        if self._protocol.alone:
            return
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
        self._errands.fail(self._busy())
        for pack in list(self._roster.packs.values()):
            if pack.online:
                pack.lost()
                self._listener.pack_polled(pack.report())
        if (bank := self._roster.bank) is not None and bank.online:
            bank.lost()
            self._listener.bank_polled(bank.report())

    async def _only_listen(self) -> None:
        data = await self._transport.receive(_LONG)
        self._unasked += len(data)
        self._masters.hear(data, self._clock.monotonic())

    @staticmethod
    def _busy() -> LinkError:
        return LinkError(LinkProblem.BUSY, "another master asks on this line")

    # --- rounds ------------------------------------------------------------------------------------------------------

    async def _keep_reading(self) -> None:
        await self._listen_first()
        while True:
            started = self._clock.monotonic()
            if self._polling:
                await self._reach_if_needed()
                await self._rounds.round(started, between=self._between, skipped=lambda: self._skipped)
                rounds, seconds = self._rounds.silence()
                if rounds >= _SILENT_ROUNDS and seconds >= _SILENT_SECONDS:
                    await self._reopen_quietly()
                await self._reach_if_needed()
                await self._rounds.look_for_new(started + self._interval)
            await self._idle(started + self._interval + self._shift())

    def _shift(self) -> float:
        """How much later the next cycle begins, so that another master in step with us shows itself, in seconds."""
        now = self._clock.monotonic()
        if not self._masters.doubtful(now) or now - self._shifted < _SHIFT_AGAIN:
            return 0.0
        self._shifted = now
        return _SHIFT

    async def _idle(self, until: float) -> None:
        """Wait for the next cycle, a request to read at once, or the end of the line."""
        while True:
            if self._errands.waiting:
                await self._reach()
                await self._errands.run()
            left = until - self._clock.monotonic()
            if self._polling and (left <= 0 or self._due):
                self._due = False
                return
            if self._may_rest() and not self._line.resting:
                await self._line.rest()
                continue  # whatever came meanwhile is not slept through
            self._wake.clear()
            await self._first_of(self._wait(left if self._polling else _LONG), self._wake.wait())

    async def _between(self) -> None:
        """Before the next pack of a round is read."""
        if self._errands.waiting:
            await self._reach()
            await self._errands.run()
        await self._reach_if_needed()

    async def _reach_if_needed(self) -> None:
        if self._has_to_read():
            await self._reach()

    def _has_to_read(self) -> bool:
        """Whether anything is read of our own accord: where packs were forgotten, they are looked for."""
        wanted = not self._skipped.issuperset(self._roster.packs) or not self._roster.packs
        return self._polling and (wanted or self._roster.bank is not None)

    def _may_rest(self) -> bool:
        """Whether the link can be closed until it is needed: a pack over Bluetooth has only one to give."""
        idle = self._release or (self._protocol.alone and not self._has_to_read())
        return idle and not self._is_switching()

    async def _wait(self, seconds: float) -> None:
        if self._line.resting:
            await self._clock.sleep(seconds)
        # receiving is the only way to learn at once that the line is gone
        elif data := await self._transport.receive(seconds):
            self._overhear(data)

    @staticmethod
    async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
        """Wait until one of them ends, and end the others."""
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    # --- reading out of turn -----------------------------------------------------------------------------------------

    async def _read_next(self, address: int | None) -> None:
        self._line.hurry()
        since = self._dialogue.traffic.requests
        await self._errands.put(lambda: self._rounds.read_now(address, since), key=("read", address))

    def _is_switching(self) -> bool:
        """Whether the heating is being switched, which waits for what the pack says of it."""
        return self._heating is not None and self._heating.busy

    def _noticed(self, report: PollReport[PackState]) -> None:
        if self._heating is not None:
            self._heating.noticed(report)
