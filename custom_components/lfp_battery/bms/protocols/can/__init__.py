"""Families of CAN broadcasts, by the name that entries, captures and the command line use."""

from .base import CanFamily

_FAMILIES: tuple[CanFamily, ...] = ()

CAN: dict[str, CanFamily] = {family.name: family for family in _FAMILIES}
