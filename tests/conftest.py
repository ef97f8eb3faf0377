"""What every test may ask for."""

from collections.abc import AsyncGenerator

from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.syrupy import HomeAssistantSnapshotExtension
from syrupy.assertion import SnapshotAssertion

# The kit has a package of the same name, which would hide ours if it were imported first
import custom_components.lfp_battery
from tests.ble_home import BleHome
from tests.flow_line import FlowLine
from tests.home import Home

assert custom_components.lfp_battery


@pytest.fixture(autouse=True)
def _custom_integrations(request: pytest.FixtureRequest) -> None:
    """Let Home Assistant load this integration, in the tests that have a Home Assistant."""
    if "hass" in request.fixturenames:
        if "recorder_mock" in request.fixturenames:
            request.getfixturevalue("recorder_mock")  # must be there before Home Assistant is
        request.getfixturevalue("hass_storage")  # what is remembered is kept in no file that another test would find
        request.getfixturevalue("enable_custom_integrations")


@pytest.fixture
def snapshot(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """Snapshots that know Home Assistant's types."""
    return snapshot.use_extension(HomeAssistantSnapshotExtension)


@pytest.fixture
async def home(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Home]:
    """A Home Assistant with a simulated bank at the other end of a line; nothing is set up yet."""
    home = Home(hass, monkeypatch)
    yield home
    await home.stop()


@pytest.fixture
async def line(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[FlowLine]:
    """Simulated ports and buses in place of real ones; every entry is unloaded at the end."""
    line = FlowLine(hass, monkeypatch)
    yield line
    await line.unload()


@pytest.fixture
async def ble(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[BleHome]:
    """A Home Assistant with a simulated pack in the air; nothing is set up yet."""
    home = BleHome(hass, monkeypatch)
    yield home
    await home.stop()
