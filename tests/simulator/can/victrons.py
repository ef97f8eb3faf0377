"""Sets that descend from SMA's: with 35A (can.md sections 6.8 and 6.9)."""

from typing import Final

from .set35x import (
    Encoder,
    Slot,
    capacity,
    charge,
    energy,
    extremes,
    flow,
    in_order,
    installed,
    limits,
    maker,
    modules,
    name,
    paired,
    places,
    serial,
    zeros,
)
from .speaker import Broadcast
from .view import View
from .wire import Body


def _sma(brand: str, period: float, step: float) -> tuple[Broadcast, ...]:
    return in_order(
        Slot(0x351, limits()),
        Slot(0x355, charge(6, exact=True)),
        Slot(0x356, flow()),
        Slot(0x35A, paired()),
        Slot(0x35B, zeros()),
        maker(brand, pad=0),
        Slot(0x35F, installed(b"iL\x01\x05", b"\x01\x00")),
        period=period,
        step=step,
    )


SMA: Final = _sma("SMABATT", 0.5, 0.01)
GOODWE_SMA: Final = _sma("GOODWE", 0.1, 0.005)


def _available(size: int, product: int, major: int, minor: int) -> Encoder:
    """35F as Victron has it: what is left in the battery."""

    def encode(view: View) -> Body:
        return (
            Body(size)
            .word(0, product)
            .byte(2, major)
            .byte(3, minor)
            .word(4, view.remaining, 1, "remaining_capacity")
            .name(firmware=f"{major}.{minor:02X}")
        )

    return encode


def _charge_request(size: int) -> Encoder:
    """360."""
    return lambda view: Body(size).byte(0, 0xFF * view.begs).say(force_charge_requested=view.begs)


def _product(text: str) -> Encoder:
    """382."""

    def encode(view: View) -> Body:
        body = Body()
        return body.name(model=body.text(0, 8, text))

    return encode


# Lengths of a Pytes pack in Victron mode (section 5), with a name and serial number as Victron's own text has them
VICTRON: Final = in_order(
    Slot(0x351, limits()),
    Slot(0x355, charge(6, exact=True)),
    Slot(0x356, flow()),
    Slot(0x35A, paired()),
    maker("PYTES", 5),
    Slot(0x35F, _available(8, 1, 1, 0x17)),
    Slot(0x360, _charge_request(1)),
    *name(0x370, "Home Battery 48V"),
    Slot(0x372, modules),
    Slot(0x373, extremes),
    *places(),
    Slot(0x378, energy()),
    Slot(0x379, capacity(2)),
    *serial(),
    step=0.04,
)

# BYD, section 6.9: 351 every 2 s, the name every minute, everything else every 10 s
BYD: Final = (
    *in_order(Slot(0x351, limits()), period=2.0),
    *in_order(
        Slot(0x355, charge(8)),
        Slot(0x356, flow(8)),
        Slot(0x35A, paired()),
        Slot(0x35B, zeros()),
        Slot(0x35F, _available(8, 0x694C, 1, 0x17)),
        Slot(0x360, _charge_request(8)),
        Slot(0x372, modules),
        Slot(0x373, extremes),
        *places(),
        Slot(0x378, energy()),
        Slot(0x379, capacity()),
        Slot(0x382, _product("PREMIUM"), text=True),
        period=10.0,
        step=0.01,
    ),
    *in_order(maker("BYD", pad=0), period=60.0),
)

# MG, section 6.8: the set of SMA with cells and energy, which it counts in hundredths
MG: Final = in_order(
    Slot(0x351, limits()),
    Slot(0x355, charge(6, exact=True)),
    Slot(0x356, flow()),
    Slot(0x35A, paired()),
    Slot(0x35B, zeros()),
    maker("MG-BMS", pad=0),
    Slot(0x35F, installed(b"\x01\x00\x01\x05")),
    Slot(0x373, extremes),
    Slot(0x378, energy(100)),
    *serial(),
    period=0.5,
    step=0.01,
)
