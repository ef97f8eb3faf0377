"""A CAN bus on the driven clock, with whatever is on it, for somebody to find out what that is."""

import asyncio

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.discovery import Progress, ScanReport, listen
from custom_components.lfp_battery.bms.transports import CanTransport
from tests.simulator.bank import SimBank, Steady
from tests.simulator.can.bus import BITRATE, SimBus
from tests.simulator.can.families import SETS, make_speaker
from tests.simulator.can.inverter import usual_inverter
from tests.simulator.can.speaker import Node

_FOR_EVER = 120.0


class CanSite:
    """A bus with one battery (`name` None: none) and further nodes; every rate that is tried gets an adapter."""

    def __init__(
        self,
        name: str | None = "pylon",
        *nodes: Node,
        inverter: bool = False,
        packs: int = 2,
        bitrate: int = BITRATE,
        alone: bool = False,
        silent: bool | None = True,
    ) -> None:
        """Connect everything; `inverter`: the usual one beside this battery."""
        self.clock = DrivenClock()
        self.bank = SimBank(packs, self.clock, profile=Steady(rate=0.1))
        self.bus = SimBus(*nodes, clock=self.clock, bitrate=bitrate, alone=alone)
        self.speaker = None if name is None else make_speaker(name, self.bank)
        if self.speaker is not None:
            self.bus.add(self.speaker)
        if name is not None and inverter:
            self.bus.add(usual_inverter(SETS[name].family))
        self.silent = silent
        self.progress: list[tuple[float, Progress]] = []
        self.rates: list[int | None] = []
        self.seconds = 0.0

    def open_bus(self, bitrate: int | None) -> CanTransport:
        """An adapter that is opened at this rate."""
        self.rates.append(bitrate)
        return self.bus.port(bitrate, silent=self.silent)

    async def listen(self, *rates: int | None, known: str | None = None) -> ScanReport:
        """Listen to the end; nobody has the bus open afterwards."""
        began = self.clock.monotonic()
        task = asyncio.create_task(
            listen(
                self.open_bus,
                clock=self.clock,
                rates=rates or (None,),
                known=known,
                on_progress=lambda progress: self.progress.append((self.clock.monotonic() - began, progress)),
            )
        )
        while not task.done():
            await self.clock.advance(0.05)
            assert self.clock.monotonic() - began < _FOR_EVER
        self.seconds = self.clock.monotonic() - began
        assert not any(port.is_open for port in self.bus.ports)
        return task.result()

    def named(self, family: str) -> float | None:
        """Seconds until this family was first named to the owner."""
        return next((when for when, progress in self.progress if progress.protocol == family), None)
