"""What a battery's master knows of the bank at one moment."""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from custom_components.lfp_battery.bms.model import Alarm
from tests.simulator.bank import SimBank
from tests.simulator.pack import SimPack


class Place(NamedTuple):
    """A cell's reading and where it is; both numbers from 1."""

    value: float
    pack: int
    cell: int


class View:
    """Sums, extremes and requests over the packs that are there."""

    def __init__(self, bank: SimBank, *, inverter: bool = False) -> None:
        """`inverter`: whether one was heard lately."""
        self.bank = bank
        self.inverter = inverter
        self.installed = [pack for _, pack in sorted(bank.packs.items())]
        self.packs = [pack for pack in self.installed if not pack.silent]

    def _sum(self, value: Callable[[SimPack], float]) -> float:
        return sum(value(pack) for pack in self.packs)

    def _mean(self, value: Callable[[SimPack], float]) -> float:
        return self._sum(value) / len(self.packs) if self.packs else 0.0

    @cached_property
    def voltage(self) -> float:
        """In V."""
        return self._mean(lambda pack: pack.voltage)

    @cached_property
    def current(self) -> float:
        """In A, positive = charging."""
        return self._sum(lambda pack: pack.current)

    @cached_property
    def temperature(self) -> float:
        """In degC."""
        return self._mean(lambda pack: pack.temperature)

    @cached_property
    def remaining(self) -> float:
        """In Ah."""
        return self._sum(lambda pack: pack.remaining_capacity)

    @cached_property
    def full(self) -> float:
        """In Ah."""
        return self._sum(lambda pack: pack.full_capacity)

    @cached_property
    def capacity(self) -> float:
        """Ah as installed."""
        return self._sum(lambda pack: pack.spec.capacity)

    @cached_property
    def soc(self) -> float:
        """In %."""
        return self.remaining / self.full * 100 if self.full else 0.0

    @cached_property
    def soh(self) -> float:
        """In %."""
        return self._mean(lambda pack: pack.soh)

    @cached_property
    def cycles(self) -> int:
        """Of the pack that has most."""
        return max((int(pack.cycles) for pack in self.packs), default=0)

    @cached_property
    def charge_voltage_limit(self) -> float:
        """In V."""
        return min((pack.charge_voltage_limit for pack in self.packs), default=0.0)

    @cached_property
    def discharge_voltage_limit(self) -> float:
        """In V."""
        return max((pack.discharge_voltage_limit for pack in self.packs), default=0.0)

    @cached_property
    def charge_limit(self) -> float:
        """In A."""
        return self._sum(lambda pack: pack.charge_limit)

    @cached_property
    def discharge_limit(self) -> float:
        """In A."""
        return self._sum(lambda pack: pack.discharge_limit)

    @cached_property
    def charge_enabled(self) -> bool:
        """Whether any pack can be charged."""
        return any(pack.charge_enabled for pack in self.packs)

    @cached_property
    def discharge_enabled(self) -> bool:
        """Whether any pack can be discharged."""
        return any(pack.discharge_enabled for pack in self.packs)

    @cached_property
    def begs(self) -> bool:
        """Whether a pack asks to be kept from switching off."""
        return any(pack.force_charge_requested for pack in self.packs)

    @cached_property
    def starves(self) -> bool:
        """Whether a pack is about to switch off: below 10 % (can.md section 6.1)."""
        return any(pack.soc < 10 for pack in self.packs)

    @cached_property
    def full_charge_requested(self) -> bool:
        """Whether a pack was not full for long."""
        return any(pack.full_charge_requested for pack in self.packs)

    @cached_property
    def alarms(self) -> frozenset[Alarm]:
        """Of all packs, without the cell."""
        return frozenset(
            Alarm(condition=alarm.condition, severity=alarm.severity) for pack in self.packs for alarm in pack.alarms
        )

    @cached_property
    def cell_high(self) -> Place:
        """The highest cell, V."""
        return max(self._cells(lambda pack: pack.cell_voltages), key=lambda place: place.value)

    @cached_property
    def cell_low(self) -> Place:
        """The lowest cell, V."""
        return min(self._cells(lambda pack: pack.cell_voltages), key=lambda place: place.value)

    @cached_property
    def hottest(self) -> Place:
        """The warmest probe, degC."""
        return max(self._cells(lambda pack: pack.cell_temperatures), key=lambda place: place.value)

    @cached_property
    def coldest(self) -> Place:
        """The coldest probe, degC."""
        return min(self._cells(lambda pack: pack.cell_temperatures), key=lambda place: place.value)

    def _cells(self, values: Callable[[SimPack], list[float] | tuple[float, ...]]) -> list[Place]:
        return [
            Place(value, number, cell)
            for number, pack in enumerate(self.packs, 1)
            for cell, value in enumerate(values(pack), 1)
        ] or [Place(0.0, 1, 1)]

    @cached_property
    def charged(self) -> float:
        """KWh ever."""
        return self._sum(lambda pack: pack.meter.charged) / 1000

    @cached_property
    def discharged(self) -> float:
        """KWh ever."""
        return self._sum(lambda pack: pack.meter.discharged) / 1000

    @cached_property
    def charge_blocked(self) -> int:
        """Packs that cannot be charged."""
        return sum(not pack.charge_enabled for pack in self.packs)

    @cached_property
    def discharge_blocked(self) -> int:
        """Packs that cannot be discharged."""
        return sum(not pack.discharge_enabled for pack in self.packs)

    @property
    def online(self) -> int:
        """Packs that are there."""
        return len(self.packs)

    @property
    def offline(self) -> int:
        """Packs that are installed, and not there."""
        return len(self.installed) - len(self.packs)
