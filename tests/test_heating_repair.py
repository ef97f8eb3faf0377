"""A pack that does something else than what it is asked for: the switch goes, and a repair says how to go on."""

from pathlib import Path
import re

from homeassistant.components.repairs.const import DOMAIN as REPAIRS
from homeassistant.components.repairs.issue_handler import RepairsFlowManager
from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest

from custom_components.lfp_battery import heating
from custom_components.lfp_battery.bms.errors import HeatingProblem
from custom_components.lfp_battery.const import CONF_ALLOW_HEATING, CONF_HEATING, DOMAIN
from custom_components.lfp_battery.repairs import HeatingFlow
from tests.ble_home import BleHome
from tests.flow_line import TEXTS
from tests.home import CYCLE


def _issues(hass: HomeAssistant) -> dict[str, ir.IssueEntry]:
    return {key: issue for (domain, key), issue in ir.async_get(hass).issues.items() if domain == DOMAIN}


def _kinds(ble: BleHome) -> list[str]:
    return [entry.domain for key, entry in ble.entities(ble.device(1)).items() if key == "heating"]


async def _withdrawn(ble: BleHome, *, why: str = "refused") -> None:
    """Have the pack do what withdraws the switch."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    if why == "refused":
        ble.pack.refuse_heating = True
    else:
        ble.pack.disturb_r40 = 0x0004
    with pytest.raises(HomeAssistantError) as caught:
        await ble.turn("heating", True)
    assert caught.value.translation_key == f"heating_{why}"
    await ble.wait(15)


@pytest.mark.parametrize("why", ["refused", "contradicted"])
async def test_the_switch_is_taken_away_and_the_repair_says_how_to_find_out(ble: BleHome, why: str) -> None:
    """How the heating is set is still shown; why it is so is kept with the entry, over a restart as well."""
    await _withdrawn(ble, why=why)
    assert _kinds(ble) == ["binary_sensor"]
    assert ble.state(1, "heating").state == (STATE_ON if ble.pack.heating else STATE_OFF)
    assert dict(heating.withdrawn(ble.entry.data)) == {1: HeatingProblem(why)}
    for _ in range(2):
        ((issue_id, issue),) = _issues(ble.hass).items()
        assert issue.is_fixable
        assert issue.translation_key == f"heating_{why}"
        assert issue.translation_placeholders == {"title": ble.entry.title}
        step = TEXTS["issues"][f"heating_{why}"]["fix_flow"]["step"]["init"]
        assert ble.entry.title in step["title"].format(title=ble.entry.title)
        assert "HCI snoop log" in step["description"]
        await ble.reload()
    assert issue_id == f"heating_{ble.entry.entry_id}"
    assert len(ble.pack.writes) == 1


async def _repair(ble: BleHome) -> RepairsFlowManager:
    assert await async_setup_component(ble.hass, REPAIRS, {})
    await ble.wait(1)
    manager: RepairsFlowManager = ble.hass.data[REPAIRS]["flow_manager"]
    return manager


async def test_offering_it_again_brings_the_switch_back_and_sends_nothing(ble: BleHome) -> None:
    """What was sent before still counts against the limit."""
    await _withdrawn(ble)
    (issue_id,) = _issues(ble.hass)
    manager = await _repair(ble)
    menu = await manager.async_init(DOMAIN, data={"issue_id": issue_id})
    assert menu["type"] is FlowResultType.MENU
    assert menu["menu_options"] == ["offer", "leave"]
    texts = TEXTS["issues"]["heating_refused"]["fix_flow"]["step"]["init"]
    shown = texts["description"].format(**(menu["description_placeholders"] or {}))
    assert "/issues" in shown
    assert set(texts["menu_options"]) == set(texts["menu_option_descriptions"]) == {"offer", "leave"}
    assert _kinds(ble) == ["binary_sensor"]  # to look at it changes nothing

    ble.pack.refuse_heating = False
    result = await ble.drive(manager.async_configure(menu["flow_id"], {"next_step_id": "offer"}))
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await ble.wait(15)
    assert _issues(ble.hass) == {}
    assert _kinds(ble) == ["switch"]
    assert len(ble.pack.writes) == 1
    assert len(heating.acts(ble.entry.data)[1]) == 1
    await ble.turn("heating", True)
    assert ble.state(1, "heating").state == STATE_ON


@pytest.mark.parametrize("why", ["refused", "contradicted"])
async def test_the_repair_asks_for_a_few_frames_and_points_to_how_they_are_found(ble: BleHome, why: str) -> None:
    """In the order of the documentation, and never for a whole log: it holds whatever else the phone did."""
    await _withdrawn(ble, why=why)
    (issue_id,) = _issues(ble.hass)
    menu = await (await _repair(ble)).async_init(DOMAIN, data={"issue_id": issue_id})
    texts = TEXTS["issues"][f"heating_{why}"]["fix_flow"]["step"]["init"]
    shown = texts["description"].format(**(menu["description_placeholders"] or {}))
    page, _, part = re.findall(r"\((https://[^)]*/docs/bluetooth\.md)(#([a-z-]+))\)", shown)[0]
    assert "Do not publish the log or the bug report" in shown
    documented = (Path(__file__).parents[1] / "docs" / page.rpartition("/")[2]).read_text()
    section = documented.partition(f"### {part.replace('-', ' ').capitalize()}\n")[2]
    steps = ["HCI snoop log", "Pause", "on, off, on and off", "bug report"]
    for text in (shown.partition("1. ")[2], section.partition("1. ")[2]):
        places = [text.index(step) for step in steps]
        assert places == sorted(places)
    assert "few frames" in shown
    assert "few frames" in section


async def test_leaving_it_off_settles_the_repair(ble: BleHome) -> None:
    """As taking the permission back in the options does; the pack is not disturbed by it."""
    await _withdrawn(ble)
    (issue_id,) = _issues(ble.hass)
    manager = await _repair(ble)
    menu = await manager.async_init(DOMAIN, data={"issue_id": issue_id})
    client = ble.entry.runtime_data.client
    result = await ble.drive(manager.async_configure(menu["flow_id"], {"next_step_id": "leave"}))
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await ble.wait(15)
    assert _issues(ble.hass) == {}
    assert ble.entry.options[CONF_ALLOW_HEATING] is False
    assert ble.entry.runtime_data.client is client
    await ble.reload()
    assert _issues(ble.hass) == {}
    assert _kinds(ble) == ["binary_sensor"]
    assert len(ble.pack.writes) == 1


async def test_whoever_wants_no_switch_has_no_repair(ble: BleHome) -> None:
    """Once the permission is taken back; given again, the pack is still the same."""
    await _withdrawn(ble)
    await ble.reload(options={CONF_ALLOW_HEATING: False})
    assert _issues(ble.hass) == {}
    assert _kinds(ble) == ["binary_sensor"]
    await ble.reload(options={CONF_ALLOW_HEATING: True})
    assert len(_issues(ble.hass)) == 1
    assert _kinds(ble) == ["binary_sensor"]


async def test_a_turn_that_waited_behind_a_refusal_sends_nothing(ble: BleHome) -> None:
    """Between the refusal and the load that takes the switch away, it is offered no more already."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    heating.async_withdraw(ble.hass, ble.entry, 1, HeatingProblem.REFUSED)
    with pytest.raises(HomeAssistantError) as caught:
        await ble.turn("heating", True)
    assert caught.value.translation_key == "heating_withdrawn"
    assert ble.pack.writes == []


@pytest.mark.parametrize("step", ["init", "offer"])
async def test_a_repair_of_an_entry_that_was_removed_ends(hass: HomeAssistant, step: str) -> None:
    """There is nothing left to decide."""
    flow = HeatingFlow("gone", {})
    flow.hass, flow.flow_id, flow.handler = hass, "flow", DOMAIN
    result = await getattr(flow, f"async_step_{step}")()
    assert result["type"] is FlowResultType.ABORT
    for why in ("refused", "contradicted"):
        assert result["reason"] in TEXTS["issues"][f"heating_{why}"]["fix_flow"]["abort"]


async def test_what_is_remembered_is_dropped_once_it_is_empty(ble: BleHome) -> None:
    """An entry that never switched anything looks like one."""
    ble.put_up()
    heating.async_withdraw(ble.hass, ble.entry, 1, HeatingProblem.CONTRADICTED)
    assert ble.entry.data[CONF_HEATING] == {"1": {"withdrawn": "contradicted"}}
    heating.async_offer_again(ble.hass, ble.entry)
    assert CONF_HEATING not in ble.entry.data
    await ble.start()
    await ble.wait(CYCLE)
    assert CONF_HEATING not in ble.entry.data
    await ble.turn("heating", True)
    assert list(ble.entry.data[CONF_HEATING]["1"]) == ["acts"]
    await ble.wait(25 * 3600)
    await ble.reload()
    assert CONF_HEATING not in ble.entry.data
