"""What the command line says: JSON lines on standard output, words for the person on standard error."""

import asyncio
from collections.abc import Collection, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
import json
from pathlib import Path
import sys
from typing import Any, Final, Literal, NamedTuple, TextIO

from .bank import Member, figures
from .clients.base import BatteryClient
from .clock import Clock
from .decoding import plain, reported
from .discovery import FoundPack, Outcome, Progress, ScanReport
from .errors import LinkError, LinkProblem
from .model import BankState, BatteryState, CycleReport, PackState, PollReport

# The command line is English, as its options are; a home has these in its own languages.
LINK_PROBLEMS: Final[Mapping[LinkProblem, str]] = {
    LinkProblem.MISSING: "There is no such port or adapter: check that it is plugged in.",
    LinkProblem.PERMISSION: "You may not open this port: become a member of the group that it belongs to, often dialout.",
    LinkProblem.BUSY: "Another program has this port open: close it there first.",
    LinkProblem.UNREACHABLE: "Nothing can be reached at this network address: check host, port number and gateway.",
    LinkProblem.BAD_ADDRESS: "This is neither a serial port nor an address that can be opened.",
    LinkProblem.CREDENTIALS: "An address must not hold a user name, a password or a key: use it without them.",
    LinkProblem.DOWN: "The CAN interface is there, but down: it has to be brought up first.",
    LinkProblem.DRIVER: "This adapter needs a library that is not installed here.",
    LinkProblem.FOREIGN: "This is not a battery that can be read: it has none of the services that are known.",
    LinkProblem.NO_SLOT: "All connections that the Bluetooth adapter can have are taken: end one of them first.",
    LinkProblem.PAUSED: "The link was left free, as somebody asked for.",
    LinkProblem.LOST: "The port was open, but went away: check plug, cable and power of the adapter or gateway.",
    LinkProblem.FAILED: "The port could not be opened and set up.",
}
_FOR_GOOD: Final = frozenset({LinkProblem.BAD_ADDRESS, LinkProblem.CREDENTIALS, LinkProblem.DRIVER})
OUTCOMES: Final[Mapping[Outcome, str]] = {
    Outcome.FOUND: "A battery was found.",
    Outcome.UNREADABLE: "Something answers, but not in a way that can be read.",
    Outcome.NOTHING: "No battery was heard: check that it is on, that the cable ends in its port for inverters or "
    "monitoring, and that the two wires are not swapped.",
    Outcome.ECHO: "Only our own questions came back, and no battery answered: check the wires and the battery.",
    Outcome.NOISE: "There is something on the line, but nothing that makes sense: check wires, ground and speed.",
    Outcome.OTHER_PROTOCOL: "A battery answers in a protocol that cannot be read yet.",
    Outcome.OTHER_MASTER: "Another device already asks on this line, so nothing is asked here; `observe` reads along.",
    Outcome.LINK_PORT: "This port links one pack to the next: use the one for inverters or monitoring.",
    Outcome.UNACKNOWLEDGED: "One frame comes again and again, because nobody acknowledges it: if the battery is alone "
    "with the adapter, add --acknowledge.",
    Outcome.INVERTER_ONLY: "An inverter was heard on this bus, but no battery.",
    Outcome.WRONG_RATE: "There are only errors on the bus: the bit rate is most likely another one.",
}
# What is meant by the same over Bluetooth, where it is not the same.
_RADIO_PROBLEMS: Final[Mapping[LinkProblem, str]] = {
    LinkProblem.MISSING: "The battery is not heard: come closer, and close the phone app, which keeps it to itself.",
    LinkProblem.UNREACHABLE: "The battery is heard, but takes no connection: come closer, and close the phone app.",
    LinkProblem.LOST: "The connection went away: the battery is out of range, off, or starting anew.",
    LinkProblem.BUSY: "The Bluetooth adapter does not look for devices now: another program may be using it.",
    LinkProblem.FAILED: "This machine has no Bluetooth that works: check that it has an adapter, and that it is on.",
    LinkProblem.DRIVER: "Bluetooth needs the libraries bleak and bleak-retry-connector, which are not installed here.",
}
_RADIO_OUTCOMES: Final[Mapping[Outcome, str]] = {
    Outcome.NOTHING: "The device has the service of a battery, but does not answer; its RS485 and CAN ports may.",
    Outcome.NOISE: "What came over Bluetooth was damaged: come closer.",
}


class Words(NamedTuple):
    """Sentences for one medium."""

    problems: Mapping[LinkProblem, str]
    outcomes: Mapping[Outcome, str]
    for_good: frozenset[LinkProblem] = _FOR_GOOD  # trying again does not help


WIRE_WORDS: Final = Words(LINK_PROBLEMS, OUTCOMES)
RADIO_WORDS: Final = Words(
    {**LINK_PROBLEMS, **_RADIO_PROBLEMS}, {**OUTCOMES, **_RADIO_OUTCOMES}, _FOR_GOOD | {LinkProblem.FAILED}
)


class NonsenseError(Exception):
    """What was asked for cannot be done; the text is the sentence that says why."""


def link_words(err: LinkError, words: Words = WIRE_WORDS) -> str:
    """A sentence for a person, with what is known besides in brackets."""
    said = words.problems[err.problem]
    return f"{said} ({err.detail})" if err.detail else said


def outcome_words(report: ScanReport, words: Words = WIRE_WORDS) -> str:
    """The same of how a scan ended."""
    said, more = words.outcomes[report.outcome], report.dialect or report.protocol
    return f"{said} ({more})" if more else said


def open_file(path: Path, mode: Literal["r", "x"] = "r") -> TextIO:
    """A file of text, to be read, or a new one.

    Raises:
        NonsenseError: it cannot be opened.
    """
    try:
        return path.open(mode, encoding="utf-8", errors="replace")
    except FileExistsError:
        why = f"{path} exists already, and is not written over"
    except FileNotFoundError:
        why = f"there is no file {path}" if mode == "r" else f"there is no folder {path.parent}"
    except IsADirectoryError:
        why = f"{path} is a folder"
    except PermissionError:
        why = f"you may not {'read' if mode == 'r' else 'write'} {path}"
    except (OSError, ValueError) as err:
        why = f"{path} cannot be opened ({getattr(err, 'strerror', None) or err})"
    raise NonsenseError(why)


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """A file that must not be there yet, and is gone again if nothing was written: it would be in the way of a retry.

    Raises:
        NonsenseError: it cannot be opened.
    """
    file = open_file(path, "x")
    try:
        with file:
            yield file
    finally:
        if not path.stat().st_size:
            path.unlink()


def show(**item: Any) -> None:
    """One line for a program."""
    print(json.dumps(item), flush=True)


def say(text: str) -> None:
    """One line for a person."""
    print(text, file=sys.stderr, flush=True)


def progressed(progress: Progress) -> None:
    """Say how far a scan is."""
    what = " ".join(
        f"{f.name} {value}" for f in fields(progress)[2:] if (value := getattr(progress, f.name)) is not None
    )
    say(f"{progress.fraction:4.0%} {progress.stage} {what}".rstrip())


def report_found(report: ScanReport, words: Words = WIRE_WORDS) -> int:
    """Show what a scan came to; the exit status."""
    more: dict[str, Any] = {"inverter": report.inverter} if report.inverter is not None else {}
    if report.bank_identity is not None:
        more["identity"] = reported(report.bank_identity)
    show(
        outcome=report.outcome.value,
        protocol=report.protocol,
        baudrate=report.baudrate,
        dialect=report.dialect,
        answers=report.answers,
        damaged=report.damaged,
        packs=[_pack(pack) for pack in report.packs],
        bank=reported(report.bank) if report.bank else None,
        experimental=report.experimental,
        **more,
    )
    if report.outcome is Outcome.FOUND:
        return 0
    say(outcome_words(report, words))
    return 1


def _pack(pack: FoundPack) -> dict[str, Any]:
    said = {"address": pack.address, "identity": reported(pack.identity), "state": reported(pack.state)}
    return {**said, "info": plain(pack.info)} if pack.info else said


@dataclass(slots=True)
class Printer:
    """A listener that prints."""

    clock: Clock
    cycles: int | None
    done: asyncio.Event
    words: Words = WIRE_WORDS
    addresses: Collection[int] = ()  # of packs that are known to be there, heard or not
    failed: bool = False  # the line will never open
    _packs: dict[int, PollReport[PackState]] = field(default_factory=dict)  # as last reported
    _bank_speaks: bool = False

    def _report[StateT: BatteryState](self, kind: str, report: PollReport[StateT]) -> None:
        show(
            t=round(self.clock.monotonic(), 3),
            kind=kind,
            address=report.address,
            online=report.online,
            state=reported(report.state) if report.state else None,
            held_back=dict(report.held_back),
        )

    def pack_polled(self, report: PollReport[PackState]) -> None:
        """See `ClientListener`."""
        self._packs[report.address] = report
        self._report("pack", report)

    def bank_polled(self, report: PollReport[BankState]) -> None:
        """See `ClientListener`."""
        self._bank_speaks |= report.state is not None
        self._report("bank", report)

    def _work_out_bank(self) -> None:
        """What all packs come to, where nobody says it; packs go by their addresses, as in every other line."""
        known = sorted({*self.addresses, *self._packs})
        if self._bank_speaks or len(known) < 2:
            return
        reports = [self._packs.get(address) for address in known]
        found = figures(
            [
                Member(
                    number=str(address), state=report.state if report else None, online=bool(report and report.online)
                )
                for address, report in zip(known, reports, strict=True)
            ]
        )
        told = {f.name: plain(value) for f in fields(found)[1:] if (value := getattr(found, f.name)) is not None}
        show(
            t=round(self.clock.monotonic(), 3),
            kind="bank",
            online=any(report and report.online for report in reports),
            state=reported(found.state),
            **told,
        )

    def cycle_finished(self, report: CycleReport) -> None:
        """See `ClientListener`."""
        self._work_out_bank()
        show(kind="cycle", seconds=round(report.seconds, 3), silent=sorted(report.silent))
        if self.cycles is not None:
            self.cycles -= 1
            if self.cycles <= 0:
                self.done.set()

    def link_changed(self, error: LinkError | None) -> None:
        """See `ClientListener`."""
        show(kind="link", problem=error.problem.value if error else None)
        if error is None:
            return
        self.failed = error.problem in self.words.for_good
        said = link_words(error, self.words)
        say(said if self.failed else f"{said} It is tried again.")
        if self.failed:
            self.done.set()

    def other_master(self, protocol: str | None = None) -> None:
        """See `ClientListener`."""
        say(f"somebody else asks on this line ({protocol}): nothing is sent any more")
        self.done.set()

    def family_changed(self, name: str) -> None:
        """See `ClientListener`."""
        say(f"the battery sends another set of frames by now ({name})")

    def unacknowledged(self, active: bool) -> None:
        """See `ClientListener`."""
        if active:
            say("one frame comes again and again: no node on the bus acknowledges it")


async def until_done(client: BatteryClient, printer: Printer, seconds: float | None) -> int:
    """Run a client until its listener has seen enough, or for so long; the exit status."""
    running = asyncio.create_task(client.run())
    seen = asyncio.create_task(printer.done.wait())
    try:
        await asyncio.wait({running, seen}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running  # it ends only by failing, such as when nobody reads what it prints any more
    finally:
        running.cancel()
        seen.cancel()
        await asyncio.gather(running, seen, return_exceptions=True)
    return 1 if printer.failed else 0


def run(work: Coroutine[Any, Any, int | None], words: Words = WIRE_WORDS) -> int:
    """Run it to its end; the exit status."""
    try:
        return asyncio.run(work) or 0
    except LinkError as err:
        say(link_words(err, words))
        return 1
