"""The ASCII frame of Pylontech and PACE packs: `~ VER ADR CID1 CID2 LENGTH INFO CHKSUM CR`.

Source: pylon-rs485.md sections 3, 4 and 8. What INFO means is not known here.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ...errors import FrameError

CID1_BATTERY: Final = 0x46
VERSION: Final = 0x20

_SOI: Final = 0x7E
_EOI: Final = 0x0D
_SHORTEST: Final = 18  # characters, with SOI and EOI
_ABANDON: Final = 4200  # characters (section 8); the longest valid frame has 18 + 4095
_LENGTH_KNOWN: Final = 13  # characters up to the end of LENGTH
_FILLERS: Final = b"\x00\xff"  # seen between frames, mean nothing (section 8)


class ReadCommand(IntEnum):
    """Base of the lists of commands that may be sent. A list holds only commands that change nothing."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An intact frame. `code` is CID2 in a question and RTN in an answer; `info` is in bytes, no longer hex."""

    version: int
    address: int
    cid1: int
    code: int
    info: bytes


def length_checksum(lenid: int) -> int:
    """LCHKSUM of a number of INFO characters; masked, since a nibble sum of 16 gives 0 (section 4)."""
    return -((lenid >> 8) + (lenid >> 4 & 0xF) + (lenid & 0xF)) & 0xF


def checksum(body: bytes) -> int:
    """CHKSUM over the characters from VER to the end of INFO, as they are sent (section 4)."""
    return -sum(body) & 0xFFFF


def encode_question(command: ReadCommand, address: int, info: bytes = b"", *, version: int = VERSION) -> bytes:
    """A master's question, ready for the line. Nothing but a listed read command can be framed."""
    if not isinstance(command, ReadCommand):
        raise TypeError("only read commands can be sent")
    lenid = 2 * len(info)
    length = length_checksum(lenid) << 12 | lenid
    body = b"%02X%02X%02X%02X%04X%b" % (version, address, CID1_BATTERY, command, length, info.hex().upper().encode())
    return b"~%b%04X\r" % (body, checksum(body))


def parse(frame: bytes) -> Frame:
    """Check everything that the frame itself can prove.

    Raises:
        FrameError: it is not an intact frame.
    """
    if len(frame) < _SHORTEST or frame[0] != _SOI or frame[-1] != _EOI:
        raise FrameError("not a whole frame")
    try:
        raw = bytes.fromhex(frame[1:-1])
    except ValueError:
        raise FrameError("characters that are not hexadecimal") from None
    if 2 * len(raw) != len(frame) - 2:  # fromhex passes over blanks
        raise FrameError("characters that are not hexadecimal")
    length = raw[4] << 8 | raw[5]
    lenid = length & 0xFFF
    if length >> 12 != length_checksum(lenid):
        raise FrameError("the check of the length is wrong")
    if lenid != len(frame) - _SHORTEST:
        raise FrameError(f"{lenid} characters announced, {len(frame) - _SHORTEST} received")
    if (sum(frame[1:-5]) + (raw[-2] << 8 | raw[-1])) & 0xFFFF:
        raise FrameError("the checksum is wrong")
    return Frame(raw[0], raw[1], raw[2], raw[3], raw[6:-2])


class FrameSplitter:
    """Cuts a stream at SOI and EOI; implements `Splitter`."""

    __slots__ = ("_buffer", "_noise")

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._buffer = bytearray()
        self._noise = 0

    def feed(self, data: bytes) -> list[bytes]:
        """See `Splitter`. What a new SOI cuts short is noise, a frame that fails its checks is a frame."""
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        while (end := buffer.find(_EOI)) >= 0:
            start = buffer.rfind(_SOI, 0, end)
            if start < 0 or end + 1 - start > _ABANDON:
                self._count_noise(end + 1)
            else:
                self._count_noise(start)
                frames.append(bytes(buffer[: end + 1 - start]))
                del buffer[: end + 1 - start]
        start = buffer.rfind(_SOI)
        if start < 0 or len(buffer) - start > _ABANDON:
            start = len(buffer)
        self._count_noise(start)
        return frames

    def _count_noise(self, count: int) -> None:
        """Drop so many bytes from the front."""
        if count:
            dropped = self._buffer[:count]
            self._noise += count - sum(map(dropped.count, _FILLERS))
            del self._buffer[:count]

    @property
    def pending(self) -> int | None:
        """See `Splitter`."""
        buffer = self._buffer
        if not buffer:
            return None
        if len(buffer) < _LENGTH_KNOWN:
            return 1
        try:
            length = int.from_bytes(bytes.fromhex(buffer[9:13]))
        except ValueError:
            return 1
        lenid = length & 0xFFF
        if length >> 12 != length_checksum(lenid):
            return 1
        return max(_SHORTEST + lenid - len(buffer), 1)

    @property
    def noise(self) -> int:
        """See `Splitter`."""
        return self._noise
