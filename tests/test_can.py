"""A battery on a CAN bus in a real Home Assistant: what it shows, what can be set, and another set of frames."""

from collections.abc import AsyncGenerator
import json
import logging
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import (
    CONF_DEVICE,
    CONF_MODEL,
    CONF_PROTOCOL,
    STATE_OFF,
    STATE_ON,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.json import ExtendedJSONEncoder
import pytest

from custom_components.lfp_battery import async_remove_config_entry_device, connect
from custom_components.lfp_battery.bms.clients.broadcast import BroadcastClient
from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.bms.protocols.can import CAN
from custom_components.lfp_battery.bms.transports.can import PythonCanBus
from custom_components.lfp_battery.bms.transports.can_address import parse_can_address
from custom_components.lfp_battery.bms.transports.slcan import SlcanBus
from custom_components.lfp_battery.const import (
    CONF_ACKNOWLEDGE,
    CONF_ADDRESSES,
    CONF_BANK,
    CONF_INTERVAL,
    CONF_INVERT_CURRENT,
    CONF_PACKS,
)
from custom_components.lfp_battery.diagnostics import async_get_config_entry_diagnostics
from tests.can_home import CYCLE, CanHome
from tests.flow_line import TEXTS, readable
from tests.simulator.can.families import make_speaker
from tests.simulator.can.inverter import CanInverter


@pytest.fixture
async def home(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[CanHome]:
    """A Home Assistant with a simulated bus; nothing is set up yet."""
    home = CanHome(hass, monkeypatch)
    yield home
    await home.stop()


# --- what is shown ---------------------------------------------------------------------------------------------------


async def test_a_bank_shows_what_it_broadcasts(home: CanHome) -> None:
    """From the first set of frames on; nothing is asked, and the adapter keeps silent."""
    home.plug_bus()
    assert await home.start()
    assert isinstance(home.link.client, BroadcastClient)
    assert home.value(None, "voltage") == pytest.approx(home.sent("voltage"), abs=0.01)
    assert home.value(None, "soc") == home.sent("soc")
    assert home.value(None, "current") == pytest.approx(home.sent("current"), abs=0.1)
    assert home.state(None, "connectivity").state == STATE_ON
    assert home.state(None, "safe_to_act").state == STATE_ON
    assert home.port.silent is True
    assert home.bank_device().manufacturer == "PYLON"
    await home.wait(CYCLE)
    assert home.entry.state is ConfigEntryState.LOADED


@pytest.mark.parametrize(
    ("sends", "keys"),
    [
        ("pylon", {"charge_voltage_limit", "charge_current_limit", "charge_allowed", "force_charge_requested"}),
        ("pylon", {"full_charge_requested", "modules", "problem", "discharge_current_limit"}),
        ("victron", {"modules_online", "modules_charge_blocked", "modules_discharge_blocked", "energy_charged"}),
        ("victron", {"cell_voltage_min", "cell_voltage_max", "cell_temperature_max", "energy_discharged"}),
        ("pytes", {"cell_voltage_min", "energy_charged", "remaining_capacity", "cycles", "modules_online"}),
        ("growatt", {"cell_voltage_min", "mode", "full_capacity", "charge_allowed"}),
    ],
)
async def test_a_bank_has_an_entity_for_whatever_its_family_tells(home: CanHome, sends: str, keys: set[str]) -> None:
    """Limits, requests, packs on line and blocked, extremes and energy counters."""
    home.plug_bus(sends, inverter="growatt" if sends == "growatt" else "generic")
    await home.start()
    await home.wait(2 * CYCLE)
    assert keys <= home.entities(home.bank_device()).keys()


@pytest.mark.parametrize(("model", "known"), [(None, False), ("6.5 kWh", True)])
async def test_stored_energy_is_there_only_where_it_can_be_worked_out(
    home: CanHome, model: str | None, known: bool
) -> None:
    """Frames that tell a capacity and no number of cells need the figures of a model; else it would be unknown for ever."""
    home.plug_bus("growatt", inverter="growatt", options={CONF_MODEL: model} if model else {})
    await home.start()
    await home.wait(2 * CYCLE)
    assert "remaining_capacity" in home.entities(home.bank_device())
    assert ("stored_energy" in home.entities(home.bank_device())) is known
    if known:
        assert home.value(None, "stored_energy") > 0


async def test_extremes_say_where_they_are(home: CanHome) -> None:
    """Cell and pack, as attributes of the value."""
    home.plug_bus("growatt", inverter="growatt")
    await home.start()
    await home.wait(CYCLE)
    shown = home.state(None, "cell_voltage_max")
    assert float(shown.state) == pytest.approx(home.sent("cell_voltage_max"), abs=0.001)
    assert shown.attributes["cell"] == home.sent("cell_voltage_max_cell")
    assert shown.attributes["pack"] == str(home.sent("cell_voltage_max_pack"))  # as packs are called everywhere


async def test_an_energy_counter_of_the_battery_is_taken_as_it_is(home: CanHome) -> None:
    """Where the battery counts nobody needs to estimate."""
    home.plug_bus("victron")
    await home.start()
    await home.wait(2 * CYCLE)
    assert home.value(None, "energy_charged") == pytest.approx(home.sent("energy_charged"), abs=0.06)


async def test_packs_become_devices_where_the_family_tells_of_them(home: CanHome) -> None:
    """With Deye's own set; each is known by its serial number."""
    home.plug_bus("deye_pcs", packs=3, inverter="deye")
    await home.start()
    await home.wait(5 * CYCLE)
    assert sorted(home.link.packs) == [1, 2, 3]
    for address, pack in home.bank.packs.items():
        assert home.device(address).serial_number == pack.spec.serial
        assert home.device(address).via_device_id == home.bank_device().id
        assert home.value(address, "voltage") == pytest.approx(pack.voltage, abs=0.1)
    assert set(home.entry.data[CONF_PACKS]) == {"1", "2", "3"}


async def test_a_new_alarm_is_shown_at_once(home: CanHome) -> None:
    """Not only when the next report is due."""
    home.plug_bus(options={CONF_INTERVAL: 300})
    await home.start()
    await home.wait(CYCLE)
    assert home.state(None, "problem").state == STATE_OFF
    for pack in home.bank.packs.values():
        pack.force(Alarm(condition=Condition.OVERVOLTAGE, severity=Severity.PROTECTION))
    await home.wait(3)
    assert home.state(None, "problem").state == STATE_ON


async def test_an_update_that_is_asked_for_tells_what_is_known(home: CanHome) -> None:
    """Nobody can be asked on a bus, but what was heard since is shown."""
    home.plug_bus(options={CONF_INTERVAL: 300})
    await home.start()
    await home.wait(30)
    before = home.sent("voltage")
    for pack in home.bank.packs.values():
        pack.current = -50.0
    await home.wait(10)
    await home.update_entity(home.entity_id(None, "voltage"))
    assert home.value(None, "voltage") == pytest.approx(home.sent("voltage"), abs=0.01)
    assert before is not None


async def test_a_known_pack_that_was_not_heard_yet_can_be_asked_for_all_the_same(
    home: CanHome, caplog: pytest.LogCaptureFixture
) -> None:
    """It has its entities from the last run; an update changes nothing, and is no fault."""
    record = {"identifier": "HSLEEPING00001", "serial": "HSLEEPING00001", "fields": ["voltage"]}
    home.plug_bus("deye_pcs", packs=1, inverter="deye", packs_known={"9": record})
    await home.start()
    await home.wait(CYCLE)
    assert home.state(9, "voltage").state == STATE_UNAVAILABLE
    await home.update_entity(home.entity_id(9, "voltage"))
    assert home.state(9, "voltage").state == STATE_UNAVAILABLE
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# --- another set of frames -------------------------------------------------------------------------------------------


async def test_a_battery_that_was_set_to_another_protocol_is_followed(home: CanHome) -> None:
    """The entry keeps the new name, and every entity its place; what only the new set tells is added."""
    home.plug_bus(inverter=None)
    await home.start()
    await home.wait(CYCLE)
    before = {
        entry.entity_id for entry in er.async_entries_for_config_entry(er.async_get(home.hass), home.entry.entry_id)
    }
    home.can.quiet = True
    await home.wait(40)
    home.sender = make_speaker("victron", home.bank)
    home.can.replace(home.sender)
    home.can.quiet = False
    await home.wait(60)
    assert home.entry.data[CONF_PROTOCOL] == "victron"
    assert home.entry.state is ConfigEntryState.LOADED
    after = {
        entry.entity_id for entry in er.async_entries_for_config_entry(er.async_get(home.hass), home.entry.entry_id)
    }
    assert before < after
    assert home.value(None, "voltage") == pytest.approx(home.sent("voltage"), abs=0.01)
    assert "modules_online" in home.entities(home.bank_device())


async def _change_set(home: CanHome, name: str, *, inverter: str | None = None, wait: float = 80.0) -> None:
    """Have the battery send another set of frames from now on."""
    home.can.quiet = True
    await home.wait(40)
    home.sender = make_speaker(name, home.bank)
    home.can.replace(home.sender)
    if inverter is not None:
        home.can.add(CanInverter(inverter))
    home.can.quiet = False
    await home.wait(wait)


async def test_energy_goes_on_by_our_own_count_where_the_new_set_has_no_counter(home: CanHome) -> None:
    """Victron counts, Pylon does not; the total goes on from where it was, and nothing is counted twice on the way back."""
    home.plug_bus("victron", inverter=None)
    await home.start()
    await home.wait(30)
    for pack in home.bank.packs.values():
        pack.current = 50.0
    await _change_set(home, "pylon")
    assert home.entry.data[CONF_PROTOCOL] == "pylon"
    before = home.value(None, "energy_charged")
    power = home.value(None, "power")
    await home.wait(600)
    grown = home.value(None, "energy_charged") - before
    assert grown == pytest.approx(power / 1000 * 600 / 3600, rel=0.1)
    await _change_set(home, "victron")
    assert home.entry.data[CONF_PROTOCOL] == "victron"
    assert home.value(None, "energy_charged") == pytest.approx(before + grown, abs=0.4)


async def test_a_set_without_alarms_is_judged_by_what_it_can_say(home: CanHome) -> None:
    """Victron has alarms and Megarevo none: what the old set told is nothing that the new one owes."""
    home.plug_bus("victron", inverter=None)
    await home.start()
    await home.wait(30)
    assert home.state(None, "safe_to_act").state == STATE_ON
    await _change_set(home, "megarevo", inverter="megarevo", wait=150)
    assert home.entry.data[CONF_PROTOCOL] == "megarevo"
    assert home.state(None, "safe_to_act").state == STATE_ON
    assert "alarms" not in home.entry.data[CONF_BANK]["fields"]


async def test_packs_that_the_new_set_does_not_know_are_let_go(home: CanHome) -> None:
    """From Deye's own set to Pylon's: the bank is all there is, and the packs' devices may be deleted."""
    home.plug_bus("deye_pcs", packs=2, inverter="deye", addresses=[1, 2])
    await home.start()
    await home.wait(30)
    devices = [home.device(address) for address in (1, 2)]
    serials = {record["serial"] for record in home.entry.data[CONF_PACKS].values()}
    await _change_set(home, "pylon", wait=120)
    assert home.entry.data[CONF_PROTOCOL] == "pylon"
    assert home.entry.data[CONF_ADDRESSES] == [0]
    assert home.entry.data[CONF_PACKS] == {}
    assert home.link.packs == {}
    for device in devices:
        assert await async_remove_config_entry_device(home.hass, home.entry, device)

    await _change_set(home, "deye_pcs", inverter="deye", wait=120)
    assert {record["serial"] for record in home.entry.data[CONF_PACKS].values()} == serials
    assert [home.device(address).id for address in (1, 2)] == [device.id for device in devices]


@pytest.mark.parametrize("sends", ["victron", "pylon", "growatt"])
async def test_entities_of_a_bank_that_was_silent_at_the_start_are_there_when_it_sends(
    home: CanHome, sends: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also those that only a bank has: unavailable meanwhile, and none is lost."""
    home.plug_bus(sends, inverter="growatt" if sends == "growatt" else None)
    await home.start()
    await home.wait(30)
    home.can.quiet = True
    await home.drive(home.hass.config_entries.async_reload(home.entry.entry_id))
    await home.wait(20)
    home.can.quiet = False
    await home.wait(60)
    shown = {
        key: home.hass.states.get(entry.entity_id)
        for key, entry in home.entities(home.bank_device()).items()
        if not entry.disabled
    }
    assert not [key for key, state in shown.items() if state is None or state.attributes.get("restored")]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("frame", [0x355, 0x351, 0x35C])
async def test_nothing_is_safe_to_act_on_while_something_to_act_by_is_unknown(home: CanHome, frame: int) -> None:
    """Charge, limits, or whether it may be charged: a frame that stopped coming, while all others still do."""
    home.plug_bus(inverter=None)
    await home.start()
    await home.wait(CYCLE)
    assert home.state(None, "safe_to_act").state == STATE_ON
    home.sender.muted.add(frame)
    await home.wait(45)
    assert home.state(None, "connectivity").state == STATE_ON
    assert home.state(None, "safe_to_act").state == STATE_OFF
    home.sender.muted.clear()
    await home.wait(15)
    assert home.state(None, "safe_to_act").state == STATE_ON


# --- options ---------------------------------------------------------------------------------------------------------


async def _options(home: CanHome, sent: dict[str, Any]) -> Any:
    form = readable(await home.hass.config_entries.options.async_init(home.entry.entry_id), "options")
    assert form["step_id"] == "bus"
    result = await home.drive(home.hass.config_entries.options.async_configure(form["flow_id"], sent))
    await home.wait(CYCLE)
    return form, result


async def test_options_take_effect_at_once(home: CanHome) -> None:
    """A faster interval than on a line, and the adapter takes part from now on."""
    home.plug_bus()
    await home.start()
    sent = {CONF_INTERVAL: 1, CONF_ACKNOWLEDGE: True, CONF_INVERT_CURRENT: True}
    before = home.value(None, "current")
    form, result = await _options(home, sent)
    assert {str(name) for name in form["data_schema"].schema} >= {CONF_INTERVAL, CONF_ACKNOWLEDGE, "soc_floor"}
    assert "observe" not in {str(name) for name in form["data_schema"].schema}
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert home.entry.options.items() >= sent.items()
    assert home.port.silent is False
    assert home.value(None, "current") == pytest.approx(-home.sent("current"), abs=0.1)
    assert before == pytest.approx(home.sent("current"), abs=1.0)


@pytest.mark.parametrize("device", ["socketcan:can0", "gs_usb:0"])
async def test_only_an_adapter_that_does_as_told_is_asked_about(home: CanHome, device: str) -> None:
    """Elsewhere the choice would change nothing."""
    home.plug_bus(device=device)
    await home.start()
    form, _ = await _options(home, {})
    assert CONF_ACKNOWLEDGE not in {str(name) for name in form["data_schema"].schema}


async def test_to_listen_cannot_be_disabled(hass: HomeAssistant, home: CanHome) -> None:
    """What Home Assistant calls polling is about asking, and nobody is asked here."""
    home.plug_bus()
    hass.config_entries.async_update_entry(home.entry, pref_disable_polling=True)
    await home.start()
    await home.wait(CYCLE)
    assert home.state(None, "voltage").state not in {STATE_UNKNOWN, STATE_UNAVAILABLE}


# --- diagnostics, ports ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "shown"),
    [
        ("socketcan:can0", "socketcan:can0"),
        ("slcan:/dev/ttyACM0", "slcan:/dev/ttyACM0"),
        ("slcan:/dev/serial/by-id/usb-CANable_2058-if00", "slcan:/dev/serial/by-id/**REDACTED**"),
        ("slcan:socket://192.168.1.20:7000", "slcan:socket://**REDACTED**"),
        ("socketcand:cellar.local:29536/can0", "socketcand:**REDACTED**"),
        ("udp_multicast:239.74.163.2", "udp_multicast:**REDACTED**"),
    ],
)
async def test_diagnostics_name_the_kind_of_bus_only(
    hass: HomeAssistant, home: CanHome, device: str, shown: str
) -> None:
    """Hosts and adapters' serial numbers stay at home."""
    home.plug_bus(device=device)
    found = await async_get_config_entry_diagnostics(hass, home.entry)
    assert found["entry"]["data"][CONF_DEVICE] == shown


async def test_diagnostics_list_frames_and_unknown_ones_without_serial_numbers(
    hass: HomeAssistant, home: CanHome
) -> None:
    """What helps to read a set that is not known yet; what names a pack is left out."""
    home.plug_bus("deye_pcs", packs=1, inverter="deye")
    await home.start()
    await home.wait(3 * CYCLE)
    found = await async_get_config_entry_diagnostics(hass, home.entry)
    text = json.dumps(found, cls=ExtendedJSONEncoder)
    assert found["client"]["kind"] == "BroadcastClient"
    assert "356" in found["client"]["ids"]
    (pack,) = home.bank.packs.values()
    assert pack.spec.serial not in text
    for half in (pack.spec.serial[:8], pack.spec.serial[8:]):
        assert half.encode().hex() not in text.lower()


async def test_without_a_test_the_bus_is_a_real_one_that_listens_only(hass: HomeAssistant) -> None:
    """What stands outside tests, closed as yet: slcan on a serial port, everything else by python-can."""
    for text, kind in (("slcan:/dev/ttyACM0", SlcanBus), ("can0", PythonCanBus)):
        bus = connect.open_bus(hass, parse_can_address(text), acknowledge=False)(500_000)
        assert isinstance(bus, kind)
    assert isinstance(connect.clock(hass), SystemClock)


@pytest.mark.parametrize("family", sorted(CAN))
def test_every_family_has_its_own_words(family: str) -> None:
    """What it is called, and what it can tell."""
    words = TEXTS["selector"]
    assert words["protocol"]["options"][family]
    assert words["tells"]["options"][family].endswith(".")


async def test_the_name_of_the_adapter_s_port_is_not_in_the_log(
    home: CanHome, caplog: pytest.LogCaptureFixture
) -> None:
    """It holds the adapter's serial number."""
    caplog.set_level(logging.INFO)
    home.plug_bus(device="slcan:/dev/serial/by-id/usb-CANable_2058-if00")
    await home.start()
    assert "CANable_2058" not in caplog.text
