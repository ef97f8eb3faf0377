"""A client that somebody else wrote reads the simulator: python-pylontech 0.3.3, in an environment of its own."""

import asyncio
from collections.abc import AsyncIterator
import json
from pathlib import Path
from typing import Any

import pytest

from custom_components.lfp_battery.bms.clock import SystemClock
from tests.simulator.bank import SimBank, Steady
from tests.simulator.bus import Bus
from tests.simulator.pack import PackSpec
from tests.simulator.pty_line import PtyLine
from tests.simulator.pylon import PylonSpeaker

_PYTHON = Path(__file__).parents[2] / ".python/peers/python-pylontech/bin/python"
_PACKS = 3

# Its readline waits for a line feed that the protocol does not have, so every answer ends with its timeout: two
# seconds as it comes, shortened here. One method prints as it works, hence the redirection.
_READER = """
import contextlib, io, json, sys
from pylontech import Pylontech

def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if not k.startswith("_")}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value.decode("latin-1") if isinstance(value, bytes) else value

peer = Pylontech(sys.argv[1], 9600)
peer.s.timeout = 0.3
with contextlib.redirect_stdout(io.StringIO()):
    told = {
        "version": plain(peer.get_protocol_version()),
        "manufacturer": plain(peer.get_manufacturer_info()),
        "parameters": plain(peer.get_system_parameters()),
        "group": plain(peer.get_values()),
        "packs": {
            address: {
                "values": plain(peer.get_values_single(address)),
                "management": plain(peer.get_management_info(address)),
                "serial": plain(peer.get_module_serial_number(address)),
            }
            for address in map(int, sys.argv[2:])
        },
        "scan": peer.scan_for_batteries(0, 7),
    }
print(json.dumps(told))
"""


@pytest.fixture
async def speaker_and_port(tmp_path: Path) -> AsyncIterator[tuple[PylonSpeaker, PtyLine]]:
    """Three packs that are being discharged, on a port; frozen, so that two readings of one pack agree."""
    clock = SystemClock()
    bank = SimBank(
        _PACKS, clock, spec=PackSpec(cells=15, capacity=74, soc=71, temperature=4.2), profile=Steady(rate=-0.3)
    )
    bank.step(60)
    bank.frozen = True
    speaker = PylonSpeaker(bank, lenient=True)
    port = PtyLine(Bus(speaker, clock), tmp_path / "port")
    port.start()
    yield speaker, port
    port.stop()


async def read_with_peer(port: PtyLine) -> dict[str, Any]:
    """What the other client makes of the simulator, as plain values."""
    process = await asyncio.create_subprocess_exec(
        str(_PYTHON), "-c", _READER, str(port.path), *(str(2 + number) for number in range(_PACKS)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    told: dict[str, Any] = json.loads(out)
    return told


def compare_values(module: dict[str, Any], sent: dict[str, Any]) -> None:
    """One module as the peer reads it, digit for digit against what was sent."""
    assert tuple(module["CellVoltages"]) == sent["cell_voltages"]
    assert module["AverageBMSTemperature"] == sent["pcb_temperature"]
    assert tuple(module["GroupedCellsTemperatures"]) == (*sent["cell_temperatures"], sent["mosfet_temperature"])
    assert module["Current"] == sent["current"]
    assert module["Voltage"] == sent["voltage"]
    assert module["RemainingCapacity"] == sent["remaining_capacity"]
    assert module["TotalCapacity"] == sent["full_capacity"]
    assert module["CycleNumber"] == sent["cycles"]


async def test_an_independent_client_reads_what_was_sent(speaker_and_port: tuple[PylonSpeaker, PtyLine]) -> None:
    """Every value it can read, of every pack, singly and as a group."""
    if not _PYTHON.exists():
        reason = f"no {_PYTHON}: scripts/setup makes the environment of python-pylontech"
        print(reason)  # noqa: T201 - a skip is said aloud
        pytest.skip(reason)
    speaker, port = speaker_and_port
    told = await read_with_peer(port)

    assert told["version"]["ver"] == "\x20"
    assert told["manufacturer"]["DeviceName"].rstrip("\0") == "SIM5000C"
    assert told["manufacturer"]["ManufacturerName"].startswith("Pylon")
    assert told["parameters"]["CellHighVoltageLimit"] == 3.65
    assert told["parameters"]["ChargeLowTemperatureLimit"] == 0.0
    assert (told["parameters"]["ChargeCurrentLimit"], told["parameters"]["DischargeCurrentLimit"]) == (37.0, -37.0)
    assert told["group"]["NumberOfModules"] == _PACKS
    for module, address in zip(told["group"]["Module"], speaker.bank.packs, strict=True):
        sent: dict[str, Any] = speaker.latest(address)
        assert sent["current"] < -15
        assert min(sent["cell_temperatures"]) < 10
        compare_values(module, sent)
        own = told["packs"][str(address)]
        compare_values(own["values"], sent)
        assert own["serial"]["ModuleSerialNumber"] == sent["serial"]
        management = own["management"]
        assert management["ChargeVoltageLimit"] == sent["charge_voltage_limit"]
        assert management["DischargeVoltageLimit"] == sent["discharge_voltage_limit"]
        assert management["ChargeCurrentLimit"] == sent["charge_current_limit"]
        assert management["DischargeCurrentLimit"] == -sent["discharge_current_limit"]
        assert management["status"]["ChargeEnable"] is sent["charge_enabled"]
        assert management["status"]["DischargeEnable"] is sent["discharge_enabled"]
        assert management["status"]["FullChargeRequest"] is sent["full_charge_requested"]
    assert told["scan"] == {str(address): speaker.latest(address)["serial"] for address in speaker.bank.packs}
    assert speaker.forbidden == []
    assert speaker.malformed == 0
