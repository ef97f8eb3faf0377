"""The PACE ASCII protocol, version 25, on RS232 and on RS485: what is asked, what answers what, and who decodes it.

Source: pace-ascii.md; sections are named where they are used. The frame is Pylontech's. On RS232 one pack is plugged
in and speaks for those on its link bus: whatever ADR is asked it answers with its own, and the pack is named in INFO.
On RS485 each pack answers at its own ADR.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final, override

from ...errors import FrameError, Refusal, RefusedError
from ..base import Cadence, Decoded, Integrity, Poll, PolledProtocol, Probe, Timing
from ..pylon.dialects import CID1_KNOWN, PACE, refuse_dialects
from ..pylon.frame import CID1_BATTERY, Frame, FrameSplitter, ReadCommand, encode_question, parse
from . import records
from .records import ALL_PACKS
from .settings import READERS, acknowledgement

VERSION: Final = 0x25  # boards ignore it in questions, and one maker answers 12 (section 2): it is never compared


class Command(ReadCommand):
    """Everything that is ever asked (section 4)."""

    ANALOG = 0x42
    STATES = 0x44
    PACK_COUNT = 0x90
    SOFTWARE = 0xC1
    PRODUCT = 0xC2
    CELL_OVER_VOLTAGE = 0xD1
    CELL_UNDER_VOLTAGE = 0xD3
    CHARGE_OVER_CURRENT = 0xD9
    DISCHARGE_OVER_CURRENT = 0xDB
    CHARGE_LIMITER = 0xED


# In a question INFO names the pack, and in the answer too, after INFOFLAG.
_RECORDS: Final[dict[int, Callable[[bytes, int | None], Decoded]]] = {
    Command.ANALOG: records.analog,
    Command.STATES: records.states,
}
# Read by others: known so that they are recognised when overheard, and not decoded. 60 to 62 and 4F to 96 are asked by
# inverters that speak Pylontech's protocol to the same plug; A1 is history.
_FOREIGN_READS: Final = frozenset({0x47, 0x4F, 0x51, 0x60, 0x61, 0x62, 0x92, 0x93, 0x96, 0xA1})
# What nobody here sends: it changes something, or answers with a password (64) or memory (7F) (section 4).
NEVER_SENT: Final = frozenset(
    {
        *(0x63, 0x64, 0x65, 0x67, 0x6A, 0x7E, 0x7F, 0x94, 0x95, 0x99, 0x9A, 0x9B, 0x9C, 0xA4, 0xA5),
        *range(0xA7, 0xAF),
        *(0xB2, 0xB3, 0xB4, 0xB5, 0xB7, 0xB9, 0xBB, 0xBD, 0xC3, 0xC4),
        *(0xD0, 0xD2, 0xD4, 0xD6, 0xD8, 0xDA, 0xDC, 0xDE, 0xE0, 0xE2, 0xE4, 0xE6, 0xEC, 0xEE, 0xFF),
    }
)
_KNOWN: Final = frozenset({*_RECORDS, *READERS, *_FOREIGN_READS, *NEVER_SENT})
# Bytes of INFO in a question: none, or the pack, which some send with every command (pace-C1-jakiper-02). Answers that
# repeat the command must not be taken for questions: that of E5 has one byte, that of ED two.
_READING_INFO: Final[Mapping[int, tuple[int, ...]]] = {
    **dict.fromkeys((*_RECORDS, *READERS), (0, 1)),
    **dict.fromkeys(_FOREIGN_READS, (0, 1, 2)),
    0xE5: (0,),
}
_LARGEST_WRITE: Final = 20

# Section 8. Unlike Pylontech's, a refusal may carry data.
_OK: Final = 0x00
_REFUSALS: Final = {
    0x02: ("the question reached it with a wrong checksum", Refusal.DAMAGED),
    0x03: ("the question reached it with a wrong length", Refusal.DAMAGED),
    0x04: ("it does not know this command", Refusal.UNSUPPORTED),
    0x09: ("the operation failed", Refusal.OTHER),
}

_HOST: Final = 0x01  # the pack with DIP 1, which speaks for the others
_EVERYBODY: Final = 0xFF
_MOST: Final = 15  # packs, by their DIP switches


@dataclass(frozen=True, slots=True)
class _Question:
    """What was asked. `info` names a pack (FF: all) where the command has it."""

    address: int
    command: int
    info: bytes

    @property
    def value(self) -> int | None:
        """The first byte of INFO."""
        return self.info[0] if self.info else None


@lru_cache(maxsize=256)
def _question(request: bytes) -> _Question:
    """Read a question of ours or an overheard one; its checksum may be wrong, the answer says so then."""
    try:
        raw = bytes.fromhex(request[1:-1])
        return _Question(raw[1], raw[3], raw[6:-2])
    except ValueError, IndexError:
        raise FrameError("the question is not one of this protocol") from None


def _is_question(frame: Frame) -> bool:
    """Whether an intact frame asks. Nothing but the code and the size of INFO tells a question from an answer."""
    if frame.cid1 not in CID1_KNOWN:
        return False
    if frame.code in NEVER_SENT:
        return len(frame.info) <= _LARGEST_WRITE
    return len(frame.info) in _READING_INFO.get(frame.code, ())


def _refuse_others(answer: Frame) -> None:
    """Let only battery frames pass; the version says nothing.

    Raises:
        FrameError: it is a dialect of another maker, or no battery.
    """
    if answer.cid1 != CID1_BATTERY:
        refuse_dialects(answer)


def _asking(command: Command, address: int | None = None) -> Callable[[int], bytes]:
    """The question to a pack: at its own address, or at `address` by its number."""

    def request(pack: int) -> bytes:
        info = bytes((pack,)) if command in _RECORDS else b""
        return encode_question(command, pack if address is None else address, info, version=VERSION)

    return request


_SETTINGS: Final = (
    Command.CELL_OVER_VOLTAGE,
    Command.CELL_UNDER_VOLTAGE,
    Command.CHARGE_OVER_CURRENT,
    Command.DISCHARGE_OVER_CURRENT,
    Command.CHARGE_LIMITER,
)


def _polls(address: int | None) -> tuple[Poll, ...]:
    """What is asked. Without a number in INFO only the plugged pack answers, on RS232 (`address`)."""
    own_only = address is not None
    return (
        Poll(name="analog", cadence=Cadence.CYCLE, request=_asking(Command.ANALOG, address), essential=True),
        Poll(name="states", cadence=Cadence.CYCLE, request=_asking(Command.STATES, address)),
        Poll(
            name="product",
            cadence=Cadence.ONCE,
            request=_asking(Command.PRODUCT, address),
            master_only=own_only,
            private=True,
        ),
        Poll(
            name="software",  # may hold a Bluetooth name
            cadence=Cadence.ONCE,
            request=_asking(Command.SOFTWARE, address),
            master_only=own_only,
            private=True,
        ),
        *(
            Poll(
                name=setting.name.lower(),
                cadence=Cadence.ONCE,
                request=_asking(setting, address),
                master_only=True,  # the same in all packs of a bank, or the bank is set up wrong
            )
            for setting in _SETTINGS
        ),
    )


class _Pace(PolledProtocol):
    """What both lines have in common."""

    integrity = Integrity.ADDITIVE
    # A board that hangs when it is asked too fast exists: 200 ms between questions. The documents allow 0.5 s for an
    # answer, 1 s is waited; sixteen packs in one take 2 s (section 9).
    timing = Timing(first_byte=1.0, gap=0.2, answer=4.0, pause=0.2)
    conditions = records.PACK_CONDITIONS

    @abstractmethod
    def _stranger(self, asked: _Question, answer: Frame) -> str | None:
        """Why the ADR of this frame shows that it answers somebody else."""

    @abstractmethod
    def _place(self, asked: _Question, answer: Frame) -> int:
        """Which pack an answer is about that names none."""

    @override
    def splitter(self, request: bytes | None = None) -> FrameSplitter:
        """See `Codec`; every frame says where it ends, whatever was asked."""
        return FrameSplitter()

    def _mismatch(self, asked: _Question, answer: Frame) -> str | None:
        """Why this frame is not the answer to that question: late answers and those of other packs exist (section 9)."""
        # a clone that repeats the command as its return code answers 90 with what looks like a question (section 2)
        repeats = asked.command == answer.code == Command.PACK_COUNT and len(answer.info) == 1 != len(asked.info)
        if _is_question(answer) and not repeats:
            return "a question, not an answer"
        if answer.code in _KNOWN and answer.code != asked.command:
            return f"an answer to {answer.code:02X}, asked was {asked.command:02X}"
        if (reason := self._stranger(asked, answer)) is not None:
            return reason
        if asked.command not in _RECORDS or answer.code not in (_OK, asked.command):
            return None
        named = answer.info[1:2]
        if named and asked.value not in (None, ALL_PACKS, named[0]):
            return f"an answer of pack {named[0]}, asked was {asked.value}"
        return None

    @override
    def is_answer(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`. A dialect's answer counts, so that decoding it can name the dialect."""
        try:
            return self._mismatch(_question(request), parse(frame)) is None
        except FrameError:
            return False

    @override
    def is_request(self, frame: bytes) -> bool:
        """See `Codec`; in any version, since boards answer them all."""
        try:
            return _is_question(parse(frame))
        except FrameError:
            return False

    @override
    def address_of(self, question: bytes) -> int | None:
        """See `Codec`."""
        try:
            return _question(question).address
        except FrameError:
            return None

    @override
    def is_link_bus(self, frame: bytes) -> bool:
        """See `Codec`. The host of a stack goes on asking the others whether they are there (section 3)."""
        try:
            asked = parse(frame)
        except FrameError:
            return False
        return (
            _is_question(asked)
            and (asked.version, asked.cid1, asked.code) == (VERSION, CID1_BATTERY, Command.PACK_COUNT)
            and _HOST < asked.address <= _MOST
        )

    @override
    def recognises(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`. Records of 42 and 44 fit no other layout; of the rest the version has to be that of PACE."""
        try:
            asked, answer = _question(request), parse(frame)
        except FrameError:
            return False
        telling = asked.command in _RECORDS or (asked.command in READERS and answer.version == VERSION)
        return telling and self._fits(asked, answer) and super().recognises(request, frame)

    @abstractmethod
    def _fits(self, asked: _Question, answer: Frame) -> bool:
        """Whether question and answer are addressed as they are on this line and not on the other."""

    @override
    def decode(self, request: bytes | None, frame: bytes) -> Decoded:
        """See `Codec`. Without a request the content has to say what it answers."""
        answer = parse(frame)
        _refuse_others(answer)
        if request is None:
            return self._overheard(answer)
        asked = _question(request)
        if (reason := self._mismatch(asked, answer)) is not None:
            raise FrameError(reason)
        # the document says that a good answer repeats the command; no capture does (section 2)
        if answer.code not in (_OK, asked.command):
            raise _refused(answer)
        if (record := _RECORDS.get(asked.command)) is not None:
            return record(answer.info, asked.value)
        if (reader := READERS.get(asked.command)) is not None:
            return reader(answer.info, self._place(asked, answer))
        if asked.command in NEVER_SENT:
            return acknowledgement(asked.command, asked.info, answer.info)
        return Decoded(info={"undecoded": answer.info.hex()})

    @staticmethod
    def _overheard(answer: Frame) -> Decoded:
        """Decode an answer to a question that was not heard; what cannot be told is kept as it came."""
        if _is_question(answer):
            raise FrameError("a question, not an answer")
        if answer.code != _OK and answer.code not in _KNOWN:
            raise _refused(answer)
        for command, record in _RECORDS.items():
            if answer.code in (_OK, command):
                try:
                    return record(answer.info, None)
                except FrameError as err:
                    if err.dialect is not None:
                        raise
        if answer.version != VERSION:
            raise FrameError("nothing shows that this is of PACE's protocol")
        return Decoded(info={"undecoded": answer.info.hex()} if answer.info else {})


def _refused(answer: Frame) -> RefusedError:
    reason, refusal = _REFUSALS.get(answer.code, ("it refused", Refusal.OTHER))
    return RefusedError(f"{reason} (return code {answer.code:02X})", code=answer.code, refusal=refusal)


class PaceRs232(_Pace):
    """One pack is plugged in and speaks for all: ADR is not compared, INFO names the pack."""

    name = "pace-v25"
    speeds: ClassVar[tuple[int, ...]] = (9600, 115200, 19200)
    address_groups: ClassVar[tuple[tuple[int, ...], ...]] = (tuple(range(1, _MOST + 1)),)
    polls = _polls(_HOST)
    # ADR FF, since a plug answers whatever is asked for, and no pack on RS485 has it: of the two lines this one.
    # Boards that leave FF unanswered are told by `PaceRs485`.
    probes = (
        Probe(
            name="90 at FF",
            address=_HOST,
            request=encode_question(Command.PACK_COUNT, _EVERYBODY, bytes((ALL_PACKS,)), version=VERSION),
            wait=0.5,
        ),
        Probe(
            name="C1 at FF",
            address=_HOST,
            request=encode_question(Command.SOFTWARE, _EVERYBODY, version=VERSION),
            wait=0.5,
        ),
    )

    @override
    def address_of(self, question: bytes) -> int | None:
        """See `Codec`: the pack that INFO names; what names none is asked of the plugged one."""
        try:
            asked = _question(question)
        except FrameError:
            return None
        named = asked.value if asked.command in _RECORDS else None
        return _HOST if named is None else None if named == ALL_PACKS else named

    @override
    def _stranger(self, asked: _Question, answer: Frame) -> str | None:
        return None

    @override
    def _place(self, asked: _Question, answer: Frame) -> int:
        """The plugged pack is number 1 whatever its address; an overheard one at its own address may be on RS485."""
        return answer.address if answer.address == asked.address > _HOST else _HOST

    @override
    def _fits(self, asked: _Question, answer: Frame) -> bool:
        """A pack that is asked at its own address and by its own number is on RS485; the first may be on either."""
        return asked.value != 0 and not (
            answer.address == asked.address > _HOST and asked.value in (None, asked.address)
        )


class PaceRs485(_Pace):
    """Every pack answers for itself, at the address of its DIP switches."""

    name = "pace-v25-rs485"
    # 115200 on RS485 is reported as well (section 1)
    speeds: ClassVar[tuple[int, ...]] = (9600, 19200, 115200)
    # DIP 0 stands alone
    address_groups: ClassVar[tuple[tuple[int, ...], ...]] = (tuple(range(1, _MOST + 1)), (0,))
    polls = _polls(None)
    # 02 first: on RS232 the plugged pack answers it in its own name, which gives that line away.
    probes = tuple(
        Probe(name=f"42 at {address:02X}", address=address, request=_asking(Command.ANALOG)(address), wait=0.5)
        for address in (2, 1, 0)
    )

    @override
    def _stranger(self, asked: _Question, answer: Frame) -> str | None:
        if answer.address == asked.address or self._relayed(asked, answer):
            return None
        return f"an answer from {answer.address:02X}, asked was {asked.address:02X}"

    @staticmethod
    def _relayed(asked: _Question, answer: Frame) -> bool:
        """Whether one pack answers for another, which only the plug of RS232 does."""
        return (
            asked.command in _RECORDS
            and answer.code in (_OK, asked.command)
            and answer.address != asked.address
            and answer.info[1:2] == bytes((asked.address,)) == asked.info
        )

    @override
    def decode(self, request: bytes | None, frame: bytes) -> Decoded:
        """See `Codec`."""
        decoded = super().decode(request, frame)
        if request is not None and self._relayed(_question(request), parse(frame)):
            raise FrameError("One PACE pack answers for another: this is its RS232 port.", dialect=PACE.name)
        return decoded

    @override
    def _place(self, asked: _Question, answer: Frame) -> int:
        return answer.address

    @override
    def _fits(self, asked: _Question, answer: Frame) -> bool:
        """A pack is asked at its own address by its own number; the first could be plugged into RS232 as well."""
        return answer.address == asked.address and asked.value in (None, asked.address)

    @override
    def pack_number(self, address: int) -> str:
        """DIP 0 is a pack that stands alone."""
        return str(address or 1)
