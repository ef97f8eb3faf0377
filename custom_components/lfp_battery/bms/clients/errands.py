"""What a client is asked to do out of turn: done one after the other, between two questions of its round."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from ..errors import BmsError, LinkError


class _Errand(NamedTuple):
    """One thing to do, and who waits for it."""

    work: Callable[[], Awaitable[Any]]
    key: object  # whoever asks for the same shares what comes of it
    done: asyncio.Future[Any]


class Errands:
    """Takes errands from anywhere and runs them in the task that owns the line."""

    def __init__(self, check: Callable[[], None], nudge: Callable[[], None]) -> None:
        """`check` raises LinkError while nothing can be done; `nudge` wakes the task that calls `run`."""
        self._check = check
        self._nudge = nudge
        self._queue: deque[_Errand] = deque()
        self.closed = asyncio.Event()  # nobody runs them, and nobody will

    @property
    def waiting(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._queue)

    def put[T](self, work: Callable[[], Awaitable[T]], key: object = None) -> asyncio.Future[T]:
        """Have this done next; of those with the same `key` only the first is. A cancelled one is not begun.

        The future fails with what the work raises, LinkError when the line goes away meanwhile.

        Raises:
            LinkError: the line is down.
        """
        self._check()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Errand(work, key, done))
        self._nudge()
        return done

    async def run(self) -> None:
        """Do everything that waits.

        Raises:
            LinkError: the line went away; whoever waits is told by `fail`, like when this is cancelled.
        """
        while self._queue:
            errand = self._queue[0]
            if errand.done.done():
                self._queue.popleft()
                continue
            try:
                result, error = await errand.work(), None
            except LinkError:
                raise
            except BmsError as err:
                result, error = None, err
            # whoever asked for the same in the meantime has it now
            same = [one for one in self._queue if one is errand or (errand.key is not None and one.key == errand.key)]
            self._queue = deque(one for one in self._queue if one not in same)
            for one in same:
                if one.done.done():
                    continue
                if error is None:
                    one.done.set_result(result)
                else:
                    _break(one.done, error)

    def fail(self, err: LinkError) -> None:
        """Nothing that waits can be done."""
        while self._queue:
            done = self._queue.popleft().done
            if not done.done():
                _break(done, LinkError(err.problem, err.detail))


def _break(done: asyncio.Future[Any], err: BmsError) -> None:
    done.set_exception(err)
    done.exception()  # marks it as seen: whoever asked may have given up
