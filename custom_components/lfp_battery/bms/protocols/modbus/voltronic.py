"""Voltronic's "Inverter and BMS 485" of 2020-03-25: a bank's summary, and cells and limits of the pack that answers.

Source: modbus-rtu.md section 4. Questions are Modbus, answers are not: four forms of them are known.
"""

from collections.abc import Iterator
from statistics import median
from typing import Any, ClassVar, Final, override

from pymodbus.framer import FramerRTU

from ...errors import Refusal, RefusedError
from ...model import BankState, Identity, power_of
from ..base import Cadence, Codec, Decoded, Poll, Probe, Scope
from .fields import kelvin
from .frame import NOT_MEASURED, READ_HOLDING, ModbusProtocol, Registers, crc_is_right, read_request, reading
from .splitter import EXCEPTION, ModbusSplitter, is_question, standard_sizes
from .voltronic_alarms import (
    CELL_STATES,
    CONDITIONS,
    MOST_CELLS,
    MOST_PROBES,
    PROBE_STATES,
    WORD_NAMES,
    alarms,
    unnamed,
)

# Section 4.2.
_CELL_COUNT, _CELLS = 0x10, 0x11
_PROBE_COUNT, _PROBES = 0x25, 0x26
_MOSFET_PLACE: Final = 5  # the sixth, in the reference pack
_CHARGING, _DISCHARGING, _VOLTAGE, _SOC, _FULL, _ONLINE = 0x30, 0x31, 0x32, 0x33, 0x34, 0x36
_DESIGN: Final = 0x3E
_CHARGE_VOLTAGE, _DISCHARGE_VOLTAGE, _CHARGE_CURRENT, _DISCHARGE_CURRENT = 0x70, 0x71, 0x72, 0x73
_STATUS, _RUNTIME, _REMAINING = 0x74, 0x75, 0x76
_VERSIONS: Final = {0x01: "protocol_type", 0x02: "protocol_version"}
_LONG_VERSIONS: Final = {0x03: "firmware_version_raw", 0x05: "hardware_version_raw"}  # as the maker likes
_LAST_VERSION: Final = 0x06

_CHARGE_ENABLED, _DISCHARGE_ENABLED, _CHARGE_NOW, _CHARGE_SOON, _FULL_CHARGE = 0x80, 0x40, 0x20, 0x10, 0x08
_SMALL_CURRENT: Final = 0x04

# Section 4.4: what a cell of some 1 to 6 V reads tells what it is counted in.
_CELL_SCALES: Final = ((range(10, 61), 10), (range(100, 601), 100), (range(1000, 6001), 1000))
_COARSE: Final = 10

# Section 4.1. Some firmware means by 3 what Modbus means: too many registers.
_BAD_CRC: Final = 3
_REFUSALS: Final = {
    1: ("it says that there is nobody of this number", Refusal.AWAY),
    2: ("it does not know this question", Refusal.UNSUPPORTED),
    _BAD_CRC: ("it says that the question has a wrong CRC", Refusal.DAMAGED),
}
_LAST_UNIT: Final = 16

_COUNTS: Final = range(4, 21)  # cells
# Where blocks begin that are read of this map: at the same registers, others have cells, temperatures and numbers.
_BEGINNINGS: Final = frozenset({_CHARGING, _VOLTAGE, _SOC, _CHARGE_VOLTAGE})


def _refused(code: int, count: int) -> RefusedError:
    """The refusal of a question for so many registers."""
    reason, refusal = _REFUSALS.get(code, ("it refused", Refusal.OTHER))
    if code == _BAD_CRC and count > 1:
        reason, refusal = "it says that the CRC is wrong, or does not accept so many registers", Refusal.UNSUPPORTED
    return RefusedError(f"{reason} (code {code})", code=code, refusal=refusal)


class VoltronicSplitter(ModbusSplitter):
    """Knows answers with a length of two bytes, and those that begin with the function instead of the unit."""

    __slots__ = ()

    @override
    def _sizes(self, start: int) -> Iterator[int]:
        yield from super()._sizes(start)
        buffer = self._buffer
        if buffer[start] == READ_HOLDING and 0 < buffer[start + 1] <= _LAST_UNIT:
            head = bytes(buffer[start : start + 4])
            yield from self._reply_sizes(head) if len(head) == 4 else (7,)


def _counted(registers: Registers, first: int, count_at: int, most: int) -> tuple[int, ...] | None:
    """Words of which the one before says how many there are; without it, up to the last that is not 0."""
    if (words := registers.block(first, most)) is None:
        return None
    if (count := registers.u16(count_at)) is None or not 0 < count <= most:
        count = max((place for place, word in enumerate(words, 1) if word), default=0)
    return words[:count]


def _cells(registers: Registers, values: dict[str, Any], info: dict[str, object]) -> None:
    """Cell voltages. In steps of 0.1 V they would only pretend to show how far cells are apart: for diagnostics only."""
    raw = _counted(registers, _CELLS, _CELL_COUNT, MOST_CELLS)
    if not raw or not any(raw):
        return
    middle = median(word for word in raw if word)
    scale = next((scale for likely, scale in _CELL_SCALES if int(middle) in likely), None)
    if scale is None:
        info["cells_raw"] = raw
        return
    cells = tuple(word / scale if word else None for word in raw)
    (info if scale == _COARSE else values)["cell_voltages"] = cells


def _temperatures(registers: Registers, values: dict[str, Any], info: dict[str, object]) -> None:
    raw = _counted(registers, _PROBES, _PROBE_COUNT, MOST_PROBES) or ()
    probes = tuple(kelvin(word) if word else None for word in raw)
    on_cells = probes[:_MOSFET_PLACE]
    if any(value is not None for value in on_cells):
        values["cell_temperatures"] = on_cells
    if len(probes) > _MOSFET_PLACE:
        values["mosfet_temperature"] = probes[_MOSFET_PLACE]
    further = probes[_MOSFET_PLACE + 1 :]
    if any(value is not None for value in further):
        info["further_temperatures_C"] = further


def _current(registers: Registers) -> float | None:
    """A, positive while charging; out of one answer: two that came one after the other may be of either direction."""
    charging, discharging = registers.u16(_CHARGING), registers.u16(_DISCHARGING)
    return None if charging is None or discharging is None else (charging - discharging) / 10


def _amount(raw: int | None, per: int) -> float | None:
    """A value for which 0 means that this battery does not say it (section 4: what is unknown reads 0)."""
    return raw / per if raw else None


def _limits(registers: Registers, values: dict[str, Any]) -> None:
    """What inverters of this make go by; the document calls the voltages alarm thresholds (section 4.4)."""
    charge, discharge = registers.u16(_CHARGE_VOLTAGE), registers.u16(_DISCHARGE_VOLTAGE)
    values["charge_voltage_limit"] = _amount(charge, 10)
    values["discharge_voltage_limit"] = _amount(discharge, 10)
    filled_in = bool(charge or discharge)  # else 0 A may as well be what is unknown
    for name, register in (("charge_current_limit", _CHARGE_CURRENT), ("discharge_current_limit", _DISCHARGE_CURRENT)):
        if (raw := registers.u16(register)) or (raw == 0 and filled_in):
            values[name] = raw / 10


def _switches(status: int, values: dict[str, Any], info: dict[str, object]) -> None:
    values["charge_enabled"] = bool(status & _CHARGE_ENABLED)
    values["discharge_enabled"] = bool(status & _DISCHARGE_ENABLED)
    values["force_charge_requested"] = bool(status & (_CHARGE_NOW | _CHARGE_SOON))
    values["full_charge_requested"] = bool(status & _FULL_CHARGE)
    if status & _SMALL_CURRENT:
        info["small_current_charge_requested"] = True


def _diagnostics(registers: Registers, info: dict[str, object]) -> None:
    """What the model has no place for."""
    for register, name in _VERSIONS.items():
        if (word := registers.u16(register)) is not None:
            info[name] = word
    for register, name in _LONG_VERSIONS.items():
        if (long := registers.u32(register)) is not None:
            info[name] = long
    if minutes := registers.u16(_RUNTIME):
        info["runtime_min"] = minutes
    if bits := unnamed(registers):
        info["unnamed_bits"] = bits


def _single(name: str, register: int) -> Poll:
    return Poll(name=name, cadence=Cadence.CYCLE, scope=Scope.BANK, request=reading(register, 1))


def _block(name: str, first: int, count: int, *fallback: Poll, essential: bool = False) -> Poll:
    return Poll(
        name=name,
        cadence=Cadence.CYCLE,
        scope=Scope.BANK,
        request=reading(first, count),
        essential=essential,
        fallback=fallback,
    )


class Voltronic(ModbusProtocol):
    """Every BMS answers 1; the one that is wired speaks for all of them."""

    name = "voltronic-bms-485-20200325"
    address_groups: ClassVar[tuple[tuple[int, ...], ...]] = ((1,),)
    conditions = CONDITIONS
    # Section 4.2. Smaller blocks are those that inverters are known to read; single registers are all that one firmware
    # answers, which leaves out what takes two of them (capacities, the current) or many (cells).
    polls = (
        _block(
            "status",
            _CHARGING,
            16,
            _block(
                "summary",
                _CHARGING,
                6,
                _single("soc", _SOC),
                _single("voltage", _VOLTAGE),
                _block("currents", _CHARGING, 2),
            ),
            _block("alarms", 0x37, 6, *(_single(name, register) for register, name in WORD_NAMES.items())),
            _single("online", _ONLINE),
            essential=True,
        ),
        _block("cells", _CELL_COUNT, 1 + MOST_CELLS, _single("cell_count", _CELL_COUNT)),
        _block("temperatures", _PROBE_COUNT, 1 + MOST_PROBES, _block("probes", _PROBES, MOST_PROBES)),
        _block(
            "limits",
            _CHARGE_VOLTAGE,
            8,
            _block(
                "limits_short",
                _CHARGE_VOLTAGE,
                5,
                _single("charge_current", _CHARGE_CURRENT),
                _single("discharge_current", _DISCHARGE_CURRENT),
                _single("charge_voltage", _CHARGE_VOLTAGE),
                _single("discharge_voltage", _DISCHARGE_VOLTAGE),
                _single("switches", _STATUS),
            ),
        ),
        _block("states", 0x60, 10),
        _block("cell_states", CELL_STATES - 1, 11),
        _block("probe_states", PROBE_STATES - 1, 6),
        Poll(name="versions", cadence=Cadence.ONCE, scope=Scope.BANK, request=reading(0x01, 6)),
    )
    # Section 13: one register tells the form of the answers; two that make sense confirm the form that is Modbus.
    probes = (
        Probe(name="cell count", address=1, request=read_request(1, _CELL_COUNT, 1)),
        Probe(name="voltage and SOC", address=1, request=read_request(1, _VOLTAGE, 2)),
    )
    # In the form that is Modbus.
    area: ClassVar[range] = range(0x01, 0x78)
    never_zero = frozenset({_VOLTAGE})
    signatures = (
        {_VOLTAGE: range(100, 651), _SOC: range(101)},
        *(
            {_CELL_COUNT: _COUNTS, _CELLS: cell, _CELLS + 1: cell, _CELLS + 2: cell}
            for cell in (range(20, 40), range(200, 400), range(2000, 4000))
        ),
        {_CHARGE_VOLTAGE: range(100, 651), _DISCHARGE_VOLTAGE: range(80, 601)},
    )

    @override
    def reply_sizes(self, head: bytes) -> tuple[int, ...]:
        """See `ModbusProtocol`; a length of two bytes counts words, or the two bytes of a single register."""
        if head[2]:
            return standard_sizes(head)
        words = head[3]
        if words == 2:
            return (10, 8)
        return (6 + 2 * words,) if 0 < words <= 125 else ()

    @override
    def words(self, count: int, frame: bytes) -> tuple[int, ...] | None:
        """See `ModbusProtocol`: told by the whole length and by the length field."""
        size = 2 * count
        if len(frame) == 5 + size and frame[2] == size:
            data = frame[3:-2]
        elif len(frame) == 6 + size and (
            (length := frame[2] << 8 | frame[3]) == count or (length == size and count == 1)
        ):
            data = frame[4:-2]
        else:
            return None
        return tuple(int.from_bytes(data[at : at + 2]) for at in range(0, size, 2))

    @override
    def splitter(self, request: bytes | None = None) -> VoltronicSplitter:
        """See `Codec`."""
        return VoltronicSplitter(request, self.reply_sizes)

    @override
    def is_answer(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`. What looks like a question is an answer when one register was asked for."""
        return super().is_answer(request, _straight(request, frame)) and frame != request

    @override
    def is_request(self, frame: bytes) -> bool:
        """See `Codec`. A one-register answer reads as "from 1 (or 2) on, so many": registers end at 6 there."""
        if not super().is_request(frame):
            return False
        first, count = frame[2] << 8 | frame[3], frame[4] << 8 | frame[5]
        if frame[0] == READ_HOLDING and frame[1] in (0x01, 0x02):
            return False  # an answer with the function first: nobody reads bits here
        return frame[1] != READ_HOLDING or first not in (1, 2) or first + count <= _LAST_VERSION + 1

    @override
    def decode(self, request: bytes | None, frame: bytes) -> Decoded:
        """See `Codec`."""
        count = request[4] << 8 | request[5] if request is not None and is_question(request) else 1
        if request is not None and _is_refusal(request, frame):
            raise _refused(frame[2], count)
        try:
            return super().decode(request, frame if request is None else _straight(request, frame))
        except RefusedError as err:
            raise (err if err.code == NOT_MEASURED else _refused(err.code, count)) from None

    @override
    def recognises(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`. Nothing that is Modbus has a length of 0 and goes on; but two questions in a row look like it."""
        if not Codec.recognises(self, request, frame):
            return False
        count = request[4] << 8 | request[5]
        if len(frame) == 5 + 2 * count:
            return _begins_here(request, frame) and super().recognises(request, frame)
        if count > 1:
            return True
        known = {_CELL_COUNT: _COUNTS, _VOLTAGE: range(100, 651), _SOC: range(1, 101)}
        words = self.words(count, frame)
        return words is not None and words[0] in known.get(request[2] << 8 | request[3], ())

    @override
    def read(self, unit: int, registers: Registers) -> Decoded:
        """See `ModbusProtocol`."""
        values: dict[str, Any] = {}
        info: dict[str, object] = {}
        _cells(registers, values, info)
        _temperatures(registers, values, info)
        values["current"] = current = _current(registers)
        if (raw := registers.u16(_VOLTAGE)) is not None:
            values["voltage"] = raw / 10
        if (power := power_of(values.get("voltage"), current)) is not None:
            values |= {"power": power, "derived": frozenset({"power"})}
        values["soc"] = registers.u16(_SOC)
        values["full_capacity"] = _amount(registers.u32(_FULL), 1000)
        values["remaining_capacity"] = _amount(registers.u32(_REMAINING), 1000)
        values["modules_online"] = registers.u16(_ONLINE) or None
        values["alarms"] = alarms(registers)
        _limits(registers, values)
        nobody = registers.u16(_CHARGE_VOLTAGE) == registers.u16(_DISCHARGE_VOLTAGE) == 0  # ... filled in this block
        if (status := registers.u16(_STATUS)) is not None and (status or not nobody):
            _switches(status, values, info)
        _diagnostics(registers, info)
        known = {name: value for name, value in values.items() if value is not None}
        cells = registers.u16(_CELL_COUNT) or registers.u16(CELL_STATES - 1)
        identity = Identity(
            cells=cells if cells and cells <= MOST_CELLS else None,
            design_capacity=_amount(registers.u32(_DESIGN), 1000),
        )
        return Decoded(
            bank=BankState(**known) if known else None,
            identities={} if identity == Identity() else {unit: identity},
            info=info,
        )


def _begins_here(request: bytes, frame: bytes) -> bool:
    """Whether a block in the form that is Modbus begins as one of this map; no bank is charged and discharged at once."""
    first = request[2] << 8 | request[3]
    if first == _CELL_COUNT:
        return int.from_bytes(frame[3:5]) in _COUNTS
    return first in _BEGINNINGS and (first != _CHARGING or frame[3:5] == b"\0\0" or frame[5:7] == b"\0\0")


def _is_refusal(request: bytes, frame: bytes) -> bool:
    """Whether this is an intact refusal of that very question, of whatever function it was."""
    return (
        len(frame) == 5
        and len(request) > 1
        and frame[0] == request[0]
        and frame[1] == request[1] | EXCEPTION
        and crc_is_right(frame)
    )


def _straight(request: bytes, frame: bytes) -> bytes:
    """An answer that has the function first, the usual way round; its CRC was right and is made so again."""
    if (
        len(frame) < 6
        or len(request) < 2
        or request[0] == READ_HOLDING
        or frame[:2] != bytes((READ_HOLDING, request[0]))
        or not crc_is_right(frame)
    ):
        return frame
    body = bytes((request[0], READ_HOLDING)) + frame[2:-2]
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")
