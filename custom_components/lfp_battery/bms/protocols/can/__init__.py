"""Families of CAN broadcasts, by the name that entries, captures and the command line use."""

from .afore import Afore
from .base import CanFamily
from .deye import DeyePcs
from .goodwe import GoodWeClassic
from .growatt import Growatt
from .megarevo import Megarevo
from .pytes import Pytes
from .set35x import FAMILIES as SET_35X

_FAMILIES: tuple[CanFamily, ...] = (
    Growatt(),
    DeyePcs(),
    Pytes(),
    Megarevo(),
    GoodWeClassic(),
    Afore(),
    *SET_35X,
)

CAN: dict[str, CanFamily] = {family.name: family for family in _FAMILIES}
