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
    assert outcomes == [Outcome.SILENT, Outcome.UNSURE]


def test_only_a_block_that_is_never_answered_leaves_no_doubt() -> None:
    """In the first rounds it may still be; the answer to another one of the same size is not believed before that."""
    talk = Conversation(POLLED["growatt-rs485"])
    first, second = question(1, 0x131, 16), question(1, 0x141, 16)
    outcomes = []
    for turn in range(5):
        list(talk.hear(first, 20.0 * turn))
        outcomes += [heard.outcome for heard in talk.hear(second + _answer(1, 16), 20.0 * turn + 1)]
    assert outcomes == [Outcome.SILENT, Outcome.UNSURE] * 3 + [Outcome.SILENT, Outcome.ANSWERED] * 2
    # where both are answered in the end, it is only slow, and stays in doubt
    talk = Conversation(POLLED["growatt-rs485"])
    outcomes = []
    for turn in range(8):
        list(talk.hear(first, 20.0 * turn))
        exchange = second + _answer(1, 16, turn) + _answer(1, 16, 100 + turn)
        outcomes += [heard.outcome for heard in talk.hear(exchange, 20.0 * turn + 1)]
    assert outcomes == [Outcome.SILENT, Outcome.UNSURE] * 8


def test_an_answer_that_comes_when_the_next_one_is_due_is_not_believed() -> None:
    """An answer, and the next question, were not heard: what comes then answers what nobody knows."""
    talk = Conversation(POLLED["voltronic-bms-485-20200325"])
    voltage, soc = question(1, 0x32, 1), question(1, 0x33, 1)
    for turn in range(4):
        outcomes = [heard.outcome for heard in talk.hear(voltage + _answer(1, 1, 530), 2.0 * turn)]
        outcomes += [heard.outcome for heard in talk.hear(soc + _answer(1, 1, 88), 2.0 * turn + 1)]
        assert outcomes == [Outcome.ANSWERED] * 2
    assert not list(talk.hear(voltage, 8.0))
    assert [heard.outcome for heard in talk.hear(_answer(1, 1, 88), 9.0)] == [Outcome.UNSURE]
    # nor in the first round, when nothing is known of the master's pace
    talk = Conversation(POLLED["voltronic-bms-485-20200325"])
    assert not list(talk.hear(voltage, 0.0))
    assert [heard.outcome for heard in talk.hear(_answer(1, 1, 88), 1.0)] == [Outcome.UNSURE]


def test_a_slow_pack_is_believed_once_it_is_known_to_be_slow() -> None:
    """Its turn-round is learnt, and the master leaves it the time."""
    talk = Conversation(POLLED["growatt-rs485"])
    asked = question(1, 0x131, 16)
    outcomes = []
    for turn in range(4):
        assert not list(talk.hear(asked, 5.0 * turn))
        outcomes += [heard.outcome for heard in talk.hear(_answer(1, 16), 5.0 * turn + 0.8)]
    assert outcomes == [Outcome.UNSURE] * 2 + [Outcome.ANSWERED] * 2


def test_a_refusal_of_a_question_that_was_not_heard_is_passed_over() -> None:
    """It fits the last question, which was answered, and says nothing about it."""
    talk = Conversation(POLLED["growatt-rs485"])
    assert [heard.outcome for heard in talk.hear(question(1, 0x131, 16) + _answer(1, 16), 0.0)] == [Outcome.ANSWERED]
    assert not list(talk.hear(sealed(bytes((1, 0x83, 2))), 1.0))
    assert talk.strays == 1


def test_a_question_that_is_repeated_may_be_answered_as_often() -> None:
    """A slow pack and an impatient master are no two packs."""
    talk = Conversation(POLLED["growatt-rs485"])
    asked = question(1, 0x131, 16)
    for turn in range(5):
        assert [heard.outcome for heard in talk.hear(asked + _answer(1, 16, turn), 2.0 * turn)] == [Outcome.ANSWERED]
    assert [heard.outcome for heard in talk.hear(asked + asked + _answer(1, 16), 10.0)] == [
        Outcome.SILENT,
        Outcome.ANSWERED,
    ]
    assert not list(talk.hear(_answer(1, 16, 101), 10.5))
    assert [heard.outcome for heard in talk.hear(_answer(1, 16, 102), 11.0)] == [Outcome.TWICE]


def test_another_answer_at_the_time_of_the_next_is_no_second_pack() -> None:
    """The likelier explanation is a question that was not heard."""
    talk = Conversation(POLLED["growatt-rs485"])
    asked = question(1, 0x131, 16)
    for turn in range(5):
        assert [heard.outcome for heard in talk.hear(asked + _answer(1, 16, turn), 1.0 * turn)] == [Outcome.ANSWERED]
    assert not list(talk.hear(_answer(1, 16, 7), 5.0))
    assert talk.strays == 1


def test_questions_and_answers_may_come_in_one_piece_or_byte_by_byte() -> None:
    """Gateways hand over whatever they have."""
    for protocol, exchange in (
        ("growatt-rs485", (question(1, 0x131, 16) + _answer(1, 16)) * 3),
        ("voltronic-bms-485-20200325", (question(1, 0x30, 6) + sealed(bytes((1, 3, 0, 6)) + bytes((0, 100)) * 6)) * 3),
    ):
        whole = list(Conversation(POLLED[protocol]).hear(exchange, 0.0))
        talk = Conversation(POLLED[protocol])
        pieces = [heard for place, byte in enumerate(exchange) for heard in talk.hear(bytes((byte,)), place * 0.001)]
        assert [heard.outcome for heard in whole] == [Outcome.ANSWERED] * 3
        assert [heard.question for heard in pieces] == [heard.question for heard in whole]


def test_what_follows_a_window_without_measurements_is_no_second_answer() -> None:
    """It may have been the late answer to another question, and read as voltage and SOC it is 0 V."""
    talk = Conversation(POLLED["voltronic-bms-485-20200325"])
    both = question(1, 0x32, 2)
    words = sealed(bytes((1, 3, 4)) + (530).to_bytes(2) + (88).to_bytes(2))
    for turn in range(6):
        assert [heard.outcome for heard in talk.hear(both + words, 2.0 * turn)] == [Outcome.ANSWERED]
    nothing = sealed(bytes((1, 3, 4, 0, 0, 0, 50)))
    assert [heard.outcome for heard in talk.hear(both + nothing, 12.0)] == [Outcome.REFUSED]
    assert not list(talk.hear(words, 12.1))
