"""What tests of the families with layouts of their own share: frames in, what is composed of them out."""

from collections.abc import Iterator, Mapping
import json
from typing import Any

import pytest

from custom_components.lfp_battery.bms.can_frame import EXTENDED, CanFrame
from custom_components.lfp_battery.bms.model import Alarm, BankState, Condition, PackState, Severity
from custom_components.lfp_battery.bms.protocols.base import Decoded
from custom_components.lfp_battery.bms.protocols.can import CAN
from custom_components.lfp_battery.bms.protocols.can.base import Said

from ..captured import CAPTURES

ROWS: list[dict[str, Any]] = json.loads((CAPTURES / "can-own-conditions.json").read_text(encoding="utf-8"))["rows"]


def frame(frame_id: str, data: str) -> CanFrame:
    """As vectors write one: three digits, or eight for 29 bits."""
    return CanFrame(id=int(frame_id, 16) | (EXTENDED if len(frame_id) == 8 else 0), data=bytes.fromhex(data))


def said(family: str, frame_id: str, data: str) -> Said | None:
    """What one frame says."""
    return CAN[family].read(frame(frame_id, data))


def heard(family: str, *frames: tuple[str, str] | list[str]) -> Decoded:
    """What frames say together."""
    found = [said(family, *one) for one in frames]
    return CAN[family].compose(one for one in found if one is not None)


def bank(family: str, *frames: tuple[str, str] | list[str]) -> BankState:
    """The bank that they speak of."""
    decoded = heard(family, *frames)
    assert decoded.bank is not None
    return decoded.bank


def pack(family: str, number: int, *frames: tuple[str, str] | list[str]) -> PackState:
    """One of the packs that they speak of."""
    return heard(family, *frames).packs[number]


def captures(name: str) -> list[Any]:
    """Captures of a file, as parameters."""
    rows = json.loads((CAPTURES / name).read_text(encoding="utf-8"))["captures"]
    return [pytest.param(row, id=row["id"]) for row in rows]


def check(capture: Mapping[str, Any]) -> None:
    """Whether a capture comes out as its source says."""
    decoded = heard(capture["family"], *capture["frames"])
    assert decoded.bank is not None
    for name, value in capture["bank"].items():
        got = getattr(decoded.bank, name)
        if name in ("alarms", "derived") and value is not None:
            assert got == frozenset(value), name
        elif isinstance(value, float):
            assert got == pytest.approx(value, abs=0.0001), name
        else:
            assert got == value and isinstance(got, bool) == isinstance(value, bool), name
    for number, identity in capture.get("identities", {}).items():
        for name, value in identity.items():
            assert getattr(decoded.identities[int(number)], name) == value
    for name, value in capture.get("info", {}).items():
        assert decoded.info[name] == value, name
    assert json.dumps(dict(decoded.info)), "is shown as JSON"


def bits_of(family: str) -> Iterator[Any]:
    """Every alarm bit of a family as a parameter: identifier, bytes in which only it is set, and the alarm."""
    for row in ROWS:
        if row["protocol"] != family or row.get("condition") is None:
            continue
        frame_id, place = row["where"].split()
        byte, bit = place.removeprefix("B").split(".")
        data = bytearray(8)
        data[int(byte)] = 1 << int(bit)
        alarm = Alarm(condition=Condition(row["condition"]), severity=Severity(row["severity"]))
        yield pytest.param(frame_id, data.hex(), alarm, id=f"{row['where']} {row['name']}")


def conditions_of(family: str) -> set[Condition]:
    """What the table says that alarms of a family can be."""
    return {Condition(row["condition"]) for row in ROWS if row["protocol"] == family and row.get("condition")}
