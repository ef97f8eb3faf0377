"""The text console: what is taken for an answer, what its tables and blocks say, and what is refused."""

from dataclasses import fields, replace
import json
import os
from pathlib import Path
import re
from typing import Any

import pytest

from custom_components.lfp_battery.bms.errors import FrameError, Refusal, RefusedError
from custom_components.lfp_battery.bms.model import BatteryState, Mode, PackState
from custom_components.lfp_battery.bms.protocols import DECODERS, POLLED
from custom_components.lfp_battery.bms.protocols.base import Decoded
from custom_components.lfp_battery.bms.protocols.console.checks import checked
from custom_components.lfp_battery.bms.protocols.console.frame import Command, encode

from .captured import CAPTURES

OWN: dict[str, dict[str, Any]] = {
    row["id"]: row for row in json.loads((CAPTURES / "console.json").read_text(encoding="utf-8"))["captures"]
}
PYTES, PYLON = POLLED["console-pytes"], POLLED["console-pylontech"]
END = "\r\n\rCommand completed successfully\r\n\r$$\r\n\rPYTES>"
HEADING = "Power Volt   Curr   Tempr  Vlow   Vhigh  Base.St  Volt.St  Coulomb  "
ROW = "1     53192  -12750 21000  3322   3327   Dischg   Normal   67%      "


def of(name: str) -> tuple[bytes, bytes]:
    """Question and answer of a transcript."""
    return OWN[name]["request"].encode(), OWN[name]["response"].encode("latin-1")


def frame_of(name: str) -> bytes:
    """The answer as the splitter hands it on."""
    request, response = of(name)
    (frame,) = DECODERS[OWN[name]["protocol"]].splitter(request).feed(response)
    return frame


def table(*lines: str, words: str = "pwr") -> Decoded:
    """What a table with these lines says."""
    text = f"{words}\n\r@\r\r\n{'\r\r\n'.join(lines)}{END}"
    return PYTES.decode(f"{words}\r".encode(), text.encode("latin-1"))


def plain(state: BatteryState, name: str) -> object:
    """A field as the transcripts have it."""
    value = getattr(state, name)
    if name == "alarms" and value is not None:
        return sorted(([a.condition.value, a.severity.value, a.cell] for a in value), key=str)
    if isinstance(value, frozenset):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value


# --- transcripts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, row in OWN.items() if "refusal" not in row])
def test_a_transcript_says_what_its_columns_say(name: str) -> None:
    """Packs, identities and the rest, no pack more and none less."""
    row, (request, response) = OWN[name], of(name)
    decoded = DECODERS[row["protocol"]].decode(request, response)
    expected = row.get("packs", {})
    assert {str(address) for address in decoded.packs} == expected.keys()
    for address, said in expected.items():
        for field, value in said.items():
            got = plain(decoded.packs[int(address)], field)
            assert got == (pytest.approx(value) if isinstance(value, float) else value), field
    for address, said in row.get("identities", {}).items():
        for field, value in said.items():
            assert getattr(decoded.identities[int(address)], field) == value
    assert decoded.info.items() >= row.get("info", {}).items()


@pytest.mark.parametrize("name", [name for name, row in OWN.items() if "refusal" in row])
def test_a_refusal_says_whether_to_ask_again(name: str) -> None:
    """No such pack may come back; a command that is not there does not."""
    request, response = of(name)
    with pytest.raises(RefusedError) as refused:
        DECODERS[OWN[name]["protocol"]].decode(request, response)
    assert refused.value.refusal is Refusal(OWN[name]["refusal"])


@pytest.mark.parametrize("name", OWN)
def test_an_answer_comes_in_pieces_of_any_size(name: str) -> None:
    """One frame at the last byte, from echo to prompt, and what came before it is no part of it."""
    request, response = of(name)
    protocol = POLLED[OWN[name]["protocol"]]
    for size in (1, 3, 150, len(response)):
        splitter = protocol.splitter(request)
        splitter.feed(b"\xff\x00BMM: an unsolicited line\r\n")
        frames: list[bytes] = []
        for start in range(0, len(response), size):
            assert not frames
            frames += splitter.feed(response[start : start + size])
        assert len(frames) == 1
        assert frames[0].startswith(request.rstrip())
        assert frames[0].endswith(b">")
        assert splitter.pending is None
        assert splitter.noise == len("BMM:anunsolicitedline")
        assert protocol.is_answer(request, frames[0])


@pytest.mark.parametrize("name", OWN)
def test_without_a_question_the_echo_tells_what_was_asked(name: str) -> None:
    """Late answers and captures come without one."""
    request, response = of(name)
    codec = DECODERS[OWN[name]["protocol"]]
    (frame,) = codec.splitter().feed(response)
    assert not codec.is_request(frame)
    try:
        expected: object = codec.decode(request, response)
    except RefusedError as err:
        expected = err.refusal
    try:
        found: object = codec.decode(None, frame)
    except RefusedError as err:
        found = err.refusal
    assert found == expected


# --- what is an answer -----------------------------------------------------------------------------------------------


def test_an_answer_without_its_end_mark_never_becomes_a_frame() -> None:
    """Neither cut short, nor when the prompt comes without the mark, nor with a damaged mark."""
    request, response = of("own-v5-pwr")
    splitter = PYTES.splitter(request)
    assert splitter.feed(response[:-20]) == []
    assert splitter.pending == 1
    for damaged in (response.replace(b"\r$$\r", b"\r"), response.replace(b"\r$$\r", b"\r$x\r")):
        splitter = PYTES.splitter(request)
        assert splitter.feed(damaged) == []
        assert splitter.pending is None
        assert splitter.noise > 600
        # the prompt is there again: what is asked next is found
        assert splitter.feed(response) != []
    with pytest.raises(FrameError, match="end mark"):
        PYTES.decode(request, response.replace(b"\r$$\r", b"\r"))
    with pytest.raises(FrameError, match="prompt"):
        PYTES.decode(request, response[:-8])
    with pytest.raises(FrameError, match="complete"):
        PYTES.decode(request, response.replace(b"Command completed", b"Command xompleted"))


def test_an_answer_to_something_else_is_none() -> None:
    """The echo is what the console understood: another pack, another command, a damaged one."""
    frame = frame_of("own-ebox-bat-2")
    assert PYTES.is_answer(b"bat 2\r", frame)
    for other in (b"bat 1\r", b"bat\r", b"soh 2\r", b"bat 12\r", b"at 2\r", b"\r"):
        assert not PYTES.is_answer(other, frame)
    with pytest.raises(FrameError, match="another question"):
        PYTES.decode(b"bat 1\r", frame)
    assert not PYTES.is_answer(b"bat 2\r", frame.replace(b"bat 2", b"bau 2"))
    # noise that is no text may stand in front of the echo
    assert PYTES.is_answer(b"bat 2\r", b"\xfe\x00" + frame)


@pytest.mark.parametrize("name", ["own-v5-pwr-2", "own-ebox-soh-3", "own-us-stat-2", "own-us-info-3"])
def test_an_answer_that_names_its_pack_must_name_the_one_asked(name: str) -> None:
    """The echo may be right and the content another pack's."""
    request, response = of(name)
    asked = request.rstrip()[-1:]
    wrong = (b"Power  ", b"Power   ", b"Device address           ", b"Device address      : ")
    other = response
    for words in wrong:
        other = other.replace(words + asked, words + b"7")
    assert other != response
    with pytest.raises(FrameError, match="another pack"):
        DECODERS[OWN[name]["protocol"]].decode(request, other)


@pytest.mark.parametrize("key", [b"\r", b" "])
def test_a_key_is_answered_by_the_prompt(key: bytes) -> None:
    """Whatever came before it; the end of an earlier answer will do."""
    splitter = PYTES.splitter(key)
    assert splitter.feed(b"1     53192  -127\r\n\r$$\r\n\rPYT") == []
    assert splitter.pending == 1
    assert splitter.feed(b"ES>") == [b"PYTES>"]
    assert PYTES.is_answer(key, b"PYTES>")
    assert PYTES.decode(key, b"PYTES>").info == {"prompt": "PYTES"}
    assert PYTES.splitter(key).feed(b"\r\n\rPress [Enter] to be continued,other key to exit\r") == []


def test_the_prompt_says_whose_console_it_is() -> None:
    """Each protocol refuses the other maker's prompt, and names it."""
    for own, other, prompts, foreign in (
        (PYTES, PYLON, (b"PYTES>",), "own-us-stat-2"),
        (PYLON, PYTES, (b"pylon>", b"pylon_debug>"), "own-v5-time"),
    ):
        for prompt in prompts:
            assert own.is_answer(b"\r", prompt)
            assert not other.is_answer(b"\r", prompt)
            with pytest.raises(FrameError) as err:
                other.decode(b"\r", prompt)
            assert err.value.dialect == own.name
        request, response = of(foreign)
        assert not own.is_answer(request, frame_of(foreign))
        with pytest.raises(FrameError) as err:
            own.decode(request, response)
        assert err.value.dialect == other.name


def test_a_line_that_babbles_is_forgotten() -> None:
    """64 kB without an end are no answer; nothing of it is kept, and the next answer is found."""
    request, response = of("own-v5-pwr")
    for babble in (b"x" * 1000, b"x" * 999 + b"\r"):
        splitter = PYTES.splitter(request)
        splitter.feed(b"pwr\r@\r")
        for _ in range(200):
            assert splitter.feed(babble) == []
        assert splitter.noise > 120_000
        assert splitter.feed(b"\r" + response) == [frame_of("own-v5-pwr")]


def test_only_read_commands_can_be_asked() -> None:
    """There is no way to spell a command that changes something, nor to hand `time` a value."""
    assert {command.value for command in Command} == {"pwr", "bat", "info", "soh", "stat", "time"}
    assert encode(Command.CELLS, 14) == b"bat 14\r"
    for words in ("login debug", "shut", "trst", "updata", "logout"):
        with pytest.raises(TypeError):
            encode(words)  # type: ignore[arg-type]  # what must fail
    for number in (0, 17, 2026):
        with pytest.raises(ValueError, match="never asked"):
            encode(Command.CELLS, number)
    with pytest.raises(ValueError, match="never asked"):
        encode(Command.CLOCK, 1)
    asked = {poll.request(address) for poll in PYTES.polls for address in PYTES.address_groups[0]}
    assert all(request.split()[0].decode() in Command for request in asked)


def test_only_pylontech_is_called_at_another_speed() -> None:
    """A device that ever showed the Pytes prompt never is."""
    assert PYTES.wake is None
    assert PYLON.wake is not None
    assert (PYLON.wake.baudrate, PYLON.wake.request) == (1200, b"~20014682C0048520FCC3\r")


# --- tables ----------------------------------------------------------------------------------------------------------


def test_columns_are_found_by_their_headings() -> None:
    """In another order, with others between them, with bytes that are no text, laid out in any way."""
    usual = table(HEADING, ROW).packs
    assert usual[1].voltage == 53.192
    turned = table(
        "Power Base.St Coulomb New.X \xc9t\xe9 Vhigh Vlow Tempr Volt.St Curr Volt \xc8$",
        "1 Dischg 67% 7 on 3327 3322 21000 Normal -12750 53192",
    ).packs
    assert turned == usual
    assert table(HEADING.replace("  ", " "), ROW.replace("  ", "   ")).packs == usual


def test_a_dash_says_nothing() -> None:
    """Not 0, and not a state."""
    state = table(HEADING, "1     53192  -      21000  3322   3327   Dischg   -        -        ").packs[1]
    assert (state.voltage, state.current, state.power, state.soc) == (53.192, None, None, None)
    assert state.alarms is None


def test_empty_slots_are_no_packs_whatever_their_layout() -> None:
    """Absent is looked for before anything else."""
    decoded = table(HEADING, ROW, "2     -      -      Absent   -", "3 - - - - - Absent - - - - - - - - - -")
    assert decoded.packs.keys() == {1}
    assert decoded.info == {"absent": [2, 3]}


@pytest.mark.parametrize(
    "row",
    [
        "1     53192  -12750 21000  3322   3327   Dischg   67%      Normal   ",
        "1     53192  -12750 21000  3322   3327   Dischg   Normal   ",
        "1     53192  -12750 21000  3322   3327   Dischg   Normal   67%      extra",
        "1     53192  -1275021000  3322   3327   Dischg   Normal   67%      ",
        "1     53x92  -12750 21000  3322   3327   Dischg   Normal   67%      ",
        "1     -      -12750 21000  3322   3327   Dischg   Normal   67%      ",
        "11     53192  -12750 21000  3322   3327   Dischg   Normal   67%      ",
    ],
    ids=["scrambled", "short", "long", "touching", "no number", "no voltage", "number gained a digit"],
)
def test_a_row_that_does_not_fit_is_refused(row: str) -> None:
    """The packs beside it are read."""
    number = int(row.split(maxsplit=1)[0])
    after = ROW.replace("1 ", f"{number + 1} ", 1) if number == 1 else ROW.replace("1  ", "12 ", 1)
    decoded = table(HEADING, row, after)
    assert decoded.packs.keys() == {number + 1}
    assert decoded.info == {"unreadable_rows": [number]}


def test_a_number_that_lost_a_digit_is_left_out() -> None:
    """The columns behind it stand in the wrong place; a number that fills its column moves them rightly."""
    state = table(HEADING, ROW.replace("-12750", "-1275")).packs[1]
    assert (state.voltage, state.current, state.mode) == (53.192, None, Mode.DISCHARGING)
    state = table(HEADING, ROW.replace("-12750 ", "-112750 ")).packs[1]
    assert state.current == -112.75


@pytest.mark.parametrize(
    "lines",
    [
        (HEADING.replace("Power", "Pover"), ROW),
        (HEADING.replace("Vhigh", "Vlow "), ROW),
        (HEADING, ROW, ROW),
        (HEADING, ROW.replace("1 ", "3 ", 1), ROW.replace("1 ", "2 ", 1)),
        (HEADING, ROW.replace("1  ", "17 ", 1)),
    ],
    ids=["no heading", "heading twice", "same slot twice", "out of order", "no such slot"],
)
def test_a_table_that_contradicts_itself_is_refused(lines: tuple[str, ...]) -> None:
    """Nobody knows which row is whose."""
    with pytest.raises(FrameError):
        table(*lines)


def test_lines_that_are_no_rows_are_passed_over() -> None:
    """Unsolicited ones come between."""
    decoded = table("BMM: something", HEADING, "2 alarms", ROW, "The device start charging.")
    assert decoded.packs == table(HEADING, ROW).packs


@pytest.mark.parametrize("word", ["Sleep", "Balance", "Idle", "SysError"])
def test_a_state_that_is_not_listed_is_no_mode(word: str) -> None:
    """It is not guessed at."""
    modes = {"Balance": Mode.STANDBY, "Idle": Mode.STANDBY, "SysError": Mode.FAULT}
    assert table(HEADING, ROW.replace("Dischg", word)).packs[1].mode == modes.get(word)


STATUS_LINE = re.compile(rb"(?:Volt|Current|Tmpr\.|Coul\.) Status +: \w+|(?:Power Events|System Fault) +: \w+")


def test_details_without_a_readable_status_say_nothing_of_alarms() -> None:
    """Not that all is well: lines that are missing, or that cannot be read. One is enough."""
    request, response = of("own-v5-pwr-2")
    for instead in (b"", b"Volt Status : -", b"Volt Status : N0rmal", b"Power Events : 0xfoo", b"Power Events : \xb2"):
        state = PYTES.decode(request, STATUS_LINE.sub(instead, response)).packs[2]
        assert (state.alarms, state.voltage) == (None, 53.188)
    for instead in (b"Volt Status : Normal", b"Power Events : 0x0"):
        only = STATUS_LINE.sub(instead, STATUS_LINE.sub(b"", response, count=5))
        assert PYTES.decode(request, only).packs[2].alarms == frozenset()


def test_cells_without_a_readable_state_say_nothing_of_alarms() -> None:
    """Of `bat` and of `soh`; one that can be read is enough."""
    states, broken = "Normal       Normal", "N0rmal       N0rmal"
    assert cells(*(row.replace(states, broken) for row in CELL_ROWS)).packs[3].alarms is None
    assert cells(CELL_ROWS[0], CELL_ROWS[1].replace(states, broken)).packs[3].alarms == frozenset()
    heading, row = "Battery    Voltage    SOHCount   SOHStatus", "0          3322       0          "
    for word, alarms in (("Normal", frozenset()), ("N0rmal", None), ("-", None)):
        assert table("Power   3", heading, row + word, words="soh 3").packs[3].alarms == alarms


@pytest.mark.parametrize(("counted", "cell"), [("0", 1), ("23", 24), ("-1", None), ("24", None), ("-24", None)])
def test_a_place_that_no_cell_has_names_none(counted: str, cell: int | None) -> None:
    """Cells are counted from 0, and -1 stands where none was found; the voltage stays."""
    row = f"1 53192 -12750 {counted} 3322 {counted} 3327 Dischg Normal 67%"
    heading = "Power Volt Curr Vlow.Id Vlow Vhigh.Id Vhigh Base.St Volt.St Coulomb"
    state = table(heading, row).packs[1]
    assert (state.cell_voltage_min_cell, state.cell_voltage_max_cell) == (cell, cell)
    assert (state.cell_voltage_min, state.cell_voltage_max) == (3.322, 3.327)


CELL_HEADING = "Battery  Volt     Tempr    Base State   Volt. State  Temp. State  Coulomb     "
CELL_ROWS = tuple(
    f"{n:<9}3324     21000    Idle         Normal       Normal        67%      67012 mAH" for n in range(4)
)


def cells(*rows: str) -> Decoded:
    """What a table of cells says."""
    return table(CELL_HEADING, *rows, words="bat 3")


def test_cells_come_all_and_in_order() -> None:
    """A lost line would make cell 3 of cell 4."""
    assert cells(*CELL_ROWS).packs[3].cell_voltages == (3.324,) * 4
    for rows in (CELL_ROWS[1:], (*CELL_ROWS[:2], CELL_ROWS[3]), (CELL_ROWS[1], CELL_ROWS[0]), ()):
        with pytest.raises(FrameError):
            cells(*rows)


def test_a_damaged_cell_row_is_good_for_its_numbers_at_most() -> None:
    """Its states are unknown; without its numbers nothing of it is used."""
    first = CELL_ROWS[0].replace("Normal       Normal", "Over        80%")
    second = CELL_ROWS[1].replace("Idle", "3324")
    third = CELL_ROWS[2].replace("3324 ", "33240")
    state = cells(first, second, third, CELL_ROWS[3].replace("3324 ", "332 ")).packs[3]
    assert state.cell_voltages == (3.324, None, None, None)
    assert state.cell_temperatures == (21.0, None, 21.0, 21.0)
    assert state.alarms == frozenset()


# --- what contradicts itself -----------------------------------------------------------------------------------------

GOOD = PackState(
    address=1,
    voltage=53.2,
    current=-12.0,
    soc=60.0,
    mode=Mode.DISCHARGING,
    cell_voltage_min=3.32,
    cell_voltage_max=3.33,
    cell_temperature_min=18.0,
    cell_temperature_max=20.0,
    full_capacity=98.0,
    design_capacity=100.0,
    remaining_capacity=60.5,
)


def test_what_fits_together_stays_and_gains_its_power() -> None:
    """Power is never printed."""
    state = checked(GOOD)
    assert state.power == pytest.approx(-638.4)
    assert state.derived == {"power"}
    assert replace(state, power=None, derived=frozenset()) == GOOD


@pytest.mark.parametrize(
    ("wrong", "dropped"),
    [
        ({"voltage": 58.2}, {"voltage", "cell_voltage_min", "cell_voltage_max", "power"}),
        ({"cell_voltage_min": 3.42}, {"cell_voltage_min", "cell_voltage_max"}),
        ({"cell_voltage_max": 33.3}, {"cell_voltage_max"}),
        ({"cell_temperature_min": 28.0}, {"cell_temperature_min", "cell_temperature_max"}),
        ({"current": 12.0}, {"current", "mode", "power"}),
        ({"soc": 160.0}, {"soc"}),
        ({"full_capacity": 9.8}, {"full_capacity", "design_capacity"}),
        ({"remaining_capacity": 0.6}, {"remaining_capacity", "soc"}),
    ],
)
def test_what_contradicts_itself_is_left_out(wrong: dict[str, Any], dropped: set[str]) -> None:
    """And nothing else: which of two is wrong cannot be told from one answer."""
    damaged = replace(GOOD, **wrong)
    state = checked(damaged)
    assert all(getattr(state, name) is None for name in dropped)
    kept = {f.name for f in fields(PackState)} - dropped - {"power", "derived"}
    assert {name for name in kept if getattr(state, name) != getattr(damaged, name)} == set()


# --- the collection of captures, where it is at hand -----------------------------------------------------------------


def collection(name: str) -> list[dict[str, Any]]:
    """The rows of one of its files; skips the test where there is none."""
    if not (folder := os.environ.get("LFP_CAPTURES")):
        pytest.skip("LFP_CAPTURES does not say where the collection of captures is")
    found = json.loads((Path(folder) / name).read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = found if isinstance(found, list) else found["bits"]
    return rows


@pytest.mark.parametrize("family", ["v5", "ebox", "pylontech", "synthetic", "restricted"])
def test_real_transcripts_are_read(family: str) -> None:
    """Every pack, cell and refusal of the collection; an excerpt without an end gets one, a cut answer does not."""
    compared = 0
    for vector in collection(f"pytes-console-{family}.json"):
        expected, request, text = vector["expected"], vector["request"].encode(), vector["response"]
        codec = DECODERS[vector["protocol"]]
        if not vector["ends"]["dollars"] and "reject" not in expected:
            prompt = "PYTES" if "pytes" in vector["protocol"] else "pylon"
            text += END.replace("PYTES", prompt)
        response = text.encode("latin-1")
        compared += 1
        if "reject" in expected or "error" in expected:
            with pytest.raises(FrameError if "reject" in expected else RefusedError):
                codec.decode(request, response)
            assert ("reject" in expected) is not bool(codec.splitter(request).feed(response))
            continue
        decoded = codec.decode(request, response)
        packs = expected.get("packs", ())
        assert not {pack["index"] for pack in packs} - decoded.packs.keys()
        for pack in packs:
            state = decoded.packs[pack["index"]]
            for name, field in (
                ("voltage_mV", "voltage"),
                ("current_mA", "current"),
                ("cell_voltage_low_mV", "cell_voltage_min"),
                ("cell_temp_high_mC", "cell_temperature_max"),
                ("mos_temperature_mC", "mosfet_temperature"),
            ):
                assert getattr(state, field) == (None if pack.get(name) is None else pytest.approx(pack[name] / 1000))
            assert state.soc == pack["soc_percent"]
        if request.startswith(b"bat"):
            (state,) = decoded.packs.values()
            assert state.cell_voltages == tuple(cell["voltage_mV"] / 1000 for cell in expected["cells"])
    assert compared > 2


@pytest.mark.parametrize("word", ["Normbl", "Noraml", "Norml", "Normall", "ormal", "xNormal"])
def test_a_word_that_is_almost_normal_is_damaged(word: str) -> None:
    """It is no alarm; a word that is another one is, whatever it means."""
    assert table(HEADING, ROW.replace("Normal", word)).packs[1].alarms == frozenset()
    strange = table(HEADING, ROW.replace("Normal", "Abnormal")).packs[1].alarms
    assert strange is not None
    assert {alarm.condition.value for alarm in strange} == {"other"}


def test_a_counter_that_lost_or_gained_a_digit_is_left_out() -> None:
    """It does not end under the others; one that is too wide for its column may."""
    request, response = of("own-us-stat-2")
    for damaged in (b"19093660", b"190936600"):
        lost = response.replace(b":       54", b":      54").replace(b"190936600", damaged)
        state = PYLON.decode(request, lost).packs[2]
        assert (state.soc, state.cycles) == (None, 108)
        assert state.remaining_capacity == pytest.approx(int(damaged) / 3_600_000)
