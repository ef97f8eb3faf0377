"""A house that is never at rest, around a simulated bank: the simulator's day, with clouds, a fridge, kettles and noise."""

from dataclasses import dataclass, field
from functools import cache
import random
from typing import Final

from tests.simulator.bank import DayProfile, Demand, Profile

# Shares of the bank's capacity an hour; of 14 packs with 100 Ah 0.01 is 0.7 kW
_NOISE: Final = 0.0005  # either way, anew every 10 s: what an inverter leaves over that follows the house
_FRIDGE, _FRIDGE_PERIOD = 0.0016, 2700.0  # s; runs a third of the time
_KETTLE, _KETTLE_SLOT = 0.028, 240  # s
_KETTLES = {True: 0.10, False: 0.01}  # chance of one in a slot, while people are up and at night
_CLOUD_SLOT = 90  # s; in between the light changes evenly
_SHADE = 0.6  # what a cloud takes at most, of what the sun gives


@cache
def _chance(kind: str, slot: int) -> float:
    """The same for the same slot in every run, 0 to 1."""
    return random.Random(f"{kind} {slot}").random()


@dataclass(frozen=True, slots=True, kw_only=True)
class LivedIn:
    """A household with what the simulator's leaves out, whose current stands still for hours."""

    base: Profile = field(default_factory=DayProfile)

    def __call__(self, seconds: float) -> Demand:
        """See `Profile`."""
        rate, ambient = self.base(seconds)
        if rate > 0:
            slot, part = divmod(seconds / _CLOUD_SLOT, 1)
            light = _chance("cloud", int(slot)) * (1 - part) + _chance("cloud", int(slot) + 1) * part
            rate *= 1 - _SHADE * max(0.0, 2 * light - 1)
        rate += _NOISE * (2 * _chance("noise", int(seconds / 10)) - 1)
        if seconds % _FRIDGE_PERIOD < _FRIDGE_PERIOD / 3:
            rate -= _FRIDGE
        awake = 6 <= seconds % 86400 / 3600 < 23
        if _chance("kettle", int(seconds / _KETTLE_SLOT)) < _KETTLES[awake]:
            rate -= _KETTLE
        return Demand(rate, ambient)
