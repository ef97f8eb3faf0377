"""The tables of the text console: `pwr`, `bat N` and `soh N`.

Source: pytes-console.md sections 5, 7 and 8. Everything is found by its heading; a row that does not fit its headings
is refused (`pwr`) or reduced to what can be trusted (`bat`).
"""

from collections.abc import Mapping
from typing import Final

from ...errors import FrameError
from ...model import Alarm, Identity, PackState
from ..base import Decoded
from . import states
from .columns import Columns, number, share, tokens_of
from .frame import slot_of

# --- pwr, section 5 --------------------------------------------------------------------------------------------------

_PACK: Final = "Power"
_POWER_NUMBERS: Final = frozenset(
    {
        _PACK, "Volt", "Curr", "Tempr", "Tlow", "Thigh", "Vlow", "Vhigh",
        "Tlow.Id", "Thigh.Id", "Vlow.Id", "Vhigh.Id", "MosTempr",
    }
)  # fmt: skip
_POWER_STATES: Final = {
    "Volt.St": states.VOLTAGE,
    "Curr.St": states.CURRENT,
    "Temp.St": states.TEMPERATURE,
    "B.V.St": states.CELL_VOLTAGE,
    "B.T.St": states.TEMPERATURE,
    "M.T.St": states.MOSFET_TEMPERATURE,
    "SysAlarm.St": states.SYSTEM,
}
_POWER_WORDS: Final = frozenset({"Base.St", *_POWER_STATES})


def _heading(lines: tuple[str, ...], first: str, second: str) -> int:
    """Where the table begins.

    Raises:
        FrameError: nowhere.
    """
    for place, line in enumerate(lines):
        words = line.split()
        if words[0] == first and second in words:
            return place
    raise FrameError("the table has no heading")


def power(lines: tuple[str, ...], asked: int | None, *, strict: bool = True) -> Decoded:
    """`pwr`: one row for every slot.

    `strict`: leave out what looks damaged, a number with the columns behind it out of place, a word almost Normal.

    Raises:
        FrameError: it is no such table, or pack numbers do not ascend.
    """
    top = _heading(lines, _PACK, "Volt")
    columns = Columns(lines[top], _POWER_NUMBERS, _POWER_WORDS)
    if columns.twice:
        raise FrameError("a heading stands twice")
    packs: dict[int, PackState] = {}
    identities: dict[int, Identity] = {}
    absent: list[int] = []
    refused: list[int] = []
    before = 0
    for line in lines[top + 1 :]:
        tokens = tokens_of(line)
        if not tokens[0].text.isdecimal() or not tokens[0].text.isascii() or len(tokens) < _FEWEST:
            continue  # nothing of the table
        slot = slot_of(tokens[0].text)
        if slot is None or slot <= before:
            raise FrameError("pack numbers do not ascend")
        before = slot
        # rows of empty slots keep the old layout, whatever the heading says
        if any(token.text == states.ABSENT for token in tokens):
            absent.append(slot)
            continue
        values, fits = columns.read(tokens)
        damaged = columns.displaced(tokens) if strict else None
        if not fits or "Volt" not in values or damaged == _PACK:
            refused.append(slot)
            continue
        if damaged is not None:
            values.pop(damaged, None)
        packs[slot] = _pack(slot, values, strict=strict)
        barcode, model = serial_number(values.get("Barcode")), short(values.get("DevType"))
        if barcode is not None or model is not None:
            identities[slot] = Identity(serial=barcode, model=model)
    info: dict[str, object] = {}
    if absent:
        info["absent"] = absent
    if refused:
        info["unreadable_rows"] = refused
    return Decoded(packs=packs, identities=identities, info=info)


_FEWEST: Final = 4  # tokens of a row, an unsolicited line that begins with a number apart
_MOST_CELLS: Final = 24
_CELL_PLACES: Final = range(1, _MOST_CELLS + 1)


def _pack(slot: int, values: Mapping[str, str], *, strict: bool) -> PackState:
    alarms: set[Alarm] = set()
    for name, table in _POWER_STATES.items():
        alarms |= states.alarm(table, values.get(name), strict=strict)
    return PackState(
        address=slot,
        voltage=number(values, "Volt"),
        current=number(values, "Curr"),
        soc=share(values),
        temperature=number(values, "Tempr"),
        mosfet_temperature=number(values, "MosTempr"),
        mode=states.MODES.get(values.get("Base.St", "")),
        alarms=frozenset(alarms) if _POWER_STATES.keys() & values.keys() else None,
        cell_voltage_min=number(values, "Vlow"),
        cell_voltage_max=number(values, "Vhigh"),
        cell_temperature_min=number(values, "Tlow"),
        cell_temperature_max=number(values, "Thigh"),
        cell_voltage_min_cell=_cell(values, "Vlow.Id"),
        cell_voltage_max_cell=_cell(values, "Vhigh.Id"),
    )


def _cell(values: Mapping[str, str], name: str) -> int | None:
    """Which cell it is, from 1; -1 and what no pack has name none."""
    counted = values.get(name)
    return None if counted is None or (cell := int(counted) + 1) not in _CELL_PLACES else cell


_SERIAL_LENGTHS: Final = range(6, 41)
_LONGEST_TEXT: Final = 64  # characters of a name or a version


def serial_number(text: str | None) -> str | None:
    """A barcode, unless a character in it cannot be one's."""
    return text if text and text.isascii() and text.isalnum() and len(text) in _SERIAL_LENGTHS else None


def short(text: str | None) -> str | None:
    """A name or a version; one that goes on and on is none."""
    return text if text and text.isprintable() and len(text) <= _LONGEST_TEXT else None


# --- bat N, section 7 ------------------------------------------------------------------------------------------------

_CELL: Final = "Battery"
_CELL_NUMBERS: Final = frozenset({_CELL, "Volt", "Curr", "Tempr"})
_CELL_STATES: Final = {
    "Volt._State": states.CELL_VOLTAGE,
    "Curr._State": states.CURRENT,
    "Temp._State": states.TEMPERATURE,
    "CTemp._State": states.CHARGE_TEMPERATURE,
    "DTemp._State": states.DISCHARGE_TEMPERATURE,
}
_BASE: Final = "Base_State"
_CELL_WORDS: Final = frozenset({_BASE, *_CELL_STATES})
_TRUSTED: Final = (*sorted(_CELL_NUMBERS), _BASE)  # what a damaged row is still good for


def cells(lines: tuple[str, ...], asked: int | None, *, strict: bool = True) -> Decoded:
    """`bat N`: one row for every cell; `bat` alone is the master's.

    Raises:
        FrameError: it is no such table, or a cell is missing.
    """
    top = _heading(lines, _CELL, "Volt")
    columns = Columns(lines[top], _CELL_NUMBERS, _CELL_WORDS)
    if columns.twice:
        raise FrameError("a heading stands twice")
    voltages: list[float | None] = []
    temperatures: list[float | None] = []
    balancing: set[int] = set()
    alarms: set[Alarm] = set()
    reduced: list[int] = []
    readable = False
    for line in lines[top + 1 :]:
        tokens = tokens_of(line)
        if not tokens[0].text.isdecimal() or not tokens[0].text.isascii() or len(tokens) < _FEWEST:
            continue
        cell = len(voltages) + 1
        if tokens[0].text != str(cell - 1) or cell > _MOST_CELLS:
            raise FrameError("cells are missing or out of order")
        values, fits = columns.read(tokens)
        if not fits:
            reduced.append(cell)
            trusted = all(name in values for name in _TRUSTED if name in columns.names)
            values = {name: values[name] for name in _TRUSTED if trusted and name in values}
        if strict and (damaged := columns.displaced(tokens)) is not None:
            if damaged == _CELL:
                raise FrameError("cells are missing or out of order")
            values.pop(damaged, None)
        voltages.append(number(values, "Volt"))
        temperatures.append(number(values, "Tempr"))
        if values.get("BAL") == "Y":
            balancing.add(cell)
        readable |= not _CELL_STATES.keys().isdisjoint(values)
        for name, table in _CELL_STATES.items():
            alarms |= states.alarm(table, values.get(name), cell, strict=strict)
    if not voltages:
        raise FrameError("the table has no rows")
    address = 1 if asked is None else asked
    state = PackState(
        address=address,
        cell_voltages=_known(voltages),
        cell_temperatures=_known(temperatures),
        balancing_cells=frozenset(balancing) if "BAL" in columns.names else None,
        alarms=frozenset(alarms) if readable else None,
    )
    return Decoded(packs={address: state}, info={"reduced_rows": reduced} if reduced else {})


def _known(values: list[float | None]) -> tuple[float | None, ...] | None:
    return tuple(values) if any(value is not None for value in values) else None


# --- soh N, section 8 ------------------------------------------------------------------------------------------------

_HEALTH_ROW: Final = 3  # cell, voltage, and a code nobody can read (V5); with the count before the word, four


def health(lines: tuple[str, ...], asked: int | None, *, strict: bool = True) -> Decoded:
    """`soh N`: a state word for every cell, or codes whose meaning is unknown (V5, 00000000 = good).

    Raises:
        FrameError: it is no such table, or another pack's.
    """
    top = _heading(lines, _CELL, "Voltage")
    address = pack_number(lines[:top], asked)
    alarms: set[Alarm] = set()
    codes: list[str] = []
    counted = 0
    readable = False
    for line in lines[top + 1 :]:
        words = line.split()
        if not words[0].isdecimal() or len(words) < _HEALTH_ROW:
            continue
        if words[0] != str(counted):
            raise FrameError("cells are missing or out of order")
        counted += 1
        if len(words) == _HEALTH_ROW:
            codes.append(words[-1])
        elif words[-1].isalpha():
            readable = True
            alarms |= states.alarm(states.HEALTH, words[-1], counted, strict=strict)
    if not counted:
        raise FrameError("the table has no rows")
    state = PackState(address=address, alarms=frozenset(alarms) if readable and not codes else None)
    return Decoded(packs={address: state}, info={"soh_codes": codes} if codes else {})


def pack_number(lines: tuple[str, ...], asked: int | None) -> int:
    """Whose answer it is, by its line "Power N".

    Raises:
        FrameError: another pack's than was asked for, or it does not say.
    """
    for line in lines:
        match line.split():
            case ["Power", text] if text.isdecimal():
                if (found := slot_of(text)) is None or found != (asked or found):
                    raise FrameError("an answer about another pack")
                return found
            case _:
                continue
    raise FrameError("the answer does not say which pack it is about")
