"""Buses as the flow and the client open them, the threads behind them, and frames as a battery sends them."""

import threading
from typing import Any

import can

from custom_components.lfp_battery.bms.can_frame import CanFrame
from custom_components.lfp_battery.bms.clock import Clock, SystemClock
from custom_components.lfp_battery.bms.transports import CanTransport
from custom_components.lfp_battery.bms.transports.can import open_bus
from custom_components.lfp_battery.bms.transports.can_address import parse_can_address

DATA = bytes.fromhex("1402760276029001")
FRAME = CanFrame(id=0x351, data=DATA)


def bus_at(text: str, *, listen_only: bool = True, clock: Clock | None = None) -> CanTransport:
    """As the flow and the client make it."""
    return open_bus(parse_can_address(text), bitrate=500_000, listen_only=listen_only, clock=clock or SystemClock())


def readers() -> list[threading.Thread]:
    """The threads of ours that run."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("CAN ")]


def message(frame_id: int = 0x351, data: bytes = DATA, **kwargs: Any) -> can.Message:
    """As a battery sends it."""
    return can.Message(arbitration_id=frame_id, data=data, **{"is_extended_id": False, **kwargs})
