"""Every set that a simulated battery can broadcast, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.simulator.bank import SimBank

from . import pylons, victrons
from .speaker import Broadcast, CanSpeaker


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSet:
    """One way to broadcast."""

    name: str
    family: str  # as detection names it
    broadcasts: Callable[[], tuple[Broadcast, ...]]
    needs: frozenset[int] = frozenset()  # ids of an inverter that it listens to


def _set(name: str, family: str, broadcasts: tuple[Broadcast, ...]) -> FrameSet:
    return FrameSet(name=name, family=family, broadcasts=lambda: broadcasts)


_SETS: Final = (
    _set("pylon", "pylon", pylons.PYLON),
    _set("pylon_v1.3", "sma", pylons.PYLON_V13),
    _set("pylon_v2", "pylon", pylons.PYLON_V2),
    _set("pylon_pytes", "pylon", pylons.PYTES_AS_PYLON),
    _set("solark", "solark", pylons.SOLARK),
    _set("luxpower", "luxpower", pylons.LUXPOWER),
    _set("pylon_goodwe", "pylon_goodwe", pylons.SEPLOS),
    _set("pylon_goodwe_070", "pylon_goodwe", pylons.SEPLOS_070),
    _set("pylon_goodwe_shoto", "pylon_goodwe", pylons.SHOTO),
    _set("li_residential", "li_residential", pylons.LI_RESIDENTIAL),
    FrameSet(name="sofar", family="sofar", broadcasts=pylons.sofar),
    _set("dyness", "dyness", pylons.DYNESS),
    _set("discover", "discover", pylons.DISCOVER),
    _set("generic_35x", "generic_35x", pylons.GENERIC),
    _set("sma", "sma", victrons.SMA),
    _set("sma_goodwe", "sma", victrons.GOODWE_SMA),
    _set("victron", "victron", victrons.VICTRON),
    _set("victron_byd", "victron", victrons.BYD),
    _set("victron_mg", "victron", victrons.MG),
)

SETS: Final[Mapping[str, FrameSet]] = {one.name: one for one in _SETS}


def make_speaker(name: str, bank: SimBank) -> CanSpeaker:
    """A battery that broadcasts this set (a key of `SETS`)."""
    one = SETS[name]
    return CanSpeaker(one.family, one.broadcasts(), bank, needs=one.needs)
