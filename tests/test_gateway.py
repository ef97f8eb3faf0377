"""The same bank behind a real serial server: Debian's ser2net, over a plain socket and over RFC 2217."""

import asyncio
from collections.abc import AsyncIterator, Callable
import logging
from pathlib import Path
import socket
import subprocess

from homeassistant.core import HomeAssistant
import pytest

from custom_components.lfp_battery.bms.clock import SystemClock
from tests.simulator.bank import SimBank
from tests.simulator.bus import Bus
from tests.simulator.pty_line import PtyLine
from tests.simulator.pylon import PylonSpeaker

from .real_line import add_entry, showing, until

_SER2NET = Path(__file__).resolve().parents[1] / ".python" / "bin" / "ser2net"
_BAUDRATE = 9600
_CYCLE = 10.0

_ACCEPTERS = {"socket": "tcp", "rfc2217": "telnet(rfc2217),tcp"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Gateway:
    """A ser2net of its own, on loopback, in front of one port."""

    def __init__(self, folder: Path, kind: str, device: Path) -> None:
        """Write its configuration; `start` runs it."""
        self.port = _free_port()
        self.url = f"{kind}://127.0.0.1:{self.port}"
        self._config = folder / "ser2net.yaml"
        self._config.write_text(
            "connection: &bank\n"
            f"  accepter: {_ACCEPTERS[kind]},127.0.0.1,{self.port}\n"
            f"  connector: serialdev,{device},{_BAUDRATE}n81,local\n"
            "  options:\n    kickolduser: true\n"
        )
        self._log = (folder / "ser2net.log").open("w")
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Run it until it listens."""
        self._process = subprocess.Popen(  # noqa: ASYNC220 - takes no time that a test would notice
            [_SER2NET, "-n", "-c", self._config], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

        # looked up, not tried: a visitor would make it open the port, and be busy closing it again
        wanted = f"0100007F:{self.port:04X} 00000000:0000 0A"

        def listens() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"ser2net did not start, see {self._log.name}"
            return wanted in Path("/proc/net/tcp").read_text()

        await until(listens, 10)

    def kill(self) -> None:
        """End it without a word, as a power cut does to the program."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Callable[[str, Path], Gateway]]:
    """Gateways that do not outlive the test."""
    made: list[Gateway] = []

    def make(kind: str, device: Path) -> Gateway:
        made.append(Gateway(tmp_path, kind, device))
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.mark.skipif(not _SER2NET.exists(), reason="ser2net is not there: run scripts/setup")
@pytest.mark.parametrize("kind", list(_ACCEPTERS))
async def test_a_bank_behind_a_gateway_that_dies_and_comes_back(
    hass: HomeAssistant,
    tmp_path: Path,
    socket_enabled: None,
    caplog: pytest.LogCaptureFixture,
    gateway: Callable[[str, Path], Gateway],
    kind: str,
) -> None:
    """The values are those that were sent; a gateway killed under load is told once each way."""
    caplog.set_level(logging.INFO, "custom_components.lfp_battery")
    clock = SystemClock()
    bank = SimBank(3, clock)
    speaker = PylonSpeaker(bank)
    bus = Bus(speaker, clock, baudrate=_BAUDRATE)
    line = PtyLine(bus, tmp_path / "ttySIM0")
    line.start()
    server = gateway(kind, line.path)
    await server.start()
    entry = add_entry(hass, server.url, _BAUDRATE, bank.packs)

    def same_values() -> bool:
        for address in bank.packs:
            shown = [
                float(found.state)
                for name in ("voltage", "current", "battery")
                if (found := hass.states.get(f"sensor.bank_pack_{address - 1}_{name}")) is not None
            ]
            sent = [
                [v["voltage"], v["current"], round(100 * v["remaining_capacity"] / v["full_capacity"], 1)]  # type: ignore[operator]
                for v in (answer.values for answer in speaker.sent[address])
                if "voltage" in v
            ]
            if not any(shown == pytest.approx(values, abs=0.051) for values in sent):
                return False
        return True

    try:
        assert await hass.config_entries.async_setup(entry.entry_id)
        await until(lambda: showing(hass, bank.packs) == 3, 20)
        assert same_values()
        caplog.clear()
        asked = bus.request_count
        await until(lambda: bus.request_count >= asked + 2, 15)
        server.kill()
        await until(lambda: showing(hass, bank.packs) == 0, 2)
        await asyncio.sleep(1.0)
        await server.start()
        await until(lambda: showing(hass, bank.packs) == 3, 2 * _CYCLE)
        assert same_values()
        lines = [record.getMessage() for record in caplog.records if record.name == "custom_components.lfp_battery"]
        assert [text.rpartition(" (")[0] or text for text in lines] == [
            "Bank: the link is lost",
            "Bank: the link is back",
        ]
        assert await hass.config_entries.async_unload(entry.entry_id)
    finally:
        line.stop()
