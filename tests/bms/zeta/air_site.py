"""A place with simulated Bluetooth devices on a driven clock, and links to them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, override

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.discovery import ScanReport, probe
from custom_components.lfp_battery.bms.protocols import BLUETOOTH
from custom_components.lfp_battery.bms.transports.gatt import GattLink
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.gatt.air import Air
from tests.simulator.gatt.server import GattPack
from tests.simulator.ledger import Ledger
from tests.simulator.speaker import Disguise, Reply
from tests.simulator.zeta import CURRENT, VLRV, ZetaSpeaker

ADDRESS: Final = "A4:C1:37:00:00:01"
PROFILES: Final = tuple(protocol.profile for protocol in BLUETOOTH.values() if protocol.profile is not None)
_STEP: Final = 0.05  # s


class Site:
    """The air, and what is in it; nothing is until `add` or `pack`."""

    def __init__(self, *, slots: int = 3) -> None:
        """`slots`: connections that there may be at a time."""
        self.clock = DrivenClock()
        self.air = Air(clock=self.clock, slots=slots)
        self.devices: list[GattPack] = []

    async def pack(self, *, registers: int = 41, generation: str = CURRENT, **how: Any) -> GattPack:
        """A pack that advertises."""
        bank = SimBank(make_packs(1, VLRV, first=1), self.clock)
        return await self.add(
            GattPack(
                self.air,
                ADDRESS,
                "ZT-25.6V100Ah-0001",
                ZetaSpeaker(bank, registers=registers, generation=generation),
                **how,
            )
        )

    async def add(self, device: GattPack) -> GattPack:
        """Switch it on."""
        self.devices.append(device)
        await device.start()
        return device

    def link(self, address: str = ADDRESS) -> GattLink:
        """A closed link."""
        return GattLink(
            lambda: self.air.ble_device(address),
            name=address,
            profiles=PROFILES,
            clock=self.clock,
            client_class=self.air.client_class,
        )

    async def drive[ResultT](self, work: Coroutine[Any, Any, ResultT], *, patience: float = 120.0) -> ResultT:
        """Let time go by until it is done."""
        task = asyncio.create_task(work)
        began = self.clock.monotonic()
        while not task.done():
            await self.clock.advance(_STEP)
            if self.clock.monotonic() - began > patience:
                task.cancel()
        return await task

    async def probe(self, address: str = ADDRESS, **how: Any) -> ScanReport:
        """What is found there."""
        return await self.drive(probe(lambda: self.link(address), clock=self.clock, **how))

    @property
    def slots_taken(self) -> int:
        """Connections that stand."""
        return len(self.air.connections)

    async def stop(self) -> None:
        """Switch everything off."""
        for device in self.devices:
            await device.stop()
        await self.air.stop()


def speaker_of(device: GattPack) -> ZetaSpeaker:
    """What answers for a pack."""
    assert isinstance(device.speaker, ZetaSpeaker)
    return device.speaker


class Mute(Ledger):
    """The services of a pack, and nobody behind them."""

    def __init__(self) -> None:
        """Nothing was heard."""
        super().__init__()
        self.heard: list[bytes] = []

    @override
    def feed(self, data: bytes, now: float) -> list[Reply]:
        """See `Speaker`."""
        self.heard.append(data)
        return []

    @override
    def disguise(self, reply: Reply, disguise: Disguise) -> bytes:
        """See `Speaker`."""
        return reply.data

    @override
    def reset(self) -> None:
        """See `Speaker`."""


type MakeSite = Callable[..., Awaitable[Site]]
