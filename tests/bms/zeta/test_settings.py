"""The board that holds the settings: what it says, and that nothing which changes them can be framed."""

import pytest

from custom_components.lfp_battery.bms.errors import FrameError, Refusal, RefusedError
from custom_components.lfp_battery.bms.protocols.base import Decoded
from custom_components.lfp_battery.bms.protocols.zeta import settings
from tests.simulator.modbus import sealed

from .frames import ASK_STATUS, CURRENT, STATUS, listed, of_board


@pytest.mark.parametrize("number", range(1, 17))
def test_a_module_id_is_told(number: int) -> None:
    """1 to 16."""
    assert CURRENT.decode(of_board(2), of_board(2, bytes((number,)))) == Decoded(info={"module_id": number})


@pytest.mark.parametrize("number", [0, 17, 255])
def test_what_is_no_module_id_is_nonsense(number: int) -> None:
    """The CRC is right, and it is none all the same."""
    with pytest.raises(FrameError, match="no module ID"):
        CURRENT.decode(of_board(2), of_board(2, bytes((number,))))


@pytest.mark.parametrize(("function", "port"), [(3, "rs485_protocols"), (4, "can_protocols")])
def test_a_list_names_what_a_port_can_be_set_to_and_what_it_is(function: int, port: str) -> None:
    """Both under their own name, so that neither hides the other."""
    names = [f"P{number:02d}-ABC" for number in range(1, 13)]
    for selected, name in enumerate(names):
        found = CURRENT.decode(of_board(function), of_board(function, listed(selected, *names))).info
        place = {"selected_index": selected} if selected else {}
        assert found == {port: {"protocols": names, "selected_name": name, **place}}


def test_a_selection_that_is_not_in_the_list_has_no_name() -> None:
    """It is shown as it is."""
    found = CURRENT.decode(of_board(4), of_board(4, listed(7, "P01-GRW", "P02-SLK"))).info
    assert found == {"can_protocols": {"protocols": ["P01-GRW", "P02-SLK"], "selected_index": 7}}


def test_names_that_are_padded_or_full_are_read() -> None:
    """Ten bytes, with or without NULs behind."""
    found = CURRENT.decode(of_board(3), of_board(3, listed(1, "", "P02-LUXPOW", "P3 "))).info
    assert found == {
        "rs485_protocols": {"protocols": ["", "P02-LUXPOW", "P3"], "selected_index": 1, "selected_name": "P02-LUXPOW"}
    }


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x02" + b"P01-GRW".ljust(10, b"\x00"),  # fewer than announced
        b"\x00\x00" + b"P01-GRW".ljust(10, b"\x00"),
        b"\x00\x01" + b"P01\x00-GRW".ljust(10, b"\x00"),
        b"\x00\x01" + b"\xff" * 10,
    ],
)
def test_a_list_that_contradicts_itself_is_nonsense(data: bytes) -> None:
    """As is a name that is no text."""
    with pytest.raises(FrameError):
        CURRENT.decode(of_board(4), of_board(4, data))


@pytest.mark.parametrize("function", [5, 6, 7])
@pytest.mark.parametrize("result", [0, 1, 2, 255])
def test_acknowledgements_of_what_only_others_set_are_told(function: int, result: int) -> None:
    """00 is done, 01 was seen as refused; nobody asks for them here."""
    for asked in (of_board(function, b"\x01"), None):
        found = CURRENT.decode(asked, of_board(function, bytes((result,))))
        assert found.info == {"accepted": result == 0}


def test_a_heating_setting_is_accepted_with_00_alone() -> None:
    """Everything else is a refusal."""
    asked = of_board(0x0A, b"\x01")
    assert CURRENT.decode(asked, of_board(0x0A, b"\x00")).info == {"accepted": True}
    for result in (1, 2, 0x80, 0xFF):
        with pytest.raises(RefusedError) as refused:
            CURRENT.decode(asked, of_board(0x0A, bytes((result,))))
        assert refused.value.code == result


@pytest.mark.parametrize("hexed", ["108a01", "108aff", "018a01", "018301", "018401"])
def test_an_exception_is_a_refusal_of_what_was_set(hexed: str) -> None:
    """Of the board in the form of Modbus, or of the battery to which the board has handed it on."""
    asked, frame = of_board(0x0A, b"\x01"), sealed(bytes.fromhex(hexed))
    assert CURRENT.splitter(asked).feed(frame) == [frame]
    assert CURRENT.is_answer(asked, frame)
    with pytest.raises(RefusedError) as refused:
        CURRENT.decode(asked, frame)
    assert (refused.value.code, refused.value.refusal) == (frame[2], Refusal.OTHER)


@pytest.mark.parametrize("function", [2, 3, 4])
def test_an_exception_is_a_refusal_of_a_read(function: int) -> None:
    """One that says "not known" is for good; the battery speaks for its own registers only."""
    asked, frame = of_board(function), sealed(bytes((0x10, 0x80 | function, 1)))
    assert CURRENT.splitter(asked).feed(frame) == [frame]
    assert CURRENT.is_answer(asked, frame)
    with pytest.raises(RefusedError) as refused:
        CURRENT.decode(asked, frame)
    assert refused.value.refusal is Refusal.UNSUPPORTED
    assert not CURRENT.is_answer(asked, sealed(b"\x01\x83\x01"))


@pytest.mark.parametrize("hexed", ["108a01", "018a01", "018301"])
def test_an_exception_answers_nothing_else(hexed: str) -> None:
    """Neither another setting nor a read of the other of the two senders, and it asks nothing."""
    frame = sealed(bytes.fromhex(hexed))
    assert not CURRENT.is_request(frame)
    assert not CURRENT.is_answer(of_board(2), frame)
    assert CURRENT.is_answer(ASK_STATUS, frame) is (frame[:2] == b"\x01\x83")
    assert not CURRENT.is_answer(of_board(7, b"\x01"), sealed(b"\x10\x8a\x01"))
    assert CURRENT.splitter().feed(b"\x10" + frame + STATUS) == [frame, STATUS]


def test_an_overheard_acknowledgement_is_told_either_way() -> None:
    """Nobody knows what was asked, so that nothing was refused."""
    assert CURRENT.decode(None, of_board(0x0A, b"\x01")).info == {"accepted": False}
    assert CURRENT.decode(None, of_board(0x0A, b"\x00")).info == {"accepted": True}


@pytest.mark.parametrize("function", [0x09, 0x0B, 0x0C, 0x0D])
def test_what_nobody_explains_is_kept_as_it_is(function: int) -> None:
    """The app handles them; their meaning is not known."""
    assert CURRENT.decode(None, of_board(function, b"ab")).info == {"undecoded": "6162"}


def test_only_reads_can_be_framed() -> None:
    """No set, no firmware, nothing that nobody explains."""
    framed = {}
    for function in range(256):
        try:
            framed[function] = settings.asking(function)(1)
        except ValueError:
            continue
    assert framed == {function: sealed(bytes((0x10, function, 0))) for function in (2, 3, 4)}


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x10",
        b"\x10\x02",
        sealed(b"\x10\x02\x02\x01"),
        sealed(b"\x10\x02\x01\x01\x01"),
        sealed(b"\x11\x02\x01\x01"),
        sealed(b"\x10\x64\x01\x01"),
        of_board(2, b"\x01")[:-1],
        of_board(2, b"\x01")[:-1] + b"\x00",
    ],
)
def test_what_is_no_frame_of_the_board_is_nonsense(frame: bytes) -> None:
    """Its length, its function, its CRC."""
    assert not CURRENT.is_answer(of_board(2), frame)
    for asked in (None, of_board(2)):
        with pytest.raises(FrameError):
            CURRENT.decode(asked, frame)
