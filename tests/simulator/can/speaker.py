"""A battery that broadcasts: which frames, when, and a ledger of what was really sent."""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
import heapq
import math
from typing import Final, NamedTuple, Protocol

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.model import Alarm
from tests.simulator.bank import SimBank

from .view import View
from .wire import Body

_KEPT: Final = 64  # frames remembered per id
_BANK: Final = 0  # the key of the bank's identity


class Utterance(NamedTuple):
    """A frame that a node sends."""

    at: float  # Clock.monotonic()
    frame: CanFrame
    carried: Callable[[float], None] | None = None  # told when the bus has carried it unharmed


class Node(Protocol):
    """Something that sends on a bus."""

    hears: Collection[int]  # ids of others that matter to it

    def start(self, now: float) -> None:
        """It is switched on."""

    def next(self) -> float:
        """When it sends next; infinity: not until something is heard."""

    def take(self) -> Utterance | None:
        """What it sends then; None: nothing after all."""

    def hear(self, frame: CanFrame, at: float) -> None:
        """Somebody else sent this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """One frame of a set."""

    id: int
    encode: Callable[[View], Body | None]  # None: nothing of the kind now
    period: float = 1.0  # s
    offset: float = 0.0  # s after the set begins
    text: bool = False  # names and versions, no measurement


class Note(NamedTuple):
    """One frame as it went out."""

    time: float
    body: Body


class CanLedger:
    """What was sent: values by the model's field names, of the bank (None) and of packs (from 1)."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.sent: Counter[int] = Counter()  # frames by id
        self.notes: dict[int, deque[Note]] = {}  # the latest by id, oldest first
        self._alarms: dict[int | None, deque[tuple[float, frozenset[Alarm]]]] = {}

    def note(self, frame_id: int, body: Body, now: float) -> None:
        """A frame went out."""
        self.sent[frame_id] += 1
        notes = self.notes.get(frame_id)
        if notes is None:
            notes = self.notes[frame_id] = deque(maxlen=_KEPT)
        notes.append(Note(now, body))
        if "alarms" in body.values:
            self._alarms.setdefault(body.pack, deque(maxlen=_KEPT)).append((now, self._united(body.pack)))

    def _newest(self, since: float) -> list[Note]:
        return sorted((notes[-1] for notes in self.notes.values() if notes[-1].time >= since), key=lambda n: n.time)

    def _united(self, pack: int | None, since: float = -math.inf) -> frozenset[Alarm]:
        united: frozenset[Alarm] = frozenset()
        for note in self._newest(since):
            if note.body.pack == pack and isinstance(alarms := note.body.values.get("alarms"), frozenset):
                united |= alarms
        return united

    def latest(self, pack: int | None, *, since: float = -math.inf) -> dict[str, object]:
        """What the newest frame of each id says of this pack (None: the bank); `since`: of those sent from then on."""
        merged: dict[str, object] = {}
        for note in self._newest(since):
            if note.body.pack == pack:
                merged.update(note.body.values)
        if "alarms" in merged:
            merged["alarms"] = self._united(pack, since)
        return merged

    def identity(self, pack: int | None = None) -> dict[str, object]:
        """What was said of who a pack (None: the bank) is."""
        merged: dict[str, object] = {}
        for note in self._newest(-math.inf):
            if note.body.pack == pack:
                merged.update(note.body.identity)
        # a serial number in two halves is one only when both have gone out
        serial = [str(part) for name in ("serial_1", "serial_2") if (part := merged.pop(name, None)) is not None]
        if serial:
            merged["serial"] = "".join(serial)
        return merged

    @property
    def packs(self) -> set[int]:
        """The packs that something was said of."""
        return {pack for notes in self.notes.values() if (pack := notes[-1].body.pack) is not None}

    def was_sent(self, pack: int | None, name: str, value: object, *, since: float = -math.inf) -> bool:
        """Whether a field went out with this value at or after `since`, among the latest frames."""
        if name == "alarms":
            return any(when >= since and alarms == value for when, alarms in self._alarms.get(pack, ()))
        return any(
            note.time >= since
            and note.body.pack == pack
            and name in note.body.values
            and note.body.values[name] == value
            for notes in self.notes.values()
            for note in notes
        )


class CanSpeaker:
    """Sends the set of one family; implements `Node`."""

    def __init__(
        self,
        family: str,
        broadcasts: Iterable[Broadcast],
        bank: SimBank,
        *,
        hears: Collection[int] = (),
        answers: bool = False,
        patience: float = 2.0,
    ) -> None:
        """Speak for `bank`.

        `family`: as detection names it. `hears`: ids of an inverter; one heard in the last `patience` s counts.
        `answers`: nothing is sent without it.
        """
        self.family = family
        self.broadcasts = tuple(broadcasts)
        self.bank = bank
        self.ledger = CanLedger()
        self.muted: set[int] = set()  # ids that are not sent
        self.only_text = False  # names go on, measurements do not: what a hung BMS does
        self.hears: Collection[int] = frozenset(hears)
        self.answers = answers
        self.patience = patience
        self._heard = -math.inf
        self._queue: list[tuple[float, int]] = []
        self._view: View | None = None
        self._viewed = -math.inf

    @property
    def ids(self) -> frozenset[int]:
        """Of the set."""
        return frozenset(broadcast.id for broadcast in self.broadcasts)

    def start(self, now: float) -> None:
        """See `Node`."""
        self._queue = [(now + broadcast.offset, index) for index, broadcast in enumerate(self.broadcasts)]
        heapq.heapify(self._queue)

    def next(self) -> float:
        """See `Node`."""
        return self._queue[0][0] if self._queue else math.inf

    def take(self) -> Utterance | None:
        """See `Node`."""
        when, index = self._queue[0]
        broadcast = self.broadcasts[index]
        heapq.heapreplace(self._queue, (when + broadcast.period, index))
        if broadcast.id in self.muted or (self.only_text and not broadcast.text):
            return None
        if self.answers and not self.inverter_at(when):
            return None
        body = broadcast.encode(self._look(when))
        if body is None:
            return None

        def carried(now: float) -> None:
            self.ledger.note(broadcast.id, body, now)

        return Utterance(when, CanFrame(id=broadcast.id, data=bytes(body.data)), carried)

    def hear(self, frame: CanFrame, at: float) -> None:
        """See `Node`."""
        self._heard = at

    def inverter_at(self, when: float) -> bool:
        """Whether the battery believes that an inverter is there."""
        return when - self._heard <= self.patience

    def _look(self, when: float) -> View:
        """The bank as it is; frames that go out at once say the same moment."""
        if self._view is None or when != self._viewed:
            before = self.bank.elapsed
            self.bank.advance()
            inverter = self.inverter_at(when)
            if (
                self._view is None
                or when - self._viewed >= 0.5
                or self.bank.elapsed != before
                or inverter != self._view.inverter
            ):
                self._view = View(self.bank, inverter=inverter)
                self._viewed = when
        return self._view
