"""A real Home Assistant that listens on a simulated CAN bus."""

from collections.abc import Callable
from typing import Any, override

from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.lfp_battery import connect
from custom_components.lfp_battery.bms.transports import CanTransport
from custom_components.lfp_battery.bms.transports.can_address import CanAddress
from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_BAUDRATE, CONF_PACKS, DOMAIN
from tests.flow_line import BUS
from tests.home import Home
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.can.bus import SimBus, SimPort
from tests.simulator.can.families import SETS, make_speaker
from tests.simulator.can.inverter import CanInverter
from tests.simulator.can.speaker import CanSpeaker

CYCLE = 6.0  # the interval on CAN and some


class CanHome(Home):
    """One config entry, the bus behind it, and the clock that both live by."""

    can: SimBus
    sender: CanSpeaker

    def __init__(self, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the simulated bus where `connect` would open a real one."""
        super().__init__(hass, monkeypatch)

        def open_bus(
            hass: HomeAssistant, address: CanAddress, *, acknowledge: bool
        ) -> Callable[[int | None], CanTransport]:
            return lambda bitrate: self.can.port(bitrate, silent=not acknowledge)

        monkeypatch.setattr(connect, "open_bus", open_bus)

    def plug_bus(
        self,
        sends: str = "pylon",
        *,
        packs: int = 2,
        inverter: str | None = "generic",
        device: str = BUS,
        options: dict[str, Any] | None = None,
        alone: bool = False,
        packs_known: dict[str, Any] | None = None,
        **data: Any,
    ) -> None:
        """Wire a battery to the bus and add an entry for it, as the config flow would."""
        self.bank = SimBank(make_packs(packs, first=1), self.clock)
        self.sender = make_speaker(sends, self.bank)
        self.can = SimBus(self.sender, clock=self.clock, alone=alone)
        if inverter is not None:
            self.can.add(CanInverter(inverter))
        self.entry = MockConfigEntry(
            domain=DOMAIN,
            title="Bank",
            entry_id="0123456789abcdef0123456789abcdef",
            data={
                CONF_DEVICE: device,
                CONF_PROTOCOL: SETS[sends].family,
                CONF_BAUDRATE: 500_000,
                CONF_ADDRESSES: [0],
                CONF_PACKS: packs_known or {},
                **data,
            },
            options=options or {},
        )
        self.entry.add_to_hass(self.hass)

    @property
    def port(self) -> SimPort:
        """The adapter that is open, or was last."""
        return next((port for port in reversed(self.can.ports) if port.is_open), self.can.ports[-1])

    def unplug(self) -> None:
        """Pull the adapter out."""
        for port in self.can.ports:
            port.unplug()

    def replug(self) -> None:
        """Put it back."""
        for port in self.can.ports:
            port.replug()

    def sent(self, name: str) -> Any:
        """What the bank said last of a field of the model."""
        return self.sender.ledger.latest(None)[name]

    @override
    async def quiet(self) -> None:
        """There is no quiet on a bus."""
        raise NotImplementedError
