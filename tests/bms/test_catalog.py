"""The catalog, against figures read in the manuals again."""

from itertools import pairwise
from math import inf

import pytest

from custom_components.lfp_battery.bms.catalog import (
    FAMILIES,
    Addressing,
    Family,
    Medium,
    Model,
    Peak,
    Recharge,
    RechargeSpan,
    Signal,
    Span,
    StorageSpan,
    Supply,
    find_family,
    find_model,
    model_of_advert,
)

MODELS = [(family, model) for family in FAMILIES for model in family.models]


def family(key: str) -> Family:
    """The family of this key, which must exist."""
    found = find_family(key)
    assert found is not None
    return found


def model(name: str) -> Model:
    """The model of this name, which must exist."""
    return next(product for _, product in MODELS if product.name == name)


def test_the_five_families_are_there_with_all_their_models() -> None:
    """As many as the manuals have."""
    assert {found.key: len(found.models) for found in FAMILIES} == {
        "pytes_v": 2,
        "es_wall": 4,
        "growatt_65": 1,
        "ml314": 1,
        "vlrv": 6,
    }
    names = [product.name for _, product in MODELS]
    assert len(set(names)) == len(names)
    assert find_family("other") is None


@pytest.mark.parametrize(("owner", "product"), MODELS, ids=[product.name for _, product in MODELS])
def test_figures_of_a_model_agree_with_each_other(owner: Family, product: Model) -> None:
    """Cells make the voltage, voltage and capacity make the energy, and every range is in order."""
    assert product.nominal_voltage == pytest.approx(3.2 * product.cells)
    assert product.nominal_energy == pytest.approx(product.nominal_voltage * product.nominal_capacity / 1000, rel=0.01)
    assert (product.usable_capacity or 0) <= product.nominal_capacity
    assert (product.usable_energy or 0) <= product.nominal_energy
    for side in (product.charge, product.discharge):
        rising = [side.standard, side.maximum, *(peak.current for peak in side.peaks)]
        known = [current for current in rising if current is not None]
        assert known == sorted(known)
        assert all(longer.seconds > shorter.seconds for longer, shorter in pairwise(side.peaks))
    for span in (product.voltage, product.charge_temperature, product.discharge_temperature, owner.heating_temperature):
        assert span is None or span.low < span.high
    for storage in product.storage_temperatures:
        assert storage.low < storage.high
    if product.voltage is not None:
        assert product.voltage.low < product.nominal_voltage < product.voltage.high


@pytest.mark.parametrize("owner", FAMILIES, ids=[found.key for found in FAMILIES])
def test_every_family_has_ports_that_can_be_used(owner: Family) -> None:
    """A port for an adapter says what is on its pins; a link between packs offers no protocol."""
    usable = [port for port in owner.ports if not port.link]
    assert any(port.medium is Medium.CAN for port in usable)
    for port in usable:
        signals = {pins.signal for pins in port.pins}
        numbers = [number for pins in port.pins for number in pins.numbers]
        wanted = {
            Medium.CAN: {Signal.CAN_H, Signal.CAN_L},
            Medium.RS485: {Signal.RS485_A, Signal.RS485_B},
            Medium.RS232: {Signal.TX, Signal.RX, Signal.GND},
        }[port.medium]
        assert wanted <= signals
        assert len(set(numbers)) == len(numbers)
        assert all(1 <= number <= 8 for number in numbers)
        assert port.protocols
        assert port.speed in {None, 9600, 115_200, 500_000}
    for port in owner.ports:
        if port.link:
            assert not port.protocols
    assert (owner.dip is not None) == (owner.addressing is Addressing.DIP)


def test_ports_that_join_pack_to_pack_are_marked() -> None:
    """Pytes 2.2, ES 1.3, Growatt 5, ML314 6.2; the VLRV has none of its own."""
    assert {owner.key: sorted({port.label for port in owner.ports if port.link}) for owner in FAMILIES} == {
        "pytes_v": ["Port 0", "Port 1"],
        "es_wall": ["RS485/RS485"],
        "growatt_65": ["COM1/COM2"],
        "ml314": ["Battery Comm"],
        "vlrv": [],
    }


def test_pytes_figures_are_those_of_its_manual() -> None:
    """Table 1-1, sections 5.3.3 and 6.1."""
    pack = model("V5°")
    assert (pack.nominal_capacity, pack.nominal_energy, pack.usable_capacity) == (100.0, 5.12, None)
    assert (pack.charge.standard, pack.charge.maximum) == (75.0, 100.0)
    assert pack.discharge.peaks == (Peak(120.0, 180.0), Peak(180.0, 15.0))
    assert pack.charge_temperature == Span(0.0, 45.0)
    assert pack.discharge_temperature == Span(-10.0, 50.0)
    owner = family("pytes_v")
    assert owner.max_parallel == 14
    console = next(port for port in owner.ports if port.medium is Medium.RS232)
    assert console.speed == 115_200
    assert {pins.signal: pins.numbers for pins in console.pins} == {
        Signal.RX: (3,),
        Signal.GND: (4,),
        Signal.TX: (6,),
    }


def test_es_figures_are_those_of_its_manual() -> None:
    """Sections 4, 6.1, 6.2, 7.9 and 8."""
    assert [(p.cells, p.nominal_energy, p.charge.standard, p.discharge.maximum) for p in family("es_wall").models] == [
        (8, 2.56, 20.0, 100.0),
        (8, 5.88, 46.0, 100.0),
        (16, 5.12, 20.0, 100.0),
        (16, 11.77, 46.0, 200.0),
    ]
    assert model("ES51.2-230LP").voltage == pytest.approx((42.0, 58.4))
    owner = family("es_wall")
    assert (owner.max_parallel, owner.low_soc) == (15, 10.0)
    rs485, can = (port for port in owner.ports if port.label == "RS485/CAN")
    assert [(choice.key, choice.default) for choice in rs485.protocols] == [
        ("pylon", True),
        ("voltronic", False),
        ("luxpower", False),
    ]
    assert [choice.key for choice in can.protocols] == ["pylon", "sofar", "goodwe", "sma", "growatt"]


def test_es_switches_follow_its_table() -> None:
    """6.2: switch 1 is the least significant, 0 stands alone, 1 is the host."""
    dip = family("es_wall").dip
    assert dip is not None
    assert dip.switches(0) == (False, False, False, False)
    assert dip.switches(1) == (True, False, False, False)
    assert dip.switches(6) == (False, True, True, False)
    assert dip.switches(15) == (True, True, True, True)
    with pytest.raises(ValueError):
        dip.switches(16)


def test_growatt_figures_are_those_of_its_manual() -> None:
    """Sections 2.4, 7.4 (low SOC), 1.4 and 4.2."""
    pack = model("6.5 kWh")
    assert (pack.nominal_capacity, pack.usable_capacity) == (128.0, 118.0)
    assert (pack.nominal_energy, pack.usable_energy) == (6.5, 6.0)
    assert (pack.charge.standard, pack.charge.maximum, pack.discharge.maximum) == (64.0, None, 85.0)
    assert pack.discharge.peaks == (Peak(96.0, 3.0),)
    assert pack.storage_temperatures[1] == StorageSpan(-20.0, 45.0, 6)
    owner = family("growatt_65")
    assert (owner.max_parallel, owner.low_soc, owner.addressing) == (2, 15.0, Addressing.NONE)


def test_ml314_figures_are_those_of_its_manual() -> None:
    """Tables 6-1, 6-5 and 10-3, sections 2, 6.3 and 8.5."""
    pack = model("ML314-51.2-W08")
    assert (pack.nominal_capacity, pack.nominal_energy, pack.discharge.maximum) == (314.0, 16.076, None)
    assert pack.charge_temperature is None
    owner = family("ml314")
    assert owner.max_parallel == 16
    assert owner.dip is not None
    assert (owner.dip.last, owner.dip.termination, owner.dip.alone) == (63, 8, None)
    rs485 = next(port for port in owner.ports if port.label == "RS485")
    can = next(port for port in owner.ports if port.label == "CAN")
    assert {choice.code: choice.key for choice in rs485.protocols}["P04"] == "voltronic"
    assert len(rs485.protocols) == 8
    assert len(can.protocols) == 15
    assert "P13" not in {choice.code for choice in can.protocols}
    assert {choice.code: choice.key for choice in can.protocols}["P14"] == "pylon"


def test_vlrv_figures_are_those_of_its_manual() -> None:
    """Tables 4-1 and 5-1, section 6.1."""
    assert [(p.name, p.cells, p.nominal_capacity) for p in family("vlrv").models] == [
        ("VLRV1280A", 4, 100.0),
        ("VLRV2560A", 4, 200.0),
        ("VLRV5120A", 4, 400.0),
        ("VLRV2560B", 8, 100.0),
        ("VLRV5120B", 8, 200.0),
        ("VLRV5120C", 16, 100.0),
    ]
    owner = family("vlrv")
    assert (owner.addressing, owner.default_address, owner.max_parallel) == (Addressing.APP, 1, None)
    assert model("VLRV5120C").discharge_temperature == Span(-20.0, 55.0)
    can = next(port for port in owner.ports if port.medium is Medium.CAN)
    assert [choice.code for choice in can.protocols] == [f"{number:02}" for number in range(1, 13)]


@pytest.mark.parametrize(
    ("key", "months", "target"),
    [("pytes_v", 6, 90.0), ("es_wall", 3, 100.0), ("growatt_65", 6, 25.0), ("ml314", 3, 50.0)],
)
def test_a_stored_pack_is_charged_as_often_as_its_manual_says(key: str, months: float, target: float) -> None:
    """Pytes 4.2, ES 9, Growatt 1.4 (LED2 flashes above 25 %, 6.1), ML314 13.1 (10), which is stricter than its 8.1.3.

    Both places of the ML314 want it stored at 50 % or a little more.
    """
    assert family(key).recharge == Recharge(spans=(RechargeSpan(-inf, inf, months),), target=target)


def test_a_vlrv_is_charged_more_often_where_it_is_warm() -> None:
    """Table 6-2: nine, six and three months, each with its module's volts and amperes."""
    owner = family("vlrv")
    assert owner.recharge is not None
    assert owner.recharge.spans == (
        RechargeSpan(-inf, 20.0, 9),
        RechargeSpan(20.0, 30.0, 6),
        RechargeSpan(30.0, 40.0, 3),
    )
    assert {product.nominal_voltage: product.recharge_supply for product in owner.models} == {
        12.8: Supply(14.0, 50.0, 5.0),
        25.6: Supply(28.0, 50.0, 5.0),
        51.2: Supply(56.0, 30.0, 5.0),
    }


def test_what_to_recharge_with_is_named_where_the_manual_names_it() -> None:
    """Growatt 1.4; ES 8 with its standard current; the others' manuals say nothing."""
    assert model("6.5 kWh").recharge_supply == Supply(55.0, 64.0)
    supply = model("ES25.6-230LP").recharge_supply
    assert supply is not None
    assert supply.voltage == pytest.approx(29.2)
    assert (supply.current, supply.cut_off) == (46.0, None)
    assert model("V5°").recharge_supply is None
    assert model("ML314-51.2-W08").recharge_supply is None


def test_only_one_manual_calibrates_and_only_one_names_a_difference() -> None:
    """ES 9 row 6; Growatt 5 step 1 and 7.4."""
    assert [owner.key for owner in FAMILIES if owner.calibrates] == ["es_wall"]
    assert {owner.key: owner.voltage_apart for owner in FAMILIES if owner.voltage_apart} == {"growatt_65": 1.0}


def test_limits_are_the_largest_figures_of_a_model() -> None:
    """Peaks included; nothing where the manual says nothing."""
    assert (model("V5°").limits.current, model("V5°").limits.cells, model("V5°").limits.capacity) == (180.0, 16, 100.0)
    assert model("6.5 kWh").limits.current == 96.0
    assert model("ML314-51.2-W08").limits.current is None


@pytest.mark.parametrize(
    ("manufacturer", "name", "expected"),
    [
        (None, "ML314-51.2-W08", "ML314-51.2-W08"),
        ("anybody", "es51.2 100lp", "ES51.2-100LP"),
        ("Voltgo", "VLRV5120C", "VLRV5120C"),
        ("VOLTGO Power", "vlrv5120c", "VLRV5120C"),
        ("PYTES", "E-BOX-48100V-D", "V5°"),
        ("Pytes", "V5", "V5°"),
        ("Pytes", "V5a", "V5°α"),
        (None, "V5", None),
        ("Pylon", "V5", None),
        ("Pylon", "VLRV5120C", None),
        ("Pylon", "US5000C", None),
        (None, "VLRV5120", None),
        (None, "ES51.2", None),
        (None, "", None),
        ("Pytes", "--", None),
        ("Pytes", None, None),
    ],
)
def test_only_an_identity_beyond_doubt_names_a_model(
    manufacturer: str | None, name: str | None, expected: str | None
) -> None:
    """A wrong model would narrow the ranges of a right battery."""
    found = find_model(manufacturer, name)
    assert (found.name if found else None) == expected


@pytest.mark.parametrize(
    ("name", "cells", "capacity", "expected"),
    [
        ("ZT-12.8V100Ah-0001", 4, 100.0, "VLRV1280A"),
        ("ZT-12.8V200Ah-0001", 4, 200.0, "VLRV2560A"),
        ("ZT-12.8V400Ah-0001", 4, 400.0, "VLRV5120A"),
        ("ZT-25.6V100Ah-0001", 8, 100.0, "VLRV2560B"),
        ("ZT-25.6V200Ah-0001", 8, 200.0, "VLRV5120B"),
        ("ZT-51.2V100Ah-0001", 16, 100.0, "VLRV5120C"),
        ("zt-25.6v100ah-0001", 8, None, "VLRV2560B"),
        ("ZT-25.6V100Ah-0001", None, None, "VLRV2560B"),
        ("ZT-25.6V100Ah-0001", 8, 81.0, "VLRV2560B"),  # aged
        ("VLRV2560B", 8, 100.0, "VLRV2560B"),
        ("VLRV5120C-0042", 16, 100.0, "VLRV5120C"),
        ("Voltgo VLRV1280A", 4, 100.0, "VLRV1280A"),
        ("VLRV 1280A", 4, 100.0, "VLRV1280A"),
        ("VLRV-2560B-0012", 8, 100.0, "VLRV2560B"),
        ("VLRV-25.6V200Ah-0001", 8, 200.0, "VLRV5120B"),
        ("Voltgo 12.8V 400Ah", 4, 400.0, "VLRV5120A"),
        # what was read says otherwise
        ("ZT-25.6V100Ah-0001", 4, 100.0, None),
        ("ZT-25.6V100Ah-0001", 8, 200.0, None),
        ("VLRV2560B", 16, None, None),
        # no such model
        ("ZT-25.6V50Ah-0001", 8, 50.0, None),
        ("ZT-48V100Ah-0001", 15, 100.0, None),
        ("VLRV2560C", 16, 50.0, None),
        ("VLRV2560BX", 8, 100.0, None),
        ("VLRV 2560BX", 8, 100.0, None),
        # somebody else's, or a name that an owner gave
        ("BB-51.2V100Ah-0001", 16, 100.0, None),
        ("GJ-25.6V200AH-0006", 8, 200.0, None),
        ("AZT-25.6V100Ah-0001", 8, 100.0, None),
        ("ZT", 8, 100.0, None),
        ("VLRV", 8, 100.0, None),
        ("Voltgo", 8, 100.0, None),
        ("my van \N{BATTERY}", 8, 100.0, None),
        ("", 8, 100.0, None),
        (None, 8, 100.0, None),
    ],
)
def test_a_vlrv_is_told_by_its_advert_if_its_cells_agree(
    name: str | None, cells: int | None, capacity: float | None, expected: str | None
) -> None:
    """Volts and Ah behind the maker's letters, or the model itself; never another brand of the same form."""
    found = model_of_advert(name, cells=cells, capacity=capacity)
    assert (found.name if found else None) == expected
