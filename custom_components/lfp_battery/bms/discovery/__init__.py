"""Finding out what is at the other end: on a line listen first, then probe, then read; on a CAN bus only listen."""

from .bus import listen
from .report import FoundPack, Outcome, Progress, ScanReport, Stage
from .scanning import scan

__all__ = ["FoundPack", "Outcome", "Progress", "ScanReport", "Stage", "listen", "scan"]
