"""Which family is on a bus, when that may be believed, and what else a bus can be."""

from collections.abc import Iterable, Iterator, Mapping
import json
from typing import Any

from hypothesis import given, settings, strategies as st
import pytest

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame
from custom_components.lfp_battery.bms.protocols.can import CAN
from custom_components.lfp_battery.bms.protocols.can.detection import Detector, Hint, Verdict
from custom_components.lfp_battery.bms.protocols.can.markers import BY_FAMILY, MARKERS, marked

from ..captured import CAPTURES
from .own import captures, frame

STREAMS: list[dict[str, Any]] = json.loads((CAPTURES / "can-detect.json").read_text(encoding="utf-8"))["streams"]

type Timed = tuple[float, str, str]

PYLON = (("359", "0000000001504E"), ("351", "1402740E740ECC01"), ("355", "1A006400"), ("356", "021300004A01"),
         ("35C", "C000"), ("35E", "50594C4F4E202020"))  # fmt: skip
GROWATT = (("313", "1522000000EA6363"), ("312", "0000000002000000"), ("311", "0238082408240161"))
SMA = (("351", "1402740E740ECC01"), ("355", "1A006400"), ("356", "021300004A01"), ("35A", "0000000000000000"))
VICTRON = (*SMA, ("372", "0200000000000000"), ("373", "D80CF10C22012A01"))
GENERIC = SMA[:3]
# BYD: 351 every 2 s, its name every 60 s, the rest every 10 s (can.md 4.2).
BYD_REST = (*VICTRON[1:], ("379", "9C00000000000000"))


def _frames(stream: Mapping[str, Any]) -> Iterator[Timed]:
    if "repeat" in stream:
        again = stream["repeat"]
        for number in range(again["count"]):
            yield (number * again["every"], *again["frame"])
    else:
        yield from (tuple(row) for row in stream["frames"])


def _sets(frames: Iterable[tuple[str, str]], begin: float, end: float, every: float = 1.0) -> Iterator[Timed]:
    """A set again and again, its frames 5 ms apart."""
    sent = list(frames)
    number = 0
    while (at := begin + number * every) < end:
        yield from ((at + 0.005 * place, *one) for place, one in enumerate(sent))
        number += 1


def _hear(detector: Detector, frames: Iterable[Timed]) -> list[tuple[float, Verdict]]:
    """Every change of the verdict that a listener who asks after each frame sees."""
    changes: list[tuple[float, Verdict]] = []
    for at, frame_id, data in frames:
        detector.hear(frame(frame_id, data), at)
        verdict = detector.verdict(at)
        if not changes or verdict != changes[-1][1]:
            changes.append((at, verdict))
    return changes


def _settled(frames: Iterable[Timed]) -> list[tuple[float, str | None]]:
    """Which families were settled on, and when."""
    found: list[tuple[float, str | None]] = []
    for at, verdict in _hear(Detector(), frames):
        if verdict.settled and (not found or found[-1][1] != verdict.family):
            found.append((round(at, 1), verdict.family))
    return found


@pytest.mark.parametrize("stream", [pytest.param(stream, id=stream["id"]) for stream in STREAMS])
def test_a_stream_is_what_it_is(stream: Mapping[str, Any]) -> None:
    """Family, inverter and hint at its end; no verdict before it may be given."""
    detector = Detector()
    changes = _hear(detector, _frames(stream))
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
        _hear(detector, ((0.1 * number, *one) for number, one in enumerate(frames)))
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
    assert _settled(_sets(GROWATT, 0, 6)) == [(3.0, "growatt")]
    assert _settled(_sets(GROWATT, 0, 12, every=5)) == [(5.0, "growatt")]


def test_shared_ids_are_believed_when_none_was_new_for_ten_seconds() -> None:
    """Pylon's set, complete from its first second."""
    assert _settled(_sets(PYLON, 0, 15)) == [(10.0, "pylon")]


def test_a_late_id_is_waited_for() -> None:
    """35A at 8 s makes another family of it, and begins the wait again."""
    early = list(_sets(GENERIC, 0, 20))
    late = list(_sets(SMA[3:], 8, 20))
    assert _settled(sorted(early + late)) == [(18.0, "sma")]


def test_a_slow_pack_is_waited_for_longer() -> None:
    """Nothing of BYD repeats faster than every 2 s: 25 s without a new id, and no verdict on 351 and its name alone."""
    frames = [
        *_sets([VICTRON[0]], 0, 60, every=2),
        *_sets([("35E", "4259440000000000")], 0.5, 60, every=60),
        *_sets(BYD_REST, 9.9, 60, every=10),
    ]
    assert _settled(sorted(frames)) == [(36.0, "victron")]
    # the clock of a pack may be a little fast
    hasty = [*_sets([VICTRON[0]], 0, 60, every=1.96), *_sets(BYD_REST, 12, 60, every=10)]
    assert [family for _, family in _settled(sorted(hasty))] == ["victron"]


def test_better_evidence_upgrades_and_missing_frames_never_downgrade() -> None:
    """Generic, then SMA, then Victron; nothing changes when the frames that told it stay away."""
    frames = [*_sets(GENERIC, 0, 400), *_sets(SMA[3:], 40, 43), *_sets(VICTRON[4:], 80, 83)]
    found = _settled(sorted(frames))
    assert [family for _, family in found] == ["generic_35x", "sma", "victron"]
    assert found[1][0] == pytest.approx(43, abs=0.2)
    assert found[2][0] == pytest.approx(83, abs=0.2)


def test_an_upgrade_awaits_the_rest_of_its_set() -> None:
    """35A and 372 of one set are one change, not two."""
    frames = [*_sets(GENERIC, 0, 30), *_sets(VICTRON, 30, 40)]
    assert [family for _, family in _settled(frames)] == ["generic_35x", "victron"]


def test_a_better_marker_counts_at_once_when_the_owner_turns_the_switch() -> None:
    """Growatt's ids are in no other set: the old ones need not have been silent for 30 s."""
    detector = Detector()
    _hear(detector, _sets(PYLON, 0, 20))
    _hear(detector, _sets(GROWATT, 23, 26))
    assert detector.verdict(26) == Verdict(family="growatt", settled=True)


def test_a_worse_family_is_seen_once_the_old_one_was_silent() -> None:
    """From Growatt to Pylon: after 30 s of silence it begins anew, and is settled as at the start."""
    frames = [*_sets(GROWATT, 0, 10), *_sets(PYLON, 12, 60)]
    found = _settled(frames)
    assert [family for _, family in found] == ["growatt", "pylon"]
    assert 39 <= found[1][0] <= 41
    detector = Detector()
    _hear(detector, frames)
    assert not detector.unknown, "the old ids are forgotten"


def test_silence_alone_changes_nothing() -> None:
    """A pack that sleeps for an hour while its inverter asks on, and comes back, is the same."""
    detector = Detector()
    _hear(detector, _sets(PYLON, 0, 20))
    changes = _hear(detector, [*_sets([("305", "0000000000000000")], 20, 3620), *_sets(PYLON, 3620, 3640)])
    assert {(verdict.family, verdict.settled) for _, verdict in changes} == {("pylon", True)}


@pytest.mark.parametrize("family", CAN)
def test_what_it_was_the_last_time_is_believed_at_once(family: str) -> None:
    """Before anything was heard, and when frames come that do not tell more."""
    detector = Detector()
    detector.assume(family)
    assert detector.verdict(0) == Verdict(family=family, settled=True)
    if BY_FAMILY[family].order >= 7:
        _hear(detector, _sets(GENERIC, 0, 5))
        assert detector.verdict(5) == Verdict(family=family, settled=True)


def test_what_it_was_the_last_time_gives_way_to_evidence() -> None:
    """Victron's set has no 359; Growatt's is not silent for 30 s."""
    detector = Detector()
    detector.assume("victron")
    _hear(detector, _sets(PYLON, 100, 103))
    assert detector.verdict(103).family == "pylon"
    detector = Detector()
    detector.assume("growatt")
    changes = _hear(detector, _sets(PYLON, 1000, 1060))
    assert changes[0][1] == Verdict(family="growatt", settled=True)
    assert [round(at) for at, verdict in changes if verdict == Verdict(family="pylon", settled=True)] == [1030]


LUXPOWER = (("359", "0000000003640000"), ("351", "3002E803E803E001"), ("356", "C8149B00F600E400"))


def test_luxpower_waits_where_its_cells_look_like_a_finer_soc() -> None:
    """33 % with 3310 may be a gateway that sends hundredths and what is left: once it moves, it is told."""
    detector = Detector()
    _hear(detector, _sets((*LUXPOWER, ("355", "21006400EE0CE40C")), 0, 5))
    assert detector.verdict(5).family == "pylon"
    _hear(detector, _sets([("355", "23006400EE0CE40C")], 5, 6))
    assert detector.verdict(6).family == "luxpower"
    detector = Detector()
    _hear(detector, _sets((*LUXPOWER, ("355", "21006400EE0CB80B"), ("355", "22006400520DC20B")), 0, 5))
    assert detector.verdict(5).family == "pylon"


@pytest.mark.parametrize("tag", ["504E", "5059", "564D", "0000"])
def test_letters_or_nothing_in_359_are_no_capacity(tag: str) -> None:
    """PN, PY, VM and zeros: Pylon, whatever 355 has (can.md 4.3)."""
    detector = Detector()
    _hear(detector, _sets((("359", f"0000000001{tag}"), ("355", "40006200030DF60C")), 0, 5))
    assert detector.verdict(5).family == "pylon"


def test_text_in_370_is_no_figure() -> None:
    """A name makes no other family of Pylon's set, nor do zeros; two temperatures and two cells do."""
    for data, family in (
        ("44594E455353204C", "pylon"),
        ("0000000000000000", "pylon"),
        ("0601F100EF0CE10C", "pylon_goodwe"),
    ):
        detector = Detector()
        _hear(detector, _sets((*PYLON, ("370", data)), 0, 2))
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
    _hear(detector, _sets([(one, "0102030405060708") for one in ids], 0, 5))
    assert detector.verdict(5) == Verdict(hint=hint)
    assert len(detector.unknown) == len(ids)
    _hear(detector, _sets(PYLON, 5, 7))
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
    _hear(detector, _sets(frames, 0, 3))
    assert detector.verdict(3) == Verdict(inverter=kind)
    assert not detector.unknown
    if family is not None:
        detector = Detector()
        detector.assume(family)
        _hear(detector, _sets(frames, 0, 3))
        assert detector.verdict(3).inverter == kind


def test_one_305_beside_a_battery_is_no_proof_of_an_inverter() -> None:
    """A gateway on the battery's side sends one, too (can.md section 3)."""
    detector = Detector()
    _hear(detector, [*_sets(PYLON, 0, 1), (1.0, "305", "2100000000000000")])
    assert detector.verdict(1).inverter is None
    _hear(detector, [(2.0, "305", "2100000000000000")])
    assert detector.verdict(2).inverter == "generic"


def _repeats(count: int, every: float, begin: float = 0.0) -> Iterator[Timed]:
    return ((begin + every * number, "356", "49130000D200") for number in range(count))


def test_one_frame_over_and_over_means_that_nobody_acknowledges() -> None:
    """About every 0.5 ms; it is no family, and it ends with the next other frame or with silence."""
    detector = Detector()
    _hear(detector, _repeats(100, 0.0005))
    assert detector.verdict(0.05) == Verdict(hint=Hint.NO_ACKNOWLEDGE)
    assert detector.verdict(5).hint is None
    _hear(detector, _sets(PYLON, 1, 2))
    assert detector.verdict(2) == Verdict(family="pylon")


@pytest.mark.parametrize(("count", "every"), [(40, 0.0005), (500, 0.006), (500, 0.1)])
def test_a_burst_or_a_quick_battery_is_no_repetition(count: int, every: float) -> None:
    """Fewer than fifty, or not faster than every 5 ms."""
    detector = Detector()
    _hear(detector, _repeats(count, every))
    assert detector.verdict(count * every).hint is None
    assert detector.verdict(count * every).family == "generic_35x"


def test_a_known_battery_that_is_no_more_acknowledged_stays_what_it_is() -> None:
    """The inverter was switched off: the family is known, and the hint says what is wrong."""
    detector = Detector()
    _hear(detector, _sets(PYLON, 0, 20))
    _hear(detector, _repeats(200, 0.0005, begin=20.5))
    assert detector.verdict(20.6) == Verdict(family="pylon", settled=True, hint=Hint.NO_ACKNOWLEDGE)


def test_unknown_ids_are_kept_with_their_latest_payload_and_are_few() -> None:
    """Sixty-four of them, however many there are; the family is found all the same."""
    detector = Detector()
    for number in range(5000):
        detector.hear(CanFrame(id=0x10000 + number | EXTENDED, data=number.to_bytes(2)), number / 1000)
    detector.hear(CanFrame(id=0x10000 | EXTENDED, data=b"new"), 5)
    _hear(detector, _sets(PYLON, 5, 7))
    assert detector.verdict(7).family == "pylon"
    assert len(detector.unknown) == 64
    assert detector.unknown[0x10000 | EXTENDED] == b"new"


def test_a_serial_number_of_another_family_is_not_shown() -> None:
    """380 in a Pylon set is unknown, and its payload is nobody's business; nor are Sofar's and Growatt's."""
    detector = Detector()
    frames = [(frame_id, b"HQ123456".hex()) for frame_id in ("380", "671", "324", "123")]
    _hear(detector, _sets((*PYLON, *frames), 0, 2))
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


# --- what must not, and what must, change a family that is settled --------------------------------------------------

DEYE = (("351", "480200025802B801"), ("355", "3F006300"), ("356", "5A146400FA00"), ("359", "0000000000000000"),
        ("35C", "00"), ("361", "E40CDA0CFA00F000"), ("364", "0100000001"))  # fmt: skip
AFORE = (("350", "10020014E204"), ("351", "4263000023000010"), ("352", "F401F4013802CC01"), ("353", "0000000000000000"),
         ("354", "EE0CE40C01000200"), ("359", "5858504E31504E31"))  # fmt: skip


@pytest.mark.parametrize("stray", ["361", "354", "399", "3DA", "372", "379", "605"])
@pytest.mark.parametrize("when", [0.5, 20.5])
def test_one_frame_of_somebody_else_changes_no_family(stray: str, when: float) -> None:
    """Neither while it is found out, nor afterwards: an id counts once it was repeated (can.md 4.2)."""
    detector = Detector()
    _hear(detector, sorted([*_sets(PYLON, 0, 60), (when, stray, "0000000000000000")]))
    assert detector.verdict(60) == Verdict(family="pylon", settled=True, inverter="sofar" if stray == "605" else None)


@pytest.mark.parametrize(
    "stray", [("359", "0000000003640000"), ("370", "0601F100EF0CE10C"), ("355", "40006400EE0CE40C")]
)
def test_one_payload_of_somebody_else_changes_no_family(stray: tuple[str, str]) -> None:
    """Figures among names in 370, a capacity among letters in 359, cells in 355."""
    detector = Detector()
    usual = (*PYLON, ("370", "44594E455353204C"))
    _hear(detector, sorted([*_sets(usual, 0, 60), (20.5, *stray)]))
    assert detector.verdict(60) == Verdict(family="pylon", settled=True)


def test_another_battery_beside_one_that_goes_on_changes_no_family() -> None:
    """Growatt's ids again and again, while Pylon's are not silent: it stays; once they are, it changes."""
    detector = Detector()
    _hear(detector, sorted([*_sets(PYLON, 0, 60), *_sets(GROWATT, 20.5, 60)]))
    assert detector.verdict(60).family == "pylon"
    _hear(detector, _sets(GROWATT, 60.5, 66))
    assert detector.verdict(66) == Verdict(family="growatt", settled=True)


def test_what_was_heard_long_ago_changes_nothing_when_the_battery_rests() -> None:
    """Growatt's ids for a while, an hour before Pylon is silent for a minute."""
    detector = Detector()
    _hear(detector, sorted([*_sets(PYLON, 0, 600), *_sets(GROWATT, 20.5, 30)]))
    _hear(detector, [*_sets([("305", "0000000000000000")], 600, 660), *_sets(PYLON, 660, 680)])
    assert detector.verdict(680).family == "pylon"


@pytest.mark.parametrize("pause", [0, 5, 15, 45])
def test_a_family_whose_own_ids_stay_away_is_given_up(pause: int) -> None:
    """Deye set to Victron's set: 351, 355 and 356 go on, 361 does not: 30 s after it was last heard, or 10 s at least."""
    frames = [*_sets(DEYE, 0, 20), *_sets(VICTRON, 20 + pause, 90)]
    found = _settled(frames)
    assert [family for _, family in found] == ["deye_pcs", "victron"]
    assert found[1][0] <= 19 + max(30, pause) + 12


def test_a_clear_family_that_sleeps_and_comes_back_is_the_same() -> None:
    """Whatever frame of its set is the first one."""
    for place in range(len(DEYE)):
        turned = DEYE[place:] + DEYE[:place]
        found = _settled([*_sets(turned, 0, 20), *_sets(turned, 80, 120)])
        assert [family for _, family in found] == ["deye_pcs"]


def test_letters_in_359_are_no_deye_and_no_afore() -> None:
    """They tell at once, as soon as they are repeated; a serial number of Afore's that has them is none."""
    for before in (DEYE, AFORE):
        found = _settled([*_sets(before, 0, 20), *_sets(PYLON, 21, 60)])
        assert [family for _, family in found][1:] == ["pylon"]
        assert found[1][0] <= 33
    assert _settled(_sets(AFORE, 0, 60)) == [(3.0, "afore")]


def test_a_new_id_that_tells_nothing_delays_no_verdict() -> None:
    """Pylon's set is complete; one more id of others every nine seconds is none of it."""
    others = [(9.0 * (number + 1), f"{0x150 + number:03X}", "00" * 8) for number in range(15)]
    assert _settled(sorted([*_sets(PYLON, 0, 150), *others]))[0] == (10.0, "pylon")


def test_a_name_that_comes_once_a_minute_delays_no_verdict() -> None:
    """BYD's 35E at 34.9 s (can.md 4.2)."""
    frames = [*_sets([VICTRON[0]], 0, 90, every=2), *_sets(BYD_REST, 9.9, 90, every=10),
              *_sets([("35E", "42594400")], 34.9, 90, every=60)]  # fmt: skip
    assert _settled(sorted(frames)) == [(36.0, "victron")]


def test_dyness_without_its_35c_is_not_sofar() -> None:
    """Its 30F is no enable: until 35C is heard it is read as Pylon's set; Sofar counts in 359."""
    dyness = (*GENERIC, ("359", "0000000001000001"), ("35A", "00" * 8), ("30F", "00" * 8))
    assert [family for _, family in _settled(_sets(dyness, 0, 30))] == ["pylon"]
    late = sorted([*_sets(dyness, 0, 60), *_sets([("35C", "C000")], 30, 60)])
    assert [family for _, family in _settled(late)] == ["pylon", "dyness"]
    counted = (*GENERIC, ("359", "0201020F00000000"), ("35A", "00" * 8), ("30F", "00" * 8))
    assert [family for _, family in _settled(_sets(counted, 0, 30))] == ["sofar"]


# Counts in the first bytes of 359, or figures in the last ones.
SOFAR_359 = ("0110011000000000", "0000000001100110")


@pytest.mark.parametrize("figures", SOFAR_359)
def test_sofar_is_known_by_its_figures_beside_its_alarms(figures: str) -> None:
    """Whichever half of 359 they are in."""
    sofar = (*GENERIC, ("359", figures), ("30F", "0003000000000000"), ("35A", "00" * 8))
    assert [family for _, family in _settled(_sets(sofar, 0, 60))] == ["sofar"]


@pytest.mark.parametrize("figures", [*SOFAR_359, None])
def test_alarms_that_come_late_disprove_no_sofar_that_was_assumed(figures: str | None) -> None:
    """35A is sent on change, long after the rest; nothing of Pylon's was heard, even where 359 never comes."""
    detector = Detector()
    detector.assume("sofar")
    rest = (*GENERIC, ("30F", "0003000000000000"), *(() if figures is None else (("359", figures),)))
    changes = _hear(detector, sorted([*_sets(rest, 0, 300), *_sets([("35A", "00" * 8)], 60.5, 300, every=10)]))
    assert {verdict.family for _, verdict in changes} == {"sofar"}


def test_a_worse_family_is_known_by_what_is_heard_and_not_by_what_was_assumed() -> None:
    """372 is none of Sol-Ark's, but Pylon's set is only what is left over of the assumption until a 359 is heard."""
    detector = Detector()
    detector.assume("solark")
    changes = _hear(detector, _sets((*GENERIC, VICTRON[4]), 0, 20))
    assert {verdict.family for _, verdict in changes} == {"solark"}
    changes = _hear(detector, _sets((*PYLON, VICTRON[4]), 20, 24))
    assert changes[-1][1].family == "pylon"


@pytest.mark.parametrize("tag", ["504E", "0000"])
def test_an_inverter_of_sofar_makes_no_sofar_of_a_pylon(tag: str) -> None:
    """605 and 705 come from it, whatever battery it has; without 359 and 35C they tell."""
    queries = (("605", "0101000000000000"), ("705", "0101000000000000"))
    detector = Detector()
    _hear(detector, _sets((("359", f"0000000001{tag}"), *PYLON[1:], *queries), 0, 12))
    assert detector.verdict(12) == Verdict(family="pylon", settled=True, inverter="sofar")
    detector = Detector()
    _hear(detector, _sets((*GENERIC, *queries), 0, 12))
    assert detector.verdict(12).family == "sofar"


def test_the_sixth_pack_of_deye_is_no_inverter() -> None:
    """605 and 705 are its serial number and its counters."""
    detector = Detector()
    _hear(detector, _sets((*DEYE, ("605", "4142434445464748"), ("705", "0000000000000000")), 0, 6))
    assert detector.verdict(6) == Verdict(family="deye_pcs", settled=True)


def test_ids_of_low_voltage_with_29_bits_are_no_high_voltage() -> None:
    """A tower of Sofar's is 351 + 1000 n, and n is 1 at least; 00000351 is nothing that is known (can.md section 1)."""
    detector = Detector()
    _hear(detector, _sets([(f"00000{one}", "00" * 8) for one in ("351", "355", "356")], 0, 5))
    assert detector.verdict(5) == Verdict()


@pytest.mark.parametrize("temperature", range(32, 127))
def test_a_cold_pack_sends_figures_and_no_name(temperature: int) -> None:
    """3.2 to 12.6 degC begin as a letter and a zero do (can.md 4.3)."""
    data = b"".join(number.to_bytes(2, "little") for number in (temperature, temperature - 10, 3311, 3297)).hex()
    detector = Detector()
    _hear(detector, _sets((*PYLON, ("370", data)), 0, 2))
    assert detector.verdict(2).family == "pylon_goodwe"


def test_a_limit_of_high_voltage_is_no_battery_that_can_be_read() -> None:
    """450 V in 351: no family is named, whatever the ids are like."""
    detector = Detector()
    _hear(detector, _sets((("351", "9411FA00FA00100E"), *SMA[1:]), 0, 12))
    assert detector.verdict(12) == Verdict(hint=Hint.HIGH_VOLTAGE)
    _hear(detector, _sets(SMA, 12, 14))
    assert detector.verdict(14).family == "sma"
