"""The 35x families: what each frame says in each dialect, and what it must not be taken to say."""

from collections.abc import Mapping
import json
from typing import Any

from hypothesis import given, settings, strategies as st
import pytest

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.model import Alarm, BankState, Condition, Identity, Severity
from custom_components.lfp_battery.bms.plausibility import hold_back
from custom_components.lfp_battery.bms.protocols.can import CAN
from custom_components.lfp_battery.bms.protocols.can.base import BANK, Said
from custom_components.lfp_battery.bms.protocols.can.set35x import FAMILIES

from .own import bank, captures, heard, said

NAMES = tuple(family.name for family in FAMILIES)


def _one(family: str, frame_id: str, data: str) -> Mapping[str, Any]:
    """The fields of the bank that one frame gives a value to."""
    state = heard(family, (frame_id, data)).bank
    if state is None:
        return {}
    return {
        name: value
        for name in BankState.__dataclass_fields__
        if name not in ("family", "derived") and (value := getattr(state, name)) is not None
    }


@pytest.mark.parametrize("capture", captures("can-35x.json"))
def test_a_set_comes_out_as_its_source_says(capture: Mapping[str, Any]) -> None:
    """Real batteries of each dialect, and one made set for each that nobody captured."""
    decoded = heard(capture["family"], *capture["frames"])
    assert decoded.bank is not None
    expected = dict(capture["bank"])
    if (alarms := expected.pop("alarms", None)) is not None:
        assert decoded.bank.alarms == frozenset(
            Alarm(condition=Condition(condition), severity=Severity(severity)) for condition, severity in alarms
        )
    for name, value in expected.items():
        got = getattr(decoded.bank, name)
        if isinstance(value, float):
            assert got == pytest.approx(value, abs=1e-6), name
        else:
            assert got == value and isinstance(got, bool) == isinstance(value, bool), name
    for name, value in capture.get("identity", {}).items():
        assert getattr(decoded.identities[BANK], name) == value
    for name, value in capture.get("info", {}).items():
        assert decoded.info[name] == value, name
    assert hold_back(decoded.bank)[1] == {}


NOT_AVAILABLE = [
    ("351", "FFFF640064009001", {"charge_current_limit", "discharge_current_limit", "discharge_voltage_limit"}),
    ("351", "3802FFFF64009001", {"charge_voltage_limit", "discharge_current_limit", "discharge_voltage_limit"}),
    ("351", "3802008064009001", {"charge_voltage_limit", "discharge_current_limit", "discharge_voltage_limit"}),
    ("351", "380264000080FFFF", {"charge_voltage_limit", "charge_current_limit"}),
    ("355", "FFFF6400", {"soh"}),
    ("355", "6400FFFF", {"soc"}),
    ("356", "0080640064000000", {"current", "temperature"}),
    ("356", "B814008064000000", {"voltage", "temperature"}),
    ("356", "B814640000800000", {"voltage", "current", "power"}),
    ("35F", "0000000000000000", set()),
    ("372", "FFFF0000FFFF0000", {"modules_charge_blocked"}),
    ("373", "0000000000000000", set()),
    ("373", "D80C00002101FFFF", {"cell_voltage_min", "cell_temperature_min"}),
    ("378", "FFFFFFFF01000000", {"energy_discharged"}),
    ("379", "0000", set()),
]


@pytest.mark.parametrize(("frame_id", "data", "left"), NOT_AVAILABLE)
def test_a_marker_of_not_available_is_no_value(frame_id: str, data: str, left: set[str]) -> None:
    """FFFF unsigned, 8000 signed, both in a limit; 0 where there cannot be none (can.md section 5)."""
    assert _one("sma", frame_id, data).keys() == left


def test_minus_a_tenth_is_a_value_where_it_can_be_one() -> None:
    """FFFF as a current or a temperature; power follows it."""
    assert _one("pylon", "356", "1E14FFFFFFFF") == {
        "voltage": 51.5, "current": -0.1, "temperature": -0.1, "power": pytest.approx(-5.15),
    }  # fmt: skip


FIELDS = {
    "351": ("charge_voltage_limit", "charge_current_limit", "discharge_current_limit", "discharge_voltage_limit"),
    "355": ("soc", "soh"),
    "356": ("voltage", "current", "temperature"),
    "373": ("cell_voltage_min", "cell_voltage_max", "cell_temperature_min", "cell_temperature_max"),
}


@pytest.mark.parametrize("length", range(9))
@pytest.mark.parametrize("frame_id", FIELDS)
def test_a_field_is_there_only_where_the_frame_reaches_it(frame_id: str, length: int) -> None:
    """Real packs send 351 with 6 or 8 bytes, 355 with 4, 6 or 8, 356 with 6 or 8: half a word is none."""
    data = bytes.fromhex("38012C0122012A01")[:length]
    assert _one("sma", frame_id, data.hex()).keys() - {"power"} == set(FIELDS[frame_id][: length // 2])


@pytest.mark.parametrize(
    ("length", "alarms", "modules"),
    [(0, False, None), (1, False, None), (3, False, None), (4, True, None), (5, True, 2), (7, True, 2)],
)
def test_359_says_as_much_as_it_is_long(length: int, alarms: bool, modules: int | None) -> None:
    """That there is no alarm needs all four bytes of them, the number of modules the fifth."""
    decoded = heard("pylon", ("359", bytes.fromhex("0000000002504E")[:length].hex()), ("355", "1A006400"))
    assert decoded.bank is not None
    assert (decoded.bank.alarms is not None, decoded.bank.modules) == (alarms, modules)


def test_a_name_may_be_shorter_than_its_place() -> None:
    """Pytes sends 35E with five bytes."""
    assert _one("pylon", "35E", "5059544553") == {"manufacturer": "PYTES"}


@pytest.mark.parametrize("data", ["FFFE414200000000", "0000000000000000", "2020202020202020", "50594C1F4E202020", ""])
def test_what_is_not_printable_is_no_name(data: str) -> None:
    """Only 20 to 7E, up to the first 00, without spaces around."""
    assert _one("pylon", "35E", data) == {}


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize(("raw", "volts"), [("0A02", 52.2), ("6414", 52.2), ("E803", 10.0), ("E703", 99.9)])
def test_the_voltage_tells_its_scale_by_its_size(family: str, raw: str, volts: float) -> None:
    """Below 1000 tenths, else hundredths: no pack of 8, 15 or 16 cells can be mistaken (can.md 4.3)."""
    assert bank(family, ("356", raw + "00000000")).voltage == pytest.approx(volts)


@pytest.mark.parametrize(
    ("data", "soc"),
    [
        ("47006400DE1B", 71.34),
        ("540060000000", 84),  # zeros although the frame has six bytes: Pylontech US5000
        ("010060000000", 1),
        ("64006400100E", 100),  # cells in mV
        ("47006400FFFF", 71),
        ("640064001A27", 100),  # 100.10 %
    ],
)
def test_hundredths_count_only_where_they_agree(data: str, soc: float) -> None:
    """355 [4:5] is the state of charge in hundredths, or anything else (can.md 4.3)."""
    for family in ("sma", "pylon", "victron", "generic_35x"):
        assert bank(family, ("355", data)).soc == pytest.approx(soc)


def test_a_limit_has_no_sign() -> None:
    """An emulator, diyBMS, sends the discharge limit negative."""
    assert bank("pylon", ("351", "440264009CFF3F02")).discharge_current_limit == 10.0


def test_no_modules_are_not_known_and_kept_for_diagnostics() -> None:
    """Emulators count 0 (can.md section 5)."""
    decoded = heard("pylon", ("359", "0000000000000000"))
    assert decoded.bank is not None and decoded.bank.modules is None
    assert decoded.info == {"modules": 0}


def test_figures_in_370_are_put_in_order() -> None:
    """Shoto has the smaller first; which cell is which in 371 is then not known."""
    found = heard("pylon_goodwe", ("370", "F1000601E10CEF0C"), ("371", "030001000C000500"))
    assert found.bank is not None
    assert (found.bank.cell_temperature_min, found.bank.cell_temperature_max) == (24.1, 26.2)
    assert (found.bank.cell_voltage_min, found.bank.cell_voltage_max) == (3.297, 3.311)
    assert found.bank.cell_voltage_max_cell is None and found.info == {}
    assert bank("pylon_goodwe", ("370", "0601F100EF0CE10C"), ("371", "030001000C000500")).cell_voltage_max_cell == 12


def test_whole_degrees_in_370_are_told_by_those_of_356() -> None:
    """JK sends 26 for 26 degC where the others send 260."""
    found = bank("pylon_goodwe", ("370", "1A001800EF0CE10C"), ("356", "A01438FFFA00"))
    assert (found.cell_temperature_max, found.cell_temperature_min) == (26.0, 24.0)
    cold = bank("pylon_goodwe", ("370", "1A001800EF0CE10C"), ("356", "A01438FF1900"))
    assert (cold.cell_temperature_max, cold.cell_temperature_min) == (2.6, 2.4)


def test_luxpower_has_cells_where_others_have_a_finer_soc() -> None:
    """And its capacity where Pylon has two letters; an implausible cell is none."""
    found = bank("luxpower", ("355", "40006200030DF60C"), ("359", "0000000003640000"), ("35C", "C0009C01"))
    assert (found.soc, found.cell_voltage_max, found.cell_voltage_min) == (64, 3.331, 3.318)
    assert (found.design_capacity, found.modules, found.cycles) == (100, 3, 412)
    odd = bank("luxpower", ("355", "4000620000000102"), ("359", "0000000003504E00"))
    assert (odd.cell_voltage_max, odd.cell_voltage_min, odd.design_capacity) == (None, None, None)


def _left(*frames: tuple[str, str]) -> float | None:
    return bank("victron", *frames).remaining_capacity


def test_victron_has_in_35f_what_is_left_unless_it_cannot_be() -> None:
    """One maker sends the full capacity there (can.md 4.3)."""
    left = ("35F", "01006E016400")  # 100 Ah
    assert _left(left) == 100
    assert _left(left, ("355", "33006400"), ("379", "C800")) == 100
    assert _left(left, ("379", "3200")) is None
    assert _left(left, ("355", "33006400"), ("379", "6400")) is None
    assert _left(left, ("355", "63006400"), ("379", "6400")) == 100
    assert _left(("35F", "01006E010000"), ("355", "33006400")) is None
    assert _left(("35F", "01006E010000"), ("355", "01006400")) == 0


def test_mg_counts_energy_in_hundredths() -> None:
    """By its name; everybody else in tenths, MUST as well (can.md 6.8)."""
    energy = ("378", "39300000E12E0000")
    for other in (b"BYD".hex(), b"MUST".hex(), b"MG".hex()):
        assert bank("victron", energy, ("35E", other)).energy_charged == 1234.5
    for family in ("victron", "sma", "pylon", "pylon_goodwe"):
        found = bank(family, energy, ("35E", b"MG-BMS".hex()))
        assert (found.energy_charged, found.energy_discharged) == pytest.approx((123.45, 120.01))


@pytest.mark.parametrize("family", NAMES)
def test_every_family_that_reads_378_says_that_its_unit_is_known_by_the_maker(family: str) -> None:
    """And none of the others does."""
    energies = {"energy_charged", "energy_discharged"} if 0x378 in CAN[family].ids else set()
    assert CAN[family].known_by_maker == energies


def test_mg_has_in_35f_what_it_holds() -> None:
    """As SMA has it, and neither a product nor versions (can.md 6.8)."""
    mg = (("35E", b"MG-BMS".hex()), ("35F", "01000105E6000700"))
    decoded = heard("victron", ("355", "3C006400"), *mg)
    assert decoded.bank is not None
    assert (decoded.bank.design_capacity, decoded.bank.remaining_capacity) == (230, None)
    assert decoded.identities == {} and "product_id" not in decoded.info
    both = heard("victron", *mg, ("380", b"HQ12\0\0\0\0".hex()), ("381", "00" * 8), ("379", "C800"))
    assert both.identities == {BANK: Identity(serial="HQ12")}
    assert both.bank is not None and both.bank.design_capacity == 200
    other = heard("victron", ("35E", b"BYD".hex()), mg[1])
    assert other.identities[BANK].firmware == "1.05"


@pytest.mark.parametrize("family", ["pylon", "sma", "pylon_goodwe"])
def test_what_379_says_is_installed_stands_above_35f(family: str) -> None:
    """In whatever order they come; 35F has what is left in some packs, and alone it is what is installed."""
    installed, other = ("379", "1801"), ("35F", "0000010249000000")
    assert bank(family, installed, other).design_capacity == bank(family, other, installed).design_capacity == 280
    assert bank(family, other).design_capacity == 73


def test_an_empty_frame_measures_nothing() -> None:
    """No 0.0 degC of a blank 370, no pack on line of a blank 372, no 0.0 V down to which it may be discharged, no 0 %."""
    assert heard("pylon_goodwe", ("370", "00" * 8)).bank is None
    for family in ("pylon", "victron"):
        decoded = heard(family, ("372", "00" * 8))
        assert decoded.bank is None and decoded.info == {}
    assert bank("victron", ("372", "0000020000000000")).modules_charge_blocked == 2
    assert _one("pylon", "351", "3802640064000000").keys() == {
        "charge_voltage_limit", "charge_current_limit", "discharge_current_limit",
    }  # fmt: skip
    assert _one("pylon", "355", "3C000000").keys() == {"soc"}


@pytest.mark.parametrize(("family", "frame_id", "data", "name"), [
    ("deye_pcs", "351", "480200025802", "discharge_voltage_limit"), ("deye_pcs", "355", "3F00", "soh"),
    ("pytes", "400", "1402FA007D00", "discharge_voltage_limit"), ("pytes", "404", "1200", "soh"),
    ("afore", "352", "F401F4013802", "discharge_voltage_limit"), ("goodwe_classic", "456", "3802F401F401", "discharge_voltage_limit"),
    ("megarevo", "1F000301", "3C00", "soh"), ("growatt", "313", "1522000000EA63", "soh"),
])  # fmt: skip
def test_a_zero_of_what_cannot_be_zero_is_unknown_in_every_family(
    family: str, frame_id: str, data: str, name: str
) -> None:
    """The last voltage to discharge to, and the state of health."""
    blank = data.ljust(16, "0")
    assert getattr(bank(family, (frame_id, blank)), name) is None


def test_a_battery_of_high_voltage_has_no_voltage_here() -> None:
    """A limit of 450 V: 356 counts in tenths, and 410.0 V is not 41.00 V, nor is there a power."""
    found = bank("sma", ("351", "9411FA00FA00100E"), ("356", "0410640 0FA00".replace(" ", "")))
    assert (found.voltage, found.power, found.current) == (None, None, 10.0)
    assert bank("sma", ("351", "BC02FA00FA00"), ("356", "BC1B6400FA00")).voltage == 71.0


def test_a_cold_pack_has_no_name() -> None:
    """Temperatures of 3.2 to 12.6 degC begin as text does; a name has three characters, and nothing follows it."""
    for temperature in range(32, 127):
        data = bytes((temperature, 0, temperature - 10, 0, 0xEF, 0x0C, 0xE1, 0x0C))
        assert heard("pylon", ("370", data.hex())).identities == {}
    assert heard("pylon", ("370", b"AB".ljust(8, b"\0").hex())).identities == {}
    assert heard("pylon", ("370", b"ABC".ljust(8, b"\0").hex())).identities[BANK].model == "ABC"
    rest = ("371", "2100220003000400")
    assert heard("pylon", ("370", b"PYTES ES".hex()), rest).identities[BANK].model == "PYTES ES"
    assert (
        heard("pylon", ("370", b"PYTES ES".hex()), ("371", b"S\0\0\0\0\0\0\0".hex())).identities[BANK].model
        == "PYTES ESS"
    )


SOFAR = (("35F", "01010203C8000000"), ("351", "1402740E740ECC01"))


@pytest.mark.parametrize(("last", "left"), [
    (120, 120), (1200, 120), (112, 112), (3310, None), (20, None), (190, None), (0, None),
])  # fmt: skip
def test_what_sofar_has_left_says_the_same_as_its_charge(last: int, left: float | None) -> None:
    """60 % of 200 Ah: 120 Ah, or 1200 of a gateway that counts in tenths; a cell in mV is neither (can.md 4.3)."""
    charge = "3C006400FFFF" + last.to_bytes(2, "little").hex()
    assert bank("sofar", *SOFAR, ("355", charge)).remaining_capacity == left


def test_what_sofar_has_left_without_a_capacity_is_no_cell() -> None:
    """2000 to 4200 is one; a worn pack has less left than its charge says of a new one."""
    assert bank("sofar", ("355", "3C006400FFFFEE0C")).remaining_capacity is None
    assert bank("sofar", ("355", "3C006400FFFF7800")).remaining_capacity == 120
    assert bank("sofar", ("35F", "01010203C8000000"), ("355", "3C005000FFFF6000")).remaining_capacity == 96


@pytest.mark.parametrize(("mean", "whole"), [(192, False), (208, True), (286, True), (338, False)])
def test_whole_degrees_are_ten_times_less_and_not_only_less(mean: int, whole: bool) -> None:
    """26 in 370: 26 degC where 356 says 20.8 to 28.6 degC, 2.6 degC where it says less or more (can.md 6.6)."""
    found = bank("pylon_goodwe", ("370", "1A001800EF0CE10C"), ("356", "A01438FF" + mean.to_bytes(2, "little").hex()))
    assert found.cell_temperature_max == (26 if whole else 2.6)


def test_a_serial_number_is_whole_or_none() -> None:
    """Half of one would be another one; it is in the identity only."""
    first, second = ("380", b"HQ123456".hex()), ("381", b"7890\0\0\0\0".hex())
    assert heard("victron", first).identities == {}
    assert heard("victron", second).identities == {}
    whole = heard("victron", first, second)
    assert whole.identities == {BANK: Identity(serial="HQ1234567890")}
    assert whole.info == {} and whole.bank is None
    assert heard("victron", ("380", b"HQ12\0\0\0\0".hex()), ("381", "00" * 8)).identities[BANK].serial == "HQ12"
    assert heard("victron", ("380", "00" * 8), ("381", "00" * 8)).identities == {}


def test_a_name_in_two_frames_is_one_name() -> None:
    """Its space may stand at the seam; the first half alone is still a name, the second is not."""
    first, second = ("370", b"DYNESS-L".hex()), ("371", b" Battery".hex())
    for frames in ([first, second], [second, first]):
        assert heard("dyness", *frames).identities[BANK].model == "DYNESS-L Battery"
    assert heard("dyness", first).identities[BANK].model == "DYNESS-L"
    assert heard("dyness", second).identities == {}


def test_victron_frames_in_a_pylon_set_are_read_all_the_same() -> None:
    """A stack of five packs was captured with 373 inside it (can.md 6.2)."""
    found = bank("pylon", ("359", "0000000005504E00"), ("373", "D80CF10C22012A01"), ("379", "F401"))
    assert (found.modules, found.cell_voltage_min, found.cell_temperature_max) == (5, 3.288, 25)
    assert found.design_capacity == 500


def test_discover_has_versions_where_victron_has_modules_and_cells() -> None:
    """372 and 373 of four bytes, the last one first."""
    decoded = heard("discover", ("372", "00000102"), ("373", "01000000"), ("354", "2C01BA0000000000"))
    assert decoded.identities[BANK].firmware == "2.1.0.0"
    assert decoded.info == {"protocol_version": "0.0.0.1"}
    assert decoded.bank is not None and decoded.bank.modules_online is None
    assert (decoded.bank.design_capacity, decoded.bank.remaining_capacity) == (300, 186)


def test_sofar_cells_are_those_of_one_pack_in_a_row() -> None:
    """An inverter asks for one pack after the other: what is of another one does not follow."""
    first, second = ("680", "00030D020D010D00"), ("681", "00000DFF0CFE0C00")
    assert heard("sofar", first, second).info["cell_readings"] == [3.331, 3.33, 3.329, 3.328, 3.327, 3.326]
    assert heard("sofar", ("680", "05030D020D010D00"), second).info["cell_readings"] == [3.331, 3.33, 3.329]
    assert heard("sofar", second).info == {}


def test_only_families_with_serial_numbers_say_so() -> None:
    """And only their frames are kept out of diagnostics."""
    assert [name for name in NAMES if CAN[name].tells_serials] == ["sma", "victron"]
    assert CAN["victron"].private_ids == {0x380, 0x381}
    assert all(CAN[name].speaks_for_bank for name in NAMES)


@pytest.mark.parametrize("family", NAMES)
@given(chosen=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=64)), max_size=12))
@settings(max_examples=100, deadline=None)
def test_no_bytes_stop_a_family(family: str, chosen: list[tuple[int, bytes]]) -> None:
    """Any of its ids with any bytes of any length reads, composes, is judged and shown."""
    known = sorted(CAN[family].ids)
    frames = [CanFrame(id=known[number % len(known)], data=data) for number, data in chosen]
    read = [one for frame in frames if (one := CAN[family].read(frame)) is not None]
    decoded = CAN[family].compose(read)
    json.dumps(dict(decoded.info))
    if decoded.bank is not None:
        published, _ = hold_back(decoded.bank)
        assert published.soc is None or 0 <= published.soc <= 100
        assert published.voltage is None or 8 <= published.voltage <= 70


def test_a_frame_of_others_is_not_read() -> None:
    """Not even 29-bit 00000351 (can.md section 1)."""
    assert said("pylon", "00000351", "1402740E740ECC01") is None
    assert said("pylon", "305", "0000000000000000") is None
    assert CAN["pylon"].compose([]).bank is None
    assert CAN["pylon"].compose([Said(values={"soc": 5})]).bank == BankState(family="pylon", soc=5)
