"""Answers of a Voltgo pack over Bluetooth, out of what a real one sent."""

from collections.abc import Mapping
import json
import struct
from typing import Any, Final

from custom_components.lfp_battery.bms.model import PackState
from custom_components.lfp_battery.bms.protocols import BLUETOOTH
from custom_components.lfp_battery.bms.protocols.base import Decoded
from tests.bms.captured import CAPTURES
from tests.simulator.modbus import question, sealed

CURRENT: Final = BLUETOOTH["zeta-1006"]
OLDER: Final = BLUETOOTH["zeta-1000"]

CAPTURED: Final[dict[str, dict[str, Any]]] = {
    row["id"]: row for row in json.loads((CAPTURES / "zeta.json").read_text(encoding="utf-8"))["captures"]
}
STATUS: Final = bytes.fromhex(CAPTURED["zt256-41"]["response"])
ASK_STATUS: Final = question(1, 0, 41)
WORDS: Final = struct.unpack(">41H", STATUS[3:-2])


def status(changes: Mapping[int, int] | None = None, count: int = 41) -> bytes:
    """A status with some registers changed."""
    words = list(WORDS)
    for register, word in (changes or {}).items():
        words[register] = word
    return sealed(struct.pack(f">BBB{count}H", 1, 3, 2 * count, *words[:count]))


def decoded(changes: Mapping[int, int] | None = None, count: int = 41, *, older: bool = False) -> Decoded:
    """What such a status says."""
    return (OLDER if older else CURRENT).decode(question(1, 0, count), status(changes, count))


def pack(changes: Mapping[int, int] | None = None, count: int = 41, *, older: bool = False) -> PackState:
    """What such a status says of the pack."""
    return decoded(changes, count, older=older).packs[1]


def of_board(function: int, data: bytes = b"") -> bytes:
    """A question to the board that holds the settings, or its answer (ble.md section 4)."""
    return sealed(bytes((0x10, function, len(data))) + data)


def listed(selected: int, *names: str) -> bytes:
    """Data of a list of protocols."""
    return bytes((selected, len(names))) + b"".join(name.encode().ljust(10, b"\x00") for name in names)
