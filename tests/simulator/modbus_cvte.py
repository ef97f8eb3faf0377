"""What packs in CVTE mode are said to hold in their registers (modbus-rtu.md section 7)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, override

from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity

from .bank import SimBank
from .modbus import Page, RegisterMap, ascii_words, signed, word
from .modbus_growatt import state_word
from .pack import SimPack

UNIT: Final = 1
_TURN: Final = 0x10000
_HOT: Final = (Condition.CHARGE_OVERTEMPERATURE, Condition.DISCHARGE_OVERTEMPERATURE, Condition.MOSFET_OVERTEMPERATURE)
_COLD: Final = (Condition.CHARGE_UNDERTEMPERATURE, Condition.DISCHARGE_UNDERTEMPERATURE)


def _many(bit: int, meaning: Condition, *conditions: Condition) -> dict[Condition, tuple[int, Condition]]:
    return dict.fromkeys(conditions, (bit, meaning))


_ALIKE: Final = (
    _many(0, Condition.OVERVOLTAGE, Condition.CELL_OVERVOLTAGE, Condition.PACK_OVERVOLTAGE)
    | _many(1, Condition.UNDERVOLTAGE, Condition.CELL_UNDERVOLTAGE, Condition.PACK_UNDERVOLTAGE)
    | _many(2, Condition.OVERCURRENT, Condition.CHARGE_OVERCURRENT, Condition.DISCHARGE_OVERCURRENT)
)
_FAULTS: Final[Mapping[Condition, tuple[int, Condition]]] = (
    _ALIKE
    | _many(3, Condition.SHORT_CIRCUIT, Condition.SHORT_CIRCUIT)
    | _many(4, Condition.OVERTEMPERATURE, *_HOT)
    | _many(5, Condition.UNDERTEMPERATURE, *_COLD)
    | _many(6, Condition.CELL_IMBALANCE, Condition.CELL_IMBALANCE)
)
_WARNINGS: Final[Mapping[Condition, tuple[int, Condition]]] = (
    _ALIKE
    | _many(3, Condition.OVERTEMPERATURE, *_HOT)
    | _many(4, Condition.UNDERTEMPERATURE, *_COLD)
    | _many(5, Condition.CELL_IMBALANCE, Condition.CELL_IMBALANCE)
    | _many(6, Condition.LOW_SOC, Condition.LOW_SOC)
)


class CvteMap(RegisterMap):
    """Unit 1 speaks for all packs; the others are silent.

    Sums that are too large for their word wrap, as they are known to in the map that this one is laid out like (section
    3.7). The number of packs gives capacities back. Nothing does so for a current: told as None, not to be shown.
    """

    def __init__(self, *, prose: bool = False) -> None:
        """`prose`: cells as the project's table in words has them, in 10 mV from 0x0040 on and without their number."""
        self.prose = prose

    @override
    def page(self, bank: SimBank, unit: int) -> Page | None:
        """See `RegisterMap`."""
        packs = [pack for _, pack in sorted(bank.packs.items()) if not pack.silent]
        if unit != UNIT or not packs:
            return None
        page = Page()
        page.put(0x11, 0x0103, 0x0001, 0)
        page.put(0x1C, *ascii_words("CVTE_COM", 4))
        self._status(page, packs)
        self._extremes(page, packs)
        self._cells(page, packs[0])
        return page

    def _status(self, page: Page, packs: list[SimPack]) -> None:
        current = round(sum(p.current for p in packs) * 100)
        state, said = state_word(packs, current / 100)
        remaining = round(sum(p.remaining_capacity for p in packs) * 100)
        full = round(sum(p.full_capacity for p in packs) * 100)
        soc = word(100 * remaining / full)
        voltage = word(min(p.voltage for p in packs), 100)
        hottest = word(max(t for p in packs for t in p.cell_temperatures), signed=True)
        page.put(0x20, state, **said)
        page.put(0x21, voltage, voltage=voltage / 100)
        page.put(0x22, current % _TURN)
        if -_TURN // 2 < current < _TURN // 2 - 1:
            page.tell((0x22,), current=current / 100)
        else:
            page.tell((0x21, 0x22), current=None, power=None)
        page.put(0x23, hottest, cell_temperature_max=signed(hottest))
        page.put(0x24, soc, soc=soc)
        page.put(0x25, remaining % _TURN, remaining_capacity=remaining / 100)
        page.put(0x26, full % _TURN, full_capacity=full / 100)
        fault, warning, said_alarms = self._alarms(packs)
        page.put(0x27, fault)
        page.put(0x28, warning)
        page.tell((0x27, 0x28), alarms=said_alarms)
        limit = round(sum(p.charge_limit for p in packs if p.charge_enabled) * 100)
        page.put(0x29, limit % _TURN, charge_current_limit=limit / 100 if limit < _TURN - 1 else None)
        top = word(min(p.charge_voltage_limit for p in packs), 100)
        page.put(0x2A, top, charge_voltage_limit=top / 100)
        soh = round(min(p.soh for p in packs))
        page.put(0x2B, soh, soh=soh)

    @staticmethod
    def _alarms(packs: list[SimPack]) -> tuple[int, int, frozenset[Alarm]]:
        fault = warning = 0
        said = set()
        for alarm in {replace(alarm, cell=None) for pack in packs for alarm in pack.alarms}:
            table = _WARNINGS if alarm.severity is Severity.WARNING else _FAULTS
            if alarm.condition not in table or alarm.severity is Severity.FAULT:
                continue
            bit, meaning = table[alarm.condition]
            if table is _WARNINGS:
                warning |= 1 << bit
            else:
                fault |= 1 << bit
            said.add(Alarm(condition=meaning, severity=alarm.severity))
        return fault, warning, frozenset(said)

    def _extremes(self, page: Page, packs: list[SimPack]) -> None:
        cycles = int(max(p.cycles for p in packs))
        scale = 100 if self.prose else 1000
        cells = [word(v, scale) for v in packs[0].cell_voltages]
        high, low = max(cells), min(cells)
        probes = [word(t, signed=True) for p in packs for t in p.cell_temperatures]
        warm, cold = max(probes, key=signed), min(probes, key=signed)
        page.put(0x2C, cycles, cycles=cycles)
        page.put(0x2D, 0)
        page.put(0x2E, high)
        page.put(0x2F, cells.index(high) + 1)
        page.put(0x30, low)
        page.put(0x31, cells.index(low) + 1)
        page.tell((0x2E, 0x30), cell_voltage_max=high / scale, cell_voltage_min=low / scale)
        page.put(0x32, high - low)
        page.put(0x33, warm, cell_temperature_max=signed(warm))
        page.put(0x34, 1)
        page.put(0x35, cold, cell_temperature_min=signed(cold))
        page.put(0x36, 1)

    def _cells(self, page: Page, pack: SimPack) -> None:
        scale = 100 if self.prose else 1000
        cells = [word(v, scale) for v in pack.cell_voltages]
        page.put(0x40, *[0] * 27)
        page.put(0x40, *cells) if self.prose else page.put(0x40, len(cells), *cells)
        page.tell(range(0x40, 0x5B), cell_voltages=tuple(v / scale for v in cells))
        probes = [word(t, signed=True) for t in pack.cell_temperatures]
        page.put(0x65, *probes, *[0] * (10 - len(probes)))
        page.tell(range(0x65, 0x6F), cell_temperatures=tuple(float(signed(t)) for t in probes))
