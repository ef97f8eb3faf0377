"""Setting up a battery on a CAN bus, on simulated buses: every way through the dialog and every way out."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
import json
from pathlib import Path
from typing import Any, override

from homeassistant.components import usb
from homeassistant.config_entries import SOURCE_IGNORE, SOURCE_RECONFIGURE, SOURCE_USB, SOURCE_USER, ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers.service_info.usb import UsbServiceInfo
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.lfp_battery import buses
from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame
from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.bms.discovery import bus as discovery_bus
from custom_components.lfp_battery.bms.errors import LinkProblem
from custom_components.lfp_battery.bms.protocols.can import CAN
from custom_components.lfp_battery.bms.transports.can_address import Interface, Silence, parse_can_address
from custom_components.lfp_battery.const import (
    CONF_ACKNOWLEDGE,
    CONF_ADDRESSES,
    CONF_BANK,
    CONF_BAUDRATE,
    CONF_PACKS,
    DOMAIN,
)
from custom_components.lfp_battery.diagnostics import async_get_config_entry_diagnostics
from tests.flow_line import BUS, TEXTS, FlowLine, readable
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.can.bus import SimBus
from tests.simulator.can.families import SETS, make_speaker
from tests.simulator.can.slcan_adapter import SlcanPty
from tests.simulator.pack import PackSpec, SimPack

SOCKETCAN = "socketcan:can0"
USB_CAN = "seeedstudio:/dev/ttyUSB3"


@pytest.fixture
async def line(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[FlowLine]:
    """Simulated buses in place of real ones; every entry is unloaded at the end."""
    line = FlowLine(hass, monkeypatch)
    yield line
    await line.unload()


def _suggested(result: Any, key: str) -> Any:
    """What a field of a form is filled with."""
    return next(name.description["suggested_value"] for name in result["data_schema"].schema if name == key)


def _offered(result: Any) -> dict[str, str]:
    """The adapters that the form lists, by address."""
    return {option["value"]: option["label"] for option in result["data_schema"].schema[CONF_DEVICE].config["options"]}


# --- the way through -------------------------------------------------------------------------------------------------


async def test_a_battery_on_a_bus_is_heard_shown_and_kept(line: FlowLine) -> None:
    """From the menu to the entry: the report names the set of frames, the maker, the inverter and what can be told."""
    line.plug_bus(inverter="generic")
    result = await line.listen()
    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] == "confirm_can"
    shown = result["description_placeholders"]
    assert shown["protocol"] == "Pylon CAN"
    assert shown["rate"] == "500 kbit/s"
    assert shown["maker"] == "It calls itself: PYLON."
    assert shown["inverter"] == "An inverter was heard beside it."
    assert shown["tells"] == TEXTS["selector"]["tells"]["options"]["pylon"]
    assert shown["silence"].startswith("The adapter only listens")
    (row,) = shown["packs"].splitlines()
    assert row.startswith("| – |")
    assert " V |" in row

    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    entry = result["result"]
    assert entry.data[CONF_DEVICE] == BUS
    assert entry.data[CONF_PROTOCOL] == "pylon"
    assert entry.data[CONF_BAUDRATE] == 500_000
    assert list(entry.data[CONF_ADDRESSES]) == [0]
    assert entry.data[CONF_PACKS] == {}
    assert "soc" in entry.data[CONF_BANK]["fields"]
    assert CONF_ACKNOWLEDGE not in entry.options
    assert entry.state is ConfigEntryState.LOADED
    assert entry.title == "PYLON"


@pytest.mark.parametrize("name", sorted({one.family: one.name for one in SETS.values()}.values()))
async def test_every_family_is_set_up_by_its_name(line: FlowLine, name: str) -> None:
    """Each set of frames is recognised, named in words, and said what it tells."""
    habits = {"afore": "afore", "megarevo": "megarevo", "growatt": "growatt"}
    family = SETS[name].family
    line.plug_bus(sends=name, inverter=habits.get(family, "generic"))
    result = await line.listen()
    assert result["step_id"] == "confirm_can"
    shown = result["description_placeholders"]
    assert shown["protocol"] == TEXTS["selector"]["protocol"]["options"][family]
    assert shown["tells"] == TEXTS["selector"]["tells"]["options"][family]
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"][CONF_PROTOCOL] == family


@pytest.mark.parametrize(("name", "inverter"), [("growatt", "growatt"), ("deye_pcs", "deye")])
async def test_a_code_is_no_name(line: FlowLine, name: str, inverter: str) -> None:
    """Two letters that stand for a maker tell a person nothing."""
    line.plug_bus(sends=name, inverter=inverter)
    result = await line.listen()
    assert result["description_placeholders"]["maker"] == ""


def test_what_switches_itself_off_says_so_before_it_is_set_up() -> None:
    """Else it would seem broken after half an hour without an inverter."""
    assert "switches itself off after 25 to 60 minutes" in TEXTS["selector"]["tells"]["options"]["growatt"]


async def test_packs_that_tell_of_themselves_are_listed_and_kept(line: FlowLine) -> None:
    """Only Deye's own set has frames of single packs, with their serial numbers."""
    line.plug_bus(sends="deye_pcs", packs=3, inverter="deye")
    result = await line.listen()
    shown = result["description_placeholders"]
    assert [row.split(" | ")[0] for row in shown["packs"].splitlines()] == ["| 1", "| 2", "| 3"]
    result = await line.submit(result, {})
    assert list(result["data"][CONF_ADDRESSES]) == [1, 2, 3]
    assert set(result["data"][CONF_PACKS]) == {"1", "2", "3"}
    assert all("identifier" in record for record in result["data"][CONF_PACKS].values())
    assert "soc" in result["data"][CONF_BANK]["fields"]


async def test_a_battery_alone_with_the_adapter_is_acknowledged(line: FlowLine) -> None:
    """Without an inverter somebody has to; the choice is kept with the options."""
    bus = line.plug_bus(alone=True)
    result = await line.listen(acknowledge=True)
    assert result["step_id"] == "confirm_can"
    assert result["description_placeholders"]["inverter"] == "No inverter was heard."
    assert result["description_placeholders"]["silence"].startswith("The adapter acknowledges")
    result = await line.submit(result, {})
    assert result["options"] == {CONF_ACKNOWLEDGE: True}
    assert [port.silent for port in bus.ports if port.is_open] == [False]


async def test_automatic_finds_the_other_bit_rate_with_an_adapter_that_keeps_silent(line: FlowLine) -> None:
    """Both rates are listened at in turn; the entry keeps the one at which something was heard."""
    line.plug_bus(bitrate=250_000)
    entry = await line.add_bus(baudrate="auto")
    assert entry.data[CONF_BAUDRATE] == 250_000
    assert [rate for _, rate in line.opened] == [500_000, 250_000, 250_000]


async def test_the_rate_of_an_interface_is_not_ours(line: FlowLine) -> None:
    """SocketCAN has the rate that it was brought up with, and says nothing of its silence."""
    line.plug_bus(SOCKETCAN)
    result = await line.listen("can0", baudrate="auto")
    shown = result["description_placeholders"]
    assert shown["device"] == SOCKETCAN
    assert shown["rate"] == "the bit rate is set outside of Home Assistant"
    assert "sudo ip link set can0 up type can bitrate 500000 listen-only on" in shown["silence"]
    result = await line.submit(result, {})
    assert result["data"][CONF_BAUDRATE] is None
    assert result["title"] == "PYLON"
    assert [rate for _, rate in line.opened] == [None, None]


@pytest.mark.parametrize(("device", "alone"), [("seeedstudio:/dev/ttyUSB3", False), ("gs_usb:0", True)])
async def test_what_is_known_of_the_adapter_s_silence_is_said(line: FlowLine, device: str, alone: bool) -> None:
    """Where it is not ensured the person learns it before going on."""
    line.plug_bus(device)
    result = await line.listen(device, acknowledge=alone)
    said = TEXTS["selector"]["silence"]["options"][parse_can_address(device).adapter.silence.value]
    assert result["description_placeholders"]["silence"] == said


async def test_it_is_said_what_goes_on_meanwhile(hass: HomeAssistant, line: FlowLine) -> None:
    """That nothing is sent, at which bit rate, and what was recognised so far, in words also where that is nothing."""
    line.plug_bus()
    flow = await line.submit(await line.open_bus_form(), {CONF_DEVICE: BUS})
    assert flow["progress_action"] == "on_bus"
    said = {"device": BUS, "rate": "500 kbit/s", "recognised": "No battery has been recognised yet."}
    assert flow["description_placeholders"] == said
    for _ in range(4):
        await line.clock.advance(1)
    flow = readable(await hass.config_entries.flow.async_configure(flow["flow_id"]))
    assert flow["description_placeholders"] == {**said, "recognised": "Recognised so far: Pylon CAN."}
    hass.config_entries.flow.async_abort(flow["flow_id"])


# --- adapters --------------------------------------------------------------------------------------------------------


def _network(root: Path, name: str, kind: str, flags: str) -> None:
    (root / name).mkdir(parents=True)
    (root / name / "type").write_text(f"{kind}\n")
    (root / name / "flags").write_text(f"{flags}\n")


def test_interfaces_of_the_kernel_are_found_with_their_state(tmp_path: Path) -> None:
    """Only those of CAN, and whether they are up; a broken or missing directory is none."""
    _network(tmp_path, "can0", "280", "0x40081")
    _network(tmp_path, "can1", "280", "0x40080")
    _network(tmp_path, "eth0", "1", "0x1003")
    _network(tmp_path, "odd0", "280", "nonsense")
    (tmp_path / "gone0").mkdir()
    found = buses.links(tmp_path)
    assert [(str(bus.address), bus.up) for bus in found] == [("socketcan:can0", True), ("socketcan:can1", False)]
    assert buses.links(tmp_path / "nowhere") == []


async def test_what_is_there_can_be_chosen(
    hass: HomeAssistant, line: FlowLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interfaces with their state, serial ports as slcan, those with the chip of the analysers also as such."""
    both = parse_can_address("can0"), parse_can_address("can1")
    links = [buses.FoundBus(address=one, name=one.channel, up=one is both[1], sure=True) for one in both]
    monkeypatch.setattr(buses, "links", lambda: links)

    def ports(hass: HomeAssistant) -> list[usb.SerialDevice]:
        more: dict[str, Any] = {"serial_number": None, "manufacturer": None}
        return [
            usb.USBDevice(device="/dev/ttyACM0", vid="16D0", pid="117E", description="CANable2", **more),
            usb.USBDevice(device="/dev/ttyUSB0", vid="1A86", pid="7523", description=None, **more),
            usb.SerialDevice(device="/dev/ttyS0", description=None, **more),
        ]

    form = await line.open_bus_form()
    remove = usb.async_register_serial_port_scanner(hass, ports)
    form = await line.submit(form, {CONF_DEVICE: "?"})
    remove()
    assert _offered(form) == {
        "socketcan:can0": "can0 (SocketCAN, down)",
        "socketcan:can1": "can1 (SocketCAN, up)",
        "slcan:/dev/ttyACM0": "/dev/ttyACM0 – CANable2 (serial port)",
        "slcan:/dev/ttyUSB0": "/dev/ttyUSB0 (serial port)",
        "seeedstudio:/dev/ttyUSB0": "/dev/ttyUSB0 (serial port of a Seeed or Waveshare analyser)",
        "slcan:/dev/ttyS0": "/dev/ttyS0 (serial port)",
    }


_CAN0, _CAN1 = (
    buses.FoundBus(address=parse_can_address(name), name=name, up=name == "can1", sure=True)
    for name in ("can0", "can1")
)
_MORE: dict[str, Any] = {"serial_number": None, "manufacturer": None}
_SERIAL = usb.SerialDevice(device="/dev/ttyS0", description=None, **_MORE)
_BRIDGE = usb.USBDevice(device="/dev/ttyUSB0", vid="1A86", pid="7523", description="USB Serial", **_MORE)
_SOLD = usb.USBDevice(device="/dev/ttyACM1", vid="16D0", pid="117E", description="Something else", **_MORE)
_CANTACT = usb.USBDevice(device="/dev/ttyACM0", vid="AD50", pid="60C4", description=None, **_MORE)


@pytest.mark.parametrize(
    ("links", "ports", "preselected"),
    [
        ([], [], ""),
        ([], [_SERIAL, _BRIDGE, _SOLD], ""),
        ([], [_SERIAL, _CANTACT], "slcan:/dev/ttyACM0"),
        ([_CAN0], [_SERIAL, _CANTACT], "socketcan:can0"),
        ([_CAN0, _CAN1], [], "socketcan:can1"),
    ],
)
async def test_only_what_is_sure_to_be_for_can_is_preselected(
    hass: HomeAssistant,
    line: FlowLine,
    monkeypatch: pytest.MonkeyPatch,
    links: list[buses.FoundBus],
    ports: list[usb.SerialDevice],
    preselected: str,
) -> None:
    """Commands for an adapter must not go to a port that may lead to anything because somebody went on in haste."""
    monkeypatch.setattr(buses, "links", lambda: list(links))

    async def scan(hass: HomeAssistant) -> list[usb.SerialDevice]:
        return ports

    monkeypatch.setattr(usb, "async_scan_serial_ports", scan)
    form = await line.open_bus_form()
    assert _suggested(form, CONF_DEVICE) == preselected


async def test_ports_that_cannot_be_listed_are_no_obstacle(line: FlowLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address can still be typed."""

    async def fail(hass: HomeAssistant) -> None:
        raise OSError("no such thing here")

    monkeypatch.setattr(usb, "async_scan_serial_ports", fail)
    form = await line.open_bus_form()
    assert form["step_id"] == "can"
    assert _offered(form).keys() <= {str(bus.address) for bus in buses.links()}


def test_the_dialog_has_words_for_every_kind_of_silence_and_adapter() -> None:
    """Also for kinds that nobody has listed yet."""
    words = TEXTS["selector"]
    assert {kind.value for kind in Silence} < set(words["silence"]["options"])
    assert {"socketcan_up", "socketcan_down"} < set(words["bus"]["options"])
    assert {Interface.SLCAN.value, Interface.SEEEDSTUDIO.value} < set(words["bus"]["options"])
    assert set(words["tells"]["options"]) == set(CAN)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        ("", "bad_bus"),
        ("   ", "bad_bus"),
        ("x" * 5000, "bad_bus"),
        ("can0; rm -rf /", "bad_bus"),
        ("slcan:", "bad_bus"),
        ("slcan:/dev/tty\x00USB0", "bad_bus"),
        ("socketcand:nowhere", "bad_bus"),
        ("file:///etc/passwd", "bad_bus"),
        ("canalystii:🔋", "bad_bus"),
        ("socketcand:me:secret@host:29536/can0", "credentials"),
        ("slcan:socket://me:secret@host:1", "credentials"),
    ],
)
async def test_nonsense_is_refused_without_opening_anything(line: FlowLine, typed: str, error: str) -> None:
    """What is no address of an adapter is not opened; the typed text stays to be corrected."""
    result = await line.submit(await line.open_bus_form(), {CONF_DEVICE: typed})
    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] == "can"
    assert result["errors"] == {"base": error}
    assert _suggested(result, CONF_DEVICE) == typed
    assert line.opened == []


@pytest.mark.parametrize(
    ("device", "asked", "error"),
    [
        ("seeedstudio:/dev/ttyUSB3", {"baudrate": "auto"}, "rate_not_probed"),
        ("gs_usb:0", {"baudrate": "auto", "acknowledge": True}, "rate_not_probed"),
        ("canalystii:0", {"baudrate": "auto", "acknowledge": True}, "rate_not_probed"),
        ("gs_usb:0", {}, "never_silent"),
        ("canalystii:0", {}, "never_silent"),
        (BUS, {"baudrate": "auto", "acknowledge": True}, "rate_not_probed_aloud"),
        (SOCKETCAN, {"acknowledge": True}, "acknowledge_outside"),
        ("socketcand:host:29536/can0", {"acknowledge": True}, "acknowledge_outside"),
    ],
)
async def test_what_could_do_harm_is_refused_in_words(
    line: FlowLine, device: str, asked: dict[str, Any], error: str
) -> None:
    """A rate is tried out only where the adapter is sure to keep silent; nothing is opened, and the form leads on."""
    line.plug_bus(device)
    result = await line.submit(await line.open_bus_form(), {CONF_DEVICE: device, **asked})
    assert result["errors"] == {"base": error}
    assert line.opened == []
    text = TEXTS["config"]["error"][error].format(**result["description_placeholders"])
    if error == "acknowledge_outside":
        assert "listen-only off" in text
    alone = parse_can_address(device).adapter.silence is Silence.NEVER
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: device, CONF_ACKNOWLEDGE: alone}))
    assert result["step_id"] == "confirm_can"


async def test_who_is_not_alone_with_the_adapter_must_not_acknowledge(line: FlowLine) -> None:
    """An inverter was heard all the same: the choice is not kept, and without it the battery is set up."""
    bus = line.plug_bus(inverter="victron")
    result = await line.listen(acknowledge=True)
    assert result["step_id"] == "can"
    assert result["errors"] == {"base": "not_alone"}
    assert result["description_placeholders"]["inverter"] == "A Victron system was heard beside it."
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: BUS, CONF_ACKNOWLEDGE: False}))
    result = await line.submit(result, {})
    assert result["options"] == {}
    assert [port.silent for port in bus.ports if port.is_open] == [True]


async def test_settings_keep_that_an_adapter_without_a_choice_is_alone(line: FlowLine) -> None:
    """What was said at set-up is not lost where the settings do not ask for it."""
    line.plug_bus("gs_usb:0")
    entry = await line.add_bus("gs_usb:0", acknowledge=True)
    form = await line.hass.config_entries.options.async_init(entry.entry_id)
    await line.drive(line.hass.config_entries.options.async_configure(form["flow_id"], {"soc_floor": 20}))
    assert entry.options[CONF_ACKNOWLEDGE] is True
    assert entry.options["soc_floor"] == 20


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (LinkProblem.MISSING, "bus_missing"),
        (LinkProblem.PERMISSION, "no_permission"),
        (LinkProblem.BUSY, "port_busy"),
        (LinkProblem.UNREACHABLE, "unreachable"),
        (LinkProblem.DOWN, "bus_down"),
        (LinkProblem.DRIVER, "driver_missing"),
        (LinkProblem.LOST, "adapter_lost"),
        (LinkProblem.FAILED, "cannot_open"),
    ],
)
async def test_a_bus_that_does_not_open_is_explained_and_can_be_tried_again(
    line: FlowLine, problem: LinkProblem, error: str
) -> None:
    """Each reason has its own words; once it is gone, the same form leads on."""
    line.plug_bus()
    line.refusals[BUS] = problem
    result = await line.listen()
    assert result["step_id"] == "can"
    assert result["errors"] == {"base": error}
    assert _suggested(result, CONF_DEVICE) == BUS

    line.refusals.clear()
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: BUS}))
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize(
    ("typed", "device", "error"),
    [
        ("hello", "socketcan:hello", "interface_missing"),
        ("can7", "socketcan:can7", "interface_missing"),
        ("/dev/ttyUSB99", "slcan:/dev/ttyUSB99", "bus_missing"),
        ("", "", "bad_bus"),
    ],
)
async def test_what_leads_nowhere_is_answered_with_what_can_be_typed(
    line: FlowLine, typed: str, device: str, error: str
) -> None:
    """Any word could be the name of an interface; a slip of the pen is told which forms there are."""
    line.plug_bus(device)
    line.refusals[device] = LinkProblem.MISSING
    result = await line.submit(await line.open_bus_form(), {CONF_DEVICE: typed})
    if result["type"] is FlowResultType.SHOW_PROGRESS:
        result = await line.scanned(result)
    assert result["errors"] == {"base": error}
    text = TEXTS["config"]["error"][error].format(**result["description_placeholders"])
    assert all(form in text for form in ("/dev/ttyUSB0", "socketcan:can0", "slcan:socket://"))
    assert "ip link" not in text


async def test_an_interface_that_is_down_comes_with_the_command_that_brings_it_up(line: FlowLine) -> None:
    """To be copied, with the name of this very interface: listening only, without an inverter, and how to take it down."""
    line.plug_bus("socketcan:can3")
    line.refusals["socketcan:can3"] = LinkProblem.DOWN
    result = await line.listen("can3")
    text = TEXTS["config"]["error"]["bus_down"].format(**result["description_placeholders"])
    for command in ("up type can bitrate 500000 listen-only on", "up type can bitrate 500000 listen-only off", "down"):
        assert f"sudo ip link set can3 {command}" in text


@pytest.mark.parametrize(
    ("device", "package"), [("gs_usb:0", "gs-usb"), ("canalystii:1", "canalystii"), (SOCKETCAN, "python-can")]
)
async def test_a_missing_library_is_named_and_socketcan_recommended(line: FlowLine, device: str, package: str) -> None:
    """On Home Assistant OS a library cannot be installed by hand, and most adapters need none."""
    line.plug_bus(device)
    line.refusals[device] = LinkProblem.DRIVER
    result = await line.listen(device, acknowledge=parse_can_address(device).adapter.silence is Silence.NEVER)
    shown = result["description_placeholders"]
    assert shown["package"] == package
    assert "SocketCAN" in shown["advice"]
    assert "Home Assistant OS" in shown["advice"]


async def test_an_adapter_that_vanishes_while_it_is_listened_to_is_said(line: FlowLine) -> None:
    """Pulled out, it is a lost adapter and not a missing one."""
    bus = line.plug_bus(sends=None)
    flow = await line.submit(await line.open_bus_form(), {CONF_DEVICE: BUS})
    await line.clock.advance(3)
    for port in bus.ports:
        port.unplug()
    result = await line.scanned(flow)
    assert result["errors"] == {"base": "adapter_lost"}


# --- nothing that can be set up --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "asked", "advice"),
    [
        (BUS, {}, "only 500 kbit/s was tried"),
        (BUS, {"baudrate": "250000"}, "only 250 kbit/s was tried"),
        (BUS, {"baudrate": "auto"}, ""),
        (SOCKETCAN, {}, "set outside of Home Assistant"),
        ("socketcand:host:29536/can0", {}, "set outside of Home Assistant"),
        ("udp_multicast:239.74.163.2", {}, ""),
    ],
)
async def test_silence_is_called_so(line: FlowLine, device: str, asked: dict[str, Any], advice: str) -> None:
    """Not a frame, not an error; where another bit rate may be the reason it is named as one."""
    line.plug_bus(device, sends=None)
    result = await line.listen(device, **asked)
    assert result["errors"] == {"base": "bus_silent"}
    said = result["description_placeholders"]["advice"]
    assert advice in said
    assert bool(advice) is bool(said)


async def test_a_wrong_bit_rate_on_slcan_is_named_although_it_looks_like_silence(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real port and a real adapter's words: it reports no errors, so nothing at all is heard."""
    monkeypatch.setattr(discovery_bus, "_SILENCE", 1.0)
    clock = SystemClock()
    battery = make_speaker("pylon", SimBank(make_packs(1, first=1), clock))
    adapter = SlcanPty(SimBus(battery, clock=clock, bitrate=250_000))
    adapter.replug()
    try:
        manager = hass.config_entries.flow
        menu = await manager.async_init(DOMAIN, context={"source": SOURCE_USER})
        form = await manager.async_configure(menu["flow_id"], {"next_step_id": "can"})
        form = await manager.async_configure(form["flow_id"], {CONF_DEVICE: f"slcan:{adapter.path}"})
        while manager.async_get(form["flow_id"])["step_id"] == "scan":
            await asyncio.sleep(0.05)
        result = readable(await manager.async_configure(form["flow_id"]))
    finally:
        adapter.stop()
    assert result["errors"] == {"base": "bus_silent"}
    assert "only 500 kbit/s was tried" in result["description_placeholders"]["advice"]
    manager.async_abort(result["flow_id"])


@pytest.mark.parametrize(("device", "advice"), [(BUS, "other bit rate"), (SOCKETCAN, "take the interface down")])
async def test_a_wrong_bit_rate_is_called_so(line: FlowLine, device: str, advice: str) -> None:
    """Only errors; what helps depends on who sets the rate."""
    line.plug_bus(device, bitrate=250_000)
    if device == SOCKETCAN:  # which cannot have a wrong rate here
        line.buses[device].nodes.clear()
        errors = line.buses[device]
        line.clock.call_later(2.0, lambda: errors.disturb(50))
    result = await line.listen(device)
    assert result["errors"] == {"base": "wrong_rate"}
    assert advice in result["description_placeholders"]["advice"]


class _Deaf(SimBus):
    """A bus whose battery hears nobody."""

    @property
    @override
    def acknowledged(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("device", "asked", "advice"),
    [
        (BUS, {}, "turn on"),
        (USB_CAN, {}, "turn on"),
        (SOCKETCAN, {}, "listen-only off"),
        ("gs_usb:0", {CONF_ACKNOWLEDGE: True}, "swapped"),
        (BUS, {CONF_ACKNOWLEDGE: True}, "swapped"),
    ],
)
async def test_a_battery_that_nobody_acknowledges_is_explained(
    line: FlowLine, device: str, asked: dict[str, Any], advice: str
) -> None:
    """One frame over and over; what helps depends on the adapter."""
    bus = line.plug_bus(device, alone=True)
    if asked:  # what the adapter says does not arrive
        line.buses[device] = _Deaf(*bus.nodes, clock=line.clock, alone=True)
    result = await line.listen(device, **asked)
    assert result["errors"] == {"base": "unacknowledged"}
    assert advice in result["description_placeholders"]["advice"]


async def test_the_bit_rate_that_was_found_is_kept_for_an_adapter_that_is_to_acknowledge(line: FlowLine) -> None:
    """Who follows the advice would else be refused: an adapter that acknowledges must not try out rates."""
    line.plug_bus(bitrate=250_000, alone=True)
    result = await line.listen(baudrate="auto")
    assert result["errors"] == {"base": "unacknowledged"}
    assert _suggested(result, CONF_BAUDRATE) == "250000"
    asked = {name: _suggested(result, name) for name in (CONF_DEVICE, CONF_BAUDRATE)}
    result = await line.scanned(await line.submit(result, {**asked, CONF_ACKNOWLEDGE: True}))
    assert result["step_id"] == "confirm_can"
    assert result["description_placeholders"]["rate"] == "250 kbit/s"


@pytest.mark.parametrize(
    ("inverter", "named"), [("victron", "A Victron system was heard"), ("growatt", "A Growatt inverter was heard")]
)
async def test_an_inverter_without_a_battery_is_called_so(line: FlowLine, inverter: str, named: str) -> None:
    """And which it is, once."""
    line.plug_bus(sends=None, inverter=inverter)
    result = await line.listen()
    assert result["errors"] == {"base": "inverter_only"}
    text = TEXTS["config"]["error"]["inverter_only"].format(**result["description_placeholders"])
    assert text.startswith(f"{named}, but no battery. Check")


def test_every_inverter_has_words_with_a_battery_and_without_one() -> None:
    """The same ones."""
    words = TEXTS["selector"]
    assert set(words["inverter"]["options"]) - {"none"} == set(words["only_inverter"]["options"])


async def _chatter(line: FlowLine, *ids: int) -> Any:
    """What a person sees where these are all that is heard."""
    bus = line.plug_bus(sends=None)

    def send() -> None:
        bus.inject(*(CanFrame(id=frame_id, data=bytes(8)) for frame_id in ids))
        line.clock.call_later(0.5, send)

    send()
    return await line.listen()


async def test_a_high_voltage_battery_is_out_of_scope(line: FlowLine) -> None:
    """Recognised by its ids, and refused with the reason."""
    result = await _chatter(line, *(0x4210 + 16 * n | EXTENDED for n in range(8)))
    assert result["errors"] == {"base": "other_set"}
    assert "high-voltage" in result["description_placeholders"]["advice"]


async def test_the_port_between_packs_is_called_so(line: FlowLine) -> None:
    """Frames that packs send each other."""
    result = await _chatter(line, *(0x18F20000 + n | EXTENDED for n in range(4)))
    assert result["errors"] == {"base": "bus_between_packs"}


async def test_a_set_that_is_recognised_and_not_read_is_called_so(line: FlowLine) -> None:
    """With what else the battery might be set to."""
    result = await _chatter(line, 0x2F4, 0x4F4, 0x5F4, 0x7F4)
    assert result["errors"] == {"base": "other_set"}
    assert "Victron or Pylon" in result["description_placeholders"]["advice"]


async def test_unknown_frames_are_offered_as_a_file_for_a_report(line: FlowLine) -> None:
    """Whoever has such a battery can help."""
    result = await _chatter(line, 0x123, 0x124, 0x125)
    assert result["errors"] == {"base": "unknown_frames"}
    assert "download what was heard" in result["description_placeholders"]["capture"]


# --- adapters that others have ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "typed"),
    [
        (BUS, BUS),
        ("/dev/ttyCAN", BUS),
        (BUS, "seeedstudio:/dev/ttyCAN"),
        (SOCKETCAN, "can0"),
        ("socketcand:host:29536/can0", "socketcand:HOST/can0"),
    ],
)
async def test_a_bus_that_is_set_up_already_ends_the_flow(
    hass: HomeAssistant, line: FlowLine, kept: str, typed: str
) -> None:
    """However it is spelled, and also where a serial line is read over the same port."""
    MockConfigEntry(domain=DOMAIN, title="Cellar", data={CONF_DEVICE: kept}).add_to_hass(hass)
    result = await line.submit(await line.open_bus_form(), {CONF_DEVICE: typed})
    assert result["reason"] == "already_configured"
    assert result["description_placeholders"] == {"title": "Cellar"}
    assert line.opened == []


async def test_another_interface_is_another_bus(hass: HomeAssistant, line: FlowLine) -> None:
    """Names of interfaces differ by capital letters, too."""
    for kept in ("socketcan:CAN0", "socketcan:can1", "slcan:/dev/ttyOTHER", "socketcand:host:29536/can0"):
        data = {CONF_DEVICE: kept, CONF_PROTOCOL: "pylon", CONF_ADDRESSES: [0], CONF_PACKS: {}}
        MockConfigEntry(domain=DOMAIN, title=kept, data=data).add_to_hass(hass)
    line.plug_bus(SOCKETCAN)
    assert (await line.listen("can0"))["step_id"] == "confirm_can"


async def test_a_port_that_another_integration_uses_is_not_touched(hass: HomeAssistant, line: FlowLine) -> None:
    """A serial adapter for CAN is a serial port that somebody may have open."""
    other = MockConfigEntry(domain="kaco_rs485", title="Inverters on the roof", data={"port": "/dev/ttyCAN"})
    other.add_to_hass(hass)
    other.mock_state(hass, ConfigEntryState.LOADED)
    result = await line.submit(await line.open_bus_form(), {CONF_DEVICE: BUS})
    assert result["errors"] == {"base": "port_busy_known"}
    assert result["description_placeholders"]["owner"] == "Inverters on the roof"
    other.mock_state(hass, ConfigEntryState.NOT_LOADED)


async def test_the_port_of_an_adapter_is_shown_where_home_assistant_looks_for_it(
    hass: HomeAssistant, line: FlowLine
) -> None:
    """Other integrations, and its page of serial ports, see who uses it; an interface is none, and leaves none behind."""
    line.plug_bus()
    entry = await line.add_bus()
    (used,) = (await usb.async_get_serial_port_consumers(hass, []))["/dev/ttyCAN"]
    assert used.config_entry_id == entry.entry_id
    found = await async_get_config_entry_diagnostics(hass, entry)
    assert found["entry"]["data"]["port"] == "/dev/ttyCAN"

    line.plug_bus(SOCKETCAN)
    result = await _reconfigure(line, entry, "can0")
    await line.submit(result, {})
    await line.settle(12)
    assert await usb.async_get_serial_port_consumers(hass, []) == {}
    assert "port" not in entry.data


async def test_two_dialogs_never_have_one_gateway_at_a_time(hass: HomeAssistant, line: FlowLine) -> None:
    """Whichever of them it is for: the later one ends the earlier, which lets go first."""
    gateway = "socket://10.0.0.9:8899"
    bus = line.plug_bus(f"slcan:{gateway}")
    line.plug_bus("slcan:SOCKET://10.0.0.9:8899/")
    line.plug(gateway)
    first = await line.submit(await line.open_bus_form(), {CONF_DEVICE: f"slcan:{gateway}"})
    await line.clock.advance(1)
    assert any(port.is_open for port in bus.ports)
    second = await line.submit(await line.open_bus_form(), {CONF_DEVICE: "slcan:SOCKET://10.0.0.9:8899/"})
    await line.clock.advance(1)
    assert not any(port.is_open for port in bus.ports)
    third = await line.submit(await line.open_form(), {CONF_DEVICE: gateway})
    await line.clock.advance(1)
    assert not any(port.is_open for one in line.buses.values() for port in one.ports)
    left = {flow["flow_id"] for flow in hass.config_entries.flow.async_progress_by_handler(DOMAIN)}
    assert left == {third["flow_id"]}
    assert first["flow_id"] != second["flow_id"]
    hass.config_entries.flow.async_abort(third["flow_id"])
    await line.clock.advance(10)


async def test_the_same_battery_over_a_serial_line_is_pointed_out(hass: HomeAssistant, line: FlowLine) -> None:
    """Its packs say the same serial numbers here and there."""
    bus = line.plug_bus(sends="deye_pcs", packs=1, inverter="deye")
    speaker: Any = bus.nodes[0]
    (pack,) = speaker.bank.packs.values()
    line.plug(packs={2: pack})
    other = await line.add()
    result = await line.listen()
    notes = result["description_placeholders"]["notes"]
    assert f"serial numbers that were found here are part of {other.title}" in notes


# --- an adapter that announces itself --------------------------------------------------------------------------------

_CANABLE = UsbServiceInfo(
    device="/dev/ttyCAN",
    vid="16D0",
    pid="117E",
    serial_number="205B38B43136",
    manufacturer="Openlight Labs",
    description="CANable2 b158aa7 github.com/normaldotcom/canable2.git",
)


def test_home_assistant_recognises_such_an_adapter_by_the_manifest(hass: HomeAssistant) -> None:
    """By its ids, where these are sold one by one by its name as well; a generic bridge is none."""
    manifest = json.loads((Path(buses.__file__).parent / "manifest.json").read_text(encoding="utf-8"))

    def matches(vid: str, pid: str, description: str | None) -> bool:
        device = usb.USBDevice(
            device="/dev/ttyX", vid=vid, pid=pid, serial_number=None, manufacturer=None, description=description
        )
        return any(usb.usb_device_matches_matcher(device, matcher) for matcher in manifest["usb"])

    assert matches("16D0", "117E", _CANABLE.description)
    assert matches("AD50", "60C4", None)
    assert not matches("16D0", "117E", "Something else")
    assert not matches("1A86", "7523", "USB Serial")


async def _plug_in(hass: HomeAssistant) -> Any:
    return readable(await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USB}, data=_CANABLE))


async def test_an_adapter_that_can_only_be_for_can_is_offered(hass: HomeAssistant, line: FlowLine) -> None:
    """It is named, and filled in; the rest is asked as always."""
    line.plug_bus()
    form = await _plug_in(hass)
    assert form["step_id"] == "can"
    assert _suggested(form, CONF_DEVICE) == BUS
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["context"]["title_placeholders"]["name"].startswith("CANable2")
    result = await line.submit(await line.scanned(await line.submit(form, {CONF_DEVICE: BUS})), {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["result"].unique_id is None  # the adapter is not the battery


@pytest.mark.parametrize("over", ["bus", "line"])
async def test_an_offer_is_withdrawn_once_its_adapter_is_set_up(hass: HomeAssistant, line: FlowLine, over: str) -> None:
    """The person went through the menu instead; offers of other adapters stay."""
    line.plug_bus()
    line.plug("/dev/ttyCAN")
    await _plug_in(hass)
    other = replace(_CANABLE, device="/dev/ttyOTHER", serial_number="1")
    left = await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USB}, data=other)
    await (line.add_bus() if over == "bus" else line.add("/dev/ttyCAN"))
    assert {flow["flow_id"] for flow in hass.config_entries.flow.async_progress_by_handler(DOMAIN)} == {left["flow_id"]}


async def test_an_adapter_in_use_or_ignored_is_not_offered(hass: HomeAssistant, line: FlowLine) -> None:
    """At every start it is found anew."""
    line.plug_bus()
    await line.add_bus()
    assert (await _plug_in(hass))["reason"] == "already_configured"
    await line.unload()
    for entry in hass.config_entries.async_entries(DOMAIN):
        await hass.config_entries.async_remove(entry.entry_id)
    await _plug_in(hass)
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    ignored = {"unique_id": flow["context"]["unique_id"], "title": "CANable"}
    await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_IGNORE}, data=ignored)
    assert hass.config_entries.flow.async_progress_by_handler(DOMAIN) == []
    result = await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USB}, data=_CANABLE)
    assert result["type"] is FlowResultType.ABORT


# --- reconfiguring ---------------------------------------------------------------------------------------------------


async def _reconfigure(line: FlowLine, entry: Any, device: str, **asked: Any) -> Any:
    form = await line.hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )
    assert form["step_id"] == "reconfigure_can"
    assert _suggested(form, CONF_DEVICE) == entry.data[CONF_DEVICE]
    return await line.scanned(await line.submit(form, {CONF_DEVICE: device, **asked}))


async def test_a_battery_moves_to_another_adapter(line: FlowLine) -> None:
    """Its bank does not say who it is, so the person confirms; the devices stay."""
    line.plug_bus(alone=True)
    entry = await line.add_bus(acknowledge=True)
    before = entry.data[CONF_BANK]
    bus = line.plug_bus(SOCKETCAN)
    result = await _reconfigure(line, entry, "can0")
    assert result["step_id"] == "confirm_move"
    assert f"Is this the battery of {entry.title}?" in result["description_placeholders"]["notes"]
    assert entry.data[CONF_DEVICE] == BUS
    result = await line.submit(result, {})
    assert result["reason"] == "reconfigure_successful"
    await line.settle(12)
    assert entry.data[CONF_DEVICE] == SOCKETCAN
    assert entry.data[CONF_BAUDRATE] is None
    assert entry.data[CONF_BANK]["fields"] == before["fields"]
    assert CONF_ACKNOWLEDGE not in entry.options
    assert entry.state is ConfigEntryState.LOADED
    assert any(port.is_open for port in bus.ports)


@pytest.mark.parametrize(("packs", "asks"), [(None, False), (3, True)])
async def test_single_packs_say_whether_it_is_the_same_battery(line: FlowLine, packs: int | None, asks: bool) -> None:
    """Deye's own set has their serial numbers: the same ones need no word, others are refused."""
    members = make_packs(2, first=1)
    line.plug_bus(sends="deye_pcs", packs=members, inverter="deye")
    entry = await line.add_bus()
    others = (
        {address: SimPack(PackSpec(serial=f"H{address}OTHERPACK0001", seed=address)) for address in range(1, packs + 1)}
        if packs
        else members
    )
    line.plug_bus("slcan:/dev/ttyNEW", sends="deye_pcs", packs=others, inverter="deye")
    result = await _reconfigure(line, entry, "slcan:/dev/ttyNEW")
    assert result["reason"] == ("another_battery" if asks else "reconfigure_successful")
    await line.settle(12)


async def test_a_battery_that_sends_another_set_by_now_is_asked_about(line: FlowLine) -> None:
    """What was Pylon is Victron: it may be another battery, so the person decides."""
    line.plug_bus()
    entry = await line.add_bus()
    line.plug_bus("slcan:/dev/ttyNEW", sends="victron")
    result = await _reconfigure(line, entry, "slcan:/dev/ttyNEW")
    assert result["step_id"] == "confirm_move"
    assert result["description_placeholders"]["protocol"] == "Victron CAN"
    result = await line.submit(result, {})
    assert result["reason"] == "reconfigure_successful"
    await line.settle(12)
    assert entry.data[CONF_PROTOCOL] == "victron"


async def test_a_reconfiguration_that_fails_leaves_the_battery_as_it_was(line: FlowLine) -> None:
    """The form comes back with the reason, and the entry runs again meanwhile."""
    line.plug_bus()
    entry = await line.add_bus()
    line.plug_bus(SOCKETCAN)
    line.refusals[SOCKETCAN] = LinkProblem.DOWN
    result = await _reconfigure(line, entry, "can0")
    assert result["step_id"] == "reconfigure_can"
    assert result["errors"] == {"base": "bus_down"}
    await line.settle(12)
    assert entry.data[CONF_DEVICE] == BUS
    assert entry.state is ConfigEntryState.LOADED
    line.hass.config_entries.flow.async_abort(result["flow_id"])
