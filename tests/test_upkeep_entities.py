"""When a battery was last full, when its manual wants it charged again, and whether its charge is to be set right."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.helpers.entity import Entity
from homeassistant.util import dt as dt_util
import pytest

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.const import DOMAIN
from custom_components.lfp_battery.coordinator import LfpUnit
from tests.home import CYCLE, Home
from tests.simulator.bank import Steady
from tests.simulator.pack import PackSpec, SimPack

_SERIAL = "PPTSTORED0000002"


def _plug(home: Home, model: str | None, *, soc: float = 50.0, rate: float = 0.0) -> None:
    """One pack of this model, its house wanting `rate`; in a year in which a clock can be."""
    home.clock = DrivenClock(datetime(2027, 1, 1, tzinfo=UTC))
    home.plug({2: SimPack(PackSpec(serial=_SERIAL, soc=soc))}, model=model)
    home.bank.profile = Steady(rate=rate)


async def _was_here(home: Home, hass_storage: dict[str, Any], due_at: str, *, months: float = 6.0) -> None:
    """The pack was here before, and its manual wants it charged by then, at the latest so many months after a charge."""
    await home.start()
    await home.wait(CYCLE)
    await home.drive(home.hass.config_entries.async_unload(home.entry.entry_id))
    upkeep = {"charged": "2026-11-01T00:00:00+00:00", "due_at": due_at, "months": months}
    hass_storage[f"{DOMAIN}.{home.entry.entry_id}"] = {
        "version": 1,
        "key": f"{DOMAIN}.{home.entry.entry_id}",
        "data": {"inverted": False, "units": {_SERIAL: {"upkeep": upkeep}}},
    }


@pytest.mark.parametrize(
    ("model", "recharge", "calibration"),
    [(None, False, False), ("VLRV5120C", True, False), ("ES51.2-100LP", True, True)],
)
async def test_what_a_manual_does_not_say_is_not_shown(
    home: Home, model: str | None, recharge: bool, calibration: bool
) -> None:
    """An unknown product has no interval; only ES tells how to set a drifted state of charge right."""
    _plug(home, model)
    await home.start()
    entities = home.entities(home.device(2))
    assert ("recharge_due" in entities) is ("recharge_by" in entities) is recharge
    assert ("calibration_advised" in entities) is calibration
    assert "last_full_charge" in entities
    if recharge:
        assert entities["recharge_by"].disabled_by is not None
    if calibration:
        assert home.state(2, "calibration_advised").state == STATE_UNKNOWN


async def test_a_battery_that_is_due_says_what_to_charge_it_with(home: Home, hass_storage: dict[str, Any]) -> None:
    """Voltage and currents of VLRV's table 6-2 for 51.2 V; being full ends it, and is remembered."""
    _plug(home, "VLRV5120C", soc=97.0)
    with patch.object(Entity, "entity_registry_enabled_default", True):
        await _was_here(home, hass_storage, "2026-12-31T00:00:00+00:00")
        await home.start()
    due = home.state(2, "recharge_due")
    assert due.state == STATE_ON
    supply = {"charge_voltage": 56.0, "charge_current": 30.0, "cut_off_current": 5.0, "target": 100.0}
    assert {name: due.attributes[name] for name in supply} == supply
    assert home.state(2, "last_full_charge").state == STATE_UNKNOWN
    home.bank.profile = Steady(rate=0.2)
    await home.wait(1500)
    assert home.state(2, "recharge_due").state == STATE_OFF
    full = dt_util.parse_datetime(home.state(2, "last_full_charge").state)
    assert full is not None
    assert 0 < (home.clock.utc() - full).total_seconds() < 1500
    by = dt_util.parse_datetime(home.state(2, "recharge_by").state)
    assert by is not None
    assert 80 < (by - home.clock.utc()).days < 280


async def test_an_ml314_is_due_until_it_is_charged_as_it_is_to_be_stored(
    home: Home, hass_storage: dict[str, Any]
) -> None:
    """Its manual wants it kept at 50 to 60 % (13.1 (10)); nobody is told to fill it."""
    _plug(home, "ML314-51.2-W08", soc=49.0)
    await _was_here(home, hass_storage, "2026-12-31T00:00:00+00:00", months=3.0)
    await home.start()
    due = home.state(2, "recharge_due")
    assert (due.state, due.attributes["target"]) == (STATE_ON, 50.0)
    home.bank.profile = Steady(rate=0.2)
    await home.wait(600)
    assert home.value(2, "soc") < 55
    assert home.state(2, "recharge_due").state == STATE_OFF


async def test_the_last_full_charge_is_written_once_an_hour_at_most(home: Home) -> None:
    """A battery that stays full all afternoon is no news."""
    _plug(home, None, soc=99.8, rate=0.05)
    await home.start()
    await home.wait(600)
    seen = set()
    for _ in range(12):
        await home.wait(300)
        seen.add(home.state(2, "last_full_charge").state)
    assert STATE_UNKNOWN not in seen
    assert len(seen) <= 2


@pytest.mark.parametrize("tells", [True, False])
async def test_a_charge_is_over_when_no_current_is_told_any_more(home: Home, tells: bool) -> None:
    """What was charged once is not charged for ever, neither a pack nor the bank over packs."""
    home.clock = DrivenClock(datetime(2027, 1, 1, tzinfo=UTC))
    home.plug(2)
    home.bank.profile = Steady(rate=0.2)
    await home.start()
    await home.wait(600)
    bank, packs = home.link.bank, list(home.link.packs.values())
    assert bank.upkeep.last_full is None
    home.speaker_silent(True)
    await home.wait(5400)
    for pack in packs:
        state = replace(pack.state, soc=100.0, current=pack.state.current if tells else None)
        pack.async_publish(replace(pack.data, state=state, online=True, received=home.clock.monotonic()))
    bank.over.settle()
    bank.async_renew()
    units: list[LfpUnit] = [bank, *packs]
    assert [unit.state.soc for unit in units] == [100.0] * 3
    assert [unit.upkeep.last_full is not None for unit in units] == [tells] * 3


async def test_a_stored_battery_that_sleeps_becomes_due_all_the_same(home: Home, hass_storage: dict[str, Any]) -> None:
    """That is when it matters: nothing answers, and the time goes on."""
    _plug(home, "VLRV5120C")
    await _was_here(home, hass_storage, "2027-01-01T01:00:00+00:00")
    home.speaker_silent(True)
    await home.start()
    await home.wait(60)
    assert home.state(2, "soc").state == STATE_UNAVAILABLE
    assert home.state(2, "recharge_due").state == STATE_OFF
    await home.wait(3600)
    assert home.state(2, "recharge_due").state == STATE_ON
    assert home.state(2, "soc").state == STATE_UNAVAILABLE


async def test_a_bank_leaves_it_to_its_packs_to_be_due(home: Home) -> None:
    """Each pack has its own last charge; that the bank was full is worth knowing all the same."""
    home.plug(2, model="VLRV5120C")
    await home.start()
    await home.wait(CYCLE)
    entities = home.entities(home.bank_device())
    assert "recharge_due" not in entities
    assert "calibration_advised" not in entities
    assert "last_full_charge" in entities


async def test_what_was_not_observed_is_counted_and_what_was_bridged_is_marked(home: Home) -> None:
    """The energy says how much of it is estimated; the seconds of which nothing is known have a sensor."""
    _plug(home, None, rate=0.2)
    with patch.object(Entity, "entity_registry_enabled_default", True):
        await home.start()
    await home.wait(600)
    assert home.state(2, "energy_charged").attributes["estimated"] == 0
    before = home.value(2, "energy_charged")
    home.speaker_silent(True)
    await home.wait(1800)
    home.speaker_silent(False)
    await home.wait(5 * CYCLE)
    bridged = home.value(2, "energy_charged") - before
    assert bridged == pytest.approx(0.5 * 0.2 * home.bank.packs[2].spec.capacity * 0.053, rel=0.1)
    estimated = home.state(2, "energy_charged").attributes["estimated"]
    assert 0.8 * bridged < estimated < bridged + 0.001
    assert home.value(2, "unobserved") < 60
