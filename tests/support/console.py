"""A console without a roost behind it: two models, orders that are remembered, a real hub of events."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from roost.admin.events import Hub
from roost.core.server_spec import ServerSpec
from roost.core.view import Goal
from roost.telemetry.traffic import Traffic


def entry(name: str, **more: Any) -> dict[str, Any]:
    serving = {"replica": f"{name}/0", "endpoint": "http://127.0.0.1:9", "state": "ready", "level": None}
    return {
        "name": name,
        "aliases": [],
        "state": "ready",
        "listed": True,
        "last_error": None,
        "notices": [],
        "engine": "simulated",
        "level": None,
        "in_flight": 0,
        "queue_depth": 0,
        "endpoint": serving["endpoint"],
        "endpoints": [{**serving, "answers": True}],
        **more,
    }


def statistics(name: str, **more: Any) -> dict[str, Any]:
    """Of a model that nobody has asked yet, ten seconds after the start."""
    return {
        "name": name,
        "total_requests": 0,
        "successful_requests": 0,
        "failed_requests": 0,
        "cancelled_requests": 0,
        "success_rate": None,
        "request_rate": 0.0,
        "avg_response_time": 0.0,
        "avg_ttft": None,
        "last_activity_time": None,
        "idle_time_seconds": 10.0,
        "in_flight": 0,
        "queue_depth": 0,
        "state": "ready",
        **more,
    }


def rest(name: str, **more: Any) -> dict[str, Any]:
    """What `sleep_status` says of a model that is awake and busy enough."""
    return {
        "name": name,
        "state": "ready",
        "asleep": False,
        "asleep_since": None,
        "asleep_s": None,
        "level": None,
        "manual": False,
        "reason": None,
        "wake_on_request": True,
        "sleep_after_s": 300.0,
        "pinned": False,
        "candidate": False,
        "idle_s": None,
        **more,
    }


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
    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: list[str] = field(default_factory=lambda: [f"line {n}" for n in range(200)])
    hub: Hub = field(default_factory=Hub)
    lines: Hub = field(default_factory=Hub)
    own_logs: list[str] = field(default_factory=lambda: ["roost 0", "roost 1"])
    own_lines: Hub = field(default_factory=Hub)
    fails: bool = False
    server: ServerSpec = field(default_factory=ServerSpec)
    idle_threshold_s: float = 300.0
    traffics: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Model -> what its statistics say otherwise."""
    rests: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Model -> what its sleep status says otherwise."""
    windows: list[float] = field(default_factory=list)

    def status(self) -> dict[str, Any]:
        if self.fails:
            raise RuntimeError("broken on purpose")
        return {"version": "1", "uptime_s": 1.5, "state": "serving", "config_hash": "c0ffee"} | {
            "models": self.models(),
            "memory": {"devices": {"gpu0": 1}, "max_resident": None, "resident": 1},
        }

    def health(self) -> tuple[bool, list[str]]:
        return not self.reasons, self.reasons

    def ready(self) -> bool:
        return self.is_ready

    def models(self) -> list[dict[str, Any]]:
        return [dict(one) for one in self.entries]

    def model(self, name: str) -> dict[str, Any] | None:
        for one in self.entries:
            if one["name"] == name or name in one["aliases"]:
                return one | {"history": [], "steps": [], "sequences": []}
        return None

    def traffic(self, window_s: float, name: str | None = None) -> list[dict[str, Any]]:
        self.windows.append(window_s)
        names = [one["name"] for one in self.entries if name in (None, one["name"])]
        return [statistics(one, **self.traffics.get(one, {})) for one in names]

    def traffic_history(self, name: str, span_s: int, bucket_s: int) -> list[dict[str, Any]]:
        return [{"requests": len(name), "seconds": bucket.width_s} for bucket in Traffic().history(0, span_s, bucket_s)]

    def sleep_status(self) -> dict[str, Any]:
        models = [rest(one["name"], **self.rests.get(one["name"], {})) for one in self.entries]
        return {"auto_sleep": True, "idle_threshold_s": self.idle_threshold_s, "models": models}

    async def order(
        self, name: str, goal: Goal, *, by: str, level: int | None, wait_s: float, force: bool
    ) -> dict[str, Any]:
        self.orders.append((name, goal, {"by": by, "level": level, "wait_s": wait_s, "force": force}))
        done = {"success": True, "changed": True, "state": "ready", "message": "Done.", "status": 200}
        return done | self.results.get(name, {})

    def pin(self, name: str, pinned: bool, *, by: str) -> dict[str, Any]:
        return {"success": True, "changed": True, "name": name, "pinned": pinned, "message": by}

    def budgets(self) -> list[dict[str, Any]]:
        return [{"name": "gpu0", "budget_bytes": 1 << 30}]

    def holds(self) -> list[dict[str, Any]]:
        return list(self.held.values())

    def hold(
        self, device: str, *, amount: int | None, for_s: float | None, reason: str, by: str
    ) -> dict[str, Any] | None:
        if device != "gpu0":
            return None
        hold = {"device": device, "amount_bytes": amount, "until": None if for_s is None else f"in {for_s:g} s"}
        self.held[device] = hold | {"reason": reason, "by": by}
        return {"success": True, "changed": True, "message": f"{device} is held.", "hold": self.held[device]}

    def release(self, device: str, *, by: str) -> dict[str, Any] | None:
        if device != "gpu0":
            return None
        return {"success": True, "changed": self.held.pop(device, None) is not None, "message": by, "hold": None}

    def plan(self) -> dict[str, Any]:
        return {"actions": [], "blocked": {}, "notes": [], "next_check_in_s": None}

    async def journal(self, since_s: float, limit: int) -> list[dict[str, Any]]:
        return [{"id": number, "at_unix": 1000.0 - since_s, "actions": []} for number in range(limit, 0, -1)][:3]

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
        async with contextlib.aclosing(self.lines.subscribe()) as reader:
            async for one in reader:
                yield one["line"]

    def own_log_tail(self) -> list[str]:
        return list(self.own_logs)

    async def own_log_follow(self) -> AsyncIterator[str]:
        async with contextlib.aclosing(self.own_lines.subscribe()) as reader:
            async for one in reader:
                yield one["line"]

    def events(self) -> AsyncIterator[Mapping[str, Any]]:
        return self.hub.subscribe()

    def metrics(self) -> bytes:
        return b"# HELP roost_build_info x\n"
