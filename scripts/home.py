"""A Home Assistant of its own: made, started, spoken to as a browser does, and stopped."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
import json
import os
from pathlib import Path
import shutil
import signal
import socket
import sys
from typing import Any

import aiohttp
from homeassistant.components.http import config as http_config
from homeassistant.components.onboarding import STORAGE_KEY as ONBOARDING_KEY, STORAGE_VERSION as ONBOARDING_VERSION
from homeassistant.components.onboarding.const import STEPS

HOST = "127.0.0.1"
USER = "demo"
PASSWORD = "battery"

_CONFIGURATION = """\
# Written anew by scripts/demo at every start.
# Not default_config: it brings integrations that look for a cloud and for devices in the network.
homeassistant:
  name: Demo home
  country: DE
  currency: EUR
  language: en
  time_zone: Europe/Berlin
  unit_system: metric
  latitude: 52.52
  longitude: 13.4
  elevation: 34
config:
energy:
history:
logbook:
recorder:
{recorder}logger:
  default: warning
  logs:
    custom_components.lfp_battery: info
    # They are started in every home, and miss libraries for pictures and sound that nothing here needs.
    haffmpeg: fatal
    homeassistant.components.camera.img_util: fatal
"""

# What a new home has beside that: the editors write here, and what they wrote exists only with these lines.
_EDITED = {
    "automation": ("automations.yaml", "[]\n"),
    "script": ("scripts.yaml", ""),
    "scene": ("scenes.yaml", ""),
}

# Of every custom integration, and of a start for which scripts/setup has installed all there is to install.
_SAID_ALWAYS = ("has not been tested by Home Assistant", "Skipping pip installation of required modules")


class HomeError(Exception):
    """Home Assistant did not do what it was asked; the text says what and why."""


@asynccontextmanager
async def at_most(seconds: float, reason: Callable[[], str]) -> AsyncIterator[None]:
    """Fail with a reason when this takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise HomeError(f"not done after {seconds:.0f} s: {reason()}") from None


def port_is_free(port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((HOST, port))
        except OSError:
            return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where a Home Assistant lives and where it listens."""

    directory: Path  # configuration, database and log; deleted and made anew by `prepare`
    port: int

    @property
    def url(self) -> str:
        """Address for a browser on this machine."""
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """What Home Assistant prints; it keeps a copy of its own in `directory`."""
        return self.directory.with_name("home-assistant.log")

    async def prepare(self, components: Iterable[Path], *, set_up: Iterable[str] = ()) -> None:
        """Make an empty home with one login and these integrations, past all first questions.

        `set_up`: domains of integrations that are set up at once, because they have no dialog.
        """
        self.lay_out(components, set_up=set_up, recorder="  commit_interval: 1\n")
        self.let_edit()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "homeassistant", "--script", "auth"),
            *("--config", self.directory, "add", USER, PASSWORD),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise HomeError(f"the login could not be created: {output.decode().strip()}")

    def lay_out(self, components: Iterable[Path], *, set_up: Iterable[str] = (), recorder: str = "") -> None:
        """Make the files of an empty home that nobody can log in to; `recorder`: lines of its configuration."""
        shutil.rmtree(self.directory, ignore_errors=True)
        custom = self.directory / "custom_components"
        custom.mkdir(parents=True)
        configuration = _CONFIGURATION.format(recorder=recorder) + "".join(f"{domain}:\n" for domain in set_up)
        (self.directory / "configuration.yaml").write_text(configuration, encoding="utf-8")
        # A package of its own: Home Assistant takes its directory out of the path again, and would find only those of
        # the directory that it is started in.
        (custom / "__init__.py").touch()
        for component in components:
            (custom / component.name).symlink_to(component)
        self.store(ONBOARDING_KEY, ONBOARDING_VERSION, 1, {"done": STEPS})
        # Not in the configuration: from there it would be on trial, and taken back after five minutes.
        listener: dict[str, Any] = http_config.HTTP_STORAGE_SCHEMA({"server_host": [HOST], "server_port": self.port})
        self.store(
            http_config.STORAGE_KEY,
            http_config.STORAGE_VERSION,
            http_config.STORAGE_MINOR_VERSION,
            {
                http_config.KEY_STABLE: {**listener, "created_at": "", "error": None, "error_message": None},
                http_config.KEY_PENDING: None,
                http_config.KEY_YAML_MIGRATION_DONE: True,
            },
        )

    def let_edit(self) -> None:
        """Give the home of `lay_out` the files in which a person's automations, scripts and scenes are kept."""
        with (self.directory / "configuration.yaml").open("a", encoding="utf-8") as configuration:
            for domain, (name, content) in _EDITED.items():
                configuration.write(f"{domain}: !include {name}\n")
                (self.directory / name).write_text(content, encoding="utf-8")

    def store(self, key: str, version: int, minor_version: int, data: Mapping[str, Any]) -> None:
        """Write a file of Home Assistant's storage, before it runs."""
        path = self.directory / ".storage" / key
        path.parent.mkdir(exist_ok=True)
        content = {"version": version, "minor_version": minor_version, "key": key, "data": data}
        path.write_text(json.dumps(content), encoding="utf-8")

    @asynccontextmanager
    async def running(self, *, again: bool = False) -> AsyncIterator[asyncio.subprocess.Process]:
        """Home Assistant while it runs; stopped in order at the end, whatever happens. `again`: its log goes on."""
        with self.log.open("ab" if again else "wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "homeassistant", "--config", self.directory, "--log-no-color", "--skip-pip"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                # Ctrl-C in the terminal is for the demo, which then stops Home Assistant
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 30)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    def last_words(self) -> str:
        """The end of the log, for when Home Assistant did not come up."""
        with suppress(OSError):
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
        return ""

    def complaints(self) -> list[str]:
        """Warnings and errors in the log; but for those that are said always."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [
            line
            for line in lines
            if any(level in line for level in (" WARNING ", " ERROR ", " CRITICAL "))
            and not any(text in line for text in _SAID_ALWAYS)
        ]


class Api:
    """The doors that the frontend uses: REST for flows and states, a websocket for the registries."""

    def __init__(self, session: aiohttp.ClientSession, home: Home) -> None:
        """Not logged in yet."""
        self._session = session
        self._home = home
        self._token = ""

    async def log_in(self) -> None:
        """Log in as a person at the login page does."""
        client = f"{self._home.url}/"
        start = {"client_id": client, "handler": ["homeassistant", None], "redirect_uri": client}
        flow = await self.call("POST", "/auth/login_flow", start)
        answer = {"client_id": client, "username": USER, "password": PASSWORD}
        result = await self.call("POST", f"/auth/login_flow/{flow['flow_id']}", answer)
        if result["type"] != "create_entry":
            raise HomeError(f"the login was refused: {result.get('errors')}")
        form = {"client_id": client, "grant_type": "authorization_code", "code": result["result"]}
        async with self._session.post(f"{self._home.url}/auth/token", data=form) as response:
            tokens = await self._read(response)
        self._token = tokens["access_token"]

    async def call(self, method: str, path: str, data: Mapping[str, Any] | None = None) -> Any:
        """One request; the decoded answer."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        async with self._session.request(method, self._home.url + path, json=data, headers=headers) as response:
            return await self._read(response)

    async def command(self, kind: str, **data: Any) -> Any:
        """One command over the websocket; its result."""
        async with self._session.ws_connect(f"{self._home.url}/api/websocket", max_msg_size=0) as socket_:
            await socket_.receive_json()
            await socket_.send_json({"type": "auth", "access_token": self._token})
            await socket_.receive_json()
            await socket_.send_json({"id": 1, "type": kind, **data})
            answer = await socket_.receive_json()
        if not answer.get("success"):
            raise HomeError(f"{kind} failed: {answer.get('error')}")
        return answer["result"]

    @staticmethod
    async def _read(response: aiohttp.ClientResponse) -> Any:
        if response.status >= 400:
            raise HomeError(f"{response.method} {response.url.path}: {response.status} {await response.text()}")
        return await response.json()
