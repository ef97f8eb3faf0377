"""How an answer of the text console stands on the wire: echo, start mark, lines, end mark, prompt.

Source: pytes-console.md sections 2 and 3. What the lines mean is not known here.
"""

from dataclasses import dataclass
from enum import StrEnum
import re
from typing import Final

from ...errors import FrameError, Refusal, RefusedError


class Command(StrEnum):
    """Everything that may be asked. A command that changes something is not among them, nor is a paged one."""

    POWER = "pwr"
    CELLS = "bat"
    INFORMATION = "info"
    HEALTH = "soh"
    STATISTICS = "stat"
    CLOCK = "time"  # alone it shows the clock; with values it would set it


PACK_NUMBERS: Final = range(1, 17)  # a table has 8 or 16 slots (section 5)
_SLOTS: Final = {str(number): number for number in PACK_NUMBERS}


def slot_of(text: str) -> int | None:
    """Which pack a number names; None: there is no such pack. Not by int(), which fails at thousands of digits."""
    return _SLOTS.get(text)


def encode(command: Command, number: int | None = None) -> bytes:
    """A question, ready for the line; `number` is the pack's, where the command takes one.

    Raises:
        TypeError: not one of the read commands.
        ValueError: no such pack, or a number after a command that would take it for a value.
    """
    if not isinstance(command, Command):
        raise TypeError("only read commands can be sent")
    if number is None:
        return f"{command}\r".encode()
    if command is Command.CLOCK or number not in PACK_NUMBERS:
        raise ValueError(f"{command} is never asked with {number}")
    return f"{command} {number}\r".encode()


ENTER: Final = b"\r"
# Ends an open pager without continuing it; where none is open, a blank before the next command changes nothing.
OTHER_KEY: Final = b" "

PYTES: Final = "PYTES"
PYLON: Final = "pylon"
PYLON_DEBUG: Final = "pylon_debug"  # after somebody's login

_BLANKS: Final = " \t\0\xff"  # the last two are what a line picks up while nobody speaks
_PROMPT: Final = re.compile(rf"[{_BLANKS}]*((?:{PYTES}|{PYLON_DEBUG}|{PYLON})>)")
_NO_BLANK: Final = re.compile(rf"[^{_BLANKS}]".encode("latin-1"))
_PROMPTS: Final = tuple(f"{name}>".encode() for name in (PYTES, PYLON_DEBUG, PYLON))
_LONGEST_PROMPT: Final = max(map(len, _PROMPTS))
_LINE_END: Final = re.compile(rb"[\r\n]")
_LINE_ENDS: Final = re.compile(r"[\r\n]+")
_START: Final = "@"
_END: Final = "$$"
_LIMIT: Final = 64 * 1024  # bytes; the longest answer known, a table of sixteen slots, has about 3 kB
_FILLERS: Final = b"\r\n" + _BLANKS.encode("latin-1")

_COMPLETED: Final = "Command completed successfully"
_INVALID: Final = "Invalid command or fail to"  # "excute.", as the battery spells it
_UNKNOWN: Final = re.compile(r"Unknown command '([^']*)' - try")
_USAGE: Final = "Usage:"


def words_of(request: bytes) -> str:
    """A request without its line end; empty for a key that asks for nothing but the prompt."""
    return request.decode("latin-1").strip()


def echoes(line: str, words: str) -> bool:
    """Whether a line shows these words as the console understood them: alone, or after noise that is no text."""
    if not line.endswith(words):
        return False
    before = line[: len(line) - len(words)].rstrip(_BLANKS)
    return not before or not " " <= before[-1] <= "~"


class AnswerSplitter:
    """Cuts out the answer to one question, or every answer when the question is not known; implements `Splitter`.

    A frame begins with the echo and ends with the prompt after the end mark. After a key alone, every prompt is one.
    """

    __slots__ = ("_at", "_buffer", "_ended", "_heard", "_noise", "_previous", "_searched", "_start", "_text", "_words")

    def __init__(self, request: bytes | None = None) -> None:
        """Wait for the answer to `request`."""
        self._words = None if request is None else words_of(request)
        self._buffer = bytearray()
        self._noise = 0
        self._heard = 0  # bytes in the buffer that are no fillers
        self._forget()

    def _forget(self) -> None:
        """Begin anew with what is in the buffer."""
        self._at = 0  # where the line under way begins
        self._text = 0  # ... and the text in it: nothing but blanks before this
        self._searched = 0  # no line end before this
        self._start: int | None = None  # of the frame under way
        self._previous: int | None = None  # where the last line began that said anything
        self._ended = False  # the end mark was seen

    def feed(self, data: bytes) -> list[bytes]:
        """See `Splitter`. What never gets its end mark never becomes a frame.

        Single bytes come by the ten thousand: what was looked at once is not looked at again for each that follows.
        """
        buffer = self._buffer
        buffer += data
        self._heard += _telling(data)
        frames: list[bytes] = []
        while True:
            text = _NO_BLANK.search(buffer, self._text)
            self._text = len(buffer) if text is None else text.start()
            prompt = next((prompt for prompt in _PROMPTS if buffer.startswith(prompt, self._text)), None)
            if prompt is not None:
                frames += self._prompted(self._text, self._text + len(prompt))
            elif (end := _LINE_END.search(buffer, self._searched)) is not None:
                self._take_line(end.start())
                self._at = self._text = self._searched = end.end()
            else:
                break
        if self._start is None and self._previous is None:
            self._drop(self._text)  # nothing of it can be of a frame
        if len(buffer) > _LIMIT:
            self._drop(len(buffer))
        self._searched = len(buffer)
        return frames

    def _take_line(self, end: int) -> None:
        """Look at a whole line."""
        line = self._buffer[self._at : end].decode("latin-1").strip(_BLANKS)
        if not line or self._words == "":
            return
        if self._start is not None:
            self._ended |= line == _END
        elif self._words is not None and echoes(line, self._words):
            self._start = self._text
        elif line == _START:
            self._start = self._text if self._previous is None else self._previous
        else:
            self._previous = self._text

    def _prompted(self, start: int, end: int) -> list[bytes]:
        """Look at a prompt: the end of a frame, a frame by itself, or what an echo stands behind."""
        if self._start is not None and self._ended:
            begin, is_frame = self._start, True
        else:  # what came without an end mark cannot be used
            begin, is_frame = start, self._words == ""
        self._drop(begin)
        frame = bytes(self._buffer[: end - begin])
        del self._buffer[: end - begin]
        self._heard -= _telling(frame)
        return [frame] if is_frame else []

    def _drop(self, count: int) -> None:
        """Give up so many bytes from the front."""
        telling = _telling(self._buffer[:count])
        self._noise += telling
        self._heard -= telling
        del self._buffer[:count]
        self._forget()

    @property
    def pending(self) -> int | None:
        """See `Splitter`; how much is missing is never known."""
        if self._words == "":
            line = self._buffer[self._text : self._text + _LONGEST_PROMPT]
            return 1 if line and any(prompt.startswith(line) for prompt in _PROMPTS) else None
        return None if self._start is None else 1

    @property
    def noise(self) -> int:
        """See `Splitter`."""
        return self._noise + (self._heard if self.pending is None else 0)


def _telling(data: bytes | bytearray) -> int:
    return len(data) - sum(map(data.count, _FILLERS))


@dataclass(frozen=True, slots=True)
class Answer:
    """The text of an answer. Lines have no blanks at their ends, those in front apart, and none is empty."""

    prompt: str
    echo: str | None  # what the console understood
    lines: tuple[str, ...]  # between start mark and end mark
    bare: bool = False  # nothing but the prompt


def parse(frame: bytes) -> Answer:
    """Take an answer apart.

    Raises:
        FrameError: it has no prompt, or no end mark before it.
    """
    text = frame.decode("latin-1")
    lines = [line for part in _LINE_ENDS.split(text) if (line := part.rstrip(_BLANKS).lstrip("\0\xff")).split()]
    if not lines or (found := _PROMPT.fullmatch(lines[-1])) is None:
        raise FrameError("the answer does not end with a prompt")
    prompt = found[1].removesuffix(">")
    body: list[str] = []
    for line in lines[:-1]:
        # what stands before a prompt, and the prompt itself, is of an earlier exchange
        rest = line
        while (found := _PROMPT.match(rest)) is not None:
            body.clear()
            rest = rest[found.end() :]
        if rest.split():
            body.append(rest)
    if not body:
        return Answer(prompt, None, (), bare=True)
    marks = [line.strip(_BLANKS) for line in body]
    if _END not in marks:
        raise FrameError("the answer has no end mark")
    end = marks.index(_END)
    if _START not in marks[:end]:
        return Answer(prompt, None, tuple(body[:end]))
    start = marks.index(_START)
    return Answer(prompt, marks[start - 1] if start else None, tuple(body[start + 1 : end]))


def content(answer: Answer, words: str) -> tuple[str, ...]:
    """The lines that answer a question.

    Raises:
        FrameError: the answer is to another question, or its lines are not all there.
        RefusedError: the console did not do what it was asked.
    """
    lines = answer.lines
    if answer.echo is not None:
        if not echoes(answer.echo, words):
            raise FrameError("an answer to another question")
    elif lines and echoes(lines[0], words):
        lines = lines[1:]
    if _COMPLETED in lines:
        return lines[: lines.index(_COMPLETED)]
    _refuse(lines, words)
    raise FrameError("the answer does not say that it is complete")


def _refuse(lines: tuple[str, ...], words: str) -> None:
    command, _, number = words.partition(" ")
    for place, line in enumerate(lines):
        if (found := _UNKNOWN.search(line)) is not None:
            if found[1].split()[:1] != [command]:
                raise FrameError("a refusal of another question")
            raise RefusedError("it does not know this command", code=1, refusal=Refusal.UNSUPPORTED)
        if line.strip().startswith(_INVALID):
            usage = " ".join(lines[place + 1 :]).partition(_USAGE)[2].strip()
            # a command whose usage shows no parameter takes no number; with one, there is no such pack
            takes_number = "[" in usage or "{" in usage
            refusal = Refusal.UNSUPPORTED if number and usage and not takes_number else Refusal.AWAY
            raise RefusedError(
                f"it could not do this ({usage})" if usage else "it could not do this", code=2, refusal=refusal
            )
