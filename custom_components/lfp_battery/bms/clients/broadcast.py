"""A client of a battery that is not asked: it sends its frames on a CAN bus, and what they say is put together.

It transmits nothing: what it knows of its transport has no way to send.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
import logging
import math
from typing import Any

from ..bus_capture import is_private
from ..can_frame import CanFrame, id_text
from ..clock import Clock
from ..errors import LinkError
from ..model import BankState, CycleReport, Identity, PackState, PollReport
from ..plausibility import Limits
from ..protocols.base import Decoded
from ..protocols.can import CAN
from ..protocols.can.base import BANK, CanFamily
from ..protocols.can.detection import Hint
from ..transports import CanTransport
from .base import ClientListener
from .broadcast_frame import LEAST, TEXT, HeardFrame
from .broadcast_unit import BroadcastUnit, Summary, active_alarms, is_over, misses_alarms, summarise
from .broadcast_watch import CHANGED_AFTER, FamilyWatch
from .line import Line

_LOGGER = logging.getLogger(__name__)

# How often what is known is told, in seconds, unless somebody wants it otherwise.
INTERVAL = 5.0
# A battery that begins to send is told of once its set is complete, or so many seconds after it first measured something.
_COMPLETE = 2.0
_BASIC = frozenset({"voltage", "soc"})
# How often it is looked what the bus is, and whether something has grown too old, in seconds.
_LOOK = 1.0
# Alarms that change are told at once, but not more often than this between two regular reports: a loose contact may
# change them with every frame.
_AT_ONCE = 10
# A bus on which nothing at all is heard is opened anew after so many seconds, and again after as many.
_SILENT = 120.0
# A pack nobody has told us of is there when it has measured something so many times.
_FRAMES_UNTIL_KNOWN = 2


class BroadcastClient:
    """Reads what a battery sends on a CAN bus; implements `BatteryClient`, and transmits nothing."""

    def __init__(
        self,
        transport: CanTransport,
        family: CanFamily,
        *,
        clock: Clock,
        listener: ClientListener,
        interval: float | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`family` is what the bus was the last time; `interval` in seconds, None for the usual one."""
        self._transport = transport
        self._family = family
        self._clock = clock
        self._listener = listener
        self._interval = interval or INTERVAL
        self._limits = limits
        self._line = Line(transport, clock, listener, forget=self._lose_all)
        self._readable = frozenset[int]().union(*(one.ids for one in CAN.values()), family.ids)
        self._watch = FamilyWatch(family)
        self._unacknowledged = False
        self._doubtful = False  # what the bus is now: nothing is told that may be read wrongly
        self._frames: dict[int, HeardFrame] = {}
        self._bank: BroadcastUnit[BankState] = BroadcastUnit(BANK, limits=limits)
        self._packs: dict[int, BroadcastUnit[PackState]] = {}
        self._skipped: frozenset[int] = frozenset()
        self._telling = True
        self._received = self._strange = self._unreadable = self._changes = self._rounds = 0
        self._held: Counter[str] = Counter()  # of packs that are gone
        self._heard = 0.0  # when anything was heard last, or the bus was opened, monotonic
        self._nameless = math.inf  # since when a bank is there that has told no name, monotonic
        self._first: float | None = None  # when a bank that is not there was first measured, monotonic
        self._base = self._next_look = self._next_tick = 0.0  # monotonic
        self._tick = 0
        self._running = False  # the bank was told of since the bus was opened
        self._at_once = 0  # how many reports between two regular ones
        self._relieved: dict[int, float] = {}  # units of which an alarm is gone, since when, monotonic
        self._alarmed: set[int] = set()  # units that have a new one

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
        """Tell what is known of this pack; nothing is asked for. Raises LinkError when the bus is down."""
        if (pack := self._packs.get(address)) is None:
            raise ValueError(f"no pack at address {address}")
        self._line.check()
        if not self._doubtful:
            self._tell({address})
        return pack.report()

    async def read_bank(self) -> PollReport[BankState] | None:
        """Tell what the bank says; None where it has said nothing yet. Raises LinkError when the bus is down."""
        self._line.check()
        if not self._doubtful:
            self._tell({BANK})
        return self._bank.report() if self._bank.state is not None else None

    def set_polling(self, enabled: bool) -> None:
        """Whether the listener is told of the client's own accord; it listens either way, which costs nobody."""
        self._telling = enabled

    def set_skipped(self, addresses: Collection[int]) -> None:
        """Packs of which the listener is told nothing."""
        self._skipped = frozenset(addresses)

    def forget(self, address: int) -> None:
        """See `BatteryClient`."""
        if (pack := self._packs.pop(address, None)) is not None:
            self._held += pack.gate.held_back
        self._drop_frames(address)

    def diagnostics(self) -> Mapping[str, object]:
        """See `BatteryClient`."""
        now = self._clock.monotonic()
        verdict = self._watch.verdict
        return {
            "family": self._family.name,
            "bitrate": self._transport.bitrate,
            "keeps_quiet": self._transport.silent,
            "link": str(self._line.down.problem) if self._line.down else "up",
            "opened": self._line.opened,
            "cycles": self._rounds,
            "frames_received": self._received,
            "frames_of_others": self._strange,
            "frames_unreadable": self._unreadable,
            "errors": self._transport.errors,
            "family_changes": self._changes,
            "verdict": {
                "family": verdict.family,
                "settled": verdict.settled,
                "inverter": verdict.inverter,
                "hint": None if verdict.hint is None else str(verdict.hint),
            },
            "two_sources": [self._label(unit) for unit in self._units() if unit.torn],
            "held_back": {
                **{self._label(unit): dict(unit.gate.held_back) for unit in self._units()},
                "gone": dict(self._held),
            },
            "ids": {
                id_text(frame_id): {
                    "period": frame.period and round(frame.period, 3),
                    "age": round(now - frame.received, 1),
                    "count": frame.count,
                    "data": self._shown(frame_id, frame.data),
                }
                for frame_id, frame in sorted(self._frames.items())
                if frame_id in self._family.ids
            },
            "unknown_ids": {
                id_text(frame_id): self._shown(frame_id, data) for frame_id, data in sorted(self._watch.unknown.items())
            },
        }

    def _shown(self, frame_id: int, data: bytes) -> str | None:
        """A payload as it may be shown; None where it may hold a serial number."""
        return None if is_private(CanFrame(id=frame_id, data=data), self._family.name) else data.hex()

    @staticmethod
    def _label(unit: BroadcastUnit[Any]) -> str:
        return "bank" if unit.address == BANK else str(unit.address)

    def _units(self) -> list[BroadcastUnit[BankState] | BroadcastUnit[PackState]]:
        return [self._bank, *self._packs.values()]

    # --- the bus -----------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Listen until the bus is lost."""
        now = self._heard = self._base = self._clock.monotonic()
        self._next_look = now + _LOOK
        self._tick, self._next_tick = 1, now + self._interval
        self._running = False
        self._watch.doubt(now)
        while True:
            frames = await self._transport.receive(max(self._next() - now, 0.0))
            now = self._clock.monotonic()
            if frames:
                self._heard = now
                self._hear(frames, now)
            if now >= self._next_look:
                self._next_look = now + _LOOK
                self._look(now)
            self._doubtful = self._watch.is_doubtful(now)
            if self._telling and not self._doubtful:
                self._tell_due(now)
            if now - self._heard >= _SILENT:
                _LOGGER.debug("nothing is heard on %s, opening it anew", self._transport.name)
                self._heard = now
                await self._line.reopen()

    def _next(self) -> float:
        """When there is something to do although nothing is heard, monotonic."""
        if not self._telling:
            return self._next_look
        soonest = self._next_look if self._doubtful else min(self._next_look, self._next_tick)
        if self._first is not None and (complete := self._first + _COMPLETE) > self._clock.monotonic():
            return min(soonest, complete)
        return soonest

    def _lose_all(self, err: LinkError) -> None:
        """The bus is gone, and who is behind it when it is back may be another battery."""
        self._frames.clear()
        self._watch = FamilyWatch(self._family)
        self._first = None
        self._alarmed.clear()
        self._relieved.clear()
        for unit in self._units():
            unit.lose()

    # --- what is heard -----------------------------------------------------------------------------------------------

    def _hear(self, frames: Iterable[CanFrame], now: float) -> None:
        known, ours, hear = self._frames, self._family.ids, self._watch.hear
        for frame in frames:
            self._received += 1
            frame_id = frame.id
            hear(frame, now)
            if frame_id not in ours:
                self._strange += 1
                if frame_id not in self._readable:
                    continue
            heard = known.get(frame_id)
            if heard is not None and heard.data == frame.data and now - heard.received < LEAST:
                heard.again(now)
            else:
                heard = self._take(frame, heard, now)
            if heard.said is None:
                # a serial number that comes in pages is left alone
                self._unreadable += frame_id in ours and frame_id not in self._family.private_ids
            elif heard.essential and self._first is None and not self._bank.online and heard.said.pack is None:
                self._first = now

    def _take(self, frame: CanFrame, heard: HeardFrame | None, now: float) -> HeardFrame:
        """A frame whose payload is new."""
        said = self._family.read(frame) if frame.id in self._family.ids else None
        if heard is None:
            lasting = frame.id in self._family.on_change
            heard = self._frames[frame.id] = HeardFrame(frame.data, said, now, lasting=lasting)
            changed = bool(heard.alarms)
        else:
            changed = heard.change(frame.data, said, now)
        # one that does not tell any more ends no alarm
        if changed and heard.alarms_of is not None and heard.tells_alarms(now):
            self._compare_alarms(heard.alarms_of, now)
        return heard

    def _compare_alarms(self, address: int, now: float) -> None:
        """The alarms of a unit are others: a new one is told at once, one that is gone when no other frame has it.

        The same alarm may go in one frame and come in the next.
        """
        unit = self._bank if address == BANK else self._packs.get(address)
        if unit is None or not unit.online or address in self._skipped:
            return
        active = active_alarms(self._frames.values(), address, now, torn=unit.torn)
        if not active <= unit.alarms:
            self._alarmed.add(address)
        elif active != unit.alarms:
            self._relieved.setdefault(address, now)
        else:
            self._relieved.pop(address, None)

    # --- what the bus is ---------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        found = self._watch.look(now)
        if (unacknowledged := self._watch.verdict.hint is Hint.NO_ACKNOWLEDGE) != self._unacknowledged:
            self._unacknowledged = unacknowledged
            self._listener.unacknowledged(unacknowledged)
        if found is not None:
            self._change_family(found, now)
        if self._telling:
            self._tell(
                {unit.address for unit in self._units() if unit.online and self._is_gone(unit, now)} - self._skipped
            )

    def _is_gone(self, unit: BroadcastUnit[Any], now: float) -> bool:
        """Whether nothing that a unit measures is fresh."""
        if now >= unit.expires:
            unit.expires = max(
                (
                    frame.expires
                    for frame in self._frames.values()
                    if frame.essential and frame.said is not None and (frame.said.pack or BANK) == unit.address
                ),
                default=now,
            )
        return now >= unit.expires

    def _change_family(self, family: CanFamily, now: float) -> None:
        """Read what is on the bus as another family from now on; nothing of the old one stands."""
        _LOGGER.debug("%s carries %s, and not %s", self._transport.name, family.name, self._family.name)
        self._family = family
        self._changes += 1
        since = max(self._watch.since, now - CHANGED_AFTER)
        fresh = {frame_id: frame for frame_id, frame in self._frames.items() if frame.received > since}
        for frame_id, frame in fresh.items():
            said = family.read(CanFrame(id=frame_id, data=frame.data)) if frame_id in family.ids else None
            frame.reread(said, lasting=frame_id in family.on_change)
        self._frames = fresh
        self._alarmed.clear()
        self._relieved.clear()
        packs, self._packs = self._packs, {}
        for pack in packs.values():
            self._held += pack.gate.held_back
            if pack.online and self._telling:
                pack.lose()
                self._report(pack, now)
        online = self._bank.online
        self._bank.lose()
        self._listener.family_changed(family.name)
        self._first = now - _COMPLETE  # what there is of it is told now
        if online and self._telling and not self._is_ready(now):
            self._report(self._bank, now)

    # --- what is told ------------------------------------------------------------------------------------------------

    def _tell_due(self, now: float) -> None:
        """Tell what it is time for."""
        if not self._bank.online and self._is_ready(now):
            if not self._running:
                self._running = True
                self._base, self._tick, self._next_tick = now, 0, now
            else:
                self._tell(self._all())
        if now >= self._next_tick:
            while self._next_tick <= now:
                self._tick += 1
                self._next_tick = self._base + self._tick * self._interval
            self._at_once = 0
            self._tell(self._all())
            self._end_round()
            return
        if self._alarmed or self._relieved:
            over = {
                address
                for address, since in self._relieved.items()
                if is_over(self._frames.values(), address, since, now)
            }
            if (changed := self._alarmed | over) and self._at_once < _AT_ONCE:
                self._at_once += 1
                self._tell(changed)

    def _is_ready(self, now: float) -> bool:
        """Whether enough of a bank that was not there was heard: its set once through, or as much as came in a while."""
        if self._first is None:
            return False
        frames = [
            frame
            for frame in self._frames.values()
            if frame.said is not None and frame.said.pack is None and now < frame.expires
        ]
        if not any(frame.essential for frame in frames):
            return False
        if now >= self._first + _COMPLETE:
            return True
        if self._family.has_packs:  # each of them is to be heard twice
            return False
        names = {name for frame in frames if frame.said is not None for name in frame.said.values}
        return names >= _BASIC and any(frame.count > 1 for frame in frames)

    def _all(self) -> set[int]:
        """The bank, the packs that are there, and those that have measured something often enough to be."""
        found = {
            frame.said.pack
            for frame in self._frames.values()
            if frame.essential
            and frame.said is not None
            and frame.said.pack is not None
            and frame.count >= _FRAMES_UNTIL_KNOWN
        }
        return ({BANK} | found | self._packs.keys()) - self._skipped

    def _tell(self, addresses: Collection[int]) -> None:
        """Tell what these units say now, or that they are silent; nothing of one that was told of at this moment."""
        now = self._clock.monotonic()
        wanted = [address for address in addresses if self._told(address) < now]
        if not wanted:
            return
        fresh = [frame for frame in self._frames.values() if frame.said is not None and now < frame.expires]
        fresh.sort(key=lambda frame: frame.received)
        said = [frame.said for frame in fresh if frame.said is not None]
        decoded = self._family.compose(said)
        summaries = summarise(fresh, now)
        for address in sorted(wanted):
            self._alarmed.discard(address)
            self._relieved.pop(address, None)
            self._tell_one(address, decoded, summaries.get(address), now)

    def _told(self, address: int) -> float:
        if address == BANK:
            return self._bank.told
        return self._packs[address].told if address in self._packs else float("-inf")

    def _tell_one(self, address: int, decoded: Decoded, summary: Summary | None, now: float) -> None:
        identity = decoded.identities.get(address)
        if address == BANK:
            bank = self._bank
            if decoded.bank is None or summary is None or summary.measured is None:
                self._silent(bank, now)
            elif bank.online or self._is_ready(now):
                state = decoded.bank
                if state.manufacturer is not None:
                    self._nameless = math.inf
                elif not bank.online:
                    self._nameless = now
                withheld = self._family.known_by_maker
                # a battery that has not told its name for as long as a name stands has none
                if withheld and state.manufacturer is None and now - self._nameless < TEXT:
                    unknown: dict[str, Any] = dict.fromkeys(withheld)
                    state = replace(state, **unknown)
                self._show(bank, state, identity, summary, now)
                self._first = None
            return
        if address not in self._packs:
            self._packs[address] = BroadcastUnit(address, limits=self._limits)
        pack = self._packs[address]
        if address not in decoded.packs or summary is None or summary.measured is None:
            self._silent(pack, now)
        else:
            self._show(pack, decoded.packs[address], identity, summary, now)

    def _show[StateT: (BankState, PackState)](
        self, unit: BroadcastUnit[StateT], state: StateT, identity: Identity | None, summary: Summary, now: float
    ) -> None:
        alarms = active_alarms(self._frames.values(), unit.address, now, torn=summary.torn)
        if not state.alarms and misses_alarms(self._frames.values(), unit.address, now):
            state = replace(state, alarms=None)
        damaged = self._unreadable if unit.address == BANK else 0
        unit.take(state, identity, summary, alarms, damaged=damaged)
        unit.alarms = alarms
        self._report(unit, now)

    def _silent(self, unit: BroadcastUnit[Any], now: float) -> None:
        """Nothing that a unit measures is fresh: said once."""
        if not unit.online:
            return
        unit.lose()
        self._drop_frames(unit.address)
        self._report(unit, now)

    def _drop_frames(self, address: int) -> None:
        self._frames = {
            frame_id: frame
            for frame_id, frame in self._frames.items()
            if (frame.alarms_of if frame.said is None else frame.said.pack or BANK) != address
        }

    def _report(self, unit: BroadcastUnit[Any], now: float) -> None:
        unit.told = now
        if unit.state is None:
            return
        if unit.address == BANK:
            self._listener.bank_polled(unit.report())
        else:
            self._listener.pack_polled(unit.report())

    def _end_round(self) -> None:
        """Say that a round is over."""
        self._rounds += 1
        units = [unit for unit in self._units() if unit.address not in self._skipped]
        periods = [unit.period for unit in units if unit.online and unit.period is not None]
        self._listener.cycle_finished(
            CycleReport(
                # values are as old as the battery lets them get
                seconds=max((self._interval, *periods)),
                answered=frozenset(unit.address for unit in units if unit.online),
                silent=frozenset(unit.address for unit in units if not unit.online),
            )
        )
