"""The Growatt register map: real frames, own ones, every bit, and what departs from the document."""

import json
import os
from pathlib import Path
import struct
import sys
from typing import Any

import pytest

from custom_components.lfp_battery.bms.decoding import answer, reported
from custom_components.lfp_battery.bms.errors import FrameError
from custom_components.lfp_battery.bms.model import BankState, Mode
from custom_components.lfp_battery.bms.plausibility import hold_back
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.modbus.frame import Registers, read_request
from custom_components.lfp_battery.bms.protocols.modbus.growatt import Growatt
from tests.simulator.modbus import question, sealed

from .captured import CAPTURES
from .mutation import Fault, Sample, run, table

_REGISTERED = POLLED["growatt-rs485"]
assert isinstance(_REGISTERED, Growatt)
GROWATT = _REGISTERED
CAPTURED: dict[str, dict[str, Any]] = {
    row["id"]: row for row in json.loads((CAPTURES / "growatt.json").read_text(encoding="utf-8"))["captures"]
}

# Own construction from the register map, 16 cells: 0x0013*23, and 0x0070*17 with cells from 0x0071 and from 0x0070 on
STATUS_23 = question(1, 0x13, 23)
CHARGING = bytes.fromhex(
    "01032e00620000004c14c904d2001b27105d387aa801020006002a01000063163000003a9800000d010cfb0005000c001028a4"
)
FAULTED = bytes.fromhex(
    "01032e1067140800041270f60afffd000004e87aa801020006002a010000df1630220a000000100bb60a8d000300090010390c"
)
CELLS_17 = question(1, 0x70, 17)
CELLS = bytes.fromhex("01032200010cfd0cfe0cff0d000d010cff0cfe0cfd0cfc0cfd0cfe0cfb0cfe0cff0cfe0cfd9e8e")
CELLS_JK = bytes.fromhex("0103220cfd0cfe0cff0d000d010cff0cfe0cfd0cfc0cfd0cfe0cfb0cfe0cff0cfe0cfd00004586")
MILLIVOLTS = (3325, 3326, 3327, 3328, 3329, 3327, 3326, 3325, 3324, 3325, 3326, 3323, 3326, 3327, 3326, 3325)


def read(words: dict[int, int], protocol: Growatt = GROWATT) -> BankState:
    """What a dump says of the bank."""
    bank = protocol.read(1, Registers(words)).bank
    assert bank is not None
    return bank


def block(start: int, *words: int) -> dict[int, int]:
    """A dump of consecutive registers."""
    return dict(enumerate(words, start))


@pytest.mark.parametrize("row", CAPTURED.values(), ids=CAPTURED)
def test_real_frames_say_what_their_sources_say(row: dict[str, Any]) -> None:
    """Through the command that owners use; null must be left out."""
    asked = {"protocol": "growatt-rs485"} | {
        key: row[key] for key in ("request", "response", "registers") if key in row
    }
    bank = answer(json.dumps(asked))["bank"]
    for name, value in row["bank"].items():
        assert bank.get(name) == value, name


@pytest.mark.parametrize("row", [row for row in CAPTURED.values() if "configured" in row], ids=lambda row: row["id"])
def test_real_wrapped_capacities_are_solved_with_the_size_of_the_bank(row: dict[str, Any]) -> None:
    """A turn of the word more or less: only the number of packs tells."""
    packs, capacity = row["configured"]
    protocol = GROWATT.configured(packs=packs, capacity=capacity)
    bank = read({int(register, 0): word for register, word in row["registers"].items()}, protocol)
    assert reported(bank).items() >= row["bank_configured"].items()


def test_a_full_status_block() -> None:
    """All 23 registers of a bank that is charging."""
    decoded = GROWATT.decode(STATUS_23, CHARGING)
    assert decoded.bank == BankState(
        mode=Mode.CHARGING, charge_enabled=True, discharge_enabled=True, force_charge_requested=False,
        soc=76, voltage=53.21, current=12.34, power=53.21 * 12.34, temperature=27, charge_current_limit=100.0,
        discharge_current_limit=150.0, charge_voltage_limit=56.8, remaining_capacity=238.64, full_capacity=314.0,
        cycles=42, soh=99, alarms=frozenset(), cell_voltage_max=3.329, cell_voltage_min=3.323,
        derived=frozenset({"power"}),
    )  # fmt: skip
    assert decoded.packs == {}
    assert (decoded.identities[1].cells, decoded.identities[1].hardware, decoded.identities[1].firmware) == (
        16,
        "1",
        "2",
    )
    assert decoded.info["chemistry"] == "lfp"
    assert decoded.info["terminal_open"] is False


def test_a_status_block_full_of_trouble() -> None:
    """Errors, warnings and the extended word together; a limit of 0 A is a limit."""
    bank = GROWATT.decode(STATUS_23, FAULTED).bank
    assert bank is not None
    assert bank.alarms is not None
    assert sorted((alarm.condition.value, alarm.severity.value) for alarm in bank.alarms) == [
        ("cell_imbalance", "protection"), ("cell_undervoltage", "warning"), ("charge_undertemperature", "warning"),
        ("mosfet_overtemperature", "protection"), ("pack_undervoltage", "warning"), ("parallel_failure", "fault"),
        ("shutdown_imminent", "warning"), ("undervoltage", "protection"),
    ]  # fmt: skip
    assert (bank.charge_current_limit, bank.discharge_current_limit) == (0.0, 0.0)
    assert (bank.current, bank.temperature, bank.soh) == (-25.5, -3, 95)
    assert bank.force_charge_requested is True


@pytest.mark.parametrize("frame", [CELLS, CELLS_JK], ids=["documented", "jk"])
def test_the_first_cell_is_found_in_either_place(frame: bytes) -> None:
    """JK's cells begin one register before the document's."""
    bank = GROWATT.decode(CELLS_17, frame).bank
    assert bank is not None
    assert bank.cell_voltages == tuple(mv / 1000 for mv in MILLIVOLTS)


@pytest.mark.parametrize("count", [4, 8, 15, 16])
@pytest.mark.parametrize("base", [0x70, 0x71])
def test_packs_of_every_size_show_their_own_cells(count: int, base: int) -> None:
    """Empty places at the end are no cells."""
    dump = block(0x70, 1, *[0] * 16) | block(base, *MILLIVOLTS[:count])
    assert read(dump).cell_voltages == tuple(mv / 1000 for mv in MILLIVOLTS[:count])


def test_a_window_that_may_lack_a_cell_says_nothing() -> None:
    """Seven words from 0x0071 on are an 8S pack of JK's without its first cell, and eight of sixteen are no pack."""
    assert read(block(0x71, *MILLIVOLTS[1:8], *[0] * 9)).cell_voltages is None
    assert read(block(0x71, *MILLIVOLTS[:8])).cell_voltages is None
    assert read(block(0x71, *MILLIVOLTS)).cell_voltages is not None
    assert read(block(0x70, *[0] * 17)).cell_voltages is None


@pytest.mark.parametrize("millivolts", [500, 1450, 1950, 1999, 4600, 5000])
@pytest.mark.parametrize("series", [8, 16])
def test_a_first_cell_in_trouble_moves_no_other(millivolts: int, series: int) -> None:
    """JK's, one register before the document's place."""
    cells = (millivolts, *MILLIVOLTS[1:series])
    assert read(block(0x70, *cells, *[0] * (17 - series))).cell_voltages == tuple(mv / 1000 for mv in cells)


@pytest.mark.parametrize("series", [8, 15, 16])
@pytest.mark.parametrize("base", [0x70, 0x71])
@pytest.mark.parametrize("wide", [True, False])
def test_a_broken_wire_moves_no_cell(*, wide: bool, base: int, series: int) -> None:
    """Whichever cell reads nothing: the others keep their numbers, or nothing is shown."""
    for number in (0, 1, 7):
        for broken in range(series):
            cells = [0 if place == broken else mv for place, mv in enumerate(MILLIVOLTS[:series])]
            dump = block(0x70, *[0] * 17) | {0x70: number} | block(base, *cells)
            if not wide:
                del dump[0x70]
            shown = read({register: dump[register] for register in sorted(dump) if register <= 0x80}).cell_voltages
            true = tuple(mv / 1000 if mv else None for mv in cells)
            assert shown is None or shown == true[: len(shown)]


def test_fifteen_words_are_fifteen_cells_only_where_something_says_so() -> None:
    """They may be JK's sixteen without the first; the count settles it, the voltage, or the pack's number before them."""
    fifteen = tuple(mv / 1000 for mv in MILLIVOLTS[:15])
    window = block(0x71, *MILLIVOLTS[:15], 0)
    assert read(window).cell_voltages is None
    assert read(window | {0x70: 0}).cell_voltages is None
    assert read(window | {0x70: 300}).cell_voltages is None
    assert read(window | {0x70: 2}).cell_voltages == fifteen
    assert read(window | {0x29: 15}).cell_voltages == fifteen
    assert read(window | {0x29: 16}).cell_voltages is None
    assert read(window | {0x70: 1950, 0x29: 15}).cell_voltages == fifteen
    assert read(window | {0x16: sum(MILLIVOLTS[:15]) // 10}).cell_voltages == fifteen
    assert read(block(0x70, 3000, *MILLIVOLTS[:15], 9)).cell_voltages is None


def test_a_dead_cell_is_shown_as_it_is() -> None:
    """One that is far too low is news; one that reads 0 was not measured."""
    words = [*MILLIVOLTS]
    words[3], words[9] = 900, 0
    cells = read(block(0x70, 1, *words)).cell_voltages
    assert cells is not None
    assert (cells[3], cells[9], len(cells)) == (0.9, None, 16)


def test_the_sum_decides_between_the_two_places_where_the_voltage_is_known() -> None:
    """A pack number can look like a cell, if only in a dump of everything."""
    cells = block(0x70, 3000, *MILLIVOLTS[:15], 0)
    total = sum(MILLIVOLTS[:15])
    assert read(cells | {0x16: total // 10}).cell_voltages == tuple(mv / 1000 for mv in MILLIVOLTS[:15])
    assert read(cells | {0x16: (total + 3000) // 10}).cell_voltages == (
        3.0,
        *(mv / 1000 for mv in MILLIVOLTS[:15]),
    )


def test_words_that_are_no_cells_are_refused() -> None:
    """As when a late status block of 16 registers comes in answer to the question for 16 cells, or the other way round."""
    status = sealed(b"\x01\x03\x20" + CHARGING[3:35])
    with pytest.raises(FrameError, match="no cells"):
        GROWATT.decode(read_request(1, 0x71, 16), status)
    cells = sealed(b"\x01\x03\x20" + CELLS[5:37])
    with pytest.raises(FrameError, match="no status"):
        GROWATT.decode(read_request(1, 0x13, 16), cells)


# --- what is not a value ---------------------------------------------------------------------------------------------


def test_what_the_firmware_counts_at_most_is_no_limit() -> None:
    """300.00 A in either limit; what lacks the later words has no limit for discharging, not one of 0 A."""
    bank = read(block(0x19, 30000) | block(0x23, 30000, 0, 3329))
    assert (bank.charge_current_limit, bank.discharge_current_limit) == (None, None)
    assert read(block(0x23, *[0] * 7)).discharge_current_limit is None
    assert read(block(0x19, 30001)).charge_current_limit == 300.01


def test_a_health_of_nothing_is_not_provided() -> None:
    """The flag in bit 7 does not make it one."""
    assert [read({0x20: word}).soh for word in (0, 0x80, 0x63, 0xDF)] == [None, None, 99, 95]


def test_the_number_of_the_lowest_cell_is_never_published() -> None:
    """Makers count from 0 or from 1; it is kept as it came."""
    decoded = GROWATT.decode(STATUS_23, CHARGING)
    assert decoded.bank is not None
    assert (decoded.bank.cell_voltage_min_cell, decoded.bank.cell_voltage_max_cell) == (None, None)
    assert (decoded.info["cell_voltage_max_cell"], decoded.info["cell_voltage_min_cell"]) == (5, 12)


def test_alarms_are_known_as_soon_as_the_error_word_is() -> None:
    """Firmware with six registers says what it has stopped; cells say nothing of alarms."""
    short = read(block(0x13, 0x67, 0x0008, 5, 4700, 0, 20)).alarms
    assert short is not None
    assert {alarm.condition.value for alarm in short} == {"undervoltage"}
    assert read(block(0x71, *MILLIVOLTS)).alarms is None


def test_error_bits_that_nobody_can_name_are_kept() -> None:
    """One dialect gives bit 15 a meaning; the raw word goes into the report."""
    decoded = GROWATT.read(1, Registers({0x14: 0x8001, 0x24: 0x0021}))
    assert (decoded.info["error_word"], decoded.info["extended_error_word"]) == (0x8001, 0x21)
    assert "error_word" not in GROWATT.read(1, Registers({0x14: 0x7FFF})).info


def test_the_bit_that_says_errors_are_valid_raises_nothing() -> None:
    """EG4-LL sets it under load, with an error word of 0 (captured)."""
    assert read(block(0x13, 0x67, 0, 99, 5331)).alarms == frozenset()


@pytest.mark.parametrize(
    ("word", "mode"),
    [(0x0000, "starting"), (0x0469, "standby"), (0x0062, "charging"), (0x0067, "discharging"), (0x0071, "sleep")],
)
def test_the_state_word(word: int, mode: str) -> None:
    """Captured values are 0x0469 and 0x0067."""
    assert read({0x13: word}).mode == Mode(mode)


ERRORS = [
    "discharge_overcurrent",
    "short_circuit",
    "overvoltage",
    "undervoltage",
    "discharge_overtemperature",
    "charge_overtemperature",
    "discharge_undertemperature",
    "charge_undertemperature",
    "precharge_failure!",
    "internal_failure!",
    "cell_imbalance",
    "charge_overcurrent",
    "mosfet_overtemperature",
    "ambient_overtemperature",
    "ambient_undertemperature",
]
WARNINGS = [
    "cell_overvoltage",
    "cell_undervoltage",
    "pack_overvoltage",
    "pack_undervoltage",
    "discharge_overcurrent",
    "charge_overcurrent",
    "discharge_overtemperature",
    "discharge_undertemperature",
    "charge_overtemperature",
    "charge_undertemperature",
    "mosfet_overtemperature",
    "ambient_overtemperature",
    "ambient_undertemperature",
    "shutdown_imminent",
]
EXTENDED = ["configuration_conflict!", "configuration_conflict!", "other", "parallel_failure!", "parallel_failure!"]
BITS = [
    (register, bit, condition.rstrip("!"), "fault" if condition.endswith("!") else severity)
    for register, severity, conditions in (
        (0x14, "protection", ERRORS),
        (0x22, "warning", WARNINGS),
        (0x24, "protection", EXTENDED),
    )
    for bit, condition in enumerate(conditions)
]


@pytest.mark.parametrize(("register", "bit", "condition", "severity"), BITS)
def test_every_bit_has_its_meaning(register: int, bit: int, condition: str, severity: str) -> None:
    """Sections 3.2, 3.4 and 3.5; the chemistry beside the warnings is no warning."""
    words = {0x14: 0, 0x22: 0x4000, 0x24: 0}
    words[register] |= 1 << bit
    alarms = read(words).alarms
    assert alarms is not None
    assert [(alarm.condition.value, alarm.severity.value) for alarm in alarms] == [(condition, severity)]
    assert {alarm.condition for alarm in alarms} <= GROWATT.conditions


def test_the_bits_are_those_of_the_collection() -> None:
    """Where the collection of captures is at hand, every bit of the status block means what it says there."""
    if not (folder := os.environ.get("LFP_CAPTURES")):
        pytest.skip("LFP_CAPTURES does not say where the collection of captures is")
    rows = json.loads((Path(folder) / "conditions.json").read_text(encoding="utf-8"))["bits"]
    known = {
        (int(row["where"][:6], 0), row["bit"], row["condition"], row["severity"])
        for row in rows
        if row["protocol"] == "growatt-rs485" and row.get("condition") and int(row["where"][:6], 0) < 0x100
    }
    assert known == set(BITS)


@pytest.mark.parametrize(("bits", "chemistry"), [(0, "lfp"), (1, "nmc"), (2, "lto"), (3, None)])
def test_the_chemistry_stands_above_the_warnings(bits: int, chemistry: str | None) -> None:
    """Two bits of 0x0022."""
    assert GROWATT.read(1, Registers({0x22: bits << 14})).info.get("chemistry") == chemistry


# --- who it is, and whether it is it ---------------------------------------------------------------------------------


def test_the_identification_block() -> None:
    """A barcode of eight characters is a serial number; zeros are nothing (EG4-LL)."""
    words = block(1, 0x0105, 7, *[0] * 6, 0x4142, 0x4344, 0x3132, 0x3334, 3, 4, 5120)
    decoded = GROWATT.read(1, Registers(words))
    assert decoded.identities[1].serial == "ABCD1234"
    assert decoded.info["usable_energy_wh"] == 5120
    assert decoded.info["mcu_firmware"] == "1.5"
    empty = GROWATT.read(1, Registers(block(1, *[0] * 15)))
    assert (empty.identities, empty.info) == ({}, {})
    assert next(poll for poll in GROWATT.polls if poll.name == "identification").private


@pytest.mark.parametrize(
    ("request_frame", "frame", "known"),
    [
        (STATUS_23, CHARGING, True),
        (question(1, 0x13, 16), bytes.fromhex(CAPTURED["eg4ll-bank-discharging"]["response"]), True),
        (question(1, 0x13, 6), bytes.fromhex(CAPTURED["jk-status"]["response"]), True),
        (question(1, 0x14, 15), sealed(b"\x01\x03\x1e" + CHARGING[5:35]), True),
        (question(1, 0x01, 35), sealed(b"\x01\x03\x46" + bytes(36) + CHARGING[3:37]), True),
        (CELLS_17, CELLS, True),
        (CELLS_17, CELLS_JK, True),
        (question(1, 0x15, 1), bytes.fromhex(CAPTURED["jk-soc"]["response"]), False),
        (question(1, 0x00, 39), sealed(b"\x01\x03\x4e" + bytes(38) + CHARGING[3:43]), False),
        (question(1, 0x13, 6), sealed(b"\x01\x03\x0c" + bytes(12)), False),
        (STATUS_23, CELLS_JK, False),
    ],
)
def test_what_an_inverter_asks_is_recognised_by_block_and_values(
    request_frame: bytes, frame: bytes, known: bool
) -> None:
    """The shapes that inverters use (3.1); a block that begins at 0 belongs to other maps."""
    assert GROWATT.recognises(request_frame, frame) is known


@pytest.mark.parametrize(
    "words", [(0, 0, 0, 0, 0, 0), (97, 0, 3321, 5321, 0, 25), (97, 0, 66, 100, 0, 25), (97, 0, 66, 5321, 0, 200)]
)
def test_a_block_that_holds_no_battery_is_refused(words: tuple[int, ...]) -> None:
    """A probe answered out of another map must not be taken for this one (section 13)."""
    with pytest.raises(FrameError, match="no status"):
        read(block(0x13, *words))


def test_only_registers_that_every_product_has_are_asked() -> None:
    """Beyond 0x0080 EG4-LL falls silent (3.1)."""
    polls = [*GROWATT.polls]
    for poll in polls:
        polls += poll.fallback
        _, function, start, count, _ = struct.unpack(">BBHHH", poll.request(1))
        assert function == 3
        assert start + count - 1 <= 0x80
    assert [poll.name for poll in polls if poll.name.startswith("status")] == ["status", "status-16", "status-6"]


def test_the_gate_lets_a_healthy_bank_pass() -> None:
    """Nothing of a whole reading contradicts itself."""
    assert hold_back(GROWATT.decode(STATUS_23, CHARGING).bank or BankState())[1] == {}


COUNT = 100_000


@pytest.mark.timeout(120)
@pytest.mark.parametrize("status", [CHARGING, FAULTED], ids=["charging", "faulted"])
def test_damage_is_refused(status: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """A CRC of 16 bits lets no flip of up to three bits pass, and one in 65536 of the rest; the shares are printed."""
    samples = [
        Sample.of("status", GROWATT, STATUS_23, status),
        Sample.of("cells", GROWATT, CELLS_17, CELLS),
        *(
            Sample.of(row["id"], GROWATT, bytes.fromhex(row["request"]), bytes.fromhex(row["response"]))
            for row in CAPTURED.values()
            if "request" in row
        ),
    ]
    outcome = run(samples, COUNT // 2, 20261121)
    with capsys.disabled():
        sys.stdout.write(f"\ngrowatt, {COUNT // 2} frames\n{table(outcome)}\n")
    for fault in (Fault.FLIP_1, Fault.FLIP_2, Fault.FLIP_3, Fault.SWAP):
        assert outcome.tallies[fault].wrong == 0
    assert sum(tally.wrong for tally in outcome.tallies.values()) <= 2
