"""Sets of frames as batteries send them, and what becomes of them in a detector."""

from collections.abc import Iterable, Iterator

from custom_components.lfp_battery.bms.protocols.can.detection import Detector, Verdict

from .own import frame

type Timed = tuple[float, str, str]

PYLON = (("359", "0000000001504E"), ("351", "1402740E740ECC01"), ("355", "1A006400"), ("356", "021300004A01"),
         ("35C", "C000"), ("35E", "50594C4F4E202020"))  # fmt: skip
GROWATT = (("313", "1522000000EA6363"), ("312", "0000000002000000"), ("311", "0238082408240161"))
SMA = (("351", "1402740E740ECC01"), ("355", "1A006400"), ("356", "021300004A01"), ("35A", "0000000000000000"))
VICTRON = (*SMA, ("372", "0200000000000000"), ("373", "D80CF10C22012A01"))
GENERIC = SMA[:3]
# BYD: 351 every 2 s, its name every 60 s, the rest every 10 s (can.md 4.2).
BYD_REST = (*VICTRON[1:], ("379", "9C00000000000000"))


def sent(frames: Iterable[tuple[str, str]], begin: float, end: float, every: float = 1.0) -> Iterator[Timed]:
    """A set again and again, its frames 5 ms apart."""
    once = list(frames)
    number = 0
    while (at := begin + number * every) < end:
        yield from ((at + 0.005 * place, *one) for place, one in enumerate(once))
        number += 1


def verdicts(detector: Detector, frames: Iterable[Timed]) -> list[tuple[float, Verdict]]:
    """Every change of the verdict that a listener who asks after each frame sees."""
    changes: list[tuple[float, Verdict]] = []
    for at, frame_id, data in frames:
        detector.hear(frame(frame_id, data), at)
        verdict = detector.verdict(at)
        if not changes or verdict != changes[-1][1]:
            changes.append((at, verdict))
    return changes


def settled_on(frames: Iterable[Timed]) -> list[tuple[float, str | None]]:
    """Which families were settled on, and when."""
    found: list[tuple[float, str | None]] = []
    for at, verdict in verdicts(Detector(), frames):
        if verdict.settled and (not found or found[-1][1] != verdict.family):
            found.append((round(at, 1), verdict.family))
    return found
