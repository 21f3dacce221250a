"""What the API needs of the running roost; `app` implements it, API tests bring a small fake.

All methods are called on the event loop. Dictionaries are JSON-ready and only ever gain fields.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from roost.core.server_spec import ServerSpec
from roost.core.view import Goal


class Console(Protocol):
    """The running roost as the API sees it."""

    @property
    def server(self) -> ServerSpec:
        """How the port is configured."""
        ...

    def status(self) -> dict[str, Any]:
        """version, pid, uptime_s, instance, address, state (starting, serving, stopping), config_hash,
        models: [as `model`], memory (as it holds now), schedules (open: [when, timezone, since, until, pin, sleep,
        max_resident, devices], next_change)."""
        ...

    def health(self) -> tuple[bool, list[str]]:
        """(healthy, reasons why degraded)."""
        ...

    def ready(self) -> bool:
        """The listener and the first plan stand."""
        ...

    def models(self) -> list[dict[str, Any]]:
        """Every model: name, aliases, engine, task, state, since, level, in_flight, queue_depth, pinned,
        idle_s, replica ids, pid, port, last_error, notices (what is wrong with how its engine was started), reason (of
        its present state), queue (depth, by_class, oldest_wait_s, expected), turn (null, or for_model and ends_in_s:
        another model waits for its room), blocked (sentence or null), listed, display_name, description, metadata,
        context_length, modalities, tools; command (without keys; null where nothing of ours was started), drain_goal,
        idle_limit_s (idle time until it is put to sleep, or stopped where that comes first or it cannot sleep; null:
        never);
        endpoint (`http://host:port` of the replica that stands for it) and endpoints: [{replica, endpoint, state,
        level, answers, in_flight, failures (requests that it failed), avoided_s (others get its requests for so long,
        because it kept failing; 0 while it is tried again; null: not avoided)}]; leaving (it is being removed)."""
        ...

    def model(self, name: str) -> dict[str, Any] | None:
        """One model by name or alias, with `history` (last changes), `sequences` (last sleeps, wakes and loads, each
        with its steps, its slowest one, error and freed bytes) and `steps` (the steps of all of them)."""
        ...

    @property
    def idle_threshold_s(self) -> float:
        """`policy.idle_threshold`: what statistics call idle."""
        ...

    def traffic(self, window_s: float, name: str | None = None) -> list[dict[str, Any]]:
        """Every model, or the one named: name, total_requests, successful_requests, failed_requests,
        cancelled_requests, success_rate, request_rate (per second over `window_s`), avg_response_time, avg_ttft,
        last_activity_time (Unix seconds; null before the first request), idle_time_seconds (0 while requests run or
        wait; before the first request since roost started or the model became ready), in_flight, queue_depth, state.
        """
        ...

    def traffic_history(self, name: str, span_s: int, bucket_s: int) -> list[dict[str, Any]]:
        """What ended in each stretch of the last `span_s`, oldest first; the last one still fills: start (ISO),
        start_unix, seconds, requests, successful, failed, cancelled, requests_per_s, avg_response_time, avg_ttft,
        tokens_in, tokens_out. ValueError with the bound that was passed."""
        ...

    def sleep_status(self) -> dict[str, Any]:
        """auto_sleep, idle_threshold_s, and models: name, state, asleep, asleep_since (Unix seconds), asleep_s, level,
        manual (an operator's order), reason, wake_on_request, sleep_after_s, pinned, idle_s (null where it could not
        be put to sleep now), candidate (idle for longer than it may be)."""
        ...

    async def order(
        self, name: str, goal: Goal, *, by: str, level: int | None, wait_s: float, force: bool
    ) -> dict[str, Any]:
        """Wish a state for a model and wait for it. Returns success, changed, state, message, and `status`
        (200; 202 not there yet; 409 cannot be obeyed now; 503 engine refused) for the HTTP answer."""
        ...

    def pin(self, name: str, pinned: bool, *, by: str) -> dict[str, Any]: ...

    def budgets(self) -> list[dict[str, Any]]:
        """What roost may hold on each device now: name, budget_bytes, size_bytes, others_bytes, held_back_bytes,
        held_until, reason (of a hold), holders: [{replica, bytes, measured}]."""
        ...

    def holds(self) -> list[dict[str, Any]]:
        """device, amount_bytes (null: all of it), since, until (null: until it is released), reason, by."""
        ...

    def hold(
        self, device: str, *, amount: int | None, for_s: float | None, reason: str, by: str
    ) -> dict[str, Any] | None:
        """Give a device, or `amount` bytes of it, back to its owner. Returns success (false: it has less than that),
        changed, message and hold; None for a device without a budget."""
        ...

    def release(self, device: str, *, by: str) -> dict[str, Any] | None:
        """Take it back. `changed` is false if it was not held; None for a device without a budget."""
        ...

    def plan(self) -> dict[str, Any]:
        """What the planner would do now: actions with reasons, blocked, notes, next_check_in_s, schedules."""
        ...

    async def journal(self, since_s: float, limit: int) -> list[dict[str, Any]]:
        """The last plans that are not older than `since_s` and ordered, blocked or denied something, newest first, also
        those of earlier runs: id, at (ISO), at_unix, actions with reasons, blocked, denied, notes."""
        ...

    def requests(self) -> list[dict[str, Any]]:
        """In flight: id, model, phase, age_s, client, key name, stream, replica, bytes_out, events."""
        ...

    def recent(self) -> list[dict[str, Any]]:
        """The last settled ones, newest first, bounded."""
        ...

    def cancel(self, request_id: str) -> bool: ...

    def log_tail(self, name: str, lines: int) -> list[str] | None:
        """The engine's last log lines; None for an unknown model."""
        ...

    def log_follow(self, name: str) -> AsyncIterator[str]: ...

    def own_log_tail(self) -> list[str]:
        """What is kept of roost's own log, oldest first."""
        ...

    def own_log_follow(self) -> AsyncIterator[str]:
        """Its lines as they are written, from now on."""
        ...

    def events(self) -> AsyncIterator[Mapping[str, Any]]:
        """Changes, steps, plans and orders as they happen; ends when the reader is too slow or roost stops.

        `type` is each one's kind (the SSE event name), `model` its model: a key limited to some models hears only
        events that have one of them. `admin/events.py`'s `Hub.subscribe` is such an iterator; one with an `aclose`
        is closed when its client leaves."""
        ...

    def metrics(self) -> bytes:
        """Prometheus text."""
        ...
