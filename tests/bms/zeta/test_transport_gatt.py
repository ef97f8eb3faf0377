"""The Bluetooth transport against a device on paper, which fails in every way that has a name, and in some that have none."""

import asyncio
import gc

from bleak import BleakClient
from bleak.backends.device import BLEDevice
from bleak.exc import BleakDeviceNotFoundError, BleakError
from bleak_retry_connector import BleakNotFoundError, BleakOutOfConnectionSlotsError
import pytest

from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.transports import gatt
from custom_components.lfp_battery.bms.transports.gatt import GattLink

from .backend import CURRENT, HANG, OLDER, PACK, Radio, Services, caught, link_to, only_this_task, uuid

PROFILES = (CURRENT, OLDER)


pytestmark = pytest.mark.usefixtures("no_backing_off")


async def test_bytes_pass_both_ways_through_the_one_service(radio: Radio) -> None:
    """Without response where the device offers it, and nothing else that it has is touched."""
    link = link_to(radio)
    before = link.profile
    await link.open()
    assert (before, link.profile) == (None, CURRENT)
    assert radio.subscribed == [CURRENT.notify]
    await link.send(b"\x01\x03")
    assert radio.written == [(CURRENT.write, b"\x01\x03", False)]
    assert await link.receive(0.01) == b""
    radio.notify(b"ab")
    radio.notify(b"cd")
    assert await link.receive(1) == b"abcd"
    radio.notify(b"ef")
    assert link.drain() == b"ef"
    assert link.drain() == b""
    await link.close()
    assert not radio.subscribed
    assert link.profile == CURRENT
    await link.close()
    assert only_this_task()


@pytest.mark.parametrize(
    ("services", "profile", "responds"),
    [
        ({OLDER.service: {OLDER.write: ["write"], OLDER.notify: ["notify"]}}, OLDER, True),
        (
            {CURRENT.service.upper(): {CURRENT.write: ["write-without-response"], CURRENT.notify: ["indicate"]}},
            CURRENT,
            False,
        ),
        ({**PACK, OLDER.service: {OLDER.write: ["write"], OLDER.notify: ["notify"]}}, CURRENT, False),
    ],
)
async def test_what_the_device_has_decides_how_it_is_spoken_to(
    radio: Radio, services: Services, profile: object, responds: bool
) -> None:
    """The first of the wanted profiles, with a response only where it takes nothing else."""
    radio.services = services
    link = link_to(radio)
    await link.open()
    assert link.profile is profile
    await link.send(b"x")
    assert [response for _, _, response in radio.written] == [responds]
    await link.close()


@pytest.mark.parametrize(
    "services",
    [
        {},
        {uuid("ff00"): {uuid("ff01"): ["notify"], uuid("ff02"): ["write"]}},
        {CURRENT.service: {CURRENT.write: ["write"]}},
        {CURRENT.service: {CURRENT.write: ["read"], CURRENT.notify: ["notify"]}},
        {uuid("ff00"): {CURRENT.write: ["write"], CURRENT.notify: ["notify"]}},
    ],
)
async def test_a_device_without_the_service_is_foreign_and_left_at_once(radio: Radio, services: Services) -> None:
    """Another maker's battery is neither subscribed to nor written to."""
    radio.services = services or {uuid("180a"): {}}
    link = link_to(radio)
    assert (await caught(link)).problem is LinkProblem.FOREIGN
    assert not radio.connected
    assert not radio.written
    assert not radio.subscribed
    assert link.profile is None
    assert only_this_task()


NO_BACKEND = (
    "No backend with an available connection slot that can reach address A4:C1:37:00:00:01 was found: 1 scanner"
)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (BleakOutOfConnectionSlotsError("pack: The proxy/adapter is out of connection slots"), LinkProblem.NO_SLOT),
        (BleakError(NO_BACKEND), LinkProblem.NO_SLOT),
        (TimeoutError("no connection slot became available"), LinkProblem.NO_SLOT),
        (BleakNotFoundError("pack"), LinkProblem.MISSING),
        (BleakDeviceNotFoundError("A4:C1:37:00:00:01"), LinkProblem.MISSING),
        (TimeoutError(), LinkProblem.UNREACHABLE),
        (BleakError("le-connection-abort-by-local"), LinkProblem.UNREACHABLE),
        (BleakError(""), LinkProblem.UNREACHABLE),
        (KeyError("org.bluez.GattService1"), LinkProblem.UNREACHABLE),
        (OSError(5, "Input/output error"), LinkProblem.UNREACHABLE),
        (ConnectionResetError(), LinkProblem.UNREACHABLE),
        (EOFError(), LinkProblem.UNREACHABLE),
        (RuntimeError("a proxy's own"), LinkProblem.UNREACHABLE),
        (ValueError(), LinkProblem.UNREACHABLE),
    ],
)
async def test_every_failure_to_connect_has_one_name_and_few_attempts(
    radio: Radio, error: Exception, problem: LinkProblem
) -> None:
    """A proxy is not hammered, and for a free slot nobody is kept waiting."""
    radio.connecting = [error] * 20
    link = link_to(radio)
    assert (await caught(link)).problem is problem
    assert radio.attempts <= (1 if problem is LinkProblem.NO_SLOT else 4)
    assert only_this_task()
    radio.connecting.clear()
    await link.open()
    await link.close()


async def test_a_failed_attempt_is_followed_by_another(radio: Radio) -> None:
    """At the edge of the range the first often fails."""
    radio.connecting = [BleakError("le-connection-abort-by-local"), TimeoutError()]
    link = link_to(radio)
    await link.open()
    assert radio.attempts == 3
    await link.close()


async def test_what_nothing_sees_any_more_is_missing(radio: Radio) -> None:
    """Also where that is said only when it is to be connected, in the words for a missing slot."""
    seen: list[BLEDevice | None] = [None, radio.device, None]
    link = GattLink(lambda: seen.pop(0), name="pack", profiles=PROFILES, client_class=radio.backend)
    assert (await caught(link)).problem is LinkProblem.MISSING
    assert not radio.made
    radio.connecting = [BleakError(NO_BACKEND)]
    assert (await caught(link)).problem is LinkProblem.MISSING
    assert (await caught(link)).problem is LinkProblem.UNREACHABLE  # a provider that fails is no reason to raise


@pytest.mark.parametrize("stage", ["connecting", "subscribing"])
@pytest.mark.parametrize("way", ["cancelled", "closed", "timed out"])
async def test_an_open_that_is_broken_off_leaves_nothing_behind(
    radio: Radio, stage: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever breaks it off: the slot is free when it has ended, and the next open works."""
    monkeypatch.setattr(gatt, "_OPEN_TIMEOUT", 0.05 if way == "timed out" else 30.0)
    getattr(radio, stage).append(HANG)
    link = link_to(radio)
    opening = asyncio.create_task(link.open())
    while radio.attempts == 0 or getattr(radio, stage):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    if way == "closed":
        await asyncio.gather(link.close(), link.close())
        assert not radio.connected
    elif way == "cancelled":
        opening.cancel()
    results = await asyncio.gather(opening, return_exceptions=True)
    assert not radio.connected
    if way == "cancelled":
        assert isinstance(results[0], asyncio.CancelledError)
    else:
        assert isinstance(results[0], LinkError)
        assert results[0].problem is (LinkProblem.LOST if way == "closed" else LinkProblem.UNREACHABLE)
    assert only_this_task()
    monkeypatch.setattr(gatt, "_OPEN_TIMEOUT", 30.0)
    await link.open()
    assert len(radio.connected) == 1
    await link.close()


async def test_an_open_that_is_cancelled_at_any_moment_leaves_nothing_behind(radio: Radio) -> None:
    """Moment by moment: after so many turns of the event loop."""
    link = link_to(radio)
    finished = 0
    for turns in range(40):
        opening = asyncio.create_task(link.open())
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        if opening.cancelled():
            assert not radio.connected, turns
            assert only_this_task(), turns
        else:
            finished += 1
            await link.close()
        assert not radio.connected
    assert 0 < finished < 40


async def test_a_failed_subscription_is_a_failed_open(radio: Radio) -> None:
    """The connection is given back."""
    radio.subscribing = [BleakError("Notify acquired")]
    link = link_to(radio)
    assert (await caught(link)).problem is LinkProblem.UNREACHABLE
    assert not radio.connected
    assert only_this_task()


@pytest.mark.parametrize("outcome", [HANG, BleakError("org.bluez.Error.Failed"), EOFError()])
async def test_closing_never_raises_and_never_hangs(
    radio: Radio, outcome: Exception | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever unsubscribing and disconnecting come to; what did not work is worth no second wait."""
    monkeypatch.setattr(gatt, "_UNSUBSCRIBE_TIMEOUT", 0.02)
    monkeypatch.setattr(gatt, "_DISCONNECT_TIMEOUT", 0.02)
    link = link_to(radio)
    await link.open()
    radio.unsubscribing = [outcome]
    async with asyncio.timeout(1):
        await link.close()
    assert not radio.connected  # it disconnects all the same
    await link.open()
    radio.disconnecting = [outcome]
    async with asyncio.timeout(1):
        await link.close()
    with pytest.raises(LinkError):
        await link.send(b"x")
    assert only_this_task()
    radio.connected.clear()


async def test_a_close_that_is_cancelled_is_finished_before_the_next_open(radio: Radio) -> None:
    """The pack has one slot: it must be free before it is asked for again."""
    link = link_to(radio)
    await link.open()
    closing = asyncio.create_task(link.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await link.open()
    assert len(radio.connected) == 1
    await link.close()
    assert only_this_task()


@pytest.mark.parametrize(("mtu", "sizes"), [(23, [20, 20, 10]), (160, [50]), (10, [20, 20, 10])])
async def test_long_requests_go_out_in_pieces_that_the_connection_takes(
    radio: Radio, mtu: int, sizes: list[int]
) -> None:
    """One after the other, in order."""
    radio.mtu, radio.slowness = mtu, 0.001
    link = link_to(radio)
    await link.open()
    first, second = bytes(range(50)), bytes(range(100, 150))
    await asyncio.gather(link.send(first), link.send(second))
    assert [len(data) for _, data, _ in radio.written] == sizes * 2
    assert b"".join(data for _, data, _ in radio.written) == first + second
    assert radio.at_once == 1
    await link.close()


async def test_nothing_is_sent_right_after_the_subscription(radio: Radio) -> None:
    """The vendor's own app waits for 0.1 s; later nothing is waited for."""
    link = link_to(radio)
    loop = asyncio.get_running_loop()
    await link.open()
    began = loop.time()
    await link.send(b"a")
    assert 0.08 <= loop.time() - began < 1
    began = loop.time()
    await link.send(b"b")
    assert loop.time() - began < 0.05
    await link.close()


async def test_a_lost_connection_is_noticed_while_waiting(radio: Radio) -> None:
    """What came before is handed over first; whoever waits for ten seconds is woken at once."""
    link = link_to(radio)
    await link.open()
    radio.notify(b"half")
    radio.drop()
    assert await link.receive(1) == b"half"
    with pytest.raises(LinkError):
        await link.receive(1)
    await link.open()
    loop = asyncio.get_running_loop()
    loop.call_later(0.05, radio.drop)
    began = loop.time()
    with pytest.raises(LinkError) as error:
        await link.receive(10)
    assert error.value.problem is LinkProblem.LOST
    assert loop.time() - began < 1
    with pytest.raises(LinkError):
        await link.send(b"x")
    assert not radio.written
    assert only_this_task()


async def test_closing_wakes_whoever_waits(radio: Radio) -> None:
    """A link that was taken away is lost to who still reads from it."""
    link = link_to(radio)
    await link.open()
    waiting = asyncio.create_task(link.receive(60))
    await asyncio.sleep(0)
    await link.close()
    with pytest.raises(LinkError):
        async with asyncio.timeout(1):
            await waiting


@pytest.mark.parametrize("outcome", [HANG, BleakError("Write not permitted"), RuntimeError(), EOFError()])
async def test_a_write_that_fails_or_hangs_is_a_lost_link(
    radio: Radio, outcome: Exception | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is closed, and may be opened again."""
    monkeypatch.setattr(gatt, "_WRITE_TIMEOUT", 0.02)
    link = link_to(radio)
    await link.open()
    radio.writing = [outcome]
    with pytest.raises(LinkError) as error:
        await link.send(b"x")
    assert error.value.problem is LinkProblem.LOST
    assert not radio.connected
    await link.open()
    await link.send(b"x")
    await link.close()


async def test_a_link_that_was_never_open_is_lost(radio: Radio) -> None:
    """Reading and writing say so; nothing is connected for it."""
    link = link_to(radio)
    with pytest.raises(LinkError):
        await link.receive(1)
    with pytest.raises(LinkError):
        await link.send(b"x")
    assert link.drain() == b""
    await link.close()
    assert not radio.made


async def test_a_babbling_device_does_not_fill_the_memory(radio: Radio) -> None:
    """Only the newest bytes are kept while nobody reads."""
    link = link_to(radio)
    await link.open()
    for number in range(200):
        radio.notify(bytes([number]) * 200)
    data = link.drain()
    assert len(data) == 16384
    assert data[-1] == 199
    await link.close()


async def test_what_one_connection_brought_is_not_read_on_the_next(radio: Radio) -> None:
    """An answer that nobody read, and one that a client which is gone still hands over."""
    link = link_to(radio)
    await link.open()
    former = radio.connected[0]
    radio.notify(b"old")
    await link.open()
    former.listener(bytearray(b"older still"))
    former.gone()
    assert await link.receive(0.01) == b""
    await link.send(b"x")
    await link.close()


async def test_many_rounds_leave_no_client_behind(radio: Radio) -> None:
    """Every connection makes a new one, and the former are free to go."""

    def clients() -> int:
        gc.collect()
        return sum(isinstance(one, BleakClient) for one in gc.get_objects())

    link = link_to(radio)
    await link.open()
    await link.close()
    before = clients()
    for _ in range(10):
        await link.open()
        await link.close()
    assert clients() == before
    assert radio.made == 11
