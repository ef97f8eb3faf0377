"""Switches the heating of a pack: the only place that sends anything which changes a battery.

One frame for one act of a person, never repeated; what came of it is what the pack says of the setting afterwards.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
import logging
from typing import Any, Final

from ..clock import Clock
from ..errors import HeatingError, HeatingProblem, LinkError, LinkProblem
from ..model import Condition, Mode, PackState, PollReport, Severity
from ..protocols.writes import HEATING
from .asking import Asker
from .base import HeatingOutcome, Unsettled
from .errands import Errands
from .units import Unit

_LOGGER = logging.getLogger(__name__)

# The setting is read back about this often, and no more than so long after the frame went out, in seconds.
_READ_EVERY, _READ_BACK = 1.5, 10.0
# While the link is away it is tried this often whether it is back, in seconds.
_LOOK_AGAIN = 0.5
# Between two frames to one pack, in seconds; and how many of them in a day.
_APART: Final = 10.0
_MOST, _DAY = 20, timedelta(hours=24)
# The whole word that the setting is a bit of, in `Decoded.info`: nothing else of it may change.
_WORD: Final = "r40"
# Bits that nobody can name, by what they stand for (`Decoded.info`): of these none may be set.
_UNNAMED, _GRAVE = "unnamed_bits", frozenset({"protections", "errors"})
# The pack protects itself, and says in its alarms against what.
_HALTED: Final = frozenset({Mode.PROTECTION, Mode.FAULT})
# Losses of a pack that an earlier client saw: whatever this one counts, the pack may have been away in between.
_UNSEEN_LOSSES: Final = -1
# What heating is for; any other protection says that something is wrong.
_COLD: Final = frozenset(
    {Condition.CHARGE_UNDERTEMPERATURE, Condition.DISCHARGE_UNDERTEMPERATURE, Condition.UNDERTEMPERATURE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one answer says of the setting."""

    setting: bool | None
    word: int | None
    unnamed: frozenset[str] = frozenset()  # where bits are set that have no name

    def disturbed(self, before: _Look) -> bool:
        """Whether anything beside the setting is not as it was."""
        if self.word is None or before.word is None or self.setting is None:
            return False
        return (self.word ^ before.word).bit_count() != int(self.setting is not before.setting)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending(Unsettled):
    """What is unsettled, as this client has seen it."""

    losses: int  # of the pack, by then

    def settled(self, setting: bool, losses: int) -> bool:
        """Whether nothing is to be expected any more: it has changed, or the pack was away and is as was wished.

        That it was away does not prove that it was off: a wish without effect stays pending.
        """
        return setting is not self.setting or (losses != self.losses and self.wishes == {setting})


@dataclass(slots=True, kw_only=True)
class _Act:
    """One act of a person, on its way."""

    unit: Unit[PackState]
    wish: bool
    before: _Look | None = None
    pending: _Pending | None = None  # of earlier acts
    losses: int = 0  # of the pack, before the frame
    sent: float | None = None  # monotonic
    acknowledged: bool | None = None  # None: nothing intact came back; False: refused
    seen: bool = False  # the setting was read since
    given_up: bool = False  # by whoever asked for it


@dataclass(slots=True)
class _Pack:
    """What is remembered of one pack."""

    sent: float = float("-inf")  # monotonic, of the last frame
    acts: list[datetime] = field(default_factory=list)  # UTC
    before: bool | None = None  # how the setting stood when that went out
    pending: _Pending | None = None
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
        read: Callable[[Unit[PackState], bool], Awaitable[bool]],
        nudge: Callable[[], None],
        acts: Mapping[int, Sequence[datetime]],
        unsettled: Mapping[int, Unsettled],
    ) -> None:
        """`protocol`: the name of one that has such frames.

        `read` is only awaited within an errand; told whether it is a glance, of which nothing is made if it fails.
        `nudge` is called when the line is needed no longer; `acts`: frames sent by an earlier client, UTC, and
        `unsettled`: what they may still bring about.
        """
        self._frames = HEATING[protocol]
        self._clock = clock
        self._asker = asker
        self._errands = errands
        self._unit = unit
        self._read = read
        self._nudge = nudge
        self._packs = {address: _Pack(acts=list(sent)) for address, sent in acts.items()}
        for address, left in unsettled.items():
            self._memory(address).pending = _Pending(
                wishes=left.wishes, acknowledged=left.acknowledged, setting=left.setting, losses=_UNSEEN_LOSSES
            )
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

    def unsettled(self, address: int) -> Unsettled | None:
        """See `HeatingControl`."""
        return self._memory(address).pending

    def before(self, address: int) -> bool | None:
        """See `HeatingControl`."""
        return self._memory(address).before

    def noticed(self, report: PollReport[PackState]) -> None:
        """A pack was read: what it is set to, whoever did it, is what a wish has had as its effect."""
        pack, unit = self._packs.get(report.address), self._unit(report.address)
        if pack is None or pack.pending is None or unit is None or report.state is None or not report.online:
            return
        setting = report.state.heating_enabled
        if setting is not None and pack.pending.settled(setting, unit.losses):
            pack.pending = None

    async def switch(self, address: int, *, enabled: bool) -> HeatingOutcome:
        """See `HeatingControl`."""
        if (unit := self._unit(address)) is None:
            raise HeatingError(HeatingProblem.STALE, "nobody is there any more")
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
            outcome = await self._errands.put(lambda: self._begin(act))
        except LinkError:
            if act.sent is None:
                raise
            outcome = None
        if outcome is None:
            outcome = await self._read_back(act)
        _LOGGER.debug("heating of %d to %s: %s", act.unit.address, act.wish, outcome)
        return outcome

    # --- within the task that owns the line --------------------------------------------------------------------------

    async def _begin(self, act: _Act) -> HeatingOutcome | None:
        """Read how things stand and send the frame; what is to be said where nothing has to be sent."""
        unit, memory = act.unit, self._memory(act.unit.address)
        if memory.withdrawn is not None:
            raise HeatingError(memory.withdrawn, "before; it is not tried again")
        if not unit.online and unit.received is not None:
            raise HeatingError(HeatingProblem.STALE, "it does not answer any more")
        if (before := await self._look(unit)) is None or unit.state is None:
            raise HeatingError(HeatingProblem.STALE, "it does not answer now")
        if before.setting is None:
            raise HeatingError(HeatingProblem.UNKNOWN)
        # what was acknowledged and not done yet is set: told the same again a pack refuses (ble.md section 4)
        pending = act.pending = memory.pending
        if pending is not None and pending.acknowledged is act.wish and pending.losses == unit.losses:
            return HeatingOutcome.ACCEPTED
        if before.setting is act.wish and (pending is None or pending.wishes == {act.wish}):
            return HeatingOutcome.UNCHANGED
        _check_alarms(unit.state, before.unnamed)
        self._check_pace(memory)
        act.before, act.losses = before, unit.losses

        def sending() -> None:
            if act.given_up:
                raise HeatingError(HeatingProblem.UNANSWERED, "nobody waits for it any more")
            act.sent = memory.sent = self._clock.monotonic()
            memory.acts = [*self.acts(unit.address), self._clock.utc()]
            memory.before = before.setting
            memory.pending = _Pending(
                wishes=(pending.wishes if pending is not None else frozenset()) | {act.wish},
                acknowledged=act.wish if pending is not None and pending.acknowledged is act.wish else None,
                setting=before.setting,
                losses=unit.losses,
            )

        exchange = await self._asker.once(self._frames.frame(act.wish), sending)
        if exchange.refused is not None:
            act.acknowledged = False
            memory.pending = pending and replace(pending, losses=unit.losses)
        elif exchange.decoded is not None and memory.pending is not None:
            act.acknowledged = True
            memory.pending = replace(memory.pending, wishes=frozenset({act.wish}), acknowledged=act.wish)
        return None

    async def _look(self, unit: Unit[PackState], *, glance: bool = False) -> _Look | None:
        """Read the pack's status, and tell everybody; None: no answer."""
        unit.noticed()
        if not await self._read(unit, glance) or (said := unit.essence) is None:
            return None
        state, word, unnamed = said.packs.get(unit.address), said.info.get(_WORD), said.info.get(_UNNAMED)
        return _Look(
            setting=state.heating_enabled if state is not None else None,
            word=word if isinstance(word, int) else None,
            unnamed=_GRAVE.intersection(unnamed) if isinstance(unnamed, Mapping) else frozenset(),
        )

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
        """Read until it is certain what came of it, or the time is over; a look that has begun by then is let end.

        Raises:
            HeatingError: it is not as wished, and will not be.
        """
        if act.sent is None:
            raise HeatingError(HeatingProblem.STALE, "nothing could be sent")
        end = act.sent + _READ_BACK
        while (now := self._clock.monotonic()) < end:
            pause = _READ_EVERY
            try:
                look = await self._look_until(act.unit, end)
            except LinkError as err:
                if err.problem is LinkProblem.PAUSED or self._errands.closed.is_set():
                    break
                look, pause = None, _LOOK_AGAIN
            if look is not None and look.setting is not None:
                act.seen = True
                if (outcome := _verdict(act, look)) is not None:
                    return outcome
                if act.acknowledged is False:
                    break  # there is nothing to wait for
            await self._sleep(min(now + pause, end) - self._clock.monotonic())
        return _without_effect(act)

    async def _look_until(self, unit: Unit[PackState], end: float) -> _Look | None:
        """Read the setting once more; None: no answer, or not asked before the time is over."""
        begun = False

        async def glance() -> _Look | None:
            nonlocal begun
            begun = True
            return await self._look(unit, glance=True)

        look = self._errands.put(glance)
        try:
            await self._within(end - self._clock.monotonic(), look)
            if begun:
                await asyncio.wait((look,))
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

    def _memory(self, address: int) -> _Pack:
        return self._packs.setdefault(address, _Pack())


def _check_alarms(state: PackState, unnamed: frozenset[str]) -> None:
    """Raise HeatingError unless all that the pack protects itself from is cold."""
    if state.alarms is None:
        raise HeatingError(HeatingProblem.STALE, "its alarms are not known")
    grave = {alarm.condition for alarm in state.alarms if alarm.severity is not Severity.WARNING}
    if others := sorted({*(grave - _COLD), *unnamed}):
        raise HeatingError(HeatingProblem.PROTECTION, ", ".join(others))
    if state.mode in _HALTED and not grave:
        raise HeatingError(HeatingProblem.PROTECTION, f"{state.mode}, and nothing says why")


def _verdict(act: _Act, look: _Look) -> HeatingOutcome | None:
    """What a reading since the frame says of it; None: nothing yet.

    Raises:
        HeatingError: the frame is not what it was taken for.
    """
    assert act.before is not None
    turned = look.setting is not act.before.setting
    if look.disturbed(act.before):
        raise HeatingError(HeatingProblem.CONTRADICTED, f"{act.before.word} became {look.word}")
    if look.setting is act.wish:
        # a pack that says no and does it has an acknowledgement that nobody understands, and is no worse for it
        away = act.acknowledged is True and act.unit.losses != act.losses
        return HeatingOutcome.CONFIRMED if turned or away else None
    if turned and act.acknowledged is not None:
        raise HeatingError(HeatingProblem.CONTRADICTED, "the setting has turned the wrong way")
    return None


def _without_effect(act: _Act) -> HeatingOutcome:
    """What is to be said of a frame that no reading has proved to do anything."""
    assert act.before is not None
    if act.acknowledged is False:
        earlier = act.pending is not None and act.pending.acknowledged is act.wish
        if not earlier and act.before.setting is not act.wish:
            raise HeatingError(HeatingProblem.REFUSED)
        # what is set already is refused (ble.md section 4): that says nothing against the frame
        if act.seen and earlier:
            return HeatingOutcome.ACCEPTED
    if not act.seen:
        raise HeatingError(HeatingProblem.UNSEEN)
    if act.acknowledged is not True:
        raise HeatingError(HeatingProblem.UNANSWERED, "refused, and so already" if act.acknowledged is False else "")
    return HeatingOutcome.ACCEPTED
