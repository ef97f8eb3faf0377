"""Setting a battery up: choose the port, listen, find out what answers, show it, keep it.

Owns the conversation with the person and every way it can end. How a port is opened is known to connect.py, what is at
the other end to bms/discovery.py.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
import logging
from typing import Any, override

from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntry, ConfigEntryState, ConfigFlow, ConfigFlowResult
from homeassistant.const import CONF_DEVICE, CONF_MODEL
from homeassistant.core import callback
from homeassistant.data_entry_flow import AbortFlow, UnknownFlow
from homeassistant.helpers.selector import (
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    SerialPortSelector,
)
from homeassistant.helpers.translation import async_get_translations
from homeassistant.util.hass_dict import HassKey
import voluptuous as vol

from . import connect
from .bms.discovery import Outcome, Progress, ScanReport, Stage
from .bms.errors import LinkError, LinkProblem
from .bms.protocols import POLLED
from .const import CONF_BAUDRATE, DOMAIN
from .findings import (
    ABSENT,
    entry_data,
    heard,
    identifiers,
    is_another_battery,
    is_doubtful,
    merged,
    models_for,
    records_in,
    reported_model,
    rows,
    serials,
    unidentified,
    unique_id,
)
from .options_flow import LfpBatteryOptionsFlow, model_selector

_LOGGER = logging.getLogger(__name__)

# One line a transport: the step of that name asks for what the transport needs.
_TRANSPORTS = ("serial",)

_SPEED_AUTO = "auto"
# The text beside the progress bar is fetched anew by every open dialog; more often than this nobody can read, in s.
_TEXT_INTERVAL = 1.0
# Shown in place of addresses that the texts must not hold themselves.
_EXAMPLES = {"path_example": "/dev/ttyUSB0", "url_example": "socket://192.168.1.20:8899"}

_PROBLEMS: Mapping[LinkProblem, str] = {
    LinkProblem.MISSING: "port_missing",
    LinkProblem.PERMISSION: "no_permission",
    LinkProblem.BUSY: "port_busy",
    LinkProblem.UNREACHABLE: "unreachable",
    LinkProblem.BAD_ADDRESS: "bad_address",
    LinkProblem.CREDENTIALS: "credentials",
    LinkProblem.LOST: "adapter_lost",
    LinkProblem.FAILED: "cannot_open",
}
# What these mean once the port had been open: it was there, and now it is not.
_GONE = frozenset({LinkProblem.MISSING, LinkProblem.UNREACHABLE, LinkProblem.FAILED})

_OUTCOMES: Mapping[Outcome, str] = {
    Outcome.NOTHING: "nothing_heard",
    Outcome.ECHO: "only_echo",
    Outcome.NOISE: "noise",
    Outcome.OTHER_PROTOCOL: "other_protocol",
    Outcome.UNREADABLE: "unreadable",
    Outcome.OTHER_MASTER: "other_master",
}

_NOT_BEGUN = Progress(stage=Stage.LISTENING, fraction=0.0)
_ACTIONS: Mapping[Stage, str] = {
    Stage.LISTENING: "listening",
    Stage.PROBING: "scanning",
    Stage.READING: "reading",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Why the form is shown again: a key of the translations, and what its text needs."""

    error: str
    placeholders: Mapping[str, str] = field(default_factory=dict)


# The dialogs that are busy with a port, by its stable name.
_BUSY: HassKey[dict[str, LfpBatteryConfigFlow]] = HassKey(f"{DOMAIN}_busy_ports")
_RELEASE = 5.0  # s, for a scan that was cancelled to let go of its port


class LfpBatteryConfigFlow(ConfigFlow, domain=DOMAIN):
    """Choose a port, scan it, confirm what was found."""

    VERSION = 1
    MINOR_VERSION = 1

    def __init__(self) -> None:
        """Begin with nothing chosen."""
        self._device: str | None = None  # the port being scanned, under its stable name
        self._asked: Mapping[str, Any] = {}  # the form as it was sent, to be shown again
        self._failure: _Failure | None = None
        self._scan_task: asyncio.Task[None] | None = None
        self._fraction = 0.0  # how far the scan is
        self._shown = _NOT_BEGUN  # what the text beside the bar says
        self._shown_at = 0.0
        self._labels: Mapping[str, str] = {}
        self._report: ScanReport | None = None
        self._data: dict[str, Any] = {}  # of the entry, from the report
        self._removed = False  # the dialog is closed
        self._paused = False  # the entry being reconfigured was unloaded for the scan

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> LfpBatteryOptionsFlow:
        """Get the options flow of an entry."""
        return LfpBatteryOptionsFlow()

    async def _async_replace_other(self, device: str) -> None:
        """End whatever dialog is busy with this port: one that a reloaded page left behind is to be found nowhere."""
        busy = self.hass.data.setdefault(_BUSY, {})
        if (other := busy.get(device)) is not None and other is not self:
            with suppress(UnknownFlow):
                self.hass.config_entries.flow.async_abort(other.flow_id)
            await other.async_let_go()
        busy[device] = self

    async def async_let_go(self) -> None:
        """Wait until a scan that was cancelled has closed its port."""
        if self._scan_task is not None:
            await asyncio.wait((self._scan_task,), timeout=_RELEASE)

    # --- choosing the port -------------------------------------------------------------------------------------------

    @override
    async def async_step_user(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Choose how the battery is connected."""
        return self.async_show_menu(step_id="user", menu_options=_TRANSPORTS)

    async def async_step_serial(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Choose the serial port."""
        if user_input is not None and (begun := await self._async_begin(user_input)) is not None:
            return begun
        return self._show_port_form("serial", {vol.Required(CONF_DEVICE): SerialPortSelector()}, self._asked)

    async def async_step_reconfigure(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Choose another port or speed for the same battery."""
        self._abort_if_entry_removed()
        if user_input is not None and (begun := await self._async_begin(user_input)) is not None:
            return begun
        speeds = sorted({speed for protocol in POLLED.values() for speed in protocol.speeds})
        options = [SelectOptionDict(value=speed, label=speed) for speed in (_SPEED_AUTO, *map(str, speeds))]
        fields = {
            vol.Required(CONF_DEVICE): SerialPortSelector(),
            vol.Required(CONF_BAUDRATE, default=_SPEED_AUTO): SelectSelector(
                SelectSelectorConfig(options=options, mode=SelectSelectorMode.DROPDOWN, translation_key="speed")
            ),
        }
        entry = self._get_reconfigure_entry()
        return self._show_port_form("reconfigure", fields, self._asked or {CONF_DEVICE: entry.data[CONF_DEVICE]})

    def _show_port_form(
        self, step_id: str, fields: Mapping[Any, Any], suggested: Mapping[str, Any]
    ) -> ConfigFlowResult:
        failure = self._failure
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(vol.Schema(dict(fields)), suggested),
            errors={"base": failure.error} if failure else {},
            description_placeholders={**_EXAMPLES, **(failure.placeholders if failure else {})},
        )

    async def _async_begin(self, asked: dict[str, Any]) -> ConfigFlowResult | None:
        """Start a scan of the port that was asked for; None with `_failure` set when it cannot be."""
        self._asked = asked
        self._failure = None
        typed = asked[CONF_DEVICE].strip()
        try:
            await connect.async_check_address(self.hass, typed)
        except LinkError as err:
            self._failed(_PROBLEMS[err.problem])
            return None
        device = await connect.async_stable_path(self.hass, typed)
        await self._async_abort_if_taken(device)
        self._device = device
        await self._async_replace_other(device)
        holder = await self._async_holder(device)
        if holder is not None and holder.active and holder.entry_id is not None:
            # a second master corrupts the bus, and a gateway would let it in
            self._failed("port_busy_known", owner=holder.title)
            return None
        if not await self._async_pause_entry():
            self._failed("not_paused", title=self._get_reconfigure_entry().title)
            return None
        self._shown, self._fraction = _NOT_BEGUN, 0.0
        self._labels = await async_get_translations(self.hass, self.hass.config.language, "selector", [DOMAIN])
        return await self.async_step_scan()

    async def _async_holder(self, device: str) -> connect.Holder | None:
        return await connect.async_holder(self.hass, device, but=self.context.get("entry_id"))

    def _other_entries(self) -> list[ConfigEntry]:
        """Every entry but the one being reconfigured."""
        entry_id = self.context.get("entry_id")
        return [entry for entry in self._async_current_entries(include_ignore=False) if entry.entry_id != entry_id]

    async def _async_abort_if_taken(self, device: str) -> None:
        if (entry := await connect.async_entry_at(self.hass, device, self._other_entries())) is not None:
            raise AbortFlow("already_configured", {"title": entry.title})

    def _failed(self, error: str, **placeholders: str) -> None:
        """Have the form shown again, with the port free for other flows."""
        self._failure = _Failure(error=error, placeholders=placeholders)
        self._device = None

    # --- scanning ----------------------------------------------------------------------------------------------------

    async def async_step_scan(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show what is being tried until the scan is done."""
        if self._scan_task is not None and self._scan_task.done():
            return self.async_show_progress_done(next_step_id="scanned")
        assert self._device is not None
        if self._removed:  # the dialog was closed while the port was looked up
            self._resume_entry()
            return self.async_abort(reason="closed")
        if self._scan_task is None:
            # not eager: even a scan that fails at once is first shown as one under way
            self._scan_task = self.hass.async_create_task(
                self._async_scan(self._device), f"{DOMAIN} scan", eager_start=False
            )
        progress = self._shown
        return self.async_show_progress(
            step_id="scan",
            progress_action=_ACTIONS[progress.stage],
            description_placeholders={
                "device": self._device,
                "protocol": self._protocol_label(progress.protocol),
                "baudrate": str(progress.baudrate or ABSENT),
                "address": ABSENT if progress.address is None else str(progress.address),
            },
            progress_task=self._scan_task,
        )

    async def _async_scan(self, device: str) -> None:
        """Scan, and keep what was found or why nothing was.

        All is decided when this ends: several open dialogs may ask for the next step at the same moment.
        """
        speed = self._asked.get(CONF_BAUDRATE, _SPEED_AUTO)
        speeds = None if speed == _SPEED_AUTO else (int(speed),)
        try:
            report = await connect.async_scan(self.hass, device, self._progressed, speeds=speeds)
        except LinkError as err:
            _LOGGER.debug("Scan of %s: %s", device, err)
            await self._async_judge_error(err.problem, device)
        except Exception:  # a fault of ours must not leave the person before a bar that stands still
            _LOGGER.exception("Scan of %s failed", await connect.async_short_name(self.hass, device))
            self._failed("unknown")
        else:
            _LOGGER.debug("Scan of %s: %s", device, report)
            self._judge(report, device)

    def _judge(self, report: ScanReport, device: str) -> None:
        if report.outcome is not Outcome.FOUND:
            nameless = report.outcome is Outcome.OTHER_PROTOCOL and report.dialect is None
            self._failed(
                "other_protocol_unknown" if nameless else _OUTCOMES[report.outcome],
                dialect=self._protocol_label(report.dialect),
                protocol=self._protocol_label(report.protocol or report.dialect),
                baudrate=str(report.baudrate or ABSENT),
            )
            return
        self._report = report
        taken = {identifier for entry in self._other_entries() for identifier in identifiers(entry.data)}
        self._data = {CONF_DEVICE: device, **entry_data(report, taken)}

    async def _async_judge_error(self, problem: LinkProblem, device: str) -> None:
        if problem is LinkProblem.BUSY and (holder := await self._async_holder(device)) is not None:
            self._failed("port_busy_known", owner=holder.title)
            return
        gone = problem in _GONE and self._fraction > 0
        self._failed(_PROBLEMS[LinkProblem.LOST if gone else problem])

    @callback
    def _progressed(self, progress: Progress) -> None:
        """Move the bar, and now and then the text."""
        now = connect.clock(self.hass).monotonic()
        if progress.stage is not self._shown.stage or now - self._shown_at >= _TEXT_INTERVAL:
            self._shown, self._shown_at = progress, now
            self.async_notify_flow_changed()
        self._fraction = progress.fraction
        # after the notice, which makes the dialog forget how far the bar was
        self.async_update_progress(progress.fraction)

    def _protocol_label(self, protocol: str | None) -> str:
        return ABSENT if protocol is None else self._text("protocol", protocol)

    def _text(self, selector: str, option: str) -> str:
        return self._labels.get(f"component.{DOMAIN}.selector.{selector}.options.{option}", option)

    async def async_step_scanned(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Go on with what the scan found, or back to the form."""
        self._abort_if_entry_removed()
        reconfiguring = self.source == SOURCE_RECONFIGURE
        if self._failure is not None:
            self._scan_task = None
            self._resume_entry()
            return await (self.async_step_reconfigure() if reconfiguring else self.async_step_serial())
        if reconfiguring:
            return self._finish_reconfigure()
        await self.async_set_unique_id(unique_id(self._data))
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

    # --- confirming --------------------------------------------------------------------------------------------------

    def _confirmation(self) -> str:
        """Which of the confirmations fits what was heard: the most important thing to know decides."""
        assert self._report is not None
        if self._entries_with_same_battery():
            return "confirm_twice"
        if is_doubtful(self._report):
            return "confirm_unsure"
        return "confirm" if self._report.packs else "confirm_bank"

    def _entries_with_same_battery(self) -> list[ConfigEntry]:
        found = serials(records_in(self._data))
        return [entry for entry in self._async_current_entries() if found & serials(records_in(entry.data))]

    def _show_confirmation(self, step_id: str) -> ConfigFlowResult:
        report = self._report
        assert report is not None
        assert self._device is not None
        return self.async_show_form(
            step_id=step_id,
            data_schema=self._model_schema(),
            description_placeholders={
                "device": self._device,
                "protocol": self._protocol_label(report.protocol),
                "baudrate": str(report.baudrate),
                "count": str(len(heard(report))),
                "packs": rows(report),
                "notes": self._notes(report),
                "answers": str(report.answers),
                "damaged": str(report.damaged),
                "titles": ", ".join(entry.title for entry in self._entries_with_same_battery()),
            },
        )

    def _notes(self, report: ScanReport) -> str:
        """What the table does not say by itself."""
        unread, unfit = unidentified(report, self._data)
        modules = report.bank.modules if report.bank is not None else None
        notes = {"serial_unread": unread, "serial_unfit": unfit, "modules": modules}
        return "\n\n".join(self._text("note", note).format(packs=packs) for note, packs in notes.items() if packs)

    def _model_schema(self) -> vol.Schema:
        models = models_for(self._data)
        if not models:
            return vol.Schema({})
        schema = vol.Schema({vol.Optional(CONF_MODEL): model_selector(models)})
        reported = reported_model(self._data)
        suggested = {CONF_MODEL: reported.name} if reported is not None and reported.name in models else {}
        return self.add_suggested_values_to_schema(schema, suggested)

    async def async_step_confirm(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Packs that answered well."""
        return await self._async_confirm("confirm", user_input)

    async def async_step_confirm_bank(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """A bank that speaks for all of its packs."""
        return await self._async_confirm("confirm_bank", user_input)

    async def async_step_confirm_unsure(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Something answered, on thin evidence."""
        return await self._async_confirm("confirm_unsure", user_input)

    async def async_step_confirm_twice(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """A battery that is set up already, over another link."""
        return await self._async_confirm("confirm_twice", user_input)

    async def _async_confirm(self, step_id: str, user_input: dict[str, Any] | None) -> ConfigFlowResult:
        if user_input is None:
            return self._show_confirmation(step_id)
        assert self._device is not None
        title = await connect.async_title(self.hass, self._device)
        # another flow may have added this port or battery while this form stood open
        await self._async_abort_if_taken(self._device)
        self._abort_if_battery_is_known()
        return self.async_create_entry(title=title, data=self._data | user_input)

    # --- reconfiguring -----------------------------------------------------------------------------------------------

    def _finish_reconfigure(self) -> ConfigFlowResult:
        entry = self._get_reconfigure_entry()
        if is_another_battery(entry.data, self._data):
            return self.async_abort(reason="another_battery", description_placeholders={"title": entry.title})
        self._paused = False
        data = merged(entry.data, self._data)
        return self.async_update_reload_and_abort(entry, unique_id=unique_id(data), data_updates=data)

    @callback
    def _abort_if_entry_removed(self) -> None:
        """End a reconfiguration whose entry was removed meanwhile."""
        entry_id = self.context.get("entry_id")
        if entry_id is not None and self.hass.config_entries.async_get_entry(entry_id) is None:
            raise AbortFlow("entry_removed")

    async def _async_pause_entry(self) -> bool:
        """Unload the entry being reconfigured; whether it can be relied on to keep off the line.

        Another port may lead to the same line, by another name of the gateway or a second adapter.
        """
        if self.source != SOURCE_RECONFIGURE:
            return True
        self._abort_if_entry_removed()
        entry = self._get_reconfigure_entry()
        async with entry.setup_lock:
            pass  # after a failed attempt it may still be on its way up, with the port open
        if entry.state in {ConfigEntryState.LOADED, ConfigEntryState.SETUP_RETRY}:
            self._paused = True
            self._paused = await self.hass.config_entries.async_unload(entry.entry_id)
        return entry.state.recoverable

    @callback
    def _resume_entry(self) -> None:
        """Set the entry up again that gave way to the scan."""
        entry_id = self.context.get("entry_id")
        if self._paused and entry_id is not None and self.hass.config_entries.async_get_entry(entry_id) is not None:
            self.hass.config_entries.async_schedule_reload(entry_id)
        self._paused = False

    @callback
    @override
    def async_remove(self) -> None:
        """The dialog was closed, or the flow has ended: leave the port free and the entry as it was."""
        self._removed = True
        busy = self.hass.data.get(_BUSY, {})
        if self._device is not None and busy.get(self._device) is self:
            del busy[self._device]
        if self._scan_task is None:
            self._resume_entry()
            return
        # Home Assistant has cancelled the scan; the port is free only when that has let go of it
        self._scan_task.add_done_callback(lambda _: self._resume_entry())
