"""How often a model is called lately: its requests per second, on scales from a minute to days.

Pure. Each scale forgets with a time constant of its own and leans on the next longer one as far as it has seen too
little itself, so that a burst shows within seconds, and a model that is called twice a day is known by its days. One
`Pace` per model; made and asked by `demand` alone.
"""

from collections.abc import Sequence
from math import exp

_SHORTEST_S = 60.0
_STEPS = 7
"""Scales, each four times as long as the one before: the last one is 2.8 days."""
LONGEST_S = _SHORTEST_S * 4.0 ** (_STEPS - 1)
_LEAN = 2.0
"""The longer scale counts as so many requests of the shorter one."""
_DOUBT, _DOUBT_S = 0.5, 300.0
"""What nobody has been seen to do for long: half a request in five minutes more."""


class Pace:
    """Requests per scale, and the seconds they were counted in; both fade alike."""

    __slots__ = ("_at", "counts", "spans")

    def __init__(self, now: float) -> None:
        self.counts = [0.0] * _STEPS
        """From the longest scale to the shortest."""
        self.spans = [0.0] * _STEPS
        self._at = now

    def add(self, now: float) -> None:
        """One more request."""
        self._fade(now)
        self.counts = [count + 1.0 for count in self.counts]

    def per_s(self, now: float) -> float:
        """Requests per second to be expected from now on."""
        self._fade(now)
        counts, spans = self.counts, self.spans
        found = (counts[0] + _DOUBT) / (spans[0] + _DOUBT_S)
        for count, span in zip(counts[1:], spans[1:], strict=True):
            found = (count + _LEAN) / (span + _LEAN / found)
        return found

    def _fade(self, now: float) -> None:
        passed, self._at = max(0.0, now - self._at), max(now, self._at)
        if not passed:
            return
        left, scale = exp(-passed / LONGEST_S), LONGEST_S
        for step in range(_STEPS):
            self.counts[step] *= left
            self.spans[step] = scale + (self.spans[step] - scale) * left
            left, scale = left * left * left * left, scale / 4.0

    def values(self, now: float) -> list[list[float]]:
        """To keep: [requests, seconds] per scale, as they are now."""
        self._fade(now)
        return [[round(count, 4), round(span, 1)] for count, span in zip(self.counts, self.spans, strict=True)]

    def restore(self, rows: Sequence[object], away_s: float) -> None:
        """As kept so long ago, which is a time in which nobody counted; nothing of what cannot be such rows."""
        known = []
        for row in rows[:_STEPS]:
            match row:
                case [int() | float() as count, int() | float() as span] if 0 <= count < 1e9 and 0 <= span <= LONGEST_S:
                    known.append((float(count), float(span)))
        if len(known) == _STEPS:
            left = [exp(-away_s * 4.0**step / LONGEST_S) for step in range(_STEPS)]
            self.counts = [count * kept for (count, _), kept in zip(known, left, strict=True)]
            self.spans = [span * kept for (_, span), kept in zip(known, left, strict=True)]
