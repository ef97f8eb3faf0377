"""Every bit of the status, the alarms and the settings of a pack over Bluetooth, against the table of what it means."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from tests.bms.captured import CAPTURES

from .frames import CURRENT, OLDER, decoded, pack

_TABLES: dict[str, list[dict[str, Any]]] = json.loads((CAPTURES / "zeta-conditions.json").read_text(encoding="utf-8"))
ROWS, MANUAL = _TABLES["rows"], _TABLES["manual"]
ALARMS = [row for row in ROWS if "condition" in row]
WORDS = {"warnings": 26, "protections": 27, "errors": 28}
FLAGS = {"heater_active": (25, 0x8000), "heating_enabled": (40, 0x0010)}


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("row", ALARMS, ids=lambda row: row["where"])
def test_a_bit_means_exactly_what_the_table_says(row: dict[str, Any], older: bool) -> None:
    """One alarm and no other, in answers of either length."""
    alarm = Alarm(condition=Condition(row["condition"]), severity=Severity(row["severity"]))
    for count in (39, 41):
        assert pack({WORDS[row["list"]]: 1 << row["bit"]}, count, older=older).alarms == frozenset({alarm})


@pytest.mark.parametrize("row", MANUAL, ids=lambda row: row["flag"])
def test_each_flag_of_the_manual_is_an_alarm(row: dict[str, Any]) -> None:
    """The 13 of table 6-1."""
    alarm = Alarm(condition=Condition(row["condition"]), severity=Severity(row["severity"]))
    assert pack({row["register"]: 1 << row["bit"]}).alarms == frozenset({alarm})


def test_the_manual_has_thirteen_flags_and_each_is_another_alarm() -> None:
    """Two of them stand for bits by inference (ble.md section 5)."""
    assert [row["flag"] for row in MANUAL] == [
        *("CELL OVP", "CELL UVP", "PACK OVP", "PACK UVP", "CHG OTP", "CHG UTP", "DSG OTP", "DSG UTP"),
        *("CHG OCP", "DSG OCP", "SHORT", "FULL CHARGE", "FULL DISCHARGE"),
    ]
    assert len({row["condition"] for row in MANUAL}) == len(MANUAL)
    assert [row["flag"] for row in MANUAL if row.get("inferred")] == ["FULL CHARGE", "FULL DISCHARGE"]


@pytest.mark.parametrize("row", [row for row in ROWS if row["list"] == "status"], ids=lambda row: row["where"])
def test_a_flag_is_its_bit(row: dict[str, Any]) -> None:
    """And no other bit of its word sets it."""
    register, mask = FLAGS[row["flag"]]
    assert (f"r{register}.{row['bit']}", 1 << row["bit"]) == (row["where"], mask)
    assert getattr(pack({register: mask}), row["flag"]) is True
    assert getattr(pack({register: 0xFFFF & ~mask}), row["flag"]) is False


@pytest.mark.parametrize("row", [row for row in ROWS if row["list"] == "state"], ids=lambda row: row["name"])
def test_a_state_is_its_mode(row: dict[str, Any]) -> None:
    """By the low nibble."""
    code = int(row["where"].rsplit(" ", 1)[1])
    assert pack({25: code}).mode == row["flag"].removeprefix("mode=")


@pytest.mark.parametrize("cell", range(1, 17))
def test_a_balancing_cell_is_its_bit(cell: int) -> None:
    """Bit n is cell n + 1."""
    assert pack({38: 1 << (cell - 1)}).balancing_cells == frozenset({cell})


def test_all_of_them_at_once_are_all_of_them() -> None:
    """What has no name is kept for diagnostics."""
    found = decoded({26: 0xFFFF, 27: 0xFFFF, 28: 0xFFFF})
    assert found.packs[1].alarms == frozenset(
        Alarm(condition=Condition(row["condition"]), severity=Severity(row["severity"])) for row in ALARMS
    )
    assert found.info["unnamed_bits"] == {"warnings": 0xC000, "protections": 0xC000, "errors": 0xFFE8}


@pytest.mark.parametrize("codec", [CURRENT, OLDER], ids=lambda codec: codec.name)
def test_a_protocol_declares_what_it_can_report(codec: Any) -> None:
    """No condition more and none less than its bits have."""
    assert codec.conditions == {Condition(row["condition"]) for row in ALARMS}


def test_the_table_is_that_of_the_collection() -> None:
    """Where the collection of captures is at hand, the rows carried over are still its rows."""
    if not (folder := os.environ.get("LFP_CAPTURES")):
        pytest.skip("LFP_CAPTURES does not say where the collection of captures is")
    names = ("protocol", "where", "list", "bit", "name", "condition", "severity", "flag")
    document = json.loads((Path(folder) / "conditions.json").read_text(encoding="utf-8"))
    known = [row for row in document["bits"] if row["protocol"] == CURRENT.name]
    assert [{name: row[name] for name in names if name in row} for row in known] == ROWS
    assert document["aliases"][OLDER.name] == [CURRENT.name]
