"""The whole way on a real pseudo terminal, at the pace of the line and of the clock on the wall."""

import asyncio
import logging
from pathlib import Path
import threading

from homeassistant.core import HomeAssistant
import pytest

from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.const import DOMAIN
from tests.simulator.bank import SimBank
from tests.simulator.bus import Bus
from tests.simulator.pty_line import PtyLine
from tests.simulator.pylon import PylonSpeaker

from .real_line import add_entry, descriptors_of_ports, showing, until

_BAUDRATE = 115_200
_CYCLE = 10.0  # s, the automatic interval


async def test_an_adapter_pulled_out_under_load_and_put_back(
    hass: HomeAssistant, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Unavailable within two seconds, values again within a cycle, one line in the log each way, nothing left open."""
    caplog.set_level(logging.INFO, "custom_components.lfp_battery")
    clock = SystemClock()
    bank = SimBank(14, clock)
    bus = Bus(PylonSpeaker(bank), clock, baudrate=_BAUDRATE, turnaround=0.02)
    line = PtyLine(bus, tmp_path / "ttySIM0")
    line.start()
    held, threads = descriptors_of_ports(), threading.active_count()
    entry = add_entry(hass, str(line.path), _BAUDRATE, bank.packs)
    try:
        assert await hass.config_entries.async_setup(entry.entry_id)
        await until(lambda: showing(hass, bank.packs) == 14, 30)
        caplog.clear()
        for _ in range(2):
            # in the middle of a cycle, with a question under way
            asked = bus.request_count
            await until(lambda asked=asked: bus.request_count >= asked + 3, 15)
            line.unplug()
            assert await until(lambda: showing(hass, bank.packs) == 0, 2) < 2
            await asyncio.sleep(1.2)
            line.replug()
            opened = bus.request_count
            await until(lambda opened=opened: bus.request_count > opened, _CYCLE)
            await until(lambda: showing(hass, bank.packs) == 14, _CYCLE)
        lines = [record.getMessage() for record in caplog.records if record.name == "custom_components.lfp_battery"]
        assert lines == ["Bank: the link is lost", "Bank: the link is back"] * 2
        assert await hass.config_entries.async_unload(entry.entry_id)
        await until(lambda: descriptors_of_ports() == held, 2)
        assert not [task for task in asyncio.all_tasks() if DOMAIN in task.get_name()]
        # serialx opens and closes ports in the executor, whose threads stay; ours would come on top of its limit
        assert threading.active_count() <= threads + 16
        names = [thread.name for thread in threading.enumerate() if "lfp" in thread.name.lower()]
        assert names == []
    finally:
        line.stop()
