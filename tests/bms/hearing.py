"""An inverter that polls packs, and a client that listens to the two: what tests of listening need.

Everything that the client tells is held against what the packs really sent.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
import random
from typing import Any, override

from custom_components.lfp_battery.bms.clients.listening import ListeningClient
from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.errors import LinkError
from custom_components.lfp_battery.bms.model import BankState, BatteryState, Identity, PollReport
from custom_components.lfp_battery.bms.protocols import POLLED
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.bus import Bus, Transmission
from tests.simulator.inverter import HABITS, Habit, Inverter
from tests.simulator.ledger import Ledger, Sent
from tests.simulator.line import MemoryLine
from tests.simulator.modbus import ModbusSpeaker, RegisterMap
from tests.simulator.modbus_growatt import Dialect as GrowattDialect, GrowattMap
from tests.simulator.modbus_pace import Dialect as PaceDialect, PaceMap
from tests.simulator.modbus_voltronic import Dialect as VoltronicDialect, VoltronicMap
from tests.simulator.modbus_zt import Dialect as ZtDialect, ZtMap
from tests.simulator.pace import Line as PaceLine, PaceSpeaker
from tests.simulator.pack import PackSpec
from tests.simulator.pylon import Profile, PylonSpeaker

from .rig import Told

# An answer that is still on the line, or waits for the others of its burst, in seconds.
_UNDER_WAY = 2.5
# What is under way when the line is opened is not heard on this bus, in seconds.
_UNHEARD = 0.1
# What was sent so lately must be known, in seconds.
_KEPT = 55.0
# Values that are computed from others; those are compared.
_NOT_SENT = frozenset({"address", "derived"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A protocol, who asks in it, and who answers."""

    protocol: str
    habit: str
    speaker: Callable[[SimBank], Ledger]
    first: int = 1  # address of the first pack
    baudrate: int = 9600
    for_bank: bool = False  # one answers for all
    spec: PackSpec = field(default_factory=PackSpec)

    @property
    def name(self) -> str:
        """For the list of tests."""
        return f"{self.protocol}, {self.habit}"


def _modbus(registers: Callable[[], RegisterMap]) -> Callable[[SimBank], Ledger]:
    return lambda bank: ModbusSpeaker(bank, registers())


SCENES: tuple[Scene, ...] = (
    Scene(protocol="pylon-rs485", habit="packs", first=2, speaker=lambda bank: PylonSpeaker(bank, Profile.C)),
    Scene(
        protocol="pylon-rs485-v35",
        habit="group",
        first=2,
        speaker=lambda bank: PylonSpeaker(bank, Profile.V35),
        for_bank=True,
    ),
    Scene(
        protocol="pace-v25-rs485",
        habit="packs",
        speaker=lambda bank: PaceSpeaker(bank, line=PaceLine.RS485),
    ),
    Scene(protocol="pace-v25", habit="host", speaker=lambda bank: PaceSpeaker(bank, line=PaceLine.RS232)),
    *(
        Scene(
            protocol="growatt-rs485",
            habit=habit,
            speaker=_modbus(partial(GrowattMap, dialect)),
            for_bank=True,
        )
        for habit, dialect in (
            ("EG4 6500EX", GrowattDialect.SHORT),
            ("SPF 3KU", GrowattDialect.DOCUMENTED),
            ("SPF 6KU", GrowattDialect.DOCUMENTED),
            ("with cells", GrowattDialect.JK),
        )
    ),
    *(
        Scene(
            protocol="voltronic-bms-485-20200325",
            habit=habit,
            speaker=_modbus(partial(VoltronicMap, dialect)),
            for_bank=True,
        )
        for habit, dialect in (("narrow", VoltronicDialect.WORDS16), ("wide", VoltronicDialect.STANDARD))
    ),
    *(
        Scene(
            protocol="pace-modbus-1.3",
            habit=habit,
            speaker=_modbus(partial(PaceMap, dialect)),
        )
        for habit, dialect in (
            ("whole", PaceDialect.DOCUMENTED),
            ("halves", PaceDialect.NARROW),
            ("newer layout", PaceDialect.V2),
        )
    ),
    Scene(protocol="eg4ll-zt-native", habit="whole", speaker=_modbus(lambda: ZtMap(ZtDialect.EG4LL))),
)


class Ear(MemoryLine):
    """An adapter to which single frames get lost that everybody else hears."""

    deaf = 0.0  # share of the frames, of either side
    lost = 0

    def lose_some(self, deaf: float, seed: int) -> None:
        """Lose this share from now on; the same seed loses the same frames."""
        self.deaf = deaf
        self._random = random.Random(seed)

    @override
    def hear(self, transmission: Transmission) -> None:
        """See `MemoryLine`."""
        if self.deaf and self._random.random() < self.deaf:
            self.lost += 1
        else:
            super().hear(transmission)


class Hearing:
    """Packs, inverter, line, client and what it tells, on one driven clock."""

    def __init__(
        self,
        scene: Scene,
        packs: int = 3,
        *,
        addresses: Collection[int] = (),
        period: float = 1.0,
        first: float = 0.1,
        start_hour: float = 9.0,
        asked: Sequence[int] | None = None,
        habit: Habit | None = None,
        strict: bool = True,
    ) -> None:
        """`asked`: addresses that the inverter asks, by default all; `strict`: nothing may ever be held back."""
        self.scene = scene
        self.clock = DrivenClock()
        self.bank = SimBank(make_packs(packs, scene.spec, first=scene.first), self.clock, start_hour=start_hour)
        self.speaker = scene.speaker(self.bank)
        self.bus = Bus(self.speaker, self.clock, baudrate=scene.baudrate)
        self.told = Checked(self)
        self.strict = strict
        self.since = 0.0  # when the client began to listen, or to listen anew
        self.lossy = False  # answers get lost on the way: what is told may be older than what was sent last
        self.ear = Ear(self.bus.port, scene.baudrate)
        self.client = ListeningClient(
            self.ear,
            POLLED[scene.protocol].configured(packs=packs, capacity=scene.spec.capacity),
            clock=self.clock,
            listener=self.told,
            addresses=addresses,
        )
        units = list(asked or ([scene.first] if scene.for_bank else self.bank.packs))
        self._habit = habit or HABITS[scene.protocol][scene.habit](units)
        self._pace = (period, first)
        self.inverter: Inverter | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, seconds: float = 0.0, *, inverter: bool = True) -> None:
        """Let inverter and client run for so long."""
        asyncio.get_running_loop().set_debug(False)  # keeps a traceback of every call: eight times as long, measured
        if inverter:
            self.add_inverter()
        self.since = self.clock.monotonic()
        self._task = asyncio.create_task(self.client.run())
        await self.clock.advance(seconds)

    def add_inverter(self) -> Inverter:
        """Switch the inverter on."""
        period, first = self._pace
        self.inverter = Inverter(self.bus, self._habit, period=period, first=first)
        return self.inverter

    async def stop(self) -> None:
        """Cancel the client, and hold against it what it may have sent."""
        if self.inverter is not None:
            self.inverter.stop()
        if self._task is not None:
            self._task.cancel()
            (ended,) = await asyncio.gather(self._task, return_exceptions=True)
            if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
                raise ended  # what the listener complained of
        assert self.bus.bytes_received == 0
        assert self.bus.request_count == 0
        assert not self.bus.requests
        assert self.told.other_masters == 0
        assert self.bus.port.line is None, "the port was not given back"

    def last(self, address: int | None) -> PollReport[Any]:
        """The newest report of a pack, or of the bank."""
        return self.told.banks[-1][1] if address is None else self.told.last(address)

    def state(self, address: int | None) -> Any:
        """What was last told of a pack, or of the bank."""
        state = self.last(address).state
        assert state is not None
        return state

    def identity(self, address: int | None) -> Identity:
        """Who a pack, or the bank, was last said to be."""
        identity = self.last(address).identity
        assert identity is not None
        return identity


class Checked(Told):
    """Compares everything that is told with what was sent."""

    def __init__(self, hearing: Hearing) -> None:
        """Nothing was told yet."""
        super().__init__(hearing.clock)
        self._hearing = hearing
        self.compared = 0  # values
        self.fields: set[str] = set()  # that had a value
        self.unrecorded: set[str] = set()  # ... of which the packs keep no record

    @override
    def link_changed(self, error: LinkError | None) -> None:
        """See `ClientListener`."""
        super().link_changed(error)
        self._hearing.since = self.clock.monotonic()

    @override
    def pack_polled(self, report: PollReport[Any]) -> None:
        """See `ClientListener`."""
        super().pack_polled(report)
        if report.online:
            self._compare(report, self._hearing.speaker.sent.get(report.address, ()))

    @override
    def bank_polled(self, report: PollReport[BankState]) -> None:
        """See `ClientListener`."""
        super().bank_polled(report)
        if report.online:
            self._compare(report, self._hearing.speaker.sent_bank)

    def _compare(self, report: PollReport[Any], sent: Collection[Sent]) -> None:
        assert report.state is not None
        if self._hearing.strict:
            assert not report.held_back, report.held_back
        now = self.clock.monotonic()
        for name, value in _values(report.state).items():
            if name in report.held_back:
                continue
            history = [(one.time, one.values[name]) for one in sent if name in one.values]
            recent = [old for when, old in history if now - when <= _UNDER_WAY]
            settled = [old for when, old in history if now - when > _UNDER_WAY]
            known = any(
                max(self._hearing.since + _UNHEARD, now - _KEPT) < when < now - _UNDER_WAY for when, _ in history
            )
            settled = settled if self._hearing.lossy else settled[-1:]
            if value is not None and not history and name not in report.state.derived:
                self.unrecorded.add(name)
            elif name not in report.state.derived and (value is not None or (known and not self._hearing.lossy)):
                assert any(same(value, one) for one in (*settled, *recent)), (
                    f"{name} of {report.address}: {value} told, {settled} {recent} sent"
                )
                self.compared += 1
            if value is not None:
                self.fields.add(name)
        state = report.state
        if "power" in state.derived:
            assert same(state.power, state.voltage * state.current)


def _values(state: BatteryState) -> dict[str, Any]:
    return {f.name: getattr(state, f.name) for f in fields(state) if f.name not in _NOT_SENT}


def same(one: object, other: object) -> bool:
    """Whether two values are the same but for the rounding of a float."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other, strict=True))
    if isinstance(one, float) and isinstance(other, int | float):
        return abs(one - other) < 1e-6
    return one == other
