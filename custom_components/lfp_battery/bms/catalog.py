"""The product families, from their manuals; what a manual does not say is None or empty.

Keys only: texts for owners are translated elsewhere. A fact from another source than the family's manual says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import inf
import re
from typing import Final

from .product import (
    Addressing,
    Choice,
    Currents,
    Dip,
    Family,
    Medium,
    Model,
    Peak,
    Pins,
    Port,
    Recharge,
    RechargeSpan,
    Signal,
    Span,
    StorageSpan,
    Supply,
)

__all__ = [
    "FAMILIES",
    "Addressing",
    "Choice",
    "Currents",
    "Dip",
    "Family",
    "Medium",
    "Model",
    "Peak",
    "Pins",
    "Port",
    "Recharge",
    "RechargeSpan",
    "Signal",
    "Span",
    "StorageSpan",
    "Supply",
    "find_family",
    "find_model",
    "model_of_advert",
    "protocols_of",
]

_RS485_PAIRS = (Pins(Signal.RS485_A, (2, 7)), Pins(Signal.RS485_B, (1, 8)))
_RS485_PAIR = (Pins(Signal.RS485_A, (2,)), Pins(Signal.RS485_B, (1,)))
_CAN_PAIR = (Pins(Signal.CAN_H, (4,)), Pins(Signal.CAN_L, (5,)))


def _every(months: float, target: float = 100.0) -> Recharge:
    """At any temperature; where a manual does not say how far to charge, only a full charge counts."""
    return Recharge(spans=(RechargeSpan(-inf, inf, months),), target=target)


# Table 1-1; storage 4.2; parallel 5.3.3; ports 6, 6.1, 6.2. The address follows from the link cable (5.3.4); the
# switches "ADD" choose the inverter's brand (2.2). That RS485 speaks Pylon is not in the manual (pylon-rs485.md section
# 1), nor are the names of the CAN settings (can.md section 7). Cells: 16 rows in captures of this series
# (pytes-console.md).
_PYTES_V5 = Model(
    name="V5°",
    reported=("V5", "Pytes V5", "E-BOX-48100V-D"),  # the last as DevType in captures (pytes-console.md, pytes-v5-pwr)
    cells=16,
    nominal_voltage=51.2,
    voltage=Span(47.5, 57.6),
    nominal_capacity=100.0,
    nominal_energy=5.12,
    charge=Currents(standard=75.0, maximum=100.0, peaks=(Peak(120.0, 180.0), Peak(180.0, 15.0))),
    discharge=Currents(standard=75.0, maximum=100.0, peaks=(Peak(120.0, 180.0), Peak(180.0, 15.0))),
    charge_temperature=Span(0.0, 45.0),
    discharge_temperature=Span(-10.0, 50.0),
    storage_temperatures=(StorageSpan(-20.0, 50.0, 1), StorageSpan(-10.0, 40.0, 3), StorageSpan(20.0, 25.0, 12)),
)
_PYTES_V = Family(
    key="pytes_v",
    manufacturer="Pytes",
    models=(_PYTES_V5, replace(_PYTES_V5, name="V5°α", reported=("V5a", "V5α", "Pytes V5a", "Pytes V5α"))),
    ports=(
        Port(
            label="RS232",
            medium=Medium.RS232,
            # as printed; one report has 3 and 6 the other way round (pytes-console.md section 1)
            pins=(Pins(Signal.RX, (3,)), Pins(Signal.GND, (4,)), Pins(Signal.TX, (6,))),
            speed=115_200,
            protocols=(Choice("console"),),
        ),
        Port(
            label="RS485",
            medium=Medium.RS485,
            pins=(*_RS485_PAIRS, Pins(Signal.GND, (3, 6))),
            speed=9600,
            protocols=(Choice("pylon"),),
        ),
        Port(
            label="CAN",
            medium=Medium.CAN,
            pins=_CAN_PAIR,
            speed=500_000,
            protocols=tuple(
                Choice(brand.lower(), brand)
                for brand in (
                    *("VICTRON", "PYLON", "DEYE", "SOLARK", "LUXPOWER", "GROWATT"),
                    *("GOODWE", "SMA", "AFORE", "MEGAREVO", "PYTES"),
                )
            ),
        ),
        Port(label="Port 0", medium=Medium.RS485, link=True),
        Port(label="Port 1", medium=Medium.RS485, link=True),
    ),
    addressing=Addressing.CASCADE,
    max_parallel=14,  # on one chain; more need a hub
    recharge=_every(6, target=90.0),
    heated=True,
    heating_temperature=Span(-18.0, 10.0),
)


def _es(name: str, cells: int, capacity: float, energy: float, standard: float, maximum: float) -> Model:
    voltage = Span(2.625 * cells, 3.65 * cells)
    return Model(
        name=name,
        cells=cells,
        nominal_voltage=3.2 * cells,
        voltage=voltage,
        nominal_capacity=capacity,
        nominal_energy=energy,
        charge=Currents(standard=standard, maximum=maximum),
        discharge=Currents(maximum=maximum),
        charge_temperature=Span(0.0, 60.0),
        discharge_temperature=Span(-10.0, 60.0),
        recharge_supply=Supply(voltage.high, standard),
    )


# Parameters 8 (21/29.2 V and 42/58.4 V are 2.625 and 3.65 V a cell); capacities 3.3; ports 1.3 and 6.1; addresses 6.2;
# protocols 7.9; 15 modules 1.2; discharge cut-off SOC in the inverter settings of 4; calibration of SOC 9 (row 6),
# recharging 9 (at the end, with the voltage and standard current of 8). The CAN speed is not in the manual (can.md
# section 2), nor is what RS232 speaks (pace-ascii.md: inferred).
_ES = Family(
    key="es_wall",
    manufacturer=None,
    models=(
        _es("ES25.6-100LP", 8, 100.0, 2.56, 20.0, 100.0),
        _es("ES25.6-230LP", 8, 230.0, 5.88, 46.0, 100.0),
        _es("ES51.2-100LP", 16, 100.0, 5.12, 20.0, 100.0),
        _es("ES51.2-230LP", 16, 230.0, 11.77, 46.0, 200.0),
    ),
    ports=(
        Port(
            label="RS232",
            medium=Medium.RS232,
            pins=(Pins(Signal.TX, (3,)), Pins(Signal.RX, (4,)), Pins(Signal.GND, (5,))),
            protocols=(Choice("pace"),),
        ),
        Port(
            label="RS485/CAN",
            medium=Medium.RS485,
            pins=_RS485_PAIRS,
            speed=9600,
            protocols=(Choice("pylon", default=True), Choice("voltronic"), Choice("luxpower")),
        ),
        Port(
            label="RS485/CAN",
            medium=Medium.CAN,
            pins=_CAN_PAIR,
            speed=500_000,
            protocols=(
                Choice("pylon", default=True),
                *(Choice(key) for key in ("sofar", "goodwe", "sma", "growatt")),
            ),
        ),
        Port(label="RS485/RS485", medium=Medium.RS485, link=True),
    ),
    addressing=Addressing.DIP,
    dip=Dip(bits=4, first=1, last=15, alone=0),
    max_parallel=15,
    low_soc=10.0,
    recharge=_every(3),
    calibrates=True,
)

# Parameters 2.4; cells 2.1 (2P16S); pins 4.2; RS485 only between two packs 5; low SOC 7.4 (0-15 %); CAN speed 7.3;
# storage 1.4; voltages before packs are joined 5 (step 1) and 7.4. One operating range for both directions. The first
# storage range holds for seven days. A recharge ends when LED2 begins to flash, which by 6.1 is above 25 %; that goes
# with the 52 V (3.25 V a cell) which 1.4 wants to see five minutes later.
_GROWATT = Family(
    key="growatt_65",
    manufacturer="Growatt",
    models=(
        Model(
            name="6.5 kWh",
            reported=("GBLI6532",),  # the manual's number for it is in can.md 6.11 and modbus-rtu.md section 1
            cells=16,
            nominal_voltage=51.2,
            voltage=Span(48.0, 57.6),
            nominal_capacity=128.0,
            usable_capacity=118.0,
            nominal_energy=6.5,
            usable_energy=6.0,
            charge=Currents(standard=64.0),
            discharge=Currents(maximum=85.0, peaks=(Peak(96.0, 3.0),)),
            charge_temperature=Span(-10.0, 45.0),
            discharge_temperature=Span(-10.0, 45.0),
            storage_temperatures=(StorageSpan(-30.0, 60.0, 7 / 30), StorageSpan(-20.0, 45.0, 6)),
            recharge_supply=Supply(55.0, 64.0),
        ),
    ),
    ports=(
        Port(label="COM1/COM2", medium=Medium.RS485, pins=_RS485_PAIR, link=True),
        Port(
            label="COM1/COM2",
            medium=Medium.CAN,
            pins=(*_CAN_PAIR, Pins(Signal.GND, (3, 6))),
            speed=500_000,
            protocols=(Choice("growatt", default=True),),
        ),
    ),
    addressing=Addressing.NONE,
    max_parallel=2,
    low_soc=15.0,
    recharge=_every(6, target=25.0),
    voltage_apart=1.0,
)


def _choices(*names: str) -> Iterator[Choice]:
    for name in names:
        code, _, key = name.partition(" ")
        yield Choice(key, code)


_MONTHS_3_AND_MORE = (StorageSpan(10.0, 45.0, 3), StorageSpan(20.0, 35.0, None))

# Table 6-1; 16 modules 2; addresses 6.3; pins 6.5; termination 8.5; storage 8.1.3; protocols Table 10-3 (no P13).
# Currents and operating temperatures are not stated; recharging every six months by 8.1.3 and every three by 13.1 (10),
# of which the shorter counts. In storage it is to have 50 to 70 % (8.1.3), or 50 to 60 % (13.1 (10)): what brings it
# there is a charge, and a full one would be against both. Speeds are from modbus-rtu.md section 1 and can.md section 2.
# The app's Bluetooth mode (11) is of an unknown radio (ble.md section 8).
_ML314 = Family(
    key="ml314",
    manufacturer=None,
    models=(
        Model(
            name="ML314-51.2-W08",
            cells=16,
            nominal_voltage=51.2,
            nominal_capacity=314.0,
            nominal_energy=16.076,
            storage_temperatures=_MONTHS_3_AND_MORE,
        ),
    ),
    ports=(
        Port(
            label="RS485",
            medium=Medium.RS485,
            pins=_RS485_PAIR,
            speed=9600,
            protocols=tuple(
                _choices(
                    *("P01 growatt", "P02 schneider", "P03 inhenergy", "P04 voltronic"),
                    *("P05 srne", "P06 cvte", "P07 luxpower", "P08 cvte"),
                )
            ),
        ),
        Port(
            label="CAN",
            medium=Medium.CAN,
            pins=_CAN_PAIR,
            speed=500_000,
            protocols=tuple(
                _choices(
                    *("P01 growatt", "P02 solark", "P03 deye", "P04 megarevo", "P05 victron"),
                    *("P06 luxpower", "P07 sma", "P08 inhenergy", "P09 solis", "P10 afore"),
                    *("P11 studer", "P12 must", "P14 pylon", "P15 turbo", "P16 hubble"),
                )
            ),
        ),
        Port(label="Battery Comm", medium=Medium.RS485, link=True),
    ),
    addressing=Addressing.DIP,
    # 1 to 63 can be set, of which sixteen packs may be in parallel
    dip=Dip(bits=6, first=1, last=63, low_bit_right=True, termination=8),
    max_parallel=16,
    recharge=_every(3, target=50.0),
)


# Table 6-2: V and A by the nominal voltage of the module, down to 5 A; intervals by temperature.
_VLRV_SUPPLIES = {12.8: Supply(14.0, 50.0, 5.0), 25.6: Supply(28.0, 50.0, 5.0), 51.2: Supply(56.0, 30.0, 5.0)}
_VLRV_RECHARGE = Recharge(spans=(RechargeSpan(-inf, 20.0, 9), RechargeSpan(20.0, 30.0, 6), RechargeSpan(30.0, 40.0, 3)))


def _vlrv(name: str, voltage: float, capacity: float, energy: float) -> Model:
    return Model(
        name=name,
        cells=round(voltage / 3.2),
        nominal_voltage=voltage,
        nominal_capacity=capacity,
        nominal_energy=energy,
        discharge_temperature=Span(-20.0, 55.0),
        storage_temperatures=_MONTHS_3_AND_MORE,
        recharge_supply=_VLRV_SUPPLIES[voltage],
    )


# Tables 4-1; pins 4-3; temperatures 5-1 and 5.1.3; address and protocols 6.1; heating 6.2; recharging table 6-2, which
# goes before the plain intervals of 5.1.3 and 8.1 (10). No number of packs and no currents are stated; the packs' own
# RS485 map ("native") and the speeds are from modbus-rtu.md section 1 and can.md section 2, the Bluetooth protocol from
# ble.md. One socket serves inverter and neighbours alike (5.3).
_VLRV = Family(
    key="vlrv",
    manufacturer="Voltgo",
    models=(
        _vlrv("VLRV1280A", 12.8, 100.0, 1.28),
        _vlrv("VLRV2560A", 12.8, 200.0, 2.56),
        _vlrv("VLRV5120A", 12.8, 400.0, 5.12),
        _vlrv("VLRV2560B", 25.6, 100.0, 2.56),
        _vlrv("VLRV5120B", 25.6, 200.0, 5.12),
        _vlrv("VLRV5120C", 51.2, 100.0, 5.12),
    ),
    ports=(
        Port(
            label="RS485/CAN",
            medium=Medium.RS485,
            pins=_RS485_PAIRS,
            speed=9600,
            protocols=(
                *_choices("01 growatt", "02 luxpower", "03 schneider", "04 inhenergy", "05 voltronic"),
                Choice("native"),
            ),
        ),
        Port(
            label="RS485/CAN",
            medium=Medium.CAN,
            pins=_CAN_PAIR,
            speed=500_000,
            protocols=tuple(
                _choices(
                    *("01 growatt", "02 solark", "03 deye", "04 megarevo", "05 victron", "06 luxpower"),
                    *("07 sma", "08 inhenergy", "09 solis", "10 afore", "11 studer", "12 noark"),
                )
            ),
        ),
    ),
    addressing=Addressing.APP,
    default_address=1,
    recharge=_VLRV_RECHARGE,
    bluetooth="voltgo",
    heated=True,
)

FAMILIES: tuple[Family, ...] = (_PYTES_V, _ES, _GROWATT, _ML314, _VLRV)


# What a port is set to, by key of its choice -> names in the registry of protocols, likeliest first. Choices that are
# not here have no public description (modbus-rtu.md section 1).
_SERIAL_PROTOCOLS: Mapping[str, tuple[str, ...]] = {
    "console": ("console-pytes", "console-pylontech"),
    "pylon": ("pylon-rs485", "pylon-rs485-v35"),
    "pace": ("pace-v25", "pace-v25-rs485"),
    "growatt": ("growatt-rs485",),
    "voltronic": ("voltronic-bms-485-20200325",),
    "srne": ("pace-modbus-1.3",),
    "cvte": ("cvte-rs485",),
    "native": ("eg4ll-zt-native",),
}


def protocols_of(family: Family) -> tuple[str, ...]:
    """Names of the protocols that a serial port of this family can speak; ports between packs do not count."""
    choices = [
        choice.key
        for port in family.ports
        if port.medium in (Medium.RS232, Medium.RS485) and not port.link
        for choice in port.protocols
    ]
    return tuple(dict.fromkeys(name for key in choices for name in _SERIAL_PROTOCOLS.get(key, ())))


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9α]", "", text.casefold())


def find_family(key: str) -> Family | None:
    """The family of this key."""
    return next((family for family in FAMILIES if family.key == key), None)


def find_model(manufacturer: str | None, model: str | None) -> Model | None:
    """The product that calls itself so; None unless there is no doubt.

    The whole model name must agree (case and punctuation aside), a manufacturer that is known on both sides must not
    differ, and a short name counts only with its manufacturer.
    """
    if not model or not (wanted := _plain(model)):
        return None
    maker = _plain(manufacturer or "")
    for family in FAMILIES:
        known = _plain(family.manufacturer or "")
        same_maker = bool(maker and known) and maker.startswith(known)
        if maker and known and not same_maker:
            continue
        for product in family.models:
            if wanted in {_plain(name) for name in (product.name, *product.reported)} and (
                same_maker or len(wanted) > 4
            ):
                return product
    return None


# Maker's prefix, volts and Ah, then four digits of no meaning (ble.md section 2: ZT-25.6V100Ah-NNNN).
_RATED: Final = re.compile(
    r"(?:ZT-|VLRV[-_ ]?|Voltgo[-_ ]?)(?P<volts>\d+(?:\.\d+)?)V[-_ ]?(?P<hours>\d+(?:\.\d+)?)AH(?![A-Z])", re.IGNORECASE
)
_NAMED: Final = re.compile(r"(?:Voltgo[-_ ]?)?VLRV[-_ ]?(?P<model>\d{4}[A-Z])(?![A-Z0-9])", re.IGNORECASE)
_AGED: Final = 0.4  # share by which a capacity that was read may differ; the next models have half or twice as much


def model_of_advert(name: str | None, *, cells: int | None, capacity: float | None) -> Model | None:
    """The VLRV that a Bluetooth device calls itself, unless what was read contradicts; None: its name does not tell.

    `capacity` in Ah. Sister brands and other makers use names of the same form, and a name can be changed.
    """
    name = (name or "").strip()
    rated, named = _RATED.match(name), _NAMED.match(name)
    for model in _VLRV.models:
        if named is not None:
            told = f"vlrv{named['model']}".casefold() == model.name.casefold()
        else:
            told = rated is not None and (float(rated["volts"]), float(rated["hours"])) == (
                model.nominal_voltage,
                model.nominal_capacity,
            )
        fits = cells in {None, model.cells} and (
            capacity is None or abs(capacity - model.nominal_capacity) <= _AGED * model.nominal_capacity
        )
        if told and fits:
            return model
    return None
