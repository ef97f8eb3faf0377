"""Growatt low voltage, V1.04 and Rev_05: big endian, and cautious without an inverter (can.md section 6.11)."""

from collections.abc import Callable
import math
from typing import Final, override

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.model import Mode
from tests.simulator.bank import SimBank

from .set35x import Slot, in_order
from .speaker import Broadcast, CanSpeaker
from .view import View
from .wire import Body, C, P, W, table

KEEP_ALIVE: Final = 0x301
_ENABLES_AFTER: Final = 3.0  # s of 301 (2 to 4, measured)
_PATIENCE: Final = 1.0  # s without 301 until it is disabled
SWITCHES_OFF_AFTER: Final = 25 * 60.0  # s without an inverter (measured; the manual says an hour)

_312: Final = table(
    {
        (0, P): {
            0: C.PRECHARGE_FAILURE,
            1: C.PACK_UNDERVOLTAGE,
            2: C.PACK_OVERVOLTAGE,
            3: C.CELL_UNDERVOLTAGE,
            4: C.CELL_OVERVOLTAGE,
            5: C.SHORT_CIRCUIT,
            6: C.CHARGE_OVERCURRENT,
            7: C.DISCHARGE_OVERCURRENT,
        },
        (1, P): {
            2: C.CELL_IMBALANCE,
            3: C.INTERNAL_FAILURE,
            4: C.CHARGE_UNDERTEMPERATURE,
            5: C.DISCHARGE_UNDERTEMPERATURE,
            6: C.CHARGE_OVERTEMPERATURE,
            7: C.DISCHARGE_OVERTEMPERATURE,
        },
        (2, W): {
            1: C.PACK_UNDERVOLTAGE,
            2: C.PACK_OVERVOLTAGE,
            3: C.CELL_UNDERVOLTAGE,
            4: C.CELL_OVERVOLTAGE,
            6: C.CHARGE_OVERCURRENT,
            7: C.DISCHARGE_OVERCURRENT,
        },
        (3, W): {
            0: C.COMMUNICATION_FAILURE,
            1: C.SHUTDOWN_IMMINENT,
            2: C.CELL_IMBALANCE,
            4: C.CHARGE_UNDERTEMPERATURE,
            5: C.DISCHARGE_UNDERTEMPERATURE,
            6: C.CHARGE_OVERTEMPERATURE,
            7: C.DISCHARGE_OVERTEMPERATURE,
        },
    }
)
# 323 has what 312 lacks; its overloads repeat 312, so that a pack sets both
_323: Final = table(
    {
        (4, P): {
            0: C.CHARGE_OVERCURRENT,
            1: C.DISCHARGE_OVERCURRENT,
            2: C.COMMUNICATION_FAILURE,
            3: C.PRECHARGE_FAILURE,
            4: C.INTERNAL_FAILURE,
            6: C.CELL_FAILURE,
            7: C.CURRENT_SENSING_FAILURE,
        },
        (5, P): {
            0: C.VOLTAGE_SENSING_FAILURE,
            3: C.REVERSE_POLARITY,
            4: C.OVERVOLTAGE,
            5: C.OVERCURRENT,
            6: C.PARALLEL_FAILURE,
        },
        (6, P): {3: C.WIRING_FAILURE},
    }
)
_MODES: Final = {Mode.STARTING: 0, Mode.STANDBY: 1, Mode.CHARGING: 2, Mode.DISCHARGING: 3}
_STEP: Final = 0.0075  # s between two frames: 19 of them in 135 ms


def _be(size: int = 8) -> Body:
    return Body(size, order="big")


def _mode(view: View) -> Mode:
    if not view.inverter:
        return Mode.STARTING
    return Mode.CHARGING if view.current > 0.1 else Mode.DISCHARGING if view.current < -0.1 else Mode.STANDBY


def _status(view: View) -> int:
    charge, discharge = view.charge_enabled and view.inverter, view.discharge_enabled and view.inverter
    balancing = any(pack.balancing_cells for pack in view.packs)
    error = any(alarm.severity is not W for alarm in view.alarms)
    return (
        _MODES[_mode(view)]
        + 0x04 * error
        + 0x08 * balancing
        + 0x20 * discharge
        + 0x40 * charge
        + 0x100 * (view.online > 1)
    )


def _limits(view: View) -> Body:
    return (
        _be()
        .word(0, view.charge_voltage_limit, 10, "charge_voltage_limit")
        .word(2, view.charge_limit * view.inverter, 10, "charge_current_limit")
        .word(4, view.discharge_limit * view.inverter, 10, "discharge_current_limit")
        .word(6, _status(view))
        .say(mode=_mode(view))
    )


def _limits_jk(view: View) -> Body:
    """311 as JK has it: the status comes first, which with bit 8 set could be a voltage limit by its size."""
    return (
        _be()
        .word(0, _status(view))
        .word(2, view.charge_voltage_limit, 10, "charge_voltage_limit")
        .word(4, view.charge_limit * view.inverter, 10, "charge_current_limit")
        .word(6, view.discharge_limit * view.inverter, 10, "discharge_current_limit")
        .say(mode=_mode(view))
    )


def _cell_count(view: View) -> int:
    return sum(pack.spec.cells for pack in view.packs)


def _protections(counts_cells: bool) -> Callable[[View], Body]:
    """312; `counts_cells`: whether byte 7 does (a real GBLI leaves it at 0)."""

    def encode(view: View) -> Body:
        body = _be().raise_alarms(_312, view.alarms)
        if view.online:
            body.byte(4, view.online, "modules")
        return body.byte(7, _cell_count(view)) if counts_cells else body

    return encode


def _flow(view: View) -> Body:
    return (
        _be()
        .short(0, view.voltage, 100, "voltage")
        .short(2, view.current, 10, "current")
        .short(4, view.temperature, 10, "temperature")
        .byte(6, view.soc, "soc")
        .byte(7, view.soh, "soh")
    )


def _capacities(view: View) -> Body:
    """314: 655.36 Ah and more run over; what is claimed is what was meant."""
    remaining, full = round(view.remaining * 100), round(view.full * 100)
    return (
        _be()
        .word(0, remaining % 0x10000)
        .word(2, full % 0x10000)
        .say(remaining_capacity=remaining / 100, full_capacity=full / 100)
        .word(4, view.cell_high.value - view.cell_low.value, 1000)
        .word(6, view.cycles, 1, "cycles")
    )


def _readings(part: int) -> Callable[[View], Body | None]:
    """315 to 318: four values each, the highest first, of the first pack."""

    def encode(view: View) -> Body | None:
        if not view.packs:
            return None
        body = _be()
        cells = view.packs[0].cell_voltages[4 * part : 4 * part + 4]
        for place, volts in enumerate(sorted(cells, reverse=True)):
            body.word(2 * place, volts, 1000)
        return body

    return encode


def _switches(view: View) -> int:
    return (
        0x80 * (view.charge_enabled and view.inverter)
        + 0x40 * (view.discharge_enabled and view.inverter)
        + 0x20 * view.begs
    )


def _says_switches(view: View, body: Body) -> Body:
    return body.say(
        charge_enabled=view.charge_enabled and view.inverter,
        discharge_enabled=view.discharge_enabled and view.inverter,
        force_charge_requested=view.begs,
    )


def _extremes(view: View) -> Body:
    """319; cells count through all packs, sixteen to a pack."""
    high, low = view.cell_high, view.cell_low
    body = (
        _be()
        .bits(0, _switches(view))
        .word(1, high.value, 1000, "cell_voltage_max")
        .word(3, low.value, 1000, "cell_voltage_min")
        .byte(5, 16 * (high.pack - 1) + high.cell)
        .byte(6, 16 * (low.pack - 1) + low.cell)
        .say(
            cell_voltage_max_pack=high.pack,
            cell_voltage_max_cell=high.cell,
            cell_voltage_min_pack=low.pack,
            cell_voltage_min_cell=low.cell,
        )
    )
    return _says_switches(view, body)


def _extremes_jk(view: View) -> Body:
    """319 as JK has it: little endian, flags in byte 4."""
    body = (
        Body()
        .word(0, view.cell_high.value, 1000, "cell_voltage_max")
        .word(2, view.cell_low.value, 1000, "cell_voltage_min")
        .bits(4, _switches(view))
    )
    return _says_switches(view, body)


def _maker(view: View) -> Body:
    body = _be()
    body.text(0, 2, "PA")
    body.bits(2, 0xC3).bits(3, 0x85).bits(4, 0x85)
    return body.say(manufacturer="PA").name(hardware="C3", firmware="85")


def _heat(view: View) -> Body:
    soc = [pack.soc for pack in view.packs] or [0.0]
    return (
        _be()
        .short(0, view.hottest.value, 10, "cell_temperature_max")
        .short(2, view.coldest.value, 10, "cell_temperature_min")
        .byte(4, view.hottest.cell)
        .byte(5, view.coldest.cell)
        .byte(6, max(soc))
        .byte(7, min(soc))
    )


def _faults(view: View) -> Body:
    return _be().byte(0, _cell_count(view)).bits(1, 0x0E).bits(2, 0x10).raise_alarms(_323, view.alarms)


def _serial(view: View) -> Body:
    """324: a page of the serial number, seven letters long."""
    page = int(view.bank.elapsed) % 3
    body = _be().byte(0, page)
    body.text(1, 7, view.packs[0].spec.serial[7 * page :] if view.packs else "")
    return body


def _unknown(view: View) -> Body:
    body = _be()
    body.data[:] = bytes.fromhex("0100213801003E9F")
    return body


def _places(view: View) -> Body:
    high, low = view.cell_high, view.cell_low
    return (
        _be()
        .byte(0, high.pack, "cell_voltage_max_pack")
        .byte(1, high.cell, "cell_voltage_max_cell")
        .byte(2, low.pack, "cell_voltage_min_pack")
        .byte(3, low.cell, "cell_voltage_min_cell")
        .word(4, high.value, 1000, "cell_voltage_max")
        .word(6, low.value, 1000, "cell_voltage_min")
    )


_CELLS: Final = tuple(Slot(0x318 - part, _readings(3 - part)) for part in range(4))

GROWATT: Final = in_order(
    Slot(0x330, _places),
    Slot(0x329, _unknown),
    Slot(0x323, _faults),
    Slot(0x324, _serial, text=True),
    Slot(0x322, _heat),
    Slot(0x320, _maker, text=True),
    Slot(0x319, _extremes),
    *_CELLS,
    Slot(0x314, _capacities),
    Slot(0x313, _flow),
    Slot(0x312, _protections(False)),
    Slot(0x311, _limits),
    step=_STEP,
)

# The frames of document V1.04 alone; 311 and 313 come twice as often (ARK 2.5L)
ARK: Final = (
    *in_order(Slot(0x313, _flow), Slot(0x311, _limits), period=0.5, step=_STEP),
    *in_order(
        Slot(0x319, _extremes),
        *_CELLS,
        Slot(0x314, _capacities),
        Slot(0x312, _protections(True)),
        Slot(0x320, _maker, text=True),
        step=_STEP,
    ),
)

# JK's BMS in Growatt mode
JK: Final = in_order(
    Slot(0x319, _extremes_jk),
    Slot(0x314, _capacities),
    Slot(0x313, _flow),
    Slot(0x312, _protections(True)),
    Slot(0x311, _limits_jk),
    step=_STEP,
)


class GrowattSpeaker(CanSpeaker):
    """Enables its outputs a few seconds after the first 301, and disables them a second after the last one."""

    def __init__(self, broadcasts: tuple[Broadcast, ...], bank: SimBank) -> None:
        """Without `switches_off_after`, set from outside, it stays on for ever."""
        super().__init__("growatt", broadcasts, bank, hears={KEEP_ALIVE}, patience=_PATIENCE)
        self.switches_off_after: float | None = None
        self._first = math.inf  # of the 301 that came without a break
        self._on_since = 0.0

    @override
    def start(self, now: float) -> None:
        """See `Node`."""
        super().start(now)
        self._on_since = now
        self._heard = -math.inf

    @override
    def next(self) -> float:
        """See `Node`."""
        when = super().next()
        if self.switches_off_after is not None and when - max(self._heard, self._on_since) > self.switches_off_after:
            return math.inf
        return when

    @override
    def hear(self, frame: CanFrame, at: float) -> None:
        """See `Node`."""
        if at - self._heard > self.patience:
            self._first = at
        self._heard = at

    @override
    def inverter_at(self, when: float) -> bool:
        """See `CanSpeaker`."""
        return super().inverter_at(when) and when - self._first >= _ENABLES_AFTER
