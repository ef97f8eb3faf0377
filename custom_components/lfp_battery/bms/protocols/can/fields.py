"""Numbers as CAN families write them, with the raw values that mean "not available" (can.md section 5).

FFFF in an unsigned word, 8000 in a signed one; neither is anything that a battery of this kind can have.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final

from .layout import Bit, Finish, Layout, Number, Place, Text, Values, half_of, text_of

_BYTE: Final = frozenset({0xFF})
_WORD: Final = frozenset({0xFFFF})
_SIGNED: Final = frozenset({-0x8000})
_LIMIT: Final = frozenset({-0x8000, -1})
_LONG: Final = frozenset({0xFFFFFFFF})
_ZERO: Final = frozenset({0})

CELL_MV: Final = range(2000, 4201)  # what may be a cell, can.md 4.3

# 370 has its smaller values first, so that 371 cannot be trusted to name the cells in the order of its table.
MIN_FIRST: Final = "min_first"

_U16: Final = Struct("<H").unpack_from
_SHORTEST_NAME: Final = 3

# What stands in 359 [5:6] where Pylon's set is spoken: Pylontech, Pytes, Vestwoods (can.md 6.1).
_TAGS: Final = frozenset({b"PN", b"PY", b"VM"})


def byte(name: str, at: int, *, place: Place = "values") -> Number:
    """A share in %, as a byte."""
    return Number(name=name, at=at, code="B", missing=_BYTE, place=place)


def word(name: str, at: int, per: int = 1, *, place: Place = "values") -> Number:
    """An amount that is never negative."""
    return Number(name=name, at=at, per=per, missing=_WORD, place=place)


def long(name: str, at: int, per: int = 1, *, place: Place = "values") -> Number:
    """A counter of 32 bits."""
    return Number(name=name, at=at, code="I", per=per, missing=_LONG, place=place)


def signed(name: str, at: int, per: int = 1, *, place: Place = "values") -> Number:
    """An amount that may be negative; -1 is one."""
    return Number(name=name, at=at, code="h", per=per, missing=_SIGNED, place=place)


def limit(name: str, at: int, per: int = 10, *, place: Place = "values") -> Number:
    """The most current that is allowed, whatever sign a maker gives it; both markers occur in it."""
    return Number(name=name, at=at, code="h", per=per, magnitude=True, missing=_LIMIT, place=place)


def number(name: str, at: int, code: str = "B", *, place: Place = "values") -> Number:
    """What counts from 1, or how many there are of what cannot be none: 0 is not known."""
    return Number(name=name, at=at, code=code, missing=_ZERO | (_BYTE if code == "B" else _WORD), place=place)


def version(name: str, at: int, code: str = "H", *, place: Place = "identity") -> Number:
    """A version, in hexadecimal digits."""
    digits, blank = (2, 0xFF) if code == "B" else (4, 0xFFFF)
    return Number(
        name=name, at=at, code=code, missing=frozenset({0, blank}), form=lambda raw: f"{raw:0{digits}X}", place=place
    )


def serial_half(half: int) -> Layout:
    """A frame that is the first or the second half of a serial number."""
    return Layout(Text(name=f"serial_{half}", half=True, place="identity"), private=True)


def some(name: str, at: int, per: int = 1, *, place: Place = "values") -> Number:
    """An amount that cannot be 0 where there is one."""
    return Number(name=name, at=at, per=per, missing=_ZERO | _WORD, place=place)


def volts(raw: int) -> float:
    """Tenths below 1000, else hundredths: no pack of 8 or of 15/16 cells can be mistaken (can.md 4.3)."""
    return raw / 10 if 0 <= raw < 1000 else raw / 100


def cell_volts(raw: int) -> float | None:
    """A cell in mV; None where it can be none."""
    return raw / 1000 if raw in CELL_MV else None


def dotted(raw: int) -> str:
    """Four bytes, the last of them the major number (can.md 6.17)."""
    return ".".join(str(byte) for byte in raw.to_bytes(4))


def is_name(data: bytes) -> bool:
    """Whether 370 or 371 is (half of) a name: three characters at least, and nothing after them.

    Two temperatures below 12.8 degC begin as a letter and a zero do (can.md 4.3).
    """
    text, _, rest = data.partition(b"\0")
    return len(text.strip()) >= _SHORTEST_NAME and not rest.strip(b"\0 ") and text_of(data) is not None


def first_half(data: bytes) -> str | None:
    """370, where it is a name."""
    return half_of(data) if is_name(data) else None


def second_half(data: bytes) -> str | None:
    """371, where it is the rest of one: short or empty as it may be, nothing follows its end."""
    return None if data.partition(b"\0")[2].strip(b"\0 ") else half_of(data)


def tagged(data: bytes) -> bool:
    """Whether a 359 is of Pylon's set by its letters; text all over is Afore's serial number, whatever it spells."""
    return data[5:7] in _TAGS and not data[:5].isalnum()


def nothing_if_blank(data: bytes, values: Values, info: Values) -> None:
    """Zeros all over are no measurement: no cell has 0 mV and is still measured."""
    if not any(data):
        values.clear()
        info.clear()


def no_cells(values: Values) -> None:
    """No cell has 0 mV and is the highest: then none was measured. The lowest may, where a wire is off."""
    if not values.get("cell_voltage_max"):
        values.pop("cell_voltage_max", None)
        values.pop("cell_voltage_min", None)


def unnamed(name: str, found: Iterable[Bit], at: int, size: int) -> Finish:
    """Keep `size` bytes of alarm bits from `at` on as they came, once any is set that has no name."""
    named = bytearray(at + size)
    for bit in found:
        named[bit.at] |= bit.mask

    def finish(data: bytes, values: Values, info: Values) -> None:
        if any(byte & ~mask for byte, mask in zip(data[at:], named[at:], strict=False)):
            info[name] = data[at : at + size].hex()

    return finish


def tagged_capacity(data: bytes, values: Values, _: Values) -> None:
    """359 [5:6] is a capacity in Luxpower's set, and two letters in Pylon's."""
    if len(data) >= 7 and (capacity := _U16(data, 5)[0]) and not data[5:7].isalpha():
        values["design_capacity"] = capacity


def sort_pairs(data: bytes, values: Values, info: Values) -> None:
    """370: two temperatures and two cell voltages, the larger first (Seplos) or last (Shoto)."""
    nothing_if_blank(data, values, info)
    swapped = False
    for name in ("cell_temperature", "cell_voltage"):
        least, most = values.get(f"{name}_min"), values.get(f"{name}_max")
        if least is not None and most is not None and least > most:
            values[f"{name}_min"], values[f"{name}_max"] = most, least
            swapped = True
    if swapped:
        values[MIN_FIRST] = True
