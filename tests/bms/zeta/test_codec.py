"""ZT and Voltgo packs over Bluetooth: what they send, and how it is cut into answers."""

from itertools import pairwise
import json
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

from custom_components.lfp_battery.bms.clients.overhearing import OtherMasters
from custom_components.lfp_battery.bms.discovery.plan import in_order, plan
from custom_components.lfp_battery.bms.errors import FrameError, Refusal, RefusedError
from custom_components.lfp_battery.bms.model import Mode
from custom_components.lfp_battery.bms.protocols import BLUETOOTH, POLLED, SERIAL
from custom_components.lfp_battery.bms.protocols.base import Cadence, Decoded, Poll
from custom_components.lfp_battery.bms.protocols.modbus.frame import NOT_MEASURED
from custom_components.lfp_battery.bms.protocols.writes import HEATING
from tests.simulator.modbus import question, sealed

from .frames import ASK_STATUS, CAPTURED, CURRENT, OLDER, STATUS, WORDS, decoded, listed, of_board, pack, status


def _words(amp_hours: float) -> dict[int, int]:
    """Registers of a full capacity in Ah."""
    high, low = divmod(round(amp_hours * 3_600_000), 0x10000)
    return {31: high, 32: low}


# --- what real packs sent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", CAPTURED.values(), ids=CAPTURED.keys())
def test_what_real_packs_sent_is_read(row: dict[str, Any]) -> None:
    """ZT, BB, an EG4 of the older generation, and a frame out of the vendor's own app."""
    request = row["request"] and bytes.fromhex(row["request"])
    found = BLUETOOTH[row["protocol"]].decode(request, bytes.fromhex(row["response"]))
    for name, value in row.get("identity", {}).items():
        assert getattr(found.identities[1], name) == value
    for name, value in row.get("pack", {}).items():
        shown = getattr(found.packs[1], name)
        wanted = tuple(value) if name.startswith("cell_") and isinstance(value, list) else value
        assert shown == (frozenset(value) if name in {"alarms", "balancing_cells"} else wanted), name
    for name, value in row.get("info", {}).items():
        assert found.info[name] == value


def test_one_register_says_its_one_value() -> None:
    """And nothing of what was not asked for."""
    row = CAPTURED["zt256-one-register"]
    found = CURRENT.decode(bytes.fromhex(row["request"]), bytes.fromhex(row["response"]))
    assert (found.packs[1].voltage, found.packs[1].soc, found.packs[1].alarms) == (26.83, None, None)
    assert found.packs[1].heating_enabled is None


# --- how a stream is cut ---------------------------------------------------------------------------------------------

ACKNOWLEDGED = of_board(7, b"\x00")
REFUSED = of_board(5, b"\x01")
LIST = of_board(4, listed(5, "P01-GRW", "P02-SLK", "P03-DY", "P04-MGR", "P05-VCT", "P06-LUX"))
REQUESTS = {
    "status": (ASK_STATUS, STATUS),
    "short status": (question(1, 0, 39), status(count=39)),
    "list": (of_board(4), LIST),
    "module": (of_board(2), of_board(2, b"\x01")),
    "exception": (ASK_STATUS, sealed(b"\x01\x83\x02")),
    "nothing asked": (None, STATUS),
    "nothing asked of the board": (None, LIST),
}


def test_one_notification_may_hold_two_answers() -> None:
    """As captured, when two settings were changed at once (ble.md section 3, coalesced-acks)."""
    both = bytes.fromhex("10070100b4b510050101d4b5")
    assert both == ACKNOWLEDGED + REFUSED
    for request in (None, of_board(7, b"\x02"), ASK_STATUS):
        splitter = CURRENT.splitter(request)
        assert splitter.feed(both) == [ACKNOWLEDGED, REFUSED]
        assert (splitter.pending, splitter.noise) == (None, 0)


@pytest.mark.parametrize(("request_", "answer"), REQUESTS.values(), ids=REQUESTS.keys())
@pytest.mark.parametrize("piece", [1, 2, 3, 4, 5, 19, 20, 22])
def test_an_answer_may_come_in_pieces(request_: bytes | None, answer: bytes, piece: int) -> None:
    """Of 20 bytes at the least MTU; the splitter says how much is still to come."""
    splitter = CURRENT.splitter(request_)
    for at in range(0, len(answer), piece):
        found = splitter.feed(answer[at : at + piece])
        left = len(answer) - at - piece
        assert found == ([] if left > 0 else [answer])
        if left > 0:
            assert splitter.pending is not None
            assert at + piece < 4 or splitter.pending == left
    assert (splitter.pending, splitter.noise) == (None, 0)


def test_streams_of_answers_are_cut_whatever_the_pieces_are() -> None:
    """Both senders in turn, at random, in pieces at random: each answer once, in order, and nothing else."""
    rng = Random(20261121)
    kinds = [answer for _, answer in REQUESTS.values()] + [ACKNOWLEDGED, REFUSED]
    for _ in range(300):
        sent = rng.choices(kinds, k=rng.randrange(1, 6))
        stream = b"".join(sent)
        cuts = sorted({0, len(stream), *(rng.randrange(len(stream)) for _ in range(rng.randrange(12)))})
        splitter = CURRENT.splitter(rng.choice((None, ASK_STATUS, of_board(4), of_board(2))))
        found = [frame for start, end in pairwise(cuts) for frame in splitter.feed(stream[start:end])]
        assert found == sent
        assert splitter.noise == 0


def test_what_is_lost_of_an_answer_does_not_hide_the_next() -> None:
    """A piece that never came: the awaited answer is damaged, what follows is whole."""
    for start, end in ((20, 40), (60, 87), (3, 4)):
        splitter = CURRENT.splitter(ASK_STATUS)
        found = splitter.feed(STATUS[:start] + STATUS[end:] + LIST + STATUS)
        assert [frame for frame in found if CURRENT.is_answer(ASK_STATUS, frame)] == [STATUS]
        assert LIST in found


def test_a_header_that_promises_what_never_comes_holds_nothing_up() -> None:
    """Nor do bytes that belong to nobody."""
    for junk in (b"\x10\x04\x70", b"\x01\x03\xfa\x00", b"\x10", b"\x01\x83", b"\xdd\x03\x00\x1d", b"\x10\x64\x50"):
        splitter = CURRENT.splitter(of_board(2))
        answer = of_board(2, b"\x01")
        assert answer in splitter.feed(junk + answer), junk.hex()


def test_firmware_frames_are_not_known() -> None:
    """Function 64 is never sent, and means nothing when it comes."""
    frame = of_board(0x64, b"\x01")
    assert CURRENT.splitter().feed(frame) == []
    assert not CURRENT.is_request(frame)
    with pytest.raises(FrameError):
        CURRENT.decode(None, frame)


def test_further_cells_of_a_larger_pack_are_one_frame() -> None:
    """01 04, the number of the frame, 20 bytes hex: they answer nothing that is asked here (ble.md section 4)."""
    frame = sealed(bytes((1, 4, 0, 0x20)) + bytes(0x20))
    assert CURRENT.splitter(ASK_STATUS).feed(frame + STATUS) == [frame, STATUS]
    assert not CURRENT.is_answer(ASK_STATUS, frame)


# --- what answers what -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "frame"),
    [
        (ASK_STATUS, status(count=39)),  # the late answer to the other length
        (ASK_STATUS, LIST),
        (ASK_STATUS, ASK_STATUS),
        (ASK_STATUS, sealed(bytes((2, 3, 82)) + bytes(82))),
        (ASK_STATUS, STATUS[:-1] + b"\x00"),
        (ASK_STATUS, STATUS[:-1]),
        (ASK_STATUS, b""),
        (of_board(4), of_board(3, listed(0, "P01-GRW"))),
        (of_board(4), of_board(4)),
        (of_board(2), STATUS),
        (of_board(7, b"\x02"), of_board(5, b"\x00")),
        (STATUS, STATUS),
        (b"", STATUS),
        (question(1, 0x69, 32), STATUS),
    ],
)
def test_what_answers_something_else_is_no_answer(asked: bytes, frame: bytes) -> None:
    """Sender, function and length must be those of the question, and the CRC right."""
    assert not CURRENT.is_answer(asked, frame)
    with pytest.raises((FrameError, RefusedError)):
        CURRENT.decode(asked, frame)


def test_an_acknowledgement_may_be_the_bytes_of_what_it_acknowledges() -> None:
    """00 for "done" is 00 for "off": only the direction tells."""
    off = of_board(0x0A, b"\x00")
    assert off == bytes.fromhex("100a01002576")
    assert CURRENT.is_request(off)
    assert CURRENT.is_answer(off, off)
    assert CURRENT.decode(off, off).info == {"accepted": True}


@pytest.mark.parametrize(
    ("frame", "asks"),
    [
        (ASK_STATUS, True),
        (question(1, 0x69, 32), True),
        (of_board(2), True),
        (of_board(3), True),
        (of_board(5, b"\x01"), True),
        (of_board(2, b"\x01"), False),
        (LIST, False),
        (STATUS, False),
        (question(2, 0, 41), False),
        (question(0x10, 0, 39), False),
        (sealed(bytes((1, 6, 0, 40, 0, 16))), False),
        (ASK_STATUS[:-1] + b"\x00", False),
        (b"", False),
    ],
)
def test_questions_are_told_from_answers(frame: bytes, asks: bool) -> None:
    """As far as their bytes do; whom they ask is the one pack there is."""
    assert CURRENT.is_request(frame) is asks
    assert CURRENT.address_of(frame) == (1 if asks else None)


def test_a_question_by_itself_says_nothing() -> None:
    """It is intact, and there is nothing in it to be shown."""
    assert CURRENT.decode(None, ASK_STATUS) == Decoded()
    assert CURRENT.decode(None, of_board(3)) == Decoded()


def test_a_status_is_known_by_its_length_when_nobody_knows_what_was_asked() -> None:
    """As in a capture of notifications alone; other blocks are not."""
    assert CURRENT.decode(None, STATUS) == decoded()
    assert CURRENT.decode(None, status(count=39)) == decoded(count=39)
    assert CURRENT.decode(None, sealed(bytes((1, 3, 64)) + b"A" * 64)) == Decoded()


@pytest.mark.parametrize(("code", "refusal"), [(2, Refusal.UNSUPPORTED), (3, Refusal.UNSUPPORTED), (4, Refusal.OTHER)])
def test_an_exception_is_a_refusal(code: int, refusal: Refusal) -> None:
    """01 83 in the form of Modbus; never seen on hardware."""
    frame = sealed(bytes((1, 0x83, code)))
    assert CURRENT.is_answer(ASK_STATUS, frame)
    for asked in (ASK_STATUS, None):
        with pytest.raises(RefusedError) as refused:
            CURRENT.decode(asked, frame)
        assert (refused.value.code, refused.value.refusal) == (code, refusal)


@pytest.mark.parametrize("frame", ["dd03001d0618fee101f201f4002a2c7c00000000000080640304030b8b0b8a0b84f88477", "dd0400080d660d610d680d59fe3c77"])  # fmt: skip
def test_a_jbd_pack_that_looks_alike_is_not_read(frame: str) -> None:
    """The same name, the same advertised service, the same makers of radios (ble.md section 2)."""
    bytes_ = bytes.fromhex(frame)
    assert not CURRENT.is_answer(ASK_STATUS, bytes_)
    assert not [one for one in CURRENT.splitter(ASK_STATUS).feed(bytes_) if CURRENT.is_answer(ASK_STATUS, one)]
    with pytest.raises(FrameError):
        CURRENT.decode(None, bytes_)


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "soc", "full", "older", "remaining"),
    [
        (99, 99, 100, False, 99.0),
        (93, 94, 100, False, 93.0),  # captured
        (104, 52, 200, False, 104.0),  # captured (ble.md section 5)
        (479, 48, 100, True, 47.9),
        (479, 48, 100, False, 47.9),  # the scale follows the values, not the generation
        (48, 48, 100, True, 48.0),
        (0, 0, 100, False, 0.0),
        (0, 0, 100, True, 0.0),
        (4000, 100, 400, False, 400.0),
        (4, 1, 100, False, 0.4),  # both are near enough, and this one is nearer
        (4, 1, 100, True, 0.4),
        (30, 3, 100, False, 3.0),
        (2, 1, 18, False, 0.2),
    ],
)
def test_the_scale_of_the_remaining_capacity_follows_from_charge_and_full_capacity(
    raw: int, soc: int, full: float, older: bool, remaining: float
) -> None:
    """1 Ah on ZT and BB, 0.1 Ah on an EG4 of 12 V."""
    shown = pack({21: raw, 24: soc, **_words(full)}, older=older)
    assert (shown.remaining_capacity, shown.full_capacity) == (remaining, full)
    assert "remaining_capacity" not in shown.derived


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("soc", [1, 2, 3])
def test_nothing_is_left_only_where_the_charge_says_so_too(soc: int, *, older: bool) -> None:
    """A register that nobody fills in reads 0; near empty that is not far enough from the charge to tell."""
    shown = pack({21: 0, 24: soc, **_words(100)}, older=older)
    assert shown.remaining_capacity == soc
    assert "remaining_capacity" in shown.derived


@pytest.mark.parametrize("raw", [0, 5, 65535])
def test_a_remaining_capacity_that_fits_nothing_is_computed(raw: int) -> None:
    """And marked as such."""
    shown = pack({21: raw, 24: 60, **_words(100)})
    assert shown.remaining_capacity == 60.0
    assert "remaining_capacity" in shown.derived


def test_without_a_full_capacity_nothing_is_said_of_the_remaining_one() -> None:
    """Nor where the charge is impossible."""
    assert pack({31: 0, 32: 0}).remaining_capacity is None
    assert pack({24: 0xFFFF}).remaining_capacity is None


@pytest.mark.parametrize(
    ("words", "cycles"), [((2, 0), 2), ((0, 2), 2), ((1234, 0), 1234), ((0, 0), 0), ((0, 65535), 65535)]
)
def test_cycles_stand_in_either_word(words: tuple[int, int], cycles: int) -> None:
    """The second one on BB, the first one on ZT."""
    assert pack({29: words[0], 30: words[1]}).cycles == cycles


@pytest.mark.parametrize(
    ("words", "celsius"),
    [
        ((0x1B1B, 0, 0), (27.0, 27.0, 0.0, 0.0, 0.0, 0.0)),
        ((0x11C8, 0, 0), (17.0, None, 0.0, 0.0, 0.0, 0.0)),  # -56, captured
        ((0xFEFD, 0xFFFC, 0), (-2.0, -3.0, -1.0, -4.0, 0.0, 0.0)),
        ((0xD8D7, 0, 0x7F), (-40.0, None, 0.0, 0.0, 0.0, 127.0)),
        ((0, 0, 0), (0.0,) * 6),
        ((0x8080, 0x8080, 0x8080), None),
    ],
)
def test_all_six_sensors_are_said_whether_they_exist_or_not(
    words: tuple[int, int, int], celsius: tuple[float | None, ...] | None
) -> None:
    """0 degC is what a sensor reads that is not there, and one that is there when it matters most."""
    assert pack(dict(enumerate(words, 33))).cell_temperatures == celsius
    assert CURRENT.mute_probes


@pytest.mark.parametrize(("raw", "celsius"), [(0, 0.0), (0xFFFD, -3.0), (0xFFD8, -40.0), (0xFFD7, None), (60, 60.0)])
def test_the_board_has_a_sensor_always(raw: int, celsius: float | None) -> None:
    """0 is 0 there; what is below -40 is none."""
    assert pack({18: raw}).pcb_temperature == celsius
    assert pack({20: raw}).cell_temperature_max == celsius


@pytest.mark.parametrize(
    ("raw", "mode"),
    [
        *((0, Mode.STANDBY), (1, Mode.CHARGING), (2, Mode.DISCHARGING), (4, Mode.PROTECTION), (8, Mode.CHARGING)),
        *(
            (0x8001, Mode.CHARGING),
            (0x0300, Mode.STANDBY),
            (0x8000, Mode.STANDBY),
            (3, None),
            (0x00F2, Mode.DISCHARGING),
        ),
    ],
)
def test_the_mode_is_in_the_low_nibble(raw: int, mode: Mode | None) -> None:
    """Other bits are set on packs with nothing wrong."""
    assert pack({25: raw}).mode is mode


def test_the_heater_is_one_bit() -> None:
    """A mask, whatever else is set."""
    for raw in range(0, 0x10000, 257):
        assert pack({25: raw}).heater_active is bool(raw & 0x8000)


@pytest.mark.parametrize(("raw", "enabled"), [(0, False), (0x10, True), (0xFFEF, False), (0xFFFF, True), (0x30, True)])
def test_the_setting_is_one_bit_and_the_whole_word_is_kept(raw: int, enabled: bool) -> None:
    """What else is in it is nobody's business but must not change."""
    found = decoded({40: raw})
    assert found.packs[1].heating_enabled is enabled
    assert found.info["r40"] == raw


def test_a_setting_that_was_not_sent_is_unknown_and_not_off() -> None:
    """39 registers; the film itself is known all the same."""
    found = decoded({25: 0x8002}, count=39)
    assert found.packs[1].heating_enabled is None
    assert found.packs[1].heater_active is True
    assert "r40" not in found.info


@pytest.mark.parametrize("count", [39, 41])
def test_a_block_of_zeros_is_refused(count: int) -> None:
    """CRC and all, as seen on EG4 boards: the last good values stay (ble.md section 5)."""
    for changes in (dict.fromkeys(range(41), 0), {0: 0}):
        with pytest.raises(RefusedError) as refused:
            decoded(changes, count)
        assert (refused.value.code, refused.value.refusal) == (NOT_MEASURED, Refusal.OTHER)


def test_a_charge_of_zero_is_a_charge() -> None:
    """An empty pack is one."""
    assert pack({24: 0, 21: 0}).soc == 0


def test_current_is_counted_in_tenths_and_positive_while_charging() -> None:
    """Not in hundredths, as on RS485."""
    assert pack({1: 27}).current == 2.7
    assert pack({1: 0x10000 - 62}).current == -6.2
    assert SERIAL["eg4ll-zt-native"].decode(question(1, 0, 41), status({1: 27})).packs[1].current == 0.27


def test_the_most_that_may_be_charged_with_is_counted_as_the_generation_does() -> None:
    """1 A, and 0.1 A on the older one."""
    assert pack({22: 100}).charge_current_limit == 100
    assert pack({22: 750}, older=True).charge_current_limit == 75.0


def test_a_date_is_no_serial_number() -> None:
    """Two packs of one day would be one; the address of the device says who it is."""
    row = CAPTURED["zt256-identity"]
    found = CURRENT.decode(bytes.fromhex(row["request"]), bytes.fromhex(row["response"]))
    assert found.identities[1].serial is None
    assert found.info["serial_or_date"] == "2024-01-11"
    assert not CURRENT.tells_serials


# --- what is asked, and where ----------------------------------------------------------------------------------------


def _all_polls(polls: tuple[Poll, ...]) -> list[Poll]:
    return [one for poll in polls for one in (poll, *_all_polls(poll.fallback))]


@pytest.mark.parametrize("codec", [CURRENT, OLDER], ids=lambda codec: codec.name)
def test_nothing_but_reads_is_ever_asked(codec: Any) -> None:
    """Function 03 of the battery, and three reads without data of the board with its settings."""
    asked = {poll.name: poll.request(1) for poll in _all_polls(codec.polls)}
    assert asked == {
        "status": bytes.fromhex("0103000000298414"),  # as the Voltgo app sends it
        "short_status": bytes.fromhex("01030000002705d0"),
        "identity": bytes.fromhex("010300690020940e"),
        "module_id": bytes.fromhex("1002007165"),
        "rs485_protocols": bytes.fromhex("10030070f5"),
        "can_protocols": bytes.fromhex("10040072c5"),
    }
    assert {probe.request for probe in codec.probes} <= set(asked.values())
    assert {poll.name for poll in codec.polls if poll.cadence is not Cadence.ONCE} == {"status"}
    frames = {frame for row in HEATING.values() for frame in (row.on, row.off)}
    assert not frames & set(asked.values())


def test_what_switches_the_heating_is_framed_as_inferred() -> None:
    """ble.md section 6, byte for byte, for the present generation only."""
    assert HEATING.keys() == {"zeta-1006"}
    assert HEATING["zeta-1006"].on == of_board(0x0A, b"\x01") == bytes.fromhex("100a0101e4b6")
    assert HEATING["zeta-1006"].off == of_board(0x0A, b"\x00") == bytes.fromhex("100a01002576")


def test_each_generation_has_its_service() -> None:
    """And FA00, whatever it is for, is in neither."""
    profiles = {name: protocol.profile for name, protocol in BLUETOOTH.items()}
    assert {name: (p.service[4:8], p.write[4:8], p.notify[4:8]) for name, p in profiles.items() if p} == {
        "zeta-1006": ("1006", "1008", "1007"),
        "zeta-1000": ("1000", "1001", "1002"),
    }
    for profile in profiles.values():
        assert profile is not None
        for uuid in (profile.service, profile.write, profile.notify):
            assert uuid.endswith("-0000-1000-8000-00805f9b34fb")
            assert uuid == uuid.lower()
            assert len(uuid) == 36


def test_bluetooth_and_serial_lines_are_kept_apart() -> None:
    """Every protocol is polled on one of them."""
    assert POLLED == {**SERIAL, **BLUETOOTH}
    assert all(protocol.alone and protocol.profile for protocol in BLUETOOTH.values())
    assert not any(protocol.alone for protocol in SERIAL.values())
    assert not any(protocol.speeds for protocol in BLUETOOTH.values())


def test_nothing_of_bluetooth_is_asked_or_overheard_on_a_serial_line() -> None:
    """Not even where it is asked for by name; its questions are noise there, and prove no other master."""
    assert not BLUETOOTH.keys() & {protocol.name for protocol in in_order()}
    assert in_order(list(BLUETOOTH)) == []
    assert plan(in_order(list(BLUETOOTH)), None, strangers=False) == []
    masters = OtherMasters(SERIAL["pylon-rs485"], POLLED.values())
    for now, frame in enumerate((of_board(2), of_board(3), HEATING["zeta-1006"].on)):
        assert not masters.hear(frame, float(now))
    assert masters.questions == 0
    assert masters.hear(question(3, 0x13, 16), 10.0)


def test_only_a_status_that_makes_sense_is_recognised() -> None:
    """Cells that add up to the voltage."""
    assert CURRENT.recognises(ASK_STATUS, STATUS)
    assert CURRENT.recognises(question(1, 0, 39), status(count=39))
    assert not CURRENT.recognises(ASK_STATUS, status({0: 5321}))
    assert not CURRENT.recognises(ASK_STATUS, status({0: 0}))
    assert not CURRENT.recognises(ASK_STATUS, status(dict(enumerate(range(41)))))
    assert not CURRENT.recognises(of_board(2), of_board(2, b"\x01"))
    assert not CURRENT.recognises(of_board(5, b"\x01"), of_board(5, b"\x01"))
    assert not CURRENT.recognises(b"", STATUS)


def test_the_captures_are_those_of_the_collection() -> None:
    """Where the collection is at hand, frames and figures carried over are still its own."""
    if not (folder := os.environ.get("LFP_CAPTURES")):
        pytest.skip("LFP_CAPTURES does not say where the collection of captures is")
    names = ("status", "settings")
    known = {
        row["hex"]: row
        for name in names
        for row in json.loads((Path(folder) / f"ble-zeta-{name}.json").read_text(encoding="utf-8"))
    }
    for row in CAPTURED.values():
        theirs = known[row["response"]]
        assert (theirs["protocol"], theirs["source"]) == (row["protocol"], row["source"])
        assert theirs.get("request", row["request"]) == row["request"]
    assert len(WORDS) == 41
