"""A line that keeps a record of what passes over it, for bug reports.

A record is text, one JSON object a line: `{"t": seconds since the start, "rx" or "tx": hex}`; the first line says what
was recorded: `{"record": 1, "baudrate": ...}`. It holds what the battery said, serial numbers included.
"""

from collections.abc import Callable, Iterator
import json
from typing import NamedTuple

from ..clock import Clock
from ..errors import FrameError
from . import ByteTransport

_VERSION = 1
_LONGEST_LINE = 1_000_000


class Passed(NamedTuple):
    """Bytes that passed over a line."""

    when: float  # seconds since the record began
    ours: bool  # sent by us
    data: bytes


class RecordingTransport:
    """Passes everything on and writes it down; implements `ByteTransport`."""

    def __init__(self, transport: ByteTransport, clock: Clock, write: Callable[[str], None]) -> None:
        """`write` takes one line of the record, without its end."""
        self._transport = transport
        self._clock = clock
        self._write = write
        self._started = clock.monotonic()
        write(json.dumps({"record": _VERSION, "baudrate": transport.baudrate}))

    @property
    def name(self) -> str:
        """See `ByteTransport`."""
        return self._transport.name

    @property
    def baudrate(self) -> int:
        """See `ByteTransport`."""
        return self._transport.baudrate

    async def open(self) -> None:
        """See `ByteTransport`."""
        await self._transport.open()

    async def close(self) -> None:
        """See `ByteTransport`."""
        await self._transport.close()

    async def send(self, data: bytes) -> None:
        """See `ByteTransport`."""
        self._note("tx", data)
        await self._transport.send(data)

    async def receive(self, timeout: float) -> bytes:
        """See `ByteTransport`."""
        data = await self._transport.receive(timeout)
        self._note("rx", data)
        return data

    def drain(self) -> bytes:
        """See `ByteTransport`."""
        data = self._transport.drain()
        self._note("rx", data)
        return data

    def _note(self, direction: str, data: bytes) -> None:
        if data:
            elapsed = round(self._clock.monotonic() - self._started, 3)
            self._write(json.dumps({"t": elapsed, direction: data.hex()}))


def read_record(lines: Iterator[str]) -> Iterator[Passed]:
    """What a record holds; a record that was cut short gives what is whole.

    Raises:
        FrameError: this is not a record, or a line of it is not one.
    """
    head = _object(next(lines, ""))
    if head.get("record") != _VERSION:
        raise FrameError("not a record of this program")
    for line in lines:
        if not line.endswith("\n") and not line.rstrip().endswith("}"):
            return
        item = _object(line)
        when, ours = item.get("t"), "tx" in item
        text = item.get("tx" if ours else "rx")
        if not isinstance(when, int | float) or not isinstance(text, str):
            raise FrameError("a line of the record lacks its time or its bytes")
        try:
            yield Passed(float(when), ours, bytes.fromhex(text))
        except ValueError as err:
            raise FrameError("a line of the record is not hex") from err


def _object(line: str) -> dict[str, object]:
    if len(line) > _LONGEST_LINE:
        raise FrameError("a line of the record is too long")
    try:
        item = json.loads(line)
    except ValueError as err:
        raise FrameError("a line of the record is not JSON") from err
    if not isinstance(item, dict):
        raise FrameError("a line of the record is not an object")
    return item
