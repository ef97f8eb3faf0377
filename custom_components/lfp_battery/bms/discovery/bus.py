"""Finding out what broadcasts on a CAN bus, by listening only (can.md section 4)."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from ..bus_capture import BusCapture
from ..can_frame import CanFrame
from ..clock import Clock
from ..model import BankState, Identity
from ..plausibility import hold_back
from ..protocols.base import Decoded
from ..protocols.can import CAN
from ..protocols.can.base import BANK
from ..protocols.can.detection import Detector, Hint, Verdict
from ..transports import CanTransport
from .report import FoundPack, Outcome, Progress, ScanReport, Stage

# All in seconds. Without a valid frame for so long, the bit rate is another one (section 2) or nobody is there; where
# nothing but errors comes, so many of them are reason enough after a shorter while.
_SILENCE: Final = 15.0
_ONLY_ERRORS, _ERRORS = 5.0, 5
# Frames that are no family's, and frames of an inverter beside which no battery is heard: the slowest battery known
# sends its set every 10 s (section 4.2).
_UNTOLD, _NO_BATTERY = 30.0, 15.0
_STUCK: Final = 3.0  # one frame over and over
_WHOLE: Final = 60.0  # of everything
_KNOWN: Final = 3.0  # until a family is believed to be the one of the last time: most sets have come round by then
_IDENTITY: Final = 5.0  # what a name may take after the family is known; some say it once a minute
_TICK: Final = 0.5  # between two words to the owner


async def listen(
    open_bus: Callable[[int | None], CanTransport],
    *,
    clock: Clock,
    rates: Sequence[int | None] = (None,),
    known: str | None = None,
    on_progress: Callable[[Progress], None],
) -> ScanReport:
    """Say which family of frames a bus carries, and what it says by now. Nothing is transmitted.

    `open_bus` makes a closed transport for a bit rate; of several `rates`, which are tried in turn, it must keep the
    adapter silent: at a wrong rate any other one destroys the frames of others. `known`: the family that was there the
    last time, which is believed sooner. Takes up to 60 s.

    Raises:
        LinkError: the bus cannot be opened, or went away.
        ValueError: several rates, and the adapter may acknowledge; nothing was opened.
    """
    return await _Listening(clock, known, on_progress).run(open_bus, rates)


class _Listening:
    """One attempt: what was heard at the rate being tried, and what the others came to."""

    def __init__(self, clock: Clock, known: str | None, on_progress: Callable[[Progress], None]) -> None:
        self._clock = clock
        self._known = known if known in CAN else None
        self._on_progress = on_progress
        self._capture = BusCapture(clock)
        self._began = clock.monotonic()
        self._fraction = 0.0
        self._frames = self._errors = 0

    async def run(self, open_bus: Callable[[int | None], CanTransport], rates: Sequence[int | None]) -> ScanReport:
        """One rate after the other."""
        for place, rate in enumerate(rates):
            bus = open_bus(rate)
            if len(rates) > 1 and not bus.silent:
                raise ValueError(f"{bus.name} may acknowledge: a bit rate that is wrong would destroy what others send")
            later = (len(rates) - place - 1) * _SILENCE
            try:
                await bus.open()
                ear = _Ear(self._clock.monotonic(), self._began + _WHOLE, self._known)
                await self._hear(bus, ear, later)
            finally:
                await bus.close()
            if ear.frames:
                return self._report(ear, bus.bitrate)
        outcome = Outcome.WRONG_RATE if self._errors else Outcome.NOTHING
        return ScanReport(outcome=outcome, baudrate=rates[0] if len(rates) == 1 else None, damaged=self._errors)

    async def _hear(self, bus: CanTransport, ear: _Ear, later: float) -> None:
        """Listen until there is an answer; `later`: seconds that the other rates may take."""
        before, errors, told = self._errors, bus.errors, float("-inf")
        while True:
            now = self._clock.monotonic()
            end = ear.end(now, bus.errors - errors)
            if now - told >= _TICK or ear.news:
                told, ear.news = now, False
                self._tell(now, end + (0.0 if ear.frames else later), ear.verdict.family, bus.bitrate)
            if now >= end:
                return
            frames = await bus.receive(min(_TICK, end - now))
            self._errors = before + bus.errors - errors
            self._frames += len(frames)
            for frame in frames:
                self._capture.heard(frame)
            ear.hear(frames, self._clock.monotonic())

    def _tell(self, now: float, end: float, family: str | None, baudrate: int | None) -> None:
        whole = max(end - self._began, now - self._began, _TICK)
        # how long it takes turns out on the way: the bar may wait, it must not go back
        self._fraction = max(self._fraction, min((now - self._began) / whole, 1.0))
        self._on_progress(Progress(stage=Stage.LISTENING, fraction=self._fraction, protocol=family, baudrate=baudrate))

    def _report(self, ear: _Ear, baudrate: int | None) -> ScanReport:
        outcome, found = ear.outcome()
        return ScanReport(
            outcome=outcome,
            baudrate=baudrate,
            answers=self._frames,
            damaged=self._errors,
            capture=self._capture.text(ear.verdict.family) or None,
            inverter=ear.verdict.inverter,
            **found,
        )


class _Ear:
    """What is heard at one bit rate."""

    def __init__(self, now: float, limit: float, known: str | None) -> None:
        """From `now` on, at the latest until `limit` (monotonic)."""
        self.frames = 0
        self.verdict = Verdict()
        self.news = False  # another family than before
        self._detector = Detector()
        # not assumed: a battery that was set to another of the sets that share their ids would never show
        self._known = known
        self._began = now
        self._limit = limit
        self._first: float | None = None  # frame, monotonic
        self._hinted = self._settled = now  # since when
        self._heard: dict[int, CanFrame] = {}  # the last of each id that a family can read, oldest first

    def hear(self, frames: Sequence[CanFrame], now: float) -> None:
        """Take in what came, if anything, and make up one's mind."""
        for frame in frames:
            self._detector.hear(frame, now)
            if frame.id in _READABLE:
                self._heard.pop(frame.id, None)
                self._heard[frame.id] = frame
        if frames and self._first is None:
            self._first = now
        self.frames += len(frames)
        if self._first is None:
            return
        before, self.verdict = self.verdict, self._detector.verdict(now)
        if self.verdict.family != before.family:
            self.news = True
        if self.verdict.hint is not before.hint:
            self._hinted = now
        if (self.verdict.family, self.verdict.settled) != (before.family, before.settled):
            self._settled = now

    def end(self, now: float, errors: int) -> float:
        """When there is an answer as things stand; not later than `now` where it is there already (monotonic)."""
        if self._first is None:
            return min(self._limit, self._began + (_ONLY_ERRORS if errors >= _ERRORS else _SILENCE))
        if self._stuck:
            return min(self._limit, self._hinted + _STUCK)
        if self.verdict.family is None:
            no_battery = self.verdict.inverter is not None or self.verdict.hint is not None
            return min(self._limit, self._first + (_NO_BATTERY if no_battery else _UNTOLD))
        if self.verdict.settled:
            believed = self._settled
        elif self.verdict.family == self._known:
            believed = self._settled + _KNOWN
        else:
            return self._limit
        if now < believed:
            return min(self._limit, believed)
        missing = self._missing()
        if missing is None:
            return now
        # what it measures is worth more waiting than its name
        return self._limit if missing and not self.verdict.settled else min(self._limit, believed + _IDENTITY)

    @property
    def _stuck(self) -> bool:
        return self.verdict.hint is Hint.NO_ACKNOWLEDGE

    def _decoded(self) -> Decoded:
        family = CAN[self.verdict.family or ""]
        return family.compose([said for frame in self._heard.values() if (said := family.read(frame)) is not None])

    def _missing(self) -> bool | None:
        """Whether a measurement is still to come, or only something of who it is (False); None: nothing is."""
        decoded = self._decoded()
        bank, identity = decoded.bank or BankState(), decoded.identities.get(BANK, Identity())
        family = CAN[self.verdict.family or ""]
        if bank.soc is None or bank.voltage is None or bank.current is None:
            return True
        if family.has_packs and len(decoded.packs) < (bank.modules or 1):
            return True
        named = bank.manufacturer is not None or identity.manufacturer is not None or identity.model is not None
        units = decoded.packs if family.has_packs else (BANK,)
        known = not family.tells_serials or all(
            decoded.identities.get(unit, Identity()).serial is not None for unit in units
        )
        return None if named and known else False

    def outcome(self) -> tuple[Outcome, dict[str, Any]]:
        """What it comes to, and further fields of the report."""
        verdict = self.verdict
        if self._stuck:
            return Outcome.UNACKNOWLEDGED, {}
        if verdict.family is not None:
            return self._found(verdict.family)
        if verdict.hint is not None:
            return Outcome.OTHER_PROTOCOL, {"dialect": verdict.hint.value}
        if verdict.inverter is not None:
            return Outcome.INVERTER_ONLY, {}
        return Outcome.UNREADABLE, {}

    def _found(self, name: str) -> tuple[Outcome, dict[str, Any]]:
        decoded = self._decoded()
        packs = tuple(
            FoundPack(address=address, identity=decoded.identities.get(address, Identity()), state=hold_back(state)[0])
            for address, state in decoded.packs.items()
        )
        if decoded.bank is None and not packs:
            return Outcome.UNREADABLE, {"protocol": name}
        return Outcome.FOUND, {
            "protocol": name,
            "packs": packs,
            "bank": hold_back(decoded.bank)[0] if decoded.bank is not None else None,
            "bank_address": BANK,
            "bank_identity": decoded.identities.get(BANK),
        }


# What any family reads; whatever else passes is not kept.
_READABLE: Final = frozenset(frame_id for family in CAN.values() for frame_id in family.ids)
