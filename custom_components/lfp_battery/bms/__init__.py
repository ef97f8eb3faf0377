"""Reading LiFePO4 battery packs; knows nothing of Home Assistant. These are the names for the world outside."""

from .catalog import FAMILIES, Family, Model, find_model
from .clients.base import BatteryClient, ClientListener
from .clients.listening import ListeningClient
from .clients.polled import PolledClient
from .clock import Clock, DrivenClock, SystemClock
from .discovery import FoundPack, Outcome, Progress, ScanReport, Stage, scan
from .energy import EnergyMeter
from .errors import BmsError, FrameError, LinkError, LinkProblem, Refusal, RefusedError
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
from .protocols import DECODERS, POLLED
from .transports import ByteTransport
from .transports.serial import SerialTransport, check_url

__all__ = [
    "DECODERS",
    "FAMILIES",
    "POLLED",
    "Alarm",
    "BankState",
    "BatteryClient",
    "BatteryState",
    "BmsError",
    "ByteTransport",
    "ClientListener",
    "Clock",
    "Condition",
    "CycleReport",
    "DrivenClock",
    "EnergyMeter",
    "Family",
    "FoundPack",
    "FrameError",
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
    "Refusal",
    "RefusedError",
    "ScanReport",
    "SerialTransport",
    "Severity",
    "Stage",
    "SystemClock",
    "check_url",
    "find_model",
    "scan",
]
