"""A bank whose packs stay as they are, and what its home tells of it."""

from collections.abc import Mapping
import re
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from pytest_homeassistant_custom_component.common import flush_store

from custom_components.lfp_battery.bms.model import BankState, CycleReport, Identity, PackState, PollReport
from custom_components.lfp_battery.const import DOMAIN
from tests.flow_line import TEXTS
from tests.home import Home
from tests.simulator.pack import PackSpec, SimPack

# Until a difference counts as one that lasts, and some.
LONG = 90.0
LONGER = 700.0  # of voltages
GROWATT = "6.5 kWh"  # the manual that wants packs to be 1 V apart at most, and no more than two


def issues(hass: HomeAssistant) -> dict[str, ir.IssueEntry]:
    """What is shown, by the key of its texts."""
    found = [issue for (domain, _), issue in ir.async_get(hass).issues.items() if domain == DOMAIN and issue.active]
    assert len({issue.translation_key for issue in found}) == len(found)
    return {str(issue.translation_key): issue for issue in found}


def text_of(issue: ir.IssueEntry) -> str:
    """Title and description as the person reads them."""
    texts: Mapping[str, str] = TEXTS["issues"][issue.translation_key]
    text = "\n".join(texts[part].format(**issue.translation_placeholders or {}) for part in ("title", "description"))
    assert not re.search(r"[{}]", text)
    return text


def bank_of(*specs: Mapping[str, Any]) -> dict[int, SimPack]:
    """Packs from address 2 on, each with a serial number of its own."""
    return {
        address: SimPack(PackSpec(**{"serial": f"HBANK0000000{address:02d}", **spec}))
        for address, spec in enumerate(specs, 2)
    }


async def begin(home: Home, packs: dict[int, SimPack], **data: Any) -> None:
    """Set up a bank whose packs stay as they are."""
    home.plug(packs, **data)
    home.bank.frozen = True
    await home.start()
    await home.wait()


def say(home: Home, address: int, **said: Any) -> None:
    """A pack says what it is, as the simulated ones cannot each for itself."""
    known = home.link.packs[address].data
    home.link.pack_polled(
        PollReport(
            address=address,
            state=known.state or PackState(address=address),
            identity=(known.identity or Identity()).joined(Identity(**said)),
            online=True,
            received=home.clock.monotonic(),
        )
    )


async def hear(
    home: Home, packs: Mapping[int, Mapping[str, Any]], *, modules: int | None = None, seconds: float = LONG
) -> None:
    """Packs say nothing but this for a while, and the bank how many they are, where it does."""
    home.link.client.set_polling(False)
    for _ in range(round(seconds / 10)):
        await home.wait(10)
        now = home.clock.monotonic()
        for address, values in packs.items():
            state = PackState(address=address, **values)
            home.link.pack_polled(PollReport(address=address, state=state, online=True, received=now))
        if modules is not None:
            report = PollReport(address=0, state=BankState(modules=modules), online=True, received=now)
            home.link.bank_polled(report)
        home.link.cycle_finished(CycleReport(seconds=2.0, answered=frozenset(packs), silent=frozenset()))


async def restart(hass: HomeAssistant, home: Home) -> None:
    """Start anew with nothing but what was written of the repairs and of the entry."""
    await home.drive(hass.config_entries.async_unload(home.entry.entry_id))
    await flush_store(ir.async_get(hass)._store)
    hass.data.pop(ir.DATA_REGISTRY)
    await ir.async_load(hass)
    await home.start()


def ignore(hass: HomeAssistant) -> None:
    """Ignore the one repair there is."""
    (issue,) = issues(hass).values()
    ir.async_ignore_issue(hass, DOMAIN, issue.issue_id, ignore=True)


def ignored(hass: HomeAssistant) -> list[str]:
    """What is shown only to those who look for what they ignored."""
    return [key for key, issue in issues(hass).items() if issue.dismissed_version is not None]


def set_apart(home: Home, volts: float, current: float = 0.0, lowest: float = 52.0) -> None:
    """Give two packs other voltages."""
    for pack, voltage in zip(home.bank.packs.values(), (lowest, lowest + volts), strict=True):
        pack.voltage, pack.current = voltage, current
        pack.cell_voltages = [voltage / 16] * 16
