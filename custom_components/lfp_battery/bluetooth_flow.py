"""The part of the dialogs that is about Bluetooth: who is in range, why somebody is not, and what a pack said of itself.

An advert only makes a candidate: names can be changed and other makers use the same service. What is set up has answered.
"""

from collections.abc import Mapping
from typing import Any, Final, override

from homeassistant.components.bluetooth import BluetoothServiceInfoBleak
from homeassistant.config_entries import ConfigFlowResult
from homeassistant.const import CONF_DEVICE, CONF_MODEL
from homeassistant.helpers.selector import (
    BooleanSelector,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)
import voluptuous as vol

from . import connect, radio
from .bms.discovery import Outcome, ScanReport
from .bms.errors import LinkProblem
from .can_flow import CanFlow
from .const import CONF_ALLOW_HEATING, CONF_UNVERIFIED
from .findings import (
    ABSENT,
    bluetooth_data,
    can_switch_heating,
    figures,
    is_unverified,
    models_for,
    plain,
    printable,
    suggested_model,
)
from .flow_texts import Failure

_PROBLEMS: Final[Mapping[LinkProblem, str]] = {
    LinkProblem.MISSING: "out_of_range",
    LinkProblem.UNREACHABLE: "no_connection",
    LinkProblem.NO_SLOT: "no_slot",
    LinkProblem.LOST: "connection_lost",
    LinkProblem.FOREIGN: "foreign_battery",
}

# From so many dBm on a signal is called by this name; a weaker one is weak.
_SIGNALS: Final = ((-65, "good"), (-80, "fair"))


class BluetoothFlow(CanFlow):
    """Asks for a pack in range and connects to it; the subclass leads there, and goes on once it has answered."""

    def __init__(self) -> None:
        """Begin as on a cable."""
        super().__init__()
        self._by_radio = False
        self._looked_around = False
        self._declined: set[str] = set()  # addresses at which this dialog found no pack
        self._advert: radio.Advert | None = None  # of the device that was asked for, as it was heard last

    # --- choosing the pack -------------------------------------------------------------------------------------------

    @override
    async def async_step_bluetooth(self, discovery_info: BluetoothServiceInfoBleak | None = None) -> ConfigFlowResult:
        """Ask whether a device that was heard is to be looked at; without one, somebody chose Bluetooth in the menu."""
        if discovery_info is None:
            return await self.async_step_bluetooth_pick()
        self._choose_radio()
        address = discovery_info.address.upper()
        await self.async_set_unique_id(address)
        self._abort_if_unique_id_configured(error="battery_already_configured")
        self._asked = {CONF_DEVICE: address}
        self._advert = radio.heard(discovery_info)
        self.context["title_placeholders"] = {"name": printable(self._advert.name) or address}
        return await self.async_step_bluetooth_confirm()

    async def async_step_bluetooth_confirm(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask before the pack's only connection is taken."""
        if user_input is not None and (begun := await self._async_begin(dict(self._asked))) is not None:
            return begun
        await self._async_words()
        return self._show_port_form("bluetooth_confirm", {}, {}, **self._device_words())

    async def async_step_bluetooth_pick(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """List what may be a pack, and take an address of one that is not in the list."""
        self._choose_radio()
        if user_input is not None and (begun := await self._async_begin(user_input)) is not None:
            return begun
        if not radio.has_adapter(self.hass):
            return self.async_abort(reason="no_bluetooth")
        if not self._looked_around:
            await radio.async_look_around(self.hass)
            self._looked_around = True
        known = self._async_current_ids(include_ignore=False)
        found = [one for one in radio.candidates(self.hass) if one.address not in known]
        options = [SelectOptionDict(value=one.address, label=_label(one)) for one in found]
        fields = {
            vol.Required(CONF_DEVICE): SelectSelector(
                SelectSelectorConfig(options=options, custom_value=True, mode=SelectSelectorMode.DROPDOWN)
            )
        }
        words = await self._async_words()
        likely = [one.address for one in found if one.likely and one.address not in self._declined]
        suggested = {CONF_DEVICE: likely[0] if len(likely) == 1 else "", **self._asked, **(user_input or {})}
        text = "packs_in_range" if likely else "others_in_range" if found else "no_pack_in_range"
        return self._show_port_form(
            "bluetooth_pick", fields, suggested, seen=words.text("advice", text, count=len(likely))
        )

    async def async_step_reconfigure_bluetooth(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Connect to the same pack anew, and take in what it is now."""
        self._abort_if_entry_removed()
        self._choose_radio()
        if user_input is not None and (begun := await self._async_begin(user_input)) is not None:
            return begun
        entry = self._get_reconfigure_entry()
        known = radio.address_of(entry.data[CONF_DEVICE]) or ""
        suggested = {CONF_DEVICE: known, **self._asked, **(user_input or {})}
        return self._show_port_form("reconfigure_bluetooth", {vol.Required(CONF_DEVICE): str}, suggested)

    def _choose_radio(self) -> None:
        self._by_radio = True
        self._taken = "pack_already_configured"

    @override
    async def _async_address(self, typed: str) -> str | None:
        if not self._by_radio:
            return await super()._async_address(typed)
        if (address := radio.tidy_address(typed)) is None:
            self._failed("bad_bluetooth_address")
            return None
        device = radio.device_of(address)
        self._advert = radio.advert(self.hass, address) or self._advert
        if self.context.get("entry_id") is not None and device != self._get_reconfigure_entry().data[CONF_DEVICE]:
            # nothing else that a pack says is its own
            self._failed("another_address", title=self._get_reconfigure_entry().title)
            return None
        return device

    # --- connecting --------------------------------------------------------------------------------------------------

    @override
    def _progress_action(self) -> str:
        return "over_bluetooth" if self._by_radio else super()._progress_action()

    @override
    def _progress_words(self) -> Mapping[str, str]:
        """Beside the bar name the pack as its owner does."""
        return self._device_words() if self._by_radio else super()._progress_words()

    @override
    async def _async_look(self, device: str) -> ScanReport:
        if (address := radio.address_of(device)) is None:
            return await super()._async_look(device)
        if radio.advert(self.hass, address) is None:
            await radio.async_look_around(self.hass)
        if self._advert is None or self._advert.address != address:
            self._advert = radio.advert(self.hass, address)
        return await connect.async_probe(self.hass, address, self._progressed)

    @override
    def _entry_data(self, report: ScanReport, device: str) -> dict[str, Any]:
        if (address := radio.address_of(device)) is None:
            return super()._entry_data(report, device)
        data = bluetooth_data(report, address)
        model = self._suggested_model(data)
        return {**data, CONF_UNVERIFIED: True} if is_unverified(data, {CONF_MODEL: model}) else data

    @override
    def _failure_of(self, report: ScanReport) -> Failure | None:
        if not self._by_radio:
            return super()._failure_of(report)
        if report.outcome is Outcome.FOUND and report.packs:
            return None
        if self._device is not None and (address := radio.address_of(self._device)) is not None:
            self._declined.add(address)
        return Failure(error="no_answer", capture=report.capture)

    @override
    def _problem(self, problem: LinkProblem) -> Failure:
        address = radio.address_of(self._device) if self._device is not None else None
        if address is None:
            return super()._problem(problem)
        if not radio.has_adapter(self.hass):
            return Failure(error="no_bluetooth")
        return Failure(
            error=_PROBLEMS.get(problem, "bluetooth_failed"),
            placeholders={"reason": printable(radio.unreachable(self.hass, address))},  # shown as plain text
            final=problem is LinkProblem.FOREIGN,
        )

    # --- what answered -----------------------------------------------------------------------------------------------

    def _device_words(self) -> dict[str, str]:
        """The device that was asked for: as it calls itself, its address, how well it is heard; what of it is known."""
        asked = radio.tidy_address(self._asked.get(CONF_DEVICE, "")) or ABSENT
        known = self._advert if self._advert is not None and self._advert.address == asked else None
        if known is None:
            return {"who": f"**{asked}**"}
        if not printable(known.name):
            return {"who": f"**{asked}** ({self._signal(known)})"}
        return {"who": f"**{plain(known.name)}** ({asked}, {self._signal(known)})"}

    def _signal(self, advert: radio.Advert) -> str:
        quality = next((name for least, name in _SIGNALS if advert.rssi >= least), "weak")
        return self._words.text("signal", quality, rssi=advert.rssi)

    @override
    def _more_words(self, report: ScanReport) -> dict[str, str]:
        if not self._by_radio:
            return super()._more_words(report)
        return {**self._device_words(), **figures(report)}

    def _radio_notes(self) -> str:
        """What there is to know before going on, besides the figures."""
        return self._words.text("note", "unverified") if is_unverified(self._data, {}) else ""

    def _suggested_model(self, data: Mapping[str, Any]) -> str | None:
        """What the form begins with, of those that can be chosen."""
        assert self._report is not None
        model = suggested_model(data, self._report, self._advert.name if self._advert is not None else None)
        return model if model in models_for(data) else None

    @override
    def _more_fields(self) -> dict[Any, Any]:
        if not self._by_radio or not can_switch_heating(self._data):
            return super()._more_fields()
        return {vol.Required(CONF_ALLOW_HEATING, default=False): BooleanSelector()}

    @override
    def _more_options(self, user_input: Mapping[str, Any]) -> dict[str, Any]:
        if not self._by_radio:
            return super()._more_options(user_input)
        return {CONF_ALLOW_HEATING: True} if user_input.get(CONF_ALLOW_HEATING) else {}


def _label(advert: radio.Advert) -> str:
    """How a device is listed; no Markdown there."""
    if name := printable(advert.name):
        return f"{name} ({advert.address}, {advert.rssi} dBm)"
    return f"{advert.address} ({advert.rssi} dBm)"
