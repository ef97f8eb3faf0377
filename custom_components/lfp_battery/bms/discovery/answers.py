"""What came of one question of a scan, as every protocol sees it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import FrameError, RefusedError
from ..protocols.base import PolledProtocol
from ..protocols.strangers import Stranger

_FILLERS = b"\x00\xff"  # what drivers leave on a line when they switch; means nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What can be said of the bytes that followed a question."""

    empty: bool = False  # nothing but, at most, our own question came
    echoed: bool = False
    recognised: tuple[PolledProtocol, ...] = ()  # whose answer it can only be; the one that was asked in comes first
    answered: tuple[PolledProtocol, ...] = ()  # as which it is intact, but refuses or makes no sense
    dialect: str | None = None  # what it says it is
    stranger: str | None = None  # what it shows itself to be
    damaged: int = 0  # frames

    @property
    def explained(self) -> bool:
        """Whether these bytes are the answer to our question, whatever it says."""
        return self.empty or bool(self.recognised or self.answered or self.dialect or self.stranger)


def look(
    question: bytes,
    heard: bytes,
    protocols: Sequence[PolledProtocol],
    *,
    asked: PolledProtocol | None,
    stranger: Stranger | None = None,
) -> Look:
    """Show the bytes to every protocol, the asked one first."""
    echoed = question in heard
    if not heard.replace(question, b"", 1).strip(_FILLERS):
        return Look(empty=True, echoed=echoed)
    if stranger is not None and stranger.is_sign(question, heard):
        return Look(stranger=stranger.key, echoed=echoed)
    recognised: list[PolledProtocol] = []
    answered: list[PolledProtocol] = []
    dialect: str | None = None
    damaged = 0
    for protocol in sorted(protocols, key=lambda one: one is not asked):
        for frame in protocol.splitter(question).feed(heard):
            if frame == question:
                continue
            if protocol.recognises(question, frame):
                recognised.append(protocol)
                break
            try:
                decoded = protocol.decode(question, frame)
            except RefusedError:
                answered.append(protocol)
            except FrameError as err:
                dialect = dialect or err.dialect
                if protocol.is_answer(question, frame):
                    answered += [protocol] if err.dialect is None else []
                else:
                    damaged += protocol is asked and err.dialect is None
            else:
                if not protocol.is_answer(question, frame):
                    damaged += protocol is asked  # intact, but to another question: late, or somebody else's
                    continue
                # a maker's name, where it was asked for, is proof (CVTE's, modbus-rtu.md section 13)
                named = protocol is asked and any(who.manufacturer for who in decoded.identities.values())
                (recognised if named else answered).append(protocol)
    return Look(
        echoed=echoed,
        recognised=tuple(dict.fromkeys(recognised)),
        answered=tuple(dict.fromkeys(answered)),
        dialect=None if recognised else dialect,
        damaged=0 if recognised else damaged,
    )
