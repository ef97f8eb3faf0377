"""Makers' own sets: Pytes, Afore, GoodWe's 45x and Megarevo (can.md sections 6.7, 6.10, 6.13 and 6.14)."""

from typing import Final

from custom_components.lfp_battery.bms.can_frame import EXTENDED
from custom_components.lfp_battery.bms.model import Mode

from .set35x import Encoder, Slot, in_order
from .view import View
from .wire import Body, C, P, W, table

# --- Pytes native ----------------------------------------------------------------------------------------------------

_403: Final = table(
    {
        (0, P): {0: C.OVERVOLTAGE, 4: C.UNDERVOLTAGE},
        (0, W): {1: C.OVERVOLTAGE, 3: C.UNDERVOLTAGE},
        (1, P): {0: C.OVERTEMPERATURE, 4: C.UNDERTEMPERATURE},
        (1, W): {1: C.OVERTEMPERATURE, 3: C.UNDERTEMPERATURE},
        (2, P): {1: C.DISCHARGE_OVERCURRENT, 3: C.CHARGE_OVERCURRENT},
        (2, W): {5: C.DISCHARGE_OVERCURRENT, 6: C.CHARGE_OVERCURRENT},
    }
)
_406: Final = table({(1, P): {7: C.INTERNAL_FAILURE}})


def four_limits(view: View, order: str = "vcdw") -> Body:
    """Charge voltage (v), charge current (c), discharge current (d) and discharge voltage (w), in tenths."""
    fields = {
        "v": (view.charge_voltage_limit, "charge_voltage_limit"),
        "c": (view.charge_limit, "charge_current_limit"),
        "d": (view.discharge_limit, "discharge_current_limit"),
        "w": (view.discharge_voltage_limit, "discharge_voltage_limit"),
    }
    body = Body()
    for place, letter in enumerate(order):
        value, name = fields[letter]
        body.word(2 * place, value, 10, name)
    return body


def four_extremes(view: View) -> Body:
    """Highest and lowest cell in mV, highest and lowest probe in tenths of a degree."""
    return (
        Body()
        .word(0, view.cell_high.value, 1000, "cell_voltage_max")
        .word(2, view.cell_low.value, 1000, "cell_voltage_min")
        .short(4, view.hottest.value, 10, "cell_temperature_max")
        .short(6, view.coldest.value, 10, "cell_temperature_min")
    )


def _cells(view: View) -> Body:
    """401: a single pack says 0 for its own number (capture); nobody has captured several, here they count from 1, and no reader is told."""
    high, low = view.cell_high, view.cell_low
    body = (
        Body()
        .word(0, high.value, 1000, "cell_voltage_max")
        .word(2, low.value, 1000, "cell_voltage_min")
        .byte(4, high.cell, "cell_voltage_max_cell")
        .byte(6, low.cell, "cell_voltage_min_cell")
    )
    return body.byte(5, high.pack).byte(7, low.pack) if view.online > 1 else body


def _probes(view: View) -> Body:
    return (
        Body()
        .short(0, view.hottest.value, 10, "cell_temperature_max")
        .short(2, view.coldest.value, 10, "cell_temperature_min")
        .byte(4, view.hottest.cell)
        .byte(6, view.coldest.cell)
    )


def _words(view: View) -> Body:
    """403: two words, with the bits that the capture of a healthy pack has set in them."""
    body = Body().raise_alarms(_403, view.alarms)
    for at in (0, 4):
        body.bits(at, 0x04).bits(at + 1, 0x04).bits(at + 2, 0x80)
    if view.current > 0.1:
        body.bits(3, 0x04).say(mode=Mode.CHARGING)
    elif view.current < -0.1:
        body.bits(3, 0x08).say(mode=Mode.DISCHARGING)
    else:
        body.bits(3, 0x02).say(mode=Mode.STANDBY)
    return body


def _charge(view: View) -> Body:
    """404; 409 says the same more exactly."""
    return Body().word(0, view.soc).word(2, view.soh, 1, "soh").word(6, view.cycles, 1, "cycles")


def _flow(view: View) -> Body:
    return (
        Body()
        .word(0, view.voltage, 100, "voltage")
        .short(2, view.current, 10, "current")
        .short(4, view.temperature, 10, "temperature")
        .word(6, 15)
    )


def _switches(view: View) -> Body:
    blocked = [[not getattr(pack, name) for pack in view.packs] for name in ("charge_enabled", "discharge_enabled")]
    masks = [sum(1 << place for place, shut in enumerate(one) if shut) & 0xFF for one in blocked]
    return (
        Body(7)
        .bits(0, view.charge_enabled)
        .bits(1, view.discharge_enabled)
        .bits(2, view.begs)
        .bits(5, masks[0])
        .bits(6, masks[1])
        .say(
            charge_enabled=view.charge_enabled,
            discharge_enabled=view.discharge_enabled,
            force_charge_requested=view.begs,
            modules_charge_blocked=sum(blocked[0]),
            modules_discharge_blocked=sum(blocked[1]),
        )
    )


def _milliamperehours(view: View) -> Body:
    body = Body().long(0, view.full, 1000, "full_capacity").long(4, view.remaining, 1000, "remaining_capacity")
    full, left = round(view.full * 1000), round(view.remaining * 1000)
    return body.say(soc=left / full * 100) if full else body


def _brand(view: View) -> Body:
    body = Body(5)
    return body.say(manufacturer=body.text(0, 5, "PYTES"))


def _clock(view: View) -> Body:
    seconds = int(view.bank.time_of_day)
    body = Body().byte(0, 26).byte(1, 1).byte(2, 1)
    body.byte(3, seconds // 3600).byte(4, seconds // 60 % 60).byte(5, seconds % 60)
    return body.byte(6, view.online, "modules_online").byte(7, view.offline)


def _fixed(content: str) -> Encoder:
    def encode(view: View) -> Body:
        body = Body()
        body.data[:] = bytes.fromhex(content)
        return body

    return encode


PYTES: Final = in_order(
    Slot(0x400, four_limits),
    Slot(0x401, _cells),
    Slot(0x402, _probes),
    Slot(0x403, _words),
    Slot(0x404, _charge),
    Slot(0x405, _flow),
    Slot(0x406, lambda view: Body().raise_alarms(_406, view.alarms)),
    Slot(0x407, _fixed("3B1B7F003B1B0000")),
    Slot(0x408, _switches),
    Slot(0x409, _milliamperehours),
    Slot(0x40A, _brand, text=True),
    Slot(0x40B, _clock, text=True),
    Slot(0x40C, _fixed("0100000001000000")),
    Slot(0x40D, lambda view: Body()),
    Slot(
        0x41E,
        lambda view: (
            Body().long(0, view.charged, 10, "energy_charged").long(4, view.discharged, 10, "energy_discharged")
        ),
    ),
    period=3.5,
    step=0.05,
)

# --- Afore -----------------------------------------------------------------------------------------------------------

_AFORE_0: Final = {
    0: C.CELL_OVERVOLTAGE,
    1: C.CELL_UNDERVOLTAGE,
    2: C.PACK_OVERVOLTAGE,
    3: C.PACK_UNDERVOLTAGE,
    4: C.OVERTEMPERATURE,
    5: C.UNDERTEMPERATURE,
    6: C.ISOLATION_FAILURE,
    7: C.CHARGE_OVERCURRENT,
}
_AFORE_1: Final = {0: C.DISCHARGE_OVERCURRENT, 1: C.LOW_SOC, 2: C.COMMUNICATION_FAILURE}
_353: Final = table(
    {
        (0, P): _AFORE_0,
        (1, P): {**_AFORE_1, 5: C.CONTACTOR_FAILURE, 6: C.PRECHARGE_FAILURE, 7: C.INTERLOCK_OPEN},
        (3, P): {1: C.INTERNAL_FAILURE, 2: C.OVERVOLTAGE, 3: C.MOSFET_FAILURE, 7: C.CELL_IMBALANCE},
    }
)
_357: Final = table({(0, W): _AFORE_0, (1, W): _AFORE_1})


def _afore_flow(view: View) -> Body:
    return (
        Body()
        .word(0, view.voltage, 10, "voltage")
        .word(2, view.current, 10, "current", offset=5000)
        .word(4, view.temperature, 10, "temperature", offset=1000)
    )


def _afore_state(view: View) -> Body:
    cells = view.packs[0].spec.cells if view.packs else 0
    broken = any(alarm.severity is not W for alarm in view.alarms)
    state = 4 if broken else 3 if view.alarms else 1
    body = Body().byte(0, view.soc, "soc").byte(1, view.soh, "soh").byte(2, 100).byte(3, 10)
    body.bits(4, 0x01 * view.charge_enabled + 0x02 * view.discharge_enabled + (state << 5))
    body.say(charge_enabled=view.charge_enabled, discharge_enabled=view.discharge_enabled)
    if state == 4:
        body.say(mode=Mode.FAULT)
    elif state == 1:
        # "normal": whether it charges is told by the current, as far as the wire tells that
        tenths = round(view.current * 10)
        body.say(mode=Mode.CHARGING if tenths > 0 else Mode.DISCHARGING if tenths < 0 else Mode.STANDBY)
    return body.word(6, cells)


def _afore_cells(view: View) -> Body:
    return (
        Body()
        .word(0, view.cell_high.value, 1000, "cell_voltage_max")
        .word(2, view.cell_low.value, 1000, "cell_voltage_min")
        .word(4, view.cell_high.cell, 1, "cell_voltage_max_cell")
        .word(6, view.cell_low.cell, 1, "cell_voltage_min_cell")
    )


def _afore_probes(view: View) -> Body:
    return (
        Body()
        .word(0, view.hottest.value, 10, "cell_temperature_max", offset=1000)
        .word(2, view.coldest.value, 10, "cell_temperature_min", offset=1000)
        .word(4, view.hottest.cell)
        .word(6, view.coldest.cell)
    )


def _afore_serial(part: int) -> Encoder:
    def encode(view: View) -> Body:
        body = Body()
        if view.packs:
            body.text(0, 8, view.packs[0].spec.serial[8 * part : 8 * part + 8])
            body.name(**{f"serial_{part + 1}": view.packs[0].spec.serial[8 * part : 8 * part + 8]})
        return body

    return encode


AFORE: Final = in_order(
    Slot(0x350, _afore_flow),
    Slot(0x351, _afore_state),
    Slot(0x352, lambda view: four_limits(view, "cdvw")),
    Slot(0x353, lambda view: Body().raise_alarms(_353, view.alarms)),
    Slot(0x354, _afore_cells),
    Slot(0x355, _afore_probes),
    Slot(0x356, lambda view: Body().word(0, 3.65, 1000).word(2, 2.5, 1000)),
    Slot(0x357, lambda view: Body().raise_alarms(_357, view.alarms)),
    Slot(0x359, _afore_serial(0), text=True),
    Slot(0x35A, _afore_serial(1), text=True),
    step=0.02,
)

# --- GoodWe 45x ------------------------------------------------------------------------------------------------------

_GOODWE_0: Final = {
    0: C.PACK_OVERVOLTAGE,
    1: C.PACK_UNDERVOLTAGE,
    2: C.OVERTEMPERATURE,
    3: C.UNDERTEMPERATURE,
    4: C.CHARGE_OVERCURRENT,
    5: C.DISCHARGE_OVERCURRENT,
}
_455: Final = table(
    {
        (0, P): {**_GOODWE_0, 6: C.PRECHARGE_FAILURE, 7: C.INTERNAL_FAILURE},
        (1, P): {
            0: C.SHORT_CIRCUIT,
            2: C.CONTACTOR_FAILURE,
            4: C.COMMUNICATION_FAILURE,
            6: C.CELL_UNDERVOLTAGE,
            7: C.CELL_OVERVOLTAGE,
        },
        (2, W): {**_GOODWE_0, 6: C.COMMUNICATION_FAILURE},
        (3, W): {0: C.CELL_IMBALANCE},
    }
)


def _goodwe_packs(view: View) -> Body:
    return Body().word(0, view.online, 1, "modules") if view.online else Body()


def _goodwe_charge(per: int) -> Encoder:
    """457; one source counts in hundredths, another in tenths, and a reader tells them by size."""
    return lambda view: Body().word(0, view.soc, per, "soc").word(2, view.soh, per, "soh")


def _goodwe_flow(view: View) -> Body:
    return (
        Body()
        .word(0, view.voltage, 10, "voltage")
        .short(2, view.current, 10, "current")
        .short(4, view.temperature, 10, "temperature")
    )


_GOODWE_HEAD: Final = (
    Slot(0x453, _goodwe_packs),
    Slot(0x455, lambda view: Body().raise_alarms(_455, view.alarms)),
    Slot(0x456, four_limits),
)
GOODWE: Final = in_order(*_GOODWE_HEAD, Slot(0x457, _goodwe_charge(100)), Slot(0x458, _goodwe_flow))
GOODWE_TENTHS: Final = in_order(*_GOODWE_HEAD, Slot(0x457, _goodwe_charge(10)), Slot(0x458, _goodwe_flow))

# --- Megarevo --------------------------------------------------------------------------------------------------------

_BASE: Final = 0x1F000300 | EXTENDED


def _megarevo_flow(view: View) -> Body:
    return (
        Body()
        .word(0, view.soc, 1, "soc")
        .word(2, view.soh, 1, "soh")
        .word(4, view.voltage, 10, "voltage")
        .short(6, view.current, 10, "current")
    )


def _megarevo_state(view: View) -> Body:
    level = 2 if any(alarm.severity is not W for alarm in view.alarms) else 1 if view.alarms else 0
    return (
        Body()
        .byte(0, level)
        .byte(1, 0 if view.charge_enabled else 2)
        .byte(2, 0 if view.discharge_enabled else 2)
        .say(charge_enabled=view.charge_enabled, discharge_enabled=view.discharge_enabled)
    )


MEGAREVO: Final = in_order(
    Slot(_BASE, lambda view: four_limits(view, "vwcd")),
    Slot(_BASE + 1, _megarevo_flow),
    Slot(_BASE + 2, four_extremes),
    Slot(_BASE + 3, _megarevo_state),
    Slot(
        _BASE + 4,
        lambda view: (
            Body().word(0, view.capacity, 10, "design_capacity").word(2, view.remaining, 10, "remaining_capacity")
        ),
    ),
    step=0.02,
)
