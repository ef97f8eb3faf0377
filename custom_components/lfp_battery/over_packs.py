"""A bank as its packs show it: which of them count at a moment, and when what they come to is known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from . import counting
from .bms import bank
from .bms.bank import BankFigures, Member
from .bms.clock import Clock
from .bms.model import BankState, CycleReport, PackState, PollReport
from .identity import Record
from .settling import Settling, too_far_apart


class Pack(Protocol):
    """What is asked of each."""

    data: PollReport[PackState]
    number: str
    record: Record
    revision: int  # of its answers
    cycle_seconds: float  # what the last round took

    @property
    def online(self) -> bool:
        """Whether it answers."""

    @property
    def current(self) -> bool:
        """Whether it was heard lately."""


class OverPacks[PackT: Pack]:
    """The figures of a bank that has packs; renewed when it is told to."""

    def __init__(self, clock: Clock, packs: Mapping[int, PackT], capacity: float | None) -> None:
        """`packs` by their addresses: they come and go; `capacity` is that of one by its manual, Ah."""
        self._clock = clock
        self._capacity = capacity
        self._settling = Settling()
        self._answers = 0  # of all packs, as far as the figures hold them
        self.packs = packs
        self.unasked: frozenset[int] = frozenset()  # addresses of packs whose devices are disabled
        self.derivable: frozenset[str] = frozenset()  # fields that can be worked out; none with fewer than two packs
        self.figures = BankFigures(state=BankState())  # as they were last worked out

    @property
    def members(self) -> tuple[Member, ...]:
        """The packs that are known, in the order of their addresses, as they are when a round is over."""
        newest = max((pack.data.received or 0.0 for pack in self.packs.values()), default=0.0)
        return tuple(
            Member(
                number=pack.number,
                state=pack.data.state,
                online=pack.online,
                asked=address not in self.unasked,
                current=pack.current and newest - (pack.data.received or 0.0) <= too_far_apart(pack.cycle_seconds),
                capacity=self._capacity,
            )
            for address, pack in sorted(self.packs.items())
        )

    @property
    def online(self) -> int:
        """How many packs answer."""
        return sum(pack.online for pack in self.packs.values())

    @property
    def known(self) -> bool:
        """Whether it can be worked out: any pack answers, and it is known which do."""
        return bool(self.derivable) and self._settling.settled and self.online > 0

    def look(self, own_fields: frozenset[str]) -> None:
        """See what there is to work out besides what the bank says itself, and whether any pack is left to do it of."""
        self.derivable = bank.derivable([pack.record.fields for pack in self.packs.values()]) - own_fields
        if not self.online:
            self._settling.upset()

    def work_out(self, own: BankState | None, own_fields: frozenset[str]) -> BankFigures | None:
        """Renew the figures; what they come to by what the packs have answered since, None where nothing new.

        What stands in for a value that is held back is shown as that of a pack is, and as there it counts for nothing.
        """
        members = self.members if self.known else ()
        figures = bank.figures(members, own, own_fields)
        # packs that fall asleep go one by one: what the last of them holds is not what the bank holds
        cycle = max((pack.cycle_seconds for pack in self.packs.values()), default=0.0)
        losing = self._settling.losing(self._clock.monotonic(), cycle)
        self.figures = bank.keeping_charge(figures, self.figures) if losing else figures
        answers = sum(pack.revision for pack in self.packs.values())
        if not members or answers == self._answers:
            return None
        self._answers = answers
        held_back = [pack.data.held_back for _, pack in sorted(self.packs.items())]
        return bank.figures(_without(members, held_back), own, own_fields) if any(held_back) else figures

    def outdate(self) -> bool:
        """Take back totals a part of which has grown old; whether there are any."""
        if not self.figures.complete or all(pack.current for pack in self.packs.values()):
            return False
        self.figures = bank.without_totals(self.figures)
        return True

    # --- which packs answer ------------------------------------------------------------------------------------------

    def turned(self, online: bool) -> None:
        """A pack came, and counts from when the figures are renewed next; or it went."""
        now = self._clock.monotonic()
        if online:
            self._settling.came(now)
        else:
            self._settling.went(now)

    def upset(self) -> None:
        """The link went away or came back: nobody was heard on it so far."""
        self._settling.upset()

    @property
    def _missing(self) -> set[int]:
        return {address for address, pack in self.packs.items() if not pack.online} - self.unasked

    def settle(self, round_over: CycleReport | None = None, *, listens: bool = False) -> None:
        """See whether it is known by now which packs answer: when a round is over, or at any time when all do.

        `listens`: nobody is asked.
        """
        missing = self._missing
        if round_over is not None:
            now, silent = self._clock.monotonic(), None if listens else missing & round_over.silent
            self._settling.round_over(now, round_over.seconds, missing=missing, silent=silent)
        if not missing:
            self._settling.all_heard()

    def asked_in_vain(self, address: int) -> None:
        """A pack was asked by itself and did not answer."""
        self._settling.asked_in_vain(address, self._missing)

    def all_asked(self) -> None:
        """Every pack has just been asked whether it is there."""
        self._settling.all_heard()


def _without(members: Sequence[Member], held_back: Sequence[Mapping[str, str]]) -> list[Member]:
    """Packs as if what is held back of them had not been reported."""
    return [
        replace(member, state=member.state and counting.without(member.state, names))
        for member, names in zip(members, held_back, strict=True)
    ]
