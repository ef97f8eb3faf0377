"""Packs that should not be in parallel: what a person is told, and when not."""

from dataclasses import replace
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr, issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.common import async_capture_events

from custom_components.lfp_battery import async_remove_config_entry_device as remove
from custom_components.lfp_battery.bank_issues import at_one_end
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.consistency import Standing, findings
from custom_components.lfp_battery.bms.model import BankState, PollReport
from custom_components.lfp_battery.const import DOMAIN
from tests.bank_home import (
    GROWATT,
    LONG,
    LONGER,
    bank_of,
    begin,
    hear,
    ignore,
    ignored,
    issues,
    restart,
    say,
    set_apart,
    text_of,
)
from tests.flow_line import FlowLine
from tests.home import CYCLE, Home
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.modbus import ModbusSpeaker
from tests.simulator.modbus_growatt import Dialect, GrowattMap
from tests.simulator.pack import PackSpec, SimPack

# --- packs of different kinds ----------------------------------------------------------------------------------------


async def test_packs_with_different_numbers_of_cells_are_named_with_them(hass: HomeAssistant, home: Home) -> None:
    """Once it has lasted, and gravely, for it is dangerous; their capacities say nothing more then."""
    await begin(home, bank_of({"cells": 16}, {"cells": 15, "capacity": 50.0}))
    assert issues(hass) == {}
    await home.wait(LONG)
    (issue,) = issues(hass).values()
    assert issue.translation_key == "mixed_cells"
    assert issue.severity is ir.IssueSeverity.ERROR
    text = text_of(issue)
    assert "| 1 | 16 |\n| 2 | 15 |" in text
    assert [
        words for words in ("share one voltage", "take out the packs", "goes away by itself") if words not in text
    ] == []


async def test_packs_of_different_capacity_are_named_with_it(hass: HomeAssistant, home: Home) -> None:
    """With the words that a different state of charge is normal, and by the names that the person gave."""
    await begin(home, bank_of({}, {"capacity": 50.0}))
    dr.async_get(hass).async_update_device(home.device(3).id, name_by_user="By the | door")
    await home.wait(LONG)
    text = text_of(issues(hass)["mixed_capacity"])
    assert "| 1 | 100 |\n| 2 (By the \\| door) | 50 |" in text
    assert "different state of charge is normal" in text


async def test_packs_that_have_aged_are_still_of_one_capacity(hass: HomeAssistant, home: Home) -> None:
    """And a different state of charge alone is normal, as one manual says (VLRV 7-1, row 9)."""
    await begin(home, bank_of({"soc": 90.0}, {"soh": 85.0, "soc": 30.0}))
    await home.wait(2 * LONG)
    assert home.value(3, "soc") < 31
    assert issues(hass) == {}


async def test_packs_of_different_models_are_named_with_them(hass: HomeAssistant, home: Home) -> None:
    """What they say is shown as text, whatever is in it."""
    await begin(home, bank_of({"model": "Rack *48*"}, {}))
    await home.wait(LONG)
    assert issues(hass) == {}  # one that does not say contradicts nobody
    say(home, 3, model="Rack 50")
    await home.wait(LONG)
    text = text_of(issues(hass)["mixed_models"])
    assert "| 1 | Rack \\*48\\* |\n| 2 | Rack 50 |" in text


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"manufacturer": "Pytes", "model": "V5"}, {"manufacturer": "Pytes", "model": "V5a"}),
        ({"model": "Rack-48"}, {"model": "RACK 48"}),
        ({"model": "US3000C"}, {"model": "US2000C"}),  # stacks of both are common
        ({"model": "HBANK000000002"}, {"model": "HBANK000000003"}),  # serial numbers
    ],
)
async def test_models_that_are_as_good_as_the_same_are_no_repair(
    hass: HomeAssistant, home: Home, first: dict[str, str], second: dict[str, str]
) -> None:
    """Variants of one product, one name in two spellings, models that are used together, and names that are none."""
    await begin(home, bank_of({"serial": "HBANK000000002", **first}, {"serial": "HBANK000000003"}))
    say(home, 3, **second)
    await home.wait(LONG)
    said = [pack.record.model for pack in home.link.packs.values()]
    assert said == [first["model"][:10], second["model"]]
    assert issues(hass) == {}


async def test_a_repair_goes_with_the_pack_that_it_names(hass: HomeAssistant, home: Home) -> None:
    """A pack that is silent may still be there; one that was deleted, or that nobody wants to see, is not."""
    await begin(home, bank_of({}, {}, {"capacity": 50.0}))
    await home.wait(LONG)
    assert "mixed_capacity" in issues(hass)
    home.bank.packs[4].silent = True
    await home.wait(5 * LONG)
    assert "mixed_capacity" in issues(hass)
    assert await remove(hass, home.entry, home.device(4))
    await home.wait(2 * CYCLE)
    assert issues(hass) == {}


async def test_a_pack_whose_device_is_disabled_is_not_judged(hass: HomeAssistant, home: Home) -> None:
    """Nobody wants to hear of it; enabled again it is told again."""
    await begin(home, bank_of({}, {"capacity": 50.0}))
    await home.wait(LONG)
    assert "mixed_capacity" in issues(hass)
    device = home.device(3)
    dr.async_get(hass).async_update_device(device.id, disabled_by=dr.DeviceEntryDisabler.USER)
    await home.wait(2 * CYCLE)
    assert issues(hass) == {}


async def test_a_repair_that_was_ignored_stays_so_over_a_reload(hass: HomeAssistant, home: Home) -> None:
    """It is neither withdrawn nor raised anew as long as nothing has changed, also while the packs are silent."""
    await begin(home, bank_of({}, {"capacity": 50.0}))
    await home.wait(LONG)
    registry = ir.async_get(hass)
    (key,) = (key for key in registry.issues if key[0] == DOMAIN)
    registry.async_ignore(*key, ignore=True)
    home.speaker_silent(True)
    await home.drive(hass.config_entries.async_reload(home.entry.entry_id))
    await home.wait(3 * LONG)
    assert registry.issues[key].dismissed_version is not None
    home.speaker_silent(False)
    await home.wait(3 * LONG)
    assert home.link.packs[3].online
    assert registry.issues[key].dismissed_version is not None


@pytest.mark.usefixtures("hass_storage")
async def test_a_repair_that_was_ignored_stays_so_over_a_restart(hass: HomeAssistant, home: Home) -> None:
    """Whom it named is still known then, so that a pack which sleeps settles nothing."""
    await begin(home, bank_of({"cells": 15}, {"cells": 16}))
    await home.wait(LONG)
    ignore(hass)
    home.bank.packs[3].silent = True
    await restart(hass, home)
    await home.wait(3 * LONG)
    assert home.link.bank.packs_online == 1
    assert ignored(hass) == ["mixed_cells"]
    home.bank.packs[3].silent = False
    await home.wait(3 * LONG)
    assert home.link.bank.packs_online == 2
    assert ignored(hass) == ["mixed_cells"]
    home.bank.packs[3] = SimPack(PackSpec(serial="HBANK0000000003", cells=15))
    await home.wait(3 * LONG)
    assert issues(hass) == {}


async def test_a_pack_that_is_exchanged_at_its_address_is_judged_by_its_own_cells(
    hass: HomeAssistant, home: Home
) -> None:
    """Where none says who it is, only its cells tell; after a reload, too."""
    await begin(home, bank_of({"serial": "", "cells": 15}, {"serial": "", "cells": 16}))
    await home.wait(LONG)
    assert "mixed_cells" in issues(hass)
    home.bank.packs[3] = SimPack(PackSpec(serial="", cells=15))
    await home.wait(2 * LONG)
    assert issues(hass) == {}
    await home.drive(hass.config_entries.async_reload(home.entry.entry_id))
    await home.wait(2 * LONG)
    assert issues(hass) == {}


async def test_capacities_are_compared_of_one_kind_only(hass: HomeAssistant, home: Home) -> None:
    """A worn pack that says what it was made for is no larger than its twin that does not say it."""
    await begin(home, bank_of({"soh": 75.0}, {"soh": 75.0}))
    worn = {"full_capacity": 75.0}
    await hear(home, {2: {**worn, "design_capacity": 100.0}, 3: worn})
    await hear(home, {2: {"design_capacity": 100.0}, 3: worn})
    assert issues(hass) == {}
    await hear(home, {2: {**worn, "design_capacity": 100.0}, 3: {"full_capacity": 50.0}})
    assert "| 1 | 75 |\n| 2 | 50 |" in text_of(issues(hass)["mixed_capacity"])
    await hear(home, {2: {**worn, "design_capacity": 100.0}, 3: {"full_capacity": 50.0, "design_capacity": 90.0}})
    assert issues(hass) == {}


async def test_packs_that_are_alike_again_are_told_of_no_longer(hass: HomeAssistant, home: Home) -> None:
    """After a reload, too, where only the repair itself remembers whom it named."""
    await begin(home, bank_of({}, {"capacity": 50.0}))
    await home.wait(LONG)
    assert "mixed_capacity" in issues(hass)
    home.bank.packs[3] = SimPack(PackSpec(serial="HBANK000000003", capacity=100.0))
    await home.drive(hass.config_entries.async_reload(home.entry.entry_id))
    await home.wait(CYCLE)
    assert "mixed_capacity" in issues(hass)  # it may be a misreading
    await home.wait(LONG)
    assert issues(hass) == {}


# --- voltages --------------------------------------------------------------------------------------------------------


async def test_voltages_that_are_too_far_apart_are_told_until_they_are_clearly_nearer(
    hass: HomeAssistant, home: Home
) -> None:
    """More than 1 V at rest for ten minutes, by the manual of the Growatt; less than 0.8 V for a minute ends it."""
    await begin(home, bank_of({}, {}), model=GROWATT)
    set_apart(home, 1.4)
    await home.wait(500)
    assert issues(hass) == {}
    await home.wait(200)
    issue = issues(hass)["voltage_apart"]
    text = text_of(issue)
    assert "more than 1 V apart" in text
    assert "| 1 | 52.00 V |\n| 2 | 53.40 V |" in text
    assert "different state of charge is normal" in text
    set_apart(home, 1.5)
    await home.wait(LONG)
    assert issues(hass)["voltage_apart"] is issue  # not written anew for every hundredth
    set_apart(home, 0.9)
    await home.wait(2 * LONG)
    assert "| 2 | 52.90 V |" in text_of(issues(hass)["voltage_apart"])
    set_apart(home, 0.7)
    await home.wait(30)
    assert "voltage_apart" in issues(hass)
    await home.wait(LONG)
    assert issues(hass) == {}


async def test_voltages_that_are_apart_for_a_while_or_under_load_are_not_told(hass: HomeAssistant, home: Home) -> None:
    """Packs are read one after the other, settle after a load, and differ in resistance."""
    await begin(home, bank_of({}, {}), model=GROWATT)
    for _ in range(4):
        set_apart(home, 1.4)
        await home.wait(300)
        set_apart(home, 0.2)
        await home.wait(30)
    assert issues(hass) == {}
    set_apart(home, 1.4, current=20.0)
    await home.wait(LONGER)
    assert issues(hass) == {}


@pytest.mark.parametrize("lowest", [55.5, 46.8])
async def test_packs_that_are_all_full_or_all_empty_may_rest_at_other_voltages(
    hass: HomeAssistant, home: Home, lowest: float
) -> None:
    """As they do on any sunny afternoon, once the protection of each has ended its charge; one in the middle may not."""
    await begin(home, bank_of({}, {}), model=GROWATT)
    set_apart(home, 1.5, lowest=lowest)
    await home.wait(LONGER)
    assert issues(hass) == {}
    set_apart(home, 52.5 - lowest, lowest=lowest)
    await home.wait(LONGER)
    assert "voltage_apart" in issues(hass)


@pytest.mark.parametrize("reserve", [0.0, 12.0])
async def test_two_days_of_a_mixed_bank_hold_no_voltages_that_are_told(reserve: float) -> None:
    """Packs of other charge, age and balance, in a house that minds no limit: full and empty they rest apart for hours."""
    clock = DrivenClock()
    packs = {
        1: SimPack(PackSpec(seed=60, soc=90.0, soh=84.0, imbalance=0.03)),
        2: SimPack(PackSpec(seed=61, soc=20.0, temperature=5.0)),
    }
    bank = SimBank(packs, clock, reserve=reserve, obedient=False)
    apart = told = longest = 0
    for _ in range(2 * 24 * 360):
        await clock.advance(10.0)
        bank.advance()
        standings = [
            Standing(number=str(place), cells=16, voltage=pack.voltage, current=pack.current)
            for place, pack in packs.items()
        ]
        found = findings(standings, apart=1.0)
        apart += bool(found)
        told = told + 10 if found and not at_one_end(found[0], standings) else 0
        longest = max(longest, told)
    assert apart * 10 > 600  # long enough to be told, if it were not for where it is
    assert longest < 300


async def test_voltages_are_no_matter_where_no_manual_sets_a_limit(hass: HomeAssistant, home: Home) -> None:
    """Only one of the five does."""
    await begin(home, bank_of({}, {}))
    set_apart(home, 3.0)
    await home.wait(LONGER)
    assert issues(hass) == {}


async def test_a_pack_that_falls_silent_does_not_settle_its_voltage(hass: HomeAssistant, home: Home) -> None:
    """It may be the one whose breaker is open; under load nothing is known either, unless all are near."""
    await begin(home, bank_of({}, {}), model=GROWATT)
    set_apart(home, 1.4)
    await home.wait(LONGER)
    home.bank.packs[3].silent = True
    await home.wait(3 * LONG)
    assert "voltage_apart" in issues(hass)
    home.bank.packs[3].silent = False
    set_apart(home, 1.4, current=30.0)
    await home.wait(3 * LONG)
    assert "voltage_apart" in issues(hass)
    set_apart(home, 0.1, current=30.0)
    await home.wait(2 * LONG)
    assert issues(hass) == {}


@pytest.mark.usefixtures("hass_storage")
async def test_voltages_under_load_settle_nothing_after_a_restart(hass: HomeAssistant, home: Home) -> None:
    """An ignored repair is still ignored when they are at rest again; near to each other they end it, load or not."""
    await begin(home, bank_of({}, {}), model=GROWATT)
    set_apart(home, 1.4)
    await home.wait(LONGER)
    ignore(hass)
    set_apart(home, 1.4, current=30.0)
    await restart(hass, home)
    await home.wait(LONGER)
    assert ignored(hass) == ["voltage_apart"]
    set_apart(home, 1.4)
    await home.wait(LONGER)
    assert ignored(hass) == ["voltage_apart"]
    set_apart(home, 0.1, current=30.0)
    await home.wait(2 * LONG)
    assert issues(hass) == {}


async def test_the_voltages_of_all_packs_are_told_and_not_written_anew_for_a_load(
    hass: HomeAssistant, home: Home
) -> None:
    """One whose current comes and goes, and one that falls silent, keep their rows; what changes at rest is told."""
    await begin(home, bank_of({}, {}, {}), model=GROWATT)

    def set_to(third: float, current: float) -> None:
        for pack, voltage in zip(home.bank.packs.values(), (52.0, 53.4, third), strict=True):
            pack.voltage, pack.current, pack.cell_voltages = voltage, 0.0, [voltage / 16] * 16
        home.bank.packs[4].current = current

    set_to(52.2, 1.5)
    await home.wait(LONGER)
    assert "| 1 | 52.00 V |\n| 2 | 53.40 V |\n| 3 | 52.20 V |" in text_of(issues(hass)["voltage_apart"])
    written = async_capture_events(hass, ir.EVENT_REPAIRS_ISSUE_REGISTRY_UPDATED)
    for third, current in [(52.2, 2.5), (51.8, 25.0), (52.2, 1.5)] * 3:
        set_to(third, current)
        await home.wait(20)
    home.bank.packs[4].silent = True
    await home.wait(LONG)
    assert not home.link.packs[4].online
    home.bank.packs[4].silent = False
    await home.wait(LONG)
    assert written == []
    set_to(52.6, 0.0)
    await home.wait(LONG)
    assert len(written) == 1
    assert "| 3 | 52.60 V |" in text_of(issues(hass)["voltage_apart"])


# --- how many --------------------------------------------------------------------------------------------------------


async def test_more_packs_than_the_manual_allows_are_counted(hass: HomeAssistant, home: Home) -> None:
    """Two of this family; a third that is deleted again makes it good."""
    await begin(home, bank_of({}, {}, {}), model=GROWATT)
    await home.wait(LONG)
    text = text_of(issues(hass)["too_many_packs"])
    assert "3 packs belong to Bank, and the manual of this battery allows 2" in text
    home.bank.packs[4].silent = True
    await home.wait(60)
    assert await remove(hass, home.entry, home.device(4))
    await home.wait(2 * CYCLE)
    assert issues(hass) == {}


async def test_a_bank_that_counts_its_packs_settles_nothing_by_silence(hass: HomeAssistant, home: Home) -> None:
    """What it said last stands until it says otherwise; after a reload, too, where it has yet to say anything."""
    packs: dict[int, dict[str, Any]] = {2: {"voltage": 52.0}, 3: {"voltage": 52.0}}
    await begin(home, bank_of({}, {}), model=GROWATT)
    await hear(home, packs, modules=3)
    assert "3 packs belong to Bank, and the manual of this battery allows 2" in text_of(issues(hass)["too_many_packs"])
    ignore(hass)
    home.link.bank_polled(replace(home.link.bank.data, online=False))
    assert home.link.bank.state.modules is None
    await hear(home, packs)
    assert ignored(hass) == ["too_many_packs"]
    await home.drive(hass.config_entries.async_reload(home.entry.entry_id))
    await hear(home, packs)
    assert ignored(hass) == ["too_many_packs"]
    await hear(home, packs, modules=2)
    assert issues(hass) == {}


async def test_a_bank_that_answers_but_counts_its_packs_no_more_leaves_it_to_those_that_are_heard(
    hass: HomeAssistant, home: Home
) -> None:
    """What once said how many there are may never say so again."""
    await begin(home, bank_of({}, {}), model=GROWATT)
    await hear(home, {2: {"voltage": 52.0}, 3: {"voltage": 52.0}}, modules=3)
    assert "too_many_packs" in issues(hass)
    for seconds, told in ((50, True), (30, False)):
        for _ in range(seconds // 10):
            state, now = BankState(voltage=52.0), home.clock.monotonic()
            home.link.bank_polled(PollReport(address=0, state=state, online=True, received=now))
            await hear(home, {2: {"voltage": 52.0}, 3: {"voltage": 52.0}}, seconds=10)
        assert ("too_many_packs" in issues(hass)) is told


async def test_as_many_packs_as_the_manual_allows_are_no_repair(hass: HomeAssistant, home: Home) -> None:
    """Nor are packs of an unknown make."""
    await begin(home, bank_of({}, {}), model=GROWATT)
    await home.wait(LONG)
    assert issues(hass) == {}


# --- three packs of 314 Ah in Growatt mode ---------------------------------------------------------------------------


async def test_the_capacity_of_three_large_packs_is_counted_through(hass: HomeAssistant, line: FlowLine) -> None:
    """Their word holds 655 Ah: 942 Ah and what is stored follow from the number of packs, which stays in the options."""
    spec = PackSpec(capacity=314.0, soc=60.0, serial="ML314SIM00000001")

    def speaks(bank: SimBank) -> ModbusSpeaker:
        bank.frozen = True
        return ModbusSpeaker(bank, GrowattMap(Dialect.ZT))

    line.plug(packs=make_packs(3, spec, first=1), speaks=speaks)
    result = await line.scan(family="ml314")
    entry = (await line.submit(result, {"model": "ML314-51.2-W08", "pack_count": 3}))["result"]
    await line.settle(30)
    assert entry.options["pack_count"] == 3
    stored, soc = (hass.states.get(f"sensor.growatt_rs485_{key}") for key in ("stored_energy", "battery"))
    assert stored is not None
    assert soc is not None
    bank = entry.runtime_data.bank.state
    assert bank.full_capacity == pytest.approx(942.0)
    assert bank.remaining_capacity == pytest.approx(942.0 * 0.6, rel=0.02)
    assert float(stored.state) == pytest.approx(bank.remaining_capacity * 51.2 / 1000, abs=0.1)
    assert float(soc.state) == pytest.approx(60, abs=1.5)
    assert issues(hass) == {}
