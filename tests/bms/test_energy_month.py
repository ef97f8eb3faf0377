"""Energy over days of a simulated bank, against what truly flowed; `scripts/bench --energy` has the month."""

from tests.energy_month import Outcome, over_the_line, run
from tests.simulator.bank import Steady


def assert_kept(outcome: Outcome) -> None:
    """Within 0.1 % of what was seen and 0.5 % of everything, and nothing ever fell."""
    assert outcome.observed <= 0.001
    assert outcome.total <= 0.005
    assert outcome.bank <= 0.005
    assert not outcome.fell
    assert outcome.sums < 1e-6


def test_half_a_day_of_restarts_and_lost_answers_is_counted_right_and_takes_no_memory() -> None:
    """A restart of 20 s every hour, one answer in a hundred lost."""
    outcome = run(0.5, packs=6, physics=10.0, trace=True)
    assert_kept(outcome)
    assert outcome.restarts == 12
    assert outcome.lost > 150
    assert outcome.unobserved == 0.0
    assert min(outcome.true.charged, outcome.true.discharged) > 2
    assert outcome.grown is not None
    assert outcome.grown < 50_000
    assert outcome.blocks is not None
    assert outcome.blocks < 500


async def test_a_client_on_the_line_brings_the_energy_home() -> None:
    """The same of real bytes: a bit wrong in one answer of a hundred, and a restart in between.

    In so short a time steps of 0.1 A do not even out.
    """
    outcome = await over_the_line(1.1, packs=2)
    assert outcome.observed <= 0.003
    assert outcome.total <= 0.005
    assert not outcome.fell
    assert outcome.sums < 1e-6
    assert outcome.restarts == 1
    assert outcome.lost > 5
    assert outcome.unobserved == 0.0


def test_without_restarts_no_energy_is_estimated() -> None:
    """An answer that is lost now and then leaves no gap."""
    outcome = run(0.2, packs=2, restart_every=0.0)
    assert_kept(outcome)
    assert outcome.lost > 20
    assert outcome.observed == outcome.total


def test_a_pack_that_counts_whole_ampere_hours_is_not_far_off() -> None:
    """Ten minutes of silence four times a day, where its count is off by a share of an Ah each."""
    outcome = run(2.0, packs=3, physics=10.0, step=1.0, flickers=True, restart_every=6 * 3600, away=600.0)
    assert outcome.observed <= 0.002
    assert outcome.total <= 0.01
    assert not outcome.fell


def test_an_idle_pack_whose_count_flickers_gains_nothing() -> None:
    """A restart every hour, and a count in percent of 314 Ah that is not steady: it stays at what its sensor says."""
    outcome = run(2.0, packs=2, physics=10.0, step=3.14, flickers=True, profile=Steady(rate=-0.004), damaged=0.0)
    assert outcome.true.discharged > 2
    assert outcome.total < 0.01
