"""The ports that are typed into the dialog: those that cannot be opened, and those that others have."""

from pathlib import Path
from typing import Any, override

from homeassistant.config_entries import SOURCE_USER, ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.bms.errors import LinkProblem
from custom_components.lfp_battery.bms.transports.serial import SerialTransport
from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_BAUDRATE, CONF_PACKS, DOMAIN
from tests.flow_line import PORT, FlowLine, readable, suggested
from tests.simulator.bank import SimBank
from tests.simulator.bus import Bus
from tests.simulator.line import MemoryPort
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pty_line import PtyLine
from tests.simulator.pylon import PylonSpeaker

# --- the port itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (LinkProblem.MISSING, "port_missing"),
        (LinkProblem.PERMISSION, "no_permission"),
        (LinkProblem.BUSY, "port_busy"),
        (LinkProblem.UNREACHABLE, "unreachable"),
        (LinkProblem.BAD_ADDRESS, "bad_address"),
        (LinkProblem.LOST, "adapter_lost"),
        (LinkProblem.FAILED, "cannot_open"),
    ],
)
async def test_a_port_that_does_not_open_is_explained_and_can_be_tried_again(
    line: FlowLine, problem: LinkProblem, error: str
) -> None:
    """Each reason has its own words; once it is gone, the same form leads on."""
    bus = line.plug()
    bus.port.refusal = problem
    result = await line.scan()
    assert result["step_id"] == "serial"
    assert result["errors"] == {"base": error}

    bus.port.refusal = None
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: PORT}))
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize("moment", [1.0, 2.5, 4.0])
async def test_an_adapter_that_vanishes_during_the_scan_is_said(line: FlowLine, moment: float) -> None:
    """Pulled out while listening or asking, it is a lost adapter and not a missing port."""
    bus = line.plug(packs=0)
    flow = await line.submit(await line.open_form(), {CONF_DEVICE: PORT})
    await line.clock.advance(moment)
    bus.unplug()
    result = await line.scanned(flow)
    assert result["errors"] == {"base": "adapter_lost"}


async def test_an_adapter_that_is_gone_between_two_speeds_is_lost_too(line: FlowLine) -> None:
    """Opening a port again that was open before tells of its loss."""
    bus = line.plug(packs=0)
    flow = await line.submit(await line.open_form(), {CONF_DEVICE: PORT})
    await line.clock.advance(2.5)
    bus.port.refusal = LinkProblem.MISSING
    result = await line.scanned(flow)
    assert result["errors"] == {"base": "adapter_lost"}


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        ("", "bad_address"),
        ("   ", "bad_address"),
        ("x" * 5000, "bad_address"),
        ("/dev/tty\x00USB0", "bad_address"),
        ("file:///etc/passwd", "bad_address"),
        ("gopher://example", "bad_address"),
        ("socket://[::1", "bad_address"),
        ("socket://user:pw@host:1", "credentials"),
        ("esphome://host/?key=c2VjcmV0", "credentials"),
    ],
)
async def test_nonsense_is_refused_without_opening_anything(line: FlowLine, typed: str, error: str) -> None:
    """What cannot or must not be opened is not; the typed text stays to be corrected."""
    form = await line.open_form()
    result = await line.submit(form, {CONF_DEVICE: typed})
    assert result["type"] is FlowResultType.FORM
    assert result["errors"] == {"base": error}
    assert suggested(result, CONF_DEVICE) == typed
    assert line.opened == []


async def test_something_that_is_no_text_is_refused_by_the_form(line: FlowLine) -> None:
    """A client that sends a number gets a field error, not a crash."""
    form = await line.open_form()
    with pytest.raises(InvalidData) as caught:
        await line.submit(form, {CONF_DEVICE: 7})
    assert list(caught.value.schema_errors) == [CONF_DEVICE]


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        ("/dev/this-port-does-not-exist", "port_missing"),
        ("🔋🔌", "port_missing"),
        ("{directory}", "bad_address"),
        ("{file}", "bad_address"),
    ],
)
async def test_what_is_no_serial_port_is_told_by_the_real_transport(
    hass: HomeAssistant, tmp_path: Path, typed: str, error: str
) -> None:
    """A missing path, a directory and a file are told apart from ports by opening them, and nothing is written."""
    file = tmp_path / "secrets.yaml"
    file.write_text("password: none of your business")
    menu = await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USER})
    form = await hass.config_entries.flow.async_configure(menu["flow_id"], {"next_step_id": "serial"})
    path = typed.format(directory=tmp_path, file=file)
    result = await hass.config_entries.flow.async_configure(form["flow_id"], {CONF_DEVICE: path})
    assert result["type"] is FlowResultType.SHOW_PROGRESS
    await hass.async_block_till_done()
    result = readable(await hass.config_entries.flow.async_configure(form["flow_id"]))
    assert result["errors"] == {"base": error}
    assert file.read_text() == "password: none of your business"
    hass.config_entries.flow.async_abort(form["flow_id"])


async def test_a_real_port_is_scanned_and_a_busy_one_is_not(hass: HomeAssistant, tmp_path: Path) -> None:
    """The whole way through serialx and a pseudo terminal at true pace, first while another program has it open."""
    clock = SystemClock()
    port = PtyLine(Bus(PylonSpeaker(SimBank(1, clock)), clock), tmp_path / "ttySIM0")
    port.start()
    flows = hass.config_entries.flow
    menu = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    flow = await flows.async_configure(menu["flow_id"], {"next_step_id": "serial"})
    other = SerialTransport(str(port.path), 9600)
    await other.open()
    await flows.async_configure(flow["flow_id"], {CONF_DEVICE: str(port.path)})
    await hass.async_block_till_done()
    result = readable(await flows.async_configure(flow["flow_id"]))
    assert result["errors"] == {"base": "port_busy"}

    await other.close()
    await flows.async_configure(flow["flow_id"], {CONF_DEVICE: str(port.path)})
    await hass.async_block_till_done()
    result = readable(await flows.async_configure(flow["flow_id"]))
    assert result["step_id"] == "confirm"
    assert result["description_placeholders"]["count"] == "1"
    flows.async_abort(flow["flow_id"])
    port.stop()


class _Broken(MemoryPort):
    """A port whose driver has a fault that nobody foresaw."""

    @override
    def open_line(self, baudrate: int) -> Any:
        raise RuntimeError("a fault in the driver")


async def test_a_fault_nobody_foresaw_ends_in_the_form_and_in_the_log(
    line: FlowLine, caplog: pytest.LogCaptureFixture
) -> None:
    """The person is told where to look, and can try again; the log does not name the adapter's serial number."""
    by_id = "/dev/serial/by-id/usb-FTDI_FT232R_A10K1234-if00-port0"
    bus = line.plug(by_id)
    good = line.ports[by_id]
    line.ports[by_id] = _Broken(bus)
    result = await line.scan(by_id)
    assert result["errors"] == {"base": "unknown"}
    assert "a fault in the driver" in caplog.text
    errors = [record.getMessage() for record in caplog.records if record.name.endswith("scan_flow") and record.exc_info]
    assert errors == ["Scan of serial port failed"]
    line.ports[by_id] = good
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: by_id}))
    assert result["step_id"] == "confirm"


# --- ports that others have ------------------------------------------------------------------------------------------


async def test_a_port_that_is_set_up_already_ends_the_flow(hass: HomeAssistant, line: FlowLine) -> None:
    """The entry that has the port is named, and nothing is opened."""
    MockConfigEntry(domain=DOMAIN, title="Cellar", data={CONF_DEVICE: PORT}).add_to_hass(hass)
    result = await line.submit(await line.open_form(), {CONF_DEVICE: PORT})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_configured"
    assert result["description_placeholders"] == {"title": "Cellar"}
    assert line.opened == []


async def test_a_port_is_known_under_any_of_its_names(hass: HomeAssistant, line: FlowLine, tmp_path: Path) -> None:
    """A link to the port, or an address in capitals, is the same port."""
    (tmp_path / "by-id").symlink_to(tmp_path / "ttyUSB0")
    for kept, typed in (
        (str(tmp_path / "by-id"), str(tmp_path / "ttyUSB0")),
        ("socket://gateway.local:23", "socket://Gateway.local:23/"),
    ):
        MockConfigEntry(domain=DOMAIN, title=kept, data={CONF_DEVICE: kept}).add_to_hass(hass)
        result = await line.submit(await line.open_form(), {CONF_DEVICE: typed})
        assert result["reason"] == "already_configured"


async def test_a_port_that_another_integration_uses_is_not_touched(hass: HomeAssistant, line: FlowLine) -> None:
    """An entry that is loaded may have the port open; it is named and the port left alone."""
    line.plug()
    other = MockConfigEntry(domain="kaco_rs485", title="Inverters on the roof", data={"port": PORT})
    other.add_to_hass(hass)
    other.mock_state(hass, ConfigEntryState.LOADED)
    result = await line.submit(await line.open_form(), {CONF_DEVICE: PORT})
    assert result["errors"] == {"base": "port_busy_known"}
    assert result["description_placeholders"]["owner"] == "Inverters on the roof"
    assert line.opened == []

    other.mock_state(hass, ConfigEntryState.NOT_LOADED)
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: PORT}))
    assert result["step_id"] == "confirm"


async def test_a_busy_port_is_put_down_to_whoever_is_set_up_on_it(hass: HomeAssistant, line: FlowLine) -> None:
    """An entry that seems idle, but whose port does not open, is named all the same."""
    line.plug().port.refusal = LinkProblem.BUSY
    MockConfigEntry(domain="kaco_rs485", title="Inverters on the roof", data={"port": PORT}).add_to_hass(hass)
    result = await line.scan()
    assert result["errors"] == {"base": "port_busy_known"}
    assert result["description_placeholders"]["owner"] == "Inverters on the roof"


@pytest.mark.parametrize("finished", [False, True])
async def test_a_new_dialog_replaces_one_that_was_left_behind(
    hass: HomeAssistant, line: FlowLine, finished: bool
) -> None:
    """A page that was loaded anew leaves a flow that nobody can see or close; it must not hold the port."""
    line.plug()
    first = await line.submit(await line.open_form(), {CONF_DEVICE: PORT})
    if finished:
        await line.scanned(first)
    second = await line.scanned(await line.submit(await line.open_form(), {CONF_DEVICE: PORT}))
    assert second["step_id"] == "confirm"
    assert [flow["flow_id"] for flow in hass.config_entries.flow.async_progress_by_handler(DOMAIN)] == [
        second["flow_id"]
    ]
    again = await line.scanned(await line.submit(await line.open_form(), {CONF_DEVICE: PORT}))
    assert again["step_id"] == "confirm"


async def test_a_port_set_up_while_the_report_stood_open_is_not_added_again(
    hass: HomeAssistant, line: FlowLine
) -> None:
    """What was free when the scan began may be taken when the person confirms."""
    line.plug()
    result = await line.scan()
    MockConfigEntry(domain=DOMAIN, title="Quicker", data={CONF_DEVICE: PORT}).add_to_hass(hass)
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_configured"


def _elsewhere(serial: str, unique_id: str) -> MockConfigEntry:
    """An entry on another port, with the record of one pack."""
    data = {
        CONF_DEVICE: "/dev/ttyELSE",
        CONF_PROTOCOL: "pylon-rs485",
        CONF_BAUDRATE: 9600,
        CONF_ADDRESSES: [2],
        CONF_PACKS: {"2": {"identifier": serial, "serial": serial}},
    }
    return MockConfigEntry(domain=DOMAIN, title="Garage", unique_id=unique_id, data=data)


async def test_a_battery_set_up_while_the_report_stood_open_is_not_added_again(
    hass: HomeAssistant, line: FlowLine
) -> None:
    """The same serial number cannot identify packs of two entries, the first pack's or another one's."""
    line.plug(packs={2: SimPack(PackSpec(serial="HFIRST00000001")), 3: SimPack(PackSpec(serial="HSAME000000001"))})
    result = await line.scan()
    assert result["step_id"] == "confirm"
    _elsewhere("HSAME000000001", "HSAME000000001").add_to_hass(hass)
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "battery_already_configured"


async def test_a_pack_that_left_another_battery_can_be_set_up_alone(hass: HomeAssistant, line: FlowLine) -> None:
    """An entry that no longer knows the pack does not hold on to it by its unique id, and is not replaced either."""
    line.plug(packs={2: SimPack(PackSpec(serial="HMOVED00000001"))})
    old = _elsewhere("HSTAYED0000001", "HMOVED00000001")
    old.add_to_hass(hass)
    result = await line.scan()
    assert result["step_id"] == "confirm"
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["result"].unique_id == "HMOVED00000001"
    assert old.unique_id == "HSTAYED0000001"
    assert old in hass.config_entries.async_entries(DOMAIN)
    await line.unload()
    await hass.config_entries.async_remove(old.entry_id)
