"""The batteries' side of Modbus RTU, written from modbus-rtu.md alone; what the registers hold is a map's business."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
import struct
from typing import Final, override

from .bank import SimBank
from .ledger import Ledger
from .speaker import Disguise, Reply

READ: Final = 0x03
WRITES: Final = frozenset({0x05, 0x06, 0x0F, 0x10, 0x16, 0x17})  # a client of ours must never be seen to send one
ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_COUNT: Final = 3

_QUESTION: Final = 8  # bytes
_LONGEST: Final = 256


def crc(data: bytes) -> bytes:
    """CRC-16/MODBUS as it goes out, low byte first (section 2)."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


def sealed(body: bytes) -> bytes:
    """A frame: the body and its CRC."""
    return body + crc(body)


def question(unit: int, start: int, count: int) -> bytes:
    """A read as a master asks it."""
    return sealed(struct.pack(">BBHH", unit, READ, start, count))


def word(value: float, scale: float = 1, *, signed: bool = False) -> int:
    """A value as a count of `1 / scale`, kept within what 16 bits can hold, as an unsigned word."""
    low, high = (-0x8000, 0x7FFF) if signed else (0, 0xFFFF)
    return min(max(round(value * scale), low), high) & 0xFFFF


def signed(raw: int) -> int:
    """A word read as two's complement."""
    return raw - 0x10000 if raw & 0x8000 else raw


def ascii_words(text: str, count: int) -> list[int]:
    """Text as `count` registers, high byte first, filled up with zeros."""
    raw = text.encode("ascii")[: 2 * count].ljust(2 * count, b"\x00")
    return list(struct.unpack(f">{count}H", raw))


@dataclass(frozen=True, slots=True)
class Fact:
    """A field of the model that goes out when all of its registers do."""

    registers: frozenset[int]
    whose: int | None  # address of a pack; None: the bank
    name: str
    value: object


@dataclass(slots=True)
class Page:
    """The registers of one unit at one moment, and what they say by the model's field names."""

    whose: int | None = None  # of whom `tell` speaks when it is not said
    words: dict[int, int] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)

    def put(self, register: int, *words: int, **says: object) -> None:
        """Fill registers from this one on; `says`: fields of the model that exactly these words carry."""
        for offset, raw in enumerate(words):
            if not 0 <= raw <= 0xFFFF:
                raise ValueError(f"register {register + offset:#06x} cannot hold {raw}")
            self.words[register + offset] = raw
        self.tell(range(register, register + len(words)), **says)

    def tell(self, registers: Iterable[int], **says: object) -> None:
        """Fields of the model that these registers carry together."""
        held = frozenset(registers)
        self.facts += [Fact(held, self.whose, name, value) for name, value in says.items()]

    def said(self, start: int, count: int) -> dict[int | None, dict[str, object]]:
        """What a block says, by whom; where two facts say the same field, the later one stands."""
        inside = frozenset(range(start, start + count))
        said: dict[int | None, dict[str, object]] = {}
        for fact in self.facts:
            if fact.registers <= inside:
                said.setdefault(fact.whose, {})[fact.name] = fact.value
        return said


class RegisterMap(ABC):
    """What one product answers. One module a protocol."""

    @abstractmethod
    def page(self, bank: SimBank, unit: int) -> Page | None:
        """The registers at this unit now; None: nobody there, silence."""

    def twin(self, bank: SimBank, unit: int) -> Page | None:
        """The registers of a second battery that is set to the same unit: any other one's, unless a map knows better."""
        others = (self.page(bank, address) for address in bank.packs if address != unit)
        return next((page for page in others if page is not None), None)

    def refusal(self, start: int, count: int) -> int | None:
        """The exception for a block that this firmware does not answer; None: it does, as far as registers exist."""
        return None

    def encode(self, unit: int, words: Sequence[int]) -> bytes:
        """An answer with these registers; overridden where it is not Modbus."""
        return sealed(struct.pack(f">BBB{len(words)}H", unit, READ, 2 * len(words), *words))


class ModbusSpeaker(Ledger):
    """Answers reads of one register map; implements `Speaker`."""

    def __init__(
        self,
        bank: SimBank,
        registers: RegisterMap,
        *,
        most: int = 125,
        zeros: bool = False,
        turnround: float | None = None,
    ) -> None:
        """Speak for `bank`.

        `most`: registers in one answer, more are refused with exception 3. `zeros`: registers that do not exist read
        as 0 instead of being refused with exception 2. `turnround`: s from question to answer, None as the bus has it.
        """
        super().__init__()
        self.bank = bank
        self.registers = registers
        self.most = most
        self.zeros = zeros
        self.turnround = turnround
        self.forbidden: list[bytes] = []  # requests that would have changed something
        self.malformed = 0  # bytes that are no request
        self._buffer = bytearray()

    @override
    def reset(self) -> None:
        """See `Speaker`."""
        self._buffer.clear()

    @override
    def feed(self, data: bytes, now: float) -> list[Reply]:
        """See `Speaker`."""
        buffer = self._buffer
        buffer += data
        replies: list[Reply] = []
        start = 0
        while len(buffer) - start >= _QUESTION:
            frame = self._request_at(start)
            if frame is None:
                start += 1
                continue
            self.malformed += start
            del buffer[: start + len(frame)]
            start = 0
            if (reply := self._answer(frame)) is not None:
                replies.append(reply)
        if len(buffer) > _LONGEST:
            self.malformed += len(buffer) - _LONGEST
            del buffer[:-_LONGEST]
        return replies

    def _request_at(self, start: int) -> bytes | None:
        """The intact request that begins here, any function."""
        buffer = self._buffer
        size = _QUESTION
        if buffer[start + 1] in {0x0F, 0x10}:
            size = 9 + buffer[start + 6]
        frame = bytes(buffer[start : start + size])
        return frame if len(frame) == size and crc(frame[:-2]) == frame[-2:] else None

    def _answer(self, frame: bytes) -> Reply | None:
        unit, function = frame[0], frame[1]
        if function in WRITES:
            self.forbidden.append(frame)
        self.bank.advance()
        if (page := self.registers.page(self.bank, unit)) is None:
            return None
        if function != READ:
            return self._refuse(frame, ILLEGAL_FUNCTION)
        start, count = struct.unpack(">HH", frame[2:6])
        if not 0 < count <= self.most:
            return self._refuse(frame, ILLEGAL_COUNT)
        if (code := self.registers.refusal(start, count)) is not None:
            return self._refuse(frame, code)
        if (words := self._words(page.words, start, count)) is None:
            return self._refuse(frame, ILLEGAL_ADDRESS)
        noting = self.noting(f"{start:#06x}*{count}", page.said(start, count))
        return self._reply(frame, self.registers.encode(unit, words), noting)

    def _words(self, known: Mapping[int, int], start: int, count: int) -> list[int] | None:
        block = range(start, start + count)
        if not self.zeros and any(register not in known for register in block):
            return None
        return [known.get(register, 0) for register in block]

    def _refuse(self, frame: bytes, code: int) -> Reply:
        return self._reply(frame, sealed(bytes((frame[0], frame[1] | 0x80, code))))

    def _reply(self, frame: bytes, data: bytes, on_wire: Callable[[float], None] | None = None) -> Reply:
        return Reply(data, self.turnround, frame[0], frame, on_wire)

    @override
    def disguise(self, reply: Reply, disguise: Disguise) -> bytes:
        """See `Speaker`."""
        data = reply.data
        match disguise:
            case Disguise.BAD_CHECK:
                return data[:-1] + bytes((data[-1] ^ 0x55,))
            case Disguise.WRONG_ADDRESS:
                others = [address for address in self.bank.packs if address != reply.address]
                return sealed(bytes((others[0] if others else reply.address + 1,)) + data[1:-2])
            case Disguise.TWIN:
                start, count = struct.unpack(">HH", reply.request[2:6])
                page = self.registers.twin(self.bank, reply.address)
                words = None if page is None else self._words(page.words, start, count)
                return data if words is None else self.registers.encode(reply.address, words)
