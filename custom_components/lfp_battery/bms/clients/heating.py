"""Switches the heating of a pack: the only place that sends anything which changes a battery.

One frame for one act of a person, never repeated; what came of it is what the pack says of the setting afterwards.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
import logging
from typing import Any, Final

from ..clock import Clock
from ..errors import HeatingError, HeatingProblem, LinkError, LinkProblem
from ..model import Condition, PackState, PollReport, Severity
from ..protocols.writes import HEATING
from .asking import Asker
from .base import HeatingOutcome
from .errands import Errands
from .units import Unit

_LOGGER = logging.getLogger(__name__)

# The setting is read back about this often, until so long after the frame went out, in seconds.
_READ_EVERY, _READ_BACK = 1.5, 10.0
# While the link is away it is tried this often whether it is back, in seconds.
_LOOK_AGAIN = 0.5
# Between two frames to one pack, in seconds; and how many of them in a day.
_APART: Final = 10.0
_MOST, _DAY = 20, timedelta(hours=24)
# The whole word that the setting is a bit of, in `Decoded.info`: nothing else of it may change.
_WORD: Final = "r40"
# What heating is for; any other protection says that something is wrong.
_COLD: Final = frozenset(
    {Condition.CHARGE_UNDERTEMPERATURE, Condition.DISCHARGE_UNDERTEMPERATURE, Condition.UNDERTEMPERATURE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one answer says of the setting."""

    setting: bool | None
    word: int | None

    def disturbed(self, before: _Look) -> bool:
        """Whether anything beside the setting is not as it was."""
        if self.word is None or before.word is None or self.setting is None:
            return False
        return (self.word ^ before.word).bit_count() != int(self.setting is not before.setting)


@dataclass(slots=True, kw_only=True)
class _Act:
    """One act of a person, on its way."""

    unit: Unit[PackState]
    wish: bool
    before: _Look | None = None
    losses: int = 0  # of the pack, before the frame
    sent: float | None = None  # monotonic
    acknowledged: bool | None = None  # None: nothing intact came back; False: refused
    given_up: bool = False  # by whoever asked for it


@dataclass(slots=True)
class _Pack:
    """What is remembered of one pack."""

    sent: float = float("-inf")  # monotonic, of the last frame
    acts: list[datetime] = field(default_factory=list)  # UTC
    accepted: tuple[bool, int] | None = None  # the wish without effect, and losses of the pack before its frame
    withdrawn: HeatingProblem | None = None


class Heating:
    """Implements `HeatingControl`, for the packs of one client."""

    def __init__(
        self,
        protocol: str,
        clock: Clock,
        *,
        asker: Asker,
        errands: Errands,
        unit: Callable[[int], Unit[PackState] | None],
        read: Callable[[Unit[PackState]], Awaitable[bool]],
        nudge: Callable[[], None],
        acts: Mapping[int, Sequence[datetime]],
    ) -> None:
        """`protocol`: the name of one that has such frames. `read` is only awaited within an errand.

        `nudge` is called when the line is needed no longer; `acts`: frames sent by an earlier client, UTC.
        """
        self._frames = HEATING[protocol]
        self._clock = clock
        self._asker = asker
        self._errands = errands
        self._unit = unit
        self._read = read
        self._nudge = nudge
        self._packs = {address: _Pack(acts=list(sent)) for address, sent in acts.items()}
        self._turn = asyncio.Lock()

    @staticmethod
    def can_switch(protocol: str) -> bool:
        """Whether there are frames for this protocol."""
        return protocol in HEATING

    @property
    def busy(self) -> bool:
        """Whether an act is under way, for which the line is to be held."""
        return self._turn.locked()

    def acts(self, address: int) -> Sequence[datetime]:
        """See `HeatingControl`."""
        since = self._clock.utc() - _DAY
        return tuple(when for when in self._memory(address).acts if when > since)

    def noticed(self, report: PollReport[PackState]) -> None:
        """A pack was read: what it is set to, whoever did it, is what a wish has had as its effect."""
        pack = self._packs.get(report.address)
        if pack is None or pack.accepted is None or report.state is None or not report.online:
            return
        if report.state.heating_enabled is pack.accepted[0]:
            pack.accepted = None

    async def switch(self, address: int, *, enabled: bool) -> HeatingOutcome:
        """See `HeatingControl`."""
        if (unit := self._unit(address)) is None:
            raise ValueError(f"no pack at address {address}")
        act = _Act(unit=unit, wish=enabled)
        try:
            async with self._turn:
                return await self._do(act)
        except HeatingError as err:
            if err.withdraws:
                self._memory(address).withdrawn = err.problem
            raise
        finally:
            act.given_up = True
            self._nudge()

    async def _do(self, act: _Act) -> HeatingOutcome:
        try:
            already = await self._errands.put(lambda: self._begin(act))
        except LinkError:
            if act.sent is None:
                raise
            already = False
        if already:
            return HeatingOutcome.CONFIRMED
        outcome = await self._read_back(act)
        _LOGGER.debug("heating of %d to %s: %s", act.unit.address, act.wish, outcome)
        return outcome

    # --- within the task that owns the line --------------------------------------------------------------------------

    async def _begin(self, act: _Act) -> bool:
        """Read how things stand and send the frame; whether it was so already, and nothing was sent."""
        unit, memory = act.unit, self._memory(act.unit.address)
        if memory.withdrawn is not None:
            raise HeatingError(memory.withdrawn, "before; it is not tried again")
        if not unit.online:
            raise HeatingError(HeatingProblem.STALE, "it does not answer")
        if (before := await self._look(unit)) is None or unit.state is None:
            raise HeatingError(HeatingProblem.STALE, "it does not answer now")
        if before.setting is None:
            raise HeatingError(HeatingProblem.UNKNOWN)
        if before.setting is act.wish:
            return True
        self._check_alarms(unit.state)
        self._check_pace(memory)
        act.before, act.losses = before, unit.losses

        def sending() -> None:
            if act.given_up:
                raise HeatingError(HeatingProblem.UNANSWERED, "nobody waits for it any more")
            act.sent = memory.sent = self._clock.monotonic()
            memory.acts = [*self.acts(unit.address), self._clock.utc()]

        exchange = await self._asker.once(self._frames.frame(act.wish), sending)
        if exchange.refused is not None:
            act.acknowledged = False
        elif exchange.decoded is not None:
            act.acknowledged = True
        return False

    async def _look(self, unit: Unit[PackState]) -> _Look | None:
        """Read the pack's status, and tell everybody; None: no answer."""
        unit.noticed()
        if not await self._read(unit) or (said := unit.essence) is None:
            return None
        state, word = said.packs.get(unit.address), said.info.get(_WORD)
        return _Look(
            setting=state.heating_enabled if state is not None else None, word=word if isinstance(word, int) else None
        )

    @staticmethod
    def _check_alarms(state: PackState) -> None:
        if state.alarms is None:
            raise HeatingError(HeatingProblem.STALE, "its alarms are not known")
        for alarm in state.alarms:
            if alarm.severity is not Severity.WARNING and alarm.condition not in _COLD:
                raise HeatingError(HeatingProblem.PROTECTION, alarm.condition)

    def _check_pace(self, memory: _Pack) -> None:
        now, since = self._clock.utc(), self._clock.utc() - _DAY
        sent = [when for when in memory.acts if when > since]
        # by the day's clock only what was sent before a restart: that clock may be set back
        soon = any(timedelta(0) <= now - when < timedelta(seconds=_APART) for when in sent)
        if soon or self._clock.monotonic() - memory.sent < _APART:
            raise HeatingError(HeatingProblem.TOO_SOON)
        if len(sent) >= _MOST:
            raise HeatingError(HeatingProblem.TOO_OFTEN)

    # --- what came of it ---------------------------------------------------------------------------------------------

    async def _read_back(self, act: _Act) -> HeatingOutcome:
        """Read until the setting is as wished or the time is over.

        Raises:
            HeatingError: it is not as wished, and will not be.
        """
        assert act.sent is not None
        assert act.before is not None
        end = act.sent + _READ_BACK
        while (now := self._clock.monotonic()) < end:
            pause = _READ_EVERY
            try:
                look = await self._look_until(act.unit, end)
            except LinkError as err:
                if act.acknowledged is False or err.problem is LinkProblem.PAUSED or self._errands.closed.is_set():
                    break
                look, pause = None, _LOOK_AGAIN
            if act.acknowledged is False:
                break  # it was read so that what is shown is what is
            if look is not None and look.disturbed(act.before):
                raise HeatingError(HeatingProblem.CONTRADICTED, f"{act.before.word} became {look.word}")
            if look is not None and look.setting is act.wish:
                return HeatingOutcome.CONFIRMED
            await self._sleep(min(now + pause, end) - self._clock.monotonic())
        return self._without_effect(act)

    async def _look_until(self, unit: Unit[PackState], end: float) -> _Look | None:
        """Read the setting once more; None: no answer, or none before the time is over."""
        look = self._errands.put(lambda: self._look(unit))
        try:
            await self._within(end - self._clock.monotonic(), look)
            return look.result() if look.done() else None
        finally:
            look.cancel()

    async def _sleep(self, seconds: float) -> None:
        """Wait so long, or until nothing can be read any more."""
        closed = asyncio.ensure_future(self._errands.closed.wait())
        try:
            await self._within(max(seconds, 0.0), closed)
        finally:
            closed.cancel()
            await asyncio.gather(closed, return_exceptions=True)

    async def _within(self, seconds: float, awaited: asyncio.Future[Any]) -> None:
        """Wait until this is done, for so long at most; it is left alone when it is not."""
        over = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((awaited, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            await asyncio.gather(over, return_exceptions=True)

    def _without_effect(self, act: _Act) -> HeatingOutcome:
        memory = self._memory(act.unit.address)
        if act.acknowledged is False:
            raise HeatingError(HeatingProblem.REFUSED)
        if act.acknowledged is None:
            raise HeatingError(HeatingProblem.UNANSWERED)
        if memory.accepted is not None and memory.accepted[0] is act.wish:
            if memory.accepted[1] != act.losses:
                raise HeatingError(HeatingProblem.CONTRADICTED, "nothing came of it, although the pack was away since")
        else:
            memory.accepted = act.wish, act.losses
        return HeatingOutcome.ACCEPTED

    def _memory(self, address: int) -> _Pack:
        return self._packs.setdefault(address, _Pack())
