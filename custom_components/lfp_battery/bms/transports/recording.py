"""A line that keeps a record of what passes over it, for bug reports.

A record is text, one JSON object a line: `{"t": seconds since the start, "rx" or "tx": hex}`; the first line says what
was recorded: `{"record": 1, "baudrate": ...}`. It holds what the battery said, serial numbers included, unless it says
`"redacted": true`. Lines may tell more than that, such as the speed.
"""

from collections.abc import Callable, Iterator
import json
from typing import NamedTuple

from ..clock import Clock
from ..errors import FrameError
from . import ByteTransport

_VERSION = 1
_GAP = "left_out"
_LONGEST_LINE = 1_000_000


def record_head(baudrate: int, **more: object) -> str:
    """The first line of a record, without its end."""
    return json.dumps({"record": _VERSION, "baudrate": baudrate, **more})


def record_line(when: float, data: bytes, *, ours: bool, **more: object) -> str:
    """Bytes that passed, `when` in seconds since the record began."""
    return json.dumps({"t": round(when, 3), "tx" if ours else "rx": data.hex(), **more})


def record_gap(count: int) -> str:
    """In place of so many bytes that were left out."""
    return json.dumps({_GAP: count})


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
        write(record_head(transport.baudrate))

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
        self._note(data, ours=True)
        await self._transport.send(data)

    async def receive(self, timeout: float) -> bytes:
        """See `ByteTransport`."""
        data = await self._transport.receive(timeout)
        self._note(data, ours=False)
        return data

    def drain(self) -> bytes:
        """See `ByteTransport`."""
        data = self._transport.drain()
        self._note(data, ours=False)
        return data

    def _note(self, data: bytes, *, ours: bool) -> None:
        if data:
            self._write(record_line(self._clock.monotonic() - self._started, data, ours=ours))


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
        if _GAP in item:
            continue
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
