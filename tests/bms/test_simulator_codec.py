"""Two readings of the protocol note, written apart: the simulator's encoder and the integration's codec."""

from itertools import product

import pytest

from custom_components.lfp_battery.bms.clock import DrivenClock
from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from custom_components.lfp_battery.bms.protocols import POLLED
from custom_components.lfp_battery.bms.protocols.base import Decoded
from tests.simulator.bank import SimBank
from tests.simulator.pack import PackSpec
from tests.simulator.pylon import Profile, PylonSpeaker
from tests.simulator.pylon_wire import request

_ADDRESS = 2
_OF_PACKS = (0x42, 0x44, 0x47, 0x4F, 0x51, 0x92, 0x93, 0x96)
_OF_SYSTEMS = (0x60, 0x61, 0x62, 0x63)
_WITH_CELL = {Condition.CELL_OVERVOLTAGE, Condition.CELL_UNDERVOLTAGE, Condition.CELL_FAILURE}


def value_of(decoded: Decoded, name: str, *, system: bool) -> object:
    """What the codec made of a field, wherever it belongs."""
    state = decoded.bank if system else decoded.packs.get(_ADDRESS)
    places = [state, decoded.identities.get(_ADDRESS)]
    return next((v for p in places if p is not None and (v := getattr(p, name, None)) is not None), None)


@pytest.mark.parametrize("cells", [8, 15, 16])
@pytest.mark.parametrize(
    ("profile", "protocol", "commands"),
    [
        (Profile.C, "pylon-rs485", _OF_PACKS),
        (Profile.OLD, "pylon-rs485", _OF_PACKS),
        (Profile.V35, "pylon-rs485-v35", _OF_SYSTEMS),
    ],
)
def test_the_codec_reads_what_the_simulator_says(
    profile: Profile, protocol: str, commands: tuple[int, ...], cells: int
) -> None:
    """Every field of every command, with every condition forced at every severity, in a cold pack."""
    system = profile is Profile.V35
    compared = 0
    alarms_seen: set[Alarm] = set()
    for condition, severity in product(Condition, Severity):
        bank = SimBank(2, DrivenClock(), spec=PackSpec(cells=cells, temperature=-3.0, cycles=900))
        speaker = PylonSpeaker(bank, profile)
        cell = 3 if condition in _WITH_CELL else None
        bank.packs[_ADDRESS].force(Alarm(condition=condition, severity=severity, cell=cell))
        bank.step(1)
        for command in commands:
            question = request(_ADDRESS, command)
            (reply,) = speaker.feed(question, 0.0)
            assert reply.on_wire is not None
            reply.on_wire(0.0)
            decoded = POLLED[protocol].decode(question, reply.data)
            sent = speaker.sent_bank[-1] if system else speaker.sent[_ADDRESS][-1]
            for name, value in sent.values.items():
                if name == "serials":  # of the packs, in info
                    continue
                got = value_of(decoded, name, system=system)
                assert got == (pytest.approx(value, abs=1e-9) if isinstance(value, float) else value), (command, name)
                compared += 1
            if isinstance(said := sent.values.get("alarms"), frozenset):
                alarms_seen |= said
    assert compared > 1000
    assert len(alarms_seen) >= 10
