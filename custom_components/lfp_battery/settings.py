"""What a person has decided about one link, with the manual's figures where nothing was decided."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from . import heating
from .bms.catalog import Recharge, Supply
from .bms.physics import Limits
from .const import (
    CONF_ACKNOWLEDGE,
    CONF_ALLOW_HEATING,
    CONF_HOLD,
    CONF_INTERVAL,
    CONF_INVERT_CURRENT,
    CONF_LOW_BATTERY,
    CONF_OBSERVE,
    CONF_PACK_COUNT,
    CONF_SOC_FLOOR,
    DEFAULT_LOW_BATTERY,
    DEFAULT_SOC_FLOOR,
)
from .estimate import Rating
from .findings import chosen_model, family_of, is_unverified, reported_model, supply_of


def observes(data: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether an entry only listens: because somebody else asks on its line, or because the person wants it so."""
    return bool(options.get(CONF_OBSERVE) or data.get(CONF_OBSERVE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options and rating, ready to be used."""

    interval: float | None  # s; None: automatic
    invert_current: bool
    soc_floor: float  # %
    low_battery: float  # %
    rating: Rating
    limits: Limits | None  # what readings are held against
    observe: bool = False  # nothing is ever sent
    acknowledge: bool = False  # on CAN
    allow_heating: bool = False  # as the person decided, unless it was withdrawn since
    hold: bool = True  # over Bluetooth: the connection is kept between readings
    packs: int | None = None  # in the bank, as the person counted them
    capacity: float | None = None  # Ah, of one pack by its manual
    manufacturer: str | None = None  # as chosen from the catalog
    model: str | None = None
    # by the manual of the family; None where it is silent, or nobody knows whose manual counts
    recharge: Recharge | None = None  # how often a pack that is not used wants to be charged
    supply: Supply | None = None  # ... and with what
    calibrates: bool = False  # it tells how to set a state of charge right that has drifted
    apart: float | None = None  # V that idle packs may differ by before they are joined
    most_packs: int | None = None  # in parallel

    @classmethod
    def of(cls, data: Mapping[str, Any], options: Mapping[str, Any]) -> Self:
        """Read an entry's data and options."""
        family, chosen = chosen_model(data, options) or (None, None)
        model = chosen or reported_model(data)  # the manual of the model that was chosen, else of the reported one
        manual = family_of(data, options)
        return cls(
            interval=options.get(CONF_INTERVAL),
            invert_current=options.get(CONF_INVERT_CURRENT, False),
            soc_floor=options.get(CONF_SOC_FLOOR, DEFAULT_SOC_FLOOR),
            low_battery=options.get(
                CONF_LOW_BATTERY, DEFAULT_LOW_BATTERY if manual is None or manual.low_soc is None else manual.low_soc
            ),
            rating=Rating(
                voltage=model.nominal_voltage, usable_energy=model.usable_energy, capacity=model.nominal_capacity
            )
            if model
            else Rating(),
            limits=model.limits if model else None,
            observe=observes(data, options),
            acknowledge=bool(options.get(CONF_ACKNOWLEDGE)),
            allow_heating=bool(options.get(CONF_ALLOW_HEATING)) and not any(heating.withdrawn(data)),
            hold=options.get(CONF_HOLD, True),
            packs=options.get(CONF_PACK_COUNT),
            capacity=model.nominal_capacity if model else None,
            manufacturer=family.manufacturer if family else None,
            model=_shown(chosen.name, is_unverified(data, options)) if chosen else None,
            recharge=manual.recharge if manual else None,
            supply=supply_of(data, options),
            calibrates=manual is not None and manual.calibrates,
            apart=manual.voltage_apart if manual else None,
            most_packs=manual.max_parallel if manual else None,
        )


def _shown(model: str, unverified: bool) -> str:
    """The model as the device shows it; what nobody has tried says so wherever it is looked at."""
    return f"{model} (unverified)" if unverified else model
