"""A bank over its packs where no round says who answers: polling disabled, a bus, a line on which somebody else asks."""

from homeassistant.const import STATE_OFF, STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
import pytest

from custom_components.lfp_battery.const import CONF_OBSERVE
from tests.can_home import CanHome
from tests.home import CYCLE, Home
from tests.simulator.bus import SecondMaster
from tests.simulator.pylon_wire import request


async def _without_polling(hass: HomeAssistant, home: Home) -> None:
    home.plug(3)
    await home.start()
    await home.wait(CYCLE)
    await home.drive(hass.config_entries.async_unload(home.entry.entry_id))
    hass.config_entries.async_update_entry(home.entry, pref_disable_polling=True)


async def test_the_charge_follows_the_packs_that_answer_when_the_bank_is_read_again(
    hass: HomeAssistant, home: Home
) -> None:
    """One went: the charge of three does not stand for that of two, nor after the third came back."""
    await _without_polling(hass, home)
    assert await home.start()
    soc = home.entity_id(None, "soc")
    for pack in home.bank.packs.values():
        pack.set_soc(80)
    home.bank.frozen = True
    await home.update_entity(soc)
    home.bank.packs[4].silent = True
    for _ in range(4):
        await home.wait(600)
        await home.update_entity(soc)
    for pack in home.bank.packs.values():
        pack.set_soc(15)
    await home.wait(600)
    await home.update_entity(soc)
    shown = home.state(None, "soc")
    assert float(shown.state) == pytest.approx(15, abs=0.2)
    assert shown.attributes["counted"] == ["1", "2"]
    home.bank.packs[4].silent = False
    await home.wait(600)
    await home.update_entity(soc)
    assert home.state(None, "soc").attributes["counted"] == ["1", "2", "3"]


async def test_packs_that_are_read_one_by_one_make_a_bank_although_one_sleeps(hass: HomeAssistant, home: Home) -> None:
    """Each was asked: then it is known who answers, and the energy begins."""
    await _without_polling(hass, home)
    home.bank.packs[4].silent = True
    assert await home.start()
    for address in (2, 3):
        await home.update_entity(home.entity_id(address, "soc"))
    assert home.state(None, "soc").state == STATE_UNAVAILABLE
    for _ in range(2):
        for address in (4, 2, 3):
            await home.update_entity(home.entity_id(address, "soc"))
        await home.wait(20)
    assert home.state(None, "soc").attributes["left_out"] == ["3"]
    assert home.state(None, "energy_charged").state not in (STATE_UNAVAILABLE, STATE_UNKNOWN)
    assert home.state(None, "safe_to_act").state == STATE_OFF


async def test_a_pack_that_is_missing_on_a_bus_holds_nothing_up(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked there, so that nobody is said to be silent."""
    home = CanHome(hass, monkeypatch)
    home.plug_bus("deye_pcs", packs=3, inverter="deye")
    await home.start()
    await home.wait(60)
    await home.drive(hass.config_entries.async_unload(home.entry.entry_id))
    del home.bank.packs[3]
    await home.start()
    await home.wait(150)
    assert home.value(None, "packs_online") == 2
    assert home.state(None, "charge_allowed").state not in (STATE_UNAVAILABLE, STATE_UNKNOWN)
    assert home.value(None, "soc_spread") >= 0
    await home.drive(hass.config_entries.async_unload(home.entry.entry_id))


async def test_the_pack_that_a_master_asks_most_does_not_stand_for_the_bank(hass: HomeAssistant, home: Home) -> None:
    """It is a low one: the bank is not said to be low while the others are waited for."""
    home.plug(4, options={CONF_OBSERVE: True}, **{CONF_OBSERVE: True})
    home.bank.frozen = True
    home.bank.packs[2].set_soc(12)
    for address in (3, 4, 5):
        home.bank.packs[address].set_soc(80)
    asked = [request(address, 0x42) for other in (3, 4, 5) for address in (2, 2, 2, 2, other)]
    home.bus.add_master(SecondMaster(requests=asked, period=5.0, first=0.1))
    assert await home.start()
    await home.wait(300)
    assert home.value(None, "soc") == pytest.approx(63, abs=0.5)
    await home.drive(hass.config_entries.async_unload(home.entry.entry_id))
    await home.wait(13)
    assert await home.start()
    for _ in range(30):
        await home.wait(5)
        if (shown := home.state(None, "soc").state) != STATE_UNAVAILABLE:
            assert float(shown) == pytest.approx(63, abs=0.5)
    assert home.value(None, "soc") == pytest.approx(63, abs=0.5)
