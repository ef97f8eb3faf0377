"""Two packs that are set to one address: said for that address, and nothing of either is shown."""

from typing import Any

import pytest

from custom_components.lfp_battery.bms.clients.twins import Doubts
from tests.simulator.faults import Fault, Kind
from tests.simulator.pack import PackSpec, SimPack

from .rig import MakeRig, Rig

TWINS = (Kind.TWIN, Kind.TWIN_AFTER)


def strike(rig: Rig, kind: Kind, address: int = 3, **how: Any) -> Fault:
    """Put a second pack on an address."""
    return rig.bus.faults.add(Fault(kind=kind, addresses=frozenset({address}), **how))


def mixed(rig: Rig, address: int, since: float) -> list[object]:
    """What was shown of this address and is not one whole answer of the pack itself."""
    wrong: list[object] = []
    for when, report in rig.told.packs:
        if report.address != address or when < since or not report.online:
            continue
        assert report.state is not None
        for name in ("voltage", "current", "cell_voltages"):
            value = getattr(report.state, name)
            if not rig.speaker.was_sent(address, name, value):
                wrong.append((when, name, value))
    return wrong


@pytest.mark.parametrize("kind", TWINS, ids=lambda kind: kind.value)
async def test_two_packs_at_one_address_are_told_apart_from_trouble(make_rig: MakeRig, kind: Kind) -> None:
    """That address is in conflict within two minutes, its neighbours are read on."""
    rig = await make_rig(25.0, packs=4)
    start = rig.clock.monotonic()
    strike(rig, kind)
    await rig.clock.advance(120.0)
    report = rig.told.last(3)
    assert report.conflict
    assert not report.online
    for address in (2, 4, 5):
        assert rig.told.last(address).online
        assert not rig.told.last(address).conflict
    assert not mixed(rig, 3, start)
    assert rig.told.other_masters == 0


@pytest.mark.parametrize("kind", TWINS, ids=lambda kind: kind.value)
async def test_they_are_asked_now_and_then_until_there_is_one_again(make_rig: MakeRig, kind: Kind) -> None:
    """Each of these readings is told, and nothing else; after some clean ones the pack is back."""
    rig = await make_rig(25.0, packs=4)
    fault = strike(rig, kind)
    await rig.clock.advance(120.0)
    start, told = rig.clock.monotonic(), len([1 for _, report in rig.told.packs if report.address == 3])
    await rig.clock.advance(600.0)
    assert rig.told.last(3).conflict
    since = [report for _, report in rig.told.packs if report.address == 3][told:]
    assert len(since) <= 600.0 / 30.0
    assert all(report.conflict and not report.online for report in since)
    readings = sum(request[1:5] == b"2003" and request[5:9] == b"4642" for request in rig.asked(start))
    assert 10 <= readings <= 44
    rig.bus.faults.clear(fault)
    cleared = rig.clock.monotonic()
    await rig.clock.advance(300.0)
    report = rig.told.last(3)
    assert report.online
    assert not report.conflict
    back = next(when for when, report in rig.told.packs if when > cleared and report.address == 3 and report.online)
    assert 90.0 < back - cleared < 240.0


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.045, 0.08])
async def test_a_second_answer_is_noticed_whenever_it_comes(make_rig: MakeRig, delay: float) -> None:
    """On the heels of the first, in the pause, or into the next exchange."""
    rig = await make_rig(25.0, packs=3)
    start = rig.clock.monotonic()
    strike(rig, Kind.TWIN_AFTER, delay=delay)
    await rig.clock.advance(180.0)
    assert rig.told.last(3).conflict
    assert not mixed(rig, 3, start)
    assert rig.told.last(2).online
    assert rig.told.last(4).online


@pytest.mark.parametrize("packs", [1, 2])
@pytest.mark.parametrize("delay", [0.95, 1.5, 4.0])
@pytest.mark.parametrize("probability", [0.2, 1.0])
async def test_a_late_answer_is_no_twin(make_rig: MakeRig, packs: int, delay: float, probability: float) -> None:
    """However late, and however often."""
    rig = await make_rig(25.0, packs=packs)
    rig.bus.faults.add(Fault(kind=Kind.LATE, delay=delay, probability=probability))
    await rig.clock.advance(900.0)
    assert not any(report.conflict for _, report in rig.told.packs)


@pytest.mark.parametrize(
    "kind",
    [Kind.WRONG_ADDRESS, Kind.BAD_CHECKSUM, Kind.CUT, Kind.NOISE_AFTER, Kind.NOISE_BEFORE, Kind.ECHO, Kind.FLIP_FRAME],
    ids=lambda kind: kind.value,
)
async def test_a_bad_line_is_no_twin(make_rig: MakeRig, kind: Kind) -> None:
    """It is bad for all packs."""
    rig = await make_rig(25.0, packs=3)
    rig.bus.faults.add(Fault(kind=kind, probability=0.4))
    await rig.clock.advance(900.0)
    assert not any(report.conflict for _, report in rig.told.packs)


async def test_a_pack_alone_that_answers_with_damage_is_not_called_two(make_rig: MakeRig) -> None:
    """Nobody beside it shows that the line is good."""
    rig = await make_rig(25.0, packs=1)
    rig.bus.faults.add(Fault(kind=Kind.BAD_CHECKSUM))
    await rig.clock.advance(600.0)
    assert not rig.told.last(2).conflict


async def test_a_battery_that_was_exchanged_is_no_twin(make_rig: MakeRig) -> None:
    """Another serial number, once, is another battery."""
    rig = await make_rig(25.0, packs=2)
    rig.bank.remove(3)
    await rig.clock.advance(60.0)
    rig.bank.add(3, SimPack(PackSpec(serial="OTHERBATTERY0001", seed=77)))
    await rig.clock.advance(120.0)
    assert rig.told.last(3).online
    assert not rig.told.last(3).conflict


async def test_a_serial_number_that_comes_and_goes_is_two_packs(make_rig: MakeRig) -> None:
    """Each is the one that answers now and then."""
    rig = await make_rig(25.0, packs=2)
    one, other = rig.bank.packs[3], SimPack(PackSpec(serial="OTHERBATTERY0001", seed=77))
    for pack in (other, one):
        rig.bank.remove(3)
        await rig.clock.advance(60.0)
        rig.bank.add(3, pack)
        await rig.clock.advance(120.0)
    assert rig.told.last(3).conflict


def test_one_double_answer_is_not_enough() -> None:
    """Two of them are, within some minutes."""
    doubts = Doubts()
    doubts.answered_twice(0.0)
    assert not doubts.arise(0.0, others_clean=True)
    doubts.answered_twice(1000.0)
    assert not doubts.arise(1000.0, others_clean=True)
    doubts.answered_twice(1010.0)
    assert doubts.arise(1010.0, others_clean=True)
