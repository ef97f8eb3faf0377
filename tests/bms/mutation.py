"""What a bad line does to frames, and what gets past the checks: for any protocol.

A fault is drawn, the bytes go through splitter and codec as they would in a client, and what comes out is compared with
what was sent. A wrong reading then has to pass the gate, with a second reading where the gate asks for one.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

from custom_components.lfp_battery.bms.errors import FrameError, RefusedError
from custom_components.lfp_battery.bms.model import BatteryState, PackState
from custom_components.lfp_battery.bms.plausibility import Gate
from custom_components.lfp_battery.bms.protocols.base import Decoded, Integrity, PolledProtocol


class Fault(StrEnum):
    """A kind of damage."""

    FLIP_1 = "1 bit flipped"
    FLIP_2 = "2 bits flipped"
    FLIP_3 = "3 bits flipped"
    FLIP_4 = "4 bits flipped"
    SWAP = "neighbours swapped"
    CUT = "piece cut out"
    JOIN = "two frames joined"


_FLIPS = {Fault.FLIP_1: 1, Fault.FLIP_2: 2, Fault.FLIP_3: 3, Fault.FLIP_4: 4}


def _pick(rng: Random, below: int) -> int:
    """As randrange, several times as fast; its bias does not matter here."""
    return int(rng.random() * below)


def mutate(frame: bytes, fault: Fault, rng: Random, other: bytes) -> bytes:
    """The frame after this fault; `other` is what it may get joined with."""
    if (flips := _FLIPS.get(fault)) is not None:
        damaged = bytearray(frame)
        for bit in rng.sample(range(8 * len(frame)), flips):
            damaged[bit >> 3] ^= 1 << (bit & 7)
        return bytes(damaged)
    at = _pick(rng, len(frame) - 1)
    match fault:
        case Fault.SWAP:
            return frame[:at] + frame[at + 1 : at + 2] + frame[at : at + 1] + frame[at + 2 :]
        case Fault.CUT:
            return frame[:at] + frame[at + 1 + _pick(rng, len(frame) - at) :]
        case _:
            return frame[:at] + other[_pick(rng, len(other)) :]


@dataclass(frozen=True, slots=True)
class Sample:
    """A question, the answer that was sent, and what that answer says."""

    name: str
    protocol: PolledProtocol
    request: bytes
    frame: bytes
    truth: Decoded

    @classmethod
    def of(cls, name: str, protocol: PolledProtocol, request: bytes, frame: bytes) -> Sample:
        """Decode it once."""
        return cls(name, protocol, request, frame, protocol.decode(request, frame))


@dataclass(slots=True)
class Tally:
    """What became of the frames with one kind of fault."""

    frames: int = 0
    refused: int = 0  # nothing was decoded
    unchanged: int = 0  # the identical message
    wrong: int = 0  # another message: past the checks of the frame
    published: int = 0  # and past the gate, or where no gate stands
    by_sample: Counter[str] = field(default_factory=Counter)  # published ones

    def share(self, count: int) -> float:
        """In per cent of all frames."""
        return 100.0 * count / self.frames if self.frames else 0.0


def received(sample: Sample, line: bytes) -> Decoded | None:
    """What a client makes of these bytes; everything that is not an answer is decoded as a stray, too.

    Whatever leaves the codec beside FrameError and RefusedError ends the test that called.
    """
    protocol = sample.protocol
    answer: Decoded | None = None
    splitter = protocol.splitter(sample.request)
    for frame in splitter.feed(line):
        expected = answer is None and protocol.is_answer(sample.request, frame)
        protocol.is_request(frame)
        try:
            decoded = protocol.decode(sample.request if expected else None, frame)
        except FrameError, RefusedError:
            continue
        if expected:
            answer = decoded
    assert splitter.noise >= 0
    assert splitter.pending is None or splitter.pending > 0
    return answer


class Judge:
    """Lets wrong messages pass the gates that a client has, each of them used to the true values."""

    def __init__(self) -> None:
        """No gate has been needed."""
        self._gates: dict[tuple[str, int | None], Gate[BatteryState]] = {}
        self.largest: dict[str, float] = dict.fromkeys(_MEASURED, 0.0)  # errors that were published, by field

    def published(self, sample: Sample, wrong: Decoded) -> bool:
        """Whether anything that is not true would be shown."""
        truth = sample.truth
        if wrong.identities != truth.identities:
            return True
        if wrong.packs.keys() != truth.packs.keys() or (wrong.bank is None) != (truth.bank is None):
            return False  # a client takes the fragment of the pack that it asked, and there is none
        if any(self._passes(sample, address, truth.packs[address], state) for address, state in wrong.packs.items()):
            return True
        return wrong.bank is not None and truth.bank is not None and self._passes(sample, None, truth.bank, wrong.bank)

    def _passes(self, sample: Sample, place: int | None, true: BatteryState, wrong: BatteryState) -> bool:
        if wrong == true:
            return False
        key = (sample.name, place)
        if (gate := self._gates.get(key)) is None:
            weak = sample.protocol.integrity is not Integrity.CRC
            gate = self._gates[key] = Gate[BatteryState](weak_check=weak)
        gate.forget()
        gate.admit(true)
        again = true if gate.needs_second_reading(wrong) else None
        shown, _ = gate.admit(wrong, again)
        if _figures(shown) == _figures(true):
            return False
        for name in _MEASURED:
            self.largest[name] = max(self.largest[name], _distance(getattr(shown, name), getattr(true, name)))
        return True


_MEASURED = ("voltage", "current", "soc", "cell_voltages", "cell_temperatures")


def _distance(one: object, other: object) -> float:
    """How far apart two values are; nothing shown is no error."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return max(map(_distance, one, other, strict=False), default=0.0)
    return abs(one - other) if isinstance(one, float | int) and isinstance(other, float | int) else 0.0


def _figures(state: BatteryState) -> BatteryState:
    """The state without the place that a fragment was filed under."""
    return replace(state, address=0) if isinstance(state, PackState) else state


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of all of them."""

    tallies: dict[Fault, Tally]
    largest: dict[str, float]  # the largest error that was published, by field


def run(samples: Sequence[Sample], count: int, seed: int) -> Outcome:
    """Damage `count` frames, every kind of fault alike, and see what becomes of them."""
    rng = Random(seed)
    tallies = {fault: Tally() for fault in Fault}
    faults = tuple(Fault)
    judge = Judge()
    for number in range(count):
        fault = faults[number % len(faults)]
        sample = samples[_pick(rng, len(samples))]
        other = samples[_pick(rng, len(samples))].frame
        tally = tallies[fault]
        tally.frames += 1
        decoded = received(sample, mutate(sample.frame, fault, rng, other))
        if decoded is None:
            tally.refused += 1
        elif decoded == sample.truth:
            tally.unchanged += 1
        else:
            tally.wrong += 1
            if judge.published(sample, decoded):
                tally.published += 1
                tally.by_sample[sample.name] += 1
    return Outcome(tallies, judge.largest)


def table(outcome: Outcome) -> str:
    """The outcome for a person."""
    tallies = outcome.tallies
    lines = [f"{'fault':<20} {'frames':>8} {'refused':>9} {'identical':>9} {'wrong past':>11} {'wrong past':>12}"]
    lines.append(f"{'':<20} {'':>8} {'%':>9} {'%':>9} {'checksum %':>11} {'the gate %':>12}")
    for fault, tally in tallies.items():
        shares = (tally.refused, tally.unchanged, tally.wrong, tally.published)
        refused, unchanged, wrong, published = (tally.share(count) for count in shares)
        lines.append(
            f"{fault:<20} {tally.frames:>8} {refused:>9.3f} {unchanged:>9.3f} {wrong:>11.3f} {published:>12.4f}"
        )
    published_by: Counter[str] = sum((tally.by_sample for tally in tallies.values()), Counter())
    lines.append("past the gate, by answer: " + ", ".join(f"{name} {n}" for name, n in published_by.most_common()))
    lines.append("largest error shown: " + ", ".join(f"{name} {error:.3g}" for name, error in outcome.largest.items()))
    return "\n".join(lines)


def bit_flips(frame: bytes) -> Iterable[bytes]:
    """The frame with each of its bits flipped in turn."""
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        yield bytes(damaged)
