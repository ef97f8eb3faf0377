"""What a home shows of a battery, held against what the battery sent."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from homeassistant.helpers.device_registry import CONNECTION_BLUETOOTH

from .demo_values import ALWAYS, ATTRIBUTE_OF, EXPECTED, TOTALS, agrees, expected_of
from .home import Api


class Source(Protocol):
    """A battery that knows what it sent."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def units(self) -> Mapping[str, int | None]:
        """What the home shows a device for: how that is known, and the bus address; None for a bank."""

    def sent(self, address: int | None) -> Iterable[Mapping[str, Any]]:
        """What a pack (None: the bank) said lately."""


type Entities = dict[str, dict[str, Any]]


async def shown_by_unit(api: Api, entries: Sequence[str]) -> dict[str, dict[str, Entities]]:
    """Of each entry, by a pack's serial number or Bluetooth address, or as "bank": its entities by key, with their states."""
    states = {state["entity_id"]: state for state in await api.call("GET", "/api/states")}
    units = {device["id"]: _unit(device) for device in await api.command("config/device_registry/list")}
    shown: dict[str, dict[str, Entities]] = {entry: {} for entry in entries}
    for entity in await api.command("config/entity_registry/list"):
        unit = units.get(entity["device_id"])
        if entity["config_entry_id"] not in shown or unit is None or (state := states.get(entity["entity_id"])) is None:
            continue
        key = max(
            (key for key in (*EXPECTED, *TOTALS) if entity["unique_id"].endswith(f"_{key}")), key=len, default=None
        )
        shown[entity["config_entry_id"]].setdefault(unit, {})[key or entity["entity_id"]] = state
    return shown


def _unit(device: Mapping[str, Any]) -> str | None:
    """What a device is known by."""
    if not device["via_device_id"]:
        return "bank"
    addresses = (value for kind, value in device["connections"] if kind == CONNECTION_BLUETOOTH)
    return device["serial_number"] or next((str(address).upper() for address in addresses), None)


def differences(battery: Source, shown: Mapping[str, Entities]) -> tuple[dict[str, Any], list[str]]:
    """What the home shows of a battery, and which entities do not (yet) show what was sent."""
    report: dict[str, Any] = {}
    wrong: list[str] = []
    for unit, address in battery.units.items():
        entities = shown.get(unit, {})
        history = battery.sent(address)
        report[unit] = {state["entity_id"]: state["state"] for _, state in sorted(entities.items())}
        for key, expectation in EXPECTED.items():
            if not (wanted := expected_of(key, history)) and key not in ALWAYS:
                continue
            state = entities.get(ATTRIBUTE_OF.get(key, key))
            if state is None:
                wrong.append(f"{unit} of {battery.name} has no {key}")
                continue
            value = state["attributes"].get(expectation.attribute) if expectation.attribute else state["state"]
            if not agrees(key, value, wanted):
                wrong.append(f"{state['entity_id']} shows {key} {value}, which {unit} of {battery.name} did not send")
    return report, wrong
