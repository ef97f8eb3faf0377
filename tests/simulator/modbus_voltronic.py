"""What packs in Voltronic mode hold in their registers, and how they frame answers (modbus-rtu.md section 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
import struct
from typing import Final, override

from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity

from .bank import SimBank
from .modbus import READ, Page, RegisterMap, sealed, word
from .pack import SimPack

UNIT: Final = 1
UNKNOWN_COMMAND: Final = 2  # the document's second error code

_P, _W, _F = Severity.PROTECTION, Severity.WARNING, Severity.FAULT
# Section 4.3: (register, bit) of what is reported. Some conditions have more than one place; one of them is enough.
_BITS: Final[Mapping[tuple[Condition, Severity], tuple[int, int]]] = {
    (Condition.CHARGE_OVERTEMPERATURE, _W): (0x37, 0),
    (Condition.CELL_OVERVOLTAGE, _W): (0x37, 1),
    (Condition.CHARGE_UNDERTEMPERATURE, _W): (0x37, 2),
    (Condition.CHARGE_OVERCURRENT, _W): (0x37, 3),
    (Condition.DISCHARGE_OVERTEMPERATURE, _W): (0x38, 0),
    (Condition.DISCHARGE_UNDERTEMPERATURE, _W): (0x38, 1),
    (Condition.MOSFET_OVERTEMPERATURE, _W): (0x38, 2),
    (Condition.CELL_UNDERVOLTAGE, _W): (0x38, 3),
    (Condition.INTERNAL_FAILURE, _F): (0x39, 2),
    (Condition.UNDERVOLTAGE, _P): (0x39, 7),
    (Condition.CHARGE_OVERTEMPERATURE, _P): (0x39, 8),
    (Condition.CHARGE_UNDERTEMPERATURE, _P): (0x39, 9),
    (Condition.CELL_OVERVOLTAGE, _P): (0x39, 10),
    (Condition.CHARGE_OVERCURRENT, _P): (0x39, 11),
    (Condition.CONFIGURATION_CONFLICT, _F): (0x39, 13),
    (Condition.PACK_UNDERVOLTAGE, _P): (0x3A, 1),
    (Condition.MOSFET_OVERTEMPERATURE, _P): (0x3B, 10),
    (Condition.CELL_UNDERVOLTAGE, _P): (0x3B, 11),
    (Condition.DISCHARGE_OVERCURRENT, _P): (0x3B, 12),
    (Condition.DISCHARGE_UNDERTEMPERATURE, _P): (0x3B, 13),
    (Condition.DISCHARGE_OVERTEMPERATURE, _P): (0x3B, 14),
    (Condition.SHORT_CIRCUIT, _P): (0x3C, 1),
}
# Section 4.2, codes at 0x0060 on: (register, code) of warnings of the answering pack.
_STATES: Final[Mapping[Condition, tuple[int, int]]] = {
    Condition.PACK_OVERVOLTAGE: (0x60, 2),
    Condition.PACK_UNDERVOLTAGE: (0x61, 1),
    Condition.CHARGE_OVERCURRENT: (0x64, 2),
    Condition.DISCHARGE_OVERCURRENT: (0x65, 2),
    Condition.CHARGE_OVERTEMPERATURE: (0x68, 2),
    Condition.CHARGE_UNDERTEMPERATURE: (0x68, 1),
    Condition.DISCHARGE_OVERTEMPERATURE: (0x69, 2),
    Condition.DISCHARGE_UNDERTEMPERATURE: (0x69, 1),
}
_CELL_CODES: Final = {Condition.CELL_UNDERVOLTAGE: 1, Condition.CELL_OVERVOLTAGE: 2}
# Signals of a pack in good health: bits 0 and 1 of these two.
_HEALTHY: Final = {0x39: 0x0003, 0x3B: 0x0003}


class Dialect(StrEnum):
    """How answers are framed (section 4.1)."""

    WORDS16 = "words16"
    BYTES16 = "bytes16"  # one register at a time
    PAIRS = "pairs"  # as WORDS16, but no more than two registers at a time (own construction)
    STANDARD = "standard"
    FUNCTION_FIRST = "function first"


def alarm_words(packs: Sequence[SimPack]) -> tuple[dict[int, int], frozenset[Alarm]]:
    """The words of all packs, or-ed, the codes of the first one, and what all of them together say."""
    words = dict.fromkeys([*range(0x37, 0x3D), *range(0x41, 0x4B), *range(0x60, 0x6A)], 0) | _HEALTHY
    said: set[Alarm] = set()
    for alarm in (alarm for pack in packs for alarm in pack.alarms):
        if (place := _BITS.get((alarm.condition, alarm.severity))) is not None:
            words[place[0]] |= 1 << place[1]
            said.add(replace(alarm, cell=None))
    for alarm in packs[0].alarms:
        if alarm.severity is not _W:
            continue
        if (state := _STATES.get(alarm.condition)) is not None:
            words[state[0]] = state[1]
            said.add(replace(alarm, cell=None))
        if alarm.cell is not None and (code := _CELL_CODES.get(alarm.condition)) is not None:
            register, low = divmod(alarm.cell - 1, 2)
            words[0x41 + register] |= code if low else code << 8
            said.add(alarm)
    return words, frozenset(said)


class VoltronicMap(RegisterMap):
    """Any unit of the bank answers for all; 1 always does. Cells, temperatures and voltage limits are the first pack's."""

    def __init__(self, dialect: Dialect | str = Dialect.WORDS16, *, cell_scale: int = 1000) -> None:
        """`cell_scale`: counts of a cell's volt; the document has 10."""
        self.dialect = Dialect(dialect)
        self.cell_scale = cell_scale

    @override
    def encode(self, unit: int, words: Sequence[int]) -> bytes:
        """See `RegisterMap`."""
        count = len(words)
        data = struct.pack(f">{count}H", *words)
        match self.dialect:
            case Dialect.WORDS16 | Dialect.PAIRS:
                return sealed(struct.pack(">BBH", unit, READ, count) + data)
            case Dialect.BYTES16:
                return sealed(struct.pack(">BBH", unit, READ, 2 * count) + data)
            case Dialect.FUNCTION_FIRST:
                return sealed(struct.pack(">BBH", READ, unit, count) + data)
            case Dialect.STANDARD:
                return super().encode(unit, words)

    @override
    def refusal(self, start: int, count: int) -> int | None:
        """See `RegisterMap`."""
        most = {Dialect.BYTES16: 1, Dialect.PAIRS: 2}.get(self.dialect)
        return UNKNOWN_COMMAND if most is not None and count > most else None

    @override
    def page(self, bank: SimBank, unit: int) -> Page | None:
        """See `RegisterMap`."""
        packs = [pack for _, pack in sorted(bank.packs.items()) if not pack.silent]
        return self._page(packs) if packs and unit in {UNIT, *bank.packs} else None

    @override
    def twin(self, bank: SimBank, unit: int) -> Page | None:
        """A second pack that is wired as well and speaks for itself."""
        packs = [pack for _, pack in sorted(bank.packs.items()) if not pack.silent]
        return self._page(packs[1:2]) if len(packs) > 1 else None

    def _page(self, packs: list[SimPack]) -> Page:
        page = Page()
        # what does not exist reads 0 (section 4), so everything up to the last register does
        page.put(0x01, *[0] * 0x77)
        page.put(0x03, 0x0001, 0x0203, 0x0000, 0x0005)
        self._own(page, packs[0])
        self._summary(page, packs)
        words, said = alarm_words(packs)
        for register, raw in words.items():
            page.put(register, raw)
        page.tell(range(0x37, 0x3D), alarms=said)
        self._limits(page, packs)
        return page

    def _own(self, page: Page, pack: SimPack) -> None:
        cells = [word(v, self.cell_scale) for v in pack.cell_voltages]
        page.put(0x10, len(cells), *cells)
        page.put(0x40, len(cells))
        if self.cell_scale != 10:
            page.tell(range(0x10, 0x25), cell_voltages=tuple(raw / self.cell_scale for raw in cells))
        probes = [*pack.cell_temperatures, *[pack.temperature] * (5 - pack.sensors), pack.mosfet_temperature]
        raws = [round(10 * celsius) + 2731 for celsius in probes]
        page.put(0x25, len(raws), *raws)
        page.put(0x50, len(raws))
        celsius = [(raw - 2731) / 10 for raw in raws]
        page.tell(range(0x25, 0x30), cell_temperatures=tuple(celsius[:5]), mosfet_temperature=celsius[5])
        page.put(0x3E, *divmod(round(1000 * pack.spec.capacity), 0x10000))

    def _summary(self, page: Page, packs: list[SimPack]) -> None:
        current = sum(pack.current for pack in packs)
        charging, discharging = word(max(current, 0.0), 10), word(max(-current, 0.0), 10)
        page.put(0x30, charging, discharging, current=(charging - discharging) / 10)
        voltage = word(sum(pack.voltage for pack in packs) / len(packs), 10)
        page.put(0x32, voltage, voltage=voltage / 10)
        soc = word(sum(pack.soc for pack in packs) / len(packs))
        page.put(0x33, soc, soc=soc)
        full = round(1000 * sum(pack.full_capacity for pack in packs))
        page.put(0x34, *divmod(full, 0x10000), full_capacity=full / 1000)
        page.put(0x36, len(packs), modules_online=len(packs))

    def _limits(self, page: Page, packs: list[SimPack]) -> None:
        high, low = word(packs[0].charge_voltage_limit, 10), word(packs[0].discharge_voltage_limit, 10)
        charge = word(sum(pack.charge_limit for pack in packs), 10)
        discharge = word(sum(pack.discharge_limit for pack in packs), 10)
        page.put(0x70, high, low, charge, discharge)
        page.tell((0x70, 0x71), charge_voltage_limit=high / 10, discharge_voltage_limit=low / 10)
        page.tell((0x72, 0x73), charge_current_limit=charge / 10, discharge_current_limit=discharge / 10)
        may_charge = all(pack.charge_enabled for pack in packs)
        may_discharge = any(pack.discharge_enabled for pack in packs)
        lowest = min(pack.soc for pack in packs)
        status = (0x80 if may_charge else 0) | (0x40 if may_discharge else 0)
        status |= 0x20 if lowest < 10 else 0x10 if lowest < 15 else 0
        page.put(
            0x74,
            status,
            charge_enabled=may_charge,
            discharge_enabled=may_discharge,
            force_charge_requested=lowest < 15,
            full_charge_requested=False,
        )
        remaining = round(1000 * sum(pack.remaining_capacity for pack in packs))
        page.put(0x75, 90, *divmod(remaining, 0x10000))
        page.tell((0x76, 0x77), remaining_capacity=remaining / 1000)
