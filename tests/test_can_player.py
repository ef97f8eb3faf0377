"""A recording of a real battery, played by python-can's own player onto a bus, ends as values in a real Home Assistant.

At the pace of the clock on the wall, through the dialog, the real transport and its thread. The figures that are expected
were worked out by hand from can.md section 6.1, and are nobody's output.
"""

from collections.abc import Iterator
import json
import os
from pathlib import Path
import threading
import time
from unittest.mock import patch

import can
from homeassistant.config_entries import SOURCE_USER
from homeassistant.const import CONF_DEVICE, STATE_OFF, STATE_ON, STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity import Entity
import pytest

from custom_components.lfp_battery.const import DOMAIN
from tests.flow_line import readable
from tests.real_line import until

_CHANNEL = "played"
_ROUNDS = 60  # one a second
_FIGURES = Path(__file__).parent / "captures" / "can-pylon-ulgh.json"

# 359 ..05 504E..: no bit set, five modules. 351 0x0233 0x2409 0x2409 0x01D5. 355 0x0050 0x0064. 356 0x14AB 0xFCDF 0x00CC.
# 35C C0: charging and discharging enabled, nothing requested. 373 0x0CD8 0x0CF1 mV, 0x0122 0x012A K.
_VALUES = {
    "soc": 80,
    "soh": 100,
    "voltage": 52.91,
    "current": -80.1,
    "power": -4238.1,  # 52.91 V x -80.1 A
    "temperature": 20.4,
    "charge_voltage_limit": 56.3,
    "charge_current_limit": 922.5,
    "discharge_current_limit": 922.5,
    "discharge_voltage_limit": 46.9,
    "modules": 5,
    "cell_voltage_min": 3.288,
    "cell_voltage_max": 3.313,
    "cell_voltage_spread": 0.025,
    "cell_temperature_min": 17,
    "cell_temperature_max": 25,
}
_STATES = {
    "charge_allowed": STATE_ON,
    "discharge_allowed": STATE_ON,
    "force_charge_requested": STATE_OFF,
    "full_charge_requested": STATE_OFF,
    "charging": STATE_OFF,
    "problem": STATE_OFF,
    "safe_to_act": STATE_ON,
    "connectivity": STATE_ON,
}


def _candump() -> str:
    """The recording in the form of `candump -L`, out of the figures that are kept here."""
    (capture,) = json.loads(_FIGURES.read_text(encoding="utf-8"))["captures"]
    return "".join(f"({when:.6f}) can0 {name}#{data.upper()}\n" for when, name, data in capture["frames"])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The recording itself where LFP_CAPTURES names the folder that it is in, else the same out of our figures."""
    made = tmp_path / "can-pylon-ulgh.log"
    made.write_text(_candump())
    folder = os.environ.get("LFP_CAPTURES")
    original = Path(folder) / made.name if folder else None
    if original is None or not original.is_file():
        print("LFP_CAPTURES names no folder with the recording: played out of the figures kept here")  # noqa: T201
        return made
    assert original.read_text() == made.read_text()
    return original


class _Player(threading.Thread):
    """Plays the recording once a second, each frame at its time."""

    def __init__(self, log: Path) -> None:
        super().__init__(name="player")
        self.sent = 0
        self.rounds = 0
        self.over = threading.Event()
        self._log = log

    def run(self) -> None:
        """Play until told to stop, or all rounds are over."""
        with can.Bus(_CHANNEL, interface="virtual", ignore_config=True) as bus:
            began = time.monotonic()
            while self.rounds < _ROUNDS and not self.over.is_set():
                with can.LogReader(self._log) as reader:
                    for message in can.MessageSync(reader):
                        bus.send(message)
                        self.sent += 1
                self.rounds += 1
                self.over.wait(max(began + self.rounds - time.monotonic(), 0))


@pytest.fixture
def player(log: Path) -> Iterator[_Player]:
    """A player at work; it has stopped when the test is over."""
    player = _Player(log)
    player.start()
    yield player
    player.over.set()
    player.join(5)


@pytest.mark.slow
async def test_a_recording_played_for_a_minute_ends_as_the_right_values(hass: HomeAssistant, player: _Player) -> None:
    """Found by the dialog within its time, shown while it is played, and not a frame lost by the end."""
    flows = hass.config_entries.flow
    menu = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    form = await flows.async_configure(menu["flow_id"], {"next_step_id": "can"})
    with patch.object(Entity, "entity_registry_enabled_default", True):
        step = await flows.async_configure(form["flow_id"], {CONF_DEVICE: f"virtual:{_CHANNEL}"})
        assert step["type"] is FlowResultType.SHOW_PROGRESS
        await until(lambda: flows.async_get(form["flow_id"])["step_id"] != "scan", 40)
        result = readable(await flows.async_configure(form["flow_id"]))
        assert result["step_id"] == "confirm_can", result
        assert result["description_placeholders"]["protocol"] == "Pylon CAN"
        assert "PYLON" in result["description_placeholders"]["maker"]
        result = await flows.async_configure(form["flow_id"], {})
        assert result["type"] is FlowResultType.CREATE_ENTRY
        entry = result["result"]
        await until(lambda: player.rounds == _ROUNDS, _ROUNDS + 10)
        await hass.async_block_till_done()

    registered = er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
    entities = {one.unique_id.removeprefix(f"{entry.entry_id}_"): one.entity_id for one in registered}
    shown = {key: state.state for key, name in entities.items() if (state := hass.states.get(name)) is not None}
    numbers = {key: float(shown[key]) for key in _VALUES}
    assert numbers == pytest.approx(_VALUES, abs=0.0005)
    assert {key: shown[key] for key in _STATES} == _STATES
    assert STATE_UNAVAILABLE not in shown.values()
    assert player.sent == 7 * _ROUNDS
    client = entry.runtime_data.client.diagnostics()
    assert client["frames_unreadable"] == 0
    assert {name: one["data"] for name, one in client["ids"].items()} == {
        name: data for _, name, data in json.loads(_FIGURES.read_text())["captures"][0]["frames"]
    }
    assert await hass.config_entries.async_unload(entry.entry_id)
