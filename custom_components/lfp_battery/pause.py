"""Leaving the one connection that a pack takes over Bluetooth to somebody else for a while, usually the phone app."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from .bms.clients.base import Pausable
from .bms.clock import Clock, Handle

# Nobody remembers to end it, so it ends by itself after so many seconds.
LONGEST: Final = 1800.0


class Pause:
    """Whether a client leaves its link alone; not remembered over a restart."""

    def __init__(self, client: Pausable, clock: Clock, changed: Callable[[], None]) -> None:
        """`changed` is called whenever it began or ended."""
        self._client = client
        self._clock = clock
        self._changed = changed
        self._end: Handle | None = None
        self.until: datetime | None = None  # when it ends by itself; None: it is not active
        self.stopped = False  # nothing is to be begun any more: the client goes

    @property
    def active(self) -> bool:
        """Whether the link is left alone now."""
        return self._end is not None

    def begin(self) -> None:
        """Let go of the link; asked once more, the time begins anew. Not to be called once it is stopped."""
        was = self._forget()
        self._end = self._clock.call_later(LONGEST, self.end)
        self.until = self._clock.utc() + timedelta(seconds=LONGEST)
        if not was:
            self._client.set_paused(True)
        self._changed()

    def end(self) -> None:
        """Take the link up again."""
        if self._forget():
            self._client.set_paused(False)
            self._changed()

    def stop(self) -> None:
        """Leave everything as it is: the client is about to go."""
        self.stopped = True
        self._forget()

    def _forget(self) -> bool:
        was, self._end = self._end, None
        self.until = None
        if was is not None:
            was.cancel()
        return was is not None
