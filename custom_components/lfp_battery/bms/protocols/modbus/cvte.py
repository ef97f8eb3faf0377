"""CVTE on RS485 (menu entries P06-CVTE and P08-PWR): registers known from an emulator only, seen on no battery yet.

Source: modbus-rtu.md section 7.
"""

from dataclasses import dataclass
from statistics import median
from typing import ClassVar, Final, override

from ...errors import FrameError
from ...model import BankState, Condition, Identity, Severity, power_of
from ..base import Cadence, Decoded, Poll, Probe, Scope
from ..capacity import Capacities, as_they_stand, unwrapped
from .currents import plain_current, plain_limit
from .fields import Field, alarm_bits, alarms, values
from .frame import ModbusProtocol, Registers, read_request, reading
from .growatt import status_word

BANK_UNIT: Final = 1
_NAME: Final = "CVTE_COM"

_IDENT, _STATUS, _VOLTAGE, _CURRENT, _HOTTEST, _SOC = 0x1C, 0x20, 0x21, 0x22, 0x23, 0x24
_REMAINING, _FULL, _FAULT, _WARNING, _LIMIT, _HIGH, _LOW = 0x25, 0x26, 0x27, 0x28, 0x29, 0x2E, 0x30
_COUNT: Final = 0x40
_CELL_PLACES: Final = 26
_PROBES: Final = 0x65
_PROBE_PLACES: Final = 10

_ZERO: Final = frozenset({0})
_FIELDS: Final = (
    Field(_SOC, "soc"),
    Field(_VOLTAGE, "voltage", 100),
    Field(_HOTTEST, "cell_temperature_max", signed=True),
    Field(0x2A, "charge_voltage_limit", 100, absent=_ZERO),
    Field(0x2B, "soh", absent=_ZERO),
    Field(0x2C, "cycles"),
    Field(0x33, "cell_temperature_max", signed=True),
    Field(0x35, "cell_temperature_min", signed=True),
)
# Whether cells count from 0 or from 1 is not known: as they came, for bug reports only.
_NOTES: Final = (
    Field(0x11, "mcu_version", absent=_ZERO),
    Field(0x12, "bms_version", absent=_ZERO),
    Field(0x13, "battery_type"),
    Field(0x2D, "charge_time_min"),
    Field(0x2F, "cell_voltage_max_cell", absent=_ZERO),
    Field(0x31, "cell_voltage_min_cell", absent=_ZERO),
)

_FAULTS: Final = alarm_bits(
    Severity.PROTECTION,
    {
        0: Condition.OVERVOLTAGE,
        1: Condition.UNDERVOLTAGE,
        2: Condition.OVERCURRENT,
        3: Condition.SHORT_CIRCUIT,
        4: Condition.OVERTEMPERATURE,
        5: Condition.UNDERTEMPERATURE,
        6: Condition.CELL_IMBALANCE,
    },
) | alarm_bits(Severity.FAULT, {7: Condition.INTERNAL_FAILURE, 8: Condition.PRECHARGE_FAILURE})
_WARNINGS: Final = alarm_bits(
    Severity.WARNING,
    {
        0: Condition.OVERVOLTAGE,
        1: Condition.UNDERVOLTAGE,
        2: Condition.OVERCURRENT,
        3: Condition.OVERTEMPERATURE,
        4: Condition.UNDERTEMPERATURE,
        5: Condition.CELL_IMBALANCE,
        6: Condition.LOW_SOC,
    },
)

_SENSE: Final = {_SOC: range(128), _VOLTAGE: range(400, 7001), _HOTTEST: range(-60, 128)}
_CELL_UNITS: Final = {range(2000, 4501): 1, range(200, 451): 10}  # what an LFP cell reads in each unit: mV in one count


class Cvte(ModbusProtocol):
    """The register map; address 1 is taken to speak for the bank."""

    name = "cvte-rs485"
    experimental = True
    polls = (
        # the block that an inverter was reported to ask for
        Poll(name="status", cadence=Cadence.CYCLE, scope=Scope.BANK, request=reading(_STATUS, 12), essential=True),
        Poll(name="extremes", cadence=Cadence.CYCLE, scope=Scope.BANK, request=reading(0x2C, 11)),
        Poll(
            name="cells",
            cadence=Cadence.CYCLE,
            scope=Scope.BANK,
            request=reading(_COUNT, 1 + _CELL_PLACES),
            fallback=(Poll(name="cells-17", cadence=Cadence.CYCLE, scope=Scope.BANK, request=reading(_COUNT, 17)),),
        ),
        Poll(name="probes", cadence=Cadence.CYCLE, scope=Scope.BANK, request=reading(_PROBES, _PROBE_PLACES)),
        Poll(name="name", cadence=Cadence.ONCE, scope=Scope.BANK, request=reading(_IDENT, 4)),
        Poll(name="versions", cadence=Cadence.ONCE, scope=Scope.BANK, request=reading(0x11, 3)),
    )
    probes = (Probe(name="name", address=BANK_UNIT, request=read_request(BANK_UNIT, _IDENT, 4), wait=0.4),)
    address_groups = ((BANK_UNIT,),)
    conditions = frozenset(alarm.condition for table in (_FAULTS, _WARNINGS) for alarm in table.values())
    area: ClassVar[range] = range(0x11, 0x6F)
    never_zero = frozenset({_VOLTAGE, _HIGH})
    signatures = (
        {
            _VOLTAGE: range(1000, 6501),
            _HOTTEST: range(-40, 91),
            _SOC: range(101),
            0x2A: range(1000, 6501),  # Growatt, with the same numbers, has no such register
        },
    )

    @override
    def configured(self, *, packs: int | None, capacity: float | None) -> Cvte:
        """See `PolledProtocol`: with both, the words that run over in banks can be read; else they come and go."""
        return CvteBank(expected=packs * capacity if packs and capacity else None)

    def capacities(self, soc: int | None, remaining: int, full: int) -> Capacities:
        """Remaining and full capacity in Ah out of the two words; None where they may have wrapped."""
        return as_they_stand(soc, remaining, full)

    def size(self, full: float | None) -> float | None:
        """Ah of the bank, where it can be known; `full`: what its words say."""
        return full

    @override
    def read(self, unit: int, registers: Registers) -> Decoded:
        """See `ModbusProtocol`."""
        for register, sense in _SENSE.items():
            if (word := registers.s16(register)) is not None and word not in sense:
                raise FrameError(f"register {register:#06x} holds {word}: no status of this protocol")
        name = registers.text(_IDENT, 4)
        if name != _NAME and registers.has(_IDENT, 4):
            raise FrameError("another name than this protocol's, or none")
        found: dict[str, object] = dict(values(registers, _FIELDS))
        info: dict[str, object] = dict(values(registers, _NOTES))
        if (status := registers.u16(_STATUS)) is not None:
            found |= status_word(status)
        words = [(registers.u16(_FAULT), _FAULTS), (registers.u16(_WARNING), _WARNINGS)]
        if (active := alarms(words)) is not None:
            found["alarms"] = active
        found |= self._charge(registers)
        found |= _extremes(registers)
        found |= {"cell_voltages": _cells(registers), "cell_temperatures": _temperatures(registers)}
        identity = Identity(manufacturer=name) if name is not None else None
        return Decoded(
            bank=BankState(**found),  # type: ignore[arg-type]
            identities={unit: identity} if identity is not None else {},
            info=info,
        )

    def _charge(self, registers: Registers) -> dict[str, object]:
        """Capacities, current, power and limit: the words that a large bank runs over."""
        found = dict[str, object]()
        whole = None
        remaining, full = registers.u16(_REMAINING), registers.u16(_FULL)
        if remaining is not None and full is not None:
            rest, whole = self.capacities(registers.u16(_SOC), remaining, full)
            found |= {"remaining_capacity": rest, "full_capacity": whole}
        status, size = registers.u16(_STATUS), self.size(whole)
        voltage, raw, limit = registers.u16(_VOLTAGE), registers.s16(_CURRENT), registers.u16(_LIMIT)
        if raw is not None and (current := plain_current(raw, status, size)) is not None:
            found["current"] = current
            if voltage is not None:
                found |= {"power": power_of(voltage / 100, current), "derived": frozenset({"power"})}
        if limit is not None:
            found["charge_current_limit"] = plain_limit(limit, status, size)
        return found


@dataclass(frozen=True, kw_only=True)
class CvteBank(Cvte):
    """The register map where the size of the bank is known, or known to be unknown."""

    expected: float | None  # Ah of all packs together

    @override
    def capacities(self, soc: int | None, remaining: int, full: int) -> Capacities:
        """See `Cvte`."""
        return (None, None) if self.expected is None else unwrapped(self.expected, soc, remaining, full)

    @override
    def size(self, full: float | None) -> float | None:
        """See `Cvte`."""
        return self.expected


def _unit(likely: int) -> int | None:
    """MV in one count, by the magnitude of a cell: two are described. None: it is no cell."""
    return next((unit for sense, unit in _CELL_UNITS.items() if likely in sense), None)


def _extremes(registers: Registers) -> dict[str, object]:
    """The highest and the lowest cell."""
    high, low = registers.u16(_HIGH), registers.u16(_LOW)
    if not high or not low or (unit := _unit(high) or _unit(low)) is None:
        return {}
    return {"cell_voltage_max": high * unit / 1000, "cell_voltage_min": low * unit / 1000}


def _cells(registers: Registers) -> tuple[float | None, ...] | None:
    """Cell voltages in V. Their number comes first, or, in another description of this map, the first cell."""
    words = registers.block(_COUNT, 1 + _CELL_PLACES) or registers.block(_COUNT, 17)
    if words is None:
        return None
    first, *rest = words
    if _unit(first) is not None:
        rest = list(words)
        first = max(place for place, word in enumerate(rest, 1) if word)
    cells = rest[:first]
    present = [word for word in cells if word]
    if not present or len(cells) < first or (unit := _unit(int(median(present)))) is None:
        return None
    return tuple(word * unit / 1000 if word else None for word in cells)


def _temperatures(registers: Registers) -> tuple[float | None, ...] | None:
    """Probes in degC; 0 means that there is none (section 2), at the end of the list most of all."""
    if not registers.has(_PROBES, _PROBE_PLACES):
        return None
    probes = [registers.s16(_PROBES + place) for place in range(_PROBE_PLACES)]
    while probes and not probes[-1]:
        probes.pop()
    return tuple(float(probe) if probe else None for probe in probes) or None
