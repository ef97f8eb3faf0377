"""The flow that sets a battery up, on simulated lines: the way through it, and the dialog itself."""

import asyncio
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_MODEL, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import EVENT_DATA_ENTRY_FLOW_PROGRESS_UPDATE, FlowResultType
from homeassistant.helpers import device_registry as dr
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_capture_events

from custom_components.lfp_battery import connect
from custom_components.lfp_battery.bms.discovery import FoundPack, Outcome, ScanReport
from custom_components.lfp_battery.bms.model import BankState, Identity, PackState
from custom_components.lfp_battery.bms.transports import ByteTransport
from custom_components.lfp_battery.const import (
    CONF_ADDRESSES,
    CONF_BANK,
    CONF_BAUDRATE,
    CONF_PACK_COUNT,
    CONF_PACKS,
    DOMAIN,
)
from custom_components.lfp_battery.settings import Settings
from tests.flow_line import PORT, TEXTS, FlowLine, offered, readable, suggested
from tests.simulator.bank import SimBank
from tests.simulator.faults import Fault, Kind
from tests.simulator.modbus import ModbusSpeaker
from tests.simulator.modbus_growatt import Dialect, GrowattMap
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pylon import Profile, PylonSpeaker

# --- the way through -------------------------------------------------------------------------------------------------


async def test_a_bank_is_found_shown_and_kept(line: FlowLine) -> None:
    """From the menu to the entry: the report names every pack, the entry keeps how and where they answered."""
    bus = line.plug(packs=3)
    result = await line.scan()

    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] == "confirm"
    shown = result["description_placeholders"]
    assert shown["count"] == "3"
    assert shown["protocol"] == "Pylon RS485"
    assert shown["baudrate"] == "9600"
    assert int(shown["answers"]) >= 3
    assert shown["damaged"] == "0"
    assert isinstance(bus.speaker, PylonSpeaker)
    serials = [pack.spec.serial for pack in bus.speaker.bank.packs.values()]
    assert [row.split(" | ")[2] for row in shown["packs"].splitlines()] == serials
    assert [row.split(" | ")[0] for row in shown["packs"].splitlines()] == ["| 1 (2)", "| 2 (3)", "| 3 (4)"]
    assert shown["notes"] == ""

    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    entry = result["result"]
    assert entry.data[CONF_DEVICE] == PORT
    assert entry.data[CONF_PROTOCOL] == "pylon-rs485"
    assert entry.data[CONF_BAUDRATE] == 9600
    assert list(entry.data[CONF_ADDRESSES]) == [2, 3, 4]
    assert [record["serial"] for record in entry.data[CONF_PACKS].values()] == serials
    assert entry.unique_id == serials[0]
    assert entry.state is ConfigEntryState.LOADED
    assert bus.speaker.forbidden == []


async def test_the_scan_says_what_it_is_doing_and_how_far_it_is(hass: HomeAssistant, line: FlowLine) -> None:
    """The bar only grows, and the text names the protocol, the speed and the address being tried."""
    line.plug(packs=4, baudrate=115200)
    events = async_capture_events(hass, EVENT_DATA_ENTRY_FLOW_PROGRESS_UPDATE)
    flow = await line.submit(await line.open_form(), {CONF_DEVICE: PORT})
    seen = {flow["progress_action"]: flow["description_placeholders"]}
    while flow["type"] is FlowResultType.SHOW_PROGRESS:
        await line.clock.advance(0.2)
        flow = readable(await hass.config_entries.flow.async_configure(flow["flow_id"]))
        if flow["type"] is FlowResultType.SHOW_PROGRESS:
            seen[flow["progress_action"]] = flow["description_placeholders"]

    assert set(seen) == {"listening", "scanning", "reading"}
    assert seen["listening"]["device"] == PORT
    assert seen["scanning"]["protocol"] in set(TEXTS["selector"]["protocol"]["options"].values())
    assert seen["scanning"]["baudrate"] in {"1200", "9600", "19200", "115200"}
    assert int(seen["reading"]["address"]) >= 2
    fractions = [event.data["progress"] for event in events]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert 0.6 < fractions[-1] <= 1
    hass.config_entries.flow.async_abort(flow["flow_id"])


async def test_the_text_is_renewed_about_once_a_second(hass: HomeAssistant, line: FlowLine) -> None:
    """Every open dialog fetches the flow anew for a new text, so that is not asked of it for every single address."""
    line.plug(packs=0)
    notices = async_capture_events(hass, "data_entry_flow_progressed")
    started = line.clock.monotonic()
    await line.scan()
    assert 3 < len(notices) <= line.clock.monotonic() - started + 4


async def test_a_bank_that_speaks_for_its_packs_is_set_up_as_one(line: FlowLine) -> None:
    """The system commands of V3.5 know no single pack; the entry keeps a record of the bank."""
    line.plug(packs=3, profile=Profile.V35)
    result = await line.scan()
    assert result["step_id"] == "confirm_bank"
    assert result["description_placeholders"]["protocol"] == "Pylon RS485 V3.5"
    assert len(result["description_placeholders"]["packs"].splitlines()) == 1
    assert result["description_placeholders"]["packs"].startswith("| – (2) |")
    assert result["description_placeholders"]["notes"] == "The number of packs, as it says itself: 3."

    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"][CONF_PROTOCOL] == "pylon-rs485-v35"
    assert result["data"][CONF_PACKS] == {}
    assert "fields" in result["data"][CONF_BANK]
    assert list(result["data"][CONF_ADDRESSES]) == [2]


async def test_the_model_can_be_chosen_among_those_with_as_many_cells(line: FlowLine) -> None:
    """What was chosen from the catalog is kept with the entry."""
    line.plug(packs={2: SimPack(PackSpec(cells=8, serial="H8CELLS0000001"))})
    result = await line.scan()
    models = offered(result, CONF_MODEL)
    assert "ES25.6-100LP" in models
    assert "ES51.2-100LP" not in models
    result = await line.submit(result, {CONF_MODEL: "ES25.6-100LP"})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"][CONF_MODEL] == "ES25.6-100LP"


async def test_a_battery_that_names_its_model_has_it_filled_in(line: FlowLine) -> None:
    """A name that the catalog knows is suggested, and the person decides."""
    line.plug(packs={2: SimPack(PackSpec(serial="HMODEL00000001", model="V5", manufacturer="Pytes"))})
    result = await line.scan()
    assert suggested(result, CONF_MODEL) == "V5°"
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert CONF_MODEL not in result["data"]


async def test_a_pack_whose_serial_number_is_not_heard_is_pointed_out(line: FlowLine) -> None:
    """The person learns that it will go by its address before it does, while starting again may still help."""
    bus = line.plug(packs=2)
    bus.faults.add(Fault(kind=Kind.SILENCE, containing=b"4693", addresses=frozenset({3})))
    result = await line.scan()
    notes = result["description_placeholders"]["notes"]
    assert notes.startswith("No serial number could be read from these packs: 2. Each will be known by its address")
    result = await line.submit(result, {})
    assert "identifier" in result["data"][CONF_PACKS]["2"]
    assert "identifier" not in result["data"][CONF_PACKS]["3"]


async def test_no_model_is_asked_for_where_none_fits(line: FlowLine) -> None:
    """No product of the catalog has 15 cells."""
    line.plug(packs={2: SimPack(PackSpec(cells=15, serial="H15CELL0000001"))})
    result = await line.scan()
    assert result["data_schema"].schema == {}
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert CONF_MODEL not in result["data"]


def _growatt(bank: SimBank) -> ModbusSpeaker:
    return ModbusSpeaker(bank, GrowattMap(Dialect.ZT))


async def test_a_bank_whose_capacity_wraps_is_asked_for_its_number_of_packs(line: FlowLine) -> None:
    """A word of 16 bits is too short for many large packs; with their number and the model it can be read."""
    line.plug(packs=3, speaks=_growatt, first=1)
    result = await line.scan()
    assert result["step_id"] == "confirm_bank"
    assert result["description_placeholders"]["protocol"] == "Growatt RS485"
    assert CONF_PACK_COUNT in result["data_schema"].schema
    result = await line.submit(result, {CONF_MODEL: "ML314-51.2-W08", CONF_PACK_COUNT: 3.0})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    entry = result["result"]
    assert entry.options == {CONF_PACK_COUNT: 3}
    settings = Settings.of(entry.data, entry.options)
    assert (settings.packs, settings.capacity) == (3, 314.0)


async def test_a_bank_that_says_how_many_packs_it_has_has_the_number_filled_in(line: FlowLine) -> None:
    """The person can still say otherwise."""
    bank = BankState(voltage=52.0, soc=50.0, current=1.0, modules=4)
    report = ScanReport(
        outcome=Outcome.FOUND, protocol="growatt-rs485", baudrate=9600, bank=bank, bank_address=1, answers=9
    )
    result = await line.reported(report)
    assert suggested(result, CONF_PACK_COUNT) == 4


async def test_others_are_not_asked_for_what_they_can_do_without(line: FlowLine) -> None:
    """Every question is one too many that changes nothing."""
    line.plug()
    result = await line.scan()
    assert CONF_PACK_COUNT not in result["data_schema"].schema


async def test_a_protocol_that_was_never_tried_is_called_so(line: FlowLine) -> None:
    """The person is asked to compare, and to report."""
    state = BankState(voltage=52.0, soc=50.0, current=1.0)
    report = ScanReport(
        outcome=Outcome.FOUND, protocol="cvte-rs485", baudrate=9600, bank=state, bank_address=1, answers=9
    )
    result = await line.reported(report)
    assert result["step_id"] == "confirm_bank"
    assert "never been tried on a real battery" in result["description_placeholders"]["notes"]


async def test_the_scan_is_told_what_is_known_beforehand(line: FlowLine) -> None:
    """The family and what the person said of the line; and how the last battery on this port was found."""
    nothing = ScanReport(outcome=Outcome.NOTHING)
    await line.reported(nothing, family="vlrv", shared=True)
    assert (line.scanned_with["family"], line.scanned_with["listen_only"]) == ("vlrv", True)
    await line.reported(nothing)
    asked = {name: line.scanned_with[name] for name in ("family", "listen_only", "known", "speeds")}
    assert asked == {"family": None, "listen_only": False, "known": None, "speeds": None}
    line.plug(baudrate=115200)
    await line.scan()
    await line.reported(nothing)
    assert line.scanned_with["known"] == ("pylon-rs485", 115200)


async def test_thin_evidence_is_called_so(line: FlowLine) -> None:
    """Damaged answers among the good ones lead to a confirmation that asks for care."""
    bus = line.plug(packs=2)
    bus.faults.add(Fault(kind=Kind.BAD_CHECKSUM, probability=0.3))
    result = await line.scan()
    assert result["step_id"] == "confirm_unsure"
    assert int(result["description_placeholders"]["damaged"]) > 0
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_a_battery_that_is_set_up_already_is_pointed_out(line: FlowLine) -> None:
    """Over a second link the same battery is named before it is added again, and then goes by its address."""
    pack = SimPack(PackSpec(serial="HSAME000000001"))
    line.plug(packs={2: pack})
    first = await line.add()
    line.plug("/dev/ttyOTHER", packs={2: pack})
    result = await line.scan("/dev/ttyOTHER")
    assert result["step_id"] == "confirm_twice"
    assert first.title in result["description_placeholders"]["titles"]
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["result"].unique_id is None
    assert "identifier" not in result["data"][CONF_PACKS]["2"]


@pytest.mark.parametrize(
    ("cells", "bus", "alike"),
    [(16, False, True), (None, False, True), (8, False, False), (16, True, True), (8, True, True)],
)
async def test_a_battery_that_may_be_read_over_bluetooth_already_is_pointed_out(
    line: FlowLine, cells: int | None, bus: bool, alike: bool
) -> None:
    """No serial number tells there: on a cable the cells may speak against it, this bus tells nothing of them."""
    address = "A4:C1:37:01:02:03"
    record = {"identifier": address, **({"cells": cells} if cells else {})}
    MockConfigEntry(
        domain=DOMAIN,
        title="Motor *home*",
        unique_id=address,
        data={
            CONF_DEVICE: f"bluetooth:{address}",
            CONF_PROTOCOL: "zeta-1006",
            CONF_BAUDRATE: None,
            CONF_ADDRESSES: [1],
            CONF_PACKS: {"1": record},
        },
    ).add_to_hass(line.hass)
    line.plug()
    line.plug_bus()
    result = await (line.listen() if bus else line.scan())
    notes = result["description_placeholders"]["notes"]
    assert (r"It may be a battery that Motor \*home\* reads" in notes) is alike


async def test_a_serial_number_that_all_packs_share_identifies_none(line: FlowLine) -> None:
    """Some masters give their own for every pack; such an entry has no unique id."""
    twin = PackSpec(serial="HTWIN000000001")
    line.plug(packs={2: SimPack(twin), 3: SimPack(twin)})
    result = await line.scan()
    notes = result["description_placeholders"]["notes"]
    assert notes.startswith("The serial number of these packs does not tell them from all others: 1, 2.")
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["result"].unique_id is None


async def test_the_entry_is_named_after_what_was_heard(hass: HomeAssistant, line: FlowLine) -> None:
    """The maker and the model of the first pack; a second one of the same name says at which port it is."""
    line.plug()
    entry = await line.add()
    assert entry.title == "Pylon SIM5000C"
    names = {device.name for device in dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)}
    assert names == {"Pylon SIM5000C", "Pylon SIM5000C pack 1", "Pylon SIM5000C pack 2"}
    gateway = "socket://192.168.1.20:8899"
    line.plug(gateway, packs={2: SimPack(PackSpec(serial="HANOTHER000001"))})
    assert (await line.add(gateway)).title == "Pylon SIM5000C (192.168.1.20:8899)"


@pytest.mark.parametrize(
    ("identities", "title"),
    [
        ([Identity(manufacturer="Maker", model="M1"), Identity(manufacturer="Maker", model="M2")], "Maker M1"),
        ([Identity(serial="HPACK000000001"), Identity(manufacturer="Maker")], "Maker"),
        ([Identity(model="Maker", manufacturer="Maker")], "Maker"),
        ([Identity(manufacturer="Maker", model="HPACK000000001", serial="HPACK000000001")], "Maker"),
        ([Identity(manufacturer="Maker", model="M1 HPACK000000001", serial="HPACK000000001")], "Maker"),
        ([Identity(manufacturer="Maker", model="HPACK00000", serial="HPACK000000001")], "Maker"),
        ([Identity(manufacturer="PYTES", serial="PYTES00000001")], "PYTES"),
        ([Identity(manufacturer="Ma\nker\0 ")], "Maker"),
        ([Identity()], "Pylon RS485"),
    ],
)
async def test_a_name_comes_from_the_battery_and_holds_no_serial_number(
    line: FlowLine, identities: list[Identity], title: str
) -> None:
    """What cannot be printed, is said twice, or tells one battery from all others stays out of it."""
    packs = tuple(
        FoundPack(address=2 + place, identity=identity, state=PackState(address=2 + place, voltage=52.0))
        for place, identity in enumerate(identities)
    )
    report = ScanReport(outcome=Outcome.FOUND, protocol="pylon-rs485", baudrate=9600, packs=packs, answers=9)
    result = await line.submit(await line.reported(report), {})
    assert result["title"] == title


@pytest.mark.parametrize(
    ("sent", "error", "said"),
    [
        ({"pack_count": 2.5}, "not_whole", "whole numbers"),
        ({"pack_count": 17, "model": "ES51.2-100LP"}, "too_many_packs", "gives 15 as the highest number"),
    ],
)
async def test_a_number_of_packs_that_cannot_be_is_asked_for_again(
    line: FlowLine, sent: dict[str, Any], error: str, said: str
) -> None:
    """Packs are whole, and no more of them than the manual allows; what was filled in stays."""
    line.plug(packs=2, speaks=lambda bank: ModbusSpeaker(bank, GrowattMap(Dialect.ZT)), first=1)
    result = await line.submit(await line.scan(), sent)
    assert result["errors"] == {"pack_count": error}
    assert said in TEXTS["config"]["error"][error].format(**result["description_placeholders"])
    shown = {str(name): name.description for name in result["data_schema"].schema}
    assert shown["pack_count"] == {"suggested_value": sent["pack_count"]}
    result = await line.submit(result, {**sent, "pack_count": 2.0})
    assert result["options"]["pack_count"] == 2


async def test_a_url_is_kept_as_it_was_typed(line: FlowLine) -> None:
    """Spaces around it are slips of the keyboard."""
    url = "socket://192.168.1.20:8899"
    line.plug(url)
    entry = await line.add(f"  {url} ")
    assert entry.data[CONF_DEVICE] == url


# --- the dialog itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [0.5, 3.0])
async def test_closing_the_dialog_stops_the_scan_and_frees_the_port(
    hass: HomeAssistant, line: FlowLine, moment: float
) -> None:
    """Not one more byte is sent, and another flow may use the port at once."""
    bus = line.plug(packs=0)
    flow = await line.submit(await line.open_form(), {CONF_DEVICE: PORT})
    await line.clock.advance(moment)
    assert bus.port.line is not None
    hass.config_entries.flow.async_abort(flow["flow_id"])
    await line.settle()
    sent = bus.bytes_received
    assert bus.port.line is None
    await line.settle(10)
    assert bus.bytes_received == sent
    line.plug()
    assert (await line.scan())["step_id"] == "confirm"


async def test_reading_a_step_again_changes_nothing(hass: HomeAssistant, line: FlowLine) -> None:
    """A reloaded page shows the same report or error again."""
    line.plug(packs=0)
    result = await line.scan()
    again = await hass.config_entries.flow.async_configure(result["flow_id"])
    assert again["errors"] == result["errors"]
    line.plug()
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: PORT}))
    again = await hass.config_entries.flow.async_configure(result["flow_id"])
    assert again["step_id"] == result["step_id"]
    assert again["description_placeholders"] == result["description_placeholders"]


async def test_a_form_that_is_sent_twice_scans_once(hass: HomeAssistant, line: FlowLine) -> None:
    """An impatient second click joins the scan under way."""
    bus = line.plug()
    form = await line.open_form()
    first, second = await asyncio.gather(
        *(hass.config_entries.flow.async_configure(form["flow_id"], {CONF_DEVICE: PORT}) for _ in range(2))
    )
    assert first["type"] is second["type"] is FlowResultType.SHOW_PROGRESS
    assert (await line.scanned(first))["step_id"] == "confirm"
    assert bus.port.line is None


async def test_a_text_from_the_battery_cannot_become_markup(line: FlowLine) -> None:
    """What a device says is shown letter by letter in the report."""
    line.plug(packs={2: SimPack(PackSpec(serial="|<img>[x](y)_*_"))})
    result = await line.scan()
    assert r"\|\<img\>\[x\]\(y\)\_\*\_" in result["description_placeholders"]["packs"]


async def test_the_simulated_lines_stand_where_connect_opens_real_ones(hass: HomeAssistant, line: FlowLine) -> None:
    """The seam that these tests rest on: what the flow opens is what the test plugged in."""
    line.plug()
    opened: ByteTransport = connect.open_line(hass, PORT)(9600)
    assert opened.baudrate == 9600
    assert line.opened == [(PORT, 9600)]
