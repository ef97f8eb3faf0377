"""The packs behind one line, and the bank as far as it speaks for itself."""

from collections.abc import Collection
from typing import Any

from ..model import BankState, PackState
from ..plausibility import Limits
from ..protocols.base import PolledProtocol, Scope
from .units import Unit


class Roster:
    """Who is polled, by address."""

    def __init__(self, protocol: PolledProtocol, addresses: Collection[int], limits: Limits | None) -> None:
        """`addresses` are the packs known so far, or where the bank answers."""
        self._protocol = protocol
        self._limits = limits
        self.packs: dict[int, Unit[PackState]] = {}
        self.bank: Unit[BankState] | None = None
        scopes = {poll.scope for poll in protocol.polls}
        if Scope.PACK in scopes:
            for address in sorted(addresses):
                self.packs[address] = self.new_pack(address)
        if Scope.BANK in scopes and addresses:
            speaker = min(addresses)
            polls = protocol.polls_of(Scope.BANK, speaker)
            self.bank = Unit(speaker, BankState(), polls, integrity=protocol.integrity, limits=limits)

    @property
    def units(self) -> list[Unit[Any]]:
        """All of them."""
        return [*self.packs.values(), *([self.bank] if self.bank else [])]

    def new_pack(self, address: int) -> Unit[PackState]:
        """One that is not among them yet."""
        polls = self._protocol.polls_of(Scope.PACK, address)
        return Unit(address, PackState(address=address), polls, integrity=self._protocol.integrity, limits=self._limits)

    def add(self, pack: Unit[PackState]) -> None:
        """It has answered."""
        self.packs[pack.address] = pack
        self.packs = dict(sorted(self.packs.items()))

    def named(self, address: int) -> None:
        """An answer that speaks for every pack names this one."""
        if (pack := self.packs.get(address)) is not None:
            pack.noticed()
        else:
            self.add(self.new_pack(address))
