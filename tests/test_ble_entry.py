"""An entry of a pack over Bluetooth: its device, its signal, its link's problems in words, and what is kept private."""

import json
import logging
from typing import Any
from unittest.mock import patch

from bleak.backends.client import BaseBleakClient
from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import BaseHaRemoteScanner, HaBluetoothConnector
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.entity import Entity
from homeassistant.helpers.json import ExtendedJSONEncoder
import pytest
from syrupy.assertion import SnapshotAssertion

from custom_components.lfp_battery import async_remove_config_entry_device as remove
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.const import CONF_HOLD, CONF_INTERVAL, CONF_PACKS
from custom_components.lfp_battery.diagnostics import async_get_config_entry_diagnostics
from custom_components.lfp_battery.link_texts import link_problem
from tests.ble_home import MAC, NAME, BleHome
from tests.flow_line import TEXTS
from tests.home import CYCLE

_PROXY = "F0:0D:00:00:00:02"


async def test_a_pack_is_known_by_its_address_and_has_no_serial_number(ble: BleHome) -> None:
    """What it gives as one is a date (ble.md section 5); whoever looks for the address finds the device."""
    ble.put_up(seen=False)
    await ble.start()
    await ble.wait()
    device = ble.device(1)
    assert ble.wanted[-1] == MAC
    assert device.connections == {(dr.CONNECTION_BLUETOOTH, MAC)}
    assert device.serial_number is None
    assert ble.bank_device().connections == set()
    assert ble.bank_device().serial_number is None
    assert device.via_device_id == ble.bank_device().id
    assert ble.entities(device)["soc"].unique_id == f"{MAC}_soc"
    assert ble.entry.unique_id == MAC


@pytest.mark.parametrize("allow", [True, False])
async def test_all_entities_of_a_pack(
    hass: HomeAssistant, ble: BleHome, allow: bool, snapshot: SnapshotAssertion
) -> None:
    """With everything enabled, as the home sees it; how the heating is set is a switch or a sensor."""
    ble.put_up(allow=allow)
    ble.bank.frozen = True
    with patch.object(Entity, "entity_registry_enabled_default", True):
        await ble.start()
    for device in (ble.bank_device(), ble.device(1)):
        for entry in sorted(ble.entities(device).values(), key=lambda entry: entry.entity_id):
            if allow or entry.unique_id.endswith("_heating"):
                assert entry == snapshot(name=f"{entry.entity_id}-entry")
                assert hass.states.get(entry.entity_id) == snapshot(name=f"{entry.entity_id}-state")


async def test_a_pack_that_was_deleted_comes_back_as_itself(hass: HomeAssistant, ble: BleHome) -> None:
    """Its entry stays the one of this address, so that it is not discovered a second time."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    device = ble.device(1)
    ble.speaker_silent(True)
    await ble.wait(5 * CYCLE)
    assert await remove(hass, ble.entry, device)
    dr.async_get(hass).async_remove_device(device.id)
    assert ble.entry.unique_id == MAC
    ble.speaker_silent(False)
    await ble.wait(300)
    assert ble.entry.data[CONF_PACKS]["1"]["identifier"] == MAC
    assert ble.device(1).connections == {(dr.CONNECTION_BLUETOOTH, MAC)}
    assert ble.entry.unique_id == MAC


async def test_the_signal_is_off_unless_somebody_wants_it(ble: BleHome) -> None:
    """It changes all the time and tells little."""
    ble.put_up()
    await ble.start()
    entity = ble.entities(ble.device(1))["rssi"]
    assert entity.disabled_by is not None
    assert entity.original_device_class == "signal_strength"


async def test_the_signal_is_unknown_while_nobody_hears_the_pack(ble: BleHome) -> None:
    """And there also while there is no connection."""
    ble.put_up()
    with patch.object(Entity, "entity_registry_enabled_default", True):
        await ble.start()
    assert ble.state(1, "rssi").state == "unknown"
    assert ble.state(1, "rssi").attributes["unit_of_measurement"] == "dBm"
    ble.bus.unplug()
    await ble.wait(30)
    assert ble.state(1, "rssi").state == "unknown"
    assert ble.state(1, "soc").state == "unavailable"


async def test_the_signal_is_as_strong_as_it_was_heard_last(hass: HomeAssistant, ble: BleHome) -> None:
    """By any adapter or proxy; the pack is silent while it is connected, so this is from before."""
    ble.put_up()
    with patch.object(Entity, "entity_registry_enabled_default", True):
        await ble.start()
    client: Any = BaseBleakClient  # nobody connects through this proxy
    connector = HaBluetoothConnector(client=client, source=_PROXY, can_connect=lambda: True)
    scanner = BaseHaRemoteScanner(_PROXY, "proxy", connector, True)
    cancel = [scanner.async_setup(), bluetooth.async_register_scanner(hass, scanner)]
    for rssi in (-71, -64):
        now = bluetooth.MONOTONIC_TIME()
        scanner._async_on_advertisement(MAC, rssi, NAME, [], {}, {}, None, {"source": _PROXY}, now)
        await ble.wait()
        assert ble.value(1, "rssi") == rssi
    for undo in cancel:
        undo()
    for flow in hass.config_entries.flow.async_progress():
        hass.config_entries.flow.async_abort(flow["flow_id"])


_WORDS = {
    LinkProblem.MISSING: "close the phone app",
    LinkProblem.UNREACHABLE: "Close the phone app",
    LinkProblem.NO_SLOT: "add a proxy",
    LinkProblem.FOREIGN: "does not show the service that it was read by before. Switch the battery",
    LinkProblem.PAUSED: "Turn off 'Pause for 30 minutes'",
    LinkProblem.LOST: "was lost",
    LinkProblem.FAILED: "cannot be connected to",
}


@pytest.mark.parametrize(("problem", "said"), list(_WORDS.items()))
async def test_every_problem_of_the_link_has_words_of_its_own(
    hass: HomeAssistant, ble: BleHome, problem: LinkProblem, said: str
) -> None:
    """And nothing in them speaks of a port."""
    ble.put_up()
    await ble.start()
    shown = link_problem(hass, ble.entry, LinkError(problem))
    text = TEXTS["exceptions"][shown["translation_key"]]["message"].format(**shown["translation_placeholders"])
    assert said in text
    assert ble.entry.title in text
    assert "port" not in text.lower().replace("report", "")
    assert "delete" not in text.lower()  # a pack that was read is one of ours, whatever it shows now
    assert MAC not in ble.entry.title


@pytest.mark.parametrize("problem", [LinkProblem.MISSING, LinkProblem.NO_SLOT, LinkProblem.FOREIGN])
async def test_an_entry_whose_pack_cannot_be_reached_says_why_and_tries_again(
    ble: BleHome, problem: LinkProblem
) -> None:
    """With Home Assistant's own view of who could reach it."""
    ble.put_up()
    ble.bus.port.refusal = problem
    assert not await ble.start()
    assert ble.entry.state is ConfigEntryState.SETUP_RETRY
    assert ble.entry.error_reason_translation_key == (
        "link_radio_missing" if problem is LinkProblem.MISSING else f"link_{problem}"
    )
    assert ble.entry.reason is not None
    assert NAME in ble.entry.reason


async def test_a_pack_that_drops_out_of_range_is_unavailable_and_comes_back(ble: BleHome) -> None:
    """As on any other link."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    ble.bus.unplug()
    await ble.wait(2)
    assert ble.state(1, "soc").state == "unavailable"
    assert ble.state(1, "connectivity").state == ble.state(None, "link").state == STATE_OFF
    ble.bus.replug()
    await ble.wait(10 + CYCLE)
    assert ble.state(1, "soc").state != "unavailable"


@pytest.mark.parametrize("hold", [True, False])
async def test_a_connection_that_is_not_held_is_free_between_readings(
    ble: BleHome, hold: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The phone app gets its turn; nothing is unavailable, nothing is said to be lost, and the switch works."""
    caplog.set_level(logging.INFO)
    ble.put_up(options={CONF_HOLD: hold, CONF_INTERVAL: 60})
    await ble.start()
    await ble.wait(60)
    free = 0
    for _ in range(30):
        await ble.wait(10)
        free += ble.bus.port.line is None
        assert ble.state(1, "soc").state != "unavailable"
        assert ble.state(None, "link").state == ble.state(1, "safe_to_act").state == STATE_ON
    assert free == 0 if hold else free > 20
    await ble.turn("heating", True)
    assert ble.state(1, "heating").state == STATE_ON
    assert "the link is" not in caplog.text


async def test_a_pack_that_nobody_wants_to_see_leaves_the_connection_free(hass: HomeAssistant, ble: BleHome) -> None:
    """Its device disabled, it is not held for nothing: the phone app can have it; enabled, it is read again."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    assert ble.bus.port.line is not None
    devices, device = dr.async_get(hass), ble.device(1)
    devices.async_update_device(device.id, disabled_by=dr.DeviceEntryDisabler.USER)
    await ble.wait(2 * CYCLE)
    assert ble.bus.port.line is None
    asked = ble.bus.request_count
    await ble.wait(300)
    assert (ble.bus.port.line, ble.bus.request_count) == (None, asked)
    devices.async_update_device(device.id, disabled_by=None)
    await ble.wait(60)
    assert ble.bus.port.line is not None
    assert ble.bus.request_count > asked


async def test_a_pack_that_is_not_polled_is_connected_to_only_while_it_is_read(
    hass: HomeAssistant, ble: BleHome
) -> None:
    """By whoever asks for it, such as an automation."""
    ble.put_up()
    hass.config_entries.async_update_entry(ble.entry, pref_disable_polling=True)
    await ble.start()
    await ble.wait(60)
    asked = ble.bus.request_count
    assert ble.bus.port.line is None
    await ble.update_entity(ble.entity_id(1, "soc"))
    assert ble.bus.request_count > asked
    assert ble.state(1, "soc").state not in {"unknown", "unavailable"}
    await ble.wait(30)
    assert ble.bus.port.line is None
    await ble.turn("heating", True)
    assert ble.pack.heating
    await ble.wait(30)
    assert ble.bus.port.line is None


@pytest.mark.parametrize("loaded", [True, False])
async def test_diagnostics_hold_neither_the_address_nor_a_name(hass: HomeAssistant, ble: BleHome, loaded: bool) -> None:
    """A name of a pack ends in its number, and the address is its own for life."""
    ble.put_up(name=NAME)
    await ble.start()
    await ble.wait()
    if not loaded:
        await hass.config_entries.async_unload(ble.entry.entry_id)
    found: dict[str, Any] = await async_get_config_entry_diagnostics(hass, ble.entry)
    text = json.dumps(found, cls=ExtendedJSONEncoder).upper()
    assert found["entry"]["data"]["device"] == "bluetooth:**REDACTED**"
    assert MAC not in text
    assert MAC.replace(":", "") not in text
    assert NAME.upper() not in text
    assert ("packs" in found) is loaded
    if loaded:
        frames, said = (found["client"][key]["1"] for key in ("frames", "said"))
        assert frames["status"].startswith("01")
        assert frames["identity"] == said["identity"]["serial_or_date"] == "**REDACTED**"
        assert b"2024-01-11".hex() not in text.lower()
