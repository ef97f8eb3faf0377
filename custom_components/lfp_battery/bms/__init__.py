"""Reading LiFePO4 battery packs; knows nothing of Home Assistant. These are the names for the world outside."""

from .can_frame import CanFrame
from .catalog import FAMILIES, Family, Model, find_model
from .clients.base import BatteryClient, ClientListener, HeatingControl, HeatingOutcome
from .clients.broadcast import BroadcastClient
from .clients.listening import ListeningClient
from .clients.polled import PolledClient
from .clock import Clock, DrivenClock, SystemClock
from .discovery import FoundPack, Outcome, Progress, ScanReport, Stage, listen, probe, scan
from .energy import Added, EnergyAccount, Reading
from .errors import BmsError, FrameError, HeatingError, HeatingProblem, LinkError, LinkProblem, Refusal, RefusedError
from .gatt_profile import GattProfile
from .model import (
    Alarm,
    BankState,
    BatteryState,
    Condition,
    CycleReport,
    Identity,
    LinkCounters,
    Mode,
    PackState,
    PollReport,
    Severity,
)
from .plausibility import Limits
from .protocols import BLUETOOTH, DECODERS, POLLED, PROTOCOLS
from .protocols.can import CAN
from .transports import ByteTransport, CanTransport, GattTransport
from .transports.can import open_bus
from .transports.can_address import CanAddress, parse_can_address
from .transports.gatt import GattLink
from .transports.serial import SerialTransport, check_url

__all__ = [
    "BLUETOOTH",
    "CAN",
    "DECODERS",
    "FAMILIES",
    "POLLED",
    "PROTOCOLS",
    "Added",
    "Alarm",
    "BankState",
    "BatteryClient",
    "BatteryState",
    "BmsError",
    "BroadcastClient",
    "ByteTransport",
    "CanAddress",
    "CanFrame",
    "CanTransport",
    "ClientListener",
    "Clock",
    "Condition",
    "CycleReport",
    "DrivenClock",
    "EnergyAccount",
    "Family",
    "FoundPack",
    "FrameError",
    "GattLink",
    "GattProfile",
    "GattTransport",
    "HeatingControl",
    "HeatingError",
    "HeatingOutcome",
    "HeatingProblem",
    "Identity",
    "Limits",
    "LinkCounters",
    "LinkError",
    "LinkProblem",
    "ListeningClient",
    "Mode",
    "Model",
    "Outcome",
    "PackState",
    "PollReport",
    "PolledClient",
    "Progress",
    "Reading",
    "Refusal",
    "RefusedError",
    "ScanReport",
    "SerialTransport",
    "Severity",
    "Stage",
    "SystemClock",
    "check_url",
    "find_model",
    "listen",
    "open_bus",
    "parse_can_address",
    "probe",
    "scan",
]
