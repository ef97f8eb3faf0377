"""Bytes and frames in and out; nothing here knows what they mean.

Wire libraries are imported by the module that needs them, when its transport is first opened.
"""

from collections.abc import Sequence
from typing import Protocol

from ..can_frame import CanFrame
from ..gatt_profile import GattProfile


class ByteTransport(Protocol):
    """A line that carries bytes: a serial port, a socket to one, or a simulated one.

    Every failure is a `LinkError`. After one, the transport is closed and may be opened again.
    """

    @property
    def name(self) -> str:
        """The line as shown to a person; holds no credentials."""

    @property
    def baudrate(self) -> int:
        """Bits a second; what a URL without a speed of its own was asked for."""

    async def open(self) -> None:
        """Open the line exclusively."""

    async def close(self) -> None:
        """Give the line back. Never raises; harmless when closed."""

    async def send(self, data: bytes) -> None:
        """Write all of `data`."""

    async def receive(self, timeout: float) -> bytes:
        """Return what has arrived as soon as there is something, or b"" after `timeout` seconds."""

    def drain(self) -> bytes:
        """Take what has arrived without waiting."""


class GattTransport(ByteTransport, Protocol):
    """A connection to one Bluetooth LE device; its `baudrate` is what the slowest connection carries."""

    @property
    def profile(self) -> GattProfile | None:
        """Which of the wanted profiles the device has; None until it was connected once."""


class CanTransport(Protocol):
    """A CAN bus that is listened to. Nothing here can send a frame.

    Every failure is a `LinkError`. After one, the transport is closed and may be opened again.
    """

    @property
    def name(self) -> str:
        """The bus as shown to a person; holds no credentials."""

    @property
    def bitrate(self) -> int | None:
        """Bits a second; None where somebody else sets it."""

    @property
    def silent(self) -> bool | None:
        """Whether the adapter keeps quiet on the bus, acknowledging nothing; None where that is not for us to know."""

    @property
    def errors(self) -> int:
        """Error frames and what could not be read since the bus was first opened: a wrong bit rate shows here."""

    async def open(self) -> None:
        """Open the bus."""

    async def close(self) -> None:
        """Give the bus back. Never raises; harmless when closed."""

    async def receive(self, timeout: float) -> Sequence[CanFrame]:
        """Return the data frames that have arrived as soon as there are any, or none after `timeout` seconds."""
