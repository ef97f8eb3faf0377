"""Attempts to connect that come and go, and what is done at the same moment; on the device on paper."""

import asyncio
from typing import Any

import bleak
from bleak.backends.device import BLEDevice
from bleak.exc import BleakError
import bleak_retry_connector
import pytest

from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.transports import gatt
from custom_components.lfp_battery.bms.transports.gatt import GattLink

from .backend import (
    ABORTED,
    ADDRESS,
    CURRENT,
    DROPPED,
    HALF,
    HANG,
    PACK,
    STUBBORN,
    UPDATE,
    Radio,
    caught,
    link_to,
    only_this_task,
)

pytestmark = pytest.mark.usefixtures("no_backing_off")


async def settle(turns: int = 20) -> None:
    """Let whatever is under way go as far as it can without time."""
    for _ in range(turns):
        await asyncio.sleep(0)


@pytest.mark.parametrize("outcomes", [[HALF], [HALF, HALF, HALF], [ABORTED], [HALF, ABORTED]])
async def test_a_connection_that_was_had_at_a_further_attempt_counts(radio: Radio, outcomes: list[str]) -> None:
    """Although each attempt before it told that it was disconnected; and when this one is, it is noticed."""
    radio.connecting = [*outcomes]
    link = link_to(radio)
    await link.open()
    assert not radio.connecting
    await link.send(b"x")
    asyncio.get_running_loop().call_later(0.02, radio.drop)
    async with asyncio.timeout(2):
        with pytest.raises(LinkError) as error:
            await link.receive(60)
    assert error.value.problem is LinkProblem.LOST
    assert only_this_task()


async def test_what_is_told_late_of_a_former_client_does_not_end_the_connection_of_the_next(
    radio: Radio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look went to services kept of another device; its disconnection is told when the second one stands."""
    # as Home Assistant's client has it
    monkeypatch.setattr(bleak.BleakClient, "clear_cache", lambda client: client._backend.clear_cache(), raising=False)
    radio.remembered, radio.services = radio.services, {UPDATE: PACK[UPDATE]}
    base: Any = radio.backend

    class Late(base):  # type: ignore[misc]
        async def disconnect(self) -> None:
            if self in radio.connected:
                radio.connected.remove(self)
                asyncio.get_running_loop().call_later(0.05, self.gone)

    link = GattLink(lambda: radio.device, name="pack", profiles=(CURRENT,), client_class=Late)
    await link.open()
    assert radio.forgotten == 1
    assert await link.receive(0.2) == b""
    assert len(radio.connected) == 1
    await link.close()
    await asyncio.sleep(0.1)
    assert only_this_task()


async def test_an_attempt_that_was_broken_off_and_connects_all_the_same_goes_no_further(
    radio: Radio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it went through took the cancellation for its own affair; the pack's only connection is given back."""
    monkeypatch.setattr(gatt, "_BREAKING_OFF", 0.05)
    radio.connecting, radio.subscribing = [STUBBORN], [HANG]
    link = link_to(radio)
    opening = asyncio.create_task(link.open())
    await asyncio.sleep(0.02)
    await link.close()
    with pytest.raises(LinkError):
        await opening
    async with asyncio.timeout(5):
        while radio.connected or not only_this_task():
            await asyncio.sleep(0.05)


async def test_a_connection_that_is_gone_when_it_is_subscribed_to_does_not_count(radio: Radio) -> None:
    """Nobody would be told of its loss any more."""
    radio.subscribing = [DROPPED]
    link = link_to(radio)
    error = await caught(link)
    assert (error.problem, error.detail) == (LinkProblem.UNREACHABLE, "disconnected at once")
    assert only_this_task()


async def test_a_client_that_says_it_is_connected_and_is_not_is_not_believed(radio: Radio) -> None:
    """The connection went away between its last word and ours; nothing is written to."""
    base: Any = radio.backend

    class Fickle(base):  # type: ignore[misc]
        async def connect(self, pair: bool, **kwargs: Any) -> None:
            await super().connect(pair, **kwargs)
            radio.connected.remove(self)

    link = GattLink(lambda: radio.device, name="pack", profiles=(CURRENT,), client_class=Fickle)
    assert (await caught(link)).detail == "disconnected at once"
    assert not radio.subscribed
    assert only_this_task()


async def test_every_attempt_is_told_how_the_device_is_reached_by_then(
    radio: Radio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another proxy may hear it better meanwhile; while none does, the former way is as good as any."""
    asked: list[object] = []
    properly = bleak_retry_connector.establish_connection

    async def establish(*args: Any, **kwargs: Any) -> Any:
        asked.extend(kwargs["ble_device_callback"]() for _ in range(2))
        return await properly(*args, **kwargs)

    monkeypatch.setattr(bleak_retry_connector, "establish_connection", establish)
    other = BLEDevice(ADDRESS, "ZT-25.6V100Ah-0001", {"source": "another proxy"})
    known: list[BLEDevice | None] = [radio.device, other, None]
    link = GattLink(lambda: known.pop(0), name="pack", profiles=(CURRENT,), client_class=radio.backend)
    await link.open()
    assert asked == [other, radio.device]
    await link.close()


async def test_a_link_that_is_closed_while_the_former_connection_is_ended_does_not_open(radio: Radio) -> None:
    """Whoever closes does not wait for a connection that nobody wants any more."""
    link = link_to(radio)
    await link.open()
    radio.connecting = [HANG]
    opening = asyncio.create_task(link.open())
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await link.close()
    with pytest.raises(LinkError) as error:
        await opening
    assert error.value.problem is LinkProblem.LOST
    assert radio.attempts == 1
    assert only_this_task()


async def test_a_link_that_is_opened_after_it_was_closed_opens(radio: Radio) -> None:
    """Only what was begun before ends with it."""
    link = link_to(radio)
    await link.open()
    closing = asyncio.create_task(link.close())
    await asyncio.sleep(0)
    await link.open()
    await closing
    assert len(radio.connected) == 1
    await link.close()


async def test_whoever_waits_is_woken_before_the_device_was_let_go_of(radio: Radio) -> None:
    """Not only when a backend, which may hang, tells that it is disconnected."""
    radio.disconnecting = [HANG]
    link = link_to(radio)
    await link.open()
    waiting = asyncio.create_task(link.receive(60))
    await asyncio.sleep(0)
    closing = asyncio.create_task(link.close())
    with pytest.raises(LinkError):
        async with asyncio.timeout(0.5):
            await waiting
    assert not closing.done()
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await settle()
    radio.connected.clear()


@pytest.mark.parametrize("lost", [False, True])
async def test_a_reader_of_the_former_connection_leaves_the_new_one_alone(radio: Radio, lost: bool) -> None:
    """It learns that its own is gone at the moment when another one is opened."""
    link = link_to(radio)
    await link.open()
    waiting = asyncio.create_task(link.receive(60))
    await asyncio.sleep(0)
    if lost:
        radio.drop()
        opening = asyncio.create_task(link.open())
        await opening
    else:
        await link.open()
    with pytest.raises(LinkError):
        await waiting
    await settle()
    assert len(radio.connected) == 1
    await link.send(b"x")
    await link.close()


async def test_a_reader_that_comes_while_the_former_connection_is_ended_leaves_the_new_one_alone(radio: Radio) -> None:
    """It is told so when the new one stands, and not at its cost; whoever closes before makes no difference."""
    link = link_to(radio)
    for closing in (False, True):
        await link.open()
        work = [asyncio.create_task(link.close())] if closing else []
        await asyncio.sleep(0)
        work.append(asyncio.create_task(link.open()))
        await asyncio.sleep(0)
        with pytest.raises(LinkError):
            await link.receive(60)
        await asyncio.gather(*work)
        await settle()
        assert len(radio.connected) == 1
        await link.send(b"x")
        await link.close()


async def test_nobody_waits_for_an_attempt_that_hangs_only_to_learn_that_there_is_no_link(radio: Radio) -> None:
    """Reading and writing fail at once meanwhile."""
    radio.connecting = [HANG]
    link = link_to(radio)
    opening = asyncio.create_task(link.open())
    while not radio.attempts:
        await asyncio.sleep(0)
    async with asyncio.timeout(1):
        with pytest.raises(LinkError):
            await link.send(b"x")
        with pytest.raises(LinkError):
            await link.receive(60)
    assert not opening.done()
    await link.close()
    await asyncio.gather(opening, return_exceptions=True)


async def test_a_disconnection_is_waited_for_longer_than_an_attempt_that_does_not_end(
    radio: Radio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may take five seconds to say that it is done, and only then the slot is free."""
    monkeypatch.setattr(gatt, "_BREAKING_OFF", 0.02)
    monkeypatch.setattr(gatt, "_DISCONNECT_TIMEOUT", 0.2)
    link = link_to(radio)
    await link.open()
    radio.disconnecting = [HANG]
    await link.close()
    assert only_this_task()
    radio.connected.clear()


async def test_a_writer_that_comes_while_it_is_opened_leaves_the_connection_alone(radio: Radio) -> None:
    """At whatever moment, it is told that there is none yet: nothing is written before the subscription stands."""
    link = link_to(radio)
    await link.open()
    await link.close()
    refused = 0
    for turns in range(12):
        opening = asyncio.create_task(link.open())
        await settle(turns)
        try:
            await link.send(b"x")
        except LinkError:
            refused += 1
            assert not radio.written
        await opening
        await settle()
        assert len(radio.connected) == 1, turns
        await link.close()
    assert 3 < refused < 12


@pytest.mark.parametrize("stage", ["connecting", "subscribing"])
@pytest.mark.parametrize("way", ["timed out", "cancelled", "closed"])
async def test_an_attempt_that_takes_its_time_to_end_holds_nobody_up(
    radio: Radio, stage: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over a D-Bus that stalls. Even where it comes to a connection in the end, that is given back."""
    monkeypatch.setattr(gatt, "_OPEN_TIMEOUT", 0.05 if way == "timed out" else 30.0)
    monkeypatch.setattr(gatt, "_BREAKING_OFF", 0.05)
    getattr(radio, stage).append(STUBBORN)
    radio.stubbornness = 0.8
    loop = asyncio.get_running_loop()
    link = link_to(radio)
    began = loop.time()
    opening = asyncio.create_task(link.open())
    while radio.attempts == 0 or getattr(radio, stage):
        await asyncio.sleep(0)
    await settle()
    if way == "cancelled":
        opening.cancel()
    elif way == "closed":
        await link.close()
    (result,) = await asyncio.gather(opening, return_exceptions=True)
    assert loop.time() - began < 0.6
    if way == "cancelled":
        assert isinstance(result, asyncio.CancelledError)
    else:
        assert isinstance(result, LinkError)
        assert result.problem is (LinkProblem.LOST if way == "closed" else LinkProblem.UNREACHABLE)
    assert not only_this_task()  # what does not end is still there
    async with asyncio.timeout(2):
        while not only_this_task():
            await asyncio.sleep(0.01)
    assert not radio.connected
    assert not radio.subscribed
    monkeypatch.setattr(gatt, "_OPEN_TIMEOUT", 30.0)
    await link.open()
    await link.close()


async def test_the_next_attempt_waits_for_what_is_left_of_the_one_before(
    radio: Radio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else that one would take the connection of this one away when it ends."""
    monkeypatch.setattr(gatt, "_OPEN_TIMEOUT", 0.05)
    monkeypatch.setattr(gatt, "_BREAKING_OFF", 0.02)
    radio.connecting = [STUBBORN]
    link = link_to(radio)
    await caught(link)
    assert radio.attempts == 1
    monkeypatch.setattr(gatt, "_OPEN_TIMEOUT", 30.0)
    monkeypatch.setattr(gatt, "_BREAKING_OFF", 2.0)
    await link.open()
    assert len(radio.connected) == 1
    await link.send(b"x")
    await link.close()
    assert only_this_task()


async def test_a_backend_that_cancels_itself_is_a_failed_attempt(radio: Radio) -> None:
    """Whoever opened the link was not cancelled."""
    base: Any = radio.backend

    class Cancels(base):  # type: ignore[misc]
        async def connect(self, pair: bool, **kwargs: Any) -> None:
            raise asyncio.CancelledError

    link = GattLink(lambda: radio.device, name="pack", profiles=(CURRENT,), client_class=Cancels)
    assert (await caught(link)).problem is LinkProblem.UNREACHABLE
    assert only_this_task()


async def test_that_all_attempts_time_out_is_not_that_the_device_is_missing(radio: Radio) -> None:
    """The library calls both by one name after its last attempt; ours ends before."""
    radio.connecting = [TimeoutError()] * 20
    assert (await caught(link_to(radio))).problem is LinkProblem.UNREACHABLE
    radio.connecting = [BleakError("not found")] * 20
    assert (await caught(link_to(radio))).problem is LinkProblem.UNREACHABLE
    assert radio.attempts == 8
