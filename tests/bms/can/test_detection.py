"""Which family is on a bus, when that may be believed, and what else a bus can be."""

from collections.abc import Iterator, Mapping
import json
from typing import Any

from hypothesis import given, settings, strategies as st
import pytest

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame
from custom_components.lfp_battery.bms.protocols.can import CAN
from custom_components.lfp_battery.bms.protocols.can.detection import Detector, Hint, Verdict
from custom_components.lfp_battery.bms.protocols.can.markers import BY_FAMILY, MARKERS, marked

from ..captured import CAPTURES
from .own import captures
from .traffic import BYD_REST, GENERIC, GROWATT, PYLON, SMA, VICTRON, Timed, sent, settled_on, verdicts

STREAMS: list[dict[str, Any]] = json.loads((CAPTURES / "can-detect.json").read_text(encoding="utf-8"))["streams"]


def _frames(stream: Mapping[str, Any]) -> Iterator[Timed]:
    if "repeat" in stream:
        again = stream["repeat"]
        for number in range(again["count"]):
            yield (number * again["every"], *again["frame"])
    else:
        yield from (tuple(row) for row in stream["frames"])


@pytest.mark.parametrize("stream", [pytest.param(stream, id=stream["id"]) for stream in STREAMS])
def test_a_stream_is_what_it_is(stream: Mapping[str, Any]) -> None:
    """Family, inverter and hint at its end; no verdict before it may be given."""
    detector = Detector()
    changes = verdicts(detector, _frames(stream))
    last = changes[-1][1]
    assert last.family == stream["family"]
    if "inverter" in stream:
        assert last.inverter == stream["inverter"]
    if "hint" in stream:
        assert last.hint == stream["hint"]
    if "first_family" in stream:
        assert stream["first_family"] in [verdict.family for _, verdict in changes]
    for at, verdict in changes:
        assert not verdict.settled or at >= stream.get("not_before", 3.0)


@pytest.mark.parametrize("capture", [one for one in captures("can-35x.json") if one.values[0]["detected"]])
def test_a_captured_set_is_recognised(capture: Mapping[str, Any]) -> None:
    """In whatever order its frames come."""
    for frames in (capture["frames"], capture["frames"][::-1]):
        detector = Detector()
        verdicts(detector, ((0.1 * number, *one) for number, one in enumerate(frames)))
        verdict = detector.verdict(2.0)
        assert verdict.family == capture["family"]
        assert "inverter" not in capture or verdict.inverter == capture["inverter"]


def test_every_marker_is_of_a_family_that_can_be_read() -> None:
    """In the order of can.md 4.1, and each recognises what is typical of it."""
    assert {marker.family for marker in MARKERS} == set(CAN)
    assert [marker.order for marker in MARKERS] == list(range(1, len(CAN) + 1))
    assert all(marked(marker.typical) is marker for marker in MARKERS)


def test_ids_that_nobody_else_has_are_believed_after_three_seconds() -> None:
    """And one repetition of the most frequent one (can.md 4.2)."""
    assert settled_on(sent(GROWATT, 0, 6)) == [(3.0, "growatt")]
    assert settled_on(sent(GROWATT, 0, 12, every=5)) == [(5.0, "growatt")]


def test_shared_ids_are_believed_when_none_was_new_for_ten_seconds() -> None:
    """Pylon's set, complete from its first second."""
    assert settled_on(sent(PYLON, 0, 15)) == [(10.0, "pylon")]


def test_a_late_id_is_waited_for() -> None:
    """35A at 8 s makes another family of it, and begins the wait again."""
    early = list(sent(GENERIC, 0, 20))
    late = list(sent(SMA[3:], 8, 20))
    assert settled_on(sorted(early + late)) == [(18.0, "sma")]


def test_a_slow_pack_is_waited_for_longer() -> None:
    """Nothing of BYD repeats faster than every 2 s: 25 s without a new id, and no verdict on 351 and its name alone."""
    frames = [
        *sent([VICTRON[0]], 0, 60, every=2),
        *sent([("35E", "4259440000000000")], 0.5, 60, every=60),
        *sent(BYD_REST, 9.9, 60, every=10),
    ]
    assert settled_on(sorted(frames)) == [(36.0, "victron")]
    # the clock of a pack may be a little fast
    hasty = [*sent([VICTRON[0]], 0, 60, every=1.96), *sent(BYD_REST, 12, 60, every=10)]
    assert [family for _, family in settled_on(sorted(hasty))] == ["victron"]


def test_better_evidence_upgrades_and_missing_frames_never_downgrade() -> None:
    """Generic, then SMA, then Victron; nothing changes when the frames that told it stay away."""
    frames = [*sent(GENERIC, 0, 400), *sent(SMA[3:], 40, 43), *sent(VICTRON[4:], 80, 83)]
    found = settled_on(sorted(frames))
    assert [family for _, family in found] == ["generic_35x", "sma", "victron"]
    assert found[1][0] == pytest.approx(43, abs=0.2)
    assert found[2][0] == pytest.approx(83, abs=0.2)


def test_an_upgrade_awaits_the_rest_of_its_set() -> None:
    """35A and 372 of one set are one change, not two."""
    frames = [*sent(GENERIC, 0, 30), *sent(VICTRON, 30, 40)]
    assert [family for _, family in settled_on(frames)] == ["generic_35x", "victron"]


def test_a_better_marker_counts_at_once_when_the_owner_turns_the_switch() -> None:
    """Growatt's ids are in no other set: the old ones need not have been silent for 30 s."""
    detector = Detector()
    verdicts(detector, sent(PYLON, 0, 20))
    verdicts(detector, sent(GROWATT, 23, 26))
    assert detector.verdict(26) == Verdict(family="growatt", settled=True)


def test_a_worse_family_is_seen_once_the_old_one_was_silent() -> None:
    """From Growatt to Pylon: after 30 s of silence it begins anew, and is settled as at the start."""
    frames = [*sent(GROWATT, 0, 10), *sent(PYLON, 12, 60)]
    found = settled_on(frames)
    assert [family for _, family in found] == ["growatt", "pylon"]
    assert 39 <= found[1][0] <= 41
    detector = Detector()
    verdicts(detector, frames)
    assert not detector.unknown, "the old ids are forgotten"


def test_silence_alone_changes_nothing() -> None:
    """A pack that sleeps for an hour while its inverter asks on, and comes back, is the same."""
    detector = Detector()
    verdicts(detector, sent(PYLON, 0, 20))
    changes = verdicts(detector, [*sent([("305", "0000000000000000")], 20, 3620), *sent(PYLON, 3620, 3640)])
    assert {(verdict.family, verdict.settled) for _, verdict in changes} == {("pylon", True)}


@pytest.mark.parametrize("family", CAN)
def test_what_it_was_the_last_time_is_believed_at_once(family: str) -> None:
    """Before anything was heard, and when frames come that do not tell more."""
    detector = Detector()
    detector.assume(family)
    assert detector.verdict(0) == Verdict(family=family, settled=True)
    if BY_FAMILY[family].order >= 7:
        verdicts(detector, sent(GENERIC, 0, 5))
        assert detector.verdict(5) == Verdict(family=family, settled=True)


def test_what_it_was_the_last_time_gives_way_to_evidence() -> None:
    """Victron's set has no 359; Growatt's is not silent for 30 s."""
    detector = Detector()
    detector.assume("victron")
    verdicts(detector, sent(PYLON, 100, 103))
    assert detector.verdict(103).family == "pylon"
    detector = Detector()
    detector.assume("growatt")
    changes = verdicts(detector, sent(PYLON, 1000, 1060))
    assert changes[0][1] == Verdict(family="growatt", settled=True)
    assert [round(at) for at, verdict in changes if verdict == Verdict(family="pylon", settled=True)] == [1030]


LUXPOWER = (("359", "0000000003640000"), ("351", "3002E803E803E001"), ("356", "C8149B00F600E400"))


def test_luxpower_waits_where_its_cells_look_like_a_finer_soc() -> None:
    """33 % with 3310 may be a gateway that sends hundredths and what is left: once it moves, it is told."""
    detector = Detector()
    verdicts(detector, sent((*LUXPOWER, ("355", "21006400EE0CE40C")), 0, 5))
    assert detector.verdict(5).family == "pylon"
    verdicts(detector, sent([("355", "23006400EE0CE40C")], 5, 6))
    assert detector.verdict(6).family == "luxpower"
    detector = Detector()
    verdicts(detector, sent((*LUXPOWER, ("355", "21006400EE0CB80B"), ("355", "22006400520DC20B")), 0, 5))
    assert detector.verdict(5).family == "pylon"


@pytest.mark.parametrize("tag", ["504E", "5059", "564D", "0000"])
def test_letters_or_nothing_in_359_are_no_capacity(tag: str) -> None:
    """PN, PY, VM and zeros: Pylon, whatever 355 has (can.md 4.3)."""
    detector = Detector()
    verdicts(detector, sent((("359", f"0000000001{tag}"), ("355", "40006200030DF60C")), 0, 5))
    assert detector.verdict(5).family == "pylon"


def test_text_in_370_is_no_figure() -> None:
    """A name makes no other family of Pylon's set, nor do zeros; two temperatures and two cells do."""
    for data, family in (
        ("44594E455353204C", "pylon"),
        ("0000000000000000", "pylon"),
        ("0601F100EF0CE10C", "pylon_goodwe"),
    ):
        detector = Detector()
        verdicts(detector, sent((*PYLON, ("370", data)), 0, 2))
        assert detector.verdict(2).family == family


HINTS = [
    (("00004200", "00004210", "00004220"), Hint.HIGH_VOLTAGE),
    (("00007310", "00007320"), Hint.HIGH_VOLTAGE),
    (("00003010", "00003110"), Hint.HIGH_VOLTAGE),
    (("1AC0FFF3",), Hint.HIGH_VOLTAGE),
    (("00001351", "00001355"), Hint.HIGH_VOLTAGE),
    (("2F4", "4F4", "5F4", "7F4"), Hint.OUT_OF_SCOPE),
    (("0042F0F4", "0044F0F4"), Hint.OUT_OF_SCOPE),
    (("00000320", "00000331"), Hint.OUT_OF_SCOPE),
    (("02098001", "04008001"), Hint.BETWEEN_PACKS),
    (("18F20102",), Hint.BETWEEN_PACKS),
    (("123", "00000123"), None),
]


@pytest.mark.parametrize(("ids", "hint"), HINTS)
def test_what_cannot_be_read_is_recognised(ids: tuple[str, ...], hint: Hint | None) -> None:
    """Every set of can.md section 9; with a battery that can be read beside it, there is nothing to say."""
    detector = Detector()
    verdicts(detector, sent([(one, "0102030405060708") for one in ids], 0, 5))
    assert detector.verdict(5) == Verdict(hint=hint)
    assert len(detector.unknown) == len(ids)
    verdicts(detector, sent(PYLON, 5, 7))
    assert detector.verdict(7) == Verdict(family="pylon")


INVERTERS = [
    ((("305", "0000000000000000"),), None, "generic"),
    ((("305", "0000000000000000"), ("307", "1234567856494300")), "victron", "victron"),
    ((("305", "C01438FEE700C902"), ("306", "E803000100003802")), None, "sma_or_generic"),
    ((("301", "0B16212C37424D58"),), "growatt", "growatt"),
    ((("305", "0000000000000000"), ("300", "01")), "pylon", "luxpower"),
    ((("605", "0000000000000000"),), "sofar", "sofar"),
    ((("1F000100", "0000000000000000"),), None, "megarevo"),
    ((("305", "41464F5245000002"),), None, "afore"),
]


@pytest.mark.parametrize(("frames", "family", "kind"), INVERTERS)
def test_an_inverter_is_told_by_what_it_sends(
    frames: tuple[tuple[str, str], ...], family: str | None, kind: str
) -> None:
    """With its battery, and alone: then no family is named."""
    detector = Detector()
    verdicts(detector, sent(frames, 0, 3))
    assert detector.verdict(3) == Verdict(inverter=kind)
    assert not detector.unknown
    if family is not None:
        detector = Detector()
        detector.assume(family)
        verdicts(detector, sent(frames, 0, 3))
        assert detector.verdict(3).inverter == kind


def test_one_305_beside_a_battery_is_no_proof_of_an_inverter() -> None:
    """A gateway on the battery's side sends one, too (can.md section 3)."""
    detector = Detector()
    verdicts(detector, [*sent(PYLON, 0, 1), (1.0, "305", "2100000000000000")])
    assert detector.verdict(1).inverter is None
    verdicts(detector, [(2.0, "305", "2100000000000000")])
    assert detector.verdict(2).inverter == "generic"


def _repeats(count: int, every: float, begin: float = 0.0) -> Iterator[Timed]:
    return ((begin + every * number, "356", "49130000D200") for number in range(count))


def test_one_frame_over_and_over_means_that_nobody_acknowledges() -> None:
    """About every 0.5 ms; it is no family, and it ends with the next other frame or with silence."""
    detector = Detector()
    verdicts(detector, _repeats(100, 0.0005))
    assert detector.verdict(0.05) == Verdict(hint=Hint.NO_ACKNOWLEDGE)
    assert detector.verdict(5).hint is None
    verdicts(detector, sent(PYLON, 1, 2))
    assert detector.verdict(2) == Verdict(family="pylon")


@pytest.mark.parametrize(("count", "every"), [(40, 0.0005), (500, 0.006), (500, 0.1)])
def test_a_burst_or_a_quick_battery_is_no_repetition(count: int, every: float) -> None:
    """Fewer than fifty, or not faster than every 5 ms."""
    detector = Detector()
    verdicts(detector, _repeats(count, every))
    assert detector.verdict(count * every).hint is None
    assert detector.verdict(count * every).family == "generic_35x"


def test_a_known_battery_that_is_no_more_acknowledged_stays_what_it_is() -> None:
    """The inverter was switched off: the family is known, and the hint says what is wrong."""
    detector = Detector()
    verdicts(detector, sent(PYLON, 0, 20))
    verdicts(detector, _repeats(200, 0.0005, begin=20.5))
    assert detector.verdict(20.6) == Verdict(family="pylon", settled=True, hint=Hint.NO_ACKNOWLEDGE)


def test_unknown_ids_are_kept_with_their_latest_payload_and_are_few() -> None:
    """Sixty-four of them, however many there are; the family is found all the same."""
    detector = Detector()
    for number in range(5000):
        detector.hear(CanFrame(id=0x10000 + number | EXTENDED, data=number.to_bytes(2)), number / 1000)
    detector.hear(CanFrame(id=0x10000 | EXTENDED, data=b"new"), 5)
    verdicts(detector, sent(PYLON, 5, 7))
    assert detector.verdict(7).family == "pylon"
    assert len(detector.unknown) == 64
    assert detector.unknown[0x10000 | EXTENDED] == b"new"


def test_a_serial_number_of_another_family_is_not_shown() -> None:
    """380 in a Pylon set is unknown, and its payload is nobody's business; nor are Sofar's and Growatt's."""
    detector = Detector()
    frames = [(frame_id, b"HQ123456".hex()) for frame_id in ("380", "671", "324", "123")]
    verdicts(detector, sent((*PYLON, *frames), 0, 2))
    assert detector.unknown == {0x380: b"", 0x671: b"", 0x324: b"", 0x123: b"HQ123456"}


@given(
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from(sorted(BY_FAMILY["pylon"].typical.ids | {0x311, 0x313, 0x355, 0x370, 0x305})),
                      st.integers(0, EXTENDED | 0x1FFFFFFF)),
            st.binary(max_size=8),
            st.floats(0, 100),
        ),
        max_size=60,
    )
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_no_frames_stop_it(chosen: list[tuple[int, bytes, float]]) -> None:
    """Any ids with any bytes at any pace: a verdict, of a family that can be read."""
    detector = Detector()
    now = 0.0
    for frame_id, data, pause in chosen:
        now += pause
        detector.hear(CanFrame(id=frame_id, data=data), now)
        assert detector.verdict(now).family in {None, *CAN}
    assert len(detector.unknown) <= 64
