"""GoodWe's older frames: shares in tenths or in hundredths of a percent."""

import pytest

from custom_components.lfp_battery.bms.model import Alarm

from .own import bank, bits_of, heard, said


@pytest.mark.parametrize(("frame_id", "data", "alarm"), bits_of("goodwe_classic"))
def test_a_bit_is_exactly_one_alarm(frame_id: str, data: str, alarm: Alarm) -> None:
    """Alarms in the first word, warnings in the second."""
    assert bank("goodwe_classic", (frame_id, data)).alarms == frozenset({alarm})


@pytest.mark.parametrize(
    ("soc", "soh", "shown"),
    [
        (8450, 9900, (84.5, 99.0)),
        (845, 990, (84.5, 99.0)),
        (500, 9900, (5.0, 99.0)),  # would be 50 % if SOC were looked at alone
        (500, 990, (50.0, 99.0)),
        (0, 9900, (0.0, 99.0)),
        (0, 1000, (0.0, 100.0)),
        (10000, 10000, (100.0, 100.0)),
        (1000, 1000, (100.0, 100.0)),
        (8450, 0xFFFF, (84.5, None)),
        (500, 0xFFFF, (None, None)),
        (500, 0, (None, None)),
        (0xFFFF, 9900, (None, 99.0)),
    ],
)
def test_the_scale_is_decided_for_both_shares_at_once(
    soc: int, soh: int, shown: tuple[float | None, float | None]
) -> None:
    """SOC below 10 % in hundredths looks like up to 100 % in tenths; SOH tells the two apart."""
    data = soc.to_bytes(2, "little") + soh.to_bytes(2, "little")
    found = said("goodwe_classic", "457", data.hex())
    assert (found.values if found else {}) == {
        name: value for name, value in zip(("soc", "soh"), shown, strict=True) if value is not None
    }


@pytest.mark.parametrize(("raw", "amperes"), [("68FF", -15.2), ("9800", 15.2), ("FFFF", -0.1), ("0080", None)])
def test_current_is_positive_while_charging(raw: str, amperes: float | None) -> None:
    """Signed, tenths; the voltage has tenths, too."""
    found = bank("goodwe_classic", ("458", f"1302{raw}ECFF0000"))
    assert (found.voltage, found.current, found.temperature) == (53.1, amperes, -2.0)


def test_limits_and_packs() -> None:
    """456, and 453 in which none means that nobody knows."""
    found = bank("goodwe_classic", ("453", "0300000000000000"), ("456", "3802EE020BFDD001"))
    assert (found.charge_voltage_limit, found.discharge_voltage_limit) == (56.8, 46.4)
    assert (found.charge_current_limit, found.discharge_current_limit) == (75.0, 75.7)
    assert found.modules == 3
    assert said("goodwe_classic", "453", "0000000000000000") is None


def test_bits_that_nobody_has_named_are_kept() -> None:
    """As they came; they raise nothing."""
    decoded = heard("goodwe_classic", ("455", "0002800000000000"))
    assert decoded.bank is not None
    assert decoded.bank.alarms == frozenset()
    assert decoded.info == {"unnamed_455": "00028000"}
