"""How an entry becomes a client, and what is known of the port it sits on."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

from homeassistant.components import usb
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_PORT
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_fire_time_changed

from custom_components.lfp_battery import connect
from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.protocols import BLUETOOTH
from custom_components.lfp_battery.bms.transports.gatt import GattLink
from custom_components.lfp_battery.bms.transports.serial import SerialTransport
from custom_components.lfp_battery.const import DOMAIN
from tests.flow_line import FlowLine

PROFILES = tuple(protocol.profile for protocol in BLUETOOTH.values() if protocol.profile is not None)


@pytest.fixture(autouse=True)
async def ports(hass: HomeAssistant) -> None:
    """The usb integration, which knows the ports of this machine, and the one for Bluetooth."""
    assert await async_setup_component(hass, "bluetooth", {})
    assert await async_setup_component(hass, usb.DOMAIN, {})


def _port(device: str, description: str | None = None, serial: str | None = None) -> usb.USBDevice:
    return usb.USBDevice(
        device=device, vid="0403", pid="6001", serial_number=serial, manufacturer="FTDI", description=description
    )


async def test_without_a_test_the_line_is_serial_and_the_clock_the_machine_s(hass: HomeAssistant) -> None:
    """What stands outside tests: a closed serial transport at the asked speed, on real time."""
    line = connect.open_line(hass, "/dev/ttyUSB0")(115200)
    assert isinstance(line, SerialTransport)
    assert (line.name, line.baudrate) == ("/dev/ttyUSB0", 115200)
    assert isinstance(connect.clock(hass), SystemClock)


async def test_over_bluetooth_the_connection_is_one_of_home_assistant_s(hass: HomeAssistant) -> None:
    """Closed, by the address, and asked anew for the best way there at each opening; no serial port has to do with it."""
    link = connect.open_gatt(hass, "A4:C1:37:12:34:56", PROFILES)()
    assert isinstance(link, GattLink)
    assert link.name == "A4:C1:37:12:34:56"
    assert link.profile is None
    with pytest.raises(LinkError) as caught:
        await link.open()
    assert caught.value.problem is LinkProblem.MISSING
    assert connect.serial_port_of("bluetooth:A4:C1:37:12:34:56") is None
    assert await connect.async_holder(hass, "bluetooth:A4:C1:37:12:34:56") is None


async def test_an_adapter_that_was_plugged_in_elsewhere_is_followed(hass: HomeAssistant, line: FlowLine) -> None:
    """The same USB adapter behind a serial proxy: the entry changes its port when it is set up."""
    by_id = "/dev/serial/by-id/usb-FTDI_FT232R_A10K1234-if00-port0"
    proxy = "esphome-hass://proxy?port_udev_id=usb-FTDI_FT232R_A10K1234-if00-port0"
    line.plug(by_id)
    line.plug(proxy)
    entry = await line.add(by_id)
    await line.drive(hass.config_entries.async_unload(entry.entry_id))

    usb.async_register_serial_port_scanner(hass, lambda hass: [_port(proxy, serial="A10K1234")])
    usb.async_notify_serial_ports_changed(hass)
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=10))
    await hass.async_block_till_done(wait_background_tasks=True)
    assert await line.drive(hass.config_entries.async_setup(entry.entry_id))
    assert entry.data[CONF_DEVICE] == proxy
    assert line.opened[-1] == (proxy, 9600)
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=20))  # the pause after a scan of the ports


async def test_the_port_of_a_can_adapter_is_followed_under_both_of_its_names(
    hass: HomeAssistant, line: FlowLine
) -> None:
    """The bus that is opened, and the port that Home Assistant is shown, are one and the same."""
    by_id = "/dev/serial/by-id/usb-FTDI_FT232R_A10K1234-if00-port0"
    proxy = "esphome-hass://proxy?port_udev_id=usb-FTDI_FT232R_A10K1234-if00-port0"
    line.plug_bus(f"slcan:{by_id}")
    line.plug_bus(f"slcan:{proxy}")
    entry = await line.add_bus(f"slcan:{by_id}")
    assert entry.data[CONF_PORT] == by_id
    await line.drive(hass.config_entries.async_unload(entry.entry_id))

    usb.async_register_serial_port_scanner(hass, lambda hass: [_port(proxy, serial="A10K1234")])
    usb.async_notify_serial_ports_changed(hass)
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=10))
    await hass.async_block_till_done(wait_background_tasks=True)
    assert await line.drive(hass.config_entries.async_setup(entry.entry_id))
    assert entry.data[CONF_DEVICE] == f"slcan:{proxy}"
    assert entry.data[CONF_PORT] == proxy
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=20))  # the pause after a scan of the ports


async def test_a_local_port_gets_the_name_that_survives_a_restart(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Home Assistant knows it; addresses of gateways are left alone, and so is a port when the look-up fails."""
    names = {"/dev/ttyUSB0": "/dev/serial/by-id/usb-adapter"}
    monkeypatch.setattr(usb, "get_serial_by_id", names.__getitem__)
    assert await connect.async_stable_path(hass, "/dev/ttyUSB0") == "/dev/serial/by-id/usb-adapter"
    assert await connect.async_stable_path(hass, "socket://gateway:23") == "socket://gateway:23"

    def fails(path: str) -> str:
        raise PermissionError(path)

    monkeypatch.setattr(usb, "get_serial_by_id", fails)
    assert await connect.async_stable_path(hass, "/dev/ttyUSB0") == "/dev/ttyUSB0"


async def test_an_address_is_judged_without_being_opened(hass: HomeAssistant) -> None:
    """Credentials and unknown kinds of address are refused by name."""
    await connect.async_check_address(hass, "/dev/ttyUSB0")
    for address, problem in (
        ("socket://user:secret@gateway:23", LinkProblem.CREDENTIALS),
        ("ftp://gateway", LinkProblem.BAD_ADDRESS),
    ):
        with pytest.raises(LinkError) as caught:
            await connect.async_check_address(hass, address)
        assert caught.value.problem is problem
        assert "secret" not in str(caught.value)


async def test_whoever_may_have_a_port_open_is_named_first(hass: HomeAssistant) -> None:
    """Of several entries on one port the active one counts; one's own can be left out."""
    idle = MockConfigEntry(domain="kaco_rs485", title="Idle", data={"port": "/dev/ttyUSB0"})
    busy = MockConfigEntry(domain="kaco_rs485", title="Busy", data={"port": "/dev/ttyUSB0"})
    for entry in (idle, busy):
        entry.add_to_hass(hass)
    busy.mock_state(hass, ConfigEntryState.LOADED)

    holder = await connect.async_holder(hass, "/dev/ttyUSB0")
    assert holder == connect.Holder(title="Busy", active=True, entry_id=busy.entry_id)
    holder = await connect.async_holder(hass, "/dev/ttyUSB0", but=busy.entry_id)
    assert holder == connect.Holder(title="Idle", active=False, entry_id=idle.entry_id)
    assert await connect.async_holder(hass, "/dev/ttyUSB1") is None
    busy.mock_state(hass, ConfigEntryState.NOT_LOADED)  # Home Assistant must not unload at its end what never was


async def test_a_port_is_found_under_any_of_its_names(hass: HomeAssistant, tmp_path: Path) -> None:
    """Links lead to the same port; entries without a port do not count."""
    (tmp_path / "link").symlink_to(tmp_path / "port")
    without = MockConfigEntry(domain=DOMAIN, data={})
    entry = MockConfigEntry(domain=DOMAIN, data={CONF_DEVICE: str(tmp_path / "port")})
    assert await connect.async_entry_at(hass, str(tmp_path / "link"), [without, entry]) == entry
    assert await connect.async_entry_at(hass, str(tmp_path / "other"), [without, entry]) is None


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("/dev/serial/by-id/usb-FTDI_FT232R_A10K1234-if00-port0", "serial port"),  # unplugged
        ("/somewhere/ttySIMULATED", "ttySIMULATED"),
        ("rfc2217://gateway.local:2217?ign_set_control", "gateway.local:2217"),
        ("esphome-hass://proxy?port_udev_id=usb-FTDI_FT232R_A10K1234-if00-port0", "proxy"),
        ("loop://", "loop"),
        ("slcan:/somewhere/ttyCAN", "ttyCAN"),
        ("socketcan:can0", "can0"),
        ("gs_usb:0", "gs_usb 0"),
        ("bluetooth:A4:C1:37:12:34:56", "34:56"),
    ],
)
async def test_the_short_name_of_a_port_holds_no_serial_number(hass: HomeAssistant, device: str, name: str) -> None:
    """Neither that of an adapter in its path nor one in a query."""
    assert await connect.async_short_name(hass, device) == name


async def test_a_stable_name_is_shortened_to_what_it_leads_to(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As udev makes it: a link among others of its kind."""
    (tmp_path / "by-id").mkdir()
    (tmp_path / "ttyUSB0").touch()
    by_id = tmp_path / "by-id" / "usb-FTDI_FT232R_A10K1234-if00-port0"
    by_id.symlink_to(tmp_path / "ttyUSB0")
    monkeypatch.setattr(connect, "_ADAPTER_NAMES", f"{tmp_path}/by-id/")
    assert await connect.async_short_name(hass, str(by_id)) == "ttyUSB0"


async def test_ports_that_cannot_be_listed_do_not_stop_anything(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine on which listing fails knows of no holder."""

    async def fails(hass: HomeAssistant) -> list[SimpleNamespace]:
        raise PermissionError

    monkeypatch.setattr(usb, "async_scan_serial_ports", fails)
    assert await connect.async_holder(hass, "/dev/ttyUSB0") is None
