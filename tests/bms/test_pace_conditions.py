"""Every bit and status code of PACE's 44, against the table of what it means."""

from collections.abc import Mapping
import json
import os
from pathlib import Path
from typing import Any

import pytest

from custom_components.lfp_battery.bms.model import Alarm, Condition, PackState, Severity
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.base import Decoded
from tests.simulator.pylon_wire import encode

from .captured import CAPTURES

ROWS: list[dict[str, Any]] = json.loads((CAPTURES / "pace-conditions.json").read_text(encoding="utf-8"))["rows"]
NAMES = ("where", "list", "bit", "name", "condition", "severity", "flag")

# 44 of a pack with 16 cells, 6 sensors and the tail of V3.1: where each word begins, behind INFOFLAG and the pack.
CELLS, SENSORS = 3, 20
PLACES = {
    "charge_current_status": 26, "total_voltage_status": 27, "discharge_current_status": 28, "protect1": 29,
    "protect2": 30, "indicators": 31, "control": 32, "fault": 33, "warn1": 36, "warn2": 37, "fault8": 38,
    "indication9": 39, "fault10": 42,
}  # fmt: skip
TAIL = ("fault8", "indication9", "fault10")
FLAGS = ("charge_enabled", "discharge_enabled", "heater_active")


def _decode(changes: Mapping[int, int]) -> Decoded:
    info = bytearray(43)
    info[1], info[2], info[19] = 1, 16, 6
    for place, value in changes.items():
        info[place] = value
    request = encode(1, 0x44, b"\1", version=0x25)
    return POLLED["pace-v25"].decode(request, encode(1, 0, bytes(info), version=0x25))


def _state(changes: Mapping[int, int]) -> PackState:
    return _decode(changes).packs[1]


def _changes(row: Mapping[str, Any]) -> tuple[dict[int, int], int | None]:
    """The bytes in which only this bit or code is set, and the cell it is set for."""
    word, bit = row["list"], row["bit"]
    if word == "cell_status":
        return {CELLS + 10: bit}, 11
    if word.startswith("temperature_status"):
        return {SENSORS + int(word[-1]) - 1 if word[-1].isdigit() else SENSORS + 3: bit}, None
    return {PLACES[word]: bit if word.endswith("_status") else 1 << bit}, None


@pytest.mark.parametrize("row", [row for row in ROWS if "bit" in row], ids=lambda row: row["where"])
def test_a_bit_means_exactly_what_the_table_says(row: Mapping[str, Any]) -> None:
    """One alarm or one flag, and no other; nothing where the table says that the model has nothing."""
    changes, cell = _changes(row)
    decoded = _decode(changes)
    state = decoded.packs[1]
    assert [name for name in FLAGS if getattr(state, name)] == ([row["flag"]] if "flag" in row else [])
    if row["list"] in TAIL:
        tail: Any = decoded.info["tail"]
        assert tail[row["list"]] == (row["name"],)
        assert state.alarms == frozenset()
    elif row.get("condition"):
        alarm = Alarm(condition=Condition(row["condition"]), severity=Severity(row["severity"]), cell=cell)
        assert state.alarms == frozenset({alarm})
    else:
        assert state.alarms == frozenset()


@pytest.mark.parametrize("protocol", ["pace-v25", "pace-v25-rs485"])
def test_a_protocol_declares_what_it_can_report(protocol: str) -> None:
    """No condition more and none less than its bits have, but for those of the tail."""
    assert POLLED[protocol].conditions == {
        row["condition"] for row in ROWS if row.get("condition") and row["list"] not in TAIL
    }


def test_every_cell_can_be_named() -> None:
    """The status bytes are in the order of the cells, and so are the bits of balancing."""
    for cell in range(1, 17):
        mask = 1 << (cell - 1)
        state = _state({CELLS + cell - 1: 2, 34: mask & 0xFF, 35: mask >> 8})
        assert state.alarms is not None
        assert [(alarm.condition.value, alarm.cell) for alarm in state.alarms] == [("cell_overvoltage", cell)]
        assert state.balancing_cells == frozenset({cell})


STATUS_PLACES = {
    "cell_1": CELLS, "temperature_1": SENSORS, "temperature_5": SENSORS + 4, "temperature_6": SENSORS + 5,
    "charge_current": 26, "total_voltage": 27, "discharge_current": 28,
}  # fmt: skip


@pytest.mark.parametrize("code", [0x03, 0x7F, 0x80, 0xEF, 0xF1, 0xFF])
def test_a_status_code_that_makers_define_or_nobody_names_is_kept_and_never_guessed_at(code: int) -> None:
    """It raises nothing, whatever it stands for, and diagnostics say where it stood."""
    decoded = _decode(dict.fromkeys(STATUS_PLACES.values(), code))
    assert decoded.packs[1].alarms == frozenset()
    assert decoded.info["unnamed_codes"] == dict.fromkeys(STATUS_PLACES, code)


def test_a_code_that_nobody_names_hides_none_beside_it() -> None:
    """Each place is looked at by itself; F0 is the fault that the documents name."""
    decoded = _decode({CELLS: 0x80, CELLS + 1: 0x01, SENSORS: 0xF0, 27: 0xEF, 28: 0xF0})
    assert decoded.packs[1].alarms == frozenset(
        {
            Alarm(condition=Condition.CELL_UNDERVOLTAGE, severity=Severity.WARNING, cell=2),
            Alarm(condition=Condition.TEMPERATURE_SENSING_FAILURE, severity=Severity.FAULT),
            Alarm(condition=Condition.OTHER, severity=Severity.FAULT),
        }
    )
    assert decoded.info["unnamed_codes"] == {"cell_1": 0x80, "total_voltage": 0xEF}


def test_bits_without_a_meaning_raise_nothing_and_are_kept() -> None:
    """For diagnostics."""
    decoded = _decode({36: 0xC0})
    assert decoded.packs[1].alarms == frozenset()
    assert decoded.info["unnamed_bits"] == {"warn1": 0xC0}


def test_the_table_is_that_of_the_collection() -> None:
    """Where the collection of captures is at hand, the rows carried over are still its rows."""
    if not (folder := os.environ.get("LFP_CAPTURES")):
        pytest.skip("LFP_CAPTURES does not say where the collection of captures is")
    bits = json.loads((Path(folder) / "conditions.json").read_text(encoding="utf-8"))["bits"]
    known = [row for row in bits if row["protocol"] == "pace-v25"]
    assert [{name: row[name] for name in NAMES if name in row} for row in known] == ROWS
