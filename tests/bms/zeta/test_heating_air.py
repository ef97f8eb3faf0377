"""The heating over a real GATT connection: frames, notifications and losses as the radio has them."""

import asyncio
from typing import Any

import pytest

from custom_components.lfp_battery.bms.clients.base import HeatingOutcome
from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.protocols import BLUETOOTH
from tests.bms.rig import Told
from tests.simulator.gatt.server import GattPack

from .air_site import MakeSite, Site, speaker_of
from .client_rig import FRAMES, NAME, outcome


class Home:
    """A client on a connection to one pack."""

    def __init__(self, site: Site, pack: GattPack, **how: Any) -> None:
        """Not connected yet."""
        self.site, self.pack = site, pack
        self.told = Told(site.clock)
        self.client = PolledClient(
            site.link(),
            BLUETOOTH[NAME],
            clock=site.clock,
            listener=self.told,
            addresses=[1],
            heating=True,
            **how,
        )
        self._task = asyncio.create_task(self.client.run())

    async def pass_time(self, seconds: float) -> None:
        """Let it work."""
        await self.site.drive(self.site.clock.sleep(seconds), patience=2 * seconds)

    async def switch(self, *, enabled: bool) -> object:
        """What came of it."""
        assert self.client.heating is not None
        task = asyncio.create_task(self.client.heating.switch(1, enabled=enabled))
        await self.site.drive(asyncio.wait((task,)), patience=30.0)
        return outcome(task)

    async def stop(self) -> None:
        """Unload it."""
        self._task.cancel()
        await self.site.drive(asyncio.wait((self._task,)))


@pytest.mark.parametrize("mtu", [23, 160])
async def test_the_frame_arrives_once_and_is_read_back(make_site: MakeSite, mtu: int) -> None:
    """Whole or in pieces."""
    site = await make_site()
    pack = await site.pack(mtu=mtu)
    home = Home(site, pack)
    await home.pass_time(8.0)
    assert await home.switch(enabled=True) is HeatingOutcome.CONFIRMED
    assert [frame for _, frame in speaker_of(pack).writes] == [FRAMES.on]
    state = home.told.last(1).state
    assert state is not None
    assert state.heating_enabled is True
    await home.stop()


async def test_a_pack_that_restarts_for_it_is_read_back_over_the_next_connection(make_site: MakeSite) -> None:
    """BB packs drop the link after a set; the frame is not sent again."""
    site = await make_site()
    pack = await site.pack()
    pack.drop_after_set, pack.away = 3.0, 1.0
    speaker_of(pack).apply_on_restart = True
    home = Home(site, pack)
    await home.pass_time(12.0)
    assert await home.switch(enabled=True) is HeatingOutcome.CONFIRMED
    assert [frame for _, frame in speaker_of(pack).writes] == [FRAMES.on]
    assert pack.sessions == 2
    await home.stop()


async def test_answers_that_come_joined_are_told_apart(make_site: MakeSite) -> None:
    """An acknowledgement and a status in one notification."""
    site = await make_site()
    pack = await site.pack()
    home = Home(site, pack)
    await home.pass_time(8.0)
    pack.joined = 1
    result = await home.switch(enabled=True)
    assert result is HeatingOutcome.CONFIRMED
    assert [frame for _, frame in speaker_of(pack).writes] == [FRAMES.on]
    await home.stop()


async def test_a_released_connection_gives_its_slot_back_and_a_paused_one_too(make_site: MakeSite) -> None:
    """Somebody else can connect in between."""
    site = await make_site()
    pack = await site.pack()
    home = Home(site, pack, release=True, interval=60.0)
    await home.pass_time(10.0)
    assert home.told.last(1).online
    assert site.slots_taken == 0
    await home.pass_time(60.0)
    assert pack.sessions == 2
    assert site.slots_taken == 0
    home.client.set_paused(True)
    await home.pass_time(200.0)
    assert pack.sessions == 2
    home.client.set_paused(False)
    await home.pass_time(10.0)
    assert pack.sessions == 3
    assert home.told.last(1).online
    await home.stop()
