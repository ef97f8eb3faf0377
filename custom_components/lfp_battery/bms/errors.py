"""What can go wrong below Home Assistant, one exception a layer.

A transport raises `LinkError` and nothing else, a protocol `FrameError` or `RefusedError`. Silence is not an error:
what was not received is None.
"""

from enum import StrEnum


class BmsError(Exception):
    """Root of everything that this package raises on purpose."""


class LinkProblem(StrEnum):
    """Why a link cannot be used; each has its own message for the owner."""

    MISSING = "missing"
    PERMISSION = "permission"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    BAD_ADDRESS = "bad_address"
    CREDENTIALS = "credentials"
    DOWN = "down"  # a CAN interface that somebody has to bring up
    DRIVER = "driver"  # a library that an adapter needs is not installed
    FOREIGN = "foreign"  # a Bluetooth device without any of the services that can be read
    NO_SLOT = "no_slot"  # whatever could reach it over Bluetooth has no connection to spare
    PAUSED = "paused"  # left free because somebody asked for it
    LOST = "lost"
    FAILED = "failed"


class LinkError(BmsError):
    """The port, bus or connection cannot be opened, or went away."""

    def __init__(self, problem: LinkProblem, detail: str = "") -> None:
        """Keep the kind of problem; `detail` is for logs only and never holds a credential."""
        super().__init__(f"{problem}: {detail}" if detail else problem.value)
        self.problem = problem
        self.detail = detail


class FrameError(BmsError):
    """Bytes that are not a valid message of the protocol they were read as."""

    def __init__(self, reason: str, *, dialect: str | None = None) -> None:
        """`dialect` names a foreign protocol when the bytes are recognised as one of its messages."""
        super().__init__(reason)
        self.dialect = dialect


class Refusal(StrEnum):
    """What a battery means by refusing."""

    UNSUPPORTED = "unsupported"
    DAMAGED = "damaged"
    AWAY = "away"
    OTHER = "other"


class RefusedError(BmsError):
    """The battery answered with an error code."""

    def __init__(self, reason: str, *, code: int, refusal: Refusal) -> None:
        """`code` as on the wire; `refusal` tells whether to retry, to wait or never to ask again."""
        super().__init__(reason)
        self.code = code
        self.refusal = refusal


class HeatingProblem(StrEnum):
    """Why the heating was not switched; each has its own message for the owner."""

    UNKNOWN = "unknown"  # the pack does not say how the setting stands
    STALE = "stale"  # ... or has not said so lately
    PROTECTION = "protection"  # a protection other than against cold is active
    TOO_SOON = "too_soon"
    TOO_OFTEN = "too_often"
    UNANSWERED = "unanswered"  # sent, not acknowledged, and read back unchanged
    UNSEEN = "unseen"  # sent, acknowledged or not, and not read back since: nobody knows what came of it
    REFUSED = "refused"
    CONTRADICTED = "contradicted"  # something else changed, or the setting did the wrong way


class HeatingError(BmsError):
    """The heating was not switched; the setting is what is read, not what was wished."""

    def __init__(self, problem: HeatingProblem, detail: str = "") -> None:
        """Keep the kind of problem; `detail` is for logs only."""
        super().__init__(f"{problem}: {detail}" if detail else problem.value)
        self.problem = problem
        self.detail = detail

    @property
    def withdraws(self) -> bool:
        """Whether the frame is not what it was taken for on this pack, so that it must not be sent again."""
        return self.problem in {HeatingProblem.REFUSED, HeatingProblem.CONTRADICTED}
