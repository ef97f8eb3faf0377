"""Switching the heating while something else happens: what was sent is followed to its end, whoever waits for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import Context, Event
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockUser, async_capture_events

from custom_components.lfp_battery import heating
from custom_components.lfp_battery.bms.errors import HeatingProblem
from custom_components.lfp_battery.const import DOMAIN
from tests.ble_home import BleHome
from tests.flow_line import TEXTS

_SCRIPT = "script.warm"


async def _up(ble: BleHome) -> list[Event[Any]]:
    """A pack that is read, and the list of what is told of switching its heating."""
    ble.put_up()
    await ble.start()
    await ble.wait()
    return async_capture_events(ble.hass, heating.EVENT)


def _call(ble: BleHome, *, on: bool = True, key: str = "heating", context: Context | None = None) -> asyncio.Task[Any]:
    """Turn a switch without waiting for it."""
    service, entity_id = "turn_on" if on else "turn_off", ble.entity_id(1 if key == "heating" else None, key)
    call = ble.hass.services.async_call("switch", service, {"entity_id": entity_id}, blocking=True, context=context)
    return ble.hass.async_create_task(call, eager_start=True)


async def _sent(ble: BleHome, frames: int = 1) -> None:
    """Wait until so many frames were sent."""
    while len(ble.pack.writes) < frames:
        await ble.clock.sleep(0.05)


async def _ends(*calls: asyncio.Task[Any]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


def _outcomes(events: list[Event[Any]]) -> list[str]:
    return [event.data["outcome"] for event in events]


def _kinds(ble: BleHome) -> list[str]:
    return [entry.domain for key, entry in ble.entities(ble.device(1)).items() if key == "heating"]


def _repairs(ble: BleHome) -> list[str | None]:
    return [issue.translation_key for (domain, _), issue in ir.async_get(ble.hass).issues.items() if domain == DOMAIN]


# --- whoever waited for it goes --------------------------------------------------------------------------------------


async def test_an_act_whose_caller_is_stopped_is_told_of_all_the_same(ble: BleHome, hass_admin_user: MockUser) -> None:
    """With whoever did it and what came of it; it counts against the limits at once."""
    events = await _up(ble)

    async def stopped() -> list[Any]:
        call = _call(ble, context=Context(user_id=hass_admin_user.id))
        await _sent(ble)
        call.cancel()
        return await _ends(call)

    (end,) = await ble.drive(stopped())
    assert isinstance(end, asyncio.CancelledError)
    await ble.wait(15)
    (event,) = events
    assert event.context.user_id == hass_admin_user.id
    assert (event.data["old"], event.data["new"], event.data["outcome"]) == (False, True, "confirmed")
    assert len(heating.acts(ble.entry.data)[1]) == len(ble.pack.writes) == 1


async def test_an_act_that_fails_in_a_way_that_was_not_foreseen_is_told_of_if_a_frame_was_sent(
    ble: BleHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours must not hide it."""
    events = await _up(ble)
    control = ble.link.client.heating
    assert control is not None
    switch = control.switch

    async def fails(address: int, *, enabled: bool) -> Any:
        await switch(address, enabled=enabled)
        raise ZeroDivisionError

    monkeypatch.setattr(control, "switch", fails)
    with pytest.raises(ZeroDivisionError):
        await ble.turn("heating", True)
    assert _outcomes(events) == ["unseen"]
    assert len(heating.acts(ble.entry.data)[1]) == 1
    with pytest.raises(ZeroDivisionError):
        await ble.turn("heating", True)
    assert len(events) == 1  # it was so already


async def test_an_act_whose_caller_is_stopped_before_anything_was_sent_is_taken_back(ble: BleHome) -> None:
    """Nothing is sent, so there is nothing to tell of; the next one is not in its way."""
    events = await _up(ble)

    async def stopped() -> list[Any]:
        call = _call(ble)
        await asyncio.sleep(0)
        assert ble.pack.writes == []
        call.cancel()
        return await _ends(call)

    (end,) = await ble.drive(stopped())
    assert isinstance(end, asyncio.CancelledError)
    await ble.wait(15)
    assert (events, ble.pack.writes) == ([], [])
    await ble.turn("heating", True)
    assert _outcomes(events) == ["confirmed"]


async def test_an_act_that_waits_for_one_nobody_waits_for_can_be_taken_back_too(ble: BleHome) -> None:
    """And one that goes on waiting does not begin before the first was read back."""
    events = await _up(ble)
    ble.pack.ignore_heating = True

    async def three() -> list[Any]:
        first = _call(ble)
        await _sent(ble)
        first.cancel()
        await asyncio.sleep(0)
        second = _call(ble)
        third = _call(ble, on=False)
        await ble.clock.sleep(2)
        second.cancel()
        return await _ends(first, second, third)

    first, second, third = await ble.drive(three())
    assert isinstance(first, asyncio.CancelledError)
    assert isinstance(second, asyncio.CancelledError)
    assert isinstance(third, HomeAssistantError)  # it takes back what the pack may do yet
    assert _outcomes(events) == ["accepted", "accepted"]
    assert [frame[3] for _, frame in ble.pack.writes] == [1, 0]
    (on, _), (off, _) = ble.pack.writes
    assert off - on > 10


async def _add_script(ble: BleHome) -> None:
    action = {"action": "switch.turn_on", "target": {"entity_id": ble.entity_id(1, "heating")}}
    assert await async_setup_component(ble.hass, "script", {"script": {"warm": {"sequence": [action]}}})


async def _stop_script(ble: BleHome) -> None:
    await ble.hass.services.async_call("script", "turn_off", {"entity_id": _SCRIPT}, blocking=False)


async def test_an_act_of_a_script_that_is_turned_off_is_told_of_all_the_same(ble: BleHome) -> None:
    """The real script of Home Assistant, stopped in the middle of the reading back."""
    events = await _up(ble)
    await _add_script(ble)
    ble.pack.ignore_heating = True

    async def turned_off() -> None:
        await ble.hass.services.async_call("script", "warm", blocking=False)
        await ble.clock.sleep(3)
        assert (len(ble.pack.writes), events) == (1, [])
        await _stop_script(ble)
        await ble.clock.sleep(30)

    await ble.drive(turned_off())
    assert _outcomes(events) == ["accepted"]
    assert len(heating.acts(ble.entry.data)[1]) == len(ble.pack.writes) == 1


async def test_a_script_that_is_stopped_again_and_again_is_withdrawn_after_one_frame(ble: BleHome) -> None:
    """The frame changes something else, a moment later: that is seen although nobody waits, and none is sent again."""
    events = await _up(ble)
    await _add_script(ble)
    ble.pack.ignore_heating = True

    async def again_and_again() -> None:
        for _ in range(3):
            before = len(ble.pack.writes)
            await ble.hass.services.async_call("script", "warm", blocking=False)
            await ble.clock.sleep(1)
            await _stop_script(ble)
            if len(ble.pack.writes) > before:
                ble.pack.other_bits ^= 0x0004
            await ble.clock.sleep(12)

    await ble.drive(again_and_again())
    assert len(ble.pack.writes) == 1
    assert _outcomes(events) == ["contradicted"]
    assert dict(heating.withdrawn(ble.entry.data)) == {1: HeatingProblem.CONTRADICTED}
    assert _kinds(ble) == ["binary_sensor"]
    assert _repairs(ble) == ["heating_contradicted"]


# --- the entry goes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.3, 0.5, 0.7])
async def test_a_refusal_during_a_reload_leaves_no_dead_switch(ble: BleHome, delay: float) -> None:
    """Wherever in the reload it comes: the switch is gone and the repair is there."""
    events = await _up(ble)
    ble.pack.refuse_heating = True

    async def reloaded() -> list[Any]:
        call = _call(ble)
        await _sent(ble)
        await ble.clock.sleep(delay)
        await ble.hass.config_entries.async_reload(ble.entry.entry_id)
        end = await _ends(call)
        await ble.clock.sleep(30)
        return end

    (end,) = await ble.drive(reloaded())
    assert isinstance(end, HomeAssistantError)
    assert len(ble.pack.writes) == len(events) == 1
    known = dict(heating.withdrawn(ble.entry.data))
    assert known == ({1: HeatingProblem.REFUSED} if _outcomes(events) == ["refused"] else {})
    assert _kinds(ble) == (["binary_sensor"] if known else ["switch"])
    assert _repairs(ble) == (["heating_refused"] if known else [])


async def test_a_refusal_that_is_told_while_the_entry_loads_loads_it_anew(
    ble: BleHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is loaded with was read before; so it must not be left at that."""
    await _up(ble)
    ble.pack.refuse_heating = True
    reloads: list[str] = []
    monkeypatch.setattr(ble.hass.config_entries, "async_schedule_reload", reloads.append)
    ble.entry.mock_state(ble.hass, ConfigEntryState.SETUP_IN_PROGRESS)
    with pytest.raises(HomeAssistantError):
        await ble.turn("heating", True)
    ble.entry.mock_state(ble.hass, ConfigEntryState.LOADED)
    assert reloads == [ble.entry.entry_id]


async def test_an_entry_that_is_removed_during_an_act_is_told_of_and_remembers_nothing(
    ble: BleHome, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody knows what came of the frame; whoever turned the switch reads that, and no traceback is left."""
    events = await _up(ble)
    ble.pack.ignore_heating = True

    async def removed() -> list[Any]:
        call = _call(ble)
        await _sent(ble)
        await ble.clock.sleep(1)
        await ble.hass.config_entries.async_remove(ble.entry.entry_id)
        return await _ends(call)

    (end,) = await ble.drive(removed())
    assert isinstance(end, HomeAssistantError)
    assert [f"heating_{outcome}" for outcome in _outcomes(events)] == [end.translation_key]
    assert end.translation_key in {"heating_accepted", "heating_unseen"}  # whether it was read just before
    assert "Traceback" not in caplog.text
    assert ble.hass.config_entries.async_get_entry(ble.entry.entry_id) is None


@pytest.mark.parametrize("remember", [heating.async_withdraw, heating.async_note_acts])
async def test_an_entry_that_is_gone_remembers_nothing(ble: BleHome, remember: Callable[..., None]) -> None:
    """An act may end after it."""
    await _up(ble)
    await ble.turn("heating", True)
    control = ble.link.client.heating
    assert control is not None
    assert control.acts(1)
    await ble.drive(ble.hass.config_entries.async_remove(ble.entry.entry_id))
    before = dict(ble.entry.data)
    remember(ble.hass, ble.entry, 1, HeatingProblem.REFUSED if remember is heating.async_withdraw else control)
    assert ble.entry.data == before


async def _unload(ble: BleHome) -> None:
    await ble.hass.config_entries.async_unload(ble.entry.entry_id)


async def _reload(ble: BleHome) -> None:
    await ble.hass.config_entries.async_reload(ble.entry.entry_id)


@pytest.mark.parametrize("leave", [_unload, _reload])
async def test_a_pause_that_waited_for_an_act_is_declined_once_the_entry_is_gone(
    ble: BleHome, leave: Callable[[BleHome], Awaitable[None]]
) -> None:
    """It would pause a client that is no more, and leave its timer behind."""
    await _up(ble)
    ble.pack.ignore_heating = True

    async def left() -> list[Any]:
        calls = _call(ble), _call(ble, key="pause")
        await _sent(ble)
        await leave(ble)
        await ble.clock.sleep(20)
        return await _ends(*calls)

    _, pause = await ble.drive(left())
    assert isinstance(pause, HomeAssistantError)
    assert pause.translation_key == "pause_too_late"
    shown = TEXTS["exceptions"]["pause_too_late"]["message"].format(**pause.translation_placeholders or {})
    assert shown.startswith("Nothing was paused: ZT-")
    if leave is _unload:
        assert ble.waits == 0
    else:
        assert ble.state(None, "pause").state == "off"
        assert ble.state(1, "soc").state != "unavailable"


@pytest.mark.parametrize("acknowledged", [True, False])
async def test_what_cannot_be_read_back_is_said_to_be_unknown(ble: BleHome, acknowledged: bool) -> None:
    """Whether it was acknowledged or not; it counts against the limits, and the switch stays."""
    events = await _up(ble)
    ble.pack.silent_sets = not acknowledged

    async def unplugged() -> list[Any]:
        call = _call(ble)
        await _sent(ble)
        await ble.clock.sleep(0.15 if acknowledged else 0.0)  # the answer takes a tenth of a second
        ble.bus.unplug()
        return await _ends(call)

    (end,) = await ble.drive(unplugged())
    assert isinstance(end, HomeAssistantError)
    assert end.translation_key == "heating_unseen"
    assert "nobody knows what came of it" in str(end)
    assert _outcomes(events) == ["unseen"]
    assert len(heating.acts(ble.entry.data)[1]) == 1
    ble.bus.replug()
    await ble.wait(30)
    assert _kinds(ble) == ["switch"]
    assert ble.state(1, "heating").state == "on"  # as it is read now
    assert len(ble.pack.writes) == 1


async def test_an_act_that_waited_for_another_sends_nothing_once_the_entry_is_gone(ble: BleHome) -> None:
    """It is told that there is no link any more."""
    events = await _up(ble)
    ble.pack.ignore_heating = True

    async def left() -> list[Any]:
        calls = _call(ble), _call(ble)
        await _sent(ble)
        await _unload(ble)
        await ble.clock.sleep(20)
        return await _ends(*calls)

    ends = await ble.drive(left())
    assert all(isinstance(end, HomeAssistantError) for end in ends)
    assert len(ble.pack.writes) == 1
    assert len(events) == 2
    assert ble.waits == 0
