"""Listening to a battery that broadcasts: what is told and when, how long it stands, and what is not believed."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
import json
from typing import Any

import pytest

from custom_components.lfp_battery.bms.clients.broadcast import BroadcastClient
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.bms.protocols.can import CAN
from tests.bms.rig import Told

from .bus_rig import BusRig, MakeBus, alarms, charge, flow, limits, pylon_set

_HIGH = Alarm(condition=Condition.OVERVOLTAGE, severity=Severity.PROTECTION)
_LOW = Alarm(condition=Condition.UNDERVOLTAGE, severity=Severity.PROTECTION)
_HIGH_BIT, _LOW_BIT = (0, 1), (0, 2)


@pytest.fixture
async def make_bus() -> AsyncIterator[MakeBus]:
    """Buses whose clients end with the test, give the adapter back and leave no task behind."""
    rigs: list[BusRig] = []

    async def make(name: str | None = "pylon", seconds: float = 0.0, **kwargs: Any) -> BusRig:
        rig = BusRig(name, **kwargs)
        rigs.append(rig)
        await rig.start(seconds)
        return rig

    yield make
    for rig in rigs:
        await rig.stop()
        assert not rig.bus.main.is_open, "the adapter was not given back"
    assert len(asyncio.all_tasks()) == 1


# --- what is told, and when -------------------------------------------------------------------------------------------


async def test_a_bank_is_told_of_as_soon_as_its_set_was_heard_once_through(make_bus: MakeBus) -> None:
    """The first frame that comes again says that nothing more is to come."""
    rig = await make_bus(None)
    await rig.say(**pylon_set())
    await rig.clock.advance(1.0)
    assert not rig.banks
    await rig.say(x359=alarms())
    await rig.say(**pylon_set())
    assert [when for when, _ in rig.told.banks] == [1.0]
    assert rig.bank_report.online
    assert (rig.state.voltage, rig.state.soc, rig.state.manufacturer) == (52.0, 60, "PYLON")
    assert rig.state.alarms == frozenset()


async def test_a_bank_that_says_little_is_told_of_all_the_same(make_bus: MakeBus) -> None:
    """Two seconds after its first measurement, with whatever there is by then."""
    rig = await make_bus(None)
    await rig.say(x356=flow())
    await rig.clock.advance(5.0)
    assert [when for when, _ in rig.told.banks] == [2.0]
    assert rig.state.voltage == 52.0
    assert rig.state.soc is None
    assert rig.state.alarms is None


async def test_limits_alone_are_no_bank(make_bus: MakeBus) -> None:
    """Something that measures nothing is not there, however often it comes."""
    rig = await make_bus(None)
    await rig.repeat(20, x351=limits())
    assert not rig.banks
    assert rig.told.cycles[-1].silent == {0}
    assert await rig.client.read_bank() is None


async def test_it_is_told_every_five_seconds_and_never_twice_at_once(make_bus: MakeBus) -> None:
    """Exactly as often as is wanted, from the first time on, and one round each."""
    rig = await make_bus(seconds=300.5)
    times = [when for when, _ in rig.told.banks]
    assert times[0] < 2.5
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx([5.0] * 59, abs=1e-9)
    assert len(rig.told.cycles) == 60
    assert rig.told.cycles[-1].answered == {0}
    assert rig.told.cycles[-1].seconds == 5.0
    counters = rig.bank_report.counters
    assert counters.answered == pytest.approx(6 * 296, abs=10)
    assert counters.asked == counters.damaged == 0


async def test_another_interval_is_kept_to(make_bus: MakeBus) -> None:
    """Half a minute, if that is what the owner wants."""
    rig = await make_bus(seconds=301, interval=30.0)
    times = [when for when, _ in rig.told.banks]
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx([30.0] * 9, abs=1e-9)
    assert rig.told.cycles[-1].seconds == 30.0


async def test_a_new_alarm_is_told_within_a_tenth_of_a_second(make_bus: MakeBus) -> None:
    """And its end as soon; the regular reports keep their times."""
    rig = await make_bus(seconds=31.5)
    before = len(rig.banks)
    pack = next(iter(rig.bank.packs.values()))
    pack.force(Alarm(condition=Condition.DISCHARGE_OVERCURRENT, severity=Severity.PROTECTION))
    await rig.clock.advance(1.5)
    sent = rig.speaker.ledger.notes[0x359][-1].time
    told, report = next(
        (when, report) for when, report in rig.told.banks[before:] if report.state is not None and report.state.alarms
    )
    assert rig.speaker.ledger.was_sent(None, "alarms", report.state and report.state.alarms, since=sent - 1.0)
    first = next(note.time for note in rig.speaker.ledger.notes[0x359] if note.body.values["alarms"])
    assert told - first < 0.1
    pack.release()
    await rig.clock.advance(1.5)
    assert rig.state.alarms == frozenset()
    over = next(note.time for note in reversed(rig.speaker.ledger.notes[0x359]) if note.body.values["alarms"]) + 1.0
    ended = next(when for when, r in rig.told.banks if when > told and r.state is not None and not r.state.alarms)
    assert ended - over < 0.1
    times = [when for when, _ in rig.told.banks]
    regular = [when for when in times if (when - times[0]) % 5 < 1e-6 or (when - times[0]) % 5 > 5 - 1e-6]
    assert len(times) == len(regular) + 2


async def test_an_alarm_that_only_changes_its_frame_never_goes_away(make_bus: MakeBus) -> None:
    """Gone in one frame and not yet come in the other: nobody is told that it ended."""
    rig = await make_bus(None, family="pylon")
    overvoltage = "04" + "00" * 7  # pair 1 of 35A: high voltage, active
    both = pylon_set(x35A="00" * 8)
    await rig.repeat(4, **both)
    await rig.say(**pylon_set(x359=alarms(_HIGH_BIT)))
    assert rig.state.alarms == frozenset({_HIGH})
    since = len(rig.banks)
    await rig.clock.advance(0.5)
    await rig.say(x359=alarms())
    await rig.clock.advance(0.088)
    await rig.say(x35A=overvoltage)
    await rig.repeat(8, x359=alarms(), x35A=overvoltage, x356=flow())
    assert all(report.state is not None and report.state.alarms for report in rig.banks[since:])
    await rig.say(x359=alarms(), x35A="00" * 8)
    assert rig.state.alarms == frozenset()


async def test_alarms_that_flicker_do_not_flood_the_home(make_bus: MakeBus) -> None:
    """A loose contact changes them with every frame: ten reports between two regular ones, and no more."""
    rig = await make_bus(None)
    await rig.repeat(4, **pylon_set())
    before = rig.now
    for number in range(1000):
        await rig.say(x359=alarms(*([_HIGH_BIT] if number % 2 else [])), x356=flow())
        await rig.clock.advance(0.02)
    told = sum(when > before for when, _ in rig.told.banks)
    assert 40 <= told <= 5 * 11


async def test_nothing_is_told_while_nobody_wants_it(make_bus: MakeBus) -> None:
    """With polling disabled it listens on, and tells when asked."""
    rig = await make_bus()
    rig.client.set_polling(enabled=False)
    await rig.clock.advance(20)
    assert not rig.banks
    assert not rig.told.cycles
    report = await rig.client.read_bank()
    assert report is not None
    assert report.online
    assert rig.banks == [report]


async def test_what_is_known_is_told_at_once_when_asked(make_bus: MakeBus) -> None:
    """Between two reports, without waiting; twice at one moment is once."""
    rig = await make_bus(seconds=13.3)
    before = len(rig.banks)
    one, other = await rig.client.read_bank(), await rig.client.read_bank()
    assert len(rig.banks) == before + 1
    assert one == other == rig.bank_report


async def test_a_pack_that_nobody_knows_cannot_be_read(make_bus: MakeBus) -> None:
    """A family that has no packs has none to read."""
    rig = await make_bus(seconds=10)
    with pytest.raises(ValueError, match="no pack"):
        await rig.client.read(1)
    assert not rig.told.packs


# --- how long it stands -----------------------------------------------------------------------------------------------


async def test_each_frame_grows_stale_by_itself(make_bus: MakeBus) -> None:
    """What one frame says is unknown half a minute after it was last heard; what the others say stands."""
    rig = await make_bus(None)
    await rig.repeat(10, **pylon_set())
    rest = pylon_set()
    del rest["x351"]
    await rig.repeat(29, **rest)
    assert rig.value("charge_voltage_limit") == 56.0
    await rig.repeat(7, **rest)
    assert rig.value("charge_voltage_limit") is None
    assert rig.state.charge_current_limit is None
    assert rig.state.voltage == 52.0
    assert rig.bank_report.online
    assert "charge_voltage_limit" not in rig.bank_report.held_back
    await rig.repeat(6, **pylon_set())
    assert rig.state.charge_voltage_limit == 56.0


async def test_a_slow_frame_is_given_five_of_its_periods(make_bus: MakeBus) -> None:
    """One that comes every twenty seconds stands for a hundred."""
    rig = await make_bus(None)
    fast = {"x355": charge(), "x356": flow()}
    for _ in range(4):
        await rig.say(x351=limits())
        await rig.repeat(20, **fast)
    await rig.repeat(75, **fast)
    assert rig.state.charge_voltage_limit == 56.0
    await rig.repeat(10, **fast)
    assert rig.state.charge_voltage_limit is None


async def test_a_name_stands_for_five_minutes(make_bus: MakeBus) -> None:
    """Names come once a minute at most."""
    rig = await make_bus(None)
    await rig.repeat(5, **pylon_set())
    rest = {"x355": charge(), "x356": flow()}
    await rig.repeat(285, **rest)
    assert rig.state.manufacturer == "PYLON"
    await rig.repeat(25, **rest)
    assert rig.state.manufacturer is None


async def test_a_bus_that_says_names_only_is_a_bank_that_is_gone(make_bus: MakeBus) -> None:
    """A hung BMS goes on with its name: values are seen to be old at once, and gone after half a minute, said once."""
    rig = await make_bus(seconds=60)
    rig.speaker.only_text = True
    await rig.clock.advance(20)
    assert rig.bank_report.online
    assert rig.bank_report.received is not None
    assert rig.now - rig.bank_report.received > 18
    await rig.clock.advance(120)
    gone = [(when, report) for when, report in rig.told.banks if not report.online]
    assert len(gone) == 1
    assert gone[0][0] == pytest.approx(90, abs=2)
    assert gone[0][1].state is not None
    assert gone[0][1].state.voltage is not None
    assert rig.bank_report.identity is None
    assert rig.told.cycles[-1].silent == {0}
    rig.speaker.only_text = False
    await rig.clock.advance(3)
    assert rig.bank_report.online


async def test_a_frame_that_grows_shorter_says_less(make_bus: MakeBus) -> None:
    """A limit that is not sent any more is unknown with the next report, not remembered."""
    rig = await make_bus(None)
    await rig.repeat(8, **pylon_set())
    assert rig.value("discharge_voltage_limit") == 46.0
    await rig.repeat(6, **pylon_set(x351=limits()[:12]))
    assert rig.value("discharge_voltage_limit") is None
    assert rig.value("charge_voltage_limit") == 56.0
    await rig.repeat(6, **pylon_set(x351=""))
    assert rig.value("charge_voltage_limit") is None
    assert rig.state.voltage == 52.0
    assert rig.shown["frames_unreadable"] == 6
    assert rig.bank_report.counters.damaged > 0


# --- what is not believed ---------------------------------------------------------------------------------------------


async def test_what_a_battery_cannot_be_is_held_back(make_bus: MakeBus) -> None:
    """The last good value stands in for three reports, with the reason, and then nothing."""
    rig = await make_bus(None)
    await rig.repeat(10, **pylon_set())
    await rig.repeat(2, **pylon_set(x355=charge(soc=300)))
    before = len(rig.banks)
    await rig.repeat(30, **pylon_set(x355=charge(soc=300)))
    reports = rig.banks[before:]
    assert [report.state and report.state.soc for report in reports] == [60, 60, 60, None, None, None]
    assert all(report.held_back == {"soc": "out_of_range"} for report in reports)
    assert rig.shown["held_back"]["bank"]["soc"] == 6


@pytest.mark.parametrize(("current", "shown"), [(1999.0, True), (2001.0, False), (-2001.0, False)])
async def test_more_current_than_a_bank_can_carry_is_held_back(make_bus: MakeBus, current: float, shown: bool) -> None:
    """Two thousand amperes (can.md section 5)."""
    rig = await make_bus(None)
    await rig.repeat(20, **pylon_set(x356=flow(current=current)))
    assert rig.state.current == (current if shown else None)
    assert (rig.state.power is not None) is shown


async def test_an_impossible_first_frame_is_not_shown(make_bus: MakeBus) -> None:
    """Nought volts while the electronics start, then the real thing, without a jump in between."""
    rig = await make_bus(None)
    await rig.repeat(4, **pylon_set(x356="000000000000"))
    assert rig.value("voltage") is None
    assert rig.bank_report.held_back["voltage"] == "blank"
    await rig.repeat(6, **pylon_set())
    assert rig.value("voltage") == 52.0
    assert not rig.bank_report.held_back


async def test_one_frame_that_leaps_and_comes_back_is_never_shown(make_bus: MakeBus) -> None:
    """A charge cannot go from 60 to 20 % and back within two seconds, whenever it is looked."""
    rig = await make_bus(None)
    await rig.repeat(4, **pylon_set())
    for _ in range(20):
        await rig.say(**pylon_set(x355=charge(soc=20)))
        await rig.client.read_bank()
        await rig.clock.advance(1)
        await rig.repeat(59, **pylon_set())
    assert {report.state and report.state.soc for report in rig.banks} == {60}
    assert not rig.shown["two_sources"]


async def test_a_charge_that_really_leaps_is_believed_with_its_second_frame(make_bus: MakeBus) -> None:
    """A battery that counts anew goes to 100 % at once."""
    rig = await make_bus(None)
    await rig.repeat(4, **pylon_set())
    await rig.say(**pylon_set(x355=charge(soc=100)))
    await rig.clock.advance(1)
    report = await rig.client.read_bank()
    assert report is not None
    assert report.state is not None
    assert report.state.soc == 60
    assert report.held_back == {"soc": "jump"}
    await rig.clock.advance(0.1)
    await rig.say(**pylon_set(x355=charge(soc=100)))
    assert (await rig.client.read_bank()) is not None
    assert rig.state.soc == 100


@pytest.mark.parametrize("second", [0.3, 0.5, 0.9], ids=lambda second: f"after {second} s")
async def test_two_batteries_on_one_bus_are_noticed_and_no_value_of_either_is_shown(
    make_bus: MakeBus, second: float
) -> None:
    """Both send the same frames in turn: of the second nothing is ever shown, soon of neither, but alarms of both."""
    rig = await make_bus(None)
    one = pylon_set(x355=charge(soc=80), x356=flow(53.0, 10), x359=alarms(_HIGH_BIT))
    other = pylon_set(x355=charge(soc=30), x356=flow(51.0, 10), x359=alarms(_LOW_BIT))
    for _ in range(60):
        await rig.say(**one)
        await rig.clock.advance(second)
        await rig.say(**other)
        await rig.clock.advance(1 - second)
    assert {report.state and report.state.soc for report in rig.banks} <= {80, None}
    late = [report for when, report in rig.told.banks if when > 10]
    assert late
    for report in late:
        assert report.state is not None
        assert report.state.voltage is None
        assert report.state.soc is None
        assert report.state.alarms == frozenset({_HIGH, _LOW})
        assert report.held_back["soc"] == report.held_back["voltage"] == "two_sources"
        assert report.online
        assert not report.conflict
    assert rig.shown["two_sources"] == ["bank"]
    assert len(late) <= 13, "alarms that alternate are no news"
    # the second one is taken away
    await rig.repeat(75, **one)
    assert rig.shown["two_sources"] == []
    assert (rig.state.soc, rig.state.voltage) == (80, 53.0)
    assert rig.state.alarms == frozenset({_HIGH})


# --- the bus ----------------------------------------------------------------------------------------------------------


async def test_a_bus_that_is_unplugged_and_replugged_ten_times_comes_back_each_time(make_bus: MakeBus) -> None:
    """Each loss is told once with its reason, each return once, and values with the first set after it."""
    rig = await make_bus(seconds=30)
    for number in range(1, 11):
        rig.bus.unplug()
        await rig.clock.advance(60)
        with pytest.raises(LinkError):
            await rig.client.read_bank()
        assert [error and error.problem for _, error in rig.told.links][2 * number - 1 :] == [LinkProblem.LOST]
        before = len(rig.banks)
        rig.bus.replug()
        await rig.clock.advance(13)
        since, error = rig.told.links[-1]
        assert error is None
        when, report = rig.told.banks[before]
        assert when - since < 2.5
        assert report.online
        assert (report.received or 0) > since
    assert rig.shown["opened"] == 11


async def test_after_a_loss_nothing_of_the_battery_before_it_stands(make_bus: MakeBus) -> None:
    """Another battery may hang on the bus when it is back: one without a name has none, and its own charge."""
    rig = await make_bus(None)
    await rig.repeat(20, **pylon_set())
    rig.bus.unplug()
    await rig.clock.advance(1)
    rig.bus.replug()
    await rig.clock.advance(5)
    before = len(rig.banks)
    await rig.repeat(10, x355=charge(soc=20), x356=flow(49.0), x359=alarms())
    for report in rig.banks[before:]:
        assert report.state is not None
        assert (report.state.soc, report.state.voltage, report.state.manufacturer) == (20, 49.0, None)
        assert report.state.charge_voltage_limit is None


async def test_a_bus_that_cannot_be_opened_is_tried_again(make_bus: MakeBus) -> None:
    """Until somebody has brought it up; the reason is told once."""
    rig = BusRig()
    rig.bus.main.refusal = LinkProblem.DOWN
    await rig.start(60)
    assert [error and error.problem for _, error in rig.told.links] == [LinkProblem.DOWN]
    assert rig.shown["link"] == "down"
    rig.bus.main.refusal = None
    await rig.clock.advance(15)
    assert rig.told.links[-1][1] is None
    assert rig.bank_report.online
    await rig.stop()


async def test_a_bus_on_which_nothing_is_heard_is_opened_anew(make_bus: MakeBus) -> None:
    """Every two minutes, without a word: a gateway that lost power leaves a socket that looks alive."""
    rig = await make_bus(seconds=10)
    rig.bus.quiet = True
    await rig.clock.advance(370)
    assert rig.shown["opened"] == 4
    assert [error for _, error in rig.told.links] == [None]
    assert not rig.bank_report.online
    rig.bus.quiet = False
    await rig.clock.advance(5)
    assert rig.bank_report.online


async def test_a_transport_without_a_way_to_send_will_do() -> None:
    """The client could not transmit if it wanted to: what it needs has no such method."""
    rig = BusRig()
    assert not any(hasattr(rig.bus, name) for name in ("send", "write", "transmit"))
    client = BroadcastClient(rig.bus, CAN["pylon"], clock=rig.clock, listener=Told(rig.clock))
    with pytest.raises(LinkError):
        await client.read_bank()
    assert "bytes_sent" not in client.diagnostics(), "what nobody counts is not shown"


# --- what is shown ----------------------------------------------------------------------------------------------------


async def test_diagnostics_tell_what_is_on_the_bus_and_no_serial_number(make_bus: MakeBus) -> None:
    """Ids with period, age and payload; ids of nobody with an example; errors; nothing that names the battery."""
    rig = await make_bus("victron", 40)
    serial = rig.speaker.ledger.identity().get("serial")
    assert isinstance(serial, str)
    rig.bus.disturb(3)
    await rig.repeat(5, x7AB="0102030405060708", x7AC=b"SN123456".hex())
    shown = rig.shown
    assert shown["family"] == "victron"
    assert shown["errors"] == 3
    assert shown["ids"]["356"]["period"] == pytest.approx(1.0, abs=0.2)
    assert len(shown["ids"]["356"]["data"]) == 12
    assert shown["ids"]["380"]["data"] is None
    assert shown["unknown_ids"]["7AB"] == "0102030405060708"
    assert shown["unknown_ids"]["7AC"] is None
    assert shown["frames_received"] == rig.bus.main.received
    text = json.dumps(shown)
    assert serial not in text
    assert serial.encode().hex()[:16] not in text.lower()
