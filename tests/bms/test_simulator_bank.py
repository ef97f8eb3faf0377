"""The physics of simulated packs: energy, cells, heat and protections, and how their time passes."""

import pytest

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from tests.simulator.bank import SimBank, Steady
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pylon_wire import request

from .pylon_bench import Bench


def run_bank(bank: SimBank, seconds: float, step: float = 10.0) -> None:
    """Let so much time pass in steps."""
    for _ in range(round(seconds / step)):
        bank.step(step)


def test_energy_is_neither_made_nor_lost() -> None:
    """In minus out = stored + heat + what balancing and self-discharge burn, within 1 % of what went through."""
    bank = SimBank(2, DrivenClock(), spec=PackSpec(soc=40))
    pack = bank.packs[2]
    before = pack.stored_energy
    run_bank(bank, 24 * 3600)
    meter = pack.meter
    through = meter.charged + meter.discharged
    net = meter.charged - meter.discharged
    resistive = meter.heat * (pack.resistance - pack.spec.wiring_resistance) / pack.resistance
    assert through > 3000
    assert net == pytest.approx(pack.stored_energy - before + resistive + meter.bled, abs=through * 0.01)


def test_charge_is_counted() -> None:
    """10 A for an hour are 10 Ah."""
    pack = SimPack(PackSpec(soc=50))
    for _ in range(360):
        pack.step(10, 10.0, 20.0)
    assert pack.remaining_capacity == pytest.approx(60.0)
    assert pack.soc == pytest.approx(60.0)


def test_packs_share_the_current_by_their_resistance() -> None:
    """The sum is what the house takes; the thicker cable carries more."""
    packs = {2: SimPack(PackSpec(wiring_resistance=0.002)), 3: SimPack(PackSpec(wiring_resistance=0.02))}
    bank = SimBank(packs, DrivenClock(), profile=Steady(rate=-0.2))
    bank.step(1)
    assert bank.current == pytest.approx(-40.0)
    assert packs[2].current < packs[3].current < 0


def test_a_full_day_moves_the_bank_up_and_down() -> None:
    """Sun fills it, the evening empties it; cells stay within what cells can be."""
    bank = SimBank(2, DrivenClock())
    seen = []
    for _ in range(24 * 6):
        run_bank(bank, 600)
        seen.append(bank.packs[2].soc)
        assert all(2.5 < v < 3.7 for v in bank.packs[2].cell_voltages)
    assert max(seen) > 95
    assert min(seen) < 40


def test_charging_tapers_off_towards_full() -> None:
    """The limit falls before the protection acts, and a full pack asks for nothing (pylon-92-us5000-full)."""
    bank = SimBank(1, DrivenClock(), spec=PackSpec(soc=90), profile=Steady(rate=0.5))
    pack = bank.packs[2]
    limits = []
    while not pack.fully_charged:
        bank.step(10)
        limits.append(pack.charge_limit)
        assert len(limits) < 2000
    assert any(0 < limit < 25 for limit in limits)
    assert pack.charge_limit == 0
    assert not pack.charge_enabled
    assert pack.discharge_enabled
    assert pack.soc == 100
    assert not any(alarm.severity is Severity.PROTECTION for alarm in pack.alarms)


def test_a_low_cell_protects_with_hysteresis() -> None:
    """Raised below 2.80 V, kept until 3.05 V, with the cell's number; discharging stops meanwhile."""
    pack = SimPack(PackSpec(soc=50, spread=0, imbalance=0))
    alarm = Alarm(condition=Condition.CELL_UNDERVOLTAGE, severity=Severity.PROTECTION, cell=5)
    history = []
    for soc in (3.0, 0.5, 3.0, 5.0):
        pack.set_soc(soc, cell=5)
        history.append((round(pack.cell_voltages[4], 2), alarm in pack.alarms, pack.discharge_enabled))
    assert history == [(3.0, False, True), (2.64, True, False), (3.0, True, False), (3.08, False, True)]


def test_cold_stops_charging_only() -> None:
    """Below freezing a pack may be discharged, not charged; 3 degC gives it back."""
    pack = SimPack(PackSpec(temperature=10))
    history = []
    for temperature in (1.0, -0.5, 1.0, 3.5):
        pack.temperature = temperature
        pack.step(0.001, 0.0, temperature)
        history.append((pack.charge_enabled, pack.discharge_enabled))
    assert history == [(True, True), (False, True), (False, True), (True, True)]


def test_the_heater_warms_and_stops() -> None:
    """On below 3 degC, off at 8 degC."""
    pack = SimPack(PackSpec(temperature=2.0, heater_power=200))
    states = []
    for _ in range(400):
        pack.step(60, 0.0, 0.0)
        states.append(pack.heater_active)
    assert states[0]
    assert not all(states)
    assert pack.temperature > 2.5


def test_balancing_brings_cells_together() -> None:
    """While the pack is held full, the spread shrinks."""
    bank = SimBank(1, DrivenClock(), spec=PackSpec(soc=99, imbalance=0.01), profile=Steady(rate=0.05))
    pack = bank.packs[2]
    run_bank(bank, 7200)
    before = max(pack.cell_voltages) - min(pack.cell_voltages)
    assert pack.balancing_cells
    run_bank(bank, 6 * 3600, 30)
    assert max(pack.cell_voltages) - min(pack.cell_voltages) < before


def test_cells_drift_apart_when_nobody_balances() -> None:
    """Self-discharge differs from cell to cell."""
    bank = SimBank(1, DrivenClock(), spec=PackSpec(soc=8, imbalance=0, drift=0.005), profile=Steady())
    pack = bank.packs[2]
    before = max(pack.cell_voltages) - min(pack.cell_voltages)
    run_bank(bank, 3 * 86400, 60)
    assert max(pack.cell_voltages) - min(pack.cell_voltages) > before + 0.002


async def test_a_forced_alarm_goes_out_and_opens_the_switch() -> None:
    """Until it is released."""
    bench = Bench()
    alarm = Alarm(condition=Condition.DISCHARGE_OVERCURRENT, severity=Severity.PROTECTION)
    bench.bank.packs[2].force(alarm)
    await bench.ask(request(2, 0x44))
    await bench.ask(request(2, 0x92))
    sent = bench.speaker.latest(2)
    assert sent["alarms"] == frozenset({alarm})
    assert (sent["discharge_enabled"], sent["discharge_current_limit"]) == (False, 0.0)
    bench.bank.packs[2].release(alarm)
    await bench.ask(request(2, 0x44))
    assert bench.speaker.latest(2)["alarms"] == frozenset()


async def test_nothing_is_computed_while_nobody_asks() -> None:
    """And the next question finds the pack where a steady watch would have found it."""
    idle, watched = Bench(1), Bench(1)
    for _ in range(360):
        await watched.clock.advance(20)
        watched.bank.advance()
    await idle.clock.advance(7200)
    assert idle.bank.elapsed == 0
    idle.bank.advance()
    assert idle.bank.elapsed == pytest.approx(7200)
    assert idle.bank.packs[2].soc == pytest.approx(watched.bank.packs[2].soc, abs=0.05)


async def test_time_can_be_hurried() -> None:
    """A minute of the clock is an hour in the bank."""
    clock = DrivenClock()
    bank = SimBank(1, clock, speed_up=60.0, start_hour=10.0)
    await clock.advance(60)
    bank.advance()
    assert bank.time_of_day / 3600 == pytest.approx(11.0)


async def test_a_step_ahead_of_the_clock_is_not_waited_for() -> None:
    """After an hour by hand, a minute of the clock is still a minute."""
    clock = DrivenClock()
    bank = SimBank(1, clock)
    bank.step(3600)
    await clock.advance(60)
    bank.advance()
    assert bank.elapsed == pytest.approx(3660)


async def test_a_frozen_bank_keeps_its_values() -> None:
    """And goes on from there when it is thawed."""
    clock = DrivenClock()
    bank = SimBank(1, clock)
    bank.frozen = True
    await clock.advance(3600)
    bank.advance()
    assert bank.elapsed == 0
    bank.frozen = False
    await clock.advance(60)
    bank.advance()
    assert bank.elapsed == pytest.approx(60)


async def test_a_sleeping_pack_is_silent_and_its_neighbours_are_not() -> None:
    """Until it wakes."""
    bench = Bench()
    bench.bank.packs[3].silent = True
    assert [bool(await bench.ask(request(address, 0x42))) for address in (2, 3, 4)] == [True, False, True]
    bench.bank.packs[3].silent = False
    assert await bench.ask(request(3, 0x42))
