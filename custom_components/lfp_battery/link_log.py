"""What the log says of a link: each loss and each return once, and each fault of ours once."""

from collections.abc import Mapping
import logging
import traceback
from typing import Any

from homeassistant.config_entries import ConfigEntry

from .bms.errors import LinkError, LinkProblem
from .const import LOGGER

# What is said of a unit: whether it is present, whether nobody asks it.
_PRESENCE: Mapping[tuple[bool, bool], str] = {
    (True, False): "answers again",
    (True, True): "is heard again",
    (False, False): "stopped answering",
    (False, True): "is no longer heard",
}


def _is_left_free(error: LinkError | None) -> bool:
    return error is not None and error.problem is LinkProblem.PAUSED


class LinkLog:
    """The lines of one entry, under the title it has by now."""

    def __init__(self, entry: ConfigEntry[Any]) -> None:
        """Nothing was said yet."""
        self._entry = entry
        self.started = False  # set-up is over: from now on losses are logged
        self._faults: set[tuple[object, ...]] = set()  # of ours, as far as they were logged
        self._known_fault = False  # the link is said to be down because of one of them

    def fault(self, err: Exception) -> None:
        """Say once what went wrong; a fault that stays would fill the log, a traceback every half a minute."""
        where = traceback.extract_tb(err.__traceback__)[-1]
        fault = (type(err), where.filename, where.lineno)
        self._known_fault = fault in self._faults
        self._faults.add(fault)
        level = logging.DEBUG if self._known_fault else logging.ERROR
        LOGGER.log(level, "%s: reading stopped", self._entry.title, exc_info=err)

    def standing(self, before: LinkError | None, error: LinkError | None) -> None:
        """Say once that the link went or came, and that it is left free or taken up again."""
        was_free, is_free = _is_left_free(before), _is_left_free(error)
        known_fault, self._known_fault = self._known_fault, self._known_fault and error is not None
        if not self.started or ((error is None) == (before is None) and was_free == is_free):
            return
        if is_free:
            said = "the connection is left free"
        elif error is None:
            said = "the connection is taken up again" if was_free else "the link is back"
        else:
            said = "the link is lost" + ("" if error.problem is LinkProblem.LOST else f" ({error.problem})")
        LOGGER.log(logging.DEBUG if known_fault else logging.INFO, "%s: %s", self._entry.title, said)

    def presence(self, name: str, *, online: bool, listened_to: bool) -> None:
        """Say that a unit went or came."""
        if self.started:
            LOGGER.info("%s: %s %s", self._entry.title, name, _PRESENCE[online, listened_to])
