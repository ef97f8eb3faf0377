"""The batteries of the demo: what they are, what speaks for them, and how a person sets each of them up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeassistant.const import CONF_MODEL

from custom_components.lfp_battery.bms.clock import Clock
from custom_components.lfp_battery.const import CONF_PACK_COUNT
from tests.simulator.bank import DayProfile, SimBank, make_packs
from tests.simulator.bus import Bus
from tests.simulator.console import ConsoleSpeaker
from tests.simulator.ledger import Ledger
from tests.simulator.modbus import ModbusSpeaker
from tests.simulator.modbus_growatt import Dialect, GrowattMap
from tests.simulator.pack import PackSpec
from tests.simulator.pty_line import PtyLine
from tests.simulator.pylon import PylonSpeaker

_START_HOUR = 10.0  # the morning sun


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """One battery on a serial port of its own."""

    name: str
    bank: SimBank
    ledger: Ledger  # of the speaker: what really went out
    port: PtyLine
    speaks_for_bank: bool = False  # one answer for all packs: there is a bank to look at, and no single pack
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by step of the config flow

    @property
    def units(self) -> dict[str, int | None]:
        """What the home shows a device for: serial number and bus address of each pack; else the bank."""
        if self.speaks_for_bank:
            return {"bank": None}
        return {pack.spec.serial: address for address, pack in sorted(self.bank.packs.items())}


def _bank(clock: Clock, count: int, spec: PackSpec, first: int) -> SimBank:
    packs = make_packs(count, spec, first=first)
    return SimBank(packs, clock, profile=DayProfile(), start_hour=_START_HOUR)


def make_batteries(clock: Clock, directory: Path) -> list[Battery]:
    """Connect them all; their ports are made in `directory` when they are started."""
    pylon = _bank(clock, 4, PackSpec(soc=62.0), first=2)
    pylon_speaker = PylonSpeaker(pylon, "c")
    pytes = _bank(
        clock, 3, PackSpec(soc=71.0, manufacturer="PYTES", model="E-BOX-48100V-D", serial="SIMPYTES00000001"), first=1
    )
    pytes_speaker = ConsoleSpeaker(pytes)
    wall = _bank(clock, 3, PackSpec(soc=48.0, capacity=314.0), first=1)
    wall_speaker = ModbusSpeaker(wall, GrowattMap(Dialect.ZT))
    return [
        Battery(
            name="Pylontech bank on RS485",
            bank=pylon,
            ledger=pylon_speaker,
            port=PtyLine(Bus(pylon_speaker, clock, baudrate=9600), directory / "ttyBATTERY"),
        ),
        Battery(
            name="Pytes stack on its console",
            bank=pytes,
            ledger=pytes_speaker,
            port=PtyLine(Bus(pytes_speaker, clock, baudrate=115200), directory / "ttyCONSOLE"),
        ),
        Battery(
            name="ML314 bank in Growatt mode",
            bank=wall,
            ledger=wall_speaker,
            port=PtyLine(Bus(wall_speaker, clock, baudrate=9600), directory / "ttyMODBUS"),
            speaks_for_bank=True,
            # three of them hold more than the capacity words can count
            answers={"confirm_bank": {CONF_MODEL: "ML314-51.2-W08", CONF_PACK_COUNT: 3}},
        ),
    ]
