"""Home Assistant's own energy dashboard and its helper for integrals, on the sensors of this integration."""

from datetime import timedelta

from homeassistant.components.energy import data as energy, validate
from homeassistant.components.recorder import Recorder
from homeassistant.components.recorder.statistics import async_list_statistic_ids
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
)

from custom_components.lfp_battery.const import CONF_INTERVAL
from tests.home import CYCLE, Home
from tests.simulator.bank import Steady
from tests.simulator.pack import PackSpec, SimPack

_HOUR = 3600.0


def _battery(home: Home, address: int | None) -> energy.BatterySourceType:
    """What the README tells an owner to choose for a battery."""
    return {
        "type": "battery",
        "stat_energy_from": home.entity_id(address, "energy_discharged"),
        "stat_energy_to": home.entity_id(address, "energy_charged"),
        "power_config": {"stat_rate_inverted": home.entity_id(address, "power")},
        "stat_soc": home.entity_id(address, "soc"),
        "capacity": 5.12,
    }


async def _complaints(hass: HomeAssistant, *sources: energy.SourceType) -> list[str]:
    """What the energy dashboard has to say about these sources."""
    manager = await energy.async_get_manager(hass)
    await manager.async_update({"energy_sources": list(sources), "device_consumption": []})
    await hass.async_block_till_done()
    validated = await validate.async_validate(hass)
    assert len(validated.energy_sources) == len(sources)
    return [kind for source in validated.energy_sources for kind in source.issues]


async def _recorded(hass: HomeAssistant) -> None:
    """Let the recorder make statistics of what it has, as it does every five minutes."""
    await async_wait_recording_done(hass)
    now = dt_util.utcnow()
    period = now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0)
    for start in (period - timedelta(minutes=5), period):  # what was written may be older than the present one
        do_adhoc_statistics(hass, start=start)
    await async_wait_recording_done(hass)


@pytest.mark.parametrize("address", [2, None])
async def test_the_energy_dashboard_takes_a_battery_and_has_nothing_to_say(
    recorder_mock: Recorder, hass: HomeAssistant, home: Home, address: int | None
) -> None:
    """Energy both ways, power and state of charge, of a pack and of the bank."""
    assert await async_setup_component(hass, "energy", {})
    home.plug(2)
    home.bank.profile = Steady(rate=0.2)
    await home.start()
    await home.wait(30 * CYCLE)
    await _recorded(hass)
    battery = _battery(home, address)
    # of a battery Home Assistant does not look at the power, of solar panels it does: the rules are the same
    panels: energy.SolarSourceType = {
        "type": "solar",
        "stat_energy_from": battery["stat_energy_to"],
        "stat_rate": home.entity_id(address, "power"),
        "config_entry_solar_forecast": None,
    }
    assert await _complaints(hass, battery, panels) == []
    assert home.value(address, "energy_charged") > 0


async def test_the_energy_dashboard_turns_our_sign_round(
    recorder_mock: Recorder, hass: HomeAssistant, home: Home
) -> None:
    """Ours is positive while charging, its own while discharging: the inverted power is the one to choose."""
    assert await async_setup_component(hass, "energy", {})
    home.plug(1)
    home.bank.profile = Steady(rate=0.2)
    await home.start()
    await _complaints(hass, _battery(home, 2))
    await home.wait(2 * CYCLE)
    power_id = home.entity_id(2, "power")
    shown = hass.states.get(f"{power_id}_inverted")
    assert shown is not None
    assert float(shown.state) == -home.value(2, "power") < -500


async def test_what_is_measured_has_statistics_of_the_right_kind(
    recorder_mock: Recorder, hass: HomeAssistant, home: Home
) -> None:
    """Sums for energy, means for power and state of charge."""
    home.plug(1)
    await home.start()
    await home.wait(3 * CYCLE)
    await _recorded(hass)
    kinds = {row["statistic_id"]: row for row in await async_list_statistic_ids(hass)}
    for key in ("energy_charged", "energy_discharged"):
        assert kinds[home.entity_id(2, key)]["has_sum"]
        assert kinds[home.entity_id(2, key)]["statistics_unit_of_measurement"] == "kWh"
    for key in ("power", "soc"):
        assert not kinds[home.entity_id(2, key)]["has_sum"]
        assert kinds[home.entity_id(2, key)]["mean_type"] == 1


@pytest.fixture
def time_of_day(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Home Assistant's time of day is that of the bank; what the event loop goes by stays real."""

    def now() -> float:
        return home.clock.utc().timestamp()

    monkeypatch.setattr("time.time", now)
    monkeypatch.setattr("homeassistant.helpers.entity.timer", now)


async def _hours_go_by(hours: float, home: Home) -> float:
    """Let time pass in both worlds at once; the kWh that flowed into the pack at address 2."""
    joules = 0.0
    pack = home.bank.packs[2]
    for _ in range(round(hours * _HOUR / 5)):
        await home.clock.advance(5)
        home.bank.advance()
        joules += pack.voltage * pack.current * 5
    await home.hass.async_block_till_done()
    return joules / 3_600_000


@pytest.mark.usefixtures("time_of_day")
async def test_a_helper_that_integrates_our_power_is_right_after_eight_idle_hours(
    hass: HomeAssistant, home: Home
) -> None:
    """It draws a line from the last report to the next: without reports of an idle power that line is eight hours long."""
    home.plug({2: SimPack(PackSpec(capacity=200.0, soc=30.0))}, options={CONF_INTERVAL: 30})
    home.bank.profile = Steady()
    await home.start()
    helpers: list[str] = []
    for method in ("trapezoidal", "left"):
        helper = MockConfigEntry(
            domain="integration",
            title=method,
            options={
                "source": home.entity_id(2, "power"),
                "name": method,
                "method": method,
                "unit_prefix": "k",
                "unit_time": "h",
                "round": 4,
            },
        )
        helper.add_to_hass(hass)
        await home.drive(hass.config_entries.async_setup(helper.entry_id))
        registered = er.async_entries_for_config_entry(er.async_get(hass), helper.entry_id)
        helpers += [entity.entity_id for entity in registered]
    assert len(helpers) == 2
    idle = await _hours_go_by(8, home)
    assert home.value(2, "power") == 0
    home.bank.profile = Steady(rate=0.29)
    charged = await _hours_go_by(1, home)
    assert home.value(2, "power") == pytest.approx(3000, rel=0.05)
    for entity_id in helpers:
        integral = hass.states.get(entity_id)
        assert integral is not None
        assert float(integral.state) == pytest.approx(idle + charged, rel=0.01)
    assert home.value(2, "energy_charged") == pytest.approx(charged, rel=0.01)
