"""What the sensors of a pack show, and when they are written."""

from unittest.mock import patch

from homeassistant.const import STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import Event, EventStateChangedData, EventStateReportedData, HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.entity import Entity
import pytest
from syrupy.assertion import SnapshotAssertion

from custom_components.lfp_battery.bms.model import PackState, PollReport
from custom_components.lfp_battery.const import CONF_INVERT_CURRENT, CONF_SOC_FLOOR
from tests.home import CYCLE, Home
from tests.simulator.bank import Steady
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pylon import Profile

_ON = {
    *("soc", "voltage", "current", "power", "stored_energy", "temperature", "time_left", "soh", "mode"),
    *("time_to_full", "last_full_charge"),
    *("cell_voltage_min", "cell_voltage_max", "cell_voltage_spread", "energy_charged", "energy_discharged"),
    *(
        "battery_low",
        "charging",
        "problem",
        "charge_allowed",
        "discharge_allowed",
        "heater",
        "connectivity",
        "safe_to_act",
    ),
    *("overvoltage", "undervoltage", "short_circuit", "charge_overtemperature", "charge_undertemperature"),
    "charging_blocked_by_cold",
    *("discharge_overtemperature", "discharge_undertemperature"),
}


def _steady(home: Home, rate: float) -> None:
    """Let the house want the same from now on; `rate` is the share of the capacity an hour, positive = charging."""
    home.bank.profile = Steady(rate=rate)


async def test_every_value_is_one_that_the_pack_sent(home: Home) -> None:
    """No sensor shows what was not on the wire."""
    home.plug(3)
    await home.start()
    await home.wait(6 * CYCLE)
    for address in (2, 3, 4):
        sent = home.speaker.latest(address)
        assert home.value(address, "voltage") == pytest.approx(sent["voltage"], abs=0.01)
        assert home.value(address, "current") == sent["current"]
        assert home.value(address, "power") == pytest.approx(sent["voltage"] * sent["current"], abs=0.06)
        share = sent["remaining_capacity"] / sent["full_capacity"]
        assert home.value(address, "soc") == pytest.approx(100 * share, abs=0.06)
        cells = sent["cell_voltages"]
        assert home.value(address, "cell_voltage_min") == pytest.approx(min(cells), abs=0.002)
        assert home.value(address, "cell_voltage_max") == pytest.approx(max(cells), abs=0.002)
        listed = home.state(address, "cell_voltage_spread").attributes["cell_voltages"]
        assert listed == pytest.approx(list(cells), abs=0.01)
        assert home.value(address, "stored_energy") == pytest.approx(
            sent["remaining_capacity"] * 51.2 / 1000, abs=0.011
        )
        assert home.state(address, "charge_allowed").state == ("on" if sent["charge_enabled"] else "off")


async def test_only_what_is_of_everyday_use_is_on(home: Home) -> None:
    """Cells, further temperatures, limits and the rarer conditions wait until somebody wants them."""
    home.plug(1)
    await home.start()
    entities = home.entities(home.device(2))
    enabled = {key for key, entry in entities.items() if entry.disabled_by is None}
    assert enabled <= _ON
    assert {"soc", "power", "cell_voltage_spread", "energy_charged", "safe_to_act", "overvoltage"} <= enabled
    disabled = set(entities) - enabled
    assert {f"cell_{number}_voltage" for number in range(1, 17)} <= disabled
    assert {"full_energy", "unobserved"} <= disabled
    assert {"cycles", "remaining_capacity", "charge_current_limit", "data_age", "link_quality", "held_back"} <= disabled


@pytest.mark.parametrize("speaks", [Profile.C])
async def test_all_entities_of_a_pack(
    hass: HomeAssistant, home: Home, speaks: Profile, snapshot: SnapshotAssertion
) -> None:
    """One pack with everything enabled, as the home sees it."""
    home.plug({2: SimPack(PackSpec(serial="PPTSNAPSHOT00002", seed=1))}, speaks=speaks)
    home.bank.frozen = True
    with patch.object(Entity, "entity_registry_enabled_default", True):
        await home.start()
    for device in (home.bank_device(), home.device(2)):
        for entry in sorted(home.entities(device).values(), key=lambda entry: entry.entity_id):
            assert entry == snapshot(name=f"{entry.entity_id}-entry")
            assert hass.states.get(entry.entity_id) == snapshot(name=f"{entry.entity_id}-state")


async def test_a_bank_that_speaks_for_itself_is_one_device(home: Home) -> None:
    """V3.5: no packs, the same sensors on the bank."""
    home.plug(3, speaks=Profile.V35, protocol="pylon-rs485-v35", addresses=[2])
    await home.start()
    await home.wait()
    sent = home.speaker.latest(None)
    assert home.link.packs == {}
    assert home.value(None, "voltage") == pytest.approx(sent["voltage"], abs=0.001)
    assert home.value(None, "soc") == pytest.approx(sent["soc"], abs=0.1)
    assert home.value(None, "cell_voltage_max") == pytest.approx(sent["cell_voltage_max"], abs=0.002)
    assert home.state(None, "link").state == home.state(None, "connectivity").state == "on"
    assert "packs_online" not in home.entities(home.bank_device())
    home.speaker_silent(True)
    await home.wait(5 * CYCLE)
    assert home.state(None, "soc").state == STATE_UNAVAILABLE
    assert home.state(None, "connectivity").state == "off"
    assert home.state(None, "link").state == "on"
    await home.update_entity(home.entity_id(None, "soc"))
    home.speaker_silent(False)
    await home.update_entity(home.entity_id(None, "soc"))
    assert home.state(None, "soc").state != STATE_UNAVAILABLE


async def test_integrated_values_are_reported_every_cycle_and_others_only_when_they_changed(
    hass: HomeAssistant, home: Home
) -> None:
    """A bank at rest: power, current, voltage and SOC are reported, nothing else is written."""
    home.plug(1)
    home.bank.frozen = True
    await home.start()
    await home.wait(3 * CYCLE)
    written: list[str] = []

    @callback
    def note(event: Event[EventStateChangedData] | Event[EventStateReportedData]) -> None:
        written.append(event.data["entity_id"])

    for kind in ("state_changed", "state_reported"):
        hass.bus.async_listen(kind, note, event_filter=callback(lambda data: True))
    await home.wait(100)
    ours = {key: entry.entity_id for key, entry in home.entities(home.device(2)).items()}
    for key in ("soc", "voltage", "current", "power"):
        assert written.count(ours[key]) == 10
    assert set(written) == {ours[key] for key in ("soc", "voltage", "current", "power")}


async def test_energy_is_what_flowed(home: Home) -> None:
    """An hour at a steady current, against the power that was on the wire."""
    home.plug(1)
    _steady(home, 0.2)
    await home.start()
    await home.wait(60)
    charged, began = home.value(2, "energy_charged"), home.clock.monotonic()
    power = []
    for _ in range(60):
        await home.wait(60)
        power.append(home.value(2, "power"))
    expected = sum(power) / len(power) * (home.clock.monotonic() - began) / 3_600_000
    assert expected > 0.5
    assert home.value(2, "energy_charged") - charged == pytest.approx(expected, rel=0.02)
    assert home.value(2, "energy_discharged") == 0


async def test_a_battery_that_counts_its_energy_is_believed(home: Home) -> None:
    """Its counter is the total from the beginning, and neither a gap nor our own sums add to it."""
    home.plug(1)
    await home.start()
    link = home.link
    known = link.packs[2].data
    for received, counter in ((1000.0, 3000.0), (5000.0, 3004.5)):
        state = PackState(address=9, power=500.0, energy_charged=counter)
        link.pack_polled(PollReport(address=9, state=state, online=True, received=received, identity=known.identity))
        await home.hass.async_block_till_done()
    assert home.value(9, "energy_charged") == 3004.5


def _feed(home: Home, received: float, **values: float | None) -> None:
    """Let a pack at address 9 answer with these values."""
    state = PackState(address=9, **values)  # type: ignore[arg-type]
    identity = home.link.packs[2].data.identity
    home.link.pack_polled(PollReport(address=9, state=state, online=True, received=received, identity=identity))


async def test_a_stretch_of_unknown_power_is_not_bridged(home: Home) -> None:
    """The pack answers, but not with its power: no energy is made up for that time."""
    home.plug(1)
    await home.start()
    for received, power in ((1000.0, 3600.0), (1010.0, None), (1050.0, None), (1055.0, 3600.0), (1065.0, 3600.0)):
        _feed(home, received, power=power)
    assert home.link.packs[9].account.charged == pytest.approx(0.01)
    assert home.link.packs[9].account.unobserved == 55.0


async def test_an_inverted_nought_has_no_sign(home: Home) -> None:
    """A pack at rest shows 0.0, not -0.0."""
    home.plug(1, options={CONF_INVERT_CURRENT: True})
    await home.start()
    _feed(home, 1000.0, current=0.0, power=0.0)
    await home.hass.async_block_till_done()
    assert home.state(9, "current").state == home.state(9, "power").state == "0.0"


async def test_lists_stay_out_of_the_recorder(hass: HomeAssistant, home: Home) -> None:
    """Sixteen voltages each time one of them moves would fill a database."""
    home.plug(1)
    with patch.object(Entity, "entity_registry_enabled_default", True):
        await home.start()
    for key, attributes in (("cell_voltage_spread", {"cell_voltages"}), ("held_back", {"values", "reasons"})):
        state = home.state(2, key)
        assert attributes <= set(state.attributes)
        assert state.state_info is not None
        assert attributes <= state.state_info["unrecorded_attributes"]


async def test_an_inverted_current_swaps_the_energy_meters(home: Home) -> None:
    """Option for a sensor that was built in the other way round; nothing else changes."""
    home.plug(1, options={CONF_INVERT_CURRENT: True})
    _steady(home, 0.2)
    await home.start()
    await home.wait(600)
    sent = home.speaker.latest(2)
    assert sent["current"] > 0
    assert home.value(2, "current") == -sent["current"]
    assert home.value(2, "power") < 0
    assert home.value(2, "energy_discharged") > 0.05
    assert home.value(2, "energy_charged") == 0
    assert home.state(2, "charging").state == "off"


async def test_time_left_reckons_to_the_floor_and_only_while_discharging(home: Home) -> None:
    """Hours until the charge has sunk to the floor that the owner set."""
    home.plug({2: SimPack(PackSpec(soc=60))}, options={CONF_SOC_FLOOR: 20})
    _steady(home, -0.2)
    await home.start()
    await home.wait(900)
    drawn = 900 / 3600
    assert home.value(2, "time_left") == pytest.approx(0.4 / 0.2 - drawn, rel=0.05)
    _steady(home, 0.2)
    await home.wait(900)
    assert home.state(2, "time_left").state == STATE_UNKNOWN


async def test_the_manual_of_the_chosen_model_fills_in_the_device(home: Home) -> None:
    """What a person chose names the device; what the pack says of itself stands beside it."""
    home.plug({2: SimPack(PackSpec(serial="PPTMODEL00000002"))}, model="ES51.2-100LP")
    await home.start()
    device = home.device(2)
    assert device.model == "ES51.2-100LP"
    assert device.serial_number == "PPTMODEL00000002"
    assert device.manufacturer is not None
    assert device.via_device_id == home.bank_device().id
    assert device.name == "Bank pack 1"


async def test_packs_are_counted_as_their_owner_does(home: Home) -> None:
    """From 1 in each group, whatever the addresses are."""
    home.plug({2: SimPack(PackSpec(serial="PPTFIRST00000002")), 0x12: SimPack(PackSpec(serial="PPTFIRST00000018"))})
    await home.start()
    assert home.device(2).name == "Bank pack 1"
    assert home.device(0x12).name == "Bank pack 2-1"


@pytest.mark.parametrize(("other", "shared"), [("SIM5000C", "SIM5000C"), ("SIM3000C", None)])
async def test_the_bank_is_called_what_all_its_packs_are_called(home: Home, other: str, shared: str | None) -> None:
    """Of what they do not share it says nothing."""
    home.plug(
        {
            2: SimPack(PackSpec(serial="PPTSHARED0000002")),
            0x12: SimPack(PackSpec(serial="PPTSHARED0000018", model=other)),
        }
    )
    await home.start()
    await home.wait()
    assert home.device(2).model == "SIM5000C"
    assert home.device(0x12).model == other
    assert home.bank_device().model == shared
    assert home.bank_device().manufacturer == "Pylon"


async def test_a_pack_that_does_not_say_its_model_is_listed_by_that_of_its_bank(home: Home) -> None:
    """Only a master tells it; by its firmware alone nobody knows a pack."""
    home.plug(2)
    await home.start()
    await home.wait()
    assert home.link.packs[3].record.model is None
    assert home.device(3).model == home.device(2).model == "SIM5000C"


async def test_nothing_is_complained_about(hass: HomeAssistant, home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """A home with this integration has no warning, no error and no issue more than without."""
    home.plug(2)
    with patch.object(Entity, "entity_registry_enabled_default", True):
        await home.start()
    await home.wait(5 * CYCLE)
    # how long a step of the loop took is the machine's affair here, and figures come from scripts/bench
    complaints = [r for r in caplog.records if r.levelname in ("WARNING", "ERROR") and r.name != "asyncio"]
    ours = [r for r in complaints if "lfp" in r.getMessage() + r.name]
    assert [r.getMessage() for r in ours if "has not been tested by Home Assistant" not in r.getMessage()] == []
    assert not ir.async_get(hass).issues
