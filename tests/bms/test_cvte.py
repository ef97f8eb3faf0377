"""The CVTE register map, of which no capture exists: own frames, every bit, and both descriptions of its cells."""

from collections import Counter
from itertools import product
import json
import os
from pathlib import Path
import sys

import pytest

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.errors import FrameError, RefusedError
from custom_components.lfp_battery.bms.model import BankState, Mode
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.base import Decoded
from custom_components.lfp_battery.bms.protocols.modbus.cvte import Cvte
from custom_components.lfp_battery.bms.protocols.modbus.frame import Registers
from tests.simulator.bank import SimBank, Steady, make_packs
from tests.simulator.modbus import question, sealed
from tests.simulator.modbus_cvte import CvteMap
from tests.simulator.pack import PackSpec

from .mutation import Fault, Sample, run, table

_REGISTERED = POLLED["cvte-rs485"]
assert isinstance(_REGISTERED, Cvte)
CVTE: Cvte = _REGISTERED

# Own construction from the register map; the text is what an emulator sends
NAME = (question(1, 0x1C, 4), bytes.fromhex("010308435654455f434f4d3029"))
STATUS = (question(1, 0x20, 12), bytes.fromhex("010318006314c9f60a001b004c5d387aa80002004227101630006370f6"))
EXTREMES = (question(1, 0x2C, 11), bytes.fromhex("010316002a005f0d0100050cfb000c0006001c000300190007e6cc"))
CELLS = (
    question(1, 0x40, 17),
    bytes.fromhex("01032200100cfd0cfe0cff0d000d010cff0cfe0cfd0cfc0cfd0cfe0cfb0cfe0cff0cfe0cfd3288"),
)
MILLIVOLTS = (3325, 3326, 3327, 3328, 3329, 3327, 3326, 3325, 3324, 3325, 3326, 3323, 3326, 3327, 3326, 3325)


def read(words: dict[int, int]) -> BankState:
    """What a dump says of the bank."""
    bank = CVTE.read(1, Registers(words)).bank
    assert bank is not None
    return bank


def block(start: int, *words: int) -> dict[int, int]:
    """A dump of consecutive registers."""
    return dict(enumerate(words, start))


def test_an_owner_is_told_that_nobody_has_seen_it_work() -> None:
    """Confidence C: known from an emulator only."""
    assert CVTE.experimental
    assert not POLLED["growatt-rs485"].experimental


def test_the_status_block() -> None:
    """The block that an inverter was reported to ask for."""
    bank = CVTE.decode(*STATUS).bank
    assert bank is not None
    assert (bank.mode, bank.charge_enabled, bank.discharge_enabled) == (Mode.DISCHARGING, True, True)
    assert (bank.voltage, bank.current, bank.soc, bank.soh) == (53.21, -25.5, 76, 99)
    assert (bank.remaining_capacity, bank.full_capacity) == (238.64, 314.0)
    assert (bank.charge_current_limit, bank.charge_voltage_limit) == (100.0, 56.8)
    assert bank.cell_temperature_max == 27
    assert bank.alarms is not None
    assert sorted((alarm.condition.value, alarm.severity.value) for alarm in bank.alarms) == [
        ("low_soc", "warning"),
        ("undervoltage", "protection"),
        ("undervoltage", "warning"),
    ]
    assert (bank.power, bank.derived) == (53.21 * -25.5, frozenset({"power"}))


def test_the_size_of_the_bank_settles_its_capacities() -> None:
    """At half of its charge a bank of 628 Ah may as well be a larger one; who knows its size tells."""
    words = block(0x20, 0x63, 5321, 0, 27, 50, 31530, 62800)
    assert read(words).full_capacity is None
    known = CVTE.configured(packs=2, capacity=314.0)
    bank = known.read(1, Registers(words)).bank
    assert bank is not None
    assert (bank.remaining_capacity, bank.full_capacity) == (315.3, 628.0)
    for soc in range(101):  # certain at some states of charge only: a home is told none
        assert CVTE.configured(packs=None, capacity=314.0).capacities(soc, 100 * soc, 10000) == (None, None)


@pytest.mark.parametrize("cut_off", [False, True])
@pytest.mark.parametrize("packs", [1, 3, 16])
def test_nothing_that_a_large_bank_says_is_shown_wrong(packs: int, cut_off: bool) -> None:
    """Whether sums that their words cannot hold wrap or are cut off, and whether the size of the bank is known or not."""
    known = CVTE.configured(packs=packs, capacity=314.0)
    shown: Counter[str] = Counter()
    asked = 0
    full = 314 * packs
    currents = [amperes for amperes in (-640, -328, -90, 0, 90, 328, 502, 640) if abs(amperes) <= full]
    for soc, current, limit, allowed in product(
        (1, 13, 37, 50, 79, 98, 100), currents, (0, 157, 157 * packs), (True, False)
    ):
        true = {"full_capacity": full, "remaining_capacity": full * soc / 100, "current": current}
        true["charge_current_limit"] = limit if allowed else 0
        mode = 2 if current > 0 else 3 if current else 1
        status = mode | (0x40 if allowed else 0)
        unsigned = [min(n, 0xFFFF) if cut_off else n % 0x10000 for n in (full * soc, full * 100)]
        signed = min(max(current * 100, -0x8000), 0x7FFF) % 0x10000 if cut_off else current * 100 % 0x10000
        top = true["charge_current_limit"] * 100
        top = min(top, 0xFFFF) if cut_off else top % 0x10000
        words = block(0x20, status, 5321, signed, 27, soc, *unsigned, 0, 0, int(top), 5680, 99)
        asked += 1
        for name, codec in (("known", known), ("unknown", CVTE)):
            bank = codec.read(1, Registers(words)).bank
            assert bank is not None
            for field, value in true.items():
                found = getattr(bank, field)
                assert found is None or found == pytest.approx(value), (name, field, soc, current, limit)
                shown[f"{name} {field}"] += found is not None
            assert (bank.power is None) is (bank.current is None)
    assert shown["known full_capacity"] == (0 if cut_off and packs > 2 else asked)
    assert shown["known current"] >= asked * 3 / 8
    assert shown["known charge_current_limit"] >= asked / 2


def test_a_current_that_its_word_cannot_hold_is_not_shown() -> None:
    """502.4 A of charging come as 152.96 A of discharging; at the end of the word it may be anything beyond."""
    large, small = CVTE.configured(packs=16, capacity=314.0), CVTE.configured(packs=3, capacity=100.0)

    def current(codec: Cvte, status: int, raw: int) -> tuple[float | None, float | None]:
        bank = codec.read(1, Registers(block(0x20, status, 5000, raw % 0x10000))).bank
        assert bank is not None
        return bank.current, bank.power

    for codec in (large, CVTE):
        assert current(codec, 0x62, 50240 - 0x10000) == (None, None)
        assert current(codec, 0x63, 15296) == (None, None)
        assert current(codec, 0x62, 15296) == (152.96, 7648.0)
    assert current(small, 0x62, -15296) == (-152.96, -7648.0)
    for codec in (large, small, CVTE):
        assert current(codec, 0x62, 0x7FFF) == current(codec, 0x63, -0x8000) == (None, None)


def test_a_limit_is_shown_where_no_turn_of_the_word_fits_the_bank() -> None:
    """2512 A come as 545.92 A; three packs of 314 Ah take no 1126 A, so that 471 A are 471 A."""

    def limit(packs: int | None, status: int, raw: int) -> float | None:
        codec = CVTE.configured(packs=packs, capacity=314.0)
        bank = codec.read(1, Registers({0x20: status, 0x29: raw})).bank
        assert bank is not None
        return bank.charge_current_limit

    assert limit(16, 0x61, 251200 % 0x10000) is None
    assert limit(16, 0x61, 0) is None
    assert limit(16, 0x21, 0) == limit(None, 0x21, 0) == 0
    assert (limit(3, 0x61, 47100), limit(3, 0x61, 20000)) == (471.0, None)
    assert (limit(1, 0x61, 15700), limit(1, 0x61, 0), limit(1, 0x61, 0xFFFF)) == (157.0, 0.0, None)
    assert limit(None, 0x61, 15700) is None


async def test_sixteen_packs_run_over_in_the_simulator_too() -> None:
    """What the matrix reads with the most packs of the manual does not fit its words, and is known not to."""
    bank = SimBank(make_packs(16, PackSpec(capacity=314.0), first=1), DrivenClock(), profile=Steady(rate=0.1))
    bank.step(1)
    page = CvteMap().page(bank, 1)
    assert page is not None
    said = page.said(0x20, 12)[None]
    assert (said["current"], said["power"], said["charge_current_limit"]) == (None, None, None)
    full, remaining = said["full_capacity"], said["remaining_capacity"]
    assert isinstance(full, float)
    assert isinstance(remaining, float)
    assert full == pytest.approx(5024, rel=0.1)
    assert page.words[0x26] == round(full * 100) % 0x10000
    assert page.words[0x24] == said["soc"] == round(100 * remaining / full)


def test_extremes_and_cells() -> None:
    """Which cell it is stays unpublished: nobody knows whether they count from 0 or from 1."""
    decoded = CVTE.decode(*EXTREMES)
    assert decoded.bank == BankState(
        cycles=42, cell_voltage_max=3.329, cell_voltage_min=3.323, cell_temperature_max=28, cell_temperature_min=25
    )
    assert (decoded.info["cell_voltage_max_cell"], decoded.info["charge_time_min"]) == (5, 95)
    bank = CVTE.decode(*CELLS).bank
    assert bank is not None
    assert bank.cell_voltages == tuple(mv / 1000 for mv in MILLIVOLTS)


def test_the_name_is_what_tells_this_map_from_others() -> None:
    """In Growatt mode the same registers hold a version, a difference and the cycles."""
    decoded = CVTE.decode(*NAME)
    assert decoded.identities[1].manufacturer == "CVTE_COM"
    for words in ((0x0204, 0, 6, 0), (0, 0, 0, 0)):
        with pytest.raises(FrameError, match="name"):
            read(block(0x1C, *words))
    assert CVTE.probes[0].request == NAME[0]


@pytest.mark.parametrize("count", [8, 15, 16])
def test_cells_are_told_by_their_magnitude_and_place(count: int) -> None:
    """In mV behind their number, or, as the project's prose has it, in 10 mV from 0x0040 on."""
    cells = tuple(mv / 1000 for mv in MILLIVOLTS[:count])
    assert read(block(0x40, count, *MILLIVOLTS[:count], *[0] * (26 - count))).cell_voltages == cells
    tens = [mv // 10 for mv in MILLIVOLTS[:count]]
    assert read(block(0x40, *tens, *[0] * (27 - count))).cell_voltages == tuple(value / 100 for value in tens)
    assert read(block(0x40, count, *tens, *[0] * (26 - count))).cell_voltages == tuple(value / 100 for value in tens)


def test_cells_that_make_no_sense_are_not_shown() -> None:
    """A number without cells, more cells than there is room for, and nothing at all."""
    assert read(block(0x40, 16, *[0] * 26)).cell_voltages is None
    assert read(block(0x40, 30, *[3300] * 26)).cell_voltages is None
    assert read(block(0x40, *[0] * 27)).cell_voltages is None
    assert read(block(0x40, 27, *[3300] * 16)).cell_voltages is None


@pytest.mark.parametrize("millivolts", [900, 1900, 4501, 4600])
@pytest.mark.parametrize("place", [0, 4, 15])
def test_one_cell_in_trouble_costs_no_other(place: int, millivolts: int) -> None:
    """The unit is told by what most of them read."""
    cells = [millivolts if at == place else mv for at, mv in enumerate(MILLIVOLTS)]
    assert read(block(0x40, 16, *cells, *[0] * 10)).cell_voltages == tuple(mv / 1000 for mv in cells)
    assert read({0x2E: max(cells), 0x30: min(cells)}).cell_voltage_max == max(cells) / 1000


def test_a_window_of_zeros_says_nothing() -> None:
    """A bank that is asleep, or another battery: no standby, no 0 degC."""
    for first, count in ((0x20, 12), (0x2C, 11)):
        with pytest.raises(RefusedError, match="0 V"):
            CVTE.decode(question(1, first, count), sealed(bytes((1, 3, 2 * count)) + bytes(2 * count)))
    for first, count in ((0x40, 27), (0x40, 17)):
        found = CVTE.decode(question(1, first, count), sealed(bytes((1, 3, 2 * count)) + bytes(2 * count)))
        assert found == Decoded()


def test_extremes_in_tens_of_millivolts() -> None:
    """As the cells of that description."""
    bank = read({0x2E: 333, 0x30: 332})
    assert (bank.cell_voltage_max, bank.cell_voltage_min) == (3.33, 3.32)
    assert read({0x2E: 0, 0x30: 0}).cell_voltage_max is None
    assert read({0x2E: 33, 0x30: 32}).cell_voltage_max is None


def test_probes_that_are_not_there_read_zero() -> None:
    """At the end of the list they are no places at all."""
    assert read(block(0x65, 21, 0xFFFB, 0, 22, *[0] * 6)).cell_temperatures == (21.0, -5.0, None, 22.0)
    assert read(block(0x65, *[0] * 10)).cell_temperatures is None


FAULTS = [
    "overvoltage", "undervoltage", "overcurrent", "short_circuit", "overtemperature", "undertemperature",
    "cell_imbalance", "internal_failure!", "precharge_failure!",
]  # fmt: skip
WARNINGS = [
    "overvoltage", "undervoltage", "overcurrent", "overtemperature", "undertemperature", "cell_imbalance", "low_soc",
]  # fmt: skip
BITS = [
    (register, bit, condition.rstrip("!"), "fault" if condition.endswith("!") else severity)
    for register, severity, conditions in ((0x27, "protection", FAULTS), (0x28, "warning", WARNINGS))
    for bit, condition in enumerate(conditions)
]


@pytest.mark.parametrize(("register", "bit", "condition", "severity"), BITS)
def test_every_bit_has_its_meaning(register: int, bit: int, condition: str, severity: str) -> None:
    """Section 7."""
    alarms = read({0x27: 0, 0x28: 0} | {register: 1 << bit}).alarms
    assert alarms is not None
    assert [(alarm.condition.value, alarm.severity.value) for alarm in alarms] == [(condition, severity)]
    assert {alarm.condition for alarm in alarms} <= CVTE.conditions
    assert read({register: 1 << bit}).alarms is None


def test_the_bits_are_those_of_the_collection() -> None:
    """Where the collection of captures is at hand, every bit means what it says there."""
    if not (folder := os.environ.get("LFP_CAPTURES")):
        pytest.skip("LFP_CAPTURES does not say where the collection of captures is")
    rows = json.loads((Path(folder) / "conditions.json").read_text(encoding="utf-8"))["bits"]
    known = {
        (int(row["where"][:6], 0), row["bit"], row["condition"], row["severity"])
        for row in rows
        if row["protocol"] == "cvte-rs485" and row.get("condition")
    }
    assert known == set(BITS)


@pytest.mark.parametrize(
    ("asked", "frame", "known"),
    [
        (*STATUS, True),
        (*NAME, False),
        (*CELLS, False),
        (question(1, 0x20, 12), sealed(b"\x01\x03\x18" + bytes(24)), False),
        (question(1, 0x13, 23), sealed(b"\x01\x03\x2e" + bytes(46)), False),
    ],
)
def test_what_an_inverter_asks_is_recognised_by_block_and_values(asked: bytes, frame: bytes, known: bool) -> None:
    """The name is asked for by nobody else; the status block has to make sense."""
    assert CVTE.recognises(asked, frame) is known


def test_a_block_that_holds_no_battery_is_refused() -> None:
    """As it may come from a battery of another kind."""
    with pytest.raises(FrameError, match="no status"):
        read(block(0x20, *[0] * 12))


@pytest.mark.timeout(120)
def test_damage_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """As for every map with a CRC of 16 bits; the shares are printed."""
    named = {"name": NAME, "status": STATUS, "extremes": EXTREMES, "cells": CELLS}
    samples = [Sample.of(name, CVTE, asked, frame) for name, (asked, frame) in named.items()]
    outcome = run(samples, 30_000, 20261121)
    with capsys.disabled():
        sys.stdout.write(f"\ncvte, 30000 frames\n{table(outcome)}\n")
    for fault in (Fault.FLIP_1, Fault.FLIP_2, Fault.FLIP_3, Fault.SWAP):
        assert outcome.tallies[fault].wrong == 0
    assert sum(tally.wrong for tally in outcome.tallies.values()) <= 2
