"""When it is known which packs of a bank answer."""

import pytest

from custom_components.lfp_battery.settling import Settling, past_adding, too_far_apart, turn_missed


def _is(found: Settling, what: str) -> bool:
    return bool(getattr(found, what))


def _woken(*, came: int, at: float = 0.0) -> Settling:
    """So many packs came in the course of a round of 5 s that is over."""
    found = Settling()
    for number in range(came):
        found.came(at + number)
    return found


def test_a_bank_that_all_answer_is_known_at_once() -> None:
    """And until it is upset."""
    found = _woken(came=3)
    assert not _is(found, "settled")
    found.all_heard()
    assert _is(found, "settled")
    found.upset()
    assert not _is(found, "settled")


def test_a_pack_that_does_not_come_is_waited_for_as_long_as_others_come_and_not_longer() -> None:
    """A round in which none came, and the one that is missing was asked."""
    found = _woken(came=2)
    found.round_over(5, 5, missing={4}, silent={4})
    assert not _is(found, "settled")
    found.round_over(15, 5, missing={4}, silent=())
    assert _is(found, "settled")


def test_a_pack_that_is_given_time_is_waited_for_until_it_was_asked() -> None:
    """A sleeping one is asked once a minute: when all wake up, rounds pass in which none comes."""
    found = _woken(came=1)
    for now in (5, 15, 25):
        found.round_over(now, 5, missing={3, 4}, silent={3} if now == 15 else ())
        assert not _is(found, "settled")
    found.round_over(35, 5, missing={3, 4}, silent={4})
    assert _is(found, "settled")


def test_where_nobody_is_asked_a_master_is_given_the_time_it_takes() -> None:
    """Which is not known before it came round: then a round is said to take no time."""
    found = _woken(came=1)
    for now in (10, 20, 30, 60):
        found.round_over(now, 0, missing={3}, silent=None)
        assert not _is(found, "settled")
    found.came(65)
    found.round_over(70, 60, missing={3}, silent=None)
    found.round_over(80, 60, missing={3}, silent=None)
    assert not _is(found, "settled")
    found.round_over(125, 60, missing={3}, silent=None)
    assert _is(found, "settled")


def test_a_master_that_asks_one_pack_often_may_ask_the_others_once_a_minute() -> None:
    """Its round is as long as that of the pack that was heard; and on a bus nobody says who is missing."""
    found = _woken(came=1)
    for now in (5, 15, 55):
        found.round_over(now, 5, missing={3}, silent=None)
        assert not _is(found, "settled")
    found.round_over(60, 5, missing={3}, silent=None)
    assert _is(found, "settled")


def test_where_no_round_ends_each_pack_is_asked_by_itself() -> None:
    """Known when all that are missing were asked, and not before."""
    found = _woken(came=1)
    found.asked_in_vain(3, {3, 4})
    assert not _is(found, "settled")
    found.asked_in_vain(4, {3, 4})
    assert _is(found, "settled")


def test_a_charge_does_not_stand_for_ever_while_packs_come_and_go() -> None:
    """Three rounds, and half a minute at least, from when the first one went."""
    found = _woken(came=3)
    found.all_heard()
    for now in (10, 20, 30, 40):
        found.went(now)
        assert found.losing(now, 5) is (now < 40)
        found.round_over(now + 5, 5, missing={4}, silent={4})
    assert found.losing(40, 20)
    found.all_heard()
    assert not found.losing(41, 5)


def test_more_packs_may_go_as_long_as_one_went_in_the_last_round() -> None:
    """Of a bank that is not known nothing can be lost."""
    found = _woken(came=3)
    found.went(3)
    assert not found.losing(3, 5)
    found.all_heard()
    found.went(12)
    assert found.losing(12, 5)
    found.round_over(15, 5, missing={4}, silent={4})
    assert found.losing(15, 5)
    found.round_over(25, 5, missing={4}, silent={4})
    assert not found.losing(25, 5)
    assert _is(found, "settled")


@pytest.mark.parametrize(("cycle", "longest"), [(10.0, 27.0), (15.0, 30.0), (20.0, 32.0), (300.0, 452.0)])
def test_one_turn_may_be_missed_before_a_reading_is_too_old_to_be_added_up(cycle: float, longest: float) -> None:
    """At the default pace, and up to half a minute."""
    assert past_adding(cycle) == longest
    assert turn_missed(cycle) == 1.5 * cycle + 2


def test_answers_of_one_round_are_of_one_moment() -> None:
    """However long it takes; half a minute is."""
    assert too_far_apart(1.0) == 30.0
    assert too_far_apart(60.0) == 92.0
