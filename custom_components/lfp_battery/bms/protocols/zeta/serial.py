"""The native map on RS485: each pack at its own address (modbus-rtu.md section 9)."""

from typing import Any, ClassVar, Final, override

from ..base import Cadence, Poll, Probe
from ..modbus.frame import Registers, read_request, reading
from .registers import BOARD, MODEL, PROBE_WORDS, PROBES, REMAINING, STATUS, NativeMap, Scale

_BOARD_PROBES: Final = 3
_SAME_SHARE: Final = 3.0  # % between a count of whole Ah and the charge that it stands for

# LifePower4 V2: a pack alone, or the master, is 40; the others count down from there.
_LIFEPOWER4: Final = tuple(range(0x40, 0x30, -1))


class ZtNative(NativeMap):
    """Packs on their own link, each at its module ID; a master that speaks Growatt to an inverter is not among them."""

    name = "eg4ll-zt-native"
    # 10 mA: the document and captures of EG4 packs on RS485 have it so.
    scale = Scale(current=100, charge_limit=1, remaining=(1,))
    # 1 to 15 as the packs count, 16 (all switches on) the master of the document of 2017.
    address_groups: ClassVar[tuple[tuple[int, ...], ...]] = (tuple(range(1, 17)), _LIFEPOWER4)
    polls = (
        Poll(
            name="status",
            cadence=Cadence.CYCLE,
            request=reading(0, 39),
            essential=True,
            fallback=(
                Poll(name="measured", cadence=Cadence.CYCLE, request=reading(0, 25)),
                Poll(name="reported", cadence=Cadence.CYCLE, request=reading(STATUS, 14)),
            ),
        ),
        Poll(name="identity", cadence=Cadence.ONCE, request=reading(MODEL, 23), private=True),
    )
    # A bank's first pack may speak Growatt, so that the second is the first to answer here.
    probes: ClassVar[tuple[Probe, ...]] = tuple(
        Probe(name=f"status of {unit}", address=unit, request=read_request(unit, 0, 25)) for unit in (1, 2, 0x10, 0x40)
    )

    @override
    def temperatures(self, unit: int, registers: Registers, found: dict[str, Any]) -> None:
        """See `NativeMap`. A LifePower4 V2 is read without the probes by its own tool, which shows these three words."""
        if unit in _LIFEPOWER4 and not registers.has(PROBES, PROBE_WORDS) and registers.has(BOARD, _BOARD_PROBES):
            shown = [registers.s16(register) for register in range(BOARD, BOARD + _BOARD_PROBES)]
            found["cell_temperatures"] = tuple(float(value) for value in shown if value is not None)
            return
        super().temperatures(unit, registers, found)

    @override
    def capacity(
        self, soc: int, remaining: int, full: float, found: dict[str, Any], info: dict[str, object]
    ) -> float | None:
        """See `NativeMap`. A LifePower4 V2 has SOC and remaining Ah in each other's place: the full capacity tells.

        At 100 Ah the two are within one unit anyway.
        """
        as_documented = abs(100 * remaining / full - soc)
        swapped = abs(100 * soc / full - remaining)
        if swapped < _SAME_SHARE < as_documented and remaining <= 100:
            found["soc"], remaining = remaining, soc
            info["soc_in_register"] = REMAINING
        return float(remaining)
