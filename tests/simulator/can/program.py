"""A battery that broadcasts, on an slcan adapter of its own, until Ctrl-C."""

import argparse
import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
import signal

from custom_components.lfp_battery.bms.can_frame import EXTENDED, id_text
from custom_components.lfp_battery.bms.clock import SystemClock
from tests.simulator.bank import SimBank

from .bus import SimBus
from .families import SETS, make_speaker
from .faults import Fault, Kind
from .inverter import HABITS, CanInverter, usual_inverter
from .python_can import PythonCanBridge
from .slcan_adapter import SlcanPty
from .speaker import CanSpeaker

_GRAIN = 0.005  # s of frames in one write


def parse_fault(text: str) -> Fault:
    """A fault from its text on the command line."""
    kind, _, rest = text.partition(":")
    ids: set[int] = set()
    probability, count = 1.0, None
    try:
        for option in filter(None, rest.split(",")):
            name, _, value = option.partition("=")
            match name:
                case "id":
                    ids.add(int(value, 16) | (EXTENDED if len(value) > 3 else 0))
                case "probability":
                    probability = float(value)
                case "count":
                    count = int(value)
                case _:
                    raise argparse.ArgumentTypeError(f"no option {name!r} in fault {text!r}")
        return Fault(kind=Kind(kind), ids=frozenset(ids) or None, probability=probability, count=count)
    except ValueError as err:
        raise argparse.ArgumentTypeError(f"cannot read fault {text!r}: {err}") from err


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The part of the command line that is about CAN."""
    add = parser.add_argument_group("batteries that broadcast on a CAN bus").add_argument
    add("--can", choices=sorted(SETS), metavar="SET", help=f"broadcast this set of frames: {', '.join(sorted(SETS))}")
    add(
        "--inverter",
        default="usual",
        choices=["usual", "none", *sorted(HABITS)],
        help="that stands beside the battery (default: the usual one for the set)",
    )
    add("--alone", action="store_true", help="nobody but the adapter is there to acknowledge; implies no inverter")
    add("--bitrate", type=int, default=500_000, help="of the battery (default 500000)")
    add(
        "--can-fault",
        type=parse_fault,
        action="append",
        default=[],
        metavar="FAULT",
        help=f"KIND[:id=HEX,probability=P,count=N], KIND one of {', '.join(Kind)}",
    )
    add("--only-text", action="store_true", help="names go on, measurements do not")
    add(
        "--bus",
        metavar="INTERFACE:CHANNEL",
        help="send it onto a bus of python-can, too, such as udp_multicast:239.74.163.2",
    )


def sent(speaker: CanSpeaker) -> list[tuple[str, float, str, dict[str, object]]]:
    """What was sent lately, oldest first: whose ("bank" or the pack), when, in which frame, and the values."""
    notes = [
        ("bank" if note.body.pack is None else str(note.body.pack), note.time, id_text(frame_id), note.body.values)
        for frame_id, history in speaker.ledger.notes.items()
        for note in history
    ]
    return sorted(notes, key=lambda note: note[1])


async def run(
    args: argparse.Namespace,
    bank: SimBank,
    say: Callable[[str], None],
    tick: Callable[[CanSpeaker, SimBus], float | None],
) -> None:
    """Serve until interrupted, and `say` where; `tick` does what is due and returns after how many s it wants more."""
    clock = SystemClock()
    speaker = make_speaker(args.can, bank)
    speaker.only_text = args.only_text
    bus = SimBus(speaker, clock=clock, bitrate=args.bitrate, alone=args.alone, grain=_GRAIN)
    if not args.alone and args.inverter != "none":
        bus.add(usual_inverter(speaker.family) if args.inverter == "usual" else CanInverter(args.inverter))
    for fault in args.can_fault:
        bus.faults.add(fault)
    adapter = SlcanPty(bus, args.link)
    adapter.replug()
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGUSR1, lambda: adapter.unplug() if adapter.plugged else adapter.replug())
    with ExitStack() as stack:
        stack.callback(adapter.stop)
        if args.bus:
            interface, _, channel = args.bus.partition(":")
            bridge = await asyncio.to_thread(PythonCanBridge, bus, channel, interface)
            stack.enter_context(bridge)
        say(f"port: {adapter.path}")
        say(f"{len(bank.packs)} packs, {args.bitrate} bit/s, {args.can} on an slcan adapter; Ctrl-C ends it")
        while not stopped.is_set():
            wait = tick(speaker, bus)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), wait)
        if adapter.transmissions:
            say(f"{len(adapter.transmissions)} frames were refused that somebody wanted to send")
