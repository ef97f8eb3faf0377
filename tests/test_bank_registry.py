"""When a bank over packs is there, when its figures are renewed, and what a refresh of it reads."""

from collections import Counter
from dataclasses import replace

from homeassistant.const import STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import Event, EventStateChangedData, EventStateReportedData, HomeAssistant, callback
from homeassistant.helpers import device_registry as dr, entity_registry as er
import pytest

from custom_components.lfp_battery import async_remove_config_entry_device as remove
from custom_components.lfp_battery.const import CONF_INTERVAL
from tests.can_home import CanHome
from tests.home import CYCLE, Home
from tests.simulator.bank import Steady
from tests.simulator.pack import PackSpec, SimPack

_LONE = {"link", "packs_online"}  # what a bank has whose one pack says everything
_WORKED_OUT = {"soc", "voltage", "current", "power", "energy_charged", "energy_discharged"}


def _keys(home: Home) -> set[str]:
    return set(home.entities(home.bank_device()))


async def _take_out(home: Home, address: int) -> None:
    """Remove a pack from the line, and its device once that is allowed."""
    home.bank.remove(address)
    await home.wait(5 * CYCLE)
    device = home.device(address)
    assert await home.drive(remove(home.hass, home.entry, device))
    dr.async_get(home.hass).async_remove_device(device.id)
    await home.hass.async_block_till_done()


def _values(hass: HomeAssistant, entity_id: str) -> list[str]:
    """Fills with what an entity shows."""
    found: list[str] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        if event.data["entity_id"] == entity_id and (new := event.data["new_state"]) is not None:
            found.append(new.state)

    hass.bus.async_listen("state_changed", note)
    return found


async def test_one_pack_is_its_own_bank(home: Home) -> None:
    """Nothing is shown twice."""
    home.plug(1)
    await home.start()
    await home.wait(3 * CYCLE)
    assert _keys(home) == _LONE


async def test_the_bank_appears_with_the_second_pack_and_goes_with_it(hass: HomeAssistant, home: Home) -> None:
    """No reload either way, and nothing stays behind as unavailable; what a person named keeps its name."""
    home.plug(1)
    await home.start()
    home.bank.add(3, SimPack(PackSpec(serial="PPTLATE000000003")))
    await home.wait(300)
    assert _keys(home) > _WORKED_OUT
    assert home.value(None, "power") == pytest.approx(home.value(2, "power") + home.value(3, "power"), abs=0.2)
    assert home.state(None, "soc").state not in (STATE_UNAVAILABLE, STATE_UNKNOWN)
    before = home.entity_id(None, "soc")
    await _take_out(home, 3)
    assert _keys(home) == _LONE
    assert hass.states.get(before) is None
    home.bank.add(3, SimPack(PackSpec(serial="PPTLATE000000003")))
    await home.wait(300)
    assert home.entity_id(None, "soc") == before
    assert home.state(None, "soc").state not in (STATE_UNAVAILABLE, STATE_UNKNOWN)


async def test_a_bank_whose_packs_were_deleted_while_nothing_was_loaded_is_gone_too(
    hass: HomeAssistant, home: Home
) -> None:
    """Entities nobody will ever fill again do not come back with a restart."""
    home.plug(2)
    await home.start()
    await home.wait(CYCLE)
    assert _keys(home) > _WORKED_OUT
    device = home.device(3)
    await hass.config_entries.async_unload(home.entry.entry_id)
    home.bank.remove(3)
    assert await remove(hass, home.entry, device)
    dr.async_get(hass).async_remove_device(device.id)
    await home.start()
    await home.wait(CYCLE)
    assert _keys(home) == _LONE


async def test_a_bank_of_sleeping_packs_has_its_entities(home: Home) -> None:
    """What was once seen is known after a restart, whoever answers then."""
    home.plug(3)
    await home.start()
    await home.wait(CYCLE)
    known = _keys(home)
    await home.hass.config_entries.async_unload(home.entry.entry_id)
    home.speaker_silent(True)
    await home.start()
    assert _keys(home) == known
    assert home.state(None, "soc").state == STATE_UNAVAILABLE
    home.speaker_silent(False)
    await home.wait(120)
    assert home.state(None, "soc").state not in (STATE_UNAVAILABLE, STATE_UNKNOWN)


async def test_what_is_integrated_is_written_once_a_round_however_many_packs_there_are(
    hass: HomeAssistant, home: Home
) -> None:
    """Three packs at rest for ten rounds: ten reports of power, not thirty, and nothing else."""
    home.plug(3)
    home.bank.frozen = True
    await home.start()
    await home.wait(3 * CYCLE)
    written: Counter[str] = Counter()

    @callback
    def note(event: Event[EventStateChangedData] | Event[EventStateReportedData]) -> None:
        written[event.data["entity_id"]] += 1

    for kind in ("state_changed", "state_reported"):
        hass.bus.async_listen(kind, note, event_filter=callback(lambda data: True))
    await home.wait(100)
    ours = {entry.entity_id: key for key, entry in home.entities(home.bank_device()).items()}
    counted = {ours[entity_id]: times for entity_id, times in written.items() if entity_id in ours}
    assert counted == dict.fromkeys(("soc", "voltage", "current", "power"), 10)


async def test_a_bank_that_speaks_keeps_what_it_says_when_its_packs_are_gone(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deye on CAN has both: of two packs one is deleted, and only what was worked out of the two goes with it."""
    home = CanHome(hass, monkeypatch)
    home.plug_bus("deye_pcs", packs=2, inverter="deye", addresses=[1, 2])
    await home.start()
    await home.wait(30)
    bank = home.link.bank
    worked_out = bank.derivable
    assert worked_out
    assert bank.speaks
    before = _keys(home)
    for name in ("voltage", "current", "soc"):
        assert home.value(None, name) == pytest.approx(home.sent(name), abs=0.2)
    home.bank.remove(2)
    await home.wait(90)
    device = home.device(2)
    assert await remove(home.hass, home.entry, device)
    dr.async_get(home.hass).async_remove_device(device.id)
    await home.wait(30)
    assert bank.derivable == frozenset()
    gone = before - _keys(home)
    assert gone
    assert {"voltage", "current", "soc", "power", "connectivity"} <= _keys(home)
    for name in ("voltage", "current", "soc"):
        assert home.value(None, name) == pytest.approx(home.sent(name), abs=0.2)
    await home.stop()


async def test_a_pack_that_falls_silent_shows_in_the_bank_at_once(home: Home) -> None:
    """Not a round later: totals are unknown, and what is left is there."""
    home.plug(3)
    await home.start()
    await home.wait(CYCLE)
    home.bank.packs[3].silent = True
    await home.wait(4 * CYCLE)
    assert home.state(None, "power").state == STATE_UNKNOWN
    assert home.state(None, "voltage").state not in (STATE_UNAVAILABLE, STATE_UNKNOWN)
    home.speaker_silent(True)
    await home.wait(4 * CYCLE)
    assert home.state(None, "voltage").state == STATE_UNAVAILABLE
    home.speaker_silent(False)
    await home.wait(120)
    assert home.state(None, "power").state not in (STATE_UNAVAILABLE, STATE_UNKNOWN)


async def test_a_bank_of_which_one_pack_sleeps_is_known_a_round_later(hass: HomeAssistant, home: Home) -> None:
    """After a start it is seen whether more packs come; and one that comes counts from the end of its round on."""
    home.plug(3)
    home.bank.frozen = True
    await home.start()
    await home.wait(CYCLE)
    home.bank.packs[3].silent = True
    await home.drive(hass.config_entries.async_unload(home.entry.entry_id))
    await home.start()
    await home.wait(2)
    assert home.link.bank.packs_online == 2
    assert home.state(None, "soc").state == STATE_UNAVAILABLE
    assert home.state(None, "connectivity").state == "off"
    await home.wait(2 * CYCLE)
    assert home.state(None, "soc").attributes["left_out"] == ["2"]
    assert home.state(None, "connectivity").state == "on"
    home.bank.packs[3].silent = False
    await home.wait(80)
    assert home.state(None, "soc").attributes["left_out"] == []


async def test_one_turn_that_a_pack_misses_takes_no_total_away(hass: HomeAssistant, home: Home) -> None:
    """At the automatic interval, where each answer is a few seconds old at most; one that is gone does."""
    home.plug(3)
    await home.start()
    await home.wait(3 * CYCLE)
    seen = _values(hass, home.entity_id(None, "power"))
    await home.quiet()
    home.bank.packs[3].silent = True
    await home.wait(10)
    home.bank.packs[3].silent = False
    await home.wait(2 * CYCLE)
    assert home.link.packs[3].data.counters.silent > 0
    assert STATE_UNKNOWN not in seen
    home.bank.packs[3].silent = True
    await home.wait(4 * CYCLE)
    assert home.state(None, "power").state == STATE_UNKNOWN


async def test_what_a_pack_said_rounds_ago_is_no_part_of_what_a_bank_gives_now(hass: HomeAssistant, home: Home) -> None:
    """Every five minutes: a pack misses its turn while the others begin to discharge."""
    home.plug(3, options={CONF_INTERVAL: 300})
    home.bank.profile = Steady(rate=0.3)
    await home.start()
    await home.wait(700)
    assert home.value(None, "power") > 4000
    seen = _values(hass, home.entity_id(None, "power"))
    home.bank.packs[4].silent = True
    home.bank.profile = Steady(rate=-0.3)
    await home.wait(800)
    assert home.link.packs[4].online
    assert {value for value in seen if value != STATE_UNKNOWN and float(value) < 4000} == set()
    assert home.state(None, "power").state == home.state(None, "time_left").state == STATE_UNKNOWN
    assert home.link.bank.smoothed_current.value == pytest.approx(90, abs=3)


async def test_what_is_held_back_of_a_pack_counts_for_nothing_of_its_bank(home: Home) -> None:
    """As it counts for nothing of the pack; what stands in for it is shown of both."""
    home.plug(3)
    home.bank.profile = Steady(rate=0.3)
    await home.start()
    await home.wait(60)
    home.link.client.set_polling(False)
    await home.quiet()
    pack, bank = home.link.packs[3], home.link.bank
    before = bank.smoothed_current.value
    assert pack.data.state is not None
    said = replace(pack.data.state, current=400.0, power=21000.0)
    held_back = {"current": "jump", "power": "jump"}
    home.link.pack_polled(replace(pack.data, state=said, received=home.clock.monotonic(), held_back=held_back))
    revision = bank.revision
    bank.async_renew()
    assert bank.state.current == pytest.approx(460, abs=5)
    assert bank.revision == revision + 1
    assert bank.smoothed_current.value == before


async def test_another_set_of_frames_takes_no_entity_of_a_bank_away(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is heard nothing is known of what it says, which is no reason to forget what a person named."""
    home = CanHome(hass, monkeypatch)
    home.plug_bus("pylon", packs=2)
    await home.start()
    await home.wait(30)
    gone: list[str] = []

    @callback
    def note(event: Event[er.EventEntityRegistryUpdatedData]) -> None:
        if event.data["action"] == "remove":
            gone.append(event.data["entity_id"])

    hass.bus.async_listen(er.EVENT_ENTITY_REGISTRY_UPDATED, note)
    before = _keys(home)
    home.link.family_changed("pytes")
    await home.wait(60)
    assert gone == []
    assert _keys(home) >= before
    await home.stop()


async def test_a_lost_link_takes_the_bank_with_it(home: Home) -> None:
    """Within two seconds, and it is back when all packs have answered."""
    home.plug(2)
    await home.start()
    await home.wait(CYCLE)
    home.bus.unplug()
    await home.wait(2)
    assert home.state(None, "soc").state == home.state(None, "energy_charged").state == STATE_UNAVAILABLE
    home.bus.replug()
    await home.wait(10 + CYCLE)
    assert home.state(None, "power").state not in (STATE_UNAVAILABLE, STATE_UNKNOWN)


async def test_a_refresh_of_the_bank_reads_every_pack_once(home: Home) -> None:
    """`homeassistant.update_entity` on the bank: what is shown then is what the packs say now."""
    home.plug(3)
    await home.start()
    await home.wait(6 * CYCLE)
    await home.quiet()
    for pack in home.bank.packs.values():
        pack.set_soc(11)
    asked = home.bus.request_count
    await home.update_entity([home.entity_id(None, "soc"), home.entity_id(None, "power")])
    requests = list(home.bus.requests)[asked - home.bus.request_count :]
    assert {request[3:5] for _, request in requests} == {b"02", b"03", b"04"}
    assert len(requests) <= 3 * 8  # a charge that jumps is read again
    assert home.value(None, "soc") == pytest.approx(11, abs=0.2)


async def test_a_refresh_of_the_bank_leaves_out_a_pack_whose_device_is_disabled(home: Home) -> None:
    """Nobody wants to see it; the bank says that it is not counted by knowing no total."""
    home.plug(3)
    await home.start()
    await home.wait(CYCLE)
    dr.async_get(home.hass).async_update_device(home.device(3).id, disabled_by=dr.DeviceEntryDisabler.USER)
    await home.wait(3 * CYCLE)
    await home.quiet()
    asked = home.bus.request_count
    await home.update_entity(home.entity_id(None, "soc"))
    requests = list(home.bus.requests)[asked - home.bus.request_count :]
    assert {request[3:5] for _, request in requests} == {b"02", b"04"}
    assert home.state(None, "power").state == STATE_UNKNOWN


async def test_with_polling_disabled_the_bank_follows_each_pack_that_is_asked_for(
    hass: HomeAssistant, home: Home
) -> None:
    """No round ever ends there."""
    home.plug(2)
    await home.start()
    await home.wait(CYCLE)
    await hass.config_entries.async_unload(home.entry.entry_id)
    hass.config_entries.async_update_entry(home.entry, pref_disable_polling=True)
    assert await home.start()
    for address in (2, 3):
        await home.update_entity(home.entity_id(address, "soc"))
    home.bank.packs[2].set_soc(20)
    home.bank.packs[3].set_soc(20)
    for address in (2, 3):
        await home.update_entity(home.entity_id(address, "soc"))
    assert home.value(None, "soc") == pytest.approx(20, abs=0.3)


async def test_with_polling_disabled_a_bank_adds_up_only_what_was_asked_at_one_time(
    hass: HomeAssistant, home: Home
) -> None:
    """Asked for one by one an hour later its packs are nothing together; asked for itself the bank is whole at once."""
    home.plug(3)
    home.bank.profile = Steady(rate=0.3)
    await home.start()
    await home.wait(CYCLE)
    await hass.config_entries.async_unload(home.entry.entry_id)
    hass.config_entries.async_update_entry(home.entry, pref_disable_polling=True)
    assert await home.start()
    await home.update_entity(home.entity_id(2, "power"))
    assert home.state(None, "soc").state == STATE_UNAVAILABLE
    power = home.entity_id(None, "power")
    await home.update_entity(power)
    assert home.value(None, "power") == pytest.approx(4780, rel=0.01)
    await home.wait(3600)
    assert home.value(None, "power") == pytest.approx(4780, rel=0.01)
    home.bank.profile = Steady(rate=-0.3)
    await home.wait(5)
    await home.update_entity(home.entity_id(2, "power"))
    assert home.state(None, "power").state == STATE_UNKNOWN
    seen = _values(hass, power)
    await home.update_entity(power)
    assert [float(value) for value in seen] == [pytest.approx(-4656, rel=0.01)]
