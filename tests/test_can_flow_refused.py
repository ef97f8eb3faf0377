"""A CAN bus that is not set up: addresses and adapters that are refused, and buses on which no battery is heard."""

import asyncio
from typing import Any, override

from homeassistant.config_entries import SOURCE_USER
from homeassistant.const import CONF_DEVICE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
import pytest

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame
from custom_components.lfp_battery.bms.clock import SystemClock
from custom_components.lfp_battery.bms.discovery import bus as discovery_bus
from custom_components.lfp_battery.bms.errors import LinkProblem
from custom_components.lfp_battery.bms.transports.can_address import Silence, parse_can_address
from custom_components.lfp_battery.const import CONF_ACKNOWLEDGE, CONF_BAUDRATE, DOMAIN
from tests.flow_line import BUS, SOCKETCAN, TEXTS, FlowLine, readable, suggested
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.can.bus import SimBus
from tests.simulator.can.families import make_speaker
from tests.simulator.can.slcan_adapter import SlcanPty

USB_CAN = "seeedstudio:/dev/ttyUSB3"


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        ("", "bad_bus"),
        ("   ", "bad_bus"),
        ("x" * 5000, "bad_bus"),
        ("can0; rm -rf /", "bad_bus"),
        ("slcan:", "bad_bus"),
        ("slcan:/dev/tty\x00USB0", "bad_bus"),
        ("socketcand:nowhere", "bad_bus"),
        ("file:///etc/passwd", "bad_bus"),
        ("canalystii:🔋", "bad_bus"),
        ("socketcand:me:secret@host:29536/can0", "credentials"),
        ("slcan:socket://me:secret@host:1", "credentials"),
    ],
)
async def test_nonsense_is_refused_without_opening_anything(line: FlowLine, typed: str, error: str) -> None:
    """What is no address of an adapter is not opened; the typed text stays to be corrected."""
    result = await line.submit(await line.open_bus_form(), {CONF_DEVICE: typed})
    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] == "can"
    assert result["errors"] == {"base": error}
    assert suggested(result, CONF_DEVICE) == typed
    assert line.opened == []


@pytest.mark.parametrize(
    ("device", "asked", "error"),
    [
        ("seeedstudio:/dev/ttyUSB3", {"baudrate": "auto"}, "rate_not_probed"),
        ("gs_usb:0", {"baudrate": "auto", "acknowledge": True}, "rate_not_probed"),
        ("canalystii:0", {"baudrate": "auto", "acknowledge": True}, "rate_not_probed"),
        ("gs_usb:0", {}, "never_silent"),
        ("canalystii:0", {}, "never_silent"),
        (BUS, {"baudrate": "auto", "acknowledge": True}, "rate_not_probed_aloud"),
        (SOCKETCAN, {"acknowledge": True}, "acknowledge_outside"),
        ("socketcand:host:29536/can0", {"acknowledge": True}, "acknowledge_outside"),
    ],
)
async def test_what_could_do_harm_is_refused_in_words(
    line: FlowLine, device: str, asked: dict[str, Any], error: str
) -> None:
    """A rate is tried out only where the adapter is sure to keep silent; nothing is opened, and the form leads on."""
    line.plug_bus(device)
    result = await line.submit(await line.open_bus_form(), {CONF_DEVICE: device, **asked})
    assert result["errors"] == {"base": error}
    assert line.opened == []
    text = TEXTS["config"]["error"][error].format(**result["description_placeholders"])
    if error == "acknowledge_outside":
        assert "listen-only off" in text
    alone = parse_can_address(device).adapter.silence is Silence.NEVER
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: device, CONF_ACKNOWLEDGE: alone}))
    assert result["step_id"] == "confirm_can"


async def test_who_is_not_alone_with_the_adapter_must_not_acknowledge(line: FlowLine) -> None:
    """An inverter was heard all the same: the choice is not kept, and without it the battery is set up."""
    bus = line.plug_bus(inverter="victron")
    result = await line.listen(acknowledge=True)
    assert result["step_id"] == "can"
    assert result["errors"] == {"base": "not_alone"}
    assert result["description_placeholders"]["inverter"] == "A Victron system was heard beside it."
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: BUS, CONF_ACKNOWLEDGE: False}))
    result = await line.submit(result, {})
    assert result["options"] == {}
    assert [port.silent for port in bus.ports if port.is_open] == [True]


async def test_settings_keep_that_an_adapter_without_a_choice_is_alone(line: FlowLine) -> None:
    """What was said at set-up is not lost where the settings do not ask for it."""
    line.plug_bus("gs_usb:0")
    entry = await line.add_bus("gs_usb:0", acknowledge=True)
    form = await line.hass.config_entries.options.async_init(entry.entry_id)
    await line.drive(line.hass.config_entries.options.async_configure(form["flow_id"], {"soc_floor": 20}))
    assert entry.options[CONF_ACKNOWLEDGE] is True
    assert entry.options["soc_floor"] == 20


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (LinkProblem.MISSING, "bus_missing"),
        (LinkProblem.PERMISSION, "no_permission"),
        (LinkProblem.BUSY, "port_busy"),
        (LinkProblem.UNREACHABLE, "unreachable"),
        (LinkProblem.DOWN, "bus_down"),
        (LinkProblem.DRIVER, "driver_missing"),
        (LinkProblem.LOST, "adapter_lost"),
        (LinkProblem.FAILED, "cannot_open"),
    ],
)
async def test_a_bus_that_does_not_open_is_explained_and_can_be_tried_again(
    line: FlowLine, problem: LinkProblem, error: str
) -> None:
    """Each reason has its own words; once it is gone, the same form leads on."""
    line.plug_bus()
    line.refusals[BUS] = problem
    result = await line.listen()
    assert result["step_id"] == "can"
    assert result["errors"] == {"base": error}
    assert suggested(result, CONF_DEVICE) == BUS

    line.refusals.clear()
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: BUS}))
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize(
    ("typed", "device", "error"),
    [
        ("hello", "socketcan:hello", "interface_missing"),
        ("can7", "socketcan:can7", "interface_missing"),
        ("/dev/ttyUSB99", "slcan:/dev/ttyUSB99", "bus_missing"),
        ("", "", "bad_bus"),
    ],
)
async def test_what_leads_nowhere_is_answered_with_what_can_be_typed(
    line: FlowLine, typed: str, device: str, error: str
) -> None:
    """Any word could be the name of an interface; a slip of the pen is told which forms there are."""
    line.plug_bus(device)
    line.refusals[device] = LinkProblem.MISSING
    result = await line.submit(await line.open_bus_form(), {CONF_DEVICE: typed})
    if result["type"] is FlowResultType.SHOW_PROGRESS:
        result = await line.scanned(result)
    assert result["errors"] == {"base": error}
    text = TEXTS["config"]["error"][error].format(**result["description_placeholders"])
    assert all(form in text for form in ("/dev/ttyUSB0", "socketcan:can0", "slcan:socket://"))
    assert "ip link" not in text


async def test_an_interface_that_is_down_comes_with_the_command_that_brings_it_up(line: FlowLine) -> None:
    """To be copied, with the name of this very interface: listening only, without an inverter, and how to take it down."""
    line.plug_bus("socketcan:can3")
    line.refusals["socketcan:can3"] = LinkProblem.DOWN
    result = await line.listen("can3")
    text = TEXTS["config"]["error"]["bus_down"].format(**result["description_placeholders"])
    for command in ("up type can bitrate 500000 listen-only on", "up type can bitrate 500000 listen-only off", "down"):
        assert f"sudo ip link set can3 {command}" in text


@pytest.mark.parametrize(
    ("device", "package"), [("gs_usb:0", "gs-usb"), ("canalystii:1", "canalystii"), (SOCKETCAN, "python-can")]
)
async def test_a_missing_library_is_named_and_socketcan_recommended(line: FlowLine, device: str, package: str) -> None:
    """On Home Assistant OS a library cannot be installed by hand, and most adapters need none."""
    line.plug_bus(device)
    line.refusals[device] = LinkProblem.DRIVER
    result = await line.listen(device, acknowledge=parse_can_address(device).adapter.silence is Silence.NEVER)
    shown = result["description_placeholders"]
    assert shown["package"] == package
    assert "SocketCAN" in shown["advice"]
    assert "Home Assistant OS" in shown["advice"]


async def test_an_adapter_that_vanishes_while_it_is_listened_to_is_said(line: FlowLine) -> None:
    """Pulled out, it is a lost adapter and not a missing one."""
    bus = line.plug_bus(sends=None)
    flow = await line.submit(await line.open_bus_form(), {CONF_DEVICE: BUS})
    await line.clock.advance(3)
    for port in bus.ports:
        port.unplug()
    result = await line.scanned(flow)
    assert result["errors"] == {"base": "adapter_lost"}


# --- nothing that can be set up --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "asked", "advice"),
    [
        (BUS, {}, "only 500 kbit/s was tried"),
        (BUS, {"baudrate": "250000"}, "only 250 kbit/s was tried"),
        (BUS, {"baudrate": "auto"}, ""),
        (SOCKETCAN, {}, "set outside of Home Assistant"),
        ("socketcand:host:29536/can0", {}, "set outside of Home Assistant"),
        ("udp_multicast:239.74.163.2", {}, ""),
    ],
)
async def test_silence_is_called_so(line: FlowLine, device: str, asked: dict[str, Any], advice: str) -> None:
    """Not a frame, not an error; where another bit rate may be the reason it is named as one."""
    line.plug_bus(device, sends=None)
    result = await line.listen(device, **asked)
    assert result["errors"] == {"base": "bus_silent"}
    said = result["description_placeholders"]["advice"]
    assert advice in said
    assert bool(advice) is bool(said)


async def test_a_wrong_bit_rate_on_slcan_is_named_although_it_looks_like_silence(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real port and a real adapter's words: it reports no errors, so nothing at all is heard."""
    monkeypatch.setattr(discovery_bus, "_SILENCE", 1.0)
    clock = SystemClock()
    battery = make_speaker("pylon", SimBank(make_packs(1, first=1), clock))
    adapter = SlcanPty(SimBus(battery, clock=clock, bitrate=250_000))
    adapter.replug()
    try:
        manager = hass.config_entries.flow
        menu = await manager.async_init(DOMAIN, context={"source": SOURCE_USER})
        form = await manager.async_configure(menu["flow_id"], {"next_step_id": "can"})
        form = await manager.async_configure(form["flow_id"], {CONF_DEVICE: f"slcan:{adapter.path}"})
        while manager.async_get(form["flow_id"])["step_id"] == "scan":
            await asyncio.sleep(0.05)
        result = readable(await manager.async_configure(form["flow_id"]))
    finally:
        adapter.stop()
    assert result["errors"] == {"base": "bus_silent"}
    assert "only 500 kbit/s was tried" in result["description_placeholders"]["advice"]
    manager.async_abort(result["flow_id"])


@pytest.mark.parametrize(("device", "advice"), [(BUS, "other bit rate"), (SOCKETCAN, "take the interface down")])
async def test_a_wrong_bit_rate_is_called_so(line: FlowLine, device: str, advice: str) -> None:
    """Only errors; what helps depends on who sets the rate."""
    line.plug_bus(device, bitrate=250_000)
    if device == SOCKETCAN:  # which cannot have a wrong rate here
        line.buses[device].nodes.clear()
        errors = line.buses[device]
        line.clock.call_later(2.0, lambda: errors.disturb(50))
    result = await line.listen(device)
    assert result["errors"] == {"base": "wrong_rate"}
    assert advice in result["description_placeholders"]["advice"]


class _Deaf(SimBus):
    """A bus whose battery hears nobody."""

    @property
    @override
    def acknowledged(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("device", "asked", "advice"),
    [
        (BUS, {}, "turn on"),
        (USB_CAN, {}, "turn on"),
        (SOCKETCAN, {}, "listen-only off"),
        ("gs_usb:0", {CONF_ACKNOWLEDGE: True}, "swapped"),
        (BUS, {CONF_ACKNOWLEDGE: True}, "swapped"),
    ],
)
async def test_a_battery_that_nobody_acknowledges_is_explained(
    line: FlowLine, device: str, asked: dict[str, Any], advice: str
) -> None:
    """One frame over and over; what helps depends on the adapter."""
    bus = line.plug_bus(device, alone=True)
    if asked:  # what the adapter says does not arrive
        line.buses[device] = _Deaf(*bus.nodes, clock=line.clock, alone=True)
    result = await line.listen(device, **asked)
    assert result["errors"] == {"base": "unacknowledged"}
    assert advice in result["description_placeholders"]["advice"]


async def test_the_bit_rate_that_was_found_is_kept_for_an_adapter_that_is_to_acknowledge(line: FlowLine) -> None:
    """Who follows the advice would else be refused: an adapter that acknowledges must not try out rates."""
    line.plug_bus(bitrate=250_000, alone=True)
    result = await line.listen(baudrate="auto")
    assert result["errors"] == {"base": "unacknowledged"}
    assert suggested(result, CONF_BAUDRATE) == "250000"
    asked = {name: suggested(result, name) for name in (CONF_DEVICE, CONF_BAUDRATE)}
    result = await line.scanned(await line.submit(result, {**asked, CONF_ACKNOWLEDGE: True}))
    assert result["step_id"] == "confirm_can"
    assert result["description_placeholders"]["rate"] == "250 kbit/s"


@pytest.mark.parametrize(
    ("inverter", "named"), [("victron", "A Victron system was heard"), ("growatt", "A Growatt inverter was heard")]
)
async def test_an_inverter_without_a_battery_is_called_so(line: FlowLine, inverter: str, named: str) -> None:
    """And which it is, once."""
    line.plug_bus(sends=None, inverter=inverter)
    result = await line.listen()
    assert result["errors"] == {"base": "inverter_only"}
    text = TEXTS["config"]["error"]["inverter_only"].format(**result["description_placeholders"])
    assert text.startswith(f"{named}, but no battery. Check")


def test_every_inverter_has_words_with_a_battery_and_without_one() -> None:
    """The same ones."""
    words = TEXTS["selector"]
    assert set(words["inverter"]["options"]) - {"none"} == set(words["only_inverter"]["options"])


async def _chatter(line: FlowLine, *ids: int) -> Any:
    """What a person sees where these are all that is heard."""
    bus = line.plug_bus(sends=None)

    def send() -> None:
        bus.inject(*(CanFrame(id=frame_id, data=bytes(8)) for frame_id in ids))
        line.clock.call_later(0.5, send)

    send()
    return await line.listen()


async def test_a_high_voltage_battery_is_out_of_scope(line: FlowLine) -> None:
    """Recognised by its ids, and refused with the reason."""
    result = await _chatter(line, *(0x4210 + 16 * n | EXTENDED for n in range(8)))
    assert result["errors"] == {"base": "other_set"}
    assert "high-voltage" in result["description_placeholders"]["advice"]


async def test_the_port_between_packs_is_called_so(line: FlowLine) -> None:
    """Frames that packs send each other."""
    result = await _chatter(line, *(0x18F20000 + n | EXTENDED for n in range(4)))
    assert result["errors"] == {"base": "bus_between_packs"}


async def test_a_set_that_is_recognised_and_not_read_is_called_so(line: FlowLine) -> None:
    """With what else the battery might be set to."""
    result = await _chatter(line, 0x2F4, 0x4F4, 0x5F4, 0x7F4)
    assert result["errors"] == {"base": "other_set"}
    assert "Victron or Pylon" in result["description_placeholders"]["advice"]


async def test_unknown_frames_are_offered_as_a_file_for_a_report(line: FlowLine) -> None:
    """Whoever has such a battery can help."""
    result = await _chatter(line, 0x123, 0x124, 0x125)
    assert result["errors"] == {"base": "unknown_frames"}
    assert "download what was heard" in result["description_placeholders"]["capture"]
