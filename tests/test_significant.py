"""How far a value has to move before it is shown, and that nothing an automation counts on waits for that."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
import pytest

from custom_components.lfp_battery.bms.model import PollReport
from tests.home import CYCLE, Home
from tests.simulator.bank import Steady
from tests.simulator.pack import PackSpec, SimPack


async def _silent_home(home: Home) -> None:
    """One pack at rest, which from now on says only what the test lets it."""
    home.plug({2: SimPack(PackSpec(soc=50))})
    home.bank.profile = Steady()
    await home.start()
    home.link.client.set_polling(False)
    await home.quiet()


async def _says(home: Home, **values: Any) -> None:
    """The pack answers with these values, and else as before."""
    pack = home.link.packs[2]
    await home.wait(1)
    report = PollReport(
        address=2,
        state=replace(pack.state, **values),
        identity=pack.data.identity,
        online=True,
        received=home.clock.monotonic(),
    )
    home.link.pack_polled(report)
    await home.hass.async_block_till_done()


async def _shown(home: Home, key: str, name: str, *values: float) -> list[float]:
    """What a sensor shows after each of these values."""
    shown = []
    for value in values:
        await _says(home, **{name: value})
        shown.append(home.value(2, key))
    return shown


async def test_a_voltage_moves_by_ten_millivolts(home: Home) -> None:
    """However slowly it gets there: it is never further off than that."""
    await _silent_home(home)
    said = [52.0, 52.004, 52.008, 52.0101, 52.015, 52.0001]
    assert await _shown(home, "voltage", "voltage", *said) == [52.0, 52.0, 52.0, 52.01, 52.01, 52.0]


@pytest.mark.parametrize("name", ["current", "power"])
async def test_a_flow_is_shown_as_it_is(home: Home, name: str) -> None:
    """The least there is, its end, and a change of direction, with the answer that brings them."""
    await _silent_home(home)
    said = [0.1, 0.0, -0.1, 0.1, 0.2, 0.0]
    assert await _shown(home, name, name, *said) == said


async def test_a_bank_adds_up_what_its_packs_resolve(hass: HomeAssistant, home: Home) -> None:
    """Its energies move by a hundredth of a kilowatt-hour a pack, as theirs do: not each time that one of theirs does."""
    home.plug({address: SimPack(PackSpec(seed=address, soc=50)) for address in (2, 3, 4)})
    home.bank.profile = Steady(rate=0.3)
    await home.start()
    keys = ("stored_energy", "energy_charged")
    steps: dict[str, list[float]] = {home.entity_id(at, key): [] for at in (None, 2) for key in keys}

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        old, new = event.data["old_state"], event.data["new_state"]
        if event.data["entity_id"] in steps and old is not None and new is not None and old.state != new.state:
            steps[event.data["entity_id"]].append(float(new.state) - float(old.state))

    await home.wait(2 * CYCLE)
    hass.bus.async_listen("state_changed", note)
    await home.wait(600)
    for key in keys:
        assert min(steps[home.entity_id(None, key)]) >= 0.0299
        assert 0.0099 <= min(steps[home.entity_id(2, key)]) < 0.02
        assert home.value(None, key) == pytest.approx(sum(home.value(at, key) for at in (2, 3, 4)), abs=0.06)


async def test_a_list_of_cells_is_a_row_of_its_own_only_when_one_moved_far(home: Home) -> None:
    """It is not recorded itself: written with the spread, and alone from ten millivolts on."""
    await _silent_home(home)

    async def listed(*cells: float) -> tuple[float, float]:
        await _says(home, cell_voltages=cells)
        state = home.state(2, "cell_voltage_spread")
        return float(state.state), state.attributes["cell_voltages"][0]

    rest = (3.3,) * 15
    assert await listed(3.300, *rest) == (0.0, 3.300)
    assert await listed(3.304, *(3.304,) * 15) == (0.0, 3.300)
    assert await listed(3.310, *(3.310,) * 15) == (0.0, 3.310)
    assert await listed(3.313, *(3.310,) * 15) == (0.003, 3.313)


async def test_time_is_shown_in_hours_with_its_minutes(home: Home) -> None:
    """Half an hour is half an hour and not none: the registry is given the digits that hours need."""
    home.plug({2: SimPack(PackSpec(soc=90))})
    home.bank.profile = Steady(rate=0.25)
    await home.start()
    await home.wait(60)
    assert home.value(2, "time_to_full") == pytest.approx(0.4, abs=0.03)
    for key in ("time_to_full", "time_left"):
        options = home.entities(home.device(2))[key].options
        assert options["sensor"]["suggested_display_precision"] == 2
        assert options["sensor.private"]["suggested_unit_of_measurement"] == "h"


async def test_time_moves_by_a_twentieth_of_it(home: Home) -> None:
    """A span of hours that changes with each cloud is written for nothing, and is never further off than that."""
    home.plug({2: SimPack(PackSpec(soc=50))})
    home.bank.profile = Steady(rate=0.2)
    await home.start()
    await home.wait(60)
    seen = {home.value(2, "time_to_full")}
    for _ in range(60):
        await home.wait(60)
        seen.add(home.value(2, "time_to_full"))
        truth = (100 - home.value(2, "soc")) / 100 / 0.2
        shown = home.value(2, "time_to_full")
        assert shown == pytest.approx(truth, abs=0.05 * shown + 1.5 / 60)
    steps = [(high - low) / high for low, high in pairwise(sorted(seen))]
    assert 5 < len(steps) < 15
    assert min(steps) >= 0.05 - 1e-6
