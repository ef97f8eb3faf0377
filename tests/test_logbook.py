"""What the logbook says of each time that the heating was switched."""

from collections.abc import Callable, Mapping
from typing import Any

from homeassistant.core import Context, Event, HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import async_capture_events
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from custom_components.lfp_battery import heating
from custom_components.lfp_battery.bms.clients.base import HeatingOutcome
from custom_components.lfp_battery.bms.errors import HeatingProblem
from custom_components.lfp_battery.const import CONF_ALLOW_HEATING, DOMAIN
from custom_components.lfp_battery.logbook import async_describe_events
from tests.ble_home import BleHome

type Describe = Callable[[Event[Any]], dict[str, str]]


def _describer(hass: HomeAssistant) -> Describe:
    found: dict[str, Describe] = {}

    def take(domain: str, event: str, describe: Describe) -> None:
        assert domain == DOMAIN
        found[event] = describe

    async_describe_events(hass, take)
    (described,) = found.items()
    assert described[0] == heating.EVENT == f"{DOMAIN}_heating"
    return described[1]


async def test_each_turn_is_a_line_that_names_the_pack(ble: BleHome) -> None:
    """By the name that its owner gave it, with what was, what was wished and what came of it."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    dr.async_get(ble.hass).async_update_device(ble.device(1).id, name_by_user="Motor home")
    describe, events = _describer(ble.hass), async_capture_events(ble.hass, heating.EVENT)
    await ble.turn("heating", True)
    assert describe(events[0]) == {
        "name": "Motor home",
        "message": "heating was switched from off to on, and the battery confirmed it",
        "entity_id": ble.entity_id(1, "heating"),
    }
    await ble.wait(15)
    ble.pack.refuse_heating = True
    with pytest.raises(HomeAssistantError):
        await ble.turn("heating", False)
    assert describe(events[1])["message"] == "heating was to be switched from on to off: the battery refused"


_SWITCHED, _WAS_TO_BE, _NOT_SWITCHED = (
    f"heating {begun} from unknown to on" for begun in ("was switched", "was to be switched", "was not switched")
)
_LINES: dict[str, str] = {
    HeatingOutcome.CONFIRMED: f"{_SWITCHED}, and the battery confirmed it",
    HeatingOutcome.ACCEPTED: f"{_WAS_TO_BE}: the battery accepted it and did not change it so far",
    HeatingOutcome.UNCHANGED: f"{_NOT_SWITCHED}: it was so already",
    HeatingProblem.UNKNOWN: f"{_NOT_SWITCHED}: the battery does not say how it is set",
    HeatingProblem.STALE: f"{_NOT_SWITCHED}: the battery did not answer lately",
    HeatingProblem.PROTECTION: f"{_NOT_SWITCHED}: a protection is active that is not about cold, or that has no name here",
    HeatingProblem.TOO_SOON: f"{_NOT_SWITCHED}: it was switched only seconds before",
    HeatingProblem.TOO_OFTEN: f"{_NOT_SWITCHED}: it was switched too often within a day",
    HeatingProblem.UNANSWERED: f"{_WAS_TO_BE}: the battery did not acknowledge it and did not change it",
    HeatingProblem.UNSEEN: f"{_WAS_TO_BE}, and what came of it is not known: the battery was not read since",
    HeatingProblem.REFUSED: f"{_WAS_TO_BE}: the battery refused",
    HeatingProblem.CONTRADICTED: f"{_WAS_TO_BE}, and the battery did something else",
    heating.NO_LINK: f"{_NOT_SWITCHED}: there was no connection",
    heating.WITHDRAWN: f"{_NOT_SWITCHED}: the switch was taken away",
}


def test_no_outcome_is_left_without_a_line() -> None:
    """Nor do two have the same; that nothing was switched is said only where that is known."""
    assert set(_LINES) == {*HeatingOutcome, *HeatingProblem, heating.NO_LINK, heating.WITHDRAWN}
    assert len(set(_LINES.values())) == len(_LINES)


@pytest.mark.parametrize("outcome", _LINES)
async def test_every_outcome_has_its_line(ble: BleHome, outcome: str) -> None:
    """Also of a pack that is gone by now, and of a setting that was not known."""
    ble.put_up()
    await ble.start()
    event = Event[Any](
        heating.EVENT, {"device_id": "gone", "entity_id": None, "old": None, "new": True, "outcome": outcome}
    )
    described = _describer(ble.hass)(event)
    assert described == {"name": "Battery", "message": _LINES[outcome]}


async def test_the_logbook_says_who_it_was(
    recorder_mock: Any, hass: HomeAssistant, ble: BleHome, hass_ws_client: WebSocketGenerator, hass_admin_user: Any
) -> None:
    """The real one, asked as the page does."""
    assert await async_setup_component(hass, "logbook", {})
    ble.put_up()
    await ble.start()
    await ble.wait()
    await ble.turn("heating", True, context=Context(user_id=hass_admin_user.id))
    await ble.drive(recorder_mock.async_recorder_ready.wait())
    await hass.async_add_executor_job(recorder_mock.block_till_done)
    (line,) = await _lines(hass, hass_ws_client, entity_ids=[ble.entity_id(1, "heating")])
    assert line["message"] == "heating was switched from off to on, and the battery confirmed it"
    assert line["context_user_id"] == hass_admin_user.id


async def _lines(
    hass: HomeAssistant, hass_ws_client: WebSocketGenerator, **whose: list[str]
) -> list[Mapping[str, Any]]:
    """Ours, as the page of a device or an entity gets them."""
    client = await hass_ws_client(hass)
    await client.send_json_auto_id({"type": "logbook/get_events", "start_time": "2020-01-01T00:00:00+00:00", **whose})
    answer = await client.receive_json()
    return [line for line in answer["result"] if line.get("domain") == DOMAIN]


async def test_what_was_switched_is_found_when_the_switch_is_gone(
    recorder_mock: Any, hass: HomeAssistant, ble: BleHome, hass_ws_client: WebSocketGenerator
) -> None:
    """On the page of the device, and each line leads to what shows the setting instead."""
    assert await async_setup_component(hass, "logbook", {})
    ble.put_up()
    await ble.start()
    await ble.wait()
    switch = ble.entity_id(1, "heating")
    await ble.turn("heating", True)
    await ble.drive(recorder_mock.async_recorder_ready.wait())
    await ble.reload(options={CONF_ALLOW_HEATING: False})
    await ble.wait()
    sensor = ble.entity_id(1, "heating")
    assert (switch.partition(".")[0], sensor.partition(".")[0]) == ("switch", "binary_sensor")
    await hass.async_add_executor_job(recorder_mock.block_till_done)
    (line,) = await _lines(hass, hass_ws_client, device_ids=[ble.device(1).id], entity_ids=[sensor])
    assert line["entity_id"] == sensor
    er.async_get(hass).async_remove(sensor)
    (line,) = await _lines(hass, hass_ws_client, device_ids=[ble.device(1).id])
    assert line.get("entity_id") is None
