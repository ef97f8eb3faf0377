"""Reading a frame by a table: which field stands where, and which bit means what.

Every length that a frame may have gets its plan when the table is made, so that reading costs one unpack and a short
loop. A field that a shorter frame does not reach is absent, and so is one that holds its "not available" marker.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct, calcsize
from typing import Any, ClassVar, Final, Literal, override

from ...can_frame import CanFrame
from ...model import Alarm, Condition, Severity
from .base import CanFamily, Said

type Place = Literal["values", "identity", "info"]
type Values = dict[str, Any]
# What a table cannot say: called with the bytes and what was read of them, which it may change.
type Finish = Callable[[bytes, Values, Values], None]  # data, values, info

# A protection against one of these is not something that passes: the part is broken.
_BROKEN: Final = frozenset(condition for condition in Condition if condition.endswith("_failure")) | {
    Condition.REVERSE_POLARITY,
    Condition.CONFIGURATION_CONFLICT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number of `struct` code `code` at byte `at`: (raw - zero) / per, as it stands where `per` is 1."""

    name: str
    at: int
    code: str = "H"
    per: int = 1  # negative turns the sign
    zero: int = 0
    mask: int | None = None
    missing: frozenset[int] = frozenset()  # raw values that mean "not available"
    magnitude: bool = False
    form: Callable[[int], object] | None = None  # instead of per, zero, mask and magnitude; None from it: absent
    place: Place = "values"

    def turn(self) -> Callable[[int], object] | None:
        """From the raw number to the value; None where it is the value."""
        if self.form is not None:
            return self.form
        per, zero, mask, magnitude = self.per, self.zero, self.mask, self.magnitude
        if per < 0:  # turned as an integer, which has no -0
            return lambda raw: (zero - (raw if mask is None else raw & mask)) / -per
        if mask is None and not zero and not magnitude:
            return None if per == 1 else lambda raw: raw / per

        def turned(raw: int) -> object:
            number = (raw if mask is None else raw & mask) - zero
            scaled = number if per == 1 else number / per
            return abs(scaled) if magnitude else scaled

        return turned


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A yes or no at one bit; `no` where a set bit means no."""

    name: str
    at: int
    mask: int
    no: bool = False
    place: Place = "values"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Printable ASCII up to the first 00; anything else in it and it is not taken for text (can.md section 5).

    Half of an identity is named "model_1", "model_2", "serial_1" or "serial_2" and keeps its spaces; an empty half is
    said to be empty. `CanFamily.compose` joins them.
    """

    name: str
    at: int = 0
    size: int = 8
    half: bool = False
    place: Place = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bit:
    """One bit of an alarm word, or the lower one of a pair."""

    at: int
    mask: int
    alarm: Alarm


def bits(at: int, severity: Severity, conditions: Mapping[int, Condition]) -> tuple[Bit, ...]:
    """Bits from byte `at` on, by number (8 is bit 0 of the next byte); a protection against a failure is a fault."""
    return tuple(
        Bit(
            at=at + number // 8,
            mask=1 << number % 8,
            alarm=Alarm(
                condition=condition,
                severity=Severity.FAULT if severity is Severity.PROTECTION and condition in _BROKEN else severity,
            ),
        )
        for number, condition in conditions.items()
    )


def pairs(first: int, severity: Severity, conditions: Mapping[int, Condition]) -> tuple[Bit, ...]:
    """Two bits an item, counted from pair `first` of the frame."""
    return bits(0, severity, {2 * (first + number): condition for number, condition in conditions.items()})


def text_of(data: bytes, *, half: bool = False) -> str | None:
    """Text as these protocols send it: up to the first 00, without spaces around; None where there is none."""
    raw = data.split(b"\0", 1)[0]
    if not raw.isascii() or not (text := raw.decode("ascii")).isprintable():
        return None
    return text if half else text.strip() or None


class Layout:
    """What one id holds."""

    __slots__ = ("_plans", "alarms", "finish", "pack", "private")

    def __init__(
        self,
        *parts: Number | Flag | Text | Bit,
        big_endian: bool = False,
        paired: bool = False,
        private: bool = False,
        pack: int | None = None,
        finish: Finish | None = None,
    ) -> None:
        """`paired`: the bits stand in pairs, of which 01 alone means active. `private`: holds a serial number."""
        self.private = private
        self.pack = pack
        self.finish = finish
        numbers = sorted((part for part in parts if isinstance(part, Number)), key=lambda number: number.at)
        for one, other in pairwise(numbers):
            if one.at + calcsize("<" + one.code) > other.at:
                raise ValueError(f"{one.name} and {other.name} overlap")
        found = tuple(part for part in parts if isinstance(part, Bit))
        self.alarms = frozenset(bit.alarm for bit in found)
        flags = tuple(part for part in parts if isinstance(part, Flag))
        texts = tuple(part for part in parts if isinstance(part, Text))
        ends = [number.at + calcsize("<" + number.code) for number in numbers]
        ends += [flag.at + 1 for flag in flags]
        ends += [bit.at + 1 for bit in found]
        ends += [text.at + text.size for text in texts]
        reach = max(ends, default=0)
        self._plans = tuple(
            _Plan(size, "<>"[big_endian], numbers, flags, texts, found, paired=paired) for size in range(reach + 1)
        )

    def of_pack(self, number: int) -> Layout:
        """The same layout, speaking of one pack."""
        layout = object.__new__(Layout)
        layout._plans, layout.alarms, layout.finish = self._plans, self.alarms, self.finish
        layout.private, layout.pack = self.private, number
        return layout

    def read(self, data: bytes) -> Said | None:
        """What the bytes say; None where they are too short to say anything. Never raises."""
        plans = self._plans
        plan = plans[len(data)] if len(data) < len(plans) else plans[-1]
        values: Values = {}
        info: Values | None = None
        identity: Values | None = None
        if plan.numbers:
            for raw, (name, missing, turn) in zip(plan.unpack(data), plan.numbers, strict=True):
                if raw in missing:
                    continue
                if turn is None:
                    values[name] = raw
                elif (value := turn(raw)) is not None:
                    values[name] = value
        for name, at, mask, no in plan.flags:
            values[name] = (not data[at] & mask) if no else bool(data[at] & mask)
        if plan.bits:
            values["alarms"] = _alarms(data, plan)
        for name, start, stop, half in plan.texts:
            if (text := text_of(data[start:stop], half=half)) is not None:
                values[name] = text
        if plan.elsewhere:
            info, identity = {}, {}
            for name, aside in plan.elsewhere:
                if name in values:
                    (info if aside == "info" else identity)[name] = values.pop(name)
        if self.finish is not None:
            self.finish(data, values, info := {} if info is None else info)
        if not values and not info and not identity:
            return None
        if not info and not identity:
            return Said(values=values, pack=self.pack)
        return Said(values=values, pack=self.pack, identity=identity or {}, info=info or {})


def _alarms(data: bytes, plan: _Plan) -> frozenset[Alarm]:
    active: list[Alarm] = []
    for at, mask, table in plan.bits:
        byte = data[at]
        if plan.paired:
            byte &= ~(byte >> 1)
        if byte & mask:
            active += (alarm for bit, alarm in table if byte & bit)
    return frozenset(active) if active else _NO_ALARMS


_NO_ALARMS: Final[frozenset[Alarm]] = frozenset()


class _Plan:
    """What can be read of a frame of one length."""

    __slots__ = ("bits", "elsewhere", "flags", "numbers", "paired", "texts", "unpack")

    def __init__(
        self,
        size: int,
        order: str,
        numbers: Iterable[Number],
        flags: Iterable[Flag],
        texts: Iterable[Text],
        found: Iterable[Bit],
        *,
        paired: bool,
    ) -> None:
        reached = [number for number in numbers if number.at + calcsize("<" + number.code) <= size]
        form, at = order, 0
        for number in reached:
            form += f"{number.at - at}x{number.code}"
            at = number.at + calcsize("<" + number.code)
        self.unpack = Struct(form).unpack_from
        self.numbers = tuple((number.name, number.missing, number.turn()) for number in reached)
        shown = [flag for flag in flags if flag.at < size]
        self.flags = tuple((flag.name, flag.at, flag.mask, flag.no) for flag in shown)
        # a name may be cut short by the length of its frame (35E "PYTES" comes in five bytes)
        said = [text for text in texts if text.at < size]
        self.texts = tuple((text.name, text.at, text.at + text.size, text.half) for text in said)
        tables: dict[int, list[tuple[int, Alarm]]] = {}
        for bit in found:
            if bit.at < size:
                tables.setdefault(bit.at, []).append((bit.mask, bit.alarm))
        self.bits = tuple((at, sum({bit for bit, _ in table}), tuple(table)) for at, table in tables.items())
        self.paired = paired
        places = [(number.name, number.place) for number in reached]
        places += [(flag.name, flag.place) for flag in shown]
        places += [(text.name, text.place) for text in said]
        self.elsewhere = tuple((name, place) for name, place in places if place != "values")


class LayoutFamily(CanFamily):
    """A family whose frames are all read by tables; `ids`, `private_ids` and `conditions` follow from them."""

    layouts: ClassVar[Mapping[int, Layout]]

    @override
    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if layouts := cls.__dict__.get("layouts"):
            cls.ids = frozenset(layouts)
            cls.private_ids = frozenset(frame_id for frame_id, layout in layouts.items() if layout.private)
            cls.has_packs = any(layout.pack is not None for layout in layouts.values())
            if "conditions" not in cls.__dict__:
                cls.conditions = frozenset(alarm.condition for layout in layouts.values() for alarm in layout.alarms)

    @override
    def read(self, frame: CanFrame) -> Said | None:
        """See `CanFamily`."""
        layout = self.layouts.get(frame.id)
        return None if layout is None else layout.read(frame.data)
