"""Bytes and frames in and out; nothing here knows what they mean.

Wire libraries are imported by the module that needs them, when its transport is first opened.
"""

from typing import Protocol


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
