"""The registry: every protocol by the name that entries, captures and the command line use."""

from .base import PolledProtocol
from .pylon import PylonPacks, PylonSystem

POLLED: dict[str, PolledProtocol] = {protocol.name: protocol for protocol in (PylonPacks(), PylonSystem())}
