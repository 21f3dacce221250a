"""What the API needs of the running roost; `app` implements it, API tests bring a small fake.

All methods are called on the event loop. Dictionaries are JSON-ready and only ever gain fields.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from roost.core.view import Goal


class Console(Protocol):
    """The running roost as the API sees it."""

    def status(self) -> dict[str, Any]:
        """version, pid, uptime_s, instance, address, state (starting, serving, stopping), config_hash,
        models: [as `model`], memory."""
        ...

    def health(self) -> tuple[bool, list[str]]:
        """(healthy, reasons why degraded)."""
        ...

    def ready(self) -> bool:
        """The listener and the first plan stand."""
        ...

    def models(self) -> list[dict[str, Any]]:
        """Every model: name, aliases, engine, task, state, since, level, in_flight, queue_depth, pinned,
        idle_s, replica ids, pid, port, last_error, reason (of its present state), blocked (sentence or null),
        listed, description, metadata, context_length, modalities, tools."""
        ...

    def model(self, name: str) -> dict[str, Any] | None:
        """One model by name or alias, with `history` (last changes) and `steps` (last step records)."""
        ...

    async def order(
        self, name: str, goal: Goal, *, by: str, level: int | None, wait_s: float, force: bool
    ) -> dict[str, Any]:
        """Wish a state for a model and wait for it. Returns success, changed, state, message, and `status`
        (200; 202 not there yet; 409 cannot be obeyed now; 503 engine refused) for the HTTP answer."""
        ...

    def pin(self, name: str, pinned: bool, *, by: str) -> dict[str, Any]: ...

    def plan(self) -> dict[str, Any]:
        """What the planner would do now: actions with reasons, blocked, next_check_in_s."""
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

    def events(self) -> AsyncIterator[Mapping[str, Any]]:
        """Changes, plans and orders as they happen; ends when the reader is too slow or roost stops.

        `type` is each one's kind (the SSE event name), `model` its model: a key limited to some models hears only
        events that have one of them. `admin/events.py`'s `Hub.subscribe` is such an iterator; one with an `aclose`
        is closed when its client leaves."""
        ...

    def metrics(self) -> bytes:
        """Prometheus text."""
        ...
