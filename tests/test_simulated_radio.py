"""The actions of the demo's simulated radio, as Developer tools shows them."""

from pathlib import Path

from homeassistant.helpers.service import _SERVICES_SCHEMA
from homeassistant.util.yaml import load_yaml_dict

from tests.simulator.gatt.home import lfp_simulated_radio as simulated_radio


def test_every_knob_of_the_simulated_radio_is_described() -> None:
    """In the form that Home Assistant wants, or nothing of it would be shown."""
    assert simulated_radio.__file__ is not None
    described = _SERVICES_SCHEMA(load_yaml_dict(str(Path(simulated_radio.__file__).with_name("services.yaml"))))
    knobs = {*simulated_radio._KNOBS, simulated_radio._ADVERTISING, simulated_radio._SHORT_CIRCUIT}
    assert set(described["set"]["fields"]) == knobs
    assert described["status"]["description"]
