"""Setting up a pack over Bluetooth, in a simulated air: the way through the dialog, and packs that are there already."""

from collections.abc import AsyncGenerator, Iterator
import logging
from typing import Any

from homeassistant.config_entries import SOURCE_IGNORE, SOURCE_RECONFIGURE, ConfigEntry, ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_MODEL, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import device_registry as dr
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.lfp_battery import radio
from custom_components.lfp_battery.const import (
    CONF_ADDRESSES,
    CONF_ALLOW_HEATING,
    CONF_BAUDRATE,
    CONF_PACKS,
    CONF_UNVERIFIED,
    DOMAIN,
)
from custom_components.lfp_battery.findings import plain
from tests.flow_line import TEXTS, errors, fields, offered, readable
from tests.radio_line import ADDRESS, NAME, RadioLine
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.gatt.impostor import jbd_pack
from tests.simulator.gatt.server import CURRENT_PROFILE, GattPack
from tests.simulator.zeta import OLDER, VLRV, ZetaSpeaker

SECOND = "A4:C1:37:00:00:02"
WHO = f"**{NAME}** ({ADDRESS}, -60 dBm, good)"


@pytest.fixture
async def line(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[RadioLine]:
    """A proxy in a simulated air; every entry is unloaded at the end."""
    line = RadioLine(hass, monkeypatch)
    await line.start()
    yield line
    await line.stop()


# --- the way through -------------------------------------------------------------------------------------------------


async def test_a_pack_in_range_is_offered_looked_at_and_kept(line: RadioLine) -> None:
    """Home Assistant hears the advert, the dialog comes up by itself, and nothing is sent before somebody agrees."""
    pack = await line.pack()
    form = await line.discovered()
    assert form["step_id"] == "bluetooth_confirm"
    assert form["description_placeholders"]["who"] == WHO
    assert pack.sessions == 0

    progress = await line.submit(form, {})
    assert progress["progress_action"] == "over_bluetooth"
    assert progress["description_placeholders"] == {"who": WHO}
    result = await line.scanned(progress)
    assert result["step_id"] == "bluetooth_found"
    shown = result["description_placeholders"]
    assert (shown["who"], shown["cells"], shown["capacity"]) == (WHO, "8", "100.0 Ah")
    assert shown["voltage"].endswith(" V")
    assert shown["charge"].endswith(" %")
    assert fields(result) == {CONF_MODEL: "VLRV2560B", CONF_ALLOW_HEATING: None}

    result = await line.submit(result, {CONF_ALLOW_HEATING: False, CONF_MODEL: "VLRV2560B"})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    entry = result["result"]
    assert entry.title == "Voltgo VLRV2560B"
    assert entry.unique_id == ADDRESS
    assert entry.data[CONF_DEVICE] == f"bluetooth:{ADDRESS}"
    assert entry.data[CONF_PROTOCOL] == "zeta-1006"
    assert entry.data[CONF_BAUDRATE] is None
    assert list(entry.data[CONF_ADDRESSES]) == [1]
    assert entry.data[CONF_PACKS]["1"]["identifier"] == ADDRESS
    assert CONF_UNVERIFIED not in entry.data
    assert entry.options == {}
    assert entry.state is ConfigEntryState.LOADED
    assert not pack.speaker.forbidden
    assert not pack.touched


async def test_a_pack_is_chosen_from_the_list(line: RadioLine) -> None:
    """The one that may be a pack is there with its name and signal, and fills the field."""
    await line.pack()
    line.advert("11:22:33:44:55:66", local_name="Toothbrush")
    form = await line.open_radio_form()
    assert form["step_id"] == "bluetooth_pick"
    assert line.looked_around == 1
    assert offered(form) == {ADDRESS: f"{NAME} ({ADDRESS}, -60 dBm)"}
    assert fields(form)[CONF_DEVICE] == ADDRESS
    assert form["description_placeholders"]["seen"] == "Devices in range that may be packs: 1."
    progress = await line.submit(form, {CONF_DEVICE: ADDRESS})
    assert progress["description_placeholders"] == {"who": WHO}
    result = await line.scanned(progress)
    assert result["step_id"] == "bluetooth_found"
    result = await line.submit(result, {})
    assert result["title"] == "Voltgo Bluetooth"


async def test_where_nothing_is_in_range_an_address_can_be_typed(line: RadioLine) -> None:
    """The list is empty, and what helps is said."""
    form = await line.open_radio_form()
    assert offered(form) == {}
    assert fields(form)[CONF_DEVICE] == ""
    assert form["description_placeholders"]["seen"] == TEXTS["selector"]["advice"]["options"]["no_pack_in_range"]


@pytest.mark.parametrize("typed", [ADDRESS.lower(), "a4-c1-37-00-00-01", " A4C137000001 ", f"bluetooth:{ADDRESS}"])
@pytest.mark.parametrize("name", ["🔋 *Wohnmobil* | _1_", "Boat"])
async def test_a_pack_that_was_renamed_is_found_by_its_address(line: RadioLine, typed: str, name: str) -> None:
    """However the address is spelled, and whatever its owner called it."""
    await line.pack(name=name)
    result = await line.pick(typed)
    assert result["step_id"] == "bluetooth_found"
    assert result["description_placeholders"]["who"] == f"**{plain(name)}** ({ADDRESS}, -60 dBm, good)"
    result = await line.submit(result, {})
    assert result["result"].unique_id == ADDRESS
    assert result["title"] == "Voltgo Bluetooth"


@pytest.mark.parametrize(
    "typed", ["ZT-25.6V100Ah-0001", "A4:C1:37:00:00", "", "00:00:00:00:00:00", "A4:C1:37:00:00:0G", "🔋"]
)
async def test_what_is_no_address_is_refused_in_words(line: RadioLine, typed: str) -> None:
    """And the form is shown again with what was typed; a second attempt goes through."""
    await line.pack()
    form = await line.submit(await line.open_radio_form(), {CONF_DEVICE: typed})
    assert errors(form) == {"base": "bad_bluetooth_address"}
    assert fields(form)[CONF_DEVICE] == typed
    result = await line.scanned(await line.submit(form, {CONF_DEVICE: ADDRESS}))
    assert result["step_id"] == "bluetooth_found"
    assert line.looked_around == 1


async def test_a_name_that_turns_text_around_is_shown_without_that(line: RadioLine) -> None:
    """On the card, in the list and in the dialog; one that is nothing else is as good as none."""
    await line.pack(name="\u202eZT-\n1")
    form = await line.open_radio_form()
    assert offered(form) == {ADDRESS: f"ZT-1 ({ADDRESS}, -60 dBm)"}
    await line.discover(line.info(SECOND, name="\u202e"))
    (flow,) = [
        flow
        for flow in line.hass.config_entries.flow.async_progress_by_handler(DOMAIN)
        if flow["context"].get("unique_id") == SECOND
    ]
    assert flow["context"]["title_placeholders"] == {"name": SECOND}


async def test_a_name_breaks_nothing_and_reaches_no_log(line: RadioLine, caplog: pytest.LogCaptureFixture) -> None:
    """Of 22 characters, emoji and Markdown among them: escaped in the dialog, in no title, and not in the log."""
    name = "<b>🔋|`x`*_[a](b)"
    caplog.set_level(logging.INFO)
    logging.getLogger("custom_components.lfp_battery").setLevel(logging.INFO)
    await line.pack(name=name)
    result = await line.pick()
    assert result["description_placeholders"]["who"].startswith(r"**\<b\>🔋\|\`x\`\*\_\[a\]\(b\)** (")
    entry = (await line.submit(result, {}))["result"]
    await line.settle(20)
    assert "🔋" not in entry.title
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("custom_components")]
    assert not [message for message in ours if name in message or ADDRESS in message]


# --- heating ---------------------------------------------------------------------------------------------------------


async def test_the_heating_is_switched_only_if_the_person_says_yes(line: RadioLine) -> None:
    """The form says what is known and what is not; nothing is written by any of it."""
    pack = await line.pack()
    said = TEXTS["config"]["step"]["bluetooth_found"]["data_description"][CONF_ALLOW_HEATING]
    assert "not documented" in said
    assert "nobody has confirmed it" in said
    assert said == TEXTS["options"]["step"]["bluetooth"]["data_description"][CONF_ALLOW_HEATING]
    assert len(said.split()) < 60
    entry = await line.add_pack(allow_heating=True)
    assert entry.options == {CONF_ALLOW_HEATING: True}
    await line.settle(60)
    assert pack.speaker.writes == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", [{"registers": 39}, {"generation": OLDER}])
async def test_the_question_is_asked_only_where_it_can_be_done(line: RadioLine, how: dict[str, Any]) -> None:
    """Not of a pack that does not say how its heating is set, nor where no command is known."""
    await line.pack(**how)
    result = await line.pick()
    assert result["step_id"] == "bluetooth_found"
    assert CONF_ALLOW_HEATING not in fields(result)
    entry = (await line.submit(result, {}))["result"]
    assert entry.data[CONF_PROTOCOL] == ("zeta-1000" if "generation" in how else "zeta-1006")
    assert entry.options == {}


# --- who is there already --------------------------------------------------------------------------------------------


async def test_a_pack_that_is_set_up_is_neither_offered_nor_listed(line: RadioLine) -> None:
    """Nor taken a second time by its address."""
    await line.pack()
    entry = await line.add_pack()
    form = await line.open_radio_form()
    assert offered(form) == {}
    result = await line.submit(form, {CONF_DEVICE: ADDRESS.lower()})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "pack_already_configured"
    assert result["description_placeholders"] == {"title": entry.title}
    result = await line.discover(line.info(ADDRESS))
    assert result["reason"] == "battery_already_configured"


async def test_a_pack_that_is_being_set_up_is_not_offered_again(line: RadioLine) -> None:
    """One dialog a pack."""
    await line.pack()
    await line.discovered()
    result = await line.hass.config_entries.flow.async_init(
        DOMAIN, context={"source": "bluetooth"}, data=line.info(ADDRESS)
    )
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_in_progress"


async def test_a_pack_that_is_offered_can_be_set_up_by_hand(line: RadioLine) -> None:
    """The dialog that came up by itself goes away."""
    await line.pack()
    await line.discovered()
    await line.add_pack()
    assert line.hass.config_entries.flow.async_progress_by_handler(DOMAIN) == []


async def test_a_pack_that_is_ignored_can_be_set_up_by_hand(line: RadioLine) -> None:
    """It is offered no more, but listed."""
    MockConfigEntry(domain=DOMAIN, unique_id=ADDRESS, source=SOURCE_IGNORE, data={}).add_to_hass(line.hass)
    await line.pack()
    await line.hass.async_block_till_done(wait_background_tasks=True)
    assert line.hass.config_entries.flow.async_progress_by_handler(DOMAIN) == []
    form = await line.open_radio_form()
    assert list(offered(form)) == [ADDRESS]
    result = await line.scanned(await line.submit(form, {CONF_DEVICE: ADDRESS}))
    result = await line.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert [entry.unique_id for entry in line.hass.config_entries.async_entries(DOMAIN)] == [ADDRESS]


async def test_a_pack_whose_entry_is_deleted_is_offered_again(line: RadioLine) -> None:
    """Without a restart, and also if it had been ignored and then added by hand."""
    await line.pack()
    form = await line.discovered()
    manager = line.hass.config_entries
    await manager.flow.async_init(DOMAIN, context={"source": SOURCE_IGNORE}, data={"unique_id": ADDRESS, "title": NAME})
    assert form["flow_id"] not in {flow["flow_id"] for flow in manager.flow.async_progress()}
    entry = await line.add_pack()
    assert manager.async_entries(DOMAIN) == [entry]
    await line.drive(manager.async_remove(entry.entry_id))
    assert (await line.discovered())["step_id"] == "bluetooth_confirm"


async def test_a_second_pack_is_an_entry_of_its_own(line: RadioLine) -> None:
    """Two of one model are told apart by their addresses."""
    await line.pack()
    await line.pack(SECOND, "ZT-25.6V100Ah-0002")
    first = await line.add_pack(ADDRESS, model="VLRV2560B")
    second = await line.add_pack(SECOND, model="VLRV2560B")
    assert (first.title, second.title) == ("Voltgo VLRV2560B", "Voltgo VLRV2560B (00:02)")
    assert (first.unique_id, second.unique_id) == (ADDRESS, SECOND)
    assert {first.state, second.state} == {ConfigEntryState.LOADED}


async def test_two_dialogs_for_one_pack_do_not_make_two_entries(line: RadioLine) -> None:
    """The second ends the first."""
    await line.pack()
    first = await line.pick()
    second = await line.pick()
    assert first["step_id"] == second["step_id"] == "bluetooth_found"
    flows = line.hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert first["flow_id"] not in {flow["flow_id"] for flow in flows}
    assert (await line.submit(second, {}))["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize(
    ("device", "protocol", "cells", "alike"),
    [
        ("/dev/ttyUSB0", "eg4ll-zt-native", 8, True),
        ("/dev/ttyUSB0", "eg4ll-zt-native", None, True),
        ("/dev/ttyUSB0", "eg4ll-zt-native", 16, False),
        ("slcan:/dev/ttyACM0", "pylon", None, True),
        ("slcan:/dev/ttyACM0", "pylon", 16, False),
        (f"bluetooth:{SECOND}", "zeta-1006", 8, False),
    ],
)
async def test_a_battery_that_may_be_set_up_over_another_link_is_asked_about(
    line: RadioLine, device: str, protocol: str, cells: int | None, alike: bool
) -> None:
    """Nothing tells whether it is the same one, unless it has more cells or the address of another radio."""
    record = {"cells": cells} if cells else {}
    MockConfigEntry(
        domain=DOMAIN,
        title="Bank *1*",
        data={
            CONF_DEVICE: device,
            CONF_PROTOCOL: protocol,
            CONF_BAUDRATE: 9600,
            CONF_ADDRESSES: [1],
            CONF_PACKS: {"1": record},
        },
    ).add_to_hass(line.hass)
    await line.pack()
    result = await line.pick()
    assert (r"Bank \*1\*" in result["description_placeholders"]["notes"]) is alike


# --- reconfiguring ---------------------------------------------------------------------------------------------------


async def _reconfigure(line: RadioLine, entry: ConfigEntry) -> Any:
    return readable(
        await line.hass.config_entries.flow.async_init(
            DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
        )
    )


async def test_the_same_pack_can_be_looked_at_anew(line: RadioLine) -> None:
    """What was decided stays; what it is now is taken in, also when it speaks the other generation by now."""
    pack = await line.pack()
    entry = await line.add_pack(allow_heating=True, model="VLRV2560B")
    identity = _identifiers(line, entry)
    form = await _reconfigure(line, entry)
    assert form["step_id"] == "reconfigure_bluetooth"
    assert fields(form)[CONF_DEVICE] == ADDRESS
    older = ZetaSpeaker(SimBank(make_packs(1, VLRV, first=1), line.clock), generation=OLDER)
    await line.replace(pack, GattPack(line.air, ADDRESS, NAME, older))
    result = await line.scanned(await line.submit(form, {CONF_DEVICE: ADDRESS}))
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "reconfigure_successful"
    await line.settle(20)
    assert entry.state is ConfigEntryState.LOADED
    assert entry.data[CONF_PROTOCOL] == "zeta-1000"
    assert entry.data[CONF_PACKS]["1"]["identifier"] == ADDRESS
    assert entry.unique_id == ADDRESS
    assert entry.options == {CONF_ALLOW_HEATING: True}
    assert _identifiers(line, entry) == identity


@pytest.mark.parametrize("delay", [0.0, 0.3])
async def test_a_dialog_is_told_of_nothing_but_the_end(line: RadioLine, delay: float) -> None:
    """The text beside the bar is the same all the while, and a second fetch at the end would be an error."""
    await line.pack()
    entry = await line.add_pack()
    line.call_out()
    form = await _reconfigure(line, entry)
    seen = await line.as_a_browser(await line.submit(form, {CONF_DEVICE: ADDRESS}), delay)
    assert [one["reason"] for one in seen] == ["reconfigure_successful"]


async def test_what_is_not_known_of_a_pack_is_left_out(line: RadioLine) -> None:
    """Beside the bar stands the address that was typed, until the pack is heard, and no dash."""
    form = await line.open_radio_form()
    progress = await line.submit(form, {CONF_DEVICE: ADDRESS})
    assert progress["description_placeholders"] == {"who": f"**{ADDRESS}**"}
    await line.pack(name="")
    line.hass.config_entries.flow.async_abort(progress["flow_id"])
    nameless = await line.discover(line.info(SECOND, name=SECOND))
    assert nameless["description_placeholders"]["who"] == f"**{SECOND}** (-60 dBm, good)"


def _identifiers(line: RadioLine, entry: ConfigEntry) -> set[tuple[str, str]]:
    devices = dr.async_entries_for_config_entry(dr.async_get(line.hass), entry.entry_id)
    return {identifier for device in devices for identifier in device.identifiers}


async def test_another_address_is_another_pack(line: RadioLine) -> None:
    """Refused in words before anything is connected; the entry stays as it was and goes on."""
    await line.pack()
    other = await line.pack(SECOND, "ZT-25.6V100Ah-0002")
    entry = await line.add_pack()
    form = await line.submit(await _reconfigure(line, entry), {CONF_DEVICE: SECOND})
    assert errors(form) == {"base": "another_address"}
    assert form["description_placeholders"]["title"] == entry.title
    assert other.sessions == 0
    form = await line.submit(form, {CONF_DEVICE: "nonsense"})
    assert errors(form) == {"base": "bad_bluetooth_address"}
    assert entry.state is ConfigEntryState.LOADED
    assert entry.data[CONF_DEVICE] == f"bluetooth:{ADDRESS}"


async def test_a_pack_that_is_not_one_of_ours_any_more_leaves_the_entry_as_it_was(line: RadioLine) -> None:
    """Another board under the same address: the dialog ends, and the entry is set up again as before."""
    pack = await line.pack()
    entry = await line.add_pack()
    form = await _reconfigure(line, entry)
    await line.replace(pack, jbd_pack(line.air, ADDRESS))
    result = await line.scanned(await line.submit(form, {CONF_DEVICE: ADDRESS}))
    assert result["reason"] == "foreign_battery"
    await line.settle(5)
    assert entry.data[CONF_PROTOCOL] == "zeta-1006"
    assert entry.state is not ConfigEntryState.NOT_LOADED


async def test_an_entry_that_was_removed_cannot_be_reconfigured(line: RadioLine) -> None:
    """Its open dialog says so."""
    await line.pack()
    entry = await line.add_pack()
    form = await _reconfigure(line, entry)
    await line.drive(line.hass.config_entries.async_remove(entry.entry_id))
    assert line.hass.config_entries.flow.async_progress_by_handler(DOMAIN) == [] or (
        (await line.submit(form, {CONF_DEVICE: ADDRESS}))["reason"] == "entry_removed"
    )


# --- adverts ---------------------------------------------------------------------------------------------------------


def _adverts() -> Iterator[tuple[str | None, list[int], bool]]:
    yield "ZT-25.6V100Ah-0001", [], True
    yield "BB-51.2V100Ah-0001", [], True
    yield "VLRV2560B", [], True
    yield "Voltgo 7", [], True
    yield "Z12NNNNNNN", [0x1000], True
    yield "Boat", [CURRENT_PROFILE.advertised], True
    yield "Boat", [], False
    yield None, [0x180F], False
    yield "zt-25", [], False


@pytest.mark.parametrize(("name", "services", "may_be"), _adverts())
def test_candidates_are_known_by_name_or_service(name: str | None, services: list[int], may_be: bool) -> None:
    """As many as are on record, and nothing else."""
    uuids = [f"{service:08x}-0000-1000-8000-00805f9b34fb" for service in services]
    assert radio.may_be_a_pack(name, uuids) is may_be


async def test_the_strongest_signal_is_listed_first(line: RadioLine) -> None:
    """Of several that are likely none is chosen for the person."""
    line.advert(SECOND, rssi=-90, local_name="ZT-25.6V100Ah-0002")
    line.advert(ADDRESS, rssi=-50, local_name=NAME)
    form = await line.open_radio_form()
    assert list(offered(form)) == [ADDRESS, SECOND]
    assert fields(form)[CONF_DEVICE] == ""
    assert form["description_placeholders"]["seen"] == "Devices in range that may be packs: 2."
    assert radio.rssi(line.hass, ADDRESS) == -50
    assert radio.rssi(line.hass, "A4:C1:37:00:00:03") is None


_SHARED = "0000ff00-0000-1000-8000-00805f9b34fb"
_THIRD = "A4:C1:37:00:00:03"


async def test_what_has_only_a_service_that_others_have_is_listed_last(line: RadioLine) -> None:
    """Under its name, or else its address; it is not counted, and the one that is likely fills the field."""
    line.advert(SECOND, rssi=-90, local_name="ZT-25.6V100Ah-0002")
    line.advert(ADDRESS, rssi=-50, service_uuids=[_SHARED])
    line.advert(_THIRD, rssi=-55, local_name="xiaoxiang BMS", service_uuids=[_SHARED])
    form = await line.open_radio_form()
    assert list(offered(form).items()) == [
        (SECOND, f"ZT-25.6V100Ah-0002 ({SECOND}, -90 dBm)"),
        (ADDRESS, f"{ADDRESS} (-50 dBm)"),
        (_THIRD, f"xiaoxiang BMS ({_THIRD}, -55 dBm)"),
    ]
    assert fields(form)[CONF_DEVICE] == SECOND
    assert form["description_placeholders"]["seen"] == "Devices in range that may be packs: 1."


async def test_what_is_not_likely_is_never_chosen_for_the_person(line: RadioLine) -> None:
    """Also where nothing else is in range: it may be a renamed pack as well as another maker's battery."""
    line.advert(ADDRESS, rssi=-50, local_name="Boat", service_uuids=[_SHARED])
    form = await line.open_radio_form()
    assert list(offered(form)) == [ADDRESS]
    assert fields(form)[CONF_DEVICE] == ""
    assert form["description_placeholders"]["seen"] == TEXTS["selector"]["advice"]["options"]["others_in_range"]


async def test_what_did_not_answer_in_this_dialog_counts_no_more(line: RadioLine) -> None:
    """It can still be tried again."""
    silent = await line.pack()
    silent.silence = True
    await line.pack(SECOND, "ZT-25.6V100Ah-0002")
    form = await line.open_radio_form()
    assert form["description_placeholders"]["seen"] == "Devices in range that may be packs: 2."
    form = await line.scanned(await line.submit(form, {CONF_DEVICE: ADDRESS}))
    assert errors(form) == {"base": "no_answer"}
    assert set(offered(form)) == {ADDRESS, SECOND}
    assert form["description_placeholders"]["seen"] == "Devices in range that may be packs: 1."


@pytest.mark.parametrize(("rssi", "quality"), [(-65, "good"), (-66, "fair"), (-80, "fair"), (-81, "weak")])
async def test_a_signal_is_called_by_a_name(line: RadioLine, rssi: int, quality: str) -> None:
    """Because dBm tell most people nothing."""
    result = await line.discover(line.info(ADDRESS, rssi=rssi))
    assert result["description_placeholders"]["who"] == f"**{NAME}** ({ADDRESS}, {rssi} dBm, {quality})"
