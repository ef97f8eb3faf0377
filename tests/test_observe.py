"""An entry that only listens: how it comes about, what it shows, and how it ends."""

import logging
from typing import Any

from homeassistant.components.repairs import repairs_flow_manager
from homeassistant.config_entries import ConfigEntry, ConfigEntryState
from homeassistant.const import CONF_DEVICE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest

from custom_components.lfp_battery.bms.clients.listening import ListeningClient
from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.discovery import Outcome, ScanReport
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.base import Cadence
from custom_components.lfp_battery.bms.protocols.modbus.frame import read_request
from custom_components.lfp_battery.const import CONF_ADDRESSES, CONF_OBSERVE, CONF_PACKS, DOMAIN
from custom_components.lfp_battery.repairs import OtherMasterFlow
from tests.flow_line import PORT, TEXTS, FlowLine, readable
from tests.home import CYCLE, Home
from tests.simulator.bus import Bus, Foreign, SecondMaster
from tests.simulator.modbus import ModbusSpeaker
from tests.simulator.modbus_growatt import Dialect, GrowattMap
from tests.simulator.pylon_wire import request

ELSEWHERE = "/dev/ttyELSE"


def _inverter(bus: Bus, *addresses: int, period: float = 1.0) -> Foreign:
    """Somebody who asks these packs for their values, one after the other."""
    questions = [request(address, 0x42) for address in addresses or (2, 3)]
    return bus.add_master(SecondMaster(requests=questions, period=period, first=0.1))


def _client(entry: ConfigEntry) -> type:
    """Of which kind the client of a loaded entry is."""
    return type(entry.runtime_data.client)


def _issues(hass: HomeAssistant) -> list[str | None]:
    return [issue.translation_key for (domain, _), issue in ir.async_get(hass).issues.items() if domain == DOMAIN]


# --- set up beside an inverter ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
async def test_a_battery_that_an_inverter_reads_is_set_up_to_be_listened_to(
    hass: HomeAssistant, line: FlowLine, shared: bool
) -> None:
    """Whether the person knew of the inverter or not: it is said, nothing is sent, and the values appear."""
    bus = line.plug(packs=2)
    _inverter(bus)
    result = await line.scan(shared=shared)
    assert result["step_id"].startswith("confirm_observe")
    assert result["description_placeholders"]["protocol"].startswith("Pylon")
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    entry = result["result"]
    assert entry.data[CONF_OBSERVE] is True
    assert entry.options == {CONF_OBSERVE: True}
    await line.settle(30)
    assert _client(entry) is ListeningClient
    states = [hass.states.get(f"sensor.pylon_rs485_pack_{number}_voltage") for number in (1, 2)]
    assert [float(state.state) > 40 for state in states if state is not None] == [True, True]
    assert bus.bytes_received == 0
    assert _issues(hass) == []  # the person has agreed


async def test_the_packs_that_were_heard_are_listed(line: FlowLine) -> None:
    """Those that answered the other device while the scan listened."""
    bus = line.plug(packs=2)
    _inverter(bus, period=0.4)
    result = await line.scan(shared=True)
    assert result["step_id"] == "confirm_observe"
    shown = result["description_placeholders"]
    assert shown["count"] == "2"
    assert [row.split(" | ")[0] for row in shown["packs"].splitlines()] == ["| 1 (2)", "| 2 (3)"]
    result = await line.submit(result, {})
    assert list(result["data"][CONF_ADDRESSES]) == [2, 3]


async def test_the_energy_of_a_slow_master_is_counted_and_that_of_a_break_is_estimated(line: FlowLine) -> None:
    """Values that come every minute and a half are its pace; over ten minutes without any, the pack's charge tells."""
    bus = line.plug(packs=2)
    talk = _inverter(bus, period=0.4)
    result = await line.submit(await line.scan(shared=True), {})
    talk.stop()
    slow = _inverter(bus, period=45.0)
    await line.clock.advance(600)
    account = result["result"].runtime_data.packs[2].account

    def total() -> float:
        return sum((account.charged, account.discharged))

    def estimated() -> float:
        return sum((account.estimated_charged, account.estimated_discharged))

    missed, counted, guessed = account.unobserved, total(), estimated()
    await line.clock.advance(900)
    assert (account.unobserved, estimated()) == (missed, guessed)
    assert total() > counted
    slow.stop()
    await line.clock.advance(600)
    counted = total()
    slow = _inverter(bus, period=45.0)
    await line.clock.advance(50)
    assert total() - counted == pytest.approx(estimated() - guessed)
    assert total() > counted
    assert account.unobserved == missed
    slow.stop()


async def test_an_inverter_that_no_pack_answers_is_listened_to_all_the_same(line: FlowLine) -> None:
    """The packs may be asleep; the entry begins with where a bank usually begins."""
    bus = line.plug(packs=0)
    _inverter(bus)
    result = await line.scan()
    assert result["step_id"] == "confirm_observe_unheard"
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert list(result["data"][CONF_ADDRESSES]) == [2]
    assert result["data"][CONF_PACKS] == {}
    assert bus.bytes_received == 0


async def test_a_shared_line_on_which_nobody_is_heard_is_not_asked(line: FlowLine) -> None:
    """The person says that somebody else is there, so silence is no leave to ask; said otherwise, it is."""
    bus = line.plug(packs=2)
    result = await line.scan(shared=True)
    assert result["step_id"] == "serial"
    assert result["errors"] == {"base": "nothing_overheard"}
    assert bus.bytes_received == 0
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: PORT, "shared": False}))
    assert result["step_id"] == "confirm"


async def test_a_bank_that_speaks_for_its_packs_is_listened_to(hass: HomeAssistant, line: FlowLine) -> None:
    """Cells and limits of a Growatt bank are what its inverter asks for, in the blocks that it asks for."""
    bus = line.plug(packs=3, speaks=lambda bank: ModbusSpeaker(bank, GrowattMap(Dialect.ZT)), first=1)
    questions = [poll.request(1) for poll in POLLED["growatt-rs485"].polls if poll.cadence is Cadence.CYCLE]
    bus.add_master(SecondMaster(requests=questions, period=1.0, first=0.1))
    result = await line.scan(shared=True)
    assert result["step_id"].startswith("confirm_observe")
    assert result["description_placeholders"]["protocol"] == "Growatt RS485"
    entry = (await line.submit(result, {"pack_count": 3}))["result"]
    await line.settle(30)
    assert entry.options == {CONF_OBSERVE: True, "pack_count": 3}
    voltage = hass.states.get("sensor.growatt_rs485_voltage")
    assert voltage is not None
    assert float(voltage.state) > 40
    assert hass.states.get("sensor.growatt_rs485_lowest_cell_voltage") is not None
    assert bus.bytes_received == 0


# --- an inverter that comes later ------------------------------------------------------------------------------------


async def _meet_inverter(home: Home) -> Foreign:
    """A bank that was read, and then an inverter begins to ask."""
    home.plug(2)
    await home.start()
    await home.wait()
    inverter = _inverter(home.bus)
    await home.wait(3 * CYCLE)
    return inverter


async def test_an_entry_that_meets_another_master_falls_silent_and_listens(
    hass: HomeAssistant, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """Within a cycle nothing is sent any more; the values go on, by what the other one asks."""
    caplog.set_level(logging.INFO)
    home.plug(2)
    await home.start()
    await home.wait()
    _inverter(home.bus)
    await home.wait(CYCLE)
    sent = home.bus.bytes_received
    await home.wait(5 * CYCLE)
    assert home.bus.bytes_received == sent
    assert home.entry.state is ConfigEntryState.LOADED
    assert home.entry.data[CONF_OBSERVE] is True
    assert _client(home.entry) is ListeningClient
    assert home.value(2, "voltage") == pytest.approx(home.bank.packs[2].voltage, abs=0.2)
    assert _issues(hass) == ["other_master"]
    said = [record.getMessage() for record in caplog.records if "only listened to" in record.getMessage()]
    assert said == ["Bank: another device asks on this line, so from now on it is only listened to"]


async def test_a_restart_keeps_the_verdict(hass: HomeAssistant, home: Home) -> None:
    """Also while the other device is silent just then: not one byte is sent, and the person is still told."""
    inverter = await _meet_inverter(home)
    inverter.stop()
    await hass.config_entries.async_unload(home.entry.entry_id)
    registry = ir.async_get(hass)
    for domain, issue_id in list(registry.issues):  # as after a restart
        registry.async_delete(domain, issue_id)
    sent = home.bus.bytes_received
    assert await home.start()
    await home.wait(5 * CYCLE)
    assert home.bus.bytes_received == sent
    assert _client(home.entry) is ListeningClient
    assert _issues(hass) == ["other_master"]


async def test_what_is_never_overheard_has_no_entity(home: Home) -> None:
    """The inverter asks for values, not for alarms or limits."""
    home.plug(2, observe=True)
    await home.start()
    _inverter(home.bus)
    await home.wait(5 * CYCLE)
    keys = set(home.entities(home.device(2)))
    assert {"voltage", "soc", "connectivity"} <= keys
    assert keys.isdisjoint({"problem", "charge_current_limit"})


async def test_polling_that_was_disabled_does_not_stop_an_entry_that_only_listens(
    hass: HomeAssistant, home: Home
) -> None:
    """It costs the line nothing, and without it nothing would ever be shown."""
    home.plug(2, options={CONF_OBSERVE: True})
    hass.config_entries.async_update_entry(home.entry, pref_disable_polling=True)
    await home.start()
    _inverter(home.bus)
    await home.wait(3 * CYCLE)
    assert home.state(2, "voltage").state != "unavailable"
    assert home.bus.bytes_received == 0


# --- what the person may do ------------------------------------------------------------------------------------------


async def _fix(hass: HomeAssistant, choice: str) -> Any:
    assert await async_setup_component(hass, "repairs", {})
    (issue,) = [issue for (domain, _), issue in ir.async_get(hass).issues.items() if domain == DOMAIN]
    manager = repairs_flow_manager(hass)
    assert manager is not None
    menu: Any = await manager.async_init(DOMAIN, context={"issue_id": issue.issue_id})
    assert menu["type"] is FlowResultType.MENU
    texts = TEXTS["issues"][issue.translation_key]["fix_flow"]["step"][menu["step_id"]]
    assert set(menu["menu_options"]) == set(texts["menu_options"]) == set(texts["menu_option_descriptions"])
    shown = menu["description_placeholders"]
    assert shown["title"] == "Bank"
    text = "".join(texts[part].format(**shown) for part in ("title", "description"))
    assert (shown["other_protocol"] in text) == (issue.translation_key == "other_master_foreign")
    return await manager.async_configure(menu["flow_id"], {"next_step_id": choice})


async def test_the_person_can_let_the_entry_listen_for_good(hass: HomeAssistant, home: Home) -> None:
    """Then there is nothing left to repair, now and after a restart."""
    await _meet_inverter(home)
    result = await _fix(hass, "listen")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert home.entry.options[CONF_OBSERVE] is True
    assert _issues(hass) == []
    await hass.config_entries.async_unload(home.entry.entry_id)
    await home.start()
    assert _issues(hass) == []
    assert _client(home.entry) is ListeningClient


async def test_the_person_can_have_the_battery_asked_again(hass: HomeAssistant, home: Home) -> None:
    """Once the other device is gone, everything is read as before."""
    (await _meet_inverter(home)).stop()
    sent = home.bus.bytes_received
    result = await home.drive(_fix(hass, "ask"))
    assert result["reason"] == "asks_again"
    text = TEXTS["issues"]["other_master"]["fix_flow"]["abort"]["asks_again"].format(
        **result["description_placeholders"]
    )
    assert "this message comes back" in text
    await home.wait(2 * CYCLE)
    assert CONF_OBSERVE not in home.entry.data
    assert _client(home.entry) is PolledClient
    assert home.bus.bytes_received > sent
    assert _issues(hass) == []


async def test_asking_again_too_early_ends_in_listening_again(hass: HomeAssistant, home: Home) -> None:
    """The other device is heard before anything is sent."""
    await _meet_inverter(home)
    sent = home.bus.bytes_received
    await home.drive(_fix(hass, "ask"))
    await home.wait(60)
    assert home.bus.bytes_received == sent
    assert home.entry.data[CONF_OBSERVE] is True
    assert _client(home.entry) is ListeningClient
    assert _issues(hass) == ["other_master"]


async def test_a_master_that_asks_in_another_protocol_leaves_nothing_to_show(hass: HomeAssistant, home: Home) -> None:
    """It is said so, also after a restart; and once that device is gone, the battery is asked again."""
    home.plug(2)
    await home.start()
    await home.wait()
    inverter = home.bus.add_master(SecondMaster(requests=[read_request(1, 0x13, 16)], period=1.0, first=0.1))
    await home.wait(3 * CYCLE)
    assert _client(home.entry) is ListeningClient
    assert _issues(hass) == ["other_master_foreign"]
    assert home.state(2, "voltage").state == "unavailable"
    await home.drive(hass.config_entries.async_reload(home.entry.entry_id))
    assert _issues(hass) == ["other_master_foreign"]
    inverter.stop()
    await home.drive(_fix(hass, "ask"))
    await home.wait(2 * CYCLE)
    assert _client(home.entry) is PolledClient
    assert home.state(2, "voltage").state != "unavailable"
    assert _issues(hass) == []
    # the next one asks in ours
    _inverter(home.bus)
    await home.wait(3 * CYCLE)
    assert _issues(hass) == ["other_master"]


async def test_an_inverter_that_falls_silent_is_told_of(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """The link is not there while nothing is said, and the log does not speak of answers that nobody asked for."""
    caplog.set_level(logging.INFO)
    home.plug(2, observe=True)
    inverter = _inverter(home.bus)
    await home.start()
    await home.wait(3 * CYCLE)
    assert home.state(None, "link").state == "on"
    inverter.stop()
    await home.wait(900)
    assert home.state(None, "link").state == "off"
    assert home.state(2, "connectivity").state == "off"
    _inverter(home.bus)
    await home.wait(60)
    assert home.state(None, "link").state == "on"
    said = [record.getMessage() for record in caplog.records if "heard" in record.getMessage()]
    assert {"Bank: battery pack 1 is no longer heard", "Bank: battery pack 1 is heard again"} <= set(said)
    assert "answer" not in " ".join(record.getMessage() for record in caplog.records if record.name.endswith("battery"))


@pytest.mark.parametrize("step", ["init", "listen", "ask"])
async def test_a_repair_of_an_entry_that_was_removed_ends(hass: HomeAssistant, step: str) -> None:
    """There is nothing left to decide."""
    flow = OtherMasterFlow("gone")
    flow.hass, flow.flow_id, flow.handler = hass, "flow", DOMAIN
    result = await getattr(flow, f"async_step_{step}")()
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "entry_removed"
    assert result["reason"] in TEXTS["issues"]["other_master"]["fix_flow"]["abort"]


async def _send_options(line: FlowLine, entry: ConfigEntry, **sent: Any) -> Any:
    options = line.hass.config_entries.options
    form = readable(await options.async_init(entry.entry_id), "options")
    result = await line.drive(options.async_configure(form["flow_id"], sent))
    await line.settle(15)
    return result


async def test_observe_only_can_be_chosen_by_hand(line: FlowLine) -> None:
    """Without any other device: not a byte more, until it is taken back."""
    bus = line.plug(packs=2)
    entry = await line.add()
    await _send_options(line, entry, observe=True)
    assert _client(entry) is ListeningClient
    sent = bus.bytes_received
    await line.settle(60)
    assert bus.bytes_received == sent
    assert _issues(line.hass) == []
    await _send_options(line, entry, observe=False)
    assert CONF_OBSERVE not in entry.options
    assert _client(entry) is PolledClient
    assert bus.bytes_received > sent


@pytest.mark.parametrize("agreed", [True, False])
async def test_the_verdict_can_be_dropped_in_the_options(line: FlowLine, agreed: bool) -> None:
    """One switch shows how it is and turns it off, whoever turned it on."""
    bus = line.plug(packs=2)
    inverter = _inverter(bus)
    entry = (await line.submit(await line.scan(), {}))["result"]
    await line.settle(15)
    if not agreed:
        line.hass.config_entries.async_update_entry(entry, options={"soc_floor": 10, "invert_current": False})
        await _send_options(line, entry, observe=True)
        line.hass.config_entries.async_update_entry(
            entry, options={key: value for key, value in entry.options.items() if key != CONF_OBSERVE}
        )
    inverter.stop()
    await _send_options(line, entry, observe=False)
    assert CONF_OBSERVE not in entry.data
    assert CONF_OBSERVE not in entry.options
    assert entry.state is ConfigEntryState.LOADED
    assert _client(entry) is PolledClient


@pytest.mark.parametrize("by_hand", [True, False])
async def test_saving_another_option_leaves_open_who_wanted_to_listen(line: FlowLine, by_hand: bool) -> None:
    """The switch shows a verdict as well as a wish; a switch that nobody touched turns neither into the other."""
    line.plug(packs=2)
    entry = await line.add()
    if by_hand:
        await _send_options(line, entry, observe=True)
    else:
        line.hass.config_entries.async_update_entry(entry, data={**entry.data, CONF_OBSERVE: True})
    await _send_options(line, entry, soc_floor=20)
    assert entry.options["soc_floor"] == 20
    assert entry.options.get(CONF_OBSERVE, False) is by_hand
    assert entry.data.get(CONF_OBSERVE, False) is not by_hand


async def test_a_verdict_that_comes_while_the_settings_stand_open_is_kept(line: FlowLine) -> None:
    """The form still shows the switch off, which is no word against it."""
    line.plug(packs=2)
    entry = await line.add()
    options = line.hass.config_entries.options
    form = readable(await options.async_init(entry.entry_id), "options")
    line.hass.config_entries.async_update_entry(entry, data={**entry.data, CONF_OBSERVE: True})
    await line.drive(options.async_configure(form["flow_id"], {"soc_floor": 20}))
    await line.settle(15)
    assert entry.data[CONF_OBSERVE] is True
    assert CONF_OBSERVE not in entry.options
    assert _client(entry) is ListeningClient


# --- what else there is to know ---------------------------------------------------------------------------------------


async def test_a_battery_that_is_set_up_already_is_named_as_such_on_an_observed_line(line: FlowLine) -> None:
    """That somebody else asks there is no reason to keep quiet about it."""
    line.plug(packs=2)
    first = await line.add()
    await line.settle(15)
    who = [request(address, command) for address in (2, 3) for command in (0x42, 0x93)]
    inverter = line.plug(ELSEWHERE, packs=2).add_master(SecondMaster(requests=who, period=0.4, first=0.1))
    form = await line.scan(ELSEWHERE, shared=True)
    assert form["step_id"] == "confirm_observe"
    words = TEXTS["selector"]["note"]["options"]
    assert words["twice"].format(titles=first.title) in form["description_placeholders"]["notes"]
    assert words["doubtful"] not in form["description_placeholders"]["notes"]
    inverter.stop()
    line.hass.config_entries.flow.async_abort(form["flow_id"])


async def test_damaged_frames_on_an_observed_line_are_told_of(line: FlowLine) -> None:
    """Answers to us there are none to count, but what came damaged says enough."""
    report = ScanReport(outcome=Outcome.OTHER_MASTER, protocol="pylon-rs485", baudrate=9600, damaged=5)
    form = await line.reported(report)
    assert form["step_id"] == "confirm_observe_unheard"
    assert TEXTS["selector"]["note"]["options"]["doubtful"] in form["description_placeholders"]["notes"]
    line.hass.config_entries.flow.async_abort(form["flow_id"])


# --- moved to another line -------------------------------------------------------------------------------------------


async def test_a_battery_moved_to_the_inverters_line_is_listened_to_and_back_it_is_asked(line: FlowLine) -> None:
    """What is heard on the new line decides anew, whatever it was on the old one."""
    packs = line.plug(packs=2).speaker.bank.packs  # type: ignore[attr-defined]
    entry = await line.add()
    shared = line.plug(ELSEWHERE, packs=packs)
    inverter = _inverter(shared)
    result = await line.scanned(await line.reconfigure(entry, ELSEWHERE))
    assert result["reason"] == "reconfigure_successful"
    await line.settle(15)
    assert entry.data[CONF_OBSERVE] is True
    assert entry.options[CONF_OBSERVE] is True
    assert _client(entry) is ListeningClient
    assert shared.bytes_received == 0

    inverter.stop()
    result = await line.scanned(await line.reconfigure(entry, PORT, shared=False))
    assert result["reason"] == "reconfigure_successful"
    await line.settle(15)
    assert not entry.data[CONF_OBSERVE]
    assert CONF_OBSERVE not in entry.options
    assert _client(entry) is PolledClient
