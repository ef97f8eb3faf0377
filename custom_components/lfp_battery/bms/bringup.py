"""The commands that touch a line: listen, observe, scan, poll, record, replay. For bring-up and bug reports.

Results are JSON lines on standard output, words for the person go to standard error. Nothing but `scan`, `poll` and
`record --poll` transmits, and they only ask; on a CAN bus (`bringup_can`) nothing does. For Bluetooth see `bringup_radio`.
"""

import argparse
import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import wraps
from itertools import chain, groupby
import math
from pathlib import Path
from typing import Any, Final, TextIO

from . import bringup_can, bringup_radio
from .catalog import FAMILIES
from .clients.listening import ListeningClient
from .clients.polled import PolledClient
from .clock import Clock, SystemClock
from .decoding import plain, reported
from .discovery import Outcome, ScanReport, scan
from .errors import BmsError, FrameError
from .printing import (
    NonsenseError,
    Printer,
    new_file,
    open_file,
    outcome_words,
    progressed,
    report_found,
    run,
    say,
    show,
    until_done,
)
from .protocols import BLUETOOTH, POLLED, PROTOCOLS, SERIAL
from .protocols.base import PolledProtocol, Splitter
from .protocols.can import CAN
from .transports import ByteTransport
from .transports.candump import looks_like_candump
from .transports.gatt import BAUDRATE
from .transports.recording import RecordingTransport, read_record
from .transports.serial import SerialTransport

_DEFAULT_BAUD = 9600
_WATCH = 60.0  # s of listening until `observe` gives up finding a conversation


# Of all protocols; each has fewer.
_ADDRESSES: Final = frozenset(place for one in POLLED.values() for group in one.address_groups for place in group)


# --- arguments -------------------------------------------------------------------------------------------------------


def _whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number within these bounds."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return number

    return read


def _span(least: float, most: float) -> Callable[[str], float]:
    """Reads a number of seconds within these bounds."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not least <= number <= most:  # nan is not
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from {least:g} to {most:g}")
        return number

    return read


_DAY: Final = 86_400.0  # s
_BAUD: Final = _whole(300, 4_000_000)
_SECONDS: Final = _span(0.1, 366 * _DAY)
_INTERVAL: Final = _span(1, _DAY)
_CYCLES: Final = _whole(1, 1_000_000_000)
_ADDRESS: Final = _whole(min(_ADDRESSES), max(_ADDRESSES))
# Less is no proof that nobody else asks: masters pause between two questions.
_SILENCE: Final = _span(0.2, 3600)


def _port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "port",
        metavar="PORT",
        help="a path, a URL such as socket://gateway:8899, a CAN bus such as socketcan:can0, or a Bluetooth device such "
        "as ble:A4:C1:37:00:00:01",
    )
    bringup_can.arguments(parser)


def _protocol(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--protocol", choices=sorted(PROTOCOLS), metavar="NAME", help=text)


def _address(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--address", type=_ADDRESS, action="append", metavar="N", help=text)


def _seconds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=_SECONDS, metavar="N", help="stop after so long; without it, on Ctrl-C")


def listen_arguments(parser: argparse.ArgumentParser) -> None:
    """What `listen` takes."""
    _port(parser)
    parser.add_argument("--baud", type=_BAUD, metavar="N", help=f"{_DEFAULT_BAUD} without it")
    _seconds(parser)


def _search(parser: argparse.ArgumentParser) -> None:
    """Where to look, for whatever begins with a scan."""
    _port(parser)
    _protocol(parser, "try only this one; on CAN, what was there the last time")
    parser.add_argument("--baud", type=_BAUD, metavar="N", help="try only this speed")
    parser.add_argument("--family", choices=[family.key for family in FAMILIES], help="what to try first")
    parser.add_argument(
        "--quiet", type=_SILENCE, metavar="N", help="seconds of silence before a scan asks anything; 2 without it"
    )


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
    parser.add_argument("--baud", type=_BAUD, metavar="N", help=f"{_DEFAULT_BAUD} without it")
    _address(parser, "a pack that is known to be there; may be given again")
    _seconds(parser)


def poll_arguments(parser: argparse.ArgumentParser) -> None:
    """What `poll` takes."""
    _search(parser)
    _address(
        parser,
        "a pack that is there, else all that a scan finds; may be given again. With --protocol and --baud "
        "there is no scan",
    )
    parser.add_argument("--interval", type=_INTERVAL, metavar="N", help="seconds from cycle to cycle")
    parser.add_argument("--cycles", type=_CYCLES, metavar="N", help="stop after so many")


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


def _check_addresses(addresses: Collection[int], protocol: str) -> None:
    places = sorted(place for group in POLLED[protocol].address_groups for place in group)
    if foreign := sorted(set(addresses) - set(places)):
        raise NonsenseError(f"{protocol} has no address {foreign[0]}: its packs are at {_ranges(places)}")


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers in rising order as a person writes them."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), lambda item: item[1] - item[0])]
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _check_used(arguments: argparse.Namespace, names: Collection[str], why: str) -> None:
    """Refuse what would be given for nothing."""
    if given := [name for name in names if getattr(arguments, name, None) is not None]:
        raise NonsenseError(f"{why}: leave --{given[0]} out")


type _Run = Callable[[argparse.Namespace], int]


def _or_elsewhere(on_bus: _Run, over_radio: _Run) -> Callable[[_Run], _Run]:
    """What is run instead where the port is a CAN bus, or a Bluetooth device."""

    def wrap(on_line: _Run) -> _Run:
        @wraps(on_line)
        def choose(arguments: argparse.Namespace) -> int:
            if bringup_radio.wanted(arguments):
                return over_radio(arguments)
            if bringup_can.wanted(arguments):
                return on_bus(arguments)
            if (name := getattr(arguments, "protocol", None)) in CAN:
                raise NonsenseError(
                    f"{name} is broadcast on a CAN bus: say which one, such as socketcan:can0, or add --can"
                )
            if name in BLUETOOTH:
                raise NonsenseError(f"{name} is spoken over Bluetooth: say with which device, as ble:A4:C1:37:00:00:01")
            if name is not None:
                _check_addresses(getattr(arguments, "address", None) or (), name)
            return on_line(arguments)

        return choose

    return wrap


# --- listen and replay -----------------------------------------------------------------------------------------------


class _Overheard:
    """Makes sense of bytes in whatever protocol they are."""

    def __init__(self, protocols: Mapping[str, PolledProtocol] = SERIAL) -> None:
        self._protocols = protocols
        self._splitters: dict[str, Splitter] = {name: protocol.splitter() for name, protocol in protocols.items()}
        self._asked: dict[str, bytes] = {}

    def ask(self, question: bytes) -> dict[str, Any]:
        """A question that is known to be one because it is ours; what follows is its answer."""
        for name, protocol in self._protocols.items():
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
            if asking := [name for name in names if self._protocols[name].is_request(frame)]:
                self._asked |= dict.fromkeys(asking, frame)
                yield {"protocol": asking[0], "request": frame.hex()}
            else:
                yield self._answer(frame, names)

    def _answer(self, frame: bytes, names: list[str]) -> dict[str, Any]:
        reason = ""
        for name in sorted(names, key=lambda name: not self._fits(name, frame)):
            try:
                decoded = self._protocols[name].decode(self._asked.get(name), frame)
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
        return asked is not None and self._protocols[name].recognises(asked, frame)


async def _listen(transport: ByteTransport, clock: Clock, seconds: float | None) -> None:
    overheard = _Overheard()
    started = clock.monotonic()
    await transport.open()
    say(f"listening on {transport.name} at {transport.baudrate} baud; nothing is sent")
    heard = False
    try:
        while seconds is None or clock.monotonic() - started < seconds:
            data = await transport.receive(1.0 if seconds is None else min(1.0, seconds))
            if not data:
                continue
            heard = True
            now = round(clock.monotonic() - started, 3)
            found = list(overheard.feed(data))
            for item in found:
                show(t=now, **item)
            if not found:
                show(t=now, bytes=data.hex())
    finally:
        if not heard:
            say("nothing came: packs speak only when somebody asks them")
        await transport.close()


@_or_elsewhere(bringup_can.listen, bringup_radio.listen)
def listen(arguments: argparse.Namespace) -> int:
    """Print what passes over a line; transmits nothing."""
    clock = SystemClock()
    line = SerialTransport(arguments.port, arguments.baud or _DEFAULT_BAUD, clock=clock)
    return run(_listen(line, clock, arguments.seconds))


class _Counted:
    """Lines of a file, and how many of them were read."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.read += 1
        return line


def replay(arguments: argparse.Namespace) -> int:
    """Decode a record, offline."""
    with open_file(arguments.file) as file:
        lines = _Counted(file)
        if not (first := next(lines, "")):
            raise NonsenseError(f"{arguments.file} is empty, and not a record")
        if looks_like_candump(first):
            try:
                return bringup_can.replay(chain((first,), lines))
            except FrameError as err:  # which names the line
                raise NonsenseError(str(err)) from None
        # the same frames mean other things over Bluetooth, whose speed no serial line has
        over_radio = f'"baudrate": {BAUDRATE}' in first
        try:
            shown = _replay(chain((first,), lines), BLUETOOTH if over_radio else SERIAL)
        except FrameError as err:
            wanted = "; neither a record nor a log of candump -L" if lines.read == 1 else ""
            raise NonsenseError(f"line {lines.read} of {arguments.file}: {err}{wanted}") from None
    if not shown:
        say("replay: nothing passed over the line while this was recorded")
    return 0


def _replay(lines: Iterator[str], protocols: Mapping[str, PolledProtocol]) -> bool:
    """Show what a record holds; whether it holds anything."""
    overheard = _Overheard(protocols)
    passed = None
    for passed in read_record(lines):
        found = [overheard.ask(passed.data)] if passed.ours else overheard.feed(passed.data)
        for item in found:
            show(t=passed.when, ours=passed.ours, **item)
    return passed is not None


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


@_or_elsewhere(bringup_can.scan, bringup_radio.scan)
def scan_line(arguments: argparse.Namespace) -> int:
    """Find out what answers."""

    async def work(file: TextIO | None) -> int:
        report = await _scan(arguments, SystemClock(), **_how(arguments))
        if file is not None:
            file.write(report.capture or "")
        return report_found(report)

    with new_file(arguments.capture) if arguments.capture is not None else nullcontext() as file:
        return run(work(file))


type _Wrap = Callable[[ByteTransport], ByteTransport]


def _needs_no_scan(arguments: argparse.Namespace) -> bool:
    """Whether all is told that a scan would find out."""
    return bool(arguments.protocol and arguments.baud and arguments.address)


async def _poll(arguments: argparse.Namespace, wrap: _Wrap, seconds: float | None) -> int:
    clock = SystemClock()
    protocol, baudrate = arguments.protocol, arguments.baud
    known: Collection[int] = arguments.address or ()
    addresses = known
    if _needs_no_scan(arguments):
        _check_used(arguments, ("quiet", "family"), "with --protocol, --baud and --address nothing is scanned")
    else:
        report = await _scan(arguments, clock, **_how(arguments))
        if report.outcome is not Outcome.FOUND or report.protocol is None or report.baudrate is None:
            raise NonsenseError(outcome_words(report))
        protocol, baudrate = report.protocol, report.baudrate
        _check_addresses(addresses, protocol)
        if report.packs and (away := sorted(set(addresses) - {pack.address for pack in report.packs})):
            say(f"poll: nobody answered the scan at address {_ranges(away)}; asked all the same")
        known = addresses or [pack.address for pack in report.packs]
        addresses = known or [report.bank_address or 0]
    printer = Printer(clock, arguments.cycles, asyncio.Event(), addresses=known)
    client = PolledClient(
        wrap(SerialTransport(arguments.port, baudrate, clock=clock)),
        POLLED[protocol],
        clock=clock,
        listener=printer,
        addresses=addresses,
        interval=arguments.interval,
    )
    return await until_done(client, printer, seconds)


async def _observe(arguments: argparse.Namespace) -> int:
    clock = SystemClock()
    protocol, baudrate = arguments.protocol, arguments.baud or _DEFAULT_BAUD
    addresses: Collection[int] = arguments.address or ()
    if protocol is None:
        report = await _scan(arguments, clock, listen_only=True, quiet=_WATCH)
        if report.outcome is not Outcome.OTHER_MASTER or report.protocol is None or report.baudrate is None:
            if report.outcome is Outcome.OTHER_MASTER:
                raise NonsenseError("another device asks on this line, but what it says cannot be read")
            raise NonsenseError(outcome_words(report))
        protocol, baudrate = report.protocol, report.baudrate
        _check_addresses(addresses, protocol)
        addresses = addresses or [pack.address for pack in report.packs]
    printer = Printer(clock, None, asyncio.Event(), addresses=addresses)
    client = ListeningClient(
        SerialTransport(arguments.port, baudrate, clock=clock),
        POLLED[protocol],
        clock=clock,
        listener=printer,
        addresses=addresses,
    )
    return await until_done(client, printer, arguments.seconds)


@_or_elsewhere(bringup_can.observe, bringup_radio.observe)
def observe(arguments: argparse.Namespace) -> int:
    """Show what packs tell somebody else; transmits nothing."""
    return run(_observe(arguments))


@_or_elsewhere(bringup_can.poll, bringup_radio.poll)
def poll(arguments: argparse.Namespace) -> int:
    """Read packs again and again."""
    return run(_poll(arguments, lambda transport: transport, None))


def record(arguments: argparse.Namespace) -> int:
    """Write down what passes over a line or a bus."""
    if not arguments.poll:
        needless = ("protocol", "family", "quiet", "address", "interval", "cycles")
        _check_used(arguments, needless, "without --poll a line is only listened to")
    return _record(arguments)


@_or_elsewhere(bringup_can.record, bringup_radio.record)
def _record(arguments: argparse.Namespace) -> int:
    with new_file(arguments.file) as file:
        lines = 0

        def write(line: str) -> None:
            nonlocal lines
            lines += 1
            file.write(f"{line}\n")
            file.flush()

        clock = SystemClock()
        if arguments.poll:
            status = run(_poll(arguments, lambda line: RecordingTransport(line, clock, write), arguments.seconds))
        else:
            line = SerialTransport(arguments.port, arguments.baud or _DEFAULT_BAUD, clock=clock)
            status = run(_listen(RecordingTransport(line, clock, write), clock, arguments.seconds))
        if status and lines == 1:  # the line was never open
            file.truncate(0)
    return status
