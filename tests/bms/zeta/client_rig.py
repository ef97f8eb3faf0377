"""A simulated Voltgo pack behind a link of its own, and a client that reads it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
import struct
from types import MappingProxyType
from typing import Any, Final, override

from custom_components.lfp_battery.bms.clients.base import HeatingControl, HeatingOutcome
from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.errors import HeatingError, LinkError
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.base import PolledProtocol
from custom_components.lfp_battery.bms.protocols.writes import HEATING
from tests.bms.rig import Told
from tests.simulator.bank import SimBank, Steady, make_packs
from tests.simulator.bus import Bus, Transmission
from tests.simulator.modbus import Page, question, sealed
from tests.simulator.speaker import Reply
from tests.simulator.zeta import VLRV, ZetaSpeaker

NAME: Final = "zeta-1006"
FRAMES: Final = HEATING[NAME]
STATUS: Final = question(1, 0, 41)
SHORT_STATUS: Final = question(1, 0, 39)
BAUDRATE: Final = 1_000_000  # what is said at once comes at once, and two answers never mix
START: Final = datetime(2026, 1, 1, tzinfo=UTC)  # of a driven clock
CONFIRMED, ACCEPTED, UNCHANGED = HeatingOutcome.CONFIRMED, HeatingOutcome.ACCEPTED, HeatingOutcome.UNCHANGED
SET: Final = b"\x10\x0a\x01"


class Radio(Bus):
    """Both sides may speak at once, and neither hears the other garbled."""

    @override
    def _collide(self, one: Transmission, other: Transmission) -> None:
        """Nothing happens."""


class Stubborn(ZetaSpeaker):
    """A pack that says what a test wants, in registers and in answer to settings."""

    put: Mapping[int, int] = MappingProxyType({})  # registers that say something else
    reply_to_set: bytes | None = None  # instead of the acknowledgement, without its CRC
    mute_after_set = 0.0  # s for which nothing is answered then
    deaf_to_sets = False  # they are lost on the way
    _mute_until = 0.0
    celsius: tuple[int, ...] | None = None  # of the six places from the first on; None: what the pack has

    @override
    def page(self) -> Page:
        """See `ZetaSpeaker`."""
        page = super().page()
        if self.celsius is not None:
            page.put(33, *struct.unpack(">3H", struct.pack("6b", *self.celsius, *[0] * (6 - len(self.celsius)))))
        for register, word in self.put.items():
            page.put(register, word)
        return page

    @override
    def feed(self, data: bytes, now: float) -> list[Reply]:
        """See `Speaker`."""
        replies = [] if self.deaf_to_sets and data.startswith(SET) else super().feed(data, now)
        if now < self._mute_until:
            return []
        if self.writes and self.writes[-1][0] == now:
            self._mute_until = now + self.mute_after_set
            if self.reply_to_set is not None:
                return [replace(reply, data=sealed(self.reply_to_set)) for reply in replies]
        return replies


class ZetaRig:
    """Pack, link, client and listener on one driven clock."""

    def __init__(
        self, *, ambient: float = 20.0, registers: int = 41, protocol: str | PolledProtocol = NAME, **how: Any
    ) -> None:
        """`ambient`: degC around the pack; `how`: see `PolledClient`."""
        self.clock = DrivenClock()
        self.bank = SimBank(make_packs(1, VLRV, first=1), self.clock, profile=Steady(ambient=ambient))
        self.speaker = Stubborn(self.bank, registers=registers)
        self.bus = Radio(self.speaker, self.clock, baudrate=BAUDRATE, turnaround=0.1)
        self.told = Told(self.clock)
        self.client = PolledClient(
            self.bus.open_line(BAUDRATE),
            POLLED[protocol] if isinstance(protocol, str) else protocol,
            clock=self.clock,
            listener=self.told,
            addresses=[1],
            **{"heating": True, **how},
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def heating(self) -> HeatingControl:
        """What switches it."""
        assert self.client.heating is not None
        return self.client.heating

    @property
    def setting(self) -> bool | None:
        """As the listener knows it."""
        state = self.told.last(1).state
        return None if state is None else state.heating_enabled

    @property
    def is_open(self) -> bool:
        """Whether the link is held."""
        return self.bus.port.line is not None

    async def start(self, seconds: float = 5.0) -> None:
        """Let the client run for so long."""
        self._task = asyncio.create_task(self.client.run())
        await self.clock.advance(seconds)

    async def stop(self) -> None:
        """Unload it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def wish(self, enabled: bool) -> asyncio.Task[HeatingOutcome]:
        """Somebody switches the heating."""
        return asyncio.create_task(self.heating.switch(1, enabled=enabled))

    async def switch(self, enabled: bool, *, patience: float = 20.0) -> tuple[object, float]:
        """What came of switching it, and after how many seconds."""
        began, task = self.clock.monotonic(), self.wish(enabled)
        while not task.done() and self.clock.monotonic() - began < patience:
            await self.clock.advance(0.1)
        return outcome(task), self.clock.monotonic() - began

    def asked(self, since: float = 0.0) -> list[bytes]:
        """Everything that went out at or after a time."""
        return [request for when, request in self.bus.requests if when >= since]


def outcome(task: asyncio.Task[HeatingOutcome]) -> object:
    """What it was done with: an outcome, a kind of problem, or an exception."""
    assert task.done()
    if task.cancelled():
        return "cancelled"
    if isinstance(err := task.exception(), (HeatingError, LinkError)):
        return err.problem
    return task.result()


def frames(rig: ZetaRig) -> list[bytes]:
    """What was sent that changes anything, as the pack heard it."""
    return [frame for _, frame in rig.speaker.writes]


def sent(rig: ZetaRig) -> list[bytes]:
    """... and as it went out, whoever heard it."""
    return [request for request in rig.asked() if request.startswith(SET)]


async def skip(rig: ZetaRig, seconds: float) -> None:
    """Let time go by in which nothing is polled."""
    rig.client.set_polling(False)
    await rig.clock.advance(seconds)
    rig.client.set_polling(True)
    await rig.clock.advance(1.0)


type MakeRig = Callable[..., Awaitable[ZetaRig]]


@asynccontextmanager
async def rigs() -> AsyncIterator[MakeRig]:
    """Rigs that are stopped in the end, after which nothing is left of them."""
    made: list[ZetaRig] = []

    async def make(seconds: float = 5.0, **how: Any) -> ZetaRig:
        rig = ZetaRig(**how)
        made.append(rig)
        await rig.start(seconds)
        return rig

    yield make
    for rig in made:
        await rig.stop()
        assert not rig.is_open, "the link was not given back"
        assert not rig.speaker.forbidden
    assert asyncio.all_tasks() == {asyncio.current_task()}
