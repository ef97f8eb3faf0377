"""The same commands for a CAN bus: listen, scan, poll, record, replay. Nothing is transmitted by any of them.

Records are logs of `candump -L`, which other tools read as well, without serial numbers.
"""

import argparse
import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final, TextIO

from .bus_capture import redacted
from .can_frame import CanFrame, id_text
from .clients.broadcast import BroadcastClient
from .clock import Clock, SystemClock
from .decoding import plain, reported
from .discovery import Outcome, ScanReport, listen as listen_on
from .errors import LinkError, LinkProblem
from .plausibility import hold_back
from .printing import (
    NonsenseError,
    Printer,
    new_file,
    outcome_words,
    progressed,
    report_found,
    run,
    say,
    show,
    until_done,
)
from .protocols.can import CAN
from .protocols.can.base import BANK, Said
from .protocols.can.detection import Detector, Verdict
from .transports import CanTransport
from .transports.can import open_bus
from .transports.can_address import CanAddress, Interface, Silence, parse_can_address
from .transports.candump import RecordingBus, candump_line, read_candump
from .transports.slcan import RATES as SLCAN_RATES

_RATES: Final = (500_000, 250_000)  # likeliest first (can.md section 2)
_HIGHEST: Final = 1_000_000
_TICK: Final = 1.0  # s
# What is meant for a serial line, and what is said where it is given for a bus.
_NOT_HERE: Final[Mapping[str, str]] = {
    "baud": "the speed of a CAN bus is --bitrate, not --baud",
    "family": "frames say themselves whose they are: leave --family out",
    "quiet": "nothing is asked on a CAN bus: leave --quiet out",
    "address": "a CAN bus has one battery, which says itself what packs it has: leave --address out",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What a command takes for a bus besides its address."""
    parser.add_argument("--can", action="store_true", help="PORT is a CAN bus, or a serial port with an slcan adapter")
    parser.add_argument("--bitrate", type=int, metavar="N", help="of the CAN bus; else 500000 and 250000 are tried")
    parser.add_argument(
        "--acknowledge", action="store_true", help="the battery is alone with the CAN adapter, which must acknowledge"
    )


def wanted(given: argparse.Namespace) -> bool:
    """Whether the port is a CAN bus."""
    prefix, colon, _ = given.port.strip().partition(":")
    named = bool(colon) and prefix.lower() in Interface
    return named or given.can or given.bitrate is not None or given.acknowledge


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bus:
    """Where to listen, and how."""

    address: CanAddress
    bitrate: int | None
    acknowledge: bool

    @property
    def rates(self) -> tuple[int | None, ...]:
        """Bit rates to be tried."""
        if self.bitrate is not None:
            return (self.bitrate,)
        adapter = self.address.adapter
        if not adapter.sets_bitrate:
            return (None,)
        if adapter.silence is not Silence.ENSURED or self.acknowledge:
            raise NonsenseError(
                "at a wrong bit rate this adapter would destroy the frames of others: say which it is, --bitrate 500000"
            )
        return _RATES

    def open(self, bitrate: int | None, clock: Clock) -> CanTransport:
        """A closed transport."""
        return open_bus(self.address, bitrate=bitrate, listen_only=not self.acknowledge, clock=clock)


def _bus(given: argparse.Namespace) -> _Bus:
    for name, text in _NOT_HERE.items():
        if getattr(given, name, None) is not None:
            raise NonsenseError(text)
    protocol = getattr(given, "protocol", None)
    if protocol is not None and protocol not in CAN:
        raise NonsenseError(f"{protocol} is spoken on serial lines; on a CAN bus there are {', '.join(CAN)}")
    try:
        address = parse_can_address(given.port)
    except LinkError as err:
        if err.problem is LinkProblem.CREDENTIALS:
            raise NonsenseError("an address must not hold a password") from None
        why = f": {err.detail}" if err.detail else ""
        raise NonsenseError(f"{given.port!r} is not the address of a CAN bus{why}") from None
    adapter = address.adapter
    if given.bitrate is not None:
        if not adapter.sets_bitrate:
            raise NonsenseError(f"the bit rate of {address} is set where it is brought up: leave --bitrate out")
        if not 0 < given.bitrate <= _HIGHEST:
            raise NonsenseError(f"{given.bitrate} is not the bit rate of a CAN bus: most are 500000")
        if address.interface is Interface.SLCAN and given.bitrate not in SLCAN_RATES:
            rates = ", ".join(map(str, SLCAN_RATES))
            raise NonsenseError(f"an slcan adapter has no bit rate {given.bitrate}, only {rates}")
    if given.acknowledge and adapter.silence is Silence.OUTSIDE:
        raise NonsenseError(f"whether {address} acknowledges is set where it is brought up: leave --acknowledge out")
    if adapter.silence is Silence.NEVER and not given.acknowledge:
        rate = "" if given.bitrate is not None else ", at the bit rate that you name, as --bitrate 500000"
        raise NonsenseError(f"{address} acknowledges whatever it hears: if it may, say --acknowledge{rate}")
    return _Bus(address=address, bitrate=given.bitrate, acknowledge=given.acknowledge)


# --- making sense of frames ------------------------------------------------------------------------------------------


class _Overheard:
    """Says of frames what they are, as far as is known by then."""

    def __init__(self) -> None:
        self.verdict = Verdict()
        self._detector = Detector()
        self._last: dict[int, CanFrame] = {}  # of each id, oldest first

    def feed(self, frame: CanFrame, at: float) -> Iterator[dict[str, Any]]:
        """A frame, heard `at` (s); before it, what the bus is, where that has changed."""
        self._detector.hear(frame, at)
        before, self.verdict = self.verdict, self._detector.verdict(at)
        if self.verdict != before:
            yield self._bus()
        if any(frame.id in one.ids for one in CAN.values()):
            self._last.pop(frame.id, None)
            self._last[frame.id] = frame
        said = self._read(frame)
        yield {"id": id_text(frame.id), "data": frame.data.hex(), **(_says(said) if said is not None else {})}

    def hide(self, frame: CanFrame, at: float) -> CanFrame:
        """The frame as it may be written down."""
        self._detector.hear(frame, at)
        self.verdict = self._detector.verdict(at)
        return redacted(frame, self.verdict.family if self.verdict.settled else None)

    def _bus(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            "kind": "bus",
            "family": verdict.family,
            "settled": verdict.settled,
            "inverter": verdict.inverter,
            "hint": verdict.hint.value if verdict.hint is not None else None,
        }

    def _read(self, frame: CanFrame) -> Said | None:
        family = CAN.get(self.verdict.family or "")
        return family.read(frame) if family is not None else None

    def summary(self) -> Iterator[dict[str, Any]]:
        """What all of it comes to."""
        yield self._bus()
        if (family := CAN.get(self.verdict.family or "")) is None:
            return
        decoded = family.compose([said for frame in self._last.values() if (said := family.read(frame)) is not None])
        if decoded.bank is not None:
            bank, held_back = hold_back(decoded.bank)
            who = decoded.identities.get(BANK)
            yield {
                "kind": "bank",
                "state": reported(bank),
                "identity": reported(who) if who is not None else {},
                "info": plain(decoded.info),
                "held_back": held_back,
            }
        for address, state in decoded.packs.items():
            pack, held_back = hold_back(state)
            who = decoded.identities.get(address)
            yield {
                "kind": "pack",
                "address": address,
                "state": reported(pack),
                "identity": reported(who) if who is not None else {},
                "held_back": held_back,
            }


def _says(said: Said) -> dict[str, Any]:
    says: dict[str, Any] = plain({**said.values, **said.identity, **said.info})
    return {"says": says} if said.pack is None else {"pack": said.pack, "says": says}


# --- the commands ----------------------------------------------------------------------------------------------------


async def _hear(bus: CanTransport, seconds: float | None, each: Callable[[CanFrame], None]) -> None:
    """Everything that a bus carries, for so long."""
    loop = asyncio.get_running_loop()
    end = None if seconds is None else loop.time() + seconds
    await bus.open()
    rate = f" at {bus.bitrate} bit/s" if bus.bitrate is not None else ""
    say(f"listening on {bus.name}{rate}; no frame is sent")
    heard = False
    try:
        while (left := _TICK if end is None else end - loop.time()) > 0:
            for frame in await bus.receive(min(left, _TICK)):
                heard = True
                each(frame)
    finally:
        if bus.errors:
            say(f"there were {bus.errors} errors on the bus: the bit rate may be another one")
        elif not heard:
            say("nothing came: no frame was on the bus")
        await bus.close()


def listen(given: argparse.Namespace) -> int:
    """Show every frame and what it says."""
    where = _bus(given)
    clock = SystemClock()
    overheard = _Overheard()
    started = clock.monotonic()

    def each(frame: CanFrame) -> None:
        at = clock.monotonic()
        for item in overheard.feed(frame, at):
            show(t=round(at - started, 3), **item)

    return run(_hear(where.open(where.rates[0], clock), given.seconds, each))


async def _find(where: _Bus, clock: Clock, known: str | None) -> ScanReport:
    return await listen_on(
        lambda bitrate: where.open(bitrate, clock),
        clock=clock,
        rates=where.rates,
        known=known,
        on_progress=progressed,
    )


def scan(given: argparse.Namespace) -> int:
    """Find out whose frames they are."""
    where = _bus(given)

    async def work(file: TextIO | None) -> int:
        report = await _find(where, SystemClock(), given.protocol)
        if file is not None:
            file.write(report.capture or "")
        return report_found(report)

    with new_file(given.capture) if given.capture is not None else nullcontext() as file:
        return run(work(file))


type _Wrap = Callable[[CanTransport], CanTransport]


async def _follow(where: _Bus, given: argparse.Namespace, clock: Clock, wrap: _Wrap, seconds: float | None) -> int:
    family, bitrate = given.protocol, where.rates[0]
    if family is None or len(where.rates) > 1:
        report = await _find(where, clock, family)
        if report.outcome is not Outcome.FOUND or report.protocol is None:
            raise NonsenseError(outcome_words(report))
        family, bitrate = report.protocol, report.baudrate if where.address.adapter.sets_bitrate else None
    printer = Printer(clock, given.cycles, asyncio.Event())
    client = BroadcastClient(
        wrap(where.open(bitrate, clock)), CAN[family], clock=clock, listener=printer, interval=given.interval
    )
    return await until_done(client, printer, seconds)


def poll(given: argparse.Namespace) -> int:
    """Show what the battery says, again and again."""
    return run(_follow(_bus(given), given, SystemClock(), lambda bus: bus, None))


def record(given: argparse.Namespace) -> int:
    """Write down what the bus carries."""
    where = _bus(given)
    rate = where.rates[0]
    clock = SystemClock()
    overheard = _Overheard()
    with new_file(given.file) as file:

        def write(when: float, frame: CanFrame) -> None:
            file.write(f"{candump_line(when, overheard.hide(frame, when))}\n")
            file.flush()

        def wrap(bus: CanTransport) -> CanTransport:
            return RecordingBus(bus, clock, write)

        if given.poll:
            return run(_follow(where, given, clock, wrap, given.seconds))
        return run(_hear(wrap(where.open(rate, clock)), given.seconds, lambda _: None))


def observe(given: argparse.Namespace) -> int:
    """Say that this is what `poll` does."""
    raise NonsenseError("on a CAN bus nobody asks and everybody listens: `poll` shows what the battery says")


def replay(lines: Iterator[str]) -> int:
    """Show what a log of candump -L says, and in the end what it comes to.

    Raises:
        FrameError: see `read_candump`.
    """
    overheard = _Overheard()
    for passed in read_candump(lines):
        for item in overheard.feed(passed.frame, passed.when):
            show(t=passed.when, **item)
    for item in overheard.summary():
        show(**item)
    return 0
