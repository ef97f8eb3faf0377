"""Frames that real batteries sent (tests/captures), as tests use them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any

from custom_components.lfp_battery.bms.protocols import DECODERS, POLLED

from .mutation import Sample

CAPTURES = Path(__file__).parent.parent / "captures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One answer, where it comes from, and what it says."""

    id: str
    device: str
    protocol: str
    source: str
    licence: str
    request: bytes | None
    response: bytes
    packs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    bank: Mapping[str, Any] | None = None
    identities: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    dialect: str | None = None
    return_code: int | None = None

    @property
    def decodes(self) -> bool:
        """Whether it is to be decoded rather than refused."""
        return self.dialect is None and self.return_code is None


def text_frames(name: str) -> list[Captured]:
    """A file of frames that are text and end with CR."""
    found = []
    for row in json.loads((CAPTURES / name).read_text(encoding="utf-8"))["captures"]:
        row["request"] = row["request"] and f"{row['request']}\r".encode()
        row["response"] = f"{row['response']}\r".encode()
        assert row["protocol"] in DECODERS
        found.append(Captured(**row))
    return found


def samples(captures: list[Captured]) -> list[Sample]:
    """Those that can be damaged: questions and answers of protocols that are polled."""
    return [
        Sample.of(captured.id, POLLED[captured.protocol], captured.request, captured.response)
        for captured in captures
        if captured.decodes and captured.request is not None and captured.protocol in POLLED
    ]
