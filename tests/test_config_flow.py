"""The flow that sets a battery up, on simulated lines: every way through it and every way out."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, override

from homeassistant.config_entries import SOURCE_USER, ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_MODEL, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import EVENT_DATA_ENTRY_FLOW_PROGRESS_UPDATE, FlowResultType, InvalidData
from homeassistant.helpers import device_registry as dr
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_capture_events

from custom_components.lfp_battery import connect
from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.bms.discovery import FoundPack, Outcome, ScanReport
from custom_components.lfp_battery.bms.errors import LinkProblem
from custom_components.lfp_battery.bms.model import BankState, Identity, PackState
from custom_components.lfp_battery.bms.transports import ByteTransport
from custom_components.lfp_battery.bms.transports.serial import SerialTransport
from custom_components.lfp_battery.const import (
    CONF_ADDRESSES,
    CONF_BANK,
    CONF_BAUDRATE,
    CONF_FAMILY,
    CONF_PACK_COUNT,
    CONF_PACKS,
    DOMAIN,
)
from custom_components.lfp_battery.settings import Settings
from tests.flow_line import PORT, TEXTS, FlowLine, readable
from tests.simulator.bank import SimBank
from tests.simulator.bus import Bus
from tests.simulator.faults import Fault, Kind
from tests.simulator.line import MemoryPort
from tests.simulator.modbus import ModbusSpeaker
from tests.simulator.modbus_growatt import Dialect, GrowattMap
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pty_line import PtyLine
from tests.simulator.pylon import Profile, PylonSpeaker

# Recognised only to be refused, each in its own words.
STRANGERS = sorted(TEXTS["selector"]["stranger"]["options"])


@pytest.fixture
async def line(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[FlowLine]:
    """Simulated ports in place of real ones; every entry is unloaded at the end."""
    line = FlowLine(hass, monkeypatch)
    yield line
    await line.unload()


def _suggested(result: Any, key: str) -> Any:
    """What a field of a form is filled with."""
    return next(name.description["suggested_value"] for name in result["data_schema"].schema if name == key)


def _options(result: Any, key: str) -> list[str]:
    """The choices that a field of a form offers."""
    return [option["value"] for option in result["data_schema"].schema[key].config["options"]]


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
    models = _options(result, CONF_MODEL)
    assert "ES25.6-100LP" in models
    assert "ES51.2-100LP" not in models
    result = await line.submit(result, {CONF_MODEL: "ES25.6-100LP"})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"][CONF_MODEL] == "ES25.6-100LP"


async def test_a_battery_that_names_its_model_has_it_filled_in(line: FlowLine) -> None:
    """A name that the catalog knows is suggested, and the person decides."""
    line.plug(packs={2: SimPack(PackSpec(serial="HMODEL00000001", model="V5", manufacturer="Pytes"))})
    result = await line.scan()
    assert _suggested(result, CONF_MODEL) == "V5°"
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
    assert _suggested(result, CONF_PACK_COUNT) == 4


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
        ({"pack_count": 17, "model": "ES51.2-100LP"}, "too_many_packs", "no more than 15 packs"),
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


# --- nothing to be found ---------------------------------------------------------------------------------------------


def _silence(bus: Bus) -> None:
    bus.faults.add(Fault(kind=Kind.SILENCE))


def _echo(bus: Bus) -> None:
    bus.faults.add(Fault(kind=Kind.SILENCE))
    bus.faults.add(Fault(kind=Kind.ECHO))


def _damage(bus: Bus) -> None:
    bus.faults.add(Fault(kind=Kind.BAD_CHECKSUM))


def _unreadable(bus: Bus) -> None:
    bus.faults.add(Fault(kind=Kind.SILENCE, containing=b"4642"))


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (_silence, "nothing_heard"),
        (_echo, "only_echo"),
        (_damage, "noise"),
        (_unreadable, "unreadable"),
    ],
)
async def test_trouble_on_the_line_leads_back_to_the_form_and_on_again(
    line: FlowLine, trouble: Callable[[Bus], None], error: str
) -> None:
    """Each kind of trouble has its own words; the port stays filled in, and the next attempt may succeed."""
    bus = line.plug()
    trouble(bus)
    result = await line.scan()
    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] == "serial"
    assert result["errors"] == {"base": error}
    assert _suggested(result, CONF_DEVICE) == PORT
    assert bus.port.line is None

    line.plug()
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: PORT}))
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_an_inverter_that_speaks_another_protocol_is_named_by_it(line: FlowLine) -> None:
    """What is recognised is said, even if it cannot be read."""
    report = ScanReport(outcome=Outcome.OTHER_MASTER, dialect="tdt-v25", baudrate=9600)
    result = await line.reported(report)
    assert result["errors"] == {"base": "other_master"}
    assert result["description_placeholders"]["protocol"] == "TDT (version 2.5)"
    assert "Pylon or Growatt" in result["description_placeholders"]["advice"]


@pytest.mark.parametrize("dialect", STRANGERS)
async def test_a_stranger_is_named_with_what_to_do(line: FlowLine, dialect: str) -> None:
    """A protocol that is recognised only to be refused has its name and its way out."""
    result = await line.reported(ScanReport(outcome=Outcome.OTHER_PROTOCOL, dialect=dialect))
    assert result["errors"] == {"base": "other_protocol"}
    shown = result["description_placeholders"]
    assert shown["dialect"] == TEXTS["selector"]["protocol"]["options"][dialect]
    assert shown["advice"] == TEXTS["selector"]["stranger"]["options"][dialect]


async def test_a_protocol_that_nobody_knows_has_general_advice(line: FlowLine) -> None:
    """Choosing another setting is all that can help."""
    result = await line.reported(ScanReport(outcome=Outcome.OTHER_PROTOCOL))
    assert result["errors"] == {"base": "other_protocol_unknown"}
    assert "Growatt or Pylon" in result["description_placeholders"]["advice"]


async def test_the_port_between_packs_is_called_so(line: FlowLine) -> None:
    """Packs that ask each other are no inverter."""
    result = await line.reported(ScanReport(outcome=Outcome.LINK_PORT, protocol="pylon-rs485", baudrate=9600))
    assert result["errors"] == {"base": "link_port"}


@pytest.mark.parametrize(
    ("family", "said", "unsaid"),
    [
        ("unknown", ("Luxpower, Schneider, Inhenergy", "**Growatt**", "restart the pack", "scan again"), ()),
        ("ml314", ("P07 Luxpower, P02 Schneider, P03 Inhenergy", "**P01 Growatt**"), ("01 Growatt for",)),
        ("vlrv", ("02 Luxpower, 03 Schneider, 04 Inhenergy", "**01 Growatt**"), ("P0",)),
        ("es_wall", ("set to Luxpower", "**Pylon**"), ("Growatt",)),
        ("growatt_65", ("only to link packs", "CAN"), ("Luxpower",)),
        ("pytes_v", (), ("Luxpower", "Growatt")),
    ],
)
async def test_silence_is_met_with_what_this_battery_can_be_set_to(
    line: FlowLine, family: str, said: tuple[str, ...], unsaid: tuple[str, ...]
) -> None:
    """Some settings are not public; the menu of each family has its own codes for what can be read."""
    line.plug(packs=0)
    result = await line.scan(family=family)
    assert result["errors"] == {"base": "nothing_heard"}
    assert _suggested(result, CONF_FAMILY) == family
    advice = result["description_placeholders"]["advice"]
    assert [text for text in said if text not in advice] == []
    assert [text for text in unsaid if text in advice] == []


async def test_the_family_that_was_named_is_kept_with_the_entry(line: FlowLine) -> None:
    """It helps later, where the battery does not say who it is."""
    line.plug()
    result = await line.submit(await line.scan(family="es_wall"), {})
    assert result["data"][CONF_FAMILY] == "es_wall"
    result = await line.submit(await line.open_form(), {CONF_DEVICE: PORT})
    assert result["reason"] == "already_configured"


async def test_a_failed_scan_leaves_the_port_to_others(line: FlowLine) -> None:
    """While the form with the error stands open, another dialog may use the port."""
    _silence(line.plug())
    await line.scan()
    line.plug()
    result = await line.scan()
    assert result["step_id"] == "confirm"


class _Answering(MemoryPort):
    """A port behind which something gives the same answer to everything."""

    def __init__(self, bus: Bus, answer: bytes) -> None:
        super().__init__(bus)
        self._answer = answer

    @override
    def open_line(self, baudrate: int) -> Any:
        line = super().open_line(baudrate)
        send = line.send

        async def send_and_answer(data: bytes) -> None:
            await send(data)
            self.bus.clock.call_later(0.1, lambda: self.bus.babble(self._answer))

        line.send = send_and_answer  # type: ignore[method-assign]
        return line


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
    assert _suggested(result, CONF_DEVICE) == typed
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
    _silence(line.plug())
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
