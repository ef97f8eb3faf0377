"""Moving a battery to another port or speed, on simulated lines."""

import asyncio
from collections.abc import Callable
from typing import Any

from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntry, ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
import pytest

from custom_components.lfp_battery import connect
from custom_components.lfp_battery.bms.discovery import Progress, ScanReport, Stage
from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_BAUDRATE, CONF_PACKS
from custom_components.lfp_battery.moving import merged
from tests.flow_line import PORT, TEXTS, FlowLine
from tests.simulator.faults import Fault, Kind
from tests.simulator.pack import PackSpec, SimPack

ELSEWHERE = "/dev/ttyELSE"


def _packs(*serials: str) -> dict[int, SimPack]:
    """Packs from address 2 on, with these serial numbers."""
    return {address: SimPack(PackSpec(serial=serial)) for address, serial in enumerate(serials, 2)}


async def _moved(line: FlowLine, entry: ConfigEntry) -> None:
    """Let the reload that ends the flow run to its end; it waits for packs that do not answer."""
    await line.settle(10)
    assert entry.state is ConfigEntryState.LOADED


async def test_a_battery_moves_to_another_port_and_speed(line: FlowLine) -> None:
    """The link changes, the records stay, and the old port is free."""
    packs = _packs("HPACK000000001", "HPACK000000002")
    old = line.plug(packs=packs)
    entry = await line.add()
    before = dict(entry.data)
    old.unplug()
    new = line.plug(ELSEWHERE, packs=packs, baudrate=115200)

    result = await line.scanned(await line.reconfigure(entry, ELSEWHERE))
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "reconfigure_successful"
    await _moved(line, entry)
    assert entry.data[CONF_DEVICE] == ELSEWHERE
    assert entry.data[CONF_BAUDRATE] == 115200
    identifiers = {address: record["identifier"] for address, record in before[CONF_PACKS].items()}
    assert {a: record["identifier"] for a, record in entry.data[CONF_PACKS].items()} == identifiers
    assert old.port.line is None
    assert new.port.line is not None


@pytest.mark.parametrize("delay", [0.0, 0.3, 0.7])
async def test_a_dialog_that_fetches_whatever_it_is_told_of_sees_the_end(
    line: FlowLine, monkeypatch: pytest.MonkeyPatch, delay: float
) -> None:
    """Once, also with a new text to the last: told of that and of the end, its second fetch would be an error."""
    properly = connect.async_scan

    async def scan(hass: HomeAssistant, device: str, progressed: Callable[[Progress], None], **how: Any) -> ScanReport:
        report = await properly(hass, device, progressed, **how)
        progressed(Progress(stage=Stage.LISTENING, fraction=1.0, protocol="pylon-rs485-2.6"))
        return report

    monkeypatch.setattr(connect, "async_scan", scan)
    line.plug()
    entry = await line.add()
    for _ in range(2):
        seen = await line.as_a_browser(await line.reconfigure(entry), delay)
        assert [one["reason"] for one in seen if one["type"] is FlowResultType.ABORT] == ["reconfigure_successful"]
        assert len(seen) > 1
        await _moved(line, entry)


async def test_the_form_shows_where_the_battery_is_now(hass: HomeAssistant, line: FlowLine) -> None:
    """The port is filled in; the speed is found by itself unless one is chosen."""
    line.plug()
    entry = await line.add()
    form: Any = await hass.config_entries.flow.async_init(
        entry.domain, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )
    fields = {str(name): name for name in form["data_schema"].schema}
    assert fields[CONF_DEVICE].description == {"suggested_value": PORT}
    assert fields[CONF_BAUDRATE].default() == "auto"
    assert form["data_schema"].schema[CONF_BAUDRATE].config["options"][1]["value"] == "9600"
    hass.config_entries.flow.async_abort(form["flow_id"])


@pytest.mark.parametrize(("chosen", "there"), [(9600, 115200), (115200, 9600)])
async def test_a_chosen_speed_is_the_only_one_tried(line: FlowLine, chosen: int, there: int) -> None:
    """Narrowing the scan saves time, and finds nothing at another speed; not even at the one known so far."""
    line.plug()
    entry = await line.add()
    line.plug(ELSEWHERE, packs=_packs("HPACK000000009"), baudrate=there)
    line.opened.clear()
    result = await line.scanned(await line.reconfigure(entry, ELSEWHERE, baudrate=str(chosen)))
    assert result["step_id"] == "reconfigure"
    assert result["errors"] == {"base": "nothing_at_speed"}
    text = TEXTS["config"]["error"]["nothing_at_speed"].format(**result["description_placeholders"])
    assert text.startswith(f"Nothing that makes sense was heard at {chosen} baud, the only speed that was tried.")
    assert "Automatic" in text
    assert {speed for url, speed in line.opened if url == ELSEWHERE} == {chosen}


async def test_the_very_port_in_use_is_lent_to_the_scan(line: FlowLine) -> None:
    """The entry lets go of the port, and has it again when the same battery was found."""
    bus = line.plug()
    entry = await line.add()
    flow = await line.reconfigure(entry)
    assert entry.state is ConfigEntryState.NOT_LOADED
    result = await line.scanned(flow)
    assert result["reason"] == "reconfigure_successful"
    await _moved(line, entry)
    assert bus.port.line is not None


async def test_a_line_that_has_two_names_is_scanned_by_one_alone(line: FlowLine) -> None:
    """A gateway by name and by number leads to the same line, so the entry is paused whatever the port is called."""
    by_name, by_number = "socket://gateway.local:8899", "socket://192.168.1.20:8899"
    line.plug(by_name)
    entry = await line.add(by_name)
    line.ports[by_number] = line.ports[by_name]
    flow = await line.reconfigure(entry, by_number)
    assert entry.state is ConfigEntryState.NOT_LOADED
    result = await line.scanned(flow)
    assert result["reason"] == "reconfigure_successful"
    await _moved(line, entry)
    assert entry.data[CONF_DEVICE] == by_number


async def test_a_failed_scan_of_another_port_sets_the_entry_up_again(line: FlowLine) -> None:
    """The battery was paused for the scan, and goes on where it was."""
    bus = line.plug()
    entry = await line.add()
    line.plug(ELSEWHERE, packs=0)
    flow = await line.reconfigure(entry, ELSEWHERE)
    assert entry.state is ConfigEntryState.NOT_LOADED
    result = await line.scanned(flow)
    assert result["errors"] == {"base": "nothing_heard"}
    await _moved(line, entry)
    assert bus.port.line is not None


async def test_an_entry_that_cannot_be_stopped_is_not_scanned_beside(
    hass: HomeAssistant, line: FlowLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may go on asking on the line; the person is told what helps."""
    line.plug()
    entry = await line.add()

    async def fails(*_: object) -> bool:
        return False

    line.opened.clear()
    with monkeypatch.context() as patch:
        patch.setattr(hass.config_entries, "async_unload_platforms", fails)
        result = await line.reconfigure(entry, ELSEWHERE)
    assert result["step_id"] == "reconfigure"
    assert result["errors"] == {"base": "not_paused"}
    assert result["description_placeholders"]["title"] == entry.title
    assert line.opened == []
    # a second attempt ends in the same way
    result = await line.submit(result, {CONF_DEVICE: ELSEWHERE})
    assert result["errors"] == {"base": "not_paused"}
    hass.config_entries.flow.async_abort(result["flow_id"])
    await line.settle()
    assert entry.state is ConfigEntryState.FAILED_UNLOAD
    entry._async_set_state(hass, ConfigEntryState.LOADED, None)  # so that the test can end


async def test_a_failed_scan_gives_the_port_back_to_the_entry(line: FlowLine) -> None:
    """The battery goes on as before while the form shows what went wrong, and trying again works."""
    bus = line.plug()
    entry = await line.add()
    before = dict(entry.data)
    fault = Fault(kind=Kind.SILENCE)
    bus.faults.add(fault)
    result = await line.scanned(await line.reconfigure(entry))
    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] == "reconfigure"
    assert result["errors"] == {"base": "nothing_heard"}
    bus.faults.clear()
    await _moved(line, entry)
    assert entry.data[CONF_DEVICE] == before[CONF_DEVICE]

    result = await line.scanned(await line.submit(result, {CONF_DEVICE: PORT, CONF_BAUDRATE: "9600"}))
    assert result["reason"] == "reconfigure_successful"
    await _moved(line, entry)


async def test_an_impatient_second_attempt_waits_for_the_entry(line: FlowLine) -> None:
    """Sent again while the entry is still being set up, the form does not find its own port busy."""
    bus = line.plug()
    entry = await line.add()
    bus.faults.add(Fault(kind=Kind.SILENCE))
    result = await line.scanned(await line.reconfigure(entry))
    assert result["errors"] == {"base": "nothing_heard"}
    assert entry.state is ConfigEntryState.SETUP_IN_PROGRESS
    bus.faults.clear()
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: PORT}))
    assert result["reason"] == "reconfigure_successful"
    await _moved(line, entry)


async def test_an_entry_that_is_not_set_up_is_left_so_during_the_scan(hass: HomeAssistant, line: FlowLine) -> None:
    """There is nothing to pause; finding the battery sets the entry up."""
    line.plug()
    entry = await line.add()
    await line.drive(hass.config_entries.async_unload(entry.entry_id))
    result = await line.scanned(await line.reconfigure(entry))
    assert result["reason"] == "reconfigure_successful"
    await _moved(line, entry)


async def test_closing_the_dialog_gives_the_port_back_to_the_entry(hass: HomeAssistant, line: FlowLine) -> None:
    """Giving up in the middle of the scan leaves the battery as it was."""
    bus = line.plug()
    entry = await line.add()
    flow = await line.reconfigure(entry)
    await line.clock.advance(1)
    assert entry.state is ConfigEntryState.NOT_LOADED
    hass.config_entries.flow.async_abort(flow["flow_id"])
    await _moved(line, entry)
    assert bus.port.line is not None


async def test_a_dialog_closed_before_the_scan_begins_scans_nothing(hass: HomeAssistant, line: FlowLine) -> None:
    """Closed while the port is still being looked up, it leaves no scan behind and the battery as it was."""
    bus = line.plug()
    entry = await line.add()
    form = await hass.config_entries.flow.async_init(
        entry.domain, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )
    asked = len(bus.requests)
    line.opened.clear()
    sent = asyncio.ensure_future(hass.config_entries.flow.async_configure(form["flow_id"], {CONF_DEVICE: PORT}))
    await asyncio.sleep(0)
    hass.config_entries.flow.async_abort(form["flow_id"])
    result = await line.drive(asyncio.wait_for(sent, None))
    assert result["type"] is FlowResultType.ABORT
    await _moved(line, entry)
    # how often the entry itself opens it is the affair of its set-up; 4F is asked by a scan alone
    assert set(line.opened) == {(PORT, 9600)}
    assert not [question for _, question in list(bus.requests)[asked:] if question[5:9] == b"464F"]
    assert bus.port.line is not None


async def test_an_entry_removed_during_the_scan_stays_removed(hass: HomeAssistant, line: FlowLine) -> None:
    """Nothing is set up again that is no longer there."""
    bus = line.plug()
    entry = await line.add()
    flow = await line.reconfigure(entry)
    await line.clock.advance(1)
    await line.drive(hass.config_entries.async_remove(entry.entry_id))
    result = await line.scanned(flow)
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "entry_removed"
    assert hass.config_entries.async_entries(entry.domain) == []
    assert bus.port.line is None


async def test_an_entry_removed_while_the_form_stands_open_ends_the_flow(hass: HomeAssistant, line: FlowLine) -> None:
    """There is nothing left to be reconfigured."""
    line.plug()
    entry = await line.add()
    form = await hass.config_entries.flow.async_init(
        entry.domain, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )
    await line.drive(hass.config_entries.async_remove(entry.entry_id))
    result = await line.submit(form, {CONF_DEVICE: PORT})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "entry_removed"


@pytest.mark.parametrize("state", ["loaded", "unloaded"])
async def test_another_battery_is_refused(hass: HomeAssistant, line: FlowLine, state: str) -> None:
    """None of the serial numbers is known, so the entry keeps its battery and its port."""
    bus = line.plug(packs=_packs("HPACK000000001"))
    entry = await line.add()
    if state == "unloaded":
        await line.drive(hass.config_entries.async_unload(entry.entry_id))
    before = entry.data
    line.plug(ELSEWHERE, packs=_packs("HSTRANGER00001"))
    result = await line.scanned(await line.reconfigure(entry, ELSEWHERE))
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "another_battery"
    assert result["description_placeholders"] == {"title": entry.title}
    assert entry.data == before
    await line.settle()
    assert entry.state is (ConfigEntryState.LOADED if state == "loaded" else ConfigEntryState.NOT_LOADED)
    assert (bus.port.line is not None) is (state == "loaded")


async def test_another_battery_on_the_same_port_is_refused_and_the_entry_goes_on(line: FlowLine) -> None:
    """A pack was swapped for a stranger: the flow says so, and the entry is set up again."""
    line.plug(packs=_packs("HPACK000000001"))
    entry = await line.add()
    line.plug(packs=_packs("HSTRANGER00001"))
    result = await line.scanned(await line.reconfigure(entry))
    assert result["reason"] == "another_battery"
    await _moved(line, entry)


async def test_new_packs_of_the_same_bank_are_taken_in(line: FlowLine) -> None:
    """One pack that is known is enough; those that are asleep keep their records, and what is behind them is found."""
    line.plug(packs=_packs("HPACK000000001", "HPACK000000002"))
    entry = await line.add()
    grown = _packs("HPACK000000001", "HPACK000000002", "HPACK000000003")
    grown[3].silent = True
    line.plug(ELSEWHERE, packs=grown)
    result = await line.scanned(await line.reconfigure(entry, ELSEWHERE))
    assert result["reason"] == "reconfigure_successful"
    assert entry.data[CONF_PACKS]["3"]["serial"] == "HPACK000000002"
    await _moved(line, entry)
    await line.settle(300)  # a scan for a battery that is known looks at packs in a row only
    assert list(entry.data[CONF_ADDRESSES]) == [2, 3, 4]
    assert entry.data[CONF_PACKS]["3"]["serial"] == "HPACK000000002"
    assert entry.data[CONF_PACKS]["4"]["identifier"] == "HPACK000000003"


async def test_an_entry_that_knows_no_pack_takes_what_answers(hass: HomeAssistant, line: FlowLine) -> None:
    """Nothing that is known can be contradicted, whatever address was kept to have one to ask."""
    line.plug(packs=_packs("HPACK000000001"))
    entry = await line.add()
    await line.drive(hass.config_entries.async_unload(entry.entry_id))
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, CONF_PACKS: {}, CONF_ADDRESSES: [9]}, unique_id=None
    )
    line.plug(ELSEWHERE, packs=_packs("HSTRANGER00001"))
    result = await line.scanned(await line.reconfigure(entry, ELSEWHERE))
    assert result["reason"] == "reconfigure_successful"
    await _moved(line, entry)
    assert list(entry.data[CONF_ADDRESSES]) == [2]
    assert entry.data[CONF_PACKS]["2"]["identifier"] == "HSTRANGER00001"
    assert entry.unique_id == "HSTRANGER00001"


async def test_a_pack_whose_address_was_changed_keeps_its_record(line: FlowLine) -> None:
    """Its device goes with its serial number, and the one that answers at its old address is a new one."""
    line.plug(packs=_packs("HPACK000000001"))
    entry = await line.add()
    line.plug(ELSEWHERE, packs=_packs("HPACK000000002", "HPACK000000001"))
    result = await line.scanned(await line.reconfigure(entry, ELSEWHERE))
    assert result["reason"] == "reconfigure_successful"
    identifiers = {address: record["identifier"] for address, record in entry.data[CONF_PACKS].items()}
    assert identifiers == {"2": "HPACK000000002", "3": "HPACK000000001"}
    await _moved(line, entry)
    packs = entry.runtime_data.packs
    assert {address: pack.identity for address, pack in packs.items()} == {2: "HPACK000000002", 3: "HPACK000000001"}


@pytest.mark.parametrize(
    ("known", "found", "kept"),
    [
        ({2: "A", 3: "B"}, {2: "A"}, {2: "A", 3: "B"}),  # one is asleep
        ({2: "A", 3: "B", 4: "C"}, {2: "B", 3: "C", 4: "A"}, {2: "B", 3: "C", 4: "A"}),  # all moved
        ({2: "A", 3: "B"}, {2: "B"}, {2: "B", 3: "A"}),  # perhaps they changed places, and one is asleep
        ({2: "A"}, {2: "N", 3: "A"}, {2: "N", 3: "A"}),
        ({2: "A", 3: "B"}, {2: "N", 3: "B"}, {2: "N", 3: "B"}),  # another battery took A's place
        ({2: "A", 3: "B"}, {2: None, 3: "B"}, {2: "A", 3: "B"}),  # its serial number was not read this time
        ({2: None}, {2: "N"}, {2: None}),  # goes by its address, and that was decided when it was first seen
    ],
)
def test_who_is_who_is_decided_by_serial_number_and_then_by_address(
    known: dict[int, str | None], found: dict[int, str | None], kept: dict[int, str | None]
) -> None:
    """Records that are known stay what they are, wherever their packs answer now."""

    def data(packs: dict[int, str | None], firmware: str) -> dict[str, Any]:
        records = {str(place): {"firmware": firmware, "identifier": name} for place, name in packs.items()}
        return {CONF_PROTOCOL: "pylon-rs485", CONF_ADDRESSES: list(packs), CONF_PACKS: records}

    result = merged(data(known, "old"), data(found, "new"))
    assert result[CONF_ADDRESSES] == sorted(kept)
    assert {int(place): record["identifier"] for place, record in result[CONF_PACKS].items()} == kept
    for record in result[CONF_PACKS].values():
        assert record["firmware"] == ("old" if record["identifier"] in known.values() else "new")


async def test_without_serial_numbers_the_addresses_decide(line: FlowLine) -> None:
    """Packs that give none are the same when one of them answers at an address that is known."""
    line.plug(packs=_packs("0000000000000000"))
    entry = await line.add()
    line.plug(ELSEWHERE, packs=_packs("0000000000000000"))
    result = await line.scanned(await line.reconfigure(entry, ELSEWHERE))
    assert result["reason"] == "reconfigure_successful"
    await _moved(line, entry)


async def test_the_port_of_another_battery_is_refused(line: FlowLine) -> None:
    """Two entries cannot share a port."""
    line.plug(packs=_packs("HPACK000000001"))
    entry = await line.add()
    line.plug(ELSEWHERE, packs=_packs("HPACK000000002"))
    other = await line.add(ELSEWHERE)
    result = await line.reconfigure(entry, ELSEWHERE)
    assert result["reason"] == "already_configured"
    assert result["description_placeholders"] == {"title": other.title}
