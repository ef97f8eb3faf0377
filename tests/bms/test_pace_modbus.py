"""The PACE Modbus map: V1.3, its newer layout, and the firmware that puts percentages into the high byte."""

from typing import Any

import pytest

from custom_components.lfp_battery.bms.errors import FrameError, RefusedError
from custom_components.lfp_battery.bms.model import Alarm, Condition, Mode, PackState, Severity
from custom_components.lfp_battery.bms.protocols import DECODERS, POLLED
from custom_components.lfp_battery.bms.protocols.base import Decoded
from custom_components.lfp_battery.bms.protocols.modbus.pace import PaceModbus, percentage
from tests.simulator.bank import make_packs
from tests.simulator.modbus import ascii_words, question, sealed
from tests.simulator.modbus_pace import Dialect, PaceMap
from tests.simulator.pack import PackSpec

from .matrix import differences
from .modbus_site import Site, all_polls, answer, captured, conditions, window
from .mutation import Fault, Sample, run

NAME = "pace-modbus-1.3"
CODEC = PaceModbus()
ABSENT = 0xF830
# current, voltage, SOC, SOH, capacities, cycles, (unused), warnings, protections, status, balance
HEAD = [0xF60A, 5321, 76, 99, 23864, 31400, 31400, 42, 0, 0x0802, 0x0002, 0x8E00, 0x0005]
CELLS = [3325, 3326, 3327, 3328, 3329, 3327, 3326, 3325, 3324, 3325, 3326, 3323, 3326, 3327, 3326, 3325]
PROBES = [251, 253, 250, 0xFFF1, 290, 262]
WHOLE = [*HEAD, 0, 0, *CELLS, *PROBES]
V2 = [*HEAD, 0, 0xC000, 4, *CELLS[:4], *[0] * 17]
DOCUMENT_WRITE = bytes.fromhex("011000c80001020000b618")  # of the edition of 2018: never sent, but overheard


def _pack(words: list[int], first: int = 0) -> PackState:
    return window(NAME, dict(enumerate(words, first))).packs[1]


def _changed(place: int, value: int, words: list[int] = WHOLE) -> list[int]:
    return [*words[:place], value, *words[place + 1 :]]


def _alarm(condition: Condition, severity: Severity) -> Alarm:
    return Alarm(condition=condition, severity=severity)


@pytest.mark.parametrize(
    "row", [*captured(NAME), *captured("srne-wow-modbus")], ids=lambda row: f"{row['protocol']}-{row['id']}"
)
def test_what_real_batteries_sent_is_read(row: dict[str, Any]) -> None:
    """A JK BMS under two names of the map, a Buknuwo and a Gobel with the newer layout."""
    codec, request = DECODERS[row["protocol"]], bytes.fromhex(row["request"])
    if (code := row.get("refused")) is not None:
        with pytest.raises(RefusedError) as refused:
            codec.decode(request, bytes.fromhex(row["response"]))
        assert refused.value.code == code
        return
    decoded = codec.decode(request, bytes.fromhex(row["response"]))
    unit = request[0]
    for name, value in row.get("identity", {}).items():
        assert getattr(decoded.identities[unit], name) == value
    for name, value in row.get("pack", {}).items():
        got = getattr(decoded.packs[unit], name)
        if name == "alarms":
            value = {_alarm(Condition(c), Severity(s)) for c, s in value}
        assert got == (
            tuple(value) if name == "cell_temperatures" else set(value) if isinstance(value, list) else value
        )


def test_a_whole_pack_is_read() -> None:
    """Signs, scales, alarms, balancing."""
    assert _pack(WHOLE) == PackState(
        address=1,
        voltage=53.21,
        current=-25.5,
        power=53.21 * -25.5,
        soc=76,
        soh=99,
        remaining_capacity=238.64,
        full_capacity=314.0,
        design_capacity=314.0,
        cycles=42,
        cell_voltages=tuple(mv / 1000 for mv in CELLS),
        cell_temperatures=(25.1, 25.3, 25.0, -1.5),
        mosfet_temperature=29.0,
        ambient_temperature=26.2,
        mode=Mode.DISCHARGING,
        alarms=frozenset(
            {
                _alarm(Condition.CELL_UNDERVOLTAGE, Severity.WARNING),
                _alarm(Condition.DISCHARGE_UNDERTEMPERATURE, Severity.WARNING),
                _alarm(Condition.CELL_UNDERVOLTAGE, Severity.PROTECTION),
            }
        ),
        balancing_cells=frozenset({1, 3}),
        charge_enabled=True,
        discharge_enabled=True,
        heater_active=True,
        derived=frozenset({"power"}),
    )


@pytest.mark.parametrize(
    ("raw", "percent"), [(0, 0), (76, 76), (100, 100), (0x5D00, 93), (0x6400, 100), (0x0164, 100), (None, None)]
)
def test_a_percentage_is_found_in_either_byte(raw: int | None, percent: int | None) -> None:
    """In the high one only where the low one is empty."""
    assert percentage(raw) == percent


def test_absent_probes_and_cells_are_unknown() -> None:
    """-2000 is no temperature, and 0 V at the end are cells that the pack does not have."""
    pack = _pack([*HEAD, 0, 0, *CELLS[:8], *[0] * 8, 210, 209, ABSENT, ABSENT, ABSENT, 209])
    assert pack.cell_voltages == tuple(mv / 1000 for mv in CELLS[:8])
    assert pack.cell_temperatures == (21.0, 20.9, None, None)
    assert (pack.mosfet_temperature, pack.ambient_temperature) == (None, 20.9)
    assert _pack([*WHOLE[:31], *[ABSENT] * 6]).cell_temperatures is None


def test_the_newer_layout_is_told_by_its_number_of_cells() -> None:
    """Where V1.3 has the first cell; what V1.3 has for temperatures are cells there."""
    pack = _pack(V2)
    assert pack.cell_voltages == (3.325, 3.326, 3.327, 3.328)
    assert pack.cell_temperatures is None
    assert pack.mosfet_temperature is None
    for switches, charge, discharge in ((0x4000, True, False), (0x8000, False, True), (0, True, True)):
        pack = _pack(_changed(14, switches, V2))
        assert (pack.charge_enabled, pack.discharge_enabled) == (charge, discharge)


@pytest.mark.parametrize("millivolts", [0, 40, 1450, 1499, 4501, 4600, 65535])
@pytest.mark.parametrize("series", [4, 8, 16])
def test_a_first_cell_in_trouble_costs_no_other(millivolts: int, series: int) -> None:
    """The others tell which layout it is."""
    cells = (millivolts, *CELLS[1:series])
    pack = _pack([*WHOLE[:15], *cells, *[0] * (16 - series), *PROBES])
    assert pack.cell_voltages == tuple(mv / 1000 if mv else None for mv in cells)
    assert pack.cell_temperatures == (25.1, 25.3, 25.0, -1.5)


def test_cells_of_a_newer_layout_that_does_not_count_them_are_not_shifted() -> None:
    """Nothing stands where V1.3 has the first cell, and a cell where it has a temperature."""
    assert _pack([*WHOLE[:15], 0, *CELLS, *PROBES[:5]]).cell_voltages is None
    assert _pack([*WHOLE[:15], *PROBES, *[0] * 10, *PROBES]).cell_voltages is None


def test_a_window_of_zeros_says_nothing() -> None:
    """A pack that is asleep or starting, and registers that nobody fills in: no standby, no 0 degC, no "no alarms"."""
    for first, count in ((0, 37), (0, 13)):
        with pytest.raises(RefusedError, match="0 V"):
            window(NAME, {first: 0}, count=count)
    assert window(NAME, {15: 0}, count=22) == Decoded()
    assert window(NAME, {37: 0}, count=21) == Decoded()


def test_the_name_of_a_board_is_no_serial_number() -> None:
    """Where V1.3 has the serial number, the newer layout has its software, which twins share."""
    board, version, serial = ([*ascii_words(text, 10)] for text in ("P4S200A-40569-1.02", "1.7", "SN0123456789"))
    assert not window(NAME, dict(enumerate([*[0] * 20, *board], 150))).identities
    assert window(NAME, dict(enumerate([*version, *[0] * 10, *board], 150))).identities[1].serial is None
    assert not window(NAME, dict(enumerate([*[0] * 20, *serial], 150))).identities
    assert window(NAME, dict(enumerate([*version, *[0] * 10, *serial], 150))).identities[1].serial == "SN0123456789"


def test_temperatures_of_the_newer_layout_come_in_a_block_of_their_own() -> None:
    """A count, the probes, and the MOSFET."""
    pack = _pack([*[0] * 9, 3, 187, 0xFFFB, ABSENT, *[0] * 7, 213], first=37)
    assert pack.cell_temperatures == (18.7, -0.5, None)
    assert pack.mosfet_temperature == 21.3
    assert _pack([187], first=57).mosfet_temperature == 18.7


@pytest.mark.parametrize("count", [0, 9, 40000])
def test_an_older_pack_has_no_temperatures_in_that_block(count: int) -> None:
    """Zeros, or whatever else stands there."""
    assert not window(NAME, dict(enumerate([*[0] * 9, count, *[0] * 11], 37))).packs


def test_cells_are_not_taken_for_temperatures_where_the_layout_is_not_known() -> None:
    """A window that begins behind register 15."""
    assert _pack([3287, 3285, *[0] * 8, *PROBES], first=21).cell_temperatures == (25.1, 25.3, 25.0, -1.5)
    assert not window(NAME, dict(enumerate([0] * 16, 21))).packs
    assert not window(NAME, dict(enumerate(CELLS, 21))).packs


def test_the_counter_of_discharge_is_believed_when_its_two_halves_agree() -> None:
    """10 mAh and Wh of the same energy (edition of 2018)."""
    assert _pack([1, 0x8000, 0, 51200], first=40).energy_discharged == 51.2
    assert not window(NAME, dict(enumerate([0, 7, 0, 51200], 40))).packs
    assert not window(NAME, dict(enumerate([0, 0, 0, 51200], 40))).packs


def test_capacities_of_zero_are_unknown() -> None:
    """A pack that holds nothing at all is one that does not say it."""
    pack = _pack([*HEAD[:4], 0, 0, 0, *HEAD[7:]])
    assert (pack.remaining_capacity, pack.full_capacity, pack.design_capacity) == (None, None, None)
    assert _pack([*HEAD[:4], 0, *HEAD[5:]]).remaining_capacity == 0.0


@pytest.mark.parametrize("row", conditions(NAME), ids=lambda row: f"{row['register']}={row['value']:#x}")
def test_every_bit_means_what_the_document_says(row: dict[str, Any]) -> None:
    """What it does not name is kept for diagnostics and no alarm."""
    words = _changed(row["register"], row["value"], [*HEAD[:9], 0, 0, 0, 0])
    decoded = window(NAME, dict(enumerate(words)))
    pack = decoded.packs[1]
    if row["condition"]:
        alarm = _alarm(Condition(row["condition"]), Severity(row["severity"]))
        assert pack.alarms == frozenset({alarm})
        assert alarm.condition in CODEC.conditions
    else:
        assert pack.alarms == frozenset()
        assert ("unnamed_bits" in decoded.info) == row["name"].startswith("undocumented")
    if flag := row.get("flag"):
        name, _, value = flag.partition("=")
        assert getattr(pack, name) == (Mode(value) if value else True)


def test_half_of_the_alarm_words_are_no_alarms() -> None:
    """None active would be claimed otherwise."""
    assert _pack(HEAD[:10]).alarms is None


def test_both_blocks_of_identity_are_read() -> None:
    """V1.3 from 150 on; the newer layout from where V1.3 has the pack's serial number."""
    page = PaceMap().page
    assert page is not None
    for dialect, first, count in ((Dialect.DOCUMENTED, 150, 30), (Dialect.V2, 0xAA, 35)):
        site = Site(PaceMap(dialect), NAME, make_packs(1, first=1))
        (reply,) = site.speaker.feed(question(1, first, count), 0.0)
        identity = CODEC.decode(question(1, first, count), reply.data).identities[1]
        assert identity.serial == site.bank.packs[1].spec.serial
        assert identity.firmware is not None
    assert not window(NAME, {0xAA: 0}, count=35).identities


def test_a_write_of_somebody_else_is_only_refused() -> None:
    """Nothing is made of it."""
    with pytest.raises(FrameError):
        CODEC.decode(DOCUMENT_WRITE, bytes.fromhex("011000c800018037"))


# --- recognition -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        WHOLE,
        V2,
        HEAD,
        HEAD[:3],
        _changed(0, 0),  # idle
        _changed(0, 5000),  # charging with 50 A
        [0, 5321, 0x5D00, 0x6400],
    ],
)
def test_a_pack_is_recognised(words: list[int]) -> None:
    """By what stands in front, and by all that follows."""
    assert CODEC.recognises(question(1, 0, len(words)), answer(1, words))


PROBES_V2 = [*[0] * 9, 3, 187, 0xFFFB, ABSENT, *[0] * 7, 213]


@pytest.mark.parametrize(("first", "words"), [(37, PROBES_V2), (46, PROBES_V2[9:]), (170, [*[0x4142] * 30, *[0] * 5])])
def test_blocks_of_the_newer_layout_are_recognised(first: int, words: list[int]) -> None:
    """Its probes and its texts, where V1.3 has nothing."""
    asked, frame = question(1, first, len(words)), answer(1, words)
    assert [name for name, protocol in POLLED.items() if protocol.recognises(asked, frame)] == [NAME]


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (37, [0] * 21),
        (37, [6, 2982, 2985, 2981, 2988, 2979, 3021, 0, 0, 0, 0]),  # probes of Voltronic's
        (37, [5500, 10000, *[0] * 7, 4, 235, 240, 245, 250, *[0] * 7]),
        (46, [4, 9000, 240, 245, 250, *[0] * 6, 260]),
        (150, [0x4142] * 30),
        (170, [0x4142] * 20),
    ],
)
def test_what_may_be_of_anybody_is_not_recognised(first: int, words: list[int]) -> None:
    """Behind the status, blocks have to be this map's without doubt."""
    assert not CODEC.recognises(question(1, first, len(words)), answer(1, words))


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (1, [5321]),
        (0, [5321, 5321]),
        (0, [5366, 2000, 3328, 3328, 3330, 3331]),  # ZT's map, charging with 20 A
        (0, [0, 800, 76]),
        (0, _changed(5, 0)),
        (0, _changed(15, 900)),
        (15, [*CELLS, *PROBES]),
    ],
)
def test_what_might_be_another_map_is_not_recognised(first: int, words: list[int]) -> None:
    """Voltage and current the other way round, or nothing to tell by."""
    assert not CODEC.recognises(question(1, first, len(words)), answer(1, words))


def test_no_other_map_takes_these_answers_for_its_own() -> None:
    """Whatever the pack is doing."""
    for name in ("growatt-rs485", "voltronic-bms-485-20200325", "eg4ll-zt-native", "cvte-rs485"):
        for current in (0, 100, 5000, 0xF60A):
            words = _changed(0, current)
            assert not POLLED[name].recognises(question(1, 0, len(words)), answer(1, words))


# --- with a client ---------------------------------------------------------------------------------------------------


def test_nothing_but_reads_is_ever_asked() -> None:
    """Function 03, whatever stands in for what."""
    requests = [poll.request(1) for poll in all_polls(NAME)] + [probe.request for probe in CODEC.probes]
    assert all(request[1] == 3 and CODEC.is_request(request) for request in requests)


@pytest.mark.parametrize("packs", [1, 3, 16])
@pytest.mark.parametrize("dialect", Dialect)
async def test_a_client_shows_what_packs_said(dialect: Dialect, packs: int) -> None:
    """Each at its address, with alarms of all severities and a serial number where the product has one."""
    bank = make_packs(packs, PackSpec(temperature=-2.0, soc=14.2, cells=8 if packs == 3 else 16), first=1)
    alarms = (
        _alarm(Condition.CELL_OVERVOLTAGE, Severity.WARNING),
        _alarm(Condition.CHARGER_OVERVOLTAGE, Severity.PROTECTION),
        _alarm(Condition.CELL_FAILURE, Severity.FAULT),
    )
    bank[packs].force(*alarms)
    site = Site(PaceMap(dialect), NAME, bank, rate=-0.1)
    told = await site.read(100.0)
    for address, pack in bank.items():
        report = told.last(address)
        assert report.online
        assert report.state is not None
        assert not differences(report.state, site.speaker, address)
        assert report.state.cell_voltages is not None
        assert len(report.state.cell_voltages) == pack.spec.cells
        assert report.state.cell_temperatures is not None
        assert report.held_back == {}
        serial = None if report.identity is None else report.identity.serial
        assert serial == (None if dialect is Dialect.JK else pack.spec.serial)
    last = told.last(packs).state
    assert last is not None
    assert last.alarms is not None
    assert last.alarms >= frozenset(alarms)
    if dialect is Dialect.NARROW:
        assert {(0, 13), (15, 22)} <= site.asked()
    if dialect is Dialect.EDITION_2018:
        assert last.energy_discharged is not None


@pytest.mark.parametrize("value", [sealed(bytes((2, 0x83, 2))), answer(2, WHOLE), answer(1, WHOLE[:-1])])
def test_what_does_not_fit_the_question_is_no_answer(value: bytes) -> None:
    """Another unit, or another number of registers."""
    assert not CODEC.is_answer(question(1, 0, 37), value)


def test_damage_is_refused() -> None:
    """Nothing but FrameError and RefusedError leaves the codec, and a CRC lets next to nothing pass."""
    blocks = {
        0: WHOLE,
        15: [*CELLS, *PROBES],
        37: [*[0] * 9, 3, 187, 0xFFFB, ABSENT, *[0] * 7, 213],
        150: [0x4142] * 30,
    }
    samples = [
        Sample.of(str(first), CODEC, question(1, first, len(words)), answer(1, words))
        for first, words in blocks.items()
    ]
    for fault, tally in run(samples, 60_000, 20261121).tallies.items():
        assert tally.refused + tally.unchanged + tally.wrong == tally.frames
        assert tally.share(tally.wrong) <= (0.0 if fault in _CERTAIN else 0.05), fault


_CERTAIN = {Fault.FLIP_1, Fault.FLIP_2, Fault.FLIP_3}
