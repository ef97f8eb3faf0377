"""The command line over Bluetooth, with bleak's scanner and client in a simulated air instead of a radio."""

import json
from pathlib import Path
from typing import Any

import bleak
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason as Reason, BleakError
import bleak_retry_connector
import pytest

from custom_components.lfp_battery.bms.__main__ import main
from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.printing import RADIO_WORDS, link_words
from custom_components.lfp_battery.radio import tidy_address
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.gatt.air import Air
from tests.simulator.gatt.impostor import jbd_pack
from tests.simulator.gatt.server import GattPack
from tests.simulator.zeta import VLRV, ZetaSpeaker

from .air_site import ADDRESS

PORT = f"ble:{ADDRESS}"
OTHER = "A4:C1:37:00:0B:AD"


class Ether:
    """Takes the place of bleak's scanner; what is in the air is put there in the loop of the command."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A pack, and a battery of another make."""
        self.packs: list[GattPack] = []
        self.asked: list[str] = []  # addresses
        self.only_asked = False  # nothing is heard
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(bleak, "BleakScanner", self)

    async def _start(self) -> Air:
        clock = SystemClock()
        air = Air(clock=clock)
        await air.start()
        self._monkeypatch.setattr(bleak_retry_connector, "BleakClientWithServiceCache", air.client_class)
        speaker = ZetaSpeaker(SimBank(make_packs(1, VLRV, first=1), clock))
        self.packs = [GattPack(air, ADDRESS, "ZT-25.6V100Ah-0001", speaker, mtu=23), jbd_pack(air, OTHER)]
        for pack in self.packs:
            await pack.start()
        return air

    async def find_device_by_address(self, address: str, timeout: float) -> BLEDevice | None:
        """As bleak's."""
        self.asked.append(address)
        if self.only_asked:
            return None
        air = self.packs[0].air if self.packs else await self._start()
        return air.ble_device(address)

    async def discover(self, timeout: float, return_adv: bool) -> dict[str, tuple[BLEDevice, AdvertisementData]]:
        """As bleak's."""
        assert return_adv
        air = await self._start()
        found: dict[str, tuple[BLEDevice, AdvertisementData]] = {}
        for place, pack in enumerate(self.packs):
            advert = AdvertisementData(pack.name, {}, {}, ["ff00"], None, -70 + 20 * place, ())
            device = air.ble_device(pack.address)
            assert device is not None
            found[pack.address] = (device, advert)
        return found


@pytest.fixture
def ether(monkeypatch: pytest.MonkeyPatch) -> Ether:
    """What the command line finds."""
    return Ether(monkeypatch)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, JSON lines of standard output, and what a person read."""
    status = main(arguments)
    captured = capsys.readouterr()
    return status, [json.loads(line) for line in captured.out.splitlines()], captured.err


def test_scan_finds_the_pack_and_leaves_a_capture_that_replays(
    ether: Ether, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its settings; nothing was written to it but reads."""
    file = tmp_path / "capture.jsonl"
    status, (report,), words = run(capsys, "scan", PORT.lower(), "--capture", str(file))
    assert (status, report["outcome"], report["protocol"], report["baudrate"]) == (0, "found", "zeta-1006", None)
    (pack,) = report["packs"]
    assert pack["state"]["voltage"] > 20
    assert pack["info"]["module_id"] == 1
    assert "reading protocol zeta-1006" in words
    speaker = ether.packs[0].speaker
    assert isinstance(speaker, ZetaSpeaker)
    assert not speaker.writes
    assert not speaker.forbidden
    assert not ether.packs[0].touched
    status, lines, _ = run(capsys, "replay", str(file))
    assert status == 0
    states = [line["packs"]["1"] for line in lines if line.get("packs")]
    assert states[0]["cell_voltages"] == pack["state"]["cell_voltages"]
    assert all(line["protocol"] == "zeta-1006" for line in lines if "protocol" in line)


def test_a_record_of_a_poll_replays_to_the_same_values(
    ether: Ether, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One connection to find out what it is, another to read it."""
    file = tmp_path / "record.jsonl"
    status, lines, _ = run(capsys, "record", PORT, str(file), "--poll", "--cycles", "1")
    assert status == 0
    state = next(line["state"] for line in lines if line["kind"] == "pack")
    assert lines[0] == {"kind": "link", "problem": None}
    assert ether.packs[0].sessions == 2
    status, replayed, _ = run(capsys, "replay", str(file))
    assert status == 0
    packs = [line["packs"]["1"] for line in replayed if line.get("packs")]
    assert packs[0]["current"] == state["current"]


def test_poll_with_the_protocol_told_connects_once(ether: Ether, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is probed."""
    status, lines, _ = run(capsys, "poll", PORT, "--protocol", "zeta-1006", "--cycles", "1")
    assert status == 0
    assert [line["address"] for line in lines if line["kind"] == "pack"] == [1]
    assert ether.packs[0].sessions == 1


def test_scan_without_an_address_shows_what_is_there(ether: Ether, capsys: pytest.CaptureFixture[str]) -> None:
    """The loudest first; nothing is connected to."""
    status, lines, _ = run(capsys, "scan", "ble:")
    assert status == 0
    assert [(line["address"], line["rssi"]) for line in lines] == [(OTHER, -50), (ADDRESS, -70)]
    assert not any(pack.sessions for pack in ether.packs)


@pytest.mark.parametrize(
    ("port", "said"),
    [
        (f"ble:{OTHER}", "This is not a battery that can be read"),
        ("ble:A4:C1:37:00:00:02", "The battery is not heard: come closer, and close the phone app"),
    ],
)
def test_what_is_no_battery_or_not_there_is_said_in_one_line(
    ether: Ether, port: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback."""
    for command in ("scan", "poll"):
        status, lines, words = run(capsys, command, port)
        assert (status, lines) == (1, [])
        assert words.splitlines()[-1].startswith(said)
        ether.packs.clear()


class Broken:
    """A scanner that fails."""

    def __init__(self, error: Exception) -> None:
        """With this, whatever it is asked for."""
        self.error = error
        self.asked = 0

    async def find_device_by_address(self, address: str, timeout: float) -> BLEDevice | None:
        """As bleak's."""
        self.asked += 1
        raise self.error

    async def discover(self, timeout: float, return_adv: bool) -> dict[str, Any]:
        """As bleak's."""
        raise self.error


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (FileNotFoundError(2, "No such file or directory"), "[Errno 2] No such file or directory"),
        (
            BleakBluetoothNotAvailableError("No Bluetooth adapters found.", Reason.NO_BLUETOOTH),
            "No Bluetooth adapters found.",
        ),
        (BleakBluetoothNotAvailableError("No powered adapters", Reason.POWERED_OFF), "No powered adapters"),
        (ConnectionRefusedError(), "ConnectionRefusedError"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ("scan", PORT),
        ("scan", "ble:"),
        ("poll", PORT),
        ("poll", PORT, "--protocol", "zeta-1006", "--cycles", "1"),
        ("record", PORT, "new", "--poll", "--protocol", "zeta-1006"),
    ],
)
def test_a_machine_without_bluetooth_is_told_so_once(
    error: Exception,
    detail: str,
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever the way to its radio fails with; trying it again would not help."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bleak, "BleakScanner", broken := Broken(error))
    status, lines, words = run(capsys, *command)
    assert status == 1
    assert [line for line in lines if line["kind"] != "link"] == []
    assert words.splitlines()[-1] == (
        f"This machine has no Bluetooth that works: check that it has an adapter, and that it is on. ({detail})"
    )
    assert broken.asked <= 1
    assert not list(tmp_path.iterdir())


def test_a_scanner_that_is_refused_says_what_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is no lack of Bluetooth; whoever reads again and again tries it again."""
    broken = Broken(BleakError("[org.bluez.Error.InProgress] Operation already in progress"))
    monkeypatch.setattr(bleak, "BleakScanner", broken)
    said = (
        "The Bluetooth adapter does not look for devices now: another program may be using it. "
        "([org.bluez.Error.InProgress] Operation already in progress)"
    )
    status, _, words = run(capsys, "scan", PORT)
    assert (status, words.splitlines()[-1], broken.asked) == (1, said, 1)
    file = str(tmp_path / "new")
    _, lines, words = run(capsys, "record", PORT, file, "--poll", "--protocol", "zeta-1006", "--seconds", "0.8")
    assert lines == [{"kind": "link", "problem": "busy"}]
    assert words.splitlines() == [f"{said} It is tried again."]
    assert broken.asked == 3


@pytest.mark.parametrize("typed", ["a4-c1-37-00-00-01", "A4C137000001", " A4:C1:37:00:00:01 ", "a4.c1.37.00.00.01"])
def test_an_address_is_taken_however_it_is_written(
    typed: str, ether: Ether, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the dialog of Home Assistant takes it; the scanner is asked for it in the one spelling that it knows."""
    ether.only_asked = True
    status, _, words = run(capsys, "scan", f"ble:{typed}")
    assert (status, ether.asked) == (1, [ADDRESS])
    assert words.splitlines()[-1].startswith("The battery is not heard")
    assert tidy_address(typed) == ADDRESS


@pytest.mark.parametrize("command", ["scan", "poll", "listen", "observe"])
@pytest.mark.parametrize("typed", [ADDRESS, ADDRESS.lower(), "A4-C1-37-00-00-01", "A4C137000001"])
def test_an_address_without_what_says_so_is_told_what_to_write(
    typed: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not that there is no such serial port."""
    status, lines, words = run(capsys, command, typed)
    assert (status, lines) == (1, [])
    assert words == f"{command}: {typed} is the address of a Bluetooth device: write ble:{ADDRESS}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("listen", PORT), "there is nothing to listen to"),
        (("listen", "ble:"), "there is nothing to listen to"),
        (("listen", "ble:nonsense"), "there is nothing to listen to"),
        (("observe", "ble:"), "there is nothing to listen to"),
        (("scan", "ble:00:00:00:00:00:00"), "is not the address"),
        (("scan", "ble:A4:C1:37:00:00:0G"), "is not the address"),
        (("observe", PORT), "there is nothing to listen to"),
        (("record", PORT, "new"), "unless somebody asks: add --poll"),
        (("scan", "ble:nonsense"), "'ble:nonsense' is not the address of a Bluetooth device"),
        (("scan", "ble:A4:C1:37:00:00"), "is not the address"),
        (("poll", "ble:"), "say which device"),
        (("scan", PORT, "--baud", "9600"), "leave --baud out"),
        (("scan", PORT, "--listen-only"), "leave --listen-only out"),
        (("scan", PORT, "--can"), "leave --can out"),
        (("poll", PORT, "--address", "1"), "leave --address out"),
        (("poll", PORT, "--protocol", "pylon-rs485"), "pylon-rs485 is not spoken over Bluetooth"),
        (("poll", "/dev/does-not-exist", "--protocol", "zeta-1006"), "zeta-1006 is spoken over Bluetooth"),
    ],
)
def test_what_makes_no_sense_over_bluetooth_is_refused_in_one_sentence(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before anything is looked for, and without leaving a file."""
    monkeypatch.chdir(tmp_path)
    status, lines, words = run(capsys, *arguments)
    assert (status, lines, len(words.splitlines())) == (1, [], 1)
    assert said in words
    assert not list(tmp_path.iterdir())


def test_every_problem_has_a_sentence_that_fits_a_radio() -> None:
    """None of them speaks of ports, hosts or cables."""
    for problem in (
        LinkProblem.MISSING,
        LinkProblem.UNREACHABLE,
        LinkProblem.BUSY,
        LinkProblem.LOST,
        LinkProblem.FAILED,
    ):
        words = link_words(LinkError(problem), RADIO_WORDS)
        assert not any(word in words for word in ("port", "host", "cable", "gateway"))
