"""Every bit and status code of the Pylontech alarms, against the table of what it means."""

from collections.abc import Mapping
import json
import os
from pathlib import Path
from typing import Any

import pytest

from custom_components.lfp_battery.bms.model import Alarm, BatteryState, Condition, Severity
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.pylon.protocol import Command, request
from tests.simulator.pylon_wire import encode

from .captured import CAPTURES

ROWS: list[dict[str, Any]] = json.loads((CAPTURES / "pylon-conditions.json").read_text(encoding="utf-8"))["rows"]

# 44 of a pack with 16 cells and 6 sensors: where each word begins, behind INFOFLAG and the command value.
CELLS, SENSORS = 3, 20
PLACES_44 = {
    "charge_current_status": 26, "module_voltage_status": 27, "discharge_current_status": 28,
    "status1": 29, "status2": 30, "status3": 31,
}  # fmt: skip
PLACES_62 = {"alarm1": 0, "alarm2": 1, "protection1": 2, "protection2": 3}


def _alarm_info(changes: Mapping[int, int]) -> bytes:
    info = bytearray(34)
    info[1], info[2], info[19] = 2, 16, 6
    for place, value in changes.items():
        info[place] = value
    return bytes(info)


def _decode(protocol: str, command: Command, info: bytes) -> BatteryState:
    decoded = POLLED[protocol].decode(request(command, 2), encode(2, 0, info))
    state = decoded.packs.get(2) or decoded.bank
    assert state is not None
    return state


def _state(row: Mapping[str, Any]) -> tuple[BatteryState, int | None]:
    """What a message says in which only this bit is set, and the cell it is set for."""
    word = row["list"]
    bit: Any = row.get("bit")  # a mask of cells has none
    if row["protocol"] == "pylon-rs485-v35":
        if word == "status":
            return _decode(row["protocol"], Command.SYSTEM_LIMITS, bytes(8) + bytes((1 << bit,))), None
        info = bytearray(4)
        info[PLACES_62[word]] = 1 << bit
        return _decode(row["protocol"], Command.SYSTEM_ALARMS, bytes(info)), None
    if word == "status":
        return _decode(row["protocol"], Command.MANAGEMENT, b"\x02" + bytes(8) + bytes((1 << bit,))), None
    cell = None
    if word == "cell_status":
        changes, cell = {CELLS + 10: bit}, 11
    elif word == "cell_fault_mask":
        changes, cell = {33: 1 << 2}, 11
    elif word == "temperature_status":
        changes = {SENSORS + 4: bit}
    elif word == "temperature_status_6":
        changes = {SENSORS + 5: bit}
    else:
        changes = {PLACES_44[word]: bit if word.endswith("_status") else 1 << bit}
    return _decode(row["protocol"], Command.ALARMS, _alarm_info(changes)), cell


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['protocol']} {row['where']}")
def test_a_bit_means_exactly_what_the_table_says(row: Mapping[str, Any]) -> None:
    """One alarm or one flag, and no other; nothing where the table says that the model has nothing."""
    state, cell = _state(row)
    flags = ("charge_enabled", "discharge_enabled", "force_charge_requested", "full_charge_requested", "heater_active")
    assert [name for name in flags if getattr(state, name)] == ([row["flag"]] if "flag" in row else [])
    if row.get("condition"):
        alarm = Alarm(condition=Condition(row["condition"]), severity=Severity(row["severity"]), cell=cell)
        assert state.alarms == frozenset({alarm})
    elif row["list"] != "status":
        assert state.alarms == frozenset()


@pytest.mark.parametrize("protocol", ["pylon-rs485", "pylon-rs485-v35"])
def test_a_protocol_declares_what_it_can_report(protocol: str) -> None:
    """No condition more and none less than its bits have."""
    assert POLLED[protocol].conditions == {
        row["condition"] for row in ROWS if row["protocol"] == protocol and row.get("condition")
    }


def test_every_cell_can_be_named() -> None:
    """Status 4 and 5 hold cells 1 to 16, the status bytes are in the order of the cells."""
    for cell in range(1, 17):
        mask = 1 << (cell - 1)
        state = _decode(
            "pylon-rs485", Command.ALARMS, _alarm_info({CELLS + cell - 1: 2, 32: mask & 0xFF, 33: mask >> 8})
        )
        assert state.alarms is not None
        assert {(alarm.condition.value, alarm.cell) for alarm in state.alarms} == {
            ("cell_overvoltage", cell), ("cell_failure", cell),
        }  # fmt: skip


@pytest.mark.parametrize("code", [0x03, 0x7F, 0xF1, 0xFF])
def test_a_status_code_that_no_document_names_is_another_error(code: int) -> None:
    """It is not nothing, and it is not a direction either."""
    info = _alarm_info({CELLS: code, SENSORS: code, 26: code, 27: code, 28: code})
    state = _decode("pylon-rs485", Command.ALARMS, info)
    assert state.alarms == frozenset(
        {
            Alarm(condition=Condition.CELL_FAILURE, severity=Severity.FAULT, cell=1),
            Alarm(condition=Condition.TEMPERATURE_SENSING_FAILURE, severity=Severity.FAULT),
            Alarm(condition=Condition.OTHER, severity=Severity.FAULT),
        }
    )


def test_bits_of_62_without_a_meaning_raise_nothing() -> None:
    """Reserved bits are kept for diagnostics (pylon-syn-62 has one)."""
    decoded = POLLED["pylon-rs485-v35"].decode(
        request(Command.SYSTEM_ALARMS, 2), encode(2, 0, bytes((0x00, 0x0F, 0x01, 0x97)))
    )
    assert decoded.bank is not None
    assert decoded.bank.alarms == frozenset()
    assert decoded.info == {"unnamed_bits": {"alarm2": 0x0F, "protection1": 0x01, "protection2": 0x97}}


def test_the_table_is_that_of_the_collection() -> None:
    """Where the collection of captures is at hand, the rows carried over are still its rows."""
    if not (folder := os.environ.get("LFP_CAPTURES")):
        pytest.skip("LFP_CAPTURES does not say where the collection of captures is")
    names = ("protocol", "where", "list", "bit", "name", "condition", "severity", "flag")
    bits = json.loads((Path(folder) / "conditions.json").read_text(encoding="utf-8"))["bits"]
    known = [row for row in bits if row["protocol"] in ("pylon-rs485", "pylon-rs485-v35")]
    assert [{name: row[name] for name in names if name in row} for row in known] == ROWS
