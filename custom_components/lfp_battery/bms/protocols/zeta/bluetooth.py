"""The native map and the settings over Bluetooth LE (ble.md): one pack behind each connection."""

from typing import Any, ClassVar, Final, override

from ...errors import FrameError
from ...gatt_profile import GattProfile
from ..base import Cadence, Decoded, Poll, Probe, Splitter, Timing
from ..modbus.frame import Registers, crc_is_right, read_request, reading
from ..modbus.splitter import EXCEPTION, READ_WORDS, is_question
from . import settings
from .registers import MODEL, STATUS, NativeMap, Scale, whole_celsius
from .splitter import BMS, ZetaSplitter

_ADDRESS: Final = 1
_STATUS_SIZES: Final = (41, 39)  # registers; the Voltgo app's own, and that of an app that does without the last two
_MAXIMUM: Final = 20
_SETTING: Final = 40  # of the heating
_SETTING_BIT: Final = 0x0010
_HEATER_BIT: Final = 0x8000  # a mask: an EG4 pack has other bits set with nothing wrong
_SAME: Final = 3.0  # % of the full capacity at most between two ways to say how much is left


def _uuid(short: int) -> str:
    """A 16-bit UUID written out."""
    return f"0000{short:04x}-0000-1000-8000-00805f9b34fb"


class _Zeta(NativeMap):
    """What both generations share: they differ in where bytes go in and out, and in what they count in."""

    address_groups: ClassVar[tuple[tuple[int, ...], ...]] = ((_ADDRESS,),)
    speeds: ClassVar[tuple[int, ...]] = ()
    # Answers take about 100 ms, and 500 ms go by between the app's own questions (section 3); a proxy adds its own.
    timing = Timing(first_byte=2.0, gap=0.5, answer=4.0, pause=0.5)
    polls = (
        Poll(
            name="status",
            cadence=Cadence.CYCLE,
            request=reading(0, _STATUS_SIZES[0]),
            essential=True,
            fallback=(Poll(name="short_status", cadence=Cadence.CYCLE, request=reading(0, _STATUS_SIZES[1])),),
        ),
        Poll(name="identity", cadence=Cadence.ONCE, request=reading(MODEL, 32)),
        Poll(name="module_id", cadence=Cadence.ONCE, request=settings.asking(settings.MODULE_ID)),
        Poll(name="rs485_protocols", cadence=Cadence.ONCE, request=settings.asking(settings.RS485_LIST)),
        Poll(name="can_protocols", cadence=Cadence.ONCE, request=settings.asking(settings.CAN_LIST)),
    )
    probes: ClassVar[tuple[Probe, ...]] = tuple(
        Probe(name=f"status of {count}", address=_ADDRESS, request=read_request(_ADDRESS, 0, count))
        for count in _STATUS_SIZES
    )

    @override
    def splitter(self, request: bytes | None = None) -> Splitter:
        """See `Codec`."""
        return ZetaSplitter(request)

    @override
    def is_answer(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`. An acknowledgement may be the same bytes as what it acknowledges."""
        return settings.is_answer(request, frame) or super().is_answer(request, frame)

    @override
    def is_request(self, frame: bytes) -> bool:
        """See `Codec`; acknowledgements have the form of what they acknowledge."""
        return settings.is_question(frame) or (
            frame[:1] == bytes((BMS,)) and super().is_request(frame) and frame[1] in READ_WORDS
        )

    @override
    def address_of(self, question: bytes) -> int | None:
        """See `Codec`: whatever is asked, it is of the one pack that there is."""
        return _ADDRESS if self.is_request(question) else None

    @override
    def decode(self, request: bytes | None, frame: bytes) -> Decoded:
        """See `Codec`. Of answers without their question only the status is known, by its size."""
        if settings.BOARD in (frame[:1] if request is None else request[:1]):
            return settings.decode(request, frame)
        if request is None and crc_is_right(frame):
            if self.is_request(frame):
                return Decoded()
            if frame[0] != BMS or frame[1] & ~EXCEPTION not in READ_WORDS:
                raise FrameError("neither from the battery nor from its settings")
            request = next(
                (read_request(_ADDRESS, 0, count) for count in _STATUS_SIZES if len(frame) == 5 + 2 * count), None
            )
        return super().decode(request, frame)

    @override
    def recognises(self, request: bytes, frame: bytes) -> bool:
        """See `Codec`: a status that makes sense, and nothing else."""
        return is_question(request) and super().recognises(request, frame)

    @override
    def temperatures(self, unit: int, registers: Registers, found: dict[str, Any]) -> None:
        """See `NativeMap`. The maximum is one here (60 captures); on RS485 the average beside it was above it."""
        super().temperatures(unit, registers, found)
        found["cell_temperature_max"] = whole_celsius(registers, _MAXIMUM)

    @override
    def capacity(
        self, soc: int, remaining: int, full: float, found: dict[str, Any], info: dict[str, object]
    ) -> float | None:
        """See `NativeMap`. What it counts in differs, so that SOC decides; where neither fits, SOC is what is said.

        0 fits any count, and an almost empty pack as well: it is believed of an empty one only.
        """
        if not remaining:
            return 0.0 if soc == 0 else None
        counts = [remaining / per if per > 1 else float(remaining) for per in self.scale.remaining]
        apart = {count: abs(100 * count / full - soc) for count in counts}
        nearest = min(counts, key=apart.__getitem__)  # of two the likelier, which comes first
        return nearest if apart[nearest] <= _SAME else None

    @override
    def heating(self, registers: Registers, found: dict[str, Any], info: dict[str, object]) -> None:
        """The film as it is, and the switch as it was left; None where the shorter status does not have it."""
        if (status := registers.u16(STATUS)) is not None:
            found["heater_active"] = bool(status & _HEATER_BIT)
        if (setting := registers.u16(_SETTING)) is not None:
            found["heating_enabled"] = bool(setting & _SETTING_BIT)
            info["r40"] = setting

    @override
    def serial(self, text: str | None, info: dict[str, object]) -> None:
        """A date on the only pack that was read (ble.md section 5): the device's address says who it is."""
        if text is not None:
            info["serial_or_date"] = text


class Zeta1006(_Zeta):
    """The present generation: ZT and BB packs."""

    name = "zeta-1006"
    profile = GattProfile(service=_uuid(0x1006), write=_uuid(0x1008), notify=_uuid(0x1007))
    scale = Scale(current=10, charge_limit=1, remaining=(1, 10))


class Zeta1000(_Zeta):
    """The older one: EG4 LL and EG4 12 V packs."""

    name = "zeta-1000"
    profile = GattProfile(service=_uuid(0x1000), write=_uuid(0x1001), notify=_uuid(0x1002))
    scale = Scale(current=10, charge_limit=10, remaining=(10, 1))
