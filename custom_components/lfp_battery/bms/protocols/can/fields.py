"""Numbers as CAN families write them, with the raw values that mean "not available" (can.md section 5).

FFFF in an unsigned word, 8000 in a signed one; neither is anything that a battery of this kind can have.
"""

from collections.abc import Iterable
from typing import Final

from .layout import Bit, Finish, Layout, Number, Place, Text, Values, text_of

_BYTE: Final = frozenset({0xFF})
_WORD: Final = frozenset({0xFFFF})
_SIGNED: Final = frozenset({-0x8000})
_LIMIT: Final = frozenset({-0x8000, -1})
_LONG: Final = frozenset({0xFFFFFFFF})
_ZERO: Final = frozenset({0})

_SHORTEST_NAME: Final = 3


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


def is_name(data: bytes) -> bool:
    """Whether 370 or 371 is (half of) a name: three characters at least, and nothing after them.

    Two temperatures below 12.8 degC begin as a letter and a zero do (can.md 4.3).
    """
    text, _, rest = data.partition(b"\0")
    return len(text.strip()) >= _SHORTEST_NAME and not rest.strip(b"\0 ") and text_of(data) is not None


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
