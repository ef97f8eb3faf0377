"""What a person may attach to a bug report."""

import json

from homeassistant.core import HomeAssistant
from homeassistant.helpers.json import ExtendedJSONEncoder
import pytest

from custom_components.lfp_battery.diagnostics import async_get_config_entry_diagnostics
from tests.home import CYCLE, Home


async def test_diagnostics_hold_state_records_and_frames_but_no_serial_number(hass: HomeAssistant, home: Home) -> None:
    """Decoded values beside the bytes they came from."""
    home.plug(2)
    await home.start()
    await home.wait()
    found = await async_get_config_entry_diagnostics(hass, home.entry)
    text = json.dumps(found, cls=ExtendedJSONEncoder)
    assert found["packs"]["2"]["state"]["voltage"] == home.value(2, "voltage")
    assert found["packs"]["2"]["online"] is True
    assert found["packs"]["2"]["counters"]["answered"] > 0
    assert found["client"]["frames"]["2"]["analog"].startswith("7e")
    assert found["packs"]["2"]["remembered"]["energy"]["charged"]["total"] >= 0
    assert found["bank"]["figures"]["counted"] == ["1", "2"]
    assert found["bank"]["figures"]["state"]["power"] == pytest.approx(home.value(None, "power"), abs=0.1)
    for pack in home.bank.packs.values():
        assert pack.spec.serial not in text
        assert pack.spec.serial.encode().hex().upper() not in text.upper()
        assert pack.spec.serial.encode().hex().upper().encode().hex().upper() not in text.upper()


async def test_diagnostics_of_an_entry_that_is_not_loaded_are_what_is_remembered(
    hass: HomeAssistant, home: Home
) -> None:
    """The moment one is needed is often the one in which nothing works."""
    home.plug(2)
    await home.start()
    await home.wait(CYCLE)
    await hass.config_entries.async_unload(home.entry.entry_id)
    found = await async_get_config_entry_diagnostics(hass, home.entry)
    assert set(found) == {"entry"}
    assert found["entry"]["data"]["packs"]["2"]["serial"] == "**REDACTED**"
    assert found["entry"]["data"]["packs"]["2"]["cells"] == 16


@pytest.mark.parametrize(
    ("device", "shown"),
    [
        ("/dev/ttyUSB0", "/dev/ttyUSB0"),
        ("/dev/serial/by-id/usb-FTDI_A50285BI-if00", "/dev/serial/by-id/**REDACTED**"),
        ("socket://192.168.1.20:7000", "socket://**REDACTED**"),
    ],
)
async def test_diagnostics_name_the_kind_of_port_only(hass: HomeAssistant, home: Home, device: str, shown: str) -> None:
    """Hosts and adapters' serial numbers stay at home."""
    home.plug(1, device=device)
    found = await async_get_config_entry_diagnostics(hass, home.entry)
    assert found["entry"]["data"]["device"] == shown


@pytest.mark.parametrize(("observe", "kind"), [(False, "PolledClient"), (True, "ListeningClient")])
async def test_diagnostics_say_who_asks_and_why(hass: HomeAssistant, home: Home, observe: bool, kind: str) -> None:
    """Whether the entry asks or listens, and whether it was the person or another device that had it so."""
    home.plug(1, observe=observe)
    await home.start()
    found = await async_get_config_entry_diagnostics(hass, home.entry)
    assert found["client"]["kind"] == kind
    assert found["entry"]["observes"] is found["entry"]["somebody_else_asks"] is observe
