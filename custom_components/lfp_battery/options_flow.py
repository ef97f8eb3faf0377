"""What can be set at any time without asking the battery."""

from collections.abc import Mapping
from typing import Any

from homeassistant.config_entries import ConfigFlowResult, OptionsFlowWithReload
from homeassistant.const import CONF_DEVICE, CONF_MODEL, CONF_PROTOCOL
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

from . import bus_texts, heating
from .const import (
    CONF_ACKNOWLEDGE,
    CONF_ALLOW_HEATING,
    CONF_HOLD,
    CONF_INTERVAL,
    CONF_INVERT_CURRENT,
    CONF_LOW_BATTERY,
    CONF_OBSERVE,
    CONF_PACK_COUNT,
    CONF_SOC_FLOOR,
    DEFAULT_LOW_BATTERY,
    DEFAULT_SOC_FLOOR,
    MAX_INTERVAL,
    MAX_PACKS,
    MIN_BUS_INTERVAL,
    MIN_INTERVAL,
    NO_MODEL,
)
from .findings import (
    can_switch_heating,
    chosen_model,
    counts_packs,
    miscounted,
    models_for,
    most_packs,
    on_can,
    over_bluetooth,
)
from .flow_texts import Words
from .settings import observes


def _percent(least: int, most: int) -> NumberSelector:
    return NumberSelector(
        NumberSelectorConfig(min=least, max=most, step=1, unit_of_measurement="%", mode=NumberSelectorMode.BOX)
    )


def _interval(least: int) -> dict[Any, Any]:
    config = NumberSelectorConfig(
        min=least, max=MAX_INTERVAL, step=1, unit_of_measurement="s", mode=NumberSelectorMode.BOX
    )
    return {vol.Optional(CONF_INTERVAL): NumberSelector(config)}


_OPTIONS = {
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


def pack_count_selector(most: int) -> NumberSelector:
    """A number of packs, from 1 to `most`."""
    return NumberSelector(NumberSelectorConfig(min=1, max=most, step=1, mode=NumberSelectorMode.BOX))


def _whole(user_input: Mapping[str, Any]) -> dict[str, Any]:
    """What was sent, with whole numbers."""
    return {key: int(value) if isinstance(value, float) else value for key, value in user_input.items()}


class LfpBatteryOptionsFlow(OptionsFlowWithReload):
    """Shown as Settings of the entry."""

    _observed = False  # as shown: whether the entry only listens

    async def async_step_init(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show and take all options of a battery that is asked, or read along with."""
        entry = self.config_entry
        if on_can(entry.data):
            return await self.async_step_bus()
        if over_bluetooth(entry.data):
            return await self.async_step_bluetooth()
        if user_input is not None:
            most = most_packs(entry.data, {**entry.options, **user_input})
            if errors := miscounted(user_input, most):
                return self._show_init(errors, user_input, most)
            whole = _whole(user_input)
            wished = whole.pop(CONF_OBSERVE)
            if wished == self._observed:  # nobody touched it: what decided so far goes on deciding
                whole |= {key: value for key, value in entry.options.items() if key == CONF_OBSERVE}
            elif wished:
                whole[CONF_OBSERVE] = True
            else:
                self._ask_again(whole)
            return self.async_create_entry(data=whole)
        self._observed = observes(entry.data, entry.options)
        return self._show_init({}, entry.options, most_packs(entry.data, entry.options))

    def _show_init(self, errors: dict[str, str], shown: Mapping[str, Any], most: int) -> ConfigFlowResult:
        fields = {**self._model_field(), **self._pack_count_field(), **_interval(MIN_INTERVAL)}
        return self._show("init", {**fields, **_OPTIONS, **self._observe_field()}, shown, errors, most=most)

    async def async_step_bus(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show and take all options of a battery on a CAN bus."""
        entry = self.config_entry
        shown = bus_texts.can_choose(bus_texts.address_of(entry.data[CONF_DEVICE]))
        if user_input is not None:
            kept = {} if shown else {key: value for key, value in entry.options.items() if key == CONF_ACKNOWLEDGE}
            return self.async_create_entry(data=kept | _whole(user_input))
        fields = {**self._model_field(), **_interval(MIN_BUS_INTERVAL), **_OPTIONS}
        if shown:
            fields[vol.Required(CONF_ACKNOWLEDGE, default=False)] = BooleanSelector()
        return self._show("bus", fields, entry.options)

    async def async_step_bluetooth(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show and take all options of a pack over Bluetooth."""
        entry = self.config_entry
        offered = can_switch_heating(entry.data)
        if user_input is not None:
            kept = {} if offered else {key: value for key, value in entry.options.items() if key == CONF_ALLOW_HEATING}
            return self.async_create_entry(data=kept | _whole(user_input))
        fields = {**self._model_field(), **_interval(MIN_INTERVAL), **_OPTIONS}
        if offered:
            fields[vol.Required(CONF_ALLOW_HEATING, default=False)] = BooleanSelector()
        fields[vol.Required(CONF_HOLD, default=True)] = BooleanSelector()
        words = await Words.async_load(self.hass)
        withdrawn = ""
        if any(heating.withdrawn(entry.data)):
            # without the permission there is no repair that it could point at
            allowed = entry.options.get(CONF_ALLOW_HEATING)
            withdrawn = words.text("note", "heating_withdrawn" if allowed else "heating_withdrawn_unwanted")
        return self._show("bluetooth", fields, entry.options, withdrawn=withdrawn)

    def _show(
        self,
        step_id: str,
        fields: Mapping[Any, Any],
        values: Mapping[str, Any],
        errors: dict[str, str] | None = None,
        *,
        most: int = MAX_PACKS,
        **more: str,
    ) -> ConfigFlowResult:
        """Show a form with these values; as long as nothing was sent, whether it only listens has its own default."""
        suggested = {key: value for key, value in values.items() if key != CONF_OBSERVE or errors}
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(vol.Schema(dict(fields)), suggested),
            errors=errors,
            description_placeholders={"low_battery": str(DEFAULT_LOW_BATTERY), "most": str(most), **more},
        )

    def _ask_again(self, options: Mapping[str, Any]) -> None:
        """Drop the verdict that somebody else asks; should it be so still, it is heard before anything is sent."""
        entry = self.config_entry
        if not entry.data.get(CONF_OBSERVE):
            return
        kept = {key: value for key, value in entry.data.items() if key != CONF_OBSERVE}
        self.hass.config_entries.async_update_entry(entry, data=kept)
        if options == entry.options:  # else these have it reloaded
            self.hass.config_entries.async_schedule_reload(entry.entry_id)

    def _observe_field(self) -> dict[Any, Any]:
        """Shows how it is, whoever decided it."""
        return {vol.Required(CONF_OBSERVE, default=self._observed): BooleanSelector()}

    def _pack_count_field(self) -> dict[Any, Any]:
        """Asked only where an answer cannot be read without."""
        if not counts_packs(self.config_entry.data[CONF_PROTOCOL]):
            return {}
        # the model may be changed in the same form: how many it allows shows when the form is sent
        return {vol.Optional(CONF_PACK_COUNT): pack_count_selector(MAX_PACKS)}

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
