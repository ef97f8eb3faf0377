"""The blocks of `label : value` lines of the text console: `pwr N`, `info N`, `stat N`; and the clock.

Source: pytes-console.md sections 6 and 8. A line is split at its first colon; what the model has no field for stands
in info under its label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import re
from statistics import mode
from typing import Final

from ...errors import FrameError
from ...model import Alarm, Identity, PackState
from ..base import Decoded
from . import states
from .frame import PACK_NUMBERS
from .tables import pack_number, serial_number, short

_NUMBER: Final = re.compile(r"(-?\d{1,12})(?:\s+([A-Za-z%]+))?")
_PLAIN: Final = re.compile(r"-?\d{1,12}")
_EVENTS: Final = re.compile(r"0[xX][0-9A-Fa-f]{1,8}|\d{1,10}")
_WORD: Final = re.compile(r"[A-Za-z]+")
# What a value is multiplied with to be V, A, degC, % or Ah; only the unit tells mAH from mAS.
_UNITS: Final = {"mV": 0.001, "mA": 0.001, "mC": 0.001, "%": 1.0, "mAH": 0.001, "mAS": 1 / 3_600_000}


@dataclass(frozen=True, slots=True)
class _Value:
    """What stands behind a label."""

    text: str
    unit_at: int | None  # where its unit stands in the line

    @property
    def shown(self) -> object:
        """As info has it: a number, or the text."""
        return int(self.text) if _PLAIN.fullmatch(self.text) else " ".join(self.text.split())


def _block(lines: Sequence[str]) -> dict[str, _Value]:
    """Values by label, blanks in it counted once; a label that comes twice is not known."""
    found: dict[str, _Value] = {}
    twice: set[str] = set()
    for line in lines:
        label, colon, value = line.partition(":")
        label, value = " ".join(label.split()), value.strip()
        if not colon or not label:
            continue
        if label in found:
            twice.add(label)
        number = _NUMBER.fullmatch(value)
        unit_at = line.rindex(number[2]) if number is not None and number[2] else None
        found[label] = _Value(value, unit_at)
    return {label: value for label, value in found.items() if label not in twice}


def _displaced(block: Mapping[str, _Value]) -> set[str]:
    """Labels whose number lost or gained a character: their unit does not stand under the others'."""
    places = {
        label: value.unit_at
        for label, value in block.items()
        if value.unit_at is not None and value.text.split()[-1] in _UNITS
    }
    if len(places) < _ENOUGH:
        return set()
    usual = mode(places.values())
    return {label for label, place in places.items() if 0 < abs(place - usual) <= _FEW}


_ENOUGH: Final = 3
_FEW: Final = 2


def _key(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")


class _Reader:
    """Takes labels out of a block; what is left goes into info."""

    def __init__(self, block: dict[str, _Value], damaged: set[str]) -> None:
        self._block = block
        self._damaged = damaged

    def measured(self, label: str, *units: str) -> float | None:
        """A number in one of these units, in V, A, degC, % or Ah."""
        if (value := self._block.get(label)) is None or (found := _NUMBER.fullmatch(value.text)) is None:
            return None
        if found[2] not in units:
            return None
        del self._block[label]
        return None if label in self._damaged else int(found[1]) * _UNITS[found[2]]

    def count(self, label: str) -> int | None:
        """A number without a unit."""
        if (value := self._block.get(label)) is None or not isinstance(value.shown, int):
            return None
        del self._block[label]
        return None if label in self._damaged else value.shown

    def word(self, label: str) -> str | None:
        """A state word."""
        if (value := self._block.get(label)) is None or not _WORD.fullmatch(value.text):
            return None
        del self._block[label]
        return value.text

    def switch(self, label: str) -> bool | None:
        """ON or OFF."""
        return None if (word := self.word(label)) not in ("ON", "OFF") else word == "ON"

    def text(self, label: str) -> str | None:
        """A text; None when there is nothing in it."""
        value = self._block.pop(label, None)
        return short(value.text) if value is not None and value.text.strip("-") else None

    def events(self, label: str) -> int | None:
        """Bits, printed as hex or as a decimal number."""
        if (value := self._block.get(label)) is None or not _EVENTS.fullmatch(value.text):
            return None
        del self._block[label]
        return int(value.text, 0 if "x" in value.text.lower() else 10)

    def left(self) -> dict[str, object]:
        """What nobody asked for."""
        return {_key(label): value.shown for label, value in self._block.items()}


# --- pwr N, section 6 ------------------------------------------------------------------------------------------------

_STATUS: Final = {
    "Volt Status": states.VOLTAGE,
    "Current Status": states.CURRENT,
    "Tmpr. Status": states.TEMPERATURE,
    "Coul. Status": states.CHARGE,
    "Soh. Status": states.HEALTH,
}
_EVENT_BITS: Final = {"Power Events": states.POWER_EVENTS, "System Fault": states.SYSTEM_FAULTS}


def power_of_one(lines: tuple[str, ...], asked: int | None, *, strict: bool = True) -> Decoded:
    """`pwr N`: what one pack says of itself.

    Raises:
        FrameError: it is no such block, or another pack's.
    """
    address = pack_number(lines, asked)
    block = _block(lines)
    reader = _Reader(block, _displaced(block) if strict else set())
    voltage = reader.measured("Voltage", "mV")
    current = reader.measured("Current", "mA")
    if voltage is None and current is None:
        raise FrameError("neither voltage nor current in the answer")
    alarms: set[Alarm] = set()
    readable = False
    for label, table in _STATUS.items():
        word = reader.word(label)
        readable |= word is not None
        alarms |= states.alarm(table, word, strict=strict)
    info: dict[str, object] = {}
    for label, bits in _EVENT_BITS.items():
        if (raised := reader.events(label)) is not None:
            readable = True
            alarms.update(states.events(bits, raised))
            if raised:
                info[_key(label)] = raised
    state = PackState(
        address=address,
        voltage=voltage,
        current=current,
        soc=reader.measured("Coulomb", "%"),
        temperature=reader.measured("Temperature", "mC"),
        full_capacity=reader.measured("Real Coulomb", "mAH", "mAS"),
        design_capacity=reader.measured("Total Coulomb", "mAH", "mAS"),
        mode=states.MODES.get(reader.word("Basic Status") or ""),
        alarms=frozenset(alarms) if readable else None,
        heater_active=reader.switch("Heater Status"),
        charge_enabled=reader.switch("CMOS Status"),
        discharge_enabled=reader.switch("DMOS Status"),
    )
    identity = Identity(
        serial=serial_number(reader.text("Barcode")),
        model=reader.text("DevType"),
        firmware=reader.text("Firm Version"),
    )
    identities = {address: identity} if identity != Identity() else {}
    return Decoded(packs={address: state}, identities=identities, info=reader.left() | info)


# --- info N, section 8 -----------------------------------------------------------------------------------------------

_AMPERE_HOURS: Final = re.compile(r"[\d.]+V/(\d{1,4})AH", re.IGNORECASE)
_MOST_CELLS: Final = 24


def information(lines: tuple[str, ...], asked: int | None, *, strict: bool = True) -> Decoded:
    """`info N`: who the pack is; `info` alone is the master's.

    Raises:
        FrameError: it is no such block, or another pack's.
    """
    block = _block(lines)
    reader = _Reader(block, set())
    address = _address(reader.count("Device address"), asked)
    cell_count = reader.count("Cell Number")
    specification = block.get("Specification")
    capacity = _AMPERE_HOURS.fullmatch(specification.text) if specification is not None else None
    identity = Identity(
        manufacturer=reader.text("Manufacturer"),
        model=reader.text("Device name"),
        serial=serial_number(reader.text("Barcode")),
        firmware=reader.text("Main Soft version"),
        hardware=reader.text("Board version"),
        cells=cell_count if cell_count is not None and 0 < cell_count <= _MOST_CELLS else None,
        design_capacity=float(capacity[1]) if capacity is not None else None,
    )
    if identity == Identity():
        raise FrameError("nothing that says who the pack is")
    state = PackState(address=address)
    info = {"device_address": address} | reader.left()
    return Decoded(packs={address: state}, identities={address: identity}, info=info)


def _address(said: int | None, asked: int | None) -> int:
    """Which pack an answer is about: the one that was asked for, by what the answer says."""
    if said is None:
        return 1 if asked is None else asked
    if said not in PACK_NUMBERS or said != (asked or said):
        raise FrameError("an answer about another pack")
    return said


# --- stat N, section 8 -----------------------------------------------------------------------------------------------


def _out_of_line(lines: Sequence[str]) -> set[str]:
    """Labels whose number lost or gained a character: it does not end under the others'.

    One that is wider than the column stands right behind the colon's blank and may end later.
    """
    ends = {" ".join(label.split()): (len(line), value) for line in lines for label, value in (_halves(line),) if value}
    if len(ends) < _ENOUGH:
        return set()
    usual = mode(end for end, _ in ends.values())
    return {
        label
        for label, (end, value) in ends.items()
        if 0 < abs(end - usual) <= _FEW and not (end > usual and value.startswith(" ") and value[1:2].isdigit())
    }


def _halves(line: str) -> tuple[str, str]:
    label, _, value = line.partition(":")
    return label, value


_DEVICE: Final = re.compile(r"Device address\s+(\d{1,2})")
_MAS: Final = 3_600_000  # mA x s in an Ah


def statistics(lines: tuple[str, ...], asked: int | None, *, strict: bool = True) -> Decoded:
    """`stat N`: what the pack has counted. Of these, "Charge Times" is no count of cycles.

    Raises:
        FrameError: it is no such block, or another pack's.
    """
    block = _block(lines)
    said = next((int(found[1]) for line in lines if (found := _DEVICE.fullmatch(line.strip())) is not None), None)
    address = _address(said, asked)
    reader = _Reader(block, _out_of_line(lines) if strict else set())
    share, charge = reader.count("Pwr Percent"), reader.count("Pwr Coulomb")
    health = reader.count("SOH")
    state = PackState(
        address=address,
        soc=None if share is None else float(share),
        soh=float(health) if health else None,
        remaining_capacity=None if charge is None else charge / _MAS,
        cycles=reader.count("CYCLE Times"),
    )
    if state == PackState(address=address):
        raise FrameError("no counter that is known")
    return Decoded(packs={address: state}, info={"device_address": address} | reader.left())


# --- time, section 8 -------------------------------------------------------------------------------------------------

_CLOCK: Final = re.compile(r"(\S+)\s+(\d{4}-\d\d-\d\d)\s+(\d\d:\d\d:\d\d)")


def clock(lines: tuple[str, ...], asked: int | None, *, strict: bool = True) -> Decoded:
    """`time`: the clock chip and what it shows; 2000-00-00 before it was ever set.

    Raises:
        FrameError: there is no time in it.
    """
    for line in lines:
        if (found := _CLOCK.fullmatch(line.strip())) is not None:
            return Decoded(info={"clock_chip": found[1], "time": f"{found[2]}T{found[3]}"})
    raise FrameError("there is no time in the answer")
