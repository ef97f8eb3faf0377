"""GoodWe's older frames 453 to 458, little endian.

Source: can.md section 6.7, two open decoders; nobody has captured them.
"""

from typing import Final

from ...model import Condition, Severity
from .fields import limit, number, signed, some, unnamed, word
from .layout import Layout, LayoutFamily, Values, bits

_ALARMS: Final = bits(
    0,
    Severity.PROTECTION,
    {
        0: Condition.PACK_OVERVOLTAGE,
        1: Condition.PACK_UNDERVOLTAGE,
        2: Condition.OVERTEMPERATURE,
        3: Condition.UNDERTEMPERATURE,
        4: Condition.CHARGE_OVERCURRENT,
        5: Condition.DISCHARGE_OVERCURRENT,
        6: Condition.PRECHARGE_FAILURE,
        7: Condition.INTERNAL_FAILURE,
        8: Condition.SHORT_CIRCUIT,
        10: Condition.CONTACTOR_FAILURE,  # discharge breaker
        11: Condition.CONTACTOR_FAILURE,  # charge breaker
        12: Condition.COMMUNICATION_FAILURE,
        13: Condition.OVERTEMPERATURE,  # of a cell
        14: Condition.CELL_UNDERVOLTAGE,
        15: Condition.CELL_OVERVOLTAGE,
    },
) + bits(
    2,
    Severity.WARNING,
    {
        0: Condition.PACK_OVERVOLTAGE,
        1: Condition.PACK_UNDERVOLTAGE,
        2: Condition.OVERTEMPERATURE,
        3: Condition.UNDERTEMPERATURE,
        4: Condition.CHARGE_OVERCURRENT,
        5: Condition.DISCHARGE_OVERCURRENT,
        6: Condition.COMMUNICATION_FAILURE,
        8: Condition.CELL_IMBALANCE,
        9: Condition.UNDERTEMPERATURE,
        11: Condition.OVERTEMPERATURE,
    },
)

_TENTHS: Final = 1000  # 100 % in tenths; what is above it counts hundredths


def _scale(data: bytes, values: Values, info: Values) -> None:
    """Decide for both shares at once whether they are tenths or hundredths of a percent.

    One source writes the one, one the other. SOC alone cannot tell: 500 is 50 % or 5 %. SOH can, for no battery that
    still works is at 10 %; where it is missing and SOC is not above 1000, nothing is known.
    """
    soc, soh = values.pop("soc", None), values.pop("soh", None)
    if max(soc or 0, soh or 0) > _TENTHS:
        per = 100
    elif soh:
        per = 10
    else:
        return
    for name, raw in (("soc", soc), ("soh", soh)):
        if raw is not None:
            values[name] = raw / per


class GoodWeClassic(LayoutFamily):
    """See the module."""

    name = "goodwe_classic"
    experimental = True
    layouts = {
        0x453: Layout(number("modules", 0, "H")),
        0x455: Layout(*_ALARMS, finish=unnamed("unnamed_455", _ALARMS, 0, 4)),
        0x456: Layout(
            word("charge_voltage_limit", 0, 10),
            limit("charge_current_limit", 2),
            limit("discharge_current_limit", 4),
            some("discharge_voltage_limit", 6, 10),
        ),
        0x457: Layout(word("soc", 0), some("soh", 2), finish=_scale),
        0x458: Layout(word("voltage", 0, 10), signed("current", 2, 10), signed("temperature", 4, 10)),
    }
