"""A link of one's own: closed while nobody wants anything read, and not misled by what is said there unasked."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import override

import pytest

from custom_components.lfp_battery.bms.clients.dialogue import Dialogue
from custom_components.lfp_battery.bms.clients.probes import Probes
from custom_components.lfp_battery.bms.model import PackState
from custom_components.lfp_battery.bms.protocols import POLLED
from tests.bms.modbus_site import Site
from tests.bms.rig import Told
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.faults import Fault, Kind
from tests.simulator.line import MemoryLine
from tests.simulator.modbus import Page, ascii_words, sealed
from tests.simulator.modbus_zt import ZtMap

from .client_rig import CONFIRMED, FRAMES, SHORT_STATUS, STATUS, MakeRig, ZetaRig, frames, sent
from .frames import of_board

# --- held only while it is needed ------------------------------------------------------------------------------------


async def test_a_link_is_closed_while_nothing_is_polled_and_nobody_is_told(make_rig: MakeRig) -> None:
    """A pack has one connection to give: the phone app may have it meanwhile."""
    rig = await make_rig(35.0)
    rig.client.set_polling(False)
    await rig.clock.advance(0.1)
    held, opened = [rig.is_open], rig.bus.port.opened
    await rig.clock.advance(3600.0)
    assert rig.bus.port.opened == opened
    assert [error for _, error in rig.told.links] == [None]
    rig.client.set_polling(True)
    await rig.clock.advance(1.0)
    assert [*held, rig.is_open] == [False, True]
    assert rig.told.last(1).online


async def test_a_link_is_closed_while_every_pack_is_skipped(make_rig: MakeRig) -> None:
    """Nobody wants to see it: nothing is asked, whatever the interval, until somebody does."""
    rig = await make_rig(35.0)
    rig.client.set_skipped([1])
    await rig.clock.advance(0.1)
    held = [rig.is_open]
    since, opened = rig.clock.monotonic(), rig.bus.port.opened
    await rig.clock.advance(600.0)
    assert rig.asked(since) == []
    assert rig.bus.port.opened == opened
    rig.client.set_skipped([])
    await rig.clock.advance(11.0)
    assert [*held, rig.is_open] == [False, True]
    assert STATUS in rig.asked(since)
    assert [error for _, error in rig.told.links] == [None]


@pytest.mark.parametrize("skipped", [False, True])
async def test_a_read_and_an_act_open_a_link_that_rests(make_rig: MakeRig, *, skipped: bool) -> None:
    """And it is closed again when they are over."""
    rig = await make_rig(35.0)
    if skipped:
        rig.client.set_skipped([1])
    else:
        rig.client.set_polling(False)
    await rig.clock.advance(60.0)
    opened = rig.bus.port.opened
    read = asyncio.create_task(rig.client.read(1))
    await rig.clock.advance(2.0)
    assert read.result().online
    assert not rig.is_open
    assert (await rig.switch(True))[0] is CONFIRMED
    await rig.clock.advance(1.0)
    assert not rig.is_open
    assert rig.bus.port.opened == opened + 2
    assert frames(rig) == [FRAMES.on]


async def test_a_pack_that_comes_back_to_be_read_in_the_middle_of_a_round_is_read(make_rig: MakeRig) -> None:
    """Forgotten, skipped and wanted again in any order: the link is open whenever something is asked."""
    rig = await make_rig(35.0)
    for step in range(40):
        rig.client.set_skipped([1] if step % 3 else [])
        rig.client.set_polling(step % 5 > 0)
        if step == 20:
            rig.client.forget(1)
        await rig.clock.advance(3.3)
    rig.client.set_skipped([])
    rig.client.set_polling(True)
    await rig.clock.advance(90.0)
    assert rig.told.last(1).online
    assert [error for _, error in rig.told.links] == [None]


async def test_a_serial_line_stays_open_while_nothing_is_polled() -> None:
    """An adapter has nothing else to do, and its loss is noticed."""
    site = Site(ZtMap(), "eg4ll-zt-native", make_packs(1, first=1))
    task = asyncio.create_task(site.client.run())
    await site.clock.advance(30.0)
    site.client.set_polling(False)
    await site.clock.advance(60.0)
    assert site.bus.port.line is not None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_link_on_which_nobody_answers_is_closed_and_opened_anew(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a connection brought or did not bring is the transport's to judge, when it is closed."""
    rig = await make_rig(35.0)
    rig.bus.faults.add(Fault(kind=Kind.SILENCE))
    done: list[str] = []
    for name in ("open", "close"):
        real = getattr(MemoryLine, name)

        async def noted(line: MemoryLine, name: str = name, real: Callable[..., Awaitable[None]] = real) -> None:
            done.append(name)
            await real(line)

        monkeypatch.setattr(MemoryLine, name, noted)
    await rig.clock.advance(120.0)
    assert done == ["close", "open"]
    assert rig.is_open
    assert [error for _, error in rig.told.links] == [None]


# --- what is said unasked --------------------------------------------------------------------------------------------


class Talkative(ZetaRig):
    """A pack whose board says something by itself just when the status is asked for, which is lost."""

    def __init__(self, said: bytes, times: int) -> None:
        """`said`: whole frames."""
        super().__init__()
        feed, left = self.speaker.feed, times

        def interrupted(data: bytes, now: float) -> object:
            nonlocal left
            replies = feed(data, now)
            if data != STATUS or not left:
                return replies
            left -= 1
            return [type(replies[0])(said, None, 0x10, data, None)]

        self.speaker.feed = interrupted  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("times", [1, 2, 3, 4])
@pytest.mark.parametrize("said", [of_board(0x0B, b"\x00"), of_board(0x0A, b"\x00"), of_board(2, b"\x01")])
async def test_what_the_board_says_unasked_does_not_make_the_status_shorter(said: bytes, times: int) -> None:
    """It is no refusal: the setting of the heating stands in the longer one only."""
    rig = Talkative(said, times)
    await rig.start(60.0)
    assert rig.told.last(1).online
    await rig.clock.advance(1000.0)  # what was not answered is asked again every five minutes
    assert rig.setting is False
    assert (await rig.switch(True))[0] is CONFIRMED
    await rig.stop()


async def test_a_refusal_of_the_longer_status_is_for_as_long_as_the_pack_is_there() -> None:
    """Real ones are final: it is not asked every few minutes whether it has changed its mind."""
    rig = Talkative(sealed(b"\x01\x83\x02"), 10_000)
    await rig.start(2000.0)
    assert rig.told.last(1).online
    assert rig.setting is None
    assert rig.asked().count(STATUS) == 1
    assert rig.asked().count(SHORT_STATUS) > 180
    await rig.stop()


# --- nothing but questions -------------------------------------------------------------------------------------------


async def test_nothing_but_declared_questions_and_allowed_frames_pass_the_dialogue() -> None:
    """A mistake elsewhere fails before it reaches somebody's battery."""
    rig = ZetaRig()
    protocol = POLLED["zeta-1006"]
    line = rig.bus.open_line(1_000_000)
    dialogue = Dialogue(line, rig.clock)
    await line.open()
    for frame in (FRAMES.on, FRAMES.off, of_board(7, b"\x02"), of_board(0x0D), sealed(b"\x01\x06\x00\x28\x00\x10")):
        with pytest.raises(ValueError, match="must not be sent"):
            await dialogue.ask(protocol, frame)
    for frame in (STATUS, of_board(7, b"\x02"), of_board(0x0A, b"\x02")):
        with pytest.raises(ValueError, match="must not be sent"):
            await dialogue.once(protocol, frame, lambda: None)
    for name in ("zeta-1000", "eg4ll-zt-native", "growatt-rs485"):
        with pytest.raises(ValueError, match="must not be sent"):
            await dialogue.once(POLLED[name], FRAMES.on, lambda: None)
    assert sent(rig) == rig.asked() == []
    await line.close()


# --- whose sensors they are ------------------------------------------------------------------------------------------


class Swappable(ZtMap):
    """Another pack by another name may be put in the first one's place."""

    name, celsius = "2022-10-26", (0x1516, 0x1718, 0)

    @override
    def page(self, bank: SimBank, unit: int) -> Page | None:
        """See `RegisterMap`."""
        if (page := super().page(bank, unit)) is not None:
            page.put(33, *self.celsius)
            page.put(120, *ascii_words(self.name, 8))
        return page


@pytest.mark.parametrize("same", [False, True])
async def test_sensors_go_with_the_pack_that_had_them(*, same: bool) -> None:
    """From the first reading of another one on; the same one that was away has kept its own."""
    site = Site(registers := Swappable(), "eg4ll-zt-native", make_packs(1, first=1))
    task = asyncio.create_task(site.client.run())
    await site.clock.advance(30.0)
    assert _celsius(site.told) == {(21.0, 22.0, 23.0, 24.0)}
    fault = site.bus.faults.add(Fault(kind=Kind.SILENCE))
    await site.clock.advance(100.0)
    site.bus.faults.clear(fault)
    registers.celsius = (0x1516, 0, 0)
    if not same:
        registers.name = "2025-03-04"
    site.told.packs.clear()
    await site.clock.advance(90.0)
    assert _celsius(site.told) == {(21.0, 22.0, 0.0, 0.0) if same else (21.0, 22.0)}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _celsius(told: Told) -> set[tuple[float | None, ...] | None]:
    """All that was ever shown."""
    return {report.state.cell_temperatures for _, report in told.packs if report.online and report.state is not None}


def test_another_pack_at_an_address_has_sensors_of_its_own() -> None:
    """Those of the last are not shown as 0 degC; one that says who it is later is the one that was there."""
    probes = Probes({3: (0, 1, 2, 3)}, mute=True, whose={3: "A"})
    reading = PackState(address=3, cell_temperatures=(21.0, 22.0, 0.0, 0.0, 0.0, 0.0))

    def shown() -> tuple[float | None, ...] | None:
        state = probes.shown(reading)
        assert state is not None
        return state.cell_temperatures

    assert shown() == (21.0, 22.0, 0.0, 0.0)
    probes.belong(3, "A")
    assert shown() == (21.0, 22.0, 0.0, 0.0)
    probes.belong(3, "B")
    assert shown() == (21.0, 22.0)
    probes.belong(3, "B")
    assert shown() == (21.0, 22.0)
    unnamed = Probes({3: (0, 1, 2)}, mute=True)
    unnamed.belong(3, "A")
    state = unnamed.shown(reading)
    assert state is not None
    assert state.cell_temperatures == (21.0, 22.0, 0.0)
