"""What packs with a PACE board say of themselves: identity, capacities, thresholds, and answers to others' commands.

Source: pace-ascii.md sections 4, 7 and 10. Every function takes the bytes of INFO and the place of the pack that they
are about, and raises FrameError when they are not what the section says.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
import re
from struct import Struct
from typing import Final

from ...errors import FrameError
from ...model import Identity, PackState
from ..base import Decoded
from ..pylon.pack import text
from .records import MOST_PACKS, celsius, control, switched

type _Reader = Callable[[bytes, int], Decoded]

_TEXT: Final = 20  # characters of one text
# How software versions of these boards begin (section 11); it is no serial number.
_VERSION: Final = re.compile(r"P\d{1,2}S\d+A?-")


def _sized(info: bytes, what: str, *sizes: int) -> None:
    if len(info) not in sizes:
        raise FrameError(f"{what} of {len(info)} bytes, {' or '.join(map(str, sizes))} are known")


def _pack_count(info: bytes, place: int) -> Decoded:
    _sized(info, "a number of packs", 1)
    if not 1 <= info[0] <= MOST_PACKS:
        raise FrameError(f"{info[0]} packs, at most {MOST_PACKS} are known")
    return Decoded(info={"pack_count": info[0]})


def _software(info: bytes, place: int) -> Decoded:
    """C1: the version of the software, sometimes followed by a Bluetooth name."""
    _sized(info, "a software version", _TEXT, 2 * _TEXT)
    version = text(info[:_TEXT])
    if version is None:
        raise FrameError("a software version without a text")
    notes: dict[str, object] = {"software_version": version}
    if (name := text(info[_TEXT:])) is not None:
        notes["bluetooth_name"] = name
    return Decoded(identities={place: Identity(firmware=version)}, info=notes)


def _product(info: bytes, place: int) -> Decoded:
    """C2: serial numbers of the board and of the pack; the second may be a build date (pace-C2-jakiper-03)."""
    _sized(info, "product information", _TEXT, 2 * _TEXT)
    board, pack = text(info[:_TEXT]), text(info[_TEXT:])
    if board is not None and _VERSION.match(board):
        raise FrameError("a software version in place of a serial number")  # a late answer to C1 is as long
    return Decoded(
        identities={place: Identity(serial=board)} if board is not None else {},
        info={"bms_serial": board, "pack_serial": pack},
    )


def _internal(info: bytes, place: int) -> Decoded:
    return Decoded(info={"internal_version": text(info)})


def _capacities(info: bytes, place: int) -> Decoded:
    _sized(info, "capacities", 6)
    remaining, full, design = (value / 100 for value in Struct(">3H").unpack(info))
    state = PackState(address=place, remaining_capacity=remaining, full_capacity=full, design_capacity=design)
    return Decoded(packs={place: state})


def _clock(info: bytes, place: int) -> Decoded:
    _sized(info, "a clock", 6)
    year, month, day, hour, minute, second = info
    try:
        shown = datetime(2000 + year, month, day, hour, minute, second).isoformat()
    except ValueError:
        raise FrameError("a clock that shows no time") from None
    return Decoded(info={"time": shown})


# Numbers of inverter protocols (section 10); others exist and stay numbers.
_RS485: Final = (
    "PACE Modbus", "Pylon", "Growatt", "Voltronic", "Schneider", "Phocos", "LuxPower", "Solar", "Lithium", "EP",
    "RTU04", "LuxPower V01", "LuxPower V03", "WOW", "Leoch", "Pylon F", "Afore", "AGXN", "Sunpolo", "Xiongtao",
    "Rongke", "Xinrui", "Eltek",
)  # fmt: skip
_CAN: Final = (
    "PACE", "Pylon", "Growatt", "Victron", "SE", "LuxPower", "Sorotec", "SMA", "Goodwe", "Studer", "Sofar", "PV",
    "Jinlang", "Didu", "Senergy", "TBB", "Pylon V202",
)  # fmt: skip


def _inverter(info: bytes, place: int) -> Decoded:
    _sized(info, "inverter protocols", 3)
    can, rs485, manual = info
    notes: dict[str, object] = {"can_protocol": can, "rs485_protocol": rs485, "type": "manual" if manual else "auto"}
    if can < len(_CAN):
        notes["can_protocol_name"] = _CAN[can]
    if rs485 < len(_RS485):
        notes["rs485_protocol_name"] = _RS485[rs485]
    return Decoded(info=notes)


# --- thresholds, section 4 ---------------------------------------------------------------------------------------------

type _Shown = Callable[[tuple[int, ...]], dict[str, object]]


def _voltages(values: tuple[int, ...]) -> dict[str, object]:
    flag, alarm, protect, release, delay = values
    return {
        "flag": flag,
        "alarm_mV": alarm,
        "protect_mV": protect,
        "release_mV": release,
        "delay_ms": 100 * delay,
    }


def _currents(values: tuple[int, ...]) -> dict[str, object]:
    flag, alarm, protect, delay = values
    # written as positive, read back as negative
    return {"flag": flag, "alarm_A": abs(alarm), "protect_A": abs(protect), "delay_ms": 100 * delay}


def _temperatures(values: tuple[int, ...]) -> dict[str, object]:
    return {"flag": values[0], "thresholds_C": [celsius(raw) for raw in values[1:]]}


def _named(*names: str) -> _Shown:
    return lambda values: dict(zip(names, values, strict=True))


_VOLTAGES: Final = Struct(">B3HB")
_CURRENTS: Final = Struct(">BhhB")
_SIX_WORDS, _THREE_WORDS = Struct(">B6H"), Struct(">B3H")

# command -> name in info, layout, how it is shown
_SETTINGS: Final[dict[int, tuple[str, Struct, _Shown]]] = {
    0xA0: ("sleep", Struct(">HH"), _named("cell_mV", "minutes")),
    0xAF: ("full_charge", Struct(">HHB"), _named("full_voltage_mV", "full_current_mA", "low_soc_percent")),
    0xB6: ("balancing", Struct(">HH"), _named("threshold_mV", "delta_mV")),
    0xD1: ("cell_over_voltage", _VOLTAGES, _voltages),
    0xD3: ("cell_under_voltage", _VOLTAGES, _voltages),
    0xD5: ("pack_over_voltage", _VOLTAGES, _voltages),
    0xD7: ("pack_under_voltage", _VOLTAGES, _voltages),
    0xD9: ("charge_over_current", _CURRENTS, _currents),
    0xDB: ("discharge_over_current", _CURRENTS, _currents),
    0xDD: ("charge_temperature", _SIX_WORDS, _temperatures),
    0xDF: ("discharge_temperature", _SIX_WORDS, _temperatures),
    0xE1: ("mosfet_temperature_limits", _THREE_WORDS, _temperatures),
    # what the bytes count is not documented, and the last three of E3 are stale
    0xE3: ("discharge_over_current_2", Struct(">6B"), lambda values: {"raw": values}),
    0xE5: ("short_circuit_delay", Struct(">B"), _named("raw")),
    0xE7: ("environment_temperature_limits", _SIX_WORDS, _temperatures),
    0xED: ("charge_current_limiter", Struct(">H"), _named("raw")),  # without a unit in the document
}


def _setting(name: str, layout: Struct, shown: _Shown) -> _Reader:
    def read(info: bytes, place: int) -> Decoded:
        _sized(info, name.replace("_", " "), layout.size)
        return Decoded(info={name: shown(layout.unpack(info))})

    return read


READERS: Final[Mapping[int, _Reader]] = {
    0x90: _pack_count,
    0xA6: _capacities,
    0xB1: _clock,
    0xC1: _software,
    0xC2: _product,
    0xC6: _internal,
    0xEB: _inverter,
    **{command: _setting(*row) for command, row in _SETTINGS.items()},
}


# --- others' commands, section 7 ---------------------------------------------------------------------------------------

_SET_CLOCK, _CONTROL = 0xB2, 0x99
_MOSFETS: Final = frozenset({0x9A, 0x9B})


def acknowledgement(command: int, sent: bytes, info: bytes) -> Decoded:
    """The answer to somebody else's command: never a reading, since 44 tells what became of it.

    `sent`: INFO of the command.

    Raises:
        FrameError: it answers another command.
    """
    if command == _CONTROL and info:
        _sized(info, "an answer to a control command", 2)
        if info[:1] != sent[:1]:
            raise FrameError(f"an answer to control command {info[0]:02X}, not to the one that was sent")
        return Decoded(info={"accepted": True, "echoed_command": info[0], **control(info[1])})
    if command in _MOSFETS and info:
        _sized(info, "an answer to a switching command", 1)
        names = ("charge_enabled", "discharge_enabled", "heater_active")
        return Decoded(info={"accepted": True, **dict(zip(names, switched(info[0]), strict=True))})
    if command == _SET_CLOCK and not info:
        return Decoded(info={"accepted": True, **_clock(sent, 0).info})
    notes: dict[str, object] = {"accepted": True}
    if info:
        notes["undecoded"] = info.hex()
    return Decoded(info=notes)
