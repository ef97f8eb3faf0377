"""Devices over Bluetooth that are not set up: those that are not one of ours, and those that cannot be reached."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from homeassistant.const import CONF_DEVICE, CONF_MODEL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import device_registry as dr
import pytest

from custom_components.lfp_battery import radio
from custom_components.lfp_battery.const import CONF_UNVERIFIED
from tests.flow_line import TEXTS, errors, fields, offered
from tests.radio_line import ADDRESS, RadioLine
from tests.simulator.gatt.impostor import JbdSpeaker, jbd_pack
from tests.simulator.pack import PackSpec

WALL = PackSpec(cells=16, capacity=314.0, serial="")


@pytest.fixture
async def line(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[RadioLine]:
    """A proxy in a simulated air; every entry is unloaded at the end."""
    line = RadioLine(hass, monkeypatch)
    await line.start()
    yield line
    await line.stop()


# --- who is not one of ours ------------------------------------------------------------------------------------------


async def test_a_battery_of_another_maker_is_declined_politely(line: RadioLine) -> None:
    """Name and advert fit, the services do not: nothing is sent, and the connection is given back."""
    pack = await line.switch_on(jbd_pack(line.air, name="ZT-25.6V200AH-0006"))
    result = await line.scanned(await line.submit(await line.discovered(), {}))
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "foreign_battery"
    assert isinstance(pack.speaker, JbdSpeaker)
    assert pack.speaker.received == []
    assert not line.air.connections


async def test_a_battery_of_another_maker_is_declined_from_the_list_too(line: RadioLine) -> None:
    """It is listed for its service, because a pack that was renamed has nothing else."""
    pack = await line.switch_on(jbd_pack(line.air))
    form = await line.open_radio_form()
    assert list(offered(form)) == [pack.address]
    result = await line.scanned(await line.submit(form, {CONF_DEVICE: pack.address}))
    assert result["reason"] == "foreign_battery"
    assert "ML314" in TEXTS["config"]["abort"]["foreign_battery"]


async def test_a_service_without_answers_is_no_battery(line: RadioLine) -> None:
    """What helps is said, the wired ports of an ML314 included; a second attempt finds the pack awake."""
    pack = await line.pack()
    pack.silence = True
    result = await line.pick()
    assert result["step_id"] == "bluetooth_pick"
    assert errors(result) == {"base": "no_answer"}
    assert "RS485 or CAN" in TEXTS["config"]["error"]["no_answer"]
    pack.silence = False
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: ADDRESS}))
    assert result["step_id"] == "bluetooth_found"


async def test_an_ml314_that_answers_is_used_and_called_unverified(line: RadioLine) -> None:
    """Its capacity gives it away; the form, the entry and the device say that nobody has tried one."""
    await line.pack(name="Smart Battery-0001", spec=WALL)
    result = await line.pick()
    assert fields(result)[CONF_MODEL] == "ML314-51.2-W08"
    assert TEXTS["selector"]["note"]["options"]["unverified"] in result["description_placeholders"]["notes"]
    entry = (await line.submit(result, {CONF_MODEL: "ML314-51.2-W08"}))["result"]
    assert entry.data[CONF_UNVERIFIED] is True
    await line.settle(15)
    devices = dr.async_entries_for_config_entry(dr.async_get(line.hass), entry.entry_id)
    assert {device.model for device in devices} == {"ML314-51.2-W08 (unverified)"}


async def test_a_pack_that_is_called_an_ml314_by_its_owner_is_unverified(line: RadioLine) -> None:
    """Where nothing of it says so the choice of the model does."""
    await line.pack(name="Wall", spec=replace(WALL, capacity=280.0))
    result = await line.pick()
    assert fields(result)[CONF_MODEL] is None
    entry = (await line.submit(result, {CONF_MODEL: "ML314-51.2-W08"}))["result"]
    assert entry.data[CONF_UNVERIFIED] is True


# --- who cannot be reached -------------------------------------------------------------------------------------------


def _why(form: Any) -> str:
    """What Home Assistant says of it, as the error shows it: that is no Markdown, so nothing is escaped."""
    (error,) = errors(form).values()
    placeholders = form["description_placeholders"]
    assert placeholders["reason"] in TEXTS["config"]["error"][error].format(**placeholders)
    assert "\\" not in placeholders["reason"]
    return str(placeholders["reason"])


async def test_a_pack_that_went_away_in_between_can_be_tried_again(line: RadioLine) -> None:
    """The phone app has it: it was heard, and takes no connection."""
    pack = await line.pack()
    form = await line.discovered()
    await pack.advertise(False)
    result = await line.scanned(await line.submit(form, {}))
    assert result["step_id"] == "bluetooth_confirm"
    assert errors(result) == {"base": "no_connection"}
    assert "connectable" in _why(result)
    await pack.advertise(True)
    result = await line.scanned(await line.submit(result, {}))
    assert result["step_id"] == "bluetooth_found"


async def test_a_pack_that_was_never_heard_is_looked_for_once_more(line: RadioLine) -> None:
    """Then it is said that it is not heard, with what Home Assistant knows; it may come into range meanwhile."""
    result = await line.pick()
    assert errors(result) == {"base": "out_of_range"}
    assert line.looked_around == 2
    assert _why(result) == radio.unreachable(line.hass, ADDRESS)
    assert fields(result)[CONF_DEVICE] == ADDRESS
    await line.pack()
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: ADDRESS}))
    assert result["step_id"] == "bluetooth_found"


async def test_a_proxy_without_a_free_connection_is_named_as_the_reason(line: RadioLine) -> None:
    """Not the pack."""
    await line.pack()
    line.air.slots = 0
    result = await line.pick()
    assert errors(result) == {"base": "no_slot"}
    assert "connectable" in _why(result)
    line.air.slots = 1
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: ADDRESS}))
    assert result["step_id"] == "bluetooth_found"


async def test_a_connection_that_breaks_is_said(line: RadioLine) -> None:
    """In the middle of every answer."""
    pack = await line.pack()
    pack.drop_mid_frame = True
    result = await line.pick()
    assert errors(result) == {"base": "connection_lost"}
    assert not line.air.connections


async def test_without_an_adapter_it_is_said_at_once(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to type an address first."""
    line = RadioLine(hass, monkeypatch)
    await line.start(proxy=False)
    result = await line.open_radio_form()
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "no_bluetooth"
    await line.stop()


async def test_a_proxy_that_went_away_is_said(line: RadioLine) -> None:
    """With the dialog open already."""
    await line.pack()
    form = await line.open_radio_form()
    line.unplug_proxy()
    result = await line.scanned(await line.submit(form, {CONF_DEVICE: ADDRESS}))
    assert result["reason"] == "no_bluetooth"


async def test_a_dialog_that_came_up_by_itself_says_that_the_proxy_went_away(line: RadioLine) -> None:
    """It stays open, for when the proxy is back."""
    await line.pack()
    form = await line.discovered()
    line.unplug_proxy()
    result = await line.scanned(await line.submit(form, {}))
    assert result["step_id"] == "bluetooth_confirm"
    assert errors(result) == {"base": "no_bluetooth"}


async def test_a_dialog_that_is_closed_gives_the_connection_back(line: RadioLine) -> None:
    """While the pack is being read."""
    pack = await line.pack()
    pack.silence = True
    flow = await line.submit(await line.open_radio_form(), {CONF_DEVICE: ADDRESS})
    await line.settle(2)
    assert line.air.connections
    line.hass.config_entries.flow.async_abort(flow["flow_id"])
    await line.settle(2)
    assert not line.air.connections
