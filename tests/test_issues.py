"""Two packs at one address, and what the person is told to do about it."""

from collections.abc import Mapping
from dataclasses import fields
import logging
import re
from typing import Any

from homeassistant.components.repairs.const import DOMAIN as REPAIRS
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest

from custom_components.lfp_battery import async_remove_config_entry_device as remove
from custom_components.lfp_battery.bms.model import Identity, LinkCounters, PackState, PollReport
from custom_components.lfp_battery.const import DOMAIN
from custom_components.lfp_battery.issues import garbled
from tests.flow_line import TEXTS
from tests.home import CYCLE, Home
from tests.simulator.faults import Fault, Kind
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pylon import Profile


def _issues(hass: HomeAssistant) -> dict[str, ir.IssueEntry]:
    return {key: issue for (domain, key), issue in ir.async_get(hass).issues.items() if domain == DOMAIN}


def _shown(issue: ir.IssueEntry) -> str:
    """Title and description as the person reads them."""
    texts: Mapping[str, str] = TEXTS["issues"][issue.translation_key]
    placeholders = issue.translation_placeholders or {}
    return "\n".join(texts[part].format(**placeholders) for part in ("title", "description"))


def _place(issue: ir.IssueEntry) -> str:
    return (issue.translation_placeholders or {})["place"]


def _conflict(home: Home, address: int, conflict: bool = True, **report: Any) -> None:
    home.link.pack_polled(PollReport(address=address, state=None, conflict=conflict, **report))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, ["an address of its own", "the manual says how"]),
        ({"model": "ES51.2-100LP"}, ["Switch 1 comes first", "| 1 | ON off off off |", "| 3 | ON ON off off |"]),
        ({"family": "es_wall"}, ["| 15 | ON ON ON ON |"]),
        ({"model": "ML314-51.2-W08"}, ["from left to right", "| 1 | off off off off off ON |"]),
        ({"model": "VLRV5120C"}, ["with its app", "ID of its own"]),
        ({"model": "V5°"}, ["nothing to set", "link cable"]),
        ({"family": "growatt_65"}, ["nothing to set"]),
    ],
)
async def test_two_packs_at_one_address_are_named_with_the_way_to_set_it(
    hass: HomeAssistant, home: Home, data: dict[str, Any], said: list[str]
) -> None:
    """By switches, in an app, or by nothing but the cables, as the manual of the family has it."""
    home.plug(2, **data)
    await home.start()
    _conflict(home, 3)
    (issue,) = _issues(hass).values()
    assert issue.severity is ir.IssueSeverity.WARNING
    text = _shown(issue)
    assert "Two packs answer at address 3 (pack 2) of Bank" in text
    assert [words for words in said if words not in text] == []
    assert not re.search(r"[{}]", text)


async def test_a_pack_that_names_its_model_has_the_way_of_its_family(hass: HomeAssistant, home: Home) -> None:
    """Where the person chose nothing, what the packs say of themselves decides."""
    home.plug({2: SimPack(PackSpec(serial="HTWINS0000002", model="V5", manufacturer="Pytes"))})
    await home.start()
    await home.wait(3 * CYCLE)
    _conflict(home, 3)
    (issue,) = _issues(hass).values()
    assert "nothing to set" in _shown(issue)


async def test_twins_are_told_once_and_no_longer_when_they_are_gone(
    hass: HomeAssistant, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """Each reading finds them anew; the first good answer withdraws it, also one after a restart."""
    caplog.set_level(logging.INFO)
    home.plug(2)
    await home.start()
    for _ in range(3):
        _conflict(home, 3)
    assert caplog.text.count("two packs answer at address 3") == 1
    assert len(_issues(hass)) == 1
    home.link.pack_polled(home.link.packs[2].data)  # a neighbour has nothing to do with it
    assert len(_issues(hass)) == 1
    await home.drive(hass.config_entries.async_reload(home.entry.entry_id))
    await home.wait(2 * CYCLE)
    assert _issues(hass) == {}


async def test_twins_of_whom_none_was_ever_known_are_told_too(hass: HomeAssistant, home: Home) -> None:
    """They were both new; no device is made of them."""
    home.plug(2)
    await home.start()
    _conflict(home, 5)
    (issue,) = _issues(hass).values()
    assert "address 5 (pack 4)" in _shown(issue)
    assert 5 not in home.link.packs
    state = PackState(address=5, voltage=52.0)
    report = PollReport(
        address=5, state=state, online=True, received=home.clock.monotonic(), identity=Identity(serial="PPTALONE000005")
    )
    home.link.pack_polled(report)
    assert _issues(hass) == {}


async def test_what_was_told_of_a_pack_goes_with_it(hass: HomeAssistant, home: Home) -> None:
    """A pack that was deleted, and an entry that was, have nothing to repair."""
    home.plug(3)
    await home.start()
    await home.wait()
    for address in (3, 4):
        home.bank.packs[address].silent = True
    await home.wait(5 * CYCLE)
    for address in (3, 4):
        _conflict(home, address)
    assert len(_issues(hass)) == 2
    assert await remove(hass, home.entry, home.device(3))
    assert [_place(issue) for issue in _issues(hass).values()] == ["address 4 (pack 3)"]
    assert await async_setup_component(hass, REPAIRS, {})
    await home.drive(hass.config_entries.async_remove(home.entry.entry_id))
    assert _issues(hass) == {}


async def test_twins_on_the_line_are_found_and_shown_no_values(hass: HomeAssistant, home: Home) -> None:
    """The whole way: two packs answer at once, and once one of them has another address all is well."""
    home.plug(2)
    await home.start()
    await home.wait()
    fault = home.bus.faults.add(Fault(kind=Kind.TWIN, addresses=frozenset({3})))
    await home.wait(20 * CYCLE)
    assert [_place(issue) for issue in _issues(hass).values()] == ["address 3 (pack 2)"]
    assert home.state(3, "voltage").state == "unavailable"
    assert home.state(2, "voltage").state != "unavailable"
    home.bus.faults.clear(fault)
    await home.wait(20 * CYCLE)
    assert _issues(hass) == {}
    assert home.state(3, "voltage").state != "unavailable"


async def test_twins_that_were_both_given_other_addresses_are_told_no_longer(hass: HomeAssistant, home: Home) -> None:
    """Nobody answers where they were; a single silent reading is no proof. Should they come back, they are told again."""
    home.plug(3)
    await home.start()
    await home.wait()
    home.bus.faults.add(Fault(kind=Kind.TWIN, addresses=frozenset({3})))
    await home.wait(20 * CYCLE)
    home.bank.packs[3].silent = True
    await home.wait(60)
    assert len(_issues(hass)) == 1
    await home.wait(400)
    assert _issues(hass) == {}
    home.bank.packs[3].silent = False
    await home.wait(90)
    assert [_place(issue) for issue in _issues(hass).values()] == ["address 3 (pack 2)"]


async def test_a_start_drops_what_was_said_of_addresses(hass: HomeAssistant, home: Home) -> None:
    """Whether the entry was moved elsewhere or only loaded anew: what is still so is found anew."""
    home.plug(2)
    await home.start()
    _conflict(home, 3)
    _conflict(home, 9)
    assert len(_issues(hass)) == 2
    home.speaker_silent(True)
    await home.drive(hass.config_entries.async_reload(home.entry.entry_id))
    assert _issues(hass) == {}


# --- a unit without neighbours ---------------------------------------------------------------------------------------


async def test_a_bank_at_whose_address_two_answer_is_told(hass: HomeAssistant, home: Home) -> None:
    """In words that fit: it is one pack that answers for all of them."""
    home.plug(1, speaks=Profile.V35, protocol="pylon-rs485-v35")
    await home.start()
    home.link.bank_polled(PollReport(address=2, state=None, conflict=True))
    (issue,) = _issues(hass).values()
    assert "address 2, where one pack answers for all, of Bank" in _shown(issue)
    await home.wait(30)
    assert _issues(hass) == {}


async def test_a_lone_bank_whose_answers_collide_is_told_and_no_longer_once_they_are_clean(
    hass: HomeAssistant, home: Home
) -> None:
    """Without neighbours it cannot be known whether these are two packs, the cable, or somebody who asks."""
    home.plug(1, speaks=Profile.V35, protocol="pylon-rs485-v35")
    await home.start()
    await home.wait(30)
    assert home.link.bank.online
    fault = home.bus.faults.add(Fault(kind=Kind.TWIN, addresses=frozenset({2})))
    await home.wait(60)
    assert _issues(hass) == {}
    for _ in range(7):
        await home.wait(300)
    (issue,) = _issues(hass).values()
    assert issue.translation_key == "garbled"
    assert "address 2 of Bank" in _shown(issue)
    home.bus.faults.clear(fault)
    for _ in range(4):
        await home.wait(300)
    assert _issues(hass) == {}
    assert home.link.bank.online


async def test_a_lone_pack_that_is_merely_silent_is_not_garbled(hass: HomeAssistant, home: Home) -> None:
    """Nor is one of two: there the neighbour shows which it is."""
    home.plug(1)
    await home.start()
    await home.wait()
    home.speaker_silent(True)
    for _ in range(8):
        await home.wait(300)
    assert _issues(hass) == {}


@pytest.mark.parametrize(
    ("counters", "verdict"),
    [
        (LinkCounters(asked=31, damaged=31), None),
        (LinkCounters(asked=32, damaged=32), True),
        (LinkCounters(asked=32, answered=16, damaged=16), True),
        (LinkCounters(asked=32, answered=17, damaged=15), None),
        (LinkCounters(asked=32, answered=28, damaged=4), False),
        (LinkCounters(asked=32, answered=30, refused=2), False),
        (LinkCounters(asked=900, silent=880, damaged=20), None),
        (LinkCounters(asked=900, silent=868, damaged=16, answered=16), True),
    ],
)
@pytest.mark.parametrize("since", [LinkCounters(), LinkCounters(asked=500, answered=400, silent=50, damaged=50)])
def test_answers_are_garbled_when_half_of_many_cannot_be_read(
    since: LinkCounters, counters: LinkCounters, verdict: bool | None
) -> None:
    """Counted from one verdict to the next; silence does not count, and a few damaged ones change nothing."""
    now = LinkCounters(**{f.name: getattr(since, f.name) + getattr(counters, f.name) for f in fields(LinkCounters)})
    assert garbled(since, now) is verdict
