"""What tests on real ports share: an entry, and patience by the clock on the wall."""

import asyncio
from collections.abc import Callable, Collection
import os
from pathlib import Path
import time

from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_BAUDRATE, CONF_PACKS, DOMAIN


async def until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for something to become true; how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def descriptors_of_ports() -> int:
    """How many terminals this process holds open."""
    return sum(os.path.realpath(path).startswith("/dev/pts/") for path in Path("/proc/self/fd").iterdir())


def add_entry(hass: HomeAssistant, device: str, baudrate: int, addresses: Collection[int]) -> MockConfigEntry:
    """An entry as the config flow would make it, not yet set up."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        title="Bank",
        data={
            CONF_DEVICE: device,
            CONF_PROTOCOL: "pylon-rs485",
            CONF_BAUDRATE: baudrate,
            CONF_ADDRESSES: list(addresses),
            CONF_PACKS: {},
        },
    )
    entry.add_to_hass(hass)
    return entry


def showing(hass: HomeAssistant, addresses: Collection[int]) -> int:
    """How many of these packs have a power that is not unavailable."""
    states = (hass.states.get(f"sensor.bank_pack_{address - 1}_power") for address in addresses)
    return sum(state is not None and state.state not in ("unavailable", "unknown") for state in states)
