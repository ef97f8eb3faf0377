"""One round over the packs of a line, and one reading of any of them out of turn."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from ..clock import Clock
from ..model import BatteryState, CycleReport, PackState, PollReport
from ..protocols.base import Decoded
from .asking import Asker
from .base import ClientListener
from .presence import Newcomers
from .probes import Probes
from .roster import Roster
from .units import Unit

# Limits are read in turn, a sixth of the packs a cycle; with longer cycles a larger part, so that none gets old.
_ROTATION, _ROTATION_SECONDS = 6, 60.0


class Rounds:
    """Reads units and tells what came of it; the line is open, and somebody else's business."""

    def __init__(
        self,
        roster: Roster,
        asker: Asker,
        clock: Clock,
        listener: ClientListener,
        *,
        interval: float,
        newcomers: Newcomers,
        probes: Probes,
        noticed: Callable[[PollReport[PackState]], None],
        hurried: Callable[[], bool],
    ) -> None:
        """`interval`: s from one round to the next at least; `noticed` is told of packs before the listener is.

        While `hurried`, packs are only asked what nothing can be said without, and once.
        """
        self._roster = roster
        self._asker = asker
        self._clock = clock
        self._listener = listener
        self._rotation = min(_ROTATION, max(1, round(_ROTATION_SECONDS / interval)))
        self._newcomers = newcomers
        self._probes = probes
        self._noticed = noticed
        self._hurried = hurried
        self.count = 0
        self._silent = 0  # rounds in a row in which nobody answered
        self._silent_since = 0.0  # monotonic

    def renew(self) -> None:
        """The line was opened anew: nobody has been silent on it."""
        self._silent = 0

    def silence(self) -> tuple[int, float]:
        """For how many rounds and seconds nobody has answered."""
        return self._silent, self._clock.monotonic() - self._silent_since

    async def round(
        self, started: float, *, between: Callable[[], Awaitable[None]], skipped: Callable[[], Collection[int]]
    ) -> None:
        """Read everybody once; `between` is called before each pack.

        Raises:
            LinkError: the line went away.
            OtherMasterError: nothing may be sent any more.
        """
        self.count += 1
        self._asker.renew()
        answered: set[int] = set()
        silent: set[int] = set()
        absent = 0  # ... with those that are given time
        if (bank := self._roster.bank) is not None:
            await self.read_bank()
            (answered if bank.online else silent).add(bank.address)
            absent += not bank.online
        done: set[int] = set()
        while True:
            await between()
            # packs come and go while we wait for the line
            if (address := next((a for a in self._roster.packs if a not in done), None)) is None:
                break
            done.add(address)
            if address in skipped():
                continue
            pack, hurried = self._roster.packs[address], self._hurried()
            asked = pack.counters.asked
            if await self.read_pack(pack, brief=hurried, glance=hurried):
                answered.add(address)
                continue
            absent += 1
            if pack.counters.asked != asked:
                silent.add(address)
        if answered or not absent:
            self._silent = 0
        else:
            self._silent_since = self._silent_since if self._silent else started
            self._silent += 1
        seconds = self._clock.monotonic() - started
        self._listener.cycle_finished(
            CycleReport(seconds=seconds, answered=frozenset(answered), silent=frozenset(silent))
        )

    async def read_now(self, address: int | None, since: int) -> None:
        """Read this pack (None: the bank), because somebody asked for it when so many requests had been sent."""
        self._asker.renew(since=since)
        if address is None:
            if (bank := self._roster.bank) is not None:
                bank.hurry()
                await self.read_bank()
        elif (pack := self._roster.packs.get(address)) is not None:
            pack.hurry()
            await self.read_pack(pack)

    async def read_pack(self, pack: Unit[PackState], *, brief: bool = False, glance: bool = False) -> bool:
        """Poll one pack and tell the listener; whether it answered.

        `brief`: only what nothing can be said without. `glance`: see `Asker.read`.
        """
        known = _heard(pack)
        answered = await self._read(pack, _part_of(pack), self._shown_of(pack), brief=brief, glance=glance)
        if answered is None:
            return False
        if self._roster.packs.get(pack.address) is pack and (answered or _is_news(pack, known)):
            self._tell(pack)
        return answered

    async def read_bank(self) -> None:
        """The same of the bank."""
        bank = self._roster.bank
        assert bank is not None
        known = _heard(bank)
        if (answered := await self._read(bank, lambda decoded: decoded.bank, lambda state: state)) is None:
            return
        if answered or _is_news(bank, known):
            self._listener.bank_polled(bank.report())

    async def look_for_new(self, until: float) -> None:
        """Ask one address where nobody was so far, when the line has nothing else to do before `until`."""
        address = self._newcomers.next(self._roster.packs, self._clock.monotonic(), until)
        if address is None:
            return
        pack = self._roster.new_pack(address)
        if await self._read(pack, _part_of(pack), self._shown_of(pack)) and address not in self._roster.packs:
            self._roster.add(pack)
            self._tell(pack)

    def _shown_of(self, pack: Unit[PackState]) -> Callable[[PackState], PackState]:
        def shown(state: PackState) -> PackState:
            if pack.identity is not None and pack.identity.serial is not None:
                self._probes.belong(pack.address, pack.identity.serial)
            return self._probes.shown(state) or state

        return shown

    def _tell(self, pack: Unit[PackState]) -> None:
        report = pack.report()
        self._noticed(report)
        self._listener.pack_polled(report)

    async def _read[StateT: BatteryState](
        self,
        unit: Unit[StateT],
        fragment: Callable[[Decoded], StateT | None],
        shown: Callable[[StateT], StateT],
        *,
        brief: bool = False,
        glance: bool = False,
    ) -> bool | None:
        """Read what is due; whether the unit answered, None when it was not asked."""
        turn = (self.count + unit.address) % self._rotation == 0
        if not (polls := unit.begin(self._clock.monotonic(), turn=turn)):
            return None
        if brief:
            polls = [poll for poll in polls if poll.essential]
        answered = await self._asker.read(unit, polls, fragment, turn=turn, shown=shown, glance=glance)
        now = self._clock.monotonic()
        others = [other.doubts for other in self._roster.units if other is not unit and other.doubts.known]
        if unit.doubts.arise(now, others_clean=bool(others) and all(doubts.clean() for doubts in others)):
            unit.share_address(now)
            return False
        return answered


def _part_of(pack: Unit[PackState]) -> Callable[[Decoded], PackState | None]:
    return lambda decoded: decoded.packs.get(pack.address)


def _heard(unit: Unit[Any]) -> tuple[bool, int]:
    """Whether a unit is there, and how often what came of its questions could not be read."""
    counters = unit.counters
    return unit.online, counters.asked - counters.answered - counters.silent


def _is_news(unit: Unit[Any], before: tuple[bool, int]) -> bool:
    """Whether a reading that brought no answer is told: not when a unit that is not there stays silent."""
    return unit.online or unit.doubts.conflict or before != _heard(unit)
