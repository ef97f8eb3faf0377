"""The Bluetooth link through Home Assistant's own client: its slots, its proxies, and what is left of a broken attempt."""

import asyncio
from collections.abc import AsyncGenerator
import gc

from bleak.exc import BleakError
from habluetooth.wrappers import HaBleakClientWrapper
from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import BaseHaRemoteScanner, HaBluetoothConnector
from homeassistant.core import HomeAssistant
import pytest

from custom_components.lfp_battery import connect
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.protocols import BLUETOOTH
from custom_components.lfp_battery.bms.transports import GattTransport
from tests.bms.zeta.backend import ABORTED, DROPPED, HALF, PACK, UPDATE, Radio, Services, uuid
from tests.radio_line import ADDRESS, NAME, RadioLine
from tests.simulator.gatt.impostor import jbd_pack

STATUS = bytes.fromhex("0103000000298414")
PROFILES = tuple(protocol.profile for protocol in BLUETOOTH.values() if protocol.profile is not None)


@pytest.fixture
async def line(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[RadioLine]:
    """A proxy in a simulated air."""
    line = RadioLine(hass, monkeypatch)
    await line.start()
    yield line
    await line.stop()


def link_to(line: RadioLine, address: str = ADDRESS) -> GattTransport:
    """A closed link, made as the integration makes it."""
    return connect.open_gatt(line.hass, address, PROFILES)()


def held(line: RadioLine) -> tuple[int, int, int]:
    """Connections of the proxy, attempts under way there, and clients that it still knows or anybody holds."""
    gc.collect()
    clients = sum(isinstance(one, HaBleakClientWrapper) for one in gc.get_objects())
    return len(line.air.connections), line._scanner.connections_in_progress(), len(line._scanner._clients) + clients


async def problem_of(line: RadioLine, link: GattTransport) -> LinkProblem:
    """What opening it fails with."""
    with pytest.raises(LinkError) as error:
        await line.drive(link.open())
    return error.value.problem


async def test_a_pack_is_read_through_home_assistants_client_again_and_again(line: RadioLine) -> None:
    """Nothing of it is left, however often."""
    pack = await line.pack()
    link = link_to(line)
    for number in range(10):
        await line.drive(link.open())
        assert line.air.connections
        await line.drive(link.send(STATUS))
        assert len(await line.drive(link.receive(5.0))) == 87
        if number % 3 == 2:
            await pack.drop()
            with pytest.raises(LinkError) as error:
                await line.drive(link.receive(60.0))
            assert error.value.problem is LinkProblem.LOST
        else:
            await line.drive(link.close())
    assert pack.sessions == 10
    assert held(line) == (0, 0, 0)


async def test_what_home_assistant_says_of_an_attempt_has_its_name(line: RadioLine) -> None:
    """No slot free, not heard, heard and not to be had, another maker's."""
    link = link_to(line)
    assert await problem_of(line, link) is LinkProblem.MISSING
    pack = await line.pack()
    slots, line.air.slots = line.air.slots, 0
    assert await problem_of(line, link) is LinkProblem.NO_SLOT
    line.air.slots = slots
    await pack.advertise(False)
    assert await problem_of(line, link) is LinkProblem.UNREACHABLE
    await pack.advertise(True)
    other = jbd_pack(line.air)
    await line.switch_on(other)
    assert await problem_of(line, link_to(line, other.address)) is LinkProblem.FOREIGN
    assert held(line) == (0, 0, 0)
    await line.drive(link.open())
    await line.drive(link.close())


def on_paper(line: RadioLine, radio: Radio) -> None:
    """Let the proxy reach a device that is on paper only."""
    line._scanner.connector = HaBluetoothConnector(
        client=radio.backend, source=line._scanner.source, can_connect=lambda: not radio.connected
    )
    line.advert(ADDRESS, local_name=NAME)


async def test_services_that_do_not_fit_are_asked_for_anew(line: RadioLine) -> None:
    """A proxy keeps what it once learned; a pack with other software has other services, or has them elsewhere."""
    radio = Radio()
    on_paper(line, radio)
    link = link_to(line)
    radio.subscribing = [BleakError("invalid handle")]
    assert await problem_of(line, link) is LinkProblem.UNREACHABLE
    assert radio.forgotten == 1
    services, radio.services = radio.services, {UPDATE: {}}
    assert await problem_of(line, link) is LinkProblem.FOREIGN
    assert radio.forgotten == 2
    radio.services = services
    await line.drive(link.open())
    await line.drive(link.close())
    assert radio.forgotten == 2
    assert not radio.connected


async def test_an_attempt_that_failed_half_way_is_followed_by_another(line: RadioLine) -> None:
    """It told that it was disconnected, which says nothing of the one that follows."""
    radio = Radio()
    on_paper(line, radio)
    radio.connecting = [HALF, ABORTED]
    link = link_to(line)
    await line.drive(link.open())
    assert radio.attempts == 2
    assert len(radio.connected) == 1
    radio.drop()
    with pytest.raises(LinkError) as error:
        await line.drive(link.receive(60.0))
    assert error.value.problem is LinkProblem.LOST
    assert held(line) == (0, 0, 0)


async def test_a_pack_that_nothing_can_connect_to_any_more_is_missing(line: RadioLine, hass: HomeAssistant) -> None:
    """Home Assistant still knows it, but the proxy that heard it is gone, or what is left only listens."""
    await line.pack()
    link = link_to(line)
    await line.drive(link.open())
    await line.drive(link.close())
    line.unplug_proxy()
    assert bluetooth.async_ble_device_from_address(hass, ADDRESS, connectable=True) is not None
    assert await problem_of(line, link) is LinkProblem.MISSING
    listener = BaseHaRemoteScanner("F0:0D:00:00:00:09", "listens only", None, False)
    undo = [listener.async_setup(), bluetooth.async_register_scanner(hass, listener)]
    assert await problem_of(line, link) is LinkProblem.MISSING
    for one in undo:
        one()


async def test_a_write_that_fails_has_the_services_asked_for_anew(line: RadioLine) -> None:
    """They may be elsewhere by now; while they are as they were nothing is forgotten."""
    radio = Radio()
    on_paper(line, radio)
    link = link_to(line)
    await line.drive(link.open())
    await line.drive(link.send(STATUS))
    radio.notify(b"an answer")
    radio.writing = [BleakError("Bluetooth GATT Error handle=17 error=1 description=Invalid handle")]
    assert radio.forgotten == 0
    with pytest.raises(LinkError) as error:
        await line.drive(link.send(STATUS))
    assert error.value.problem is LinkProblem.LOST
    assert radio.forgotten == 1
    assert not radio.connected
    await line.drive(link.open())
    await line.drive(link.send(STATUS))
    radio.notify(b"an answer")
    await line.drive(link.close())
    assert radio.forgotten == 1


async def test_a_connection_that_brings_no_answer_has_the_services_asked_for_anew(line: RadioLine) -> None:
    """What is written may end up anywhere; one on which nothing was asked proves nothing."""
    radio = Radio()
    on_paper(line, radio)
    link = link_to(line)
    await line.drive(link.open())
    await line.drive(link.close())
    assert radio.forgotten == 0
    await line.drive(link.open())
    await line.drive(link.send(STATUS))
    assert await line.drive(link.receive(5.0)) == b""
    await line.drive(link.close())
    assert radio.forgotten == 1
    assert not radio.connected


@pytest.mark.parametrize("kept", [{UPDATE: {}}, {uuid("ff00"): {uuid("ff02"): ("write",)}}])
async def test_services_that_were_kept_of_another_device_do_not_make_this_one_foreign(
    line: RadioLine, kept: Services
) -> None:
    """They are read from the device itself before it is refused."""
    radio = Radio(services=kept, remembered=PACK)
    on_paper(line, radio)
    link = link_to(line)
    await line.drive(link.open())
    assert (radio.attempts, radio.forgotten, len(radio.connected)) == (2, 1, 1)
    assert radio.from_cache == [True, False]
    await line.drive(link.close())
    assert held(line) == (0, 0, 0)


@pytest.mark.parametrize(("remembers", "looks"), [(True, 2), (False, 1)])
async def test_another_makers_battery_is_looked_at_twice_at_most(line: RadioLine, remembers: bool, looks: int) -> None:
    """Once where nothing was kept of it; not a byte goes to it."""
    radio = Radio(services={uuid("ff00"): {uuid("ff02"): ("write",)}}, remembers=remembers)
    on_paper(line, radio)
    assert await problem_of(line, link_to(line)) is LinkProblem.FOREIGN
    assert (radio.attempts, radio.forgotten) == (looks, 1)
    assert not radio.written
    assert not radio.subscribed
    assert held(line) == (0, 0, 0)


async def test_what_cannot_be_looked_at_again_is_not_called_foreign(line: RadioLine) -> None:
    """Its services were never read from itself."""
    radio = Radio(services={UPDATE: {}})
    on_paper(line, radio)
    radio.connecting = [DROPPED, *[TimeoutError()] * 10]
    assert await problem_of(line, link_to(line)) is LinkProblem.UNREACHABLE
    assert radio.attempts <= 5


async def test_a_cancelled_open_leaves_home_assistant_no_client(line: RadioLine) -> None:
    """At whatever moment: turn by turn of the event loop, on a proxy that is on paper only."""
    radio = Radio()
    on_paper(line, radio)
    link = link_to(line)
    opened, turns = False, 0
    while not opened:
        opening = asyncio.create_task(link.open())
        for _ in range(turns):
            await asyncio.sleep(0)
        opened = opening.done()
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        del opening
        if not opened:
            assert not radio.connected, turns
            assert line._scanner.connections_in_progress() == len(line._scanner._clients) == 0, turns
        turns += 1
    assert turns > 2
    assert len(radio.connected) == 1
    await line.drive(link.close())
    assert not radio.connected
    assert held(line) == (0, 0, 0)
