"""What a protocol module offers: how to split, ask, recognise and decode. No I/O, no clock, no state between answers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import ClassVar, Protocol, override

from ..errors import FrameError, RefusedError
from ..gatt_profile import GattProfile
from ..model import BankState, Condition, Identity, PackState


class Integrity(Enum):
    """What protects an answer on the wire, and so how much a single surprising answer may be believed."""

    CRC = "crc"
    ADDITIVE = "additive"
    NONE = "none"


class Cadence(Enum):
    """How often a poll is due."""

    CYCLE = "cycle"  # every cycle
    ROTATION = "rotation"  # a sixth of the packs a cycle
    ONCE = "once"  # when a pack is first seen or comes back


class Scope(Enum):
    """Whether a poll asks one pack or speaks for all of them."""

    PACK = "pack"
    BANK = "bank"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How a bus of this protocol wants to be treated, in seconds; the source is named where it is filled in."""

    first_byte: float  # silence after a request that means "no answer"
    gap: float  # silence within an answer that means "cut off"; a fallback, content decides
    answer: float  # the longest that a whole answer may take
    pause: float  # between an answer and the next request


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """One question of the cycle."""

    name: str
    cadence: Cadence
    scope: Scope = Scope.PACK
    request: Callable[[int], bytes]  # address -> bytes on the wire
    essential: bool = False  # a pack that does not answer this one is silent
    master_only: bool = False  # answered by the first pack of a group, for all of them
    private: bool = False  # the answer holds a serial number: kept out of diagnostics
    shared: bool = False  # one answer speaks for every pack behind the line: asked once a round, whoever it is for
    # Asked in its place by a battery that refuses it, or answers others but never this one (smaller reads of the same);
    # the first of them is essential where this one is.
    fallback: tuple[Poll, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question of discovery, cheap and harmless to a stranger."""

    name: str
    address: int
    request: bytes
    wait: float | None = None  # s of silence that mean "nobody here"; None: the protocol's `first_byte`


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """How a battery is called that has fallen back to another speed: once a connection, when `rouse` got no answer."""

    baudrate: int
    request: bytes
    wait: float  # s at that speed before the line is used at its own again


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What one message says: fragments of states (everything else None), identities, and the rest as plain values."""

    packs: Mapping[int, PackState] = field(default_factory=dict)
    bank: BankState | None = None
    identities: Mapping[int, Identity] = field(default_factory=dict)
    info: Mapping[str, object] = field(default_factory=dict)  # settings, versions, words nobody can name


class Splitter(Protocol):
    """Cuts a stream into frames by their content; holds the bytes of one exchange and nothing else."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes as they came; return the frames that are now complete, damaged ones included."""

    @property
    def pending(self) -> int | None:
        """Bytes that the frame under way still lacks; None when no frame has begun, 1 when its length is not known yet."""

    @property
    def noise(self) -> int:
        """Bytes seen so far that belong to no frame."""


class Codec(ABC):
    """What is needed to read a protocol without ever speaking it."""

    name: ClassVar[str]

    @abstractmethod
    def splitter(self, request: bytes | None = None) -> Splitter:
        """A new splitter, for the answer to `request` or for overheard traffic."""

    @abstractmethod
    def is_answer(self, request: bytes, frame: bytes) -> bool:
        """Whether a frame can be the answer to this request; never raises. A damaged frame is not."""

    @abstractmethod
    def is_request(self, frame: bytes) -> bool:
        """Whether a frame is a master's question, intact; never raises."""

    @abstractmethod
    def decode(self, request: bytes | None, frame: bytes) -> Decoded:
        """Decode one answer.

        Raises FrameError for anything malformed and RefusedError for an error code, and nothing else, whatever the
        bytes are.
        """

    def recognises(self, request: bytes, frame: bytes) -> bool:
        """Whether an overheard question and its answer can only be of this protocol; never raises.

        Protocols that share a frame (all that are Modbus) also look at what was asked and whether the values make
        sense.
        """
        if not self.is_answer(request, frame):
            return False
        try:
            self.decode(request, frame)
        except FrameError, RefusedError:
            return False
        return True

    def address_of(self, question: bytes) -> int | None:
        """Whom an intact question asks; None where nothing in it tells. Never raises."""
        return None

    def is_link_bus(self, frame: bytes) -> bool:
        """Whether an overheard question is one that only packs ask each other: this is the port between packs."""
        return False


class BatteryProtocol(ABC):
    """What a home needs to know of any protocol, asked or overheard, on whatever medium."""

    name: ClassVar[str]
    conditions: ClassVar[frozenset[Condition]]  # what alarms of this protocol can say
    address_groups: ClassVar[tuple[tuple[int, ...], ...]]  # each begins with its master; the usual one comes first
    serial_room: ClassVar[int | None] = None  # characters of a serial number that an answer has room for; None: all
    experimental: ClassVar[bool] = False  # never seen on hardware: an owner is told so

    @property
    @abstractmethod
    def speaks_for_bank(self) -> bool:
        """Whether all that is said is of the bank as a whole, and nothing of its packs."""

    @property
    @abstractmethod
    def tells_serials(self) -> bool:
        """Whether a battery can say its serial number."""

    def pack_number(self, address: int) -> str:
        """What an owner calls the pack at this address: its place in the first group, or group and place ("2-1")."""
        for number, group in enumerate(self.address_groups, 1):
            if address in group:
                place = group.index(address) + 1
                return str(place) if number == 1 else f"{number}-{place}"
        return str(address)


class PolledProtocol(Codec, BatteryProtocol):
    """A protocol in which one master asks and packs answer."""

    integrity: ClassVar[Integrity]
    speeds: ClassVar[tuple[int, ...]]  # baud, likeliest first
    timing: ClassVar[Timing]
    polls: ClassVar[tuple[Poll, ...]]
    probes: ClassVar[tuple[Probe, ...]]  # cheapest and most distinctive first
    # Sent in turn until one of them gets an answer, before the first question on a line and after an unanswered one.
    rouse: ClassVar[tuple[bytes, ...]] = ()
    profile: ClassVar[GattProfile | None] = None  # how it is reached over Bluetooth; None: on a serial line
    # A temperature sensor that is not there reads 0 degC, as one that is may: clients tell them apart over time.
    mute_probes: ClassVar[bool] = False
    wake: ClassVar[Wake | None] = None

    @property
    def alone(self) -> bool:
        """Whether the link is ours alone: nobody else can ask there, and our own bytes never come back."""
        return self.profile is not None

    @cached_property
    def questions(self) -> frozenset[bytes]:
        """Everything that is ever asked, at every address that there may be; what calls a battery is not among it."""
        polls = list(self.polls)
        for poll in polls:
            polls += poll.fallback
        addresses = [address for group in self.address_groups for address in group]
        return frozenset(
            (*(poll.request(address) for poll in polls for address in addresses), *(one.request for one in self.probes))
        )

    @property
    @override
    def speaks_for_bank(self) -> bool:
        """See `BatteryProtocol`."""
        return all(poll.scope is Scope.BANK for poll in self.polls)

    @property
    @override
    def tells_serials(self) -> bool:
        """See `BatteryProtocol`."""
        return any(poll.private for poll in self.polls)

    def configured(self, *, packs: int | None, capacity: float | None) -> PolledProtocol:
        """This protocol for a bank of so many packs of so many Ah each, where an answer cannot be read without."""
        return self

    def polls_of(self, scope: Scope, address: int) -> tuple[Poll, ...]:
        """The questions that make sense at this address."""
        is_master = any(group[0] == address for group in self.address_groups)
        return tuple(poll for poll in self.polls if poll.scope is scope and (is_master or not poll.master_only))
