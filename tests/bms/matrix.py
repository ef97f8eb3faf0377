"""Every family, each protocol that its serial ports speak, and one, some and the most packs: what a scan makes of it.

Shared by the test and by `scripts/bench --full`.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from custom_components.lfp_battery.bms.catalog import FAMILIES, Medium, find_family
from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.discovery import Progress, ScanReport, Stage, scan
from custom_components.lfp_battery.bms.model import BatteryState
from custom_components.lfp_battery.bms.protocols import POLLED
from tests.simulator.bank import SimBank, Steady, make_packs
from tests.simulator.bus import Bus
from tests.simulator.console import ConsoleSpeaker
from tests.simulator.ledger import Ledger
from tests.simulator.modbus import ModbusSpeaker, RegisterMap
from tests.simulator.modbus_cvte import CvteMap
from tests.simulator.modbus_growatt import Dialect as GrowattDialect, GrowattMap
from tests.simulator.modbus_pace import PaceMap
from tests.simulator.modbus_voltronic import Dialect as VoltronicDialect, VoltronicMap
from tests.simulator.modbus_zt import Dialect as ZtDialect, ZtMap
from tests.simulator.pace import PaceSpeaker
from tests.simulator.pack import PackSpec
from tests.simulator.pylon import Profile, PylonSpeaker

from .rig import Told

# What the manual of a family does not say is tried with as many packs as the protocol's addresses allow.
_UNSTATED = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One protocol of one family."""

    family: str
    protocol: str
    baudrate: int
    speaker: Callable[[SimBank], Ledger]
    first: int  # address of the first pack
    spec: PackSpec = field(default_factory=PackSpec)
    speaks_for_bank: bool = False

    @property
    def counts(self) -> tuple[int, ...]:
        """How many packs are tried."""
        family = find_family(self.family)
        assert family is not None
        most = family.max_parallel or _UNSTATED
        return tuple(sorted({1, min(3, most), most}))


def _pylon(profile: Profile) -> Callable[[SimBank], PylonSpeaker]:
    return lambda bank: PylonSpeaker(bank, profile)


def _modbus(registers: Callable[[], RegisterMap]) -> Callable[[SimBank], ModbusSpeaker]:
    return lambda bank: ModbusSpeaker(bank, registers())


def _growatt() -> RegisterMap:
    return GrowattMap(GrowattDialect.ZT)


def _bank(family: str, protocol: str, registers: Callable[[], RegisterMap], spec: PackSpec) -> Row:
    """A register map in which one address speaks for the bank."""
    speaker = _modbus(registers)
    return Row(
        family=family,
        protocol=protocol,
        baudrate=9600,
        speaker=speaker,
        first=1,
        spec=spec,
        speaks_for_bank=True,
    )


_PYTES = PackSpec(manufacturer="PYTES", model="E-BOX-48100V-D")
_ES, _ML314, _VLRV = PackSpec(capacity=100.0), PackSpec(capacity=314.0), PackSpec(capacity=100.0)
_GROWATT, _VOLTRONIC, _CVTE = "growatt-rs485", "voltronic-bms-485-20200325", "cvte-rs485"
_PACE, _NATIVE = "pace-modbus-1.3", "eg4ll-zt-native"

ROWS: tuple[Row, ...] = (
    Row(family="pytes_v", protocol="console-pytes", baudrate=115200, speaker=ConsoleSpeaker, first=1, spec=_PYTES),
    Row(family="pytes_v", protocol="pylon-rs485", baudrate=9600, speaker=_pylon(Profile.C), first=2),
    Row(
        family="es_wall",
        protocol="pylon-rs485-v35",
        baudrate=9600,
        speaker=_pylon(Profile.V35),
        first=1,  # only its group is ever named, and fifteen packs fit it
        speaks_for_bank=True,
    ),
    _bank("es_wall", _VOLTRONIC, VoltronicMap, _ES),
    # the manual does not say at which speed its RS232 port works
    *(
        Row(family="es_wall", protocol="pace-v25", baudrate=speed, speaker=PaceSpeaker, first=1, spec=_ES)
        for speed in (9600, 115200, 19200)
    ),
    _bank("ml314", _GROWATT, _growatt, _ML314),
    _bank("ml314", _VOLTRONIC, lambda: VoltronicMap(VoltronicDialect.STANDARD), _ML314),
    Row(family="ml314", protocol=_PACE, baudrate=9600, speaker=_modbus(PaceMap), first=1, spec=_ML314),
    _bank("ml314", _CVTE, CvteMap, _ML314),
    _bank("vlrv", _GROWATT, _growatt, _VLRV),
    _bank("vlrv", _VOLTRONIC, VoltronicMap, _VLRV),
    Row(
        family="vlrv",
        protocol=_NATIVE,
        baudrate=9600,
        speaker=_modbus(lambda: ZtMap(ZtDialect.VOLTGO)),
        first=1,
        spec=_VLRV,
    ),
)


def cases() -> Iterator[tuple[Row, int]]:
    """Every row with every number of packs."""
    for row in ROWS:
        for count in row.counts:
            yield row, count


def families_without_serial() -> set[str]:
    """Families whose manual has no serial port but those between packs."""
    media = {Medium.RS485, Medium.RS232}
    return {
        family.key
        for family in FAMILIES
        if not any(port.medium in media and port.protocols and not port.link for port in family.ports)
    }


class Scanned(NamedTuple):
    """What a scan said, and when."""

    report: ScanReport
    named: float  # s until it was known what answers
    seconds: float  # s until all packs were read, with their identities


class Site:
    """The packs of a row on a line of their own."""

    def __init__(self, row: Row, count: int) -> None:
        """Connect them; nothing changes by itself but noise of nobody."""
        self.row = row
        self.clock = DrivenClock()
        self.bank = SimBank(make_packs(count, row.spec, first=row.first), self.clock, profile=Steady(rate=0.1))
        self.speaker = row.speaker(self.bank)
        self.bus = Bus(self.speaker, self.clock, baudrate=row.baudrate)

    async def scan(self, **how: Any) -> Scanned:
        """Scan the line to its end."""
        began = self.clock.monotonic()
        named: list[float] = []

        def note(progress: Progress) -> None:
            if progress.stage is Stage.READING and not named:
                named.append(self.clock.monotonic() - began)

        task = asyncio.create_task(scan(self.bus.open_line, clock=self.clock, on_progress=note, **how))
        while not task.done():
            await self.clock.advance(0.05)
            assert self.clock.monotonic() - began < 300
        seconds = self.clock.monotonic() - began
        return Scanned(task.result(), min([*named, seconds]), seconds)

    async def read(self, report: ScanReport, seconds: float) -> Told:
        """Poll what was found for so long; what the client told."""
        assert report.protocol is not None
        assert report.baudrate is not None
        told = Told(self.clock)
        client = PolledClient(
            self.bus.open_line(report.baudrate),
            POLLED[report.protocol].configured(packs=len(self.bank.packs), capacity=self.row.spec.capacity),
            clock=self.clock,
            listener=told,
            addresses=[pack.address for pack in report.packs] or [report.bank_address or 0],
        )
        task = asyncio.create_task(client.run())
        await self.clock.advance(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return told


class Difference(NamedTuple):
    """A field that is not what was sent."""

    field: str
    shown: object
    sent: object


def differences(state: BatteryState, ledger: Ledger, address: int | None) -> list[Difference]:
    """Fields of a state that the speaker said otherwise, or that it said and that are not there."""
    known = {f.name for f in fields(state)} - {"address", "derived"}
    return [
        Difference(name, getattr(state, name), value)
        for name, value in ledger.latest(address).items()
        if name in known and not _was_sent(ledger, address, name, getattr(state, name))
    ]


def _was_sent(ledger: Ledger, address: int | None, name: str, shown: object) -> bool:
    history = ledger.sent_bank if address is None else ledger.sent.get(address, ())
    return any(_same(shown, sent.values[name]) for sent in history if name in sent.values)


def _same(shown: object, sent: object) -> bool:
    if isinstance(shown, tuple) and isinstance(sent, tuple):
        return len(shown) == len(sent) and all(map(_same, shown, sent, strict=True))
    if isinstance(shown, float | int) and isinstance(sent, float | int):
        return abs(shown - sent) < 1e-6
    return shown == sent
