"""Packs that should not be in parallel, and a battery that is in the home twice: what a person is told, and when not."""

from collections.abc import Mapping
import re
from typing import Any

from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr, issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.lfp_battery import async_remove_config_entry_device as remove
from custom_components.lfp_battery.bank_issues import at_one_end
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.consistency import Standing, findings
from custom_components.lfp_battery.bms.model import Identity, PackState, PollReport
from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_BAUDRATE, CONF_PACKS, DOMAIN
from custom_components.lfp_battery.moving import serials_in_common
from tests.flow_line import TEXTS, FlowLine
from tests.home import CYCLE, Home
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.modbus import ModbusSpeaker
from tests.simulator.modbus_growatt import Dialect, GrowattMap
from tests.simulator.pack import PackSpec, SimPack

# Until a difference counts as one that lasts, and some.
LONG = 90.0
LONGER = 700.0  # of voltages
GROWATT = "6.5 kWh"  # the manual that wants packs to be 1 V apart at most, and no more than two
OTHER = "fedcba9876543210fedcba9876543210"


def _issues(hass: HomeAssistant) -> dict[str, ir.IssueEntry]:
    """What is shown, by the key of its texts."""
    found = [issue for (domain, _), issue in ir.async_get(hass).issues.items() if domain == DOMAIN and issue.active]
    assert len({issue.translation_key for issue in found}) == len(found)
    return {str(issue.translation_key): issue for issue in found}


def _shown(issue: ir.IssueEntry) -> str:
    """Title and description as the person reads them."""
    texts: Mapping[str, str] = TEXTS["issues"][issue.translation_key]
    text = "\n".join(texts[part].format(**issue.translation_placeholders or {}) for part in ("title", "description"))
    assert not re.search(r"[{}]", text)
    return text


def _packs(*specs: Mapping[str, Any]) -> dict[int, SimPack]:
    """Packs from address 2 on, each with a serial number of its own."""
    return {
        address: SimPack(PackSpec(**{"serial": f"HBANK0000000{address:02d}", **spec}))
        for address, spec in enumerate(specs, 2)
    }


async def _begin(home: Home, packs: dict[int, SimPack], **data: Any) -> None:
    """Set up a bank whose packs stay as they are."""
    home.plug(packs, **data)
    home.bank.frozen = True
    await home.start()
    await home.wait()


def _say(home: Home, address: int, **said: Any) -> None:
    """A pack says what it is, as the simulated ones cannot each for itself."""
    known = home.link.packs[address].data
    home.link.pack_polled(
        PollReport(
            address=address,
            state=known.state or PackState(address=address),
            identity=(known.identity or Identity()).joined(Identity(**said)),
            online=True,
            received=home.clock.monotonic(),
        )
    )


# --- packs of different kinds ----------------------------------------------------------------------------------------


async def test_packs_with_different_numbers_of_cells_are_named_with_them(hass: HomeAssistant, home: Home) -> None:
    """Once it has lasted, and gravely, for it is dangerous; their capacities say nothing more then."""
    await _begin(home, _packs({"cells": 16}, {"cells": 15, "capacity": 50.0}))
    assert _issues(hass) == {}
    await home.wait(LONG)
    (issue,) = _issues(hass).values()
    assert issue.translation_key == "mixed_cells"
    assert issue.severity is ir.IssueSeverity.ERROR
    text = _shown(issue)
    assert "| 1 | 16 |\n| 2 | 15 |" in text
    assert [
        words for words in ("share one voltage", "take out the packs", "goes away by itself") if words not in text
    ] == []


async def test_packs_of_different_capacity_are_named_with_it(hass: HomeAssistant, home: Home) -> None:
    """With the words that a different state of charge is normal, and by the names that the person gave."""
    await _begin(home, _packs({}, {"capacity": 50.0}))
    dr.async_get(hass).async_update_device(home.device(3).id, name_by_user="By the | door")
    await home.wait(LONG)
    text = _shown(_issues(hass)["mixed_capacity"])
    assert "| 1 | 100 |\n| 2 (By the \\| door) | 50 |" in text
    assert "different state of charge is normal" in text


async def test_packs_that_have_aged_are_still_of_one_capacity(hass: HomeAssistant, home: Home) -> None:
    """And a different state of charge alone is normal, as one manual says (VLRV 7-1, row 9)."""
    await _begin(home, _packs({"soc": 90.0}, {"soh": 85.0, "soc": 30.0}))
    await home.wait(2 * LONG)
    assert home.value(3, "soc") < 31
    assert _issues(hass) == {}


async def test_packs_of_different_models_are_named_with_them(hass: HomeAssistant, home: Home) -> None:
    """What they say is shown as text, whatever is in it."""
    await _begin(home, _packs({"model": "Rack *48*"}, {}))
    await home.wait(LONG)
    assert _issues(hass) == {}  # one that does not say contradicts nobody
    _say(home, 3, model="Rack 50")
    await home.wait(LONG)
    text = _shown(_issues(hass)["mixed_models"])
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
    await _begin(home, _packs({"serial": "HBANK000000002", **first}, {"serial": "HBANK000000003"}))
    _say(home, 3, **second)
    await home.wait(LONG)
    said = [pack.record.model for pack in home.link.packs.values()]
    assert said == [first["model"][:10], second["model"]]
    assert _issues(hass) == {}


async def test_a_repair_goes_with_the_pack_that_it_names(hass: HomeAssistant, home: Home) -> None:
    """A pack that is silent may still be there; one that was deleted, or that nobody wants to see, is not."""
    await _begin(home, _packs({}, {}, {"capacity": 50.0}))
    await home.wait(LONG)
    assert "mixed_capacity" in _issues(hass)
    home.bank.packs[4].silent = True
    await home.wait(5 * LONG)
    assert "mixed_capacity" in _issues(hass)
    assert await remove(hass, home.entry, home.device(4))
    await home.wait(2 * CYCLE)
    assert _issues(hass) == {}


async def test_a_pack_whose_device_is_disabled_is_not_judged(hass: HomeAssistant, home: Home) -> None:
    """Nobody wants to hear of it; enabled again it is told again."""
    await _begin(home, _packs({}, {"capacity": 50.0}))
    await home.wait(LONG)
    assert "mixed_capacity" in _issues(hass)
    device = home.device(3)
    dr.async_get(hass).async_update_device(device.id, disabled_by=dr.DeviceEntryDisabler.USER)
    await home.wait(2 * CYCLE)
    assert _issues(hass) == {}


async def test_a_repair_that_was_ignored_stays_so_over_a_reload(hass: HomeAssistant, home: Home) -> None:
    """It is neither withdrawn nor raised anew as long as nothing has changed, also while the packs are silent."""
    await _begin(home, _packs({}, {"capacity": 50.0}))
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


async def test_packs_that_are_alike_again_are_told_of_no_longer(hass: HomeAssistant, home: Home) -> None:
    """After a reload, too, where only the repair itself remembers whom it named."""
    await _begin(home, _packs({}, {"capacity": 50.0}))
    await home.wait(LONG)
    assert "mixed_capacity" in _issues(hass)
    home.bank.packs[3] = SimPack(PackSpec(serial="HBANK000000003", capacity=100.0))
    await home.drive(hass.config_entries.async_reload(home.entry.entry_id))
    await home.wait(CYCLE)
    assert "mixed_capacity" in _issues(hass)  # it may be a misreading
    await home.wait(LONG)
    assert _issues(hass) == {}


# --- voltages --------------------------------------------------------------------------------------------------------


def _apart(home: Home, volts: float, current: float = 0.0, lowest: float = 52.0) -> None:
    for pack, voltage in zip(home.bank.packs.values(), (lowest, lowest + volts), strict=True):
        pack.voltage, pack.current = voltage, current
        pack.cell_voltages = [voltage / 16] * 16


async def test_voltages_that_are_too_far_apart_are_told_until_they_are_clearly_nearer(
    hass: HomeAssistant, home: Home
) -> None:
    """More than 1 V at rest for ten minutes, by the manual of the Growatt; less than 0.8 V for a minute ends it."""
    await _begin(home, _packs({}, {}), model=GROWATT)
    _apart(home, 1.4)
    await home.wait(500)
    assert _issues(hass) == {}
    await home.wait(200)
    issue = _issues(hass)["voltage_apart"]
    text = _shown(issue)
    assert "more than 1 V apart" in text
    assert "| 1 | 52.00 V |\n| 2 | 53.40 V |" in text
    assert "different state of charge is normal" in text
    _apart(home, 1.5)
    await home.wait(LONG)
    assert _issues(hass)["voltage_apart"] is issue  # not written anew for every hundredth
    _apart(home, 0.9)
    await home.wait(2 * LONG)
    assert "| 2 | 52.90 V |" in _shown(_issues(hass)["voltage_apart"])
    _apart(home, 0.7)
    await home.wait(30)
    assert "voltage_apart" in _issues(hass)
    await home.wait(LONG)
    assert _issues(hass) == {}


async def test_voltages_that_are_apart_for_a_while_or_under_load_are_not_told(hass: HomeAssistant, home: Home) -> None:
    """Packs are read one after the other, settle after a load, and differ in resistance."""
    await _begin(home, _packs({}, {}), model=GROWATT)
    for _ in range(4):
        _apart(home, 1.4)
        await home.wait(300)
        _apart(home, 0.2)
        await home.wait(30)
    assert _issues(hass) == {}
    _apart(home, 1.4, current=20.0)
    await home.wait(LONGER)
    assert _issues(hass) == {}


@pytest.mark.parametrize("lowest", [55.5, 46.8])
async def test_packs_that_are_all_full_or_all_empty_may_rest_at_other_voltages(
    hass: HomeAssistant, home: Home, lowest: float
) -> None:
    """As they do on any sunny afternoon, once the protection of each has ended its charge; one in the middle may not."""
    await _begin(home, _packs({}, {}), model=GROWATT)
    _apart(home, 1.5, lowest=lowest)
    await home.wait(LONGER)
    assert _issues(hass) == {}
    _apart(home, 52.5 - lowest, lowest=lowest)
    await home.wait(LONGER)
    assert "voltage_apart" in _issues(hass)


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
    await _begin(home, _packs({}, {}))
    _apart(home, 3.0)
    await home.wait(LONGER)
    assert _issues(hass) == {}


async def test_a_pack_that_falls_silent_does_not_settle_its_voltage(hass: HomeAssistant, home: Home) -> None:
    """It may be the one whose breaker is open; under load nothing is known either, unless all are near."""
    await _begin(home, _packs({}, {}), model=GROWATT)
    _apart(home, 1.4)
    await home.wait(LONGER)
    home.bank.packs[3].silent = True
    await home.wait(3 * LONG)
    assert "voltage_apart" in _issues(hass)
    home.bank.packs[3].silent = False
    _apart(home, 1.4, current=30.0)
    await home.wait(3 * LONG)
    assert "voltage_apart" in _issues(hass)
    _apart(home, 0.1, current=30.0)
    await home.wait(2 * LONG)
    assert _issues(hass) == {}


# --- how many --------------------------------------------------------------------------------------------------------


async def test_more_packs_than_the_manual_allows_are_counted(hass: HomeAssistant, home: Home) -> None:
    """Two of this family; a third that is deleted again makes it good."""
    await _begin(home, _packs({}, {}, {}), model=GROWATT)
    await home.wait(LONG)
    text = _shown(_issues(hass)["too_many_packs"])
    assert "3 packs belong to Bank, and the manual of this battery allows 2" in text
    home.bank.packs[4].silent = True
    await home.wait(60)
    assert await remove(hass, home.entry, home.device(4))
    await home.wait(2 * CYCLE)
    assert _issues(hass) == {}


async def test_as_many_packs_as_the_manual_allows_are_no_repair(hass: HomeAssistant, home: Home) -> None:
    """Nor are packs of an unknown make."""
    await _begin(home, _packs({}, {}), model=GROWATT)
    await home.wait(LONG)
    assert _issues(hass) == {}


# --- the same battery over two links ---------------------------------------------------------------------------------


async def test_a_battery_that_is_read_over_two_links_is_told_once(hass: HomeAssistant, line: FlowLine) -> None:
    """With the numbers that its packs have on both sides and what to do, and not after one of the two was deleted."""
    line.plug(packs=2)
    first = await line.add()
    assert _issues(hass) == {}
    line.plug("/dev/ttyOTHER", packs=2)
    second = await line.add("/dev/ttyOTHER")
    assert first.state is second.state is ConfigEntryState.LOADED
    await line.settle(30)
    text = _shown(_issues(hass)["same_battery"])
    assert first.title in text
    assert second.title in text
    assert "| 1 | 1 |" in text
    assert "energy dashboard would count the battery twice" in text
    assert "Reconfigure" in text
    await line.drive(hass.config_entries.async_remove(first.entry_id))
    assert _issues(hass) == {}
    await line.settle(30)
    assert _issues(hass) == {}


async def test_a_battery_on_a_cable_and_on_a_bus_is_told(hass: HomeAssistant, line: FlowLine) -> None:
    """There the bank gives the serial number of its first pack, so its number is a dash; the entry names both."""
    pack = SimPack(PackSpec(serial="HCABLEANDBUS0001"))
    line.plug(packs={2: pack})
    serial = await line.add()
    line.plug_bus(sends="victron", packs={1: pack}, inverter="victron")
    bus = await line.add_bus()
    await line.settle(60)
    issue = _issues(hass)["same_battery"]
    places = {serial.entry_id: "1", bus.entry_id: "–"}
    first, second = (places[entry_id] for entry_id in sorted(places))
    assert f"| {first} | {second} |" in _shown(issue)


def _second_link(hass: HomeAssistant, *serials: str) -> MockConfigEntry:
    """Add an entry that knows packs by these serial numbers, and is not loaded."""
    other = MockConfigEntry(
        domain=DOMAIN,
        title="Second",
        entry_id=OTHER,
        data={
            CONF_DEVICE: "/dev/ttyOTHER",
            CONF_PROTOCOL: "pylon-rs485",
            CONF_BAUDRATE: 9600,
            CONF_ADDRESSES: [*range(2, 2 + len(serials))],
            CONF_PACKS: {str(address): {"serial": serial} for address, serial in enumerate(serials, 2)},
        },
    )
    other.add_to_hass(hass)
    hass.config_entries.async_update_entry(other, title="Second link")  # told of, as one that a flow adds is
    return other


async def test_what_is_learned_later_tells_of_a_second_link(hass: HomeAssistant, home: Home) -> None:
    """Whichever of the two learns it, at once; disabled, one is as good as gone."""
    packs = make_packs(2)
    home.plug(packs)
    await home.start()
    other = _second_link(hass, "HSOMEBODY000001", "HSOMEBODY000002")
    await home.wait(2 * CYCLE)
    assert _issues(hass) == {}
    known = {**other.data[CONF_PACKS], "3": {"serial": packs[3].spec.serial}}
    hass.config_entries.async_update_entry(other, data={**other.data, CONF_PACKS: known})
    assert "| 2 | 2 |" in _shown(_issues(hass)["same_battery"])
    await home.drive(hass.config_entries.async_set_disabled_by(OTHER, ConfigEntryDisabler.USER))
    assert _issues(hass) == {}


async def test_a_load_tells_of_a_second_link_before_anything_was_read(hass: HomeAssistant, home: Home) -> None:
    """What is remembered is enough."""
    packs = make_packs(2)
    home.plug(packs)
    await home.start()
    await home.wait(2 * CYCLE)
    home.speaker_silent(True)
    await home.drive(hass.config_entries.async_unload(home.entry.entry_id))
    _second_link(hass, packs[2].spec.serial)
    assert _issues(hass) == {}
    await home.drive(hass.config_entries.async_setup(home.entry.entry_id))
    assert "same_battery" in _issues(hass)


async def test_an_entry_that_is_disabled_itself_takes_the_repair_with_it(hass: HomeAssistant, home: Home) -> None:
    """And brings it back with it."""
    packs = make_packs(2)
    home.plug(packs)
    await home.start()
    _second_link(hass, packs[2].spec.serial)
    await home.wait(2 * CYCLE)
    assert "same_battery" in _issues(hass)
    entry_id = home.entry.entry_id
    await home.drive(hass.config_entries.async_set_disabled_by(entry_id, ConfigEntryDisabler.USER))
    assert _issues(hass) == {}
    await home.drive(hass.config_entries.async_set_disabled_by(entry_id, None))
    assert "same_battery" in _issues(hass)


async def test_an_entry_that_is_removed_takes_the_repair_with_it(hass: HomeAssistant, home: Home) -> None:
    """Also while the other one is not loaded, which could not notice."""
    packs = make_packs(2)
    home.plug(packs)
    await home.start()
    await home.wait(2 * CYCLE)
    _second_link(hass, packs[2].spec.serial)
    assert "same_battery" in _issues(hass)
    await home.drive(hass.config_entries.async_unload(home.entry.entry_id))
    assert "same_battery" in _issues(hass)
    await home.drive(hass.config_entries.async_remove(OTHER))
    assert _issues(hass) == {}


@pytest.mark.parametrize(
    ("ours", "theirs", "protocol", "same"),
    [
        (["HREAL0000000001"], ["HREAL0000000001"], "pace-v25", {"HREAL0000000001"}),
        (["HREAL0000000001"], ["HREAL0000000002"], "pace-v25", set()),
        (["0000000000000000"], ["0000000000000000"], "pace-v25", set()),  # what a factory leaves
        (["2023-05-01"], ["2023-05-01"], "pace-v25", set()),  # a date
        (["HREAL0000000001"] * 3, ["HREAL0000000001"], "pace-v25", set()),  # a master's, given for every pack
        (["HREAL0000000001"], ["HREAL000"], "growatt-rs485", set()),  # all that has room there: may be its neighbour
        (["HREA01"], ["HREA01"], "growatt-rs485", {"HREA01"}),
        (["HREAL0000000001"], [], "pace-v25", set()),
    ],
)
def test_only_a_serial_number_that_can_be_trusted_proves_that_two_links_are_one_battery(
    ours: list[str], theirs: list[str], protocol: str, same: set[str]
) -> None:
    """Not a filler, not a date, not one that several packs give, nor the beginning of one."""

    def data(protocol: str, serials: list[str]) -> dict[str, Any]:
        packs = {str(address): {"serial": serial} for address, serial in enumerate(serials, 1)}
        return {CONF_PROTOCOL: protocol, CONF_PACKS: packs}

    one, other = data("pylon-rs485", ours), data(protocol, theirs)
    assert serials_in_common(one, other) == serials_in_common(other, one) == same


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
    assert _issues(hass) == {}
