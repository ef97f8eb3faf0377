"""In which order a scan asks: cheapest and most distinctive first, and never what another battery might obey.

Every question reads. What each could mean to a battery of another protocol:

- Enter, at 115200 only, before anything else there: a framed protocol passes over it, a console answers with its prompt.
  A console that has answered is never sent a frame, which it would take for a command it does not know.
- Frames of Pylontech and PACE share their form. PACE boards that do not check addresses answer Pylontech's 4F and 42,
  which they have too, and are told by version 25 (pace-ascii.md sections 3 and 4). 61 only lists their inverter
  protocols; 63, which writes there, is never asked before an answer to 61 that is Pylontech's.
- Modbus frames are noise to all others, and theirs to Modbus: no unit has their first byte and their CRC. All maps are
  only read (function 03); what was read is told by its values (modbus-rtu.md section 13).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..catalog import find_family, protocols_of
from ..protocols import SERIAL
from ..protocols.base import Integrity, PolledProtocol, Probe, Scope
from ..protocols.strangers import STRANGERS, Stranger

# The console first at its speed. Then frames that say what they are, then Modbus in the order of modbus-rtu.md section
# 13, then what is likely to be slow. Protocols that are not listed come last.
_ORDER: Final = (
    "console-pytes",
    "console-pylontech",
    "pylon-rs485",
    "pylon-rs485-v35",
    "growatt-rs485",
    "voltronic-bms-485-20200325",
    "pace-modbus-1.3",
    "eg4ll-zt-native",
    "pace-v25",
    "pace-v25-rs485",
    "cvte-rs485",
)


# Most ports are set to the first of these; what is not listed comes last.
_SPEEDS: Final = (9600, 115200, 19200)
# Silence that means "nobody here" where a probe does not say, in seconds: Modbus answers within 200 ms (modbus-rtu.md
# section 2), the first byte of a Pylontech answer once took 250 ms (pylon-rs485.md section 8); gateways take their time.
_PATIENCE: Final = {Integrity.CRC: 0.4, Integrity.ADDITIVE: 0.6}
# ... at an address where hardly anybody is; the answer of a slower one is known when it comes late.
_BRIEF: Final = {Integrity.CRC: 0.25, Integrity.ADDITIVE: 0.35}
# A group with fewer addresses is one that was asked already.
_MANY: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One question of a scan, at one speed."""

    baudrate: int
    question: bytes
    wait: float  # s of silence that mean "nobody here"
    protocol: PolledProtocol | None = None  # None: only a stranger's
    stranger: Stranger | None = None
    address: int | None = None
    wake: bool = False  # call it at another speed first (`PolledProtocol.wake`)
    last: bool = False  # at an unlikely address, while there is time

    @property
    def name(self) -> str:
        """What is being tried."""
        if self.protocol is not None:
            return self.protocol.name
        return self.stranger.key if self.stranger is not None else ""


def in_order(names: Sequence[str] | None = None, family: str | None = None) -> list[PolledProtocol]:
    """The protocols to be tried, what a port of the family can be set to first."""
    wanted = [name for name in names or SERIAL if name in SERIAL]
    record = find_family(family) if family else None
    own = protocols_of(record) if record is not None else ()
    rank = {name: place for place, name in enumerate(_ORDER)}
    wanted.sort(key=lambda name: (name not in own, rank.get(name, len(rank))))
    return [SERIAL[name] for name in wanted]


def patience(protocol: PolledProtocol, probe: Probe | None = None) -> float:
    """Seconds of silence that mean "nobody here" while scanning: to this probe, or at the next address."""
    waits = [one.wait for one in ((probe,) if probe is not None else protocol.probes) if one.wait is not None]
    return min(waits, default=_PATIENCE.get(protocol.integrity, protocol.timing.first_byte))


def plan(
    protocols: Sequence[PolledProtocol],
    speeds: Sequence[int] | None,
    *,
    family: str | None = None,
    strangers: bool = True,
    may_wake: bool = False,
) -> list[Step]:
    """Every question, in order.

    The first question of every protocol comes before the further ones of any, and what is likely (the family's own)
    before all others.
    """
    record = find_family(family) if family else None
    own = set(protocols_of(record)) if record is not None else set()
    likely = [protocol for protocol in protocols if protocol.name in own]
    others = [protocol for protocol in protocols if protocol.name not in own]
    # a family's ports come in the order of its manual, with what is its default first
    steps = [*_both_rounds(likely, speeds or _speeds(likely)), *_both_rounds(others, speeds or _by_likelihood(others))]
    if may_wake:
        steps += [step for protocol in protocols if protocol.wake for step in _questions(protocol, None, wake=True)]
    steps = list(dict.fromkeys(steps))
    if strangers:
        steps += [
            Step(baudrate=stranger.baudrate, question=question, wait=stranger.wait, stranger=stranger)
            for stranger in STRANGERS
            if speeds is None or stranger.baudrate in speeds
            for question in stranger.questions
        ]
    asked = {(step.baudrate, step.question) for step in steps}
    for step in _elsewhere(protocols, speeds or _by_likelihood(protocols)):
        if (step.baudrate, step.question) not in asked:
            asked.add((step.baudrate, step.question))
            steps.append(step)
    return steps


def _elsewhere(protocols: Sequence[PolledProtocol], speeds: Sequence[int]) -> Iterator[Step]:
    """The essential question at every other address of the first group: a single pack, or a bank whose master sleeps.

    Of maps that share a frame one asks: an answer of another shows that somebody is there.
    """
    rank = {name: place for place, name in enumerate(_ORDER)}
    for speed in speeds:
        forms: set[object] = set()
        for protocol in sorted(protocols, key=lambda one: rank.get(one.name, len(rank))):
            essential = next(poll for poll in protocol.polls if poll.essential)
            group = protocol.address_groups[0]
            form = type(protocol).splitter if protocol.integrity is Integrity.CRC else protocol.name
            alone = essential.scope is Scope.BANK or essential.shared or protocol.integrity is Integrity.NONE
            if alone or len(group) < _MANY or speed not in protocol.speeds or form in forms:
                continue
            forms.add(form)
            probed = {probe.address for probe in protocol.probes}
            for address in group:
                if address not in probed:
                    yield Step(
                        baudrate=speed,
                        question=essential.request(address),
                        wait=_BRIEF[protocol.integrity],
                        protocol=protocol,
                        address=address,
                        last=True,
                    )


def further(step: Step, protocols: Sequence[PolledProtocol]) -> list[Step]:
    """What an answer at an address of the last round is asked next: every map has its own question."""
    found: list[Step] = []
    for protocol in protocols:
        if not step.last or step.address not in protocol.address_groups[0] or step.baudrate not in protocol.speeds:
            continue
        question = next(poll for poll in protocol.polls if poll.essential).request(step.address)
        if question != step.question:
            found.append(replace(step, protocol=protocol, question=question, wait=patience(protocol)))
    return found


def _speeds(protocols: Sequence[PolledProtocol]) -> list[int]:
    return list(dict.fromkeys(speed for protocol in protocols for speed in protocol.speeds))


def _by_likelihood(protocols: Sequence[PolledProtocol]) -> list[int]:
    return sorted(_speeds(protocols), key=lambda speed: _SPEEDS.index(speed) if speed in _SPEEDS else len(_SPEEDS))


def _both_rounds(protocols: Sequence[PolledProtocol], speeds: Sequence[int]) -> Iterator[Step]:
    asked: set[tuple[int, bytes]] = set()
    for first in (True, False):
        for speed in speeds:
            for protocol in protocols:
                questions = list(_questions(protocol, speed))
                for step in questions[:1] if first else questions[1:]:
                    if (speed, step.question) not in asked:  # every protocol looks at every answer
                        asked.add((speed, step.question))
                        yield step


def _questions(protocol: PolledProtocol, speed: int | None, *, wake: bool = False) -> Iterator[Step]:
    if speed is not None and speed not in protocol.speeds:
        return
    for probe in protocol.probes:
        yield Step(
            baudrate=protocol.speeds[0] if speed is None else speed,
            question=probe.request,
            wait=patience(protocol, probe),
            protocol=protocol,
            address=probe.address,
            wake=wake,
        )


def known_step(protocol: PolledProtocol, baudrate: int) -> Step:
    """What was found on this port the last time."""
    probe = protocol.probes[0]
    return Step(
        baudrate=baudrate,
        question=probe.request,
        wait=patience(protocol, probe),
        protocol=protocol,
        address=probe.address,
    )
