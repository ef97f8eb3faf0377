"""The bank over its packs: what it adds up, what it leaves out, and what it does not know."""

from collections.abc import Sequence
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

from hypothesis import given, strategies as st
import pytest

from custom_components.lfp_battery.bms.bank import (
    BankFigures,
    LeftOut,
    Member,
    Weighting,
    derivable,
    figures,
    keeping_charge,
    without_totals,
)
from custom_components.lfp_battery.bms.model import Alarm, BankState, Condition, Mode, PackState, Severity

from .good_reading import GOOD, with_cell
from .rig import MakeRig

TOTALS = ("power", "current", "remaining_capacity", "full_capacity", "design_capacity")
PACK = replace(GOOD, power=-650.0, design_capacity=104.0, soh=99.0, mode=Mode.DISCHARGING, heater_active=False)


def bank_of(*packs: PackState, **more: Member) -> list[Member]:
    """Packs that all answer, numbered from 1, and further ones by name."""
    return [*(Member(number=str(n), state=pack, online=True) for n, pack in enumerate(packs, 1)), *more.values()]


def said(state: PackState | BankState) -> frozenset[str]:
    """Names of the fields that it has, as a record of it would keep them."""
    return frozenset(
        f.name for f in fields(state) if f.name not in {"address", "derived"} and getattr(state, f.name) is not None
    )


def silent(number: str, pack: PackState | None = PACK) -> Member:
    """A pack that answered once, or never."""
    return Member(number=number, state=pack, online=False)


def test_what_can_be_added_up_is() -> None:
    """Of three packs that all answer."""
    state = figures(bank_of(PACK, PACK, replace(PACK, current=3.1, power=163.0, remaining_capacity=60.0))).state
    assert state.current == pytest.approx(-12.3 * 2 + 3.1)
    assert state.power == -650.0 * 2 + 163.0
    assert (state.remaining_capacity, state.full_capacity, state.design_capacity) == (192.0, 300.0, 312.0)
    assert state.derived >= set(TOTALS)


@pytest.mark.parametrize(
    "away",
    [
        silent("3"),
        silent("3", None),
        Member(number="3", state=PACK, online=True, asked=False),
        Member(number="3", state=None, online=True),
    ],
)
def test_a_total_is_not_known_while_one_known_pack_is_not_heard(away: Member) -> None:
    """Rather than smaller than it is; why it is not heard makes no difference."""
    found = figures(bank_of(PACK, PACK, away=away))
    assert [getattr(found.state, name) for name in TOTALS] == [None] * 5
    assert not found.state.derived & set(TOTALS)
    assert found.left_out == {"3": LeftOut.SILENT if away.asked else LeftOut.UNASKED}
    assert found.state.soc == 66.0


def test_what_a_pack_said_too_long_ago_is_no_part_of_a_total() -> None:
    """With what the others say now it adds up to what never was; how full the bank is hardly changed since."""
    late = figures(bank_of(PACK, PACK, late=Member(number="3", state=PACK, online=True, current=False)))
    whole = figures(bank_of(PACK, PACK, PACK))
    assert [getattr(late.state, name) for name in TOTALS] == [None] * 5
    assert (late.complete, whole.complete) == (False, True)
    assert late.counted == ("1", "2", "3")
    assert not late.left_out
    for name in ("soc", "voltage", "cell_voltage_min", "charge_current_limit", "charge_enabled"):
        assert getattr(late.state, name) == getattr(whole.state, name) is not None
    assert without_totals(whole) == late


def test_totals_that_the_bank_says_itself_grow_old_with_nobody() -> None:
    """Only what was worked out is taken back."""
    found = without_totals(figures(bank_of(PACK, PACK), BankState(power=-1300.0), frozenset({"power"})))
    assert (found.state.power, found.state.current) == (-1300.0, None)


def test_a_charge_can_be_kept_with_all_that_is_said_of_it() -> None:
    """Nothing else is; and where none was known, or the bank says its own, there is nothing to keep."""
    before = figures(bank_of(PACK, replace(PACK, soc=8.0)))
    now = figures(bank_of(replace(PACK, voltage=51.0), away=silent("2")))
    kept = keeping_charge(now, before)
    assert (kept.state.soc, kept.counted, kept.left_out) == (37.0, ("1", "2"), {})
    assert (kept.weighting, kept.soc_spread) == (before.weighting, before.soc_spread)
    assert (kept.state.voltage, kept.state.power, kept.complete) == (51.0, None, False)
    assert "soc" in kept.state.derived
    assert keeping_charge(now, BankFigures(state=BankState())) == now
    own = figures(bank_of(PACK, PACK), BankState(soc=50.0), frozenset({"soc"}))
    assert keeping_charge(now, own) == now


def test_a_total_is_not_known_while_one_pack_does_not_say() -> None:
    """That total alone."""
    state = figures(bank_of(PACK, replace(PACK, remaining_capacity=None))).state
    assert state.remaining_capacity is None
    assert state.full_capacity == 200.0


def test_the_state_of_charge_counts_by_capacity() -> None:
    """A pack of 300 Ah that is full outweighs one of 100 Ah that is empty."""
    found = figures(bank_of(replace(PACK, soc=0.0), replace(PACK, soc=100.0, full_capacity=300.0)))
    assert (found.state.soc, found.weighting) == (75.0, Weighting.CAPACITY)
    assert found.counted == ("1", "2")
    assert found.soc_spread == 100.0


def test_all_packs_count_by_the_same_kind_of_capacity() -> None:
    """What one does not say is taken of none: first the design, then the manual, else all count alike."""
    empty, full = replace(PACK, soc=0.0), replace(PACK, soc=100.0, full_capacity=900.0, design_capacity=104.0)
    by_design = figures(bank_of(replace(empty, full_capacity=None), full))
    assert (by_design.state.soc, by_design.weighting) == (50.0, Weighting.CAPACITY)
    bare = [replace(pack, full_capacity=None, design_capacity=None) for pack in (empty, full)]
    by_manual = [
        replace(member, capacity=ah) for member, ah in zip(bank_of(bare[0], full), (100.0, 300.0), strict=True)
    ]
    assert figures(by_manual).state.soc == 75.0
    alike = figures([replace(by_manual[0], capacity=None), by_manual[1]])
    assert (alike.state.soc, alike.weighting) == (50.0, Weighting.EQUAL)
    assert figures(bank_of(*bare)).weighting is Weighting.EQUAL
    nothing = figures(bank_of(replace(empty, full_capacity=0.0, design_capacity=0.0), full))
    assert nothing.weighting is Weighting.EQUAL


def test_full_packs_make_a_full_bank_and_no_hair_more() -> None:
    """By these capacities the rounding of a weighted mean alone would end above 100 %."""
    full = [replace(PACK, soc=100.0, full_capacity=capacity) for capacity in (249.6, 267.2)]
    assert figures(bank_of(*full)).state.soc == 100.0


def test_every_pack_is_counted_or_left_out_for_a_reason() -> None:
    """And a pack that is left out takes no part in the spread."""
    found = figures(
        bank_of(
            PACK,
            replace(PACK, soc=None),
            replace(PACK, soc=70.0),
            a=silent("4", replace(PACK, soc=1.0)),
            b=Member(number="5", state=PACK, online=False, asked=False),
        )
    )
    assert found.counted == ("1", "3")
    assert found.left_out == {"2": LeftOut.UNKNOWN, "4": LeftOut.SILENT, "5": LeftOut.UNASKED}
    assert found.state.soc == pytest.approx(68.0)
    assert found.soc_spread == 4.0


def test_when_no_pack_answers_nothing_is_known() -> None:
    """And every pack is named."""
    found = figures([silent("1"), silent("2")])
    assert found.state == BankState()
    assert found.left_out == {"1": LeftOut.SILENT, "2": LeftOut.SILENT}
    assert (found.weighting, found.soc_spread, found.voltage_spread, found.lowest_cell_pack) == (None,) * 4


def test_packs_in_parallel_have_one_voltage() -> None:
    """The mean of those that answer; a spread needs two."""
    found = figures(bank_of(replace(PACK, voltage=52.0), replace(PACK, voltage=52.5), away=silent("3")))
    assert found.state.voltage == pytest.approx(52.25)
    assert found.voltage_spread == pytest.approx(0.5)
    alone = figures(bank_of(PACK, away=silent("2")))
    assert (alone.state.voltage, alone.voltage_spread, alone.soc_spread) == (52.84, None, None)


def test_the_lowest_and_highest_cell_are_named_with_their_pack() -> None:
    """Also where packs are numbered by group, and where one tells only its own extremes."""
    packs = bank_of(with_cell(5, 3.1, PACK), with_cell(16, 3.6, PACK))
    packs[1] = replace(packs[1], number="2-1")
    told = replace(PACK, cell_voltages=None, cell_voltage_min=3.2, cell_voltage_max=3.4, cell_voltage_min_cell=9)
    found = figures([*packs, Member(number="3", state=told, online=True)])
    state = found.state
    assert (state.cell_voltage_min, state.cell_voltage_min_cell, state.cell_voltage_min_pack) == (3.1, 5, 1)
    assert (state.cell_voltage_max, state.cell_voltage_max_cell, state.cell_voltage_max_pack) == (3.6, 16, None)
    assert (found.lowest_cell_pack, found.highest_cell_pack) == ("1", "2-1")
    lower = figures([*packs, Member(number="3", state=replace(told, cell_voltage_min=2.9), online=True)])
    assert (lower.state.cell_voltage_min, lower.state.cell_voltage_min_cell, lower.lowest_cell_pack) == (2.9, 9, "3")


def test_a_cell_that_is_not_known_is_not_the_lowest() -> None:
    """Nor are the cells of a pack that does not answer."""
    found = figures(bank_of(with_cell(1, None, PACK), PACK, away=silent("3", with_cell(2, 2.5, PACK))))
    assert (found.state.cell_voltage_min, found.lowest_cell_pack) == (3.301, "1")
    assert found.state.cell_voltage_min_cell == 5


def test_the_coldest_and_the_warmest_pack_are_named() -> None:
    """By their cells."""
    found = figures(bank_of(PACK, replace(PACK, cell_temperatures=(None, 4.5, 21.0)), replace(PACK, address=4)))
    assert (found.state.cell_temperature_min, found.coldest_pack) == (4.5, "2")
    assert (found.state.cell_temperature_max, found.warmest_pack) == (22.0, "1")


def test_voltage_limits_are_the_strictest() -> None:
    """The smallest for charging, the largest for discharging; not known while one pack may have a stricter one."""
    other = replace(PACK, charge_voltage_limit=56.0, discharge_voltage_limit=47.5)
    state = figures(bank_of(PACK, other, PACK)).state
    assert (state.charge_voltage_limit, state.discharge_voltage_limit) == (56.0, 47.5)
    state = figures(bank_of(PACK, replace(PACK, charge_voltage_limit=None))).state
    assert (state.charge_voltage_limit, state.discharge_voltage_limit) == (None, 46.0)


def test_the_weakest_pack_limits_the_current_of_each() -> None:
    """Packs on line times the smallest limit: in parallel none can be spared its share."""
    state = figures(bank_of(PACK, PACK, replace(PACK, charge_current_limit=10.0), away=silent("4"))).state
    assert (state.charge_current_limit, state.discharge_current_limit) == (30.0, 150.0)


def test_a_pack_that_refuses_a_direction_takes_no_part_in_it() -> None:
    """Neither is it counted nor does its limit count; when all refuse, nothing may flow."""
    full = replace(PACK, charge_enabled=False, charge_current_limit=0.0)
    state = figures(bank_of(PACK, PACK, full)).state
    assert (state.charge_current_limit, state.discharge_current_limit) == (100.0, 150.0)
    assert state.charge_enabled is True
    state = figures(bank_of(full, full)).state
    assert (state.charge_current_limit, state.charge_enabled) == (0.0, False)
    untold = replace(PACK, charge_current_limit=None)
    assert figures(bank_of(PACK, PACK, untold)).state.charge_current_limit is None
    assert figures(bank_of(*[replace(untold, charge_enabled=False)] * 2)).state.charge_current_limit is None


def test_charging_is_refused_only_when_every_known_pack_refuses() -> None:
    """Allowed when one allows; else a pack that is not heard, or does not say, may allow it."""
    refusing = replace(PACK, discharge_enabled=False)
    assert figures(bank_of(refusing, PACK, away=silent("3"))).state.discharge_enabled is True
    assert figures(bank_of(refusing, refusing)).state.discharge_enabled is False
    assert figures(bank_of(refusing, refusing, away=silent("3"))).state.discharge_enabled is None
    assert figures(bank_of(refusing, replace(PACK, discharge_enabled=None))).state.discharge_enabled is None


def test_what_packs_cannot_share_is_never_worked_out() -> None:
    """Health, cycles, mode, alarms and the heater stay with the packs."""
    alarm = Alarm(condition=Condition.CELL_OVERVOLTAGE, severity=Severity.PROTECTION)
    state = figures(bank_of(replace(PACK, alarms=frozenset({alarm})), PACK)).state
    left = ("soh", "cycles", "mode", "alarms", "heater_active", "heating_enabled", "balancing_cells", "energy_charged")
    assert [getattr(state, name) for name in left] == [None] * len(left)
    assert not derivable([said(PACK), said(PACK)]) & set(left)


def test_what_the_bank_ever_said_itself_is_never_worked_out() -> None:
    """Also while it does not say it; the rest is, and is told apart."""
    own = BankState(soc=50.0, voltage=51.2, power=-1.0, derived=frozenset({"power"}), modules=2)
    found = figures(bank_of(PACK, PACK), own, said(own) | {"remaining_capacity"})
    assert (found.state.soc, found.state.voltage, found.state.power, found.state.modules) == (50.0, 51.2, -1.0, 2)
    assert found.state.remaining_capacity is None
    assert found.state.full_capacity == 200.0
    assert found.state.derived >= {"power", "full_capacity", "current"}
    assert not found.state.derived & {"soc", "voltage", "remaining_capacity"}
    assert (found.counted, found.left_out, found.weighting) == ((), {}, None)
    assert found.soc_spread == 0.0


def test_the_banks_own_lowest_cell_is_in_the_pack_that_says_the_same() -> None:
    """Or in the one that the bank names, or nobody knows: one of the packs may be silent. Its number is the bank's to say."""
    packs = bank_of(PACK, with_cell(3, 3.21, PACK))
    own = BankState(cell_voltage_min=3.213, cell_temperature_max=22.4)
    found = figures(packs, own, said(own))
    assert (found.lowest_cell_pack, found.warmest_pack, found.highest_cell_pack) == ("2", "1", "1")
    assert (found.state.cell_voltage_min, found.state.cell_voltage_min_cell) == (3.213, None)
    assert figures(packs, replace(own, cell_voltage_min=2.9), said(own)).lowest_cell_pack is None
    assert figures(packs, replace(own, cell_voltage_min=None), said(own)).lowest_cell_pack is None
    assert figures(packs, replace(own, cell_voltage_min_pack=7), said(own)).lowest_cell_pack == "7"


def test_one_pack_is_its_own_bank() -> None:
    """Nothing is said twice; what the bank says itself stands."""
    assert figures(bank_of(PACK)).state == BankState()
    assert figures([]).state == BankState()
    own = BankState(soc=40.0)
    assert figures(bank_of(PACK), own, said(own)).state == own
    assert derivable([said(PACK)]) == frozenset()


def test_what_can_be_worked_out_follows_from_what_packs_report() -> None:
    """A total needs all of them, the rest one; a pack that was never heard rules nothing out."""
    bare = frozenset({"soc", "voltage", "cell_voltages"})
    assert derivable([bare, bare | {"current"}]) == {
        *("soc", "voltage", "cell_voltage_min", "cell_voltage_min_cell", "cell_voltage_min_pack"),
        *("cell_voltage_max", "cell_voltage_max_cell", "cell_voltage_max_pack"),
    }
    assert derivable([bare | {"current"}, frozenset()]) >= {"soc", "current"}
    assert derivable([frozenset(), frozenset()]) == frozenset()
    assert derivable([frozenset({"cell_voltage_min"})] * 2) == {"cell_voltage_min", "cell_voltage_min_pack"}
    assert "remaining_capacity" not in derivable([said(PACK), said(PACK) - {"remaining_capacity"}])


# --- for any packs ---------------------------------------------------------------------------------------------------


def _maybe(low: float, high: float) -> st.SearchStrategy[float | None]:
    return st.one_of(st.none(), st.floats(low, high))


_FLAG = st.one_of(st.none(), st.booleans())
_CELLS = st.one_of(st.none(), st.lists(_maybe(2.0, 4.0), max_size=4).map(tuple))
_STATES = st.builds(
    PackState,
    address=st.just(1),
    voltage=_maybe(40.0, 60.0),
    current=_maybe(-300.0, 300.0),
    power=_maybe(-20_000.0, 20_000.0),
    soc=_maybe(0.0, 100.0),
    remaining_capacity=_maybe(0.0, 400.0),
    full_capacity=_maybe(0.0, 400.0),
    design_capacity=_maybe(0.0, 400.0),
    cell_voltages=_CELLS,
    cell_temperatures=_CELLS,
    charge_enabled=_FLAG,
    discharge_enabled=_FLAG,
    charge_voltage_limit=_maybe(50.0, 60.0),
    discharge_voltage_limit=_maybe(40.0, 50.0),
    charge_current_limit=_maybe(0.0, 200.0),
    discharge_current_limit=_maybe(0.0, 200.0),
    cell_voltage_min=_maybe(2.0, 3.0),
)
_MEMBERS = st.lists(
    st.builds(
        Member,
        number=st.just(""),
        state=st.one_of(st.none(), _STATES),
        online=st.sampled_from((True, True, True, False)),
        asked=st.sampled_from((True, True, True, False)),
        capacity=st.one_of(st.none(), st.just(100.0)),
    ),
    min_size=2,
    max_size=6,
).map(lambda members: [replace(member, number=str(place)) for place, member in enumerate(members, 1)])


def answering(members: Sequence[Member]) -> list[PackState]:
    """States of the packs that are heard."""
    return [one.state for one in members if one.state is not None and one.online and one.asked]


@given(_MEMBERS)
def test_a_total_is_the_exact_sum_of_all_or_nothing(members: list[Member]) -> None:
    """Against fractions, to the last bit."""
    state, heard = figures(members).state, answering(members)
    for name in TOTALS:
        values = [getattr(pack, name) for pack in heard]
        known = len(heard) == len(members) and None not in values
        assert getattr(state, name) == (float(sum(map(Fraction, values))) if known else None), name


@given(_MEMBERS)
def test_the_state_of_charge_lies_between_those_that_are_counted(members: list[Member]) -> None:
    """And every pack is either counted or left out."""
    found = figures(members)
    assert sorted((*found.counted, *found.left_out)) == [member.number for member in members]
    counted = [one.state.soc for one in members if one.number in found.counted and one.state is not None]
    charges = [soc for soc in counted if soc is not None]
    assert len(charges) == len(counted)
    assert (found.state.soc is None) == (not charges)
    if found.state.soc is not None:
        assert min(charges) <= found.state.soc <= max(charges)


@given(_MEMBERS)
def test_nothing_is_worked_out_that_the_packs_could_never_tell(members: list[Member]) -> None:
    """So that there is an entity for all that ever has a value; and only that is called worked out."""
    state = figures(members).state
    packs = [said(member.state) if member.state is not None else frozenset[str]() for member in members]
    assert said(state) == state.derived
    assert said(state) <= derivable(packs)


@given(_MEMBERS.flatmap(lambda members: st.tuples(st.just(members), st.permutations(members))))
def test_the_order_of_the_packs_does_not_matter(orders: tuple[list[Member], list[Member]]) -> None:
    """Except for which of several alike is named."""
    first, second = map(figures, orders)
    assert first.left_out == second.left_out
    assert set(first.counted) == set(second.counted)
    places = {f.name for f in fields(BankState) if f.name.endswith(("_cell", "_pack"))}
    for name in said(first.state) - places:
        one, other = getattr(first.state, name), getattr(second.state, name)
        assert one == pytest.approx(other, rel=1e-12, abs=1e-12) if isinstance(one, float) else one == other, name


@given(_MEMBERS)
def test_no_limit_allows_a_pack_more_than_it_says(members: list[Member]) -> None:
    """Each pack's share of the bank's current is within its own limit, and so is the voltage."""
    state, heard = figures(members).state, answering(members)
    for pack in heard:
        if state.charge_voltage_limit is not None:
            assert pack.charge_voltage_limit is not None
            assert state.charge_voltage_limit <= pack.charge_voltage_limit
        if state.discharge_voltage_limit is not None:
            assert pack.discharge_voltage_limit is not None
            assert state.discharge_voltage_limit >= pack.discharge_voltage_limit
    for direction in ("charge", "discharge"):
        taking = [pack for pack in heard if getattr(pack, f"{direction}_enabled") is not False]
        limit = getattr(state, f"{direction}_current_limit")
        if limit is not None:
            shares = [getattr(pack, f"{direction}_current_limit") for pack in taking]
            assert all(limit / len(taking) <= share * (1 + 1e-12) for share in shares)


# --- on a line -------------------------------------------------------------------------------------------------------


async def test_a_bank_on_a_line_is_what_its_packs_are(make_rig: MakeRig) -> None:
    """Polled from simulated packs, against what these hold; one of them then stops answering."""
    rig = await make_rig(40.0, packs=3)

    def members() -> list[Member]:
        reports = [(address, rig.told.last(address)) for address in rig.bank.packs]
        return [Member(number=str(at - 1), state=one.state, online=one.online) for at, one in reports]

    sent: list[dict[str, Any]] = [rig.speaker.latest(address) for address in rig.bank.packs]
    found = figures(members())
    assert found.counted == ("1", "2", "3")
    assert found.state.remaining_capacity == pytest.approx(sum(pack["remaining_capacity"] for pack in sent))
    assert found.state.current == pytest.approx(sum(pack["current"] for pack in sent))
    assert found.state.voltage == pytest.approx(sum(pack["voltage"] for pack in sent) / 3)
    lowest = min(range(3), key=lambda place: min(sent[place]["cell_voltages"]))
    assert found.lowest_cell_pack == str(lowest + 1)
    assert found.state.cell_voltage_min == pytest.approx(min(sent[lowest]["cell_voltages"]))
    rig.bank.packs[3].silent = True
    await rig.clock.advance(120.0)
    found = figures(members())
    assert found.left_out == {"2": LeftOut.SILENT}
    assert found.counted == ("1", "3")
    assert (found.state.remaining_capacity, found.state.power) == (None, None)
