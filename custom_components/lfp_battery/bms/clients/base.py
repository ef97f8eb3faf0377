"""What Home Assistant (or the command line) sees of a battery behind a link, whatever the protocol."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from ..errors import LinkError
from ..model import BankState, CycleReport, PackState, PollReport


class ClientListener(Protocol):
    """Told what a client learns, from the event loop, as it learns it."""

    def pack_polled(self, report: PollReport[PackState]) -> None:
        """A pack answered, fell silent or came back; also for an address not seen before."""

    def bank_polled(self, report: PollReport[BankState]) -> None:
        """The bank itself reported."""

    def cycle_finished(self, report: CycleReport) -> None:
        """One round is done."""

    def link_changed(self, error: LinkError | None) -> None:
        """The link went away (once, with the reason) or is back (None).

        Told again while it is away when a person has to bring the interface up by now (`LinkProblem.DOWN`), or no longer.
        """

    def other_master(self, protocol: str | None = None) -> None:
        """Somebody else asks on this line: from now on this client sends nothing any more (said once).

        `protocol` is the name of the one in which it was heard to ask, as far as its frames tell protocols apart: of
        all that share a frame with the protocol that is polled, it is that one. None: not known.
        """

    def family_changed(self, name: str) -> None:
        """A bus was found to carry another family of CAN frames than the client reads by now (said once each time).

        From the next report on, everything is what the new one says; nothing of the old one stands.
        """

    def unacknowledged(self, active: bool) -> None:
        """A CAN bus carries one frame over and over, because no node acknowledges it (said at a change)."""


class HeatingOutcome(StrEnum):
    """What came of switching the heating."""

    CONFIRMED = "confirmed"  # the pack says that the setting is as wished
    ACCEPTED = "accepted"  # acknowledged, and read back unchanged: perhaps so after the pack was switched off and on
    UNCHANGED = "unchanged"  # it was so already; nothing was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """What was sent to a pack and shows no effect so far: it may yet, when the pack is switched off and on."""

    wishes: frozenset[bool]  # any of them
    acknowledged: bool | None  # the one that the pack has acknowledged, nothing having been sent since
    setting: bool | None  # as it was read then


class HeatingControl(Protocol):
    """Switches the heating of packs, by a person's act only: one frame, never repeated, then what the pack says of it."""

    async def switch(self, address: int, *, enabled: bool) -> HeatingOutcome:
        """Send the one frame that makes the setting so, and read it back for up to 10 s.

        Raises:
            HeatingError: it was not done; the pack's own word stands.
            LinkError: the link is down, so nothing was sent.
        """

    def before(self, address: int) -> bool | None:
        """How the setting stood, as it was read just before the last frame to this pack; None: none was sent."""

    def acts(self, address: int) -> Sequence[datetime]:
        """When frames were sent to this pack within the last 24 hours (UTC), so that a restart does not forget."""

    def unsettled(self, address: int) -> Unsettled | None:
        """What an earlier act may still bring about, so that a restart does not forget it either."""


@runtime_checkable
class Pausable(Protocol):
    """A client that can leave its link to somebody else for a while."""

    def set_paused(self, paused: bool) -> None:
        """Let go of the link and keep off it, or take it up again; told as a loss with `LinkProblem.PAUSED`."""


class BatteryClient(Protocol):
    """One link and the packs behind it."""

    @property
    def heating(self) -> HeatingControl | None:
        """What switches the heating; None where the protocol has no such command, or nobody allowed it."""

    async def run(self) -> None:
        """Open the link and keep reading until cancelled; closes the link on the way out."""

    async def read(self, address: int) -> PollReport[PackState]:
        """Read this pack next and return what came of it; raises LinkError when the link is down."""

    async def read_bank(self) -> PollReport[BankState] | None:
        """Read next what the bank says of itself; None where the protocol has nothing of the kind."""

    def set_polling(self, enabled: bool) -> None:
        """Whether anything is sent of the client's own accord; `read` works either way."""

    def set_skipped(self, addresses: Collection[int]) -> None:
        """Packs that must cost no time on the bus."""

    def forget(self, address: int) -> None:
        """Drop a pack; it counts as new if it ever answers again."""

    def diagnostics(self) -> Mapping[str, object]:
        """Counters and the last raw frames, without any that hold a serial number."""
