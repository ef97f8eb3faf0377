"""Adapters that give our own question back without its beginning, and registers that a battery never answers."""

import pytest

from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.transports import ByteTransport
from tests.simulator.bank import make_packs
from tests.simulator.faults import Fault, Kind
from tests.simulator.modbus import question
from tests.simulator.modbus_voltronic import Dialect, VoltronicMap

from .modbus_site import Site
from .rig import Rig


class LateReceiver:
    """A line whose receiver comes on while our own question is still going out."""

    def __init__(self, line: ByteTransport, lost: int) -> None:
        """`lost`: bytes of the question that it misses."""
        self._line = line
        self._lost = lost
        self._echo = b""
        self.name, self.baudrate = line.name, line.baudrate
        self.open, self.close = line.open, line.close

    async def send(self, data: bytes) -> None:
        """See `ByteTransport`."""
        await self._line.send(data)
        self._echo = data[self._lost :]

    async def receive(self, timeout: float) -> bytes:
        """See `ByteTransport`."""
        if self._echo:
            return self._taken()
        return await self._line.receive(timeout)

    def drain(self) -> bytes:
        """See `ByteTransport`."""
        return self._taken() + self._line.drain()

    def _taken(self) -> bytes:
        echo, self._echo = self._echo, b""
        return echo


@pytest.mark.parametrize("lost", [0, 1, 2, 3, 5])
async def test_the_rest_of_an_echo_is_no_second_pack(lost: int) -> None:
    """Each answer comes beside the end of our question; the pack that is away is silent, not damaged."""
    rig = Rig(3)
    line = LateReceiver(rig.bus.open_line(9600), lost)
    rig.client = PolledClient(
        line,
        POLLED["pylon-rs485"],
        clock=rig.clock,
        listener=rig.told,
        addresses=list(rig.bank.packs),
    )
    await rig.start(180.0)
    await rig.stop()
    for address in rig.bank.packs:
        assert rig.told.last(address).online
    assert not any(report.conflict for _, report in rig.told.packs)
    assert rig.told.other_masters == 0
    assert sum(report.counters.damaged for _, report in rig.told.packs) == 0


@pytest.mark.parametrize("register", [0x37, 0x3A, 0x70])
async def test_a_register_that_is_never_answered_costs_a_cycle_its_patience_and_no_more(register: int) -> None:
    """Its answer is not awaited for ten seconds again and again; all other values go on."""
    site = Site(VoltronicMap(Dialect.BYTES16), "voltronic-bms-485-20200325", make_packs(1), addresses=[1])
    for count in (1, 6, 8):
        site.bus.faults.add(Fault(kind=Kind.SILENCE, containing=question(1, register, count)))
    told = await site.read(900.0)
    assert max(cycle.seconds for cycle in told.cycles[12:]) < 8.0
    assert len(told.cycles) > 80
    assert told.banks[-1][1].online
