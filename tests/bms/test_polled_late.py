"""Answers that come after our patience: on most lines nothing in them says what was asked."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, override

import pytest

from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.model import BatteryState
from custom_components.lfp_battery.bms.protocols import POLLED
from tests.simulator.bank import SimBank, Steady, make_packs
from tests.simulator.bus import Bus
from tests.simulator.faults import Fault, Faults, Kind
from tests.simulator.ledger import Ledger
from tests.simulator.modbus import ModbusSpeaker, RegisterMap
from tests.simulator.modbus_growatt import Dialect as GrowattDialect, GrowattMap
from tests.simulator.modbus_pace import PaceMap
from tests.simulator.modbus_voltronic import Dialect as VoltronicDialect, VoltronicMap
from tests.simulator.modbus_zt import Dialect as ZtDialect, ZtMap
from tests.simulator.pace import Line as PaceLine, PaceSpeaker
from tests.simulator.pylon import Profile, PylonSpeaker

from .rig import Told

HOUR = 3600.0


def _modbus(registers: Callable[[], RegisterMap]) -> Callable[[SimBank], Ledger]:
    return lambda bank: ModbusSpeaker(bank, registers())


# protocol, packs, address of the first, and who answers
LINES: Mapping[str, tuple[str, int, int, Callable[[SimBank], Ledger]]] = {
    "Voltronic, one register at a time": (
        "voltronic-bms-485-20200325",
        1,
        1,
        _modbus(lambda: VoltronicMap(VoltronicDialect.BYTES16)),
    ),
    "Voltronic": ("voltronic-bms-485-20200325", 1, 1, _modbus(lambda: VoltronicMap(VoltronicDialect.WORDS16))),
    "Growatt": ("growatt-rs485", 1, 1, _modbus(lambda: GrowattMap(GrowattDialect.ZT))),
    "PACE Modbus": ("pace-modbus-1.3", 2, 1, _modbus(PaceMap)),
    "ZT": ("eg4ll-zt-native", 2, 1, _modbus(lambda: ZtMap(ZtDialect.EG4LL))),
    "PACE": ("pace-v25-rs485", 2, 1, lambda bank: PaceSpeaker(bank, line=PaceLine.RS485)),
    "Pylon": ("pylon-rs485", 2, 2, lambda bank: PylonSpeaker(bank, Profile.C)),
}


class _Watching(Told):
    """A listener that keeps what was published of each field, and the field's values that never went out."""

    def watch(self, speaker: Ledger) -> None:
        """Compare with what this one sent, from now on."""
        self.speaker = speaker
        self.values: defaultdict[str, set[object]] = defaultdict(set)
        self.unsent: set[tuple[str, object]] = set()

    @override
    def pack_polled(self, report: Any) -> None:
        """See `ClientListener`."""
        super().pack_polled(report)
        self._take(report.address, report)

    @override
    def bank_polled(self, report: Any) -> None:
        """See `ClientListener`."""
        super().bank_polled(report)
        self._take(None, report)

    def _take(self, address: int | None, report: Any) -> None:
        assert not report.conflict
        state: BatteryState | None = report.state
        if state is None or not report.online:
            return
        for field in fields(state):
            value = getattr(state, field.name)
            if value is None or field.name == "derived" or field.name in state.derived:
                continue
            self.values[field.name].add(value)
            if not self.speaker.was_sent(address, field.name, value):
                self.unsent.add((field.name, value))


async def _hour(line: str, *faults: Fault) -> tuple[_Watching, Bus]:
    protocol, packs, first, speaks = LINES[line]
    clock = DrivenClock()
    bank = SimBank(make_packs(packs, first=first), clock, profile=Steady(rate=0.1))
    speaker = speaks(bank)
    bus = Bus(speaker, clock, faults=Faults(seed=3))
    told = _Watching(clock)
    told.watch(speaker)
    client = PolledClient(bus.open_line(9600), POLLED[protocol], clock=clock, listener=told, addresses=list(bank.packs))
    task = asyncio.create_task(client.run())
    await clock.advance(120.0)
    for fault in faults:
        bus.faults.add(fault)
    await clock.advance(HOUR)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return told, bus


@pytest.mark.parametrize("line", LINES)
async def test_one_answer_in_ten_that_is_late_makes_no_value_and_no_alarm(line: str) -> None:
    """What is published was sent for that very register, or is what an undisturbed hour brings too."""
    usual, _ = await _hour(line)
    late, bus = await _hour(
        line, *(Fault(kind=Kind.LATE, delay=delay, probability=0.035) for delay in (1.15, 1.6, 2.6))
    )
    assert bus.faults.struck[Kind.LATE] > 50
    wrong = {(name, value) for name, value in late.unsent if value not in usual.values[name]}
    assert not wrong
    assert late.values["alarms"] <= usual.values["alarms"]
    assert late.other_masters == 0
    assert len(late.packs) + len(late.banks) > 0.6 * (len(usual.packs) + len(usual.banks))
    reports = [report for _, report in (*late.packs, *late.banks)]
    assert sum(not report.online for report in reports) < 0.01 * len(reports)


@pytest.mark.parametrize("line", ["Voltronic, one register at a time", "Voltronic"])
async def test_answers_that_never_come_cost_time_but_no_value(line: str) -> None:
    """Nobody knows that they will not come late."""
    usual, _ = await _hour(line)
    lossy, bus = await _hour(line, Fault(kind=Kind.SILENCE, probability=0.02))
    assert bus.faults.struck[Kind.SILENCE] > 10
    assert not {(name, value) for name, value in lossy.unsent if value not in usual.values[name]}
    assert len(lossy.banks) > 0.5 * len(usual.banks)
    assert all(report.online for _, report in lossy.banks)


@pytest.mark.parametrize("delay", [0.95, 1.5, 4.5, 8.0])
@pytest.mark.parametrize("dialect", VoltronicDialect)
async def test_a_late_answer_that_has_the_form_of_a_question_is_nobodys(
    dialect: VoltronicDialect, delay: float
) -> None:
    """`01 03 00 02 00 34` says 52 of one register; the verdict that somebody else asks would be for good."""
    clock = DrivenClock()
    bank = SimBank(make_packs(1, first=1), clock, profile=Steady(rate=0.1))
    bus = Bus(ModbusSpeaker(bank, VoltronicMap(dialect)), clock)
    told = Told(clock)
    protocol = POLLED["voltronic-bms-485-20200325"]
    client = PolledClient(bus.open_line(9600), protocol, clock=clock, listener=told, addresses=[1])
    task = asyncio.create_task(client.run())
    await clock.advance(60.0)
    for _ in range(5):
        bus.faults.add(Fault(kind=Kind.LATE, delay=delay, count=2))
        await clock.advance(33.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert told.other_masters == 0
    assert told.banks[-1][1].online
