"""The clock that tests drive."""

import asyncio
from functools import partial

from custom_components.lfp_battery.bms.clock import DrivenClock, SystemClock


async def test_calls_run_in_the_order_in_which_they_fall_due() -> None:
    """Whatever the order of asking, and each at its own time."""
    clock = DrivenClock()
    seen: list[tuple[str, float]] = []

    def note(name: str) -> None:
        seen.append((name, clock.monotonic()))

    for name, delay in (("b", 2.0), ("a", 1.0), ("c", 2.0)):
        clock.call_later(delay, partial(note, name))
    await clock.advance(1.5)
    assert seen == [("a", 1.0)]
    await clock.advance(10)
    assert seen == [("a", 1.0), ("b", 2.0), ("c", 2.0)]
    assert clock.monotonic() == 11.5


async def test_a_chain_of_sleeps_runs_to_its_end_within_one_step() -> None:
    """Work that becomes due while the clock moves is done before it moves on."""
    clock = DrivenClock()
    woken: list[float] = []

    async def worker() -> None:
        for _ in range(5):
            await clock.sleep(0.5)
            await asyncio.sleep(0)
            woken.append(clock.monotonic())

    task = asyncio.create_task(worker())
    await clock.advance(2.5)
    assert woken == [0.5, 1.0, 1.5, 2.0, 2.5]
    await task


async def test_a_cancelled_call_never_runs() -> None:
    """Cancelling is enough, and harmless twice."""
    clock = DrivenClock()
    seen: list[int] = []
    handle = clock.call_later(1, lambda: seen.append(1))
    handle.cancel()
    handle.cancel()
    await clock.advance(2)
    assert not seen


async def test_waiting_for_a_future_ends_with_the_future_or_the_time() -> None:
    """On both clocks; a future that is not done is left alone."""
    loop = asyncio.get_running_loop()
    driven = DrivenClock()
    never: asyncio.Future[None] = loop.create_future()
    waiting = asyncio.create_task(driven.wait(never, 5))
    await driven.advance(4.9)
    assert not waiting.done()
    await driven.advance(0.2)
    assert await waiting is False
    assert not never.cancelled()
    for clock in (driven, SystemClock()):
        done: asyncio.Future[None] = loop.create_future()
        task = asyncio.create_task(clock.wait(done, 5))
        await asyncio.sleep(0)
        done.set_result(None)
        assert await task is True
    assert await SystemClock().wait(never, 0.01) is False


async def test_time_of_day_moves_with_the_clock() -> None:
    """A simulated day has its own noon."""
    clock = DrivenClock()
    start = clock.utc()
    await clock.advance(3600)
    assert (clock.utc() - start).total_seconds() == 3600
    assert SystemClock().utc().tzinfo is not None


async def test_a_wait_too_short_for_a_float_ends_all_the_same() -> None:
    """A loop that waits for what is left of a time must not stand still at one instant."""
    clock = DrivenClock()
    await clock.advance(1e6)
    waits = 0

    async def wait() -> None:
        nonlocal waits
        begun = clock.monotonic()
        while clock.monotonic() == begun and waits < 10:
            waits += 1
            await clock.sleep(1e-12)

    task = asyncio.create_task(wait())
    await clock.advance(1.0)
    await task
    assert waits == 1
    assert clock.monotonic() == 1e6 + 1.0
