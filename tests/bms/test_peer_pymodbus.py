"""A peer that is not ours: pymodbus's own server behind a pseudo terminal, read by our client."""

import asyncio
from collections.abc import AsyncIterator, Mapping
import os
import tty

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice
import pytest

from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.clock import DrivenClock, SystemClock
from custom_components.lfp_battery.bms.model import BankState
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.transports.serial import SerialTransport
from tests.simulator.bank import SimBank, make_packs
from tests.simulator.modbus import Page
from tests.simulator.modbus_cvte import CvteMap
from tests.simulator.modbus_growatt import GrowattMap
from tests.simulator.pack import PackSpec

from .rig import Told


class NullModem:
    """Two pseudo terminals whose far ends are pumped into each other."""

    def __init__(self) -> None:
        """Open both."""
        self._pairs = [os.openpty() for _ in range(2)]
        for pair in self._pairs:
            for descriptor in pair:
                tty.setraw(descriptor)
        self.ports = [os.ttyname(slave) for _, slave in self._pairs]

    def start(self) -> None:
        """Pump from now on."""
        loop = asyncio.get_running_loop()
        (one, _), (other, _) = self._pairs
        loop.add_reader(one, lambda: os.write(other, os.read(one, 4096)))
        loop.add_reader(other, lambda: os.write(one, os.read(other, 4096)))

    def stop(self) -> None:
        """Close everything."""
        loop = asyncio.get_running_loop()
        for master, slave in self._pairs:
            loop.remove_reader(master)
            os.close(master)
            os.close(slave)


@pytest.fixture
async def modem(socket_enabled: None) -> AsyncIterator[NullModem]:
    """A line between the peer and us."""
    modem = NullModem()
    modem.start()
    yield modem
    modem.stop()


def _blocks(words: Mapping[int, int]) -> list[SimData]:
    """Registers as the server wants them, one block for each run of them."""
    blocks: list[tuple[int, list[int]]] = []
    for register, word in sorted(words.items()):
        if blocks and blocks[-1][0] + len(blocks[-1][1]) == register:
            blocks[-1][1].append(word)
        else:
            blocks.append((register, [word]))
    return [SimData(start, values=values, datatype=DataType.UINT16) for start, values in blocks]


async def _read(modem: NullModem, page: Page, protocol: str) -> BankState:
    """What our client makes of these registers behind the peer's server."""
    clock = SystemClock()
    server = ModbusSerialServer(
        [SimDevice(1, simdata=_blocks(page.words))], framer=FramerType.RTU, port=modem.ports[0], baudrate=9600
    )
    serving = asyncio.create_task(server.serve_forever())
    told = Told(clock)
    transport = SerialTransport(modem.ports[1], 9600, clock=clock)
    client = PolledClient(transport, POLLED[protocol], clock=clock, listener=told, addresses=[1])
    task = asyncio.create_task(client.run())
    try:
        async with asyncio.timeout(20):
            while not told.cycles:
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.shutdown()  # type: ignore[no-untyped-call]  # pymodbus annotates nothing here
        await asyncio.gather(serving, return_exceptions=True)
    state = told.banks[-1][1].state
    assert state is not None
    return state


@pytest.mark.parametrize(
    ("protocol", "registers", "start", "count"),
    [("growatt-rs485", GrowattMap(), 0x01, 0x80), ("cvte-rs485", CvteMap(), 0x11, 0x60)],
)
async def test_our_client_reads_the_peer(
    modem: NullModem, protocol: str, registers: GrowattMap | CvteMap, start: int, count: int
) -> None:
    """Every value that was put into pymodbus's server comes out of our client, framed and summed by two code bases."""
    bank = SimBank(make_packs(2, PackSpec(soc=61.0, cycles=321), first=1), DrivenClock())
    bank.step(1)
    page = registers.page(bank, 1)
    assert page is not None
    state = await _read(modem, page, protocol)
    put = page.said(start, count)[None]
    assert len(put) >= 15
    for name, value in put.items():
        assert getattr(state, name) == value, name
