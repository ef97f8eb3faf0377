"""Two hundred times connected, read and left, with something wrong every fifth time: it always recovers, and leaves nothing."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
import gc
import random
from typing import Final

from bleak import BleakClient
import pytest

from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.protocols import BLUETOOTH
from tests.bms.rig import Told
from tests.simulator.gatt.server import GattPack

from .air_site import Site, speaker_of

ROUNDS: Final = 100  # for each of the two ways to use the connection
EVERY: Final = 5
_PATIENCE: Final = 90.0  # s of the test's clock until a round must have had its answer


async def _set(pack: GattPack, name: str, value: object) -> None:
    setattr(pack, name, value)


async def _slots(pack: GattPack, slots: int) -> None:
    pack.air.slots = slots


async def _nothing(pack: GattPack) -> None:
    """It is over by itself."""


type Act = Callable[[GattPack], Awaitable[None]]


def knob(name: str, value: object, back: object) -> tuple[Act, Act]:
    """A fault that is turned on and off."""
    return lambda pack: _set(pack, name, value), lambda pack: _set(pack, name, back)


# How each fault begins, before the connection, and ends
FAULTS: Final[dict[str, tuple[Act, Act]]] = {
    "silence": knob("silence", True, False),
    "one answer missing": knob("silence", 1, False),
    "bad CRC": knob("bad_crc", True, False),
    "late": knob("late", 2.5, 0.0),
    "joined": knob("joined", 1, False),
    "dropped in mid frame": knob("drop_mid_frame", 1, False),
    "always dropped in mid frame": knob("drop_mid_frame", True, False),
    "all zero": knob("zero_block", True, False),
    "out of range": (lambda pack: pack.advertise(False), lambda pack: pack.advertise(True)),
    "dropped while connecting": knob("drop_at_once", 1, False),
    "no slot": (lambda pack: _slots(pack, 0), lambda pack: _slots(pack, 3)),
}
LATER: Final = ("dropped", "cancelled")  # while it is connected and being read


def clients() -> int:
    """Clients of bleak that are still held by anybody."""
    gc.collect()
    return sum(isinstance(one, BleakClient) for one in gc.get_objects())


class Rounds:
    """The pack, whoever reads it, and how often what happened."""

    def __init__(self, site: Site, pack: GattPack, *, release: bool) -> None:
        """Nothing has happened yet. `release`: one client that leaves after each reading, else a new one each time."""
        self.site = site
        self.pack = pack
        self.release = release
        self.happened: Counter[str] = Counter()
        self.recovered = 0
        self._running: asyncio.Task[None] | None = None
        self._told = Told(site.clock)

    async def round(self, fault: str | None, moment: float) -> None:
        """Connect, read, be troubled, recover, disconnect."""
        clock = self.site.clock
        begin, end = FAULTS.get(fault or "", (_nothing, _nothing))
        await begin(self.pack)
        self._start()
        if fault is not None:
            self.happened[fault] += 1
            if fault in LATER or self.release:
                await self._until_connected()
            await clock.advance(moment)
            if fault == "dropped":
                await self.pack.drop()
            elif fault == "cancelled":
                await self.leave()
                self._start()
        await end(self.pack)
        since = clock.monotonic()
        while not self._read_since(since):
            assert clock.monotonic() - since < _PATIENCE, (fault, moment, self._told.links[-5:], self._told.cycles[-3:])
            assert self._running is not None
            assert not self._running.done()
            await clock.advance(0.5)
        self.recovered += 1
        state = self._told.last(1).state
        assert state is not None
        assert state.voltage == pytest.approx(speaker_of(self.pack).pack.voltage, abs=0.5)
        if not self.release:
            await self.leave()

    async def _until_connected(self) -> None:
        """Or until it must have been tried: a client that leaves after each reading comes back after 10 s."""
        until = self.site.clock.monotonic() + 11.0
        while not self.site.slots_taken and self.site.clock.monotonic() < until:
            await self.site.clock.advance(0.01)

    def _read_since(self, when: float) -> bool:
        """Whether it was read after this, and the connection given back where it is not to be held."""
        read = any(at >= when and report.online for at, report in self._told.packs[-3:])
        return read and not (self.release and self.site.slots_taken)

    def _start(self) -> None:
        if self._running is None:
            client = PolledClient(
                self.site.link(),
                BLUETOOTH["zeta-1006"],
                clock=self.site.clock,
                listener=self._told,
                addresses=[1],
                release=self.release,
            )
            self._running = asyncio.create_task(client.run())

    async def leave(self) -> None:
        """Whoever reads is sent away; not even then is anything left."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None
        assert self.site.slots_taken == 0
        await self.site.clock.advance(0.1)  # the pack notices


@pytest.mark.parametrize("release", [False, True])
async def test_a_hundred_rounds_with_every_fifth_troubled_leave_nothing_behind(site: Site, release: bool) -> None:
    """No task, no client, no slot; and after whatever it was the pack is read again. Twice a hundred in all."""
    pack = await site.pack(mtu=23)
    rounds = Rounds(site, pack, release=release)
    await rounds.round(None, 0.0)  # whatever is loaded once is loaded now
    await rounds.leave()
    tasks, before = asyncio.all_tasks(), clients()
    chance = random.Random(4)
    kinds = [*FAULTS, *LATER]
    for number in range(ROUNDS):
        # each kind in turn, so that none is left out, at a moment that nobody chose
        troubled = number % EVERY == 0
        fault = kinds[number // EVERY % len(kinds)] if troubled else None
        await rounds.round(fault, chance.uniform(0.0, 0.5) if fault in LATER else chance.uniform(0.5, 12.0))
        if not release:
            assert asyncio.all_tasks() == tasks, fault
    await rounds.leave()
    assert rounds.recovered == ROUNDS + 1
    assert rounds.happened.total() == ROUNDS // EVERY
    assert set(rounds.happened) == set(kinds)
    assert asyncio.all_tasks() == tasks
    assert clients() == before
    assert pack.connection is None
    assert not site.air.connections
    assert pack.sessions >= ROUNDS
    assert not speaker_of(pack).writes
    print(f"{rounds.recovered} rounds, {pack.sessions} connections, {dict(rounds.happened)}")  # noqa: T201
