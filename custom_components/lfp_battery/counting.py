"""How the readings of a unit are counted: what is believed of them, and what they come to. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
import math
from typing import Any

from .bms.energy import Added, EnergyAccount, Reading
from .bms.model import BankState, BatteryState
from .bms.upkeep import Upkeep
from .settings import Settings

# Energy is not guessed over a longer hole in the readings than this many seconds: six cycles of the automatic interval.
_LONGEST_GAP = 60.0
# ... nor over more than three rounds where these take longer (an inverter's that is listened to), up to this many.
_LONGEST_GAP_EVER = 300.0
# Of a battery of which no manual is known, nor how many packs it speaks for; currents as plausibility takes for usual.
_MOST_CURRENT = 300.0  # A, of a pack
_MOST_PACKS = 16
_MOST_CELLS = 16
_MOST_CELL_VOLTAGE = 3.65
# A manual's greatest current is what the battery stands; its sensor may show a little more.
_OVER_RATING = 1.25


def begin(settings: Settings) -> tuple[EnergyAccount, Upkeep]:
    """What counts for a unit of which nothing was read yet."""
    account = EnergyAccount(longest_gap=longest_gap(settings, 0.0), most_power=most_power(settings, None, 1))
    return account, Upkeep(settings.recharge)


def longest_gap(settings: Settings, cycle: float) -> float:
    """Seconds without a reading over which energy is counted as if it had gone on evenly, where a round takes `cycle`."""
    return max(_LONGEST_GAP, 3 * (settings.interval or 0), min(3 * cycle, _LONGEST_GAP_EVER))


def most_power(settings: Settings, cells: int | None, packs: int) -> float:
    """W, more than which so many packs neither take in nor give."""
    limits = settings.limits
    current = limits.current * _OVER_RATING if limits and limits.current else _MOST_CURRENT
    in_series = (limits.cells if limits else None) or cells or _MOST_CELLS
    return current * in_series * _MOST_CELL_VOLTAGE * packs


def most_packs(settings: Settings) -> int:
    """How many packs a bank may have that does not say."""
    return settings.most_packs or _MOST_PACKS


def without[StateT: BatteryState](state: StateT, names: Collection[str]) -> StateT:
    """The state as if these fields had not been reported."""
    nothing: dict[str, Any] = dict.fromkeys(names)
    return replace(state, **nothing)


def inverted[StateT: BatteryState](state: StateT) -> StateT:
    """The state as it would be with the current sensor the other way round."""
    return replace(
        state,
        current=None if state.current is None else 0.0 - state.current,  # a minus alone makes nought negative
        power=None if state.power is None else 0.0 - state.power,
        energy_charged=state.energy_discharged,
        energy_discharged=state.energy_charged,
    )


def still_counted(energy: Mapping[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """An account as it was kept, without the counters of a battery that reports none of these fields any more.

    With another set of frames it may have none; then its power counts, and the totals go on from where they are.
    """
    kept = dict(energy)
    for direction in ("charged", "discharged"):
        if f"energy_{direction}" not in fields and isinstance(kept.get(direction), dict):
            kept[direction] = {**kept[direction], "counter": None}
    return kept


def reading(when: float, state: BatteryState) -> Reading:
    """What a state received at `when` (monotonic seconds) says of energy."""
    return Reading(
        when=when,
        power=state.power,  # also None: a stretch that nobody knows is not bridged
        voltage=state.voltage,
        remaining_capacity=state.remaining_capacity,
        full_capacity=state.full_capacity,
        modules=state.modules if isinstance(state, BankState) else None,
        charged=state.energy_charged,
        discharged=state.energy_discharged,
    )


def all_in(accounts: Iterable[EnergyAccount]) -> Added:
    """The totals of several accounts."""
    known = list(accounts)
    return Added(
        charged=math.fsum(account.charged or 0.0 for account in known),
        discharged=math.fsum(account.discharged or 0.0 for account in known),
        estimated_charged=math.fsum(account.estimated_charged for account in known),
        estimated_discharged=math.fsum(account.estimated_discharged for account in known),
        unobserved=math.fsum(account.unobserved for account in known),
    )
