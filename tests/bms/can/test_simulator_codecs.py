"""What the codecs read is what the simulated batteries sent, for every set; the two share no code."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
import random
from typing import Any

from hypothesis import given, settings, strategies as st
import pytest

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.model import Alarm, BatteryState, Condition, Identity, Severity
from custom_components.lfp_battery.bms.protocols.base import Decoded
from custom_components.lfp_battery.bms.protocols.can import CAN
from tests.bms.hearing import same
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.can.families import SETS, make_speaker
from tests.simulator.can.speaker import CanSpeaker
from tests.simulator.can.view import View
from tests.simulator.pack import PackSpec

# Not on the wire
NOT_SENT = frozenset({"address", "derived", "family", "power"})
# What a reader may leave open although it was sent: Growatt's capacities run over at 655.36 Ah, and not always can
# anybody tell how often.
LEFT_OPEN = {"growatt": frozenset({"remaining_capacity", "full_capacity"})}


def broadcast(speaker: CanSpeaker, *, inverter: bool = True) -> list[CanFrame]:
    """Every frame of the set once, all of the same moment; the ledger takes note."""
    view = View(speaker.bank, inverter=inverter)
    frames = []
    for number, one in enumerate(sorted(speaker.broadcasts, key=lambda one: one.offset)):
        if (body := one.encode(view)) is not None:
            speaker.ledger.note(one.id, body, number / 1000)
            frames.append(CanFrame(id=one.id, data=bytes(body.data)))
    return frames


def read(family: str, frames: Iterable[CanFrame]) -> Decoded:
    """What the family's codec makes of these."""
    codec = CAN[family]
    return codec.compose(said for frame in frames if (said := codec.read(frame)) is not None)


def differences(speaker: CanSpeaker, decoded: Decoded) -> list[str]:
    """Every field that is not as it was sent, that was not sent, or that is missing."""
    found = []
    states: list[tuple[int | None, BatteryState | None]] = [(None, decoded.bank), *decoded.packs.items()]
    assert {pack for pack, _ in states[1:]} == speaker.ledger.packs
    for whose, state in states:
        found += _compare(speaker.ledger.latest(whose), _set(state), LEFT_OPEN.get(speaker.family, frozenset()))
        identity = decoded.identities.get(whose or 0, Identity())
        found += _compare(speaker.ledger.identity(whose), _set(identity), frozenset())
    return found


def _set(record: Any) -> dict[str, object]:
    assert record is not None
    return {
        f.name: value
        for f in fields(record)
        if f.name not in NOT_SENT and (value := getattr(record, f.name)) is not None
    }


def _compare(sent: Mapping[str, object], told: Mapping[str, object], left_open: frozenset[str]) -> list[str]:
    return [
        f"{name}: {sent.get(name)!r} sent, {told.get(name)!r} told"
        for name in sorted(sent.keys() | told.keys())
        if not (name in left_open and name not in told) and not same(told.get(name), sent.get(name))
    ]


def random_bank(rng: random.Random, clock: DrivenClock) -> SimBank:
    """Packs in any condition, at any time of the day, some of them with alarms."""
    cells = rng.choice([15, 16, 16])
    spec = PackSpec(
        cells=cells,
        capacity=rng.choice([50.0, 100.0, 280.0]),
        soc=rng.uniform(1, 100),
        soh=rng.uniform(70, 100),
        cycles=rng.uniform(0, 6000),
        temperature=rng.uniform(-18, 58),
        heater_power=rng.choice([0.0, 100.0]),
        seed=rng.randrange(10_000),
    )
    bank = SimBank(make_packs(rng.randint(1, 6), spec), clock, start_hour=rng.uniform(0, 24))
    for pack in bank.packs.values():
        pack.meter.charged, pack.meter.discharged = rng.uniform(0, 2e7), rng.uniform(0, 2e7)
        pack.age_of_full = rng.uniform(0, 60 * 86400)
        alarms = rng.choice([0, 0, 1, 4])
        pack.force(
            *(Alarm(condition=rng.choice(list(Condition)), severity=rng.choice(list(Severity))) for _ in range(alarms))
        )
    bank.step(rng.uniform(1, 60))
    return bank


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_codec_reads_what_was_sent(name: str, seed: int) -> None:
    """Of any bank, every field is told as the wire has it, none is missing, and none is made up."""
    speaker = make_speaker(name, random_bank(random.Random(seed), DrivenClock()))
    decoded = read(speaker.family, broadcast(speaker))
    assert differences(speaker, decoded) == []
    for state in (decoded.bank, *decoded.packs.values()):
        assert state is not None
        if state.voltage is not None and state.current is not None:
            assert state.power == pytest.approx(state.voltage * state.current)


@pytest.mark.parametrize("name", SETS)
def test_every_condition_is_told_as_the_wire_has_it(name: str) -> None:
    """A condition with a bit of its own keeps its name, one without is told as the wider one, or not at all."""
    clock = DrivenClock()
    bank = SimBank(2, clock, spec=PackSpec(soc=50))
    (pack, _) = bank.packs.values()
    told = set()
    for condition in Condition:
        for severity in Severity:
            pack.release()
            pack.force(Alarm(condition=condition, severity=severity))
            speaker = make_speaker(name, bank)
            decoded = read(speaker.family, broadcast(speaker))
            assert differences(speaker, decoded) == []
            assert decoded.bank is not None
            told |= {alarm.condition for alarm in decoded.bank.alarms or ()}
    if name == SETS[name].family:  # other sets of a family may say more than all of them do
        assert told <= CAN[name].conditions


@pytest.mark.parametrize("name", [name for name, one in SETS.items() if one.family != "generic_35x"])
def test_a_battery_can_say_that_something_is_wrong(name: str) -> None:
    """With everything wrong at once, alarms are told; of sets that leave the pairs of 35A empty, none ever is."""
    clock = DrivenClock()
    bank = SimBank(1, clock)
    (pack,) = bank.packs.values()
    pack.force(*(Alarm(condition=c, severity=s) for c in Condition for s in Severity))
    speaker = make_speaker(name, bank)
    decoded = read(speaker.family, broadcast(speaker))
    assert decoded.bank is not None
    if name == "megarevo":
        assert decoded.bank.alarms is None
    elif name == "pylon_v1.3":
        assert decoded.bank.alarms == frozenset()
    else:
        assert len(decoded.bank.alarms or ()) >= 8


def test_growatt_without_an_inverter_permits_nothing() -> None:
    """The pack transmits, but stays in its soft start with limits 0 and everything disabled (section 6.11)."""
    speaker = make_speaker("growatt", SimBank(2, DrivenClock()))
    decoded = read("growatt", broadcast(speaker, inverter=False))
    assert differences(speaker, decoded) == []
    bank = decoded.bank
    assert bank is not None
    assert (bank.charge_current_limit, bank.discharge_current_limit) == (0, 0)
    assert (bank.charge_enabled, bank.discharge_enabled, bank.mode) == (False, False, "starting")


def test_a_pack_that_is_away_is_no_longer_told() -> None:
    """Deye's frames of a silent pack stop, the others keep their numbers."""
    clock = DrivenClock()
    bank = SimBank(3, clock)
    list(bank.packs.values())[1].silent = True
    speaker = make_speaker("deye_pcs", bank)
    decoded = read("deye_pcs", broadcast(speaker))
    assert set(decoded.packs) == {1, 3}
    assert decoded.bank is not None
    assert (decoded.bank.modules, decoded.bank.modules_online) == (3, 2)
