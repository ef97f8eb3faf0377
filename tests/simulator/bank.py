"""Packs in parallel, a house around them and a day that passes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
import math
from typing import Final, NamedTuple, Protocol

from custom_components.lfp_battery.bms.clock import Clock

from .pack import PackSpec, SimPack

_DAY: Final = 86400.0
_GROUP: Final = 0x10  # addresses of one group to those of the next, pylon-rs485.md section 5
_FIRST: Final = 0x02
PACKS_PER_GROUP: Final = 14


class Demand(NamedTuple):
    """What the house wants of the bank now."""

    rate: float  # share of the bank's capacity an hour, positive = charging
    ambient: float  # degC


class Profile(Protocol):
    """A house and its weather."""

    def __call__(self, seconds: float) -> Demand:
        """What is wanted `seconds` after midnight of the first day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayProfile:
    """Sun from eight to five, an evening with guests, a fridge at night."""

    solar: float = 0.17
    evening: float = 0.10
    base: float = 0.012
    ambient: float = 18.0  # degC, mean of the day
    swing: float = 5.0

    def __call__(self, seconds: float) -> Demand:
        """See `Profile`."""
        hour = seconds % _DAY / 3600
        rate = -self.base
        if 8 <= hour < 17:
            rate += self.solar * math.sin(math.pi * (hour - 8) / 9) * (1 + 0.08 * math.sin(seconds / 170))
        elif 17 <= hour < 23:
            rate -= self.evening * (1 + 0.15 * math.sin(seconds / 97))
        ambient = self.ambient - self.swing * math.cos(math.pi * (hour - 3) / 12)
        return Demand(rate, ambient)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """The same current and weather for ever."""

    rate: float = 0.0
    ambient: float = 20.0

    def __call__(self, seconds: float) -> Demand:
        """See `Profile`."""
        return Demand(self.rate, self.ambient)


def make_packs(count: int, spec: PackSpec | None = None, *, group: int = 0, first: int = _FIRST) -> dict[int, SimPack]:
    """`count` packs of one group by address, from `first` on, alike but not the same."""
    most = PACKS_PER_GROUP if first == _FIRST else _GROUP
    if not 1 <= count <= most:
        raise ValueError(f"a group has 1 to {most} packs, not {count}")
    base = spec or PackSpec()
    packs = {}
    for number in range(count):
        seed = base.seed + number + 100 * group
        address = first + number + _GROUP * group
        packs[address] = SimPack(
            replace(
                base,
                seed=seed,
                serial=f"{base.serial[:11]}{seed % 100000:05d}",
                soc=min(max(base.soc + 1.7 * math.sin(seed * 2.1), 0.0), 100.0),
                cycles=base.cycles + number % 3,
            )
        )
    return packs


class SimBank:
    """Packs on one busbar. Nothing happens until somebody looks: `advance` catches up with the clock."""

    def __init__(
        self,
        packs: int | Mapping[int, SimPack],
        clock: Clock,
        *,
        spec: PackSpec | None = None,
        profile: Profile | None = None,
        speed_up: float = 1.0,
        start_hour: float = 9.0,
        obedient: bool = True,
        reserve: float = 12.0,
        resolution: float = 1.0,
        longest_step: float = 30.0,
    ) -> None:
        """Put `packs` (a number, or packs by address) on a busbar.

        `speed_up`: simulated seconds in a second of the clock. `obedient`: the house keeps to the current limits,
        and stops discharging at `reserve` %.
        `resolution`: simulated seconds below which nothing is computed anew; a real BMS measures about as often.
        """
        self.packs: dict[int, SimPack] = make_packs(packs, spec) if isinstance(packs, int) else dict(packs)
        self.profile: Profile = profile or DayProfile()
        self.obedient = obedient
        self.reserve = reserve
        self.speed_up = speed_up
        self._clock = clock
        self._origin = clock.monotonic()
        self._start = start_hour * 3600
        self._elapsed = 0.0
        self._offset = 0.0
        self._resolution = resolution
        self._longest = longest_step
        self.frozen = False

    @property
    def elapsed(self) -> float:
        """Simulated seconds that have been computed."""
        return self._elapsed

    @property
    def time_of_day(self) -> float:
        """Simulated seconds since midnight."""
        return (self._start + self._elapsed) % _DAY

    @property
    def voltage(self) -> float:
        """Mean of the packs, V."""
        return sum(pack.voltage for pack in self.packs.values()) / len(self.packs)

    @property
    def current(self) -> float:
        """Sum of the packs, A, positive = charging."""
        return sum(pack.current for pack in self.packs.values())

    def present(self, address: int) -> SimPack | None:
        """The pack that would answer at this address."""
        pack = self.packs.get(address)
        return None if pack is None or pack.silent else pack

    def group(self, master: int) -> dict[int, SimPack]:
        """The packs that a master speaks for, by address."""
        high = master & 0xF0
        return {
            address: pack for address, pack in sorted(self.packs.items()) if address & 0xF0 == high and not pack.silent
        }

    def add(self, address: int, pack: SimPack) -> None:
        """Wire one more pack."""
        self.packs[address] = pack

    def remove(self, address: int) -> SimPack:
        """Take a pack away."""
        return self.packs.pop(address)

    def advance(self) -> None:
        """Catch up with the clock. Skips nothing, but rests between two measurements."""
        due = (self._clock.monotonic() - self._origin) * self.speed_up - self._offset
        if self.frozen:
            self._offset += due - self._elapsed
            return
        left = due - self._elapsed
        if left < self._resolution:
            return
        steps = math.ceil(left / self._longest)
        for _ in range(steps):
            self._move(left / steps)

    def step(self, dt: float) -> None:
        """Let `dt` simulated seconds pass ahead of the clock, which goes on from there."""
        self._offset -= dt
        self._move(dt)

    def _move(self, dt: float) -> None:
        self._elapsed += dt
        rate, ambient = self.profile(self._start + self._elapsed)
        packs = list(self.packs.values())
        if not packs:
            return
        wanted = rate * sum(pack.spec.capacity for pack in packs)
        if self.obedient:
            most = sum(pack.charge_limit for pack in packs)
            low = min(pack.soc for pack in packs) < self.reserve
            least = 0.0 if low else -sum(pack.discharge_limit for pack in packs)
            wanted = min(max(wanted, least), most)
        for pack, current in zip(packs, self._split(packs, wanted), strict=True):
            pack.step(dt, current, ambient)

    @staticmethod
    def _split(packs: list[SimPack], total: float) -> Iterable[float]:
        """Share a current as parallel batteries do: one voltage, each its own resistance; open switches carry none."""
        closed = [True] * len(packs)
        for _ in range(len(packs)):
            admittance = load = 0.0
            for pack, on in zip(packs, closed, strict=True):
                if on:
                    admittance += 1 / pack.resistance
                    load += pack.emf / pack.resistance
            if not admittance:
                break
            busbar = (total + load) / admittance
            currents = [
                (busbar - pack.emf) / pack.resistance if on else 0.0 for pack, on in zip(packs, closed, strict=True)
            ]
            bad = [
                i
                for i, (pack, current) in enumerate(zip(packs, currents, strict=True))
                if (current > 1e-9 and not pack.charge_enabled) or (current < -1e-9 and not pack.discharge_enabled)
            ]
            if not bad:
                return currents
            for i in bad:
                closed[i] = False
        return [0.0] * len(packs)
