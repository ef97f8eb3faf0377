"""What packs hold in the registers of the PACE map and of its newer layout (modbus-rtu.md sections 5 and 6)."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Final, override

from custom_components.lfp_battery.bms.model import Alarm, Condition, Mode, Severity

from .bank import SimBank
from .modbus import ILLEGAL_ADDRESS, Page, RegisterMap, ascii_words, signed, word
from .pack import SimPack

_P, _W, _F = Severity.PROTECTION, Severity.WARNING, Severity.FAULT
_BOTH: Final[Mapping[Condition, int]] = {
    Condition.CELL_OVERVOLTAGE: 0,
    Condition.CELL_UNDERVOLTAGE: 1,
    Condition.PACK_OVERVOLTAGE: 2,
    Condition.PACK_UNDERVOLTAGE: 3,
    Condition.CHARGE_OVERCURRENT: 4,
    Condition.DISCHARGE_OVERCURRENT: 5,
    Condition.CHARGE_OVERTEMPERATURE: 8,
    Condition.DISCHARGE_OVERTEMPERATURE: 9,
    Condition.CHARGE_UNDERTEMPERATURE: 10,
    Condition.DISCHARGE_UNDERTEMPERATURE: 11,
}
_BITS: Final[Mapping[Severity, tuple[int, Mapping[Condition, int]]]] = {
    _W: (
        9,
        {
            **_BOTH,
            Condition.AMBIENT_OVERTEMPERATURE: 12,
            Condition.AMBIENT_UNDERTEMPERATURE: 13,
            Condition.MOSFET_OVERTEMPERATURE: 14,
            Condition.LOW_SOC: 15,
        },
    ),
    _P: (
        10,
        {
            **_BOTH,
            Condition.SHORT_CIRCUIT: 6,
            Condition.CHARGER_OVERVOLTAGE: 7,
            Condition.MOSFET_OVERTEMPERATURE: 12,
            Condition.AMBIENT_OVERTEMPERATURE: 13,
            Condition.AMBIENT_UNDERTEMPERATURE: 14,
        },
    ),
    _F: (
        11,
        {
            Condition.MOSFET_FAILURE: 0,
            Condition.TEMPERATURE_SENSING_FAILURE: 2,
            Condition.CELL_FAILURE: 4,
            Condition.INTERNAL_FAILURE: 5,
            Condition.REVERSE_POLARITY: 14,
        },
    ),
}
_ABSENT: Final = 0xF830


class Dialect(StrEnum):
    """Which product answers."""

    DOCUMENTED = "documented"
    JK = "jk"  # nothing above register 36
    NARROW = "narrow"  # no more than 30 registers at once
    HIGH_BYTE = "high byte"  # SOC and SOH there
    V2 = "v2"
    EDITION_2018 = "2018"  # counts what was discharged


class PaceMap(RegisterMap):
    """Every pack answers at its own address."""

    def __init__(self, dialect: Dialect | str = Dialect.DOCUMENTED) -> None:
        """As this product does it."""
        self.dialect = Dialect(dialect)

    @override
    def refusal(self, start: int, count: int) -> int | None:
        """See `RegisterMap`."""
        return ILLEGAL_ADDRESS if self.dialect is Dialect.NARROW and count > 30 else None

    @override
    def page(self, bank: SimBank, unit: int) -> Page | None:
        """See `RegisterMap`."""
        if (pack := bank.present(unit)) is None:
            return None
        page = Page(whose=unit)
        self._head(page, pack)
        self._bits(page, pack)
        if self.dialect is Dialect.V2:
            self._v2(page, pack)
        else:
            self._v13(page, pack)
        return page

    def _head(self, page: Page, pack: SimPack) -> None:
        current, voltage = word(pack.current, 100, signed=True), word(pack.voltage, 100)
        page.put(0, current, current=signed(current) / 100)
        page.put(1, voltage, voltage=voltage / 100)
        shift = 8 if self.dialect is Dialect.HIGH_BYTE else 0
        for register, name, value in ((2, "soc", pack.soc), (3, "soh", pack.soh)):
            page.put(register, word(value) << shift, **{name: word(value)})
        for register, name, value in (
            (4, "remaining_capacity", pack.remaining_capacity),
            (5, "full_capacity", pack.full_capacity),
            (6, "design_capacity", pack.spec.capacity),
        ):
            raw = word(value, 100)
            page.put(register, raw)
            page.tell((register, 5), **{name: raw / 100})
        page.put(7, int(pack.cycles), cycles=int(pack.cycles))
        page.put(8, 0)

    def _bits(self, page: Page, pack: SimPack) -> None:
        words = {9: 0, 10: 0, 11: 0}
        said: set[Alarm] = set()
        for alarm in pack.alarms:
            register, table = _BITS[alarm.severity]
            if (bit := table.get(alarm.condition)) is not None:
                words[register] |= 1 << bit
                said.add(replace(alarm, cell=None))
        mode = Mode.CHARGING if pack.current > 0.1 else Mode.DISCHARGING if pack.current < -0.1 else Mode.STANDBY
        words[11] |= {Mode.CHARGING: 0x100, Mode.DISCHARGING: 0x200}.get(mode, 0)
        words[11] |= 0x400 if pack.charge_enabled else 0
        words[11] |= 0x800 if pack.discharge_enabled else 0
        words[11] |= 0x8000 if pack.heater_active else 0
        if self.dialect is Dialect.V2:  # set on a healthy pack (section 5)
            words[10] |= 0x8000
            words[11] |= 0x2000
        page.put(9, words[9], words[10], words[11], alarms=frozenset(said))
        page.tell(
            (11,),
            mode=mode,
            charge_enabled=pack.charge_enabled,
            discharge_enabled=pack.discharge_enabled,
            heater_active=pack.heater_active,
        )
        balance = sum(1 << (cell - 1) for cell in pack.balancing_cells)
        page.put(12, balance, balancing_cells=pack.balancing_cells)
        page.put(13, 0, 0)

    def _v13(self, page: Page, pack: SimPack) -> None:
        cells = [word(v, 1000) for v in pack.cell_voltages]
        page.put(15, *cells, *[0] * (16 - len(cells)), cell_voltages=tuple(mv / 1000 for mv in cells))
        probes = [word(celsius, 10, signed=True) for celsius in pack.cell_temperatures]
        probes += [_ABSENT] * (4 - len(probes))
        mosfet, ambient = (
            word(celsius, 10, signed=True) for celsius in (pack.mosfet_temperature, pack.temperature - 1)
        )
        page.put(31, *probes, mosfet, ambient)
        celsius = tuple(None if raw == _ABSENT else signed(raw) / 10 for raw in probes)
        page.tell(range(31, 37), cell_temperatures=celsius)
        page.tell(range(31, 37), mosfet_temperature=signed(mosfet) / 10, ambient_temperature=signed(ambient) / 10)
        if self.dialect is Dialect.JK:
            return
        page.put(37, *[0] * 21)
        if self.dialect is Dialect.EDITION_2018:
            watt_hours = round(pack.meter.discharged) + 51_200
            charge = round(100 * watt_hours / (3.2 * len(cells)))
            page.put(40, *divmod(charge, 0x10000), *divmod(watt_hours, 0x10000), energy_discharged=watt_hours / 1000)
        page.put(150, *ascii_words("P16S100A-1.7", 10), *ascii_words("BMS0001", 10))
        page.put(170, *ascii_words(pack.spec.serial, 10), serial=pack.spec.serial)

    def _v2(self, page: Page, pack: SimPack) -> None:
        switches = (0x4000 if pack.charge_enabled else 0) | (0x8000 if pack.discharge_enabled else 0)
        page.put(13, 0, switches)
        cells = [word(v, 1000) for v in pack.cell_voltages]
        page.put(15, len(cells), *cells, *[0] * (30 - len(cells)), cell_voltages=tuple(mv / 1000 for mv in cells))
        page.tell(range(15, 37), cell_voltages=tuple(mv / 1000 for mv in cells))
        probes = [word(celsius, 10, signed=True) for celsius in pack.cell_temperatures]
        page.put(46, len(probes), *probes, *[0] * (10 - len(probes)))
        page.tell(range(46, 57), cell_temperatures=tuple(signed(raw) / 10 for raw in probes))
        mosfet = word(pack.mosfet_temperature, 10, signed=True)
        page.put(57, mosfet, mosfet_temperature=signed(mosfet) / 10)
        page.put(0xAA, *ascii_words("P4S200A-40569-1.02", 10))
        page.put(0xB4, *ascii_words(pack.spec.serial.ljust(20), 10), serial=pack.spec.serial)
        page.put(0xBE, *ascii_words(pack.spec.model, 10), *[0] * 5)
