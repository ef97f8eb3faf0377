"""What a scan says: while it is under way, and in the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..model import BankState, Identity, PackState
from ..protocols import PROTOCOLS


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
    OTHER_PROTOCOL = "other_protocol"  # a battery that is recognised and cannot be read; `dialect` says which
    OTHER_MASTER = "other_master"  # somebody else asks; `packs` and `bank` are what was overheard
    LINK_PORT = "link_port"  # the port between packs, which has a master of its own
    UNACKNOWLEDGED = "unacknowledged"  # CAN: one frame over and over, because no node acknowledges it
    INVERTER_ONLY = "inverter_only"  # CAN: an inverter, and no battery
    WRONG_RATE = "wrong_rate"  # CAN: only errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a scan is; `fraction` is 0 to 1 of the longest that it can take."""

    stage: Stage
    fraction: float
    protocol: str | None = None  # being tried, or overheard; may be one that is only recognised
    baudrate: int | None = None
    address: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPack:
    """One pack that answered."""

    address: int
    identity: Identity
    state: PackState
    info: Mapping[str, object] = field(default_factory=dict)  # settings, over Bluetooth


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReport:
    """What a scan heard."""

    outcome: Outcome
    protocol: str | None = None  # its name in `protocols.PROTOCOLS`
    baudrate: int | None = None  # bit/s on CAN; None there where somebody else sets it
    packs: tuple[FoundPack, ...] = ()
    bank: BankState | None = None  # what the bank says of itself, on protocols that have it
    bank_address: int | None = None
    bank_identity: Identity | None = None
    dialect: str | None = None  # a protocol that is only recognised: its name in `protocols.DECODERS`, or a stranger's
    answers: int = 0  # intact answers to our questions
    damaged: int = 0  # frames that failed their check
    capture: str | None = None  # what was sent and heard, redacted, for `replay`
    inverter: str | None = None  # CAN: whose frames were heard beside the battery's, as in `Verdict`

    @property
    def experimental(self) -> bool:
        """Whether this protocol was never seen on hardware."""
        return self.protocol is not None and PROTOCOLS[self.protocol].experimental
