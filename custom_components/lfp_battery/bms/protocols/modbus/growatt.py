"""Growatt "xxSxxP ESS" on RS485: registers in which address 1 speaks for a pack or for a bank in parallel.

Source: modbus-rtu.md section 3. Two products depart from the document: JK puts the cells one register lower, and banks
of ZT and EG4-LL packs count capacity in a word that wraps at 655.36 Ah. The block from 0x0100 on stays unread: nobody has
captured it, and EG4-LL firmware falls silent when asked for what it does not have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, override

from ...errors import FrameError
from ...model import Alarm, BankState, Condition, Identity, Mode, Severity, power_of
from ..base import Cadence, Decoded, Poll, Probe, Scope
from ..capacity import as_they_stand, unwrapped
from .currents import CHARGE_ENABLED, DISCHARGE_ENABLED, is_cut_off, plain_current, plain_limit
from .fields import Field, alarm_bits, alarms, values
from .frame import ModbusProtocol, Registers, read_request, reading

BANK_UNIT: Final = 1

_STATUS, _ERROR, _SOC, _VOLTAGE, _CURRENT, _TEMPERATURE = 0x13, 0x14, 0x15, 0x16, 0x17, 0x18
_REMAINING, _FULL, _VERSIONS, _BOX, _SOH, _WARNING, _EXTENDED = 0x1A, 0x1B, 0x1C, 0x1F, 0x20, 0x22, 0x24
_MORE: Final = range(0x23, 0x2A)  # what firmware of 16 registers lacks, or leaves 0
_CELL_COUNT: Final = 0x29
_CELLS: Final = 0x70  # cell 1, or the register before it
_CELL_WORDS: Final = 17

_CHARGE_LIMIT, _DISCHARGE_LIMIT = 0x19, 0x23
_NO_LIMIT: Final = 30000  # what the firmware can count at most, not what the pack allows (3.7)
_ZERO: Final = frozenset({0})

_FIELDS: Final = (
    Field(_SOC, "soc"),
    Field(_VOLTAGE, "voltage", 100),
    Field(_TEMPERATURE, "temperature", signed=True),
    Field(0x1E, "cycles"),
    Field(0x21, "charge_voltage_limit", 100, absent=_ZERO),
)
_MORE_FIELDS: Final = (
    Field(0x25, "cell_voltage_max", 1000, absent=_ZERO),
    Field(0x26, "cell_voltage_min", 1000, absent=_ZERO),
)
# Whether these count from 0 or from 1 differs by maker (3.2): as they came, for bug reports only.
_PLACES: Final = (
    Field(0x27, "cell_voltage_max_cell", absent=_ZERO),
    Field(0x28, "cell_voltage_min_cell", absent=_ZERO),
)

_MODES: Final = (Mode.STARTING, Mode.STANDBY, Mode.CHARGING, Mode.DISCHARGING)
_CHEMISTRY: Final = ("lfp", "nmc", "lto")
_FLAGS: Final = {5: "discharge_enabled", 6: "charge_enabled", 12: "force_charge_requested"}
_SLEEP: Final = 0x10
_TERMINAL_OPEN: Final = 0x80

_ERRORS: Final = alarm_bits(
    Severity.PROTECTION,
    {
        0: Condition.DISCHARGE_OVERCURRENT,
        1: Condition.SHORT_CIRCUIT,
        2: Condition.OVERVOLTAGE,
        3: Condition.UNDERVOLTAGE,
        4: Condition.DISCHARGE_OVERTEMPERATURE,
        5: Condition.CHARGE_OVERTEMPERATURE,
        6: Condition.DISCHARGE_UNDERTEMPERATURE,
        7: Condition.CHARGE_UNDERTEMPERATURE,
        10: Condition.CELL_IMBALANCE,
        11: Condition.CHARGE_OVERCURRENT,
        12: Condition.MOSFET_OVERTEMPERATURE,
        13: Condition.AMBIENT_OVERTEMPERATURE,
        14: Condition.AMBIENT_UNDERTEMPERATURE,
    },
) | alarm_bits(Severity.FAULT, {8: Condition.PRECHARGE_FAILURE, 9: Condition.INTERNAL_FAILURE})
_WARNINGS: Final = alarm_bits(
    Severity.WARNING,
    {
        0: Condition.CELL_OVERVOLTAGE,
        1: Condition.CELL_UNDERVOLTAGE,
        2: Condition.PACK_OVERVOLTAGE,
        3: Condition.PACK_UNDERVOLTAGE,
        4: Condition.DISCHARGE_OVERCURRENT,
        5: Condition.CHARGE_OVERCURRENT,
        6: Condition.DISCHARGE_OVERTEMPERATURE,
        7: Condition.DISCHARGE_UNDERTEMPERATURE,
        8: Condition.CHARGE_OVERTEMPERATURE,
        9: Condition.CHARGE_UNDERTEMPERATURE,
        10: Condition.MOSFET_OVERTEMPERATURE,
        11: Condition.AMBIENT_OVERTEMPERATURE,
        12: Condition.AMBIENT_UNDERTEMPERATURE,
        13: Condition.SHUTDOWN_IMMINENT,
    },
)
_EXTENDED_ERRORS: Final = alarm_bits(
    Severity.FAULT,
    {
        0: Condition.CONFIGURATION_CONFLICT,
        1: Condition.CONFIGURATION_CONFLICT,
        3: Condition.PARALLEL_FAILURE,
        4: Condition.PARALLEL_FAILURE,
    },
) | {2: Alarm(condition=Condition.OTHER, severity=Severity.PROTECTION)}
# Bits of these words that have no name: kept as raw words, so that none goes unseen (3.4: a dialect uses others).
_UNNAMED: Final = {
    register: (name, 0xFFFF & ~sum(1 << bit for bit in table))
    for register, name, table in (
        (_ERROR, "error_word", _ERRORS),
        (_EXTENDED, "extended_error_word", _EXTENDED_ERRORS),
    )
}

# What the words of a status block can hold (section 13; a little wider, a pack in trouble is still a pack)
_SENSE: Final = {_SOC: range(128), _VOLTAGE: range(400, 7001), _TEMPERATURE: range(-60, 128)}

_SERIAL_WORDS: Final = 4  # of two characters each: what they hold of a longer serial number is its beginning


class Growatt(ModbusProtocol):
    """The register map, without knowledge of how many packs there are."""

    name = "growatt-rs485"
    serial_room = 2 * _SERIAL_WORDS
    polls = (
        Poll(
            name="status",
            cadence=Cadence.CYCLE,
            scope=Scope.BANK,
            request=reading(_STATUS, 23),
            essential=True,
            fallback=(
                Poll(
                    name="status-16",
                    cadence=Cadence.CYCLE,
                    scope=Scope.BANK,
                    request=reading(_STATUS, 16),
                    essential=True,
                    fallback=(
                        Poll(
                            name="status-6",
                            cadence=Cadence.CYCLE,
                            scope=Scope.BANK,
                            request=reading(_STATUS, 6),
                            essential=True,
                        ),
                    ),
                ),
            ),
        ),
        Poll(
            name="cells",
            cadence=Cadence.CYCLE,
            scope=Scope.BANK,
            request=reading(_CELLS, _CELL_WORDS),
            fallback=(Poll(name="cells-16", cadence=Cadence.CYCLE, scope=Scope.BANK, request=reading(_CELLS + 1, 16)),),
        ),
        Poll(name="identification", cadence=Cadence.ONCE, scope=Scope.BANK, request=reading(0x0001, 15), private=True),
    )
    probes = (Probe(name="status-6", address=BANK_UNIT, request=read_request(BANK_UNIT, _STATUS, 6), wait=0.4),)
    address_groups = ((BANK_UNIT,),)
    conditions = frozenset(
        alarm.condition for table in (_ERRORS, _WARNINGS, _EXTENDED_ERRORS) for alarm in table.values()
    )
    area: ClassVar[range] = range(0x0001, 0x0091)
    never_zero = frozenset({_VOLTAGE})
    signatures = (
        {_SOC: range(101), _VOLTAGE: range(1000, 6501), _TEMPERATURE: range(-40, 91)},
        {register: range(2000, 4501) for register in range(_CELLS + 1, _CELLS + 5)},
    )

    @override
    def configured(self, *, packs: int | None, capacity: float | None) -> Growatt:
        """See `PolledProtocol`: with both, the capacity words can be unwrapped; else nothing is made of them.

        As they stand they are certain at about half of all states of charge only: a home would see them come and go.
        """
        return GrowattBank(expected=packs * capacity if packs and capacity else None)

    def capacities(self, soc: int | None, remaining: int, full: int) -> tuple[float | None, float | None]:
        """Remaining and full capacity in Ah out of the two words; None where they may have wrapped (3.7)."""
        return as_they_stand(soc, remaining, full)

    def size(self, full: float | None) -> float | None:
        """Ah of the bank, where it can be known; `full`: what its words say."""
        return full

    @override
    def read(self, unit: int, registers: Registers) -> Decoded:
        """See `ModbusProtocol`."""
        _check(registers)
        found: dict[str, object] = dict(values(registers, _FIELDS))
        info: dict[str, object] = {}
        identity = dict[str, object]()
        self._read_status(registers, found, info)
        self._read_charge(registers, found)
        if any(registers.u16(register) for register in _MORE):
            found |= values(registers, _MORE_FIELDS)
            info |= values(registers, _PLACES)
        if (cells := _cells(registers)) is not None:
            found["cell_voltages"] = cells
        if versions := registers.u16(_VERSIONS):
            identity |= {"hardware": str(versions >> 8), "firmware": str(versions & 0xFF)}
        if (count := registers.u16(_CELL_COUNT)) is not None and 4 <= count <= 24:
            identity["cells"] = count
        _read_identification(registers, identity, info)
        return Decoded(
            bank=BankState(**found),  # type: ignore[arg-type]
            identities={unit: Identity(**identity)} if identity else {},  # type: ignore[arg-type]
            info=info,
        )

    def _read_status(self, registers: Registers, found: dict[str, object], info: dict[str, object]) -> None:
        """State, permissions, alarms and what comes with them."""
        if (status := registers.u16(_STATUS)) is not None:
            found |= status_word(status)
            info["terminal_open"] = bool(status & _TERMINAL_OPEN)
        warning = registers.u16(_WARNING)
        if warning is not None and (chemistry := warning >> 14) < len(_CHEMISTRY):
            info["chemistry"] = _CHEMISTRY[chemistry]
        for register, (name, unnamed) in _UNNAMED.items():
            if (word := registers.u16(register)) and word & unnamed:
                info[name] = word
        if (error := registers.u16(_ERROR)) is not None:
            # firmware that lacks the later words still says what it has stopped
            words: list[tuple[int | None, Mapping[int, Alarm]]] = [(error, _ERRORS)]
            words += [
                (word, table)
                for word, table in ((warning, _WARNINGS), (registers.u16(_EXTENDED), _EXTENDED_ERRORS))
                if word is not None
            ]
            found["alarms"] = alarms(words)

    def _read_charge(self, registers: Registers, found: dict[str, object]) -> None:
        """Health, capacities, current, power and limits: most of it in words that a large bank runs over."""
        if soh := (registers.u16(_SOH) or 0) & 0x7F:
            found["soh"] = soh
        whole = None
        remaining, full = registers.u16(_REMAINING), registers.u16(_FULL)
        if remaining is not None and full is not None and (remaining or full):
            rest, whole = self.capacities(registers.u16(_SOC), remaining, full)
            found |= {"remaining_capacity": rest, "full_capacity": whole}
        status, size = registers.u16(_STATUS), self.size(whole)
        voltage, raw = registers.u16(_VOLTAGE), registers.s16(_CURRENT)
        if raw is not None and (current := _current(raw, status, size)) is not None:
            found["current"] = current
            if voltage is not None:
                found |= {"power": power_of(voltage / 100, current), "derived": frozenset({"power"})}
        found["charge_current_limit"] = _limit(registers.u16(_CHARGE_LIMIT), status, size, CHARGE_ENABLED)
        if any(registers.u16(register) for register in _MORE):
            limit = _limit(registers.u16(_DISCHARGE_LIMIT), status, size, DISCHARGE_ENABLED)
            found["discharge_current_limit"] = limit


def _current(raw: int, status: int | None, size: float | None) -> float | None:
    """A; one inverter asks for all but the status (from 0x0014 on), so that only the size can contradict the sign."""
    return plain_current(raw, 0 if status is None and size is None else status, size)


def _limit(raw: int | None, status: int | None, size: float | None, allowed: int) -> float | None:
    """A; firmware of banks was seen to stop at 300 A (section 3.2), so that only a known size makes it doubtful."""
    if raw is None or raw == _NO_LIMIT or is_cut_off(raw):
        return None
    return raw / 100 if size is None else plain_limit(raw, status, size, allowed=allowed)


def status_word(status: int) -> dict[str, object]:
    """Mode and permissions (3.3). Bit 2, "errors valid", is set on healthy packs; what bit 3 means is disputed."""
    mode = Mode.SLEEP if status & _SLEEP else _MODES[status & 3]
    return {"mode": mode} | {name: bool(status >> bit & 1) for bit, name in _FLAGS.items()}


def _check(registers: Registers) -> None:
    """Tell a status block from whatever else may stand in registers of these numbers."""
    for register, sense in _SENSE.items():
        if (word := registers.s16(register)) is not None and word not in sense:
            raise FrameError(f"register {register:#06x} holds {word}: no status of this protocol")


# --- cells -----------------------------------------------------------------------------------------------------------

_CELL: Final = range(2000, 4501)  # mV
_ANY_CELL: Final = range(500, 5001)  # mV, of one in trouble too; no number of a pack
_PACK_NUMBERS: Final = range(1, 17)  # that stand before the cells by the document; no cell reads so little
_AMBIGUOUS: Final = 15  # cells
_HIGHEST_CELL: Final = 5000  # mV; no front-end measures more
_COUNTS: Final = frozenset({4, 8, 15, 16})  # in series, by the document
_SUM_TOLERANCE: Final = 0.03  # of packs in parallel the voltage is the lowest one's, the cells are the answering one's


def _cells(registers: Registers) -> tuple[float | None, ...] | None:
    """Cell voltages in V, cell 1 first; None when it is not certain which word is cell 1.

    Fifteen words from the document's place on are 15 cells, or JK's 16 without the first, or 16 without the last.
    """
    if (words := registers.block(_CELLS + 1, 16)) is None or not any(words):
        return None
    first, count, voltage = registers.u16(_CELLS), registers.u16(_CELL_COUNT), registers.u16(_VOLTAGE)
    documented = _trimmed(words)
    jk = _trimmed((first, *words)) if first is not None and first in _ANY_CELL else ()
    if first is not None and jk and len(jk) <= 16:
        usual, choices = jk, [jk, documented]
    elif jk and words[-1] not in _ANY_CELL:
        return None
    else:
        usual, choices = documented, [documented]
    if max(usual) > _HIGHEST_CELL or 2 * sum(word in _CELL for word in usual) < len(usual):
        raise FrameError("the words of the cells hold no cells")
    if count in _COUNTS:
        choices = [cells for cells in choices if len(cells) == count]
    elif voltage is not None:
        choices = [cells for cells in choices if abs(sum(cells) / 10 - voltage) <= _SUM_TOLERANCE * voltage]
    elif first is None or first not in _PACK_NUMBERS:
        choices = [cells for cells in choices if cells is jk or len(cells) != _AMBIGUOUS]
    cells = next((cells for cells in choices if len(cells) in _COUNTS), ())
    return tuple(word / 1000 if word else None for word in cells) or None


def _trimmed(words: tuple[int, ...]) -> tuple[int, ...]:
    """Without the empty places at the end."""
    count = max((place for place, word in enumerate(words, 1) if word), default=0)
    return words[:count]


# --- banks of a known size -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class GrowattBank(Growatt):
    """The register map where the size of the bank is known, so that its words can be unwrapped, or known to be unknown."""

    expected: float | None  # Ah of all packs together

    @override
    def capacities(self, soc: int | None, remaining: int, full: int) -> tuple[float | None, float | None]:
        """See `Growatt`."""
        return (None, None) if self.expected is None else unwrapped(self.expected, soc, remaining, full)

    @override
    def size(self, full: float | None) -> float | None:
        """See `Growatt`."""
        return self.expected


# --- who it is -------------------------------------------------------------------------------------------------------

_IDENTIFICATION: Final = {
    0x0002: "gauge_version",
    0x000D: "bms_company_and_generation",
    0x000E: "pack_company_and_generation",
    0x000F: "usable_energy_wh",
}


def _read_identification(registers: Registers, identity: dict[str, object], info: dict[str, object]) -> None:
    """The block at 0x0001; EG4-LL leaves all of it 0."""
    if firmware := registers.u16(0x0001):
        info["mcu_firmware"] = f"{firmware >> 8}.{firmware & 0xFF}"
    if serial := registers.text(0x0009, _SERIAL_WORDS):
        identity["serial"] = serial
    info |= {name: word for register, name in _IDENTIFICATION.items() if (word := registers.u16(register))}
