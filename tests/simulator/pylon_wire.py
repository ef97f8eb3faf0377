"""Frames and words of the Pylontech RS485 protocol, as the simulator builds them (pylon-rs485.md sections 3 to 6)."""

from typing import Final

WITH_ADDRESS: Final = frozenset({0x42, 0x44, 0x92, 0x93, 0x96})  # section 5: INFO repeats ADR


# What an answer says: its INFO, and the model's fields in it, by pack address; None is the bank
type Answer = tuple[bytes, dict[int | None, dict[str, object]]]


def checksum(body: bytes) -> int:
    """Section 4, over VER to the end of INFO."""
    return -sum(body) & 0xFFFF


def encode(address: int, code: int, info: bytes = b"", *, version: int = 0x20) -> bytes:
    """A whole frame, question or answer; `info` in bytes, not yet in hex."""
    lenid = len(info) * 2
    lchksum = -((lenid >> 8) + (lenid >> 4 & 15) + (lenid & 15)) & 15
    body = f"{version:02X}{address:02X}46{code:02X}{lchksum:X}{lenid:03X}{info.hex().upper()}".encode()
    return b"~%b%04X\r" % (body, checksum(body))


def request(address: int, command: int) -> bytes:
    """A question as a master asks it."""
    return encode(address, command, bytes([address]) if command in WITH_ADDRESS else b"")


def word(value: float, scale: float, *, signed: bool = False) -> int:
    """A value as a 16-bit count, kept within what the word can hold."""
    low, high = (-0x8000, 0x7FFF) if signed else (0, 0xFFFF)
    return min(max(round(value * scale), low), high)


def kelvin(degrees: float) -> int:
    """A temperature, degC, as the wire has it (section 6.1)."""
    return round(degrees * 10) + 2731


def celsius(raw: int) -> float:
    """The temperature, degC, that a count on the wire means."""
    return (raw - 2731) / 10
