"""Every key that the code uses has its words, and every word is used."""

import json
from pathlib import Path
from typing import Any

from custom_components.lfp_battery.binary_sensor import BINARY_SENSORS, CONDITIONS, LINK
from custom_components.lfp_battery.bms.errors import LinkProblem
from custom_components.lfp_battery.bms.model import Mode
from custom_components.lfp_battery.sensor_descriptions import (
    BANK_SENSORS,
    ENERGY_SENSORS,
    SENSORS,
    cell_sensors,
    temperature_sensors,
)

_HERE = Path(__file__).parent.parent / "custom_components" / "lfp_battery"
_SENSORS = (*SENSORS, *ENERGY_SENSORS, *BANK_SENSORS, *cell_sensors(1), *temperature_sensors(1))
_BINARY_SENSORS = (*BINARY_SENSORS, *CONDITIONS, LINK)


def _json(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_HERE / name).read_text(encoding="utf-8"))
    return found


def test_every_entity_is_named_by_its_device_class_or_by_a_translation() -> None:
    """And no translation is left over."""
    entity = _json("translations/en.json")["entity"]
    for platform, table in (("sensor", _SENSORS), ("binary_sensor", _BINARY_SENSORS)):
        keys = {description.translation_key for description in table if description.translation_key}
        assert keys == set(entity[platform])
        assert all(description.translation_key or description.device_class for description in table)


def test_entities_of_one_unit_have_different_names() -> None:
    """By words, not by number."""
    for platform, table in (("sensor", SENSORS), ("binary_sensor", _BINARY_SENSORS)):
        entity = _json("translations/en.json")["entity"][platform]
        names = [entity[d.translation_key]["name"] if d.translation_key else str(d.device_class) for d in table]
        assert len(names) == len(set(names))


def test_every_mode_and_every_link_problem_has_its_words() -> None:
    """States and exceptions included."""
    words = _json("translations/en.json")
    assert set(words["entity"]["sensor"]["mode"]["state"]) == {str(mode) for mode in Mode}
    assert {f"link_{problem}" for problem in LinkProblem} <= set(words["exceptions"])


def test_what_has_no_device_class_has_an_icon() -> None:
    """Icons only where no device class gives one, and only for keys that exist."""
    icons = _json("icons.json")["entity"]
    for platform, table in (("sensor", _SENSORS), ("binary_sensor", _BINARY_SENSORS)):
        bare = {description.translation_key for description in table if description.device_class is None}
        assert bare <= set(icons[platform])
        assert set(icons[platform]) <= {description.translation_key for description in table}
