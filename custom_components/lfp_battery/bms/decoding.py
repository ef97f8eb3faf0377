"""The `decode` command: one JSON object in, one out, nothing remembered in between.

For bring-up and bug reports: it shows what this package makes of bytes that somebody captured.
"""

from collections.abc import Iterable, Mapping, Set as AbstractSet
from dataclasses import fields
from enum import Enum
import json
import re
from typing import Any

from .can_frame import EXTENDED, CanFrame
from .errors import BmsError, FrameError
from .model import Alarm, BatteryState, Identity
from .plausibility import hold_back
from .protocols import DECODERS
from .protocols.base import Codec, Decoded
from .protocols.can import CAN
from .protocols.can.detection import Detector
from .protocols.modbus.frame import ModbusProtocol, Registers

_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_CAN = "can"  # frames of a bus, of whichever family
_CAN_ID = re.compile(r"[0-7][0-9A-Fa-f]{2}|[01][0-9A-Fa-f]{7}")
_CAN_DATA = re.compile(r"(?:[0-9A-Fa-f]{2}){0,64}")
_CAN_TIME = 1e12  # s
_CAN_STEP = 0.05  # s between frames whose times are not known: fast enough for a bus, too slow to be a repetition

type Answer = dict[str, Any]


def answer(line: str | bytes) -> Answer:
    """What one input line says; whatever is wrong with it becomes an answer too."""
    try:
        asked = _parse(line)
        if asked.get("protocol") == _CAN:
            return _bus(asked)
        codec = _codec(asked)
        if "registers" in asked:
            return _shown(asked["protocol"], [_registers(codec, asked)])
        request = _bytes(asked, "request")
        if "stream" in asked or "chunks" in asked:
            return _stream(codec, asked["protocol"], request, _chunks(asked))
        response = _bytes(asked, "response")
        if response is None:
            raise FrameError("there is no response to decode")
        return _shown(asked["protocol"], [codec.decode(request, response)])
    except BmsError as err:
        return _error(err)


def _parse(line: str | bytes) -> dict[str, Any]:
    try:
        asked = json.loads(line)
    except (ValueError, RecursionError) as err:
        raise FrameError(f"not a line of JSON: {err}") from None
    if not isinstance(asked, dict):
        raise FrameError("not a JSON object")
    return asked


def _codec(asked: Mapping[str, Any]) -> Codec:
    name = asked.get("protocol")
    if not isinstance(name, str) or (codec := DECODERS.get(name)) is None:
        raise FrameError(f"{name!r} is not a protocol known here: {', '.join(DECODERS)}")
    return codec


def _registers(codec: Codec, asked: Mapping[str, Any]) -> Decoded:
    """A dump of registers, by number or by its hexadecimal text; `unit` is 1 where it is not given."""
    if not isinstance(codec, ModbusProtocol):
        raise FrameError(f"{codec.name} has no registers")
    dump, unit = asked["registers"], asked.get("unit", 1)
    if not isinstance(dump, dict):
        raise FrameError("registers is not an object")
    if not isinstance(unit, int):
        raise FrameError("the unit is not a number")
    words: dict[int, int] = {}
    for register, word in dump.items():
        try:
            number = int(register, 0)
        except ValueError:
            raise FrameError(f"{register!r} is not the number of a register") from None
        if not isinstance(word, int) or not (0 <= number <= 0xFFFF and 0 <= word <= 0xFFFF):
            raise FrameError(f"register {register} does not hold a 16-bit word")
        words[number] = word
    return codec.read(unit, Registers(words))


def _as_bytes(value: object, what: str) -> bytes:
    """Hex without separators, or text as it stands."""
    if not isinstance(value, str):
        raise FrameError(f"{what} is neither hex nor text")
    if _HEX.fullmatch(value):
        return bytes.fromhex(value)
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        raise FrameError(f"{what} has characters that no serial line carries") from None


def _bytes(asked: Mapping[str, Any], key: str) -> bytes | None:
    return None if (value := asked.get(key)) is None else _as_bytes(value, key)


def _chunks(asked: Mapping[str, Any]) -> list[bytes]:
    if "stream" in asked:
        return [_as_bytes(asked["stream"], "stream")]
    if not isinstance(chunks := asked["chunks"], list):
        raise FrameError("chunks is not a list")
    return [_as_bytes(chunk, "chunk") for chunk in chunks]


def _stream(codec: Codec, name: str, request: bytes | None, chunks: Iterable[bytes]) -> Answer:
    """Split a stream as a client would, and decode what is in it.

    With a request: its echo is dropped, and its answer is what counts. Without: every question that is overheard is
    the request of what follows it. What cannot be decoded matters only when nothing can.
    """
    splitter = codec.splitter(request)
    frames = [frame for chunk in chunks for frame in splitter.feed(chunk)]
    if request is not None and request in frames:
        frames.remove(request)
    decoded: list[Decoded] = []
    problem: BmsError | None = None
    asked = request
    for frame in frames:
        # some answers have the form of a question: what fits what was asked is one
        answers = asked is not None and codec.is_answer(asked, frame)
        if request is None and not answers and codec.is_request(frame):
            asked = frame
            continue
        try:
            decoded.append(codec.decode(asked, frame))
        except BmsError as err:
            problem = err
        asked = request
    if decoded:
        shown = _shown(name, decoded)
    elif frames and problem is None:
        shown = _shown(name, [])  # questions only
    else:
        shown = _error(problem or FrameError("there is no whole frame in the stream"))
    return shown | {"frames": [frame.hex() for frame in frames]}


def _bus(asked: Mapping[str, Any]) -> Answer:
    """What a bus says, read as the family that is given or else as the one that all of its frames together are of.

    Of every id the latest frame counts, as it would at the end of such a recording.
    """
    frames = _bus_frames(asked)
    times = asked.get("times", [_CAN_STEP * number for number in range(len(frames))])
    if not isinstance(times, list) or len(times) != len(frames) or not all(map(_is_time, times)):
        raise FrameError("times is not one number a frame")
    detector = Detector()
    latest: dict[int, CanFrame] = {}
    for frame, at in zip(frames, times, strict=True):
        if frame is not None:
            detector.hear(frame, at)
            latest.pop(frame.id, None)
            latest[frame.id] = frame
    verdict = detector.verdict(times[-1] if times else 0.0)
    name = asked.get("family", verdict.family)
    if name is None:
        shown: Answer = {"protocol": _CAN, "packs": {}, "bank": None, "info": {}, "held_back": {}}
    elif not isinstance(name, str) or (family := CAN.get(name)) is None:
        raise FrameError(f"{name!r} is not a family known here: {', '.join(CAN)}")
    else:
        said = (family.read(frame) for frame in latest.values())
        shown = _shown(name, [family.compose(one for one in said if one is not None)])
    told = {"inverter": verdict.inverter, "hint": verdict.hint}
    shown["info"] |= {key: plain(value) for key, value in told.items() if value is not None}
    return shown


def _bus_frames(asked: Mapping[str, Any]) -> list[CanFrame | None]:
    """Data frames as a transport hands them over; None where it would drop one."""
    rows = asked.get("frames")
    flags = asked.get("flags", [{}] * len(rows) if isinstance(rows, list) else None)
    if not isinstance(rows, list) or not isinstance(flags, list) or len(flags) != len(rows):
        raise FrameError("frames and flags are not lists of the same length")
    return [_bus_frame(row, flag) for row, flag in zip(rows, flags, strict=True)]


def _bus_frame(row: object, flags: object) -> CanFrame | None:
    """[id, payload], the id with three or eight hexadecimal digits; a payload may be longer than was sent."""
    match row:
        case [str(number), str(data)] if _CAN_ID.fullmatch(number) and _CAN_DATA.fullmatch(data):
            pass
        case _:
            raise FrameError(f"{row!r} is not an identifier and a payload in hex")
    size = flags.get("dlc", len(data)) if isinstance(flags, dict) else None
    if not isinstance(flags, dict) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise FrameError(f"{flags!r} are no flags of a frame")
    if flags.get("remote") or flags.get("error"):
        return None
    return CanFrame(
        id=int(number, 16) | (EXTENDED if len(number) > 3 else 0),
        data=bytes.fromhex(data)[:size],
    )


def _is_time(value: object) -> bool:
    """A number of seconds; neither infinite, nor so many that there are no fractions left of them."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _CAN_TIME


def _error(err: BmsError) -> Answer:
    shown: Answer = {"error": type(err).__name__, "reason": str(err)}
    if isinstance(err, FrameError) and err.dialect is not None:
        shown["dialect"] = err.dialect
    return shown


def _shown(name: str, messages: Iterable[Decoded]) -> Answer:
    """Everything that some messages said; where they say the same of different times, the last one stands."""
    packs: dict[str, dict[str, Any]] = {}
    identities: dict[int, Identity] = {}
    info: dict[str, Any] = {}
    held_back: dict[str, str] = {}
    bank: dict[str, Any] | None = None
    states: dict[int, BatteryState] = {}
    for message in messages:
        for address, identity in message.identities.items():
            identities[address] = identities.get(address, Identity()).joined(identity)
        info |= {key: plain(value) for key, value in message.info.items()}
        states |= message.packs
        for address, pack in message.packs.items():
            published, reasons = hold_back(pack)
            packs.setdefault(str(address), {}).update(reported(published))
            held_back |= {f"{address}.{field}": reason for field, reason in reasons.items()}
        if message.bank is not None:
            published_bank, reasons = hold_back(message.bank)
            bank = (bank or {}) | reported(published_bank)
            held_back |= {f"bank.{field}": reason for field, reason in reasons.items()}
    if len(states) + (bank is not None) == 1:  # whose field it is needs no saying
        held_back = {field.partition(".")[2]: reason for field, reason in held_back.items()}
    if len(identities) == 1:
        info = reported(next(iter(identities.values()))) | info
    else:
        for address, identity in identities.items():
            info[str(address)] = {**info.get(str(address), {}), **reported(identity)}
    return {"protocol": name, "packs": packs, "bank": bank, "info": info, "held_back": held_back}


def reported(thing: BatteryState | Identity) -> dict[str, Any]:
    """A dataclass as JSON has it; what was not reported is left out, and so is an address, which is the key."""
    values = ((f.name, getattr(thing, f.name)) for f in fields(thing) if f.name != "address")
    return {name: plain(value) for name, value in values if value is not None and (name != "derived" or value)}


def plain(value: object) -> Any:
    """A value of the model as JSON has it: sets become sorted lists, enums their values."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, AbstractSet):
        return sorted(map(plain, value), key=_order)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Alarm):
        return {f.name: plain(found) for f in fields(value) if (found := getattr(value, f.name)) is not None}
    return value


def _order(item: Any) -> Any:
    """Numbers and names as they are, alarms by condition, severity and cell."""
    return (*item.values(),) if isinstance(item, dict) else item
