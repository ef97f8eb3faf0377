"""Batteries that are recognised, only to say what they are: one harmless question each, and the sign of its answer.

They are asked last, when nothing that can be read has answered. Sources are named at each of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..errors import FrameError
from .pylon.dialects import EG4, SEPLOS, TDT
from .pylon.frame import CID1_BATTERY, Frame, FrameSplitter, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """One kind of battery that cannot be read."""

    key: str
    baudrate: int
    questions: tuple[bytes, ...]  # they read; asked in turn
    wait: float  # s of silence that mean "nobody here"
    is_sign: Callable[[bytes, bytes], bool]  # question, all that was heard -> whether it can only be this one


# --- JBD -------------------------------------------------------------------------------------------------------------

# "Basic information" (register 03). An answer is DD, register, status (00 or 80), length, data, a sum over status to
# data taken from 0x10000, 77. Source: Jiabaida "Software Board General Protocol" V4 and V13 as transcribed in
# mahmoudamr1205/Electra_Bike (JBD_BMS) and in the register map of bms-tools kept by ieb/N2KNMEA0183Wifi. A board
# that sleeps does not answer the first question (V13, section 1), so it is asked twice.
_JBD_READ: Final = bytes.fromhex("DDA50300FFFD77")
_JBD_START, _JBD_END = 0xDD, 0x77


def _is_jbd(question: bytes, heard: bytes) -> bool:
    register = question[2]
    start = heard.find(bytes((_JBD_START, register)))
    while start >= 0:
        head = heard[start : start + 4]
        if len(head) == 4:
            body = heard[start + 2 : start + 4 + head[3]]
            tail = heard[start + 4 + head[3] : start + 7 + head[3]]
            if len(tail) == 3 and tail[2] == _JBD_END and (sum(body) + (tail[0] << 8 | tail[1])) & 0xFFFF == 0:
                return True
        start = heard.find(bytes((_JBD_START, register)), start + 1)
    return False


# --- batteries that share the Pylontech frame --------------------------------------------------------------------------


def _answers(question: bytes, heard: bytes) -> list[Frame]:
    """Intact frames in it, our own question aside."""
    frames: list[Frame] = []
    for raw in FrameSplitter().feed(heard):
        if raw == question:
            continue
        try:
            frames.append(parse(raw))
        except FrameError:
            continue
    return frames


def _has_type(cid1: int) -> Callable[[bytes, bytes], bool]:
    return lambda question, heard: any(frame.cid1 == cid1 for frame in _answers(question, heard))


def _is_seplos(question: bytes, heard: bytes) -> bool:
    """Only Seplos answers address 00; its text names the protocol that it has on CAN (dialect-seplos-51)."""
    return any(
        frame.cid1 == CID1_BATTERY and frame.address == 0 and SEPLOS.maker.encode() in frame.info
        for frame in _answers(question, heard)
    )


def _is_framed_pylon(question: bytes, heard: bytes) -> bool:
    return any(frame.cid1 == CID1_BATTERY for frame in _answers(question, heard))


FRAMED_1200: Final = "pylon-rs232-v28"
JBD: Final = "jbd"

STRANGERS: Final = (
    # 42 of pack 1 with device type 4A: version 22 asked by public clients of Shoto and Narada packs, version 20 without
    # INFO in the comments of nkinnan/esphome-pace-bms (capture dialect-eg4-42)
    Stranger(
        key=EG4.name,
        baudrate=9600,
        questions=(b"~22014A42E00201FD28\r", b"~20014A420000FDA2\r"),
        wait=0.5,
        is_sign=_has_type(0x4A),
    ),
    # 51, "who made you": capture dialect-seplos-51 (syssi/esphome-seplos-bms)
    Stranger(key=SEPLOS.name, baudrate=9600, questions=(b"~200046510000FDAE\r",), wait=0.5, is_sign=_is_seplos),
    Stranger(key=SEPLOS.name, baudrate=19200, questions=(b"~200046510000FDAE\r",), wait=0.5, is_sign=_is_seplos),
    # 42 of pack 1: capture dialect-tdt6022-42-0, the same question as PACE's
    Stranger(key=TDT.name, baudrate=9600, questions=(b"~25014642E00201FD30\r",), wait=0.5, is_sign=_has_type(0x4F)),
    Stranger(key=JBD, baudrate=9600, questions=(_JBD_READ, _JBD_READ), wait=0.4, is_sign=_is_jbd),
    # 4F of pack 1, at the speed at which old or long idle Pylontech packs wait (pylon-rs485.md section 11)
    Stranger(key=FRAMED_1200, baudrate=1200, questions=(b"~2001464F0000FD99\r",), wait=0.6, is_sign=_is_framed_pylon),
)
