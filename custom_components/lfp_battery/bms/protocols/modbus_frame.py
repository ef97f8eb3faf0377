"""What all protocols on Modbus RTU share: reads, windows of registers, and frames told by their CRC.

Source: modbus-rtu.md sections 2 and 14. PDUs, CRC and framing of our own exchanges are pymodbus's; it lets answers of
a wrong length pass, so length, unit and function are checked here. No write function can be framed.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Final, override

from pymodbus.framer import FramerRTU
from pymodbus.pdu.decoders import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest

from ..errors import FrameError, Refusal, RefusedError
from .base import Decoded, Integrity, PolledProtocol, Splitter, Timing

READ_HOLDING: Final = 0x03
_EXCEPTION: Final = 0x80

_REFUSALS: Final = {
    1: ("it does not know this function", Refusal.UNSUPPORTED),
    2: ("it does not have these registers", Refusal.UNSUPPORTED),
    3: ("it does not accept so many registers", Refusal.UNSUPPORTED),
    4: ("it could not do it", Refusal.OTHER),
}

_framer: Final = FramerRTU(DecodePDU(is_server=True))


def read_request(unit: int, start: int, count: int) -> bytes:
    """The question for `count` holding registers from `start` on (function 03), ready for the line."""
    return bytes(_framer.buildFrame(ReadHoldingRegistersRequest(address=start, count=count, dev_id=unit)))


def reading(start: int, count: int) -> Callable[[int], bytes]:
    """As `Poll.request`: this block of the unit at an address."""
    return lambda unit: read_request(unit, start, count)


def crc_is_right(frame: bytes) -> bool:
    """Whether the last two bytes are the CRC-16/MODBUS of the others, low byte first."""
    return len(frame) > 2 and int.from_bytes(frame[-2:], "big") == FramerRTU.compute_CRC(frame[:-2])


class Registers:
    """A window of 16-bit registers by address; what lies outside of it was not received."""

    __slots__ = ("_words",)

    def __init__(self, words: Mapping[int, int]) -> None:
        """`words`: register -> 0..65535."""
        self._words = words

    def has(self, start: int, count: int = 1) -> bool:
        """Whether all of these were received."""
        return all(register in self._words for register in range(start, start + count))

    def u16(self, register: int) -> int | None:
        """Unsigned; None: not received."""
        return self._words.get(register)

    def s16(self, register: int) -> int | None:
        """Signed; None: not received."""
        word = self._words.get(register)
        return None if word is None else word - 0x10000 if word & 0x8000 else word

    def u32(self, register: int) -> int | None:
        """Two registers, the high word first; None: not both received."""
        high, low = self._words.get(register), self._words.get(register + 1)
        return None if high is None or low is None else high << 16 | low

    def block(self, start: int, count: int) -> tuple[int, ...] | None:
        """Unsigned words; None: not all received."""
        return tuple(self._words[r] for r in range(start, start + count)) if self.has(start, count) else None

    def text(self, start: int, count: int) -> str | None:
        """ASCII, two characters a register, high byte first; None: not received, or not text, or empty."""
        if (words := self.block(start, count)) is None:
            return None
        raw = b"".join(word.to_bytes(2, "big") for word in words).rstrip(b"\x00 \xff")
        return raw.decode("ascii").strip() if raw and all(0x20 <= byte < 0x7F for byte in raw) else None


class ModbusProtocol(PolledProtocol):
    """A register map read with function 03; subclasses say what the registers mean."""

    integrity = Integrity.CRC
    speeds: ClassVar[tuple[int, ...]] = (9600,)
    # Section 2: replies within 200 ms, at least 150 ms from one request to the next, 1 s of patience.
    timing = Timing(first_byte=1.0, gap=0.1, answer=2.0, pause=0.15)

    @abstractmethod
    def read(self, unit: int, registers: Registers) -> Decoded:
        """What a window of registers says; fields outside of it stay None. Raises FrameError for nonsense only."""

    @override
    def splitter(self, request: bytes | None = None) -> Splitter:
        """See `Codec`."""
        raise NotImplementedError

    @override
    def is_answer(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`; a shorter or longer answer than asked for is none."""
        raise NotImplementedError

    @override
    def is_request(self, frame: bytes) -> bool:
        """See `Codec`."""
        raise NotImplementedError

    @override
    def decode(self, request: bytes | None, frame: bytes) -> Decoded:
        """See `Codec`. An answer does not say which registers it holds: without its question it says nothing."""
        raise NotImplementedError


def refused(code: int) -> RefusedError:
    """A Modbus exception."""
    reason, refusal = _REFUSALS.get(code, ("it refused", Refusal.OTHER))
    return RefusedError(f"{reason} (exception {code})", code=code, refusal=refusal)


__all__ = ["FrameError", "ModbusProtocol", "Registers", "crc_is_right", "read_request", "reading", "refused"]
