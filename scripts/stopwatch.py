"""What the event loop spends on a bank: the time of its thread while it is in our code, and of core for the same changes."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
import gc
from statistics import quantiles
import time
from typing import Any, Final

from homeassistant.const import EVENT_STATE_CHANGED, EVENT_STATE_REPORTED
from homeassistant.core import Event, HomeAssistant, State, callback

from custom_components.lfp_battery.link import LfpLink

_MS: Final = 1e6  # ns


@dataclass(slots=True)
class Stopwatch:
    """Thread time in ns, by what was done."""

    packs: list[int] = field(default_factory=list)  # one pack's answer to its last entity
    rounds: list[int] = field(default_factory=list)  # what is renewed once a round: the bank, repairs
    simulator: list[int] = field(default_factory=list)  # the packs on the other side, on the same thread

    @contextmanager
    def running(self, speaker: object) -> Iterator[None]:
        """Take the time of every answer that the link is told of, and of every one that the simulator makes."""
        watched: tuple[tuple[Any, str, list[int]], ...] = (
            (LfpLink, "pack_polled", self.packs),
            (LfpLink, "cycle_finished", self.rounds),
            (type(speaker), "feed", self.simulator),
        )
        kept = [getattr(owner, name) for owner, name, _ in watched]
        for (owner, name, times), method in zip(watched, kept, strict=True):
            setattr(owner, name, _timed(method, times))
        try:
            yield
        finally:
            for (owner, name, _), method in zip(watched, kept, strict=True):
                setattr(owner, name, method)

    @property
    def taken(self) -> int:
        """All that was spent in our code, ns."""
        return sum(self.packs) + sum(self.rounds)

    @property
    def per_pack(self) -> float:
        """Ms an update of a pack, its share of the round's end included."""
        return self.taken / len(self.packs) / _MS

    def quantile(self, percent: int) -> float:
        """Ms that so many of a hundred answers do not exceed."""
        return quantiles(self.packs, n=100)[percent - 1] / _MS


def _timed(method: Callable[..., Any], times: list[int]) -> Callable[..., Any]:
    @wraps(method)
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.thread_time_ns()
        try:
            return method(*args, **kwargs)
        finally:
            times.append(time.thread_time_ns() - began)

    return timed


@dataclass(slots=True)
class Writes:
    """What was written to the state machine, changed or not; in order where it is `kept`."""

    kept: bool = True
    changed: int = 0
    same: int = 0
    states: list[State] = field(default_factory=list)
    first: dict[str, State] = field(default_factory=dict)  # as it was before

    @property
    def total(self) -> int:
        """All writes."""
        return self.changed + self.same

    @contextmanager
    def noted(self, hass: HomeAssistant, entity_ids: Collection[str]) -> Iterator[None]:
        """Take down what is written of these entities."""

        @callback
        def ours(data: Any) -> bool:
            return data["entity_id"] in entity_ids

        @callback
        def note(event: Event[Any]) -> None:
            if event.event_type == EVENT_STATE_CHANGED:
                self.changed += 1
            else:
                self.same += 1
            state: State | None = event.data["new_state"]
            if self.kept and state is not None:
                self.first.setdefault(state.entity_id, event.data.get("old_state") or state)
                self.states.append(state)

        ends = [
            hass.bus.async_listen(kind, note, event_filter=ours) for kind in (EVENT_STATE_CHANGED, EVENT_STATE_REPORTED)
        ]
        try:
            yield
        finally:
            for end in ends:
                end()

    @callback
    def again(self, hass: HomeAssistant) -> int:
        """Write the same once more by bare calls to the state machine; ns of this thread."""
        for state in self.first.values():
            hass.states.async_set(state.entity_id, state.state, dict(state.attributes))
        # copied as an integration would have to make them
        calls = [(state.entity_id, state.state, dict(state.attributes)) for state in self.states]
        async_set = hass.states.async_set
        gc.collect()
        gc.disable()  # one collection of the whole home among a few thousand calls was measured to be nine tenths of it
        began = time.thread_time_ns()
        for call in calls:
            async_set(*call)
        taken = time.thread_time_ns() - began
        gc.enable()
        return taken
