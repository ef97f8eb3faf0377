"""What passed over a line during a scan, fit to be shown to others: bounded, and without serial numbers.

The form is that of `transports.recording`, with the speed on every line. What may be a serial number is replaced, sign
by sign, and so is the checksum over it, which would give it away: a frame that was redacted does not verify.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
import re
from typing import Final

from .catalog import FAMILIES
from .clock import Clock
from .protocols import POLLED
from .protocols.modbus.splitter import ModbusSplitter, is_question
from .transports.recording import record_gap, record_head, record_line

_LIMIT: Final = 64 * 1024  # characters of the text
_LINE: Final = 48  # characters of a line beside its bytes

_PIECE: Final = 8 * 1024  # bytes that are looked at in one
_EDGES: Final = re.compile(rb"\A[-._/: \x000-9A-Za-z]+|[-._/: \x000-9A-Za-z]+\Z")

_FILLER, _CHECK = b"X", b"*"  # in place of what was said, and of the check over it
_SHORTEST: Final = 7  # letters and digits in a row that may be a serial number
_WORD: Final = re.compile(rb"[0-9A-Za-z]{%d,}" % _SHORTEST)
# Between registers and in fields, parts of a serial number are set apart, and one character may fill a register.
_RUN: Final = re.compile(rb"[0-9A-Za-z](?:[-._/: \x00]{0,3}[0-9A-Za-z]){%d,}" % (_SHORTEST - 1))
# Figures with a unit say how much, not who, and a date says when.
_RUN_IN_TEXT: Final = re.compile(
    rb"(?![0-9]+[ \t]*(?:mA|mV|mC|AS|Ah|%%))(?![0-9]{4}-[0-9]{2}-[0-9]{2}\b)(?<![0-9A-Za-z])"
    rb"[0-9A-Za-z](?:[-._/]?[0-9A-Za-z]){%d,}" % (_SHORTEST - 1)
)
_DIGIT: Final = re.compile(rb"[0-9]")
# SOI; VER, ADR, CID1, CID2, LENGTH; INFO and CHKSUM; EOI, or where the frame was cut off (pylon-rs485.md section 3)
_FRAME: Final = re.compile(rb"(~[0-9A-Fa-f]{12})([0-9A-Fa-f]*)(\r?)")
_CHECK_SIZE: Final = 4
# Lines and columns of the console whose value is a serial number, however short (pytes-console.md sections 5, 6 and 9).
_LABELLED: Final = re.compile(rb"(?im)^([ \t]*(?:bar ?code|serial|module sn|board sn|sn)\b[^:\r\n]*:[ \t]*)([^\r\n]+)")
_COLUMN: Final = b"barcode"
_TEXT_SHARE: Final = 0.9

# What packs call themselves, the boards of PACE included (pace-ascii.md section 11).
_MODELS: Final = frozenset(
    word.group().upper()
    for family in FAMILIES
    for model in family.models
    for name in (model.name, *model.reported)
    for text in (name.encode("ascii", "ignore"),)
    for word in (*_WORD.finditer(text), *_RUN.finditer(text))
)
# ... and those of Pylontech (US2000C).
_BOARD: Final = re.compile(rb"US\d{4}[A-Z]?\Z|P\d{1,2}S\d{2,3}A?(?:-\d{4,5})?(?:-\d{1,2}\.\d{1,2})?\Z", re.IGNORECASE)

# Questions whose answer is a serial number: CID1 and CID2 of a frame, registers of a Modbus block.
_PRIVATE: Final = tuple(
    instead.request(group[0])
    for protocol in POLLED.values()
    for poll in protocol.polls
    for instead in (poll, *poll.fallback)
    for group in protocol.address_groups
    if poll.private
)
_PRIVATE_COMMANDS: Final = frozenset(question[5:9] for question in _PRIVATE if question.startswith(b"~"))
_PRIVATE_BLOCKS: Final = frozenset(
    (int.from_bytes(question[2:4]), int.from_bytes(question[4:6])) for question in _PRIVATE if is_question(question)
)


def _asks_who(question: bytes) -> bool:
    """Whether the answer to this says who somebody is, whoever asked."""
    if question.startswith(b"~"):
        return question[5:9] in _PRIVATE_COMMANDS
    if not is_question(question):
        return False
    first, count = int.from_bytes(question[2:4]), int.from_bytes(question[4:6])
    return any(first < start + length and start < first + count for start, length in _PRIVATE_BLOCKS)


@dataclass(frozen=True, slots=True)
class _Entry:
    when: float  # s since the scan began
    ours: bool
    baudrate: int
    data: bytes

    @property
    def size(self) -> int:
        return 2 * len(self.data) + _LINE


class Capture:
    """Takes down what passes; of a long story the beginning and the end."""

    def __init__(self, clock: Clock, *, any_protocol: bool = True) -> None:
        """The time counts from now. `any_protocol`: what asks who somebody is in one may be asked of a pack of another."""
        self._clock = clock
        self._any_protocol = any_protocol
        self._started = clock.monotonic()
        self._first: list[_Entry] = []
        self._last: deque[_Entry] = deque()
        self._pending: list[_Entry] = []  # heard since the last question, not redacted yet
        self._sizes = [0, 0]
        self._dropped = 0
        self._private = False

    def sent(self, data: bytes, baudrate: int, *, private: bool = False) -> None:
        """A question of ours; `private`: its answer says who somebody is."""
        # what was not answered in full may go on after this question
        unfinished = self._settle() and self._private
        self._private = private or (self._any_protocol and _asks_who(data)) or unfinished
        self._keep(_Entry(self._now(), True, baudrate, data))

    def heard(self, data: bytes, baudrate: int) -> None:
        """What came."""
        if not data:
            return
        if self._pending and self._pending[-1].baudrate != baudrate:
            self._settle()
        self._pending.append(_Entry(self._now(), False, baudrate, data))
        if sum(len(piece.data) for piece in self._pending) > _PIECE:
            self._settle(cut=True)

    def _now(self) -> float:
        return round(self._clock.monotonic() - self._started, 3)

    def _settle(self, *, cut: bool = False) -> bool:
        """Redact and keep what was heard, in one: a serial number may be cut anywhere; whether its end is missing."""
        pieces, self._pending = self._pending, []
        if not pieces:
            return self._private
        whole = b"".join(piece.data for piece in pieces)
        hidden = redacted(whole, private=self._private)
        if cut:
            # neither half of what stands at the cut would look like anything
            hidden = _EDGES.sub(lambda run: _FILLER * len(run.group()), hidden)
        at = 0
        for piece in pieces:
            self._keep(replace(piece, data=hidden[at : at + len(piece.data)]))
            at += len(piece.data)
        return not (whole.endswith(b"\r") or bool(ModbusSplitter().feed(whole)))

    def _keep(self, entry: _Entry) -> None:
        if not self._last and self._sizes[0] + entry.size <= _LIMIT // 2:
            self._first.append(entry)
            self._sizes[0] += entry.size
            return
        self._last.append(entry)
        self._sizes[1] += entry.size
        while self._last and self._sizes[1] > _LIMIT // 2:
            gone = self._last.popleft()
            self._sizes[1] -= gone.size
            self._dropped += len(gone.data)

    def text(self) -> str:
        """The record, redacted; empty when nothing passed."""
        self._settle()
        if not self._first:
            return ""
        lines = [record_head(self._first[0].baudrate, redacted=True)]
        lines += _lines(self._first)
        if self._dropped:
            lines.append(record_gap(self._dropped))
        lines += _lines(self._last)
        return "\n".join(lines) + "\n"


def _lines(entries: Iterable[_Entry]) -> Iterator[str]:
    for entry in entries:
        yield record_line(entry.when, entry.data, ours=entry.ours, baudrate=entry.baudrate)


def redacted(data: bytes, *, private: bool = False) -> bytes:
    """The same bytes, as many of them, without what may be a serial number; all that a `private` answer says is one."""
    out = bytearray()
    at = 0
    who = private
    for frame in _FRAME.finditer(data):
        out += _unframed(data[at : frame.start()], private=private)
        head, rest, end = frame.groups()
        if end and _fits(frame.group()):
            asks = _asks_who(frame.group())
            out += head + _frame_content(rest, whole=True, private=who and not asks) + end
            who = private or asks
        else:
            # which of its bytes is wrong is not known
            out += head[:9] + _FILLER * len(head[9:] + rest) + end
        at = frame.end()
    return bytes(out + _unframed(data[at:], private=private))


def _fits(frame: bytes) -> bool:
    """Whether length and checksum of an ASCII frame are right (pylon-rs485.md section 3)."""
    length = int(frame[10:13], 16)
    return len(frame) == 13 + length + 5 and (sum(frame[1:-5]) + int(frame[-5:-1], 16)) & 0xFFFF == 0


def _tells(run: bytes) -> bool:
    """Whether a run of letters and digits may be a serial number: a word without digits is a word."""
    return _DIGIT.search(run) is not None and run.upper() not in _MODELS and not _BOARD.match(run)


def _frame_content(rest: bytes, *, whole: bool, private: bool) -> bytes:
    """INFO and checksum of an ASCII frame; text in it is in hex once more."""
    info, check = (rest[:-_CHECK_SIZE], rest[-_CHECK_SIZE:]) if whole else (rest, b"")
    even = len(info) & ~1
    said = bytes.fromhex(info[:even].decode())
    if private:
        hidden = [(0, len(said))] if said else []
    else:
        hidden = [run.span() for run in _RUN.finditer(said) if _tells(run.group())]
    if not hidden:
        return rest
    text = bytearray(info)
    for start, end in hidden:
        text[2 * start : 2 * end] = _FILLER * (2 * (end - start))
    return bytes(text) + _CHECK * len(check)


def _unframed(data: bytes, *, private: bool) -> bytes:
    if not data:
        return data
    printable = sum(0x20 <= byte < 0x7F or byte in b"\r\n\t" for byte in data)
    if printable >= _TEXT_SHARE * len(data):
        return _text(data)
    return _binary(data, private=private)


def _binary(data: bytes, *, private: bool) -> bytes:
    """Modbus, or noise."""
    out = bytearray(data)
    at = 0
    who = private
    for frame in ModbusSplitter().feed(data):
        start = data.index(frame, at)
        at = start + len(frame)
        if who and not is_question(frame) and len(frame) > 8:
            out[start + 3 : at - 2] = _FILLER * (len(frame) - 5)
            out[at - 2 : at] = _CHECK * 2
        elif _hide_runs(out, start + 2, at):
            out[at - 2 : at] = _CHECK * 2
        who = private or _asks_who(frame)
    if private and at < len(data) and len(data) - at > 3:
        out[at + 3 :] = _FILLER * (len(data) - at - 3)  # cut off, or not Modbus
    _hide_runs(out, 0, len(out))
    return bytes(out)


def _hide_runs(out: bytearray, start: int, end: int) -> bool:
    hidden = False
    for run in list(_RUN.finditer(bytes(out[start:end]))):
        if _tells(run.group()) and set(run.group()) != set(_FILLER):
            out[start + run.start() : start + run.end()] = _FILLER * len(run.group())
            hidden = True
    return hidden


def _text(data: bytes) -> bytes:
    """A console's answer: values with a label or a heading that says so, and whatever else looks like one."""
    data = _LABELLED.sub(lambda line: line[1] + re.sub(rb"[^\s]", _FILLER, line[2]), data)
    lines = re.split(rb"([\r\n]+)", data)
    place: int | None = None  # of the column, counted from the last
    for index, line in enumerate(lines):
        words = line.lower().split()
        if _COLUMN in words and b":" not in line:
            place = len(words) - words.index(_COLUMN)
        elif place is not None and len(words) >= place and not line.strip().startswith((b"$$", b"Command")):
            lines[index] = _without_word(line, -place)
    return _RUN_IN_TEXT.sub(
        lambda run: _FILLER * len(run.group()) if _tells(run.group()) else run.group(), b"".join(lines)
    )


def _without_word(line: bytes, index: int) -> bytes:
    word = list(re.finditer(rb"\S+", line))[index]
    if not _DIGIT.search(word.group()):
        return line
    return line[: word.start()] + _FILLER * len(word.group()) + line[word.end() :]
