"""A battery on a CAN bus that falls silent, whose adapter fails, or whom nobody acknowledges: what a person is told."""

from collections.abc import AsyncGenerator
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
import pytest

from custom_components.lfp_battery import connect
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.const import CONF_ACKNOWLEDGE, CONF_BAUDRATE, DOMAIN
from custom_components.lfp_battery.link_texts import link_problem
from tests.can_home import CYCLE, CanHome
from tests.flow_line import TEXTS


@pytest.fixture
async def home(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[CanHome]:
    """A Home Assistant with a simulated bus; nothing is set up yet."""
    home = CanHome(hass, monkeypatch)
    yield home
    await home.stop()


def _issues(hass: HomeAssistant) -> dict[str, ir.IssueEntry]:
    return {key: issue for (domain, key), issue in ir.async_get(hass).issues.items() if domain == DOMAIN}


# --- what is no longer heard -----------------------------------------------------------------------------------------


async def test_a_frame_that_stops_coming_becomes_unknown_and_a_silent_bank_unavailable(home: CanHome) -> None:
    """First what it said goes stale by itself, then the whole bank; all comes back with the frames."""
    home.plug_bus(inverter=None)
    await home.start()
    await home.wait(CYCLE)
    home.sender.muted.add(0x355)  # the charge
    await home.wait(20)
    assert home.state(None, "soc").state != STATE_UNKNOWN
    await home.wait(20)
    assert home.state(None, "soc").state == STATE_UNKNOWN
    assert home.state(None, "voltage").state != STATE_UNKNOWN

    home.can.quiet = True
    await home.wait(60)
    assert home.state(None, "voltage").state == STATE_UNAVAILABLE
    assert home.state(None, "connectivity").state == STATE_OFF
    assert home.state(None, "safe_to_act").state == STATE_OFF

    home.can.quiet = False
    home.sender.muted.clear()
    await home.wait(15)
    assert home.value(None, "soc") == home.sent("soc")
    assert home.state(None, "connectivity").state == STATE_ON


async def test_an_adapter_that_is_pulled_out_is_told_of_once_and_comes_back(
    home: CanHome, caplog: pytest.LogCaptureFixture
) -> None:
    """Unavailable meanwhile, one line in the log each way."""
    home.plug_bus()
    await home.start()
    home.unplug()
    await home.wait(30)
    assert home.state(None, "voltage").state == STATE_UNAVAILABLE
    assert home.state(None, "link").state == STATE_OFF
    home.replug()
    await home.wait(90)
    assert home.state(None, "voltage").state != STATE_UNAVAILABLE
    lines = [record.getMessage() for record in caplog.records if "the link is" in record.getMessage()]
    assert lines == ["Bank: the link is lost", "Bank: the link is back"]


async def test_an_entry_that_is_unloaded_leaves_the_bus(home: CanHome) -> None:
    """The adapter is free for others at once."""
    home.plug_bus()
    await home.start()
    port = home.port
    assert port.is_open
    await home.drive(home.hass.config_entries.async_unload(home.entry.entry_id))
    assert not port.is_open
    assert home.entry.state is ConfigEntryState.NOT_LOADED


async def test_an_interface_that_is_down_is_tried_again_and_the_command_named(
    hass: HomeAssistant, home: CanHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said of the entry holds the command for this very interface."""
    home.plug_bus(device="socketcan:can2", **{CONF_BAUDRATE: None})
    real = home.can.port

    def port(*args: Any, **more: Any) -> Any:
        made = real(*args, **more)
        made.refusal = LinkProblem.DOWN
        return made

    monkeypatch.setattr(home.can, "port", port)
    assert not await home.start()
    assert home.entry.state is ConfigEntryState.SETUP_RETRY
    assert home.entry.error_reason_translation_key == "link_down"
    text = TEXTS["exceptions"]["link_down"]["message"].format(**home.entry.error_reason_translation_placeholders or {})
    commands = [f"sudo ip link set can2 {what}" for what in ("up type can bitrate 500000 listen-only on", "down")]
    assert all(command in text for command in commands)
    (issue,) = _issues(hass).values()
    assert issue.translation_key == "interface_down"
    filled_in = TEXTS["issues"]["interface_down"]["description"].format(**issue.translation_placeholders or {})
    assert "can2 up type can bitrate 500000 listen-only off" in filled_in
    monkeypatch.undo()
    monkeypatch.setattr(connect, "clock", lambda hass: home.clock)
    monkeypatch.setattr(connect, "open_bus", lambda hass, address, *, acknowledge: lambda bitrate: real(bitrate))
    assert await home.drive(hass.config_entries.async_reload(home.entry.entry_id))
    assert _issues(hass) == {}


async def test_an_interface_that_goes_down_is_a_repair_until_it_is_up(hass: HomeAssistant, home: CanHome) -> None:
    """With the commands for this very interface."""
    home.plug_bus(device="socketcan:can2")
    await home.start()
    home.link.link_changed(LinkError(LinkProblem.DOWN))
    (issue,) = _issues(hass).values()
    assert (issue.translation_key, issue.is_fixable) == ("interface_down", False)
    assert (issue.translation_placeholders or {})["command_down"] == "sudo ip link set can2 down"
    home.link.link_changed(None)
    assert _issues(hass) == {}
    home.link.link_changed(LinkError(LinkProblem.LOST))
    assert _issues(hass) == {}


@pytest.mark.parametrize(
    ("device", "options", "told"),
    [
        ("slcan:/dev/ttyCAN", {CONF_ACKNOWLEDGE: True}, True),
        ("gs_usb:0", {CONF_ACKNOWLEDGE: True}, True),
        ("slcan:/dev/ttyCAN", {}, False),
    ],
)
async def test_an_adapter_that_takes_part_and_meets_only_errors_is_told_of(
    hass: HomeAssistant, home: CanHome, device: str, options: dict[str, Any], told: bool
) -> None:
    """At a wrong bit rate it disturbs everybody; one that keeps silent cannot, and a battery may just be off."""
    home.plug_bus(device=device, options=options)
    await home.start()
    await home.wait(20)
    home.can.true_bitrate = 250_000
    await home.wait(60)
    assert [issue.translation_key for issue in _issues(hass).values()] == ["bus_errors"] * told
    home.can.true_bitrate = 500_000
    await home.wait(150)
    assert _issues(hass) == {}


async def test_a_silent_bus_is_no_bus_of_errors(hass: HomeAssistant, home: CanHome) -> None:
    """Nothing at all: the battery is off, and nobody is disturbed."""
    home.plug_bus(device="socketcan:can0")
    await home.start()
    home.can.quiet = True
    await home.wait(100)
    assert _issues(hass) == {}


@pytest.mark.parametrize(
    ("device", "problem", "said"),
    [
        ("gs_usb:0", LinkProblem.DRIVER, "gs-usb"),
        ("socketcan:can2", LinkProblem.MISSING, "host's network"),
        ("slcan:/dev/ttyCAN", LinkProblem.MISSING, "plugged in"),
    ],
)
async def test_why_a_bus_cannot_be_opened_is_said_with_what_helps(
    home: CanHome, device: str, problem: LinkProblem, said: str
) -> None:
    """The library by its name; where an interface may be hidden from a container, that."""
    home.plug_bus(device=device)
    shown = link_problem(home.hass, home.entry, LinkError(problem))
    text = TEXTS["exceptions"][shown["translation_key"]]["message"].format(**shown["translation_placeholders"])
    assert said in text


async def test_an_address_that_is_none_any_more_is_not_tried_again(home: CanHome) -> None:
    """Somebody changed the stored data; only a new address helps."""
    home.plug_bus(device="slcan:nowhere at all")
    assert not await home.start()
    assert home.entry.state is ConfigEntryState.SETUP_ERROR


# --- nobody acknowledges ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "options", "key", "said"),
    [
        ("slcan:/dev/ttyCAN", {}, "unacknowledged_option", "turn on *The battery is alone with the adapter*"),
        ("socketcan:can1", {}, "unacknowledged_outside", "can1 up type can bitrate 500000 listen-only off"),
        ("gs_usb:0", {}, "unacknowledged_wiring", "swapped"),
    ],
)
async def test_a_battery_that_nobody_acknowledges_is_told_of_until_somebody_does(
    hass: HomeAssistant,
    home: CanHome,
    caplog: pytest.LogCaptureFixture,
    device: str,
    options: dict[str, Any],
    key: str,
    said: str,
) -> None:
    """In plain words, with what helps for this adapter; gone by itself when it is over."""
    home.plug_bus(device=device, inverter=None, alone=True, options=options)
    await home.start()
    await home.wait(10)
    (issue,) = _issues(hass).values()
    assert issue.translation_key == key
    assert not issue.is_fixable
    texts = TEXTS["issues"][key]
    text = "\n".join(texts[part].format(**issue.translation_placeholders or {}) for part in ("title", "description"))
    assert said in text
    assert "Bank" in text
    assert sum("nobody acknowledges" in record.getMessage() for record in caplog.records) == 1

    home.can.alone = False  # an inverter was connected
    await home.wait(60)
    assert _issues(hass) == {}
    assert home.value(None, "soc") == home.sent("soc")


async def test_what_was_said_of_a_bus_is_found_anew_at_the_next_start(hass: HomeAssistant, home: CanHome) -> None:
    """An issue of the last run may be over by now."""
    home.plug_bus()
    issue_id = f"unacknowledged_{home.entry.entry_id}"
    ir.async_create_issue(
        hass,
        DOMAIN,
        issue_id,
        is_fixable=False,
        severity=ir.IssueSeverity.WARNING,
        translation_key="unacknowledged_wiring",
    )
    await home.start()
    assert _issues(hass) == {}
