"""The PACE BMS Modbus map V1.3, each pack at its own address; inverter makers know it as SRNE or WOW.

Source: modbus-rtu.md sections 5 and 6. Register numbers are decimal, as in the document. One newer layout ("v2") is told
by register 15, which holds the number of cells there and a cell voltage here.
"""

from collections.abc import Mapping
import re
from typing import Any, ClassVar, Final, override

from ...model import Alarm, Condition, Identity, Mode, PackState, Severity, power_of
from ..base import Cadence, Codec, Decoded, Poll, Probe
from .fields import Field, alarm_bits, alarms, bits_of, values
from .frame import ModbusProtocol, Registers, read_request, reading

_ZERO: Final = frozenset({0})
_NO_PROBE: Final = frozenset({-2000})

_CURRENT, _VOLTAGE, _SOC, _SOH, _REMAINING, _FULL = 0, 1, 2, 3, 4, 5
_WARNING, _PROTECTION, _STATUS, _BALANCE, _SWITCHES_V2 = 9, 10, 11, 12, 14
_FIELDS: Final = (
    Field(_CURRENT, "current", 100, signed=True),
    Field(_VOLTAGE, "voltage", 100),
    Field(_REMAINING, "remaining_capacity", 100),
    Field(_FULL, "full_capacity", 100, absent=_ZERO),
    Field(6, "design_capacity", 100, absent=_ZERO),
    Field(7, "cycles"),
)

_LAYOUT: Final = 15  # cell 1, or in v2 the number of cells
_CELLS, _MOST_CELLS = 15, 16
_PROBES, _ALL_PROBES = 31, 6  # four on cells, MOSFET, environment
_PLACES: Final = (
    Field(35, "mosfet_temperature", 10, signed=True, absent=_NO_PROBE),
    Field(36, "ambient_temperature", 10, signed=True, absent=_NO_PROBE),
)
_CELL_MV: Final = range(1500, 4501)
_CELLS_V2, _MOST_CELLS_V2 = 16, 32
_PROBE_COUNT_V2, _PROBES_V2, _MOST_PROBES_V2 = 46, 47, 8
_MOSFET_V2: Final = Field(57, "mosfet_temperature", 10, signed=True, absent=_NO_PROBE)
_BOARD: Final = re.compile(r"P\d+S")  # begins the names of boards and of their software
_TEXTS_V2: Final = (170, 180, 190)  # software, serial number, model
_LIKELY_CELSIUS: Final = range(-400, 1201)  # 0.1 degC

# The 2018 edition counts what was discharged in 10 mAh and in Wh; the mean voltage between the two shows it to be so.
_DISCHARGED_AH, _DISCHARGED_WH = 40, 42
_MEAN_VOLTAGE: Final = (8.0, 65.0)

_WARNINGS: Final = alarm_bits(
    Severity.WARNING,
    {
        0: Condition.CELL_OVERVOLTAGE,
        1: Condition.CELL_UNDERVOLTAGE,
        2: Condition.PACK_OVERVOLTAGE,
        3: Condition.PACK_UNDERVOLTAGE,
        4: Condition.CHARGE_OVERCURRENT,
        5: Condition.DISCHARGE_OVERCURRENT,
        8: Condition.CHARGE_OVERTEMPERATURE,
        9: Condition.DISCHARGE_OVERTEMPERATURE,
        10: Condition.CHARGE_UNDERTEMPERATURE,
        11: Condition.DISCHARGE_UNDERTEMPERATURE,
        12: Condition.AMBIENT_OVERTEMPERATURE,
        13: Condition.AMBIENT_UNDERTEMPERATURE,
        14: Condition.MOSFET_OVERTEMPERATURE,
        15: Condition.LOW_SOC,
    },
)
_PROTECTIONS: Final = alarm_bits(
    Severity.PROTECTION,
    {
        0: Condition.CELL_OVERVOLTAGE,
        1: Condition.CELL_UNDERVOLTAGE,
        2: Condition.PACK_OVERVOLTAGE,
        3: Condition.PACK_UNDERVOLTAGE,
        4: Condition.CHARGE_OVERCURRENT,
        5: Condition.DISCHARGE_OVERCURRENT,
        6: Condition.SHORT_CIRCUIT,
        7: Condition.CHARGER_OVERVOLTAGE,
        8: Condition.CHARGE_OVERTEMPERATURE,
        9: Condition.DISCHARGE_OVERTEMPERATURE,
        10: Condition.CHARGE_UNDERTEMPERATURE,
        11: Condition.DISCHARGE_UNDERTEMPERATURE,
        12: Condition.MOSFET_OVERTEMPERATURE,
        13: Condition.AMBIENT_OVERTEMPERATURE,
        14: Condition.AMBIENT_UNDERTEMPERATURE,
    },
)
_FAULTS: Final = alarm_bits(
    Severity.FAULT,
    {
        0: Condition.MOSFET_FAILURE,
        1: Condition.MOSFET_FAILURE,
        2: Condition.TEMPERATURE_SENSING_FAILURE,
        4: Condition.CELL_FAILURE,
        5: Condition.INTERNAL_FAILURE,
        14: Condition.REVERSE_POLARITY,
    },
)
_CHARGING, _DISCHARGING, _CHARGE_ON, _DISCHARGE_ON, _LIMITER, _HEATER = 8, 9, 10, 11, 12, 15
_STATUS_NAMED: Final = frozenset({*_FAULTS, _CHARGING, _DISCHARGING, _CHARGE_ON, _DISCHARGE_ON, _LIMITER, _HEATER})
_CHARGE_ON_V2, _DISCHARGE_ON_V2 = 14, 15


def percentage(raw: int | None) -> int | None:
    """SOC or SOH in %; some firmware has it in the high byte, and then nothing in the low one."""
    if raw is None or raw <= 100:
        return raw
    return raw & 0xFF or raw >> 8


def _celsius(raw: int) -> float | None:
    """0.1 degC in a signed word; None: no probe."""
    value = raw - 0x10000 if raw & 0x8000 else raw
    return None if value in _NO_PROBE else value / 10


def _millivolts(words: tuple[int, ...]) -> tuple[float | None, ...]:
    """Cells in V up to the last one that there is."""
    count = max((place for place, word in enumerate(words, 1) if word), default=0)
    return tuple(word / 1000 if word else None for word in words[:count])


def _is_v2(registers: Registers) -> bool:
    layout = registers.u16(_LAYOUT)
    return layout is not None and 0 < layout <= _MOST_CELLS_V2


def _cells(registers: Registers) -> tuple[float | None, ...] | None:
    """Cell voltages; None where the window does not tell which layout it is."""
    if _is_v2(registers):
        words = registers.block(_CELLS_V2, registers.u16(_LAYOUT) or 0)
    else:
        words = registers.block(_CELLS, _MOST_CELLS)
        others = [word for word in words or () if word][1 if registers.u16(_LAYOUT) else 0 :]
        usual = sum(word in _CELL_MV for word in others)
        if 2 * usual <= len(others) or (not registers.u16(_LAYOUT) and registers.u16(_PROBES) in _CELL_MV):
            return None  # no cells, or those of a v2 that does not count them
    return (_millivolts(words) or None) if words is not None else None


def _temperatures(registers: Registers, found: dict[str, Any]) -> None:
    """V1.3: six words. Without register 15 they may as well be cells of v2, and nothing at all."""
    if (words := registers.block(_PROBES, _ALL_PROBES)) is None:
        return
    probes = [_celsius(word) for word in words]
    likely = all(probe is None or round(probe * 10) in _LIKELY_CELSIUS for probe in probes)
    if not any(words) or (not registers.has(_LAYOUT) and not likely):
        return
    on_cells = tuple(probes[:4])
    if any(probe is not None for probe in on_cells):
        found["cell_temperatures"] = on_cells
    found |= values(registers, _PLACES)


def _temperatures_v2(registers: Registers, found: dict[str, Any]) -> None:
    """V2: a count, that many probes, and the MOSFET by itself. V1.3 has nothing or zeros there."""
    count = registers.u16(_PROBE_COUNT_V2)
    if count is not None:
        if not 0 < count <= _MOST_PROBES_V2 or (words := registers.block(_PROBES_V2, count)) is None:
            return
        probes = tuple(_celsius(word) for word in words)
        if any(probe is not None and round(probe * 10) not in _LIKELY_CELSIUS for probe in probes) or not any(words):
            return
        if any(probe is not None for probe in probes):
            found["cell_temperatures"] = probes
    elif not registers.u16(_MOSFET_V2.register):
        return  # by itself, 0 may as well be a register that V1.3 does not use
    found |= values(registers, (_MOSFET_V2,))


def _status(registers: Registers, found: dict[str, Any], info: dict[str, object]) -> None:
    """Mode, switches, and bits that nobody can name: they are set on healthy packs."""
    status = registers.u16(_STATUS)
    left = {
        "warnings": _unnamed(registers.u16(_WARNING), _WARNINGS),
        "protections": _unnamed(registers.u16(_PROTECTION), _PROTECTIONS),
        "status": _unnamed(status, _STATUS_NAMED),
    }
    if unnamed := {name: bits for name, bits in left.items() if bits}:
        info["unnamed_bits"] = unnamed
    if status is None:
        return
    on = frozenset(bits_of(status))
    found["mode"] = (
        Mode.CHARGING if _CHARGING in on else Mode.DISCHARGING if _DISCHARGING in on else Mode.STANDBY
    )  # fmt: skip
    found["heater_active"] = _HEATER in on
    switches = registers.u16(_SWITCHES_V2) if _is_v2(registers) else None
    if switches:
        found["charge_enabled"] = bool(switches >> _CHARGE_ON_V2 & 1)
        found["discharge_enabled"] = bool(switches >> _DISCHARGE_ON_V2 & 1)
    else:
        found["charge_enabled"] = _CHARGE_ON in on
        found["discharge_enabled"] = _DISCHARGE_ON in on
    if _LIMITER in on:
        info["charge_limiter_on"] = True


def _unnamed(word: int | None, named: frozenset[int] | Mapping[int, Alarm]) -> int:
    return sum(1 << bit for bit in bits_of(word or 0) if bit not in named)


def _discharged(registers: Registers) -> float | None:
    """KWh so far (2018 edition); None where the two counters do not belong together."""
    charge, energy = registers.u32(_DISCHARGED_AH), registers.u32(_DISCHARGED_WH)
    if not charge or not energy or not _MEAN_VOLTAGE[0] <= energy / (charge / 100) <= _MEAN_VOLTAGE[1]:
        return None
    return energy / 1000


def _identity(registers: Registers, info: dict[str, object]) -> Identity:
    """V1.3: version, serial numbers of BMS and pack. V2: version, serial number, model, from where V1.3 has the last."""
    if registers.has(150):
        version, bms, pack = (registers.text(first, 10) for first in (150, 160, 170))
        if version is None and bms is None:
            return Identity()  # v2 has its software where V1.3 has the serial number
        if bms is not None:
            info["bms_serial"] = bms
        return Identity(firmware=version, serial=None if pack is None or _BOARD.match(pack) else pack)
    if (serial := registers.text(180, 10)) is None:
        return Identity()
    return Identity(firmware=registers.text(170, 10), serial=serial, model=registers.text(190, 10))


class PaceModbus(ModbusProtocol):
    """Every pack answers for itself; nothing in this map limits a current."""

    name = "pace-modbus-1.3"
    never_zero = frozenset({_VOLTAGE})
    address_groups: ClassVar[tuple[tuple[int, ...], ...]] = (tuple(range(1, 17)),)
    conditions = frozenset(alarm.condition for table in (_WARNINGS, _PROTECTIONS, _FAULTS) for alarm in table.values())
    polls = (
        Poll(
            name="status",
            cadence=Cadence.CYCLE,
            request=reading(0, 37),  # the widest that every known dialect answers
            essential=True,
            fallback=(
                Poll(name="basic", cadence=Cadence.CYCLE, request=reading(0, 13)),
                Poll(name="cells", cadence=Cadence.CYCLE, request=reading(15, 22)),
            ),
        ),
        Poll(
            name="more",  # temperatures of v2, the counter of the 2018 edition
            cadence=Cadence.ROTATION,
            request=reading(37, 21),
            fallback=(Poll(name="probes", cadence=Cadence.ROTATION, request=reading(_PROBE_COUNT_V2, 12)),),
        ),
        Poll(name="identity", cadence=Cadence.ONCE, request=reading(150, 30), private=True),
        Poll(name="identity_v2", cadence=Cadence.ONCE, request=reading(0xAA, 35), private=True),
    )
    probes: ClassVar[tuple[Probe, ...]] = tuple(
        Probe(name=f"status of {unit}", address=unit, request=read_request(unit, 0, 13)) for unit in (1, 2)
    )

    @override
    def recognises(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`. ZT's map has voltage and current the other way round, then a cell where this one has the SOC."""
        if not Codec.recognises(self, request, frame):
            return False
        first, words = request[2] << 8 | request[3], self.words(request[4] << 8 | request[5], frame) or ()
        if first:
            return _is_block_of_v2(Registers(dict(enumerate(words, first))))
        if len(words) <= _SOC or words[_VOLTAGE] not in range(1000, 6501):
            return False
        if words[_SOC] > 100 and not _in_high_byte(*words[_SOC : _SOH + 1]):
            return False
        if len(words) > _FULL and not 0 < words[_FULL] >= 0.9 * words[_REMAINING]:
            return False
        return len(words) <= _LAYOUT or words[_LAYOUT] in _CELL_MV or 0 < words[_LAYOUT] <= _MOST_CELLS_V2

    @override
    def read(self, unit: int, registers: Registers) -> Decoded:
        """See `ModbusProtocol`."""
        info: dict[str, object] = {}
        found: dict[str, Any] = dict(values(registers, _FIELDS))
        if registers.u16(_FULL) == 0:
            found.pop("remaining_capacity", None)
        found["soc"] = percentage(registers.u16(_SOC))
        found["soh"] = percentage(registers.u16(_SOH)) or None
        if (power := power_of(found.get("voltage"), found.get("current"))) is not None:
            found |= {"power": power, "derived": frozenset({"power"})}
        found["cell_voltages"] = _cells(registers)
        if not _is_v2(registers):
            _temperatures(registers, found)
        _temperatures_v2(registers, found)
        found["alarms"] = alarms(
            (
                (registers.u16(_WARNING), _WARNINGS),
                (registers.u16(_PROTECTION), _PROTECTIONS),
                (registers.u16(_STATUS), _FAULTS),
            )
        )
        _status(registers, found, info)
        if (balance := registers.u16(_BALANCE)) is not None:
            found["balancing_cells"] = frozenset(bit + 1 for bit in bits_of(balance))
        found["energy_discharged"] = _discharged(registers)
        identity = _identity(registers, info)
        known = {name: value for name, value in found.items() if value is not None}
        return Decoded(
            packs={unit: PackState(address=unit, **known)} if known else {},
            identities={} if identity == Identity() else {unit: identity},
            info=info,
        )


def _is_block_of_v2(registers: Registers) -> bool:
    """Whether a block behind the status can only be the newer layout's: its probes, or its three texts."""
    if all(registers.text(first, 10) is not None for first in _TEXTS_V2) and not registers.has(_TEXTS_V2[0] - 1):
        return True
    count, before = registers.u16(_PROBE_COUNT_V2), registers.block(37, _PROBE_COUNT_V2 - 37)
    if count is None or not 0 < count <= _MOST_PROBES_V2 or registers.has(36):
        return False
    probes = [registers.s16(_PROBES_V2 + place) for place in range(count)]
    likely = all(raw is not None and (raw in _LIKELY_CELSIUS or raw in _NO_PROBE) for raw in probes) and any(probes)
    return likely and registers.has(57) and all(not word or word in _CELL_MV for word in before or ())


def _in_high_byte(soc: int, soh: int = 0) -> bool:
    """Whether both are percentages times 256, and of a battery that is not worn out: a cell's mV seldom look so."""
    return not soc & 0xFF and not soh & 0xFF and soc >> 8 <= 100 and 50 <= soh >> 8 <= 100


class SrneWow(PaceModbus):
    """The same under the name by which SRNE inverters know it."""

    name = "srne-wow-modbus"
