"""The whole way on a real pseudo terminal, at the pace of the line and of the clock on the wall."""

import asyncio
from collections.abc import Callable
import logging
import os
from pathlib import Path
import time

from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_BAUDRATE, CONF_PACKS, DOMAIN
from tests.simulator.bank import SimBank
from tests.simulator.bus import Bus
from tests.simulator.pty_line import PtyLine
from tests.simulator.pylon import Profile, PylonSpeaker

_BAUDRATE = 115_200


async def _until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for something to become true; how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def _descriptors_of_ports() -> int:
    """How many terminals this process holds open."""
    paths = (path for path in Path("/proc/self/fd").iterdir())
    return sum(os.path.realpath(path).startswith("/dev/pts/") for path in paths)


async def test_an_adapter_pulled_out_and_put_back(
    hass: HomeAssistant, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Unavailable within two seconds, values again within a cycle, one line in the log each way, nothing left open."""
    caplog.set_level(logging.INFO, "custom_components.lfp_battery")
    clock = SystemClock()
    bus = Bus(PylonSpeaker(SimBank(3, clock), Profile.C), clock, baudrate=_BAUDRATE, turnaround=0.02)
    line = PtyLine(bus, tmp_path / "ttySIM0")
    line.start()
    held = _descriptors_of_ports()
    entry = MockConfigEntry(
        domain=DOMAIN,
        title="Bank",
        data={
            CONF_DEVICE: str(line.path),
            CONF_PROTOCOL: "pylon-rs485",
            CONF_BAUDRATE: _BAUDRATE,
            CONF_ADDRESSES: [2, 3, 4],
            CONF_PACKS: {},
        },
    )
    entry.add_to_hass(hass)
    try:
        assert await hass.config_entries.async_setup(entry.entry_id)

        def showing() -> int:
            states = (hass.states.get(f"sensor.battery_pack_{address}_power") for address in (2, 3, 4))
            return sum(state is not None and state.state != "unavailable" for state in states)

        await _until(lambda: showing() == 3, 10)
        caplog.clear()
        line.unplug()
        assert await _until(lambda: showing() == 0, 2) < 2
        line.replug()
        await _until(lambda: showing() == 3, 15)
        lines = [record.getMessage() for record in caplog.records if record.name == "custom_components.lfp_battery"]
        assert lines == ["Bank: the link is lost (lost)", "Bank: the link is back"]
        assert await hass.config_entries.async_unload(entry.entry_id)
        assert _descriptors_of_ports() == held
    finally:
        line.stop()
