"""What the device of a bank shows of packs that answer one by one, and when it shows nothing."""

from dataclasses import replace
from unittest.mock import patch

from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.entity import Entity
import pytest
from syrupy.assertion import SnapshotAssertion

from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.const import CONF_SOC_FLOOR
from tests.can_home import CanHome
from tests.home import CYCLE, Home
from tests.simulator.bank import Steady
from tests.simulator.pack import PackSpec, SimPack

_HOT = Alarm(condition=Condition.CHARGE_OVERTEMPERATURE, severity=Severity.PROTECTION)
_BROKEN = Alarm(condition=Condition.CELL_FAILURE, severity=Severity.FAULT, cell=3)
_SUMS = ("power", "current", "stored_energy")


def _packs() -> dict[int, SimPack]:
    """Packs at 2, 3 and 4: one is twice as large as the others, and each is differently full."""
    specs = ((2, 200.0, 80.0), (3, 100.0, 50.0), (4, 100.0, 20.0))
    return {
        address: SimPack(PackSpec(serial=f"PPTBANK0000000{address:02}", seed=address, capacity=capacity, soc=soc))
        for address, capacity, soc in specs
    }


async def _mixed(home: Home) -> None:
    """A bank of three, at rest."""
    home.plug(_packs())
    home.bank.frozen = True
    await home.start()
    await home.wait(2 * CYCLE)


def _set_disabled(home: Home, address: int, disabled: bool) -> None:
    by = dr.DeviceEntryDisabler.USER if disabled else None
    dr.async_get(home.hass).async_update_device(home.device(address).id, disabled_by=by)


async def test_a_bank_is_as_full_as_its_packs_by_their_capacity(home: Home) -> None:
    """200 Ah at 80 % count twice as much as each 100 Ah; all of it is said."""
    await _mixed(home)
    soc = home.state(None, "soc")
    assert float(soc.state) == pytest.approx((2 * 80 + 50 + 20) / 4, abs=0.2)
    assert soc.attributes["counted"] == ["1", "2", "3"]
    assert soc.attributes["left_out"] == soc.attributes["left_out_reasons"] == []
    assert soc.attributes["weighting"] == "capacity"
    assert home.value(None, "soc_spread") == pytest.approx(60, abs=0.2)
    assert home.value(None, "packs_online") == 3
    assert "counted" not in home.state(2, "soc").attributes


async def test_all_entities_of_a_bank(hass: HomeAssistant, home: Home, snapshot: SnapshotAssertion) -> None:
    """A bank of three with everything enabled, as the home sees it."""
    with patch.object(Entity, "entity_registry_enabled_default", True):
        await _mixed(home)
    for entry in sorted(home.entities(home.bank_device()).values(), key=lambda entry: entry.entity_id):
        assert entry == snapshot(name=f"{entry.entity_id}-entry")
        assert hass.states.get(entry.entity_id) == snapshot(name=f"{entry.entity_id}-state")


async def test_sums_of_a_bank_are_those_of_its_packs(home: Home) -> None:
    """Power, current, what is stored and what would be stored if all were full."""
    home.plug(_packs())
    home.bank.profile = Steady(rate=-0.1)
    await home.start()
    await home.wait(5 * CYCLE)
    await home.quiet()
    for key, near in (("power", 1.0), ("current", 0.15), ("stored_energy", 0.03)):
        assert home.value(None, key) == pytest.approx(sum(home.value(address, key) for address in (2, 3, 4)), abs=near)
    assert home.value(None, "full_energy") == pytest.approx(400 * 51.2 / 1000, rel=0.01)
    assert home.value(None, "voltage") == pytest.approx(
        sum(home.value(address, "voltage") for address in (2, 3, 4)) / 3, abs=0.02
    )
    charge = sum(home.bank.packs[address].remaining_capacity for address in (2, 3, 4))
    assert home.value(None, "stored_energy") == pytest.approx(charge * 51.2 / 1000, rel=0.02)


async def test_the_lowest_and_the_highest_cell_are_named_with_their_pack(home: Home) -> None:
    """As the owner counts packs, and the cell within it."""
    await _mixed(home)
    lowest = {address: home.state(address, "cell_voltage_min") for address in (2, 3, 4)}
    address = min(lowest, key=lambda one: float(lowest[one].state))
    shown = home.state(None, "cell_voltage_min")
    assert shown.state == lowest[address].state
    assert shown.attributes["cell"] == lowest[address].attributes["cell"]
    assert shown.attributes["pack"] == home.link.packs[address].number == "3"
    assert home.state(None, "cell_voltage_max").attributes["pack"] == "1"
    assert home.value(None, "cell_voltage_spread") == pytest.approx(
        home.value(None, "cell_voltage_max") - home.value(None, "cell_voltage_min"), abs=0.0011
    )
    assert home.value(None, "voltage_spread") > 0


async def test_a_bank_with_a_silent_pack_has_no_sums_and_says_whom_it_leaves_out(home: Home) -> None:
    """A smaller total would be wrong; a state of charge of the others is right, as long as it says so."""
    await _mixed(home)
    home.bank.packs[4].silent = True
    await home.wait(5 * CYCLE)
    for key in (*_SUMS, "full_energy"):
        assert home.state(None, key).state == STATE_UNKNOWN, key
    soc = home.state(None, "soc")
    assert float(soc.state) == pytest.approx((2 * 80 + 50) / 3, abs=0.2)
    assert soc.attributes["counted"] == ["1", "2"]
    assert soc.attributes["left_out"] == ["3"]
    assert soc.attributes["left_out_reasons"] == ["silent"]
    assert home.value(None, "packs_online") == 2
    online = home.state(None, "packs_online").attributes
    assert (online["known"], online["missing"]) == (3, ["3"])
    assert home.state(None, "connectivity").state == STATE_ON
    assert home.state(None, "safe_to_act").state == STATE_OFF
    assert home.state(None, "problem").state == STATE_UNKNOWN
    assert home.state(None, "charge_allowed").state == STATE_ON
    home.bank.packs[4].silent = False
    await home.wait(5 * CYCLE)
    assert float(home.state(None, "power").state) == 0
    assert home.state(None, "safe_to_act").state == STATE_ON
    assert home.state(None, "problem").state == STATE_OFF


async def test_a_bank_of_which_nothing_answers_is_unavailable(home: Home) -> None:
    """Except for what says so, and for what is remembered."""
    await _mixed(home)
    home.speaker_silent(True)
    await home.wait(5 * CYCLE)
    for key in ("soc", "power", "cell_voltage_min", "soc_spread", "charging", "battery_low", "problem"):
        assert home.state(None, key).state == STATE_UNAVAILABLE, key
    assert home.state(None, "connectivity").state == STATE_OFF
    assert home.state(None, "safe_to_act").state == STATE_OFF
    assert home.state(None, "link").state == STATE_ON
    assert home.value(None, "packs_online") == 0


async def test_a_pack_whose_device_is_disabled_is_left_out_as_nobody_asks_it(home: Home) -> None:
    """It is not silent: it is not asked."""
    await _mixed(home)
    _set_disabled(home, 3, True)
    await home.wait(3 * CYCLE)
    soc = home.state(None, "soc")
    assert soc.attributes["left_out"] == ["2"]
    assert soc.attributes["left_out_reasons"] == ["unasked"]
    assert float(soc.state) == pytest.approx((2 * 80 + 20) / 3, abs=0.2)
    assert home.state(None, "power").state == STATE_UNKNOWN


async def test_a_problem_of_one_pack_is_one_of_the_bank_and_names_it(home: Home) -> None:
    """Also while another one does not answer."""
    await _mixed(home)
    assert home.state(None, "problem").state == STATE_OFF
    assert home.state(None, "problem").attributes["packs"] == []
    home.bank.packs[3].force(_HOT)
    home.bank.packs[4].silent = True
    await home.wait(5 * CYCLE)
    problem = home.state(None, "problem")
    assert problem.state == STATE_ON
    assert problem.attributes["packs"] == ["2"]
    assert problem.attributes["severity"] == "protection"
    assert "charge_overtemperature" in problem.attributes["conditions"]


async def test_a_bank_is_as_safe_to_act_on_as_its_packs(home: Home) -> None:
    """One broken pack is enough."""
    await _mixed(home)
    assert home.state(None, "safe_to_act").state == STATE_ON
    home.bank.packs[3].force(_BROKEN)
    await home.wait(2 * CYCLE)
    assert home.state(None, "safe_to_act").state == STATE_OFF


async def test_a_bank_is_low_and_charges_by_what_its_packs_come_to(home: Home) -> None:
    """With the same dead bands as a pack."""
    home.plug(
        {2: SimPack(PackSpec(serial="PPTLOW0000000002", soc=8)), 3: SimPack(PackSpec(serial="PPTLOW0000000003", soc=9))}
    )
    home.bank.profile = Steady(rate=0.1)
    await home.start()
    await home.wait(5 * CYCLE)
    assert home.state(None, "battery_low").state == STATE_ON
    assert home.state(None, "charging").state == STATE_ON


async def test_a_bank_says_how_long_until_it_is_full_or_at_its_floor(home: Home) -> None:
    """By the current of all packs; unknown while that changes its direction all the time."""
    home.plug(_packs(), options={CONF_SOC_FLOOR: 20})
    home.bank.profile = Steady(rate=-0.1)
    await home.start()
    await home.wait(600)
    left = (home.value(None, "soc") - 20) / 100 / 0.1
    assert home.value(None, "time_left") == pytest.approx(left, rel=0.1)
    assert home.state(None, "time_to_full").state == STATE_UNKNOWN
    home.bank.profile = Steady(rate=0.1)
    await home.wait(900)
    assert home.value(None, "time_to_full") == pytest.approx((100 - home.value(None, "soc")) / 100 / 0.1, rel=0.1)
    assert home.state(None, "time_left").state == STATE_UNKNOWN
    for rate in (-0.1, 0.1, -0.1):
        home.bank.profile = Steady(rate=rate)
        await home.wait(180)
    assert home.state(None, "time_left").state == home.state(None, "time_to_full").state == STATE_UNKNOWN


async def test_energy_of_a_bank_is_that_of_its_packs(hass: HomeAssistant, home: Home) -> None:
    """From where they were, and also after a restart."""
    home.plug(_packs())
    home.bank.profile = Steady(rate=0.2)
    await home.start()
    await home.wait(1200)
    for _ in range(2):
        for key in ("energy_charged", "energy_discharged"):  # the fullest pack charges the others a little
            total = sum(home.value(address, key) for address in (2, 3, 4))
            assert total > 0.1
            assert home.value(None, key) == pytest.approx(total, abs=0.04)
        await home.drive(hass.config_entries.async_unload(home.entry.entry_id))
        await home.start()
        await home.wait(60)


async def test_what_a_bank_says_itself_is_never_worked_out(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deye on CAN tells of the bank and of packs: its own values stand, with what only packs can tell beside them."""
    home = CanHome(hass, monkeypatch)
    home.plug_bus("deye_pcs", packs=3, inverter="deye", addresses=[1, 2, 3])
    await home.start()
    await home.wait(60)
    assert home.value(None, "soc") == pytest.approx(home.sent("soc"), abs=0.1)
    assert home.value(None, "voltage") == pytest.approx(home.sent("voltage"), abs=0.1)
    assert "counted" not in home.state(None, "soc").attributes
    assert home.value(None, "packs_online") == 3
    entities = home.entities(home.bank_device())
    assert {"soc_spread", "voltage_spread", "problem", "safe_to_act"} <= set(entities)
    assert len(entities) == len({entry.entity_id for entry in entities.values()})
    # counted once by default: as they are heard
    assert (entities["packs_online"].disabled, entities["modules_online"].disabled) == (False, True)
    await home.stop()


async def test_a_bank_that_speaks_is_not_safe_to_act_on_while_a_pack_is_silent(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it says of the others; one whose device is disabled is not missed."""
    home = CanHome(hass, monkeypatch)
    home.plug_bus("deye_pcs", packs=3, inverter="deye", addresses=[1, 2, 3])
    await home.start()
    await home.wait(60)
    assert home.state(None, "safe_to_act").state == STATE_ON
    home.link.packs[2].data = replace(home.link.packs[2].data, online=False)
    home.link.packs[2].answering = False
    home.link.bank.async_renew()
    await hass.async_block_till_done()
    assert home.state(None, "connectivity").state == STATE_ON
    assert home.state(None, "safe_to_act").state == STATE_OFF
    await home.wait(30)
    assert home.state(None, "safe_to_act").state == STATE_ON
    _set_disabled(home, 2, True)
    await home.wait(60)
    assert not home.link.packs[2].online
    assert home.state(None, "safe_to_act").state == STATE_ON
    await home.stop()
