"""A bank that speaks Pylon on a driven clock, and a master that only knows bytes."""

import asyncio

from custom_components.lfp_battery.bms.clock import DrivenClock
from tests.simulator.bank import SimBank
from tests.simulator.bus import Bus
from tests.simulator.faults import Faults
from tests.simulator.line import MemoryLine
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pylon import Profile, PylonSpeaker
from tests.simulator.pylon_wire import checksum

BYTE_9600 = 10 / 9600


class Bench:
    """A bank on a driven clock, and a master that only knows bytes."""

    def __init__(
        self,
        packs: int | dict[int, SimPack] = 3,
        profile: Profile = Profile.C,
        *,
        baudrate: int = 9600,
        lenient: bool = False,
        spec: PackSpec | None = None,
    ) -> None:
        """Connect everything."""
        self.clock = DrivenClock()
        self.bank = SimBank(packs, self.clock, spec=spec)
        self.speaker = PylonSpeaker(self.bank, profile, lenient=lenient)
        self.bus = Bus(self.speaker, self.clock, baudrate=baudrate, faults=Faults(seed=7))
        self.line = self.bus.open_line(baudrate)

    async def hear(self, seconds: float, line: MemoryLine | None = None) -> bytes:
        """Everything that arrives within so many seconds."""
        heard = bytearray()
        line = line or self.line

        async def listen() -> None:
            while True:
                heard.extend(await line.receive(3600))

        task = asyncio.create_task(listen())
        await self.clock.advance(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return bytes(heard)

    async def ask(self, question: bytes, seconds: float = 3.0) -> bytes:
        """What comes back within `seconds` of a question."""
        if self.bus.port.line is not self.line:
            await self.line.open()
        await self.line.send(question)
        return await self.hear(seconds)


def info(answer: bytes) -> bytes:
    """The payload of an answer, its return code being 00 and its checks right."""
    assert answer.startswith(b"~")
    assert answer.endswith(b"\r")
    assert answer[7:9] == b"00"
    assert int(answer[-5:-1], 16) == checksum(answer[1:-5])
    assert int(answer[9:13], 16) & 0xFFF == len(answer) - 18
    return bytes.fromhex(answer[13:-5].decode())
