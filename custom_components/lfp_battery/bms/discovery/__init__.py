"""Finding out what is at the other end: on a line listen first, then probe, then read; on a CAN bus only listen.

Over Bluetooth nobody else can be heard: there it is asked at once.
"""

from .bus import listen
from .radio import probe
from .report import FoundPack, Outcome, Progress, ScanReport, Stage
from .scanning import scan

__all__ = ["FoundPack", "Outcome", "Progress", "ScanReport", "Stage", "listen", "probe", "scan"]
