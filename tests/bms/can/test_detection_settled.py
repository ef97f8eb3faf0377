"""What must not, and what must, change a family that is settled."""

import pytest

from custom_components.lfp_battery.bms.protocols.can.detection import Detector, Hint, Verdict

from .traffic import BYD_REST, GENERIC, GROWATT, PYLON, SMA, VICTRON, sent, settled_on, verdicts

DEYE = (("351", "480200025802B801"), ("355", "3F006300"), ("356", "5A146400FA00"), ("359", "0000000000000000"),
        ("35C", "00"), ("361", "E40CDA0CFA00F000"), ("364", "0100000001"))  # fmt: skip
AFORE = (("350", "10020014E204"), ("351", "4263000023000010"), ("352", "F401F4013802CC01"), ("353", "0000000000000000"),
         ("354", "EE0CE40C01000200"), ("359", "5858504E31504E31"))  # fmt: skip


@pytest.mark.parametrize("stray", ["361", "354", "399", "3DA", "372", "379", "605"])
@pytest.mark.parametrize("when", [0.5, 20.5])
def test_one_frame_of_somebody_else_changes_no_family(stray: str, when: float) -> None:
    """Neither while it is found out, nor afterwards: an id counts once it was repeated (can.md 4.2)."""
    detector = Detector()
    verdicts(detector, sorted([*sent(PYLON, 0, 60), (when, stray, "0000000000000000")]))
    assert detector.verdict(60) == Verdict(family="pylon", settled=True, inverter="sofar" if stray == "605" else None)


@pytest.mark.parametrize(
    "stray", [("359", "0000000003640000"), ("370", "0601F100EF0CE10C"), ("355", "40006400EE0CE40C")]
)
def test_one_payload_of_somebody_else_changes_no_family(stray: tuple[str, str]) -> None:
    """Figures among names in 370, a capacity among letters in 359, cells in 355."""
    detector = Detector()
    usual = (*PYLON, ("370", "44594E455353204C"))
    verdicts(detector, sorted([*sent(usual, 0, 60), (20.5, *stray)]))
    assert detector.verdict(60) == Verdict(family="pylon", settled=True)


def test_another_battery_beside_one_that_goes_on_changes_no_family() -> None:
    """Growatt's ids again and again, while Pylon's are not silent: it stays; once they are, it changes."""
    detector = Detector()
    verdicts(detector, sorted([*sent(PYLON, 0, 60), *sent(GROWATT, 20.5, 60)]))
    assert detector.verdict(60).family == "pylon"
    verdicts(detector, sent(GROWATT, 60.5, 66))
    assert detector.verdict(66) == Verdict(family="growatt", settled=True)


def test_what_was_heard_long_ago_changes_nothing_when_the_battery_rests() -> None:
    """Growatt's ids for a while, an hour before Pylon is silent for a minute."""
    detector = Detector()
    verdicts(detector, sorted([*sent(PYLON, 0, 600), *sent(GROWATT, 20.5, 30)]))
    verdicts(detector, [*sent([("305", "0000000000000000")], 600, 660), *sent(PYLON, 660, 680)])
    assert detector.verdict(680).family == "pylon"


@pytest.mark.parametrize("pause", [0, 5, 15, 45])
def test_a_family_whose_own_ids_stay_away_is_given_up(pause: int) -> None:
    """Deye set to Victron's set: 351, 355 and 356 go on, 361 does not: 30 s after it was last heard, or 10 s at least."""
    frames = [*sent(DEYE, 0, 20), *sent(VICTRON, 20 + pause, 90)]
    found = settled_on(frames)
    assert [family for _, family in found] == ["deye_pcs", "victron"]
    assert found[1][0] <= 19 + max(30, pause) + 12


def test_a_clear_family_that_sleeps_and_comes_back_is_the_same() -> None:
    """Whatever frame of its set is the first one."""
    for place in range(len(DEYE)):
        turned = DEYE[place:] + DEYE[:place]
        found = settled_on([*sent(turned, 0, 20), *sent(turned, 80, 120)])
        assert [family for _, family in found] == ["deye_pcs"]


def test_letters_in_359_are_no_deye_and_no_afore() -> None:
    """They tell at once, as soon as they are repeated; a serial number of Afore's that has them is none."""
    for before in (DEYE, AFORE):
        found = settled_on([*sent(before, 0, 20), *sent(PYLON, 21, 60)])
        assert [family for _, family in found][1:] == ["pylon"]
        assert found[1][0] <= 33
    assert settled_on(sent(AFORE, 0, 60)) == [(3.0, "afore")]


def test_a_new_id_that_tells_nothing_delays_no_verdict() -> None:
    """Pylon's set is complete; one more id of others every nine seconds is none of it."""
    others = [(9.0 * (number + 1), f"{0x150 + number:03X}", "00" * 8) for number in range(15)]
    assert settled_on(sorted([*sent(PYLON, 0, 150), *others]))[0] == (10.0, "pylon")


def test_a_name_that_comes_once_a_minute_delays_no_verdict() -> None:
    """BYD's 35E at 34.9 s (can.md 4.2)."""
    frames = [*sent([VICTRON[0]], 0, 90, every=2), *sent(BYD_REST, 9.9, 90, every=10),
              *sent([("35E", "42594400")], 34.9, 90, every=60)]  # fmt: skip
    assert settled_on(sorted(frames)) == [(36.0, "victron")]


def test_dyness_without_its_35c_is_not_sofar() -> None:
    """Its 30F is no enable: until 35C is heard it is read as Pylon's set; Sofar counts in 359."""
    dyness = (*GENERIC, ("359", "0000000001000001"), ("35A", "00" * 8), ("30F", "00" * 8))
    assert [family for _, family in settled_on(sent(dyness, 0, 30))] == ["pylon"]
    late = sorted([*sent(dyness, 0, 60), *sent([("35C", "C000")], 30, 60)])
    assert [family for _, family in settled_on(late)] == ["pylon", "dyness"]
    counted = (*GENERIC, ("359", "0201020F00000000"), ("35A", "00" * 8), ("30F", "00" * 8))
    assert [family for _, family in settled_on(sent(counted, 0, 30))] == ["sofar"]


# Counts in the first bytes of 359, or figures in the last ones.
SOFAR_359 = ("0110011000000000", "0000000001100110")


@pytest.mark.parametrize("figures", SOFAR_359)
def test_sofar_is_known_by_its_figures_beside_its_alarms(figures: str) -> None:
    """Whichever half of 359 they are in."""
    sofar = (*GENERIC, ("359", figures), ("30F", "0003000000000000"), ("35A", "00" * 8))
    assert [family for _, family in settled_on(sent(sofar, 0, 60))] == ["sofar"]


@pytest.mark.parametrize("figures", [*SOFAR_359, None])
def test_alarms_that_come_late_disprove_no_sofar_that_was_assumed(figures: str | None) -> None:
    """35A is sent on change, long after the rest; nothing of Pylon's was heard, even where 359 never comes."""
    detector = Detector()
    detector.assume("sofar")
    rest = (*GENERIC, ("30F", "0003000000000000"), *(() if figures is None else (("359", figures),)))
    changes = verdicts(detector, sorted([*sent(rest, 0, 300), *sent([("35A", "00" * 8)], 60.5, 300, every=10)]))
    assert {verdict.family for _, verdict in changes} == {"sofar"}


def test_a_worse_family_is_known_by_what_is_heard_and_not_by_what_was_assumed() -> None:
    """372 is none of Sol-Ark's, but Pylon's set is only what is left over of the assumption until a 359 is heard."""
    detector = Detector()
    detector.assume("solark")
    changes = verdicts(detector, sent((*GENERIC, VICTRON[4]), 0, 20))
    assert {verdict.family for _, verdict in changes} == {"solark"}
    changes = verdicts(detector, sent((*PYLON, VICTRON[4]), 20, 24))
    assert changes[-1][1].family == "pylon"


@pytest.mark.parametrize("tag", ["504E", "0000"])
def test_an_inverter_of_sofar_makes_no_sofar_of_a_pylon(tag: str) -> None:
    """605 and 705 come from it, whatever battery it has; without 359 and 35C they tell."""
    queries = (("605", "0101000000000000"), ("705", "0101000000000000"))
    detector = Detector()
    verdicts(detector, sent((("359", f"0000000001{tag}"), *PYLON[1:], *queries), 0, 12))
    assert detector.verdict(12) == Verdict(family="pylon", settled=True, inverter="sofar")
    detector = Detector()
    verdicts(detector, sent((*GENERIC, *queries), 0, 12))
    assert detector.verdict(12).family == "sofar"


def test_the_sixth_pack_of_deye_is_no_inverter() -> None:
    """605 and 705 are its serial number and its counters."""
    detector = Detector()
    verdicts(detector, sent((*DEYE, ("605", "4142434445464748"), ("705", "0000000000000000")), 0, 6))
    assert detector.verdict(6) == Verdict(family="deye_pcs", settled=True)


def test_ids_of_low_voltage_with_29_bits_are_no_high_voltage() -> None:
    """A tower of Sofar's is 351 + 1000 n, and n is 1 at least; 00000351 is nothing that is known (can.md section 1)."""
    detector = Detector()
    verdicts(detector, sent([(f"00000{one}", "00" * 8) for one in ("351", "355", "356")], 0, 5))
    assert detector.verdict(5) == Verdict()


@pytest.mark.parametrize("temperature", range(32, 127))
def test_a_cold_pack_sends_figures_and_no_name(temperature: int) -> None:
    """3.2 to 12.6 degC begin as a letter and a zero do (can.md 4.3)."""
    data = b"".join(number.to_bytes(2, "little") for number in (temperature, temperature - 10, 3311, 3297)).hex()
    detector = Detector()
    verdicts(detector, sent((*PYLON, ("370", data)), 0, 2))
    assert detector.verdict(2).family == "pylon_goodwe"


def test_a_limit_of_high_voltage_is_no_battery_that_can_be_read() -> None:
    """450 V in 351: no family is named, whatever the ids are like."""
    detector = Detector()
    verdicts(detector, sent((("351", "9411FA00FA00100E"), *SMA[1:]), 0, 12))
    assert detector.verdict(12) == Verdict(hint=Hint.HIGH_VOLTAGE)
    verdicts(detector, sent(SMA, 12, 14))
    assert detector.verdict(14).family == "sma"
