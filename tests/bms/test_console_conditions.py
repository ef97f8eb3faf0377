"""Every state word and event bit of the text console, against the table of what it means."""

import json
from typing import Any

import pytest

from custom_components.lfp_battery.bms.model import Alarm, Condition, Mode, PackState, Severity

from .captured import CAPTURES
from .test_console import PYLON, PYTES, collection, table

CONDITIONS: list[dict[str, Any]] = json.loads((CAPTURES / "console-conditions.json").read_text(encoding="utf-8"))[
    "rows"
]
STATE_COLUMNS = {
    "voltage_state": "Volt.St", "current_state": "Curr.St", "temperature_state": "Temp.St",
    "cell_voltage_state": "B.V.St", "cell_temperature_state": "B.T.St", "mos_temperature_state": "M.T.St",
    "system_alarm_state": "SysAlarm.St", "base_state": "Base.St",
}  # fmt: skip
CELL_COLUMNS = {"charge_temperature_state": "CTemp. State", "discharge_temperature_state": "DTemp. State"}
LABELS = {
    "coulomb_state": "Coul. Status", "soh_status": "Soh. Status", "Heater Status": "Heater Status",
    "CMOS Status": "CMOS Status", "DMOS Status": "DMOS Status", "Power Events": "Power Events",
    "System Fault": "System Fault", "Bat Events": "Bat Events",
}  # fmt: skip


def _state(row: dict[str, Any]) -> tuple[PackState, int | None]:
    """What an answer says in which only this stands, and the cell that it stands for."""
    kind, word = row["list"], "Strange" if row["name"] == "*" else row["name"]
    if kind in STATE_COLUMNS:
        decoded = table(f"Power Volt Curr {STATE_COLUMNS[kind]}", f"1 53192 0 {word}")
        return decoded.packs.get(1, PackState(address=1, alarms=frozenset())), None
    if kind == "balancing":
        return table("Battery Volt Tempr BAL", f"0 3324 21000 {word}", words="bat 1").packs[1], None
    if kind in CELL_COLUMNS:
        heading = f"Battery Volt Tempr {CELL_COLUMNS[kind]}"
        return table(heading, f"0 3324 21000 {word}", words="bat 1").packs[1], 1
    value = hex(1 << row["bit"]) if "bit" in row else "ON" if row.get("flag") else word
    value = "0xFF" if kind == "Bat Events" else value
    return table(" Power  1", "Voltage : 53192 mV", f"{LABELS[kind]} : {value}", words="pwr 1").packs[1], None


@pytest.mark.parametrize("row", CONDITIONS, ids=lambda row: row["where"])
def test_a_word_or_bit_means_exactly_what_the_table_says(row: dict[str, Any]) -> None:
    """One alarm or one flag, and no other."""
    state, cell = _state(row)
    if row.get("condition"):
        alarm = Alarm(condition=Condition(row["condition"]), severity=Severity(row["severity"]), cell=cell)
        assert state.alarms == frozenset({alarm})
    else:
        assert not state.alarms
    flag, _, value = row.get("flag", "").partition("=")
    if flag == "balancing_cells":
        assert state.balancing_cells == frozenset({1})
    elif flag == "mode":
        assert state.mode == Mode(value)
    elif flag:
        assert getattr(state, flag) is True


def test_the_console_declares_what_it_can_report() -> None:
    """No condition more and none less than its words and bits have."""
    assert PYTES.conditions == PYLON.conditions == {row["condition"] for row in CONDITIONS if row.get("condition")}


def test_the_table_of_words_is_that_of_thecollection() -> None:
    """The rows carried over are still its rows."""
    names = ("protocol", "where", "list", "bit", "name", "condition", "severity", "flag")
    known = [row for row in collection("conditions.json") if row["protocol"] == "console"]
    assert [{name: row[name] for name in names if name in row} for row in known] == CONDITIONS
