"""What came for one model: totals, the last request, rates over windows, and a day's history in buckets.

Pure: moments come as arguments, in monotonic seconds. Bounded: seconds of the last hour, minutes of the last day;
those without traffic take no room. `telemetry/recorder.py` and `traffic_monitor.py` add, status pages read.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import takewhile
from math import ceil

FINE_S = 3600
"""So far back single seconds are known; before that, minutes."""
HORIZON_S = 86400
"""Windows and histories reach back this far; older traffic is only in the totals."""
MINUTE_S = 60
MAX_BUCKETS = 1440


class Ended(IntEnum):
    """How a request ended, as statistics count it."""

    OK = 0
    FAILED = 1
    CANCELLED = 2
    """The client left first: neither the engine's success nor its failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Means over a window, each per second."""

    requests: float
    failures: float
    tokens_in: float
    tokens_out: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What ended within one stretch of time. Times are means over the successful ones, None where there is none."""

    began_at: float
    """Monotonic seconds."""
    width_s: float
    requests: int
    successful: int
    failed: int
    cancelled: int
    tokens_in: int
    tokens_out: int
    response_s: float | None
    ttft_s: float | None

    @property
    def per_s(self) -> float:
        """Requests per second."""
        return self.requests / self.width_s


class _Sums:
    """Counts of one second, one minute, one bucket, or of all time."""

    __slots__ = ("at", "cancelled", "failed", "ok", "response_s", "timed", "tokens_in", "tokens_out", "ttft_s")

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.ok = self.failed = self.cancelled = self.timed = self.tokens_in = self.tokens_out = 0
        self.response_s = self.ttft_s = 0.0

    @property
    def requests(self) -> int:
        return self.ok + self.failed + self.cancelled

    def include(self, other: "_Sums") -> None:
        self.ok += other.ok
        self.failed += other.failed
        self.cancelled += other.cancelled
        self.timed += other.timed
        self.tokens_in += other.tokens_in
        self.tokens_out += other.tokens_out
        self.response_s += other.response_s
        self.ttft_s += other.ttft_s

    def bucket(self, width_s: int) -> Bucket:
        return Bucket(
            began_at=float(self.at),
            width_s=float(width_s),
            requests=self.requests,
            successful=self.ok,
            failed=self.failed,
            cancelled=self.cancelled,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            response_s=self.response_s / self.ok if self.ok else None,
            ttft_s=self.ttft_s / self.timed if self.timed else None,
        )


class Traffic:
    """One model's traffic."""

    def __init__(self) -> None:
        self.last_request_at: float | None = None
        """When the last one ended; None if none ever did."""
        self._total = _Sums()
        self._seconds: deque[_Sums] = deque(maxlen=FINE_S)
        self._minutes: deque[_Sums] = deque(maxlen=HORIZON_S // MINUTE_S)

    def copy(self) -> "Traffic":
        """As it is now. Cheap: seconds and minutes that are over never change again and are shared."""
        made = Traffic()
        made.last_request_at = self.last_request_at
        made._total.include(self._total)
        made._seconds.extend(self._seconds)
        made._minutes.extend(self._minutes)
        for parts in (made._seconds, made._minutes):
            if parts:
                running = _Sums(parts[-1].at)
                running.include(parts[-1])
                parts[-1] = running
        return made

    def add(
        self, now: float, how: Ended, took_s: float, ttft_s: float | None = None, tokens: tuple[int, int] = (0, 0)
    ) -> None:
        """One request that ended now; `took_s` from its head to its last byte, tokens (prompt, completion)."""
        self.last_request_at = now
        second = self._second(int(now))
        if how is Ended.OK:
            second.ok += 1
            second.response_s += took_s
            if ttft_s is not None:
                second.timed += 1
                second.ttft_s += ttft_s
        elif how is Ended.FAILED:
            second.failed += 1
        else:
            second.cancelled += 1
        second.tokens_in += tokens[0]
        second.tokens_out += tokens[1]

    def total(self) -> Bucket:
        """Everything since the start; its width and rate mean nothing."""
        sums = _Sums()
        sums.include(self._total)
        if self._seconds:
            sums.include(self._seconds[-1])
        return sums.bucket(1)

    def rates(self, now: float, window_s: float) -> Rates:
        """Means over the last `window_s`. Of the second (beyond an hour: minute) that its start falls into, the part
        inside counts; a window under a second is taken as one second. ValueError outside (0, 86400]."""
        window = max(check_window(window_s), 1.0)
        start = now - window
        requests = failures = tokens_in = tokens_out = 0.0
        for part, width in self._since(start, fine=window <= FINE_S):
            inside = min(1.0, (part.at + width - start) / width)
            requests += inside * part.requests
            failures += inside * part.failed
            tokens_in += inside * part.tokens_in
            tokens_out += inside * part.tokens_out
        return Rates(
            requests=requests / window,
            failures=failures / window,
            tokens_in=tokens_in / window,
            tokens_out=tokens_out / window,
        )

    def history(self, now: float, span_s: int, bucket_s: int) -> list[Bucket]:
        """The last `span_s` in buckets, oldest first, empty ones included. Bucket borders are multiples of
        `bucket_s`, so the last one is still filling. ValueError says which bound was passed."""
        check_history(span_s, bucket_s)
        last = int(now) // bucket_s
        count = ceil(span_s / bucket_s)
        made = {index: _Sums(index * bucket_s) for index in range(last - count + 1, last + 1)}
        for part, _ in self._since(min(made) * bucket_s, fine=span_s <= FINE_S):
            if (found := made.get(part.at // bucket_s)) is not None:
                found.include(part)
        return [sums.bucket(bucket_s) for sums in made.values()]

    def _since(self, start: float, *, fine: bool) -> Iterator[tuple[_Sums, int]]:
        """Parts that reach past `start`, newest first, each with its width in seconds; coarse ones with the running
        second, which is in no minute yet."""
        seconds = self._seconds if fine else (self._seconds[-1],) if self._seconds else ()
        for second in takewhile(lambda one: one.at + 1 > start, reversed(seconds)):
            yield second, 1
        if not fine:
            for minute in takewhile(lambda one: one.at + MINUTE_S > start, reversed(self._minutes)):
                yield minute, MINUTE_S

    def _second(self, at: int) -> _Sums:
        seconds = self._seconds
        if seconds:
            if seconds[-1].at >= at:
                return seconds[-1]  # a request that ended a moment earlier may be told a moment later
            self._close(seconds[-1])
            while seconds and seconds[0].at <= at - FINE_S:
                seconds.popleft()
        seconds.append(_Sums(at))
        return seconds[-1]

    def _close(self, second: _Sums) -> None:
        """A second is over: into its minute and the total, once a second instead of once a request."""
        self._total.include(second)
        at = second.at - second.at % MINUTE_S
        minutes = self._minutes
        if not minutes or minutes[-1].at != at:
            while minutes and minutes[0].at <= at - HORIZON_S:
                minutes.popleft()
            minutes.append(_Sums(at))
        minutes[-1].include(second)


def check_window(window_s: float) -> float:
    """The window if it can be answered. ValueError says the bounds."""
    if not 0 < window_s <= HORIZON_S:
        raise ValueError(
            f"A window of {window_s:g} s cannot be answered: choose more than 0 and at most {HORIZON_S} s."
        )
    return window_s


def check_history(span_s: int, bucket_s: int) -> None:
    """ValueError with the bound that was passed."""
    if not 1 <= span_s <= HORIZON_S:
        raise ValueError(f"A span of {span_s} s cannot be answered: choose 1 to {HORIZON_S} s.")
    if bucket_s < 1 or (span_s > FINE_S and bucket_s % MINUTE_S):
        least = "whole minutes (60, 120, ...)" if span_s > FINE_S else "whole seconds"
        raise ValueError(f"Buckets of {bucket_s} s do not fit a span of {span_s} s: choose {least}.")
    if ceil(span_s / bucket_s) > MAX_BUCKETS:
        raise ValueError(
            f"{span_s} s in buckets of {bucket_s} s are more than {MAX_BUCKETS} buckets: choose larger ones."
        )
