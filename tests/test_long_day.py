"""The short form of what `scripts/bench --home` prints: a whole Home Assistant with its recorder, on simulated time."""

from pathlib import Path
import re
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[1]


def _printed(*arguments: str) -> str:
    """What a run prints that kept every bound; in a process of its own, because it takes the clock over."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.long_day", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"a bound is broken, or it did not run:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _number(printed: str, name: str) -> float:
    found = re.search(rf"^  {re.escape(name)} +([+-]?[\d.]+)", printed, re.MULTILINE)
    assert found is not None, f"{name} is not printed"
    return float(found[1])


@pytest.mark.timeout(280)
def test_restarts_leave_the_entities_as_they_were_and_no_total_falls() -> None:
    """Three starts in three quarters of an hour, with one answer in 100 damaged: nothing is doubled, lost or counted back."""
    printed = _printed("restarts", "--lives", "3", "--minutes", "15", "--packs", "2")
    assert _number(printed, "damaged answers") > 0
    assert _number(printed, "energy totals that ever fell") == 0
    assert "the same after each of 3 starts: kept" in printed


@pytest.mark.timeout(280)
def test_an_hour_of_fourteen_packs_is_bearable_for_the_recorder_and_the_event_loop() -> None:
    """An hour of the morning, which writes about as much as the mean of a day, stays within a 24th of the bound."""
    printed = _printed("day", "--hours", "9")
    assert _number(printed, "all rows") > 0
    assert _number(printed, "ratio to bare calls for the same changes") > 1
