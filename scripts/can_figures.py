"""What reading a CAN bus costs: figures for `scripts.bench`."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
import gc
import time
from typing import Final

from cantools.database.can import Database, Message, Signal
from cantools.database.conversion import BaseConversion

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.protocols.base import Decoded
from custom_components.lfp_battery.bms.protocols.can import CAN
from tests.bms.can.site import CanSite
from tests.simulator.can.families import SETS

_CYCLES, _RUNS = 500, 60
_SAME: Final = 1e-6

# One set of a stack of five packs, as captured (can-pylon-ulgh.log: ul-gh/bms_gateway).
_FRAMES: Final = tuple(
    CanFrame(id=frame_id, data=bytes.fromhex(data))
    for frame_id, data in (
        (0x359, "0000000005504E00"),
        (0x351, "330209240924D501"),
        (0x355, "5000640000000000"),
        (0x356, "AB14DFFCCC000000"),
        (0x35C, "C000000000000000"),
        (0x35E, "50594C4F4E000000"),
    )
)
# The same set for cantools: length, and (name, first bit, bits, signed, counts of a unit). It has no text, so that a name
# is a signal a letter, as those do who use a DBC (can.md section 11).
_FLAGS_359: Final = (1, 2, 3, 4, 7, 8, 11, 12, 17, 18, 19, 20, 23, 24, 27, 28)
_FLAGS_35C: Final = (7, 6, 5, 4, 3)
_SIGNALS: Final[dict[int, tuple[int, tuple[tuple[str, int, int, bool, int], ...]]]] = {
    0x351: (
        8,
        (
            ("charge_voltage_limit", 0, 16, False, 10),
            ("charge_current_limit", 16, 16, True, 10),
            ("discharge_current_limit", 32, 16, True, 10),
            ("discharge_voltage_limit", 48, 16, False, 10),
        ),
    ),
    0x355: (8, (("soc", 0, 16, False, 1), ("soh", 16, 16, False, 1))),
    0x356: (8, (("voltage", 0, 16, True, 100), ("current", 16, 16, True, 10), ("temperature", 32, 16, True, 10))),
    0x359: (8, (*((f"flag_{bit}", bit, 1, False, 1) for bit in _FLAGS_359), ("modules", 32, 8, False, 1))),
    0x35C: (8, tuple((f"request_{bit}", bit, 1, False, 1) for bit in _FLAGS_35C)),
    0x35E: (8, tuple((f"letter_{place}", 8 * place, 8, False, 1) for place in range(8))),
}


def _database() -> Database:
    return Database(
        [
            Message(
                frame_id,
                f"M{frame_id:X}",
                length,
                [
                    Signal(
                        name,
                        start,
                        size,
                        is_signed=signed,
                        conversion=BaseConversion.factory(scale=1 / per if per > 1 else 1),
                    )
                    for name, start, size, signed, per in signals
                ],
            )
            for frame_id, (length, signals) in _SIGNALS.items()
        ]
    )


def _best(*works: Callable[[], object]) -> list[float]:
    """Microseconds of one call of each, in the best of some runs; in turn, so that a busy machine is so for all."""
    best = [float("inf")] * len(works)
    gc.collect()
    gc.disable()  # as timeit does: when rubbish is collected depends on what else there is
    try:
        for run in range(_RUNS + 1):
            for place, work in enumerate(works):
                began = time.process_time()
                for _ in range(_CYCLES):
                    work()
                if run:  # the first one warms up
                    best[place] = min(best[place], (time.process_time() - began) / _CYCLES)
    finally:
        gc.enable()
    return [1e6 * seconds for seconds in best]


def decode() -> tuple[float, float]:
    """Microseconds for six frames: to a finished BankState by our family, and to one dict each by cantools."""
    pylon = CAN["pylon"]
    frames = _FRAMES
    database = _database()
    payloads = [(frame.id, frame.data) for frame in frames]

    def ours() -> Decoded:
        return pylon.compose([said for frame in frames if (said := pylon.read(frame)) is not None])

    def theirs() -> None:
        for frame_id, data in payloads:
            database.decode_message(frame_id, data)

    bank = ours().bank
    assert bank is not None
    said = database.decode_message(0x356, frames[3].data)
    assert isinstance(said, dict)
    for name, value in said.items():
        assert isinstance(value, float | int)
        assert abs(getattr(bank, name) - value) < _SAME
    ours_took, theirs_took = _best(ours, theirs)
    return ours_took, theirs_took


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How long one set of frames takes to be known."""

    name: str
    family: str
    found: str | None
    named: float | None  # s until the family was first named; None: never
    seconds: float  # until the report


def listening() -> Iterator[Row]:
    """Every set that the simulator can send."""
    for name, one in SETS.items():
        site = CanSite(name, inverter=True)
        report = asyncio.run(site.listen())
        yield Row(
            name=name, family=one.family, found=report.protocol, named=site.named(one.family), seconds=site.seconds
        )
