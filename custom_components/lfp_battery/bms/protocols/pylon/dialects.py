"""Dialects that share the Pylontech frame and mean something else by it: recognised, and refused with a sentence.

Source: pylon-rs485.md section 10 and the captures dialect-seplos-51, dialect-tdt6022-42-0, dialect-eg4-42.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, override

from ...errors import FrameError
from ..base import Codec, Decoded
from .frame import CID1_BATTERY, Frame, FrameSplitter, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One of them."""

    name: str
    sentence: str  # for the owner
    maker: str = ""  # how the manufacturer's text of 51 begins

    def error(self) -> FrameError:
        """The refusal."""
        return FrameError(self.sentence, dialect=self.name)


PACE: Final = Dialect(name="pace-v25", sentence="This battery speaks the PACE protocol (version 25), not Pylontech's.")
SEPLOS: Final = Dialect(
    name="seplos-v20",
    sentence="This is a Seplos battery: it uses Pylontech's frames with other scales and other commands.",
    maker="CANProtocol",
)
TDT: Final = Dialect(
    name="tdt-v25", sentence="This is a TDT battery: it uses Pylontech's frames with a layout of its own."
)
EG4: Final = Dialect(
    name="eg4-v20", sentence="This is an EG4 or Shoto battery: it uses Pylontech's frames with a layout of its own."
)

_VERSION_PACE: Final = 0x25
_VERSION_UNKNOWN: Final = 0x26  # one frame quoted without context, not decodable
_BY_CID1: Final = {0x4A: EG4, 0x4F: TDT}
CID1_KNOWN: Final = frozenset({CID1_BATTERY, *_BY_CID1})


def refuse_dialects(frame: Frame) -> None:
    """Let only Pylontech's own frames pass; any version of theirs, since packs answer 20 or 28 as they like.

    Raises:
        FrameError: it is a dialect, or a device type that nobody has described.
    """
    if frame.cid1 == CID1_BATTERY:
        if frame.version == _VERSION_PACE:
            raise PACE.error()
        if frame.version == _VERSION_UNKNOWN:
            raise FrameError("Version 26 of this frame is not described anywhere.")
        return
    if (dialect := _BY_CID1.get(frame.cid1)) is not None:
        raise dialect.error()
    raise FrameError(f"device type {frame.cid1:02X} is not a battery")


class RefusedDialect(Codec):
    """A name that captures may carry although nothing of them is decoded."""

    dialect: ClassVar[Dialect]

    @override
    def splitter(self, request: bytes | None = None) -> FrameSplitter:
        return FrameSplitter()

    @override
    def is_answer(self, request: bytes, frame: bytes) -> bool:
        return False

    @override
    def is_request(self, frame: bytes) -> bool:
        return False

    @override
    def decode(self, request: bytes | None, frame: bytes) -> Decoded:
        parse(frame)
        raise self.dialect.error()


class SeplosV20(RefusedDialect):
    """Seplos V2.0."""

    name = SEPLOS.name
    dialect = SEPLOS


class TdtV25(RefusedDialect):
    """TDT."""

    name = TDT.name
    dialect = TDT


class Eg4V20(RefusedDialect):
    """EG4 and Shoto."""

    name = EG4.name
    dialect = EG4
