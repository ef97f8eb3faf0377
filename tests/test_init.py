"""The life of a config entry: set-up, silence, failure, unload, removal of packs."""

import asyncio
import threading

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
import pytest

from custom_components.lfp_battery import async_remove_config_entry_device as remove
from custom_components.lfp_battery.bms.errors import LinkProblem
from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_BANK, CONF_PACKS, DOMAIN
from tests.home import CYCLE, Home


def _own_tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if DOMAIN in task.get_name()]


async def test_an_entry_loads_with_values_in_place(home: Home) -> None:
    """Set-up waits for the first cycle, so that entities do not begin as unavailable."""
    home.plug(2)
    assert await home.start()
    assert home.state(2, "soc").state not in ("unavailable", "unknown")
    assert home.state(3, "connectivity").state == "on"


async def test_unloading_frees_the_port_and_leaves_nothing_behind(hass: HomeAssistant, home: Home) -> None:
    """The line is closed, the task is gone, nothing more is sent."""
    home.plug(2)
    threads = threading.active_count()
    await home.start()
    port = home.bus.port
    assert port.line is not None
    assert await hass.config_entries.async_unload(home.entry.entry_id)
    assert port.line is None
    assert _own_tasks() == []
    assert home.waits == 0
    assert threading.active_count() <= threads + 8  # the executor's
    sent = home.bus.bytes_received
    await home.wait(3 * CYCLE)
    assert home.bus.bytes_received == sent


@pytest.mark.parametrize(
    ("problem", "state"),
    [
        (LinkProblem.MISSING, ConfigEntryState.SETUP_RETRY),
        (LinkProblem.PERMISSION, ConfigEntryState.SETUP_RETRY),
        (LinkProblem.BUSY, ConfigEntryState.SETUP_RETRY),
        (LinkProblem.BAD_ADDRESS, ConfigEntryState.SETUP_ERROR),
        (LinkProblem.CREDENTIALS, ConfigEntryState.SETUP_ERROR),
    ],
)
async def test_a_link_that_cannot_be_opened_says_why_and_holds_nothing(
    home: Home, problem: LinkProblem, state: ConfigEntryState
) -> None:
    """Set-up fails with the reason in words, and the port is free for somebody else."""
    home.plug(1)
    home.bus.port.refusal = problem
    assert not await home.start()
    assert home.entry.state is state
    assert home.entry.error_reason_translation_key == f"link_{problem}"
    assert home.entry.reason is not None
    assert "Bank" in home.entry.reason
    assert home.bus.port.line is None
    assert _own_tasks() == []


async def test_an_entry_that_failed_loads_once_the_port_is_there(hass: HomeAssistant, home: Home) -> None:
    """Nothing of the failed attempt stands in the way of the next."""
    home.plug(1)
    home.bus.unplug()
    assert not await home.start()
    home.bus.replug()
    await home.drive(hass.config_entries.async_reload(home.entry.entry_id))
    assert home.entry.state is ConfigEntryState.LOADED
    assert home.state(2, "connectivity").state == "on"


async def test_packs_that_sleep_at_start_keep_their_entities(hass: HomeAssistant, home: Home) -> None:
    """A silent bank on a good link is loaded from what was remembered, and wakes up without a reload."""
    home.plug(2)
    await home.start()
    before = set(home.states(2))
    await hass.config_entries.async_unload(home.entry.entry_id)
    for pack in home.bank.packs.values():
        pack.silent = True
    assert await home.start()
    asleep = home.states(2)
    assert set(asleep) == before
    assert asleep["soc"] == asleep["cell_voltage_min"] == asleep["problem"] == "unavailable"
    assert asleep["connectivity"] == "off"
    for pack in home.bank.packs.values():
        pack.silent = False
    await home.wait(2 * CYCLE)
    assert home.state(2, "soc").state != "unavailable"
    assert home.state(3, "connectivity").state == "on"


async def test_what_was_seen_is_kept_with_the_entry(home: Home) -> None:
    """Serial number, cells and the fields that were reported, for each pack."""
    home.plug(2)
    await home.start()
    await home.wait()
    for address, pack in home.bank.packs.items():
        record = home.entry.data[CONF_PACKS][str(address)]
        assert record["identifier"] == record["serial"] == pack.spec.serial
        assert record["cells"] == 16
        assert {"soc", "cell_voltages", "alarms"} <= set(record["fields"])
    assert home.entry.data[CONF_ADDRESSES] == [2, 3]
    assert CONF_BANK not in home.entry.data  # these packs speak for themselves


async def test_the_entry_is_not_rewritten_when_nothing_new_was_seen(hass: HomeAssistant, home: Home) -> None:
    """Records grow; a cycle without anything new leaves the entry alone."""
    home.plug(2)
    await home.start()
    await home.wait(8 * CYCLE)
    kept, modified = home.entry.data, home.entry.modified_at
    await home.wait(10 * CYCLE)
    assert home.entry.data is kept
    assert home.entry.modified_at == modified


async def test_a_pack_that_answers_cannot_be_removed(hass: HomeAssistant, home: Home) -> None:
    """Nor can the bank; a silent pack can, and is forgotten."""
    home.plug(3)
    await home.start()
    with pytest.raises(HomeAssistantError) as caught:
        await remove(hass, home.entry, home.device(3))
    assert caught.value.translation_key == "pack_answers"
    assert caught.value.translation_placeholders == {"name": home.device(3).name}
    with pytest.raises(HomeAssistantError) as caught:
        await remove(hass, home.entry, home.bank_device())
    assert caught.value.translation_key == "bank_stays"
    device = home.device(3)
    home.bank.remove(3)
    await home.wait(5 * CYCLE)
    assert await remove(hass, home.entry, device)
    dr.async_get(hass).async_remove_device(device.id)
    await home.wait()
    assert sorted(home.entry.data[CONF_PACKS]) == ["2", "4"]
    assert home.entry.data[CONF_ADDRESSES] == [2, 4]
    assert 3 not in home.link.packs
    assert home.value(None, "packs_online") == 2


async def test_a_pack_can_be_removed_while_the_entry_is_not_loaded(hass: HomeAssistant, home: Home) -> None:
    """Nobody can tell whether it answers, so the person decides."""
    home.plug(2)
    await home.start()
    device = home.device(3)
    await hass.config_entries.async_unload(home.entry.entry_id)
    assert await remove(hass, home.entry, device)
    assert sorted(home.entry.data[CONF_PACKS]) == ["2"]
    assert home.entry.data[CONF_ADDRESSES] == [2]


async def test_an_entry_whose_last_pack_was_removed_still_knows_where_to_ask(hass: HomeAssistant, home: Home) -> None:
    """Else it would stay empty for good; the pack that answers there is found anew."""
    home.plug(1)
    await home.start()
    device = home.device(2)
    await hass.config_entries.async_unload(home.entry.entry_id)
    assert await remove(hass, home.entry, device)
    dr.async_get(hass).async_remove_device(device.id)
    assert home.entry.data[CONF_PACKS] == {}
    assert home.entry.data[CONF_ADDRESSES] == [2]
    await home.start()
    await home.wait()
    assert home.state(2, "connectivity").state == "on"


@pytest.mark.parametrize("loaded", [True, False])
async def test_an_entry_goes_by_the_first_battery_that_is_left(hass: HomeAssistant, home: Home, loaded: bool) -> None:
    """The one that was removed may be set up elsewhere."""
    home.plug(2)
    first, second = (pack.spec.serial for pack in home.bank.packs.values())
    await home.start()
    await home.wait()
    device = home.device(2)
    assert home.entry.unique_id == first
    if loaded:
        home.bank.packs[2].silent = True
        await home.wait(5 * CYCLE)
    else:
        await hass.config_entries.async_unload(home.entry.entry_id)
    assert await remove(hass, home.entry, device)
    assert home.entry.unique_id == second
