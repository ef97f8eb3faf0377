"""The commands that touch a line: listen, observe, scan, poll, record, replay. For bring-up and bug reports.

Results are JSON lines on standard output, words for the person go to standard error. Nothing but `scan`, `poll` and
`record --poll` transmits, and they only ask; on a CAN bus (`bringup_can`) nothing does.
"""

import argparse
import asyncio
from collections.abc import Callable, Collection, Iterator
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from . import bringup_can
from .catalog import FAMILIES
from .clients.listening import ListeningClient
from .clients.polled import PolledClient
from .clock import Clock, SystemClock
from .decoding import plain, reported
from .discovery import Outcome, ScanReport, scan
from .errors import BmsError
from .printing import Printer, progressed, report_found, run, say, show, until_done
from .protocols import POLLED, PROTOCOLS
from .protocols.base import Splitter
from .protocols.can import CAN
from .transports import ByteTransport
from .transports.candump import looks_like_candump
from .transports.recording import RecordingTransport, read_record
from .transports.serial import SerialTransport

_DEFAULT_BAUD = 9600
_WATCH = 60.0  # s of listening until `observe` gives up finding a conversation


# --- arguments -------------------------------------------------------------------------------------------------------


def _port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "port", metavar="PORT", help="a path, a URL such as socket://gateway:8899, or a CAN bus such as socketcan:can0"
    )
    bringup_can.arguments(parser)


def _protocol(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), metavar="NAME", help=text)


def _seconds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after so long; without it, on Ctrl-C")


def listen_arguments(parser: argparse.ArgumentParser) -> None:
    """What `listen` takes."""
    _port(parser)
    parser.add_argument("--baud", type=int, metavar="N", help=f"{_DEFAULT_BAUD} without it")
    _seconds(parser)


def _search(parser: argparse.ArgumentParser) -> None:
    """Where to look, for whatever begins with a scan."""
    _port(parser)
    _protocol(parser, "try only this one; on CAN, what was there the last time")
    parser.add_argument("--baud", type=int, metavar="N", help="try only this speed")
    parser.add_argument("--family", choices=[family.key for family in FAMILIES], help="what to try first")
    parser.add_argument("--quiet", type=float, metavar="N", help="seconds of silence before anything is asked")


def scan_arguments(parser: argparse.ArgumentParser) -> None:
    """What `scan` takes."""
    _search(parser)
    parser.add_argument("--listen-only", action="store_true", help="only say who else asks; transmits nothing")
    parser.add_argument(
        "--capture", type=Path, metavar="FILE", help="a new file for what was heard, without serial numbers"
    )


def observe_arguments(parser: argparse.ArgumentParser) -> None:
    """What `observe` takes."""
    _port(parser)
    _protocol(parser, "what the other master asks in; else it is found out")
    parser.add_argument("--baud", type=int, metavar="N", help=f"{_DEFAULT_BAUD} without it")
    parser.add_argument("--address", type=int, action="append", metavar="N", help="a pack; may be given again")
    _seconds(parser)


def poll_arguments(parser: argparse.ArgumentParser) -> None:
    """What `poll` takes."""
    _search(parser)
    parser.add_argument("--address", type=int, action="append", metavar="N", help="a pack; may be given again")
    parser.add_argument("--interval", type=float, metavar="N", help="seconds from cycle to cycle")
    parser.add_argument("--cycles", type=int, metavar="N", help="stop after so many")


def record_arguments(parser: argparse.ArgumentParser) -> None:
    """What `record` takes."""
    poll_arguments(parser)
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a new file; of a serial line it will hold serial numbers"
    )
    parser.add_argument("--poll", action="store_true", help="ask the packs; without it nothing is transmitted")
    _seconds(parser)


def replay_arguments(parser: argparse.ArgumentParser) -> None:
    """What `replay` takes."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what `record` wrote, or a log of candump -L")


type _Run = Callable[[argparse.Namespace], int]


def _or_on_bus(command: _Run) -> Callable[[_Run], _Run]:
    """What is run instead where the port is a CAN bus."""

    def wrap(on_line: _Run) -> _Run:
        @wraps(on_line)
        def choose(arguments: argparse.Namespace) -> int:
            if bringup_can.wanted(arguments):
                return command(arguments)
            if (name := getattr(arguments, "protocol", None)) in CAN:
                say(f"{name} is broadcast on a CAN bus: say which one, such as socketcan:can0, or add --can")
                return 1
            return on_line(arguments)

        return choose

    return wrap


# --- listen and replay -----------------------------------------------------------------------------------------------


class _Overheard:
    """Makes sense of bytes in whatever protocol they are."""

    def __init__(self) -> None:
        self._splitters: dict[str, Splitter] = {name: protocol.splitter() for name, protocol in POLLED.items()}
        self._asked: dict[str, bytes] = {}

    def ask(self, question: bytes) -> dict[str, Any]:
        """A question that is known to be one because it is ours; what follows is its answer."""
        for name, protocol in POLLED.items():
            self._asked[name] = question
            self._splitters[name] = protocol.splitter(question)
        return {"request": question.hex()}

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """What these bytes complete: each frame once, as the protocol that it fits best."""
        frames: dict[bytes, list[str]] = {}
        for name, splitter in self._splitters.items():
            for frame in splitter.feed(data):
                frames.setdefault(frame, []).append(name)
        for frame, names in frames.items():
            if asking := [name for name in names if POLLED[name].is_request(frame)]:
                self._asked |= dict.fromkeys(asking, frame)
                yield {"protocol": asking[0], "request": frame.hex()}
            else:
                yield self._answer(frame, names)

    def _answer(self, frame: bytes, names: list[str]) -> dict[str, Any]:
        reason = ""
        for name in sorted(names, key=lambda name: not self._fits(name, frame)):
            try:
                decoded = POLLED[name].decode(self._asked.get(name), frame)
            except BmsError as err:
                reason = reason or str(err)
                continue
            return {
                "protocol": name,
                "frame": frame.hex(),
                "packs": {address: reported(state) for address, state in decoded.packs.items()},
                "bank": reported(decoded.bank) if decoded.bank else None,
                "info": plain(decoded.info),
            }
        return {"frame": frame.hex(), "reason": reason}

    def _fits(self, name: str, frame: bytes) -> bool:
        """Whether question and answer can only be this protocol's; maps on Modbus share all but the values."""
        asked = self._asked.get(name)
        return asked is not None and POLLED[name].recognises(asked, frame)


async def _listen(transport: ByteTransport, clock: Clock, seconds: float | None) -> None:
    overheard = _Overheard()
    started = clock.monotonic()
    await transport.open()
    try:
        while seconds is None or clock.monotonic() - started < seconds:
            data = await transport.receive(1.0 if seconds is None else min(1.0, seconds))
            if not data:
                continue
            now = round(clock.monotonic() - started, 3)
            found = list(overheard.feed(data))
            for item in found:
                show(t=now, **item)
            if not found:
                show(t=now, bytes=data.hex())
    finally:
        await transport.close()


@_or_on_bus(bringup_can.listen)
def listen(arguments: argparse.Namespace) -> int:
    """Print what passes over a line; transmits nothing."""
    clock = SystemClock()
    line = SerialTransport(arguments.port, arguments.baud or _DEFAULT_BAUD, clock=clock)
    return run(_listen(line, clock, arguments.seconds))


def replay(arguments: argparse.Namespace) -> int:
    """Decode a record, offline."""
    overheard = _Overheard()
    try:
        with arguments.file.open(encoding="utf-8", errors="replace") as lines:
            if looks_like_candump(first := next(lines, "")):
                return bringup_can.replay(chain((first,), lines))
            for passed in read_record(chain((first,), lines)):
                found = [overheard.ask(passed.data)] if passed.ours else overheard.feed(passed.data)
                for item in found:
                    show(t=passed.when, ours=passed.ours, **item)
    except (OSError, BmsError) as err:
        say(f"replay: {err}")
        return 1
    return 0


# --- scan and poll ---------------------------------------------------------------------------------------------------


def _how(arguments: argparse.Namespace) -> dict[str, Any]:
    """Further arguments of a scan; what was not given is left to it."""
    how = {name: getattr(arguments, name, None) for name in ("family", "quiet", "listen_only")}
    return {name: value for name, value in how.items() if value is not None}


async def _scan(arguments: argparse.Namespace, clock: Clock, **how: Any) -> ScanReport:
    return await scan(
        lambda baudrate: SerialTransport(arguments.port, baudrate, clock=clock),
        clock=clock,
        protocols=[arguments.protocol] if arguments.protocol else None,
        speeds=[arguments.baud] if arguments.baud else None,
        on_progress=progressed,
        **how,
    )


@_or_on_bus(bringup_can.scan)
def scan_line(arguments: argparse.Namespace) -> int:
    """Find out what answers."""
    file: TextIO | None = None
    if arguments.capture is not None:
        try:
            file = arguments.capture.open("x", encoding="utf-8")
        except OSError as err:
            say(f"scan: {err}")
            return 1

    async def work() -> int:
        report = await _scan(arguments, SystemClock(), **_how(arguments))
        if file is not None:
            file.write(report.capture or "")
        return report_found(report)

    try:
        return run(work())
    finally:
        if file is not None:
            file.close()


type _Wrap = Callable[[ByteTransport], ByteTransport]


async def _poll(arguments: argparse.Namespace, wrap: _Wrap, seconds: float | None) -> int:
    clock = SystemClock()
    protocol, baudrate = arguments.protocol, arguments.baud
    addresses: Collection[int] = arguments.address or ()
    if not (protocol and baudrate and addresses):
        report = await _scan(arguments, clock, **_how(arguments))
        if report.outcome is not Outcome.FOUND or report.protocol is None or report.baudrate is None:
            say(f"poll: {report.outcome}")
            return 1
        protocol, baudrate = report.protocol, report.baudrate
        addresses = [pack.address for pack in report.packs] or [report.bank_address or 0]
    printer = Printer(clock, arguments.cycles, asyncio.Event())
    client = PolledClient(
        wrap(SerialTransport(arguments.port, baudrate, clock=clock)),
        POLLED[protocol],
        clock=clock,
        listener=printer,
        addresses=addresses,
        interval=arguments.interval,
    )
    await until_done(client, printer, seconds)
    return 0


async def _observe(arguments: argparse.Namespace) -> int:
    clock = SystemClock()
    protocol, baudrate = arguments.protocol, arguments.baud or _DEFAULT_BAUD
    addresses: Collection[int] = arguments.address or ()
    if protocol is None:
        report = await _scan(arguments, clock, listen_only=True, quiet=_WATCH)
        if report.outcome is not Outcome.OTHER_MASTER or report.protocol is None or report.baudrate is None:
            say(f"observe: {report.outcome}")
            return 1
        protocol, baudrate = report.protocol, report.baudrate
        addresses = addresses or [pack.address for pack in report.packs]
    printer = Printer(clock, None, asyncio.Event())
    client = ListeningClient(
        SerialTransport(arguments.port, baudrate, clock=clock),
        POLLED[protocol],
        clock=clock,
        listener=printer,
        addresses=addresses,
    )
    await until_done(client, printer, arguments.seconds)
    return 0


@_or_on_bus(bringup_can.observe)
def observe(arguments: argparse.Namespace) -> int:
    """Show what packs tell somebody else; transmits nothing."""
    return run(_observe(arguments))


@_or_on_bus(bringup_can.poll)
def poll(arguments: argparse.Namespace) -> int:
    """Read packs again and again."""
    return run(_poll(arguments, lambda transport: transport, None))


@_or_on_bus(bringup_can.record)
def record(arguments: argparse.Namespace) -> int:
    """Write down what passes over a line."""
    try:
        file: TextIO = arguments.file.open("x", encoding="utf-8")
    except OSError as err:
        say(f"record: {err}")
        return 1

    def write(line: str) -> None:
        file.write(f"{line}\n")
        file.flush()

    with file:
        clock = SystemClock()
        if arguments.poll:
            return run(_poll(arguments, lambda line: RecordingTransport(line, clock, write), arguments.seconds))
        line = SerialTransport(arguments.port, arguments.baud or _DEFAULT_BAUD, clock=clock)
        return run(_listen(RecordingTransport(line, clock, write), clock, arguments.seconds))
