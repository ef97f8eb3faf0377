"""Which CAN adapters the dialog offers, which announce themselves, and those that others have."""

from dataclasses import replace
import json
from pathlib import Path
from typing import Any

from homeassistant.components import usb
from homeassistant.config_entries import SOURCE_IGNORE, SOURCE_USB, ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers.service_info.usb import UsbServiceInfo
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.lfp_battery import buses
from custom_components.lfp_battery.bms.protocols.can import CAN
from custom_components.lfp_battery.bms.transports.can_address import Interface, Silence, parse_can_address
from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_PACKS, DOMAIN
from tests.flow_line import BUS, SOCKETCAN, TEXTS, FlowLine, offered, readable, suggested

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
    assert offered(form) == {
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
    assert suggested(form, CONF_DEVICE) == preselected


async def test_ports_that_cannot_be_listed_are_no_obstacle(line: FlowLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address can still be typed."""

    async def fail(hass: HomeAssistant) -> None:
        raise OSError("no such thing here")

    monkeypatch.setattr(usb, "async_scan_serial_ports", fail)
    form = await line.open_bus_form()
    assert form["step_id"] == "can"
    assert offered(form).keys() <= {str(bus.address) for bus in buses.links()}


def test_the_dialog_has_words_for_every_kind_of_silence_and_adapter() -> None:
    """Also for kinds that nobody has listed yet."""
    words = TEXTS["selector"]
    assert {kind.value for kind in Silence} < set(words["silence"]["options"])
    assert {"socketcan_up", "socketcan_down"} < set(words["bus"]["options"])
    assert {Interface.SLCAN.value, Interface.SEEEDSTUDIO.value} < set(words["bus"]["options"])
    assert set(words["tells"]["options"]) == set(CAN)


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
    assert suggested(form, CONF_DEVICE) == BUS
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
