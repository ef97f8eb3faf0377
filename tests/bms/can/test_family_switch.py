"""A battery that is set to another family of frames: when that is found out, and what is told meanwhile."""

from collections.abc import AsyncIterator, Mapping
from itertools import permutations
from typing import Any

import pytest

from .bus_rig import BusRig, MakeBus, alarms, charge, flow, limits, pylon_set, values_of


def _words(*numbers: int) -> str:
    return b"".join(number.to_bytes(2, "little", signed=number < 0) for number in numbers).hex()


_NOTHING = "00" * 8
# Sets that share ids, each with figures that it alone would have: current, and charge.
SETS: Mapping[str, Mapping[str, str]] = {
    "pylon": pylon_set(x356=flow(52.1, 10.0), x359=alarms((0, 2))),
    "deye_pcs": {
        "x351": limits(58.4, 50, 60, 44), "x355": charge(63, 98), "x356": _words(5210, 125, 250), "x359": _NOTHING,
        "x35C": "00", "x35E": b"DY001".hex() + "03e803", "x361": _words(3300, 3290, 250, 240), "x364": "0100000001",
        "x400": "0200" + _words(12, 0, 0), "x150": _words(521, 125, 630, 980),
    },
    "afore": {
        "x350": _words(528, 5100, 1250), "x351": "4262000023000010", "x352": _words(500, 500, 568, 460),
        "x353": _NOTHING, "x354": _words(3310, 3300, 1, 2), "x355": _words(1250, 1240, 1, 2),
        "x356": _words(3650, 2500, 0, 0), "x359": b"AFORE123".hex(), "x35A": b"45678901".hex(),
    },
    "sofar": {
        "x351": limits(), "x355": charge(61, 97) + _words(-1, 122), "x356": flow(52.2, -7.0) + "1f00",
        "x359": "0201020f00000000", "x35E": b"AMASS".hex(), "x35F": "01010203" + _words(200, 0), "x30F": "0003",
    },
    "discover": {
        "x351": limits(), "x355": charge(62, 96), "x356": _words(523, -80, 250), "x354": _words(100, 62),
        "x35A": "00" * 7, "x35E": b"DISCOVER".hex(),
    },
    "li_residential": {
        "x351": limits(), "x355": charge(64, 95), "x356": _words(524, 55, 250), "x359": _NOTHING, "x35C": "c0",
        "x399": _words(50, 0, 0, 0), "x3DA": _words(3312, 3301, 1, 2), "x3DB": "4b4a0102",
    },
    "victron": {
        "x351": limits(), "x355": charge(66, 94), "x356": flow(52.5, 4.0), "x35A": "aa" * 8, "x35E": b"BYD".hex(),
        "x372": _words(1, 0, 0, 0), "x373": _words(3301, 3312, 297, 298),
    },
    "pytes": {
        "x400": _words(532, 500, 500, 445), "x401": _words(3309, 3302) + "07000400", "x402": _words(230, 220, 0, 0),
        "x403": _NOTHING, "x404": _words(67, 93, 1, 28), "x405": _words(5260, 33, 226, 0), "x408": "01010000000000",
        "x409": (50000).to_bytes(4, "little").hex() + (33500).to_bytes(4, "little").hex(), "x40A": b"PYTES".hex(),
    },
}  # fmt: skip
WHAT_IS: Mapping[str, tuple[float, int]] = {
    "pylon": (10.0, 60), "deye_pcs": (-12.5, 63), "afore": (10.0, 66), "sofar": (-7.0, 61), "discover": (-8.0, 62),
    "li_residential": (5.5, 64), "victron": (4.0, 66), "pytes": (3.3, 67),
}  # fmt: skip
PAIRS = [(one, other) for one, other in permutations(SETS, 2) if SETS[one].keys() & SETS[other].keys() - {"x35E"}]


@pytest.fixture
async def make_bus() -> AsyncIterator[MakeBus]:
    """Buses whose clients end with the test."""
    rigs: list[BusRig] = []

    async def make(name: str | None = None, seconds: float = 0.0, **kwargs: Any) -> BusRig:
        rig = BusRig(name, grain=0.0, **kwargs)
        rigs.append(rig)
        await rig.start(seconds)
        return rig

    yield make
    for rig in rigs:
        await rig.stop()


@pytest.mark.parametrize("pause", [5, 15, 45])
@pytest.mark.parametrize(("before", "after"), PAIRS)
async def test_what_is_told_is_of_one_family_or_the_other(
    make_bus: MakeBus, before: str, after: str, pause: int
) -> None:
    """After a pause nothing of the new set is told as the old one reads it, and the new one is found out soon."""
    rig = await make_bus(None, family=before)
    await rig.repeat(40, **SETS[before])
    assert (rig.state.current, rig.state.soc) == WHAT_IS[before]
    old = values_of(rig.state)
    since = len(rig.banks)
    await rig.clock.advance(pause)
    resumed = rig.now
    await rig.repeat(60, **SETS[after])
    changed, right = None, values_of(rig.state)
    for when, report in rig.told.banks[since:]:
        assert report.state is not None
        told = values_of(report.state)
        if (told.get("current"), told.get("soc")) == WHAT_IS[after] and report.state.family == after:
            changed = changed or when - resumed
        elif report.online and changed is None:
            misread = {name for name, value in told.items() if value not in (old.get(name), right.get(name))}
            assert not misread, f"{when - resumed:.1f} s after it began: {misread}"
    assert rig.told.families[-1:] == [after]
    assert (rig.state.current, rig.state.soc) == WHAT_IS[after]
    assert changed is not None and changed <= 37


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("pause", [5, 15, 45])
async def test_a_pause_alone_keeps_nothing_back(make_bus: MakeBus, name: str, pause: int) -> None:
    """The same set goes on: it is told of within seconds, and is no other family."""
    rig = await make_bus(None, family=name)
    await rig.repeat(40, **SETS[name])
    await rig.clock.advance(pause)
    resumed = rig.now
    await rig.repeat(60, **SETS[name])
    assert not rig.told.families
    assert next(when for when, _ in rig.told.banks if when > resumed) - resumed <= 5
    assert (rig.state.current, rig.state.soc) == WHAT_IS[name]


@pytest.mark.parametrize("stray", ["x361", "x354", "x399", "x3DA", "x605", "x311"])
async def test_one_stray_frame_is_read_by_nobody(make_bus: MakeBus, stray: str) -> None:
    """No inverted current and no alarm for ten minutes; nor is anything kept back."""
    rig = await make_bus(None, family="pylon")
    await rig.repeat(20, **SETS["pylon"])
    before = values_of(rig.state)
    told = len(rig.banks)
    await rig.say(**{stray: _NOTHING})
    await rig.repeat(30, **SETS["pylon"])
    assert values_of(rig.state) == before
    assert not rig.told.families
    assert len(rig.banks) - told == 6


async def test_energy_is_not_told_before_it_is_known_in_which_unit(make_bus: MakeBus) -> None:
    """MG counts in hundredths, and its name may come later than its counters."""
    rig = await make_bus(None, family="victron")
    usual = {**SETS["victron"], "x378": (12340).to_bytes(4, "little").hex() * 2}
    del usual["x35E"]
    await rig.repeat(10, **usual)
    assert rig.state.energy_charged is rig.state.energy_discharged is None
    await rig.repeat(10, **usual, x35E=b"MG-BMS".hex())
    assert rig.state.energy_charged == rig.state.energy_discharged == 123.4


async def test_alarms_that_flicker_and_are_sent_on_change_stand(make_bus: MakeBus) -> None:
    """Sofar's 35A came five times in five seconds, as if it had a pace; the alarm that was last raised stands."""
    rig = await make_bus(None, family="sofar")
    await rig.repeat(20, **SETS["sofar"])
    for high in (True, False, True, False, True):
        await rig.repeat(1, **SETS["sofar"], x35A=("04" if high else "08") + "00" * 7)
    await rig.repeat(300, **SETS["sofar"])
    assert rig.state.alarms
    await rig.clock.advance(90)
    assert not rig.bank_report.online
    await rig.repeat(20, **SETS["sofar"])
    assert rig.state.alarms is None
