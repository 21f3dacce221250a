"""Whether a few models fit side by side on several devices, each on as many as it takes.

Pure; a bounded search for `budgets`: it never says no where it has not tried everything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

_MAX_TRIES = 20_000


@dataclass(frozen=True, slots=True)
class Item:
    """Bytes on each of `count` of the devices `allowed`."""

    each: int
    count: int
    allowed: frozenset[str]


def can_pack(items: Sequence[Item], rooms: Mapping[str, int]) -> bool | None:
    """True or False for sure; None where too much would have to be tried."""
    if sum(item.each * item.count for item in items) > sum(rooms.values()):
        return False
    differ = any(item.allowed != frozenset(rooms) for item in items)
    return _Search(dict(rooms), differ).fits(
        sorted(items, key=lambda item: (-item.each * item.count, len(item.allowed)))
    )


class _Search:
    def __init__(self, left: dict[str, int], differ: bool) -> None:
        self._left = left
        self._differ = differ
        """Some may not use all devices, so two with as much room are not alike."""
        self._tries = 0

    def fits(self, items: Sequence[Item]) -> bool | None:
        """The largest first: what it leaves decides most."""
        if not items:
            return True
        item, seen, unsure = items[0], set[tuple[int, ...]](), False
        able = [device for device in self._left if device in item.allowed and self._left[device] >= item.each]
        for devices in combinations(able, item.count):
            self._tries += 1
            if self._tries > _MAX_TRIES:
                return None
            likeness = tuple(sorted(self._left[device] for device in devices))
            if likeness in seen and not self._differ:
                continue
            seen.add(likeness)
            found = self._with(item, devices, items[1:])
            if found:
                return True
            unsure = unsure or found is None
        return None if unsure else False

    def _with(self, item: Item, devices: Sequence[str], others: Sequence[Item]) -> bool | None:
        for device in devices:
            self._left[device] -= item.each
        found = self.fits(others)
        for device in devices:
            self._left[device] += item.each
        return found
