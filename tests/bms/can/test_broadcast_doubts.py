"""Listening to a battery of which a frame is lost, cut short or leaps, and to two that look like one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.errors import LinkProblem
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.bms.protocols.can import CAN

from .bus_rig import BusRig, MakeBus, alarms, charge, flow, limits, pylon_set

_HIGH = Alarm(condition=Condition.OVERVOLTAGE, severity=Severity.PROTECTION)
_HIGH_IN_35A = "04" + "00" * 7
_HEALTHY_35A = "AA" * 8
_NOT_SUPPORTED = "00" * 8
_VICTRON = {"x351": limits(), "x355": charge(), "x356": flow(), "x35E": b"BYD     ".hex(), "x360": "00"}


@pytest.fixture
async def make_bus() -> AsyncIterator[MakeBus]:
    """Buses whose clients end with the test."""
    rigs: list[BusRig] = []

    async def make(name: str | None = None, seconds: float = 0.0, **kwargs: Any) -> BusRig:
        rig = BusRig(name, **kwargs)
        rigs.append(rig)
        await rig.start(seconds)
        return rig

    yield make
    for rig in rigs:
        await rig.stop()
    assert len(asyncio.all_tasks()) == 1


def _without(frames: dict[str, str], *lost: str) -> dict[str, str]:
    return {name: data for name, data in frames.items() if name not in lost}


def _alarms_told(rig: BusRig, since: int) -> Iterator[frozenset[Alarm] | None]:
    for report in rig.banks[since:]:
        assert report.state is not None
        yield report.state.alarms


# --- alarms that are not told any more --------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [_NOT_SUPPORTED, _HEALTHY_35A], ids=["says nothing", "says that all is well"])
@pytest.mark.parametrize("bits", [[], [(0, 1)]], ids=["none", "active"])
async def test_a_lost_alarm_frame_is_no_all_clear_although_another_one_comes(
    make_bus: MakeBus, bits: list[tuple[int, int]], other: str
) -> None:
    """What 359 would say now, 35A cannot: the alarms are unknown until 359 is back."""
    rig = await make_bus()
    frames = pylon_set(x359=alarms(*bits), x35A=other)
    await rig.repeat(10, **frames)
    known = frozenset({_HIGH} if bits else ())
    assert rig.value("alarms") == known
    since = len(rig.banks)
    await rig.repeat(60, **_without(frames, "x359"))
    assert rig.value("alarms") is None
    assert all(told is None or told == known for told in _alarms_told(rig, since))
    assert rig.state.voltage == 52.0
    await rig.repeat(6, **pylon_set(x35A=other))
    assert rig.state.alarms == frozenset()


async def test_of_two_alarm_frames_the_one_that_is_left_tells_its_own(make_bus: MakeBus) -> None:
    """An alarm that is active in it stands, whatever the lost one would say."""
    rig = await make_bus()
    frames = pylon_set(x359=alarms((1, 0)), x35A=_HIGH_IN_35A)
    await rig.repeat(10, **frames)
    assert rig.state.alarms is not None
    assert len(rig.state.alarms) == 2
    await rig.repeat(45, **_without(frames, "x359"))
    assert rig.state.alarms == {_HIGH}


@pytest.mark.parametrize("data", ["", "00", "000000", "FF"], ids=["empty", "one byte", "three bytes", "other bits"])
@pytest.mark.parametrize("frame", ["x359", "x35A"])
async def test_an_alarm_frame_that_shrinks_ends_no_alarm(make_bus: MakeBus, frame: str, data: str) -> None:
    """A frame that does not reach the bit of an alarm says nothing of it."""
    rig = await make_bus()
    full = pylon_set(x359=alarms((3, 0)), x35A="00" * 6 + "0100")  # the last bytes of each
    await rig.repeat(10, **full)
    since = len(rig.banks)
    await rig.repeat(40, **{**full, frame: data})
    told = list(_alarms_told(rig, since))
    assert frozenset() not in told
    await rig.repeat(40, **{**full, "x359": data, "x35A": data})
    assert rig.state.alarms is None or rig.state.alarms
    assert data == "FF" or rig.state.alarms is None


async def test_one_short_frame_amid_whole_ones_is_not_told(make_bus: MakeBus) -> None:
    """It ends nothing, and the next one says again what there is."""
    rig = await make_bus()
    frames = pylon_set(x359=alarms((1, 0)))
    await rig.repeat(12, **frames)
    since = len(rig.banks)
    await rig.say(x359="00")
    await rig.clock.advance(0.2)
    await rig.repeat(8, **frames)
    assert all(_alarms_told(rig, since))


async def test_an_alarm_frame_that_comes_at_a_pace_grows_stale_like_any_other(make_bus: MakeBus) -> None:
    """Whether it came a hundred times or once, and also after the bus was silent for a moment."""
    rig = await make_bus(family="victron")
    await rig.repeat(20, **_VICTRON, x35A=_HEALTHY_35A)
    await rig.clock.advance(11)
    await rig.say(**_VICTRON, x35A=_HEALTHY_35A)
    await rig.repeat(20, **_VICTRON)
    assert rig.value("alarms") == frozenset()
    await rig.repeat(100, **_VICTRON)
    assert rig.value("alarms") is None
    once = await make_bus(family="victron")
    await once.say(**_VICTRON, x35A=_HEALTHY_35A)
    await once.repeat(40, **_VICTRON)
    assert once.state.alarms is None


async def test_a_frame_that_is_sent_on_change_only_stands_until_it_changes(make_bus: MakeBus) -> None:
    """Sofar sends its alarms when they are others (can.md 6.12), however often that was."""
    rig = await make_bus(family="sofar")
    frames = {"x359": "0110010F01000000", "x351": limits(), "x355": charge(), "x356": flow()}
    await rig.repeat(10, **frames)
    assert rig.state.alarms is None
    for data in (_HIGH_IN_35A, _NOT_SUPPORTED) * 5:
        await rig.say(x35A=data)
        await rig.repeat(1, **frames)
    await rig.say(x35A=_HIGH_IN_35A)
    await rig.repeat(600, **frames)
    assert rig.state.alarms == {_HIGH}


# --- what comes back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", [1.0, 10.0])
async def test_what_comes_back_after_it_was_too_old_is_shown_as_it_is_now(make_bus: MakeBus, period: float) -> None:
    """The charge of an hour ago is neither shown nor held against the new one."""
    rig = await make_bus()
    for lost, times in (False, 10), (True, 60):
        for _ in range(times):
            await rig.say(**_without(pylon_set(x355=charge(80)), *["x355"] * lost))
            await rig.clock.advance(period)
    assert rig.state.soc is None
    await rig.say(**pylon_set(x355=charge(20)))
    report = await rig.client.read_bank()
    assert report is not None
    assert report.state is not None
    assert (report.state.soc, report.held_back) == (20, {})


async def test_what_comes_back_as_nonsense_is_not_replaced_by_what_it_was_once(make_bus: MakeBus) -> None:
    """Nought volts after ten minutes without a voltage: unknown, not the voltage of ten minutes ago."""
    rig = await make_bus()
    await rig.repeat(10, **pylon_set())
    await rig.repeat(600, **_without(pylon_set(), "x356"))
    since = len(rig.banks)
    await rig.repeat(25, **pylon_set(x356="000000000000"))
    for report in rig.banks[since:]:
        assert report.state is not None
        assert report.state.voltage is None
        assert report.held_back["voltage"] == "blank"


async def test_an_alarm_that_comes_back_with_its_frame_is_told_at_once(make_bus: MakeBus) -> None:
    """The same payload as before it was lost is news all the same."""
    rig = await make_bus()
    frames = pylon_set(x359=alarms((0, 1)))
    await rig.repeat(10, **frames)
    await rig.repeat(46, **_without(frames, "x359"))
    assert rig.state.alarms is None
    await rig.clock.advance(0.3)
    await rig.say(**frames)
    assert rig.state.alarms == {_HIGH}


async def test_a_frame_slower_than_it_is_given_time_at_first_is_learnt(make_bus: MakeBus) -> None:
    """One that comes once a minute is missing twice, and then stands."""
    rig = await make_bus()
    for _ in range(2):
        await rig.say(x351=limits())
        await rig.repeat(60, **_without(pylon_set(), "x351"))
    since = len(rig.banks)
    for _ in range(4):
        await rig.say(x351=limits())
        await rig.repeat(60, **_without(pylon_set(), "x351"))
    assert all(report.state and report.state.charge_voltage_limit == 56.0 for report in rig.banks[since + 1 :])


async def test_a_bus_unplugged_and_replugged_without_a_pause_comes_back(make_bus: MakeBus) -> None:
    """The loss is told, and nothing from before it is shown after it."""
    rig = await make_bus()
    await rig.repeat(20, **pylon_set(x359=alarms((0, 1)), x355=charge(80)))
    for _ in range(3):
        rig.bus.unplug()
        await rig.clock.settle()
        rig.bus.replug()
        await rig.clock.advance(15)
        assert rig.told.links[-1][1] is None
        before = len(rig.banks)
        await rig.repeat(8, **pylon_set(x355=charge(20)))
        assert rig.banks[before:]
        assert {report.state and report.state.soc for report in rig.banks[before:]} == {20}
        assert rig.state.alarms == frozenset()
        await rig.repeat(8, **pylon_set(x359=alarms((0, 1)), x355=charge(80)))
    assert [error.problem for _, error in rig.told.links if error] == [LinkProblem.LOST] * 3


# --- what leaps -------------------------------------------------------------------------------------------------------


async def test_while_one_value_is_doubted_the_others_of_its_frame_are_new(make_bus: MakeBus) -> None:
    """A load that takes six volts draws its current at once; the power of an old voltage is marked as well."""
    rig = await make_bus()
    await rig.repeat(10, **pylon_set())
    await rig.say(**pylon_set(x356=flow(voltage=46.0, current=-200.0, temperature=21.0)))
    report = await rig.client.read_bank()
    assert report is not None
    assert report.state is not None
    assert (report.state.voltage, report.state.current, report.state.temperature) == (52.0, -200.0, 21.0)
    assert report.state.power == pytest.approx(-200 * 52)
    assert report.held_back == {"voltage": "jump", "power": "jump"}
    await rig.repeat(6, **pylon_set(x356=flow(voltage=46.0, current=-200.0, temperature=21.0)))
    assert rig.state.voltage == 46.0
    assert rig.state.power == pytest.approx(-9200)
    assert not rig.bank_report.held_back


async def test_a_charge_that_moves_far_in_one_direction_is_of_one_battery(make_bus: MakeBus) -> None:
    """Three percent a frame, down and up again: late by a frame at most, and never two sources."""
    rig = await make_bus()
    await rig.repeat(6, **pylon_set())
    for soc in (*range(57, 27, -3), *range(30, 60, 3)):
        await rig.say(**pylon_set(x355=charge(soc)))
        await rig.clock.advance(10)
        assert rig.state.soc is not None
        assert abs(rig.state.soc - soc) <= 6
    assert rig.shown["two_sources"] == []


# --- two that look like one -------------------------------------------------------------------------------------------


async def _in_turn(rig: BusRig, times: int, one: dict[str, str], other: dict[str, str], second: float = 0.45) -> BusRig:
    for _ in range(times):
        await rig.say(**one)
        await rig.clock.advance(second)
        await rig.say(**other)
        await rig.clock.advance(1 - second)
    return rig


@pytest.mark.parametrize(
    ("one", "other", "second"),
    [
        ({"x356": flow(current=50.0)}, {"x356": flow(current=-5.0)}, 0.45),
        ({"x356": flow(current=12.0)}, {"x356": flow(current=8.0)}, 0.3),
        ({"x351": limits(charge=100)}, {"x351": limits(charge=0)}, 0.4),
        ({"x35C": "c000"}, {"x35C": "4000"}, 0.4),
        ({"x35E": b"PYLON   ".hex()}, {"x35E": b"DEYE    ".hex()}, 0.4),
        ({"x359": alarms((0, 1))}, {"x359": alarms()}, 0.4),
    ],
    ids=["current", "a little current", "limits", "requests", "names", "alarms"],
)
async def test_two_batteries_alike_in_voltage_and_charge_are_noticed(
    make_bus: MakeBus, one: dict[str, str], other: dict[str, str], second: float
) -> None:
    """In parallel they are alike in that, and the current of one of the two is not that of the bank."""
    rig = await make_bus()
    await _in_turn(rig, 20, pylon_set(**one), pylon_set(**other), second)
    assert rig.shown["two_sources"] == ["bank"]
    assert rig.state.current is None
    assert rig.bank_report.held_back["current"] == "two_sources"
    await rig.repeat(75, **pylon_set(**one))
    assert rig.shown["two_sources"] == []
    assert rig.state.current is not None


async def test_a_load_that_comes_and_goes_with_every_frame_is_no_second_battery(make_bus: MakeBus) -> None:
    """A hob that is switched each second, seen by one battery that sends once a second."""
    rig = await make_bus()
    for _ in range(60):
        for current in -60.0, -1.0:
            await rig.say(**pylon_set(x356=flow(current=current)))
            await rig.clock.advance(1)
    assert rig.shown["two_sources"] == []
    assert rig.state.current is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x351": limits(charge=99.9)}, {"x351": limits(charge=100)}),
        ({"x35C": "c000"}, {"x35C": "8000"}),
        ({"x35C": "c000"}, {"x35C": "c001"}),
        ({"x35E": b"PYLON   ".hex()}, {"x35E": b"V2.0    ".hex()}),
    ],
    ids=["a limit that wavers", "a permission that goes to and fro", "a bit that nobody reads", "two names"],
)
async def test_what_a_battery_says_in_turn_at_one_pace_is_of_one(
    make_bus: MakeBus, one: dict[str, str], other: dict[str, str]
) -> None:
    """Once a second: a second battery would come in between. Hidden for minutes before."""
    rig = await make_bus()
    for _ in range(60):
        for frames in one, other:
            await rig.say(**pylon_set(**frames))
            await rig.clock.advance(1)
    assert rig.shown["two_sources"] == []
    assert rig.state.voltage is not None


@pytest.mark.parametrize("period", [30, 35, 60, 100])
async def test_a_frame_that_comes_now_and_then_and_stays_the_same_is_of_one(make_bus: MakeBus, period: int) -> None:
    """BYD's name comes once a minute; after nine minutes it was taken for two before."""
    rig = await make_bus()
    for second in range(12 * period):
        frames = pylon_set(x356=flow(current=10.0 + second % 3))
        if second % period:
            for name in "x351", "x35C", "x35E":
                frames.pop(name)
        await rig.say(**frames)
        await rig.clock.advance(1)
    assert rig.shown["two_sources"] == []
    assert rig.state.voltage is not None


async def test_an_alarm_that_is_told_when_it_comes_and_goes_is_of_one(make_bus: MakeBus) -> None:
    """Sofar's 35A is always another one, and is on for a shorter time than it is off."""
    rig = await make_bus(family="sofar")
    steady = {key: value for key, value in pylon_set().items() if key in {"x351", "x355", "x356"}}
    steady |= {"x30F": "0003000000000000", "x359": "0201000000000000"}
    for _ in range(12):
        for pairs, seconds in ("04" + "00" * 7, 5), ("08" + "00" * 7, 20):
            await rig.say(x35A=pairs)
            await rig.repeat(seconds, **steady)
    assert rig.shown["two_sources"] == []
    assert rig.state.voltage is not None


async def test_a_battery_that_sends_twice_in_uneven_turn_is_one(make_bus: MakeBus) -> None:
    """Once of its own and once as an answer: what it says moves, but not to and fro."""
    rig = await make_bus()
    for number in range(60):
        for place, pause in enumerate((0.3, 0.7)):
            current = 10 + 0.7 * ((number * 7 + place * 3) % 11)
            limit = 100 - 0.5 * number
            await rig.say(**pylon_set(x356=flow(current=current), x351=limits(charge=limit)))
            await rig.clock.advance(pause)
    assert rig.shown["two_sources"] == []


async def test_a_serial_number_that_comes_in_pages_is_no_second_battery(make_bus: MakeBus) -> None:
    """Two payloads in turn under one id, and neither measures or allows anything."""
    rig = await make_bus(family="growatt")
    basic = {"x311": "0230019001900000", "x313": "14500064 00C8 3C 64".replace(" ", "")}
    for _ in range(30):
        for page in "01" + "41" * 7, "02" + "42" * 7:
            await rig.say(**basic, x324=page)
            await rig.clock.advance(1)
    assert rig.bank_report.online
    assert rig.shown["two_sources"] == []


# --- what is shown ----------------------------------------------------------------------------------------------------


async def test_diagnostics_hide_what_a_capture_hides(make_bus: MakeBus) -> None:
    """Half a serial number behind the number of its page, in a frame that nobody knows."""
    rig = await make_bus("pylon", 5)
    pages = {"x6AA": "01" + b"H2S1234".hex(), "x6AB": "0100" + b"PPTA12".hex(), "x6AC": "0102030405060708"}
    await rig.say(**pages)
    await rig.clock.advance(3)
    assert rig.shown["unknown_ids"] == {"6AA": None, "6AB": None, "6AC": "0102030405060708"}


def test_every_frame_in_which_a_serial_number_is_read_is_private() -> None:
    """By what is said of any payload, not by what a table calls itself."""
    text = b"12345678"
    for family in CAN.values():
        for frame_id in family.ids - family.private_ids:
            told = family.read(CanFrame(id=frame_id, data=text))
            assert told is None or not any("serial" in name for name in (*told.identity, *told.info, *told.values))
