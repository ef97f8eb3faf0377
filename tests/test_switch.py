"""The heating switch: where it is, what it does once, and what it says when it cannot."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from homeassistant.components.switch import SwitchEntity
from homeassistant.components.switch.const import DATA_COMPONENT
from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import Context
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
import pytest
from pytest_homeassistant_custom_component.common import MockUser, async_capture_events

from custom_components.lfp_battery import heating
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.const import CONF_ALLOW_HEATING, CONF_HEATING
from tests.ble_home import BleHome
from tests.flow_line import TEXTS
from tests.home import CYCLE

_HOT = Alarm(condition=Condition.DISCHARGE_OVERTEMPERATURE, severity=Severity.PROTECTION)
_COLD = Alarm(condition=Condition.CHARGE_UNDERTEMPERATURE, severity=Severity.PROTECTION)


def _kinds(ble: BleHome) -> list[str]:
    """The domains of what shows how the heating is set."""
    return [entry.domain for key, entry in ble.entities(ble.device(1)).items() if key == "heating"]


def _entity(ble: BleHome) -> SwitchEntity:
    """The switch itself, for what Home Assistant does not call while it is unavailable."""
    found = ble.hass.data[DATA_COMPONENT].get_entity(ble.entity_id(1, "heating"))
    assert isinstance(found, SwitchEntity)
    return found


async def _refused(ble: BleHome, on: bool) -> tuple[str, str]:
    """Turn the switch, which must fail; the kind of failure and the words that the person reads."""
    with pytest.raises(HomeAssistantError) as caught:
        await ble.turn("heating", on)
    error = caught.value
    key, words = error.translation_key, error.translation_placeholders or {}
    assert key is not None
    shown = TEXTS["exceptions"][key]["message"].format(**words)
    assert str(error) == shown.removesuffix(".")
    return key, shown


# --- where it is -----------------------------------------------------------------------------------------------------


async def test_the_setting_is_a_switch_only_where_home_assistant_may_turn_it(ble: BleHome) -> None:
    """Else a binary sensor says how it stands; there is never a switch that does nothing."""
    ble.put_up(allow=False, heating=True)
    await ble.start()
    await ble.wait()
    assert _kinds(ble) == ["binary_sensor"]
    assert ble.state(1, "heating").state == STATE_ON


@pytest.mark.parametrize("registers", [41, 39])
async def test_a_pack_that_never_said_how_its_heating_is_set_has_neither(ble: BleHome, registers: int) -> None:
    """A BigBattery pack answers 39 registers, which do not hold it; the film has its own sensor all the same."""
    ble.put_up(seen=False)
    ble.pack.registers = registers
    await ble.start()
    await ble.wait(2 * CYCLE)
    assert _kinds(ble) == (["switch"] if registers == 41 else [])
    assert ble.state(1, "heater").state == STATE_OFF


@pytest.mark.parametrize("allow", [True, False])
async def test_a_setting_that_is_not_said_any_more_is_neither_off_nor_a_dead_switch(ble: BleHome, allow: bool) -> None:
    """The pack has other firmware by now, and answers fewer registers: nobody can turn what cannot be read back."""
    ble.put_up(heating=True, allow=allow)
    ble.pack.registers = 39
    await ble.start()
    await ble.wait(2 * CYCLE)
    assert ble.state(1, "connectivity").state == STATE_ON
    assert ble.state(1, "heating").state == ("unavailable" if allow else "unknown")


async def test_a_switch_comes_and_goes_with_the_setting_that_is_said(ble: BleHome) -> None:
    """Unavailable while a fresh answer does not hold it, and there again with what is read then."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    assert ble.state(1, "heating").state == STATE_OFF
    pack = ble.link.packs[1]
    report = replace(pack.data, state=replace(pack.state, heating_enabled=None))
    pack.async_publish(report)
    assert ble.state(1, "heating").state == "unavailable"
    assert ble.state(1, "heater").state == STATE_OFF
    pack.async_publish(replace(report, state=replace(pack.state, heating_enabled=True)))
    assert ble.state(1, "heating").state == STATE_ON


async def test_taking_the_permission_back_leaves_no_orphan(ble: BleHome) -> None:
    """The switch goes and the binary sensor comes, and the other way round; the switch comes back as it was named."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    assert _kinds(ble) == ["switch"]
    await ble.reload(options={CONF_ALLOW_HEATING: False})
    assert _kinds(ble) == ["binary_sensor"]
    assert ble.state(1, "heating").state == STATE_OFF
    await ble.reload(options={CONF_ALLOW_HEATING: True})
    assert _kinds(ble) == ["switch"]
    assert ble.state(1, "heating").state == STATE_OFF
    assert ble.pack.writes == []


# --- what it does ----------------------------------------------------------------------------------------------------


async def test_turning_it_sends_one_frame_and_shows_what_the_pack_then_says(
    ble: BleHome, hass_admin_user: MockUser
) -> None:
    """With who did it, old, new and outcome told; the time of it is kept with the entry."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    events = async_capture_events(ble.hass, heating.EVENT)
    await ble.turn("heating", True, context=Context(user_id=hass_admin_user.id))
    assert ble.pack.heating
    assert ble.state(1, "heating").state == STATE_ON
    (event,) = events
    assert event.context.user_id == hass_admin_user.id
    assert event.data == {
        "device_id": ble.device(1).id,
        "entity_id": ble.entity_id(1, "heating"),
        "old": False,
        "new": True,
        "outcome": "confirmed",
    }
    await ble.wait(15)
    await ble.turn("heating", False)
    assert ble.state(1, "heating").state == STATE_OFF
    assert not ble.pack.pack.heating_enabled
    assert [frame.hex() for _, frame in ble.pack.writes] == ["100a0101e4b6", "100a01002576"]
    kept = heating.acts(ble.entry.data)[1]
    assert len(kept) == 2
    assert kept[1] - kept[0] > timedelta(seconds=10)


async def test_a_wish_that_is_so_already_sends_nothing(ble: BleHome) -> None:
    """Nor is it told of, because nothing was switched; also when the app did it a moment before."""
    ble.put_up(heating=True)
    await ble.start()
    await ble.wait()
    events = async_capture_events(ble.hass, heating.EVENT)
    await ble.turn("heating", True)
    ble.pack.heating = False
    await ble.turn("heating", False)
    assert events == []
    assert ble.pack.writes == []
    assert CONF_HEATING not in ble.entry.data


async def test_what_it_was_is_what_the_act_itself_has_read(ble: BleHome) -> None:
    """Turned on in the app a moment before, it is turned off here: from on to off, whatever was shown until then."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    events = async_capture_events(ble.hass, heating.EVENT)
    ble.pack.heating = True
    assert ble.state(1, "heating").state == STATE_OFF
    await ble.turn("heating", False)
    ((event,), frames) = events, [frame.hex() for _, frame in ble.pack.writes]
    assert (event.data["old"], event.data["new"], event.data["outcome"]) == (True, False, "confirmed")
    assert frames == ["100a01002576"]


async def test_two_turns_at_once_wait_for_each_other(ble: BleHome) -> None:
    """The second is not decided before the first was read back: too soon by then, but not at the same time."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    events = async_capture_events(ble.hass, heating.EVENT)

    async def both() -> list[Any]:
        return await asyncio.gather(
            *(
                ble.hass.services.async_call(
                    "switch", service, {"entity_id": ble.entity_id(1, "heating")}, blocking=True
                )
                for service in ("turn_on", "turn_off")
            ),
            return_exceptions=True,
        )

    first, second = await ble.drive(both())
    assert first is None
    assert isinstance(second, ServiceValidationError)
    assert second.translation_key == "heating_too_soon"
    assert [(event.data["old"], event.data["outcome"]) for event in events] == [
        (False, "confirmed"),
        (True, "too_soon"),
    ]
    assert len(ble.pack.writes) == 1


# --- what it says when it cannot -------------------------------------------------------------------------------------


def _refuse(ble: BleHome) -> None:
    ble.pack.refuse_heating = True


def _ignore(ble: BleHome) -> None:
    ble.pack.ignore_heating = True


def _wait_for_restart(ble: BleHome) -> None:
    ble.pack.apply_on_restart = True


def _disturb(ble: BleHome) -> None:
    ble.pack.disturb_r40 = 0x0004


def _say_nothing(ble: BleHome) -> None:
    ble.pack.silent_sets = ble.pack.ignore_heating = True


@pytest.mark.parametrize(
    ("prepare", "outcome", "said"),
    [
        (_refuse, "refused", "refused to have its heating switched. "),
        (_ignore, "accepted", "says that it is set as before. It may take effect only after"),
        (_wait_for_restart, "accepted", "says that it is set as before. It may take effect only after"),
        (_disturb, "contradicted", "is not what was asked for"),
        (
            _say_nothing,
            "unanswered",
            "did not acknowledge that its heating was to be switched, and says that it is set as before",
        ),
    ],
)
async def test_what_a_pack_does_instead_has_its_words(
    ble: BleHome, prepare: Callable[[BleHome], None], outcome: str, said: str
) -> None:
    """One frame was sent, never a second; what is shown is what the pack says."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    prepare(ble)
    events = async_capture_events(ble.hass, heating.EVENT)
    key, shown = await _refused(ble, True)
    assert key == f"heating_{outcome}"
    assert said in shown
    assert shown.count(ble.device(1).name or "no name") == 1
    assert [event.data["outcome"] for event in events] == [outcome]
    assert len(ble.pack.writes) == 1
    await ble.wait(60)
    assert len(ble.pack.writes) == 1
    assert ble.state(1, "heating").state == (STATE_ON if ble.pack.heating else STATE_OFF)
    assert len(heating.acts(ble.entry.data)[1]) == 1


async def test_a_change_that_waits_for_a_restart_is_shown_once_it_is_made(ble: BleHome) -> None:
    """Accepted is no failure for good: the switch stays."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    _wait_for_restart(ble)
    await _refused(ble, True)
    ble.pack.restart()
    await ble.wait(2 * CYCLE)
    assert _kinds(ble) == ["switch"]
    assert ble.state(1, "heating").state == STATE_ON


async def test_a_silent_pack_is_not_switched(ble: BleHome) -> None:
    """Its last values still stand, but nobody knows what it does by now."""
    ble.put_up()
    await ble.start()
    await ble.quiet()
    ble.speaker_silent(True)
    await ble.wait(22)
    assert ble.state(1, "heating").state == STATE_OFF
    key, shown = await _refused(ble, True)
    assert key == "heating_stale"
    assert shown.startswith("Nothing was sent")
    ble.speaker_silent(False)
    await ble.wait(CYCLE)
    assert ble.pack.writes == []


async def test_a_protection_other_than_against_cold_keeps_it_from_being_switched(ble: BleHome) -> None:
    """Against cold it is what one heats for."""
    ble.put_up()
    await ble.start()
    ble.pack.pack.force(_HOT)
    await ble.wait(2 * CYCLE)
    key, shown = await _refused(ble, True)
    assert key == "heating_protection"
    assert shown.startswith("Nothing was sent")
    assert ble.pack.writes == []
    ble.pack.pack.release(_HOT)
    ble.pack.pack.force(_COLD)
    await ble.wait(2 * CYCLE)
    await ble.turn("heating", True)
    assert ble.state(1, "heating").state == STATE_ON


async def test_a_pack_that_does_not_say_how_it_is_set_is_not_switched(ble: BleHome) -> None:
    """Nothing could be read back."""
    ble.put_up()
    ble.pack.registers = 39
    await ble.start()
    await ble.wait(2 * CYCLE)
    with pytest.raises(ServiceValidationError) as caught:  # by whoever turned it just then
        await ble.drive(_entity(ble).async_turn_on())
    assert caught.value.translation_key == "heating_unknown"
    assert str(caught.value).startswith("Nothing was sent")
    assert ble.pack.writes == []


async def test_a_lost_link_is_said_to_be_lost(ble: BleHome) -> None:
    """Whoever turned the switch just then reads why; nothing was sent."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    switch = _entity(ble)
    events = async_capture_events(ble.hass, heating.EVENT)
    ble.bus.unplug()
    await ble.wait(2)
    assert ble.state(1, "heating").state == "unavailable"
    with pytest.raises(HomeAssistantError) as caught:
        await ble.drive(switch.async_turn_on())
    assert caught.value.translation_key == "link_radio_missing"
    assert [event.data["outcome"] for event in events] == [heating.NO_LINK]
    assert ble.pack.writes == []


# --- how often -------------------------------------------------------------------------------------------------------


async def test_it_is_switched_no_sooner_than_after_ten_seconds_also_over_a_reload(ble: BleHome) -> None:
    """Whoever is impatient reads how long it takes."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    await ble.turn("heating", True)
    key, shown = await _refused(ble, False)
    assert key == "heating_too_soon"
    assert "ten seconds" in shown
    assert len(heating.acts(ble.entry.data)[1]) == 1
    await ble.reload()
    assert heating.acts(ble.entry.data)[1][0] > ble.clock.utc() - timedelta(seconds=10)
    key, _ = await _refused(ble, False)
    assert key == "heating_too_soon"
    assert len(ble.pack.writes) == 1
    await ble.wait(15)
    await ble.turn("heating", False)
    assert len(ble.pack.writes) == 2


async def test_it_is_switched_twenty_times_a_day_at_most_also_over_a_reload(ble: BleHome) -> None:
    """What was done before a restart counts; a day later it may be switched again."""
    ble.put_up()
    now = ble.clock.utc()
    sent = [(now - timedelta(hours=23, minutes=-number)).isoformat() for number in range(19)]
    ble.hass.config_entries.async_update_entry(ble.entry, data={**ble.entry.data, CONF_HEATING: {"1": {"acts": sent}}})
    await ble.start()
    await ble.wait()
    await ble.turn("heating", True)
    await ble.reload()
    await ble.wait(CYCLE)
    key, shown = await _refused(ble, False)
    assert key == "heating_too_often"
    assert shown.startswith("Nothing was sent")
    assert len(ble.pack.writes) == 1
    await ble.wait(3600 + 20 * 60)
    await ble.turn("heating", False)
    assert len(ble.pack.writes) == 2
    assert len(heating.acts(ble.entry.data)[1]) <= 20


async def test_what_may_still_come_into_effect_is_not_forgotten_by_a_reload(ble: BleHome) -> None:
    """Off after an accepted on is no matter of course: without a frame the heating would come on at the next start."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    _wait_for_restart(ble)
    assert (await _refused(ble, True))[0] == "heating_accepted"
    await ble.reload()
    await ble.wait(15)
    assert heating.unsettled(ble.entry.data)[1].wishes == {True}
    assert (await _refused(ble, False))[0] == "heating_accepted"
    assert len(ble.pack.writes) == 2
    ble.pack.restart()
    await ble.wait(60)
    assert not ble.pack.heating
    assert ble.state(1, "heating").state == STATE_OFF


async def test_a_wish_that_was_accepted_before_a_reload_is_not_held_against_a_pack_that_refuses_it_now(
    ble: BleHome,
) -> None:
    """What is set already is refused (ble.md section 4), and the switch stays."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    _wait_for_restart(ble)
    assert (await _refused(ble, True))[0] == "heating_accepted"
    await ble.reload()
    await ble.wait(15)
    _refuse(ble)
    assert (await _refused(ble, True))[0] == "heating_accepted"
    assert list(heating.withdrawn(ble.entry.data)) == []


async def test_what_has_come_into_effect_is_left_open_no_longer(ble: BleHome) -> None:
    """From then on a wish that is fulfilled already sends nothing, also after a reload."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    _wait_for_restart(ble)
    assert (await _refused(ble, True))[0] == "heating_accepted"
    ble.pack.restart()
    await ble.wait(60)
    assert ble.state(1, "heating").state == STATE_ON
    await ble.reload()
    await ble.wait(15)
    assert heating.unsettled(ble.entry.data) == {}
    await ble.turn("heating", True)
    assert len(ble.pack.writes) == 1


async def test_an_act_that_a_reload_interrupts_counts_at_once(ble: BleHome) -> None:
    """The next client knows of the frame, although what came of it is not known yet."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    _ignore(ble)

    async def interrupted() -> list[Any]:
        turned = ble.hass.async_create_task(
            ble.hass.services.async_call("switch", "turn_on", {"entity_id": ble.entity_id(1, "heating")}, blocking=True)
        )
        await ble.clock.sleep(3)
        await ble.hass.config_entries.async_reload(ble.entry.entry_id)
        return await asyncio.gather(turned, return_exceptions=True)

    (failure,) = await ble.drive(interrupted())
    assert isinstance(failure, HomeAssistantError)
    assert len(ble.pack.writes) == 1
    assert len(heating.acts(ble.entry.data)[1]) == 1
    control = ble.link.client.heating
    assert control is not None
    assert len(control.acts(1)) == 1
    assert _kinds(ble) == ["switch"]


# --- nothing by itself -----------------------------------------------------------------------------------------------


async def test_nothing_is_ever_written_without_a_person(ble: BleHome) -> None:
    """Set-up, polling, losses, refreshes, the pause, reloads and the end: not one set frame."""
    ble.put_up(heating=True)
    await ble.start()
    await ble.wait(10 * CYCLE)
    ble.bus.unplug()
    await ble.wait(60)
    ble.bus.replug()
    await ble.wait(60)
    ble.speaker_silent(True)
    await ble.wait(120)
    ble.speaker_silent(False)
    await ble.wait(120)
    await ble.update_entity(ble.entity_id(1, "heating"))
    await ble.turn("pause", True)
    await ble.wait(60)
    await ble.turn("pause", False)
    await ble.wait(60)
    await ble.reload()
    await ble.reload(options={CONF_ALLOW_HEATING: False})
    await ble.wait(5 * CYCLE)
    await ble.stop()
    assert ble.bus.request_count > 40
    assert ble.pack.writes == []
    assert ble.pack.heating
