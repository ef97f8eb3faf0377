"""Every key that the code uses has its words, and every word is used."""

from dataclasses import fields
import json
from pathlib import Path
import re
from typing import Any

from custom_components.lfp_battery.bank_sensor_descriptions import BANK_SENSORS
from custom_components.lfp_battery.binary_sensor_descriptions import BINARY_SENSORS, CONDITIONS, LINK
from custom_components.lfp_battery.bms.bank import LeftOut, Weighting
from custom_components.lfp_battery.bms.catalog import FAMILIES
from custom_components.lfp_battery.bms.clients.base import HeatingOutcome
from custom_components.lfp_battery.bms.errors import HeatingError, HeatingProblem, LinkProblem
from custom_components.lfp_battery.bms.model import Alarm, Condition, Identity, Mode, PackState, PollReport, Severity
from custom_components.lfp_battery.bms.plausibility import Reason
from custom_components.lfp_battery.bms.protocols import DECODERS, PROTOCOLS
from custom_components.lfp_battery.bms.protocols.pylon.dialects import EG4, SEPLOS, TDT
from custom_components.lfp_battery.bms.protocols.pylon.protocol import PylonV28
from custom_components.lfp_battery.bms.protocols.strangers import JBD
from custom_components.lfp_battery.entity import LfpEntityDescription
from custom_components.lfp_battery.heating import NO_LINK, WITHDRAWN
from custom_components.lfp_battery.scan_flow import ANY_FAMILY
from custom_components.lfp_battery.sensor_descriptions import ENERGY_SENSORS, SENSORS, cell_sensors, temperature_sensors
from custom_components.lfp_battery.switch import SWITCHES
from tests.home import Home

_HERE = Path(__file__).parent.parent / "custom_components" / "lfp_battery"
_SENSORS = (*SENSORS, *ENERGY_SENSORS, *BANK_SENSORS, *cell_sensors(1), *temperature_sensors((0,)))
_BINARY_SENSORS = (*BINARY_SENSORS, *CONDITIONS, LINK)
_TABLES: dict[str, tuple[LfpEntityDescription, ...]] = {
    "sensor": _SENSORS,
    "binary_sensor": _BINARY_SENSORS,
    "switch": SWITCHES,
}


def _json(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_HERE / name).read_text(encoding="utf-8"))
    return found


def test_every_entity_is_named_by_its_device_class_or_by_a_translation() -> None:
    """And no translation is left over."""
    entity = _json("translations/en.json")["entity"]
    for platform, table in _TABLES.items():
        keys = {description.translation_key for description in table if description.translation_key}
        assert keys == set(entity[platform])
        assert all(description.translation_key or description.device_class for description in table)


def test_entities_of_one_unit_have_different_names() -> None:
    """By words, not by number."""
    for platform, table in (("sensor", (*SENSORS, *ENERGY_SENSORS)), ("binary_sensor", _BINARY_SENSORS)):
        entity = _json("translations/en.json")["entity"][platform]
        names = [entity.get(d.translation_key, {}).get("name", str(d.device_class)) for d in table]
        assert len(names) == len(set(names))


def test_every_mode_and_every_link_problem_has_its_words() -> None:
    """States and exceptions included."""
    words = _json("translations/en.json")
    assert set(words["entity"]["sensor"]["mode"]["state"]) == {str(mode) for mode in Mode}
    assert {f"link_{problem}" for problem in LinkProblem} <= set(words["exceptions"])


def test_whatever_comes_of_switching_the_heating_has_its_words() -> None:
    """As what is raised, unless all is well, and as a line of the logbook."""
    words = _json("translations/en.json")
    problems = {str(problem) for problem in HeatingProblem}
    raised = {key.removeprefix("heating_") for key in words["exceptions"] if key.startswith("heating_")}
    assert raised == problems | {str(HeatingOutcome.ACCEPTED), WITHDRAWN}
    told = words["selector"]["heating_act"]["options"]
    assert set(told) == problems | {str(outcome) for outcome in HeatingOutcome} | {NO_LINK, WITHDRAWN}
    for line in told.values():
        assert set(re.findall(r"{(\w+)}", line)) == {"old", "new"}


def test_whatever_a_scan_can_tell_of_has_its_name() -> None:
    """Protocols that are read and those that are only recognised, families of batteries, and what to do about strangers."""
    selector = _json("translations/en.json")["selector"]
    strangers = {name for name in DECODERS if name in selector["stranger"]["options"]} | {JBD}
    assert {SEPLOS.name, TDT.name, EG4.name, PylonV28.name, JBD} == set(selector["stranger"]["options"]) == strangers
    named = {name.replace(".", "-") for name in PROTOCOLS} | strangers
    assert named == set(selector["protocol"]["options"])
    assert {family.key for family in FAMILIES} | {ANY_FAMILY} == set(selector["family"]["options"])


def test_every_selector_has_keys_that_a_translation_may_have() -> None:
    """Home Assistant's own check wants small letters, digits, hyphens and underscores."""
    for name, selector in _json("translations/en.json")["selector"].items():
        for option in selector["options"]:
            assert re.fullmatch(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?", option), (name, option)


def test_every_issue_says_what_it_fills_in() -> None:
    """And no more than that."""
    issues = _json("translations/en.json")["issues"]
    filled_in = {"other_master": {"title"}, "other_master_foreign": {"title", "protocol", "other_protocol"}}
    filled_in["garbled"] = {"title", "address"}
    filled_in |= {
        f"heating_{why}": {"title", "report", "docs"} for why in HeatingProblem if HeatingError(why).withdraws
    }
    filled_in |= {"unacknowledged_option": {"title"}, "unacknowledged_wiring": {"title"}}
    filled_in["unacknowledged_outside"] = {"title", "command_alone", "command_down"}
    filled_in |= {f"mixed_{kind}": {"title", "packs"} for kind in ("cells", "capacity", "models")}
    filled_in |= {"voltage_apart": {"title", "packs", "limit"}, "too_many_packs": {"title", "count", "limit"}}
    filled_in["same_battery"] = {"first", "second", "packs"}
    filled_in["bus_errors"] = {"title", "command", "command_down"}
    filled_in["interface_down"] = {"title", "command", "command_alone", "command_down"}
    assert {*filled_in, "duplicate_address"} <= set(issues)
    for key, issue in issues.items():
        blanks = set(re.findall(r"{(\w+)}", json.dumps(issue)))
        assert blanks <= filled_in.get(key, {"title", "place", "switches"})
        assert key not in filled_in or blanks == filled_in[key]


async def test_every_attribute_has_its_words(home: Home) -> None:
    """Of a pack that reports everything there is, and of its bank; values from a list of ours as well."""
    home.plug(1, model="VLRV5120C")
    await home.start()
    alarms = frozenset(Alarm(condition=condition, severity=Severity.FAULT, cell=1) for condition in Condition)
    state = PackState(
        address=9,
        alarms=alarms,
        balancing_cells=frozenset({1}),
        cell_voltages=(3.3, 3.4),
        cell_temperatures=(20.0, 21.0),
        cell_voltage_min_pack=1,
        cell_voltage_max_pack=1,
    )
    names = (field.name for field in fields(PackState) if field.name not in ("address", "derived"))
    held_back = {name: reason.value for reason, name in zip(Reason, names, strict=False)}
    identity = Identity(serial="PPTWORDS00000009")
    home.link.pack_polled(
        PollReport(address=9, state=state, online=True, received=1e6, identity=identity, held_back=held_back)
    )
    units = (home.link.packs[9], home.link.bank)
    home.link.packs[2].async_link_changed(None)  # silent, so that the bank leaves it out
    home.link.bank.async_renew()
    for platform, table in _TABLES.items():
        entity = _json("translations/en.json")["entity"][platform]
        for description in table:
            shown = [description.attributes_fn(unit) if description.attributes_fn else {} for unit in units]
            words = entity.get(description.translation_key, {}).get("state_attributes", {})
            assert {name for attributes in shown for name in attributes} == set(words), description.key
            for name, value in (pair for attributes in shown for pair in attributes.items()):
                values = (set(value) if isinstance(value, list) else {value}) - {None}
                assert values <= set(words[name].get("state", values)), (description.key, name)


def test_whatever_a_bank_counts_by_has_its_words() -> None:
    """Why a pack is left out of the state of charge, and what the others count by."""
    words = _json("translations/en.json")["entity"]["sensor"]["soc"]["state_attributes"]
    assert set(words["left_out_reasons"]["state"]) == {str(reason) for reason in LeftOut}
    assert set(words["weighting"]["state"]) == {str(weighting) for weighting in Weighting}


def test_conditions_are_called_the_same_wherever_they_are_named() -> None:
    """As a sensor and as what a problem consists of."""
    entity = _json("translations/en.json")["entity"]["binary_sensor"]
    conditions = entity["problem"]["state_attributes"]["conditions"]["state"]
    assert conditions == {str(condition): entity[condition]["name"] for condition in Condition}


def test_what_has_no_device_class_has_an_icon() -> None:
    """Icons only where no device class gives one, and only for keys that exist."""
    icons = _json("icons.json")["entity"]
    for platform, table in _TABLES.items():
        bare = {description.translation_key for description in table if description.device_class is None}
        assert bare <= set(icons[platform])
        assert set(icons[platform]) <= {description.translation_key for description in table}
