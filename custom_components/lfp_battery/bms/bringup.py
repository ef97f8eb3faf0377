"""The commands that touch a line: listen, observe, scan, poll, record, replay. For bring-up and bug reports.

Results are JSON lines on standard output, words for the person go to standard error. Nothing but `scan`, `poll` and
`record --poll` transmits, and they only ask.
"""

import argparse
import asyncio
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields
import json
from pathlib import Path
import sys
from typing import Any, TextIO

from .catalog import FAMILIES
from .clients.base import BatteryClient
from .clients.listening import ListeningClient
from .clients.polled import PolledClient
from .clock import Clock, SystemClock
from .decoding import plain, reported
from .discovery import FoundPack, Outcome, Progress, ScanReport, scan
from .errors import BmsError, LinkError
from .model import BankState, BatteryState, CycleReport, PackState, PollReport
from .protocols import POLLED
from .protocols.base import Splitter
from .transports import ByteTransport
from .transports.recording import RecordingTransport, read_record
from .transports.serial import SerialTransport

_DEFAULT_BAUD = 9600
_WATCH = 60.0  # s of listening until `observe` gives up finding a conversation


def _print(**item: Any) -> None:
    print(json.dumps(item), flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- arguments -------------------------------------------------------------------------------------------------------


def _port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", metavar="PORT", help="a path, or a URL such as socket://gateway:8899")


def _seconds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after so long; without it, on Ctrl-C")


def listen_arguments(parser: argparse.ArgumentParser) -> None:
    """What `listen` takes."""
    _port(parser)
    parser.add_argument("--baud", type=int, default=_DEFAULT_BAUD, metavar="N", help=f"{_DEFAULT_BAUD} without it")
    _seconds(parser)


def _search(parser: argparse.ArgumentParser) -> None:
    """Where to look, for whatever begins with a scan."""
    _port(parser)
    parser.add_argument("--protocol", choices=sorted(POLLED), help="try only this one")
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
    parser.add_argument(
        "--protocol", choices=sorted(POLLED), help="what the other master asks in; else it is found out"
    )
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
    parser.add_argument("file", type=Path, metavar="FILE", help="a new file; it will hold serial numbers")
    parser.add_argument("--poll", action="store_true", help="ask the packs; without it nothing is transmitted")
    _seconds(parser)


def replay_arguments(parser: argparse.ArgumentParser) -> None:
    """What `replay` takes."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what `record` wrote")


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
                _print(t=now, **item)
            if not found:
                _print(t=now, bytes=data.hex())
    finally:
        await transport.close()


def listen(arguments: argparse.Namespace) -> int:
    """Print what passes over a line; transmits nothing."""
    clock = SystemClock()
    line = SerialTransport(arguments.port, arguments.baud, clock=clock)
    return _run(_listen(line, clock, arguments.seconds))


def replay(arguments: argparse.Namespace) -> int:
    """Decode a record, offline."""
    overheard = _Overheard()
    try:
        with arguments.file.open(encoding="utf-8", errors="replace") as lines:
            for passed in read_record(lines):
                found = [overheard.ask(passed.data)] if passed.ours else overheard.feed(passed.data)
                for item in found:
                    _print(t=passed.when, ours=passed.ours, **item)
    except (OSError, BmsError) as err:
        _say(f"replay: {err}")
        return 1
    return 0


# --- scan and poll ---------------------------------------------------------------------------------------------------


def _progress(progress: Progress) -> None:
    what = " ".join(
        f"{f.name} {value}" for f in fields(progress)[2:] if (value := getattr(progress, f.name)) is not None
    )
    _say(f"{progress.fraction:4.0%} {progress.stage} {what}".rstrip())


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
        on_progress=_progress,
        **how,
    )


def _found(pack: FoundPack) -> dict[str, Any]:
    return {"address": pack.address, "identity": reported(pack.identity), "state": reported(pack.state)}


def scan_line(arguments: argparse.Namespace) -> int:
    """Find out what answers."""
    file: TextIO | None = None
    if arguments.capture is not None:
        try:
            file = arguments.capture.open("x", encoding="utf-8")
        except OSError as err:
            _say(f"scan: {err}")
            return 1

    async def run() -> int:
        report = await _scan(arguments, SystemClock(), **_how(arguments))
        if file is not None:
            file.write(report.capture or "")
        _print(
            outcome=report.outcome.value,
            protocol=report.protocol,
            baudrate=report.baudrate,
            dialect=report.dialect,
            answers=report.answers,
            damaged=report.damaged,
            packs=[_found(pack) for pack in report.packs],
            bank=reported(report.bank) if report.bank else None,
            experimental=report.experimental,
        )
        return 0 if report.outcome is Outcome.FOUND else 1

    try:
        return _run(run())
    finally:
        if file is not None:
            file.close()


@dataclass(slots=True)
class _Printer:
    """A listener that prints."""

    clock: Clock
    cycles: int | None
    done: asyncio.Event

    def _report[StateT: BatteryState](self, kind: str, report: PollReport[StateT]) -> None:
        _print(
            t=round(self.clock.monotonic(), 3),
            kind=kind,
            address=report.address,
            online=report.online,
            state=reported(report.state) if report.state else None,
            held_back=dict(report.held_back),
        )

    def pack_polled(self, report: PollReport[PackState]) -> None:
        """See `ClientListener`."""
        self._report("pack", report)

    def bank_polled(self, report: PollReport[BankState]) -> None:
        """See `ClientListener`."""
        self._report("bank", report)

    def cycle_finished(self, report: CycleReport) -> None:
        """See `ClientListener`."""
        _print(kind="cycle", seconds=round(report.seconds, 3), silent=sorted(report.silent))
        if self.cycles is not None:
            self.cycles -= 1
            if self.cycles <= 0:
                self.done.set()

    def link_changed(self, error: LinkError | None) -> None:
        """See `ClientListener`."""
        _print(kind="link", problem=error.problem.value if error else None)

    def other_master(self, protocol: str | None = None) -> None:
        """See `ClientListener`."""
        _say(f"somebody else asks on this line ({protocol}): nothing is sent any more")
        self.done.set()

    def family_changed(self, name: str) -> None:
        """See `ClientListener`."""
        _say(f"the battery sends another set of frames by now ({name})")

    def unacknowledged(self, active: bool) -> None:
        """See `ClientListener`."""
        if active:
            _say("one frame comes again and again: no node on the bus acknowledges it")


type _Wrap = Callable[[ByteTransport], ByteTransport]


async def _poll(arguments: argparse.Namespace, wrap: _Wrap, seconds: float | None) -> int:
    clock = SystemClock()
    protocol, baudrate = arguments.protocol, arguments.baud
    addresses: Collection[int] = arguments.address or ()
    if not (protocol and baudrate and addresses):
        report = await _scan(arguments, clock, **_how(arguments))
        if report.outcome is not Outcome.FOUND or report.protocol is None or report.baudrate is None:
            _say(f"poll: {report.outcome}")
            return 1
        protocol, baudrate = report.protocol, report.baudrate
        addresses = [pack.address for pack in report.packs] or [report.bank_address or 0]
    printer = _Printer(clock, arguments.cycles, asyncio.Event())
    client = PolledClient(
        wrap(SerialTransport(arguments.port, baudrate, clock=clock)),
        POLLED[protocol],
        clock=clock,
        listener=printer,
        addresses=addresses,
        interval=arguments.interval,
    )
    await _until_done(client, printer, seconds)
    return 0


async def _until_done(client: BatteryClient, printer: _Printer, seconds: float | None) -> None:
    running = asyncio.create_task(client.run())
    try:
        async with asyncio.timeout(seconds):
            await printer.done.wait()
    except TimeoutError:
        pass
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _observe(arguments: argparse.Namespace) -> int:
    clock = SystemClock()
    protocol, baudrate = arguments.protocol, arguments.baud or _DEFAULT_BAUD
    addresses: Collection[int] = arguments.address or ()
    if protocol is None:
        report = await _scan(arguments, clock, listen_only=True, quiet=_WATCH)
        if report.outcome is not Outcome.OTHER_MASTER or report.protocol is None or report.baudrate is None:
            _say(f"observe: {report.outcome}")
            return 1
        protocol, baudrate = report.protocol, report.baudrate
        addresses = addresses or [pack.address for pack in report.packs]
    printer = _Printer(clock, None, asyncio.Event())
    client = ListeningClient(
        SerialTransport(arguments.port, baudrate, clock=clock),
        POLLED[protocol],
        clock=clock,
        listener=printer,
        addresses=addresses,
    )
    await _until_done(client, printer, arguments.seconds)
    return 0


def observe(arguments: argparse.Namespace) -> int:
    """Show what packs tell somebody else; transmits nothing."""
    return _run(_observe(arguments))


def poll(arguments: argparse.Namespace) -> int:
    """Read packs again and again."""
    return _run(_poll(arguments, lambda transport: transport, None))


def record(arguments: argparse.Namespace) -> int:
    """Write down what passes over a line."""
    try:
        file: TextIO = arguments.file.open("x", encoding="utf-8")
    except OSError as err:
        _say(f"record: {err}")
        return 1

    def write(line: str) -> None:
        file.write(f"{line}\n")
        file.flush()

    with file:
        clock = SystemClock()
        if arguments.poll:
            return _run(_poll(arguments, lambda line: RecordingTransport(line, clock, write), arguments.seconds))
        line = SerialTransport(arguments.port, arguments.baud or _DEFAULT_BAUD, clock=clock)
        return _run(_listen(RecordingTransport(line, clock, write), clock, arguments.seconds))


def _run(work: Any) -> int:
    try:
        return asyncio.run(work) or 0
    except LinkError as err:
        _say(f"the line cannot be used: {err}")
        return 1
