"""The simulator as a program: a bank on a serial port of its own, or on a CAN adapter, until Ctrl-C."""

import argparse
import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
import json
from pathlib import Path
import signal
import time

from custom_components.lfp_battery.bms.clock import SystemClock

from .bank import DayProfile, SimBank, make_packs
from .bus import Bus, SecondMaster
from .can import program as can
from .can.bus import SimBus
from .can.speaker import CanSpeaker
from .faults import Fault, Faults, Kind
from .ledger import Ledger
from .pack import PackSpec, SimPack
from .pty_line import PtyLine
from .pylon import Profile, PylonSpeaker
from .pylon_wire import request

_EPILOG = """\
examples:
  python -m tests.simulator --packs 4
  python -m tests.simulator --packs 14 --baud 115200 --speed-up 60 --link /tmp/battery
  python -m tests.simulator --fault bad_checksum:probability=0.05 --fault silence:address=3,count=20
  python -m tests.simulator --can victron --packs 3 --link /tmp/ttyCAN0
  python -m tests.simulator --can growatt --inverter none --can-fault truncated:id=313,probability=0.1

faults: KIND[:OPTION=VALUE,...]; kinds: {kinds}
  options: address (may be given more than once), count (times, then over), probability (of striking an answer),
  size, delay (s), rate (per bit)

With --can, --baud, --profile, --groups, --lenient, --fault and --second-master have no meaning.

signals: SIGUSR1 pulls the port out, and puts it back the next time.
"""
_REPORT_SECONDS = 1.0


def parse_fault(text: str) -> Fault:
    """A fault from its text on the command line."""
    kind, _, rest = text.partition(":")
    addresses: set[int] = set()
    count: int | None = None
    size: int | None = None
    delay: float | None = None
    probability, rate = 1.0, 1e-5
    try:
        for option in filter(None, rest.split(",")):
            name, _, value = option.partition("=")
            match name:
                case "address":
                    addresses.add(int(value, 0))
                case "count":
                    count = int(value)
                case "size":
                    size = int(value)
                case "delay":
                    delay = float(value)
                case "probability":
                    probability = float(value)
                case "rate":
                    rate = float(value)
                case _:
                    raise argparse.ArgumentTypeError(f"no option {name!r} in fault {text!r}")
        return Fault(
            kind=Kind(kind),
            addresses=frozenset(addresses) or None,
            count=count,
            size=size,
            delay=delay,
            probability=probability,
            rate=rate,
        )
    except ValueError as err:
        raise argparse.ArgumentTypeError(f"cannot read fault {text!r}: {err}") from err


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulator",
        description="A bank of simulated LiFePO4 packs on a serial port of its own (a pseudo terminal).",
        epilog=_EPILOG.format(kinds=", ".join(Kind)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--packs", type=int, default=2, metavar="N", help="packs in a group, 1 to 14 (default 2)")
    add("--groups", type=int, default=1, metavar="N", help="groups of that many packs, 1 to 7 (default 1)")
    add("--cells", type=int, default=16, choices=(8, 15, 16), help="cells of a pack (default 16)")
    add("--capacity", type=float, default=100.0, metavar="AH", help="of a pack (default 100 Ah)")
    add("--soc", type=float, default=55.0, metavar="PERCENT", help="at the start (default 55)")
    add("--baud", type=int, default=9600, choices=(9600, 115200), help="speed of the packs (default 9600)")
    add("--profile", default=Profile.C, choices=[p.value for p in Profile], help="which packs answer (default c)")
    add("--lenient", action="store_true", help="answer what python-pylontech asks and real packs would not")
    add("--speed-up", type=float, default=1.0, metavar="X", help="simulated seconds in a real one (default 1)")
    add("--start-hour", type=float, default=9.0, metavar="HOUR", help="simulated time of day at the start (default 9)")
    add("--ambient", type=float, default=18.0, metavar="C", help="mean of the day, degC (default 18)")
    add("--link", type=Path, metavar="PATH", help="where the port is to be found (default: a new temporary directory)")
    add(
        "--fault", type=parse_fault, action="append", default=[], metavar="FAULT", help="trouble on the line, see below"
    )
    add("--second-master", type=float, metavar="SECONDS", help="an inverter asks pack 02, once every so often")
    add("--report", type=Path, metavar="FILE", help="keep what was sent to whom in this file, as JSON, every second")
    can.add_arguments(parser)
    add("--status", type=float, default=30.0, metavar="SECONDS", help="between two status lines, 0: none (default 30)")
    return parser


def _plain(value: object) -> object:
    """Values of the model as JSON has them."""
    if isinstance(value, frozenset):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(v) for f in fields(value) if (v := getattr(value, f.name)) is not None}
    return value


def report(speaker: Ledger) -> dict[str, object]:
    """What was sent: per address (and "bank") the recent answers, oldest first."""
    histories = {str(address): history for address, history in sorted(speaker.sent.items())}
    if speaker.sent_bank:
        histories["bank"] = speaker.sent_bank
    return {
        whose: [
            {
                "time": sent.time,
                "command": sent.command if isinstance(sent.command, str) else f"{sent.command:02X}",
                "values": {name: _plain(value) for name, value in sent.values.items()},
            }
            for sent in history
        ]
        for whose, history in histories.items()
    }


def can_report(speaker: CanSpeaker) -> dict[str, object]:
    """The same of a battery that broadcasts."""
    histories: dict[str, list[object]] = {}
    for whose, when, frame_id, values in can.sent(speaker):
        plain = {name: _plain(value) for name, value in values.items()}
        histories.setdefault(whose, []).append({"time": when, "command": frame_id, "values": plain})
    return dict(histories)


def _write_report(path: Path, sent: dict[str, object]) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps({"written": time.monotonic(), "sent": sent}))
    fresh.replace(path)


def _status(bank: SimBank, count: str) -> str:
    bank.advance()
    packs = bank.packs.values()
    soc = sum(p.remaining_capacity for p in packs) / sum(p.full_capacity for p in packs) * 100
    hour = bank.time_of_day / 3600
    alarms = sorted({a.condition.value for p in packs for a in p.alarms})
    return (
        f"{int(hour):02d}:{int(hour % 1 * 60):02d}  {soc:5.1f} %  {bank.voltage:6.2f} V  {bank.current:+7.1f} A  "
        f"{count}  {', '.join(alarms) or 'no alarms'}"
    )


def _packs(args: argparse.Namespace) -> dict[int, SimPack]:
    spec = PackSpec(cells=args.cells, capacity=args.capacity, soc=args.soc, temperature=args.ambient)
    packs: dict[int, SimPack] = {}
    for group in range(args.groups):
        packs |= make_packs(args.packs, spec, group=group)
    return packs


def _can_tick(
    args: argparse.Namespace, bank: SimBank, say: Callable[[str], None]
) -> Callable[[CanSpeaker, SimBus], float | None]:
    """Write the report and say how things are, when that is due."""
    next_status = time.monotonic() + args.status

    def tick(speaker: CanSpeaker, bus: SimBus) -> float | None:
        nonlocal next_status
        if args.report:
            _write_report(args.report, can_report(speaker))
        if args.status and time.monotonic() >= next_status:
            next_status = time.monotonic() + args.status
            say(_status(bank, f"{bus.frames} frames"))
        return _REPORT_SECONDS if args.report else args.status or None

    return tick


async def run(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Serve until interrupted, and `say` where and what."""
    clock = SystemClock()
    bank = SimBank(
        _packs(args),
        clock,
        profile=DayProfile(ambient=args.ambient),
        speed_up=args.speed_up,
        start_hour=args.start_hour,
    )
    if args.can:
        await can.run(args, bank, say, _can_tick(args, bank, say))
        return
    speaker = PylonSpeaker(bank, args.profile, lenient=args.lenient)
    bus = Bus(speaker, clock, baudrate=args.baud, faults=Faults(*args.fault))
    port = PtyLine(bus, args.link)
    port.start()
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: port.unplug() if port.plugged else port.replug())
    if args.second_master is not None:
        bus.add_master(SecondMaster(requests=(request(2, 0x42), request(2, 0x92)), period=args.second_master))
    say(f"port: {port.path}")
    say(f"{len(bank.packs)} packs, {args.baud} baud, profile {args.profile}; Ctrl-C ends it")
    next_status = clock.monotonic() + args.status
    try:
        while not stopped.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), _REPORT_SECONDS if args.report else args.status or None)
            if args.report:
                _write_report(args.report, report(speaker))
            if args.status and clock.monotonic() >= next_status:
                next_status = clock.monotonic() + args.status
                say(_status(bank, f"{bus.request_count} requests"))
    finally:
        port.stop()


def main(arguments: list[str] | None, say: Callable[[str], None]) -> int:
    """Run from the command line; returns the exit code."""
    parser = make_parser()
    args = parser.parse_args(arguments)
    if not 1 <= args.packs <= 14:
        parser.error("--packs must be 1 to 14")
    if not 1 <= args.groups <= 7:
        parser.error("--groups must be 1 to 7")
    if args.speed_up <= 0:
        parser.error("--speed-up must be more than 0")
    asyncio.run(run(args, say))
    return 0
