"""What a family of CAN broadcasts offers: which frames it has and what each says. No I/O, no clock, nothing remembered.

A battery on a CAN bus is not asked: it sends a set of frames again and again, one figure in one frame, and some figures
can be told only from several of them. So a frame is read by itself, and what is fresh is composed.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, override

from ...can_frame import CanFrame
from ...model import BankState, Identity, PackState, power_of
from ..base import BatteryProtocol, Decoded

# Where the identity of the bank stands among those of the packs, which count from 1.
BANK = 0

_POWER: Final = frozenset({"power"})
_NOTHING: Mapping[str, Any] = MappingProxyType({})

# Fields of Identity that come in two frames, as "model_1" and "model_2"; whether the first half may stand alone.
_HALVES: Mapping[str, bool] = MappingProxyType({"model": True, "serial": False})


def _join_halves(identity: dict[str, Any]) -> None:
    """Half a serial number would be another one, half a name is still a name."""
    for name, may_stand_alone in _HALVES.items():
        first, second = identity.pop(f"{name}_1", None), identity.pop(f"{name}_2", None)
        if first is None or (second is None and not may_stand_alone):
            continue
        if text := (first + (second or "")).strip():
            identity.setdefault(name, text)


@dataclass(slots=True)
class Said:
    """What one frame says; what it does not say is absent, and nothing stands in for it.

    Not frozen, because one is made of every frame, and a frozen one takes three times as long.
    """

    values: Mapping[str, Any] = _NOTHING  # fields of BankState, or of PackState where `pack` is given
    pack: int | None = None  # from 1
    identity: Mapping[str, Any] = _NOTHING  # fields of Identity, of the pack or else of the bank
    info: Mapping[str, Any] = _NOTHING


class CanFamily(BatteryProtocol):
    """One set of frames."""

    name: ClassVar[str]
    ids: ClassVar[frozenset[int]]  # that can be read
    # Of these, the ones that hold (parts of) a serial number, kept out of diagnostics; needed to say `tells_serials`.
    private_ids: ClassVar[frozenset[int]] = frozenset()
    on_change: ClassVar[frozenset[int]] = frozenset()  # sent only when they have something else to say
    # What says nothing until it is known who made the battery, because one maker counts in other units.
    known_by_maker: ClassVar[frozenset[str]] = frozenset()
    has_packs: ClassVar[bool] = False  # sends frames of each pack, too
    address_groups: ClassVar[tuple[tuple[int, ...], ...]] = (tuple(range(1, 17)),)

    @property
    @override
    def speaks_for_bank(self) -> bool:
        """See `BatteryProtocol`."""
        return not self.has_packs

    @property
    @override
    def tells_serials(self) -> bool:
        """See `BatteryProtocol`."""
        return bool(self.private_ids)

    @abstractmethod
    def read(self, frame: CanFrame) -> Said | None:
        """What one frame says; None for a frame of others, or one in which nothing can be read. Never raises."""

    def settle(self, bank: dict[str, Any], packs: Mapping[int, dict[str, Any]], info: dict[str, Any]) -> None:
        """Decide, in place, what only several frames together can tell."""

    def compose(self, said: Iterable[Said]) -> Decoded:
        """Put together what fresh frames say, oldest first: the last one stands, but every alarm counts."""
        bank: dict[str, Any] = {}
        packs: dict[int, dict[str, Any]] = {}
        identities: dict[int, dict[str, Any]] = {}
        info: dict[str, Any] = {}
        for one in said:
            if values := one.values:
                unit = bank if one.pack is None else packs.setdefault(one.pack, {})
                if "alarms" in values and (alarms := unit.get("alarms")):
                    unit |= values
                    unit["alarms"] |= alarms
                else:
                    unit |= values
            if one.identity is not _NOTHING:
                identities.setdefault(one.pack or BANK, {}).update(one.identity)
            if one.info is not _NOTHING:
                info |= one.info
        for identity in identities.values():
            _join_halves(identity)
        self.settle(bank, packs, info)
        _derive_power(bank)
        for unit in packs.values():
            _derive_power(unit)
        if bank:
            bank.setdefault("family", self.name)
        # empty mappings are made without a comprehension: this runs for every report
        return Decoded(
            packs={pack: PackState(address=pack, **values) for pack, values in sorted(packs.items())} if packs else {},
            bank=BankState(**bank) if bank else None,
            identities={pack: Identity(**who) for pack, who in identities.items() if who} if identities else {},
            info=info,
        )


def _derive_power(unit: dict[str, Any]) -> None:
    if "power" not in unit and (power := power_of(unit.get("voltage"), unit.get("current"))) is not None:
        unit["power"] = power
        unit["derived"] = unit["derived"] | _POWER if "derived" in unit else _POWER
