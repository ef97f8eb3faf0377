"""What Home Assistant has recorded of the energy, where the two directions change their names.

Long-term statistics take a total that falls for a meter that began anew, and one that jumps for energy: a swap of two
totals would add all that was ever counted once more on each side. So what was recorded is swapped with them.
"""

from collections.abc import Iterable
from typing import Final
from uuid import uuid4

from homeassistant.components.sensor import DOMAIN as SENSOR_DOMAIN
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import DATA_INSTANCE

from .const import DOMAIN

_KEYS: Final = ("energy_charged", "energy_discharged")


@callback
def async_exchange(hass: HomeAssistant, identities: Iterable[str]) -> None:
    """Give what was recorded of the energy charged to the energy discharged, and the other way round.

    To be called while neither has a state of its own: what is recorded from now on belongs to the new name. One that is
    disabled, or was never recorded, gives nothing and takes all. Only what is recorded is renamed, the entities and
    what a person set of them stay as they are.
    """
    if (recorder := hass.data.get(DATA_INSTANCE)) is None:
        return  # nothing is recorded
    registry = er.async_get(hass)
    for identity in identities:
        charged, discharged = (
            registry.async_get_entity_id(SENSOR_DOMAIN, DOMAIN, f"{identity}_{key}") for key in _KEYS
        )
        if charged is None or discharged is None:
            continue
        # never in use, so that nothing is in the way: the recorder does not rename to what it knows
        aside = f"{SENSOR_DOMAIN}.{DOMAIN}_{uuid4().hex}"
        for old, new in ((charged, aside), (discharged, charged), (aside, discharged)):
            # as after a renaming in the registry (components/recorder/entity_registry.py); done in the order of its queue
            recorder.async_update_statistics_metadata(old, new_statistic_id=new)
            recorder.async_update_states_metadata(old, new_entity_id=new)
