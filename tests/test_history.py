"""What Home Assistant has recorded of the energy, when the current sensor is turned round."""

from datetime import timedelta
from typing import Any

from homeassistant.components.recorder import Recorder, get_instance
from homeassistant.components.recorder.history import get_significant_states
from homeassistant.components.recorder.statistics import statistics_during_period
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
)

from custom_components.lfp_battery.bms.model import Identity, PackState, PollReport
from custom_components.lfp_battery.const import CONF_INTERVAL, CONF_INVERT_CURRENT
from tests.home import Home

_COUNTING = Identity(serial="PPTCOUNTS0000009")
_KEYS = ("energy_charged", "energy_discharged")


@pytest.fixture
def time_of_day(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded has the time of the bank."""

    def now() -> float:
        return home.clock.utc().timestamp()

    monkeypatch.setattr("time.time", now)
    monkeypatch.setattr("homeassistant.helpers.entity.timer", now)


class _Counter:
    """A pack at address 9 that counts its energy itself, as the statistics see it."""

    def __init__(self, home: Home) -> None:
        self.home = home

    async def says(self, charged: float, discharged: float) -> None:
        """Let it answer, and let Home Assistant make statistics of these five minutes."""
        await self.home.wait(400)  # another period of the statistics
        state = PackState(address=9, power=500.0, energy_charged=charged, energy_discharged=discharged)
        received = self.home.clock.monotonic()
        self.home.link.pack_polled(
            PollReport(address=9, state=state, identity=_COUNTING, online=True, received=received)
        )
        await self.home.hass.async_block_till_done()
        await async_wait_recording_done(self.home.hass)
        now = self.home.clock.utc()
        do_adhoc_statistics(self.home.hass, start=now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0))
        await async_wait_recording_done(self.home.hass)

    async def invert(self, on: bool) -> None:
        """Change the option of the loaded entry, which loads anew."""
        home = self.home
        await home.drive(home.hass.config_entries.async_unload(home.entry.entry_id))
        home.hass.config_entries.async_update_entry(home.entry, options={**home.entry.options, CONF_INVERT_CURRENT: on})
        assert await home.start()

    async def sums(self) -> dict[str, list[float]]:
        """What the statistics say was added since they began, at the end of each period."""
        ids = {self.home.entity_id(9, key): key for key in _KEYS}
        began = self.home.clock.utc() - timedelta(days=1)
        found = await get_instance(self.home.hass).async_add_executor_job(
            lambda: statistics_during_period(
                self.home.hass, began, None, set(ids), "5minute", {"energy": "kWh"}, {"sum"}
            )
        )
        return {ids[entity_id]: [round(row["sum"] or 0.0, 3) for row in rows] for entity_id, rows in found.items()}

    async def recorded(self, key: str) -> list[float]:
        """The numbers that were recorded under one name, in their order."""
        entity_id, began = self.home.entity_id(9, key), self.home.clock.utc() - timedelta(days=1)
        found: dict[str, list[Any]] = await get_instance(self.home.hass).async_add_executor_job(
            lambda: get_significant_states(
                self.home.hass, began, entity_ids=[entity_id], include_start_time_state=False
            )
        )
        return [float(s.state) for s in found.get(entity_id, []) if s.state not in ("unknown", "unavailable", "")]


@pytest.fixture
async def counter(recorder_mock: Recorder, home: Home, time_of_day: None) -> _Counter:
    """A pack that has charged 0.3 kWh and discharged 0.2 since the statistics began."""
    home.plug(1, options={CONF_INTERVAL: 300})
    await home.start()
    counter = _Counter(home)
    await counter.says(300.0, 100.0)
    await counter.says(300.1, 100.0)
    await counter.says(300.3, 100.2)
    assert await counter.sums() == {"energy_charged": [0, 0.1, 0.3], "energy_discharged": [0, 0, 0.2]}
    return counter


async def test_what_was_recorded_changes_its_name_with_the_total(
    counter: _Counter, caplog: pytest.LogCaptureFixture
) -> None:
    """To and fro: no total falls or jumps in the statistics, and nothing is added but what flowed."""
    await counter.invert(True)
    await counter.says(300.3, 100.2)
    await counter.says(300.4, 100.4)
    assert await counter.sums() == {
        "energy_charged": [0, 0, 0.2, 0.2, 0.4],
        "energy_discharged": [0, 0.1, 0.3, 0.3, 0.4],
    }
    assert await counter.recorded("energy_charged") == [100, 100.2, 100.2, 100.4]
    assert await counter.recorded("energy_discharged") == [300, 300.1, 300.3, 300.3, 300.4]
    await counter.invert(False)
    await counter.says(300.5, 100.4)
    assert await counter.sums() == {
        "energy_charged": [0, 0.1, 0.3, 0.3, 0.4, 0.5],
        "energy_discharged": [0, 0, 0.2, 0.2, 0.4, 0.4],
    }
    assert "already in use" not in caplog.text


async def test_one_that_was_not_recorded_gives_nothing_and_takes_all(counter: _Counter) -> None:
    """A disabled total keeps for later what was recorded; the other one begins anew, which adds nothing."""
    registry, entity_id = er.async_get(counter.home.hass), counter.home.entity_id(9, "energy_charged")
    get_instance(counter.home.hass).async_clear_statistics([entity_id])
    registry.async_update_entity(entity_id, disabled_by=er.RegistryEntryDisabler.USER)
    await counter.invert(True)
    await counter.says(300.3, 100.2)
    await counter.says(300.4, 100.4)
    assert await counter.sums() == {"energy_charged": [0, 0, 0.2], "energy_discharged": [0, 0.1]}


async def test_what_a_person_set_stays_as_it_is(counter: _Counter) -> None:
    """Entities, their names and their units: another unit than that of what was recorded is converted."""
    registry = er.async_get(counter.home.hass)
    charged, discharged = (counter.home.entity_id(9, key) for key in _KEYS)
    registry.async_update_entity(charged, new_entity_id="sensor.into_it", name="Into it", icon="mdi:arrow-down")
    registry.async_update_entity_options("sensor.into_it", "sensor", {"unit_of_measurement": "Wh"})
    registry.async_update_entity(discharged, name="Out of it", hidden_by=er.RegistryEntryHider.USER)
    await counter.says(300.3, 100.2)

    def set_by_hand() -> list[object]:
        found = [registry.entities[entity_id] for entity_id in ("sensor.into_it", discharged)]
        return [(e.id, e.unique_id, e.name, e.icon, e.hidden_by, e.options) for e in found]

    before = set_by_hand()
    await counter.invert(True)
    assert set_by_hand() == before
    await counter.says(300.3, 100.2)
    await counter.says(300.4, 100.4)
    sums = await counter.sums()
    assert sums["energy_charged"][-2:] == [0.2, 0.4]
    assert sums["energy_discharged"][-2:] == [0.3, 0.4]


async def test_a_load_that_fails_after_the_swap_does_not_swap_again(counter: _Counter) -> None:
    """The link cannot be opened at first: what was swapped is kept at once, as the recorder keeps it."""
    home = counter.home
    await home.drive(home.hass.config_entries.async_unload(home.entry.entry_id))
    home.hass.config_entries.async_update_entry(home.entry, options={**home.entry.options, CONF_INVERT_CURRENT: True})
    home.bus.unplug()
    assert not await home.start()
    home.bus.replug()
    await home.drive(home.hass.config_entries.async_reload(home.entry.entry_id))
    await counter.says(300.3, 100.2)
    await counter.says(300.4, 100.4)
    assert await counter.sums() == {
        "energy_charged": [0, 0, 0.2, 0.2, 0.4],
        "energy_discharged": [0, 0.1, 0.3, 0.3, 0.4],
    }
