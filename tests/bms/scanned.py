"""Anything that can be on a line, to be scanned on the driven clock."""

import asyncio
from typing import Any

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.discovery import Progress, ScanReport, scan
from tests.simulator.bus import Bus
from tests.simulator.speaker import Speaker

_FOR_EVER = 300.0


class Scanned:
    """A bus with one speaker, and what a scan of it took."""

    def __init__(self, speaker: Speaker, clock: DrivenClock, *, baudrate: int = 9600) -> None:
        """Connect the speaker."""
        self.clock = clock
        self.bus = Bus(speaker, clock, baudrate=baudrate)
        self.progress: list[Progress] = []
        self.seconds = 0.0

    async def scan(self, **how: Any) -> ScanReport:
        """Scan it to the end; the port is free again afterwards."""
        how = {"on_progress": self.progress.append, **how}
        task = asyncio.create_task(scan(self.bus.open_line, clock=self.clock, **how))
        began = self.clock.monotonic()
        while not task.done():
            await self.clock.advance(0.05)
            assert self.clock.monotonic() - began < _FOR_EVER
        self.seconds = self.clock.monotonic() - began
        assert self.bus.port.line is None
        return task.result()
