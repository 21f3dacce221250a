"""Whose request is next in a model's queue: the highest class first; in a class each key by its weight; a key's own
requests as they came.

Fair shares are start-time fair queueing: a key's next request starts where its last one ended, 1/weight later, and
the earliest start goes first. Who leaves is charged nothing. Knows neither clock nor replicas; owned by `lane`.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from roost.core.policy_spec import Priority

CLASSES = tuple(Priority)
"""The first one goes first."""


class Item(Protocol):
    """What waits."""

    @property
    def priority(self) -> Priority: ...
    @property
    def share(self) -> str:
        """Whose share it is on: the key's name; all requests without a key are one share."""
        ...

    @property
    def weight(self) -> float: ...


I = TypeVar("I", bound=Item)  # noqa: E741


class _Share(Generic[I]):
    """The requests of one key in one class."""

    __slots__ = ("in_heap", "items", "number", "start", "weight")

    def __init__(self) -> None:
        self.items: OrderedDict[I, None] = OrderedDict()
        self.weight = 1.0
        self.start = 0.0
        """Virtual time from which its next request may be served."""
        self.number = 0
        """Decides between equal starts: when its next request came."""
        self.in_heap = False


class _Class(Generic[I]):
    """All who wait in one class. A share stands in the heap at most once; what is out of date there is put right
    when it comes up, so that leaving costs O(1) and the heap stays as small as the number of keys."""

    __slots__ = ("arrivals", "heap", "shares", "virtual")

    def __init__(self) -> None:
        self.arrivals: OrderedDict[I, int] = OrderedDict()
        self.shares: dict[str, _Share[I]] = {}
        self.heap: list[tuple[float, int, str]] = []
        self.virtual = 0.0

    def add(self, item: I, number: int) -> None:
        share = self.shares.get(item.share)
        if share is None:
            share = self.shares[item.share] = _Share()
        share.weight = item.weight
        if not share.items:
            share.start, share.number = max(self.virtual, share.start), number
            self._into_heap(item.share, share)
        share.items[item] = None
        self.arrivals[item] = number

    def _into_heap(self, name: str, share: _Share[I]) -> None:
        if not share.in_heap:
            heapq.heappush(self.heap, (share.start, share.number, name))
            share.in_heap = True

    def take(self) -> I:
        while True:
            start, number, name = heapq.heappop(self.heap)
            share = self.shares[name]
            share.in_heap = False
            if not share.items:
                continue
            if (start, number) != (share.start, share.number):  # it had left, and came back behind
                self._into_heap(name, share)
                continue
            item, _ = share.items.popitem(last=False)
            del self.arrivals[item]
            self.virtual = start
            share.start += 1.0 / share.weight
            if share.items:
                share.number = self.arrivals[next(iter(share.items))]
                self._into_heap(name, share)
            return item

    def drop(self, item: I) -> bool:
        if self.arrivals.pop(item, None) is None:
            return False
        del self.shares[item.share].items[item]
        return True

    def in_turn(self) -> Iterator[I]:
        """As `take` would give them."""
        waiting = [(share.start, share.number, name) for name, share in self.shares.items() if share.items]
        heapq.heapify(waiting)
        left = {name: iter(self.shares[name].items) for _, _, name in waiting}
        upcoming = {name: next(items) for name, items in left.items()}
        while waiting:
            start, _, name = waiting[0]
            yield upcoming[name]
            after = next(left[name], None)
            if after is None:
                heapq.heappop(waiting)
                continue
            upcoming[name] = after
            heapq.heapreplace(waiting, (start + 1.0 / self.shares[name].weight, self.arrivals[after], name))

    def ahead_of(self, item: I) -> int:
        """How many would be served before it, were it added now."""
        own = self.shares.get(item.share)
        count, start = (0, self.virtual) if own is None else (len(own.items), own.start)
        start = (start if count else max(self.virtual, start)) + count / item.weight
        for name, share in self.shares.items():
            if share.items and name != item.share and start >= share.start:
                count += min(len(share.items), int((start - share.start) * share.weight + 1e-9) + 1)
        return count


class Queue(Generic[I]):
    """One model's queue. `take` costs O(log keys), `add` and `drop` no more; an empty queue costs nothing."""

    __slots__ = ("_classes", "_number", "_places", "_size", "_taken")

    def __init__(self) -> None:
        self._classes: dict[Priority, _Class[I]] = {priority: _Class() for priority in CLASSES}
        self._size = 0
        self._number = 0
        self._taken = dict.fromkeys(CLASSES, 0)
        self._places: dict[I, int] | None = None
        """Counted when somebody asks, and good until the queue changes."""

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[I]:
        """Class by class, in each as they came. Not to be changed meanwhile."""
        for each in self._classes.values():
            yield from each.arrivals

    def add(self, item: I) -> None:
        """It waits from now on."""
        self._number += 1
        self._classes[item.priority].add(item, self._number)
        self._size += 1
        self._places = None

    def take(self) -> I:
        """Out with the next one. IndexError if nobody waits."""
        for priority, each in self._classes.items():
            if each.arrivals:
                self._size -= 1
                self._places = None
                self._taken[priority] += 1
                return each.take()
        raise IndexError("nobody waits")

    def drop(self, item: I) -> bool:
        """Out wherever it stands; False if it did not wait."""
        if not self._classes[item.priority].drop(item):
            return False
        self._size -= 1
        self._places = None
        return True

    def in_turn(self) -> Iterator[I]:
        """As `take` would give them, should nobody come or leave."""
        for each in self._classes.values():
            yield from each.in_turn()

    def place(self, item: I) -> int | None:
        """1 for the next one; None if it does not wait."""
        if self._places is None:
            self._places = {each: place for place, each in enumerate(self.in_turn(), 1)}
        return self._places.get(item)

    def ahead_of(self, item: I) -> int:
        """How many would be served before it, were it added now and nobody came after it."""
        return self.waiting_above(item.priority) + self._classes[item.priority].ahead_of(item)

    def waiting_above(self, priority: Priority) -> int:
        """How many wait in higher classes."""
        return sum(len(self._classes[higher].arrivals) for higher in CLASSES[: CLASSES.index(priority)])

    def taken_above(self, priority: Priority) -> int:
        """How many of higher classes have been taken out to be served so far."""
        return sum(self._taken[higher] for higher in CLASSES[: CLASSES.index(priority)])

    def sizes(self) -> dict[Priority, int]:
        """How many wait in each class, also where nobody does."""
        return {priority: len(each.arrivals) for priority, each in self._classes.items()}

    @property
    def highest(self) -> Priority | None:
        """The highest class that somebody waits in."""
        return next((priority for priority, each in self._classes.items() if each.arrivals), None)

    def heads(self) -> Iterator[Iterator[I]]:
        """Class by class, those who wait as they came."""
        return (iter(each.arrivals) for each in self._classes.values())
