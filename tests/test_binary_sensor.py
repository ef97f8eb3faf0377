"""What the binary sensors of a pack say, and when they say nothing."""

from dataclasses import replace
from unittest.mock import patch

from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity import Entity
import pytest

from custom_components.lfp_battery.bms.model import Alarm, Condition, CycleReport, PackState, PollReport, Severity
from custom_components.lfp_battery.const import CONF_INTERVAL, CONF_LOW_BATTERY, CONF_OBSERVE
from tests.home import CYCLE, Home
from tests.simulator.bank import Steady
from tests.simulator.bus import SecondMaster
from tests.simulator.faults import Fault, Kind
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pylon_wire import request

_HOT = Alarm(condition=Condition.CHARGE_OVERTEMPERATURE, severity=Severity.PROTECTION)
_BROKEN = Alarm(condition=Condition.CELL_FAILURE, severity=Severity.FAULT, cell=3)


async def test_an_alarm_is_there_with_the_next_cycle_and_gone_with_its_end(home: Home) -> None:
    """Its own sensor and "problem" with the worst severity and what it is."""
    home.plug(2)
    await home.start()
    assert home.state(2, "problem").state == STATE_OFF
    home.bank.packs[2].force(_HOT)
    await home.wait()
    assert home.state(2, "charge_overtemperature").state == STATE_ON
    problem = home.state(2, "problem")
    assert problem.state == STATE_ON
    assert problem.attributes["severity"] == "protection"
    assert "charge_overtemperature" in problem.attributes["conditions"]
    assert home.state(3, "problem").state == STATE_OFF
    home.bank.packs[2].release(_HOT)
    await home.wait(2 * CYCLE)
    assert home.state(2, "charge_overtemperature").state == STATE_OFF
    assert home.state(2, "problem").state == STATE_OFF


async def test_a_fault_makes_a_pack_unsafe_to_act_on_and_a_protection_does_not(home: Home) -> None:
    """A pack that protects itself is telling the truth; a broken one may not be."""
    home.plug(1)
    await home.start()
    assert home.state(2, "safe_to_act").state == STATE_ON
    home.bank.packs[2].force(_HOT)
    await home.wait()
    assert home.state(2, "safe_to_act").state == STATE_ON
    home.bank.packs[2].force(_BROKEN)
    await home.wait(2 * CYCLE)
    assert home.state(2, "safe_to_act").state == STATE_OFF


async def test_alarms_that_were_not_answered_are_unknown_and_never_off(home: Home) -> None:
    """The pack answers everything but its alarms: nobody knows, and nothing is safe."""
    home.plug(1)
    await home.start()
    assert home.state(2, "problem").state == STATE_OFF
    home.bus.faults.add(Fault(kind=Kind.SILENCE, addresses=frozenset({2}), containing=b"4644"))
    await home.wait(6 * CYCLE)
    assert home.state(2, "connectivity").state == STATE_ON
    assert home.state(2, "problem").state == STATE_UNKNOWN
    assert home.state(2, "overvoltage").state == STATE_UNKNOWN
    assert home.state(2, "safe_to_act").state == STATE_OFF


async def test_nothing_is_safe_to_act_on_before_alarms_were_heard(home: Home) -> None:
    """Beside an inverter that asks for values only, nobody knows whether something is broken."""
    home.plug(1, options={CONF_OBSERVE: True})
    await home.start()
    values = home.bus.add_master(SecondMaster(requests=[request(2, 0x42)], period=1.0, first=0.1))
    await home.wait(3 * CYCLE)
    assert home.state(2, "connectivity").state == STATE_ON
    assert home.state(2, "safe_to_act").state == STATE_OFF
    values.stop()
    both = [request(2, 0x42), request(2, 0x44)]
    home.bus.add_master(SecondMaster(requests=both, period=1.0, first=0.1))
    await home.wait(3 * CYCLE)
    assert home.state(2, "safe_to_act").state == STATE_ON


async def test_nothing_is_safe_to_act_on_while_a_value_is_held_back(home: Home) -> None:
    """What the client says of a report is what counts, whatever the reason."""
    home.plug(1)
    await home.start()
    pack = home.link.packs[2]
    report = pack.data
    held = PollReport(
        address=2, state=report.state, identity=report.identity, online=True, received=1e6, held_back={"soc": "jump"}
    )
    home.link.pack_polled(held)
    assert home.state(2, "safe_to_act").state == STATE_OFF
    await home.wait()
    assert home.state(2, "safe_to_act").state == STATE_ON


@pytest.mark.parametrize(
    ("model", "option", "threshold"), [(None, None, 10), ("ES51.2-100LP", None, 10), (None, 25, 25)]
)
async def test_a_low_battery_is_one_below_the_threshold_until_it_is_well_above(
    home: Home, model: str | None, option: int | None, threshold: int
) -> None:
    """From the options, else the manual, else ten per cent; two per cent of hysteresis."""
    options = {} if option is None else {CONF_LOW_BATTERY: option}
    home.plug({2: SimPack(PackSpec(soc=threshold + 3))}, options=options, model=model)
    home.bank.frozen = True
    await home.start()
    steps = []
    for soc in (threshold + 1, threshold - 1, threshold + 1, threshold + 3):
        home.bank.packs[2].set_soc(soc)
        await home.wait(2 * CYCLE)
        steps.append(home.state(2, "battery_low").state)
    assert steps == [STATE_OFF, STATE_ON, STATE_ON, STATE_OFF]


async def test_a_condition_that_no_table_names_gets_its_sensor_when_it_is_first_seen(home: Home) -> None:
    """And its record, so that it is there after a restart."""
    home.plug(1)
    await home.start()
    assert "isolation_failure" not in home.entities(home.device(2))
    pack = home.link.packs[2]
    state = PackState(
        address=2, alarms=frozenset({Alarm(condition=Condition.ISOLATION_FAILURE, severity=Severity.FAULT)})
    )
    home.link.pack_polled(PollReport(address=2, state=state, identity=pack.data.identity, online=True, received=1e6))
    await home.wait()
    assert home.entities(home.device(2))["isolation_failure"].disabled_by is not None
    assert "isolation_failure" in home.entry.data["packs"]["2"]["conditions"]


async def test_nothing_is_safe_to_act_on_once_a_turn_was_missed(home: Home) -> None:
    """Values stand for three missed readings; an automation is warned after the first."""
    home.plug(1)
    await home.start()
    await home.quiet()
    home.speaker_silent(True)
    await home.wait(22)
    assert home.state(2, "connectivity").state == STATE_ON
    assert home.state(2, "safe_to_act").state == STATE_OFF
    home.speaker_silent(False)
    await home.wait()
    assert home.state(2, "safe_to_act").state == STATE_ON


async def test_a_long_interval_keeps_values_safe_for_one_and_a_half_of_it(home: Home) -> None:
    """Nobody is asked in between, and that is what the person wanted."""
    home.plug(1, options={CONF_INTERVAL: 300})
    await home.start()
    home.speaker_silent(True)
    await home.wait(440)
    assert home.state(2, "safe_to_act").state == STATE_ON
    await home.wait(30)
    assert home.state(2, "safe_to_act").state == STATE_OFF


async def test_a_slow_line_is_given_the_time_that_it_takes(home: Home) -> None:
    """A whole round that is longer than the interval is no missed turn."""
    home.plug(1)
    await home.start()
    await home.quiet()
    home.link.cycle_finished(CycleReport(seconds=40.0, answered=frozenset({2}), silent=frozenset()))
    home.link.client.set_polling(False)
    await home.wait(50)
    assert home.state(2, "safe_to_act").state == STATE_ON
    await home.wait(30)
    assert home.state(2, "safe_to_act").state == STATE_OFF


async def test_values_grow_old_also_when_nobody_asks(hass: HomeAssistant, home: Home) -> None:
    """With polling disabled the age counts on, and nothing is safe for long."""
    home.plug(1)
    with patch.object(Entity, "entity_registry_enabled_default", True):
        await home.start()
    await home.wait()
    await hass.config_entries.async_unload(home.entry.entry_id)
    hass.config_entries.async_update_entry(home.entry, pref_disable_polling=True)
    await home.start()
    await home.update_entity(home.entity_id(2, "soc"))
    assert home.state(2, "safe_to_act").state == STATE_ON
    assert home.value(2, "data_age") < 2
    await home.wait(600)
    assert home.state(2, "safe_to_act").state == STATE_OFF
    assert home.value(2, "data_age") == pytest.approx(600, abs=10)


def _answers(home: Home, current: float | None) -> None:
    """Let the pack at address 2 answer now with this current."""
    pack = home.link.packs[2]
    state = replace(pack.state, current=current, power=None)
    now = home.clock.monotonic()
    home.link.pack_polled(PollReport(address=2, state=state, identity=pack.data.identity, online=True, received=now))


async def _currents(home: Home, *currents: float | None) -> list[str]:
    """What "charging" shows after each of these, ten seconds apart."""
    shown = []
    for current in currents:
        _answers(home, current)
        await home.hass.async_block_till_done()
        shown.append(home.state(2, "charging").state)
        await home.wait(10)
    return shown


async def _silent_home(home: Home) -> None:
    """One pack at rest, which from now on says only what the test lets it."""
    home.plug({2: SimPack(PackSpec(soc=50))})
    home.bank.profile = Steady()
    await home.start()
    home.link.client.set_polling(False)
    await home.quiet()


async def test_charging_has_to_last_before_it_is_shown(home: Home) -> None:
    """And so has its end: a cloud is no reason for an automation to run."""
    await _silent_home(home)
    assert await _currents(home, 0.0, 9.0, 9.0, 9.0, 9.0, 9.0) == ["off", "off", "off", "off", "on", "on"]
    assert await _currents(home, -5.0, -5.0, 9.0, -5.0, -5.0, 9.0) == ["on"] * 6
    assert await _currents(home, -5.0, -5.0, -5.0, -5.0) == ["on", "on", "on", "off"]


async def test_a_current_inside_the_dead_band_starts_and_ends_no_charging(home: Home) -> None:
    """Between rest and charging it is as it was, also while it is not shown yet."""
    await _silent_home(home)
    assert await _currents(home, 0.0, 0.4, 0.4, 0.4, 0.4, 0.4) == ["off"] * 6
    assert await _currents(home, 0.6, 0.4, 0.3, 0.4, 0.3) == ["off", "off", "off", "on", "on"]
    assert await _currents(home, 0.3, 0.3, 0.3, 0.3, 0.3) == ["on"] * 5


async def test_charging_that_is_held_is_shown_without_another_answer(home: Home) -> None:
    """Also where a pack is read every five minutes."""
    await _silent_home(home)
    _answers(home, 9.0)
    await home.wait(29)
    assert home.state(2, "charging").state == STATE_OFF
    await home.wait(2)
    assert home.state(2, "charging").state == STATE_ON


async def test_an_entry_that_is_unloaded_waits_for_nothing(home: Home) -> None:
    """Also where another answer had not stood for long enough yet."""
    await _silent_home(home)
    _answers(home, 9.0)
    await home.hass.async_block_till_done()
    assert home.state(2, "charging").state == STATE_OFF
    await home.drive(home.hass.config_entries.async_unload(home.entry.entry_id))
    assert home.waits == 0


async def test_an_unknown_current_and_what_follows_it_are_shown_at_once(home: Home) -> None:
    """What is not known must not stand as if it were; and after it there is nothing to hold on to."""
    await _silent_home(home)
    assert await _currents(home, 0.0, None, 9.0, 9.0) == ["off", STATE_UNKNOWN, "on", "on"]


async def test_a_pack_that_comes_back_shows_at_once_what_it_does(home: Home) -> None:
    """What it did before it went is no longer of interest."""
    home.plug({2: SimPack(PackSpec(soc=50))})
    home.bank.profile = Steady()
    await home.start()
    assert home.state(2, "charging").state == STATE_OFF
    home.speaker_silent(True)
    await home.wait(5 * CYCLE)
    home.bank.profile = Steady(rate=0.2)
    await home.wait(60)
    home.speaker_silent(False)
    await home.update_entity(home.entity_id(2, "charging"))
    assert home.state(2, "charging").state == STATE_ON
