"""What the registers of ZT, Zetara, Voltgo and BigBattery packs mean, published as EG4-LL V01.06.

Sources: modbus-rtu.md section 9 for RS485, ble.md section 5 for Bluetooth. Register numbers are decimal, as in the
document. The map is the same on both; what it counts in is not, see `Scale`.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, override

from ...model import Condition, Identity, Mode, PackState, Severity, power_of
from ..base import Codec, Decoded
from ..modbus.fields import Field, alarm_bits, alarms, bits_of, values
from ..modbus.frame import ModbusProtocol, Registers

_ZERO: Final = frozenset({0})

VOLTAGE: Final = 0
_CURRENT: Final = 1
_CELLS, _MOST_CELLS = 2, 16
BOARD: Final = 18  # 19, called average, is none (ble.md section 5)
REMAINING, _CHARGE_LIMIT, SOC = 21, 22, 24
STATUS, _WARNING, _PROTECTION, _ERROR = 25, 26, 27, 28
_CYCLES, _FULL = 29, 31
PROBES, PROBE_WORDS = 33, 3
_CELL_COUNT, _BALANCE = 36, 38
MODEL, _FIRMWARE, _SERIAL = 105, 117, 120

_FIELDS: Final = (
    Field(VOLTAGE, "voltage", 100),
    Field(23, "soh", absent=_ZERO),
    Field(37, "design_capacity", 10, absent=_ZERO),
)

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
_COLDEST: Final = -40  # degC; what is below is a sensor that is not connected (captured: -56, reported: -50)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Units of the wire in one of the model, where they differ."""

    current: int  # of register 1
    charge_limit: int  # of register 22; unverified
    remaining: tuple[int, ...]  # of register 21, likeliest first: SOC and full capacity tell which it is


def celsius(byte: int) -> float | None:
    """A signed byte in degC; None: no probe. 0 may be either."""
    value = byte - 0x100 if byte & 0x80 else byte
    return float(value) if value >= _COLDEST else None


def whole_celsius(registers: Registers, register: int) -> float | None:
    """A register in degC; None: not received, or no sensor."""
    value = registers.s16(register)
    return float(value) if value is not None and value >= _COLDEST else None


def _cells(registers: Registers) -> tuple[float | None, ...] | None:
    """Cells in V, as many as the pack has; 0 is a cell that is not there."""
    if (words := registers.block(_CELLS, _MOST_CELLS)) is None:
        return None
    count = registers.u16(_CELL_COUNT)
    if not count or count > _MOST_CELLS:
        count = max((place for place, word in enumerate(words, 1) if word), default=0)
    cells = tuple(word / 1000 if word else None for word in words[:count])
    return cells if any(cells) else None


def _cycles(registers: Registers) -> int | None:
    """High word first on EG4-LL, low word first on a Voltgo (captured: 0, 11 and 2, 0): nobody counts past 65535."""
    if (cycles := registers.u32(_CYCLES)) is None:
        return None
    return cycles if cycles <= _WORD else registers.u16(_CYCLES)


def _text(registers: Registers, start: int, count: int) -> str | None:
    """As `Registers.text`, and without the NULs that a Voltgo has within its model ("TC", two NULs, "-8S100-V1.0")."""
    if (words := registers.block(start, count)) is None:
        return None
    raw = b"".join(word.to_bytes(2, "big") for word in words).replace(b"\x00", b"").strip(b" \xff")
    return raw.decode("ascii") if raw and all(0x20 <= byte < 0x7F for byte in raw) else None


class NativeMap(ModbusProtocol):
    """The map; what depends on the medium is filled in by its protocols."""

    scale: ClassVar[Scale]
    never_zero = frozenset({VOLTAGE})
    conditions = frozenset(alarm.condition for *_, table in _NAMED for alarm in table.values())
    mute_probes = True

    @override
    def recognises(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`. PACE has current and voltage the other way round, then the SOC where this one has a cell."""
        if not Codec.recognises(self, request, frame) or request[1:4] != b"\x03\x00\x00":
            return False
        words = self.words(request[4] << 8 | request[5], frame) or ()
        if len(words) < _CELLS + 4 or words[VOLTAGE] not in range(1000, 6501):
            return False
        if any(word not in range(2000, 4001) for word in words[_CELLS : _CELLS + 4]):
            return False
        cells = words[_CELLS : _CELLS + _MOST_CELLS]
        return len(cells) < _MOST_CELLS or abs(sum(cells) - 10 * words[VOLTAGE]) <= 0.05 * 10 * words[VOLTAGE]

    @override
    def read(self, unit: int, registers: Registers) -> Decoded:
        """See `ModbusProtocol`."""
        info: dict[str, object] = {}
        found: dict[str, Any] = dict(values(registers, (*_FIELDS, *self._scaled())))
        derived: set[str] = set()
        if (power := power_of(found.get("voltage"), found.get("current"))) is not None:
            found["power"] = power
            derived.add("power")
        found["cell_voltages"] = _cells(registers)
        found["cycles"] = _cycles(registers)
        self.temperatures(unit, registers, found)
        self._charge(registers, found, info, derived)
        found["alarms"] = alarms((registers.u16(register), table) for register, _, table in _NAMED)
        if (status := registers.u16(STATUS)) is not None:
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
        self.heating(registers, found, info)
        known = {name: value for name, value in found.items() if value is not None}
        identity = self._identity(registers, info)
        return Decoded(
            packs={unit: PackState(address=unit, derived=frozenset(derived), **known)} if known else {},
            identities={} if identity == Identity() else {unit: identity},
            info=info,
        )

    def _scaled(self) -> Sequence[Field]:
        return (
            Field(_CURRENT, "current", self.scale.current, signed=True),
            Field(_CHARGE_LIMIT, "charge_current_limit", self.scale.charge_limit),
        )

    # --- what depends on the medium ----------------------------------------------------------------------------------

    def temperatures(self, unit: int, registers: Registers, found: dict[str, Any]) -> None:
        """The board's own and all six probes', those that are not there included (0 degC)."""
        if (words := registers.block(PROBES, PROBE_WORDS)) is not None:
            probes = tuple(celsius(byte) for word in words for byte in divmod(word, 0x100))
            found["cell_temperatures"] = probes if any(probe is not None for probe in probes) else None
        found["pcb_temperature"] = whole_celsius(registers, BOARD)

    @abstractmethod
    def capacity(
        self, soc: int, remaining: int, full: float, found: dict[str, Any], info: dict[str, object]
    ) -> float | None:
        """Remaining charge in Ah, where registers 24 and 21 hold these and the full capacity is known (Ah).

        None: only SOC tells. What it means for SOC goes into `found`.
        """

    def heating(self, registers: Registers, found: dict[str, Any], info: dict[str, object]) -> None:
        """Nothing: bit 15 of the status is "active" and "heater on" in one and the same document (RS485)."""

    def serial(self, text: str | None, info: dict[str, object]) -> str | None:
        """What stands where a serial number should; on an EG4-LL a date."""
        return text

    def _charge(self, registers: Registers, found: dict[str, Any], info: dict[str, object], derived: set[str]) -> None:
        """SOC and capacities. Without the full capacity nothing tells what the count of the remaining one is in."""
        amp_seconds = registers.u32(_FULL)
        full = amp_seconds / _MAS_PER_AH if amp_seconds else None
        remaining, soc = registers.u16(REMAINING), registers.u16(SOC)
        found |= {"full_capacity": full, "soc": soc}
        if remaining is None or soc is None or full is None:
            return
        found["remaining_capacity"] = self.capacity(soc, remaining, full, found, info)
        if found["remaining_capacity"] is None and soc <= 100:
            found["remaining_capacity"] = soc * full / 100
            derived.add("remaining_capacity")

    def _identity(self, registers: Registers, info: dict[str, object]) -> Identity:
        count = registers.u16(_CELL_COUNT)
        return Identity(
            model=_text(registers, MODEL, 12),
            firmware=_text(registers, _FIRMWARE, 3),
            serial=self.serial(_text(registers, _SERIAL, 8), info),
            cells=count if count and count <= _MOST_CELLS else None,
        )
