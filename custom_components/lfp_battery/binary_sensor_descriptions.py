"""What binary sensors there are, in tables: one row an entity of a pack, or of the bank."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from homeassistant.components.binary_sensor import BinarySensorDeviceClass, BinarySensorEntityDescription
from homeassistant.const import EntityCategory

from .bank_sensor_descriptions import packs_tell
from .bms.model import Alarm, Condition, Severity
from .coordinator import LfpBankCoordinator, LfpPackCoordinator, LfpUnit
from .entity import HEATING, LfpEntityDescription, always
from .sensor_descriptions import has_recharge_rule, stands_for_itself

# Serial protocols resolve 0.1 A (pylon-rs485.md section 6.1): two counts are rest, five are not, between is as before.
_CHARGING_ABOVE = 0.5  # A
_RESTING_BELOW = 0.2  # A
# Where the sun just covers the house the current goes to and fro: what starts and stops has to last for so long.
_CHARGING_HOLD = 30.0  # s
_LOW_BATTERY_HYSTERESIS = 2.0  # %

# What to charge or discharge by.
_NEEDED_TO_ACT = (
    "soc",
    "charge_enabled",
    "discharge_enabled",
    "charge_voltage_limit",
    "discharge_voltage_limit",
    "charge_current_limit",
    "discharge_current_limit",
)

# Every day's business, with sensors of its own: not a problem.
_USUAL = frozenset({Condition.FULLY_CHARGED, Condition.LOW_SOC})

# Where the direction is not said, it is charging that cold stops first.
_COLD = frozenset({Condition.CHARGE_UNDERTEMPERATURE, Condition.UNDERTEMPERATURE})

# Said for a cell, for the pack, or without a place: one sensor for whichever a protocol has.
_FOLDED: Mapping[Condition, frozenset[Condition]] = {
    Condition.OVERVOLTAGE: frozenset({Condition.OVERVOLTAGE, Condition.CELL_OVERVOLTAGE, Condition.PACK_OVERVOLTAGE}),
    Condition.UNDERVOLTAGE: frozenset(
        {Condition.UNDERVOLTAGE, Condition.CELL_UNDERVOLTAGE, Condition.PACK_UNDERVOLTAGE}
    ),
}
_ON_BY_DEFAULT = frozenset(
    {
        Condition.OVERVOLTAGE,
        Condition.UNDERVOLTAGE,
        Condition.CHARGE_OVERTEMPERATURE,
        Condition.CHARGE_UNDERTEMPERATURE,
        Condition.DISCHARGE_OVERTEMPERATURE,
        Condition.DISCHARGE_UNDERTEMPERATURE,
        Condition.SHORT_CIRCUIT,
    }
)


@dataclass(frozen=True, kw_only=True)
class LfpBinarySensorDescription(LfpEntityDescription, BinarySensorEntityDescription):
    """A binary sensor; `value_fn` is also given its last answer, for those with a dead band."""

    value_fn: Callable[[LfpUnit, bool | None], bool | None]
    hold: float = 0.0  # s that another answer has to stand before it is shown


def _flag(name: str) -> Callable[[LfpUnit, bool | None], bool | None]:
    def value(unit: LfpUnit, _: bool | None) -> bool | None:
        found: bool | None = getattr(unit.state, name)
        return found

    return value


def _battery_low(unit: LfpUnit, was: bool | None) -> bool | None:
    if (soc := unit.state.soc) is None:
        return None
    return soc <= unit.settings.low_battery + (_LOW_BATTERY_HYSTERESIS if was else 0.0)


def _charging(unit: LfpUnit, was: bool | None) -> bool | None:
    if (current := unit.state.current) is None:
        return None
    return current > (_RESTING_BELOW if was else _CHARGING_ABOVE)


def _worst(alarms: list[Alarm]) -> Severity | None:
    return max((alarm.severity for alarm in alarms), default=None)


def _problems(unit: LfpUnit) -> list[Alarm]:
    return [alarm for alarm in unit.state.alarms or () if alarm.condition not in _USUAL]


def _speaks_of_alarms(unit: LfpUnit) -> bool:
    return "alarms" in unit.record.fields


def _told_by_packs(unit: LfpUnit) -> Mapping[str, list[Alarm] | None]:
    """Of a bank that does not speak of alarms: the problems of its packs by their numbers; None: not known."""
    if not isinstance(unit, LfpBankCoordinator) or _speaks_of_alarms(unit):
        return {}
    known = {address: pack.online and pack.state.alarms is not None for address, pack in unit.packs.items()}
    return {pack.number: _problems(pack) if known[address] else None for address, pack in sorted(unit.packs.items())}


def _problem(unit: LfpUnit, _: bool | None) -> bool | None:
    packs = _told_by_packs(unit).values()
    if any(packs):
        return True
    return None if None in packs or (unit.state.alarms is None and not packs) else bool(_problems(unit))


def _problem_attributes(unit: LfpUnit) -> dict[str, Any]:
    packs = _told_by_packs(unit)
    problems = [*_problems(unit), *(alarm for alarms in packs.values() for alarm in alarms or ())]
    worst = _worst(problems)
    return {
        "severity": worst.value if worst else None,
        "conditions": sorted({alarm.condition.value for alarm in problems}),
        **({"packs": [number for number, alarms in packs.items() if alarms]} if packs else {}),
    }


def _tells_anything(unit: LfpUnit) -> bool:
    """Every pack whether it answers; a bank where it says something, or its packs do."""
    return isinstance(unit, LfpPackCoordinator) or bool(unit.fields)


def _safe_to_act(unit: LfpUnit, _: bool | None) -> bool:
    """Whether an automation may rely on what this unit says.

    It answered when it was last asked, nothing is held back, nothing is broken; and it has said so: where alarms are
    never heard, because nobody asks for them or none are answered, nothing is known of them. Nor may anything be unknown
    by now that was said before, or worked out, and that an automation goes by. A bank that is worked out is as safe as
    all its packs; one that speaks of which a known pack is silent is not, whatever it says of the others.
    """
    if isinstance(unit, LfpBankCoordinator) and not unit.speaks:
        return unit.online and all(_safe_to_act(pack, None) for pack in unit.packs.values())
    if not unit.online or not unit.fresh or unit.data.held_back:
        return False
    if isinstance(unit, LfpBankCoordinator) and not all(
        pack.online for address, pack in unit.packs.items() if address not in unit.unasked
    ):
        return False
    if any(name in unit.fields and getattr(unit.state, name) is None for name in _NEEDED_TO_ACT):
        return False
    if (alarms := unit.state.alarms) is None:
        return not _speaks_of_alarms(unit) and not unit.conditions
    return _worst(list(alarms)) is not Severity.FAULT


def _recharge(unit: LfpUnit) -> dict[str, Any]:
    """What the manual wants it charged with, and how far."""
    rule, supply = unit.settings.recharge, unit.settings.supply
    found = {
        "target": rule and rule.target,
        "charge_voltage": supply and supply.voltage,
        "charge_current": supply and supply.current,
        "cut_off_current": supply and supply.cut_off,
    }
    return {name: value for name, value in found.items() if value is not None}


def _blocked_by_cold(unit: LfpUnit, _: bool | None) -> bool | None:
    """A warning blocks nothing yet."""
    if (alarms := unit.state.alarms) is None:
        return None
    return any(alarm.condition in _COLD and alarm.severity >= Severity.PROTECTION for alarm in alarms)


def _balancing(unit: LfpUnit, _: bool | None) -> bool | None:
    cells = unit.state.balancing_cells
    return None if cells is None else bool(cells)


def _balancing_attributes(unit: LfpUnit) -> dict[str, Any]:
    return {"cells": sorted(unit.state.balancing_cells or ())}


BINARY_SENSORS: tuple[LfpBinarySensorDescription, ...] = (
    LfpBinarySensorDescription(
        key="battery_low",
        translation_key="battery_low",
        device_class=BinarySensorDeviceClass.BATTERY,
        needs=("soc",),
        value_fn=_battery_low,
    ),
    LfpBinarySensorDescription(
        key="charging",
        device_class=BinarySensorDeviceClass.BATTERY_CHARGING,
        needs=("current",),
        value_fn=_charging,
        hold=_CHARGING_HOLD,
    ),
    LfpBinarySensorDescription(
        key="problem",
        translation_key="problem",
        device_class=BinarySensorDeviceClass.PROBLEM,
        exists_fn=lambda unit: _speaks_of_alarms(unit) or packs_tell(unit, "alarms"),
        value_fn=_problem,
        attributes_fn=_problem_attributes,
    ),
    LfpBinarySensorDescription(
        key="charge_allowed",
        translation_key="charge_allowed",
        needs=("charge_enabled",),
        value_fn=_flag("charge_enabled"),
    ),
    LfpBinarySensorDescription(
        key="discharge_allowed",
        translation_key="discharge_allowed",
        needs=("discharge_enabled",),
        value_fn=_flag("discharge_enabled"),
    ),
    LfpBinarySensorDescription(
        key="heater",
        translation_key="heater",
        device_class=BinarySensorDeviceClass.RUNNING,
        needs=("heater_active",),
        value_fn=_flag("heater_active"),
    ),
    LfpBinarySensorDescription(
        key=HEATING,
        translation_key=HEATING,
        # where it can be changed it is a switch
        exists_fn=lambda unit: "heating_enabled" in unit.record.fields and not unit.controls_heating,
        value_fn=_flag("heating_enabled"),
    ),
    LfpBinarySensorDescription(
        key="charging_blocked_by_cold",
        translation_key="charging_blocked_by_cold",
        exists_fn=lambda unit: _speaks_of_alarms(unit) and not unit.conditions.isdisjoint(_COLD),
        value_fn=_blocked_by_cold,
    ),
    LfpBinarySensorDescription(
        key="connectivity",
        device_class=BinarySensorDeviceClass.CONNECTIVITY,
        entity_category=EntityCategory.DIAGNOSTIC,
        exists_fn=_tells_anything,
        available_fn=always,
        value_fn=lambda unit, _: unit.online,
    ),
    LfpBinarySensorDescription(
        key="safe_to_act",
        translation_key="safe_to_act",
        exists_fn=_tells_anything,
        available_fn=always,
        value_fn=_safe_to_act,
    ),
    LfpBinarySensorDescription(
        key="recharge_due",
        translation_key="recharge_due",
        entity_category=EntityCategory.DIAGNOSTIC,
        exists_fn=has_recharge_rule,
        available_fn=always,  # a battery that is stored is asleep
        value_fn=lambda unit, _: unit.upkeep.due(unit.clock.utc()),
        attributes_fn=_recharge,
    ),
    LfpBinarySensorDescription(
        key="calibration_advised",
        translation_key="calibration_advised",
        entity_category=EntityCategory.DIAGNOSTIC,
        exists_fn=lambda unit: unit.settings.calibrates and stands_for_itself(unit),
        available_fn=always,
        value_fn=lambda unit, _: unit.upkeep.calibration_advised,
    ),
    LfpBinarySensorDescription(
        key="balancing",
        translation_key="balancing",
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        needs=("balancing_cells",),
        value_fn=_balancing,
        attributes_fn=_balancing_attributes,
    ),
    *(
        LfpBinarySensorDescription(
            key=name,
            translation_key=name,
            entity_category=EntityCategory.DIAGNOSTIC,
            entity_registry_enabled_default=False,
            needs=(name,),
            value_fn=_flag(name),
        )
        for name in ("force_charge_requested", "full_charge_requested")
    ),
)

LINK = LfpBinarySensorDescription(
    key="link",
    translation_key="link",
    device_class=BinarySensorDeviceClass.CONNECTIVITY,
    entity_category=EntityCategory.DIAGNOSTIC,
    exists_fn=lambda _: True,
    available_fn=always,
    value_fn=lambda unit, _: isinstance(unit, LfpBankCoordinator) and unit.heard,
)


def _condition(key: Condition) -> LfpBinarySensorDescription:
    """The sensor of one condition, or of those that are folded into one."""
    meant = _FOLDED.get(key, frozenset({key}))
    folding = next((folded for folded in _FOLDED.values() if key in folded and meant != folded), None)

    def active(unit: LfpUnit) -> list[Alarm]:
        return [alarm for alarm in unit.state.alarms or () if alarm.condition in meant]

    def exists(unit: LfpUnit) -> bool:
        known = unit.conditions
        if not _speaks_of_alarms(unit) or known.isdisjoint(meant):
            return False
        return folding is None or len(known & folding) > 1  # alone, it is the folded one already

    def attributes(unit: LfpUnit) -> dict[str, Any]:
        alarms = active(unit)
        worst = _worst(alarms)
        found: dict[str, Any] = {"severity": worst.value if worst else None}
        if cells := sorted({alarm.cell for alarm in alarms if alarm.cell is not None}):
            found["cells"] = cells
        return found

    return LfpBinarySensorDescription(
        key=key.value,
        translation_key=key.value,
        device_class=BinarySensorDeviceClass.PROBLEM,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=key in _ON_BY_DEFAULT,
        exists_fn=exists,
        value_fn=lambda unit, _: None if unit.state.alarms is None else bool(active(unit)),
        attributes_fn=attributes,
    )


CONDITIONS: tuple[LfpBinarySensorDescription, ...] = tuple(_condition(key) for key in Condition)
