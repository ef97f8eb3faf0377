"""A battery of another maker under the same advert (ble.md section 2): JBD boards are seen with 0xFF00 and A4:C1:37."""

from typing import Final, override

from ..ledger import Ledger
from ..speaker import Disguise, Reply
from .air import Air
from .server import GattPack, Profile

JBD_PROFILE: Final = Profile(service=0xFF00, write=0xFF02, notify=0xFF01, advertised=0xFF00)
# captures jbd-info and jbd-cells
_ANSWERS: Final = {
    bytes.fromhex("dda50300fffd77"): bytes.fromhex(
        "dd03001d0618fee101f201f4002a2c7c00000000000080640304030b8b0b8a0b84f88477"
    ),
    bytes.fromhex("dda50400fffc77"): bytes.fromhex("dd0400080d660d610d680d59fe3c77"),
}


class JbdSpeaker(Ledger):
    """Answers two questions of another protocol, and none of ours; implements `Speaker`."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        super().__init__()
        self.received: list[bytes] = []  # whatever was written

    @override
    def feed(self, data: bytes, now: float) -> list[Reply]:
        """See `Speaker`."""
        self.received.append(data)
        return [Reply(_ANSWERS[data], request=data)] if data in _ANSWERS else []

    @override
    def disguise(self, reply: Reply, disguise: Disguise) -> bytes:
        """See `Speaker`."""
        return reply.data[:-2] + bytes((reply.data[-2] ^ 0x55, reply.data[-1]))

    @override
    def reset(self) -> None:
        """See `Speaker`."""


def jbd_pack(air: Air, address: str = "A4:C1:37:00:0B:AD", name: str = "GJ-25.6V200AH-0006") -> GattPack:
    """A board that looks like one of ours until its services are read."""
    return GattPack(air, address, name, JbdSpeaker(), profile=JBD_PROFILE)
