"""One LiFePO4 pack: cells, heat, balancing, and a BMS that limits, warns and protects."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise
import random
from typing import Final

from custom_components.lfp_battery.bms.model import Alarm, Condition, Mode, Severity

_HOUR: Final = 3600.0
_DAY: Final = 86400.0

# Rest voltage of a LiFePO4 cell over its charge, a rounded textbook curve; outside 0..1 it is steep, as cells are.
_OCV_POINTS: Final = (
    (-0.05, 1.80),
    (0.00, 2.50),
    (0.01, 2.78),
    (0.03, 3.00),
    (0.06, 3.12),
    (0.10, 3.20),
    (0.20, 3.250),
    (0.30, 3.280),
    (0.40, 3.295),
    (0.50, 3.300),
    (0.60, 3.312),
    (0.70, 3.330),
    (0.80, 3.336),
    (0.90, 3.345),
    (0.95, 3.360),
    (0.98, 3.400),
    (0.99, 3.440),
    (1.00, 3.550),
    (1.01, 3.900),
    (1.05, 4.500),
)
_OCV_LOW: Final = _OCV_POINTS[0][0]
_OCV_HIGH: Final = _OCV_POINTS[-1][0]
_OCV_STEPS_PER_UNIT: Final = 2000
_OCV_SHIFT: Final = -_OCV_LOW * _OCV_STEPS_PER_UNIT


def _ocv_table() -> tuple[float, ...]:
    """The curve at even distances, so that looking it up is an index."""
    knots = [x for x, _ in _OCV_POINTS]
    table = []
    for index in range(round((_OCV_HIGH - _OCV_LOW) * _OCV_STEPS_PER_UNIT) + 1):
        x = _OCV_LOW + index / _OCV_STEPS_PER_UNIT
        right = min(max(bisect_right(knots, x), 1), len(knots) - 1)
        (x0, y0), (x1, y1) = _OCV_POINTS[right - 1], _OCV_POINTS[right]
        table.append(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
    return tuple(table)


_OCV: Final = _ocv_table()
_OCV_LAST: Final = len(_OCV) - 2
# the same as straight lines: voltage = base + place * slope
_OCV_SLOPE: Final = tuple(b - a for a, b in pairwise(_OCV))
_OCV_BASE: Final = tuple(a - index * slope for index, (a, slope) in enumerate(zip(_OCV, _OCV_SLOPE, strict=False)))
# V x unit of charge, integrated along the curve: what a cell of 1 Ah has stored, in Wh
_OCV_ENERGY: Final = tuple(accumulate(((a + b) / 2 / _OCV_STEPS_PER_UNIT for a, b in pairwise(_OCV)), initial=0.0))


def _stored(fill: float) -> float:
    """Wh in a cell of 1 Ah above the low end of the curve."""
    place = min(max((fill - _OCV_LOW) * _OCV_STEPS_PER_UNIT, 0.0), float(_OCV_LAST))
    index = int(place)
    low = _OCV_ENERGY[index]
    return low + (place - index) * (_OCV_ENERGY[index + 1] - low)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSpec:
    """What a pack is made of and how it starts. `seed` decides how its cells differ."""

    cells: int = 16
    capacity: float = 100.0  # Ah
    soc: float = 50.0  # %
    soh: float = 100.0  # %
    cycles: float = 12.0
    temperature: float = 20.0  # degC
    cell_resistance: float = 0.0006  # ohm
    wiring_resistance: float = 0.002  # ohm, MOSFETs, busbars and cables
    spread: float = 0.01  # one sigma of capacity and resistance between cells, relative
    imbalance: float = 0.0015  # one sigma of charge between cells at the start, share of capacity
    drift: float = 0.0005  # one sigma of self-discharge between cells, share of capacity a day
    charge_current: float | None = None  # A; None: half the capacity an hour
    discharge_current: float | None = None  # A; None: half the capacity an hour
    heater_power: float = 0.0  # W; 0: none fitted
    heater_on: float = 3.0  # degC, below which the heater warms
    heater_off: float = 8.0  # degC
    serial: str = "SIMB026A00000001"
    firmware: tuple[int, ...] = (1, 7, 0, 6, 9)
    model: str = "SIM5000C"
    manufacturer: str = "Pylon"
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A threshold with hysteresis: raised at `enter`, given up at `leave`."""

    quantity: str
    condition: Condition
    severity: Severity
    enter: float
    leave: float
    blocks: str = ""  # c: charging, d: discharging

    def beyond(self, value: float, active: list[Guard]) -> bool:
        """Whether the alarm stands, given those that stood before."""
        limit = self.leave if any(guard is self for guard in active) else self.enter
        return value >= limit if self.enter > self.leave else value <= limit


_W, _P = Severity.WARNING, Severity.PROTECTION

# Cell, module and temperature figures: 0x47 captures of US2000C and US2KBPL (pylon-47-us2000c, pylon-47-us2kbpl-4),
# module limits divided by 15 cells. Charging below freezing: the common limit of LiFePO4. The rest is plausible.
GUARDS: Final = (
    Guard(quantity="cell_high", condition=Condition.CELL_OVERVOLTAGE, severity=_W, enter=3.60, leave=3.50),
    Guard(quantity="cell_high", condition=Condition.CELL_OVERVOLTAGE, severity=_P, enter=3.65, leave=3.45, blocks="c"),
    Guard(quantity="cell_low", condition=Condition.CELL_UNDERVOLTAGE, severity=_W, enter=3.05, leave=3.12),
    Guard(quantity="cell_low", condition=Condition.CELL_UNDERVOLTAGE, severity=_P, enter=2.80, leave=3.05, blocks="d"),
    Guard(quantity="mean_high", condition=Condition.PACK_OVERVOLTAGE, severity=_W, enter=3.55, leave=3.45),
    Guard(quantity="mean_high", condition=Condition.PACK_OVERVOLTAGE, severity=_P, enter=3.60, leave=3.40, blocks="c"),
    Guard(quantity="mean_low", condition=Condition.PACK_UNDERVOLTAGE, severity=_W, enter=3.07, leave=3.12),
    Guard(quantity="mean_low", condition=Condition.PACK_UNDERVOLTAGE, severity=_P, enter=2.90, leave=3.05, blocks="d"),
    Guard(quantity="hot", condition=Condition.CHARGE_OVERTEMPERATURE, severity=_W, enter=50.0, leave=47.0),
    Guard(quantity="hot", condition=Condition.CHARGE_OVERTEMPERATURE, severity=_P, enter=55.0, leave=50.0, blocks="c"),
    Guard(
        quantity="hot", condition=Condition.DISCHARGE_OVERTEMPERATURE, severity=_P, enter=60.0, leave=55.0, blocks="d"
    ),
    Guard(quantity="cold", condition=Condition.CHARGE_UNDERTEMPERATURE, severity=_W, enter=3.0, leave=5.0),
    Guard(quantity="cold", condition=Condition.CHARGE_UNDERTEMPERATURE, severity=_P, enter=0.0, leave=3.0, blocks="c"),
    Guard(
        quantity="cold",
        condition=Condition.DISCHARGE_UNDERTEMPERATURE,
        severity=_P,
        enter=-10.0,
        leave=-7.0,
        blocks="d",
    ),
    Guard(
        quantity="mosfet", condition=Condition.MOSFET_OVERTEMPERATURE, severity=_P, enter=90.0, leave=75.0, blocks="cd"
    ),
    Guard(quantity="charge_load", condition=Condition.CHARGE_OVERCURRENT, severity=_W, enter=2.05, leave=1.9),
    # latched by time, not by current: once the MOSFETs are open the current is gone
    Guard(
        quantity="charge_trip", condition=Condition.CHARGE_OVERCURRENT, severity=_P, enter=1.0, leave=0.5, blocks="c"
    ),
    Guard(quantity="discharge_load", condition=Condition.DISCHARGE_OVERCURRENT, severity=_W, enter=2.05, leave=1.9),
    Guard(
        quantity="discharge_trip",
        condition=Condition.DISCHARGE_OVERCURRENT,
        severity=_P,
        enter=1.0,
        leave=0.5,
        blocks="d",
    ),
    Guard(quantity="gap", condition=Condition.CELL_IMBALANCE, severity=_W, enter=0.30, leave=0.20),
    Guard(quantity="soc", condition=Condition.LOW_SOC, severity=_W, enter=10.0, leave=15.0),
)


def _first_signs() -> tuple[tuple[str, bool, float], ...]:
    """Of each quantity, the first threshold on the way up and on the way down: within these nothing can be wrong."""
    signs: dict[tuple[str, bool], float] = {}
    for guard in GUARDS:
        high = guard.enter > guard.leave
        key = (guard.quantity, high)
        known = signs.get(key, guard.enter)
        signs[key] = min(known, guard.enter) if high else max(known, guard.enter)
    return tuple((name, high, enter) for (name, high), enter in signs.items())


_FIRST_SIGNS: Final = _first_signs()
# Which cells an alarm names: those beyond this, by condition
_CELL_CONDITIONS: Final = frozenset({Condition.CELL_OVERVOLTAGE, Condition.CELL_UNDERVOLTAGE})

_TRIP_LOAD: Final = 2.2  # times the continuous current
_TRIP_SECONDS: Final = 60.0
_FULL_CELL: Final = 3.48  # V, with the tail current below
_TAIL: Final = 0.03  # share of capacity an hour
_HEAT_CAPACITY: Final = 28.0  # J/K for one Ah of one cell, housing included
_HEAT_LOSS: Final = 2.2  # W/K of a pack
_BLEED: Final = 0.12  # A through a balancing resistor
_BALANCE_FROM: Final = 3.40  # V
_BALANCE_GAP: Final = 0.015  # V


def _taper(value: float, start: float, end: float) -> float:
    """1 at `start` and before, 0 at `end` and beyond."""
    return min(max((end - value) / (end - start), 0.0), 1.0)


@dataclass(slots=True)
class _Trip:
    """A breaker that opens on overload and closes again after a while."""

    left: float = 0.0

    def update(self, load: float, dt: float) -> float:
        self.left = _TRIP_SECONDS if load >= _TRIP_LOAD else max(self.left - dt, 0.0)
        return 1.0 if self.left else 0.0


@dataclass(slots=True)
class Meter:
    """What went through a pack, Wh, at its terminals and inside."""

    charged: float = 0.0
    discharged: float = 0.0
    heat: float = 0.0  # lost in resistances
    bled: float = 0.0  # burnt by balancing and self-discharge


class SimPack:
    """A pack; `step` moves it on, everything else reads it. Current is positive while charging."""

    def __init__(self, spec: PackSpec | None = None) -> None:
        """Build the cells that the spec describes, each a little different."""
        self.spec = spec = spec or PackSpec()
        rng = random.Random(spec.seed)
        count = spec.cells
        self.full_capacity = spec.capacity * spec.soh / 100
        self._capacity = [self.full_capacity * (1 + abs(rng.gauss(0, spec.spread))) for _ in range(count)]
        self._scale = [_OCV_STEPS_PER_UNIT / c for c in self._capacity]  # Ah to a place on the curve
        self._resistance = [spec.cell_resistance * (1 + abs(rng.gauss(0, spec.spread * 5))) for _ in range(count)]
        self._leak = [abs(rng.gauss(0, spec.drift)) * spec.capacity / _DAY for _ in range(count)]  # Ah/s
        self._leak_sum = sum(self._leak)
        self._offset = [rng.gauss(0, spec.imbalance) for _ in range(count)]
        self._charge: list[float] = []
        self.remaining_capacity = 0.0  # Ah, as the BMS counts it
        self.resistance = sum(self._resistance) + spec.wiring_resistance  # ohm, at the terminals
        self.charge_base = spec.charge_current or spec.capacity / 2
        self.discharge_base = spec.discharge_current or spec.capacity / 2
        self.cycles = spec.cycles
        self.soh = spec.soh
        self.temperature = spec.temperature  # degC, of the cells
        self.sensors = 3 if count <= 8 else 4  # cell temperature probes
        self.current = 0.0
        self.cell_voltages: list[float] = []
        self.voltage = 0.0
        self.emf = 0.0  # V, the sum of the rest voltages
        self.balancing_cells: frozenset[int] = frozenset()
        self.fully_charged = False
        self.heater_active = False
        self.heating_enabled = spec.heater_power > 0
        self.silent = False  # asleep or unplugged: still there, but answers nothing
        self.meter = Meter()
        self.age_of_full = 0.0  # s since the last full charge
        self._active: list[Guard] = []
        self._forced: frozenset[Alarm] = frozenset()
        self._charge_trip, self._discharge_trip = _Trip(), _Trip()
        self.alarms: frozenset[Alarm] = frozenset()
        self.alarm_changes = 1  # an unread change is what a pack starts with
        self.switch_changes = 1
        self.charge_enabled = self.discharge_enabled = True
        self.charge_limit = self.discharge_limit = 0.0  # A
        self.set_soc(spec.soc)

    def set_soc(self, soc: float, cell: int | None = None) -> None:
        """Fill the pack (or one cell, numbered from 1) to `soc` %, with its imbalance, at rest."""
        fill = soc / 100
        if cell is None:
            self._charge = [c * (fill + o) for c, o in zip(self._capacity, self._offset, strict=True)]
            self.remaining_capacity = self.full_capacity * fill
            self.fully_charged = False
        else:
            self._charge[cell - 1] = self._capacity[cell - 1] * fill
        self._measure(self.current)
        self._guard(0.0)

    @property
    def soc(self) -> float:
        """State of charge as the BMS counts it, %."""
        return self.remaining_capacity / self.full_capacity * 100

    @property
    def cell_temperatures(self) -> tuple[float, ...]:
        """The probes along the pack, degC; the ends are cooler."""
        base, rise = self.temperature, abs(self.current) / self.spec.capacity
        return tuple(
            base + rise * (0.6, 1.4, 1.1, 0.5)[i % 4] + (0.0, 0.3, 0.4, 0.1)[i % 4] for i in range(self.sensors)
        )

    @property
    def board_temperature(self) -> float:
        """The BMS board, degC."""
        return self.temperature + 1.5 + 3 * abs(self.current) / self.spec.capacity

    @property
    def mosfet_temperature(self) -> float:
        """The switches, degC."""
        return self.temperature + 2.0 + 18 * (self.current / self.spec.capacity) ** 2

    @property
    def charge_voltage_limit(self) -> float:
        """V; 3.55 V a cell (53.25 V for 15 cells: pylon-92-us3000c)."""
        return 3.55 * self.spec.cells

    @property
    def discharge_voltage_limit(self) -> float:
        """V; 3.0 V a cell (45 V for 15 cells: pylon-92-us3000c)."""
        return 3.0 * self.spec.cells

    @property
    def force_charge_requested(self) -> bool:
        """Whether the pack begs to be charged: below 13 % (pylon-rs485.md section 6.4)."""
        return self.soc < 13.0

    @property
    def full_charge_requested(self) -> bool:
        """No full charge for 30 days (pylon-rs485.md section 6.4)."""
        return self.age_of_full > 30 * _DAY

    @property
    def stored_energy(self) -> float:
        """Wh in the cells, above an arbitrary zero."""
        return sum(c * _stored(q / c) for c, q in zip(self._capacity, self._charge, strict=True))

    @property
    def mode(self) -> Mode:
        """What the pack would say that it is doing."""
        severities = {alarm.severity for alarm in self.alarms}
        if Severity.FAULT in severities:
            return Mode.FAULT
        if Severity.PROTECTION in severities:
            return Mode.PROTECTION
        if self.current > 0.1:
            return Mode.CHARGING
        if self.current < -0.1:
            return Mode.DISCHARGING
        return Mode.FULL if self.fully_charged else Mode.STANDBY

    def force(self, *alarms: Alarm) -> None:
        """Report these alarms whatever the physics say."""
        self._forced |= frozenset(alarms)
        self._guard(0.0)

    def release(self, *alarms: Alarm) -> None:
        """Stop forcing these alarms, or all."""
        self._forced = self._forced - frozenset(alarms) if alarms else frozenset()
        self._guard(0.0)

    def step(self, dt: float, current: float, ambient: float) -> None:
        """Let `current` A flow for `dt` seconds with `ambient` degC around."""
        hours = dt / _HOUR
        before = self.voltage
        self._move_charge(dt, current)
        self._measure(current)
        mean = (before + self.voltage) / 2 if before else self.voltage
        energy = mean * abs(current) * hours
        if current >= 0:
            self.meter.charged += energy
        else:
            self.meter.discharged += energy
        self.remaining_capacity = min(max(self.remaining_capacity + current * hours, 0.0), self.full_capacity)
        self.cycles += abs(current) * hours / (2 * self.full_capacity)
        heat = current * current * self.resistance
        self.meter.heat += heat * hours
        self._heat(dt, heat, ambient)
        self._top(dt, current)
        self._guard(dt)

    def _move_charge(self, dt: float, current: float) -> None:
        amount = current * dt / _HOUR
        self._charge = charge = [q + amount - leak * dt for q, leak in zip(self._charge, self._leak, strict=True)]
        self.meter.bled += self._leak_sum * dt * self.voltage / self.spec.cells
        for cell in self.balancing_cells:
            taken = _BLEED * dt / _HOUR
            charge[cell - 1] -= taken
            self.meter.bled += taken * self.cell_voltages[cell - 1]

    def _measure(self, current: float) -> None:
        base, slope = _OCV_BASE, _OCV_SLOPE
        places = [charge * scale + _OCV_SHIFT for charge, scale in zip(self._charge, self._scale, strict=True)]
        if min(places) < 0 or max(places) >= _OCV_LAST:
            places = [min(max(place, 0.0), float(_OCV_LAST)) for place in places]
        rest = [base[index := int(place)] + place * slope[index] for place in places]
        self.emf = sum(rest)
        self.cell_voltages = cells = [v + current * r for v, r in zip(rest, self._resistance, strict=True)]
        self.voltage = sum(cells)
        self.current = current

    def _heat(self, dt: float, heat: float, ambient: float) -> None:
        spec = self.spec
        if self.heater_active:
            heat += spec.heater_power
        mass = _HEAT_CAPACITY * spec.capacity * spec.cells
        self.temperature += (heat - _HEAT_LOSS * (self.temperature - ambient)) * dt / mass
        limit = spec.heater_off if self.heater_active else spec.heater_on
        wanted = self.heating_enabled and self.temperature < limit
        if wanted != self.heater_active:
            self.heater_active = wanted
            self.switch_changes += 1

    def _top(self, dt: float, current: float) -> None:
        """Full, balancing, and how long ago it was full."""
        cells = self.cell_voltages
        high, low = max(cells), min(cells)
        self.age_of_full += dt
        tail = 0 <= current <= _TAIL * self.spec.capacity
        if not self.fully_charged and high >= _FULL_CELL and tail:
            self.fully_charged = True
            self.remaining_capacity = self.full_capacity
        elif self.fully_charged and self.soc < 97.0:
            self.fully_charged = False
        if self.fully_charged:
            self.age_of_full = 0.0
        if high < _BALANCE_FROM or high - low < _BALANCE_GAP:
            if self.balancing_cells:
                self.balancing_cells = frozenset()
        else:
            self.balancing_cells = frozenset(
                number for number, v in enumerate(cells, 1) if v >= _BALANCE_FROM and v - low >= _BALANCE_GAP
            )

    def _quantities(self, dt: float) -> dict[str, float]:
        cells = self.cell_voltages
        high, low, mean = max(cells), min(cells), self.voltage / self.spec.cells
        charge_load = max(self.current, 0.0) / self.charge_base
        discharge_load = max(-self.current, 0.0) / self.discharge_base
        return {
            "cell_high": high,
            "cell_low": low,
            "mean_high": mean,
            "mean_low": mean,
            "hot": self.temperature,
            "cold": self.temperature,
            "mosfet": self.mosfet_temperature,
            "charge_load": charge_load,
            "charge_trip": self._charge_trip.update(charge_load, dt),
            "discharge_load": discharge_load,
            "discharge_trip": self._discharge_trip.update(discharge_load, dt),
            "gap": high - low,
            "soc": self.soc,
        }

    def _guard(self, dt: float) -> None:
        """Raise and give up alarms, then set switches and limits accordingly."""
        quantities = self._quantities(dt)
        active = self._active
        if active or any(
            quantities[name] >= enter if high else quantities[name] <= enter for name, high, enter in _FIRST_SIGNS
        ):
            self._active = active = [guard for guard in GUARDS if guard.beyond(quantities[guard.quantity], active)]
        if active or self._forced or self.alarms or self.fully_charged:
            alarms = frozenset(self._named(active)) | self._forced
            if alarms != self.alarms:
                self.alarms = alarms
                self.alarm_changes += 1
        blocked = "".join(guard.blocks for guard in active) + "".join(
            _BLOCKS_FORCED.get(alarm.condition, "") for alarm in self._forced if alarm.severity >= Severity.PROTECTION
        )
        charge = "c" not in blocked and not self.fully_charged
        discharge = "d" not in blocked
        if (charge, discharge) != (self.charge_enabled, self.discharge_enabled):
            self.charge_enabled, self.discharge_enabled = charge, discharge
            self.switch_changes += 1
        warm = min(_taper(-self.temperature, -10.0, 0.0), _taper(self.temperature, 45.0, 55.0))
        self.charge_limit = self.charge_base * warm * _taper(quantities["cell_high"], 3.40, 3.53) if charge else 0.0
        self.discharge_limit = self.discharge_base * _taper(-quantities["cell_low"], -3.0, -2.82) if discharge else 0.0

    def _named(self, active: Iterable[Guard]) -> Iterable[Alarm]:
        """The alarms of the guards that are active, with the cells that are to blame."""
        if self.fully_charged:
            yield Alarm(condition=Condition.FULLY_CHARGED, severity=Severity.WARNING)
        for guard in active:
            if guard.condition not in _CELL_CONDITIONS:
                yield Alarm(condition=guard.condition, severity=guard.severity)
                continue
            above = guard.enter > guard.leave
            for number, volts in enumerate(self.cell_voltages, 1):
                if volts >= guard.leave if above else volts <= guard.leave:
                    yield Alarm(condition=guard.condition, severity=guard.severity, cell=number)


_BLOCKS_FORCED: Final[dict[Condition, str]] = {
    **{guard.condition: guard.blocks for guard in GUARDS if guard.blocks},
    Condition.SHORT_CIRCUIT: "cd",
    Condition.CELL_FAILURE: "cd",
    Condition.INTERNAL_FAILURE: "cd",
}
