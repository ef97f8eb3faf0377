"""An adapter that acknowledges at a wrong bit rate is taken off the bus, and others are left on it."""

import asyncio
from collections.abc import Sequence

import pytest

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.clients.broadcast import BroadcastClient
from custom_components.lfp_battery.bms.clock import DrivenClock, SystemClock
from custom_components.lfp_battery.bms.discovery import Outcome, listen
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.protocols.can import CAN
from custom_components.lfp_battery.bms.transports.can import PythonCanBus, open_bus
from custom_components.lfp_battery.bms.transports.can_address import parse_can_address
from custom_components.lfp_battery.bms.transports.guarded import GuardedBus
from custom_components.lfp_battery.bms.transports.slcan import SlcanBus
from tests.bms.rig import Told
from tests.simulator.bank import SimBank
from tests.simulator.can.bus import SimBus, SimPort
from tests.simulator.can.families import make_speaker
from tests.simulator.can.inverter import usual_inverter

_TIME = 1800.0  # s


class _Site:
    """A battery and its inverter at 250 kbit/s, and an adapter of ours that was told 500."""

    def __init__(self, *, silent: bool | None = False) -> None:
        self.clock = DrivenClock()
        self.bus = SimBus(
            make_speaker("pylon", SimBank(1, self.clock)), usual_inverter("pylon"), clock=self.clock, bitrate=250_000
        )
        self.told = Told(self.clock)
        self.port = self.bus.port(500_000, silent=silent)
        self.guarded = GuardedBus(self.port, self.clock)
        self._client = BroadcastClient(self.guarded, CAN["pylon"], clock=self.clock, listener=self.told)
        self._task = asyncio.create_task(self._client.run())

    def problem(self) -> LinkProblem | None:
        """What the owner was told last."""
        error = self.told.links[-1][1]
        return error.problem if error is not None else None

    async def stop(self) -> None:
        """Give the bus back."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.mark.parametrize("silent", [False, None])
async def test_an_adapter_that_hears_only_errors_and_may_cause_them_is_taken_off_the_bus(silent: bool | None) -> None:
    """Within seconds, with the reason, and back on it for a few seconds ever less often."""
    site = _Site(silent=silent)
    await site.clock.advance(8.0)
    assert site.port.is_open is False
    (_, up), (when, error) = site.told.links
    assert up is None
    assert when <= 7.0
    assert error is not None
    assert (error.problem, "bit rate" in error.detail) == (LinkProblem.FAILED, True)
    sooner = site.bus.destroyed
    assert sooner > 0
    await site.clock.advance(_TIME)
    # 60, 120, 240, 480 and 900 s later, and up to ten until the client asks again
    assert 4 <= site.port.opened <= 6
    # for all these attempts, the owner was told of one loss and of no return
    assert len(site.told.links) == 2
    assert site.bus.destroyed <= 6 * sooner
    await site.stop()


async def test_an_adapter_that_keeps_quiet_may_hear_errors_for_ever() -> None:
    """It does no harm, and somebody may put the bus right."""
    site = _Site(silent=True)
    await site.clock.advance(100.0)
    assert site.port.is_open
    assert site.port.opened == 1
    assert site.port.errors > 100
    assert [error for _, error in site.told.links] == [None]
    await site.stop()


async def test_a_bus_that_was_put_right_is_read_again() -> None:
    """And a later fault is given the short pause again."""
    site = _Site()
    await site.clock.advance(100.0)
    assert site.problem() is LinkProblem.FAILED
    site.bus.true_bitrate = 500_000
    await site.clock.advance(140.0)
    assert site.problem() is None
    assert site.told.banks[-1][1].online
    site.bus.true_bitrate = 250_000
    await site.clock.advance(8.0)
    assert site.problem() is LinkProblem.FAILED
    site.bus.true_bitrate = 500_000
    await site.clock.advance(75.0)
    assert site.told.banks[-1][1].online
    await site.stop()


async def test_errors_between_frames_are_no_reason_to_leave() -> None:
    """A long cable is no wrong bit rate; nor is a bus on which nobody says anything."""
    site = _Site()
    site.port.bitrate = 250_000
    await site.clock.advance(5.0)
    for _ in range(60):
        site.bus.disturb(10)
        await site.clock.advance(1.0)
    assert [error for _, error in site.told.links] == [None]
    site.bus.quiet = True
    await site.clock.advance(100.0)
    assert [error for _, error in site.told.links] == [None]
    await site.stop()


async def _given_up() -> tuple[DrivenClock, SimBus, SimPort, GuardedBus]:
    """A bus at a wrong bit rate that was given up, a minute ago."""
    clock = DrivenClock()
    bus = SimBus(make_speaker("pylon", SimBank(1, clock)), clock=clock, bitrate=250_000)
    port = bus.port(500_000, silent=False)
    guarded = GuardedBus(port, clock)
    await guarded.open()
    receiving = asyncio.create_task(guarded.receive(100.0))
    await clock.advance(8.0)
    assert receiving.done(), "also a long wait ends when there are only errors"
    with pytest.raises(LinkError, match="bit rate"):
        await receiving
    await clock.advance(60.0)
    return clock, bus, port, guarded


async def _taken(guarded: GuardedBus, clock: DrivenClock) -> Sequence[CanFrame]:
    """What has arrived."""
    receiving = asyncio.create_task(guarded.receive(0.0))
    await clock.advance(0.0)
    assert receiving.done()
    return await receiving


async def test_a_bus_that_was_given_up_fails_to_open_while_only_errors_are_heard() -> None:
    """The adapter has left it again by then, and is not let near it for twice as long."""
    clock, _, port, guarded = await _given_up()
    opening = asyncio.create_task(guarded.open())
    await clock.advance(5.0)
    assert (opening.done(), port.is_open) == (False, True)
    await clock.advance(2.0)
    assert opening.done()
    with pytest.raises(LinkError) as caught:
        await opening
    assert caught.value.problem is LinkProblem.FAILED
    assert (port.is_open, port.opened) == (False, 2)
    await clock.advance(110.0)
    with pytest.raises(LinkError):
        await guarded.open()
    assert port.opened == 2


async def test_the_frames_that_ended_the_wait_for_a_bus_are_received() -> None:
    """Nothing is lost by having been read to see whether the bus is right; nor is it given out twice."""
    clock, bus, port, guarded = await _given_up()
    bus.true_bitrate = 500_000
    opening = asyncio.create_task(guarded.open())
    await clock.advance(3.0)
    await opening
    read = port.received
    assert read > 0
    assert len(await _taken(guarded, clock)) == read
    rest = await _taken(guarded, clock)
    assert len(rest) == port.received - read
    await guarded.close()


async def test_frames_that_were_kept_are_forgotten_when_the_bus_is_closed() -> None:
    """They belong to a time that is over."""
    clock, bus, _, guarded = await _given_up()
    bus.true_bitrate = 500_000
    opening = asyncio.create_task(guarded.open())
    await clock.advance(3.0)
    await opening
    await guarded.close()
    with pytest.raises(LinkError):
        await _taken(guarded, clock)


async def test_a_bus_that_was_given_up_and_is_quiet_now_is_open_after_a_wait() -> None:
    """A battery may be asleep, and to hear nothing disturbs nobody."""
    clock, bus, port, guarded = await _given_up()
    bus.quiet = True
    opening = asyncio.create_task(guarded.open())
    await clock.advance(5.0)
    assert not opening.done()
    await clock.advance(2.0)
    assert opening.done()
    await opening
    assert port.is_open
    assert await _taken(guarded, clock) == []
    await guarded.close()


async def test_an_opening_that_is_broken_off_leaves_the_bus() -> None:
    """Whether by whoever asked for it, or by an adapter that is pulled out."""
    clock, _, port, guarded = await _given_up()
    opening = asyncio.create_task(guarded.open())
    await clock.advance(2.0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    assert (opening.cancelled(), port.is_open) == (True, False)
    opening = asyncio.create_task(guarded.open())
    await clock.advance(2.0)
    port.unplug()
    await clock.settle()
    with pytest.raises(LinkError) as caught:
        await opening
    assert (caught.value.problem, port.is_open) == (LinkProblem.LOST, False)


async def test_a_few_errors_in_a_night_asleep_do_not_cost_the_first_frames_of_the_morning() -> None:
    """Only those of the last seconds count."""
    site = _Site()
    site.port.bitrate = 250_000
    await site.clock.advance(5.0)
    site.bus.quiet = True
    for _ in range(11):  # less than the two minutes after which the client opens it anew
        site.bus.disturb(1)
        await site.clock.advance(10.0)
    site.bus.quiet = False
    await site.clock.advance(5.0)
    assert [error for _, error in site.told.links] == [None]
    assert site.told.banks[-1][1].online
    await site.stop()


async def test_what_waits_is_read_before_a_bus_is_judged() -> None:
    """Errors and then frames, while whoever listens was busy elsewhere."""
    site = _Site()
    await site.stop()
    site.bus.quiet = True
    await site.guarded.open()
    for _ in range(10):
        await site.clock.advance(0.9)
        site.bus.disturb(3)
    site.port.bitrate = 250_000
    site.bus.quiet = False
    await site.clock.advance(1.0)
    assert await _taken(site.guarded, site.clock)
    await site.guarded.close()


async def test_a_search_says_itself_that_the_bit_rate_is_wrong() -> None:
    """Before the adapter is taken off the bus."""
    clock = DrivenClock()
    bus = SimBus(make_speaker("pylon", SimBank(1, clock)), clock=clock, bitrate=250_000)
    task = asyncio.create_task(
        listen(
            lambda rate: GuardedBus(bus.port(rate, silent=False), clock),
            clock=clock,
            rates=(500_000,),
            on_progress=lambda _: None,
        )
    )
    await clock.advance(20.0)
    assert task.result().outcome is Outcome.WRONG_RATE


@pytest.mark.parametrize(
    ("text", "listen_only", "kind"),
    [
        ("slcan:/dev/x", True, SlcanBus),
        ("slcan:/dev/x", False, GuardedBus),
        ("seeedstudio:/dev/x", True, GuardedBus),
        ("gs_usb:0", False, GuardedBus),
        ("socketcan:can0", True, PythonCanBus),
        ("virtual:x", True, PythonCanBus),
    ],
)
def test_every_adapter_is_guarded_that_may_acknowledge_at_a_bit_rate_of_ours(
    text: str, listen_only: bool, kind: type
) -> None:
    """Of an interface that somebody else brings up, closing our end would change nothing."""
    bus = open_bus(parse_can_address(text), bitrate=500_000, listen_only=listen_only, clock=SystemClock())
    assert type(bus) is kind
