"""The text console of Pytes and Pylontech packs: what is asked, what answers what, and who decodes it.

Source: pytes-console.md; sections are named where they are used.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar, Final, override

from ...errors import FrameError
from ...model import Condition
from ..base import Cadence, Decoded, Integrity, Poll, PolledProtocol, Probe, Timing, Wake
from . import labels, tables
from .checks import checked
from .frame import (
    ENTER,
    OTHER_KEY,
    PACK_NUMBERS,
    PYLON,
    PYLON_DEBUG,
    PYTES,
    Answer,
    AnswerSplitter,
    Command,
    content,
    echoes,
    encode,
    parse,
    slot_of,
    words_of,
)
from .states import CONDITIONS

_MASTER: Final = 1

# command -> reader of its lines, by whether a pack was named
_READERS: Final[Mapping[tuple[str, bool], Callable[..., Decoded]]] = {
    (Command.POWER, False): tables.power,
    (Command.POWER, True): labels.power_of_one,
    (Command.CELLS, False): tables.cells,
    (Command.CELLS, True): tables.cells,
    (Command.HEALTH, False): tables.health,
    (Command.HEALTH, True): tables.health,
    (Command.INFORMATION, False): labels.information,
    (Command.INFORMATION, True): labels.information,
    (Command.STATISTICS, False): labels.statistics,
    (Command.STATISTICS, True): labels.statistics,
    (Command.CLOCK, False): labels.clock,
}


def _asking(command: Command) -> Callable[[int], bytes]:
    return lambda address: encode(command, address)


def _asking_master_plainly(command: Command) -> Callable[[int], bytes]:
    """The master's own answer needs no number, and V5 refuses `stat` with one (section 4)."""
    return lambda address: encode(command, None if address == _MASTER else address)


def _table(address: int) -> bytes:
    return encode(Command.POWER)


_POWER: Final = Poll(
    name="power",
    cadence=Cadence.CYCLE,
    request=_table,
    essential=True,
    shared=True,
    private=True,  # V5 prints serial numbers here
)
_POLLS: Final = (
    _POWER,
    Poll(name="details", cadence=Cadence.ROTATION, request=_asking(Command.POWER), private=True),
    Poll(name="cells", cadence=Cadence.ROTATION, request=_asking(Command.CELLS)),
    # the charge in it changes; V5 answers for its master only and refuses the others, who are not asked again then
    Poll(name="statistics", cadence=Cadence.ROTATION, request=_asking_master_plainly(Command.STATISTICS)),
    Poll(name="health", cadence=Cadence.ROTATION, request=_asking(Command.HEALTH)),
    Poll(name="identity", cadence=Cadence.ONCE, request=_asking(Command.INFORMATION), private=True),
)


class _Console(PolledProtocol):
    """What the consoles of both makers have in common."""

    integrity = Integrity.NONE
    speeds: ClassVar[tuple[int, ...]] = (115200,)
    # The prompt comes within about 1 s (section 2). The end mark decides, not a gap; 5 s for a whole answer (section 3).
    timing = Timing(first_byte=2.0, gap=5.0, answer=5.0, pause=0.05)
    polls = _POLLS
    probes = (Probe(name="prompt", address=_MASTER, request=ENTER, wait=1.2),)
    address_groups: ClassVar[tuple[tuple[int, ...], ...]] = (tuple(PACK_NUMBERS),)
    conditions: ClassVar[frozenset[Condition]] = CONDITIONS
    # A prompt answers the first. In an open pager that only turns the page: then the other key ends it, and the second
    # Enter makes sure that nothing stands in front of the first command (section 3).
    rouse = (ENTER, OTHER_KEY, ENTER)

    prompts: ClassVar[frozenset[str]]
    other: ClassVar[str]  # the protocol of other prompts

    @override
    def splitter(self, request: bytes | None = None) -> AnswerSplitter:
        """See `Codec`."""
        return AnswerSplitter(request)

    @override
    def is_answer(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`. The echo says what the console has understood, so an answer without one answers nothing."""
        try:
            answer = self._parse(frame)
        except FrameError:
            return False
        words = words_of(request)
        if not words:
            return answer.bare
        echo = _echo(answer)
        return echo is not None and echoes(echo, words)

    @override
    def is_request(self, frame: bytes) -> bool:
        """See `Codec`. A console has one line of its own: nobody else's questions are ever heard on it."""
        return False

    @override
    def decode(self, request: bytes | None, frame: bytes) -> Decoded:
        """See `Codec`. Without a request the echo says what was asked."""
        answer = self._parse(frame)
        words = words_of(request) if request is not None else _echo(answer)
        if answer.bare and not words:
            return Decoded(info={"prompt": answer.prompt})
        if not words:
            raise FrameError("the answer does not say what was asked")
        lines = content(answer, words)
        command, _, index = words.partition(" ")
        numbered = index.isdecimal()
        if (reader := _READERS.get((command, numbered))) is None or (index and not numbered):
            info: dict[str, object] = {"undecoded": lines}
            if answer.prompt == PYLON_DEBUG:
                info["mode"] = "debug"
            return Decoded(info=info)
        number = slot_of(index)
        if numbered and number is None:
            raise FrameError("there is no such pack")
        return self._read(reader, lines, number)

    def _read(self, reader: Callable[..., Decoded], lines: tuple[str, ...], number: int | None) -> Decoded:
        """Only what does not contradict itself."""
        decoded = reader(lines, number)
        return replace(decoded, packs={address: checked(state) for address, state in decoded.packs.items()})

    def _parse(self, frame: bytes) -> Answer:
        answer = parse(frame)
        if answer.prompt not in self.prompts:
            raise FrameError(f"the prompt {answer.prompt}> is another maker's", dialect=self.other)
        return answer


def _echo(answer: Answer) -> str | None:
    """What the console says it was asked; without a start mark it is the first line."""
    return answer.echo if answer.echo is not None else answer.lines[0].strip() if answer.lines else None


class PytesConsole(_Console):
    """`PYTES>`: V series and E-BOX. It is never called at another speed (section 2)."""

    name = "console-pytes"
    prompts = frozenset({PYTES})
    other = "console-pylontech"


class PylontechConsole(_Console):
    """`pylon>`: US series. Older or long idle packs sit at 1200 baud until they get a V2.8 frame (section 2)."""

    name = "console-pylontech"
    prompts = frozenset({PYLON, PYLON_DEBUG})
    other = "console-pytes"
    wake = Wake(baudrate=1200, request=b"~20014682C0048520FCC3\r", wait=1.0)


class PytesV5Console(PytesConsole):
    """A name that captures may carry."""

    name = "console-pytes-v5"


class PytesEboxConsole(PytesConsole):
    """A name that captures may carry."""

    name = "console-pytes-ebox"
