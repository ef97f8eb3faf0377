"""What can go wrong on a line, on demand: declared here, applied to every answer in one place."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
import random
from typing import NamedTuple

from .speaker import Disguise, Reply, Speaker


class Kind(StrEnum):
    """One kind of trouble each. `size`, `delay` and `rate` of `Fault` mean what is said here."""

    SILENCE = "silence"  # no answer
    LATE = "late"  # answers `delay` s later than it should (1.5: after the client's patience)
    WRONG_ADDRESS = "wrong_address"  # a valid answer that carries another pack's address
    TWIN = "twin"  # two packs on one address answer at once and collide
    TWIN_AFTER = "twin_after"  # two packs on one address, the second answers `delay` s (0.01) after the first has ended
    BAD_CHECKSUM = "bad_checksum"
    ECHO = "echo"  # the adapter gives back what it sends; concerns requests, not packs
    NOISE_BEFORE = "noise_before"  # `size` random bytes (5) ahead of the answer
    NOISE_AFTER = "noise_after"
    CUT = "cut"  # the last `size` bytes (a third of the answer) never come
    NUL_SUFFIX = "nul_suffix"  # `size` zero bytes (1) after the answer
    SPLIT = "split"  # comes in `size` pieces (3), `delay` s (0.02) apart
    FLIP_FRAME = "flip_frame"  # one bit of the answer is wrong
    FLIP_BITS = "flip_bits"  # every bit is wrong with probability `rate` (1e-5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of trouble, and when it strikes."""

    kind: Kind
    addresses: frozenset[int] | None = None  # None: every pack
    containing: bytes = b""  # only answers to requests that hold these bytes
    count: int | None = None  # times that it strikes; None: until cleared
    probability: float = 1.0  # of striking an answer
    size: int | None = None
    delay: float | None = None
    rate: float = 1e-5


class Outgoing(NamedTuple):
    """Bytes that go on the line `delay` s after the request's end."""

    delay: float
    data: bytes


_DISGUISES = {Kind.WRONG_ADDRESS: Disguise.WRONG_ADDRESS, Kind.BAD_CHECKSUM: Disguise.BAD_CHECK}


class Faults:
    """The trouble in force on one bus."""

    def __init__(self, *faults: Fault, seed: int = 1) -> None:
        """Begin with `faults`; the same seed strikes the same answers in the same way."""
        self.random = random.Random(seed)
        self.struck: Counter[Kind] = Counter()
        self._left: dict[Fault, int | None] = {fault: fault.count for fault in faults}

    @property
    def active(self) -> tuple[Fault, ...]:
        """What is in force."""
        return tuple(self._left)

    def add(self, fault: Fault) -> Fault:
        """Put a fault in force (again)."""
        self._left[fault] = fault.count
        return fault

    def clear(self, *faults: Fault) -> None:
        """Put these faults out of force, or all."""
        for fault in faults or tuple(self._left):
            self._left.pop(fault, None)

    def echoes(self, request: bytes) -> bool:
        """Whether the adapter gives this request back."""
        if not self._left:
            return False
        return any(self._strikes(fault, None, request) for fault in tuple(self._left) if fault.kind is Kind.ECHO)

    def apply(self, reply: Reply, speaker: Speaker, now: float, delay: float, byte_time: float) -> Iterable[Outgoing]:
        """What becomes of an answer to a request that ended `now`; tells the reply if it goes out for what it is."""
        if not self._left:
            if reply.on_wire is not None:
                reply.on_wire(now + delay)
            return (Outgoing(delay, reply.data),)
        struck: dict[Kind, Fault] = {
            fault.kind: fault
            for fault in tuple(self._left)
            if fault.kind is not Kind.ECHO and self._strikes(fault, reply.address, reply.request)
        }
        if Kind.SILENCE in struck:
            return ()
        data, honest = reply.data, True
        extra: list[Outgoing] = []
        if (late := struck.get(Kind.LATE)) is not None:
            delay += 1.5 if late.delay is None else late.delay
        for kind, disguise in _DISGUISES.items():
            if kind in struck:
                data, honest = speaker.disguise(Reply(data, None, reply.address, reply.request), disguise), False
        if Kind.TWIN in struck:
            # the two never begin at the same instant
            extra.append(
                Outgoing(delay + self.random.uniform(0.2, 3.0) * byte_time, speaker.disguise(reply, Disguise.TWIN))
            )
            honest = False
        if (after := struck.get(Kind.TWIN_AFTER)) is not None:
            pause = 0.01 if after.delay is None else after.delay
            second = speaker.disguise(reply, Disguise.TWIN)
            extra.append(Outgoing(delay + len(reply.data) * byte_time + pause, second))
        data = self._damage(data, struck)
        if honest and reply.on_wire is not None:
            reply.on_wire(now + delay)
        if (split := struck.get(Kind.SPLIT)) is not None:
            extra.extend(_pieces(data, split, delay, byte_time))
            return extra
        return (Outgoing(delay, data), *extra)

    def _damage(self, data: bytes, struck: dict[Kind, Fault]) -> bytes:
        """What noise does to the bytes of an answer."""
        rng = self.random
        if Kind.FLIP_FRAME in struck:
            data = flip(data, (rng.randrange(len(data) * 8),))
        if (fault := struck.get(Kind.FLIP_BITS)) is not None:
            data = flip(data, [bit for bit in range(len(data) * 8) if rng.random() < fault.rate])
        if (fault := struck.get(Kind.CUT)) is not None:
            data = data[: -(fault.size or max(len(data) // 3, 1))]
        if (fault := struck.get(Kind.NUL_SUFFIX)) is not None:
            data += bytes(fault.size or 1)
        if (fault := struck.get(Kind.NOISE_BEFORE)) is not None:
            data = rng.randbytes(fault.size or 5) + data
        if (fault := struck.get(Kind.NOISE_AFTER)) is not None:
            data += rng.randbytes(fault.size or 5)
        return data

    def _strikes(self, fault: Fault, address: int | None, request: bytes) -> bool:
        if address is not None and fault.addresses is not None and address not in fault.addresses:
            return False
        if fault.containing not in request:
            return False
        if fault.probability < 1.0 and self.random.random() >= fault.probability:
            return False
        left = self._left[fault]
        if left is not None:
            if left <= 0:
                return False
            if left == 1:
                del self._left[fault]
            else:
                self._left[fault] = left - 1
        self.struck[fault.kind] += 1
        return True


def flip(data: bytes, bits: Iterable[int]) -> bytes:
    """The same bytes with these bits inverted, numbered from the first byte's lowest."""
    damaged = bytearray(data)
    for bit in bits:
        damaged[bit >> 3] ^= 1 << (bit & 7)
    return bytes(damaged)


def _pieces(data: bytes, fault: Fault, delay: float, byte_time: float) -> Iterable[Outgoing]:
    count = min(fault.size or 3, len(data))
    pause = 0.02 if fault.delay is None else fault.delay
    for number in range(count):
        begin, end = len(data) * number // count, len(data) * (number + 1) // count
        yield Outgoing(delay + begin * byte_time + number * pause, data[begin:end])
