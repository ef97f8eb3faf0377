"""Every set that a simulated battery can broadcast, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from custom_components.lfp_battery.bms.can_frame import EXTENDED
from tests.simulator.bank import SimBank

from . import deye, growatt, natives, pylons, victrons
from .speaker import Broadcast, CanSpeaker


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSet:
    """One way to broadcast."""

    name: str
    family: str  # as detection names it
    broadcasts: Callable[[SimBank], tuple[Broadcast, ...]]
    hears: frozenset[int] = frozenset()  # ids of an inverter
    answers: bool = False  # sends nothing without it


def _set(name: str, family: str, broadcasts: tuple[Broadcast, ...], answers: frozenset[int] = frozenset()) -> FrameSet:
    return FrameSet(name=name, family=family, broadcasts=lambda _: broadcasts, hears=answers, answers=bool(answers))


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
    FrameSet(name="sofar", family="sofar", broadcasts=pylons.sofar, hears=frozenset({0x605, 0x705})),
    _set("dyness", "dyness", pylons.DYNESS),
    _set("discover", "discover", pylons.DISCOVER),
    _set("generic_35x", "generic_35x", pylons.GENERIC),
    _set("sma", "sma", victrons.SMA),
    _set("sma_goodwe", "sma", victrons.GOODWE_SMA),
    _set("victron", "victron", victrons.VICTRON),
    _set("victron_byd", "victron", victrons.BYD),
    _set("victron_mg", "victron", victrons.MG),
    FrameSet(name="deye_pcs", family="deye_pcs", broadcasts=deye.deye),
    _set("growatt", "growatt", growatt.GROWATT),
    _set("growatt_ark", "growatt", growatt.ARK),
    _set("growatt_jk", "growatt", growatt.JK),
    _set("pytes", "pytes", natives.PYTES),
    _set("afore", "afore", natives.AFORE, answers=frozenset({0x305})),
    _set("goodwe_classic", "goodwe_classic", natives.GOODWE),
    _set("goodwe_classic_tenths", "goodwe_classic", natives.GOODWE_TENTHS),
    _set("megarevo", "megarevo", natives.MEGAREVO, answers=frozenset({0x1F000100 | EXTENDED, 0x0001001F | EXTENDED})),
)

SETS: Final[Mapping[str, FrameSet]] = {one.name: one for one in _SETS}


def make_speaker(name: str, bank: SimBank) -> CanSpeaker:
    """A battery that broadcasts this set (a key of `SETS`)."""
    one = SETS[name]
    if one.family == "growatt":
        return growatt.GrowattSpeaker(one.broadcasts(bank), bank)
    return CanSpeaker(one.family, one.broadcasts(bank), bank, hears=one.hears, answers=one.answers)
