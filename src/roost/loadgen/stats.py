"""Means and percentiles of many measurements in bounded memory.

Pure, seeded. Called by `report`.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor

SAMPLES_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Figures of one quantity, in its own unit."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the ascending values lie, linear between neighbours
    (Hyndman and Fan's definition 7, numpy's default). ValueError on no values."""
    if not ordered:
        raise ValueError("no values have no percentile")
    place = share * (len(ordered) - 1)
    low, high = ordered[floor(place)], ordered[ceil(place)]
    return low + (high - low) * (place - floor(place))


class Reservoir:
    """Count, mean and maximum exactly; percentiles from an even sample of at most `size` values (Vitter's R)."""

    def __init__(self, size: int = SAMPLES_MAX, seed: int = 0) -> None:
        self._size = size
        self._random = random.Random(seed)
        self._kept: list[float] = []
        self.count = 0
        self.total = 0.0
        self.max = 0.0

    def add(self, value: float) -> None:
        self.max = value if self.count == 0 else max(self.max, value)
        self.count += 1
        self.total += value
        if len(self._kept) < self._size:
            self._kept.append(value)
        elif (place := self._random.randrange(self.count)) < self._size:
            self._kept[place] = value

    def extend(self, values: Iterable[float]) -> None:
        for value in values:
            self.add(value)

    def summary(self) -> Summary | None:
        """The figures so far; None where nothing was measured."""
        if not self.count:
            return None
        ordered = sorted(self._kept)
        p50, p90, p99 = (percentile(ordered, share) for share in (0.5, 0.9, 0.99))
        return Summary(count=self.count, mean=self.total / self.count, p50=p50, p90=p90, p99=p99, max=self.max)
