"""What is said of a product: its ports, its addresses, its limits.

Keys only: texts for owners are translated elsewhere.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from .physics import Limits


class Medium(StrEnum):
    """What a port speaks electrically."""

    RS232 = "rs232"
    RS485 = "rs485"
    CAN = "can"


class Signal(StrEnum):
    """What a pin carries, named from the battery's side."""

    RS485_A = "rs485_a"
    RS485_B = "rs485_b"
    CAN_H = "can_h"
    CAN_L = "can_l"
    TX = "tx"
    RX = "rx"
    GND = "gnd"


class Addressing(StrEnum):
    """How a pack gets its address."""

    DIP = "dip"
    APP = "app"
    CASCADE = "cascade"  # by its place in the chain of link cables; nothing to set
    NONE = "none"


class Pins(NamedTuple):
    """Pins of an RJ45 that carry one signal, counted as the manual counts them."""

    signal: Signal
    numbers: tuple[int, ...]


class Choice(NamedTuple):
    """One protocol that a port can be set to."""

    key: str
    code: str | None = None  # as the pack's menu or app shows it
    default: bool = False


class Span(NamedTuple):
    """A range; volts or degC."""

    low: float
    high: float


class StorageSpan(NamedTuple):
    """A temperature range, in degC, and for how many months of storage it holds (None: for longer than the others)."""

    low: float
    high: float
    months: float | None


class RechargeSpan(NamedTuple):
    """A temperature range in degC, and how many months a battery may stand there before it wants to be charged."""

    low: float
    high: float
    months: float


class Supply(NamedTuple):
    """How to charge: constant current up to a voltage, then down to a current. V, A, A."""

    voltage: float
    current: float | None = None
    cut_off: float | None = None


class Peak(NamedTuple):
    """A current, in A, and for how many seconds it may flow."""

    current: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Currents:
    """What a pack stands in one direction, in A."""

    standard: float | None = None
    maximum: float | None = None  # continuous
    peaks: tuple[Peak, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One medium on one socket; a socket that carries two media is two of these with one label."""

    label: str  # as printed beside the socket
    medium: Medium
    pins: tuple[Pins, ...] = ()
    speed: int | None = None  # baud, or bit/s on CAN
    protocols: tuple[Choice, ...] = ()
    link: bool = False  # joins pack to pack and has its own master: never to be connected to an adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Dip:
    """Switches that hold the address in binary."""

    bits: int
    first: int  # the lowest address of a pack in parallel use; that pack is the master
    last: int
    alone: int | None = None  # the address of a pack that is used alone
    low_bit_right: bool = False  # otherwise switch 1 is the least significant
    termination: int | None = None  # number of the switch that ends the link cable on the first and last pack

    def switches(self, address: int) -> tuple[bool, ...]:
        """Which switches are on, from the least significant; raises ValueError for an address that cannot be set."""
        if not (address == self.alone or self.first <= address <= self.last):
            raise ValueError(f"no such address: {address}")
        return tuple(bool(address >> bit & 1) for bit in range(self.bits))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recharge:
    """How often a manual wants a battery charged that is not used."""

    spans: tuple[RechargeSpan, ...]  # ascending; outside of all of them the shortest counts
    target: float = 100.0  # % that counts as charged


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One product; capacity in Ah, energy in kWh."""

    name: str
    reported: tuple[str, ...] = ()  # how else packs name themselves
    cells: int  # in series, of 3.2 V each
    nominal_voltage: float
    voltage: Span | None = None  # in operation
    nominal_capacity: float
    usable_capacity: float | None = None
    nominal_energy: float
    usable_energy: float | None = None
    charge: Currents = Currents()
    discharge: Currents = Currents()
    charge_temperature: Span | None = None
    discharge_temperature: Span | None = None
    storage_temperatures: tuple[StorageSpan, ...] = ()
    recharge_supply: Supply | None = None

    @property
    def limits(self) -> Limits:
        """What a reading of this model is held against."""
        currents = [
            current
            for side in (self.charge, self.discharge)
            for current in (side.standard, side.maximum, *(peak.current for peak in side.peaks))
            if current is not None
        ]
        return Limits(cells=self.cells, capacity=self.nominal_capacity, current=max(currents, default=None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Products that share a manual."""

    key: str
    manufacturer: str | None
    models: tuple[Model, ...]
    ports: tuple[Port, ...]
    addressing: Addressing
    dip: Dip | None = None
    default_address: int | None = None
    max_parallel: int | None = None
    low_soc: float | None = None  # %, where the manual draws the line
    recharge: Recharge | None = None
    calibrates: bool = False  # the manual tells how to set a state of charge right that has drifted
    voltage_apart: float | None = None  # V that idle packs may differ by before they are joined
    bluetooth: str | None = None  # protocol over Bluetooth LE
    heated: bool | None = None  # has a heating film
    heating_temperature: Span | None = None  # degC, where the film works
