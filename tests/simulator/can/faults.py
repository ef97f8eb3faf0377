"""What can happen to frames on the way, on demand."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
import random

from custom_components.lfp_battery.bms.can_frame import CanFrame


class Kind(StrEnum):
    """One kind of trouble each."""

    LOST = "lost"  # not received
    TRUNCATED = "truncated"  # fewer bytes than the set has
    PADDED = "padded"  # always eight bytes, what was not sent is AA
    WRONG_DLC = "wrong_dlc"  # any number of bytes: cut off, or filled up with FF
    RANDOM = "random"  # the right number of bytes, any content
    FLIPPED = "flipped"  # one bit is wrong
    ERROR = "error"  # an error frame in its place: counted, never received
    TWICE = "twice"  # received twice


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of trouble, and when it strikes."""

    kind: Kind
    ids: frozenset[int] | None = None  # None: every frame
    probability: float = 1.0  # of striking a frame
    count: int | None = None  # times that it strikes; None: until cleared


class Faults:
    """The trouble in force on one bus."""

    def __init__(self, seed: int = 1) -> None:
        """Begin with none; the same seed strikes the same frames in the same way."""
        self.random = random.Random(seed)
        self.struck: Counter[Kind] = Counter()
        self._left: dict[Fault, int | None] = {}

    def add(self, fault: Fault) -> Fault:
        """Put a fault in force (again)."""
        self._left[fault] = fault.count
        return fault

    def clear(self, *faults: Fault) -> None:
        """Put these faults out of force, or all."""
        for fault in faults or tuple(self._left):
            self._left.pop(fault, None)

    def pick(self, frame: CanFrame) -> Kind | None:
        """What happens to this frame; None: nothing."""
        for fault, left in self._left.items():
            if left == 0 or (fault.ids is not None and frame.id not in fault.ids):
                continue
            if fault.probability < 1 and self.random.random() >= fault.probability:
                continue
            if left is not None:
                self._left[fault] = left - 1
            self.struck[fault.kind] += 1
            return fault.kind
        return None

    def spoil(self, kind: Kind, frame: CanFrame) -> list[CanFrame]:
        """What is received instead of it."""
        data, rng = frame.data, self.random
        match kind:
            case Kind.LOST | Kind.ERROR:
                return []
            case Kind.TWICE:
                return [frame, frame]
            case Kind.TRUNCATED:
                data = data[: rng.randrange(len(data))] if data else data
            case Kind.PADDED:
                data = data.ljust(8, b"\xaa")
            case Kind.WRONG_DLC:
                sizes = [size for size in range(9) if size != len(data)]
                data = data.ljust(8, b"\xff")[: rng.choice(sizes)]
            case Kind.RANDOM:
                data = rng.randbytes(len(data))
            case Kind.FLIPPED if data:
                place = rng.randrange(len(data))
                data = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        return [CanFrame(id=frame.id, data=data)]
