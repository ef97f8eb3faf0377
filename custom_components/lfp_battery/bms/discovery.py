"""Finding out what is at the other end of a line: listen first, then probe, then read what answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .clock import Clock
from .model import BankState, Identity, PackState
from .transports import ByteTransport


class Stage(StrEnum):
    """What a scan is doing."""

    LISTENING = "listening"
    PROBING = "probing"
    READING = "reading"


class Outcome(StrEnum):
    """How a scan ended."""

    FOUND = "found"
    UNREADABLE = "unreadable"  # answers, but to nothing that can be read
    NOTHING = "nothing"
    ECHO = "echo"  # only our own bytes came back
    NOISE = "noise"
    OTHER_PROTOCOL = "other_protocol"
    OTHER_MASTER = "other_master"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a scan is; `fraction` is 0 to 1 of the longest that it can take."""

    stage: Stage
    fraction: float
    protocol: str | None = None
    baudrate: int | None = None
    address: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPack:
    """One pack that answered."""

    address: int
    identity: Identity
    state: PackState


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReport:
    """What a scan heard."""

    outcome: Outcome
    protocol: str | None = None
    baudrate: int | None = None
    packs: tuple[FoundPack, ...] = ()
    bank: BankState | None = None  # what the bank says of itself, on protocols that have it
    bank_address: int | None = None
    bank_identity: Identity | None = None
    dialect: str | None = None  # OTHER_PROTOCOL: which, when recognised
    answers: int = 0  # intact answers to our questions
    damaged: int = 0  # frames that failed their check


async def scan(
    open_line: Callable[[int], ByteTransport],
    *,
    clock: Clock,
    protocols: Sequence[str] | None = None,
    speeds: Sequence[int] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> ScanReport:
    """Scan a line; `open_line` makes a closed transport for a speed. Leaves it closed.

    Raises:
        LinkError: the line cannot be opened, or went away.
    """
    raise NotImplementedError
