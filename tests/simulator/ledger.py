"""What a speaker remembers of its answers, so that a test can hold what a client shows against what really went out."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from .speaker import Disguise, Reply

_KEPT: Final = 64  # answers remembered per address


@dataclass(frozen=True, slots=True)
class Sent:
    """One answer as it went out: values by the model's field names, rounded as the wire rounds them."""

    time: float  # Clock.monotonic() at the first byte
    command: int | str  # as the protocol names its questions
    values: Mapping[str, object]


class Ledger(ABC):
    """A speaker that keeps its answers, by pack address, and those that speak for the bank. Every speaker is one."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.forbidden: list[bytes] = []  # requests that would have changed something
        self.sent: dict[int, deque[Sent]] = {}
        self.sent_bank: deque[Sent] = deque(maxlen=_KEPT)

    @abstractmethod
    def feed(self, data: bytes, now: float) -> list[Reply]:
        """See `Speaker`."""

    @abstractmethod
    def disguise(self, reply: Reply, disguise: Disguise) -> bytes:
        """See `Speaker`."""

    @abstractmethod
    def reset(self) -> None:
        """See `Speaker`."""

    def noting(self, command: int | str, values: Mapping[int | None, Mapping[str, object]]) -> Callable[[float], None]:
        """For `Reply.on_wire`: keep these fields, by pack address (None: the bank), when the answer really goes out."""

        def on_wire(now: float) -> None:
            for whose, fields in values.items():
                history = self.sent_bank if whose is None else self.sent.setdefault(whose, deque(maxlen=_KEPT))
                history.append(Sent(now, command, fields))

        return on_wire

    def latest(self, address: int | None) -> dict[str, object]:
        """What was last sent of every field by this pack (None: of the bank)."""
        merged: dict[str, object] = {}
        for sent in self.sent_bank if address is None else self.sent.get(address, ()):
            merged.update(sent.values)
        return merged

    def was_sent(self, address: int | None, name: str, value: object, *, since: float = 0.0) -> bool:
        """Whether a field went out with exactly this value at or after `since`, among the recent answers."""
        history = self.sent_bank if address is None else self.sent.get(address, ())
        return any(s.time >= since and name in s.values and s.values[name] == value for s in history)
