"""The sets that a simulated battery broadcasts have the ids, lengths and times of can.md."""

from collections import defaultdict
import itertools

import pytest

from custom_components.lfp_battery.bms.can_frame import EXTENDED, id_text
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.protocols.can import CAN
from custom_components.lfp_battery.bms.protocols.can.detection import Detector
from tests.simulator.bank import SimBank
from tests.simulator.can.bus import SimBus
from tests.simulator.can.families import SETS, make_speaker
from tests.simulator.can.inverter import HABITS, CanInverter, usual_inverter
from tests.simulator.can.speaker import Node, Utterance

# "id:bytes", of a bank of two packs; can.md sections 5, 6 and the captures that it names
DOCUMENTED = {
    "pylon": "359:7 351:8 355:4 356:6 35C:2 35E:8",
    "pylon_v1.3": "351:8 355:6 356:6 35A:8 35E:8 35F:8",
    "pylon_v2": "359:8 351:8 355:8 356:8 35C:8 35E:8 35A:8 372:8 373:8 374:8 375:8 376:8 377:8 379:8",
    "pylon_pytes": "359:7 351:8 355:4 356:6 35C:2 35E:5",
    "solark": "351:8 355:8 356:8 359:8 35C:8 35E:8 379:8",
    "luxpower": "351:8 355:8 356:8 359:8 35C:8 35E:8",
    "pylon_goodwe": "351:8 355:4 356:6 359:8 35C:2 35E:8 370:8 371:8",
    "pylon_goodwe_070": "351:8 355:4 356:6 359:8 35C:2 35E:8 070:8 371:8",
    "pylon_goodwe_shoto": "351:8 355:4 356:6 359:8 35C:2 35E:8 370:8",
    "sma": "351:8 355:6 356:6 35A:8 35B:8 35E:8 35F:8",
    "sma_goodwe": "351:8 355:6 356:6 35A:8 35B:8 35E:8 35F:8",
    "victron": "351:8 355:6 356:6 35A:8 35E:5 35F:8 360:1 370:8 371:8 372:8 373:8 374:8 375:8 376:8 377:8 378:8 379:2"
    " 380:8 381:8",
    "victron_byd": "351:8 355:8 356:8 35A:8 35B:8 35E:8 35F:8 360:8 372:8 373:8 374:8 375:8 376:8 377:8 378:8 379:8 382:8",
    "victron_mg": "351:8 355:6 356:6 35A:8 35B:8 35E:8 35F:8 373:8 378:8 380:8 381:8",
    "li_residential": "351:8 355:4 356:6 359:8 35C:2 35E:8 399:8 3DA:8 3DB:8",
    "sofar": "351:8 355:8 356:8 359:8 35A:8 35E:8 35F:8 30F:8 680:8 681:8 682:8 683:8 684:8 685:8",
    "dyness": "351:8 355:8 356:8 359:8 35A:8 35C:8 35E:8 35F:8 370:8 371:8 30F:8 70D:8",
    "discover": "351:8 354:8 355:8 356:8 35A:7 35E:8 370:8 371:8 372:4 373:4",
    "generic_35x": "351:8 355:4 356:6 35E:7",
    "deye_pcs": "351:8 371:8 355:8 356:8 359:8 35C:2 35E:8 361:8 363:8 364:8 110:8 111:8 150:8 151:8 200:8 201:8 250:8"
    " 251:8 400:8 401:8 500:8 501:8 550:8 551:8 600:8 601:8 650:8 651:8 700:8 701:8 750:8 751:8",
    "growatt": "330:8 329:8 323:8 324:8 322:8 320:8 319:8 318:8 317:8 316:8 315:8 314:8 313:8 312:8 311:8",
    "growatt_ark": "320:8 319:8 318:8 317:8 316:8 315:8 314:8 313:8 312:8 311:8",
    "growatt_jk": "319:8 314:8 313:8 312:8 311:8",
    "pytes": "400:8 401:8 402:8 403:8 404:8 405:8 406:8 407:8 408:7 409:8 40A:5 40B:8 40C:8 40D:8 41E:8",
    "afore": "350:8 351:8 352:8 353:8 354:8 355:8 356:8 357:8 359:8 35A:8",
    "goodwe_classic": "453:8 455:8 456:8 457:8 458:8",
    "goodwe_classic_tenths": "453:8 455:8 456:8 457:8 458:8",
    "megarevo": "1F000300:8 1F000301:8 1F000302:8 1F000303:8 1F000304:8",
}
# Seconds between two of an id, where it is not one; None: once, and when it changes
PERIODS: dict[str, dict[str, float | None]] = {
    "sma": {"": 0.5},
    "sma_goodwe": {"": 0.1},
    "victron_mg": {"": 0.5},
    "victron_byd": {"": 10.0, "351": 2.0, "35E": 60.0},
    "sofar": {"35A": None},
    "discover": {"35E": 10.0},
    "growatt_ark": {"313": 0.5, "311": 0.5},
    "pytes": {"": 3.5},
}
# What nobody can read yet
UNREAD = {"dyness": {"30F", "70D"}, "growatt": {"329"}, "pytes": {"407", "40C"}}


def carried(name: str, seconds: float, packs: int = 2, *, habit: str | None = None) -> list[Utterance]:
    """What a battery and its inverter send in so many seconds, each with its time."""
    clock = DrivenClock()
    battery = make_speaker(name, SimBank(packs, clock))
    inverter = usual_inverter(battery.family) if habit is None else CanInverter(habit)
    nodes: tuple[Node, ...] = (battery, inverter)
    for node in nodes:
        node.start(0.0)
    sent = []
    while (when := min(node.next() for node in nodes)) <= seconds:
        speaker = min(nodes, key=lambda node: node.next())
        assert speaker.next() == when
        if (said := speaker.take()) is None:
            continue
        sent.append(said)
        for other in nodes:
            if other is not speaker and said.frame.id in other.hears:
                other.hear(said.frame, when)
    return sent


def of_battery(name: str, sent: list[Utterance]) -> list[Utterance]:
    """Those of the battery."""
    return [one for one in sent if one.carried is not None]


def test_every_set_is_documented_here() -> None:
    """A set without a row would not be checked."""
    assert set(DOCUMENTED) == set(SETS)
    assert {one.family for one in SETS.values()} == set(CAN)


@pytest.mark.parametrize("name", SETS)
def test_a_set_has_the_documented_frames_and_lengths(name: str) -> None:
    """Every id of the section is sent with the length that is known of it, and no other is."""
    sent = of_battery(name, carried(name, 61.0))
    lengths = {(id_text(one.frame.id), len(one.frame.data)) for one in sent}
    assert lengths == {
        (frame, int(size)) for frame, _, size in (one.partition(":") for one in DOCUMENTED[name].split())
    }


@pytest.mark.parametrize("name", SETS)
def test_frames_keep_their_period(name: str) -> None:
    """Two frames of an id are as far apart as the section says; a set is not sent in one instant."""
    times = defaultdict(list)
    for one in of_battery(name, carried(name, 125.0)):
        times[id_text(one.frame.id)].append(one.at)
    periods = PERIODS.get(name, {})
    for frame_id, when in times.items():
        period = periods.get(frame_id, periods.get("", 1.0))
        if period is None:
            assert len(when) == 1
            continue
        assert len(when) >= 2
        assert all(abs(b - a - period) < 1e-6 for a, b in itertools.pairwise(when)), frame_id
    assert len({when for one in times.values() for when in one}) > len(times) / 2


def test_a_pylon_set_is_spread_as_the_stack_does() -> None:
    """The frames come 88 ms apart in the order 359 351 355 356 35C 35E (section 6.1)."""
    sent = of_battery("pylon", carried("pylon", 0.9))
    assert [id_text(one.frame.id) for one in sent] == ["359", "351", "355", "356", "35C", "35E"]
    assert all(abs(b.at - a.at - 0.088) < 1e-9 for a, b in itertools.pairwise(sent))


def test_a_growatt_set_takes_an_eighth_of_a_second() -> None:
    """330 comes first and 311 last, within about 135 ms (section 6.11)."""
    sent = [one for one in of_battery("growatt", carried("growatt", 0.9)) if one.at < 0.5]
    assert (id_text(sent[0].frame.id), id_text(sent[-1].frame.id)) == ("330", "311")
    assert 0.09 < sent[-1].at - sent[0].at < 0.15


@pytest.mark.parametrize("name", ["pylon", "deye_pcs"])
def test_an_inverter_answers_356(name: str) -> None:
    """305 follows each 356 by about 20 ms (section 6.1), and comes at no other time."""
    sent = carried(name, 10.0)
    triggers = [one.at for one in sent if one.frame.id == 0x356]
    replies = [one.at for one in sent if one.frame.id == 0x305]
    assert len(replies) >= 9
    assert [when for when in replies if not any(abs(when - at - 0.02) < 1e-6 for at in triggers)] == []


@pytest.mark.parametrize("name", ["afore", "megarevo"])
def test_some_batteries_only_answer(name: str) -> None:
    """Without the inverter that asks them, they send nothing (section 8)."""
    assert of_battery(name, carried(name, 20.0, habit="growatt")) == []
    assert of_battery(name, carried(name, 20.0)) != []


@pytest.mark.parametrize(
    ("name", "beside"),
    [(name, beside) for name, one in SETS.items() for beside in (True, False) if beside or not one.answers],
)
async def test_a_set_is_recognised_as_its_family(name: str, beside: bool) -> None:
    """Detection settles on the family that the set belongs to, with an inverter beside or without."""
    clock = DrivenClock()
    battery = make_speaker(name, SimBank(2, clock))
    bus = SimBus(battery, clock=clock)
    if beside:
        bus.add(usual_inverter(battery.family))
    detector = Detector()
    await bus.open()
    for _ in range(180):
        await clock.advance(0.5)
        for frame in bus.main.drain():
            detector.hear(frame, clock.monotonic())
    await bus.close()
    verdict = detector.verdict(clock.monotonic())
    assert (verdict.family, verdict.settled, verdict.hint) == (SETS[name].family, True, None)
    assert (verdict.inverter is not None) == beside
    assert {id_text(frame_id) for frame_id in detector.unknown} <= UNREAD.get(name, set())


@pytest.mark.parametrize(
    "habit", [habit for habit, sayings in HABITS.items() if all(saying.after is None for saying in sayings)]
)
async def test_an_inverter_alone_is_no_battery(habit: str) -> None:
    """The frames of an inverter are recognised as one, and no family is made of them."""
    clock = DrivenClock()
    bus = SimBus(CanInverter(habit), clock=clock)
    detector = Detector()
    await bus.open()
    for _ in range(30):
        await clock.advance(1.0)
        for frame in bus.main.drain():
            assert not frame.id & EXTENDED or habit == "megarevo"
            detector.hear(frame, clock.monotonic())
    await bus.close()
    verdict = detector.verdict(clock.monotonic())
    assert verdict.family is None
    assert verdict.inverter is not None
