"""The board that talks to inverters and phones: address 0x10, in frames that are like Modbus and are not.

Source: ble.md section 4. Only reads can be framed here; acknowledgements of settings are understood when they come.
"""

from collections.abc import Callable, Mapping
from typing import Final

from pymodbus.framer import FramerRTU

from ...errors import FrameError, Refusal, RefusedError
from ..base import Decoded
from ..modbus.frame import refused
from ..modbus.splitter import EXCEPTION, READ_WORDS, crc_is_right

BOARD: Final = 0x10
_BMS: Final = 0x01
_HEAD, _CRC = 3, 2
SHORTEST: Final = _HEAD + _CRC
_MOST: Final = 200 - SHORTEST  # bytes of data: the buffer of the characteristic has 200

MODULE_ID, RS485_LIST, CAN_LIST = 0x02, 0x03, 0x04
_HEATING: Final = 0x0A  # inferred (ble.md section 6)
SETS: Final = frozenset({0x05, 0x06, 0x07, _HEATING})  # one byte each; never framed here
_UNNAMED: Final = frozenset({0x09, 0x0B, 0x0C, 0x0D})  # the name, and what nobody explains
FUNCTIONS: Final = frozenset({MODULE_ID, RS485_LIST, CAN_LIST}) | SETS | _UNNAMED

_LAST_MODULE: Final = 16
_DONE: Final = 0x00
_NAME: Final = 10  # bytes of an entry of a list, padded with NULs
_LISTS: Final = {RS485_LIST: "rs485", CAN_LIST: "can"}


def asking(function: int) -> Callable[[int], bytes]:
    """As `Poll.request`: this read; there is one such board behind a connection."""
    if function not in {MODULE_ID, *_LISTS}:
        raise ValueError(f"{function:02x} is not a read")
    head = bytes((BOARD, function, 0))
    frame = head + FramerRTU.compute_CRC(head).to_bytes(2, "big")
    return lambda address: frame


def fits(function: int, length: int) -> bool:
    """Whether a question or an answer of this function may declare so many bytes of data."""
    if function in _LISTS:
        return length == 0 or (length <= _MOST and length % _NAME == 2)
    if function == MODULE_ID:
        return length <= 1
    return length == 1 if function in SETS else function in _UNNAMED and length <= _MOST


def is_whole(frame: bytes) -> bool:
    """Whether this is one intact frame from or for the board."""
    return (
        len(frame) >= SHORTEST
        and frame[0] == BOARD
        and fits(frame[1], frame[2])
        and len(frame) == SHORTEST + frame[2]
        and crc_is_right(frame)
    )


def is_refusal(frame: bytes) -> bool:
    """Whether this is an intact refusal in the form that Modbus has: the function with its highest bit set, and a code.

    Not seen from the board; but that it has one form for what was done says nothing of what is not.
    """
    return len(frame) == SHORTEST and frame[0] == BOARD and frame[1] ^ EXCEPTION in FUNCTIONS and crc_is_right(frame)


def is_question(frame: bytes) -> bool:
    """Whether it has the form of a question; acknowledgements of sets have the form of a set."""
    return is_whole(frame) and (not frame[2] or frame[1] in SETS)


def is_answer(request: bytes, frame: bytes) -> bool:
    """Whether an intact frame can answer this question. That of a set may be the very same bytes."""
    if not is_question(request):
        return False
    return (is_whole(frame) and frame[1] == request[1] and frame[2] > 0) or _refuses(request, frame)


def _refuses(request: bytes, frame: bytes) -> bool:
    """Whether this is a refusal of the question; a set may also be refused by the battery that it is meant for."""
    if is_refusal(frame):
        return frame[1] ^ EXCEPTION == request[1]
    return (
        bool(request[2])
        and len(frame) == SHORTEST
        and frame[0] == _BMS
        and frame[1] ^ EXCEPTION in {request[1], *READ_WORDS}
        and crc_is_right(frame)
    )


def decode(request: bytes | None, frame: bytes) -> Decoded:
    """What the board says; a question on its own says nothing.

    Raises:
        FrameError: not an answer to this.
        RefusedError: the board does not do what was asked of it.
    """
    if is_refusal(frame) if request is None else is_question(request) and _refuses(request, frame):
        if request is not None and request[2]:
            raise RefusedError(f"the setting was refused (exception {frame[2]})", code=frame[2], refusal=Refusal.OTHER)
        raise refused(frame[2])
    if not is_whole(frame):
        raise FrameError("not a whole frame with the right CRC and length")
    if request is not None and not is_answer(request, frame):
        raise FrameError("not an answer to what was asked")
    function, data = frame[1], frame[_HEAD:-_CRC]
    if not data:
        return Decoded()
    if function in SETS:
        return _acknowledged(data[0], ours=request is not None and function == _HEATING)
    reader = _READERS.get(function)
    return Decoded(info={"undecoded": data.hex()} if reader is None else reader(data))


def _acknowledged(result: int, *, ours: bool) -> Decoded:
    """Of sets that only somebody else sends it is told; of our own everything but "done" is a refusal."""
    if ours and result != _DONE:
        raise RefusedError(f"the setting was refused ({result:02x})", code=result, refusal=Refusal.OTHER)
    return Decoded(info={"accepted": result == _DONE})


def _module_id(data: bytes) -> dict[str, object]:
    if not 1 <= data[0] <= _LAST_MODULE:
        raise FrameError(f"{data[0]} is no module ID")
    return {"module_id": data[0]}


def _list_of(port: str) -> Callable[[bytes], dict[str, object]]:
    """What the port can be set to, and what it is."""

    def read(data: bytes) -> dict[str, object]:
        selected, count = data[0], data[1]
        if len(data) != 2 + _NAME * count:
            raise FrameError(f"a list of {count} in {len(data)} bytes")
        raw = [data[at : at + _NAME].rstrip(b"\x00") for at in range(2, len(data), _NAME)]
        if not all(0x20 <= byte < 0x7F for name in raw for byte in name):
            raise FrameError("names that are not text")
        names = [name.decode("ascii").strip() for name in raw]
        found: dict[str, object] = {"protocols": names}
        if selected:  # the first is what is selected where no place is said
            found["selected_index"] = selected
        if selected < count:
            found["selected_name"] = names[selected]
        return {f"{port}_protocols": found}

    return read


_READERS: Final[Mapping[int, Callable[[bytes], dict[str, object]]]] = {
    MODULE_ID: _module_id,
    **{function: _list_of(port) for function, port in _LISTS.items()},
}
