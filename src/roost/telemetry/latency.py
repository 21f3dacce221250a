"""Histograms with fixed buckets as plain integers: what the hot path adds to and a scrape reads.

Pure; knows no Prometheus. `telemetry/recorder.py` adds, `telemetry/metrics.py` and status pages read.
"""

from bisect import bisect_left

TTFT_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""From a cached prompt on a small model to a cold start of a large one."""
UPSTREAM_TTFT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Prefill alone: no queue, no load."""
ITL_S = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Between two pieces of an answer: a thousand a second to a stall."""
QUEUE_WAIT_S = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0)
"""Up to the longest start an engine is given by default, 20 min."""
DURATION_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""A whole request, from an embedding to a long answer."""
STEP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""One call of a sleep or wake: from a cache that is reset to weights that are read again."""
TRANSITION_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0)
"""A wake of a second to a load of twenty minutes."""


class Histogram:
    """How often a duration fell into each bucket, and their sum. Bounds are upper and inclusive, in seconds."""

    __slots__ = ("bounds", "counts", "total_s")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds

    @property
    def count(self) -> int:
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, how many were at or below it), as Prometheus wants them, ending with `+Inf`."""
        running, pairs = 0, []
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            running += count
            pairs.append(("+Inf" if bound is None else str(bound), float(running)))
        return pairs
