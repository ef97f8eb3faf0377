"""What reading a bank costs, printed: the cycle and what it is made of, the decoder, the age of a reading.

Figures of one run on one machine; compare them with each other, not with other runs.
"""

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
import subprocess
import sys
import time
from typing import Any

from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.clock import Clock, DrivenClock, SystemClock
from custom_components.lfp_battery.bms.errors import LinkError
from custom_components.lfp_battery.bms.model import BankState, CycleReport, PackState, PollReport
from custom_components.lfp_battery.bms.plausibility import Gate
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.transports import ByteTransport
from custom_components.lfp_battery.bms.transports.serial import SerialTransport
from tests.bms import matrix
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.bus import BITS_PER_BYTE, Bus
from tests.simulator.modbus import ModbusSpeaker
from tests.simulator.modbus_growatt import Dialect, GrowattMap
from tests.simulator.pty_line import PtyLine
from tests.simulator.pylon import PylonSpeaker
from tests.simulator.zeta import ZetaSpeaker

from . import can_figures, energy_figures

_TURNAROUND = 0.075  # s, measured with US2KBPL (pylon-rs485.md section 8)
_PACKS = 14
_BAUD = 9600
_BOUND = 1.05  # of wire, turn-round and pauses
_FOUND, _FOUND_AGAIN = 30.0, 3.0  # s, of a scan
_COMPARED = (3, 10, 13, 19)  # hours that are spent in other ways too: night, sun, a full bank, evening
_JUDGED = 3.0  # times as long as decoding a reading may take to judge it; measured 1.6: 13 us to 8


@dataclass(slots=True)
class Listener:
    """Notes when each cycle ended and how old each pack's reading had become when the next one came."""

    clock: Clock
    cycles: list[tuple[float, CycleReport]] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    _last: dict[int, float] = field(default_factory=dict)

    def pack_polled(self, report: PollReport[PackState]) -> None:
        """See `ClientListener`."""
        assert report.received is not None
        if (before := self._last.get(report.address)) is not None:
            self.ages.append(report.received - before)
        self._last[report.address] = report.received

    def bank_polled(self, report: PollReport[BankState]) -> None:
        """See `ClientListener`."""

    def cycle_finished(self, report: CycleReport) -> None:
        """See `ClientListener`."""
        self.cycles.append((self.clock.monotonic(), report))

    def link_changed(self, error: LinkError | None) -> None:
        """See `ClientListener`."""

    def other_master(self, protocol: str | None = None) -> None:
        """See `ClientListener`."""

    def family_changed(self, name: str) -> None:
        """See `ClientListener`."""

    def unacknowledged(self, active: bool) -> None:
        """See `ClientListener`."""


def _row(name: str, value: float, unit: str, note: str = "") -> None:
    print(f"  {name:<34}{value:>10.3f} {unit:<4}{note}")


async def _cycle(transport: ByteTransport, bus: Bus, clock: Clock, pass_time: Callable[[float], object]) -> bool:
    """Measure one settled cycle of the whole bank; whether it keeps its bound."""
    listener = Listener(clock)
    client = PolledClient(
        transport, POLLED["pylon-rs485"], clock=clock, listener=listener, addresses=range(2, 2 + _PACKS)
    )
    task = asyncio.create_task(client.run())

    async def finished(count: int) -> None:
        while len(listener.cycles) < count:
            result = pass_time(0.05)
            if asyncio.iscoroutine(result):
                await result
            if task.done():
                task.result()

    await finished(2)  # the first one reads identity and limits of every pack
    listener.ages.clear()
    before = client.diagnostics()["traffic"]
    await finished(4)
    after = client.diagnostics()["traffic"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    cycle = (listener.cycles[2][1].seconds + listener.cycles[3][1].seconds) / 2
    requests = (after["requests"] - before["requests"]) / 2
    wire = (after["sent"] + after["received"] - before["sent"] - before["received"]) / 2 * BITS_PER_BYTE / _BAUD
    turnround = requests * _TURNAROUND
    pauses = (after["paused"] - before["paused"]) / 2
    floor = wire + turnround + pauses
    ok = cycle <= _BOUND * floor
    _row("cycle, first (identity, limits)", listener.cycles[0][1].seconds, "s")
    _row("cycle", cycle, "s", f" {cycle / floor:.3f} x the sum below, bound {_BOUND}: {'kept' if ok else 'BROKEN'}")
    _row("wire", wire, "s", f" {requests:g} requests, mean of two cycles")
    _row("turn-round", turnround, "s", f" {1000 * _TURNAROUND:.0f} ms a request")
    _row("pauses", pauses, "s")
    _row("oldest reading when renewed", max(listener.ages), "s", " from one reading of a pack to its next")
    return bool(ok)


async def _on_driven_clock() -> bool:
    clock = DrivenClock()
    bus = Bus(PylonSpeaker(SimBank(_PACKS, clock)), clock, baudrate=_BAUD, turnaround=_TURNAROUND)
    return await _cycle(bus.open_line(_BAUD), bus, clock, clock.advance)


async def _on_pty() -> bool:
    clock = SystemClock()
    bus = Bus(PylonSpeaker(SimBank(_PACKS, clock)), clock, baudrate=_BAUD, turnaround=_TURNAROUND)
    line = PtyLine(bus)
    line.start()
    try:
        return await _cycle(SerialTransport(str(line.path), _BAUD, clock=clock), bus, clock, asyncio.sleep)
    finally:
        line.stop()


def _decode() -> bool:
    """Bytes of a 16-cell answer to a finished state, and a reading judged; whether the second keeps its bound."""
    clock = DrivenClock()
    protocol = POLLED["pylon-rs485"]
    poll = protocol.polls[0]
    speaker = PylonSpeaker(SimBank(1, clock))
    request = poll.request(2)
    frame = speaker.feed(request, 0.0)[0].data
    (reading,) = protocol.decode(request, frame).packs.values()
    gate: Gate[PackState] = Gate(weak_check=True)
    gate.admit(reading, reading)

    def judge() -> None:
        gate.needs_second_reading(reading)
        gate.admit(reading)

    # in turn, so that a busy machine is so for both
    runs = [(_timed(lambda: protocol.decode(request, frame)), _timed(judge)) for _ in range(20)]
    decoding, judging = (min(run[place] for run in runs) for place in (0, 1))
    ok = judging <= _JUDGED * decoding
    _row("decode, 16 cells, to PackState", decoding, "us", f" {len(frame)} characters")
    _row("judge a reading of 16 cells", judging, "us")
    _row("ratio", judging / decoding, "", f" bound {_JUDGED:g}: {'kept' if ok else 'BROKEN'}")
    return ok


def _decode_registers() -> None:
    """Register maps: one status block each, to the state of a pack or of the bank."""
    clock = DrivenClock()
    zeta = ZetaSpeaker(SimBank(make_packs(1, first=1), clock))
    growatt = ModbusSpeaker(SimBank(make_packs(3, first=1), clock), GrowattMap(Dialect.ZT))
    for name, speaker in (("zeta-1006", zeta), ("growatt-rs485", growatt)):
        protocol = POLLED[name]
        request = protocol.polls[0].request(1)
        frame = speaker.feed(request, 0.0)[0].data
        microseconds = min(_timed(partial(protocol.decode, request, frame)) for _ in range(5))
        _row(f"decode a status block, {name}", microseconds, "us", f" {len(frame)} bytes")


def _timed(work: Callable[[], object]) -> float:
    """Microseconds of one call, mean of a thousand."""
    began = time.perf_counter()
    for _ in range(1000):
        work()
    return (time.perf_counter() - began) / 1000 * 1e6


def _scans() -> bool:
    """Seconds of a scan for every row of the matrix; whether all are found within the bounds."""
    print("  seconds until the protocol is named / until every pack is read; nothing known, family named, known port")
    print(f"  {'family':<9}{'protocol':<28}{'baud':>6}{'packs':>6}{'nothing':>14}{'family':>14}{'known':>14}")
    ok = True
    for row, count in matrix.cases():
        columns = []
        ways: tuple[tuple[dict[str, Any], float, float], ...] = (
            ({}, _FOUND, _FOUND),
            ({"family": row.family}, _FOUND, _FOUND),
            ({"known": (row.protocol, row.baudrate)}, _FOUND_AGAIN, _FOUND),
        )
        for how, until_named, until_read in ways:
            report, named, seconds = asyncio.run(matrix.Site(row, count).scan(**how))
            ok &= report.protocol == row.protocol and named <= until_named and seconds <= until_read
            columns.append(f"{named:.1f} / {seconds:.1f}")
        print(f"  {row.family:<9}{row.protocol:<28}{row.baudrate:>6}{count:>6}{''.join(f'{c:>14}' for c in columns)}")
    return ok


def _decode_can() -> bool:
    """Six frames of a bank to its finished state, against cantools; whether it is not slower."""
    ours, theirs = can_figures.decode()
    ok = ours <= theirs
    _row("decode, 6 CAN frames, to BankState", ours, "us")
    _row("the same frames by cantools, to dicts", theirs, "us")
    _row("ratio", ours / theirs, "", f" bound 1: {'kept' if ok else 'BROKEN'}")
    return ok


def _listening() -> bool:
    """Seconds until the family of every set of frames is named, and until the report; whether all are named right."""
    print(f"  {'frames':<22}{'family':<18}{'named':>8}{'report':>8}")
    ok = True
    for row in can_figures.listening():
        ok &= row.found == row.family
        named = f"{row.named:.1f}" if row.named is not None else "-"
        print(f"  {row.name:<22}{row.found or 'nothing':<18}{named:>8}{row.seconds:>8.1f}")
    return ok


def _home() -> bool:
    """Days of a whole Home Assistant; in a process of its own, because it takes the clock over."""
    sys.stdout.flush()
    hours = map(str, _COMPARED)
    done = subprocess.run([sys.executable, "-m", "scripts.long_day", "--beside", *hours], check=False)
    return done.returncode == 0


def main() -> int:
    """Print everything; 1 when a bound is broken."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="also how long a scan takes, for every family and protocol")
    parser.add_argument(
        "--home", action="store_true", help="also days of a whole Home Assistant, about a quarter of an hour"
    )
    parser.add_argument("--energy", action="store_true", help="energy over a month instead of a day, some minutes")
    arguments = parser.parse_args()
    print(f"{_PACKS} packs at {_BAUD} baud, analog and alarms every cycle; in-memory line, simulated time")
    ok = asyncio.run(_on_driven_clock())
    print(f"{_PACKS} packs at {_BAUD} baud, analog and alarms every cycle; pseudo terminal, real time")
    ok &= asyncio.run(_on_pty())
    print("decoder, this machine")
    ok &= _decode()
    ok &= _decode_can()
    _decode_registers()
    print("energy of 14 packs over restarts and damaged answers, simulated time")
    ok &= energy_figures.show(long=arguments.energy)
    if arguments.full:
        print(f"scans, simulated time: found within {_FOUND:g} s, named again within {_FOUND_AGAIN:g} s")
        ok &= _scans()
        print("listening on a CAN bus, simulated time, in seconds")
        ok &= _listening()
    if arguments.home:
        ok &= _home()
    print("bench: every bound is kept" if ok else "bench: a bound is BROKEN")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
