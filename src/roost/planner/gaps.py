"""How long a model was left alone between two requests: a histogram that forgets.

Pure. One `Gaps` per model and one over all models, which speaks for those that have few gaps of their own. Bins grow by
the quarter octave from one second on, so a minute and a day are told apart equally well; what was seen long ago counts
less. Made and asked by `demand` alone.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import log

BURST_S = 1.0
"""Requests closer than this are one: a page that asks three times says nothing about when it comes back."""
_PER_OCTAVE = 4
_EDGES: tuple[float, ...] = (0.0, *(2.0 ** (step / _PER_OCTAVE) for step in range(20 * _PER_OCTAVE + 1)))
BINS = len(_EDGES)
"""The last one is open: everything beyond 12 days."""
_LIFE_S = 3 * 86400.0
"""After so long a gap counts half."""
_KEEP = 0.99
"""And so much of it is left after each newer one: what 70 gaps ago was normal counts half."""
_UNIT_MAX = 1e12
_BIN = log(2.0) / _PER_OCTAVE
"""The logarithm of how much longer the gaps at a bin's end are than those at its beginning."""
_PRIOR = 2.0
"""The gaps of all models together count as so many of the model's own."""


class Gaps:
    """Weights of gaps by length. New ones grow in weight instead of old ones shrinking, which costs one addition."""

    __slots__ = ("_above", "counts", "unit")

    def __init__(self) -> None:
        self.counts = [0.0] * BINS
        self.unit = 1.0
        """What one gap seen now weighs."""
        self._above: list[float] | None = None
        """Per bin the weight of all longer gaps, in gaps seen now; None: to be counted anew."""

    def add(self, gap_s: float) -> None:
        """One more, seen now."""
        self.unit *= 2.0 ** min(gap_s / _LIFE_S, 60.0) / _KEEP
        self.counts[_bin(gap_s)] += self.unit
        self._above = None
        if self.unit > _UNIT_MAX:
            self.counts = [count / self.unit for count in self.counts]
            self.unit = 1.0

    def longer(self, age_s: float) -> float:
        """Gaps longer than this, in gaps seen now; within a bin they are taken to lie evenly on a log scale."""
        above = self._above or self._count()
        place = bisect_right(_EDGES, age_s) - 1
        high, low = above[place], above[place + 1]
        return low if high == low else low + (high - low) * _part(place, age_s)

    def _count(self) -> list[float]:
        downwards = accumulate((count / self.unit for count in reversed(self.counts)), initial=0.0)
        self._above = list(downwards)[::-1]
        return self._above

    def values(self) -> list[float]:
        """To keep: the weights in gaps seen now."""
        return [round(count / self.unit, 4) for count in self.counts]

    def restore(self, values: Sequence[object]) -> None:
        """As kept; whatever is no weight counts as none."""
        weights = [float(v) if isinstance(v, int | float) and 0 <= v < 1e9 else 0.0 for v in values[:BINS]]
        self.counts = weights + [0.0] * (BINS - len(weights))
        self.unit, self._above = 1.0, None

    def merge(self, other: "Gaps") -> None:
        """Another's gaps on top, each weighing what it weighs there."""
        factor = self.unit / other.unit
        self.counts = [mine + theirs * factor for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self._above = None

    def copy(self) -> "Gaps":
        """As it is now."""
        copied = Gaps()
        copied.counts, copied.unit = list(self.counts), self.unit
        return copied


def chance(own: Gaps, pool: Gaps, age_s: float, within_s: float) -> float:
    """How likely the next request comes within that time, given that none has for `age_s`: 0 to 1.

    The model's own gaps that lasted at least so long decide; all models' gaps count as two of them, so that a model
    that is new, or has been silent for longer than ever, is judged as models are at that age. To those a single gap is
    added that is as likely at one scale as at the next."""
    return chances(own, pool, age_s, (within_s,))[0]


def chances(own: Gaps, pool: Gaps, age_s: float, spans_s: Iterable[float]) -> list[float]:
    """The same for each of several times, with one look at those gaps that lasted so long."""
    left, others = own.longer(age_s), pool.longer(age_s)
    found = []
    for within_s in spans_s:
        end_s = age_s + within_s
        blind = within_s / end_s if end_s > 0 else 0.0
        general = (others - pool.longer(end_s) + blind) / (others + 1.0)
        found.append((left - own.longer(end_s) + _PRIOR * general) / (left + _PRIOR))
    return found


def _bin(gap_s: float) -> int:
    return max(0, bisect_right(_EDGES, gap_s) - 1)


def _part(place: int, age_s: float) -> float:
    """The part of a bin that lies above a moment within it."""
    if place == BINS - 1:
        return min(1.0, _EDGES[-1] / age_s)
    low, high = _EDGES[place], _EDGES[place + 1]
    if low == 0.0:
        return 1.0 - age_s / high
    return log(high / age_s) / _BIN
