"""The Bluetooth transport over the simulated air: real GATT, real MTUs, and what packs do to a conversation."""

import asyncio

import pytest

from custom_components.lfp_battery.bms.clients.dialogue import Dialogue
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.protocols import BLUETOOTH
from custom_components.lfp_battery.bms.transports.gatt import GattLink
from tests.simulator.zeta import CURRENT, OLDER

from .air_site import MakeSite, Site, speaker_of

STATUS = bytes.fromhex("0103000000298414")
SHORT = bytes.fromhex("01030000002705d0")
MODULE = bytes.fromhex("100200")
CURRENT_PROTOCOL = BLUETOOTH["zeta-1006"]


def polls() -> dict[str, bytes]:
    """The questions, by name."""
    return {poll.name: poll.request(1) for poll in CURRENT_PROTOCOL.polls}


async def heard(link: GattLink, seconds: float) -> list[bytes]:
    """What comes within so long, piece by piece."""
    pieces = []
    while data := await link.receive(seconds):
        pieces.append(data)
    return pieces


@pytest.mark.parametrize("generation", [CURRENT, OLDER])
@pytest.mark.parametrize(("mtu", "sizes"), [(23, [20, 20, 20, 20, 7]), (160, [87])])
async def test_an_answer_comes_whole_or_in_pieces(
    make_site: MakeSite, generation: str, mtu: int, sizes: list[int]
) -> None:
    """The whole of it is the same."""
    site = await make_site()
    pack = await site.pack(generation=generation, mtu=mtu)
    link = site.link()
    await site.drive(link.open())
    assert link.profile == BLUETOOTH["zeta-1000" if generation == OLDER else "zeta-1006"].profile
    await site.drive(link.send(STATUS))
    answer = b"".join(await site.drive(heard(link, 1.0)))
    assert [len(piece) for piece in pack.notifications] == sizes
    assert answer == b"".join(pack.notifications)
    assert CURRENT_PROTOCOL.is_answer(STATUS, answer)
    await site.drive(link.close())


async def test_one_notification_may_hold_two_answers(site: Site) -> None:
    """The first is read when its successor brings it, and neither is taken for the other."""
    pack = await site.pack()
    link = site.link()
    await site.drive(link.open())
    dialogue = Dialogue(link, site.clock)
    pack.joined = 1
    questions = polls()
    first = await site.drive(dialogue.ask(CURRENT_PROTOCOL, questions["status"]))
    assert first.frame is None
    second = await site.drive(dialogue.ask(CURRENT_PROTOCOL, questions["module_id"]))
    assert second.frame is not None
    assert second.frame[0] == 0x10
    assert second.decoded is not None
    assert second.decoded.info == {"module_id": 1}
    third = await site.drive(dialogue.ask(CURRENT_PROTOCOL, questions["status"]))
    assert third.decoded is not None
    assert third.decoded.packs
    assert [len(piece) for piece in pack.notifications] == [87 + 6, 87]
    await site.drive(link.close())


async def test_a_late_answer_is_not_taken_for_the_next_one(site: Site) -> None:
    """Address, function and length say whose it is."""
    pack = await site.pack()
    link = site.link()
    await site.drive(link.open())
    dialogue = Dialogue(link, site.clock)
    questions = polls()
    pack.late = 2.2
    assert (await site.drive(dialogue.ask(CURRENT_PROTOCOL, questions["status"]))).frame is None
    pack.late = 0.0
    exchange = await site.drive(dialogue.ask(CURRENT_PROTOCOL, questions["rs485_protocols"]))
    assert exchange.frame is not None
    assert exchange.frame[:2] == b"\x10\x03"
    await site.drive(link.close())


async def test_a_pack_that_drops_the_link_in_mid_frame_wakes_the_reader(site: Site) -> None:
    """What came before is not lost, the link is, and it can be opened again."""
    pack = await site.pack(mtu=23)
    link = site.link()
    await site.drive(link.open())
    pack.drop_mid_frame = 1
    await site.drive(link.send(STATUS))
    began = site.clock.monotonic()
    pieces: list[bytes] = []

    async def read() -> None:
        while True:
            pieces.append(await link.receive(60.0))

    with pytest.raises(LinkError) as error:
        await site.drive(read())
    assert error.value.problem is LinkProblem.LOST
    assert site.clock.monotonic() - began < 1
    assert 0 < len(b"".join(pieces)) < 87
    assert site.slots_taken == 0
    await site.drive(link.open())
    await site.drive(link.send(STATUS))
    assert len(b"".join(await site.drive(heard(link, 1.0)))) == 87
    await site.drive(link.close())


async def test_a_pack_that_drops_the_link_while_its_services_are_read_is_called_again_at_once(site: Site) -> None:
    """By the same open; and when the connection that came of it is dropped, that is noticed."""
    pack = await site.pack()
    pack.drop_at_once = 1
    link = site.link()
    await site.drive(link.open())
    assert pack.sessions == 2
    await site.drive(link.send(STATUS))
    assert len(b"".join(await site.drive(heard(link, 1.0)))) == 87
    await pack.drop()
    began = site.clock.monotonic()
    with pytest.raises(LinkError) as error:
        await site.drive(link.receive(60.0))
    assert error.value.problem is LinkProblem.LOST
    assert site.clock.monotonic() - began < 1
    assert site.slots_taken == 0


async def test_a_pack_has_one_slot_and_gives_it_to_one(make_site: MakeSite) -> None:
    """While it is connected it does not advertise; when it is left it does again."""
    site = await make_site()
    pack = await site.pack()
    first, second = site.link(), site.link()
    await site.drive(first.open())
    assert not pack.advertising
    with pytest.raises(LinkError) as error:
        await site.drive(second.open())
    assert error.value.problem is LinkProblem.UNREACHABLE
    await site.drive(first.close())
    await site.drive(second.open())
    await site.drive(second.close())
    assert pack.sessions == 2


async def test_an_open_that_is_cancelled_at_any_moment_leaves_the_slot_free(site: Site) -> None:
    """Of the adapter and of the pack: turn by turn of the event loop, from the first to the last."""
    await site.pack()
    link = site.link()
    opened = False
    turns = 0
    while not opened:
        turns += 7
        opening = asyncio.create_task(link.open())
        for _ in range(turns):
            await asyncio.sleep(0)
        opened = opening.done()
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await site.clock.advance(0.5)
        assert site.slots_taken == opened, turns
        assert asyncio.all_tasks() == {asyncio.current_task()} or opened
    assert turns > 50
    await site.drive(link.close())
    await site.drive(link.open())
    await site.drive(link.close())


async def test_nothing_that_is_not_wanted_is_touched(site: Site) -> None:
    """Of all services only the one is subscribed to and written to, and only reads are."""
    pack = await site.pack()
    for _ in range(2):
        await site.probe()
    assert pack.touched == []
    speaker = speaker_of(pack)
    assert not speaker.writes
    assert not speaker.forbidden
    assert {request[:2].hex() for _, request in speaker.received} == {"0103", "1002", "1003", "1004"}
