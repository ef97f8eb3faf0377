"""A day of a real Home Assistant with a bank of packs, on simulated time: rows, bytes, cost, restarts; printed.

Figures of one run on one machine; what is written depends only on the day, what it costs on the machine.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Final

from .simulated_time import SimulatedTime

if TYPE_CHECKING:
    from tests.simulator.bank import Profile

    from .long_runs import Day, Restarts

# An hour before a Tuesday in Berlin; no night on which the recorder tidies up more than usual.
_EPOCH: Final = datetime(2026, 11, 23, 22, tzinfo=UTC).timestamp()
_DOMAIN: Final = "lfp_battery"  # not imported: that would look at the machine's clock
_MEGABYTE: Final = 1e6
_MOST: Final = 60.0  # MB a day
_RESTLESS: Final = "never at rest"  # a house that is has to keep within the bound, too
_SLOWEST: Final = 2.0  # ms an update
_RESOLUTION: Final = 0.0101  # kWh, in which a total is shown
_WRONG: Final = 0.005  # of what went through
_PAUSE: Final = 20.0  # s without Home Assistant


def _verdict(ok: bool) -> str:
    return "kept" if ok else "BROKEN"


def _print(name: str, value: float | str, note: str = "", digits: int = 0) -> None:
    shown = value if isinstance(value, str) else f"{value:.{digits}f}"
    print(f"  {name:<42}{shown:>10}  {note}".rstrip())


def print_day(day: Day, beside: Mapping[str, Day]) -> bool:
    """Rows by kind and bytes by table, beside some of its hours spent in other ways; whether the bound is kept."""
    runs = (day, *beside.values())

    def line(name: str, of: Callable[[Day], float], busiest: object = "", entities: int = 0) -> None:
        mean, *others = (of(run) / len(run.hours) for run in runs)
        more = "".join(f"{other:>15.0f}" for other in others)
        print(f"  {name:<42}{mean:>10.0f}{busiest:>9}{entities or '':>9}{more}".rstrip())

    _print("devices", day.devices)
    _print("entities on", day.entities)
    _print("entities off", day.disabled)
    _print("answers of packs", len(day.watch.packs))
    print(
        f"  {'state rows an hour':<42}{'mean':>10}{'busiest':>9}{'of':>9}" + "".join(f"{name:>15}" for name in beside)
    )
    few = 0
    for kind, rows in sorted(day.rows.items(), key=lambda item: -item[1].total):
        if all(run.rows[kind].total < len(run.hours) for run in runs):
            few += 1
        else:
            line(kind, lambda run, name=kind: run.rows[name].total, rows.busiest, rows.entities)  # type: ignore[misc]
    print(f"  ... and {few} kinds that have less than one an hour in all")
    line("all rows", lambda run: run.rows_in(run.hours), max(day.rows_in([hour]) for hour in day.hours), day.entities)
    line("all writes, the same again included", lambda run: run.writes.total)
    print("  bytes an hour")
    for table, size in sorted(day.added.bytes.items(), key=lambda item: -item[1]):
        if size >= len(day.hours):
            line(table, lambda run, name=table: run.added.bytes.get(name, 0))  # type: ignore[misc]
    _print("a row of states, bytes with its indexes", day.added.bytes["states"] / day.added.rows["states"])
    grown = _megabytes(day)
    ok = grown <= _MOST
    _print("recorder, MB a day", grown, f"bound {_MOST:g}: {_verdict(ok)}{_scaled(day)}", 1)
    for name, run in beside.items():
        kept = name != _RESTLESS or _megabytes(run) <= _MOST
        ok &= kept
        bound = f"bound {_MOST:g}: {_verdict(kept)}" if name == _RESTLESS else ""
        _print(f"... {name}, MB a day", _megabytes(run), (bound + _scaled(run)).removeprefix("; "), 1)
        if set(run.hours) <= set(day.hours):
            same = day.rows_in(run.hours)
            times = f"{run.rows_in(run.hours) / same:.2f} x the rows of the day's same hours"
            _print("    rows an hour", run.rows_in(run.hours) / len(run.hours), f"{times}, {same / len(run.hours):.0f}")
    return ok


def _megabytes(day: Day) -> float:
    return sum(day.added.bytes.values()) / _MEGABYTE * 24 / len(day.hours)


def _scaled(day: Day) -> str:
    if len(day.hours) == 24:
        return ""
    return f"; the hours from {', '.join(map(str, day.hours))} o'clock, times {24 / len(day.hours):g}"


def print_cost(day: Day) -> bool:
    """Event-loop time of an update, and beside bare calls; whether the bound is kept."""
    watch = day.watch
    ok = watch.per_pack <= _SLOWEST
    _print("an update, its share of the bank's, ms", watch.per_pack, f"bound {_SLOWEST:g}: {_verdict(ok)}", 3)
    _print("... of 100 updates 50 take at most", watch.quantile(50), "", 3)
    _print("... 99 take at most", watch.quantile(99), "", 3)
    _print("... the longest", max(watch.packs) / 1e6, "", 3)
    _print("the bank's figures and repairs, a round", sum(watch.rounds) / len(watch.rounds) / 1e6, "", 3)
    rest = (day.loop - sum(watch.simulator) / 1e9) / len(watch.packs) * 1000
    _print("all of the event loop, an update", rest, "line, codec and all of core; without the packs' side", 3)
    for (part, writes), bare in zip(day.samples, day.bare, strict=True):
        print(
            f"  {len(part.packs)} updates, {writes.total / len(part.packs):.1f} writes each,"
            f" {writes.changed / writes.total:.0%} changed: {part.per_pack:.3f} ms,"
            f" bare async_set {bare / len(part.packs) / 1e6:.3f} ms, ratio {part.taken / bare:.1f}"
        )
    ours = sum(part.taken for part, _ in day.samples)
    _print("ratio to bare calls for the same changes", ours / sum(day.bare), "", 1)
    return ok


def print_restarts(found: Restarts) -> bool:
    """Entities and energy over restarts; whether all is as it should be."""
    same = found.strangers == 0 and len(set(found.registered)) == len(set(found.shown)) == 1
    _print("damaged answers", found.damaged, f"of {found.answers}")
    _print(
        "entities registered", found.registered[-1], f"the same after each of {found.count} starts: {_verdict(same)}"
    )
    _print("... with a state", found.shown[-1])
    steady = found.fallen == 0
    _print("energy totals that ever fell", found.fallen, f"of {found.totals}: {_verdict(steady)}")
    allowed = {name: _WRONG * true + _RESOLUTION + found.slack[name] for name, true in found.truth.items()}
    right = all(abs(error) <= allowed[name] for name, error in found.errors.items())
    worst = max(found.errors, key=lambda name: abs(found.errors[name]) / allowed[name])
    _print("energy, worst total, off by kWh", found.errors[worst], f"of {found.truth[worst]:.3f}, {worst}", 4)
    for name in (name for name in found.errors if "_pack_" not in name):
        off = 100 * found.errors[name] / (found.truth[name] or 1.0)
        _print("energy of the bank, off by %", off, f"of {found.truth[name]:.3f} kWh, {name}", 3)
    print(
        f"  each within {100 * _WRONG:g} %, 0.01 kWh in which it is shown, and what comes in a round: {_verdict(right)}"
    )
    return same and steady and right


def _print_complaints(complaints: list[str]) -> None:
    """What the log says of us; of others it says what it does in every home that misses libraries and hours."""
    ours = [line for line in complaints if _DOMAIN in line.partition("] ")[0] or f"integration {_DOMAIN}" in line]
    for line in ours[:10]:
        print(f"  log: {line}")
    _print("warnings and errors of ours in the log", len(ours))


def run(arguments: argparse.Namespace, directory: Path) -> bool:
    """Everything that was asked for."""
    shared = SimulatedTime(epoch=_EPOCH)
    shared.take_over()
    # only now: what they import would look at the machine's clock
    from tests.simulator.bank import DayProfile  # noqa: PLC0415

    from .lived_in import LivedIn  # noqa: PLC0415
    from .long_runs import run_day, run_restarts  # noqa: PLC0415

    packs = arguments.packs
    calm: Profile = DayProfile()
    ok = True
    if "day" in arguments.parts:
        began = time.perf_counter()

        def spend(place: str, hours: Sequence[int], profile: Profile, *, everything: bool = False) -> Day:
            return run_day(shared, directory / place, packs=packs, hours=hours, profile=profile, everything=everything)

        day = spend("day", arguments.hours, calm)
        beside = {}
        if arguments.beside:
            beside["every value"] = spend("every", arguments.beside, calm, everything=True)
            beside[_RESTLESS] = spend("restless", arguments.beside, LivedIn())
        print(f"{packs} packs in a real Home Assistant with its recorder, {len(day.hours)} h of simulated time")
        ok &= print_day(day, beside)
        print(f"event loop, ms of its thread for an answer of one of {packs} packs")
        ok &= print_cost(day)
        _print_complaints(day.complaints)
        _print("processor for these hours, s", day.cpu, f"all took {time.perf_counter() - began:.0f} s")
    if "restarts" in arguments.parts:
        print(
            f"{packs} packs, {arguments.lives} x {arguments.minutes} min, {_PAUSE:g} s without Home Assistant between"
        )
        found = run_restarts(
            shared,
            directory / "restarts",
            packs=packs,
            lives=arguments.lives,
            seconds=60.0 * arguments.minutes,
            profile=calm,
            pause=_PAUSE,
        )
        ok &= print_restarts(found)
        _print_complaints(found.complaints)
        _print("processor, s", found.cpu)
    return ok


def main() -> int:
    """Print everything; 1 when a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m scripts.long_day", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["day", "restarts"], help="day, restarts; both if not said")
    parser.add_argument("--hours", type=int, nargs="*", default=range(24), metavar="HOUR", help="of the day; all 24")
    parser.add_argument(
        "--beside",
        type=int,
        nargs="*",
        default=(),
        metavar="HOUR",
        help="in which every value is written, and in which the house is never at rest, to compare",
    )
    parser.add_argument("--packs", type=int, default=14)
    parser.add_argument("--lives", type=int, default=24, help="how often Home Assistant is started for the restarts")
    parser.add_argument("--minutes", type=int, default=60, help="from a start to the next restart")
    parser.add_argument("--keep", type=Path, help="directory in which databases and logs stay")
    arguments = parser.parse_args()
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        return 0 if run(arguments, arguments.keep) else 1
    with tempfile.TemporaryDirectory(prefix="lfp-home-") as directory:
        return 0 if run(arguments, Path(directory)) else 1


if __name__ == "__main__":
    sys.exit(main())
