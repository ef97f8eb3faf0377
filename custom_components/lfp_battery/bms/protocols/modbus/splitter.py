"""Cuts a stream of Modbus RTU into questions, answers and refusals: by length field and CRC, never by time.

Source: modbus-rtu.md sections 2 and 14.3. pymodbus's framer is made for one answer to one question: measured, it loses
frames when a question and its answer share a buffer.
"""

from collections.abc import Callable, Iterator
from typing import Final

from pymodbus.framer import FramerRTU

READ_WORDS: Final = (0x03, 0x04)
_READ_BITS: Final = (0x01, 0x02)
_WRITE_ONE: Final = (0x05, 0x06)
_WRITE_MANY: Final = (0x0F, 0x10)
_FUNCTIONS: Final = frozenset((*READ_WORDS, *_READ_BITS, *_WRITE_ONE, *_WRITE_MANY))
EXCEPTION: Final = 0x80

LONGEST: Final = 256  # bytes of an RTU frame (Modbus over serial line 1.02, section 2.5.1)
_LAST_UNIT: Final = 247
_LAST_CODE: Final = 11  # of the exceptions
_MOST_WORDS: Final = 125
_MOST_BITS: Final = 2000
_QUESTION: Final = 8  # bytes of every question but those that carry values
_REFUSAL: Final = 5
_FILLERS: Final = b"\x00\xff"  # what drivers leave on a line when they switch; means nothing

# Possible lengths of a normal answer to a read of words, out of its first four bytes (fewer: what is there so far).
type ReplySizes = Callable[[bytes], tuple[int, ...]]


def crc_is_right(frame: bytes | bytearray) -> bool:
    """Whether the last two bytes are the CRC-16/MODBUS of the others, low byte first."""
    return len(frame) > 2 and FramerRTU.compute_CRC(bytes(frame[:-2])) == frame[-2] << 8 | frame[-1]


def standard_sizes(head: bytes) -> tuple[int, ...]:
    """A length of one byte, then that many bytes of data."""
    return (5 + head[2],) if head[2] and not head[2] & 1 and head[2] <= 2 * _MOST_WORDS else ()


def is_question(frame: bytes | bytearray) -> bool:
    """Whether a frame has the form of a master's question; its CRC is not looked at."""
    if len(frame) < _QUESTION or frame[0] > _LAST_UNIT:
        return False
    function, count = frame[1], frame[4] << 8 | frame[5]
    if function in READ_WORDS:
        return len(frame) == _QUESTION and 0 < count <= _MOST_WORDS
    if function in _READ_BITS:
        return len(frame) == _QUESTION and 0 < count <= _MOST_BITS
    if function in _WRITE_ONE:
        return len(frame) == _QUESTION and (function == _WRITE_ONE[1] or (frame[4] in {0, 0xFF} and not frame[5]))
    return function in _WRITE_MANY and len(frame) == _values_size(frame)


def _values_size(head: bytes | bytearray) -> int | None:
    """Length of a question that carries values; None when its counts do not agree."""
    count = head[4] << 8 | head[5]
    words = head[1] == _WRITE_MANY[1]
    fits = 0 < count <= (123 if words else 1968) and head[6] == (2 * count if words else (count + 7) // 8)
    return 9 + head[6] if fits else None


class ModbusSplitter:
    """Implements `Splitter`, for the answer to a question or for everything that is said on a line.

    A frame is what a header announces and a CRC confirms. A header that announces more than ever comes holds nothing
    up: whatever intact frame follows it is found. Only the very answer that is awaited, header and all, is given its
    time, so that nothing inside of it is taken for a frame, and is let through with a wrong CRC, as damaged.
    """

    __slots__ = ("_answer", "_asked", "_buffer", "_noise", "_reply_sizes")

    def __init__(self, request: bytes | None = None, reply_sizes: ReplySizes = standard_sizes) -> None:
        """For the answer to `request`; None: for all traffic, in which each question announces its answer."""
        self._buffer = bytearray()
        self._noise = 0
        self._reply_sizes = reply_sizes
        self._answer: tuple[int, int, int] | None = None  # unit, function and bytes of data awaited
        self._asked = request is not None
        if request is not None:
            self._await(request)

    def _await(self, question: bytes) -> None:
        self._answer = None
        if is_question(question):
            unit, function, count = question[0], question[1], question[4] << 8 | question[5]
            if function in READ_WORDS:
                self._answer = unit, function, 2 * count
            elif function in _READ_BITS:
                self._answer = unit, function, (count + 7) // 8

    def feed(self, data: bytes) -> list[bytes]:
        """See `Splitter`."""
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        while (found := self._find()) is not None:
            start, end = found
            self._drop(start)
            frame = bytes(buffer[: end - start])
            del buffer[: end - start]
            frames.append(frame)
            if not self._asked:
                self._await(frame)
        start = 0
        while start < len(buffer) and not self._may_grow(start):
            start += 1
        self._drop(start)
        return frames

    def _find(self) -> tuple[int, int] | None:
        """The next frame; a damaged one when no intact one begins before its end.

        Looking further than that would read all of a long burst of damaged answers anew for each of them.
        """
        buffer = self._buffer
        damaged: tuple[int, int] | None = None
        for start in range(len(buffer) - 1):
            if damaged is not None and start >= damaged[1]:
                break
            for size in self._sizes(start):
                end = start + size
                if end <= len(buffer) and crc_is_right(buffer[start:end]):
                    return start, end
            if damaged is None and (awaited := self._awaited_size(start)):
                if start + awaited > len(buffer):
                    return None
                damaged = start, start + awaited
        return damaged

    def _may_grow(self, start: int) -> bool:
        """Whether more bytes may make a frame of what begins here."""
        buffer = self._buffer
        left = len(buffer) - start
        if left == 1:
            return buffer[start] <= _LAST_UNIT
        return any(size > left for size in self._sizes(start))

    def _sizes(self, start: int) -> Iterator[int]:
        """Lengths that a frame which begins here can have, as far as its bytes are known; two of them are needed."""
        buffer = self._buffer
        unit, function = buffer[start], buffer[start + 1]
        if unit > _LAST_UNIT:
            return
        left = len(buffer) - start
        if function & EXCEPTION:
            if function ^ EXCEPTION in _FUNCTIONS and (left < 3 or 0 < buffer[start + 2] <= _LAST_CODE):
                yield _REFUSAL
            return
        if function not in _FUNCTIONS:
            return
        if function in _WRITE_MANY:
            if left < 6 or 0 < (buffer[start + 4] << 8 | buffer[start + 5]) <= _MOST_BITS:
                yield _QUESTION  # the answer
            if left < 7:
                yield 10  # the least there can be
            elif size := _values_size(buffer[start : start + 7]):
                yield size
            return
        if left < 6 or is_question(buffer[start : start + _QUESTION].ljust(_QUESTION, b"\x00")):
            yield _QUESTION
        if function in _WRITE_ONE:
            return
        if left < 4:
            yield _REFUSAL + 1
        elif function in READ_WORDS:
            yield from (size for size in self._reply_sizes(bytes(buffer[start : start + 4])) if size <= LONGEST)
        elif self._answer == (unit, function, buffer[start + 2]):  # nobody reads bits here; only when just asked for
            yield 5 + buffer[start + 2]

    def _awaited_size(self, start: int) -> int | None:
        """Length of what begins here if it is the awaited answer; None: it is not, or not known yet."""
        buffer = self._buffer
        if self._answer is None or len(buffer) - start < 4:
            return None
        unit, function, payload = self._answer
        if buffer[start] != unit or buffer[start + 1] != function:
            return None
        if function in _READ_BITS:
            return 5 + payload if buffer[start + 2] == payload else None
        sizes = self._reply_sizes(bytes(buffer[start : start + 4]))
        return next((size for size in sizes if size - payload in {5, 6}), None)

    def _drop(self, count: int) -> None:
        """So many bytes belong to no frame."""
        if count:
            dropped = self._buffer[:count]
            self._noise += count - sum(map(dropped.count, _FILLERS))
            del self._buffer[:count]

    @property
    def pending(self) -> int | None:
        """See `Splitter`."""
        buffer = self._buffer
        if len(buffer) < 2:
            return 1 if buffer and buffer[0] not in _FILLERS else None
        for start in range(len(buffer) - 3):
            if size := self._awaited_size(start):
                return max(size - (len(buffer) - start), 1)
        left = len(buffer)
        return max((size - left for size in self._sizes(0) if size > left), default=1)

    @property
    def noise(self) -> int:
        """See `Splitter`."""
        return self._noise
