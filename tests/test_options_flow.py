"""What can be set without asking the battery."""

from collections.abc import AsyncGenerator
from typing import Any

from homeassistant.config_entries import ConfigEntry, ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData
import pytest

from custom_components.lfp_battery.const import (
    CONF_INTERVAL,
    CONF_INVERT_CURRENT,
    CONF_LOW_BATTERY,
    CONF_SOC_FLOOR,
    DEFAULT_SOC_FLOOR,
)
from tests.flow_line import FlowLine, readable


@pytest.fixture
async def line(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[FlowLine]:
    """Simulated ports in place of real ones; every entry is unloaded at the end."""
    line = FlowLine(hass, monkeypatch)
    yield line
    await line.unload()


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
    assert entry.options == {CONF_INTERVAL: 30, CONF_LOW_BATTERY: 15, CONF_SOC_FLOOR: 20, CONF_INVERT_CURRENT: True}
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
    assert entry.options == {CONF_SOC_FLOOR: DEFAULT_SOC_FLOOR, CONF_INVERT_CURRENT: False}
    form = await _open(hass, entry)
    assert {str(name): name.description for name in form["data_schema"].schema}[CONF_INTERVAL] is None


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
