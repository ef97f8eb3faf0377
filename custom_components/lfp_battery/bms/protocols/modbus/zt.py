"""The own map of ZT, Zetara, Voltgo and BigBattery packs, published as EG4-LL V01.06: each pack at its own address.

Source: modbus-rtu.md section 9. Register numbers are decimal, as in the document. Current is in 10 mA, as the document
and captures of EG4 packs on RS485 have it; over Bluetooth the same packs count in 0.1 A, which is another part.
"""

from typing import Any, ClassVar, Final, override

from ...model import Condition, Identity, Mode, PackState, Severity, power_of
from ..base import Cadence, Codec, Decoded, Poll, Probe
from .fields import Field, alarm_bits, alarms, bits_of, values
from .frame import ModbusProtocol, Registers, read_request, reading

_ZERO: Final = frozenset({0})

_VOLTAGE: Final = 0
_CELLS, _MOST_CELLS = 2, 16
_BOARD, _BOARD_PROBES = 18, 3
_REMAINING, _SOC = 21, 24
_STATUS, _WARNING, _PROTECTION, _ERROR = 25, 26, 27, 28
_CYCLES, _FULL, _PROBES, _PROBE_WORDS = 29, 31, 33, 3
_CELL_COUNT, _BALANCE = 36, 38
_MODEL, _FIRMWARE, _SERIAL = 105, 117, 120

_FIELDS: Final = (
    Field(_VOLTAGE, "voltage", 100),
    Field(1, "current", 100, signed=True),
    Field(22, "charge_current_limit"),
    Field(23, "soh", absent=_ZERO),
    Field(37, "design_capacity", 10, absent=_ZERO),
)

# The low nibble; bit 15 is "active" and "heater on" in one and the same document, so it is neither here.
_MODES: Final = {
    0: Mode.STANDBY,
    1: Mode.CHARGING,
    2: Mode.DISCHARGING,
    4: Mode.PROTECTION,
    8: Mode.CHARGING,  # with a limited current
}
_NIBBLE: Final = 0x0F

_COMMON: Final = {
    0: Condition.PACK_OVERVOLTAGE,
    1: Condition.CELL_OVERVOLTAGE,
    2: Condition.PACK_UNDERVOLTAGE,
    3: Condition.CELL_UNDERVOLTAGE,
    4: Condition.CHARGE_OVERCURRENT,
    5: Condition.DISCHARGE_OVERCURRENT,
    6: Condition.AMBIENT_TEMPERATURE_ABNORMAL,
    7: Condition.MOSFET_OVERTEMPERATURE,
    8: Condition.CHARGE_OVERTEMPERATURE,
    9: Condition.DISCHARGE_OVERTEMPERATURE,
    10: Condition.CHARGE_UNDERTEMPERATURE,
    11: Condition.DISCHARGE_UNDERTEMPERATURE,
}
_WARNINGS: Final = alarm_bits(
    Severity.WARNING,
    {**_COMMON, 12: Condition.LOW_SOC, 13: Condition.FULLY_CHARGED},  # 13: charging was ended
)
_PROTECTIONS: Final = alarm_bits(
    Severity.PROTECTION, {**_COMMON, 12: Condition.FULLY_DISCHARGED, 13: Condition.SHORT_CIRCUIT}
)
_ERRORS: Final = alarm_bits(
    Severity.FAULT,
    {
        0: Condition.VOLTAGE_SENSING_FAILURE,
        1: Condition.TEMPERATURE_SENSING_FAILURE,
        2: Condition.CURRENT_SENSING_FAILURE,
        4: Condition.CELL_IMBALANCE,
    },
)
_NAMED: Final = (
    (_WARNING, "warnings", _WARNINGS),
    (_PROTECTION, "protections", _PROTECTIONS),
    (_ERROR, "errors", _ERRORS),
)

_MAS_PER_AH: Final = 3_600_000
_WORD: Final = 0xFFFF
_NO_PROBE: Final = -50  # degC; this and less is a sensor that is not connected
_SAME_SHARE: Final = 3.0  # % between a count of whole Ah and the charge that it stands for

# LifePower4 V2: a pack alone, or the master, is 40; the others count down from there.
_LIFEPOWER4: Final = tuple(range(0x40, 0x30, -1))


def _cells(registers: Registers) -> tuple[float | None, ...] | None:
    """Cells in V, as many as the pack has; 0 is a cell that is not there."""
    if (words := registers.block(_CELLS, _MOST_CELLS)) is None:
        return None
    count = registers.u16(_CELL_COUNT)
    if not count or count > _MOST_CELLS:
        count = max((place for place, word in enumerate(words, 1) if word), default=0)
    cells = tuple(word / 1000 if word else None for word in words[:count])
    return cells if any(cells) else None


def _celsius(byte: int) -> float | None:
    """A signed byte in degC; None: no probe."""
    value = byte - 0x100 if byte & 0x80 else byte
    return float(value) if value and value > _NO_PROBE else None


def _temperatures(unit: int, registers: Registers, found: dict[str, Any]) -> None:
    """The board's own and the probes'. What the document calls average and maximum is neither (captured: 27 over 24).

    LifePower4 V2 is read without the probes by its own tool, which shows the three words as its temperatures.
    """
    board = registers.s16(_BOARD)
    words = registers.block(_PROBES, _PROBE_WORDS)
    if words is not None:
        probes = [_celsius(byte) for word in words for byte in divmod(word, 0x100)]
        while probes and probes[-1] is None:
            probes.pop()
        if probes:
            found["cell_temperatures"] = tuple(probes)
    elif unit in _LIFEPOWER4 and registers.has(_BOARD, _BOARD_PROBES):
        shown = [registers.s16(register) for register in range(_BOARD, _BOARD + _BOARD_PROBES)]
        found["cell_temperatures"] = tuple(float(value) for value in shown if value is not None)
        return
    if board is not None and board > _NO_PROBE:
        found["pcb_temperature"] = float(board)


def _charge(registers: Registers, found: dict[str, Any], info: dict[str, object]) -> None:
    """SOC and capacities. A LifePower4 V2 has SOC and remaining Ah in each other's place: the full capacity tells.

    Without it (a shorter read) the remaining capacity is not said; at 100 Ah the two are within one unit anyway.
    """
    amp_seconds = registers.u32(_FULL)
    full = amp_seconds / _MAS_PER_AH if amp_seconds else None
    found["full_capacity"] = full
    remaining, soc = registers.u16(_REMAINING), registers.u16(_SOC)
    if remaining is None or soc is None:
        found["soc"] = soc
        return
    if full is not None:
        as_documented = abs(100 * remaining / full - soc)
        swapped = abs(100 * soc / full - remaining)
        if swapped < _SAME_SHARE < as_documented and remaining <= 100:
            remaining, soc = soc, remaining
            info["soc_in_register"] = _REMAINING
        found["remaining_capacity"] = float(remaining)
    found["soc"] = soc


def _cycles(registers: Registers) -> int | None:
    """High word first on EG4-LL, low word first on a Voltgo (captured: 0, 11 and 2, 0): nobody counts past 65535."""
    if (cycles := registers.u32(_CYCLES)) is None:
        return None
    return cycles if cycles <= _WORD else registers.u16(_CYCLES)


class ZtNative(ModbusProtocol):
    """Packs on their own link, each at its module ID; a master that speaks Growatt to an inverter is not among them."""

    name = "eg4ll-zt-native"
    never_zero = frozenset({_VOLTAGE})
    # 1 to 15 as the packs count, 16 (all switches on) the master of the document of 2017.
    address_groups: ClassVar[tuple[tuple[int, ...], ...]] = (tuple(range(1, 17)), _LIFEPOWER4)
    conditions = frozenset(alarm.condition for *_, table in _NAMED for alarm in table.values())
    polls = (
        Poll(
            name="status",
            cadence=Cadence.CYCLE,
            request=reading(0, 39),
            essential=True,
            fallback=(
                Poll(name="measured", cadence=Cadence.CYCLE, request=reading(0, 25)),
                Poll(name="reported", cadence=Cadence.CYCLE, request=reading(_STATUS, 14)),
            ),
        ),
        Poll(name="identity", cadence=Cadence.ONCE, request=reading(_MODEL, 23), private=True),
    )
    # A bank's first pack may speak Growatt, so that the second is the first to answer here.
    probes: ClassVar[tuple[Probe, ...]] = tuple(
        Probe(name=f"status of {unit}", address=unit, request=read_request(unit, 0, 25)) for unit in (1, 2, 0x10, 0x40)
    )

    @override
    def recognises(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`. PACE has current and voltage the other way round, then the SOC where this one has a cell."""
        if not Codec.recognises(self, request, frame) or request[2:4] != b"\x00\x00":
            return False
        words = self.words(request[4] << 8 | request[5], frame) or ()
        if len(words) < _CELLS + 4 or words[_VOLTAGE] not in range(1000, 6501):
            return False
        if any(word not in range(2000, 4001) for word in words[_CELLS : _CELLS + 4]):
            return False
        cells = words[_CELLS : _CELLS + _MOST_CELLS]
        return len(cells) < _MOST_CELLS or abs(sum(cells) - 10 * words[_VOLTAGE]) <= 0.05 * 10 * words[_VOLTAGE]

    @override
    def read(self, unit: int, registers: Registers) -> Decoded:
        """See `ModbusProtocol`."""
        info: dict[str, object] = {}
        found: dict[str, Any] = dict(values(registers, _FIELDS))
        if (power := power_of(found.get("voltage"), found.get("current"))) is not None:
            found |= {"power": power, "derived": frozenset({"power"})}
        found["cell_voltages"] = _cells(registers)
        found["cycles"] = _cycles(registers)
        _temperatures(unit, registers, found)
        _charge(registers, found, info)
        found["alarms"] = alarms((registers.u16(register), table) for register, _, table in _NAMED)
        if (status := registers.u16(_STATUS)) is not None:
            found["mode"] = _MODES.get(status & _NIBBLE)
            info["status_raw"] = status
        unnamed = {
            name: left
            for register, name, table in _NAMED
            if (left := sum(1 << bit for bit in bits_of(registers.u16(register) or 0) if bit not in table))
        }
        if unnamed:
            info["unnamed_bits"] = unnamed
        if (balance := registers.u16(_BALANCE)) is not None:
            found["balancing_cells"] = frozenset(bit + 1 for bit in bits_of(balance))
        count = registers.u16(_CELL_COUNT)
        identity = Identity(
            model=registers.text(_MODEL, 12),
            firmware=registers.text(_FIRMWARE, 3),
            serial=registers.text(_SERIAL, 8),  # on an EG4-LL a date
            cells=count if count and count <= _MOST_CELLS else None,
        )
        known = {name: value for name, value in found.items() if value is not None}
        return Decoded(
            packs={unit: PackState(address=unit, **known)} if known else {},
            identities={} if identity == Identity() else {unit: identity},
            info=info,
        )
