"""Tables of the text console: tokens to columns by heading, and rows that do not fit.

Source: pytes-console.md sections 5 and 7.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
import re
from typing import Final

UNKNOWN: Final = "-"  # printed where there is no value

_TOKEN: Final = re.compile(r"\S+")
_TWO_WORDS: Final = re.compile(r"(?<!\S)(\S+) (State)\b")  # "Base State" is one heading
_NUMBER: Final = re.compile(r"-?\d{1,7}")
_WORD: Final = re.compile(r"[A-Za-z]+")
_PERCENT: Final = re.compile(r"\d{1,3}%")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_CLOCK: Final = re.compile(r"\d\d:\d\d:\d\d")
_CHARGE_UNIT: Final = re.compile(r"m?A[HS]", re.IGNORECASE)

CHARGE: Final = "Coulomb"
SHARE: Final = "SOC"
TIME: Final = "Time"


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a line and where it stands."""

    text: str
    at: int


def tokens_of(line: str) -> list[Token]:
    """The words of a line."""
    return [Token(found[0], found.start()) for found in _TOKEN.finditer(line)]


class Columns:
    """The headings of one table, and what may stand under them."""

    def __init__(self, heading: str, numbers: frozenset[str], words: frozenset[str]) -> None:
        """`numbers` and `words` are the columns that are read; what stands under others is not looked at."""
        found = tokens_of(_TWO_WORDS.sub(r"\1_\2", heading))
        while found and not found[-1].text.isascii():
            found.pop()  # stray bytes after the last heading (V5 `soh`, section 3)
        self.names: Final = [token.text for token in found]
        self._starts: Final = [token.at for token in found]
        self._fits: Final[dict[str, Callable[[str], object]]] = {
            **dict.fromkeys(numbers, _NUMBER.fullmatch),
            **dict.fromkeys(words, _WORD.fullmatch),
            SHARE: _PERCENT.fullmatch,
            "BAL": re.compile("[YN]").fullmatch,
        }
        self._numbers: Final = numbers

    @property
    def twice(self) -> bool:
        """Whether a heading that is read stands there twice, so that nobody knows which is which."""
        return any(self.names.count(name) > 1 for name in self._fits)

    def read(self, tokens: Sequence[Token]) -> tuple[dict[str, str], bool]:
        """Values by heading, and whether the whole row fits; else only the columns in front of the misfit."""
        values: dict[str, str] = {}
        at = 0
        for name in self.names:
            text = tokens[at].text if at < len(tokens) else None
            if text is None:
                return values, False
            if name == CHARGE and SHARE not in self.names and _PERCENT.fullmatch(text):
                values[SHARE] = text
                at += 1
                if at + 1 < len(tokens) and _CHARGE_UNIT.fullmatch(tokens[at + 1].text):
                    text = tokens[at].text
                else:
                    continue  # `pwr` prints nothing but the share
            if name == CHARGE and text != UNKNOWN:
                unit = tokens[at + 1].text if at + 1 < len(tokens) else ""
                if _NUMBER.fullmatch(text) and _CHARGE_UNIT.fullmatch(unit):
                    at += 2
                    continue
                if self._is_left_out(len(tokens) - at, name):
                    continue  # slaves of a US3000D master have none (section 7)
                return values, False
            if name == TIME and text != UNKNOWN:
                if not _DATE.fullmatch(text) or at + 1 >= len(tokens) or not _CLOCK.fullmatch(tokens[at + 1].text):
                    return values, False
                at += 2
                continue
            fits = self._fits.get(name)
            if text != UNKNOWN:
                if fits is not None and not fits(text):
                    return values, False
                values[name] = text
            at += 1
        return values, at == len(tokens)

    def _is_left_out(self, left: int, name: str) -> bool:
        return left == len(self.names) - self.names.index(name) - 1

    def displaced(self, tokens: Sequence[Token]) -> str | None:
        """The number that lost or gained a character, by what it did to the columns behind it.

        Numbers begin under the first letter of their heading, and one that fills its column pushes the others; the
        columns behind the first state word are not printed so carefully (`pylontech-us-pwr`).
        """
        last = next((i for i, name in enumerate(self.names) if name not in self._numbers), len(self.names) - 1)
        if last < 1 or last >= len(tokens):
            return None
        shifts = [token.at - start for token, start in zip(tokens, self._starts[: last + 1], strict=False)]
        first = next((i for i, shift in enumerate(shifts) if shift), None)
        if first is None or first == 0:
            return None
        shift = shifts[first]
        if abs(shift) > _FEW or any(later != shift for later in shifts[first:]):
            return None  # laid out in another way
        width = self._starts[first] - self._starts[first - 1]
        if shift > 0 and len(tokens[first - 1].text) >= width:
            return None
        return self.names[first - 1]


_FEW: Final = 2  # characters that are lost at a place


def number(values: Mapping[str, str], name: str, scale: int = 1000) -> float | None:
    """A value in units of 1/scale."""
    return None if (text := values.get(name)) is None else int(text) / scale


def share(values: Mapping[str, str]) -> float | None:
    """The state of charge, %."""
    return None if (text := values.get(SHARE)) is None else float(text.removesuffix("%"))
