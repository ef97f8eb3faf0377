"""A battery that is in the home twice: what a person is told, and when not."""

from typing import Any

from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_BAUDRATE, CONF_PACKS, DOMAIN
from custom_components.lfp_battery.moving import serials_in_common
from tests.bank_home import issues, text_of
from tests.flow_line import FlowLine
from tests.home import CYCLE, Home
from tests.simulator.bank import make_packs
from tests.simulator.pack import PackSpec, SimPack

OTHER = "fedcba9876543210fedcba9876543210"


async def test_a_battery_that_is_read_over_two_links_is_told_once(hass: HomeAssistant, line: FlowLine) -> None:
    """With the numbers that its packs have on both sides and what to do, and not after one of the two was deleted."""
    line.plug(packs=2)
    first = await line.add()
    assert issues(hass) == {}
    line.plug("/dev/ttyOTHER", packs=2)
    second = await line.add("/dev/ttyOTHER")
    assert first.state is second.state is ConfigEntryState.LOADED
    await line.settle(30)
    text = text_of(issues(hass)["same_battery"])
    assert first.title in text
    assert second.title in text
    assert "| 1 | 1 |" in text
    assert "energy dashboard would count the battery twice" in text
    assert "Reconfigure" in text
    await line.drive(hass.config_entries.async_remove(first.entry_id))
    assert issues(hass) == {}
    await line.settle(30)
    assert issues(hass) == {}


async def test_a_battery_on_a_cable_and_on_a_bus_is_told(hass: HomeAssistant, line: FlowLine) -> None:
    """There the bank gives the serial number of its first pack, so its number is a dash; the entry names both."""
    pack = SimPack(PackSpec(serial="HCABLEANDBUS0001"))
    line.plug(packs={2: pack})
    serial = await line.add()
    line.plug_bus(sends="victron", packs={1: pack}, inverter="victron")
    bus = await line.add_bus()
    await line.settle(60)
    issue = issues(hass)["same_battery"]
    places = {serial.entry_id: "1", bus.entry_id: "–"}
    first, second = (places[entry_id] for entry_id in sorted(places))
    assert f"| {first} | {second} |" in text_of(issue)


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
    assert issues(hass) == {}
    known = {**other.data[CONF_PACKS], "3": {"serial": packs[3].spec.serial}}
    hass.config_entries.async_update_entry(other, data={**other.data, CONF_PACKS: known})
    assert "| 2 | 2 |" in text_of(issues(hass)["same_battery"])
    await home.drive(hass.config_entries.async_set_disabled_by(OTHER, ConfigEntryDisabler.USER))
    assert issues(hass) == {}


async def test_a_load_tells_of_a_second_link_before_anything_was_read(hass: HomeAssistant, home: Home) -> None:
    """What is remembered is enough."""
    packs = make_packs(2)
    serial = packs[2].spec.serial
    home.plug(packs)
    known = {"2": {"serial": serial, "identifier": serial}}
    hass.config_entries.async_update_entry(home.entry, data={**home.entry.data, CONF_PACKS: known})
    home.speaker_silent(True)
    _second_link(hass, serial)
    assert issues(hass) == {}
    await home.start()
    assert "same_battery" in issues(hass)


async def test_a_second_link_that_is_disabled_is_told_of_no_longer_whoever_is_loaded(
    hass: HomeAssistant, home: Home
) -> None:
    """An adapter that is unplugged keeps one from loading, and the other is disabled meanwhile."""
    packs = make_packs(2)
    home.plug(packs)
    await home.start()
    _second_link(hass, packs[2].spec.serial)
    await home.wait(2 * CYCLE)
    await home.drive(hass.config_entries.async_unload(home.entry.entry_id))
    assert "same_battery" in issues(hass)
    await home.drive(hass.config_entries.async_set_disabled_by(OTHER, ConfigEntryDisabler.USER))
    assert issues(hass) == {}


async def test_an_entry_that_is_disabled_itself_takes_the_repair_with_it(hass: HomeAssistant, home: Home) -> None:
    """And brings it back with it."""
    packs = make_packs(2)
    home.plug(packs)
    await home.start()
    _second_link(hass, packs[2].spec.serial)
    await home.wait(2 * CYCLE)
    assert "same_battery" in issues(hass)
    entry_id = home.entry.entry_id
    await home.drive(hass.config_entries.async_set_disabled_by(entry_id, ConfigEntryDisabler.USER))
    assert issues(hass) == {}
    await home.drive(hass.config_entries.async_set_disabled_by(entry_id, None))
    assert "same_battery" in issues(hass)


async def test_an_entry_that_is_removed_takes_the_repair_with_it(hass: HomeAssistant, home: Home) -> None:
    """Also while the other one is not loaded, which could not notice."""
    packs = make_packs(2)
    home.plug(packs)
    await home.start()
    await home.wait(2 * CYCLE)
    _second_link(hass, packs[2].spec.serial)
    assert "same_battery" in issues(hass)
    await home.drive(hass.config_entries.async_unload(home.entry.entry_id))
    assert "same_battery" in issues(hass)
    await home.drive(hass.config_entries.async_remove(OTHER))
    assert issues(hass) == {}


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
