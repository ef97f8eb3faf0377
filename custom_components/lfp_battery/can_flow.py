"""The part of the dialogs that is about a CAN bus: which adapter, whether it keeps quiet, and what was heard there.

Nothing is ever sent on a bus. What can do harm without a frame of ours is an adapter that takes part at the wrong bit
rate, so another rate than the one that was asked for is tried only where the adapter is sure to keep silent.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, override

from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigFlowResult
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.helpers.selector import (
    BooleanSelector,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)
from homeassistant.helpers.service_info.usb import UsbServiceInfo
import voluptuous as vol

from . import bus_texts, buses, connect
from .bms.discovery import Outcome, ScanReport
from .bms.errors import LinkError, LinkProblem
from .bms.protocols.can import CAN
from .bms.transports.can_address import CanAddress, Interface, Silence, parse_can_address
from .const import CONF_ACKNOWLEDGE, CONF_BAUDRATE
from .flow_texts import Failure
from .scan_flow import SPEED_AUTO, ScanFlow

# bit/s, likeliest first (can.md section 2).
_RATES: Final = (500_000, 250_000)


class CanFlow(ScanFlow):
    """Asks for a bus, and says what was heard there; the subclass leads there, and goes on once something was heard."""

    def __init__(self) -> None:
        """Begin as on a serial line."""
        super().__init__()
        self._on_can = False
        self._bus: CanAddress | None = None  # as it was asked for

    # --- choosing the bus --------------------------------------------------------------------------------------------

    @override
    async def async_step_usb(self, discovery_info: UsbServiceInfo) -> ConfigFlowResult:
        """An adapter was plugged in that can only be one for CAN: ask for the rest."""
        port = await connect.async_stable_path(self.hass, discovery_info.device)
        device = str(CanAddress(interface=Interface.SLCAN, channel=port))
        await self.async_set_unique_id(f"usb_{discovery_info.vid}:{discovery_info.pid}_{discovery_info.serial_number}")
        self._abort_if_unique_id_configured()  # that is: somebody chose to ignore it
        await self._async_abort_if_taken(device)
        self.context["title_placeholders"] = {"name": discovery_info.description or port}
        self._asked = {CONF_DEVICE: device}
        self._offers(device)
        return await self.async_step_can()

    async def async_step_can(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Choose the adapter, and say whether anybody else is on the bus."""
        return await self._async_bus_form("can", user_input, self._asked)

    async def async_step_reconfigure_can(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Choose another adapter or bit rate for the same battery."""
        self._abort_if_entry_removed()
        entry = self._get_reconfigure_entry()
        known = {
            CONF_DEVICE: entry.data[CONF_DEVICE],
            CONF_BAUDRATE: str(entry.data[CONF_BAUDRATE] or _RATES[0]),
            CONF_ACKNOWLEDGE: entry.options.get(CONF_ACKNOWLEDGE, False),
        }
        return await self._async_bus_form("reconfigure_can", user_input, self._asked or known)

    async def _async_bus_form(
        self, step_id: str, user_input: dict[str, Any] | None, suggested: Mapping[str, Any]
    ) -> ConfigFlowResult:
        self._on_can = True
        if user_input is not None:
            if (begun := await self._async_begin(user_input)) is not None:
                return begun
            suggested = user_input
        words = await self._async_words()
        found = await buses.async_find(self.hass)
        options = [
            SelectOptionDict(
                value=str(bus.address),
                label=words.text("bus", _state(bus), name=bus.name),
            )
            for bus in found
        ]
        rates = (*map(str, _RATES), SPEED_AUTO)
        fields = {
            vol.Required(CONF_DEVICE): SelectSelector(
                SelectSelectorConfig(options=options, custom_value=True, mode=SelectSelectorMode.DROPDOWN)
            ),
            vol.Required(CONF_BAUDRATE, default=str(_RATES[0])): SelectSelector(
                SelectSelectorConfig(
                    options=[SelectOptionDict(value=rate, label=rate) for rate in rates],
                    mode=SelectSelectorMode.DROPDOWN,
                    translation_key="bitrate",
                )
            ),
            vol.Required(CONF_ACKNOWLEDGE, default=False): BooleanSelector(),
        }
        return self._show_port_form(step_id, fields, {CONF_DEVICE: _preselected(found), **suggested})

    @override
    async def _async_address(self, typed: str) -> str | None:
        if not self._on_can:
            return await super()._async_address(typed)
        try:
            address = parse_can_address(typed)
        except LinkError as err:
            self._refuse(err.problem)
            return None
        if (port := connect.serial_port_of(str(address))) is not None:
            address = CanAddress(interface=address.interface, channel=await connect.async_stable_path(self.hass, port))
        self._bus = address
        if (reason := self._unsafe(address)) is not None:
            self._failed(reason, **bus_texts.commands(address))
            return None
        return str(address)

    @property
    def _acknowledges(self) -> bool:
        """As the person wants it."""
        return bool(self._asked.get(CONF_ACKNOWLEDGE, False))

    def _unsafe(self, address: CanAddress) -> str | None:
        """Why this must not be done, or cannot."""
        adapter = address.adapter
        if self._acknowledges and adapter.silence is Silence.OUTSIDE:
            return "acknowledge_outside"
        probes = adapter.sets_bitrate and self._asked.get(CONF_BAUDRATE) == SPEED_AUTO
        if adapter.silence is Silence.NEVER and not self._acknowledges:
            return "never_silent"
        if probes and adapter.silence is not Silence.ENSURED:
            return "rate_not_probed"
        if probes and self._acknowledges:
            return "rate_not_probed_aloud"
        return None

    # --- listening ---------------------------------------------------------------------------------------------------

    @override
    def _progress_action(self) -> str:
        return "on_bus" if self._on_can else super()._progress_action()

    @override
    def _progress_words(self) -> Mapping[str, str]:
        """Beside the bar say what is known in words, and nothing of what is not."""
        if self._bus is None or not self._on_can:
            return super()._progress_words()
        return {
            "device": str(self._bus),
            "rate": bus_texts.rate(self._shown.baudrate or self._rates(self._bus)[0], self._words),
            "recognised": bus_texts.recognised(self._shown.protocol, self._words),
        }

    @override
    async def _async_look(self, device: str) -> ScanReport:
        if not self._on_can:
            return await super()._async_look(device)
        assert self._bus is not None
        known = self._get_reconfigure_entry().data[CONF_PROTOCOL] if self.source == SOURCE_RECONFIGURE else None
        return await connect.async_listen_bus(
            self.hass,
            self._bus,
            self._progressed,
            rates=self._rates(self._bus),
            acknowledge=self._acknowledges,
            known=known,
        )

    def _rates(self, address: CanAddress) -> Sequence[int | None]:
        if not address.adapter.sets_bitrate:
            return (None,)
        asked = self._asked.get(CONF_BAUDRATE, str(_RATES[0]))
        return _RATES if asked == SPEED_AUTO else (int(asked),)

    @override
    def _failure_of(self, report: ScanReport) -> Failure | None:
        if not self._on_can:
            return super()._failure_of(report)
        assert self._bus is not None
        if report.outcome is Outcome.FOUND and report.protocol in CAN:
            # who acknowledges beside an inverter hides from it that its own frames do not arrive
            return bus_texts.not_alone(report, self._words) if self._acknowledges and report.inverter else None
        if report.outcome is Outcome.UNACKNOWLEDGED and report.baudrate in _RATES:
            # with the adapter told to acknowledge, as is advised, rates are not tried out any more
            self._asked = {**self._asked, CONF_BAUDRATE: str(report.baudrate)}
        return bus_texts.failure(report, self._bus, self._words, acknowledge=self._acknowledges)

    @override
    def _problem(self, problem: LinkProblem) -> Failure:
        return bus_texts.problem(problem, self._bus, self._words) if self._on_can else super()._problem(problem)

    # --- what was heard ----------------------------------------------------------------------------------------------

    def _more_words(self, report: ScanReport) -> dict[str, str]:
        """What a confirmation of this medium says besides what every other says."""
        if not self._on_can or self._bus is None:
            return {}
        return {
            "maker": bus_texts.maker(report, self._words),
            "inverter": bus_texts.inverter(report, self._words),
            "tells": bus_texts.tells(report, self._words),
            "silence": bus_texts.silence(self._bus, self._words, acknowledge=self._acknowledges),
            "rate": bus_texts.rate(report.baudrate, self._words),
        }

    def _more_fields(self) -> dict[Any, Any]:
        """What a confirmation of this medium asks besides what every other asks."""
        return {}

    def _more_options(self, user_input: Mapping[str, Any]) -> dict[str, Any]:
        """What was decided for the options of the entry."""
        return {CONF_ACKNOWLEDGE: True} if self._on_can and self._acknowledges else {}


def _preselected(found: Sequence[buses.FoundBus]) -> str:
    """What the form begins with: only what is sure to be for CAN, before all an interface that is up.

    Without a suggestion the frontend would take the first of the list, and commands for an adapter would go to a port
    that may lead to anything.
    """
    sure = sorted((bus for bus in found if bus.sure), key=lambda bus: not bus.up)
    return str(sure[0].address) if sure else ""


def _state(bus: buses.FoundBus) -> str:
    """How a bus is listed: by its kind, an interface also by whether it is up."""
    if bus.up is None:
        return bus.address.interface.value
    return "socketcan_up" if bus.up else "socketcan_down"
