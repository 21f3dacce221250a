"""The one table of routes: the router, the OpenAPI document and `docs/api.md` are all made from it.

Order matters: the first row whose path fits is served. A model name may hold slashes, raw or as %2F.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response

from roost.admin import holding, llama_swap, manage, openapi, public, sleeping, streams, traffic
from roost.admin.ask import Ask
from roost.admin.caller import Need

Handler = Callable[[Ask], Awaitable[Response]]
_ORDER = ("wait", "force")
_ORDER_STATUSES = (200, 202, 400, 404, 409, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method on one path."""

    method: str
    path: str
    """With Starlette's placeholders; `{name:path}` is a model name, `{id:path}` a client's own id:
    both may hold slashes."""
    handler: Handler
    need: Need
    summary: str
    answer: str
    """A name of `schemas.SCHEMAS`, or a media type for what is no JSON."""
    options: tuple[str, ...] = ()
    """Names of `openapi.OPTIONS`: query parameters of a GET; of a POST also fields of its JSON body."""
    takes_body: bool = True
    """Whether a POST reads its options from a body too."""
    statuses: tuple[int, ...] = (200,)
    endless: bool = False
    """The answer to a GET does not end by itself."""

    @property
    def plain_path(self) -> str:
        """The path as documents write it."""
        return self.path.replace(":path}", "}")


def _get(
    path: str,
    handler: Handler,
    need: Need,
    summary: str,
    answer: str,
    *,
    options: tuple[str, ...] = (),
    endless: bool = False,
) -> Row:
    statuses = (200, *((400,) if options else ()), *((404,) if "{" in path else ()))
    return Row(
        method="GET",
        path=path,
        handler=handler,
        need=need,
        summary=summary,
        answer=answer,
        options=options,
        statuses=statuses,
        endless=endless,
    )


def _post(action: str, handler: Handler, summary: str, options: tuple[str, ...]) -> Row:
    return Row(
        method="POST",
        path=f"/api/v1/models/{{name:path}}/{action}",
        handler=handler,
        need=Need.ADMIN,
        summary=summary,
        answer="Order",
        options=options,
        statuses=_ORDER_STATUSES if options else (200, 400, 404),
    )


async def _document(ask: Ask) -> Response:
    return openapi.served(ROWS)


_PUBLIC = (
    _get("/", public.hello, Need.NOTHING, "Name, version and links.", "Hello"),
    _get(
        "/health",
        public.health,
        Need.NOTHING,
        "Healthy or degraded, 200 either way; as text for a client that ranks text/plain above JSON.",
        "Health",
    ),
    _get("/health/all", public.health_all, Need.ANY, "Health and state of every model.", "HealthAll"),
    _get(
        "/health/{name:path}",
        public.health_model,
        Need.ANY,
        "Health and state of one model; 200 also while it sleeps.",
        "ModelHealth",
    ),
    Row(
        method="GET",
        path="/ready",
        handler=public.ready,
        need=Need.NOTHING,
        summary="200 once the listener and the first plan stand, 503 before.",
        answer="Ready",
        statuses=(200, 503),
    ),
    _get(
        "/v1/models",
        public.list_models,
        Need.ANY,
        "OpenAI's list of the models: all of them, or those that are loaded.",
        "OpenAIModels",
        options=("all", "loaded"),
    ),
    _get("/v1/models/{name:path}", public.openai_model, Need.ANY, "One model, also an unlisted one.", "OpenAIModel"),
    _get("/metrics", public.metrics, Need.READ, "Prometheus text.", "text/plain"),
)
_SHOW = (
    _get("/api/v1/status", manage.status, Need.READ, "The running roost and its models.", "Status"),
    _get("/api/v1/models", manage.models, Need.READ, "Every model with its state.", "Models"),
    _get(
        "/api/v1/models/{name:path}/logs",
        streams.logs,
        Need.READ,
        "The engine's last log lines; with follow=1 the stream goes on.",
        "text/plain",
        options=("lines", "follow"),
    ),
    _get("/api/v1/models/{name:path}", manage.model, Need.READ, "One model with its last changes and steps.", "Model"),
    _get("/api/v1/traffic", traffic.overview, Need.READ, "Statistics of every model.", "Traffic", options=("window",)),
    _get(
        "/api/v1/traffic/{name:path}/history",
        traffic.history,
        Need.READ,
        "Counts, rates and times of one model in equal stretches of time.",
        "TrafficHistory",
        options=("span", "bucket"),
    ),
    _get("/api/v1/plan", manage.plan, Need.READ, "What the planner would do now, and why.", "Plan"),
    _get(
        "/api/v1/journal",
        manage.journal,
        Need.READ,
        "The last plans that ordered or refused something, newest first, also those of earlier runs.",
        "Journal",
        options=("since", "limit"),
    ),
    _get("/api/v1/devices", holding.devices, Need.READ, "What roost may hold on each device now, and why.", "Devices"),
    _get("/api/v1/holds", holding.holds, Need.READ, "Devices that are held for their owners.", "Holds"),
    _get("/api/v1/requests", manage.requests, Need.READ, "Requests in flight.", "Requests"),
    _get("/api/v1/requests/recent", manage.recent, Need.READ, "The last settled requests, newest first.", "Requests"),
    _get(
        "/api/v1/events",
        streams.events,
        Need.READ,
        "Changes, steps, plans and orders as SSE.",
        "text/event-stream",
        endless=True,
    ),
    _get("/api/v1/openapi.json", _document, Need.READ, "The OpenAPI document.", "Document"),
)
_ORDERS = (
    _post("load", manage.load, "Make it ready: start it, or wake it if it sleeps.", _ORDER),
    _post("wake", manage.load, "Make it ready: wake it, or start it if it is cold.", _ORDER),
    _post("sleep", manage.sleep, "Put it to sleep once its requests are done.", (*_ORDER, "level")),
    _post("unload", manage.unload, "Stop it once its requests are done.", _ORDER),
    _post("restart", manage.restart, "Stop it and start it again.", _ORDER),
    _post("pin", manage.pin, "Never evict it.", ()),
    _post("unpin", manage.unpin, "Let it be evicted again.", ()),
    Row(
        method="POST",
        path="/api/v1/unload-all",
        handler=manage.unload_all,
        need=Need.ADMIN,
        summary="Stop every model that the key may use.",
        answer="Orders",
        options=_ORDER,
        statuses=(200, 202, 400, 409, 503),
    ),
    Row(
        method="POST",
        path="/api/v1/holds",
        handler=holding.hold,
        need=Need.ADMIN,
        summary="Give a device, or a part of it, back to its owner for a while: models drain off it.",
        answer="Held",
        options=("device", "amount", "for", "reason"),
        statuses=(200, 400, 404),
    ),
    Row(
        method="DELETE",
        path="/api/v1/holds/{device:path}",
        handler=holding.release,
        need=Need.ADMIN,
        summary="Take a held device back.",
        answer="Held",
        statuses=(200, 404),
    ),
    Row(
        method="DELETE",
        path="/api/v1/requests/{id:path}",
        handler=manage.cancel,
        need=Need.ADMIN,
        summary="Cancel a request in flight.",
        answer="Cancelled",
        statuses=(200, 404),
    ),
)


def _family(stats: str, lists: str, state: str, sleep: str, wake: str) -> tuple[Row, ...]:
    """The endpoints of kvcached's controller in one spelling."""
    return (
        _get(stats, traffic.stats, Need.READ, "Statistics by model.", "TrafficStats", options=("window",)),
        _get(
            f"{stats}/{{name:path}}",
            traffic.model_stats,
            Need.READ,
            "Statistics of one model.",
            "ModelStats",
            options=("window",),
        ),
        _get(
            f"{lists}/idle",
            traffic.idle,
            Need.READ,
            "Models without a request for longer than the threshold.",
            "IdleModels",
            options=("threshold",),
        ),
        _get(
            f"{lists}/active",
            traffic.active,
            Need.READ,
            "The other models, with their rates.",
            "ActiveModels",
            options=("threshold", "window"),
        ),
        _get(f"{state}/status", sleeping.status, Need.READ, "Who sleeps, since when and why.", "SleepStatus"),
        _get(
            f"{state}/candidates",
            sleeping.candidates,
            Need.READ,
            "Ready models that could sleep and have been idle for longer than their `sleep_after`.",
            "SleepCandidates",
        ),
        _family_order(sleep, sleeping.sleep, "Put it to sleep once its requests are done.", (*_ORDER, "level")),
        _family_order(wake, sleeping.wake, "Wake it, or start it if it is cold.", _ORDER),
    )


def _family_order(path: str, handler: Handler, summary: str, options: tuple[str, ...]) -> Row:
    return Row(
        method="POST",
        path=f"{path}/{{name:path}}",
        handler=handler,
        need=Need.ADMIN,
        summary=summary,
        answer="ModelOrder",
        options=options,
        takes_body=False,
        statuses=_ORDER_STATUSES,
    )


_CONTROLLER = (
    _get("/models", public.both_models, Need.READ, "OpenAI's list, and the models with their addresses.", "BothModels"),
    _get("/get_server_info", public.server_info, Need.READ, "Version, models, engines and devices.", "ServerInfo"),
    *_family("/traffic/stats", "/models", "/sleep", "/action/sleep", "/action/wakeup"),
    *_family("/model/traffic/stats", "/model/traffic", "/model/sleep", "/model/sleep", "/model/wake"),
)
"""What users of kvcached's controller call, in both of its spellings."""


def _followed(path: str, handler: Handler, summary: str) -> Row:
    return _get(path, handler, Need.READ, summary, "text/plain", options=("no-history",), endless=True)


def _swap_order(method: str, path: str, handler: Handler, summary: str, answer: str, *more: str) -> Row:
    return Row(
        method=method,
        path=path,
        handler=handler,
        need=Need.ADMIN,
        summary=summary,
        answer=answer,
        options=(*_ORDER, *more),
        takes_body=False,
        statuses=_ORDER_STATUSES if "{" in path else (200, 202, 400, 409, 503),
    )


_STOP_ALL = "Stop every model that the key may use, each once its requests are done."
_LLAMA_SWAP = (
    _get(
        "/running", llama_swap.running, Need.READ, "Every model that is not stopped, in llama-swap's words.", "Running"
    ),
    _swap_order("GET", "/unload", llama_swap.unload_all, f"{_STOP_ALL} HEAD does nothing.", "text/plain"),
    _swap_order("POST", "/api/models/unload", llama_swap.unload_all, _STOP_ALL, "Unloaded"),
    _swap_order(
        "POST", "/api/models/unload/{name:path}", llama_swap.unload, "Stop it once its requests are done.", "text/plain"
    ),
    _swap_order(
        "POST",
        "/api/models/sleep/{name:path}",
        llama_swap.sleep,
        "Put it to sleep once its requests are done; OK too where it had to be stopped instead.",
        "text/plain",
        "level",
    ),
    _get("/logs", llama_swap.logs, Need.READ, "The last of roost's own log and of each engine's.", "text/plain"),
    _followed("/logs/stream", llama_swap.follow_all, "Roost's own log and those of all engines, as they are written."),
    _followed("/logs/stream/proxy", llama_swap.follow_own, "Roost's own log as it is written."),
    _followed("/logs/stream/upstream", llama_swap.follow_engines, "The engines' logs as they are written."),
    _followed("/logs/stream/{name:path}", llama_swap.follow_model, "One engine's log as it is written."),
)
"""What users of llama-swap call. Their bodies are not looked at, as there: options stand in the query."""
ROWS: tuple[Row, ...] = (*_PUBLIC, *_SHOW, *_ORDERS, *_CONTROLLER, *_LLAMA_SWAP)
