"""Setting up a pack over Bluetooth, in a simulated air: every way through the dialog and every way out."""

from collections.abc import AsyncGenerator

from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
import pytest

from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_BAUDRATE, CONF_PACKS
from tests.radio_line import ADDRESS, RadioLine


@pytest.fixture
async def line(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[RadioLine]:
    """A proxy in a simulated air; every entry is unloaded at the end."""
    line = RadioLine(hass, monkeypatch)
    await line.start()
    yield line
    await line.stop()


async def test_a_pack_in_range_is_offered_looked_at_and_kept(line: RadioLine) -> None:
    """Home Assistant hears the advert, the dialog comes up by itself, and nothing is sent before somebody agrees."""
    pack = await line.pack()
    form = await line.discovered()
    assert form["step_id"] == "bluetooth_confirm"
    assert form["description_placeholders"]["name"] == "ZT-25.6V100Ah-0001"
    assert form["description_placeholders"]["signal"] == "-60 dBm, good"
    assert pack.sessions == 0
    result = await line.scanned(await line.submit(form, {}))
    assert result["step_id"] == "bluetooth_found"
    shown = result["description_placeholders"]
    assert (shown["cells"], shown["capacity"]) == ("8", "100.0 Ah")

    result = await line.submit(result, {"allow_heating": False, "model": "VLRV2560B"})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    entry = result["result"]
    assert entry.title == "Voltgo VLRV2560B"
    assert entry.unique_id == ADDRESS
    assert entry.data[CONF_DEVICE] == f"bluetooth:{ADDRESS}"
    assert entry.data[CONF_PROTOCOL] == "zeta-1006"
    assert entry.data[CONF_BAUDRATE] is None
    assert list(entry.data[CONF_ADDRESSES]) == [1]
    assert entry.data[CONF_PACKS]["1"]["identifier"] == ADDRESS
    assert not pack.speaker.forbidden
