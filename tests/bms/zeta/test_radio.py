"""What is found where a Bluetooth device is connected to: a battery only where one intact status says so."""

import pytest

from custom_components.lfp_battery.bms.discovery import Outcome, Progress, Stage
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from tests.simulator.gatt.impostor import JbdSpeaker, jbd_pack
from tests.simulator.gatt.server import GattPack
from tests.simulator.zeta import CURRENT, OLDER

from .air_site import ADDRESS, MakeSite, Mute, Site, speaker_of


@pytest.mark.parametrize("mtu", [23, 160])
@pytest.mark.parametrize("registers", [41, 39])
@pytest.mark.parametrize(("generation", "protocol"), [(CURRENT, "zeta-1006"), (OLDER, "zeta-1000")])
async def test_a_pack_is_found_with_all_that_it_says(
    site: Site, generation: str, protocol: str, registers: int, mtu: int
) -> None:
    """Both generations, both lengths of the status, whole and in pieces; nothing is written but reads."""
    pack = await site.pack(generation=generation, registers=registers, mtu=mtu)
    told: list[Progress] = []
    report = await site.probe(on_progress=told.append)
    assert (report.outcome, report.protocol, report.baudrate) == (Outcome.FOUND, protocol, None)
    (found,) = report.packs
    real = speaker_of(pack).pack
    assert found.address == 1
    assert found.state.cell_voltages == pytest.approx(real.cell_voltages, abs=0.01)
    assert found.state.heating_enabled is (False if registers == 41 else None)
    assert found.identity.model == "TC-8S100-V1.0"
    assert found.identity.serial is None
    assert found.info["module_id"] == 1
    assert {"rs485_protocols", "can_protocols"} <= set(found.info)
    assert report.answers == 5
    assert not speaker_of(pack).writes
    assert site.slots_taken == 0
    assert max(len(piece) for piece in pack.notifications) <= mtu - 3
    fractions = [one.fraction for one in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert [told[0].stage, told[-1].stage] == [Stage.PROBING, Stage.READING]


async def test_the_capture_of_a_probe_replays_without_what_may_be_a_serial_number(site: Site) -> None:
    """The status stays whole, the date that stands in the place of a serial number does not."""
    pack = await site.pack()
    report = await site.probe()
    assert report.capture is not None
    assert pack.notifications[0].hex() in report.capture
    assert b"2024-01-11".hex() not in report.capture


async def test_a_battery_of_another_make_is_refused_before_a_byte_is_sent_to_it(site: Site) -> None:
    """A JBD board has the same advert and the same maker's address; the services tell."""
    other = jbd_pack(site.air)
    await site.add(other)
    with pytest.raises(LinkError) as error:
        await site.probe(other.address)
    assert error.value.problem is LinkProblem.FOREIGN
    assert isinstance(other.speaker, JbdSpeaker)
    assert not other.speaker.received
    assert other.sessions == 1
    assert site.slots_taken == 0


async def test_the_service_without_anybody_behind_it_is_no_battery(site: Site) -> None:
    """As on a module that only looks alike, which an ML314 may have; it is asked for a status and nothing else."""
    mute = Mute()
    await site.add(GattPack(site.air, ADDRESS, "Smart Battery-0001", mute))
    report = await site.probe()
    assert (report.outcome, report.packs, report.answers) == (Outcome.NOTHING, (), 0)
    assert {data.hex() for data in mute.heard} == {"0103000000298414", "01030000002705d0"}
    assert site.slots_taken == 0


async def test_a_status_that_makes_no_sense_is_no_battery(site: Site) -> None:
    """All zero, as it was seen on boards of the maker; when it is over the pack is found."""
    pack = await site.pack()
    pack.zero_block = True
    report = await site.probe()
    assert (report.outcome, report.packs) == (Outcome.UNREADABLE, ())
    assert report.answers > 0
    pack.zero_block = False
    assert (await site.probe()).outcome is Outcome.FOUND


async def test_frames_that_fail_their_check_are_noise(site: Site) -> None:
    """Nothing is made of them, however many there are; a single one does no harm."""
    pack = await site.pack()
    pack.bad_crc = True
    report = await site.probe()
    assert (report.outcome, report.answers) == (Outcome.NOISE, 0)
    assert report.damaged > 0
    pack.bad_crc = 1
    assert (await site.probe()).outcome is Outcome.FOUND


async def test_a_link_that_is_lost_once_is_taken_up_again(site: Site) -> None:
    """In the middle of the first answer, or while the settings are read; a pack that always drops it is said to."""
    pack = await site.pack(mtu=23)
    pack.drop_mid_frame = 1
    assert (await site.probe()).outcome is Outcome.FOUND
    assert pack.sessions == 2
    pack.drop_mid_frame = True
    with pytest.raises(LinkError) as error:
        await site.probe()
    assert error.value.problem is LinkProblem.LOST


async def test_a_pack_that_drops_the_link_over_its_settings_is_still_found(site: Site) -> None:
    """What was read counts; the rest is left to whoever reads it from then on."""
    pack = await site.pack()

    def cut(progress: Progress) -> None:
        if progress.stage is Stage.READING and not pack.drop_mid_frame:
            pack.drop_mid_frame = True

    report = await site.probe(on_progress=cut)
    assert report.outcome is Outcome.FOUND
    assert report.packs[0].identity.model is None
    assert pack.sessions == 1


async def test_a_link_that_cannot_be_had_says_why(make_site: MakeSite) -> None:
    """Out of range, connected elsewhere, or no slot free: three different things to do."""
    site = await make_site(slots=1)
    with pytest.raises(LinkError) as error:
        await site.probe()
    assert error.value.problem is LinkProblem.MISSING
    pack = await site.pack()
    await pack.advertise(False)
    with pytest.raises(LinkError) as error:
        await site.probe()
    assert error.value.problem is LinkProblem.UNREACHABLE
    await pack.advertise(True)
    site.air.slots = 0
    with pytest.raises(LinkError) as error:
        await site.probe()
    assert error.value.problem is LinkProblem.NO_SLOT
    site.air.slots = 1
    assert (await site.probe()).outcome is Outcome.FOUND
