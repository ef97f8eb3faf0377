"""What ZT, Voltgo and EG4-LL packs hold in the registers of their own map (modbus-rtu.md section 9)."""

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
    Condition.PACK_OVERVOLTAGE: 0,
    Condition.CELL_OVERVOLTAGE: 1,
    Condition.PACK_UNDERVOLTAGE: 2,
    Condition.CELL_UNDERVOLTAGE: 3,
    Condition.CHARGE_OVERCURRENT: 4,
    Condition.DISCHARGE_OVERCURRENT: 5,
    Condition.AMBIENT_TEMPERATURE_ABNORMAL: 6,
    Condition.MOSFET_OVERTEMPERATURE: 7,
    Condition.CHARGE_OVERTEMPERATURE: 8,
    Condition.DISCHARGE_OVERTEMPERATURE: 9,
    Condition.CHARGE_UNDERTEMPERATURE: 10,
    Condition.DISCHARGE_UNDERTEMPERATURE: 11,
}
BITS: Final[Mapping[Severity, tuple[int, Mapping[Condition, int]]]] = {
    _W: (26, {**_BOTH, Condition.LOW_SOC: 12, Condition.FULLY_CHARGED: 13}),
    _P: (27, {**_BOTH, Condition.FULLY_DISCHARGED: 12, Condition.SHORT_CIRCUIT: 13}),
    _F: (
        28,
        {
            Condition.VOLTAGE_SENSING_FAILURE: 0,
            Condition.TEMPERATURE_SENSING_FAILURE: 1,
            Condition.CURRENT_SENSING_FAILURE: 2,
            Condition.CELL_IMBALANCE: 4,
        },
    ),
}
_MODES: Final = {Mode.STANDBY: 0, Mode.CHARGING: 1, Mode.DISCHARGING: 2, Mode.PROTECTION: 4}


class Dialect(StrEnum):
    """Which product answers."""

    EG4LL = "eg4-ll"
    VOLTGO = "voltgo"  # cycles in the other word, bit 15 of the status set
    BLANK = "ll-s"  # nothing in the information block
    LIFEPOWER4 = "lifepower4-v2"  # charge and capacity in each other's place
    LIFEPOWER4_SHORT = "lifepower4-v2 short"  # and no more than 25 registers


class ZtMap(RegisterMap):
    """Every pack answers at its own address."""

    def __init__(self, dialect: Dialect | str = Dialect.EG4LL) -> None:
        """As this product does it."""
        self.dialect = Dialect(dialect)

    @override
    def refusal(self, start: int, count: int) -> int | None:
        """See `RegisterMap`."""
        return ILLEGAL_ADDRESS if self.dialect is Dialect.LIFEPOWER4_SHORT and start + count > 25 else None

    @override
    def page(self, bank: SimBank, unit: int) -> Page | None:
        """See `RegisterMap`."""
        if (pack := bank.present(unit)) is None:
            return None
        page = Page(whose=unit)
        self._measured(page, pack)
        self._charge(page, pack)
        put_state(page, pack, 0x8000 if self.dialect is Dialect.VOLTGO else 0)
        self._probes(page, pack)
        page.put(36, len(pack.cell_voltages))
        design = word(pack.spec.capacity, 10)
        page.put(37, design, design_capacity=design / 10)
        page.put(38, sum(1 << (cell - 1) for cell in pack.balancing_cells), balancing_cells=pack.balancing_cells)
        page.put(39, *[0] * 6, 0x1234, 0x5678)
        if self.dialect is Dialect.BLANK:
            page.put(105, *[0] * 23)
        else:
            page.put(105, *ascii_words("LFP-51.2V100Ah-V1.0", 12), *ascii_words("Z02T04", 3))
            page.put(120, *ascii_words("2022-10-26", 8), serial="2022-10-26")
        return page

    def _measured(self, page: Page, pack: SimPack) -> None:
        voltage, current = word(pack.voltage, 100), word(pack.current, 100, signed=True)
        page.put(0, voltage, voltage=voltage / 100)
        page.put(1, current, current=signed(current) / 100)
        cells = [word(v, 1000) for v in pack.cell_voltages]
        page.put(2, *cells, *[0] * (16 - len(cells)), cell_voltages=tuple(mv / 1000 for mv in cells))
        limit = word(pack.charge_limit)
        page.put(22, limit, charge_current_limit=limit)
        page.put(23, word(pack.soh), soh=word(pack.soh))

    def _charge(self, page: Page, pack: SimPack) -> None:
        remaining, soc = word(pack.remaining_capacity), word(pack.soc)
        full = round(3_600_000 * pack.full_capacity)
        swapped = self.dialect in {Dialect.LIFEPOWER4, Dialect.LIFEPOWER4_SHORT}
        page.put(21, soc if swapped else remaining)
        page.put(24, remaining if swapped else soc)
        page.put(31, *divmod(full, 0x10000), full_capacity=full / 3_600_000)
        whole = (21, 24, 31, 32)
        page.tell(whole, soc=soc, remaining_capacity=remaining)
        cycles = int(pack.cycles)
        page.put(29, *((cycles, 0) if self.dialect is Dialect.VOLTGO else (0, cycles)), cycles=cycles)

    def _probes(self, page: Page, pack: SimPack) -> None:
        board = word(pack.board_temperature, signed=True)
        # the second and third are called average and maximum, and are neither
        page.put(18, board, word(pack.temperature + 3, signed=True), word(pack.temperature, signed=True))
        degrees = [round(celsius) for celsius in pack.cell_temperatures]
        page.put(
            33, *(a % 256 << 8 | b % 256 for a, b in zip(*_pairs([*degrees, *[0] * (6 - len(degrees))]), strict=True))
        )
        if all(degrees):
            page.tell(range(33, 36), cell_temperatures=tuple(map(float, degrees)))
        page.tell((18, *range(33, 36)), pcb_temperature=float(signed(board)))


def _pairs(values: list[int]) -> tuple[list[int], list[int]]:
    """Those for high bytes and those for low ones."""
    return values[::2], values[1::2]


def put_state(page: Page, pack: SimPack, top: int, **more: object) -> None:
    """Status, with the bits of `top` set besides, and the three words of alarms; `more` is what the status tells too."""
    words = {26: 0, 27: 0, 28: 0}
    said: set[Alarm] = set()
    for alarm in pack.alarms:
        register, table = BITS[alarm.severity]
        if (bit := table.get(alarm.condition)) is not None:
            words[register] |= 1 << bit
            said.add(replace(alarm, cell=None))
    mode = Mode.CHARGING if pack.current > 0.1 else Mode.DISCHARGING if pack.current < -0.1 else Mode.STANDBY
    if words[27]:
        mode = Mode.PROTECTION
    page.put(25, _MODES[mode] | top, mode=mode, **more)
    page.put(26, *words.values(), alarms=frozenset(said))
