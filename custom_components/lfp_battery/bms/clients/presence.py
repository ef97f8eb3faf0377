"""Where a pack may have appeared that is not known yet, and when there is time to ask."""

from collections.abc import Collection

from ..protocols.base import PolledProtocol, Scope

# One address where a new pack may have appeared is asked this often, in seconds.
_LOOK_FOR_NEW = 60.0


class Newcomers:
    """Chooses the address that is asked next although nobody was there so far."""

    def __init__(self, protocol: PolledProtocol, now: float) -> None:
        """Nobody was asked yet; the first one is in a while."""
        self._groups = protocol.address_groups
        self._patience = protocol.timing.first_byte
        self._packs = any(poll.scope is Scope.PACK for poll in protocol.polls)
        # an answer that speaks for every pack names those that are new
        self._named = any(poll.shared and poll.essential for poll in protocol.polls)
        self._turn = 0
        self._looked = now

    def next(self, known: Collection[int], now: float, until: float) -> int | None:
        """The address to ask now; None: nobody, or no time. `until`: when the line is needed again."""
        if not self._packs or (self._named and known) or now - self._looked < _LOOK_FOR_NEW:
            return None
        near = self._near(known)
        far = self._far(known, near)
        if not near and not far:
            return None
        # a bank that fills its interval is asked all the same, only later
        if until - now < self._patience and now - self._looked < 5 * _LOOK_FOR_NEW:
            return None
        self._looked = now
        self._turn += 1
        # a new pack is most likely the next one; but it may also lie behind one that sleeps
        candidates = near if near and (self._turn % 2 or not far) else far
        return candidates[self._turn // 2 % len(candidates)]

    def _near(self, known: Collection[int]) -> list[int]:
        """Gaps, and the one after the last of each group."""
        found: list[int] = []
        for group in self._groups:
            places = [index for index, address in enumerate(group) if address in known]
            if places:
                found += [address for address in group[: places[-1] + 2] if address not in known]
        # everything was forgotten: a bank begins with a master
        return found or [group[0] for group in self._groups if group[0] not in known]

    def _far(self, known: Collection[int], near: Collection[int]) -> list[int]:
        """Everything else in the groups that are there, or in all when everything was forgotten."""
        return [
            address
            for group in self._groups
            if not known or any(address in known for address in group)
            for address in group
            if address not in known and address not in near
        ]
