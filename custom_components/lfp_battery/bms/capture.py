"""What passed over a line during a scan, fit to be shown to others: bounded, and without serial numbers.

The form is that of `transports.recording`, with the speed on every line. What may be a serial number is replaced, sign
by sign, and so is the checksum over it, which would give it away: a frame that was redacted does not verify.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
import re
from typing import Final

from .catalog import FAMILIES
from .clock import Clock
from .protocols.modbus_splitter import ModbusSplitter
from .transports.recording import record_gap, record_head, record_line

_LIMIT: Final = 64 * 1024  # characters of the text
_LINE: Final = 48  # characters of a line beside its bytes

_FILLER, _CHECK = b"X", b"*"  # in place of what was said, and of the check over it
_SHORTEST: Final = 8  # letters and digits in a row that may be a serial number
_RUN: Final = re.compile(rb"[0-9A-Za-z]{%d,}" % _SHORTEST)
# Figures with a unit say how much, not who.
_RUN_IN_TEXT: Final = re.compile(rb"(?![0-9]+[ \t]*(?:mA|mV|mC|AS|Ah|%%))[0-9A-Za-z]{%d,}" % _SHORTEST)
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
    for word in _RUN.finditer(name.encode("ascii", "ignore"))
)
_BOARD: Final = re.compile(rb"P\d{1,2}S\d{2,3}A?\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Entry:
    when: float  # s since the scan began
    ours: bool
    baudrate: int
    private: bool  # the answer to a question after who somebody is
    data: bytes

    @property
    def size(self) -> int:
        return 2 * len(self.data) + _LINE


class Capture:
    """Takes down what passes; of a long story the beginning and the end."""

    def __init__(self, clock: Clock) -> None:
        """The time counts from now."""
        self._clock = clock
        self._started = clock.monotonic()
        self._first: list[_Entry] = []
        self._last: deque[_Entry] = deque()
        self._sizes = [0, 0]
        self._dropped = 0
        self._private = False

    def sent(self, data: bytes, baudrate: int, *, private: bool = False) -> None:
        """A question of ours; `private`: its answer says who somebody is."""
        self._private = private
        self._add(data, baudrate, ours=True)

    def heard(self, data: bytes, baudrate: int) -> None:
        """What came."""
        if data:
            self._add(data, baudrate, ours=False)

    def _add(self, data: bytes, baudrate: int, *, ours: bool) -> None:
        when = round(self._clock.monotonic() - self._started, 3)
        entry = _Entry(when, ours, baudrate, self._private and not ours, data)
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
        if not self._first:
            return ""
        lines = [record_head(self._first[0].baudrate, redacted=True)]
        lines += _lines(self._first)
        if self._dropped:
            lines.append(record_gap(self._dropped))
        lines += _lines(self._last)
        return "\n".join(lines) + "\n"


def _lines(entries: list[_Entry] | deque[_Entry]) -> Iterator[str]:
    # what came in pieces is looked at in one: a serial number may be cut anywhere
    for (ours, baudrate, private), group in groupby(entries, lambda one: (one.ours, one.baudrate, one.private)):
        pieces = list(group)
        if not ours:
            whole = redacted(b"".join(piece.data for piece in pieces), private=private)
            at = 0
            for index, piece in enumerate(pieces):
                pieces[index] = replace(piece, data=whole[at : at + len(piece.data)])
                at += len(piece.data)
        for piece in pieces:
            yield record_line(piece.when, piece.data, ours=ours, baudrate=baudrate)


def redacted(data: bytes, *, private: bool = False) -> bytes:
    """The same bytes, as many of them, without what may be a serial number; all that a `private` answer says is one."""
    out = bytearray()
    at = 0
    for frame in _FRAME.finditer(data):
        out += _unframed(data[at : frame.start()], private=private)
        head, rest, end = frame.groups()
        out += head + _frame_content(rest, whole=bool(end), private=private) + end
        at = frame.end()
    return bytes(out + _unframed(data[at:], private=private))


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
    for frame in ModbusSplitter().feed(data):
        start = data.index(frame, at)
        at = start + len(frame)
        if private and len(frame) > 8:
            out[start + 3 : at - 2] = _FILLER * (len(frame) - 5)
        elif not _hide_runs(out, start + 2, at):
            continue
        out[at - 2 : at] = _CHECK * 2
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
