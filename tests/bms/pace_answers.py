"""Questions and answers of PACE as tests make them, and what is read from them."""

from collections.abc import Sequence
import struct

from custom_components.lfp_battery.bms.model import PackState
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.base import Decoded
from tests.simulator.pylon_wire import encode

RS232 = POLLED["pace-v25"]
RS485 = POLLED["pace-v25-rs485"]
TAIL = bytes.fromhex("4D4E204E204E204E2064CF99FF3B00004740000059D8")  # SOC 77, counters, SOH 100, the rest


def ask(command: int, *, address: int = 1, value: int | None = None) -> bytes:
    """A question."""
    return encode(address, command, b"" if value is None else bytes((value,)), version=0x25)


def answer(info: bytes, *, address: int = 1, code: int = 0, version: int = 0x25) -> bytes:
    """An answer."""
    return encode(address, code, info, version=version)


def record(
    cells: Sequence[int] = (3300,) * 16,
    raw: Sequence[int] = (2930,) * 6,
    *,
    current: int = -225,
    volts: int | None = None,
    items: int = 3,
    capacities: tuple[int, int, int] = (4819, 10346, 10000),
    tail: bytes = b"",
) -> bytes:
    """One record of 42 (section 5)."""
    left, full, design = capacities
    volts = min(sum(cells), 0xFFFF) if volts is None else volts
    values = struct.pack(f">B{len(cells)}HB{len(raw)}H", len(cells), *cells, len(raw), *raw)
    return values + struct.pack(">hHHBHHH", current, volts, left, items, full, 140, design) + tail


def analog(*records: bytes, value: int = 1) -> Decoded:
    """What RS232 makes of these records; of one pack, or of all."""
    asked = value if len(records) == 1 else 0xFF
    info = bytes((0, value if len(records) == 1 else len(records))) + b"".join(records)
    return RS232.decode(ask(0x42, value=asked), answer(info))


def states(
    cells: bytes = bytes(16), sensors: bytes = bytes(6), rest: bytes = bytes(12), *, tail: bytes = b""
) -> PackState:
    """What RS232 makes of one record of 44 (section 6)."""
    info = b"\0\1" + bytes((len(cells),)) + cells + bytes((len(sensors),)) + sensors + rest + tail
    return RS232.decode(ask(0x44, value=1), answer(info)).packs[1]
