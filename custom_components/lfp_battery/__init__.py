"""LiFePO4 packs as devices: the life of a config entry, and nothing else."""

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_DEVICE, Platform
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import (
    ConfigEntryError,
    ConfigEntryNotReady,
    HomeAssistantError,
    UnsupportedStorageVersionError,
)
from homeassistant.helpers import config_validation as cv, device_registry as dr

from . import connect, memory, radio, second_link
from .bms.errors import LinkError, LinkProblem
from .const import CONF_ADDRESSES, CONF_PACKS, DOMAIN
from .entity import async_take_away_other
from .findings import speaks_for_packs
from .heating import async_note_acts
from .identity import Record
from .link import LfpConfigEntry, LfpLink, async_keep
from .link_texts import link_problem

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)
PLATFORMS = [Platform.BINARY_SENSOR, Platform.SENSOR, Platform.SWITCH]

# No amount of trying again opens these; the person must change the address.
_HOPELESS = frozenset({LinkProblem.BAD_ADDRESS, LinkProblem.CREDENTIALS})


async def async_setup_entry(hass: HomeAssistant, entry: LfpConfigEntry) -> None:
    """Open the link and put the packs behind it into the home."""
    link = LfpLink(hass, entry, connect.clock(hass))
    try:
        client = connect.create_client(hass, entry, link)
        await link.async_start(client)
    except LinkError as err:
        kind = ConfigEntryError if err.problem in _HOPELESS else ConfigEntryNotReady
        raise kind(**link_problem(hass, entry, err)) from err
    except UnsupportedStorageVersionError as err:  # nothing may be written over what a later version knows
        told = {"name": entry.title, "path": memory.path(hass, entry.entry_id)}
        raise ConfigEntryError(
            translation_domain=DOMAIN, translation_key="memory_of_later_version", translation_placeholders=told
        ) from err
    entry.runtime_data = link
    for pack in link.packs.values():
        async_take_away_other(hass, pack)
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)


async def async_unload_entry(hass: HomeAssistant, entry: LfpConfigEntry) -> None:
    """Take the entities away; the link closes with the entry's background task."""
    await hass.config_entries.async_unload_platforms_or_raise(entry, PLATFORMS)
    # also of an act that is still being read back: the next client begins with what is noted now
    if (control := entry.runtime_data.client.heating) is not None:
        for address in entry.runtime_data.packs:
            async_note_acts(hass, entry, address, control)
    await entry.runtime_data.memory.async_close()


async def async_remove_entry(hass: HomeAssistant, entry: LfpConfigEntry) -> None:
    """Nothing of it is kept; a pack that can be set up again over Bluetooth is offered again, whoever had added it."""
    second_link.async_forget(hass, entry.entry_id)
    if (link := getattr(entry, "runtime_data", None)) is not None:  # it could not be unloaded
        link.memory.async_stop()
    await memory.async_remove(hass, entry.entry_id)
    if (address := radio.address_of(entry.data[CONF_DEVICE])) is not None:
        radio.offer_again(hass, address)


async def async_remove_config_entry_device(
    hass: HomeAssistant, entry: LfpConfigEntry, device: dr.AnyDeviceEntry
) -> bool:
    """Forget a pack that is gone; one that still answers stays, and so does the bank.

    Refusing by exception is what lets the person read why.
    """
    identifiers = {identifier for domain, identifier in device.identifiers if domain == DOMAIN}
    name = device.name_by_user or device.name or ""
    if entry.entry_id in identifiers:
        raise _refusal("bank_stays", name)
    if entry.state is ConfigEntryState.LOADED:
        if not entry.runtime_data.async_forget(identifiers):
            raise _refusal("pack_answers", name)
        return True
    packs = {
        address: record
        for address, record in entry.data.get(CONF_PACKS, {}).items()
        if Record.from_mapping(record).identity(entry.entry_id, int(address)) not in identifiers
    }
    gone = {int(address) for address in entry.data.get(CONF_PACKS, {})} - {int(address) for address in packs}
    addresses = [address for address in entry.data[CONF_ADDRESSES] if address not in gone]
    kept = {**entry.data, CONF_PACKS: packs}
    if addresses and not speaks_for_packs(entry.data):  # without any nobody would ever be asked again
        kept[CONF_ADDRESSES] = addresses
    async_keep(hass, entry, kept)
    return True


def _refusal(key: str, name: str) -> HomeAssistantError:
    return HomeAssistantError(translation_domain=DOMAIN, translation_key=key, translation_placeholders={"name": name})
