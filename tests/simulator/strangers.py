"""Batteries that can only be recognised: each answers the one question that shows what it is.

Written from pylon-rs485.md sections 10 and 11 and, for JBD, from "Software Board General Protocol" V4 (DD A5 register
length sum 77; the sum over status, length and data is taken from 0x10000).
"""

from collections.abc import Callable, Mapping
from typing import Final

from .pylon_wire import encode
from .speaker import Disguise, Reply


def _typed(frame: bytes, cid1: int) -> bytes:
    """The same frame of another type of device."""
    body = frame[1:5] + b"%02X" % cid1 + frame[7:-5]
    return b"~%b%04X\r" % (body, -sum(body) & 0xFFFF)


def jbd(register: int, data: bytes) -> bytes:
    """An answer of a JBD board."""
    body = bytes((0x00, len(data))) + data
    return bytes((0xDD, register)) + body + (-sum(body) & 0xFFFF).to_bytes(2, "big") + b"\x77"


_BASIC: Final = bytes.fromhex("14A0000027102710000030000000000000001664030203" + "0BA60BA7") + bytes(4)
_CELLS: Final = b"".join((3300 + cell).to_bytes(2, "big") for cell in range(16))

# key in the report -> baud, and what is answered to what
STRANGERS: Final[Mapping[str, tuple[int, Mapping[bytes, bytes]]]] = {
    "jbd": (9600, {bytes.fromhex("DDA50300FFFD77"): jbd(0x03, _BASIC)}),
    "eg4-v20": (
        9600,
        {b"~20014A420000FDA2\r": _typed(encode(1, 0x00, b"\x10\x01\x10" + _CELLS), 0x4A)},
    ),
    "seplos-v20": (
        19200,
        {encode(0, 0x51): encode(0, 0x00, b"1101-SP15 \x02\x07CANProtocol:Sofar   ")},
    ),
    "tdt-v25": (
        9600,
        {encode(1, 0x42, b"\x01", version=0x25): _typed(encode(1, 0x42, b"\x00\x01\x10" + _CELLS, version=0x25), 0x4F)},
    ),
    "pylon-rs232-v28": (1200, {encode(1, 0x4F): encode(1, 0x00, version=0x28)}),
}


class StrangerSpeaker:
    """Implements `Speaker`: answers what it knows, and passes over everything else."""

    def __init__(self, answers: Mapping[bytes, bytes], *, notice: Callable[[bytes], None] | None = None) -> None:
        """`notice` is told of what is passed over."""
        self._answers = answers
        self._notice = notice or (lambda _: None)

    def feed(self, data: bytes, now: float) -> list[Reply]:
        """See `Speaker`."""
        if (answer := self._answers.get(data)) is None:
            self._notice(data)
            return []
        return [Reply(answer, request=data)]

    def disguise(self, reply: Reply, disguise: Disguise) -> bytes:
        """See `Speaker`."""
        return reply.data

    def reset(self) -> None:
        """See `Speaker`."""
