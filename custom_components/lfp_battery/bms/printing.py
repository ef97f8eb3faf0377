"""What the command line says: JSON lines on standard output, words for the person on standard error."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, fields
import json
import sys
from typing import Any

from .clients.base import BatteryClient
from .clock import Clock
from .decoding import reported
from .discovery import FoundPack, Outcome, Progress, ScanReport
from .errors import LinkError
from .model import BankState, BatteryState, CycleReport, PackState, PollReport


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


def report_found(report: ScanReport) -> int:
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
    return 0 if report.outcome is Outcome.FOUND else 1


def _pack(pack: FoundPack) -> dict[str, Any]:
    return {"address": pack.address, "identity": reported(pack.identity), "state": reported(pack.state)}


@dataclass(slots=True)
class Printer:
    """A listener that prints."""

    clock: Clock
    cycles: int | None
    done: asyncio.Event

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
        self._report("pack", report)

    def bank_polled(self, report: PollReport[BankState]) -> None:
        """See `ClientListener`."""
        self._report("bank", report)

    def cycle_finished(self, report: CycleReport) -> None:
        """See `ClientListener`."""
        show(kind="cycle", seconds=round(report.seconds, 3), silent=sorted(report.silent))
        if self.cycles is not None:
            self.cycles -= 1
            if self.cycles <= 0:
                self.done.set()

    def link_changed(self, error: LinkError | None) -> None:
        """See `ClientListener`."""
        show(kind="link", problem=error.problem.value if error else None)

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


async def until_done(client: BatteryClient, printer: Printer, seconds: float | None) -> None:
    """Run a client until its listener has seen enough, or for so long."""
    running = asyncio.create_task(client.run())
    try:
        async with asyncio.timeout(seconds):
            await printer.done.wait()
    except TimeoutError:
        pass
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def run(work: Coroutine[Any, Any, int | None]) -> int:
    """Run it to its end; the exit status."""
    try:
        return asyncio.run(work) or 0
    except LinkError as err:
        say(f"the line cannot be used: {err}")
        return 1
