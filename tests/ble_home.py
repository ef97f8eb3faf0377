"""A real Home Assistant that reads one simulated pack over Bluetooth, without a radio and on the test clock."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import Context, HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.lfp_battery import connect, radio
from custom_components.lfp_battery.bms.gatt_profile import GattProfile
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.transports import ByteTransport, GattTransport
from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_ALLOW_HEATING, CONF_BAUDRATE, CONF_PACKS, DOMAIN
from tests.home import Home
from tests.simulator.bank import SimBank
from tests.simulator.bus import Bus
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.zeta import VLRV, ZetaSpeaker

MAC = "A4:C1:37:01:02:03"
NAME = "ZT-25.6V100Ah-0207"
# What a status answer of the current generation brings when it is read for the first time.
_FIRST_SEEN = {"fields": ["alarms", "heating_enabled", "soc", "voltage"]}


class GattLine:
    """The in-memory line as a connection: what it carries is no different, what it has is a profile."""

    def __init__(self, line: ByteTransport, profile: GattProfile) -> None:
        """Connect to whatever speaks on `line`, once it is opened."""
        self._line = line
        self.profile: GattProfile | None = profile
        self.name = NAME
        self.baudrate = line.baudrate

    async def open(self) -> None:
        """See `ByteTransport`."""
        await self._line.open()

    async def close(self) -> None:
        """See `ByteTransport`."""
        await self._line.close()

    async def send(self, data: bytes) -> None:
        """See `ByteTransport`."""
        await self._line.send(data)

    async def receive(self, timeout: float) -> bytes:
        """See `ByteTransport`."""
        return await self._line.receive(timeout)

    def drain(self) -> bytes:
        """See `ByteTransport`."""
        return self._line.drain()


class BleHome(Home):
    """One config entry, the pack in the air, and the clock that both live by."""

    pack: ZetaSpeaker

    def __init__(self, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the simulated pack where `connect` would look for a real one."""
        super().__init__(hass, monkeypatch)
        self.wanted: list[str] = []  # addresses that were asked for

        def open_gatt(
            hass: HomeAssistant, address: str, profiles: Sequence[GattProfile]
        ) -> Callable[[], GattTransport]:
            self.wanted.append(address)
            return lambda: GattLine(self.bus.open_line(self.bus.baudrate), profiles[0])

        monkeypatch.setattr(connect, "open_gatt", open_gatt)

    def put_up(
        self,
        spec: PackSpec = VLRV,
        *,
        protocol: str = "zeta-1006",
        heating: bool = False,
        allow: bool = True,
        seen: bool = True,
        title: str = NAME,
        options: Mapping[str, Any] | None = None,
        **data: Any,
    ) -> None:
        """Hang a pack in the motor home and add an entry for it, as the config flow would.

        `allow`: Home Assistant may switch the heating. `seen`: the flow had read the pack, as it always has.
        """
        generation = protocol.removeprefix("zeta-")
        self.bank = SimBank({1: SimPack(spec)}, self.clock)
        self.pack = ZetaSpeaker(self.bank, generation=generation, heating=heating)
        self.bus = Bus(self.pack, self.clock, baudrate=2667, turnaround=0.1, name=NAME)
        assert protocol in POLLED
        self.entry = MockConfigEntry(
            domain=DOMAIN,
            title=title,
            entry_id="0123456789abcdef0123456789abcdef",
            unique_id=MAC,
            data={
                CONF_DEVICE: radio.device_of(MAC),
                CONF_PROTOCOL: protocol,
                CONF_BAUDRATE: None,
                CONF_ADDRESSES: [1],
                CONF_PACKS: {"1": {"identifier": MAC, **(_FIRST_SEEN if seen else {})}},
                **data,
            },
            options={CONF_ALLOW_HEATING: allow, **(options or {})},
        )
        self.entry.add_to_hass(self.hass)

    async def turn(self, key: str, on: bool, *, context: Context | None = None) -> None:
        """Turn a switch as a person does; what Home Assistant raises is raised here."""
        address = None if key == "pause" else 1
        await self.drive(
            self.hass.services.async_call(
                "switch",
                "turn_on" if on else "turn_off",
                {"entity_id": self.entity_id(address, key)},
                blocking=True,
                context=context,
            )
        )

    async def reload(self, *, options: Mapping[str, Any] | None = None) -> None:
        """Load the entry anew, with other options if any are given."""
        if options is not None:
            self.hass.config_entries.async_update_entry(self.entry, options=dict(options))
        await self.drive(self.hass.config_entries.async_reload(self.entry.entry_id))
        assert self.entry.state is ConfigEntryState.LOADED
