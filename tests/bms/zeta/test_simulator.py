"""The simulated pack in the air, as bleak finds it: what ble.md tells of packs, and every fault that a test may want."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from bleak import BleakClient
from bleak.exc import BleakError
from bleak_retry_connector import BleakClientWithServiceCache, BleakNotFoundError, establish_connection
import pytest

from custom_components.lfp_battery.bms.clock import Clock, DrivenClock, SystemClock
from custom_components.lfp_battery.bms.discovery.radio import probe
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.bms.protocols import BLUETOOTH
from custom_components.lfp_battery.bms.transports.gatt import GattLink
from tests.simulator.bank import SimBank, Steady, make_packs
from tests.simulator.faults import Fault, Kind
from tests.simulator.gatt.air import Air
from tests.simulator.gatt.impostor import jbd_pack
from tests.simulator.gatt.server import GattPack, full_uuid
from tests.simulator.modbus import question, sealed
from tests.simulator.zeta import VLRV, ZetaSpeaker

ADDRESS = "A4:C1:37:00:00:01"
STATUS, SHORT_STATUS = bytes.fromhex("0103000000298414"), bytes.fromhex("01030000002705d0")
HEATING_ON = bytes.fromhex("100a0101e4b6")
DONE, REFUSED = bytes.fromhex("100a01002576"), bytes.fromhex("100a0101e4b6")


def speaker_of(clock: Clock, *, ambient: float = 20.0, **options: Any) -> ZetaSpeaker:
    """One pack in a place of one temperature."""
    bank = SimBank(make_packs(1, VLRV, first=1), clock, profile=Steady(ambient=ambient))
    bank.packs[1].temperature = ambient
    bank.step(1)
    return ZetaSpeaker(bank, **options)


async def eventually(condition: Callable[[], object], most: float = 5.0) -> None:
    """Wait until it is so; TimeoutError when it never is."""
    async with asyncio.timeout(most):
        while not condition():
            await asyncio.sleep(0.002)


class Session:
    """A connection to one pack, as bleak gives it."""

    def __init__(self, pack: GattPack, client: BleakClient) -> None:
        """Nothing was heard yet."""
        self.pack, self.client = pack, client
        self.heard: list[bytes] = []

    async def subscribe(self) -> None:
        """Listen."""
        await self.client.start_notify(
            full_uuid(self.pack.profile.notify), lambda _characteristic, data: self.heard.append(bytes(data))
        )

    async def write(self, data: bytes) -> None:
        """Ask."""
        await self.client.write_gatt_char(full_uuid(self.pack.profile.write), data, response=False)

    async def ask(self, data: bytes, *, size: int = 1, wait: float = 2.0) -> bytes:
        """Ask, and what has come after so long, or as soon as so many bytes are there."""
        self.heard.clear()
        await self.write(data)
        with suppress(TimeoutError):
            await eventually(lambda: sum(map(len, self.heard)) >= size, wait)
        return b"".join(self.heard)


class Sky:
    """An air with packs that answer without waiting."""

    def __init__(self, air: Air) -> None:
        """No pack is in it yet."""
        self.air = air
        self.packs: list[GattPack] = []

    async def add(self, speaker: ZetaSpeaker | None = None, *, mtu: int = 160, address: str = ADDRESS) -> GattPack:
        """One pack, switched on."""
        pack = GattPack(self.air, address, "ZT-25.6V100Ah-0001", speaker or speaker_of(self.air.clock), mtu=mtu)
        pack.turnround = 0.001
        self.packs.append(pack)
        await pack.start()
        return pack

    async def connect(self, pack: GattPack, lost: Callable[[BleakClient], None] | None = None) -> Session:
        """Connect and subscribe."""
        device = self.air.ble_device(pack.address)
        assert device is not None
        client = await establish_connection(self.air.client_class, device, pack.name, lost, max_attempts=1)
        session = Session(pack, client)
        await session.subscribe()
        return session


@pytest.fixture
async def sky() -> AsyncGenerator[Sky]:
    """An air that must be left as it was found."""
    air = Air()
    await air.start()
    sky = Sky(air)
    yield sky
    for pack in sky.packs:
        await pack.stop()
    await air.stop()
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if any(name in repr(task) for name in ("bumble", "gatt"))] == []
    assert not air.link.controllers
    assert not air.connections
    assert not air.peripherals


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("1002007165", "100201016574"),
        (
            "10030070f5",
            "10033400055030312d4752570000005030322d4c55580000005030332d5343480000005030342d494e480000005030352d564f4c"
            "000000bcd8",
        ),
        ("100701023574", "10070100b4b5"),
        (
            "010300690020940e",
            "010340544300002d38533130302d56312e300000000000000000005a3031543230323032342d30312d3131000000000000000000"
            "0000000000000000000000000000005c17",
        ),
    ],
    ids=["module", "rs485", "set-module", "identity"],
)
def test_the_speaker_answers_as_the_captures_do(request_: str, answer: str) -> None:
    """Byte for byte, with a full answer each."""
    (reply,) = speaker_of(DrivenClock()).feed(bytes.fromhex(request_), 0.0)
    assert reply.data.hex() == answer


def test_the_status_block_says_what_the_pack_is() -> None:
    """Registers at the places and in the scales of section 5, with the film warm and a protection in force."""
    speaker = speaker_of(DrivenClock(), ambient=-4.0, heating=True)
    pack = speaker.bank.packs[1]
    speaker.bank.step(1)
    pack.force(Alarm(condition=Condition.SHORT_CIRCUIT, severity=Severity.PROTECTION))
    (reply,) = speaker.feed(STATUS, 0.0)
    words = [int.from_bytes(reply.data[at : at + 2], "big") for at in range(3, len(reply.data) - 2, 2)]
    assert len(words) == 41
    assert words[0] == round(pack.voltage * 100)
    assert words[2] == round(pack.cell_voltages[0] * 1000)
    assert words[25] == 0x8004
    assert words[27] == 1 << 13 | 1 << 10
    assert words[29:31] == [12, 0]
    assert words[31] << 16 | words[32] == 360_000_000
    assert words[33] >> 8 == 256 - 4
    assert words[35] & 0xFF == 0
    assert words[40] == 0x0010


def test_the_older_generation_counts_capacity_in_tenths() -> None:
    """As EG4 packs do."""
    current, older = (speaker_of(DrivenClock(), generation=generation) for generation in ("1006", "1000"))
    (one,), (other,) = current.feed(STATUS, 0.0), older.feed(STATUS, 0.0)
    assert int.from_bytes(one.data[45:47], "big") == round(current.pack.remaining_capacity)
    assert int.from_bytes(other.data[45:47], "big") == round(older.pack.remaining_capacity * 10)


@pytest.mark.parametrize(
    "request_",
    [STATUS[:-1] + b"\x00", question(2, 0, 41), sealed(b"\x01\x01\x00\x00\x00\x29"), sealed(b"\x10\x0d\x00")],
    ids=["crc", "address", "function 1", "function 0D"],
)
def test_what_is_not_for_the_pack_gets_silence(request_: bytes) -> None:
    """No exception, and the next request is answered all the same."""
    speaker = speaker_of(DrivenClock())
    assert speaker.feed(request_, 0.0) == []
    assert len(speaker.feed(STATUS, 0.0)) == 1


def test_what_does_not_exist_reads_as_zero() -> None:
    """And function 4 is answered like 3."""
    speaker = speaker_of(DrivenClock())
    assert speaker.feed(question(1, 300, 2), 0.0)[0].data == sealed(b"\x01\x03\x04" + bytes(4))
    assert speaker.feed(sealed(b"\x01\x04\x01\x2c\x00\x02"), 0.0)[0].data == sealed(b"\x01\x04\x04" + bytes(4))
    assert speaker.feed(question(1, 0, 98), 0.0) == []  # more than the buffer holds


def test_a_pack_of_39_registers_does_not_answer_for_41() -> None:
    """It is asked for less, and says nothing of the heating."""
    speaker = speaker_of(DrivenClock(), registers=39)
    assert speaker.feed(STATUS, 0.0) == []
    (reply,) = speaker.feed(SHORT_STATUS, 0.0)
    assert reply.on_wire is not None
    reply.on_wire(0.0)
    assert len(reply.data) == 83
    assert "heating_enabled" not in speaker.latest(1)


def test_the_address_stays_whatever_the_module_id_is() -> None:
    """As the app polls it."""
    speaker = speaker_of(DrivenClock())
    speaker.feed(bytes.fromhex("100701023574"), 0.0)
    assert speaker.module_id == 2
    assert speaker.feed(bytes.fromhex("1002007165"), 0.0)[0].data[3] == 2
    assert len(speaker.feed(STATUS, 0.0)) == 1


# --- the heating -----------------------------------------------------------------------------------------------------


def test_heating_is_switched_and_warms_below_freezing() -> None:
    """The setting at once, the film when it is cold, and the pack is warmer 20 minutes later."""
    speaker = speaker_of(DrivenClock(), ambient=-6.0)
    speaker.bank.step(1)
    at_first = speaker.heating
    assert speaker.feed(HEATING_ON, 5.0)[0].data == DONE
    assert (at_first, speaker.heating) == (False, True)
    assert speaker.writes == [(5.0, HEATING_ON)]
    before = speaker.pack.temperature
    for _ in range(20):
        speaker.bank.step(60)
    assert speaker.film
    assert speaker.pack.temperature > before + 0.2
    assert speaker.forbidden == []


@pytest.mark.parametrize(
    ("knob", "answer", "heating", "other_bits"),
    [
        ("refuse_heating", REFUSED, False, 0),
        ("ignore_heating", DONE, False, 0),
        ("apply_on_restart", DONE, False, 0),
        ("silent_sets", None, True, 0),
        ("disturb_r40", DONE, True, 1),
    ],
)
def test_each_way_of_not_switching_as_wished(knob: str, answer: bytes | None, heating: bool, other_bits: int) -> None:
    """What is answered, what the setting is then, and what else changed."""
    speaker = speaker_of(DrivenClock())
    setattr(speaker, knob, True)
    assert [reply.data for reply in speaker.feed(HEATING_ON, 0.0)] == ([] if answer is None else [answer])
    assert speaker.heating is heating
    assert speaker.other_bits == other_bits
    speaker.restart()
    assert speaker.heating is (heating or knob == "apply_on_restart")


@pytest.mark.parametrize("request_", ["100701023574", "100601052576", "10050101d4b5", "106401005276"])
def test_other_settings_and_firmware_raise_the_alarm(request_: str) -> None:
    """Nothing of ours may ever send them."""
    frame = sealed(bytes.fromhex(request_)[:-2])
    speaker = speaker_of(DrivenClock())
    speaker.feed(frame, 0.0)
    assert speaker.forbidden == [frame]


# --- in the air ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mtu", "pieces"), [(160, [87]), (23, [20, 20, 20, 20, 7])])
async def test_answers_come_whole_or_in_pieces(sky: Sky, mtu: int, pieces: list[int]) -> None:
    """As section 3 tells of both sizes."""
    session = await sky.connect(await sky.add(mtu=mtu))
    await session.ask(STATUS, size=87)
    assert [len(piece) for piece in session.heard] == pieces
    assert session.client.mtu_size == mtu


async def test_a_connected_pack_is_not_seen_and_one_left_is(sky: Sky) -> None:
    """One central at a time; the phone app takes the place of ours."""
    lost: list[BleakClient] = []
    pack = await sky.add()
    before = pack.advertising
    session = await sky.connect(pack, lost.append)
    assert (before, pack.advertising) == (True, False)
    with pytest.raises(BleakNotFoundError):
        await sky.connect(pack)
    await session.client.disconnect()
    await eventually(lambda: pack.advertising)
    assert lost == [session.client]
    await pack.advertise(False)
    with pytest.raises(BleakNotFoundError):
        await sky.connect(pack)
    assert (pack.sessions, sky.air.connected, sky.air.refused) == (1, 1, 2)


async def test_bleak_and_its_backend_lead_to_the_same(sky: Sky) -> None:
    """By `establish_connection` with our client, by its own client with our backend, and as habluetooth makes one."""
    pack = await sky.add()
    device = sky.air.ble_device(ADDRESS)
    assert device is not None
    first = await establish_connection(
        BleakClientWithServiceCache, device, pack.name, backend=sky.air.backend_class, max_attempts=1
    )
    assert first.is_connected
    await first.disconnect()
    await eventually(lambda: pack.advertising)
    ended: list[bool] = []
    backend = sky.air.backend_class(
        device, disconnected_callback=lambda: ended.append(True), services=None, timeout=10.0, bluez={}
    )
    await backend.connect(pair=False, dangerous_use_bleak_cache=True)
    assert backend.services is not None
    assert {full_uuid(0x1006), full_uuid(0xFA00)} < {service.uuid for service in backend.services}
    await pack.drop()
    await eventually(lambda: ended)
    assert not backend.is_connected


async def test_a_slot_is_free_or_not(sky: Sky) -> None:
    """With one slot, the second pack has to wait."""
    sky.air.slots = 1
    first, second = await sky.add(), await sky.add(address="A4:C1:37:00:00:02")
    session = await sky.connect(first)
    assert not sky.air.can_connect()
    backend = sky.air.backend_class(second.address)
    with pytest.raises(BleakError, match="available connection slot"):
        await backend.connect(pair=False)
    await session.client.disconnect()
    assert sky.air.can_connect()
    assert (await sky.connect(second)).client.is_connected


async def test_touching_the_update_service_raises_the_alarm(sky: Sky) -> None:
    """Discovering services does not; reading, writing and subscribing do."""
    pack = await sky.add()
    session = await sky.connect(pack)
    assert pack.touched == []
    await session.client.read_gatt_char(full_uuid(0xFA01))
    await session.client.write_gatt_char(full_uuid(0xFA01), b"\x01", response=True)
    await session.client.start_notify(full_uuid(0xFA01), lambda *_: None)
    assert pack.touched == ["read", "written", "subscribed"]
    assert len(pack.speaker.forbidden) == 3


# --- faults ----------------------------------------------------------------------------------------------------------


async def test_silence_and_a_bad_crc_strike_as_often_as_told(sky: Sky) -> None:
    """Then everything is as before."""
    pack = await sky.add()
    session = await sky.connect(pack)
    good = await session.ask(STATUS, size=87)
    pack.silence, pack.bad_crc = 1, 1
    assert await session.ask(STATUS, wait=0.1) == b""
    bad = await session.ask(STATUS, size=87)
    assert (bad[:-2], bad != good) == (good[:-2], True)
    assert await session.ask(STATUS, size=87) == good


async def test_an_answer_may_be_late_or_joined_with_the_next(sky: Sky) -> None:
    """The first answer comes after the second request, or together with its answer in one notification."""
    pack = await sky.add()
    session = await sky.connect(pack)
    module, ask_module = bytes.fromhex("100201016574"), bytes.fromhex("1002007165")
    pack.faults.add(Fault(kind=Kind.LATE, delay=0.2, count=1))
    assert await session.ask(STATUS, wait=0.05) == b""
    assert await session.ask(ask_module, size=6) == module
    await eventually(lambda: len(session.heard) == 2)
    assert len(session.heard[1]) == 87
    pack.joined = 1
    assert await session.ask(ask_module, wait=0.1) == b""
    await session.ask(STATUS)
    assert [(piece[:6], len(piece)) for piece in session.heard] == [(module, 6 + 87)]
    pack.late = 0.2
    assert await session.ask(STATUS, wait=0.05) == b""
    await eventually(lambda: len(session.heard) == 1)


async def test_the_link_drops_in_the_middle_of_a_frame(sky: Sky) -> None:
    """Half an answer, and the end; a request under way does not hang."""
    pack = await sky.add()
    session = await sky.connect(pack)
    pack.drop_mid_frame = 1
    assert len(await session.ask(STATUS)) == 43
    await eventually(lambda: not session.client.is_connected)
    with pytest.raises(BleakError):
        await session.write(STATUS)
    await eventually(lambda: pack.advertising)
    again = await sky.connect(pack)
    assert len(await again.ask(STATUS)) == 87


async def test_a_pack_restarts_after_a_set(sky: Sky) -> None:
    """It is away, and what was set takes effect."""
    speaker = speaker_of(sky.air.clock)
    speaker.apply_on_restart = True
    pack = await sky.add(speaker)
    pack.drop_after_set, pack.away = 0.2, 0.2
    session = await sky.connect(pack)
    assert await session.ask(HEATING_ON) == DONE
    assert session.client.is_connected
    await eventually(lambda: not session.client.is_connected)
    assert not pack.advertising
    assert not speaker.heating
    await eventually(lambda: pack.advertising)
    assert speaker.heating


async def test_a_block_of_zeros_is_intact(sky: Sky) -> None:
    """As it was seen on EG4 boards."""
    pack = await sky.add()
    session = await sky.connect(pack)
    pack.zero_block = True
    nothing = sealed(b"\x01\x03\x52" + bytes(82))
    assert await session.ask(STATUS, size=87) == nothing
    pack.zero_block = False
    assert await session.ask(STATUS, size=87) != nothing


async def test_an_impostor_has_the_advert_and_not_the_service(sky: Sky) -> None:
    """A JBD board."""
    pack, own = jbd_pack(sky.air), await sky.add()
    sky.packs.append(pack)
    await pack.start()
    assert pack.adverts["service_uuids"] == own.adverts["service_uuids"]
    session = await sky.connect(pack)
    assert full_uuid(0x1006) not in {service.uuid for service in session.client.services}
    answer = await session.ask(bytes.fromhex("dda50300fffd77"))
    assert answer.startswith(b"\xdd\x03\x00\x1d")
    assert await session.ask(STATUS, wait=0.2) == b""


async def _after(turns: int, work: Callable[[], Awaitable[None]]) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    await work()


@pytest.mark.parametrize("turns", [1, 3, 8, 20, 40, 80])
async def test_a_connect_that_is_given_up_leaves_nothing(sky: Sky, turns: int) -> None:
    """Cancelled at any moment, or dropped by the pack: the next one succeeds."""
    pack = await sky.add()
    attempt = asyncio.create_task(sky.connect(pack))
    await asyncio.sleep(0)

    async def cancel() -> None:
        attempt.cancel()

    await _after(turns, cancel)
    with suppress(asyncio.CancelledError):
        session = await attempt
        await session.client.disconnect()
    await eventually(lambda: pack.advertising and sky.air.can_connect())
    dropped = asyncio.create_task(sky.connect(pack))
    await _after(turns, pack.drop)
    with suppress(BleakError, TimeoutError):
        session = await dropped
        await session.client.disconnect()
    await eventually(lambda: pack.advertising and sky.air.can_connect())
    assert len(await (await sky.connect(pack)).ask(STATUS)) == 87


async def test_many_connections_leave_nothing() -> None:
    """On a driven clock, so that only the event loop is needed: fifty times, and all is as before."""
    clock = DrivenClock()
    air = Air(clock=clock, slots=1)
    await air.start()
    pack = GattPack(air, ADDRESS, "ZT-25.6V100Ah-0001", speaker_of(clock))
    await pack.start()
    sky = Sky(air)
    for _ in range(50):
        session = await sky.connect(pack)
        await session.write(STATUS)
        await clock.advance(0.2)
        assert len(session.heard[0]) == 87
        await session.client.disconnect()
        await clock.settle()
    assert pack.sessions == 50
    await pack.stop()
    await air.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_sensors_that_are_not_there_are_not_found(sky: Sky) -> None:
    """Whoever sets the pack up remembers which it has: three of six places."""
    pack = await sky.add()
    profiles = [protocol.profile for protocol in BLUETOOTH.values() if protocol.profile is not None]

    def open_link() -> GattLink:
        return GattLink(
            lambda: sky.air.ble_device(ADDRESS), name=pack.name, profiles=profiles, client_class=sky.air.client_class
        )

    report = await probe(open_link, clock=SystemClock())
    assert [found.state.cell_temperatures for found in report.packs] == [(20.0, 20.0, 20.0)]


async def test_the_clock_of_the_air_is_real_unless_told() -> None:
    """Who shows a pack to a real Home Assistant needs no clock."""
    assert isinstance(Air().clock, SystemClock)
