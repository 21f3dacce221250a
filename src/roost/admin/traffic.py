"""Handlers of traffic: statistics in the shapes of kvcached's controller (fields are only ever added), and history.

They shape what the console tells; a threshold or window in the query changes the answer, never the running roost.
A model is idle if it had no request for longer than the threshold, else active; each is in one of the two lists.
"""

from typing import Any

from starlette.responses import Response

from roost.admin.answers import answer_json
from roost.admin.ask import Ask
from roost.admin.errors import refuse
from roost.telemetry.traffic import HORIZON_S

WINDOW_S = 60
SPAN_S, BUCKET_S = 3600, 60
Facts = dict[str, Any]
_IDLE = ("idle_time_seconds", "total_requests", "last_activity_time", "state", "in_flight")
_ACTIVE = (
    *("request_rate", "total_requests", "avg_response_time", "last_activity_time"),
    *("state", "in_flight", "queue_depth", "idle_time_seconds"),
)


async def stats(ask: Ask) -> Response:
    """Every model, by name."""
    window = _window(ask)
    found = {facts["name"]: _stats_of(facts) for facts in _judged(ask, window)}
    return answer_json({"traffic_stats": found, "window_seconds": window})


async def model_stats(ask: Ask) -> Response:
    """One model, also before its first request."""
    name, window = ask.model()["name"], _window(ask)
    (facts,) = _judged(ask, window, name=name)
    return answer_json({"model_stats": {"model_name": name, **_stats_of(facts)}, "window_seconds": window})


async def idle(ask: Ask) -> Response:
    threshold = _threshold(ask)
    found = [facts for facts in _judged(ask, WINDOW_S, threshold) if facts["is_idle"]]
    return answer_json(
        {
            "idle_models": [facts["name"] for facts in found],
            "idle_threshold_seconds": threshold,
            "idle_model_details": _details(found, _IDLE),
            "idle_models_count": len(found),
        }
    )


async def active(ask: Ask) -> Response:
    threshold, window = _threshold(ask), _window(ask)
    found = [facts for facts in _judged(ask, window, threshold) if not facts["is_idle"]]
    return answer_json(
        {
            "active_models": [facts["name"] for facts in found],
            "idle_threshold_seconds": threshold,
            "window_seconds": window,
            "active_model_details": _details(found, _ACTIVE),
            "active_models_count": len(found),
        }
    )


async def overview(ask: Ask) -> Response:
    """The same statistics as a list, as the rest of /api/v1 has them."""
    window = _window(ask)
    return answer_json({"window_seconds": window, "models": _judged(ask, window)})


async def history(ask: Ask) -> Response:
    """What ended in each stretch of time; 400 with the bound where it is not known so far back or so finely."""
    name = ask.model()["name"]
    span, bucket = ask.duration("span", SPAN_S), ask.duration("bucket", BUCKET_S)
    try:
        buckets = ask.console.traffic_history(name, span, bucket)
    except ValueError as error:
        refuse(400, "bad_option", str(error))
    return answer_json({"name": name, "span_seconds": span, "bucket_seconds": bucket, "buckets": buckets})


def _window(ask: Ask) -> float:
    return ask.seconds("window", WINDOW_S, HORIZON_S)


def _threshold(ask: Ask) -> float:
    """The one asked for, else the configured one."""
    return ask.seconds("threshold", ask.console.idle_threshold_s)


def _judged(ask: Ask, window: float, threshold: float | None = None, *, name: str | None = None) -> list[Facts]:
    """The statistics this caller may see, each with whether the model is idle."""
    limit = ask.console.idle_threshold_s if threshold is None else threshold
    models = ask.caller.only(ask.console.traffic(window, name))
    return [facts | {"is_idle": facts["idle_time_seconds"] > limit} for facts in models]


def _stats_of(facts: Facts) -> Facts:
    return {key: value for key, value in facts.items() if key != "name"}


def _details(models: list[Facts], keys: tuple[str, ...]) -> dict[str, Facts]:
    return {facts["name"]: {key: facts[key] for key in keys} for facts in models}
