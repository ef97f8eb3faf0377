"""Batteries that are asleep or starting: they answer, and every voltage in the answer is 0."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, override

import pytest

from custom_components.lfp_battery.bms.discovery import Outcome
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.modbus import ModbusSpeaker, Page, RegisterMap
from tests.simulator.modbus_cvte import CvteMap
from tests.simulator.modbus_growatt import Dialect as GrowattDialect, GrowattMap
from tests.simulator.modbus_pace import PaceMap
from tests.simulator.modbus_voltronic import Dialect as VoltronicDialect, VoltronicMap
from tests.simulator.modbus_zt import Dialect as ZtDialect, ZtMap
from tests.simulator.pack import PackSpec

from .modbus_site import Site
from .scanned import Scanned

_VOLTRONIC = "voltronic-bms-485-20200325"
_VOLTAGE_AND_SOC = (0x32, 0x33)


class Starting(RegisterMap):
    """Another map, of which some units have measured nothing yet."""

    def __init__(self, registers: RegisterMap, zeros: Collection[int] = (), units: Collection[int] = (1,)) -> None:
        """`zeros`: the registers that read 0, by default all."""
        self.registers = registers
        self.zeros = zeros
        self.units = units
        self.starting = True

    @override
    def page(self, bank: SimBank, unit: int) -> Page | None:
        """See `RegisterMap`."""
        page = self.registers.page(bank, unit)
        if page is not None and self.starting and unit in self.units:
            page.words |= dict.fromkeys(self.zeros or page.words, 0)
        return page

    @override
    def refusal(self, start: int, count: int) -> int | None:
        """See `RegisterMap`."""
        return self.registers.refusal(start, count)

    @override
    def encode(self, unit: int, words: Sequence[int]) -> bytes:
        """See `RegisterMap`."""
        return self.registers.encode(unit, words)


def _site(protocol: str, registers: RegisterMap, packs: int = 1) -> Site:
    bank = make_packs(packs, PackSpec(capacity=100.0))
    return Site(registers, protocol, bank, addresses=[1] if packs == 1 else None)


# protocol, map, and the registers that are 0; none: all
_BANKS: Mapping[str, tuple[str, RegisterMap, Collection[int]]] = {
    **{f"{dialect}, all": (_VOLTRONIC, VoltronicMap(dialect), ()) for dialect in VoltronicDialect},
    **{f"{dialect}": (_VOLTRONIC, VoltronicMap(dialect), _VOLTAGE_AND_SOC) for dialect in VoltronicDialect},
    "growatt": ("growatt-rs485", GrowattMap(GrowattDialect.DOCUMENTED), ()),
    "cvte": ("cvte-rs485", CvteMap(), ()),
}


@pytest.mark.parametrize("name", _BANKS)
async def test_a_bank_that_starts_has_no_state_of_charge(name: str) -> None:
    """Neither 0 % nor 0 V is ever told; a minute after it has started everything is."""
    protocol, registers, zeros = _BANKS[name]
    starting = Starting(registers, zeros)
    site = _site(protocol, starting)
    site.clock.call_later(120.0, lambda: setattr(starting, "starting", False))
    told = await site.read(240.0)
    early = [report for when, report in told.banks if when < 120.0]
    assert not any(report.state.soc == 0 for report in early if report.state is not None)
    for report in early:
        if report.online:
            # a bank that answers single registers only is there, and the home is told that these cannot be
            assert report.state is not None
            assert report.state.voltage is report.state.soc is None
            assert {"voltage", "soc"} <= report.held_back.keys()
    last = told.banks[-1][1]
    assert last.online
    assert last.state is not None
    assert last.state.voltage == pytest.approx(52.8, abs=0.3)
    assert last.state.soc is not None


@pytest.mark.parametrize("dialect", [VoltronicDialect.STANDARD, VoltronicDialect.WORDS16])
async def test_the_whole_is_still_asked_for_when_a_bank_has_started(dialect: VoltronicDialect) -> None:
    """0 V is no reason to ask for single registers, which leave out capacities and the current."""
    starting = Starting(VoltronicMap(dialect))
    site = _site(_VOLTRONIC, starting)
    site.clock.call_later(60.0, lambda: setattr(starting, "starting", False))
    await site.read(180.0)
    assert (0x33, 1) not in site.asked()
    assert site.told.banks[-1][1].online


_PACKS: Mapping[str, tuple[str, RegisterMap]] = {
    "pace": ("pace-modbus-1.3", PaceMap()),
    "zt": ("eg4ll-zt-native", ZtMap(ZtDialect.EG4LL)),
}


@pytest.mark.parametrize("name", _PACKS)
async def test_a_pack_that_starts_beside_others_is_no_second_one_at_its_address(name: str) -> None:
    """It is silent until it has measured something, and its neighbours are not."""
    protocol, registers = _PACKS[name]
    starting = Starting(registers, units=(2,))
    starting.starting = False
    site = _site(protocol, starting, packs=3)
    site.clock.call_later(300.0, lambda: setattr(starting, "starting", True))
    site.clock.call_later(900.0, lambda: setattr(starting, "starting", False))
    told = await site.read(1000.0)
    assert not any(report.conflict for _, report in told.packs)
    second = [(when, report.online) for when, report in told.packs if report.address == 2]
    assert (next(online for when, online in second if when > 340.0), second[-1][1]) == (False, True)
    assert all(report.online for _, report in told.packs if report.address != 2)


@pytest.mark.parametrize("how", [{}, {"known": (_VOLTRONIC, 9600), "addresses": [1]}], ids=["anew", "known"])
async def test_a_scan_does_not_find_a_bank_with_zero_percent(how: dict[str, Any]) -> None:
    """It says that somebody is there who cannot be read yet."""
    site = _site(_VOLTRONIC, Starting(VoltronicMap(VoltronicDialect.WORDS16), _VOLTAGE_AND_SOC))
    line = Scanned(ModbusSpeaker(site.bank, site.speaker.registers), site.clock)
    report = await line.scan(**how)
    assert (report.outcome, report.bank) == (Outcome.UNREADABLE, None)
