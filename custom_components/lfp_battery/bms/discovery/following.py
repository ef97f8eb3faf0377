"""Making sense of somebody else's conversation: which protocol it is in, and who was heard to answer."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..clients.conversation import Conversation, Outcome as Told
from ..clients.probes import Probes
from ..clients.units import combine
from ..errors import FrameError, RefusedError
from ..model import BankState, Identity, PackState
from ..protocols.base import Integrity, PolledProtocol, Scope
from .report import FoundPack


@dataclass(slots=True)
class _Reading:
    """The same bytes, read as one protocol."""

    protocol: PolledProtocol
    conversation: Conversation
    pairs: int = 0  # questions and answers that can only be this protocol's
    packs: dict[int, dict[bytes, PackState]] = field(default_factory=dict)  # address -> question -> what was answered
    bank: dict[bytes, BankState] = field(default_factory=dict)
    bank_address: int | None = None
    identities: dict[int, Identity] = field(default_factory=dict)

    @property
    def fits(self) -> tuple[int, bool]:
        """How well: pairs, then whether packs speak as packs."""
        scope = next(poll.scope for poll in self.protocol.polls if poll.essential)
        return self.pairs, bool(self.packs if scope is Scope.PACK else self.bank)

    @property
    def said(self) -> tuple[object, ...]:
        """All that was decoded."""
        return self.packs, self.bank, self.bank_address, self.identities


class Follower:
    """Listens to a conversation in every protocol at once."""

    def __init__(self, protocols: Iterable[PolledProtocol]) -> None:
        """Nothing was said yet."""
        self._readings = [
            _Reading(protocol, Conversation(protocol))
            for protocol in protocols
            if protocol.integrity is not Integrity.NONE
        ]
        self._answered: set[bytes] = set()
        self.repeated = False  # a question that was answered has been answered again: a round is over

    def hear(self, data: bytes, now: float) -> None:
        """Take in bytes as they came."""
        answered: set[bytes] = set()
        for reading in self._readings:
            for overheard in reading.conversation.hear(data, now):
                question, frame = overheard.question, overheard.frame
                if overheard.outcome is not Told.ANSWERED or question is None:
                    continue
                if not reading.protocol.recognises(question, frame):
                    continue
                answered.add(question)
                reading.pairs += 1
                decoded = overheard.decoded
                for address, state in decoded.packs.items():
                    reading.packs.setdefault(address, {})[question] = state
                if decoded.bank is not None:
                    reading.bank[question] = decoded.bank
                    reading.bank_address = overheard.address
                for address, identity in decoded.identities.items():
                    reading.identities[address] = reading.identities.get(address, Identity()).joined(identity)
        self.repeated |= bool(answered & self._answered)
        self._answered |= answered

    @property
    def told(self) -> bool:
        """Whether it is known which protocol this is."""
        return bool(self._answered)

    def _best(self) -> _Reading | None:
        """The one that fits best; of two that fit alike the likelier one, if they say the same, else neither."""
        told = [reading for reading in self._readings if reading.pairs]
        best = max(told, key=lambda reading: reading.fits, default=None)  # the first of them, in the order of the plan
        if best is None or any(one.fits == best.fits and one.said != best.said for one in told):
            return None
        return best

    def verdict(self, questions: Iterable[bytes]) -> dict[str, Any]:
        """Fields of the report; `questions` decide where no answer was heard, if only one protocol has them."""
        best = self._best()
        if best is None:
            return self._by_questions(list(questions))
        scope = next(poll.scope for poll in best.protocol.polls if poll.essential)
        said = {**(dict.fromkeys(best.identities) if scope is Scope.PACK else {}), **best.packs}
        probes = Probes({}, mute=best.protocol.mute_probes)
        packs = tuple(
            FoundPack(
                address=address,
                identity=best.identities.get(address, Identity()),
                # of some only the name was heard
                state=combine(
                    PackState(address=address), [probes.shown(state) or state for state in (states or {}).values()]
                ),
            )
            for address, states in sorted(said.items())
        )
        bank = combine(BankState(), list(best.bank.values())) if best.bank else None
        return {
            "protocol": best.protocol.name,
            "packs": packs,
            "bank": bank,
            "bank_address": best.bank_address if bank is not None else None,
            "bank_identity": best.identities.get(best.bank_address) if best.bank_address is not None else None,
        }

    def _by_questions(self, questions: list[bytes]) -> dict[str, Any]:
        names: list[str] = []
        dialect: str | None = None
        for reading in self._readings:
            protocol = reading.protocol
            found = {_dialect_of(protocol, question) for question in questions if protocol.is_request(question)}
            dialect = dialect or next((name for name in found if name), None)
            if found == {None} and all(_could_ask(protocol, question) for question in questions):
                names.append(protocol.name)
        if len(names) == 1:
            return {"protocol": names[0]}
        known = {reading.protocol.name for reading in self._readings}
        return {"dialect": dialect} if dialect not in known else {}


def _dialect_of(protocol: PolledProtocol, question: bytes) -> str | None:
    try:
        protocol.decode(None, question)
    except FrameError as err:
        return err.dialect
    except RefusedError:
        return None
    return None


def _could_ask(protocol: PolledProtocol, question: bytes) -> bool:
    """Whether it is word for word a question of this protocol."""
    address = protocol.address_of(question)
    if address is None:
        return False
    return any(poll.request(address) == question for poll in protocol.polls)
