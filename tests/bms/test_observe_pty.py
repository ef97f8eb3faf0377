"""A slow inverter on a real port, at the true pace: it is found, and not a byte is sent."""

import asyncio
from pathlib import Path
from typing import Any

from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.bms.discovery import Outcome, ScanReport, scan
from custom_components.lfp_battery.bms.transports.serial import SerialTransport
from tests.simulator.bank import SimBank
from tests.simulator.bus import Bus
from tests.simulator.inverter import Habit, Inverter
from tests.simulator.pty_line import PtyLine
from tests.simulator.pylon import PylonSpeaker
from tests.simulator.pylon_wire import request


async def _scanned(path: Path, first: float, **how: Any) -> tuple[ScanReport, int]:
    """What a scan says of a line on which an inverter asks every 20 s, and how many bytes it sent."""
    clock = SystemClock()
    bus = Bus(PylonSpeaker(SimBank(1, clock)), clock)
    port = PtyLine(bus, path)
    port.start()
    inverter = Inverter(bus, Habit(requests=[request(2, 0x42)]), period=20.0, first=first)
    try:
        report = await scan(
            lambda baudrate: SerialTransport(str(path), baudrate, clock=clock),
            clock=clock,
            **how,
        )
    finally:
        inverter.stop()
        port.stop()
    return report, bus.bytes_received


async def test_a_slow_inverter_on_a_real_port_is_found_without_a_byte(tmp_path: Path) -> None:
    """By only listening, and by waiting for a silence longer than its pauses; both at once, to save time."""
    (watched, sent), (waited, sent_too) = await asyncio.gather(
        _scanned(tmp_path / "watched", 18.5, listen_only=True),
        _scanned(tmp_path / "waited", 18.5, quiet=65),
    )
    assert (sent, sent_too) == (0, 0)
    for report in (watched, waited):
        assert (report.outcome, report.protocol, report.baudrate) == (Outcome.OTHER_MASTER, "pylon-rs485", 9600)
        assert [pack.address for pack in report.packs] == [2]
