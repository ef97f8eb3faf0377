"""The batteries of the demo: what they are, what speaks for them, and how a person sets each of them up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from homeassistant.const import CONF_MODEL

from custom_components.lfp_battery.bms.clock import Clock
from custom_components.lfp_battery.const import CONF_PACK_COUNT
from tests.simulator.bank import DayProfile, SimBank, make_packs
from tests.simulator.bus import Bus
from tests.simulator.can.bus import SimBus
from tests.simulator.can.families import make_speaker
from tests.simulator.can.inverter import usual_inverter
from tests.simulator.can.slcan_adapter import SlcanPty
from tests.simulator.can.speaker import CanLedger
from tests.simulator.console import ConsoleSpeaker
from tests.simulator.ledger import Ledger
from tests.simulator.modbus import ModbusSpeaker
from tests.simulator.modbus_growatt import Dialect, GrowattMap
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pty_line import PtyLine
from tests.simulator.pylon import PylonSpeaker

_START_HOUR = 10.0  # the morning sun


class Port(Protocol):
    """A port on disk that leads to a simulated battery."""

    path: Path

    def start(self) -> None:
        """Make it."""

    def stop(self) -> None:
        """Take it away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """One battery on a port of its own."""

    name: str
    bank: SimBank
    ledger: Ledger | CanLedger  # of the speaker: what really went out
    port: Port
    transport: str = "serial"  # as the menu of the config flow has it
    speaks_for_bank: bool = False  # one answer for all packs: there is a bank to look at, and no single pack
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by step of the config flow

    @property
    def device(self) -> str:
        """What a person types for its port."""
        return f"slcan:{self.port.path}" if self.transport == "can" else str(self.port.path)

    def sent(self, address: int | None) -> Iterable[Mapping[str, Any]]:
        """What a pack (None: the bank) said lately, fields of the model by their names, one answer or frame each."""
        if isinstance(self.ledger, CanLedger):
            notes = (note for notes in self.ledger.notes.values() for note in notes)
            return [note.body.values for note in notes if note.body.pack == address]
        history = self.ledger.sent_bank if address is None else self.ledger.sent.get(address, ())
        return [sent.values for sent in history]

    @property
    def units(self) -> dict[str, int | None]:
        """What the home shows a device for: serial number and bus address of each pack; else the bank."""
        if self.speaks_for_bank:
            return {"bank": None}
        return {pack.spec.serial: address for address, pack in sorted(self.bank.packs.items())}


class _CanPort(SlcanPty):
    """An adapter for CAN, started like the others."""

    def start(self) -> None:
        """Put it in."""
        self.replug()


def _bank(clock: Clock, count: int, spec: PackSpec, first: int) -> SimBank:
    packs = make_packs(count, spec, first=first)
    return SimBank(packs, clock, profile=DayProfile(), start_hour=_START_HOUR)


def make_batteries(clock: Clock, directory: Path) -> list[Battery]:
    """Connect them all; their ports are made in `directory` when they are started."""
    pylon = _bank(clock, 4, PackSpec(soc=62.0), first=2)
    # an older one, so that they do not count alike in the state of charge of their bank
    pylon.add(5, SimPack(replace(pylon.packs[5].spec, soc=52.0, soh=84.0)))
    pylon_speaker = PylonSpeaker(pylon, "c")
    # nearly full: ten minutes later there is a last full charge to look at
    pytes = _bank(
        clock, 3, PackSpec(soc=98.0, manufacturer="PYTES", model="E-BOX-48100V-D", serial="SIMPYTES00000001"), first=1
    )
    pytes_speaker = ConsoleSpeaker(pytes)
    wall = _bank(clock, 3, PackSpec(soc=48.0, capacity=314.0, serial="SIMML31400100001"), first=1)
    wall_speaker = ModbusSpeaker(wall, GrowattMap(Dialect.ZT))
    voltgo = _bank(clock, 2, PackSpec(soc=55.0, serial="SIMVOLTG00100001"), first=1)
    voltgo_speaker = make_speaker("victron", voltgo)
    bus = SimBus(voltgo_speaker, usual_inverter("victron"), clock=clock)
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
        Battery(
            name="Battery beside a Victron inverter on CAN",
            bank=voltgo,
            ledger=voltgo_speaker.ledger,
            port=_CanPort(bus, directory / "ttyCAN"),
            transport="can",
            speaks_for_bank=True,
        ),
    ]
