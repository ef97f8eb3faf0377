"""A simulated Pylon bank: the frames it sends, and what each of its dialects answers."""

import struct

import pytest

from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from tests.simulator.bank import Steady, make_packs
from tests.simulator.pack import PackSpec, SimPack
from tests.simulator.pylon import Profile
from tests.simulator.pylon_wire import checksum, encode, request

from .pylon_bench import Bench, info

# --- frames ----------------------------------------------------------------------------------------------------------


def test_checksum_is_that_of_the_published_example() -> None:
    """V3.5 document: ~1203400456ABCEFE has the checksum FC71."""
    assert checksum(b"1203400456ABCEFE") == 0xFC71


@pytest.mark.parametrize(
    ("address", "command", "frame"),
    [
        (0x02, 0x4F, b"~2002464F0000FD98\r"),
        (0x02, 0x42, b"~20024642E00202FD33\r"),
        (0x02, 0x47, b"~200246470000FDA7\r"),
        (0x02, 0x92, b"~20024692E00202FD2E\r"),
        (0x12, 0x61, b"~201246610000FDAA\r"),
    ],
)
def test_questions_are_those_of_the_protocol_note(address: int, command: int, frame: bytes) -> None:
    """Section 4 of pylon-rs485.md lists ready requests."""
    assert request(address, command) == frame


@pytest.mark.parametrize(
    ("command", "length"),
    [
        (0x42, b"B07E"),  # pylon-42-us5000-full
        (0x44, b"A042"),  # pylon-44-us3000c
        (0x47, b"B032"),  # pylon-47-us2000c
        (0x4F, b"0000"),  # pylon-4F-adr02
        (0x51, b"C040"),  # pylon-51-us3000c
        (0x92, b"B014"),  # pylon-92-us3000c
        (0x93, b"C022"),  # pylon-93-us2000c-3
        (0x96, b"400C"),  # pylon-96-us3000c
    ],
)
async def test_answers_of_fifteen_cells_are_as_long_as_captured_ones(command: int, length: bytes) -> None:
    """The LENGTH field equals that of captures of US2000C, US3000C and US5000."""
    bench = Bench(spec=PackSpec(cells=15))
    answer = await bench.ask(request(2, command))
    assert answer[9:13] == length
    info(answer)


@pytest.mark.parametrize(("command", "length"), [(0x61, b"8062"), (0x62, b"8008"), (0x63, b"D012")])
async def test_system_answers_have_the_documented_length(command: int, length: bytes) -> None:
    """Section 6.6: 49, 4 and 9 bytes."""
    bench = Bench(profile=Profile.V35)
    answer = await bench.ask(request(2, command))
    assert answer[9:13] == length
    info(answer)


async def test_analog_answer_holds_what_the_record_of_sent_values_says() -> None:
    """Read by position, with nothing of the encoder's."""
    bench = Bench(spec=PackSpec(soc=70))
    bench.bank.profile = Steady(rate=-0.2)
    await bench.clock.advance(60)
    data = info(await bench.ask(request(3, 0x42)))
    sent = bench.speaker.latest(3)
    assert data[1:3] == b"\x03\x10"
    assert tuple(v / 1000 for v in struct.unpack(">16H", data[3:35])) == sent["cell_voltages"]
    temperatures = [(v - 2731) / 10 for v in struct.unpack(">6H", data[36:48])]
    assert (temperatures[0], temperatures[5]) == (sent["pcb_temperature"], sent["mosfet_temperature"])
    assert tuple(temperatures[1:5]) == sent["cell_temperatures"]
    current, voltage, left16, items, full16, cycles = struct.unpack(">hHHBHH", data[48:59])
    assert (current / 10, voltage / 1000, cycles) == (sent["current"], sent["voltage"], sent["cycles"])
    assert current < -100
    assert (items, full16) == (4, 0xFFFF)
    assert left16 == 0xFFFF
    assert int.from_bytes(data[59:62]) / 1000 == sent["remaining_capacity"]
    assert int.from_bytes(data[62:65]) / 1000 == sent["full_capacity"] == 100.0
    assert len(data) == 65


# --- profiles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [
        request(0x00, 0x4F),
        request(0x01, 0x42),
        request(0x05, 0x42),
        encode(0x02, 0x42, b"\xff"),
        encode(0xFF, 0x42, b"\xff"),
        b"~20024642E00202FD33",
        b"~20024642E00302FD33\r",
        b"~20024642F00202FD33\r",
        b"~2002464\r",
        b"~2002G642E00202FD33\r",
        b"~20024A42E00202FD28\r",
        b"hello\r",
    ],
    ids=[
        "adr00",
        "adr01",
        "absent",
        "group",
        "adrFF",
        "no-end",
        "length",
        "lchksum",
        "short",
        "no-hex",
        "cid1",
        "text",
    ],
)
async def test_c_profile_is_silent(question: bytes) -> None:
    """Section 12: what a C-series pack does not answer at all."""
    assert await Bench().ask(question) == b""


async def test_bad_checksum_and_unknown_command_are_refused() -> None:
    """Section 12: RTN 02 and RTN 04, with empty INFO."""
    bench = Bench()
    assert await bench.ask(b"~20024642E00202FD34\r") == b"~200246020000FDB0\r"
    assert await bench.ask(request(2, 0x60)) == b"~200246040000FDAE\r"


async def test_commands_that_change_something_are_refused_and_noted() -> None:
    """A test of a client can assert that it never sends one."""
    bench = Bench()
    assert (await bench.ask(encode(2, 0x95, b"\x02")))[7:9] == b"04"
    assert bench.speaker.forbidden == [encode(2, 0x95, b"\x02")]


async def test_an_inverter_that_says_version_00_is_answered() -> None:
    """Capture pylon-req-voltronic-4F: VER of a 4F is to be ignored."""
    assert await Bench().ask(b"~0002464F0000FD9A\r") == b"~200246000000FDB2\r"


async def test_infoflag_tells_a_change_once() -> None:
    """11 on the first answer after a change, else 00."""
    bench = Bench()
    flags = [info(await bench.ask(request(2, 0x42)))[0] for _ in range(2)]
    bench.bank.packs[2].force(Alarm(condition=Condition.CHARGE_OVERCURRENT, severity=Severity.PROTECTION))
    flags += [info(await bench.ask(request(2, command)))[0] for command in (0x44, 0x42)]
    assert flags == [0x11, 0x00, 0x11, 0x00]


async def test_a_slave_answers_51_with_the_data_of_the_master() -> None:
    """Capture pylon-51-us2000c-7."""
    packs = {2: SimPack(PackSpec(model="US2000C")), 3: SimPack(PackSpec(model="US2KBPL"))}
    assert info(await Bench(packs).ask(request(3, 0x51))).startswith(b"US2000C\x00")


async def test_old_profile_answers_for_the_group_and_hides_large_capacities() -> None:
    """FF is answered by the master only; above 65 Ah the 16-bit words say FFFF and there are no others."""
    packs = {2: SimPack(PackSpec(cells=15, capacity=50, soc=50)), 3: SimPack(PackSpec(cells=15, capacity=74, soc=98))}
    bench = Bench(packs, Profile.OLD)
    data = info(await bench.ask(encode(2, 0x42, b"\xff")))
    assert data[1] == 2
    assert len(data) == 2 + 2 * 53
    small, large = data[2:55], data[55:]
    assert small[48] == large[48] == 2
    assert struct.unpack(">H", small[49:51])[0] == 50000
    assert (large[46:48], large[49:51]) == (b"\xff\xff", b"\xff\xff")
    assert bench.speaker.latest(3)["full_capacity"] is None
    assert bench.speaker.latest(2)["remaining_capacity"] == 25.0
    assert await bench.ask(encode(3, 0x42, b"\xff")) == b""


async def test_v35_profile_speaks_for_the_stack_only() -> None:
    """60-63, 4F and 51; the current is the sum, in 0.01 A."""
    bench = Bench(4, Profile.V35)
    bench.bank.profile = Steady(rate=0.1)
    await bench.clock.advance(30)
    data = info(await bench.ask(request(0x12, 0x61)))
    assert struct.unpack(">h", data[2:4])[0] / 100 == bench.speaker.latest(None)["current"]
    assert bench.speaker.latest(None)["current"] == pytest.approx(40.0, abs=0.01)
    assert (await bench.ask(request(2, 0x42)))[7:9] == b"04"
    assert info(await bench.ask(request(2, 0x60)))[32] == 4


async def test_groups_have_masters_of_their_own() -> None:
    """Group 1 begins at 12; its packs answer under their own addresses."""
    bench = Bench({**make_packs(2), **make_packs(3, group=1)})
    assert sorted(bench.bank.packs) == [0x02, 0x03, 0x12, 0x13, 0x14]
    assert info(await bench.ask(request(0x14, 0x42)))[1] == 0x14
    assert await bench.ask(request(0x15, 0x42)) == b""


async def test_lenient_answers_what_one_peer_asks_and_no_pack_does() -> None:
    """python-pylontech sends 4F and 51 to address 0, 93 without an address and 42 to the group."""
    bench = Bench(lenient=True)
    assert info(await bench.ask(request(0, 0x4F))) == b""
    assert len(info(await bench.ask(request(0, 0x51)))) == 32
    assert len(info(await bench.ask(encode(2, 0x93)))) == 17
    assert info(await bench.ask(encode(2, 0x42, b"\xff")))[1] == 3


@pytest.mark.parametrize(("cells", "probes"), [(8, 4), (15, 6), (16, 6)])
async def test_packs_of_every_size_answer(cells: int, probes: int) -> None:
    """8, 15 and 16 cells; small packs have fewer probes."""
    data = info(await Bench(spec=PackSpec(cells=cells)).ask(request(2, 0x42)))
    assert (data[2], data[3 + 2 * cells]) == (cells, probes)
