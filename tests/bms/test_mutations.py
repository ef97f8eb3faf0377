"""A million damaged frames: what the codec refuses, what its checksum lets pass, and what the gate stops then."""

import sys

import pytest

from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.pylon.protocol import Command, request
from tests.simulator.pylon_wire import encode

from .captured import samples, text_frames
from .mutation import Fault, Sample, run, table

COUNT = 1_000_000
SEED = 20261121
# Per cent of the frames that may get past the checksum and past the gate. A sum does not see that neighbours changed
# places; that serial numbers and limits have no gate makes up half of what is left.
BOUNDS = {
    Fault.FLIP_2: (0.8, 0.55),
    Fault.FLIP_3: (0.12, 0.08),
    Fault.FLIP_4: (0.06, 0.04),
    Fault.SWAP: (48.0, 27.0),
    Fault.CUT: (0.01, 0.01),
    Fault.JOIN: (0.06, 0.06),
}


def _pylon_samples() -> list[Sample]:
    """Real answers to everything that is polled, and a system's limits, of which no capture exists."""
    chosen = (
        "pylon-42-all-us2000x3", "pylon-42-single-up2500", "pylon-42-us5000-full", "pylon-42-us3000-discharging",
        "pylon-44-us2000c-5", "pylon-44-us2kbpl-5", "pylon-47-us2000c", "pylon-51-us3000c", "pylon-92-us3000c",
        "pylon-93-us2000c-3", "pylon-96-us3000c", "pylon-61-adr02", "pylon-62-jk",
    )  # fmt: skip
    captured = [c for c in text_frames("pylon.json") if c.id in chosen]
    assert len(captured) == len(chosen)
    limits = encode(2, 0, bytes.fromhex("D002AFC80172FE8EC0"))
    return [
        *samples(captured),
        Sample.of("63", POLLED["pylon-rs485-v35"], request(Command.SYSTEM_LIMITS, 2), limits),
    ]


@pytest.mark.timeout(240)
def test_damage_is_refused_or_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but FrameError and RefusedError leaves the codec; one flipped bit never changes a message.

    The shares are printed. Their bounds are those measured with this seed, with some room.
    """
    outcome = run(_pylon_samples(), COUNT, SEED)
    with capsys.disabled():
        sys.stdout.write(f"\npylon, {COUNT} frames\n{table(outcome)}\n")
    tallies = outcome.tallies
    assert sum(tally.frames for tally in tallies.values()) == COUNT
    assert tallies[Fault.FLIP_1].wrong == 0
    for fault, tally in tallies.items():
        assert tally.refused + tally.unchanged + tally.wrong == tally.frames
        checksum, gate = BOUNDS.get(fault, (0.0, 0.0))
        assert tally.share(tally.wrong) <= checksum
        assert tally.share(tally.published) <= gate
