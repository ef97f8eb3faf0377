"""Which overheard answer belongs to which overheard question."""

from custom_components.lfp_battery.bms.clients.conversation import Conversation, Outcome
from custom_components.lfp_battery.bms.protocols import POLLED
from tests.simulator.modbus import question, sealed


def _answer(unit: int, count: int, word: int = 100) -> bytes:
    return sealed(bytes((unit, 3, 2 * count)) + word.to_bytes(2) * count)


def test_an_answer_on_modbus_says_nothing_without_its_question() -> None:
    """It does not name its registers; one that begins in the middle of a conversation is passed over."""
    talk = Conversation(POLLED["growatt-rs485"])
    (heard,) = talk.hear(_answer(1, 16), 0.0)
    assert heard.question is None
    assert heard.decoded.bank is None


def test_a_question_is_not_answered_for_ever() -> None:
    """What comes after the protocol's time for an answer is no answer to it."""
    protocol = POLLED["growatt-rs485"]
    talk = Conversation(protocol)
    asked = question(1, 0x13, 16)
    assert not list(talk.hear(asked, 0.0))
    late = protocol.timing.first_byte + protocol.timing.answer + 0.1
    assert [heard.outcome for heard in talk.hear(b"", late)] == [Outcome.SILENT]
    (heard,) = talk.hear(_answer(1, 16), late)
    assert heard.question is None


def test_an_answer_that_may_be_a_late_one_is_not_believed() -> None:
    """A master that does not wait asks for another block of the same size: nothing tells whose answer comes."""
    talk = Conversation(POLLED["growatt-rs485"])
    first, second = question(1, 0x131, 16), question(1, 0x141, 16)
    assert [heard.outcome for heard in talk.hear(first + _answer(1, 16), 0.0)] == [Outcome.ANSWERED]
    assert not list(talk.hear(first, 1.0))
    outcomes = [heard.outcome for heard in talk.hear(second + _answer(1, 16), 2.0)]
    assert outcomes == [Outcome.SILENT, Outcome.DAMAGED]
    # a block that is never answered leaves no doubt
    talk = Conversation(POLLED["growatt-rs485"])
    assert not list(talk.hear(first, 0.0))
    outcomes = [heard.outcome for heard in talk.hear(second + _answer(1, 16), 1.0)]
    assert outcomes == [Outcome.SILENT, Outcome.ANSWERED]


def test_a_question_that_is_repeated_may_be_answered_as_often() -> None:
    """A slow pack and an impatient master are no two packs."""
    talk = Conversation(POLLED["growatt-rs485"])
    asked = question(1, 0x131, 16)
    assert [heard.outcome for heard in talk.hear(asked + asked + _answer(1, 16), 0.0)] == [
        Outcome.SILENT,
        Outcome.ANSWERED,
    ]
    assert not list(talk.hear(_answer(1, 16, 101), 0.5))
    assert [heard.outcome for heard in talk.hear(_answer(1, 16, 102), 1.0)] == [Outcome.TWICE]


def test_questions_and_answers_may_come_in_one_piece_or_byte_by_byte() -> None:
    """Gateways hand over whatever they have."""
    for protocol, exchange in (
        ("growatt-rs485", (question(1, 0x131, 16) + _answer(1, 16)) * 3),
        ("voltronic-bms-485-20200325", (question(1, 0x30, 6) + sealed(bytes((1, 3, 0, 6)) + bytes(12))) * 3),
    ):
        whole = list(Conversation(POLLED[protocol]).hear(exchange, 0.0))
        talk = Conversation(POLLED[protocol])
        pieces = [heard for place, byte in enumerate(exchange) for heard in talk.hear(bytes((byte,)), place * 0.001)]
        assert [heard.outcome for heard in whole] == [Outcome.ANSWERED] * 3
        assert [heard.question for heard in pieces] == [heard.question for heard in whole]
