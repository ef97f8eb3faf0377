"""What tests of packs with a link of their own share."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import bleak_retry_connector
import pytest

from .air_site import MakeSite, Site
from .client_rig import MakeRig, rigs


@pytest.fixture
async def make_site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeSite]:
    """Places that are switched off after the test: no connection, no task, and nothing forbidden was done to a pack."""
    # of true time, up to 4 s
    monkeypatch.setattr(bleak_retry_connector, "calculate_backoff_time", lambda _: 0.0)
    sites: list[Site] = []

    async def make(**how: Any) -> Site:
        site = Site(**how)
        sites.append(site)
        await site.air.start()
        return site

    yield make
    for site in sites:
        taken, devices = site.slots_taken, list(site.devices)
        await site.stop()
        assert taken == 0, "a slot was not given back"
        for device in devices:
            assert not device.speaker.forbidden
            assert not device.touched
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def site(make_site: MakeSite) -> Site:
    """One of them."""
    return await make_site()


@pytest.fixture
async def make_rig() -> AsyncIterator[MakeRig]:
    """Rigs that leave nothing behind."""
    async with rigs() as make:
        yield make
