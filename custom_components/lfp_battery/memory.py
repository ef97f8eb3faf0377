"""What is remembered of an entry's units beside its data: figures that grow with every reading, too often for the entry."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.storage import Store

from .bms.clock import Clock
from .bms.energy import EnergyAccount
from .const import DOMAIN
from .history import async_exchange

# After a loss of power so many seconds are forgotten at most; they are a gap then, which a battery's own charge may bridge.
_SAVE_DELAY = 300.0
_VERSION = 1

type Remembered = dict[str, Any]  # of one unit, by section: see `LfpCoordinator.remembered`


def _store(hass: HomeAssistant, entry_id: str) -> Store[dict[str, Any]]:
    # a home that lives by this battery may lose its power in the middle of a save: what was there stays whole
    return Store(hass, _VERSION, f"{DOMAIN}.{entry_id}", atomic_writes=True)


def path(hass: HomeAssistant, entry_id: str) -> str:
    """Where it is kept."""
    return str(_store(hass, entry_id).path)


async def async_remove(hass: HomeAssistant, entry_id: str) -> None:
    """Keep nothing of an entry that is removed."""
    await _store(hass, entry_id).async_remove()


class Memory:
    """The memory of one loaded entry; units are known by their identities."""

    def __init__(
        self, hass: HomeAssistant, entry_id: str, clock: Clock, collect: Callable[[], Mapping[str, Remembered]]
    ) -> None:
        """`collect` says what there is to remember of the units that are here now."""
        self._hass = hass
        self._store = _store(hass, entry_id)
        self._clock = clock
        self._collect = collect
        self._kept: Mapping[str, Any] = {}  # as it was read
        self._units: dict[str, Remembered] = {}
        self._inverted = False
        self._due = False  # a save is on its way
        self._closed = False

    async def async_load(self, *, inverted: bool) -> None:
        """Read what was kept; where the current sensor has been turned round since, every total changes its name.

        So does what was recorded of it, which is why this must come before there are entities.

        Raises:
            UnsupportedStorageVersionError: a later version kept it, which stays as it is.
        """
        self._kept = kept = mapping(await self._store.async_load())
        self._inverted = inverted
        self._units = {identity: dict(mapping(unit)) for identity, unit in mapping(kept.get("units")).items()}
        if kept.get("inverted", inverted) != inverted:
            for unit in self._units.values():
                unit["energy"] = self._swapped(mapping(unit.get("energy")))
            async_exchange(self._hass, self._units)
            # at once: read again as it was, it would all be swapped a second time, and only the recorder would have kept it
            await self._store.async_save({**kept, "inverted": inverted, "units": self._units})

    def of(self, identity: str) -> Remembered:
        """What is remembered of a unit; empty of one that was never here."""
        return self._units.get(identity, {})

    @callback
    def put(self, identity: str, remembered: Remembered) -> None:
        """Remember a unit that is about to leave, and may come back."""
        self._units[identity] = remembered

    @callback
    def forget(self, identities: Collection[str]) -> None:
        """Forget units whose devices are deleted."""
        for identity in identities:
            self._units.pop(identity, None)
        self.async_changed()

    @callback
    def keep(self, is_known: Callable[[str], bool]) -> None:
        """Forget every unit that nobody knows any more."""
        self._units = {identity: unit for identity, unit in self._units.items() if is_known(identity)}

    @callback
    def async_changed(self) -> None:
        """There is something new to be remembered: some minutes from now, or when Home Assistant stops."""
        # only one save at a time is asked for: a second one would put off the first
        if not self._due and not self._closed:
            self._due = True
            self._store.async_delay_save(self._data, _SAVE_DELAY)

    @callback
    def async_stop(self) -> None:
        """Write nothing any more, also not what is on its way: the file is another's from now on, or gone."""
        if not self._closed:
            self._closed = True
            self._store.make_read_only()

    async def async_close(self) -> None:
        """Save at once; what is learned from now on is not remembered, as whoever loads the entry next has this."""
        self._closed = True
        await self._store.async_save(self._data())

    @callback
    def _data(self) -> dict[str, Any]:
        self._due = False
        for identity, remembered in self._collect().items():
            # sections that a later version has added are not ours to drop
            self._units[identity] = {**self._units.get(identity, {}), **remembered}
        return {**self._kept, "inverted": self._inverted, "units": self._units}

    def _swapped(self, energy: Mapping[str, Any]) -> dict[str, Any]:
        monotonic, utc = self._clock.monotonic(), self._clock.utc()
        account = EnergyAccount(longest_gap=0.0, most_power=0.0)
        account.restore(energy, monotonic, utc)
        account.swap()
        return account.as_mapping(monotonic, utc)


def mapping(kept: object) -> Mapping[str, Any]:
    """What should be a mapping, and may be anything."""
    return kept if isinstance(kept, dict) else {}
