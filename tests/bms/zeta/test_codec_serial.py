"""The own map of ZT, Voltgo and EG4-LL packs on RS485, with what each product does differently."""

from typing import Any

import pytest

from custom_components.lfp_battery.bms.errors import RefusedError
from custom_components.lfp_battery.bms.model import Alarm, Condition, Mode, PackState, Severity
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.base import Decoded
from custom_components.lfp_battery.bms.protocols.zeta.serial import ZtNative
from tests.bms.matrix import differences
from tests.bms.modbus_site import Site, all_polls, answer, captured, conditions, window
from tests.bms.mutation import Fault, Sample, run
from tests.simulator.bank import make_packs
from tests.simulator.modbus import question
from tests.simulator.modbus_zt import Dialect, ZtMap
from tests.simulator.pack import PackSpec

NAME = "eg4ll-zt-native"
CODEC = ZtNative()
CELLS = [3325, 3326, 3327, 3328, 3329, 3327, 3326, 3325, 3324, 3325, 3326, 3323, 3326, 3327, 3326, 3325]
FULL = 100 * 3_600_000
WHOLE = [
    *[5321, 0xF60A, *CELLS, 27, 26, 28, 75, 100, 99, 76, 0x8004, 0x1008, 0x0008, 0x0010],
    *[0, 42, *divmod(FULL, 0x10000), 0x1A1B, 0x19FF, 0, 16, 1000, 0x8001],
]


def _pack(changes: dict[int, int] | None = None, *, count: int = 39, unit: int = 1) -> PackState:
    words = dict(enumerate(WHOLE)) | (changes or {})
    return window(NAME, {register: words[register] for register in range(count)}, unit=unit).packs[unit]


def _alarm(condition: Condition, severity: Severity) -> Alarm:
    return Alarm(condition=condition, severity=severity)


@pytest.mark.parametrize("row", captured(NAME), ids=lambda row: row["id"])
def test_what_real_batteries_sent_is_read(row: dict[str, Any]) -> None:
    """EG4-LL, LifePower4 V2 and a Voltgo."""
    request = bytes.fromhex(row["request"])
    decoded = CODEC.decode(request, bytes.fromhex(row["response"]))
    unit = request[0]
    for name, value in row.get("identity", {}).items():
        assert getattr(decoded.identities[unit], name) == value
    for name, value in row.get("pack", {}).items():
        wanted = tuple(value) if name.startswith("cell_") else frozenset(value) if isinstance(value, list) else value
        assert getattr(decoded.packs[unit], name) == wanted


def test_a_whole_pack_is_read() -> None:
    """Signs, scales, alarms, balancing; bit 15 of the status has two meanings and is published as neither."""
    assert _pack() == PackState(
        address=1,
        voltage=53.21,
        current=-25.5,
        power=53.21 * -25.5,
        soc=76,
        soh=99,
        remaining_capacity=75.0,
        full_capacity=100.0,
        design_capacity=100.0,
        cycles=42,
        cell_voltages=tuple(mv / 1000 for mv in CELLS),
        cell_temperatures=(26.0, 27.0, 25.0, -1.0, 0.0, 0.0),
        pcb_temperature=27.0,
        mode=Mode.PROTECTION,
        alarms=frozenset(
            {
                _alarm(Condition.CELL_UNDERVOLTAGE, Severity.WARNING),
                _alarm(Condition.LOW_SOC, Severity.WARNING),
                _alarm(Condition.CELL_UNDERVOLTAGE, Severity.PROTECTION),
                _alarm(Condition.CELL_IMBALANCE, Severity.FAULT),
            }
        ),
        balancing_cells=frozenset({1, 16}),
        charge_current_limit=100,
        derived=frozenset({"power"}),
    )
    assert window(NAME, dict(enumerate(WHOLE))).info["status_raw"] == 0x8004


@pytest.mark.parametrize(("words", "cycles"), [((0, 11), 11), ((2, 0), 2), ((0, 0), 0), ((0, 65535), 65535)])
def test_cycles_stand_in_either_word(words: tuple[int, int], cycles: int) -> None:
    """High word first on EG4-LL, the other way round on a Voltgo."""
    assert _pack({29: words[0], 30: words[1]}).cycles == cycles


@pytest.mark.parametrize(
    ("capacity", "register21", "register24", "remaining", "soc"),
    [
        (100, 75, 76, 75.0, 76),  # within one unit: as documented
        (100, 76, 75, 76.0, 75),
        (200, 150, 75, 150.0, 75),
        (200, 75, 150, 150.0, 75),  # in each other's place
        (280, 10, 28, 28.0, 10),
        (280, 28, 10, 28.0, 10),
        (314, 239, 76, 239.0, 76),
        (200, 60, 80, 60.0, 80),  # neither fits: as documented
        (50, 50, 100, 50.0, 100),
        (50, 100, 50, 50.0, 100),
    ],
)
def test_charge_and_remaining_capacity_are_told_by_the_full_one(
    capacity: int, register21: int, register24: int, remaining: float, soc: int
) -> None:
    """One product has them in each other's place."""
    high, low = divmod(capacity * 3_600_000, 0x10000)
    pack = _pack({21: register21, 24: register24, 31: high, 32: low})
    assert (pack.remaining_capacity, pack.soc, pack.full_capacity) == (remaining, soc, capacity)


def test_without_the_full_capacity_only_the_charge_is_said() -> None:
    """A shorter read cannot tell which is which."""
    pack = _pack(count=25)
    assert (pack.remaining_capacity, pack.soc) == (None, 76)
    pack = _pack({31: 0, 32: 0})
    assert (pack.remaining_capacity, pack.full_capacity, pack.soc) == (None, None, 76)


@pytest.mark.parametrize(
    ("words", "celsius"),
    [
        ((0x1818, 0x1818, 0), (24.0, 24.0, 24.0, 24.0, 0.0, 0.0)),
        ((0xF6FF, 0, 0), (-10.0, -1.0, 0.0, 0.0, 0.0, 0.0)),
        ((0x1A00, 0x1900, 0), (26.0, 0.0, 25.0, 0.0, 0.0, 0.0)),
        ((0x1AD7, 0x19D8, 0x18CE), (26.0, None, 25.0, -40.0, 24.0, None)),  # -41, -40 and -50
        ((0, 0, 0), (0.0,) * 6),
        ((0xCECE, 0xCECE, 0xCECE), None),
    ],
)
def test_probes_are_signed_bytes(words: tuple[int, int, int], celsius: tuple[float | None, ...] | None) -> None:
    """What is far below everything else is not connected; 0 may be either, which clients tell apart over time."""
    assert _pack(dict(enumerate(words, 33))).cell_temperatures == celsius


def test_words_called_average_and_maximum_are_not_shown() -> None:
    """A LifePower4 V2, which is read without its probes, shows them itself."""
    assert _pack(count=25).cell_temperatures is None
    pack = _pack(count=25, unit=0x40)
    assert (pack.cell_temperatures, pack.pcb_temperature) == ((27.0, 26.0, 28.0), None)
    assert _pack(unit=0x40).cell_temperatures == (26.0, 27.0, 25.0, -1.0, 0.0, 0.0)


def test_as_many_cells_are_shown_as_the_pack_has() -> None:
    """The count says so, or the zeros at the end."""
    eight = dict.fromkeys(range(10, 18), 0)
    for more in ({36: 8}, {36: 0}, {36: 99}):
        assert _pack(eight | more).cell_voltages == tuple(mv / 1000 for mv in CELLS[:8])
    assert _pack({3: 0}).cell_voltages == (3.325, None, *[mv / 1000 for mv in CELLS[2:]])
    assert _pack(dict.fromkeys(range(2, 18), 0)).cell_voltages is None


@pytest.mark.parametrize(
    ("status", "mode"),
    [
        *((0, Mode.STANDBY), (1, Mode.CHARGING), (2, Mode.DISCHARGING), (4, Mode.PROTECTION), (8, Mode.CHARGING)),
        *((0x8001, Mode.CHARGING), (0x8000, Mode.STANDBY), (3, None)),
    ],
)
def test_the_mode_is_in_the_low_nibble(status: int, mode: Mode | None) -> None:
    """A combination that nobody describes is no mode."""
    assert _pack({25: status}).mode is mode
    assert _pack({25: status}).heater_active is None


@pytest.mark.parametrize("row", conditions(NAME), ids=lambda row: f"{row['register']}={row['value']:#x}")
def test_every_bit_means_what_the_document_says(row: dict[str, Any]) -> None:
    """Warnings, protections and errors."""
    alarm = _alarm(Condition(row["condition"]), Severity(row["severity"]))
    assert _pack({26: 0, 27: 0, 28: 0} | {row["register"]: row["value"]}).alarms == frozenset({alarm})
    assert alarm.condition in CODEC.conditions


def test_bits_without_a_name_are_kept_for_diagnostics() -> None:
    """And are no alarms."""
    decoded = window(NAME, dict(enumerate(WHOLE)) | {26: 0x8000, 27: 0, 28: 0x0008})
    assert decoded.packs[1].alarms == frozenset()
    assert decoded.info["unnamed_bits"] == {"warnings": 0x8000, "errors": 0x0008}


def test_a_window_of_zeros_says_nothing() -> None:
    """A pack that is asleep or starting: no standby, no 0 degC, no "no alarms"."""
    for count in (39, 25):
        with pytest.raises(RefusedError, match="0 V"):
            window(NAME, {0: 0}, count=count)
    assert window(NAME, {25: 0}, count=14) == Decoded()


def test_an_empty_information_block_says_nothing() -> None:
    """As on an LL-S."""
    decoded = window(NAME, {105: 0}, count=23)
    assert (decoded.identities, decoded.packs) == ({}, {})


# --- recognition -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [6, 18, 25, 39])
@pytest.mark.parametrize("current", [0, 76, 2000, 0xF60A])
def test_a_pack_is_recognised(current: int, count: int) -> None:
    """Voltage in front, then cells that add up to it."""
    words = [WHOLE[0], current, *WHOLE[2:count]]
    assert CODEC.recognises(question(2, 0, count), answer(2, words))
    for name in ("growatt-rs485", "voltronic-bms-485-20200325", "pace-modbus-1.3", "cvte-rs485"):
        assert not POLLED[name].recognises(question(2, 0, count), answer(2, words))


@pytest.mark.parametrize("cell", [0x0D00, 0x0C80])
def test_cells_that_look_like_a_percentage_do_not_make_it_pace(cell: int) -> None:
    """3328 mV is also 13 % in the high byte, and a charge of 20 A a voltage."""
    words = [5325, 2000, *[cell] * 16, *WHOLE[18:]]
    assert not POLLED["pace-modbus-1.3"].recognises(question(2, 0, 39), answer(2, words))


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (0, WHOLE[:5]),
        (0, [0, 5321, 76, 99, 23864, 31400]),
        (0, [5321, 5321, 76, 99, 23864, 31400]),
        (0, [2600, *WHOLE[1:]]),  # cells do not add up
        (2, CELLS),
    ],
)
def test_what_might_be_another_map_is_not_recognised(first: int, words: list[int]) -> None:
    """Too little of it, or values that do not belong together."""
    assert not CODEC.recognises(question(2, first, len(words)), answer(2, words))


# --- with a client ---------------------------------------------------------------------------------------------------


def test_nothing_but_reads_is_ever_asked() -> None:
    """Function 03, whatever stands in for what."""
    requests = [poll.request(1) for poll in all_polls(NAME)] + [probe.request for probe in CODEC.probes]
    assert all(request[1] == 3 and CODEC.is_request(request) for request in requests)


def test_packs_are_numbered_as_owners_count_them() -> None:
    """A LifePower4 V2 counts down from its master."""
    assert [CODEC.pack_number(address) for address in (1, 15, 0x40, 0x3F)] == ["1", "15", "2-1", "2-2"]


@pytest.mark.parametrize("packs", [1, 3, 15])
@pytest.mark.parametrize("dialect", Dialect)
async def test_a_client_shows_what_packs_said(dialect: Dialect, packs: int) -> None:
    """Each at its address, with alarms of all severities."""
    spec = PackSpec(temperature=-5.0, soc=14.2, capacity=314.0, cells=8 if packs == 3 else 16)
    bank = make_packs(packs, spec, first=1)
    if dialect in {Dialect.LIFEPOWER4, Dialect.LIFEPOWER4_SHORT}:
        bank = dict(zip(range(0x40, 0x40 - packs, -1), bank.values(), strict=True))
    alarms = (
        _alarm(Condition.CELL_OVERVOLTAGE, Severity.WARNING),
        _alarm(Condition.FULLY_DISCHARGED, Severity.PROTECTION),
        _alarm(Condition.CURRENT_SENSING_FAILURE, Severity.FAULT),
    )
    bank[max(bank)].force(*alarms)
    site = Site(ZtMap(dialect), NAME, bank, rate=-0.1)
    told = await site.read(100.0)
    for address, pack in bank.items():
        report = told.last(address)
        assert report.online
        assert report.state is not None
        assert not differences(report.state, site.speaker, address)
        assert report.state.cell_voltages is not None
        assert len(report.state.cell_voltages) == pack.spec.cells
        assert report.state.current is not None
        assert report.state.cell_temperatures is not None
        assert report.held_back == {}
    last = told.last(max(bank)).state
    assert last is not None
    if dialect is Dialect.LIFEPOWER4_SHORT:
        assert {(0, 25), (25, 14)} <= site.asked()
        assert last.alarms is None
    else:
        assert last.alarms is not None
        assert last.alarms >= frozenset(alarms)
        assert last.remaining_capacity is not None


def test_damage_is_refused() -> None:
    """Nothing but FrameError and RefusedError leaves the codec, and a CRC lets next to nothing pass."""
    blocks = {0: WHOLE, 105: [0x4142] * 23}
    samples = [
        Sample.of(str(first), CODEC, question(1, first, len(words)), answer(1, words))
        for first, words in blocks.items()
    ]
    for fault, tally in run(samples, 60_000, 20261121).tallies.items():
        assert tally.refused + tally.unchanged + tally.wrong == tally.frames
        assert tally.share(tally.wrong) <= (0.0 if fault in _CERTAIN else 0.05), fault


_CERTAIN = {Fault.FLIP_1, Fault.FLIP_2, Fault.FLIP_3}
