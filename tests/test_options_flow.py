"""What can be set without asking the battery."""

from collections.abc import AsyncGenerator
from typing import Any

from homeassistant.config_entries import ConfigEntry, ConfigEntryState
from homeassistant.const import CONF_MODEL, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData
import pytest

from custom_components.lfp_battery import connect
from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.physics import Limits
from custom_components.lfp_battery.const import (
    CONF_ALLOW_HEATING,
    CONF_HEATING,
    CONF_HOLD,
    CONF_INTERVAL,
    CONF_INVERT_CURRENT,
    CONF_LOW_BATTERY,
    CONF_PACK_COUNT,
    CONF_SOC_FLOOR,
    DEFAULT_SOC_FLOOR,
    NO_MODEL,
)
from custom_components.lfp_battery.settings import Settings
from tests.flow_line import FlowLine, readable, suggested
from tests.radio_line import ADDRESS, RadioLine
from tests.simulator.modbus import ModbusSpeaker
from tests.simulator.modbus_growatt import Dialect, GrowattMap
from tests.simulator.pack import PackSpec, SimPack


@pytest.fixture
async def air(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[RadioLine]:
    """A proxy in a simulated air; every entry is unloaded at the end."""
    line = RadioLine(hass, monkeypatch)
    await line.start()
    yield line
    await line.stop()


async def _open(hass: HomeAssistant, entry: ConfigEntry) -> Any:
    return readable(await hass.config_entries.options.async_init(entry.entry_id), "options")


async def _send(line: FlowLine, form: Any, sent: dict[str, Any]) -> Any:
    return await line.drive(line.hass.config_entries.options.async_configure(form["flow_id"], sent))


async def test_options_are_kept_whole_and_take_effect_at_once(hass: HomeAssistant, line: FlowLine) -> None:
    """Numbers become whole ones, and the link runs anew with them."""
    bus = line.plug()
    entry = await line.add()
    opened = bus.port.opened
    sent = {CONF_INTERVAL: 30.0, CONF_LOW_BATTERY: 15.0, CONF_SOC_FLOOR: 20.0, CONF_INVERT_CURRENT: True}
    result = await _send(line, await _open(hass, entry), sent)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await line.settle()
    expected = {CONF_INTERVAL: 30, CONF_LOW_BATTERY: 15, CONF_SOC_FLOOR: 20, CONF_INVERT_CURRENT: True}
    assert entry.options == {CONF_MODEL: NO_MODEL, **expected}
    assert isinstance(entry.options[CONF_INTERVAL], int)
    assert entry.state is ConfigEntryState.LOADED
    assert bus.port.opened == opened + 1


async def test_an_empty_interval_means_as_fast_as_the_line_allows(hass: HomeAssistant, line: FlowLine) -> None:
    """Emptying a field takes the option away, and the form shows it empty again."""
    line.plug()
    entry = await line.add()
    result = await _send(line, await _open(hass, entry), {CONF_INTERVAL: 60, CONF_SOC_FLOOR: 10})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    form = await _open(hass, entry)
    shown = {str(name): name.description for name in form["data_schema"].schema}
    assert shown[CONF_INTERVAL] == {"suggested_value": 60}

    result = await _send(line, form, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options == {CONF_MODEL: NO_MODEL, CONF_SOC_FLOOR: DEFAULT_SOC_FLOOR, CONF_INVERT_CURRENT: False}
    form = await _open(hass, entry)
    assert {str(name): name.description for name in form["data_schema"].schema}[CONF_INTERVAL] is None


def _model(form: Any) -> tuple[str, list[str]]:
    """What the form has as the model, and the choices."""
    field, selector = next((name, kind) for name, kind in form["data_schema"].schema.items() if name == CONF_MODEL)
    return field.default(), [option["value"] for option in selector.config["options"]]


async def test_the_model_that_was_chosen_at_first_can_be_changed_and_taken_back(
    hass: HomeAssistant, line: FlowLine
) -> None:
    """The choice made last counts for everything that the manual says; none of the list is a choice, too."""
    line.plug(packs={2: SimPack(PackSpec(serial="HMODEL00000001"))})
    result = await line.submit(await line.scan(), {CONF_MODEL: "ES51.2-100LP"})
    entry = result["result"]
    form = await _open(hass, entry)
    chosen, choices = _model(form)
    assert chosen == "ES51.2-100LP"
    assert choices[0] == NO_MODEL
    assert "ES25.6-100LP" not in choices  # of 8 cells

    assert (await _send(line, form, {CONF_MODEL: "ES51.2-230LP"}))["type"] is FlowResultType.CREATE_ENTRY
    settings = Settings.of(entry.data, entry.options)
    assert settings.model == "ES51.2-230LP"
    assert settings.limits is not None
    assert settings.limits.capacity == 230.0

    form = await _open(hass, entry)
    assert suggested(form, CONF_MODEL) == "ES51.2-230LP"
    assert (await _send(line, form, {CONF_MODEL: NO_MODEL}))["type"] is FlowResultType.CREATE_ENTRY
    settings = Settings.of(entry.data, entry.options)
    assert (settings.model, settings.limits) == (None, None)
    assert _model(await _open(hass, entry))[0] == NO_MODEL
    await line.settle()


@pytest.mark.parametrize(
    ("count", "model", "error"),
    [(2.5, NO_MODEL, "not_whole"), (64, "ES51.2-100LP", "too_many_packs"), (64, NO_MODEL, None)],
)
async def test_a_number_of_packs_that_cannot_be_is_asked_for_again(
    hass: HomeAssistant, line: FlowLine, count: float, model: str, error: str | None
) -> None:
    """Whole, and as many as the manual of the model allows; what else was filled in stays."""
    line.plug(packs=2, speaks=lambda bank: ModbusSpeaker(bank, GrowattMap(Dialect.ZT)), first=1)
    entry = await line.add()
    sent = {CONF_PACK_COUNT: count, CONF_MODEL: model, CONF_SOC_FLOOR: 25}
    result = await _send(line, await _open(hass, entry), sent)
    if error is not None:
        assert readable(result, "options")["errors"] == {CONF_PACK_COUNT: error}
        assert suggested(result, CONF_PACK_COUNT) == count
        assert suggested(result, CONF_SOC_FLOOR) == 25
        result = await _send(line, result, {**sent, CONF_PACK_COUNT: 2.0})
    assert entry.options[CONF_PACK_COUNT] == (64 if error is None else 2)
    await line.settle()


async def test_the_link_runs_with_the_limits_of_the_model_chosen_last(
    hass: HomeAssistant, line: FlowLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changing the model in the settings reaches the client."""
    seen: list[Limits | None] = []

    class Watched(PolledClient):
        def __init__(self, *args: Any, limits: Limits | None, **kwargs: Any) -> None:
            seen.append(limits)
            super().__init__(*args, limits=limits, **kwargs)

    monkeypatch.setattr(connect, "PolledClient", Watched)
    line.plug()
    entry = await line.add()
    await _send(line, await _open(hass, entry), {CONF_MODEL: "ES51.2-230LP"})
    await line.settle()
    assert seen == [None, Limits(cells=16, capacity=230.0, current=200.0)]


async def test_a_model_that_no_longer_fits_is_shown_and_can_be_kept(hass: HomeAssistant, line: FlowLine) -> None:
    """Cells that were counted later do not make a choice vanish; where nothing fits and nothing is chosen, none is asked."""
    line.plug(packs={2: SimPack(PackSpec(cells=15, serial="H15CELL0000001"))})
    entry = await line.add()
    form = await _open(hass, entry)
    assert CONF_MODEL not in form["data_schema"].schema
    hass.config_entries.options.async_abort(form["flow_id"])
    hass.config_entries.async_update_entry(entry, options={CONF_MODEL: "V5°"})
    form = await _open(hass, entry)
    assert _model(form) == ("V5°", [NO_MODEL, "V5°"])
    assert (await _send(line, form, {}))["data"][CONF_MODEL] == "V5°"
    await line.settle()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (CONF_INTERVAL, 9),
        (CONF_INTERVAL, 301),
        (CONF_INTERVAL, "soon"),
        (CONF_LOW_BATTERY, 0),
        (CONF_LOW_BATTERY, 91),
        (CONF_SOC_FLOOR, -1),
    ],
)
async def test_what_makes_no_sense_is_refused_at_its_field(
    hass: HomeAssistant, line: FlowLine, field: str, value: object
) -> None:
    """Out of range or of the wrong kind; the options stay as they were, and a better value is taken."""
    line.plug()
    entry = await line.add()
    form = await _open(hass, entry)
    with pytest.raises(InvalidData) as caught:
        await _send(line, form, {field: value})
    assert list(caught.value.schema_errors) == [field]
    assert entry.options == {}
    result = await _send(line, form, {CONF_SOC_FLOOR: 5})
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_the_number_of_packs_can_be_changed_where_it_matters(hass: HomeAssistant, line: FlowLine) -> None:
    """A pack that was added makes the capacity wrap anew."""
    line.plug(packs=2, speaks=lambda bank: ModbusSpeaker(bank, GrowattMap(Dialect.ZT)), first=1)
    entry = await line.add()
    assert (await _send(line, await _open(hass, entry), {CONF_PACK_COUNT: 4.0}))["data"][CONF_PACK_COUNT] == 4
    await line.settle()
    assert Settings.of(entry.data, entry.options).packs == 4
    assert suggested(await _open(hass, entry), CONF_PACK_COUNT) == 4


# --- over Bluetooth --------------------------------------------------------------------------------------------------


def _fields(form: Any) -> list[str]:
    return [str(name) for name in form["data_schema"].schema]


async def test_the_options_of_a_pack_over_bluetooth_are_its_own(hass: HomeAssistant, air: RadioLine) -> None:
    """Heating and connection are asked about, what belongs to a shared line is not; nothing is heard of an app."""
    await air.pack()
    entry = await air.add_pack()
    form = await _open(hass, entry)
    assert form["step_id"] == "bluetooth"
    assert _fields(form) == [
        *(CONF_MODEL, CONF_INTERVAL, CONF_LOW_BATTERY, CONF_SOC_FLOOR),
        *(CONF_INVERT_CURRENT, CONF_ALLOW_HEATING, CONF_HOLD),
    ]
    assert form["description_placeholders"]["withdrawn"] == ""
    result = await _send(air, form, {CONF_INTERVAL: 60.0, CONF_ALLOW_HEATING: True, CONF_HOLD: False})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await air.settle(20)
    assert entry.state is ConfigEntryState.LOADED
    assert entry.options[CONF_INTERVAL] == 60
    settings = Settings.of(entry.data, entry.options)
    assert settings.allow_heating
    assert not settings.hold
    assert not air.air.connections  # between two readings
    form = await _open(hass, entry)
    assert suggested(form, CONF_ALLOW_HEATING) is True
    assert suggested(form, CONF_HOLD) is False


async def test_without_options_the_connection_is_held_and_the_heating_left_alone(air: RadioLine) -> None:
    """What nobody decided."""
    await air.pack()
    entry = await air.add_pack()
    settings = Settings.of(entry.data, entry.options)
    assert settings.hold
    assert not settings.allow_heating
    await air.settle(20)
    assert list(air.air.connections) == [ADDRESS]


async def test_what_cannot_be_done_is_not_asked(hass: HomeAssistant, air: RadioLine) -> None:
    """A pack that does not say how its heating is set; what was decided before is kept all the same."""
    await air.pack(registers=39)
    entry = await air.add_pack()
    hass.config_entries.async_update_entry(entry, options={CONF_ALLOW_HEATING: True})
    form = await _open(hass, entry)
    assert CONF_ALLOW_HEATING not in _fields(form)
    await _send(air, form, {CONF_HOLD: True})
    assert entry.options[CONF_ALLOW_HEATING] is True


async def test_a_command_that_was_withdrawn_is_said_to_be(hass: HomeAssistant, air: RadioLine) -> None:
    """And not allowed by an option that says yes; without it no repair is there that it could point at."""
    await air.pack()
    entry = await air.add_pack(allow_heating=True)
    data = {**entry.data, CONF_HEATING: {"1": {"withdrawn": "refused"}}}
    hass.config_entries.async_update_entry(entry, data=data)
    form = await _open(hass, entry)
    assert "Under Settings > Repairs it says" in form["description_placeholders"]["withdrawn"]
    assert not Settings.of(entry.data, entry.options).allow_heating
    hass.config_entries.async_update_entry(entry, options={CONF_ALLOW_HEATING: False})
    note = (await _open(hass, entry))["description_placeholders"]["withdrawn"]
    assert note.startswith("**If you allow it again")
    assert "Settings > Repairs" not in note


async def test_a_model_of_unknown_radio_is_unverified_wherever_it_is_chosen(air: RadioLine) -> None:
    """Over Bluetooth only: on a cable its manual says how it is read."""
    await air.pack()
    entry = await air.add_pack()
    options = {CONF_MODEL: "ML314-51.2-W08"}
    assert Settings.of(entry.data, options).model == "ML314-51.2-W08 (unverified)"
    on_cable = {**entry.data, CONF_PROTOCOL: "eg4ll-zt-native"}
    assert Settings.of(on_cable, options).model == "ML314-51.2-W08"
