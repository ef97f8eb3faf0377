"""The demo: simulated batteries on serial ports, and a real Home Assistant that is set up to watch them.

The integration is added through its own config flow, by the same requests that the frontend makes.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
import fcntl
import json
import os
from pathlib import Path
import signal
import sys
import time
from typing import Any, NoReturn

import aiohttp
from homeassistant.const import RESTART_EXIT_CODE

from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.const import DOMAIN

from .demo_bank import Totals, bank_differences, uncounted
from .demo_batteries import Battery, make_batteries
from .demo_desk import Desk
from .demo_radio import COMPONENT, LOGGED, Walk
from .demo_shown import differences, shown_by_unit
from .home import PASSWORD, USER, Api, Home, HomeError, at_most, port_is_free

ROOT = Path(__file__).parents[1]
DEMO = ROOT / ".demo"
STDIN = 0
FLOWS = "/api/config/config_entries/flow"

START_TIMEOUT = 180.0  # s; the first start compiles Home Assistant
FLOW_TIMEOUT = 180.0  # s
VALUES_TIMEOUT = 120.0  # s


class Progress:
    """Tells a person what goes on, and keeps the time that each phase took."""

    def __init__(self) -> None:
        """Start with what scripts/demo measured before this began."""
        self.seconds: dict[str, float] = {}
        if setup := os.environ.get("LFP_SETUP_MILLISECONDS"):
            self.seconds["setup"] = round(int(setup) / 1000, 1)
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        """One line, with the seconds since the start."""
        print(f"[{time.monotonic() - self._begun:5.1f} s] {text}", file=sys.stderr, flush=True)

    @contextmanager
    def phase(self, name: str, text: str) -> Iterator[None]:
        """Say what begins, and note how long it took."""
        self.say(text)
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - begun, 1)


@contextmanager
def simulated_batteries() -> Iterator[list[Battery]]:
    """The batteries, each at a serial port of its own."""
    batteries = make_batteries(SystemClock(), DEMO)
    for battery in batteries:
        battery.port.start()
    try:
        yield batteries
    finally:
        for battery in batteries:
            battery.port.stop()


async def wait_until_up(api: Api, process: asyncio.subprocess.Process, home: Home) -> None:
    """Return when Home Assistant has started and let us in."""
    async with at_most(START_TIMEOUT, lambda: f"Home Assistant is not up\n{home.last_words()}"):
        while True:
            if process.returncode is not None:
                raise HomeError(f"Home Assistant ended with code {process.returncode}:\n{home.last_words()}")
            with suppress(aiohttp.ClientError, HomeError):  # not yet
                await api.log_in()
                if (await api.call("GET", "/api/config"))["state"] == "RUNNING":
                    return
            await asyncio.sleep(0.3)


def _texts() -> dict[str, Any]:
    texts: dict[str, Any] = json.loads(
        (ROOT / "custom_components" / DOMAIN / "translations" / "en.json").read_text(encoding="utf-8")
    )
    return texts["config"]  # type: ignore[no-any-return]


async def add_battery(api: Api, battery: Battery, say: Callable[[str], None]) -> str:
    """Go through the config flow as a person would; the id of the new entry."""
    texts = _texts()
    answers = {battery.transport: {"device": battery.device}, **battery.answers}
    said = ""
    async with at_most(FLOW_TIMEOUT, lambda: f"the config flow was still at this: {said}"):
        step = await api.call("POST", FLOWS, {"handler": DOMAIN})
        while step["type"] != "create_entry":
            flow = f"{FLOWS}/{step['flow_id']}"
            placeholders = step.get("description_placeholders") or {}
            if errors := step.get("errors"):
                reasons = [texts["error"].get(key, key).format_map(placeholders) for key in errors.values()]
                raise HomeError(f"the config flow says: {' '.join(reasons)}")
            match step["type"], step.get("step_id"):
                case "menu", _:
                    step = await api.call("POST", flow, {"next_step_id": battery.transport})
                case "form", ("serial" | "can") as name:
                    step = await api.call("POST", flow, answers[name])
                case "form", ("confirm" | "confirm_bank" | "confirm_can") as name:
                    say(f"  found {placeholders.get('count')}, {placeholders.get('protocol')}")
                    step = await api.call("POST", flow, answers.get(name, {}))
                case "progress", _:
                    text = texts["progress"].get(step["progress_action"], "").format_map(placeholders)
                    if text != said:
                        say(f"  {text}")
                        said = text
                    await asyncio.sleep(0.5)
                    step = await api.call("GET", flow)
                case kind, name:
                    raise HomeError(f"the config flow came to an unexpected {kind} {name or step.get('reason')}")
    return str(step["result"]["entry_id"])


async def wait_for_values(
    api: Api, batteries: Mapping[str, Battery], totals: Totals, *, restarted: bool = False
) -> dict[str, Any]:
    """What the home shows once every entity agrees with the simulated packs; `batteries` by config entry.

    Raises HomeError at once when an energy total falls. `restarted`: they must not begin at nothing either; before,
    they are shown only after a minute, which nobody waits for.
    """
    wrong: list[str] = []
    async with at_most(VALUES_TIMEOUT, lambda: "\n".join(wrong)):
        while True:
            shown = await shown_by_unit(api, list(batteries))
            if fallen := totals.fallen(unit for units in shown.values() for unit in units.values()):
                raise HomeError("\n".join(fallen))
            wrong, reports = [], {}
            for entry, battery in batteries.items():
                reports[battery.name], more = differences(battery, shown[entry])
                wrong += [*more, *bank_differences(battery, shown[entry])]
            if not wrong:
                if restarted and (
                    lost := [text for entry in batteries for text in uncounted(batteries[entry], shown[entry])]
                ):
                    raise HomeError("\n".join(lost))
                return reports
            await asyncio.sleep(0.5)


async def add_all(progress: Progress, api: Api, batteries: Sequence[Battery]) -> dict[str, Battery]:
    """Add the batteries on cables one after the other; by config entry."""
    entries: dict[str, Battery] = {}
    with progress.phase("flow", f"Adding {len(batteries)} simulated batteries"):
        for battery in batteries:
            progress.say(f" {battery.name} at {battery.port.path.relative_to(ROOT)}")
            entries[await add_battery(api, battery, progress.say)] = battery
    return entries


async def _both[OneT, OtherT](
    one: Coroutine[Any, Any, OneT], other: Coroutine[Any, Any, OtherT]
) -> tuple[OneT, OtherT]:
    """Do two things at once; when one fails, it fails for both."""
    try:
        async with asyncio.TaskGroup() as group:
            results = group.create_task(one), group.create_task(other)
    except* (HomeError, aiohttp.ClientError) as failed:
        raise HomeError("\n".join(str(err) or type(err).__name__ for err in failed.exceptions)) from None
    return results[0].result(), results[1].result()


@asynccontextmanager
async def started(
    progress: Progress, home: Home, api: Api, *, again: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A home that has started and let us in; stopped at the end if it did not end by itself."""
    async with home.running(again=again) as process:
        try:
            with progress.phase(
                "restart" if again else "start",
                f"Starting Home Assistant{' again' if again else ''}, log in {home.log.relative_to(ROOT)}",
            ):
                await wait_until_up(api, process, home)
            yield process
        finally:
            if process.returncode is None:
                progress.say("Stopping Home Assistant")
            begun = time.monotonic()
    progress.seconds["stop"] = round(time.monotonic() - begun, 1)


async def wait_until_restarted(process: asyncio.subprocess.Process, home: Home) -> None:
    """Return when Home Assistant has ended to be started again; raises HomeError when it ended for good."""
    await process.wait()
    if process.returncode != RESTART_EXIT_CODE:
        raise HomeError(f"Home Assistant ended by itself, code {process.returncode}:\n{home.last_words()}")


async def once(progress: Progress, home: Home, api: Api, batteries: Sequence[Battery]) -> dict[str, Any]:
    """Go the whole way, restart in the middle as a person can, and end; what the home shows of each battery."""
    totals = Totals()
    async with started(progress, home, api) as process:
        walk = Walk(api, lambda text: progress.say(f"  Bluetooth: {text}"))
        # beside the others: most of it is waiting, and it is all done long before they are
        entries, radio = await _both(add_all(progress, api, batteries), walk.all())
        with progress.phase("values", "Waiting until the entities hold what the packs sent"):
            await wait_for_values(api, entries, totals)
        progress.say("Restarting Home Assistant by its own action")
        with suppress(aiohttp.ClientError):  # it may be gone before it has answered
            await api.call("POST", "/api/services/homeassistant/restart", {})
        async with at_most(START_TIMEOUT, lambda: "Home Assistant did not end to be restarted"):
            await wait_until_restarted(process, home)
    async with started(progress, home, api, again=True):
        with progress.phase("values_again", "Waiting until the entities hold it again, and no total is less"):
            shown = await wait_for_values(api, entries, totals, restarted=True)
    return {**shown, "Voltgo pack over Bluetooth": radio}


async def stay(progress: Progress, home: Home, api: Api, batteries: Sequence[Battery]) -> NoReturn:
    """Run the home until told to stop, over every restart that a person asks it for; the packs go on meanwhile."""
    desk, again = Desk(batteries), False
    while True:
        async with started(progress, home, api, again=again) as process:
            if not again:
                entries = await add_all(progress, api, batteries)
                with progress.phase("values", "Waiting until the entities hold what the packs sent"):
                    await wait_for_values(api, entries, Totals())
                await Walk(api, lambda text: progress.say(f"  Bluetooth: {text}")).discovered()
                progress.say("Not added: a pack in Bluetooth range, which waits among the discovered devices")
            progress.say(
                f"Ready: {home.url}/config/integrations/integration/lfp_battery, user {USER}, password {PASSWORD}. "
                "Ctrl-C stops everything."
            )
            with desk.open(STDIN, progress.say):
                await wait_until_restarted(process, home)
        progress.say("Home Assistant ended to be restarted; the packs go on")
        again = True


async def run(arguments: argparse.Namespace, progress: Progress) -> None:
    """Bring everything up and down again, and print what was seen."""
    home = Home(directory=DEMO / "config", port=arguments.port)
    with simulated_batteries() as batteries:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            with progress.phase("home", f"Making a home in {home.directory.relative_to(ROOT)}"):
                await home.prepare([ROOT / "custom_components" / DOMAIN, COMPONENT], set_up=[COMPONENT.name])
            api = Api(session, home)
            if not arguments.once:
                await stay(progress, home, api, batteries)
            shown = await once(progress, home, api, batteries)
    complaints = home.complaints()
    print(json.dumps({"seconds": progress.seconds, "batteries": shown, "log": complaints}, indent=2))
    if ours := [line for line in complaints if DOMAIN in line and not any(text in line for text in LOGGED)]:
        raise HomeError("\n".join(["the log is not clean:", *ours]))
    progress.say("Done: the entities held what the packs sent, before and after a restart")


async def run_until_told(arguments: argparse.Namespace) -> int:
    """Run, and end in order on Ctrl-C; returns the exit code."""
    work = asyncio.create_task(run(arguments, Progress()))
    told = False

    def stop() -> None:
        nonlocal told
        if not told:  # a second Ctrl-C would cut the stopping short
            told = True
            work.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await work
    except asyncio.CancelledError:
        return 130 if arguments.once else 0
    except (HomeError, TimeoutError, aiohttp.ClientError) as err:
        print(f"demo: {err or type(err).__name__}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Run from the command line; returns the exit code."""
    # scripts/demo has looked at them already, and has the help
    parser = argparse.ArgumentParser(prog="scripts/demo", add_help=False)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--port", type=int, default=8123)
    arguments = parser.parse_args()

    DEMO.mkdir(exist_ok=True)
    with (DEMO / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("demo: another demo is running in this checkout", file=sys.stderr)
            return 1
        if not port_is_free(arguments.port):
            print(f"demo: something listens on port {arguments.port} already; choose with --port", file=sys.stderr)
            return 1
        return asyncio.run(run_until_told(arguments))


if __name__ == "__main__":
    sys.exit(main())
