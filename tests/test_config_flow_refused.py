"""A serial line on which there is nothing to set up: what is said, and how it goes on from there."""

from collections.abc import Callable
from typing import Any

from homeassistant.const import CONF_DEVICE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
import pytest

from custom_components.lfp_battery import connect
from custom_components.lfp_battery.bms.discovery import Outcome, Progress, ScanReport, Stage
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.const import CONF_FAMILY
from tests.flow_line import PORT, TEXTS, FlowLine, suggested
from tests.simulator.bus import Bus
from tests.simulator.faults import Fault, Kind

# Recognised only to be refused, each in its own words.
STRANGERS = sorted(TEXTS["selector"]["stranger"]["options"])


def _silence(bus: Bus) -> None:
    bus.faults.add(Fault(kind=Kind.SILENCE))


def _echo(bus: Bus) -> None:
    bus.faults.add(Fault(kind=Kind.SILENCE))
    bus.faults.add(Fault(kind=Kind.ECHO))


def _damage(bus: Bus) -> None:
    bus.faults.add(Fault(kind=Kind.BAD_CHECKSUM))


def _unreadable(bus: Bus) -> None:
    bus.faults.add(Fault(kind=Kind.SILENCE, containing=b"4642"))


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (_silence, "nothing_heard"),
        (_echo, "only_echo"),
        (_damage, "noise"),
        (_unreadable, "unreadable"),
    ],
)
async def test_trouble_on_the_line_leads_back_to_the_form_and_on_again(
    line: FlowLine, trouble: Callable[[Bus], None], error: str
) -> None:
    """Each kind of trouble has its own words; the port stays filled in, and the next attempt may succeed."""
    bus = line.plug()
    trouble(bus)
    result = await line.scan()
    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] == "serial"
    assert result["errors"] == {"base": error}
    assert suggested(result, CONF_DEVICE) == PORT
    assert bus.port.line is None

    line.plug()
    result = await line.scanned(await line.submit(result, {CONF_DEVICE: PORT}))
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_an_inverter_that_speaks_another_protocol_is_named_by_it(line: FlowLine) -> None:
    """What is recognised is said, even if it cannot be read."""
    report = ScanReport(outcome=Outcome.OTHER_MASTER, dialect="tdt-v25", baudrate=9600)
    result = await line.reported(report)
    assert result["errors"] == {"base": "other_master"}
    assert result["description_placeholders"]["protocol"] == "TDT (version 2.5)"
    assert "Pylon or Growatt" in result["description_placeholders"]["advice"]


@pytest.mark.parametrize("dialect", STRANGERS)
async def test_a_stranger_is_named_with_what_to_do(line: FlowLine, dialect: str) -> None:
    """A protocol that is recognised only to be refused has its name and its way out."""
    result = await line.reported(ScanReport(outcome=Outcome.OTHER_PROTOCOL, dialect=dialect))
    assert result["errors"] == {"base": "other_protocol"}
    shown = result["description_placeholders"]
    assert shown["dialect"] == TEXTS["selector"]["protocol"]["options"][dialect]
    assert shown["advice"] == TEXTS["selector"]["stranger"]["options"][dialect]


async def test_a_protocol_that_nobody_knows_has_general_advice(line: FlowLine) -> None:
    """Choosing another setting is all that can help."""
    result = await line.reported(ScanReport(outcome=Outcome.OTHER_PROTOCOL))
    assert result["errors"] == {"base": "other_protocol_unknown"}
    assert "Growatt or Pylon" in result["description_placeholders"]["advice"]


async def test_the_port_between_packs_is_called_so(line: FlowLine) -> None:
    """Packs that ask each other are no inverter."""
    result = await line.reported(ScanReport(outcome=Outcome.LINK_PORT, protocol="pylon-rs485", baudrate=9600))
    assert result["errors"] == {"base": "link_port"}


@pytest.mark.parametrize(
    ("family", "said", "unsaid"),
    [
        ("unknown", ("Luxpower, Schneider, Inhenergy", "**Growatt**", "restart the pack", "scan again"), ()),
        ("ml314", ("P07 Luxpower, P02 Schneider, P03 Inhenergy", "**P01 Growatt**"), ("01 Growatt for",)),
        ("vlrv", ("02 Luxpower, 03 Schneider, 04 Inhenergy", "**01 Growatt**"), ("P0",)),
        ("es_wall", ("set to Luxpower", "**Pylon**"), ("Growatt",)),
        ("growatt_65", ("only to link packs", "CAN"), ("Luxpower",)),
        ("pytes_v", (), ("Luxpower", "Growatt")),
    ],
)
async def test_silence_is_met_with_what_this_battery_can_be_set_to(
    line: FlowLine, family: str, said: tuple[str, ...], unsaid: tuple[str, ...]
) -> None:
    """Some settings are not public; the menu of each family has its own codes for what can be read."""
    line.plug(packs=0)
    result = await line.scan(family=family)
    assert result["errors"] == {"base": "nothing_heard"}
    assert suggested(result, CONF_FAMILY) == family
    advice = result["description_placeholders"]["advice"]
    assert [text for text in said if text not in advice] == []
    assert [text for text in unsaid if text in advice] == []


async def test_the_family_that_was_named_is_kept_with_the_entry(line: FlowLine) -> None:
    """It helps later, where the battery does not say who it is."""
    line.plug()
    result = await line.submit(await line.scan(family="es_wall"), {})
    assert result["data"][CONF_FAMILY] == "es_wall"
    result = await line.submit(await line.open_form(), {CONF_DEVICE: PORT})
    assert result["reason"] == "already_configured"


async def test_a_failed_scan_leaves_the_port_to_others(line: FlowLine) -> None:
    """While the form with the error stands open, another dialog may use the port."""
    _silence(line.plug())
    await line.scan()
    line.plug()
    result = await line.scan()
    assert result["step_id"] == "confirm"


@pytest.mark.parametrize("delay", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("end", [LinkError(LinkProblem.LOST), ScanReport(outcome=Outcome.NOTHING), ValueError()])
async def test_a_dialog_that_fetches_whatever_it_is_told_of_sees_why_nothing_came_of_it(
    line: FlowLine, monkeypatch: pytest.MonkeyPatch, delay: float, end: ScanReport | Exception
) -> None:
    """Until its text was fetched the scan is under way; what failed is decided at once with its end."""

    async def scan(hass: HomeAssistant, device: str, progressed: Callable[[Progress], None], **how: Any) -> ScanReport:
        await line.clock.sleep(2)
        progressed(Progress(stage=Stage.PROBING, fraction=0.5, protocol="pylon-rs485", baudrate=9600))
        await line.clock.sleep(0.2)
        if isinstance(end, Exception):
            raise end
        return end

    monkeypatch.setattr(connect, "async_scan", scan)
    line.plug()
    flow = await line.submit(await line.open_form(), {CONF_DEVICE: PORT})
    seen = await line.as_a_browser(flow, delay)
    assert [one["type"] for one in seen[:-1]].count(FlowResultType.SHOW_PROGRESS) == len(seen) - 1 > 0
    assert seen[-1]["step_id"] == "serial"
    assert seen[-1]["errors"]


async def test_a_fault_of_ours_in_judging_a_scan_leaves_nobody_before_the_bar(
    line: FlowLine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the form comes back with words."""

    async def holder(*_args: Any, **_how: Any) -> None:
        raise ValueError("nobody holds it")

    async def scan(*_args: Any, **_how: Any) -> ScanReport:
        monkeypatch.setattr(connect, "async_holder", holder)
        raise LinkError(LinkProblem.BUSY)

    monkeypatch.setattr(connect, "async_scan", scan)
    line.plug()
    result = await line.scanned(await line.submit(await line.open_form(), {CONF_DEVICE: PORT}))
    assert result["errors"] == {"base": "unknown"}
    assert "nobody holds it" in caplog.text
