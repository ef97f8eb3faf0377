"""Moving a battery to another protocol: who is who there, what is asked first, and what becomes of the rest."""

from collections.abc import Callable
from typing import Any

from homeassistant.config_entries import ConfigEntry, ConfigEntryState
from homeassistant.const import CONF_DEVICE, CONF_MODEL, CONF_PROTOCOL
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import device_registry as dr
import pytest

from custom_components.lfp_battery import async_remove_config_entry_device
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.const import (
    CONF_ADDRESSES,
    CONF_BANK,
    CONF_BAUDRATE,
    CONF_MOVED,
    CONF_OTHER_PROTOCOL,
    CONF_PACK_COUNT,
    CONF_PACKS,
    DOMAIN,
)
from custom_components.lfp_battery.identity import Record
from custom_components.lfp_battery.moving import Same, left_behind, merged, same_battery
from tests.flow_line import TEXTS, FlowLine
from tests.simulator.bank import SimBank
from tests.simulator.modbus import ModbusSpeaker
from tests.simulator.modbus_cvte import CvteMap
from tests.simulator.modbus_growatt import Dialect, GrowattMap
from tests.simulator.modbus_zt import ZtMap
from tests.simulator.pace import PaceSpeaker
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pylon import Profile, PylonSpeaker
from tests.simulator.speaker import Speaker

ELSEWHERE = "/dev/ttyELSE"
PYLON, PACE, V35, GROWATT = "pylon-rs485", "pace-v25", "pylon-rs485-v35", "growatt-rs485"
ZETA = "zeta-1006"
NOTES = TEXTS["selector"]["note"]["options"]

type Names = dict[int, str | None]


def _packs(first: int, count: int = 3) -> dict[int, SimPack]:
    """The same packs wherever they are counted from; each has a charge of its own."""
    return {
        first + place: SimPack(PackSpec(serial=f"H{place}REALPACK00001", soc=20.0 + 30 * place, seed=place))
        for place in range(count)
    }


def _growatt(bank: SimBank) -> Speaker:
    return ModbusSpeaker(bank, GrowattMap(Dialect.ZT))


def _v35(bank: SimBank) -> Speaker:
    return PylonSpeaker(bank, Profile.V35)


async def _look(line: FlowLine, entry: ConfigEntry, speaks: Callable[[SimBank], Speaker], first: int = 1) -> Any:
    """Plug the same packs in elsewhere, in another protocol; what the person sees after the scan."""
    line.plug(ELSEWHERE, packs=_packs(first), speaks=speaks)
    return await line.scanned(await line.reconfigure(entry, ELSEWHERE))


async def _go_on(line: FlowLine, form: Any, **sent: Any) -> None:
    result = await line.submit(form, sent)
    assert result["reason"] == "reconfigure_successful"
    await line.settle(60)


# --- who is who ------------------------------------------------------------------------------------------------------


async def test_each_pack_keeps_its_serial_number_and_its_own_values(hass: HomeAssistant, line: FlowLine) -> None:
    """Address 2 was the first pack and is the second: nobody's values are shown as another's."""
    line.plug(packs=_packs(2))
    entry = await line.add()
    await line.settle(20)
    before = {p.identity: round(p.state.soc or 0) for p in entry.runtime_data.packs.values()}
    devices = {d.id for d in dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)}
    result = await _look(line, entry, PaceSpeaker)
    assert result["reason"] == "reconfigure_successful"
    await line.settle(60)
    assert entry.data[CONF_PROTOCOL] == PACE
    packs = entry.runtime_data.packs
    assert sorted(packs) == [1, 2, 3]
    assert all(pack.online and pack.record.serial == pack.identity for pack in packs.values())
    after = {pack.identity: pack.state.soc for pack in packs.values()}
    assert after == pytest.approx(before, abs=1.5)
    assert {d.id for d in dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)} == devices


def _data(protocol: str, packs: Names, *, bank: str | None = None, **more: Any) -> dict[str, Any]:
    def record(name: str | None) -> dict[str, Any]:
        return {"identifier": name, "serial": name, "fields": ["soc"]} if name else {"fields": ["soc"]}

    return {
        CONF_PROTOCOL: protocol,
        CONF_BAUDRATE: 9600,
        CONF_ADDRESSES: list(packs) or [1],
        CONF_PACKS: {str(address): record(name) for address, name in packs.items()},
        **({CONF_BANK: record(bank)} if bank is not None else {}),
        **more,
    }


A, B, C, N = "PACKA00001", "PACKB00002", "PACKC00003", "PACKN00009"


@pytest.mark.parametrize(
    ("known", "found", "kept", "left"),
    [
        ({2: A, 3: B}, {1: A, 2: B}, {1: A, 2: B}, ""),
        ({2: A, 3: B}, {1: B, 2: A}, {1: B, 2: A}, ""),
        ({2: A, 3: B, 4: C}, {1: A, 2: B}, {1: A, 2: B, 3: C}, ""),  # asleep, and the others kept their numbers
        ({2: A, 3: B, 4: C}, {1: B, 2: A}, {1: B, 2: A}, "3"),  # asleep, and numbers prove nothing
        ({2: A, 3: B}, {1: A, 2: None}, {1: A, 2: B}, ""),  # not read this time
        ({2: A, 3: B}, {1: None, 2: A}, {1: "entry_pace-v25_1", 2: A}, "2"),
        ({2: A, 3: B}, {1: A, 2: N}, {1: A, 2: N}, "2"),  # another took its place
        ({2: None, 3: None}, {1: None, 2: None}, {1: "entry_2", 2: "entry_3"}, ""),  # by number, on the person's word
        ({2: None, 3: A}, {1: A, 2: None}, {1: A, 2: "entry_pace-v25_2"}, "1"),
        ({2: None}, {1: None, 2: None}, {1: "entry_2", 2: "entry_pace-v25_2"}, ""),  # address 2 was another pack
        ({0x12: A}, {1: A}, {1: A}, ""),
        ({0x12: A, 0x22: B}, {1: N}, {1: N}, "2-1, 3-1"),  # no such number in this protocol
    ],
)
def test_records_go_by_serial_number_then_by_number_and_never_by_address(
    known: Names, found: Names, kept: Names, left: str
) -> None:
    """What would contradict a serial number begins anew, and so does all that nothing places."""
    before = _data(PYLON, known)
    data = merged(before, _data(PACE, found))
    records = {int(address): Record.from_mapping(record) for address, record in data[CONF_PACKS].items()}
    assert {address: record.identity("entry", address) for address, record in records.items()} == kept
    assert left_behind(before, data) == left
    assert data[CONF_ADDRESSES] == sorted({*found, *kept})


def test_what_was_reported_in_the_other_protocol_is_learned_anew() -> None:
    """What a pack is stays known; what it never reports here gets no entity that pretends."""
    known = _data(PYLON, {2: A, 3: B})
    for record in known[CONF_PACKS].values():
        record.update(model="US5000", fields=["soh", "soc"], conditions=["other"])
        record["probes"] = [0, 1]
    packs = merged(known, _data(PACE, {1: A}))[CONF_PACKS]
    unlearned = {"model": "US5000", "probes": [], "fields": [], "conditions": []}
    assert packs["1"] == {"identifier": A, "serial": A, **unlearned, "fields": ["soc"]}
    assert packs["2"] == {"identifier": B, "serial": B, **unlearned}


# --- the bank --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("speaks", "first"), [(_v35, 2), (lambda bank: ModbusSpeaker(bank, CvteMap()), 1)])
async def test_a_bank_is_asked_at_its_own_address_whatever_packs_there_were(
    hass: HomeAssistant, line: FlowLine, speaks: Callable[[SimBank], Speaker], first: int
) -> None:
    """The devices of single packs stay without values, say so beforehand, and can be deleted without harm."""
    line.plug(packs=_packs(1), speaks=PaceSpeaker)
    entry = await line.add()
    await line.settle(20)
    form = await _look(line, entry, speaks, first)
    assert form["step_id"] == "confirm_move"
    assert NOTES["packs_as_one"].format(packs="1, 2, 3") in form["description_placeholders"]["notes"]
    await _go_on(line, form)
    assert entry.data[CONF_PACKS] == {}
    assert list(entry.data[CONF_ADDRESSES]) == [first]
    assert entry.runtime_data.bank.online
    assert entry.runtime_data.packs == {}

    old = dr.async_get(hass).async_get_device_by_identifier((DOMAIN, "H0REALPACK00001"), entry.entry_id)
    assert old is not None
    assert await async_remove_config_entry_device(hass, entry, old)
    await line.drive(hass.config_entries.async_unload(entry.entry_id))
    assert await async_remove_config_entry_device(hass, entry, old)
    await line.drive(hass.config_entries.async_setup(entry.entry_id))
    await line.settle(20)
    assert list(entry.data[CONF_ADDRESSES]) == [first]
    assert entry.runtime_data.bank.online


def test_a_bank_that_was_not_heard_keeps_its_address() -> None:
    """Somebody else asks on the new line, and has not been answered yet."""
    known = _data(V35, {}, bank=A) | {CONF_ADDRESSES: [0x12]}
    assert merged(known, _data(V35, {}) | {CONF_ADDRESSES: [2]})[CONF_ADDRESSES] == [0x12]
    assert merged(known, _data(V35, {}, bank=A) | {CONF_ADDRESSES: [2]})[CONF_ADDRESSES] == [2]


async def test_where_capacities_run_over_the_number_of_packs_is_asked(line: FlowLine) -> None:
    """The packs that were known are offered as an answer, and the answers are kept as options."""
    line.plug(packs=_packs(2))
    entry = await line.add()
    form = await _look(line, entry, _growatt)
    assert form["step_id"] == "confirm_move"
    fields = {str(name): name.description for name in form["data_schema"].schema}
    assert fields[CONF_PACK_COUNT] == {"suggested_value": 3}
    again = await line.submit(form, {"pack_count": 2.5})
    assert again["errors"] == {"pack_count": "not_whole"}
    await _go_on(line, form, pack_count=3.0, model="ES51.2-100LP")
    assert entry.options[CONF_PACK_COUNT] == 3
    assert entry.options[CONF_MODEL] == "ES51.2-100LP"
    assert entry.runtime_data.bank.online
    # on the way to another port there is nothing new to be asked
    line.plug(packs=_packs(1), speaks=_growatt)
    result = await line.scanned(await line.reconfigure(entry))
    assert result["reason"] == "reconfigure_successful"
    assert entry.options[CONF_PACK_COUNT] == 3
    await line.settle(20)


async def test_the_model_that_was_chosen_is_offered_again(hass: HomeAssistant, line: FlowLine) -> None:
    """It says how large one pack is."""
    line.plug(packs=_packs(2))
    entry = await line.add()
    hass.config_entries.async_update_entry(entry, options={CONF_MODEL: "ES51.2-100LP"})
    form = await _look(line, entry, _growatt)
    fields = {str(name): name.description for name in form["data_schema"].schema}
    assert fields[CONF_MODEL] == {"suggested_value": "ES51.2-100LP"}
    await _go_on(line, form)
    assert entry.options[CONF_MODEL] == "ES51.2-100LP"


async def test_a_scan_for_a_known_battery_asks_where_its_packs_were(hass: HomeAssistant, line: FlowLine) -> None:
    """Also beyond a gap at which it would else stop looking."""
    packs = {address: SimPack(PackSpec(serial=f"H{address}FARPACK00001")) for address in (2, 9)}
    line.plug(packs={2: packs[2]})
    entry = await line.add()
    hass.config_entries.async_update_entry(entry, data={**entry.data, CONF_ADDRESSES: [2, 9]})
    bus = line.plug(ELSEWHERE, packs=packs)
    result = await line.scanned(await line.reconfigure(entry, ELSEWHERE))
    assert result["reason"] == "reconfigure_successful"
    assert entry.data[CONF_PACKS]["9"]["identifier"] == "H9FARPACK00001"
    assert any(question[3:5] == b"09" for _, question in bus.requests)
    await line.settle(20)


def test_what_was_said_of_the_old_line_does_not_go_along() -> None:
    """Whoever asked there in another protocol does not ask here."""
    known = _data(PYLON, {2: A}) | {CONF_OTHER_PROTOCOL: GROWATT, CONF_MODEL: "US5000"}
    data = merged(known, _data(PYLON, {2: A}))
    assert CONF_OTHER_PROTOCOL not in data
    assert data[CONF_MODEL] == "US5000"


# --- the same battery or not -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "found", "same"),
    [
        (_data(PYLON, {2: A}), _data(PACE, {1: A}), Same.YES),
        (_data(PYLON, {2: A}), _data(PACE, {2: N}), Same.NO),
        (_data(PYLON, {2: A}), _data(PACE, {2: None}), Same.UNPROVEN),
        (_data(PYLON, {2: None}), _data(V35, {}, bank=None), Same.UNPROVEN),
        (_data(PYLON, {2: None}), _data(PYLON, {2: A}), Same.YES),
        (_data(PYLON, {2: None}), _data(PYLON, {3: None}), Same.UNPROVEN),
        (_data(PYLON, {}), _data(PACE, {1: N}), Same.YES),
        (_data(PYLON, {2: A}), _data(GROWATT, {}, bank=A[:8]), Same.UNPROVEN),  # has room for no more,
        (_data(GROWATT, {}, bank=A[:8]), _data(PYLON, {2: A}), Same.UNPROVEN),  # and all of one make may begin so
        (_data(GROWATT, {}, bank=A[:8]), _data(GROWATT, {}, bank=A[:8]), Same.UNPROVEN),
        (_data(GROWATT, {}, bank=A[:7]), _data(GROWATT, {}, bank=A[:7]), Same.YES),
        (_data(PYLON, {2: A}), _data(GROWATT, {}, bank=N[:8]), Same.NO),
        (_data(PYLON, {2: A}), _data(PACE, {1: A[:8]}), Same.NO),
        # eight noughts are no serial number, even where they begin one
        (_data(PYLON, {2: "0000000012345678"}), _data(GROWATT, {}, bank="00000000"), Same.UNPROVEN),
    ],
)
def test_serial_numbers_decide_as_far_as_they_are_given_and_addresses_within_one_protocol(
    known: dict[str, Any], found: dict[str, Any], same: Same
) -> None:
    """What neither speaks for nor against it is left to the person."""
    assert same_battery(known, found) is same


def test_growatt_has_room_for_half_a_serial_number() -> None:
    """The one protocol that cuts them (modbus-rtu.md section 3: four words)."""
    assert {name for name, protocol in POLLED.items() if protocol.serial_room is not None} == {GROWATT}
    assert POLLED[GROWATT].serial_room == 8


async def test_who_does_not_say_who_it_is_is_the_same_on_the_persons_word(hass: HomeAssistant, line: FlowLine) -> None:
    """The entry goes on while the question stands; closed, nothing has changed, and answered, packs go by number."""
    bus = line.plug(packs=_packs(2))
    entry = await line.add()
    before = dict(entry.data)
    form = await _look(line, entry, lambda bank: ModbusSpeaker(bank, ZtMap()))
    assert form["step_id"] == "confirm_move"
    notes = form["description_placeholders"]["notes"]
    assert NOTES["unproven"].format(title=entry.title) in notes
    assert NOTES["by_number"] in notes
    assert list(form["data_schema"].schema) == []
    await line.settle(10)
    assert entry.state is ConfigEntryState.LOADED
    assert bus.port.line is not None
    assert entry.data == before
    hass.config_entries.flow.async_abort(form["flow_id"])
    await line.settle(10)
    assert entry.data == before
    assert entry.state is ConfigEntryState.LOADED

    await _go_on(line, await _look(line, entry, lambda bank: ModbusSpeaker(bank, ZtMap())))
    packs = entry.runtime_data.packs
    assert {a: pack.identity for a, pack in packs.items()} == {a: f"H{a - 1}REALPACK00001" for a in (1, 2, 3)}
    assert all(pack.online for pack in packs.values())


async def test_a_battery_that_gives_other_serial_numbers_is_refused_in_any_protocol(
    hass: HomeAssistant, line: FlowLine
) -> None:
    """Also when the entry learned who it has only while the question stood."""
    line.plug(packs=_packs(2))
    entry = await line.add()
    line.plug(ELSEWHERE, packs={1: SimPack(PackSpec(serial="HSTRANGER00001"))}, speaks=PaceSpeaker)
    result = await line.scanned(await line.reconfigure(entry, ELSEWHERE))
    assert result["reason"] == "another_battery"
    await line.settle(15)

    known = entry.data
    hass.config_entries.async_update_entry(entry, data={**known, CONF_PACKS: {"2": {"fields": ["soc"]}}})
    await line.drive(hass.config_entries.async_unload(entry.entry_id))
    form = await line.scanned(await line.reconfigure(entry, ELSEWHERE))
    assert form["step_id"] == "confirm_move"
    hass.config_entries.async_update_entry(entry, data=known)
    result = await line.submit(form, {})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "another_battery"


async def test_a_pack_without_a_serial_number_that_appears_later_is_none_of_the_old_ones(
    hass: HomeAssistant, line: FlowLine
) -> None:
    """Its address may have been another pack's in the protocol before."""
    line.plug(packs={2: SimPack(PackSpec(serial="0000000000000000"))})
    entry = await line.add()
    await line.settle(20)
    packs = {place: SimPack(PackSpec(serial="0000000000000000", seed=place)) for place in (1, 2)}
    packs[2].silent = True
    line.plug(ELSEWHERE, packs=packs, speaks=lambda bank: ModbusSpeaker(bank, ZtMap()))
    await _go_on(line, await line.scanned(await line.reconfigure(entry, ELSEWHERE)))
    assert entry.data[CONF_MOVED] is True
    packs[2].silent = False
    await line.settle(400)
    assert {address: pack.identity for address, pack in entry.runtime_data.packs.items()} == {
        1: f"{entry.entry_id}_2",
        2: f"{entry.entry_id}_eg4ll-zt-native_2",
    }


async def test_the_same_battery_over_a_second_link_is_recognised_by_half_its_serial_number(line: FlowLine) -> None:
    """Its packs are set up already; the bank that speaks for them is one more set of devices."""
    line.plug(packs=_packs(2))
    first = await line.add()
    await line.settle(20)
    line.plug(ELSEWHERE, packs=_packs(1), speaks=lambda bank: ModbusSpeaker(bank, GrowattMap(Dialect.DOCUMENTED)))
    form = await line.scan(ELSEWHERE)
    assert form["step_id"] == "confirm_twice"
    assert form["description_placeholders"]["titles"] == first.title
    assert form["description_placeholders"]["device"] == ELSEWHERE
    result = await line.submit(form, {})
    assert result["result"].data[CONF_DEVICE] == ELSEWHERE
    await line.settle(20)


# --- over Bluetooth --------------------------------------------------------------------------------------------------


def test_over_bluetooth_the_address_is_the_battery() -> None:
    """Whatever else agrees or differs: nothing else that such a pack says is its own."""
    known = {**_data(ZETA, {1: "A4:C1:37:00:00:01"}), CONF_DEVICE: "bluetooth:A4:C1:37:00:00:01"}
    older = {**known, CONF_PROTOCOL: "zeta-1000"}
    assert same_battery(known, known) is Same.YES
    assert same_battery(known, older) is Same.YES
    assert same_battery(known, {**known, CONF_DEVICE: "bluetooth:A4:C1:37:00:00:02"}) is Same.NO
    assert same_battery({**_data(PYLON, {2: A}), CONF_DEVICE: "/dev/ttyUSB0"}, known) is Same.NO


def test_over_bluetooth_a_pack_stays_who_it_is_in_the_other_generation() -> None:
    """Its device and its history go on."""
    known = {**_data(ZETA, {1: "A4:C1:37:00:00:01"}), CONF_DEVICE: "bluetooth:A4:C1:37:00:00:01"}
    found = {**known, CONF_PROTOCOL: "zeta-1000"}
    data = merged(known, found)
    assert Record.from_mapping(data[CONF_PACKS]["1"]).identity("entry", 1) == "A4:C1:37:00:00:01"
    assert left_behind(known, data) == ""
