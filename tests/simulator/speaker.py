"""What a bus needs to know of a protocol: give it request bytes, take the answers. One module a protocol implements it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Disguise(StrEnum):
    """Ways for an answer to be wrong that only its protocol can arrange."""

    WRONG_ADDRESS = "wrong_address"  # whole and valid, but from another pack
    BAD_CHECK = "bad_check"  # fails its checksum, and only that
    TWIN = "twin"  # the answer of a second pack that is set to the same address


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, before anything happens to it on the way."""

    data: bytes
    delay: float | None = None  # s from the end of the request to the first byte; None: the turn-round of the bus
    address: int = 0  # of the pack that answers, for faults that concern one pack
    request: bytes = b""
    on_wire: Callable[[float], None] | None = None  # told the time when the answer really goes out


class Speaker(Protocol):
    """The batteries' side of a line, for one protocol."""

    def feed(self, data: bytes, now: float) -> list[Reply]:
        """Take bytes as the line delivered them, keep what is incomplete, return what the batteries answer."""

    def disguise(self, reply: Reply, disguise: Disguise) -> bytes:
        """This answer, wrong in the given way."""

    def reset(self) -> None:
        """Forget an unfinished request: the line was quiet, or was at another speed."""
