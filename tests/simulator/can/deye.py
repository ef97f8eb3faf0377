"""Deye's own packs: "DY low voltage" V3.3, with frames of every pack (can.md section 6.5 b)."""

from typing import Final

from custom_components.lfp_battery.bms.model import Mode
from tests.simulator.bank import SimBank
from tests.simulator.pack import SimPack

from .set35x import Slot, charge, in_order, limits
from .speaker import Broadcast
from .view import View
from .wire import Body, C, P, W, table

MOST: Final = 16  # packs

_0: Final = {
    0: C.CELL_OVERVOLTAGE,
    1: C.CELL_UNDERVOLTAGE,
    2: C.PACK_OVERVOLTAGE,
    3: C.PACK_UNDERVOLTAGE,
    4: C.CHARGE_OVERCURRENT,
    5: C.DISCHARGE_OVERCURRENT,
    6: C.CHARGE_OVERTEMPERATURE,
    7: C.CHARGE_UNDERTEMPERATURE,
}
_1: Final = {
    0: C.DISCHARGE_OVERTEMPERATURE,
    1: C.DISCHARGE_UNDERTEMPERATURE,
    2: C.CELL_IMBALANCE,
    3: C.TEMPERATURE_IMBALANCE,
    4: C.MOSFET_OVERTEMPERATURE,
    5: C.HEATER_OVERTEMPERATURE,
}
FAULTS: Final = table(
    {
        (0, P): _0,
        (4, W): _0,
        (1, P): {**_1, 6: C.DISCHARGE_OVERCURRENT, 7: C.DISCHARGE_OVERCURRENT},
        (5, W): {**_1, 6: C.HEATER_FAILURE, 7: C.HEATER_FAILURE},
        (2, P): {4: C.SHORT_CIRCUIT, 5: C.UNDERTEMPERATURE, 6: C.OVERTEMPERATURE, 7: C.SHORT_CIRCUIT},
        (3, P): {
            0: C.INTERNAL_FAILURE,
            1: C.VOLTAGE_SENSING_FAILURE,
            2: C.TEMPERATURE_SENSING_FAILURE,
            3: C.MOSFET_FAILURE,
            4: C.INTERNAL_FAILURE,
            5: C.COMMUNICATION_FAILURE,
            6: C.COMMUNICATION_FAILURE,
            7: C.CONFIGURATION_CONFLICT,
        },
        (6, P): {
            1: C.PRECHARGE_FAILURE,
            2: C.REVERSE_POLARITY,
            3: C.TERMINAL_OVERTEMPERATURE,
            4: C.FUSE_FAILURE,
            5: C.WIRING_FAILURE,
            6: C.WIRING_FAILURE,
            7: C.CHARGER_UNDERVOLTAGE,
        },
    }
)
_MODES: Final = {Mode.STANDBY: 0, Mode.CHARGING: 1, Mode.DISCHARGING: 2}


def _flow(view: View) -> Body:
    return (
        Body()
        .short(0, view.voltage, 100, "voltage")
        .short(2, view.current, 10, "current", sign=-1)
        .short(4, view.temperature, 10, "temperature")
    )


def _requests(view: View) -> Body:
    """35C: bits 7 and 6 stay 0 in practice."""
    mask = 0x20 * view.starves + 0x10 * view.begs + 0x08 * view.full_charge_requested
    return (
        Body(2)
        .bits(0, mask)
        .say(
            force_charge_requested=view.starves or view.begs,
            full_charge_requested=view.full_charge_requested,
        )
    )


def _maker(view: View) -> Body:
    body = Body().bits(5, 2).say(manufacturer="DY")
    body.text(0, 5, f"DY{len(view.installed):03d}")
    if view.installed:
        body.say(modules=len(view.installed))
    return body.word(6, view.capacity, 10, "design_capacity")


def _extremes(view: View) -> Body:
    return (
        Body()
        .word(0, view.cell_high.value, 1000, "cell_voltage_max")
        .word(2, view.cell_low.value, 1000, "cell_voltage_min")
        .short(4, view.hottest.value, 10, "cell_temperature_max")
        .short(6, view.coldest.value, 10, "cell_temperature_min")
    )


def _versions(view: View) -> Body:
    return Body().word(0, 0x2008).word(2, 0x2108).name(firmware="2008", hardware="2108")


def _counts(view: View) -> Body:
    # how many are normal does not count those that are full: what is there is the total without what is off line
    healthy = sum(pack.charge_enabled and pack.discharge_enabled for pack in view.packs)
    return (
        Body()
        .byte(0, healthy)
        .byte(1, view.charge_blocked, "modules_charge_blocked")
        .byte(2, view.discharge_blocked, "modules_discharge_blocked")
        .byte(3, view.offline)
        .byte(4, len(view.installed))
        .say(modules_online=view.online)
    )


def _grid(view: View) -> Body:
    """371: limits while the grid is there."""
    return Body().short(0, view.charge_limit * 0.9, 10).short(2, view.discharge_limit * 0.9, 10)


BANK: Final = (
    Slot(0x351, limits()),
    Slot(0x371, _grid),
    Slot(0x355, charge(8)),
    Slot(0x356, _flow),
    Slot(0x359, lambda view: Body().raise_alarms(FAULTS, view.alarms)),
    Slot(0x35C, _requests),
    Slot(0x35E, _maker, text=True),
    Slot(0x361, _extremes),
    Slot(0x363, _versions, text=True),
    Slot(0x364, _counts),
)


def _switches(pack: SimPack, body: Body) -> None:
    body.raise_alarms(FAULTS, pack.alarms)
    body.bits(7, 0x01 + 0x10 * pack.charge_enabled + 0x20 * pack.discharge_enabled + 0x80 * pack.heater_active)
    body.say(
        charge_enabled=pack.charge_enabled,
        discharge_enabled=pack.discharge_enabled,
        heater_active=pack.heater_active,
    )


def _figures(pack: SimPack, body: Body) -> None:
    body.word(0, pack.voltage, 10, "voltage").short(2, pack.current, 10, "current", sign=-1)
    body.word(4, pack.soc, 10, "soc").word(6, pack.soh, 10, "soh")


def _cells(pack: SimPack, body: Body) -> None:
    body.word(0, max(pack.cell_voltages), 1000, "cell_voltage_max")
    body.word(2, min(pack.cell_voltages), 1000, "cell_voltage_min")
    body.short(4, max(pack.cell_temperatures), 10, "cell_temperature_max")
    body.short(6, min(pack.cell_temperatures), 10, "cell_temperature_min")


def _board(pack: SimPack, body: Body) -> None:
    body.short(0, pack.mosfet_temperature, 10, "mosfet_temperature")
    body.short(2, pack.temperature + 20 * pack.heater_active, 10, "heater_temperature")
    body.word(4, pack.charge_limit, 1, "charge_current_limit")
    body.word(6, pack.discharge_limit, 1, "discharge_current_limit")


def _state(pack: SimPack, body: Body) -> None:
    mode = Mode.CHARGING if pack.current > 0.1 else Mode.DISCHARGING if pack.current < -0.1 else Mode.STANDBY
    severities = {alarm.severity for alarm in pack.alarms}
    body.byte(0, _MODES[mode]).say(mode=mode)
    body.byte(1, 2 if severities - {W} else 1 if severities else 0)
    body.word(2, int(pack.cycles), 1, "cycles")
    body.word(4, sum(1 << cell - 1 for cell in pack.balancing_cells)).say(balancing_cells=pack.balancing_cells)


def _software(pack: SimPack, body: Body) -> None:
    body.word(0, 0x0821).bits(2, 0xAA)
    body.text(3, 5, "B1.02")
    body.name(firmware="0821")


def _energy(pack: SimPack, body: Body) -> None:
    body.long(0, pack.meter.charged / 1000, 1000, "energy_charged")
    body.long(4, pack.meter.discharged / 1000, 1000, "energy_discharged")


def _serial_1(pack: SimPack, body: Body) -> None:
    body.text(0, 8, pack.spec.serial)
    body.name(serial_1=pack.spec.serial[:8])


def _serial_2(pack: SimPack, body: Body) -> None:
    body.text(0, 8, pack.spec.serial[8:])
    body.name(serial_2=pack.spec.serial[8:16])


def _nothing(pack: SimPack, body: Body) -> None:
    """Counts of protections: none."""


_PACK: Final = {
    0x110: _switches,
    0x150: _figures,
    0x200: _cells,
    0x250: _board,
    0x400: _state,
    0x500: _software,
    0x550: _energy,
    0x600: _serial_1,
    0x650: _serial_2,
    0x700: _nothing,
    0x750: _nothing,
}
_TEXTS: Final = frozenset({0x500, 0x600, 0x650})


def _of_pack(base: int, number: int) -> Slot:
    fill = _PACK[base]

    def encode(view: View) -> Body | None:
        if number > len(view.installed) or view.installed[number - 1].silent:
            return None
        body = Body(pack=number)
        fill(view.installed[number - 1], body)
        return body

    return Slot(base + number - 1, encode, text=base in _TEXTS)


def deye(bank: SimBank) -> tuple[Broadcast, ...]:
    """Ten frames of the bank and eleven of every pack that is there, once a second."""
    numbers = range(1, min(len(bank.packs), MOST) + 1)
    packs = [_of_pack(base, number) for number in numbers for base in _PACK]
    return (*in_order(*BANK, step=0.01), *in_order(*packs, start=0.1, step=0.002))
