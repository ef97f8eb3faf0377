"""What the manual says for one link, however it is known whose manual counts."""

from typing import Any

from homeassistant.const import CONF_MODEL, CONF_PROTOCOL
import pytest

from custom_components.lfp_battery.bms.catalog import Supply, find_family
from custom_components.lfp_battery.const import CONF_FAMILY, CONF_LOW_BATTERY, CONF_PACKS
from custom_components.lfp_battery.settings import Settings


def _data(family: str | None = None, *, cells: int | None = None, **said: str) -> dict[str, Any]:
    named = {} if family is None else {CONF_FAMILY: family}
    return {CONF_PROTOCOL: "pylon-rs485", CONF_PACKS: {"2": {"cells": cells, **said}}, **named}


def test_a_chosen_model_brings_all_that_its_manual_says() -> None:
    """Growatt: every six months at 55 V and 64 A, low at 15 %, two packs, at most 1 V apart."""
    growatt, settings = find_family("growatt_65"), Settings.of(_data(), {CONF_MODEL: "6.5 kWh"})
    assert growatt is not None
    assert settings.recharge == growatt.recharge
    assert settings.supply == Supply(55.0, 64.0)
    assert (settings.low_battery, settings.apart, settings.most_packs, settings.calibrates) == (15.0, 1.0, 2, False)


def test_a_named_family_is_enough_for_what_all_its_models_share() -> None:
    """Without a model the supply is that of all models with so many cells, and unknown where these differ."""
    settings = Settings.of(_data("vlrv", cells=8), {})
    assert settings.recharge is not None
    assert len(settings.recharge.spans) == 3
    assert settings.supply == Supply(28.0, 50.0, 5.0)
    assert settings.most_packs is None  # its manual names no number
    es = Settings.of(_data("es_wall", cells=16), {})
    assert (es.supply, es.calibrates, es.most_packs) == (None, True, 15)
    assert Settings.of(_data("vlrv"), {}).supply is None


@pytest.mark.parametrize(
    ("family", "options", "low"),
    [("growatt_65", {}, 15.0), ("es_wall", {}, 10.0), ("vlrv", {}, 10.0), ("growatt_65", {CONF_LOW_BATTERY: 20}, 20)],
)
def test_low_is_what_the_manual_calls_so_unless_the_person_decided(
    family: str, options: dict[str, Any], low: float
) -> None:
    """Growatt 15 %, ES 10 %, the others say nothing."""
    assert Settings.of(_data(family), options).low_battery == low


def test_a_pack_that_says_what_it_is_needs_no_choice() -> None:
    """The manual of the reported model counts."""
    settings = Settings.of(_data(cells=16, manufacturer="Pytes", model="V5"), {})
    assert settings.recharge is not None
    assert (settings.recharge.target, settings.most_packs) == (90.0, 14)


def test_where_no_manual_is_known_nothing_is_said() -> None:
    """A stranger gets no advice."""
    settings = Settings.of(_data(cells=16), {})
    assert (settings.recharge, settings.supply, settings.calibrates) == (None, None, False)
    assert (settings.apart, settings.most_packs, settings.low_battery) == (None, None, 10)
