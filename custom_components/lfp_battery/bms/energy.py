"""Energy in both directions out of what a battery says; reads no clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

_JOULES_PER_KWH = 3_600_000.0
# A counter of the battery's own that fell by less is an answer out of order; by more, the board was exchanged or its
# memory cleared.
_NEW_BOARD_BELOW = 0.9
# kWh that such a counter may be ahead of what could have flowed: some count in whole kWh, and step when they are full.
_COARSEST_COUNTER = 1.0
# How coarse a count of charge is taken for, in Ah, until it has shown it: some batteries say whole Ah ...
_COARSE = 1.0
# ... and how much of that is still believed after each step of it that was finer: a jump at the end of a charge, where
# a battery sets its count right, is forgotten within a quarter of an hour's readings.
_FORGETTING = 0.95
# Steps of such a count that prove that something flowed; of fewer, the powers at both ends of a gap know better. Simulated
# (tests/energy_month.py, 1 and 3.14 Ah a step, flickering, 20 s away every hour or 10 min every six): totals 0.4 % wrong at
# most instead of 0.7 to 2.5 %, and of an idle battery no longer ten times what flowed. 2 h away every twelve: 0.3 and 1.8 %.
_PROOF = 2.5
_PROOF_ALONE = 1.5  # where the powers are not known


def _areas(first: float, last: float, seconds: float) -> tuple[float, float]:
    """Joules above and below zero of a straight line from one power to the other."""
    if first >= 0 and last >= 0:
        return (first + last) / 2 * seconds, 0.0
    if first <= 0 and last <= 0:
        return 0.0, -(first + last) / 2 * seconds
    # the line crosses zero where the two triangles meet: each one's share of the time is its share of the height
    height = abs(first) + abs(last)
    above, below = max(first, last), -min(first, last)
    return above / 2 * (above / height) * seconds, below / 2 * (below / height) * seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one answer of a battery says of energy; None: not reported, or held back."""

    when: float  # s, monotonic
    power: float | None  # W, positive = charging
    voltage: float | None = None  # V
    remaining_capacity: float | None = None  # Ah
    charged: float | None = None  # kWh, as the battery counts it
    discharged: float | None = None  # kWh, as the battery counts it


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What came to the totals of an account, kWh; the estimated part is in the sum."""

    charged: float = 0.0
    discharged: float = 0.0
    estimated_charged: float = 0.0
    estimated_discharged: float = 0.0
    unobserved: float = 0.0  # s


class _Counter:
    """A counter of the battery's own, as far as a total has followed it."""

    __slots__ = ("value", "when")

    def __init__(self, value: float, when: float | None) -> None:
        """`value` in kWh, read at `when`; None: nobody knows how long ago."""
        self.value = value
        self.when = when

    def follow(self, value: float, when: float, most_power: float) -> float:
        """What the counter is ahead, kWh, but no more than `most_power` allows in the time since it was last read."""
        most = None if self.when is None else most_power * (when - self.when) / _JOULES_PER_KWH
        self.when = when
        ahead = value - self.value
        if ahead < 0:
            if value < _NEW_BOARD_BELOW * self.value:
                self.value = value
            return 0.0
        if most is None or ahead > most + _COARSEST_COUNTER:
            self.value = value
            return 0.0
        if ahead > most:
            self.value += most  # the rest of a coarse step comes with the next readings
            return most
        self.value = value
        return ahead


class _Direction:
    """What went one way."""

    __slots__ = ("counter", "estimated", "total")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.total: float | None = None  # kWh
        self.estimated = 0.0  # kWh
        self.counter: _Counter | None = None  # from the first time on that the battery counts itself

    def begin(self) -> None:
        """From now on something is known."""
        if self.total is None:
            self.total = 0.0

    def take(self, energy: float) -> float:
        """Add what was worked out, in kWh, unless the battery counts itself; what came to the total."""
        if not energy or self.counter is not None:
            return 0.0
        self.total = (self.total or 0.0) + energy
        return energy

    def count(self, value: float, when: float, most_power: float) -> float:
        """Follow the battery's counter; what came to the total."""
        if self.counter is None:
            self.counter = _Counter(value, when)
            if self.total is None:
                self.total = value  # a total that is there already goes on from where it is
            return 0.0
        added = self.counter.follow(value, when, most_power)
        self.total = (self.total or 0.0) + added
        return added

    def as_mapping(self, monotonic: float) -> dict[str, Any]:
        """See `EnergyAccount`."""
        counter = self.counter
        return {
            "total": self.total,
            "estimated": self.estimated,
            "counter": None if counter is None else counter.value,
            "counter_age": None if counter is None or counter.when is None else monotonic - counter.when,
        }

    def restore(self, kept: object, then: float | None) -> None:
        """See `EnergyAccount`; `then` is when it was kept, on this clock."""
        self.total = _number(kept, "total", least=0.0)
        self.estimated = _number(kept, "estimated", least=0.0) or 0.0
        if (value := _number(kept, "counter", least=0.0)) is not None:
            age = _number(kept, "counter_age", least=0.0)
            self.counter = _Counter(value, None if then is None or age is None else then - age)


class _Charge:
    """The battery's own count of its charge, which tells what flowed while nobody knew the power.

    It is held against what is known since it was last heard, so that no stretch is counted twice. A count moves in
    steps (a hundredth of an Ah, a whole one, a percent of the capacity) and may flicker between two of them for hours:
    a change of a step or two is no proof that anything flowed. Then the powers at both ends of the stretch decide, as
    far as the count leaves room, and without them nothing is added. How coarse it is shows while the power is known.
    Only the net of a stretch is told: what came and went within it cancels out.
    """

    __slots__ = ("blind", "capacity", "coarse", "dark", "dark_power", "guess", "net", "seen", "voltage")

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.coarse = _COARSE  # Ah
        self.capacity: float | None = None  # Ah as last heard
        self.voltage = 0.0  # V at that time
        # since then:
        self.net = 0.0  # kWh by power
        self.blind = 0.0  # s of stretches without power that have come to an end
        self.guess: float | None = 0.0  # kWh in these by the powers at both ends, where these are known
        self.seen = 0.0  # s since the last of them ended
        self.dark = 0.0  # s of one that has not
        self.dark_power: float | None = None  # W when it began

    @property
    def pending(self) -> float:
        """Seconds without power of which the count may yet tell."""
        return self.blind + self.dark

    def see(self, energy: float, seconds: float) -> None:
        """The net energy of a stretch is known by power, kWh."""
        self.net += energy
        self.seen += seconds

    def miss(self, seconds: float, before: float | None, after: float | None) -> None:
        """It is not; the powers at both ends in W, as far as they are known."""
        if not self.dark:
            self.dark_power = before
        self.dark += seconds
        if after is None:
            return
        if self.dark_power is None or self.guess is None:
            self.guess = None
        else:
            self.guess += (self.dark_power + after) / 2 * self.dark / _JOULES_PER_KWH
        self.blind += self.dark
        self.dark = self.seen = 0.0

    def hear(self, capacity: float, voltage: float, most_power: float) -> tuple[float, float] | None:
        """Take in the count; the net energy (kWh) of what is pending, and of how many seconds nothing is known.

        None: of what is pending the next answers may tell more.
        """
        if self.capacity is None:
            return 0.0, self._go_on(capacity, voltage)
        mean = (self.voltage + voltage) / 2
        change = capacity - self.capacity
        difference = change * mean / 1000 - self.net
        if not self.pending:
            if change:
                known, off = (abs(energy) * 1000 / mean for energy in (self.net, difference))
                # what is not explained for the most part is a step of the count, of which some has flowed
                self.coarse = max(self.coarse * _FORGETTING, abs(change) if off > known else off)
            return 0.0, self._go_on(capacity, voltage)
        room = self.coarse * mean / 1000
        most = most_power * self.pending / _JOULES_PER_KWH
        if abs(difference) > room + most:
            return 0.0, self._go_on(capacity, voltage)  # set right, or another battery's: not what flowed
        guess = None if self.dark else self.guess
        if abs(difference) > room * (_PROOF_ALONE if guess is None else _PROOF):
            flowed = difference
        elif guess is not None:
            flowed = min(max(guess, difference - room), difference + room)
        elif self.dark:
            return None
        else:
            return 0.0, self._go_on(capacity, voltage)
        self._go_on(capacity, voltage)
        return min(max(flowed, -most), most), 0.0

    def _go_on(self, capacity: float, voltage: float) -> float:
        lost = self.forget()
        self.capacity, self.voltage = capacity, voltage
        return lost

    def forget(self) -> float:
        """Nothing is held against what was heard any more; the seconds of which nobody will tell."""
        lost = self.pending
        self.capacity = None
        self.net = self.blind = self.seen = self.dark = 0.0
        self.guess = 0.0
        return lost

    def swap(self) -> None:
        """See `EnergyAccount`."""
        self.net = -self.net
        self.guess = None if self.guess is None else -self.guess
        self.dark_power = None if self.dark_power is None else -self.dark_power

    def as_mapping(self) -> dict[str, Any]:
        """See `EnergyAccount`."""
        return {name: getattr(self, name) for name in self.__slots__}

    def restore(self, kept: object) -> None:
        """See `EnergyAccount`."""
        self.coarse = _number(kept, "coarse", least=0.0) or _COARSE
        capacity, voltage = _number(kept, "capacity", least=0.0), _number(kept, "voltage", least=0.0)
        if capacity is None or not voltage:
            return
        self.capacity, self.voltage = capacity, voltage
        self.net = _number(kept, "net") or 0.0
        self.blind, self.seen, self.dark = (_number(kept, key, least=0.0) or 0.0 for key in ("blind", "seen", "dark"))
        self.guess, self.dark_power = _number(kept, "guess"), _number(kept, "dark_power")


class EnergyAccount:
    """Energy in both directions over years: by the battery's own counters where it has them, else by its power.

    Power is summed by trapezoids between readings that are not too far apart; what flowed in a gap (silence, a
    restart, power not reported) is estimated by the battery's count of its charge, or else not at all. Totals never
    fall.
    """

    __slots__ = ("_charge", "_in", "_interrupted", "_last", "_out", "longest_gap", "most_power", "unobserved")

    def __init__(self, *, longest_gap: float, most_power: float) -> None:
        """Begin with nothing."""
        self.longest_gap = longest_gap  # s; more between two readings is a gap. May follow the pace of whoever asks
        self.most_power = most_power  # W in either direction; no step is greater than this times its time
        self.unobserved = 0.0  # s of which nothing is known, so that nothing was added
        self._in, self._out = _Direction(), _Direction()
        self._charge = _Charge()
        self._last: tuple[float, float | None] | None = None  # time and power of the last reading
        self._interrupted = False  # by a restart since then

    @property
    def charged(self) -> float | None:
        """KWh that went in; None: nothing was ever known."""
        return self._in.total

    @property
    def discharged(self) -> float | None:
        """KWh that came out; None: nothing was ever known."""
        return self._out.total

    @property
    def estimated_charged(self) -> float:
        """KWh of the total that were bridged over gaps."""
        return self._in.estimated

    @property
    def estimated_discharged(self) -> float:
        """KWh of the total that were bridged over gaps."""
        return self._out.estimated

    def observe(self, reading: Reading) -> Added:
        """Take in a reading; what came to the totals by it.

        One that is not later than the last is left out. A battery's counter that is heard for the first time is where
        a total begins, and adds nothing.
        """
        if self._last is not None and reading.when <= self._last[0]:
            return Added()
        charged, discharged = self._count(reading)
        power = _finite(reading.power)
        if power is not None:
            power = min(max(power, -self.most_power), self.most_power)
        capacity, voltage = _finite(reading.remaining_capacity), _finite(reading.voltage)
        if power is not None or (capacity is not None and voltage):
            self._in.begin()
            self._out.begin()
        by_power, unobserved = self._pass(reading.when, power)
        bridged = 0.0
        if capacity is not None and voltage is not None and voltage > 0:
            if (told := self._charge.hear(capacity, voltage, self.most_power)) is not None:
                bridged, lost = told
                unobserved += lost
        elif self._charge.seen > self.longest_gap:
            unobserved += self._charge.forget()  # what is known since then is not so exact that a difference tells much
        estimated_charged = self._in.take(max(0.0, bridged))
        estimated_discharged = self._out.take(max(0.0, -bridged))
        self._in.estimated += estimated_charged
        self._out.estimated += estimated_discharged
        if self._in.counter is not None and self._out.counter is not None:
            unobserved = 0.0  # the battery has not stopped counting
        self.unobserved += unobserved
        return Added(
            charged=charged + self._in.take(by_power[0]) + estimated_charged,
            discharged=discharged + self._out.take(by_power[1]) + estimated_discharged,
            estimated_charged=estimated_charged,
            estimated_discharged=estimated_discharged,
            unobserved=unobserved,
        )

    def _count(self, reading: Reading) -> tuple[float, float]:
        """What came to the totals by the battery's own counters, kWh."""
        values = (_finite(reading.charged), _finite(reading.discharged))
        charged, discharged = (
            0.0 if value is None or value < 0 else direction.count(value, reading.when, self.most_power)
            for direction, value in zip((self._in, self._out), values, strict=True)
        )
        return charged, discharged

    def _pass(self, when: float, power: float | None) -> tuple[tuple[float, float], float]:
        """Go on to the time and power of a reading; kWh in either direction by power, and seconds that are lost."""
        last, interrupted = self._last, self._interrupted
        self._last, self._interrupted = (when, power), False
        if last is None:
            return (0.0, 0.0), 0.0
        seconds = when - last[0]
        if power is None or last[1] is None or interrupted or seconds > self.longest_gap:
            if self._charge.capacity is None:
                return (0.0, 0.0), seconds
            self._charge.miss(seconds, last[1], power)
            return (0.0, 0.0), 0.0
        above, below = (joules / _JOULES_PER_KWH for joules in _areas(last[1], power, seconds))
        self._charge.see(above - below, seconds)
        return (above, below), 0.0

    def add(self, added: Added) -> None:
        """Take over what came to an account that is a part of this one: a pack's, for that of its bank."""
        for direction, energy in ((self._in, added.charged), (self._out, added.discharged)):
            direction.begin()
            direction.take(energy)
        self._in.estimated += added.estimated_charged
        self._out.estimated += added.estimated_discharged
        self.unobserved += added.unobserved

    def swap(self) -> None:
        """The current sensor is the other way round: what was charged was discharged."""
        self._in, self._out = self._out, self._in
        self._charge.swap()
        if self._last is not None and self._last[1] is not None:
            self._last = (self._last[0], -self._last[1])

    def as_mapping(self, monotonic: float, utc: datetime) -> dict[str, Any]:
        """What has to be kept over a restart, as JSON knows it; the two times are of the same moment."""
        age, power = (None, None) if self._last is None else (monotonic - self._last[0], self._last[1])
        return {
            "utc": utc.isoformat(),
            "age": age,
            "power": power,
            "charged": self._in.as_mapping(monotonic),
            "discharged": self._out.as_mapping(monotonic),
            "charge": self._charge.as_mapping(),
            "unobserved": self.unobserved,
        }

    def restore(self, kept: Mapping[str, Any], monotonic: float, utc: datetime) -> None:
        """Go on from there, and take the time between for a gap; what cannot be read is not known.

        Where the clock was set back meanwhile nobody knows how long that was, and nothing is added for it.
        """
        then = _when_kept(kept, monotonic, utc)
        self.unobserved = _number(kept, "unobserved", least=0.0) or 0.0
        self._in.restore(kept.get("charged"), then)
        self._out.restore(kept.get("discharged"), then)
        self._charge.restore(kept.get("charge"))
        if then is None or (age := _number(kept, "age", least=0.0)) is None:
            self.unobserved += self._charge.forget()
            return
        self._last = (then - age, _number(kept, "power"))
        self._interrupted = True


def _when_kept(kept: Mapping[str, Any], monotonic: float, utc: datetime) -> float | None:
    """When something was kept, in s on this run's clock; None: nobody knows."""
    try:
        elapsed = (utc - datetime.fromisoformat(kept["utc"])).total_seconds()
    except KeyError, TypeError, ValueError:
        return None
    return monotonic - elapsed if elapsed >= 0 else None


def _number(kept: object, key: str, *, least: float | None = None) -> float | None:
    """A finite number out of what was kept, not below `least`."""
    value = kept.get(key) if isinstance(kept, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) and (least is None or number >= least) else None


def _finite(value: float | None) -> float | None:
    """A total that is not a number once stays so."""
    return value if value is not None and isfinite(value) else None
