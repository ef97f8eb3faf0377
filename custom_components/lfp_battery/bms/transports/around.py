"""What stands around a CAN bus and is one itself: all but what it changes is the bus's own."""

from collections.abc import Sequence

from ..can_frame import CanFrame
from . import CanTransport


class AroundBus:
    """A `CanTransport` that hands everything on."""

    def __init__(self, bus: CanTransport) -> None:
        """Nothing is opened by this."""
        self._bus = bus

    @property
    def name(self) -> str:
        """See `CanTransport`."""
        return self._bus.name

    @property
    def bitrate(self) -> int | None:
        """See `CanTransport`."""
        return self._bus.bitrate

    @property
    def silent(self) -> bool | None:
        """See `CanTransport`."""
        return self._bus.silent

    @property
    def errors(self) -> int:
        """See `CanTransport`."""
        return self._bus.errors

    async def open(self) -> None:
        """See `CanTransport`."""
        await self._bus.open()

    async def close(self) -> None:
        """See `CanTransport`."""
        await self._bus.close()

    async def receive(self, timeout: float) -> Sequence[CanFrame]:
        """See `CanTransport`."""
        return await self._bus.receive(timeout)
