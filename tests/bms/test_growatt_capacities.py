"""What a Growatt bank says in words that are too short for it: capacities, currents and limits."""

from collections.abc import Callable
import sys
from typing import Any

import pytest

from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.capacity import as_they_stand, unwrapped
from custom_components.lfp_battery.bms.protocols.modbus.frame import Registers
from custom_components.lfp_battery.bms.protocols.modbus.growatt import Growatt

_REGISTERED = POLLED["growatt-rs485"]
assert isinstance(_REGISTERED, Growatt)
GROWATT = _REGISTERED


@pytest.mark.parametrize(
    ("soc", "remaining", "full", "stands"),
    [
        (99, 396.0, 400.0, True),  # captured
        (76, 238.64, 314.0, True),
        (99, 99.0, 100.0, True),
        (55, 55.0, 100.0, True),
        (50, 50.0, 100.0, False),  # or 705.36 of 1410.72
        (1, 1.0, 100.0, True),
        (79, 4.64, 184.64, False),  # captured: both have wrapped once
        (78, 600.0, 114.64, False),
        (99, 532.64, 544.64, False),
        (100, 184.64, 184.64, False),  # 100 % of anything
        (0, 0.0, 184.64, False),
        (76, 100.0, 0.0, False),
        (60, 238.64, 314.0, False),
    ],
)
def test_capacities_stand_where_charge_and_ratio_agree_and_one_turn_more_would_not(
    soc: int, remaining: float, full: float, stands: bool
) -> None:
    """Near full and near empty a wrapped bank makes the same share: nothing is said then."""
    found = as_they_stand(soc, round(remaining * 100), round(full * 100))
    assert found == ((remaining, full) if stands else (None, None))


def test_capacities_without_a_state_of_charge_are_unknown() -> None:
    """There is nothing to hold them against."""
    assert as_they_stand(None, 39600, 40000) == (None, None)
    assert unwrapped(840, None, 464, 18464) == (None, 840.0)


@pytest.mark.parametrize(("cut", "blind"), [(round, frozenset()), (int, frozenset({99}))], ids=["rounded", "cut off"])
def test_no_bank_of_any_size_is_shown_with_capacities_that_are_not_its_own(
    cut: Callable[[float], int], blind: frozenset[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """1 to 16 packs of every common size, new and aged, at every charge; how often small banks show theirs is printed.

    A SOC that is cut off to 99 % is the one that the captured bank of 400 Ah leaves open.
    """
    shown = banks = 0
    for capacity in (50, 100, 105, 150, 206, 230, 280, 304, 314, 330):
        for packs in range(1, 17):
            for health in (100, 97, 85):
                full = capacity * packs * health
                for permille in range(0, 1001, 5):
                    remaining = full * permille // 1000
                    soc = cut(100 * remaining / full)
                    found = as_they_stand(soc, remaining % 0x10000, full % 0x10000)
                    right = (remaining / 100, full / 100)
                    assert found in (right, (None, None)) or soc in blind, (capacity, packs, health, permille)
                    if full < 0x10000:
                        banks += 1
                        shown += found == right
    with capsys.disabled():
        sys.stdout.write(f"\ngrowatt capacities of banks that have not run over: {100 * shown / banks:.0f} % shown\n")
    assert shown > 0.4 * banks


@pytest.mark.parametrize("packs", range(1, 17))
@pytest.mark.parametrize("capacity", [100, 280, 314])
def test_the_size_of_the_bank_solves_every_turn(packs: int, capacity: int) -> None:
    """At every charge, also for packs that have aged, as long as the bank lacks less than half a turn of the word."""
    protocol = GROWATT.configured(packs=packs, capacity=capacity)
    for health in (85, 93, 100):
        full = packs * capacity * health
        if packs * capacity * 100 - full >= 0x8000:
            continue
        for percent in (1, 13, 50, 79, 98, 100):
            remaining = full * percent // 100
            found = protocol.capacities(percent, remaining % 65536, full % 65536)
            assert found == (remaining / 100, full / 100)


def test_a_size_that_does_not_fit_gives_nothing() -> None:
    """Rather than capacities that contradict the state of charge."""
    assert unwrapped(100, 50, 464, 18464) == (None, None)
    assert unwrapped(100, 50, 0, 0) == (None, None)


@pytest.mark.parametrize("how", [{"packs": 3, "capacity": None}, {"packs": None, "capacity": 280.0}])
def test_capacities_of_a_bank_of_unknown_size_do_not_come_and_go(how: dict[str, Any]) -> None:
    """They are certain at some states of charge only: a home is told none."""
    codec = GROWATT.configured(**how)
    for soc in range(101):
        assert codec.capacities(soc, 400 * soc, 40000) == (None, None)


@pytest.mark.parametrize("cut_off", [False, True])
@pytest.mark.parametrize("packs", [1, 3, 16])
def test_nothing_that_a_large_bank_says_is_shown_wrong(packs: int, cut_off: bool) -> None:
    """Whether a current that its word cannot hold wraps or is cut off, and whether the size is known or not."""
    codecs = (GROWATT.configured(packs=packs, capacity=314.0), GROWATT.configured(packs=None, capacity=None), GROWATT)
    shown = 0
    for current in (-640, -328, -90, 0, 90, 328, 502, 640):
        if abs(current) > 314 * packs:
            continue
        status = 0x60 | (2 if current > 0 else 3 if current else 1)
        raw = min(max(current * 100, -0x8000), 0x7FFF) if cut_off else current * 100
        words = {0x13: status, 0x15: 50, 0x16: 5321, 0x17: raw % 0x10000, 0x18: 25}
        for codec in codecs:
            bank = codec.read(1, Registers(words)).bank
            assert bank is not None
            assert bank.current in (None, pytest.approx(current)), (packs, current)
            assert (bank.power is None) is (bank.current is None)
            shown += bank.current is not None
    assert shown >= 9


def test_a_current_without_a_status_is_shown_where_the_size_leaves_no_doubt() -> None:
    """An inverter asks for all but the status; 502 A of a large bank come as -153 A."""

    def current(packs: int | None, raw: int) -> float | None:
        codec = GROWATT.configured(packs=packs, capacity=314.0)
        bank = codec.read(1, Registers({0x14: 0, 0x15: 50, 0x16: 5321, 0x17: raw % 0x10000})).bank
        assert bank is not None
        return bank.current

    assert (current(1, -9000), current(16, -15336), current(None, -9000)) == (-90.0, None, -90.0)
    assert current(1, 0x7FFF) is current(None, 0x7FFF) is None


def test_a_limit_that_its_word_cannot_hold_is_not_shown() -> None:
    """At the end of the word it may be anything beyond, and in a large bank a turn of the word more."""

    def limits(packs: int | None, charge: int, discharge: int) -> tuple[float | None, float | None]:
        words = {0x13: 0x61, 0x15: 50, 0x16: 5321, 0x17: 0, 0x18: 25, 0x19: charge, 0x23: discharge, 0x29: 16}
        bank = GROWATT.configured(packs=packs, capacity=314.0).read(1, Registers(words)).bank
        assert bank is not None
        return bank.charge_current_limit, bank.discharge_current_limit

    assert limits(None, 2500, 10000) == limits(1, 2500, 10000) == (25.0, 100.0)
    assert limits(None, 0xFFFF, 0xFFFF) == limits(1, 30000, 30000) == limits(16, 2500, 10000) == (None, None)
