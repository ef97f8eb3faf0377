"""Every set that a simulated battery can broadcast, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.simulator.bank import SimBank

from .set35x import PYLON
from .speaker import Broadcast, CanSpeaker


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSet:
    """One way to broadcast."""

    name: str
    family: str  # as detection names it
    broadcasts: Callable[[SimBank], tuple[Broadcast, ...]]
    needs: frozenset[int] = frozenset()  # ids of an inverter that it listens to


def _set(name: str, family: str, broadcasts: tuple[Broadcast, ...]) -> FrameSet:
    return FrameSet(name=name, family=family, broadcasts=lambda _: broadcasts)


_SETS: Final = (_set("pylon", "pylon", PYLON),)

SETS: Final[Mapping[str, FrameSet]] = {one.name: one for one in _SETS}


def make_speaker(name: str, bank: SimBank) -> CanSpeaker:
    """A battery that broadcasts this set (a key of `SETS`)."""
    one = SETS[name]
    return CanSpeaker(one.family, one.broadcasts(bank), bank, needs=one.needs)
