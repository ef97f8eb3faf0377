"""Voltronic's bank: four forms of answers that only look like Modbus, and what its registers say."""

from collections.abc import Iterator
import json
import struct
from typing import Any

import pytest

from custom_components.lfp_battery.bms.decoding import answer as decode_line
from custom_components.lfp_battery.bms.discovery.following import Follower
from custom_components.lfp_battery.bms.errors import FrameError, Refusal, RefusedError
from custom_components.lfp_battery.bms.model import Alarm, BankState, Condition, Severity
from custom_components.lfp_battery.bms.protocols import POLLED, SERIAL
from custom_components.lfp_battery.bms.protocols.modbus.voltronic import Voltronic
from tests.simulator.bank import Steady, make_packs
from tests.simulator.modbus import question, sealed
from tests.simulator.modbus_voltronic import Dialect, VoltronicMap
from tests.simulator.pack import PackSpec

from .matrix import differences
from .modbus_site import Site, all_polls, captured, conditions, window
from .mutation import Fault, Sample, bit_flips, run

NAME = "voltronic-bms-485-20200325"
CODEC = Voltronic()
STATUS = [123, 0, 532, 76, 4, 51856, 2, *[0] * 7, 4, 51856]
LIMITS = [560, 440, 1000, 1500, 0xC0, 1140, 3, 42032]
MV_CELLS = [16, *range(3321, 3337), 0, 0, 0, 0]
BLOCKS = {0x10: MV_CELLS, 0x25: [6, 2982, 2985, 2981, 2988, 2979, 3021, 0, 0, 0, 0], 0x30: STATUS, 0x70: LIMITS}


def _frame(dialect: Dialect, words: list[int], unit: int = 1) -> bytes:
    return VoltronicMap(dialect).encode(unit, words)


def _bank(words: dict[int, int], **how: Any) -> BankState:
    bank = window(NAME, words, **how).bank
    assert bank is not None
    return bank


def _alarm(condition: Condition, severity: Severity = Severity.WARNING, cell: int | None = None) -> Alarm:
    return Alarm(condition=condition, severity=severity, cell=cell)


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", captured(NAME), ids=lambda row: row["id"])
def test_what_a_real_battery_sent_is_read(row: dict[str, Any]) -> None:
    """The one public capture: a JK BMS with eight cells."""
    decoded = CODEC.decode(bytes.fromhex(row["request"]), bytes.fromhex(row["response"]))
    assert decoded.identities[1].cells == row["identity"]["cells"]


@pytest.mark.parametrize("dialect", [Dialect.WORDS16, Dialect.STANDARD, Dialect.FUNCTION_FIRST])
@pytest.mark.parametrize("first", BLOCKS)
def test_a_block_says_the_same_in_every_form(dialect: Dialect, first: int) -> None:
    """Length in words or in bytes, unit or function first."""
    asked, frame = question(1, first, len(BLOCKS[first])), _frame(dialect, BLOCKS[first])
    assert CODEC.is_answer(asked, frame)
    expected = window(NAME, dict(enumerate(BLOCKS[first], first)))
    assert CODEC.decode(asked, frame) == expected
    assert expected.bank is not None


@pytest.mark.parametrize("dialect", Dialect)
def test_a_single_register_says_the_same_in_every_form(dialect: Dialect) -> None:
    """The length of two bytes may count either words or bytes then."""
    bank = CODEC.decode(question(1, 0x33, 1), _frame(dialect, [76])).bank
    assert bank == BankState(soc=76)


@pytest.mark.parametrize(
    "body",
    [
        struct.pack(">BBH2H", 1, 3, 3, 1, 2),  # three announced, two there
        struct.pack(">BBH2H", 1, 3, 4, 1, 2),  # bytes are counted for single registers only
        struct.pack(">BBB2H", 1, 3, 6, 1, 2),
        struct.pack(">BBH2H", 2, 3, 2, 1, 2),  # somebody else
        struct.pack(">BBH2H", 3, 2, 2, 1, 2),
        struct.pack(">BBH2H", 1, 4, 2, 1, 2),
        struct.pack(">BBHH", 1, 3, 1, 1),  # fewer than asked for
    ],
)
def test_a_frame_of_another_length_unit_or_function_is_no_answer(body: bytes) -> None:
    """Whole length and length field both have to fit what was asked."""
    asked = question(1, 0x32, 2)
    assert not CODEC.is_answer(asked, sealed(body))
    with pytest.raises(FrameError):
        CODEC.decode(asked, sealed(body))


@pytest.mark.parametrize("dialect", Dialect)
def test_a_wrong_crc_is_no_answer(dialect: Dialect) -> None:
    """Every single flipped bit is seen."""
    asked, frame = question(1, 0x33, 1), _frame(dialect, [76])
    for damaged in bit_flips(frame):
        assert not CODEC.is_answer(asked, damaged)


@pytest.mark.parametrize(
    ("code", "count", "refusal"),
    [
        (1, 1, Refusal.AWAY),
        (2, 16, Refusal.UNSUPPORTED),
        (3, 1, Refusal.DAMAGED),
        (3, 16, Refusal.UNSUPPORTED),  # as Modbus means it
        (9, 1, Refusal.OTHER),
    ],
)
def test_a_refusal_names_its_reason(code: int, count: int, refusal: Refusal) -> None:
    """Codes are this document's, not those of Modbus."""
    with pytest.raises(RefusedError) as refused:
        CODEC.decode(question(1, 0x33, count), sealed(bytes((1, 0x83, code))))
    assert (refused.value.code, refused.value.refusal) == (code, refusal)


def test_a_refusal_of_another_function_is_one_too() -> None:
    """As overheard between others; without its question it is read as Modbus."""
    asked = sealed(bytes.fromhex("010400100001"))
    for request, frame in ((asked, sealed(bytes((1, 0x84, 2)))), (None, sealed(bytes((1, 0x83, 2))))):
        with pytest.raises(RefusedError):
            CODEC.decode(request, frame)


# --- direction -------------------------------------------------------------------------------------------------------


def test_what_looks_like_a_question_is_an_answer_when_one_register_was_asked_for() -> None:
    """And a question otherwise, as long as there are registers of that number."""
    reply = _frame(Dialect.WORDS16, [8])
    assert reply == question(1, 1, 8)
    assert CODEC.is_answer(question(1, 0x10, 1), reply)
    assert not CODEC.is_answer(question(1, 0x10, 21), reply)
    assert not CODEC.is_answer(reply, reply)
    assert not CODEC.is_request(reply)
    assert CODEC.is_request(question(1, 1, 6))
    assert CODEC.is_request(question(1, 0x33, 1))
    assert not CODEC.is_answer(question(1, 0x32, 1), question(1, 0x33, 1))
    assert not CODEC.is_request(_frame(Dialect.FUNCTION_FIRST, [8]))


def _follow(frames: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """What a listener makes of frames: an answer if it fits what was asked last, else a question."""
    asked: bytes | None = None
    for frame in frames:
        if asked is not None and CODEC.is_answer(asked, frame):
            yield asked, frame
            asked = None
        elif CODEC.is_request(frame):
            asked = frame


@pytest.mark.parametrize("begin", range(6))
@pytest.mark.parametrize("value", [1, 6, 8, 100])
def test_a_listener_that_starts_midway_is_right_after_one_exchange(value: int, begin: int) -> None:
    """An answer that is taken for a question has no answer itself."""
    asked = [question(1, register, 1) for register in (0x33, 0x32, 0x36)]
    frames = [frame for one in asked for frame in (one, _frame(Dialect.WORDS16, [value]))]
    exchanges = list(_follow(frames[begin:]))
    assert all(one in asked and frame == _frame(Dialect.WORDS16, [value]) for one, frame in exchanges)
    assert len(exchanges) == 3 - (begin + 1) // 2


def test_a_stream_of_single_registers_is_read_in_the_right_direction() -> None:
    """An answer of 6 has the form of a question for registers 1 to 6."""
    line = question(1, 0x36, 1) + _frame(Dialect.WORDS16, [6]) + question(1, 0x33, 1) + _frame(Dialect.WORDS16, [76])
    assert CODEC.is_request(_frame(Dialect.WORDS16, [6]))
    found = decode_line(json.dumps({"protocol": NAME, "stream": line.hex()}))
    assert found["bank"] == {"modules_online": 6, "soc": 76}


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("size", [1, 7, 400])
def test_overheard_traffic_is_cut_into_questions_and_answers(dialect: Dialect, size: int) -> None:
    """However it arrives, with noise between."""
    frames: list[bytes] = []
    for first, words in BLOCKS.items():
        wanted = [words[:1]] if dialect is Dialect.BYTES16 else [words]
        for some in wanted:
            frames += [question(1, first, len(some)), _frame(dialect, some)]
    frames += [question(1, 0x60, 10), sealed(bytes((1, 0x83, 2)))]
    line = b"\x00\xff\xfe".join([b"", *frames])
    splitter = CODEC.splitter()
    found = [frame for at in range(0, len(line), size) for frame in splitter.feed(line[at : at + size])]
    assert found == frames


@pytest.mark.parametrize("dialect", Dialect)
def test_the_answer_to_a_question_is_found_behind_its_echo(dialect: Dialect) -> None:
    """Byte by byte, with what is still to come told."""
    words = STATUS[:1] if dialect is Dialect.BYTES16 else STATUS
    asked, frame = question(1, 0x30, len(words)), _frame(dialect, words)
    splitter = CODEC.splitter(asked)
    found = []
    for place, byte in enumerate(line := asked + frame):
        found += splitter.feed(bytes((byte,)))
        assert (splitter.pending is None) == (place + 1 in (len(asked), len(line))) or place in (0, len(asked))
    assert found == [asked, frame]
    assert splitter.noise == 0


# --- what it says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "cells"), [(1000, [3325, 3318, 3331]), (100, [332, 331, 333])])
def test_cells_are_read_in_the_unit_that_makes_cells_of_them(scale: int, cells: list[int]) -> None:
    """Millivolts, or hundredths of a volt."""
    bank = _bank(dict(enumerate([3, *cells], 0x10)), count=21)
    assert bank.cell_voltages == tuple(raw / scale for raw in cells)


def test_cells_in_tenths_of_a_volt_are_kept_for_diagnostics() -> None:
    """Nothing must be made of their differences, which are steps of the unit."""
    decoded = window(NAME, dict(enumerate([4, 33, 33, 34, 33], 0x10)), count=21)
    assert decoded.info["cell_voltages"] == (3.3, 3.3, 3.4, 3.3)
    assert decoded.bank is None
    assert decoded.identities[1].cells == 4


def test_cells_that_make_no_sense_in_any_unit_are_kept_raw() -> None:
    """Nothing is guessed."""
    decoded = window(NAME, dict(enumerate([2, 70, 71], 0x10)), count=21)
    assert decoded.info["cells_raw"] == (70, 71)


def test_a_cell_that_reads_nothing_is_unknown() -> None:
    """The others keep their numbers."""
    assert _bank(dict(enumerate([3, 3300, 0, 3310], 0x10)), count=21).cell_voltages == (3.3, None, 3.31)


@pytest.mark.parametrize(
    ("words", "current"),
    [
        ({0x30: 123, 0x31: 0}, 12.3),
        ({0x30: 0, 0x31: 2550}, -255.0),
        ({0x30: 0, 0x31: 0}, 0.0),
    ],
)
def test_two_unsigned_words_make_a_signed_current(words: dict[int, int], current: float) -> None:
    """Positive while charging."""
    assert _bank(words).current == current


@pytest.mark.parametrize("value", [0, 123])
@pytest.mark.parametrize("register", [0x30, 0x31])
def test_half_of_a_current_says_nothing(register: int, value: int) -> None:
    """The other half may flow by now: neither a 0 nor a sign could be relied on."""
    assert window(NAME, {register: value}).bank is None


def test_what_is_not_provided_reads_zero_and_is_unknown() -> None:
    """Capacities, limits, numbers of packs."""
    bank = _bank({0x32: 532}, first=0x30, count=0x48)
    for name in (
        "full_capacity",
        "remaining_capacity",
        "modules_online",
        "charge_voltage_limit",
        "charge_current_limit",
    ):
        assert getattr(bank, name) is None


def test_switches_of_a_block_that_nobody_filled_in_are_unknown() -> None:
    """Neither allowed nor forbidden; with voltages beside them, or a bit that is set, they are filled in."""
    assert window(NAME, {0x70: 0}, count=5).bank is None
    assert window(NAME, {0x70: 0}, count=8).bank is None
    assert _bank(dict(enumerate([560, 440, 0, 0, 0], 0x70))).charge_enabled is False
    assert _bank(dict(enumerate([0, 0, 0, 0, 0xC0], 0x70))).charge_enabled is True


@pytest.mark.parametrize("register", [0x72, 0x73])
def test_a_current_limit_of_zero_by_itself_is_unknown(register: int) -> None:
    """What is unknown reads 0, and nothing beside it says that it was filled in."""
    assert window(NAME, {register: 0}).bank is None
    assert window(NAME, {register: 1500}).bank is not None


def test_a_summary_of_zeros_says_nothing() -> None:
    """A bank that is asleep or starting: no 0 %, no 0 A, no "no alarms"."""
    for count in (16, 6):
        with pytest.raises(RefusedError, match="0 V"):
            window(NAME, {0x30: 0}, count=count)
    assert _bank({0x32: 0}).voltage == 0.0  # a register by itself is judged as every value is


def test_a_charge_limit_of_zero_amperes_is_one() -> None:
    """The block is filled in: charging is not allowed now."""
    assert _bank(dict(enumerate([560, 440, 0, 1500], 0x70))).charge_current_limit == 0.0


def test_the_sixth_probe_is_the_mosfet() -> None:
    """As in the reference pack; absent ones are None, further ones are kept apart."""
    decoded = window(NAME, dict(enumerate([8, 2982, 0, 2981, 2988, 2979, 3021, 2991, 0], 0x25)), count=11)
    assert decoded.bank is not None
    assert decoded.bank.cell_temperatures == (25.1, None, 25.0, 25.7, 24.8)
    assert decoded.bank.mosfet_temperature == 29.0
    assert decoded.info["further_temperatures_C"] == (26.0, None)


def test_the_design_capacity_is_the_answering_packs() -> None:
    """And so its identity's, not the bank's."""
    decoded = window(NAME, {0x3E: 4, 0x3F: 51856})
    assert decoded.identities[1].design_capacity == 314.0
    assert decoded.bank is None


@pytest.mark.parametrize("row", conditions(NAME), ids=lambda row: f"{row['register']:#x}={row['value']:#x}")
def test_every_bit_and_code_means_what_the_document_says(row: dict[str, Any]) -> None:
    """Signals of a healthy pack are no alarms; codes of cells name the cell."""
    register, value = row["register"], row["value"]
    if register in (0x41, 0x51):
        words, cell = {register - 1: 16 if register == 0x41 else 6, register: value}, 2 if register == 0x41 else None
        bank = _bank(words, count=11 if register == 0x41 else 6)
    elif register == 0x74:
        flag = row.get("flag")
        bank = _bank({register: value})
        assert flag is None or getattr(bank, flag) is True
        return
    else:
        bank, cell = _bank({register: value}), None
    expected = _alarm(Condition(row["condition"]), Severity(row["severity"]), cell) if row["condition"] else None
    assert bank.alarms == (frozenset({expected}) if expected else frozenset())
    assert expected is None or expected.condition in CODEC.conditions


def test_states_of_odd_cells_stand_in_the_high_byte() -> None:
    """Cell 1 too low, cell 16 too high, and beyond the last cell nothing counts."""
    bank = _bank({0x40: 16, 0x41: 0x0100, 0x48: 0x0002, 0x49: 0x0202}, count=11)
    assert bank.alarms == frozenset(
        {_alarm(Condition.CELL_UNDERVOLTAGE, cell=1), _alarm(Condition.CELL_OVERVOLTAGE, cell=16)}
    )


# --- recognition -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [Dialect.WORDS16, Dialect.FUNCTION_FIRST])
def test_an_answer_that_cannot_be_modbus_is_recognised(dialect: Dialect) -> None:
    """A length of two bytes in front of a whole block."""
    for first, words in BLOCKS.items():
        assert CODEC.recognises(question(1, first, len(words)), _frame(dialect, words))


def test_a_modbus_answer_is_recognised_by_values_that_make_sense() -> None:
    """And nothing else is."""
    for first in (0x10, 0x30, 0x70):
        words = BLOCKS[first]
        assert CODEC.recognises(question(1, first, len(words)), _frame(Dialect.STANDARD, words))
        nonsense = [60000] * len(words)
        assert not CODEC.recognises(question(1, first, len(words)), _frame(Dialect.STANDARD, nonsense))
    assert not CODEC.recognises(question(1, 0x10, 1), _frame(Dialect.STANDARD, [16]))
    assert CODEC.recognises(question(1, 0x10, 1), _frame(Dialect.WORDS16, [16]))
    assert not CODEC.recognises(question(1, 0x10, 1), _frame(Dialect.WORDS16, [60000]))
    assert not CODEC.recognises(question(1, 0x10, 1), sealed(bytes((1, 0x83, 2))))


@pytest.mark.parametrize("name", ["growatt-rs485", "pace-modbus-1.3", "eg4ll-zt-native", "cvte-rs485"])
def test_no_other_map_takes_these_answers_for_its_own(name: str) -> None:
    """In any form."""
    for dialect in (Dialect.WORDS16, Dialect.STANDARD):
        for first, words in BLOCKS.items():
            assert not POLLED[name].recognises(question(1, first, len(words)), _frame(dialect, words))


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (37, [*[0] * 9, 4, 235, 240, 245, 250, *[0] * 6, 260]),  # probes of PACE's newer layout
        (46, [4, 235, 240, 245, 250, *[0] * 6, 260]),
        (150, [0x4142] * 30),
        (170, [0x4142] * 35),
        (0x20, [0x62, 5296, 1200, 25, 55, 5500, 10000, 0, 0, 5000, 5600, 99]),  # an imbalanced bank of CVTE's
        (0x2C, [12, 0, 3426, 16, 3276, 1, 150, 25, 1, 22, 3]),
        (0x30, [3276, 1, 150, 25]),
        (0x31, [0, 150, 25, 22]),
        (0x10, [3310, *[0] * 33, 150, 25, *[0] * 5]),
        (0x10, [12, 2500, 23040, 0x62, 0, 55, 5296]),  # ... and a gauge before it
        (0x01, [*[0] * 15, 16, 3300, *[0] * 18]),  # a date of Growatt's
        (0x70, [*[560, 440] * 8]),  # beyond the last register
    ],
)
def test_blocks_of_other_maps_are_not_taken_for_this_one(first: int, words: list[int]) -> None:
    """A count of probes and a temperature of theirs would make 25.0 V and a charge of 4 %."""
    assert not CODEC.recognises(question(1, first, len(words)), _frame(Dialect.STANDARD, words))


@pytest.mark.parametrize(("first", "words"), [(0x30, [0, 123, 532, 76]), (0x32, [532, 76])])
def test_a_short_summary_is_recognised(first: int, words: list[int]) -> None:
    """As a probe or an inverter may ask for it."""
    assert CODEC.recognises(question(1, first, len(words)), _frame(Dialect.STANDARD, words))


def test_an_imbalanced_bank_of_another_map_is_not_read_as_this_one() -> None:
    """The scan names the map that it is, at any difference between the cells; where two fit alike, none."""
    for difference in (50, 100, 150, 400, 650):
        found = _overheard(
            {
                0x20: [0x62, 5296, 1200, 25, 55, 5500, 10000, 0, 0, 5000, 5600, 99],
                0x2C: [12, 0, 3326 + difference, 16, 3326, 1, difference, 25, 1, 22, 3],
            }
        )
        assert found["protocol"] == "cvte-rs485"
    assert "bank" not in _overheard({0x15: [55, 5296, 1200, 25], 0x30: [0, 120, 532, 76]})


def _overheard(blocks: dict[int, list[int]]) -> dict[str, Any]:
    follower = Follower(SERIAL.values())
    for turn in range(2):
        for place, (first, words) in enumerate(blocks.items()):
            follower.hear(question(1, first, len(words)), turn + place / 10)
            follower.hear(_frame(Dialect.STANDARD, words), turn + place / 10 + 0.05)
    return follower.verdict([])


# --- with a client ---------------------------------------------------------------------------------------------------


def test_nothing_but_reads_is_ever_asked() -> None:
    """Function 03, whatever stands in for what."""
    requests = [poll.request(1) for poll in all_polls(NAME)] + [probe.request for probe in CODEC.probes]
    assert len(requests) > 25
    assert all(request[1] == 3 and CODEC.is_request(request) for request in requests)


@pytest.mark.parametrize("packs", [1, 3, 15])
@pytest.mark.parametrize("rate", [0.2, -0.2])
@pytest.mark.parametrize("scale", [1000, 100, 10])
@pytest.mark.parametrize("dialect", [Dialect.WORDS16, Dialect.STANDARD, Dialect.FUNCTION_FIRST])
async def test_a_client_shows_what_the_bank_said(dialect: Dialect, scale: int, rate: float, packs: int) -> None:
    """Values of the whole bank and cells of the pack that answers, with an alarm of each kind."""
    bank = make_packs(packs, PackSpec(temperature=2.0, soc=14.2), first=1)
    bank[1].force(_alarm(Condition.CELL_OVERVOLTAGE, cell=3), _alarm(Condition.CONFIGURATION_CONFLICT, Severity.FAULT))
    site = Site(VoltronicMap(dialect, cell_scale=scale), NAME, bank, addresses=[1], rate=rate, zeros=True)
    told = await site.read(35.0)
    report = told.banks[-1][1]
    assert report.online
    assert report.state is not None
    assert not differences(report.state, site.speaker, None)
    assert (report.state.cell_voltages is None) == (scale == 10)
    assert report.state.alarms is not None
    assert _alarm(Condition.CELL_OVERVOLTAGE, cell=3) in report.state.alarms
    assert _alarm(Condition.CONFIGURATION_CONFLICT, Severity.FAULT) in report.state.alarms
    assert report.state.current is not None
    assert (report.state.current > 0) == (rate > 0)
    assert report.identity is not None
    assert (report.identity.cells, report.identity.design_capacity) == (16, 100.0)
    assert report.counters.refused == 0
    assert report.held_back == {}


@pytest.mark.parametrize("packs", [1, 3])
@pytest.mark.parametrize("rate", [0.2, -0.2])
async def test_firmware_that_answers_one_register_at_a_time_is_read_so(rate: float, packs: int) -> None:
    """What takes one register is shown; what takes two is not, the current among them."""
    bank = make_packs(packs, PackSpec(temperature=2.0, soc=14.2), first=1)
    bank[1].force(_alarm(Condition.CELL_UNDERVOLTAGE, cell=2), _alarm(Condition.CELL_OVERVOLTAGE, cell=3))
    site = Site(VoltronicMap(Dialect.BYTES16), NAME, bank, addresses=[1], rate=rate)
    told = await site.read(120.0)
    report = told.banks[-1][1]
    assert report.online
    state = report.state
    assert state is not None
    assert state.soc == site.speaker.latest(None)["soc"]
    assert state.voltage == site.speaker.latest(None)["voltage"]
    assert state.voltage is not None
    assert (state.current, state.power) == (None, None)
    assert state.alarms is not None
    assert {_alarm(Condition.CELL_UNDERVOLTAGE), _alarm(Condition.CELL_OVERVOLTAGE)} <= state.alarms
    assert state.charge_current_limit is not None
    assert state.discharge_enabled is not None
    assert state.full_capacity is None
    assert report.identity is not None
    assert report.identity.cells == 16
    assert (0x33, 1) in site.asked()


@pytest.mark.parametrize("dialect", [Dialect.PAIRS, Dialect.WORDS16, Dialect.STANDARD])
async def test_an_idle_bank_shows_no_current_and_a_reversal_its_sign(dialect: Dialect) -> None:
    """Both halves come in one answer, also where wide blocks are refused."""
    site = Site(VoltronicMap(dialect), NAME, make_packs(1, PackSpec(soc=50), first=1), addresses=[1], rate=0.0)
    seconds = 90.0
    for rate in (0.0, 0.2, -0.2, 0.0, 0.2):
        site.bank.profile = Steady(rate=rate)
        told = await site.read(seconds)
        state = told.banks[-1][1].state
        assert state is not None
        assert state.current == site.speaker.latest(None)["current"]
        assert state.current is not None
        assert (state.current > 0, state.current < 0) == (rate > 0, rate < 0)
        assert state.voltage is not None
        assert state.power == pytest.approx(state.voltage * state.current)
    assert ((0x30, 2) in site.asked()) == (dialect is Dialect.PAIRS)


# --- damage ----------------------------------------------------------------------------------------------------------


def test_damage_is_refused() -> None:
    """Nothing but FrameError and RefusedError leaves the codec, and a CRC lets next to nothing pass."""
    # no two of one length: a whole answer to another question of that length is none that could be told
    samples = [
        Sample.of(f"{dialect} {first:#x}", CODEC, question(1, first, len(words)), _frame(dialect, words))
        for dialect in Dialect
        for first, words in ({0x33: [76]} if dialect is Dialect.BYTES16 else BLOCKS).items()
    ]
    outcome = run(samples, 60_000, 20261121)
    for fault, tally in outcome.tallies.items():
        assert tally.refused + tally.unchanged + tally.wrong == tally.frames
        assert tally.share(tally.wrong) <= (0.0 if fault in _CERTAIN else 0.05), fault


_CERTAIN = {Fault.FLIP_1, Fault.FLIP_2, Fault.FLIP_3}
