"""Finding out what is at the other end of a line: listen first, then probe, then read what answered."""

from .report import FoundPack, Outcome, Progress, ScanReport, Stage
from .scanning import scan

__all__ = ["FoundPack", "Outcome", "Progress", "ScanReport", "Stage", "scan"]
