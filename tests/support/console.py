"""A console without a roost behind it: two models, orders that are remembered, a real hub of events."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from roost.admin.events import Hub
from roost.core.view import Goal


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "aliases": [], "state": "ready", "listed": True, "last_error": None} | more


@dataclass
class FakeConsole:
    entries: list[dict[str, Any]] = field(
        default_factory=lambda: [
            entry("a", aliases=["gpt"], context_length=4096),
            entry("team/b", state="asleep"),
            entry("team/b/logs", state="cold", listed=False),
        ]
    )
    orders: list[tuple[str, Goal, dict[str, Any]]] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    is_ready: bool = True
    cancelled: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=lambda: [f"line {n}" for n in range(200)])
    hub: Hub = field(default_factory=Hub)
    lines: Hub = field(default_factory=Hub)
    fails: bool = False

    def status(self) -> dict[str, Any]:
        if self.fails:
            raise RuntimeError("broken on purpose")
        return {"version": "1", "state": "serving", "models": self.models(), "memory": {"a": 1}}

    def health(self) -> tuple[bool, list[str]]:
        return not self.reasons, self.reasons

    def ready(self) -> bool:
        return self.is_ready

    def models(self) -> list[dict[str, Any]]:
        return [dict(one) for one in self.entries]

    def model(self, name: str) -> dict[str, Any] | None:
        for one in self.entries:
            if one["name"] == name or name in one["aliases"]:
                return one | {"history": [], "steps": []}
        return None

    async def order(
        self, name: str, goal: Goal, *, by: str, level: int | None, wait_s: float, force: bool
    ) -> dict[str, Any]:
        self.orders.append((name, goal, {"by": by, "level": level, "wait_s": wait_s, "force": force}))
        done = {"success": True, "changed": True, "state": "ready", "message": "Done.", "status": 200}
        return done | self.results.get(name, {})

    def pin(self, name: str, pinned: bool, *, by: str) -> dict[str, Any]:
        return {"success": True, "changed": True, "name": name, "pinned": pinned, "message": by}

    def plan(self) -> dict[str, Any]:
        return {"actions": [], "blocked": {}, "next_check_in_s": None}

    def requests(self) -> list[dict[str, Any]]:
        return [{"id": "r1", "model": "a"}, {"id": "r2", "model": "team/b"}, {"id": "own/id", "model": None}]

    def recent(self) -> list[dict[str, Any]]:
        return [{"id": "r0", "model": "a"}]

    def cancel(self, request_id: str) -> bool:
        known = request_id in {one["id"] for one in self.requests()}
        if known:
            self.cancelled.append(request_id)
        return known

    def log_tail(self, name: str, lines: int) -> list[str] | None:
        return self.logs[-lines:]

    async def log_follow(self, name: str) -> AsyncIterator[str]:
        async for one in self.lines.subscribe():
            yield one["line"]

    def events(self) -> AsyncIterator[Mapping[str, Any]]:
        return self.hub.subscribe()

    def metrics(self) -> bytes:
        return b"# HELP roost_build_info x\n"
