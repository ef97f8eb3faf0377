"""Setting up a battery on a CAN bus, on simulated buses: the way through the dialog, and moving to another adapter."""

from typing import Any

from homeassistant.components import usb
from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
import pytest

from custom_components.lfp_battery.bms.errors import LinkProblem
from custom_components.lfp_battery.bms.transports.can_address import parse_can_address
from custom_components.lfp_battery.const import (
    CONF_ACKNOWLEDGE,
    CONF_ADDRESSES,
    CONF_BANK,
    CONF_BAUDRATE,
    CONF_PACKS,
    DOMAIN,
)
from custom_components.lfp_battery.diagnostics import async_get_config_entry_diagnostics
from tests.flow_line import BUS, SOCKETCAN, TEXTS, FlowLine, readable, suggested
from tests.simulator.bank import make_packs
from tests.simulator.can.families import SETS
from tests.simulator.pack import PackSpec, SimPack

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


# --- the port of the adapter -----------------------------------------------------------------------------------------


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


# --- reconfiguring ---------------------------------------------------------------------------------------------------


async def _reconfigure(line: FlowLine, entry: Any, device: str, **asked: Any) -> Any:
    form = await line.hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )
    assert form["step_id"] == "reconfigure_can"
    assert suggested(form, CONF_DEVICE) == entry.data[CONF_DEVICE]
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
