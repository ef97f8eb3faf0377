"""Home Assistant's own triggers and conditions for batteries, on the entities of this integration."""

from typing import Any

from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.helpers import condition
from homeassistant.setup import async_setup_component
import pytest

from tests.home import CYCLE, Home
from tests.simulator.bank import Steady
from tests.simulator.pack import PackSpec, SimPack


async def _automations(hass: HomeAssistant, device_id: str, *triggers: dict[str, Any]) -> list[str]:
    """Automations on a device as a person makes them; the list fills with the triggers that fired."""
    automations = [
        {
            "alias": f"automation {number}",
            "triggers": [{**trigger, "target": {"device_id": device_id}}],
            "actions": [{"event": "fired", "event_data": {"trigger": trigger["trigger"]}}],
        }
        for number, trigger in enumerate(triggers)
    ]
    assert await async_setup_component(hass, "automation", {"automation": automations})
    await hass.async_block_till_done()
    assert [state.state for state in hass.states.async_all("automation")] == ["on"] * len(triggers)
    fired: list[str] = []

    @callback
    def note(event: Event[Any]) -> None:
        fired.append(event.data["trigger"])

    hass.bus.async_listen("fired", note)
    return fired


async def _holds(hass: HomeAssistant, device_id: str, name: str, **options: Any) -> bool | None:
    """Whether a condition on a device is met."""
    config = {"condition": f"battery.{name}", "target": {"device_id": [device_id]}, "options": options}
    checker = await condition.async_from_config(hass, await condition.async_validate_condition_config(hass, config))
    met = checker.async_check()
    checker.async_unload()
    return met


async def test_a_battery_becomes_low_once_and_is_no_longer_low_once(hass: HomeAssistant, home: Home) -> None:
    """To and fro within the hysteresis is no news."""
    home.plug({2: SimPack(PackSpec(soc=13))})
    home.bank.frozen = True
    await home.start()
    fired = await _automations(
        hass, home.device(2).id, {"trigger": "battery.became_low"}, {"trigger": "battery.no_longer_low"}
    )
    for soc in (11, 9, 11, 9, 11):
        home.bank.packs[2].set_soc(soc)
        await home.wait(2 * CYCLE)
    assert fired == ["battery.became_low"]
    assert await _holds(hass, home.device(2).id, "is_low")
    home.bank.packs[2].set_soc(14)
    await home.wait(2 * CYCLE)
    assert fired == ["battery.became_low", "battery.no_longer_low"]
    assert await _holds(hass, home.device(2).id, "is_not_low")


async def test_charging_starts_and_stops_once_under_a_changing_sky(hass: HomeAssistant, home: Home) -> None:
    """Clouds of ten to twenty seconds run no automation."""
    home.plug({2: SimPack(PackSpec(soc=50))})
    home.bank.profile = Steady()
    await home.start()
    fired = await _automations(
        hass, home.device(2).id, {"trigger": "battery.started_charging"}, {"trigger": "battery.stopped_charging"}
    )
    home.bank.profile = Steady(rate=0.2)
    await home.wait(60)
    assert fired == ["battery.started_charging"]
    assert await _holds(hass, home.device(2).id, "is_charging")
    for _ in range(6):
        home.bank.profile = Steady(rate=-0.02)
        await home.wait(15)
        home.bank.profile = Steady(rate=0.2)
        await home.wait(45)
    assert fired == ["battery.started_charging"]
    home.bank.profile = Steady(rate=-0.02)
    await home.wait(60)
    assert fired == ["battery.started_charging", "battery.stopped_charging"]
    assert await _holds(hass, home.device(2).id, "is_not_charging")


async def test_a_level_is_seen_to_change_and_to_cross_a_threshold(hass: HomeAssistant, home: Home) -> None:
    """One sensor a device has a level: neither the state of health nor a limit counts as one."""
    home.plug({2: SimPack(PackSpec(soc=52))})
    home.bank.frozen = True
    await home.start()
    below = {"type": "below", "value": {"number": 50, "unit_of_measurement": "%"}}
    fired = await _automations(
        hass,
        home.device(2).id,
        {"trigger": "battery.level_crossed_threshold", "options": {"threshold": below}},
        {"trigger": "battery.level_changed", "options": {"threshold": {"type": "any"}}},
    )
    for soc in (51, 49, 48):
        home.bank.packs[2].set_soc(soc)
        await home.wait(2 * CYCLE)
    assert fired.count("battery.level_crossed_threshold") == 1
    assert fired.count("battery.level_changed") == 3
    assert await _holds(hass, home.device(2).id, "is_level", threshold=below)


@pytest.mark.parametrize("trigger", ["started_charging", "stopped_charging", "became_low", "no_longer_low"])
async def test_a_battery_that_goes_and_comes_back_triggers_nothing(
    hass: HomeAssistant, home: Home, trigger: str
) -> None:
    """Neither silence nor its end is an event in the battery."""
    home.plug({2: SimPack(PackSpec(soc=9))})
    home.bank.profile = Steady(rate=0.1)
    await home.start()
    fired = await _automations(hass, home.device(2).id, {"trigger": f"battery.{trigger}"})
    home.speaker_silent(True)
    await home.wait(5 * CYCLE)
    home.speaker_silent(False)
    await home.wait(5 * CYCLE)
    assert home.state(2, "charging").state == home.state(2, "battery_low").state == "on"
    assert fired == []


@pytest.mark.parametrize("away", ["link", "packs", "restart"])
@pytest.mark.parametrize("low", [2, 7])
async def test_a_bank_with_one_low_pack_goes_and_comes_back_as_full_as_it_is(
    hass: HomeAssistant, home: Home, away: str, low: int
) -> None:
    """Packs go and come one after another: what the first or the last of them holds is not what the bank holds."""
    specs = {
        address: PackSpec(serial=f"PPTLOWONE000000{address}", soc=8 if address == low else 60)
        for address in range(2, 8)
    }
    home.plug({address: SimPack(spec) for address, spec in specs.items()})
    home.bank.frozen = True
    await home.start()
    await home.wait(2 * CYCLE)
    soc = home.entity_id(None, "soc")
    whole = home.state(None, "soc").state
    fired = await _automations(
        hass, home.bank_device().id, *({"trigger": f"battery.{name}"} for name in ("became_low", "no_longer_low"))
    )
    seen: list[str] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        if event.data["entity_id"] == soc and (new := event.data["new_state"]) is not None:
            seen.append(new.state)

    hass.bus.async_listen("state_changed", note)
    if away == "restart":
        await home.drive(hass.config_entries.async_unload(home.entry.entry_id))
        await home.start()
    elif away == "link":
        home.bus.unplug()
        await home.wait(30)
        home.bus.replug()
    else:
        home.speaker_silent(True)
        await home.wait(6 * CYCLE)
        home.speaker_silent(False)
    await home.wait(90)
    assert fired == []
    assert seen[0] == STATE_UNAVAILABLE
    assert set(seen) == {STATE_UNAVAILABLE, whole}
    assert home.state(None, "soc").state == whole


async def test_a_bank_triggers_by_what_its_packs_come_to(hass: HomeAssistant, home: Home) -> None:
    """Once for all packs, on the device of the bank."""
    home.plug({address: SimPack(PackSpec(serial=f"PPTTRIGGER00000{address}", soc=13)) for address in (2, 3)})
    home.bank.profile = Steady()
    await home.start()
    fired = await _automations(
        hass, home.bank_device().id, {"trigger": "battery.became_low"}, {"trigger": "battery.started_charging"}
    )
    home.bank.profile = Steady(rate=0.2)
    await home.wait(60)
    assert fired == ["battery.started_charging"]
    for soc in (11, 9):
        for pack in home.bank.packs.values():
            pack.set_soc(soc)
        await home.wait(2 * CYCLE)
    assert fired == ["battery.started_charging", "battery.became_low"]
    assert await _holds(hass, home.bank_device().id, "is_low")
