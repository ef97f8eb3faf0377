"""A cold night in the motor home, on the test clock."""

from dataclasses import replace

from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNKNOWN
import pytest

from custom_components.lfp_battery.binary_sensor_descriptions import BINARY_SENSORS
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.const import CONF_INTERVAL
from tests.ble_home import BleHome
from tests.home import Home
from tests.simulator.bank import Demand
from tests.simulator.pack import PackSpec

_HOUR = 3600.0
_MINUTE = {CONF_INTERVAL: 60}  # often enough for a night
# A pack that cools down in hours rather than days, with a film that is strong enough for the night.
_PACK = PackSpec(
    cells=8, capacity=100.0, soc=80.0, temperature=6.0, heater_power=120.0, heater_on=0.0, heater_off=3.0, serial=""
)


def _night(seconds: float) -> Demand:
    """Twelve degrees of frost from the evening on; the fridge wants a little."""
    return Demand(-0.01, -12.0)


async def _wait_for(ble: BleHome, key: str, state: str, hours: float = 12.0) -> None:
    """Let the night pass until something is said."""
    for _ in range(round(hours * 12)):
        if ble.state(1, key).state == state:
            return
        await ble.wait(_HOUR / 12)
    pytest.fail(f"{key} is never {state}")


async def test_the_film_warms_a_pack_that_is_below_freezing(ble: BleHome) -> None:
    """Charging is blocked by cold until the film has done its work; nothing is done by Home Assistant."""
    ble.put_up(_PACK, heating=True, options=_MINUTE)
    ble.bank.profile = _night
    await ble.start()
    await ble.wait(70)
    assert ble.state(1, "heating").state == STATE_ON
    assert ble.state(1, "heater").state == STATE_OFF
    assert ble.state(1, "charging_blocked_by_cold").state == STATE_OFF

    await _wait_for(ble, "charging_blocked_by_cold", STATE_ON)
    assert ble.value(1, "temperature") < 1  # the coldest place decides
    await _wait_for(ble, "heater", STATE_ON, hours=0.2)
    assert ble.pack.film
    assert ble.state(1, "charge_undertemperature").state == STATE_ON
    coldest = ble.value(1, "temperature")

    await _wait_for(ble, "charging_blocked_by_cold", STATE_OFF)
    assert ble.value(1, "temperature") > coldest
    await _wait_for(ble, "heater", STATE_OFF)
    assert ble.value(1, "temperature") == pytest.approx(3, abs=1)
    assert ble.pack.writes == []


async def test_without_the_film_the_pack_stays_cold_until_it_is_turned_on(ble: BleHome) -> None:
    """In the app, which the setting follows, or here."""
    ble.put_up(_PACK, options=_MINUTE)
    ble.bank.profile = _night
    await ble.start()
    await _wait_for(ble, "charging_blocked_by_cold", STATE_ON)
    assert ble.state(1, "heating").state == ble.state(1, "heater").state == STATE_OFF
    cold = ble.value(1, "temperature")

    ble.pack.heating = True  # in the app
    await ble.wait(300)
    assert ble.state(1, "heating").state == ble.state(1, "heater").state == STATE_ON
    assert ble.value(1, "temperature") > cold - 1

    ble.pack.heating = False
    await ble.wait(120)
    assert ble.state(1, "heating").state == ble.state(1, "heater").state == STATE_OFF
    assert ble.pack.writes == []

    await _wait_for(ble, "charging_blocked_by_cold", STATE_ON)
    await ble.turn("heating", True)  # the protection is against cold, so it may be
    assert ble.pack.heating
    assert ble.state(1, "heating").state == STATE_ON
    await _wait_for(ble, "heater", STATE_ON)
    assert len(ble.pack.writes) == 1


async def test_a_sensor_that_reads_nought_in_the_cold_is_there_and_one_that_always_did_is_not(ble: BleHome) -> None:
    """Three of the pack's six are fitted; each says 0 degC on the way down, and none of the others ever appears."""
    ble.put_up(_PACK, options=_MINUTE)
    ble.bank.profile = _night
    await ble.start()
    await ble.wait(70)
    fitted = [key for key in ble.entities(ble.device(1)) if key.removeprefix("cell_temperature_").isdecimal()]
    assert sorted(fitted) == ["cell_temperature_1", "cell_temperature_2", "cell_temperature_3"]
    assert ble.link.packs[1].record.probes == (0, 1, 2)
    await _wait_for(ble, "charging_blocked_by_cold", STATE_ON)
    ble.pack.pack.temperature = 0.0
    ble.bank.frozen = True
    await ble.reload()
    await ble.wait(70)
    assert ble.link.packs[1].state.cell_temperatures == (0.0, 0.0, 0.0)
    assert ble.value(1, "temperature") == 0


@pytest.mark.parametrize(
    ("alarm", "blocked"),
    [
        (Alarm(condition=Condition.CHARGE_UNDERTEMPERATURE, severity=Severity.WARNING), STATE_OFF),
        (Alarm(condition=Condition.CHARGE_UNDERTEMPERATURE, severity=Severity.PROTECTION), STATE_ON),
        (Alarm(condition=Condition.UNDERTEMPERATURE, severity=Severity.FAULT), STATE_ON),
        (Alarm(condition=Condition.DISCHARGE_UNDERTEMPERATURE, severity=Severity.PROTECTION), STATE_OFF),
        (Alarm(condition=Condition.CHARGE_OVERTEMPERATURE, severity=Severity.PROTECTION), STATE_OFF),
        (None, STATE_UNKNOWN),
    ],
)
async def test_only_a_protection_against_cold_blocks_charging(home: Home, alarm: Alarm | None, blocked: str) -> None:
    """A warning blocks nothing yet, heat is another matter, and where alarms are not said nobody knows."""
    home.plug(1)
    await home.start()
    await home.wait()
    assert home.state(2, "charging_blocked_by_cold").state == STATE_OFF
    pack = home.link.packs[2]
    state = replace(pack.state, alarms=None if alarm is None else frozenset({alarm}))
    home.link.pack_polled(replace(pack.data, state=state, received=home.clock.monotonic()))
    assert home.state(2, "charging_blocked_by_cold").state == blocked


async def test_a_pack_that_cannot_say_that_it_is_too_cold_has_no_sensor_for_it(home: Home) -> None:
    """Whatever else it may say."""
    home.plug(1)
    await home.start()
    home.link.packs[2]._conditions = frozenset()
    assert not any(
        description.exists(home.link.packs[2])
        for description in BINARY_SENSORS
        if description.key == "charging_blocked_by_cold"
    )
