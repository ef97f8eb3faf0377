"""A real Home Assistant in this process, on simulated time, with a simulated bank at the other end of a line.

It is built by core's own bootstrap from files on disk, with its own recorder on a SQLite file, and loads the integration
and its entry as after any start. In place of a serial port there is the simulator's line, in place of the machine's
clock the simulated one; nothing else is replaced.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
import logging
from pathlib import Path
import socket
from typing import Any, override

from homeassistant import bootstrap, config as conf_util, config_entries, loader
from homeassistant.components.recorder import get_instance
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.util.executor import InterruptibleThreadPoolExecutor

from custom_components.lfp_battery import connect
from custom_components.lfp_battery.bms.clock import Clock, SystemClock
from custom_components.lfp_battery.bms.transports import ByteTransport
from custom_components.lfp_battery.config_flow import LfpBatteryConfigFlow
from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_BAUDRATE, CONF_PACKS, DOMAIN
from tests.simulator.bank import Profile, SimBank, make_packs
from tests.simulator.bus import Bus
from tests.simulator.faults import Faults
from tests.simulator.line import MemoryPort
from tests.simulator.pylon import PylonSpeaker

from .home import HOST, Home
from .simulated_time import SimulatedTime, loop_factory

COMPONENT = Path(__file__).parents[1] / "custom_components" / DOMAIN
ENTRY = "0123456789abcdef0123456789abcdef"
BAUDRATE = 9600
# Bytes are passed on once an answer has ended: what comes in pieces is tried elsewhere, and costs a round of the event loop
# each.
_WHOLE_ANSWERS = 10.0
_CATCH_UP = 30.0  # s of simulated time after which it is waited for the recorder
_WORKERS = 64  # as homeassistant.runner has them


class SimulatedClock(SystemClock):
    """What code below Home Assistant knows of a simulated time; `origin` is what its monotonic clock begins at."""

    def __init__(self, shared: SimulatedTime, origin: float = 0.0) -> None:
        """As after a start of the machine, which sets that clock to anything."""
        self._shared = shared
        self._origin = origin

    @override
    def monotonic(self) -> float:
        return self._shared.now + self._origin

    @override
    def utc(self) -> datetime:
        return self._shared.utc()


class InnerHome:
    """Home Assistant, its files, the bank and the line; survives any number of starts and stops."""

    def __init__(
        self,
        shared: SimulatedTime,
        directory: Path,
        *,
        packs: int,
        profile: Profile,
        faults: Faults | None = None,
        start_hour: float = 0.0,
    ) -> None:
        """Make files and bank; `shared` must have taken over this process."""
        self.shared = shared
        clock = SimulatedClock(shared)
        self.bank = SimBank(make_packs(packs), clock, profile=profile, start_hour=start_hour)
        self.bus = Bus(PylonSpeaker(self.bank), clock, baudrate=BAUDRATE, faults=faults)
        self._port = MemoryPort(self.bus, chunk=_WHOLE_ANSWERS)
        self._starts = 0
        with socket.create_server((HOST, 0)) as free:
            port = free.getsockname()[1]
        self.home = Home(directory=directory / "config", port=port)
        self.home.lay_out([COMPONENT])
        self.home.log.unlink(missing_ok=True)
        self.home.store(
            config_entries.STORAGE_KEY,
            config_entries.STORAGE_VERSION,
            config_entries.STORAGE_VERSION_MINOR,
            {"entries": [self._entry()]},
        )

    def _entry(self) -> dict[str, Any]:
        """What the config flow leaves behind."""
        now = self.shared.utc().isoformat()
        data = {
            "device": "/dev/ttyBANK",
            "protocol": "pylon-rs485",
            CONF_BAUDRATE: BAUDRATE,
            CONF_ADDRESSES: sorted(self.bank.packs),
            CONF_PACKS: {},
        }
        return {
            "entry_id": ENTRY,
            "domain": DOMAIN,
            "title": "Bank",
            "unique_id": None,
            "source": "user",
            "version": LfpBatteryConfigFlow.VERSION,
            "minor_version": LfpBatteryConfigFlow.MINOR_VERSION,
            "data": data,
            "options": {},
            "subentries": [],
            "discovery_keys": {},
            "created_at": now,
            "modified_at": now,
            "disabled_by": None,
            "pref_disable_new_entities": False,
            "pref_disable_polling": False,
        }

    @property
    def database(self) -> Path:
        """The recorder's file."""
        return self.home.directory / "home-assistant_v2.db"

    # --- one life of it ----------------------------------------------------------------------------------------------

    def run[T](self, work: Callable[[HomeAssistant], Awaitable[T]]) -> T:
        """Start Home Assistant on an event loop of its own, do `work` in it, and stop it in order."""
        with self._logged(), self._wired(), asyncio.Runner(loop_factory=loop_factory(self.shared)) as runner:
            return runner.run(self._live(work))

    @contextmanager
    def _logged(self) -> Iterator[None]:
        """Keep what is complained of where `Home.complaints` looks for it."""
        handler = logging.FileHandler(self.home.log)
        handler.setLevel(logging.WARNING)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s [%(name)s] %(message)s"))
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            handler.close()

    @contextmanager
    def _wired(self) -> Iterator[None]:
        """Put line and clock where `connect` would open a port and read the machine's."""
        self._starts += 1
        clock = SimulatedClock(self.shared, origin=1e6 / self._starts)  # another one after each start

        def open_line(hass: HomeAssistant, url: str) -> Callable[[int], ByteTransport]:
            return self._port.open_line

        def clock_of(hass: HomeAssistant) -> Clock:
            return clock

        kept = connect.open_line, connect.clock
        connect.open_line, connect.clock = open_line, clock_of
        try:
            yield
        finally:
            connect.open_line, connect.clock = kept

    async def _live[T](self, work: Callable[[HomeAssistant], Awaitable[T]]) -> T:
        asyncio.get_running_loop().set_default_executor(InterruptibleThreadPoolExecutor(max_workers=_WORKERS))
        hass = HomeAssistant(str(self.home.directory))
        loader.async_setup(hass)
        hass.config.skip_pip = True
        config = await conf_util.async_hass_config_yaml(hass)
        if await bootstrap.async_from_config_dict(config, hass) is None:
            raise RuntimeError("Home Assistant did not come up")
        await hass.async_start()
        try:
            while hass.state is not CoreState.running:
                await asyncio.sleep(0.1)
            await self.recorded(hass)
            entry = hass.config_entries.async_get_known_entry(ENTRY)
            if entry.state is not config_entries.ConfigEntryState.LOADED:
                raise RuntimeError(f"the entry is not loaded ({entry.state}): {self.home.complaints()}")
            return await work(hass)
        finally:
            await hass.async_stop()

    async def recorded(self, hass: HomeAssistant) -> None:
        """Wait, without time passing, until everything is in the database."""
        with self.shared.held():
            await get_instance(hass).async_block_till_done()

    async def pass_time(self, hass: HomeAssistant, seconds: float) -> None:
        """Let simulated time pass, and let the recorder keep up with it."""
        end = self.shared.now + seconds
        with self.shared.hurried():
            while (left := end - self.shared.now) > 0:
                await asyncio.sleep(min(_CATCH_UP, left))
                await self.recorded(hass)


def entities(hass: HomeAssistant) -> list[er.RegistryEntry]:
    """Every entity of ours, disabled ones included."""
    return er.async_entries_for_config_entry(er.async_get(hass), ENTRY)


def devices(hass: HomeAssistant) -> list[dr.AnyDeviceEntry]:
    """Every device of ours."""
    return list(dr.async_entries_for_config_entry(dr.async_get(hass), ENTRY))


def kinds(hass: HomeAssistant) -> dict[str, str]:
    """What each enabled entity shows: its key, with the bank's told from the packs'."""
    identities = {
        device.id: identifier
        for device in devices(hass)
        for domain, identifier in device.identifiers
        if domain == DOMAIN
    }
    found = {}
    for entry in entities(hass):
        identity = identities[entry.device_id or ""]
        key = f"{entry.domain}.{entry.unique_id.removeprefix(f'{identity}_')}"
        if entry.disabled_by is None:
            found[entry.entity_id] = f"bank {key}" if identity == ENTRY else key
    return found
