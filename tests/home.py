"""A real Home Assistant at one end of a simulated line and a simulated bank at the other."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
import logging
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.lfp_battery import connect
from custom_components.lfp_battery.bms.clock import Clock, DrivenClock
from custom_components.lfp_battery.bms.transports import ByteTransport
from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_BAUDRATE, CONF_PACKS, DOMAIN
from custom_components.lfp_battery.link import LfpLink
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.bus import Bus
from tests.simulator.pack import SimPack
from tests.simulator.pylon import Profile, PylonSpeaker

PORT = "/dev/ttyBANK"
BAUDRATE = 9600
# The automatic interval and some: one whole cycle of a small bank, whenever it began.
CYCLE = 12.0


class Home:
    """One config entry, the bank behind it, and the clock that both live by."""

    def __init__(self, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the simulated line where `connect` would open a real one."""
        self.hass = hass
        self.clock = DrivenClock()
        self.bank: SimBank
        self.speaker: PylonSpeaker
        self.bus: Bus
        self.entry: MockConfigEntry

        def open_line(hass: HomeAssistant, url: str) -> Callable[[int], ByteTransport]:
            return self.bus.open_line

        def clock(hass: HomeAssistant) -> Clock:
            return self.clock

        monkeypatch.setattr(connect, "open_line", open_line)
        monkeypatch.setattr(connect, "clock", clock)

    def plug(
        self,
        packs: int | Mapping[int, SimPack] = 2,
        *,
        speaks: Profile = Profile.C,
        protocol: str = "pylon-rs485",
        options: Mapping[str, Any] | None = None,
        **data: Any,
    ) -> None:
        """Wire a bank to the port and add an entry for it, as the config flow would."""
        members = make_packs(packs) if isinstance(packs, int) else packs
        self.bank = SimBank(members, self.clock)
        self.speaker = PylonSpeaker(self.bank, speaks)
        self.bus = Bus(self.speaker, self.clock, baudrate=BAUDRATE)
        self.entry = MockConfigEntry(
            domain=DOMAIN,
            title="Bank",
            entry_id="0123456789abcdef0123456789abcdef",
            data={
                CONF_DEVICE: PORT,
                CONF_PROTOCOL: protocol,
                CONF_BAUDRATE: BAUDRATE,
                CONF_ADDRESSES: sorted(members),
                CONF_PACKS: {},
                **data,
            },
            options=dict(options or {}),
        )
        self.entry.add_to_hass(self.hass)

    # --- time --------------------------------------------------------------------------------------------------------

    async def start(self) -> bool:
        """Set the entry up; whether it loaded."""
        await self.drive(self.hass.config_entries.async_setup(self.entry.entry_id))
        return self.entry.state is ConfigEntryState.LOADED

    async def drive[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that waits for the bank, moving time on until it is done."""
        task = self.hass.async_create_task(work)
        await self._until(task)
        await self._rest()
        return await task

    async def _until(self, task: asyncio.Task[Any]) -> None:
        for _ in range(4000):
            if task.done():
                return
            await self.clock.advance(0.05)
            await asyncio.sleep(0.001)  # work in threads
        task.cancel()
        pytest.fail("the home waits for something that does not come")

    async def _rest(self) -> None:
        """Let Home Assistant finish; what it waits for may need the bank, so time may move on a little."""
        await self._until(asyncio.ensure_future(self.hass.async_block_till_done()))

    async def wait(self, seconds: float = CYCLE) -> None:
        """Let time pass."""
        await self.clock.advance(seconds)
        await self._rest()
        await self.clock.settle()

    async def quiet(self) -> None:
        """Let a cycle finish, so that what is sent next was asked for."""
        for _ in range(100):
            before = self.bus.request_count
            await self.wait(2)
            if self.bus.request_count == before:
                return
        pytest.fail("the line is never quiet")

    async def stop(self) -> None:
        """Unload whatever a test left loaded."""
        for entry in self.hass.config_entries.async_entries(DOMAIN):
            if entry.state is ConfigEntryState.LOADED:
                await self.drive(self.hass.config_entries.async_unload(entry.entry_id))

    @property
    def waits(self) -> int:
        """How many calls are due some time: timers, and tasks that sleep."""
        return sum(due.callback is not None for *_, due in self.clock._queue)

    async def update_entity(self, entity_id: str | list[str]) -> None:
        """Call `homeassistant.update_entity`."""
        assert await async_setup_component(self.hass, "homeassistant", {})
        await self.drive(
            self.hass.services.async_call("homeassistant", "update_entity", {"entity_id": entity_id}, blocking=True)
        )

    def speaker_silent(self, silent: bool) -> None:
        """Let every pack sleep, or wake them."""
        for pack in self.bank.packs.values():
            pack.silent = silent

    # --- what is seen ------------------------------------------------------------------------------------------------

    @property
    def link(self) -> LfpLink:
        """What the loaded entry holds."""
        link: LfpLink = self.entry.runtime_data
        return link

    def device(self, address: int) -> dr.DeviceEntry:
        """The device of the pack that is at an address now."""
        identity = self.link.packs[address].identity
        found = dr.async_get(self.hass).async_get_device_by_identifier((DOMAIN, identity), self.entry.entry_id)
        assert found is not None
        return found

    def bank_device(self) -> dr.DeviceEntry:
        """The device of the bank."""
        found = dr.async_get(self.hass).async_get_device_by_identifier(
            (DOMAIN, self.entry.entry_id), self.entry.entry_id
        )
        assert found is not None
        return found

    def entities(self, device: dr.DeviceEntry) -> dict[str, er.RegistryEntry]:
        """The registered entities of a device by their key, disabled ones included."""
        prefix = next(identifier for _, identifier in device.identifiers)
        found = er.async_entries_for_device(er.async_get(self.hass), device.id, include_disabled_entities=True)
        return {entry.unique_id.removeprefix(f"{prefix}_"): entry for entry in found}

    def entity_id(self, address: int | None, key: str) -> str:
        """The entity of a pack (None: of the bank) by its key."""
        device = self.bank_device() if address is None else self.device(address)
        return self.entities(device)[key].entity_id

    def state(self, address: int | None, key: str) -> State:
        """The state of an enabled entity."""
        found = self.hass.states.get(self.entity_id(address, key))
        assert found is not None, f"{key} of {address} has no state"
        return found

    def value(self, address: int | None, key: str) -> float:
        """A sensor's value as a number."""
        return float(self.state(address, key).state)

    def states(self, address: int) -> dict[str, str]:
        """Every enabled entity of a pack: its key and state."""
        found = {
            key: self.hass.states.get(entry.entity_id) for key, entry in self.entities(self.device(address)).items()
        }
        return {key: state.state for key, state in found.items() if state is not None}


def log_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Lines of ours that a person sees, since the last look."""
    lines = [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("custom_components.lfp_battery") and record.levelno >= logging.INFO
    ]
    caplog.clear()
    return lines
