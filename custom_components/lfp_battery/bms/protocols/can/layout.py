"""Reading a frame by a table: which field stands where, and which bit means what.

Every length that a frame may have gets its plan when the table is made, so that reading costs one unpack and a short
loop. A field that a shorter frame does not reach is absent, and so is one that holds its "not available" marker. That
nothing is alarming is said only by a frame that reaches every alarm bit.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import or_
from struct import Struct, calcsize
from typing import Any, ClassVar, Final, Literal, override

from ...can_frame import CanFrame
from ...model import Alarm, Condition, Severity
from .base import CanFamily, Said

type Place = Literal["values", "identity", "info"]
type Values = dict[str, Any]
# What a table cannot say: called with the bytes and what was read of them, which it may change.
type Finish = Callable[[bytes, Values, Values], None]  # data, values, info

_USUAL_LENGTHS: Final = 9  # 0 to 8 bytes

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
        """From the raw number to the value, where a division by `per` is not all."""
        if self.form is not None:
            return self.form
        per, zero, mask, magnitude = self.per, self.zero, self.mask, self.magnitude
        if mask is None and not zero and not magnitude:
            return None

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
    form: Callable[[bytes], str | None] | None = None  # instead of that
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


def text_of(data: bytes) -> str | None:
    """Text as these protocols send it: up to the first 00, without spaces around; None where there is none."""
    text = half_of(data)
    return text.strip() or None if text is not None else None


def half_of(data: bytes) -> str | None:
    """The same with its spaces, and empty where there is none; None where it is no text."""
    raw = data.split(b"\0", 1)[0]
    if not raw.isascii() or not (text := raw.decode("ascii")).isprintable():
        return None
    return text


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
        plans = [
            _Plan(size, "<>"[big_endian], numbers, flags, texts, found, paired=paired)
            for size in range(max(ends, default=0) + 1)
        ]
        # by length; what is longer than any frame here is read as the longest
        self._plans = (*plans, *[plans[-1]] * (_USUAL_LENGTHS - len(plans)))

    def of_pack(self, number: int) -> Layout:
        """The same layout, speaking of one pack."""
        layout = object.__new__(Layout)
        layout._plans, layout.alarms, layout.finish = self._plans, self.alarms, self.finish
        layout.private, layout.pack = self.private, number
        return layout

    def read(self, data: bytes) -> Said | None:
        """What the bytes say; None where they are too short to say anything. Never raises."""
        try:
            plan = self._plans[len(data)]
        except IndexError:
            plan = self._plans[-1]
        values: Values = {}
        if plan.numbers:
            # strict costs a tenth of the time, and both have one entry a number
            for (name, missing, per, turn), raw in zip(plan.numbers, plan.unpack(data)):  # noqa: B905
                if raw in missing:
                    continue
                if turn is None:
                    values[name] = raw / per if per else raw
                elif (value := turn(raw)) is not None:
                    values[name] = value
        if plan.more:
            for at, mask, table in plan.tables:
                values |= table[data[at] & mask]
            if plan.mask:
                word = int.from_bytes(data[plan.bits], "little")
                alarms = _alarms(plan, word) if word & plan.mask else _NO_ALARMS
                if alarms or plan.whole:  # half a word cannot say that there is none
                    values["alarms"] = alarms
            for name, start, stop, form in plan.texts:
                if (text := form(data[start:stop])) is not None:
                    values[name] = text
            if plan.elsewhere or self.finish is not None:
                return self._aside(plan, data, values)
        elif self.finish is not None:
            return self._aside(plan, data, values)
        return Said(values, self.pack) if values else None

    def _aside(self, plan: _Plan, data: bytes, values: Values) -> Said | None:
        """What is of no pack and no bank goes where it belongs."""
        info: Values = {}
        identity: Values = {}
        for name, place in plan.elsewhere:
            if name in values:
                (info if place == "info" else identity)[name] = values.pop(name)
        if self.finish is not None:
            self.finish(data, values, info)
        if not (values or info or identity):
            return None
        return Said(values, self.pack, identity, info)


def _alarms(plan: _Plan, word: int) -> frozenset[Alarm]:
    if plan.paired:
        word &= ~(word >> 1)
    return frozenset(alarm for mask, alarm in plan.alarms if word & mask)


_NO_ALARMS: Final[frozenset[Alarm]] = frozenset()


class _Plan:
    """What can be read of a frame of one length."""

    __slots__ = (
        "alarms",
        "bits",
        "elsewhere",
        "mask",
        "more",
        "numbers",
        "paired",
        "tables",
        "texts",
        "unpack",
        "whole",
    )

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
        self.numbers = tuple(
            (number.name, number.missing, number.per if number.per != 1 else 0, number.turn()) for number in reached
        )
        shown = [flag for flag in flags if flag.at < size]
        places = sorted({flag.at for flag in shown})
        self.tables = tuple((at, *_table([flag for flag in shown if flag.at == at])) for at in places)
        # a name may be cut short by the length of its frame (35E "PYTES" comes in five bytes)
        said = [text for text in texts if text.at < size]
        self.texts = tuple(
            (text.name, text.at, text.at + text.size, text.form or (half_of if text.half else text_of)) for text in said
        )
        active = [bit for bit in found if bit.at < size]
        self.whole = all(bit.at < size for bit in found)
        first = min((bit.at for bit in active), default=0)
        self.bits = slice(first, max((bit.at for bit in active), default=-1) + 1)
        self.alarms = tuple((bit.mask << 8 * (bit.at - first), bit.alarm) for bit in active)
        self.mask = reduce(or_, (mask for mask, _ in self.alarms), 0)
        self.paired = paired
        aside = [(number.name, number.place) for number in reached]
        aside += [(flag.name, flag.place) for flag in shown]
        aside += [(text.name, text.place) for text in said]
        self.elsewhere = tuple((name, place) for name, place in aside if place != "values")
        self.more = bool(self.tables or self.mask or self.texts or self.elsewhere)  # than numbers


def _table(flags: Iterable[Flag]) -> tuple[int, dict[int, Values]]:
    """The bits that the flags of one byte stand at, and what they say for each way in which these can be set."""
    mask = reduce(or_, (flag.mask for flag in flags))
    return mask, {
        byte & mask: {flag.name: bool(byte & flag.mask) is not flag.no for flag in flags} for byte in range(256)
    }


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
