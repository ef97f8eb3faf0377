"""Damaged console answers: no checksum protects them, so how much is wrong before and after they are cross-checked."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from random import Random
import sys

import pytest

from custom_components.lfp_battery.bms.clients.units import combine
from custom_components.lfp_battery.bms.errors import FrameError, RefusedError
from custom_components.lfp_battery.bms.model import PackState
from custom_components.lfp_battery.bms.plausibility import Gate
from custom_components.lfp_battery.bms.protocols.base import Decoded
from custom_components.lfp_battery.bms.protocols.console.protocol import PylontechConsole, PytesConsole
from tests.simulator.console_text import Profile

from .mutation import Fault, Sample, mutate, received
from .test_simulator_console import make_speaker

COUNT = 21_000
SEED = 20261121


class Trouble(StrEnum):
    """What a line of text suffers from, beside flipped bits."""

    DROP = "character dropped"
    DOUBLE = "character doubled"
    LINE = "line lost"


FAULTS: tuple[Fault | Trouble, ...] = (*Fault, *Trouble)


class _Unchecked:
    """The same console as if every number could be believed that stands under a heading."""

    def _read(self, reader: Callable[..., Decoded], lines: tuple[str, ...], number: int | None) -> Decoded:
        return reader(lines, number, strict=False)


class UncheckedPytes(_Unchecked, PytesConsole):
    """Without cross-checks."""


class UncheckedPylontech(_Unchecked, PylontechConsole):
    """Without cross-checks."""


def damage(frame: bytes, fault: Fault | Trouble, rng: Random, other: bytes) -> bytes:
    """The frame after this fault."""
    if isinstance(fault, Fault):
        return mutate(frame, fault, rng, other)
    at = rng.randrange(len(frame))
    match fault:
        case Trouble.DROP:
            return frame[:at] + frame[at + 1 :]
        case Trouble.DOUBLE:
            return frame[:at] + frame[at : at + 1] + frame[at:]
        case Trouble.LINE:
            lines = frame.split(b"\n")
            del lines[rng.randrange(len(lines))]
            return b"\n".join(lines)


@dataclass(slots=True)
class Count:
    """What became of the answers with one kind of fault; each figure counts answers with a wrong value in them."""

    answers: int = 0
    unchecked: int = 0
    checked: int = 0
    shown: int = 0
    names: Counter[str] = field(default_factory=Counter)


_FIELDS = tuple(f.name for f in fields(PackState) if f.name not in ("address", "derived", "power"))


def wrong_fields(state: PackState, true: PackState) -> list[str]:
    """Values that are not true; one that is left out is not wrong."""
    return [n for n in _FIELDS if (value := getattr(state, n)) is not None and not _same(value, getattr(true, n))]


def _same(value: object, true: object) -> bool:
    if isinstance(value, tuple) and isinstance(true, tuple):
        return len(value) == len(true) and all(a is None or a == b for a, b in zip(value, true, strict=True))
    return value == true


def is_wrong(decoded: Decoded | None, truth: Decoded) -> bool:
    """Whether a message says anything of a pack that is not true."""
    return decoded is not None and any(
        address not in truth.packs or wrong_fields(state, truth.packs[address])
        for address, state in decoded.packs.items()
    )


@dataclass(slots=True)
class Pair:
    """One answer, read with and without cross-checks, and what else is known of its packs."""

    bare: Sample
    sample: Sample
    rest: dict[int, list[PackState]]


def pairs() -> list[Pair]:
    """Everything that is polled, of three packs of every make that charge."""
    found = []
    for profile in Profile:
        speaker = make_speaker(profile)
        speaker.bank.step(4000)
        pytes = speaker.prompt == "PYTES"
        checked = PytesConsole() if pytes else PylontechConsole()
        bare = UncheckedPytes() if pytes else UncheckedPylontech()
        samples = []
        for poll in checked.polls:
            request = poll.request(1)
            (frame,) = checked.splitter(request).feed(speaker.feed(request, 0.0)[0].data)
            samples.append((Sample.of(poll.name, bare, request, frame), Sample.of(poll.name, checked, request, frame)))
        for one, other in samples:
            rest = {
                address: [s.truth.packs[address] for _, s in samples if s is not other and address in s.truth.packs]
                for address in other.truth.packs
            }
            found.append(Pair(one, other, rest))
    return found


def shown(pair: Pair, decoded: Decoded) -> list[str]:
    """What of a wrong message a client would show, that knows the pack and may ask again."""
    names = []
    for address, state in decoded.packs.items():
        if (true := pair.sample.truth.packs.get(address)) is None:
            continue  # nobody waits for it
        empty = PackState(address=address)
        whole, before = (combine(empty, [s, *pair.rest[address]]) for s in (state, true))
        gate: Gate[PackState] = Gate(weak_check=True)
        gate.admit(before)
        again = true if gate.needs_second_reading(whole) else None
        names += wrong_fields(gate.admit(whole, again)[0], before)
    return names


@pytest.mark.timeout(180)
def test_damage_is_refused_left_out_or_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but FrameError and RefusedError leaves the codec, and cross-checks take away most of what is wrong.

    The parts per million are printed. Their bounds are those measured with this seed, with some room.
    """
    rng = Random(SEED)
    every = pairs()
    counts = {fault: Count() for fault in FAULTS}
    for number in range(COUNT):
        fault = FAULTS[number % len(FAULTS)]
        pair, other = rng.choice(every), rng.choice(every).sample.frame
        line = damage(pair.sample.frame, fault, rng, other)
        count = counts[fault]
        count.answers += 1
        count.unchecked += is_wrong(received(pair.bare, line), pair.bare.truth)
        decoded = received(pair.sample, line)
        if decoded is not None and is_wrong(decoded, pair.sample.truth):
            count.checked += 1
            if names := shown(pair, decoded):
                count.shown += 1
                count.names.update(set(names))
    with capsys.disabled():
        sys.stdout.write(f"\nconsole, {COUNT} answers, ppm of them with a wrong value in them\n{_table(counts)}\n")
    total = _sum(counts)
    # what loses the end of a table of cells is most of the rest: nothing in the answer says how many there are
    assert total.checked < 0.4 * total.unchecked
    assert total.shown < 0.9 * total.checked
    assert 1e6 * total.shown / COUNT < SHOWN
    for fault in (Trouble.DROP, Trouble.DOUBLE):
        assert counts[fault].checked < 0.03 * counts[fault].unchecked


SHOWN = 21_000  # ppm


def _sum(counts: dict[Fault | Trouble, Count]) -> Count:
    parts = counts.values()
    return Count(
        sum(c.answers for c in parts),
        sum(c.unchecked for c in parts),
        sum(c.checked for c in parts),
        sum(c.shown for c in parts),
        sum((c.names for c in parts), Counter()),
    )


def _table(counts: dict[Fault | Trouble, Count]) -> str:
    lines = [f"{'fault':<20} {'answers':>8} {'unchecked':>10} {'checked':>10} {'past gate':>10}"]
    for name, count in (*counts.items(), ("all", _sum(counts))):
        ppm = (round(1e6 * n / count.answers) for n in (count.unchecked, count.checked, count.shown))
        lines.append(f"{name:<20} {count.answers:>8} " + " ".join(f"{n:>10}" for n in ppm))
    lines.append("past the gate: " + ", ".join(f"{name} {n}" for name, n in _sum(counts).names.most_common()))
    return "\n".join(lines)


def test_every_single_dropped_character_is_survived() -> None:
    """Of every answer of every make: refused or read, and never another exception."""
    for pair in pairs():
        frame = pair.sample.frame
        for at in range(0, len(frame), 7):
            for line in (frame[:at] + frame[at + 1 :], frame[:at] + b"\xb2" + frame[at + 1 :]):
                received(pair.sample, line)
                try:
                    pair.sample.protocol.decode(pair.sample.request, line)
                except FrameError, RefusedError:
                    continue
