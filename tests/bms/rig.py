"""A simulated bank on an in-memory line, with a client reading it: what tests of clients need."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.clock import Clock, DrivenClock
from custom_components.lfp_battery.bms.errors import LinkError
from custom_components.lfp_battery.bms.model import BankState, CycleReport, PackState, PollReport
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.base import PolledProtocol
from tests.simulator.bank import SimBank
from tests.simulator.bus import Bus
from tests.simulator.pylon import Profile, PylonSpeaker


@dataclass(slots=True)
class Told:
    """A listener that keeps everything, with the time."""

    clock: Clock
    packs: list[tuple[float, PollReport[PackState]]] = field(default_factory=list)
    banks: list[tuple[float, PollReport[BankState]]] = field(default_factory=list)
    cycles: list[CycleReport] = field(default_factory=list)
    links: list[tuple[float, LinkError | None]] = field(default_factory=list)
    other_masters: int = 0
    asks_in: str | None = None
    families: list[str] = field(default_factory=list)
    unacknowledged_now: bool = False

    def pack_polled(self, report: PollReport[PackState]) -> None:
        """See `ClientListener`."""
        self.packs.append((self.clock.monotonic(), report))

    def bank_polled(self, report: PollReport[BankState]) -> None:
        """See `ClientListener`."""
        self.banks.append((self.clock.monotonic(), report))

    def cycle_finished(self, report: CycleReport) -> None:
        """See `ClientListener`."""
        self.cycles.append(report)

    def link_changed(self, error: LinkError | None) -> None:
        """See `ClientListener`."""
        self.links.append((self.clock.monotonic(), error))

    def other_master(self, protocol: str | None = None) -> None:
        """See `ClientListener`."""
        self.other_masters += 1
        self.asks_in = protocol

    def family_changed(self, name: str) -> None:
        """See `ClientListener`."""
        self.families.append(name)

    def unacknowledged(self, active: bool) -> None:
        """See `ClientListener`."""
        self.unacknowledged_now = active

    def last(self, address: int) -> PollReport[PackState]:
        """The newest report of a pack."""
        return next(report for _, report in reversed(self.packs) if report.address == address)


class Rig:
    """Bank, bus, speaker, client and listener on one driven clock."""

    def __init__(
        self,
        packs: int = 3,
        *,
        profile: Profile = Profile.C,
        protocol: str | PolledProtocol = "pylon-rs485",
        baudrate: int = 9600,
        addresses: Collection[int] | None = None,
        interval: float | None = None,
        wake: bool = False,
    ) -> None:
        """Connect everything; `start` sets it going. `wake`: the client may open the line at other speeds."""
        self.clock = DrivenClock()
        self.bank = SimBank(packs, self.clock)
        self.speaker = PylonSpeaker(self.bank, profile)
        self.bus = Bus(self.speaker, self.clock, baudrate=baudrate)
        self.told = Told(self.clock)
        self.client = PolledClient(
            self.bus.open_line(baudrate),
            POLLED[protocol] if isinstance(protocol, str) else protocol,
            clock=self.clock,
            listener=self.told,
            addresses=list(self.bank.packs) if addresses is None else addresses,
            interval=interval,
            open_line=self.bus.open_line if wake else None,
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self, seconds: float = 0.0) -> None:
        """Let the client run for so long."""
        self._task = asyncio.create_task(self.client.run())
        await self.clock.advance(seconds)

    async def stop(self) -> None:
        """Cancel the client and wait for it."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def asked(self, since: float = 0.0) -> list[bytes]:
        """Requests that went out at or after a time."""
        return [request for when, request in self.bus.requests if when >= since]


type MakeRig = Callable[..., Awaitable[Rig]]
