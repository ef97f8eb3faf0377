"""The Pylontech low-voltage RS485 protocol: what is asked, what answers what, and who decodes it.

Source: pylon-rs485.md; sections are named where they are used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final, override

from ...errors import FrameError, Refusal, RefusedError
from ..base import Cadence, Decoded, Integrity, Poll, PolledProtocol, Probe, Scope, Timing
from . import pack, system
from .dialects import CID1_KNOWN, refuse_dialects
from .frame import VERSION, Frame, FrameSplitter, ReadCommand, encode_question, parse


class Command(ReadCommand):
    """Everything that is ever asked (section 6)."""

    ANALOG = 0x42
    ALARMS = 0x44
    PARAMETERS = 0x47
    VERSION = 0x4F
    MANUFACTURER = 0x51
    SYSTEM_INFORMATION = 0x60
    SYSTEM_ANALOG = 0x61
    SYSTEM_ALARMS = 0x62
    SYSTEM_LIMITS = 0x63
    MANAGEMENT = 0x92
    SERIAL = 0x93
    FIRMWARE = 0x96


# In a question INFO repeats the address, and so does the answer (section 5).
_NAMES_PACK: Final = frozenset({Command.ANALOG, Command.ALARMS, Command.MANAGEMENT, Command.SERIAL, Command.FIRMWARE})
# Answered from any address (JK says 02 when asked at 12), section 5.
_SYSTEM: Final = frozenset(
    {Command.SYSTEM_INFORMATION, Command.SYSTEM_ANALOG, Command.SYSTEM_ALARMS, Command.SYSTEM_LIMITS}
)
# Commands of others that change something: known so that they are recognised when overheard. -> bytes of INFO
_CHANGING: Final = {0x94: (9,), 0x95: (0, 1), 0x64: (0,), 0x82: (2,), 0x99: (0, 1)}
_READING_INFO: Final = (0, 1, 2)  # two bytes are sent by one client and accepted (section 5)

_PACK_DECODERS: Final[dict[int, Callable[[bytes, int, int | None], Decoded]]] = {
    Command.ANALOG: pack.analog,
    Command.ALARMS: pack.alarms,
    Command.PARAMETERS: pack.parameters,
    Command.MANUFACTURER: pack.manufacturer,
    Command.MANAGEMENT: pack.management,
    Command.SERIAL: pack.serial,
    Command.FIRMWARE: pack.firmware,
    Command.SYSTEM_INFORMATION: system.information,
    Command.SYSTEM_ANALOG: system.analog,
    Command.SYSTEM_ALARMS: system.alarms,
    Command.SYSTEM_LIMITS: system.limits,
}

# Section 7.
_OK: Final = 0x00
_REFUSALS: Final = {
    0x01: ("it does not know this version of the protocol", Refusal.OTHER),
    0x02: ("the question reached it with a wrong checksum", Refusal.DAMAGED),
    0x03: ("the question reached it with a wrong length", Refusal.DAMAGED),
    0x04: ("it does not know this command", Refusal.UNSUPPORTED),
    0x05: ("it does not understand the format of this command", Refusal.UNSUPPORTED),
    0x06: ("it does not accept the data of this command", Refusal.UNSUPPORTED),
    0x90: ("there is no pack at this address", Refusal.AWAY),
    0x91: ("its master cannot reach the pack", Refusal.AWAY),
}


@dataclass(frozen=True, slots=True)
class _Question:
    """What was asked. `value` is the first byte of INFO: a pack, or FF for its group."""

    address: int
    command: int
    value: int | None


@lru_cache(maxsize=256)
def _question(request: bytes) -> _Question:
    """Read a question of ours or an overheard one; its checksum may be wrong, the answer says so then."""
    try:
        raw = bytes.fromhex(request[1:-1])
        address, command, value = raw[1], raw[3], raw[6] if len(raw) > 8 else None
    except ValueError, IndexError:
        raise FrameError("the question is not one of this protocol") from None
    return _Question(address, command, value)


def _is_question(frame: Frame) -> bool:
    """Whether an intact frame asks. Nothing but the code and the size of INFO tells a question from an answer."""
    if frame.cid1 not in CID1_KNOWN:
        return False
    sizes = _CHANGING.get(frame.code)
    if sizes is None:
        sizes = _READING_INFO if frame.code in _READING else ()
    return len(frame.info) in sizes


_READING: Final = frozenset(Command)


def _mismatch(asked: _Question, frame: Frame) -> str | None:
    """Why this frame is not the answer to that question; late answers and other masters exist (section 5)."""
    # a clone that repeats the command as its return code answers 4F with what looks like the question (section 7)
    repeats = (
        asked.command == frame.code == Command.VERSION and asked.address == frame.address and frame.version > VERSION
    )
    if _is_question(frame) and not repeats:
        return "a question, not an answer"
    if asked.command in _SYSTEM:
        return None
    if frame.address != asked.address:
        return f"an answer from {frame.address:02X}, asked was {asked.address:02X}"
    if frame.code not in (_OK, asked.command):
        return None  # a refusal names no pack
    if asked.value is None or asked.value == pack.WHOLE_GROUP or asked.command not in _NAMES_PACK:
        return None
    flagged = asked.command in (Command.ANALOG, Command.ALARMS)  # INFOFLAG comes first
    named = frame.info[flagged : flagged + 1]
    if named and named[0] != asked.value:
        return f"an answer of pack {named[0]:02X}, asked was {asked.value:02X}"
    return None


def request(command: Command, address: int) -> bytes:
    """A question to one pack or to the master of a group."""
    return encode_question(command, address, bytes((address,)) if command in _NAMES_PACK else b"")


def _asking(command: Command) -> Callable[[int], bytes]:
    return lambda address: request(command, address)


# First byte after 69-81 ms, once 250 ms; a frame is given up after a gap of 200 ms; a whole answer within 4 s; at
# least 50 ms before the next question (section 8).
_TIMING: Final = Timing(first_byte=1.0, gap=0.2, answer=4.0, pause=0.05)

_SINGLE_GROUP: Final = tuple(range(0x02, 0x10))
# Group 0 and groups 1 to 7, which DIP switches 2 to 4 of the master select; V3.3 ends at 0D, V3.5 at 0F (section 5).
_GROUPS: Final = tuple(tuple(group * 0x10 + place for place in _SINGLE_GROUP) for group in range(8))


class _Pylon(PolledProtocol):
    """What both command sets have in common."""

    integrity = Integrity.ADDITIVE
    speeds: ClassVar[tuple[int, ...]] = (9600, 115200)
    timing = _TIMING
    address_groups: ClassVar[tuple[tuple[int, ...], ...]] = _GROUPS

    @override
    def splitter(self, request: bytes | None = None) -> FrameSplitter:
        """See `Codec`; every frame says where it ends, whatever was asked."""
        return FrameSplitter()

    @override
    def is_answer(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`. A dialect's answer counts, so that decoding it can name the dialect."""
        try:
            return _mismatch(_question(request), parse(frame)) is None
        except FrameError:
            return False

    @override
    def is_request(self, frame: bytes) -> bool:
        """See `Codec`."""
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
    def decode(self, request: bytes | None, frame: bytes) -> Decoded:
        """See `Codec`. Without a request the content has to say what it answers."""
        answer = parse(frame)
        refuse_dialects(answer)
        if request is None:
            return _overheard(answer)
        asked = _question(request)
        if (reason := _mismatch(asked, answer)) is not None:
            raise FrameError(reason)
        # some clones repeat the command where the return code belongs (section 7)
        if answer.code not in (_OK, asked.command):
            raise _refused(answer)
        address = asked.address if asked.command in _SYSTEM else answer.address
        return _content(asked.command, answer, address, asked.value)


def _refused(answer: Frame) -> RefusedError:
    reason, refusal = _REFUSALS.get(answer.code, ("it refused", Refusal.OTHER))
    return RefusedError(f"{reason} (return code {answer.code:02X})", code=answer.code, refusal=refusal)


def _content(command: int, answer: Frame, address: int, value: int | None) -> Decoded:
    if (decoder := _PACK_DECODERS.get(command)) is not None:
        return decoder(answer.info, address, value)
    if command == Command.VERSION:
        return Decoded(info={"protocol_version": f"{answer.version >> 4}.{answer.version & 0x0F}"})
    if command in _CHANGING:
        return Decoded(info={"accepted": True})
    return Decoded(info={"undecoded": answer.info.hex()})


# Answers that can be told by themselves, in the order in which they are tried: those with a structure first, then by
# size. 60 is not among them: as long as others, and nothing in it but text.
_TELLING: Final = (Command.ANALOG, Command.ALARMS)
_SIZES: Final = {
    4: Command.SYSTEM_ALARMS,
    6: Command.FIRMWARE,
    9: Command.SYSTEM_LIMITS,
    10: Command.MANAGEMENT,
    17: Command.SERIAL,
    25: Command.PARAMETERS,
    32: Command.MANUFACTURER,
    49: Command.SYSTEM_ANALOG,
}


def _overheard(answer: Frame) -> Decoded:
    """Decode an answer to a question that was not heard; what cannot be told is kept as it came."""
    if _is_question(answer):
        raise FrameError("a question, not an answer")
    if answer.code in _READING:
        return _content(answer.code, answer, answer.address, None)
    if answer.code != _OK:
        raise _refused(answer)
    if not answer.info:
        return Decoded()
    for command in _TELLING:
        try:
            return _content(command, answer, answer.address, None)
        except FrameError as err:
            if err.dialect is not None:
                raise
    found = _SIZES.get(len(answer.info), _OK)
    if (found in _NAMES_PACK and answer.info[0] != answer.address) or (
        found == Command.MANUFACTURER and pack.text(answer.info[:10]) is None
    ):
        found = _OK
    return _content(found, answer, answer.address, None)


class PylonPacks(_Pylon):
    """Every pack answers for itself."""

    name = "pylon-rs485"
    conditions = pack.PACK_CONDITIONS
    polls: ClassVar[tuple[Poll, ...]] = (
        Poll(name="analog", cadence=Cadence.CYCLE, request=_asking(Command.ANALOG), essential=True),
        Poll(name="alarms", cadence=Cadence.CYCLE, request=_asking(Command.ALARMS)),
        Poll(name="management", cadence=Cadence.ROTATION, request=_asking(Command.MANAGEMENT)),
        Poll(name="serial", cadence=Cadence.ONCE, request=_asking(Command.SERIAL), private=True),
        Poll(name="manufacturer", cadence=Cadence.ONCE, request=_asking(Command.MANUFACTURER)),
        Poll(name="firmware", cadence=Cadence.ONCE, request=_asking(Command.FIRMWARE)),
        Poll(name="parameters", cadence=Cadence.ONCE, request=_asking(Command.PARAMETERS), master_only=True),
    )
    # Section 9. 42 as well, since not every clone knows 4F.
    probes: ClassVar[tuple[Probe, ...]] = tuple(
        Probe(name=f"{command:02X} at {address:02X}", address=address, request=request(command, address))
        for address in (0x02, 0x12)
        for command in (Command.VERSION, Command.ANALOG)
    )


class PylonV28(PylonPacks):
    """The framed mode of old packs' RS232 port: same layout, addresses from 01 (section 11). Decoded, not polled."""

    name = "pylon-rs232-v28"
    speeds = (1200,)
    address_groups = (tuple(range(0x01, 0x10)),)
    probes = ()


class PylonSystem(_Pylon):
    """Only the group as a whole answers (V3.5)."""

    name = "pylon-rs485-v35"
    conditions = system.SYSTEM_CONDITIONS
    polls = (
        Poll(
            name="analog",
            cadence=Cadence.CYCLE,
            scope=Scope.BANK,
            request=_asking(Command.SYSTEM_ANALOG),
            essential=True,
        ),
        Poll(name="alarms", cadence=Cadence.CYCLE, scope=Scope.BANK, request=_asking(Command.SYSTEM_ALARMS)),
        Poll(name="limits", cadence=Cadence.ROTATION, scope=Scope.BANK, request=_asking(Command.SYSTEM_LIMITS)),
        Poll(
            name="information",
            cadence=Cadence.ONCE,
            scope=Scope.BANK,
            request=_asking(Command.SYSTEM_INFORMATION),
            private=True,
        ),
        Poll(name="manufacturer", cadence=Cadence.ONCE, scope=Scope.BANK, request=_asking(Command.MANUFACTURER)),
        Poll(name="version", cadence=Cadence.ONCE, scope=Scope.BANK, request=_asking(Command.VERSION)),
    )
    # 02 answers in practice although the text lists only 12 to 72 (section 5).
    probes = tuple(
        Probe(name=f"61 at {address:02X}", address=address, request=request(Command.SYSTEM_ANALOG, address))
        for address in (0x02, 0x12)
    )
