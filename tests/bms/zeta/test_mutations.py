"""Damaged frames over Bluetooth, and streams that are cut at random: what gets past the checks, and what is shown then."""

from collections.abc import Iterator
from itertools import pairwise
from random import Random
import sys
from typing import Any

import pytest

from custom_components.lfp_battery.bms.errors import FrameError, RefusedError
from custom_components.lfp_battery.bms.physics import Limits
from custom_components.lfp_battery.bms.plausibility import hold_back
from custom_components.lfp_battery.bms.protocols import BLUETOOTH
from custom_components.lfp_battery.bms.protocols.base import PolledProtocol
from custom_components.lfp_battery.bms.protocols.modbus.splitter import crc_is_right
from tests.bms.mutation import Fault, Sample, bit_flips, mutate, run, table
from tests.simulator.modbus import question, sealed

from .frames import ASK_STATUS, CAPTURED, CURRENT, STATUS, listed, of_board, status

COUNT = 120_000
SEED = 20261121
# Per cent of the frames that may get past the CRC. Joined: a whole intact answer of the same kind behind a piece of the
# first one, which is what it says.
BOUNDS = {Fault.FLIP_4: 0.02, Fault.JOIN: 0.15}


def _samples() -> list[Sample]:
    """Everything that is polled, as real packs answered it, and a heating setting with its acknowledgement."""
    captured = [
        Sample.of(row["id"], BLUETOOTH[row["protocol"]], bytes.fromhex(row["request"]), bytes.fromhex(row["response"]))
        for row in CAPTURED.values()
        if row["request"] is not None
    ]
    made = {
        "cold-41": (ASK_STATUS, status({18: 0xFFFD, 25: 0x8001, 33: 0xFEFD, 34: 0xFFFC, 40: 0x0010, 27: 0x0400})),
        "heating": (of_board(0x0A, b"\x01"), of_board(0x0A, b"\x00")),
        "twelve-can": (of_board(4), of_board(4, listed(11, *[f"P{number:02d}-ABC" for number in range(1, 13)]))),
    }
    return captured + [Sample.of(name, CURRENT, request, frame) for name, (request, frame) in made.items()]


SAMPLES = _samples()


@pytest.mark.timeout(240)
def test_damage_is_refused_or_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but FrameError and RefusedError leaves the codec; up to three flipped bits never change a message."""
    outcome = run(SAMPLES, COUNT, SEED)
    with capsys.disabled():
        sys.stdout.write(f"\nzeta, {COUNT} frames\n{table(outcome)}\n")
    for fault, tally in outcome.tallies.items():
        assert tally.refused + tally.unchanged + tally.wrong == tally.frames
        assert tally.share(tally.wrong) <= BOUNDS.get(fault, 0.0), fault


def _takes(protocol: PolledProtocol, request: bytes | None, frame: bytes) -> bool:
    """Whether anything is read out of it."""
    if request is not None and not protocol.is_answer(request, frame):
        return False
    try:
        protocol.decode(request, frame)
    except FrameError, RefusedError:
        return False
    return True


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_no_single_bit_gets_past_the_crc(sample: Sample) -> None:
    """Each bit of every answer in turn, with its question and without."""
    for damaged in bit_flips(sample.frame):
        assert not crc_is_right(damaged)
        assert not _takes(sample.protocol, sample.request, damaged)
        assert not _takes(sample.protocol, None, damaged)


def test_a_frame_whose_crc_fails_is_never_accepted() -> None:
    """By hook or by crook: damaged in every way that there is, split or whole, with its question and without."""
    rng = Random(SEED)
    wrong = 0
    for number in range(20_000):
        sample, other = rng.choices(SAMPLES, k=2)
        damaged = mutate(sample.frame, tuple(Fault)[number % len(Fault)], rng, other.frame)
        for frame in (damaged, *sample.protocol.splitter(sample.request).feed(damaged)):
            if not crc_is_right(frame):
                wrong += _takes(sample.protocol, sample.request, frame) or _takes(sample.protocol, None, frame)
    assert wrong == 0


# --- streams ---------------------------------------------------------------------------------------------------------


def _pieces(stream: bytes, rng: Random) -> Iterator[bytes]:
    """The stream, cut at random."""
    cuts = sorted({0, len(stream), *(rng.randrange(len(stream)) for _ in range(rng.randrange(10)))})
    return (stream[start:end] for start, end in pairwise(cuts))


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_streams_cut_at_random_give_nothing_that_was_not_sent(loss: float) -> None:
    """Late answers, joined ones and pieces that are lost or damaged: what is read was sent, word for word."""
    rng = Random(SEED)
    read = asked = 0
    for _ in range(4000):
        wanted = rng.choice(SAMPLES)
        around = [rng.choice(SAMPLES) for _ in range(rng.randrange(3))]
        sent = [sample.frame for sample in around if sample.request != wanted.request]
        sent.insert(rng.randrange(len(sent) + 1), wanted.frame)
        splitter = wanted.protocol.splitter(wanted.request)
        whole = True
        answers: list[bytes] = []
        for piece in _pieces(b"".join(sent), rng):
            if rng.random() < loss:
                whole = False
                if rng.random() < 0.5:
                    continue
                piece = mutate(piece, Fault.FLIP_2, rng, piece) if len(piece) > 1 else b"\xff"
            answers += [frame for frame in splitter.feed(piece) if _takes(wanted.protocol, wanted.request, frame)]
        asked += 1
        read += wanted.frame in answers
        assert set(answers) <= {wanted.frame}
        assert not whole or answers == [wanted.frame]
        assert splitter.noise >= 0
        assert splitter.pending is None or splitter.pending > 0
    assert read / asked >= 1.0 - 3 * loss if loss < 0.3 else read > 0


# --- whatever the bytes are ------------------------------------------------------------------------------------------

_RANGES: dict[str, tuple[float, float]] = {
    "voltage": (8.0, 70.0),
    "current": (-2000.0, 2000.0),
    "soc": (0.0, 100.0),
    "soh": (0.0, 100.0),
    "pcb_temperature": (-40.0, 150.0),
    "cell_temperature_max": (-40.0, 150.0),
}


@pytest.mark.parametrize("protocol", BLUETOOTH.values(), ids=BLUETOOTH.keys())
def test_nothing_outside_of_physics_is_shown_whatever_a_pack_sends(protocol: PolledProtocol) -> None:
    """Registers at random in frames that are right: what is shown of one reading is possible."""
    rng = Random(11)
    limits = Limits(cells=8, capacity=100.0)
    shown_ones = 0
    for number in range(4000):
        count = rng.choice((39, 41))
        if number % 2:
            words = rng.randbytes(2 * count)
        else:
            image = bytearray(STATUS[3:-2][: 2 * count])
            for _ in range(rng.randrange(1, 6)):
                at = 2 * rng.randrange(count)
                image[at : at + 2] = rng.randbytes(2)
            words = bytes(image)
        request, frame = question(1, 0, count), sealed(bytes((1, 3, 2 * count)) + words)
        protocol.recognises(request, frame)
        try:
            decoded = protocol.decode(request, frame)
        except FrameError, RefusedError:
            continue
        state: Any = hold_back(decoded.packs[1], limits)[0]
        shown_ones += 1
        for name, (low, high) in _RANGES.items():
            value = getattr(state, name)
            assert value is None or low <= value <= high, (name, value)
        assert all(cell is None or 0.0 < cell <= 5.0 for cell in state.cell_voltages or ())
        assert all(probe is None or -40.0 <= probe <= 127.0 for probe in state.cell_temperatures or ())
        assert state.cycles is None or state.cycles <= 0xFFFF
    assert shown_ones > 1000


@pytest.mark.parametrize("protocol", BLUETOOTH.values(), ids=BLUETOOTH.keys())
def test_bytes_at_random_are_refused_and_nothing_worse(protocol: PolledProtocol) -> None:
    """With right CRCs and with wrong ones, as answers, as questions, as requests that nobody makes."""
    rng = Random(7)
    requests = [*(poll.request(1) for poll in protocol.polls), of_board(0x0A, b"\x01"), b"", b"\x10", b"\x01\x03"]
    for number in range(12_000):
        body = bytes((rng.choice((1, 0x10, rng.randrange(256))), rng.randrange(0x10))) + rng.randbytes(
            rng.randrange(40)
        )
        if number % 3 == 0:  # a length that fits
            body = body[:2] + bytes((len(body[2:]),)) + body[2:]
        frame = sealed(body) if number % 4 else body
        request = rng.choice(requests)
        protocol.is_answer(request, frame)
        protocol.is_request(frame)
        protocol.address_of(frame)
        protocol.recognises(request, frame)
        for asked in (request, None, frame):
            _takes(protocol, asked, frame)
            try:
                protocol.decode(asked, frame)
            except FrameError, RefusedError:
                continue
        splitter = protocol.splitter(request)
        for piece in (frame[:3], frame[3:]):
            splitter.feed(piece)
        assert splitter.pending is None or splitter.pending > 0
