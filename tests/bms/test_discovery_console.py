"""A scan of a text console, which protects nothing that it prints."""

import pytest

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.discovery import Outcome
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.console import ConsoleSpeaker
from tests.simulator.console_text import Profile

from .scanned import Scanned


@pytest.mark.parametrize("profile", [Profile.V5, Profile.US_C])
@pytest.mark.parametrize("misprints", [0, 2, 3, 4, 5])
async def test_a_scan_keeps_no_barcode_that_was_printed_wrong_once(profile: Profile, misprints: int) -> None:
    """What a scan says of a pack becomes its identity for good: it is said twice alike, or not at all."""
    clock = DrivenClock()
    bank = SimBank(make_packs(3, first=1), clock)
    speaker = ConsoleSpeaker(bank, profile)
    speaker.misprints = misprints
    report = await Scanned(speaker, clock, baudrate=115200).scan()
    assert report.outcome is Outcome.FOUND
    assert [pack.address for pack in report.packs] == [1, 2, 3]
    for pack in report.packs:
        true = bank.packs[pack.address].spec.serial
        assert pack.identity.serial in ((true,) if not misprints else (None, true))
