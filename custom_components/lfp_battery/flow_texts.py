"""What the dialogs say about a scan: which failure it was, what helps, and what a table does not say by itself.

Pure but for the look-up of translations: knows the report and the catalog, neither the flow nor the port.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from homeassistant.core import HomeAssistant
from homeassistant.helpers.translation import async_get_translations

from .bms.catalog import Choice, Family, Medium
from .bms.discovery import Outcome, ScanReport
from .bms.errors import LinkProblem
from .bms.protocols import PROTOCOLS
from .bms.protocols.base import BatteryProtocol, PolledProtocol, Scope
from .const import DOMAIN
from .findings import ABSENT, unidentified

PROBLEMS: Mapping[LinkProblem, str] = {
    LinkProblem.MISSING: "port_missing",
    LinkProblem.PERMISSION: "no_permission",
    LinkProblem.BUSY: "port_busy",
    LinkProblem.UNREACHABLE: "unreachable",
    LinkProblem.BAD_ADDRESS: "bad_address",
    LinkProblem.CREDENTIALS: "credentials",
    LinkProblem.LOST: "adapter_lost",
    LinkProblem.FAILED: "cannot_open",
}
# What these mean once the port had been open: it was there, and now it is not.
GONE = frozenset({LinkProblem.MISSING, LinkProblem.UNREACHABLE, LinkProblem.FAILED})

_OUTCOMES: Mapping[Outcome, str] = {
    Outcome.NOTHING: "nothing_heard",
    Outcome.ECHO: "only_echo",
    Outcome.NOISE: "noise",
    Outcome.OTHER_PROTOCOL: "other_protocol",
    Outcome.UNREADABLE: "unreadable",
    Outcome.OTHER_MASTER: "other_master",
    Outcome.LINK_PORT: "link_port",
}

# Settings of the RS485 port without a public description (modbus-rtu.md section 8), and what to choose in their place,
# the most telling first.
_UNREADABLE = ("luxpower", "schneider", "inhenergy")
_READABLE = ("growatt", "pylon", "voltronic")


class Words:
    """The texts of our own selectors, in the language of the home."""

    def __init__(self, texts: Mapping[str, str] | None = None) -> None:
        """`texts` by their whole key; what has none is shown by its key."""
        self._texts = texts or {}

    @classmethod
    async def async_load(cls, hass: HomeAssistant) -> Self:
        """Fetch them."""
        return cls(await async_get_translations(hass, hass.config.language, "selector", [DOMAIN]))

    def find(self, selector: str, option: str) -> str | None:
        """One text, None where there is none."""
        return self._texts.get(f"component.{DOMAIN}.selector.{selector}.options.{option}")

    def text(self, selector: str, option: str, **placeholders: object) -> str:
        """One text, filled in."""
        return (self.find(selector, option) or option).format(**placeholders)

    def protocol(self, name: str | None) -> str:
        """What a protocol is called; a dot cannot be part of a key."""
        return ABSENT if name is None else self.find("protocol", name.replace(".", "-")) or name


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why the form is shown again: a key of the translations, and what its text needs."""

    error: str
    placeholders: Mapping[str, str] = field(default_factory=dict)
    advice: str = ""  # what helps, where it is more than a sentence
    capture: str | None = None  # what was heard
    final: bool = False  # nothing that can be entered in the form would help: the dialog ends


def failure(
    report: ScanReport, words: Words, *, family: Family | None, listened: bool, speed: int | None = None
) -> Failure:
    """In words, how a scan ended that found nothing to be set up.

    `listened`: it was not to ask. `speed`: the only one that was tried, in baud; at a wrong one every wiring looks bad.
    """
    error = _OUTCOMES[report.outcome]
    advice = ""
    if speed is not None and report.outcome in {Outcome.NOTHING, Outcome.NOISE}:
        error = "nothing_at_speed"
    elif report.outcome is Outcome.NOTHING and listened:
        error = "nothing_overheard"
    elif report.outcome in {Outcome.NOTHING, Outcome.ECHO}:
        advice = _settings(words, family)
    elif report.outcome is Outcome.OTHER_PROTOCOL:
        error = "other_protocol_unknown" if report.dialect is None else error
        advice = words.find("stranger", report.dialect or "") or words.text("advice", "other_setting")
    elif report.outcome is Outcome.OTHER_MASTER and report.protocol is None:
        advice = words.text("advice", "other_master_unknown")
    return Failure(
        error=error,
        placeholders={
            "dialect": words.protocol(report.dialect),
            "protocol": words.protocol(report.protocol or report.dialect),
            "baudrate": str(speed or report.baudrate or ABSENT),
        },
        advice=advice,
        capture=report.capture,
    )


def _settings(words: Words, family: Family | None) -> str:
    """Which settings of the battery cannot be read, and which to choose instead, with the codes of its menu."""
    if family is None:
        unreadable, readable = [name.title() for name in _UNREADABLE], "Growatt"
    else:
        choices = {choice.key: choice for choice in _choices(family)}
        if not choices:
            return words.text("advice", "no_serial")
        unreadable = [_shown(choices[key]) for key in _UNREADABLE if key in choices]
        readable = next((_shown(choices[key]) for key in _READABLE if key in choices), "")
    if not unreadable or not readable:
        return ""
    return words.text("advice", "unreadable_setting", unreadable=", ".join(unreadable), readable=readable)


def _choices(family: Family) -> Iterator[Choice]:
    for port in family.ports:
        if port.medium is Medium.RS485 and not port.link:
            yield from port.protocols


def _shown(choice: Choice) -> str:
    return " ".join(filter(None, (choice.code, choice.key.title())))


def notes(report: ScanReport, data: Mapping[str, Any], words: Words) -> str:
    """What the table of packs does not say by itself."""
    unread, unfit = unidentified(report, data)
    reason = "serial_unheard" if report.outcome is Outcome.OTHER_MASTER else "serial_unread"
    if report.protocol is not None and not _tells_serial(report, PROTOCOLS[report.protocol]):
        reason = "serial_untold"
    modules = report.bank.modules if report.bank is not None else None
    found = {reason: unread, "serial_unfit": unfit, "modules": modules}
    texts = [words.text("note", note, packs=packs) for note, packs in found.items() if packs]
    if report.protocol is not None and not PROTOCOLS[report.protocol].tells_serials:
        texts.append(words.text("note", "serial_never"))
    if report.experimental:
        texts.append(words.text("note", "experimental"))
    return "\n\n".join(texts)


def _tells_serial(report: ScanReport, protocol: BatteryProtocol) -> bool:
    """Whether any pack that told no serial number can; with some protocols that are asked only the first can."""
    if not isinstance(protocol, PolledProtocol):
        return protocol.tells_serials
    unread = [pack.address for pack in report.packs if pack.identity.serial is None]
    return any(poll.private for address in unread for poll in protocol.polls_of(Scope.PACK, address))
