"""What all protocols on Modbus RTU share: reads, windows of registers, and frames told by their CRC.

Source: modbus-rtu.md sections 2 and 14. PDUs, CRC and framing of our own exchanges are pymodbus's; it lets answers of
a wrong length pass, so length, unit and function are checked here. No write function can be framed.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, override

from pymodbus.framer import FramerRTU
from pymodbus.pdu.decoders import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadHoldingRegistersResponse

from ...errors import FrameError, Refusal, RefusedError
from ..base import Decoded, Integrity, PolledProtocol, Splitter, Timing
from .splitter import EXCEPTION, ModbusSplitter, crc_is_right, is_question, standard_sizes

READ_HOLDING: Final = 0x03

_ALL_CLEAR: Final = (
    10  # registers that may all be 0 and say so, as words of alarms do; no map has more of them in a row
)

_REFUSALS: Final = {
    1: ("it does not know this function", Refusal.UNSUPPORTED),
    2: ("it does not have these registers", Refusal.UNSUPPORTED),
    3: ("it does not accept so many registers", Refusal.UNSUPPORTED),
    4: ("it could not do it", Refusal.OTHER),
}

NOT_MEASURED: Final = 0  # as a code: none that Modbus has

_framer: Final = FramerRTU(DecodePDU(is_server=True))


def read_request(unit: int, start: int, count: int) -> bytes:
    """The question for `count` holding registers from `start` on (function 03), ready for the line."""
    return bytes(_framer.buildFrame(ReadHoldingRegistersRequest(address=start, count=count, dev_id=unit)))


def reading(start: int, count: int) -> Callable[[int], bytes]:
    """As `Poll.request`: this block of the unit at an address."""
    return lambda unit: read_request(unit, start, count)


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
    # By what an overheard block is known (section 13): registers that it holds, and what they can hold (signed).
    # Each of them will do.
    signatures: ClassVar[tuple[Mapping[int, range], ...]] = ()
    area: ClassVar[range] = range(0x10000)  # registers that this map has; a block beyond them is another map's

    # Voltages: where a window has one as 0, the battery is asleep or starting, or is another, and the rest of the window
    # means nothing. A register by itself is judged as every value is.
    never_zero: ClassVar[frozenset[int]] = frozenset()

    @abstractmethod
    def read(self, unit: int, registers: Registers) -> Decoded:
        """What a window of registers says; fields outside of it stay None. Raises FrameError for nonsense only."""

    def reply_sizes(self, head: bytes) -> tuple[int, ...]:
        """Lengths that an answer can have whose first four bytes are these; overridden where they are not Modbus."""
        return standard_sizes(head)

    def words(self, count: int, frame: bytes) -> Sequence[int] | None:
        """The registers in an intact answer to a question for `count`; None: it does not hold so many."""
        if len(frame) != 5 + 2 * count or frame[2] != 2 * count:
            return None
        response = ReadHoldingRegistersResponse()
        response.decode(frame[2:-2])
        return response.registers if len(response.registers) == count else None

    @override
    def splitter(self, request: bytes | None = None) -> Splitter:
        """See `Codec`."""
        return ModbusSplitter(request, self.reply_sizes)

    @override
    def is_answer(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`; a shorter or longer answer than asked for is none."""
        if frame == request or not is_question(request) or not _belongs(request, frame) or not crc_is_right(frame):
            return False
        return frame[1] & EXCEPTION != 0 or self.words(_count(request), frame) is not None

    @override
    def is_request(self, frame: bytes) -> bool:
        """See `Codec`."""
        return is_question(frame) and crc_is_right(frame)

    @override
    def address_of(self, question: bytes) -> int | None:
        """See `Codec`."""
        return question[0] if is_question(question) else None

    @override
    def decode(self, request: bytes | None, frame: bytes) -> Decoded:
        """See `Codec`. An answer does not say which registers it holds: without its question it says nothing."""
        if len(frame) < 5 or not crc_is_right(frame):
            raise FrameError("the CRC is wrong")
        if request is not None and (not is_question(request) or not _belongs(request, frame)):
            raise FrameError("not an answer to what was asked, or not by whom")
        if frame[1] & EXCEPTION:
            raise refused(frame[2])
        if frame[1] != READ_HOLDING:
            raise FrameError(f"an answer to function {frame[1]}")
        if request is None:
            if is_question(frame) or len(frame) not in self.reply_sizes(frame[:4]):
                raise FrameError("not an answer")
            return Decoded()
        if (words := self.words(_count(request), frame)) is None:
            raise FrameError(f"{len(frame)} bytes in answer to a question for {_count(request)} registers")
        start = request[2] << 8 | request[3]
        registers = Registers(dict(enumerate(words, start)))
        if len(words) > 1 and any(registers.u16(register) == 0 for register in self.never_zero):
            # intact, and from whom it should be: neither damage nor a reason to ask in another way
            raise RefusedError("0 V: nothing of this was measured", code=NOT_MEASURED, refusal=Refusal.OTHER)
        if len(words) > _ALL_CLEAR and not any(words):
            return Decoded()  # registers that nobody fills in
        return self.read(frame[0], registers)

    @override
    def recognises(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`: the block holds what this map is known by, and that makes sense."""
        if not super().recognises(request, frame):
            return False
        start = request[2] << 8 | request[3]
        words = self.words(_count(request), frame)
        if words is None or start not in self.area or start + len(words) - 1 not in self.area:
            return False
        registers = Registers(dict(enumerate(words, start)))
        return any(
            all(
                (value := registers.s16(register)) is not None and value in likely for register, likely in known.items()
            )
            for known in self.signatures
        )


def _count(request: bytes) -> int:
    """How many registers a question is for."""
    return request[4] << 8 | request[5]


def _belongs(request: bytes, frame: bytes) -> bool:
    """Whether an answer has the form, unit and function for this question; both are those of a read of registers."""
    return (
        len(frame) >= 5
        and request[1] == READ_HOLDING
        and frame[0] == request[0]
        and (frame[1] == READ_HOLDING or (frame[1] == READ_HOLDING | EXCEPTION and len(frame) == 5))
    )


def refused(code: int) -> RefusedError:
    """A Modbus exception."""
    reason, refusal = _REFUSALS.get(code, ("it refused", Refusal.OTHER))
    return RefusedError(f"{reason} (exception {code})", code=code, refusal=refusal)


__all__ = [
    "NOT_MEASURED",
    "FrameError",
    "ModbusProtocol",
    "Registers",
    "crc_is_right",
    "read_request",
    "reading",
    "refused",
]
