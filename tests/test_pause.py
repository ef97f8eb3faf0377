"""Leaving the pack's only connection to the phone app for a while."""

from datetime import datetime, timedelta
import logging

from homeassistant.const import STATE_OFF, STATE_ON, EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
import pytest

from custom_components.lfp_battery.pause import LONGEST
from tests.ble_home import BleHome
from tests.flow_line import TEXTS
from tests.home import CYCLE, Home, log_of


async def test_a_pause_frees_the_connection_and_ends_when_it_is_turned_off(
    ble: BleHome, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log each way, and none of a loss; the switch itself is always there."""
    caplog.set_level(logging.INFO)
    ble.put_up()
    await ble.start()
    await ble.wait()
    assert ble.state(None, "pause").state == STATE_OFF
    log_of(caplog)
    await ble.turn("pause", True)
    await ble.wait(2)
    assert ble.bus.port.line is None
    assert ble.state(None, "pause").state == STATE_ON
    assert ble.state(None, "link").state == ble.state(1, "connectivity").state == STATE_OFF
    assert ble.state(1, "soc").state == "unavailable"
    asked = ble.bus.request_count
    await ble.wait(300)
    assert ble.bus.request_count == asked
    await ble.turn("pause", False)
    await ble.wait(CYCLE)
    assert ble.state(None, "pause").state == STATE_OFF
    assert ble.state(1, "soc").state != "unavailable"
    assert ble.state(None, "link").state == STATE_ON
    assert log_of(caplog) == [
        f"{ble.entry.title}: the connection is left free",
        f"{ble.entry.title}: the connection is taken up again",
    ]


async def test_a_pause_ends_by_itself_after_half_an_hour(ble: BleHome) -> None:
    """Nobody remembers to end it; asked once more, it begins anew."""
    ble.put_up()
    await ble.start()
    assert ble.state(None, "pause").attributes["until"] is None
    await ble.turn("pause", True)
    begun = ble.clock.utc()
    first = datetime.fromisoformat(ble.state(None, "pause").attributes["until"])
    assert timedelta(seconds=LONGEST - 2) <= first - begun <= timedelta(seconds=LONGEST)
    await ble.wait(LONGEST - 60)
    assert ble.state(None, "pause").state == STATE_ON
    await ble.turn("pause", True)
    again = datetime.fromisoformat(ble.state(None, "pause").attributes["until"])
    assert again - first >= timedelta(seconds=LONGEST - 62)
    await ble.wait(LONGEST - 60)
    assert ble.state(None, "pause").state == STATE_ON
    assert ble.bus.port.line is None
    await ble.wait(60 + CYCLE)
    assert ble.state(None, "pause").state == STATE_OFF
    assert ble.state(1, "connectivity").state == STATE_ON
    assert ble.state(None, "pause").attributes["until"] is None
    assert LONGEST == 30 * 60
    assert "30 minutes" in TEXTS["entity"]["switch"]["pause"]["name"]


async def test_a_pause_is_not_remembered_and_leaves_nothing_behind(hass: HomeAssistant, ble: BleHome) -> None:
    """An entry that is loaded anew is read; one that is unloaded has no timer."""
    ble.put_up()
    await ble.start()
    await ble.turn("pause", True)
    await ble.reload()
    assert ble.state(None, "pause").state == STATE_OFF
    assert ble.state(1, "soc").state != "unavailable"
    await ble.turn("pause", True)
    await ble.drive(hass.config_entries.async_unload(ble.entry.entry_id))
    assert ble.waits == 0


async def test_a_reading_during_a_pause_says_why_it_is_not_made(hass: HomeAssistant, ble: BleHome) -> None:
    """With the words for it, and without touching the pack."""
    ble.put_up()
    await ble.start()
    await ble.turn("pause", True)
    await ble.wait(2)
    asked = ble.bus.request_count
    await ble.update_entity(ble.entity_id(1, "soc"))
    assert ble.bus.request_count == asked
    error = ble.link.packs[1].last_exception
    assert isinstance(error, HomeAssistantError)
    assert error.translation_key == "link_paused"
    assert "ends by itself" in TEXTS["exceptions"]["link_paused"]["message"]


async def test_a_pack_that_is_gone_after_a_pause_is_lost(ble: BleHome, caplog: pytest.LogCaptureFixture) -> None:
    """The phone app still holds it: that is no pause any more, and it is read as soon as it is let go."""
    caplog.set_level(logging.INFO)
    ble.put_up()
    await ble.start()
    await ble.wait()
    await ble.turn("pause", True)
    await ble.wait(2)
    ble.bus.unplug()
    await ble.turn("pause", False)
    await ble.wait(60)
    assert ble.state(None, "pause").state == STATE_OFF
    assert ble.state(None, "link").state == STATE_OFF
    assert log_of(caplog)[-1].startswith(f"{ble.entry.title}: the link is lost")
    ble.bus.replug()
    await ble.wait(10 + CYCLE)
    assert ble.state(1, "soc").state != "unavailable"
    assert log_of(caplog) == [f"{ble.entry.title}: the link is back"]


async def test_a_cable_cannot_be_paused(home: Home) -> None:
    """It has room for nobody else anyway."""
    home.plug(1)
    await home.start()
    assert "pause" not in home.entities(home.bank_device())


async def test_the_pause_is_a_matter_of_configuration_of_the_bank(ble: BleHome) -> None:
    """It is the link that is paused, not the pack."""
    ble.put_up()
    await ble.start()
    entity = ble.entities(ble.bank_device())["pause"]
    assert entity.domain == "switch"
    assert entity.entity_category is EntityCategory.CONFIG
    assert "pause" not in ble.entities(ble.device(1))
