"""The `decode` command on frames of a bus."""

import json
from pathlib import Path
from typing import Any

import pytest

from custom_components.lfp_battery.bms.decoding import answer

from ..captured import CAPTURES

PYLON = [["359", "000000000A504E"], ["351", "1402740E740ECC01"], ["356", "021300004A01"], ["35C", "C000"]]
STREAMS = {row["id"]: row for row in json.loads((CAPTURES / "can-detect.json").read_text(encoding="utf-8"))["streams"]}


def _ask(**line: object) -> dict[str, Any]:
    found = answer(json.dumps({"protocol": "can"} | line))
    json.dumps(found)
    return found


def test_a_bus_is_read_as_the_family_that_it_is_found_to_be() -> None:
    """However short the recording is: nobody waits for more of it."""
    found = _ask(frames=[["35E", "50594C4F4E202020"], *PYLON])
    assert found == {
        "protocol": "pylon",
        "packs": {},
        "bank": {
            "manufacturer": "PYLON", "family": "pylon", "alarms": [], "modules": 10, "charge_voltage_limit": 53.2,
            "charge_current_limit": 370.0, "discharge_current_limit": 370.0, "discharge_voltage_limit": 46.0,
            "voltage": 48.66, "current": 0.0, "power": 0.0, "temperature": 33.0, "charge_enabled": True,
            "discharge_enabled": True, "force_charge_requested": False, "full_charge_requested": False,
            "derived": ["power"],
        },
        "info": {},
        "held_back": {},
    }  # fmt: skip


def test_a_family_that_is_asked_for_is_used_as_it_is() -> None:
    """356 alone is nobody's; as Sofar's its last word counts cycles."""
    found = _ask(frames=[["356", "D314D6FFDA001F00"]], family="sofar")
    assert (found["protocol"], found["bank"]["cycles"]) == ("sofar", 31)
    assert _ask(frames=[["356", "D314D6FFDA001F00"]])["protocol"] == "generic_35x"


def test_the_latest_frame_of_an_id_counts() -> None:
    """As at the end of a recording."""
    found = _ask(frames=[*PYLON, ["356", "031300004A01"], ["359", "0200000001504E"], ["359", "0000000002504E"]])
    assert (found["bank"]["voltage"], found["bank"]["modules"], found["bank"]["alarms"]) == (48.67, 2, [])


def test_packs_of_a_bank_are_shown_by_their_number() -> None:
    """Deye's own set, in which each pack speaks for itself."""
    found = _ask(frames=[["361", "F40CE20C0F01FE00"], ["150", "10026E007702DE03"], ["151", "110269007502D903"]])
    assert found["protocol"] == "deye_pcs"
    assert {number: pack["voltage"] for number, pack in found["packs"].items()} == {"1": 52.8, "2": 52.9}
    assert found["packs"]["1"]["current"] == -11.0


def test_remote_and_error_frames_say_nothing_and_data_is_cut_to_its_length() -> None:
    """As a transport hands them over; some adapters give eight bytes whatever was sent."""
    nothing: dict[str, Any] = {"protocol": "can", "packs": {}, "bank": None, "info": {}, "held_back": {}}
    assert _ask(frames=[["351", ""]], flags=[{"remote": True}]) == nothing
    assert _ask(frames=[["004", "0004000000000000"]], flags=[{"error": True}]) == nothing
    cut = _ask(family="pylon", frames=[["351", "1402AAAAAAAAAAAA"]], flags=[{"dlc": 2}])
    assert cut["bank"] == {"charge_voltage_limit": 53.2, "family": "pylon"}


def test_times_tell_that_nobody_acknowledges() -> None:
    """Without them a frame that comes again is a frame that comes again."""
    again = STREAMS["victron-one-frame-repeated"]["repeat"]
    frames = [again["frame"]] * again["count"]
    found = _ask(frames=frames, times=[again["every"] * number for number in range(again["count"])])
    assert (found["protocol"], found["info"], found["bank"]) == ("can", {"hint": "no_ack"}, None)
    assert _ask(frames=frames)["protocol"] == "generic_35x"


def test_an_inverter_stands_in_info() -> None:
    """Beside its battery, and alone."""
    asked = [["305", "0000000000000000"], ["307", "1234567856494300"]]
    assert _ask(frames=[*PYLON, *asked])["info"] == {"inverter": "victron"}
    assert _ask(frames=asked) == {
        "protocol": "can", "packs": {}, "bank": None, "info": {"inverter": "victron"}, "held_back": {},
    }  # fmt: skip


def test_what_cannot_be_is_held_back_with_its_reason() -> None:
    """300 % and 0 V, and what follows from a voltage that is none."""
    found = _ask(family="pylon", frames=[["355", "2C016400"], ["356", "000000000000"]])
    assert found["held_back"].keys() == {"soc", "voltage", "power"}
    assert "soc" not in found["bank"] and found["bank"]["soh"] == 100


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"frames": "351"},
        {"frames": [["351"]]},
        {"frames": [["351", "1"]]},
        {"frames": [["800", ""]]},
        {"frames": [["20000000", ""]]},
        {"frames": [["35", "00"]]},
        {"frames": [[351, "00"]]},
        {"frames": [["351", "00" * 65]]},
        {"frames": [["351", "00"]], "times": []},
        {"frames": [["351", "00"]], "times": ["now"]},
        {"frames": [["351", "00"]], "times": [10**400]},
        {"frames": [["351", "00"]], "times": [float("nan")]},
        {"frames": [["351", "00"]], "times": [float("inf")]},
        {"frames": [["351", "00"]], "flags": [{"dlc": -1}]},
        {"frames": [["351", "00"]], "flags": [{"dlc": True}]},
        {"frames": [["351", "00"]], "flags": [{"dlc": "2"}]},
        {"frames": [["351", "00"]], "flags": [1]},
        {"frames": [["351", "00"]], "family": "nobody"},
        {"frames": [["351", "00"]], "family": 5},
    ],
)
def test_a_line_that_is_no_recording_is_answered_so(line: dict[str, object]) -> None:
    """Never with a traceback."""
    assert _ask(**line)["error"] == "FrameError"


def test_a_captured_log_ends_as_the_right_values() -> None:
    """Seven frames of a stack of five packs, 88 ms apart (candump of ul-gh/bms_gateway)."""
    log: dict[str, Any] = json.loads(Path(CAPTURES / "can-35x.json").read_text(encoding="utf-8"))
    frames = next(row["frames"] for row in log["captures"] if row["id"] == "pylon-ulgh-5mod")
    bank = _ask(frames=frames, times=[0.088 * place for place in range(len(frames))])["bank"]
    assert (bank["soc"], bank["voltage"], bank["current"], bank["modules"]) == (80, 52.91, -80.1, 5)
    assert (bank["cell_voltage_min"], bank["cell_voltage_max"]) == (3.288, 3.313)
