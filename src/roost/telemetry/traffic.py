"""What came for one model: totals, the last request, and rates over windows of up to an hour.

Pure: moments come as arguments, in monotonic seconds. `telemetry/recorder.py` adds, status pages read.
"""

from collections import deque
from dataclasses import dataclass
from itertools import takewhile

HORIZON_S = 3600
"""Rates reach back this far; older seconds are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Means over a window, each per second."""

    requests: float
    failures: float
    tokens_in: float
    tokens_out: float


class _Second:
    __slots__ = ("at", "failures", "requests", "tokens_in", "tokens_out")

    def __init__(self, at: int) -> None:
        self.at = at
        self.requests = self.failures = self.tokens_in = self.tokens_out = 0


class Traffic:
    """One model's ring of seconds. Seconds without traffic take no room; at most `HORIZON_S` are kept."""

    def __init__(self) -> None:
        self.last_request_at: float | None = None
        """When the last one settled; None if none ever did."""
        self._seconds: deque[_Second] = deque(maxlen=HORIZON_S)

    def add(self, now: float, ok: bool, tokens_in: int = 0, tokens_out: int = 0) -> None:
        """One settled request."""
        self.last_request_at = now
        second = self._second(int(now))
        second.requests += 1
        if not ok:
            second.failures += 1
        second.tokens_in += tokens_in
        second.tokens_out += tokens_out

    def rates(self, now: float, window_s: int) -> Rates:
        """Means over the last `window_s` whole seconds and the one that runs. ValueError outside 1..3600."""
        if not 1 <= window_s <= HORIZON_S:
            raise ValueError(f"A window of {window_s} s cannot be answered: choose 1 to {HORIZON_S} s.")
        oldest = int(now) - window_s
        recent = list(takewhile(lambda second: second.at > oldest, reversed(self._seconds)))
        return Rates(
            requests=sum(second.requests for second in recent) / window_s,
            failures=sum(second.failures for second in recent) / window_s,
            tokens_in=sum(second.tokens_in for second in recent) / window_s,
            tokens_out=sum(second.tokens_out for second in recent) / window_s,
        )

    def _second(self, at: int) -> _Second:
        if self._seconds and self._seconds[-1].at >= at:
            return self._seconds[-1]  # a request that ended a moment earlier may be told a moment later
        while self._seconds and self._seconds[0].at <= at - HORIZON_S:
            self._seconds.popleft()
        self._seconds.append(_Second(at))
        return self._seconds[-1]
