"""Handlers that load balancers, clients and Prometheus ask: hello, health, readiness, lists of models, metrics.

They read the console and change nothing; asking never wakes a model.
"""

from typing import Any

from starlette.responses import Response

from roost import __version__
from roost.admin.accept import prefers_text
from roost.admin.answers import answer_json
from roost.admin.ask import Ask
from roost.core.lifecycle import State

_BROKEN = frozenset({State.FAILED, State.STUCK})
_LOADED = frozenset({State.READY, State.DRAINING})
_VARIES = {"vary": "Accept"}
_LINKS = {
    "models": "/v1/models",
    "health": "/health",
    "ready": "/ready",
    "metrics": "/metrics",
    "api": "/api/v1/status",
    "openapi": "/api/v1/openapi.json",
}


async def hello(ask: Ask) -> Response:
    return answer_json({"name": "roost", "version": __version__, "links": _LINKS})


async def health(ask: Ask) -> Response:
    """Reasons name models: only who may know of all of them reads why."""
    healthy, reasons = ask.console.health()
    body: dict[str, Any] = {"status": "healthy" if healthy else "degraded"}
    if not healthy:
        body["reasons"] = reasons if ask.caller.sees_all else ["Ask with a key that may use all models to read why."]
    is_text = ask.console.server.health == "text"
    if prefers_text(",".join(ask.request.headers.getlist("accept")), otherwise=is_text):
        text = "\n".join(["DEGRADED", *body["reasons"]]) if not healthy else "OK"
        return Response(text + "\n", media_type="text/plain", headers=_VARIES)
    answer = answer_json(body)
    answer.headers.update(_VARIES)
    return answer


async def health_all(ask: Ask) -> Response:
    found = ask.caller.only(ask.console.models())
    models = [_health_of(model) for model in found]
    healthy = all(model["status"] == "healthy" for model in models)
    return answer_json(
        {
            "status": "healthy" if healthy else "degraded",
            "models": models,
            "model": "all",
            "health": {model["name"]: _answering(ask, model) for model in found},
        }
    )


async def health_model(ask: Ask) -> Response:
    model = ask.model()
    return answer_json(_health_of(model) | {"model": model["name"], "health": _answering(ask, model)})


async def ready(ask: Ask) -> Response:
    is_ready = ask.console.ready()
    return answer_json({"ready": is_ready}, 200 if is_ready else 503)


async def metrics(ask: Ask) -> Response:
    ask.caller.must_see_all("/metrics")
    return Response(ask.console.metrics(), media_type="text/plain; version=0.0.4")


async def list_models(ask: Ask) -> Response:
    """All models or the loaded ones, as `server.models_list` says; the query may ask for the other."""
    only_loaded = ask.console.server.models_list == "loaded"
    if ask.flag("all") or ask.flag("loaded"):
        only_loaded = not ask.flag("all")
    listed = [model for model in ask.caller.only(ask.console.models()) if model.get("listed", True)]
    shown = [model for model in listed if model["state"] in _LOADED or not only_loaded]
    return answer_json({"object": "list", "data": [_openai(model, ask.started) for model in shown]})


async def both_models(ask: Ask) -> Response:
    """One object for OpenAI's clients and for those of kvcached's controller."""
    shown = [model for model in ask.caller.only(ask.console.models()) if model.get("listed", True)]
    return answer_json(
        {
            "object": "list",
            "data": [_openai(model, ask.started) for model in shown],
            "models": {model["name"]: _address(model) for model in shown},
        }
    )


async def server_info(ask: Ask) -> Response:
    """What runs here. For a key limited to some models without what speaks of the others."""
    found = ask.console.status()
    models = ask.caller.only(found["models"])
    body = {
        "status": found["state"],
        "version": found["version"],
        "uptime_s": found["uptime_s"],
        "config_hash": found["config_hash"],
        "models": {model["name"]: _running(model) for model in models},
        "engines": sorted({model["engine"] for model in models}),
    }
    memory = found["memory"] if ask.caller.sees_all else {}
    return answer_json(body | {key: memory[key] for key in ("devices", "max_resident") if key in memory})


async def openai_model(ask: Ask) -> Response:
    """Also for a model that is not listed: who knows its name may ask."""
    return answer_json(_openai(ask.model(), ask.started))


def _health_of(model: dict[str, Any]) -> dict[str, Any]:
    broken = model["state"] in _BROKEN
    body = {"name": model["name"], "status": "unhealthy" if broken else "healthy", "state": model["state"]}
    return body | ({"last_error": model.get("last_error")} if broken else {})


def _answering(ask: Ask, model: dict[str, Any]) -> dict[str, bool]:
    """Address -> whether an engine is up there; who may not read addresses gets the replicas' names instead."""
    key = "endpoint" if ask.caller.reads else "replica"
    return {one[key]: one["answers"] for one in model["endpoints"]}


def _address(model: dict[str, Any]) -> dict[str, Any]:
    return {"endpoint": model["endpoint"], "endpoints": [one["endpoint"] for one in model["endpoints"]]}


def _running(model: dict[str, Any]) -> dict[str, Any]:
    known = ("state", "engine", "level", "in_flight", "queue_depth", "endpoint", "endpoints")
    return {key: model[key] for key in known}


def _openai(model: dict[str, Any], created: int) -> dict[str, Any]:
    known = ("parent", "task", "context_length", "modalities", "tools", "description", "metadata")
    can = {"modalities": model.get("modalities"), "tools": model.get("tools"), "context": model.get("context_length")}
    more = {"name": model.get("display_name"), "capabilities": {key: value for key, value in can.items() if value}}
    return {
        "id": model["name"],
        "object": "model",
        "created": created,
        "owned_by": "roost",
        "status": {
            "value": model["state"],
            "loaded": model["state"] in _LOADED,
            "sleeping": model["state"] == State.ASLEEP,
        },
        "aliases": list(model.get("aliases") or ()),
    } | {key: value for key, value in ({key: model.get(key) for key in known} | more).items() if value}
