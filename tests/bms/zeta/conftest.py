"""What tests of packs with a link of their own share."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import bleak_retry_connector
import pytest

from tests.simulator.zeta import ZetaSpeaker

from .air_site import MakeSite, Site
from .backend import Radio
from .client_rig import MakeRig, ZetaRig, rigs


@pytest.fixture
def no_backing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two attempts the library waits for up to 4 s of true time."""
    monkeypatch.setattr(bleak_retry_connector, "calculate_backoff_time", lambda _: 0.0)


@pytest.fixture
def radio() -> Iterator[Radio]:
    """A device on paper; whatever a test does, nobody is connected to it in the end."""
    radio = Radio()
    yield radio
    assert not radio.connected


@pytest.fixture
async def make_site(no_backing_off: None) -> AsyncIterator[MakeSite]:
    """Places that are switched off after the test: no connection, no task, and nothing forbidden was done to a pack."""
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
            assert not device.overlapping, "a question was asked before the one before was answered"
            if isinstance(device.speaker, ZetaSpeaker):
                assert not device.speaker.crowded
                assert not device.speaker.malformed
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def site(make_site: MakeSite) -> Site:
    """One of them."""
    return await make_site()


@pytest.fixture
async def make_rig() -> AsyncIterator[MakeRig]:
    """Rigs that leave nothing behind."""
    made: list[ZetaRig] = []
    async with rigs() as make:

        async def remembered(*args: Any, **how: Any) -> ZetaRig:
            made.append(await make(*args, **how))
            return made[-1]

        yield remembered
    for rig in made:
        assert not rig.speaker.crowded
        assert not rig.speaker.malformed
