"""Energy of a simulated bank against what truly flowed, printed."""

import asyncio
import time

from tests.energy_month import Outcome, over_the_line, run


def show(*, long: bool) -> bool:
    """A day of fourteen packs, or `long` a month of readings and a day over the line; whether the bounds are kept."""
    if not long:
        return _print("a day of readings", time.process_time(), run(1.0))
    ok = _print("30 days of readings", time.process_time(), run(30.0))
    return _print("a day through client and line", time.process_time(), asyncio.run(over_the_line(24.0))) and ok


def _print(name: str, began: float, outcome: Outcome) -> bool:
    true, lost = outcome.true, 100 * outcome.lost / (outcome.lost + outcome.readings)
    print(f"  {name}: {outcome.packs} packs, {outcome.restarts} restarts of 20 s, {outcome.readings} readings")
    print(
        f"    answers damaged {lost:.1f} %; in truth {true.charged:.2f} kWh charged, {true.discharged:.2f} discharged"
    )
    print(f"    observed time, worst pack {100 * outcome.observed:7.3f} %   bound 0.1 %")
    print(f"    in all, worst pack        {100 * outcome.total:7.3f} %   bound 0.5 %")
    print(f"    in all, the bank          {100 * outcome.bank:7.3f} %")
    grown = "" if outcome.blocks is None else f", {outcome.blocks:+d} blocks of memory since a tenth of the time"
    print(f"    unobserved {outcome.unobserved:.0f} s, {'a total FELL' if outcome.fell else 'no total fell'}{grown}")
    print(f"    {time.process_time() - began:.0f} s of this machine; {'kept' if outcome.kept else 'BROKEN'}")
    return outcome.kept
