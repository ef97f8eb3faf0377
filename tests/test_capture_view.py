"""What a scan heard, handed out to whoever has the link or is logged in."""

import asyncio
from http import HTTPStatus
import re
from typing import Any

from homeassistant.util.hass_dict import HassKey
import jwt
import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.lfp_battery import connect
from custom_components.lfp_battery.const import DOMAIN
from tests.flow_line import PORT, FlowLine
from tests.simulator.bus import SecondMaster
from tests.simulator.faults import Fault, Kind
from tests.simulator.modbus import ModbusSpeaker
from tests.simulator.modbus_cvte import CvteMap
from tests.simulator.pace import PaceSpeaker
from tests.simulator.pylon_wire import request


def _link(result: Any) -> str:
    """Where the form leads."""
    found = re.search(r'<a href="([^"]+)" target="_blank">', result["description_placeholders"]["capture"])
    assert found is not None
    return found[1]


async def _nothing_found(line: FlowLine) -> Any:
    line.plug(packs=2).faults.add(Fault(kind=Kind.SILENCE))
    return await line.scan()


async def test_the_link_of_the_form_downloads_what_was_heard(
    line: FlowLine, hass_client_no_auth: ClientSessionGenerator
) -> None:
    """Without a login, as a browser follows it, and as a file."""
    result = await _nothing_found(line)
    client = await hass_client_no_auth()
    response = await client.get(_link(result))
    assert response.status == HTTPStatus.OK
    assert response.headers["Content-Disposition"] == 'attachment; filename="lfp_battery_capture.txt"'
    text = await response.text()
    assert text
    # a page that is shown again has a link again, to the same
    again = await line.hass.config_entries.flow.async_configure(result["flow_id"])
    assert await (await client.get(_link(again))).text() == text


async def test_nobody_else_gets_it(
    line: FlowLine, hass_client_no_auth: ClientSessionGenerator, hass_client: ClientSessionGenerator
) -> None:
    """Not without the signature, nor with one for something else; who is logged in needs none."""
    path, _, query = _link(await _nothing_found(line)).partition("?")
    client = await hass_client_no_auth()
    assert (await client.get(path)).status == HTTPStatus.UNAUTHORIZED
    assert (await client.get(f"{path}x?{query}")).status == HTTPStatus.UNAUTHORIZED
    assert (await client.get(f"{path}?{query[:-4]}AAAA")).status == HTTPStatus.UNAUTHORIZED
    logged_in = await hass_client()
    assert (await logged_in.get(path)).status == HTTPStatus.OK
    assert (await logged_in.get(f"{path}x")).status == HTTPStatus.NOT_FOUND


async def test_the_link_works_for_some_minutes(line: FlowLine) -> None:
    """What lies in the history of a browser for longer opens nothing."""
    signature = _link(await _nothing_found(line)).partition("authSig=")[2]
    claims = jwt.decode(signature, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 15 * 60


async def test_what_was_heard_is_gone_with_the_dialog(
    line: FlowLine, hass_client_no_auth: ClientSessionGenerator
) -> None:
    """Closed, it leaves nothing behind."""
    result = await _nothing_found(line)
    line.hass.config_entries.flow.async_abort(result["flow_id"])
    client = await hass_client_no_auth()
    assert (await client.get(_link(result))).status == HTTPStatus.NOT_FOUND


async def test_a_dialog_that_found_nothing_stays_when_another_one_scans_the_port(
    line: FlowLine, hass_client_no_auth: ClientSessionGenerator
) -> None:
    """Its form and its link are of use still; closed, no trace of it is left."""
    first = await _nothing_found(line)
    second = await line.submit(await line.open_form(), {"device": PORT})
    client = await hass_client_no_auth()
    assert (await client.get(_link(first))).status == HTTPStatus.OK
    await line.scanned(second)
    flows = line.hass.config_entries.flow
    assert {flow["flow_id"] for flow in flows.async_progress_by_handler(DOMAIN)} == {
        first["flow_id"],
        second["flow_id"],
    }
    for flow in (first, second):
        flows.async_abort(flow["flow_id"])
    assert not line.hass.data[HassKey("lfp_battery_busy_ports")]
    assert not line.hass.data[HassKey("lfp_battery_captures")]


async def test_a_dialog_whose_scan_has_not_begun_gives_way_to_another_one(
    line: FlowLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended, and its port is looked up for nothing."""
    line.plug(packs=1)
    find, waiting, go_on = connect.async_holder, asyncio.Event(), asyncio.Event()

    async def slow(*args: Any, **more: Any) -> connect.Holder | None:
        if not waiting.is_set():
            waiting.set()
            await go_on.wait()
        return await find(*args, **more)

    monkeypatch.setattr(connect, "async_holder", slow)
    first = await line.open_form()
    flows = line.hass.config_entries.flow
    sent = asyncio.ensure_future(flows.async_configure(first["flow_id"], {"device": PORT}))
    await waiting.wait()
    second = await line.submit(await line.open_form(), {"device": PORT})
    go_on.set()
    await asyncio.wait((sent,))
    assert sent.result()["reason"] == "closed"
    assert [flow["flow_id"] for flow in flows.async_progress_by_handler(DOMAIN)] == [second["flow_id"]]
    assert (await line.scanned(second))["step_id"] == "confirm"
    assert len(line.opened) > 0


async def test_what_was_heard_is_offered_where_what_was_found_is_doubtful(line: FlowLine) -> None:
    """An inverter's talk, and protocols that were never tried; not a battery that answers well."""
    line.plug("/dev/ttyWELL", packs=1)
    assert "<a href" not in (await line.scan("/dev/ttyWELL"))["description_placeholders"]["notes"]
    questions = [request(address, 0x42) for address in (2, 3)]
    line.plug(packs=2).add_master(SecondMaster(requests=questions, period=0.4, first=0.1))
    observed = await line.scan(shared=True)
    assert observed["step_id"] == "confirm_observe"
    assert "<a href" in observed["description_placeholders"]["notes"]
    assert "15 minutes" in observed["description_placeholders"]["notes"]
    assert "never ask for it" in observed["description_placeholders"]["notes"]
    line.plug("/dev/ttyNEVER", packs=1, speaks=lambda bank: ModbusSpeaker(bank, CvteMap()), first=1)
    untried = await line.scan("/dev/ttyNEVER")
    assert "<a href" in untried["description_placeholders"]["notes"]
    assert "tells no serial number" in untried["description_placeholders"]["notes"]


async def test_why_a_pack_goes_by_its_address_is_said(line: FlowLine) -> None:
    """With some protocols only the first pack has a serial number to tell: to ask once more would change nothing."""
    line.plug(packs=3, speaks=PaceSpeaker, first=1)
    notes = (await line.scan())["description_placeholders"]["notes"]
    assert "these packs do not tell their serial number: 2, 3." in notes
    assert "ask once more" not in notes


async def test_a_line_that_is_not_asked_is_said_to_be_only_listened_to(line: FlowLine) -> None:
    """Whatever is under way, nothing will be sent."""
    line.plug(packs=1)
    flow = await line.submit(await line.open_form(), {"device": PORT, "shared": True})
    assert flow["progress_action"] == "overhearing"
    await line.scanned(flow)


async def test_a_form_that_follows_no_scan_offers_nothing(line: FlowLine) -> None:
    """Neither the first one nor one that refused the address."""
    form = await line.open_form()
    assert form["description_placeholders"]["capture"] == ""
    result = await line.submit(form, {"device": "gopher://example"})
    assert result["description_placeholders"]["capture"] == ""


async def test_what_was_heard_holds_no_serial_number(
    line: FlowLine, hass_client_no_auth: ClientSessionGenerator
) -> None:
    """Packs that say who they are and nothing else that can be read."""
    bus = line.plug(packs=2)
    bus.faults.add(Fault(kind=Kind.SILENCE, containing=b"4642"))
    result = await line.scan()
    assert result["errors"] == {"base": "unreadable"}
    text = await (await (await hass_client_no_auth()).get(_link(result))).text()
    for pack in bus.speaker.bank.packs.values():  # type: ignore[attr-defined]
        serial = pack.spec.serial.encode()
        for form in (serial, serial.hex().encode(), serial.hex().upper().encode().hex().encode()):
            assert form.decode().casefold() not in text.casefold()
