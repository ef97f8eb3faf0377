"""What is remembered of packs and bank over restarts, swaps and deletions."""

from collections.abc import Mapping
from datetime import timedelta
import json
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_FINAL_WRITE
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import async_fire_time_changed

from custom_components.lfp_battery import async_remove_config_entry_device as remove
from custom_components.lfp_battery.bms.model import CycleReport, Identity, PackState, PollReport
from custom_components.lfp_battery.const import CONF_INVERT_CURRENT, CONF_PACK_COUNT, DOMAIN
from tests.home import CYCLE, Home
from tests.simulator.bank import Steady
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pylon import Profile

_COUNTING = Identity(serial="PPTCOUNTS0000009")


def _kept(home: Home, hass_storage: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = hass_storage[f"{DOMAIN}.{home.entry.entry_id}"]["data"]
    return found


def _totals(home: Home, address: int | None) -> tuple[float, float]:
    return home.value(address, "energy_charged"), home.value(address, "energy_discharged")


async def _restart(home: Home, **options: Any) -> None:
    """Unload the entry, change its options, load it again."""
    await home.hass.config_entries.async_unload(home.entry.entry_id)
    home.hass.config_entries.async_update_entry(home.entry, options={**home.entry.options, **options})
    assert await home.start()


async def _count(home: Home, charged: float, discharged: float, seconds: float = 10.0) -> None:
    """Let a pack at address 9 answer that counts its energy itself."""
    await home.wait(seconds)
    state = PackState(address=9, power=500.0, energy_charged=charged, energy_discharged=discharged)
    received = home.clock.monotonic()
    home.link.pack_polled(PollReport(address=9, state=state, identity=_COUNTING, online=True, received=received))
    await home.hass.async_block_till_done()


async def test_totals_go_on_after_a_restart_and_the_time_between_is_estimated(home: Home) -> None:
    """A minute and a half without Home Assistant: the pack's own count of its charge tells what flowed."""
    home.plug(1)
    home.bank.profile = Steady(rate=0.5)
    await home.start()
    await home.wait(500)
    account, power = home.link.packs[2].account, home.value(2, "power")
    assert account.charged is not None
    before, began = account.charged, home.clock.monotonic()
    assert before > 0.01
    await home.hass.config_entries.async_unload(home.entry.entry_id)
    await home.clock.advance(90)
    await home.start()
    await home.wait(60)
    account = home.link.packs[2].account
    flowed = power * (home.clock.monotonic() - began) / 3_600_000
    assert account.charged is not None
    assert account.charged - before == pytest.approx(flowed, rel=0.15)
    assert account.estimated_charged == pytest.approx(power * 90 / 3_600_000, rel=0.25)
    assert home.value(2, "energy_charged") == pytest.approx(account.charged, abs=0.011)
    assert account.unobserved == 0


async def test_a_loss_of_power_costs_some_minutes_at_most(
    hass: HomeAssistant, home: Home, hass_storage: dict[str, Any]
) -> None:
    """It is written every five minutes, however often the packs answer."""
    home.plug(1)
    home.bank.profile = Steady(rate=0.5)
    await home.start()
    await home.wait(100)
    assert f"{DOMAIN}.{home.entry.entry_id}" not in hass_storage
    for minutes in (5.1, 10.3):
        async_fire_time_changed(hass, dt_util.utcnow() + timedelta(minutes=minutes))
        await hass.async_block_till_done()
        energy = _kept(home, hass_storage)["units"][home.link.packs[2].identity]["energy"]
        assert energy["charged"]["total"] == home.link.packs[2].account.charged
        assert energy["charged"]["total"] > 0
        await home.wait(100)


async def test_what_was_learned_last_is_kept_when_home_assistant_stops(
    hass: HomeAssistant, home: Home, hass_storage: dict[str, Any]
) -> None:
    """No entry is unloaded then; it is written with everything else that is written last."""
    home.plug(1)
    home.bank.profile = Steady(rate=0.5)
    await home.start()
    await home.wait(100)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_FINAL_WRITE)
    await hass.async_block_till_done()
    energy = _kept(home, hass_storage)["units"][home.link.packs[2].identity]["energy"]
    assert energy["charged"]["total"] == home.link.packs[2].account.charged


async def test_what_a_bank_may_take_in_is_what_its_packs_may(home: Home) -> None:
    """The bound of what is believed of its energy holds for as many packs as the person counted."""
    home.plug(3, speaks=Profile.V35, protocol="pylon-rs485-v35", addresses=[2], options={CONF_PACK_COUNT: 3})
    home.speaker_silent(True)
    await home.start()
    three = home.link.bank.account.most_power
    await _restart(home, **{CONF_PACK_COUNT: 1})
    assert three == pytest.approx(3 * home.link.bank.account.most_power)


async def test_inverting_the_current_swaps_both_totals_once(home: Home, hass_storage: dict[str, Any]) -> None:
    """A battery that counts, read the other way round: each total goes on under its right name, at every restart."""
    home.plug(1)
    await home.start()
    await _count(home, 3000.0, 1000.0)
    await _count(home, 3000.5, 1000.0, 3600)
    assert _totals(home, 9) == (3000.5, 1000.0)
    await _restart(home, **{CONF_INVERT_CURRENT: True})
    await _count(home, 3000.5, 1000.0)
    assert _totals(home, 9) == (1000.0, 3000.5)
    await _count(home, 3001.5, 1000.0, 3600)
    assert _totals(home, 9) == (1000.0, 3001.5)
    await _restart(home)
    await _count(home, 3001.5, 1000.25, 3600)
    assert _totals(home, 9) == (1000.25, 3001.5)
    assert _kept(home, hass_storage)["inverted"] is True
    await _restart(home, **{CONF_INVERT_CURRENT: False})
    await _count(home, 3001.5, 1000.25)
    assert _totals(home, 9) == (3001.5, 1000.25)


async def test_a_bank_that_was_swapped_without_being_saved_is_not_swapped_twice(
    home: Home, hass_storage: dict[str, Any]
) -> None:
    """What is read again is what was kept before the swap."""
    home.plug(1)
    await home.start()
    await _count(home, 3000.0, 1000.0)
    await home.wait()
    await home.hass.config_entries.async_unload(home.entry.entry_id)
    kept = dict(hass_storage[f"{DOMAIN}.{home.entry.entry_id}"])
    home.hass.config_entries.async_update_entry(home.entry, options={CONF_INVERT_CURRENT: True})
    for _ in range(2):
        assert await home.start()
        account = home.link.packs[9].account
        assert (account.charged, account.discharged) == (1000.0, 3000.0)
        await home.hass.config_entries.async_unload(home.entry.entry_id)
        hass_storage[f"{DOMAIN}.{home.entry.entry_id}"] = kept


async def test_the_energy_of_a_bank_begins_with_what_its_packs_have_and_grows_with_them(home: Home) -> None:
    """Three packs: their sum from the first round on, over a restart as well."""
    home.plug(3)
    home.bank.profile = Steady(rate=0.3)
    await home.start()
    await home.wait(600)

    def charged() -> float:
        return sum(pack.account.charged or 0.0 for pack in home.link.packs.values())

    assert home.link.bank.account.charged == pytest.approx(charged())
    assert charged() > 0.1
    await home.hass.config_entries.async_unload(home.entry.entry_id)
    await home.clock.advance(200)
    await home.start()
    await home.wait(60)
    bank = home.link.bank.account
    assert bank.charged == pytest.approx(charged())
    assert bank.estimated_charged == pytest.approx(sum(p.account.estimated_charged for p in home.link.packs.values()))
    assert bank.estimated_charged > 0
    assert home.value(None, "energy_charged") == pytest.approx(bank.charged, abs=0.011)


async def _answer(home: Home, counters: Mapping[int, float]) -> None:
    """Let packs answer that count their energy themselves, and finish a round."""
    await home.wait(10)
    now = home.clock.monotonic()
    for address, charged in counters.items():
        state = PackState(address=address, power=100.0, energy_charged=charged, energy_discharged=0.0)
        identity = Identity(serial=f"PPTCOUNTS00000{address:02d}")
        home.link.pack_polled(PollReport(address=address, state=state, identity=identity, online=True, received=now))
    home.link.cycle_finished(CycleReport(seconds=2.0, answered=frozenset(), silent=frozenset()))
    await home.hass.async_block_till_done()


async def _known_but_without_memory(home: Home, hass_storage: dict[str, Any]) -> None:
    """Two packs at 9 and 10 that count, as a new entry knows them, of which nothing was ever counted."""
    home.plug({9: SimPack(PackSpec(serial="PPTCOUNTS0000009", seed=9))}, addresses=[9])
    await home.start()
    home.link.client.set_polling(False)
    await _answer(home, {9: 1.0, 10: 1.0})
    await home.hass.config_entries.async_unload(home.entry.entry_id)
    del hass_storage[f"{DOMAIN}.{home.entry.entry_id}"]
    home.hass.config_entries.async_update_entry(home.entry, pref_disable_polling=True)
    await home.start()
    assert home.link.bank.derivable > {"power"}


async def test_the_energy_of_a_bank_begins_with_what_all_packs_count(home: Home, hass_storage: dict[str, Any]) -> None:
    """Not with what the first one to answer has; one that is late is waited for."""
    await _known_but_without_memory(home, hass_storage)
    await _answer(home, {9: 3000.0})
    assert home.link.bank.account.charged is None
    assert home.state(None, "energy_charged").state in {"unknown", "unavailable"}
    await _answer(home, {9: 3000.001, 10: 2500.0})
    assert home.link.bank.account.charged == pytest.approx(5500.001)
    await _answer(home, {9: 3000.002, 10: 2500.001})
    assert home.link.bank.account.charged == pytest.approx(5500.003)
    assert home.value(None, "energy_charged") == pytest.approx(5500.003, abs=0.011)


async def test_the_energy_of_a_bank_does_not_wait_for_a_pack_for_ever(home: Home, hass_storage: dict[str, Any]) -> None:
    """One that sleeps is given three rounds; what it has when it wakes never flowed through this bank."""
    await _known_but_without_memory(home, hass_storage)
    for charged in (3000.0, 3000.001, 3000.002):
        assert home.link.bank.account.charged is None
        await _answer(home, {9: charged})
    assert home.link.bank.account.charged == pytest.approx(3000.002)
    await _answer(home, {9: 3000.003, 10: 2500.0})
    await _answer(home, {9: 3000.003, 10: 2500.001})
    assert home.link.bank.account.charged == pytest.approx(3000.004)


async def test_the_energy_of_a_bank_does_not_fall_when_a_pack_is_deleted(home: Home) -> None:
    """Three packs, of which one is taken out: what flowed through it has flowed."""
    home.plug(3)
    home.bank.profile = Steady(rate=0.3)
    await home.start()
    await home.wait(300)
    home.bank.remove(3)
    await home.wait(5 * CYCLE)
    before, device = home.link.bank.account.charged, home.device(3)
    assert before is not None
    assert await home.drive(remove(home.hass, home.entry, device))
    dr.async_get(home.hass).async_remove_device(device.id)
    await home.wait(60)
    assert before < (home.link.bank.account.charged or 0) < before + 1
    assert home.value(None, "energy_charged") >= round(before, 2)


async def test_a_pack_that_is_deleted_is_forgotten_and_one_that_was_exchanged_is_not(
    home: Home, hass_storage: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The battery that was taken out goes on where it stopped when it is put back; a deleted one begins anew."""
    home.plug(2)
    home.bank.profile = Steady(rate=0.3)
    await home.start()
    await home.wait(600)
    first, identity = home.bank.packs[3], home.link.packs[3].identity
    charged = home.link.packs[3].account.charged
    assert charged is not None
    assert charged > 0
    home.bank.remove(3)
    await home.wait(5 * CYCLE)
    home.bank.add(3, SimPack(PackSpec(serial="PPTSECOND0000003", seed=7)))
    await home.wait(300)
    second, device = home.link.packs[3].identity, home.device(3)
    assert second != identity
    assert (home.link.packs[3].account.charged or 0.0) < charged
    home.bank.remove(3)
    await home.wait(5 * CYCLE)
    home.bank.add(3, first)
    await home.wait(300)
    assert home.link.packs[3].identity == identity
    assert (home.link.packs[3].account.charged or 0.0) >= charged
    assert home.value(3, "energy_charged") == pytest.approx(home.link.packs[3].account.charged, abs=0.011)
    assert home.value(3, "soc") == pytest.approx(first.soc, abs=0.5)
    assert "unavailable" not in home.states(3).values()
    assert "does not generate unique IDs" not in caplog.text
    shown = dr.async_entries_for_config_entry(dr.async_get(home.hass), home.entry.entry_id)
    assert {second, identity} < {identifier for known in shown for _, identifier in known.identifiers}
    assert await home.drive(remove(home.hass, home.entry, device))
    dr.async_get(home.hass).async_remove_device(device.id)
    await home.hass.config_entries.async_unload(home.entry.entry_id)
    assert set(_kept(home, hass_storage)["units"]) == {*_identities(home), home.entry.entry_id}


def _identities(home: Home) -> set[str]:
    return {record["identifier"] for record in home.entry.data["packs"].values()}


async def test_a_device_that_was_deleted_while_nothing_was_loaded_is_forgotten_when_it_is(
    home: Home, hass_storage: dict[str, Any]
) -> None:
    """What is kept never outgrows what the home knows."""
    home.plug(2)
    await home.start()
    await home.wait(60)
    gone, device = home.link.packs[3].identity, home.device(3)
    await home.hass.config_entries.async_unload(home.entry.entry_id)
    assert gone in _kept(home, hass_storage)["units"]
    home.bank.remove(3)
    assert await remove(home.hass, home.entry, device)
    dr.async_get(home.hass).async_remove_device(device.id)
    await home.start()
    await home.hass.config_entries.async_unload(home.entry.entry_id)
    assert gone not in _kept(home, hass_storage)["units"]


async def test_where_nobody_asks_by_itself_each_answer_is_remembered(
    hass: HomeAssistant, home: Home, hass_storage: dict[str, Any]
) -> None:
    """With polling disabled no round is ever finished; the totals of what an automation reads outlive a loss of power."""
    home.plug(2)
    home.bank.profile = Steady(rate=0.5)
    hass.config_entries.async_update_entry(home.entry, pref_disable_polling=True)
    await home.start()
    for _ in range(10):
        for address in (2, 3):
            await home.drive(home.link.client.read(address))
        await home.wait(10)
    totals = {unit.identity: unit.account.charged for unit in home.link.units}
    assert all(totals.values())
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(minutes=5.1))
    await hass.async_block_till_done()
    kept = dict(hass_storage[f"{DOMAIN}.{home.entry.entry_id}"])
    assert {identity: unit["energy"]["charged"]["total"] for identity, unit in kept["data"]["units"].items()} == totals
    await hass.config_entries.async_unload(home.entry.entry_id)
    hass_storage[f"{DOMAIN}.{home.entry.entry_id}"] = kept
    assert await home.start()
    for address in (2, 3):
        await home.drive(home.link.client.read(address))
    await hass.async_block_till_done()
    assert home.value(2, "energy_charged") >= (totals[home.link.packs[2].identity] or 0.0) - 0.001
    assert home.value(None, "energy_charged") >= (totals[home.link.bank.identity] or 0.0) - 0.001


async def test_as_long_as_nothing_is_heard_nothing_is_written(
    hass: HomeAssistant, home: Home, hass_storage: dict[str, Any]
) -> None:
    """Packs that sleep for a winter do not wear out the card; what they said last is kept."""
    home.plug(2)
    await home.start()
    await home.wait(60)
    home.speaker_silent(True)
    await home.wait(200)
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(minutes=5.1))
    await hass.async_block_till_done()
    assert hass_storage.pop(f"{DOMAIN}.{home.entry.entry_id}")
    await home.wait(200)
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(minutes=10.3))
    await hass.async_block_till_done()
    assert not [key for key in hass_storage if key.startswith(DOMAIN)]
    home.speaker_silent(False)
    await home.wait(200)
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(minutes=15.5))
    await hass.async_block_till_done()
    assert _kept(home, hass_storage)


def _nothing_is_kept(hass_storage: dict[str, Any]) -> bool:
    return not [key for key in hass_storage if key.startswith(DOMAIN)]


async def test_nothing_is_kept_of_an_entry_that_is_removed(home: Home, hass_storage: dict[str, Any]) -> None:
    """Its file goes with it."""
    home.plug(1)
    await home.start()
    await home.wait(60)
    await home.hass.config_entries.async_remove(home.entry.entry_id)
    await home.hass.async_block_till_done()
    assert _nothing_is_kept(hass_storage)


@pytest.mark.parametrize("step", ["async_forward_entry_setups", "async_unload_platforms_or_raise"])
async def test_a_save_that_is_on_its_way_does_not_outlive_its_entry(
    hass: HomeAssistant, home: Home, hass_storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """An entry of which platforms could not be set up, or not be unloaded, is removed like any other."""

    async def fail(*_: Any) -> None:
        raise HomeAssistantError("a platform of core")

    home.plug(1)
    with monkeypatch.context() as patch:
        patch.setattr(hass.config_entries, step, fail)
        await home.start()
        await home.wait(60)
        await home.drive(hass.config_entries.async_remove(home.entry.entry_id))
    assert home.entry.state in {
        ConfigEntryState.NOT_LOADED,
        ConfigEntryState.SETUP_ERROR,
        ConfigEntryState.FAILED_UNLOAD,
    }
    for minutes in (5.1, 10.3):
        await home.wait(60)
        async_fire_time_changed(hass, dt_util.utcnow() + timedelta(minutes=minutes))
        await hass.async_block_till_done()
        assert _nothing_is_kept(hass_storage)
    hass.bus.async_fire(EVENT_HOMEASSISTANT_FINAL_WRITE)
    await hass.async_block_till_done()
    assert _nothing_is_kept(hass_storage)


async def test_what_a_later_version_has_kept_is_left_as_it_is(home: Home, hass_storage: dict[str, Any]) -> None:
    """Nobody can go back to a version whose file was written over; the entry says what to do."""
    home.plug(1)
    later = {"version": 2, "minor_version": 1, "key": "", "data": {"years": [1]}}
    hass_storage[f"{DOMAIN}.{home.entry.entry_id}"] = dict(later)
    assert not await home.start()
    assert home.entry.state is ConfigEntryState.SETUP_ERROR
    assert home.entry.error_reason_translation_key == "memory_of_later_version"
    assert home.entry.reason is not None
    assert home.entry.reason.endswith(f"{DOMAIN}.{home.entry.entry_id}")
    await home.wait(60)
    assert hass_storage[f"{DOMAIN}.{home.entry.entry_id}"] == later


async def test_sections_that_a_later_version_has_added_stay(home: Home, hass_storage: dict[str, Any]) -> None:
    """Where the rest is still read as it was, only its own part is renewed."""
    home.plug(1)
    serial = home.bank.packs[2].spec.serial
    data = {"inverted": False, "added": 1, "units": {serial: {"alarms": {"overvoltage": 7}}}}
    hass_storage[f"{DOMAIN}.{home.entry.entry_id}"] = {"version": 1, "minor_version": 2, "key": "", "data": data}
    home.hass.config_entries.async_update_entry(
        home.entry, data={**home.entry.data, "packs": {"2": {"identifier": serial}}}
    )
    assert await home.start()
    await home.wait(60)
    await home.hass.config_entries.async_unload(home.entry.entry_id)
    kept = _kept(home, hass_storage)
    assert kept["added"] == 1
    assert kept["units"][serial]["alarms"] == {"overvoltage": 7}
    assert kept["units"][serial]["energy"]["charged"]["total"] is not None


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"inverted": "no", "units": []},
        {"inverted": True, "units": {"PACK": 7}},
        {"units": {"PACK": {"energy": [1], "upkeep": "x"}}},
        {"units": {"PACK": {"energy": {"charged": {"total": "x"}}, "upkeep": {"last_full": 3}}}},
        [],
    ],
)
async def test_a_memory_that_cannot_be_read_is_no_reason_not_to_load(
    home: Home, hass_storage: dict[str, Any], kept: Any
) -> None:
    """Whoever edited it: the totals begin anew."""
    home.plug(1)
    kept = json.loads(json.dumps(kept).replace("PACK", home.bank.packs[2].spec.serial))
    hass_storage[f"{DOMAIN}.{home.entry.entry_id}"] = {"version": 1, "minor_version": 1, "key": "", "data": kept}
    assert await home.start()
    await home.wait(60)
    assert home.value(2, "energy_charged") >= 0
