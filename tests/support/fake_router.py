"""A router in memory that keeps every promise a self-test looks at, and breaks one on request.

`handle` answers an `httpx.MockTransport`. `tamper` maps a path, or the beginning of one that ends with `*`, to a
change of its answer: a function of (status, body).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx

Answer = tuple[int, Any]
Tamper = Callable[[int, Any], Answer]
EVENT = 'data: {"choices": [{"text": "x"}]}\n\n'
IDLE_S = 5.0


def refused(status: int, code: str = "refused", **more: Any) -> Answer:
    return status, {"error": {"message": f"No, because {code}.", "code": code, "fault": "client"}, **more}


@dataclass
class FakeModel:
    task: str = "generate"
    state: str = "ready"
    wake_on_request: bool = True
    can_sleep: bool = True
    total: int = 0
    successful: int = 0

    def count(self, status: int) -> None:
        self.total += 1
        self.successful += status < 400


@dataclass
class FakeRouter:
    models: dict[str, FakeModel] = field(default_factory=lambda: {"org/big": FakeModel(), "e": FakeModel("embed")})
    tamper: dict[str, Tamper] = field(default_factory=dict)
    key_may: tuple[str, ...] = ("infer", "read", "admin")
    health: str = "healthy"
    recent: list[dict[str, Any]] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    engine: Callable[[str, dict[str, Any]], Answer | None] = lambda path, body: None

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self.handle), base_url="http://fake")

    def handle(self, request: httpx.Request) -> httpx.Response:
        # raw: the difference between %2F and / is what some checks are about
        path = request.url.raw_path.decode().partition("?")[0]
        status, body = self._answer(request, path)
        for where, change in self.tamper.items():
            if path == where or (where.endswith("*") and path.startswith(where[:-1])):
                status, body = change(status, body)
        if isinstance(body, str):
            kind = "text/event-stream" if body.startswith("data:") else "text/plain"
            return httpx.Response(status, text=body, headers={"content-type": kind})
        return httpx.Response(status, text=json.dumps(body), headers={"content-type": "application/json"})

    def _answer(self, request: httpx.Request, path: str) -> Answer:
        need = "infer" if path.startswith(("/v1/", "/health", "/models")) and path.count("/") < 4 else "read"
        if request.method == "POST" and not path.startswith("/v1/"):
            need = "admin"
        if path != "/health" and need not in self.key_may:
            return refused(403, "missing_scope")
        if request.method == "POST":
            return self._order(path) if need == "admin" else self._infer(path, json.loads(request.content))
        return self._look(path, dict(request.url.params), request.headers["accept"])

    # inference

    def _infer(self, path: str, body: dict[str, Any]) -> Answer:
        model = self.models.get(body["model"])
        if model is None:
            return refused(404, "model_not_found")
        status, answer = self._answered(model, path, body)
        model.count(status)
        return status, answer

    def _answered(self, model: FakeModel, path: str, body: dict[str, Any]) -> Answer:
        if model.state in ("asleep", "cold") and not model.wake_on_request:
            return refused(503, "model_asleep")
        own = self.engine(path, body)
        if own is not None:
            return own
        model.state = "ready"
        if body.get("stream"):
            return 200, EVENT * 2 + "data: [DONE]\n\n"
        if path == "/v1/embeddings":
            return 200, {"data": [{"embedding": [0.5, 1]}]}
        if path == "/v1/rerank":
            return 200, {"results": [{"index": 0}, {"index": 1}]}
        return 200, {"choices": [{"text": "x", "message": {"content": "x"}}]}

    # orders

    def _order(self, path: str) -> Answer:
        for prefix, wanted in (
            ("/action/sleep/", "asleep"),
            ("/action/wakeup/", "ready"),
            ("/model/sleep/", "asleep"),
            ("/model/wake/", "ready"),
        ):
            if path.startswith(prefix):
                return self._move(unquote(path.removeprefix(prefix)), wanted)
        if path.endswith("/unload"):
            return self._move(unquote(path.removeprefix("/api/v1/models/").removesuffix("/unload")), "cold")
        return refused(404, "no route")

    def _move(self, name: str, wanted: str) -> Answer:
        model = self.models.get(name)
        if model is None:
            return refused(404, "model_not_found")
        if wanted == "asleep" and not model.can_sleep:
            return refused(409, "cannot_obey", success=False, changed=False, message="It cannot sleep.")
        changed, model.state = model.state != wanted, wanted
        self.orders.append(f"{name} {wanted}")
        return 200, {"model_name": name, "success": True, "changed": changed, "message": "Done."}

    # looking

    def _look(self, path: str, query: dict[str, str], accept: str) -> Answer:
        for option in ("window", "threshold"):
            text = query.get(option, "1")
            if not (text.replace(".", "", 1).isdigit() and float(text) > 0):
                return refused(400, "bad_option")
        window, threshold = float(query.get("window", 60)), float(query.get("threshold", 300))
        for prefix in ("/traffic/stats", "/model/traffic/stats"):
            if path == prefix:
                return 200, {"traffic_stats": self._stats(), "window_seconds": window}
            if path.startswith(f"{prefix}/"):
                return self._of(path, prefix, lambda name: self._model_stats(name, window))
        match path:
            case "/health":
                return 200, "OK\n" if accept.startswith("text/plain") else {"status": self.health, "reasons": ["a"]}
            case "/health/all":
                return 200, {"model": "all", "health": {name: {"http://x": True} for name in self.models}}
            case "/models":
                return 200, self._listed() | {"models": {name: {"endpoint": "http://x"} for name in self.models}}
            case "/v1/models":
                return 200, self._listed()
            case "/api/v1/models":
                return 200, {"models": [{"name": name, "task": one.task} for name, one in self.models.items()]}
            case "/api/v1/requests/recent":
                return 200, {"requests": self.recent}
            case "/get_server_info":
                return 200, {"version": "1", "uptime_s": 3.5, "models": {}}
            case "/models/idle" | "/model/traffic/idle":
                return 200, self._idle(threshold)
            case "/models/active" | "/model/traffic/active":
                return 200, self._active(threshold, window)
            case "/sleep/status" | "/model/sleep/status":
                return 200, self._sleepers()
            case "/sleep/candidates" | "/model/sleep/candidates":
                return 200, self._candidates()
        for prefix, answer in (("/health", self._health), ("/v1/models", self._entry)):
            if path.startswith(prefix):
                return self._of(path, prefix, answer)
        return refused(404, "no route")

    def _of(self, path: str, prefix: str, answer: Callable[[str], Any]) -> Answer:
        name = unquote(path.removeprefix(f"{prefix}/"))
        return (200, answer(name)) if name in self.models else refused(404, "model_not_found")

    def _listed(self) -> dict[str, Any]:
        return {"object": "list", "data": [self._entry(name) for name in self.models]}

    def _entry(self, name: str) -> dict[str, Any]:
        return {"id": name, "status": {"value": self.models[name].state}}

    def _health(self, name: str) -> dict[str, Any]:
        return {"model": name, "health": {"http://x": True}}

    def _stats_of(self, name: str) -> dict[str, Any]:
        model = self.models[name]
        return {
            "total_requests": model.total,
            "successful_requests": model.successful,
            "failed_requests": model.total - model.successful,
            "request_rate": model.total / 60,
            "avg_response_time": 0.0,
            "last_activity_time": 1.0 if model.total else None,
            "idle_time_seconds": IDLE_S if model.total else 1000.0,
            "is_idle": not model.total,
        }

    def _stats(self) -> dict[str, Any]:
        return {name: self._stats_of(name) for name in self.models}

    def _model_stats(self, name: str, window: float) -> dict[str, Any]:
        return {"model_stats": {"model_name": name, **self._stats_of(name)}, "window_seconds": window}

    def _split(self, threshold: float, *, idle: bool) -> dict[str, Any]:
        stats = self._stats()
        return {name: one for name, one in stats.items() if (one["idle_time_seconds"] > threshold) == idle}

    def _idle(self, threshold: float) -> dict[str, Any]:
        found = self._split(threshold, idle=True)
        head = {"idle_models": list(found), "idle_threshold_seconds": threshold}
        return head | {"idle_model_details": found, "idle_models_count": len(found)}

    def _active(self, threshold: float, window: float) -> dict[str, Any]:
        found = self._split(threshold, idle=False)
        head = {"active_models": list(found), "idle_threshold_seconds": threshold, "window_seconds": window}
        return head | {"active_model_details": found, "active_models_count": len(found)}

    def _sleepers(self) -> dict[str, Any]:
        entry = {"sleep_start_time": 1.0, "sleep_duration": 2.0, "manual_sleep": True}
        return {
            "sleeping_models": {name: entry for name, one in self.models.items() if one.state == "asleep"},
            "sleep_candidates": [],
            "auto_sleep_enabled": False,
            "idle_threshold_seconds": 300,
            "wakeup_on_request": any(one.wake_on_request for one in self.models.values()),
            "models": {name: {"wake_on_request": one.wake_on_request} for name, one in self.models.items()},
        }

    def _candidates(self) -> dict[str, Any]:
        return {
            "sleep_candidates": [],
            "candidate_details": {},
            "idle_threshold_seconds": 300,
            "auto_sleep_enabled": False,
        }
