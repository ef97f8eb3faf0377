"""A CAN frame under construction, and what it says by the model's field names, rounded as the wire rounds it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Self

from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity

C: Final = Condition
W: Final = Severity.WARNING
P: Final = Severity.PROTECTION
F: Final = Severity.FAULT


class Body:
    """The data of one frame; whatever is written with a name is also what the frame says."""

    __slots__ = ("_order", "data", "identity", "pack", "values")

    def __init__(
        self, size: int = 8, *, pack: int | None = None, order: Literal["little", "big"] = "little", fill: int = 0
    ) -> None:
        """`size`: bytes. `pack`: of whom it speaks, from 1; None: of the bank. `fill`: what unused bytes hold."""
        self.data = bytearray([fill]) * size
        self.pack = pack
        self.values: dict[str, object] = {}
        self.identity: dict[str, object] = {}
        self._order: Literal["little", "big"] = order

    def byte(self, at: int, value: float, name: str | None = None, *, offset: int = 0) -> Self:
        """An unsigned byte that holds `value + offset`."""
        raw = min(max(round(value) + offset, 0), 0xFF)
        self.data[at] = raw
        return self if name is None else self.say(**{name: raw - offset})

    def word(self, at: int, value: float, per: int = 1, name: str | None = None, *, offset: int = 0) -> Self:
        """Two bytes, unsigned, that count `1 / per` from `-offset` on; never the mark of what is not available."""
        raw = min(max(round(value * per) + offset, 0), 0xFFFE)
        self.data[at : at + 2] = raw.to_bytes(2, self._order)
        return self if name is None else self.say(**{name: _count(raw - offset, per)})

    def short(self, at: int, value: float, per: int = 1, name: str | None = None, *, sign: int = 1) -> Self:
        """Two bytes, signed; `sign` -1: the wire counts the other way round."""
        raw = min(max(round(value * per) * sign, -0x7FFF), 0x7FFF)
        self.data[at : at + 2] = raw.to_bytes(2, self._order, signed=True)
        return self if name is None else self.say(**{name: _count(raw * sign, per)})

    def long(self, at: int, value: float, per: int = 1, name: str | None = None) -> Self:
        """Four bytes, unsigned."""
        raw = min(max(round(value * per), 0), 0xFFFFFFFE)
        self.data[at : at + 4] = raw.to_bytes(4, self._order)
        return self if name is None else self.say(**{name: _count(raw, per)})

    def text(self, at: int, size: int, text: str, *, pad: int = 0) -> str:
        """Letters, filled up to `size` bytes; returns what of them had room."""
        shown = text[:size]
        self.data[at : at + size] = shown.encode("ascii").ljust(size, bytes([pad]))
        return shown.strip()

    def bits(self, at: int, mask: int) -> Self:
        """Set bits of a byte."""
        self.data[at] |= mask
        return self

    def say(self, **values: object) -> Self:
        """Fields of the state that this frame carries."""
        self.values.update(values)
        return self

    def name(self, **identity: object) -> Self:
        """Fields of the identity that this frame carries."""
        self.identity.update(identity)
        return self

    def raise_alarms(self, table: Sequence[Bit], alarms: Iterable[Alarm]) -> Self:
        """Set the bits for these alarms, and say what the bits mean to whoever reads them."""
        chosen = choose(table, alarms)
        for bit in chosen:
            self.data[bit.at] |= bit.mask
        said = frozenset(Alarm(condition=bit.condition, severity=bit.severity) for bit in chosen)
        known = self.values.get("alarms")
        return self.say(alarms=said | known if isinstance(known, frozenset) else said)

    def raise_pairs(self, table: Sequence[Bit], alarms: Iterable[Alarm], *, unused: int = 0) -> Self:
        """Set pairs of bits: 1 for what is active, 2 for what is not (can.md section 6.8), and say what they mean.

        `unused`: what the pairs hold that are not in the table, 0 or 3: both mean "not supported".
        """
        self.data[:] = bytes([0x55 * unused]) * len(self.data)
        chosen = choose(table, alarms)
        for bit in table:
            self.data[bit.at] &= ~(bit.mask * 3) & 0xFF
            self.data[bit.at] |= bit.mask * (1 if bit in chosen else 2)
        return self.say(alarms=frozenset(Alarm(condition=bit.condition, severity=bit.severity) for bit in chosen))


class Bit(NamedTuple):
    """A place in a frame and what it means, by vectors/conditions.json."""

    at: int  # byte
    mask: int
    condition: Condition
    severity: Severity


def table(rows: Mapping[tuple[int, Severity], Mapping[int, Condition]]) -> tuple[Bit, ...]:
    """Bits by (byte, severity) and number; what is a failure is a fault where it is no warning."""
    return tuple(
        Bit(at, 1 << number, condition, severity if severity is W or condition not in FAILURES else F)
        for (at, severity), bits in rows.items()
        for number, condition in bits.items()
    )


def pairs(rows: Mapping[int, Condition], severity: Severity) -> tuple[Bit, ...]:
    """Pairs of bits by number, the lowest of byte 0 first."""
    return tuple(
        Bit(number // 4, 1 << number % 4 * 2, *bit[2:])
        for number, condition in rows.items()
        for bit in table({(0, severity): {0: condition}})
    )


FAILURES: Final = frozenset(
    {
        condition
        for condition in Condition
        if condition.value.endswith("failure") or condition in {C.REVERSE_POLARITY, C.CONFIGURATION_CONFLICT}
    }
)

# What a battery says of a condition for which a frame has no bit of its own: the wider one.
_WIDER: Final[Mapping[Condition, Condition]] = {
    C.CELL_OVERVOLTAGE: C.OVERVOLTAGE,
    C.PACK_OVERVOLTAGE: C.OVERVOLTAGE,
    C.CELL_UNDERVOLTAGE: C.UNDERVOLTAGE,
    C.PACK_UNDERVOLTAGE: C.UNDERVOLTAGE,
    C.CHARGE_OVERTEMPERATURE: C.OVERTEMPERATURE,
    C.DISCHARGE_OVERTEMPERATURE: C.OVERTEMPERATURE,
    C.MOSFET_OVERTEMPERATURE: C.OVERTEMPERATURE,
    C.CHARGE_UNDERTEMPERATURE: C.UNDERTEMPERATURE,
    C.DISCHARGE_UNDERTEMPERATURE: C.UNDERTEMPERATURE,
    C.CELL_FAILURE: C.INTERNAL_FAILURE,
    C.MOSFET_FAILURE: C.INTERNAL_FAILURE,
    C.VOLTAGE_SENSING_FAILURE: C.INTERNAL_FAILURE,
    C.TEMPERATURE_SENSING_FAILURE: C.INTERNAL_FAILURE,
    C.CURRENT_SENSING_FAILURE: C.INTERNAL_FAILURE,
}


def choose(bits: Sequence[Bit], alarms: Iterable[Alarm]) -> list[Bit]:
    """The bits that these alarms set: for each the one that means it, or else the wider condition; or none."""
    chosen: list[Bit] = []
    for alarm in alarms:
        condition = alarm.condition
        for wanted in (condition, _WIDER.get(condition, condition)):
            found = next(
                (b for b in bits if b.condition is wanted and (b.severity is W) == (alarm.severity is W)), None
            )
            if found is not None:
                if found not in chosen:
                    chosen.append(found)
                break
    return chosen


def _count(raw: int, per: int) -> float | int:
    return raw if per == 1 else raw / per
