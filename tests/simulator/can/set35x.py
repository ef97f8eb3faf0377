"""The frames around 351, 355 and 356, with what differs between sets as options (can.md sections 5 to 6.9)."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from .speaker import Broadcast
from .view import View
from .wire import Bit, Body, C, P, W, pairs, table

type Encoder = Callable[[View], Body | None]

STEP: Final = 0.088  # s between two frames of a set (section 6.1)
KELVIN: Final = 273  # section 6.9

_359: Final = {1: C.OVERVOLTAGE, 2: C.UNDERVOLTAGE, 3: C.OVERTEMPERATURE, 4: C.UNDERTEMPERATURE}
_359_0: Final = {**_359, 7: C.DISCHARGE_OVERCURRENT}
_359_1: Final = {0: C.CHARGE_OVERCURRENT, 3: C.INTERNAL_FAILURE, 4: C.CELL_IMBALANCE}
FLAGS: Final = table({(0, P): _359_0, (1, P): _359_1, (2, W): _359_0, (3, W): _359_1})

# 35A, section 6.8: alarms from pair 0, warnings from pair 16
_35A: Final = (
    C.OTHER,
    C.OVERVOLTAGE,
    C.UNDERVOLTAGE,
    C.OVERTEMPERATURE,
    C.UNDERTEMPERATURE,
    C.CHARGE_OVERTEMPERATURE,
    C.CHARGE_UNDERTEMPERATURE,
    C.DISCHARGE_OVERCURRENT,
    C.CHARGE_OVERCURRENT,
    C.CONTACTOR_FAILURE,
    C.SHORT_CIRCUIT,
    C.INTERNAL_FAILURE,
    C.CELL_IMBALANCE,
)
PAIRS: Final = pairs(dict(enumerate(_35A)), P) + pairs(dict(enumerate(_35A, 16)), W)


class Slot(NamedTuple):
    """A frame's place in a set."""

    id: int
    encode: Encoder
    text: bool = False


def in_order(*slots: Slot, period: float = 1.0, start: float = 0.0, step: float = STEP) -> tuple[Broadcast, ...]:
    """Frames of one period, one after the other, the first `start` s after the set begins."""
    return tuple(
        Broadcast(id=slot.id, encode=slot.encode, period=period, offset=start + step * place, text=slot.text)
        for place, slot in enumerate(slots)
    )


def limits(size: int = 8) -> Encoder:
    """351."""

    def encode(view: View) -> Body:
        body = (
            Body(size)
            .word(0, view.charge_voltage_limit, 10, "charge_voltage_limit")
            .short(2, view.charge_limit, 10, "charge_current_limit")
            .short(4, view.discharge_limit, 10, "discharge_current_limit")
        )
        return body if size < 8 else body.word(6, view.discharge_voltage_limit, 10, "discharge_voltage_limit")

    return encode


def charge(size: int = 4, *, exact: bool = False) -> Encoder:
    """355; `exact`: the state of charge in hundredths, too."""

    def encode(view: View) -> Body:
        body = Body(size).word(0, view.soc, 1, "soc").word(2, view.soh, 1, "soh")
        return body.word(4, view.soc, 100, "soc") if exact else body

    return encode


def flow(size: int = 6, *, per: int = 100) -> Encoder:
    """356; `per`: counts of a volt."""

    def encode(view: View) -> Body:
        return (
            Body(size)
            .short(0, view.voltage, per, "voltage")
            .short(2, view.current, 10, "current")
            .short(4, view.temperature, 10, "temperature")
        )

    return encode


def flags(size: int = 7, *, tag: str = "PN", last: int = 0) -> Encoder:
    """359; `last`: what byte 7 holds."""

    def encode(view: View) -> Body:
        body = Body(size).raise_alarms(FLAGS, view.alarms)
        if view.online:
            body.byte(4, view.online, "modules")
        body.text(5, 2, tag)
        return body.byte(7, last) if size > 7 else body

    return encode


def requests(size: int = 2) -> Encoder:
    """35C."""

    def encode(view: View) -> Body:
        mask = 0x80 * view.charge_enabled + 0x40 * view.discharge_enabled
        mask += 0x20 * view.starves + 0x10 * view.begs + 0x08 * view.full_charge_requested
        return (
            Body(size)
            .bits(0, mask)
            .say(
                charge_enabled=view.charge_enabled,
                discharge_enabled=view.discharge_enabled,
                force_charge_requested=view.starves or view.begs,
                full_charge_requested=view.full_charge_requested,
            )
        )

    return encode


def maker(name: str, size: int = 8, pad: int = 0x20) -> Slot:
    """35E."""

    def encode(view: View) -> Body:
        body = Body(size)
        return body.say(manufacturer=body.text(0, size, name, pad=pad))

    return Slot(0x35E, encode, text=True)


def paired(bits: Sequence[Bit] = PAIRS, size: int = 8, *, unused: int = 0) -> Encoder:
    """35A."""
    return lambda view: Body(size).raise_pairs(bits, view.alarms, unused=unused)


def zeros(size: int = 8) -> Encoder:
    """A frame in which nothing is ever said."""
    return lambda view: Body(size)


def installed(head: bytes = b"LI\x01\x03", tail: bytes = b"\x00\x00", **identity: str) -> Encoder:
    """35F as SMA, Dyness and Sofar have it; `identity`: what a reader of its first bytes learns."""

    def encode(view: View) -> Body:
        body = Body()
        body.data[0:4] = head
        body.data[6:8] = tail
        return body.word(4, view.capacity, 1, "design_capacity").name(**identity)

    return encode


def capacity(size: int = 8) -> Encoder:
    """379."""
    return lambda view: Body(size).word(0, view.capacity, 1, "design_capacity")


def name(first: int, text: str) -> tuple[Slot, Slot]:
    """370 and 371, the name in two halves."""

    def half(part: int) -> Encoder:
        def encode(view: View) -> Body:
            body = Body()
            shown = text.ljust(16)[8 * part : 8 * part + 8]
            body.text(0, 8, shown.rstrip() if part else shown)
            return body.name(model=text)

        return encode

    return Slot(first, half(0), text=True), Slot(first + 1, half(1), text=True)


def modules(view: View) -> Body:
    """372."""
    return (
        Body()
        .word(0, view.online, 1, "modules_online")
        .word(2, view.charge_blocked, 1, "modules_charge_blocked")
        .word(4, view.discharge_blocked, 1, "modules_discharge_blocked")
        .word(6, view.offline)
    )


def extremes(view: View) -> Body:
    """373."""
    body = Body()
    for at, volts, which in ((0, view.cell_low, "min"), (2, view.cell_high, "max")):
        body.word(at, volts.value, 1000, f"cell_voltage_{which}")
    for at, degrees, which in ((4, view.coldest, "min"), (6, view.hottest, "max")):
        body.word(at, degrees.value, 1, f"cell_temperature_{which}", offset=KELVIN)
    return body


def places() -> tuple[Slot, ...]:
    """374 to 377."""

    def place(which: str) -> Encoder:
        def encode(view: View) -> Body:
            body = Body()
            _, pack, cell = getattr(view, which)
            body.text(0, 8, f"P{pack}C{cell:02d}")
            return body

        return encode

    order = ("cell_low", "cell_high", "coldest", "hottest")
    return tuple(Slot(0x374 + number, place(which)) for number, which in enumerate(order))


def energy(per: int = 10) -> Encoder:
    """378; `per`: counts of a kWh."""
    return lambda view: (
        Body().long(0, view.charged, per, "energy_charged").long(4, view.discharged, per, "energy_discharged")
    )


def serial(first: int = 0x380) -> tuple[Slot, Slot]:
    """380 and 381, the serial number in two halves."""

    def half(part: int) -> Encoder:
        def encode(view: View) -> Body:
            body = Body()
            if view.packs:
                whole = view.packs[0].spec.serial
                body.text(0, 8, whole[8 * part :])
                body.name(serial=whole[:16])
            return body

        return encode

    return Slot(first, half(0), text=True), Slot(first + 1, half(1), text=True)
