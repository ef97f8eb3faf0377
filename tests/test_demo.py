"""The demo: what a person sees of it that a run to the end does not show. That run is `scripts/demo --once`."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest

from custom_components.lfp_battery.bms.clock import SystemClock
from scripts.demo_bank import Totals, bank_differences, uncounted
from scripts.demo_batteries import Battery, make_batteries
from scripts.demo_desk import Desk
from scripts.home import Home

ROOT = Path(__file__).parents[1]


@pytest.fixture
def batteries(tmp_path: Path) -> list[Battery]:
    """Those of the demo, their ports not made."""
    return make_batteries(SystemClock(), tmp_path)


def test_no_two_packs_of_the_demo_share_a_serial_number(batteries: list[Battery]) -> None:
    """Else the home begins with a repair about one battery that is read twice; some protocols tell eight letters only."""
    serials = [pack.spec.serial for battery in batteries for pack in battery.bank.packs.values()]
    assert len(set(serials)) == len(serials) == 12
    assert len({battery.bank.packs[min(battery.bank.packs)].spec.serial[:8] for battery in batteries}) == len(batteries)


def test_what_the_editors_write_is_part_of_the_home(tmp_path: Path) -> None:
    """An automation that is saved and not included is nowhere to be seen."""
    home = Home(directory=tmp_path / "config", port=8123)
    home.lay_out([])
    home.let_edit()
    lines = (home.directory / "configuration.yaml").read_text(encoding="utf-8").splitlines()
    for domain, name in (("automation", "automations"), ("script", "scripts"), ("scene", "scenes")):
        assert f"{domain}: !include {name}.yaml" in lines
        assert (home.directory / f"{name}.yaml").is_file()


def test_a_pack_is_silent_from_unplug_to_plug(batteries: list[Battery]) -> None:
    """Numbers go through all packs that have a device: the fifth is the first of the second battery."""
    desk = Desk(batteries)
    first, second = (battery.bank for battery in batteries[:2])
    assert "silent" not in desk.obey("unplug 4\r")
    assert first.present(5) is None
    desk.obey("unplug 5")
    assert second.present(1) is None
    desk.obey("plug 4")
    assert first.present(5) is not None
    assert second.present(1) is None


@pytest.mark.parametrize(
    "typed", ["", "unplug", "unplug 0", "unplug 8", "unplug four", "pull 4", "unplug 4 5", "unplug ²"]
)
def test_what_is_no_command_is_answered_with_the_commands(batteries: list[Battery], typed: str) -> None:
    """And nothing is unplugged."""
    desk = Desk(batteries)
    assert desk.obey(typed) == desk.help
    assert not any(pack.silent for battery in batteries for pack in battery.bank.packs.values())


def test_the_greeting_says_whose_numbers_are_whose(batteries: list[Battery]) -> None:
    """Banks that speak for their packs have none to unplug."""
    assert "1 to 4 of the Pylontech bank on RS485, 5 to 7 of the Pytes stack on its console." in Desk(batteries).help


@pytest.fixture
def descriptors() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


async def test_a_pipe_is_not_a_terminal(batteries: list[Battery], descriptors: tuple[int, int]) -> None:
    """In continuous integration nobody types, and nothing is greeted."""
    said: list[str] = []
    os.write(descriptors[1], b"unplug 4\n")
    with Desk(batteries).open(descriptors[0], said.append):
        await asyncio.sleep(0.05)
    assert not said
    assert batteries[0].bank.present(5) is not None
    assert os.read(descriptors[0], 100) == b"unplug 4\n"


_AT_A_TERMINAL = """
import asyncio, os, pathlib, sys
os.login_tty(0)
from custom_components.lfp_battery.bms.clock import SystemClock
from scripts.demo_batteries import make_batteries
from scripts.demo_desk import Desk

async def sit() -> None:
    bank = make_batteries(SystemClock(), pathlib.Path(sys.argv[1]))
    with Desk(bank).open(0, print):
        while any(bank[0].bank.present(address) for address in (3, 4)):
            await asyncio.sleep(0.01)

asyncio.run(sit())
"""


def test_lines_of_a_terminal_are_obeyed(tmp_path: Path) -> None:
    """In a process of its own, for only that has a terminal in front of it; it ends when both are silent."""
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", _AT_A_TERMINAL, str(tmp_path)], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs
    )
    try:
        os.write(ours, b"unplug 2\nunplug 3\n")
        code = child.wait(30)
        seen = os.read(ours, 65536).decode()
    finally:
        child.kill()
        child.wait()
        os.close(ours)
        os.close(theirs)
    assert code == 0, seen
    assert "Type unplug 4 and Enter" in seen
    assert "Pack 3 of the Pylontech bank on RS485 answers nothing any more" in seen


# --- what the run to the end holds against what was sent --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Sent:
    """Two packs, the first twice the size, and what they said last."""

    name: str = "bank"
    units: Mapping[str, int | None] = field(default_factory=lambda: {"A": 1, "B": 2})

    def sent(self, address: int | None) -> Sequence[Mapping[str, Any]]:
        """Both charge with 500 W."""
        full, left = (200.0, 100.0) if address == 1 else (100.0, 80.0)
        return [{"voltage": 50.0, "current": 10.0, "remaining_capacity": left, "full_capacity": full}]


def _shown(**values: float | str) -> dict[str, dict[str, Any]]:
    return {"bank": {key: {"entity_id": f"sensor.{key}", "state": str(value)} for key, value in values.items()}}


@pytest.mark.parametrize(
    ("power", "soc", "wrong"),
    [
        (1000, 60, 0),
        (500, 60, 1),  # the mean instead of the sum
        (1000, 65, 1),  # every pack alike
        ("unavailable", "unknown", 2),
    ],
)
def test_the_figures_of_a_bank_are_held_against_its_packs(power: float | str, soc: float | str, wrong: int) -> None:
    """The sum of the power, and the charge by capacity."""
    assert len(bank_differences(_Sent(), _shown(power=power, soc=soc))) == wrong


def test_a_bank_that_speaks_for_its_packs_has_no_figures_of_theirs() -> None:
    """It is held against what it said itself."""
    assert not bank_differences(_Sent(units={"bank": None}), {})
    assert not uncounted(_Sent(units={"bank": None}), {})


def test_a_total_that_falls_is_seen_over_a_gap() -> None:
    """Unavailable in between, as over a restart."""
    totals = Totals()
    looks = ("0.03", "unavailable", "0.03", "0.04", "0.02")
    fell = [bool(totals.fallen(_shown(energy_charged=look, power=1).values())) for look in looks]
    assert fell == [False, False, False, False, True]


@pytest.mark.parametrize(("charged", "lost"), [("0.02", False), ("0.0", True), ("unknown", True)])
def test_a_bank_that_forgot_its_energy_is_seen(charged: str, *, lost: bool) -> None:
    """After a restart it must not begin at nothing."""
    assert bool(uncounted(_Sent(), _shown(energy_charged=charged, energy_discharged="0.0"))) is lost
