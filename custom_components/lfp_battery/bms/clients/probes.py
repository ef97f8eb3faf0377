"""Which temperature sensors a pack has, where one that is not there reads 0 degC, as one that is may."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from ..model import PackState


class Probes:
    """Shows a sensor from its first reading on that is not 0, and for ever after: 0 degC is when it matters most."""

    def __init__(
        self, known: Mapping[int, Collection[int]], *, mute: bool, whose: Mapping[int, str] = MappingProxyType({})
    ) -> None:
        """`known`: places from 0 by the address of the pack; `mute`: whether this has to be told apart at all.

        `whose`: serial numbers, as far as packs say them, of those that had these sensors.
        """
        self._mute = mute
        self._places = {address: set(places) for address, places in known.items()}
        self._whose = dict(whose)

    def forget(self, address: int) -> None:
        """Another pack may be at this address next."""
        self._places.pop(address, None)
        self._whose.pop(address, None)

    def belong(self, address: int, serial: str) -> None:
        """The pack at this address says who it is: another one than before has sensors of its own."""
        if self._whose.get(address, serial) != serial:
            self.forget(address)
        self._whose[address] = serial

    def shown(self, state: PackState | None) -> PackState | None:
        """The same reading without the sensors that have said nothing so far."""
        if not self._mute or state is None or state.cell_temperatures is None:
            return state
        places = self._places.setdefault(state.address, set())
        places.update(place for place, celsius in enumerate(state.cell_temperatures) if celsius)
        shown = [celsius if place in places else None for place, celsius in enumerate(state.cell_temperatures)]
        while shown and shown[-1] is None:
            shown.pop()
        return replace(state, cell_temperatures=tuple(shown) or None)
