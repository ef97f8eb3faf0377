"""What speaks against packs in parallel, and what does not."""

from dataclasses import replace

from hypothesis import given, strategies as st
import pytest

from custom_components.lfp_battery.bms.consistency import Finding, Mismatch, Standing, findings

PACK = Standing(number="1", cells=16, capacity=100.0, model="V5", voltage=52.4, current=0.3)


def row(*packs: Standing) -> list[Standing]:
    """Packs numbered from 1."""
    return [replace(pack, number=str(place)) for place, pack in enumerate(packs, 1)]


def kinds(*packs: Standing, most: int | None = None, apart: float | None = 1.0) -> list[Mismatch]:
    """What is found of them."""
    return [finding.mismatch for finding in findings(row(*packs), most=most, apart=apart)]


def test_packs_of_one_kind_may_be_in_parallel() -> None:
    """As may nobody, and one alone."""
    assert findings([]) == ()
    assert kinds(PACK) == []
    assert kinds(PACK, PACK, PACK, most=3) == []


@pytest.mark.parametrize(
    ("other", "mismatch", "values"),
    [
        (replace(PACK, cells=15), Mismatch.CELLS, {"1": 16, "2": 15}),
        (replace(PACK, capacity=230.0), Mismatch.CAPACITY, {"1": 100.0, "2": 230.0}),
        (replace(PACK, model="VLRV5120C"), Mismatch.MODEL, {"1": "V5", "2": "VLRV5120C"}),
    ],
)
def test_a_pack_of_another_kind_is_found(
    other: Standing, mismatch: Mismatch, values: dict[str, str | float | int]
) -> None:
    """With what each of them is; by cells, capacity or model."""
    assert findings(row(PACK, other)) == (Finding(mismatch=mismatch, values=values),)


def test_what_is_not_known_contradicts_nobody() -> None:
    """A pack that says nothing of itself is not named, and one that says nought says nothing."""
    unknown = Standing(number="2", cells=0, capacity=0.0, model="")
    assert kinds(PACK, unknown, PACK) == []
    assert findings(row(unknown, unknown)) == ()
    (found,) = findings(row(PACK, unknown, replace(PACK, cells=8)))
    assert found.values == {"1": 16, "3": 8}


def test_wear_is_not_another_capacity() -> None:
    """Up to a fifth of the largest; no family has two models of one voltage that are so near."""
    assert kinds(PACK, replace(PACK, capacity=80.0), replace(PACK, capacity=96.4)) == []
    assert kinds(PACK, replace(PACK, capacity=79.0)) == [Mismatch.CAPACITY]


def test_a_model_is_the_same_however_it_is_written() -> None:
    """Case, blanks and dashes are the firmware's."""
    assert kinds(replace(PACK, model="ES51.2-100LP"), replace(PACK, model="es51.2 100LP ")) == []


def test_idle_packs_that_are_more_than_a_volt_apart_are_found() -> None:
    """Exactly a volt is allowed (Growatt 5, step 1)."""
    lower = replace(PACK, voltage=51.3)
    assert findings(row(PACK, lower), apart=1.0) == (
        Finding(mismatch=Mismatch.VOLTAGE, values={"1": 52.4, "2": 51.3}, limit=1.0),
    )
    assert kinds(replace(PACK, voltage=53.2), replace(PACK, voltage=52.2)) == []
    assert kinds(replace(PACK, voltage=53.2), replace(PACK, voltage=52.19)) == [Mismatch.VOLTAGE]


def test_voltages_under_load_or_unheard_say_nothing() -> None:
    """Nor do any where the manual draws no line."""
    lower = replace(PACK, voltage=51.0)
    assert kinds(PACK, lower, apart=None) == []
    assert kinds(PACK, replace(lower, current=-40.0)) == []
    assert kinds(PACK, replace(lower, current=40.0)) == []
    assert kinds(PACK, replace(lower, current=None)) == []
    assert kinds(PACK, replace(lower, voltage=None)) == []


def test_more_packs_than_the_manual_allows_are_counted() -> None:
    """Growatt allows two; where the number is not known nothing is said."""
    assert kinds(PACK, PACK, PACK) == []
    (found,) = findings(row(PACK, PACK, PACK), most=2)
    assert (found.mismatch, len(found.values), found.limit) == (Mismatch.TOO_MANY, 3, 2)


def test_several_things_are_found_at_once() -> None:
    """Each by itself, in a steady order."""
    other = Standing(number="2", cells=8, capacity=230.0, model="ES25.6-230LP", voltage=26.1, current=0.0)
    assert kinds(PACK, other, most=1) == list(Mismatch)


@given(
    st.lists(
        st.builds(
            Standing,
            number=st.just(""),
            cells=st.sampled_from((None, 8, 16)),
            capacity=st.sampled_from((None, 50.0, 90.0, 100.0)),
            model=st.sampled_from((None, "V5", "v5", "V5a")),
            voltage=st.one_of(st.none(), st.floats(50.0, 55.0)),
            current=st.one_of(st.none(), st.floats(-5.0, 5.0)),
        ),
        max_size=6,
    )
)
def test_every_finding_names_packs_that_really_differ(packs: list[Standing]) -> None:
    """And nothing is found in packs that are all like the first."""
    standing = row(*packs)
    for found in findings(standing, most=4, apart=1.0):
        values = list(found.values.values())
        assert len(set(values)) > 1, found
        assert set(found.values) <= {pack.number for pack in standing}
    if packs:
        assert findings(row(*packs[:1] * 4), most=4, apart=1.0) == ()
