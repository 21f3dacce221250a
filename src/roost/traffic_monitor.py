"""What came for each model, told by whoever forwards the requests: the library's monitor, usable without a server.

Counts with the parts the server counts with (`telemetry/traffic.py`). Safe from any thread; durations come from the
monotonic clock alone, Unix time is only shown. Bounded: names that nobody watches, starts that never end and the
lengths of names. Never calls anybody while it holds its lock. Used by `sleep_manager` and by other programs.
"""

import asyncio
import contextlib
import math
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from roost import clock
from roost.tasks import spawn
from roost.telemetry.traffic import Bucket, Ended, Traffic

MAX_MODELS = 1000
"""Models that nobody watches; above it the one longest without a start or an end is forgotten."""
MAX_OPEN = 100_000
"""Requests started and not ended; above it the oldest is given up."""
MAX_NAME = 200
"""Characters of a model's name that count, as in a configuration."""
LOST_AFTER_S = 3600.0
"""A request that has not ended by then is given up."""
SWEEP_S = 60.0
STAMPS = 1000


@dataclass
class RequestStats:
    """One request, from `record_request_start` on. `timestamp` is when it started, in Unix seconds; `response_time`
    is in seconds and None until it has ended."""

    timestamp: float
    model_name: str
    endpoint_path: str
    response_time: float | None = None
    success: bool = True
    error_message: str | None = None

    def __post_init__(self) -> None:
        self._began_at: float = clock.now()
        self._ended = False


@dataclass
class ModelActivityStats:
    """What came for one model. What a monitor gives out is a copy that stays as it is."""

    total_requests: int = 0
    """Those that have ended."""
    successful_requests: int = 0
    failed_requests: int = 0
    last_activity_time: float = 0.0
    """Unix seconds of the last start or end; 0 if there was none."""
    avg_response_time: float = 0.0
    """Seconds, over the successful ones."""
    request_timestamps: deque[float] = field(default_factory=lambda: deque(maxlen=STAMPS))
    """When the last 1000 that ended had started, in Unix seconds. Rates are counted elsewhere and have no such cap."""
    in_flight: int = 0
    """Started and not ended."""
    lost_requests: int = 0
    """Started, and given up because no end came."""

    def __post_init__(self) -> None:
        self._traffic = Traffic()
        self._known_since: float | None = None
        self._active_at: float | None = None

    def add_request(self, request: RequestStats) -> None:
        """Count a request that has just ended."""
        now = clock.now()
        took_s = now - request._began_at if request.response_time is None else request.response_time
        self._traffic.add(now, Ended.OK if request.success else Ended.FAILED, took_s)
        self.total_requests += 1
        if request.success:
            self.successful_requests += 1
            self.avg_response_time += (took_s - self.avg_response_time) / self.successful_requests
        else:
            self.failed_requests += 1
        self.request_timestamps.append(request.timestamp)
        self._active(now)

    def get_request_rate(self, window_seconds: float = 60) -> float:
        """Requests per second that ended in the window. ValueError outside (0, 86400] seconds."""
        return self._traffic.rates(clock.now(), window_seconds).requests

    def get_idle_time(self) -> float:
        """Seconds since the last start or end, 0 while requests run. Without any: since the monitor knows the model;
        infinite where no monitor does."""
        since = self._known_since if self._active_at is None else self._active_at
        if self.in_flight:
            return 0.0
        return math.inf if since is None else max(0.0, clock.now() - since)

    def is_idle(self, threshold: float = 300) -> bool:
        """Whether it has been idle for longer than the threshold."""
        return self.get_idle_time() > threshold

    def _active(self, now: float) -> None:
        self._active_at = now
        self.last_activity_time = clock.wall()

    def _copy(self) -> "ModelActivityStats":
        made = replace(self, request_timestamps=self.request_timestamps.copy())
        made._traffic = self._traffic.copy()
        made._known_since, made._active_at = self._known_since, self._active_at
        return made

    def _summary(self, window_s: float, threshold: float) -> dict[str, Any]:
        """The fields of the server's statistics, and `last_request_time`."""
        last = self.last_activity_time if self._active_at is not None else None
        return {
            "total_requests": self.total_requests,
            "successful_requests": self.successful_requests,
            "failed_requests": self.failed_requests,
            "success_rate": self.successful_requests / self.total_requests if self.total_requests else None,
            "request_rate": self.get_request_rate(window_s),
            "avg_response_time": self.avg_response_time,
            "last_activity_time": clock.wall() if self.in_flight else last,
            "last_request_time": None if last is None else datetime.fromtimestamp(last, UTC),
            "idle_time_seconds": self.get_idle_time(),
            "is_idle": self.is_idle(threshold),
            "in_flight": self.in_flight,
        }


class TrafficMonitor:
    """Counts requests per model. Every method may be called from any thread; none needs `start`."""

    def __init__(self, idle_threshold_seconds: float = 300, *, lost_after_seconds: float = LOST_AFTER_S) -> None:
        self.idle_threshold_seconds = _threshold(idle_threshold_seconds)
        self._lost_after_s = lost_after_seconds
        self._lock = threading.Lock()
        self._watched: dict[str, ModelActivityStats] = {}
        self._watchers: Counter[str] = Counter()
        self._seen: OrderedDict[str, ModelActivityStats] = OrderedDict()
        self._open: OrderedDict[int, tuple[RequestStats, ModelActivityStats]] = OrderedDict()
        self._hearers: tuple[Callable[[str], None], ...] = ()
        self._sweeper: asyncio.Task[None] | None = None

    # life

    async def start(self) -> None:
        """Sweep once a minute from now on, also while nothing is recorded. A second start changes nothing."""
        if self._sweeper is None or self._sweeper.done() or self._sweeper.get_loop().is_closed():
            self._sweeper = spawn(self._sweep_on(), "sweep traffic")

    async def stop(self) -> None:
        """Sweep no more. What was counted stays."""
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed, and the task gone with it
                sweeper.get_loop().call_soon_threadsafe(sweeper.cancel)

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    def sweep(self) -> None:
        """Give up requests that never ended."""
        with self._lock:
            lost = self._give_up(clock.now())
        self._tell(lost)

    def watch(self, model_name: str) -> None:
        """Show this model also before its first request, and never forget it."""
        with self._lock:
            name = _clipped(model_name)
            self._watchers[name] += 1
            if name not in self._watched:
                self._watched[name] = self._seen.pop(name) if name in self._seen else _fresh()

    def unwatch(self, model_name: str) -> None:
        """Undo one `watch`. What was counted stays as long as there is room."""
        with self._lock:
            name = _clipped(model_name)
            self._watchers[name] -= 1
            if self._watchers[name] <= 0:
                del self._watchers[name]
                if (stats := self._watched.pop(name, None)) is not None:
                    self._remember(name, stats)

    def subscribe(self, hear: Callable[[str], None]) -> None:
        """`hear` gets a model's name after each start and end of its requests, on the thread that told of it. Must be
        quick and never raise."""
        with self._lock:
            self._hearers = (*self._hearers, hear)

    def unsubscribe(self, hear: Callable[[str], None]) -> None:
        """Undo `subscribe`."""
        with self._lock:
            self._hearers = tuple(each for each in self._hearers if each != hear)

    # recording

    def record_request_start(self, model_name: str, endpoint_path: str) -> RequestStats:
        """A request begins; give what this returns to `record_request_end`."""
        request = RequestStats(clock.wall(), model_name, endpoint_path)
        with self._lock:
            stats = self._stats(model_name)
            stats.in_flight += 1
            stats._active(request._began_at)
            self._open[id(request)] = request, stats
            lost = self._give_up(request._began_at)
        self._tell({model_name, *lost})
        return request

    def record_request_end(
        self,
        request_stats: RequestStats,
        success: bool = True,
        response_time: float | None = None,
        error_message: str | None = None,
    ) -> None:
        """It is over. Seconds from start to end are measured where `response_time` is missing or no time at all. A
        second call for the same request changes nothing."""
        request, now = request_stats, clock.now()
        with self._lock:
            if request._ended:
                return
            request._ended = True
            _, opened = self._open.pop(id(request), (None, None))
            if opened is not None:
                opened.in_flight -= 1
            told = response_time is not None and math.isfinite(response_time) and response_time >= 0
            request.response_time = response_time if told else now - request._began_at
            request.success, request.error_message = success, error_message
            self._stats(request.model_name).add_request(request)
            lost = self._give_up(now)
        self._tell({request.model_name, *lost})

    # reading

    def in_flight(self, model_name: str) -> int:
        """Requests of the model that have started and not ended."""
        with self._lock:
            stats = self._find(_clipped(model_name))
            return 0 if stats is None else stats.in_flight

    def get_model_stats(self, model_name: str) -> ModelActivityStats | None:
        """A copy of what is known of the model; None if nothing is."""
        with self._lock:
            stats = self._find(_clipped(model_name))
            return None if stats is None else stats._copy()

    def get_all_model_stats(self) -> dict[str, ModelActivityStats]:
        """A copy for each model, all of one moment."""
        with self._lock:
            return {name: stats._copy() for name, stats in self._all()}

    def get_idle_models(self, idle_threshold_seconds: float | None = None) -> list[str]:
        """Models without a running request and idle for longer than the threshold (the monitor's own if None)."""
        limit = self._limit(idle_threshold_seconds)
        with self._lock:
            return [name for name, stats in self._all() if stats.is_idle(limit)]

    def get_active_models(self, idle_threshold_seconds: float | None = None) -> list[str]:
        """All others."""
        limit = self._limit(idle_threshold_seconds)
        with self._lock:
            return [name for name, stats in self._all() if not stats.is_idle(limit)]

    def get_traffic_summary(self, window_seconds: float = 60) -> dict[str, dict[str, Any]]:
        """Each model's statistics in the server's fields; `request_rate` is over the window, in requests per second.
        `last_request_time` is an aware datetime, None before the first request. ValueError outside (0, 86400]."""
        with self._lock:
            return {name: stats._summary(window_seconds, self.idle_threshold_seconds) for name, stats in self._all()}

    def history(self, model_name: str, span_s: int = 3600, bucket_s: int = 60) -> list[dict[str, Any]]:
        """What ended in each stretch of the last `span_s` seconds, oldest first; empty for an unknown model. By
        seconds for an hour, by minutes for a day; ValueError names the bound that was passed."""
        now = clock.now()
        with self._lock:
            stats = self._find(_clipped(model_name))
            buckets = [] if stats is None else stats._traffic.history(now, int(span_s), int(bucket_s))
        return [_bucket(bucket) for bucket in buckets]

    # keeping

    def _limit(self, threshold: float | None) -> float:
        return self.idle_threshold_seconds if threshold is None else _threshold(threshold)

    def _all(self) -> Iterator[tuple[str, ModelActivityStats]]:
        yield from self._watched.items()
        yield from self._seen.items()

    def _find(self, name: str) -> ModelActivityStats | None:
        return self._watched.get(name) or self._seen.get(name)

    def _stats(self, model_name: str) -> ModelActivityStats:
        """The model's, made at its first request."""
        name = _clipped(model_name)
        stats = self._watched.get(name)
        if stats is not None:
            return stats
        if name in self._seen:
            self._seen.move_to_end(name)
            return self._seen[name]
        return self._remember(name, _fresh())

    def _remember(self, name: str, stats: ModelActivityStats) -> ModelActivityStats:
        self._seen[name] = stats
        if len(self._seen) > MAX_MODELS:
            self._seen.popitem(last=False)
        return stats

    def _give_up(self, now: float) -> set[str]:
        """Let go of what is too old or too much; gives the names of the models. They began in this order."""
        lost: set[str] = set()
        while self._open:
            request, stats = next(iter(self._open.values()))
            if len(self._open) <= MAX_OPEN and now - request._began_at <= self._lost_after_s:
                break
            self._open.popitem(last=False)
            stats.in_flight -= 1
            stats.lost_requests += 1
            lost.add(request.model_name)
        return lost

    def _tell(self, models: set[str]) -> None:
        for hear in self._hearers:
            for model in models:
                hear(model)


def _fresh() -> ModelActivityStats:
    stats = ModelActivityStats()
    stats._known_since = clock.now()
    return stats


def _clipped(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[:MAX_NAME]


def _threshold(seconds: float) -> float:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"An idle threshold of {seconds} s makes no sense: choose 0 or more seconds.")
    return seconds


def _bucket(bucket: Bucket) -> dict[str, Any]:
    start = round(clock.to_wall(bucket.began_at), 3)
    return {
        "start": clock.iso(start),
        "start_unix": start,
        "seconds": bucket.width_s,
        "requests": bucket.requests,
        "successful": bucket.successful,
        "failed": bucket.failed,
        "requests_per_s": bucket.per_s,
        "avg_response_time": bucket.response_s,
    }
