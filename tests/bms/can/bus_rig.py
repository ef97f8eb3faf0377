"""A simulated battery on a CAN bus in memory, with a client listening: what tests of the broadcast client need."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
import struct
from typing import Any

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.clients.broadcast import BroadcastClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.model import BankState, BatteryState, Identity, PollReport
from custom_components.lfp_battery.bms.plausibility import Limits
from custom_components.lfp_battery.bms.protocols.can import CAN
from tests.bms.rig import Told
from tests.simulator.bank import SimBank
from tests.simulator.can.bus import SimBus
from tests.simulator.can.families import SETS, make_speaker
from tests.simulator.can.inverter import usual_inverter
from tests.simulator.can.speaker import CanSpeaker

# Frames are handed over this many seconds after the first of a few: an alarm is to be told within a tenth.
GRAIN = 0.02


class BusRig:
    """Bank, speaker, bus, client and listener on one driven clock; `name` None: nobody sends but the test."""

    def __init__(
        self,
        name: str | None = "pylon",
        *,
        family: str | None = None,
        packs: int = 2,
        interval: float | None = None,
        limits: Limits | None = None,
        grain: float = GRAIN,
        alone: bool = False,
        silent: bool | None = True,
    ) -> None:
        """Connect everything; `family`: what the client reads it as, by default what it is."""
        self.clock = DrivenClock()
        self.bank = SimBank(packs, self.clock)
        self.bus = SimBus(clock=self.clock, grain=grain, alone=alone, silent=silent)
        self.told = Told(self.clock)
        self.speaker = make_speaker(name or "pylon", self.bank)
        if name is not None:
            self.bus.add(self.speaker)
        if name is not None and SETS[name].answers:
            self.bus.add(usual_inverter(SETS[name].family))
        self.client = BroadcastClient(
            self.bus,
            CAN[family or (SETS[name].family if name else "pylon")],
            clock=self.clock,
            listener=self.told,
            interval=interval,
            limits=limits,
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self, seconds: float = 0.0) -> None:
        """Let the client run for so long."""
        self._task = asyncio.create_task(self.client.run())
        await self.clock.advance(seconds)

    async def stop(self) -> None:
        """Cancel the client and wait for it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def speak(self, name: str, **kwargs: Any) -> CanSpeaker:
        """From now on the battery broadcasts this set instead."""
        self.speaker = make_speaker(name, self.bank, **kwargs)
        self.bus.replace(self.speaker)
        return self.speaker

    async def say(self, **frames: str) -> None:
        """Frames by hand, as x351="1402...", and time for the client to hear them."""
        self.bus.inject(*(CanFrame(id=int(name[1:], 16), data=bytes.fromhex(data)) for name, data in frames.items()))
        await self.clock.settle()

    async def repeat(self, seconds: int, /, **frames: str) -> None:
        """The same frames once a second for so long."""
        for _ in range(seconds):
            await self.say(**frames)
            await self.clock.advance(1.0)

    @property
    def now(self) -> float:
        """The time of the clock."""
        return self.clock.monotonic()

    @property
    def banks(self) -> list[PollReport[BankState]]:
        """All that was told of the bank."""
        return [report for _, report in self.told.banks]

    @property
    def bank_report(self) -> PollReport[BankState]:
        """What was last told of the bank."""
        return self.told.banks[-1][1]

    @property
    def state(self) -> BankState:
        """What the bank was last told to be."""
        state = self.bank_report.state
        assert state is not None
        return state

    def value(self, name: str) -> Any:
        """A field of that state, for those who see it change."""
        return getattr(self.state, name)

    @property
    def shown(self) -> Mapping[str, Any]:
        """What the client tells of itself."""
        found: Mapping[str, Any] = self.client.diagnostics()
        return found


type MakeBus = Callable[..., Awaitable[BusRig]]

# --- frames by hand ---------------------------------------------------------------------------------------------------


def limits(voltage: float = 56.0, charge: float = 100.0, discharge: float = 100.0, low: float = 46.0) -> str:
    """351."""
    return struct.pack("<HhhH", *(round(value * 10) for value in (voltage, charge, discharge, low))).hex()


def charge(soc: int = 60, soh: int = 99) -> str:
    """355."""
    return struct.pack("<HH", soc, soh).hex()


def flow(voltage: float = 52.0, current: float = 10.0, temperature: float = 20.0) -> str:
    """356."""
    return struct.pack("<hhh", round(voltage * 100), round(current * 10), round(temperature * 10)).hex()


def alarms(*bits: tuple[int, int], modules: int = 2) -> str:
    """359, with these bits as (byte, bit)."""
    data = bytearray(7)
    data[4] = modules
    data[5:7] = b"PN"
    for byte, bit in bits:
        data[byte] |= 1 << bit
    return data.hex()


def pylon_set(**changes: str) -> dict[str, str]:
    """A set of Pylon's as keywords for `BusRig.say`; a change replaces or adds a frame."""
    usual = {
        "x359": alarms(),
        "x351": limits(),
        "x355": charge(),
        "x356": flow(),
        "x35C": "c000",
        "x35E": b"PYLON   ".hex(),
    }
    return {**usual, **changes}


def values_of(state: BatteryState) -> dict[str, Any]:
    """What a state says, without what only describes it."""
    return {
        name: value
        for name in type(state).__dataclass_fields__
        if name not in ("address", "derived", "family") and (value := getattr(state, name)) is not None
    }


def said_of(identity: Identity | None) -> dict[str, Any]:
    """What an identity says."""
    if identity is None:
        return {}
    return {name: value for name in Identity.__dataclass_fields__ if (value := getattr(identity, name)) is not None}
