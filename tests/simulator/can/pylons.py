"""Sets that descend from Pylon's: with 359 and 35C (can.md sections 6.1 to 6.6, 6.12 and 6.15 to 6.17)."""

from typing import Final

from custom_components.lfp_battery.bms.model import Alarm
from tests.simulator.bank import SimBank

from .set35x import (
    FLAGS,
    Encoder,
    Slot,
    capacity,
    charge,
    extremes,
    flags,
    flow,
    in_order,
    installed,
    limits,
    maker,
    modules,
    name,
    paired,
    places,
    requests,
)
from .speaker import Broadcast
from .view import View
from .wire import Body, C, P, W, pairs, table

PYLON: Final = in_order(
    Slot(0x359, flags()),
    Slot(0x351, limits()),
    Slot(0x355, charge()),
    Slot(0x356, flow()),
    Slot(0x35C, requests()),
    maker("PYLON"),
)

# Section 6.2: V1.3 has neither 359 nor 35C, and is told from SMA by its name only
PYLON_V13: Final = in_order(
    Slot(0x351, limits()),
    Slot(0x355, charge(6)),
    Slot(0x356, flow()),
    Slot(0x35A, paired(())),
    maker("PYLON"),
    Slot(0x35F, installed(b"LI\x01\x03", b"\xaa\x00")),
)

# "Pylon 2.0": the flags of Pylon, the cells of Victron
PYLON_V2: Final = in_order(
    Slot(0x359, flags(8)),
    Slot(0x351, limits()),
    Slot(0x355, charge(8)),
    Slot(0x356, flow(8)),
    Slot(0x35C, requests(8)),
    maker("PYLON", pad=0),
    Slot(0x35A, paired()),
    Slot(0x372, modules),
    Slot(0x373, extremes),
    *places(),
    Slot(0x379, capacity()),
    step=0.05,
)

# A Pytes pack in Pylon mode, section 6.10: its own tag and a name without padding
PYTES_AS_PYLON: Final = in_order(
    Slot(0x359, flags(tag="PY")),
    Slot(0x351, limits()),
    Slot(0x355, charge()),
    Slot(0x356, flow()),
    Slot(0x35C, requests()),
    maker("PYTES", 5),
)

SOLARK: Final = in_order(
    Slot(0x359, flags(8)),
    Slot(0x351, limits()),
    Slot(0x355, charge(8)),
    Slot(0x356, flow(8, per=10)),
    Slot(0x35C, requests(8)),
    maker("SOLARKB"),
    Slot(0x379, capacity()),
)


def _lux_charge(view: View) -> Body:
    """355; a reader may take the last four bytes for cells only from 2.0 to 4.2 V (section 4.3)."""
    body = Body().word(0, view.soc, 1, "soc").word(2, view.soh, 1, "soh")
    for at, place, field in ((4, view.cell_high, "cell_voltage_max"), (6, view.cell_low, "cell_voltage_min")):
        body.word(at, place.value, 1000, field if 2.0 <= round(place.value, 3) <= 4.2 else None)
    return body


def _lux_flow(view: View) -> Body:
    return (
        Body()
        .short(0, view.voltage, 100, "voltage")
        .short(2, view.current, 10, "current")
        .short(4, view.hottest.value, 10, "cell_temperature_max")
        .short(6, view.coldest.value, 10, "cell_temperature_min")
    )


def _lux_flags(view: View) -> Body:
    body = Body().raise_alarms(FLAGS, view.alarms)
    if view.online:
        body.byte(4, view.online, "modules")
    return body.word(5, view.capacity, 1, "design_capacity")


def _lux_requests(view: View) -> Body | None:
    body = requests(8)(view)
    return body and body.word(2, view.cycles, 1, "cycles")


LUXPOWER: Final = in_order(
    Slot(0x351, limits()),
    Slot(0x355, _lux_charge),
    Slot(0x356, _lux_flow),
    Slot(0x359, _lux_flags),
    Slot(0x35C, _lux_requests),
    maker("LUXBATT"),
)


def _numeric(high_first: bool) -> Encoder:
    """370: two temperatures and two cells, in an order that is the maker's."""

    def encode(view: View) -> Body:
        body = Body()
        for at, (degrees, volts, which) in enumerate(
            ((view.hottest, view.cell_high, "max"), (view.coldest, view.cell_low, "min"))
        ):
            place = 2 * (at if high_first else 1 - at)
            body.short(place, degrees.value, 10, f"cell_temperature_{which}")
            body.word(4 + place, volts.value, 1000, f"cell_voltage_{which}")
        return body

    return encode


def _numbers(view: View) -> Body:
    """371: which sensors and cells."""
    return (
        Body()
        .word(0, view.hottest.cell)
        .word(2, view.coldest.cell)
        .word(4, view.cell_high.cell, 1, "cell_voltage_max_cell")
        .word(6, view.cell_low.cell, 1, "cell_voltage_min_cell")
    )


def _goodwe(brand: str, numeric: int = 0x370, *, high_first: bool = True) -> tuple[Broadcast, ...]:
    return in_order(
        Slot(0x359, flags(8, last=1)),
        Slot(0x351, limits()),
        Slot(0x355, charge()),
        Slot(0x356, flow()),
        Slot(0x35C, requests()),
        maker(brand),
        Slot(numeric, _numeric(high_first)),
        *([Slot(0x371, _numbers)] if high_first else []),
    )


SEPLOS: Final = _goodwe("SEPLOS")
SEPLOS_070: Final = _goodwe("SEPLOS", 0x070)
SHOTO: Final = _goodwe("SHOTO", high_first=False)

# Section 6.15: the same bits as Pylon's in 359, nothing in bytes 4 to 7, two bits more for sub packs, 399 for cells
_CELLS: Final = {0: C.CELL_OVERVOLTAGE, 1: C.CELL_UNDERVOLTAGE}
_399: Final = table({(2, W): _CELLS, (4, P): _CELLS})


def _residential_requests(view: View) -> Body:
    mask = 0x80 * view.charge_enabled + 0x40 * view.discharge_enabled + 0x20 * view.starves
    return (
        Body(2)
        .bits(0, mask)
        .say(
            charge_enabled=view.charge_enabled,
            discharge_enabled=view.discharge_enabled,
            force_charge_requested=view.starves,
        )
    )


def _residential_size(view: View) -> Body:
    return Body().word(0, view.capacity * view.voltage / 1000, 10).raise_alarms(_399, view.alarms)


def _residential_cells(view: View) -> Body:
    return (
        Body()
        .word(0, view.cell_high.value, 1000, "cell_voltage_max")
        .word(2, view.cell_low.value, 1000, "cell_voltage_min")
        .word(4, view.cell_high.cell, 1, "cell_voltage_max_cell")
        .word(6, view.cell_low.cell, 1, "cell_voltage_min_cell")
    )


def _residential_heat(view: View) -> Body:
    return (
        Body()
        .byte(0, view.hottest.value, "cell_temperature_max", offset=50)
        .byte(1, view.coldest.value, "cell_temperature_min", offset=50)
        .byte(2, view.hottest.cell)
        .byte(3, view.coldest.cell)
    )


LI_RESIDENTIAL: Final = in_order(
    Slot(0x351, limits()),
    Slot(0x355, charge()),
    Slot(0x356, flow(per=10)),
    Slot(0x359, lambda view: Body().raise_alarms(FLAGS, view.alarms)),
    Slot(0x35C, _residential_requests),
    maker("LIRES"),
    Slot(0x399, _residential_size),
    Slot(0x3DA, _residential_cells),
    Slot(0x3DB, _residential_heat),
)


def _sofar_charge(view: View) -> Body:
    return (
        Body()
        .word(0, view.soc, 1, "soc")
        .word(2, view.soh, 1, "soh")
        .bits(4, 0xFF)
        .bits(5, 0xFF)
        .word(6, view.remaining, 1, "remaining_capacity")
    )


def _sofar_flow(view: View) -> Body | None:
    body = flow(8)(view)
    return body and body.word(6, view.cycles, 1, "cycles")


def _sofar_build(view: View) -> Body:
    """359: how the bank is built; other sources have it in bytes 4 to 7, so that no field is claimed here."""
    cells = view.packs[0].spec.cells if view.packs else 0
    body = Body().byte(1, 1).byte(2, 2).byte(3, cells)
    return body.byte(0, view.online)


def _sofar_switches(view: View) -> Body:
    return (
        Body()
        .byte(1, 0x01 * view.discharge_enabled + 0x02 * view.charge_enabled)
        .say(charge_enabled=view.charge_enabled, discharge_enabled=view.discharge_enabled)
    )


def _sofar_cells(part: int) -> Encoder:
    """680 to 685, only while an inverter asks: three cells of the first pack each."""

    def encode(view: View) -> Body | None:
        if not view.inverter or not view.packs:
            return None
        body = Body()
        for place, volts in enumerate(view.packs[0].cell_voltages[3 * part : 3 * part + 3]):
            body.word(2 + 2 * place, volts, 1000)
        return body

    return encode


class _OnChange:
    """35A of Sofar: sent at the start and when it changes, section 6.12."""

    def __init__(self) -> None:
        self._known: frozenset[Alarm] | None = None
        self._encode = paired()

    def __call__(self, view: View) -> Body | None:
        if view.alarms == self._known:
            return None
        self._known = view.alarms
        return self._encode(view)


def sofar(_: SimBank) -> tuple[Broadcast, ...]:
    """The set of section 6.12; new for every battery, which remembers the alarms it has told."""
    return in_order(
        Slot(0x351, limits()),
        Slot(0x355, _sofar_charge),
        Slot(0x356, _sofar_flow),
        Slot(0x359, _sofar_build),
        Slot(0x35A, _OnChange()),
        maker("AMASS", pad=0),
        Slot(0x35F, installed(b"\x01\x01\x00\x00")),
        Slot(0x30F, _sofar_switches),
        *(Slot(0x680 + part, _sofar_cells(part)) for part in range(6)),
        step=0.05,
    )


def _dyness_totals(view: View) -> Body:
    """70D as the capture shows it, which is inference: state of charge, 10, 0.1 kWh and Ah."""
    return Body().word(0, view.soc).word(2, 10).word(4, view.capacity * view.voltage / 1000, 10).word(6, view.capacity)


def _dyness_switches(view: View) -> Body:
    """30F: zeros that must not be read as switches (section 6.16)."""
    return Body()


DYNESS: Final = in_order(
    Slot(0x351, limits()),
    Slot(0x355, charge(8)),
    Slot(0x356, flow(8)),
    Slot(0x359, flags(8, tag="", last=1)),
    Slot(0x35A, paired(())),
    Slot(0x35C, requests(8)),
    maker("DYNESS-L"),
    Slot(0x35F, installed(bytes(4))),
    *name(0x370, "DYNESS-L Battery"),
    Slot(0x30F, _dyness_switches),
    Slot(0x70D, _dyness_totals),
    step=0.05,
)

# Section 6.17: warnings begin at pair 14
_LYNK_ALARMS: Final = {
    0: C.OTHER,
    1: C.OVERVOLTAGE,
    2: C.UNDERVOLTAGE,
    3: C.OVERTEMPERATURE,
    4: C.UNDERTEMPERATURE,
    5: C.CHARGE_OVERTEMPERATURE,
    6: C.CHARGE_UNDERTEMPERATURE,
    7: C.DISCHARGE_OVERCURRENT,
    8: C.CHARGE_OVERCURRENT,
    10: C.INTERNAL_FAILURE,
    11: C.CELL_IMBALANCE,
}
_LYNK: Final = pairs(_LYNK_ALARMS, P) + pairs(
    {number + 13: condition for number, condition in _LYNK_ALARMS.items() if number}, W
)


def _lynk_capacity(view: View) -> Body:
    return Body().word(0, view.capacity, 1, "design_capacity").word(2, view.remaining, 1, "remaining_capacity")


def _bytes(*content: int) -> Encoder:
    def encode(view: View) -> Body:
        body = Body(len(content))
        body.data[:] = bytes(content)
        return body

    return encode


def _firmware(view: View) -> Body:
    """372: four numbers, the last byte first."""
    return Body(4).byte(3, 2).byte(2, 1).name(firmware="2.1.0.0")


DISCOVER: Final = (
    *in_order(
        Slot(0x351, limits()),
        Slot(0x354, _lynk_capacity),
        Slot(0x355, charge(8)),
        Slot(0x356, flow(8, per=10)),
        Slot(0x35A, paired(_LYNK, 7, unused=3)),
        *name(0x370, "Discover AES"),
        Slot(0x372, _firmware, text=True),
        Slot(0x373, _bytes(1, 0, 0, 0), text=True),
        step=0.05,
    ),
    *in_order(maker("DISCOVER"), period=10.0),
)

GENERIC: Final = in_order(Slot(0x351, limits()), Slot(0x355, charge()), Slot(0x356, flow()), maker("HOMEBAT", 7))
