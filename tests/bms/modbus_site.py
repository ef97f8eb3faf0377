"""What tests of register maps share: captures, questions about simulated registers, and a line with a client on it."""

import asyncio
from collections.abc import Iterator, Mapping
import json
import struct
from typing import Any

from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.protocols import DECODERS, POLLED
from custom_components.lfp_battery.bms.protocols.base import Decoded, Poll
from tests.simulator.bank import SimBank, Steady
from tests.simulator.bus import Bus
from tests.simulator.modbus import ModbusSpeaker, RegisterMap, question, sealed
from tests.simulator.pack import SimPack

from .captured import CAPTURES
from .rig import Told


def captured(protocol: str) -> list[dict[str, Any]]:
    """Exchanges with real batteries that must decode, or be refused, in this protocol."""
    rows = json.loads((CAPTURES / "modbus-packs.json").read_text(encoding="utf-8"))["captures"]
    return [row for row in rows if row["protocol"] == protocol]


def conditions(protocol: str) -> list[dict[str, Any]]:
    """What every bit and code of this map means."""
    rows = json.loads((CAPTURES / "modbus-conditions.json").read_text(encoding="utf-8"))["rows"]
    return [row for row in rows if row["protocol"] == protocol]


def answer(unit: int, words: list[int]) -> bytes:
    """A Modbus answer."""
    return sealed(struct.pack(f">BBB{len(words)}H", unit, 3, 2 * len(words), *words))


def window(
    protocol: str, words: Mapping[int, int], *, unit: int = 1, first: int | None = None, count: int = 0
) -> Decoded:
    """Decode an answer that holds these registers, from `first` on so many; what is not given is 0."""
    first = min(words) if first is None else first
    count = count or max(words) - first + 1
    held = [words.get(register, 0) for register in range(first, first + count)]
    return DECODERS[protocol].decode(question(unit, first, count), answer(unit, held))


def all_polls(protocol: str) -> Iterator[Poll]:
    """Every question that is ever asked in a protocol, those that stand in for others included."""
    left = list(POLLED[protocol].polls)
    while left:
        poll = left.pop()
        yield poll
        left += poll.fallback


class Site:
    """Simulated packs with these registers on a line, and a client that reads them."""

    def __init__(
        self,
        registers: RegisterMap,
        protocol: str,
        packs: Mapping[int, SimPack],
        *,
        addresses: list[int] | None = None,
        rate: float = 0.1,
        **how: Any,
    ) -> None:
        """`rate`: share of the capacity an hour, positive while charging. `how`: see `ModbusSpeaker`."""
        self.clock = DrivenClock()
        self.bank = SimBank(packs, self.clock, profile=Steady(rate=rate))
        self.speaker = ModbusSpeaker(self.bank, registers, **how)
        self.bus = Bus(self.speaker, self.clock)
        self.told = Told(self.clock)
        self.client = PolledClient(
            self.bus.open_line(9600),
            POLLED[protocol],
            clock=self.clock,
            listener=self.told,
            addresses=list(packs) if addresses is None else addresses,
        )

    async def read(self, seconds: float) -> Told:
        """Let the client read for so long."""
        task = asyncio.create_task(self.client.run())
        await self.clock.advance(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not self.speaker.forbidden
        return self.told

    def asked(self) -> set[tuple[int, int]]:
        """First register and count of everything that was asked."""
        return {struct.unpack(">HH", request[2:6]) for _, request in self.bus.requests}
