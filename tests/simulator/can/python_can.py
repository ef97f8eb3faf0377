"""Onto a bus of python-can: what a simulated bus carries is sent there at the true pace, and strangers are counted."""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self, override

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame

from .bus import SimBus, SimPort

if TYPE_CHECKING:
    from can import BusABC


class PythonCanBridge(SimPort):
    """Stands on both buses; needs a simulated one on the real clock and a running event loop.

    Use it as a context: the bus of python-can is opened on entering and shut down on leaving.
    """

    def __init__(self, bus: SimBus, channel: str, interface: str = "virtual") -> None:
        """`interface` and `channel` as python-can has them: virtual (this process) or udp_multicast."""
        super().__init__(bus, None, True)
        self._where = (interface, channel)
        self._other: BusABC | None = None
        self.sent = 0
        self.strangers: list[CanFrame] = []  # what others put on the bus of python-can

    def __enter__(self) -> Self:
        """Open the bus of python-can and pass on from now."""
        import can  # noqa: PLC0415  takes a second, and only these tests need it

        interface, channel = self._where
        self._other = can.Bus(interface=interface, channel=channel, ignore_config=True)
        self.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Pass on no more."""
        self.leave()
        self.listen()
        if self._other is not None:
            self._other.shutdown()
            self._other = None

    @override
    def take(self, frames: Sequence[CanFrame]) -> None:
        """See `SimPort`."""
        from can import Message  # noqa: PLC0415  as above

        if self._other is None:
            return
        for frame in frames:
            extended = bool(frame.id & EXTENDED)
            message = Message(arbitration_id=frame.id & ~EXTENDED, is_extended_id=extended, data=frame.data, check=True)
            self._other.send(message)
            self.sent += 1
        self.listen()

    def listen(self) -> None:
        """Take what others have sent meanwhile."""
        while self._other is not None and (message := self._other.recv(0)) is not None:
            frame_id = message.arbitration_id | (EXTENDED if message.is_extended_id else 0)
            self.strangers.append(CanFrame(id=frame_id, data=bytes(message.data)))
