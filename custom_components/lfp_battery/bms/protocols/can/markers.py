"""What gives a set of frames away: the ordered markers of can.md section 4.1, and those of what is no battery here."""

from collections.abc import Callable, Iterable, Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from struct import Struct
from typing import Final

from ...can_frame import EXTENDED
from .fields import CELL_MV, is_name, tagged

_WORDS: Final = Struct("<4H").unpack_from
_SOC_AGREES: Final = 150  # hundredths of a percent

# Frames of which the payload decides, too.
TELLING: Final = frozenset({0x359, 0x355, 0x370, 0x070})


class Sign(StrEnum):
    """What a payload gives away."""

    TAG = "tag"  # the letters of Pylon's set in 359
    NO_LETTERS = "no_letters"  # nor zeros in their place
    CELL_VOLTAGES = "cell_voltages"  # in 355 [4:7]
    FIGURES = "figures"  # in 370, and no name
    COUNTS = "counts"  # in 359 [0:3], where Sofar counts packs and Pylon's set has its alarms


# Of each pair the one that was seen last stands.
_OPPOSITE: Final = {Sign.TAG: Sign.NO_LETTERS, Sign.NO_LETTERS: Sign.TAG}


def signs_of(frame_id: int, data: bytes) -> frozenset[Sign]:
    """What a payload of one of `TELLING` gives away."""
    if frame_id == 0x359:
        found = set()
        if tagged(data):
            found.add(Sign.TAG)
        elif any(tag := data[5:7]) and len(tag) == 2 and not tag.isalpha():
            found.add(Sign.NO_LETTERS)  # a capacity: 100 Ah is one letter and a zero
        if any(data[:4]):
            found.add(Sign.COUNTS)
        return frozenset(found)
    if frame_id == 0x355:
        return _CELLS if _has_cell_voltages(data) else _NO_SIGN
    return _FIGURES if any(data) and not is_name(data) else _NO_SIGN


_NO_SIGN: Final[frozenset[Sign]] = frozenset()
_CELLS: Final = frozenset({Sign.CELL_VOLTAGES})
_FIGURES: Final = frozenset({Sign.FIGURES})


@dataclass(slots=True, kw_only=True)
class Evidence:
    """What was heard, as far as markers ask for it."""

    ids: set[int] = field(default_factory=set)
    signs: set[Sign] = field(default_factory=set)

    def learn(self, signs: Iterable[Sign]) -> bool:
        """Take in what a payload gave away; whether that was new."""
        new = False
        for sign in signs:
            if sign not in self.signs:
                new = True
                self.signs.add(sign)
                if (opposite := _OPPOSITE.get(sign)) is not None:
                    self.signs.discard(opposite)
        return new

    def join(self, other: Evidence) -> None:
        """Take in what is known from elsewhere."""
        self.ids |= other.ids
        self.learn(other.signs)


def _has_cell_voltages(data: bytes) -> bool:
    """Whether 355 [4:5] and [6:7] are cells in mV.

    A gateway may have the state of charge in hundredths and what is left in the same place: while the one happens to be
    what the other would be, nothing is said.
    """
    if len(data) != 8:
        return False
    soc, _, most, least = _WORDS(data)
    return most in CELL_MV and least in CELL_MV and most >= least and abs(most - 100 * soc) > _SOC_AGREES


def _ext(*ids: int) -> frozenset[int]:
    return frozenset(frame_id | EXTENDED for frame_id in ids)


_PYTES: Final = frozenset({0x400, 0x401, 0x402, 0x403, 0x404, 0x405, 0x408, 0x409, 0x40A})
_GOODWE: Final = frozenset({0x453, 0x455, 0x456, 0x457, 0x458})
_VICTRON: Final = frozenset({0x360, 0x372, 0x374, 0x375, 0x376, 0x377, 0x378, 0x380, 0x381, 0x382})
_MEGAREVO: Final = _ext(*range(0x1F000300, 0x1F000305))
_PYLON: Final = frozenset({0x359, 0x35C})
_SOFAR_QUERIES: Final = frozenset({0x605, 0x705})
_SHARED: Final = frozenset({0x351, 0x355, 0x356})
_SOFAR_SIGNS: Final = frozenset({Sign.COUNTS, Sign.NO_LETTERS})
_LUXPOWER: Final = frozenset({Sign.NO_LETTERS, Sign.CELL_VOLTAGES})


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """How a family is known; `typical` is evidence that is enough for it."""

    family: str
    order: int
    fits: Callable[[Evidence], bool]
    typical: Evidence

    @property
    def clear(self) -> bool:
        """Whether it is decided by ids that nobody else has, and so needs no waiting (can.md 4.2)."""
        return self.order <= 9


def _marker(
    order: int,
    family: str,
    fits: Callable[[AbstractSet[int], AbstractSet[Sign]], bool],
    *ids: int,
    signs: Iterable[Sign] = (),
) -> Marker:
    typical = Evidence(ids=set(ids), signs=set(signs))
    return Marker(family=family, order=order, fits=lambda heard: fits(heard.ids, heard.signs), typical=typical)


def _is_sofar(ids: AbstractSet[int], signs: AbstractSet[Sign]) -> bool:
    """Sofar has no 35C and no letters in 359; with its alarms and its 30F, but without figures, it may be Dyness's.

    605 and 705 are asked by an inverter of Sofar's, beside whatever battery.
    """
    if 0x35C in ids or Sign.TAG in signs:
        return False
    if 0x359 in ids and ids & {0x30F, 0x35F}:
        return not ids >= {0x30F, 0x35A} or not signs.isdisjoint(_SOFAR_SIGNS)
    return bool(ids & _SOFAR_QUERIES and ids & {*_SHARED, 0x359})


# In the order in which they are asked; the first that fits is it.
MARKERS: Final[tuple[Marker, ...]] = (
    _marker(1, "growatt", lambda ids, _: ids >= {0x311, 0x313} and bool(ids & {0x312, 0x314, 0x319}), 0x311, 0x312, 0x313),
    _marker(2, "deye_pcs", lambda ids, signs: bool(ids & {0x361, 0x363, 0x364}) and Sign.TAG not in signs, 0x361),
    _marker(3, "pytes", lambda ids, _: len(ids & _PYTES) >= 3, 0x400, 0x404, 0x405),
    _marker(4, "megarevo", lambda ids, _: bool(ids & _MEGAREVO), *_MEGAREVO),
    _marker(5, "goodwe_classic", lambda ids, _: len(ids & _GOODWE) >= 2, 0x457, 0x458),
    _marker(
        6, "afore", lambda ids, signs: 0x350 in ids and bool(ids & {0x352, 0x353, 0x354}) and Sign.TAG not in signs,
        0x350, 0x352,
    ),
    _marker(7, "li_residential", lambda ids, _: bool(ids & {0x399, 0x3DA, 0x3DB}), 0x399),
    _marker(8, "discover", lambda ids, _: 0x354 in ids and 0x350 not in ids, 0x354),
    _marker(9, "dyness", lambda ids, _: ids >= {0x30F, 0x359, 0x35A, 0x35C}, 0x30F, 0x359, 0x35A, 0x35C),
    _marker(10, "victron", lambda ids, _: bool(ids & _VICTRON) and not ids & _PYLON, 0x360),
    _marker(
        11, "luxpower", lambda ids, signs: 0x359 in ids and signs >= _LUXPOWER,
        0x359, signs=_LUXPOWER,
    ),
    _marker(
        12, "pylon_goodwe", lambda ids, signs: bool(ids & _PYLON) and Sign.FIGURES in signs,
        0x359, 0x35C, 0x370, signs=_FIGURES,
    ),
    _marker(13, "solark", lambda ids, _: bool(ids & _PYLON) and 0x379 in ids and not ids & {0x372, 0x373}, 0x359, 0x379),
    # with its counts: a 35A, which is sent only when it changes, must not tell against what was assumed
    _marker(14, "sofar", _is_sofar, 0x359, 0x30F, signs={Sign.COUNTS}),
    _marker(15, "pylon", lambda ids, _: bool(ids & _PYLON), 0x359, 0x35C),
    _marker(16, "sma", lambda ids, _: bool(ids & {0x35A, 0x35B, 0x35F}), 0x35A),
    _marker(17, "generic_35x", lambda ids, _: bool(ids & _SHARED), 0x351),
)  # fmt: skip

BY_FAMILY: Final = {marker.family: marker for marker in MARKERS}


def marked(evidence: Evidence) -> Marker | None:
    """The family that the evidence is of."""
    return next((marker for marker in MARKERS if marker.fits(evidence)), None)


# --- what is no battery that can be read ---------------------------------------------------------------------------

# From the inverter, never of a battery (can.md section 3).
INVERTER: Final = frozenset(
    {0x300, 0x301, 0x302, 0x303, 0x304, 0x305, 0x306, 0x307, 0x308, 0x309, 0x00F, 0x211, 0x212, 0x605, 0x705}
) | _ext(0x1F000100, 0x0001001F)

# Serial numbers of no known layout: such a frame is never shown, whoever sent it.
NAMELESS_SERIALS: Final = frozenset({0x671, 0x672, 0x673})

_SOFAR_TOWER: Final = frozenset({0x30F, 0x351, 0x355, 0x356, 0x359, 0x35A, 0x35C, 0x35E, 0x35F})


def is_high_voltage(frame_id: int) -> bool:
    """Pylon's 29-bit set, Growatt's, or a tower of Sofar's, whose ids are those of low voltage + 1000 n."""
    number = frame_id & ~EXTENDED
    if not frame_id & EXTENDED:
        return False
    return (
        number == 0x4200
        or 0x4210 <= number <= 0x428F
        or 0x7310 <= number <= 0x734F
        or number == 0x3010
        or 0x3020 <= number <= 0x3FFF
        or number & 0xFFFFFF00 == 0x1AC0FF00
        or (0x1000 <= number <= 0xFFFF and number & 0xFFF in _SOFAR_TOWER)
    )


def is_out_of_scope(frame_id: int) -> bool:
    """JK's own set, PACE's polled one, Schneider's."""
    number = frame_id & ~EXTENDED
    if frame_id & EXTENDED:
        return 0x320 <= number <= 0x331 or 0x42 <= number >> 16 & 0xFF <= 0x47
    return number in {0x2F4, 0x4F4, 0x5F4, 0x7F4}


def is_between_packs(frame_id: int) -> bool:
    """Deye's bus from pack to pack, or Dyness's frames on the same pins."""
    number = frame_id & ~EXTENDED
    if not frame_id & EXTENDED:
        return False
    return number >> 16 == 0x18F2 or (number >> 24 in {0x02, 0x04} and number >> 8 & 0xFF == 0x80)


def inverter_of(heard: Mapping[int, tuple[int, bytes]], family: str | None) -> str | None:
    """Who answers the battery, by the frames that only inverters send, each with its number and payload; None: nobody.

    A gateway on the battery's side may send a 305 of its own, so that one of them proves nothing (can.md section 3).
    """
    for kind, fits in _INVERTERS:
        if fits(heard, family):
            return kind
    return None


type _Heard = Mapping[int, tuple[int, bytes]]


def _any(*ids: int) -> Callable[[_Heard, str | None], bool]:
    return lambda heard, _: any(frame_id in heard for frame_id in ids)


_INVERTERS: Final[tuple[tuple[str, Callable[[_Heard, str | None], bool]], ...]] = (
    # which are serial numbers and counters of the sixth pack in Deye's set
    ("sofar", lambda heard, family: family != "deye_pcs" and (0x605 in heard or 0x705 in heard)),
    ("megarevo", _any(*_ext(0x1F000100, 0x0001001F))),
    ("growatt", lambda heard, family: 0x301 in heard and (family == "growatt" or 0x305 not in heard)),
    ("growatt", _any(0x211, 0x212)),
    ("victron", lambda heard, _: 0x307 in heard and heard[0x307][1][4:7] == b"VIC"),
    ("sma_or_generic", _any(0x301, 0x302, 0x303, 0x304, 0x306, 0x307, 0x308, 0x309, 0x00F)),
    ("afore", lambda heard, family: 0x305 in heard and (family == "afore" or heard[0x305][1].startswith(b"AFORE"))),
    ("luxpower", _any(0x300)),
    ("deye", lambda heard, family: 0x305 in heard and heard[0x305][0] > 1 and family == "deye_pcs"),
    ("generic", lambda heard, family: 0x305 in heard and (heard[0x305][0] > 1 or family is None)),
)
