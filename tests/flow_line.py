"""A simulated battery behind a port that only exists for one test, and a hand on the flow that scans it."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
import json
from pathlib import Path
import re
from typing import Any

from homeassistant.config_entries import SOURCE_RECONFIGURE, SOURCE_USER, ConfigEntry
from homeassistant.const import CONF_DEVICE
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import config_validation as cv
import probatio
import pytest

from custom_components.lfp_battery import connect
from custom_components.lfp_battery.bms import discovery
from custom_components.lfp_battery.bms.clock import Clock, DrivenClock
from custom_components.lfp_battery.bms.discovery import ScanReport
from custom_components.lfp_battery.bms.errors import LinkProblem
from custom_components.lfp_battery.bms.transports import ByteTransport, CanTransport
from custom_components.lfp_battery.bms.transports.can_address import CanAddress
from custom_components.lfp_battery.const import DOMAIN
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.bus import Bus
from tests.simulator.can.bus import SimBus
from tests.simulator.can.families import make_speaker
from tests.simulator.can.inverter import CanInverter
from tests.simulator.can.speaker import Node
from tests.simulator.faults import Fault, Kind
from tests.simulator.line import MemoryPort
from tests.simulator.pack import SimPack
from tests.simulator.pylon import Profile, PylonSpeaker
from tests.simulator.speaker import Speaker

PORT = "/dev/ttyBANK"
BUS = "slcan:/dev/ttyCAN"
SOCKETCAN = "socketcan:can0"
TEXTS: dict[str, Any] = json.loads((Path(connect.__file__).parent / "translations" / "en.json").read_text())
# Longer than any scan; a flow that is still busy then hangs.
_PATIENCE = 900.0
# After these a dialog is told of something more.
_GOING_ON = frozenset({FlowResultType.SHOW_PROGRESS, FlowResultType.SHOW_PROGRESS_DONE})


def _texts(result: Mapping[str, Any], texts: Mapping[str, Any]) -> Iterator[str]:
    """Every text that the dialog shows for a result; KeyError when one is missing."""
    kind = result["type"]
    if kind is FlowResultType.ABORT and result.get("translation_domain") is None:
        yield texts["abort"][result["reason"]]
    elif kind is FlowResultType.SHOW_PROGRESS:
        yield texts["progress"][result["progress_action"]]
    elif kind is FlowResultType.FORM:
        step = texts["step"][result["step_id"]]
        yield from (step["title"], step.get("description", ""))
        for name in result["data_schema"].schema:
            yield step["data"][str(name)]
            yield step["data_description"][str(name)]
        for error in result["errors"].values() if result["errors"] else ():
            yield texts["error"][error]


def readable(result: Any, flow: str = "config") -> Any:
    """The result, once it is sure that a dialog can show all of it, with words for everything and no blank left."""
    if result["type"] is FlowResultType.FORM:
        assert isinstance(probatio.to_field_list(result["data_schema"], custom_serializer=cv.custom_serializer), list)
    blanks = set(result.get("description_placeholders") or {})
    for text in _texts(result, TEXTS[flow]):
        assert set(re.findall(r"{(\w+)}", text)) <= blanks, text
    return result


def suggested(form: Any, key: str) -> Any:
    """What a field of a form is filled with."""
    return next(name.description["suggested_value"] for name in form["data_schema"].schema if name == key)


def fields(form: Any) -> dict[str, Any]:
    """The fields of a form, and what each is filled with."""
    return {str(name): (name.description or {}).get("suggested_value") for name in form["data_schema"].schema}


def offered(form: Any, key: str = CONF_DEVICE) -> dict[str, str]:
    """What a field of a form offers, and how it is called there."""
    return {option["value"]: option["label"] for option in form["data_schema"].schema[key].config["options"]}


def errors(form: Any) -> dict[str, str]:
    """What a form says is wrong."""
    found: dict[str, str] = form["errors"]
    return found


class FlowLine:
    """One clock, any number of simulated ports by name, and the flows that are driven along that clock."""

    def __init__(self, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put simulated lines where connect.py would open real ones."""
        self.hass = hass
        self.clock = DrivenClock()
        self.ports: dict[str, MemoryPort] = {}
        self.buses: dict[str, SimBus] = {}
        self.refusals: dict[str, LinkProblem] = {}  # what opening a bus fails with
        self.opened: list[tuple[str, int | None]] = []
        self.scanned_with: dict[str, Any] = {}  # what `reported` was asked to look for

        def open_line(hass: HomeAssistant, url: str) -> Callable[[int], ByteTransport]:
            def make(baudrate: int) -> ByteTransport:
                self.opened.append((url, baudrate))
                return self.ports[url].open_line(baudrate)

            return make

        def open_bus(
            hass: HomeAssistant, address: CanAddress, *, acknowledge: bool
        ) -> Callable[[int | None], CanTransport]:
            def make(bitrate: int | None) -> CanTransport:
                self.opened.append((str(address), bitrate))
                if (bus := self.buses.get(str(address))) is None:
                    bus = SimBus(clock=self.clock)
                    bus.unplug()
                    return bus
                port = bus.port(bitrate, silent=not acknowledge)
                port.refusal = self.refusals.get(str(address))
                return port

            return make

        def clock(hass: HomeAssistant) -> Clock:
            return self.clock

        monkeypatch.setattr(connect, "open_line", open_line)
        monkeypatch.setattr(connect, "open_bus", open_bus)
        monkeypatch.setattr(connect, "clock", clock)

    def plug(
        self,
        name: str = PORT,
        packs: int | dict[int, SimPack] = 2,
        *,
        profile: Profile = Profile.C,
        baudrate: int = 9600,
        speaks: Callable[[SimBank], Speaker] | None = None,
        first: int = 2,
    ) -> Bus:
        """Put a bank at the other end of a port; without packs, a line on which nothing answers.

        It speaks Pylon in this `profile` unless it `speaks` another protocol, whose first pack is at address `first`.
        """
        members = make_packs(packs or 1, first=first) if isinstance(packs, int) else packs
        bank = SimBank(members, self.clock)
        bus = Bus(speaks(bank) if speaks else PylonSpeaker(bank, profile), self.clock, baudrate=baudrate)
        if packs == 0:
            bus.faults.add(Fault(kind=Kind.SILENCE))
        self.ports[name] = bus.port
        return bus

    def plug_bus(
        self,
        name: str = BUS,
        sends: str | None = "pylon",
        *,
        packs: int | dict[int, SimPack] = 2,
        inverter: str | None = None,
        **more: Any,
    ) -> SimBus:
        """Put a CAN bus at the other end of an adapter; `sends`: a set of frames, None for no battery."""
        nodes: list[Node] = []
        if sends is not None:
            members = make_packs(packs, first=1) if isinstance(packs, int) else packs
            nodes.append(make_speaker(sends, SimBank(members, self.clock)))
        if inverter is not None:
            nodes.append(CanInverter(inverter))
        bus = self.buses[name] = SimBus(*nodes, clock=self.clock, **more)
        return bus

    # --- driving -----------------------------------------------------------------------------------------------------

    async def drive[T](self, work: Coroutine[Any, Any, T], step: float = 0.5) -> T:
        """Run something that waits for the driven clock as well as for real threads."""
        task = asyncio.ensure_future(work)
        for _ in range(int(_PATIENCE / step)):
            await asyncio.sleep(0.002)
            if task.done():
                return task.result()
            await self.clock.advance(step)
        task.cancel()
        raise AssertionError("still not done")

    async def submit(self, flow: Any, user_input: dict[str, Any] | None) -> Any:
        """Send a form or a choice; the next thing that the person sees."""
        return readable(await self.drive(self.hass.config_entries.flow.async_configure(flow["flow_id"], user_input)))

    async def scanned(self, flow: Any) -> Any:
        """What the person sees once the scan under way is over."""
        assert flow["type"] is FlowResultType.SHOW_PROGRESS, flow
        return readable(await self.drive(self._scanned(flow["flow_id"])))

    async def _scanned(self, flow_id: str) -> Any:
        manager = self.hass.config_entries.flow
        while manager.async_get(flow_id)["step_id"] == "scan":
            await asyncio.sleep(0)
            await self.clock.sleep(0.1)
        return await manager.async_configure(flow_id)

    async def as_a_browser(self, flow: Any, delay: float) -> list[Any]:
        """What a dialog gets that fetches the flow whenever it is told to, and gets an answer after `delay` seconds.

        UnknownFlow in between is what would be shown as an error although all went well.
        """
        assert flow["type"] is FlowResultType.SHOW_PROGRESS, flow
        fetches: list[asyncio.Task[Any]] = []

        async def fetch() -> Any:
            await self.clock.sleep(delay)
            return await self.hass.config_entries.flow.async_configure(flow["flow_id"])

        @callback
        def told(event: Event[Any]) -> None:
            if event.data["flow_id"] == flow["flow_id"]:
                fetches.append(asyncio.ensure_future(fetch()))

        async def until_the_end() -> list[Any]:
            while not fetches or not all(one.done() for one in fetches) or fetches[-1].result()["type"] in _GOING_ON:
                await self.clock.sleep(0.1)
            return [one.result() for one in fetches]

        cancel = self.hass.bus.async_listen("data_entry_flow_progressed", told)
        try:
            return await self.drive(until_the_end(), 0.1)
        finally:
            cancel()

    # --- the user's flow ---------------------------------------------------------------------------------------------

    async def open_form(self) -> Any:
        """The form that asks for the serial port."""
        menu = await self.hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USER})
        assert menu["type"] is FlowResultType.MENU
        return await self.submit(menu, {"next_step_id": "serial"})

    async def open_bus_form(self) -> Any:
        """The form that asks for the CAN adapter."""
        menu = await self.hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USER})
        return await self.submit(menu, {"next_step_id": "can"})

    async def listen(self, device: str = BUS, **asked: Any) -> Any:
        """What a person sees after choosing a bus and waiting until it was listened to."""
        return await self.scanned(await self.submit(await self.open_bus_form(), {CONF_DEVICE: device, **asked}))

    async def add_bus(self, device: str = BUS, **asked: Any) -> ConfigEntry:
        """Go through the whole flow for a bus; the entry that it makes."""
        result = await self.submit(await self.listen(device, **asked), {})
        assert result["type"] is FlowResultType.CREATE_ENTRY, result
        entry: ConfigEntry = result["result"]
        return entry

    async def scan(self, device: str = PORT, **asked: Any) -> Any:
        """What a person sees after choosing a port and waiting for the scan."""
        return await self.scanned(await self.submit(await self.open_form(), {CONF_DEVICE: device, **asked}))

    async def reported(self, report: ScanReport, **asked: Any) -> Any:
        """What a person sees after a scan that ended like this; for endings that need a battery nobody simulates."""

        async def scan(*_: object, **asked: Any) -> ScanReport:
            self.scanned_with = asked
            return report

        self.plug(packs=0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(discovery, "scan", scan)
            return await self.scan(**asked)

    async def add(self, device: str = PORT) -> ConfigEntry:
        """Go through the whole flow; the entry that it makes."""
        result = await self.submit(await self.scan(device), {})
        assert result["type"] is FlowResultType.CREATE_ENTRY, result
        entry: ConfigEntry = result["result"]
        return entry

    async def reconfigure(self, entry: ConfigEntry, device: str = PORT, **asked: Any) -> Any:
        """Send the form of the reconfigure flow; the next thing that the person sees."""
        form = await self.hass.config_entries.flow.async_init(
            DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
        )
        return await self.submit(form, {CONF_DEVICE: device, **asked})

    async def settle(self, seconds: float = 5.0) -> None:
        """Let everything that is under way run on."""
        await self.drive(self.clock.sleep(seconds))

    async def unload(self) -> None:
        """Take every entry down, as a test must before it ends, once reloads under way are over."""
        await self.settle(15)
        for entry in self.hass.config_entries.async_entries(DOMAIN):
            await self.drive(self.hass.config_entries.async_unload(entry.entry_id))
