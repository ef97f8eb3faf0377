"""A dialog that scans a port: who may have the port, the bar and the text beside it, and what to do with a failure.

What is asked before and decided after stands in config_flow.py. How a port is opened is known to connect.py, what is at
the other end to bms/discovery.py.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
import logging
from typing import Any, Final, override

from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntry, ConfigEntryState, ConfigFlow, ConfigFlowResult
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import callback
from homeassistant.data_entry_flow import AbortFlow, UnknownFlow
from homeassistant.util.hass_dict import HassKey
import voluptuous as vol

from . import bus_texts, capture_view, connect
from .bms.catalog import Family, find_family
from .bms.discovery import Outcome, Progress, ScanReport, Stage
from .bms.errors import LinkError, LinkProblem
from .bms.protocols import POLLED
from .const import CONF_ADDRESSES, CONF_BAUDRATE, CONF_FAMILY, CONF_OBSERVE, DOMAIN
from .findings import ABSENT, entry_data, identifiers
from .flow_texts import GONE, PROBLEMS, Failure, Words, failure

_LOGGER = logging.getLogger(__name__)

CONF_SHARED: Final = "shared"  # somebody else is connected to this line: only listen
SPEED_AUTO: Final = "auto"
ANY_FAMILY: Final = "unknown"

# The text beside the progress bar is fetched anew by every open dialog; more often than this nobody can read, in s.
_TEXT_INTERVAL = 1.0
# A dialog told of a new text fetches it, and fetches once more when the scan is over. Were it asked for both at once, the
# first would end a flow that has nothing more to ask, and the second be told that there is no such flow: the dialog then
# shows an error although all went well. So a scan ends no sooner than so many seconds after the last new text.
_TEXT_FETCHED = 1.5
_NOT_BEGUN = Progress(stage=Stage.LISTENING, fraction=0.0)
_ACTIONS: Mapping[Stage, str] = {
    Stage.LISTENING: "listening",
    Stage.PROBING: "scanning",
    Stage.READING: "reading",
}

# The dialogs that are busy with a port, by what all its spellings share.
_BUSY: HassKey[dict[str, ScanFlow]] = HassKey(f"{DOMAIN}_busy_ports")
# The adapters that dialogs offer by themselves, by the dialog.
_OFFERED: HassKey[dict[str, str]] = HassKey(f"{DOMAIN}_offered")
_RELEASE = 5.0  # s, for a scan that was cancelled to let go of its port
# How the last battery on a port was found, by the port's stable name, for as long as Home Assistant runs.
_LAST_FOUND: HassKey[dict[str, tuple[str, int]]] = HassKey(f"{DOMAIN}_last_found")


# Shown in place of addresses that the texts must not hold themselves.
_EXAMPLES = {
    "path_example": "/dev/ttyUSB0",
    "url_example": "socket://192.168.1.20:8899",
    "bus_example": "socketcan:can0",
    "gateway_example": "slcan:socket://192.168.1.20:8899",
    "address_example": "A4:C1:37:12:34:56",
    **bus_texts.commands(None),
}


class ScanFlow(ConfigFlow):
    """Scans the port that was asked for; the subclass shows the form and goes on in `async_step_scanned`."""

    def __init__(self) -> None:
        """Begin with nothing chosen."""
        self._device: str | None = None  # the port being scanned, under its stable name
        self._port_key: str | None = None  # by which it is told from others
        self._asked: Mapping[str, Any] = {}  # the form as it was sent, to be shown again
        self._form = ""  # the step that showed it
        self._taken = "already_configured"  # what is said where the port is set up already
        self._failure: Failure | None = None
        self._scan_task: asyncio.Task[None] | None = None
        self._fraction = 0.0  # how far the scan is
        self._shown = _NOT_BEGUN  # what the text beside the bar says
        self._shown_at = 0.0
        self._told: tuple[str, Mapping[str, str]] | None = None  # that text, as open dialogs have it or are fetching it
        self._told_at = float("-inf")  # when they were told to
        self._words = Words()
        self._report: ScanReport | None = None
        self._data: dict[str, Any] = {}  # of the entry, from the report
        self._removed = False  # the dialog is closed
        self._paused = False  # the entry being reconfigured was unloaded for the scan

    async def _async_replace_other(self, device: str) -> None:
        """End whatever dialog is busy with this port: one that a reloaded page left behind is to be found nowhere."""
        busy = self.hass.data.setdefault(_BUSY, {})
        self._port_key = key = await connect.async_port_key(self.hass, device)
        if (other := busy.get(key)) is not None and other is not self:
            with suppress(UnknownFlow):
                self.hass.config_entries.flow.async_abort(other.flow_id)
            await other.async_let_go()
        busy[key] = self

    async def _async_withdraw_offers(self, device: str) -> None:
        """End the dialogs that offer an adapter of ours by themselves: it is about to be set up."""
        offers = self.hass.data.setdefault(_OFFERED, {}).copy()
        offers.pop(self.flow_id, None)
        key = await connect.async_port_key(self.hass, device)
        for flow_id, offered in offers.items():
            if await connect.async_port_key(self.hass, offered) == key:
                with suppress(UnknownFlow):
                    self.hass.config_entries.flow.async_abort(flow_id)

    @callback
    def _offers(self, device: str) -> None:
        """This dialog came up by itself, for this adapter."""
        self.hass.data.setdefault(_OFFERED, {})[self.flow_id] = device

    @callback
    def _release_port(self) -> None:
        """Other dialogs may have the port without ending this one, which has nothing there to set up."""
        busy = self.hass.data.get(_BUSY, {})
        if self._port_key is not None and busy.get(self._port_key) is self:
            del busy[self._port_key]

    async def async_let_go(self) -> None:
        """Wait until a scan that was cancelled has closed its port."""
        if self._scan_task is not None:
            await asyncio.wait((self._scan_task,), timeout=_RELEASE)

    # --- the form ----------------------------------------------------------------------------------------------------

    def _show_port_form(
        self, step_id: str, fields: Mapping[Any, Any], suggested: Mapping[str, Any], **more: str
    ) -> ConfigFlowResult:
        self._form = step_id
        failure = self._failure
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(vol.Schema(dict(fields)), suggested),
            errors={"base": failure.error} if failure else {},
            description_placeholders={
                **_EXAMPLES,
                **more,
                **(failure.placeholders if failure else {}),
                "advice": failure.advice if failure else "",
                "capture": self._offer(failure.capture) if failure else "",
            },
        )

    def _offer(self, capture: str | None) -> str:
        """A link to what was heard."""
        if not capture or self._removed:
            return ""
        url = capture_view.async_offer(self.hass, self.flow_id, capture)
        # a plain link would be taken for a page of the frontend, one that opens a new tab is not
        link = f'<a href="{url}" target="_blank">{self._words.text("advice", "capture_file")}</a>'
        return self._words.text("advice", "capture", file=link)

    # --- before the scan ---------------------------------------------------------------------------------------------

    async def _async_begin(self, asked: dict[str, Any]) -> ConfigFlowResult | None:
        """Start a scan of the port that was asked for; None with `_failure` set when it cannot be."""
        self._asked = asked
        self._failure = None
        await self._async_words()
        if (device := await self._async_address(asked[CONF_DEVICE].strip())) is None:
            return None
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
        return await self.async_step_scan()

    async def _async_words(self) -> Words:
        self._words = await Words.async_load(self.hass)
        return self._words

    async def _async_address(self, typed: str) -> str | None:
        """The stable name of what was typed; None with `_failure` set when it must not or cannot be opened."""
        try:
            await connect.async_check_address(self.hass, typed)
        except LinkError as err:
            self._refuse(err.problem)
            return None
        return await connect.async_stable_path(self.hass, typed)

    async def _async_holder(self, device: str) -> connect.Holder | None:
        return await connect.async_holder(self.hass, device, but=self.context.get("entry_id"))

    def _other_entries(self) -> list[ConfigEntry]:
        """Every entry but the one being reconfigured."""
        entry_id = self.context.get("entry_id")
        return [entry for entry in self._async_current_entries(include_ignore=False) if entry.entry_id != entry_id]

    async def _async_abort_if_taken(self, device: str) -> None:
        if (entry := await connect.async_entry_at(self.hass, device, self._other_entries())) is not None:
            raise AbortFlow(self._taken, {"title": entry.title})

    def _failed(self, error: str, **placeholders: str) -> None:
        """Have the form shown again, with the port free for other flows."""
        self._fail(Failure(error=error, placeholders=placeholders))

    def _refuse(self, problem: LinkProblem) -> None:
        self._fail(self._problem(problem))

    def _problem(self, problem: LinkProblem) -> Failure:
        """Why the port cannot be used."""
        return Failure(error=PROBLEMS[problem])

    def _fail(self, failed: Failure) -> None:
        self._failure = failed
        self._release_port()
        self._device = None

    # --- scanning ----------------------------------------------------------------------------------------------------

    async def async_step_scan(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show what is being tried until the scan is done."""
        if self._scan_task is not None and self._scan_task.done():
            return self.async_show_progress_done(next_step_id="scanned")
        assert self._device is not None
        if self._removed:  # the dialog was closed while the port was looked up
            self._release_port()
            self._resume_entry()
            return self.async_abort(reason="closed")
        if self._scan_task is None:
            # not eager: even a scan that fails at once is first shown as one under way
            self._scan_task = self.hass.async_create_task(
                self._async_scan(self._device), f"{DOMAIN} scan", eager_start=False
            )
        action, words = self._told = self._progress_action(), self._progress_words()
        return self.async_show_progress(
            step_id="scan",
            progress_action=action,
            description_placeholders=words,
            progress_task=self._scan_task,
        )

    def _progress_words(self) -> Mapping[str, str]:
        """What the text beside the bar fills in."""
        progress = self._shown
        return {
            "device": self._device or ABSENT,
            "protocol": self._words.protocol(progress.protocol),
            "baudrate": str(progress.baudrate or ABSENT),
            "address": ABSENT if progress.address is None else str(progress.address),
        }

    def _progress_action(self) -> str:
        """Which text stands beside the bar."""
        return "overhearing" if self._asked.get(CONF_SHARED) else _ACTIONS[self._shown.stage]

    async def _async_scan(self, device: str) -> None:
        """Scan, and keep what was found or why nothing was.

        All is decided when this ends: several open dialogs may ask for the next step at the same moment.
        """
        outcome: ScanReport | LinkProblem | None = None  # None: a fault of ours
        try:
            outcome = await self._async_look(device)
            _LOGGER.debug("Scan of %s: %s", device, outcome)
        except LinkError as err:
            _LOGGER.debug("Scan of %s: %s", device, err)
            outcome = err.problem
        except Exception:  # a fault of ours, of which the person is told when it is judged
            _LOGGER.exception("Scan of %s failed", await connect.async_short_name(self.hass, device))
        # nothing is decided before: a dialog that was told of the last text still fetches the scan under way
        clock = connect.clock(self.hass)
        if (early := self._told_at + _TEXT_FETCHED - clock.monotonic()) > 0:
            await clock.sleep(early)
        try:
            await self._async_judge(outcome, device)
        except Exception:  # a fault of ours must not leave the person before a bar that stands still
            _LOGGER.exception("Scan of %s failed", await connect.async_short_name(self.hass, device))
            self._failed("unknown")

    async def _async_judge(self, outcome: ScanReport | LinkProblem | None, device: str) -> None:
        if isinstance(outcome, ScanReport):
            self._judge(outcome, device)
        elif outcome is not None:
            await self._async_judge_error(outcome, device)
        else:
            self._failed("unknown")

    async def _async_look(self, device: str) -> ScanReport:
        """Find out what is there; raises LinkError."""
        speed, known = self._speed, self._known(device)
        return await connect.async_scan(
            self.hass,
            device,
            self._progressed,
            speeds=None if speed is None else (speed,),
            known=None if known is None or speed not in {None, known[1]} else known,
            addresses=self._known_addresses,
            family=self._family.key if self._family else None,
            listen_only=self._asked.get(CONF_SHARED, False),
        )

    @property
    def _speed(self) -> int | None:
        """The only one to be tried, in baud."""
        asked = self._asked.get(CONF_BAUDRATE, SPEED_AUTO)
        return None if asked == SPEED_AUTO else int(asked)

    @property
    def _family(self) -> Family | None:
        """As the person named it."""
        return find_family(self._asked.get(CONF_FAMILY, ANY_FAMILY))

    def _known(self, device: str) -> tuple[str, int] | None:
        """How the battery answered last: the one of the entry being reconfigured, else whatever was on this port."""
        if self.source == SOURCE_RECONFIGURE:
            data = self._get_reconfigure_entry().data
            return data[CONF_PROTOCOL], data[CONF_BAUDRATE]
        return self.hass.data.get(_LAST_FOUND, {}).get(device)

    @property
    def _known_addresses(self) -> Sequence[int]:
        """Where the battery of the entry being reconfigured answered last."""
        return self._get_reconfigure_entry().data[CONF_ADDRESSES] if self.source == SOURCE_RECONFIGURE else ()

    def _judge(self, report: ScanReport, device: str) -> None:
        if (failed := self._failure_of(report)) is not None:
            self._fail(failed)
            return
        self._report = report
        if report.protocol is not None and report.baudrate is not None:
            self.hass.data.setdefault(_LAST_FOUND, {})[device] = (report.protocol, report.baudrate)
        self._data = {CONF_DEVICE: device, **self._entry_data(report, device)}
        if report.outcome is Outcome.OTHER_MASTER:
            self._data[CONF_OBSERVE] = True

    def _entry_data(self, report: ScanReport, device: str) -> dict[str, Any]:
        """What the entry keeps of it, but for the port."""
        taken = {identifier for entry in self._other_entries() for identifier in identifiers(entry.data)}
        return entry_data(report, taken)

    def _failure_of(self, report: ScanReport) -> Failure | None:
        """Why nothing can be set up with what was found; None: something can."""
        observable = report.outcome is Outcome.OTHER_MASTER and report.protocol in POLLED
        if report.protocol and report.baudrate and (report.outcome is Outcome.FOUND or observable):
            return None
        listened = self._asked.get(CONF_SHARED, False)
        return failure(report, self._words, family=self._family, listened=listened, speed=self._speed)

    async def _async_judge_error(self, problem: LinkProblem, device: str) -> None:
        if problem is LinkProblem.BUSY and (holder := await self._async_holder(device)) is not None:
            self._failed("port_busy_known", owner=holder.title)
            return
        gone = problem in GONE and self._fraction > 0
        self._refuse(LinkProblem.LOST if gone else problem)

    @callback
    def _progressed(self, progress: Progress) -> None:
        """Move the bar, and now and then the text."""
        now = connect.clock(self.hass).monotonic()
        if progress.stage is not self._shown.stage or now - self._shown_at >= _TEXT_INTERVAL:
            self._shown, self._shown_at = progress, now
            if (text := (self._progress_action(), self._progress_words())) != self._told:
                self._told, self._told_at = text, now
                self.async_notify_flow_changed()
        self._fraction = progress.fraction
        # after the notice, which makes the dialog forget how far the bar was
        self.async_update_progress(progress.fraction)

    # --- the entry being reconfigured --------------------------------------------------------------------------------

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
        self.hass.data.setdefault(_OFFERED, {}).pop(self.flow_id, None)
        capture_view.async_withdraw(self.hass, self.flow_id)
        self._failure = self._report = None  # what was heard is nobody's any more
        if self._scan_task is None:
            self._scan_over()
            return
        # Home Assistant has cancelled the scan; the port is free only when that has let go of it
        self._scan_task.add_done_callback(self._scan_over)

    @callback
    def _scan_over(self, _: object = None) -> None:
        self._release_port()
        self._resume_entry()
