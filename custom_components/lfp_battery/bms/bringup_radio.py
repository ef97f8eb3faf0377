"""The same commands for a Bluetooth device: scan, poll and record. Nothing but reads is sent.

`ble:A4:C1:37:00:00:01` is one device, `ble:` alone stands for whatever is heard.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import nullcontext
import re
from typing import TYPE_CHECKING, Final, TextIO, override

from .clients.polled import PolledClient
from .clock import Clock, SystemClock
from .discovery import Outcome, ScanReport, probe
from .errors import LinkError, LinkProblem
from .gatt_profile import GattProfile
from .printing import (
    RADIO_WORDS,
    NonsenseError,
    Printer,
    new_file,
    outcome_words,
    progressed,
    report_found,
    run,
    say,
    show,
    until_done,
)
from .protocols import BLUETOOTH
from .transports import ByteTransport
from .transports.gatt import GattLink
from .transports.recording import RecordingTransport

if TYPE_CHECKING:
    from bleak import BleakScanner
    from bleak.backends.device import BLEDevice

_PREFIX: Final = "ble:"
# As Linux and Windows name devices, whatever stands between the digits (the dialog takes the same), and as macOS does.
_ADDRESS: Final = re.compile(r"[0-9A-F]{12}")
_SEPARATORS: Final = re.compile(r"[\s:._-]")
_ON_MACOS: Final = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")
# Without the prefix only what cannot be a path or a URL is taken for an address.
_BARE: Final = re.compile(r"[0-9A-F]{2}([:-]?)[0-9A-F]{2}(\1[0-9A-F]{2}){4}", re.IGNORECASE)
# A pack that was disconnected just now takes a few seconds until it is heard again.
_LOOKING: Final = 15.0  # s
_DETAIL: Final = 200  # characters
# What is meant for a serial line or a bus, and what is said where it is given for this.
_NOT_HERE: Final[Mapping[str, str]] = {
    "baud": "a Bluetooth connection has no speed: leave --baud out",
    "bitrate": "a Bluetooth connection has no bit rate: leave --bitrate out",
    "can": "this is a Bluetooth device, and no CAN bus: leave --can out",
    "acknowledge": "this is a Bluetooth device, and no CAN bus: leave --acknowledge out",
    "family": "the services of the device say whose it is: leave --family out",
    "quiet": "nobody else asks over this connection: leave --quiet out",
    "listen_only": "there is nothing to listen to on a Bluetooth connection: leave --listen-only out",
    "address": "behind each Bluetooth connection is one pack: leave --address out",
}
_NOTHING_TO_HEAR: Final = (
    "there is nothing to listen to: over Bluetooth a pack speaks only when it is asked; use `poll`"
)


def wanted(given: argparse.Namespace) -> bool:
    """Whether the port is a Bluetooth device.

    Raises:
        NonsenseError: it is the address of one, without what says so.
    """
    port: str = given.port.strip()
    if _BARE.fullmatch(port) and (address := _tidy(port)):
        raise NonsenseError(f"{port} is the address of a Bluetooth device: write {_PREFIX}{address}")
    return port.lower().startswith(_PREFIX)


def _tidy(typed: str) -> str | None:
    """An address in the one spelling that scanners know, AA:BB:CC:DD:EE:FF or that of macOS; None when it is none."""
    if _ON_MACOS.fullmatch(address := typed.strip().upper()):
        return address
    digits = _SEPARATORS.sub("", address)
    if not _ADDRESS.fullmatch(digits) or digits in {"0" * 12, "F" * 12}:
        return None
    return ":".join(digits[place : place + 2] for place in range(0, 12, 2))


def _address(given: argparse.Namespace) -> str:
    """The device's, "" for whatever is there."""
    for name, text in _NOT_HERE.items():
        if getattr(given, name, None):
            raise NonsenseError(text)
    protocol = getattr(given, "protocol", None)
    if protocol is not None and protocol not in BLUETOOTH:
        raise NonsenseError(f"{protocol} is not spoken over Bluetooth; there it is {', '.join(BLUETOOTH)}")
    typed: str = given.port.strip()[len(_PREFIX) :]
    if not typed.strip():
        return ""
    if (address := _tidy(typed)) is None:
        raise NonsenseError(f"{given.port!r} is not the address of a Bluetooth device, such as ble:A4:C1:37:00:00:01")
    return address


def _one(given: argparse.Namespace) -> str:
    if not (address := _address(given)):
        raise NonsenseError("say which device, such as ble:A4:C1:37:00:00:01; `scan ble:` shows what is there")
    return address


# --- finding the device ----------------------------------------------------------------------------------------------


async def _scanned[FoundT](work: Callable[[type[BleakScanner]], Awaitable[FoundT]]) -> FoundT:
    """What bleak's scanner finds.

    Raises:
        LinkError: DRIVER without bleak, FAILED where this machine has no Bluetooth that works, BUSY where it has, and
            does not listen for devices now.
    """
    try:
        import bleak  # noqa: PLC0415 - wire libraries load when a link is first used
    except ImportError as err:
        raise LinkError(LinkProblem.DRIVER, "bleak") from err
    try:
        return await work(bleak.BleakScanner)
    # there may be no D-Bus at all
    except (bleak.exc.BleakBluetoothNotAvailableError, OSError) as err:
        raise LinkError(LinkProblem.FAILED, _said(err)) from err
    # BleakError, and whatever else the way to the operating system raises
    except Exception as err:
        raise LinkError(LinkProblem.BUSY, _said(err)) from err


def _said(err: Exception) -> str:
    """What an error of the scanner says; some have a code for programs besides."""
    text = err.args[0] if err.args and isinstance(err.args[0], str) else str(err)
    return " ".join(text.split())[:_DETAIL] or type(err).__name__


class _SoughtLink(GattLink):
    """Looks for its device whenever it is opened: nobody else here keeps an eye on what is in the air."""

    def __init__(self, address: str, profiles: Iterable[GattProfile | None], clock: Clock) -> None:
        super().__init__(
            lambda: self._device,
            name=address,
            profiles=[profile for profile in profiles if profile is not None],
            clock=clock,
        )
        self._address = address
        self._device: BLEDevice | None = None

    @override
    async def open(self) -> None:
        """See `GattLink`."""
        await self.close()
        self._device = await _scanned(lambda scanner: scanner.find_device_by_address(self._address, timeout=_LOOKING))
        await super().open()


def _link(address: str, protocol: str | None, clock: Clock) -> GattLink:
    names = [protocol] if protocol else BLUETOOTH
    return _SoughtLink(address, [BLUETOOTH[name].profile for name in names], clock)


async def _probe(given: argparse.Namespace, clock: Clock) -> ScanReport:
    address = _one(given)
    return await probe(lambda: _link(address, given.protocol, clock), clock=clock, on_progress=progressed)


# --- the commands ----------------------------------------------------------------------------------------------------


async def _look_around() -> int:
    """Show every device that is heard."""
    say(f"looking for {_LOOKING:.0f} seconds")
    found = await _scanned(lambda scanner: scanner.discover(timeout=_LOOKING, return_adv=True))
    for device, advert in sorted(found.values(), key=lambda one: -one[1].rssi):
        show(address=device.address, name=advert.local_name, rssi=advert.rssi, services=sorted(advert.service_uuids))
    if not found:
        say("nothing was heard; a pack that the phone app is connected to is not")
    return 0 if found else 1


async def _scan(given: argparse.Namespace, file: TextIO | None) -> int:
    if not _address(given):
        return await _look_around()
    report = await _probe(given, SystemClock())
    if file is not None:
        file.write(report.capture or "")
    return report_found(report, RADIO_WORDS)


def scan(given: argparse.Namespace) -> int:
    """Find out whether a device is a battery, or which devices there are."""
    _address(given)
    with new_file(given.capture) if given.capture is not None else nullcontext() as file:
        return run(_scan(given, file), RADIO_WORDS)


type _Wrap = Callable[[ByteTransport], ByteTransport]


async def _poll(given: argparse.Namespace, wrap: _Wrap, seconds: float | None) -> int:
    clock = SystemClock()
    name = given.protocol
    if name is None:
        report = await _probe(given, clock)
        if report.outcome is not Outcome.FOUND or report.protocol is None:
            raise NonsenseError(outcome_words(report, RADIO_WORDS))
        name = report.protocol
    printer = Printer(clock, given.cycles, asyncio.Event(), words=RADIO_WORDS)
    protocol = BLUETOOTH[name]
    client = PolledClient(
        wrap(_link(_one(given), name, clock)),
        protocol,
        clock=clock,
        listener=printer,
        addresses=protocol.address_groups[0],
        interval=given.interval,
    )
    return await until_done(client, printer, seconds)


def poll(given: argparse.Namespace) -> int:
    """Read the pack again and again."""
    _one(given)
    return run(_poll(given, lambda link: link, None), RADIO_WORDS)


def record(given: argparse.Namespace) -> int:
    """Write down what passes while the pack is read."""
    _one(given)
    if not given.poll:
        raise NonsenseError("nothing passes over Bluetooth unless somebody asks: add --poll")
    with new_file(given.file) as file:
        lines = 0

        def write(line: str) -> None:
            nonlocal lines
            lines += 1
            file.write(f"{line}\n")
            file.flush()

        def wrap(link: ByteTransport) -> ByteTransport:
            return RecordingTransport(link, SystemClock(), write)

        status = run(_poll(given, wrap, given.seconds), RADIO_WORDS)
        if status and lines == 1:  # the link was never open
            file.truncate(0)
    return status


def listen(given: argparse.Namespace) -> int:
    """Say that there is nothing to listen to."""
    raise NonsenseError(_NOTHING_TO_HEAR)


def observe(given: argparse.Namespace) -> int:
    """Say the same."""
    return listen(given)
