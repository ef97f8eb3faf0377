"""An hour of each kind of conversation between an inverter and packs, overheard without a byte of our own."""

import pytest

from .hearing import SCENES, Hearing, Scene

_HOUR = 3600.0
_PACKS = 3
# What the simulator does not write down, or no longer has: it keeps the last answers only.
_UNRECORDED = {"mode"}
_UNRECORDED_OF = {
    "pylon-rs485-v35": {
        "cycles",
        "manufacturer",
        "modules",
        "mosfet_temperature",
        "pcb_temperature",
        "soh",
        "temperature",
    },
    "voltronic-bms-485-20200325": {"alarms", "cell_temperatures", "mosfet_temperature"},
}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_an_hour_of_conversation_is_told_as_it_was_sent(scene: Scene) -> None:
    """Every value that is told was sent in the last answer that holds it, and nothing of ours was on the line."""
    hearing = Hearing(scene, _PACKS)
    await hearing.start(_HOUR)
    told = hearing.told
    await hearing.stop()
    assert hearing.inverter is not None
    reports = len(told.packs) + len(told.banks)
    questions = len(hearing.bus.foreign_requests)
    assert questions == pytest.approx(_HOUR, abs=10)
    assert told.banks if scene.for_bank else told.packs
    assert not (told.packs if scene.for_bank else told.banks)
    if not scene.for_bank:
        assert {report.address for _, report in told.packs} == set(hearing.bank.packs)
    # one a second when it speaks for all, else as often as a pack has its turn
    assert reports <= questions + 5
    assert reports >= questions / 4
    assert told.compared > 3 * reports
    assert {"voltage", "current"} <= told.fields
    assert told.unrecorded <= _UNRECORDED | _UNRECORDED_OF.get(scene.protocol, set())
    assert [error for _, error in told.links] == [None]
    assert len(told.cycles) == pytest.approx(_HOUR / 10, abs=2)
