"""Where a bus is, as people type it."""

from pathlib import Path
import subprocess
import sys

import pytest

import custom_components.lfp_battery
from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.transports.can import open_bus
from custom_components.lfp_battery.bms.transports.can_address import (
    CanAddress,
    Interface,
    parse_can_address,
    read_group,
    read_socketcand,
)


@pytest.mark.parametrize(
    ("text", "interface", "channel"),
    [
        ("can0", Interface.SOCKETCAN, "can0"),
        ("  vcan-1.2 ", Interface.SOCKETCAN, "vcan-1.2"),
        ("SocketCAN:can1", Interface.SOCKETCAN, "can1"),
        ("/dev/serial/by-id/usb-x-if00", Interface.SLCAN, "/dev/serial/by-id/usb-x-if00"),
        ("slcan:/dev/ttyACM0", Interface.SLCAN, "/dev/ttyACM0"),
        ("socket://10.0.0.9:23", Interface.SLCAN, "socket://10.0.0.9:23"),
        ("rfc2217://gateway:2000", Interface.SLCAN, "rfc2217://gateway:2000"),
        ("esphome-hass://esphome/01J?port_name=CAN", Interface.SLCAN, "esphome-hass://esphome/01J?port_name=CAN"),
        ("slcan:tcp://[::1]:23", Interface.SLCAN, "tcp://[::1]:23"),
        ("socketcand:pi.local/can0", Interface.SOCKETCAND, "pi.local:29536/can0"),
        ("socketcand://10.0.0.9:28600/vcan0", Interface.SOCKETCAND, "10.0.0.9:28600/vcan0"),
        ("seeedstudio:/dev/ttyUSB0", Interface.SEEEDSTUDIO, "/dev/ttyUSB0"),
        ("gs_usb:0", Interface.GS_USB, "0"),
        ("canalystii:01", Interface.CANALYSTII, "1"),
        ("udp_multicast:239.74.163.2", Interface.UDP_MULTICAST, "239.74.163.2"),
        ("udp_multicast:239.74.163.2:40000", Interface.UDP_MULTICAST, "239.74.163.2:40000"),
        ("udp_multicast:FF15::1", Interface.UDP_MULTICAST, "ff15::1"),
        ("virtual:test.1", Interface.VIRTUAL, "test.1"),
    ],
)
def test_an_address_is_read_as_people_write_it(text: str, interface: Interface, channel: str) -> None:
    """Bare names are SocketCAN, bare paths and URLs slcan; what is stored is read back as the same."""
    address = parse_can_address(text)
    assert address == CanAddress(interface=interface, channel=channel)
    assert parse_can_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "can 0",
        "can0\x00",
        "..",
        "a-name-of-more-than-15",
        "can0/x",
        "dev/ttyACM0",
        "COM3:",
        "socketcan:",
        "socketcan:/dev/ttyACM0",
        "slcan:ttyACM0",
        "slcan://gateway",
        "slcan:/dev/",
        "http://10.0.0.9",
        "slcan:file:///etc/passwd",
        "socket://[::1",
        "seeedstudio:socket://10.0.0.9:23",
        "seeedstudio:ttyUSB0",
        "socketcand:can0",
        "socketcand:pi:0/can0",
        "socketcand:pi:65536/can0",
        "socketcand:pi:99999999999999/can0",
        "socketcand:pi:\u0661/can0",
        "socketcand:[::1]:29536/can0",
        "socketcand:pi/can0/x",
        "socketcand:pi/",
        "gs_usb:-1",
        "gs_usb:a",
        "gs_usb:\u0661",
        "canalystii:2",
        "udp_multicast:10.0.0.9",
        "udp_multicast:group",
        "udp_multicast:239.74.163.2:0",
        "virtual:",
        "virtual:a b",
        "kvaser:0",
        "x" * 5000,
    ],
)
def test_what_cannot_be_an_address_is_refused(text: str) -> None:
    """Each interface has its own form, and nothing else passes."""
    with pytest.raises(LinkError) as caught:
        parse_can_address(text)
    assert caught.value.problem is LinkProblem.BAD_ADDRESS


@pytest.mark.parametrize(
    "text",
    [
        "socket://user:secret@10.0.0.9:23",
        "slcan:rfc2217://secret@10.0.0.9:23",
        "esphome://10.0.0.9/?key=secret",
        "socketcand:user:secret@10.0.0.9:29536/can0",
        "socketcand://secret@10.0.0.9/can0",
    ],
)
def test_an_address_with_a_secret_is_refused_without_repeating_it(text: str) -> None:
    """It would end up in logs and diagnostics."""
    with pytest.raises(LinkError) as caught:
        parse_can_address(text)
    assert caught.value.problem is LinkProblem.CREDENTIALS
    assert "secret" not in str(caught.value)


def test_network_addresses_are_taken_apart() -> None:
    """Host, port and bus of a server; group and port of a bridge."""
    assert read_socketcand("pi:1/can0") == ("pi", 1, "can0")
    assert read_group("239.74.163.2") == ("239.74.163.2", 43113, "")


@pytest.mark.parametrize(
    ("text", "listen_only", "bitrate", "silent"),
    [
        ("can0", True, None, None),
        ("slcan:/dev/ttyACM0", True, 250_000, True),
        ("slcan:/dev/ttyACM0", False, 250_000, False),
        ("socketcand:pi/can0", True, None, None),
        ("seeedstudio:/dev/ttyUSB0", True, 250_000, None),
        ("seeedstudio:/dev/ttyUSB0", False, 250_000, False),
        ("gs_usb:0", True, 250_000, False),
        ("canalystii:0", True, 250_000, False),
        ("udp_multicast:239.74.163.2", True, None, True),
        ("virtual:x", True, None, True),
    ],
)
def test_a_bus_says_who_sets_its_rate_and_whether_it_keeps_quiet(
    text: str, listen_only: bool, bitrate: int | None, silent: bool | None
) -> None:
    """As far as it is for us to say; nothing is opened for that."""
    bus = open_bus(parse_can_address(text), bitrate=250_000, listen_only=listen_only, clock=SystemClock())
    assert (bus.name, bus.bitrate, bus.silent, bus.errors) == (str(parse_can_address(text)), bitrate, silent, 0)


def test_nothing_is_loaded_before_a_bus_is_opened() -> None:
    """python-can takes a second to import, which must not be a second of Home Assistant's."""
    code = (
        "import sys\n"
        "from bms.transports import can, can_address, slcan\n"
        "from bms.clock import SystemClock\n"
        "for text in ('can0', 'slcan:socket://h:1', 'virtual:x', 'seeedstudio:/dev/x'):\n"
        "    address = can_address.parse_can_address(text)\n"
        "    can.open_bus(address, bitrate=None, listen_only=True, clock=SystemClock())\n"
        "print(sorted({'can', 'serialx', 'serial'} & set(sys.modules)))\n"
    )
    # by itself, as Home Assistant loads serialx for its own ends
    home = Path(custom_components.lfp_battery.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
