"""Why a link cannot be used, in words for a person."""

from typing import Any, TypedDict

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_DEVICE
from homeassistant.core import HomeAssistant

from . import bus_texts, radio
from .bms.errors import LinkError, LinkProblem
from .bms.transports.can_address import CanAddress, Interface
from .const import CONF_BAUDRATE, DOMAIN
from .findings import on_can

# Of a link over Bluetooth these have other reasons than of a port, and other remedies.
_RADIO_PROBLEMS = frozenset({LinkProblem.MISSING, LinkProblem.UNREACHABLE, LinkProblem.FAILED})


class Problem(TypedDict):
    """The translated part of an exception."""

    translation_domain: str
    translation_key: str
    translation_placeholders: dict[str, str]


def link_problem(hass: HomeAssistant, entry: ConfigEntry[Any], err: LinkError) -> Problem:
    """Why the link cannot be used, in words; the port is named by the entry's title, which holds no credential."""
    if (radio_address := radio.address_of(entry.data[CONF_DEVICE])) is not None:
        place = "radio_" if err.problem in _RADIO_PROBLEMS else ""
        return {
            "translation_domain": DOMAIN,
            "translation_key": f"link_{place}{err.problem}",
            "translation_placeholders": {"link": entry.title, "reach": radio.unreachable(hass, radio_address)},
        }
    address = bus_texts.address_of(entry.data[CONF_DEVICE]) if on_can(entry.data) else None
    return {
        "translation_domain": DOMAIN,
        "translation_key": f"link_{_kind(err.problem, address)}",
        "translation_placeholders": {
            "link": entry.title,
            "package": bus_texts.package(address),
            **bus_texts.commands(address, bitrate=entry.data[CONF_BAUDRATE]),
        },
    }


def _kind(problem: LinkProblem, address: CanAddress | None) -> str:
    """An interface of the kernel may be missing for other reasons than a port."""
    if problem is LinkProblem.MISSING and address is not None and address.interface is Interface.SOCKETCAN:
        return "interface_missing"
    return problem.value
