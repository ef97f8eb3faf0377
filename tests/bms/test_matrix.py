"""Each family on each of its serial protocols with one, some and the most packs: found, named and read."""

import pytest

from custom_components.lfp_battery.bms.catalog import FAMILIES
from custom_components.lfp_battery.bms.discovery import Outcome

from . import matrix
from .matrix import Row, Site

CASES = [
    pytest.param(row, count, id=f"{row.family}-{row.protocol}-{row.baudrate}-{count}") for row, count in matrix.cases()
]
# s: a pack answers; a port where the same was found before
FOUND, FOUND_AGAIN = 30.0, 3.0


def test_every_family_with_a_serial_port_is_in_the_matrix() -> None:
    """A family that is added is tried, or has no serial port to be tried on."""
    assert {row.family for row in matrix.ROWS} | matrix.families_without_serial() == {f.key for f in FAMILIES}


@pytest.mark.parametrize(("row", "count"), CASES)
async def test_a_scan_names_what_answers_and_its_values_are_those_that_were_sent(row: Row, count: int) -> None:
    """Protocol, speed and addresses are right, in time, and so is every value that is read afterwards."""
    site = Site(row, count)
    report, _, seconds = await site.scan()
    assert (report.outcome, report.protocol, report.baudrate) == (Outcome.FOUND, row.protocol, row.baudrate)
    assert seconds <= FOUND
    assert not site.speaker.forbidden
    if row.speaks_for_bank:
        assert report.bank is not None
    else:
        assert [pack.address for pack in report.packs] == list(site.bank.packs)
    told = await site.read(report, 75.0)  # every question has had its turn
    if row.speaks_for_bank:
        state = told.banks[-1][1].state
        assert state is not None
        assert not matrix.differences(state, site.speaker, None)
    for address in () if row.speaks_for_bank else site.bank.packs:
        polled = told.last(address).state
        assert polled is not None
        assert not matrix.differences(polled, site.speaker, address)
    assert not site.speaker.forbidden


@pytest.mark.parametrize(("row", "count"), CASES)
async def test_a_known_port_is_found_again_at_once(row: Row, count: int) -> None:
    """What was found there last comes first; reading who is there takes as long as there are packs."""
    report, named, seconds = await Site(row, count).scan(known=(row.protocol, row.baudrate))
    assert (report.outcome, report.protocol) == (Outcome.FOUND, row.protocol)
    assert named <= FOUND_AGAIN
    assert seconds <= FOUND / 2
