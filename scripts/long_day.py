"""A day of a real Home Assistant with a bank of packs, on simulated time: rows, bytes, cost, restarts; printed.

Figures of one run on one machine; what is written depends only on the day, what it costs on the machine.
"""

import argparse
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
_MEGABYTE: Final = 1e6
_MOST: Final = 60.0  # MB a day
_SLOWEST: Final = 2.0  # ms an update
_RESOLUTION: Final = 0.0101  # kWh, in which a total is shown
_WRONG: Final = 0.005  # of what went through
_DOMAIN: Final = "lfp_battery"  # not imported: that would look at the machine's clock
_PAUSE: Final = 20.0  # s without Home Assistant


def _verdict(ok: bool) -> str:
    return "kept" if ok else "BROKEN"


def print_day(day: Day, every: Day | None) -> bool:
    """Rows by kind and bytes by table; whether the bound is kept."""
    hours = len(day.hours)
    print(
        f"  {day.devices} devices, {day.entities} entities on, {day.disabled} off; {len(day.watch.packs)} answers of packs"
    )
    print(
        f"  {'state rows an hour':<40}{'entities':>9}{'mean':>9}{'busiest':>9}"
        + (f"{'every value':>13}" if every else "")
    )
    few = 0
    for kind, rows in sorted(day.rows.items(), key=lambda item: -item[1].total):
        if rows.total < hours and (every is None or every.rows[kind].total < len(every.hours)):
            few += 1
            continue
        line = f"  {kind:<40}{rows.entities or '':>9}{rows.total / hours:>9.0f}{rows.busiest:>9}"
        print(line + (f"{every.rows[kind].total / len(every.hours):>13.0f}" if every else ""))
    line = f"  {'values written, changed or not':<40}{day.entities:>9}{day.writes.total / hours:>9.0f}{'':>9}"
    print(line + (f"{every.writes.total / len(every.hours):>13.0f}" if every else ""))
    print(f"  {few} more kinds have less than one row an hour each")
    busiest = max(day.rows_in([hour]) for hour in day.hours)
    line = f"  {'all':<40}{day.entities:>9}{day.rows_in(day.hours) / hours:>9.0f}{busiest:>9}"
    print(line + (f"{every.rows_in(every.hours) / len(every.hours):>13.0f}" if every else ""))
    print(f"  {'bytes an hour':<40}{'rows':>9}{'bytes':>18}" + (f"{'every value':>13}" if every else ""))
    for table, size in sorted(day.added.bytes.items(), key=lambda item: -item[1]):
        if size >= hours:
            line = f"  {table:<40}{day.added.rows.get(table, 0) / hours:>9.0f}{size / hours:>18.0f}"
            print(line + (f"{every.added.bytes.get(table, 0) / len(every.hours):>13.0f}" if every else ""))
    grown = _megabytes(day)
    ok = grown <= _MOST
    print(f"  recorder, MB a day{grown:>31.1f}  bound {_MOST:g}: {_verdict(ok)}{_scaled(day)}")
    if every is not None:
        print(
            f"  every value at every answer, MB a day{_megabytes(every):>12.1f}"
            f"  {_megabytes(every) / grown:.1f} x as much{_scaled(every)}"
        )
        if set(every.hours) < set(day.hours):
            part = day.rows_in(every.hours) * 24 / len(every.hours) / (day.rows_in(day.hours) * 24 / hours)
            print(f"  these hours for a day{part:>28.2f}  of its rows, where only what differs is written")
    return ok


def _megabytes(day: Day) -> float:
    return sum(day.added.bytes.values()) / _MEGABYTE * 24 / len(day.hours)


def _scaled(day: Day) -> str:
    if len(day.hours) == 24:
        return ""
    return f"; measured in the hours from {', '.join(map(str, day.hours))} o'clock, times {24 / len(day.hours):g}"


def print_cost(day: Day) -> bool:
    """Event-loop time of an update, and beside bare calls; whether the bound is kept."""
    watch = day.watch
    ok = watch.per_pack <= _SLOWEST
    print(f"  an update, its entities written{watch.per_pack:>18.3f} ms  bound {_SLOWEST:g}: {_verdict(ok)}")
    print(f"  ... of 100 updates, 50 take at most{watch.quantile(50):>14.3f} ms")
    print(f"  ... 99 take at most{watch.quantile(99):>30.3f} ms")
    print(f"  ... the longest{max(watch.packs) / 1e6:>34.3f} ms")
    print(f"  renewing the bank, once a round{sum(watch.rounds) / len(watch.rounds) / 1e6:>18.3f} ms")
    rest = (day.loop - sum(watch.simulator) / 1e9) / len(watch.packs) * 1000
    print(f"  the whole event loop, an update{rest:>18.3f} ms  line, codec and core included, packs' side taken off")
    for (part, writes), bare in zip(day.samples, day.bare, strict=True):
        per = writes.total / len(part.packs)
        print(
            f"  {len(part.packs):>5} updates, {per:>5.1f} writes each, {writes.changed / writes.total:>4.0%} changed:"
            f"{part.per_pack:>8.3f} ms, bare async_set{bare / len(part.packs) / 1e6:>7.3f} ms, ratio {part.taken / bare:.2f}"
        )
    ours = sum(part.taken for part, _ in day.samples)
    print(f"  ratio to bare calls for the same changes{ours / sum(day.bare):>9.2f}")
    return ok


def print_restarts(found: Restarts) -> bool:
    """Entities and energy over restarts; whether all is as it should be."""
    same = found.strangers == 0 and len(set(found.registered)) == len(set(found.shown)) == 1
    print(f"  damaged answers{found.damaged:>34} of {found.answers}")
    print(f"  entities after each of {found.count} starts{found.registered[-1]:>17}  constant: {_verdict(same)}")
    steady = found.fallen == 0
    print(f"  energy totals that ever fell{found.fallen:>21} of {found.totals}: {_verdict(steady)}")
    allowed = {name: _WRONG * true + _RESOLUTION + found.slack[name] for name, true in found.truth.items()}
    right = all(abs(error) <= allowed[name] for name, error in found.errors.items())
    worst = max(found.errors, key=lambda name: abs(found.errors[name]) / allowed[name])
    print(f"  energy, worst total{found.errors[worst]:>+30.4f} kWh  of {found.truth[worst]:.3f}, {worst}")
    print(f"  energy, all packs{_off(found, 'pack'):>+32.3f} %")
    print(
        f"  energy, bank{_off(found, 'bank_energy'):>+37.3f} %  bound {100 * _WRONG:g} of each total: {_verdict(right)}"
    )
    return same and steady and right


def _off(found: Restarts, part: str) -> float:
    """By how many % the totals of these entities are off together."""
    names = [name for name in found.errors if part in name]
    return 100 * sum(found.errors[name] for name in names) / (sum(found.truth[name] for name in names) or 1.0)


def _print_complaints(complaints: list[str]) -> None:
    """What the log says of us; of others it says what it says in every home that misses libraries and hours."""
    ours = [line for line in complaints if _DOMAIN in line.partition("] ")[0] or f"integration {_DOMAIN}" in line]
    for line in ours[:10]:
        print(f"  log: {line}")
    print(f"  warnings and errors of ours in the log{len(ours):>11}")


def run(arguments: argparse.Namespace, directory: Path) -> bool:
    """Everything that was asked for."""
    shared = SimulatedTime(epoch=_EPOCH)
    shared.take_over()
    # only now: what they import would look at the machine's clock
    from tests.simulator.bank import DayProfile  # noqa: PLC0415

    from .lived_in import LivedIn  # noqa: PLC0415
    from .long_runs import run_day, run_restarts  # noqa: PLC0415

    profile: Profile = DayProfile() if arguments.calm else LivedIn()
    packs = arguments.packs
    ok = True
    name = "the simulator's household" if arguments.calm else "the simulator's household, never at rest"
    if "day" in arguments.parts:
        began = time.perf_counter()
        hours = arguments.hours
        day = run_day(shared, directory / "day", packs=packs, hours=hours, profile=profile)
        every = None
        if arguments.every:
            every = run_day(
                shared, directory / "every", packs=packs, hours=arguments.every, profile=profile, everything=True
            )
        print(f"{packs} packs in a real Home Assistant with its recorder, {len(hours)} h, {name}")
        ok &= print_day(day, every)
        print(f"event loop, time of its thread for an answer of one of {packs} packs")
        ok &= print_cost(day)
        _print_complaints(day.complaints)
        print(f"  {day.cpu:.0f} s of this machine's processor; all took {time.perf_counter() - began:.0f} s")
    if "restarts" in arguments.parts:
        found = run_restarts(
            shared,
            directory / "restarts",
            packs=packs,
            lives=arguments.lives,
            seconds=60.0 * arguments.minutes,
            profile=profile,
            pause=_PAUSE,
        )
        print(
            f"{packs} packs, {arguments.lives} x {arguments.minutes} min, {_PAUSE:g} s without Home Assistant between, {name}"
        )
        ok &= print_restarts(found)
        _print_complaints(found.complaints)
        print(f"  {found.cpu:.0f} s of this machine's processor")
    return ok


def main() -> int:
    """Print everything; 1 when a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m scripts.long_day", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["day", "restarts"], help="day, restarts; both if not said")
    parser.add_argument("--hours", type=int, nargs="*", default=range(24), metavar="HOUR", help="of the day; all 24")
    parser.add_argument(
        "--every", type=int, nargs="*", default=(), metavar="HOUR", help="in which every value is written, to compare"
    )
    parser.add_argument("--packs", type=int, default=14)
    parser.add_argument("--lives", type=int, default=24, help="how often Home Assistant is started for the restarts")
    parser.add_argument("--minutes", type=int, default=60, help="from a start to the next restart")
    parser.add_argument("--calm", action="store_true", help="the simulator's household as it is, quiet at night")
    parser.add_argument("--keep", type=Path, help="directory in which databases and logs stay")
    arguments = parser.parse_args()
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        return 0 if run(arguments, arguments.keep) else 1
    with tempfile.TemporaryDirectory(prefix="lfp-home-") as directory:
        return 0 if run(arguments, Path(directory)) else 1


if __name__ == "__main__":
    sys.exit(main())
