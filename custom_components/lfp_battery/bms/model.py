"""The one picture of a battery that every protocol is turned into.

Everything that crosses a layer is frozen and compared by value. None means "not reported" and nothing else; it is
never stood in for by 0. Current and power are positive while charging. Units are in the field comments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum, StrEnum
from functools import total_ordering
from typing import override


class Mode(StrEnum):
    """What a pack says that it is doing."""

    STANDBY = "standby"
    CHARGING = "charging"
    DISCHARGING = "discharging"
    FULL = "full"
    EMPTY = "empty"
    PROTECTION = "protection"
    FAULT = "fault"
    STARTING = "starting"
    SLEEP = "sleep"


@total_ordering
class Severity(Enum):
    """How serious an alarm is, in ascending order: early notice, the battery stopped something, something is broken."""

    WARNING = "warning"
    PROTECTION = "protection"
    FAULT = "fault"

    def __lt__(self, other: object) -> bool:
        """Order by seriousness, not by spelling."""
        if not isinstance(other, Severity):
            return NotImplemented
        order = list(Severity)
        return order.index(self) < order.index(other)


class Condition(StrEnum):
    """One vocabulary of conditions for all protocols."""

    CELL_OVERVOLTAGE = "cell_overvoltage"
    CELL_UNDERVOLTAGE = "cell_undervoltage"
    PACK_OVERVOLTAGE = "pack_overvoltage"
    PACK_UNDERVOLTAGE = "pack_undervoltage"
    OVERVOLTAGE = "overvoltage"
    UNDERVOLTAGE = "undervoltage"
    CHARGE_OVERCURRENT = "charge_overcurrent"
    DISCHARGE_OVERCURRENT = "discharge_overcurrent"
    OVERCURRENT = "overcurrent"
    SHORT_CIRCUIT = "short_circuit"
    CHARGE_OVERTEMPERATURE = "charge_overtemperature"
    CHARGE_UNDERTEMPERATURE = "charge_undertemperature"
    DISCHARGE_OVERTEMPERATURE = "discharge_overtemperature"
    DISCHARGE_UNDERTEMPERATURE = "discharge_undertemperature"
    OVERTEMPERATURE = "overtemperature"
    UNDERTEMPERATURE = "undertemperature"
    MOSFET_OVERTEMPERATURE = "mosfet_overtemperature"
    AMBIENT_OVERTEMPERATURE = "ambient_overtemperature"
    AMBIENT_UNDERTEMPERATURE = "ambient_undertemperature"
    AMBIENT_TEMPERATURE_ABNORMAL = "ambient_temperature_abnormal"
    HEATER_OVERTEMPERATURE = "heater_overtemperature"
    TERMINAL_OVERTEMPERATURE = "terminal_overtemperature"
    LOW_SOC = "low_soc"
    FULLY_DISCHARGED = "fully_discharged"
    FULLY_CHARGED = "fully_charged"
    CELL_IMBALANCE = "cell_imbalance"
    TEMPERATURE_IMBALANCE = "temperature_imbalance"
    CELL_FAILURE = "cell_failure"
    REVERSE_POLARITY = "reverse_polarity"
    WIRING_FAILURE = "wiring_failure"
    FUSE_FAILURE = "fuse_failure"
    COMMUNICATION_FAILURE = "communication_failure"
    PARALLEL_FAILURE = "parallel_failure"
    CONFIGURATION_CONFLICT = "configuration_conflict"
    PRECHARGE_FAILURE = "precharge_failure"
    CONTACTOR_FAILURE = "contactor_failure"
    MOSFET_FAILURE = "mosfet_failure"
    VOLTAGE_SENSING_FAILURE = "voltage_sensing_failure"
    TEMPERATURE_SENSING_FAILURE = "temperature_sensing_failure"
    CURRENT_SENSING_FAILURE = "current_sensing_failure"
    HEATER_FAILURE = "heater_failure"
    CURRENT_LIMITER_FAILURE = "current_limiter_failure"
    ISOLATION_FAILURE = "isolation_failure"
    INTERLOCK_OPEN = "interlock_open"
    CHARGER_OVERVOLTAGE = "charger_overvoltage"
    CHARGER_UNDERVOLTAGE = "charger_undervoltage"
    SHUTDOWN_IMMINENT = "shutdown_imminent"
    END_OF_LIFE = "end_of_life"
    INTERNAL_FAILURE = "internal_failure"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One condition that a battery reports; `cell` counts from 1 where the protocol names it."""

    condition: Condition
    severity: Severity
    cell: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a pack or bank says it is; everything as reported, nothing guessed."""

    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None
    hardware: str | None = None
    cells: int | None = None
    design_capacity: float | None = None  # Ah

    def joined(self, later: Identity) -> Identity:
        """Identity comes in pieces: a later piece overrides, what it lacks does not."""
        return replace(self, **{f.name: value for f in fields(later) if (value := getattr(later, f.name)) is not None})

    @override
    def __repr__(self) -> str:
        """Leave the serial number out, so that no log line can hold it."""
        return f"Identity(manufacturer={self.manufacturer!r}, model={self.model!r}, firmware={self.firmware!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryState:
    """What one reading of a pack or of a bank says."""

    voltage: float | None = None  # V
    current: float | None = None  # A, positive = charging
    power: float | None = None  # W, positive = charging
    soc: float | None = None  # %
    soh: float | None = None  # %
    remaining_capacity: float | None = None  # Ah
    full_capacity: float | None = None  # Ah
    design_capacity: float | None = None  # Ah
    cycles: int | None = None
    cell_voltages: tuple[float | None, ...] | None = None  # V, cell 1 first
    temperature: float | None = None  # degC, one value of unknown place
    cell_temperatures: tuple[float | None, ...] | None = None  # degC
    mosfet_temperature: float | None = None  # degC
    ambient_temperature: float | None = None  # degC
    pcb_temperature: float | None = None  # degC
    heater_temperature: float | None = None  # degC
    mode: Mode | None = None
    alarms: frozenset[Alarm] | None = None  # None: not asked or not answered; empty: none active
    balancing_cells: frozenset[int] | None = None  # numbers from 1
    charge_enabled: bool | None = None
    discharge_enabled: bool | None = None
    charge_voltage_limit: float | None = None  # V
    discharge_voltage_limit: float | None = None  # V
    charge_current_limit: float | None = None  # A, positive
    discharge_current_limit: float | None = None  # A, positive
    force_charge_requested: bool | None = None
    full_charge_requested: bool | None = None
    heater_active: bool | None = None  # the film is warm now
    heating_enabled: bool | None = None  # the switch as the owner left it
    energy_charged: float | None = None  # kWh, counted by the battery
    energy_discharged: float | None = None  # kWh, counted by the battery
    cell_voltage_min: float | None = None  # V
    cell_voltage_max: float | None = None  # V
    cell_temperature_min: float | None = None  # degC
    cell_temperature_max: float | None = None  # degC
    cell_voltage_min_cell: int | None = None  # numbers from 1, as the next three
    cell_voltage_max_cell: int | None = None
    cell_voltage_min_pack: int | None = None
    cell_voltage_max_pack: int | None = None
    derived: frozenset[str] = frozenset()  # names of fields that were computed, not reported


@dataclass(frozen=True, slots=True, kw_only=True)
class PackState(BatteryState):
    """One pack."""

    address: int  # as on the bus


@dataclass(frozen=True, slots=True, kw_only=True)
class BankState(BatteryState):
    """All packs of one link together."""

    modules: int | None = None
    modules_online: int | None = None
    modules_charge_blocked: int | None = None
    modules_discharge_blocked: int | None = None
    manufacturer: str | None = None
    family: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCounters:
    """How well one pack has answered since the link was set up; every figure only ever grows."""

    asked: int = 0
    answered: int = 0
    silent: int = 0
    damaged: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PollReport[StateT: BatteryState]:
    """What a client knows of one pack (or of the bank) after a poll or a loss.

    The state is compared by value; receipt time and counters stand beside it.
    """

    address: int
    state: StateT | None  # the last one received, also when the pack is silent now; None: nothing was ever received
    identity: Identity | None = None
    online: bool = False  # answered within the last three cycles, on a link that is up
    received: float | None = None  # Clock.monotonic() of the last answer
    held_back: Mapping[str, str] = field(default_factory=dict)  # field: reason
    counters: LinkCounters = LinkCounters()
    conflict: bool = False  # two packs answer at this address; then nothing of either is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleReport:
    """One finished round over the packs of a link."""

    seconds: float
    answered: frozenset[int]
    silent: frozenset[int]  # asked, or listened for, in vain


def charge_share(remaining: float, full: float) -> float | None:
    """State of charge in % out of two capacities in Ah; None where nothing can be full.

    The count may run a little past full at the end of a charge; a percentage may not.
    """
    return min(100.0, 100.0 * remaining / full) if full > 0 else None


def power_of(voltage: float | None, current: float | None) -> float | None:
    """Power in W, positive while charging; None where one of the two is not known."""
    return None if voltage is None or current is None else voltage * current
