"""Every set of frames, as it was sent and as the home is told; and a bus whose battery is set to another one."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.simulator.can.families import SETS

from .bus_rig import BusRig, MakeBus, charge, flow, limits, pylon_set, said_of, values_of

# What the client works out itself, or a ledger has no word for.
_COMPUTED = {"power", "mode"}


@pytest.fixture
async def make_bus() -> AsyncIterator[MakeBus]:
    """Buses whose clients end with the test."""
    rigs: list[BusRig] = []

    async def make(name: str | None = "pylon", seconds: float = 0.0, **kwargs: Any) -> BusRig:
        rig = BusRig(name, **kwargs)
        rigs.append(rig)
        await rig.start(seconds)
        return rig

    yield make
    for rig in rigs:
        await rig.stop()


@pytest.mark.parametrize("name", SETS)
async def test_what_is_told_is_what_was_sent(make_bus: MakeBus, name: str) -> None:
    """Every value of the bank and of its packs, and nothing that was not sent."""
    rig = await make_bus(name, 90.5)
    state, ledger = rig.state, rig.speaker.ledger
    assert rig.bank_report.online
    assert not rig.bank_report.held_back
    assert state.family == SETS[name].family
    told = rig.told.banks[-1][0]
    sent = ledger.latest(None)
    values = values_of(state)
    assert not rig.told.families
    for field, value in values.items():
        if field in _COMPUTED:
            continue
        assert field in sent, f"{field} was never sent"
        assert ledger.was_sent(None, field, value) or value == pytest.approx(sent[field]), field
    assert sent.keys() - values.keys() == set(), "was sent and is not told"
    assert told > 85
    identity = ledger.identity()
    for field, value in said_of(rig.bank_report.identity).items():
        assert identity[field] == value
    for number in ledger.packs:
        report = rig.told.last(number)
        assert report.online
        assert report.state is not None
        for field, value in values_of(report.state).items():
            if field not in _COMPUTED:
                assert ledger.was_sent(number, field, value), field


@pytest.mark.parametrize("name", SETS)
async def test_a_bus_that_is_read_as_something_else_is_found_out(make_bus: MakeBus, name: str) -> None:
    """Whatever the entry says: set up as the plainest family, it is read as what it is within a minute, for good."""
    rig = await make_bus(name, 90, family="generic_35x", grain=0.5)
    family = SETS[name].family
    if family == "generic_35x":
        assert not rig.told.families
        return
    assert rig.told.families[-1:] == [family]
    assert rig.state.family == family
    before = len(rig.told.families)
    await rig.clock.advance(60)
    assert len(rig.told.families) == before


async def test_a_family_that_is_found_out_step_by_step_loses_no_value_on_the_way(make_bus: MakeBus) -> None:
    """A plain set, then SMA's alarms, then Victron's cells: told of twice, and there is always a voltage."""
    rig = await make_bus(None, family="generic_35x")
    plain = {"x351": limits(), "x355": charge(), "x356": flow(), "x35E": b"ACME".hex()}
    await rig.repeat(60, **plain)
    sma = {**plain, "x35A": "AA" * 8}
    await rig.repeat(60, **sma)
    victron = {**sma, "x373": "F40C040D22012701", "x372": "0200000000000000"}
    await rig.repeat(60, **victron)
    assert rig.told.families == ["sma", "victron"]
    for report in rig.banks:
        assert report.online
        assert report.state is not None
        assert (report.state.voltage, report.state.soc) == (52.0, 60)
        assert report.state.charge_voltage_limit == 56.0
    assert rig.state.cell_voltage_max == pytest.approx(3.332)
    assert rig.shown["family"] == "victron"
    assert rig.shown["family_changes"] == 2
    times = [when for when, _ in rig.told.banks]
    assert len(times) == len(set(times))


@pytest.mark.parametrize(
    ("before", "after"), [("pylon", "growatt"), ("victron", "pylon"), ("growatt", "victron"), ("deye_pcs", "pylon")]
)
async def test_a_battery_that_is_set_to_another_family_is_read_as_that_one(
    make_bus: MakeBus, before: str, after: str
) -> None:
    """The DIP switch is turned and the battery starts anew: nothing of the old set stands, and all of the new one."""
    rig = await make_bus(before, 60, grain=0.5)
    rig.bus.quiet = True
    await rig.clock.advance(45)
    rig.speak(after)
    rig.bus.quiet = False
    since = len(rig.banks)
    await rig.clock.advance(60)
    assert rig.told.families == [after]
    assert rig.state.family == after
    assert rig.bank_report.online
    sent = rig.speaker.ledger.latest(None)
    assert not values_of(rig.state).keys() - sent.keys() - _COMPUTED
    assert since < len(rig.banks)
    for pack in {report.address for _, report in rig.told.packs} - rig.speaker.ledger.packs:
        assert not rig.told.last(pack).online


async def test_what_stays_the_same_while_the_charge_moves_is_not_what_is_left(make_bus: MakeBus) -> None:
    """A full capacity in the place of what is left is shown for what it is not no longer than for 3 % of charge."""
    rig = await make_bus(None, family="victron")
    for soc in (60, 59, 58, 57, 56):
        await rig.repeat(10, x355=charge(soc), x356=flow(), x35F="0000000064000000", x372="0200000000000000")
        assert rig.state.remaining_capacity == (100 if soc > 56 else None)
    await rig.repeat(10, x355=charge(55), x356=flow(), x35F="0000000063000000", x372="0200000000000000")
    assert rig.state.remaining_capacity == 99


async def test_alarms_that_are_sent_only_when_they_change_stand(make_bus: MakeBus) -> None:
    """Sofar's 35A: an alarm that was raised once is still there ten minutes later, and gone when that is said."""
    rig = await make_bus(None, family="sofar")
    rest = {"x351": limits(), "x355": charge(), "x356": flow(), "x359": "02" + "00" * 7, "x30F": "0003"}
    await rig.repeat(10, **rest)
    await rig.say(x35A="04" + "00" * 7)
    await rig.repeat(600, **rest)
    assert rig.state.alarms
    await rig.say(x35A="00" * 8)
    await rig.repeat(6, **rest)
    assert rig.state.alarms == frozenset()


@pytest.mark.parametrize("name", ["deye_pcs", "growatt", "victron", "pylon"])
@pytest.mark.parametrize("pause", [5, 40])
async def test_a_battery_that_nobody_acknowledges_for_a_while_is_taken_for_no_other(
    make_bus: MakeBus, name: str, pause: float
) -> None:
    """Its inverter goes and comes back: one frame over and over tells of no family, whichever it is."""
    rig = await make_bus(name, 60)
    rig.bus.quiet = True
    await rig.clock.advance(pause)
    rig.bus.quiet, rig.bus.alone = False, True
    await rig.clock.advance(45)
    before = rig.told.unacknowledged_now
    rig.bus.alone = False
    await rig.clock.advance(30)
    assert (before, rig.told.unacknowledged_now) == (True, False)
    assert rig.told.families == []
    assert rig.bank_report.online


async def test_a_battery_that_nobody_acknowledges_is_told_of_until_somebody_does(make_bus: MakeBus) -> None:
    """One frame every half millisecond: said once; over when an inverter is connected."""
    rig = await make_bus("pylon", 20, alone=True)
    before = rig.told.unacknowledged_now
    assert rig.shown["verdict"]["hint"] == "no_ack"
    assert not rig.banks
    rig.bus.alone = False
    await rig.clock.advance(20)
    assert (before, rig.told.unacknowledged_now) == (True, False)
    assert rig.bank_report.online


ENERGY = {"x378": (12340).to_bytes(4, "little").hex() * 2}


@pytest.mark.parametrize("family", ["pylon", "pylon_goodwe", "solark", "luxpower", "sofar", "sma", "victron"])
async def test_the_energy_of_mg_is_never_ten_times_too_large(make_bus: MakeBus, family: str) -> None:
    """Whatever the bus is read as until it is found out, and whether its name comes first or later."""
    rig = await make_bus(None, family=family)
    usual = {"x351": limits(), "x355": charge(), "x356": flow(), "x35A": "00" * 8, **ENERGY}
    await rig.repeat(5, **usual)
    await rig.repeat(60, **usual, x35E=b"MG-BMS".hex())
    told = {report.state.energy_charged for report in rig.banks if report.state is not None}
    assert told <= {None, 123.4}
    assert rig.state.energy_charged == rig.state.energy_discharged == 123.4


@pytest.mark.parametrize("family", ["pylon", "victron"])
async def test_energy_of_a_battery_without_a_name_is_told_after_five_minutes(make_bus: MakeBus, family: str) -> None:
    """One that tells none by then never does; and it is nobody who counts in other units."""
    rig = await make_bus(None, family=family)
    usual = {**pylon_set(), **ENERGY} if family == "pylon" else {"x355": charge(), "x356": flow(), **ENERGY}
    usual.pop("x35E", None)
    await rig.repeat(295, **usual)
    assert {values_of(report.state).get("energy_charged") for report in rig.banks if report.state} == {None}
    await rig.repeat(20, **usual)
    assert (rig.state.energy_charged, rig.state.energy_discharged) == (1234.0, 1234.0)
    assert not rig.told.families


async def test_energy_of_a_battery_whose_name_is_not_heard_any_more_is_withheld(make_bus: MakeBus) -> None:
    """It had one, and may be MG: however long its name stays away."""
    rig = await make_bus(None, family="victron")
    usual = {"x355": charge(), "x356": flow(), **ENERGY}
    await rig.repeat(10, **usual, x35E=b"MG-BMS".hex())
    assert rig.state.energy_charged == 123.4
    await rig.repeat(700, **usual)
    assert not {"manufacturer", "energy_charged", "energy_discharged"} & values_of(rig.state).keys()
