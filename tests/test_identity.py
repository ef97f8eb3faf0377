"""Who a pack is, and what is remembered of it."""

import pytest

from custom_components.lfp_battery.bms.model import Alarm, BatteryState, Condition, Identity, PackState, Severity
from custom_components.lfp_battery.identity import Record, could_be_serial, records_of, trusted_serial


@pytest.mark.parametrize("serial", ["PPTAP01234567890", "H221027C30801234", "K-2021/0001 A", "1042587"])
def test_a_serial_number_of_a_sane_alphabet_is_trusted(serial: str) -> None:
    """Letters, digits and the separators that factories use."""
    assert trusted_serial(serial, ()) == serial


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "0000000000",
            "FFFFFFFFFFFFFFFF",
            "----------------",
            "0-0-0-0-0-0",
            "12345",
            "123456789",
            "\x00\x01abcdef",
        ),
        *("20230415", "2023-04-15", "230415", "2023/04/15 12:30", "2023-04-15T12:30:59", "äöüäöüäöü", "ABC DEF\n"),
    ],
)
def test_a_filler_a_date_or_garbage_is_no_serial_number(text: str) -> None:
    """Design, "Identity": constant, zero or a date do not tell packs apart."""
    assert not could_be_serial(text)


def test_a_serial_number_that_another_pack_has_is_not_trusted() -> None:
    """PACE over RS232 gives pack 1's number for all."""
    assert trusted_serial("PPTAP01234567890", {"PPTAP01234567890"}) is None


def test_packs_that_share_a_serial_number_are_known_by_entry_and_address() -> None:
    """Two of three packs say the same; only the third has a name of its own."""
    shared, own = Identity(serial="PPTAP01234567890"), Identity(serial="PPTAP01234567891")
    records = records_of([(2, None, shared), (3, None, shared), (4, None, own)])
    names = {
        address: Record.from_mapping(record).identity("entry", int(address)) for address, record in records.items()
    }
    assert names == {"2": "entry_2", "3": "entry_3", "4": "PPTAP01234567891"}


def test_a_battery_that_another_entry_has_is_known_by_entry_and_address() -> None:
    """Entity identities are unique in the home, so the second link cannot have the same."""
    records = records_of([(2, None, Identity(serial="PPTAP01234567890"))], taken={"PPTAP01234567890"})
    assert "identifier" not in records["2"]
    assert records["2"]["serial"] == "PPTAP01234567890"


def test_a_record_survives_being_kept_with_the_entry() -> None:
    """Written and read back it is the same, and JSON knows all of it."""
    state = PackState(
        address=2,
        soc=0.0,
        cell_voltages=(3.3, None, 3.31),
        alarms=frozenset({Alarm(condition=Condition.CELL_OVERVOLTAGE, severity=Severity.WARNING)}),
    )
    record = Record(identifier="PPTAP01234567890").learned(state, Identity(firmware="1.2"))
    assert Record.from_mapping(record.as_mapping()) == record
    assert record.as_mapping()["fields"] == ["alarms", "cell_voltages", "soc"]
    assert record.as_mapping()["conditions"] == ["cell_overvoltage"]


def test_a_record_only_ever_grows() -> None:
    """What was once reported is remembered when it is not reported any more."""
    record = Record().learned(BatteryState(soc=50.0, cell_voltages=(3.3,) * 16), Identity(model="US5000", cells=15))
    later = record.learned(BatteryState(voltage=52.0, cell_voltages=(3.3,) * 8), Identity(firmware="2.0"))
    assert later.fields == {"soc", "voltage", "cell_voltages"}
    assert (later.cells, later.model, later.firmware) == (16, "US5000", "2.0")


def test_what_an_older_version_did_not_keep_is_unknown() -> None:
    """A record without newer keys is read without them."""
    assert Record.from_mapping({"serial": "X1Y2Z3"}) == Record(serial="X1Y2Z3")


def test_a_temperature_sensor_is_remembered_from_its_first_reading_on() -> None:
    """By its place: one that nobody has ever heard of leaves a hole, and one that is silent now does not."""
    record = Record().learned(PackState(address=1, cell_temperatures=(20.0, None, 0.0)), None)
    assert record.probes == (0, 2)
    assert record.learned(PackState(address=1, cell_temperatures=(None, 21.0)), None).probes == (0, 1, 2)
    assert Record.from_mapping(record.as_mapping()) == record
    assert record.as_mapping()["probes"] == [0, 2]
