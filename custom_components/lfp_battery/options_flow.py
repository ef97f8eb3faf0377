"""What can be set at any time without asking the battery."""

from collections.abc import Mapping
from typing import Any

from homeassistant.config_entries import ConfigFlowResult, OptionsFlowWithReload
from homeassistant.const import CONF_MODEL
from homeassistant.helpers.selector import (
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)
import voluptuous as vol

from .const import (
    CONF_INTERVAL,
    CONF_INVERT_CURRENT,
    CONF_LOW_BATTERY,
    CONF_SOC_FLOOR,
    DEFAULT_LOW_BATTERY,
    DEFAULT_SOC_FLOOR,
    MAX_INTERVAL,
    MIN_INTERVAL,
    NO_MODEL,
)
from .findings import chosen_model, models_for


def _percent(least: int, most: int) -> NumberSelector:
    return NumberSelector(
        NumberSelectorConfig(min=least, max=most, step=1, unit_of_measurement="%", mode=NumberSelectorMode.BOX)
    )


_OPTIONS = {
    vol.Optional(CONF_INTERVAL): NumberSelector(
        NumberSelectorConfig(
            min=MIN_INTERVAL, max=MAX_INTERVAL, step=1, unit_of_measurement="s", mode=NumberSelectorMode.BOX
        )
    ),
    vol.Optional(CONF_LOW_BATTERY): _percent(1, 90),
    vol.Required(CONF_SOC_FLOOR, default=DEFAULT_SOC_FLOOR): _percent(0, 90),
    vol.Required(CONF_INVERT_CURRENT, default=False): BooleanSelector(),
}


def model_selector(models: Mapping[str, str]) -> SelectSelector:
    """A choice among models, name -> label."""
    options = [SelectOptionDict(value=name, label=label) for name, label in models.items()]
    return SelectSelector(
        SelectSelectorConfig(options=options, mode=SelectSelectorMode.DROPDOWN, translation_key="model")
    )


class LfpBatteryOptionsFlow(OptionsFlowWithReload):
    """Shown as Settings of the entry."""

    async def async_step_init(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show and take all options."""
        if user_input is not None:
            whole = {key: int(value) if isinstance(value, float) else value for key, value in user_input.items()}
            return self.async_create_entry(data=whole)
        schema = vol.Schema({**self._model_field(), **_OPTIONS})
        return self.async_show_form(
            step_id="init",
            data_schema=self.add_suggested_values_to_schema(schema, self.config_entry.options),
            description_placeholders={"low_battery": str(DEFAULT_LOW_BATTERY)},
        )

    def _model_field(self) -> dict[Any, Any]:
        """The model of the catalog; it is always stored, because it takes the place of what was chosen at set-up."""
        entry = self.config_entry
        models = models_for(entry.data)
        chosen = NO_MODEL
        if (found := chosen_model(entry.data, entry.options)) is not None:
            chosen = found[1].name
            models.setdefault(chosen, chosen)
        if not models:
            return {}
        # the label of none comes from the translations
        return {vol.Required(CONF_MODEL, default=chosen): model_selector({NO_MODEL: NO_MODEL, **models})}
