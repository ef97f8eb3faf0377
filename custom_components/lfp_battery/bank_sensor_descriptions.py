"""What sensors only a bank has: packs that answer, how far they are apart, what all of them hold."""

from typing import Any

from homeassistant.components.sensor import SensorDeviceClass, SensorStateClass
from homeassistant.const import EntityCategory, UnitOfElectricPotential, UnitOfEnergy

from .coordinator import LfpBankCoordinator, LfpUnit
from .sensor_descriptions import PERCENT, LfpSensorDescription, field, link_up, measurement
from .unit_figures import full, tells_full


def _packs_online(unit: LfpUnit) -> int | None:
    return unit.packs_online if isinstance(unit, LfpBankCoordinator) else None


def _missing(unit: LfpUnit) -> dict[str, Any]:
    """How many packs are known, and which of them do not answer: what makes totals unknown."""
    packs = [unit.packs[address] for address in sorted(unit.packs)] if isinstance(unit, LfpBankCoordinator) else []
    return {"known": len(packs), "missing": [pack.number for pack in packs if not pack.online]}


def _has_packs(unit: LfpUnit) -> bool:
    """Where the bank speaks for itself nobody counts packs, unless they are heard beside it."""
    return isinstance(unit, LfpBankCoordinator) and (bool(unit.packs) or not unit.speaks)


def packs_tell(unit: LfpUnit, name: str) -> bool:
    """Whether two packs or more of a bank have reported a field of the model: only then they can be compared."""
    if not isinstance(unit, LfpBankCoordinator):
        return False
    return sum(name in pack.record.fields for pack in unit.packs.values()) > 1


def _spread(unit: LfpUnit, name: str, digits: int) -> float | None:
    spread: float | None = getattr(unit.figures, f"{name}_spread") if isinstance(unit, LfpBankCoordinator) else None
    return None if spread is None else round(spread, digits)


BANK_SENSORS: tuple[LfpSensorDescription, ...] = (
    LfpSensorDescription(
        key="packs_online",
        translation_key="packs_online",
        state_class=SensorStateClass.MEASUREMENT,
        entity_category=EntityCategory.DIAGNOSTIC,
        exists_fn=_has_packs,
        value_fn=_packs_online,
        available_fn=link_up,
        attributes_fn=_missing,
    ),
    measurement(
        "full_energy",
        SensorDeviceClass.ENERGY_STORAGE,
        UnitOfEnergy.KILO_WATT_HOUR,
        2,
        translation_key="full_energy",
        exists_fn=tells_full,
        value_fn=full,
        change=0.01,
    ),
    # no device class: whatever is a battery's level for automations has one
    measurement(
        "soc_spread",
        None,
        PERCENT,
        0,
        translation_key="soc_spread",
        exists_fn=lambda unit: packs_tell(unit, "soc"),
        value_fn=lambda unit: _spread(unit, "soc", 1),
        change=0.5,
    ),
    measurement(
        "voltage_spread",
        SensorDeviceClass.VOLTAGE,
        UnitOfElectricPotential.VOLT,
        2,
        translation_key="voltage_spread",
        exists_fn=lambda unit: packs_tell(unit, "voltage"),
        value_fn=lambda unit: _spread(unit, "voltage", 3),
        change=0.05,
    ),
    *(
        LfpSensorDescription(
            key=name,
            translation_key=name,
            state_class=SensorStateClass.MEASUREMENT,
            entity_category=EntityCategory.DIAGNOSTIC,
            entity_registry_enabled_default=name == "modules_online",
            # where packs are heard one by one they are counted already
            default_fn=(lambda unit: not _has_packs(unit)) if name == "modules_online" else None,
            needs=(name,),
            value_fn=field(name),
        )
        for name in ("modules", "modules_online", "modules_charge_blocked", "modules_discharge_blocked")
    ),
)
