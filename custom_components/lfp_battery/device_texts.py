"""What a device of ours is called in the registry."""

from collections.abc import Iterable
from typing import TypedDict

from .identity import Record
from .settings import Settings


class Described(TypedDict):
    """The part of a `DeviceInfo` that tells the product."""

    manufacturer: str | None
    model: str | None
    model_id: str | None
    sw_version: str | None
    hw_version: str | None


def described(record: Record, settings: Settings, *, model: str | None = None) -> Described:
    """What a pack says of itself goes before what was chosen from the catalog, except for the name people know.

    `model`: where it does not say its own.
    """
    return {
        "manufacturer": settings.manufacturer or record.manufacturer,
        "model": settings.model or record.model or model,
        "model_id": record.model if settings.model else None,
        "sw_version": record.firmware,
        "hw_version": record.hardware,
    }


def shared(values: Iterable[str | None]) -> str | None:
    """The one value that all have, as far as they give any: some are answered by a master only."""
    different = set(values) - {None}
    return different.pop() if len(different) == 1 else None
