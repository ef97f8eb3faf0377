"""The sets around 351, 355 and 356 (can.md sections 5 to 6.9 and 6.15 to 6.17)."""

from typing import Final

from .speaker import Broadcast
from .view import View
from .wire import Body, C, P, W, table

STEP: Final = 0.088  # s between two frames of a set (section 6.1)

# 359, section 6.1
FLAGS_359: Final = table(
    {
        (0, P): {
            1: C.OVERVOLTAGE,
            2: C.UNDERVOLTAGE,
            3: C.OVERTEMPERATURE,
            4: C.UNDERTEMPERATURE,
            7: C.DISCHARGE_OVERCURRENT,
        },
        (1, P): {0: C.CHARGE_OVERCURRENT, 3: C.INTERNAL_FAILURE, 4: C.CELL_IMBALANCE},
        (2, W): {
            1: C.OVERVOLTAGE,
            2: C.UNDERVOLTAGE,
            3: C.OVERTEMPERATURE,
            4: C.UNDERTEMPERATURE,
            7: C.DISCHARGE_OVERCURRENT,
        },
        (3, W): {0: C.CHARGE_OVERCURRENT, 3: C.INTERNAL_FAILURE, 4: C.CELL_IMBALANCE},
    }
)


def limits(view: View) -> Body:
    """351."""
    return (
        Body()
        .word(0, view.charge_voltage_limit, 10, "charge_voltage_limit")
        .short(2, view.charge_limit, 10, "charge_current_limit")
        .short(4, view.discharge_limit, 10, "discharge_current_limit")
        .word(6, view.discharge_voltage_limit, 10, "discharge_voltage_limit")
    )


def charge(view: View, size: int = 4) -> Body:
    """355."""
    return Body(size).word(0, view.soc, 1, "soc").word(2, view.soh, 1, "soh")


def flow(view: View, size: int = 6, per: int = 100) -> Body:
    """356; `per`: counts of a volt."""
    return (
        Body(size)
        .short(0, view.voltage, per, "voltage")
        .short(2, view.current, 10, "current")
        .short(4, view.temperature, 10, "temperature")
    )


def flags(view: View, size: int = 7, tag: str = "PN") -> Body:
    """359."""
    body = Body(size).raise_alarms(FLAGS_359, view.alarms)
    if view.online:
        body.byte(4, view.online, "modules")
    body.text(5, 2, tag)
    return body


def requests(view: View, size: int = 2) -> Body:
    """35C."""
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


def maker(name: str, size: int = 8, pad: int = 0x20) -> Body:
    """35E."""
    body = Body(size)
    return body.say(manufacturer=body.text(0, size, name, pad=pad))


def in_order(*frames: Broadcast, step: float = STEP) -> tuple[Broadcast, ...]:
    """These one after the other."""
    return tuple(
        Broadcast(id=f.id, encode=f.encode, period=f.period, offset=f.offset + step * place, text=f.text)
        for place, f in enumerate(frames)
    )


PYLON: Final = in_order(
    Broadcast(id=0x359, encode=flags),
    Broadcast(id=0x351, encode=limits),
    Broadcast(id=0x355, encode=charge),
    Broadcast(id=0x356, encode=flow),
    Broadcast(id=0x35C, encode=requests),
    Broadcast(id=0x35E, encode=lambda _: maker("PYLON"), text=True),
)
