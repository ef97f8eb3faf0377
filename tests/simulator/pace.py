"""The batteries' side of the PACE ASCII protocol, written from the protocol note alone.

It shares no code with the integration's codec. Sections and rules are those of pace-ascii.md; 12 says what each profile
does, 3 who answers on which line.
"""

from collections.abc import Callable
from enum import StrEnum
import struct
from typing import Final, override

from .bank import SimBank
from .ledger import Ledger
from .pace_records import Profile, analog, states
from .pack import SimPack
from .pylon_wire import Answer, checksum, encode
from .speaker import Disguise, Reply

__all__ = ["FORBIDDEN", "Line", "PaceSpeaker", "Profile"]

_EOI: Final = 0x0D
_HEX: Final = frozenset(b"0123456789ABCDEFabcdef")
_LONGEST: Final = 4200
_ALL: Final = 0xFF

RTN_OK: Final = 0x00
RTN_CHECKSUM: Final = 0x02
RTN_LENGTH: Final = 0x03
RTN_COMMAND: Final = 0x04
RTN_OPERATION: Final = 0x09

# Section 4: what changes something, and what may never be read. A client of ours must never be seen to send one.
FORBIDDEN: Final = frozenset(
    bytes.fromhex(
        "63 64 65 67 6A 7E 7F 99 9A 9B 9C A4 A5 A7 A8 A9 AA AB AC AD AE B2 B3 B4 B5 B7 B9 BB BD C3 C4"
        "D0 D2 D4 D6 D8 DA DC DE E0 E2 E4 E6 EC EE FF"
    )
)


class Line(StrEnum):
    """Which plug the packs are asked on."""

    RS232 = "rs232"
    RS485 = "rs485"


# What needs no pack: thresholds as one board gave them (captures pace-D1-pbmstools-17 and those after it).
_SETTINGS: Final = {
    0xA0: "0C1C0005",
    0xAF: "DAC007D005",
    0xB1: "1808140E0F25",
    0xB6: "0D48001E",
    0xD1: "010E100E740D340A",
    0xD3: "010AF009C40B540A",
    0xD5: "01E100E740D3400A",
    0xD7: "01AF009C40B5400A",
    0xD9: "010069006E0A",
    0xDB: "01FF97FF920A",
    0xEB: "060100",
    0xED: "0064",
}


class PaceSpeaker(Ledger):
    """Answers for every pack of a bank, numbered from 1; implements `Speaker`."""

    def __init__(
        self,
        bank: SimBank,
        profile: Profile | str = Profile.P16_SOC,
        *,
        line: Line | str = Line.RS232,
        version: int = 0x25,
        answer_as: int | None = None,
        repeats_command: bool = False,
        answers_all: bool = True,
        obeys: bool = False,
    ) -> None:
        """Speak for `bank`.

        On RS232 the pack with the lowest address is plugged in; the others are behind its link bus when its address
        is 1. `answer_as`: ADR of answers on RS232 instead of the plugged pack's (one maker says 00). `version`: VER of
        answers (one maker says 12). `repeats_command`: the return code of a good answer is the command, as V3.1 says.
        `answers_all`: ADR FF is answered on RS232. `obeys`: control commands are accepted; without it nothing changes.
        """
        self.bank = bank
        self.profile = Profile(profile)
        self.line = Line(line)
        self.version = version
        self.answer_as = answer_as
        self.repeats_command = repeats_command
        self.answers_all = answers_all
        self.obeys = obeys
        super().__init__()
        self.malformed = 0
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
        replies = []
        while (end := buffer.find(_EOI)) >= 0:
            line = bytes(buffer[: end + 1])
            del buffer[: end + 1]
            if (start := line.rfind(b"~")) >= 0 and (reply := self._answer(line[start:])) is not None:
                replies.append(reply)
        if len(buffer) > _LONGEST:
            buffer.clear()
        return replies

    @override
    def disguise(self, reply: Reply, disguise: Disguise) -> bytes:
        """See `Speaker`."""
        data = reply.data
        match disguise:
            case Disguise.BAD_CHECK:
                return data[:-2] + (b"1" if data[-2:-1] == b"0" else b"0") + data[-1:]
            case Disguise.WRONG_ADDRESS:
                others = [address for address in self.bank.packs if address != reply.address]
                return self._renumbered(reply, data, others[0] if others else reply.address + 1)
            case Disguise.TWIN:
                return self._twin(reply)

    def _twin(self, reply: Reply) -> bytes:
        """Another pack's answer to the same question, under this one's number."""
        command = int(reply.request[7:9], 16)
        for address, pack in self.bank.packs.items():
            if address != reply.address and (build := self._builder(command)) is not None:
                info, _ = build(address, pack)
                data = encode(int(reply.data[3:5], 16), RTN_OK, info, version=self.version)
                return self._renumbered(reply, data, reply.address)
        return reply.data

    def _renumbered(self, reply: Reply, data: bytes, number: int) -> bytes:
        """The same answer of another pack: its byte after INFOFLAG in records, and its ADR on RS485."""
        body = bytearray(data[1:-5])
        if self.line is Line.RS485:
            body[2:4] = b"%02X" % number
        if reply.request[7:9] in (b"42", b"44") and len(body) > 16:
            body[14:16] = b"%02X" % number
        return b"~%b%04X\r" % (bytes(body), checksum(bytes(body)))

    # --- who answers, section 3 --------------------------------------------------------------------------------------

    def _plugged(self) -> int | None:
        """The pack that is plugged in on RS232."""
        return min((address for address in self.bank.packs if self.bank.present(address) is not None), default=None)

    def _speaking(self, address: int) -> int | None:
        """The pack that hears a question to this ADR; None is silence."""
        if self.line is Line.RS232:
            return None if address == _ALL and not self.answers_all else self._plugged()
        return address if self.bank.present(address) is not None else None

    def _named(self, speaking: int, number: int) -> dict[int, SimPack] | None:
        """The packs that INFO of 42 and 44 asks for, by the number that the answer gives them; None is silence."""
        if self.line is Line.RS485:
            return {speaking: self.bank.packs[speaking]} if number == speaking else None
        if speaking != 1:  # no host: its own data alone
            return {1: self.bank.packs[speaking]} if number in (1, _ALL) else None
        if number == _ALL:
            return {address: pack for address, pack in sorted(self.bank.packs.items()) if self.bank.present(address)}
        pack = self.bank.present(number)
        return None if pack is None else {number: pack}

    # --- answers ---------------------------------------------------------------------------------------------------------

    def _answer(self, frame: bytes) -> Reply | None:
        """Judge one frame; what is not whole gets silence."""
        body, check = frame[1:-5], frame[-5:-1]
        if len(frame) < 18 or not _HEX.issuperset(frame[1:-1]) or body[4:6] != b"46":
            self.malformed += 1
            return None
        address, command, length = int(body[2:4], 16), int(body[6:8], 16), int(body[8:12], 16)
        if (speaking := self._speaking(address)) is None:
            return None
        lenid = length & 0xFFF
        nibbles = (lenid >> 8) + (lenid >> 4 & 15) + (lenid & 15)
        if (nibbles + (length >> 12)) & 15 or lenid % 2:
            return self._reply(speaking, RTN_LENGTH, frame)
        if lenid != len(body) - 12:
            self.malformed += 1
            return None
        if checksum(body) != int(check, 16):
            return self._reply(speaking, RTN_CHECKSUM, frame)
        info = bytes.fromhex(body[12:].decode())
        self.bank.advance()
        if command in FORBIDDEN:
            self.forbidden.append(frame)
            return self._controlled(speaking, command, info, frame)
        if command in (0x42, 0x44):
            return self._records(speaking, command, info, frame)
        if (build := self._builder(command)) is None:
            return self._reply(speaking, RTN_COMMAND, frame)
        data, values = build(speaking, self.bank.packs[speaking])
        return self._reply(speaking, RTN_OK, frame, command, data, values)

    def _records(self, speaking: int, command: int, info: bytes, frame: bytes) -> Reply | None:
        number = info[0] if info else speaking
        if (packs := self._named(speaking, number)) is None:
            return None
        data = bytes((0x00, len(packs) if number == _ALL else number))
        values: dict[int | None, dict[str, object]] = {}
        for address, pack in packs.items():
            record, values[address] = self._record(command, address, pack)
            data += record
        told = speaking if number == _ALL else number
        return self._reply(speaking, RTN_OK, frame, command, data, values, told=told)

    def _record(self, command: int, address: int, pack: SimPack) -> tuple[bytes, dict[str, object]]:
        if command == 0x42:
            return analog(pack, self.profile, self.bank.packs.values())
        return states(pack, self.profile, master=address == 1)

    def _reply(
        self,
        speaking: int,
        code: int,
        frame: bytes,
        command: int = 0,
        info: bytes = b"",
        values: dict[int | None, dict[str, object]] | None = None,
        *,
        told: int | None = None,
    ) -> Reply:
        """`told`: the pack that the answer is about, when it is not the one that speaks."""
        shown = speaking if self.answer_as is None or self.line is Line.RS485 else self.answer_as
        if self.repeats_command and code == RTN_OK:
            code = command
        on_wire = None if values is None else self.noting(command, values)
        data = encode(shown, code, info, version=self.version)
        return Reply(data, None, speaking if told is None else told, frame, on_wire)

    def _controlled(self, speaking: int, command: int, info: bytes, frame: bytes) -> Reply:
        """Section 7. Nothing changes in either case; what matters is that it was asked."""
        state = bytes((0x06,))
        if command in (0x9A, 0x9B):
            return self._reply(speaking, RTN_OK if self.obeys else RTN_OPERATION, frame, command, state)
        if not self.obeys:
            return self._reply(speaking, RTN_OPERATION, frame)
        return self._reply(speaking, RTN_OK, frame, command, info[:1] + b"\x00" if command == 0x99 else b"")

    def _builder(self, command: int) -> Callable[[int, SimPack], Answer] | None:
        """What makes the answer of one pack to a command."""
        if command in (0x42, 0x44):

            def record(address: int, pack: SimPack) -> Answer:
                data, values = self._record(command, address, pack)
                return bytes((0x00, address)) + data, {address: values}

            return record
        if command in _SETTINGS:
            setting = bytes.fromhex(_SETTINGS[command])
            return lambda address, pack: (setting, {})
        builders: dict[int, Callable[[int, SimPack], Answer]] = {
            0x90: self._count,
            0xA6: self._capacities,
            0xC1: self._software,
            0xC2: self._product,
        }
        return builders.get(command)

    def _number(self, address: int) -> int:
        """What a client calls the pack that is plugged in, or that answers at this address."""
        return 1 if self.line is Line.RS232 else address

    def _count(self, address: int, pack: SimPack) -> Answer:
        """90: all packs of the link for the host of an RS232 line, else 1."""
        host = self.line is Line.RS232 and address == 1
        return bytes((len(self._named(1, _ALL) or ()) if host else 1,)), {}

    def _capacities(self, address: int, pack: SimPack) -> Answer:
        words = [round(v * 100) for v in (pack.remaining_capacity, pack.full_capacity, pack.spec.capacity)]
        return struct.pack(">3H", *words), {}

    def _software(self, address: int, pack: SimPack) -> Answer:
        spec = pack.spec
        version = f"P{spec.cells}S{spec.capacity:.0f}A-1812-{spec.firmware[0]}.{spec.firmware[1]:02d}"
        return version.encode()[:20].ljust(20, b"\x00"), {self._number(address): {"firmware": version}}

    def _product(self, address: int, pack: SimPack) -> Answer:
        """C2: the serial number of the board, and a build date."""
        serial = pack.spec.serial[:20]
        return serial.encode().ljust(20) + b"Mar 30 2022,18:18:16", {self._number(address): {"serial": serial}}
