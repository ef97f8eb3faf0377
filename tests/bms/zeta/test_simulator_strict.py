"""The simulated pack keeps account of whatever a careful master never does."""

from collections.abc import AsyncIterator

import pytest

from custom_components.lfp_battery.bms.clock import DrivenClock
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.modbus import sealed
from tests.simulator.zeta import VLRV, ZetaSpeaker

from .air_site import Site, speaker_of

STATUS = bytes.fromhex("0103000000298414")
MODULE = bytes.fromhex("1002007165")


@pytest.fixture
def speaker() -> ZetaSpeaker:
    """One pack."""
    clock = DrivenClock()
    return ZetaSpeaker(SimBank(make_packs(1, VLRV, first=1), clock))


@pytest.fixture
async def loose() -> AsyncIterator[Site]:
    """A place where what is wrong is not complained of."""
    site = Site()
    await site.air.start()
    yield site
    await site.stop()


@pytest.mark.parametrize("frame", ["100a0201ff", "100a0107", "100a0102", "100a20" + "01" * 32])
def test_a_set_frame_of_another_form_raises_the_alarm_and_sets_nothing(speaker: ZetaSpeaker, frame: str) -> None:
    """One byte, 00 or 01: nothing else was ever inferred."""
    request = sealed(bytes.fromhex(frame))
    assert [reply.data for reply in speaker.feed(request, 0.0)] == [sealed(b"\x10\x0a\x01\x01")]
    assert speaker.forbidden == [request]
    assert [frame for _, frame in speaker.writes] == [request]
    assert not speaker.heating


@pytest.mark.parametrize("value", [b"\x00", b"\x01"])
def test_a_set_frame_of_the_one_form_raises_none(speaker: ZetaSpeaker, value: bytes) -> None:
    """On or off."""
    speaker.feed(sealed(b"\x10\x0a\x01" + value), 0.0)
    assert speaker.forbidden == []
    assert speaker.heating is bool(value[0])


@pytest.mark.parametrize(
    ("pieces", "malformed", "crowded"),
    [
        ([STATUS, MODULE], 0, 0),
        ([b"\xff\xff" + STATUS], 2, 0),
        ([STATUS[:5]], 5, 0),
        ([STATUS[:5], STATUS[5:]], 0, 0),
        ([STATUS * 2], 0, 1),
        ([STATUS + MODULE + STATUS], 0, 2),
        ([STATUS[:3] + MODULE], 3, 0),
    ],
)
def test_what_is_no_request_and_what_comes_together_is_counted(
    speaker: ZetaSpeaker, pieces: list[bytes], malformed: int, crowded: int
) -> None:
    """Bytes before a request, or of one that was never ended, and requests in one piece with another."""
    for piece in pieces:
        speaker.feed(piece, 0.0)
    speaker.reset()
    assert (speaker.malformed, speaker.crowded) == (malformed, crowded)


async def test_a_request_before_the_answer_to_the_one_before_is_counted(loose: Site) -> None:
    """Not one after an answer that did not come in time: nobody waits for it for ever."""
    pack = await loose.pack()
    link = loose.link()
    await loose.drive(link.open())
    await loose.drive(link.send(STATUS))
    await loose.drive(link.receive(5.0))
    await loose.drive(link.send(STATUS))
    await loose.drive(link.receive(5.0))
    assert pack.overlapping == 0
    await loose.drive(link.send(STATUS))
    await loose.drive(link.send(MODULE))
    assert pack.overlapping == 1
    await loose.clock.advance(1.0)
    link.drain()
    pack.late = 3.0
    await loose.drive(link.send(STATUS))
    await loose.clock.advance(2.0)
    await loose.drive(link.send(MODULE))
    assert pack.overlapping == 1
    await loose.clock.advance(4.0)
    await loose.drive(link.close())
    assert not speaker_of(pack).crowded
