"""What the dialogs and repairs say about a CAN bus: which failure it was, what helps, and what a set of frames tells.

Pure but for the look-up of translations: knows the address and the report, neither the flow nor the bus.
"""

from collections.abc import Mapping
import shlex
from typing import Any

from homeassistant.const import CONF_DEVICE

from .bms.discovery import Outcome, ScanReport
from .bms.errors import LinkError, LinkProblem
from .bms.protocols.can import CAN
from .bms.protocols.can.detection import Hint
from .bms.transports.can_address import CanAddress, Interface, Silence, parse_can_address
from .const import CONF_ACKNOWLEDGE
from .findings import ABSENT, name_of, plain
from .flow_texts import PROBLEMS, Failure, Words

# In place of the words for a serial port.
_PROBLEMS: Mapping[LinkProblem, str] = {
    **PROBLEMS,
    LinkProblem.MISSING: "bus_missing",
    LinkProblem.BAD_ADDRESS: "bad_bus",
    LinkProblem.DOWN: "bus_down",
    LinkProblem.DRIVER: "driver_missing",
}

_OUTCOMES: Mapping[Outcome, str] = {
    Outcome.NOTHING: "bus_silent",
    Outcome.NOISE: "wrong_rate",
    Outcome.WRONG_RATE: "wrong_rate",
    Outcome.UNACKNOWLEDGED: "unacknowledged",
    Outcome.INVERTER_ONLY: "inverter_only",
    Outcome.OTHER_PROTOCOL: "other_set",
}

_USUAL_BITRATE = 500_000  # can.md section 2
# Letters of a code that takes the place of a name: as Growatt's 320 and Deye's 35E have it (can.md sections 6.5, 6.11).
_CODE = 2


def address_of(device: str) -> CanAddress | None:
    """Where the bus of an entry is; None for what is no such address (any more)."""
    try:
        return parse_can_address(device)
    except LinkError:
        return None


def command(address: CanAddress | None, *, bitrate: int | None = None, listen_only: bool = True) -> str:
    """What brings a SocketCAN interface up, to be typed where Home Assistant runs."""
    rate = bitrate or _USUAL_BITRATE
    switch = "on" if listen_only else "off"
    return f"sudo ip link set {_interface(address)} up type can bitrate {rate} listen-only {switch}"


def commands(address: CanAddress | None, *, bitrate: int | None = None) -> dict[str, str]:
    """What texts about an interface fill in: to bring it up beside an inverter, or without one; and to take it down."""
    return {
        "command": command(address, bitrate=bitrate),
        "command_alone": command(address, bitrate=bitrate, listen_only=False),
        "command_down": f"sudo ip link set {_interface(address)} down",
    }


def _interface(address: CanAddress | None) -> str:
    named = address is not None and address.interface is Interface.SOCKETCAN
    return shlex.quote(address.channel) if address is not None and named else "can0"


def package(address: CanAddress | None) -> str:
    """What an adapter needs that may not be installed."""
    return (address.adapter.package if address is not None else None) or "python-can"


def problem(kind: LinkProblem, address: CanAddress | None, words: Words) -> Failure:
    """In words, why a bus could not be listened to; without an address, why it is none."""
    error = _PROBLEMS[kind]
    if kind is LinkProblem.MISSING and address is not None and address.interface is Interface.SOCKETCAN:
        error = "interface_missing"  # any plain word is read as the name of one
    return Failure(
        error=error,
        placeholders={**commands(address), "package": package(address)},
        advice=words.text("advice", "socketcan") if kind is LinkProblem.DRIVER else "",
    )


def failure(report: ScanReport, address: CanAddress, words: Words, *, acknowledge: bool) -> Failure:
    """In words, how listening ended that found nothing to be set up."""
    error, advice = _OUTCOMES.get(report.outcome, "unknown_frames"), ""
    if report.outcome is Outcome.UNACKNOWLEDGED:
        advice = words.text("advice", acknowledge_advice(address, acknowledge=acknowledge), **commands(address))
    elif report.outcome is Outcome.NOTHING:
        advice = _silent_rate(report, address, words)
    elif report.outcome is Outcome.WRONG_RATE:
        advice = words.text("advice", "rate_outside" if not address.adapter.sets_bitrate else "rate_other")
    elif report.outcome is Outcome.OTHER_PROTOCOL and report.dialect == Hint.BETWEEN_PACKS:
        error = "bus_between_packs"
    elif report.outcome is Outcome.OTHER_PROTOCOL:
        advice = words.find("hint", report.dialect or "") or words.text("hint", "out_of_scope")
    return Failure(
        error=error,
        placeholders={"inverter": only_inverter(report, words), **commands(address)},
        advice=advice,
        capture=report.capture,
    )


def _silent_rate(report: ScanReport, address: CanAddress, words: Words) -> str:
    """That a wrong bit rate may be why nothing was heard: adapters on slcan tell of no errors."""
    if address.adapter.silence is Silence.OUTSIDE:
        return words.text("advice", "silent_outside", **commands(address))
    if report.baudrate is None:
        return ""  # there is none, or all were tried
    return words.text("advice", "silent_rate", rate=rate(report.baudrate, words))


def not_alone(report: ScanReport, words: Words) -> Failure:
    """In words, that the battery is not alone with the adapter."""
    return Failure(error="not_alone", placeholders={"inverter": inverter(report, words)})


def acknowledge_advice(address: CanAddress | None, *, acknowledge: bool) -> str:
    """What helps where no node acknowledges: the option, whoever brings the interface up, or only the wiring."""
    adapter = None if address is None else address.adapter
    if adapter is not None and adapter.silence is Silence.OUTSIDE:
        return "acknowledge_outside"
    if adapter is None or acknowledge or adapter.silence is Silence.NEVER:
        return "acknowledge_wiring"
    return "acknowledge_option"


def can_choose(address: CanAddress | None) -> bool:
    """Whether it is for us to say that the adapter acknowledges."""
    return address is not None and address.adapter.sets_bitrate and address.adapter.silence is not Silence.NEVER


def keeps_silent(data: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether it is sure that the adapter of an entry does not touch the bus."""
    address = address_of(data[CONF_DEVICE])
    return address is not None and address.adapter.silence is Silence.ENSURED and not options.get(CONF_ACKNOWLEDGE)


def silence(address: CanAddress, words: Words, *, acknowledge: bool) -> str:
    """Whether the adapter keeps off the bus."""
    kind = address.adapter.silence
    if acknowledge and can_choose(address):
        return words.text("silence", "acknowledges")
    return words.text("silence", kind.value, command=command(address))


def rate(bitrate: int | None, words: Words) -> str:
    """The bit rate, or that it is not ours to set."""
    return (
        words.text("rate", "outside") if bitrate is None else words.text("rate", "known", bitrate=f"{bitrate / 1000:g}")
    )


def inverter(report: ScanReport, words: Words) -> str:
    """Whose frames were heard beside the battery's."""
    if report.inverter is None:
        return words.text("inverter", "none")
    return words.find("inverter", report.inverter) or words.text("inverter", "generic")


def only_inverter(report: ScanReport, words: Words) -> str:
    """Whose frames were heard where no battery's were."""
    return words.find("only_inverter", report.inverter or "") or words.text("only_inverter", "generic")


def recognised(protocol: str | None, words: Words) -> str:
    """What was recognised so far, while it is listened."""
    if protocol is None:
        return words.text("recognised", "nothing")
    return words.text("recognised", "so_far", protocol=words.protocol(protocol))


def tells(report: ScanReport, words: Words) -> str:
    """What this set of frames can and cannot tell."""
    return words.text("tells", report.protocol) if report.protocol in CAN and report.protocol else ABSENT


def maker(report: ScanReport, words: Words) -> str:
    """What the battery calls itself; empty where that is nothing or a code, which tells a person nothing."""
    name = name_of(report)
    return "" if name is None or len(name) <= _CODE else words.text("name", "said", name=plain(name))
