"""What flowed while nobody knew the power, out of the battery's own count of its charge."""

from dataclasses import dataclass
from typing import Any

from .energy_counter import JOULES_PER_KWH
from .kept import number

# How coarse a count of charge is taken for, in Ah, until it has shown it: some batteries say whole Ah ...
_COARSE = 1.0
# ... and how coarse one may be, in Ah or as a share of the full capacity: the coarsest known counts percents, of 314 Ah
# 3.14. A greater step was no step but a count that was set right, or a wrong reading: it teaches nothing.
_COARSEST = 4.0
_COARSEST_SHARE = 0.0125
# ... and how much of that is still believed after each step of it that was finer: a jump at the end of a charge, where
# a battery sets its count right, is forgotten within a quarter of an hour's readings.
_FORGETTING = 0.95
# Steps of such a count that prove that something flowed; of fewer, the powers at both ends of a gap know better. Simulated
# (tests/energy_month.py, 1 and 3.14 Ah a step, flickering, 20 s away every hour or 10 min every six): totals 0.4 % wrong at
# most instead of 0.7 to 2.5 %, and of an idle battery no longer ten times what flowed. 2 h away every twelve: 0.3 and 1.8 %.
_PROOF = 2.5
_PROOF_ALONE = 1.5  # where the powers are not known
# A full capacity that differs by more is another battery's: a pack was added to a bank, or exchanged.
_SAME_BATTERY = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A count of charge, and whose it is."""

    capacity: float  # Ah
    voltage: float  # V
    full: float | None = None  # Ah when full
    modules: int | None = None  # of a bank

    def is_of(self, other: Count) -> bool:
        """Whether it is the same battery's, as far as both say."""
        if self.modules is not None and other.modules is not None and self.modules != other.modules:
            return False
        return not self.full or not other.full or abs(self.full - other.full) <= _SAME_BATTERY * other.full

    def joined(self, earlier: Count) -> Count:
        """This one, with whose it is from the earlier where it does not say."""
        return Count(
            capacity=self.capacity,
            voltage=self.voltage,
            full=self.full or earlier.full,
            modules=earlier.modules if self.modules is None else self.modules,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """What a count tells of the stretches that were pending."""

    net: float = 0.0  # kWh
    seconds: float = 0.0  # of the stretches it is about
    lost: float = 0.0  # s of which nothing is known, or not enough


class ChargeCount:
    """The count is held against what is known since it was last heard, so that no stretch is counted twice.

    A count moves in steps (a hundredth of an Ah, a whole one, a percent of the capacity) and may flicker between two of
    them for hours: a change of a step or two is no proof that anything flowed. Then the powers at both ends of the
    stretch decide, as far as the count leaves room, and without them nothing is added. How coarse it is shows while the
    power is known. Only the net of a stretch is told: what came and went within it cancels out.
    """

    __slots__ = ("_base", "_blind", "_coarse", "_dark", "_dark_power", "_guess", "_heard", "_net", "_quiet", "_seen")

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self._coarse = _COARSE  # Ah
        self._base: Count | None = None  # what the next one is held against
        self._heard = 0.0  # Ah as last heard, which may be later where that left something pending
        self._quiet = 0.0  # s since then
        # since the base:
        self._net = 0.0  # kWh by power
        self._blind = 0.0  # s of stretches without power that have come to an end
        self._guess: float | None = 0.0  # kWh in these by the powers at both ends, where these are known
        self._seen = 0.0  # s since the last of them ended
        self._dark = 0.0  # s of one that has not
        self._dark_power: float | None = None  # W when it began

    @property
    def is_heard(self) -> bool:
        """Whether there is a count to hold the next one against."""
        return self._base is not None

    @property
    def seen(self) -> float:
        """Seconds of which the power is known since a stretch without it."""
        return self._seen

    @property
    def _pending(self) -> float:
        """Seconds without power of which the count may yet tell."""
        return self._blind + self._dark

    def see(self, energy: float, seconds: float) -> None:
        """The net energy of a stretch is known by power, kWh."""
        self._net += energy
        self._seen += seconds
        self._quiet += seconds

    def miss(self, seconds: float, before: float | None, after: float | None) -> None:
        """It is not; the powers at both ends in W, as far as they are known."""
        if not self._dark:
            self._dark_power = before
        self._dark += seconds
        self._quiet += seconds
        if after is None:
            return
        if self._dark_power is None or self._guess is None:
            self._guess = None
        else:
            self._guess += (self._dark_power + after) / 2 * self._dark / JOULES_PER_KWH
        self._blind += self._dark
        self._dark = self._seen = 0.0

    def hear(self, count: Count, most_power: float) -> Bridge:
        """Take in the count; what is not told yet stays pending, as the next answers may tell more."""
        base = self._base
        if base is None:
            return self._go_on(count)
        mean = (base.voltage + count.voltage) / 2
        most = most_power * self._quiet / mean / 3600  # Ah
        coarsest = max(_COARSEST, _COARSEST_SHARE * (count.full or 0.0))
        if not count.is_of(base) or abs(count.capacity - self._heard) > coarsest + most:
            return self._go_on(count)  # set right, or another battery's: not what flowed
        change = count.capacity - base.capacity
        difference = change - self._net * 1000 / mean
        if not self._pending:
            if change:
                # what is not explained for the most part is a step of the count, of which some has flowed
                off = abs(change) if abs(difference) > abs(change - difference) else abs(difference)
                if off <= coarsest:
                    self._coarse = max(self._coarse * _FORGETTING, off)
            return self._go_on(count)
        most = most_power * self._pending / mean / 3600
        if abs(difference) > self._coarse + most:
            return self._go_on(count)
        flowed, seconds = self._flowed(difference, mean), self._pending
        if flowed is None:
            if not self._dark:
                return self._go_on(count)
            self._heard, self._quiet = count.capacity, 0.0
            return Bridge()
        self._go_on(count)
        overridden = abs(difference - flowed) > _COARSE
        net = min(max(flowed, -most), most) * mean / 1000
        return Bridge(net=net, seconds=seconds, lost=seconds if overridden else 0.0)

    def _flowed(self, difference: float, mean: float) -> float | None:
        """Ah in the stretches that are pending; None: the count does not tell."""
        guess = None if self._dark or self._guess is None else self._guess * 1000 / mean
        if abs(difference) > self._coarse * (_PROOF_ALONE if guess is None else _PROOF):
            return difference
        return None if guess is None else min(max(guess, difference - self._coarse), difference + self._coarse)

    def _go_on(self, count: Count) -> Bridge:
        earlier = self._base
        lost = self.forget()
        self._base = count if earlier is None else count.joined(earlier)
        self._heard, self._quiet = count.capacity, 0.0
        return Bridge(lost=lost)

    def forget(self) -> float:
        """Nothing is held against what was heard any more; the seconds of which nobody will tell."""
        lost = self._pending
        self._base = None
        self._net = self._blind = self._seen = self._dark = 0.0
        self._guess = 0.0
        return lost

    def swap(self) -> None:
        """See `EnergyAccount`."""
        self._net = -self._net
        self._guess = None if self._guess is None else -self._guess
        self._dark_power = None if self._dark_power is None else -self._dark_power

    def as_mapping(self) -> dict[str, Any]:
        """See `EnergyAccount`."""
        base = self._base
        return {
            "coarse": self._coarse,
            "capacity": None if base is None else base.capacity,
            "voltage": None if base is None else base.voltage,
            "full": None if base is None else base.full,
            "modules": None if base is None else base.modules,
            "heard": self._heard,
            "quiet": self._quiet,
            "net": self._net,
            "blind": self._blind,
            "guess": self._guess,
            "seen": self._seen,
            "dark": self._dark,
            "dark_power": self._dark_power,
        }

    def restore(self, kept: object) -> None:
        """See `EnergyAccount`."""
        self._coarse = number(kept, "coarse", least=0.0) or _COARSE
        capacity, voltage = number(kept, "capacity", least=0.0), number(kept, "voltage", least=0.0)
        if capacity is None or not voltage:
            return
        modules = number(kept, "modules", least=0.0)
        self._base = Count(
            capacity=capacity,
            voltage=voltage,
            full=number(kept, "full", least=0.0),
            modules=None if modules is None else int(modules),
        )
        heard = number(kept, "heard", least=0.0)
        self._heard = capacity if heard is None else heard
        self._quiet, self._blind, self._seen, self._dark = (
            number(kept, key, least=0.0) or 0.0 for key in ("quiet", "blind", "seen", "dark")
        )
        self._net = number(kept, "net") or 0.0
        self._guess, self._dark_power = number(kept, "guess"), number(kept, "dark_power")
