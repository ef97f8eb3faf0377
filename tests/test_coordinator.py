"""How losses, returns, newcomers and refreshes on the line reach the home."""

from dataclasses import replace
import logging
from typing import Any

from homeassistant.const import CONF_PROTOCOL, EVENT_STATE_CHANGED
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.lfp_battery import async_remove_config_entry_device as remove
from custom_components.lfp_battery.const import CONF_BANK, CONF_PACKS, DOMAIN
from tests.home import CYCLE, Home, log_of
from tests.simulator.faults import Fault, Kind
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pylon import Profile

# Says itself whether the pack answers, or is remembered.
_SAYS_ITSELF = {"connectivity", "safe_to_act", "last_full_charge"}
_SERIAL = b"4693"  # the question for the serial number (pylon-rs485.md section 5)


def _unavailable(states: dict[str, str]) -> set[str]:
    return {key for key, state in states.items() if state == "unavailable"}


async def test_a_pulled_adapter_makes_everything_unavailable_at_once(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """Within two seconds, with one line in the log; back within a cycle of being plugged in, with one more."""
    caplog.set_level(logging.INFO)
    home.plug(3)
    await home.start()
    await home.wait()
    log_of(caplog)
    home.bus.unplug()
    await home.wait(2)
    for address in (2, 3, 4):
        states = home.states(address)
        assert _unavailable(states) == set(states) - _SAYS_ITSELF
        assert states["connectivity"] == states["safe_to_act"] == "off"
    assert home.state(None, "link").state == "off"
    await home.wait(120)
    assert log_of(caplog) == ["Bank: the link is lost"]
    home.bus.replug()
    await home.wait(10 + CYCLE)
    assert _unavailable(home.states(2) | home.states(3) | home.states(4)) == set()
    assert home.state(None, "link").state == "on"
    assert home.value(None, "packs_online") == 3
    assert log_of(caplog) == ["Bank: the link is back"]


async def test_a_silent_pack_takes_only_its_own_entities_with_it(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """Within three cycles; its neighbours go on, and the log has its name once each way."""
    caplog.set_level(logging.INFO)
    home.plug(3)
    await home.start()
    await home.wait()
    log_of(caplog)
    home.bank.packs[3].silent = True
    await home.wait(4 * CYCLE)
    states = home.states(3)
    assert _unavailable(states) == set(states) - _SAYS_ITSELF
    assert states["connectivity"] == "off"
    assert _unavailable(home.states(2)) == _unavailable(home.states(4)) == set()
    assert home.value(None, "packs_online") == 2
    assert log_of(caplog) == ["Bank: battery pack 2 stopped answering"]
    home.bank.packs[3].silent = False
    await home.wait(120)
    assert _unavailable(home.states(3)) == set()
    assert log_of(caplog) == ["Bank: battery pack 2 answers again"]


async def test_the_log_never_holds_a_serial_number(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """Found, lost, returned and replaced: nothing at info level names a battery."""
    caplog.set_level(logging.INFO)
    home.plug(2)
    serials = [pack.spec.serial for pack in home.bank.packs.values()]
    await home.start()
    home.bank.packs[3].silent = True
    await home.wait(5 * CYCLE)
    home.bank.packs[3].silent = False
    home.bus.unplug()
    await home.wait(30)
    assert caplog.text
    assert not any(serial in caplog.text for serial in serials)


async def test_a_pack_that_appears_later_becomes_a_device(home: Home) -> None:
    """No reload: device, entities and record are there some minutes after it was switched on."""
    home.plug(2)
    await home.start()
    link = home.link
    home.bank.add(4, SimPack(PackSpec(serial="PPTLATE000000004")))
    await home.wait(300)
    assert home.link is link
    assert home.device(4).serial_number == "PPTLATE000000004"
    assert home.device(4).via_device_id == home.bank_device().id
    assert home.state(4, "soc").state not in ("unavailable", "unknown")
    assert home.entry.data[CONF_PACKS]["4"]["identifier"] == "PPTLATE000000004"
    assert home.value(None, "packs_online") == 3


async def test_a_refresh_reads_that_pack_next(home: Home) -> None:
    """`homeassistant.update_entity` asks the pack at once, and only that one."""
    home.plug(3)
    await home.start()
    await home.wait(6 * CYCLE)
    await home.quiet()
    home.bank.packs[3].set_soc(11)
    asked = home.bus.request_count
    await home.update_entity(home.entity_id(3, "soc"))
    requests = list(home.bus.requests)[asked - home.bus.request_count :]
    assert requests
    assert {request[3:5] for _, request in requests} == {b"03"}
    assert home.value(3, "soc") == pytest.approx(11, abs=0.2)


async def test_a_refresh_of_every_entity_of_a_pack_is_one_reading(home: Home) -> None:
    """Thirty entities asked for at once do not mean thirty questions."""
    home.plug(2)
    await home.start()
    await home.wait(6 * CYCLE)
    await home.quiet()
    asked = home.bus.request_count
    entities = [e.entity_id for e in home.entities(home.device(2)).values() if not e.disabled_by]
    assert len(entities) > 20
    await home.update_entity(entities)
    assert home.bus.request_count - asked <= 8


async def test_with_polling_disabled_nothing_is_sent_but_what_is_asked_for(hass: HomeAssistant, home: Home) -> None:
    """The entry loads, the line stays quiet, and a refresh still brings values."""
    home.plug(2)
    await home.start()
    await home.wait()
    await hass.config_entries.async_unload(home.entry.entry_id)
    hass.config_entries.async_update_entry(home.entry, pref_disable_polling=True)
    sent = home.bus.bytes_received
    assert await home.start()
    await home.wait(10 * CYCLE)
    assert home.bus.bytes_received == sent
    assert home.state(2, "soc").state == "unavailable"
    await home.update_entity(home.entity_id(2, "soc"))
    assert home.bus.bytes_received > sent
    assert home.value(2, "soc") == pytest.approx(home.bank.packs[2].soc, abs=1)
    assert home.state(3, "soc").state == "unavailable"


async def test_a_disabled_device_costs_no_time_on_the_bus(hass: HomeAssistant, home: Home) -> None:
    """From the moment it is disabled not one question goes to it; enabled again, it is read again."""
    home.plug(2)
    await home.start()
    await home.wait()
    device = home.device(3)
    dr.async_get(hass).async_update_device(device.id, disabled_by=dr.DeviceEntryDisabler.USER)
    await home.wait(1)
    count = home.bus.request_count
    await home.wait(6 * CYCLE)
    requests = list(home.bus.requests)[count - home.bus.request_count :]
    assert requests
    assert {request[3:5] for _, request in requests if request[7:9] == b"42"} <= {b"02", b"04"}  # 04: looking for more
    assert home.value(None, "packs_online") == 1
    dr.async_get(hass).async_update_device(device.id, disabled_by=None)
    await home.wait(2 * CYCLE)
    assert home.value(None, "packs_online") == 2


async def test_another_battery_at_the_same_address_is_a_new_device(hass: HomeAssistant, home: Home) -> None:
    """It has its own entities and record; the old one stays silent and may go."""
    home.plug(2)
    await home.start()
    await home.wait()
    old, entities = home.device(3), home.entities(home.device(3))
    home.bank.remove(3)
    await home.wait(5 * CYCLE)
    home.bank.add(3, SimPack(PackSpec(serial="PPTOTHER00000003", soc=77)))
    await home.wait(120)
    new = home.device(3)
    assert new.id != old.id
    assert new.serial_number == "PPTOTHER00000003"
    assert home.value(3, "soc") == pytest.approx(home.bank.packs[3].soc, abs=1)
    old_soc = hass.states.get(entities["soc"].entity_id)
    assert old_soc is not None
    assert old_soc.state == "unavailable"
    assert home.entry.data[CONF_PACKS]["3"]["identifier"] == "PPTOTHER00000003"
    assert await remove(hass, home.entry, old)
    with pytest.raises(HomeAssistantError):
        await remove(hass, home.entry, new)


async def test_a_bank_that_is_extended_shows_the_old_pack_at_its_new_place(
    hass: HomeAssistant, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """The new pack has taken the old one's address, and the old one the next; its neighbours were never disturbed."""
    home.plug(2)
    await home.start()
    await home.wait()
    old, device, entity_id = home.bank.packs[3], home.device(3).id, home.entity_id(3, "voltage")
    neighbour, gone = home.entity_id(2, "voltage"), []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        new = event.data["new_state"]
        if event.data["entity_id"] == neighbour and (new is None or new.state == "unavailable"):
            gone.append(event)

    hass.bus.async_listen(EVENT_STATE_CHANGED, note)
    home.bank.remove(3)
    await home.wait(5 * CYCLE)
    home.bank.add(3, SimPack(PackSpec(serial="PPTSECOND0000003", seed=7)))
    home.bank.add(4, old)
    await home.wait(900)
    assert home.device(4).id == device
    assert home.device(4).name == "Bank pack 3"
    assert home.entity_id(4, "voltage") == entity_id
    for address in (2, 3, 4):
        assert "unavailable" not in home.states(address).values()
    assert home.value(4, "voltage") == pytest.approx(home.link.packs[4].state.voltage, abs=0.1)
    assert home.entry.data[CONF_PACKS]["4"]["identifier"] == old.spec.serial
    assert "does not generate unique IDs" not in caplog.text
    assert not gone


@pytest.mark.parametrize(
    "known", [{CONF_PACKS: {"2": {"identifier": "PPTOTHER00000003"}}}, {CONF_BANK: {"identifier": "PPTOTHER00000003"}}]
)
async def test_a_battery_that_another_entry_knows_is_known_by_its_address_here(
    hass: HomeAssistant, home: Home, known: dict[str, Any]
) -> None:
    """Carried over from a second link: a new device whose entities do not clash with the old ones."""
    other = MockConfigEntry(domain=DOMAIN, data={CONF_PROTOCOL: "pylon-rs485", **known})
    other.add_to_hass(hass)
    home.plug(2)
    await home.start()
    await home.wait()
    old = home.device(3)
    home.bank.remove(3)
    await home.wait(5 * CYCLE)
    home.bank.add(3, SimPack(PackSpec(serial="PPTOTHER00000003")))
    await home.wait(120)
    assert home.device(3).id != old.id
    assert home.device(3).serial_number is None
    assert home.state(3, "connectivity").state == "on"


async def test_packs_that_changed_places_keep_their_devices(hass: HomeAssistant, home: Home) -> None:
    """Two address switches were exchanged while the bank was off: each history follows its battery."""
    home.plug(2)
    await home.start()
    await home.wait()
    first, second = home.device(2).id, home.device(3).id
    await hass.config_entries.async_unload(home.entry.entry_id)
    packs = dict(home.bank.packs)
    for address, other in ((2, 3), (3, 2)):
        home.bank.remove(address)
        home.bank.add(address, packs[other])
    await home.start()
    await home.wait(3 * CYCLE)
    assert home.device(3).id == first
    assert home.device(2).id == second
    assert home.device(3).serial_number == packs[2].spec.serial
    assert home.state(2, "connectivity").state == home.state(3, "connectivity").state == "on"


async def test_packs_that_all_give_the_masters_number_are_told_apart_by_address(home: Home) -> None:
    """Some masters answer with their own serial number for every pack."""
    same = "PPTMASTER0000001"
    home.plug({address: SimPack(PackSpec(serial=same, seed=address)) for address in (2, 3)})
    await home.start()
    await home.wait(6 * CYCLE)
    assert home.device(2).id != home.device(3).id
    assert home.device(3).serial_number is None
    assert home.state(3, "connectivity").state == "on"


async def test_a_fault_of_ours_does_not_leave_stale_values_standing(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that dies is said to be gone, and is started anew."""
    home.plug(1)
    await home.start()

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(home.link, "cycle_finished", broken)
        await home.wait()
    assert home.state(2, "soc").state == "unavailable"
    assert "reading stopped" in caplog.text
    await home.wait(30 + CYCLE)
    assert home.state(2, "soc").state != "unavailable"
    assert home.state(None, "link").state == "on"


async def test_a_fault_that_stays_is_told_once(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One traceback, one line for the loss, one for the return, however often the client is started anew."""
    caplog.set_level(logging.INFO)
    home.plug(1)
    await home.start()
    log_of(caplog)

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(home.link, "cycle_finished", broken)
        await home.wait(300)
    await home.wait(30 + CYCLE)
    assert log_of(caplog) == ["Bank: reading stopped", "Bank: the link is lost (failed)", "Bank: the link is back"]
    assert home.state(None, "link").state == "on"


async def test_what_was_lost_comes_back_with_an_answer_only(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack that is asked again after a fault of ours and says nothing shows nothing."""
    home.plug(1)
    await home.start()

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(home.link, "cycle_finished", broken)
        await home.wait()
    pack = home.link.packs[2]
    home.link.pack_polled(replace(pack.data, online=True))
    assert home.state(2, "soc").state == "unavailable"
    home.link.pack_polled(replace(pack.data, online=True, received=home.clock.monotonic()))
    assert home.state(2, "soc").state != "unavailable"


async def test_a_missed_reading_is_no_report(hass: HomeAssistant, home: Home) -> None:
    """What integrates power must not take the last value for a new one."""
    home.plug(1)
    await home.start()
    await home.quiet()
    home.speaker_silent(True)
    shown, reported = home.state(2, "power").state, home.state(2, "power").last_reported
    received, asked = home.link.packs[2].data.received, home.bus.request_count
    await home.wait()
    assert home.bus.request_count > asked
    assert home.link.packs[2].data.received == received
    assert home.state(2, "power").state == shown
    assert home.state(2, "power").last_reported == reported


async def test_a_bank_that_speaks_for_itself_has_one_line_for_the_link(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own presence is told only when the bank fell silent on a link that was up."""
    caplog.set_level(logging.INFO)
    home.plug(3, speaks=Profile.V35, protocol="pylon-rs485-v35", addresses=[2])
    await home.start()
    await home.wait()
    log_of(caplog)
    home.bus.unplug()
    await home.wait(30)
    home.bus.replug()
    await home.wait(30)
    assert log_of(caplog) == ["Bank: the link is lost", "Bank: the link is back"]
    home.speaker_silent(True)
    await home.wait(5 * CYCLE)
    home.speaker_silent(False)
    await home.wait(120)
    assert log_of(caplog) == ["Bank: the bank stopped answering", "Bank: the bank answers again"]


async def test_a_disabled_pack_that_answered_when_last_asked_cannot_be_removed(hass: HomeAssistant, home: Home) -> None:
    """It would come back by itself; enabled and silent it may go."""
    home.plug(2)
    await home.start()
    await home.wait()
    device = home.device(3)
    dr.async_get(hass).async_update_device(device.id, disabled_by=dr.DeviceEntryDisabler.USER)
    await home.wait(120)
    with pytest.raises(HomeAssistantError):
        await remove(hass, home.entry, device)
    dr.async_get(hass).async_update_device(device.id, disabled_by=None)
    home.bank.remove(3)
    await home.wait(5 * CYCLE)
    assert await remove(hass, home.entry, device)


async def test_a_battery_at_the_place_of_a_disabled_one_that_was_removed_is_read(
    hass: HomeAssistant, home: Home
) -> None:
    """The place costs time on the bus again once its device is gone."""
    home.plug(2)
    await home.start()
    await home.wait()
    device = home.device(3)
    home.bank.remove(3)
    await home.wait(5 * CYCLE)
    dr.async_get(hass).async_update_device(device.id, disabled_by=dr.DeviceEntryDisabler.USER)
    assert await remove(hass, home.entry, device)
    dr.async_get(hass).async_remove_device(device.id)
    home.bank.add(3, SimPack(PackSpec(serial="PPTOTHER00000003")))
    await home.wait(300)
    assert home.state(3, "connectivity").state == "on"
    assert home.link.packs[3].age is not None
    assert home.link.packs[3].age < 2 * CYCLE


async def test_a_disabled_battery_that_was_removed_stays_disabled_when_it_returns(
    hass: HomeAssistant, home: Home
) -> None:
    """The registry remembers what somebody decided, so it counts for nothing and costs no time on the bus."""
    home.plug(2)
    await home.start()
    await home.wait()
    device, pack = home.device(3), home.bank.packs[3]
    home.bank.remove(3)
    await home.wait(5 * CYCLE)
    dr.async_get(hass).async_update_device(device.id, disabled_by=dr.DeviceEntryDisabler.USER)
    assert await remove(hass, home.entry, device)
    dr.async_get(hass).async_remove_device(device.id)
    home.bank.add(3, pack)
    await home.wait(300)
    assert home.device(3).disabled
    assert not home.link.packs[3].online
    assert home.value(None, "packs_online") == 1


async def test_only_our_own_devices_are_watched(
    hass: HomeAssistant, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody disables a device of another integration: nothing is decided anew."""
    home.plug(1)
    await home.start()
    devices = dr.async_get(hass)
    foreign = devices.async_get_or_create(config_entry_id=home.entry.entry_id, identifiers={("other", "device")})
    decided: list[object] = []
    monkeypatch.setattr(home.link.client, "set_skipped", decided.append)
    devices.async_update_device(foreign.id, disabled_by=dr.DeviceEntryDisabler.USER)
    await home.wait(1)
    assert decided == []
    devices.async_update_device(home.device(2).id, disabled_by=dr.DeviceEntryDisabler.USER)
    await home.wait(1)
    assert len(decided) == 1


async def test_a_serial_number_that_comes_late_still_identifies_the_pack(home: Home) -> None:
    """The first answer to who it is was lost: nothing is decided before the next."""
    home.plug(1)
    home.bus.faults.add(Fault(kind=Kind.SILENCE, containing=_SERIAL, count=2))
    await home.start()
    assert home.link.packs == {}
    await home.wait(2 * CYCLE)
    assert home.link.packs[2].identity == home.bank.packs[2].spec.serial
    assert home.device(2).serial_number == home.bank.packs[2].spec.serial


async def test_a_pack_that_never_says_who_it_is_is_known_by_its_address(home: Home) -> None:
    """After three readings without an answer."""
    home.plug(1)
    home.bus.faults.add(Fault(kind=Kind.SILENCE, containing=_SERIAL))
    await home.start()
    await home.wait(3 * CYCLE)
    assert home.link.packs[2].identity == f"{home.entry.entry_id}_2"
    assert home.state(2, "connectivity").state == "on"


async def test_nothing_stands_as_present_while_packs_change_places(
    hass: HomeAssistant, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry is to load anew; should that fail, no value is left that nobody renews."""
    home.plug(2)
    await home.start()
    await home.wait()
    monkeypatch.setattr(hass.config_entries, "async_schedule_reload", lambda entry_id: None)
    moved = home.bank.packs[3]
    home.bank.remove(3)
    await home.wait(5 * CYCLE)
    home.bank.add(4, moved)
    await home.wait(300)
    assert home.entry.data[CONF_PACKS]["4"]["identifier"] == moved.spec.serial
    assert home.state(2, "soc").state == "unavailable"
    assert home.value(None, "packs_online") == 0
