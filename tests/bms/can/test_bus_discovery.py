"""Finding out what broadcasts on a bus: every family, and everything else that may be there instead."""

import asyncio
import io

import can
import pytest

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame
from custom_components.lfp_battery.bms.discovery import Outcome, ScanReport, Stage
from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.model import BatteryState
from custom_components.lfp_battery.bms.protocols.can import CAN
from custom_components.lfp_battery.bms.protocols.can.base import BANK
from custom_components.lfp_battery.bms.protocols.can.markers import MARKERS
from custom_components.lfp_battery.bms.transports.candump import read_candump
from tests.simulator.can.bus import SimPort
from tests.simulator.can.families import SETS
from tests.simulator.can.inverter import CanInverter
from tests.simulator.can.speaker import CanLedger

from .bus_rig import said_of, values_of
from .site import CanSite

# What is worked out from what was sent.
_COMPUTED = {"power", "mode"}


def values_were_sent(state: BatteryState, ledger: CanLedger, pack: int | None) -> None:
    """Everything that a state says went out on the bus, and everything that matters is said."""
    values = values_of(state)
    assert values.keys() >= {"voltage", "current", "soc"}
    sent = ledger.latest(pack)
    for field, value in values.items():
        if field not in _COMPUTED:
            assert ledger.was_sent(pack, field, value) or value == pytest.approx(sent[field]), field


@pytest.mark.parametrize("name", SETS)
async def test_every_set_of_frames_is_found_with_the_values_that_were_sent(name: str) -> None:
    """Beside its usual inverter; one with ids of its own within ten seconds, any other within half a minute or so."""
    site = CanSite(name, inverter=True)
    report = await site.listen()
    family = SETS[name].family
    assert (report.outcome, report.protocol) == (Outcome.FOUND, family)
    assert site.speaker is not None
    ledger = site.speaker.ledger
    assert report.bank is not None
    values_were_sent(report.bank, ledger, None)
    assert (report.bank_address, report.bank.family) == (BANK, family)
    sent = ledger.identity()
    assert all(sent[field] == value for field, value in said_of(report.bank_identity).items())
    assert [pack.address for pack in report.packs] == sorted(ledger.packs if CAN[family].has_packs else ())
    for pack in report.packs:
        values_were_sent(pack.state, ledger, pack.address)
        assert said_of(pack.identity) == ledger.identity(pack.address)
        assert pack.identity.serial
    assert report.inverter is not None
    assert report.answers == sum(port.received for port in site.bus.ports) > 0
    assert (report.damaged, report.dialect) == (0, None)
    clear = next(marker.clear for marker in MARKERS if marker.family == family)
    assert site.seconds <= (10 if clear else 32)


async def test_a_slow_battery_is_not_named_before_its_set_has_come_round() -> None:
    """BYD sends limits every two seconds and the rest every ten; its maker once a minute is not waited for."""
    site = CanSite("victron_byd")
    report = await site.listen()
    assert report.protocol == "victron"
    assert 25 <= site.seconds <= 36
    assert report.bank is not None
    assert site.speaker is not None
    values_were_sent(report.bank, site.speaker.ledger, None)


@pytest.mark.parametrize("name", ["pylon", "victron_byd"])
async def test_what_was_there_the_last_time_is_believed_sooner(name: str) -> None:
    """As soon as its set has come round and says what matters."""
    first, again = CanSite(name), CanSite(name)
    family = SETS[name].family
    await first.listen()
    report = await again.listen(known=family)
    assert report.protocol == family
    assert report.bank is not None
    assert None not in (report.bank.voltage, report.bank.current, report.bank.soc)
    assert again.seconds < first.seconds - 5


@pytest.mark.parametrize(("known", "name"), [("pylon", "victron"), ("generic_35x", "pylon_goodwe"), ("sma", "growatt")])
async def test_a_battery_that_was_set_to_something_else_is_not_what_it_was(known: str, name: str) -> None:
    """The sets that share their ids included."""
    report = await CanSite(name).listen(known=known)
    assert (report.outcome, report.protocol) == (Outcome.FOUND, SETS[name].family)


async def test_the_owner_is_told_of_the_family_before_it_is_certain() -> None:
    """And of the bit rate; the bar never goes back and does not run past its end."""
    site = CanSite("pylon")
    await site.listen(500_000)
    named = site.named("pylon")
    assert named is not None
    assert named < 2
    assert site.seconds >= 10
    fractions = [progress.fraction for _, progress in site.progress]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] <= 1
    assert fractions[-1] > 0.9
    assert {progress.stage for _, progress in site.progress} == {Stage.LISTENING}
    assert {progress.baudrate for _, progress in site.progress} == {500_000}
    gaps = [later - sooner for (sooner, _), (later, _) in zip(site.progress, site.progress[1:], strict=False)]
    assert max(gaps) < 1.1


async def test_the_other_bit_rate_is_tried_when_only_errors_come() -> None:
    """Each adapter is closed before the next is opened."""
    site = CanSite("pylon", bitrate=250_000)
    report = await site.listen(500_000, 250_000)
    assert (report.outcome, report.protocol, report.baudrate) == (Outcome.FOUND, "pylon", 250_000)
    assert site.rates == [500_000, 250_000]
    assert report.damaged > 0
    assert site.seconds < 25


@pytest.mark.parametrize("silent", [False, None])
async def test_no_rate_is_tried_out_with_an_adapter_that_may_acknowledge(silent: bool | None) -> None:
    """At a wrong one it destroys the frames of the others; whoever asks for it is told before anything is opened."""
    site = CanSite("pylon", silent=silent)
    with pytest.raises(ValueError, match="may acknowledge"):
        await site.listen(250_000, 500_000)
    assert sum(port.opened for port in site.bus.ports) == 0
    assert site.bus.destroyed == 0
    report = await site.listen(500_000)
    assert report.outcome is Outcome.FOUND


async def test_a_silent_bus_is_tried_at_every_rate_for_a_quarter_of_a_minute() -> None:
    """And nothing is what there is."""
    site = CanSite(None)
    report = await site.listen(500_000, 250_000)
    assert (report.outcome, report.answers, report.capture) == (Outcome.NOTHING, 0, None)
    assert site.rates == [500_000, 250_000]
    assert site.seconds == pytest.approx(30, abs=1)
    fractions = [progress.fraction for _, progress in site.progress]
    assert fractions == sorted(fractions)
    assert fractions[len(fractions) // 2] == pytest.approx(0.5, abs=0.05)


async def test_nothing_but_errors_is_a_wrong_bit_rate() -> None:
    """Said sooner than silence, since there is somebody."""
    site = CanSite("pylon", bitrate=250_000)
    report = await site.listen(500_000)
    assert (report.outcome, report.baudrate) == (Outcome.WRONG_RATE, 500_000)
    assert report.damaged >= 5
    assert site.seconds < 15


async def test_everything_takes_a_minute_at_most() -> None:
    """However many rates are tried."""
    site = CanSite(None)
    await site.listen(*(1000 * rate for rate in (500, 250, 125, 100, 50, 20)))
    assert site.seconds <= 61


async def test_a_frame_that_nobody_acknowledges_is_said_to_be_one() -> None:
    """The battery is alone with an adapter that keeps silent; the capture stays small."""
    site = CanSite("pylon", alone=True)
    report = await site.listen()
    assert (report.outcome, report.protocol) == (Outcome.UNACKNOWLEDGED, None)
    assert site.seconds < 10
    assert report.answers > 1000
    assert report.capture is not None
    assert len(report.capture) < 70_000


async def test_alone_with_an_adapter_that_acknowledges_the_battery_is_found() -> None:
    """That is what the choice is for."""
    report = await CanSite("pylon", alone=True, silent=False).listen(500_000)
    assert (report.outcome, report.protocol) == (Outcome.FOUND, "pylon")


@pytest.mark.parametrize("habit", ["steady", "victron", "sma", "growatt"])
async def test_an_inverter_without_a_battery_is_said_to_be_one(habit: str) -> None:
    """Not before a slow battery had its time."""
    site = CanSite(None, CanInverter(habit))
    report = await site.listen()
    assert report.outcome is Outcome.INVERTER_ONLY
    assert report.inverter is not None
    assert 12 <= site.seconds <= 20


@pytest.mark.parametrize(
    ("ids", "dialect"),
    [
        ((0x4210, 0x4220, 0x4230, 0x7310), "high_voltage_out_of_scope"),
        ((0x18F20101, 0x18F20201), "between_packs"),
        ((0x02098001, 0x04008001), "between_packs"),
    ],
)
async def test_frames_of_no_family_here_are_called_what_they_are(ids: tuple[int, ...], dialect: str) -> None:
    """High voltage, and what packs tell each other."""
    site = CanSite(None)
    report = await send_while_listening(site, [CanFrame(id=one | EXTENDED, data=bytes(8)) for one in ids])
    assert (report.outcome, report.dialect, report.protocol) == (Outcome.OTHER_PROTOCOL, dialect, None)
    assert report.capture is not None
    assert f"{ids[0]:08X}#" in report.capture


async def test_frames_that_nobody_knows_are_kept_for_a_report() -> None:
    """After half a minute."""
    site = CanSite(None)
    report = await send_while_listening(site, [CanFrame(id=0x123, data=b"\x01\x02"), CanFrame(id=0x124, data=b"")])
    assert report.outcome is Outcome.UNREADABLE
    assert site.seconds == pytest.approx(30, abs=2)
    assert report.capture is not None
    assert "123#0102" in report.capture


async def test_an_adapter_that_is_unplugged_while_listening_ends_it() -> None:
    """With the reason, for whoever asked; the port is closed."""
    site = CanSite("pylon")
    site.clock.call_later(3, lambda: site.bus.ports[-1].unplug())
    with pytest.raises(LinkError) as caught:
        await site.listen()
    assert site.clock.monotonic() == pytest.approx(3, abs=0.2)
    assert caught.value.problem is LinkProblem.LOST
    assert not any(port.is_open for port in site.bus.ports)


async def test_a_bus_that_cannot_be_opened_is_said_so() -> None:
    """An interface that is down, for one."""
    site = CanSite("pylon")

    def refused(bitrate: int | None) -> SimPort:
        port = site.bus.port(bitrate)
        port.refusal = LinkProblem.DOWN
        return port

    site.open_bus = refused  # type: ignore[method-assign]  # a stand-in
    with pytest.raises(LinkError) as caught:
        await site.listen()
    assert caught.value.problem is LinkProblem.DOWN


async def test_what_cannot_be_is_held_back_from_the_report() -> None:
    """As it would be later."""
    site = CanSite(None)
    report = await send_while_listening(
        site,
        [
            CanFrame(id=0x359, data=bytes.fromhex("0000000001504E")),
            CanFrame(id=0x355, data=bytes.fromhex("C8006400")),
            CanFrame(id=0x356, data=bytes.fromhex("AB14DFFCCC00")),
        ],
    )
    assert (report.outcome, report.protocol) == (Outcome.FOUND, "pylon")
    assert report.bank is not None
    assert (report.bank.soc, report.bank.soh, report.bank.voltage) == (None, 100, 52.91)


@pytest.mark.parametrize("name", ["deye_pcs", "victron", "afore", "growatt"])
async def test_a_capture_holds_no_serial_number_and_plays_back(name: str) -> None:
    """As python-can reads it, frame by frame, with everything else as it was."""
    site = CanSite(name, inverter=True)
    report = await site.listen()
    assert report.capture is not None
    found = {passed.frame.id: passed.frame.data for passed in read_candump(iter(report.capture.splitlines(True)))}
    assert site.speaker is not None
    family = CAN[SETS[name].family]
    heard = found.keys() & family.ids
    assert heard
    for frame_id in heard:
        if frame_id in family.private_ids:
            assert set(found[frame_id]) <= {ord("X")}
        else:
            said = family.read(CanFrame(id=frame_id, data=found[frame_id]))
            assert said is None or "serial" not in said.identity
    for identity in (report.bank_identity, *(pack.identity for pack in report.packs)):
        if identity is not None and identity.serial is not None:
            for half in (identity.serial[:8], identity.serial[8:]):
                assert not half or half.encode().hex().upper() not in report.capture
    played = list(can.CanutilsLogReader(io.StringIO(report.capture)))
    assert len(played) == report.answers


async def test_text_with_figures_in_unknown_frames_is_not_shown() -> None:
    """Who knows what it says; other unknown frames are what a capture is for."""
    report = await send_while_listening(
        CanSite(None), [CanFrame(id=0x6B1, data=b"SN202311"), CanFrame(id=0x6B2, data=b"\x11\x22\x33\x44")]
    )
    assert report.capture is not None
    assert b"SN2023".hex().upper() not in report.capture
    assert "6B2#11223344" in report.capture


async def send_while_listening(site: CanSite, frames: list[CanFrame]) -> ScanReport:
    """Listen while these come once a second."""
    task = asyncio.create_task(site.listen())

    async def send() -> None:
        while not task.done():
            site.bus.inject(*frames)
            await site.clock.sleep(1)

    sending = asyncio.create_task(send())
    try:
        return await task
    finally:
        sending.cancel()
