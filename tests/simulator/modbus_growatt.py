"""What packs in Growatt mode hold in their registers (modbus-rtu.md section 3), as a bank or as a single pack."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, override

from custom_components.lfp_battery.bms.model import Alarm, Condition, Mode, Severity

from .bank import SimBank
from .modbus import ILLEGAL_ADDRESS, Page, RegisterMap, ascii_words, signed, word
from .pack import SimPack

UNIT: Final = 1
_WRAP: Final = 0x10000

_P, _W, _F = Severity.PROTECTION, Severity.WARNING, Severity.FAULT
# What packs say, as (bit, what the bit means to whoever reads it), sections 3.4 and 3.5. One bit serves cell and pack
# in the error word; the warning word has both.
_ERRORS: Final[Mapping[tuple[Condition, Severity], tuple[int, Condition]]] = {
    (Condition.DISCHARGE_OVERCURRENT, _P): (0, Condition.DISCHARGE_OVERCURRENT),
    (Condition.SHORT_CIRCUIT, _P): (1, Condition.SHORT_CIRCUIT),
    (Condition.CELL_OVERVOLTAGE, _P): (2, Condition.OVERVOLTAGE),
    (Condition.PACK_OVERVOLTAGE, _P): (2, Condition.OVERVOLTAGE),
    (Condition.CELL_UNDERVOLTAGE, _P): (3, Condition.UNDERVOLTAGE),
    (Condition.PACK_UNDERVOLTAGE, _P): (3, Condition.UNDERVOLTAGE),
    (Condition.DISCHARGE_OVERTEMPERATURE, _P): (4, Condition.DISCHARGE_OVERTEMPERATURE),
    (Condition.CHARGE_OVERTEMPERATURE, _P): (5, Condition.CHARGE_OVERTEMPERATURE),
    (Condition.DISCHARGE_UNDERTEMPERATURE, _P): (6, Condition.DISCHARGE_UNDERTEMPERATURE),
    (Condition.CHARGE_UNDERTEMPERATURE, _P): (7, Condition.CHARGE_UNDERTEMPERATURE),
    (Condition.INTERNAL_FAILURE, _F): (9, Condition.INTERNAL_FAILURE),
    (Condition.CELL_IMBALANCE, _P): (10, Condition.CELL_IMBALANCE),
    (Condition.CHARGE_OVERCURRENT, _P): (11, Condition.CHARGE_OVERCURRENT),
    (Condition.MOSFET_OVERTEMPERATURE, _P): (12, Condition.MOSFET_OVERTEMPERATURE),
}
_ERROR_SEVERITY: Final = {9: _F}
_WARNINGS: Final[Mapping[Condition, int]] = {
    Condition.CELL_OVERVOLTAGE: 0,
    Condition.CELL_UNDERVOLTAGE: 1,
    Condition.PACK_OVERVOLTAGE: 2,
    Condition.PACK_UNDERVOLTAGE: 3,
    Condition.DISCHARGE_OVERCURRENT: 4,
    Condition.CHARGE_OVERCURRENT: 5,
    Condition.DISCHARGE_OVERTEMPERATURE: 6,
    Condition.DISCHARGE_UNDERTEMPERATURE: 7,
    Condition.CHARGE_OVERTEMPERATURE: 8,
    Condition.CHARGE_UNDERTEMPERATURE: 9,
    Condition.MOSFET_OVERTEMPERATURE: 10,
}


class Dialect(StrEnum):
    """Which product answers."""

    DOCUMENTED = "documented"
    JK = "jk"  # cells from 0x0070 on
    ZT = "zt"  # ZT and EG4-LL: capacities wrap, no identification, SOH 0, limits at the firmware's most
    SHORT = "short"  # firmware that has 16 registers of status


@dataclass(frozen=True, slots=True)
class Words:
    """Two words of alarms and what they say."""

    error: int
    warning: int
    said: frozenset[Alarm]


def alarm_words(packs: Iterable[SimPack]) -> Words:
    """The bits of all packs, or-ed."""
    error = warning = 0
    said = set()
    for alarm in {replace(alarm, cell=None) for pack in packs for alarm in pack.alarms}:
        if (known := _ERRORS.get((alarm.condition, alarm.severity))) is not None:
            bit, meaning = known
            error |= 1 << bit
            said.add(Alarm(condition=meaning, severity=_ERROR_SEVERITY.get(bit, _P)))
        elif alarm.severity is _W and alarm.condition in _WARNINGS:
            warning |= 1 << _WARNINGS[alarm.condition]
            said.add(alarm)
    return Words(error, warning, frozenset(said))


def state_word(packs: list[SimPack], current: float) -> tuple[int, dict[str, object]]:
    """Section 3.3, and what it says."""
    state = 2 if current > 0.1 else 3 if current < -0.1 else 1
    mode = {1: Mode.STANDBY, 2: Mode.CHARGING, 3: Mode.DISCHARGING}[state]
    charge, discharge = any(p.charge_enabled for p in packs), any(p.discharge_enabled for p in packs)
    forced = any(p.force_charge_requested for p in packs)
    raw = state | (0x20 if discharge else 0) | (0x40 if charge else 0) | (0x1000 if forced else 0)
    return raw, {
        "mode": mode,
        "charge_enabled": charge,
        "discharge_enabled": discharge,
        "force_charge_requested": forced,
    }


class GrowattMap(RegisterMap):
    """Unit 1 speaks for all packs; the others are silent.

    A current that is too large for its word wraps, and so do limits: told as None, not to be shown. Capacities wrap in one
    product and are cut off in the others.
    """

    def __init__(self, dialect: Dialect | str = Dialect.DOCUMENTED) -> None:
        """As this product does it."""
        self.dialect = Dialect(dialect)

    @override
    def page(self, bank: SimBank, unit: int) -> Page | None:
        """See `RegisterMap`."""
        packs = [pack for _, pack in sorted(bank.packs.items()) if not pack.silent]
        return self._page(packs) if unit == UNIT and packs else None

    @override
    def twin(self, bank: SimBank, unit: int) -> Page | None:
        """A second pack that was left at address 1 and knows nothing of the others."""
        packs = [pack for _, pack in sorted(bank.packs.items()) if not pack.silent]
        return self._page(packs[1:2]) if len(packs) > 1 else None

    @override
    def refusal(self, start: int, count: int) -> int | None:
        """See `RegisterMap`: what is not there at all is refused, the rest reads as it can."""
        return ILLEGAL_ADDRESS if self.dialect is Dialect.SHORT and start <= 0x22 < start + count - 1 else None

    def _page(self, packs: list[SimPack]) -> Page:
        page = Page()
        current = round(sum(p.current for p in packs) * 100)
        page.put(0x10, 0, 0, 0)
        state, said = state_word(packs, current / 100)
        alarms = alarm_words(packs)
        if self.dialect is Dialect.ZT and current:
            state |= 0x04  # set under load with an error word of 0 (3.3)
        page.put(0x13, state, **said)
        page.put(0x14, alarms.error)
        full = sum(p.full_capacity for p in packs)
        remaining = sum(p.remaining_capacity for p in packs)
        soc = word(100 * remaining / full)
        voltage = word(min(p.voltage for p in packs), 100)
        warmest = word(max(p.temperature for p in packs), signed=True)
        page.put(0x15, soc, soc=soc)
        page.put(0x16, voltage, voltage=voltage / 100)
        page.put(0x17, current % _WRAP)
        if -_WRAP // 2 < current < _WRAP // 2 - 1:
            page.tell((0x17,), current=current / 100)
        else:
            page.tell((0x16, 0x17), current=None, power=None)
        page.put(0x18, warmest, temperature=signed(warmest))
        self._limit(page, 0x19, "charge_current_limit", sum(p.charge_limit for p in packs))
        self._capacities(page, remaining, full)
        page.put(0x1C, 0x0204)
        page.put(0x1D, 0)
        cycles = int(max(p.cycles for p in packs))
        page.put(0x1E, cycles, cycles=cycles)
        page.put(0x1F, 0x0100)
        if self.dialect is Dialect.ZT:
            page.put(0x20, 0)
        else:
            soh = round(min(p.soh for p in packs))
            page.put(0x20, 0x80 | soh, soh=soh)
        limit = word(min(p.charge_voltage_limit for p in packs), 100)
        page.put(0x21, limit, charge_voltage_limit=limit / 100)
        page.put(0x22, alarms.warning)
        page.tell((0x14, 0x22), alarms=alarms.said)
        if self.dialect is not Dialect.SHORT:
            self._more(page, packs)
        if self.dialect not in {Dialect.ZT, Dialect.SHORT}:
            page.put(0x01, 0x0102, *[0] * 7, *ascii_words(packs[0].spec.serial[:8], 4), 0, 0, 0)
        self._cells(page, packs[0])
        return page

    def _limit(self, page: Page, register: int, name: str, amperes: float) -> None:
        if self.dialect is Dialect.ZT:
            page.put(register, 30000)  # section 3.7: no measured limit, so nothing is said
        else:
            raw = round(amperes * 100)
            page.put(register, raw % _WRAP, **{name: raw / 100 if raw < _WRAP - 1 else None})

    def _capacities(self, page: Page, remaining: float, full: float) -> None:
        for register, name, ampere_hours in (
            (0x1A, "remaining_capacity", remaining),
            (0x1B, "full_capacity", full),
        ):
            raw = round(ampere_hours * 100)
            if self.dialect is Dialect.ZT:
                page.put(register, raw % _WRAP, **{name: raw / 100})
            else:
                page.put(register, word(raw), **{name: raw / 100 if raw < _WRAP - 1 else None})

    def _more(self, page: Page, packs: list[SimPack]) -> None:
        """0x0023 to 0x0029: of the cells that the answering pack has itself."""
        self._limit(page, 0x23, "discharge_current_limit", sum(p.discharge_limit for p in packs))
        cells = [word(v, 1000) for v in packs[0].cell_voltages]
        high, low = max(cells), min(cells)
        page.put(0x24, 0)
        page.put(0x25, high, cell_voltage_max=high / 1000)
        page.put(0x26, low, cell_voltage_min=low / 1000)
        first = 0 if self.dialect is Dialect.ZT else 1  # section 3.2: counted from 0 there
        page.put(0x27, cells.index(high) + first)
        page.put(0x28, cells.index(low) + first)
        page.put(0x29, len(cells))

    def _cells(self, page: Page, pack: SimPack) -> None:
        cells = [word(v, 1000) for v in pack.cell_voltages]
        page.put(0x70, *[0] * 17)
        base = 0x70 if self.dialect is Dialect.JK else 0x71
        if self.dialect is Dialect.DOCUMENTED:
            page.put(0x70, 1)
        page.put(base, *cells)
        page.tell(range(base, base + 16), cell_voltages=tuple(mv / 1000 for mv in cells))
