"""Setting a battery up: choose the port, see what was found there, keep it; or move it to another port.

Owns the questions that are asked and every way the conversation can end. The scan in between is run by scan_flow.py, what
it says in words stands in flow_texts.py.
"""

from collections.abc import Mapping
from typing import Any, override

from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntry, ConfigFlowResult
from homeassistant.const import CONF_DEVICE, CONF_MODEL, CONF_PROTOCOL
from homeassistant.core import callback
from homeassistant.data_entry_flow import AbortFlow
from homeassistant.helpers.selector import (
    BooleanSelector,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    SerialPortSelector,
)
import voluptuous as vol

from . import connect
from .bluetooth_flow import BluetoothFlow
from .bms.catalog import FAMILIES
from .bms.discovery import Outcome, ScanReport
from .bms.protocols import SERIAL
from .const import (
    CONF_ACKNOWLEDGE,
    CONF_BAUDRATE,
    CONF_FAMILY,
    CONF_OBSERVE,
    CONF_PACK_COUNT,
    CONF_PACKS,
    CONF_UNVERIFIED,
    DOMAIN,
    MAX_PACKS,
)
from .findings import (
    chosen_model,
    counts_packs,
    heard,
    identifiers,
    is_doubtful,
    is_unverified,
    miscounted,
    models_for,
    most_packs,
    name_of,
    on_can,
    over_bluetooth,
    plain,
    reported_model,
    rows,
    speaks_for_packs,
    unique_id,
)
from .flow_texts import notes
from .moving import Same, changes_protocol, left_behind, may_be_one, merged, same_battery, share_a_serial
from .options_flow import LfpBatteryOptionsFlow, model_selector, pack_count_selector
from .scan_flow import ANY_FAMILY, CONF_SHARED, SPEED_AUTO
from .settings import observes

# Of the options, what the form for a port decides.
_DECIDED_ANEW = frozenset({CONF_OBSERVE, CONF_ACKNOWLEDGE})

# One line a transport: the step of that name asks for what the transport needs.
_TRANSPORTS = ("serial", "can", "bluetooth")


class LfpBatteryConfigFlow(BluetoothFlow, domain=DOMAIN):
    """Choose a port, scan it, confirm what was found."""

    VERSION = 1
    MINOR_VERSION = 1

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> LfpBatteryOptionsFlow:
        """Get the options flow of an entry."""
        return LfpBatteryOptionsFlow()

    # --- choosing the port -------------------------------------------------------------------------------------------

    @override
    async def async_step_user(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Choose how the battery is connected."""
        return self.async_show_menu(step_id="user", menu_options=_TRANSPORTS)

    async def async_step_serial(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Choose the serial port, and say what is known of what is behind it."""
        if user_input is not None and (begun := await self._async_begin(user_input)) is not None:
            return begun
        fields = {
            vol.Required(CONF_DEVICE): SerialPortSelector(),
            vol.Required(CONF_FAMILY, default=ANY_FAMILY): _choice(
                CONF_FAMILY, (ANY_FAMILY, *(family.key for family in FAMILIES))
            ),
            vol.Required(CONF_SHARED, default=False): BooleanSelector(),
        }
        return self._show_port_form("serial", fields, self._asked)

    async def async_step_reconfigure(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Choose another port or speed for the same battery."""
        self._abort_if_entry_removed()
        entry = self._get_reconfigure_entry()
        if on_can(entry.data):
            return await self.async_step_reconfigure_can(user_input)
        if over_bluetooth(entry.data):
            return await self.async_step_reconfigure_bluetooth(user_input)
        if user_input is not None and (begun := await self._async_begin(user_input)) is not None:
            return begun
        speeds = sorted({speed for protocol in SERIAL.values() for speed in protocol.speeds})
        fields = {
            vol.Required(CONF_DEVICE): SerialPortSelector(),
            vol.Required(CONF_BAUDRATE, default=SPEED_AUTO): _choice("speed", (SPEED_AUTO, *map(str, speeds))),
            vol.Required(CONF_SHARED, default=observes(entry.data, entry.options)): BooleanSelector(),
        }
        return self._show_port_form("reconfigure", fields, self._asked or {CONF_DEVICE: entry.data[CONF_DEVICE]})

    # --- confirming --------------------------------------------------------------------------------------------------

    async def async_step_scanned(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Go on with what the scan found, or back to the form."""
        self._abort_if_entry_removed()
        if self._failure is not None:
            self._scan_task = None
            self._resume_entry()
            if self._failure.final:
                return self.async_abort(reason=self._failure.error, description_placeholders=self._failure.placeholders)
            shown_again: ConfigFlowResult = await getattr(self, f"async_step_{self._form}")()
            return shown_again
        if self.source == SOURCE_RECONFIGURE:
            return await self._async_finish_reconfigure()
        # a pack that was discovered may be asked for by hand as well: whoever is first sets it up
        await self.async_set_unique_id(unique_id(self._data), raise_on_progress=not self._by_radio)
        self._abort_if_battery_is_known()
        return self._show_confirmation(self._confirmation())

    @callback
    def _abort_if_battery_is_known(self) -> None:
        """End the flow when another one added this battery meanwhile.

        An entry whose unique id is that of a battery it no longer has gives it up: it would be replaced by the new one.
        """
        for entry in self._other_entries():
            if identifiers(entry.data) & identifiers(self._data):
                raise AbortFlow("battery_already_configured")
            if entry.unique_id is not None and entry.unique_id == self.unique_id:
                self.hass.config_entries.async_update_entry(entry, unique_id=unique_id(entry.data))

    def _confirmation(self) -> str:
        """Which of the confirmations fits what was heard: the most important thing to know decides."""
        assert self._report is not None
        if self._by_radio:
            return "bluetooth_found"
        if self._on_can:
            return "confirm_can"
        if self._data.get(CONF_OBSERVE):
            return "confirm_observe" if heard(self._report) else "confirm_observe_unheard"
        if self._entries_with_same_battery():
            return "confirm_twice"
        if is_doubtful(self._report):
            return "confirm_unsure"
        return "confirm" if self._report.packs else "confirm_bank"

    def _entries_with_same_battery(self) -> list[ConfigEntry]:
        entries = self._async_current_entries(include_ignore=False)
        return [entry for entry in entries if share_a_serial(entry.data, self._data)]

    def _show_confirmation(
        self, step_id: str, sent: Mapping[str, Any] | None = None, errors: dict[str, str] | None = None, **more: str
    ) -> ConfigFlowResult:
        """Show what was found; `sent` was filled in and has `errors`."""
        report = self._report
        assert report is not None
        assert self._device is not None
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(self._confirmation_schema(), sent or {}),
            errors=errors,
            description_placeholders={
                **self._more_words(report),
                **more,
                "device": self._device,
                "protocol": self._words.protocol(report.protocol),
                "baudrate": str(report.baudrate),
                "most": str(self._most_packs(sent or {})),
                "count": str(len(heard(report))),
                "packs": rows(report),
                "notes": "\n\n".join(
                    filter(None, (*self._warnings(step_id), self._notes(report), self._report_offer(report)))
                ),
                "answers": str(report.answers),
                "damaged": str(report.damaged),
                "titles": self._titles(),
            },
        )

    def _notes(self, report: ScanReport) -> str:
        """About packs as they will be known."""
        if self._by_radio:
            return self._radio_notes()
        moved = self.source == SOURCE_RECONFIGURE
        data = merged(self._get_reconfigure_entry().data, self._data) if moved else self._data
        return notes(report, data, self._words)

    def _report_offer(self, report: ScanReport) -> str:
        """What was heard, where it may be wanted for a report although something was found."""
        thin = report.outcome is Outcome.OTHER_MASTER or is_doubtful(report) or report.experimental
        return self._offer(report.capture) if thin else ""

    def _titles(self) -> str:
        return ", ".join(entry.title for entry in self._entries_with_same_battery())

    def _warnings(self, step_id: str) -> list[str]:
        """What else there is to know before going on, where the step itself does not say it."""
        assert self._report is not None
        if self.source == SOURCE_RECONFIGURE:
            return self._consequences(self._get_reconfigure_entry())
        warnings = []
        if step_id != "confirm_twice" and (titles := self._titles()):
            warnings.append(self._words.text("note", "twice", titles=titles))
        if alike := [plain(entry.title) for entry in self._other_entries() if may_be_one(entry.data, self._data)]:
            warnings.append(self._words.text("note", "maybe_twice", titles=", ".join(alike)))
        if step_id != "confirm_unsure" and is_doubtful(self._report):
            warnings.append(self._words.text("note", "doubtful"))
        return warnings

    def _confirmation_schema(self) -> vol.Schema:
        report = self._report
        assert report is not None
        assert report.protocol is not None
        moved = self._get_reconfigure_entry() if self.source == SOURCE_RECONFIGURE else None
        fields: dict[Any, Any] = {}
        suggested: dict[str, Any] = {}
        if moved is not None and not self._asks_for_packs(moved):
            return vol.Schema(fields)
        if models := models_for(self._data):
            fields[vol.Optional(CONF_MODEL)] = model_selector(models)
            chosen = chosen_model(moved.data, moved.options) if moved is not None else None
            model = chosen[1] if chosen is not None else reported_model(self._data)
            if model is not None and model.name in models:
                suggested[CONF_MODEL] = model.name
            elif self._by_radio:
                suggested[CONF_MODEL] = self._suggested_model(self._data)
        if counts_packs(report.protocol):
            fields[vol.Optional(CONF_PACK_COUNT)] = pack_count_selector(MAX_PACKS)
            suggested[CONF_PACK_COUNT] = self._pack_count(moved)
        if moved is None:
            fields |= self._more_fields()
        return self.add_suggested_values_to_schema(vol.Schema(fields), suggested)

    def _most_packs(self, sent: Mapping[str, Any]) -> int:
        """How many packs there can be, by what was found and what the person said of it."""
        moved = self._get_reconfigure_entry() if self.source == SOURCE_RECONFIGURE else None
        return most_packs(self._data | self._chosen(sent), {**(moved.options if moved is not None else {}), **sent})

    def _pack_count(self, moved: ConfigEntry | None) -> int | None:
        """How many packs there are, as far as anybody has said."""
        bank = self._report.bank if self._report is not None else None
        if moved is None:
            return (bank.modules if bank is not None else None) or None
        decided: int | None = moved.options.get(CONF_PACK_COUNT)
        return decided or (bank.modules if bank is not None else None) or len(moved.data[CONF_PACKS]) or None

    async def async_step_confirm(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Packs that answered well."""
        return await self._async_confirm("confirm", user_input)

    async def async_step_confirm_bank(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """A bank that speaks for all of its packs."""
        return await self._async_confirm("confirm_bank", user_input)

    async def async_step_confirm_can(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """A battery was heard on a CAN bus."""
        return await self._async_confirm("confirm_can", user_input)

    async def async_step_bluetooth_found(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """A pack answered over Bluetooth."""
        return await self._async_confirm("bluetooth_found", user_input)

    async def async_step_confirm_unsure(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Something answered, on thin evidence."""
        return await self._async_confirm("confirm_unsure", user_input)

    async def async_step_confirm_twice(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """A battery that is set up already, over another link."""
        return await self._async_confirm("confirm_twice", user_input)

    async def async_step_confirm_observe(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Somebody else asks on this line, and packs were heard to answer."""
        return await self._async_confirm("confirm_observe", user_input)

    async def async_step_confirm_observe_unheard(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Somebody else asks on this line, and no pack was heard yet."""
        return await self._async_confirm("confirm_observe_unheard", user_input)

    async def _async_confirm(self, step_id: str, user_input: dict[str, Any] | None) -> ConfigFlowResult:
        if user_input is None:
            return self._show_confirmation(step_id)
        if errors := miscounted(user_input, self._most_packs(user_input)):
            return self._show_confirmation(step_id, user_input, errors)
        assert self._device is not None
        title = await self._async_title(self._device, user_input)
        # another flow may have added this port or battery while this form stood open
        await self._async_abort_if_taken(self._device)
        self._abort_if_battery_is_known()
        await self._async_withdraw_offers(self._device)
        return self.async_create_entry(
            title=title, data=self._data | self._chosen(user_input), options=self._decided(user_input)
        )

    async def _async_title(self, device: str, user_input: Mapping[str, Any]) -> str:
        """What was heard, as far as it has a name; two of one name are told apart by their ports.

        Over Bluetooth it is the product that was chosen: the name in the advert is the owner's own, and what the pack
        says of itself is a code.
        """
        assert self._report is not None
        label = self._words.protocol(self._report.protocol)
        name = label[:1].upper() + label[1:]
        if self._by_radio:
            name = models_for(self._data).get(user_input.get(CONF_MODEL, ""), name)
        else:
            name = name_of(self._report) or name
        if all(entry.title != name for entry in self._other_entries()):
            return name
        return f"{name} ({await connect.async_short_name(self.hass, device)})"

    def _chosen(self, user_input: Mapping[str, Any]) -> dict[str, Any]:
        """What the person said of the battery."""
        named = {CONF_FAMILY: self._family.key} if self._family else {}
        doubt = {CONF_UNVERIFIED: True} if is_unverified(self._data, user_input) else {}
        return {**named, **doubt, **{key: value for key, value in user_input.items() if key == CONF_MODEL}}

    def _decided(self, user_input: Mapping[str, Any]) -> dict[str, Any]:
        """What can be changed in the options; who agrees to listen has nothing left to repair."""
        options = self._more_options(user_input)
        if CONF_PACK_COUNT in user_input:
            options[CONF_PACK_COUNT] = int(user_input[CONF_PACK_COUNT])
        if self._data.get(CONF_OBSERVE):
            options[CONF_OBSERVE] = True
        return options

    # --- reconfiguring -----------------------------------------------------------------------------------------------

    async def _async_finish_reconfigure(self) -> ConfigFlowResult:
        """Move the entry if it is certain that nothing is lost by it, else ask first."""
        entry = self._get_reconfigure_entry()
        if (refused := self._refused(entry)) is not None:
            return refused
        if not self._consequences(entry) and not self._asks_for_packs(entry):
            self._paused = False
            return self._moved(entry, {})
        # it may be long until the person answers
        self._resume_entry()
        return await self.async_step_confirm_move()

    def _refused(self, entry: ConfigEntry) -> ConfigFlowResult | None:
        if same_battery(entry.data, self._data) is not Same.NO:
            return None
        return self.async_abort(reason="another_battery", description_placeholders={"title": entry.title})

    def _consequences(self, entry: ConfigEntry) -> list[str]:
        """What the person has to know before the entry is moved to what was found."""
        texts = []
        if same_battery(entry.data, self._data) is Same.UNPROVEN:
            texts.append(self._words.text("note", "unproven", title=entry.title))
            if changes_protocol(entry.data, self._data) and self._data[CONF_PACKS]:
                texts.append(self._words.text("note", "by_number"))
        if changes_protocol(entry.data, self._data) and (
            packs := left_behind(entry.data, merged(entry.data, self._data))
        ):
            note = "packs_as_one" if speaks_for_packs(self._data) else "packs_anew"
            texts.append(self._words.text("note", note, packs=packs))
        return texts

    def _asks_for_packs(self, entry: ConfigEntry) -> bool:
        """Whether the number of packs begins to matter."""
        return counts_packs(self._data[CONF_PROTOCOL]) and not counts_packs(entry.data[CONF_PROTOCOL])

    async def async_step_confirm_move(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Another protocol, or a battery that does not say who it is."""
        self._abort_if_entry_removed()
        entry = self._get_reconfigure_entry()
        if user_input is None:
            return self._show_confirmation("confirm_move", title=entry.title)
        if errors := miscounted(user_input, self._most_packs(user_input)):
            return self._show_confirmation("confirm_move", user_input, errors, title=entry.title)
        assert self._device is not None
        await self._async_abort_if_taken(self._device)
        # the entry went on meanwhile and may have learned something
        return self._refused(entry) or self._moved(entry, user_input)

    def _moved(self, entry: ConfigEntry, user_input: Mapping[str, Any]) -> ConfigFlowResult:
        data = merged(entry.data, self._data)
        # what was heard on the new line decides anew whether it may be asked
        data[CONF_OBSERVE] = self._data.get(CONF_OBSERVE, False)
        options = {key: value for key, value in entry.options.items() if key not in _DECIDED_ANEW}
        options |= {key: value for key, value in user_input.items() if key == CONF_MODEL}
        return self.async_update_reload_and_abort(
            entry, unique_id=unique_id(data), data=data, options=options | self._decided(user_input)
        )


def _choice(translation_key: str, options: tuple[str, ...]) -> SelectSelector:
    """A list to choose from, whose labels come from the translations where they have any."""
    return SelectSelector(
        SelectSelectorConfig(
            options=[SelectOptionDict(value=option, label=option) for option in options],
            mode=SelectSelectorMode.DROPDOWN,
            translation_key=translation_key,
        )
    )
