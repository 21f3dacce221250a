"""Traffic and sleep of each model as the console tells them: facts, JSON-ready, without thresholds or shapes.

Reads recorder, gate and replicas; changes nothing. Made and called by `console.Console` alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost import clock
from roost.control.controller import Controller
from roost.core.events import Changed
from roost.core.lifecycle import Order, State
from roost.core.spec import RoostSpec
from roost.core.view import ModelView
from roost.host.replica import Replica
from roost.telemetry.recorder import Recorder
from roost.telemetry.traffic import Bucket

USEFUL = (
    *(State.READY, State.WAKING, State.STARTING, State.DRAINING, State.SUSPENDING, State.ASLEEP, State.COLD),
    *(State.STOPPING, State.BACKOFF, State.STUCK, State.FAILED),
)
"""States of a model's replicas from the most to the least useful to a client: the first found is the model's."""
_RANK = {state: place for place, state in enumerate(USEFUL)}


def most_useful(replicas: Sequence[Replica]) -> Replica:
    """The replica that stands for its model: the ready one if there is one."""
    return min(replicas, key=lambda replica: _RANK[replica.state])


@dataclass(frozen=True, slots=True)
class TrafficFacts:
    """What came for the models, and who of them sleeps."""

    spec: RoostSpec
    replicas: Mapping[str, Sequence[Replica]]
    controller: Controller
    recorder: Recorder
    started_at: float

    def stats(self, window_s: float, only: str | None = None) -> list[dict[str, Any]]:
        """See `admin.ports.Console.traffic`."""
        now = clock.now()
        return [self._stats(name, window_s, now) for name in (self.replicas if only is None else (only,))]

    def _stats(self, name: str, window_s: float, now: float) -> dict[str, Any]:
        traffic, lane = self.recorder.model(name).traffic, self.controller.gate.lane(name)
        total = traffic.total()
        decided = total.successful + total.failed
        busy = any(seat.counting for seat in lane.seats) or any(entry.counts for entry in lane.queue)
        used_at = now if busy else traffic.last_request_at
        return {
            "name": name,
            "total_requests": total.requests,
            "successful_requests": total.successful,
            "failed_requests": total.failed,
            "cancelled_requests": total.cancelled,
            "success_rate": round(total.successful / decided, 6) if decided else None,
            "request_rate": round(traffic.rates(now, window_s).requests, 6),
            "avg_response_time": round(total.response_s or 0.0, 6),
            "avg_ttft": None if total.ttft_s is None else round(total.ttft_s, 6),
            "last_activity_time": None if used_at is None else round(clock.to_wall(used_at), 3),
            "idle_time_seconds": round(max(0.0, now - (self._watched_since(name) if used_at is None else used_at)), 3),
            "in_flight": sum(seat.own_in_flight for seat in lane.seats),
            "queue_depth": lane.depth,
            "state": str(most_useful(self.replicas[name]).state),
        }

    def _watched_since(self, name: str) -> float:
        """Start of a model's idleness that never had a request: when roost started, or the model last became ready."""
        ready_at = (_last_ready(replica.history) for replica in self.replicas[name])
        return max(self.started_at, *(moment or 0.0 for moment in ready_at))

    def history(self, name: str, span_s: int, bucket_s: int) -> list[dict[str, Any]]:
        """See `admin.ports.Console.traffic_history`."""
        now = clock.now()
        buckets = self.recorder.model(name).traffic.history(now, span_s, bucket_s)
        wall = clock.to_wall(now) - now
        return [_bucket(bucket, wall) for bucket in buckets]

    def sleep(self) -> dict[str, Any]:
        """See `admin.ports.Console.sleep_status`."""
        view, policy = self.controller.view(), self.spec.policy
        return {
            "auto_sleep": policy.auto_sleep,
            "idle_threshold_s": policy.idle_threshold,
            "models": [self._sleep(model, view.now) for model in view.models if model.name in self.replicas],
        }

    def _sleep(self, model: ModelView, now: float) -> dict[str, Any]:
        main, idle_s = most_useful(self.replicas[model.name]), could_sleep_for(model, now)
        after_s = model.spec.sleep_after or self.spec.policy.idle_threshold
        asleep = main.state is State.ASLEEP
        return {
            "name": model.name,
            "state": str(main.state),
            "asleep": asleep,
            "asleep_since": round(clock.to_wall(main.since), 3) if asleep else None,
            "asleep_s": round(now - main.since, 3) if asleep else None,
            "level": main.level if asleep else None,
            "manual": asleep and slept_by_order(main.history),
            "reason": (main.reason or None) if asleep else None,
            "wake_on_request": model.spec.wake_on_request,
            "sleep_after_s": model.spec.sleep_after,
            "pinned": model.pinned,
            "candidate": idle_s is not None and idle_s > after_s,
            "idle_s": None if idle_s is None else round(idle_s, 3),
        }


def could_sleep_for(model: ModelView, now: float) -> float | None:
    """How long the model has had no use for its memory, by the planner's own measure; None if it may not or cannot
    sleep: not ready, pinned, requests running or waiting, or an engine without a sleep order."""
    ready = [replica for replica in model.replicas if replica.state is State.READY]
    waiting = model.waiting or any(replica.in_flight for replica in model.replicas)
    if not ready or model.pinned or waiting or not all(replica.sleep_levels for replica in ready):
        return None
    idle_since = [replica.idle_since for replica in ready if replica.idle_since is not None]
    return now - max(idle_since) if len(idle_since) == len(ready) else None


def slept_by_order(history: Sequence[Changed]) -> bool:
    """Whether the last sleep was an operator's order, by the changes of one replica, oldest first."""
    for change in reversed(history):
        if change.event is Order.SLEEP:
            return change.reason_kind == "operator"
        if change.after is State.ASLEEP and change.before is not State.SUSPENDING:
            return False
    return False


def _last_ready(history: Sequence[Changed]) -> float | None:
    became = (c.at for c in reversed(history) if c.after is State.READY and c.before is not State.DRAINING)
    return next(became, None)


def _bucket(bucket: Bucket, wall: float) -> dict[str, Any]:
    """`wall`: Unix seconds at the clock's zero."""
    start = round(wall + bucket.began_at, 3)
    return {
        "start": clock.iso(start),
        "start_unix": start,
        "seconds": bucket.width_s,
        "requests": bucket.requests,
        "successful": bucket.successful,
        "failed": bucket.failed,
        "cancelled": bucket.cancelled,
        "requests_per_s": round(bucket.per_s, 6),
        "avg_response_time": None if bucket.response_s is None else round(bucket.response_s, 6),
        "avg_ttft": None if bucket.ttft_s is None else round(bucket.ttft_s, 6),
        "tokens_in": bucket.tokens_in,
        "tokens_out": bucket.tokens_out,
    }
