"""Tables that say what registers and their bits mean, for every Modbus map."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ...model import Alarm, Condition, Severity
from .frame import Registers

_KELVIN_ZERO: Final = 2731  # 0.1 K at 0 degC (modbus-rtu.md section 0)


@dataclass(frozen=True, slots=True)
class Field:
    """One register and the field of the model that it fills."""

    register: int
    name: str
    per: int = 1  # units of the wire in one of the model: 100 where the wire counts in 0.01; 1 keeps an integer
    signed: bool = False
    absent: frozenset[int] = frozenset()  # what the word holds where there is nothing to say

    def of(self, registers: Registers) -> float | None:
        """The value in the unit of the model; None: not received or not provided."""
        raw = registers.s16(self.register) if self.signed else registers.u16(self.register)
        if raw is None or raw in self.absent:
            return None
        return raw if self.per == 1 else raw / self.per


def values(registers: Registers, fields: Iterable[Field]) -> dict[str, float]:
    """What is known of these fields, by name."""
    return {field.name: value for field in fields if (value := field.of(registers)) is not None}


def alarm_bits(severity: Severity, conditions: Mapping[int, Condition]) -> dict[int, Alarm]:
    """A table of bits, all of one severity."""
    return {bit: Alarm(condition=condition, severity=severity) for bit, condition in conditions.items()}


def bits_of(word: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    return (bit for bit in range(word.bit_length()) if word >> bit & 1)


def alarms(words: Iterable[tuple[int | None, Mapping[int, Alarm]]]) -> frozenset[Alarm] | None:
    """What some words of bits say together; None unless all of them were received: half of the alarms is no answer."""
    active = set()
    for word, table in words:
        if word is None:
            return None
        active |= {table[bit] for bit in bits_of(word) if bit in table}
    return frozenset(active)


def kelvin(raw: int) -> float:
    """0.1 K as degC."""
    return (raw - _KELVIN_ZERO) / 10
