"""Nothing is ever written but what a person asked for: by what the code can build, and by what it sends in an hour.

Requests are told apart by a classifier of this file's own, out of the documents and not out of the code that is tried.
"""

import ast
import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
import re
from typing import Final

import pytest

from custom_components.lfp_battery.bms.clients.polled import PolledClient
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.base import Poll, PolledProtocol
from custom_components.lfp_battery.bms.protocols.console.frame import Command, encode
from custom_components.lfp_battery.bms.protocols.modbus.frame import read_request
from custom_components.lfp_battery.bms.protocols.pylon.frame import ReadCommand, encode_question
from custom_components.lfp_battery.bms.protocols.writes import HEATING
from custom_components.lfp_battery.bms.protocols.zeta.settings import asking
from tests.simulator.faults import Fault, Kind

from .matrix import ROWS, Row, Site
from .rig import Told
from .zeta.client_rig import ZetaRig

PACKAGE: Final = Path(__file__).parents[2] / "custom_components" / "lfp_battery"
TABLE: Final = "bms/protocols/writes.py"
SWITCH: Final = "bms/clients/heating.py"
DIALOGUE: Final = "bms/clients/dialogue.py"

# --- what is a read --------------------------------------------------------------------------------------------------

_PYLON_READS: Final = frozenset(bytes.fromhex("42 44 47 4F 51 60 61 62 63 92 93 96"))  # pylon-rs485.md section 6
# pace-ascii.md section 4: what is safe there; 60 to 63 are not
_PACE_READS: Final = frozenset(
    bytes.fromhex("42 44 90 A0 A1 A6 AF B1 B6 C1 C2 C6 D1 D3 D5 D7 D9 DB DD DF E1 E3 E5 E7 EB ED")
)
_CONSOLE_READS: Final = frozenset({"pwr", "bat", "soh", "info", "stat", "time"})  # pytes-console.md section 4
# What opens the console of a battery that has fallen back to 1200 baud: it changes the speed of the port, which is
# what it is called for (pytes-console.md section 2).
_CALL: Final = b"~20014682C0048520FCC3\r"
_MODBUS_READS: Final = frozenset({0x03, 0x04})  # modbus-rtu.md section 2
_BOARD, _BOARD_READS = 0x10, frozenset({0x02, 0x03, 0x04})  # ble.md section 4: with nothing behind them


def crc(data: bytes) -> bytes:
    """CRC-16/MODBUS, low byte first."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value.to_bytes(2, "little")


def sealed(data: bytes) -> bool:
    """Whether it ends with its own CRC."""
    return len(data) >= 4 and crc(data[:-2]) == data[-2:]


def command_of(data: bytes) -> int | None:
    """The command of an intact frame of the Pylon form (pylon-rs485.md section 3); None: it is none."""
    if re.fullmatch(rb"~[0-9A-F]{16,}\r", data) is None or (sum(data[1:-5]) + int(data[-5:-1], 16)) & 0xFFFF:
        return None
    return int(data[7:9], 16)


def is_read(protocol: str, data: bytes) -> bool:
    """Whether these bytes, whole, only ask a battery of this protocol for something."""
    if protocol.startswith("console"):
        words = data.decode("latin-1").removesuffix("\r").split(" ")
        # Enter and any other key end what somebody else has left open; `time` with a value sets the clock
        plain = data in {b"\r", b" "} or (data.endswith(b"\r") and words[0] in _CONSOLE_READS)
        return plain and (len(words) == 1 or not any(words) or (words[0] != "time" and words[1].isdigit()))
    if protocol.startswith(("pylon", "pace-v25")):
        command = command_of(data)
        if protocol.startswith("pace"):
            return command in _PACE_READS
        return command in _PYLON_READS
    if protocol.startswith("zeta") and data[0] == _BOARD:
        return sealed(data) and len(data) == 5 and data[1] in _BOARD_READS and not data[2]
    return sealed(data) and len(data) == 8 and data[1] in _MODBUS_READS


def changes_something(data: bytes) -> bool:
    """Whether these bytes are a whole command to any battery at all that is no read of any."""
    if (command := command_of(data)) is not None:
        return command not in _PYLON_READS | _PACE_READS and data != _CALL
    if not sealed(data):
        return False
    if data[0] == _BOARD and len(data) == 5 + data[2]:
        return data[1] not in _BOARD_READS or data[2] > 0
    return data[0] <= 247 and data[1] in {0x05, 0x06, 0x0F, 0x10, 0x16, 0x17}


def all_polls(protocol: PolledProtocol) -> Iterator[Poll]:
    """Every question that is ever asked, those that stand in for others included."""
    left = list(protocol.polls)
    while left:
        poll = left.pop()
        yield poll
        left += poll.fallback


def all_requests(protocol: PolledProtocol) -> Iterator[tuple[str, bytes]]:
    """Everything that a protocol declares, at every address that it has."""
    for poll in all_polls(protocol):
        for group in protocol.address_groups:
            for address in group:
                yield f"{poll.name} of {address}", poll.request(address)
    for probe in protocol.probes:
        yield probe.name, probe.request
    for call in protocol.rouse:
        yield "rouse", call


def test_the_classifier_knows_writes_when_it_sees_them() -> None:
    """Frames that vendors' programs were seen to send, and those of the table."""
    for frames in HEATING.values():
        for frame in (frames.on, frames.off):
            assert changes_something(frame)
            assert not any(is_read(name, frame) for name in POLLED)
    for hexed in ("100701023574", "100601052576", "10050101d4b5", "010600040001"):  # ble.md section 4; modbus
        frame = bytes.fromhex(hexed)
        frame = frame if sealed(frame) else frame + crc(frame)
        assert changes_something(frame)
        assert not any(is_read(name, frame) for name in POLLED)
    for words in (b"shut\r", b"time 2026\r", b"config 1\r", b"pwrsys 1\r", b"info  ; shut\r"):
        assert not is_read("console-pytes", words)
    assert not is_read("pylon-rs485", _CALL)
    assert not is_read("pace-v25", encode_pylon("63"))
    assert changes_something(encode_pylon("95"))


def encode_pylon(command: str) -> bytes:
    """A frame with any command."""
    body = f"200246{command}0000".encode()
    return b"~%b%04X\r" % (body, -sum(body) & 0xFFFF)


@pytest.mark.parametrize("name", POLLED)
def test_everything_that_a_protocol_declares_is_a_read(name: str) -> None:
    """Every poll, fallback, probe and call at every address."""
    declared = dict(all_requests(POLLED[name]))
    assert len(declared) > 4
    assert not {what: request for what, request in declared.items() if not is_read(name, request)}
    assert not any(request in _table() for request in declared.values())


def test_one_call_wakes_a_console_and_nothing_else_is_sent_at_another_speed() -> None:
    """Of all protocols one has it."""
    wakes = {name: protocol.wake for name, protocol in POLLED.items() if protocol.wake is not None}
    assert {name: (wake.request, wake.baudrate) for name, wake in wakes.items()} == {"console-pylontech": (_CALL, 1200)}


# --- what can be built -----------------------------------------------------------------------------------------------


def test_no_builder_of_frames_builds_anything_but_reads() -> None:
    """Whatever it is given."""
    assert all(is_read("growatt-rs485", read_request(unit, 0, 1)) for unit in range(1, 248))
    built = []
    for function in range(256):
        try:
            built.append(asking(function)(1))
        except ValueError:
            continue
    assert sorted(frame[1] for frame in built) == sorted(_BOARD_READS)
    assert all(is_read("zeta-1006", frame) for frame in built)
    for command in (0x94, 0x95, 0x82, 0x42):
        with pytest.raises(TypeError):
            encode_question(command, 2)  # type: ignore[arg-type]  # what must fail
    for words in ("shut", "pwr"):
        with pytest.raises(TypeError):
            encode(words)  # type: ignore[arg-type]  # what must fail
    with pytest.raises(ValueError, match="never asked with"):
        encode(Command.POWER, 99)


def test_every_command_that_the_ascii_frame_takes_is_a_read() -> None:
    """Of Pylon and of PACE each by its own document."""
    kinds = {kind.__module__.rsplit(".", 2)[-2]: kind for kind in ReadCommand.__subclasses__()}
    assert set(kinds) == {"pylon", "pace"}
    for protocol, reads in (("pylon", _PYLON_READS), ("pace", _PACE_READS)):
        assert {member.value for member in kinds[protocol]} <= reads


@cache
def _trees() -> Mapping[str, ast.Module]:
    """Every module of the integration, by its path in the package."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in PACKAGE.rglob("*.py")
    }


@cache
def _table() -> frozenset[bytes]:
    return frozenset(frame for frames in HEATING.values() for frame in (frames.on, frames.off))


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Module and name of everything that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.module or "", alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""


def _names(node: ast.AST) -> str | None:
    """What this names, by itself or of something else."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def _uses(name: str) -> Counter[str]:
    """Where something of this name is used of something else, called or not, or looked up by it, and how often."""
    return Counter(
        path
        for path, tree in _trees().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr == name)
        or (isinstance(node, ast.Constant) and node.value == name)
    )


def _outside_transports(name: str) -> dict[str, int]:
    return {path: count for path, count in _uses(name).items() if not path.startswith("bms/transports/")}


def test_the_table_is_read_by_one_module_only() -> None:
    """Elsewhere it is at most asked whether a protocol or a frame is in it."""
    imported = {
        path: {name for module, name in _imports(tree) if "writes" in (module.split(".")[-1], name)}
        for path, tree in _trees().items()
    }
    users = {path: names for path, names in imported.items() if names}
    assert users.pop(SWITCH) == {"HEATING"}
    assert users.pop(DIALOGUE) == {"allows"}
    for path, names in users.items():
        assert names == {"HEATING"}, path
        tree = _trees()[path]
        used = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "HEATING"]
        harmless = [
            node.comparators[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn)
        ]
        assert used, path
        assert all(name in harmless for name in used), path
    framing = [
        path
        for path, tree in _trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "frame"
    ]
    assert framing == [SWITCH]


def test_only_one_module_sends_what_must_not_be_sent_twice() -> None:
    """The way of such a frame: a switch, heating, asking, dialogue, and from there as every question."""
    cadence = {"bms/protocols/base.py": 1}  # a word
    assert _uses("once") == {SWITCH: 1, "bms/clients/asking.py": 1, **cadence}
    callers = Counter(
        path
        for path, tree in _trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "switch"
    )
    assert callers == {"switch.py": 1, "bms/protocols/console/labels.py": 3}  # there, a word of a table


def test_few_put_anything_on_a_line() -> None:
    """Questions go through a dialogue, which is used by its public side only; whoever sends himself is known."""
    assert _uses("ask") == {
        "bms/clients/asking.py": 1,
        "bms/discovery/radio.py": 1,
        "bms/discovery/scanning.py": 1,
        "bms/bringup.py": 1,  # of a recording, which is read through once more
        "repairs.py": 1,  # a step of a dialog
    }
    for path, tree in _trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and _names(node.value) in {"dialogue", "_dialogue"}:
                assert not node.attr.startswith("_"), path
    assert _outside_transports("send") == {
        DIALOGUE: 2,  # a question, and the call that wakes a console
        "bms/discovery/line.py": 1,
        "bms/discovery/scanning.py": 2,
    }
    assert _uses("write_gatt_char") == {"bms/transports/gatt.py": 1}
    assert not _uses("write_gatt_descriptor")


def test_nobody_else_can_seal_a_frame() -> None:
    """Check sums are made in few places; of pymodbus only the reading of holding registers is there at all."""
    known = {"FramerRTU", "DecodePDU", "ReadHoldingRegistersRequest", "ReadHoldingRegistersResponse"}
    for path, tree in _trees().items():
        for module, name in _imports(tree):
            if module.startswith("pymodbus"):
                assert name in known, path
            assert "crc" not in f"{module}.{name}".casefold() or name == "crc_is_right", path
    assert _uses("buildFrame") == {"bms/protocols/modbus/frame.py": 1}
    # the splitter compares, Voltronic puts right what came damaged, the settings build what is tried above
    assert _uses("compute_CRC") == {
        "bms/protocols/modbus/splitter.py": 1,
        "bms/protocols/modbus/voltronic.py": 1,
        "bms/protocols/zeta/settings.py": 1,
    }


def _makes_crcs(function: ast.AST) -> bool:
    """Whether something is shifted down and combined by exclusive or, over and over."""
    loops = (ast.For, ast.While, ast.comprehension)
    nodes = list(ast.walk(function))
    operators = {type(node.op) for node in nodes if isinstance(node, ast.BinOp | ast.AugAssign)}
    names = {_names(node) for node in nodes}
    return (
        any(isinstance(node, loops) for node in nodes)
        and (ast.BitXor in operators or bool(names & {"xor", "__xor__"}))
        and (bool(operators & {ast.RShift, ast.FloorDiv}) or bool(names & {"rshift", "__rshift__", "divmod"}))
    )


def test_nobody_makes_check_sums_by_hand() -> None:
    """Nor has the numbers that are needed for one: polynomials, and the second entry of a table."""
    numbers = {0xA001, 0x8005, 0xC0C1, 0x1021, 0x8408, 0x3D65}
    for path, tree in _trees().items():
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Constant) and node.value in numbers), path
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                assert not _makes_crcs(node), (path, node.lineno)


def test_a_check_sum_made_by_hand_is_seen() -> None:
    """As this file itself has one."""
    own = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    assert [node.name for node in ast.walk(own) if isinstance(node, ast.FunctionDef) and _makes_crcs(node)] == ["crc"]


def _constants(tree: ast.Module) -> Iterator[bytes]:
    """Bytes that stand in the source, as such or in hexadecimal."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant):
            continue
        if isinstance(node.value, bytes):
            yield node.value
        elif isinstance(node.value, str):
            try:
                yield bytes.fromhex(node.value)
            except ValueError:
                yield node.value.encode("utf-8", "replace")


def test_no_frame_that_changes_anything_stands_in_the_source_but_in_the_table() -> None:
    """Neither whole nor without its check."""
    found = {
        path
        for path, tree in _trees().items()
        for data in _constants(tree)
        if changes_something(data) or (3 < len(data) < 64 and data[0] <= 247 and changes_something(data + crc(data)))
    }
    assert found == {TABLE}
    assert {data for data in _constants(_trees()[TABLE]) if changes_something(data)} == _table()


# --- what is sent ----------------------------------------------------------------------------------------------------


async def test_an_hour_with_a_pack_whose_heating_may_be_switched_sends_only_reads() -> None:
    """Set-up and unload, retries, losses, pauses and reads out of turn: as long as nobody wishes it, nothing is set."""
    for how in ({}, {"release": True, "interval": 15.0}, {"registers": 39}):
        rig = ZetaRig(heating=True, **how)
        for kind in (Kind.SILENCE, Kind.BAD_CHECKSUM, Kind.LATE, Kind.CUT, Kind.NOISE_BEFORE, Kind.TWIN_AFTER):
            rig.bus.faults.add(Fault(kind=kind, probability=0.04, delay=2.2))
        for _ in range(6):
            await rig.start(200.0)
            rig.bus.unplug()
            await rig.clock.advance(40.0)
            rig.bus.replug()
            await rig.clock.advance(100.0)
            rig.client.set_paused(True)
            await rig.clock.advance(60.0)
            rig.client.set_paused(False)
            await rig.clock.advance(20.0)
            read = asyncio.create_task(rig.client.read(1))
            await rig.clock.advance(180.0)
            await asyncio.gather(read, return_exceptions=True)
            await rig.stop()
        assert rig.client.heating is not None
        assert rig.clock.monotonic() >= 3600.0
        assert len(rig.asked()) > 200
        assert rig.speaker.writes == []
        assert rig.speaker.forbidden == []
        assert all(is_read("zeta-1006", request) for request in rig.asked())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.family} {row.protocol} {row.baudrate}")
async def test_an_hour_on_a_serial_line_sends_only_reads(row: Row) -> None:
    """A scan and a client, with faults and losses, on every protocol of every family."""
    site = Site(row, 1)
    report = (await site.scan()).report
    assert report.protocol == row.protocol
    assert report.baudrate is not None
    scanned = len(site.bus.requests)
    for kind in (Kind.SILENCE, Kind.BAD_CHECKSUM, Kind.CUT):
        site.bus.faults.add(Fault(kind=kind, probability=0.05))
    client = PolledClient(
        site.bus.open_line(report.baudrate),
        POLLED[report.protocol].configured(packs=1, capacity=row.spec.capacity),
        clock=site.clock,
        listener=Told(site.clock),
        addresses=[pack.address for pack in report.packs] or [report.bank_address or 0],
        open_line=site.bus.open_line,
        heating=True,
    )
    assert client.heating is None
    task = asyncio.create_task(client.run())
    for _ in range(4):
        await site.clock.advance(800.0)
        site.bus.unplug()
        await site.clock.advance(50.0)
        site.bus.replug()
        await site.clock.advance(50.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    sent = [request for _, request in site.bus.requests]
    assert len(sent) - scanned > 300
    assert site.speaker.forbidden == []
    assert not any(changes_something(request) for request in sent)
    assert not [request for request in sent[scanned:] if not is_read(row.protocol, request)]
